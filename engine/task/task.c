/*
 * task.c: a task's run, its end, and its early end.
 *
 * A task that has no cold block takes the short way: copy the argument to the frame, call the
 * body, complete. Everything else (inputs, options, cancel, retries) goes through run_slow().
 *
 * A task ends exactly once: by the runner that took it off its queue, or, while it still waits
 * for inputs, by whoever sets WF_UNREADY_EARLY in ext->unready (a failed input, a cancel). The
 * cold block of a task that ended early lives until its last edge has fired.
 *
 * Cancel against completion: a canceller swaps WF_CANCEL_LOCKED into cell->cancel, makes that
 * visible to the runner's side by a membarrier [C1], and only then looks at state and ext. Whoever
 * frees the ext has changed the state before and spins while it reads LOCKED. So the ext that a
 * canceller sees in state WAITING stays until the canceller has unlocked.
 */
#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "runtime.h"

/* ---- The cold block ------------------------------------------------------------------------ */

/* Nobody may look at an ext while it goes: wait for a canceller that locked the cell. */
static void wait_for_canceller(struct wf_local *self, struct wf_cell *cell)
{
	if (self->rt->asymmetric)
		wf_fence_compiler();
	else
		wf_fence_seq_cst();
	/* acquire [C1]: the canceller's accesses are over. */
	while (wf_load_acquire(&cell->cancel) == WF_CANCEL_LOCKED)
		wf_cpu_relax();
}

void wf_ext_free(struct wf_local *self, struct wf_ext *ext, bool keep)
{
	struct wf_more *more = wf_ext_more(ext);
	uint32_t edges = ext->flags & WF_EXT_RELEASED ? 0 : wf_ext_edge_count(ext);

	for (uint32_t i = 0; i < edges; i++)
		wf_cell_release(self, &self->rt->cells[ext->edges[i].src]);
	ext->flags |= WF_EXT_RELEASED;
	if (more && more->arg_drop) {
		more->arg_drop(wf_ext_arg(ext), ext->arg_size);
		more->arg_drop = NULL;
	}
	if (keep)
		return;
	if (ext->block)
		wf_block_free(self, ext, ext->block);
	else
		wf_free(ext);
}

const char *wf_task_name(const struct wf_cell *cell, weft_task_fn *fn)
{
	const struct wf_more *more = cell->ext ? wf_ext_more(cell->ext) : NULL;
	Dl_info info;

	if (more && more->name)
		return more->name;
	if (cell->ext && cell->ext->site)
		return cell->ext->site;
	if (fn && dladdr((void *)(uintptr_t)fn, &info) && info.dli_sname)
		return info.dli_sname;
	return "task";
}

const char *wf_task_site(const struct wf_ext *ext)
{
	return ext && ext->site ? ext->site + strlen(ext->site) + 1 : "";
}

struct wf_error *wf_task_error(const struct wf_cell *cell, weft_task_fn *fn, int status,
                               struct wf_error *cause)
{
	return wf_error_create(
		&(struct wf_error_args){ .status = status,
	                                 .code = status,
	                                 .attempt = wf_load_relaxed(&cell->mark.attempt),
	                                 .task = wf_task_name(cell, fn),
	                                 .site = wf_task_site(cell->ext),
	                                 .cause = cause });
}

/* ---- Completion ---------------------------------------------------------------------------- */

