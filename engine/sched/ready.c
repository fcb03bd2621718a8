/*
 * ready.c: where a ready task or fiber goes, and who is woken for it.
 *
 * A worker pushes on its own deque; everybody else on the injector of a node. When a queue cannot
 * grow, ready things wait on an intrusive list that workers look at when it is not empty, so that
 * nothing that was accepted is ever lost to -ENOMEM.
 *
 * Waking. `idle` counts workers that sleep or search. A worker that pushes and reads 0 does
 * nothing more. Otherwise it exposes its oldest task, unless that is its only one (see LONE_US in
 * worker.c), and wakes one sleeper only when nobody searches and either the backlog is at least
 * two or nobody watches. The watcher is the one sleeper that looks up by itself now and then while
 * others run; so a short task that its submitter is about to run itself costs no wake, and a
 * long-running submitter is noticed within tens of microseconds.
 *
 * Sleep against push is a Dekker: the sleeper counts itself idle, issues a membarrier [S1] and
 * looks at all queues once more; the pusher stores its item and then reads `idle`, with a full
 * fence of its own only where membarrier does not exist.
 */
#include <errno.h>

#include "runtime.h"

static void *item_of_fiber(struct wf_fiber *fiber)
{
	return (void *)((uintptr_t)fiber | WF_ITEM_FIBER);
}

/* ---- The list of last resort --------------------------------------------------------------- */

static void overflow_cell(weft *rt, struct wf_ext *ext)
{
	pthread_mutex_lock(&rt->overflow_mutex);
	/*
	 * A ready task has no use for its count of unready inputs: it links. One with a request
	 * may have, see gpu/ahead.c. relaxed: the mutex.
	 */
	if (ext->parts & WF_PART_REQUEST)
		wf_ext_request(ext)->stuck = rt->overflow_tasks;
	else
		wf_store_relaxed(&ext->unready, rt->overflow_tasks);
	rt->overflow_tasks = ext->cell;
	/* release [O1]: workers that read the count take the mutex. */
	wf_add_release(&rt->overflow_count, 1);
	pthread_mutex_unlock(&rt->overflow_mutex);
}

static void overflow_fiber(weft *rt, struct wf_fiber *fiber)
{
	pthread_mutex_lock(&rt->overflow_mutex);
	fiber->next = rt->overflow_fibers;
	rt->overflow_fibers = fiber;
	/* release [O1] */
	wf_add_release(&rt->overflow_count, 1);
	pthread_mutex_unlock(&rt->overflow_mutex);
}

void *wf_overflow_take(weft *rt)
{
	void *item = NULL;

	pthread_mutex_lock(&rt->overflow_mutex);
	if (rt->overflow_fibers) {
		struct wf_fiber *fiber = rt->overflow_fibers;

		rt->overflow_fibers = fiber->next;
		item = item_of_fiber(fiber);
	} else if (rt->overflow_tasks) {
		struct wf_cell *cell = &rt->cells[rt->overflow_tasks];

		if (cell->ext_word->parts & WF_PART_REQUEST) {
			rt->overflow_tasks = wf_ext_request(cell->ext_word)->stuck;
		} else {
			/* relaxed: the mutex. */
			rt->overflow_tasks = wf_load_relaxed(&cell->ext_word->unready);
			wf_store_relaxed(&cell->ext_word->unready, 0);
		}
		item = cell;
	}
	if (!item && rt->overflow_actors) {
		rt->overflow_actors--;
		item = (void *)((uintptr_t)wf_actor_unstuck(rt) | WF_ITEM_ACTOR);
	}
	if (item)
		/* relaxed: under the mutex. */
		wf_add_relaxed(&rt->overflow_count, (uint32_t)-1);
	pthread_mutex_unlock(&rt->overflow_mutex);
	return item;
}

/* ---- Waking -------------------------------------------------------------------------------- */

/* Take one sleeper off the map, near `node` first by index order. NULL: nobody sleeps. */
static struct wf_worker *claim_sleeper(weft *rt)
{
	for (uint32_t i = 0; i * 64 < rt->slots; i++) {
		/* relaxed: a guess for the exchange. */
		uint64_t bits = wf_load_relaxed(&rt->parked_bits[i]);

		while (bits) {
			uint64_t bit = bits & -bits;
			/* acq_rel [W1]: one waker per sleeper; its own clearing in wake_done(). */
			uint64_t old = wf_and_acq_rel(&rt->parked_bits[i], ~bit);

			if (old & bit)
				return rt->worker[i * 64 + (uint32_t)__builtin_ctzll(bit)];
			bits = old & ~bit;
		}
	}
	return NULL;
}

