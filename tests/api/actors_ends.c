/*
 * Goal: nothing is lost, leaked or left over where calls, actors and runtimes end: accounts of
 * callers, closes, deadlines of inits, calls that run again, interrupts.
 * Method: each test is named after what was wrong once and brings it about by gates and events,
 * or, where only chance can, by many rounds whose losses add up to what a check cannot miss.
 */
#include "actors.h"

static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 0);

/* ---- Accounts -------------------------------------------------------------------------------- */

#define PENDING 64u

static const struct weft_actor_class several =
	ACT_CLASS(.max_concurrency = 8, .max_pending = PENDING);

static int nothing_for_a_moment(weft_task *self)
{
	(void)self;
	for (volatile int i = 0; i < 100; i++)
		continue;
	return 0;
}

static void await_idle(weft *rt, weft_actor actor)
{
	struct weft_actor_info info = { .struct_size = sizeof info };
	const int64_t start = api_now();

	do {
		api_polling(start, "all calls have ended");
		API_CHECK(weft_actor_info(rt, actor, &info) == 0);
	} while (info.running || info.queued);
}

/* One caller, many calls; then as many as it may have pending, and one more. */
static int counts_its_calls(weft_task *self)
{
	const weft_actor actor = *(const weft_actor *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	weft_ref refs[PENDING], event = api_event(rt);

	for (uint32_t i = 0; i < api_scaled(2000000); i++) {
		int rc;

		while ((rc = weft_actor_call(rt, actor, nothing_for_a_moment, NULL, 0, NULL)) !=
		       0) {
			API_CHECK(rc == WEFT_ECALLS);
			API_CHECK(weft_actor_wait_room(rt, actor, WEFT_FOREVER) == 0);
		}
	}
	await_idle(rt, actor);
	for (uint32_t i = 0; i < PENDING; i++)
		refs[i] = act_call(rt, actor, api_body_get, &event, sizeof event);
	API_CHECK(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, NULL) == WEFT_ECALLS);
	API_CHECK(weft_event_set(rt, event, NULL, 0) == 0);
	for (uint32_t i = 0; i < PENDING; i++)
		API_CHECK(api_end(rt, refs[i]) == 0);
	api_release(rt, event);
	return 0;
}

Test(actors_ends, no_end_of_several_calls_at_once_is_lost_in_the_account)
{
	weft *rt = api_open(4);
	weft_actor actor = act_create(rt, &several, NULL, NULL);

	cr_assert_eq(api_end(rt, api_spawn(rt, counts_its_calls, &actor, sizeof actor)), 0);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Closes ---------------------------------------------------------------------------------- */

static struct api_count ran;

static int sleeps_and_counts(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_sleep_until(rt, weft_now(rt) + 5000000) == 0);
	api_add(&ran, 1);
	return 0;
}

static int fini_submits(weft_task *self)
{
	for (int i = 0; i < 20; i++)
		API_CHECK(weft_spawn(weft_task_runtime(self), sleeps_and_counts, NULL, 0, NULL) ==
		          0);
	return 0;
}

static int makes_a_detached_actor(weft *rt)
{
	static const struct weft_actor_class detached =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .fini = sleeps_and_counts,
	                         .flags = WEFT_ACTOR_DETACHED);
	weft_actor actor;
	const int rc = weft_actor_create(rt, &detached, NULL, NULL, &actor);

	if (!rc)
		act_release(rt, actor);
	return rc;
}

static int fini_makes_an_actor(weft_task *self)
{
	API_CHECK(makes_a_detached_actor(weft_task_runtime(self)) == 0);
	return 0;
}

/* What its fini does is done when the runtime is closed, as often as it counts. */
static void close_with(weft_task_fn *fini, uint32_t times, bool released)
{
	const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.state_bytes = 8, .fini = fini);
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &class_, NULL, NULL);

	api_set(&ran, 0);
	cr_assert_eq(api_end(rt, act_call(rt, actor, api_body_nothing, NULL, 0)), 0);
	if (released)
		act_release(rt, actor);
	api_close(rt);
	cr_assert_eq(api_read(&ran), times, "%d of %d", (int)api_read(&ran), (int)times);
}

