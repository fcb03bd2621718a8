/*
 * deque.c: split work-stealing deque.
 *
 * The owner pushes and pops private items with plain stores. When a thief asks, the owner makes
 * the older half public; when the owner does not answer, because it is inside a long body, a
 * thief does that for it and pays with a membarrier what the owner never pays. Thieves take half
 * of the public part with one CAS.
 *
 * Shared
 *   word      {tail, split, tentative}. Changed by CAS only: by thieves (tail up; tentative), by
 *             the owner (split and tail up, tentative off). Read by all.
 *   bottom    written by the owner, read by forcing thieves (acquire) and by counters.
 *   slots     written by the owner while the slot's index is not public and not stolen by an old
 *             view (Invariant 3), read by the owner and, up to their CAS, by thieves.
 *   ring      the newest ring; written by the owner, read by thieves. Old rings stay until fini
 *             (together less memory than the newest), so a late reader reads stale, valid memory.
 *   asked     hint, set by thieves, cleared by the owner that answers. Without asymmetry it is 1
 *             for ever, which sends every push to the function that exposes.
 *   forcing   try-lock of the forcing thieves of this deque; the owner never looks at it.
 *
 * Invariants (indices run freely; all comparisons are by unsigned difference)
 *   1. tail <= split <= bottom <= tail + capacity, seen by the owner outside its calls, the
 *      tentative bit off. During a pop bottom is one lower, or several during a removal; during
 *      reclaim() split is ahead of it.
 *   2. tail never falls. When asymmetric, split does not fall either, but for the return of a
 *      tentative move that nobody could use.
 *   3. A thief's CAS succeeds only on the word it has read its slots under. A slot in [tail,
 *      split) is rewritten only after tail has passed it: the owner takes the last public item by
 *      raising tail, as Chase and Lev do, and more than one by moving the public part up
 *      (reclaim()), which raises tail too. So an equal word means equal slots. Lowering split by a
 *      CAS would not do: pop two, push two, expose two gives the old word with new items, and a
 *      thief that takes several at once would take old ones. (Without asymmetry split is lowered:
 *      there thieves take one item per CAS, the one at tail, which is never rewritten that way.)
 *      What is left of ABA needs exactly a multiple of 2^31 steals and of 2^32 pushes between a
 *      thief's load and its CAS.
 *   4. While the tentative bit is set nothing is public: tail is what split was before. Only the
 *      holder of `forcing` sets it; the owner may clear it at any time (never waits for it).
 *
 * The forced exposure is an asymmetric Dekker. Owner: bottom := x; load word. Thief: word :=
 * tentative up to s; membarrier; load bottom. If the owner took item x < s under the old word, its
 * load came before the membarrier's point in its program order, so the store of bottom did too,
 * and the thief sees a bottom of at most x, or one of a push after it, whose item is then really
 * there. In all cases bottom >= s, seen after the membarrier, means: every item below s is in its
 * slot and any later pop sees the tentative word. The try-lock closes an ABA of its own: without
 * it a second thief could set the very same tentative word after the owner's undo, and the first
 * one would confirm it on the ground of an old view of bottom.
 *
 * Progress: push, pop and take are wait-free for private items (push amortised: it may grow the
 * ring); with a public part, pop, take and expose are lock-free (a retry means that a thief has
 * taken something or has forced). steal is lock-free, and gives up when it loses one race.
 * ask, has_public and count are wait-free. force is a try-lock: it never waits, but a holder
 * that is suspended keeps other forcing thieves, and only them, away from this deque.
 *
 * After: T. van Dijk and J. van de Pol, "Lace: non-blocking split deque for work-stealing",
 * Euro-Par 2014 Workshops, doi:10.1007/978-3-319-14313-2_18; U. Acar, A. Chargueraud and
 * M. Rainey, "Scheduling parallel programs by work stealing with private deques", PPoPP 2013,
 * doi:10.1145/2442516.2442538; D. Chase and Y. Lev, "Dynamic circular work-stealing deque", SPAA
 * 2005, doi:10.1145/1073970.1073974. Differences: pointers in a growing ring instead of tasks in
 * a fixed array; half of the public part per theft; the owner takes items back by moving them up,
 * not by lowering split under a flag; the thief can expose by itself.
 */
#include "deque.h"

#include <errno.h>

#include "base.h"

struct wf_deque_ring {
	struct wf_deque_ring *older;
	uint32_t mask;
	struct wf_aptr slots[];
};

static inline uint64_t make_word(uint32_t tail, uint32_t split)
{
	return (uint64_t)(tail & WF_DEQUE_TAIL_MASK) << 32 | split;
}

