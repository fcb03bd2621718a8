/*
 * task.c: a task's run, its end, and its early end.
 *
 * A task that has no cold block takes the short way: copy the argument to the frame, call the
 * body, complete. Everything else (inputs, options, cancel, retries) goes through run_slow().
 *
 * A task ends exactly once: by the runner that took it off its queue, or, while it still waits
 * for inputs, by whoever sets WF_UNREADY_EARLY in ext->unready (a failed input, a cancel). The
 * cold block of a task that ended early lives until its last edge has fired. A call that waits for
 * its next attempt is such a task again, and the time of that one more edge.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"
#include "keyed.h"
#include "lineage.h"
#include "plain.h"

/* ---- The cold block ------------------------------------------------------------------------ */

void wf_ext_free(struct wf_local *self, struct wf_ext *ext, bool keep)
{
	struct wf_more *more = wf_ext_more(ext);
	uint32_t edges = ext->flags & WF_EXT_RELEASED ? 0 : wf_ext_edge_count(ext);
	struct wf_plus *plus = wf_ext_plus(ext);

	if (ext->call)
		wf_call_settle(self, ext);
	for (uint32_t i = 0; i < edges; i++)
		wf_cell_release(self, &self->rt->cells[ext->edges[i].src]);
	ext->flags |= WF_EXT_RELEASED;
	if (more && more->arg_drop) {
		weft *fast_rt = self->fast_rt;

		/* The program's code, but no body: what it submits is nobody's child. */
		self->fast_rt = WF_RT_NONE;
		more->arg_drop(wf_ext_arg(ext), ext->arg_size);
		self->fast_rt = fast_rt;
		more->arg_drop = NULL;
	}
	if (more && more->keyed) {
		wf_keyed_drop(self->rt, more->keyed);
		more->keyed = NULL;
	}
	if (more && more->lineage) {
		wf_lineage_put(self, more->lineage);
		more->lineage = NULL;
	}
	if (more && more->deadline.cell) {
		uint32_t cell = more->deadline.cell;
		bool ours = wf_timer_remove_task(self->rt, &more->deadline);

		more->deadline.cell = 0;
		if (ours)
			wf_cell_release(self, &self->rt->cells[cell]);
	}
	/* One that never asked for its resources has its class to let go. */
	if (ext->parts & WF_PART_REQUEST && wf_ext_request(ext)->state != WF_REQUEST_OVER)
		wf_admit_end(self, ext);
	if (plus)
		wf_plus_fini(plus);
	if (keep)
		return;
	if (ext->block)
		wf_block_free(self, ext, ext->block);
	else
		wf_big_free(self->rt, ext);
}

/* ---- Completion ---------------------------------------------------------------------------- */

