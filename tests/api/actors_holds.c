/*
 * Goal: what an actor holds is taken before its init runs and is back when it is dead, however it
 * ends; it is kept over restarts and waits; who waits for it keeps nobody back. (Row A2.)
 * Method: a runtime with some of everything, whose books are looked at from bodies and between
 * them; actors that wait for what others hold.
 */
#include "actors.h"
#include "resources.h"

#define HOLDS(...) \
	(&(const struct weft_actor_holds){ .struct_size = sizeof(struct weft_actor_holds), \
	                                   __VA_ARGS__ })

static const struct weft_actor_class plain = ACT_CLASS(.max_restarts = 2);
static const struct weft_actor_class bare = WEFT_ACTOR_CLASS(.name = "bare");

static weft_actor holding(weft *rt, const struct weft_actor_class *class_,
                          const struct weft_actor_holds *holds, struct act_log *log)
{
	return act_create(rt, class_, WEFT_ACTOR_OPTIONS(.holds = holds), log);
}

static const struct weft_actor_holds *all_disks(void)
{
	static const struct weft_resource disks = { "disk", 4 };
	static const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                       .resources = &disks,
		                                       .n_resources = 1 };

	return &holds;
}

static uint32_t waiting(weft *rt)
{
	struct weft_pending_info infos[8];
	const int n = weft_pending(rt, infos, 8);
	uint32_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += (uint32_t)infos[i].waiting;
	return sum;
}

static void await_waiting(weft *rt, uint32_t n)
{
	const int64_t start = api_now();

	while (waiting(rt) != n)
		api_polling(start, "so many wait for resources");
}

Test(actors_holds, by_default_nothing_is_held_while_idle)
{
	weft *rt = open_with(2, NULL);
	weft_actor actors[20];

	for (int i = 0; i < 20; i++) {
		actors[i] = act_create(rt, &plain, NULL, NULL);
		cr_assert_eq(act_value(rt, actors[i]), 0);
	}
	await_all_back(rt);
	for (int i = 0; i < 20; i++)
		act_release(rt, actors[i]);
	close_empty(rt);
}

/* The books as a call sees them, and what it is told. */
struct seen {
	double disk, cpu, memory, gpu;
	double cpus, gpus;
	uint32_t n_gpu;
};

static int sees(weft_task *self)
{
	struct seen *seen = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	*seen = (struct seen){ available(rt, "disk"),
		               0,
		               available(rt, "memory"),
		               available(rt, "GPU"),
		               info.cpus,
		               info.gpus,
		               info.n_gpu };
	API_CHECK(info.n_gpu < 2 || info.gpu[0] != info.gpu[1]);
	return 0;
}

Test(actors_holds, all_of_it_is_taken_before_init_and_back_when_it_is_dead)
{
	weft *rt = open_with(2, NULL);
	struct seen at_init = { 0 }, at_call = { 0 };
	const struct weft_actor_class looks = WEFT_ACTOR_CLASS(.name = "looks", .init = sees);
	weft_actor actor;
	void *arg = &at_call;

	cr_assert_eq(weft_actor_create(rt, &looks,
	                               WEFT_ACTOR_OPTIONS(.holds = HOLDS(.cpus = 1.5, .gpus = 2,
	                                                                 .memory = 100,
	                                                                 REQUEST({ "disk", 3 }))),
	                               &(struct weft_call){ API_POINTER(&at_init) }, &actor),
	             0);
	cr_assert_eq(api_end(rt, act_call(rt, actor, sees, &arg, sizeof arg)), 0);
	cr_assert_eq(memcmp(&at_init, &at_call, sizeof at_init), 0);
	cr_assert(at_call.disk == 1 && at_call.memory == 900 && at_call.gpu == 1);
	cr_assert(at_call.cpus == 1.5 && at_call.gpus == 2 && at_call.n_gpu == 2);
	/* 1.5 CPUs are left to nobody who asks for as many. */
	weft_ref more =
		api_submit(rt, WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.cpus = 1.5)));
	await_waiting(rt, 1);
	/* Those who do not ask have the workers. */
	cr_assert_eq(api_take_i64(rt, api_spawn(rt, api_body_identity, &(int64_t){ 5 }, 8)), 5);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	act_await_dead(rt, actor);
	cr_assert_eq(api_end(rt, more), 0);
	await_all_back(rt);
	act_release(rt, actor);
	close_empty(rt);
}

/* ---- The ends ------------------------------------------------------------------------------ */

