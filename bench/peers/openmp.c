/*
 * openmp.c: OpenMP tasks: compiled once by gcc (libgomp) and once by clang (libomp). A team of
 * `threads`, one of which creates the tasks. With one thread an OpenMP runtime runs a task on the
 * spot, so its figures at one thread are not queueing figures. There is no foreign thread in
 * OpenMP, hence no round trip.
 */
#include "engine.h"
#include "problem.h"

#include <omp.h>

struct context {
	const struct bench_run *run;
	double figure;
	uint64_t size;
	uint64_t answer;
};

typedef void row_fn(struct context *c); /* called by one thread of the team, timed inside */

static int in_team(const struct bench_run *run, row_fn *fn)
{
	struct context c = { .run = run };
	for (int rep = -run->warmups; rep < run->reps; rep++) {
#pragma omp parallel num_threads(run->threads)
#pragma omp single
		fn(&c);
		bench_emit(run, rep, "", c.figure, c.size, c.answer);
	}
	return 0;
}

/* ---- Fork and join ---- */

static uint64_t fib(uint64_t n)
{
	uint64_t left;
	if (n < 2)
		return n;
#pragma omp task shared(left)
	left = fib(n - 1);
	const uint64_t right = fib(n - 2);
#pragma omp taskwait
	return left + right;
}

static void fib_rep(struct context *c)
{
	c->size = bench_pick(27, 16);
	const int64_t start = bench_now_ns();
	c->answer = fib(c->size);
	c->figure = (double)(bench_now_ns() - start) / (double)bench_fib_forks(c->size);
}

static int row_fib(const struct bench_run *run)
{
	return in_team(run, fib_rep);
}

static void overlap_rep(struct context *c)
{
	c->size = bench_pick(50, 2);
	uint64_t sum = 0;
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < c->size; i++) {
		uint64_t one = 0;
#pragma omp task shared(one)
		{
			bench_burn(BENCH_OVERLAP_WORK_NS);
			one = 1;
		}
		bench_burn(BENCH_OVERLAP_WORK_NS);
#pragma omp taskwait
		sum += one;
	}
	c->figure = (double)(bench_now_ns() - start) / (double)c->size;
	c->answer = sum;
}

static int row_overlap(const struct bench_run *run)
{
	return in_team(run, overlap_rep);
}

static uint64_t search(const struct bench_uts_node *node, uint32_t depth_max)
{
	uint64_t below[BENCH_UTS_CHILDREN_MAX];
	const uint32_t n = bench_uts_children(node, depth_max);
	uint64_t count = 1;
	for (uint32_t i = 0; i < n; i++) {
		const struct bench_uts_node child = bench_uts_child(node, i);
		if (i == n - 1) {
			below[i] = search(&child, depth_max);
			continue;
		}
#pragma omp task firstprivate(child, i) shared(below)
		below[i] = search(&child, depth_max);
	}
#pragma omp taskwait
	for (uint32_t i = 0; i < n; i++)
		count += below[i];
	return count;
}

static void uts_rep(struct context *c)
{
	const struct bench_uts_node root = bench_uts_root();
	c->size = bench_pick(8, 5);
	const int64_t start = bench_now_ns();
	c->answer = search(&root, (uint32_t)c->size);
	c->figure = (double)(bench_now_ns() - start) / (double)c->answer;
}

static int row_uts(const struct bench_run *run)
{
	return in_team(run, uts_rep);
}

/* ---- Flat ---- */

static void flat_rep(struct context *c)
{
	struct bench_counter count = { .value = 0 };
	c->size = bench_pick(300000, 5000);
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < c->size; i++) {
#pragma omp task shared(count)
		bench_counter_add(&count);
	}
#pragma omp taskwait
	c->figure = (double)(bench_now_ns() - start) / (double)c->size;
	c->answer = bench_counter_read(&count);
}

static int row_flat(const struct bench_run *run)
{
	return in_team(run, flat_rep);
}

