/*
 * slow.c: the long way of a task that is off its queue: options, inputs, keys, further attempts.
 *
 * How it ends, and against a canceller, is in task.c.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"
#include "keyed.h"
#include "plain.h"
#include "stream.h"

/* What keeps a task from running: NULL, or the error it ends with. */
static struct wf_error *obstacle(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_ext *ext = wf_cell_ext(cell);

	WF_DEBUG(!ext || ext->cell == (uint32_t)(cell - self->rt->cells));
	WF_DEBUG(cell->u.fn != NULL);
	if (wf_task_stopping(&(struct weft_task){ .cell = cell, .rt = self->rt })) {
		/* In this order: an actor that is dying stays so while the call is inside. */
		if (ext && ext->call && wf_call_stopping(self->rt, ext))
			return wf_call_lost(self, cell);
		return wf_task_error(cell, cell->u.fn, wf_stop_status(cell), NULL);
	}
	if (!ext)
		return NULL;
	struct wf_more *more = wf_ext_more(ext);

	if (more && more->deadline.until && wf_clock_now(&self->rt->clock) >= more->deadline.until)
		return wf_task_error(cell, cell->u.fn, WEFT_EDEADLINE, NULL);
	if (ext->parts & WF_PART_REQUEST && wf_ext_request(ext)->refused)
		return wf_gpu_refusal(self->rt, cell);
	if (ext->parts & WF_PART_REQUEST && wf_class_is_gone(wf_ext_request(ext)->class))
		return wf_task_error(cell, cell->u.fn, WEFT_EPLACEMENT, NULL);
	if (ext->policy != WEFT_INPUT_FAIL_FAST)
		return NULL;
	uint32_t edges = wf_ext_edge_count(ext);

	WF_DEBUG(ext->cell == (uint32_t)(cell - self->rt->cells));
	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = &self->rt->cells[ext->edges[i].src];

		/* One that is still on a device is looked at in the end. */
		if (wf_ext_is_ahead(ext) && !wf_promise_is_done(&src->promise))
			continue;
		if (wf_flags(src) & WF_CELL_ERROR)
			return wf_input_error(self, cell, src->u.error);
	}
	return NULL;
}

/*
 * A body wants to be called again, after what is ready now; meanwhile its stack is parked, so that
 * a cancel, its inputs and its grants are as in any other yield. What it returns in the end.
 */
static WF_SUSPENDS int call_again(struct weft_task *frame)
{
	int code;

	do {
		code = wf_task_stopping(frame) ? -ECANCELED : weft_yield(frame->rt);
		if (!code)
			code = frame->fn(frame);
	} while (code == WEFT_AGAIN);
	return code;
}

int wf_body_call(struct weft_task *frame)
{
	WF_DEBUG(wf_self()->current == frame && frame->fn);

	int code = frame->fn(frame);

	return WF_UNLIKELY(code == WEFT_AGAIN) ? call_again(frame) : code;
}

int wf_body_again(struct weft_task *frame)
{
	struct wf_local *self = wf_self();

	WF_DEBUG(self->current != frame);
	frame->outer = self->current;
	self->current = frame;
	int code = call_again(frame);

	wf_self()->current = frame->outer;
	WF_DEBUG(code != WEFT_AGAIN);
	return code;
}

/* One attempt: the body's code, and the identity we came back with. */
static WF_SUSPENDS int attempt(struct wf_local **selfp, struct weft_task *frame,
                               const void *pristine)
{
	struct wf_local *self = *selfp;
	struct wf_cell *cell = frame->cell;

	/* relaxed, both: only the runner writes it. */
	uint8_t n = wf_load_relaxed(&cell->mark.attempt);

	memcpy(frame->data, pristine, WF_INLINE_BYTES);
	cell->mark.size = 0;
	wf_store_relaxed(&cell->mark.attempt, n < UINT8_MAX ? (uint8_t)(n + 1) : n);
	WF_DEBUG(!frame->error && !frame->payload && self->current != frame);
	frame->outer = self->current;
	self->current = frame;
	int code = wf_attempt_begin(frame);

	if (!code)
		code = wf_gpu_wanted(frame) ? wf_gpu_attempt(frame) : wf_body_call(frame);
	if (WF_UNLIKELY(code >= 0 && wf_ext_stream(wf_cell_ext(cell))))
		code = wf_stream_collect(frame, code);
	self = *selfp = wf_self();
	self->current = frame->outer;
	return code;
}

