/*
 * Goal: an engine thread has its name, blocks what the program's handlers are for, leaves open what
 * it raises itself, and does not change the mask of its starter.
 * Method: the thread reports on itself and is joined.
 */
#include <pthread.h>
#include <signal.h>

#include "base.h"
#include "test.h"

struct report {
	char name[16];
	sigset_t mask;
};

static void *report_self(void *arg)
{
	struct report *report = arg;

	pthread_getname_np(pthread_self(), report->name, sizeof(report->name));
	pthread_sigmask(SIG_SETMASK, NULL, &report->mask);
	return NULL;
}

Test(thread, a_thread_has_its_name_and_mask)
{
	static const int open[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
	static const int closed[] = { SIGINT, SIGTERM, SIGUSR1, SIGCHLD, SIGALRM, SIGPIPE };
	struct wf_thread thread;
	struct report report;

	cr_assert_eq(wf_thread_start(&thread, "fifteen-letters", report_self, &report), 0);
	wf_thread_join(&thread);
	cr_assert_str_eq(report.name, "fifteen-letters");
	for (size_t i = 0; i < 6; i++) {
		cr_assert_not(sigismember(&report.mask, open[i]));
		cr_assert(sigismember(&report.mask, closed[i]));
	}
}

Test(thread, the_starter_keeps_its_mask)
{
	struct wf_thread thread;
	struct report report;
	sigset_t before, after;

	sigemptyset(&before);
	sigaddset(&before, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &before, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	cr_assert_eq(wf_thread_start(&thread, "x", report_self, &report), 0);
	wf_thread_join(&thread);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int i = 1; i < 32; i++)
		cr_assert_eq(sigismember(&before, i), sigismember(&after, i));
}

Test(thread, a_name_of_sixteen_dies, .signal = SIGABRT)
{
	struct wf_thread thread;
	struct report report;

	(void)wf_thread_start(&thread, "sixteen-letters!", report_self, &report);
}