void wf_cell_complete(struct wf_local *self, struct wf_cell *cell)
{
	bool counted = (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK;
	uintptr_t list;

	if (wf_flags(cell) & WF_CELL_FORGET) {
		wf_cell_destroy(self, cell);
	} else {
		if (cell->owner == self->id && !(wf_flags(cell) & WF_CELL_SHARED))
			list = wf_promise_complete_private(&cell->promise);
		else
			list = wf_promise_complete_shared(&cell->promise);
		if (list)
			wf_cell_fire(self, cell, list);
	}
	if (counted)
		wf_bump(&self->completed);
}

static void complete_outs(struct wf_local *self, struct wf_ext *ext, struct wf_error *error)
{
	for (uint32_t i = 0; i + 1 < ext->n_outputs; i++) {
		struct wf_cell *out = &self->rt->cells[wf_ext_outs(ext)[i]];

		if (error) {
			if (wf_flags(out) & WF_CELL_BIG)
				wf_payload_free(self, out->u.payload);
			wf_flags_drop(out, WF_CELL_BIG);
			wf_flags_add(out, WF_CELL_ERROR);
			out->u.error = error;
			wf_error_retain(error);
		}
		wf_cell_complete(self, out);
	}
}

static void count_end(struct wf_local *self, const struct wf_error *error)
{
	if (error)
		wf_bump(error->pub.status == -ECANCELED ? &self->count.cancelled
		                                        : &self->count.failed);
}

/* The end of a task with a cold block or an error. `error` is consumed; NULL: the value stands. */
static void finish(struct wf_local *self, struct wf_cell *cell, struct wf_error *error)
{
	struct wf_ext *ext = cell->ext;

	count_end(self, error);
	if (ext) {
		bool keep = self->rt->timing && wf_ext_more(ext);

		if (keep)
			wf_ext_more(ext)->end_ns = wf_clock_now(&self->rt->clock);
		complete_outs(self, ext, error);
		wait_for_canceller(self, cell);
		wf_ext_free(self, ext, keep);
		if (keep)
			wf_flags_add(cell, WF_CELL_TIMED);
	}
	if (error) {
		cell->u.error = error;
		wf_flags_add(cell, WF_CELL_ERROR);
	}
	wf_cell_complete(self, cell);
}

/* ---- The early end ------------------------------------------------------------------------- */

/* One count of ext->unready goes; the last one readies the task or frees what ended early. */
static void unready_drop(struct wf_local *self, struct wf_ext *ext)
{
	/* Read before: unless it was the last count, somebody else may free the ext right after. */
	struct wf_cell *cell = &self->rt->cells[ext->cell];
	uint32_t priority = ext->priority;
	/* acq_rel [U1]: the results of all inputs, to whoever drops the last. */
	uint32_t old = wf_add_acq_rel(&ext->unready, (uint32_t)-1);

	WF_DEBUG((old & ~WF_UNREADY_EARLY) > 0);
	if ((old & ~WF_UNREADY_EARLY) != 1)
		return;
	if (old & WF_UNREADY_EARLY) {
		wait_for_canceller(self, cell);
		wf_ext_free(self, ext, false);
		return;
	}
	/* release [C1]: a canceller that sees QUEUED frees the ext that was read above. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	/* From here on a canceller may end it: the ext is not ours to read any more. */
	wf_ready_cell(self, cell, priority);
}

/*
 * A task that ended early lets go of the inputs that are still pending, or an event that is only
 * held by its own dead dependents would never be freed. Done once, by the ender or by a submitter
 * that was still linking; the caller's own count keeps the ext.
 */
static void unlink_edges(struct wf_local *self, struct wf_ext *ext)
{
	uint32_t edges = wf_ext_edge_count(ext);
	uint8_t linked = 1;

	/* Between EARLY and the look at `linked`, and between `linked` and the look at EARLY. */
	wf_fence_seq_cst();
	/* acquire [U2]: the edges' links. */
	if (!wf_cas_acq_rel(&ext->linked, &linked, 2))
		return;
	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = &self->rt->cells[ext->edges[i].src];

		if (!wf_promise_is_done(&src->promise) &&
		    wf_promise_remove(&src->promise, &ext->edges[i].waiter))
			unready_drop(self, ext);
	}
}

void wf_ext_linked(struct wf_local *self, struct wf_ext *ext)
{
	/* release [U2] */
	wf_store_release(&ext->linked, 1);
	wf_fence_seq_cst();
	/* acquire [U1]: whoever ended it. Our guard keeps the ext. */
	if (wf_load_acquire(&ext->unready) & WF_UNREADY_EARLY)
		unlink_edges(self, ext);
	unready_drop(self, ext);
}

/* Win the right to end a task early: its count keeps the ext until early_finish() is over. */
static bool early_claim(struct wf_ext *ext)
{
	/* relaxed: a guess for the exchange. */
	uint32_t old = wf_load_relaxed(&ext->unready);

	do {
		if (old & WF_UNREADY_EARLY || !old)
			return false;
		/* acq_rel [U1]: one ender. */
	} while (!wf_cas_acq_rel(&ext->unready, &old, (old | WF_UNREADY_EARLY) + 1));
	return true;
}

static void early_finish(struct wf_local *self, struct wf_ext *ext, struct wf_error *error)
{
	struct wf_cell *cell = &self->rt->cells[ext->cell];

	count_end(self, error);
	wf_bump(&self->count.early);
	/* relaxed: only tells a canceller that the ext is about to go, see [C1]. */
	wf_store_relaxed(&cell->promise.state, WF_STATE_RUNNING);
	complete_outs(self, ext, error);
	cell->u.error = error;
	wf_flags_add(cell, WF_CELL_ERROR);
	wf_cell_complete(self, cell);
	unlink_edges(self, ext);
	unready_drop(self, ext);
}

