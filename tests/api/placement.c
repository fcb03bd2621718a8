/*
 * Goal: a task with a place runs where it was told to, before and after a wait, on a machine of
 * eight nodes; a preference never leaves a worker without work; groups lie on nodes as they ask.
 * Method: HWLOC_SYNTHETIC gives each node two workers (of threads that this machine runs somehow);
 * bodies say on which node they are, and gates hold the workers of a node. What one node alone can
 * show is in bundles.c.
 */
#include "nodes.h"
#include "resources.h"
#include "test.h"

enum { NODES = 8, PER_NODE = 2, WORKERS = NODES * PER_NODE };

__attribute__((constructor)) static void choose_the_machine(void)
{
	setenv("HWLOC_SYNTHETIC", "node:8 core:2 pu:1", 1);
}

static weft *open_nodes(uint32_t workers, struct said *said)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .seed = test_seed(), .gpus = 4,
	                                 .log = said ? hear : NULL, .log_arg = said)) == 0);
	return rt;
}

/* Returns the node that it runs on. */
static int tells_node(weft_task *self)
{
	const int64_t node = node_here(self);

	return weft_return(self, &node, sizeof node);
}

/* Returns the node that it was meant for. */
static int tells_place(weft_task *self)
{
	const int64_t node = place_here(self).node;

	return weft_return(self, &node, sizeof node);
}

#define AT(...) .opts = WEFT_TASK_OPTIONS(.place = WEFT_PLACE(__VA_ARGS__))
#define ON(n)   AT(.strategy = WEFT_PLACE_NODE, .node = (n))

/* ---- Refused ------------------------------------------------------------------------------- */

static void expect_refused(weft *rt, struct said *said, const struct weft_task_options *opts,
                           const char *field)
{
	weft_ref out = api_poison_ref();

	said->text[0] = '\0';
	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = opts), &out), -EINVAL,
	             "%s", field);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_not_null(strstr(said->text, field), "%s: %s", field, said->text);
}

Test(placement, what_makes_no_sense_is_refused_by_field)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_nodes(WORKERS, &said), *narrow = open_nodes(4, &said);
	const struct weft_placement none = { 12345 };

#define REFUSED(field, ...) \
	expect_refused(rt, &said, WEFT_TASK_OPTIONS(.place = WEFT_PLACE(__VA_ARGS__)), field)
	REFUSED("place.strategy", .strategy = 5);
	REFUSED("place.flags", .flags = 2);
	REFUSED("place.flags", .flags = WEFT_PLACE_CAPTURE);
	REFUSED("place.reserved", .reserved = { 0, 1 });
	REFUSED("place.node", .node = 1);
	REFUSED("place.node", .strategy = WEFT_PLACE_NODE, .node = NODES);
	REFUSED("place.node", .strategy = WEFT_PLACE_NODE, .node = UINT32_MAX);
	REFUSED("place.strategy", .strategy = WEFT_PLACE_SPREAD, .group = none);
	REFUSED("place.bundle", .bundle = WEFT_BUNDLE(0));
	REFUSED("place.group", .group = none);
#undef REFUSED
	expect_refused(rt, &said,
	               WEFT_TASK_OPTIONS(.place = &(struct weft_place){ .struct_size = 4 }),
	               "place.struct_size");
	expect_refused(
		rt, &said,
		WEFT_TASK_OPTIONS(.cpus = 3,
	                          .place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE, .node = 1)),
		"place.node");
	/* Four workers live on nodes 0 and 1. */
	expect_refused(
		narrow, &said,
		WEFT_TASK_OPTIONS(.place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE, .node = 2)),
		"place.node");
	api_close(narrow);
	close_empty(rt);
}

/* ---- A node -------------------------------------------------------------------------------- */

