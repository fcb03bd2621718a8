/*
 * mpsc.h: intrusive list, many producers, one consumer who takes everything at once.
 *
 * Shared: `head` points to the newest node; producers exchange it for theirs, the consumer for
 * NULL. A node's `next` belongs to its producer until the push and to the consumer after it.
 *
 * Invariants: following next from head gives every node pushed since the last take, newest
 * first, each once. A producer never dereferences what it found in head, so a node may be
 * recycled at once and ABA is harmless: the chain below an equal head is, by definition, the
 * chain that `next` must name.
 *
 * Progress: push is lock-free (a retry means that another push or a take succeeded), take_all
 * is wait-free (one exchange, then a walk over what was taken), is_empty is wait-free. An
 * exchange-based list (Vyukov) has a wait-free push, but leaves the consumer waiting for a
 * producer that was suspended between its two steps; here nobody ever waits.
 *
 * After: R. K. Treiber, "Systems programming: coping with parallelism", IBM RJ 5118, 1986. The
 * difference: only whole lists are popped, which removes the ABA problem.
 */
#ifndef WF_QUEUE_MPSC_H
#define WF_QUEUE_MPSC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "check.h"

struct wf_mpsc_node {
	struct wf_aptr next;
};

/* Not aligned to a line by itself: its owner draws its own lines. */
struct wf_mpsc {
	struct wf_aptr head;
};

static inline void wf_mpsc_init(struct wf_mpsc *q)
{
	wf_init(&q->head, 0);
}

/* Any thread. True: the list was empty, so the consumer may need a wake-up. */
static inline bool wf_mpsc_push_mt(struct wf_mpsc *q, struct wf_mpsc_node *node)
{
	WF_DEBUG(node != NULL);
	/* relaxed: the value is stored in the node and compared, never followed. */
	uintptr_t head = wf_load_relaxed(&q->head);
	do {
		/* relaxed: published by [M1]. */
		wf_store_relaxed(&node->next, head);
		/*
		 * release [M1]: the node and its next become visible to the take [M2]. Later pushes
		 * are read-modify-writes and carry this one on.
		 */
	} while (!wf_cas_release(&q->head, &head, (uintptr_t)node));
	return head == 0;
}

/* The consumer: everything, oldest first, linked by next and ended by NULL; NULL when empty. */
static inline struct wf_mpsc_node *wf_mpsc_take_all(struct wf_mpsc *q)
{
	/* relaxed: spares the exchange on an empty list; a push just missed is found next time. */
	if (wf_load_relaxed(&q->head) == 0)
		return NULL;
	/* acquire [M2]: with the pushes [M1] of all nodes in the chain. */
	struct wf_mpsc_node *node = (struct wf_mpsc_node *)wf_swap_acquire(&q->head, 0);
	WF_CHECK(node != NULL); /* nobody but this consumer empties the list */
	struct wf_mpsc_node *oldest = NULL;
	while (node) {
		/* relaxed, both: the chain is the consumer's now. */
		struct wf_mpsc_node *older = (struct wf_mpsc_node *)wf_load_relaxed(&node->next);
		WF_DEBUG(older != node);
		wf_store_relaxed(&node->next, (uintptr_t)oldest);
		oldest = node;
		node = older;
	}
	return oldest;
}

/* Of a node of a taken chain. */
static inline struct wf_mpsc_node *wf_mpsc_next(const struct wf_mpsc_node *node)
{
	/* relaxed: the chain is the consumer's. */
	return (struct wf_mpsc_node *)wf_load_relaxed(&node->next);
}

/* Approximate; who sleeps on the answer must order it with a fence of his own. */
static inline bool wf_mpsc_is_empty(const struct wf_mpsc *q)
{
	/* relaxed: an answer of the past. */
	return wf_load_relaxed(&q->head) == 0;
}

#endif /* WF_QUEUE_MPSC_H */