Test(actors_ends, close_waits_for_what_a_fini_has_submitted)
{
	close_with(fini_submits, 20, false);
	close_with(fini_submits, 20, true);
}

Test(actors_ends, close_waits_for_a_fini_that_blocks)
{
	close_with(sleeps_and_counts, 1, false);
	close_with(sleeps_and_counts, 1, true);
}

Test(actors_ends, close_ends_an_actor_that_a_fini_has_made)
{
	close_with(fini_makes_an_actor, 1, false);
	close_with(fini_makes_an_actor, 1, true);
}

static int killed_and_makes_an_actor(weft_task *self)
{
	const int64_t start = api_now();

	api_add(&ran, 1);
	while (!weft_task_cancelled(self))
		api_polling(start, "its actor is killed");
	API_CHECK(makes_a_detached_actor(weft_task_runtime(self)) == 0);
	api_add(&ran, 1);
	return 0;
}

Test(actors_ends, close_ends_an_actor_that_a_body_makes_while_actors_are_killed)
{
	static const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.state_bytes = 8);
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &class_, NULL, NULL);

	api_set(&ran, 0);
	cr_assert_eq(weft_actor_call(rt, actor, killed_and_makes_an_actor, NULL, 0, NULL), 0);
	api_await_count(&ran, 1);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_eq(api_read(&ran), 2);
}

Test(actors_ends, close_right_after_the_last_handle_leaves_nothing)
{
	for (uint32_t i = 0; i < api_scaled(200) + 20; i++) {
		weft *rt = api_open(2);
		struct act_log log = { 0 };
		weft_actor actor = act_create(rt, &plain, NULL, &log);

		if (i % 2)
			cr_assert_eq(weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, NULL),
			             0);
		else
			cr_assert_eq(act_value(rt, actor), 0);
		act_release(rt, actor);
		cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0, "round %d", (int)i);
		cr_assert_eq(api_read(&log.inits), 1);
		cr_assert_eq(api_read(&log.finis), 1);
		cr_assert_eq(api_read(&log.drops), 1);
	}
}

static int crashes_twice(weft_task *self)
{
	return api_add(&ran, 1) <= 2 ? weft_actor_crash(self, "twice") : 0;
}

Test(actors_ends, close_waits_for_a_restart_of_an_actor_that_nobody_has)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_restarts = 5), &log);

	api_set(&ran, 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(weft_actor_call(rt, actor, crashes_twice, NULL, 0, NULL), 0);
	act_release(rt, actor);
	api_close(rt);
	cr_assert_eq(api_read(&ran), 3);
	cr_assert_eq(api_read(&log.inits), 3);
	cr_assert_eq(api_read(&log.finis), 1);
	cr_assert_eq(api_read(&log.drops), 3);
}

/* ---- Slots ----------------------------------------------------------------------------------- */

static int exits(weft_task *self)
{
	return weft_actor_exit(self);
}

/* More, one after the other, than there are slots. */
Test(actors_ends, a_detached_actor_that_is_dead_does_not_keep_its_slot)
{
	static const struct weft_actor_class class_ =
		ACT_CLASS(.max_pending = 0, .flags = WEFT_ACTOR_DETACHED);
	weft *rt = NULL;
	struct act_log log = { 0 };

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .tasks_max = 1024)), 0);
	for (uint32_t i = 0; i < 3000; i++) {
		weft_actor actor = WEFT_ACTOR_NONE;
		struct weft_actor_info info = { .struct_size = sizeof info };

		cr_assert_eq(weft_actor_create(rt, &class_, NULL,
		                               &(struct weft_call){ API_POINTER(&log) }, &actor),
		             0, "round %d", (int)i);
		if (i % 3 == 0)
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
		else if (i % 3 == 1)
			cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
		else
			cr_assert_eq(api_end(rt, act_call(rt, actor, exits, NULL, 0)), WEFT_EACTOR);
		/* Until the count is given back. */
		act_await_dead(rt, actor);
		cr_assert_eq(weft_actor_info(rt, actor, &info), 0);
		cr_assert_eq(info.phase, WEFT_ACTOR_DEAD);
		act_release(rt, actor);
	}
	cr_assert_eq(api_read(&log.inits), api_read(&log.drops));
	api_close(rt);
}

/* ---- Deadlines of inits ---------------------------------------------------------------------- */

