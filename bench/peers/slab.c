/*
 * slab.c: the store's own allocator without the object around it: what of a row store_alloc_* is
 * memory, and what entry, accounting and checks. The one program here that is built with an inside
 * of weft; it is a part of weft's figure, not a peer.
 */
#include "allocs.h"
#include "mem.h"

static struct wf_mem *mem;

static void *alloc_thread_begin(void)
{
	struct wf_mem_cache *cache = wf_mem_cache_create(mem, 0);
	if (!cache)
		bench_die("no cache");
	return cache;
}

static void alloc_thread_end(void *own)
{
	wf_mem_cache_destroy(own);
}

static void *alloc_take(void *own, size_t size, uint64_t *handle)
{
	*handle = wf_mem_alloc(mem, own, size);
	return *handle != WF_MEM_NONE ? wf_mem_writable(mem) + *handle : NULL;
}

static void alloc_give(void *own, size_t size, uint64_t handle)
{
	wf_mem_free(mem, own, handle, size);
}

int main(int argc, char **argv)
{
	const struct wf_mem_options options = {
		.limit_bytes = (uint64_t)2 << 30,
		.ahead_bytes = (uint64_t)64 << 20,
		.node_count = 1,
	};
	if (wf_mem_open(&mem, &options))
		bench_die("no store memory");
	const int status = allocs_main(argc, argv);
	wf_mem_close(mem);
	return status;
}
