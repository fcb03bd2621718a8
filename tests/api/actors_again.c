/*
 * Goal: actors and calls that begin again: back-off against storms of restarts, in virtual time to
 * the nanosecond; where a further attempt stands among the calls of its caller; the static options
 * of a method and their change per call. (Rows A5, A13, A14, A25.)
 * Method: init and bodies write down when and in which order they ran; time moves only when the
 * actor is seen to wait for it.
 */
#include "actors.h"

#define MS         INT64_C(1000000)
#define CALM       (10000 * MS)
#define LIVES_MOST 40

static const struct weft_actor_class plain = ACT_CLASS(.flags = 0);

/* ---- Back-off -------------------------------------------------------------------------------- */

struct lives {
	struct api_count n;
	weft_deadline at[LIVES_MOST];
};

static int init_notes(weft_task *self)
{
	struct lives *lives = api_arg_pointer(self);

	lives->at[api_read(&lives->n)] = weft_now(weft_task_runtime(self));
	api_add(&lives->n, 1);
	return 0;
}

static const struct weft_actor_class stormy =
	WEFT_ACTOR_CLASS(.name = "stormy", .init = init_notes,
                         .max_restarts = WEFT_RESTARTS_UNLIMITED);

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "storm");
}

/* One worker, nothing but the actor suspends, and time stands still. */
static weft *open_virtual(void)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_VIRTUAL_CLOCK,
	                                 .seed = test_seed())) == 0);
	return rt;
}

static uint64_t suspended(weft *rt)
{
	struct weft_stats stats = { .struct_size = sizeof stats };

	API_CHECK(weft_stats(rt, &stats) == 0);
	return stats.suspended;
}

/* Whatever was made ready before has run: woken bodies go before new ones. */
static void settle(weft *rt)
{
	for (int i = 0; i < 3; i++)
		API_CHECK(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)) == 0);
}

/* The actor crashes; it must begin anew after exactly `delay`. */
static void crash_and_time(weft *rt, weft_actor actor, struct lives *lives, int64_t delay)
{
	const uint64_t before = suspended(rt), n = api_read(&lives->n);
	const weft_deadline start = weft_now(rt);

	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	if (delay) {
		const int64_t polled = api_now();

		while (suspended(rt) == before)
			api_polling(polled, "the actor waits before it begins anew");
		cr_assert_eq(weft_clock_advance(rt, delay - 1), 0);
		settle(rt);
		cr_assert_eq(api_read(&lives->n), n, "too early: %ld", (long)delay);
		cr_assert_eq(act_phase(rt, actor), WEFT_ACTOR_RESTARTING);
		cr_assert_eq(weft_clock_advance(rt, 1), 0);
	}
	api_await_count(&lives->n, n + 1);
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	cr_assert_eq(lives->at[n] - start, delay);
	cr_assert_eq(api_read(&lives->n), n + 1);
}

static weft_actor born(weft *rt, struct lives *lives)
{
	weft_actor actor;

	cr_assert_eq(weft_actor_create(rt, &stormy, NULL, &(struct weft_call){ API_POINTER(lives) },
	                               &actor),
	             0);
	api_await_count(&lives->n, 1);
	return actor;
}

