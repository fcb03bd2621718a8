/*
 * Goal: the calls of an actor are in its group's account, whoever makes them: counted, joined,
 * bounded and ranked with it; with the group the actor ends. Group and priority come from who
 * creates the actor, unless they are given. (weft_group.h; beyond Ray.)
 * Method: counters read when nothing runs; one worker held at a gate, so that what runs next is
 * known; actors in every state when their group is cancelled.
 */
#include "actors.h"
#include "groups.h"

static const struct weft_actor_class plain = ACT_CLASS(.max_restarts = 3);
static const struct weft_actor_class wide =
	ACT_CLASS(.max_concurrency = 4, .max_pending = WEFT_PENDING_UNLIMITED);

static weft_actor in_group(weft *rt, const struct weft_actor_class *class_, weft_group group,
                           struct act_log *log)
{
	return act_create(rt, class_, WEFT_ACTOR_OPTIONS(.group = group), log);
}

static int tells_group(weft_task *self)
{
	const uint64_t bits = weft_task_group(self).bits;

	return weft_return(self, &bits, sizeof bits);
}

static uint64_t group_of(weft *rt, weft_actor actor)
{
	return (uint64_t)api_take_i64(rt, act_call(rt, actor, tells_group, NULL, 0));
}

/* ---- Counting ------------------------------------------------------------------------------ */

/* Calls the actor in its argument, and waits. */
static int calls_on(weft_task *self)
{
	const weft_actor *actor = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);

	return weft_return(self, &(int64_t){ act_value(rt, *actor) }, 8);
}

Test(actors_accounts, calls_are_counted_in_the_actors_group_whoever_makes_them)
{
	weft *rt = api_open(2);
	weft_group mine = group_make(rt, NULL), other = group_make(rt, NULL);
	struct act_log log = { 0 };
	weft_actor actor = in_group(rt, &plain, mine, &log),
		   free = act_create(rt, &plain, NULL, NULL);
	struct weft_group_stats stats;

	for (int64_t i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(rt, act_call(rt, actor, act_add, &(int64_t){ 1 }, 8)),
		             i + 1);
	weft_ref by_other = api_submit(rt,
	                               WEFT_TASK(calls_on, .arg = &actor, .arg_size = sizeof actor,
	                                         .opts = WEFT_TASK_OPTIONS(.group = other)));
	cr_assert_eq(api_take_i64(rt, by_other), 50);
	cr_assert_eq(group_of(rt, actor), mine.bits);
	cr_assert_eq(group_of(rt, free), 0);
	cr_assert_eq(weft_group_join(rt, mine, WEFT_FOREVER), 0);
	cr_assert_eq(weft_group_join(rt, other, WEFT_FOREVER), 0);
	/* With its init. */
	stats = group_stats(rt, mine);
	cr_assert_eq(stats.submitted, 53);
	cr_assert_eq(stats.done, 53);
	cr_assert_eq(stats.failed, 0);
	cr_assert(stats.run_ns > 0);
	stats = group_stats(rt, other);
	cr_assert_eq(stats.submitted, 1);
	/* With its fini. */
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	cr_assert_eq(weft_group_join(rt, mine, WEFT_FOREVER), 0);
	cr_assert_eq(group_stats(rt, mine).done, 54);
	cr_assert_eq(api_read(&log.finis), 1);
	/* Of a dead one there is nothing to count. */
	cr_assert_eq(api_end(rt, act_call(rt, actor, act_add, &(int64_t){ 1 }, 8)), WEFT_EACTOR);
	cr_assert_eq(group_stats(rt, mine).submitted, 54);
	act_release(rt, actor);
	act_release(rt, free);
	group_end(rt, mine);
	group_end(rt, other);
	api_close(rt);
}

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "on purpose");
}

Test(actors_accounts, a_join_waits_for_calls_and_not_for_idle_actors)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL);
	weft_actor actor = in_group(rt, &plain, group, NULL);
	weft_ref event = api_event(rt), blocked, queued;

	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	blocked = act_call(rt, actor, api_body_get, &event, sizeof event);
	queued = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), -ETIMEDOUT);
	api_await_state(rt, blocked, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(api_end(rt, blocked), 0);
	cr_assert_eq(api_take_i64(rt, queued), 1);
	/* A restart is a task more. */
	const uint64_t before = group_stats(rt, group).submitted;

	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(group_stats(rt, group).submitted, before + 3);
	act_release(rt, actor);
	api_release(rt, event);
	group_end(rt, group);
	api_close(rt);
}

/* ---- Inherited ------------------------------------------------------------------------------- */

struct made {
	weft_actor inherits, none;
};

static int makes_actors(weft_task *self)
{
	struct made *made = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	made->inherits = act_create(rt, &plain, NULL, NULL);
	made->none = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = WEFT_GROUP_NONE), NULL);
	return 0;
}