/* The word with a tentative move taken back; any other word unchanged. */
static inline uint64_t settled(uint64_t w)
{
	if (!(w & WF_DEQUE_TENTATIVE))
		return w;
	uint32_t tail = wf_deque_word_split(w) - wf_deque_word_count(w);
	return make_word(tail, tail);
}

static inline uint32_t capacity(const struct wf_deque *d)
{
	return d->mask + 1;
}

static inline void *slot_load(const struct wf_deque *d, uint32_t index)
{
	/* relaxed: only the owner writes slots, and only the owner calls this. */
	return (void *)wf_load_relaxed(&d->slots[index & d->mask]);
}

static inline void slot_store(struct wf_deque *d, uint32_t index, void *item)
{
	/* relaxed: published by a later [D1] or [D3]. */
	wf_store_relaxed(&d->slots[index & d->mask], (uintptr_t)item);
}

static struct wf_deque_ring *ring_create(uint32_t slot_count)
{
	WF_CHECK((slot_count & (slot_count - 1)) == 0);
	struct wf_deque_ring *ring = wf_malloc(offsetof(struct wf_deque_ring, slots) +
	                                       (size_t)slot_count * sizeof(struct wf_aptr));
	if (!ring)
		return NULL;
	ring->older = NULL;
	ring->mask = slot_count - 1;
	return ring;
}

int wf_deque_init(struct wf_deque *d, uint32_t capacity_log2, bool asymmetric)
{
	WF_CHECK(capacity_log2 >= 1);
	WF_CHECK(capacity_log2 <= WF_DEQUE_CAPACITY_LOG2_MAX);
	struct wf_deque_ring *ring = ring_create(UINT32_C(1) << capacity_log2);
	if (!ring)
		return -ENOMEM;
	/* take_local() looks below bottom before it knows that something is there. */
	wf_init(&ring->slots[ring->mask], 0);
	d->slots = ring->slots;
	d->mask = ring->mask;
	d->limit = ring->mask + 1;
	d->asymmetric = asymmetric;
	d->asymmetric_mt = asymmetric;
	d->rings = ring;
	wf_init(&d->bottom, 0);
	wf_init(&d->word, make_word(0, 0));
	wf_init(&d->ring, (uintptr_t)ring);
	wf_init(&d->asked, !asymmetric);
	wf_init(&d->forcing, 0);
	return 0;
}

void wf_deque_fini(struct wf_deque *d)
{
	struct wf_deque_ring *ring = d->rings;
	while (ring) {
		struct wf_deque_ring *older = ring->older;
		wf_free(ring);
		ring = older;
	}
	d->rings = NULL;
	d->slots = NULL;
}

/* Double the ring, which holds [tail, bottom). 0 or -ENOMEM. */
static int grow(struct wf_deque *d, uint32_t tail, uint32_t bottom)
{
	uint32_t old_count = capacity(d);
	WF_CHECK(bottom - tail <= old_count);
	if (old_count >= UINT32_C(1) << WF_DEQUE_CAPACITY_LOG2_MAX)
		return -ENOMEM;
	struct wf_deque_ring *ring = ring_create(2 * old_count);
	if (!ring)
		return -ENOMEM;
	/* Thieves may take some of these meanwhile: then nobody looks at their copies. */
	for (uint32_t i = tail; i != bottom; i++)
		wf_init(&ring->slots[i & ring->mask], (uintptr_t)slot_load(d, i));
	ring->older = d->rings;
	d->rings = ring;
	d->slots = ring->slots;
	d->mask = ring->mask;
	d->limit = tail + capacity(d);
	/* release [D7]: the copies and the mask are visible to who loads the ring by [D8]. */
	wf_store_release(&d->ring, (uintptr_t)ring);
	return 0;
}

/* bottom has reached the limit, which was drawn from an old tail: draw it anew, or grow. */
int wf_deque_push_slow(struct wf_deque *d, void *item)
{
	/* acquire [D6]: thieves have read the slots below the tail they left in [D5]. */
	uint64_t w = wf_load_acquire(&d->word);
	uint32_t tail = wf_deque_word_split(w) - wf_deque_word_count(w);
	/* relaxed: only the owner writes bottom. */
	uint32_t b = wf_load_relaxed(&d->bottom);
	WF_CHECK(b - tail <= capacity(d));
	if (b - tail == capacity(d)) {
		if (grow(d, tail, b) != 0)
			return -ENOMEM;
	} else {
		d->limit = tail + capacity(d);
	}
	WF_CHECK(b != d->limit);
	return wf_deque_push_local(d, item);
}

