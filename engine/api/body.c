/*
 * body.c: the doors that a running body uses.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runtime.h"
#include "wf_copy.h"
#include "wf_store.h"

#define FAIL_TEXT_BYTES    1024
#define FAIL_PAYLOAD_BYTES ((size_t)64 << 10)

weft *weft_task_runtime(const weft_task *self)
{
	return self->rt;
}

void *weft_task_arg(weft_task *self, size_t *size)
{
	if (size)
		*size = self->arg_size;
	return self->arg;
}

weft_ref weft_task_ref(const weft_task *self)
{
	struct wf_cell *cell = self->cell;
	struct wf_ext *ext = wf_cell_ext(cell);

	/* What its getters have; it may be gone with them. */
	if (WF_UNLIKELY(ext && wf_ext_abandonable(ext)))
		return (weft_ref){ 0 };
	/* relaxed: whoever drops the last count meanwhile makes any answer a snapshot. */
	if (wf_flags(cell) & WF_CELL_FORGET ||
	    wf_load_relaxed(&cell->promise.waiters) & WF_W_ORPHAN)
		return (weft_ref){ 0 };
	return wf_ref_of(self->rt, cell);
}

const char *weft_task_name(const weft_task *self)
{
	return wf_task_name(self->cell, self->fn);
}

uint32_t weft_task_attempt(const weft_task *self)
{
	/* relaxed: nobody but the runner writes it. */
	const struct wf_ext *ext = wf_cell_ext(self->cell);
	uint32_t n = wf_load_relaxed(&self->cell->mark.attempt);

	/* The mark counts to 255. */
	return n == UINT8_MAX && ext && ext->parts & WF_PART_PLUS
		? wf_ext_plus(wf_cell_ext(self->cell))->failures + 1
		: n;
}

int32_t weft_task_worker(const weft_task *self)
{
	struct wf_local *local = wf_self();

	(void)self;
	return local && local->worker ? local->id : -1;
}

bool weft_task_cancelled(const weft_task *self)
{
	return wf_task_stopping(self);
}

/* ---- Inputs -------------------------------------------------------------------------------- */

uint32_t weft_input_count(const weft_task *self)
{
	return wf_cell_ext(self->cell) ? wf_cell_ext(self->cell)->n_inputs : 0;
}

static struct wf_cell *input_cell(const weft_task *self, uint32_t i)
{
	if (i >= weft_input_count(self))
		return NULL;
	return &self->rt->cells[wf_cell_ext(self->cell)->edges[i].src];
}

int weft_input(const weft_task *self, uint32_t i, struct weft_view *view)
{
	struct wf_cell *src = view ? input_cell(self, i) : NULL;

	if (!src)
		return -EINVAL;
	/* Of a task that began ahead: on a device, and not done. */
	if (WF_UNLIKELY(self->rt->gpus != NULL) && !wf_promise_is_done(&src->promise))
		return -EREMOTE;
	struct wf_object *object = wf_cell_object(src);
	int status = wf_cell_status(src);

	if (object && wf_object_loss(object))
		status = wf_object_lost_status(object);
	if (wf_cell_is_remote(src)) {
		if (wf_remote_lost(self->rt, src))
			status = WEFT_EDEVICE;
		else if (wf_inputs_on_device(self->rt, wf_cell_ext(self->cell)))
			return -EREMOTE;
	}
	if (!status) {
		*view = object ? wf_object_view(self->rt, object) : wf_cell_view(src);
		return 0;
	}
	if (wf_cell_ext(self->cell)->policy == WEFT_INPUT_AS_VALUE)
		return status;
	/* Of a task that fails fast only one that began ahead, of what has failed since. */
	if (wf_cell_ext(self->cell)->policy == WEFT_INPUT_FAIL_FAST)
		return -EREMOTE;
	*view = (struct weft_view){ NULL, 0 };
	return 0;
}

weft_ref weft_input_ref(const weft_task *self, uint32_t i)
{
	struct wf_cell *src = input_cell(self, i);

	return src ? wf_ref_of(self->rt, src) : (weft_ref){ 0 };
}

/* ---- Outputs ------------------------------------------------------------------------------- */

/* An output of at most sixteen bytes: in its cell, in place of what was there before. */
static int output_inline(weft_task *self, struct wf_cell *out, size_t size, void **data)
{
	struct wf_local *local = wf_local_of(self->rt);

	if (!local)
		return -ENOMEM;
	if (out == self->cell) {
		wf_payload_free(local, self->payload);
		self->payload = NULL;
	} else if (wf_flags(out) & WF_CELL_BIG) {
		wf_payload_free(local, out->u.payload);
		wf_flags_drop(out, WF_CELL_BIG);
	}
	out->mark.size = (uint8_t)size;
	*data = out->data;
	return 0;
}

