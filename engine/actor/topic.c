/*
 * topic.c: publish and subscribe.
 *
 * The subscriptions are a list that never changes: whoever adds or removes one puts a new list in
 * its place, and a publish keeps the list it began with, so that nothing is held while it waits for
 * room at a subscriber. A list holds a handle of each of its actors.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "actor.h"

struct sub {
	weft_actor actor;
	weft_task_fn *fn;
};

struct list {
	uint32_t users; /* the topic and publishes; under the mutex */
	uint32_t n;
	struct sub subs[];
};

struct weft_topic {
	weft *rt;
	pthread_mutex_t mutex;
	struct list *list; /* NULL: none */
};

/* The list without its `skip`-th entry and with `add`; NULL: -ENOMEM. */
static struct list *list_make(weft *rt, const struct list *old, uint32_t skip,
                              const struct sub *add)
{
	uint32_t n = old ? old->n : 0;
	struct list *list = wf_malloc(sizeof(*list) + (n + 1) * sizeof(list->subs[0]));

	if (!list)
		return NULL;
	WF_DEBUG(!add || add->fn);
	WF_DEBUG(skip == UINT32_MAX || skip < n);
	list->users = 1;
	list->n = 0;
	for (uint32_t i = 0; i < n; i++) {
		if (i != skip)
			list->subs[list->n++] = old->subs[i];
	}
	if (add)
		list->subs[list->n++] = *add;
	for (uint32_t i = 0; i < list->n; i++)
		WF_CHECK(weft_actor_retain(rt, list->subs[i].actor) == 0);
	return list;
}

static void list_drop(weft_topic *topic, struct list *list)
{
	pthread_mutex_lock(&topic->mutex);
	WF_CHECK(!list || list->users > 0);
	bool last = list && --list->users == 0;

	pthread_mutex_unlock(&topic->mutex);
	for (uint32_t i = 0; last && i < list->n; i++)
		weft_actor_release(topic->rt, list->subs[i].actor);
	if (last)
		wf_free(list);
}

static uint32_t list_find(const struct list *list, const struct sub *sub)
{
	for (uint32_t i = 0; list && i < list->n; i++) {
		if (list->subs[i].actor.bits == sub->actor.bits && list->subs[i].fn == sub->fn)
			return i;
	}
	return UINT32_MAX;
}

int weft_topic_create(weft *rt, weft_topic **out)
{
	if (!rt || !out)
		return -EINVAL;
	weft_topic *topic = wf_calloc(1, sizeof(*topic));

	if (!topic)
		return -ENOMEM;
	topic->rt = rt;
	pthread_mutex_init(&topic->mutex, NULL);
	*out = topic;
	return 0;
}

void weft_topic_destroy(weft_topic *topic)
{
	if (!topic)
		return;
	WF_CHECK(!topic->list || topic->list->users == 1);
	list_drop(topic, topic->list);
	pthread_mutex_destroy(&topic->mutex);
	wf_free(topic);
}

/* Add (or remove) a subscription. */
static int change(weft_topic *topic, const struct sub *sub, bool add)
{
	struct list *old = NULL;

	pthread_mutex_lock(&topic->mutex);
	uint32_t at = list_find(topic->list, sub);
	int rc = 0;

	WF_DEBUG(!topic->list || topic->list->users > 0);
	WF_DEBUG(sub->fn && sub->actor.bits);

	if (add ? at != UINT32_MAX : at == UINT32_MAX)
		rc = add ? -EEXIST : -ENOENT;
	struct list *list = rc ? NULL : list_make(topic->rt, topic->list, at, add ? sub : NULL);

	if (!rc && !list)
		rc = -ENOMEM;
	if (!rc) {
		old = topic->list;
		topic->list = list;
	}
	pthread_mutex_unlock(&topic->mutex);
	list_drop(topic, old);
	return rc;
}

int weft_topic_subscribe(weft_topic *topic, weft_actor actor, weft_task_fn *fn)
{
	if (!topic || !fn)
		return -EINVAL;
	/* A count of our own: the list's are taken from one that is there. */
	int rc = weft_actor_retain(topic->rt, actor);

	if (rc)
		return rc;
	WF_DEBUG(wf_actor_of(topic->rt, actor) != NULL);
	rc = change(topic, &(struct sub){ actor, fn }, true);
	weft_actor_release(topic->rt, actor);
	return rc;
}

int weft_topic_unsubscribe(weft_topic *topic, weft_actor actor, weft_task_fn *fn)
{
	if (!topic || !fn || !actor.bits)
		return -EINVAL;
	return change(topic, &(struct sub){ actor, fn }, false);
}

static WF_SUSPENDS int tell(weft_topic *topic, const struct sub *sub,
                            const struct weft_call *message, weft_deadline until)
{
	struct weft_call call = *message;
	int rc;

	WF_DEBUG(!message->fn && !message->actor.bits);
	WF_DEBUG(wf_actor_of(topic->rt, sub->actor) != NULL);
	call.actor = sub->actor;
	call.fn = sub->fn;
	for (;;) {
		rc = weft_submit(topic->rt, &call, NULL);
		if (rc == WEFT_ECALLS)
			rc = weft_actor_wait_room(topic->rt, sub->actor, until);
		else
			break;
		if (rc)
			break;
	}
	if (rc == WEFT_EACTOR)
		change(topic, sub, false);
	return rc;
}

int weft_topic_publish(weft_topic *topic, const struct weft_call *message, weft_deadline until,
                       uint32_t *missed)
{
	uint32_t told = 0, out = 0;
	int rc = 0;

	if (!topic || !message || message->fn || message->actor.bits)
		return -EINVAL;
	pthread_mutex_lock(&topic->mutex);
	struct list *list = topic->list;

	if (list)
		list->users++;
	pthread_mutex_unlock(&topic->mutex);
	for (uint32_t i = 0; list && i < list->n; i++) {
		int one = tell(topic, &list->subs[i], message, until);

		if (one == WEFT_EACTOR)
			continue;
		WF_DEBUG(one <= 0);
		told += !one;
		out += one != 0;
		rc = one && rc != -EINTR ? one : rc;
	}
	list_drop(topic, list);
	if (rc && missed)
		*missed = out;
	return rc ? rc : (int)told;
}
