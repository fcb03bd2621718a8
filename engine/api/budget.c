/*
 * budget.c: what a group may hold: reservations of memory that wait, references that go with it.
 *
 * Shared: reserved, reserved_own, kept and the list of waiters, under groups->mutex.
 *
 * Invariants
 *   reserved == reserved_own + sum of reserved of the groups in it, <= memory_max but for 0
 *   who is in the list did not fit when somebody last looked, and whoever gives back looks
 *
 * A waiter sleeps on a signal of its own; its grant is made for it by whoever gives back, so that a
 * wake is never for nothing. One that gives up takes itself off the list under the mutex, or finds
 * that it has been granted.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define KEPT_FIRST 16u

/* The first group from here up that is short of `bytes`; NULL: none. */
static struct wf_group *short_of(struct wf_group *group, uint64_t bytes)
{
	for (; group->parent; group = group->parent) {
		WF_DEBUG(!group->memory_max || group->reserved <= group->memory_max);
		if (group->memory_max && bytes > group->memory_max - group->reserved)
			return group;
	}
	return NULL;
}

static void take(struct wf_group *group, uint64_t bytes)
{
	WF_DEBUG(!short_of(group, bytes));
	group->reserved_own += bytes;
	for (; group->parent; group = group->parent)
		group->reserved += bytes;
}

static void return_bytes(struct wf_group *group, uint64_t bytes)
{
	WF_CHECK(group->reserved_own >= bytes);
	group->reserved_own -= bytes;
	WF_DEBUG(group->reserved >= bytes);
	for (; group->parent; group = group->parent)
		group->reserved -= bytes;
}

/* Whether it is to wait on. */
static bool waits(const struct wf_group_waiter *waiter)
{
	WF_DEBUG(waiter->group->used);
	return waiter->group->open && short_of(waiter->group, waiter->bytes);
}

/*
 * Off the list whoever fits now, and whose group was destroyed; or only `who`, when it is in it:
 * the ones taken off.
 */
static struct wf_group_waiter *waiters_take(struct wf_groups *gs, struct wf_group_waiter *who)
{
	struct wf_group_waiter **at = &gs->waiters, *last = NULL, *taken = NULL;

	while (*at) {
		struct wf_group_waiter *waiter = *at;

		if (who ? waiter != who : waits(waiter)) {
			last = waiter;
			at = &waiter->next;
			continue;
		}
		waiter->refused = !who && !waiter->group->open;
		if (!who && !waiter->refused)
			take(waiter->group, waiter->bytes);
		WF_DEBUG(waiter->signal && waiter->group->used);
		*at = waiter->next;
		waiter->next = taken;
		taken = waiter;
	}
	gs->waiters_last = last;
	WF_DEBUG(!gs->waiters == !last);
	return taken;
}

/* After something was given back: who fits now goes on. */
static void serve(struct wf_local *self, struct wf_groups *gs)
{
	pthread_mutex_lock(&gs->mutex);
	struct wf_group_waiter *granted = waiters_take(gs, NULL);

	pthread_mutex_unlock(&gs->mutex);
	while (granted) {
		/* Its frame is gone once it has seen its signal. */
		struct wf_cell *signal = granted->signal;

		granted = granted->next;
		wf_signal(self, signal, NULL);
	}
}

/* Ask the groups that are short to reclaim, each once, from here up. 0: it fits, and is taken. */
static int reclaim(struct wf_groups *gs, struct wf_group *group, uint64_t bytes)
{
	struct wf_group *asked = NULL;

	for (uint32_t i = 0; i <= WEFT_GROUP_DEPTH_MAX; i++) {
		pthread_mutex_lock(&gs->mutex);
		/* Those below the one that was asked last have had their turn. */
		struct wf_group *lacks = short_of(asked ? asked->parent : group, bytes);
		bool fits = !short_of(group, bytes);
		weft_reclaim_fn *fn = lacks ? lacks->reclaim : NULL;
		void *arg = lacks ? lacks->reclaim_arg : NULL;
		uint64_t lack = lacks ? bytes - (lacks->memory_max - lacks->reserved) : 0;

		if (fits)
			take(group, bytes);
		pthread_mutex_unlock(&gs->mutex);
		if (fits || !lacks)
			return fits ? 0 : -EAGAIN;
		WF_DEBUG(lack > 0 && lack <= bytes);
		if (fn)
			fn(arg, lack);
		asked = lacks;
	}
	return -EAGAIN;
}

/* Wait for others to give back. */
static WF_SUSPENDS int await_memory(weft *rt, struct wf_group *group, uint64_t bytes, int64_t until)
{
	struct wf_groups *gs = wf_groups(rt);
	struct wf_local *self = wf_local_of(rt);
	struct wf_group_waiter waiter = { .group = group, .bytes = bytes };
	struct wf_cell *signal = self ? wf_event_start(self, WF_CELL_SIGNAL) : NULL;

	if (!signal)
		return -ENOMEM;
	WF_DEBUG(bytes && bytes <= INT64_MAX);
	/* One count for the list, one for here. */
	wf_promise_retain(&signal->promise);
	waiter.signal = signal;
	pthread_mutex_lock(&gs->mutex);
	if (gs->waiters_last)
		gs->waiters_last->next = &waiter;
	else
		gs->waiters = &waiter;
	gs->waiters_last = &waiter;
	pthread_mutex_unlock(&gs->mutex);
	/* It may fit by now: whoever gave back has not seen us. */
	serve(self, gs);
	int rc = wf_wait_cell(rt, signal, until);

	self = wf_local_of(rt);
	WF_CHECK(self != NULL);
	pthread_mutex_lock(&gs->mutex);
	bool ours = waiters_take(gs, &waiter);

	pthread_mutex_unlock(&gs->mutex);
	if (ours) {
		/* Not granted. A close has cancelled the signal, or the time is up. */
		rc = rc ? rc : -EINTR;
		wf_signal(self, signal, NULL);
	} else {
		/* Granted or refused, whatever else has happened; the signal is about to come. */
		while (!wf_promise_is_done(&signal->promise))
			wf_cpu_relax();
		rc = waiter.refused ? -EINVAL : 0;
	}
	wf_cell_release(self, signal);
	return rc;
}

