/*
 * turn.c: running calls.
 *
 * A turn is an item of the workers' queues, like a task. An exclusive actor has at most one, which
 * was given its first call by whoever scheduled it; so between an idle actor and its idle caller a
 * call costs one locked instruction for the post and one for leaving. Actors with more concurrency
 * have as many turns as may run, each of which takes one call at a time.
 *
 * A turn lives on the stack of the worker's loop. A body that blocks parks that stack, turn and
 * all, so the actor stays busy with it and the worker goes on with another stack.
 *
 * Fairness: after WF_BATCH_CALLS calls the turn goes to the far end of the queues; so does, where
 * other work waits in the worker's queue, every WF_CHAIN_MAX-th turn that is scheduled there.
 */
#include <errno.h>

#include "actor.h"
#include "plain.h"

/* ---- Scheduling ------------------------------------------------------------------------------ */

/* The node first: a group's time is counted there as well. False: it goes where most go. */
static bool schedule_elsewhere(struct wf_local *self, struct wf_actor *a)
{
	const struct wf_kept *kept = &a->cold->kept;

	WF_DEBUG(a->grouped || a->keeper);
	if (a->keeper && kept->class && kept->node != WF_NODE_NONE)
		wf_lane_actor(self, kept->node, kept->stays, a, a->priority);
	else if (a->grouped)
		wf_ready_actor_in(self, a, a->cold->group, a->priority);
	else
		return false;
	return true;
}

void wf_turn_schedule(struct wf_local *self, struct wf_actor *a)
{
	bool last = false;

	if (WF_UNLIKELY(a->grouped || a->keeper) && schedule_elsewhere(self, a))
		return;
	if (WF_UNLIKELY(self->worker && ++self->chain % WF_CHAIN_MAX == 0))
		last = wf_deque_count_mt(&wf_worker_of(self)->deque[a->priority]) > 0;
	wf_ready_actor(self, a, a->priority, last);
}

void wf_actor_stuck_at(struct wf_actor *actor, struct wf_actor **list)
{
	WF_CHECK(actor->cold->kept.stays);
	if (actor->cold->stuck++)
		return;
	actor->cold->stuck_next = *list;
	*list = actor;
}

struct wf_actor *wf_actor_unstuck_at(struct wf_actor **list)
{
	struct wf_actor *actor = *list;

	WF_DEBUG(!actor || actor->cold->stuck);
	if (actor && !--actor->cold->stuck)
		*list = actor->cold->stuck_next;
	return actor;
}

void wf_actor_stuck(struct wf_actor *actor)
{
	actor->stuck++;
}

struct wf_actor *wf_actor_unstuck(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);

	WF_CHECK(t != NULL);
	/* relaxed: whoever counted it has made its slot before. */
	for (uint32_t i = 1; i < wf_load_relaxed(&t->end); i++) {
		if (t->slot[i].stuck) {
			t->slot[i].stuck--;
			return &t->slot[i];
		}
	}
	WF_CHECK(false);
	return NULL;
}

uint32_t wf_actor_active(struct wf_actor *a)
{
	uint32_t n = a->box.group.active;

	for (uint32_t i = 0; a->cold && i < a->cold->n_groups; i++)
		n += a->cold->groups[i].active;
	return n;
}

uint32_t wf_actor_queued(struct wf_actor *a)
{
	uint32_t n = a->box.group.queued;

	for (uint32_t i = 0; a->cold && i < a->cold->n_groups; i++)
		n += a->cold->groups[i].queued;
	return n;
}

static uint32_t group_missing(struct wf_call_group *group)
{
	uint32_t n = 0;

	while (group->active < group->limit && group->queued > group->tokens) {
		group->active++;
		group->tokens++;
		n++;
	}
	return n;
}

uint32_t wf_turns_missing(struct wf_actor *a)
{
	uint32_t n = 0;

	if (a->exclusive)
		return 0;
	WF_DEBUG(wf_box_word(&a->box) & WF_BOX_LOCK);
	n = group_missing(&a->box.group);
	for (uint32_t i = 0; a->cold && i < a->cold->n_groups; i++)
		n += group_missing(&a->cold->groups[i]);
	return n;
}

/* ---- One call -------------------------------------------------------------------------------- */

