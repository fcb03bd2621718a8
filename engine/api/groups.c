/*
 * groups.c: the doors of groups.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

/* ---- Made and given up --------------------------------------------------------------------- */

static int bad(weft *rt, const char *field, uint64_t value)
{
	wf_log(rt, WEFT_LOG_ERROR, "group: option %s: %llu: %s", field, (unsigned long long)value,
	       weft_strerror(-EINVAL));
	return -EINVAL;
}

static int check(weft *rt, const struct weft_group_options *o)
{
	if (o->name && strnlen(o->name, 64) > 63)
		return bad(rt, "name", strnlen(o->name, 4096));
	if (o->weight > WEFT_GROUP_WEIGHT_MAX)
		return bad(rt, "weight", o->weight);
	if (o->priority > WEFT_PRIORITY_LOW)
		return bad(rt, "priority", o->priority);
	if (o->memory > INT64_MAX)
		return bad(rt, "memory", o->memory);
	if (o->reserved0)
		return bad(rt, "reserved0", o->reserved0);
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(*o->reserved); i++) {
		if (o->reserved[i])
			return bad(rt, "reserved", o->reserved[i]);
	}
	return 0;
}

int weft_group_create(weft *rt, const struct weft_group_options *opts, weft_group *out)
{
	struct weft_group_options o = { .struct_size = sizeof(o) };
	weft_group group;

	if (!rt || !out)
		return -EINVAL;
	int rc = opts ? wf_options_read(&o, sizeof(o), opts) : 0;

	rc = rc ? bad(rt, "struct_size", opts->struct_size) : check(rt, &o);
	if (rc)
		return rc;
	if (!o.weight)
		o.weight = 1;
	WF_DEBUG(o.weight <= WEFT_GROUP_WEIGHT_MAX && o.priority <= WEFT_PRIORITY_LOW);
	rc = wf_group_make(rt, &o, o.parent, &group);
	if (rc == -EINVAL)
		return bad(rt, "parent", o.parent.bits);
	WF_DEBUG(rc || group.bits);
	if (!rc)
		*out = group;
	return rc;
}

/* Cancel what is left in it. */
static int stop(weft *rt, weft_group handle, bool close)
{
	struct wf_local *self = rt ? wf_local_of(rt) : NULL;

	if (!self)
		return rt ? -ENOMEM : -EINVAL;
	struct wf_group *group = wf_group_find(rt, handle, close);

	if (!group)
		return -EINVAL;
	wf_group_stop(self, group);
	if (close)
		wf_group_strip(self, group);
	wf_group_drop(rt, group);
	return 0;
}

int weft_group_destroy(weft *rt, weft_group group)
{
	return rt && !group.bits ? 0 : stop(rt, group, true);
}

int weft_group_cancel(weft *rt, weft_group group)
{
	return stop(rt, group, false);
}

/* ---- Waiting for all of it ------------------------------------------------------------------- */

/* Whether one of the bodies that run here is in the group, or in one in it. */
static bool inside(const weft *rt, const struct wf_local *self, const struct wf_group *group)
{
	const struct weft_task *frame = self ? self->current : NULL;

	for (; frame; frame = frame->outer) {
		const struct wf_group *g =
			frame->rt == rt ? wf_group_at(rt, wf_cell_group(frame->cell)) : NULL;

		while (g && g != group)
			g = g->parent;
		if (g)
			return true;
	}
	return false;
}

/* Be told when nothing is left. False: nothing is. */
static bool join_begin(weft *rt, struct wf_group *group, struct wf_group_joiner *joiner)
{
	struct wf_groups *gs = wf_groups(rt);

	pthread_mutex_lock(&gs->mutex);
	/* acquire [G4] in task/group.c: what those did that have ended. */
	bool some = wf_load_acquire(&group->live) > 0;

	WF_DEBUG(group->used && group->users && joiner->signal);
	if (some) {
		joiner->next = group->joiners;
		group->joiners = joiner;
	}
	pthread_mutex_unlock(&gs->mutex);
	return some;
}

