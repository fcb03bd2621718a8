/*
 * roundtrip.c: a foreign thread submits one empty task and blocks for its result; median and
 * 99th percentile. Hot: one after the other, so that a worker is still in its spin window.
 * Parked: with a pause before each, so that every worker sleeps.
 */
#include "rows.h"

#include "stats.h"

/* Many times the 10-20 us for which a worker spins before it parks. */
#define PAUSE_NS 300000

static int body(weft_task *self)
{
	const uint64_t value = *(const uint64_t *)bench_arg(self) + 1;
	return weft_return(self, &value, sizeof value);
}

static int roundtrip(const struct bench_run *run, uint64_t n, int64_t pause_ns)
{
	weft *rt = bench_open(run->threads);
	double *ns = bench_alloc(n * sizeof *ns);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t answer = 0;
		for (uint64_t i = 0; i < n; i++) {
			if (pause_ns)
				bench_sleep_ns(pause_ns);
			const int64_t start = bench_now_ns();
			answer = bench_root(rt, body, &answer, sizeof answer);
			ns[i] = (double)(bench_now_ns() - start);
		}
		bench_sort(ns, n);
		bench_emit(run, rep, "", bench_percentile(ns, n, 0.5), n, answer);
		bench_emit(run, rep, "_p99", bench_percentile(ns, n, 0.99), n, answer);
	}
	free(ns);
	bench_close(rt);
	return 0;
}

int row_roundtrip_hot(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(50000, 200), 0);
}

int row_roundtrip_parked(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(500, 10), PAUSE_NS);
}