void wf_cell_complete(struct wf_local *self, struct wf_cell *cell)
{
	bool counted = (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK;
	uintptr_t list;

	if (wf_flags(cell) & WF_CELL_FORGET) {
		wf_cell_destroy(self, cell);
	} else {
		if (wf_cell_owner(cell) == self->id && !(wf_flags(cell) & WF_CELL_SHARED))
			list = wf_promise_complete_private(&cell->promise);
		else
			list = wf_promise_complete_shared(&cell->promise);
		if (list)
			wf_cell_fire(self, cell, list);
	}
	if (counted)
		wf_bump(&self->completed);
}

/* What a body has left in further outputs from `first` on, and nobody will read. */
void wf_drop_outs(struct wf_local *self, struct wf_ext *ext, uint32_t first)
{
	for (uint32_t i = first ? first : 1; i < ext->n_outputs; i++) {
		struct wf_cell *out = &self->rt->cells[wf_ext_outs(ext)[i - 1]];

		if (wf_flags(out) & WF_CELL_BIG)
			wf_payload_free(self, out->u.payload);
		wf_flags_drop(out, WF_CELL_BIG);
		out->mark.size = 0;
	}
}

/* What the body of a task with WEFT_TASK_ABANDON has given is its outcome's, unless it was left. */
static void complete_outcome(struct wf_local *self, struct wf_cell *cell, struct wf_error *error)
{
	struct wf_cell *out = &self->rt->cells[wf_ext_outs(cell->ext_word)[0]];

	WF_DEBUG(cell->ext_word->n_outputs == 2 && out > self->rt->cells);
	if (wf_spare_outcome_end(self, cell, out)) {
		wf_log(self->rt, WEFT_LOG_INFO, "an abandoned body has returned");
		return;
	}
	WF_CHECK(!wf_promise_is_done(&out->promise) && out->main == cell);
	if (error) {
		out->u.error = error;
		wf_error_retain(error);
		wf_flags_add(out, WF_CELL_ERROR);
	} else if (wf_flags(cell) & WF_CELL_BIG) {
		/* Sealed already. */
		out->u.payload = cell->u.payload;
		wf_flags_add(out, WF_CELL_BIG);
		wf_flags_drop(cell, WF_CELL_BIG);
	} else {
		memcpy(out->data, cell->data, WF_INLINE_BYTES);
		out->mark.size = cell->mark.size;
	}
	cell->mark.size = 0;
	wf_cell_complete(self, out);
	wf_wait_for_canceller(self, out);
}

/* The first `good` outputs keep their values, the further ones fail with `error`. */
static void complete_outs(struct wf_local *self, struct wf_ext *ext, struct wf_error *error,
                          uint32_t good)
{
	if (error)
		wf_drop_outs(self, ext, good);
	for (uint32_t i = 1; i < ext->n_outputs; i++) {
		struct wf_cell *out = &self->rt->cells[wf_ext_outs(ext)[i - 1]];

		if (wf_flags(out) & WF_CELL_BIG)
			wf_payload_seal(self->rt, out->u.payload);
		if (error && i >= good) {
			wf_flags_add(out, WF_CELL_ERROR);
			out->u.error = error;
			wf_error_retain(error);
		}
		wf_cell_complete(self, out);
		/* It may be free or another's by now: then this waits for a moment in vain. */
		wf_wait_for_canceller(self, out);
	}
}

/* Further cells that hold the main one until both are done, see cancel_output(). */
static uint32_t holding_outs(const weft *rt, const struct wf_cell *cell)
{
	struct wf_ext *ext = wf_cell_ext(cell);

	WF_DEBUG(cell > rt->cells);
	if (!ext || ext->n_outputs < 2)
		return 0;
	/* Those that nobody has a ref of hold nothing. */
	const struct wf_cell *out = &rt->cells[wf_ext_outs(ext)[0]];

	return wf_flags(out) & WF_CELL_FORGET ? 0 : ext->n_outputs - 1u;
}

static void outs_let_go(struct wf_local *self, struct wf_cell *cell, uint32_t outs)
{
	for (uint32_t i = 0; i < outs; i++)
		wf_cell_release(self, cell);
}

static void count_end(struct wf_local *self, const struct wf_error *error)
{
	if (error)
		wf_bump(error->pub.status == -ECANCELED ? &self->count.cancelled
		                                        : &self->count.failed);
}

/*
 * The task's own cell, then the end of its stream: whoever finds the end finds the task ended. The
 * ext is gone; `error` is in the cell, which may be gone as soon as it is complete.
 */
static void complete_task(struct wf_local *self, struct wf_cell *cell, struct wf_stream *s,
                          struct wf_error *error)
{
	if (WF_LIKELY(!s)) {
		wf_cell_complete(self, cell);
		return;
	}
	if (error)
		wf_error_retain(error);
	wf_cell_complete(self, cell);
	wf_stream_end(self, s, error);
	wf_error_release(error);
}

/* The end of a task with a cold block or an error. `error` is consumed; NULL: the value stands. */
void wf_task_finish(struct wf_local *self, struct wf_cell *cell, struct wf_error *error)
{
	struct wf_ext *ext = wf_cell_ext(cell);
	uint32_t outs = holding_outs(self->rt, cell), good = 0;
	struct wf_stream *s = wf_ext_stream(ext);

	if (s)
		good = wf_stream_outputs(cell, &error);
	/* All outputs were given before the body failed: nobody will find that on a ref. */
	bool hidden = error && good && good == ext->n_outputs;
	uint32_t group = wf_cell_group(cell);
	int status = error ? error->pub.status : 0;

	count_end(self, error);
	if (ext) {
		/* Before the end of its request, which tells what is held. */
		if (ext->pinned)
			wf_inputs_unhold(self, ext);
		if (ext->parts & WF_PART_REQUEST)
			wf_admit_end(self, ext);
		bool keep = wf_ext_more(ext) && wf_ext_more(ext)->timed;

		if (WF_UNLIKELY(!error && wf_ext_more(ext) && wf_ext_more(ext)->lineage))
			wf_lineage_made(self, cell, ext);

		if (keep)
			wf_ext_more(ext)->end_ns = wf_clock_now(&self->rt->clock);
		if (WF_UNLIKELY(wf_ext_abandonable(ext)))
			complete_outcome(self, cell, error);
		else
			complete_outs(self, ext, error, good);
		wf_wait_for_canceller(self, cell);
		wf_ext_free(self, ext, keep);
		if (keep)
			wf_flags_add(cell, WF_CELL_TIMED);
	}
	if (error && good) {
		if (hidden)
			wf_error_overlooked(self->rt, error);
		wf_error_release(error);
		error = NULL;
	} else if (error) {
		cell->u.error = error;
		wf_flags_add(cell, WF_CELL_ERROR);
	}
	complete_task(self, cell, s, error);
	outs_let_go(self, cell, outs);
	/* Last: who has waited for the whole group finds everything done. */
	if (WF_UNLIKELY(group))
		wf_group_end(self, group, status);
}

/* ---- The early end ------------------------------------------------------------------------- */

/* The last input is there. */
static inline void all_ready(struct wf_local *self, struct wf_cell *cell, uint32_t priority)
{
	/* relaxed: a hint. */
	if (WF_UNLIKELY(wf_load_relaxed(&self->rt->inputs_mind)) && wf_inputs_mind(self, cell))
		return;
	if (cell->ext_word->parts & WF_PART_REQUEST) {
		wf_admit(self, cell);
		return;
	}
	if (cell->ext_word->call) {
		wf_call_ready(self, cell->ext_word);
		return;
	}
	/* release [C1]: a canceller that sees QUEUED frees the ext that was read before. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	/* From here on a canceller may end it: the ext is not ours to read any more. */
	wf_ready_soon(self, cell, priority);
}

/* The count of an ext that ended early was the last. */
WF_NOINLINE static void early_gone(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext)
{
	wf_wait_for_canceller(self, cell);
	wf_ext_free(self, ext, false);
}

/* One count of ext->unready goes; the last one readies the task or frees what ended early. */
static inline void unready_drop(struct wf_local *self, struct wf_ext *ext)
{
	/* Read before: unless it was the last count, somebody else may free the ext right after. */
	struct wf_cell *cell = &self->rt->cells[ext->cell];
	uint32_t priority = wf_ext_ready(ext);
	/* acq_rel [U1]: the results of all inputs, to whoever drops the last. */
	uint32_t old = wf_add_acq_rel(&ext->unready, (uint32_t)-1);

	WF_DEBUG((old & WF_UNREADY_COUNT) > 0);
	if ((old & WF_UNREADY_COUNT) != 1)
		return;
	if (WF_UNLIKELY(old & (WF_UNREADY_EARLY | WF_UNREADY_AHEAD))) {
		if (old & WF_UNREADY_AHEAD)
			wf_gpu_inputs_done(self, ext);
		else
			early_gone(self, cell, ext);
		return;
	}
	WF_DEBUG(!(old & WF_UNREADY_LINKING));
	all_ready(self, cell, priority);
}

void wf_unready_drop(struct wf_local *self, struct wf_ext *ext)
{
	unready_drop(self, ext);
}

/*
 * A task that ended early lets go of the inputs that are still pending, or an event that is only
 * held by its own dead dependents would never be freed. Done once: by the ender, or, when the task
 * ended while its submitter was still linking, by the submitter. The caller's own count keeps the
 * ext.
 */
static void unlink_edges(struct wf_local *self, struct wf_ext *ext)
{
	uint32_t edges = wf_ext_edge_count(ext);

	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = &self->rt->cells[ext->edges[i].src];

		if (!wf_promise_is_done(&src->promise) &&
		    wf_promise_remove(&src->promise, &ext->edges[i].waiter))
			unready_drop(self, ext);
	}
	/* Likewise of the time of its next attempt. */
	struct wf_plus *plus = wf_ext_plus(ext);

	if (WF_UNLIKELY(plus && plus->pause.ext) &&
	    wf_timer_remove_task(self->rt, &plus->pause.timer))
		unready_drop(self, ext);
}

