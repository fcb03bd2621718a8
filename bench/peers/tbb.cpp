/*
 * tbb.cpp: oneTBB: task_group for fork/join and floods, flow graphs for dependences, enqueue into
 * an arena for a foreign thread. `threads` threads in all: TBB's caller works itself, so it is
 * one of them, except in the rows of a foreign thread, where the arena has no slot for it.
 */
#include "engine.h"
#include "problem.h"

#include <deque>
#include <vector>

#include <oneapi/tbb/blocked_range.h>
#include <oneapi/tbb/flow_graph.h>
#include <oneapi/tbb/global_control.h>
#include <oneapi/tbb/parallel_for.h>
#include <oneapi/tbb/parallel_reduce.h>
#include <oneapi/tbb/task_arena.h>
#include <oneapi/tbb/task_group.h>

#include "stats.h"

namespace {

using node = tbb::flow::continue_node<tbb::flow::continue_msg>;
using msg = tbb::flow::continue_msg;

struct rep_result {
	double figure;
	uint64_t size;
	uint64_t answer;
};

/* Run `fn` once per repetition inside an arena in which the caller has a slot. */
template <typename F> int in_arena(const struct bench_run *run, F fn)
{
	tbb::global_control control(tbb::global_control::max_allowed_parallelism, run->threads);
	tbb::task_arena arena(static_cast<int>(run->threads));
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		rep_result r = {};
		arena.execute([&] { r = fn(); });
		bench_emit(run, rep, "", r.figure, r.size, r.answer);
	}
	return 0;
}

double per(int64_t start_ns, uint64_t count)
{
	return static_cast<double>(bench_now_ns() - start_ns) / static_cast<double>(count);
}

/* ---- Fork and join ---- */

uint64_t fib(uint64_t n)
{
	if (n < 2)
		return n;
	uint64_t left = 0;
	tbb::task_group group;
	group.run([&left, n] { left = fib(n - 1); });
	const uint64_t right = fib(n - 2);
	group.wait();
	return left + right;
}

int row_fib(const struct bench_run *run)
{
	return in_arena(run, [] {
		const uint64_t n = bench_pick(30, 16);
		const int64_t start = bench_now_ns();
		const uint64_t answer = fib(n);
		return rep_result{ per(start, bench_fib_forks(n)), n, answer };
	});
}

int row_overlap(const struct bench_run *run)
{
	return in_arena(run, [] {
		const uint64_t n = bench_pick(50, 2);
		uint64_t sum = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++) {
			uint64_t one = 0;
			tbb::task_group group;
			group.run([&one] {
				bench_burn(BENCH_OVERLAP_WORK_NS);
				one = 1;
			});
			bench_burn(BENCH_OVERLAP_WORK_NS);
			group.wait();
			sum += one;
		}
		return rep_result{ per(start, n), n, sum };
	});
}

uint64_t search(const struct bench_uts_node &at, uint32_t depth_max)
{
	const uint32_t n = bench_uts_children(&at, depth_max);
	if (n == 0)
		return 1;
	uint64_t below[BENCH_UTS_CHILDREN_MAX];
	tbb::task_group group;
	for (uint32_t i = 0; i < n; i++) {
		const struct bench_uts_node child = bench_uts_child(&at, i);
		if (i == n - 1)
			below[i] = search(child, depth_max);
		else
			group.run([&below, child, i, depth_max] {
				below[i] = search(child, depth_max);
			});
	}
	group.wait();
	uint64_t count = 1;
	for (uint32_t i = 0; i < n; i++)
		count += below[i];
	return count;
}

int row_uts(const struct bench_run *run)
{
	return in_arena(run, [] {
		const uint32_t depth_max = static_cast<uint32_t>(bench_pick(10, 5));
		const int64_t start = bench_now_ns();
		const uint64_t answer = search(bench_uts_root(), depth_max);
		return rep_result{ per(start, answer), depth_max, answer };
	});
}

/* ---- Flat ---- */

