/*
 * Goal: what can be seen of an actor from outside is what it is; bad names, limits and handles are
 * refused with the code that is documented, and leave nothing behind. (Rows A9 to A12, A19, and
 * what the header says of weft_actor_info() and weft_actor_list().)
 * Method: an actor is held in each of its phases by events and gates; after every refusal the cells
 * in use and the actors that were created are counted.
 */
#include "actors.h"

static const struct weft_actor_class plain = ACT_CLASS(.flags = 0);

static struct weft_actor_info info_of(weft *rt, weft_actor actor)
{
	struct weft_actor_info info = { .struct_size = sizeof info };

	API_CHECK(weft_actor_info(rt, actor, &info) == 0);
	return info;
}

/* ---- Phases ---------------------------------------------------------------------------------- */

static int init_waits(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	struct weft_view view;

	return weft_get(weft_task_runtime(self), *event, WEFT_FOREVER, &view);
}

static const struct weft_actor_class waiting =
	WEFT_ACTOR_CLASS(.name = "waiting", .init = init_waits);

static int at_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "seen");
}

Test(actors_seen, each_phase_is_seen_with_what_waits_and_what_ran)
{
	weft *rt = api_open(2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref event = api_event(rt), refs[5];
	weft_actor actor;
	struct weft_actor_info info;

	cr_assert_eq(weft_actor_create(rt, &waiting, WEFT_ACTOR_OPTIONS(.max_restarts = 1),
	                               &(struct weft_call){ WEFT_ARG(event) }, &actor),
	             0);
	refs[0] = act_call(rt, actor, at_gate, &(void *){ &gate }, sizeof(void *));
	for (int i = 1; i < 4; i++)
		refs[i] = act_call(rt, actor, api_body_nothing, NULL, 0);
	info = info_of(rt, actor);
	cr_assert_eq(info.phase, WEFT_ACTOR_PENDING);
	cr_assert_eq(info.queued, 4);
	cr_assert_eq(info.calls, 0);
	cr_assert_str_eq(info.class_name, "waiting");
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_gate_await(&gate, 1);
	info = info_of(rt, actor);
	cr_assert_eq(info.phase, WEFT_ACTOR_RUNNING);
	cr_assert_eq(info.queued, 3);
	cr_assert_eq(info.running, 1);
	cr_assert_eq(info.calls, 1);
	api_gate_open(&gate);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	info = info_of(rt, actor);
	cr_assert_eq(info.queued + info.running + info.restarts, 0);
	cr_assert_eq(info.calls, 5);
	cr_assert_eq(info.busy_ns, 0, "not asked for");
	cr_assert_null(info.cause);
	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	info = info_of(rt, actor);
	cr_assert_eq(info.restarts, 1);
	cr_assert_eq(info.calls, 7);
	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	act_await_dead(rt, actor);
	info = info_of(rt, actor);
	cr_assert_eq(info.phase, WEFT_ACTOR_DEAD);
	cr_assert_eq(info.cause->status, WEFT_EACTOR);
	cr_assert_str_eq(info.cause->text, "seen");
	cr_assert_eq(weft_actor_info(rt, actor, NULL), -EINVAL);
	cr_assert_eq(weft_actor_info(NULL, actor, &info), -EINVAL);
	info.struct_size = 1;
	cr_assert_eq(weft_actor_info(rt, actor, &info), -EINVAL);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

static int burns(weft_task *self)
{
	const int64_t start = api_now();

	(void)self;
	while (api_now() - start < 1000000)
		continue;
	return 0;
}

Test(actors_seen, time_in_bodies_is_counted_when_it_was_asked_for)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_TIMING)), 0);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, act_call(rt, actor, burns, NULL, 0)), 0);
	act_await_phase(rt, actor, WEFT_ACTOR_IDLE);
	cr_assert_geq(info_of(rt, actor).busy_ns, 3000000);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Names ----------------------------------------------------------------------------------- */

struct names {
	int seen, ours;
	char text[8][16];
	weft_actor actor[8];
};

static void name_seen(void *arg, const char *ns, const char *name, weft_actor actor)
{
	struct names *names = arg;

	API_CHECK(names->seen < 8);
	names->ours += !strcmp(ns, "other");
	snprintf(names->text[names->seen], sizeof names->text[0], "%s", name);
	names->actor[names->seen++] = actor;
}

