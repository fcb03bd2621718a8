/*
 * share.c: how much may be pinned ahead of what is still to be made.
 *
 * A body that has its inputs pinned and waits for room to write its outputs holds what others need,
 * and waits for what others hold. If every worker goes on with the next such body while one waits,
 * the inputs of those who wait fill the store and nothing can be written any more, though one after
 * the other all would have fitted. So who will want room while holding pins asks for a share first:
 * all shares together are half of the capacity at most, and leave room for the create that waits at
 * the front, and for one as great as those that waited lately. The first share is given whatever
 * its size.
 *
 * Who waits for something else than room (for another body, say) lends his share out meanwhile: the
 * other may need it. And all of that is a preference, not a lock: when nothing else helps and
 * nobody outside can, the oldest who waits gets his share all the same, since he may be who the
 * others wait for. But not at the price of those who wait for room, where nothing is lent: then
 * another one with pins could only be in their way, and one of them has to fail.
 *
 * Shared: `shared`, `lent`: all threads, relaxed: numbers. The line: under the store's lock. A
 * waiter off the line belongs to who took it off: the canceller, or the keeper, who calls `done`.
 *
 * Invariants: shared + lent = the bytes of all shares that were given and not given back.
 *
 * Progress: lock-free without waiting; blocking, on the lock, else.
 */
#include <errno.h>

#include "inner.h"

/* Guessed: a shared line is not worth touching for less, and of that many sets half would fit. */
#define LEAST_PARTS 65536u
/* Guessed: after some eight creates that waited the greatest of them is forgotten. */
#define WIDE_PARTS  8u

/* Within `limit`; the first of all in any case. */
static bool take(struct wf_store *store, uint64_t bytes, uint64_t limit)
{
	/* relaxed, both: a number. */
	uint64_t now = wf_load_relaxed(&store->shared);

	do {
		if (now != 0 && (bytes > limit || now > limit - bytes))
			return false;
	} while (!wf_cas_relaxed(&store->shared, &now, now + bytes));
	return true;
}

uint64_t wf_store_share_bytes(const struct wf_store *store, uint64_t bytes)
{
	if (bytes < store->capacity / LEAST_PARTS)
		return 0;
	return bytes < store->capacity ? bytes : store->capacity;
}

bool wf_store_share(struct wf_store *store, uint64_t bytes)
{
	/* relaxed: who passes a gate that is being closed was there first. */
	if (wf_load_relaxed(&store->gate) & (WF_GATE_CLOSED | WF_GATE_SHARING))
		return false;
	/* relaxed: a policy's number. */
	return take(store, bytes, wf_load_relaxed(&store->share_limit));
}

void wf_store_share_again(struct wf_store *store, uint64_t bytes)
{
	/* relaxed, both: numbers. */
	wf_add_relaxed(&store->shared, bytes);
	WF_CHECK(wf_add_relaxed(&store->lent, -bytes) >= bytes);
}

void wf_store_share_lend(struct wf_store *store, uint64_t bytes)
{
	/* relaxed: a number; before it is missing in `shared`. */
	wf_add_relaxed(&store->lent, bytes);
	wf_store_unshare(store, bytes);
}

void wf_store_unshare(struct wf_store *store, uint64_t bytes)
{
	/* relaxed, both: a number; a hint, as in create.c. */
	uint64_t before = wf_add_relaxed(&store->shared, -bytes);

	WF_CHECK(before >= bytes);
	if (bytes > 0 && wf_load_relaxed(&store->gate) & WF_GATE_WAITING)
		wf_keeper_ring(store);
}

/* Called with the lock held. */
static void take_off(struct wf_store *store, struct wf_store_sharer *sharer)
{
	WF_CHECK(sharer->waits);
	if (sharer->prev != NULL)
		sharer->prev->next = sharer->next;
	else
		store->sharers = sharer->next;
	if (sharer->next != NULL)
		sharer->next->prev = sharer->prev;
	else
		store->sharers_last = sharer->prev;
	WF_CHECK((store->sharers == NULL) == (store->sharers_last == NULL));
	sharer->next = sharer->prev = NULL;
	sharer->waits = false;
}

void wf_store_share_wait(struct wf_store *store, struct wf_store_sharer *sharer)
{
	WF_CHECK(sharer->done != NULL && sharer->bytes <= store->capacity);
	sharer->status = 0;
	sharer->next = NULL;
	if (wf_keeper_start(store) != 0) {
		sharer->waits = false;
		sharer->status = -ENOMEM;
		sharer->done(sharer);
		return;
	}
	/* relaxed: a statistic. */
	wf_add_relaxed(&store->waits, 1);
	pthread_mutex_lock(&store->lock);
	sharer->waits = true;
	sharer->prev = store->sharers_last;
	if (sharer->prev != NULL)
		sharer->prev->next = sharer;
	else
		store->sharers = sharer;
	store->sharers_last = sharer;
	wf_gate_set(store);
	pthread_mutex_unlock(&store->lock);
	wf_keeper_ring(store);
}

bool wf_store_share_cancel(struct wf_store *store, struct wf_store_sharer *sharer)
{
	bool waited;

	pthread_mutex_lock(&store->lock);
	waited = sharer->waits;
	if (waited) {
		take_off(store, sharer);
		wf_gate_set(store);
	}
	pthread_mutex_unlock(&store->lock);
	if (waited)
		wf_keeper_ring(store);
	return waited;
}

/* ---- Keeper only ----------------------------------------------------------------------------- */

/* What shares may be now: half, and no more than leaves room for such creates as come. */
static uint64_t find_limit_locked(struct wf_store *store)
{
	uint64_t limit = store->capacity / 2, most = wf_account_limit(store), room = store->wide;

	if (store->creates != NULL && wf_account_bytes(store, store->creates->size) > room)
		room = wf_account_bytes(store, store->creates->size);
	WF_CHECK(room <= store->capacity);
	most = most > room ? most - room : 0;
	if (most < limit)
		limit = most;
	/* relaxed: written under the lock. */
	wf_store_relaxed(&store->share_limit, limit);
	return limit;
}

void wf_share_note_create(struct wf_store *store, uint64_t bytes)
{
	store->wide -= store->wide / WIDE_PARTS;
	if (bytes > store->wide)
		store->wide = bytes;
}

bool wf_shares_serve(struct wf_store *store, bool force)
{
	struct wf_store_sharer *served = NULL, **last = &served;
	bool waiting;

	pthread_mutex_lock(&store->lock);
	(void)find_limit_locked(store);
	while (store->sharers != NULL) {
		struct wf_store_sharer *first = store->sharers;

		if (!take(store, first->bytes, find_limit_locked(store))) {
			if (!force)
				break;
			/* relaxed: a number. */
			wf_add_relaxed(&store->shared, first->bytes);
		}
		force = false;
		take_off(store, first);
		*last = first;
		last = &first->next;
	}
	waiting = store->sharers != NULL;
	wf_gate_set(store);
	pthread_mutex_unlock(&store->lock);
	while (served != NULL) {
		struct wf_store_sharer *sharer = served;

		served = sharer->next;
		WF_CHECK(!sharer->waits);
		sharer->done(sharer);
	}
	return waiting;
}
