/*
 * keeper.c: the one thread of the store that decides.
 *
 * It serves those who wait, makes room and brings back; no other thread does, so none of this needs
 * a lock against itself. Threads that make room, or have finished a transfer, ring its bell. It
 * works until nothing can be done and sleeps until something happens: without a time limit when
 * nobody lacks room, which costs nothing.
 *
 * When those who lack room can be helped by nothing here (nothing in flight, nothing to evict), it
 * takes back what preferences have kept (enum wf_serving), then asks whether anything outside can
 * still help. If not, the oldest fails, at once, with the figures; the next round sees what that
 * has changed. The question is asked before the round that finds nothing, so that what the outside
 * did last has been seen, and the answer is for tickets that were in line when it was asked.
 *
 * Shared: `bell`: everybody rings. `back`: pushed by threads of the files, taken whole here.
 * `kicked`, `stop`, `all_asked`/`all_done`: questions to the keeper and its answers.
 *
 * Progress: ring() and back() are lock-free; the keeper itself takes the store's lock.
 */
#include <errno.h>

#include "inner.h"

enum bell { BELL_QUIET, BELL_RUNG, BELL_ASLEEP };

#define POLL_MIN_NS 1000000
#define POLL_MAX_NS 10000000

void wf_keeper_ring(struct wf_store *store)
{
	/* acq_rel [K1]: what the ringer did, to the acquire [K2] of the keeper that wakes. */
	if (wf_swap_acq_rel(&store->bell, BELL_RUNG) == BELL_ASLEEP)
		wf_futex_wake(&store->bell, 1);
}

/* True: it was rung. */
static bool sleep_until(struct wf_store *store, int64_t until_ns)
{
	uint32_t bell = BELL_QUIET;

	/* acquire [K2]: with [K1]: whoever rang is seen. */
	if (wf_cas_acquire(&store->bell, &bell, BELL_ASLEEP)) {
		while (wf_futex_wait(&store->bell, BELL_ASLEEP, until_ns) == 0) {
			/* relaxed: the swap below acquires. */
			if (wf_load_relaxed(&store->bell) != BELL_ASLEEP)
				break;
		}
	}
	/* acquire [K2]: as above. */
	return wf_swap_acquire(&store->bell, BELL_QUIET) == BELL_RUNG;
}

void wf_keeper_back(struct wf_store *store, struct wf_back *back)
{
	/* relaxed: the exchange below decides. */
	uintptr_t head = wf_load_relaxed(&store->back);

	do {
		back->next = (struct wf_back *)head;
		/* release [K3]: the results, to the acquire in take_back(). */
	} while (!wf_cas_release(&store->back, &head, (uintptr_t)back));
	wf_keeper_ring(store);
}

/* Finish what has come back. True: there was something. */
static bool take_back(struct wf_store *store)
{
	/* acquire [K3]: with the release above. */
	struct wf_back *back = (struct wf_back *)wf_swap_acquire(&store->back, 0);
	bool any = back != NULL;

	while (back != NULL) {
		struct wf_back *next = back->next;

		back->finish(store, back);
		back = next;
	}
	return any;
}

/* Bytes that should go: for those who wait, and down to `low` when `high` is passed. */
static uint64_t wanted(struct wf_store *store, const struct wf_served *served, bool all,
                       bool *falling)
{
	/* relaxed: a number. */
	uint64_t used = wf_load_relaxed(&store->used), want = served->need;
	uint64_t flying = wf_evict_flying_bytes(store);

	if (all)
		return UINT64_MAX / 2;
	if (used > store->high)
		*falling = true;
	if (used <= store->low)
		*falling = false;
	if (*falling && used - store->low > want)
		want = used - store->low;
	return want > flying ? want - flying : 0;
}

/* Answer those who wait in wf_store_spill_all(). */
static void answer_all(struct wf_store *store, uint32_t asked)
{
	pthread_mutex_lock(&store->lock);
	store->all_status = wf_evict_take_failure(store);
	/* release [K4]: the status, to the acquire in wf_store_spill_all(). */
	wf_store_release(&store->all_done, asked);
	pthread_mutex_unlock(&store->lock);
	wf_futex_wake(&store->all_done, INT32_MAX);
}

static bool is_busy(struct wf_store *store)
{
	return store->options.busy != NULL && store->options.busy(store->options.arg);
}

