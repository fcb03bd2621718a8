/*
 * service.c: the service thread: timers, interrupts, and the deadlock search. It sleeps on a futex
 * until the earliest timer or until it is rung; with nothing to do it costs nothing.
 *
 * Timers are a binary heap under a mutex, touched only by waits, tasks with a deadline and calls
 * that are tried again.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define RESCAN_NS    INT64_C(5000000)
#define SEARCH_STEPS 200000u /* of a deadlock search; beyond, hope is the safe answer */
#define NAG_FIRST_NS INT64_C(1000000)
#define NAG_LAST_NS  INT64_C(500000000)
#define QUIET_NS     INT64_C(20000000) /* idle for this long before a deadlock is looked for */

/* ---- The heap ------------------------------------------------------------------------------ */

static void heap_put(weft *rt, uint32_t i, struct wf_timer *timer)
{
	WF_DEBUG(i && i <= rt->timer_count + 1);
	rt->timer_heap[i] = timer;
	timer->heap_index = i;
}

static void heap_up(weft *rt, uint32_t i)
{
	struct wf_timer *timer = rt->timer_heap[i];

	WF_DEBUG(i && i <= rt->timer_count);
	while (i > 1 && rt->timer_heap[i / 2]->until > timer->until) {
		heap_put(rt, i, rt->timer_heap[i / 2]);
		i /= 2;
	}
	heap_put(rt, i, timer);
}

static void heap_down(weft *rt, uint32_t i)
{
	struct wf_timer *timer = rt->timer_heap[i];

	WF_DEBUG(i && i <= rt->timer_count);
	for (;;) {
		uint32_t child = i * 2;

		if (child > rt->timer_count)
			break;
		if (child < rt->timer_count &&
		    rt->timer_heap[child + 1]->until < rt->timer_heap[child]->until)
			child++;
		if (rt->timer_heap[child]->until >= timer->until)
			break;
		heap_put(rt, i, rt->timer_heap[child]);
		i = child;
	}
	heap_put(rt, i, timer);
}

/* Nothing goes on because of it alone. */
static bool is_deadline(const struct wf_timer *timer)
{
	return timer->cell && timer->cell != WF_TIMER_PAUSE;
}

static void heap_take(weft *rt, uint32_t i)
{
	struct wf_timer *last = rt->timer_heap[rt->timer_count--];

	WF_CHECK(rt->timer_heap[i]->heap_index == i);
	rt->timer_tasks -= is_deadline(rt->timer_heap[i]);
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
	struct wf_timer **grown = wf_malloc((room + 1) * sizeof(*grown));

	if (!grown)
		return false;
	if (rt->timer_heap)
		memcpy(grown, rt->timer_heap, (rt->timer_count + 1) * sizeof(*grown));
	wf_free(rt->timer_heap);
	rt->timer_heap = grown;
	rt->timer_room = room;
	return true;
}

int wf_timer_reserve(weft *rt)
{
	pthread_mutex_lock(&rt->timer_mutex);
	bool room = rt->timer_count + rt->timer_reserved < rt->timer_room || heap_grow(rt);

	rt->timer_reserved += room;
	pthread_mutex_unlock(&rt->timer_mutex);
	return room ? 0 : -ENOMEM;
}

void wf_timer_unreserve(weft *rt)
{
	pthread_mutex_lock(&rt->timer_mutex);
	WF_CHECK(rt->timer_reserved > 0);
	rt->timer_reserved--;
	pthread_mutex_unlock(&rt->timer_mutex);
}

/* Reserved. True: it is the earliest. */
static bool heap_add(weft *rt, struct wf_timer *timer)
{
	pthread_mutex_lock(&rt->timer_mutex);
	WF_CHECK(rt->timer_reserved > 0 && rt->timer_count < rt->timer_room);
	rt->timer_reserved--;
	rt->timer_heap[++rt->timer_count] = timer;
	rt->timer_tasks += is_deadline(timer);
	heap_up(rt, rt->timer_count);
	bool first = timer->heap_index == 1;

	pthread_mutex_unlock(&rt->timer_mutex);
	return first;
}