/* ---- Dependences ---- */

static void chain_rep(struct context *c)
{
	uint64_t value = 0;
	c->size = bench_pick(200000, 2000);
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < c->size; i++) {
#pragma omp task shared(value) depend(inout : value)
		value++;
	}
#pragma omp taskwait
	c->figure = (double)(bench_now_ns() - start) / (double)c->size;
	c->answer = value;
}

static int row_chain(const struct bench_run *run)
{
	return in_team(run, chain_rep);
}

/* Nodes in heap order; leaves at leaves .. 2 * leaves - 1. */
static void tree_rep(struct context *c)
{
	c->size = bench_pick(1u << 17, 1u << 10);
	uint64_t *node = bench_alloc(2 * c->size * sizeof *node);
	const int64_t start = bench_now_ns();
	for (uint64_t i = 2 * c->size - 1; i > 0; i--) {
		if (i >= c->size) {
#pragma omp task firstprivate(i) depend(out : node[i])
			node[i] = bench_leaf(i - c->size);
		} else {
#pragma omp task firstprivate(i) depend(in : node[2 * i], node[2 * i + 1]) depend(out : node[i])
			node[i] = node[2 * i] + node[2 * i + 1];
		}
	}
#pragma omp taskwait
	c->figure = (double)(bench_now_ns() - start) / (double)(2 * c->size - 1);
	c->answer = node[1];
	free(node);
}

static int row_tree(const struct bench_run *run)
{
	return in_team(run, tree_rep);
}

/* A frame of zeros stands above and to the left, so that every cell has two inputs. */
static void wavefront_rep(struct context *c)
{
	c->size = bench_pick(400, 40);
	const uint64_t n = c->size;
	const uint64_t w = n + 1;
	uint64_t *cell = bench_alloc(w * w * sizeof *cell);
	cell[1] = 1; /* the start enters from above the first cell */
	const int64_t start = bench_now_ns();
	for (uint64_t i = 1; i <= n; i++) {
		for (uint64_t j = 1; j <= n; j++) {
			const uint64_t at = i * w + j;
#pragma omp task firstprivate(at) depend(in : cell[at - 1], cell[at - w]) depend(out : cell[at])
			cell[at] = cell[at - 1] + cell[at - w];
		}
	}
#pragma omp taskwait
	c->figure = (double)(bench_now_ns() - start) / (double)(n * n);
	c->answer = cell[n * w + n];
	free(cell);
}

static int row_wavefront(const struct bench_run *run)
{
	return in_team(run, wavefront_rep);
}

/* ---- Grain ---- */

static bool flood_run(void *arg, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	struct bench_counter count = { .value = 0 };
	(void)arg;
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < tasks; i++) {
#pragma omp task shared(count) firstprivate(iterations)
		{
			bench_grain_work(iterations);
			bench_counter_add(&count);
		}
	}
#pragma omp taskwait
	*wall_ns = bench_now_ns() - start;
	return bench_counter_read(&count) == tasks;
}

static bool stencil_run(void *arg, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	const uint64_t steps = tasks / BENCH_STENCIL_WIDTH;
	uint64_t line[2][BENCH_STENCIL_WIDTH];
	uint64_t sum = 0;
	(void)arg;
	for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++)
		line[0][x] = x;
	const int64_t start = bench_now_ns();
	for (uint64_t s = 0; s < steps; s++) {
		uint64_t *from = line[s & 1];
		uint64_t *to = line[(s + 1) & 1];
		for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++) {
			const uint32_t l = bench_stencil_left(x);
			const uint32_t r = bench_stencil_right(x);
#pragma omp task firstprivate(from, to, l, x, r, iterations) depend(in \
                                                                    : from[l], from[x], from[r]) \
	depend(out \
               : to[x])
			{
				bench_grain_work(iterations);
				to[x] = bench_stencil_cell(from[l], from[x], from[r]);
			}
		}
	}