/*
 * End a claimed task, its dependents, theirs, and so on: a failure may run down a chain of any
 * length, so what is claimed meanwhile waits in a list instead of on the stack.
 */
static void early_end(struct wf_local *self, struct wf_ext *ext, struct wf_error *error)
{
	struct wf_cell *cell = &self->rt->cells[ext->cell];

	/* Claimed: function and argument are dead, the error and the link take their places. */
	cell->u.error = error;
	memcpy(cell->data, &self->early, sizeof(self->early));
	self->early = cell;
	if (self->early_busy)
		return;
	self->early_busy = true;
	while (self->early) {
		cell = self->early;
		memcpy(&self->early, cell->data, sizeof(self->early));
		early_finish(self, cell->ext, cell->u.error);
	}
	self->early_busy = false;
}

/* What a failed input does to its dependent; when all is cancelled, that is the reason. */
static struct wf_error *input_error(struct wf_local *self, struct wf_cell *cell,
                                    struct wf_error *cause)
{
	if (wf_cancelling_all(self->rt))
		return wf_task_error(cell, NULL, -ECANCELED, NULL);
	return wf_task_error(cell, NULL, WEFT_EDEP, cause);
}

void wf_edge_fire(struct wf_waiter *node, struct wf_cell *src, struct wf_local *self)
{
	struct wf_edge *edge = wf_container_of(node, struct wf_edge, waiter);
	struct wf_ext *ext = wf_container_of(edge - edge->position, struct wf_ext, edges[0]);

	/* Claimed first: until then another failed input may end the task and free its cell. */
	if (WF_UNLIKELY(wf_flags(src) & WF_CELL_ERROR) && ext->policy == WEFT_INPUT_FAIL_FAST &&
	    early_claim(ext))
		early_end(self, ext, input_error(self, &self->rt->cells[ext->cell], src->u.error));
	unready_drop(self, ext);
}

/* ---- Cancel -------------------------------------------------------------------------------- */

/*
 * A queued task ends now; the entry in some queue becomes a count of the cell, which whoever pops
 * it drops. Completed in the shared way, because that pop stores to `state`.
 */
static void end_queued(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_error *error = wf_task_error(cell, cell->u.fn, -ECANCELED, NULL);

	wf_promise_retain(&cell->promise);
	wf_flags_add(cell, WF_CELL_SHARED);
	/* release [C1] */
	wf_store_release(&cell->cancel, WF_CANCEL_ENDED);
	finish(self, cell, error);
}

/* A waiting task ends now, unless its last input is just becoming ready. */
static void end_waiting(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_ext *ext = cell->ext;
	struct wf_error *error = wf_task_error(cell, NULL, -ECANCELED, NULL);
	bool ours = early_claim(ext);

	/* release [C1]: unlocked before the end, whose last step waits for cancellers. */
	wf_store_release(&cell->cancel, WF_CANCEL_ASKED);
	if (ours)
		early_end(self, ext, error);
	else
		wf_error_release(error);
}

/* Cancel a task that has not begun, or leave the request for the body. */
static void cancel_unbegun(struct wf_local *self, struct wf_cell *cell)
{
	uint8_t old = WF_CANCEL_NO;

	/* acquire [C1]: one canceller. Asked, locked or ended before: somebody saw to it. */
	if (!wf_cas_acq_rel(&cell->cancel, &old, WF_CANCEL_LOCKED))
		return;
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	/* acquire [C1]: a start that this does not see will see LOCKED. */
	uint32_t state = wf_load_acquire(&cell->promise.state);
	bool done = wf_promise_is_done(&cell->promise);

	if (state == WF_STATE_WAITING && !done)
		end_waiting(self, cell);
	else if (state == WF_STATE_QUEUED && !done)
		end_queued(self, cell);
	else
		/* release [C1] */
		wf_store_release(&cell->cancel, WF_CANCEL_ASKED);
}

/* For a walker that holds no count: only what waits. Queued tasks find out when they start. */
void wf_cancel_waiting(struct wf_local *self, struct wf_cell *cell)
{
	uint8_t old = WF_CANCEL_NO;

	/* acquire [C1]: as in cancel_unbegun(). */
	if (!wf_cas_acq_rel(&cell->cancel, &old, WF_CANCEL_LOCKED))
		return;
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	/* acquire [C1]: the ext stays until we unlock; a submit that is being built has none yet. */
	if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING &&
	    !wf_promise_is_done(&cell->promise) && cell->ext && !(cell->ext->flags & WF_EXT_ALWAYS))
		end_waiting(self, cell);
	else
		/* release [C1] */
		wf_store_release(&cell->cancel, WF_CANCEL_NO);
}

