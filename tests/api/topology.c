/*
 * Goal: a machine of eight NUMA nodes, which is not this one, opens, schedules and closes.
 * Method: HWLOC_SYNTHETIC is set before anything reads the topology, which is read once per
 * process; so this is a program of its own.
 */
#include "api.h"
#include "test.h"

__attribute__((constructor)) static void choose_the_machine(void)
{
	setenv("HWLOC_SYNTHETIC", "node:8 core:2 pu:1", 1);
}

Test(topology, eight_nodes_with_a_worker_each)
{
	weft *rt = NULL;
	struct weft_info info = { .struct_size = sizeof info };
	struct api_count count = { 0 };
	weft_ref refs[2000];

	cr_assert_eq(weft_open(&rt, NULL), 0);
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_str_eq(info.topology, "synthetic");
	cr_assert_eq(info.nodes, 8);
	cr_assert_eq(info.cpus, 16);
	cr_assert_eq(info.workers, 16);
	for (int i = 0; i < 2000; i++)
		refs[i] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	for (int i = 0; i < 2000; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_read(&count), 2000);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int spread(weft_task *self)
{
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL), down = n - 1;
	weft *rt = weft_task_runtime(self);
	int64_t sum = 1;

	if (n > 0) {
		weft_ref a = api_spawn(rt, spread, &down, sizeof down);
		weft_ref b = api_spawn(rt, spread, &down, sizeof down);

		sum = api_take_i64(rt, a) + api_take_i64(rt, b);
	}
	return weft_return(self, &sum, sizeof sum);
}

Test(topology, every_kind_of_binding_and_number_of_workers)
{
	static const uint32_t workers[] = { 1, 3, 8, 24 };

	for (uint32_t bind = WEFT_BIND_NODE; bind <= WEFT_BIND_NONE; bind++)
		for (unsigned w = 0; w < 4; w++) {
			weft *rt = NULL;
			const int64_t depth = WF_TSAN ? 6 : 10;

			cr_assert_eq(
				weft_open(&rt, WEFT_OPTIONS(.workers = workers[w], .bind = bind)),
				0);
			cr_assert_eq(api_take_i64(rt, api_spawn(rt, spread, &depth, sizeof depth)),
			             1 << depth);
			api_await_no_tasks(rt);
			api_close(rt);
		}
}

/* Which heap the log line of the open must name: meson links this file with jemalloc as well. */
#ifndef API_HEAP
#define API_HEAP "heap malloc"
#endif

static void find_heap(void *arg, const struct weft_log_record *record)
{
	if (strstr(record->text, "open: ") && strstr(record->text, API_HEAP))
		*(bool *)arg = true;
}

enum { WIDE = 600 };

/* Tasks too wide for a slab's block, made on the workers of every node and freed on any. */
static int makes_wide(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t one = 1;
	weft_ref inputs[WIDE], sum;

	for (int i = 0; i < WIDE; i++)
		inputs[i] = api_spawn(rt, api_body_identity, &one, sizeof one);
	const struct weft_call call = { .fn = api_body_sum, .inputs = inputs, .n_inputs = WIDE };

	sum = api_submit(rt, &call);
	API_CHECK(!weft_release_many(rt, inputs, WIDE));
	const int64_t total = api_take_i64(rt, sum);

	return weft_return(self, &total, sizeof total);
}

Test(topology, the_cold_heap_serves_every_node_and_is_named)
{
	weft *rt = NULL;
	bool named = false;
	weft_ref refs[32];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.log = find_heap, .log_arg = &named)), 0);
	for (int i = 0; i < 32; i++)
		refs[i] = api_spawn(rt, makes_wide, NULL, 0);
	for (int i = 0; i < 32; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), WIDE);
	api_await_no_tasks(rt);
	api_close(rt);
	cr_assert(named);
}