static int leaves(weft_task *self)
{
	return weft_actor_exit(self);
}

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "on purpose");
}

static int fails(weft_task *self)
{
	return weft_fail(self, -33, "no good");
}

static void end_by_call(weft *rt, weft_actor actor, weft_task_fn *fn)
{
	const int status = api_end(rt, act_call(rt, actor, fn, NULL, 0));

	API_CHECK(status == WEFT_EACTOR);
}

Test(actors_holds, it_is_back_after_every_kind_of_end)
{
	static const struct weft_actor_class once = ACT_CLASS(.max_restarts = 0);
	static const struct weft_actor_class bad = ACT_CLASS_INIT(fails, .flags = 0);
	weft *rt = open_with(2, NULL);

	for (int how = 0; how < 7; how++) {
		weft_actor actor = holding(rt, how == 6 ? &bad : &once, all_disks(), NULL);
		weft_ref died;

		cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
		if (how < 6) {
			cr_assert_eq(act_value(rt, actor), 0);
			cr_assert(available(rt, "disk") == 0);
		}
		if (how == 0)
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
		else if (how == 1)
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_RESTART), 0);
		else if (how == 2)
			cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
		else if (how == 3)
			end_by_call(rt, actor, leaves);
		else if (how == 4)
			end_by_call(rt, actor, crashes);
		else if (how == 5)
			act_release(rt, actor);
		api_get(rt, died);
		/* No later than this. */
		cr_assert(available(rt, "disk") == 4, "end %d", how);
		api_release(rt, died);
		if (how != 5)
			act_release(rt, actor);
	}
	close_empty(rt);
}

Test(actors_holds, it_is_kept_over_a_restart_and_while_a_call_waits)
{
	weft *rt = open_with(2, NULL);
	struct act_log log = { 0 };
	weft_actor actor = holding(rt, &plain, all_disks(), &log);
	weft_ref event = api_event(rt);
	weft_ref blocked = act_call(rt, actor, api_body_get, &event, sizeof event);
	weft_ref wants = api_submit(
		rt, WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(REQUEST({ "disk", 1 }))));

	api_await_state(rt, blocked, WEFT_REF_BLOCKED);
	await_waiting(rt, 1);
	cr_assert(available(rt, "disk") == 0);
	settle(rt, event);
	cr_assert_eq(api_end(rt, blocked), 0);
	end_by_call(rt, actor, crashes);
	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(api_read(&log.inits), 2);
	cr_assert(available(rt, "disk") == 0);
	cr_assert_eq(waiting(rt), 1);
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	cr_assert_eq(api_end(rt, wants), 0);
	cr_assert_eq(api_read(&log.drops), 2);
	act_release(rt, actor);
	api_release(rt, event);
	close_empty(rt);
}

/* ---- Waiting for it ------------------------------------------------------------------------ */

Test(actors_holds, who_waits_for_it_keeps_nobody_back)
{
	weft *rt = open_with(2, NULL);
	struct act_log log = { 0 };
	weft_actor first = holding(rt, &plain, all_disks(), NULL), second, third, named;

	cr_assert_eq(act_value(rt, first), 0);
	second = holding(rt, &plain, HOLDS(REQUEST({ "disk", 1 })), &log);
	named = act_create(rt, &bare,
	                   WEFT_ACTOR_OPTIONS(.name = "n", .holds = HOLDS(REQUEST({ "disk", 2 }))),
	                   NULL);
	weft_ref queued = act_call(rt, second, act_add, &(int64_t){ 7 }, 8), found;
	weft_ref of_bare = act_call(rt, named, api_body_nothing, NULL, 0);

	await_waiting(rt, 2);
	cr_assert_eq(act_phase(rt, second), WEFT_ACTOR_PENDING);
	cr_assert_eq(act_phase(rt, named), WEFT_ACTOR_PENDING);
	cr_assert_eq(api_read(&log.inits), 0);
	third = holding(rt, &plain, HOLDS(REQUEST({ "license", 1 })), NULL);
	cr_assert_eq(act_value(rt, third), 0);
	cr_assert_eq(act_value(rt, first), 0);
	/* One that waits can be found and called. */
	weft_actor again;

	cr_assert_eq(weft_actor_find(rt, NULL, "n", &again), 0);
	found = act_call(rt, again, api_body_nothing, NULL, 0);
	act_release(rt, again);
	act_release(rt, first);
	cr_assert_eq(api_take_i64(rt, queued), 7);
	cr_assert_eq(api_end(rt, of_bare), 0);
	cr_assert_eq(api_end(rt, found), 0);
	cr_assert(available(rt, "disk") == 1);
	act_release(rt, second);
	act_release(rt, third);
	act_release(rt, named);
	close_empty(rt);
}