/*
 * Its parent's canceller came while it was built, and did not end it. It is no matter that this
 * may be another's cell, when the task has ended: then the claim fails.
 */
WF_NOINLINE static void linked_asked(struct wf_local *self, struct wf_ext *ext,
                                     struct wf_cell *cell)
{
	uint32_t how = wf_cancel_asked(cell);

	WF_DEBUG(ext->cell == (uint32_t)(cell - self->rt->cells));
	if ((how == WF_CANCEL_ASKED || how == WF_CANCEL_LATE) && wf_early_claim(ext))
		wf_early_end(self, ext, wf_task_error(cell, NULL, wf_stop_status(cell), NULL));
}

static inline void ext_linked(struct wf_local *self, struct wf_ext *ext, bool may_be_ahead)
{
	/* Read before, as in unready_drop(). */
	struct wf_cell *cell = &self->rt->cells[ext->cell];

	/* [C4]: WAITING, then the look; who asks what is being built has a membarrier. */
	if (!self->rt->asymmetric)
		wf_fence_seq_cst();
	/* acquire [C1] */
	if (WF_UNLIKELY(wf_load_acquire(&cell->cancel) != WF_CANCEL_NO))
		linked_asked(self, ext, cell);
	uint32_t priority = wf_ext_ready(ext);
	/* relaxed: a guess for the exchange, which decides who unlinks. */
	uint32_t old = wf_load_relaxed(&ext->unready);

	do {
		if (WF_UNLIKELY(old & WF_UNREADY_EARLY)) {
			unlink_edges(self, ext);
			unready_drop(self, ext);
			return;
		}
		/* acq_rel [U1]: the links, to an ender; the results, when all inputs are done. */
	} while (!wf_cas_acq_rel(&ext->unready, &old, old - WF_UNREADY_LINKING - 1));
	if ((old & WF_UNREADY_COUNT) != 1)
		return;
	if (may_be_ahead && old & WF_UNREADY_AHEAD)
		wf_gpu_inputs_done(self, ext);
	else
		all_ready(self, cell, priority);
}

