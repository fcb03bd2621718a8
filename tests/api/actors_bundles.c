/*
 * Goal: what an actor in a placement group holds comes out of its bundle and goes back there; who
 * removes the group kills what is in it, and gets everything back; children are in the group when
 * it captures. (Row T33.)
 * Method: calls say where they are, gates hold a body; the books of bundles and of the runtime.
 */
#include "actors_place.h"

/* ---- Bundles ------------------------------------------------------------------------------- */

static void check_bundle(weft *rt, weft_placement group, double cpus, double gpus, uint64_t memory,
                         double disk)
{
	const struct weft_bundle_info info = bundle_of(rt, group, 1);

	cr_assert(info.cpus_free == cpus && info.gpus_free == gpus, "%g %g", info.cpus_free,
	          info.gpus_free);
	cr_assert(info.memory_free == memory && info.resources_free[0] == disk);
}

/* Those of workers follow when they rest. */
static void await_cpus(weft *rt, double n)
{
	const int64_t start = api_now();

	while (available(rt, "CPU") != n)
		api_polling(start, "so many CPUs are free");
}

Test(actors_bundles, what_it_holds_is_its_bundles_and_comes_back_there)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = two_bundles(rt);
	const struct weft_actor_holds *holds =
		HOLDS(AT(.group = group, .bundle = WEFT_BUNDLE(1)), .cpus = 1.5, .gpus = 0.5,
	              .memory = 40, REQUEST({ "disk", 1 }));
	struct inside inside = { group, 1, 1.5 };
	void *arg = &inside;
	double disk, memory, gpu;
	weft_ref waits;

	cr_assert_eq(weft_placement_wait(rt, group, WEFT_FOREVER), 0);
	await_cpus(rt, WORKERS - 3);
	disk = available(rt, "disk");
	memory = available(rt, "memory"), gpu = available(rt, "GPU");
	for (int how = 0; how < 4; how++) {
		weft_actor actor = placed(rt, &plain, holds, NULL);
		weft_ref died;

		cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
		cr_assert_eq(api_end(rt, act_call(rt, actor, checks_place, &arg, sizeof arg)), 0);
		check_bundle(rt, group, 0.5, 0.5, 60, 1);
		cr_assert(available(rt, "disk") == disk && available(rt, "GPU") == gpu);
		cr_assert(available(rt, "memory") == memory);
		/* Who wants in there waits until it is dead. */
		waits = submit(rt, api_body_nothing, NULL,
		               IN_BUNDLE(group, 1, .cpus = how & 1 ? 1 : 2));
		if (how == 0)
			cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
		else if (how == 1)
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
		else if (how == 2)
			act_release(rt, actor);
		else
			for (uint32_t i = 0; i < 4; i++)
				cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)),
				             WEFT_EACTOR);
		cr_assert_eq(api_end(rt, waits), 0);
		(void)api_end(rt, died);
		check_bundle(rt, group, 2, 1, 100, 2);
		if (how != 2)
			act_release(rt, actor);
	}
	await_cpus(rt, WORKERS - 3);
	removed(rt, group);
	close_empty(rt);
}

/* CPUs that are held are no worker's: tasks of several CPUs in bundles and beside get theirs. */
Test(actors_bundles, cpus_that_it_holds_take_no_worker_away)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 2));
	weft_actor actor = placed(rt, &bare, INSIDE(group, .cpus = 2), NULL);
	struct inside inside = { group, 0, 2 };
	void *arg = &inside;
	weft_ref refs[20];

	for (uint32_t i = 0; i < 20; i++) {
		refs[i] = api_submit(
			rt, WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.cpus = 6)));
		api_release(rt, act_call(rt, actor, checks_place, &arg, sizeof arg));
	}
	for (uint32_t i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert(bundle_of(rt, group, 0).cpus_free == 0);
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	act_release(rt, actor);
	cr_assert(bundle_of(rt, group, 0).cpus_free == 2);
	removed(rt, group);
	close_empty(rt);
}