#define LATE 50

static int never(weft_task *self)
{
	(void)self;
	API_CHECK(!"an init ran whose deadline had passed");
	return 0;
}

/* Holds the only worker until the deadlines have passed, then uses what they have freed. */
static int makes_late_actors(weft_task *self)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .init = never);
	static const struct weft_task_options named = { .struct_size = sizeof named, .name = "n" };
	weft_actor *actors = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const struct weft_task_options soon = { .struct_size = sizeof soon,
		                                .deadline = weft_now(rt) + 2000000 };
	const struct weft_task_options later = { .struct_size = sizeof later,
		                                 .deadline = soon.deadline + 1 };
	unsigned char arg[64];

	memset(arg, 0xee, sizeof arg);
	for (int i = 0; i < LATE; i++)
		API_CHECK(weft_actor_create(rt, &class_, NULL, &(struct weft_call){ .opts = &soon },
		                            &actors[i]) == 0);
	weft_ref ref = api_submit(rt, &(struct weft_call){ .fn = never, .opts = &later });
	const int64_t start = api_now();

	while (weft_peek(rt, ref) == 0)
		api_polling(start, "the deadlines");
	API_CHECK(api_end(rt, ref) == WEFT_EDEADLINE);
	for (uint32_t i = 0; i < 1000; i++)
		API_CHECK(weft_submit(rt,
		                      &(struct weft_call){ .fn = api_body_nothing,
		                                           .arg = arg,
		                                           .arg_size = 17 + i % 47,
		                                           .opts = &named },
		                      NULL) == 0);
	return 0;
}

Test(actors_ends, an_init_whose_deadline_passes_in_the_queue_ends_its_actor)
{
	weft *rt = NULL;
	weft_actor actors[LATE];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .bind = WEFT_BIND_NONE)), 0);
	weft_ref ref = api_submit(rt, WEFT_TASK(makes_late_actors, API_POINTER(actors)));

	cr_assert_eq(api_end(rt, ref), 0);
	for (int i = 0; i < LATE; i++) {
		const struct weft_error *error = NULL;

		act_await_dead(rt, actors[i]);
		ref = act_call(rt, actors[i], api_body_nothing, NULL, 0);
		cr_assert_eq(api_get(rt, ref), WEFT_EACTOR);
		cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
		cr_assert_not_null(error->cause);
		cr_assert_eq(error->cause->status, WEFT_EDEADLINE);
		api_release(rt, ref);
		act_release(rt, actors[i]);
	}
	api_close(rt);
}

struct finder {
	weft *rt;
	struct api_count ends, kills;
};

static void *kills_by_name(void *arg)
{
	struct finder *finder = arg;
	weft_actor actor;

	while (!api_read(&finder->ends)) {
		if (weft_actor_find(finder->rt, NULL, "late", &actor))
			continue;
		API_CHECK(weft_actor_kill(finder->rt, actor, WEFT_KILL_NOW) == 0);
		act_release(finder->rt, actor);
		api_add(&finder->kills, 1);
	}
	return NULL;
}

/* The event is not set until all is over: what waits for it then was left behind. */
Test(actors_ends, an_init_of_an_actor_that_was_killed_meanwhile_does_not_wait)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .init = never);
	weft *rt = api_open(2);
	struct finder finder = { .rt = rt };
	weft_ref event = api_event(rt);
	pthread_t thread = api_thread(kills_by_name, &finder);

	for (uint32_t i = 0; i < api_scaled(5000); i++) {
		weft_actor actor = WEFT_ACTOR_NONE;

		cr_assert_eq(weft_actor_create(rt, &class_, WEFT_ACTOR_OPTIONS(.name = "late"),
		                               &(struct weft_call){ WEFT_AFTER(event) }, &actor),
		             0);
		act_await_dead(rt, actor);
		act_release(rt, actor);
	}
	api_set(&finder.ends, 1);
	api_join(thread);
	const int64_t start = api_now();

	while (api_tasks_live(rt) > 1)
		api_polling(start, "all inits have ended");
	api_release(rt, event);
	api_close(rt);
}

/* ---- Calls that run again -------------------------------------------------------------------- */

static int crashes_once(weft_task *self)
{
	return weft_task_attempt(self) == 1 ? weft_actor_crash(self, "once") : 0;
}