static void count_call(struct wf_actor *a)
{
	/* relaxed, all: a figure for the curious. */
	if (!a->exclusive) {
		if (wf_add_relaxed(&a->box.group.calls, 1) == UINT32_MAX)
			wf_add_relaxed(&a->link.calls_high, 1);
		return;
	}
	uint32_t n = wf_load_relaxed(&a->box.group.calls) + 1;

	/* relaxed, both: as above. */
	wf_store_relaxed(&a->box.group.calls, n);
	if (WF_UNLIKELY(!n))
		wf_add_relaxed(&a->link.calls_high, 1);
}

/* Let go of a call that ended well in the exclusive turn. */
static void settle_plain(struct wf_local *self, struct wf_actor *a, struct wf_cell *cell,
                         struct wf_ext *ext)
{
	struct wf_link *link = wf_call_info(ext)->link;

	WF_DEBUG(a->exclusive || !link || link->submitted);
	WF_CHECK(ext->call == WF_CALL_SHORT && ext->block == 1);
	if (link) {
		/* relaxed: ours. release [L2]: the end that is counted. */
		if (WF_LIKELY(a->exclusive))
			wf_store_release(&link->done, wf_load_relaxed(&link->done) + 1);
		else
			wf_add_release(&link->done, 1); /* One of several turns. release [L2] */
		wf_call_info(ext)->link = NULL;
	}
	wf_line_free(self, ext, cell);
}

/* A call without anything out of the ordinary. */
static WF_SUSPENDS struct wf_local *run_plain(struct wf_local *self, struct wf_actor *a,
                                              struct wf_cell *cell, struct wf_ext *ext)
{
	struct weft_task frame;

	WF_DEBUG(!self->current && ext->call == WF_CALL_SHORT);
	WF_DEBUG(wf_cell_ext(cell) == ext && !wf_ext_edge_count(ext));
	frame.cell = cell;
	frame.rt = self->rt;
	frame.fn = cell->u.fn;
	frame.payload = NULL;
	frame.error = NULL;
	frame.arg_size = ext->arg_size;
	frame.arg = (char *)ext + sizeof(*ext) + 16;
	frame.borrowed = 0;
	frame.outer = NULL;
	/* relaxed: size 0, attempt 1, this worker. */
	wf_store_relaxed(&cell->mark.all, self->mark);
	self->current = &frame;
	int code = frame.fn(&frame);

	self = wf_self();
	self->current = NULL;
	count_call(a);
	WF_DEBUG(!self->worker || self->fiber);
	if (WF_UNLIKELY(code < 0 || frame.payload || frame.error ||
	                wf_box_word(&a->box) & WF_BOX_URGENT)) {
		wf_task_call_returned(self, &frame, code);
		return wf_self();
	}
	settle_plain(self, a, cell, ext);
	wf_task_end(self, &frame, code);
	return self;
}

static WF_SUSPENDS struct wf_local *run_call(struct wf_local *self, struct wf_turn *turn,
                                             struct wf_cell *cell)
{
	struct wf_actor *a = turn->actor;

	/* release [N1]: what a killer cancels, before the body can block. */
	wf_store_release(&turn->bits, wf_ref_of(self->rt, cell).bits);
	/* release [C1]: as wf_task_begin(). */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING);
	wf_fence_compiler();
	/* relaxed, both: looked at again on the long way. */
	if (WF_LIKELY(!wf_load_relaxed(&cell->cancel) && !wf_load_relaxed(&self->rt->attention))) {
		struct wf_ext *ext = cell->ext_word;

		if (ext->call == WF_CALL_SHORT && !wf_call_info(ext)->row)
			return run_plain(self, a, cell, ext);
	}
	WF_DEBUG(!self->rt->timing || a->cold);
	WF_DEBUG(!turn->fetched || turn->fetched != wf_mail_of(cell));
	int64_t begin = self->rt->timing ? wf_clock_now(&self->rt->clock) : 0;

	wf_task_run_slow(self, cell);
	self = wf_self();
	if (self->rt->timing)
		/* relaxed: a figure for the curious. */
		wf_add_relaxed(&a->cold->busy_ns,
		               (uint64_t)(wf_clock_now(&self->rt->clock) - begin));
	count_call(a);
	return self;
}

/* ---- What an attempt was worth ------------------------------------------------------------- */

bool wf_call_stopping(const weft *rt, struct wf_ext *ext)
{
	const struct wf_call_info *info = wf_call_info(ext);

	if (info->kind == WF_CALL_FINI)
		return false;
	return wf_box_word(&wf_actor_at(rt, info->actor)->box) & WF_BOX_URGENT;
}

