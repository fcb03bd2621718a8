/*
 * object.c: the word of an object.
 *
 * One word of 64 bits is the only truth about an object that threads share: its state, two counts
 * of those who hold it, and whether it is dead or has a copy in a file. Every change of it is one
 * compare-and-swap (or, by somebody who already has a pin, an addition), so whoever changes the
 * word knows what it was and answers for what follows from that. Exactly one thread makes the move
 * to FREE, and that thread gives the object's things back.
 *
 * Shared: `word`, all threads. `size`, `tag`, `meta`: the creator until the seal, then read-only.
 * `offset`, `place`, `loss`: the creator's or the keeper's, each before the move that publishes
 * it; after the move to FREE of who made that one. `stamp`, `lines`, `generation`: relaxed, also
 * read by walks over all entries, which have no claim to what they look at.
 *
 * Legal moves of the state, and who makes them:
 *
 *   FREE       -> CREATING    create: the entry came from a free list
 *   CREATING   -> SEALED      seal: its creator
 *   CREATING   -> FREE        delete: its owner, who is the creator
 *   SEALED     -> SPILLING    keeper, when nobody holds it and it is not dead; one that has a copy
 *                             goes on at once, without a write
 *   SEALED     -> FREE        delete without pins; the last unpin of a dead one
 *   SPILLING   -> SPILLED     keeper, when it is written and nobody has taken hold of it since
 *   SPILLING   -> SEALED      keeper, when somebody has (with COPY), or it could not be written
 *   SPILLING   -> FREE        keeper, when it is dead without pins
 *   SPILLED    -> RESTORING   keeper; pins of waiting tickets may stand on it
 *   SPILLED    -> FREE        delete without pins; the last unpin of a dead one
 *   RESTORING  -> SEALED      keeper, with COPY
 *   RESTORING  -> SPILLED     keeper, when it could not be read for want of something passing
 *   RESTORING  -> LOST        keeper, when the file does not have what was written
 *   RESTORING  -> FREE        keeper, when it is dead without pins
 *   LOST       -> FREE        delete without pins; the last unpin of a dead one
 *   LOST       -> RESTORING   revive: any thread, which then alone leaves it for SEALED or LOST
 *
 * Between them: pins and views up and down by anybody; DEAD once, by the owner, which voids the
 * views; COPY off by the keeper while SEALED. SPILLING and RESTORING are left by the keeper alone
 * (or who revives), so a deletion only marks the object there and the keeper finds the mark.
 *
 * Invariants: bytes in memory <=> CREATING, SEALED, SPILLING, RESTORING. `place` is valid <=> COPY
 * or SPILLED or RESTORING, or SPILLING what had a copy. DEAD => no views. FREE => the word is 0.
 *
 * Progress: lock-free; every loop repeats only when another thread has changed the word.
 */
#include "object.h"

#include <errno.h>

#define BIT(state) (1u << WF_OBJECT_##state)

static const uint8_t legal[] = {
	[WF_OBJECT_FREE] = BIT(CREATING),
	[WF_OBJECT_CREATING] = BIT(SEALED) | BIT(FREE),
	[WF_OBJECT_SEALED] = BIT(SPILLING) | BIT(FREE),
	[WF_OBJECT_SPILLING] = BIT(SPILLED) | BIT(SEALED) | BIT(FREE),
	[WF_OBJECT_SPILLED] = BIT(RESTORING) | BIT(FREE),
	[WF_OBJECT_RESTORING] = BIT(SEALED) | BIT(SPILLED) | BIT(LOST) | BIT(FREE),
	[WF_OBJECT_LOST] = BIT(FREE) | BIT(RESTORING),
};

_Static_assert(WF_OBJECT_LOST < 8, "a set of states is a byte");

/* `next` is another state than `*old`; false: the word has changed, `*old` is what it is now. */
static bool move(struct wf_object *object, uint64_t *old, uint64_t next)
{
	uint64_t from = *old & WF_OBJECT_STATE, to = next & WF_OBJECT_STATE;

	WF_CHECK(from <= WF_OBJECT_LOST && to <= WF_OBJECT_LOST);
	WF_CHECK(legal[from] >> to & 1);
	WF_DEBUG(to != WF_OBJECT_FREE || next == 0);
	/*
	 * acq_rel [O3]: release: what the mover wrote (bytes, offset, place), to whoever sees the
	 * new state: [O1] and [O2] in wf_store.h, and the other moves here. Acquire: what the
	 * movers and the unpinners before did with it.
	 */
	return wf_cas_acq_rel(&object->word, old, next);
}

