/*
 * membarrier.c: a barrier on all running threads of the process, so that the other side pays none.
 *
 * Only the expedited private command is used: the plain one waits for a grace period of tens of
 * milliseconds. It must be registered once per process, and may be refused: by old kernels, by
 * seccomp filters of containers, by emulators. The probe therefore runs the command once for real
 * instead of trusting the query alone.
 *
 * Shared: `state`, written by whoever probes first (probing twice is harmless and has the same
 * outcome), read by everybody.
 */
#include "base.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STATE_UNKNOWN = 0, STATE_NO, STATE_YES };

static struct wf_a8 state;

static WF_NOINLINE long membarrier_call(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static bool probe(void)
{
	const long needed =
		MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;
	const char *wish = getenv("WEFT_MEMBARRIER");
	int saved = errno;
	bool works = false;
	long known;

	if (WF_TSAN || (wish != NULL && strcmp(wish, "0") == 0))
		return false;
	known = membarrier_call(MEMBARRIER_CMD_QUERY);
	if (known >= 0 && (known & needed) == needed)
		works = membarrier_call(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0 &&
			membarrier_call(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0;
	errno = saved;
	return works;
}

bool wf_membarrier_available(void)
{
	/* relaxed: one byte that says all; the registration is the kernel's state, not memory. */
	uint8_t known = wf_load_relaxed(&state);

	if (WF_UNLIKELY(known == STATE_UNKNOWN)) {
		known = probe() ? STATE_YES : STATE_NO;
		/* relaxed: as above. */
		wf_store_relaxed(&state, known);
	}
	return known == STATE_YES;
}

void wf_membarrier_reload(void)
{
	/* relaxed: tests call it while nobody else asks. */
	wf_store_relaxed(&state, STATE_UNKNOWN);
}

void wf_membarrier(void)
{
	WF_CHECK(wf_membarrier_available());
	/* The system call is also a full barrier of the caller; the compiler knows it as a call. */
	WF_CHECK(membarrier_call(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0);
}
