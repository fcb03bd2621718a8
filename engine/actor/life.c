/*
 * life.c: create, restart and the ends of an actor.
 *
 * Whoever ends an actor is the only one inside: the last turn, or, when there is none, whoever
 * asked for the end and counted itself as a turn under the lock.
 *
 * A kill does at once what can be done from outside: the word says so, what is queued and what
 * waits ends, blocked bodies are woken. The rest is the last turn's.
 */
#include <errno.h>
#include <string.h>

#include "actor.h"

/* ---- Why ----------------------------------------------------------------------------------- */

static const char *name_of(const struct wf_actor *a)
{
	return a->class_->name ? a->class_->name : "actor";
}

struct wf_error *wf_death_make(struct wf_actor *a, const char *text, struct wf_error *cause)
{
	return wf_error_create(&(struct wf_error_args){ .status = WEFT_EACTOR,
	                                                .code = WEFT_EACTOR,
	                                                .text = text,
	                                                .task = name_of(a),
	                                                .cause = cause });
}

struct wf_error *wf_actor_error(struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);
	struct wf_error *error = a->death;

	if (error)
		wf_error_retain(error);
	wf_box_unlock(&a->box, word);
	return error ? error : wf_error_static(WEFT_EACTOR);
}

/* Under the lock: `death`, consumed, if there is none yet. What is left over. */
static struct wf_error *death_set(struct wf_actor *a, struct wf_error *death)
{
	if (a->death)
		return death;
	a->death = death;
	return NULL;
}

void wf_actor_fail(struct wf_actor *a, struct wf_error *cause)
{
	struct wf_error *death = wf_death_make(a, "its init failed", cause);
	uint32_t word = wf_box_lock(&a->box);

	death = death_set(a, death);
	wf_box_unlock(&a->box, word | WF_BOX_KILL);
	wf_error_release(death);
}

/* ---- The end ------------------------------------------------------------------------------- */

/* What is queued, as one chain. Under the lock. */
static struct wf_mail *take_queues(struct wf_actor *a)
{
	struct wf_mail *chain = NULL;

	for (uint32_t i = a->cold ? a->cold->n_groups : 0;; i--) {
		struct wf_call_group *group = wf_call_group_at(a, i);

		if (group->head) {
			group->tail->next = chain;
			chain = group->head;
		}
		group->head = group->tail = NULL;
		group->queued = 0;
		/* Scheduled turns will find nothing, and leave. */
		group->tokens = group->tokens < group->active ? group->tokens : group->active;
		if (!i)
			return chain;
	}
}

static WF_SUSPENDS void run_fini(struct wf_local *self, struct wf_actor *a)
{
	/* With a fini the cold part is there from the start. */
	struct wf_cell *cell = a->class_->fini ? a->cold->last : NULL;

	if (!cell)
		return;
	WF_CHECK(a->cold->last == cell && !self->current);
	WF_CHECK(wf_call_info(wf_cell_ext(cell))->kind == WF_CALL_FINI);
	a->cold->last = NULL;
	if (a->grouped)
		wf_group_take_in(self->rt, a->cold->group, cell);
	wf_bump(&self->submitted);
	/* release [C1]: as wf_task_begin(). */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING);
	wf_task_run_slow(self, cell);
}

uint32_t wf_poke_over(struct wf_local *self, uint32_t word)
{
	if (WF_UNLIKELY(word & WF_BOX_POKED))
		/* release [Q1]: whoever does not count it any more counts what it did. */
		wf_add_release(&wf_actors_of(self->rt)->poked, (uint32_t)-1);
	return word & ~WF_BOX_POKED;
}

/* Under the lock: a turn is about to be scheduled that no call has made. */
static uint32_t poke_begin(struct wf_local *self, uint32_t word)
{
	if (!(word & WF_BOX_POKED))
		/* relaxed: the caller is counted as running until later. */
		wf_add_relaxed(&wf_actors_of(self->rt)->poked, 1);
	return word | WF_BOX_POKED;
}

uint32_t wf_actors_poked(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);

	/* acquire [Q1] */
	return t ? wf_load_acquire(&t->poked) : 0;
}

