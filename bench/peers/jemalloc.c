/*
 * jemalloc.c: jemalloc on the rows store_alloc_*, as a store would have to use it: one arena whose
 * extents are carved out of one shared mapping by hooks, a cache for each thread, and nothing ever
 * given back (decay off), since giving back costs it hundreds of times more.
 */
#include <jemalloc/jemalloc.h>
#include <stdio.h>
#include <sys/mman.h>

#include "allocs.h"

#define REGION_BYTES ((size_t)12 << 30)

static char *region;
static size_t region_used; /* only grows; jemalloc reuses what it has freed */
static unsigned arena;

static void *hook_alloc(extent_hooks_t *hooks, void *at, size_t size, size_t align, bool *zero,
                        bool *commit, unsigned index)
{
	(void)hooks;
	(void)index;
	size_t used = __atomic_load_n(&region_used, __ATOMIC_RELAXED);
	size_t begin;
	do {
		begin = (used + align - 1) / align * align;
		if (at || begin + size > REGION_BYTES)
			return NULL;
	} while (!__atomic_compare_exchange_n(&region_used, &used, begin + size, false,
	                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	*zero = true;
	*commit = true;
	return region + begin;
}

/* True: refused, the extent stays with jemalloc. */
static bool hook_dalloc(extent_hooks_t *hooks, void *at, size_t size, bool committed,
                        unsigned index)
{
	(void)hooks;
	(void)at;
	(void)size;
	(void)committed;
	(void)index;
	return true;
}

static bool hook_split(extent_hooks_t *hooks, void *at, size_t size, size_t a, size_t b,
                       bool committed, unsigned index)
{
	(void)hooks;
	(void)at;
	(void)size;
	(void)a;
	(void)b;
	(void)committed;
	(void)index;
	return false;
}

static bool hook_merge(extent_hooks_t *hooks, void *a, size_t a_size, void *b, size_t b_size,
                       bool committed, unsigned index)
{
	(void)hooks;
	(void)a;
	(void)a_size;
	(void)b;
	(void)b_size;
	(void)committed;
	(void)index;
	return false;
}

static extent_hooks_t hooks = {
	.alloc = hook_alloc,
	.dalloc = hook_dalloc,
	.split = hook_split,
	.merge = hook_merge,
};

static void keep_for_ever(const char *what)
{
	char name[64];
	ssize_t never = -1;
	snprintf(name, sizeof name, "arena.%u.%s_decay_ms", arena, what);
	if (mallctl(name, NULL, NULL, &never, sizeof never))
		bench_die("jemalloc refuses %s", name);
}

static void open_arena(void)
{
	extent_hooks_t *given = &hooks;
	size_t size = sizeof arena;
	region = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
	              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (region == MAP_FAILED)
		bench_die("no addresses");
	if (mallctl("arenas.create", &arena, &size, &given, sizeof given))
		bench_die("no arena");
	keep_for_ever("dirty");
	keep_for_ever("muzzy");
}

static void *alloc_thread_begin(void)
{
	unsigned *cache = bench_alloc(sizeof *cache);
	size_t size = sizeof *cache;
	if (mallctl("tcache.create", cache, &size, NULL, 0))
		bench_die("no thread cache");
	return cache;
}

static void alloc_thread_end(void *own)
{
	mallctl("tcache.destroy", NULL, NULL, own, sizeof(unsigned));
	free(own);
}

static void *alloc_take(void *own, size_t size, uint64_t *handle)
{
	void *p = mallocx(size,
	                  MALLOCX_ARENA(arena) | MALLOCX_TCACHE(*(unsigned *)own) |
	                          MALLOCX_ALIGN(BENCH_LINE_BYTES));
	*handle = (uintptr_t)p;
	return p;
}

static void alloc_give(void *own, size_t size, uint64_t handle)
{
	sdallocx((void *)(uintptr_t)handle, size,
	         MALLOCX_TCACHE(*(unsigned *)own) | MALLOCX_ALIGN(BENCH_LINE_BYTES));
}

int main(int argc, char **argv)
{
	open_arena();
	return allocs_main(argc, argv);
}
