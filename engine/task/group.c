/*
 * group.c: the groups of a runtime: made, joined, cancelled, given up; their tasks counted.
 *
 * A group's slot in the table lives as long as the runtime, and is used again when its handle is
 * given up, no task of it is left and no group is in it. Whoever holds a task of it therefore may
 * look at it by its number without a lock.
 *
 * Shared
 *   live, submitted, done, failed   added to by those who submit and end tasks
 *   groups->cancelled   set under the mutex, read by all: at submit, at the start of a task, and
 *               wherever a task asks whether it is to stop
 *   the rest    under groups->mutex
 *
 * Cancel. The flag is set, then everything that waits is looked for: cells that wait for inputs,
 * parked fibers, requests for resources, what lies in the lanes. What is submitted meanwhile either
 * sees the flag, or has been found; a submit that has passed the flag and waits for inputs
 * looks again behind a fence [G3] once it can be found. What was on its way to a lane meanwhile is
 * either in it when the lanes are looked through, or its pusher sees the flag: both are under the
 * mutex. What is queued elsewhere is ended as by a reference: its cell tells that it is queued.
 *
 * Join. A joiner leaves a signal under the mutex while it sees tasks; who takes the last one off
 * `live` looks there after that. So either the joiner sees none or its signal is seen.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"
#include "plain.h"

#define DRAIN_BATCH 64u
#define LOCKED_WALK 1024u /* cells */

/* ---- The table ----------------------------------------------------------------------------- */

struct wf_groups *wf_groups(const weft *rt)
{
	/* acquire [G2]: the table behind the pointer. */
	return (struct wf_groups *)wf_load_acquire(&rt->groups);
}

struct wf_group *wf_group_at(const weft *rt, uint32_t index)
{
	return index ? wf_groups(rt)->at[index] : NULL;
}

weft_group wf_group_handle(const struct wf_group *group)
{
	return (weft_group){ (uint64_t)group->gen << 32 | group->index };
}

struct wf_group *wf_group_of(weft *rt, weft_group handle)
{
	struct wf_groups *gs = wf_groups(rt);
	uint32_t index = (uint32_t)handle.bits;

	if (!gs || !index || index >= gs->end)
		return NULL;
	struct wf_group *group = gs->at[index];

	return group->open && group->gen == handle.bits >> 32 ? group : NULL;
}

bool wf_group_known(weft *rt, weft_group handle)
{
	struct wf_groups *gs = wf_groups(rt);

	if (handle.bits == UINT64_MAX || !gs)
		return handle.bits == UINT64_MAX;
	pthread_mutex_lock(&gs->mutex);
	bool known = wf_group_of(rt, handle);

	pthread_mutex_unlock(&gs->mutex);
	return known;
}

/* Made with the first group. NULL: no memory. */
static struct wf_groups *table(weft *rt)
{
	struct wf_groups *gs = wf_groups(rt);
	uintptr_t none = 0;

	if (gs)
		return gs;
	gs = wf_calloc(1, sizeof(*gs));
	if (!gs)
		return NULL;
	pthread_mutex_init(&gs->mutex, NULL);
	gs->end = 1;
	gs->root.used = true;
	gs->root.budget = 1;
	WF_DEBUG(!gs->root.parent && !gs->root.index);
	wf_share_init(&gs->root.own, 1, WEFT_PRIORITY_NORMAL, 0);
	/* release [G2]: the table, to whoever reads the pointer; acquire: another one's. */
	if (wf_cas_acq_rel(&rt->groups, &none, (uintptr_t)gs))
		return gs;
	pthread_mutex_destroy(&gs->mutex);
	wf_free(gs);
	return (struct wf_groups *)none;
}

void wf_groups_free(weft *rt)
{
	struct wf_groups *gs = wf_groups(rt);

	if (!gs)
		return;
	for (uint32_t i = 1; i < gs->end; i++) {
		for (uint32_t p = 0; p < WF_PRIORITIES; p++)
			wf_free(gs->at[i]->lane[p].at);
		/* The references themselves go with the runtime. */
		wf_free(gs->at[i]->kept);
		wf_free(gs->at[i]);
	}
	pthread_mutex_destroy(&gs->mutex);
	wf_free(gs);
}

