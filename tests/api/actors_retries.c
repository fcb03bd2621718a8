/*
 * Goal: a call whose body has failed, and that is to be tried again, leaves its actor: the others
 * go on at once, and its next attempt is queued behind them when its back-off is over. What ends a
 * waiting call ends it there; nothing of an attempt is lost or held meanwhile. (Rows A5, F2, F11.)
 * Method: bodies write down who ran and as which attempt, in virtual time, which moves only when
 * the call is seen to wait.
 */
#include "actors.h"
#include "generator.h"

#define MS INT64_C(1000000)

static const struct weft_actor_class plain = ACT_CLASS(.flags = 0);
static const struct weft_actor_class wide = ACT_CLASS(.max_concurrency = 2);

/* Who ran, in order. */
struct tape {
	struct api_count n;
	char text[64];
};

struct plan {
	struct tape *tape;
	char name;
	int bad;               /* attempts that fail */
	struct api_gate *gate; /* passed before it returns */
};

/* Fails with minus the number of the attempt. */
static int plays(weft_task *self)
{
	const struct plan *plan = api_arg_pointer(self);
	const int attempt = weft_task_attempt(self);
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	API_CHECK(attempt == 1 ? !info.last_error : info.last_error->code == 1 - attempt);
	plan->tape->text[api_add(&plan->tape->n, 1) - 1] = plan->name;
	if (plan->gate)
		api_gate_pass(plan->gate);
	return attempt > plan->bad ? 0 : weft_fail(self, -attempt, "attempt %d", attempt);
}

static int sleeps_for_ever(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	return weft_sleep_until(rt, weft_now(rt) + 86400000 * MS);
}

static weft *open_virtual(uint32_t workers)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .flags = WEFT_OPEN_VIRTUAL_CLOCK,
	                                 .seed = test_seed())) == 0);
	return rt;
}

static weft_ref play(weft *rt, weft_actor actor, const struct plan *plan,
                     const struct weft_task_options *opts)
{
	return api_submit(rt,
	                  WEFT_TASK(plays, .actor = actor, API_POINTER((void *)(uintptr_t)plan),
	                            .opts = opts));
}

#define RETRIED(n, ...) WEFT_TASK_OPTIONS(.retries = (n), .backoff_ns = 5 * MS, __VA_ARGS__)

/* A call of the actor, from here: what was queued before has run. */
static void pass(weft *rt, weft_actor actor)
{
	cr_assert_eq(api_end(rt, act_call(rt, actor, api_body_nothing, NULL, 0)), 0);
}

/* A call that has failed once and waits for its second attempt. */
static weft_ref resting(weft *rt, weft_actor actor, const struct plan *plan,
                        const struct weft_task_options *opts)
{
	const uint64_t n = api_read(&plan->tape->n);
	weft_ref ref = play(rt, actor, plan, opts);

	api_await_count(&plan->tape->n, n + 1);
	api_await_state(rt, ref, WEFT_REF_WAITING);
	return ref;
}

/* ---- Order ----------------------------------------------------------------------------------- */