Test(placement, hard_runs_on_its_node_and_on_no_other)
{
	weft *rt = open_nodes(WORKERS, NULL);
	weft_ref refs[NODES * 40];

	for (uint32_t i = 0; i < NODES * 40; i++)
		refs[i] = api_submit(rt, WEFT_TASK(tells_node, ON(i % NODES)));
	for (uint32_t i = 0; i < NODES * 40; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i % NODES);
	close_empty(rt);
}

Test(placement, hard_waits_for_its_node_while_others_go_on)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	struct api_count count = { 0 };
	weft_ref held[PER_NODE], waits, plain[200];

	for (uint32_t i = 0; i < PER_NODE; i++)
		held[i] = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), ON(3)));
	api_gate_await(&gate, PER_NODE);
	waits = api_submit(rt, WEFT_TASK(tells_node, ON(3)));
	for (uint32_t i = 0; i < 200; i++)
		plain[i] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	for (uint32_t i = 0; i < 200; i++)
		cr_assert_eq(api_end(rt, plain[i]), 0);
	cr_assert_eq(api_take_i64(rt, api_submit(rt, WEFT_TASK(tells_node, ON(4)))), 4);
	cr_assert_eq(api_state(rt, waits), WEFT_REF_QUEUED);
	api_gate_open(&gate);
	cr_assert_eq(api_take_i64(rt, waits), 3);
	for (uint32_t i = 0; i < PER_NODE; i++)
		cr_assert_eq(api_end(rt, held[i]), 0);
	close_empty(rt);
}

static int waits_and_stays(weft_task *self)
{
	wait_and_stay(self);
	return tells_node(self);
}

Test(placement, a_body_that_has_waited_goes_on_on_its_node)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct stays stays = { .event = api_event(rt) };
	weft_ref refs[NODES * 8];

	for (uint32_t i = 0; i < NODES * 8; i++)
		refs[i] = api_submit(
			rt, WEFT_TASK(waits_and_stays, API_POINTER(&stays), ON(i % NODES)));
	api_await_count(&stays.began, NODES * 8);
	settle(rt, stays.event);
	for (uint32_t i = 0; i < NODES * 8; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i % NODES);
	api_release(rt, stays.event);
	close_empty(rt);
}

static int yields_until_two(weft_task *self)
{
	const struct api_count *count = api_arg_pointer(self);

	while (api_read(count) < 2)
		API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	return 0;
}

Test(placement, bodies_that_yield_on_every_node_keep_nobody_from_beginning)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct api_count count = { 0 };
	weft_ref yields[WORKERS], kept, plain;

	for (uint32_t i = 0; i < WORKERS; i++)
		yields[i] = api_submit(
			rt, WEFT_TASK(yields_until_two, API_POINTER(&count), ON(i % NODES)));
	kept = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count), ON(5)));
	plain = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	cr_assert_eq(api_end(rt, kept), 0);
	cr_assert_eq(api_end(rt, plain), 0);
	for (uint32_t i = 0; i < WORKERS; i++)
		cr_assert_eq(api_end(rt, yields[i]), 0);
	close_empty(rt);
}

Test(placement, soft_falls_back_when_the_node_can_never_serve_it)
{
	weft *rt = open_nodes(WORKERS, NULL);

#define SOFT(n) .place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE_SOFT, .node = (n))
	cr_assert_eq(
		api_take_i64(
			rt,
			api_submit(rt, WEFT_TASK(tells_node, .opts = WEFT_TASK_OPTIONS(SOFT(6))))),
		6);
	cr_assert_eq(api_take_i64(rt,
	                          api_submit(rt,
	                                     WEFT_TASK(tells_place,
	                                               .opts = WEFT_TASK_OPTIONS(SOFT(NODES))))),
	             WEFT_NODE_NONE);
	cr_assert_eq(
		api_take_i64(rt,
	                     api_submit(rt,
	                                WEFT_TASK(tells_place,
	                                          .opts = WEFT_TASK_OPTIONS(.cpus = 3, SOFT(6))))),
		WEFT_NODE_NONE);
#undef SOFT
	close_empty(rt);
}

