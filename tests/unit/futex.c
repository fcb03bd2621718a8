/*
 * Goal: a wait ends for a wake, a changed word or its deadline, and for nothing else that a signal
 * handler could bring about; errno is left alone.
 * Method: waits that cannot block are called directly; a sleeper is known to sleep when a wake
 * reports that it woke somebody.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include "base.h"
#include "test.h"

static struct wf_a32 word;
static struct wf_a32 woken_early;
static struct wf_a32 handled;

Test(futex, a_word_that_differs_does_not_block)
{
	wf_init(&word, 1);
	cr_assert_eq(wf_futex_wait(&word, 0, WF_FOREVER), 0);
}

Test(futex, a_deadline_in_the_past_times_out)
{
	wf_init(&word, 0);
	cr_assert_eq(wf_futex_wait(&word, 0, 0), -ETIMEDOUT);
	cr_assert_eq(wf_futex_wait(&word, 0, -5), -ETIMEDOUT);
	cr_assert_eq(wf_futex_wait(&word, 0, INT64_MIN), -ETIMEDOUT);
	cr_assert_eq(wf_futex_wait(&word, 0, wf_clock_now(NULL) - 1), -ETIMEDOUT);
}

Test(futex, a_timeout_does_not_come_before_its_deadline)
{
	int64_t until = wf_clock_now(NULL) + 2000000;

	wf_init(&word, 0);
	cr_assert_eq(wf_futex_wait(&word, 0, until), -ETIMEDOUT);
	cr_assert_geq(wf_clock_now(NULL), until);
}

Test(futex, a_wake_of_nobody_wakes_nobody)
{
	wf_init(&word, 0);
	cr_assert_eq(wf_futex_wake(&word, 1), 0);
	cr_assert_eq(wf_futex_wake(&word, INT32_MAX), 0);
}

Test(futex, errno_is_left_alone)
{
	wf_init(&word, 0);
	errno = 1234;
	cr_assert_eq(wf_futex_wait(&word, 1, WF_FOREVER), 0);
	cr_assert_eq(wf_futex_wait(&word, 0, 0), -ETIMEDOUT);
	cr_assert_eq(wf_futex_wake(&word, 1), 0);
	cr_assert_eq(errno, 1234);
}

static void *sleep_once(void *arg)
{
	(void)arg;
	cr_assert_eq(wf_futex_wait(&word, 0, WF_FOREVER), 0);
	return NULL;
}

Test(futex, a_wake_wakes_as_many_as_asked)
{
	pthread_t threads[3];
	int woken = 0;

	wf_init(&word, 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, sleep_once, NULL), 0);
	/* Each of the three sleeps once, so three wakes of one find somebody, and no fourth. */
	while (woken < 3) {
		int now = wf_futex_wake(&word, 1);

		cr_assert(now == 0 || now == 1);
		woken += now;
		sched_yield();
	}
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wf_futex_wake(&word, INT32_MAX), 0);
}

static void on_signal(int number)
{
	(void)number;
	/* relaxed: only counted. */
	wf_add_relaxed(&handled, 1);
}

static void *sleep_through_signals(void *arg)
{
	(void)arg;
	cr_assert_eq(wf_futex_wait(&word, 0, WF_FOREVER), 0);
	/* relaxed, both: read after the join. */
	if (wf_load_relaxed(&word) == 0)
		wf_store_relaxed(&woken_early, 1);
	return NULL;
}

Test(futex, a_signal_does_not_end_a_wait)
{
	struct sigaction action = { .sa_handler = on_signal }, before;
	pthread_t thread;

	if (WF_TSAN)
		test_skip("ThreadSanitizer holds signals back while a thread sleeps in a futex");
	wf_init(&word, 0);
	wf_init(&handled, 0);
	wf_init(&woken_early, 0);
	cr_assert_eq(sigaction(SIGUSR1, &action, &before), 0);
	cr_assert_eq(pthread_create(&thread, NULL, sleep_through_signals, NULL), 0);
	for (uint32_t i = 1; i <= 20; i++) {
		cr_assert_eq(pthread_kill(thread, SIGUSR1), 0);
		/* relaxed: only counted. */
		while (wf_load_relaxed(&handled) < i)
			sched_yield();
	}
	/* relaxed: the wake below is the event; the word only says that it is meant. */
	wf_store_relaxed(&word, 1);
	wf_futex_wake(&word, 1);
	pthread_join(thread, NULL);
	cr_assert_eq(wf_load_relaxed(&woken_early), 0);
	sigaction(SIGUSR1, &before, NULL);
}