Test(actors_seen, the_living_are_listed_by_namespace)
{
	weft *rt = api_open(1);
	struct names all = { 0 }, here = { 0 }, other = { 0 }, left = { 0 };
	weft_actor a = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "a"), NULL);
	weft_actor b = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "b", .ns = "other"), NULL);
	weft_actor nameless = act_create(rt, &plain, NULL, NULL);

	cr_assert_eq(weft_actor_list(rt, NULL, name_seen, &all), 2);
	cr_assert_eq(all.seen, 2);
	cr_assert_eq(all.ours, 1);
	cr_assert_eq(weft_actor_list(rt, "other", name_seen, &other), 1);
	cr_assert_str_eq(other.text[0], "b");
	cr_assert_eq(other.actor[0].bits, b.bits);
	cr_assert_eq(weft_actor_list(rt, "nowhere", name_seen, &here), 0);
	cr_assert_eq(here.seen, 0);
	cr_assert_eq(weft_actor_kill(rt, a, WEFT_KILL_NOW), 0);
	cr_assert_eq(weft_actor_list(rt, NULL, name_seen, &left), 1);
	cr_assert_str_eq(left.text[0], "b");
	cr_assert_eq(weft_actor_list(rt, NULL, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_actor_list(NULL, NULL, name_seen, &left), -EINVAL);
	act_release(rt, a);
	act_release(rt, b);
	act_release(rt, nameless);
	api_close(rt);
}

#define CALLERS 100

struct crowd {
	weft *rt;
	pthread_barrier_t barrier;
	struct act_log log;
	struct api_count made, got;
};

static void *gets_or_creates(void *arg)
{
	struct crowd *crowd = arg;
	weft_actor actor = { API_POISON };

	pthread_barrier_wait(&crowd->barrier);
	const int rc = weft_actor_create(crowd->rt, &plain,
	                                 WEFT_ACTOR_OPTIONS(.name = "one", .flags = WEFT_ACTOR_GET),
	                                 &(struct weft_call){ API_POINTER(&crowd->log) }, &actor);

	API_CHECK(rc == 0 || rc == 1);
	api_add(rc ? &crowd->got : &crowd->made, 1);
	API_CHECK(api_take_i64(crowd->rt, act_call(crowd->rt, actor, act_add, &(int64_t){ 1 }, 8)) >
	          0);
	pthread_barrier_wait(&crowd->barrier);
	act_release(crowd->rt, actor);
	return NULL;
}

Test(actors_seen, a_hundred_callers_at_once_get_or_create_one_actor)
{
	struct crowd crowd = { .rt = api_open(2) };
	pthread_t threads[CALLERS];

	pthread_barrier_init(&crowd.barrier, NULL, CALLERS);
	for (int i = 0; i < CALLERS; i++)
		threads[i] = api_thread(gets_or_creates, &crowd);
	for (int i = 0; i < CALLERS; i++)
		api_join(threads[i]);
	api_close(crowd.rt);
	pthread_barrier_destroy(&crowd.barrier);
	cr_assert_eq(api_read(&crowd.made), 1);
	cr_assert_eq(api_read(&crowd.got), CALLERS - 1);
	cr_assert_eq(api_read(&crowd.log.inits), 1);
	cr_assert_eq(api_read(&crowd.log.drops), 1);
}

/* ---- Handles in objects ---------------------------------------------------------------------- */

