/*
 * injector.c: the injector, one operation at a time.
 *
 * Goal: order, batch sizes and what happens without memory, around the edges of blocks (63 slots).
 * Method: direct calls from one thread; every length of a batch at every place of the tail.
 */
#include "test.h"

#include <errno.h>

#include "base.h"
#include "injector.h"

#define ITEM(n) ((void *)(uintptr_t)(8 * (n)))
#define MAX     300

static uint32_t drain(struct wf_injector *q, uint32_t first)
{
	void *out[MAX];
	uint32_t n, total = 0;
	while ((n = wf_injector_pop_mt(q, out, MAX)) > 0) {
		for (uint32_t i = 0; i < n; i++)
			cr_assert_eq(out[i], ITEM(first + total + i));
		total += n;
	}
	cr_assert(wf_injector_is_empty_mt(q));
	return total;
}

Test(injector, items_come_in_the_order_they_went_in)
{
	struct wf_injector q;
	void *out;
	cr_assert_eq(wf_injector_init(&q), 0);
	cr_assert(wf_injector_is_empty_mt(&q));
	cr_assert_eq(wf_injector_pop_mt(&q, &out, 1), 0);
	for (uint32_t i = 1; i <= 1000; i++)
		cr_assert_eq(wf_injector_push_mt(&q, ITEM(i)), 0);
	cr_assert_not(wf_injector_is_empty_mt(&q));
	for (uint32_t i = 1; i <= 1000; i++) {
		cr_assert_eq(wf_injector_pop_mt(&q, &out, 1), 1);
		cr_assert_eq(out, ITEM(i));
	}
	cr_assert(wf_injector_is_empty_mt(&q));
	wf_injector_fini(&q);
}

Test(injector, a_batch_is_at_most_half_of_what_is_there)
{
	struct wf_injector q;
	void *out[MAX];
	if (TEST_SHRUNK)
		test_skip("a block is shorter than the batch here");
	cr_assert_eq(wf_injector_init(&q), 0);
	for (uint32_t i = 1; i <= 9; i++)
		cr_assert_eq(wf_injector_push_mt(&q, ITEM(i)), 0);
	cr_assert_eq(wf_injector_pop_mt(&q, out, 0), 0);
	cr_assert_eq(wf_injector_pop_mt(&q, out, MAX), 5);
	cr_assert_eq(out[4], ITEM(5));
	cr_assert_eq(wf_injector_pop_mt(&q, out, 1), 1);
	cr_assert_eq(wf_injector_pop_mt(&q, out, MAX), 2);
	cr_assert_eq(wf_injector_pop_mt(&q, out, MAX), 1);
	cr_assert_eq(out[0], ITEM(9));
	cr_assert_eq(wf_injector_pop_mt(&q, out, MAX), 0);
	wf_injector_fini(&q);
}

Test(injector, batches_of_any_length_from_any_place)
{
	static void *items[MAX];
	for (uint32_t place = 0; place < 64; place++) {
		for (uint32_t n = 0; n < 200; n += 1 + n / 70) {
			struct wf_injector q;
			cr_assert_eq(wf_injector_init(&q), 0);
			for (uint32_t i = 1; i <= place; i++)
				cr_assert_eq(wf_injector_push_mt(&q, ITEM(i)), 0);
			for (uint32_t i = 0; i < n; i++)
				items[i] = ITEM(place + 1 + i);
			cr_assert_eq(wf_injector_push_many_mt(&q, items, n), 0);
			cr_assert_eq(wf_injector_push_mt(&q, ITEM(place + n + 1)), 0);
			cr_assert_eq(drain(&q, 1), place + n + 1);
			wf_injector_fini(&q);
		}
	}
}

Test(injector, without_memory_a_push_leaves_the_queue_as_it_was)
{
	static void *items[MAX];
	struct wf_injector q;
	if (TEST_SHRUNK)
		test_skip("blocks have another length here");
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_eq(wf_injector_init(&q), -ENOMEM);
	wf_fault_arm(WF_FAULT_MALLOC, 0);
	for (uint32_t i = 0; i < MAX; i++)
		items[i] = ITEM(63 + i);
	/* 62 items stand in the first block: the next one needs the second block. */
	for (uint64_t nth = 1; nth <= 4; nth++) {
		cr_assert_eq(wf_injector_init(&q), 0);
		for (uint32_t i = 1; i <= 62; i++)
			cr_assert_eq(wf_injector_push_mt(&q, ITEM(i)), 0);
		wf_fault_arm(WF_FAULT_MALLOC, 1);
		cr_assert_eq(wf_injector_push_mt(&q, ITEM(63)), -ENOMEM);
		cr_assert(wf_fault_fired());
		/* 200 items: four blocks, the nth of which fails. */
		wf_fault_arm(WF_FAULT_MALLOC, nth);
		cr_assert_eq(wf_injector_push_many_mt(&q, items, 200), -ENOMEM);
		cr_assert(wf_fault_fired());
		wf_fault_arm(WF_FAULT_MALLOC, 0);
		cr_assert_eq(wf_injector_push_many_mt(&q, items, 200), 0);
		cr_assert_eq(drain(&q, 1), 262);
		wf_injector_fini(&q);
	}
}

Test(injector, fini_frees_what_is_left_and_takes_zeroes)
{
	struct wf_injector q = { 0 };
	wf_injector_fini(&q);
	cr_assert_eq(wf_injector_init(&q), 0);
	for (uint32_t i = 1; i <= 500; i++)
		cr_assert_eq(wf_injector_push_mt(&q, ITEM(i)), 0);
	wf_injector_fini(&q);
	wf_injector_fini(&q);
}
