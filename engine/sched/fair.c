/*
 * fair.c: how groups share the workers: stride scheduling over a tree, by consumed time.
 *
 * Every group has a share: a pass that advances by the time it has had, divided by its weight. Of
 * those under one roof the least pass goes next, the higher priority first of all. A group's own
 * tasks compete as one with the groups in it; the root's own tasks are those in no group, which lie
 * on the workers' deques and are found there by the worker itself.
 *
 * A worker is given a turn: it goes on with one group for about TURN_US without a look at the
 * clock, which is read when the turn ends. How many items that is follows from the turn before, so
 * that no task is timed by itself. A group that comes to have something ends all turns at the next
 * item (rt->group_epoch), so that what is urgent waits for no more than the bodies that run. At the
 * start of a turn its time is put on the pass in advance and corrected at the end: otherwise all
 * workers would choose the same group.
 *
 * When no group has anything to run no worker looks here: WF_LOOK_GROUPS in worker->attend is set
 * while one has, or while the worker has something of one.
 *
 * Shared: all of struct wf_group's competition, every stretch and lane, under groups->mutex. The
 * worker alone reads its stretch without it, and counts in it. rt->group_queued and
 * rt->group_epoch are written under it.
 *
 * Invariants
 *   a group is in its parent's list of active ones when it or one in it has something queued
 *   running == stretches that hold a place, in it and those in it, <= parallel_max but for 0
 *   rt->group_queued == sum of queued
 *
 * Progress: blocking. Nothing is called with the mutex held.
 *
 * After: Waldspurger and Weihl, "Stride Scheduling", MIT/LCS/TM-528, 1995. Differs: charged for
 * time had and not per quantum; one that comes back is up to LAG_TURNS behind and not level.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define TURN_US    500u /* guessed: 5 % of a second after 50 of them */
#define TURN_NS    (TURN_US * INT64_C(1000))
#define LAG_TURNS  4
#define BUDGET_MAX 1024u /* items of one turn */
#define SCALE      1024  /* so that a weight of 10,000 still counts */
#define LANE_FIRST 16u
#define LOOK_DEPTH 16u /* as far as a get looks for its task */

static const uint8_t lane_order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL,
	                                           WEFT_PRIORITY_LOW };

uint64_t wf_turn_ticks(void)
{
	return TURN_US * wf_ticks_per_us();
}

static uint64_t ticks_of(const weft *rt)
{
	return WF_UNLIKELY(rt->order) ? wf_order_ticks(rt) : wf_ticks();
}

/* The higher, the sooner. */
static uint32_t rank_of(uint32_t priority)
{
	return priority == WEFT_PRIORITY_HIGH ? 2 : priority == WEFT_PRIORITY_NORMAL ? 1 : 0;
}

void wf_share_init(struct wf_share *share, uint32_t weight, uint32_t priority, uint64_t pass)
{
	WF_DEBUG(weight && priority < WF_PRIORITIES);
	*share = (struct wf_share){ .pass = pass, .weight = weight, .priority = priority };
}

/* ---- Lanes --------------------------------------------------------------------------------- */

static bool lane_grow(struct wf_lane *lane)
{
	uint32_t room = lane->room ? lane->room * 2 : LANE_FIRST;
	void **at = wf_malloc(room * sizeof(*at));

	WF_DEBUG(lane->count == lane->room && !(room & (room - 1)));
	if (!at)
		return false;
	WF_DEBUG(room > lane->count);
	for (uint32_t i = 0; i < lane->count; i++)
		at[i] = lane->at[(lane->head + i) & (lane->room - 1)];
	wf_free(lane->at);
	*lane = (struct wf_lane){ .at = at, .count = lane->count, .room = room };
	return true;
}

bool wf_lane_put(struct wf_lane *lane, void *item, bool first)
{
	if (lane->count == lane->room && !lane_grow(lane))
		return false;
	if (first)
		lane->head = (lane->head - 1) & (lane->room - 1);
	lane->at[(lane->head + (first ? 0 : lane->count)) & (lane->room - 1)] = item;
	lane->count++;
	WF_DEBUG(lane->count <= lane->room);
	return true;
}

void *wf_lane_take(struct wf_lane *lane)
{
	void *item = lane->at[lane->head];

	WF_DEBUG(lane->count > 0);
	lane->head = (lane->head + 1) & (lane->room - 1);
	lane->count--;
	return item;
}

