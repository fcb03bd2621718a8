/*
 * Goal: every way an actor ends, restarts or is named; each running, queued and later call ends
 * once with the right error. (Rows A1, A9 to A18, A20, A22.)
 * Method: one class that counts init, fini and drop; gates hold bodies where the test wants them.
 */
#include "actors.h"

static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 0);

static int at_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return weft_task_cancelled(self) ? -ECANCELED : 0;
}

static void check_actor_error(weft *rt, weft_ref ref, const char *text)
{
	const struct weft_error *error = NULL;

	cr_assert_eq(api_get(rt, ref), WEFT_EACTOR);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_eq(error->status, WEFT_EACTOR);
	if (text)
		cr_assert_str_eq(error->text, text);
	api_release(rt, ref);
}

/* ---- Init ---------------------------------------------------------------------------------- */

static int init_fails(weft_task *self)
{
	return weft_fail(self, -33, "no good");
}

Test(actors_life, a_failed_init_is_the_error_of_every_call)
{
	static const struct weft_actor_class bad = ACT_CLASS_INIT(init_fails, .flags = 0);
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &bad, NULL, NULL);
	const struct weft_error *error = NULL;
	weft_ref ref = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8), later, died;
	struct weft_actor_info info = { .struct_size = sizeof info };

	cr_assert_eq(api_get(rt, ref), WEFT_EACTOR);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_not_null(error->cause);
	cr_assert_eq(error->cause->code, -33);
	cr_assert_str_eq(error->cause->text, "no good");
	act_await_dead(rt, actor);
	later = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	check_actor_error(rt, later, "its init failed");
	cr_assert_eq(weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, NULL), WEFT_EACTOR);
	cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
	cr_assert_eq(api_end(rt, died), WEFT_EACTOR);
	cr_assert_eq(weft_actor_info(rt, actor, &info), 0);
	cr_assert_eq(info.phase, WEFT_ACTOR_DEAD);
	cr_assert_eq(info.cause->cause->code, -33);
	api_release(rt, ref);
	act_release(rt, actor);
	api_close(rt);
}

static int init_sums(weft_task *self)
{
	struct act_state *state = weft_actor_state(self);
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0);
	state->n = *(const int64_t *)view.data;
	return 0;
}

Test(actors_life, init_may_wait_for_refs_and_calls_wait_for_init)
{
	static const struct weft_actor_class sums = ACT_CLASS_INIT(init_sums, .flags = 0);
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), ref;
	weft_actor actor, doomed, killed;

	cr_assert_eq(weft_actor_create(rt, &sums, NULL, &(struct weft_call){ WEFT_INPUTS(event) },
	                               &actor),
	             0);
	cr_assert_eq(weft_actor_create(rt, &sums, NULL, &(struct weft_call){ WEFT_INPUTS(event) },
	                               &killed),
	             0);
	ref = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(act_phase(rt, actor), WEFT_ACTOR_PENDING);
	/* Killed before init ran. */
	weft_ref lost = act_call(rt, killed, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(weft_actor_kill(rt, killed, WEFT_KILL_NOW), 0);
	check_actor_error(rt, lost, "it was killed");
	cr_assert_eq(act_phase(rt, killed), WEFT_ACTOR_DEAD);
	cr_assert_eq(weft_event_set(rt, event, &(int64_t){ 41 }, 8), 0);
	cr_assert_eq(api_take_i64(rt, ref), 42);
	api_release(rt, event);
	/* An input that fails. */
	event = api_event(rt);
	cr_assert_eq(weft_actor_create(rt, &sums, NULL, &(struct weft_call){ WEFT_INPUTS(event) },
	                               &doomed),
	             0);
	ref = act_call(rt, doomed, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(weft_event_fail(rt, event, -8, "gone"), 0);
	check_actor_error(rt, ref, "its init did not run");
	act_await_dead(rt, doomed);
	api_release(rt, event);
	act_release(rt, actor);
	act_release(rt, killed);
	act_release(rt, doomed);
	api_close(rt);
}

/* ---- The last handle ----------------------------------------------------------------------- */

Test(actors_life, when_the_last_handle_goes_queued_calls_finish_and_fini_runs_once)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	void *arg = &gate;
	weft_ref refs[50], first = act_call(rt, actor, at_gate, &arg, sizeof arg);

	for (int i = 0; i < 50; i++)
		refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	api_gate_await(&gate, 1);
	cr_assert_eq(weft_actor_retain(rt, actor), 0);
	act_release(rt, actor);
	act_release(rt, actor);
	cr_assert_eq(api_read(&log.finis), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, first), 0);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i + 1);
	api_await_count(&log.drops, 1);
	cr_assert_eq(api_read(&log.finis), 1);
	/* Stale now: each door says so. */
	const int64_t start = api_now();
	while (weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, NULL) != -EINVAL)
		api_polling(start, "the handle is stale");
	cr_assert_eq(weft_actor_release(rt, actor), -EINVAL);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), -EINVAL);
	api_close(rt);
	cr_assert_eq(api_read(&log.inits), 1);
}

