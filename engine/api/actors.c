/*
 * actors.c: the doors of actors; create and call are in the actors' room.
 */
#include <errno.h>
#include <string.h>

#include "actor.h"

/* ---- Inside a call --------------------------------------------------------------------------- */

static struct wf_actor *actor_of_task(const weft_task *self)
{
	struct wf_ext *ext = self ? wf_cell_ext(self->cell) : NULL;

	return ext && ext->call ? wf_actor_at(self->rt, wf_call_info(ext)->actor) : NULL;
}

void *weft_actor_state(const weft_task *self)
{
	struct wf_actor *a = actor_of_task(self);

	return a ? a->state : NULL;
}

weft_actor weft_actor_self(const weft_task *self)
{
	struct wf_actor *a = actor_of_task(self);

	return a ? wf_actor_handle(self->rt, a) : (weft_actor){ 0 };
}

int weft_actor_exit(weft_task *self)
{
	struct wf_actor *a = actor_of_task(self);

	if (!a)
		return -EINVAL;
	int rc = wf_actor_leave(self->rt, a, WF_BOX_EXIT,
	                        wf_death_make(a, "it has left by itself", NULL));

	wf_name_remove(self->rt, a);
	return rc;
}

int weft_actor_crash(weft_task *self, const char *why)
{
	struct wf_actor *a = actor_of_task(self);

	if (!a)
		return -EINVAL;
	return wf_actor_leave(self->rt, a, WF_BOX_CRASH,
	                      wf_death_make(a, why ? why : "it has crashed", NULL));
}

/* ---- Handles --------------------------------------------------------------------------------- */

int weft_actor_retain(weft *rt, weft_actor actor)
{
	struct wf_actor *a = rt ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;

	if (!self)
		return a ? -ENOMEM : -EINVAL;
	a = wf_actor_hold_of(rt, actor);
	if (!a)
		return -EINVAL;
	wf_actor_take_handle(a);
	/* relaxed: ours is in it. */
	WF_CHECK(wf_load_relaxed(&a->handles) > 0);
	WF_DEBUG(self->rt == rt);
	wf_actor_unhold(self, a);
	return 0;
}

int weft_actor_release(weft *rt, weft_actor actor)
{
	struct wf_actor *a = rt ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;

	if (!self)
		return a ? -ENOMEM : -EINVAL;
	/* relaxed: a holder's own count is in it. */
	if (!wf_load_relaxed(&a->handles))
		return -EINVAL;
	wf_actor_drop_handle(self, a);
	return 0;
}

int weft_actor_ref(weft *rt, weft_actor actor, weft_ref *out)
{
	struct wf_actor *a = rt && out ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;
	struct wf_cell *cell = self ? wf_cell_start(self, WF_CELL_HANDLE, WF_STATE_RUNNING) : NULL;

	if (!cell)
		return a ? -ENOMEM : -EINVAL;
	WF_DEBUG(!wf_promise_is_done(&cell->promise));
	int rc = weft_actor_retain(rt, actor);

	if (rc) {
		wf_cell_free(self, cell);
		return rc;
	}
	wf_cell_set_value(cell, NULL, &actor, sizeof(actor));
	wf_flags_add(cell, WF_CELL_TIMED);
	/* release [P1]: the bytes. Ready from the start: nobody can have pushed. */
	wf_store_release(&cell->promise.state, WF_STATE_DONE);
	*out = wf_ref_of(rt, cell);
	return 0;
}

void wf_handle_drop(struct wf_local *self, struct wf_cell *cell)
{
	weft_actor actor;

	memcpy(&actor, cell->data, sizeof(actor));
	struct wf_actor *a = wf_actor_of(self->rt, actor);

	WF_CHECK(a != NULL);
	wf_actor_drop_handle(self, a);
}

/* ---- Life ---------------------------------------------------------------------------------- */

