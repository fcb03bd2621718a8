/*
 * deque.c: the split deque, one operation at a time.
 *
 * Goal: who gets what and in which order, in both modes, at every place the indices wrap, when
 * rings grow and when they cannot. Method: direct calls from one thread, which plays owner and
 * thief in turn, and a long random run against a plain array.
 */
#include "test.h"

#include <errno.h>

#include "base.h"
#include "deque.h"
#include "seed.h"

/* Any non-NULL pointers will do; a deque never looks behind them. */
#define ITEM(n) ((void *)(uintptr_t)(8 * (n)))
#define MAX     64

static const uint32_t starts[] = {
	0, 1, UINT32_C(0x7ffffffd), UINT32_C(0x80000000), UINT32_C(0xfffffffc), UINT32_MAX
};
#define STARTS (sizeof starts / sizeof starts[0])

static void begin(struct wf_deque *d, uint32_t log2, bool asymmetric, uint32_t start)
{
	cr_assert_eq(wf_deque_init(d, log2, asymmetric), 0);
	wf_init(&d->bottom, start);
	wf_init(&d->word, (uint64_t)(start & WF_DEQUE_TAIL_MASK) << 32 | start);
	d->limit = start + d->mask + 1;
	wf_init(&d->slots[(start - 1) & d->mask], 0);
}

static void push_n(struct wf_deque *d, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(wf_deque_push_local(d, ITEM(first + i)), 0);
}

Test(deque, owner_gets_the_newest_first)
{
	for (size_t s = 0; s < 2 * STARTS; s++) {
		struct wf_deque d;
		begin(&d, 1, s % 2, starts[s / 2]);
		cr_assert_null(wf_deque_pop_local(&d));
		push_n(&d, 1, 20);
		cr_assert_eq(wf_deque_count_mt(&d), 20);
		for (uint32_t i = 20; i > 0; i--)
			cr_assert_eq(wf_deque_pop_local(&d), ITEM(i));
		cr_assert_null(wf_deque_pop_local(&d));
		cr_assert_eq(wf_deque_count_mt(&d), 0);
		wf_deque_fini(&d);
	}
}

Test(deque, thief_gets_half_of_the_public_part_oldest_first)
{
	for (size_t s = 0; s < 2 * STARTS; s++) {
		struct wf_deque d;
		void *out[MAX];
		begin(&d, 2, s % 2, starts[s / 2]);
		push_n(&d, 1, 9);
		wf_deque_expose_local(&d, 9);
		cr_assert_eq(wf_deque_private_count_local(&d), 0);
		cr_assert_eq(wf_deque_steal_mt(&d, out, 0), 0);
		cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 5);
		for (uint32_t i = 0; i < 5; i++)
			cr_assert_eq(out[i], ITEM(1 + i));
		cr_assert_eq(wf_deque_steal_mt(&d, out, 1), 1);
		cr_assert_eq(out[0], ITEM(6));
		cr_assert_eq(wf_deque_pop_local(&d), ITEM(9));
		cr_assert_eq(wf_deque_pop_local(&d), ITEM(8));
		cr_assert_eq(wf_deque_pop_local(&d), ITEM(7));
		cr_assert_null(wf_deque_pop_local(&d));
		cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 0);
		wf_deque_fini(&d);
	}
}

Test(deque, private_items_cannot_be_stolen_before_they_are_exposed)
{
	struct wf_deque d;
	void *out[MAX];
	begin(&d, 2, true, 0);
	push_n(&d, 1, 4);
	cr_assert_not(wf_deque_has_public(&d));
	cr_assert_eq(wf_deque_private_count_local(&d), 4);
	cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 0);
	wf_deque_expose_local(&d, 0);
	cr_assert_not(wf_deque_has_public(&d));
	wf_deque_expose_local(&d, 1);
	cr_assert(wf_deque_has_public(&d));
	cr_assert_eq(wf_deque_private_count_local(&d), 3);
	wf_deque_expose_local(&d, 100);
	cr_assert_eq(wf_deque_private_count_local(&d), 0);
	wf_deque_fini(&d);
}