Test(actors_life, close_ends_actors_that_nobody_released)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };

	for (int i = 0; i < 20; i++) {
		weft_actor actor = act_create(rt, &plain, NULL, &log);

		cr_assert_eq(weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, NULL), 0);
	}
	api_close(rt);
	cr_assert_eq(api_read(&log.inits), 20);
	cr_assert_eq(api_read(&log.finis), 20);
	cr_assert_eq(api_read(&log.drops), 20);
}

/* ---- Kill ---------------------------------------------------------------------------------- */

Test(actors_life, kill_ends_queued_calls_at_once_and_the_running_one_at_its_return)
{
	weft *rt = api_open(1);
	struct act_log log = { 0 };
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	weft_ref event = api_event(rt), waiting;
	void *arg = &gate;
	weft_ref refs[20], first = act_call(rt, actor, at_gate, &arg, sizeof arg);

	for (int i = 0; i < 20; i++)
		refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(
		weft_submit(rt, WEFT_TASK(act_add, .actor = actor, WEFT_AFTER(event)), &waiting),
		0);
	api_gate_await(&gate, 1);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	for (int i = 0; i < 20; i++)
		check_actor_error(rt, refs[i], "it was killed");
	check_actor_error(rt, waiting, "it was killed");
	check_actor_error(rt, act_call(rt, actor, act_add, &(int64_t){ 1 }, 8), "it was killed");
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	cr_assert_eq(api_state(rt, first), WEFT_REF_RUNNING);
	api_gate_open(&gate);
	check_actor_error(rt, first, "it was killed");
	act_await_dead(rt, actor);
	cr_assert_eq(api_read(&log.finis), 0);
	cr_assert_eq(api_read(&log.drops), 1);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

struct wait_arg {
	weft_ref ref;
	struct api_count *begun, *status;
};

static int blocks(weft_task *self)
{
	const struct wait_arg *arg = weft_task_arg(self, NULL);
	struct weft_view view;

	api_add(arg->begun, 1);
	const int rc = weft_get(weft_task_runtime(self), arg->ref, WEFT_FOREVER, &view);

	api_set(arg->status, (uint64_t)-rc);
	return 0;
}

Test(actors_life, kill_wakes_a_blocked_body)
{
	weft *rt = api_open(2);
	struct api_count begun = { 0 }, status = { 0 };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref event = api_event(rt);
	const struct wait_arg arg = { event, &begun, &status };
	weft_ref ref = act_call(rt, actor, blocks, &arg, sizeof arg);

	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	check_actor_error(rt, ref, "it was killed");
	cr_assert_eq(api_read(&status), EINTR);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_life, ten_thousand_pending_calls_end_with_the_kill)
{
	weft *rt = api_open(2);
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(
		rt, &plain, WEFT_ACTOR_OPTIONS(.max_pending = WEFT_PENDING_UNLIMITED), NULL);
	void *arg = &gate;
	const uint32_t n = 10000;
	weft_ref *refs = calloc(n, sizeof *refs), first;

	first = act_call(rt, actor, at_gate, &arg, sizeof arg);
	api_gate_await(&gate, 1);
	for (uint32_t i = 0; i < n; i++)
		refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	for (uint32_t i = 0; i < n; i++) {
		cr_assert_eq(weft_peek(rt, refs[i]), 1);
		cr_assert_eq(api_end(rt, refs[i]), WEFT_EACTOR);
	}
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, first), WEFT_EACTOR);
	act_release(rt, actor);
	free(refs);
	api_close(rt);
}