static void check_lost(weft *rt, weft_ref ref, const char *text)
{
	const struct weft_error *error = NULL;

	cr_assert_eq(api_get(rt, ref), WEFT_EACTOR);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_str_eq(error->text, text);
	api_release(rt, ref);
}

Test(actors_holds, what_can_never_be_met_is_listed_and_ends_by_kill_or_cancel)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(2, &said);
	struct act_log log = { 0 };
	const struct weft_actor_holds *much = HOLDS(.cpus = 100, REQUEST({ "license", 1 }));
	weft_actor killed = holding(rt, &plain, much, &log);
	weft_actor cancelled = holding(rt, &plain, much, &log);
	struct weft_pending_info info = { 0 };
	weft_ref of_killed = act_call(rt, killed, act_add, &(int64_t){ 1 }, 8);
	weft_ref of_cancelled = act_call(rt, cancelled, act_add, &(int64_t){ 1 }, 8);

	await_waiting(rt, 2);
	cr_assert_not_null(strstr(said.text, "more than the runtime has"));
	cr_assert_eq(weft_pending(rt, &info, 1), 1);
	cr_assert(info.infeasible && info.cpus == 100 && info.waiting == 2);
	cr_assert_eq(info.n_resources, 1);
	cr_assert_eq(weft_actor_kill(rt, killed, WEFT_KILL_NOW), 0);
	check_lost(rt, of_killed, "it was killed");
	act_await_dead(rt, killed);
	await_waiting(rt, 1);
	cr_assert_eq(weft_cancel_pending(rt, info.id), 1);
	check_lost(rt, of_cancelled, "its init did not run");
	act_await_dead(rt, cancelled);
	cr_assert_eq(api_read(&log.inits), 0);
	cr_assert_eq(api_read(&log.finis), 0);
	act_release(rt, killed);
	act_release(rt, cancelled);
	close_empty(rt);
}

Test(actors_holds, an_init_that_ignores_its_inputs_does_not_run_without_what_it_is_to_hold)
{
	weft *rt = open_with(2, NULL);
	struct act_log log = { 0 };
	struct act_log *arg = &log;
	struct weft_pending_info info = { 0 };
	weft_ref event = api_event(rt);
	weft_actor actor;

	cr_assert_eq(
		weft_actor_create(
			rt, &plain, WEFT_ACTOR_OPTIONS(.holds = HOLDS(REQUEST({ "license", 99 }))),
			&(struct weft_call){
				.arg = &arg,
				.arg_size = sizeof arg,
				WEFT_AFTER(event),
				.opts = WEFT_TASK_OPTIONS(.on_input_error = WEFT_INPUT_IGNORE) },
			&actor),
		0);
	await_waiting(rt, 1);
	cr_assert_eq(weft_event_fail(rt, event, -8, "gone"), 0);
	cr_assert_eq(weft_pending(rt, &info, 1), 1);
	cr_assert_eq(weft_cancel_pending(rt, info.id), 1);
	act_await_dead(rt, actor);
	cr_assert_eq(api_read(&log.inits), 0);
	act_release(rt, actor);
	api_release(rt, event);
	close_empty(rt);
}

Test(actors_holds, kills_race_with_grants_and_all_is_back)
{
	weft *rt = open_with(2, NULL);
	const uint32_t rounds = api_scaled(400);
	weft_actor actors[8];

	for (uint32_t i = 0; i < rounds; i++) {
		for (int j = 0; j < 8; j++)
			actors[j] = holding(rt, j & 1 ? &plain : &bare, all_disks(), NULL);
		for (int j = 0; j < 8; j++) {
			if (j % 3 == (int)(i % 3))
				cr_assert_eq(weft_actor_kill(rt, actors[j], WEFT_KILL_NOW), 0);
			act_release(rt, actors[j]);
		}
	}
	close_empty(rt);
}

/* Killed by name while its creator has not noted yet who asks for what it is to hold. */
static void *kills_by_name(void *arg)
{
	struct killer {
		weft *rt;
		struct api_count *stop;
	} *k = arg;
	weft_actor actor;

	while (!api_read(k->stop)) {
		if (weft_actor_find(k->rt, NULL, "short", &actor) != 0)
			continue;
		(void)weft_actor_kill(k->rt, actor, WEFT_KILL_NOW);
		act_release(k->rt, actor);
	}
	return NULL;
}

