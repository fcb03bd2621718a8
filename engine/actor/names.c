/*
 * names.c: living actors by name.
 *
 * One table per runtime under one mutex, which is above the actors' locks. A name is taken from
 * before its actor is made until kill, exit or death; whoever finds one that is dying treats it
 * as gone, so a name leads to a living actor or to none.
 */
#include <errno.h>
#include <string.h>

#include "actor.h"

#define FIRST_BUCKETS 64u

static uint32_t hash(const char *ns, const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (; *ns; ns++)
		h = (h ^ (unsigned char)*ns) * UINT64_C(0x100000001b3);
	h *= 31;
	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return (uint32_t)(h ^ h >> 32);
}

int wf_name_room(struct wf_actors *t)
{
	if (t->name_count < t->name_buckets)
		return 0;
	uint32_t n = t->name_buckets ? t->name_buckets * 2 : FIRST_BUCKETS;
	struct wf_cold **names = wf_calloc(n, sizeof(struct wf_cold *));

	if (!names)
		return t->name_buckets ? 0 : -ENOMEM;
	WF_DEBUG(!(n & (n - 1)) && n > t->name_count);
	for (uint32_t i = 0; i < t->name_buckets; i++) {
		struct wf_cold *cold = t->names[i];

		while (cold) {
			struct wf_cold *next = cold->name_next;
			uint32_t to = hash(cold->ns, cold->name) & (n - 1);

			cold->name_next = names[to];
			names[to] = cold;
			cold = next;
		}
	}
	wf_free((void *)t->names);
	t->names = names;
	t->name_buckets = n;
	return 0;
}

static void unlink_name(struct wf_actors *t, struct wf_cold *cold)
{
	struct wf_cold **at = &t->names[hash(cold->ns, cold->name) & (t->name_buckets - 1)];

	WF_CHECK(cold->named && t->name_count > 0);
	while (*at != cold)
		at = &(*at)->name_next;
	*at = cold->name_next;
	cold->named = false;
	t->name_count--;
}

struct wf_actor *wf_name_find(weft *rt, const char *ns, const char *name)
{
	struct wf_actors *t = wf_actors_of(rt);
	struct wf_cold *cold =
		t->name_buckets ? t->names[hash(ns, name) & (t->name_buckets - 1)] : NULL;

	WF_DEBUG(*ns && *name);
	while (cold && (strcmp(cold->ns, ns) || strcmp(cold->name, name)))
		cold = cold->name_next;
	if (!cold)
		return NULL;
	struct wf_actor *a = &t->slot[cold->index];

	if (!(wf_box_word(&a->box) & (WF_BOX_CLOSED | WF_BOX_STOP)))
		return a;
	/* Dying: its own remover finds that the name is gone. */
	unlink_name(t, cold);
	return NULL;
}

void wf_name_add(weft *rt, struct wf_actor *a)
{
	struct wf_actors *t = wf_actors_of(rt);
	struct wf_cold *cold = a->cold;
	uint32_t to = hash(cold->ns, cold->name) & (t->name_buckets - 1);

	WF_CHECK(!cold->named && t->name_buckets);
	WF_DEBUG(cold->ns && cold->name);
	cold->index = wf_actor_index(rt, a);
	cold->name_next = t->names[to];
	t->names[to] = cold;
	cold->named = true;
	t->name_count++;
}

void wf_name_remove(weft *rt, struct wf_actor *a)
{
	struct wf_actors *t = wf_actors_of(rt);

	/* The name was set before anybody has seen the actor; a cold part may be made right now. */
	uint32_t word = wf_box_lock(&a->box);
	bool has_name = a->cold && a->cold->name;

	wf_box_unlock(&a->box, word);
	if (!has_name)
		return;
	pthread_mutex_lock(&t->names_mutex);
	if (a->cold->named)
		unlink_name(t, a->cold);
	pthread_mutex_unlock(&t->names_mutex);
}