/* ---- Stop, exit ---------------------------------------------------------------------------- */

Test(actors_life, stop_runs_what_is_queued_then_fini)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	weft_ref refs[30];

	for (int i = 0; i < 30; i++)
		refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	cr_assert_eq(act_phase(rt, actor), WEFT_ACTOR_DEAD);
	cr_assert_eq(api_read(&log.finis), 1);
	for (int i = 0; i < 30; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i + 1);
	check_actor_error(rt, act_call(rt, actor, act_add, &(int64_t){ 1 }, 8), "it has ended");
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_life, a_stop_that_takes_too_long_kills)
{
	weft *rt = api_open(2);
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	void *arg = &gate;
	weft_ref first = act_call(rt, actor, at_gate, &arg, sizeof arg);
	weft_ref second = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);

	api_gate_await(&gate, 1);
	cr_assert_eq(weft_actor_stop(rt, actor, weft_after_ms(rt, 1)), -ETIMEDOUT);
	cr_assert_eq(api_end(rt, second), WEFT_EACTOR);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, first), WEFT_EACTOR);
	act_release(rt, actor);
	api_close(rt);
}

static int stops_itself(weft_task *self)
{
	return weft_actor_stop(weft_task_runtime(self), weft_actor_self(self), WEFT_FOREVER);
}

static int exits(weft_task *self)
{
	return weft_actor_exit(self);
}

static int exits_and_swallows(weft_task *self)
{
	API_CHECK(weft_actor_exit(self) == WEFT_EACTOR);
	return weft_return(self, &(int64_t){ 1 }, 8);
}

Test(actors_life, exit_ends_its_own_and_all_queued_calls_and_runs_fini)
{
	for (int swallow = 0; swallow < 2; swallow++) {
		weft *rt = api_open(1);
		struct act_log log = { 0 };
		struct api_gate gate = API_GATE_INIT;
		weft_actor actor = act_create(rt, &plain, NULL, &log);
		void *arg = &gate;
		weft_ref refs[100], first = act_call(rt, actor, at_gate, &arg, sizeof arg), own;
		const struct weft_error *error = NULL;

		own = act_call(rt, actor, stops_itself, NULL, 0);
		refs[0] = act_call(rt, actor, swallow ? exits_and_swallows : exits, NULL, 0);
		for (int i = 1; i < 100; i++)
			refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
		api_gate_open(&gate);
		cr_assert_eq(api_end(rt, first), 0);
		cr_assert_eq(api_get(rt, own), WEFT_ETASK);
		cr_assert_eq(weft_ref_error(rt, own, &error), 0);
		cr_assert_eq(error->code, -EDEADLK);
		api_release(rt, own);
		for (int i = 0; i < 100; i++)
			check_actor_error(rt, refs[i], "it has left by itself");
		act_await_dead(rt, actor);
		cr_assert_eq(api_read(&log.finis), 1);
		act_release(rt, actor);
		api_close(rt);
	}
}

static int exits_outside(weft_task *self)
{
	API_CHECK(weft_actor_exit(self) == -EINVAL);
	API_CHECK(weft_actor_crash(self, "x") == -EINVAL);
	API_CHECK(weft_actor_state(self) == NULL);
	API_CHECK(weft_actor_self(self).bits == 0);
	return 0;
}

Test(actors_life, exit_and_crash_outside_an_actor_are_refused)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_spawn(rt, exits_outside, NULL, 0)), 0);
	api_close(rt);
}

/* ---- Restart ------------------------------------------------------------------------------- */

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "bad state");
}

