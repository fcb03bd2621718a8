/*
 * revive.c: a lost object has bytes again: those of a fresh one, which somebody has computed.
 *
 * Nothing is copied: memory and its account go over from one entry to the other. While that
 * happens the lost object is RESTORING, so that a deletion only marks it and waits for us; the
 * keeper, who alone moves objects there otherwise, finds it as one that is on its way.
 *
 * Shared: `loss` of a LOST object, read and taken away under loss_lock. A loss that was taken away
 * stays until the store closes: whoever has looked at it may still be reading.
 */
#include <errno.h>

#include "inner.h"

static pthread_mutex_t loss_lock = PTHREAD_MUTEX_INITIALIZER; /* losses are rare: one for all */

const struct wf_store_loss *wf_object_loss(const struct wf_object *object)
{
	const struct wf_store_loss *loss = NULL;

	/* First without the lock: nearly nothing is ever lost. */
	if ((wf_object_word(object) & WF_OBJECT_STATE) != WF_OBJECT_LOST)
		return NULL;
	pthread_mutex_lock(&loss_lock);
	if ((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_LOST)
		loss = object->loss;
	pthread_mutex_unlock(&loss_lock);
	return loss;
}

void wf_losses_free(struct wf_store *store)
{
	while (store->old_losses != NULL) {
		struct wf_store_loss *loss = store->old_losses;

		store->old_losses = loss->next;
		wf_free(loss);
	}
}

/* The lost object has a place in memory; under the lock. False: `fresh` is not as it must be. */
static bool take_bytes(struct wf_store *store, struct wf_object *lost, struct wf_object *fresh,
                       uint64_t *was)
{
	struct wf_store_loss *loss = lost->loss;
	uint64_t offset = fresh->offset;

	if (!wf_object_take(fresh, was))
		return false;
	if (loss != &wf_loss_unsaid) {
		loss->next = store->old_losses;
		store->old_losses = loss;
	}
	lost->offset = offset;
	WF_DEBUG(offset % WF_MEM_ALIGN == 0);
	/* relaxed, both: published by the move; the same size takes as much. */
	wf_store_relaxed(&lost->lines, wf_load_relaxed(&fresh->lines));
	wf_store_relaxed(&lost->stamp, wf_store_now(store));
	return true;
}

int wf_object_revive(struct wf_store *store, struct wf_store_local *local, struct wf_object *lost,
                     struct wf_object *fresh)
{
	uint64_t was = 0;

	WF_CHECK(lost != fresh);
	WF_DEBUG(store->table.entries != NULL);
	if (lost->size != fresh->size || fresh->meta != NULL)
		return -EINVAL;
	/* Pinned as it is, it is sealed again when the write is over, and not written once more. */
	if ((wf_object_word(fresh) & WF_OBJECT_STATE) == WF_OBJECT_SPILLING)
		return -EAGAIN;
	pthread_mutex_lock(&loss_lock);
	bool begun = wf_object_begin_revive(lost);
	bool taken = begun && take_bytes(store, lost, fresh, &was);

	if (begun && !taken && wf_object_end_revive(lost, WF_OBJECT_LOST) == WF_NEXT_RELEASE)
		wf_object_release(store, local, lost, WF_OBJECT_LOST);
	pthread_mutex_unlock(&loss_lock);
	if (!taken)
		return -EINVAL;
	/* All that it had but the bytes. */
	wf_object_release(store, local, fresh, WF_OBJECT_RESTORING | (was & WF_OBJECT_COPY));
	if (wf_object_end_revive(lost, WF_OBJECT_SEALED) == WF_NEXT_RELEASE)
		wf_object_release(store, local, lost, WF_OBJECT_SEALED);
	/* relaxed: a statistic. */
	wf_add_relaxed(&store->revived, 1);
	/* Who waits for it has seen it on its way. */
	wf_keeper_ring(store);
	return 0;
}
