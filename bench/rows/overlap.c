/*
 * overlap.c: does a child start while its parent is busy? A task submits 1 ms of work, computes
 * 1 ms itself and gets the result. Two workers should need little more than 1 ms.
 */
#include "rows.h"

static int child(weft_task *self)
{
	const uint64_t one = 1;
	bench_burn(BENCH_OVERLAP_WORK_NS);
	return weft_return(self, &one, sizeof one);
}

static int root(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const uint64_t n = *(const uint64_t *)bench_arg(self);
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++) {
		weft_ref ref;
		uint64_t one = 0;
		bench_must(weft_spawn(rt, child, NULL, 0, &ref), "weft_spawn");
		bench_burn(BENCH_OVERLAP_WORK_NS);
		bench_must(weft_take(rt, ref, &one, sizeof one), "weft_take");
		sum += one;
	}
	return weft_return(self, &sum, sizeof sum);
}

int row_overlap(const struct bench_run *run)
{
	const uint64_t n = bench_pick(50, 2);
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, root, &n, sizeof n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, n, answer);
	}
	bench_close(rt);
	return 0;
}
