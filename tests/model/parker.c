/*
 * parker.c: the parker under every schedule of a few parks and unparks.
 *
 * Goal: no wake-up is lost, tokens do not add up, a token that races a deadline is neither lost
 * nor taken twice, exactly the unpark that met a sleeper says so. Method: two or three threads;
 * the explorer's futex may return without a wake, and a wait with a deadline may time out at any
 * point. A lost wake-up shows as a deadlock.
 */
#include <errno.h>

#include "base.h"
#include "explore.h"
#include "parker.h"

static struct wf_parker parker;
static struct wf_a32 flags;
static bool parked_now; /* the owner is inside park */
static uint32_t tokens_taken;
static uint32_t timeouts;
static uint32_t unparks_returned;

static void setup(void)
{
	wf_parker_init(&parker);
	wf_init(&flags, 0);
	parked_now = false;
	tokens_taken = timeouts = unparks_returned = 0;
	explore_spurious_wakes(1);
}

static int park(int64_t until_ns)
{
	parked_now = true;
	int rc = wf_parker_park(&parker, until_ns);
	parked_now = false;
	EXPLORE_CHECK(rc == 0 || (rc == -ETIMEDOUT && until_ns != WF_FOREVER));
	tokens_taken += rc == 0;
	timeouts += rc != 0;
	return rc;
}

static void unpark(void)
{
	bool parked_before = parked_now;
	if (wf_parker_unpark_mt(&parker)) {
		/* The owner is, or was since, inside park. */
		EXPLORE_CHECK(parked_before || parked_now || tokens_taken > 0 || timeouts > 0);
	}
	unparks_returned++;
}

/* A condition, then an unpark: the owner always gets to see the condition. */
static void condition_thread(uint32_t i)
{
	if (i > 0) {
		wf_add_release(&flags, 1);
		unpark();
		return;
	}
	while (wf_load_acquire(&flags) < 2)
		park(WF_FOREVER);
}

static void condition_check(void)
{
	EXPLORE_CHECK(wf_load_relaxed(&flags) == 2);
	EXPLORE_CHECK(tokens_taken <= 2);
	/* What is left is a token or nothing, never "asleep". */
	EXPLORE_CHECK(wf_load_relaxed(&parker.state) != WF_PARKER_ASLEEP);
}

/* One park per unpark, in turns, by a second word: no token is left over or missing. */
static void turns_thread(uint32_t i)
{
	if (i == 1) {
		unpark();
		while (wf_load_acquire(&flags) == 0)
			explore_yield();
		unpark();
		return;
	}
	EXPLORE_CHECK(park(WF_FOREVER) == 0);
	wf_store_release(&flags, 1);
	EXPLORE_CHECK(park(WF_FOREVER) == 0);
}

static void turns_check(void)
{
	EXPLORE_CHECK(tokens_taken == 2 && unparks_returned == 2);
	EXPLORE_CHECK(wf_load_relaxed(&parker.state) == WF_PARKER_EMPTY);
}

/* A deadline races one unpark: the token is taken now or still there for the next park. */
static void deadline_thread(uint32_t i)
{
	if (i == 1) {
		unpark();
		return;
	}
	if (park(1) != 0)
		EXPLORE_CHECK(park(WF_FOREVER) == 0);
}

static void deadline_check(void)
{
	EXPLORE_CHECK(tokens_taken == 1 && timeouts <= 1);
	EXPLORE_CHECK(wf_load_relaxed(&parker.state) == WF_PARKER_EMPTY);
}

/* Two unparks before, during or after two timed parks: one or two tokens, none invented. */
static void merge_thread(uint32_t i)
{
	if (i > 0) {
		unpark();
		return;
	}
	park(1);
	park(1);
}

static void merge_check(void)
{
	uint32_t left = wf_load_relaxed(&parker.state) == WF_PARKER_TOKEN;
	EXPLORE_CHECK(wf_load_relaxed(&parker.state) != WF_PARKER_ASLEEP);
	EXPLORE_CHECK(tokens_taken + left >= 1 && tokens_taken + left <= 2);
	EXPLORE_CHECK(tokens_taken + timeouts == 2);
}

static const struct explore scenarios[] = {
	{ "condition", 3, setup, condition_thread, condition_check },
	{ "turns", 2, setup, turns_thread, turns_check },
	{ "deadline", 2, setup, deadline_thread, deadline_check },
	{ "merge", 3, setup, merge_thread, merge_check },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
