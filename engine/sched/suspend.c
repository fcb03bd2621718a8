/*
 * suspend.c: putting a task or a host thread to sleep until something happens.
 *
 * Shared (struct wf_wait, on the sleeper's stack)
 *   phase   ARMING -> PARKED by the code that runs after the sleeper's switch; ARMING or PARKED ->
 *           FIRED | reason by whoever ends the wait, exactly one
 *   need    nodes still to fire before the wait ends
 *   node.fired  the firer's last touch of node and wait; the sleeper leaves its frame only when
 *           every node is fired or off its list
 *
 * A sleeper links its nodes while it still runs on its own stack. Whoever fires the wait before
 * the stack is really parked only changes `phase`; the commit after the switch then finds FIRED
 * and makes the fiber ready at once. So nobody resumes a stack whose registers are not saved.
 *
 * Cancel: a blocked task's fiber carries the wait under a small lock. The sleeper publishes it
 * and then reads its cancel request; the canceller stores the request and then looks for the
 * wait, each with a locked instruction in between.
 */
#include <errno.h>

#include "gpu.h"
#include "room.h"
#include "runtime.h"

/* ---- Firing -------------------------------------------------------------------------------- */

/* wait->futex of a host thread. */
#define HOST_AWAKE   0u
#define HOST_WOKEN   1u
#define HOST_ASLEEP  2u /* it sleeps, or is about to: whoever ends the wait calls the kernel */
#define HOST_OUTSIDE 3u /* likewise, and first counts the body as awake: that may take a while */

/* Whom to wake, copied while the wait is certainly there. */
struct sleeper {
	struct wf_fiber *fiber;
	struct wf_worker *helper;
	struct wf_a32 *futex;
	struct wf_wait *wait; /* of a host thread: there until the futex says HOST_WOKEN */
};

static struct sleeper sleeper_of(struct wf_wait *wait)
{
	return (struct sleeper){ wait->fiber, wait->helper, &wait->futex, wait };
}

/* The last touch; what the futex was. */
static uint32_t wake_host(struct sleeper who)
{
	/* acquire [H2]: `outside`. */
	uint32_t was = wf_load_acquire(who.futex);
	bool counted = false;

	do {
		if (was == HOST_OUTSIDE && !counted) {
			wf_outside_wakes(who.wait->outside);
			counted = true;
		}
		/* acq_rel [H1], [H2]: the address is only a name from here on. */
	} while (!wf_cas_acq_rel(who.futex, &was, HOST_WOKEN));
	return was;
}

static void deliver(struct sleeper who, uint32_t old, struct wf_local *self)
{
	WF_CHECK(self != NULL);
	if (who.fiber) {
		/* ARMING: the sleeper has not parked yet and will find out by itself. */
		if (old == WF_WAIT_PARKED)
			wf_ready_fiber(self, who.fiber);
	} else if (who.helper) {
		wf_parker_unpark_mt(&who.helper->parker);
	} else {
		/* A system call only for who sleeps: most are still spinning. */
		if (wake_host(who) >= HOST_ASLEEP)
			wf_futex_wake(who.futex, 1);
		if (self->worker)
			wf_worker_of(self)->woke_host = true;
	}
}

/* End the wait: true for the one call that does. *old: the phase before. */
static bool claim(struct wf_wait *wait, int reason, uint32_t *old)
{
	/* relaxed: a guess for the exchange. */
	*old = wf_load_relaxed(&wait->phase);
	do {
		if (*old >= WF_WAIT_FIRED)
			return false;
		/* acq_rel [F1]: what the winner did before is visible to the sleeper. */
	} while (!wf_cas_acq_rel(&wait->phase, old, WF_WAIT_FIRED + ((uint32_t)reason << 8)));
	return true;
}

bool wf_wait_wake(struct wf_wait *wait, int reason, struct wf_local *self)
{
	struct sleeper who = sleeper_of(wait);
	uint32_t old;

	if (!claim(wait, reason, &old))
		return false;
	deliver(who, old, self);
	return true;
}