/* Whether a pin or view more would leave the field of its count. */
static bool is_crowded(uint64_t word, uint64_t unit)
{
	uint64_t field = unit == WF_OBJECT_PIN ? WF_OBJECT_PINS : WF_OBJECT_VIEWS;

	return (word & field & WF_OBJECT_CROWD) != 0;
}

int wf_object_pin_slow(struct wf_store *store, struct wf_object *object, uint64_t unit)
{
	/* relaxed: the exchange below decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	(void)store;
	if (unit != WF_OBJECT_PIN && unit != WF_OBJECT_VIEW)
		return -EINVAL;
	for (;;) {
		uint64_t state = word & WF_OBJECT_STATE;

		if (state <= WF_OBJECT_CREATING || (word & WF_OBJECT_DEAD) != 0)
			return -EINVAL;
		if (state == WF_OBJECT_LOST)
			return -EIO;
		if (!wf_word_is_resident(word))
			return -EAGAIN;
		if (is_crowded(word, unit))
			return -EOVERFLOW;
		/* acquire [O1]: the bytes. */
		if (wf_cas_acquire(&object->word, &word, word + unit))
			return 0;
	}
}

int wf_object_hold(struct wf_object *object)
{
	/* relaxed: the exchange below decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	for (;;) {
		uint64_t state = word & WF_OBJECT_STATE;

		if (state <= WF_OBJECT_CREATING || (word & WF_OBJECT_DEAD) != 0)
			return -EINVAL;
		if (state == WF_OBJECT_LOST)
			return -EIO;
		if (is_crowded(word, WF_OBJECT_PIN))
			return -EOVERFLOW;
		/* acquire [O1]: the bytes, where they are in memory. */
		if (wf_cas_acquire(&object->word, &word, word + WF_OBJECT_PIN))
			return 0;
	}
}

int wf_object_unhold_as_view(struct wf_object *object)
{
	/* relaxed: the exchange below decides; the pin keeps the bytes where they are. */
	uint64_t word = wf_load_relaxed(&object->word);

	do {
		WF_CHECK((word & WF_OBJECT_PINS) != 0 && wf_word_is_resident(word));
		if ((word & WF_OBJECT_DEAD) != 0)
			return -EINVAL;
		if (is_crowded(word, WF_OBJECT_VIEW))
			return -EOVERFLOW;
		/* acquire [O1]: the bytes. */
	} while (!wf_cas_acquire(&object->word, &word, word - WF_OBJECT_PIN + WF_OBJECT_VIEW));
	return 0;
}

enum wf_object_next wf_object_move_unpin(struct wf_object *object, uint64_t unit, uint32_t tick,
                                         uint64_t *was)
{
	const uint64_t field = unit == WF_OBJECT_PIN ? WF_OBJECT_PINS : WF_OBJECT_VIEWS;
	/* relaxed: the exchange below decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	WF_CHECK(unit == WF_OBJECT_PIN || unit == WF_OBJECT_VIEW);
	for (;;) {
		uint64_t next = word - unit, state = word & WF_OBJECT_STATE;

		if (WF_UNLIKELY((word & field) == 0))
			return WF_NEXT_REFUSED;
		*was = word;
		if (WF_UNLIKELY((next & (WF_OBJECT_DEAD | WF_OBJECT_PINS)) == WF_OBJECT_DEAD &&
		                state != WF_OBJECT_SPILLING && state != WF_OBJECT_RESTORING)) {
			if (move(object, &word, 0))
				return WF_NEXT_RELEASE;
			continue;
		}
		if (!wf_word_is_held(next)) {
			/* relaxed: a hint for who walks; and several may be the last in turn. */
			wf_store_relaxed(&object->stamp, tick);
		}
		/* acq_rel [O4]: what was read under this pin, to the move [O3] that evicts it. */
		if (wf_cas_acq_rel(&object->word, &word, next))
			return wf_word_is_held(next) ? WF_NEXT_NOTHING : WF_NEXT_IDLE;
	}
}

enum wf_object_next wf_object_move_delete(struct wf_object *object, uint64_t *was)
{
	/* relaxed: the exchange below decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	for (;;) {
		uint64_t state = word & WF_OBJECT_STATE;

		/* Freed already, or twice: whoever goes on now would free somebody else's. */
		WF_CHECK(state != WF_OBJECT_FREE);
		WF_CHECK((word & WF_OBJECT_DEAD) == 0);
		*was = word;
		if ((word & WF_OBJECT_PINS) == 0 && state != WF_OBJECT_SPILLING &&
		    state != WF_OBJECT_RESTORING) {
			if (move(object, &word, 0))
				return WF_NEXT_RELEASE;
			continue;
		}
		/* acq_rel [O5]: the mark, to whoever moves the object next. */
		if (wf_cas_acq_rel(&object->word, &word,
		                   (word | WF_OBJECT_DEAD) & ~WF_OBJECT_VIEWS))
			return WF_NEXT_NOTHING;
	}
}

