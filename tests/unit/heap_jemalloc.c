/*
 * Goal: where the process has jemalloc, blocks of the cold heap lie in arenas of their own, one per
 * node, and none is the arena of malloc().
 * Method: jemalloc itself is asked in which arena a block lies.
 */
#include <jemalloc/jemalloc.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "test.h"

#define NODES 8

static unsigned arena_of(void *p)
{
	unsigned arena = 0;
	size_t size = sizeof(arena);

	cr_assert_eq(mallctl("arenas.lookup", &arena, &size, &p, sizeof(p)), 0);
	return arena;
}

Test(heap_jemalloc, says_so)
{
	cr_assert_str_eq(wf_node_heap(), "jemalloc, an arena per node");
}

Test(heap_jemalloc, every_node_has_an_arena_and_malloc_another)
{
	static const size_t sizes[] = { 1, 100, 5000, 40000, 3 << 20 };
	unsigned arenas[NODES];
	void *plain = malloc(100);

	for (uint32_t node = 0; node < NODES; node++) {
		for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
			char *p = wf_node_alloc(node, 64, sizes[i]);

			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % 64, 0);
			memset(p, 1, sizes[i]);
			if (i == 0)
				arenas[node] = arena_of(p);
			cr_assert_eq(arena_of(p), arenas[node]);
			wf_node_free(p);
		}
		cr_assert_neq(arenas[node], arena_of(plain));
		for (uint32_t other = 0; other < node; other++)
			cr_assert_neq(arenas[node], arenas[other]);
	}
	free(plain);
}

/* A block that was freed must not come back from malloc(), which another node's thread may call. */
Test(heap_jemalloc, freed_blocks_do_not_pass_through_the_threads_cache)
{
	void *p = wf_node_alloc(3, 8, 200);
	unsigned arena = arena_of(p);

	wf_node_free(p);
	for (int i = 0; i < 1000; i++) {
		void *q = malloc(200);

		cr_assert_neq(arena_of(q), arena);
		/* Kept: the next one is another. A thousand of them go with the process. */
		cr_assert_not_null(q);
		memset(q, 0, 200);
		if (i % 2)
			free(q);
	}
}
