/*
 * groups.c: group_share: two groups of weight 1 and 3 under a flood of morsels for a second; by how
 * many percent the second's CPU misses three times the first's. group_urgent: a flood of morsels,
 * and now and then a task of a group of high priority; how many morsels begin before it does.
 */
#include <stdatomic.h>

#include "rows.h"

#define CHAINS  16    /* morsels of a group that are queued at any time */
#define MORSEL  20000 /* steps of some nanoseconds: tens of microseconds */
#define URGENTS 100

struct flood {
	weft *rt;
	weft_group group;
	_Atomic uint64_t begun;
	_Atomic int over;
	uint64_t at; /* begun, as the urgent task saw it */
};

static void morsel_work(void)
{
	uint64_t x = 1;

	for (uint32_t i = 0; i < MORSEL; i++) {
		x = x * UINT64_C(6364136223846793005) + 1;
		__asm__ volatile("" : "+r"(x));
	}
}

/* A morsel, which submits the next one: in the group that it is in. */
static int morsel(weft_task *self)
{
	struct flood *flood = *(struct flood **)bench_arg(self);

	if (atomic_load_explicit(&flood->over, memory_order_relaxed))
		return 0;
	atomic_fetch_add_explicit(&flood->begun, 1, memory_order_relaxed);
	morsel_work();
	return weft_spawn(flood->rt, morsel, &flood, sizeof flood, NULL);
}

static void pour(struct flood *flood, weft *rt, uint32_t weight)
{
	const struct weft_group_options group = { .struct_size = sizeof group, .weight = weight };

	flood->rt = rt;
	bench_must(weft_group_create(rt, &group, &flood->group), "weft_group_create");
	const struct weft_task_options options = { .struct_size = sizeof options,
		                                   .group = flood->group };
	const struct weft_call call = {
		.fn = morsel, .arg = &flood, .arg_size = sizeof flood, .opts = &options
	};

	for (uint32_t i = 0; i < CHAINS; i++)
		bench_must(weft_submit(rt, &call, NULL), "weft_submit");
}

static void dry(struct flood *flood)
{
	atomic_store(&flood->over, 1);
	bench_must(weft_group_join(flood->rt, flood->group, WEFT_FOREVER), "weft_group_join");
	bench_must(weft_group_destroy(flood->rt, flood->group), "weft_group_destroy");
}

int row_group_share(const struct bench_run *run)
{
	const int64_t ns = (int64_t)bench_pick(1000000000, 20000000);
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		struct flood one = { 0 }, three = { 0 };

		pour(&one, rt, 1);
		pour(&three, rt, 3);
		bench_sleep_ns(10000000);
		const uint64_t a = atomic_load(&one.begun), b = atomic_load(&three.begun);
		bench_sleep_ns(ns);
		const double ratio = (double)(atomic_load(&three.begun) - b) /
			(double)(atomic_load(&one.begun) - a + 1);
		dry(&one);
		dry(&three);
		const double off = 100 * (ratio / 3 - 1);
		bench_emit(run, rep, "", off < 0 ? -off : off, 1, 1);
	}
	bench_close(rt);
	return 0;
}

static int urgent(weft_task *self)
{
	struct flood *flood = *(struct flood **)bench_arg(self);

	flood->at = atomic_load_explicit(&flood->begun, memory_order_relaxed);
	return 0;
}

int row_group_urgent(const struct bench_run *run)
{
	const uint32_t n = (uint32_t)bench_pick(URGENTS, 5);
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const struct weft_group_options high = { .struct_size = sizeof high,
			                                 .priority = WEFT_PRIORITY_HIGH };
		struct flood flood = { 0 }, *arg = &flood;
		struct weft_task_options options = { .struct_size = sizeof options };
		const struct weft_call call = {
			.fn = urgent, .arg = &arg, .arg_size = sizeof arg, .opts = &options
		};
		uint64_t most = 0;

		pour(&flood, rt, 1);
		bench_must(weft_group_create(rt, &high, &options.group), "weft_group_create");
		for (uint32_t i = 0; i < n; i++) {
			weft_ref ref;
			bench_sleep_ns(1000000);
			const uint64_t before = atomic_load(&flood.begun);
			bench_must(weft_submit(rt, &call, &ref), "weft_submit");
			bench_must(weft_take(rt, ref, NULL, 0), "weft_take");
			if (flood.at - before > most)
				most = flood.at - before;
		}
		bench_must(weft_group_destroy(rt, options.group), "weft_group_destroy");
		dry(&flood);
		bench_emit(run, rep, "", (double)most, n, n);
	}
	bench_close(rt);
	return 0;
}