/* Take the i-th out; those before it move up. */
static void lane_remove(struct wf_lane *lane, uint32_t i)
{
	uint32_t mask = lane->room - 1;

	WF_DEBUG(i < lane->count);
	for (; i; i--)
		lane->at[(lane->head + i) & mask] = lane->at[(lane->head + i - 1) & mask];
	wf_lane_take(lane);
}

/* ---- Who has something ----------------------------------------------------------------------- */

/* Before `queued` changes, and at the turns: how long it has been as it was. */
static void count_wait(struct wf_group *group, uint64_t now)
{
	uint64_t mean = ((uint64_t)group->waited_count + group->queued + 1) / 2;

	group->waited += (now - group->waited_at) * mean;
	group->waited_at = now;
	group->waited_count = group->queued;
}

/* Have all workers look for groups between two items. */
static void call_workers(weft *rt)
{
	/* relaxed, all: they look again behind [S1] before they sleep. */
	uint32_t helpers = wf_load_relaxed(&rt->helpers_used);

	for (uint32_t i = 0; i < rt->slots; i++) {
		if (i < rt->workers || helpers >> (i - rt->workers) & 1)
			wf_or_relaxed(&rt->worker[i]->attend, WF_LOOK_GROUPS);
	}
}

/* No further back than some turns: time that was not asked for is not owed. */
static void catch_up(struct wf_share *share, uint64_t vtime)
{
	uint64_t lag = LAG_TURNS * SCALE * TURN_NS;

	if ((int64_t)(vtime - share->pass) > (int64_t)lag)
		share->pass = vtime - lag;
}

/* It has something again: into the lists up to the root. */
static void activate(weft *rt, struct wf_group *group)
{
	struct wf_groups *gs = wf_groups(rt);
	bool called = gs->root.active_first;

	WF_DEBUG(group->queued && group->parent);
	catch_up(&group->own, group->vtime);
	for (; group->parent && !group->active; group = group->parent) {
		struct wf_group *parent = group->parent;

		group->active = true;
		catch_up(&group->share, parent->vtime);
		group->active_next = parent->active_first;
		parent->active_first = group;
	}
	/* relaxed: compared with what a worker has seen. */
	wf_store_relaxed(&rt->group_epoch, wf_load_relaxed(&rt->group_epoch) + 1);
	WF_DEBUG(gs->root.active_first);
	if (!called)
		call_workers(rt);
}

/* It has nothing any more: out of the lists, as far up as that goes. */
static void deactivate(struct wf_group *group)
{
	for (; group->parent && group->active && !group->queued && !group->active_first;
	     group = group->parent) {
		struct wf_group **at = &group->parent->active_first;

		while (*at != group)
			at = &(*at)->active_next;
		*at = group->active_next;
		group->active = false;
		group->active_next = NULL;
	}
}

static void queued_changed(weft *rt, struct wf_group *group, int by)
{
	if (!group->queued)
		count_wait(group, ticks_of(rt));
	WF_DEBUG(by > 0 || group->queued >= (uint32_t)-by);
	group->queued += (uint32_t)by;
	if (!group->queued || group->queued == (uint32_t)by)
		count_wait(group, by < 0 ? ticks_of(rt) : group->waited_at);
	/* relaxed: under the mutex; who sleeps looks behind [S1]. */
	wf_store_relaxed(&rt->group_queued, wf_load_relaxed(&rt->group_queued) + (uint32_t)by);
}

/* A helper of one group cannot be woken for anything else, so it is woken by name. */
static void wake_helpers(weft *rt, const struct wf_group *group)
{
	/* relaxed: those that come later look before they sleep. */
	uint32_t helpers = wf_load_relaxed(&rt->helpers_used);

	WF_DEBUG(helpers < 1u << WF_HELPERS_MAX);
	for (uint32_t i = 0; helpers >> i; i++) {
		struct wf_worker *helper = rt->worker[rt->workers + i];
		const struct wf_group *g = group;

		while (g && g != helper->only)
			g = g->parent;
		if (g && helpers >> i & 1)
			wf_parker_unpark_mt(&helper->parker);
	}
}

