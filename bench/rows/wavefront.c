/*
 * wavefront.c: an n x n grid of tasks, each with the cell above and the cell to the left as
 * inputs. The submitter holds one line of references and drops each as soon as both of its
 * consumers are submitted. Build and run together.
 */
#include "rows.h"

static int cell(weft_task *self)
{
	const uint32_t n = weft_input_count(self);
	uint64_t value = n ? 0 : 1;
	for (uint32_t i = 0; i < n; i++)
		value += bench_input_u64(self, i);
	return weft_return(self, &value, sizeof value);
}

static int root(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const uint64_t n = *(const uint64_t *)bench_arg(self);
	weft_ref *line = bench_alloc(n * sizeof *line);
	uint64_t value = 0;
	for (uint64_t i = 0; i < n; i++) {
		for (uint64_t j = 0; j < n; j++) {
			const weft_ref inputs[2] = { line[j], j ? line[j - 1] : line[j] };
			struct weft_call call = { .fn = cell };
			weft_ref ref;
			/* On the first line line[j] is still empty: only the left cell counts. */
			call.n_inputs = (uint16_t)((i > 0) + (j > 0));
			call.inputs = i ? inputs : inputs + 1;
			if (!call.n_inputs)
				call.inputs = NULL;
			bench_must(weft_submit(rt, &call, &ref), "weft_submit");
			/* The cell above has now both of its consumers. */
			if (i)
				bench_must(weft_release(rt, line[j]), "weft_release");
			line[j] = ref;
		}
	}
	bench_must(weft_take(rt, line[n - 1], &value, sizeof value), "weft_take");
	bench_must(weft_release_many(rt, line, (uint32_t)n - 1), "weft_release_many");
	free(line);
	return weft_return(self, &value, sizeof value);
}

int row_wavefront(const struct bench_run *run)
{
	const uint64_t n = bench_pick(1000, 40);
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, root, &n, sizeof n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)(n * n), n, answer);
	}
	bench_close(rt);
	return 0;
}