Test(actors_life, a_crash_runs_init_again_keeps_the_queue_and_fails_its_own_call)
{
	weft *rt = api_open(1);
	struct act_log log = { 0 };
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_restarts = 1), &log);
	struct weft_actor_info info = { .struct_size = sizeof info };
	void *arg = &gate;
	weft_ref first = act_call(rt, actor, at_gate, &arg, sizeof arg);
	weft_ref one = act_call(rt, actor, act_add, &(int64_t){ 5 }, 8);
	weft_ref crash = act_call(rt, actor, crashes, NULL, 0);
	weft_ref two = act_call(rt, actor, act_add, &(int64_t){ 7 }, 8);

	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, first), 0);
	cr_assert_eq(api_take_i64(rt, one), 5);
	check_actor_error(rt, crash, "bad state");
	cr_assert_eq(api_take_i64(rt, two), 7);
	cr_assert_eq(api_read(&log.inits), 2);
	cr_assert_eq(api_read(&log.drops), 1);
	cr_assert_eq(weft_actor_info(rt, actor, &info), 0);
	cr_assert_eq(info.restarts, 1);
	/* No second restart. */
	crash = act_call(rt, actor, crashes, NULL, 0);
	two = act_call(rt, actor, act_add, &(int64_t){ 7 }, 8);
	check_actor_error(rt, crash, "bad state");
	check_actor_error(rt, two, "bad state");
	act_await_dead(rt, actor);
	cr_assert_eq(api_read(&log.finis), 0);
	cr_assert_eq(api_read(&log.drops), 2);
	act_release(rt, actor);
	api_close(rt);
}

static int crashes_until(weft_task *self)
{
	const int64_t *most = weft_task_arg(self, NULL);

	if (weft_task_attempt(self) <= *most)
		return weft_actor_crash(self, "again");
	return weft_return(self, &(int64_t){ weft_task_attempt(self) }, 8);
}

Test(actors_life, max_task_retries_runs_a_crashed_call_again)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(
		rt, &plain,
		WEFT_ACTOR_OPTIONS(.max_restarts = WEFT_RESTARTS_UNLIMITED, .max_task_retries = 2),
		&log);
	weft_ref ref = act_call(rt, actor, crashes_until, &(int64_t){ 2 }, 8);

	cr_assert_eq(api_take_i64(rt, ref), 3);
	cr_assert_eq(api_read(&log.inits), 3);
	/* One more crash than attempts: the call fails, the actor lives. */
	ref = act_call(rt, actor, crashes_until, &(int64_t){ 3 }, 8);
	check_actor_error(rt, ref, "again");
	cr_assert_eq(act_value(rt, actor), 0);
	/* A call's own retries pay for crashes too; an error of a body is no crash. */
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(crashes_until, .actor = actor, WEFT_ARG((int64_t){ 4 }),
	                                   .opts = WEFT_TASK_OPTIONS(.retries = 4)),
	                         &ref),
	             0);
	cr_assert_eq(api_take_i64(rt, ref), 5);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_life, a_kill_that_counts_as_a_crash_restarts)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_restarts = 2), &log);

	act_call(rt, actor, act_add, &(int64_t){ 3 }, 8);
	cr_assert_eq(act_value(rt, actor), 3);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_RESTART), 0);
	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_RESTART), 0);
	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_RESTART), 0);
	act_await_dead(rt, actor);
	cr_assert_eq(api_read(&log.inits), 3);
	act_release(rt, actor);
	weft_close(rt, WEFT_FOREVER);
}

/* ---- Limits -------------------------------------------------------------------------------- */

struct many {
	weft_actor actor;
	uint32_t limit;
};

static int fills_it(weft_task *self)
{
	const struct many *many = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);

	for (uint32_t i = 0; i < many->limit; i++)
		API_CHECK(weft_actor_call(rt, many->actor, act_add, &(int64_t){ 1 }, 8, NULL) == 0);
	API_CHECK(weft_actor_call(rt, many->actor, act_add, &(int64_t){ 1 }, 8, NULL) ==
	          WEFT_ECALLS);
	return 0;
}