int wf_cancel_cell(struct wf_local *self, struct wf_cell *cell)
{
	uint32_t kind = wf_flags(cell) & WF_CELL_KIND_MASK;
	uint8_t no = WF_CANCEL_NO;

	if (kind == WF_CELL_OUTPUT)
		cell = cell->main;
	else if (kind != WF_CELL_TASK)
		return -EINVAL;
	if (wf_promise_is_done(&cell->promise))
		return 0;
	/* acquire [C2]: a state only moves forward, but for the resting between retries. */
	uint32_t state = wf_load_acquire(&cell->promise.state);

	if (state == WF_STATE_WAITING || state == WF_STATE_QUEUED)
		cancel_unbegun(self, cell);
	else
		/* acq_rel [C3]: a full exchange, so that either the sleeper sees it or we see
		 * the sleeper. */
		wf_cas_acq_rel(&cell->cancel, &no, WF_CANCEL_ASKED);
	wf_cancel_blocked(self, cell);
	return 0;
}

/* ---- Running ------------------------------------------------------------------------------- */

/* The error that a returned code stands for; the frame's own text when it has one. */
static struct wf_error *body_error(struct weft_task *frame, int code)
{
	struct wf_error *error = frame->error;
	bool stopped = code == -ECANCELED || code == -EINTR;

	frame->error = NULL;
	if (error)
		return error;
	if (stopped && wf_task_stopping(frame))
		return wf_task_error(frame->cell, frame->fn, -ECANCELED, NULL);
	return wf_error_create(
		&(struct wf_error_args){ .status = WEFT_ETASK,
	                                 .code = code,
	                                 .attempt = frame->attempt,
	                                 .text = "",
	                                 .task = wf_task_name(frame->cell, frame->fn),
	                                 .site = wf_task_site(frame->cell->ext) });
}

/* Put the frame's output 0 in place, or drop it. */
static void take_result(struct wf_local *self, struct weft_task *frame, bool keep)
{
	struct wf_cell *cell = frame->cell;

	if (!frame->payload)
		return;
	if (keep) {
		cell->u.payload = frame->payload;
		wf_flags_add(cell, WF_CELL_BIG);
	} else {
		wf_payload_free(self, frame->payload);
	}
	frame->payload = NULL;
}

WF_NOINLINE static void run_failed(struct wf_local *self, struct weft_task *frame, int code)
{
	if (code >= 0) {
		/* weft_fail() and then success: the value counts. */
		wf_error_release(frame->error);
		take_result(self, frame, true);
		finish(self, frame->cell, NULL);
		return;
	}
	take_result(self, frame, false);
	finish(self, frame->cell, body_error(frame, code));
}

/* What keeps a task from running: NULL, or the error it ends with. */
static struct wf_error *obstacle(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_ext *ext = cell->ext;

	if (wf_task_stopping(&(struct weft_task){ .cell = cell, .rt = self->rt }))
		return wf_task_error(cell, cell->u.fn, -ECANCELED, NULL);
	if (!ext)
		return NULL;
	struct wf_more *more = wf_ext_more(ext);

	if (more && more->deadline && wf_clock_now(&self->rt->clock) >= more->deadline)
		return wf_task_error(cell, cell->u.fn, WEFT_EDEADLINE, NULL);
	if (ext->policy != WEFT_INPUT_FAIL_FAST)
		return NULL;
	uint32_t edges = wf_ext_edge_count(ext);

	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = &self->rt->cells[ext->edges[i].src];

		if (wf_flags(src) & WF_CELL_ERROR)
			return input_error(self, cell, src->u.error);
	}
	return NULL;
}

/* One attempt: the body's code, and the identity we came back with. */
static int attempt(struct wf_local **selfp, struct weft_task *frame, const void *pristine)
{
	struct wf_local *self = *selfp;
	struct wf_cell *cell = frame->cell;

	memcpy(frame->data, pristine, WF_INLINE_BYTES);
	cell->mark.size = 0;
	frame->attempt++;
	wf_store_relaxed(&cell->mark.attempt, (uint8_t)frame->attempt); /* relaxed: a snapshot. */
	frame->outer = self->current;
	self->current = frame;
	int code = frame->fn(frame);

	self = *selfp = wf_self();
	self->current = frame->outer;
	return code;
}

