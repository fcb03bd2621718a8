/*
 * queue.c: a bounded queue of references.
 *
 * Shared: all of a queue is its mutex's, which is held for copies of handles and never across a
 * wait. Whoever must wait leaves a record on its own stack, in the order of coming; whoever makes
 * its wish possible fulfils it under the mutex and completes the record's event. So a record that
 * is still linked has not been served, and one that is not has been, whatever its wait returned.
 *
 * Only the first of those who wait on one side is looked at: a large wish is not overtaken for
 * ever by small ones.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "actor.h"

#define FIRST_ROOM 16u

struct record {
	struct record *next, *prev;
	weft_ref event;
	const weft_ref *give;
	weft_ref *take;
	uint32_t least, most;
	bool linked;
	int rc; /* when it is not linked any more */
};

struct side {
	struct record *first, *last;
};

struct weft_queue {
	weft *rt;
	pthread_mutex_t mutex;
	weft_ref *ring;
	uint32_t room, head, count, max;
	bool closed;
	struct side takers, putters;
};

static void side_add(struct side *side, struct record *r)
{
	WF_CHECK(!r->linked && r->event.bits);
	WF_DEBUG(!side->first == !side->last);
	r->next = NULL;
	r->prev = side->last;
	if (side->last)
		side->last->next = r;
	else
		side->first = r;
	side->last = r;
	r->linked = true;
}

static void side_remove(struct side *side, struct record *r)
{
	WF_CHECK(r->linked && side->first && side->last);
	WF_DEBUG(r->prev ? r->prev->next == r : side->first == r);
	if (r->prev)
		r->prev->next = r->next;
	else
		side->first = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		side->last = r->prev;
	r->linked = false;
}

/* Room in the ring for `n` more refs; false: there is no memory. */
static bool ring_grow(weft_queue *q, uint32_t n)
{
	uint64_t room = q->room ? q->room : FIRST_ROOM;

	while (room < (uint64_t)q->count + n)
		room *= 2;
	if (room == q->room)
		return true;
	weft_ref *ring = room <= UINT32_MAX ? wf_calloc(room, sizeof(*ring)) : NULL;

	if (!ring)
		return false;
	WF_DEBUG(room > q->count && (q->room || !q->count));
	for (uint32_t i = 0; i < q->count; i++)
		ring[i] = q->ring[(q->head + i) % q->room];
	wf_free(q->ring);
	q->ring = ring;
	q->room = (uint32_t)room;
	q->head = 0;
	return true;
}

/* 1 put, 0 there is no room, -ENOMEM. */
static int put_now(weft_queue *q, const weft_ref *refs, uint32_t n)
{
	if (q->max && n > q->max - q->count)
		return 0;
	if (!ring_grow(q, n))
		return -ENOMEM;
	WF_CHECK(q->room - q->count >= n);
	WF_DEBUG(!q->closed);
	for (uint32_t i = 0; i < n; i++)
		q->ring[(q->head + q->count++) % q->room] = refs[i];
	return 1;
}

/* How many were taken, or 0. */
static int take_now(weft_queue *q, weft_ref *refs, uint32_t least, uint32_t most)
{
	uint32_t n = most < q->count ? most : q->count;

	WF_DEBUG(least && least <= most);
	WF_DEBUG(q->count <= q->room);
	if (n < least && !(q->closed && n))
		return 0;
	for (uint32_t i = 0; i < n; i++)
		refs[i] = q->ring[(q->head + i) % q->room];
	q->head = q->room ? (q->head + n) % q->room : 0;
	q->count -= n;
	return (int)n;
}

static void served(weft_queue *q, struct side *side, struct record *r, int rc)
{
	side_remove(side, r);
	r->rc = rc;
	/* Its owner takes the mutex before it lets go of the event. */
	weft_event_set(q->rt, r->event, NULL, 0);
}

/* Serve those who wait, as far as possible. */
static void serve(weft_queue *q)
{
	for (;;) {
		WF_DEBUG(!q->max || q->count <= q->max);
		struct record *taker = q->takers.first, *putter = q->putters.first;
		int took = taker ? take_now(q, taker->take, taker->least, taker->most) : 0;

		if (taker && (took || q->closed))
			served(q, &q->takers, taker, took ? took : WEFT_ECLOSED);
		int put = putter && !q->closed ? put_now(q, putter->give, putter->least) : 0;

		if (putter && (put || q->closed))
			served(q, &q->putters, putter,
			       q->closed         ? WEFT_ECLOSED
			               : put > 0 ? 0
			                         : put);
		if (!took && !put && !(q->closed && (taker || putter)))
			return;
	}
}