void wf_ext_linked(struct wf_local *self, struct wf_ext *ext)
{
	ext_linked(self, ext, false);
}

void wf_ext_linked_gpu(struct wf_local *self, struct wf_ext *ext)
{
	wf_gpu_linked(self, ext);
	ext_linked(self, ext, true);
}

/* The claim's count keeps the ext until early_finish() is over. */
bool wf_early_claim(struct wf_ext *ext)
{
	/* relaxed: a guess for the exchange. */
	uint32_t old = wf_load_relaxed(&ext->unready);

	do {
		if (old & (WF_UNREADY_EARLY | WF_UNREADY_AHEAD) || !old)
			return false;
		/* acq_rel [U1]: one ender. */
	} while (!wf_cas_acq_rel(&ext->unready, &old, (old | WF_UNREADY_EARLY) + 1));
	return true;
}

static void early_finish(struct wf_local *self, struct wf_ext *ext, struct wf_error *error)
{
	struct wf_cell *cell = &self->rt->cells[ext->cell];
	uint32_t outs = holding_outs(self->rt, cell), group = wf_cell_group(cell);
	int status = error->pub.status;

	count_end(self, error);
	wf_bump(&self->count.early);
	if (ext->call)
		wf_call_gone(self, ext, error);
	/* relaxed: only tells a canceller that the ext is about to go, see [C1]. */
	wf_store_relaxed(&cell->promise.state, WF_STATE_RUNNING);
	/* Who has locked it without a count looks at the cell as well. */
	wf_wait_for_canceller(self, cell);
	complete_outs(self, ext, error, 0);
	cell->u.error = error;
	wf_flags_add(cell, WF_CELL_ERROR);
	complete_task(self, cell, wf_ext_stream(ext), error);
	outs_let_go(self, cell, outs);
	/* relaxed: fixed since the claim [U1], which has brought the links. */
	if (!(wf_load_relaxed(&ext->unready) & WF_UNREADY_LINKING))
		unlink_edges(self, ext);
	unready_drop(self, ext);
	if (WF_UNLIKELY(group))
		wf_group_end(self, group, status);
}