Test(actors_again, restarts_in_a_row_take_longer_and_longer_up_to_a_second)
{
	weft *rt = open_virtual();
	struct lives lives = { 0 };
	weft_actor actor = born(rt, &lives);
	int64_t delay = 0;

	for (int i = 0; i < 14; i++) {
		crash_and_time(rt, actor, &lives, delay);
		delay = !delay ? MS : 2 * delay < 1000 * MS ? 2 * delay : 1000 * MS;
	}
	cr_assert_eq(delay, 1000 * MS);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_again, an_actor_that_has_lived_for_a_while_begins_anew_at_once)
{
	weft *rt = open_virtual();
	struct lives lives = { 0 };
	weft_actor actor = born(rt, &lives);

	for (int round = 0; round < 3; round++) {
		crash_and_time(rt, actor, &lives, 0);
		crash_and_time(rt, actor, &lives, 1 * MS);
		crash_and_time(rt, actor, &lives, 2 * MS);
		/* Not quite long enough, counted from its last beginning. */
		cr_assert_eq(weft_clock_advance(rt, CALM - 1), 0);
		crash_and_time(rt, actor, &lives, 4 * MS);
		cr_assert_eq(weft_clock_advance(rt, CALM), 0);
	}
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_again, an_actor_that_waits_to_begin_anew_can_be_killed_and_keeps_its_calls_until_then)
{
	weft *rt = open_virtual();
	struct lives lives = { 0 };
	weft_actor actor = born(rt, &lives);
	weft_ref queued;

	crash_and_time(rt, actor, &lives, 0);
	const uint64_t before = suspended(rt);

	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	queued = act_call(rt, actor, api_body_nothing, NULL, 0);
	const int64_t polled = api_now();

	while (suspended(rt) == before)
		api_polling(polled, "the actor waits before it begins anew");
	settle(rt);
	cr_assert_eq(weft_peek(rt, queued), 0);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	cr_assert_eq(api_end(rt, queued), WEFT_EACTOR);
	act_await_dead(rt, actor);
	cr_assert_eq(api_read(&lives.n), 2);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- The place of a further attempt ---------------------------------------------------------- */

struct order {
	struct api_gate gate;
	struct api_count n;
	char text[32];
};

struct step {
	struct order *order;
	char name;
	uint32_t tries; /* that end badly */
	bool crash;
};

static int steps(weft_task *self)
{
	const struct step *step = weft_task_arg(self, NULL);
	struct order *order = step->order;

	if (!step->name) {
		api_gate_pass(&order->gate);
		return 0;
	}
	order->text[api_add(&order->n, 1) - 1] = step->name;
	if (weft_task_attempt(self) > step->tries)
		return 0;
	return step->crash ? weft_actor_crash(self, "step") : weft_fail(self, -5, "step");
}

/* Calls "a" to "f" of one caller, all queued before the first runs; "c" fails once. */
static void run_steps(weft *rt, weft_actor actor, struct order *order, bool crash,
                      const struct weft_task_options *opts)
{
	struct step step = { .order = order };
	weft_ref refs[7];

	for (int i = 0; i < 7; i++) {
		step.name = i ? (char)('a' + i - 1) : 0;
		step.tries = step.name == 'c';
		step.crash = crash;
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(steps, .actor = actor, WEFT_ARG(step),
		                                   .opts = i ? opts : NULL),
		                         &refs[i]),
		             0);
	}
	api_gate_await(&order->gate, 1);
	api_gate_open(&order->gate);
	for (int i = 0; i < 7; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0, "%d", i);
}

Test(actors_again, a_call_that_runs_again_after_a_crash_comes_after_those_that_wait)
{
	static const struct weft_task_options retried = { .struct_size = sizeof retried,
		                                          .retries = 1 };

	for (int round = 0; round < 2; round++) {
		weft *rt = api_open(1 + (uint32_t)round);
		struct order order = { .gate = API_GATE_INIT };
		weft_actor actor = act_create(
			rt, &plain,
			WEFT_ACTOR_OPTIONS(.max_restarts = 3, .max_task_retries = !round), NULL);

		run_steps(rt, actor, &order, true, round ? &retried : NULL);
		cr_assert_str_eq(order.text, "abcdefc");
		act_release(rt, actor);
		api_close(rt);
	}
}