/* Nothing is accepted any more, what was ends; the state is still there. */
static void end_calls(struct wf_local *self, struct wf_actor *a)
{
	struct wf_error *death = wf_death_make(a, "it has ended", NULL);
	uint32_t word = wf_box_lock(&a->box);

	WF_CHECK(!(word & WF_BOX_DEAD));
	WF_CHECK(wf_actor_active(a) == 1);
	death = death_set(a, death);
	word = (word & ~(WF_BOX_OPEN | WF_BOX_CRASH)) | WF_BOX_EXIT;
	struct wf_mail *chain = take_queues(a);
	struct wf_ext *claimed = wf_rows_claim(self, a);

	wf_box_unlock(&a->box, word);
	wf_error_release(death);
	wf_name_remove(self->rt, a);
	wf_call_refuse_all(self, chain, a->death);
	wf_rows_end(self, claimed, a->death);
}

/* What it holds, or asks for, of a dead actor. */
static void give_back(struct wf_local *self, struct wf_kept *kept, weft_ref grant)
{
	if (grant.bits) {
		/* One that runs right now finds the actor dead. */
		weft_cancel(self->rt, grant);
		weft_release(self->rt, grant);
	}
	/* Also when the creator has not noted yet who asked for it. */
	wf_admit_let_go(self, kept);
}

static void end_one(struct wf_local *self, struct wf_actor *a)
{
	struct wf_cell *died = NULL, *last = NULL, *told;
	struct wf_kept kept = { 0 };
	weft_ref grant = { 0 };

	WF_CHECK(a->class_ != NULL);
	end_calls(self, a);
	if (a->class_->drop && a->state && !(wf_box_word(&a->box) & WF_BOX_STILL))
		a->class_->drop(a->state, a->class_->state_bytes);
	wf_state_free(self, a);
	WF_CHECK(!a->state);
	uint32_t word = wf_box_lock(&a->box);

	if (a->cold) {
		kept = a->cold->kept;
		grant = a->cold->grant;
		a->cold->kept.class = NULL;
		a->cold->grant = (weft_ref){ 0 };
	}
	wf_box_unlock(&a->box, word);
	/* Before anybody can find it dead. */
	give_back(self, &kept, grant);
	word = wf_box_lock(&a->box);
	WF_CHECK(wf_actor_active(a) == 1);
	if (a->cold) {
		died = a->cold->died;
		last = a->cold->last;
		a->cold->died = a->cold->last = NULL;
	}
	word = wf_room_take(a, wf_poke_over(self, word), 1, &told);
	/* relaxed: under the lock. */
	wf_store_relaxed(&a->turns, 0);
	for (uint32_t i = 0; i <= (a->cold ? a->cold->n_groups : 0); i++)
		wf_call_group_at(a, i)->active = wf_call_group_at(a, i)->tokens = 0;
	wf_box_unlock(&a->box, word | WF_BOX_DEAD);
	if (a->grouped)
		wf_group_drop(self->rt, wf_group_at(self->rt, a->cold->group));
	wf_room_tell(self, told);
	if (last)
		wf_call_unmake(self, last);
	wf_signal(self, died, word & WF_BOX_KILL ? a->death : NULL);
	/* Its own. */
	if (a->detached)
		wf_actor_drop_handle(self, a);
	/* release [Q2]: to close, which waits until none is left. */
	wf_add_release(&wf_actors_of(self->rt)->live, (uint32_t)-1);
	wf_actor_unhold(self, a);
}

/*
 * The end of one may be that of others: a state that is dropped releases the next one's last
 * handle, and so on. All those come one after the other here, not on the stack. They are linked by
 * `handed`: closed, and with nobody else inside, nothing is handed to them any more.
 */
void wf_actor_end(struct wf_local *self, struct wf_actor *a)
{
	WF_CHECK(!a->box.handed && wf_box_word(&a->box) & WF_BOX_CLOSED);
	a->box.handed = (struct wf_mail *)(void *)self->ending;
	self->ending = a;
	if (self->ends)
		return;
	self->ends = true;
	while (self->ending) {
		a = self->ending;
		self->ending = (struct wf_actor *)(void *)a->box.handed;
		a->box.handed = NULL;
		end_one(self, a);
	}
	self->ends = false;
}