/* A free slot, under the mutex. 0, -ENOSPC, -ENOMEM. */
static int slot_take(weft *rt, struct wf_group **out)
{
	struct wf_groups *gs = wf_groups(rt);
	struct wf_group *group = NULL;

	if (gs->used == WEFT_GROUPS_MAX)
		return -ENOSPC;
	for (uint32_t i = 1; i < gs->end && gs->used + 1 < gs->end && !group; i++) {
		if (!gs->at[i]->used)
			group = gs->at[i];
	}
	if (!group) {
		group = wf_calloc(1, sizeof(*group));
		if (!group)
			return -ENOMEM;
		/* As those of cells: the upper bits tell the runtimes apart. */
		group->gen = rt->salt;
		group->index = gs->end;
		gs->at[gs->end++] = group;
	}
	WF_CHECK(!group->used && !group->queued && !group->active && !group->running);
	gs->used++;
	WF_DEBUG(gs->used < gs->end);
	*out = group;
	return 0;
}

/* ---- Life of the slots ----------------------------------------------------------------------- */

int wf_group_make(weft *rt, const struct weft_group_options *o, weft_group wanted, weft_group *out)
{
	struct wf_local *self = wf_self();
	struct wf_groups *gs = table(rt);
	struct wf_group *parent, *group = NULL;

	if (!gs)
		return -ENOMEM;
	pthread_mutex_lock(&gs->mutex);
	if (wanted.bits == UINT64_MAX)
		parent = NULL;
	else
		parent = wanted.bits ? wf_group_of(rt, wanted) : wf_group_current(rt, self);
	int rc = wanted.bits && wanted.bits != UINT64_MAX && !parent ? -EINVAL : 0;

	if (!parent)
		parent = &gs->root;
	if (!rc && parent->depth == WEFT_GROUP_DEPTH_MAX)
		rc = -EMLINK;
	/* relaxed: under the mutex. */
	if (!rc && wf_load_relaxed(&gs->cancelled[parent->index]))
		rc = -ECANCELED;
	if (!rc)
		rc = slot_take(rt, &group);
	if (!rc) {
		uint32_t gen = rt->salt | ((group->gen + 1) & WF_GEN_MASK);
		struct wf_group fresh = { .index = group->index,
			                  .gen = gen,
			                  .depth = parent->depth + 1,
			                  .used = true,
			                  .open = true,
			                  .parent = parent,
			                  .parallel_max = o->parallel_max,
			                  .memory_max = o->memory,
			                  .budget = 1 };

		WF_CHECK(fresh.depth <= WEFT_GROUP_DEPTH_MAX && o->weight);
		memcpy(fresh.lane, group->lane, sizeof(fresh.lane));
		if (o->name)
			strcpy(fresh.name, o->name);
		wf_share_init(&fresh.share, o->weight, o->priority, parent->vtime);
		wf_share_init(&fresh.own, 1, WEFT_PRIORITY_NORMAL, 0);
		parent->children++;
		*group = fresh;
		/* relaxed: before anybody knows its name; walkers see what they see. */
		wf_store_relaxed(&gs->cancelled[group->index], 0);
		*out = wf_group_handle(group);
	}
	pthread_mutex_unlock(&gs->mutex);
	return rc;
}

void wf_group_settle(struct wf_groups *gs, struct wf_group *group)
{
	/* acquire [G4]: what its tasks did. */
	while (group->parent && group->used && !group->open && !group->children && !group->users &&
	       !wf_load_acquire(&group->live)) {
		struct wf_group *parent = group->parent;

		WF_CHECK(!group->queued && !group->running && !group->active);
		WF_CHECK(!group->reserved);
		/* What it counted stays counted above. relaxed: nobody counts in it any more. */
		wf_add_relaxed(&parent->submitted, wf_load_relaxed(&group->submitted));
		wf_add_relaxed(&parent->done, wf_load_relaxed(&group->done));
		wf_add_relaxed(&parent->failed, wf_load_relaxed(&group->failed));
		/* relaxed: as above. */
		wf_add_relaxed(&parent->ended_cancelled, wf_load_relaxed(&group->ended_cancelled));
		parent->run_ns += group->run_ns;
		parent->waited += group->waited;
		if (group->longest > parent->longest)
			parent->longest = group->longest;
		group->used = false;
		gs->used--;
		parent->children--;
		group = parent;
	}
}