void wf_wait_fire(struct wf_waiter *waiter, struct wf_cell *cell, struct wf_local *self)
{
	struct wf_wait_node *node = wf_container_of(waiter, struct wf_wait_node, waiter);
	struct wf_wait *wait = node->wait;
	bool failed = wait->fail_fast && wf_flags(cell) & WF_CELL_ERROR;
	struct sleeper who = sleeper_of(wait);
	uint32_t old = 0;
	/* acq_rel [F2]: the last of several firers has seen what the others did. */
	bool last = wf_add_acq_rel(&wait->need, (uint32_t)-1) == 1;
	bool won = (last || failed) && claim(wait, WF_WAKE_READY, &old);

	/* release [F3]: the last touch of node and wait. */
	wf_store_release(&node->fired, 1);
	if (won)
		deliver(who, old, self);
}

void wf_wait_fire_from_outside(struct wf_wait *wait, struct wf_wait_node *node)
{
	weft *rt = wait->rt;
	struct wf_local *self = wf_local_of(rt);

	/* A thread's first wake makes its identity: with no memory at all, later is the only way. */
	while (WF_UNLIKELY(!self)) {
		sched_yield();
		self = wf_local_of(rt);
	}
	/* relaxed: only has to change before the wake, see wf_deadlock_search(). */
	wf_add_relaxed(&rt->external, 1);
	wf_wait_fire(&node->waiter, NULL, self);
}

void wf_wait_init(struct wf_wait *wait, struct wf_local *self, uint32_t need, int64_t until)
{
	*wait = (struct wf_wait){ .rt = self->rt, .timer.until = until };
	wf_init(&wait->need, need);
	if (wf_can_suspend(self))
		wait->fiber = self->fiber;
}

bool wf_wait_add(struct wf_local *self, struct wf_wait *wait, struct wf_wait_node *node,
                 struct wf_cell *cell)
{
	uintptr_t taken = 0;
	bool foreign = wf_cell_foreign(self, cell);

	*node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire, .wait = wait, .cell = cell };
	if (!wf_promise_push(&cell->promise, &node->waiter, foreign, &taken))
		return false;
	node->pushed = true;
	if (foreign)
		/* relaxed: a hint, see mind_strangers(). */
		wf_add_relaxed(&self->rt->locals[wf_cell_owner(cell)]->foreign_touches, 1);
	if (taken)
		wf_cell_fire(self, cell, taken);
	return true;
}

/* Take back what did not fire. After this nobody touches the wait or its nodes. */
static void wait_finish(struct wf_wait *wait)
{
	for (uint32_t i = 0; i < wait->node_count; i++) {
		struct wf_wait_node *node = &wait->nodes[i];

		/* acquire [F3]: the firer has left. */
		if (!node->pushed || wf_load_acquire(&node->fired))
			continue;
		if (wf_promise_remove(&node->cell->promise, &node->waiter))
			continue;
		while (!wf_load_acquire(&node->fired))
			wf_cpu_relax();
	}
	if (wait->timed)
		wf_timer_remove(wait);
}

void wf_wait_leave(struct wf_wait *wait)
{
	wait_finish(wait);
}

/* ---- Stacks -------------------------------------------------------------------------------- */

char *wf_fiber_floor(const struct wf_fiber *fiber)
{
	size_t stack = (size_t)(fiber->hi - fiber->lo);
	size_t reserve = stack / 2 < 65536 ? stack / 2 : 65536;

	return fiber->lo + reserve;
}

/* What the bodies on this thread's stack ask of it. */
void wf_fiber_modes(struct wf_local *self)
{
	const struct wf_fiber *fiber = self->fiber;
	const struct wf_fiber_user *user = (const void *)fiber->user;

	self->fast_rt = WF_UNLIKELY(user->giving) ? WF_RT_NONE : self->plain_rt;
	/* A body with several CPUs lends them while it waits: nothing runs on top of it. */
	self->stack_floor = WF_UNLIKELY(user->counted || self->rt->order) ? WF_FLOOR_NONE
									  : wf_fiber_floor(fiber);
}

