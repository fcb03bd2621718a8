/*
 * Goal: a task that was granted a device begins on the node that the device is near, and the
 * memory through which its copies go is asked for there; nobody waits for that node, and a place
 * that the task names itself wins.
 * Method: HWLOC_SYNTHETIC gives a machine of two nodes with two workers each, an option of the
 * simulation says which device is near which; bodies say where they are and where they were meant
 * to be, gates hold the workers of a node.
 */
#include "gpu_task.h"
#include "test.h"

enum { NODES = 2, PER_NODE = 2, WORKERS = NODES * PER_NODE };

#define GPUS(n)    .opts = WEFT_TASK_OPTIONS(.gpus = (n))
#define ON_NODE(n) .place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE, .node = (n))

__attribute__((constructor)) static void choose_the_machine(void)
{
	setenv("HWLOC_SYNTHETIC", "node:2 core:2 pu:1", 1);
}

static uint32_t node_here(weft_task *self)
{
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	return info.node;
}

static uint32_t node_meant(weft_task *self)
{
	struct weft_task_place place = { .struct_size = sizeof place };

	API_CHECK(weft_task_place(self, &place) == 0);
	return place.node;
}

static int tells_node(weft_task *self)
{
	const int64_t node = node_here(self);

	return weft_return(self, &node, sizeof node);
}

static int tells_meant(weft_task *self)
{
	const int64_t node = node_meant(self);

	return weft_return(self, &node, sizeof node);
}

/* Whether it was meant for the node of its device; counts devices in its argument. */
static int is_near(weft_task *self)
{
	struct api_count *counts = api_arg_pointer(self);
	struct weft_cuda_info info = { .struct_size = sizeof info };
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };

	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0);
	API_CHECK(weft_cuda_info(weft_task_runtime(self), grant.device, &info) == 0);
	API_CHECK(info.node < NODES && node_meant(self) == info.node);
	api_add(&counts[grant.device], 1);
	return 0;
}

Test(cuda_locality, devices_are_near_the_nodes_that_were_named)
{
	static const struct {
		const char *backend;
		uint32_t node[3];
	} cases[] = {
		{ "sim:3", { UINT32_MAX, UINT32_MAX, UINT32_MAX } },
		{ "sim:devices=3,nodes=1", { 1, 1, 1 } },
		{ "sim:devices=3,nodes=1/0", { 1, 0, 0 } },
		{ "sim:devices=3,nodes=0/1/7", { 0, 1, UINT32_MAX } }, /* there is none */
	};

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct gpu_test t = gpu_open(cases[i].backend, WORKERS);

		for (uint32_t d = 0; d < 3; d++)
			cr_assert_eq(gpu_info(&t, d).node, cases[i].node[d], "%zu %u", i, d);
		gpu_close(&t);
	}
}

Test(cuda_locality, a_task_is_meant_for_the_node_of_its_device)
{
	struct gpu_test t = gpu_open("sim:devices=4,nodes=0/1/1/0", WORKERS);
	static struct api_count counts[4];
	weft_ref refs[80];

	for (uint32_t i = 0; i < 80; i++)
		refs[i] = api_submit(
			t.rt, WEFT_TASK(is_near, API_POINTER(counts), GPUS(i % 2 ? 1 : 0.5)));
	for (uint32_t i = 0; i < 80; i++)
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
	cr_assert_eq(api_read(&counts[0]) + api_read(&counts[1]) + api_read(&counts[2]) +
	                     api_read(&counts[3]),
	             80);
	/* Of several devices the first. */
	cr_assert_eq(api_take_i64(t.rt, api_submit(t.rt, WEFT_TASK(tells_meant, GPUS(4)))), 0);
	gpu_close(&t);
}

static void hold_node(weft *rt, uint32_t node, struct api_gate *gate, weft_ref held[PER_NODE])
{
	for (uint32_t i = 0; i < PER_NODE; i++)
		held[i] = api_submit(rt,
		                     WEFT_TASK(api_body_gate, API_POINTER(gate),
		                               .opts = WEFT_TASK_OPTIONS(ON_NODE(node))));
	api_gate_await(gate, PER_NODE);
}