Test(placement, a_task_of_several_cpus_runs_on_its_node)
{
	weft *rt = open_nodes(WORKERS, NULL);
	weft_ref refs[NODES * 2];

	for (uint32_t i = 0; i < NODES * 2; i++)
		refs[i] = api_submit(
			rt,
			WEFT_TASK(tells_node,
		                  .opts = WEFT_TASK_OPTIONS(
						  .cpus = 2,
						  .place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE,
		                                                      .node = i % NODES))));
	for (uint32_t i = 0; i < NODES * 2; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i % NODES);
	close_empty(rt);
}

Test(placement, a_task_that_waits_for_its_node_is_cancelled_at_once)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref held[PER_NODE], waits;

	for (uint32_t i = 0; i < PER_NODE; i++)
		held[i] = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), ON(7)));
	api_gate_await(&gate, PER_NODE);
	waits = api_submit(rt, WEFT_TASK(tells_node, ON(7)));
	cr_assert_eq(weft_cancel(rt, waits), 0);
	cr_assert_eq(api_end(rt, waits), -ECANCELED);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < PER_NODE; i++)
		cr_assert_eq(api_end(rt, held[i]), 0);
	close_empty(rt);
}

/* Their entries are still in the queue of the node when the workers stop. */
Test(placement, a_close_finds_entries_of_what_was_cancelled)
{
	for (uint32_t round = 0; round < api_scaled(20) + 2; round++) {
		weft *rt = open_nodes(WORKERS, NULL);
		struct api_gate gate = API_GATE_INIT;
		weft_ref held[PER_NODE], waits[20];

		for (uint32_t i = 0; i < PER_NODE; i++)
			held[i] =
				api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), ON(5)));
		api_gate_await(&gate, PER_NODE);
		for (uint32_t i = 0; i < 20; i++)
			waits[i] = api_submit(rt, WEFT_TASK(tells_node, ON(5)));
		for (uint32_t i = 0; i < 20; i++) {
			cr_assert_eq(weft_cancel(rt, waits[i]), 0);
			api_release(rt, waits[i]);
		}
		for (uint32_t i = 0; i < PER_NODE; i++)
			api_release(rt, held[i]);
		api_gate_open(&gate);
		cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
	}
}

Test(placement, an_interrupt_ends_what_waits_for_a_node)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref held[PER_NODE], waits[20];

	for (uint32_t i = 0; i < PER_NODE; i++)
		held[i] = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), ON(2)));
	api_gate_await(&gate, PER_NODE);
	for (uint32_t i = 0; i < 20; i++)
		waits[i] = api_submit(rt, WEFT_TASK(tells_node, ON(2)));
	weft_interrupt(rt);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, waits[i]), -ECANCELED);
	for (uint32_t i = 0; i < PER_NODE; i++)
		(void)api_end(rt, held[i]);
	(void)weft_close(rt, WEFT_FOREVER);
}

Test(placement, a_task_of_a_group_has_a_node_and_counts_for_its_group)
{
	weft *rt = open_nodes(WORKERS, NULL);
	weft_group group;
	weft_ref refs[NODES * 4];

	cr_assert_eq(weft_group_create(rt, NULL, &group), 0);
	for (uint32_t i = 0; i < NODES * 4; i++)
		refs[i] = api_submit(
			rt,
			WEFT_TASK(tells_node,
		                  .opts = WEFT_TASK_OPTIONS(
						  .group = group,
						  .place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE,
		                                                      .node = i % NODES))));
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	for (uint32_t i = 0; i < NODES * 4; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i % NODES);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	close_empty(rt);
}