/* No tick will come for what a virtual clock has passed by now: it is looked at here. */
static void fire_passed(weft *rt, int64_t until)
{
	if (rt->clock.virtual_time && until <= wf_clock_now(&rt->clock))
		wf_timers_fire(rt, wf_clock_now(&rt->clock));
}

int wf_timer_add(struct wf_wait *wait)
{
	if (wf_timer_reserve(wait->rt))
		return -ENOMEM;
	wait->timed = true;
	if (heap_add(wait->rt, &wait->timer))
		wf_service_ring(wait->rt, 0);
	fire_passed(wait->rt, wait->timer.until);
	return 0;
}

void wf_timer_remove(struct wf_wait *wait)
{
	weft *rt = wait->rt;

	pthread_mutex_lock(&rt->timer_mutex);
	if (wait->timer.heap_index)
		heap_take(rt, wait->timer.heap_index);
	pthread_mutex_unlock(&rt->timer_mutex);
}

void wf_timer_add_task(weft *rt, struct wf_timer *timer, uint32_t cell)
{
	WF_DEBUG(cell && timer->until > 0);
	int64_t until = timer->until;

	timer->cell = cell;
	/* From here on it may fire, and go with its task. */
	if (heap_add(rt, timer))
		wf_service_ring(rt, 0);
	fire_passed(rt, until);
}

bool wf_timer_remove_task(weft *rt, struct wf_timer *timer)
{
	WF_DEBUG(timer->cell == WF_TIMER_PAUSE || (timer->cell && timer->cell <= rt->cells_last));
	pthread_mutex_lock(&rt->timer_mutex);
	bool there = timer->heap_index;

	if (there)
		heap_take(rt, timer->heap_index);
	pthread_mutex_unlock(&rt->timer_mutex);
	return there;
}

static void task_late(struct wf_local *self, struct wf_cell *cell)
{
	WF_DEBUG(cell > self->rt->cells && cell <= &self->rt->cells[self->rt->cells_last]);
	wf_cancel_late(self, cell);
	wf_cell_release(self, cell);
}

/* A call's next attempt is due. */
static void pause_over(struct wf_local *self, struct wf_ext *ext)
{
	WF_DEBUG(ext && ext->call);
	/* acq_rel [E1]: before it is queued, see wf_deadlock_search(). */
	wf_add_acq_rel(&self->rt->external, 1);
	wf_unready_drop(self, ext);
}

void wf_timers_fire(weft *rt, int64_t now)
{
	struct wf_local *self = wf_local_of(rt);

	pthread_mutex_lock(&rt->timer_mutex);
	while (self && rt->timer_count && rt->timer_heap[1]->until <= now) {
		struct wf_timer *timer = rt->timer_heap[1];
		uint32_t cell = timer->cell;

		heap_take(rt, 1);
		WF_DEBUG(!timer->heap_index);
		if (!cell) {
			/* Under the mutex: the sleeper takes it before it leaves its frame. */
			wf_wait_wake(wf_container_of(timer, struct wf_wait, timer), WF_WAKE_TIMEOUT,
			             self);
			continue;
		}
		/* The timer's count is ours now, and a deadline's may go with its task. */
		pthread_mutex_unlock(&rt->timer_mutex);
		if (cell == WF_TIMER_PAUSE)
			pause_over(self, wf_container_of(timer, struct wf_pause, timer)->ext);
		else
			task_late(self, &rt->cells[cell]);
		pthread_mutex_lock(&rt->timer_mutex);
	}
	pthread_mutex_unlock(&rt->timer_mutex);
}

int64_t wf_timer_next(weft *rt)
{
	int64_t until = WEFT_FOREVER;

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
	/* Then the one thread that would run something is the one that searches. */
	if (rt->order)
		return rt->order->stuck;
	/* relaxed: checked twice, around a search that changes nothing. */
	return wf_load_relaxed(&rt->sleeping) >= rt->workers &&
		!wf_load_relaxed(&rt->helpers_used) && !wf_load_relaxed(&rt->bodies_outside);
}