/*
 * The start against a canceller: the state is RUNNING already. Either the canceller sees that, or
 * we see it here. True: it has ended the task; our queue entry was a count.
 */
bool wf_ended_in_queue(struct wf_local *self, struct wf_cell *cell)
{
	if (!self->rt->asymmetric)
		wf_fence_seq_cst();
	/* acquire [C1] */
	uint8_t cancel = wf_load_acquire(&cell->cancel);

	while (cancel == WF_CANCEL_LOCKED) {
		wf_cpu_relax();
		cancel = wf_load_acquire(&cell->cancel);
	}
	if (cancel != WF_CANCEL_ENDED)
		return false;
	wf_cell_release(self, cell);
	return true;
}

/* The long way: options, inputs, cancel, retries, times. */
WF_NOINLINE static void run_slow(struct wf_local *self, struct wf_cell *cell)
{
	if (wf_ended_in_queue(self, cell))
		return;
	struct wf_error *error = obstacle(self, cell);
	struct wf_ext *ext = cell->ext;

	if (error) {
		finish(self, cell, error);
		return;
	}
	if (ext && ext->flags & WEFT_TASK_BLOCKING && self->worker) {
		/* release [C2]: it waits for a thread as it waited for a worker. */
		wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
		if (wf_spare_run(self, cell))
			return;
		/* No spare thread at all: it must run somewhere, so it holds this worker. */
		wf_store_release(&cell->promise.state, WF_STATE_RUNNING); /* release [C1] */
		wf_fence_compiler();
		if (wf_ended_in_queue(self, cell))
			return;
	}
	WF_ALIGNED(16) unsigned char pristine[WF_INLINE_BYTES];
	struct weft_task frame = { .cell = cell, .rt = self->rt, .fn = cell->u.fn };
	/* A helper is a host thread that will leave: nothing can stay on it. */
	bool stay = ext && ext->flags & WEFT_TASK_STAY && self->worker && self->fiber &&
		!wf_worker_of(self)->helper;
	struct wf_fiber *fiber = self->fiber;

	memcpy(pristine, cell->data, WF_INLINE_BYTES);
	frame.arg = ext && ext->flags & WF_EXT_ARG ? wf_ext_arg(ext) : frame.data;
	frame.arg_size = ext ? ext->arg_size : cell->mark.size;
	if (self->rt->timing && ext && wf_ext_more(ext))
		wf_ext_more(ext)->start_ns = wf_clock_now(&self->rt->clock);
	if (stay)
		wf_fiber_user(fiber)->stay++;
	for (;;) {
		/* relaxed: a snapshot for weft_ref_info(). */
		wf_store_relaxed(&cell->mark.worker, (uint16_t)(self->worker ? self->id + 1 : 0));
		int code = attempt(&self, &frame, pristine);

		if (code >= 0 && !frame.payload && !frame.error) {
			if (stay)
				wf_fiber_user(fiber)->stay--;
			finish(self, cell, NULL);
			return;
		}
		if (code >= 0 || !ext || !ext->retries_left || wf_task_stopping(&frame)) {
			if (stay)
				wf_fiber_user(fiber)->stay--;
			run_failed(self, &frame, code);
			return;
		}
		ext->retries_left--;
		take_result(self, &frame, false);
		wf_error_release(frame.error);
		frame.error = NULL;
	}
}

void wf_task_run_slow(struct wf_local *self, struct wf_cell *cell)
{
	run_slow(self, cell);
}

void wf_task_end(struct wf_local *self, struct weft_task *frame, int code)
{
	struct wf_cell *cell = frame->cell;

	if (WF_UNLIKELY(code < 0 || frame->payload || frame->error)) {
		run_failed(self, frame, code);
		return;
	}
	if (WF_UNLIKELY(cell->owner != self->id ||
	                wf_flags(cell) & (WF_CELL_SHARED | WF_CELL_FORGET))) {
		wf_cell_complete(self, cell);
		return;
	}
	uintptr_t list = wf_promise_complete_private(&cell->promise);

	if (WF_UNLIKELY(list))
		wf_cell_fire(self, cell, list);
	wf_bump(&self->completed);
}

void wf_task_run(struct wf_local *self, struct wf_cell *cell)
{
	struct weft_task frame;

	if (WF_UNLIKELY(!wf_task_begin(self, cell))) {
		run_slow(self, cell);
		return;
	}
	int code = wf_task_call(self, cell, &frame);

	wf_task_end(wf_self(), &frame, code);
}