Test(actors_holds, a_kill_by_name_races_with_the_creation_and_all_is_back)
{
	weft *rt = open_with(2, NULL);
	struct api_count stop = { 0 };
	struct {
		weft *rt;
		struct api_count *stop;
	} k = { rt, &stop };
	pthread_t killer = api_thread(kills_by_name, &k);

	for (uint32_t i = 0; i < api_scaled(4000); i++) {
		weft_actor actor;
		const struct weft_actor_options options = { .struct_size = sizeof options,
			                                    .name = "short",
			                                    .holds = all_disks() };

		if (weft_actor_create(rt, &bare, &options, NULL, &actor) == 0)
			act_release(rt, actor);
	}
	api_add(&stop, 1);
	api_join(killer);
	close_empty(rt);
}

/* ---- Options, close -------------------------------------------------------------------------- */

Test(actors_holds, the_class_says_what_and_the_options_may_differ)
{
	static const struct weft_actor_holds much = { .struct_size = sizeof much, .memory = 600 };
	static const struct weft_actor_class holder =
		WEFT_ACTOR_CLASS(.name = "holder", .holds = &much);
	weft *rt = open_with(2, NULL);
	weft_actor by_class = act_create(rt, &holder, NULL, NULL), other, none;

	cr_assert_eq(api_end(rt, act_call(rt, by_class, api_body_nothing, NULL, 0)), 0);
	cr_assert(available(rt, "memory") == 400);
	other = holding(rt, &holder, HOLDS(.memory = 1), NULL);
	cr_assert_eq(api_end(rt, act_call(rt, other, api_body_nothing, NULL, 0)), 0);
	cr_assert(available(rt, "memory") == 399);
	none = holding(rt, &holder, HOLDS(.memory = 0), NULL);
	cr_assert_eq(api_end(rt, act_call(rt, none, api_body_nothing, NULL, 0)), 0);
	cr_assert(available(rt, "memory") == 399);
	act_release(rt, by_class);
	act_release(rt, other);
	act_release(rt, none);
	close_empty(rt);
}

static void refused(weft *rt, const struct weft_actor_holds *holds)
{
	weft_actor actor = { API_POISON };

	cr_assert_eq(
		weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.holds = holds), NULL, &actor),
		-EINVAL);
	cr_assert_eq(actor.bits, API_POISON);
}

Test(actors_holds, what_makes_no_sense_is_refused)
{
	weft *rt = open_with(2, NULL);

	refused(rt, HOLDS(.cpus = -2));
	refused(rt, HOLDS(.cpus = 0.00001));
	refused(rt, HOLDS(.gpus = 1.5));
	refused(rt, HOLDS(.memory = UINT64_MAX / 2 + 1));
	refused(rt, HOLDS(REQUEST({ "tape", 1 })));
	refused(rt, HOLDS(REQUEST({ "disk", 1 }, { "disk", 1 })));
	refused(rt, HOLDS(.n_resources = 1));
	refused(rt, HOLDS(.reserved0 = 1));
	refused(rt, &(const struct weft_actor_holds){ .cpus = 1 });
	close_empty(rt);
}

Test(actors_holds, close_ends_who_holds_what_another_waits_for)
{
	weft *rt = open_with(2, NULL);
	struct act_log log = { 0 };
	weft_actor first = holding(rt, &plain, all_disks(), &log);
	weft_actor second = holding(rt, &plain, all_disks(), &log);
	weft_ref ref = act_call(rt, second, act_add, &(int64_t){ 1 }, 8);

	await_waiting(rt, 1);
	(void)first;
	api_release(rt, ref);
	api_close(rt);
	cr_assert_eq(api_read(&log.inits), 2);
	cr_assert_eq(api_read(&log.finis), 2);
	cr_assert_eq(api_read(&log.drops), 2);
}

/* The group would take what the actor has; nothing but the close can end that. */
Test(actors_holds, close_ends_who_holds_what_a_placement_group_waits_for)
{
	weft *rt = open_with(2, NULL);
	const struct weft_resource disk = { "disk", 1 };
	const struct weft_bundle bundle = { .resources = &disk, .n_resources = 1 };
	weft_actor actor = holding(rt, &plain, all_disks(), NULL);
	weft_placement group;
	weft_ref ready, after;

	await_waiting(rt, 0);
	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(weft_placement_create(rt, NULL, &bundle, 1, &group), 0);
	cr_assert_eq(weft_placement_ready(rt, group, &ready), 0);
	after = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(ready)));
	api_release(rt, ready);
	api_release(rt, after);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