Test(actors_seen, a_handle_in_a_stored_object_keeps_the_actor)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	weft_actor actor = act_create(rt, &plain, NULL, &log), again;
	weft_ref carrier, object;
	struct weft_view view;

	cr_assert_eq(weft_actor_ref(rt, actor, &carrier), 0);
	cr_assert_eq(weft_put_refs(rt, &carrier, 1, &object), 0);
	api_release(rt, carrier);
	act_release(rt, actor);
	/* Nobody has a count but the object. */
	cr_assert_eq(weft_get(rt, object, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, sizeof(weft_ref));
	carrier = *(const weft_ref *)view.data;
	cr_assert_eq(weft_get_copy(rt, carrier, &again, sizeof again), (int64_t)sizeof again);
	cr_assert_eq(act_value(rt, again), 0);
	cr_assert_eq(api_read(&log.finis), 0);
	api_release(rt, object);
	api_await_count(&log.drops, 1);
	cr_assert_eq(api_read(&log.finis), 1);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Bad input ------------------------------------------------------------------------------- */

static void created_count(void *arg, const struct weft_actor_class_info *info)
{
	*(uint64_t *)arg += info->created;
}

static uint64_t created(weft *rt)
{
	uint64_t n = 0;

	API_CHECK(weft_actor_classes(rt, created_count, &n) >= 0);
	return n;
}

static int create(weft *rt, const struct weft_actor_class *class_,
                  const struct weft_actor_options *opts)
{
	weft_actor out = { API_POISON };
	const int rc = weft_actor_create(rt, class_, opts, NULL, &out);

	API_CHECK(rc < 0 ? out.bits == API_POISON : out.bits != API_POISON);
	if (rc >= 0)
		act_release(rt, out);
	return rc;
}

Test(actors_seen, names_and_limits_are_taken_to_their_last_value_and_not_beyond)
{
	static char longest[WEFT_ACTOR_NAME_MAX + 1], longer[WEFT_ACTOR_NAME_MAX + 2];
	static struct weft_actor_group group = { "g", 1 };
	static struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.groups = &group, .n_groups = 1);
	weft *rt = api_open(1);
	weft_actor found = { API_POISON };
	struct {
		const char *name, *ns, *class_name, *group;
		uint32_t limit;
		int rc;
	} cases[] = {
		{ longest, longest, longest, longest, WEFT_CONCURRENCY_MAX, 0 },
		{ longer, NULL, NULL, "g", 1, -EMSGSIZE },
		{ "n", longer, NULL, "g", 1, -EMSGSIZE },
		{ NULL, NULL, longer, "g", 1, -EMSGSIZE },
		{ NULL, NULL, NULL, longer, 1, -EMSGSIZE },
		{ "", NULL, NULL, "g", 1, -EINVAL },
		{ "n", "", NULL, "g", 1, -EINVAL },
		{ NULL, NULL, "", "g", 1, -EINVAL },
		{ NULL, NULL, NULL, "", 1, -EINVAL },
		{ NULL, NULL, NULL, NULL, 1, -EINVAL },
		{ NULL, NULL, NULL, WEFT_ACTOR_GROUP_DEFAULT, 1, -EINVAL },
		{ NULL, NULL, NULL, "g", 0, -EINVAL },
		{ NULL, NULL, NULL, "g", WEFT_CONCURRENCY_MAX + 1, -EINVAL },
	};

	memset(longest, 'n', sizeof longest - 1);
	memset(longer, 'n', sizeof longer - 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const uint64_t before = created(rt);

		class_.name = cases[i].class_name;
		group = (struct weft_actor_group){ cases[i].group, cases[i].limit };
		cr_assert_eq(create(rt, &class_,
		                    WEFT_ACTOR_OPTIONS(.name = cases[i].name, .ns = cases[i].ns)),
		             cases[i].rc, "%zu", i);
		api_await_no_tasks(rt);
		cr_assert_eq(created(rt), before + !cases[i].rc, "%zu", i);
	}
	cr_assert_eq(weft_actor_find(rt, NULL, longer, &found), -EMSGSIZE);
	cr_assert_eq(weft_actor_find(rt, longer, "n", &found), -EMSGSIZE);
	cr_assert_eq(weft_actor_find(rt, "", "n", &found), -EINVAL);
	cr_assert_eq(weft_actor_find(rt, NULL, NULL, &found), -EINVAL);
	cr_assert_eq(found.bits, API_POISON);
	cr_assert_eq(weft_actor_list(rt, NULL, name_seen, &(struct names){ 0 }), 0);
	api_close(rt);
}

/* Whatever a dead actor's handle, still counted, is good for. */
Test(actors_seen, a_dead_actor_answers_at_every_door)
{
	weft *rt = api_open(1);
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "late"), NULL), out;
	weft_ref ref = WEFT_NONE;

	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	act_await_dead(rt, actor);
	cr_assert_eq(api_end(rt, act_call(rt, actor, act_add, &(int64_t){ 1 }, 8)), WEFT_EACTOR);
	cr_assert_eq(weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, NULL), WEFT_EACTOR);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(act_add, .actor = actor), NULL), WEFT_EACTOR);
	cr_assert_eq(weft_actor_wait_room(rt, actor, WEFT_FOREVER), WEFT_EACTOR);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_RESTART), 0);
	cr_assert_eq(weft_actor_stop(rt, actor, WEFT_FOREVER), 0);
	cr_assert_eq(weft_actor_died(rt, actor, &ref), 0);
	cr_assert_eq(api_end(rt, ref), WEFT_EACTOR);
	cr_assert_eq(weft_actor_find(rt, NULL, "late", &out), -ENOENT);
	cr_assert_eq(weft_actor_retain(rt, actor), 0);
	act_release(rt, actor);
	cr_assert_eq(weft_actor_ref(rt, actor, &ref), 0);
	api_release(rt, ref);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	cr_assert_eq(weft_actor_retain(rt, actor), -EINVAL);
	api_close(rt);
}

static int kills_what_is_no_actor(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const weft_actor own = { weft_task_ref(self).bits };

	API_CHECK(own.bits != 0);
	API_CHECK(weft_actor_kill(rt, own, WEFT_KILL_NOW) == -EINVAL);
	API_CHECK(weft_actor_stop(rt, own, WEFT_FOREVER) == -EINVAL);
	API_CHECK(weft_actor_wait_room(rt, own, WEFT_POLL) == -EINVAL);
	API_CHECK(weft_actor_exit(self) == -EINVAL);
	API_CHECK(weft_actor_crash(self, "no") == -EINVAL);
	return weft_return(self, &(int64_t){ 5 }, 8);
}

Test(actors_seen, who_takes_a_task_for_an_actor_does_it_no_harm)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, kills_what_is_no_actor, NULL, 0)), 5);
	cr_assert_eq(created(rt), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}
