/*
 * Goal: cancelling a task does what the header says in each of its states, never more, and never
 * leaks: queued, waiting, blocked in each suspending call, running, ended, and at random.
 * Method: bodies that record what the interrupted call returned; gates and states instead of time.
 */
#include "api.h"
#include "test.h"

Test(cancel, a_queued_task_never_runs)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct api_count count = { 0 };
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate))), refs[100];
	const struct weft_error *error = NULL;

	api_gate_await(&gate, 1);
	for (int i = 0; i < 100; i++)
		refs[i] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	for (int i = 99; i >= 0; i--)
		cr_assert_eq(weft_cancel(rt, refs[i]), 0);
	api_gate_open(&gate);
	for (int i = 99; i >= 0; i--) {
		cr_assert_eq(api_get(rt, refs[i]), -ECANCELED);
		cr_assert_eq(api_state(rt, refs[i]), WEFT_REF_CANCELLED);
	}
	cr_assert_eq(weft_ref_error(rt, refs[0], &error), 0);
	cr_assert_eq(error->status, -ECANCELED);
	cr_assert_eq(error->code, -ECANCELED);
	cr_assert_eq(api_end(rt, holder), 0);
	cr_assert_eq(weft_release_many(rt, refs, 100), 0);
	api_await_no_tasks(rt);
	api_close(rt);
	cr_assert_eq(api_read(&count), 0);
}

Test(cancel, a_queued_task_ends_at_once_though_every_worker_is_busy)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct weft_view view = api_poison_view();
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate))), ref;

	api_gate_await(&gate, 1);
	ref = api_spawn(rt, api_body_nothing, NULL, 0);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	/* The limit only bounds how long a wrong engine takes to fail. */
	cr_assert_eq(weft_get(rt, ref, weft_after_ms(rt, 5000), &view), -ECANCELED);
	cr_assert_eq(api_state(rt, ref), WEFT_REF_CANCELLED);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, holder), 0);
	api_release(rt, ref);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cancel, a_waiting_task_lets_go_of_its_inputs)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	weft_ref event = api_event(rt), value = api_put_i64(rt, 3);
	const weft_ref in[] = { event, value, value };
	weft_ref ref = api_submit(rt,
	                          WEFT_TASK(api_body_count, API_POINTER(&count), .inputs = in,
	                                    .n_inputs = 2, .n_after = 1));

	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	cr_assert_eq(weft_peek(rt, event), 0, "inputs are not touched");
	cr_assert_eq(api_take_i64(rt, value), 3);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
	cr_assert_eq(api_read(&count), 0);
}

Test(cancel, dependents_fail_and_carry_the_cause)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	weft_ref a = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
	weft_ref b = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(a)));
	weft_ref c = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(b)));
	weft_ref beside = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
	const struct weft_error *error = NULL;

	cr_assert_eq(weft_cancel(rt, a), 0);
	cr_assert_eq(api_end(rt, a), -ECANCELED);
	cr_assert_eq(api_end(rt, b), WEFT_EDEP);
	cr_assert_eq(api_get(rt, c), WEFT_EDEP);
	cr_assert_eq(weft_ref_error(rt, c, &error), 0);
	cr_assert_eq(error->cause->status, WEFT_EDEP);
	cr_assert_eq(error->cause->cause->status, -ECANCELED);
	cr_assert_null(error->cause->cause->cause);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, beside), 0, "independent work goes on");
	api_release(rt, c);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Blocked in each call that suspends ---- */

enum { IN_GET, IN_TAKE, IN_MANY, IN_WAIT, IN_CQ, IN_SLEEP, IN_KINDS };

struct sits {
	weft_ref ref;
	int64_t kind;
	int *returned;
};

static int sit_in_cq(weft *rt, weft_ref ref)
{
	weft_cq *cq = NULL;
	struct weft_cq_item item;

	API_CHECK(weft_cq_create(rt, &cq) == 0);
	API_CHECK(weft_cq_add(cq, ref, 1) == 0);
	const int status = weft_cq_wait(cq, &item, 1, WEFT_FOREVER);
	weft_cq_destroy(cq);
	return status;
}

