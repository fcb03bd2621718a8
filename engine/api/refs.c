/*
 * refs.c: the doors that make, count and inspect references.
 */
#include <errno.h>
#include <string.h>

#include "options.h"
#include "room.h"
#include "runtime.h"
#include "wf_copy.h"
#include "wf_store.h"

int weft_retain(weft *rt, weft_ref ref)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;

	if (!cell)
		return -EINVAL;
	wf_promise_retain(&cell->promise);
	return 0;
}

int weft_release(weft *rt, weft_ref ref)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	wf_cell_release(self, cell);
	return 0;
}

#define AHEAD 8u /* cells that are fetched ahead of their turn */

/* The cell of refs[i], with a later one on its way into the cache. NULL: none, or a bad ref. */
static inline struct wf_cell *many_cell(weft *rt, const weft_ref *refs, uint32_t n, uint32_t i)
{
	if (i + AHEAD < n)
		/* Any index lies in the range that is reserved for cells, or nobody reads it. */
		__builtin_prefetch(&rt->cells[wf_ref_index(refs[i + AHEAD])], 1);
	return wf_cell_of(rt, refs[i]);
}

int weft_retain_many(weft *rt, const weft_ref *refs, uint32_t n)
{
	int first = 0;

	if (!rt || (n && !refs))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = many_cell(rt, refs, n, i);

		if (WF_LIKELY(cell))
			wf_promise_retain(&cell->promise);
		else if (refs[i].bits)
			first = -EINVAL;
	}
	return first;
}

int weft_release_many(weft *rt, const weft_ref *refs, uint32_t n)
{
	struct wf_local *self = rt && (!n || refs) ? wf_local_of(rt) : NULL;
	int first = 0;

	if (!self)
		return rt && (!n || refs) ? -ENOMEM : -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = many_cell(rt, refs, n, i);

		if (WF_LIKELY(cell))
			wf_cell_release(self, cell);
		else if (refs[i].bits)
			first = -EINVAL;
	}
	return first;
}

int weft_cancel_with(weft *rt, weft_ref ref, uint32_t flags)
{
	const uint32_t known = WEFT_CANCEL_ALONE | WEFT_CANCEL_ABANDON;

	if (flags & ~(known | WEFT_CANCEL_FORCE))
		return -EINVAL;
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	if (flags & WEFT_CANCEL_FORCE)
		return -ENOTSUP;
	if (!self->worker)
		/* acq_rel [E1]: before anything is freed, see wf_deadlock_search(). */
		wf_add_acq_rel(&rt->external, 1);
	return wf_cancel_cell(self, cell, flags);
}

int weft_cancel(weft *rt, weft_ref ref)
{
	return weft_cancel_with(rt, ref, 0);
}

/* ---- Values, joins, events ----------------------------------------------------------------- */

/* A sealed payload with these bytes. */
static WF_SUSPENDS int payload_of(weft *rt, const void *data, size_t size, int64_t until,
                                  struct wf_payload **out)
{
	struct wf_local *self = wf_local_of(rt);
	void *room;

	if (!self)
		return -ENOMEM;
	bool entered = wf_room_enter(self, size);
	int rc = wf_payload_make(rt, size, until, out, &room);

	if (!rc) {
		wf_copy_into(room, data, size);
		wf_payload_seal(rt, *out);
	}
	wf_room_leave(self, entered);
	return rc;
}

int wf_value_publish(weft *rt, struct wf_payload *payload, const void *data, size_t size,
                     weft_ref *out)
{
	struct wf_local *self = wf_local_of(rt);
	struct wf_cell *cell = self ? wf_cell_start(self, WF_CELL_VALUE, WF_STATE_RUNNING) : NULL;

	if (!cell) {
		if (self)
			wf_payload_free(self, payload);
		return -ENOMEM;
	}
	wf_cell_set_value(cell, payload, data, size);
	/* release [P1]: the bytes. Ready from the start: nobody can have pushed. */
	wf_store_release(&cell->promise.state, WF_STATE_DONE);
	*out = wf_ref_of(rt, cell);
	return 0;
}