int weft_actor_died(weft *rt, weft_actor actor, weft_ref *out)
{
	struct wf_actor *a = rt && out ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;

	if (!self)
		return a ? -ENOMEM : -EINVAL;
	struct wf_cell *fresh = wf_event_start(self, WF_CELL_SIGNAL);

	if (!fresh)
		return -ENOMEM;
	wf_promise_retain(&fresh->promise);
	uint32_t word = wf_box_lock(&a->box);
	struct wf_cell *event = fresh;
	bool there = wf_actor_is(a, word, wf_actor_gen(actor)), dead = word & WF_BOX_DEAD;
	struct wf_cold *cold = there && !dead ? wf_actor_cold(a) : NULL;
	struct wf_error *death = there && dead && word & WF_BOX_KILL ? a->death : NULL;

	WF_DEBUG(!cold || word & WF_BOX_USED);
	WF_DEBUG(!death || death->pub.status == WEFT_EACTOR);
	if (death)
		wf_error_retain(death);
	if (cold && cold->died) {
		event = cold->died;
		wf_promise_retain(&event->promise);
	} else if (cold) {
		cold->died = event;
	}
	wf_box_unlock(&a->box, word);
	if (there && dead) {
		wf_signal(self, fresh, death);
		wf_error_release(death);
	} else if (event != fresh || !cold) {
		/* Somebody has asked before, or it has gone, or there is no memory. */
		wf_signal(self, fresh, NULL);
		wf_cell_release(self, fresh);
		if (!cold)
			return there ? -ENOMEM : -EINVAL;
	}
	*out = wf_ref_of(rt, event);
	return 0;
}

int weft_actor_kill(weft *rt, weft_actor actor, int how)
{
	struct wf_actor *a = rt ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;

	if (!a || (how != WEFT_KILL_NOW && how != WEFT_KILL_RESTART))
		return -EINVAL;
	if (!self)
		return -ENOMEM;
	a = wf_actor_hold_of(rt, actor);
	if (!a)
		return -EINVAL;
	WF_DEBUG(a->class_ && self->rt == rt);
	wf_actor_kill(self, a, wf_death_make(a, "it was killed", NULL), how == WEFT_KILL_RESTART);
	wf_actor_unhold(wf_local_of(rt), a);
	return 0;
}

int weft_actor_stop(weft *rt, weft_actor actor, weft_deadline until)
{
	struct wf_actor *a = rt ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;
	struct weft_view view;
	weft_ref died;

	if (!self)
		return a ? -ENOMEM : -EINVAL;
	if (self->current && actor_of_task(self->current) == a)
		return -EDEADLK;
	a = wf_actor_hold_of(rt, actor);
	int rc = a ? weft_actor_died(rt, actor, &died) : -EINVAL;

	if (!rc)
		wf_actor_ask_stop(self, a);
	if (a)
		wf_actor_unhold(self, a);
	if (rc)
		return rc;
	WF_DEBUG(died.bits != 0);
	rc = weft_get(rt, died, until, &view);
	if (rc == -ETIMEDOUT)
		weft_actor_kill(rt, actor, WEFT_KILL_NOW);
	weft_release(rt, died);
	return rc == WEFT_EACTOR || rc == -ECANCELED ? 0 : rc;
}

/* ---- Names --------------------------------------------------------------------------------- */

int weft_actor_find(weft *rt, const char *ns, const char *name, weft_actor *out)
{
	if (!rt || !out || !name || !*name || (ns && !*ns))
		return -EINVAL;
	if (strnlen(name, WEFT_ACTOR_NAME_MAX + 1) > WEFT_ACTOR_NAME_MAX ||
	    (ns && strnlen(ns, WEFT_ACTOR_NAME_MAX + 1) > WEFT_ACTOR_NAME_MAX))
		return -EMSGSIZE;
	struct wf_actors *t = wf_actors_of(rt);
	struct wf_actor *a = NULL;

	if (!t)
		return -ENOENT;
	pthread_mutex_lock(&t->names_mutex);
	a = wf_name_find(rt, ns ? ns : rt->ns, name);
	if (a)
		wf_actor_take_handle(a);
	pthread_mutex_unlock(&t->names_mutex);
	if (!a)
		return -ENOENT;
	*out = wf_actor_handle(rt, a);
	return 0;
}