void wf_wake_one(weft *rt)
{
	struct wf_worker *sleeper = claim_sleeper(rt);

	if (sleeper)
		wf_parker_unpark_mt(&sleeper->parker);
}

void wf_wake_all(weft *rt)
{
	for (uint32_t i = 0; i < rt->slots; i++)
		wf_parker_unpark_mt(&rt->worker[i]->parker);
}

static uint32_t backlog(struct wf_worker *worker)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < WF_PRIORITIES; i++)
		n += wf_deque_count_mt(&worker->deque[i]);
	return n;
}

void wf_push_hungry(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	/* Where there is no membarrier the pusher's half of the Dekker [S1] is a fence here. */
	if (!rt->asymmetric)
		wf_fence_seq_cst();
	/* relaxed, here and below: decided by [S1]. */
	if (!(wf_load_relaxed(&rt->idle) & (WF_IDLE_ALWAYS - 1)))
		return;
	for (uint32_t i = 0; i < WF_PRIORITIES; i++) {
		struct wf_deque *deque = &worker->deque[i];

		/* A lone one is ours to run next: a thief asks for it when it lies too long. */
		if (wf_deque_private_count_local(deque) > 1 && !wf_deque_has_public(deque))
			wf_deque_expose_local(deque, 1);
	}
	if (wf_load_relaxed(&rt->searching) || !wf_load_relaxed(&rt->sleeping))
		return;
	if (wf_load_relaxed(&rt->watcher) && backlog(worker) < 2)
		return;
	wf_bump(&worker->local.count.woken);
	wf_wake_one(rt);
}

int wf_put_hungry(struct wf_worker *worker)
{
	struct wf_deque *deque = &worker->deque[WEFT_PRIORITY_NORMAL];

	if (wf_deque_is_asked_local(deque))
		wf_deque_answer(deque);
	wf_push_hungry(worker);
	return 0;
}

/* After a push on an injector, or in a group's lane. */
static void injected(weft *rt)
{
	/* Pairs with the sleeper's barrier [S1]. Foreign threads pay for it themselves. */
	wf_fence_seq_cst();
	/* relaxed: decided by [S1]. */
	if (!wf_load_relaxed(&rt->searching) && wf_load_relaxed(&rt->sleeping))
		wf_wake_one(rt);
}

void wf_injected(weft *rt, const struct wf_local *self)
{
	if (!self->worker)
		/* relaxed: only has to change, see wf_deadlock_search(). */
		wf_add_relaxed(&rt->external, 1);
	injected(rt);
}

/* ---- Pushing ------------------------------------------------------------------------------- */

static int inject(struct wf_local *self, void *item, uint32_t priority)
{
	int rc = wf_injector_push_mt(&self->rt->inject[self->node][priority], item);

	if (!rc)
		wf_injected(self->rt, self);
	return rc;
}

/* Ahead of the others what a task of the same group has submitted; behind them what comes to it. */
static int push_cell_of_group(struct wf_local *self, struct wf_cell *cell, uint32_t priority)
{
	uint32_t group = wf_cell_group(cell);
	const struct weft_task *frame = self->current;
	bool first = frame && frame->rt == self->rt && wf_cell_group(frame->cell) == group;

	int rc = wf_group_push(self, group, cell, priority & ~WF_READY_GROUP, first);

	/* Its canceller may have looked into the lane before: no worker has to come by. */
	if (WF_UNLIKELY(!rc && wf_group_is_cancelled(self->rt, group)))
		wf_groups_end_queued(self, group);
	return rc;
}

static int push(struct wf_local *self, void *item, uint32_t priority)
{
	struct wf_worker *worker = wf_worker_of(self);

	if (WF_UNLIKELY(priority != WEFT_PRIORITY_NORMAL)) {
		if (priority & WF_READY_GROUP)
			return push_cell_of_group(self, item, priority);
		if (!wf_load_relaxed(&self->rt->prio_used))
			/* relaxed: workers that see it late only find the task later. */
			wf_store_relaxed(&self->rt->prio_used, 1);
	}
	if (!self->worker || wf_deque_push_local(&worker->deque[priority], item))
		return inject(self, item, priority);
	wf_pushed(worker);
	return 0;
}