enum wf_verdict wf_call_verdict(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_ext *ext = wf_cell_ext(cell);
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_actor *a = wf_actor_at(self->rt, info->actor);

	if (WF_LIKELY(info->kind == WF_CALL_FINI || !(wf_box_word(&a->box) & WF_BOX_URGENT)))
		return WF_VERDICT_COUNTS;
	uint32_t word = wf_box_lock(&a->box);
	struct wf_cold *cold = a->cold;
	struct wf_plus *plus = wf_ext_plus(ext);
	bool left = plus && plus->retries;
	/* relaxed: the runner's own. */
	uint32_t tried = wf_load_relaxed(&cell->mark.attempt);
	bool again = cold && cold->max_restarts > cold->restarts && info->kind == WF_CALL_METHOD &&
		!(word & (WF_BOX_KILL | WF_BOX_EXIT)) &&
		(left || tried <= cold->max_task_retries ||
	         cold->max_task_retries == WEFT_TASK_RETRIES_ALWAYS);

	wf_box_unlock(&a->box, word);
	WF_DEBUG(word & WF_BOX_USED && tried > 0);
	if (!again)
		return WF_VERDICT_LOST;
	if (left && plus->retries != WEFT_RETRIES_FOREVER)
		plus->retries--;
	return WF_VERDICT_AGAIN;
}

struct wf_error *wf_call_lost(struct wf_local *self, struct wf_cell *cell)
{
	return wf_actor_error(wf_actor_at(self->rt, wf_call_info(wf_cell_ext(cell))->actor));
}

/* Who calls may have no count: the actor may have gone since it was found dead. */
struct wf_error *wf_call_error(const struct wf_target *to)
{
	uint32_t word = wf_box_lock(&to->actor->box);
	struct wf_error *error = wf_actor_is(to->actor, word, to->gen) ? to->actor->death : NULL;

	WF_DEBUG(!error || error->pub.status == WEFT_EACTOR);
	if (error)
		wf_error_retain(error);
	wf_box_unlock(&to->actor->box, word);
	return error ? error : wf_error_static(WEFT_EACTOR);
}

void wf_call_again(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_call_info *info = wf_call_info(wf_cell_ext(cell));
	struct wf_actor *a = wf_actor_at(self->rt, info->actor);
	uint32_t group = info->group;

	/* The next attempt takes the long way, which counts attempts. */
	WF_DEBUG(info->kind == WF_CALL_METHOD);
	info->row = WF_ROW_AGAIN;
	uint32_t word = wf_box_lock(&a->box);
	bool queued = wf_task_requeue(cell);

	/*
	 * Last: one that fails again and again does not keep back the others. This turn comes for
	 * it, or for one before it.
	 */
	if (queued)
		wf_call_group_append(wf_call_group_at(a, group), wf_mail_of(cell));
	wf_box_unlock(&a->box, word);
	if (WF_UNLIKELY(!queued))
		wf_task_refuse(self, cell, NULL);
}

/* What an actor holds is fixed while a call is inside. An init may run though it was refused. */
struct wf_kept *wf_call_kept(const weft *rt, struct wf_ext *ext)
{
	const struct wf_actor *a = wf_actor_at(rt, wf_call_info(ext)->actor);

	/* Others may be making the cold part of one that holds nothing. */
	WF_DEBUG(ext->call && (!a->keeper || a->cold));
	return a->keeper && a->cold->kept.class ? &a->cold->kept : NULL;
}

struct wf_kept *wf_call_devices(const weft *rt, struct wf_ext *ext)
{
	const struct wf_actor *a = wf_actor_at(rt, wf_call_info(ext)->actor);

	WF_DEBUG(!a->device || (a->cold && a->exclusive));
	return a->device && a->cold->kept.gpus ? &a->cold->kept : NULL;
}

/* Under the lock: the same as below, of an actor that is there. */
static uint32_t blockers(struct wf_actor *a, uint32_t word, const struct wf_call_info *info,
                         uint32_t *cells, uint32_t most)
{
	uint32_t n = 0;

	WF_DEBUG(cells && most);
	WF_DEBUG(word & WF_BOX_USED && !(word & WF_BOX_LOCK));
	/* The first call of all waits for its inputs. */
	if (!(word & WF_BOX_OPEN) && info->kind == WF_CALL_METHOD && a->cold && a->cold->loose) {
		cells[0] = a->cold->loose->cell;
		return 1;
	}
	if (info->group && (!a->cold || info->group > a->cold->n_groups))
		return 0;
	/* acquire [N2]: an exclusive turn begins without the lock. */
	const struct wf_turn *turn = (const struct wf_turn *)wf_load_acquire(&a->turns);

	for (; turn && n < most; turn = turn->next) {
		/* acquire [N1] */
		if (turn->group->index == info->group)
			cells[n++] = (uint32_t)wf_load_acquire(&turn->bits) & WF_INDEX_MASK;
	}
	return n < wf_call_group_at(a, info->group)->limit ? 0 : n;
}