int weft_actor_list(weft *rt, const char *ns, weft_actor_name_fn *fn, void *arg)
{
	if (!rt || !fn || (ns && !*ns))
		return -EINVAL;
	struct wf_actors *t = wf_actors_of(rt);
	int n = 0;

	if (!t)
		return 0;
	pthread_mutex_lock(&t->names_mutex);
	WF_DEBUG(t->name_count == 0 || t->names);
	for (uint32_t i = 0; i < t->name_buckets; i++) {
		for (struct wf_cold *cold = t->names[i]; cold; cold = cold->name_next) {
			struct wf_actor *a = &t->slot[cold->index];

			if ((ns && strcmp(ns, cold->ns)) || wf_box_word(&a->box) & WF_BOX_CLOSED)
				continue;
			fn(arg, cold->ns, cold->name, wf_actor_handle(rt, a));
			n++;
		}
	}
	pthread_mutex_unlock(&t->names_mutex);
	return n;
}

/* ---- Room ---------------------------------------------------------------------------------- */

/* Under the lock: 1 there is room, 0 there is not, or an error. */
static int room_in(struct wf_actor *a, uint32_t word, const struct wf_link *link)
{
	if (word & (WF_BOX_CLOSED | WF_BOX_STOP))
		return WEFT_EACTOR;
	return !link || wf_link_pending(link) < a->max_pending;
}

/* 1 there is room, 0 the event will tell, or an error. A count of the event is consumed. */
static int look_for_room(struct wf_local *self, struct wf_actor *a, uint64_t caller,
                         struct wf_cell *event)
{
	uint32_t word = wf_box_lock(&a->box);
	struct wf_link *link = wf_link_find(a, caller);
	int rc = room_in(a, word, link);

	/* It may be done: cancelled with everything. */
	WF_DEBUG(event != NULL);
	if (!rc && !wf_actor_cold(a))
		rc = -ENOMEM;
	if (!rc)
		word = wf_room_wait(a, word, link, event);
	wf_box_unlock(&a->box, word);
	if (rc) {
		wf_signal(self, event, NULL);
		return rc;
	}
	/* [R2]: who waits, before the second look; a body that waits does it crosswise. */
	wf_fence_seq_cst();
	word = wf_box_lock(&a->box);
	rc = room_in(a, word, link);
	bool left = rc && wf_room_leave(a, &word, event);

	wf_box_unlock(&a->box, word);
	if (left)
		wf_signal(self, event, NULL);
	return rc;
}

/* Look, and wait once. 1: there is room. */
static WF_SUSPENDS int await_room(struct wf_local *self, struct wf_actor *a, uint64_t caller,
                                  weft_deadline until)
{
	weft *rt = self->rt;
	struct wf_cell *event = wf_event_start(self, WF_CELL_SIGNAL);

	if (!event)
		return -ENOMEM;
	wf_promise_retain(&event->promise);
	int rc = look_for_room(self, a, caller, event);

	if (rc) {
		wf_cell_release(self, event);
		return rc;
	}
	rc = wf_wait_cell(rt, event, until);
	self = wf_local_of(rt);
	/* An error: not told, but cancelled with everything. */
	if (rc || wf_flags(event) & WF_CELL_ERROR) {
		uint32_t word = wf_box_lock(&a->box);
		bool left = wf_room_leave(a, &word, event);

		wf_box_unlock(&a->box, word);
		if (left)
			wf_signal(self, event, NULL);
	}
	wf_cell_release(self, event);
	return rc;
}

int weft_actor_wait_room(weft *rt, weft_actor actor, weft_deadline until)
{
	struct wf_actor *a = rt ? wf_actor_of(rt, actor) : NULL;
	struct wf_local *self = a ? wf_local_of(rt) : NULL;
	int rc = 0;

	if (!self)
		return a ? -ENOMEM : -EINVAL;
	WF_DEBUG(self->rt == rt);
	const uint64_t caller = wf_caller_of(self);

	a = wf_actor_hold_of(rt, actor);
	if (!a)
		return -EINVAL;
	while (!rc) {
		rc = await_room(self, a, caller, until);
		self = wf_local_of(rt);
	}
	wf_actor_unhold(self, a);
	return rc > 0 ? 0 : rc;
}

/* ---- Seeing it ----------------------------------------------------------------------------- */

static int phase_of(uint32_t word, uint32_t active)
{
	if (word & WF_BOX_DEAD)
		return WEFT_ACTOR_DEAD;
	if (word & (WF_BOX_AGAIN | WF_BOX_CRASH))
		return WEFT_ACTOR_RESTARTING;
	if (!(word & WF_BOX_OPEN) && !(word & WF_BOX_CLOSED))
		return WEFT_ACTOR_PENDING;
	return active ? WEFT_ACTOR_RUNNING : WEFT_ACTOR_IDLE;
}