/*
 * End a claimed task, its dependents, theirs, and so on: a failure may run down a chain of any
 * length, so what is claimed meanwhile waits in a list instead of on the stack.
 */
void wf_early_end(struct wf_local *self, struct wf_ext *ext, struct wf_error *error)
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
		early_finish(self, wf_cell_ext(cell), cell->u.error);
	}
	self->early_busy = false;
}

/* What a failed input does to its dependent; when all is cancelled, that is the reason. */
struct wf_error *wf_input_error(struct wf_local *self, struct wf_cell *cell, struct wf_error *cause)
{
	if (wf_cancelling_all(self->rt))
		return wf_task_error(cell, NULL, -ECANCELED, NULL);
	return wf_task_error(cell, NULL, WEFT_EDEP, cause);
}

/* A failed input ends its dependent, unless that wants to know. */
WF_NOINLINE static void edge_failed(struct wf_ext *ext, struct wf_cell *src, struct wf_local *self)
{
	wf_error_see(src->u.error);
	/* Claimed first: until then another failed input may end the task and free its cell. */
	if (ext->policy == WEFT_INPUT_FAIL_FAST && wf_early_claim(ext))
		wf_early_end(self, ext,
		             wf_input_error(self, &self->rt->cells[ext->cell], src->u.error));
}

void wf_edge_fire(struct wf_waiter *node, struct wf_cell *src, struct wf_local *self)
{
	struct wf_edge *edge = wf_container_of(node, struct wf_edge, waiter);
	struct wf_ext *ext = wf_ext_of_edge(edge);

	if (WF_UNLIKELY(wf_flags(src) & WF_CELL_ERROR))
		edge_failed(ext, src, self);
	unready_drop(self, ext);
}

/* ---- The end by a canceller, see cancel.c ------------------------------------------------- */

/*
 * The entry in some queue becomes a count of the cell, which whoever pops it drops; or, when the
 * canceller has no count and could not make one, a party of those that see to its end. Completed in
 * the shared way, because that pop stores to `state`.
 */
