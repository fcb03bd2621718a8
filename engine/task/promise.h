/*
 * promise.h: the word that a result and everybody who waits for it share.
 *
 * Shared
 *   waiters  pushed by whoever waits, closed by the completer (or by a waiter that finds the
 *            promise done behind the completer's back, below). Head pointer plus three bits:
 *              WF_W_CLOSED  done; the list was taken, exactly once, by whoever set the bit
 *              WF_W_LOCKED  one thread unlinks a node; everybody else spins
 *              WF_W_ORPHAN  no count is left on a pending promise: whoever closes it frees it
 *   state    the completer's. WF_STATE_DONE is stored only by a private completion (below).
 *   refs     counts minus one, so that a fresh promise with one holder is zero.
 *
 * Invariants
 *   done  <=>  state == WF_STATE_DONE  or  waiters & WF_W_CLOSED
 *   every pushed node is fired exactly once or removed, never both
 *   refs == 0 seen by a holder means that it is the only one: nobody else may retain
 *
 * Two ways to complete. Shared: close the list with one locked instruction; that is the last
 * touch of the memory, because the next holder may free it. Private: the completer is the thread
 * that owns the memory (it alone can recycle it), so it stores DONE plainly and looks whether the
 * list is empty. That is an asymmetric Dekker: a thread other than the owner that pushes (or
 * orphans) on a private promise issues a membarrier after its push and then looks at `state`.
 * Either the completer saw the push, or the pusher sees DONE and closes the list itself. The
 * owner needs no barrier against itself, and thieves complete in the shared way.
 *
 * Progress: completing and pushing are lock-free but for the bounded windows in which a remover
 * unlinks a node, or a stranger that drops the last count of a pending private promise waits for
 * its membarrier, with WF_W_LOCKED held; those two are blocking.
 *
 * After: the state word of tokio's tasks and of Folly's futures, for the list in the word; Dice,
 * Huang and Yang, "Asymmetric Dekker Synchronization" (2001), for the private completion.
 */
#ifndef WF_PROMISE_H
#define WF_PROMISE_H

#include "base.h"

struct wf_cell;
struct wf_local;

/*
 * A node. An edge of a task (struct wf_edge) has two numbers where others have their function, the
 * second with its top bit set, which no address of a function has.
 */
struct wf_waiter {
	struct wf_waiter *next;
	union {
		/* Called once, by whoever closed the list; the node may be gone on return. */
		void (*fire)(struct wf_waiter *node, struct wf_cell *cell, struct wf_local *self);
		uint64_t edge;
	};
};
_Static_assert(sizeof(void (*)(void)) == sizeof(uint64_t), "an edge hides in a pointer");

#define WF_WAITER_EDGE (UINT64_C(1) << 63)

#define WF_W_CLOSED    ((uintptr_t)1)
#define WF_W_LOCKED    ((uintptr_t)2)
#define WF_W_ORPHAN    ((uintptr_t)4)
#define WF_W_BITS      ((uintptr_t)7)

enum wf_state {
	WF_STATE_FREE = 0,
	WF_STATE_WAITING, /* for inputs, or its next attempt; also events until they are set */
	WF_STATE_QUEUED,
	WF_STATE_RUNNING,
	WF_STATE_BLOCKED, /* its fiber is parked; cell->place says which */
	WF_STATE_DONE,    /* private completion only, see above */
};

struct wf_promise {
	struct wf_aptr waiters;
	struct wf_a32 state;
	struct wf_a32 refs;
};

static inline bool wf_promise_is_done(const struct wf_promise *p)
{
	/* acquire [P1] and [P2]: everything the producer wrote is visible from here on. */
	return wf_load_acquire(&p->state) == WF_STATE_DONE ||
		(wf_load_acquire(&p->waiters) & WF_W_CLOSED);
}

/* Close the list: what was on it, with its ORPHAN bit; 0 when it was closed before. */
static inline uintptr_t wf_promise_close(struct wf_promise *p)
{
	/* relaxed: only a guess for the exchange below. */
	uintptr_t old = wf_load_relaxed(&p->waiters);

	for (;;) {
		if (old & WF_W_CLOSED)
			return 0;
		if (old & WF_W_LOCKED) {
			wf_cpu_relax();
			/* relaxed: as above. */
			old = wf_load_relaxed(&p->waiters);
			continue;
		}
		/* release [P2]: the result, to everyone who sees CLOSED. acquire [P3]: the nodes. */
		if (wf_cas_acq_rel(&p->waiters, &old, WF_W_CLOSED))
			return old;
	}
}

static inline uintptr_t wf_promise_complete_shared(struct wf_promise *p)
{
	return wf_promise_close(p);
}

/* Only on the thread that owns the promise's memory. */
static inline uintptr_t wf_promise_complete_private(struct wf_promise *p)
{
	/* release [P1]: the result, to everyone who sees DONE. */
	wf_store_release(&p->state, WF_STATE_DONE);
	/* The store above and the load below: pairs with the membarrier [P4]. */
	wf_fence_compiler();
	/* relaxed: emptiness is decided by [P4], contents by the exchange in close(). */
	if (WF_LIKELY(!wf_load_relaxed(&p->waiters)))
		return 0;
	return wf_promise_close(p);
}

/*
 * Add a node. False: the promise is done, the node was not added. `foreign`: the promise is
 * private and the caller is not its owner. *taken: a list the caller must fire (0: none); the
 * node itself is then on it.
 */
