/*
 * memory.c: the heap and anonymous mappings, behind fault points.
 *
 * Every allocation of the engine comes through here, so that a test can fail each one in turn. The
 * heap is the embedder's malloc: a library must not bring its own.
 */
#include "base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of <linux/mempolicy.h>, which is not everywhere. */
#define MPOL_PREFERRED_ 1

void *wf_malloc(size_t size)
{
	if (wf_fault(WF_FAULT_MALLOC))
		return NULL;
	/* malloc(0) may be NULL, which would look like a failure. */
	return malloc(size != 0 ? size : 1);
}

void *wf_calloc(size_t count, size_t size)
{
	if (wf_fault(WF_FAULT_MALLOC))
		return NULL;
	if (count == 0 || size == 0)
		return calloc(1, 1);
	return calloc(count, size);
}

void *wf_aligned_alloc(size_t align, size_t size)
{
	size_t rounded;

	WF_CHECK(align != 0 && (align & (align - 1)) == 0);
	if (wf_fault(WF_FAULT_MALLOC))
		return NULL;
	if (size == 0)
		size = 1;
	/* Rounding up may wrap, and a wrapped size would be a small and wrong success. */
	if (__builtin_add_overflow(size, align - 1, &rounded))
		return NULL;
	return aligned_alloc(align, rounded & ~(align - 1));
}

void wf_free(void *p)
{
	free(p);
}

void *wf_map(size_t size, int prot)
{
	void *p;

	WF_CHECK(size > 0);
	if (wf_fault(WF_FAULT_MMAP))
		return NULL;
	p = mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return p != MAP_FAILED ? p : NULL;
}

void wf_unmap(void *p, size_t size)
{
	if (p == NULL)
		return;
	WF_CHECK(size > 0);
	if (munmap(p, size) == 0)
		return;
	/*
	 * Cutting a hole into a mapping makes one mapping more, which the kernel may refuse at the
	 * limit of mappings. A destructor cannot fail: give back the pages, keep the addresses.
	 */
	WF_CHECK(errno == ENOMEM);
	(void)madvise(p, size, MADV_DONTNEED);
}

void wf_memory_near_begin(struct wf_memory_policy *before, uint32_t node)
{
	const struct wf_topology *topo = wf_topology();
	const unsigned long bits = 8 * sizeof(before->nodes);
	unsigned long mask[sizeof(before->nodes) / sizeof(before->nodes[0])] = { 0 };
	uint32_t id;

	WF_CHECK(bits >= 8 * sizeof(long));
	*before = (struct wf_memory_policy){ .changed = false };
	/* One node has it all, and another machine's nodes are none of this one's. */
	if (!topo->bindable || topo->node_count < 2 || node >= topo->node_count)
		return;
	id = topo->node_id[node];
	if (id >= bits || syscall(SYS_get_mempolicy, &before->mode, before->nodes, bits, NULL, 0))
		return;
	mask[id / (8 * sizeof(mask[0]))] = 1ul << id % (8 * sizeof(mask[0]));
	before->changed = syscall(SYS_set_mempolicy, MPOL_PREFERRED_, mask, bits) == 0;
}

void wf_memory_near_end(const struct wf_memory_policy *before)
{
	if (before->changed)
		(void)syscall(SYS_set_mempolicy, before->mode, before->nodes,
		              8 * sizeof(before->nodes));
}