#define AGAIN WEFT_ACTOR_OPTIONS(.max_restarts = 5, .max_task_retries = 2)

Test(actors_ends, a_call_that_has_waited_for_an_input_can_run_again)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	weft_actor actor = act_create(rt, &plain, AGAIN, NULL);
	weft_ref ref = api_submit(rt, WEFT_TASK(crashes_once, .actor = actor, WEFT_AFTER(event)));

	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	api_release(rt, event);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* The second init waits for the event of the test. */
static int init_waits_again(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);

	return api_add(&ran, 1) > 1 ? api_get(weft_task_runtime(self), *event) : 0;
}

#define INPUT_BYTES (4u << 20)
#define STORE_BYTES (32u << 20)

/* More than fits at once: whatever a round does not let go of is missed soon. */
static void again_with_inputs(bool killed)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .init = init_waits_again);
	static char bytes[INPUT_BYTES];
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .store_bytes = STORE_BYTES)), 0);
	for (int i = 0; i < 24; i++) {
		weft_ref event = api_event(rt), in = WEFT_NONE;
		weft_actor actor;

		api_set(&ran, 0);
		cr_assert_eq(weft_actor_create(rt, &class_, AGAIN,
		                               &(struct weft_call){ WEFT_ARG(event) }, &actor),
		             0);
		cr_assert_eq(weft_put(rt, bytes, sizeof bytes, &in), 0);
		weft_ref ref =
			api_submit(rt, WEFT_TASK(crashes_once, .actor = actor, WEFT_INPUTS(in)));

		api_await_count(&ran, 2);
		if (killed)
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
		cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
		cr_assert_eq(api_end(rt, ref), killed ? WEFT_EACTOR : 0);
		api_release(rt, in);
		act_release(rt, actor);
		api_release(rt, event);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_ends, inputs_of_a_call_that_runs_again_are_let_go_of_once)
{
	again_with_inputs(false);
}

Test(actors_ends, inputs_of_a_call_that_is_killed_before_it_runs_again_are_let_go_of_once)
{
	again_with_inputs(true);
}

/* ---- Long chains ----------------------------------------------------------------------------- */

static int leaves_at_gate(weft_task *self)
{
	struct api_gate *gate = api_arg_pointer(self);
	const int rc = weft_actor_exit(self);

	api_gate_pass(gate);
	return rc;
}

static int sets(weft_task *self)
{
	return weft_event_set(weft_task_runtime(self), *(const weft_ref *)weft_task_arg(self, NULL),
	                      NULL, 0);
}

/*
 * Each call waits for the one before it and for nothing else; the first for an event that is set
 * when the actor accepts no more: each is refused when the one before it has been.
 */
static void chain_of_refusals(bool by_task)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .max_pending = WEFT_PENDING_UNLIMITED,
	                         .flags = WEFT_ACTOR_ANY_ORDER);
	const uint32_t n = api_scaled(100000) + 10000;
	weft_ref *refs = calloc(n, sizeof *refs);
	weft *rt = api_open(2);
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = act_create(rt, &class_, NULL, NULL);
	weft_ref event = api_event(rt);
	void *arg = &gate;

	cr_assert_not_null(refs);
	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_submit(
			rt,
			WEFT_TASK(api_body_nothing, .actor = actor,
		                  WEFT_AFTER(i ? refs[i - 1] : event),
		                  .opts = WEFT_TASK_OPTIONS(.on_input_error = WEFT_INPUT_IGNORE)));
	weft_ref leaver = act_call(rt, actor, leaves_at_gate, &arg, sizeof arg);

	api_gate_await(&gate, 1);
	if (by_task)
		cr_assert_eq(api_end(rt, api_spawn(rt, sets, &event, sizeof event)), 0);
	else
		cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_end(rt, refs[n - 1 - i]), WEFT_EACTOR);
	api_gate_open(&gate);
	api_end(rt, leaver);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
	free(refs);
}

Test(actors_ends, a_long_chain_of_refusals_takes_no_stack)
{
	chain_of_refusals(false);
	chain_of_refusals(true);
}

struct link {
	weft *rt;
	weft_actor next; /* zero: the last one */
	struct api_count *inits, *drops;
	bool kills;
};