/*
 * Nothing can be evicted and nobody is being helped by a transfer: drop preferences, one after the
 * other. True: something has changed; else *inside: a thread was at work that may help.
 */
static bool drop_preferences(struct wf_store *store, bool *inside)
{
	static const enum wf_serving servings[] = { WF_SERVE_ANY, WF_SERVE_RESERVE };

	*inside = false;
	for (uint32_t i = 0; i < 2; i++) {
		struct wf_served served;
		bool moved;

		WF_DEBUG(wf_evict_flying_bytes(store) == 0);
		wf_tickets_serve(store, servings[i], &served);
		moved = served.finished != NULL || wf_restores_flying(store) > 0 || !served.lacking;
		wf_tickets_finish(store, served.finished);
		if (moved)
			return true;
		*inside = *inside || served.inside;
	}
	return wf_tickets_demote(store);
}

/*
 * Somebody lacks room, or (`sharing`) waits for a share, and nothing here can help. True: something
 * has changed all the same; false: wait for the outside, which (`busy`) may help, or could not help
 * tickets up to serial `newest`.
 */
static bool last_resorts(struct wf_store *store, bool lacking, bool sharing, bool busy,
                         uint64_t newest)
{
	bool inside = false;

	WF_CHECK(lacking || sharing);
	if (lacking && drop_preferences(store, &inside))
		return true;
	/* Asked once more: what the outside held for a moment is not what nothing can help. */
	if (busy || inside || is_busy(store))
		return false;
	/* relaxed: whether one that has pinned something waits for one without a share. */
	if (sharing && (!lacking || wf_load_relaxed(&store->lent) > 0))
		(void)wf_shares_serve(store, true);
	else
		wf_tickets_fail_oldest(store, newest, wf_evict_hindrance(store));
	return true;
}

/*
 * The memory has less than accounting: what threads keep goes back, and who waits is served with
 * it.
 */
static void serve_with_caches(struct wf_store *store, struct wf_served *served)
{
	uint64_t freed;
	bool inside = !wf_locals_collect(store, true, &freed);

	wf_mem_trim(store->mem, 0);
	if (freed > 0 && served->finished == NULL)
		wf_tickets_serve(store, WF_SERVE_FAIR, served);
	served->inside = served->inside || inside;
}

/* One round. True: go on at once; false: sleep until `*until`, WF_FOREVER: until the bell. */
static bool go_round(struct wf_store *store, bool *falling, int64_t *until)
{
	struct wf_served served;
	uint64_t newest;
	uint32_t asked;
	bool all, busy, sharing;

	WF_CHECK(store->local != NULL && store->evict != NULL);
	take_back(store);
	/* relaxed: what was kicked for is looked at from here on. */
	wf_store_relaxed(&store->kicked, 0);
	pthread_mutex_lock(&store->lock);
	asked = store->all_asked;
	newest = store->serial;
	pthread_mutex_unlock(&store->lock);
	busy = is_busy(store);
	/* relaxed: written by this thread. */
	all = asked != wf_load_relaxed(&store->all_done);
	wf_tickets_serve(store, WF_SERVE_FAIR, &served);
	if (store->mem_short > 0)
		serve_with_caches(store, &served);
	if (served.finished != NULL) {
		wf_tickets_finish(store, served.finished);
		return true;
	}
	sharing = wf_shares_serve(store, false);
	*until = WF_FOREVER;
	switch (wf_evict(store, wanted(store, &served, all, falling), all || served.lacking)) {
	case WF_EVICT_FREED:
		return true;
	case WF_EVICT_FLYING:
		return false;
	case WF_EVICT_LATER:
		*until = wf_evict_again_ns(store);
		return false;
	default:
		break;
	}
	*falling = false;
	if (wf_restores_flying(store) > 0)
		return false;
	if (all) {
		answer_all(store, asked);
		return true;
	}
	if (!served.lacking && !sharing)
		return false;
	if (last_resorts(store, served.lacking, sharing, busy || served.inside, newest))
		return true;
	*until = 0;
	return false;
}

static bool is_stopping(struct wf_store *store)
{
	/* acquire [K5]: with the release in wf_keeper_stop(). */
	return wf_load_acquire(&store->stop) != 0;
}

