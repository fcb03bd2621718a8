/*
 * catalog.c: the table of rows, in the order in which they are listed, run and reported. The
 * goals are those of the 2-core reference machine; they are printed, never enforced.
 */
#include "catalog.h"

#include <stdio.h>
#include <string.h>

#include "problem.h"

/* ---- Answers ---- */

static uint64_t same(uint64_t size)
{
	return size;
}

static uint64_t one(uint64_t size)
{
	(void)size;
	return 1;
}

static uint64_t sum_below(uint64_t size)
{
	return size * (size - 1) / 2;
}

/* A serial walk takes as long as a measurement, so the last answer is kept. */
static uint64_t uts_count(uint64_t size)
{
	static uint64_t known_size;
	static uint64_t known;
	if (!known || known_size != size) {
		const struct bench_uts_node root = bench_uts_root();
		known = bench_uts_serial(&root, (uint32_t)size);
		known_size = size;
	}
	return known;
}

static uint64_t wavefront_paths(uint64_t size)
{
	return bench_wavefront(size);
}

/* ---- Rows ---- */

const struct bench_info bench_catalog[] = {
	{ .name = "fib",
	  .unit = "ns",
	  .goal = "10 / 5",
	  .expected = bench_fib,
	  .text = "fib(n) by references, one child submitted, the other called, no cutoff; per "
	          "fork" },
	{ .name = "fib_so",
	  .unit = "ns",
	  .goal = "15 / 7.5",
	  .expected = bench_fib,
	  .program = "weft-bench-so",
	  .row = "fib",
	  .text = "the same through the shared library; per fork" },
	{ .name = "forkjoin",
	  .unit = "ns",
	  .goal = "3 / 1.6",
	  .expected = bench_fib,
	  .text = "fib(n) by the strict fork/join pair, no reference; per fork" },
	{ .name = "overlap",
	  .unit = "ns",
	  .goal = "- / 1100000",
	  .expected = same,
	  .text = "submit 1 ms of work, compute 1 ms, get; per round" },
	{ .name = "flat",
	  .unit = "ns",
	  .goal = "22 / 25",
	  .expected = same,
	  .text = "1 M fire-and-forget tasks of one locked add, spawned by one worker; per task" },
	{ .name = "flat_cold",
	  .unit = "ns",
	  .goal = "80 / 80",
	  .expected = same,
	  .cold = true,
	  .row = "flat",
	  .text = "the same as the first thing a process does; per task" },
	{ .name = "flat_foreign",
	  .unit = "ns",
	  .goal = "35 / 60",
	  .expected = same,
	  .text = "the same spawned by a thread outside the runtime; per task" },
	{ .name = "flat_bulk",
	  .unit = "ns",
	  .goal = "35 / 60",
	  .expected = same,
	  .text = "the same from outside in batches of 256; per task" },
	{ .name = "chain",
	  .unit = "ns",
	  .goal = "45 / 60",
	  .expected = same,
	  .text = "1 M tasks, each with the one before as its input, build and run; per task" },
	{ .name = "tree",
	  .unit = "ns",
	  .goal = "70 / 60",
	  .expected = bench_tree_sum,
	  .text = "reduction tree over 2^20 leaf tasks, build and run; per task, leaves included" },
	{ .name = "wavefront",
	  .unit = "ns",
	  .goal = "75 / 50",
	  .expected = wavefront_paths,
	  .text = "1000 x 1000 tasks with the upper and left one as inputs; per task" },
	{ .name = "uts",
	  .unit = "ns",
	  .goal = "38 / 19.5",
	  .expected = uts_count,
	  .text = "unbalanced tree search, a task per child, about 30 ns of hashing; per node" },
	{ .name = "grain_stencil",
	  .unit = "ns",
	  .goal = "800 / 800",
	  .expected = one,
	  .text = "smallest task that keeps half the peak: 1-D stencil, three inputs; per task" },
	{ .name = "grain_independent",
	  .unit = "ns",
	  .goal = "400 / 400",
	  .expected = one,
	  .text = "smallest task that keeps half the peak: independent tasks; per task" },
	{ .name = "roundtrip_hot",
	  .unit = "ns",
	  .goal = "500 / 500",
	  .expected = same,
	  .text = "outside thread submits one task and blocks for it, workers awake; median",
	  .extra = { .suffix = "_p99",
	             .unit = "ns",
	             .goal = "2000 / 2000",
	             .text = "the same; 99th percentile" } },
	{ .name = "roundtrip_parked",
	  .unit = "ns",
	  .goal = "futex floor + 2000",
	  .expected = same,
	  .text = "the same with every worker asleep (0.3 ms pause before each); median",
	  .extra = { .suffix = "_p99",
	             .unit = "ns",
	             .goal = "-",
	             .text = "the same; 99th percentile" } },
	{ .name = "block_resume",
	  .unit = "ns",
	  .goal = "60 / -",
	  .expected = same,
	  .threads_max = 1,
	  .text = "a task blocks in get, another on its worker sets the event, it resumes; per "
	          "block" },
	{ .name = "nested_1000",
	  .unit = "ns",
	  .goal = "5000000 / -",
	  .expected = same,
	  .threads_max = 1,
	  .text = "get inside get, 1000 deep, on one worker; per nest of 1000" },
	{ .name = "blocked_100k",
	  .unit = "bytes",
	  .goal = "8192 / 8192",
	  .expected = same,
	  .cold = true,
	  .text = "100,000 tasks blocked on one event at once; touched memory per task",
	  .extra = { .suffix = "_ns",
	             .unit = "ns",
	             .goal = "-",
	             .text = "the same; time per task from spawn to end" } },
	{ .name = "wait_one",
	  .unit = "ns",
	  .goal = "100 / 100",
	  .expected = sum_below,
	  .text = "10,000 references: register, run, take one by one as they end; per reference" },
	{ .name = "loop_tiny",
	  .unit = "ns",
	  .goal = "0.85 / 0.48",
	  .expected = one,
	  .text = "parallel loop over 1 M bodies of under a nanosecond; per body" },
	{ .name = "loop_sum",
	  .unit = "ns",
	  .goal = "bandwidth",
	  .expected = bench_tree_sum,
	  .text = "parallel sum of 100 M 64-bit numbers (800 MB); per number" },
	{ .name = "queued_bytes",
	  .unit = "bytes",
	  .goal = "128 / -",
	  .expected = sum_below,
	  .threads_max = 1,
	  .cold = true,
	  .text = "memory of a queued task with its reference and a 16-byte argument; per task" },
	{ .name = "open_close",
	  .unit = "ns",
	  .goal = "5000000 / 5000000",
	  .expected = same,
	  .text = "open a runtime, run one task, close; per round",
	  .extra = { .suffix = "_first",
	             .unit = "ns",
	             .goal = "-",
	             .text = "the first one in the process, topology included" } },
	{ .name = "idle_cpu",
	  .unit = "percent",
	  .goal = "0 / 0",
	  .expected = same,
	  .cold = true,
	  .text = "processor time over 1 s that begins 1 ms after the last task; of one CPU" },
	{ .name = "churn_rss",
	  .unit = "bytes",
	  .goal = "0 / 0",
	  .expected = same,
	  .cold = true,
	  .text = "growth of resident memory from 10^6 to 2*10^7 tasks run (10^9 with --long); "
	          "total",
	  .extra = { .suffix = "_base",
	             .unit = "bytes",
	             .goal = "-",
	             .text = "resident memory after the first 10^6" } },
};
const size_t bench_catalog_count = sizeof bench_catalog / sizeof *bench_catalog;

const struct bench_info *bench_find(const char *name, bool *is_extra)
{
	for (size_t i = 0; i < bench_catalog_count; i++) {
		const struct bench_info *info = &bench_catalog[i];
		char full[64];
		*is_extra = false;
		if (!strcmp(info->name, name))
			return info;
		if (!info->extra.suffix)
			continue;
		snprintf(full, sizeof full, "%s%s", info->name, info->extra.suffix);
		*is_extra = true;
		if (!strcmp(full, name))
			return info;
	}
	*is_extra = false;
	return NULL;
}
