/*
 * clock.c: real or virtual nanoseconds, and what a tick of the processor is worth.
 *
 * A virtual clock stands still until somebody moves it on (wf_clock_advance()): with it and one
 * seed a whole run repeats. Ticks are for spin windows of some microseconds, where clock_gettime()
 * would be a good part of the window.
 *
 * Shared: `ticks_per_us`, written once by whoever calibrates first, read by all; virtual_ns of a
 * clock, written by whoever drives the time, read by all.
 */
#include "base.h"

#include <time.h>

#define NS_PER_S         1000000000ll
#define CALIBRATION_NS   100000
#define CALIBRATION_READ 5

static struct wf_a64 ticks_per_us;

void wf_clock_init(struct wf_clock *clock, bool virtual_time)
{
	clock->virtual_time = virtual_time;
	/* Not 0: an absolute deadline of 0 has a meaning of its own (poll). */
	wf_init(&clock->virtual_ns, 1);
}

int64_t wf_thread_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t wf_clock_now(const struct wf_clock *clock)
{
	struct timespec now;

	if (clock != NULL && clock->virtual_time) {
		/* relaxed: a number that publishes nothing else. */
		return (int64_t)wf_load_relaxed(&clock->virtual_ns);
	}
	WF_CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

void wf_clock_advance(struct wf_clock *clock, int64_t to_ns)
{
	uint64_t seen;

	WF_CHECK(clock->virtual_time);
	WF_CHECK(to_ns >= 0);
	/* relaxed: as in wf_clock_now(); the exchange alone keeps the time from going back. */
	seen = wf_load_relaxed(&clock->virtual_ns);
	while (seen < (uint64_t)to_ns &&
	       !wf_cas_relaxed(&clock->virtual_ns, &seen, (uint64_t)to_ns))
		;
}

/* Both clocks at one moment: of a few readings the one with the least time between its ticks. */
static void read_both(uint64_t *ticks, int64_t *ns)
{
	uint64_t narrowest = UINT64_MAX;

	for (int i = 0; i < CALIBRATION_READ; i++) {
		uint64_t before = wf_ticks();
		int64_t now = wf_clock_now(NULL);
		uint64_t width = wf_ticks() - before;

		if (width < narrowest) {
			narrowest = width;
			*ticks = before + width / 2;
			*ns = now;
		}
	}
}

uint64_t wf_ticks_per_us(void)
{
	/* relaxed: one word that says all. */
	uint64_t known = wf_load_relaxed(&ticks_per_us);
	uint64_t ticks[2] = { 0, 0 };
	int64_t ns[2] = { 0, 0 };
	uint64_t rate;

	if (WF_LIKELY(known != 0))
		return known;
	read_both(&ticks[0], &ns[0]);
	/* A tenth of a millisecond keeps the error of two readings below one in a thousand. */
	while (wf_clock_now(NULL) < ns[0] + CALIBRATION_NS)
		wf_cpu_relax();
	read_both(&ticks[1], &ns[1]);
	WF_CHECK(ns[1] > ns[0]);
	rate = (ticks[1] - ticks[0]) * 1000 / (uint64_t)(ns[1] - ns[0]);
	/* A counter below 1 MHz, or one that stands still in an emulator, must not divide by 0. */
	if (rate == 0)
		rate = 1;
	/* relaxed: as above. Who loses takes the winner's value, so that all agree for ever. */
	return wf_cas_relaxed(&ticks_per_us, &known, rate) ? rate : known;
}
