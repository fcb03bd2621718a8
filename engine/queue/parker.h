/*
 * parker.h: one thread's sleep, with a token: an unpark before the park makes the park return.
 *
 * The essay is in parker.c.
 */
#ifndef WF_QUEUE_PARKER_H
#define WF_QUEUE_PARKER_H

#include <stdbool.h>
#include <stdint.h>

#include "atomic.h"

enum wf_parker_state {
	WF_PARKER_EMPTY = 0, /* awake, no token */
	WF_PARKER_ASLEEP,    /* the owner sleeps or is about to */
	WF_PARKER_TOKEN      /* the next park returns at once */
};

struct wf_parker {
	struct wf_a32 state; /* enum wf_parker_state; the futex word */
};

void wf_parker_init(struct wf_parker *p);
/*
 * The owning thread: sleep until there is a token and take it, or until `until_ns`
 * (CLOCK_MONOTONIC, WF_FOREVER: no limit). 0 token taken, -ETIMEDOUT no token by then. A token
 * that is already there is taken whatever the time.
 */
int wf_parker_park(struct wf_parker *p, int64_t until_ns);
/*
 * Any thread: leave a token (there is at most one) and wake the owner. True: it was asleep, so a
 * futex wake was issued. What was written before is visible to the park that takes the token.
 */
bool wf_parker_unpark_mt(struct wf_parker *p);

#endif /* WF_QUEUE_PARKER_H */