Test(actors_bundles, without_amounts_it_is_in_a_bundle_as_well)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = two_bundles(rt);
	struct inside inside = { group, 1, 1 };
	void *arg = &inside;
	weft_actor actor =
		placed(rt, &bare, HOLDS(AT(.group = group, .bundle = WEFT_BUNDLE(1))), NULL);

	cr_assert_eq(api_end(rt, act_call(rt, actor, checks_place, &arg, sizeof arg)), 0);
	check_bundle(rt, group, 2, 1, 100, 2);
	removed(rt, group);
	act_await_dead(rt, actor);
	act_release(rt, actor);
	close_empty(rt);
}

Test(actors_bundles, it_waits_for_its_group_and_then_for_room)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement first = group_of(rt, BUNDLE(.gpus = 3));
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1, .gpus = 1, .memory = 10));
	weft_actor one = placed(rt, &bare, INSIDE(group, .memory = 7), NULL);
	weft_actor two = placed(rt, &bare, INSIDE(group, .memory = 7), NULL);
	weft_actor none = placed(rt, &bare, INSIDE(group, .cpus = 0), NULL);
	weft_ref refs[] = { act_call(rt, one, api_body_nothing, NULL, 0),
		            act_call(rt, two, api_body_nothing, NULL, 0),
		            act_call(rt, none, api_body_nothing, NULL, 0) };

	cr_assert_eq(act_phase(rt, one), WEFT_ACTOR_PENDING);
	cr_assert_eq(act_phase(rt, none), WEFT_ACTOR_PENDING);
	removed(rt, first);
	cr_assert_eq(api_end(rt, refs[0]), 0);
	cr_assert_eq(api_end(rt, refs[2]), 0);
	cr_assert_eq(act_phase(rt, two), WEFT_ACTOR_PENDING);
	cr_assert_eq(weft_peek(rt, refs[1]), 0);
	act_release(rt, one);
	cr_assert_eq(api_end(rt, refs[1]), 0);
	act_release(rt, two);
	act_release(rt, none);
	removed(rt, group);
	close_empty(rt);
}

/* ---- Removed ------------------------------------------------------------------------------- */

static void check_cause(weft *rt, weft_actor actor)
{
	struct weft_actor_info info = { .struct_size = sizeof info };

	act_await_dead(rt, actor);
	cr_assert_eq(weft_actor_info(rt, actor, &info), 0);
	cr_assert_eq(info.phase, WEFT_ACTOR_DEAD);
	cr_assert_not_null(info.cause);
	cr_assert_str_eq(info.cause->text, "its placement group was removed");
	cr_assert_not_null(info.cause->cause);
	cr_assert_eq(info.cause->cause->status, WEFT_EPLACEMENT);
}

/* A ref of a call that was lost tells as much. */
static void check_lost(weft *rt, weft_ref ref)
{
	const struct weft_error *error = NULL;

	cr_assert_eq(api_get(rt, ref), WEFT_EACTOR);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	while (error->cause)
		error = error->cause;
	cr_assert_eq(error->status, WEFT_EPLACEMENT);
	api_release(rt, ref);
}