void wf_group_hold(weft *rt, struct wf_group *group)
{
	WF_CHECK(wf_groups(rt) && group->used);
	group->users++;
}

void wf_group_hold_queued(weft *rt, uint32_t index)
{
	struct wf_groups *gs = wf_groups(rt);
	struct wf_group *group = wf_group_at(rt, index);

	WF_CHECK(group && wf_load_relaxed(&group->live) > 0); /* relaxed: ours is in it. */
	pthread_mutex_lock(&gs->mutex);
	wf_group_hold(rt, group);
	pthread_mutex_unlock(&gs->mutex);
}

void wf_group_drop(weft *rt, struct wf_group *group)
{
	struct wf_groups *gs = wf_groups(rt);

	pthread_mutex_lock(&gs->mutex);
	WF_CHECK(group->users > 0);
	group->users--;
	wf_group_settle(gs, group);
	pthread_mutex_unlock(&gs->mutex);
}

struct wf_group *wf_group_find(weft *rt, weft_group handle, bool close)
{
	struct wf_groups *gs = rt ? wf_groups(rt) : NULL;

	if (!gs)
		return NULL;
	pthread_mutex_lock(&gs->mutex);
	struct wf_group *group = wf_group_of(rt, handle);

	if (group) {
		WF_CHECK(group->used && group->open);
		wf_group_hold(rt, group);
		group->open = !close;
	}
	pthread_mutex_unlock(&gs->mutex);
	return group;
}

/* ---- Tasks come and go ----------------------------------------------------------------------- */

struct wf_group *wf_group_current(const weft *rt, const struct wf_local *self)
{
	const struct weft_task *frame = self ? self->current : NULL;

	if (!frame || frame->rt != rt)
		return NULL;
	return wf_group_at(rt, wf_cell_group(frame->cell));
}

static void count_in(struct wf_group *group)
{
	/* relaxed, all: the caller holds the group, by a task of its own or by the mutex. */
	wf_add_relaxed(&group->submitted, 1);
	for (; group->parent; group = group->parent)
		wf_add_relaxed(&group->live, 1);
}

int wf_group_enter(weft *rt, const struct wf_local *self, weft_group wanted, struct wf_group **out)
{
	struct wf_groups *gs = wf_groups(rt);
	struct wf_group *group;
	int rc = 0;

	*out = NULL;
	WF_DEBUG(!self || self->rt == rt);
	if (!gs || wanted.bits == UINT64_MAX)
		return wanted.bits && wanted.bits != UINT64_MAX ? -EINVAL : 0;
	if (!wanted.bits) {
		group = wf_group_current(rt, self);
		if (!group)
			return 0;
		/* relaxed: looked at again once the task can be found, or starts. */
		if (wf_load_relaxed(&gs->cancelled[group->index]))
			return -ECANCELED;
		count_in(group);
		*out = group;
		return 0;
	}
	pthread_mutex_lock(&gs->mutex);
	group = wf_group_of(rt, wanted);
	if (!group)
		rc = -EINVAL;
	else if (wf_load_relaxed(&gs->cancelled[group->index])) /* relaxed: under the mutex. */
		rc = -ECANCELED;
	else
		count_in(group);
	pthread_mutex_unlock(&gs->mutex);
	if (!rc)
		*out = group;
	return rc;
}

