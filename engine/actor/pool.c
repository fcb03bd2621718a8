/*
 * pool.c: actors that share calls.
 *
 * Shared: all of a pool is its mutex's, which is never held across a wait, a submit or the drop of
 * a count: the last two may run what is the program's, which may use the pool. An item that is
 * being submitted is running, and only its dispatcher writes its ref. `users` are the owner and the
 * calls whose end has not been told: the last one frees the pool. Whoever waits for a change waits
 * for an event that the next change completes.
 *
 * An item is queued, then running on a member, then ended, then given out. Items that are not given
 * out are in one list in the order of their submits, in which the queued ones are the last.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "actor.h"
#include "options.h"

struct member {
	struct member *next; /* of all */
	weft_actor actor;    /* counted */
	bool idle;
};

struct item {
	struct item *next, *prev; /* in the order of submits */
	struct item *next_ended;
	weft_pool *pool;
	struct member *member; /* while it runs */
	uint64_t id;
	weft_ref ref;          /* counted */
	int error;             /* why there is no ref */
	bool ended, gone;      /* gone: the pool was destroyed while it ran */
	struct weft_call call; /* its argument and inputs are its own */
	WF_ALIGNED(16) unsigned char data[];
};

struct weft_pool {
	weft *rt;
	pthread_mutex_t mutex;
	struct member *members;
	struct member *left; /* to be released by whoever unlocks */
	uint64_t items;      /* so far */
	struct item *first, *last;
	struct item *queued; /* the first of them */
	struct item *ended, *last_ended;
	struct weft_pool_info n;
	weft_ref changed; /* event; zero: nobody waits */
	uint32_t users;
	bool lost; /* it had actors, and all have died */
};

/* Without the mutex: what goes with its refs may be the program's. */
static void item_free(weft *rt, struct item *item)
{
	weft_release_many(rt, item->call.inputs,
	                  (uint32_t)item->call.n_inputs + item->call.n_after);
	if (item->ref.bits)
		weft_release(rt, item->ref);
	wf_free(item);
}

static struct item *item_make(weft_pool *pool, const struct weft_call *call)
{
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;
	size_t refs = edges * sizeof(weft_ref), args = (call->arg_size + 15) & ~(size_t)15;
	struct item *item = wf_aligned_alloc(64, (sizeof(*item) + args + refs + 63) & ~(size_t)63);

	if (!item)
		return NULL;
	WF_DEBUG(call->fn && !call->actor.bits);
	WF_DEBUG(!edges || call->inputs);
	*item = (struct item){ .pool = pool, .call = *call };
	if (call->arg_size)
		item->call.arg = memcpy(item->data, call->arg, call->arg_size);
	if (edges) {
		item->call.inputs = memcpy(item->data + args, call->inputs, refs);
		weft_retain_many(pool->rt, item->call.inputs, edges);
	}
	return item;
}

static void item_unlink(weft_pool *pool, struct item *item)
{
	WF_CHECK(item->ended && item != pool->queued);
	WF_DEBUG(item->prev ? item->prev->next == item : pool->first == item);
	if (item->prev)
		item->prev->next = item->next;
	else
		pool->first = item->next;
	if (item->next)
		item->next->prev = item->prev;
	else
		pool->last = item->prev;
}

static void item_end(weft_pool *pool, struct item *item)
{
	WF_CHECK(!item->ended && item != pool->queued);
	WF_DEBUG(!pool->ended == !pool->last_ended);
	item->ended = true;
	item->next_ended = NULL;
	if (pool->last_ended)
		pool->last_ended->next_ended = item;
	else
		pool->ended = item;
	pool->last_ended = item;
	pool->n.ended++;
}

static struct item *ended_take(weft_pool *pool, struct item *item)
{
	struct item *before = NULL;

	for (struct item *at = pool->ended; at != item; at = at->next_ended)
		before = at;
	if (before)
		before->next_ended = item->next_ended;
	else
		pool->ended = item->next_ended;
	if (pool->last_ended == item)
		pool->last_ended = before;
	WF_CHECK(pool->n.ended > 0);
	pool->n.ended--;
	return item;
}