Test(cuda_locality, it_runs_there_and_waits_for_nobody_there)
{
	struct gpu_test t = gpu_open("sim:nodes=1", WORKERS);

	for (uint32_t node = 0; node < NODES; node++) {
		struct api_gate gate = API_GATE_INIT;
		weft_ref held[PER_NODE];

		hold_node(t.rt, node, &gate, held);
		for (uint32_t i = 0; i < 10; i++)
			cr_assert_eq(api_take_i64(t.rt,
			                          api_submit(t.rt, WEFT_TASK(tells_node, GPUS(1)))),
			             1 - node);
		api_gate_open(&gate);
		for (uint32_t i = 0; i < PER_NODE; i++)
			cr_assert_eq(api_end(t.rt, held[i]), 0);
	}
	gpu_close(&t);
}

Test(cuda_locality, a_place_of_its_own_wins)
{
	struct gpu_test t = gpu_open("sim:nodes=1", WORKERS);

	for (uint32_t i = 0; i < 20; i++)
		cr_assert_eq(
			api_take_i64(t.rt,
		                     api_submit(t.rt,
		                                WEFT_TASK(tells_node,
		                                          .opts = WEFT_TASK_OPTIONS(.gpus = 1,
		                                                                    ON_NODE(0))))),
			0);
	gpu_close(&t);
}

Test(cuda_locality, a_node_without_workers_is_nobodys)
{
	struct gpu_test t = gpu_open("sim:nodes=1", 1);

	cr_assert_eq(gpu_info(&t, 0).node, 1);
	cr_assert_eq(api_take_i64(t.rt, api_submit(t.rt, WEFT_TASK(tells_meant, GPUS(1)))),
	             WEFT_NODE_NONE);
	gpu_close(&t);
}

/* The first of a chain keeps the device busy, so that the others begin ahead. */
static int at_gate(weft_task *self)
{
	return gpu_launch_gate(self, api_arg_pointer(self));
}

/* A grant that goes down a chain takes the node along. */
Test(cuda_locality, a_chain_stays_near)
{
	struct gpu_test t = gpu_open("sim:nodes=1", WORKERS);
	static const struct weft_task_options whole = { .struct_size = sizeof whole, .gpus = 1 };
	struct api_count counts[1] = { { { 0 } } };
	struct api_gate gate = API_GATE_INIT;
	weft_ref refs[30], event = api_event(t.rt);

	refs[0] = api_submit(
		t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), WEFT_AFTER(event), .opts = &whole));
	for (uint32_t i = 1; i < 30; i++)
		refs[i] = api_submit(t.rt,
		                     WEFT_TASK(is_near, API_POINTER(counts),
		                               WEFT_AFTER(refs[i - 1]), .opts = &whole));
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_release(t.rt, event);
	api_gate_await(&gate, 1);
	api_await_count(counts, 29);
	cr_assert_eq(gpu_info(&t, 0).takeovers, 29);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < 30; i++)
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
	gpu_close(&t);
}

static int copies(weft_task *self)
{
	uint64_t at = 0;
	uint32_t word = 7, back = 0;
	int rc = weft_cuda_alloc(self, 4, &at);

	if (!rc)
		rc = weft_cuda_copy_in(self, at, &word, 4);
	if (!rc)
		rc = weft_cuda_copy_out(self, &back, at, 4);
	API_CHECK(rc || back == 7);
	return rc;
}

Test(cuda_locality, staging_memory_is_near_its_device)
{
	struct gpu_test t = gpu_open("sim:devices=2,nodes=1/0", WORKERS);

	cr_assert_eq(gpu_stats(&t).pinned_near[0] + gpu_stats(&t).pinned_near[1], 0);
	cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(copies, GPUS(1)))), 0);
	cr_assert_eq(gpu_stats(&t).pinned_near[0], 2, "a slot up, one down");
	cr_assert_eq(gpu_stats(&t).pinned_near[1], 0);
	gpu_close(&t);
}

static int call_is_near(weft_task *self)
{
	const int64_t near = node_meant(self);

	return weft_return(self, &near, sizeof near);
}

/* The node was its hold's while it lives, and is nobody's when it is dead. */
Test(cuda_locality, an_actor_that_holds_a_device_is_near_it)
{
	static const struct weft_actor_holds one = { .struct_size = sizeof one, .gpus = 1 };
	static const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.holds = &one);
	struct gpu_test t = gpu_open("sim:nodes=1", WORKERS);
	weft_actor actor;
	weft_ref ref;

	cr_assert_eq(weft_actor_create(t.rt, &class_, NULL, NULL, &actor), 0);
	cr_assert_eq(weft_actor_call(t.rt, actor, call_is_near, NULL, 0, &ref), 0);
	cr_assert_eq(api_take_i64(t.rt, ref), 1);
	cr_assert_eq(weft_actor_release(t.rt, actor), 0);
	gpu_close(&t);
}