struct asker {
	struct api_count asked;
	struct api_count enough;
};

static int asks_again_and_again(weft_task *self)
{
	struct asker *asker = api_arg_pointer(self);
	struct weft_task_info info = { .struct_size = sizeof info };

	do {
		API_CHECK(weft_task_info(self, &info) == 0);
		API_CHECK(info.cpus == 1 && info.gpus == 0);
		api_add(&asker->asked, 1);
	} while (!api_read(&asker->enough));
	return 0;
}

static int calls_once(weft_task *self)
{
	const weft_actor actor = *(const weft_actor *)weft_task_arg(self, NULL);

	API_CHECK(weft_actor_call(weft_task_runtime(self), actor, api_body_nothing, NULL, 0,
	                          NULL) == 0);
	return 0;
}

Test(actors_holds, a_call_may_ask_while_others_come_to_its_actor)
{
	weft *rt = open_with(2, NULL);
	weft_actor actor = act_create(rt, &bare, NULL, NULL);
	struct asker asker = { 0 };
	void *arg = &asker;
	weft_ref ref = act_call(rt, actor, asks_again_and_again, &arg, sizeof arg);

	api_await_count(&asker.asked, 1);
	/* A second caller: the actor makes itself a list. */
	cr_assert_eq(api_end(rt, api_spawn(rt, calls_once, &actor, sizeof actor)), 0);
	api_add(&asker.enough, 1);
	cr_assert_eq(api_end(rt, ref), 0);
	act_release(rt, actor);
	await_all_back(rt);
	close_empty(rt);
}

/* ---- Deadlocks ------------------------------------------------------------------------------- */

/* What a method or a task does that has some disks: it wants more, through somebody else. */
struct greed {
	double disks;          /* that the other is to hold */
	bool by_actor;         /* else a task */
	bool not_long;         /* what it waits for has a deadline */
	struct api_count told; /* by the log */
	struct api_count waits;
	int got;
};

static int wants_more(weft_task *self)
{
	struct greed *greed = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const struct weft_resource disks = { "disk", greed->disks };
	weft_actor other = { 0 };
	const weft_deadline until = greed->not_long ? weft_after_ms(rt, 200) : 0;
	weft_ref ref;
	struct weft_view view;

	if (greed->by_actor) {
		other = holding(rt, &bare, HOLDS(.resources = &disks, .n_resources = 1), NULL);
		ref = api_submit(rt,
		                 WEFT_TASK(api_body_nothing, .actor = other,
		                           .opts = WEFT_TASK_OPTIONS(.deadline = until)));
	} else {
		ref = api_submit(
			rt,
			WEFT_TASK(api_body_nothing,
		                  .opts = WEFT_TASK_OPTIONS(.resources = &disks, .n_resources = 1,
		                                            .deadline = until)));
	}
	api_add(&greed->waits, 1);
	greed->got = weft_get(rt, ref, WEFT_FOREVER, &view);
	API_CHECK(weft_cancel(rt, ref) == 0);
	api_release(rt, ref);
	if (greed->by_actor) {
		API_CHECK(weft_actor_kill(rt, other, WEFT_KILL_NOW) == 0);
		act_release(rt, other);
	}
	return 0;
}

static const struct weft_resource three_disks = { "disk", 3 };

static void hears_of_disks(void *arg, const struct weft_log_record *record)
{
	if (record->level == WEFT_LOG_ERROR &&
	    strstr(record->text, "too much of the resource disk"))
		api_add(arg, 1);
}

static weft_actor holds_three(weft *rt)
{
	return holding(rt, &bare, HOLDS(.resources = &three_disks, .n_resources = 1), NULL);
}

static weft_ref greedy(weft *rt, weft_actor actor, struct greed *greed)
{
	if (actor.bits)
		return api_submit(rt, WEFT_TASK(wants_more, .actor = actor, API_POINTER(greed)));
	return api_submit(
		rt,
		WEFT_TASK(wants_more, API_POINTER(greed),
	                  .opts = WEFT_TASK_OPTIONS(.resources = &three_disks, .n_resources = 1)));
}