Test(placement, without_workers_host_threads_run_what_has_a_node)
{
	weft *rt = NULL;
	weft_ref refs[NODES];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)), 0);
	for (uint32_t i = 0; i < NODES; i++)
		refs[i] = api_submit(rt, WEFT_TASK(tells_place, ON(i % NODES)));
	cr_assert_eq(weft_run(rt, WEFT_NONE, WEFT_FOREVER), 0);
	for (uint32_t i = 0; i < NODES; i++)
		(void)api_take_i64(rt, refs[i]);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(placement, without_workers_a_helper_of_a_group_runs_what_has_a_place)
{
	weft *rt = NULL;
	weft_group group;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)), 0);
	cr_assert_eq(weft_group_create(rt, NULL, &group), 0);
	for (uint32_t i = WEFT_PLACE_DEFAULT; i <= WEFT_PLACE_NODE_SOFT; i++)
		api_release(
			rt,
			api_submit(rt,
		                   WEFT_TASK(tells_place,
		                             .opts = WEFT_TASK_OPTIONS(
							     .group = group,
							     .place = WEFT_PLACE(.strategy = i)))));
	cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, WEFT_FOREVER), 0);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	api_close(rt);
}

/* ---- Preferences --------------------------------------------------------------------------- */

struct meant {
	struct api_gate gate;
	struct api_count node[NODES];
};

static int meets(weft_task *self)
{
	struct meant *meant = api_arg_pointer(self);
	const uint32_t node = place_here(self).node;

	API_CHECK(node < NODES);
	api_add(&meant->node[node], 1);
	api_gate_pass(&meant->gate);
	return 0;
}

Test(placement, spread_gives_each_node_the_same)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct meant meant = { .gate = API_GATE_INIT };
	weft_ref refs[WORKERS];

	for (uint32_t i = 0; i < WORKERS; i++)
		refs[i] = api_submit(
			rt,
			WEFT_TASK(meets, API_POINTER(&meant), AT(.strategy = WEFT_PLACE_SPREAD)));
	api_gate_await(&meant.gate, WORKERS);
	for (uint32_t i = 0; i < NODES; i++)
		cr_assert_eq(api_read(&meant.node[i]), PER_NODE, "node %u", i);
	api_gate_open(&meant.gate);
	for (uint32_t i = 0; i < WORKERS; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	close_empty(rt);
}

Test(placement, pack_fills_one_node_after_the_other)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct meant meant = { .gate = API_GATE_INIT };
	weft_ref refs[WORKERS];

	for (uint32_t i = 0; i < WORKERS; i++) {
		uint32_t begun = 0;

		refs[i] = api_submit(
			rt, WEFT_TASK(meets, API_POINTER(&meant), AT(.strategy = WEFT_PLACE_PACK)));
		api_gate_await(&meant.gate, i + 1);
		for (uint32_t j = 0; j < NODES; j++)
			begun += api_read(&meant.node[j]) > 0;
		cr_assert_eq(begun, i / PER_NODE + 1);
	}
	api_gate_open(&meant.gate);
	for (uint32_t i = 0; i < WORKERS; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	close_empty(rt);
}

Test(placement, a_preference_leaves_no_worker_without_work)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref held[WORKERS - PER_NODE], refs[100];

	for (uint32_t i = 0; i < WORKERS - PER_NODE; i++)
		held[i] = api_submit(
			rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), ON(i / PER_NODE)));
	api_gate_await(&gate, WORKERS - PER_NODE);
	for (uint32_t i = 0; i < 100; i++)
		refs[i] = api_submit(
			rt,
			WEFT_TASK(tells_node,
		                  AT(.strategy = i % 2 ? WEFT_PLACE_SPREAD : WEFT_PLACE_PACK)));
	for (uint32_t i = 0; i < 100; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), NODES - 1);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < WORKERS - PER_NODE; i++)
		cr_assert_eq(api_end(rt, held[i]), 0);
	close_empty(rt);
}

static int makes_much(weft_task *self)
{
	void *data = NULL;

	API_CHECK(weft_task_output(self, 0, 1 << 20, &data) == 0);
	memset(data, 1, 1 << 20);
	return 0;
}

static int reads_much(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0 && view.size == 1 << 20);
	return tells_node(self);
}