int row_flat(const struct bench_run *run)
{
	return in_arena(run, [] {
		const uint64_t n = bench_pick(1000000, 5000);
		struct bench_counter count = {};
		tbb::task_group group;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++)
			group.run([&count] { bench_counter_add(&count); });
		group.wait();
		return rep_result{ per(start, n), n, bench_counter_read(&count) };
	});
}

/* The caller keeps no slot in the arena: everything is run by `threads` workers. */
struct foreign {
	tbb::global_control control;
	tbb::task_arena arena;
	explicit foreign(uint32_t threads)
		: control(tbb::global_control::max_allowed_parallelism, threads + 1),
		  arena(static_cast<int>(threads), 0)
	{
		arena.initialize();
	}
};

int row_flat_foreign(const struct bench_run *run)
{
	foreign f(run->threads);
	const uint64_t n = bench_pick(1000000, 5000);
	struct bench_counter count = {};
	struct bench_gate gate = { 0 };
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		count.value = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++)
			f.arena.enqueue([&count, &gate, n] {
				if (bench_counter_add(&count) + 1 == n)
					bench_gate_open(&gate);
			});
		bench_gate_wait(&gate);
		bench_emit(run, rep, "", per(start, n), n, bench_counter_read(&count));
	}
	return 0;
}

int roundtrip(const struct bench_run *run, uint64_t n, int64_t pause_ns)
{
	foreign f(run->threads);
	std::vector<double> ns(n);
	struct bench_gate gate = { 0 };
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t answer = 0;
		for (uint64_t i = 0; i < n; i++) {
			if (pause_ns)
				bench_sleep_ns(pause_ns);
			const int64_t start = bench_now_ns();
			f.arena.enqueue([&answer, &gate] {
				answer++;
				bench_gate_open(&gate);
			});
			bench_gate_wait(&gate);
			ns[i] = per(start, 1);
		}
		bench_sort(ns.data(), n);
		bench_emit(run, rep, "", bench_percentile(ns.data(), n, 0.5), n, answer);
		bench_emit(run, rep, "_p99", bench_percentile(ns.data(), n, 0.99), n, answer);
	}
	return 0;
}

int row_roundtrip_hot(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(5000, 200), 0);
}

int row_roundtrip_parked(const struct bench_run *run)
{
	return roundtrip(run, bench_pick(500, 10), 300000);
}

/* ---- Dependences ---- */

int row_chain(const struct bench_run *run)
{
	return in_arena(run, [] {
		const uint64_t n = bench_pick(1000000, 2000);
		uint64_t value = 0;
		tbb::flow::graph graph;
		std::deque<node> nodes;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++) {
			nodes.emplace_back(graph, [&value](const msg &m) { value++; return m; });
			if (i)
				tbb::flow::make_edge(nodes[i - 1], nodes[i]);
		}
		nodes.front().try_put(msg());
		graph.wait_for_all();
		return rep_result{ per(start, n), n, value };
	});
}

int row_tree(const struct bench_run *run)
{
	return in_arena(run, [] {
		/* In heap order, as the OpenMP peer; leaves come last. */
		const uint64_t leaves = bench_pick(1u << 19, 1u << 10);
		std::vector<uint64_t> value(2 * leaves);
		tbb::flow::graph graph;
		std::deque<node> nodes;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < 2 * leaves; i++) {
			nodes.emplace_back(graph, [&value, i, leaves](const msg &m) {
				value[i] = i >= leaves ? bench_leaf(i - leaves)
				                       : value[2 * i] + value[2 * i + 1];
				return m;
			});
			if (i > 1)
				tbb::flow::make_edge(nodes[i], nodes[i / 2]);
		}
		for (uint64_t i = leaves; i < 2 * leaves; i++)
			nodes[i].try_put(msg());
		graph.wait_for_all();
		return rep_result{ per(start, 2 * leaves - 1), leaves, value[1] };
	});
}

