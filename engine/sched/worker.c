/*
 * worker.c: what a worker does: take, run, look, steal, search, sleep.
 *
 * Order of looking: own deques (newest first, high priority before normal before low); every
 * WF_INJECT_PERIOD items first the injectors, so that a busy worker starves nobody; then the
 * inbox, the injectors (own node first), the other workers (nearest first, oldest task first).
 *
 * Idleness has three steps. One worker at a time searches: it spins for WF_SPIN_US, asks owners
 * of private work to expose it, and forces the one that does not answer (it is inside a long
 * body). Then it sleeps: it counts itself, marks itself, issues a membarrier [S1] and looks at
 * everything once more. While other workers run, one sleeper, the watcher, sleeps with a time-out
 * that doubles from WATCH_FIRST_NS to WATCH_LAST_NS and looks again; when nobody runs nobody
 * watches, so an idle runtime costs no CPU.
 */
#include <errno.h>

#include "runtime.h"

#define WATCH_FIRST_NS 50000
#define WATCH_LAST_NS  1000000
#define FORCE_US       50

static const uint8_t look_order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL,
	                                           WEFT_PRIORITY_LOW };

/* ---- Taking -------------------------------------------------------------------------------- */

static void *pop_own(struct wf_worker *worker)
{
	/* relaxed: see push() in ready.c. */
	if (WF_LIKELY(!wf_load_relaxed(&worker->local.rt->prio_used)))
		return wf_deque_pop_local(&worker->deque[WEFT_PRIORITY_NORMAL]);
	for (uint32_t i = 0; i < WF_PRIORITIES; i++) {
		void *item = wf_deque_pop_local(&worker->deque[look_order[i]]);

		if (item)
			return item;
	}
	return NULL;
}

/* Run the first of a batch, keep the others. */
static void *keep_batch(struct wf_worker *worker, void **items, uint32_t n, uint32_t priority)
{
	weft *rt = worker->local.rt;

	/* In reverse: the oldest is the newest of the deque, so order is kept. */
	for (uint32_t i = n; i-- > 1;) {
		if (!wf_deque_push_local(&worker->deque[priority], items[i]))
			continue;
		/* No memory to grow the ring: back to the injector, whose blocks may have room. */
		while (wf_injector_push_mt(&rt->inject[worker->local.node][priority], items[i]))
			wf_cpu_relax();
	}
	if (n > 1)
		wf_pushed(worker);
	return items[0];
}

static void *take_injected(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	void *items[WF_STEAL_MAX];

	for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
		uint32_t priority = look_order[p];

		for (uint32_t i = 0; i < rt->node_count; i++) {
			uint32_t node = (worker->local.node + i) % rt->node_count;
			struct wf_injector *q = &rt->inject[node][priority];

			if (wf_injector_is_empty_mt(q))
				continue;
			uint32_t n = wf_injector_pop_mt(q, items, WF_STEAL_MAX);

			if (n)
				return keep_batch(worker, items, n, priority);
		}
	}
	return NULL;
}

static void *take_inbox(struct wf_worker *worker)
{
	if (wf_mpsc_is_empty(&worker->inbox))
		return NULL;
	struct wf_mpsc_node *node = wf_mpsc_take_all(&worker->inbox);

	if (!node)
		return NULL;
	/* relaxed: the chain is ours since take_all(). */
	struct wf_mpsc_node *rest = (struct wf_mpsc_node *)wf_load_relaxed(&node->next);

	/* One now; the others go back, in order, for the next look. */
	while (rest) {
		struct wf_mpsc_node *next = (struct wf_mpsc_node *)wf_load_relaxed(&rest->next);

		wf_mpsc_push_mt(&worker->inbox, rest);
		rest = next;
	}
	struct wf_fiber_user *user = wf_container_of(node, struct wf_fiber_user, link);
	struct wf_fiber *fiber = wf_container_of(
		(unsigned char(*)[WF_FIBER_USER_BYTES])(void *)user, struct wf_fiber, user);

	return (void *)((uintptr_t)fiber | WF_ITEM_FIBER);
}

