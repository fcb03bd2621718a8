/*
 * room.h: who keeps others from having room in the store: shares of bodies that pin inputs, and
 * calls of host threads that hold something until their own end.
 */
#ifndef WF_ROOM_H
#define WF_ROOM_H

#include "runtime.h"

/* Where the shares of what runs here are added up; see share.c of the store. */
static inline uint64_t *wf_share_of(struct wf_local *self)
{
	return self->fiber ? &wf_fiber_user(self->fiber)->share : &self->share;
}
/* Give back what is held here while it waits for others: how much. And take it again. */
uint64_t wf_shares_out(struct wf_local *self);
void wf_shares_in(struct wf_local *self, uint64_t bytes);

#define WF_ROOM_LEAST 4096u /* bytes that are worth waiting for */
/*
 * A call that holds room in the store until its own end, as weft_put() does while it copies, is
 * bracketed: as long as one is inside and awake the store does not give others up. Those of tasks
 * need not be, since the engine knows that a body runs; nor small ones. Returns what to leave with.
 */
static inline bool wf_room_enter(struct wf_local *self, uint64_t size)
{
	if (self->worker || self->current || size < WF_ROOM_LEAST)
		return false;
	self->room_calls++;
	/* acq_rel [R1]: before anything is held; read by store_busy(). */
	wf_add_acq_rel(&self->rt->rooms_entered, 1);
	return true;
}
static inline void wf_room_leave(struct wf_local *self, bool entered)
{
	if (!entered)
		return;
	WF_CHECK(self->room_calls > 0);
	WF_CHECK(!self->worker);
	self->room_calls--;
	/* release [R2]: what was held is given back; to the acquire in store_busy(). */
	wf_add_release(&self->rt->rooms_left, 1);
}

#endif /* WF_ROOM_H */
