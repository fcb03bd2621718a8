/*
 * call.c: from a submit to a queue of its actor, and the ends of calls that never run.
 *
 * A call is admitted under the actor's lock: it is alive, the caller has room. One that can run now
 * goes to its group's queue. One that waits for inputs, or stands behind a waiting call of the same
 * caller and group, is in a row: each but the first has one count of ext->unready for its
 * predecessor, so it is ready when its inputs are and all before it have been queued or have
 * ended. Where the order is free a waiting call is loose: in a list, so that a kill finds it; so is
 * one that waits for its next attempt (wf_call_leave()).
 *
 * Everything in rows and in the loose list is the lock's. A call leaves them when it becomes ready
 * (wf_call_ready), ends early (wf_call_gone), or its actor dies (wf_rows_claim).
 */
#include <errno.h>
#include <string.h>

#include "actor.h"

/* ---- Room ------------------------------------------------------------------------------------ */

/*
 * Who waits for room does so by an event of its own, in a list of the actor. It is told when half
 * of its limit is free (512 places at most), so that many calls pay for a wait and both sides work
 * on lines of their own meanwhile: told of 64 places, floods on two threads were twice as slow. Or
 * when anything is free, and the turn leaves, or its body waits: then nothing may end for long.
 * Turns look when they take more calls, under the lock that they need anyhow.
 */
struct room_wait {
	struct wf_cell *next;
	struct wf_link *link;
};
_Static_assert(sizeof(struct room_wait) <= WF_INLINE_BYTES, "fits the event's data");

/* Nobody else uses the data of an event that has no value. */
static struct room_wait *room_wait_of(struct wf_cell *event)
{
	return (struct room_wait *)(void *)event->data;
}

uint32_t wf_room_wanted(const struct wf_actor *a)
{
	uint32_t half = a->max_pending / 2;

	WF_DEBUG(a->max_pending > 0);
	return half < 1 ? 1 : half < WF_ROOM_MOST ? half : WF_ROOM_MOST;
}

uint32_t wf_room_wait(struct wf_actor *a, uint32_t word, struct wf_link *link,
                      struct wf_cell *event)
{
	WF_CHECK(a->cold && link);
	WF_DEBUG(!(word & (WF_BOX_CLOSED | WF_BOX_STOP)));
	*room_wait_of(event) = (struct room_wait){ .next = a->cold->room, .link = link };
	a->cold->room = event;
	return word | WF_BOX_ROOM;
}

bool wf_room_leave(struct wf_actor *a, uint32_t *word, struct wf_cell *event)
{
	struct wf_cell **at = &a->cold->room;

	while (*at && *at != event)
		at = &room_wait_of(*at)->next;
	if (!*at)
		return false;
	*at = room_wait_of(event)->next;
	if (!a->cold->room)
		*word &= ~WF_BOX_ROOM;
	return true;
}

uint32_t wf_room_take(struct wf_actor *a, uint32_t word, uint32_t free, struct wf_cell **told)
{
	*told = NULL;
	if (WF_LIKELY(!(word & WF_BOX_ROOM)))
		return word;
	bool all = word & (WF_BOX_CLOSED | WF_BOX_STOP);
	struct wf_cell **at = &a->cold->room;

	WF_DEBUG(free > 0 && *at);
	while (*at) {
		struct wf_cell *event = *at;
		struct room_wait *wait = room_wait_of(event);

		if (!all && wf_link_pending(wait->link) + free > a->max_pending) {
			at = &wait->next;
			continue;
		}
		*at = wait->next;
		wait->next = *told;
		*told = event;
	}
	return a->cold->room ? word : word & ~WF_BOX_ROOM;
}

void wf_room_tell(struct wf_local *self, struct wf_cell *told)
{
	while (WF_UNLIKELY(told != NULL)) {
		struct wf_cell *event = told;

		told = room_wait_of(event)->next;
		wf_signal(self, event, NULL);
	}
}

