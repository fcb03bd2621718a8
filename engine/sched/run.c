/*
 * run.c: a host thread that runs tasks itself: it borrows a helper slot, which is a worker without
 * a thread of its own, and gives it back when its condition holds.
 */
#include <errno.h>

#include "runtime.h"

bool wf_helper_done(struct wf_worker *worker)
{
	struct wf_wait *wait = worker->helper_wait;

	if (!wait)
		return false;
	/* acquire [F1]: the result it waits for. */
	if (wf_load_acquire(&wait->phase) >= WF_WAIT_FIRED)
		return true;
	if (wait->timer.until != WEFT_FOREVER &&
	    wf_clock_now(&worker->local.rt->clock) >= wait->timer.until)
		return true;
	return !wait->node_count && !wait->external && wf_runtime_is_quiet(worker->local.rt);
}

int64_t wf_helper_until(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	int64_t until = worker->helper_wait ? worker->helper_wait->timer.until : WEFT_FOREVER;

	/* Quiet may come by another thread's doing, and a virtual clock by its owner's. */
	if (!worker->helper_wait || !worker->helper_wait->node_count || rt->clock.virtual_time) {
		int64_t soon = wf_clock_now(NULL) + 1000000;

		return until < soon && !rt->clock.virtual_time ? until : soon;
	}
	return until;
}

static struct wf_worker *slot_take(weft *rt)
{
	/* relaxed: a guess for the exchange. */
	uint32_t used = wf_load_relaxed(&rt->helpers_used);
	uint32_t free_slot;

	do {
		/* What a deterministic runtime keeps is for one thread. */
		if (used == (1u << WF_HELPERS_MAX) - 1 || (used && rt->order))
			return NULL;
		free_slot = (uint32_t)__builtin_ctz(~used);
		/* acquire [R1]: what the slot's last user left. */
	} while (!wf_cas_acquire(&rt->helpers_used, &used, used | 1u << free_slot));
	return rt->worker[rt->workers + free_slot];
}

/*
 * Hand on what is left in a deque. False: no memory. The rest stays there, exposed, for thieves and
 * for the slot's next user.
 */
static bool deque_give(struct wf_worker *worker, uint32_t priority)
{
	weft *rt = worker->local.rt;
	struct wf_deque *deque = &worker->deque[priority];
	void *item;

	while ((item = wf_deque_pop_local(deque)) != NULL) {
		if (wf_injector_push_mt(&rt->inject[worker->local.node][priority], item)) {
			/* The slot it came from is free, so this cannot fail. */
			WF_CHECK(!wf_deque_push_local(deque, item));
			wf_deque_expose_local(deque, UINT32_MAX);
			return false;
		}
		wf_wake_one(rt);
	}
	return true;
}

static void slot_give(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	bool empty = true;

	for (uint32_t p = 0; p < WF_PRIORITIES; p++)
		empty = deque_give(worker, p) && empty;
	wf_slab_flush(&worker->local);
	wf_stack_cache_flush(rt->stacks, &worker->stacks);
	worker->helper_wait = NULL;
	if (empty)
		/* relaxed: its deques are empty. */
		wf_store_relaxed(&worker->active, 0);
	/* release [R1] */
	wf_and_acq_rel(&rt->helpers_used, ~(1u << (worker->index - rt->workers)));
	/* A quiet check of others may have counted on us. */
	wf_wake_one(rt);
}

static int run_wait(weft *rt, struct wf_wait *wait, wf_arm_fn *arm, void *arg,
                    struct wf_group *only)
{
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	/* A task of another runtime may be the one that helps here. */
	struct wf_local *was = wf_self();
	struct wf_worker *worker = slot_take(rt);

	if (!worker)
		return -EAGAIN;
	struct wf_thread_state *before = wf_thread_current();
	struct wf_thread_state thread = { .rt = rt, .guest = self };

	if (arm)
		wait->helper = worker;
	worker->helper_wait = wait;
	WF_DEBUG(!only || wf_groups(rt));
	if (wf_groups(rt))
		wf_group_help(worker, only);
	/* A thread of the runtime that helps has its alternate stack already. */
	bool alternate = !before && !wf_overflow_thread_init();
	int rc = 0;

	wf_thread_set(&thread);

	if (!arm || arm(self, wait, arg))
		rc = wf_worker_enter(&thread, worker);
	wf_local_set(was);
	if (arm)
		wf_wait_leave(wait);
	wf_group_leave(worker);
	if (only)
		wf_group_help(worker, NULL);
	slot_give(worker);
	wf_thread_set(before);
	if (alternate)
		wf_overflow_thread_fini();
	return rc;
}

/* Why a wait was left that is not over. */
static int given_up(const weft *rt)
{
	return rt->order && rt->order->stuck ? WEFT_EDEADLOCK : -ETIMEDOUT;
}

int wf_run_wait(weft *rt, struct wf_wait *wait, wf_arm_fn *arm, void *arg)
{
	int rc = run_wait(rt, wait, arm, arg, NULL);

	/* acquire [F1]: what the winner did before. */
	return rc || wf_load_acquire(&wait->phase) >= WF_WAIT_FIRED ? rc : given_up(rt);
}

int wf_run_armed(struct wf_wait *wait)
{
	return run_wait(wait->rt, wait, NULL, NULL, NULL);
}

static bool arm_cell(struct wf_local *self, struct wf_wait *wait, void *cell)
{
	return wf_wait_add(self, wait, wait->nodes, cell);
}

int wf_run_group(weft *rt, struct wf_cell *cell, struct wf_group *only, int64_t until)
{
	struct wf_wait_node node = { .pushed = false };
	struct wf_wait wait;
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	wf_wait_init(&wait, self, 1, until);
	wait.nodes = &node;
	wait.node_count = cell ? 1 : 0;
	int rc = run_wait(rt, &wait, cell ? arm_cell : NULL, cell, only);

	if (!rc && !(cell ? wf_promise_is_done(&cell->promise) : wf_runtime_is_quiet(rt)))
		rc = given_up(rt);
	return rc;
}

int wf_run_until(weft *rt, struct wf_cell *cell, int64_t until)
{
	return wf_run_group(rt, cell, NULL, until);
}

int weft_run(weft *rt, weft_ref ref, weft_deadline until)
{
	struct wf_local *self = wf_self();
	struct wf_cell *cell = NULL;

	if (!rt)
		return -EINVAL;
	if (self && self->rt == rt && self->current)
		return -EDEADLK;
	if (wf_load_acquire(&rt->gate) == WF_GATE_FORKED) /* acquire [G1] */
		return -ECHILD;
	if (ref.bits) {
		cell = wf_cell_of(rt, ref);
		if (!cell || wf_cell_is_stream(cell))
			return -EINVAL;
		if (wf_promise_is_done(&cell->promise))
			return 0;
	}
	return wf_run_until(rt, cell, until);
}
