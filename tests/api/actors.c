/*
 * Goal: actors are created and called: state, order per caller, exclusive bodies, results, errors,
 * inputs, cancel, waiting inside a call, deadlock. (Rows A1 to A3, A19, A24, A25.)
 * Method: one class whose state is a number, bodies that note what they see.
 */
#include "actors.h"

static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 0);

Test(actors, state_is_kept_between_calls_and_results_are_refs)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	weft_ref refs[100];

	for (int64_t i = 0; i < 100; i++)
		refs[i] = act_call(rt, actor, act_add, &i, sizeof i);
	for (int64_t i = 0; i < 100; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i * (i + 1) / 2);
	act_release(rt, actor);
	api_close(rt);
	cr_assert_eq(api_read(&log.inits), 1);
	cr_assert_eq(api_read(&log.finis), 1);
	cr_assert_eq(api_read(&log.drops), 1);
}

static int without_class_body(weft_task *self)
{
	API_CHECK(weft_actor_state(self) == NULL);
	API_CHECK(weft_actor_self(self).bits != 0);
	return 0;
}

Test(actors, a_class_may_have_nothing_at_all)
{
	static const struct weft_actor_class empty = WEFT_ACTOR_CLASS(.name = NULL);
	weft *rt = api_open(1);
	weft_actor actor = act_create(rt, &empty, NULL, NULL);

	cr_assert_eq(api_end(rt, act_call(rt, actor, without_class_body, NULL, 0)), 0);
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Order -------------------------------------------------------------------------------- */

/* The argument must be the number of calls before it. */
static int in_turn(weft_task *self)
{
	struct act_state *state = weft_actor_state(self);
	const int64_t *expected = weft_task_arg(self, NULL);

	API_CHECK(state->n == *expected);
	state->n++;
	return weft_return(self, &state->n, sizeof state->n);
}

Test(actors, calls_of_one_caller_run_in_order)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	const int64_t n = api_scaled(20000);

	for (int64_t i = 0; i < n; i++) {
		while (weft_actor_call(rt, actor, in_turn, &i, sizeof i, NULL) == WEFT_ECALLS)
			cr_assert_eq(weft_actor_wait_room(rt, actor, WEFT_FOREVER), 0);
	}
	cr_assert_eq(act_value(rt, actor), n);
	act_release(rt, actor);
	api_close(rt);
}

static int calls_once(weft_task *self)
{
	const weft_actor *actor = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	int64_t value = api_take_i64(rt, act_call(rt, *actor, in_turn, &(int64_t){ 1 }, 8));

	return weft_return(self, &value, sizeof value);
}

Test(actors, an_unready_input_holds_back_only_that_callers_later_calls)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref event = api_event(rt), refs[3], other;

	refs[0] = act_call(rt, actor, in_turn, &(int64_t){ 0 }, 8);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(in_turn, .actor = actor, WEFT_ARG((int64_t){ 2 }),
	                                   WEFT_AFTER(event)),
	                         &refs[1]),
	             0);
	refs[2] = act_call(rt, actor, in_turn, &(int64_t){ 3 }, 8);
	cr_assert_eq(api_take_i64(rt, refs[0]), 1);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(in_turn, .actor = actor, WEFT_ARG((int64_t){ 4 })),
	                         &other),
	             0);
	cr_assert_eq(api_state(rt, refs[2]), WEFT_REF_WAITING);
	cr_assert_eq(api_state(rt, other), WEFT_REF_WAITING);
	/* Another caller passes. */
	cr_assert_eq(api_take_i64(rt, api_spawn(rt, calls_once, &actor, sizeof actor)), 2);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_take_i64(rt, refs[1]), 3);
	cr_assert_eq(api_take_i64(rt, refs[2]), 4);
	cr_assert_eq(api_take_i64(rt, other), 5);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Ends ---------------------------------------------------------------------------------- */

static int fails(weft_task *self)
{
	return weft_fail(self, -77, "no %d", 5);
}

Test(actors, an_error_is_the_calls_own_and_the_actor_goes_on)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	const struct weft_error *error = NULL;
	weft_ref ref = act_call(rt, actor, fails, NULL, 0);

	cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_eq(error->code, -77);
	cr_assert_str_eq(error->text, "no 5");
	cr_assert_eq(act_value(rt, actor), 0);
	api_release(rt, ref);
	act_release(rt, actor);
	api_close(rt);
}

