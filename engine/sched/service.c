/*
 * service.c: the service thread: timers, interrupts, and the deadlock search. It sleeps on a futex
 * until the earliest timer or until it is rung; with nothing to do it costs nothing.
 *
 * Timers are a binary heap under a mutex, touched only by waits with a deadline.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define RESCAN_NS    INT64_C(5000000)
#define SEARCH_STEPS 200000u           /* of a deadlock search; beyond, hope is the safe answer */
#define QUIET_NS     INT64_C(20000000) /* idle for this long before a deadlock is looked for */

/* ---- The heap ------------------------------------------------------------------------------ */

static void heap_put(weft *rt, uint32_t i, struct wf_wait *wait)
{
	WF_DEBUG(i && i <= rt->timer_count + 1);
	rt->timer_heap[i] = wait;
	wait->heap_index = i;
}

static void heap_up(weft *rt, uint32_t i)
{
	struct wf_wait *wait = rt->timer_heap[i];

	while (i > 1 && rt->timer_heap[i / 2]->until > wait->until) {
		heap_put(rt, i, rt->timer_heap[i / 2]);
		i /= 2;
	}
	heap_put(rt, i, wait);
}

static void heap_down(weft *rt, uint32_t i)
{
	struct wf_wait *wait = rt->timer_heap[i];

	for (;;) {
		uint32_t child = i * 2;

		if (child > rt->timer_count)
			break;
		if (child < rt->timer_count &&
		    rt->timer_heap[child + 1]->until < rt->timer_heap[child]->until)
			child++;
		if (rt->timer_heap[child]->until >= wait->until)
			break;
		heap_put(rt, i, rt->timer_heap[child]);
		i = child;
	}
	heap_put(rt, i, wait);
}

static void heap_take(weft *rt, uint32_t i)
{
	struct wf_wait *last = rt->timer_heap[rt->timer_count--];

	rt->timer_heap[i]->heap_index = 0;
	if (i <= rt->timer_count) {
		heap_put(rt, i, last);
		heap_up(rt, i);
		heap_down(rt, last->heap_index);
	}
}

static bool heap_grow(weft *rt)
{
	uint32_t room = rt->timer_room ? rt->timer_room * 2 : 64;
	struct wf_wait **grown = wf_malloc((room + 1) * sizeof(*grown));

	if (!grown)
		return false;
	if (rt->timer_heap)
		memcpy(grown, rt->timer_heap, (rt->timer_count + 1) * sizeof(*grown));
	wf_free(rt->timer_heap);
	rt->timer_heap = grown;
	rt->timer_room = room;
	return true;
}

int wf_timer_add(struct wf_wait *wait)
{
	weft *rt = wait->rt;

	pthread_mutex_lock(&rt->timer_mutex);
	if (rt->timer_count == rt->timer_room && !heap_grow(rt)) {
		pthread_mutex_unlock(&rt->timer_mutex);
		return -ENOMEM;
	}
	rt->timer_heap[++rt->timer_count] = wait;
	wait->timed = true;
	heap_up(rt, rt->timer_count);
	bool first = wait->heap_index == 1;

	pthread_mutex_unlock(&rt->timer_mutex);
	if (first)
		wf_service_ring(rt, 0);
	return 0;
}

void wf_timer_remove(struct wf_wait *wait)
{
	weft *rt = wait->rt;

	pthread_mutex_lock(&rt->timer_mutex);
	if (wait->heap_index)
		heap_take(rt, wait->heap_index);
	pthread_mutex_unlock(&rt->timer_mutex);
}

void wf_timers_fire(weft *rt, int64_t now)
{
	struct wf_local *self = wf_local_of(rt);

	pthread_mutex_lock(&rt->timer_mutex);
	while (self && rt->timer_count && rt->timer_heap[1]->until <= now) {
		struct wf_wait *wait = rt->timer_heap[1];

		heap_take(rt, 1);
		/* Under the mutex: the sleeper takes it before it leaves its frame. */
		wf_wait_wake(wait, WF_WAKE_TIMEOUT, self);
	}
	pthread_mutex_unlock(&rt->timer_mutex);
}