int wf_group_push(struct wf_local *self, uint32_t index, void *item, uint32_t priority, bool first)
{
	weft *rt = self->rt;
	struct wf_groups *gs = wf_groups(rt);
	struct wf_group *group = gs->at[index];

	pthread_mutex_lock(&gs->mutex);
	WF_CHECK(group->used && priority < WF_PRIORITIES);
	if (!wf_lane_put(&group->lane[priority], item, first)) {
		pthread_mutex_unlock(&gs->mutex);
		return -ENOMEM;
	}
	bool fresh = !group->queued;

	queued_changed(rt, group, 1);
	if (fresh)
		activate(rt, group);
	WF_DEBUG(group->active && group->used);
	wake_helpers(rt, group);
	pthread_mutex_unlock(&gs->mutex);
	wf_injected(rt, self);
	return 0;
}

/* ---- Choosing ------------------------------------------------------------------------------ */

static bool has_room(const struct wf_group *group)
{
	return !group->parallel_max || group->running < group->parallel_max;
}

/* Whether something in it may run. As deep as groups nest. */
static bool eligible(const struct wf_group *group)
{
	if (!has_room(group))
		return false;
	bool any = group->queued;

	for (const struct wf_group *g = group->active_first; g && !any; g = g->active_next)
		any = eligible(g);
	return any;
}

/* The rank of what lies in no group within this worker's reach; negative: nothing does. */
static int plain_rank(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	int rank = -1;

	/* relaxed: looked at again when there is nothing else. */
	if (!wf_mpsc_is_empty(&worker->inbox) || wf_load_relaxed(&rt->overflow_count))
		rank = (int)rank_of(WEFT_PRIORITY_NORMAL);
	for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
		bool any = wf_deque_count_mt(&worker->deque[p]) ||
			(rt->order && rt->order->ready[p].count);

		for (uint32_t i = 0; i < rt->node_count && !any; i++)
			any = !wf_injector_is_empty_mt(&rt->inject[i][p]);
		if (any && rank < (int)rank_of(p))
			rank = (int)rank_of(p);
	}
	WF_DEBUG(rank < WF_PRIORITIES);
	return rank;
}

static bool sooner(const struct wf_share *a, const struct wf_share *b)
{
	if (a->priority != b->priority)
		return rank_of(a->priority) > rank_of(b->priority);
	return (int64_t)(a->pass - b->pass) < 0;
}

/*
 * Whose turn it is, from `top` down: a group with something in its own lanes, the root when it is
 * the turn of what is in none (`plain`: there is some), NULL when there is nothing.
 */
static struct wf_group *choose(struct wf_group *top, bool plain)
{
	struct wf_group *at = top;

	for (uint32_t depth = 0; depth <= WEFT_GROUP_DEPTH_MAX; depth++) {
		struct wf_share *best = NULL;
		struct wf_group *next = at;

		WF_DEBUG(at->used && at->depth <= WEFT_GROUP_DEPTH_MAX);
		if (at->queued || plain) {
			catch_up(&at->own, at->vtime);
			best = &at->own;
		}
		plain = false;
		for (struct wf_group *g = at->active_first; g; g = g->active_next) {
			if ((best && !sooner(&g->share, best)) || !eligible(g))
				continue;
			best = &g->share;
			next = g;
		}
		if (!best)
			return NULL;
		if ((int64_t)(best->pass - at->vtime) > 0)
			at->vtime = best->pass;
		if (next == at)
			return at;
		at = next;
	}
	WF_CHECK(false);
	return NULL;
}

/* What a worker may be given: all, or a group and those in it, if its parents have room. */
static struct wf_group *choose_for(struct wf_worker *worker, int plain)
{
	struct wf_groups *gs = wf_groups(worker->local.rt);
	struct wf_group *top = worker->only ? worker->only : &gs->root;

	WF_DEBUG(!worker->only || worker->helper);
	for (const struct wf_group *g = worker->only; g; g = g->parent) {
		if (!has_room(g))
			return NULL;
	}
	if (plain >= 0)
		gs->root.own.priority = lane_order[2 - plain];
	return choose(top, plain >= 0 && !worker->only);
}

/* ---- Turns --------------------------------------------------------------------------------- */

static void charge(struct wf_group *group, int64_t ns)
{
	group->own.pass += (uint64_t)(ns * SCALE / group->own.weight);
	for (; group->parent; group = group->parent)
		group->share.pass += (uint64_t)(ns * SCALE / group->share.weight);
}