static void pool_free(weft_pool *pool)
{
	WF_CHECK(!pool->first && !pool->ended);
	/* Of those who have stopped waiting. */
	if (pool->changed.bits)
		weft_release(pool->rt, pool->changed);
	while (pool->members) {
		struct member *next = pool->members->next;

		weft_actor_release(pool->rt, pool->members->actor);
		wf_free(pool->members);
		pool->members = next;
	}
	pthread_mutex_destroy(&pool->mutex);
	wf_free(pool);
}

/* Also lets go of the actors that have left. */
static void pool_unlock(weft_pool *pool)
{
	struct member *left = pool->left;
	weft *rt = pool->rt;

	pool->left = NULL;
	pthread_mutex_unlock(&pool->mutex);
	while (left) {
		struct member *next = left->next;

		weft_actor_release(rt, left->actor);
		wf_free(left);
		left = next;
	}
}

/* Unlocks; the caller is no user any more. */
static void pool_leave(weft_pool *pool)
{
	bool last = --pool->users == 0;

	pool_unlock(pool);
	if (last)
		pool_free(pool);
}

static void tell_change(weft_pool *pool)
{
	if (!pool->changed.bits)
		return;
	weft_event_set(pool->rt, pool->changed, NULL, 0);
	weft_release(pool->rt, pool->changed);
	pool->changed = (weft_ref){ 0 };
}

static bool member_alive(weft_pool *pool, const struct member *member)
{
	struct wf_actor *a = wf_actor_of(pool->rt, member->actor);

	return a && !(wf_box_word(&a->box) & (WF_BOX_CLOSED | WF_BOX_STOP));
}

/* One that can be called, or NULL; idle ones that are dead leave the pool. */
static struct member *idle_member(weft_pool *pool)
{
	struct member **at = &pool->members;

	while (*at) {
		struct member *member = *at;

		if (member->idle && member_alive(pool, member))
			return member;
		if (!member->idle) {
			at = &member->next;
			continue;
		}
		WF_CHECK(pool->n.idle && pool->n.actors);
		*at = member->next;
		member->next = pool->left;
		pool->left = member;
		pool->n.idle--;
		pool->lost = --pool->n.actors == 0;
	}
	return NULL;
}

static void on_done(void *arg, weft_ref ref, int status);

/* Who has submitted an item and is to be told when it is refused at once. */
struct submitter {
	uint64_t id;
	int rc;            /* not 0: it was refused */
	struct item *item; /* then it is the submitter's again */
};

static void refused(weft_pool *pool, struct item *item, int error, struct submitter *submitter)
{
	WF_DEBUG(!item->member && !item->ref.bits);
	WF_DEBUG(error < 0);
	item->error = error;
	if (!submitter || submitter->id != item->id) {
		item_end(pool, item);
		return;
	}
	/* It never was. */
	item->ended = true;
	item_unlink(pool, item);
	submitter->item = item;
	submitter->rc = error;
}

/* Call an item on a member. The mutex is let go of meanwhile. */
static void dispatch_one(weft_pool *pool, struct item *item, struct member *member,
                         struct submitter *submitter)
{
	WF_CHECK(!item->ended && member->idle);
	item->member = member;
	item->call.actor = member->actor;
	member->idle = false;
	pool->n.idle--;
	pool->n.running++;
	pool->users++;
	pool_unlock(pool);
	int rc = weft_submit_many(pool->rt, &item->call, 1, &item->ref);

	/* From here on it is on_done()'s. */
	if (rc >= 0 && !weft_on_done(pool->rt, item->ref, on_done, item)) {
		pthread_mutex_lock(&pool->mutex);
		return;
	}
	/* Not called, or nobody will tell when it has ended: whoever takes it waits for its ref. */
	pthread_mutex_lock(&pool->mutex);
	WF_CHECK(item->member == member && !member->idle);
	item->member = NULL;
	member->idle = true;
	pool->n.idle++;
	pool->n.running--;
	WF_CHECK(pool->users > 1);
	pool->users--;
	if (item->gone) {
		pool_unlock(pool);
		item_free(pool->rt, item);
		pthread_mutex_lock(&pool->mutex);
	} else if (rc < 0) {
		refused(pool, item, rc, submitter);
	} else {
		item_end(pool, item);
	}
}

