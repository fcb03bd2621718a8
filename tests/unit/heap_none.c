/*
 * Goal: in a process without jemalloc the cold heap is malloc: it says so, and keeps alignment,
 * size 0 and the fault point.
 * Method: this program links no jemalloc (one that is preloaded all the same is skipped).
 */
#include <dlfcn.h>
#include <string.h>

#include "base.h"
#include "test.h"

Test(heap_none, is_malloc)
{
	if (dlsym(RTLD_DEFAULT, "mallocx") != NULL)
		return;
	cr_assert_str_eq(wf_node_heap(), "malloc");
}

Test(heap_none, blocks_of_any_node_are_aligned_and_writable)
{
	for (uint32_t node = 0; node < WF_NODES_MAX; node += 9) {
		for (size_t align = 1; align <= 4096; align *= 2) {
			char *p = wf_node_alloc(node, align, 1000);

			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % align, 0);
			memset(p, 1, 1000);
			wf_node_free(p);
		}
	}
	void *empty = wf_node_alloc(0, 8, 0);

	cr_assert_not_null(empty);
	wf_node_free(empty);
	wf_node_free(NULL);
}

Test(heap_none, passes_a_fault_point)
{
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_null(wf_node_alloc(0, 8, 100));
	cr_assert(wf_fault_fired());
	wf_fault_arm(WF_FAULT_MALLOC, 0);
}

Test(heap_none, a_node_that_cannot_be_dies, .signal = SIGABRT)
{
	(void)wf_node_alloc(WF_NODES_MAX, 8, 8);
}