/* The place in `running` goes. True: others may run for it, who sleep. */
static bool give_place(struct wf_worker *worker)
{
	struct wf_stretch *stretch = &worker->stretch;
	bool full = false;

	if (!stretch->holds)
		return false;
	stretch->holds = false;
	for (struct wf_group *g = stretch->group; g->parent; g = g->parent) {
		full = full || (g->running == g->parallel_max && g->active);
		WF_CHECK(g->running > 0);
		WF_DEBUG(!g->parallel_max || g->running <= g->parallel_max);
		g->running--;
	}
	return full;
}

/* Both clocks, read once when a turn ends or begins. */
struct moment {
	uint64_t ticks; /* 0: not read */
	int64_t cpu_ns; /* of this thread */
};

static void read_clocks(const weft *rt, struct moment *now)
{
	if (now->ticks)
		return;
	uint64_t ticks = ticks_of(rt);
	int64_t ns = rt->order ? (int64_t)(ticks / wf_ticks_per_us() * 1000) : wf_thread_cpu_ns();

	*now = (struct moment){ ticks | 1, ns };
}

/*
 * What the turn has had: processor time, so that nobody pays for what other processes took away;
 * when a body has left the worker's thread meanwhile, the time that passed.
 */
static int64_t turn_had(const struct wf_worker *worker, const struct moment *now)
{
	const struct wf_stretch *stretch = &worker->stretch;

	WF_DEBUG(stretch->group && now->ticks);
	if (stretch->thread == worker->thread)
		return now->cpu_ns - stretch->cpu_ns;
	return (int64_t)((now->ticks - stretch->begin) / wf_ticks_per_us() * 1000);
}

/* The turn is over: its time is known. */
static void close_turn(struct wf_worker *worker, struct moment *now)
{
	struct wf_stretch *stretch = &worker->stretch;
	struct wf_group *group = stretch->group;
	uint64_t turn = wf_turn_ticks(), fits = BUDGET_MAX;

	if (!group)
		return;
	read_clocks(worker->local.rt, now);
	uint64_t spent = now->ticks - stretch->begin;
	int64_t had = turn_had(worker, now);

	WF_DEBUG(!stretch->holds && stretch->budget > 0 && had >= 0);
	charge(group, had - TURN_NS);
	group->run_ns += had;
	if (spent > group->longest)
		group->longest = spent;
	if (spent)
		fits = turn * (stretch->items + 1) / spent;
	/* Twice as many at most: the next ones may be longer. */
	if (fits > 2 * (uint64_t)group->budget)
		fits = 2 * (uint64_t)group->budget;
	WF_DEBUG(group->used);
	group->budget = fits < 1 ? 1 : fits > BUDGET_MAX ? BUDGET_MAX : (uint32_t)fits;
	count_wait(group, now->ticks);
	stretch->group = NULL;
	WF_CHECK(group->users > 0);
	group->users--;
	wf_group_settle(wf_groups(worker->local.rt), group);
}

static void open_turn(struct wf_worker *worker, struct wf_group *group, struct moment *now)
{
	struct wf_stretch *stretch = &worker->stretch;

	read_clocks(worker->local.rt, now);
	WF_DEBUG(!stretch->group && !stretch->holds);
	WF_DEBUG(group->used && group->budget > 0 && group->budget <= BUDGET_MAX);
	stretch->group = group;
	stretch->begin = now->ticks;
	stretch->cpu_ns = now->cpu_ns;
	stretch->thread = worker->thread;
	stretch->items = 0;
	stretch->budget = group->budget;
	/* relaxed: under the mutex. */
	stretch->epoch = wf_load_relaxed(&worker->local.rt->group_epoch);
	group->users++;
	charge(group, TURN_NS);
	count_wait(group, now->ticks);
}

/* The next item of the turn's group, with a place for it. */
static void *next_of(struct wf_worker *worker)
{
	struct wf_stretch *stretch = &worker->stretch;
	struct wf_group *group = stretch->group;
	void *item = NULL;

	WF_CHECK(group->queued && !stretch->holds);
	for (uint32_t i = 0; !item; i++) {
		WF_CHECK(i < WF_PRIORITIES);
		if (group->lane[lane_order[i]].count)
			item = wf_lane_take(&group->lane[lane_order[i]]);
	}
	queued_changed(worker->local.rt, group, -1);
	deactivate(group);
	stretch->holds = true;
	for (; group->parent; group = group->parent)
		group->running++;
	return item;
}