/* The caller is a user. The mutex may be let go of, and is held again. */
static void dispatch(weft_pool *pool, struct submitter *submitter)
{
	struct member *member = NULL;

	WF_DEBUG(!pool->queued == !pool->n.queued);
	WF_DEBUG(!pool->lost || !pool->members);
	while (pool->queued && (member = idle_member(pool)) != NULL) {
		struct item *item = pool->queued;

		pool->queued = item->next;
		pool->n.queued--;
		dispatch_one(pool, item, member, submitter);
	}
	while (pool->queued && pool->lost) {
		struct item *item = pool->queued;

		pool->queued = item->next;
		pool->n.queued--;
		refused(pool, item, WEFT_EACTOR, submitter);
	}
	if (pool->ended)
		tell_change(pool);
}

static void on_done(void *arg, weft_ref ref, int status)
{
	struct item *item = arg;
	weft_pool *pool = item->pool;
	weft *rt = pool->rt;

	(void)ref;
	(void)status;
	pthread_mutex_lock(&pool->mutex);
	bool gone = item->gone;

	WF_CHECK(item->member && !item->ended);
	WF_CHECK(!item->member->idle && pool->n.running);
	item->member->idle = true;
	item->member = NULL;
	pool->n.idle++;
	pool->n.running--;
	if (!gone) {
		item_end(pool, item);
		dispatch(pool, NULL);
	}
	pool_leave(pool);
	if (gone)
		item_free(rt, item);
}

static int member_add(weft_pool *pool, weft_actor actor)
{
	for (struct member *m = pool->members; m; m = m->next) {
		if (m->actor.bits == actor.bits)
			return -EEXIST;
	}
	struct member *member = wf_malloc(sizeof(*member));
	int rc = member ? weft_actor_retain(pool->rt, actor) : -ENOMEM;

	if (rc) {
		wf_free(member);
		return rc;
	}
	WF_DEBUG(wf_actor_of(pool->rt, actor) != NULL);
	WF_DEBUG(!pool->lost || !pool->n.actors);
	*member = (struct member){ .next = pool->members, .actor = actor, .idle = true };
	pool->members = member;
	pool->n.actors++;
	pool->n.idle++;
	pool->lost = false;
	return 0;
}

int weft_pool_create(weft *rt, const weft_actor *actors, uint32_t n, weft_pool **out)
{
	if (!rt || !out || (n && !actors))
		return -EINVAL;
	weft_pool *pool = wf_calloc(1, sizeof(*pool));
	int rc = 0;

	if (!pool)
		return -ENOMEM;
	pool->rt = rt;
	pool->users = 1;
	pthread_mutex_init(&pool->mutex, NULL);
	/* The first one is asked first. */
	for (uint32_t i = n; i && !rc; i--)
		rc = member_add(pool, actors[i - 1]);
	if (rc)
		pool_free(pool);
	else
		*out = pool;
	return rc;
}

void weft_pool_destroy(weft_pool *pool)
{
	struct item *left = NULL;
	weft *rt = pool ? pool->rt : NULL;

	if (!pool)
		return;
	pthread_mutex_lock(&pool->mutex);
	for (struct item *item = pool->first, *after = NULL; item; item = after) {
		after = item->next;
		WF_CHECK(!item->gone && item->pool == pool);
		/* One that runs is freed when it has ended. */
		item->gone = item->member != NULL;
		item->next = left;
		left = item->gone ? left : item;
	}
	pool->first = pool->last = pool->queued = pool->ended = pool->last_ended = NULL;
	pool_leave(pool);
	while (left) {
		struct item *after = left->next;

		item_free(rt, left);
		left = after;
	}
}

/* What is given out when it has ended has an end that its ref tells of. */
static int check_options(weft *rt, const struct weft_call *call)
{
	struct wf_setup setup;

	if (!call->opts)
		return 0;
	int rc = wf_setup_read(rt, call->opts, &setup);

	return rc || setup.o.n_outputs != WEFT_OUTPUTS_STREAM ? rc : -ENOTSUP;
}