int wf_group_hold_for(weft *rt, const struct wf_local *self, weft_group wanted, uint32_t *index)
{
	struct wf_groups *gs = wf_groups(rt);
	int rc = 0;

	*index = 0;
	WF_DEBUG(!self || self->rt == rt);
	if (!gs || wanted.bits == UINT64_MAX)
		return wanted.bits && wanted.bits != UINT64_MAX ? -EINVAL : 0;
	pthread_mutex_lock(&gs->mutex);
	struct wf_group *group = wanted.bits ? wf_group_of(rt, wanted) : wf_group_current(rt, self);

	if (wanted.bits && !group)
		rc = -EINVAL;
	else if (group && wf_load_relaxed(&gs->cancelled[group->index])) /* relaxed: the mutex. */
		rc = -ECANCELED;
	if (!rc && group) {
		wf_group_hold(rt, group);
		*index = group->index;
	}
	pthread_mutex_unlock(&gs->mutex);
	return rc;
}

void wf_group_take_in(weft *rt, uint32_t index, struct wf_cell *cell)
{
	struct wf_group *group = wf_group_at(rt, index);

	WF_CHECK(group->used);
	WF_DEBUG(wf_cell_ext(cell)->call == WF_CALL_WAITS);
	count_in(group);
	/* relaxed: published with the call. */
	wf_store_relaxed(&cell->place, wf_place(index));
	wf_cell_ext(cell)->parts |= WF_PART_GROUP;
}

/* One task less, from here up: who waited for the last one is told. */
static void count_out(struct wf_local *self, struct wf_group *group)
{
	struct wf_groups *gs = wf_groups(self->rt);
	struct wf_group_joiner *told = NULL;
	struct wf_group *parent;

	for (; group->parent; group = parent) {
		parent = group->parent;
		/* acq_rel [G4]: what the task did, to whoever sees none left. */
		if (wf_add_acq_rel(&group->live, (uint64_t)-1) != 1)
			continue;
		pthread_mutex_lock(&gs->mutex);
		/* acquire [G4]: another one may have come, or the slot be another's. */
		while (group->joiners && !wf_load_acquire(&group->live)) {
			struct wf_group_joiner *joiner = group->joiners;

			group->joiners = joiner->next;
			joiner->next = told;
			told = joiner;
		}
		wf_group_settle(gs, group);
		pthread_mutex_unlock(&gs->mutex);
	}
	WF_DEBUG(!group->parent);
	while (told) {
		/* The joiner's frame is gone once it has seen its signal. */
		struct wf_cell *signal = told->signal;

		told = told->next;
		wf_signal(self, signal, NULL);
	}
}

void wf_group_undo(struct wf_local *self, struct wf_group *group)
{
	if (!group)
		return;
	/* relaxed: as in count_in(). */
	wf_add_relaxed(&group->submitted, (uint64_t)-1);
	count_out(self, group);
}

void wf_group_end(struct wf_local *self, uint32_t index, int status)
{
	struct wf_group *group = wf_group_at(self->rt, index);

	WF_DEBUG(group->used && wf_load_relaxed(&group->live) > 0); /* relaxed: ours is in it. */
	/* relaxed, all: brought along by [G4]. */
	if (!status)
		wf_add_relaxed(&group->done, 1);
	else
		wf_add_relaxed(&group->failed, 1);
	if (status == -ECANCELED)
		wf_add_relaxed(&group->ended_cancelled, 1);
	count_out(self, group);
}

bool wf_task_stopping_elsewhere(const struct weft_task *frame)
{
	struct wf_ext *ext = frame->cell->ext_word;

	/* A group that is cancelled kills its actors: a call ends because of that, not before. */
	if (ext->call)
		return wf_call_stopping(frame->rt, ext);
	return ext->parts & WF_PART_GROUP && wf_group_cancelled(frame->rt, frame->cell);
}

/* ---- Cancel ---------------------------------------------------------------------------------- */

bool wf_group_is_cancelled(const weft *rt, uint32_t index)
{
	/* relaxed: may be seen late. */
	return wf_load_relaxed(&wf_groups(rt)->cancelled[index]);
}

bool wf_group_cancelled(const weft *rt, const struct wf_cell *cell)
{
	uint32_t index = wf_cell_group(cell);

	/* A cell that is just becoming another's may have any number. */
	return index && wf_group_is_cancelled(rt, index);
}

