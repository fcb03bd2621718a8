/*
 * fib.c: the price of a fork with a reference: fib(n), one child submitted, the other called.
 * The same file is linked with the static library (row fib) and with the shared one (fib_so).
 */
#include "bodies.h"
#include "rows.h"

int row_fib(const struct bench_run *run)
{
	const uint32_t n = (uint32_t)bench_pick(36, 16);
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, bench_fib_body, &n, sizeof n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)bench_fib_forks(n), n, answer);
	}
	bench_close(rt);
	return 0;
}
