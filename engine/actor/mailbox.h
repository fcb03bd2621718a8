/*
 * mailbox.h: an actor's word, its queues, and who may run its calls.
 *
 * Shared
 *   word    lock and life, below. Written by whoever holds WF_BOX_LOCK, with the unlock; read by
 *           anybody, as a snapshot.
 *   groups  queues and counts; under the lock.
 *   handed  the call that whoever made the exclusive turn gives to it: written under the lock
 *           before the turn is scheduled, taken by the turn without the lock.
 *
 * The word
 *   bit 0  LOCK      held for a few instructions, never across a suspension or a call of the user's
 *   bit 1  OPEN      init has ended well: calls may run
 *   bit 2  KILL      dies as soon as nobody is inside; nothing is accepted
 *   bit 3  CRASH     the state is lost: restart, or death, as soon as nobody is inside
 *   bit 4  EXIT      dies by fini as soon as nobody is inside; nothing is accepted
 *   bit 5  STOP      no new calls; dies by fini when nothing is queued
 *   bit 6  ORPHAN    no handle is left; dies by fini when nothing is queued
 *   bit 7  DEAD      for good
 *   bit 8  AGAIN     init runs again
 *   bit 9  ROOM      somebody waits for room: looked at when calls are taken, and before a wait
 *   bit 10 USED      the slot is an actor
 *   bit 11 POKED     a turn is to come that no call has made
 *   bit 12 GROUP     its calls are a group's; set when it is made
 *   bit 13 STILL     its creation has failed: nobody is told of its state
 *   bit 14 DEVICE    it holds devices: its calls are made the long way; set when it is made
 *
 * Transitions: 0 -> USED (create) -> OPEN (the init's turn) -> CRASH (a body, a killer) -> AGAIN
 * (the last turn inside; OPEN and CRASH go) -> OPEN. From any of these: KILL (a killer, a failed
 * init), EXIT (a body), STOP, ORPHAN (and back, when a handle is taken again); from these DEAD, by
 * the last turn inside or, when none is, by whoever set the bit. DEAD -> 0 when nobody holds the
 * slot.
 *
 * Invariants
 *   active <= limit in each group; a turn is counted from when it is scheduled until it leaves
 *   exclusive: at most one turn exists, so what it does is ordered by the lock that made it
 *   a call is in one queue, or handed, or fetched by one turn
 *   OPEN, not CRASH, and a group with queued calls and active < limit: never after an unlock
 *
 * Progress: blocking, for the few instructions that the lock is held; whoever finds it taken for
 * long yields its processor. The price list decided: a post and the end of a turn are one locked
 * instruction each, and limits, order, kill and restart are plain code under the same one.
 */
#ifndef WF_MAILBOX_H
#define WF_MAILBOX_H

#include <sched.h>

#include "base.h"

/* Looks at a lock that is taken, before the processor is given away. */
#ifdef WF_SIM
#define WF_BOX_SPINS 1u
#else
#define WF_BOX_SPINS 128u
#endif

#define WF_BOX_LOCK   (1u << 0)
#define WF_BOX_OPEN   (1u << 1)
#define WF_BOX_KILL   (1u << 2)
#define WF_BOX_CRASH  (1u << 3)
#define WF_BOX_EXIT   (1u << 4)
#define WF_BOX_STOP   (1u << 5)
#define WF_BOX_ORPHAN (1u << 6)
#define WF_BOX_DEAD   (1u << 7)
#define WF_BOX_AGAIN  (1u << 8)
#define WF_BOX_ROOM   (1u << 9)
#define WF_BOX_USED   (1u << 10)
#define WF_BOX_POKED  (1u << 11)
#define WF_BOX_GROUP  (1u << 12)
#define WF_BOX_STILL  (1u << 13)
#define WF_BOX_DEVICE (1u << 14)
/* Running bodies are to stop, what they return does not count. */
#define WF_BOX_URGENT (WF_BOX_KILL | WF_BOX_CRASH | WF_BOX_EXIT)
/* Nothing can be queued any more. */
#define WF_BOX_CLOSED (WF_BOX_KILL | WF_BOX_EXIT | WF_BOX_DEAD)

/* A queued call's link. */
struct wf_mail {
	struct wf_mail *next;
};