uint32_t wf_task_outputs(const weft_task *self)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);

	return ext && !wf_ext_abandonable(ext) ? ext->n_outputs : 1;
}

void wf_task_set_output(weft_task *self, uint32_t i, struct wf_payload *payload)
{
	struct wf_local *local = wf_local_of(self->rt);
	struct wf_cell *out;

	if (i == 0) {
		wf_payload_free(local, self->payload);
		self->payload = payload;
		return;
	}
	out = &self->rt->cells[wf_ext_outs(wf_cell_ext(self->cell))[i - 1]];
	if (wf_flags(out) & WF_CELL_BIG)
		wf_payload_free(local, out->u.payload);
	out->u.payload = payload;
	wf_flags_add(out, WF_CELL_BIG);
}

int weft_task_output(weft_task *self, uint32_t i, size_t size, void **data)
{
	struct wf_cell *out = self->cell;
	struct wf_payload *payload;

	if (!data || i >= wf_task_outputs(self))
		return -EINVAL;
	if (i)
		out = &self->rt->cells[wf_ext_outs(wf_cell_ext(self->cell))[i - 1]];
	if (size <= WF_INLINE_BYTES)
		return output_inline(self, out, size, data);
	int rc = wf_payload_make(self->rt, size, WEFT_FOREVER, &payload, data);

	if (!rc)
		wf_task_set_output(self, i, payload);
	return rc;
}

int weft_return(weft_task *self, const void *data, size_t size)
{
	void *room;

	if (WF_LIKELY(size <= WF_INLINE_BYTES && !self->payload)) {
		wf_copy_inline(self->cell->data, data, size);
		self->cell->mark.size = (uint8_t)size;
		return 0;
	}
	/* More than fits the cell; a task without outputs has no place for it. */
	if (wf_cell_ext(self->cell) && !wf_cell_ext(self->cell)->n_outputs)
		return 0;
	int rc = weft_task_output(self, 0, size, &room);

	/* With the store full, the store has left its own words on the task. */
	if (rc)
		return wf_frame_error(self)
			? rc
			: weft_fail(self, rc, "no memory for a result of %zu bytes", size);
	wf_copy_into(room, data, size);
	return 0;
}

/* ---- Failing ------------------------------------------------------------------------------- */

static int WEFT_PRINTF(5, 0) fail(weft_task *self, int code, const void *payload, size_t size,
                                  const char *format, va_list args)
{
	char text[FAIL_TEXT_BYTES];

	if (code >= 0)
		code = -EIO;
	if (!format || vsnprintf(text, sizeof(text), format, args) < 0)
		text[0] = 0;
	if (size > FAIL_PAYLOAD_BYTES || !payload)
		size = 0;
	wf_frame_set_error(self,
	                   wf_error_create(&(struct wf_error_args){
				   .status = WEFT_ETASK,
				   .code = code,
				   .attempt = weft_task_attempt(self),
				   .text = text,
				   .task = wf_task_name(self->cell, self->fn),
				   .site = wf_task_site(wf_cell_ext(self->cell)),
				   .payload = payload,
				   .payload_size = size }));
	return code;
}

int weft_fail(weft_task *self, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int rc = fail(self, code, NULL, 0, format, args);

	va_end(args);
	return rc;
}

int weft_fail_with(weft_task *self, int code, const void *payload, size_t size, const char *format,
                   ...)
{
	va_list args;

	va_start(args, format);
	int rc = fail(self, code, payload, size, format, args);

	va_end(args);
	return rc;
}

void weft_log(weft_task *self, int level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	wf_log_task(self, level, format, args);
	va_end(args);
}

/* ---- Blocking parts ------------------------------------------------------------------------ */

int weft_block_enter(weft *rt, int mode)
{
	struct wf_local *self = wf_self();

	if (!rt || (mode != WEFT_BLOCK_RELEASE && mode != WEFT_BLOCK_HOLD))
		return -EINVAL;
	if (!self || self->rt != rt || !self->current)
		return -EINVAL;
	/* Beside the workers already: nothing to give. */
	if (!self->worker)
		return 0;
	WF_DEBUG(self->current->rt == rt);
	wf_call_pauses(self);
	if (mode == WEFT_BLOCK_HOLD)
		return 0;
	int rc = wf_spare_take_over(wf_worker_of(self));

	/* A thread that may not be left holds its slot: correct, only slower. */
	return rc == -EBUSY ? 0 : rc;
}

void weft_block_exit(weft *rt)
{
	(void)rt;
}