Test(actors_bundles, removing_the_group_kills_who_lives_and_who_waits)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1, .memory = 10));
	weft_placement other = group_of(rt, BUNDLE(.cpus = 1, .memory = 10));
	struct act_log log = { 0 };
	weft_actor idle =
		act_create(rt, &plain,
	                   WEFT_ACTOR_OPTIONS(.name = "idle", .flags = WEFT_ACTOR_DETACHED,
	                                      .holds = INSIDE(group, .memory = 7)),
	                   &log);
	weft_actor waits = placed(rt, &plain, INSIDE(group, .memory = 7), &log);
	weft_actor survivor = placed(rt, &plain, INSIDE(other, .memory = 7), NULL);
	weft_actor found;
	weft_ref queued = act_call(rt, waits, act_add, &(int64_t){ 1 }, 8);

	cr_assert_eq(act_value(rt, idle), 0);
	cr_assert_eq(act_phase(rt, waits), WEFT_ACTOR_PENDING);
	removed(rt, group);
	/* Nobody has been inside that one. */
	cr_assert_eq(act_phase(rt, waits), WEFT_ACTOR_DEAD);
	check_cause(rt, idle);
	check_cause(rt, waits);
	check_lost(rt, queued);
	check_lost(rt, act_call(rt, idle, act_add, &(int64_t){ 1 }, 8));
	cr_assert_eq(weft_actor_find(rt, NULL, "idle", &found), -ENOENT);
	/* As by a kill: restarts or not, no fini, and the state is dropped. */
	cr_assert(api_read(&log.inits) == 1 && api_read(&log.finis) == 0);
	cr_assert_eq(api_read(&log.drops), 1);
	cr_assert(available(rt, "memory") == 990);
	cr_assert_eq(act_value(rt, survivor), 0);
	act_release(rt, idle);
	act_release(rt, waits);
	act_release(rt, survivor);
	removed(rt, other);
	close_empty(rt);
}

Test(actors_bundles, removing_a_group_that_waits_kills_who_waits_for_it)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement first = group_of(rt, BUNDLE(.gpus = 3));
	weft_placement group = group_of(rt, BUNDLE(.gpus = 1));
	struct act_log log = { 0 };
	weft_actor actor = placed(rt, &plain, INSIDE(group, .gpus = 1), &log);
	weft_actor bound = placed(rt, &plain, INSIDE(group, .cpus = 0), &log);

	removed(rt, group);
	check_cause(rt, actor);
	check_cause(rt, bound);
	cr_assert_eq(api_read(&log.inits), 0);
	act_release(rt, actor);
	act_release(rt, bound);
	removed(rt, first);
	close_empty(rt);
}

/* Waits until it is told to stop. */
static int until_told(weft_task *self)
{
	struct api_count *began = api_arg_pointer(self);

	api_add(began, 1);
	while (!weft_task_cancelled(self))
		sched_yield();
	return 0;
}

Test(actors_bundles, a_running_call_is_told_and_what_its_actor_holds_comes_back_after_it)
{
	weft *rt = open_with(WORKERS, NULL);
	const struct weft_bundle bundle = {
		.cpus = 1, .memory = 10, .resources = &two_disks, .n_resources = 1
	};
	weft_placement group = group_of(rt, bundle);
	weft_actor actor = placed(
		rt, &plain, INSIDE(group, .cpus = 1, .memory = 7, REQUEST({ "disk", 0.5 })), NULL);
	weft_actor blocked = placed(rt, &plain, INSIDE(group, REQUEST({ "disk", 1 })), NULL);
	struct stage stage = { .gate = API_GATE_INIT };
	struct quiet quiet = { .event = api_event(rt) };
	struct api_count began = { 0 };
	void *at = &stage, *on = &quiet, *told = &began;
	weft_actor deaf = placed(rt, &plain, INSIDE(group, REQUEST({ "disk", 0.5 })), NULL);
	weft_ref waits = act_call(rt, blocked, at_event, &on, sizeof on), runs, gated, behind;

	/* First: the node of the bundle has two workers, which the others keep. */
	api_await_state(rt, waits, WEFT_REF_BLOCKED);
	runs = act_call(rt, actor, until_told, &told, sizeof told);
	gated = act_call(rt, deaf, at_gate, &at, sizeof at);
	behind = act_call(rt, deaf, api_body_nothing, NULL, 0);
	api_await_count(&began, 1);
	api_await_count(&stage.began, 1);
	removed(rt, group);
	/* A body that waits in the engine is woken, one that looks is told. */
	check_lost(rt, waits);
	check_lost(rt, runs);
	check_lost(rt, behind);
	act_await_dead(rt, actor);
	act_await_dead(rt, blocked);
	cr_assert(available(rt, "memory") == 1000);
	cr_assert(available(rt, "disk") == 3.5);
	cr_assert_eq(weft_peek(rt, gated), 0);
	api_gate_open(&stage.gate);
	check_lost(rt, gated);
	check_cause(rt, deaf);
	cr_assert(available(rt, "disk") == 4);
	act_release(rt, actor);
	act_release(rt, blocked);
	act_release(rt, deaf);
	api_release(rt, quiet.event);
	close_empty(rt);
}

