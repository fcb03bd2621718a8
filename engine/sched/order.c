/*
 * order.c: the order of a deterministic runtime: one thread, one seed, and a clock that moves when
 * nothing else does.
 *
 * There are no workers. Whoever waits on the host thread runs tasks meanwhile (run.c), and what it
 * runs next is drawn here: all that is ready lies in one list for each priority, and the seed says
 * which of it. When nothing is ready the clock jumps to the next deadline; when there is none
 * either, and nothing is under way outside (a transfer, room in the store), nothing will ever go
 * on, and the wait ends with WEFT_EDEADLOCK. Where other runtimes look at a clock to share time or
 * to grow pieces, an item counts as ITEM_US here.
 *
 * Drawn from many, every branch of a wide tree would be begun before any is finished. So a get
 * runs its task in place in half of the cases, and always once WIDE stacks are in use; from then
 * on mostly the newest is taken, which is the order of a worker's own deque. Any other one comes
 * with a chance of one to the number of stacks, so that nobody starves and the stacks hardly grow.
 *
 * Shared: nothing but `outside`, and `kept`, at which the store's thread looks as well. One thread
 * at a time has the only helper's slot.
 */
#include <errno.h>

#include "actor.h"
#include "gpu.h"
#include "runtime.h"

#define WIDE       64u
#define ITEM_US    10u
#define LIST_FIRST 64u
#define LOOK_NS    INT64_C(1000000)
#define PATIENCE   20u /* looks of LOOK_NS before time goes on although something is outside */
#define SALT       UINT64_C(0x6f72646572) /* apart from the streams of tasks */

static const uint8_t look_order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL,
	                                           WEFT_PRIORITY_LOW };

int wf_order_create(weft *rt)
{
	if (!(rt->options.flags & WEFT_OPEN_DETERMINISTIC))
		return 0;
	struct wf_order *order = wf_calloc(1, sizeof(*order));

	if (!order)
		return -ENOMEM;
	WF_CHECK(!rt->workers && rt->clock.virtual_time);
	WF_CHECK(rt->node_count == 1 && rt->seeded);
	wf_random_init(&order->random, rt->seed ^ SALT);
	rt->order = order;
	return 0;
}

void wf_order_destroy(weft *rt)
{
	struct wf_order *order = rt->order;

	for (uint32_t p = 0; order && p < WF_PRIORITIES; p++) {
		WF_CHECK(!order->ready[p].count);
		wf_free(order->ready[p].at);
	}
	wf_free(order);
	rt->order = NULL;
}

uint32_t wf_order_below(struct wf_order *order, uint32_t n)
{
	return wf_random_below(&order->random, n);
}

uint32_t wf_order_count(const struct wf_order *order)
{
	return wf_load_relaxed(&order->kept); /* relaxed: one look of several. */
}

/* One more, or less. relaxed: of the one thread that runs tasks; others only look. */
static void keeps(struct wf_order *order, uint32_t by)
{
	wf_store_relaxed(&order->kept, wf_load_relaxed(&order->kept) + by);
}

uint64_t wf_order_ticks(const weft *rt)
{
	return rt->order->items * ITEM_US * wf_ticks_per_us();
}

static bool is_wide(weft *rt, uint32_t *stacks)
{
	*stacks = wf_stacks_live(rt->stacks);
	return *stacks > WIDE;
}

char *wf_order_floor(struct wf_local *self)
{
	const struct wf_fiber *fiber = self->fiber;
	struct wf_order *order = self->rt->order;
	uint32_t stacks;

	WF_DEBUG(fiber && self->current);
	WF_DEBUG(order != NULL);
	if (((const struct wf_fiber_user *)(const void *)fiber->user)->counted ||
	    (!is_wide(self->rt, &stacks) && wf_order_below(order, 2)))
		return WF_FLOOR_NONE;
	order->hash = order->hash * 31 + 1;
	return wf_fiber_floor(fiber);
}

void wf_order_yield(struct wf_local *self, struct wf_fiber *fiber)
{
	struct wf_order *order = self->rt->order;

	WF_CHECK(!order->yielded);
	WF_DEBUG(fiber != self->fiber);
	order->yielded = (void *)((uintptr_t)fiber | WF_ITEM_FIBER);
	keeps(order, 1);
}

/* ---- The lists ------------------------------------------------------------------------------ */

static bool list_add(struct wf_order *order, uint32_t priority, void *item)
{
	struct wf_order_list *list = &order->ready[priority];

	WF_DEBUG(priority < WF_PRIORITIES);
	if (list->count == list->room) {
		uint32_t room = list->room ? list->room * 2 : LIST_FIRST;
		void **at = wf_malloc(room * sizeof(*at));

		if (!at)
			return false;
		for (uint32_t i = 0; i < list->count; i++)
			at[i] = list->at[i];
		wf_free(list->at);
		list->at = at;
		list->room = room;
	}
	WF_DEBUG(list->count < list->room);
	WF_DEBUG(item != NULL);
	list->at[list->count++] = item;
	keeps(order, 1);
	return true;
}

/* Bring together what is ready. Not NULL: one for which there is no room, to be run at once. */
static void *gather(struct wf_worker *worker)
{
	struct wf_order *order = worker->local.rt->order;
	void *item;

	WF_DEBUG(order && !worker->only);
	WF_DEBUG(worker->helper);
	/* Own things know their priority by their deque, others by the batch that they come in. */
	for (;;) {
		for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
			while ((item = wf_deque_pop_local(&worker->deque[p])) != NULL) {
				if (!list_add(order, p, item))
					return item;
			}
		}
		item = wf_take_shared(worker);
		if (!item)
			return NULL;
		if (!list_add(order, WEFT_PRIORITY_NORMAL, item))
			return item;
	}
}