struct wf_error *wf_task_claim_queued(struct wf_local *self, struct wf_cell *cell, uint8_t how,
                                      bool counted)
{
	int status = how == WF_CANCEL_LATE ? WEFT_EDEADLINE : -ECANCELED;
	struct wf_error *error = wf_task_error(cell, cell->u.fn, status, NULL);
	struct wf_ext *ext = wf_cell_ext(cell);
	uint8_t ended = WF_CANCEL_ENDED;

	WF_DEBUG(error && wf_load_relaxed(&cell->cancel) == WF_CANCEL_LOCKED); /* relaxed: ours. */
	WF_DEBUG((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK);
	/* While the runner waits for us: what it finds ended holds nothing of its actor. */
	if (ext && ext->call)
		wf_call_settle(self, ext);
	if (ext && ext->parts & WF_PART_REQUEST && wf_admit_withdraw(self, ext)) {
		/* It waited for resources: there is no entry. */
		wf_bump(&self->count.early);
	} else {
		if (counted) {
			wf_promise_retain(&cell->promise);
		} else {
			wf_cell_part(cell);
			ended = WF_CANCEL_LEFT;
		}
		/* The entry lies in the group's lane, or is about to: it keeps the slot, too. */
		if (wf_cell_group(cell))
			wf_group_hold_queued(self->rt, wf_cell_group(cell));
	}
	wf_flags_add(cell, WF_CELL_SHARED);
	/* release [C1] */
	wf_store_release(&cell->cancel, ended);
	return error;
}

/* A waiting task ends now, unless its last input is just becoming ready. */
bool wf_task_end_waiting(struct wf_local *self, struct wf_cell *cell, uint8_t how)
{
	int status = how == WF_CANCEL_LATE ? WEFT_EDEADLINE : -ECANCELED;
	struct wf_ext *ext = wf_cell_ext(cell);
	struct wf_error *error = wf_task_error(cell, NULL, status, NULL);
	bool ours = wf_early_claim(ext);
	/* relaxed: what has come to nothing stays so while the ext waits. */
	bool moves = !ours && !wf_load_relaxed(&ext->unready);

	/* release [C1]: unlocked before the end, whose last step waits for cancellers. */
	wf_store_release(&cell->cancel, how);
	if (ours)
		wf_early_end(self, ext, error);
	else
		wf_error_release(error);
	return moves;
}

/* ---- Running ------------------------------------------------------------------------------- */

/* The error that a returned code stands for; the frame's own text when it has one. */
struct wf_error *wf_body_error(struct weft_task *frame, int code)
{
	struct wf_error *error = wf_frame_take_error(frame);
	bool stopped = code == -ECANCELED || code == -EINTR;

	/* What the store has noted counts when it is why the body gives up. */
	if (error && error->pub.status == WEFT_ESTOREFULL && code != WEFT_ESTOREFULL) {
		wf_error_release(error);
		error = NULL;
	}
	if (error)
		return error;
	if (stopped && wf_task_stopping(frame))
		return wf_task_error(frame->cell, frame->fn, wf_stop_status(frame->cell), NULL);
	return wf_error_create(
		&(struct wf_error_args){ .status = WEFT_ETASK,
	                                 .code = code,
	                                 .attempt = weft_task_attempt(frame),
	                                 .text = "",
	                                 .task = wf_task_name(frame->cell, frame->fn),
	                                 .site = wf_task_site(wf_cell_ext(frame->cell)) });
}

/* Put the frame's output 0 in place, or drop it. */
void wf_take_result(struct wf_local *self, struct weft_task *frame, bool keep)
{
	struct wf_cell *cell = frame->cell;

	if (!frame->payload)
		return;
	if (keep) {
		wf_payload_seal(self->rt, frame->payload);
		cell->u.payload = frame->payload;
		wf_flags_add(cell, WF_CELL_BIG);
	} else {
		wf_payload_free(self, frame->payload);
	}
	frame->payload = NULL;
}

WF_NOINLINE WF_SUSPENDS void wf_run_failed(struct wf_local *self, struct weft_task *frame, int code)
{
	if (code == WEFT_AGAIN) {
		code = wf_body_again(frame);
		self = wf_self();
	}
	if (code >= 0) {
		/* weft_fail() and then success: the value counts. */
		wf_frame_clear(frame);
		wf_take_result(self, frame, true);
		wf_task_finish(self, frame->cell, NULL);
		return;
	}
	/* What a generator with a number of outputs has given before it failed stays. */
	struct wf_stream *s = wf_ext_stream(wf_cell_ext(frame->cell));
	struct wf_error *error = wf_body_error(frame, code);

	wf_frame_clear(frame);
	wf_take_result(self, frame, s && s->mode == WF_STREAM_FIXED && s->index);
	wf_task_finish(self, frame->cell, error);
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
	if (cancel != WF_CANCEL_ENDED && cancel != WF_CANCEL_LEFT)
		return false;
	uint32_t group = wf_cell_group(cell);

	if (cancel == WF_CANCEL_LEFT)
		wf_cell_destroy_slow(self, cell);
	else
		wf_cell_release(self, cell);
	if (WF_UNLIKELY(group))
		wf_group_drop(self->rt, wf_group_at(self->rt, group));
	return true;
}

void wf_task_end(struct wf_local *self, struct weft_task *frame, int code)
{
	struct wf_cell *cell = frame->cell;

	if (WF_UNLIKELY(code < 0 || frame->payload || frame->error)) {
		wf_run_failed(self, frame, code);
		return;
	}
	if (WF_UNLIKELY(wf_cell_owner(cell) != self->id ||
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

	if (!wf_task_begin(self, cell)) {
		wf_task_run_slow(self, cell);
		return;
	}
	int code;

	wf_task_frame(self, cell, &frame);
	self = wf_task_call(self, &frame, &code);
	wf_task_end(self, &frame, code);
}
