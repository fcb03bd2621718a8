/*
 * glibc.c: the C library's malloc() and free() on the rows store_alloc_*, with all its defaults.
 */
#include "allocs.h"

static void *alloc_thread_begin(void)
{
	return NULL;
}

static void alloc_thread_end(void *own)
{
	(void)own;
}

static void *alloc_take(void *own, size_t size, uint64_t *handle)
{
	void *p = malloc(size);
	(void)own;
	*handle = (uintptr_t)p;
	return p;
}

static void alloc_give(void *own, size_t size, uint64_t handle)
{
	(void)own;
	(void)size;
	free((void *)(uintptr_t)handle);
}

int main(int argc, char **argv)
{
	return allocs_main(argc, argv);
}