int weft_actor_info(weft *rt, weft_actor actor, struct weft_actor_info *info)
{
	struct wf_actor *a = rt && info ? wf_actor_of(rt, actor) : NULL;

	if (!a || info->struct_size < sizeof(size_t) + sizeof(int))
		return -EINVAL;
	struct weft_actor_info full = { .struct_size = info->struct_size };
	uint32_t word = wf_box_lock(&a->box);

	if (!wf_actor_is(a, word, wf_actor_gen(actor))) {
		wf_box_unlock(&a->box, word);
		return -EINVAL;
	}
	WF_CHECK(a->class_ != NULL);
	full.class_name = a->class_->name ? a->class_->name : "actor";
	full.running = wf_actor_active(a);
	full.queued = wf_actor_queued(a);
	full.phase = phase_of(word, full.running);
	full.restarts = a->cold ? a->cold->restarts : 0;
	full.calls = wf_actor_calls(a);
	/* relaxed: a snapshot. */
	if (a->cold)
		full.busy_ns = (int64_t)wf_load_relaxed(&a->cold->busy_ns);
	if (word & WF_BOX_DEAD && a->death)
		full.cause = &a->death->pub;
	wf_box_unlock(&a->box, word);
	WF_DEBUG(full.class_name != NULL);
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}

/* Add an actor to the infos of its class. */
static void class_count(struct wf_actor *a, struct weft_actor_class_info *infos, uint32_t n)
{
	uint32_t word = wf_box_lock(&a->box), i = 0;

	WF_DEBUG(n > 0 && infos);
	WF_DEBUG(!(word & WF_BOX_USED) || a->class_);
	while (word & WF_BOX_USED && i < n && infos[i].class_ != a->class_)
		i++;
	if (word & WF_BOX_USED && i < n) {
		struct weft_actor_class_info *info = &infos[i];
		int phase = phase_of(word, wf_actor_active(a));

		info->created++;
		info->pending += phase == WEFT_ACTOR_PENDING;
		info->idle += phase == WEFT_ACTOR_IDLE;
		info->running += phase == WEFT_ACTOR_RUNNING;
		info->restarting += phase == WEFT_ACTOR_RESTARTING;
		info->queued += wf_actor_queued(a);
		info->calls += wf_actor_calls(a);
		info->restarts += a->cold ? a->cold->restarts : 0;
		/* relaxed: a snapshot. */
		info->busy_ns += a->cold ? (int64_t)wf_load_relaxed(&a->cold->busy_ns) : 0;
	}
	wf_box_unlock(&a->box, word);
}

int weft_actor_classes(weft *rt, weft_actor_class_fn *fn, void *arg)
{
	struct wf_actors *t = rt ? wf_actors_of(rt) : NULL;
	uint32_t n = 0;

	if (!rt || !fn)
		return -EINVAL;
	struct wf_actor_class *classes = t ? wf_classes_copy(t, &n) : NULL;
	struct weft_actor_class_info *infos = classes ? wf_calloc(n, sizeof(*infos)) : NULL;

	if (n && !infos) {
		wf_free(classes);
		return -ENOMEM;
	}
	WF_DEBUG(!n || classes);
	WF_DEBUG(!n == !infos);
	for (uint32_t i = 0; i < n; i++) {
		const struct wf_actor_class *c = &classes[i];

		infos[i] = (struct weft_actor_class_info){ .class_ = c->class_,
			                                   .name = c->class_->name ? c->class_->name
			                                                           : "actor",
			                                   .created = c->gone,
			                                   .calls = c->calls,
			                                   .restarts = c->restarts,
			                                   .busy_ns = (int64_t)c->busy_ns };
	}
	/* relaxed: a snapshot. */
	for (uint32_t i = 1; n && i < wf_load_relaxed(&t->end); i++)
		class_count(&t->slot[i], infos, n);
	for (uint32_t i = 0; i < n; i++)
		fn(arg, &infos[i]);
	wf_free(infos);
	wf_free(classes);
	return (int)n;
}