/* An attempt of a task with a key or an output directory: with a step before and one after. */
static WF_SUSPENDS int keyed_attempt(struct wf_local **selfp, struct weft_task *frame,
                                     const void *pristine, struct wf_keyed *keyed)
{
	/* The steps wait as the task that they belong to. */
	frame->outer = (*selfp)->current;
	(*selfp)->current = frame;
	int code = wf_keyed_begin(frame, keyed);

	wf_self()->current = frame->outer;
	*selfp = wf_self();
	if (!code)
		code = attempt(selfp, frame, pristine);
	(*selfp)->current = frame;
	code = wf_keyed_finish(frame, keyed, code);
	*selfp = wf_self();
	(*selfp)->current = frame->outer;
	return code;
}

/* Hold what lies in the store. False: it cannot be had, and the task has ended. */
static WF_SUSPENDS bool start_inputs(struct wf_local **selfp, struct weft_task *frame)
{
	struct wf_error *cause;
	int rc = wf_inputs_hold(frame, &cause);

	*selfp = wf_self();
	if (!rc)
		return true;
	if (wf_ext_is_ahead(wf_cell_ext(frame->cell))) {
		/* Its inputs are done before it is; what it ends with is what it has met. */
		struct wf_error *kept = wf_frame_take_error(frame);

		(void)wf_gpu_ahead_end(frame, rc);
		wf_frame_set_error(frame, kept);
		*selfp = wf_self();
	}
	if (rc == WEFT_EDEP)
		wf_task_finish(*selfp, frame->cell, wf_input_error(*selfp, frame->cell, cause));
	else if (rc == WEFT_ESTOREFULL && wf_frame_error(frame))
		wf_task_finish(*selfp, frame->cell, wf_frame_take_error(frame));
	else
		wf_task_finish(*selfp, frame->cell,
		               wf_task_error(frame->cell, frame->fn, rc, NULL));
	return false;
}

/* It does not run: `error` (consumed) is why. */
static WF_SUSPENDS void end_unrun(struct wf_local *self, struct wf_cell *cell,
                                  struct wf_error *error)
{
	struct weft_task frame = { .cell = cell, .rt = self->rt, .fn = cell->u.fn };

	if (wf_cell_ext(cell) && wf_ext_is_ahead(wf_cell_ext(cell))) {
		(void)wf_gpu_ahead_end(&frame, 0);
		wf_frame_clear(&frame);
		self = wf_self();
	}
	wf_task_finish(self, cell, error);
}

/* Who asks it to end sees it queued, or this sees that it is asked [C4]. */
bool wf_task_requeue(struct wf_cell *cell)
{
	/* relaxed: ours. */
	WF_DEBUG(wf_load_relaxed(&cell->promise.state) == WF_STATE_RUNNING);
	/* release [C1]: a canceller that sees QUEUED frees the ext that was read before. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	wf_fence_seq_cst();
	/*
	 * acquire [C3]. LOCKED is not waited for, whose holder may want a lock of the caller's: it
	 * sees the task queued, or looks again.
	 */
	uint8_t cancel = wf_load_acquire(&cell->cancel);

	return cancel != WF_CANCEL_ASKED && cancel != WF_CANCEL_LATE;
}

/* After that, unless its canceller has ended it. */
static WF_SUSPENDS void end_asked(struct wf_local *self, struct wf_cell *cell)
{
	/* release [C1]: as a start. */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING);
	wf_fence_compiler();
	if (wf_ended_in_queue(self, cell))
		return;
	WF_DEBUG(wf_task_stopping(&(struct weft_task){ .cell = cell, .rt = self->rt }));
	end_unrun(self, cell, wf_task_error(cell, cell->u.fn, wf_stop_status(cell), NULL));
}

/*
 * Whether the body is to run on a spare thread, and does, or will. False: here. Tasks with a
 * request of that kind were started there, unless there was no thread.
 */