static struct api_gate dropping = API_GATE_INIT;

static void drop_at_gate(void *state, size_t size)
{
	API_CHECK(state && size);
	api_gate_pass(&dropping);
}

struct removal {
	weft *rt;
	weft_placement group;
};

static void *removes(void *arg)
{
	const struct removal *removal = arg;

	API_CHECK(weft_placement_remove(removal->rt, removal->group) == 0);
	return NULL;
}

/* Who removes it is held in a drop; what would be next to collect workers is of the group. */
Test(actors_bundles, what_waits_for_workers_is_not_begun_while_its_group_is_removed)
{
	static const struct weft_actor_class dropped =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .drop = drop_at_gate);
	weft *rt = open_with(WORKERS, NULL);
	struct removal removal = { rt, group_of(rt, BUNDLE(.cpus = 2, .gpus = 1)) };
	weft_actor actor = placed(rt, &dropped, INSIDE(removal.group), NULL);
	struct api_gate busy = API_GATE_INIT;
	struct api_count ran = { 0 };
	weft_ref held[WORKERS], first, second;

	cr_assert_eq(api_end(rt, act_call(rt, actor, api_body_nothing, NULL, 0)), 0);
	for (uint32_t i = 0; i < WORKERS; i++)
		held[i] = submit(rt, api_body_gate, &busy, NULL);
	api_gate_await(&busy, WORKERS);
	/* This one collects, and the other waits until it may. */
	first = submit(rt, api_body_nothing, NULL, WEFT_TASK_OPTIONS(.cpus = 2));
	second = submit(rt, api_body_count, &ran, IN(removal.group, .cpus = 2, .gpus = 1));
	pthread_t thread = api_thread(removes, &removal);

	api_gate_await(&dropping, 1);
	api_gate_open(&busy);
	cr_assert_eq(api_end(rt, first), 0);
	for (uint32_t i = 0; i < WORKERS; i++)
		cr_assert_eq(api_end(rt, held[i]), 0);
	cr_assert_eq(weft_peek(rt, second), 0);
	api_gate_open(&dropping);
	api_join(thread);
	cr_assert_eq(api_end(rt, second), WEFT_EPLACEMENT);
	cr_assert_eq(api_read(&ran), 0);
	act_release(rt, actor);
	close_empty(rt);
}

static int removes_its_group(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const weft_placement group = *(const weft_placement *)weft_task_arg(self, NULL);

	API_CHECK(weft_placement_remove(rt, group) == 0);
	API_CHECK(weft_task_cancelled(self));
	/* Still what it was when this call began. */
	API_CHECK(place_here(self).group.bits == group.bits);
	return 0;
}

Test(actors_bundles, a_call_may_remove_the_group_of_its_actor)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1, .memory = 10));
	weft_actor actor = placed(rt, &plain, INSIDE(group, .cpus = 1, .memory = 10), NULL);

	check_lost(rt, act_call(rt, actor, removes_its_group, &group, sizeof group));
	check_cause(rt, actor);
	act_release(rt, actor);
	close_empty(rt);
}

/* The init removes it: then it is dead, and not one that has failed. */
static int init_removes(weft_task *self)
{
	const weft_placement *group = api_arg_pointer(self);

	API_CHECK(weft_placement_remove(weft_task_runtime(self), *group) == 0);
	return 0;
}

