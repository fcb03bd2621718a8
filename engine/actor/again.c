/*
 * again.c: a call whose body has failed, and is to be tried again, leaves its actor.
 *
 * Without a back-off it joins the end of its queue, as after a crash. With one it waits as a call
 * whose inputs are not there: in the loose list, so that kills and stops know of it, in state
 * WAITING, so that cancellers find it, with one count of ext->unready for its timer. It has edges
 * that have fired, and one more count, the runner's, until all of that is in place.
 *
 * So it ends once: by its timer, which queues it (wf_call_ready), or by whoever claims the end
 * (wf_early_claim), who takes the timer back with what else the call would have waited for.
 */
#include "actor.h"
#include "attempt.h"

/* In state RUNNING: it waits for its timer and for us. False: its actor keeps nothing any more. */
static bool wait_loose(struct wf_actor *a, struct wf_cell *cell, struct wf_ext *ext)
{
	struct wf_call_info *info = wf_call_info(ext);
	uint32_t word = wf_box_lock(&a->box);
	bool kept = !(word & WF_BOX_CLOSED);

	WF_DEBUG(!(info->row & ~WF_ROW_AGAIN));
	WF_DEBUG(wf_load_relaxed(&cell->promise.state) == WF_STATE_RUNNING); /* relaxed: ours. */
	if (kept) {
		/* relaxed, both: published by the state, and by the lock. */
		WF_DEBUG(!wf_load_relaxed(&ext->unready));
		wf_store_relaxed(&ext->unready, 2 | WF_UNREADY_LINKING);
		info->row = 0;
		WF_CHECK(!wf_loose_join(a, ext));
		if (!info->held)
			wf_actor_hold(a);
		info->held = 1;
		/* release [C1]: its ext, to a canceller. */
		wf_store_release(&cell->promise.state, WF_STATE_WAITING);
	}
	wf_box_unlock(&a->box, word);
	return kept;
}

/* Whether it can; then there is room for its timer. */
static bool may_wait(struct wf_local *self, struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);
	bool cold = wf_actor_cold(a) != NULL;

	WF_DEBUG(word & WF_BOX_USED && !(word & WF_BOX_DEAD));
	WF_DEBUG(wf_actor_active(a) > 0);

	wf_box_unlock(&a->box, word);
	return cold && !wf_timer_reserve(self->rt);
}

/*
 * Once it waits others may end it, or, when its time has come, queue and run it; our count of
 * `unready` keeps the block until wf_ext_linked(). The cell may be another's by then: what it says
 * counts only for who has claimed the end.
 */
static void wait_outside(struct wf_local *self, struct wf_actor *a, struct wf_cell *cell,
                         int64_t until)
{
	struct wf_ext *ext = wf_cell_ext(cell);
	struct wf_plus *plus = wf_ext_plus(ext);

	WF_DEBUG(plus && plus->last_error && !plus->pause.timer.heap_index);
	WF_DEBUG(until > 0 && !ext->pinned);
	plus->pause = (struct wf_pause){ .timer.until = until, .ext = ext };
	if (!wait_loose(a, cell, ext)) {
		/* As what waited when the actor was closed. */
		wf_timer_unreserve(self->rt);
		wf_task_finish(self, cell, wf_call_lost(self, cell));
		return;
	}
	wf_timer_add_task(self->rt, &plus->pause.timer, WF_TIMER_PAUSE);
	/* [C4]: who asked it before is seen in wf_ext_linked(), who does so later finds it. */
	wf_fence_seq_cst();
	if (wf_cancelling_all(self->rt) && wf_early_claim(ext))
		wf_early_end(self, ext, wf_task_error(cell, cell->u.fn, -ECANCELED, NULL));
	wf_ext_linked(self, ext);
}

bool wf_call_leave(struct wf_local *self, struct wf_cell *cell, int64_t ns)
{
	struct wf_ext *ext = wf_cell_ext(cell);
	const struct wf_call_info *info = wf_call_info(ext);
	struct wf_actor *a = wf_actor_at(self->rt, info->actor);

	WF_CHECK(ext->call == WF_CALL_WAITS && ns >= 0);
	if (info->kind != WF_CALL_METHOD || (ns && !may_wait(self, a)))
		return false;
	/* On this stack, whose share they are; the next attempt may be on another. */
	if (ext->pinned)
		wf_inputs_unhold(self, ext);
	if (ns)
		wait_outside(self, a, cell, wf_clock_now(&self->rt->clock) + ns);
	else
		wf_call_again(self, cell);
	return true;
}
