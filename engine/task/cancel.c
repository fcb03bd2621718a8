/*
 * cancel.c: asking a task to stop.
 *
 * Cancel against completion: a canceller swaps WF_CANCEL_LOCKED into cell->cancel, makes that
 * visible to the runner's side by a membarrier [C1], and only then looks at state and ext. Whoever
 * frees the ext has changed the state before and spins while it reads LOCKED. So the ext that a
 * canceller sees in state WAITING stays until the canceller has unlocked.
 *
 * Cancel against the way to a queue: a task that stops waiting, or that is submitted with a
 * deadline or in a group, becomes QUEUED a little after a canceller may have looked. The canceller
 * says ASKED (or LATE, or the group's flag) and then looks at the state again; whoever lets a task
 * wait for resources, or puts one with a deadline in a queue, says QUEUED and then looks whether it
 * is asked. Each has a full fence between [C4]. When the last input comes nobody looks, because
 * that is done for every task: there the canceller waits until the task is QUEUED, which is a few
 * instructions and perhaps a lock away; the caller's code is not called in between.
 *
 * A call of an actor goes back from RUNNING to QUEUED, or to WAITING, between two attempts. The
 * same holds for it: it says so and then looks whether it is asked.
 *
 * LOCKED is a moment, also by walkers that hold no count and may have met another task than they
 * meant: cancellers wait for it, and nobody takes it for a request.
 */
#include <errno.h>
#include <sched.h>

#include "admit_state.h"
#include "gpu.h"
#include "plain.h"

#define RELAX 100u /* looks before the processor is given away */

/*
 * False: somebody saw to it. A walker that has it locked may be after the one that was in this cell
 * before, and puts back what it found: it is waited for.
 */
static bool change_cancel(struct wf_cell *cell, uint8_t old, uint8_t new)
{
	uint8_t seen = old;

	WF_DEBUG(old != WF_CANCEL_LOCKED && old != new);
	/* acq_rel [C1]: one canceller; [C3]: a full exchange. */
	while (!wf_cas_acq_rel(&cell->cancel, &seen, new)) {
		if (seen != WF_CANCEL_LOCKED)
			return false;
		wf_cpu_relax();
		seen = old;
	}
	return true;
}

/* Its last input has come: until it is in a queue, or asks for its resources. */
static void await_queued(const struct wf_cell *cell)
{
	/* acquire [C2] */
	for (uint32_t i = 0; wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING &&
	     !wf_promise_is_done(&cell->promise);
	     i++) {
		if (i < RELAX)
			wf_cpu_relax();
		else
			sched_yield();
	}
}

/*
 * Cancel a task that has not begun, or leave the request for the body; `how`: ASKED or LATE, `old`:
 * what it was found with.
 */
static void cancel_unbegun(struct wf_local *self, struct wf_cell *cell, uint8_t how, uint8_t old)
{
	if (!change_cancel(cell, old, WF_CANCEL_LOCKED))
		return;
	/* [C1]: between the lock and the look. */
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	/* acquire [C1]: a start that this does not see will see LOCKED. */
	uint32_t state = wf_load_acquire(&cell->promise.state);
	bool done = wf_promise_is_done(&cell->promise);

	if (state == WF_STATE_WAITING && !done) {
		if (wf_task_end_waiting(self, cell, how))
			await_queued(cell);
	} else if (state == WF_STATE_QUEUED && !done &&
	           !(wf_cell_ext(cell) && wf_ext_is_ahead(wf_cell_ext(cell)))) {
		wf_task_finish(self, cell, wf_task_claim_queued(self, cell, how, true));
	} else {
		struct wf_grants grants;

		grants.n = 0;
		/* One that began ahead of its inputs has edges: its runner ends it. */
		if (state == WF_STATE_QUEUED && !done)
			wf_admit_hurry(self->rt, wf_cell_ext(cell), &grants);
		/* release [C1] */
		wf_store_release(&cell->cancel, how);
		wf_grants_send(self, &grants);
	}
}

/* It was asked with `how` before; now it may be in a queue, or wait for its next attempt. */
static void cancel_queued(struct wf_local *self, struct wf_cell *cell, uint8_t how)
{
	/* acquire [C2] */
	uint32_t state = wf_load_acquire(&cell->promise.state);

	if ((state == WF_STATE_QUEUED || state == WF_STATE_WAITING) &&
	    !wf_promise_is_done(&cell->promise))
		cancel_unbegun(self, cell, how, how);
}