Test(actors_bundles, an_init_may_remove_the_group_of_its_actor)
{
	static const struct weft_actor_class removes = ACT_CLASS_INIT(init_removes, .flags = 0);
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	const struct weft_actor_options options = { .struct_size = sizeof options,
		                                    .holds = INSIDE(group, .cpus = 1) };
	void *arg = &group;
	weft_actor actor;

	cr_assert_eq(weft_actor_create(rt, &removes, &options, &(struct weft_call){ WEFT_ARG(arg) },
	                               &actor),
	             0);
	check_cause(rt, actor);
	act_release(rt, actor);
	close_empty(rt);
}

static int sleeps_for_ever(weft_task *self)
{
	struct api_count *inits = api_arg_pointer(self);

	/* The second one only. */
	return api_add(inits, 1) == 1 ? 0 : weft_sleep_until(weft_task_runtime(self), WEFT_FOREVER);
}

Test(actors_bundles, one_that_begins_anew_is_killed_as_well)
{
	static const struct weft_actor_class sleeps =
		WEFT_ACTOR_CLASS(.init = sleeps_for_ever, .max_restarts = 5);
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = group_of(rt, BUNDLE(.memory = 10));
	struct api_count inits = { 0 };
	void *arg = &inits;
	weft_actor actor;

	cr_assert_eq(weft_actor_create(rt, &sleeps,
	                               WEFT_ACTOR_OPTIONS(.holds = INSIDE(group, .memory = 10)),
	                               &(struct weft_call){ WEFT_ARG(arg) }, &actor),
	             0);
	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	api_await_count(&inits, 2);
	removed(rt, group);
	check_cause(rt, actor);
	cr_assert_eq(api_read(&inits), 2);
	act_release(rt, actor);
	close_empty(rt);
}

/* ---- What is passed on --------------------------------------------------------------------- */

struct family {
	weft_placement group;
	bool captured;
	struct api_count *died;
};

static int checks_family(weft_task *self)
{
	const struct family *family = weft_task_arg(self, NULL);
	const struct weft_task_place place = place_here(self);

	API_CHECK(place.group.bits == (family->captured ? family->group.bits : 0));
	API_CHECK(place.captures == family->captured);
	return 0;
}

/* What this body submits is where it is itself, but for what says where it wants to be. */
static int has_family(weft_task *self)
{
	const struct family *family = weft_task_arg(self, NULL);
	struct family none = { .captured = false };
	weft *rt = weft_task_runtime(self);
	const struct weft_resource disk = { "disk", 0.5 };
	weft_ref refs[4];
	weft_actor actors[3];

	API_CHECK(checks_family(self) == 0);
	API_CHECK(weft_spawn(rt, checks_family, family, sizeof *family, &refs[0]) == 0);
	refs[1] = api_submit(rt,
	                     WEFT_TASK(checks_family, WEFT_ARG(*family),
	                               .opts = WEFT_TASK_OPTIONS(.memory = 1)));
	refs[2] = api_submit(rt,
	                     WEFT_TASK(checks_family, WEFT_ARG(none),
	                               .opts = WEFT_TASK_OPTIONS(.place = WEFT_PLACE(0))));
	API_CHECK(weft_submit_many(rt,
	                           &(struct weft_call){ .fn = checks_family, WEFT_ARG(*family) }, 1,
	                           &refs[3]) == 1);
	for (int i = 0; i < 4; i++)
		API_CHECK(api_end(rt, refs[i]) == 0);
	/* Actors, too: one that holds nothing, one that does, one that is to be elsewhere. */
	actors[0] = act_create(rt, &bare, NULL, NULL);
	actors[1] = placed(rt, &bare, HOLDS(.resources = &disk, .n_resources = 1), NULL);
	actors[2] = placed(rt, &bare, HOLDS(AT(0)), NULL);
	for (int i = 0; i < 3; i++) {
		const struct family *of = i < 2 ? family : &none;

		API_CHECK(api_end(rt, act_call(rt, actors[i], checks_family, of, sizeof *of)) == 0);
		act_release(rt, actors[i]);
	}
	return 0;
}

