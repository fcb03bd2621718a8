/*
 * deque.h: split work-stealing deque: its owner works at the new end, thieves take the old end.
 *
 * Items are non-NULL pointers whose low bits may carry tags of the user's. The essay (shared
 * fields, invariants, progress, literature) is in deque.c; here are the struct and the few
 * instructions that run for every task.
 */
#ifndef WF_QUEUE_DEQUE_H
#define WF_QUEUE_DEQUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "check.h"

/* A ring may not grow past this many slots: indices must differ by less than 2^31. */
#define WF_DEQUE_CAPACITY_LOG2_MAX 29

/*
 * The shared word, bit by bit:
 *   0..31   split      index of the first private item, free-running
 *   32..62  tail       index of the oldest item, modulo 2^31
 *   63      tentative  a forcing thief moved split and has not decided yet; nobody may steal
 * Public items are [tail, split), private ones [split, bottom).
 */
#define WF_DEQUE_TENTATIVE         (UINT64_C(1) << 63)
#define WF_DEQUE_TAIL_MASK         UINT32_C(0x7fffffff)

struct wf_deque_ring;

struct wf_deque {
	/* Line 0: the owner's. Thieves read `bottom` only (count, force). */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_aptr *slots;
	uint32_t mask;
	uint32_t limit;              /* push must look at tail when bottom gets here */
	struct wf_a32 bottom;        /* index one past the newest item */
	bool asymmetric;             /* constant after init, like the copy below */
	struct wf_deque_ring *rings; /* newest first; old ones live until fini */

	/* Line 1: thieves write it; the owner reads it, and writes it when it exposes. */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_a64 word;
	struct wf_aptr ring; /* the newest ring, for thieves */
	struct wf_a32 asked; /* a thief is hungry; always 1 when not asymmetric */
	bool asymmetric_mt;  /* the thieves' copy: keeps them off line 0 */

	/* Line 2: forcing thieves only. */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_a32 forcing;
};

_Static_assert(offsetof(struct wf_deque, slots) % WF_CACHE_LINE == 0, "line 0: the owner's");
_Static_assert(offsetof(struct wf_deque, word) == WF_CACHE_LINE, "line 1: the word");
_Static_assert(offsetof(struct wf_deque, forcing) == 2 * WF_CACHE_LINE, "line 2: forcing");

/*
 * Prepare an empty deque whose ring has 2^capacity_log2 slots (1 .. WF_DEQUE_CAPACITY_LOG2_MAX).
 * `asymmetric`: new items are private, plain stores guard them, and a thief may force them out
 * with wf_membarrier(), which must be available if anybody forces. Otherwise each push exposes
 * its item at once. 0 or -ENOMEM.
 */
int wf_deque_init(struct wf_deque *d, uint32_t capacity_log2, bool asymmetric);
/* Free all rings. No other thread may still look. A zeroed deque is accepted. */
void wf_deque_fini(struct wf_deque *d);

/* Owner: if the item is among the newest `depth` private ones, take it out; leaves a hole. */
bool wf_deque_remove_local(struct wf_deque *d, void *item, uint32_t depth);
/* Owner: make the oldest `n` private items (all, if fewer) public. */
void wf_deque_expose_local(struct wf_deque *d, uint32_t n);

/*
 * Thief: take half (rounded up) of the public items, at most `max`, oldest first, into `out`.
 * How many; 0 when nothing was public or another thread was faster.
 */
uint32_t wf_deque_steal_mt(struct wf_deque *d, void **out, uint32_t max);
/* Thief: ask the owner to expose half of its private items at its next push, pop or take. */
void wf_deque_ask_mt(struct wf_deque *d);
/*
 * Thief: expose half of the private items of an owner that does not answer. Costs a membarrier.
 * True when something is public now; false when there is nothing, when another thief is at it,
 * when the owner was faster, and always when the deque is not asymmetric.
 */
bool wf_deque_force_mt(struct wf_deque *d);