static int link_init(weft_task *self)
{
	const struct link *link = *(struct link *const *)weft_task_arg(self, NULL);

	*(struct link *)weft_actor_state(self) = *link;
	api_add(link->inits, 1);
	return 0;
}

static void link_drop(void *state, size_t size)
{
	struct link *link = state;

	API_CHECK(size == sizeof *link);
	api_add(link->drops, 1);
	if (!link->next.bits)
		return;
	if (link->kills)
		API_CHECK(weft_actor_kill(link->rt, link->next, WEFT_KILL_NOW) == 0);
	act_release(link->rt, link->next);
}

static int releases(weft_task *self)
{
	act_release(weft_task_runtime(self), *(const weft_actor *)weft_task_arg(self, NULL));
	return 0;
}

/* Each state has the only handle of the next actor and lets go of it when it is dropped. */
static void chain_of_drops(bool by_task, bool kills)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct link), .init = link_init,
	                         .drop = link_drop);
	const uint32_t n = api_scaled(100000) + 10000;
	weft *rt = api_open(2);
	struct api_count inits = { 0 }, drops = { 0 };
	weft_actor actor = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		struct link link = { rt, actor, &inits, &drops, kills };

		cr_assert_eq(weft_actor_create(rt, &class_, NULL,
		                               &(struct weft_call){ API_POINTER(&link) }, &actor),
		             0);
		api_await_count(&inits, i + 1);
	}
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	if (by_task)
		cr_assert_eq(api_end(rt, api_spawn(rt, releases, &actor, sizeof actor)), 0);
	else
		act_release(rt, actor);
	api_await_count(&drops, n);
	api_close(rt);
	cr_assert_eq(api_read(&drops), n);
}

Test(actors_ends, a_long_chain_of_drops_takes_no_stack)
{
	chain_of_drops(false, false);
	chain_of_drops(true, false);
	chain_of_drops(false, true);
}

/* ---- Whoever creates it ---------------------------------------------------------------------- */

struct creator {
	weft_ref event; /* that init waits for; zero: it is queued behind its creator */
	weft_actor actor;
	struct api_gate gate;
};

static int creates_and_stays(weft_task *self)
{
	struct creator *c = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const struct weft_call init = { .inputs = c->event.bits ? &c->event : NULL,
		                        .n_after = c->event.bits != 0 };

	API_CHECK(weft_actor_create(rt, &plain, NULL, &init, &c->actor) == 0);
	api_gate_pass(&c->gate);
	return weft_task_cancelled(self) ? -ECANCELED : 0;
}

static void cancel_of_the_creator(bool waits)
{
	weft *rt = api_open(1);
	struct creator c = { .event = WEFT_NONE };

	if (waits)
		c.event = api_event(rt);
	void *arg = &c;
	weft_ref creator = api_spawn(rt, creates_and_stays, &arg, sizeof arg);

	api_gate_await(&c.gate, 1);
	cr_assert_eq(weft_cancel(rt, creator), 0);
	api_gate_open(&c.gate);
	cr_assert_eq(api_end(rt, creator), -ECANCELED);
	if (waits) {
		cr_assert_eq(act_phase(rt, c.actor), WEFT_ACTOR_PENDING);
		cr_assert_eq(weft_event_set(rt, c.event, NULL, 0), 0);
		api_release(rt, c.event);
	}
	cr_assert_eq(act_value(rt, c.actor), 0);
	act_release(rt, c.actor);
	api_close(rt);
}

Test(actors_ends, a_cancel_of_its_creator_is_not_the_end_of_an_actor_whose_init_is_to_come)
{
	cancel_of_the_creator(true);
	cancel_of_the_creator(false);
}

/* ---- Handles without a count ----------------------------------------------------------------- */

struct stale {
	weft *rt;
	struct api_count bits; /* of an actor that may go at any time; 0: none */
	struct api_count ends, looks;
};

static void check_stale(int64_t rc)
{
	/* WEFT_ECALLS: the actor has not run what this thread called before. */
	API_CHECK(rc >= 0 || rc == -EINVAL || rc == WEFT_EACTOR || rc == -ETIMEDOUT ||
	          rc == WEFT_ECALLS);
}