static const struct weft_bundle roomy = {
	.cpus = 2, .memory = 10, .resources = &two_disks, .n_resources = 1
};

Test(actors_bundles, what_its_calls_submit_is_in_the_group_when_it_captures)
{
	weft *rt = open_with(WORKERS, NULL);

	for (int captured = 0; captured < 2; captured++) {
		struct family family = { .group = group_of(rt, roomy), .captured = captured };
		const struct weft_place place = { .struct_size = sizeof place,
			                          .group = family.group,
			                          .flags = captured ? WEFT_PLACE_CAPTURE : 0 };
		weft_actor actor = placed(rt, &bare, HOLDS(.place = &place, .cpus = 1), NULL);
		weft_ref ref;

		if (!captured) {
			/* It is in the group itself. */
			struct inside inside = { family.group, 0, 1 };
			void *arg = &inside;

			ref = act_call(rt, actor, checks_place, &arg, sizeof arg);
			cr_assert_eq(api_end(rt, ref), 0);
		} else {
			ref = act_call(rt, actor, has_family, &family, sizeof family);
			cr_assert_eq(api_end(rt, ref), 0);
			ref = api_submit(rt,
			                 WEFT_TASK(has_family, .actor = actor, WEFT_ARG(family)));
			cr_assert_eq(api_end(rt, ref), 0);
		}
		act_release(rt, actor);
		removed(rt, family.group);
	}
	close_empty(rt);
}

/* Short calls, whose bodies go the shortest way: one after the other in one turn. */
static int spawns_one(weft_task *self)
{
	const struct family *const *family = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	weft_ref ref;

	API_CHECK(weft_spawn(rt, checks_family, *family, sizeof **family, &ref) == 0);
	return api_end(rt, ref);
}