/* True: it was not told, and will not be. */
static bool join_leave(weft *rt, struct wf_group *group, struct wf_group_joiner *joiner)
{
	struct wf_groups *gs = wf_groups(rt);
	bool found = false;

	pthread_mutex_lock(&gs->mutex);
	for (struct wf_group_joiner **at = &group->joiners; *at; at = &(*at)->next) {
		if (*at != joiner)
			continue;
		*at = joiner->next;
		found = true;
		break;
	}
	pthread_mutex_unlock(&gs->mutex);
	return found;
}

static WF_SUSPENDS int join(weft *rt, struct wf_group *group, bool help, int64_t until)
{
	struct wf_local *self = wf_local_of(rt);
	struct wf_group_joiner joiner = { .signal = NULL };

	if (!self)
		return -ENOMEM;
	joiner.signal = wf_event_start(self, WF_CELL_SIGNAL);
	if (!joiner.signal)
		return -ENOMEM;
	/* One count for the list, one for here. */
	wf_promise_retain(&joiner.signal->promise);
	if (!join_begin(rt, group, &joiner))
		wf_signal(self, joiner.signal, NULL);
	int rc = 0;

	if (!wf_promise_is_done(&joiner.signal->promise))
		rc = help ? wf_run_group(rt, joiner.signal, group, until)
			  : wf_wait_cell(rt, joiner.signal, until);
	WF_DEBUG(!rc || rc < 0);
	/* Cancelled by a close: then the list does not know. */
	bool mine = join_leave(rt, group, &joiner);

	self = wf_local_of(rt);
	if (!mine)
		/* Told, or about to be. */
		while (!wf_promise_is_done(&joiner.signal->promise))
			wf_cpu_relax();
	if (!rc && wf_flags(joiner.signal) & WF_CELL_ERROR)
		rc = -EINTR;
	if (mine)
		wf_signal(self, joiner.signal, NULL);
	else
		rc = 0;
	wf_cell_release(self, joiner.signal);
	return rc;
}

int weft_group_join(weft *rt, weft_group handle, weft_deadline until)
{
	struct wf_group *group = wf_group_find(rt, handle, false);

	if (!group)
		return -EINVAL;
	int rc = inside(rt, wf_self(), group) ? WEFT_EDEADLOCK : join(rt, group, false, until);

	wf_group_drop(rt, group);
	return rc;
}

int weft_group_run(weft *rt, weft_group handle, weft_ref ref, weft_deadline until)
{
	struct wf_local *self = wf_self();
	struct wf_cell *cell = rt && ref.bits ? wf_cell_of(rt, ref) : NULL;
	int rc = 0;

	if (!rt || (ref.bits && (!cell || wf_cell_is_stream(cell))))
		return -EINVAL;
	if (self && self->rt == rt && self->current)
		return -EDEADLK;
	if (wf_load_acquire(&rt->gate) == WF_GATE_FORKED) /* acquire [G1] */
		return -ECHILD;
	struct wf_group *group = wf_group_find(rt, handle, false);

	if (!group)
		return -EINVAL;
	if (!cell)
		rc = join(rt, group, true, until);
	else if (!wf_promise_is_done(&cell->promise))
		rc = wf_run_group(rt, cell, group, until);
	wf_group_drop(rt, group);
	return rc;
}

/* ---- Looking at it --------------------------------------------------------------------------- */

static int64_t ns_of(uint64_t ticks)
{
	return (int64_t)(ticks / wf_ticks_per_us() * 1000 +
	                 ticks % wf_ticks_per_us() * 1000 / wf_ticks_per_us());
}