static void *take_shared(struct wf_worker *worker)
{
	void *item = take_inbox(worker);

	/* relaxed: taken under the mutex. */
	if (!item && wf_load_relaxed(&worker->local.rt->overflow_count))
		item = wf_overflow_take(worker->local.rt);
	return item ? item : take_injected(worker);
}

static void *steal_from(struct wf_worker *worker, struct wf_worker *victim)
{
	void *items[WF_STEAL_MAX];

	for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
		struct wf_deque *deque = &victim->deque[look_order[p]];

		if (!wf_deque_has_public(deque))
			continue;
		uint32_t n = wf_deque_steal_mt(deque, items, WF_STEAL_MAX);

		if (!n)
			continue;
		wf_bump(&worker->local.count.steals);
		/* release [Q1]: as wf_bump(), by more than one. */
		wf_store_release(&worker->local.count.stolen,
		                 wf_load_relaxed(&worker->local.count.stolen) + n);
		return keep_batch(worker, items, n, look_order[p]);
	}
	return NULL;
}

static struct wf_worker *victim_of(struct wf_worker *worker, uint32_t i)
{
	return worker->local.rt->worker[worker->victims[i]];
}

static void *steal(struct wf_worker *worker)
{
	uint32_t n = worker->victims_count;

	for (uint32_t i = 0; i < n; i++) {
		struct wf_worker *victim = victim_of(worker, i);
		/* relaxed: an inactive slot's deques are empty. */
		void *item = wf_load_relaxed(&victim->active) ? steal_from(worker, victim) : NULL;

		if (item)
			return item;
	}
	return NULL;
}

/* Ask the owners of private work for some; `force`: take it, they do not answer. */
static void press(struct wf_worker *worker, bool force)
{
	for (uint32_t i = 0; i < worker->victims_count; i++) {
		struct wf_worker *victim = victim_of(worker, i);

		for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
			struct wf_deque *deque = &victim->deque[p];

			if (wf_deque_has_public(deque) || !wf_deque_count_mt(deque))
				continue;
			if (!force) {
				wf_deque_ask_mt(deque);
			} else if (wf_deque_force_mt(deque)) {
				wf_bump(&worker->local.count.forced);
				return;
			}
		}
	}
}

/* ---- Searching and sleeping ---------------------------------------------------------------- */

/* Whether the loop of this worker ends. */
static bool must_stop(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	/* acquire [X1]: weft_close() has drained. */
	if (wf_load_acquire(&rt->stopping))
		return true;
	return worker->helper && wf_helper_done(worker);
}

static void *look(struct wf_worker *worker)
{
	void *item = pop_own(worker);

	if (!item)
		item = take_shared(worker);
	return item ? item : steal(worker);
}

static bool private_work(struct wf_worker *worker)
{
	for (uint32_t i = 0; i < worker->victims_count; i++) {
		struct wf_worker *victim = victim_of(worker, i);

		for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
			if (wf_deque_count_mt(&victim->deque[p]))
				return true;
		}
	}
	return false;
}

/* Spin, one worker at a time, while there are cores to spin on. */
static void *search(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	uint64_t per_us = wf_ticks_per_us();
	uint32_t none = 0;
	void *item = NULL;

	/* relaxed, here and below: counts that decide about waking only together with [S1]. */
	if (rt->slots > 1 && !wf_cas_relaxed(&rt->searching, &none, 1))
		return NULL;
	uint64_t begin = wf_ticks();
	uint64_t budget = rt->workers > rt->cpus ? 0 : WF_SPIN_US * per_us;
	bool forced = false;

	for (uint32_t turn = 0; !must_stop(worker); turn++) {
		item = look(worker);
		if (item)
			break;
		uint64_t spent = wf_ticks() - begin;
		bool pressing = (turn & 7) == 0 && private_work(worker);

		if (pressing && spent > FORCE_US * per_us && !forced) {
			press(worker, true);
			forced = true;
		} else if (pressing) {
			press(worker, false);
		}
		/* Private work in sight is worth staying for until it was forced out. */
		if (spent > budget && (!pressing || (forced && spent > 2 * FORCE_US * per_us)))
			break;
		for (uint32_t i = 0; i < 8; i++)
			wf_cpu_relax();
	}
	wf_store_relaxed(&rt->searching, 0);
	return item;
}