Test(actors_life, pending_calls_are_limited_exactly_for_each_caller)
{
	for (int round = 0; round < 2; round++) {
		weft *rt = api_open(2);
		struct api_gate gate = API_GATE_INIT;
		const uint32_t limit = round ? WEFT_PENDING_DEFAULT : 3;
		weft_actor actor = act_create(
			rt, &plain, WEFT_ACTOR_OPTIONS(.max_pending = round ? 0 : limit), NULL);
		void *arg = &gate;
		weft_ref first = act_call(rt, actor, at_gate, &arg, sizeof arg);
		weft_ref refs[WEFT_PENDING_DEFAULT], poison = api_poison_ref();
		const struct many many = { actor, limit };

		for (uint32_t i = 1; i < limit; i++)
			refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
		cr_assert_eq(weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, &poison),
		             WEFT_ECALLS);
		cr_assert_eq(poison.bits, API_POISON);
		/* Another caller has its own; control is never limited. */
		cr_assert_eq(api_end(rt, api_spawn(rt, fills_it, &many, sizeof many)), 0);
		cr_assert_eq(weft_actor_wait_room(rt, actor, WEFT_POLL), -ETIMEDOUT);
		api_gate_open(&gate);
		cr_assert_eq(api_end(rt, first), 0);
		cr_assert_eq(weft_actor_wait_room(rt, actor, WEFT_FOREVER), 0);
		for (uint32_t i = 1; i < limit; i++)
			cr_assert_eq(api_end(rt, refs[i]), 0);
		/* All ended: there is room for exactly as many again. */
		for (uint32_t i = 0; i < limit; i++)
			refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
		for (uint32_t i = 0; i < limit; i++)
			cr_assert_eq(api_end(rt, refs[i]), 0);
		act_release(rt, actor);
		api_close(rt);
	}
}

/* ---- Names --------------------------------------------------------------------------------- */

Test(actors_life, a_name_is_unique_found_and_free_again_when_kill_returns)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "x"), NULL);
	weft_actor found = { API_POISON }, other;

	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "x"), NULL, &found),
	             -EEXIST);
	cr_assert_eq(found.bits, API_POISON);
	cr_assert_eq(weft_actor_find(rt, NULL, "y", &found), -ENOENT);
	cr_assert_eq(weft_actor_find(rt, "other", "x", &found), -ENOENT);
	cr_assert_eq(weft_actor_find(rt, NULL, "", &found), -EINVAL);
	cr_assert_eq(weft_actor_find(rt, NULL, "x", &found), 0);
	cr_assert_eq(found.bits, actor.bits);
	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "x", .ns = "other"),
	                               NULL, &other),
	             0);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	cr_assert_eq(weft_actor_find(rt, NULL, "x", &found), -ENOENT);
	act_release(rt, found);
	act_release(rt, actor);
	actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "x"), NULL);
	/* The name alone keeps nothing. */
	act_release(rt, actor);
	const int64_t start = api_now();
	while (weft_actor_find(rt, NULL, "x", &found) == 0) {
		act_release(rt, found);
		api_polling(start, "the name is gone");
	}
	act_release(rt, other);
	api_close(rt);
}

Test(actors_life, a_detached_actor_lives_without_handles)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(
		rt, &plain, WEFT_ACTOR_OPTIONS(.name = "d", .flags = WEFT_ACTOR_DETACHED), NULL);

	act_call(rt, actor, act_add, &(int64_t){ 9 }, 8);
	act_release(rt, actor);
	cr_assert_eq(weft_actor_find(rt, NULL, "d", &actor), 0);
	cr_assert_eq(act_value(rt, actor), 9);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	act_release(rt, actor);
	cr_assert_eq(weft_actor_find(rt, NULL, "d", &actor), -ENOENT);
	api_close(rt);
}

struct getter {
	weft *rt;
	struct act_log *log;
	weft_actor got[10];
};

static void *gets_or_creates(void *arg)
{
	struct getter *getter = arg;

	for (int i = 0; i < 10; i++) {
		const int rc = weft_actor_create(
			getter->rt, &plain,
			WEFT_ACTOR_OPTIONS(.name = "one", .flags = WEFT_ACTOR_GET),
			&(struct weft_call){ API_POINTER(getter->log) }, &getter->got[i]);

		API_CHECK(rc == 0 || rc == 1);
	}
	return NULL;
}