static int sits(weft_task *self)
{
	const struct sits *arg = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	const weft_ref refs[1] = { arg->ref };
	struct weft_view view = api_poison_view();
	int64_t value = 9;
	bool ready[1];
	int status = 0;

	API_CHECK(!weft_task_cancelled(self));
	if (arg->kind == IN_GET)
		status = weft_get(rt, arg->ref, WEFT_FOREVER, &view);
	else if (arg->kind == IN_TAKE)
		status = (int)weft_get_copy(rt, arg->ref, &value, sizeof value);
	else if (arg->kind == IN_MANY)
		status = weft_get_many(rt, refs, 1, WEFT_FOREVER, &view, NULL);
	else if (arg->kind == IN_WAIT)
		status = weft_wait(rt, refs, 1, 1, WEFT_FOREVER, ready);
	else if (arg->kind == IN_CQ)
		status = sit_in_cq(rt, arg->ref);
	else
		status = weft_sleep_until(rt, WEFT_FOREVER);
	API_CHECK(api_view_untouched(&view) && value == 9);
	API_CHECK(weft_task_cancelled(self));
	*arg->returned = status;
	return -ECANCELED;
}

Test(cancel, a_blocked_task_comes_back_from_the_call_it_sits_in)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);

	for (int64_t kind = 0; kind < IN_KINDS; kind++) {
		int returned = 0;
		const struct sits arg = { event, kind, &returned };
		weft_ref ref = api_spawn(rt, sits, &arg, sizeof arg);

		api_await_state(rt, ref, WEFT_REF_BLOCKED);
		cr_assert_eq(weft_cancel(rt, ref), 0);
		cr_assert_eq(api_end(rt, ref), -ECANCELED, "kind %d", (int)kind);
		cr_assert_eq(returned, kind == IN_SLEEP ? -ECANCELED : -EINTR, "kind %d: %d",
		             (int)kind, returned);
	}
	cr_assert_eq(weft_peek(rt, event), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int returns_a_value(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	const int64_t value = 5;
	struct weft_view view;

	API_CHECK(weft_get(weft_task_runtime(self), *event, WEFT_FOREVER, &view) == -EINTR);
	return weft_return(self, &value, sizeof value);
}

static int returns_another_code(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	struct weft_view view;

	API_CHECK(weft_get(weft_task_runtime(self), *event, WEFT_FOREVER, &view) == -EINTR);
	return weft_fail(self, -EPROTO, "cleaned up");
}

Test(cancel, a_body_that_returns_a_value_all_the_same_has_it)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	weft_ref a = api_spawn(rt, returns_a_value, &event, sizeof event);
	weft_ref b = api_spawn(rt, returns_another_code, &event, sizeof event);

	api_await_state(rt, a, WEFT_REF_BLOCKED);
	api_await_state(rt, b, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, a), 0);
	cr_assert_eq(weft_cancel(rt, b), 0);
	cr_assert_eq(api_take_i64(rt, a), 5);
	cr_assert_eq(api_end(rt, b), WEFT_ETASK, "its own failure");
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct runs {
	struct api_gate *gate;
	weft_ref event;
	int64_t call;
};

static int runs(weft_task *self)
{
	const struct runs *arg = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	struct weft_view view;

	API_CHECK(!weft_task_cancelled(self));
	api_gate_pass(arg->gate);
	API_CHECK(weft_task_cancelled(self));
	if (arg->call == 0)
		API_CHECK(weft_get(rt, arg->event, WEFT_FOREVER, &view) == -EINTR);
	else if (arg->call == 1)
		API_CHECK(weft_yield(rt) == -ECANCELED);
	else if (arg->call == 2)
		API_CHECK(weft_sleep_until(rt, WEFT_FOREVER) == -ECANCELED);
	return -ECANCELED;
}