Test(deque, without_asymmetry_every_push_is_public)
{
	struct wf_deque d;
	begin(&d, 2, false, 0);
	push_n(&d, 1, 3);
	cr_assert_eq(wf_deque_private_count_local(&d), 0);
	cr_assert(wf_deque_has_public(&d));
	wf_deque_ask_mt(&d);
	cr_assert_not(wf_deque_force_mt(&d));
	cr_assert_not(wf_deque_remove_local(&d, ITEM(2), 8));
	cr_assert_eq(wf_deque_pop_local(&d), ITEM(3));
	cr_assert(wf_deque_take_local(&d, ITEM(2)));
	cr_assert_not(wf_deque_take_local(&d, ITEM(2)));
	cr_assert(wf_deque_take_local(&d, ITEM(1)));
	wf_deque_fini(&d);
}

Test(deque, a_request_is_answered_by_the_next_push_pop_or_take)
{
	for (int how = 0; how < 4; how++) {
		struct wf_deque d;
		void *out[MAX];
		begin(&d, 3, true, 0);
		push_n(&d, 1, 5);
		if (how == 3) /* a pop of a public item answers too */
			wf_deque_expose_local(&d, 5);
		wf_deque_ask_mt(&d);
		if (how == 0)
			push_n(&d, 6, 1);
		else if (how == 1)
			cr_assert_eq(wf_deque_pop_local(&d), ITEM(5));
		else if (how == 2)
			cr_assert(wf_deque_take_local(&d, ITEM(5)));
		else
			cr_assert_eq(wf_deque_pop_local(&d), ITEM(5));
		cr_assert(wf_deque_has_public(&d));
		/* Half of six or four, rounded up; the reclaim left two public and two private. */
		uint32_t left[] = { 3, 2, 2, 1 };
		cr_assert_eq(wf_deque_private_count_local(&d), left[how]);
		cr_assert_gt(wf_deque_steal_mt(&d, out, MAX), 0);
		cr_assert_eq(out[0], ITEM(1));
		wf_deque_fini(&d);
	}
}

Test(deque, a_request_on_an_empty_deque_waits_for_the_first_push)
{
	struct wf_deque d;
	void *out[MAX];
	begin(&d, 3, true, 0);
	wf_deque_ask_mt(&d);
	cr_assert_null(wf_deque_pop_local(&d));
	push_n(&d, 1, 1);
	cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 1);
	push_n(&d, 2, 1);
	cr_assert_not(wf_deque_has_public(&d), "one request is answered once");
	wf_deque_fini(&d);
}

Test(deque, take_takes_only_the_newest)
{
	for (size_t s = 0; s < 3 * STARTS; s++) {
		struct wf_deque d;
		begin(&d, 2, s % 3 != 0, starts[s / 3]);
		cr_assert_not(wf_deque_take_local(&d, ITEM(1)));
		push_n(&d, 1, 3);
		if (s % 3 == 1)
			wf_deque_expose_local(&d, 3);
		cr_assert_not(wf_deque_take_local(&d, ITEM(2)));
		cr_assert(wf_deque_take_local(&d, ITEM(3)));
		cr_assert_not(wf_deque_take_local(&d, ITEM(3)), "the slot still says so");
		cr_assert(wf_deque_take_local(&d, ITEM(2)));
		cr_assert(wf_deque_take_local(&d, ITEM(1)));
		cr_assert_not(wf_deque_take_local(&d, ITEM(1)));
		cr_assert_eq(wf_deque_count_mt(&d), 0);
		wf_deque_fini(&d);
	}
}

