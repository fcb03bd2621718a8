/*
 * fault.c: make the n-th call that can fail do so.
 *
 * A test arms with a large n to count the points of a scenario, then runs the scenario once for
 * each n. Counting is exact whatever the number of threads: a point draws its number by one atomic
 * addition and fails if that is the armed one, so exactly one point fails; armed lastingly, that
 * one and all with a greater number.
 *
 * Shared: `wf_fault_armed`, `armed_counter`, `armed_nth`, `armed_last`, written by the test, read
 * by all points; `passed[]`, added to by armed points. Arming while points are passed on other
 * threads is allowed, but which of them still count is then open.
 */
#include "base.h"

/* passed[WF_FAULT_KINDS] is the total. */
#define TOTAL WF_FAULT_KINDS

struct wf_a32 wf_fault_armed;
static struct wf_a32 armed_counter = { TOTAL };
static struct wf_a64 armed_nth, armed_last;
static struct wf_a64 passed[WF_FAULT_KINDS + 1];
static struct wf_a32 fired;

static void arm(int kind, uint64_t nth, uint64_t last)
{
	WF_CHECK(kind >= -1 && kind < WF_FAULT_KINDS);
	/* relaxed: no point may fail while the counters are being set. */
	wf_store_relaxed(&wf_fault_armed, 0);
	if (nth == 0)
		return;
	/* relaxed, all: published by [A1]. */
	for (int i = 0; i <= WF_FAULT_KINDS; i++)
		wf_store_relaxed(&passed[i], 0);
	wf_store_relaxed(&armed_counter, kind < 0 ? TOTAL : (uint32_t)kind);
	wf_store_relaxed(&armed_nth, nth);
	wf_store_relaxed(&armed_last, last);
	wf_store_relaxed(&fired, 0);
	/* release [A1]: the settings above, to the acquire [A2] in wf_fault_slow(). */
	wf_store_release(&wf_fault_armed, 1);
}

void wf_fault_arm(int kind, uint64_t nth)
{
	arm(kind, nth, nth);
}

void wf_fault_arm_lasting(int kind, uint64_t nth)
{
	arm(kind, nth, UINT64_MAX);
}

uint64_t wf_fault_count(void)
{
	/* relaxed, both: the test reads after the threads that it counts were joined. */
	return wf_load_relaxed(&passed[wf_load_relaxed(&armed_counter)]);
}

bool wf_fault_fired(void)
{
	/* relaxed: as above. */
	return wf_load_relaxed(&fired) != 0;
}

bool wf_fault_slow(enum wf_fault_kind kind)
{
	uint32_t counter;
	uint64_t number;

	WF_CHECK((unsigned int)kind < WF_FAULT_KINDS);
	/* acquire [A2]: the settings written before the release [A1]. */
	if (wf_load_acquire(&wf_fault_armed) == 0)
		return false;
	/* relaxed: ordered by [A2]. */
	counter = wf_load_relaxed(&armed_counter);
	/* relaxed, both: a number is drawn; nothing is published. */
	number = wf_add_relaxed(&passed[kind], 1) + 1;
	if (counter == TOTAL)
		number = wf_add_relaxed(&passed[TOTAL], 1) + 1;
	/* relaxed: ordered by [A2]. */
	if ((uint32_t)kind != counter && counter != TOTAL)
		return false;
	/* relaxed, both: ordered by [A2]. */
	if (number < wf_load_relaxed(&armed_nth) || number > wf_load_relaxed(&armed_last))
		return false;
	/* relaxed: read by the test after it joined. */
	wf_store_relaxed(&fired, 1);
	return true;
}