static WF_SUSPENDS int reserve_or_wait(weft *rt, struct wf_group *group, uint64_t bytes,
                                       int64_t until)
{
	struct wf_groups *gs = wf_groups(rt);

	/* Set once: no lock. */
	for (const struct wf_group *g = group; g->parent; g = g->parent) {
		if (bytes > INT64_MAX || (g->memory_max && bytes > g->memory_max))
			return -EMSGSIZE;
	}
	int rc = reclaim(gs, group, bytes);

	if (!rc)
		return 0;
	WF_DEBUG(group->used);
	return until == WEFT_POLL ? -ETIMEDOUT : await_memory(rt, group, bytes, until);
}

/*
 * Granted, but the group was destroyed meanwhile: what it was granted since goes back, all of it,
 * because whoever else was granted something comes by here, too.
 */
static bool given_late(struct wf_groups *gs, struct wf_group *group)
{
	pthread_mutex_lock(&gs->mutex);
	bool late = !group->open;

	WF_DEBUG(group->used && group->users > 0);
	if (late)
		return_bytes(group, group->reserved_own);
	pthread_mutex_unlock(&gs->mutex);
	return late;
}

int weft_group_reserve(weft *rt, weft_group handle, uint64_t bytes, weft_deadline until)
{
	struct wf_local *self = rt ? wf_local_of(rt) : NULL;
	struct wf_group *group = self ? wf_group_find(rt, handle, false) : NULL;

	if (!group)
		return rt && !self ? -ENOMEM : -EINVAL;
	int rc = reserve_or_wait(rt, group, bytes, until);

	WF_DEBUG(rc <= 0);
	if (!rc && given_late(wf_groups(rt), group)) {
		serve(wf_local_of(rt), wf_groups(rt));
		rc = -EINVAL;
	}
	wf_group_drop(rt, group);
	return rc;
}

int weft_group_give_back(weft *rt, weft_group handle, uint64_t bytes)
{
	struct wf_local *self = rt ? wf_local_of(rt) : NULL;
	struct wf_group *group = self ? wf_group_find(rt, handle, false) : NULL;
	struct wf_groups *gs = group ? wf_groups(rt) : NULL;

	if (!group)
		return rt && !self ? -ENOMEM : -EINVAL;
	pthread_mutex_lock(&gs->mutex);
	bool held = group->reserved_own >= bytes;

	WF_DEBUG(group->users > 0);

	if (held)
		return_bytes(group, bytes);
	pthread_mutex_unlock(&gs->mutex);
	if (held)
		serve(self, gs);
	wf_group_drop(rt, group);
	return held ? 0 : -EINVAL;
}

int weft_group_on_reclaim(weft *rt, weft_group handle, weft_reclaim_fn *fn, void *arg)
{
	struct wf_group *group = rt ? wf_group_find(rt, handle, false) : NULL;

	if (!group)
		return -EINVAL;
	pthread_mutex_lock(&wf_groups(rt)->mutex);
	WF_DEBUG(group->used && group->users > 0);
	group->reclaim = fn;
	group->reclaim_arg = arg;
	pthread_mutex_unlock(&wf_groups(rt)->mutex);
	wf_group_drop(rt, group);
	return 0;
}

/* ---- What goes with it ----------------------------------------------------------------------- */

static bool keep(struct wf_group *group, weft_ref ref)
{
	if (group->kept_count == group->kept_room) {
		uint32_t room = group->kept_room ? group->kept_room * 2 : KEPT_FIRST;
		weft_ref *grown = wf_malloc(room * sizeof(*grown));

		if (!grown)
			return false;
		if (group->kept_count)
			memcpy(grown, group->kept, group->kept_count * sizeof(*grown));
		wf_free(group->kept);
		group->kept = grown;
		group->kept_room = room;
	}
	WF_DEBUG(group->kept_count < group->kept_room);
	group->kept[group->kept_count++] = ref;
	return true;
}

int weft_group_keep(weft *rt, weft_group handle, weft_ref ref)
{
	struct wf_groups *gs = rt ? wf_groups(rt) : NULL;

	if (!gs || !wf_cell_of(rt, ref))
		return -EINVAL;
	pthread_mutex_lock(&gs->mutex);
	struct wf_group *group = wf_group_of(rt, handle);
	int rc = !group ? -EINVAL : keep(group, ref) ? 0 : -ENOMEM;

	WF_DEBUG(rc || group->used);
	pthread_mutex_unlock(&gs->mutex);
	return rc;
}

void wf_group_strip(struct wf_local *self, struct wf_group *group)
{
	weft *rt = self->rt;
	struct wf_groups *gs = wf_groups(rt);

	pthread_mutex_lock(&gs->mutex);
	WF_DEBUG(!group->open && group->users);
	weft_ref *kept = group->kept;
	uint32_t n = group->kept_count;

	WF_DEBUG(!n || kept);
	return_bytes(group, group->reserved_own);
	group->kept = NULL;
	group->kept_count = group->kept_room = 0;
	group->reclaim = NULL;
	pthread_mutex_unlock(&gs->mutex);
	serve(self, gs);
	if (n)
		weft_release_many(rt, kept, n);
	wf_free(kept);
}