static void *service_main(void *arg)
{
	weft *rt = arg;
	int64_t quiet_at = WEFT_FOREVER, nag_at = WEFT_FOREVER, nag_ns = NAG_FIRST_NS;

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
			/* Disturbed from outside, which need not wake a worker that rings. */
			if (all_idle(rt) && !wf_deadlock_search(rt))
				quiet_at = wf_clock_now(NULL) + QUIET_NS;
		}
		if (flags & WF_SERVICE_NAG) {
			wf_and_acq_rel(&rt->service_flags, ~WF_SERVICE_NAG);
			nag_at = 0;
			nag_ns = NAG_FIRST_NS;
		}
		if (nag_at <= wf_clock_now(NULL)) {
			nag_at = wf_spares_nag(rt) ? wf_clock_now(NULL) + nag_ns : WEFT_FOREVER;
			nag_ns = nag_ns < NAG_LAST_NS / 2 ? nag_ns * 2 : NAG_LAST_NS;
		}
		int64_t until = rt->clock.virtual_time ? WEFT_FOREVER : wf_timer_next(rt);

		if (nag_at < until)
			until = nag_at;
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
 * a wait with a time-out or on something from outside; what its deadline will end; a wait of which
 * enough nodes are done or belong to a task that can go on. What is left is a deadlock. A task that
 * waits for resources can go on when those who cannot leave enough of them; see scarce.c.
 *
 * What keeps the ground still: with its lock held a fiber stays in its wait, with all frames and
 * nodes on its stack, and so does a task that is BLOCKED on it. A WAITING task may be ended by a
 * host thread at any time, and its ext freed and used again under our eyes. Such an ext is read
 * all the same, within memory that stays mapped (an ext from the heap is not read), and what it
 * said is believed only when nothing happened from outside until the search was over: whoever
 * ends a task from there first bumps `external`.
 *
 * The search gives up, in favour of hope, after SEARCH_STEPS looks at cells, 64 levels of inputs,
 * or an ext from the heap (more than 254 inputs).
 */
struct search {
	weft *rt;
	uint32_t fibers;
	uint8_t *hopeful; /* per fiber */
	struct wf_scarce *scarce;
	uint32_t steps;
	bool disturbed; /* somebody was at an actor */
};

static bool cell_hopeful(struct search *s, struct wf_cell *cell, uint32_t depth);

/* The ext of a WAITING cell, if it can be read without harm; *edges: how many it seems to have. */
static WF_UNORDERED const struct wf_ext *ext_of(struct search *s, const struct wf_cell *cell,
                                                uint32_t *edges)
{
	const struct wf_ext *ext = *(struct wf_ext *const volatile *)&cell->ext_word;
	/* What is no address but the name of a parent lies in no chunk. */
	size_t room = ext ? wf_block_room(&s->rt->arena, ext) : 0;

	if (room < sizeof(*ext))
		return NULL;
	*edges = wf_ext_edge_count(ext);
	return *edges <= (room - sizeof(*ext)) / sizeof(ext->edges[0]) ? ext : NULL;
}

static WF_UNORDERED uint32_t source_of(const struct wf_ext *ext, uint32_t i)
{
	return *(const volatile uint32_t *)&ext->edges[i].src;
}

/* Whether it is cancelled at some time, of one that has not begun. */
static WF_UNORDERED bool has_deadline(struct search *s, const struct wf_cell *cell)
{
	uint32_t edges = 0;
	const struct wf_ext *ext = ext_of(s, cell, &edges);

	if (!ext || !(ext->flags & WF_EXT_MORE))
		return false;
	/* As wf_ext_more(), of what was looked at already. */
	size_t at = sizeof(*ext) + edges * sizeof(ext->edges[0]) + ext->call * 16u;
	const struct wf_more *more = (const void *)((const char *)ext + at);

	return at + sizeof(*more) <= wf_block_room(&s->rt->arena, ext) && more->deadline.until;
}