static inline bool wf_promise_push(struct wf_promise *p, struct wf_waiter *node, bool foreign,
                                   uintptr_t *taken)
{
	/* acquire [P2]: when it is closed the caller reads the result. */
	uintptr_t old = wf_load_acquire(&p->waiters);

	*taken = 0;
	for (;;) {
		if (old & WF_W_CLOSED)
			return false;
		if (old & WF_W_LOCKED) {
			wf_cpu_relax();
			/* acquire [P2]: as above. */
			old = wf_load_acquire(&p->waiters);
			continue;
		}
		node->next = (struct wf_waiter *)(old & ~WF_W_BITS);
		/* release [P3]: the node. */
		if (wf_cas_acq_rel(&p->waiters, &old, (uintptr_t)node | (old & WF_W_ORPHAN)))
			break;
	}
	if (foreign) {
		wf_membarrier(); /* [P4] */
		/* acquire [P1]: the list is ours to close when the owner did not see the push. */
		if (wf_load_acquire(&p->state) == WF_STATE_DONE)
			*taken = wf_promise_close(p);
	}
	return true;
}

/* Keep the list of a promise that is not done as it is, and look at it. */
static inline uintptr_t wf_promise_lock(struct wf_promise *p)
{
	/* relaxed: a guess for the exchange below. */
	uintptr_t old = wf_load_relaxed(&p->waiters);

	for (;;) {
		WF_CHECK(!(old & WF_W_CLOSED));
		if (old & WF_W_LOCKED) {
			wf_cpu_relax();
			/* relaxed: as above. */
			old = wf_load_relaxed(&p->waiters);
			continue;
		}
		/* acquire [P3], and the lock [P5]: the nodes and their links. */
		if (wf_cas_acquire(&p->waiters, &old, old | WF_W_LOCKED))
			return old;
	}
}

static inline void wf_promise_unlock(struct wf_promise *p, uintptr_t old)
{
	/* release [P5]: the lock. */
	wf_store_release(&p->waiters, old);
}

/*
 * Take a node back. True: it is off the list and will not be fired. False: the list was closed;
 * the node was fired or is about to be.
 */
static inline bool wf_promise_remove(struct wf_promise *p, struct wf_waiter *node)
{
	/* relaxed: a guess for the exchange below. */
	uintptr_t old = wf_load_relaxed(&p->waiters);

	for (;;) {
		if (old & WF_W_CLOSED)
			return false;
		if (old & WF_W_LOCKED) {
			wf_cpu_relax();
			/* relaxed: as above. */
			old = wf_load_relaxed(&p->waiters);
			continue;
		}
		/* acquire [P3], and the lock [P5]: the nodes and their links. */
		if (wf_cas_acquire(&p->waiters, &old, old | WF_W_LOCKED))
			break;
	}
	struct wf_waiter *head = (struct wf_waiter *)(old & ~WF_W_BITS);
	bool found = false;

	for (struct wf_waiter **at = &head; *at; at = &(*at)->next) {
		if (*at == node) {
			*at = node->next;
			found = true;
			break;
		}
	}
	WF_CHECK(found);
	/* release [P5]: the changed links, and the lock. */
	wf_store_release(&p->waiters, (uintptr_t)head | (old & WF_W_ORPHAN));
	return true;
}

/*
 * The last count of a promise goes. True: it is done and the caller frees it. False: whoever
 * completes it does. `foreign` as in push().
 */
static inline bool wf_promise_orphan(struct wf_promise *p, bool foreign)
{
	if (wf_promise_is_done(p))
		return true;
	/* acquire [P2]: as in push(). */
	uintptr_t old = wf_load_acquire(&p->waiters);

	for (;;) {
		if (old & WF_W_CLOSED)
			return true;
		if (old & WF_W_LOCKED) {
			wf_cpu_relax();
			/* acquire [P2]: as in push(). */
			old = wf_load_acquire(&p->waiters);
			continue;
		}
		/*
		 * release [P6]: what this holder did with the memory is over before it is freed.
		 * A stranger takes the lock instead, because it looks once more below, and once
		 * ORPHAN is there the owner may free and reuse the memory.
		 */
		if (wf_cas_acq_rel(&p->waiters, &old, old | (foreign ? WF_W_LOCKED : WF_W_ORPHAN)))
			break;
	}
	if (!foreign)
		return false;
	wf_membarrier(); /* [P4] */
	/* acquire [P1]: done; or the owner will find the word not empty and wait for the lock. */
	bool done = wf_load_acquire(&p->state) == WF_STATE_DONE;

	/* release [P6]: the last touch, unless it is done. */
	wf_store_release(&p->waiters, done ? old : old | WF_W_ORPHAN);
	return done;
}

static inline void wf_promise_retain(struct wf_promise *p)
{
	/* relaxed: the caller holds a count, so nothing can be freed before it passes this on. */
	wf_add_relaxed(&p->refs, 1);
}

/* Drop a count: true when it was the last. */
static inline bool wf_promise_drop(struct wf_promise *p)
{
	/* acquire [P6]: when alone, the other holders' accesses are over. */
	if (wf_load_acquire(&p->refs) == 0)
		return true;
	/* release [P6]: this holder's accesses are over; acquire [P6]: so are the others'. */
	return wf_add_acq_rel(&p->refs, (uint32_t)-1) == 0;
}

#endif /* WF_PROMISE_H */
