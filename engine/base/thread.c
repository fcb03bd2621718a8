/*
 * thread.c: starting the engine's threads.
 *
 * A thread of the engine never runs a signal handler of the program by chance: it blocks all
 * asynchronous signals. The mask is set in the starter and inherited, so that there is no moment
 * at which the new thread is without it. Synchronous signals stay open: blocking one that the
 * thread itself raises kills the process without its handler.
 *
 * Its sleeps end within a microsecond of their time, not the 50 that the kernel adds to those of
 * ordinary threads: who sleeps with a time-out here has work that waits for the end of it.
 */
#include "base.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define WAKE_SIGNAL SIGURG /* ignored by default, and programs that use it expect stray ones */
#define SLACK_NS    1000UL /* of the ends of sleeps */
#define NAME_BYTES  16     /* the kernel's limit, with the zero */

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
	(void)prctl(PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0);
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

/* ---- Waking a thread out of a system call --------------------------------------------------- */

static pthread_mutex_t wake_mutex = PTHREAD_MUTEX_INITIALIZER;
static uint32_t wake_users;
static struct sigaction wake_before;

static void on_wake(int signal_number)
{
	(void)signal_number;
}

static bool is_ours(const struct sigaction *action)
{
	return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == on_wake;
}

void wf_wake_install(void)
{
	struct sigaction action = { .sa_handler = on_wake };

	pthread_mutex_lock(&wake_mutex);
	if (!wake_users++) {
		(void)sigaction(WAKE_SIGNAL, NULL, &wake_before);
		/* A handler of the program does as well, unless it has calls restarted. */
		if (!(wake_before.sa_flags & SA_SIGINFO) &&
		    (wake_before.sa_handler == SIG_DFL || wake_before.sa_handler == SIG_IGN))
			(void)sigaction(WAKE_SIGNAL, &action, NULL);
	}
	pthread_mutex_unlock(&wake_mutex);
}

void wf_wake_uninstall(void)
{
	struct sigaction now;

	pthread_mutex_lock(&wake_mutex);
	WF_CHECK(wake_users > 0);
	if (!--wake_users && !sigaction(WAKE_SIGNAL, NULL, &now) && is_ours(&now))
		(void)sigaction(WAKE_SIGNAL, &wake_before, NULL);
	pthread_mutex_unlock(&wake_mutex);
}

void wf_thread_wakeable(bool wakeable)
{
	sigset_t one;

	sigemptyset(&one);
	sigaddset(&one, WAKE_SIGNAL);
	WF_CHECK(pthread_sigmask(wakeable ? SIG_UNBLOCK : SIG_BLOCK, &one, NULL) == 0);
}

void wf_thread_wake(const struct wf_thread *thread)
{
#ifdef WF_SIM
	/* Simulated threads sit in no system calls. */
	(void)thread;
#else
	/* It may have ended and not have been joined: then nothing happens. */
	(void)pthread_kill((pthread_t)thread->handle, WAKE_SIGNAL);
#endif
}