static void look_at_life(weft *rt, weft_actor actor, uint32_t door)
{
	struct weft_actor_info info = { .struct_size = sizeof info };
	weft_ref ref = WEFT_NONE;
	int rc;

	switch (door) {
	case 0:
		check_stale(weft_actor_info(rt, actor, &info));
		return;
	case 1:
		check_stale(weft_actor_stop(rt, actor, WEFT_POLL));
		return;
	case 2:
		check_stale(weft_actor_kill(rt, actor, WEFT_KILL_NOW));
		return;
	case 3:
		check_stale(weft_actor_wait_room(rt, actor, WEFT_POLL));
		return;
	case 4:
		check_stale(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, NULL));
		return;
	case 5:
		rc = weft_actor_retain(rt, actor);
		check_stale(rc);
		if (!rc)
			act_release(rt, actor);
		return;
	case 6:
		rc = weft_actor_ref(rt, actor, &ref);
		break;
	case 7:
		rc = weft_actor_call(rt, actor, api_body_nothing, NULL, 0, &ref);
		break;
	default:
		rc = weft_actor_died(rt, actor, &ref);
	}
	check_stale(rc);
	if (!rc)
		api_release(rt, ref);
}

static void look_at_utilities(struct stale *stale, weft_actor actor, uint32_t door,
                              weft_topic *topic, weft_pool *pool)
{
	weft_ref ref = WEFT_NONE;

	if (door == 0) {
		const int rc = weft_topic_subscribe(topic, actor, api_body_nothing);

		check_stale(rc);
		if (!rc)
			API_CHECK(weft_topic_unsubscribe(topic, actor, api_body_nothing) == 0);
	} else if (door == 1) {
		const int rc = weft_pool_push(pool, actor);

		check_stale(rc);
		/* Not there when it was dead. */
		if (!rc && weft_pool_pop_idle(pool, &actor) == 0)
			act_release(stale->rt, actor);
	} else {
		const int rc = weft_tell_after(stale->rt, actor, INT64_C(1) << 60, api_body_nothing,
		                               NULL, 0, &ref);

		check_stale(rc);
		if (!rc)
			API_CHECK(weft_cancel(stale->rt, ref) == 0);
		if (!rc)
			api_release(stale->rt, ref);
	}
}

static void *looks_at_stale(void *arg)
{
	struct stale *stale = arg;
	weft_topic *topic = NULL;
	weft_pool *pool = NULL;

	API_CHECK(weft_topic_create(stale->rt, &topic) == 0);
	API_CHECK(weft_pool_create(stale->rt, NULL, 0, &pool) == 0);
	for (uint32_t i = 0; !api_read(&stale->ends); i++) {
		const weft_actor actor = { api_read(&stale->bits) };

		if (i % 4)
			look_at_life(stale->rt, actor, i / 4 % 9);
		else
			look_at_utilities(stale, actor, i / 4 % 3, topic, pool);
		api_add(&stale->looks, 1);
	}
	weft_topic_destroy(topic);
	weft_pool_destroy(pool);
	return NULL;
}

Test(actors_ends, a_handle_without_a_count_is_an_error_at_every_door_when_it_is_stale)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .max_pending = 4);
	weft *rt = api_open(1);
	struct stale stale = { .rt = rt };
	pthread_t threads[2] = { api_thread(looks_at_stale, &stale),
		                 api_thread(looks_at_stale, &stale) };

	for (uint32_t i = 0; i < api_scaled(20000) || api_read(&stale.looks) < 1000; i++) {
		weft_actor actor = act_create(rt, &class_, NULL, NULL);

		api_set(&stale.bits, actor.bits);
		act_release(rt, actor);
	}
	api_set(&stale.ends, 1);
	api_join(threads[0]);
	api_join(threads[1]);
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
}

/* ---- Interrupts ------------------------------------------------------------------------------ */

Test(actors_ends, an_interrupt_leaves_the_actor_that_somebody_waits_for)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref died = WEFT_NONE, again = WEFT_NONE;

	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
	weft_interrupt(rt);
	cr_assert_eq(api_get(rt, died), -ECANCELED);
	/* Its event has ended without it. */
	cr_assert_eq(weft_actor_died(rt, actor, &again), 0);
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	api_release(rt, died);
	api_release(rt, again);
	act_release(rt, actor);
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
}