static void set_fiber(struct wf_local *self, struct wf_fiber *fiber, struct weft_task *current)
{
	self->fiber = fiber;
	self->current = current;
	wf_fiber_modes(self);
}

void wf_worker_on(struct wf_worker *worker, struct wf_fiber *fiber)
{
	set_fiber(&worker->local, fiber, NULL);
}

void wf_after_switch(struct wf_local *self)
{
	struct wf_worker *worker = wf_worker_of(self);
	struct wf_fiber *from = worker->switched_from;
	uint32_t arming = WF_WAIT_ARMING;

	if (!from)
		return;
	worker->switched_from = NULL;
	if (worker->switched_wait) {
		struct wf_wait *wait = worker->switched_wait;

		worker->switched_wait = NULL;
		/* release [F1]: the saved stack, to whoever fires. Fired already: run it soon. */
		if (!wf_cas_acq_rel(&wait->phase, &arming, WF_WAIT_PARKED))
			wf_ready_fiber(self, from);
	} else if (worker->switched_yield) {
		worker->switched_yield = false;
		wf_ready_fiber_last(self, from);
	} else {
		wf_fiber_put(self->rt->stacks, &worker->stacks, from);
	}
}

void wf_fiber_resume(struct wf_worker *worker, struct wf_fiber *from, struct wf_fiber *to)
{
	struct wf_fiber_user *user = wf_fiber_user(to);

	WF_CHECK(!worker->switched_from && from != to);
	worker->switched_from = from;
	if (user->home) {
		if (!(user->home & (WF_HOME_GROUP | WF_HOME_NODE)))
			/* relaxed: read by this worker's own thread. */
			wf_add_relaxed(&worker->stay_parked, (uint32_t)-1);
		user->home = 0;
	}
	set_fiber(&worker->local, to, user->current);
	wf_context_leave(&from->ctx, &to->ctx, NULL);
}

/* The newest own item, when it is a parked fiber: switch to it without a stack in between. */
static struct wf_fiber *next_fiber(struct wf_worker *worker)
{
	struct wf_deque *deque = &worker->deque[WEFT_PRIORITY_NORMAL];

	/* relaxed: only a worker that has not seen a high-priority task skips looking for one. */
	if (wf_load_relaxed(&worker->local.rt->prio_used) ||
	    wf_load_relaxed(&worker->attend) & ~WF_LOOK_GPU ||
	    ++worker->tick % WF_INJECT_PERIOD == 0)
		return NULL;
	void *item = wf_deque_pop_local(deque);

	if (!item)
		return NULL;
	if (((uintptr_t)item & WF_ITEM_MASK) == WF_ITEM_FIBER)
		return (struct wf_fiber *)((uintptr_t)item & ~(uintptr_t)WF_ITEM_MASK);
	/* The slot it came from is free, so this cannot fail. */
	WF_CHECK(!wf_deque_push_local(deque, item));
	return NULL;
}

/* Where a stack with bound bodies has to go when it is ready again. */
static void bind_home(struct wf_worker *worker, struct wf_fiber_user *user)
{
	if (user->bound & WF_STAY_MASK) {
		user->home = (uintptr_t)worker;
		/* relaxed: read by this worker's own thread. */
		wf_add_relaxed(&worker->stay_parked, 1);
	} else if (user->bound & WF_FIBER_KEPT) {
		user->home = (uintptr_t)worker->local.node << 2 | WF_HOME_NODE;
	} else {
		user->home = (uintptr_t)(user->bound >> WF_FIBER_GROUP) << 1 | WF_HOME_GROUP;
	}
	WF_CHECK(user->home);
}

