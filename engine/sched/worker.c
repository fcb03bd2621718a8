/*
 * worker.c: what a worker does: take, run, look, steal, search, sleep.
 *
 * Order of looking: own deques (newest first, high priority before normal before low); every
 * WF_INJECT_PERIOD items first the injectors, so that a busy worker starves nobody; then the
 * inbox, the injectors (own node first), the other workers (nearest first, oldest task first).
 *
 * Idleness has three steps. One worker at a time searches: it spins for WF_SPIN_US, asks owners
 * of private work to expose it, and forces the one that does not answer (it is inside a long
 * body). A task that lies alone in a deque is left to its owner for LONE_US. Then it sleeps: it
 * counts itself, marks itself, issues a membarrier [S1] and looks at everything once more. While
 * other workers run, one sleeper, the watcher, sleeps with a time-out that grows by a quarter from
 * WATCH_FIRST_NS to WATCH_LAST_NS and looks again; when nobody runs nobody watches, so an idle
 * runtime costs no CPU. Who pushes while another one searches wakes nobody: the searcher, when it
 * has found something else, passes on what it was left [S2].
 */
#include <errno.h>
#include <sched.h>

#include "gpu.h"

#define WATCH_FIRST_NS 20000
#define WATCH_LAST_NS  1000000
#define FORCE_US       8    /* without an answer: the victim is inside a long body */
#define POLL_US        20   /* between two looks at devices, between two items */
#define SEARCH_POLL_US 1    /* the same of a worker that has nothing else to do */
#define LONE_US        5    /* 0 (the same item at two looks) to 20 measured alike */
#define CALL_NS        1000 /* shorter ones are not worth a second core: the queue costs more */
#ifdef WF_SIM
#define TRICKLE_VISITS 2 /* so that a simulation's few tasks come to it */
#else
#define TRICKLE_VISITS 128 /* so many before one gathers */
#endif
#define TRICKLE_FEW  8 /* items are not worth a visit */
#define TRICKLE_US   4 /* apart, at most */
#define GATHER_US    1
#define NAP_FIRST_US 100
#define NAP_LAST_US  1000

static const uint8_t look_order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL,
	                                           WEFT_PRIORITY_LOW };

/* ---- Taking -------------------------------------------------------------------------------- */

void *wf_pop_own(struct wf_worker *worker)
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

/* How many items to take at once: one to run, and no more than can be kept without memory. */
static uint32_t batch_max(const struct wf_worker *worker, uint32_t priority)
{
	uint32_t most = 1 + wf_deque_room_local(&worker->deque[priority]);

	return most < WF_STEAL_MAX ? most : WF_STEAL_MAX;
}