int row_wavefront(const struct bench_run *run)
{
	return in_arena(run, [] {
		const uint64_t n = bench_pick(1000, 40);
		const uint64_t w = n + 1;
		std::vector<uint64_t> cell(w * w);
		tbb::flow::graph graph;
		std::deque<node> nodes;
		cell[1] = 1; /* the start enters from above the first cell */
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n * n; i++) {
			const uint64_t at = (i / n + 1) * w + i % n + 1;
			nodes.emplace_back(graph, [&cell, at, w](const msg &m) {
				cell[at] = cell[at - 1] + cell[at - w];
				return m;
			});
			if (i % n)
				tbb::flow::make_edge(nodes[i - 1], nodes[i]);
			if (i >= n)
				tbb::flow::make_edge(nodes[i - n], nodes[i]);
		}
		nodes.front().try_put(msg());
		graph.wait_for_all();
		return rep_result{ per(start, n * n), n, cell[n * w + n] };
	});
}

/* ---- Grain ---- */

bool flood_run(void *, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	struct bench_counter count = {};
	tbb::task_group group;
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < tasks; i++)
		group.run([&count, iterations] {
			bench_grain_work(iterations);
			bench_counter_add(&count);
		});
	group.wait();
	*wall_ns = bench_now_ns() - start;
	return bench_counter_read(&count) == tasks;
}

bool stencil_run(void *, uint32_t iterations, uint64_t tasks, int64_t *wall_ns)
{
	const uint32_t width = BENCH_STENCIL_WIDTH;
	const uint64_t steps = tasks / width;
	std::vector<uint64_t> value((steps + 1) * width);
	for (uint32_t x = 0; x < width; x++)
		value[x] = x;
	tbb::flow::graph graph;
	std::deque<node> nodes;
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < steps * width; i++) {
		const uint32_t x = static_cast<uint32_t>(i % width);
		const uint32_t l = bench_stencil_left(x);
		const uint32_t r = bench_stencil_right(x);
		uint64_t *from = &value[i - x];
		nodes.emplace_back(graph, [from, l, x, r, iterations](const msg &m) {
			bench_grain_work(iterations);
			const uint64_t value_here = bench_stencil_cell(from[l], from[x], from[r]);
			from[BENCH_STENCIL_WIDTH + x] = value_here;
			return m;
		});
		if (i < width)
			continue;
		const uint64_t before = i - x - width;
		tbb::flow::make_edge(nodes[before + l], nodes[i]);
		tbb::flow::make_edge(nodes[before + x], nodes[i]);
		tbb::flow::make_edge(nodes[before + r], nodes[i]);
	}
	for (uint32_t x = 0; x < width; x++)
		nodes[x].try_put(msg());
	graph.wait_for_all();
	*wall_ns = bench_now_ns() - start;
	uint64_t sum = 0;
	for (uint32_t x = 0; x < width; x++)
		sum += value[steps * width + x];
	return sum == bench_stencil(steps);
}

int grain(const struct bench_run *run, struct bench_grain g)
{
	g.threads = run->threads;
	return in_arena(run, [&g] {
		bool ok = true;
		const double ns = bench_grain_search(&g, &ok);
		return rep_result{ ns, 1, ok };
	});
}

int row_grain_independent(const struct bench_run *run)
{
	return grain(run, { flood_run, nullptr, 0, 1, 200000 });
}

int row_grain_stencil(const struct bench_run *run)
{
	return grain(run, { stencil_run, nullptr, 0, BENCH_STENCIL_WIDTH, 100000 });
}

/* ---- Loops and rest ---- */

using range = tbb::blocked_range<int64_t>;

int row_loop_tiny(const struct bench_run *run)
{
	const int64_t n = static_cast<int64_t>(bench_pick(1000000, 10000));
	const uint64_t loops = bench_pick(100, 2);
	std::vector<uint64_t> array(static_cast<size_t>(n));
	uint64_t loops_done = 0;
	return in_arena(run, [&] {
		const int64_t start = bench_now_ns();
		for (uint64_t k = 0; k < loops; k++)
			tbb::parallel_for(range(0, n), [&array](const range &r) {
				bench_tiny_loop(array.data(), r.begin(), r.end());
			});
		const double figure = per(start, static_cast<uint64_t>(n) * loops);
		loops_done += loops;
		return rep_result{ figure, 1, bench_sum(array.data(), 0, n)
			== bench_tiny_answer(static_cast<uint64_t>(n), loops_done) };
	});
}