static int at_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

Test(actors, a_queued_call_can_be_cancelled_and_the_others_run)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref first = WEFT_NONE, refs[10];
	void *arg = &gate;

	first = act_call(rt, actor, at_gate, &arg, sizeof arg);
	api_gate_await(&gate, 1);
	for (int64_t i = 0; i < 10; i++)
		refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	for (int i = 0; i < 10; i += 2) {
		cr_assert_eq(weft_cancel(rt, refs[i]), 0);
		cr_assert_eq(api_get(rt, refs[i]), -ECANCELED);
	}
	api_gate_open(&gate);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(api_end(rt, refs[i]), i % 2 ? 0 : -ECANCELED);
	cr_assert_eq(act_value(rt, actor), 5);
	cr_assert_eq(api_end(rt, first), 0);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors, a_failed_or_cancelled_input_ends_the_call_and_lets_the_next_pass)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref event = api_event(rt), refs[4];

	for (int i = 0; i < 4; i++)
		cr_assert_eq(
			weft_submit(rt,
		                    i < 3 ? WEFT_TASK(act_add, .actor = actor,
		                                      WEFT_ARG((int64_t){ 1 }), WEFT_AFTER(event))
		                          : WEFT_TASK(act_add, .actor = actor,
		                                      WEFT_ARG((int64_t){ 100 })),
		                    &refs[i]),
			0);
	cr_assert_eq(weft_cancel(rt, refs[1]), 0);
	cr_assert_eq(api_end(rt, refs[1]), -ECANCELED);
	cr_assert_eq(api_state(rt, refs[3]), WEFT_REF_WAITING);
	cr_assert_eq(weft_event_fail(rt, event, -5, "bad"), 0);
	cr_assert_eq(api_end(rt, refs[0]), WEFT_EDEP);
	cr_assert_eq(api_end(rt, refs[2]), WEFT_EDEP);
	cr_assert_eq(api_take_i64(rt, refs[3]), 100);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Options ------------------------------------------------------------------------------- */

static int two_outputs(weft_task *self)
{
	void *data = NULL;

	API_CHECK(weft_task_output(self, 1, 8, &data) == 0);
	*(int64_t *)data = 2;
	return weft_return(self, &(int64_t){ 1 }, 8);
}

static int fails_twice(weft_task *self)
{
	if (weft_task_attempt(self) < 3)
		return -9;
	return weft_return(self, &(int64_t){ weft_task_attempt(self) }, 8);
}

Test(actors, outputs_retries_inputs_and_long_arguments_are_as_for_tasks)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref two[2], one, value = api_put_i64(rt, 41);
	char big[4096];

	memset(big, 1, sizeof big);
	*(int64_t *)(void *)big = 7;
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(two_outputs, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.n_outputs = 2)),
	                         two),
	             0);
	cr_assert_eq(api_take_i64(rt, two[0]), 1);
	cr_assert_eq(api_take_i64(rt, two[1]), 2);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(fails_twice, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.retries = 2)),
	                         &one),
	             0);
	cr_assert_eq(api_take_i64(rt, one), 3);
	cr_assert_eq(
		weft_submit(rt, WEFT_TASK(api_body_sum, .actor = actor, WEFT_INPUTS(value)), &one),
		0);
	cr_assert_eq(api_take_i64(rt, one), 41);
	cr_assert_eq(api_take_i64(rt, act_call(rt, actor, act_add, big, sizeof big)), 7);
	api_release(rt, value);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Waiting inside -------------------------------------------------------------------------- */

struct chain {
	weft_ref next;
	struct api_count *begun;
};

static int waits_for_next(weft_task *self)
{
	const struct chain *chain = weft_task_arg(self, NULL);
	struct weft_view view;
	int64_t value = 0;

	api_add(chain->begun, 1);
	const int rc = weft_get(weft_task_runtime(self), chain->next, WEFT_FOREVER, &view);

	if (rc)
		return rc;
	value = *(const int64_t *)view.data + 1;
	return weft_return(self, &value, sizeof value);
}