/* Run the first of a batch, keep the others. */
static void *keep_batch(struct wf_worker *worker, void **items, uint32_t n, uint32_t priority)
{
	/* In reverse: the oldest is the newest of the deque, so order is kept. */
	for (uint32_t i = n; i-- > 1;) {
		__builtin_prefetch((void *)((uintptr_t)items[i] & ~(uintptr_t)WF_ITEM_MASK), 1);
		WF_CHECK(!wf_deque_push_local(&worker->deque[priority], items[i]));
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
			uint32_t n = wf_injector_pop_mt(q, items, batch_max(worker, priority));

			if (n) {
				worker->trickle.taken = n;
				return keep_batch(worker, items, n, priority);
			}
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

void *wf_take_shared(struct wf_worker *worker)
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
		uint32_t n = wf_deque_steal_mt(deque, items, batch_max(worker, look_order[p]));

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

/*
 * Whether it pays to take something from this deque. What lies there alone is its owner's to run
 * next: it counts only when it was seen LONE_US before. One such item is remembered at a time.
 */
static bool worth_taking(struct wf_worker *worker, struct wf_deque *deque)
{
	struct wf_lone *lone = &worker->lone;
	uint32_t n = wf_deque_count_mt(deque);

	if (n > 1)
		return true;
	void *item = n ? wf_deque_oldest_mt(deque) : NULL;

	if (lone->deque == deque) {
		if (item && lone->item == item)
			return wf_ticks() - lone->since >= LONE_US * wf_ticks_per_us();
		lone->deque = NULL;
	}
	if (item && !lone->deque)
		*lone = (struct wf_lone){ deque, item, wf_ticks() };
	return false;
}

/* The deques of others, all priorities, one after the other. */
static struct wf_deque *victim_deque(struct wf_worker *worker, uint32_t i)
{
	return &victim_of(worker, i / WF_PRIORITIES)->deque[i % WF_PRIORITIES];
}

/* Ask the owners of private work for some, or take it (`force`). Whether there was any. */
static bool press(struct wf_worker *worker, bool force)
{
	bool any = false;

	for (uint32_t i = 0; i < worker->victims_count * WF_PRIORITIES; i++) {
		struct wf_deque *deque = victim_deque(worker, i);

		if (!worth_taking(worker, deque))
			continue;
		any = true;
		if (wf_deque_has_public(deque))
			continue;
		if (!force) {
			wf_deque_ask_mt(deque);
		} else if (wf_deque_force_mt(deque)) {
			wf_bump(&worker->local.count.forced);
			break;
		}
	}
	return any;
}

/* ---- Searching and sleeping ---------------------------------------------------------------- */

/* Whether the loop of this worker ends. */
bool wf_must_stop(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	/* acquire [X1]: weft_close() has drained. */
	if (wf_load_acquire(&rt->stopping))
		return true;
	return worker->helper && wf_helper_done(worker);
}

/* Whether it has something else to do than to look for work. */
static bool must_leave(struct wf_worker *worker)
{
	/* relaxed: looked at once more behind [S1]. */
	return (wf_load_relaxed(&worker->attend) & WF_LOOK_SLOTS) || wf_must_stop(worker);
}

/* relaxed: looked at once more behind [S1], and what it tells under a mutex. */
static bool groups_wait(const struct wf_worker *worker)
{
	return WF_UNLIKELY(wf_load_relaxed(&worker->local.rt->group_queued));
}

/* Of a helper's own deque: forks of the bodies that it runs. What else is there is for others. */
void *wf_pop_only(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	void *item;

	while ((item = wf_pop_own(worker)) != NULL) {
		if (((uintptr_t)item & WF_ITEM_MASK) == WF_ITEM_FORK)
			break;
		if (wf_injector_push_mt(&rt->inject[worker->local.node][WEFT_PRIORITY_NORMAL],
		                        item))
			break;
		wf_injected(rt, &worker->local);
	}
	return item;
}

/* relaxed: looked at once more behind [S1]. */
static bool node_waits(const struct wf_worker *worker)
{
	return WF_UNLIKELY(wf_load_relaxed(&worker->attend) & WF_LOOK_PLACES);
}

static bool nodes_wait(const struct wf_worker *worker)
{
	/* relaxed: as above. */
	return WF_UNLIKELY(wf_load_relaxed(&worker->local.rt->placed)) && !worker->only;
}

static void *look(struct wf_worker *worker)
{
	void *item = node_waits(worker) ? wf_lane_next(worker) : NULL;

	if (!item)
		item = worker->only ? wf_pop_only(worker) : wf_pop_own(worker);
	if (!item && !worker->only)
		item = wf_take_shared(worker);
	if (!item && groups_wait(worker))
		item = wf_group_take(worker);
	if (!item && !worker->only)
		item = steal(worker);
	return !item && nodes_wait(worker) ? wf_lane_steal(worker) : item;
}

/* Whether others have work that pays to take. */
static bool private_work(struct wf_worker *worker)
{
	bool any = false;

	for (uint32_t i = 0; !any && i < worker->victims_count * WF_PRIORITIES; i++)
		any = worth_taking(worker, victim_deque(worker, i));
	return any;
}

/* Spin, one worker at a time, while there are cores to spin on. */
static void *search(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	uint64_t per_us = wf_ticks_per_us();
	uint32_t none = 0;
	void *item = NULL;

	if (worker->only)
		return NULL;
	/* relaxed, here and below: counts that decide about waking only together with [S1]. */
	if (rt->slots > 1 && !wf_cas_relaxed(&rt->searching, &none, 1))
		return NULL;
	uint64_t begin = wf_ticks();
	uint64_t budget = rt->workers > rt->cpus ? 0 : WF_SPIN_US * per_us;
	bool pressing = false, forced = false;

	for (uint32_t turn = 0; !must_leave(worker); turn++) {
		wf_gpu_poll_every(worker, SEARCH_POLL_US);
		item = look(worker);
		if (item)
			break;
		uint64_t spent = wf_ticks() - begin;

		/* The host thread whose wait we have ended may be waiting for this very core. */
		if (WF_UNLIKELY(worker->woke_host) && spent > WF_POLITE_US * per_us) {
			worker->woke_host = false;
			sched_yield();
		}
		if ((turn & 7) == 0) {
			bool force = spent > FORCE_US * per_us && !forced;

			pressing = press(worker, force);
			forced = forced || (force && pressing);
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

	if (groups_wait(worker) && wf_group_waits(worker))
		return true;
	if (worker->only)
		return false;
	if (node_waits(worker) || (nodes_wait(worker) && wf_lane_waits(worker)))
		return true;
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

/* After a search that has found something. */
static void pass_on(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	/* [S2]: the end of our search, to whoever pushes; relaxed, all below: decided by it. */
	wf_fence_seq_cst();
	WF_DEBUG(worker->victims_count < rt->slots);
	if (wf_load_relaxed(&rt->searching) || !wf_load_relaxed(&rt->sleeping))
		return;
	bool more = anything(worker);
	uint32_t n = wf_load_relaxed(&rt->watcher) ? 0 : worker->victims_count * WF_PRIORITIES;

	for (uint32_t p = 0; !more && p < WF_PRIORITIES; p++)
		more = wf_deque_count_mt(&worker->deque[p]) > 0;
	for (uint32_t i = 0; !more && i < n; i++)
		more = wf_deque_count_mt(victim_deque(worker, i)) > 0;
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

	if (worker->helper) {
		int64_t until = wf_helper_until(worker);
		int64_t again = wf_clock_now(NULL) + WATCH_LAST_NS;

		/* It is no watcher, but what it has seen and left nobody else may see. */
		return worker->lone.deque && again < until ? again : until;
	}
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

	*interval += *interval < WATCH_LAST_NS ? *interval / 4 : 0;
	return until;
}

void wf_sleep_begin(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	wf_slab_flush(&worker->local);
	wf_add_relaxed(&rt->sleeping, 1);
	/* Whoever wakes one of many must not wake one that may not take it. */
	if (!worker->only)
		wf_or_relaxed(&rt->parked_bits[worker->index / 64],
		              UINT64_C(1) << worker->index % 64);
	/* [S1]: what was pushed before is visible below; what is pushed later sees us. */
	if (rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
}

void wf_sleep_end(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	uint32_t me = worker->index + 1;

	/* acq_rel [W1]: a waker may have taken the bit; its token then makes the next park short. */
	wf_and_acq_rel(&rt->parked_bits[worker->index / 64], ~(UINT64_C(1) << worker->index % 64));
	wf_add_relaxed(&rt->sleeping, (uint32_t)-1);
	wf_cas_relaxed(&rt->watcher, &me, 0);
}

/* Before a sleep: a lone item in sight is worth a moment, because the next look may be far. */
static bool lone_grows_old(struct wf_worker *worker)
{
	const struct wf_lone *lone = &worker->lone;
	uint64_t since = lone->since;

	while (lone->deque && lone->since == since && !must_leave(worker)) {
		wf_cpu_relax();
		if (private_work(worker))
			return true;
	}
	return false;
}

static void sleep(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	int64_t interval = WATCH_FIRST_NS, gpu_interval = 0;

	wf_sleep_begin(worker);
	for (;;) {
		if (anything(worker) || lone_grows_old(worker) || must_leave(worker))
			break;
		int64_t until = watch_until(worker, &interval);

		if (rt->gpus && wf_gpu_before_sleep(worker, &gpu_interval, &until))
			break;
		if (until == WF_FOREVER && !active_count(rt))
			went_quiet(rt);
		wf_bump(&worker->local.count.parked);
		if (!wf_parker_park(&worker->parker, until))
			break;
		if (worker->helper)
			break;
	}
	if (rt->gpus)
		wf_gpu_after_sleep(worker);
	wf_sleep_end(worker);
}

/*
 * A batch of a turn is over, and there is more of it.
 *
 * Whoever fills an actor's queue and whoever empties it on another core wait for each other's cache
 * lines at each call. So a worker that has come to such a turn for want of other work, and finds
 * that the calls are short, leaves it to those that are awake, and sleeps for a moment: at the next
 * batch of short calls twice as long. It is woken as any sleeper, but not by what workers push.
 */
void wf_batch_judge(struct wf_local *self, const struct wf_actor *actor, uint32_t calls)
{
	struct wf_worker *worker = self->worker ? wf_worker_of(self) : NULL;

	WF_DEBUG(calls > 0);
	if (!worker || worker->helper || worker->nap.found != actor)
		return;
	uint64_t spent = wf_ticks() - worker->nap.found_at;
	uint32_t us = worker->nap.us;

	WF_DEBUG(us <= NAP_LAST_US);
	worker->nap.found = NULL;
	/* relaxed: somebody else must be awake, a moment ago is near enough. */
	if (spent * 1000 >= (uint64_t)calls * CALL_NS * wf_ticks_per_us())
		worker->nap.us = 0;
	else if (wf_load_relaxed(&self->rt->sleeping) + 1 < self->rt->workers) {
		worker->nap.us = !us ? NAP_FIRST_US : us * 2 < NAP_LAST_US ? us * 2 : NAP_LAST_US;
		worker->nap.due = true;
	}
}

/*
 * A thread that submits, and a worker that takes each task as soon as it is there, pass cache lines
 * to and fro for every one: the injector's, the cell's, the counts of the idle. So a worker that
 * has found a few items at a time, soon, on many visits in a row lets some gather before the next.
 * Whoever waits for each task before submitting another gains nothing by that: he is found out by
 * the one item that has gathered, and left alone for as many visits again.
 */
static bool gather(struct wf_worker *worker)
{
	const struct wf_trickle *trickle = &worker->trickle;

	if (trickle->visits < TRICKLE_VISITS || !trickle->taken || trickle->taken >= TRICKLE_FEW)
		return false;
	uint64_t begin = wf_ticks(), wait = GATHER_US * wf_ticks_per_us();

	while (wf_ticks() - begin < wait && !must_leave(worker))
		wf_cpu_relax();
	return true;
}

/* The end of a visit that began then. */
static void gathered(struct wf_worker *worker, uint64_t begin, bool waited)
{
	struct wf_trickle *trickle = &worker->trickle;

	if (!trickle->taken || (waited && trickle->taken == 1) ||
	    wf_ticks() - begin >= TRICKLE_US * wf_ticks_per_us())
		trickle->visits = 0;
	else if (trickle->visits < TRICKLE_VISITS)
		trickle->visits++;
}

/* `item`, of which it is remembered that it was come by in idleness. */
static void *found(struct wf_worker *worker, void *item)
{
	WF_DEBUG(!worker->local.current);
	worker->nap.found = NULL;
	if (((uintptr_t)item & WF_ITEM_MASK) == WF_ITEM_ACTOR) {
		worker->nap.found = (struct wf_actor *)((uintptr_t)item & ~(uintptr_t)WF_ITEM_MASK);
		worker->nap.found_at = wf_ticks();
	}
	return item;
}

static void nap(struct wf_worker *worker)
{
	worker->nap.due = false;
	WF_CHECK(worker->nap.us > 0 && !worker->helper);
	WF_DEBUG(worker->nap.us <= NAP_LAST_US);
	wf_sleep_begin(worker);
	wf_bump(&worker->local.count.parked);
	wf_parker_park(&worker->parker, wf_clock_now(NULL) + (int64_t)worker->nap.us * 1000);
	wf_sleep_end(worker);
}

static void *find_item(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	if (WF_UNLIKELY(worker->nap.due)) {
		if (worker->stretch.group)
			wf_group_leave(worker);
		nap(worker);
	}
	bool waited = gather(worker);
	/* After a visit without any the next one begins a row, however soon it is over. */
	uint64_t begin = worker->trickle.taken ? wf_ticks() : 0;

	WF_DEBUG(!waited || worker->trickle.taken);
	worker->trickle.taken = 0;
	void *item = look(worker);

	if (item || must_leave(worker)) {
		gathered(worker, begin, waited);
		return found(worker, item);
	}
	if (WF_UNLIKELY(worker->stretch.group))
		wf_group_leave(worker);
	/* relaxed: [S1] decides. */
	wf_add_relaxed(&rt->idle, 1);
	for (;;) {
		item = search(worker);
		if (item || must_leave(worker))
			break;
		sleep(worker);
		item = look(worker);
		if (item || must_leave(worker))
			break;
	}
	wf_add_relaxed(&rt->idle, (uint32_t)-1);
	worker->lone.deque = NULL;
	if (item)
		pass_on(worker);
	gathered(worker, begin, waited);
	return found(worker, item);
}

/* Things of its node, and all others, take turns. */
static void *placed(struct wf_worker *worker)
{
	worker->placed_last = !worker->placed_last;
	return worker->placed_last ? wf_lane_next(worker) : NULL;
}

/* What the worker was called for. */
static void *attend(struct wf_worker *worker)
{
	/* relaxed: as below. */
	uint32_t why = wf_load_relaxed(&worker->attend);
	void *item = NULL;

	WF_DEBUG(!worker->local.current);
	if (why & WF_LOOK_GPU)
		wf_gpu_poll_every(worker, POLL_US);
	if (why & WF_LOOK_SLOTS) {
		WF_DEBUG(!worker->helper);
		wf_group_leave(worker);
		item = wf_admit_attend(worker);
		if (item)
			wf_lane_decline(worker);
	}
	if (!item && why & WF_LOOK_PLACES)
		item = placed(worker);
	if (!item && why & WF_LOOK_GROUPS && !wf_must_stop(worker))
		item = wf_group_next(worker);
	return item;
}

void *wf_next_item(struct wf_worker *worker)
{
	for (;;) {
		void *item = NULL;
		/* relaxed: a request may be seen an item later. */
		if (WF_UNLIKELY(wf_load_relaxed(&worker->attend))) {
			if (worker->local.rt->order)
				return wf_order_next(worker);
			item = attend(worker);
			if (!item && worker->only)
				item = find_item(worker);
			if (item || wf_must_stop(worker))
				return item;
		}
		if (WF_UNLIKELY(++worker->tick % WF_INJECT_PERIOD == 0))
			item = wf_take_shared(worker);
		if (!item)
			item = wf_pop_own(worker);
		if (WF_LIKELY(item != NULL))
			return item;
		item = find_item(worker);
		if (item || wf_must_stop(worker))
			return item;
	}
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
	if (tag == WF_ITEM_ACTOR) {
		wf_actor_run(self, (void *)((uintptr_t)item & ~(uintptr_t)WF_ITEM_MASK));
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

		if (WF_UNLIKELY(worker->switched_from))
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
	wf_fiber_fresh(fiber);
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