/* Leave the current stack parked and run something else. -EAGAIN: no stack to run it on. */
static int switch_out(struct wf_worker *worker, struct wf_wait *wait, bool yield)
{
	struct wf_fiber *from = worker->local.fiber;
	struct wf_fiber_user *user = wf_fiber_user(from);
	struct wf_fiber *to = yield ? NULL : next_fiber(worker);
	struct weft_task *current = NULL;

	if (to) {
		current = wf_fiber_user(to)->current;
	} else {
		to = wf_fiber_get(worker->local.rt->stacks, &worker->stacks);
		if (!to)
			return -EAGAIN;
		wf_fiber_prepare(to, wf_fiber_main);
		wf_fiber_fresh(to);
	}
	if (yield) /* else task_sleep() has set it, under the lock */
		user->current = worker->local.current;
	if (WF_UNLIKELY(user->bound))
		bind_home(worker, user);
	worker->switched_from = from;
	worker->switched_wait = wait;
	worker->switched_yield = yield;
	set_fiber(&worker->local, to, current);
	wf_context_switch(&from->ctx, &to->ctx, NULL);
	wf_after_switch(wf_self());
	return 0;
}

/* ---- A task sleeps ------------------------------------------------------------------------- */

static void fiber_lock(struct wf_fiber_user *user)
{
	uint32_t unlocked = 0;

	/* acquire [K1]: held for a few instructions. */
	while (!wf_cas_acq_rel(&user->lock, &unlocked, 1)) {
		unlocked = 0;
		wf_cpu_relax();
	}
}

static void fiber_unlock(struct wf_fiber_user *user)
{
	/* release [K1] */
	wf_store_release(&user->lock, 0);
}

void wf_fiber_lock(struct wf_fiber *fiber)
{
	fiber_lock(wf_fiber_user(fiber));
}

void wf_fiber_unlock(struct wf_fiber *fiber)
{
	fiber_unlock(wf_fiber_user(fiber));
}

bool wf_self_cancelled(const struct wf_local *self)
{
	const struct weft_task *frame = self->current;

	return frame && wf_task_stopping(frame);
}

static int result_of(struct wf_wait *wait)
{
	/* acquire [F1]: what the winner did before. */
	switch (wf_load_acquire(&wait->phase) >> 8) {
	case WF_WAKE_TIMEOUT:
		return -ETIMEDOUT;
	case WF_WAKE_CANCEL:
		return -EINTR;
	case WF_WAKE_DEADLOCK:
		return WEFT_EDEADLOCK;
	default:
		return 0;
	}
}

static int task_sleep(struct wf_local *self, struct wf_wait *wait)
{
	WF_CHECK(self && self->current);
	struct weft_task *frame = self->current;
	struct wf_fiber *fiber = self->fiber;
	struct wf_fiber_user *user = wf_fiber_user(fiber);
	struct wf_cell *cell = frame->cell;
	weft *rt = self->rt;

	/* Counted before anyone can see the task blocked. */
	wf_bump(&self->count.suspended);
	if (!frame->borrowed) {
		wf_place_fiber(cell, fiber->index);
		/* release [C3]: the index, to a canceller that reads BLOCKED. */
		wf_store_release(&cell->promise.state, WF_STATE_BLOCKED);
	} else {
		/* relaxed: before the locked instruction below, as the state is. */
		wf_add_relaxed(&rt->forks_asleep, 1);
	}
	fiber_lock(user);
	user->current = frame;
	user->task_bits = wf_ref_of(rt, cell).bits;
	user->wait = wait->uninterruptible ? NULL : wait;
	/* After a locked instruction: either we see the request or the canceller sees the wait. */
	if (!wait->uninterruptible && wf_self_cancelled(self))
		wf_wait_wake(wait, WF_WAKE_CANCEL, self);
	fiber_unlock(user);

	int rc = 0;

	/* relaxed: when it has fired already there is nothing to wait for. */
	if (wf_load_relaxed(&wait->phase) == WF_WAIT_ARMING)
		rc = switch_out(wf_worker_of(self), wait, false);
	fiber_lock(user);
	user->wait = NULL;
	user->task_bits = 0;
	fiber_unlock(user);
	if (!frame->borrowed)
		/* relaxed: a snapshot. */
		wf_store_relaxed(&cell->promise.state, WF_STATE_RUNNING);
	else
		wf_add_relaxed(&rt->forks_asleep, (uint32_t)-1); /* relaxed: as above. */
	if (rc && wait->uninterruptible) {
		/* No stack to switch to: the thread itself waits, the child runs elsewhere. */
		/* acquire [F1]: not parked, so the firer's exchange was its last touch. */
		while (wf_load_acquire(&wait->phase) == WF_WAIT_ARMING) {
			wf_gpu_poll_every(wf_worker_of(self), 20);
			sched_yield();
		}
		rc = 0;
	}
	if (rc) {
		uint32_t old;

		/* No stack. Nobody may fire it any more; if somebody has, that counts. */
		if (!claim(wait, WF_WAKE_CANCEL, &old))
			rc = 0;
	}
	return rc;
}