/* As wf_cancel_waiting(), of a task that is in a cancelled group when it is locked. */
static void cancel_waiting(struct wf_local *self, struct wf_cell *cell)
{
	uint8_t old = WF_CANCEL_NO;

	/* acquire [C1] in cancel.c: one canceller. */
	if (!wf_cas_acq_rel(&cell->cancel, &old, WF_CANCEL_LOCKED))
		return;
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	/* acquire [C1]: the ext stays until we unlock. */
	if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING &&
	    (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK &&
	    !wf_promise_is_done(&cell->promise) && wf_cell_ext(cell) &&
	    wf_group_cancelled(self->rt, cell))
		wf_task_end_waiting(self, cell, WF_CANCEL_ASKED);
	else
		/* release [C1] */
		wf_store_release(&cell->cancel, WF_CANCEL_NO);
}

void wf_group_linked(struct wf_local *self, const struct wf_group *group, struct wf_cell *cell)
{
	/* [G3]: the task can be found; now whether somebody has looked for it already. */
	wf_fence_seq_cst();
	/* relaxed: decided by [G3]. */
	if (wf_load_relaxed(&wf_groups(self->rt)->cancelled[group->index]))
		cancel_waiting(self, cell);
}

static void cancel_cells(struct wf_local *self)
{
	weft *rt = self->rt;
	/* acquire [A3] */
	uint32_t end = wf_load_acquire(&rt->arena.cells_end);

	for (uint32_t i = 1; i < end; i++) {
		struct wf_cell *cell = &rt->cells[i];

		/* acquire [C2] */
		if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING &&
		    wf_group_cancelled(rt, cell))
			cancel_waiting(self, cell);
	}
}

static void cancel_fibers(struct wf_local *self)
{
	weft *rt = self->rt;
	uint32_t end = wf_stacks_index_end(rt->stacks);

	for (uint32_t i = 0; i < end; i++) {
		struct wf_fiber *fiber = wf_fiber_at(rt->stacks, i);
		struct wf_fiber_user *user = wf_fiber_user(fiber);

		wf_fiber_lock(fiber);
		/* With the lock held it stays in its wait, with its frames. */
		const struct weft_task *frame = user->wait ? user->current : NULL;

		if (frame && wf_group_cancelled(rt, frame->cell))
			wf_wait_wake(user->wait, WF_WAKE_CANCEL, self);
		wf_fiber_unlock(fiber);
	}
}

/* What of it is ready and has not begun ends here. */
static void cancel_queued(struct wf_local *self, struct wf_group *group)
{
	void *items[DRAIN_BATCH];
	uint32_t n;

	while ((n = wf_group_drain(self->rt, group, items, DRAIN_BATCH)) > 0) {
		WF_DEBUG(n <= DRAIN_BATCH);
		for (uint32_t i = 0; i < n; i++) {
			struct wf_cell *cell = items[i];

			wf_bump(&self->count.popped);
			/* release [C1]: as a start. */
			wf_store_release(&cell->promise.state, WF_STATE_RUNNING);
			wf_fence_compiler();
			if (wf_ended_in_queue(self, cell))
				continue;
			/* One that began ahead of its inputs has edges: its runner ends it. */
			if (wf_cell_ext(cell) && wf_ext_is_ahead(wf_cell_ext(cell)))
				wf_ready_running(self, cell);
			else
				wf_task_finish(self, cell,
				               wf_task_error(cell, cell->u.fn, -ECANCELED, NULL));
		}
	}
}