/*
 * Thief: what the oldest slot holds, not to be used but to see later whether it still does.
 * Anything when the deque is empty.
 */
void *wf_deque_oldest_mt(const struct wf_deque *d);

/* The rare rest of the inline functions below (deque.c). */
int wf_deque_push_slow(struct wf_deque *d, void *item);
void *wf_deque_pop_slow(struct wf_deque *d);
void *wf_deque_pop_rest(struct wf_deque *d, void *item);
bool wf_deque_take_slow(struct wf_deque *d, void *item);
void wf_deque_answer(struct wf_deque *d);

static inline uint32_t wf_deque_word_split(uint64_t word)
{
	return (uint32_t)word;
}

/* Of a word whose tentative bit may be set; meaningful modulo 2^31. */
static inline uint32_t wf_deque_word_tail(uint64_t word)
{
	return (uint32_t)(word >> 32) & WF_DEQUE_TAIL_MASK;
}

/* The items between tail and split; with the tentative bit set they are not public yet. */
static inline uint32_t wf_deque_word_count(uint64_t word)
{
	return (wf_deque_word_split(word) - (uint32_t)(word >> 32)) & WF_DEQUE_TAIL_MASK;
}

/*
 * Owner: push and take in parts, for a caller that has more to do between them. All work on the
 * index that the first one says, which only the owner's own calls change.
 */
static inline uint32_t wf_deque_bottom_local(const struct wf_deque *d)
{
	/* relaxed: only the owner writes bottom. */
	return wf_load_relaxed(&d->bottom);
}

/* Whether there is a free slot; then the push itself, which looks for no thief's request. */
static inline bool wf_deque_has_room_local(const struct wf_deque *d, uint32_t b)
{
	return b != d->limit;
}

static inline void wf_deque_put_local(struct wf_deque *d, uint32_t b, void *item)
{
	WF_DEBUG(item != NULL && b != d->limit);
	/* relaxed: published by [D1] below, or by the owner's [D3] when it exposes. */
	wf_store_relaxed(&d->slots[b & d->mask], (uintptr_t)item);
	/* release [D1]: a forcing thief that sees the new bottom in [D2] sees slot and item. */
	wf_store_release(&d->bottom, b + 1);
}

/* Whether `item` is the newest; or was, if the deque is empty, which the take itself tells. */
static inline bool wf_deque_is_newest_local(const struct wf_deque *d, uint32_t b, const void *item)
{
	/* relaxed: only the owner writes slots. */
	return (void *)wf_load_relaxed(&d->slots[(b - 1) & d->mask]) == item;
}

/* Take the newest item; false, and nothing has changed: it is public, or not there. */
static inline bool wf_deque_take_private_local(struct wf_deque *d, uint32_t b)
{
	/* release [D1] and the fence: as in pop. */
	wf_store_release(&d->bottom, b - 1);
	wf_fence_compiler();
	/* relaxed: as in pop. */
	uint64_t w = wf_load_relaxed(&d->word);
	if (WF_LIKELY((int32_t)(b - 1 - wf_deque_word_split(w)) >= 0))
		return true;
	/* release [D1]: undo; the slow path starts from the state before. */
	wf_store_release(&d->bottom, b);
	return false;
}

/* Whether wf_deque_answer() is due. */
static inline bool wf_deque_is_asked_local(const struct wf_deque *d)
{
	/* relaxed: a hint; a late answer only delays a thief. */
	return wf_load_relaxed(&d->asked) != 0;
}

/* Owner: add the newest item. 0, or -ENOMEM when the ring is full and cannot grow. */
static inline int wf_deque_push_local(struct wf_deque *d, void *item)
{
	uint32_t b = wf_deque_bottom_local(d);
	if (WF_UNLIKELY(!wf_deque_has_room_local(d, b)))
		return wf_deque_push_slow(d, item);
	wf_deque_put_local(d, b, item);
	if (WF_UNLIKELY(wf_deque_is_asked_local(d)))
		wf_deque_answer(d);
	return 0;
}