void wf_call_pauses_slow(struct wf_local *self)
{
	const struct weft_task *frame = self->current;
	struct wf_cell *told;

	/* What waits may have been run on top of the call. */
	while (frame && !(wf_cell_ext(frame->cell) && wf_cell_ext(frame->cell)->call))
		frame = frame->outer;
	if (!frame)
		return;
	struct wf_actor *a = wf_actor_at(self->rt, wf_call_info(wf_cell_ext(frame->cell))->actor);

	/* [R2]: the ends that were counted, before the look at who waits; he does it crosswise. */
	wf_fence_seq_cst();
	if (WF_LIKELY(!(wf_box_word(&a->box) & WF_BOX_ROOM)))
		return;
	uint32_t word = wf_room_take(a, wf_box_lock(&a->box), 1, &told);

	wf_box_unlock(&a->box, word);
	wf_room_tell(self, told);
}

/* Under the lock: whether this is inside a turn of the actor, which will look for who waits. */
static bool inside_turn(const struct wf_local *self, const struct wf_actor *a)
{
	/* acquire [N2]: an exclusive turn begins without the lock. */
	const struct wf_turn *turn = (const struct wf_turn *)wf_load_acquire(&a->turns);

	while (turn && turn->fiber != self->fiber)
		turn = turn->next;
	return turn && self->fiber;
}

