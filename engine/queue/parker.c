/*
 * parker.c: one thread's sleep.
 *
 * Shared: `state`. The owner moves it between EMPTY and ASLEEP and takes the token; anybody
 * stores TOKEN. Transitions:
 *
 *   EMPTY  -> ASLEEP  owner, before it sleeps      (CAS: must not overwrite a token)
 *   EMPTY  -> TOKEN   unpark, no wake
 *   ASLEEP -> TOKEN   unpark, which then wakes     (exactly one unpark sees ASLEEP)
 *   TOKEN  -> TOKEN   unpark, no wake              (tokens do not add up)
 *   TOKEN  -> EMPTY   owner, park returns 0
 *   ASLEEP -> EMPTY   owner, its time is up, park returns -ETIMEDOUT
 *
 * Invariants: state is ASLEEP only while the owner is inside park; a token stored before a park
 * returns is either taken by that park or still there for the next one.
 *
 * Progress: unpark is wait-free apart from the futex wake; park blocks, that is its work. The
 * parker must outlive the unpark: the owner may already have gone on when the wake is issued
 * (the wake then meets nobody, or wakes a later park, which looks again).
 *
 * After: the token protocol of java.util.concurrent's LockSupport (D. Lea, 2005), on the futex of
 * H. Franke, R. Russell and M. Kirkwood, "Fuss, futexes and furwocks", OLS 2002.
 */
#include "parker.h"

#include <errno.h>

#include "base.h"

void wf_parker_init(struct wf_parker *p)
{
	wf_init(&p->state, WF_PARKER_EMPTY);
}

int wf_parker_park(struct wf_parker *p, int64_t until_ns)
{
	uint32_t seen = WF_PARKER_EMPTY;
	/*
	 * relaxed on success: nothing is published by falling asleep; callers that re-check a
	 * condition before the sleep bring a fence. A failure has seen a token: the swap takes it.
	 */
	if (!wf_cas_relaxed(&p->state, &seen, WF_PARKER_ASLEEP)) {
		WF_CHECK(seen == WF_PARKER_TOKEN); /* else two threads park on one parker */
		/* acquire [P2]: with the unpark [P1] that left the token. */
		seen = wf_swap_acquire(&p->state, WF_PARKER_EMPTY);
		WF_CHECK(seen == WF_PARKER_TOKEN);
		return 0;
	}
	for (;;) {
		int rc = wf_futex_wait(&p->state, WF_PARKER_ASLEEP, until_ns);
		WF_CHECK(rc == 0 || rc == -ETIMEDOUT);
		/* relaxed: a token seen here is taken by the swap below, which orders. */
		if (rc == 0 && wf_load_relaxed(&p->state) == WF_PARKER_ASLEEP)
			continue;
		/* acquire [P2]: with [P1]; a token that came just before the time was up counts. */
		seen = wf_swap_acquire(&p->state, WF_PARKER_EMPTY);
		WF_CHECK(seen != WF_PARKER_EMPTY);
		return seen == WF_PARKER_TOKEN ? 0 : -ETIMEDOUT;
	}
}

bool wf_parker_unpark_mt(struct wf_parker *p)
{
	/*
	 * release [P1]: what was written before is visible to the park that takes the token [P2].
	 * A later unpark is a read-modify-write and carries this one on.
	 */
	uint32_t seen = wf_swap_release(&p->state, WF_PARKER_TOKEN);
	WF_CHECK(seen <= WF_PARKER_TOKEN);
	if (seen != WF_PARKER_ASLEEP)
		return false;
	wf_futex_wake(&p->state, 1);
	return true;
}