static int64_t next_timer(weft *rt)
{
	int64_t until = WEFT_FOREVER;

	if (rt->clock.virtual_time)
		return until;
	pthread_mutex_lock(&rt->timer_mutex);
	if (rt->timer_count)
		until = rt->timer_heap[1]->until;
	pthread_mutex_unlock(&rt->timer_mutex);
	return until;
}

/* ---- The thread ---------------------------------------------------------------------------- */

void wf_service_ring(weft *rt, uint32_t flags)
{
	if (flags == WF_SERVICE_QUIET && wf_load_relaxed(&rt->service_flags) & WF_SERVICE_QUIET)
		return;
	/* release [V1]: what the ring is about. */
	wf_or_acq_rel(&rt->service_flags, flags);
	wf_add_release(&rt->service_word, 1);
	wf_futex_wake(&rt->service_word, 1);
}

static bool all_idle(weft *rt)
{
	/* relaxed: checked twice, around a search that changes nothing. */
	return wf_load_relaxed(&rt->sleeping) >= rt->workers &&
		!wf_load_relaxed(&rt->helpers_used) && !wf_load_relaxed(&rt->bodies_outside);
}

static void *service_main(void *arg)
{
	weft *rt = arg;
	int64_t quiet_at = WEFT_FOREVER;

	for (;;) {
		uint32_t word = wf_load_acquire(&rt->service_word); /* acquire [V1] */
		uint32_t flags = wf_load_acquire(&rt->service_flags);

		if (flags & WF_SERVICE_STOP)
			return NULL;
		if (flags & WF_SERVICE_INTERRUPT) {
			wf_and_acq_rel(&rt->service_flags, ~WF_SERVICE_INTERRUPT);
			wf_cancel_everything(rt);
		}
		if (flags & WF_SERVICE_QUIET && quiet_at == WEFT_FOREVER)
			quiet_at = wf_clock_now(NULL) + QUIET_NS;
		if (quiet_at <= wf_clock_now(NULL)) {
			quiet_at = WEFT_FOREVER;
			wf_and_acq_rel(&rt->service_flags, ~WF_SERVICE_QUIET);
			if (all_idle(rt))
				wf_deadlock_search(rt);
		}
		int64_t until = next_timer(rt);

		/* What was being submitted during the walk is found by the next one. */
		if (wf_cancelling_all(rt) && !wf_runtime_is_quiet(rt)) {
			wf_cancel_everything(rt);
			if (until > wf_clock_now(NULL) + RESCAN_NS)
				until = wf_clock_now(NULL) + RESCAN_NS;
		}

		if (until <= wf_clock_now(NULL)) {
			wf_timers_fire(rt, wf_clock_now(&rt->clock));
			continue;
		}
		wf_futex_wait(&rt->service_word, word, until < quiet_at ? until : quiet_at);
	}
}

int wf_service_start(weft *rt)
{
	int rc = wf_thread_start(&rt->service, "weft-service", service_main, rt);

	rt->service_started = !rc;
	return rc;
}

void wf_service_stop(weft *rt)
{
	if (!rt->service_started)
		return;
	wf_service_ring(rt, WF_SERVICE_STOP);
	wf_thread_join(&rt->service);
	rt->service_started = false;
}

/* ---- Deadlock ------------------------------------------------------------------------------ */

/*
 * Everything is idle and tasks are blocked. A task that waits only for tasks that can never go on
 * will wait for ever. Start from "nobody can go on" and mark, until nothing changes, what can:
 * a wait with a time-out or on something from outside; a wait of which enough nodes are done or
 * belong to a task that can go on. What is left is a deadlock.
 */
struct search {
	weft *rt;
	uint32_t fibers;
	uint8_t *hopeful; /* per fiber */
	uint32_t steps;
};

static bool cell_hopeful(struct search *s, struct wf_cell *cell, uint32_t depth);

static bool inputs_hopeful(struct search *s, struct wf_ext *ext, uint32_t depth)
{
	uint32_t edges = wf_ext_edge_count(ext);

	for (uint32_t i = 0; i < edges; i++) {
		uint32_t src = ext->edges[i].src;

		/* Anything else is a block that was just reused: then nothing is stuck. */
		if (src <= s->rt->cells_last && !cell_hopeful(s, &s->rt->cells[src], depth + 1))
			return false;
	}
	return true;
}