/* Without a count: only the very task that was seen queued in a cancelled group. */
static bool lock_queued(const weft *rt, struct wf_cell *cell, struct wf_locked *locked)
{
	/* acquire [Y1] in family.c */
	union wf_life old = { .all = wf_load_acquire(&cell->life) };

	/* acquire [C2] */
	while (wf_load_acquire(&cell->promise.state) == WF_STATE_QUEUED &&
	       wf_group_cancelled(rt, cell)) {
		union wf_life new = old;

		if (old.cancel == WF_CANCEL_LOCKED) {
			/* Whoever has locked it may put back what was there. */
			wf_cpu_relax();
			/* acquire [Y1] */
			old.all = wf_load_acquire(&cell->life);
			continue;
		}
		if (old.cancel == WF_CANCEL_ENDED || old.cancel == WF_CANCEL_LEFT)
			return false;
		new.cancel = WF_CANCEL_LOCKED;
		/* acq_rel [C1]: one canceller. When only its last count has gone: once more. */
		if (!wf_cas_acq_rel(&cell->life, &old.all, new.all))
			continue;
		WF_DEBUG(old.cancel < WF_CANCEL_ENDED && cell > rt->cells);
		*locked = (struct wf_locked){
			.cell = cell, .gen = old.gen, .was = old.cancel, .grouped = true
		};
		return true;
	}
	return false;
}

/*
 * Those that lie ready for a node, collect CPUs, or wait for a thread. One that comes there later
 * has been QUEUED for as long, or looks at its group.
 */
static void cancel_elsewhere(struct wf_local *self)
{
	weft *rt = self->rt;
	struct wf_locked locked[WF_CANCEL_BATCH];
	/* acquire [A3] */
	uint32_t end = wf_load_acquire(&rt->arena.cells_end), n = 0, since = 0;

	for (uint32_t i = 1; i < end; i++) {
		n += lock_queued(rt, &rt->cells[i], &locked[n]);
		since = n ? since + 1 : 0;
		/* None is kept locked for long: others wait for it. */
		if (n == WF_CANCEL_BATCH || since == LOCKED_WALK || (n && i + 1 == end)) {
			wf_cancel_locked(self, locked, n);
			n = since = 0;
		}
	}
	WF_DEBUG(!n);
}

void wf_groups_end_queued(struct wf_local *self, uint32_t index)
{
	struct wf_groups *gs = wf_groups(self->rt);

	self->drain |= self->draining || !index;
	if (self->draining)
		return;
	self->draining = true;
	if (index)
		cancel_queued(self, gs->at[index]);
	while (self->drain) {
		self->drain = false;
		pthread_mutex_lock(&gs->mutex);
		uint32_t end = gs->end;

		pthread_mutex_unlock(&gs->mutex);
		for (uint32_t i = 1; i < end; i++) {
			/* relaxed: those that others cancel meanwhile are as good. */
			if (wf_load_relaxed(&gs->cancelled[i]))
				cancel_queued(self, gs->at[i]);
		}
	}
	self->draining = false;
}

/* Set the flag of a group and of those in it. True: it was not set. Under the mutex. */
static bool set_cancelled(struct wf_groups *gs, struct wf_group *group)
{
	/* relaxed, all: under the mutex; whoever does not see it is found. */
	if (wf_load_relaxed(&gs->cancelled[group->index]))
		return false;
	for (uint32_t i = 1; i < gs->end; i++) {
		struct wf_group *g = gs->at[i];
		const struct wf_group *up = g->used ? g : NULL;

		while (up && up != group)
			up = up->parent;
		if (up)
			wf_store_relaxed(&gs->cancelled[i], 1); /* relaxed: as above. */
	}
	WF_DEBUG(group->used && group->users);
	return true;
}

void wf_group_stop(struct wf_local *self, struct wf_group *group)
{
	weft *rt = self->rt;
	struct wf_groups *gs = wf_groups(rt);

	WF_DEBUG(group->parent);
	pthread_mutex_lock(&gs->mutex);
	bool first = set_cancelled(gs, group);

	pthread_mutex_unlock(&gs->mutex);
	if (!first)
		return;
	/* acq_rel [E1]: before anything is freed, see wf_deadlock_search(). */
	wf_add_acq_rel(&rt->external, 1);
	/* [G3]: the flag, to those who become findable after the walk. */
	wf_fence_seq_cst();
	/* First: their calls end because they are dead. */
	wf_actors_cancel_groups(self);
	cancel_fibers(self);
	cancel_cells(self);
	wf_admit_cancel_groups(self);
	wf_groups_end_queued(self, 0);
	cancel_elsewhere(self);
}
