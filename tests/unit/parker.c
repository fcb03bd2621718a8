/*
 * parker.c: the parker, one operation at a time.
 *
 * Goal: tokens are kept, do not add up, beat deadlines; the unpark that met a sleeper says so.
 * Method: direct calls, and one thread that is seen asleep before it is woken.
 */
#include "test.h"

#include <errno.h>

#include "base.h"
#include "parker.h"

Test(parker, a_token_left_before_the_park_makes_it_return)
{
	struct wf_parker p;
	wf_parker_init(&p);
	cr_assert_not(wf_parker_unpark_mt(&p));
	cr_assert_not(wf_parker_unpark_mt(&p), "tokens do not add up");
	cr_assert_eq(wf_parker_park(&p, WF_FOREVER), 0);
	cr_assert_eq(wf_parker_park(&p, 0), -ETIMEDOUT);
}

Test(parker, a_token_beats_a_deadline_of_the_past)
{
	struct wf_parker p;
	wf_parker_init(&p);
	cr_assert_eq(wf_parker_park(&p, 0), -ETIMEDOUT);
	cr_assert_eq(wf_parker_park(&p, -1), -ETIMEDOUT);
	cr_assert_not(wf_parker_unpark_mt(&p));
	cr_assert_eq(wf_parker_park(&p, 0), 0);
}

Test(parker, a_park_ends_at_its_deadline_and_not_before)
{
	struct wf_parker p;
	wf_parker_init(&p);
	int64_t until = wf_clock_now(NULL) + 2000000;
	cr_assert_eq(wf_parker_park(&p, until), -ETIMEDOUT);
	cr_assert_geq(wf_clock_now(NULL), until);
	cr_assert_not(wf_parker_unpark_mt(&p), "nobody is asleep any more");
}

static void *sleeper(void *arg)
{
	return (void *)(intptr_t)wf_parker_park(arg, WF_FOREVER);
}

Test(parker, the_unpark_that_meets_a_sleeper_says_so)
{
	struct wf_parker p;
	struct wf_thread thread;
	wf_parker_init(&p);
	cr_assert_eq(wf_thread_start(&thread, "sleeper", sleeper, &p), 0);
	while (wf_load_relaxed(&p.state) != WF_PARKER_ASLEEP)
		sched_yield();
	cr_assert(wf_parker_unpark_mt(&p));
	wf_thread_join(&thread);
	cr_assert_eq(wf_load_relaxed(&p.state), WF_PARKER_EMPTY);
}