/* Owner: take the newest item, NULL when the deque is empty. */
static inline void *wf_deque_pop_local(struct wf_deque *d)
{
	/* relaxed: only the owner writes bottom. */
	uint32_t b = wf_load_relaxed(&d->bottom) - 1;
	/* release [D1]: as in push; and the owner's half of the Dekker with [D2]. */
	wf_store_release(&d->bottom, b);
	/* Store before load: the processor's half of this fence is the thief's membarrier [F1]. */
	wf_fence_compiler();
	/* relaxed: a private item was stored by the owner itself. */
	uint64_t w = wf_load_relaxed(&d->word);
	if (WF_UNLIKELY((int32_t)(b - wf_deque_word_split(w)) < 0))
		return wf_deque_pop_slow(d);
	/* relaxed: the owner's own store. */
	void *item = (void *)wf_load_relaxed(&d->slots[b & d->mask]);
	/* relaxed: a hint. */
	if (WF_UNLIKELY(!item || wf_load_relaxed(&d->asked)))
		return wf_deque_pop_rest(d, item);
	return item;
}

/* Owner: if the newest item is `item`, take it and say true; else change nothing. */
static inline bool wf_deque_take_local(struct wf_deque *d, void *item)
{
	WF_DEBUG(item != NULL);
	uint32_t b = wf_deque_bottom_local(d);
	if (WF_UNLIKELY(!wf_deque_is_newest_local(d, b, item) ||
	                !wf_deque_take_private_local(d, b)))
		return wf_deque_take_slow(d, item);
	/* relaxed: a hint. */
	if (WF_UNLIKELY(wf_load_relaxed(&d->asked)))
		wf_deque_answer(d);
	return true;
}

/* Owner: how many items only it can take now (holes and tentative items included). */
static inline uint32_t wf_deque_private_count_local(const struct wf_deque *d)
{
	/* relaxed, both: the owner's own store, and a word that thieves change at will. */
	uint64_t w = wf_load_relaxed(&d->word);
	uint32_t split = wf_deque_word_split(w);
	if (WF_UNLIKELY(w & WF_DEQUE_TENTATIVE))
		split -= wf_deque_word_count(w);
	return wf_load_relaxed(&d->bottom) - split;
}

/* Owner: how many pushes cannot fail now. */
static inline uint32_t wf_deque_room_local(const struct wf_deque *d)
{
	/* relaxed, both: only the owner writes bottom; the tail may only have moved up since. */
	uint32_t tail = wf_deque_word_tail(wf_load_relaxed(&d->word));
	uint32_t n = (wf_load_relaxed(&d->bottom) - tail) & WF_DEQUE_TAIL_MASK;
	WF_DEBUG(n <= d->mask + 1);
	return d->mask + 1 - n;
}

/* Any thread: whether there is something to steal; approximate. */
static inline bool wf_deque_has_public(const struct wf_deque *d)
{
	/* relaxed: a hint; the steal looks again. */
	uint64_t w = wf_load_relaxed(&d->word);
	return !(w & WF_DEQUE_TENTATIVE) && wf_deque_word_count(w) != 0;
}

/* Any thread: private and public items, holes included; approximate. Disturbs the owner's line. */
static inline uint32_t wf_deque_count_mt(const struct wf_deque *d)
{
	/* relaxed, both: the two words are of different moments anyway. */
	uint32_t tail = wf_deque_word_tail(wf_load_relaxed(&d->word));
	uint32_t n = (wf_load_relaxed(&d->bottom) - tail) & WF_DEQUE_TAIL_MASK;
	/* A difference this large is a negative one: the deque moved between the two loads. */
	return n > (UINT32_C(1) << WF_DEQUE_CAPACITY_LOG2_MAX) ? 0 : n;
}

#endif /* WF_QUEUE_DEQUE_H */