/* ---- Reviving -------------------------------------------------------------------------------- */

bool wf_object_begin_revive(struct wf_object *object)
{
	/* relaxed: the exchange in move() decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	while ((word & (WF_OBJECT_STATE | WF_OBJECT_DEAD)) == WF_OBJECT_LOST) {
		if (move(object, &word, word - WF_OBJECT_LOST + WF_OBJECT_RESTORING))
			return true;
	}
	return false;
}

bool wf_object_take(struct wf_object *object, uint64_t *was)
{
	/* relaxed: the exchange in move() decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	while ((word & ~WF_OBJECT_COPY) == WF_OBJECT_SEALED + WF_OBJECT_PIN) {
		*was = word;
		if (move(object, &word, 0))
			return true;
	}
	return false;
}

/* ---- The keeper's moves ---------------------------------------------------------------------- */

bool wf_object_begin_spill(struct wf_object *object, bool has_copy)
{
	/* The only word that qualifies: sealed, and nothing else. */
	uint64_t word = WF_OBJECT_SEALED | (has_copy ? WF_OBJECT_COPY : 0);

	return move(object, &word, WF_OBJECT_SPILLING);
}

bool wf_object_drop_copy(struct wf_object *object)
{
	/* relaxed: the exchange below decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	while ((word & (WF_OBJECT_STATE | WF_OBJECT_COPY)) == (WF_OBJECT_SEALED | WF_OBJECT_COPY)) {
		/* acq_rel [O6]: nobody frees the record by the word after this. */
		if (wf_cas_acq_rel(&object->word, &word, word & ~WF_OBJECT_COPY))
			return true;
	}
	return false;
}

bool wf_object_begin_restore(struct wf_object *object)
{
	/* relaxed: the exchange in move() decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	while ((word & (WF_OBJECT_STATE | WF_OBJECT_DEAD)) == WF_OBJECT_SPILLED) {
		if (move(object, &word, word - WF_OBJECT_SPILLED + WF_OBJECT_RESTORING))
			return true;
	}
	return false;
}

enum wf_object_next wf_object_end_spill(struct wf_object *object, bool written)
{
	/* relaxed: the exchange in move() decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	for (;;) {
		uint64_t rest = word & ~WF_OBJECT_STATE;
		enum wf_object_next answer = WF_NEXT_NOTHING;
		uint64_t next = rest | WF_OBJECT_SEALED;

		WF_CHECK((word & WF_OBJECT_STATE) == WF_OBJECT_SPILLING);
		WF_CHECK((word & WF_OBJECT_COPY) == 0);
		if (written)
			next |= WF_OBJECT_COPY;
		if (!wf_word_is_held(word)) {
			if ((word & WF_OBJECT_DEAD) != 0) {
				next = 0;
				answer = WF_NEXT_RELEASE;
			} else if (written) {
				next = WF_OBJECT_SPILLED;
				answer = WF_NEXT_EVICT;
			}
		}
		if (move(object, &word, next))
			return answer;
	}
}

/* RESTORING is over; `copy`: what is in memory is in a file as well. */
static enum wf_object_next end_restoring(struct wf_object *object, enum wf_object_state to,
                                         uint64_t copy)
{
	/* relaxed: the exchange in move() decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	WF_CHECK(to == WF_OBJECT_SEALED || to == WF_OBJECT_SPILLED || to == WF_OBJECT_LOST);
	for (;;) {
		uint64_t next = (word & ~WF_OBJECT_STATE) | to;
		enum wf_object_next answer = WF_NEXT_NOTHING;

		WF_CHECK((word & WF_OBJECT_STATE) == WF_OBJECT_RESTORING);
		WF_CHECK((word & WF_OBJECT_VIEWS) == 0);
		next |= copy;
		if ((word & (WF_OBJECT_DEAD | WF_OBJECT_PINS)) == WF_OBJECT_DEAD) {
			next = 0;
			answer = WF_NEXT_RELEASE;
		}
		if (move(object, &word, next))
			return answer;
	}
}

enum wf_object_next wf_object_end_restore(struct wf_object *object, enum wf_object_state to)
{
	return end_restoring(object, to, to == WF_OBJECT_SEALED ? WF_OBJECT_COPY : 0);
}

enum wf_object_next wf_object_end_revive(struct wf_object *object, enum wf_object_state to)
{
	WF_CHECK(to != WF_OBJECT_SPILLED);
	return end_restoring(object, to, 0);
}