/* A call ends elsewhere than in the exclusive turn's short way: its count and its hold go. */
void wf_call_settle(struct wf_local *self, struct wf_ext *ext)
{
	WF_DEBUG(ext->call == WF_CALL_SHORT || ext->call == WF_CALL_WAITS);
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_actor *a = wf_actor_at(self->rt, info->actor);
	struct wf_cell *told;

	if (info->link) {
		uint32_t word = wf_box_lock(&a->box);

		info->link->settled++;
		info->link = NULL;
		bool more = word & WF_BOX_ROOM && inside_turn(self, a);

		word = wf_room_take(a, word, more ? wf_room_wanted(a) : 1, &told);
		wf_box_unlock(&a->box, word);
		wf_room_tell(self, told);
	}
	if (info->held) {
		info->held = 0;
		wf_actor_unhold(self, a);
	}
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static struct wf_row *row_find(struct wf_cold *cold, uint64_t caller, uint32_t group)
{
	struct wf_row *row = cold ? cold->rows : NULL;

	while (row && (row->caller != caller || row->group != group))
		row = row->next;
	return row;
}

static int row_join(struct wf_actor *a, struct wf_ext *ext, uint64_t caller, struct wf_row *row)
{
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_cold *cold = wf_actor_cold(a);

	if (!cold)
		return -ENOMEM;
	if (!row) {
		row = wf_calloc(1, sizeof(*row));
		if (!row)
			return -ENOMEM;
		*row = (struct wf_row){ .next = cold->rows,
			                .caller = caller,
			                .group = info->group };
		cold->rows = row;
	}
	WF_DEBUG(row->caller == caller && row->group == info->group);
	WF_DEBUG(!row->tail == !row->head && ext->call == WF_CALL_WAITS);
	info->row_prev = row->tail;
	info->row_next = NULL;
	info->row = WF_ROW_IN | (row->tail ? WF_ROW_BEHIND : 0);
	if (row->tail)
		wf_call_info(row->tail)->row_next = ext;
	else
		row->head = ext;
	row->tail = ext;
	cold->waiting++;
	return 0;
}

int wf_loose_join(struct wf_actor *a, struct wf_ext *ext)
{
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_cold *cold = wf_actor_cold(a);

	if (!cold)
		return -ENOMEM;
	WF_DEBUG(ext->call == WF_CALL_WAITS && !info->row);
	info->row = WF_ROW_LOOSE;
	info->row_prev = NULL;
	info->row_next = cold->loose;
	if (cold->loose)
		wf_call_info(cold->loose)->row_prev = ext;
	cold->loose = ext;
	cold->waiting++;
	return 0;
}

/* The row that begins or ends with `ext`; it may have no other. */
static struct wf_row *row_of_end(struct wf_cold *cold, const struct wf_ext *ext)
{
	for (struct wf_row *row = cold->rows; row; row = row->next) {
		if (row->head == ext || row->tail == ext)
			return row;
	}
	return NULL;
}

static void row_delete(struct wf_cold *cold, struct wf_row *row)
{
	struct wf_row **at = &cold->rows;

	WF_CHECK(!row->head && !row->tail);
	while (*at != row)
		at = &(*at)->next;
	*at = row->next;
	wf_free(row);
}

/*
 * Take a call out of its row or the loose list. The call that is the first of the row now, and was
 * not before: its count for the predecessor is the caller's to drop.
 */
static struct wf_ext *row_leave(struct wf_actor *a, struct wf_ext *ext)
{
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_cold *cold = a->cold;
	struct wf_ext *prev = info->row_prev, *next = info->row_next;
	struct wf_row *row = info->row & WF_ROW_IN ? row_of_end(cold, ext) : NULL;

	WF_CHECK(info->row & (WF_ROW_IN | WF_ROW_LOOSE) && cold->waiting > 0);
	WF_DEBUG(prev != ext && next != ext);
	if (prev)
		wf_call_info(prev)->row_next = next;
	if (next)
		wf_call_info(next)->row_prev = prev;
	if (info->row & WF_ROW_LOOSE && cold->loose == ext)
		cold->loose = next;
	if (row) {
		row->head = row->head == ext ? next : row->head;
		row->tail = row->tail == ext ? prev : row->tail;
		if (!row->head)
			row_delete(cold, row);
	}
	bool first = info->row & WF_ROW_IN && !prev;

	info->row &= WF_ROW_BEHIND;
	cold->waiting--;
	if (!first || !next)
		return NULL;
	WF_CHECK(wf_call_info(next)->row & WF_ROW_BEHIND);
	wf_call_info(next)->row &= (uint8_t)~WF_ROW_BEHIND;
	return next;
}

/*
 * Drop the count of a call that has become the first of its row. That may make it ready, and the
 * one behind it the first, and so on; or it is refused by a dead actor, which ends it and lets
 * others of other rows become the first. All those come one after the other here, not on the stack.
 */
static void let_pass(struct wf_local *self, struct wf_ext *ext)
{
	if (!ext)
		return;
	/* Ours until its count is dropped: whoever ends it meanwhile leaves it and this link. */
	wf_call_info(ext)->pass_next = self->pass;
	self->pass = ext;
	if (self->passing)
		return;
	self->passing = true;
	while (self->pass) {
		ext = self->pass;
		self->pass = wf_call_info(ext)->pass_next;
		wf_unready_drop(self, ext);
	}
	self->passing = false;
}

struct wf_ext *wf_rows_claim(struct wf_local *self, struct wf_actor *a)
{
	struct wf_cold *cold = a->cold;
	struct wf_ext *claimed = NULL;

	(void)self;
	while (cold && (cold->loose || cold->rows)) {
		/* From the tail, so that nobody becomes first. */
		struct wf_ext *ext = cold->loose ? cold->loose : cold->rows->tail;

		WF_CHECK(!row_leave(a, ext));
		/* Not ours: somebody else ends it, or it is ready, and waits for this lock. */
		if (!wf_early_claim(ext))
			continue;
		WF_DEBUG(ext->call == WF_CALL_WAITS);
		wf_call_info(ext)->row_next = claimed;
		claimed = ext;
	}
	return claimed;
}

void wf_rows_end(struct wf_local *self, struct wf_ext *claimed, struct wf_error *error)
{
	while (claimed) {
		struct wf_ext *next = wf_call_info(claimed)->row_next;

		wf_error_retain(error);
		wf_early_end(self, claimed, error);
		claimed = next;
	}
}

/* ---- Queues ---------------------------------------------------------------------------------- */

/* A queue that has become long, to be told of when no lock is held. */
struct crowd {
	const struct weft_actor_class *class_;
	uint32_t n; /* 0: nothing to tell */
};

/* Under the lock: so many wait in one place. Told of once, and when it has doubled, and so on. */
static WF_NOINLINE struct crowd crowd_of(struct wf_actor *a, uint32_t n)
{
	struct wf_cold *cold = wf_actor_cold(a);

	WF_DEBUG(n >= WF_CROWD);
	/* No memory to note it in: others will come. */
	if (!cold || n < cold->crowd)
		return (struct crowd){ NULL, 0 };
	cold->crowd = cold->crowd ? cold->crowd : WF_CROWD;
	while (cold->crowd <= n && cold->crowd <= UINT32_MAX / 2)
		cold->crowd *= 2;
	return (struct crowd){ a->class_, n };
}

/* The same of the queue that a call has just joined. */
static inline struct crowd crowd_in(struct wf_actor *a, enum wf_post how,
                                    const struct wf_call_group *group)
{
	if (WF_LIKELY(how != WF_POST_QUEUED || group->queued < WF_CROWD))
		return (struct crowd){ NULL, 0 };
	return crowd_of(a, group->queued);
}

static WF_NOINLINE void crowd_tell(weft *rt, const struct crowd *crowd)
{
	WF_DEBUG(crowd->n >= WF_CROWD && crowd->class_);
	wf_log(rt, WEFT_LOG_WARN, "actor %s: %u calls wait to run; more are made than it can run",
	       crowd->class_->name ? crowd->class_->name : "actor", crowd->n);
}

void wf_call_refuse_all(struct wf_local *self, struct wf_mail *chain, struct wf_error *error)
{
	while (chain) {
		struct wf_mail *next = chain->next;

		wf_error_retain(error);
		wf_task_refuse(self, wf_cell_of_mail(chain), error);
		chain = next;
	}
}

/* Under the lock. */
static enum wf_post post(struct wf_actor *a, uint32_t word, const struct wf_call_info *info,
                         struct wf_cell *cell)
{
	struct wf_call_group *group = wf_call_group_at(a, info->group);

	WF_DEBUG(info->group <= WEFT_ACTOR_GROUPS_MAX);
	if (info->kind != WF_CALL_INIT)
		return wf_box_post(&a->box, word, group, wf_mail_of(cell), a->exclusive);
	if (word & WF_BOX_CLOSED)
		return WF_POST_CLOSED;
	/* Nothing runs before it, and nobody but it is inside. */
	WF_CHECK(!(word & WF_BOX_OPEN) && !wf_actor_active(a) && !a->box.handed);
	group->active = 1;
	wf_mail_of(cell)->next = NULL;
	a->box.handed = wf_mail_of(cell);
	return WF_POST_TURN;
}

/* In the data of a call that is in no queue and is to be refused. */
struct refusal {
	struct wf_cell *next;
	struct wf_error *error; /* counted */
};
_Static_assert(sizeof(struct refusal) <= WF_INLINE_BYTES, "fits the data");

static struct refusal *refusal_of(struct wf_cell *cell)
{
	return (struct refusal *)(void *)cell->data;
}

/*
 * A call that has waited is refused. That may make the next one ready, which is refused, and so on:
 * all those come one after the other here, not on the stack. Cancellers leave the data alone.
 */
static void refuse(struct wf_local *self, struct wf_cell *cell, struct wf_error *error)
{
	WF_DEBUG(!wf_promise_is_done(&cell->promise) || wf_flags(cell) & WF_CELL_SHARED);
	*refusal_of(cell) = (struct refusal){ .next = self->refuse, .error = error };
	self->refuse = cell;
	if (self->refusing)
		return;
	self->refusing = true;
	while (self->refuse) {
		cell = self->refuse;
		self->refuse = refusal_of(cell)->next;
		WF_DEBUG(refusal_of(cell)->error != NULL);
		wf_task_refuse(self, cell, refusal_of(cell)->error);
	}
	self->refusing = false;
}

/* A fresh call that waits for nothing; its admission keeps the actor. */
void wf_call_post(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_call_info info = *wf_call_info(wf_cell_ext(cell));
	struct wf_actor *a = wf_actor_at(self->rt, info.actor);

	WF_DEBUG(!info.row && !info.held);
	WF_DEBUG(wf_load_relaxed(&a->holds) > 0); /* relaxed: ours is in it. */
	WF_DEBUG(!wf_ext_edge_count(wf_cell_ext(cell)));
	/* release [C1]: a canceller that sees QUEUED frees the ext that was read before. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	uint32_t word = wf_box_lock(&a->box);
	enum wf_post how = post(a, word, &info, cell);
	struct crowd crowd = crowd_in(a, how, wf_call_group_at(a, info.group));

	wf_box_unlock(&a->box, word);
	if (WF_UNLIKELY(crowd.n))
		crowd_tell(self->rt, &crowd);
	if (how == WF_POST_TURN)
		wf_turn_schedule(self, a);
	/* At once: nothing waits for it yet. */
	if (WF_UNLIKELY(how == WF_POST_CLOSED)) {
		wf_task_refuse(self, cell, wf_actor_error(a));
		if (info.kind == WF_CALL_INIT)
			wf_cell_release(self, cell);
	}
	wf_actor_unhold(self, a);
}

void wf_call_ready(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_cell *cell = &self->rt->cells[ext->cell];
	struct wf_actor *a = wf_actor_at(self->rt, wf_call_info(ext)->actor);
	struct wf_ext *next = NULL;

	WF_DEBUG(wf_cell_ext(cell) == ext);
	/* The call's own hold may go as soon as it is queued. */
	wf_actor_hold(a);
	uint32_t word = wf_box_lock(&a->box);
	/* A killer may have taken it out of its row. */
	struct wf_call_info info = *wf_call_info(ext);

	WF_DEBUG(info.held && !(info.row & WF_ROW_BEHIND));
	if (info.row & (WF_ROW_IN | WF_ROW_LOOSE))
		next = row_leave(a, ext);
	/* release [C1]: as above. From here on the ext is not ours to read. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	enum wf_post how = post(a, word, &info, cell);

	wf_box_unlock(&a->box, word);
	if (how == WF_POST_TURN)
		wf_turn_schedule(self, a);
	if (WF_UNLIKELY(how == WF_POST_CLOSED)) {
		WF_DEBUG(info.kind <= WF_CALL_FINI);
		refuse(self, cell, wf_actor_error(a));
		/* The actor's count; it is completed in a moment, if it is not yet. */
		if (info.kind == WF_CALL_INIT)
			wf_cell_release(self, cell);
	}
	let_pass(self, next);
	wf_actor_unhold(self, a);
}