Test(placement, a_task_goes_to_where_its_inputs_were_made)
{
	weft *rt = open_nodes(WORKERS, NULL);
	uint32_t right = 0;

	for (uint32_t i = 0; i < NODES * 2; i++) {
		weft_ref much = api_submit(rt, WEFT_TASK(makes_much, ON(i % NODES)));
		weft_ref node = api_submit(rt, WEFT_TASK(reads_much, WEFT_INPUTS(much)));

		right += api_take_i64(rt, node) == i % NODES;
		api_release(rt, much);
	}
	/* A preference: a worker of another node that is awake may be given it. */
	cr_assert_gt(right, NODES);
	close_empty(rt);
}

/* ---- Groups over nodes --------------------------------------------------------------------- */

static weft_placement group_of(weft *rt, uint32_t strategy, uint32_t n, double cpus)
{
	struct weft_bundle bundles[64] = { { 0 } };
	weft_placement group;

	for (uint32_t i = 0; i < n; i++)
		bundles[i].cpus = cpus;
	API_CHECK(weft_placement_create(rt, WEFT_PLACEMENT_OPTIONS(.strategy = strategy), bundles,
	                                n, &group) == 0);
	return group;
}

/* How many bundles of a group lie on each node; returns how many nodes have some. */
static uint32_t nodes_of(weft *rt, weft_placement group, uint32_t count[NODES])
{
	struct weft_bundle_info infos[64];
	const int n = weft_bundles(rt, group, infos, 64);
	uint32_t nodes = 0;

	memset(count, 0, NODES * sizeof *count);
	for (int i = 0; i < n; i++) {
		API_CHECK(infos[i].node < NODES);
		nodes += !count[infos[i].node]++;
	}
	return nodes;
}

Test(placement, strategies_lay_bundles_on_nodes)
{
	weft *rt = open_nodes(WORKERS, NULL);
	uint32_t count[NODES];
	weft_placement apart, spread, packed, together;

	apart = group_of(rt, WEFT_STRICT_SPREAD, NODES, 1);
	cr_assert_eq(nodes_of(rt, apart, count), NODES);
	cr_assert_eq(weft_placement_remove(rt, apart), 0);
	spread = group_of(rt, WEFT_SPREAD, WORKERS, 1);
	cr_assert_eq(nodes_of(rt, spread, count), NODES);
	for (uint32_t i = 0; i < NODES; i++)
		cr_assert_eq(count[i], PER_NODE);
	cr_assert_eq(weft_placement_remove(rt, spread), 0);
	together = group_of(rt, WEFT_STRICT_PACK, PER_NODE, 1);
	cr_assert_eq(nodes_of(rt, together, count), 1);
	packed = group_of(rt, WEFT_PACK, 6, 1);
	cr_assert_eq(nodes_of(rt, packed, count), 3);
	cr_assert_eq(weft_placement_remove(rt, packed), 0);
	packed = group_of(rt, WEFT_PACK, 8, 0.5);
	cr_assert_eq(nodes_of(rt, packed, count), 2);
	cr_assert_eq(weft_placement_remove(rt, packed), 0);
	cr_assert_eq(weft_placement_remove(rt, together), 0);
	close_empty(rt);
}

Test(placement, what_no_machine_of_this_kind_has_is_refused)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_nodes(WORKERS, &said);
	const struct {
		uint32_t strategy, n;
		double cpus;
		const char *why;
	} never[] = {
		{ WEFT_STRICT_SPREAD, NODES + 1, 0.1, "nodes" },
		{ WEFT_STRICT_PACK, 3, 1, "one node" },
		{ WEFT_PACK, 1, 3, "nodes have" },
		{ WEFT_SPREAD, 6, 1.5, NULL },
		{ WEFT_SPREAD, 9, 1.5, "nodes have" },
		{ WEFT_PACK, WORKERS + 1, 1, "resource" },
	};

	for (uint32_t i = 0; i < sizeof never / sizeof never[0]; i++) {
		struct weft_bundle bundles[64] = { { 0 } };
		weft_placement group = { API_POISON };

		for (uint32_t j = 0; j < never[i].n; j++)
			bundles[j].cpus = never[i].cpus;
		said.text[0] = '\0';
		const int rc = weft_placement_create(
			rt, WEFT_PLACEMENT_OPTIONS(.strategy = never[i].strategy), bundles,
			never[i].n, &group);

		cr_assert_eq(rc, never[i].why ? -EINVAL : 0, "%u", i);
		if (rc) {
			cr_assert_eq(group.bits, API_POISON);
			cr_assert_not_null(strstr(said.text, never[i].why), "%s", said.text);
		} else {
			cr_assert_eq(weft_placement_remove(rt, group), 0);
		}
	}
	close_empty(rt);
}

