/*
 * Goal: whatever fails while groups are made and tasks placed, the call answers -ENOMEM with its
 * outputs untouched, everything that was accepted ends, and the books are even.
 * Method: the sweep over one program that opens a runtime on a machine of four nodes, makes and
 * removes groups and submits into them.
 */
#include "api_fault.h"

enum { TASKS = 40, GROUPS = 20 };

struct made {
	weft *rt;
	weft_placement groups[GROUPS];
	weft_ref refs[TASKS];
	uint32_t n_groups, n_refs;
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

	API_CHECK(fault_allowed(end) || end == WEFT_EPLACEMENT);
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
	for (uint32_t i = 0; i < made.n_groups; i += 2)
		API_CHECK(fault_allowed(weft_placement_remove(made.rt, made.groups[i])));
	for (uint32_t i = GROUPS / 2; i < GROUPS; i++)
		make_group(&made, i);
	wf_fault_arm(-1, 0);
	for (uint32_t i = 0; i < made.n_groups; i++)
		API_CHECK(weft_placement_remove(made.rt, made.groups[i]) == 0);
	for (uint32_t i = 0; i < made.n_refs; i++) {
		const int end = api_end(made.rt, made.refs[i]);

		API_CHECK(fault_allowed(end) || end == WEFT_EPLACEMENT);
	}
	api_await_no_tasks(made.rt);
	API_CHECK(weft_placements(made.rt, NULL, 0) == 0);
	API_CHECK(available(made.rt, "memory") == 1000);
	API_CHECK(available(made.rt, "GPU") == 3);
	api_close(made.rt);
}

int main(void)
{
	setenv("HWLOC_SYNTHETIC", "node:4 core:2 pu:1", 1);
	round_of(0);
	const struct fault_census before = fault_census();
	const uint64_t points = fault_sweep(round_of);

	fault_census_check(&before);
	printf("placement: %llu points\n", (unsigned long long)points);
	return 0;
}