int row_loop_sum(const struct bench_run *run)
{
	const int64_t n = static_cast<int64_t>(bench_pick(100000000, 100000));
	std::vector<uint64_t> array(static_cast<size_t>(n));
	for (int64_t i = 0; i < n; i++)
		array[static_cast<size_t>(i)] = bench_leaf(static_cast<uint64_t>(i));
	return in_arena(run, [&] {
		const int64_t start = bench_now_ns();
		const uint64_t sum = tbb::parallel_reduce(range(0, n), uint64_t{ 0 },
			[&array](const range &r, uint64_t acc) {
				return acc + bench_sum(array.data(), r.begin(), r.end());
			},
			[](uint64_t a, uint64_t b) { return a + b; });
		return rep_result{ per(start, static_cast<uint64_t>(n)),
		                   static_cast<uint64_t>(n), sum };
	});
}

/* One thread, so that nothing leaves the queue while it fills. */
int row_queued_bytes(const struct bench_run *run)
{
	tbb::global_control control(tbb::global_control::max_allowed_parallelism, 1);
	tbb::task_arena arena(1);
	const uint64_t n = bench_pick(1000000, 2000);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t sum = 0;
		double grown = 0;
		arena.execute([&] {
			tbb::task_group group;
			const uint64_t before = bench_rss_bytes();
			for (uint64_t i = 0; i < n; i++)
				group.run([&sum, i] { sum += i; });
			grown = static_cast<double>(bench_rss_bytes() - before);
			group.wait();
		});
		bench_emit(run, rep, "", grown / static_cast<double>(n), n, sum);
	}
	return 0;
}

int row_idle_cpu(const struct bench_run *run)
{
	const int64_t idle_ns = static_cast<int64_t>(bench_pick(1000000000, 20000000));
	const uint64_t n = bench_pick(100000, 1000);
	foreign f(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		struct bench_counter count = {};
		struct bench_gate gate = { 0 };
		for (uint64_t i = 0; i < n; i++)
			f.arena.enqueue([&count, &gate, n] {
				if (bench_counter_add(&count) + 1 == n)
					bench_gate_open(&gate);
			});
		bench_gate_wait(&gate);
		bench_sleep_ns(1000000);
		const int64_t cpu = bench_process_cpu_ns();
		const int64_t start = bench_now_ns();
		bench_sleep_ns(idle_ns);
		const double used = static_cast<double>(bench_process_cpu_ns() - cpu);
		bench_emit(run, rep, "", 100.0 * used / per(start, 1), n,
		           bench_counter_read(&count));
	}
	return 0;
}

const struct bench_engine_row engine_rows[] = {
	{ "fib", row_fib }, { "fib_so", row_fib }, { "forkjoin", row_fib },
	{ "overlap", row_overlap },
	{ "flat", row_flat }, { "flat_cold", row_flat },
	{ "flat_foreign", row_flat_foreign }, { "flat_bulk", row_flat_foreign },
	{ "chain", row_chain }, { "tree", row_tree }, { "wavefront", row_wavefront },
	{ "uts", row_uts },
	{ "grain_stencil", row_grain_stencil }, { "grain_independent", row_grain_independent },
	{ "roundtrip_hot", row_roundtrip_hot }, { "roundtrip_parked", row_roundtrip_parked },
	{ "loop_tiny", row_loop_tiny }, { "loop_sum", row_loop_sum },
	{ "queued_bytes", row_queued_bytes }, { "idle_cpu", row_idle_cpu },
};

} /* namespace */

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows,
	                         sizeof engine_rows / sizeof *engine_rows);
}
