/*
 * problem.h: the problems that every engine solves, weft and its peers alike.
 *
 * Sizes, the work of a node or cell, and the answer that a correct run gives. Everything is
 * inline and compiles as C and C++, so that an engine's figure contains the engine and not a
 * different body. WEFT_BENCH_TINY=1 in the environment shrinks every problem to a smoke test,
 * WEFT_BENCH_LONG=1 takes the full length where the default is scaled down.
 */
#ifndef BENCH_PROBLEM_H
#define BENCH_PROBLEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define BENCH_LINE_BYTES 64

static inline bool bench_env(const char *name)
{
	const char *value = getenv(name);
	return value && *value && *value != '0';
}

static inline bool bench_tiny(void)
{
	return bench_env("WEFT_BENCH_TINY");
}

static inline bool bench_long(void)
{
	return bench_env("WEFT_BENCH_LONG");
}

static inline uint64_t bench_pick(uint64_t full, uint64_t tiny)
{
	return bench_tiny() ? tiny : full;
}

/* ---- Shared counter --------------------------------------------------------------------- */

/* The body of the flat rows: one locked add on a line of its own. */
struct bench_counter {
	uint64_t value;
	char pad[BENCH_LINE_BYTES - sizeof(uint64_t)];
} __attribute__((aligned(BENCH_LINE_BYTES)));

/*
 * The value before the add. Compiler builtins, because the engines include one in C++ where the
 * house's atomic header does not compile. Acquire and release: whoever adds last has seen the
 * work of all the others.
 */
static inline uint64_t bench_counter_add(struct bench_counter *counter)
{
	return __atomic_fetch_add(&counter->value, 1, __ATOMIC_ACQ_REL);
}

static inline uint64_t bench_counter_read(const struct bench_counter *counter)
{
	return __atomic_load_n(&counter->value, __ATOMIC_ACQUIRE);
}

/* ---- fib -------------------------------------------------------------------------------- */

/* Forks of a fully forked fib(n): one per call with n >= 2. */
static inline uint64_t bench_fib(uint64_t n)
{
	uint64_t a = 0;
	uint64_t b = 1;
	for (; n; n--) {
		uint64_t sum = a + b;
		a = b;
		b = sum;
	}
	return a;
}

static inline uint64_t bench_fib_forks(uint64_t n)
{
	return bench_fib(n + 1) - 1;
}

/* ---- Unbalanced tree search ------------------------------------------------------------- */

#define BENCH_UTS_CHILDREN_MAX 64
#define BENCH_UTS_ROUNDS       10
#define BENCH_UTS_SEED         1

struct bench_uts_node {
	uint64_t state;
	uint32_t depth;
	uint32_t pad;
};

