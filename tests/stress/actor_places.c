/*
 * Goal: whatever actors are made in groups and on nodes, and whenever they are killed or crash, or
 * their group is removed, no bundle gives more than it has; each call runs where its actor belongs
 * and ends once; after a remove nothing of the group lives; the books are even afterwards.
 * Method: threads make groups of their own, and a few that all of them use and replace; they make
 * actors in them and on nodes, call, kill and release them, and remove the groups at random
 * moments, while workers run calls that wait, crash, submit and make actors. Each state counts what
 * its actor holds. Two workers on one node, and eight on four.
 */
#include "resources.h"

#define THREADS 3
#define ROUNDS  150
#define ACTORS  10
#define SHARED  3
#define CALLS   6

struct group {
	weft_placement handle;
	bool large; /* it needs a resource whole, which others have: removed before anybody waits */
	struct api_count disk, memory; /* held; disk in 1/10 */
};

struct field {
	weft *rt;
	uint32_t nodes;
	struct wf_a64 shared[SHARED]; /* handles; 0: none yet */
	struct api_count disk, memory, states, calls, lost;
};

/* What one actor is to be; lives as long as the round. */
struct plan {
	struct field *field;
	struct group *group; /* NULL: in none, or in a shared one */
	struct weft_place place;
	uint64_t disk, memory;
	struct api_count runs;
};

struct state {
	struct plan *plan;
};

static void hold(struct api_count *gauge, uint64_t amount, uint64_t most)
{
	API_CHECK(api_add(gauge, amount) <= most);
}

static void check_place(weft_task *self, const struct plan *plan)
{
	struct weft_task_place place = { .struct_size = sizeof place };
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_place(self, &place) == 0 && weft_task_info(self, &info) == 0);
	API_CHECK(place.group.bits == plan->place.group.bits);
	API_CHECK(place.captures == !!plan->place.flags);
	if (plan->place.group.bits || plan->place.strategy == WEFT_PLACE_NODE)
		API_CHECK(plan->field->nodes == 1 || info.node == place.node);
	if (plan->place.strategy == WEFT_PLACE_NODE)
		API_CHECK(info.node == plan->place.node);
	if (plan->place.bundle)
		API_CHECK(place.bundle == plan->place.bundle - 1);
}

static int init(weft_task *self)
{
	struct state *state = weft_actor_state(self);
	struct plan *plan = *(struct plan *const *)weft_task_arg(self, NULL);

	API_CHECK(!state->plan);
	check_place(self, plan);
	state->plan = plan;
	api_add(&plan->field->states, 1);
	hold(&plan->field->disk, plan->disk, 40);
	hold(&plan->field->memory, plan->memory, 1000);
	if (plan->group) {
		hold(&plan->group->disk, plan->disk, plan->group->large ? 40 : 5);
		hold(&plan->group->memory, plan->memory, 160);
	}
	return 0;
}

/* Before what it holds is given back. */
static void drop(void *memory, size_t size)
{
	const struct plan *plan = ((struct state *)memory)->plan;

	API_CHECK(size == sizeof(struct state));
	if (!plan)
		return;
	if (plan->group) {
		api_add(&plan->group->disk, -plan->disk);
		api_add(&plan->group->memory, -plan->memory);
	}
	api_add(&plan->field->disk, -plan->disk);
	api_add(&plan->field->memory, -plan->memory);
	api_add(&plan->field->states, (uint64_t)-1);
}

static const struct weft_actor_class one =
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct state), .init = init, .drop = drop,
                         .max_restarts = 2);
static const struct weft_actor_class three =
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct state), .init = init, .drop = drop,
                         .max_concurrency = 3);
static const struct weft_actor_class bare = WEFT_ACTOR_CLASS(.name = "bare");

static bool gone(int rc)
{
	return rc == WEFT_EPLACEMENT || rc == WEFT_EACTOR || rc == -EINTR || rc == -ECANCELED;
}

/* In the group as well, if that captures. */
static int makes_another(weft *rt, const struct plan *plan)
{
	weft_actor actor = { API_POISON };
	int rc = weft_actor_create(rt, &bare, NULL, NULL, &actor);
	weft_ref ref;

	if (rc) {
		API_CHECK(rc == WEFT_EPLACEMENT && plan->place.flags);
		API_CHECK(actor.bits == API_POISON);
		return 0;
	}
	API_CHECK(weft_actor_call(rt, actor, api_body_nothing, NULL, 0, &ref) == 0);
	API_CHECK(weft_actor_release(rt, actor) == 0);
	rc = (int)weft_take(rt, ref, NULL, 0);
	API_CHECK(rc == 0 || gone(rc));
	return 0;
}