#define HOST_LOOK_NS INT64_C(10000000)

/* ---- A host thread sleeps ------------------------------------------------------------------ */

/*
 * Only while a worker is awake and a core is free for it. When all sleep, one has just been woken
 * for us: whoever spins then keeps the kernel from running it on the core that is awake, and waking
 * a core that sleeps takes longer than the spin.
 */
static bool may_spin(const weft *rt)
{
	/* relaxed: a guess; a wrong one costs some microseconds. */
	uint32_t running = rt->workers - wf_load_relaxed(&rt->sleeping);

	return running && running < rt->cpus;
}

/* Whether the body on this thread, or a sleep in a runtime that was interrupted, must end. */
static bool host_stopping(const struct wf_wait *wait, const struct wf_local *me)
{
	if (me && me->current && wf_self_cancelled(me))
		return true;
	return !wait->node_count && wf_cancelling_all(wait->rt);
}

/*
 * Until the wait is over, by whoever ends it or by its deadline. True: a body outside was counted
 * as awake by who woke it.
 */
static bool host_block(struct wf_wait *wait, const struct wf_local *me)
{
	uint32_t old;
	/* A body without a worker, and a sleep, are told to stop by nobody: they look. */
	bool looks = !wait->uninterruptible && ((me && me->current) || !wait->node_count);

	uint32_t awake = HOST_AWAKE, asleep = wait->outside ? HOST_OUTSIDE : HOST_ASLEEP;

	/* acq_rel [H1], [H2]: after the winner's last touch, here and below; and `outside`. */
	if (!wf_cas_acq_rel(&wait->futex, &awake, asleep))
		return false;
	while (wf_load_acquire(&wait->futex) != HOST_WOKEN) {
		int64_t until = wait->timed ? WF_FOREVER : wait->timer.until;
		int64_t next = looks ? wf_clock_now(NULL) + HOST_LOOK_NS : WF_FOREVER;

		if (wf_futex_wait(&wait->futex, asleep, until < next ? until : next) != -ETIMEDOUT)
			continue;
		if (looks && host_stopping(wait, me) && claim(wait, WF_WAKE_CANCEL, &old))
			return false;
		if (until <= next && claim(wait, WF_WAKE_TIMEOUT, &old))
			return false;
		wf_cpu_relax();
	}
	return wait->outside != NULL;
}

static void host_sleep(struct wf_wait *wait)
{
	WF_DEBUG(!wait->fiber && !wait->helper);
	weft *rt = wait->rt;
	uint64_t begin = wf_ticks(), spent = 0;

	for (; may_spin(rt) && spent < WF_SPIN_US * wf_ticks_per_us(); spent = wf_ticks() - begin) {
		/* acquire [H1]: after the winner's last touch. */
		if (wf_load_acquire(&wait->futex) == HOST_WOKEN)
			return;
		/* The worker that runs our task may be waiting for this very core. */
		if (spent < WF_POLITE_US * wf_ticks_per_us())
			wf_cpu_relax();
		else
			sched_yield();
	}
	/* A task of another runtime that sleeps here must not take its worker with it. */
	struct wf_local *me = wf_self();

	if (me && me->worker && me->rt != rt && me->current)
		wf_spare_take_over(wf_worker_of(me));
	me = wf_self();
	bool outside = me && me->current && !me->worker && wait->timer.until == WEFT_FOREVER;

	if (outside) {
		wf_outside_sleeps(me);
		wait->outside = me;
	}
	if (!host_block(wait, me) && outside)
		wf_outside_wakes(me);
}