static bool cell_hopeful(struct search *s, struct wf_cell *cell, uint32_t depth)
{
	uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;

	if (wf_promise_is_done(&cell->promise) || depth > 64 || ++s->steps > SEARCH_STEPS)
		return true;
	if (kind == WF_CELL_OUTPUT)
		cell = cell->main;
	else if (kind != WF_CELL_TASK)
		return true;
	switch (wf_load_acquire(&cell->promise.state)) { /* acquire [C3] */
	case WF_STATE_WAITING:
		return inputs_hopeful(s, cell->ext, depth);
	case WF_STATE_BLOCKED:
		return wf_placed_fiber(cell) >= s->fibers || s->hopeful[wf_placed_fiber(cell)];
	default:
		/* RUNNING while all is idle: beneath a task that runs in place of its get. */
		return !wf_covered(s->rt, cell, s->hopeful, s->fibers);
	}
}

/* Whether a task that is neither queued nor blocked sits under a blocked one of a stuck fiber. */
bool wf_covered(weft *rt, struct wf_cell *cell, const uint8_t *hopeful, uint32_t fibers)
{
	for (uint32_t i = 0; i < fibers; i++) {
		struct wf_fiber_user *user = wf_fiber_user(wf_fiber_at(rt->stacks, i));

		if (!user->wait || hopeful[i])
			continue;
		for (struct weft_task *frame = user->current; frame; frame = frame->outer) {
			if (frame->cell == cell)
				return true;
		}
	}
	return false;
}

static bool fiber_hopeful(struct search *s, struct wf_wait *wait)
{
	uint32_t can = 0;
	/* relaxed: everything is idle. */
	uint32_t need = wf_load_relaxed(&wait->need);

	/* relaxed: a wait that has ended is on its way. */
	if (wait->timed || wait->external || wf_load_relaxed(&wait->phase) >= WF_WAIT_FIRED)
		return true;
	for (uint32_t i = 0; i < wait->node_count; i++) {
		struct wf_wait_node *node = &wait->nodes[i];

		if (node->pushed && !wf_load_relaxed(&node->fired) &&
		    cell_hopeful(s, node->cell, 0))
			can++;
	}
	return can >= need;
}

static void mark_hopeful(struct search *s)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t i = 0; i < s->fibers; i++) {
			struct wf_fiber_user *user = wf_fiber_user(wf_fiber_at(s->rt->stacks, i));

			if (s->hopeful[i] || (user->wait && !fiber_hopeful(s, user->wait)))
				continue;
			s->hopeful[i] = 1;
			changed = true;
		}
	}
}

static void report(weft *rt, struct wf_fiber *fiber)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);
	struct weft_task *frame = user->current;
	struct wf_wait *wait = user->wait;

	for (uint32_t i = 0; frame && i < wait->node_count; i++) {
		if (wait->nodes[i].pushed)
			wf_log(rt, WEFT_LOG_ERROR,
			       "deadlock: task %s waits for task %s, which can never finish",
			       wf_task_name(frame->cell, frame->fn),
			       wf_task_name(wait->nodes[i].cell, NULL));
	}
}

void wf_deadlock_search(weft *rt)
{
	struct wf_local *self = wf_local_of(rt);
	struct search s = { .rt = rt, .fibers = wf_stacks_index_end(rt->stacks) };
	/* acquire: what happened before this count is seen below. */
	uint32_t external = wf_load_acquire(&rt->external);

	s.hopeful = self ? wf_calloc(s.fibers + 1, 1) : NULL;
	if (!s.hopeful)
		return;
	/* With its lock held a fiber's wait stays; whoever wakes it waits for us. */
	for (uint32_t i = 0; i < s.fibers; i++)
		wf_fiber_lock(wf_fiber_at(rt->stacks, i));
	mark_hopeful(&s);
	if (wf_load_acquire(&rt->external) == external && all_idle(rt)) {
		for (uint32_t i = 0; i < s.fibers; i++) {
			struct wf_fiber *fiber = wf_fiber_at(rt->stacks, i);

			if (s.hopeful[i])
				continue;
			report(rt, fiber);
			wf_wait_wake(wf_fiber_user(fiber)->wait, WF_WAKE_DEADLOCK, self);
		}
	}
	for (uint32_t i = 0; i < s.fibers; i++)
		wf_fiber_unlock(wf_fiber_at(rt->stacks, i));
	wf_free(s.hopeful);
}