Test(actors_holds, who_waits_for_an_actor_that_waits_for_what_he_holds_is_told)
{
	for (int how = 0; how < 4; how++) {
		struct greed greed = { .disks = 2, .by_actor = how & 1 };
		weft *rt = NULL;

		cr_assert_eq(weft_open(&rt,
		                       WEFT_OPTIONS(.workers = 2, .resources = two_names,
		                                    .n_resources = 2, .log = hears_of_disks,
		                                    .log_arg = &greed.told)),
		             0);
		weft_actor actor = how & 2 ? holds_three(rt) : WEFT_ACTOR_NONE;

		cr_assert_eq(api_end(rt, greedy(rt, actor, &greed)), 0);
		cr_assert_eq(greed.got, WEFT_EDEADLOCK, "%d: %d", how, greed.got);
		/* Before anybody was woken. */
		cr_assert_eq(api_read(&greed.told), 1);
		if (actor.bits)
			act_release(rt, actor);
		await_all_back(rt);
		close_empty(rt);
	}
}

Test(actors_holds, who_waits_for_what_ends_at_its_deadline_is_not)
{
	for (int how = 0; how < 4; how++) {
		struct greed greed = { .disks = 2, .by_actor = how & 1, .not_long = true };
		weft *rt = open_with(2, NULL);
		weft_actor actor = how & 2 ? holds_three(rt) : WEFT_ACTOR_NONE;

		cr_assert_eq(api_end(rt, greedy(rt, actor, &greed)), 0);
		cr_assert_eq(greed.got, WEFT_EDEADLINE, "%d: %d", how, greed.got);
		if (actor.bits)
			act_release(rt, actor);
		await_all_back(rt);
		close_empty(rt);
	}
}

Test(actors_holds, who_waits_for_what_others_may_let_go_is_not)
{
	for (int by_actor = 0; by_actor < 2; by_actor++) {
		struct greed greed = { .disks = 4, .by_actor = by_actor };
		weft *rt = open_with(2, NULL);
		weft_actor idle = holds_three(rt), none = act_create(rt, &bare, NULL, NULL);
		weft_ref ref = greedy(rt, none, &greed);

		api_await_count(&greed.waits, 1);
		await_waiting(rt, 1);
		/* A few rounds of a runtime in which nothing happens. */
		for (int i = 0; i < 20; i++)
			cr_assert_eq(weft_sleep_until(rt, weft_after_ms(rt, 3)), 0);
		cr_assert_eq(weft_peek(rt, ref), 0);
		act_release(rt, idle);
		cr_assert_eq(api_end(rt, ref), 0);
		cr_assert_eq(greed.got, 0);
		act_release(rt, none);
		await_all_back(rt);
		close_empty(rt);
	}
}

Test(actors_holds, what_an_actor_holds_counts_once_for_all_its_calls)
{
	static const struct weft_actor_class wide = WEFT_ACTOR_CLASS(.max_concurrency = 2);
	const struct weft_resource two = { "disk", 2 };
	const struct weft_actor_holds *half = HOLDS(.resources = &two, .n_resources = 1);
	weft *rt = open_with(2, NULL);
	weft_actor idle = holding(rt, &bare, half, NULL), actor = holding(rt, &wide, half, NULL);
	struct greed greed[2] = { { .disks = 2 }, { .disks = 2 } };
	weft_ref refs[2];

	for (int i = 0; i < 2; i++)
		refs[i] = greedy(rt, actor, &greed[i]);
	for (int i = 0; i < 2; i++)
		api_await_count(&greed[i].waits, 1);
	await_waiting(rt, 2);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(weft_sleep_until(rt, weft_after_ms(rt, 3)), 0);
	cr_assert(weft_peek(rt, refs[0]) == 0 && weft_peek(rt, refs[1]) == 0);
	act_release(rt, idle);
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(api_end(rt, refs[i]), 0);
		cr_assert_eq(greed[i].got, 0);
	}
	act_release(rt, actor);
	await_all_back(rt);
	close_empty(rt);
}

Test(actors_holds, who_waits_for_more_than_there_is_waits)
{
	struct greed greed = { .disks = 5, .by_actor = true };
	weft *rt = open_with(2, NULL);
	weft_actor actor = holds_three(rt);
	weft_ref ref = greedy(rt, actor, &greed);

	api_await_count(&greed.waits, 1);
	await_waiting(rt, 1);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(weft_sleep_until(rt, weft_after_ms(rt, 3)), 0);
	cr_assert_eq(weft_peek(rt, ref), 0);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	cr_assert_eq(greed.got, -EINTR);
	act_release(rt, actor);
	await_all_back(rt);
	close_empty(rt);
}