static bool inputs_hopeful(struct search *s, const struct wf_cell *cell, uint32_t depth)
{
	uint32_t edges = 0;
	const struct wf_ext *ext = ext_of(s, cell, &edges);

	for (uint32_t i = 0; ext && i < edges; i++) {
		uint32_t src = source_of(ext, i);

		/* Anything else is a block that was just reused: then nothing is stuck. */
		if (src <= s->rt->cells_last && !cell_hopeful(s, &s->rt->cells[src], depth + 1))
			return false;
	}
	return true;
}

/*
 * The task that a further output belongs to, or that a signal of lineage.c stands for; NULL when
 * there is none, or the cell has just become another.
 */
static WF_UNORDERED struct wf_cell *main_of(struct search *s, const struct wf_cell *cell)
{
	struct wf_cell *main = *(struct wf_cell *const volatile *)&cell->main;
	uintptr_t offset = (uintptr_t)main - (uintptr_t)s->rt->cells;

	if (offset / sizeof(*main) > s->rt->cells_last || offset % sizeof(*main))
		return NULL;
	return main;
}

#define BLOCKERS_MAX 64

/* Whether a call can come to run: the calls before it, and one of those inside, must end. */
static bool call_hopeful(struct search *s, const struct wf_cell *cell, uint32_t depth)
{
	uint32_t edges = 0, inside[BLOCKERS_MAX], before = 0;
	const struct wf_ext *ext = ext_of(s, cell, &edges);

	if (!ext || !ext->call ||
	    sizeof(*ext) + edges * sizeof(ext->edges[0]) + 16 > wf_block_room(&s->rt->arena, ext))
		return true;
	uint32_t n = wf_call_blockers(s->rt, cell, ext, edges, inside, BLOCKERS_MAX, &before);
	bool can = !n;

	if (n == WF_BLOCKERS_BUSY) {
		s->disturbed = true;
		return true;
	}

	for (uint32_t i = 0; !can && i < n; i++)
		can = inside[i] > s->rt->cells_last ||
			cell_hopeful(s, &s->rt->cells[inside[i]], depth + 1);
	if (can && before && before <= s->rt->cells_last)
		can = cell_hopeful(s, &s->rt->cells[before], depth + 1);
	return can;
}

static bool cell_hopeful(struct search *s, struct wf_cell *cell, uint32_t depth)
{
	uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;

	if (wf_promise_is_done(&cell->promise) || depth > 64 || ++s->steps > SEARCH_STEPS)
		return true;
	if (kind == WF_CELL_OUTPUT || kind == WF_CELL_SIGNAL)
		cell = main_of(s, cell);
	else if (kind != WF_CELL_TASK)
		return true;
	if (!cell)
		return true;
	switch (wf_load_acquire(&cell->promise.state)) { /* acquire [C3] */
	case WF_STATE_WAITING:
		return (inputs_hopeful(s, cell, depth) && call_hopeful(s, cell, depth)) ||
			has_deadline(s, cell);
	case WF_STATE_QUEUED:
		return (call_hopeful(s, cell, depth) &&
		        wf_scarce_hopeful(s->scarce, (uint32_t)(cell - s->rt->cells))) ||
			has_deadline(s, cell);
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

static bool fiber_hopeful(struct search *s, const struct wf_fiber_user *user)
{
	struct wf_ext *ext = user->current ? wf_cell_ext(user->current->cell) : NULL;
	const struct wf_more *more = ext ? wf_ext_more(ext) : NULL;
	struct wf_wait *wait = user->wait;
	uint32_t can = 0;

	WF_DEBUG(wait->nodes || !wait->node_count);
	if (wait->timed || wait->external || (more && more->deadline.until))
		return true;
	for (uint32_t i = 0; i < wait->node_count; i++) {
		struct wf_wait_node *node = &wait->nodes[i];

		/* acquire [F3]: what is not counted here is no part of `need` below. */
		if (node->pushed && !wf_load_acquire(&node->fired) &&
		    cell_hopeful(s, node->cell, 0))
			can++;
	}
	/* After the nodes, which others may fire meanwhile; a wait that has ended is on its way. */
	int32_t need = (int32_t)wf_load_acquire(&wait->need);

	return need <= 0 || can >= (uint32_t)need || wf_load_acquire(&wait->phase) >= WF_WAIT_FIRED;
}

static void mark_hopeful(struct search *s)
{
	for (bool changed = true; changed;) {
		changed = false;
		for (uint32_t i = 0; i < s->fibers; i++) {
			struct wf_fiber_user *user = wf_fiber_user(wf_fiber_at(s->rt->stacks, i));

			if (s->hopeful[i] || (user->wait && !fiber_hopeful(s, user)))
				continue;
			s->hopeful[i] = 1;
			changed = true;
		}
	}
}

static void report(struct search *s, struct wf_fiber *fiber)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);
	weft *rt = s->rt;
	struct weft_task *frame = user->current;
	struct wf_wait *wait = user->wait;

	for (uint32_t i = 0; frame && i < wait->node_count; i++) {
		struct wf_cell *cell = wait->nodes[i].cell;

		if (!wait->nodes[i].pushed)
			continue;
		if ((wf_flags(cell) & WF_CELL_KIND_MASK) != WF_CELL_TASK)
			cell = main_of(s, cell);
		if (!cell)
			continue;
		/* acquire [C3]: the ext, and with it the name, of a blocked task stays. */
		bool blocked = wf_load_acquire(&cell->promise.state) == WF_STATE_BLOCKED;

		wf_log(rt, WEFT_LOG_ERROR,
		       "deadlock: task %s waits for task %s, which can never finish",
		       wf_task_name(frame->cell, frame->fn),
		       blocked ? wf_task_name(cell, NULL) : "(not begun)");
	}
}