Test(actors_life, a_hundred_get_or_creates_make_one_actor)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	struct getter getters[10];
	pthread_t threads[10];

	for (int i = 0; i < 10; i++) {
		getters[i] = (struct getter){ .rt = rt, .log = &log };
		threads[i] = api_thread(gets_or_creates, &getters[i]);
	}
	for (int i = 0; i < 10; i++)
		api_join(threads[i]);
	cr_assert_eq(act_value(rt, getters[0].got[0]), 0);
	cr_assert_eq(api_read(&log.inits), 1);
	for (int i = 0; i < 10; i++) {
		for (int j = 0; j < 10; j++) {
			cr_assert_eq(getters[i].got[j].bits, getters[0].got[0].bits);
			act_release(rt, getters[i].got[j]);
		}
	}
	api_close(rt);
}

/* ---- Bad input ----------------------------------------------------------------------------- */

Test(actors_life, bad_classes_and_options_are_refused_without_a_trace)
{
	static const struct weft_actor_group zero[] = { { "g", 0 } },
					     twice[] = { { "g", 1 }, { "g", 1 } };
	static const struct weft_actor_class bad[] = {
		ACT_CLASS(.flags = 1u << 30),
		ACT_CLASS(.groups = zero, .n_groups = 1),
		ACT_CLASS(.groups = twice, .n_groups = 2),
		ACT_CLASS(.n_groups = 1),
		ACT_CLASS(.max_concurrency = 70000),
		ACT_CLASS(.max_concurrency = 2, .flags = WEFT_ACTOR_IN_ORDER),
		ACT_CLASS(.priority = 4),
		ACT_CLASS(.reserved0 = 1),
	};
	weft *rt = api_open(1);
	weft_actor out = { API_POISON };
	char name[300];

	memset(name, 'n', sizeof name);
	name[299] = 0;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		cr_assert_eq(weft_actor_create(rt, &bad[i], NULL, NULL, &out), -EINVAL);
	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = ""), NULL, &out),
	             -EINVAL);
	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = name), NULL, &out),
	             -EMSGSIZE);
	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.flags = WEFT_ACTOR_GET),
	                               NULL, &out),
	             -EINVAL);
	cr_assert_eq(weft_actor_create(rt, &plain, NULL, WEFT_TASK(act_add), &out), -EINVAL);
	cr_assert_eq(weft_actor_create(NULL, &plain, NULL, NULL, &out), -EINVAL);
	cr_assert_eq(weft_actor_create(rt, NULL, NULL, NULL, &out), -EINVAL);
	cr_assert_eq(out.bits, API_POISON);
	api_close(rt);
}

Test(actors_life, bad_calls_are_refused_without_a_trace)
{
	static const char name[5000];
	weft *rt = api_open(1), *foreign = api_open(1);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref value = api_put_i64(rt, 1), ref = api_poison_ref();

	/* Not an actor: a ref's bits, another runtime, zero. */
	const weft_actor none[] = {
		{ value.bits }, { 0 }, { actor.bits + 1 }, { actor.bits | UINT64_C(1) << 63 }
	};

	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		cr_assert_eq(weft_actor_call(rt, none[i], act_add, NULL, 0, &ref), -EINVAL);
		cr_assert_eq(weft_actor_kill(rt, none[i], WEFT_KILL_NOW), -EINVAL);
		cr_assert_eq(weft_actor_retain(rt, none[i]), -EINVAL);
		cr_assert_eq(weft_actor_died(rt, none[i], &ref), -EINVAL);
	}
	cr_assert_eq(weft_actor_call(foreign, actor, act_add, NULL, 0, &ref), -EINVAL);
	cr_assert_eq(weft_actor_kill(rt, actor, 5), -EINVAL);
	cr_assert_eq(weft_actor_call(rt, actor, NULL, NULL, 0, &ref), -EINVAL);
	cr_assert_eq(weft_actor_call(rt, actor, act_add, name, 5000, &ref), -EMSGSIZE);
	cr_assert_eq(weft_peek(rt, (weft_ref){ actor.bits }), -EINVAL);
	/* A method of another class, an unknown group, options that calls do not have. */
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(act_add, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.actor_class = 8)),
	                         &ref),
	             -EINVAL);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(act_add, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.actor_group = "g")),
	                         &ref),
	             -EINVAL);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(act_add, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)),
	                         &ref),
	             -ENOTSUP);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(act_add, .opts = WEFT_TASK_OPTIONS(.actor_class = 8)),
	                         &ref),
	             -EINVAL);
	cr_assert_eq(ref.bits, API_POISON);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(act_add, .actor = actor, WEFT_ARG((int64_t){ 1 }),
	                                   .opts = WEFT_TASK_OPTIONS(.actor_class = 7)),
	                         &ref),
	             0);
	cr_assert_eq(api_take_i64(rt, ref), 1);
	api_release(rt, value);
	act_release(rt, actor);
	api_close(foreign);
	api_close(rt);
}