void wf_deque_expose_local(struct wf_deque *d, uint32_t n)
{
	/* relaxed, both: only the owner writes bottom; the CAS checks the word. */
	uint32_t b = wf_load_relaxed(&d->bottom);
	uint64_t w = wf_load_relaxed(&d->word);
	for (;;) {
		uint64_t base = settled(w);
		uint32_t split = wf_deque_word_split(base);
		uint32_t private_count = b - split;
		WF_CHECK(private_count <= capacity(d));
		uint32_t k = n < private_count ? n : private_count;
		if (k == 0)
			return;
		uint64_t next = make_word(wf_deque_word_tail(base), split + k);
		/* release [D3]: slots and items are visible to who loads the word by [D4]. */
		if (wf_cas_release(&d->word, &w, next))
			return;
	}
}

void wf_deque_answer(struct wf_deque *d)
{
	uint32_t n = wf_deque_private_count_local(d);
	if (n == 0)
		return;
	if (!d->asymmetric) {
		wf_deque_expose_local(d, n);
		return;
	}
	/* relaxed: a hint; cleared first, so that a thief that finds nothing left asks again. */
	wf_store_relaxed(&d->asked, 0);
	wf_deque_expose_local(d, n - n / 2);
}

/* Owner: lower bottom to b; whether [b, the old bottom) now is out of every thief's reach. */
static inline bool lower(struct wf_deque *d, uint32_t b)
{
	/* release [D1], fence and relaxed load: as in wf_deque_pop_local(). */
	wf_store_release(&d->bottom, b);
	wf_fence_compiler();
	uint64_t w = wf_load_relaxed(&d->word);
	return (int32_t)(b - wf_deque_word_split(w)) >= 0;
}

/* Owner: put bottom back after lower() said no, and take back a tentative move if that was why. */
static void raise(struct wf_deque *d, uint32_t b)
{
	/* release [D1]: as in push. */
	wf_store_release(&d->bottom, b);
	/* relaxed, both: nothing is published; the forcing thief's next CAS fails. */
	uint64_t w = wf_load_relaxed(&d->word);
	if (w & WF_DEQUE_TENTATIVE)
		(void)wf_cas_relaxed(&d->word, &w, settled(w));
}

/*
 * Owner: no private items, at least two public ones, asymmetric: take the newest, leave the older
 * half of the others public and make the rest private again. They move up by their number, so
 * that tail rises (Invariant 3); the copies pay for themselves, since each needs an exposure.
 * 1 the newest was taken, 0 a thief was faster, -ENOMEM the ring is too small and cannot grow.
 */
static int reclaim(struct wf_deque *d, uint64_t w, uint32_t b)
{
	uint32_t n = wf_deque_word_count(w);
	WF_CHECK(n >= 2 && wf_deque_word_split(w) == b);
	if (2 * n - 1 > capacity(d) && grow(d, b - n, b) != 0)
		return -ENOMEM;
	for (uint32_t i = 0; i < n - 1; i++)
		slot_store(d, b + i, slot_load(d, b - n + i));
	/* release [D3]: the copies are visible to the thief that loads the word [D4]. */
	if (!wf_cas_release(&d->word, &w, make_word(b, b + n / 2)))
		return 0;
	d->limit = b + capacity(d);
	/*
	 * release [D1]: as in push. Not before the CAS: a forcing thief would find the copies
	 * private while the originals are still public.
	 */
	wf_store_release(&d->bottom, b + n - 1);
	return 1;
}

/*
 * Owner: no private items, some public ones: take the newest of them. 1 taken, 0 a thief was
 * faster, -ENOMEM as reclaim().
 */
static int take_public(struct wf_deque *d, uint64_t w, uint32_t b)
{
	uint32_t tail = wf_deque_word_tail(w);
	WF_CHECK(wf_deque_word_count(w) > 0);
	/* relaxed: the owner's own item, and thieves need not see anything of this. */
	if (wf_deque_word_count(w) == 1)
		return wf_cas_relaxed(&d->word, &w, make_word(tail + 1, b));
	if (d->asymmetric)
		return reclaim(d, w, b);
	/* relaxed: as above. */
	if (!wf_cas_relaxed(&d->word, &w, make_word(tail, b - 1)))
		return 0;
	/* relaxed: without asymmetry nobody forces; other threads only count. */
	wf_store_relaxed(&d->bottom, b - 1);
	return 1;
}

