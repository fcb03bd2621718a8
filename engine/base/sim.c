/*
 * sim.c: what `-Dsim=true` builds do where no simulator is linked in: nothing, in real time.
 *
 * Weak, so that a simulator's functions of these names take their place: the schedule explorer's
 * and the simulation of the whole engine (tests/support/explore.c and sim.c).
 */
#include "base.h"

__attribute__((weak)) void wf_sim_point(void)
{
}

__attribute__((weak)) uint64_t wf_sim_ticks(void)
{
	return (uint64_t)wf_clock_now(NULL);
}
