/*
 * timers.c: calls after a time, once or again and again.
 *
 * A timer is a task that waits, on a stack of its own, until its call is due, its actor has died or
 * the runtime closes. So there is nothing to look after while none is set, and a cancel finds it
 * like any blocked task. It holds the actor's slot, not the actor.
 */
#include <errno.h>
#include <string.h>

#include "actor.h"
#include "options.h"

struct timer {
	weft *rt;
	struct wf_actor *actor;
	weft_task_fn *fn;
	int64_t at, every; /* every 0: once */
	weft_ref ends[2];  /* of the actor, of the runtime */
	uint32_t arg_size;
	WF_ALIGNED(16) unsigned char arg[];
};

/* The event of the runtime's close, counted for the caller; an error when that has begun. */
static int closing_of(struct wf_local *self, weft_ref *out)
{
	struct wf_actors *t = wf_actors_of(self->rt);
	int rc = 0;

	pthread_mutex_lock(&t->names_mutex);
	WF_DEBUG(!t->closing || (t->timers && !t->closed));
	if (t->closed)
		rc = WEFT_ECLOSED;
	else if (!t->closing)
		t->closing = wf_event_start(self, WF_CELL_SIGNAL);
	if (!rc && !t->closing)
		rc = -ENOMEM;
	if (!rc) {
		wf_promise_retain(&t->closing->promise);
		t->timers++;
		*out = wf_ref_of(self->rt, t->closing);
	}
	pthread_mutex_unlock(&t->names_mutex);
	return rc;
}

/* Without timers there is no event. */
static void closing_leave(struct wf_local *self, weft_ref event)
{
	struct wf_actors *t = wf_actors_of(self->rt);
	struct wf_cell *unused = NULL;

	pthread_mutex_lock(&t->names_mutex);
	WF_CHECK(t->timers > 0);
	if (--t->timers == 0) {
		unused = t->closing;
		t->closing = NULL;
	}
	pthread_mutex_unlock(&t->names_mutex);
	wf_signal(self, unused, NULL);
	weft_release(self->rt, event);
}

static void timer_free(struct timer *timer)
{
	struct wf_local *self = wf_local_of(timer->rt);

	WF_CHECK(self != NULL);
	if (timer->ends[0].bits)
		weft_release(timer->rt, timer->ends[0]);
	if (timer->ends[1].bits)
		closing_leave(self, timer->ends[1]);
	wf_actor_unhold(self, timer->actor);
	wf_free(timer);
}

static void timer_drop(void *arg, size_t size)
{
	WF_CHECK(size == sizeof(struct timer *));
	timer_free(*(struct timer **)arg);
}

/* Nobody is to be told of a failure: the end of a timer whose calls have no place to go. */
static int given_up(weft_task *self)
{
	struct wf_local *local = wf_local_of(self->rt);

	if (local)
		wf_cancel_cell(local, self->cell, WEFT_CANCEL_ALONE);
	return -ECANCELED;
}

/* When the next call is due: what has been missed is left out. */
static int64_t next_due(const struct timer *timer)
{
	int64_t now = wf_clock_now(&timer->rt->clock), next = timer->at;

	WF_DEBUG(timer->every > 0 && next <= now);
	if (next <= now)
		next += ((now - next) / timer->every + 1) * timer->every;
	return next;
}

static WF_SUSPENDS int tick(struct timer *timer)
{
	weft *rt = timer->rt;
	weft_actor actor = wf_actor_handle(rt, timer->actor);
	struct weft_view view;
	weft_ref ref;

	WF_CHECK(wf_actor_of(rt, actor) == timer->actor);
	WF_DEBUG(timer->fn != NULL);
	if (!timer->every)
		return weft_actor_call(rt, actor, timer->fn, timer->arg, timer->arg_size, NULL);
	int rc = weft_actor_call(rt, actor, timer->fn, timer->arg, timer->arg_size, &ref);

	/* Short of memory, or not: the next one may come through. */
	if (rc)
		return rc == WEFT_ECLOSED ? rc : 0;
	rc = weft_get(rt, ref, WEFT_FOREVER, &view);
	weft_release(rt, ref);
	/* What the call says is the actor's business; death is seen by the caller. */
	return rc == -EINTR ? rc : 0;
}

