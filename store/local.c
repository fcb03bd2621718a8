/*
 * local.c: what one thread has at hand, and how the keeper gets at it when memory is short.
 *
 * A local has bytes that are reserved and no object's (`credit`), free slots and runs (`cache`)
 * and free entries. Its thread uses them by plain loads and stores. A thread that stands still can
 * not be asked for them, and what it keeps may be all that a large object lacks: a slot keeps its
 * slab from being free. So each local is a lock that its thread holds and gives up at the price of
 * two stores: `inside` says that the thread is at work in it. The keeper writes `asked` into all
 * locals and makes every thread pass a barrier. After that a local whose thread is seen outside is
 * the keeper's: a thread that comes in later sees `asked` and waits for the `locals_lock`. A local
 * whose thread is inside is left alone: the keeper comes again, and refuses nobody until then.
 *
 * Rejected: asking for it, to be answered at the thread's next release, since an idle one has no
 * next; locked instructions on all that the keeper takes, which are as dear as all the rest of a
 * creation, and cannot take back slots; leaving that much of the capacity unused for every thread.
 *
 * Shared
 *   inside        written by the local's thread (of the stray one: under the stray_lock), read by
 *                 the keeper
 *   asked         written by the keeper, under the locals_lock
 *   credit        its thread's, and the keeper's as above; statistics read it
 *   cache         its thread's, and the keeper's as above
 *   entries       its thread's
 *   list of locals   under the locals_lock
 *
 * Invariants: what is the thread's is touched with inside = 1 and asked = 0 seen after it, or by
 * the keeper with the locals_lock and asked = 1 and inside = 0 seen after the barrier; the one
 * excludes the other, since of the two that first store and then load at least one sees the other.
 *
 * Progress: entering and leaving are wait-free while the keeper does not collect, else blocking,
 * for the time in which caches are emptied. Collecting waits for nobody.
 *
 * After: D. Dice, M. Moir, W. Scherer, "Quickly reacquirable locks", 2003, of which this is the
 * case of one owner, with the barrier of membarrier(2) in place of its signals.
 */
#include <string.h>

#include "inner.h"

/* Of who has it, its thread or the keeper: what there was in it. */
static uint64_t empty(struct wf_store *store, struct wf_store_local *local, bool caches)
{
	/* relaxed: nobody else writes it now. */
	uint64_t credit = wf_load_relaxed(&local->credit);

	if (credit > 0) {
		/* relaxed: as above. */
		wf_store_relaxed(&local->credit, 0);
		wf_account_unreserve(store, credit);
	}
	if (!caches)
		return 0;
	return wf_mem_cache_flush(local->cache);
}

struct wf_store_local *wf_store_local_create(struct wf_store *store, uint32_t node)
{
	struct wf_store_local *local =
		wf_node_alloc(node % store->options.node_count, WF_CACHE_LINE, sizeof(*local));

	if (local == NULL)
		return NULL;
	memset(local, 0, sizeof(*local));
	local->cache = wf_mem_cache_create(store->mem, node);
	if (local->cache == NULL) {
		wf_node_free(local);
		return NULL;
	}
	local->store = store;
	pthread_mutex_lock(&store->locals_lock);
	local->next = store->locals;
	if (local->next != NULL)
		local->next->prev = local;
	store->locals = local;
	pthread_mutex_unlock(&store->locals_lock);
	return local;
}

void wf_local_destroy(struct wf_store *store, struct wf_store_local *local)
{
	if (local == NULL)
		return;
	WF_CHECK(local->store == store && local->cache != NULL);
	/* relaxed: its thread has left it, or is the caller. */
	WF_CHECK(wf_load_relaxed(&local->inside) == 0);
	/* Inside until it is off the list: the keeper is not to miss what is on its way back. */
	(void)wf_local_enter(store, local);
	wf_entry_flush(&store->table, local);
	(void)empty(store, local, true);
	pthread_mutex_lock(&store->locals_lock);
	if (local->prev != NULL)
		local->prev->next = local->next;
	else
		store->locals = local->next;
	if (local->next != NULL)
		local->next->prev = local->prev;
	pthread_mutex_unlock(&store->locals_lock);
	/* relaxed, both: it is off the list, and nobody else's any more. */
	WF_CHECK(wf_load_relaxed(&local->asked) == 0 && wf_load_relaxed(&local->inside) == 1);
	WF_CHECK(wf_load_relaxed(&local->credit) == 0);
	wf_mem_cache_destroy(local->cache);
	wf_node_free(local);
}

void wf_store_local_destroy(struct wf_store_local *local)
{
	struct wf_store *store;

	if (local == NULL)
		return;
	store = local->store;
	WF_CHECK(store != NULL && !local->inner);
	wf_local_destroy(store, local);
	/* relaxed: a hint; what it gave back may be what somebody waits for. */
	if (wf_load_relaxed(&store->gate) & WF_GATE_WAITING)
		wf_keeper_ring(store);
}

struct wf_store_local *wf_local_stray(struct wf_store *store)
{
	pthread_mutex_lock(&store->stray_lock);
	return store->stray;
}

void wf_local_stray_leave(struct wf_store *store)
{
	pthread_mutex_unlock(&store->stray_lock);
}

void wf_local_wait(struct wf_store *store, struct wf_store_local *local)
{
	do {
		/* release [L2]: as in wf_local_leave(). */
		wf_store_release(&local->inside, 0);
		/* The keeper has it from before `asked` is set until it is no more. */
		pthread_mutex_lock(&store->locals_lock);
		pthread_mutex_unlock(&store->locals_lock);
	} while (!wf_local_try_enter(store, local));
}

static bool has_credit(const struct wf_store *store)
{
	for (struct wf_store_local *local = store->locals; local != NULL; local = local->next) {
		/* relaxed: a hint: what is put there later is found in the next round. */
		if (wf_load_relaxed(&local->credit) > 0)
			return true;
	}
	return false;
}

bool wf_locals_collect(struct wf_store *store, bool caches, uint64_t *freed)
{
	bool all = true;

	WF_CHECK(store->local != NULL && store->stray != NULL);
	*freed = 0;
	pthread_mutex_lock(&store->locals_lock);
	if (!caches && !has_credit(store)) {
		pthread_mutex_unlock(&store->locals_lock);
		return true;
	}
	for (struct wf_store_local *local = store->locals; local != NULL; local = local->next) {
		/* relaxed: the barrier below. */
		wf_store_relaxed(&local->asked, 1);
	}
	/* [L1]: the stores above before the loads below, against wf_local_try_enter(). */
	if (store->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	for (struct wf_store_local *local = store->locals; local != NULL; local = local->next) {
		/* acquire [L2]: what its thread did in it; the keeper's own is its own. */
		if (local == store->local || wf_load_acquire(&local->inside) == 0)
			*freed += empty(store, local, caches);
		else
			all = false;
		/* release [L3]: that it is empty, to the thread's next entry. */
		wf_store_release(&local->asked, 0);
	}
	pthread_mutex_unlock(&store->locals_lock);
	return all;
}