/* After every change of the worker's turn: whether it looks here before its next item. */
static void mind(struct wf_worker *worker, struct moment *now)
{
	struct wf_groups *gs = wf_groups(worker->local.rt);
	struct wf_group *group = worker->stretch.group;

	if (gs->root.active_first || (group && group->parent)) {
		/* relaxed, both: only this worker has to see it. */
		if (!(wf_load_relaxed(&worker->attend) & WF_LOOK_GROUPS))
			wf_or_relaxed(&worker->attend, WF_LOOK_GROUPS);
		return;
	}
	close_turn(worker, now);
	WF_DEBUG(!worker->stretch.holds && !worker->stretch.group);
	/* acq_rel [A5]: there is no weaker one; this worker reads it. */
	wf_and_acq_rel(&worker->attend, ~WF_LOOK_GROUPS);
}

/* Go on with the turn, or begin another one. `plain`: as plain_rank(). */
static void *turn_on(struct wf_worker *worker, int plain)
{
	struct moment now = { 0 };
	weft *rt = worker->local.rt;
	struct wf_groups *gs = wf_groups(rt);
	struct wf_stretch *stretch = &worker->stretch;
	void *item = NULL;

	pthread_mutex_lock(&gs->mutex);
	bool wake = give_place(worker);
	struct wf_group *group = stretch->group;
	/* relaxed: under the mutex. */
	bool on = group && group->queued && stretch->epoch == wf_load_relaxed(&rt->group_epoch) &&
		stretch->items + 1 < stretch->budget;

	for (const struct wf_group *g = group; on && g; g = g->parent)
		on = has_room(g);
	if (on) {
		stretch->items++;
	} else {
		close_turn(worker, &now);
		group = choose_for(worker, plain);
		if (group)
			open_turn(worker, group, &now);
	}
	if (group && group->parent)
		item = next_of(worker);
	WF_DEBUG(!item == !stretch->holds);
	mind(worker, &now);
	pthread_mutex_unlock(&gs->mutex);
	if (wake)
		wf_injected(rt, &worker->local);
	return item;
}

void *wf_group_next(struct wf_worker *worker)
{
	struct wf_stretch *stretch = &worker->stretch;

	WF_DEBUG(!worker->only || !stretch->group || stretch->group->parent);
	/* In a turn of what is in no group nothing is locked, no clock read. relaxed: a hint. */
	if (stretch->group && !stretch->group->parent &&
	    stretch->epoch == wf_load_relaxed(&worker->local.rt->group_epoch) &&
	    stretch->items + 1 < stretch->budget) {
		stretch->items++;
		return NULL;
	}
	return turn_on(worker, plain_rank(worker));
}

void *wf_group_take(struct wf_worker *worker)
{
	return turn_on(worker, -1);
}

bool wf_group_waits(struct wf_worker *worker)
{
	struct wf_groups *gs = wf_groups(worker->local.rt);

	pthread_mutex_lock(&gs->mutex);
	bool any = choose_for(worker, -1) != NULL;

	pthread_mutex_unlock(&gs->mutex);
	return any;
}

void wf_group_leave(struct wf_worker *worker)
{
	struct moment now = { 0 };
	weft *rt = worker->local.rt;
	struct wf_groups *gs = wf_groups(rt);

	if (!worker->stretch.group)
		return;
	pthread_mutex_lock(&gs->mutex);
	bool wake = give_place(worker);

	WF_DEBUG(!worker->stretch.holds);
	close_turn(worker, &now);
	mind(worker, &now);
	pthread_mutex_unlock(&gs->mutex);
	if (wake)
		wf_injected(rt, &worker->local);
}

void wf_group_help(struct wf_worker *worker, struct wf_group *only)
{
	struct wf_groups *gs = wf_groups(worker->local.rt);

	WF_DEBUG(worker->helper && !worker->stretch.group);
	/* For who wakes helpers by name. */
	pthread_mutex_lock(&gs->mutex);
	worker->only = only;
	pthread_mutex_unlock(&gs->mutex);
	/* relaxed: its own. It finds out whether that is so. */
	wf_or_relaxed(&worker->attend, WF_LOOK_GROUPS);
}