static int body(weft_task *self)
{
	const struct state *state = weft_actor_state(self);
	const uint32_t kind = *(const uint32_t *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	weft_ref child;
	int rc = 0;

	check_place(self, state->plan);
	api_add(&state->plan->runs, 1);
	switch (kind) {
	case 0:
		rc = weft_yield(rt);
		API_CHECK(rc == 0 || gone(rc));
		check_place(self, state->plan);
		return 0;
	case 1:
		return weft_actor_crash(self, "planned");
	case 2:
		rc = weft_submit(rt,
		                 WEFT_TASK(api_body_nothing,
		                           .opts = WEFT_TASK_OPTIONS(.cpus = WEFT_CPUS_NONE)),
		                 &child);
		if (rc) {
			API_CHECK(rc == WEFT_EPLACEMENT && state->plan->place.flags);
			return 0;
		}
		rc = (int)weft_take(rt, child, NULL, 0);
		API_CHECK(rc == 0 || gone(rc));
		check_place(self, state->plan);
		return 0;
	case 3:
		return makes_another(rt, state->plan);
	default:
		return 0;
	}
}

/* There is room for one of every thread, and for those that are shared. */
static weft_placement make_group(const struct field *field, bool large)
{
	const struct weft_resource disk = { "disk", large ? 4 : 0.5 };
	const struct weft_bundle bundles[] = {
		{ .cpus = 0.15, .memory = 80 },
		{ .cpus = 0.15, .memory = 80, .resources = &disk, .n_resources = 1 },
	};
	weft_placement group;

	API_CHECK(weft_placement_create(field->rt, WEFT_PLACEMENT_OPTIONS(.strategy = WEFT_SPREAD),
	                                bundles, 2, &group) == 0);
	return group;
}

static void plan_actor(struct field *field, struct group *group, struct plan *plan,
                       uint64_t *random)
{
	memset(plan, 0, sizeof *plan);
	plan->field = field;
	plan->place.struct_size = sizeof plan->place;
	switch (api_below(random, 5)) {
	case 0:
		plan->place.strategy = WEFT_PLACE_NODE;
		plan->place.node = api_below(random, field->nodes);
		return;
	case 1:
		plan->place.strategy = WEFT_PLACE_SPREAD + api_below(random, 2);
		return;
	case 2:
		/* relaxed: any value that was a handle. */
		plan->place.group.bits = wf_load_relaxed(&field->shared[api_below(random, SHARED)]);
		break;
	default:
		plan->group = group;
		plan->place.group = group->handle;
	}
	if (plan->place.group.bits) {
		plan->place.bundle = api_below(random, 2) ? 1 + api_below(random, 2) : 0;
		plan->place.flags = api_below(random, 3) ? 0 : WEFT_PLACE_CAPTURE;
	}
	plan->disk = plan->place.bundle != 1 && api_below(random, 2) ? 1 + api_below(random, 5) : 0;
	plan->memory = api_below(random, 2) ? 10 + api_below(random, 70) : 0;
}

/* False: it was refused, because its group is gone. */
static bool make_actor(struct plan *plan, weft_actor *actor, uint64_t *random)
{
	const struct weft_resource disk = { "disk", (double)plan->disk / 10 };
	const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                .cpus = api_below(random, 3) ? 0 : 0.1,
		                                .memory = plan->memory,
		                                .resources = plan->disk ? &disk : NULL,
		                                .n_resources = plan->disk > 0,
		                                .place = &plan->place };
	const struct weft_actor_options options = { .struct_size = sizeof options,
		                                    .holds = &holds };

	const int rc = weft_actor_create(
		plan->field->rt, api_below(random, 3) ? &one : &three, &options,
		&(struct weft_call){ .arg = &plan, .arg_size = sizeof plan }, actor);

	if (rc == 0)
		return true;
	API_CHECK(plan->place.group.bits && !plan->group);
	API_CHECK(rc == -EINVAL || rc == WEFT_EPLACEMENT);
	return false;
}

/* Some thread's group is everybody's from here on. */
static void replace_shared(struct field *field, uint64_t *random)
{
	struct wf_a64 *slot = &field->shared[api_below(random, SHARED)];
	const weft_placement fresh = make_group(field, false);
	/* relaxed: a guess for the exchange. */
	weft_placement old = { wf_load_relaxed(slot) };

	while (!wf_cas_acq_rel(slot, &old.bits, fresh.bits))
		;
	API_CHECK(weft_placement_remove(field->rt, old) == 0);
}