Test(actors_retries, others_run_during_a_back_off_which_holds_neither_actor_nor_worker)
{
	weft *rt = open_virtual(1);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL }, good = { &tape, 'a', 0, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref x = play(rt, actor, &bad, RETRIED(1)), a = play(rt, actor, &good, NULL);

	cr_assert_eq(api_end(rt, a), 0);
	cr_assert_str_eq(tape.text, "xa");
	cr_assert_eq(api_state(rt, x), WEFT_REF_WAITING);
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS - 1), 0);
	pass(rt, actor);
	cr_assert_eq(api_state(rt, x), WEFT_REF_WAITING);
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xax");
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_retries, the_next_attempt_comes_after_those_that_wait_when_its_back_off_is_over)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	struct api_gate gate = API_GATE_INIT;
	const struct plan bad = { &tape, 'x', 2, NULL }, busy = { &tape, 'b', 0, &gate },
			  late = { &tape, 'c', 0, NULL }, later = { &tape, 'd', 0, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref x = resting(rt, actor, &bad, RETRIED(2)), refs[3];

	refs[0] = play(rt, actor, &busy, NULL);
	api_gate_await(&gate, 1);
	refs[1] = play(rt, actor, &late, NULL);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_state(rt, x), WEFT_REF_QUEUED);
	refs[2] = play(rt, actor, &later, NULL);
	api_gate_open(&gate);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	/* Twice as long. */
	api_await_state(rt, x, WEFT_REF_WAITING);
	cr_assert_eq(weft_clock_advance(rt, 10 * MS - 1), 0);
	pass(rt, actor);
	cr_assert_str_eq(tape.text, "xbcxd");
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xbcxdx");
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_retries, one_that_fails_again_and_again_keeps_nobody_back_and_the_last_error_counts)
{
	for (int64_t backoff = 0; backoff < 2; backoff++) {
		weft *rt = open_virtual(2);
		struct tape tape = { 0 };
		const struct plan bad = { &tape, 'x', 99, NULL }, good = { &tape, 'a', 0, NULL };
		const struct weft_error *error = NULL;
		weft_actor actor = act_create(rt, &plain, NULL, NULL);
		weft_ref x = play(rt, actor, &bad,
		                  WEFT_TASK_OPTIONS(.retries = 3, .backoff_ns = backoff * MS));

		for (int i = 0; i < 4; i++) {
			cr_assert_eq(api_end(rt, play(rt, actor, &good, NULL)), 0);
			cr_assert_eq(weft_clock_advance(rt, 4 * MS), 0);
		}
		cr_assert_eq(api_get(rt, x), WEFT_ETASK);
		cr_assert_eq(weft_ref_error(rt, x, &error), 0);
		cr_assert(error->code == -4 && error->attempt == 4);
		api_release(rt, x);
		cr_assert_eq(api_read(&tape.n), 8);
		act_release(rt, actor);
		api_close(rt);
	}
}

Test(actors_retries, a_waiting_call_leaves_its_place_inside_to_another)
{
	weft *rt = open_virtual(3);
	struct tape tape = { 0 };
	struct api_gate gate = API_GATE_INIT;
	const struct plan bad = { &tape, 'x', 1, NULL }, busy = { &tape, 'b', 0, &gate };
	weft_actor actor = act_create(rt, &wide, NULL, NULL);
	weft_ref x = resting(rt, actor, &bad, RETRIED(1)), refs[2];

	for (int i = 0; i < 2; i++)
		refs[i] = play(rt, actor, &busy, NULL);
	api_gate_await(&gate, 2);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_state(rt, x), WEFT_REF_QUEUED);
	api_gate_open(&gate);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xbbx");
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_retries, calls_of_the_same_caller_that_wait_for_inputs_keep_their_order)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL }, waits = { &tape, 'a', 1, NULL },
			  last = { &tape, 'b', 0, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref x = resting(rt, actor, &bad, RETRIED(1)), event = api_event(rt), a, b;

	a = api_submit(rt,
	               WEFT_TASK(plays, .actor = actor, API_POINTER((void *)(uintptr_t)&waits),
	                         .opts = RETRIED(1), WEFT_AFTER(event)));
	b = play(rt, actor, &last, NULL);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xx");
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, b), 0);
	cr_assert_eq(api_state(rt, a), WEFT_REF_WAITING);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_end(rt, a), 0);
	cr_assert_str_eq(tape.text, "xxaba");
	api_release(rt, event);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Ends during the back-off ---------------------------------------------------------------- */

/* It has ended with `status`, at once, and is not tried again. */
static void expect_over(weft *rt, weft_ref x, int status, const struct tape *tape)
{
	cr_assert_eq(api_get(rt, x), status);
	cr_assert_eq(weft_clock_advance(rt, 1000 * MS), 0);
	cr_assert_str_eq(tape->text, "x");
	api_release(rt, x);
}