/* What an ext seems to say: it may just become something else, and stays mapped. */
static WF_UNORDERED struct wf_call_info info_glance(const struct wf_ext *ext, uint32_t edges)
{
	const volatile struct wf_call_info *info =
		(const void *)((const char *)ext + sizeof(*ext) + edges * sizeof(ext->edges[0]));

	return (struct wf_call_info){ .actor = info->actor,
		                      .kind = info->kind,
		                      .group = info->group };
}

/*
 * Not by waiting for the lock: a killer has it while it waits for the lock of a stack. A call that
 * is in a row leaves it under the lock before its ext goes.
 */
uint32_t wf_call_blockers(const weft *rt, const struct wf_cell *cell, const struct wf_ext *ext,
                          uint32_t edges, uint32_t *cells, uint32_t most, uint32_t *before)
{
	const struct wf_call_info info = info_glance(ext, edges);
	struct wf_actors *t = wf_actors_of(rt);
	uint32_t word;

	WF_CHECK(ext != NULL);
	/* relaxed: a glance, too. */
	if (!t || info.actor - 1 >= wf_load_relaxed(&t->end) - 1)
		return 0;
	struct wf_actor *a = &t->slot[info.actor];

	if (!wf_box_trylock(&a->box, &word))
		return WF_BLOCKERS_BUSY;
	uint32_t n = word & WF_BOX_USED ? blockers(a, word, &info, cells, most) : 0;

	/* acquire [C1]: the ext. */
	if (wf_load_acquire(&cell->promise.state) == WF_STATE_WAITING && wf_cell_ext(cell) == ext &&
	    ext->call == WF_CALL_WAITS) {
		const struct wf_call_info *now = wf_call_info(cell->ext_word);

		WF_DEBUG(now->row_prev != ext);
		if (now->actor == info.actor && now->row & WF_ROW_IN && now->row & WF_ROW_BEHIND)
			*before = now->row_prev->cell;
	}
	wf_box_unlock(&a->box, word);
	return n;
}

/* ---- The turn ------------------------------------------------------------------------------ */

/* Under the lock. */
static void turn_link(struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;

	/* relaxed: read under the lock, or by a killer after a barrier. */
	turn->next = (struct wf_turn *)wf_load_relaxed(&a->turns);
	wf_store_release(&a->turns, (uintptr_t)turn); /* release [N2]: the turn. */
}

static void turn_unlink(struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	/* relaxed, all: under the lock. */
	struct wf_turn *at = (struct wf_turn *)wf_load_relaxed(&a->turns);

	if (at == turn) {
		wf_store_relaxed(&a->turns, (uintptr_t)turn->next);
		return;
	}
	WF_CHECK(at != NULL);
	while (at->next != turn)
		at = at->next;
	at->next = turn->next;
}

/* Under the lock: the turn is over; the word that stays. */
static uint32_t turn_leave(struct wf_local *self, struct wf_turn *turn, uint32_t word)
{
	turn_unlink(turn);
	wf_call_group_leave(turn->group);
	return wf_poke_over(self, word);
}

/* Which group a turn of a concurrent actor is for. */
static void turn_begin_shared(struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	uint32_t word = wf_box_lock(&a->box);
	struct wf_call_group *group = &a->box.group;

	/* The init's, and one that ends an actor, have no token. */
	for (uint32_t i = 0; !group->tokens && a->cold && i < a->cold->n_groups; i++)
		group = &a->cold->groups[i];
	if (group->tokens)
		group->tokens--;
	else
		group = &a->box.group;
	WF_DEBUG(group->active > 0);
	WF_DEBUG(!a->box.handed || !(word & WF_BOX_OPEN));
	turn->group = group;
	turn->fetched = a->box.handed;
	a->box.handed = NULL;
	turn_link(turn);
	wf_box_unlock(&a->box, word);
}

static void turn_begin(struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;

	if (!a->exclusive) {
		turn_begin_shared(turn);
		return;
	}
	WF_DEBUG(a->box.group.active == 1);
	turn->group = &a->box.group;
	turn->fetched = a->box.handed;
	a->box.handed = NULL;
	turn->next = NULL;
	/* release [N2]: the turn. */
	wf_store_release(&a->turns, (uintptr_t)turn);
}

