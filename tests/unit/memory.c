/*
 * Goal: the allocation calls keep their contracts at the edges: size 0, sizes that wrap, alignment,
 * zeroed content, reserved and usable mappings.
 * Method: direct calls; what must fail is asked for and must be refused.
 */
#include <sys/mman.h>

#include "base.h"
#include "test.h"

Test(memory, size_zero_is_a_block)
{
	void *a = wf_malloc(0), *b = wf_calloc(0, 8), *c = wf_calloc(8, 0);
	void *d = wf_aligned_alloc(64, 0);

	cr_assert(a != NULL && b != NULL && c != NULL && d != NULL);
	wf_free(a);
	wf_free(b);
	wf_free(c);
	wf_free(d);
	wf_free(NULL);
}

Test(memory, calloc_is_zeroed)
{
	unsigned char *p = wf_calloc(100, 10);
	int sum = 0;

	cr_assert_not_null(p);
	for (int i = 0; i < 1000; i++)
		sum += p[i];
	cr_assert_eq(sum, 0);
	wf_free(p);
}

Test(memory, alignment_is_kept_for_any_size)
{
	for (size_t align = 8; align <= 4096; align *= 2) {
		for (size_t size = 1; size < 200; size += 33) {
			char *p = wf_aligned_alloc(align, size);

			cr_assert_not_null(p);
			cr_assert_eq((uintptr_t)p % align, 0);
			p[0] = p[size - 1] = 1;
			wf_free(p);
		}
	}
}

Test(memory, a_size_that_wraps_is_refused)
{
	/* Through a volatile, so that the compiler does not judge the size itself. */
	volatile size_t huge = SIZE_MAX;

	cr_assert_null(wf_aligned_alloc(64, huge));
	cr_assert_null(wf_aligned_alloc(64, huge - 62));
	cr_assert_null(wf_map(huge / 2 + 1, PROT_READ));
}

Test(memory, an_alignment_that_is_no_power_of_two_dies, .signal = SIGABRT)
{
	(void)wf_aligned_alloc(48, 48);
}

Test(memory, a_mapping_is_zeroed_and_writable)
{
	size_t size = 1 << 20;
	char *p = wf_map(size, PROT_READ | PROT_WRITE);

	cr_assert_not_null(p);
	cr_assert_eq(p[0] | p[size / 2] | p[size - 1], 0);
	p[0] = p[size - 1] = 1;
	wf_unmap(p, size);
	wf_unmap(NULL, size);
}

Test(memory, a_reservation_is_opened_in_parts)
{
	size_t size = 64u << 20;
	char *p = wf_map(size, 0);

	cr_assert_not_null(p);
	cr_assert_eq(mprotect(p + size / 2, 4096, PROT_READ | PROT_WRITE), 0);
	p[size / 2] = 1;
	wf_unmap(p, size);
}

Test(memory, unmapping_what_is_no_mapping_dies, .signal = SIGABRT)
{
	char *p = wf_map(8192, PROT_READ);

	wf_unmap(p + 1, 4096);
}
