/*
 * Goal: the probe's answer is stable, can be forced to no, and is never yes where the barrier
 * cannot be modelled; the barrier works where the probe says so and dies where it does not.
 * Method: the probe is forgotten between questions. What the barrier orders is the litmus test's
 * matter (tests/stress/membarrier_litmus.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "base.h"
#include "test.h"

static void refuse(void)
{
	setenv("WEFT_MEMBARRIER", "0", 1);
	wf_membarrier_reload();
}

static void allow(void)
{
	unsetenv("WEFT_MEMBARRIER");
	wf_membarrier_reload();
}

Test(membarrier, the_answer_is_stable, .init = allow)
{
	bool first = wf_membarrier_available();

	cr_assert_eq(wf_membarrier_available(), first);
	/* A second registration of the process is as good as the first. */
	wf_membarrier_reload();
	cr_assert_eq(wf_membarrier_available(), first);
	/* Cached: the variable is looked at by the probe only. */
	setenv("WEFT_MEMBARRIER", "0", 1);
	cr_assert_eq(wf_membarrier_available(), first);
	allow();
}

Test(membarrier, the_environment_can_refuse_it, .init = refuse, .fini = allow)
{
	cr_assert_not(wf_membarrier_available());
}

Test(membarrier, the_probe_leaves_errno_alone, .init = allow)
{
	errno = 1234;
	(void)wf_membarrier_available();
	cr_assert_eq(errno, 1234);
}

Test(membarrier, it_is_off_where_it_cannot_be_modelled, .init = allow)
{
	if (!WF_TSAN)
		test_skip("this build can model the barrier");
	cr_assert_not(wf_membarrier_available());
}

Test(membarrier, it_returns_where_it_is_available, .init = allow)
{
	if (!wf_membarrier_available())
		test_skip("membarrier is refused here");
	for (int i = 0; i < 100; i++)
		wf_membarrier();
}

Test(membarrier, it_dies_where_it_is_refused, .init = refuse, .signal = SIGABRT)
{
	wf_membarrier();
}