struct share {
	struct field *field;
	uint32_t thread;
};

static void end_calls(struct field *field, weft_ref *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const int rc = api_end(field->rt, refs[i]);

		API_CHECK(rc == 0 || rc == WEFT_EACTOR);
		api_add(rc ? &field->lost : &field->calls, 1);
	}
}

static void one_round(struct field *field, struct plan *plans, uint64_t *random)
{
	struct group group = { .large = api_below(random, 4) == 0 };
	weft_actor actors[ACTORS];
	weft_ref refs[ACTORS * CALLS];
	uint32_t n = 0, n_refs = 0;
	const uint32_t remove_at = api_below(random, ACTORS + 4);
	bool there = true;

	group.handle = make_group(field, group.large);
	for (uint32_t i = 0; i < ACTORS; i++) {
		if (there && i == remove_at) {
			API_CHECK(weft_placement_remove(field->rt, group.handle) == 0);
			there = false;
		}
		do {
			plan_actor(field, &group, &plans[i], random);
		} while (plans[i].group && !there);
		if (api_below(random, 6) == 0)
			replace_shared(field, random);
		if (!make_actor(&plans[i], &actors[n], random))
			continue;
		for (uint32_t j = 0; j < CALLS; j++) {
			const uint32_t kind = api_below(random, 8);

			API_CHECK(weft_actor_call(field->rt, actors[n], body, &kind, sizeof kind,
			                          &refs[n_refs++]) == 0);
		}
		if (api_below(random, 5) == 0)
			API_CHECK(weft_actor_kill(field->rt, actors[n],
			                          api_below(random, 2) ? WEFT_KILL_NOW
			                                               : WEFT_KILL_RESTART) == 0);
		n++;
	}
	for (uint32_t i = 0; i < n; i++)
		API_CHECK(weft_actor_release(field->rt, actors[i]) == 0);
	if (there && (group.large || api_below(random, 2)))
		API_CHECK(weft_placement_remove(field->rt, group.handle) == 0);
	end_calls(field, refs, n_refs);
	API_CHECK(weft_placement_remove(field->rt, group.handle) == 0);
	const int64_t start = api_now();

	/* The last of a state is after its calls. */
	while (api_read(&group.disk) || api_read(&group.memory))
		api_polling(start, "what lived in the group is dead");
}

static void *play(void *arg)
{
	const struct share *mine = arg;
	struct field *field = mine->field;
	uint64_t random = test_seed() * 31 + mine->thread + field->nodes * 1000;
	const uint32_t rounds = api_scaled(ROUNDS * 10) / 10 + 1;
	/* A state may outlive its round by a moment. */
	struct plan *plans = calloc((size_t)rounds * ACTORS, sizeof *plans);

	API_CHECK(plans != NULL);
	for (uint32_t i = 0; i < rounds; i++)
		one_round(field, &plans[i * ACTORS], &random);
	return plans;
}

static void run(uint32_t workers, uint32_t nodes)
{
	struct field field = { .rt = open_with(workers, NULL), .nodes = nodes };
	struct share shares[THREADS];
	pthread_t threads[THREADS];
	void *plans[THREADS];

	for (uint32_t i = 0; i < SHARED; i++)
		wf_init(&field.shared[i], make_group(&field, false).bits);
	for (uint32_t i = 0; i < THREADS; i++) {
		shares[i] = (struct share){ &field, i };
		threads[i] = api_thread(play, &shares[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		API_CHECK(pthread_join(threads[i], &plans[i]) == 0);
	for (uint32_t i = 0; i < SHARED; i++)
		/* relaxed: the threads are gone. */
		API_CHECK(weft_placement_remove(
				  field.rt,
				  (weft_placement){ wf_load_relaxed(&field.shared[i]) }) == 0);
	API_CHECK(weft_placements(field.rt, NULL, 0) == 0);
	close_empty(field.rt);
	API_CHECK(api_read(&field.calls) > 0);
	API_CHECK(!api_read(&field.states) && !api_read(&field.disk) && !api_read(&field.memory));
	for (uint32_t i = 0; i < THREADS; i++)
		free(plans[i]);
}

int main(void)
{
	setenv("HWLOC_SYNTHETIC", "node:4 core:2 pu:1", 1);
	run(2, 1);
	run(8, 4);
	return 0;
}
