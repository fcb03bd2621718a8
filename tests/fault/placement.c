/*
 * Goal: whatever fails while groups are made and tasks placed, the call answers -ENOMEM with its
 * outputs untouched, everything that was accepted ends, and the books are even.
 * Method: the sweep over one program that opens a runtime on a machine of four nodes, makes and
 * removes groups, submits into them and has actors in them and on nodes.
 */
#include "api_fault.h"

enum { TASKS = 40, GROUPS = 20, ACTORS = 8 };

struct made {
	weft *rt;
	weft_placement groups[GROUPS];
	weft_ref refs[TASKS];
	uint32_t n_groups, n_refs;
	weft_actor actors[ACTORS];
	weft_ref calls[ACTORS * 3];
	uint32_t n_actors, n_calls;
};

static double available(weft *rt, const char *name)
{
	struct weft_resource_info infos[8];
	const int n = weft_resources(rt, infos, 8);

	for (int i = 0; i < n; i++) {
		if (!strcmp(infos[i].name, name))
			return infos[i].available;
	}
	API_CHECK(!"a resource of this name");
	return 0;
}

static int spawns(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref child = api_poison_ref();
	const int rc = weft_spawn(rt, api_body_nothing, NULL, 0, &child);

	API_CHECK(fault_allowed(rc) || rc == WEFT_EPLACEMENT);
	if (rc) {
		API_CHECK(child.bits == API_POISON);
		return 0;
	}
	const int end = api_end(rt, child);

	/* A call of an actor whose group is removed is told. */
	API_CHECK(fault_allowed(end) || end == WEFT_EPLACEMENT || end == -EINTR ||
	          end == -ECANCELED);
	return 0;
}

static void make_group(struct made *made, uint32_t i)
{
	const struct weft_bundle bundles[] = { { .cpus = 0.5, .memory = 10 },
		                               { .cpus = 1, .gpus = i % 2, .memory = 20 } };
	weft_placement group = { API_POISON };
	weft_ref ready = api_poison_ref();
	int rc = weft_placement_create(made->rt, WEFT_PLACEMENT_OPTIONS(.strategy = i % 3), bundles,
	                               2, &group);

	API_CHECK(fault_allowed(rc) && (rc == 0) == (group.bits != API_POISON));
	if (rc)
		return;
	made->groups[made->n_groups++] = group;
	rc = weft_placement_ready(made->rt, group, &ready);
	API_CHECK(fault_allowed(rc) && (rc == 0) == (ready.bits != API_POISON));
	if (!rc)
		api_release(made->rt, ready);
}

static void submit_one(struct made *made, uint32_t i)
{
	const struct weft_place places[] = {
		{ .struct_size = sizeof places[0], .strategy = WEFT_PLACE_NODE, .node = i % 4 },
		{ .struct_size = sizeof places[0], .strategy = WEFT_PLACE_SPREAD },
		{ .struct_size = sizeof places[0],
		  .group = made->groups[made->n_groups ? i % made->n_groups : 0],
		  .flags = WEFT_PLACE_CAPTURE },
	};
	const uint32_t kind = made->n_groups ? i % 3 : i % 2;
	weft_ref out = api_poison_ref();
	const int rc =
		weft_submit(made->rt,
	                    WEFT_TASK(spawns,
	                              .opts = WEFT_TASK_OPTIONS(.place = &places[kind],
	                                                        .memory = kind == 2 ? 10 : 0)),
	                    &out);

	API_CHECK(fault_allowed(rc) && (rc == 0) == (out.bits != API_POISON));
	if (!rc)
		made->refs[made->n_refs++] = out;
}

/* On a node, or in a group with something to hold; some are then removed with it. */
static void make_actor(struct made *made, uint32_t i)
{
	static const struct weft_actor_class bare = WEFT_ACTOR_CLASS(.name = "bare");
	const struct weft_place places[] = {
		{ .struct_size = sizeof places[0], .strategy = WEFT_PLACE_NODE, .node = i % 4 },
		{ .struct_size = sizeof places[0],
		  .group = made->groups[made->n_groups ? i % made->n_groups : 0],
		  .flags = WEFT_PLACE_CAPTURE },
	};
	const uint32_t kind = made->n_groups ? i % 2 : 0;
	const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                .memory = kind ? 5 : 0,
		                                .place = &places[kind] };
	weft_actor actor = { API_POISON };
	int rc = weft_actor_create(made->rt, &bare, WEFT_ACTOR_OPTIONS(.holds = &holds), NULL,
	                           &actor);

	API_CHECK(fault_allowed(rc) && (rc == 0) == (actor.bits != API_POISON));
	if (rc)
		return;
	made->actors[made->n_actors++] = actor;
	for (uint32_t j = 0; j < 3; j++) {
		weft_ref out = api_poison_ref();

		rc = weft_actor_call(made->rt, actor, j ? api_body_nothing : spawns, NULL, 0, &out);
		API_CHECK(fault_allowed(rc) && (rc == 0) == (out.bits != API_POISON));
		if (!rc)
			made->calls[made->n_calls++] = out;
	}
}

static void end_actors(struct made *made)
{
	for (uint32_t i = 0; i < made->n_actors; i++)
		API_CHECK(weft_actor_release(made->rt, made->actors[i]) == 0);
	for (uint32_t i = 0; i < made->n_calls; i++) {
		const int end = api_end(made->rt, made->calls[i]);

		API_CHECK(fault_allowed(end) || end == WEFT_EACTOR);
	}
}

