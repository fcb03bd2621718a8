/*
 * heap.c: the cold heap: blocks that live long or are too large for a slab, near the CPUs that use
 * them.
 *
 * The library links no allocator of its own: an embedder's malloc must not be swapped. But when
 * the process has jemalloc, whoever brought it, its functions are there as weak symbols, and each
 * NUMA node gets an arena: blocks of two nodes share no page, and threads of a node touch theirs
 * first. Such blocks pass by the caches of threads, which would hand a block of one node to
 * whatever the freeing thread allocates next. Without jemalloc this is malloc().
 *
 * Shared: `arenas`, written once per node under `arenas_mutex`, read by all.
 *
 * Progress: blocking at a node's first block, otherwise as jemalloc or malloc.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base.h"

extern void *mallocx(size_t size, int flags) __attribute__((weak));
extern void dallocx(void *p, int flags) __attribute__((weak));
extern int mallctl(const char *name, void *old, size_t *old_size, void *value, size_t value_size)
	__attribute__((weak));

/* jemalloc's MALLOCX_TCACHE_NONE and MALLOCX_ARENA(), fixed since its version 4. */
#define NO_CACHE      0x100
#define IN_ARENA(n)   ((int)((n) + 1) << 20)
#define ARENA_MAX     4094u /* what its flags have room for */

#define ARENA_UNKNOWN 0u
#define ARENA_REFUSED 1u
#define ARENA_FIRST   2u /* arena 0 */

static struct wf_a32 arenas[WF_NODES_MAX];
static pthread_mutex_t arenas_mutex = PTHREAD_MUTEX_INITIALIZER;

static bool has_jemalloc(void)
{
	return mallocx != NULL && dallocx != NULL && mallctl != NULL;
}

static uint32_t create_arena(void)
{
	unsigned int arena = 0;
	size_t size = sizeof(arena);

	/* Before version 5 there was no such thing: its one heap serves all nodes then. */
	if (wf_fault(WF_FAULT_MALLOC) || mallctl("arenas.create", &arena, &size, NULL, 0) != 0 ||
	    arena > ARENA_MAX)
		return ARENA_REFUSED;
	return arena + ARENA_FIRST;
}

static uint32_t arena_of(uint32_t node)
{
	/* relaxed: a number that says everything by itself, and changes once. */
	uint32_t arena = wf_load_relaxed(&arenas[node]);

	if (WF_LIKELY(arena != ARENA_UNKNOWN))
		return arena;
	pthread_mutex_lock(&arenas_mutex);
	/* relaxed, both: under the mutex. */
	arena = wf_load_relaxed(&arenas[node]);
	if (arena == ARENA_UNKNOWN) {
		arena = create_arena();
		wf_store_relaxed(&arenas[node], arena);
	}
	pthread_mutex_unlock(&arenas_mutex);
	WF_CHECK(arena != ARENA_UNKNOWN);
	return arena;
}

void *wf_node_alloc(uint32_t node, size_t align, size_t size)
{
	uint32_t arena;
	int flags;

	WF_CHECK(node < WF_NODES_MAX);
	WF_CHECK(align != 0 && (align & (align - 1)) == 0);
	if (!has_jemalloc())
		return wf_aligned_alloc(align, size);
	if (wf_fault(WF_FAULT_MALLOC))
		return NULL;
	/* The flag of an alignment is its logarithm. */
	flags = NO_CACHE | __builtin_ctzl(align);
	arena = arena_of(node);
	if (arena != ARENA_REFUSED)
		flags |= IN_ARENA(arena - ARENA_FIRST);
	return mallocx(size != 0 ? size : 1, flags);
}

void wf_node_free(void *p)
{
	if (!has_jemalloc())
		wf_free(p);
	else if (p != NULL)
		dallocx(p, NO_CACHE);
}

const char *wf_node_heap(void)
{
	if (!has_jemalloc())
		return "malloc";
	return arena_of(0) != ARENA_REFUSED ? "jemalloc, an arena per node" : "jemalloc";
}