void wf_actor_die(struct wf_local *self, struct wf_actor *a)
{
	end_calls(self, a);
	run_fini(self, a);
	wf_actor_end(wf_self(), a);
}

int wf_actor_leave(weft *rt, struct wf_actor *a, uint32_t bit, struct wf_error *death)
{
	uint32_t word = wf_box_lock(&a->box);

	WF_CHECK(word & WF_BOX_USED && death);
	WF_DEBUG(wf_actor_active(a) > 0);
	death = death_set(a, death);
	word |= bit;
	if (!a->exclusive) {
		/* release [N3]: the word is for the others inside, the lock is still ours. */
		wf_store_release(&a->box.word, word | WF_BOX_LOCK);
		wf_actor_wake(wf_local_of(rt), a);
	}
	wf_box_unlock(&a->box, word);
	wf_error_release(death);
	return WEFT_EACTOR;
}

void wf_call_crashed(struct wf_local *self, struct wf_cell *cell, const struct wf_error *error)
{
	const struct wf_call_info *info = wf_call_info(cell->ext_word);
	struct wf_actor *a = wf_actor_at(self->rt, info->actor);

	/* Of an init it is an error like any other, and after fini nothing is left to save. */
	if (info->kind != WF_CALL_METHOD)
		return;
	const char *why = error && *error->pub.text ? error->pub.text : "it has crashed";

	wf_actor_leave(self->rt, a, WF_BOX_CRASH, wf_death_make(a, why, NULL));
}

/* Under the lock: whether the caller is to see to an end, because nobody is inside. */
static bool claim_inside(struct wf_actor *a, uint32_t word)
{
	if (word & (WF_BOX_DEAD) || wf_actor_active(a))
		return false;
	WF_CHECK(!a->box.handed);
	a->box.group.active = 1;
	return true;
}

void wf_actor_poke(struct wf_local *self, struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);
	bool init_waits = !(word & (WF_BOX_OPEN | WF_BOX_KILL | WF_BOX_EXIT));
	bool mine = !init_waits && claim_inside(a, word);

	/* The turn needs no token: it looks at the word. */
	wf_box_unlock(&a->box, mine ? poke_begin(self, word) : word);
	if (mine)
		wf_turn_schedule(self, a);
}

/* The lock keeps the turns. */
void wf_actor_wake(struct wf_local *self, struct wf_actor *a)
{
	WF_DEBUG(wf_box_word(&a->box) & WF_BOX_LOCK);
	WF_DEBUG(wf_box_word(&a->box) & WF_BOX_URGENT);
	/* [N3]: the word, before the look at who is inside; they look the other way round. */
	if (self->rt->asymmetric)
		wf_membarrier();
	else
		wf_fence_seq_cst();
	/* acquire [N2] */
	struct wf_turn *turn = (struct wf_turn *)wf_load_acquire(&a->turns);

	for (; turn; turn = turn->next) {
		if (turn->fiber)
			wf_cancel_turn(self, turn->fiber, &turn->bits);
	}
}

bool wf_actor_kill(struct wf_local *self, struct wf_actor *a, struct wf_error *death, bool restart)
{
	struct wf_ext *claimed = NULL;
	struct wf_mail *chain = NULL;

	if (!self->worker)
		/* acq_rel [E1]: before anything is freed, see wf_deadlock_search(). */
		wf_add_acq_rel(&self->rt->external, 1);
	uint32_t word = wf_box_lock(&a->box);

	/* Not used: it has gone since somebody who has no count of it looked it up. */
	if (word & (WF_BOX_DEAD | WF_BOX_KILL) || !(word & WF_BOX_USED)) {
		wf_box_unlock(&a->box, word);
		wf_error_release(death);
		return false;
	}
	WF_CHECK(a->class_ != NULL);
	if (restart && !(a->cold && a->cold->restarts < a->cold->max_restarts))
		restart = false;
	if (restart && !(word & WF_BOX_OPEN)) {
		/* Its init is to come: nothing is lost yet, but it counts. */
		if (a->cold->restarts < UINT32_MAX - 1)
			a->cold->restarts++;
		wf_box_unlock(&a->box, word);
		wf_error_release(death);
		return false;
	}
	WF_DEBUG(death != NULL);
	death = death_set(a, death);
	if (!restart) {
		chain = take_queues(a);
		claimed = wf_rows_claim(self, a);
	}
	word |= restart ? WF_BOX_CRASH : WF_BOX_KILL;
	bool mine = claim_inside(a, word);

	if (mine && restart)
		word = poke_begin(self, word);
	/* With the lock bit: the word is for those inside, the lock is still ours. */
	wf_store_release(&a->box.word, word | WF_BOX_LOCK); /* release [N3] */
	wf_actor_wake(self, a);
	wf_actor_hold(a);
	wf_box_unlock(&a->box, word);
	wf_error_release(death);
	if (!restart) {
		wf_name_remove(self->rt, a);
		wf_call_refuse_all(self, chain, a->death);
		wf_rows_end(self, claimed, a->death);
		if (mine)
			wf_actor_end(self, a);
	} else if (mine) {
		wf_turn_schedule(self, a);
	}
	wf_actor_unhold(wf_local_of(self->rt), a);
	return restart;
}