static void round_of(uint64_t nth)
{
	struct made made = { .n_refs = 0 };

	wf_fault_arm(-1, nth);
	const int rc = weft_open(
		&made.rt,
		WEFT_OPTIONS(.workers = 8, .gpus = 3, .memory = 1000, .seed = test_seed()));

	API_CHECK(fault_allowed(rc));
	if (rc)
		return;
	for (uint32_t i = 0; i < GROUPS / 2; i++)
		make_group(&made, i);
	for (uint32_t i = 0; i < TASKS; i++)
		submit_one(&made, i);
	for (uint32_t i = 0; i < ACTORS; i++)
		make_actor(&made, i);
	for (uint32_t i = 0; i < made.n_groups; i += 2)
		API_CHECK(fault_allowed(weft_placement_remove(made.rt, made.groups[i])));
	for (uint32_t i = GROUPS / 2; i < GROUPS; i++)
		make_group(&made, i);
	wf_fault_arm(-1, 0);
	for (uint32_t i = 0; i < made.n_groups; i++)
		API_CHECK(weft_placement_remove(made.rt, made.groups[i]) == 0);
	end_actors(&made);
	for (uint32_t i = 0; i < made.n_refs; i++) {
		const int end = api_end(made.rt, made.refs[i]);

		API_CHECK(fault_allowed(end) || end == WEFT_EPLACEMENT);
	}
	api_await_no_tasks(made.rt);
	API_CHECK(weft_placements(made.rt, NULL, 0) == 0);
	const int64_t start = api_now();

	/* An actor may be dying yet. */
	while (available(made.rt, "memory") != 1000 || available(made.rt, "GPU") != 3)
		api_polling(start, "everything was given back");
	api_close(made.rt);
}

static int is_on_node_one(weft_task *self)
{
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0 && info.node == 1);
	return 0;
}

/* Turns for which the queue of a node has no room wait without memory, and for that node. */
static void turns_without_room(void)
{
	enum { MANY = 80 };
	static const struct weft_actor_class two = WEFT_ACTOR_CLASS(.max_concurrency = 2);
	const struct weft_place place = { .struct_size = sizeof place,
		                          .strategy = WEFT_PLACE_NODE,
		                          .node = 1 };
	const struct weft_actor_holds holds = { .struct_size = sizeof holds, .place = &place };
	struct api_gate gate = API_GATE_INIT;
	weft_ref held[2], refs[MANY][2];
	weft_actor actors[MANY];
	uint32_t accepted = 0;
	weft *rt = api_open(8);
	weft_ref event = api_event(rt);

	for (uint32_t i = 0; i < MANY; i++) {
		API_CHECK(weft_actor_create(rt, &two, WEFT_ACTOR_OPTIONS(.holds = &holds), NULL,
		                            &actors[i]) == 0);
		API_CHECK(weft_actor_call(rt, actors[i], is_on_node_one, NULL, 0, &refs[i][0]) ==
		          0);
		API_CHECK(api_end(rt, refs[i][0]) == 0);
	}
	/* So many cells and blocks are at hand afterwards. */
	for (uint32_t i = 0; i < 2 * MANY; i++)
		API_CHECK(weft_submit(rt,
		                      WEFT_TASK(api_body_nothing, WEFT_AFTER(event),
		                                .opts = WEFT_TASK_OPTIONS(.priority = 1)),
		                      &refs[i / 2][i % 2]) == 0);
	for (uint32_t i = 0; i < 2 * MANY; i++) {
		API_CHECK(weft_cancel(rt, refs[i / 2][i % 2]) == 0);
		api_release(rt, refs[i / 2][i % 2]);
	}
	for (uint32_t i = 0; i < 2; i++)
		held[i] = api_submit(rt,
		                     WEFT_TASK(api_body_gate, API_POINTER(&gate),
		                               .opts = WEFT_TASK_OPTIONS(.place = &place)));
	api_gate_await(&gate, 2);
	wf_fault_arm_lasting(-1, 1);
	for (uint32_t i = 0; i < MANY; i++) {
		for (uint32_t j = 0; j < 2; j++) {
			refs[i][j] = WEFT_NONE;
			const int rc = weft_actor_call(rt, actors[i], is_on_node_one, NULL, 0,
			                               &refs[i][j]);

			API_CHECK(rc == 0 || rc == -ENOMEM);
			accepted += rc == 0;
		}
	}
	wf_fault_arm(-1, 0);
	/* More than the queue has grown to before. */
	API_CHECK(accepted > MANY);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < MANY; i++) {
		for (uint32_t j = 0; j < 2; j++)
			API_CHECK(!refs[i][j].bits || api_end(rt, refs[i][j]) == 0);
		API_CHECK(weft_actor_release(rt, actors[i]) == 0);
	}
	for (uint32_t i = 0; i < 2; i++)
		API_CHECK(api_end(rt, held[i]) == 0);
	api_release(rt, event);
	api_close(rt);
}

int main(void)
{
	setenv("HWLOC_SYNTHETIC", "node:4 core:2 pu:1", 1);
	turns_without_room();
	round_of(0);
	const struct fault_census before = fault_census();
	const uint64_t points = fault_sweep(round_of);

	fault_census_check(&before);
	printf("placement: %llu points\n", (unsigned long long)points);
	return 0;
}