static inline uint64_t bench_mix(uint64_t x)
{
	/* splitmix64's finaliser (Steele, Lea and Flood, 2014, doi:10.1145/2660193.2660195). */
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* Tens of nanoseconds of hashing: a chain of rounds that no compiler shortens. */
static inline uint64_t bench_uts_hash(uint64_t state)
{
	for (uint32_t i = 0; i < BENCH_UTS_ROUNDS; i++)
		state = bench_mix(state);
	return state;
}

static inline struct bench_uts_node bench_uts_root(void)
{
	struct bench_uts_node node = { bench_uts_hash(BENCH_UTS_SEED), 0, 0 };
	return node;
}

/*
 * Children of a node: geometric with mean 4 above the depth limit, none at it. In integers, so
 * that every compiler sees the same tree: P(at least k) = (4/5)^k.
 */
static inline uint32_t bench_uts_children(const struct bench_uts_node *node, uint32_t depth_max)
{
	uint64_t draw = node->state >> 32;
	uint64_t limit = ((uint64_t)1 << 32) / 5 * 4;
	uint32_t k = 0;
	if (node->depth >= depth_max)
		return 0;
	while (draw < limit && k < BENCH_UTS_CHILDREN_MAX) {
		limit = limit / 5 * 4;
		k++;
	}
	return k;
}

static inline struct bench_uts_node bench_uts_child(const struct bench_uts_node *node, uint32_t i)
{
	struct bench_uts_node child = { bench_uts_hash(node->state + i + 1), node->depth + 1, 0 };
	return child;
}

static inline uint64_t bench_uts_serial(const struct bench_uts_node *node, uint32_t depth_max)
{
	uint64_t count = 1;
	uint32_t n = bench_uts_children(node, depth_max);
	for (uint32_t i = 0; i < n; i++) {
		struct bench_uts_node child = bench_uts_child(node, i);
		count += bench_uts_serial(&child, depth_max);
	}
	return count;
}

/* ---- Reduction tree, wavefront, stencil --------------------------------------------------- */

static inline uint64_t bench_leaf(uint64_t index)
{
	return index * 3 + 1;
}

static inline uint64_t bench_tree_sum(uint64_t leaves)
{
	return leaves * (leaves - 1) / 2 * 3 + leaves;
}

/* Paths to the last cell of an n x n grid, modulo 2^64: each cell adds its upper and left one. */
static inline uint64_t bench_wavefront(uint64_t n)
{
	uint64_t *row = (uint64_t *)calloc(n, sizeof *row);
	uint64_t last = 0;
	if (!row)
		return 0;
	row[0] = 1;
	for (uint64_t i = 0; i < n; i++)
		for (uint64_t j = 1; j < n; j++)
			row[j] += row[j - 1];
	last = row[n - 1];
	free(row);
	return last;
}

#define BENCH_STENCIL_WIDTH 64

/* One cell of a 1-D stencil on a ring: a neighbour is at x - 1, x and x + 1. */
static inline uint64_t bench_stencil_cell(uint64_t left, uint64_t mid, uint64_t right)
{
	return left + 3 * mid + 5 * right + 1;
}

static inline uint32_t bench_stencil_left(uint32_t x)
{
	return (x + BENCH_STENCIL_WIDTH - 1) % BENCH_STENCIL_WIDTH;
}

static inline uint32_t bench_stencil_right(uint32_t x)
{
	return (x + 1) % BENCH_STENCIL_WIDTH;
}

/* Sum of the last line after `steps` steps from the line 0, 1, 2, ... */
static inline uint64_t bench_stencil(uint64_t steps)
{
	uint64_t line[2][BENCH_STENCIL_WIDTH];
	uint64_t sum = 0;
	for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++)
		line[0][x] = x;
	for (uint64_t s = 0; s < steps; s++)
		for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++)
			line[(s + 1) & 1][x] = bench_stencil_cell(
				line[s & 1][bench_stencil_left(x)], line[s & 1][x],
				line[s & 1][bench_stencil_right(x)]);
	for (uint32_t x = 0; x < BENCH_STENCIL_WIDTH; x++)
		sum += line[steps & 1][x];
	return sum;
}

/* ---- Work of a known length --------------------------------------------------------------- */

/* `iterations` dependent multiplications, about a nanosecond each. */
static inline void bench_grain_work(uint32_t iterations)
{
	uint64_t x = iterations;
	for (uint32_t i = 0; i < iterations; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	/* The result must exist, but nobody reads it. */
	__asm__ volatile("" : : "r"(x));
}

#define BENCH_OVERLAP_WORK_NS 1000000

/*
 * Burn `ns` of this thread's processor time. Processor time and not wall time: two bodies that
 * merely share one CPU would look overlapped by the wall clock.
 */
static inline void bench_burn(int64_t ns)
{
	struct timespec t;
	int64_t until;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	until = (int64_t)t.tv_sec * 1000000000 + t.tv_nsec + ns;
	do {
		bench_grain_work(2000);
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	} while ((int64_t)t.tv_sec * 1000000000 + t.tv_nsec < until);
}

/* ---- Loops -------------------------------------------------------------------------------- */

/* The tiny loop writes every element, so that its answer is the array's sum. */
static inline void bench_tiny_loop(uint64_t *array, int64_t begin, int64_t end)
{
	for (int64_t i = begin; i < end; i++)
		array[i] = array[i] * 5 + (uint64_t)i;
}

static inline uint64_t bench_sum(const uint64_t *array, int64_t begin, int64_t end)
{
	uint64_t sum = 0;
	for (int64_t i = begin; i < end; i++)
		sum += array[i];
	return sum;
}

/* Element sum after `loops` tiny loops over `n` elements that began as 0. */
static inline uint64_t bench_tiny_answer(uint64_t n, uint64_t loops)
{
	uint64_t factor = 0;
	for (uint64_t k = 0; k < loops; k++)
		factor = factor * 5 + 1;
	return n * (n - 1) / 2 * factor;
}

#endif /* BENCH_PROBLEM_H */