/* ---- Early ends ---------------------------------------------------------------------------- */

void wf_call_gone(struct wf_local *self, struct wf_ext *ext, struct wf_error *error)
{
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_actor *a = wf_actor_at(self->rt, info->actor);
	struct wf_ext *next = NULL;

	WF_DEBUG(ext->call == WF_CALL_WAITS && info->held);
	WF_DEBUG(error != NULL);
	wf_actor_hold(a);
	uint32_t word = wf_box_lock(&a->box);

	if (info->row & (WF_ROW_IN | WF_ROW_LOOSE))
		next = row_leave(a, ext);
	bool behind = info->row & WF_ROW_BEHIND;
	bool init = info->kind == WF_CALL_INIT;
	bool idle = !wf_actor_queued(a) && !wf_actor_active(a) && !a->cold->waiting &&
		word & (WF_BOX_STOP | WF_BOX_ORPHAN);

	info->row = 0;
	wf_box_unlock(&a->box, word);
	if (init) {
		wf_actor_kill(self, a, wf_death_make(a, "its init did not run", error), false);
		/* The actor's count; it is completed in a moment. */
		wf_cell_release(self, &self->rt->cells[ext->cell]);
	}
	if (idle)
		wf_actor_poke(self, a);
	/* Before its refs are ready: who is told by them finds room. */
	wf_call_settle(self, ext);
	if (behind)
		wf_unready_drop(self, ext);
	let_pass(self, next);
	wf_actor_unhold(self, a);
}