static void *draw(weft *rt)
{
	struct wf_order *order = rt->order;
	uint32_t stacks;

	for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
		struct wf_order_list *list = &order->ready[look_order[p]];

		if (!list->count)
			continue;
		bool newest = is_wide(rt, &stacks) && wf_order_below(order, stacks);
		uint32_t i = newest ? list->count - 1 : wf_order_below(order, list->count);
		void *item = list->at[i];

		WF_DEBUG(i < list->count);

		list->at[i] = list->at[--list->count];
		keeps(order, (uint32_t)-1);
		WF_DEBUG(item);
		return item;
	}
	return NULL;
}

/* Forks of a group's bodies may have come here before it was helped: the newest one. */
static void *draw_fork(struct wf_order *order)
{
	struct wf_order_list *list = &order->ready[WEFT_PRIORITY_NORMAL];

	for (uint32_t i = list->count; i-- > 0;) {
		void *item = list->at[i];

		WF_DEBUG(item);
		if (((uintptr_t)item & WF_ITEM_MASK) != WF_ITEM_FORK)
			continue;
		list->at[i] = list->at[--list->count];
		keeps(order, (uint32_t)-1);
		return item;
	}
	return NULL;
}

/* The same for two runs that are alike: no addresses. */
static uint64_t name_of(const weft *rt, void *item)
{
	uintptr_t tag = (uintptr_t)item & WF_ITEM_MASK;
	void *at = (void *)((uintptr_t)item & ~(uintptr_t)WF_ITEM_MASK);

	switch (tag) {
	case WF_ITEM_CELL:
		return (uint64_t)((struct wf_cell *)at - rt->cells) << 2 | tag;
	case WF_ITEM_FIBER:
		return (uint64_t)((struct wf_fiber *)at)->index << 2 | tag;
	case WF_ITEM_ACTOR:
		return (uint64_t)wf_actor_index(rt, at) << 2 | tag;
	default:
		return tag;
	}
}

static void note(struct wf_order *order, uint64_t what)
{
	order->hash = (order->hash ^ what) * UINT64_C(0x9e3779b97f4a7c15);
	order->hash ^= order->hash >> 29;
}

/* relaxed: set by this thread. */
static bool groups_called(const struct wf_worker *worker)
{
	return wf_load_relaxed(&worker->attend) & WF_LOOK_GROUPS;
}

static void *take(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_order *order = rt->order;
	void *item = worker->only ? NULL : gather(worker), *yielded = order->yielded;

	if (!item && groups_called(worker))
		item = wf_group_next(worker);
	if (!item)
		item = worker->only ? wf_pop_only(worker) : draw(rt);
	if (!item && worker->only)
		item = draw_fork(order);
	/* relaxed: of this thread. */
	if (!item && wf_load_relaxed(&rt->group_queued))
		item = wf_group_take(worker);
	if (!yielded)
		return item;
	order->yielded = NULL;
	keeps(order, (uint32_t)-1);
	/* Who helps one group leaves it to who comes after. */
	if (!item && !worker->only)
		return yielded;
	if (list_add(order, WEFT_PRIORITY_NORMAL, yielded))
		return item;
	/* Without memory it goes on at once, and what was drawn waits on the deque. */
	if (item)
		WF_CHECK(!wf_deque_push_local(&worker->deque[WEFT_PRIORITY_NORMAL], item));
	return yielded;
}

/* ---- When nothing is ready ------------------------------------------------------------------ */

/* Look again soon: something may come from outside. False: it is time for time. */
static bool wait_outside(struct wf_worker *worker)
{
	struct wf_order *order = worker->local.rt->order;

	/* relaxed: who counts it down has made something ready before. */
	if (!wf_load_relaxed(&order->outside))
		return false;
	WF_DEBUG(order->patience <= PATIENCE);
	WF_DEBUG(!wf_order_count(order));
	if (order->patience++ == PATIENCE) {
		order->patience = 0;
		return false;
	}
	wf_sleep_begin(worker);
	if (!wf_something_queued(worker->local.rt) && !wf_must_stop(worker))
		wf_parker_park(&worker->parker, wf_clock_now(NULL) + LOOK_NS);
	wf_sleep_end(worker);
	return true;
}

static bool time_goes_on(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	int64_t next = wf_timer_next(rt), until = WF_FOREVER;

	if (worker->helper_wait)
		until = worker->helper_wait->timer.until;
	WF_DEBUG(rt->clock.virtual_time);
	if (until < next)
		next = until;
	if (next == WF_FOREVER)
		return false;
	WF_DEBUG(next > 0);
	wf_clock_advance(&rt->clock, next);
	note(rt->order, (uint64_t)next);
	wf_timers_fire(rt, next);
	return true;
}

void *wf_order_next(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_order *order = rt->order;

	WF_DEBUG(!rt->workers && worker->helper);
	WF_DEBUG(!worker->local.current);
	/* What was found before is not true of this wait: it may have a deadline, or be over. */
	order->stuck = false;
	for (bool searched = false;;) {
		if (wf_must_stop(worker))
			return NULL;
		void *item = take(worker);

		if (item) {
			order->items++;
			order->patience = 0;
			order->stuck = false;
			note(order, name_of(rt, item));
			return item;
		}
		if (worker->stretch.group)
			wf_group_leave(worker);
		if (wait_outside(worker) || time_goes_on(worker)) {
			order->stuck = false;
			continue;
		}
		/* relaxed: as in wait_outside(). */
		if (wf_load_relaxed(&order->outside))
			continue;
		order->stuck = true;
		if (searched)
			return NULL;
		/* Tasks that wait for each other are told; then there is something to run. */
		wf_deadlock_search(rt);
		searched = true;
	}
}
