/*
 * refs.c: the doors that make, count and inspect references.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

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

static int for_many(weft *rt, const weft_ref *refs, uint32_t n, int (*one)(weft *, weft_ref))
{
	int first = 0;

	if (!rt || (n && !refs))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		int rc = refs[i].bits ? one(rt, refs[i]) : 0;

		if (rc && !first)
			first = rc;
	}
	return first;
}

int weft_retain_many(weft *rt, const weft_ref *refs, uint32_t n)
{
	return for_many(rt, refs, n, weft_retain);
}

int weft_release_many(weft *rt, const weft_ref *refs, uint32_t n)
{
	return for_many(rt, refs, n, weft_release);
}

int weft_cancel(weft *rt, weft_ref ref)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;
	struct wf_local *self = cell ? wf_local_of(rt) : NULL;

	if (!self)
		return cell ? -ENOMEM : -EINVAL;
	return wf_cancel_cell(self, cell);
}

/* ---- Values, joins, events ----------------------------------------------------------------- */

int weft_put(weft *rt, const void *data, size_t size, weft_ref *out)
{
	if (!rt || !out || (size && !data))
		return -EINVAL;
	int rc = wf_gate_check(rt);
	struct wf_local *self = rc ? NULL : wf_local_of(rt);
	struct wf_cell *cell = self ? wf_cell_start(self, WF_CELL_VALUE, WF_STATE_RUNNING) : NULL;

	if (!cell)
		return rc ? rc : -ENOMEM;
	rc = wf_cell_set_value(self, cell, data, size);
	if (rc) {
		wf_cell_free(self, cell);
		return rc;
	}
	/* release [P1]: the bytes. Ready from the start: nobody can have pushed. */
	wf_store_release(&cell->promise.state, WF_STATE_DONE);
	*out = wf_ref_of(rt, cell);
	return 0;
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
	struct wf_cell *cell = self ? wf_cell_start(self, WF_CELL_EVENT, WF_STATE_WAITING) : NULL;

	if (!cell)
		return rc ? rc : -ENOMEM;
	wf_flags_add(cell, WF_CELL_SHARED);
	*out = wf_ref_of(rt, cell);
	return 0;
}

/* Win the right to complete an event. 0, -EALREADY. */
static int event_claim(struct wf_cell *cell)
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

static void event_complete(struct wf_local *self, struct wf_cell *cell)
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
	int rc = event_claim(cell);

	if (rc)
		return rc;
	rc = wf_cell_set_value(self, cell, data, size);
	if (rc) {
		/* Still nobody's: it may be set again. release: as event_claim(). */
		wf_store_release(&cell->promise.state, WF_STATE_WAITING);
		return rc;
	}
	event_complete(self, cell);
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
	int rc = event_claim(cell);

	if (rc)
		return rc;
	bool own = code == -ECANCELED || (code <= WEFT_ETASK && code > WEFT_STATUS_LAST);

	cell->u.error = wf_error_create(&(struct wf_error_args){ .status = own ? code : WEFT_ETASK,
	                                                         .code = code,
	                                                         .text = text ? text : "",
	                                                         .task = "event" });
	wf_flags_add(cell, WF_CELL_ERROR);
	event_complete(self, cell);
	return 0;
}

/* ---- Inspection ---------------------------------------------------------------------------- */

int weft_ref_error(weft *rt, weft_ref ref, const struct weft_error **error)
{
	struct wf_cell *cell = rt && error ? wf_cell_of(rt, ref) : NULL;

	if (!cell)
		return -EINVAL;
	if (!wf_promise_is_done(&cell->promise))
		return -EAGAIN;
	if (!(wf_flags(cell) & WF_CELL_ERROR))
		return -ENODATA;
	*error = &cell->u.error->pub;
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
	struct weft_ref_info full = { .struct_size = info->struct_size,
		                      .state = state_of(cell),
		                      .attempt = wf_load_relaxed(&cell->mark.attempt),
		                      .worker = wf_load_relaxed(&cell->mark.worker) - 1 };

	full.status = -EAGAIN;
	if (full.state >= WEFT_REF_READY) {
		full.status = wf_cell_status(cell);
		full.size = full.status ? 0 : wf_cell_view(cell).size;
		if (wf_flags(cell) & WF_CELL_TIMED) {
			const struct wf_more *more = wf_ext_more(cell->ext);

			full.submit_ns = more->submit_ns;
			full.start_ns = more->start_ns;
			full.end_ns = more->end_ns;
		}
	}
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}