/* Owner: no memory to put the public items in order again: the oldest is better than none. */
static void *take_oldest(struct wf_deque *d, uint64_t w, uint32_t b)
{
	void *oldest = slot_load(d, b - wf_deque_word_count(w));
	/* relaxed: as in take_public(). */
	if (!wf_cas_relaxed(&d->word, &w, make_word(wf_deque_word_tail(w) + 1, b)))
		return NULL;
	return oldest;
}

/* Owner: pop the newest item, whatever the state; `want`: only if it is this one. */
static void *take_newest(struct wf_deque *d, void *want)
{
	for (;;) {
		/* relaxed: only the owner writes bottom. */
		uint32_t b = wf_load_relaxed(&d->bottom);
		if (wf_deque_private_count_local(d) > 0) {
			if (!lower(d, b - 1)) {
				raise(d, b);
				continue;
			}
			void *item = slot_load(d, b - 1);
			if (!item)
				continue; /* a hole is dropped */
			if (want && item != want) {
				raise(d, b);
				return NULL;
			}
			return item;
		}
		/* acquire [D6]: reclaim() may reuse slots that thieves have read. */
		uint64_t w = wf_load_acquire(&d->word);
		if (w & WF_DEQUE_TENTATIVE) {
			raise(d, b);
			continue;
		}
		/* Items that became private again between the two loads of the word. */
		if (wf_deque_word_split(w) != b)
			continue;
		if (wf_deque_word_count(w) == 0)
			return NULL;
		void *item = slot_load(d, b - 1);
		if (want && item && item != want)
			return NULL;
		int rc = take_public(d, w, b);
		if (rc == 1 && item)
			return item;
		if (rc < 0 && want)
			return NULL;
		if (rc < 0 && (item = take_oldest(d, w, b)) != NULL)
			return item;
	}
}

/* pop_local() has lowered bottom and found no private item. */
void *wf_deque_pop_slow(struct wf_deque *d)
{
	/* relaxed: only the owner writes bottom. */
	raise(d, wf_load_relaxed(&d->bottom) + 1);
	return wf_deque_pop_rest(d, NULL);
}

/* pop_local() has found a hole, or an item and a thief's request. */
void *wf_deque_pop_rest(struct wf_deque *d, void *item)
{
	if (!item)
		item = take_newest(d, NULL);
	/* relaxed: a hint. */
	if (wf_load_relaxed(&d->asked))
		wf_deque_answer(d);
	return item;
}

/* take_local() has found a hole or a public item on top. */
bool wf_deque_take_slow(struct wf_deque *d, void *item)
{
	WF_CHECK(item != NULL);
	if (!take_newest(d, item))
		return false;
	/* relaxed: a hint. */
	if (wf_load_relaxed(&d->asked))
		wf_deque_answer(d);
	return true;
}

bool wf_deque_remove_local(struct wf_deque *d, void *item, uint32_t depth)
{
	WF_CHECK(item != NULL);
	for (;;) {
		/* relaxed: only the owner writes bottom. */
		uint32_t b = wf_load_relaxed(&d->bottom);
		uint32_t private_count = wf_deque_private_count_local(d);
		uint32_t n = depth < private_count ? depth : private_count;
		uint32_t i = 1;
		while (i <= n && slot_load(d, b - i) != item)
			i++;
		if (i > n)
			return false;
		/* A pop of all that is above and a push of it again: the same Dekker guards it. */
		if (!lower(d, b - i)) {
			raise(d, b);
			continue;
		}
		if (i == 1)
			return true;
		slot_store(d, b - i, NULL);
		/* release [D1]: as in push; who sees this bottom sees the hole. */
		wf_store_release(&d->bottom, b);
		return true;
	}
}

/* Close the holes in a stolen batch; how many items are left. */
static uint32_t drop_holes(void **out, uint32_t n)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (out[i])
			out[kept++] = out[i];
	}
	return kept;
}

/*
 * One item per CAS: without asymmetry the owner lowers split, so that an equal word vouches for
 * the slot at tail only (Invariant 3).
 */
static uint32_t steal_singly(struct wf_deque *d, uint64_t w, void **out, uint32_t k)
{
	uint32_t taken = 0;
	while (taken < k && wf_deque_word_count(w) > 0) {
		uint32_t tail = wf_deque_word_tail(w);
		/* acquire [D8]: with [D7]; the ring may have grown since the last turn. */
		struct wf_deque_ring *ring = (struct wf_deque_ring *)wf_load_acquire(&d->ring);
		/* relaxed: ordered by the acquire [D4] of the caller. */
		out[taken] = (void *)wf_load_relaxed(&ring->slots[tail & ring->mask]);
		uint64_t next = make_word(tail + 1, wf_deque_word_split(w));
		/* release [D5]: the slot was read before the owner [D6] may reuse it. */
		if (!wf_cas_release(&d->word, &w, next))
			break;
		w = next;
		taken++;
	}
	return taken;
}