static WF_SUSPENDS bool run_elsewhere(struct wf_local *self, struct wf_cell *cell, bool *ended)
{
	struct wf_ext *ext = wf_cell_ext(cell);

	*ended = false;
	if (!ext || !self->worker || !(ext->flags & WEFT_TASK_BLOCKING) || self->rt->order ||
	    (ext->parts & WF_PART_REQUEST && wf_ext_request(ext)->held &&
	     !wf_ext_request(ext)->slot))
		return false;
	/* Of its group, too: what comes to wait here is behind the canceller's walk. */
	if (WF_UNLIKELY(!wf_task_requeue(cell) || wf_group_cancelled(self->rt, cell))) {
		end_asked(self, cell);
		*ended = true;
		return true;
	}
	if (wf_spare_run(self, cell, true))
		return true;
	/* No spare thread at all: it must run somewhere, so it holds this worker. */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING); /* release [C1] */
	wf_fence_compiler();
	*ended = wf_ended_in_queue(self, cell);
	return *ended;
}

static bool input_empty(weft_task *self)
{
	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view = { NULL, 0 };

		if (!weft_input(self, i, &view) && !view.size)
			return true;
	}
	return false;
}

/* An attempt of a call has returned and its actor is dying: true, it has ended or goes back. */
static bool call_ended(struct wf_local *self, struct weft_task *frame, int code)
{
	struct wf_cell *cell = frame->cell;

	if (WF_UNLIKELY(code == WEFT_ECRASH))
		wf_call_crashed(self, cell, wf_frame_error(frame));
	enum wf_verdict verdict = wf_call_verdict(self, cell);

	if (WF_LIKELY(verdict == WF_VERDICT_COUNTS))
		return false;
	wf_take_result(self, frame, false);
	wf_drop_outs(self, wf_cell_ext(cell), 0);
	wf_frame_clear(frame);
	/* Items that were given stay, outputs do not: all its refs end in the same way. */
	if (wf_ext_stream(wf_cell_ext(cell)))
		wf_stream_restart(self, wf_ext_stream(wf_cell_ext(cell)));
	if (verdict == WF_VERDICT_AGAIN) {
		WF_CHECK(wf_cell_ext(cell)->call);
		/* On this stack, whose share they are; the next attempt may be on another. */
		if (wf_cell_ext(cell)->pinned)
			wf_inputs_unhold(self, wf_cell_ext(cell));
		wf_call_again(self, cell);
	} else {
		wf_task_finish(self, cell, wf_call_lost(self, cell));
	}
	return true;
}

void wf_task_call_returned(struct wf_local *self, struct weft_task *frame, int code)
{
	if (code == WEFT_AGAIN) {
		code = wf_body_again(frame);
		self = wf_self();
	}
	if (!call_ended(self, frame, code))
		wf_run_failed(self, frame, code);
}

void wf_task_refuse(struct wf_local *self, struct wf_cell *cell, struct wf_error *error)
{
	/* release [C1]: as a start. */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING);
	wf_fence_compiler();
	if (wf_ended_in_queue(self, cell)) {
		wf_error_release(error);
		return;
	}
	WF_DEBUG(error || wf_cancel_asked(cell) != WF_CANCEL_NO);
	if (!error)
		error = wf_task_error(cell, cell->u.fn, wf_stop_status(cell), NULL);
	wf_task_finish(self, cell, error);
}

/*
 * The attempts of a task that runs here; false: it has ended, because its inputs cannot be had, or
 * its actor is dying, which may also have it begin anew; or it has left its actor until its next
 * attempt.
 */
