/*
 * supervisor.c: actors that begin anew together.
 *
 * A supervisor is asked by the turn of an actor that has crashed, before its init runs again; that
 * turn is alone inside. It then crashes those that are to begin anew as well, whose own turns find
 * that they were told to (`told`) and ask no more. So one crash counts once, and two actors that
 * crash at the same time are one restart for whoever is told first.
 *
 * Shared: the children and the times are the mutex's, which is above the actors' locks. An actor's
 * pointer to its supervisor is its lock's. `users` are the owner and those who ask.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "actor.h"
#include "options.h"

#define PERIOD_NS INT64_C(5000000000)

struct weft_supervisor {
	weft *rt;
	pthread_mutex_t mutex;
	uint32_t strategy, intensity;
	int64_t period_ns;
	weft_actor *children; /* counted; in the order in which they were added */
	uint32_t n, room;
	int64_t *crashes; /* the last `intensity` times, a ring */
	uint32_t n_crashes, oldest;
	weft_ref died; /* event */
	bool over;     /* too many crashes */
	bool left;     /* destroyed: it has no say any more */
	struct wf_a32 users;
};

static void user_drop(weft_supervisor *s)
{
	/* acq_rel [S1]: the others' accesses are over. */
	if (wf_add_acq_rel(&s->users, (uint32_t)-1) != 1)
		return;
	pthread_mutex_destroy(&s->mutex);
	wf_free(s->children);
	wf_free(s->crashes);
	wf_free(s);
}

/* Under the mutex: whether this crash is one too many. */
static bool too_many(weft_supervisor *s, int64_t now)
{
	WF_DEBUG(s->n_crashes <= s->intensity);
	if (!s->intensity)
		return true;
	if (s->n_crashes == s->intensity) {
		if (now - s->crashes[s->oldest] <= s->period_ns)
			return true;
		s->oldest = (s->oldest + 1) % s->intensity;
		s->n_crashes--;
	}
	s->crashes[(s->oldest + s->n_crashes++) % s->intensity] = now;
	return false;
}

/* Under the mutex: crash those that are to begin anew with `a`. */
static void tell_siblings(struct wf_local *self, weft_supervisor *s, struct wf_actor *a)
{
	bool after = s->strategy == WEFT_ONE_FOR_ALL;

	WF_CHECK(s->strategy != WEFT_ONE_FOR_ONE);
	for (uint32_t i = 0; i < s->n; i++) {
		struct wf_actor *child = wf_actor_of(s->rt, s->children[i]);

		WF_CHECK(child != NULL);
		if (child == a)
			after = true;
		else if (after &&
		         wf_actor_kill(self, child, wf_death_make(child, "its supervisor", NULL),
		                       true))
			child->cold->told = true;
	}
}

/* It is over: what it supervised dies. The caller's count of `died` is consumed. */
static void give_up(struct wf_local *self, weft_supervisor *s, const struct wf_actor *a)
{
	WF_CHECK(s->over);
	/* No child is added any more. Destroy waits for nobody, and drops the counts. */
	for (uint32_t i = s->n; i; i--) {
		struct wf_actor *child = wf_actor_hold_of(s->rt, s->children[i - 1]);

		if (!child)
			continue;
		if (child != a)
			wf_actor_kill(
				self, child,
				wf_death_make(child, "too many crashes under its supervisor", NULL),
				false);
		wf_actor_unhold(self, child);
	}
	WF_DEBUG(s->died.bits != 0);
	weft_event_fail(s->rt, s->died, WEFT_EACTOR, "too many crashes");
	weft_release(s->rt, s->died);
}

bool wf_supervised_crash(struct wf_local *self, struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);
	weft_supervisor *s = a->cold ? a->cold->supervisor : NULL;

	if (s)
		/* relaxed: destroy takes the actor's lock before it drops its own. */
		wf_add_relaxed(&s->users, 1);
	wf_box_unlock(&a->box, word);
	if (!s)
		return true;
	pthread_mutex_lock(&s->mutex);
	bool told = a->cold->told, over = s->over;
	bool asks = !told && !over && !s->left;
	bool ends = asks && too_many(s, wf_clock_now(&s->rt->clock));

	WF_DEBUG(s->n > 0);
	a->cold->told = false;
	s->over |= ends;
	/* Not destroyed yet, see above: it is counted. */
	if (ends)
		WF_CHECK(weft_retain(s->rt, s->died) == 0);
	if (asks && !ends && s->strategy != WEFT_ONE_FOR_ONE)
		tell_siblings(self, s, a);
	pthread_mutex_unlock(&s->mutex);
	if (ends)
		give_up(self, s, a);
	user_drop(s);
	return !ends && !over;
}

/* ---- Doors ----------------------------------------------------------------------------------- */

static int read_options(const struct weft_supervisor_options *given,
                        struct weft_supervisor_options *o)
{
	int rc = 0;