Test(deque, holes_are_skipped_by_everybody)
{
	struct wf_deque d;
	void *out[MAX];
	begin(&d, 3, true, UINT32_MAX - 2);
	push_n(&d, 1, 6);
	cr_assert_not(wf_deque_remove_local(&d, ITEM(4), 2), "too deep");
	cr_assert(wf_deque_remove_local(&d, ITEM(4), 3));
	cr_assert_not(wf_deque_remove_local(&d, ITEM(4), 8), "gone");
	cr_assert(wf_deque_remove_local(&d, ITEM(5), 8));
	cr_assert(wf_deque_remove_local(&d, ITEM(1), 8));
	cr_assert(wf_deque_take_local(&d, ITEM(6)));
	cr_assert(wf_deque_take_local(&d, ITEM(3)), "two holes were on top");
	wf_deque_expose_local(&d, 8);
	cr_assert_eq(wf_deque_steal_mt(&d, out, 1), 1, "the first one is a hole");
	cr_assert_eq(out[0], ITEM(2));
	cr_assert_null(wf_deque_pop_local(&d));
	push_n(&d, 7, 2);
	cr_assert(wf_deque_remove_local(&d, ITEM(8), 1), "the newest leaves no hole");
	cr_assert_eq(wf_deque_count_mt(&d), 1);
	cr_assert(wf_deque_remove_local(&d, ITEM(7), 1));
	push_n(&d, 9, 2);
	cr_assert(wf_deque_remove_local(&d, ITEM(9), 2));
	wf_deque_expose_local(&d, 2);
	cr_assert_eq(wf_deque_pop_local(&d), ITEM(10));
	cr_assert_null(wf_deque_pop_local(&d), "only a public hole is left");
	wf_deque_fini(&d);
}

Test(deque, a_forced_owner_loses_half_of_its_private_part)
{
	struct wf_deque d;
	void *out[MAX];
	if (!wf_membarrier_available())
		test_skip("no membarrier");
	begin(&d, 3, true, UINT32_MAX);
	cr_assert_not(wf_deque_force_mt(&d), "nothing there");
	push_n(&d, 1, 5);
	cr_assert(wf_deque_force_mt(&d));
	cr_assert(wf_deque_force_mt(&d), "something is public already");
	cr_assert_eq(wf_deque_private_count_local(&d), 2);
	cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 2);
	wf_init(&d.forcing, 1);
	cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 1);
	cr_assert_not(wf_deque_force_mt(&d), "another thief is at it");
	wf_init(&d.forcing, 0);
	wf_deque_fini(&d);
}

/* What a forcing thief leaves when it is suspended in the middle. */
Test(deque, the_owner_does_not_wait_for_a_tentative_word)
{
	for (int how = 0; how < 4; how++) {
		struct wf_deque d;
		void *out[MAX];
		begin(&d, 3, true, 0);
		push_n(&d, 1, 4);
		wf_init(&d.word, WF_DEQUE_TENTATIVE | 3);
		cr_assert_not(wf_deque_has_public(&d));
		cr_assert_eq(wf_deque_steal_mt(&d, out, MAX), 0);
		cr_assert_eq(wf_deque_private_count_local(&d), 4);
		cr_assert_eq(wf_deque_pop_local(&d), ITEM(4));
		if (how == 0)
			cr_assert_eq(wf_deque_pop_local(&d), ITEM(3));
		else if (how == 1)
			cr_assert(wf_deque_take_local(&d, ITEM(3)));
		else if (how == 2)
			cr_assert(wf_deque_remove_local(&d, ITEM(2), 8));
		else
			wf_deque_expose_local(&d, 1);
		cr_assert_eq(wf_load_relaxed(&d.word), how == 3 ? 1 : 0);
		wf_deque_fini(&d);
	}
}