static bool anything(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	if (!wf_mpsc_is_empty(&worker->inbox) || wf_load_relaxed(&rt->overflow_count))
		return true;
	for (uint32_t i = 0; i < rt->node_count; i++) {
		for (uint32_t p = 0; p < WF_PRIORITIES; p++) {
			if (!wf_injector_is_empty_mt(&rt->inject[i][p]))
				return true;
		}
	}
	return private_work(worker);
}

/* After a search that found something: somebody else should look if there may be more. */
static void pass_on(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	if (wf_load_relaxed(&rt->searching) || !wf_load_relaxed(&rt->sleeping))
		return;
	bool more = anything(worker);

	for (uint32_t p = 0; !more && p < WF_PRIORITIES; p++)
		more = wf_deque_count_mt(&worker->deque[p]) > 0;
	if (more)
		wf_wake_one(rt);
}

static uint32_t active_count(const weft *rt)
{
	uint32_t idle = wf_load_relaxed(&rt->idle) & (WF_IDLE_ALWAYS - 1);
	uint32_t all =
		rt->workers + (uint32_t)__builtin_popcount(wf_load_relaxed(&rt->helpers_used));

	return all > idle ? all - idle : 0;
}

/* The last worker to go idle tells whoever waits for quiet, and has deadlocks looked for. */
static void went_quiet(weft *rt)
{
	/* release [Q2]: the counters, to weft_close(). */
	wf_add_release(&rt->quiet, 1);
	wf_futex_wake(&rt->quiet, INT32_MAX);
	if (wf_stacks_live(rt->stacks) > rt->workers)
		wf_service_ring(rt, WF_SERVICE_QUIET);
}

static int64_t watch_until(struct wf_worker *worker, int64_t *interval)
{
	weft *rt = worker->local.rt;
	uint32_t nobody = 0;
	uint32_t me = worker->index + 1;

	if (worker->helper)
		return wf_helper_until(worker);
	if (!active_count(rt)) {
		/* relaxed: only ever compared with our own number. */
		wf_cas_relaxed(&rt->watcher, &me, 0);
		wf_fence_seq_cst();
		/* Again, behind the exchange: a pusher that still saw us watch wakes nobody. */
		if (!active_count(rt))
			return WF_FOREVER;
		me = worker->index + 1;
	}
	if (wf_load_relaxed(&rt->watcher) != me && !wf_cas_relaxed(&rt->watcher, &nobody, me))
		return WF_FOREVER;
	int64_t until = wf_clock_now(NULL) + *interval;

	*interval = *interval * 2 < WATCH_LAST_NS ? *interval * 2 : WATCH_LAST_NS;
	return until;
}