static WF_SUSPENDS bool run_attempts(struct wf_local **selfp, struct weft_task *frame,
                                     const void *pristine, int *code)
{
	struct wf_cell *cell = frame->cell;
	struct wf_ext *ext = wf_cell_ext(cell);
	struct wf_more *more = ext ? wf_ext_more(ext) : NULL;
	struct wf_keyed *keyed = more ? more->keyed : NULL;

	if (ext && ext->n_inputs && !start_inputs(selfp, frame))
		return false;
	if (ext && ext->parts & WF_PART_SKIP_EMPTY && input_empty(frame)) {
		cell->mark.size = 0;
		*code = 0;
		wf_bump(&(*selfp)->count.skipped);
		return true;
	}
	for (;;) {
		/* relaxed: a snapshot for weft_ref_info(). */
		wf_store_relaxed(&cell->mark.worker,
		                 (uint16_t)((*selfp)->worker ? (*selfp)->id + 1 : 0));
		*code = keyed ? keyed_attempt(selfp, frame, pristine, keyed)
			      : attempt(selfp, frame, pristine);
		if (ext && ext->call && call_ended(*selfp, frame, *code))
			return false;
		if (*code >= 0 || *code == WEFT_EATTEMPTS || !wf_attempt_again(frame, *code))
			return true;
		WF_CHECK(ext && wf_ext_plus(ext));
		wf_take_result(*selfp, frame, false);
		wf_drop_outs(*selfp, ext, 0);
		if (wf_ext_stream(ext))
			wf_stream_restart(*selfp, wf_ext_stream(ext));
		if (ext->call && wf_call_leave(*selfp, cell, wf_attempt_backoff(wf_ext_plus(ext))))
			return false;
		int rc = wf_attempt_wait(frame);

		*selfp = wf_self();
		if (!rc)
			continue;
		/* Cancelled meanwhile, or there is nothing to go on with: then the last failure. */
		struct wf_error *last = wf_ext_plus(ext)->last_error;

		if (rc == -ECANCELED)
			last = wf_task_error(cell, frame->fn, wf_stop_status(cell), NULL);
		else
			wf_error_retain(last);
		wf_frame_set_error(frame, last);
		return true;
	}
}

/* The long way: options, inputs, cancel, retries, times. */
WF_NOINLINE static WF_SUSPENDS void run_slow(struct wf_local *self, struct wf_cell *cell)
{
	bool ended;

	if (wf_ended_in_queue(self, cell))
		return;
	struct wf_error *error = obstacle(self, cell);
	struct wf_ext *ext = wf_cell_ext(cell);

	if (error) {
		end_unrun(self, cell, error);
		return;
	}
	if (run_elsewhere(self, cell, &ended))
		return;
	WF_ALIGNED(16) unsigned char pristine[WF_INLINE_BYTES];
	struct weft_task frame = { .cell = cell, .rt = self->rt, .fn = cell->u.fn };
	/* A helper is a host thread that will leave: nothing can stay on it. */
	bool stay = ext && ext->flags & WEFT_TASK_STAY && self->worker && self->fiber &&
		!wf_worker_of(self)->helper;
	struct wf_fiber *fiber = self->fiber;
	uint32_t modes = 0;
	int code;

	memcpy(pristine, cell->data, WF_INLINE_BYTES);
	frame.arg = ext && ext->flags & WF_EXT_ARG ? wf_ext_arg(ext) : frame.data;
	frame.arg_size = ext ? ext->arg_size : cell->mark.size;
	/* relaxed: only the runner writes it. Of the first attempt, as for one that stays here. */
	if (ext && wf_ext_more(ext) && wf_ext_more(ext)->timed &&
	    !wf_load_relaxed(&cell->mark.attempt))
		wf_ext_more(ext)->start_ns = wf_clock_now(&self->rt->clock);
	if (stay)
		wf_fiber_user(fiber)->bound++;
	if (ext && ext->parts & WF_PART_REQUEST)
		wf_admit_started(self, ext);
	if (ext && wf_ext_abandonable(ext))
		wf_spare_outcome(self, cell, &self->rt->cells[wf_ext_outs(ext)[0]],
		                 wf_task_name(cell, cell->u.fn));
	if (ext && (ext->parts || (ext->call && self->rt->gpus)))
		modes = wf_bodies_begin(self, ext);
	WF_DEBUG(frame.arg_size <= WEFT_ARG_MAX);
	bool ran = run_attempts(&self, &frame, pristine, &code);

	if (ran && ext && wf_ext_is_ahead(ext)) {
		code = wf_gpu_ahead_end(&frame, code);
		self = wf_self();
	}

	WF_DEBUG(self->rt == frame.rt);

	if (stay)
		wf_fiber_user(fiber)->bound--;
	wf_bodies_end(self, modes, fiber);
	if (!ran)
		return;
	if (code >= 0 && !frame.payload && !frame.error)
		wf_task_finish(self, cell, NULL);
	else
		wf_run_failed(self, &frame, code);
}

void wf_task_run_slow(struct wf_local *self, struct wf_cell *cell)
{
	if (!wf_plain_run(self, cell))
		run_slow(self, cell);
}