Test(cancel, a_running_task_sees_it_and_its_next_suspending_call_returns)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);

	for (int64_t call = 0; call < 4; call++) {
		struct api_gate gate = API_GATE_INIT;
		const struct runs arg = { &gate, event, call };
		weft_ref ref = api_spawn(rt, runs, &arg, sizeof arg);

		api_gate_await(&gate, 1);
		cr_assert_eq(api_state(rt, ref), WEFT_REF_RUNNING);
		cr_assert_eq(weft_cancel(rt, ref), 0);
		cr_assert_eq(weft_cancel(rt, ref), 0, "twice is once");
		cr_assert_eq(weft_peek(rt, ref), 0);
		api_gate_open(&gate);
		cr_assert_eq(api_end(rt, ref), -ECANCELED);
	}
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cancel, an_ended_task_keeps_its_outcome)
{
	weft *rt = api_open(2);
	const int64_t value = 21, code = -2;
	weft_ref good = api_spawn(rt, api_body_identity, &value, sizeof value);
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code);

	cr_assert_eq(api_get(rt, good), 0);
	cr_assert_eq(api_get(rt, bad), WEFT_ETASK);
	cr_assert_eq(weft_cancel(rt, good), 0);
	cr_assert_eq(weft_cancel(rt, bad), 0);
	cr_assert_eq(api_take_i64(rt, good), 21);
	cr_assert_eq(api_end(rt, bad), WEFT_ETASK);
	api_close(rt);
}

Test(cancel, only_tasks_can_be_cancelled)
{
	weft *rt = api_open(2), *other = api_open(1);
	weft_ref event = api_event(rt), value = api_put_i64(rt, 1), foreign;
	weft_ref stale = api_put_i64(rt, 1);

	api_release(rt, stale);
	foreign = api_spawn(other, api_body_nothing, NULL, 0);
	cr_assert_eq(weft_cancel(rt, event), -EINVAL);
	cr_assert_eq(weft_cancel(rt, value), -EINVAL);
	cr_assert_eq(weft_cancel(rt, WEFT_NONE), -EINVAL);
	cr_assert_eq(weft_cancel(rt, stale), -EINVAL);
	cr_assert_eq(weft_cancel(rt, foreign), -EINVAL);
	cr_assert_eq(weft_cancel(NULL, value), -EINVAL);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0, "the event was left alone");
	cr_assert_eq(api_end(other, foreign), 0);
	api_release(rt, event);
	api_release(rt, value);
	api_close(other);
	api_close(rt);
}

static int cancels_itself(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_cancel(rt, weft_task_ref(self)) == 0);
	API_CHECK(weft_task_cancelled(self));
	API_CHECK(weft_yield(rt) == -ECANCELED);
	return -ECANCELED;
}

Test(cancel, a_task_can_cancel_itself)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_spawn(rt, cancels_itself, NULL, 0)), -ECANCELED);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cancel, any_output_cancels_the_whole_task)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), outs[3];

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_nothing, WEFT_AFTER(event),
	                                   .opts = WEFT_TASK_OPTIONS(.n_outputs = 3)),
	                         outs),
	             0);
	cr_assert_eq(weft_cancel(rt, outs[2]), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, outs[i]), -ECANCELED);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct storm {
	weft *rt;
	weft_ref *refs;
	uint32_t n;
};

static void *storm_cancels(void *arg)
{
	const struct storm *storm = arg;

	for (uint32_t i = storm->n; i-- > 0;)
		API_CHECK(weft_cancel(storm->rt, storm->refs[i]) == 0);
	return NULL;
}

static int spin_until_cancelled(weft_task *self)
{
	while (!weft_task_cancelled(self))
		if (weft_yield(weft_task_runtime(self)) < 0)
			break;
	return -ECANCELED;
}

Test(cancel, a_storm_in_reverse_order_ends_them_all)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(2500);
	weft_ref *refs = calloc(n, sizeof *refs);
	struct storm storm = { rt, refs, n };
	pthread_t threads[3];

	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_spawn(rt, spin_until_cancelled, NULL, 0);
	for (int t = 0; t < 3; t++)
		threads[t] = api_thread(storm_cancels, &storm);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_get(rt, refs[i]), -ECANCELED);
	for (int t = 0; t < 3; t++)
		api_join(threads[t]);
	cr_assert_eq(weft_release_many(rt, refs, n), 0);
	free(refs);
	api_await_no_tasks(rt);
	api_close(rt);
}