static void sleep_begin(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	wf_slab_flush(&worker->local);
	wf_add_relaxed(&rt->sleeping, 1);
	wf_or_relaxed(&rt->parked_bits[worker->index / 64], UINT64_C(1) << worker->index % 64);
	/* [S1]: what was pushed before is visible below; what is pushed later sees us. */
	if (rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
}

static void sleep_end(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	uint32_t me = worker->index + 1;

	/* acq_rel [W1]: a waker may have taken the bit; its token then makes the next park short. */
	wf_and_acq_rel(&rt->parked_bits[worker->index / 64], ~(UINT64_C(1) << worker->index % 64));
	wf_add_relaxed(&rt->sleeping, (uint32_t)-1);
	wf_cas_relaxed(&rt->watcher, &me, 0);
}

static void sleep(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	int64_t interval = WATCH_FIRST_NS;

	sleep_begin(worker);
	for (;;) {
		if (anything(worker) || must_stop(worker))
			break;
		int64_t until = watch_until(worker, &interval);

		if (until == WF_FOREVER && !active_count(rt))
			went_quiet(rt);
		wf_bump(&worker->local.count.parked);
		if (!wf_parker_park(&worker->parker, until))
			break;
		if (worker->helper)
			break;
	}
	sleep_end(worker);
}

static void *find_item(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	void *item = look(worker);

	if (item || must_stop(worker))
		return item;
	/* relaxed: [S1] decides. */
	wf_add_relaxed(&rt->idle, 1);
	for (;;) {
		item = search(worker);
		if (item || must_stop(worker))
			break;
		sleep(worker);
		item = look(worker);
		if (item || must_stop(worker))
			break;
	}
	wf_add_relaxed(&rt->idle, (uint32_t)-1);
	if (item)
		pass_on(worker);
	return item;
}

void *wf_next_item(struct wf_worker *worker)
{
	void *item = NULL;

	if (WF_UNLIKELY(worker->helper && wf_helper_done(worker)))
		return NULL;
	if (WF_UNLIKELY(++worker->tick % WF_INJECT_PERIOD == 0))
		item = take_shared(worker);
	if (!item)
		item = pop_own(worker);
	return WF_LIKELY(item != NULL) ? item : find_item(worker);
}

/* ---- Running ------------------------------------------------------------------------------- */

void wf_run_item(struct wf_local *self, void *item)
{
	uintptr_t tag = (uintptr_t)item & WF_ITEM_MASK;

	wf_bump(&self->count.popped);
	if (WF_LIKELY(tag == WF_ITEM_CELL)) {
		wf_task_run(self, item);
		return;
	}
	WF_CHECK(tag == WF_ITEM_FORK);
	wf_fork_run(self, (struct weft_fork *)((uintptr_t)item & ~(uintptr_t)WF_ITEM_MASK));
}

void wf_fiber_main(struct wf_fiber *fiber, void *arg)
{
	(void)arg;
	for (;;) {
		struct wf_local *self = wf_self();

		/* A body that gave its worker away ends on a thread that has none. */
		if (!self->worker)
			break;
		struct wf_worker *worker = wf_worker_of(self);

		wf_after_switch(self);
		void *item = wf_next_item(worker);

		if (!item)
			break;
		if (((uintptr_t)item & WF_ITEM_MASK) == WF_ITEM_FIBER)
			wf_fiber_resume(
				worker, fiber,
				(struct wf_fiber *)((uintptr_t)item & ~(uintptr_t)WF_ITEM_MASK));
		wf_run_item(self, item);
	}
	struct wf_thread_state *thread = wf_thread_current();

	thread->left = fiber;
	wf_context_leave(&fiber->ctx, &thread->ctx, NULL);
}

int wf_worker_enter(struct wf_thread_state *thread, struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_fiber *fiber = wf_fiber_get(rt->stacks, &worker->stacks);

	if (!fiber)
		return -EAGAIN;
	wf_fiber_prepare(fiber, wf_fiber_main);
	wf_fiber_user(fiber)->stay = 0;
	wf_fiber_user(fiber)->home = NULL;
	worker->thread = thread;
	wf_local_set(&worker->local);
	wf_worker_on(worker, fiber);
	/* relaxed: thieves find its deques now or at their next look. */
	wf_store_relaxed(&worker->active, 1);
	wf_context_switch(&thread->ctx, &fiber->ctx, NULL);

	struct wf_local *self = wf_self();
	struct wf_stack_cache cache = { 0 };

	if (self->worker) {
		wf_fiber_put(rt->stacks, &wf_worker_of(self)->stacks, thread->left);
		self->fiber = NULL;
		return 0;
	}
	wf_fiber_put(rt->stacks, &cache, thread->left);
	wf_stack_cache_flush(rt->stacks, &cache);
	return 0;
}

/* Sums of all threads. Ends are read first: equal sums were equal at one moment in between. */
bool wf_runtime_is_quiet(weft *rt)
{
	/* acquire [Q1]: an end that is counted brings its submit with it. */
	uint32_t end = wf_load_acquire(&rt->locals_end);
	uint64_t completed = 0, submitted = 0;

	for (uint32_t i = 0; i < end; i++) {
		if (rt->locals[i])
			completed += wf_load_acquire(&rt->locals[i]->completed);
	}
	/* acquire: a thread that joined since may have submitted. */
	end = wf_load_acquire(&rt->locals_end);
	for (uint32_t i = 0; i < end; i++) {
		if (rt->locals[i])
			submitted += wf_load_acquire(&rt->locals[i]->submitted);
	}
	return completed == submitted;
}