void wf_cancel_missed(struct wf_local *self, struct wf_cell *cell)
{
	/* [C4]: it is queued; now whether somebody has asked before. */
	wf_fence_seq_cst();
	uint32_t how = wf_cancel_asked(cell);

	WF_DEBUG(how != WF_CANCEL_LOCKED);
	WF_DEBUG((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK);
	if (how == WF_CANCEL_ASKED || how == WF_CANCEL_LATE)
		cancel_queued(self, cell, (uint8_t)how);
	wf_cell_release(self, cell);
}

/* One that was locked: the error that it is to be finished with, or NULL, it is as before. */
static struct wf_error *claim_locked(struct wf_local *self, const struct wf_locked *locked,
                                     struct wf_grants *grants)
{
	struct wf_cell *cell = locked->cell;
	struct wf_ext *ext = wf_cell_ext(cell);
	union wf_life now = { .all = wf_load_acquire(&cell->life) }; /* acquire [Y1] */
	/* Asked already, and found by nobody since. */
	uint8_t how = locked->was == WF_CANCEL_NO ? WF_CANCEL_ASKED : locked->was;

	if (!wf_same_gen(now.gen, locked->gen) || now.cancel != WF_CANCEL_LOCKED)
		return NULL;
	/* acquire [C1]: one that is queued now stays, with its ext, until it is unlocked. */
	if (wf_load_acquire(&cell->promise.state) != WF_STATE_QUEUED ||
	    wf_promise_is_done(&cell->promise) || !ext || ext->call ||
	    (locked->grouped && !wf_group_cancelled(self->rt, cell))) {
		/* release [C1] */
		wf_store_release(&cell->cancel, locked->was);
		return NULL;
	}
	if (!wf_ext_is_ahead(ext))
		return wf_task_claim_queued(self, cell, how, false);
	wf_admit_hurry(self->rt, ext, grants);
	/* release [C1] */
	wf_store_release(&cell->cancel, how);
	return NULL;
}

uint32_t wf_cancel_locked(struct wf_local *self, const struct wf_locked *locked, uint32_t n)
{
	struct wf_error *error[WF_CANCEL_BATCH];
	struct wf_grants grants;
	uint32_t ended = 0;

	_Static_assert(WF_CANCEL_BATCH <= WF_BATCH_MAX, "all may be grants");
	WF_CHECK(n <= WF_CANCEL_BATCH);
	grants.n = 0;
	if (!n)
		return 0;
	/* [C1]: once for all. */
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	for (uint32_t i = 0; i < n; i++)
		error[i] = claim_locked(self, &locked[i], &grants);
	/* None is locked any more: an end may call the program, which may cancel another. */
	for (uint32_t i = 0; i < n; i++) {
		if (!error[i])
			continue;
		/* relaxed: ours. Without an entry the cell may go with its end. */
		bool left = wf_load_relaxed(&locked[i].cell->cancel) == WF_CANCEL_LEFT;

		wf_task_finish(self, locked[i].cell, error[i]);
		if (left)
			wf_cell_destroy_slow(self, locked[i].cell);
		ended++;
	}
	wf_grants_send(self, &grants);
	return ended;
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
	/*
	 * acquire [C1]: the ext stays until we unlock; a submit that is being built has none yet.
	 * The kind again, because the cell may have become another's since the walker looked.
	 */
	if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING &&
	    (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK &&
	    !wf_promise_is_done(&cell->promise) && wf_cell_ext(cell) &&
	    !(wf_cell_ext(cell)->flags & WF_EXT_ALWAYS))
		wf_task_end_waiting(self, cell, WF_CANCEL_ASKED);
	else
		/* release [C1] */
		wf_store_release(&cell->cancel, WF_CANCEL_NO);
}

static void cancel_task(struct wf_local *self, struct wf_cell *cell, uint8_t how, bool children)
{
	WF_DEBUG(how == WF_CANCEL_ASKED || how == WF_CANCEL_LATE);
	WF_DEBUG((wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_TASK);
	if (wf_promise_is_done(&cell->promise))
		return;
	/* acquire [C2]: a state only moves forward, but for a call's between two attempts. */
	uint32_t state = wf_load_acquire(&cell->promise.state);

	if (state == WF_STATE_WAITING || state == WF_STATE_QUEUED) {
		/* A call between two attempts: ended, it is nobody's parent. relaxed: by [C2]. */
		if (children && wf_load_relaxed(&cell->mark.attempt))
			wf_cancel_children(self, cell);
		cancel_unbegun(self, cell, how, WF_CANCEL_NO);
	} else {
		/* [C3]: either the sleeper sees it, or we see the sleeper. */
		change_cancel(cell, WF_CANCEL_NO, how);
	}
	/* The children first, so that a body that is woken finds them asked. acquire [C2] */
	if (children && wf_load_acquire(&cell->promise.state) >= WF_STATE_RUNNING &&
	    !wf_promise_is_done(&cell->promise))
		wf_cancel_children(self, cell);
	/* relaxed: the caller's count keeps it. */
	uint32_t gen = wf_load_relaxed(&cell->gen);

	wf_cancel_blocked(self, cell, gen);
	wf_spare_interrupt(self, cell, gen);
	/* [C4]: one that was just on its way to a queue sees that it is asked, or is found. */
	wf_fence_seq_cst();
	cancel_queued(self, cell, how);
}

void wf_cancel_late(struct wf_local *self, struct wf_cell *cell)
{
	/* acq_rel [E1]: before anything is freed, see wf_deadlock_search(). */
	wf_add_acq_rel(&self->rt->external, 1);
	cancel_task(self, cell, WF_CANCEL_LATE, true);
}

/* The outcome of a body that may be abandoned ends now, the body goes on. With counts of both. */
static int abandon(struct wf_local *self, struct wf_cell *out)
{
	char name[64];
	int32_t thread;
	int rc = wf_spare_abandon(self, out, name, sizeof(name), &thread);

	if (rc)
		return wf_promise_is_done(&out->promise) ? 0 : rc;
	WF_CHECK(!wf_promise_is_done(&out->promise) && !(wf_flags(out) & WF_CELL_ERROR));
	out->u.error = wf_error_create(&(struct wf_error_args){
		.status = -ECANCELED, .code = -ECANCELED, .text = "abandoned", .task = name });
	wf_flags_add(out, WF_CELL_ERROR);
	wf_cell_complete(self, out);
	/* As complete_outs(): who has found it pending takes a count of the task. */
	wf_wait_for_canceller(self, out);
	wf_log(self->rt, WEFT_LOG_WARN, "abandoned: task %s keeps thread %d until it returns", name,
	       (int)thread);
	return 0;
}

/*
 * Through a further output, which holds the task only while it is pending: whoever completes it
 * waits for LOCKED to go before it drops that count, so a count taken under LOCKED is safe.
 */
static int cancel_output(struct wf_local *self, struct wf_cell *out, uint32_t flags)
{
	struct wf_cell *cell = NULL;
	uint8_t old = WF_CANCEL_NO;
	int rc = 0;

	WF_DEBUG((wf_flags(out) & WF_CELL_KIND_MASK) == WF_CELL_OUTPUT);

	/* acquire [C1]: one at a time, for a moment. */
	while (!wf_cas_acq_rel(&out->cancel, &old, WF_CANCEL_LOCKED)) {
		old = WF_CANCEL_NO;
		wf_cpu_relax();
	}
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	if (!wf_promise_is_done(&out->promise)) {
		cell = out->main;
		wf_promise_retain(&cell->promise);
	}
	/* release [C1] */
	wf_store_release(&out->cancel, WF_CANCEL_NO);
	if (!cell)
		return 0;
	cancel_task(self, cell, WF_CANCEL_ASKED, !(flags & WEFT_CANCEL_ALONE));
	if (flags & WEFT_CANCEL_ABANDON)
		rc = abandon(self, out);
	wf_cell_release(self, cell);
	return rc;
}

int wf_cancel_cell(struct wf_local *self, struct wf_cell *cell, uint32_t flags)
{
	bool children = !(flags & WEFT_CANCEL_ALONE);

	switch (wf_flags(cell) & WF_CELL_KIND_MASK) {
	case WF_CELL_TASK:
		cancel_task(self, cell, WF_CANCEL_ASKED, children);
		break;
	case WF_CELL_OUTPUT:
		return cancel_output(self, cell, flags);
	case WF_CELL_STREAM:
		cancel_task(self, cell->u.stream->task, WF_CANCEL_ASKED, children);
		break;
	default:
		return -EINVAL;
	}
	return flags & WEFT_CANCEL_ABANDON && !wf_promise_is_done(&cell->promise) ? -EBUSY : 0;
}
