/*
 * Goal: the real clock is CLOCK_MONOTONIC and does not go back, a virtual one moves only when it is
 * moved and never back, and ticks convert to microseconds.
 * Method: direct calls; a virtual clock driven by four threads; the tick rate is compared with the
 * clock over the same interval, so that a busy machine cannot fail the test.
 */
#include <pthread.h>
#include <time.h>

#include "base.h"
#include "test.h"

Test(clock, real_time_is_the_monotonic_clock)
{
	struct timespec before, after;
	struct wf_clock real;
	int64_t now, by_clock;

	wf_clock_init(&real, false);
	clock_gettime(CLOCK_MONOTONIC, &before);
	now = wf_clock_now(NULL);
	by_clock = wf_clock_now(&real);
	clock_gettime(CLOCK_MONOTONIC, &after);
	cr_assert_geq(now, before.tv_sec * 1000000000ll + before.tv_nsec);
	cr_assert_geq(by_clock, now);
	cr_assert_leq(by_clock, after.tv_sec * 1000000000ll + after.tv_nsec);
}

Test(clock, virtual_time_moves_only_when_it_is_moved)
{
	struct wf_clock clock;
	int64_t start;

	wf_clock_init(&clock, true);
	start = wf_clock_now(&clock);
	cr_assert_gt(start, 0, "0 means poll as a deadline");
	cr_assert_eq(wf_clock_now(&clock), start);
	wf_clock_advance(&clock, 5000);
	cr_assert_eq(wf_clock_now(&clock), 5000);
	wf_clock_advance(&clock, 4000);
	cr_assert_eq(wf_clock_now(&clock), 5000);
}

#define STEPS 2000

static struct wf_clock shared;

static void *drive(void *arg)
{
	int64_t offset = *(int64_t *)arg, last = 0;

	for (int64_t i = 0; i < STEPS; i++) {
		wf_clock_advance(&shared, i * 4 + offset);
		cr_assert_geq(wf_clock_now(&shared), i * 4 + offset);
		cr_assert_geq(wf_clock_now(&shared), last);
		last = wf_clock_now(&shared);
	}
	return NULL;
}

Test(clock, the_furthest_of_several_drivers_wins)
{
	int64_t offsets[4] = { 0, 1, 2, 3 };
	pthread_t threads[4];

	wf_clock_init(&shared, true);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, drive, &offsets[i]), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wf_clock_now(&shared), (STEPS - 1) * 4 + 3);
}

Test(clock, a_real_clock_cannot_be_moved, .signal = SIGABRT)
{
	struct wf_clock clock;

	wf_clock_init(&clock, false);
	wf_clock_advance(&clock, 1);
}

Test(clock, the_tick_rate_is_calibrated_once)
{
	uint64_t rate = wf_ticks_per_us();

	cr_assert_geq(rate, 1);
	cr_assert_eq(wf_ticks_per_us(), rate);
}

Test(clock, ticks_agree_with_the_clock)
{
	uint64_t rate = wf_ticks_per_us();
	bool agreed = false;

	/* One undisturbed interval of twenty is enough; a wrong rate disagrees in all. */
	for (int i = 0; i < 20 && !agreed; i++) {
		int64_t start = wf_clock_now(NULL), end;
		uint64_t ticks = wf_ticks(), us;

		do {
			end = wf_clock_now(NULL);
		} while (end - start < 500000);
		us = (wf_ticks() - ticks) / rate;
		agreed = us >= (uint64_t)(end - start) / 1000 / 2 &&
			us <= (uint64_t)(end - start) / 1000 * 2;
	}
	cr_assert(agreed);
}
