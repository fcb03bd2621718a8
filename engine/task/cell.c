/*
 * cell.c: the value side of a cell: payloads, release, firing waiters; what a task is called.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

struct wf_payload *wf_payload_alloc(struct wf_local *self, size_t size)
{
	struct wf_payload *payload;
	uint32_t got;

	WF_DEBUG(size <= WF_BLOCK_VALUE_MAX);
	payload = wf_block_alloc(self, sizeof(struct wf_payload) + size, &got);
	if (!payload)
		return NULL;
	payload->size = (uint32_t)size;
	payload->block_bytes = got;
	return payload;
}

void wf_payload_free(struct wf_local *self, struct wf_payload *payload)
{
	if (!payload)
		return;
	if (wf_payload_is_remote(payload))
		wf_remote_free(self, payload);
	else if (wf_payload_is_object(payload))
		wf_object_drop(self, wf_payload_object(payload));
	else
		wf_block_free(self, payload, payload->block_bytes);
}

void wf_cell_set_value(struct wf_cell *cell, struct wf_payload *payload, const void *data,
                       size_t size)
{
	if (payload) {
		cell->u.payload = payload;
		wf_flags_add(cell, WF_CELL_BIG);
		return;
	}
	WF_DEBUG(size <= WF_INLINE_BYTES);
	if (size)
		memcpy(cell->data, data, size);
	cell->mark.size = (uint8_t)size;
}

int wf_cell_status(const struct wf_cell *cell)
{
	return wf_flags(cell) & WF_CELL_ERROR ? cell->u.error->pub.status : 0;
}

int wf_cell_status_told(const struct wf_cell *cell)
{
	if (!(wf_flags(cell) & WF_CELL_ERROR))
		return 0;
	wf_error_see(cell->u.error);
	return cell->u.error->pub.status;
}

/* Where the argument of a task was, which nobody reads any more. */
static struct wf_a32 *parties_of(struct wf_cell *cell)
{
	return (struct wf_a32 *)(void *)cell->data;
}

