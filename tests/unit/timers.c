/*
 * timers.c: the heap of waits with a deadline.
 *
 * Goal: whatever was added and removed, exactly those waits fire whose time has come, once, and
 * the heap is a heap. Method: a runtime without workers on a virtual clock, so that nobody but
 * the test fires; a plain array of deadlines as oracle.
 */
#include "test.h"

#include <errno.h>
#include <string.h>

#include "runtime.h"
#include "seed.h"

#define WAITS 500

static weft *rt;
static struct wf_wait waits[WAITS];

static void begin(void)
{
	cr_assert_eq(
		weft_open(&rt,
	                  WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS | WEFT_OPEN_VIRTUAL_CLOCK)),
		0);
}

static void end(void)
{
	wf_fault_arm(-1, 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

/* A host thread's wait: what wakes it is its futex word. */
static void prepare(struct wf_wait *wait, int64_t until)
{
	*wait = (struct wf_wait){ .rt = rt, .timer = { .until = until } };
	wf_init(&wait->need, 1);
}

static bool in_heap(const struct wf_wait *wait)
{
	return wait->timer.heap_index != 0;
}

static bool has_fired(const struct wf_wait *wait)
{
	uint32_t phase = wf_load_acquire(&wait->phase);

	if (phase < WF_WAIT_FIRED)
		return false;
	cr_assert_eq(phase >> 8, WF_WAKE_TIMEOUT);
	cr_assert_eq(wf_load_acquire(&wait->futex), 1);
	return true;
}

static void check_heap(uint32_t count)
{
	cr_assert_eq(rt->timer_count, count);
	for (uint32_t i = 1; i <= rt->timer_count; i++) {
		cr_assert_eq(rt->timer_heap[i]->heap_index, i);
		if (i > 1)
			cr_assert_leq(rt->timer_heap[i / 2]->until, rt->timer_heap[i]->until);
	}
}

Test(timers, exactly_those_whose_time_has_come_fire, .init = begin, .fini = end)
{
	for (uint32_t i = 0; i < 10; i++) {
		prepare(&waits[i], 100 + 10 * (int64_t)((i * 7) % 10));
		cr_assert_eq(wf_timer_add(&waits[i]), 0);
		cr_assert(waits[i].timed);
	}
	check_heap(10);
	wf_timers_fire(rt, 99);
	check_heap(10);
	wf_timers_fire(rt, 100);
	check_heap(9);
	wf_timers_fire(rt, 155);
	check_heap(4);
	for (uint32_t i = 0; i < 10; i++) {
		cr_assert_eq(has_fired(&waits[i]), waits[i].timer.until <= 155);
		cr_assert_eq(in_heap(&waits[i]), waits[i].timer.until > 155);
	}
	wf_timers_fire(rt, 1000);
	check_heap(0);
}

Test(timers, removing_what_has_fired_or_was_removed_does_nothing, .init = begin, .fini = end)
{
	for (uint32_t i = 0; i < 3; i++) {
		prepare(&waits[i], 10 + i);
		cr_assert_eq(wf_timer_add(&waits[i]), 0);
	}
	wf_timers_fire(rt, 10);
	wf_timer_remove(&waits[0]);
	check_heap(2);
	wf_timer_remove(&waits[1]);
	wf_timer_remove(&waits[1]);
	check_heap(1);
	cr_assert_not(has_fired(&waits[1]));
	wf_timers_fire(rt, 100);
	cr_assert_not(has_fired(&waits[1]));
	cr_assert(has_fired(&waits[2]));
}

Test(timers, a_wait_that_ended_otherwise_is_not_ended_again, .init = begin, .fini = end)
{
	struct wf_local *self = wf_local_of(rt);

	prepare(&waits[0], 10);
	cr_assert_eq(wf_timer_add(&waits[0]), 0);
	cr_assert(wf_wait_wake(&waits[0], WF_WAKE_CANCEL, self));
	wf_timers_fire(rt, 10);
	check_heap(0);
	cr_assert_eq(wf_load_acquire(&waits[0].phase) >> 8, WF_WAKE_CANCEL);
	cr_assert_not(wf_wait_wake(&waits[0], WF_WAKE_READY, self));
}

Test(timers, the_clock_fires_them, .init = begin, .fini = end)
{
	int64_t now = weft_now(rt);

	prepare(&waits[0], now + 50);
	prepare(&waits[1], now + 51);
	cr_assert_eq(wf_timer_add(&waits[0]), 0);
	cr_assert_eq(wf_timer_add(&waits[1]), 0);
	cr_assert_eq(weft_clock_advance(rt, 49), 0);
	check_heap(2);
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	cr_assert(has_fired(&waits[0]));
	cr_assert_not(has_fired(&waits[1]));
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	cr_assert(has_fired(&waits[1]));
}

Test(timers, without_memory_to_grow_nothing_changes, .init = begin, .fini = end)
{
	uint32_t n = 0;

	wf_fault_arm(WF_FAULT_MALLOC, 1);
	prepare(&waits[0], 5);
	cr_assert_eq(wf_timer_add(&waits[0]), -ENOMEM);
	cr_assert_not(in_heap(&waits[0]));
	cr_assert_not(waits[0].timed);
	check_heap(0);
	while (n == 0 || n < rt->timer_room) {
		prepare(&waits[n], 10000 - (int64_t)n);
		cr_assert_eq(wf_timer_add(&waits[n++]), 0);
	}
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	prepare(&waits[n], weft_now(rt) + 1);
	cr_assert_eq(wf_timer_add(&waits[n]), -ENOMEM);
	check_heap(n);
	wf_fault_arm(-1, 0);
	cr_assert_eq(wf_timer_add(&waits[n]), 0);
	check_heap(n + 1);
	cr_assert_eq(rt->timer_heap[1], &waits[n].timer);
	wf_timers_fire(rt, 10000);
	check_heap(0);
	for (uint32_t i = 0; i <= n; i++)
		cr_assert(has_fired(&waits[i]));
}

/* Deadlines from a narrow range: many are equal. */
Test(timers, any_order_of_adding_and_removing_keeps_the_heap, .init = begin, .fini = end)
{
	static bool waiting[WAITS];
	struct wf_random random;
	uint32_t count = 0;
	int64_t now = weft_now(rt);

	memset(waiting, 0, sizeof(waiting));
	wf_random_init(&random, test_seed());
	for (uint32_t step = 0; step < 20000; step++) {
		uint32_t i = wf_random_below(&random, WAITS);

		if (!waiting[i]) {
			prepare(&waits[i], now + 1 + wf_random_below(&random, 300));
			cr_assert_eq(wf_timer_add(&waits[i]), 0);
			waiting[i] = true;
			count++;
		} else if (wf_random_below(&random, 4)) {
			wf_timer_remove(&waits[i]);
			cr_assert_not(in_heap(&waits[i]));
			cr_assert_not(has_fired(&waits[i]));
			waiting[i] = false;
			count--;
		} else {
			now += wf_random_below(&random, 30);
			wf_timers_fire(rt, now);
			for (uint32_t k = 0; k < WAITS; k++) {
				if (!waiting[k])
					continue;
				cr_assert_eq(has_fired(&waits[k]), waits[k].timer.until <= now);
				cr_assert_neq(has_fired(&waits[k]), in_heap(&waits[k]));
				waiting[k] = in_heap(&waits[k]);
				count -= !waiting[k];
			}
		}
		if (step % 16 == 0)
			check_heap(count);
	}
	wf_timers_fire(rt, INT64_MAX - 1);
	check_heap(0);
}
