/*
 * stats.c: counters and the dump.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"

static void add_local(struct weft_stats *to, const struct wf_local *local)
{
	const struct wf_counters *c = &local->count;

	/* relaxed, all: each is exact by itself when its thread rests. */
	to->submitted += wf_load_relaxed(&local->submitted);
	to->completed += wf_load_relaxed(&local->completed);
	to->failed += wf_load_relaxed(&c->failed);
	to->cancelled += wf_load_relaxed(&c->cancelled);
	/* Every end that was neither popped off a queue nor early was run in place. */
	to->inlined += wf_load_relaxed(&local->completed) - wf_load_relaxed(&c->popped) -
		wf_load_relaxed(&c->early);
	to->stolen += wf_load_relaxed(&c->stolen);
	to->steals += wf_load_relaxed(&c->steals);
	to->forced += wf_load_relaxed(&c->forced);
	to->suspended += wf_load_relaxed(&c->suspended);
	to->parked += wf_load_relaxed(&c->parked);
	to->woken += wf_load_relaxed(&c->woken);
	/* relaxed: as above. */
	to->skipped += wf_load_relaxed(&c->skipped);
	to->retried += wf_load_relaxed(&c->retried);
	to->faults += wf_load_relaxed(&c->faults);
}

static uint64_t cells_live(const weft *rt)
{
	uint32_t end = wf_load_acquire(&rt->arena.cells_end); /* acquire [A3] */
	uint64_t live = 0;

	/* relaxed: a walk over memory that others change is a snapshot. */
	for (uint32_t i = 1; i < end; i++)
		live += wf_load_relaxed(&rt->cells[i].promise.state) != WF_STATE_FREE;
	return live;
}

int weft_stats(weft *rt, struct weft_stats *stats)
{
	if (!rt || !stats || stats->struct_size < 2 * sizeof(uint64_t))
		return -EINVAL;
	struct weft_stats full = { .struct_size = stats->struct_size };
	uint32_t end = wf_load_acquire(&rt->locals_end); /* acquire [L1] */

	for (uint32_t i = 0; i < end; i++)
		add_local(&full, rt->locals[i]);
	/* Every end is counted; only those with a value are reported as completed. */
	full.completed -= full.failed + full.cancelled;
	full.stacks_live = wf_stacks_live(rt->stacks);
	full.stacks_max_live = wf_stacks_live_max(rt->stacks);
	full.tasks_live = cells_live(rt);
	full.order = rt->order ? rt->order->hash : 0;
	pthread_mutex_lock(&rt->threads_mutex);
	full.spare_threads = rt->spare_count;
	full.abandoned = rt->abandoned;
	pthread_mutex_unlock(&rt->threads_mutex);
	memcpy(stats, &full, stats->struct_size < sizeof(full) ? stats->struct_size : sizeof(full));
	return 0;
}

/* ---- Dump ---------------------------------------------------------------------------------- */

struct dump {
	weft_dump_fn *fn;
	void *arg;
};

static void line(struct dump *dump, const char *format, ...) WEFT_PRINTF(2, 3);
static void line(struct dump *dump, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	if (vsnprintf(text, sizeof(text), format, args) >= 0)
		dump->fn(dump->arg, text);
	va_end(args);
}

static void dump_workers(weft *rt, struct dump *dump)
{
	for (uint32_t i = 0; i < rt->slots; i++) {
		struct wf_worker *worker = rt->worker[i];
		/* relaxed, here and below: a snapshot. */
		uint64_t bits = wf_load_relaxed(&rt->parked_bits[i / 64]);
		bool asleep = bits >> i % 64 & 1;

		if (!wf_load_relaxed(&worker->active))
			continue;
		line(dump, "worker %u: node %u, %s, queued %u high %u normal %u low", i,
		     worker->local.node, asleep ? "asleep" : "awake",
		     wf_deque_count_mt(&worker->deque[WEFT_PRIORITY_HIGH]),
		     wf_deque_count_mt(&worker->deque[WEFT_PRIORITY_NORMAL]),
		     wf_deque_count_mt(&worker->deque[WEFT_PRIORITY_LOW]));
	}
}

/* Names come from frames and cold blocks that stay while the fiber's lock is held. */
static void dump_blocked(weft *rt, struct wf_fiber *fiber, struct dump *dump)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);
	struct wf_wait *wait = user->wait;

	if (!wait || !user->current)
		return;
	struct weft_task *frame = user->current;
	const char *name = wf_task_name(frame->cell, frame->fn);

	if (!wait->node_count) {
		line(dump, "blocked: task %s sleeps", name);
		return;
	}
	for (uint32_t i = 0; i < wait->node_count; i++) {
		struct wf_cell *cell = wait->nodes[i].cell;

		if (wait->nodes[i].pushed && cell)
			line(dump, "blocked: task %s waits for ref %#llx (%s)", name,
			     (unsigned long long)wf_ref_of(rt, cell).bits,
			     wf_promise_is_done(&cell->promise) ? "ready" : "pending");
	}
}

int weft_dump(weft *rt, weft_dump_fn *fn, void *arg)
{
	struct dump dump = { fn, arg };
	struct weft_stats stats = { .struct_size = sizeof(stats) };

	if (!rt || !fn)
		return -EINVAL;
	weft_stats(rt, &stats);
	line(&dump, "runtime %u %s: %u workers, %llu tasks submitted, %llu completed, %llu cells",
	     rt->id, rt->name, rt->workers, (unsigned long long)stats.submitted,
	     (unsigned long long)stats.completed, (unsigned long long)stats.tasks_live);
	dump_workers(rt, &dump);
	uint32_t end = wf_stacks_index_end(rt->stacks);

	for (uint32_t i = 0; i < end; i++) {
		struct wf_fiber *fiber = wf_fiber_at(rt->stacks, i);

		wf_fiber_lock(fiber);
		dump_blocked(rt, fiber, &dump);
		wf_fiber_unlock(fiber);
	}
	return 0;
}
