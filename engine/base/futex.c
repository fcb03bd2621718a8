/*
 * futex.c: sleeping on a word.
 *
 * A wait names its deadline absolutely on CLOCK_MONOTONIC (FUTEX_WAIT_BITSET), so that a retry
 * after a signal does not stretch it. Wakes and values are private to the process, which saves
 * the kernel the lookup of the page.
 *
 * errno is read in one place that is never inlined: a caller may be inlined into a function that
 * switches stacks, and the compiler may keep the address of the old thread's errno across that
 * switch. It is also put back, since a signal handler may call the wake.
 */
#include "base.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ll

_Static_assert(sizeof(struct wf_a32) == 4, "a futex is 32 bits wide");
_Static_assert(sizeof(((struct timespec *)0)->tv_sec) == 8, "SYS_futex takes 64-bit seconds");

/* The result of the system call, or a negated errno. */
static WF_NOINLINE long futex_call(struct wf_a32 *word, int op, uint32_t value,
                                   const struct timespec *until)
{
	int saved = errno;
	long result = syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, value, until, NULL,
	                      FUTEX_BITSET_MATCH_ANY);

	if (result < 0)
		result = -errno;
	errno = saved;
	return result;
}

int wf_futex_wait(struct wf_a32 *word, uint32_t expected, int64_t until_ns)
{
	struct timespec until;
	const struct timespec *limit = NULL;

	WF_CHECK(word != NULL);
	if (until_ns != WF_FOREVER) {
		/* A deadline before the clock's zero has passed; the kernel would refuse it. */
		if (until_ns < 0)
			until_ns = 0;
		until.tv_sec = until_ns / NS_PER_S;
		until.tv_nsec = until_ns % NS_PER_S;
		limit = &until;
	}
	for (;;) {
		long result = futex_call(word, FUTEX_WAIT_BITSET, expected, limit);

		if (result == -EINTR)
			continue;
		if (result == -ETIMEDOUT)
			return -ETIMEDOUT;
		/* EAGAIN: the word differed. All else (EFAULT, EINVAL) is a bug of ours. */
		WF_CHECK(result >= 0 || result == -EAGAIN);
		return 0;
	}
}

int wf_futex_wake(struct wf_a32 *word, int count)
{
	long result = futex_call(word, FUTEX_WAKE, (uint32_t)count, NULL);

	/*
	 * EFAULT is let through as "nobody": a wake may come after the sleeper saw the word, left
	 * and gave its memory back. That the address is then gone is not an error of the waker.
	 */
	WF_CHECK(result >= 0 || result == -EFAULT);
	return result < 0 ? 0 : (int)result;
}