static WF_SUSPENDS int timer_body(weft_task *self)
{
	struct timer *timer = *(struct timer **)weft_task_arg(self, NULL);
	bool ready[2];

	WF_CHECK(timer->rt == self->rt);
	WF_DEBUG(timer->ends[0].bits && timer->ends[1].bits);
	for (;;) {
		int rc = weft_wait(timer->rt, timer->ends, 2, 1, timer->at, ready);

		if (rc > 0)
			return given_up(self);
		if (!rc)
			rc = tick(timer);
		if (rc == WEFT_EACTOR || rc == WEFT_ECLOSED)
			return given_up(self);
		if (rc || !timer->every)
			return rc;
		timer->at = next_due(timer);
	}
}

void wf_actors_closing(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);
	struct wf_local *self = wf_local_of(rt);
	struct wf_cell *event;

	if (!t || !self)
		return;
	pthread_mutex_lock(&t->names_mutex);
	WF_CHECK(!t->closed);
	WF_DEBUG(!t->closing || t->timers);
	t->closed = true;
	event = t->closing;
	t->closing = NULL;
	pthread_mutex_unlock(&t->names_mutex);
	wf_signal(self, event, NULL);
}

static int timer_start(struct wf_local *self, struct timer *timer, weft_actor actor, weft_ref *out)
{
	static const struct weft_task_options options = { .struct_size = sizeof(options),
		                                          .name = "weft_tell",
		                                          .place = &wf_place_nowhere,
		                                          .arg_drop = timer_drop };
	const struct weft_call call = {
		.fn = timer_body, .arg = &timer, .arg_size = sizeof(timer), .opts = &options
	};
	weft *rt = self->rt;
	int rc = weft_actor_died(rt, actor, &timer->ends[0]);

	if (!rc)
		rc = closing_of(self, &timer->ends[1]);
	return rc ? rc : weft_submit_call(rt, &call, out);
}

static int tell(weft *rt, weft_actor actor, int64_t ns, int64_t every, weft_task_fn *fn,
                const void *arg, size_t size, weft_ref *out)
{
	if (!rt || !wf_actor_of(rt, actor) || !fn || ns < 0 || (size && !arg))
		return -EINVAL;
	if (size > WEFT_ARG_MAX)
		return -EMSGSIZE;
	struct wf_local *self = wf_local_of(rt);
	struct timer *timer =
		self ? wf_aligned_alloc(64, (sizeof(*timer) + size + 63) / 64 * 64) : NULL;

	if (!timer)
		return -ENOMEM;
	struct wf_actor *a = wf_actor_hold_of(rt, actor);
	int64_t now = wf_clock_now(&rt->clock);

	if (!a) {
		wf_free(timer);
		return -EINVAL;
	}
	*timer = (struct timer){ .rt = rt,
		                 .actor = a,
		                 .fn = fn,
		                 .at = ns < WEFT_FOREVER - now ? now + ns : WEFT_FOREVER - 1,
		                 .every = every,
		                 .arg_size = (uint32_t)size };
	WF_DEBUG(every >= 0 && timer->at > 0);
	WF_DEBUG(!every || every == ns);
	if (size)
		memcpy(timer->arg, arg, size);
	int rc = timer_start(self, timer, actor, out);

	if (rc)
		timer_free(timer);
	return rc;
}

int weft_tell_after(weft *rt, weft_actor actor, int64_t ns, weft_task_fn *fn, const void *arg,
                    size_t arg_size, weft_ref *out)
{
	return tell(rt, actor, ns, 0, fn, arg, arg_size, out);
}

int weft_tell_every(weft *rt, weft_actor actor, int64_t ns, weft_task_fn *fn, const void *arg,
                    size_t arg_size, weft_ref *out)
{
	return ns ? tell(rt, actor, ns, ns, fn, arg, arg_size, out) : -EINVAL;
}