Test(actors_accounts, the_group_is_the_creators_unless_one_is_given)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL), other = group_make(rt, NULL);
	struct made by_task, by_call;
	void *arg = &by_call;

	cr_assert_eq(api_end(rt, group_submit(rt, group, makes_actors, &by_task)), 0);
	cr_assert_eq(group_of(rt, by_task.inherits), group.bits);
	cr_assert_eq(group_of(rt, by_task.none), 0);
	weft_actor maker = in_group(rt, &plain, other, NULL);

	cr_assert_eq(api_end(rt, act_call(rt, maker, makes_actors, &arg, sizeof arg)), 0);
	cr_assert_eq(group_of(rt, by_call.inherits), other.bits);
	cr_assert_eq(group_of(rt, by_call.none), 0);
	act_release(rt, maker);
	act_release(rt, by_task.inherits);
	act_release(rt, by_task.none);
	act_release(rt, by_call.inherits);
	act_release(rt, by_call.none);
	group_end(rt, group);
	group_end(rt, other);
	api_close(rt);
}

/* What ran, in its order. */
struct order {
	struct api_count n;
	char text[16];
};

struct letter {
	struct order *order;
	char letter;
};

static int notes(weft_task *self)
{
	const struct letter *l = weft_task_arg(self, NULL);
	/* One at a time; the count comes last, because the reader waits for it. */
	const uint64_t n = api_read(&l->order->n);

	API_CHECK(n + 1 < sizeof l->order->text);
	l->order->text[n] = l->letter;
	api_add(&l->order->n, 1);
	return 0;
}

static void note(weft *rt, weft_actor actor, struct order *order, char letter)
{
	const struct letter l = { order, letter };

	API_CHECK(weft_actor_call(rt, actor, notes, &l, sizeof l, NULL) == 0);
}

static int makes_ranked(weft_task *self)
{
	weft_actor *made = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	made[0] = act_create(rt, &plain, NULL, NULL);
	made[1] = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.priority = WEFT_ACTOR_NORMAL), NULL);
	made[2] = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.priority = WEFT_PRIORITY_LOW), NULL);
	return 0;
}

Test(actors_accounts, the_priority_is_the_creators_unless_one_is_given)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct order order = { 0 };
	weft_actor made[3];

	cr_assert_eq(
		api_end(rt,
	                api_submit(
				rt,
				WEFT_TASK(makes_ranked, API_POINTER(made),
	                                  .opts = WEFT_TASK_OPTIONS(.priority =
	                                                                    WEFT_PRIORITY_HIGH)))),
		0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(act_value(rt, made[i]), 0);
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));

	api_gate_await(&gate, 1);
	note(rt, made[2], &order, 'l');
	note(rt, made[1], &order, 'n');
	note(rt, made[0], &order, 'h');
	api_gate_open(&gate);
	api_await_count(&order.n, 3);
	cr_assert_str_eq(order.text, "hnl");
	cr_assert_eq(api_end(rt, holder), 0);
	for (int i = 0; i < 3; i++)
		act_release(rt, made[i]);
	api_close(rt);
}

/* ---- Ranked and bounded ---------------------------------------------------------------------- */

/* At its second letter it has an urgent call made to another actor. */
struct urgent {
	struct order order;
	weft_actor other;
};

static int notes_and_calls(weft_task *self)
{
	struct urgent *urgent = api_arg_pointer(self);
	const uint64_t n = api_read(&urgent->order.n);

	urgent->order.text[n] = 'a';
	if (api_add(&urgent->order.n, 1) == 2)
		note(weft_task_runtime(self), urgent->other, &urgent->order, 'u');
	return 0;
}

Test(actors_accounts, an_urgent_group_goes_between_two_calls_of_another)
{
	weft *rt = api_open(1);
	weft_group normal = group_make(rt, NULL);
	weft_group high = group_make(rt, WEFT_GROUP_OPTIONS(.priority = WEFT_PRIORITY_HIGH));
	struct api_gate gate = API_GATE_INIT;
	struct urgent urgent = { .other = in_group(rt, &plain, high, NULL) };
	weft_actor actor = in_group(rt, &plain, normal, NULL);
	void *arg = &urgent;

	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(act_value(rt, urgent.other), 0);
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));

	api_gate_await(&gate, 1);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(weft_actor_call(rt, actor, notes_and_calls, &arg, sizeof arg, NULL),
		             0);
	api_gate_open(&gate);
	api_await_count(&urgent.order.n, 11);
	cr_assert_str_eq(urgent.order.text, "aauaaaaaaaa");
	cr_assert_eq(api_end(rt, holder), 0);
	act_release(rt, actor);
	act_release(rt, urgent.other);
	group_end(rt, normal);
	group_end(rt, high);
	api_close(rt);
}

static int counts_inside(weft_task *self)
{
	struct act_log *log = api_arg_pointer(self);
	const uint64_t inside = api_add(&log->inside, 1);

	api_raise(&log->most, inside);
	for (int i = 0; i < 100; i++)
		sched_yield();
	api_add(&log->inside, (uint64_t)-1);
	return 0;
}