int weft_put(weft *rt, const void *data, size_t size, weft_ref *out)
{
	if (!rt || !out || (size && !data))
		return -EINVAL;
	struct wf_payload *payload = NULL;
	int rc = wf_gate_check(rt);

	if (!rc && size > WF_INLINE_BYTES)
		rc = payload_of(rt, data, size, WEFT_FOREVER, &payload);
	return rc ? rc : wf_value_publish(rt, payload, data, size, out);
}

static int join_body(weft_task *self)
{
	(void)self;
	return 0;
}

static int join_few(weft *rt, const weft_ref *refs, uint32_t n, int on_input_error, weft_ref *out)
{
	struct weft_task_options options = { .struct_size = sizeof(options),
		                             .name = "weft_join",
		                             .place = &wf_place_nowhere,
		                             .on_input_error = (uint32_t)on_input_error };
	struct weft_call call = {
		.fn = join_body, .inputs = refs, .opts = &options, .n_after = (uint16_t)n
	};

	return weft_submit_call(rt, &call, out);
}

/* More refs than one task takes: joins of joins. */
static int join_many(weft *rt, const weft_ref *refs, uint32_t n, int on_input_error, weft_ref *out)
{
	uint32_t parts = (n + WEFT_INPUTS_MAX - 1) / WEFT_INPUTS_MAX;
	weft_ref *joins = wf_calloc(parts, sizeof(*joins));
	int rc = joins ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < parts && !rc; i++) {
		uint32_t begin = i * WEFT_INPUTS_MAX;
		uint32_t count = n - begin < WEFT_INPUTS_MAX ? n - begin : WEFT_INPUTS_MAX;

		rc = join_few(rt, refs + begin, count, on_input_error, &joins[i]);
	}
	if (!rc)
		rc = join_few(rt, joins, parts, on_input_error, out);
	if (joins)
		weft_release_many(rt, joins, parts);
	wf_free(joins);
	return rc;
}

int weft_join(weft *rt, const weft_ref *refs, uint32_t n, int on_input_error, weft_ref *out)
{
	if (!rt || !out || (n && !refs) || on_input_error < 0 || on_input_error > WEFT_INPUT_IGNORE)
		return -EINVAL;
	if (n <= WEFT_INPUTS_MAX)
		return join_few(rt, refs, n, on_input_error, out);
	return join_many(rt, refs, n, on_input_error, out);
}

int weft_event_create(weft *rt, weft_ref *out)
{
	if (!rt || !out)
		return -EINVAL;
	int rc = wf_gate_check(rt);
	struct wf_local *self = rc ? NULL : wf_local_of(rt);
	struct wf_cell *cell = self ? wf_event_start(self, WF_CELL_EVENT) : NULL;

	if (!cell)
		return rc ? rc : -ENOMEM;
	*out = wf_ref_of(rt, cell);
	return 0;
}

int wf_event_claim(struct wf_cell *cell)
{
	uint32_t waiting = WF_STATE_WAITING;

	/* acquire: nothing is published before; it only has to be one. */
	return wf_cas_acquire(&cell->promise.state, &waiting, WF_STATE_RUNNING) ? 0 : -EALREADY;
}

static struct wf_cell *event_of(weft *rt, weft_ref event)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, event) : NULL;

	return cell && (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_EVENT ? cell : NULL;
}

void wf_event_complete(struct wf_local *self, struct wf_cell *cell)
{
	/* relaxed: only has to change before the completion, see wf_deadlock_search(). */
	wf_add_relaxed(&self->rt->external, 1);
	wf_cell_complete(self, cell);
}

