/*
 * cell.c: the value side of a cell: payloads, release, firing waiters.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"
#include "wf_store.h"

struct wf_payload *wf_payload_alloc(struct wf_local *self, size_t size)
{
	size_t bytes = sizeof(struct wf_payload) + size;
	struct wf_payload *payload;
	uint32_t got = 0;

	if (bytes < size)
		return NULL;
	if (bytes <= WF_BLOCK_MAX_BYTES)
		payload = wf_block_alloc(self, bytes, &got);
	else
		payload = wf_store_alloc(bytes);
	if (!payload)
		return NULL;
	payload->size = size;
	payload->block_bytes = got;
	return payload;
}

void wf_payload_free(struct wf_local *self, struct wf_payload *payload)
{
	if (!payload)
		return;
	if (payload->block_bytes)
		wf_block_free(self, payload, (uint32_t)payload->block_bytes);
	else
		wf_store_free(payload, sizeof(struct wf_payload) + payload->size);
}

int wf_cell_set_value(struct wf_local *self, struct wf_cell *cell, const void *data, size_t size)
{
	if (size <= WF_INLINE_BYTES) {
		if (size)
			memcpy(cell->data, data, size);
		cell->mark.size = (uint8_t)size;
		return 0;
	}
	struct wf_payload *payload = wf_payload_alloc(self, size);

	if (!payload)
		return -ENOMEM;
	memcpy(payload->data, data, size);
	cell->u.payload = payload;
	wf_flags_add(cell, WF_CELL_BIG);
	return 0;
}

int wf_cell_status(const struct wf_cell *cell)
{
	return wf_flags(cell) & WF_CELL_ERROR ? cell->u.error->pub.status : 0;
}

void wf_cell_destroy_slow(struct wf_local *self, struct wf_cell *cell)
{
	uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;

	if (kind == WF_CELL_OUTPUT && !(wf_flags(cell) & WF_CELL_FORGET))
		wf_cell_release(self, cell->main);
	if (kind == WF_CELL_TASK && wf_flags(cell) & WF_CELL_TIMED)
		wf_ext_free(self, cell->ext, false);
	if (wf_flags(cell) & WF_CELL_ERROR)
		wf_error_release(cell->u.error);
	else if (wf_flags(cell) & WF_CELL_BIG)
		wf_payload_free(self, cell->u.payload);
	wf_cell_free(self, cell);
}

void wf_cell_release_slow(struct wf_local *self, struct wf_cell *cell)
{
	bool foreign = wf_cell_foreign(self, cell);

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
		wf_add_relaxed(&self->rt->locals[cell->owner]->foreign_touches, 1);
	/* relaxed: the last holder is the only one who may look. */
	wf_store_relaxed(&cell->gen, wf_load_relaxed(&cell->gen) ^ WF_GEN_ORPHAN);
	if (wf_promise_orphan(&cell->promise, foreign))
		wf_cell_destroy(self, cell);
}

void wf_cell_fire(struct wf_local *self, struct wf_cell *cell, uintptr_t list)
{
	struct wf_waiter *node = (struct wf_waiter *)(list & ~WF_W_BITS);
	struct wf_waiter *first = NULL;

	/* Pushed newest first; those who came first go first. */
	while (node) {
		struct wf_waiter *next = node->next;

		node->next = first;
		first = node;
		node = next;
	}
	while (first) {
		struct wf_waiter *next = first->next;

		first->fire(first, cell, self);
		first = next;
	}
	if (list & WF_W_ORPHAN)
		wf_cell_destroy(self, cell);
}

void wf_cells_sweep(struct wf_local *self)
{
	weft *rt = self->rt;
	/* acquire [A3] */
	uint32_t end = wf_load_acquire(&rt->arena.cells_end);

	for (uint32_t i = 1; i < end; i++) {
		struct wf_cell *cell = &rt->cells[i];

		/* relaxed: no other thread is left. */
		if (wf_load_relaxed(&cell->promise.state) == WF_STATE_FREE ||
		    !wf_promise_is_done(&cell->promise))
			continue;
		if (wf_flags(cell) & WF_CELL_ERROR)
			wf_error_release(cell->u.error);
		else if (wf_flags(cell) & WF_CELL_BIG && !cell->u.payload->block_bytes)
			wf_payload_free(self, cell->u.payload);
	}
}
