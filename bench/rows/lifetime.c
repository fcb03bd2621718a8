/*
 * lifetime.c: what a runtime costs when it does nothing: opening and closing it, and the
 * processor time of idle workers.
 */
#include "bodies.h"
#include "rows.h"

static int hello(weft_task *self)
{
	return weft_return(self, bench_arg(self), sizeof(uint64_t));
}

static int64_t open_run_close(uint32_t threads, uint64_t tag, uint64_t *answer)
{
	const int64_t start = bench_now_ns();
	weft *rt = bench_open(threads);
	*answer += bench_root(rt, hello, &tag, sizeof tag);
	bench_close(rt);
	return bench_now_ns() - start;
}

/* Open, run one task, close; the first one in the process also reads the machine's topology. */
int row_open_close(const struct bench_run *run)
{
	const uint64_t n = bench_pick(50, 3);
	uint64_t answer = 0;
	const int64_t first_ns = open_run_close(run->threads, 1, &answer);
	bench_emit(run, 0, "_first", (double)first_ns, 1, answer);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		int64_t ns = 0;
		answer = 0;
		for (uint64_t i = 0; i < n; i++)
			ns += open_run_close(run->threads, 1, &answer);
		bench_emit(run, rep, "", (double)ns / (double)n, n, answer);
	}
	return 0;
}

/* Processor time of the whole process, in percent of one CPU, from 1 ms after the last task. */
int row_idle_cpu(const struct bench_run *run)
{
	const int64_t idle_ns = (int64_t)bench_pick(1000000000, 20000000);
	struct bench_flat *flat = bench_alloc(sizeof *flat);
	struct weft_view view;
	flat->rt = bench_open(run->threads);
	flat->total = bench_pick(100000, 1000);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		flat->count.value = 0;
		flat->done = bench_done_event(flat->rt);
		bench_must(weft_spawn(flat->rt, bench_flat_root, &flat, sizeof flat, NULL),
		           "weft_spawn");
		bench_must(weft_get(flat->rt, flat->done, WEFT_FOREVER, &view), "weft_get");
		bench_sleep_ns(1000000);
		const int64_t cpu = bench_process_cpu_ns();
		const int64_t start = bench_now_ns();
		bench_sleep_ns(idle_ns);
		const double percent = 100.0 * (double)(bench_process_cpu_ns() - cpu) /
			(double)(bench_now_ns() - start);
		bench_emit(run, rep, "", percent, flat->total, bench_counter_read(&flat->count));
		bench_must(weft_release(flat->rt, flat->done), "weft_release");
	}
	bench_close(flat->rt);
	free(flat);
	return 0;
}