/* ---- Classes ------------------------------------------------------------------------------- */

struct class_sum {
	const struct weft_actor_class *class_;
	struct weft_actor_class_info info;
	int seen;
};

static void class_look(void *arg, const struct weft_actor_class_info *info)
{
	struct class_sum *sum = arg;

	if (info->class_ == sum->class_) {
		sum->info = *info;
		sum->seen++;
	}
}

/* An actor whose slot is being given back may be in neither count: all `created` are waited for. */
static struct weft_actor_class_info class_info(weft *rt, const struct weft_actor_class *class_,
                                               uint64_t created)
{
	const int64_t start = api_now();

	for (;;) {
		struct class_sum sum = { .class_ = class_ };

		API_CHECK(weft_actor_classes(rt, class_look, &sum) >= sum.seen);
		API_CHECK(sum.seen == 1);
		if (sum.info.created == created)
			return sum.info;
		api_polling(start, "the actors of a class");
	}
}

Test(actors_life, classes_count_what_their_actors_have_done)
{
	static const struct weft_actor_class one = ACT_CLASS(.max_restarts = 2);
	static const struct weft_actor_class other = WEFT_ACTOR_CLASS(.state_bytes = 8);
	weft *rt = api_open(2);
	struct weft_actor_class_info info;

	cr_assert_eq(weft_actor_classes(rt, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_actor_classes(NULL, class_look, NULL), -EINVAL);
	cr_assert_eq(weft_actor_classes(rt, class_look, &(struct class_sum){ 0 }), 0);
	weft_actor a = act_create(rt, &one, NULL, NULL), b = act_create(rt, &one, NULL, NULL);
	weft_actor c = act_create(rt, &other, NULL, NULL);

	for (int i = 0; i < 5; i++)
		act_value(rt, a);
	act_value(rt, b);
	act_await_phase(rt, a, WEFT_ACTOR_IDLE);
	act_await_phase(rt, b, WEFT_ACTOR_IDLE);
	info = class_info(rt, &one, 2);
	cr_assert_str_eq(info.name, "act");
	cr_assert_eq(info.idle, 2);
	cr_assert_eq(info.pending + info.running + info.restarting + info.queued, 0);
	cr_assert_eq(info.calls, 2 + 6); /* with their inits */
	cr_assert_eq(info.restarts, 0);
	cr_assert_str_eq(class_info(rt, &other, 1).name, "actor");
	/* What the dead did stays, with and without a handle that is left. */
	cr_assert_eq(weft_actor_kill(rt, a, WEFT_KILL_RESTART), 0);
	act_value(rt, a);
	cr_assert_eq(weft_actor_stop(rt, a, WEFT_FOREVER), 0);
	info = class_info(rt, &one, 2);
	cr_assert_eq(info.idle, 1);
	cr_assert_eq(info.restarts, 1);
	const uint64_t calls = info.calls;

	cr_assert_geq(calls, 8 + 2);
	act_release(rt, a);
	info = class_info(rt, &one, 2);
	cr_assert_eq(info.calls, calls);
	cr_assert_eq(info.restarts, 1);
	act_release(rt, b);
	act_release(rt, c);
	api_close(rt);
}