/* Its own counters, and of those in it. Under the mutex. */
static void add_up(const weft *rt, const struct wf_group *group, struct weft_group_stats *all)
{
	const struct wf_groups *gs = wf_groups(rt);

	for (uint32_t i = 1; i < gs->end; i++) {
		const struct wf_group *g = gs->at[i], *up = g->used ? g : NULL;

		while (up && up != group)
			up = up->parent;
		if (!up)
			continue;
		/* relaxed, all: each is right by itself when nothing runs; ends first. */
		all->cancelled += wf_load_relaxed(&g->ended_cancelled);
		all->done += wf_load_relaxed(&g->done);
		all->failed += wf_load_relaxed(&g->failed);
		all->submitted += wf_load_relaxed(&g->submitted);
		all->queued += g->queued;
		all->queued_ns += ns_of(g->waited);
		all->run_ns += g->run_ns;
		if (ns_of(g->longest) > all->longest_ns)
			all->longest_ns = ns_of(g->longest);
	}
	all->running = group->running;
	all->memory = group->reserved;
}

int weft_group_stats(weft *rt, weft_group handle, struct weft_group_stats *stats)
{
	struct wf_groups *gs = rt ? wf_groups(rt) : NULL;

	if (!gs || !stats || stats->struct_size < 2 * sizeof(uint64_t) || stats->struct_size > 4096)
		return -EINVAL;
	struct weft_group_stats all = { .struct_size = stats->struct_size };

	pthread_mutex_lock(&gs->mutex);
	const struct wf_group *group = wf_group_of(rt, handle);

	WF_DEBUG(!group || group->used);
	if (group)
		add_up(rt, group, &all);
	pthread_mutex_unlock(&gs->mutex);
	if (!group)
		return -EINVAL;
	memcpy(stats, &all, stats->struct_size < sizeof(all) ? stats->struct_size : sizeof(all));
	return 0;
}

weft_group weft_task_group(const weft_task *self)
{
	struct wf_groups *gs = wf_groups(self->rt);
	struct wf_group *group = gs ? wf_group_at(self->rt, wf_cell_group(self->cell)) : NULL;
	weft_group handle = { 0 };

	if (!group)
		return handle;
	pthread_mutex_lock(&gs->mutex);
	if (group->open)
		handle = wf_group_handle(group);
	pthread_mutex_unlock(&gs->mutex);
	return handle;
}

/* ---- Long bodies ----------------------------------------------------------------------------- */

/* Whether something else is ready within this worker's reach. */
static bool others_wait(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	/* relaxed: a hint. */
	bool any = wf_load_relaxed(&rt->group_queued) || wf_load_relaxed(&rt->overflow_count) ||
		!wf_mpsc_is_empty(&worker->inbox) || (rt->order && wf_order_count(rt->order));

	for (uint32_t p = 0; p < WF_PRIORITIES && !any; p++) {
		any = wf_deque_count_mt(&worker->deque[p]);
		for (uint32_t i = 0; i < rt->node_count && !any; i++)
			any = !wf_injector_is_empty_mt(&rt->inject[i][p]);
	}
	return any;
}

bool weft_should_yield(weft_task *self)
{
	struct wf_local *local = wf_self();

	if (wf_task_stopping(self))
		return true;
	if (!local->worker)
		return false;
	struct wf_worker *worker = wf_worker_of(local);
	struct wf_stretch *stretch = &worker->stretch;
	/* relaxed, all: hints. */
	uint32_t why = wf_load_relaxed(&worker->attend);
	uint64_t item = wf_load_relaxed(&local->count.popped), now = wf_ticks();

	WF_DEBUG(local->rt == self->rt);
	if (why & WF_LOOK_SLOTS)
		return true;
	/* The first time in this body: so long it is said to have been running. */
	if (stretch->slice_item != item + 1) {
		stretch->slice_item = item + 1;
		stretch->slice_begin = now;
	}
	/* relaxed: as above. */
	if (why & WF_LOOK_GROUPS && stretch->epoch != wf_load_relaxed(&self->rt->group_epoch) &&
	    wf_group_outranked(worker))
		return true;
	/* Where no clock runs, the seed says so. */
	if (self->rt->order)
		return others_wait(worker) && !wf_order_below(self->rt->order, 8);
	if (now - stretch->slice_begin < wf_turn_ticks() || !others_wait(worker))
		return false;
	stretch->slice_begin = now;
	return true;
}