void wf_group_switch(struct wf_worker *worker, uint32_t index)
{
	struct moment now = { 0 };
	weft *rt = worker->local.rt;
	struct wf_groups *gs = wf_groups(rt);
	struct wf_group *group = gs->at[index];

	if (worker->stretch.group == group)
		return;
	pthread_mutex_lock(&gs->mutex);
	bool wake = give_place(worker);

	WF_CHECK(group->used && group->parent);
	close_turn(worker, &now);
	open_turn(worker, group, &now);
	WF_DEBUG(worker->stretch.group == group);
	mind(worker, &now);
	pthread_mutex_unlock(&gs->mutex);
	if (wake)
		wf_injected(rt, &worker->local);
}

/* ---- Others ---------------------------------------------------------------------------------- */

bool wf_group_take_queued(struct wf_local *self, struct wf_cell *cell)
{
	weft *rt = self->rt;
	uint32_t index = wf_cell_group(cell);
	struct wf_groups *gs = wf_groups(rt);
	struct wf_group *group = gs->at[index];
	bool found = false;

	pthread_mutex_lock(&gs->mutex);
	for (uint32_t p = 0; p < WF_PRIORITIES && !found; p++) {
		struct wf_lane *lane = &group->lane[p];

		for (uint32_t i = 0; i < lane->count && i < LOOK_DEPTH && !found; i++) {
			found = lane->at[(lane->head + i) & (lane->room - 1)] == cell;
			if (found)
				lane_remove(lane, i);
		}
	}
	WF_DEBUG(!found || group->queued);
	if (found) {
		queued_changed(rt, group, -1);
		deactivate(group);
	}
	pthread_mutex_unlock(&gs->mutex);
	return found;
}

uint32_t wf_group_drain(weft *rt, struct wf_group *group, void **items, uint32_t n)
{
	struct wf_groups *gs = wf_groups(rt);
	uint32_t got = 0;

	pthread_mutex_lock(&gs->mutex);
	/* It may have gone since, and its slot be a new group's. relaxed: under the mutex. */
	bool cancelled = wf_load_relaxed(&gs->cancelled[group->index]);

	for (uint32_t p = 0; p < WF_PRIORITIES && cancelled; p++) {
		struct wf_lane *lane = &group->lane[p];

		/* Parked bodies stay: they have to run to their end. */
		for (uint32_t left = lane->count; left && got < n; left--) {
			void *item = wf_lane_take(lane);

			if (((uintptr_t)item & WF_ITEM_MASK) == WF_ITEM_CELL)
				items[got++] = item;
			else
				WF_CHECK(wf_lane_put(lane, item, false));
		}
	}
	WF_DEBUG(got <= n && got <= group->queued);
	if (got) {
		queued_changed(rt, group, -(int)got);
		deactivate(group);
	}
	pthread_mutex_unlock(&gs->mutex);
	return got;
}

bool wf_group_spent(struct wf_worker *worker)
{
	struct wf_stretch *stretch = &worker->stretch;
	/* relaxed: what comes just now is seen after the next call. */
	uint32_t epoch = wf_load_relaxed(&worker->local.rt->group_epoch);

	if (!stretch->group || stretch->epoch != epoch)
		return true;
	WF_DEBUG(stretch->group->used);
	if (ticks_of(worker->local.rt) - stretch->begin <= wf_turn_ticks())
		return false;
	/* It is not to go on with the next item either. */
	stretch->epoch = epoch - 1;
	return true;
}

bool wf_group_outranked(struct wf_worker *worker)
{
	struct wf_groups *gs = wf_groups(worker->local.rt);
	struct wf_stretch *stretch = &worker->stretch;
	/* A body that began before any group had something: in none. */
	const struct wf_group *mine = stretch->group ? stretch->group : &gs->root;
	uint32_t rank = rank_of(WEFT_PRIORITY_NORMAL);
	bool ranked = false;

	pthread_mutex_lock(&gs->mutex);
	WF_DEBUG(mine->used);
	/* Against those in it, and on each level up against those beside it. */
	for (const struct wf_group *roof = mine; roof && !ranked; roof = roof->parent) {
		for (const struct wf_group *g = roof->active_first; g && !ranked;
		     g = g->active_next)
			ranked = rank_of(g->share.priority) > rank && eligible(g);
		rank = rank_of(roof->share.priority);
	}
	if (!ranked)
		/* relaxed: under the mutex. Who was looked at once waits for the turn's end. */
		stretch->epoch = wf_load_relaxed(&worker->local.rt->group_epoch);
	pthread_mutex_unlock(&gs->mutex);
	return ranked;
}
