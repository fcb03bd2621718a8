/*
 * ray_envelope.c: what Ray promises of one node, as its release test of it does: arguments of one
 * task, returns of one task, objects in one get, tasks in a queue, one large object. The whole case
 * is timed, the making of its objects included. After each nothing may be left of it.
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "ray.h"

#define MIB         ((size_t)1 << 20)
#define ONES_BYTES  (RAY_ONES * sizeof(uint64_t))
#define SETTLE_NS   5000000000 /* how long what was used may take to be free, as there */
#define WORKERS_MAX 1024

/* ---- Objects of 10,000 numbers ---- */

/* All `first`, or counting up from it. */
static void fill(uint64_t *numbers, uint64_t first, uint64_t step)
{
	for (uint64_t i = 0; i < RAY_ONES; i++)
		numbers[i] = first + i * step;
}

static bool is_filled(const struct weft_view *view, uint64_t first, uint64_t step)
{
	const uint64_t *numbers = view->data;
	bool same = view->size == ONES_BYTES;

	for (uint64_t i = 0; same && i < RAY_ONES; i++)
		same = numbers[i] == first + i * step;
	return same;
}

static weft_ref numbers_put(weft *rt, uint64_t first, uint64_t step)
{
	struct weft_buffer buffer;
	weft_ref ref;

	bench_must(weft_create(rt, ONES_BYTES, NULL, &buffer), "weft_create");
	fill(buffer.data, first, step);
	bench_must(weft_seal(rt, &buffer, &ref), "weft_seal");
	return ref;
}

/* All CPUs are free and no object is left, or will be within five seconds. */
static bool is_clean(weft *rt)
{
	const int64_t until = bench_now_ns() + SETTLE_NS;
	struct weft_store_stats stats = { .struct_size = sizeof stats };
	struct weft_resource_info resources[WEFT_RESOURCES_MAX + 4];
	bool clean;

	do {
		const int n = weft_resources(rt, resources, sizeof resources / sizeof *resources);
		bench_must(n, "weft_resources");
		bench_must(weft_store_stats(rt, &stats), "weft_store_stats");
		clean = stats.objects == 0;
		for (int i = 0; i < n; i++)
			clean = clean && resources[i].available == resources[i].total;
		if (!clean)
			bench_sleep_ns(1000000);
	} while (!clean && bench_now_ns() < until);
	return clean;
}

/* A case for every repetition, and then the look whether it has left nothing. */
static void envelope(const struct bench_run *run, weft *rt, uint64_t n,
                     uint64_t (*once)(weft *rt, uint64_t n))
{
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t good = once(rt, n);
		const int64_t ns = bench_now_ns() - start;

		bench_emit(run, rep, "", (double)ns / (double)n, n, is_clean(rt) ? good : 0);
	}
}

static int envelope_row(const struct bench_run *run, uint64_t n,
                        uint64_t (*once)(weft *rt, uint64_t n))
{
	weft *rt = bench_open(run->threads);

	envelope(run, rt, n, once);
	bench_close(rt);
	return 0;
}

/* ---- Arguments, returns, one get ---- */

static int sum_inputs(weft_task *self)
{
	const uint32_t n = weft_input_count(self);
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct weft_view view;

		bench_must(weft_input(self, i, &view), "weft_input");
		sum += bench_sum(view.data, 0, (int64_t)(view.size / sizeof(uint64_t)));
	}
	return weft_return(self, &sum, sizeof sum);
}

static uint64_t args_once(weft *rt, uint64_t n)
{
	weft_ref *refs = bench_alloc(n * sizeof *refs);
	weft_ref result;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		refs[i] = numbers_put(rt, 1, 0);
	const struct weft_call call = {
		.fn = sum_inputs,
		.inputs = refs,
		.n_inputs = (uint16_t)n,
	};
	bench_must(weft_submit(rt, &call, &result), "weft_submit");
	bench_must(weft_take(rt, result, &sum, sizeof sum), "weft_take");
	bench_must(weft_release_many(rt, refs, (uint32_t)n), "weft_release_many");
	free(refs);
	return sum % RAY_ONES ? 0 : sum / RAY_ONES;
}

int row_ray_env_args(const struct bench_run *run)
{
	return envelope_row(run, bench_pick(10000, 50), args_once);
}

/* More outputs than a task may have by number: items, of which the result is a list. */
static int many_returns(weft_task *self)
{
	const uint64_t n = *(const uint64_t *)bench_arg(self);

	for (uint64_t i = 0; i < n; i++) {
		void *room;

		bench_must(weft_emit_room(self, ONES_BYTES, &room), "weft_emit_room");
		fill(room, i, 1);
		bench_must(weft_emit_done(self), "weft_emit_done");
	}
	return 0;
}