/* A host thread of a deterministic runtime runs what there is until its wait is over. */
static int order_sleep(struct wf_wait *wait)
{
	int rc = wf_run_armed(wait);
	int64_t until = wait->timer.until;
	int reason = rc ? WF_WAKE_CANCEL : WF_WAKE_DEADLOCK;
	uint32_t old;

	WF_DEBUG(!wait->fiber && !wait->helper);
	WF_DEBUG(rc <= 0);
	if (!rc && until != WEFT_FOREVER && wf_clock_now(&wait->rt->clock) >= until)
		reason = WF_WAKE_TIMEOUT;
	if (claim(wait, reason, &old))
		return rc;
	/* acquire [H1]: after the winner's last touch. */
	while (wf_load_acquire(&wait->futex) != HOST_WOKEN)
		wf_cpu_relax();
	return 0;
}

int wf_wait_sleep(struct wf_wait *wait)
{
	struct wf_ext *away = wf_admit_leave(wf_self());
	struct wf_local *self = wf_self();
	uint64_t share = self && !wait->room ? wf_shares_out(self) : 0;
	int rc = 0;

	if (wait->timer.until != WEFT_FOREVER && (wait->fiber || wait->rt->clock.virtual_time))
		rc = wf_timer_add(wait);
	if (!rc && wait->fiber) {
		WF_CHECK(self != NULL);
		wf_call_pauses(self);
		rc = task_sleep(self, wait);
	} else if (!rc && WF_UNLIKELY(wait->rt->order)) {
		rc = order_sleep(wait);
	} else if (!rc) {
		host_sleep(wait);
	} else {
		uint32_t old;

		if (!claim(wait, WF_WAKE_CANCEL, &old))
			rc = 0;
		/* A host thread that lost waits for the winner's last touch. */
		while (!rc && !wait->fiber && wf_load_acquire(&wait->futex) != HOST_WOKEN)
			wf_cpu_relax();
	}
	wait_finish(wait);
	if (share)
		wf_shares_in(wf_self(), share);
	wf_admit_back(away);
	return rc ? rc : result_of(wait);
}

int wf_suspend_yield(void)
{
	struct wf_ext *away = wf_admit_leave(wf_self());

	wf_call_pauses(wf_self());
	int rc = switch_out(wf_worker_of(wf_self()), NULL, true);

	wf_admit_back(away);
	return rc;
}

/* ---- Waiting for one cell ------------------------------------------------------------------ */

#define IN_PLACE_DEPTH 16 /* how deep a get looks for its task among its own newest */

static bool is_own(const struct wf_local *self, const struct wf_cell *cell)
{
	for (struct weft_task *frame = self->current; frame; frame = frame->outer) {
		if (frame->cell == cell)
			return true;
	}
	return false;
}

/* Out of the lane of the group that both are in. */
static bool take_of_group(struct wf_local *self, struct wf_cell *cell)
{
	uint32_t group = wf_cell_group(cell);

	return WF_UNLIKELY(group) && group == wf_cell_group(self->current->cell) &&
		wf_group_take_queued(self, cell);
}

/*
 * Run the task itself when it is ours and has not begun; true: it was run or handed on. Meanwhile
 * the caller counts as blocked: it goes on when the task on top of it has ended.
 */
static WF_SUSPENDS bool run_in_place(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_deque *deque = &wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL];
	struct weft_task *frame = self->current;
	struct wf_cell *own = frame->borrowed ? NULL : frame->cell;

	WF_DEBUG(self->fiber && frame->rt == self->rt);

	if (wf_stack_here() <
	    (WF_UNLIKELY(self->rt->order) ? wf_order_floor(self) : self->stack_floor))
		return false;
	if (!wf_deque_take_local(deque, cell) &&
	    !wf_deque_remove_local(deque, cell, IN_PLACE_DEPTH) && !take_of_group(self, cell))
		return false;
	WF_DEBUG(cell != own);
	if (own) {
		wf_place_fiber(own, self->fiber->index);
		/* release [C3]: the index, to a canceller that reads BLOCKED. */
		wf_store_release(&own->promise.state, WF_STATE_BLOCKED);
	}
	wf_task_run(self, cell);
	if (own)
		/* relaxed: a snapshot. */
		wf_store_relaxed(&own->promise.state, WF_STATE_RUNNING);
	return true;
}