Test(actors_retries, a_cancel_or_a_deadline_ends_one_that_waits)
{
	weft *rt = open_virtual(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	for (int late = 0; late < 2; late++) {
		struct tape tape = { 0 };
		const struct plan bad = { &tape, 'x', 1, NULL };
		weft_ref x = resting(
			rt, actor, &bad,
			RETRIED(1, .deadline = late ? weft_now(rt) + 3 * MS : WEFT_FOREVER));

		if (late)
			cr_assert_eq(weft_clock_advance(rt, 3 * MS), 0);
		else
			cr_assert_eq(weft_cancel(rt, x), 0);
		expect_over(rt, x, late ? WEFT_EDEADLINE : -ECANCELED, &tape);
		pass(rt, actor);
	}
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct parent {
	weft_actor actor;
	const struct plan *plan;
	weft_ref x;
	struct api_count begun;
};

/* Makes the call and waits for it. */
static int calls_and_waits(weft_task *self)
{
	struct parent *parent = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	struct weft_view view;

	parent->x = play(rt, parent->actor, parent->plan, RETRIED(1));
	api_add(&parent->begun, 1);
	return weft_get(rt, parent->x, WEFT_FOREVER, &view);
}

struct brood {
	weft_ref child;
	struct api_count made;
};

/* Submits what sleeps for ever, and fails. */
static int leaves_a_child(weft_task *self)
{
	struct brood *brood = api_arg_pointer(self);

	brood->child = api_submit(weft_task_runtime(self), WEFT_TASK(sleeps_for_ever));
	api_add(&brood->made, 1);
	return -EPROTO;
}

Test(actors_retries, a_cancel_or_a_deadline_also_ends_what_the_failed_attempt_has_submitted)
{
	weft *rt = open_virtual(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, NULL, &log);

	for (int late = 0; late < 2; late++) {
		struct brood brood = { 0 };
		const struct weft_task_options *opts =
			WEFT_TASK_OPTIONS(.retries = 3, .backoff_ns = INT64_C(3600000) * MS,
		                          .deadline = late ? weft_now(rt) + 50 * MS : 0);
		const weft_ref ref = api_submit(rt,
		                                WEFT_TASK(leaves_a_child, .actor = actor,
		                                          API_POINTER(&brood), .opts = opts));

		api_await_count(&brood.made, 1);
		api_await_state(rt, ref, WEFT_REF_WAITING);
		if (late)
			cr_assert_eq(weft_clock_advance(rt, 50 * MS), 0);
		else
			cr_assert_eq(weft_cancel(rt, ref), 0);
		cr_assert_eq(api_end(rt, ref), late ? WEFT_EDEADLINE : -ECANCELED);
		cr_assert_eq(api_end(rt, brood.child), -ECANCELED);
	}
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_retries, a_cancel_of_who_made_the_call_ends_it)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	struct parent parent = { .actor = act_create(rt, &plain, NULL, NULL), .plan = &bad };
	weft_ref task = api_submit(rt, WEFT_TASK(calls_and_waits, API_POINTER(&parent)));

	api_await_count(&parent.begun, 1);
	api_await_state(rt, parent.x, WEFT_REF_WAITING);
	cr_assert_eq(weft_cancel(rt, task), 0);
	cr_assert_eq(api_end(rt, task), -ECANCELED);
	expect_over(rt, parent.x, -ECANCELED, &tape);
	act_release(rt, parent.actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_retries, a_kill_and_the_cancel_of_a_group_end_it_with_the_actor)
{
	for (int grouped = 0; grouped < 2; grouped++) {
		weft *rt = open_virtual(2);
		struct tape tape = { 0 };
		const struct plan bad = { &tape, 'x', 1, NULL };
		weft_group group = { 0 };

		if (grouped)
			cr_assert_eq(weft_group_create(rt, NULL, &group), 0);
		weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = group), NULL);
		weft_ref x = resting(rt, actor, &bad, RETRIED(1));

		if (grouped)
			cr_assert_eq(weft_group_cancel(rt, group), 0);
		else
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
		expect_over(rt, x, WEFT_EACTOR, &tape);
		act_await_dead(rt, actor);
		act_release(rt, actor);
		if (grouped) {
			cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
			cr_assert_eq(weft_group_destroy(rt, group), 0);
		}
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

Test(actors_retries, an_actor_that_begins_anew_keeps_it)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	struct act_log log = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_restarts = 1), &log);
	weft_ref x = resting(rt, actor, &bad, RETRIED(1));

	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_RESTART), 0);
	api_await_count(&log.inits, 2);
	pass(rt, actor);
	cr_assert_eq(api_state(rt, x), WEFT_REF_WAITING);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xx");
	act_release(rt, actor);
	api_close(rt);
}

struct stop {
	weft *rt;
	weft_actor actor;
};

/* Time moves on when the actor takes no calls any more. */
static void *advances(void *arg)
{
	const struct stop *stop = arg;
	const int64_t start = api_now();

	while (weft_actor_call(stop->rt, stop->actor, api_body_nothing, NULL, 0, NULL) !=
	       WEFT_EACTOR)
		api_polling(start, "the actor is stopped");
	API_CHECK(weft_clock_advance(stop->rt, 5 * MS) == 0);
	return NULL;
}

