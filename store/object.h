/*
 * object.h: the word of an object: who moves it from where to where. Nothing here knows of memory,
 * files or threads; what has to follow a move is said by the answer.
 */
#ifndef WF_STORE_OBJECT_H
#define WF_STORE_OBJECT_H

#include "wf_store.h"

/* Bytes in memory. */
static inline bool wf_word_is_resident(uint64_t word)
{
	uint64_t state = word & WF_OBJECT_STATE;

	return state == WF_OBJECT_SEALED || state == WF_OBJECT_SPILLING;
}
static inline bool wf_word_is_held(uint64_t word)
{
	return (word & (WF_OBJECT_PINS | WF_OBJECT_VIEWS)) != 0;
}
/* In memory, and nobody would miss its bytes there now. */
static inline bool wf_word_is_evictable(uint64_t word)
{
	return (word & WF_OBJECT_STATE) == WF_OBJECT_SEALED && !(word & WF_OBJECT_DEAD) &&
		!wf_word_is_held(word);
}

/* What a move asks of its caller. */
enum wf_object_next {
	WF_NEXT_NOTHING,
	WF_NEXT_IDLE,    /* nobody holds it any more: it can be evicted */
	WF_NEXT_RELEASE, /* it is FREE now, and the caller's alone: give back what it had */
	WF_NEXT_EVICT,   /* SPILLED: free its memory */
	WF_NEXT_REFUSED, /* the word does not allow it; it was left alone */
};

/* Any thread. `was`: the word before. `tick`: the time to be stamped. */
enum wf_object_next wf_object_move_unpin(struct wf_object *object, uint64_t unit, uint32_t tick,
                                         uint64_t *was);
enum wf_object_next wf_object_move_delete(struct wf_object *object, uint64_t *was);
/* A waiting ticket's pin: also on what is not in memory. 0, -EINVAL, -EIO, -EOVERFLOW. */
int wf_object_hold(struct wf_object *object);
/*
 * A waiting ticket's pin, on what is in memory, becomes a view. 0; -EINVAL it is dead, -EOVERFLOW:
 * then the pin is as before.
 */
int wf_object_unhold_as_view(struct wf_object *object);

/* LOST -> RESTORING, any thread; the caller alone ends it. False: it is not lost, or is dead. */
bool wf_object_begin_revive(struct wf_object *object);
enum wf_object_next wf_object_end_revive(struct wf_object *object, enum wf_object_state to);
/* SEALED with one pin, the caller's, and nothing else -> FREE. False: there is more. */
bool wf_object_take(struct wf_object *object, uint64_t *was);

/* Keeper only. False: it is not (any more) as it must be. */
bool wf_object_begin_spill(struct wf_object *object, bool has_copy);
bool wf_object_begin_restore(struct wf_object *object);
bool wf_object_drop_copy(struct wf_object *object); /* the file's record is not needed */
enum wf_object_next wf_object_end_spill(struct wf_object *object, bool written);
enum wf_object_next wf_object_end_restore(struct wf_object *object, enum wf_object_state to);

#endif /* WF_STORE_OBJECT_H */