int wf_ready_try(struct wf_local *self, struct wf_cell *cell)
{
	return push(self, cell, WEFT_PRIORITY_NORMAL);
}

void wf_ready_cell(struct wf_local *self, struct wf_cell *cell, uint32_t priority)
{
	if (WF_LIKELY(!push(self, cell, priority)))
		return;
	/* Not in a queue: take it out of a canceller's reach before its ext links it. */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING); /* release [C1] */
	wf_fence_compiler();
	if (!wf_ended_in_queue(self, cell))
		wf_ready_running(self, cell);
}

/* One whose state is RUNNING: no canceller ends it any more. */
void wf_ready_running(struct wf_local *self, struct wf_cell *cell)
{
	WF_CHECK(cell->ext_word->cell == (uint32_t)(cell - self->rt->cells));
	WF_DEBUG(wf_load_relaxed(&cell->promise.state) == WF_STATE_RUNNING); /* relaxed: ours. */
	overflow_cell(self->rt, cell->ext_word);
	injected(self->rt);
}

/*
 * A fiber of a group goes to its lane, one that is kept on its node to that node's. One that may
 * only resume on its worker goes to that worker's inbox, also from itself.
 */
static bool went_home(struct wf_local *self, struct wf_fiber *fiber, bool last)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);

	if (!user->home)
		return false;
	if (user->home & WF_HOME_GROUP)
		return !wf_group_push(self, (uint32_t)(user->home >> 1), item_of_fiber(fiber),
		                      WEFT_PRIORITY_NORMAL, !last);
	if (user->home & WF_HOME_NODE) {
		wf_lane_fiber(self, (uint32_t)(user->home >> 2), fiber);
		return true;
	}
	struct wf_worker *home = (struct wf_worker *)user->home;

	wf_mpsc_push_mt(&home->inbox, &user->link);
	if (&home->local != self) {
		/* relaxed: see inject(). */
		wf_add_relaxed(&self->rt->external, 1);
		wf_parker_unpark_mt(&home->parker);
	}
	return true;
}

void wf_ready_fiber(struct wf_local *self, struct wf_fiber *fiber)
{
	if (went_home(self, fiber, false))
		return;
	if (push(self, item_of_fiber(fiber), WEFT_PRIORITY_NORMAL)) {
		overflow_fiber(self->rt, fiber);
		injected(self->rt);
	}
}

static void overflow_actor(weft *rt, struct wf_actor *actor)
{
	pthread_mutex_lock(&rt->overflow_mutex);
	wf_actor_stuck(actor);
	rt->overflow_actors++;
	/* release [O1] */
	wf_add_release(&rt->overflow_count, 1);
	pthread_mutex_unlock(&rt->overflow_mutex);
}

/*
 * At the far end nobody is woken: it is for a worker that goes on itself, and looks there now and
 * then, or has nothing else.
 */
void wf_ready_actor(struct wf_local *self, struct wf_actor *actor, uint32_t priority, bool last)
{
	void *item = (void *)((uintptr_t)actor | WF_ITEM_ACTOR);

	if (last && !wf_injector_push_mt(&self->rt->inject[self->node][priority], item))
		return;
	if (push(self, item, priority)) {
		overflow_actor(self->rt, actor);
		injected(self->rt);
	}
}

/* In its group's lane it is the last: it was so before, or those before it came first. */
void wf_ready_actor_in(struct wf_local *self, struct wf_actor *actor, uint32_t group,
                       uint32_t priority)
{
	void *item = (void *)((uintptr_t)actor | WF_ITEM_ACTOR);

	if (wf_group_push(self, group, item, priority, false)) {
		overflow_actor(self->rt, actor);
		injected(self->rt);
	}
}

/* The far end of the queues: after everything that is ready now. */
void wf_ready_fiber_last(struct wf_local *self, struct wf_fiber *fiber)
{
	if (went_home(self, fiber, true))
		return;
	if (WF_UNLIKELY(self->rt->order)) {
		wf_order_yield(self, fiber);
		return;
	}
	if (inject(self, item_of_fiber(fiber), WEFT_PRIORITY_NORMAL)) {
		overflow_fiber(self->rt, fiber);
		injected(self->rt);
	}
}