int weft_event_set(weft *rt, weft_ref event, const void *data, size_t size)
{
	struct wf_cell *cell = event_of(rt, event);
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;

	if (!cell || (size && !data))
		return -EINVAL;
	if (!self)
		return -ENOMEM;
	struct wf_payload *payload = NULL;
	/* First, because somebody else may set it if there is no room. */
	int rc = size > WF_INLINE_BYTES ? payload_of(rt, data, size, WEFT_POLL, &payload) : 0;

	if (!rc) {
		rc = wf_event_claim(cell);
		if (rc)
			wf_payload_free(self, payload);
	}
	if (rc)
		return rc;
	wf_cell_set_value(cell, payload, data, size);
	wf_event_complete(self, cell);
	return 0;
}

int weft_event_fail(weft *rt, weft_ref event, int code, const char *text)
{
	struct wf_cell *cell = event_of(rt, event);
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;

	if (!cell || code >= 0)
		return -EINVAL;
	if (!self)
		return -ENOMEM;
	int rc = wf_event_claim(cell);

	if (rc)
		return rc;
	bool own = code == -ECANCELED || (code <= WEFT_ETASK && code > WEFT_STATUS_LAST);

	cell->u.error = wf_error_create(&(struct wf_error_args){ .status = own ? code : WEFT_ETASK,
	                                                         .code = code,
	                                                         .text = text ? text : "",
	                                                         .task = "event" });
	wf_flags_add(cell, WF_CELL_ERROR);
	wf_event_complete(self, cell);
	return 0;
}

/* ---- Inspection ---------------------------------------------------------------------------- */

int weft_ref_error(weft *rt, weft_ref ref, const struct weft_error **error)
{
	struct wf_cell *cell = rt && error ? wf_cell_of(rt, ref) : NULL;

	if (!cell || wf_cell_is_stream(cell))
		return -EINVAL;
	if (!wf_promise_is_done(&cell->promise))
		return -EAGAIN;
	struct wf_object *object = wf_cell_object(cell);
	struct wf_error *found =
		object ? wf_object_lost_error(rt, cell, object) : wf_remote_lost(rt, cell);

	if (wf_flags(cell) & WF_CELL_ERROR) {
		found = cell->u.error;
		wf_error_see(found);
	}
	if (!found)
		return -ENODATA;
	*error = &found->pub;
	return 0;
}

static int state_of(const struct wf_cell *cell)
{
	if (wf_promise_is_done(&cell->promise)) {
		int status = wf_cell_status(cell);

		if (!status)
			return WEFT_REF_READY;
		return status == -ECANCELED ? WEFT_REF_CANCELLED : WEFT_REF_FAILED;
	}
	switch (wf_load_relaxed(&cell->promise.state)) { /* relaxed: a snapshot. */
	case WF_STATE_WAITING:
		return WEFT_REF_WAITING;
	case WF_STATE_QUEUED:
		return WEFT_REF_QUEUED;
	case WF_STATE_BLOCKED:
		return WEFT_REF_BLOCKED;
	default:
		return WEFT_REF_RUNNING;
	}
}

int weft_ref_info(weft *rt, weft_ref ref, struct weft_ref_info *info)
{
	struct wf_cell *cell = rt && info ? wf_cell_of(rt, ref) : NULL;

	if (!cell || info->struct_size < sizeof(size_t) + 2 * sizeof(int))
		return -EINVAL;
	if (wf_cell_is_stream(cell))
		cell = cell->u.stream->task;
	/* relaxed, both: snapshots. */
	struct weft_ref_info full = { .struct_size = info->struct_size,
		                      .state = state_of(cell),
		                      .attempt = wf_load_relaxed(&cell->mark.attempt),
		                      .worker = wf_load_relaxed(&cell->mark.worker) - 1 };

	full.status = -EAGAIN;
	if (full.state >= WEFT_REF_READY) {
		full.status = wf_cell_status_told(cell);
		full.size = full.status ? 0 : wf_cell_size(cell);
		if (wf_flags(cell) & WF_CELL_TIMED) {
			const struct wf_more *more = wf_ext_more(wf_cell_ext(cell));

			full.submit_ns = more->submit_ns;
			full.start_ns = more->start_ns;
			full.end_ns = more->end_ns;
		}
	}
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}