Test(actors_again, a_call_that_runs_again_after_an_error_comes_after_those_that_wait)
{
	static const struct weft_task_options retried = { .struct_size = sizeof retried,
		                                          .retries = 1 };
	weft *rt = api_open(2);
	struct order order = { .gate = API_GATE_INIT };
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	run_steps(rt, actor, &order, false, &retried);
	cr_assert_str_eq(order.text, "abcdefc");
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Static options of a method -------------------------------------------------------------- */

static const struct weft_actor_group io[] = { { "io", 1 } };
static const struct weft_actor_class grouped = ACT_CLASS(.groups = io, .n_groups = 1);

/* What every call of the method has that says nothing else. */
static const struct weft_task_options method = { .struct_size = sizeof method,
	                                         .actor_group = "io",
	                                         .actor_class = 7,
	                                         .n_outputs = 2,
	                                         .retries = 1 };

static int fails_at_first(weft_task *self)
{
	void *data = NULL;

	if (weft_task_attempt(self) == 1)
		return weft_fail(self, -9, "first");
	API_CHECK(weft_task_output(self, 1, 8, &data) == 0);
	*(int64_t *)data = weft_task_attempt(self);
	return weft_return(self, &(int64_t){ 1 }, 8);
}

static int one_output(weft_task *self)
{
	void *data = NULL;

	API_CHECK(weft_task_output(self, 1, 8, &data) == -EINVAL);
	return weft_return(self, &(int64_t){ 3 }, 8);
}

static int waits_inside(weft_task *self)
{
	struct weft_view view;

	return weft_get(weft_task_runtime(self), *(const weft_ref *)weft_task_arg(self, NULL),
	                WEFT_FOREVER, &view);
}

Test(actors_again, the_static_options_of_a_method_hold_unless_a_call_says_otherwise)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &grouped, NULL, NULL);
	weft_ref two[2] = { { 0 } }, one = WEFT_NONE;
	const struct weft_error *error = NULL;

	/* As they are: two outputs, a second attempt. */
	cr_assert_eq(
		weft_submit(rt, WEFT_TASK(fails_at_first, .actor = actor, .opts = &method), two),
		0);
	cr_assert_eq(api_take_i64(rt, two[0]), 1);
	cr_assert_eq(api_take_i64(rt, two[1]), 2);
	/* No second attempt for this call. */
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(fails_at_first, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.base = &method,
	                                                             .retries = WEFT_RETRIES_NONE)),
	                         two),
	             0);
	cr_assert_eq(api_get(rt, two[0]), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, two[0], &error), 0);
	cr_assert_eq(error->code, -9);
	cr_assert_eq(api_end(rt, two[1]), WEFT_ETASK);
	api_release(rt, two[0]);
	/* One output. */
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(one_output, .actor = actor,
	                              .opts = WEFT_TASK_OPTIONS(.base = &method, .n_outputs = 1)),
	                    &one),
		0);
	cr_assert_eq(api_take_i64(rt, one), 3);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_again, a_call_may_leave_the_group_of_its_method_and_no_call_its_class)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &grouped, NULL, NULL);
	weft_ref event = api_event(rt), inside, one = WEFT_NONE, two = WEFT_NONE;

	/* The group: "io" is full, so only a call of the default group comes in. */
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(waits_inside, .actor = actor, WEFT_ARG(event),
	                              .opts = WEFT_TASK_OPTIONS(.base = &method, .n_outputs = 1)),
	                    &inside),
		0);
	api_await_state(rt, inside, WEFT_REF_BLOCKED);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(api_body_nothing, .actor = actor,
	                              .opts = WEFT_TASK_OPTIONS(.base = &method, .n_outputs = 1)),
	                    &one),
		0);
	cr_assert_eq(api_state(rt, one), WEFT_REF_QUEUED);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(api_body_nothing, .actor = actor,
	                              .opts = WEFT_TASK_OPTIONS(.base = &method, .n_outputs = 1,
	                                                        .actor_group =
	                                                                WEFT_ACTOR_GROUP_DEFAULT)),
	                    &two),
		0);
	cr_assert_eq(api_end(rt, two), 0);
	cr_assert_eq(api_state(rt, one), WEFT_REF_QUEUED);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, one), 0);
	cr_assert_eq(api_end(rt, inside), 0);
	/* Another class, no such group: refused by whatever they come from. */
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(api_body_nothing, .actor = actor,
	                              .opts = WEFT_TASK_OPTIONS(.base = &method, .actor_class = 8)),
	                    &two),
		-EINVAL);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_nothing, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(.base = &method,
	                                                             .actor_group = "")),
	                         &two),
	             -EINVAL);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}