/* Under the lock: what was fetched and not begun goes back, in its order. */
static void put_back(struct wf_turn *turn)
{
	struct wf_mail *reversed = NULL;

	while (turn->fetched) {
		struct wf_mail *next = turn->fetched->next;

		turn->fetched->next = reversed;
		reversed = turn->fetched;
		turn->fetched = next;
	}
	while (reversed) {
		struct wf_mail *next = reversed->next;

		wf_call_group_prepend(turn->group, reversed);
		reversed = next;
	}
}

/*
 * The actor is dying, or crashed. True: the turn goes on; false: it is over, and the actor may be
 * gone.
 */
static WF_SUSPENDS bool urgent(struct wf_local **self, struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	uint32_t word = wf_box_lock(&a->box);

	WF_CHECK(word & WF_BOX_USED && !(word & WF_BOX_DEAD));
	WF_CHECK(turn->group->active > 0);
	put_back(turn);
	if (!(word & WF_BOX_URGENT)) {
		wf_box_unlock(&a->box, word);
		return true;
	}
	/* The last one inside sees to it. */
	if (wf_actor_active(a) > 1) {
		word = turn_leave(*self, turn, word);
		wf_box_unlock(&a->box, word);
		return false;
	}
	wf_box_unlock(&a->box, word);
	if (!(word & (WF_BOX_KILL | WF_BOX_EXIT)))
		return wf_actor_restart(self, turn);
	if (word & WF_BOX_KILL) {
		wf_actor_end(*self, a);
		return false;
	}
	wf_actor_die(*self, a);
	*self = wf_self();
	return false;
}

/* How many calls to take the next time: no more than who waits for room must have free. */
static uint32_t fetch_more(const struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	uint32_t most = wf_room_wanted(a) < WF_FETCH_MAX ? wf_room_wanted(a) : WF_FETCH_MAX;

	WF_DEBUG(turn->fetch > 0);
	if (!a->exclusive)
		return 1;
	return turn->fetch * 2 < most ? turn->fetch * 2 : most;
}

/* More to run, or false: the turn is over, and the actor may be gone. */
static WF_SUSPENDS bool fetch(struct wf_local **self, struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	uint32_t word = wf_box_lock(&a->box);
	struct wf_cell *told;

	WF_CHECK(word & WF_BOX_USED && !turn->fetched);
	WF_CHECK(turn->group->active > 0);
	if (word & WF_BOX_URGENT) {
		wf_box_unlock(&a->box, word);
		return urgent(self, turn);
	}
	if (word & WF_BOX_OPEN)
		turn->fetched = wf_call_group_fetch(turn->group, turn->fetch);
	word = wf_room_take(a, word, turn->fetched ? wf_room_wanted(a) : 1, &told);
	if (turn->fetched) {
		wf_box_unlock(&a->box, word);
		wf_room_tell(*self, told);
		turn->fetch = fetch_more(turn);
		return true;
	}
	WF_DEBUG(!a->box.handed);
	bool ends = word & (WF_BOX_STOP | WF_BOX_ORPHAN) && wf_actor_active(a) == 1 &&
		!wf_actor_queued(a) && !(a->cold && a->cold->waiting);

	if (ends && !(word & WF_BOX_STOP)) {
		/* acquire [T3]: a handle that was taken again since. */
		if (wf_load_acquire(&a->handles)) {
			word &= ~WF_BOX_ORPHAN;
			ends = false;
		}
	}
	/* Closed: a call that was let in a moment ago and is not queued yet comes too late. */
	if (ends)
		word |= WF_BOX_STOP | WF_BOX_EXIT;
	else
		word = turn_leave(*self, turn, word);
	wf_box_unlock(&a->box, word);
	wf_room_tell(*self, told);
	if (ends) {
		wf_actor_die(*self, a);
		*self = wf_self();
	}
	return false;
}

/* The turn goes to the far end: others come first. */
static void turn_requeue(struct wf_local *self, struct wf_turn *turn)
{
	struct wf_actor *a = turn->actor;
	uint32_t word = wf_box_lock(&a->box);

	WF_DEBUG(turn->group->active > 0);
	WF_DEBUG(!(word & WF_BOX_DEAD));
	put_back(turn);
	turn_unlink(turn);
	if (!a->exclusive)
		turn->group->tokens++;
	wf_box_unlock(&a->box, word);
	if (WF_UNLIKELY(a->grouped || a->keeper) && schedule_elsewhere(self, a))
		return;
	wf_ready_actor(self, a, a->priority, self->worker);
}

