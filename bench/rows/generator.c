/*
 * generator.c: items of eight bytes from one task to another, through a window, so that both
 * sides run in turns or side by side; given, taken and copied out one by one.
 */
#include "rows.h"

static int numbers(weft_task *self)
{
	const uint64_t n = *(const uint64_t *)bench_arg(self);

	for (uint64_t i = 0; i < n; i++)
		bench_must(weft_emit(self, &i, sizeof i), "weft_emit");
	return 0;
}

static uint64_t drain(weft *rt, uint64_t n, uint32_t window)
{
	const struct weft_task_options options = { .struct_size = sizeof options,
		                                   .n_outputs = WEFT_OUTPUTS_STREAM,
		                                   .window = window };
	const struct weft_call call = {
		.fn = numbers, .arg = &n, .arg_size = sizeof n, .opts = &options
	};
	uint64_t sum = 0;
	weft_ref gen, item;

	bench_must(weft_submit(rt, &call, &gen), "weft_submit");
	while (weft_next(rt, gen, WEFT_FOREVER, &item) == 0) {
		uint64_t value;

		bench_must(weft_take(rt, item, &value, sizeof value), "weft_take");
		sum += value;
	}
	bench_must(weft_release(rt, gen), "weft_release");
	return sum;
}

static int root(weft_task *self)
{
	const uint64_t *arg = bench_arg(self);
	const uint64_t sum = drain(weft_task_runtime(self), arg[0], (uint32_t)arg[1]);

	return weft_return(self, &sum, sizeof sum);
}

int row_generator(const struct bench_run *run)
{
	const uint64_t n = bench_pick(1000000, 2000);
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const uint64_t windows[] = { 256, 1 };
		const char *const series[] = { "", "_window_1" };

		for (int k = 0; k < 2; k++) {
			const uint64_t arg[2] = { k ? n / 10 : n, windows[k] };
			const int64_t start = bench_now_ns();
			const uint64_t answer = bench_root(rt, root, arg, sizeof arg);
			const int64_t ns = bench_now_ns() - start;

			bench_emit(run, rep, series[k], (double)ns / (double)arg[0], arg[0],
			           answer);
		}
	}
	bench_close(rt);
	return 0;
}