/* ---- Restart ------------------------------------------------------------------------------- */

void wf_actor_opened(struct wf_local *self, struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	uint32_t word = wf_box_lock(&a->box);

	WF_CHECK(!(word & (WF_BOX_OPEN | WF_BOX_DEAD)));
	WF_DEBUG(wf_actor_active(a) >= 1);
	word = (word & ~WF_BOX_AGAIN) | (word & WF_BOX_KILL ? 0 : WF_BOX_OPEN);
	uint32_t missing = word & WF_BOX_OPEN ? wf_turns_missing(a) : 0;

	wf_box_unlock(&a->box, word);
	while (missing--)
		wf_turn_schedule(self, a);
}

/* Before init runs again: a state that crashes at once must not take the machine along. */
static WF_SUSPENDS int again_body(weft_task *self)
{
	struct wf_actor *a = wf_actor_at(self->rt, wf_call_info(wf_cell_ext(self->cell))->actor);
	struct wf_cold *cold = a->cold;
	uint32_t doubled = cold->restarts_in_row < 32 ? cold->restarts_in_row : 32;

	WF_DEBUG(cold && a->class_);
	if (doubled) {
		int64_t ns = WF_RESTART_NS << (doubled - 1 < 10 ? doubled - 1 : 10);

		ns = ns < WF_RESTART_MAX_NS ? ns : WF_RESTART_MAX_NS;
		int rc = weft_sleep_until(self->rt, wf_clock_now(&self->rt->clock) + ns);

		if (rc)
			return rc;
		/* It lives from here on. */
		cold->restarted_at = wf_clock_now(&self->rt->clock);
	}
	return a->class_->init ? a->class_->init(self) : 0;
}

/* Under the lock: it begins anew. */
static uint32_t restart_begin(struct wf_actor *a, uint32_t word, int64_t now)
{
	struct wf_cold *cold = a->cold;
	bool calm = !cold->restarts || now - cold->restarted_at >= WF_RESTART_CALM_NS;

	WF_CHECK(wf_actor_active(a) == 1 && word & WF_BOX_CRASH);
	cold->restarts_in_row = calm ? 0 : cold->restarts_in_row + 1;
	cold->restarted_at = now;
	if (cold->restarts < UINT32_MAX - 1)
		cold->restarts++;
	wf_error_release(a->death);
	a->death = NULL;
	return (word & ~(WF_BOX_CRASH | WF_BOX_OPEN)) | WF_BOX_AGAIN;
}

/* A supervised actor whose init has failed once more: that is a crash, if it is not killed. */
static bool crash_again(struct wf_actor *a, struct wf_error *cause)
{
	uint32_t word = wf_box_lock(&a->box);
	bool again = a->cold->supervisor && !(word & (WF_BOX_KILL | WF_BOX_EXIT));
	struct wf_error *death = NULL;

	WF_CHECK(!(word & (WF_BOX_OPEN | WF_BOX_DEAD)));
	WF_DEBUG(cause != NULL);
	if (again)
		death = death_set(a, wf_death_make(a, "its init failed", cause));
	wf_box_unlock(&a->box, again ? word | WF_BOX_CRASH : word);
	wf_error_release(death);
	return again;
}