Test(placement, a_task_runs_on_the_node_of_its_bundle)
{
	weft *rt = open_nodes(WORKERS, NULL);
	weft_placement group = group_of(rt, WEFT_STRICT_SPREAD, NODES, 2);
	struct weft_bundle_info infos[NODES];
	weft_ref refs[NODES * 10];

	cr_assert_eq(weft_bundles(rt, group, infos, NODES), NODES);
	for (uint32_t i = 0; i < NODES * 10; i++)
		refs[i] = api_submit(
			rt,
			WEFT_TASK(
				tells_node,
				.opts = WEFT_TASK_OPTIONS(.cpus = i % 3 ? 0 : 2,
		                                          .place =
		                                                  WEFT_PLACE(.group = group,
		                                                             .bundle = WEFT_BUNDLE(
										     i % NODES)))));
	for (uint32_t i = 0; i < NODES * 10; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), infos[i % NODES].node);
	cr_assert_eq(weft_placement_remove(rt, group), 0);
	close_empty(rt);
}

Test(placement, any_bundle_uses_all_of_them)
{
	weft *rt = open_nodes(WORKERS, NULL);
	weft_placement group = group_of(rt, WEFT_SPREAD, WORKERS, 1);
	struct meant meant = { .gate = API_GATE_INIT };
	weft_ref refs[WORKERS];

	for (uint32_t i = 0; i < WORKERS; i++)
		refs[i] = api_submit(rt, WEFT_TASK(meets, API_POINTER(&meant), AT(.group = group)));
	api_gate_await(&meant.gate, WORKERS);
	for (uint32_t i = 0; i < NODES; i++)
		cr_assert_eq(api_read(&meant.node[i]), PER_NODE, "node %u", i);
	api_gate_open(&meant.gate);
	for (uint32_t i = 0; i < WORKERS; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(weft_placement_remove(rt, group), 0);
	close_empty(rt);
}

static int must_not_run(weft_task *self)
{
	(void)self;
	API_CHECK(!"its group was cancelled before it could begin");
	return 0;
}

Test(placement, a_cancelled_group_ends_what_lies_ready_for_a_busy_node)
{
	weft *rt = open_nodes(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref holders[PER_NODE], refs[20];
	weft_group group;

	cr_assert_eq(weft_group_create(rt, NULL, &group), 0);
	for (uint32_t i = 0; i < PER_NODE; i++)
		holders[i] = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), ON(3)));
	api_gate_await(&gate, PER_NODE);
	for (uint32_t i = 0; i < 20; i++) {
		const struct weft_task_options *opts =
			WEFT_TASK_OPTIONS(.group = group,
		                          .place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE,
		                                              .node = 3));

		refs[i] = api_submit(rt, WEFT_TASK(must_not_run, .opts = opts));
		cr_assert_eq(weft_submit(rt, WEFT_TASK(must_not_run, .opts = opts), NULL), 0);
	}
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(weft_group_join(rt, group, weft_now(rt) + 60 * INT64_C(1000000000)), 0);
	for (uint32_t i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, refs[i]), -ECANCELED);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < PER_NODE; i++)
		cr_assert_eq(api_end(rt, holders[i]), 0);
	close_empty(rt);
}