/* Moves when a worker begins with something. */
static uint64_t taken_up(weft *rt)
{
	uint64_t sum = 0;

	WF_DEBUG(rt->slots > 0);
	/* acquire [Q1] */
	for (uint32_t i = 0; i < rt->slots; i++)
		sum += wf_load_acquire(&rt->worker[i]->local.count.popped);
	return sum;
}

bool wf_deadlock_search(weft *rt)
{
	struct wf_local *self = wf_local_of(rt);
	struct search s = { .rt = rt, .fibers = wf_stacks_index_end(rt->stacks) };
	/* acquire: what happened before this count is seen below. */
	uint32_t external = wf_load_acquire(&rt->external);
	uint64_t taken = taken_up(rt);

	s.hopeful = self ? wf_calloc(s.fibers + 1, 1) : NULL;
	if (!s.hopeful)
		return false;
	const char *scarce = NULL;
	bool looked = false;

	/* With its lock held a fiber's wait stays; whoever wakes it waits for us. */
	for (uint32_t i = 0; i < s.fibers; i++)
		wf_fiber_lock(wf_fiber_at(rt->stacks, i));
	s.scarce = wf_scarce_begin(rt, s.hopeful, s.fibers);
	if (s.scarce) {
		looked = true;
		mark_hopeful(&s);
		scarce = wf_scarce_of(s.scarce);
		wf_scarce_end(s.scarce);
	}
	/* [E1]: what was read above was read before the second look at `external`. */
	wf_fence_seq_cst();
	/* acquire [E1] */
	bool calm = looked && !s.disturbed && wf_load_acquire(&rt->external) == external;
	bool stuck = calm && all_idle(rt);

	/* [E1]: all are idle, and nobody was up in between: what was read is of one moment. */
	wf_fence_seq_cst();
	calm = calm && taken_up(rt) == taken;
	stuck = stuck && calm;

	if (stuck && scarce)
		wf_log(rt, WEFT_LOG_ERROR,
		       "deadlock: who holds too much of the resource %s waits for who asks for it",
		       scarce);
	for (uint32_t i = 0; stuck && i < s.fibers; i++) {
		struct wf_fiber *fiber = wf_fiber_at(rt->stacks, i);

		if (s.hopeful[i])
			continue;
		report(&s, fiber);
		wf_wait_wake(wf_fiber_user(fiber)->wait, WF_WAKE_DEADLOCK, self);
	}
	for (uint32_t i = 0; i < s.fibers; i++)
		wf_fiber_unlock(wf_fiber_at(rt->stacks, i));
	wf_free(s.hopeful);
	return calm;
}