/* A concurrency group. */
struct wf_call_group {
	struct wf_mail *head, *tail;
	uint32_t queued;
	uint16_t active; /* turns scheduled or running */
	uint16_t tokens; /* of those, scheduled; not of an exclusive actor */
	uint16_t limit;
	uint16_t index;      /* 0: the default one */
	struct wf_a32 calls; /* of the default one: bodies that have returned, lower half */
};

struct wf_mailbox {
	struct wf_a32 word;
	struct wf_a32 gen; /* of the handle; here for its place in the line */
	struct wf_mail *handed;
	struct wf_call_group group; /* the default one */
};

enum wf_post { WF_POST_QUEUED = 0, WF_POST_TURN /* schedule one */, WF_POST_CLOSED };

/* Take the lock: the word without it. */
static inline uint32_t wf_box_lock(struct wf_mailbox *box)
{
	/* relaxed: a guess for the exchange. */
	uint32_t word = wf_load_relaxed(&box->word) & ~WF_BOX_LOCK;

	/* acquire [B1]: what the last holder wrote. */
	for (uint32_t spins = 0; !wf_cas_acquire(&box->word, &word, word | WF_BOX_LOCK); spins++) {
		word &= ~WF_BOX_LOCK;
		wf_cpu_relax();
		if (spins % WF_BOX_SPINS == WF_BOX_SPINS - 1)
			sched_yield();
	}
	return word;
}

/* The same, if nobody has it. */
static inline bool wf_box_trylock(struct wf_mailbox *box, uint32_t *word)
{
	/* relaxed: a guess for the exchange. */
	*word = wf_load_relaxed(&box->word) & ~WF_BOX_LOCK;
	/* acquire [B1]: what the last holder wrote. */
	return wf_cas_acquire(&box->word, word, *word | WF_BOX_LOCK);
}

static inline void wf_box_unlock(struct wf_mailbox *box, uint32_t word)
{
	WF_DEBUG(!(word & WF_BOX_LOCK));
	/* release [B1] */
	wf_store_release(&box->word, word);
}

/* A snapshot of the word. */
static inline uint32_t wf_box_word(const struct wf_mailbox *box)
{
	/* relaxed: requests may be seen late; what must not be late looks under the lock. */
	return wf_load_relaxed(&box->word);
}

/* All of these under the lock. */

static inline void wf_call_group_append(struct wf_call_group *group, struct wf_mail *mail)
{
	mail->next = NULL;
	if (group->tail)
		group->tail->next = mail;
	else
		group->head = mail;
	group->tail = mail;
	group->queued++;
}

static inline void wf_call_group_prepend(struct wf_call_group *group, struct wf_mail *mail)
{
	mail->next = group->head;
	group->head = mail;
	if (!group->tail)
		group->tail = mail;
	group->queued++;
}

/* The oldest `n` or fewer, as a chain that ends with NULL. */
static inline struct wf_mail *wf_call_group_fetch(struct wf_call_group *group, uint32_t n)
{
	struct wf_mail *first = group->head, *last = NULL;

	for (struct wf_mail *mail = first; mail && n; n--) {
		last = mail;
		mail = mail->next;
		group->queued--;
	}
	if (!last)
		return NULL;
	group->head = last->next;
	if (!group->head)
		group->tail = NULL;
	last->next = NULL;
	return first;
}

/*
 * Queue a call; WF_POST_TURN: the caller must schedule a turn, which is counted. The turn of an
 * exclusive actor finds its first call in `handed`.
 */
static inline enum wf_post wf_box_post(struct wf_mailbox *box, uint32_t word,
                                       struct wf_call_group *group, struct wf_mail *mail,
                                       bool exclusive)
{
	if (word & WF_BOX_CLOSED)
		return WF_POST_CLOSED;
	/* A crash empties nothing: what comes meanwhile runs after the restart. */
	if ((word & (WF_BOX_OPEN | WF_BOX_CRASH)) != WF_BOX_OPEN || group->active >= group->limit) {
		wf_call_group_append(group, mail);
		return WF_POST_QUEUED;
	}
	group->active++;
	if (exclusive) {
		WF_DEBUG(!group->head && !box->handed);
		mail->next = NULL;
		box->handed = mail;
	} else {
		wf_call_group_append(group, mail);
		group->tokens++;
	}
	return WF_POST_TURN;
}

/* The turn leaves: there is nothing for it to do. */
static inline void wf_call_group_leave(struct wf_call_group *group)
{
	WF_CHECK(group->active > 0);
	group->active--;
}

#endif /* WF_MAILBOX_H */