static void *keeper_main(void *arg)
{
	struct wf_store *store = arg;
	int64_t pause = POLL_MIN_NS;
	bool falling = false;

	WF_CHECK(store->restores != NULL && store->local != NULL);
	while (!is_stopping(store)) {
		int64_t until;

		if (go_round(store, &falling, &until))
			continue;
		/* What it has freed is for others. */
		(void)wf_mem_cache_flush(store->local->cache);
		/* 0: poll the outside, since it need not ring. */
		if (until == 0)
			until = wf_clock_now(NULL) + pause;
		pause = pause * 2 < POLL_MAX_NS ? pause * 2 : POLL_MAX_NS;
		if (sleep_until(store, until))
			pause = POLL_MIN_NS;
	}
	while (wf_restores_flying(store) > 0 || wf_evict_flying_bytes(store) > 0) {
		if (!take_back(store))
			sleep_until(store, WF_FOREVER);
	}
	return NULL;
}

/* ---- Starting and stopping ------------------------------------------------------------------- */

/* Called with the start lock held. Nothing of a failed start is left. */
static int start_locked(struct wf_store *store)
{
	int rc;

	WF_CHECK(store->local == NULL && store->evict == NULL);
	WF_CHECK(store->restores == NULL);
	store->local = wf_store_local_create(store, 0);
	if (store->local == NULL)
		return -ENOMEM;
	store->local->inner = true;
	rc = wf_restores_open(store);
	if (rc == 0)
		rc = wf_evict_open(store);
	if (rc == 0)
		rc = wf_thread_start(&store->thread, "weft-keeper", keeper_main, store);
	if (rc == 0)
		return 0;
	wf_evict_close(store);
	wf_restores_close(store);
	wf_local_destroy(store, store->local);
	store->local = NULL;
	return rc;
}

int wf_keeper_start(struct wf_store *store)
{
	int rc = 0;

	/* relaxed: whoever needs more than that it runs takes a lock or rings. */
	if (WF_LIKELY(wf_load_relaxed(&store->keeper_runs) != 0))
		return 0;
	pthread_mutex_lock(&store->start_lock);
	/* relaxed: written under this lock. */
	if (wf_load_relaxed(&store->keeper_runs) == 0) {
		rc = start_locked(store);
		if (rc == 0)
			wf_store_relaxed(&store->keeper_runs, 1);
	}
	pthread_mutex_unlock(&store->start_lock);
	return rc;
}

void wf_keeper_stop(struct wf_store *store)
{
	/* relaxed: nobody else is inside. */
	if (wf_load_relaxed(&store->keeper_runs) == 0)
		return;
	/* release [K5]: everything before, to the keeper. */
	wf_store_release(&store->stop, 1);
	wf_keeper_ring(store);
	wf_thread_join(&store->thread);
	/* relaxed: it has gone. */
	WF_CHECK(wf_load_relaxed(&store->back) == 0);
	wf_evict_close(store);
	wf_restores_close(store);
	/* relaxed: as above. */
	wf_store_relaxed(&store->keeper_runs, 0);
}

void wf_keeper_kick(struct wf_store *store)
{
	/* relaxed, both: one ring is enough until the keeper has looked. */
	if (wf_load_relaxed(&store->kicked) != 0 || wf_swap_relaxed(&store->kicked, 1) != 0)
		return;
	/* A keeper that cannot start is tried again at the next reservation. */
	if (wf_keeper_start(store) == 0)
		wf_keeper_ring(store);
	else
		wf_store_relaxed(&store->kicked, 0);
}

int wf_store_spill_all(struct wf_store *store)
{
	uint32_t mine, done;
	int rc;

	if (store->options.spill_dir_count == 0)
		return -ENOTSUP;
	if (wf_keeper_start(store) != 0)
		return -EAGAIN;
	pthread_mutex_lock(&store->lock);
	mine = ++store->all_asked;
	pthread_mutex_unlock(&store->lock);
	WF_CHECK(mine != 0);
	wf_keeper_ring(store);
	for (;;) {
		/* acquire [K4]: the status. */
		done = wf_load_acquire(&store->all_done);
		if ((int32_t)(done - mine) >= 0)
			break;
		wf_futex_wait(&store->all_done, done, WF_FOREVER);
	}
	pthread_mutex_lock(&store->lock);
	rc = store->all_status;
	pthread_mutex_unlock(&store->lock);
	return rc;
}