/* What can be had at once, or 0. */
static int at_once(weft_queue *q, const struct record *r)
{
	WF_DEBUG(!r->give != !r->take);
	WF_DEBUG(r->least && !r->linked);
	if (r->give) {
		if (q->closed)
			return WEFT_ECLOSED;
		return q->putters.first ? 0 : put_now(q, r->give, r->least);
	}
	int n = q->takers.first ? 0 : take_now(q, r->take, r->least, r->most);

	return !n && q->closed ? WEFT_ECLOSED : n;
}

static WF_SUSPENDS int wait_for(weft_queue *q, struct side *side, struct record *r,
                                weft_deadline until)
{
	struct weft_view view;
	int rc = weft_event_create(q->rt, &r->event);

	if (rc)
		return rc;
	pthread_mutex_lock(&q->mutex);
	rc = at_once(q, r);
	if (rc)
		serve(q);
	else
		side_add(side, r);
	pthread_mutex_unlock(&q->mutex);
	if (!rc) {
		rc = weft_get(q->rt, r->event, until, &view);
		pthread_mutex_lock(&q->mutex);
		if (r->linked) {
			side_remove(side, r);
			/* The next one may have a wish that can be met. */
			serve(q);
		} else {
			rc = r->rc;
		}
		pthread_mutex_unlock(&q->mutex);
	}
	WF_CHECK(!r->linked);
	WF_DEBUG(rc != -ETIMEDOUT || until != WEFT_FOREVER);
	weft_release(q->rt, r->event);
	/* The runtime has ended the event. */
	return rc == -ECANCELED ? WEFT_ECLOSED : rc;
}

static WF_SUSPENDS int transfer(weft_queue *q, struct side *side, struct record *r,
                                weft_deadline until)
{
	pthread_mutex_lock(&q->mutex);
	int rc = at_once(q, r);

	if (rc)
		serve(q);
	pthread_mutex_unlock(&q->mutex);
	if (rc)
		return rc;
	return until == WEFT_POLL ? -ETIMEDOUT : wait_for(q, side, r, until);
}

int weft_queue_create(weft *rt, uint32_t max, weft_queue **out)
{
	if (!rt || !out)
		return -EINVAL;
	weft_queue *q = wf_calloc(1, sizeof(*q));

	if (!q)
		return -ENOMEM;
	q->rt = rt;
	q->max = max;
	pthread_mutex_init(&q->mutex, NULL);
	*out = q;
	return 0;
}

static void release_all(weft *rt, weft_ref *ring, uint32_t room, uint32_t head, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		weft_release(rt, ring[(head + i) % room]);
	wf_free(ring);
}

void weft_queue_destroy(weft_queue *queue)
{
	if (!queue)
		return;
	WF_CHECK(!queue->takers.first && !queue->putters.first);
	release_all(queue->rt, queue->ring, queue->room, queue->head, queue->count);
	pthread_mutex_destroy(&queue->mutex);
	wf_free(queue);
}

int weft_queue_put(weft_queue *queue, const weft_ref *refs, uint32_t n, weft_deadline until)
{
	struct record r = { .give = refs, .least = n };

	if (!queue || !refs || !n)
		return -EINVAL;
	if (queue->max && n > queue->max)
		return -EMSGSIZE;
	for (uint32_t i = 0; i < n; i++) {
		if (!wf_cell_of(queue->rt, refs[i]))
			return -EINVAL;
	}
	int rc = transfer(queue, &queue->putters, &r, until);

	return rc > 0 ? 0 : rc;
}

int weft_queue_take(weft_queue *queue, weft_ref *out, uint32_t least, uint32_t most,
                    weft_deadline until)
{
	struct record r = { .take = out, .least = least, .most = most };

	if (!queue || !out || !least || least > most || most > INT32_MAX)
		return -EINVAL;
	if (queue->max && least > queue->max)
		return -EMSGSIZE;
	return transfer(queue, &queue->takers, &r, until);
}

int64_t weft_queue_size(weft_queue *queue)
{
	if (!queue)
		return -EINVAL;
	pthread_mutex_lock(&queue->mutex);
	int64_t n = queue->count;

	pthread_mutex_unlock(&queue->mutex);
	return n;
}

int weft_queue_close(weft_queue *queue, bool drop)
{
	if (!queue)
		return -EINVAL;
	pthread_mutex_lock(&queue->mutex);
	weft_ref *ring = drop ? queue->ring : NULL;
	uint32_t room = queue->room, head = queue->head, count = queue->count;

	WF_DEBUG(count <= room);
	WF_DEBUG(!count || queue->ring);
	queue->closed = true;
	if (drop) {
		queue->ring = NULL;
		queue->room = queue->head = queue->count = 0;
	}
	serve(queue);
	pthread_mutex_unlock(&queue->mutex);
	/* Not under the mutex: what goes with the refs may be the program's. */
	if (ring)
		release_all(queue->rt, ring, room, head, count);
	return 0;
}