/* ---- Admission ----------------------------------------------------------------------------- */

/* Under the lock: 0, 1 in a row, or an error. */
static int admit(struct wf_local *self, const struct wf_target *to, struct wf_cell *cell,
                 struct wf_ext *ext, bool edges, uint32_t word)
{
	struct wf_call_info *info = wf_call_info(ext);
	struct wf_actor *a = to->actor;
	struct wf_link *link = NULL;
	int rc = 0;

	if (!wf_actor_is(a, word, to->gen)) /* released meanwhile by who had no count */
		return -EINVAL;
	/* An init, too: nobody would find it where it waits. */
	if (word & WF_BOX_CLOSED || (word & WF_BOX_STOP && to->kind == WF_CALL_METHOD))
		return WEFT_EACTOR;
	if (a->max_pending != WEFT_PENDING_UNLIMITED && to->kind == WF_CALL_METHOD) {
		link = wf_link_of(self, a, to->caller);
		if (!link)
			return -ENOMEM;
		if (wf_link_pending(link) >= a->max_pending)
			return WEFT_ECALLS;
	}
	WF_DEBUG(!info->row && !info->link);
	bool free_order = a->any_order || to->kind != WF_CALL_METHOD;
	struct wf_row *row = free_order ? NULL : row_find(a->cold, to->caller, to->group);