#pragma omp taskwait
	*wall_ns = bench_now_ns() - start;
	for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++)
		sum += line[steps & 1][x];
	return sum == bench_stencil(steps);
}

static void search_grain(struct context *c, struct bench_grain *grain)
{
	bool ok = true;
	grain->threads = c->run->threads;
	c->figure = bench_grain_search(grain, &ok);
	c->size = 1;
	c->answer = ok;
}

static void grain_independent_rep(struct context *c)
{
	search_grain(c,
	             &(struct bench_grain){
			     .run = flood_run,
			     .tasks_unit = 1,
			     .tasks_max = 100000,
		     });
}

static void grain_stencil_rep(struct context *c)
{
	search_grain(c,
	             &(struct bench_grain){
			     .run = stencil_run,
			     .tasks_unit = BENCH_STENCIL_WIDTH,
			     .tasks_max = 10000,
		     });
}

static int row_grain_independent(const struct bench_run *run)
{
	return in_team(run, grain_independent_rep);
}

static int row_grain_stencil(const struct bench_run *run)
{
	return in_team(run, grain_stencil_rep);
}

/* ---- Loops and rest ---- */

static int row_loop_tiny(const struct bench_run *run)
{
	const int64_t n = (int64_t)bench_pick(1000000, 10000);
	const uint64_t loops = bench_pick(100, 2);
	uint64_t *array = bench_alloc((size_t)n * sizeof *array);
	uint64_t loops_done = 0;
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		for (uint64_t k = 0; k < loops; k++) {
#pragma omp parallel for schedule(static) num_threads(run->threads)
			for (int64_t i = 0; i < n; i++)
				bench_tiny_loop(array, i, i + 1);
		}
		const int64_t ns = bench_now_ns() - start;
		loops_done += loops;
		bench_emit(run, rep, "", (double)ns / (double)(n * (int64_t)loops), 1,
		           bench_sum(array, 0, n) == bench_tiny_answer((uint64_t)n, loops_done));
	}
	free(array);
	return 0;
}

static int row_loop_sum(const struct bench_run *run)
{
	const int64_t n = (int64_t)bench_pick(100000000, 100000);
	uint64_t *array = bench_alloc((size_t)n * sizeof *array);
	for (int64_t i = 0; i < n; i++)
		array[i] = bench_leaf((uint64_t)i);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t sum = 0;
		const int64_t start = bench_now_ns();
#pragma omp parallel for schedule(static) num_threads(run->threads) reduction(+ : sum)
		for (int64_t i = 0; i < n; i++)
			sum += array[i];
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, (uint64_t)n, sum);
	}
	free(array);
	return 0;
}

static int row_idle_cpu(const struct bench_run *run)
{
	const int64_t idle_ns = (int64_t)bench_pick(1000000000, 20000000);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		struct context c = { .run = run };
#pragma omp parallel num_threads(run->threads)
#pragma omp single
		flat_rep(&c);
		bench_sleep_ns(1000000);
		const int64_t cpu = bench_process_cpu_ns();
		const int64_t start = bench_now_ns();
		bench_sleep_ns(idle_ns);
		const double percent = 100.0 * (double)(bench_process_cpu_ns() - cpu) /
			(double)(bench_now_ns() - start);
		bench_emit(run, rep, "", percent, c.size, c.answer);
	}
	return 0;
}

static const struct bench_engine_row engine_rows[] = {
	{ "fib", row_fib },
	{ "fib_so", row_fib },
	{ "forkjoin", row_fib },
	{ "overlap", row_overlap },
	{ "flat", row_flat },
	{ "flat_cold", row_flat },
	{ "chain", row_chain },
	{ "tree", row_tree },
	{ "wavefront", row_wavefront },
	{ "uts", row_uts },
	{ "grain_stencil", row_grain_stencil },
	{ "grain_independent", row_grain_independent },
	{ "loop_tiny", row_loop_tiny },
	{ "loop_sum", row_loop_sum },
	{ "idle_cpu", row_idle_cpu },
};

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