/* The first call, or its repetition: NULL, and the actor is open, or why it failed; counted. */
struct wf_error *wf_turn_init(struct wf_local **self, struct wf_turn *turn, struct wf_cell *cell)
{
	struct wf_actor *a = turn->actor;
	struct wf_error *error = NULL;

	WF_CHECK(!(wf_box_word(&a->box) & WF_BOX_OPEN));
	*self = run_call(*self, turn, cell);
	/* The actor's own count has kept the cell. Its deadline may just be ending it. */
	while (!wf_promise_is_done(&cell->promise))
		wf_cpu_relax();
	if (wf_flags(cell) & WF_CELL_ERROR) {
		error = cell->u.error;
		wf_error_retain(error);
	}
	wf_cell_release(*self, cell);
	if (!error)
		wf_actor_opened(*self, turn);
	return error;
}

/* The first call of all. False: the actor died of it. */
static WF_SUSPENDS bool turn_first(struct wf_local **self, struct wf_turn *turn)
{
	struct wf_cell *cell = wf_cell_of_mail(turn->fetched);

	turn->fetched = NULL;
	struct wf_error *error = wf_turn_init(self, turn, cell);

	if (!error)
		return true;
	wf_actor_fail(turn->actor, error);
	wf_error_release(error);
	wf_actor_end(*self, turn->actor);
	return false;
}

/* Its cell has come with the fetch. A canceller may just be taking the block away. */
static WF_UNORDERED void have_block_come(const struct wf_cell *cell)
{
	__builtin_prefetch(*(struct wf_ext *const volatile *)&cell->ext_word, 1);
}

static WF_SUSPENDS void run(struct wf_local *self, struct wf_actor *a)
{
	struct wf_turn turn;

	turn.actor = a;
	turn.fiber = self->fiber;
	turn.fetch = 1;
	turn.done = 0;
	wf_init(&turn.bits, 0);
	turn_begin(&turn);
	/* relaxed: read again under the lock wherever it matters. */
	if (WF_UNLIKELY(turn.fetched && !(wf_box_word(&a->box) & WF_BOX_OPEN)) &&
	    !turn_first(&self, &turn))
		return;
	for (;;) {
		if (WF_UNLIKELY(wf_box_word(&a->box) & WF_BOX_URGENT)) {
			if (!urgent(&self, &turn))
				return;
			continue;
		}
		if (!turn.fetched) {
			if (turn.done >= WF_BATCH_CALLS) {
				wf_batch_judge(self, a, turn.done);
				break;
			}
			if (!fetch(&self, &turn))
				return;
			continue;
		}
		struct wf_mail *mail = turn.fetched;

		if (WF_UNLIKELY(a->grouped) && turn.done &&
		    (!self->worker || wf_group_spent(wf_worker_of(self))))
			break;
		turn.fetched = mail->next;
		turn.done++;
		if (turn.fetched)
			have_block_come(wf_cell_of_mail(turn.fetched));
		self = run_call(self, &turn, wf_cell_of_mail(mail));
		/* A body that gave its worker away has come back on a thread without one. */
		if (WF_UNLIKELY(!self->worker))
			break;
	}
	turn_requeue(self, &turn);
}

/* With what the stack is to know of the actor's place while its calls run, the short ones, too. */
static WF_SUSPENDS void run_placed(struct wf_local *self, struct wf_actor *a)
{
	struct wf_fiber_user *user = wf_fiber_user(self->fiber);
	const struct wf_kept *kept = &a->cold->kept;
	bool gives = kept->class && kept->captures;
	uint32_t stays = kept->class && kept->stays ? WF_FIBER_KEPT : 0;

	/* No body is on this stack. */
	WF_CHECK(!user->bound && !user->giving);
	user->bound = stays;
	user->giving = gives;
	wf_fiber_modes(self);
	run(self, a);
	self = wf_self();
	WF_DEBUG(user->bound == stays && user->giving == gives);
	user->bound = user->giving = 0;
	/* A call that gave its worker away has left this thread without modes. */
	if (self->fiber)
		wf_fiber_modes(self);
}

void wf_actor_run(struct wf_local *self, struct wf_actor *a)
{
	WF_DEBUG(self->worker && !self->current);
	WF_CHECK(wf_box_word(&a->box) & WF_BOX_USED);
	if (WF_UNLIKELY(a->keeper))
		run_placed(self, a);
	else
		run(self, a);
}