	if (row || (edges && !free_order))
		rc = row_join(a, ext, to->caller, row);
	else if (edges)
		rc = wf_loose_join(a, ext);
	if (rc)
		return rc;
	if (link)
		link->submitted++;
	info->link = link;
	wf_cell_set_ext(cell, ext);
	if (WF_UNLIKELY(word & WF_BOX_GROUP))
		wf_group_take_in(self->rt, a->cold->group, cell);
	/* Whoever makes the call need not have a count of the actor: until it is queued. */
	if (!info->row) {
		wf_actor_hold(a);
		return 0;
	}
	WF_DEBUG(ext->call == WF_CALL_WAITS && !info->held);
	info->held = 1;
	wf_actor_hold(a);
	/* One count for the submitter, one for the predecessor. */
	wf_init(&ext->unready,
	        (wf_ext_edge_count(ext) + 1 + (info->row & WF_ROW_BEHIND ? 1 : 0)) |
	                WF_UNREADY_LINKING);
	/* release [C1]: its ext, to a canceller. */
	wf_store_release(&cell->promise.state, WF_STATE_WAITING);
	return 1;
}

int wf_call_admit(struct wf_local *self, const struct wf_target *to, struct wf_cell *cell,
                  struct wf_ext *ext, bool edges)
{
	struct wf_actor *a = to->actor;

	*wf_call_info(ext) = (struct wf_call_info){ .actor = wf_actor_index(self->rt, a),
		                                    .kind = (uint8_t)to->kind,
		                                    .group = (uint8_t)to->group };
	WF_DEBUG(ext->call == WF_CALL_WAITS && !wf_cell_ext(cell));
	WF_DEBUG(to->group <= WEFT_ACTOR_GROUPS_MAX);
	uint32_t word = wf_box_lock(&a->box);
	int rc = admit(self, to, cell, ext, edges, word);
	struct crowd crowd = { NULL, 0 };

	if (WF_UNLIKELY(rc == 1 && a->cold->waiting >= WF_CROWD))
		crowd = crowd_of(a, a->cold->waiting);
	wf_box_unlock(&a->box, word);
	if (WF_UNLIKELY(crowd.n))
		crowd_tell(self->rt, &crowd);
	return rc;
}

int wf_call_target(weft *rt, const struct weft_call *call, const struct weft_task_options *o,
                   struct wf_target *to)
{
	struct wf_actor *a = wf_actor_of(rt, call->actor);