uint32_t wf_deque_steal_mt(struct wf_deque *d, void **out, uint32_t max)
{
	for (;;) {
		/* acquire [D4]: with the exposure [D3]; slots and items of the public part. */
		uint64_t w = wf_load_acquire(&d->word);
		uint32_t n = wf_deque_word_count(w);
		if (w & WF_DEQUE_TENTATIVE || n == 0 || max == 0)
			return 0;
		uint32_t k = n - n / 2 < max ? n - n / 2 : max;
		uint32_t taken = k;
		if (!d->asymmetric_mt) {
			taken = steal_singly(d, w, out, k);
		} else {
			/* acquire [D8]: with [D7]; any ring since the load of the word will do. */
			struct wf_deque_ring *ring =
				(struct wf_deque_ring *)wf_load_acquire(&d->ring);
			uint32_t tail = wf_deque_word_tail(w);
			for (uint32_t i = 0; i < k; i++) {
				/* relaxed: ordered by [D4]; void if the CAS fails. */
				out[i] = (void *)wf_load_relaxed(
					&ring->slots[(tail + i) & ring->mask]);
			}
			uint64_t next = make_word(tail + k, wf_deque_word_split(w));
			/* release [D5]: the slots were read before the owner [D6] reuses them. */
			if (!wf_cas_release(&d->word, &w, next))
				return 0;
		}
		if (taken == 0)
			return 0;
		uint32_t kept = drop_holes(out, taken);
		if (kept > 0)
			return kept;
	}
}

void *wf_deque_oldest_mt(const struct wf_deque *d)
{
	/* relaxed: any moment's tail will do. */
	uint32_t tail = wf_deque_word_tail(wf_load_relaxed(&d->word));
	/* acquire [D8]: with [D7]. */
	struct wf_deque_ring *ring = (struct wf_deque_ring *)wf_load_acquire(&d->ring);
	/* relaxed: only compared. */
	return (void *)wf_load_relaxed(&ring->slots[tail & ring->mask]);
}

void wf_deque_ask_mt(struct wf_deque *d)
{
	/* relaxed, both: a hint. Looking first spares the owner's copy of the line. */
	if (!wf_load_relaxed(&d->asked))
		wf_store_relaxed(&d->asked, 1);
}

static bool force_locked(struct wf_deque *d)
{
	/* relaxed: the CAS checks it. */
	uint64_t w = wf_load_relaxed(&d->word);
	WF_CHECK(!(w & WF_DEQUE_TENTATIVE)); /* only the holder of the lock sets it */
	if (wf_deque_word_count(w) > 0)
		return true;
	uint32_t split = wf_deque_word_split(w);
	/* relaxed: decides only how much is tried; [D2] below decides whether it stands. */
	uint32_t n = wf_load_relaxed(&d->bottom) - split;
	if ((int32_t)n <= 0)
		return false;
	n -= n / 2;
	uint64_t final = make_word(wf_deque_word_tail(w), split + n);
	uint64_t tentative = final | WF_DEQUE_TENTATIVE;
	/* relaxed: the membarrier [F1] orders it with bottom, here and at the owner. */
	if (!wf_cas_relaxed(&d->word, &w, tentative))
		return wf_deque_has_public(d);
	wf_membarrier();
	/* acquire [D2]: with [D1]; the slots and items below the bottom that is seen. */
	uint32_t b = wf_load_acquire(&d->bottom);
	uint64_t seen = tentative;
	if ((int32_t)(b - (split + n)) < 0) {
		/* relaxed: nobody could use what is taken back. Failure: the owner was faster. */
		(void)wf_cas_relaxed(&d->word, &seen, settled(tentative));
		return wf_deque_has_public(d);
	}
	/* release [D3]: hands on to the stealing thief [D4] what [D2] has brought. */
	if (wf_cas_release(&d->word, &seen, final))
		return true;
	return wf_deque_has_public(d);
}

bool wf_deque_force_mt(struct wf_deque *d)
{
	if (!d->asymmetric_mt)
		return false;
	if (wf_deque_has_public(d))
		return true;
	/* acquire [D10]: the previous holder [D9] has settled its tentative word. */
	if (wf_swap_acquire(&d->forcing, 1))
		return false;
	bool result = force_locked(d);
	/* release [D9]: with the next holder's [D10]. */
	wf_store_release(&d->forcing, 0);
	return result;
}