Test(actors_retries, an_actor_that_is_stopped_runs_it_first)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	struct act_log log = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	struct stop stop = { rt, act_create(rt, &plain, NULL, &log) };
	weft_ref x = resting(rt, stop.actor, &bad, RETRIED(1));
	pthread_t thread = api_thread(advances, &stop);

	cr_assert_eq(weft_actor_stop(rt, stop.actor, WEFT_FOREVER), 0);
	api_join(thread);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xx");
	cr_assert_eq(api_read(&log.finis), 1);
	act_release(rt, stop.actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_retries, an_actor_that_nobody_has_any_more_runs_it_first)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	struct act_log log = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	weft_ref x = resting(rt, actor, &bad, RETRIED(1)), died = WEFT_NONE;
	struct weft_view view;

	cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
	act_release(rt, actor);
	cr_assert_eq(weft_peek(rt, died), 0);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(weft_get(rt, died, WEFT_FOREVER, &view), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_str_eq(tape.text, "xx");
	cr_assert_eq(api_read(&log.finis), 1);
	api_release(rt, died);
	/* One that is cancelled was the last thing to wait for. */
	actor = act_create(rt, &plain, NULL, &log);
	x = resting(rt, actor, &bad, RETRIED(1));
	cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
	act_release(rt, actor);
	cr_assert_eq(weft_cancel(rt, x), 0);
	cr_assert_eq(weft_get(rt, died, WEFT_FOREVER, &view), 0);
	cr_assert_eq(api_end(rt, x), -ECANCELED);
	cr_assert_eq(api_read(&log.finis), 2);
	api_release(rt, died);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_retries, a_close_that_waits_runs_it)
{
	weft *rt = api_open(2);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 3, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	play(rt, actor, &bad, WEFT_TASK_OPTIONS(.retries = 3, .backoff_ns = MS));
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_str_eq(tape.text, "xxxx");
}

Test(actors_retries, a_close_that_does_not_wait_ends_it)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	resting(rt, actor, &bad, RETRIED(1));
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_str_eq(tape.text, "x");
}

/* ---- What it keeps, and does not ------------------------------------------------------------- */

Test(actors_retries, it_counts_as_pending_all_the_time)
{
	static const struct weft_actor_class one = ACT_CLASS(.max_pending = 1);
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	weft_actor actor = act_create(rt, &one, NULL, NULL);
	weft_ref x = resting(rt, actor, &bad, RETRIED(1)), refused = api_poison_ref();

	cr_assert_eq(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, &refused), WEFT_ECALLS);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_end(rt, x), 0);
	cr_assert_eq(weft_actor_wait_room(rt, actor, WEFT_FOREVER), 0);
	pass(rt, actor);
	/* Also when it ends early. */
	x = resting(rt, actor, &bad, RETRIED(1));
	cr_assert_eq(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, &refused), WEFT_ECALLS);
	cr_assert_eq(weft_cancel(rt, x), 0);
	cr_assert_eq(api_end(rt, x), -ECANCELED);
	pass(rt, actor);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_retries, a_generator_gives_no_item_twice_and_others_run_between_its_attempts)
{
	weft *rt = open_virtual(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	struct gen_again again = { .give = { 2, 1, 4 }, .attempts = 3 };
	weft_ref gen = api_submit(rt,
	                          WEFT_TASK(gen_body_again, API_POINTER(&again), .actor = actor,
	                                    .opts = RETRIED(2, .n_outputs = WEFT_OUTPUTS_STREAM)));
	weft_ref item = WEFT_NONE;

	for (int64_t i = 0; i < 2; i++)
		cr_assert_eq(gen_take_next(rt, gen), 1000 + i);
	for (int i = 1; i < 3; i++) {
		api_await_count(&again.runs, (uint64_t)i);
		api_await_state(rt, gen, WEFT_REF_WAITING);
		pass(rt, actor);
		cr_assert_eq(weft_next(rt, gen, WEFT_POLL, &item), -ETIMEDOUT);
		cr_assert_eq(weft_clock_advance(rt, 5 * i * MS), 0);
	}
	for (int64_t i = 2; i < 4; i++)
		cr_assert_eq(gen_take_next(rt, gen), 3000 + i);
	gen_expect_end(rt, gen);
	/* One that ends in its back-off: after what it has given. */
	struct gen_again ended = { .give = { 2, 4 }, .attempts = 2 };
	weft_ref other =
		api_submit(rt,
	                   WEFT_TASK(gen_body_again, API_POINTER(&ended), .actor = actor,
	                             .opts = RETRIED(1, .n_outputs = WEFT_OUTPUTS_STREAM)));

	api_await_count(&ended.runs, 1);
	api_await_state(rt, other, WEFT_REF_WAITING);
	cr_assert_eq(weft_cancel(rt, other), 0);
	for (int64_t i = 0; i < 2; i++)
		cr_assert_eq(gen_take_next(rt, other), 1000 + i);
	cr_assert_eq(gen_take_next(rt, other), -ECANCELED);
	gen_expect_end(rt, other);
	api_release(rt, other);
	act_release(rt, actor);
	gen_release_and_close(rt, gen);
}

#define INPUT_BYTES (20u << 20)
#define STORE_BYTES (32u << 20)

/* Its input is all `name`; the first attempt of one that is to fail leaves a note. */
static int reads(weft_task *self)
{
	const struct plan *plan = api_arg_pointer(self);
	struct weft_view view = { 0 }, note = { 0 };
	const int attempt = weft_task_attempt(self);
	void *garbage;

	API_CHECK(weft_input(self, 0, &view) == 0 && view.size == INPUT_BYTES);
	for (uint32_t i = 0; i < INPUT_BYTES; i += 4096)
		API_CHECK(((const char *)view.data)[i] == plan->name);
	API_CHECK(weft_task_alloc(self, 1000, &garbage) == 0);
	API_CHECK(weft_checkpoint_read(self, &note) == 0);
	API_CHECK(attempt == 1 ? !note.size : note.size == 1 && *(const char *)note.data == '1');
	if (attempt > plan->bad)
		return weft_return(self, &view.size, sizeof view.size);
	API_CHECK(weft_checkpoint(self, "1", 1) == 0);
	API_CHECK(weft_task_output(self, 0, 1000, &garbage) == 0);
	return -1;
}

static weft_ref read_by(weft *rt, weft_actor actor, const struct plan *plan)
{
	static char bytes[INPUT_BYTES];
	weft_ref in = WEFT_NONE;

	memset(bytes, plan->name, sizeof bytes);
	cr_assert_eq(weft_put(rt, bytes, sizeof bytes, &in), 0);
	weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(reads, .actor = actor, API_POINTER((void *)(uintptr_t)plan),
	                             .opts = RETRIED(1), WEFT_INPUTS(in)));

	api_release(rt, in);
	return ref;
}