/* Run init on a fresh state: NULL, or why it failed; counted. */
static WF_SUSPENDS struct wf_error *init_again(struct wf_local **self, struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;

	if (a->state) {
		if (a->class_->drop)
			a->class_->drop(a->state, a->class_->state_bytes);
		memset(a->state, 0, a->class_->state_bytes);
	}
	WF_DEBUG(!(wf_box_word(&a->box) & (WF_BOX_OPEN | WF_BOX_DEAD)));
	struct wf_cell *cell = wf_call_make(*self, a, WF_CALL_INIT, again_body, a->cold->again);

	if (!cell)
		return wf_error_static(-ENOMEM);
	if (a->grouped)
		wf_group_take_in((*self)->rt, a->cold->group, cell);
	wf_bump(&(*self)->submitted);
	return wf_turn_init(self, turn, cell);
}

bool wf_actor_restart(struct wf_local **self, struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	struct wf_error *error;
	bool again;

	do {
		/* First: what it asks of others happens before any init. */
		bool allowed = wf_supervised_crash(*self, a);
		int64_t now = wf_clock_now(&(*self)->rt->clock);
		uint32_t word = wf_box_lock(&a->box);
		struct wf_cold *cold = a->cold;
		bool may = allowed && cold && cold->restarts < cold->max_restarts &&
			!(word & WF_BOX_KILL);

		WF_CHECK(!turn->fetched && word & WF_BOX_CRASH);
		wf_box_unlock(&a->box, may ? restart_begin(a, word, now) : word | WF_BOX_KILL);
		if (!may) {
			wf_actor_end(*self, a);
			return false;
		}
		error = init_again(self, turn);
		if (!error)
			return true;
		again = crash_again(a, error);
		if (!again)
			wf_actor_fail(a, error);
		wf_error_release(error);
	} while (again);
	wf_actor_end(*self, a);
	return false;
}

/* ---- Handles ------------------------------------------------------------------------------- */

void wf_actor_drop_handle(struct wf_local *self, struct wf_actor *a)
{
	/* acq_rel [T3]: whoever drops the last one has seen what the others did. */
	if (wf_add_acq_rel(&a->handles, (uint32_t)-1) != 1)
		return;
	uint32_t word = wf_box_lock(&a->box);
	bool live = !(word & WF_BOX_DEAD), idle = false;

	WF_CHECK(word & WF_BOX_USED);
	/* acquire [T3]: taken again by a call of its own. */
	if (live && !wf_load_acquire(&a->handles)) {
		word |= WF_BOX_ORPHAN;
		idle = word & WF_BOX_OPEN && !wf_actor_queued(a) &&
			!(a->cold && a->cold->waiting) && claim_inside(a, word);
	}
	/* Closed: a call that was let in a moment ago and is not queued yet comes too late. */
	if (idle)
		word = poke_begin(self, word) | (a->class_->fini ? 0 : WF_BOX_EXIT);
	wf_box_unlock(&a->box, word);
	if (idle && a->class_->fini)
		wf_turn_schedule(self, a);
	else if (idle)
		wf_actor_end(self, a);
	wf_actor_unhold(wf_local_of(self->rt), a);
}

void wf_actor_take_handle(struct wf_actor *a)
{
	/* relaxed: the caller is kept by some hold. The last handle took its own along. */
	if (wf_add_relaxed(&a->handles, 1) == 0)
		wf_actor_hold(a);
}

/* ---- Stop, and the runtime's end ----------------------------------------------------------- */

void wf_actor_ask_stop(struct wf_local *self, struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);
	struct wf_cell *told = NULL;
	bool idle = false;

	WF_CHECK(word & WF_BOX_USED);
	if (!(word & (WF_BOX_CLOSED | WF_BOX_STOP))) {
		/* What is pending may wait for who waits for room. */
		word = wf_room_take(a, word | WF_BOX_STOP, 1, &told);
		idle = word & WF_BOX_OPEN && !wf_actor_queued(a) &&
			!(a->cold && a->cold->waiting) && claim_inside(a, word);
	}
	/* Closed: a call that was let in a moment ago and is not queued yet comes too late. */
	if (idle)
		word = poke_begin(self, word) | (a->class_->fini ? 0 : WF_BOX_EXIT);
	WF_DEBUG(!idle || wf_actor_active(a) == 1);
	wf_box_unlock(&a->box, word);
	wf_room_tell(self, told);
	if (idle && a->class_->fini)
		wf_turn_schedule(self, a);
	else if (idle)
		wf_actor_end(self, a);
}