int wf_wait_cell(weft *rt, struct wf_cell *cell, int64_t until)
{
	struct wf_wait_node node;
	struct wf_wait wait;
	struct wf_local *self = wf_local_of(rt);

	if (!self || wf_cell_is_stream(cell))
		return self ? -EINVAL : -ENOMEM;
	/*
	 * Something of ours that is queued need not be on our deque: just look. relaxed: a hint,
	 * and for what we have queued ourselves it is right.
	 */
	if (wf_can_suspend(self) && wf_load_relaxed(&cell->promise.state) == WF_STATE_QUEUED) {
		if (run_in_place(self, cell) && wf_promise_is_done(&cell->promise))
			return 0;
		self = wf_self();
	}
	if (is_own(self, cell))
		return WEFT_EDEADLOCK;
	if (!wf_can_suspend(self) && !rt->workers) {
		return wf_run_until(rt, cell, until);
	}
	if (wf_promise_is_done(&cell->promise))
		return 0;
	if (until == WEFT_POLL)
		return -ETIMEDOUT;
	if (wf_self_cancelled(self))
		return -EINTR;
	wf_wait_init(&wait, self, 1, until);
	wait.nodes = &node;
	wait.node_count = 1;
	if (!wf_wait_add(self, &wait, &node, cell))
		return 0;
	return wf_wait_sleep(&wait);
}

/* ---- Waking the blocked -------------------------------------------------------------------- */

static void cancel_fiber(struct wf_local *self, struct wf_fiber *fiber, uint64_t bits)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);

	/* An orphan is still the same task. */
	fiber_lock(user);
	if (user->wait &&
	    (!bits || !((user->task_bits ^ bits) & ~((uint64_t)WF_GEN_ORPHAN << WF_INDEX_BITS))))
		wf_wait_wake(user->wait, WF_WAKE_CANCEL, self);
	fiber_unlock(user);
}

void wf_cancel_blocked(struct wf_local *self, struct wf_cell *cell, uint32_t gen)
{
	weft *rt = self->rt;
	uint64_t bits = (uint64_t)gen << WF_INDEX_BITS | (uint64_t)(cell - rt->cells);
	uint32_t end = wf_stacks_index_end(rt->stacks);

	/* Its forks that thieves have taken wait on stacks that nothing names. relaxed: as [C3]. */
	for (uint32_t i = 0; i < end && WF_UNLIKELY(wf_load_relaxed(&rt->forks_asleep)); i++)
		cancel_fiber(self, wf_fiber_at(rt->stacks, i), bits);
	/* acquire [C3]: the index. */
	if (wf_load_acquire(&cell->promise.state) != WF_STATE_BLOCKED)
		return;
	uint32_t index = wf_placed_fiber(cell);

	if (index < end)
		cancel_fiber(self, wf_fiber_at(rt->stacks, index), bits);
}

void wf_cancel_turn(struct wf_local *self, struct wf_fiber *fiber, const struct wf_a64 *bits)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);

	fiber_lock(user);
	/* acquire [N1]: under the lock, so that a sleeper that came before has set it. */
	if (user->wait && user->task_bits == wf_load_acquire(bits))
		wf_wait_wake(user->wait, WF_WAKE_CANCEL, self);

	fiber_unlock(user);
}

void wf_cancel_all_blocked(struct wf_local *self)
{
	uint32_t end = wf_stacks_index_end(self->rt->stacks);

	for (uint32_t i = 0; i < end; i++)
		cancel_fiber(self, wf_fiber_at(self->rt->stacks, i), 0);
}