int weft_pool_submit(weft_pool *pool, const struct weft_call *call)
{
	if (!pool || !call || call->actor.bits)
		return -EINVAL;
	int rc = wf_submit_check(pool->rt, call);

	if (!rc)
		rc = check_options(pool->rt, call);
	struct item *item = rc ? NULL : item_make(pool, call);

	if (!item)
		return rc ? rc : -ENOMEM;
	pthread_mutex_lock(&pool->mutex);
	WF_DEBUG(!pool->first == !pool->last);
	WF_DEBUG(!pool->queued || !pool->queued->ended);
	item->prev = pool->last;
	if (pool->last)
		pool->last->next = item;
	else
		pool->first = item;
	pool->last = item;
	if (!pool->queued)
		pool->queued = item;
	pool->n.queued++;
	item->id = ++pool->items;
	/* It may have ended, and be gone, when the mutex is let go of. */
	struct submitter submitter = { .id = item->id };

	dispatch(pool, &submitter);
	pool_unlock(pool);
	if (submitter.rc)
		item_free(pool->rt, submitter.item);
	return submitter.rc;
}

/* Under the mutex: the event of the next change, counted for the caller. */
static int wait_begin(weft_pool *pool, weft_ref *event)
{
	int rc = pool->changed.bits ? 0 : weft_event_create(pool->rt, &pool->changed);

	if (rc)
		return rc;
	*event = pool->changed;
	return weft_retain(pool->rt, *event);
}

static WF_SUSPENDS int next(weft_pool *pool, weft_deadline until, bool oldest, weft_ref *out)
{
	struct weft_view view;
	weft_ref event;
	int rc;

	if (!pool || !out)
		return -EINVAL;
	for (;;) {
		pthread_mutex_lock(&pool->mutex);
		struct item *item = oldest ? pool->first : pool->ended;

		WF_DEBUG(!item || !item->gone);
		if (item && item->ended) {
			WF_DEBUG(!item->member);
			item_unlink(pool, ended_take(pool, item));
			rc = item->error;
			if (!rc) {
				*out = item->ref;
				item->ref = (weft_ref){ 0 };
			}
			pthread_mutex_unlock(&pool->mutex);
			item_free(pool->rt, item);
			return rc;
		}
		rc = pool->first ? wait_begin(pool, &event) : -ENOENT;
		pthread_mutex_unlock(&pool->mutex);
		if (rc)
			return rc;
		rc = weft_get(pool->rt, event, until, &view);
		weft_release(pool->rt, event);
		if (rc)
			return rc == -ECANCELED ? WEFT_ECLOSED : rc;
	}
}

int weft_pool_next(weft_pool *pool, weft_deadline until, weft_ref *out)
{
	return next(pool, until, true, out);
}

int weft_pool_next_ready(weft_pool *pool, weft_deadline until, weft_ref *out)
{
	return next(pool, until, false, out);
}

int weft_pool_push(weft_pool *pool, weft_actor actor)
{
	if (!pool)
		return -EINVAL;
	pthread_mutex_lock(&pool->mutex);
	int rc = member_add(pool, actor);

	if (!rc)
		dispatch(pool, NULL);
	pool_unlock(pool);
	return rc;
}

int weft_pool_pop_idle(weft_pool *pool, weft_actor *out)
{
	if (!pool || !out)
		return -EINVAL;
	pthread_mutex_lock(&pool->mutex);
	struct member *member = idle_member(pool);
	struct member **at = &pool->members;

	while (member && *at != member)
		at = &(*at)->next;
	if (member) {
		*at = member->next;
		*out = member->actor;
		wf_free(member);
		pool->n.idle--;
		pool->n.actors--;
	}
	pool_unlock(pool);
	return member ? 0 : -EAGAIN;
}

int weft_pool_info(weft_pool *pool, struct weft_pool_info *info)
{
	size_t size = info ? info->struct_size : 0;

	if (!pool || size < sizeof(size_t))
		return -EINVAL;
	pthread_mutex_lock(&pool->mutex);
	struct weft_pool_info full = pool->n;

	WF_DEBUG(full.idle + full.running >= full.actors);
	WF_DEBUG(full.idle <= full.actors);

	pthread_mutex_unlock(&pool->mutex);
	full.struct_size = size;
	memcpy(info, &full, size < sizeof(full) ? size : sizeof(full));
	return 0;
}
