/*
 * Goal: exactly the armed point fails, whatever the number of threads, and every resource call of
 * the room reports its failure as documented.
 * Method: points are passed by hand and counted; each call is failed once.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "base.h"
#include "test.h"

static void disarm(void)
{
	wf_fault_arm(-1, 0);
}

Test(fault, a_disarmed_point_never_fails, .init = disarm)
{
	for (int i = 0; i < 10; i++)
		cr_assert_not(wf_fault(WF_FAULT_MALLOC));
}

Test(fault, exactly_the_nth_point_fails, .fini = disarm)
{
	for (uint64_t nth = 1; nth <= 5; nth++) {
		wf_fault_arm(WF_FAULT_MMAP, nth);
		for (uint64_t i = 1; i <= 10; i++) {
			cr_assert_eq(wf_fault(WF_FAULT_MMAP), i == nth);
			cr_assert_eq(wf_fault_fired(), i >= nth);
			cr_assert_eq(wf_fault_count(), i);
		}
	}
}

Test(fault, a_lasting_one_fails_from_the_nth_on, .fini = disarm)
{
	wf_fault_arm_lasting(WF_FAULT_MMAP, 3);
	for (uint64_t i = 1; i <= 10; i++)
		cr_assert_eq(wf_fault(WF_FAULT_MMAP), i >= 3);
	cr_assert_not(wf_fault(WF_FAULT_MALLOC));
	wf_fault_arm(WF_FAULT_MMAP, 1);
	cr_assert(wf_fault(WF_FAULT_MMAP));
	cr_assert_not(wf_fault(WF_FAULT_MMAP));
}

Test(fault, other_kinds_are_not_counted, .fini = disarm)
{
	wf_fault_arm(WF_FAULT_THREAD, 2);
	cr_assert_not(wf_fault(WF_FAULT_MALLOC));
	cr_assert_not(wf_fault(WF_FAULT_THREAD));
	cr_assert_not(wf_fault(WF_FAULT_FILE));
	cr_assert_eq(wf_fault_count(), 1);
	cr_assert(wf_fault(WF_FAULT_THREAD));
	cr_assert_eq(wf_fault_count(), 2);
}

Test(fault, any_kind_counts_all, .fini = disarm)
{
	wf_fault_arm(-1, 3);
	cr_assert_not(wf_fault(WF_FAULT_MALLOC));
	cr_assert_not(wf_fault(WF_FAULT_EVENTFD));
	cr_assert(wf_fault(WF_FAULT_MMAP));
	cr_assert_not(wf_fault(WF_FAULT_MMAP));
	cr_assert_eq(wf_fault_count(), 4);
}

Test(fault, disarming_keeps_the_count_and_arming_clears_it, .fini = disarm)
{
	wf_fault_arm(-1, 1);
	cr_assert(wf_fault(WF_FAULT_MALLOC));
	wf_fault_arm(-1, 0);
	cr_assert_not(wf_fault(WF_FAULT_MALLOC));
	cr_assert_eq(wf_fault_count(), 1);
	cr_assert(wf_fault_fired());
	wf_fault_arm(-1, UINT64_MAX);
	cr_assert_eq(wf_fault_count(), 0);
	cr_assert_not(wf_fault_fired());
}

#define PASSERS 4
#define PASSES  1000

static struct wf_a64 failures;

static void *pass(void *arg)
{
	(void)arg;
	for (int i = 0; i < PASSES; i++) {
		if (wf_fault(WF_FAULT_MALLOC)) {
			/* relaxed: read after the join. */
			wf_add_relaxed(&failures, 1);
		}
	}
	return NULL;
}

Test(fault, one_point_of_all_threads_fails, .fini = disarm)
{
	pthread_t threads[PASSERS];

	wf_init(&failures, 0);
	wf_fault_arm(WF_FAULT_MALLOC, PASSERS * PASSES / 2 + 7);
	for (int i = 0; i < PASSERS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, pass, NULL), 0);
	for (int i = 0; i < PASSERS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wf_fault_count(), PASSERS * PASSES);
	cr_assert_eq(wf_load_relaxed(&failures), 1);
	cr_assert(wf_fault_fired());
}

Test(fault, an_unknown_kind_dies, .signal = SIGABRT)
{
	wf_fault_arm(WF_FAULT_KINDS, 1);
}

Test(fault, each_allocation_reports_its_failure, .fini = disarm)
{
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_null(wf_malloc(8));
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_null(wf_calloc(2, 8));
	wf_fault_arm(WF_FAULT_MALLOC, 1);
	cr_assert_null(wf_aligned_alloc(64, 8));
	wf_fault_arm(WF_FAULT_MMAP, 1);
	cr_assert_null(wf_map(4096, PROT_READ));
	cr_assert(wf_fault_fired());
}

static void *no_body(void *arg)
{
	return arg;
}

Test(fault, a_thread_that_cannot_start_leaves_nothing, .fini = disarm)
{
	struct wf_thread thread = { 77 };

	/* The start of the thread, and the block that carries its name over. */
	for (uint64_t nth = 1; nth <= 2; nth++) {
		wf_fault_arm(-1, nth);
		cr_assert_eq(wf_thread_start(&thread, "never", no_body, NULL), -EAGAIN);
		cr_assert(wf_fault_fired());
		cr_assert_eq(thread.handle, 77, "written on success only");
	}
	wf_fault_arm(-1, 3);
	cr_assert_eq(wf_thread_start(&thread, "once", no_body, NULL), 0);
	cr_assert_not(wf_fault_fired());
	wf_thread_join(&thread);
}