	memset(o, 0, sizeof(*o));
	if (given)
		rc = wf_options_read(o, sizeof(*o), given);
	if (rc)
		return rc;
	if (o->strategy > WEFT_REST_FOR_ONE || o->period_ns < 0 || o->reserved[0] ||
	    o->reserved[1] ||
	    (o->intensity > WEFT_INTENSITY_MAX && o->intensity != WEFT_INTENSITY_NONE))
		return -EINVAL;
	if (!o->intensity)
		o->intensity = 1;
	else if (o->intensity == WEFT_INTENSITY_NONE)
		o->intensity = 0;
	if (!o->period_ns)
		o->period_ns = PERIOD_NS;
	return 0;
}

int weft_supervisor_create(weft *rt, const struct weft_supervisor_options *opts,
                           weft_supervisor **out)
{
	struct weft_supervisor_options o;

	if (!rt || !out)
		return -EINVAL;
	int rc = read_options(opts, &o);

	if (rc)
		return rc;
	weft_supervisor *s = wf_calloc(1, sizeof(*s));
	int64_t *crashes = s ? wf_calloc(o.intensity + 1, sizeof(*crashes)) : NULL;

	rc = crashes ? weft_event_create(rt, &s->died) : -ENOMEM;
	if (rc) {
		wf_free(crashes);
		wf_free(s);
		return rc;
	}
	s->rt = rt;
	s->crashes = crashes;
	s->strategy = o.strategy;
	s->intensity = o.intensity;
	s->period_ns = o.period_ns;
	wf_init(&s->users, 1);
	pthread_mutex_init(&s->mutex, NULL);
	*out = s;
	return 0;
}

void weft_supervisor_destroy(weft_supervisor *supervisor)
{
	weft_supervisor *s = supervisor;

	if (!s)
		return;
	pthread_mutex_lock(&s->mutex);
	bool over = s->over;
	uint32_t n = s->n;

	s->left = true;
	pthread_mutex_unlock(&s->mutex);
	for (uint32_t i = 0; i < n; i++) {
		struct wf_actor *a = wf_actor_of(s->rt, s->children[i]);
		uint32_t word;

		WF_CHECK(a && a->cold);
		word = wf_box_lock(&a->box);
		a->cold->supervisor = NULL;
		wf_box_unlock(&a->box, word);
	}
	if (!over)
		weft_event_set(s->rt, s->died, NULL, 0);
	for (uint32_t i = 0; i < n; i++)
		weft_actor_release(s->rt, s->children[i]);
	weft_release(s->rt, s->died);
	user_drop(s);
}

static bool grow(weft_supervisor *s)
{
	uint32_t room = s->room ? s->room * 2 : 8;

	if (s->n < s->room)
		return true;
	weft_actor *children = wf_calloc(room, sizeof(*children));

	if (!children)
		return false;
	WF_DEBUG(room > s->n);
	if (s->n)
		memcpy(children, s->children, s->n * sizeof(*children));
	wf_free(s->children);
	s->children = children;
	s->room = room;
	return true;
}

/* Under the mutex. */
static int adopt(weft_supervisor *s, struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);
	int rc = 0;

	WF_DEBUG(s->n < s->room && !s->over);
	if (!a->cold || a->cold->max_restarts != WEFT_RESTARTS_UNLIMITED)
		rc = -EINVAL;
	else if (word & (WF_BOX_CLOSED | WF_BOX_STOP))
		rc = WEFT_EACTOR;
	else if (a->cold->supervisor)
		rc = -EEXIST;
	else
		a->cold->supervisor = s;
	wf_box_unlock(&a->box, word);
	return rc;
}

int weft_supervisor_add(weft_supervisor *supervisor, weft_actor actor)
{
	weft_supervisor *s = supervisor;
	struct wf_local *self = s ? wf_local_of(s->rt) : NULL;
	struct wf_actor *a = self ? wf_actor_hold_of(s->rt, actor) : NULL;

	if (!a)
		return s && !self ? -ENOMEM : -EINVAL;
	pthread_mutex_lock(&s->mutex);
	int rc = s->over ? WEFT_EACTOR : grow(s) ? adopt(s, a) : -ENOMEM;

	if (!rc) {
		wf_actor_take_handle(a);
		s->children[s->n++] = actor;
	}
	pthread_mutex_unlock(&s->mutex);
	wf_actor_unhold(self, a);
	return rc;
}

int weft_supervisor_stop(weft_supervisor *supervisor, weft_deadline until)
{
	int first = 0;

	if (!supervisor)
		return -EINVAL;
	pthread_mutex_lock(&supervisor->mutex);
	uint32_t n = supervisor->n;

	pthread_mutex_unlock(&supervisor->mutex);
	while (n--) {
		pthread_mutex_lock(&supervisor->mutex);
		weft_actor child = supervisor->children[n];

		pthread_mutex_unlock(&supervisor->mutex);
		int rc = weft_actor_stop(supervisor->rt, child, until);

		first = first ? first : rc;
	}
	return first;
}

int weft_supervisor_died(weft_supervisor *supervisor, weft_ref *out)
{
	if (!supervisor || !out)
		return -EINVAL;
	int rc = weft_retain(supervisor->rt, supervisor->died);

	if (!rc)
		*out = supervisor->died;
	return rc;
}
