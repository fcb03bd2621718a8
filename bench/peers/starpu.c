/*
 * starpu.c: StarPU with its locality work-stealing scheduler. The main thread submits, which is
 * the only way it has outside a callback; dependences are explicit, between task structures.
 */
#include "engine.h"
#include "problem.h"

#include <starpu.h>

#include "stats.h"

static int begin(const struct bench_run *run)
{
	struct starpu_conf conf;
	setenv("STARPU_SILENT", "1", 1);
	setenv("STARPU_SCHED", "lws", 1);
	starpu_conf_init(&conf);
	conf.ncpus = (int)run->threads;
	conf.ncuda = 0;
	conf.nopencl = 0;
	if (starpu_init(&conf) == 0)
		return 0;
	/* It refuses more workers than CPUs: then it has no such row here. */
	return BENCH_EXIT_NO_ROW;
}

static void must(int error, const char *what)
{
	if (error)
		bench_die("%s: %d", what, error);
}

static struct starpu_task *task_of(struct starpu_codelet *codelet, void *arg)
{
	struct starpu_task *task = starpu_task_create();
	if (!task)
		bench_die("no memory for a task");
	task->cl = codelet;
	task->cl_arg = arg;
	task->cl_arg_size = sizeof arg;
	return task;
}

/* ---- Flat ---- */

static void flat_body(void *buffers[], void *arg)
{
	(void)buffers;
	bench_counter_add(arg);
}

static struct starpu_codelet flat_codelet = { .cpu_funcs = { flat_body }, .nbuffers = 0 };

static int row_flat(const struct bench_run *run)
{
	const uint64_t n = bench_pick(100000, 1000);
	struct bench_counter *count = bench_alloc(sizeof *count);
	const int status = begin(run);
	for (int rep = -run->warmups; !status && rep < run->reps; rep++) {
		count->value = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++)
			must(starpu_task_submit(task_of(&flat_codelet, count)),
			     "starpu_task_submit");
		must(starpu_task_wait_for_all(), "starpu_task_wait_for_all");
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, n, bench_counter_read(count));
	}
	if (!status)
		starpu_shutdown();
	free(count);
	return status;
}

/* ---- Dependences ---- */

/* Tasks with up to two predecessors each; the values lie beside them. */
struct node {
	struct starpu_task *task;
	const uint64_t *in[2];
	uint64_t value; /* in: its own part; out: plus its inputs */
};

static void node_body(void *buffers[], void *arg)
{
	struct node *node = arg;
	(void)buffers;
	for (int i = 0; i < 2; i++)
		if (node->in[i])
			node->value += *node->in[i];
}

static struct starpu_codelet node_codelet = { .cpu_funcs = { node_body }, .nbuffers = 0 };

/* Make and submit one node; predecessors may have run already, so tasks are kept. */
static void node_submit(struct node *node, struct node *a, struct node *b, uint64_t own)
{
	struct starpu_task *before[2];
	unsigned n = 0;
	node->value = own;
	node->in[0] = a ? &a->value : NULL;
	node->in[1] = b ? &b->value : NULL;
	node->task = task_of(&node_codelet, node);
	node->task->destroy = 0;
	if (a)
		before[n++] = a->task;
	if (b)
		before[n++] = b->task;
	if (n)
		starpu_task_declare_deps_array(node->task, n, before);
	must(starpu_task_submit(node->task), "starpu_task_submit");
}

static struct node *chain(struct node *nodes, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		node_submit(&nodes[i], i ? &nodes[i - 1] : NULL, NULL, 1);
	return &nodes[n - 1];
}

static struct node *tree(struct node *nodes, uint64_t leaves)
{
	for (uint64_t i = 2 * leaves - 1; i > 0; i--) {
		if (i >= leaves)
			node_submit(&nodes[i], NULL, NULL, bench_leaf(i - leaves));
		else
			node_submit(&nodes[i], &nodes[2 * i], &nodes[2 * i + 1], 0);
	}
	return &nodes[1];
}

static struct node *wavefront(struct node *nodes, uint64_t n)
{
	for (uint64_t i = 0; i < n * n; i++)
		node_submit(&nodes[i], i >= n ? &nodes[i - n] : NULL, i % n ? &nodes[i - 1] : NULL,
		            i == 0);
	return &nodes[n * n - 1];
}

