/*
 * chain.c: a chain of tasks through references: each has the one before as its input, and the
 * submitter keeps no more than the last reference. Build and run together.
 */
#include "rows.h"

static int first(weft_task *self)
{
	const uint64_t one = 1;
	return weft_return(self, &one, sizeof one);
}

static int step(weft_task *self)
{
	const uint64_t value = bench_input_u64(self, 0) + 1;
	return weft_return(self, &value, sizeof value);
}

static int root(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const uint64_t n = *(const uint64_t *)bench_arg(self);
	weft_ref last;
	uint64_t value = 0;
	bench_must(weft_spawn(rt, first, NULL, 0, &last), "weft_spawn");
	for (uint64_t i = 1; i < n; i++) {
		const struct weft_call call = { .fn = step, .inputs = &last, .n_inputs = 1 };
		weft_ref next;
		bench_must(weft_submit(rt, &call, &next), "weft_submit");
		bench_must(weft_release(rt, last), "weft_release");
		last = next;
	}
	bench_must(weft_take(rt, last, &value, sizeof value), "weft_take");
	return weft_return(self, &value, sizeof value);
}

int row_chain(const struct bench_run *run)
{
	const uint64_t n = bench_pick(1000000, 2000);
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
