/*
 * thread.c: starting the engine's threads.
 *
 * A thread of the engine never runs a signal handler of the program by chance: it blocks all
 * asynchronous signals. The mask is set in the starter and inherited, so that there is no moment
 * at which the new thread is without it. Synchronous signals stay open: blocking one that the
 * thread itself raises kills the process without its handler.
 */
#include "base.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#define NAME_BYTES 16 /* the kernel's limit, with the zero */

struct start {
	void *(*fn)(void *);
	void *arg;
	char name[NAME_BYTES];
};

_Static_assert(sizeof(pthread_t) <= sizeof(unsigned long), "a handle holds a pthread_t");

static void *thread_main(void *p)
{
	struct start start = *(struct start *)p;

	wf_free(p);
	/* Its own name costs a thread one prctl(2); from outside it is a file in /proc. */
	(void)pthread_setname_np(pthread_self(), start.name);
	return start.fn(start.arg);
}

static int create_masked(pthread_t *thread, struct start *start)
{
	static const int synchronous[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT };
	sigset_t all, before;
	int error;

	sigfillset(&all);
	for (size_t i = 0; i < sizeof(synchronous) / sizeof(synchronous[0]); i++)
		sigdelset(&all, synchronous[i]);
	WF_CHECK(pthread_sigmask(SIG_SETMASK, &all, &before) == 0);
	error = pthread_create(thread, NULL, thread_main, start);
	WF_CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
	return error;
}

int wf_thread_start(struct wf_thread *thread, const char *name, void *(*fn)(void *), void *arg)
{
	struct start *start;
	pthread_t handle;

	WF_CHECK(fn != NULL);
	WF_CHECK(strlen(name) < NAME_BYTES);
	if (wf_fault(WF_FAULT_THREAD))
		return -EAGAIN;
	start = wf_malloc(sizeof(*start));
	if (start == NULL)
		return -EAGAIN;
	start->fn = fn;
	start->arg = arg;
	strcpy(start->name, name);
	if (create_masked(&handle, start) != 0) {
		wf_free(start);
		return -EAGAIN;
	}
	thread->handle = (unsigned long)handle;
	return 0;
}

void wf_thread_join(struct wf_thread *thread)
{
	WF_CHECK(!pthread_equal((pthread_t)thread->handle, pthread_self()));
	WF_CHECK(pthread_join((pthread_t)thread->handle, NULL) == 0);
	thread->handle = 0;
}