Test(actors_accounts, no_more_run_at_once_than_their_group_may)
{
	weft *rt = api_open(4);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = 2));
	struct act_log log = { 0 };
	weft_actor actors[3];
	void *arg = &log;

	for (int i = 0; i < 3; i++)
		actors[i] = in_group(rt, i ? &plain : &wide, group, NULL);
	for (uint32_t i = 0; i < 60; i++)
		cr_assert_eq(
			weft_actor_call(rt, actors[i % 3], counts_inside, &arg, sizeof arg, NULL),
			0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert(api_read(&log.most) <= 2);
	for (int i = 0; i < 3; i++)
		act_release(rt, actors[i]);
	group_end(rt, group);
	api_close(rt);
}

/* ---- The end of the group -------------------------------------------------------------------- */

static void check_killed(weft *rt, weft_ref ref)
{
	const struct weft_error *error = NULL;
	const int rc = api_get(rt, ref);

	cr_assert_eq(rc, WEFT_EACTOR, "%s", weft_strerror(rc));
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_str_eq(error->text, "its group was cancelled");
	api_release(rt, ref);
}

Test(actors_accounts, a_cancelled_group_kills_its_actors)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL);
	weft_group inner = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group));
	struct act_log log = { 0 };
	weft_ref event = api_event(rt), never = api_event(rt);
	weft_actor blocked = in_group(rt, &plain, group, &log), idle, pending, waiting, outside,
		   found;

	idle = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = inner, .name = "idle"), &log);
	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = inner),
	                               &(struct weft_call){ WEFT_AFTER(never) }, &pending),
	             0);
	waiting = in_group(rt, &wide, inner, &log);
	outside = act_create(rt, &plain, NULL, &log);
	cr_assert_eq(act_value(rt, idle), 0);
	cr_assert_eq(act_value(rt, waiting), 0);
	weft_ref refs[5] = {
		act_call(rt, blocked, api_body_get, &event, sizeof event),
		act_call(rt, blocked, act_add, &(int64_t){ 1 }, 8),
		act_call(rt, pending, act_add, &(int64_t){ 1 }, 8),
		api_submit(rt, WEFT_TASK(act_add, .actor = waiting, WEFT_AFTER(never))),
		api_submit(rt, WEFT_TASK(act_add, .actor = blocked, WEFT_AFTER(never))),
	};

	api_await_state(rt, refs[0], WEFT_REF_BLOCKED);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	for (int i = 0; i < 5; i++)
		check_killed(rt, refs[i]);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	weft_actor dead[4] = { blocked, idle, pending, waiting };

	for (int i = 0; i < 4; i++) {
		act_await_dead(rt, dead[i]);
		check_killed(rt, act_call(rt, dead[i], act_add, &(int64_t){ 1 }, 8));
		act_release(rt, dead[i]);
	}
	cr_assert_eq(weft_actor_find(rt, NULL, "idle", &found), -ENOENT);
	cr_assert_eq(api_read(&log.finis), 0);
	cr_assert_eq(api_read(&log.drops), 3);
	cr_assert_eq(act_value(rt, outside), 0);
	/* Nobody comes in any more. */
	cr_assert_eq(
		weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = inner), NULL, &found),
		-ECANCELED);
	act_release(rt, outside);
	group_end(rt, inner);
	group_end(rt, group);
	cr_assert_eq(
		weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = inner), NULL, &found),
		-EINVAL);
	api_release(rt, event);
	api_release(rt, never);
	api_close(rt);
}

Test(actors_accounts, a_destroyed_group_goes_when_its_actors_are_dead)
{
	weft *rt = api_open(2);
	const uint32_t rounds = api_scaled(300);

	/* More groups than there are places: each place comes free again. */
	for (uint32_t i = 0; i < rounds * 20; i++) {
		weft_group group = group_make(rt, NULL);
		weft_actor actor = in_group(rt, i % 2 ? &plain : &wide, group, NULL);

		for (uint32_t j = 0; j < i % 4; j++)
			cr_assert_eq(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, NULL),
			             0);
		if (i % 3) {
			group_end(rt, group);
			act_release(rt, actor);
		} else {
			act_release(rt, actor);
			group_end(rt, group);
		}
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

struct place {
	weft *rt;
	weft_group group;
};

static void *makes_and_calls(void *arg)
{
	const struct place *place = arg;
	weft *rt = place->rt;
	weft_actor actor;
	weft_ref ref;
	int rc = 0;

	while (rc == 0) {
		rc = weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.group = place->group), NULL,
		                       &actor);
		if (rc)
			break;
		rc = weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, &ref);
		API_CHECK(rc == 0);
		rc = api_end(rt, ref);
		API_CHECK(rc == 0 || rc == WEFT_EACTOR || rc == -ECANCELED);
		rc = 0;
		act_release(rt, actor);
	}
	API_CHECK(rc == -ECANCELED || rc == -EINVAL);
	return NULL;
}

Test(actors_accounts, a_cancel_finds_actors_that_are_just_made)
{
	weft *rt = api_open(2);
	const uint32_t rounds = api_scaled(50);

	for (uint32_t i = 0; i < rounds; i++) {
		weft_group group = group_make(rt, NULL);
		struct place place = { rt, group };
		pthread_t thread = api_thread(makes_and_calls, &place);
		const int64_t start = api_now();

		while (group_stats(rt, group).submitted < 5)
			api_polling(start, "some actors were made");
		group_end(rt, group);
		api_join(thread);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}