void wf_cell_part(struct wf_cell *cell)
{
	bool forget = wf_flags(cell) & WF_CELL_FORGET;

	WF_DEBUG((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK);
	WF_DEBUG(wf_load_relaxed(&cell->cancel) == WF_CANCEL_LOCKED); /* relaxed: ours. */
	WF_DEBUG(!wf_promise_is_done(&cell->promise));
	wf_init(parties_of(cell), forget ? 2 : 3);
	if (forget)
		wf_flags_drop(cell, WF_CELL_FORGET);
}

void wf_cell_destroy_slow(struct wf_local *self, struct wf_cell *cell)
{
	uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;

	/* relaxed: its end has brought it along. acq_rel [P6]: the others' accesses. */
	if (WF_UNLIKELY(wf_load_relaxed(&cell->cancel) == WF_CANCEL_LEFT) &&
	    wf_add_acq_rel(parties_of(cell), (uint32_t)-1) != 1)
		return;
	WF_DEBUG(wf_load_relaxed(&cell->promise.state) != WF_STATE_FREE); /* relaxed: ours. */
	if (kind == WF_CELL_TASK && wf_flags(cell) & WF_CELL_TIMED)
		wf_ext_free(self, wf_cell_ext(cell), false);
	if (kind == WF_CELL_HANDLE)
		wf_handle_drop(self, cell);
	if (wf_flags(cell) & WF_CELL_ERROR) {
		wf_error_overlooked(self->rt, cell->u.error);
		wf_error_release(cell->u.error);
	} else if (wf_flags(cell) & WF_CELL_BIG)
		wf_payload_free(self, cell->u.payload);
	wf_cell_free(self, cell);
}

void wf_cell_release_slow(struct wf_local *self, struct wf_cell *cell)
{
	bool foreign = wf_cell_foreign(self, cell);

	if (wf_cell_is_stream(cell)) {
		wf_stream_drop(self, cell);
		return;
	}
	/* Completing an event takes a count, and this was the last: nobody ever will. */
	if ((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_EVENT) {
		uint32_t waiting = WF_STATE_WAITING;

		/* acquire: against a runtime that is being cancelled, see cancel_event(). */
		if (wf_cas_acquire(&cell->promise.state, &waiting, WF_STATE_RUNNING)) {
			wf_cell_free(self, cell);
			return;
		}
	}
	/* relaxed: a hint that the owner reads now and then. */
	if (foreign)
		wf_add_relaxed(&self->rt->locals[wf_cell_owner(cell)]->foreign_touches, 1);
	/* relaxed: the last holder is the only one who may look. */
	wf_store_relaxed(&cell->gen, wf_load_relaxed(&cell->gen) ^ WF_GEN_ORPHAN);
	if (wf_promise_orphan(&cell->promise, foreign))
		wf_cell_destroy(self, cell);
}

static struct wf_waiter *reversed(struct wf_waiter *node)
{
	struct wf_waiter *first = NULL;

	while (node) {
		struct wf_waiter *next = node->next;

		node->next = first;
		first = node;
		node = next;
	}
	return first;
}

/*
 * The list is newest first. Those who came first run first: a worker's deque gives back what it was
 * given last, so a worker fires the list as it is, and dependents run in the order of their
 * submits, along their memory. Everybody else's queues are first in, first out.
 */
void wf_cell_fire(struct wf_local *self, struct wf_cell *cell, uintptr_t list)
{
	struct wf_waiter *first = (struct wf_waiter *)(list & ~WF_W_BITS);

	if (!self->worker)
		first = reversed(first);
	while (first) {
		struct wf_waiter *next = first->next;

		if (first->edge & WF_WAITER_EDGE)
			wf_edge_fire(first, cell, self);
		else
			first->fire(first, cell, self);
		first = next;
	}
	if (list & WF_W_ORPHAN)
		wf_cell_destroy(self, cell);
}

void wf_cells_sweep(weft *rt)
{
	/* acquire [A3] */
	uint32_t end = wf_load_acquire(&rt->arena.cells_end);

	for (uint32_t i = 1; i < end; i++) {
		struct wf_cell *cell = &rt->cells[i];

		/* relaxed: no other thread is left. */
		if (wf_load_relaxed(&cell->promise.state) == WF_STATE_FREE ||
		    !wf_promise_is_done(&cell->promise))
			continue;
		/* Blocks go with their regions, objects with the store. */
		if (wf_flags(cell) & WF_CELL_ERROR)
			wf_error_release(cell->u.error);
	}
}

/* ---- Events of the engine ------------------------------------------------------------------- */

void wf_signal(struct wf_local *self, struct wf_cell *event, struct wf_error *why)
{
	uint32_t waiting = WF_STATE_WAITING;

	if (!event)
		return;
	WF_DEBUG((wf_flags(event) & WF_CELL_KIND_MASK) == WF_CELL_SIGNAL);
	/* acquire [Q3]: against a runtime that is being cancelled, see cancel_event(). */
	if (wf_cas_acquire(&event->promise.state, &waiting, WF_STATE_RUNNING)) {
		if (why) {
			wf_error_retain(why);
			event->u.error = why;
			wf_flags_add(event, WF_CELL_ERROR);
		}
		/* relaxed: only has to change before the completion, see wf_deadlock_search(). */
		wf_add_relaxed(&self->rt->external, 1);
		wf_cell_complete(self, event);
	}
	wf_cell_release(self, event);
}

/* ---- What a task is called ------------------------------------------------------------------ */

const char *wf_task_name(const struct wf_cell *cell, weft_task_fn *fn)
{
	const struct wf_more *more = wf_cell_ext(cell) ? wf_ext_more(wf_cell_ext(cell)) : NULL;
	const char *symbol;

	if (more && more->name)
		return more->name;
	if (wf_cell_ext(cell) && wf_ext_site(wf_cell_ext(cell)))
		return wf_ext_site(wf_cell_ext(cell));
	symbol = fn ? wf_symbol_name((const void *)(uintptr_t)fn) : NULL;
	return symbol ? symbol : "task";
}

const char *wf_task_site(const struct wf_ext *ext)
{
	const char *site = ext ? wf_ext_site(ext) : NULL;

	return site ? site + strlen(site) + 1 : "";
}

struct wf_error *wf_task_error(const struct wf_cell *cell, weft_task_fn *fn, int status,
                               struct wf_error *cause)
{
	return wf_error_create(
		&(struct wf_error_args){ .status = status,
	                                 .code = status,
	                                 .attempt = wf_load_relaxed(&cell->mark.attempt),
	                                 .task = wf_task_name(cell, fn),
	                                 .site = wf_task_site(wf_cell_ext(cell)),
	                                 .cause = cause });
}
