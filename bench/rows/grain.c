/*
 * grain.c: the smallest task that keeps half of the machine's peak: a 1-D stencil in which each
 * task has three inputs of the line before, and independent tasks. engine.c searches the size.
 */
#include "rows.h"

#include <string.h>

/* ---- Independent tasks ---- */

struct flood {
	struct bench_counter count;
	weft *rt;
	weft_ref done;
	uint64_t total;
	uint32_t iterations;
};

static int flood_body(weft_task *self)
{
	struct flood *flood = *(struct flood **)bench_arg(self);
	/* Before the add: after it, the waiter may set up the next flood. */
	const uint64_t total = flood->total;
	bench_grain_work(flood->iterations);
	if (bench_counter_add(&flood->count) + 1 < total)
		return 0;
	bench_set_done(weft_task_runtime(self), flood->done);
	return 0;
}

static int flood_root(weft_task *self)
{
	struct flood *flood = *(struct flood **)bench_arg(self);
	/* A copy: once the last task is out, the waiter may set up the next flood. */
	const uint64_t total = flood->total;
	for (uint64_t i = 0; i < total; i++)
		bench_must(weft_spawn(flood->rt, flood_body, &flood, sizeof flood, NULL),
		           "weft_spawn");
	return 0;
}

static bool flood_run(void *arg, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	struct flood *flood = arg;
	struct weft_view view;
	flood->count.value = 0;
	flood->total = tasks;
	flood->iterations = iterations;
	flood->done = bench_done_event(flood->rt);
	const int64_t start = bench_now_ns();
	bench_must(weft_spawn(flood->rt, flood_root, &flood, sizeof flood, NULL), "weft_spawn");
	bench_must(weft_get(flood->rt, flood->done, WEFT_FOREVER, &view), "weft_get");
	*wall_ns = bench_now_ns() - start;
	bench_must(weft_release(flood->rt, flood->done), "weft_release");
	return bench_counter_read(&flood->count) == tasks;
}

/* ---- Stencil ---- */

struct stencil {
	weft *rt;
	uint64_t steps;
	uint32_t iterations;
};

struct cell {
	uint32_t iterations;
	uint32_t first; /* the value of a cell of line 0 */
};

static int cell_first(weft_task *self)
{
	const uint64_t value = ((const struct cell *)bench_arg(self))->first;
	return weft_return(self, &value, sizeof value);
}

static int cell_body(weft_task *self)
{
	bench_grain_work(((const struct cell *)bench_arg(self))->iterations);
	const uint64_t value = bench_stencil_cell(
		bench_input_u64(self, 0), bench_input_u64(self, 1), bench_input_u64(self, 2));
	return weft_return(self, &value, sizeof value);
}

static int stencil_root(weft_task *self)
{
	const struct stencil s = **(struct stencil **)bench_arg(self);
	weft_ref line[2][BENCH_STENCIL_WIDTH];
	uint64_t sum = 0;
	for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++) {
		const struct cell cell = { .iterations = s.iterations, .first = x };
		bench_must(weft_spawn(s.rt, cell_first, &cell, sizeof cell, &line[0][x]),
		           "weft_spawn");
	}
	for (uint64_t i = 0; i < s.steps; i++) {
		const weft_ref *old = line[i & 1];
		const struct cell cell = { .iterations = s.iterations };
		for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++) {
			const weft_ref inputs[3] = {
				old[bench_stencil_left(x)],
				old[x],
				old[bench_stencil_right(x)],
			};
			const struct weft_call call = {
				.fn = cell_body,
				.arg = &cell,
				.arg_size = sizeof cell,
				.inputs = inputs,
				.n_inputs = 3,
			};
			bench_must(weft_submit(s.rt, &call, &line[(i + 1) & 1][x]), "weft_submit");
		}
		bench_must(weft_release_many(s.rt, old, BENCH_STENCIL_WIDTH), "weft_release_many");
	}
	for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++) {
		uint64_t value = 0;
		bench_must(weft_take(s.rt, line[s.steps & 1][x], &value, sizeof value),
		           "weft_take");
		sum += value;
	}
	return weft_return(self, &sum, sizeof sum);
}

static bool stencil_run(void *arg, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	struct stencil *s = arg;
	s->steps = tasks / BENCH_STENCIL_WIDTH;
	s->iterations = iterations;
	const int64_t start = bench_now_ns();
	const uint64_t sum = bench_root(s->rt, stencil_root, &s, sizeof s);
	*wall_ns = bench_now_ns() - start;
	return sum == bench_stencil(s->steps);
}

static void search(const struct bench_run *run, struct bench_grain *grain)
{
	grain->threads = run->threads;
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		bool ok = true;
		const double ns = bench_grain_search(grain, &ok);
		bench_emit(run, rep, "", ns, 1, ok);
	}
}

int row_grain_stencil(const struct bench_run *run)
{
	struct stencil s = { .rt = bench_open(run->threads) };
	search(run,
	       &(struct bench_grain){
		       .run = stencil_run,
		       .arg = &s,
		       .tasks_unit = BENCH_STENCIL_WIDTH,
		       .tasks_max = 100000,
	       });
	bench_close(s.rt);
	return 0;
}

int row_grain_independent(const struct bench_run *run)
{
	struct flood *flood = bench_alloc(sizeof *flood);
	flood->rt = bench_open(run->threads);
	search(run,
	       &(struct bench_grain){
		       .run = flood_run,
		       .arg = flood,
		       .tasks_unit = 1,
		       .tasks_max = 200000,
	       });
	bench_close(flood->rt);
	free(flood);
	return 0;
}
