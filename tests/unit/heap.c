/*
 * Goal: the cold heap gives each node the arena that was made for it, once, also when threads race
 * for a node's first block; and does without arenas where jemalloc refuses them.
 * Method: a pretended jemalloc, in this program, that writes down who asked for what.
 */
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "test.h"

#define FIRST_ARENA      7u
#define NODES            6u
#define THREADS          4u

/* What jemalloc's header says of its flags. */
#define FLAG_NO_CACHE    0x100
#define FLAG_ARENA(flag) ((uint32_t)(flag) >> 20)

void *mallocx(size_t size, int flags);
void dallocx(void *p, int flags);
int mallctl(const char *name, void *old, size_t *old_size, void *value, size_t value_size);

struct block {
	int flags;
	void *whole;
};

static struct wf_a32 created, live, refuse;

/* The block's flags stand before it. */
void *mallocx(size_t size, int flags)
{
	size_t align = (size_t)1 << (flags & 63);
	size_t ahead = align > sizeof(struct block) ? align : sizeof(struct block);
	char *whole = aligned_alloc(align > 16 ? align : 16, (ahead + size + 4095) & ~(size_t)4095);
	struct block block = { flags, whole };

	if (whole == NULL)
		return NULL;
	memcpy(whole + ahead - sizeof(block), &block, sizeof(block));
	wf_add_relaxed(&live, 1);
	return whole + ahead;
}

void dallocx(void *p, int flags)
{
	struct block block;

	memcpy(&block, (char *)p - sizeof(block), sizeof(block));
	cr_assert_eq(flags, FLAG_NO_CACHE);
	free(block.whole);
	wf_add_relaxed(&live, UINT32_MAX);
}

int mallctl(const char *name, void *old, size_t *old_size, void *value, size_t value_size)
{
	unsigned int arena;

	cr_assert_str_eq(name, "arenas.create");
	cr_assert(value == NULL && value_size == 0 && *old_size == sizeof(arena));
	if (wf_load_relaxed(&refuse))
		return 12;
	arena = FIRST_ARENA + wf_add_relaxed(&created, 1);
	memcpy(old, &arena, sizeof(arena));
	return 0;
}

static int flags_of(const void *p)
{
	struct block block;

	memcpy(&block, (const char *)p - sizeof(block), sizeof(block));
	return block.flags;
}

struct racer {
	struct wf_thread thread;
	struct wf_a32 *gate;
	uint32_t arenas[NODES];
};

static void *race(void *arg)
{
	struct racer *racer = arg;

	wf_add_relaxed(racer->gate, 1);
	/* acquire: nothing; the point is to begin together. */
	while (wf_load_acquire(racer->gate) < THREADS)
		wf_cpu_relax();
	for (uint32_t node = 0; node < NODES; node++) {
		char *p = wf_node_alloc(node, 64, 5000);

		cr_assert_not_null(p);
		cr_assert_eq((uintptr_t)p % 64, 0);
		memset(p, 1, 5000);
		cr_assert_eq(flags_of(p) & FLAG_NO_CACHE, FLAG_NO_CACHE);
		racer->arenas[node] = FLAG_ARENA(flags_of(p));
		wf_node_free(p);
	}
	return NULL;
}

Test(heap, racing_threads_find_one_arena_per_node)
{
	static struct wf_a32 gate;
	struct racer racers[THREADS];

	for (uint32_t i = 0; i < THREADS; i++) {
		racers[i] = (struct racer){ .gate = &gate };
		cr_assert_eq(wf_thread_start(&racers[i].thread, "race", race, &racers[i]), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		wf_thread_join(&racers[i].thread);
	for (uint32_t node = 0; node < NODES; node++) {
		for (uint32_t i = 1; i < THREADS; i++)
			cr_assert_eq(racers[i].arenas[node], racers[0].arenas[node]);
		/* One more than the arena's number, as the flag has it. */
		cr_assert_geq(racers[0].arenas[node], FIRST_ARENA + 1);
		for (uint32_t other = 0; other < node; other++)
			cr_assert_neq(racers[0].arenas[node], racers[0].arenas[other]);
	}
	cr_assert_str_eq(wf_node_heap(), "jemalloc, an arena per node");
	cr_assert_eq(wf_load_relaxed(&live), 0);
}

Test(heap, without_arenas_one_heap_serves_all)
{
	/* A node that the other test does not use, as all tests may share this process. */
	wf_store_relaxed(&refuse, 1);
	void *p = wf_node_alloc(60, 16, 100);

	cr_assert_not_null(p);
	cr_assert_eq(FLAG_ARENA(flags_of(p)), 0);
	wf_node_free(p);
	/* Not asked for again. */
	wf_store_relaxed(&refuse, 0);
	p = wf_node_alloc(60, 16, 100);
	cr_assert_eq(FLAG_ARENA(flags_of(p)), 0);
	wf_node_free(p);
	cr_assert_eq(wf_load_relaxed(&live), 0);
}

Test(heap, faults_at_the_block_and_at_the_arena)
{
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_null(wf_node_alloc(50, 16, 100));
	cr_assert(wf_fault_fired());
	wf_fault_arm(WF_FAULT_MALLOC, 2);
	void *p = wf_node_alloc(51, 16, 100);

	cr_assert(wf_fault_fired());
	wf_fault_arm(WF_FAULT_MALLOC, 0);
	cr_assert_not_null(p);
	cr_assert_eq(FLAG_ARENA(flags_of(p)), 0);
	wf_node_free(p);
	wf_node_free(NULL);
	cr_assert_eq(wf_load_relaxed(&live), 0);
}