Test(deque, a_full_ring_that_cannot_grow_refuses_and_changes_nothing)
{
	for (int asymmetric = 0; asymmetric < 2; asymmetric++) {
		struct wf_deque d;
		void *out[MAX];
		begin(&d, 2, asymmetric, 7);
		push_n(&d, 1, 4);
		wf_fault_arm(WF_FAULT_MALLOC, 1);
		cr_assert_eq(wf_deque_push_local(&d, ITEM(5)), -ENOMEM);
		cr_assert(wf_fault_fired());
		wf_fault_arm(WF_FAULT_MALLOC, 0);
		cr_assert_eq(wf_deque_count_mt(&d), 4);
		wf_deque_expose_local(&d, 1);
		cr_assert_geq(wf_deque_steal_mt(&d, out, 1), 1);
		wf_fault_arm(WF_FAULT_MALLOC, 1);
		push_n(&d, 5, 1); /* the slot that was stolen is free: no allocation */
		cr_assert_not(wf_fault_fired());
		wf_fault_arm(WF_FAULT_MALLOC, 0);
		push_n(&d, 6, 1);
		for (uint32_t i = 6; i > 1; i--)
			cr_assert_eq(wf_deque_pop_local(&d), ITEM(i));
		cr_assert_null(wf_deque_pop_local(&d));
		wf_deque_fini(&d);
	}
}

Test(deque, without_memory_to_take_items_back_the_owner_gets_the_oldest)
{
	struct wf_deque d;
	begin(&d, 2, true, 0);
	push_n(&d, 1, 4);
	wf_deque_expose_local(&d, 4);
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_not(wf_deque_take_local(&d, ITEM(4)));
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_eq(wf_deque_pop_local(&d), ITEM(1));
	wf_fault_arm(WF_FAULT_MALLOC, 0);
	cr_assert_eq(wf_deque_pop_local(&d), ITEM(4));
	wf_deque_fini(&d);
}

Test(deque, init_without_memory_says_so_and_fini_takes_zeroes)
{
	struct wf_deque d = { 0 };
	wf_deque_fini(&d);
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_eq(wf_deque_init(&d, 4, true), -ENOMEM);
	wf_fault_arm(WF_FAULT_MALLOC, 0);
	wf_deque_fini(&d);
	cr_assert_null(d.rings);
}

/* A random run against an array: [first, last) are the items, holes left out. */
static void random_run(struct wf_random *random, bool asymmetric, uint32_t start)
{
	static uint32_t list[100000];
	uint32_t first = 0, last = 0, next = 1;
	struct wf_deque d;
	void *out[MAX];
	begin(&d, 1, asymmetric, start);
	for (int step = 0; step < 20000; step++) {
		uint32_t n;
		switch (wf_random_below(random, 6)) {
		case 0:
		case 1:
			for (n = wf_random_below(random, 6); n > 0; n--) {
				push_n(&d, next, 1);
				list[last++] = next++;
			}
			break;
		case 2: {
			void *got = wf_deque_pop_local(&d);
			cr_assert_eq(got, last > first ? ITEM(list[--last]) : NULL);
			break;
		}
		case 3:
			n = wf_deque_steal_mt(&d, out, 1 + wf_random_below(random, 8));
			for (uint32_t i = 0; i < n; i++)
				cr_assert_eq(out[i], ITEM(list[first++]));
			break;
		case 4:
			wf_deque_expose_local(&d, wf_random_below(random, 4));
			if (wf_random_below(random, 4) == 0)
				wf_deque_ask_mt(&d);
			break;
		case 5:
			if (last > first && wf_random_below(random, 2) == 0) {
				cr_assert(wf_deque_take_local(&d, ITEM(list[--last])));
				break;
			}
			n = last > first ? wf_random_below(random, last - first) : 0;
			if (last > first &&
			    wf_deque_remove_local(&d, ITEM(list[last - 1 - n]), 8)) {
				for (uint32_t i = last - 1 - n; i + 1 < last; i++)
					list[i] = list[i + 1];
				last--;
			}
			break;
		}
		cr_assert_geq(wf_deque_count_mt(&d), last - first);
	}
	while (last > first)
		cr_assert_eq(wf_deque_pop_local(&d), ITEM(list[--last]));
	cr_assert_null(wf_deque_pop_local(&d));
	wf_deque_fini(&d);
}

Test(deque, random_operations_agree_with_an_array)
{
	struct wf_random random;
	wf_random_init(&random, test_seed());
	for (size_t s = 0; s < 2 * STARTS; s++)
		random_run(&random, s % 2, starts[s / 2]);
}