Test(actors, thousands_of_blocked_calls_need_one_worker)
{
	weft *rt = api_open(1);
	struct api_count begun = { 0 };
	const uint32_t n = WF_TSAN ? 500 : api_scaled(10000);
	weft_actor *actors = calloc(n, sizeof *actors);
	weft_ref *refs = calloc(n + 1, sizeof *refs);
	struct weft_stats stats = { .struct_size = sizeof stats };

	refs[0] = api_event(rt);
	for (uint32_t i = 0; i < n; i++) {
		const struct chain chain = { refs[i], &begun };

		actors[i] = act_create(rt, &plain, NULL, NULL);
		refs[i + 1] = act_call(rt, actors[i], waits_for_next, &chain, sizeof chain);
	}
	api_await_count(&begun, n);
	cr_assert_eq(weft_stats(rt, &stats), 0);
	cr_assert_eq(stats.spare_threads, 0);
	cr_assert_eq(weft_event_set(rt, refs[0], &(int64_t){ 0 }, 8), 0);
	int64_t last = 0;
	cr_assert_eq(weft_get_copy(rt, refs[n], &last, 8), 8);
	cr_assert_eq(last, (int64_t)n);
	cr_assert_eq(weft_release_many(rt, refs, n + 1), 0);
	for (uint32_t i = 0; i < n; i++)
		act_release(rt, actors[i]);
	free(actors);
	free(refs);
	api_close(rt);
}

static int waits_for_itself(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref ref = act_call(rt, weft_actor_self(self), act_add, &(int64_t){ 1 }, 8);
	int64_t value;
	const int64_t rc = weft_take(rt, ref, &value, 8);

	API_CHECK(rc == WEFT_EDEADLOCK);
	return (int)rc;
}

Test(actors, a_call_that_waits_for_its_own_actor_is_told)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	cr_assert_eq(api_end(rt, act_call(rt, actor, waits_for_itself, NULL, 0)), WEFT_ETASK);
	/* The call that nobody waits for any more runs. */
	cr_assert_eq(act_value(rt, actor), 1);
	act_release(rt, actor);
	api_close(rt);
}

struct ring {
	weft_actor actor[3];
	uint32_t at, hops;
};

static int round_the_ring(weft_task *self)
{
	struct ring ring = *(const struct ring *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	int64_t value = 0;

	if (!ring.hops)
		return weft_return(self, &value, 8);
	ring.hops--;
	ring.at = (ring.at + 1) % 3;
	const int64_t rc =
		weft_take(rt, act_call(rt, ring.actor[ring.at], round_the_ring, &ring, sizeof ring),
	                  &value, 8);

	return rc < 0 ? (int)rc : weft_return(self, &value, 8);
}

Test(actors, a_ring_of_three_is_told_and_two_hops_are_none)
{
	weft *rt = api_open(2);
	struct ring ring = { .hops = 2 };

	for (int i = 0; i < 3; i++)
		ring.actor[i] = act_create(rt, &plain, NULL, NULL);
	cr_assert_eq(api_end(rt, act_call(rt, ring.actor[0], round_the_ring, &ring, sizeof ring)),
	             0);
	ring.hops = 3;
	cr_assert_eq(api_end(rt, act_call(rt, ring.actor[0], round_the_ring, &ring, sizeof ring)),
	             WEFT_ETASK);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(act_value(rt, ring.actor[i]), 0);
		act_release(rt, ring.actor[i]);
	}
	api_close(rt);
}

/* ---- Handles ------------------------------------------------------------------------------- */

static int calls_its_input(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0);
	const weft_actor *actor = view.data;
	weft *rt = weft_task_runtime(self);
	int64_t value = api_take_i64(rt, act_call(rt, *actor, act_add, &(int64_t){ 5 }, 8));

	return weft_return(self, &value, 8);
}

Test(actors, a_handle_in_an_input_keeps_the_actor)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	weft_ref event = api_event(rt), carrier, done;

	cr_assert_eq(weft_actor_ref(rt, actor, &carrier), 0);
	const weft_ref inputs[] = { carrier, event };

	cr_assert_eq(weft_submit(rt,
	                         &(struct weft_call){ .fn = calls_its_input,
	                                              .inputs = inputs,
	                                              .n_inputs = 1,
	                                              .n_after = 1 },
	                         &done),
	             0);
	api_release(rt, carrier);
	act_release(rt, actor);
	cr_assert_eq(api_read(&log.finis), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_take_i64(rt, done), 5);
	api_release(rt, event);
	api_await_count(&log.drops, 1);
	cr_assert_eq(api_read(&log.finis), 1);
	api_close(rt);
}