static uint64_t returns_once(weft *rt, uint64_t n)
{
	static const struct weft_task_options options = {
		.struct_size = sizeof options,
		.n_outputs = WEFT_OUTPUTS_LIST,
	};
	const struct weft_call call = {
		.fn = many_returns, .arg = &n, .arg_size = sizeof n, .opts = &options
	};
	struct weft_view list;
	weft_ref result;
	uint64_t good = 0;

	bench_must(weft_submit(rt, &call, &result), "weft_submit");
	bench_must(weft_get(rt, result, WEFT_FOREVER, &list), "weft_get");
	const weft_ref *items = list.data;
	for (uint64_t i = 0; i < list.size / sizeof *items; i++) {
		struct weft_view view;

		bench_must(weft_get(rt, items[i], WEFT_FOREVER, &view), "weft_get");
		good += is_filled(&view, i, 1);
		bench_must(weft_view_end(rt, items[i]), "weft_view_end");
	}
	bench_must(weft_release(rt, result), "weft_release");
	return good;
}

int row_ray_env_returns(const struct bench_run *run)
{
	return envelope_row(run, bench_pick(3000, 30), returns_once);
}

/* Half of them ones, half counting up: two rounds of one get each. */
static uint64_t get_once(weft *rt, uint64_t n)
{
	const uint64_t half = n / 2;
	weft_ref *refs = bench_alloc(half * sizeof *refs);
	struct weft_view *views = bench_alloc(half * sizeof *views);
	uint64_t good = 0;

	for (uint64_t step = 0; step < 2; step++) {
		for (uint64_t i = 0; i < half; i++)
			refs[i] = numbers_put(rt, i + 1, step);
		bench_must(weft_get_many(rt, refs, (uint32_t)half, WEFT_FOREVER, views, NULL),
		           "weft_get_many");
		for (uint64_t i = 0; i < half; i++)
			good += is_filled(&views[i], i + 1, step);
		bench_must(weft_release_many(rt, refs, (uint32_t)half), "weft_release_many");
	}
	free(views);
	free(refs);
	return good;
}

int row_ray_env_get(const struct bench_run *run)
{
	return envelope_row(run, bench_pick(20000, 60), get_once);
}

/* ---- A queue ---- */

static uint32_t holders;
static struct bench_counter holding;

/* Holds its worker, as a body does that is blocked in the system. */
static int hold_worker(weft_task *self)
{
	bench_counter_add(&holding);
	bench_gate_wait(*(struct bench_gate **)bench_arg(self));
	return 0;
}

static int nothing(weft_task *self)
{
	return weft_return(self, bench_arg(self), sizeof(uint64_t));
}

static uint64_t queued_once(weft *rt, uint64_t n)
{
	struct bench_gate *gates = bench_alloc(holders * sizeof *gates);
	weft_ref *held = bench_alloc(holders * sizeof *held);
	weft_ref *refs = bench_alloc(n * sizeof *refs);
	uint64_t good = 0;

	holding.value = 0;
	for (uint32_t i = 0; i < holders; i++) {
		struct bench_gate *gate = &gates[i];

		bench_must(weft_spawn(rt, hold_worker, &gate, sizeof gate, &held[i]), "weft_spawn");
	}
	for (uint64_t i = 0; i < n; i++)
		bench_must(weft_spawn(rt, nothing, &i, sizeof i, &refs[i]), "weft_spawn");
	for (uint32_t i = 0; i < holders; i++)
		bench_gate_open(&gates[i]);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t value = ~(uint64_t)0;

		bench_must(weft_take(rt, refs[i], &value, sizeof value), "weft_take");
		good += value == i;
	}
	for (uint32_t i = 0; i < holders; i++)
		bench_must(weft_take(rt, held[i], NULL, 0), "weft_take");
	free(refs);
	free(held);
	free(gates);
	return good;
}

int row_ray_env_queued(const struct bench_run *run)
{
	if (run->threads > WORKERS_MAX)
		bench_die("at most %d threads in this row", WORKERS_MAX);
	holders = run->threads;
	return envelope_row(run, bench_pick(1000000, 2000), queued_once);
}

/* ---- One large object ---- */

static uint64_t object_once(weft *rt, uint64_t mib)
{
	const size_t size = mib * MIB;
	char *zeros = ray_zeros(size);
	struct weft_view view;
	weft_ref ref;

	zeros[0] = 3;
	zeros[size - 1] = 4;
	bench_must(weft_put(rt, zeros, size, &ref), "weft_put");
	bench_must(weft_get(rt, ref, WEFT_FOREVER, &view), "weft_get");
	const char *at = view.data;
	const bool good = view.size == size && at[0] == 3 && at[size / 2] == 0 && at[size - 1] == 4;
	bench_must(weft_release(rt, ref), "weft_release");
	ray_zeros_free(zeros, size);
	return good ? mib : 0;
}

int row_ray_env_object(const struct bench_run *run)
{
	weft *rt = bench_open(run->threads);
	const uint64_t most = ray_object_max(rt) / MIB;
	const uint64_t wanted = bench_pick(100 * 1024, 16);

	envelope(run, rt, wanted < most ? wanted : most, object_once);
	bench_close(rt);
	return 0;
}
