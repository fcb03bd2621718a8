/*
 * loops.c: parallel loops: a million bodies of under a nanosecond (how little a loop may cost)
 * and the sum of 100 million numbers (bandwidth: no engine should lose here).
 */
#include "rows.h"

static void tiny_piece(int64_t begin, int64_t end, void *arg)
{
	bench_tiny_loop(arg, begin, end);
}

int row_loop_tiny(const struct bench_run *run)
{
	const int64_t n = (int64_t)bench_pick(1000000, 10000);
	const uint64_t loops = bench_pick(100, 2);
	weft *rt = bench_open(run->threads);
	uint64_t *array = bench_alloc((size_t)n * sizeof *array);
	uint64_t loops_done = 0;
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < loops; i++)
			bench_must(weft_for(rt, 0, n, 0, tiny_piece, array), "weft_for");
		const int64_t ns = bench_now_ns() - start;
		loops_done += loops;
		const uint64_t answer =
			bench_sum(array, 0, n) == bench_tiny_answer((uint64_t)n, loops_done);
		bench_emit(run, rep, "", (double)ns / (double)(n * (int64_t)loops), 1, answer);
	}
	free(array);
	bench_close(rt);
	return 0;
}

static void sum_piece(int64_t begin, int64_t end, void *arg, void *acc)
{
	*(uint64_t *)acc += bench_sum(arg, begin, end);
}

static void sum_combine(void *into, const void *from, void *arg)
{
	(void)arg;
	*(uint64_t *)into += *(const uint64_t *)from;
}

int row_loop_sum(const struct bench_run *run)
{
	const int64_t n = (int64_t)bench_pick(100000000, 100000);
	weft *rt = bench_open(run->threads);
	uint64_t *array = bench_alloc((size_t)n * sizeof *array);
	for (int64_t i = 0; i < n; i++)
		array[i] = bench_leaf((uint64_t)i);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const uint64_t zero = 0;
		uint64_t sum = 0;
		const int64_t start = bench_now_ns();
		bench_must(weft_reduce(rt, 0, n, 0, sum_piece, sum_combine, array, &zero,
		                       sizeof zero, &sum),
		           "weft_reduce");
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, (uint64_t)n, sum);
	}
	free(array);
	bench_close(rt);
	return 0;
}