Test(actors_bundles, every_short_call_passes_it_on_and_nothing_is_left_on_the_stack)
{
	weft *rt = open_with(2, NULL);
	struct family family = { .group = group_of(rt, roomy), .captured = true };
	struct family none = { .captured = false };
	const struct family *in = &family, *out = &none;
	weft_actor actor = placed(
		rt, &bare, HOLDS(AT(.group = family.group, .flags = WEFT_PLACE_CAPTURE)), NULL);
	weft_actor other = act_create(rt, &bare, NULL, NULL);
	weft_ref refs[200];

	for (uint32_t i = 0; i < 200; i++)
		refs[i] = i % 2 ? act_call(rt, actor, spawns_one, &in, sizeof in)
				: act_call(rt, other, spawns_one, &out, sizeof out);
	for (uint32_t i = 0; i < 200; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	act_release(rt, actor);
	act_release(rt, other);
	removed(rt, family.group);
	close_empty(rt);
}

struct forked {
	const struct family *family;
	struct api_count began;
};

static void spawns_in_a_fork(weft_task *self, void *arg)
{
	struct forked *forked = arg;
	const struct family *family = forked->family;
	weft *rt = weft_task_runtime(self);
	weft_ref ref;

	api_add(&forked->began, 1);
	API_CHECK(place_here(self).captures == family->captured);
	API_CHECK(weft_spawn(rt, checks_family, family, sizeof *family, &ref) == 0);
	API_CHECK(api_end(rt, ref) == 0);
}

/* A thief begins the fork while its parent waits on its own thread. */
static int has_its_fork_stolen(weft_task *self)
{
	struct forked forked = { .family = api_arg_pointer(self) };
	struct weft_fork fork;

	weft_fork(self, &fork, spawns_in_a_fork, &forked);
	api_await_count(&forked.began, 1);
	weft_fork_join(self, &fork);
	return 0;
}

Test(actors_bundles, a_fork_of_a_call_that_a_thief_takes_passes_it_on)
{
	weft *rt = open_with(WORKERS, NULL);

	for (int captured = 0; captured < 2; captured++) {
		struct family family = { .group = group_of(rt, roomy), .captured = captured };
		const struct weft_place place = { .struct_size = sizeof place,
			                          .group = family.group,
			                          .flags = captured ? WEFT_PLACE_CAPTURE : 0 };
		weft_actor actor = placed(rt, &bare, HOLDS(.place = &place), NULL);
		void *in = &family;

		for (int i = 0; i < 10; i++)
			cr_assert_eq(
				api_end(rt,
			                act_call(rt, actor, has_its_fork_stolen, &in, sizeof in)),
				0);
		act_release(rt, actor);
		removed(rt, family.group);
	}
	close_empty(rt);
}

/* Timers and joins of what captures: they are the library's, and ask for nothing in a bundle. */
static int uses_timers_and_joins(weft_task *self)
{
	const struct family *family = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	weft_ref refs[2], joined;

	for (int gone = 0; gone < 2; gone++) {
		const weft_actor other = placed(rt, &bare, HOLDS(AT(0)), NULL);
		weft_ref event = api_event(rt);

		API_CHECK(weft_tell_after(rt, other, 1000, api_body_nothing, NULL, 0, &refs[0]) ==
		          0);
		refs[1] = event;
		API_CHECK(weft_join(rt, refs, 2, 0, &joined) == 0);
		settle(rt, event);
		/* Whoever removes the group has told this call to stop: it waits for nothing. */
		if (!gone)
			API_CHECK(api_end(rt, joined) == 0);
		else
			api_release(rt, joined);
		api_release(rt, refs[0]);
		api_release(rt, event);
		act_release(rt, other);
		API_CHECK(weft_placement_remove(rt, family->group) == 0);
	}
	return 0;
}

Test(actors_bundles, timers_and_joins_of_a_captured_call_need_no_room_in_a_bundle)
{
	weft *rt = open_with(WORKERS, NULL);
	struct family family = { .group = group_of(rt, BUNDLE(.memory = 10)) };
	void *in = &family;
	weft_actor actor = placed(
		rt, &bare, HOLDS(AT(.group = family.group, .flags = WEFT_PLACE_CAPTURE)), NULL);

	cr_assert_eq(api_end(rt, act_call(rt, actor, uses_timers_and_joins, &in, sizeof in)),
	             WEFT_EACTOR);
	act_release(rt, actor);
	close_empty(rt);
}

static int makes_actors(weft_task *self)
{
	const struct family *family = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	weft_actor actor = { API_POISON };
	weft_ref died;

	/* It fits into no bundle. */
	API_CHECK(weft_actor_create(rt, &bare, WEFT_ACTOR_OPTIONS(.holds = HOLDS(.memory = 11)),
	                            NULL, &actor) == -EINVAL);
	actor = act_create(rt, &bare, NULL, NULL);
	API_CHECK(weft_actor_died(rt, actor, &died) == 0);
	API_CHECK(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, NULL) == 0);
	API_CHECK(weft_placement_remove(rt, family->group) == 0);
	API_CHECK(api_end(rt, died) == WEFT_EACTOR);
	act_release(rt, actor);
	actor.bits = API_POISON;
	API_CHECK(weft_actor_create(rt, &bare, NULL, NULL, &actor) == WEFT_EPLACEMENT);
	API_CHECK(weft_actor_create(rt, &bare, WEFT_ACTOR_OPTIONS(.holds = HOLDS(.memory = 1)),
	                            NULL, &actor) == WEFT_EPLACEMENT);
	API_CHECK(actor.bits == API_POISON);
	actor = placed(rt, &bare, HOLDS(AT(0)), NULL);
	act_release(rt, actor);
	return 0;
}

Test(actors_bundles, an_actor_made_in_a_captured_task_goes_with_the_group)
{
	weft *rt = open_with(WORKERS, NULL);
	struct family family = { .group = group_of(rt, roomy) };

	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(makes_actors, WEFT_ARG(family),
	                                          .opts = WEFT_TASK_OPTIONS(
							  AT(.group = family.group,
	                                                     .flags = WEFT_PLACE_CAPTURE))))),
	             0);
	close_empty(rt);
}