	if (!a)
		return -EINVAL;
	if (o->flags & WEFT_TASK_BLOCKING || o->key || o->output_name || o->output_place ||
	    o->group.bits)
		return -ENOTSUP;
	if (o->actor_class && o->actor_class != a->class_->id)
		return -EINVAL;
	*to = (struct wf_target){ .actor = a, .gen = wf_actor_gen(call->actor) };
	if (!o->actor_group || !strcmp(o->actor_group, WEFT_ACTOR_GROUP_DEFAULT))
		return 0;
	for (uint32_t i = 0; i < a->class_->n_groups; i++) {
		if (!strcmp(a->class_->groups[i].name, o->actor_group)) {
			to->group = i + 1;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- The short form ------------------------------------------------------------------------ */

static WF_NOINLINE int call_slow(weft *rt, weft_actor actor, weft_task_fn *fn, const void *arg,
                                 size_t size, weft_ref *out)
{
	struct weft_call call = {
		.fn = fn, .arg = arg, .arg_size = (uint32_t)size, .actor = actor
	};

	if (!actor.bits)
		return -EINVAL;
	if (size > WEFT_ARG_MAX)
		return -EMSGSIZE;
	return weft_submit_call(rt, &call, out);
}

static inline struct wf_ext *plain_fill(struct wf_local *self, const struct wf_actor *a,
                                        struct wf_cell *cell, weft_task_fn *fn, const void *arg,
                                        size_t size, bool forget)
{
	struct wf_ext *ext = (struct wf_ext *)(void *)self->slab.blocks_free[0];

	self->slab.blocks_free[0] = self->slab.blocks_free[0]->next;
	/* As for cells: the next one's line may be far away. */
	__builtin_prefetch(self->slab.blocks_free[0], 1);
	wf_cell_unlink(self, cell);
	wf_init(&cell->promise.waiters, 0);
	wf_init(&cell->promise.refs, 0);
	cell->u.fn = fn;
	wf_cell_set_ext(cell, ext);
	wf_init(&cell->head,
	        self->head + wf_head(0, forget ? WF_CELL_TASK | WF_CELL_FORGET : WF_CELL_TASK));
	wf_init(&cell->place, wf_place(0));
	wf_init(&cell->mark.all, 0);
	/* relaxed: published by the lock. */
	wf_store_relaxed(&cell->promise.state, WF_STATE_QUEUED);
	*ext = (struct wf_ext){ .parent = wf_tag_of(self->current),
		                .cell = (uint32_t)(cell - self->rt->cells),
		                .n_outputs = 1,
		                .arg_size = size & 31,
		                .flags = size ? WF_EXT_ARG : 0,
		                .block = 1,
		                .call = WF_CALL_SHORT };
	struct wf_call_info *info = wf_call_info(ext);

	WF_DEBUG(size <= WF_INLINE_BYTES);
	WF_DEBUG(wf_ext_arg_at(ext) == sizeof(*ext) + 16);
	info->actor = wf_actor_index(self->rt, a);
	info->kind = WF_CALL_METHOD;
	info->group = info->held = info->row = 0;
	wf_copy_inline((unsigned char *)info + 16, arg, size);
	return ext;
}

/* Have a block of 64 bytes on the free list: the long way makes larger ones. */
static WF_NOINLINE bool block_ready(struct wf_local *self)
{
	uint32_t got;
	void *block = wf_block_alloc(self, 64, &got);

	if (block)
		wf_block_free(self, block, got);
	return block && self->slab.blocks_free[0];
}

/*
 * One cell, one block of 64 bytes with the argument in it, one locked instruction. Anything else
 * takes the long way: the first call of a caller, waiting calls before this one, no memory at hand.
 */
int weft_actor_call(weft *rt, weft_actor actor, weft_task_fn *fn, const void *arg, size_t size,
                    weft_ref *out)
{
	struct wf_local *self = wf_self();

	/* relaxed: a gate that shuts now may be seen a little later. */
	if (WF_UNLIKELY(!self || self->fast_rt != rt || !fn || size > WF_INLINE_BYTES ||
	                (size && !arg) || wf_load_relaxed(&rt->gate)))
		return call_slow(rt, actor, fn, arg, size, out);
	struct wf_actor *a = wf_actor_of(rt, actor);
	struct wf_cell *cell = self->slab.cells_free;

	if (WF_UNLIKELY(!a || !cell || (!self->slab.blocks_free[0] && !block_ready(self))))
		return call_slow(rt, actor, fn, arg, size, out);
	WF_DEBUG(self->worker && !self->rt->timing);
	WF_DEBUG(size <= WF_INLINE_BYTES);
	uint64_t caller = wf_caller_of(self);
	WF_DEBUG(caller != 0);
	uint32_t word = wf_box_lock(&a->box);
	bool counted = a->max_pending != WEFT_PENDING_UNLIMITED;
	struct wf_link *link = counted ? wf_link_find(a, caller) : NULL;

	/* Calls of a group go the long way, and those that find devices. */
	if (WF_UNLIKELY((word &
	                 (WF_BOX_CLOSED | WF_BOX_STOP | WF_BOX_GROUP | WF_BOX_DEVICE |
	                  WF_BOX_USED)) != WF_BOX_USED ||
	                !wf_actor_is(a, word, wf_actor_gen(actor)) || (a->cold && a->cold->rows) ||
	                (counted && (!link || wf_link_pending(link) >= a->max_pending)))) {
		wf_box_unlock(&a->box, word);
		return call_slow(rt, actor, fn, arg, size, out);
	}
	/* Nothing can fail from here on, and what is done under the lock is short. */
	struct wf_ext *ext = plain_fill(self, a, cell, fn, arg, size, out == NULL);

	if (link)
		link->submitted++;
	wf_call_info(ext)->link = link;
	if (out)
		*out = wf_ref_of(rt, cell);
	wf_bump(&self->submitted);
	enum wf_post how =
		wf_box_post(&a->box, word, &a->box.group, wf_mail_of(cell), a->exclusive);
	struct crowd crowd = crowd_in(a, how, &a->box.group);

	wf_box_unlock(&a->box, word);
	if (how == WF_POST_TURN)
		wf_turn_schedule(self, a);
	else if (WF_UNLIKELY(crowd.n))
		crowd_tell(rt, &crowd);
	return 0;
}

/* ---- The actor's own calls ----------------------------------------------------------------- */

struct wf_cell *wf_call_make(struct wf_local *self, struct wf_actor *a, uint32_t kind,
                             weft_task_fn *fn, const struct wf_again *again)
{
	struct weft_task_options o = { .name = a->class_->name, .n_outputs = 1 };
	struct weft_call call = { .fn = fn, .actor = wf_actor_handle(self->rt, a) };

	if (again) {
		call.arg = again->arg;
		call.arg_size = again->arg_size;
		call.inputs = again->inputs;
		call.n_inputs = again->n_inputs;
		call.n_after = again->n_after;
		o.on_input_error = (uint32_t)again->policy;
	}
	/* Nobody's children: an actor outlives who makes it. */
	struct wf_cell *cell =
		wf_submit_prepare(self, &call, &o, NULL, WF_TAG_NONE, kind == WF_CALL_FINI);

	if (!cell)
		return NULL;
	*wf_call_info(wf_cell_ext(cell)) =
		(struct wf_call_info){ .actor = wf_actor_index(self->rt, a),
		                       .kind = (uint8_t)kind };
	WF_CHECK(kind != WF_CALL_METHOD);
	WF_DEBUG(wf_cell_ext(cell)->call == WF_CALL_WAITS);
	wf_submit_inputs(self, wf_cell_ext(cell), &call);
	return cell;
}

void wf_call_unmake(struct wf_local *self, struct wf_cell *cell)
{
	wf_submit_undo(self, cell, wf_cell_ext(cell));
}