static int graph(const struct bench_run *run, struct node *(*build)(struct node *, uint64_t),
                 uint64_t size, uint64_t tasks, uint64_t room)
{
	struct node *nodes = bench_alloc(room * sizeof *nodes);
	const int status = begin(run);
	for (int rep = -run->warmups; !status && rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const struct node *last = build(nodes, size);
		must(starpu_task_wait_for_all(), "starpu_task_wait_for_all");
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)tasks, size, last->value);
		for (uint64_t i = 0; i < room; i++) {
			if (nodes[i].task)
				starpu_task_destroy(nodes[i].task);
			nodes[i].task = NULL;
		}
	}
	if (!status)
		starpu_shutdown();
	free(nodes);
	return status;
}

static int row_chain(const struct bench_run *run)
{
	const uint64_t n = bench_pick(100000, 1000);
	return graph(run, chain, n, n, n);
}

static int row_tree(const struct bench_run *run)
{
	const uint64_t leaves = bench_pick(1u << 15, 1u << 9);
	return graph(run, tree, leaves, 2 * leaves - 1, 2 * leaves);
}

static int row_wavefront(const struct bench_run *run)
{
	const uint64_t n = bench_pick(250, 30);
	return graph(run, wavefront, n, n * n, n * n);
}

/* ---- Grain, round trip, rest ---- */

struct flood {
	struct bench_counter count;
	uint32_t iterations;
};

static void flood_body(void *buffers[], void *arg)
{
	struct flood *flood = arg;
	(void)buffers;
	bench_grain_work(flood->iterations);
	bench_counter_add(&flood->count);
}

static struct starpu_codelet flood_codelet = { .cpu_funcs = { flood_body }, .nbuffers = 0 };

static bool flood_run(void *arg, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	struct flood *flood = arg;
	flood->count.value = 0;
	flood->iterations = iterations;
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < tasks; i++)
		must(starpu_task_submit(task_of(&flood_codelet, flood)), "starpu_task_submit");
	must(starpu_task_wait_for_all(), "starpu_task_wait_for_all");
	*wall_ns = bench_now_ns() - start;
	return bench_counter_read(&flood->count) == tasks;
}

static int row_grain_independent(const struct bench_run *run)
{
	struct flood *flood = bench_alloc(sizeof *flood);
	const struct bench_grain grain = {
		.run = flood_run,
		.arg = flood,
		.threads = run->threads,
		.tasks_unit = 1,
		.tasks_max = 20000,
	};
	const int status = begin(run);
	for (int rep = -run->warmups; !status && rep < run->reps; rep++) {
		bool ok = true;
		const double ns = bench_grain_search(&grain, &ok);
		bench_emit(run, rep, "", ns, 1, ok);
	}
	if (!status)
		starpu_shutdown();
	free(flood);
	return status;
}

static int roundtrip(const struct bench_run *run, uint64_t n, int64_t pause_ns)
{
	struct bench_counter *count = bench_alloc(sizeof *count);
	double *ns = bench_alloc(n * sizeof *ns);
	const int status = begin(run);
	for (int rep = -run->warmups; !status && rep < run->reps; rep++) {
		count->value = 0;
		for (uint64_t i = 0; i < n; i++) {
			struct starpu_task *task = task_of(&flat_codelet, count);
			if (pause_ns)
				bench_sleep_ns(pause_ns);
			const int64_t start = bench_now_ns();
			task->synchronous = 1;
			must(starpu_task_submit(task), "starpu_task_submit");
			ns[i] = (double)(bench_now_ns() - start);
		}
		bench_sort(ns, n);
		bench_emit(run, rep, "", bench_percentile(ns, n, 0.5), n,
		           bench_counter_read(count));
		bench_emit(run, rep, "_p99", bench_percentile(ns, n, 0.99), n,
		           bench_counter_read(count));
	}
	if (!status)
		starpu_shutdown();
	free(ns);
	free(count);
	return status;
}

static int row_roundtrip_hot(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(5000, 100), 0);
}

static int row_roundtrip_parked(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(500, 10), 300000);
}

static const struct bench_engine_row engine_rows[] = {
	{ "flat", row_flat },
	{ "flat_cold", row_flat },
	{ "flat_foreign", row_flat },
	{ "flat_bulk", row_flat },
	{ "chain", row_chain },
	{ "tree", row_tree },
	{ "wavefront", row_wavefront },
	{ "grain_independent", row_grain_independent },
	{ "roundtrip_hot", row_roundtrip_hot },
	{ "roundtrip_parked", row_roundtrip_parked },
};

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