bool wf_actors_live(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);

	/* acquire [Q2]: what the deaths did. */
	return t && wf_load_acquire(&t->live) > 0;
}

/* The i-th slot's actor, held, when one is there that is not dead and `wanted`. */
static struct wf_actor *live_at(weft *rt, uint32_t i,
                                bool (*wanted)(weft *, struct wf_actor *, uint64_t), uint64_t what)
{
	struct wf_actor *a = &wf_actors_of(rt)->slot[i];
	uint32_t word = wf_box_lock(&a->box);

	WF_CHECK(!(word & WF_BOX_LOCK));
	WF_DEBUG(!(word & WF_BOX_USED) || a->class_);
	bool there =
		word & WF_BOX_USED && !(word & WF_BOX_DEAD) && (!wanted || wanted(rt, a, what));

	if (there)
		wf_actor_hold(a);
	wf_box_unlock(&a->box, word);
	return there ? a : NULL;
}

void wf_actors_stop(weft *rt, bool kill)
{
	struct wf_actors *t = wf_actors_of(rt);
	struct wf_local *self = wf_local_of(rt);

	/* relaxed: no new ones are let in, but by those that are ended. */
	for (uint32_t i = 1; t && self && i < wf_load_relaxed(&t->end); i++) {
		struct wf_actor *a = live_at(rt, i, NULL, 0);

		if (!a)
			continue;
		if (kill)
			wf_actor_kill(self, a, wf_death_make(a, "the runtime closes", NULL), false);
		else
			wf_actor_ask_stop(self, a);
		wf_actor_unhold(wf_local_of(rt), a);
	}
}

static bool of_cancelled(weft *rt, struct wf_actor *a, uint64_t what)
{
	(void)what;
	return a->grouped && wf_group_is_cancelled(rt, a->cold->group);
}

void wf_actors_cancel_groups(struct wf_local *self)
{
	weft *rt = self->rt;
	struct wf_actors *t = wf_actors_of(rt);

	/* relaxed: those that are just made look for themselves, behind [G3]. */
	for (uint32_t i = 1; t && i < wf_load_relaxed(&t->end); i++) {
		struct wf_actor *a = live_at(rt, i, of_cancelled, 0);

		if (!a)
			continue;
		wf_actor_kill(self, a, wf_death_make(a, "its group was cancelled", NULL), false);
		wf_actor_unhold(wf_local_of(rt), a);
	}
}

static bool is_placed(weft *rt, struct wf_actor *a, uint64_t placement)
{
	(void)rt;
	return a->keeper && a->cold->placement == placement;
}

void wf_actors_unplace(struct wf_local *self, uint64_t placement, struct wf_error *why)
{
	weft *rt = self->rt;
	struct wf_actors *t = wf_actors_of(rt);

	WF_DEBUG(placement && why);
	/* relaxed: those of the group were seen under the mutex under which it was removed. */
	for (uint32_t i = 1; t && i < wf_load_relaxed(&t->end); i++) {
		struct wf_actor *a = live_at(rt, i, is_placed, placement);

		if (!a)
			continue;
		wf_actor_kill(self, a, wf_death_make(a, "its placement group was removed", why),
		              false);
		wf_actor_unhold(wf_local_of(rt), a);
	}
}

static bool holds_something(weft *rt, struct wf_actor *a, uint64_t what)
{
	(void)rt;
	(void)what;
	return a->cold && a->cold->kept.class;
}

void wf_actors_let_go(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);
	struct wf_local *self = wf_local_of(rt);

	/* relaxed: as in wf_actors_stop(). */
	for (uint32_t i = 1; t && self && i < wf_load_relaxed(&t->end); i++) {
		struct wf_actor *a = live_at(rt, i, holds_something, 0);

		if (!a)
			continue;
		wf_actor_ask_stop(self, a);
		wf_actor_unhold(wf_local_of(rt), a);
	}
}
