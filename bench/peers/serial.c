/*
 * serial.c: the serial twin: the same problems in plain C, without any engine. What an engine's
 * figure is above this one is the engine's price. For the round trips, which need two threads,
 * it is the floor: two threads that hand a word to and fro, spinning or asleep on a futex.
 */
#include "engine.h"
#include "problem.h"

#include <pthread.h>

#include "stats.h"

static __attribute__((noinline)) uint64_t fib(uint64_t n)
{
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static int row_fib(const struct bench_run *run)
{
	const uint64_t n = bench_pick(40, 16);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = fib(n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)bench_fib_forks(n), n, answer);
	}
	return 0;
}

static int row_overlap(const struct bench_run *run)
{
	const uint64_t n = bench_pick(50, 2);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++) {
			bench_burn(BENCH_OVERLAP_WORK_NS);
			bench_burn(BENCH_OVERLAP_WORK_NS);
		}
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, n, n);
	}
	return 0;
}

static int row_flat(const struct bench_run *run)
{
	const uint64_t n = bench_pick(1000000, 5000);
	struct bench_counter count;
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		count.value = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++)
			bench_counter_add(&count);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, n, bench_counter_read(&count));
	}
	return 0;
}

static uint64_t tree_sum(uint64_t begin, uint64_t end)
{
	const uint64_t middle = begin + (end - begin) / 2;
	if (end - begin == 1)
		return bench_leaf(begin);
	return tree_sum(begin, middle) + tree_sum(middle, end);
}

static int row_tree(const struct bench_run *run)
{
	const uint64_t leaves = bench_pick(1u << 20, 1u << 10);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = tree_sum(0, leaves);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)(2 * leaves - 1), leaves, answer);
	}
	return 0;
}

static int row_wavefront(const struct bench_run *run)
{
	const uint64_t n = bench_pick(1000, 40);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_wavefront(n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)(n * n), n, answer);
	}
	return 0;
}

static int row_uts(const struct bench_run *run)
{
	const uint32_t depth_max = (uint32_t)bench_pick(10, 5);
	const struct bench_uts_node root = bench_uts_root();
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_uts_serial(&root, depth_max);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)answer, depth_max, answer);
	}
	return 0;
}

static int row_loop_tiny(const struct bench_run *run)
{
	const int64_t n = (int64_t)bench_pick(1000000, 10000);
	const uint64_t loops = bench_pick(100, 2);
	uint64_t *array = bench_alloc((size_t)n * sizeof *array);
	uint64_t loops_done = 0;
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < loops; i++)
			bench_tiny_loop(array, 0, n);
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
		const int64_t start = bench_now_ns();
		const uint64_t sum = bench_sum(array, 0, n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, (uint64_t)n, sum);
	}
	free(array);
	return 0;
}

/* ---- Round trip floor ---- */

struct echo {
	struct bench_gate there __attribute__((aligned(BENCH_LINE_BYTES)));
	struct bench_gate back __attribute__((aligned(BENCH_LINE_BYTES)));
	uint64_t trips;
	bool spin;
};

static void echo_wait(const struct echo *echo, struct bench_gate *gate)
{
	/* An exchange per look would fight for the line, so look first. */
	while (echo->spin && !__atomic_load_n(&gate->open, __ATOMIC_RELAXED))
		continue;
	bench_gate_wait(gate);
}

static void echo_open(const struct echo *echo, struct bench_gate *gate)
{
	if (echo->spin)
		__atomic_store_n(&gate->open, 1, __ATOMIC_RELEASE);
	else
		bench_gate_open(gate);
}

static void *echo_thread(void *arg)
{
	struct echo *echo = arg;
	for (uint64_t i = 0; i < echo->trips; i++) {
		echo_wait(echo, &echo->there);
		echo_open(echo, &echo->back);
	}
	return NULL;
}

static int roundtrip(const struct bench_run *run, uint64_t n, int64_t pause_ns)
{
	double *ns = bench_alloc(n * sizeof *ns);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		/* On one CPU each trip of two spinners takes two time slices: still the truth. */
		struct echo echo = { .trips = n, .spin = pause_ns == 0 };
		pthread_t thread;
		if (pthread_create(&thread, NULL, echo_thread, &echo))
			bench_die("cannot start a thread");
		for (uint64_t i = 0; i < n; i++) {
			if (pause_ns)
				bench_sleep_ns(pause_ns);
			const int64_t start = bench_now_ns();
			echo_open(&echo, &echo.there);
			echo_wait(&echo, &echo.back);
			ns[i] = (double)(bench_now_ns() - start);
		}
		pthread_join(thread, NULL);
		bench_sort(ns, n);
		bench_emit(run, rep, "", bench_percentile(ns, n, 0.5), n, n);
		bench_emit(run, rep, "_p99", bench_percentile(ns, n, 0.99), n, n);
	}
	free(ns);
	return 0;
}

static int row_roundtrip_hot(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(5000, 20), 0);
}

static int row_roundtrip_parked(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(500, 10), 300000);
}

static const struct bench_engine_row engine_rows[] = {
	{ "fib", row_fib },
	{ "fib_so", row_fib },
	{ "forkjoin", row_fib },
	{ "overlap", row_overlap },
	{ "flat", row_flat },
	{ "flat_cold", row_flat },
	{ "flat_foreign", row_flat },
	{ "flat_bulk", row_flat },
	{ "tree", row_tree },
	{ "wavefront", row_wavefront },
	{ "uts", row_uts },
	{ "roundtrip_hot", row_roundtrip_hot },
	{ "roundtrip_parked", row_roundtrip_parked },
	{ "loop_tiny", row_loop_tiny },
	{ "loop_sum", row_loop_sum },
};

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