/* Two inputs of which the store holds one: the second is read while the first is let go of. */
Test(actors_retries, inputs_are_let_go_of_in_a_back_off_and_there_in_the_next_attempt)
{
	weft *rt = NULL;
	const struct plan bad = { NULL, 'x', 1, NULL }, good = { NULL, 'a', 0, NULL };

	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 2, .store_bytes = STORE_BYTES,
	                                    .flags = WEFT_OPEN_VIRTUAL_CLOCK)),
	             0);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	for (int cancelled = 0; cancelled < 2; cancelled++) {
		weft_ref x = read_by(rt, actor, &bad);

		api_await_state(rt, x, WEFT_REF_WAITING);
		cr_assert_eq(api_end(rt, read_by(rt, actor, &good)), 0);
		if (cancelled)
			cr_assert_eq(weft_cancel(rt, x), 0);
		else
			cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
		cr_assert_eq(api_end(rt, x), cancelled ? -ECANCELED : 0);
	}
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Deadlock -------------------------------------------------------------------------------- */

static int waits_for(weft_task *self)
{
	struct weft_view view;

	return weft_get(weft_task_runtime(self), *(const weft_ref *)weft_task_arg(self, NULL),
	                WEFT_FOREVER, &view);
}

Test(actors_retries, one_that_can_never_come_in_again_is_a_deadlock_and_one_that_can_is_none)
{
	weft *rt = open_virtual(2);
	struct tape tape = { 0 };
	const struct plan bad = { &tape, 'x', 1, NULL };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref x = resting(rt, actor, &bad, RETRIED(1));
	/* Inside the only place. */
	weft_ref inside = act_call(rt, actor, waits_for, &x, sizeof x);
	const struct weft_error *error = NULL;

	cr_assert_eq(api_get(rt, inside), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, inside, &error), 0);
	cr_assert_eq(error->code, WEFT_EDEADLOCK);
	api_release(rt, inside);
	weft_ref outside = api_spawn(rt, waits_for, &x, sizeof x);

	api_await_state(rt, outside, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 5 * MS), 0);
	cr_assert_eq(api_end(rt, outside), 0);
	cr_assert_eq(api_end(rt, x), 0);
	act_release(rt, actor);
	api_close(rt);
}
