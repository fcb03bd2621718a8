/*
 * table.c: slots of actors, their handles and counts, and what callers have pending at them.
 *
 * Slots lie in one reserved range that is mapped when a runtime makes its first actor. They never
 * become anything else, so a stale handle reads a generation.
 *
 * Links. One per caller and actor, made at the first call, in the actor: the first in its slot, the
 * others in a table of buckets. Those of callers that are gone and have nothing pending are swept
 * when the table has doubled, so a million short tasks that each make a call leave no trail.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "actor.h"

#define TASK_ORPHAN ((uint64_t)WF_GEN_ORPHAN << WF_INDEX_BITS)

/* ---- The range ----------------------------------------------------------------------------- */

static void table_lock(struct wf_actors *t)
{
	uint32_t unlocked = 0;

	/* acquire [T2]: the free list; held for a few instructions. */
	while (!wf_cas_acquire(&t->lock, &unlocked, 1)) {
		unlocked = 0;
		wf_cpu_relax();
	}
}

static void table_unlock(struct wf_actors *t)
{
	/* release [T2] */
	wf_store_release(&t->lock, 0);
}

struct wf_actors *wf_actors_open(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);

	if (WF_LIKELY(t != NULL))
		return t;
	WF_CHECK(rt->cells_last > 0);
	pthread_mutex_lock(&rt->locals_mutex);
	t = wf_actors_of(rt);
	if (!t) {
		t = wf_calloc(1, sizeof(*t));
		if (t) {
			t->max = rt->cells_last < WF_ACTORS_MAX ? rt->cells_last : WF_ACTORS_MAX;
			t->slot = wf_map((size_t)(t->max + 1) * sizeof(*t->slot),
			                 PROT_READ | PROT_WRITE);
			wf_init(&t->end, 1);
			pthread_mutex_init(&t->names_mutex, NULL);
		}
		if (t && !t->slot) {
			pthread_mutex_destroy(&t->names_mutex);
			wf_free(t);
			t = NULL;
		}
		/* release [T1]: the table. */
		wf_store_release(&rt->actors, (uintptr_t)t);
	}
	pthread_mutex_unlock(&rt->locals_mutex);
	return t;
}

/* At close, when no thread is left and every actor is dead. */
void wf_actors_free(weft *rt)
{
	struct wf_actors *t = wf_actors_of(rt);

	if (!t)
		return;
	/* relaxed: no other thread is left. */
	for (uint32_t i = 1; i < wf_load_relaxed(&t->end); i++) {
		struct wf_actor *a = &t->slot[i];

		/* Handles that were not released. Blocks go with their regions. */
		if (!(wf_box_word(&a->box) & WF_BOX_USED))
			continue;
		wf_error_release(a->death);
		if (!a->state_block)
			wf_free(a->state);
		if (a->cold) {
			wf_free(a->cold->groups);
			wf_free((void *)a->cold->links);
			wf_free(a->cold->again);
			wf_free(a->cold->ns);
			wf_free(a->cold);
		}
	}
	while (t->classes) {
		struct wf_actor_class *next = t->classes->next;

		wf_free(t->classes);
		t->classes = next;
	}
	wf_unmap(t->slot, (size_t)(t->max + 1) * sizeof(*t->slot));
	pthread_mutex_destroy(&t->names_mutex);
	wf_free((void *)t->names);
	wf_free(t);
}

/* Under the lock: the entry of a class, or NULL. */
static struct wf_actor_class *class_find(struct wf_actors *t, const struct weft_actor_class *class_)
{
	struct wf_actor_class *c = t->classes;

	while (c && c->class_ != class_)
		c = c->next;
	return c;
}

/* See to it that a class has an entry. False: there is no memory. */
static bool class_enter(struct wf_actors *t, const struct weft_actor_class *class_)
{
	table_lock(t);
	bool there = class_find(t, class_) != NULL;

	table_unlock(t);
	if (WF_LIKELY(there))
		return true;
	struct wf_actor_class *c = wf_calloc(1, sizeof(*c));

	if (!c)
		return false;
	WF_DEBUG(class_ != NULL);
	WF_DEBUG(!c->next && !c->gone);
	c->class_ = class_;
	table_lock(t);
	there = class_find(t, class_) != NULL;
	if (!there) {
		c->next = t->classes;
		t->classes = c;
	}
	table_unlock(t);
	if (there)
		wf_free(c);
	return true;
}

uint64_t wf_actor_calls(const struct wf_actor *a)
{
	/* relaxed, both: a snapshot. */
	return (uint64_t)wf_load_relaxed(&a->link.calls_high) << 32 |
		wf_load_relaxed(&a->box.group.calls);
}

/* Under the lock: what a dead actor did goes to its class. */
static void class_add(struct wf_actors *t, const struct wf_actor *a)
{
	struct wf_actor_class *c = class_find(t, a->class_);

	WF_CHECK(c != NULL);
	WF_DEBUG(c->gone < UINT64_MAX);
	c->gone++;
	c->calls += wf_actor_calls(a);
	c->restarts += a->cold ? a->cold->restarts : 0;
	/* relaxed: nobody else is here. */
	c->busy_ns += a->cold ? wf_load_relaxed(&a->cold->busy_ns) : 0;
}

struct wf_actor_class *wf_classes_copy(struct wf_actors *t, uint32_t *n)
{
	uint32_t count = 0, room = 0;
	struct wf_actor_class *copy = NULL;

	*n = 0;
	for (;;) {
		count = 0;
		table_lock(t);
		for (struct wf_actor_class *c = t->classes; c; c = c->next) {
			if (count < room)
				copy[count] = *c;
			count++;
		}
		table_unlock(t);
		if (count <= room)
			break;
		/* Entries do not go: the next look finds those, and seldom more. */
		wf_free(copy);
		room = count;
		copy = wf_calloc(room, sizeof(*copy));
		if (!copy)
			break;
	}
	WF_DEBUG(!copy || count);
	WF_DEBUG(count <= room);
	*n = count;
	return copy;
}

static struct wf_actor *slot_take(weft *rt, struct wf_actors *t)
{
	struct wf_actor *a = NULL;

	WF_DEBUG(t && t->slot);
	table_lock(t);
	/* relaxed, all: under the lock; the end also for wf_actor_of(). */
	uint32_t end = wf_load_relaxed(&t->end);

	if (t->free) {
		a = &t->slot[t->free];
		t->free = wf_load_relaxed(&a->handles);
	} else if (end <= t->max) {
		a = &t->slot[end];
		/* relaxed, both: as above. */
		wf_store_relaxed(&a->box.gen, rt->salt | 1);
		wf_store_relaxed(&t->end, end + 1);
	}
	table_unlock(t);
	return a;
}

static void slot_give(weft *rt, struct wf_actor *a)
{
	struct wf_actors *t = wf_actors_of(rt);
	/* relaxed: the last holder's. */
	uint32_t count = (wf_load_relaxed(&a->box.gen) + 1) & WF_GEN_MASK;

	WF_CHECK(!(wf_box_word(&a->box) & WF_BOX_USED) && !a->state);
	WF_CHECK(!a->cold && !a->stuck);
	wf_store_relaxed(&a->box.gen, rt->salt | (count ? count : 1));
	table_lock(t);
	/* relaxed: under the lock. */
	wf_store_relaxed(&a->handles, t->free);
	t->free = wf_actor_index(rt, a);
	table_unlock(t);
}

/* ---- One actor ------------------------------------------------------------------------------ */

struct wf_cold *wf_actor_cold(struct wf_actor *a)
{
	if (!a->cold)
		a->cold = wf_calloc(1, sizeof(*a->cold));
	return a->cold;
}

static bool state_make(struct wf_local *self, struct wf_actor *a)
{
	size_t size = a->class_->state_bytes;
	uint32_t got = 0;

	WF_DEBUG(a->class_ != NULL);
	a->state_block = 0;
	a->state = NULL;
	if (!size)
		return true;
	a->state = size <= WF_BLOCK_MAX_BYTES ? wf_block_alloc(self, size, &got)
					      : wf_aligned_alloc(64, size);
	a->state_block = (uint8_t)got;
	if (a->state)
		memset(a->state, 0, size);
	return a->state != NULL;
}

void wf_state_free(struct wf_local *self, struct wf_actor *a)
{
	if (a->state && a->state_block)
		wf_block_free(self, a->state, a->state_block);
	else
		wf_free(a->state);
	a->state = NULL;
}

static bool cold_fill(struct wf_actor *a, const struct wf_actor_spec *spec)
{
	const struct weft_actor_class *c = &spec->c;
	struct wf_cold *cold = wf_actor_cold(a);

	if (!cold)
		return false;
	WF_CHECK(c->n_groups <= WEFT_ACTOR_GROUPS_MAX);
	WF_DEBUG(!cold->groups && !cold->name);
	cold->max_restarts = c->max_restarts;
	cold->max_task_retries = c->max_task_retries;
	if (c->n_groups) {
		cold->groups = wf_calloc(c->n_groups, sizeof(*cold->groups));
		if (!cold->groups)
			return false;
	}
	cold->n_groups = c->n_groups;
	for (uint32_t i = 0; i < c->n_groups; i++) {
		cold->groups[i].limit = (uint16_t)c->groups[i].max_concurrency;
		cold->groups[i].index = (uint16_t)(i + 1);
	}
	cold->ns = spec->ns;
	cold->name = spec->name;
	cold->group = spec->group;
	cold->placement = spec->placement;
	return true;
}

static void cold_free(struct wf_local *self, struct wf_actor *a)
{
	struct wf_cold *cold = a->cold;

	if (!cold)
		return;
	WF_CHECK(!cold->waiting && !cold->rows && !cold->named);
	WF_CHECK(!cold->kept.class && !cold->grant.bits && !cold->stuck);
	for (uint32_t i = 0; i < cold->link_buckets; i++) {
		struct wf_link_node *node = cold->links[i];

		while (node) {
			struct wf_link_node *next = node->next;

			wf_block_free(self, node, node->block);
			node = next;
		}
	}
	wf_free((void *)cold->links);
	wf_free(cold->groups);
	if (cold->died)
		wf_cell_release(self, cold->died);
	if (cold->again) {
		weft_release_many(self->rt, cold->again->inputs,
		                  (uint32_t)cold->again->n_inputs + cold->again->n_after);
		wf_free(cold->again);
	}
	wf_free(cold->ns);
	wf_free(cold);
	a->cold = NULL;
}

struct wf_actor *wf_actor_new(struct wf_local *self, const struct wf_actor_spec *spec)
{
	const struct weft_actor_class *c = &spec->c;
	struct wf_actors *t = wf_actors_open(self->rt);
	struct wf_actor *a = t && class_enter(t, spec->class_) ? slot_take(self->rt, t) : NULL;

	if (!a)
		return NULL;
	WF_CHECK(c->max_concurrency && c->max_concurrency <= WEFT_CONCURRENCY_MAX);
	WF_CHECK(!(wf_box_word(&a->box) & WF_BOX_USED) && c->max_pending);
	a->box.handed = NULL;
	a->box.group = (struct wf_call_group){ .limit = (uint16_t)c->max_concurrency };
	memset(&a->link, 0, sizeof(a->link));
	a->max_pending = c->max_pending;
	a->exclusive = c->max_concurrency == 1 && !c->n_groups;
	a->any_order = (c->flags & WEFT_ACTOR_ANY_ORDER) || c->max_concurrency > 1;
	a->priority = (uint8_t)(c->priority & 3);
	a->grouped = 0;
	a->device = spec->device;
	a->keeper = spec->hold != NULL;
	a->detached = (c->flags & WEFT_ACTOR_DETACHED) != 0;
	a->class_ = spec->class_;
	a->cold = NULL;
	a->death = NULL;
	wf_init(&a->turns, 0);
	/* One for the creator's handle, one to be alive; a detached one has its own handle. */
	wf_init(&a->handles, a->detached ? 2 : 1);
	wf_init(&a->holds, 2);
	bool cold = c->max_restarts || c->max_task_retries || c->n_groups || spec->name ||
		spec->hold || spec->group || self->rt->timing;

	if (!state_make(self, a) || (cold && !cold_fill(a, spec))) {
		wf_actor_discard(self, a);
		return NULL;
	}
	a->grouped = spec->group != 0;
	return a;
}

void wf_actor_publish(weft *rt, struct wf_actor *a, bool open)
{
	uint32_t word = WF_BOX_USED | (open ? WF_BOX_OPEN : 0) | (a->grouped ? WF_BOX_GROUP : 0) |
		(a->device ? WF_BOX_DEVICE : 0);

	/* relaxed: counts for close; published by the handle. */
	wf_add_relaxed(&wf_actors_of(rt)->live, 1);
	/* By the lock, which whoever looks through the table may have for a moment. */
	uint32_t before = wf_box_lock(&a->box);

	WF_CHECK(a->class_ && !before);
	wf_box_unlock(&a->box, word);
}

void wf_actor_discard(struct wf_local *self, struct wf_actor *a)
{
	WF_CHECK(!(wf_box_word(&a->box) & WF_BOX_USED));
	WF_CHECK(!a->box.handed && !a->box.group.active);
	WF_CHECK(!(a->cold && a->cold->named));
	wf_state_free(self, a);
	if (a->grouped)
		wf_group_drop(self->rt, wf_group_at(self->rt, a->cold->group));
	if (a->cold)
		a->cold->ns = NULL; /* still the creator's */
	cold_free(self, a);
	slot_give(self->rt, a);
}

void wf_actor_hold(struct wf_actor *a)
{
	/* relaxed: the caller is kept by another hold. */
	wf_add_relaxed(&a->holds, 1);
}

void wf_actor_unhold(struct wf_local *self, struct wf_actor *a)
{
	/* acq_rel [T3]: the others' accesses are over before the slot is used again. */
	if (wf_add_acq_rel(&a->holds, (uint32_t)-1) != 1)
		return;
	uint32_t word = wf_box_word(&a->box);

	WF_CHECK(word & WF_BOX_DEAD);
	WF_CHECK(!a->state && !a->box.group.head);
	table_lock(wf_actors_of(self->rt));
	class_add(wf_actors_of(self->rt), a);
	/* In one step with the above, for whoever counts, and who may have the lock right now. */
	word = wf_box_lock(&a->box);
	WF_CHECK(word & WF_BOX_DEAD);
	wf_box_unlock(&a->box, 0);
	table_unlock(wf_actors_of(self->rt));
	cold_free(self, a);
	wf_error_release(a->death);
	a->death = NULL;
	slot_give(self->rt, a);
}

struct wf_actor *wf_actor_hold_of(weft *rt, weft_actor actor)
{
	struct wf_actor *a = wf_actor_of(rt, actor);

	if (!a)
		return NULL;
	uint32_t word = wf_box_lock(&a->box);
	/* relaxed: a guess for the exchange. None: it is given back as soon as we unlock. */
	uint32_t holds = wf_load_relaxed(&a->holds);
	bool there = wf_actor_is(a, word, wf_actor_gen(actor));

	WF_DEBUG(!(word & WF_BOX_LOCK));
	WF_DEBUG(!there || a->class_);
	/* relaxed: what is held is read under the lock. */
	while (there && holds && !wf_cas_relaxed(&a->holds, &holds, holds + 1))
		continue;
	wf_box_unlock(&a->box, word);
	return there && holds ? a : NULL;
}

/* ---- Callers and their links --------------------------------------------------------------- */

uint64_t wf_caller_of(struct wf_local *self)
{
	struct weft_task *frame = self->current;

	if (!frame)
		/* relaxed: our own. */
		return WF_CALLER_THREAD | (uint64_t)wf_load_relaxed(&self->caller_gen) << 16 |
			self->id;
	if (wf_cell_ext(frame->cell) && wf_cell_ext(frame->cell)->call)
		return wf_actor_handle(
			       self->rt,
			       wf_actor_at(self->rt, wf_call_info(wf_cell_ext(frame->cell))->actor))
			.bits;
	/* The generation of a running task changes when its last ref goes. */
	return wf_ref_of(self->rt, frame->cell).bits & ~TASK_ORPHAN;
}

uint32_t wf_link_pending(const struct wf_link *link)
{
	/* acquire [L2]: an end that is counted has happened. */
	return link->submitted - link->settled - wf_load_acquire(&link->done);
}

static bool caller_gone(struct wf_local *self, uint64_t caller)
{
	weft *rt = self->rt;

	WF_DEBUG(caller != 0);
	if (caller & WF_CALLER_THREAD) {
		const struct wf_local *local = rt->locals[caller & 0xffff];

		/* relaxed: an identity that is given away just now can wait. */
		return local && wf_load_relaxed(&local->caller_gen) != (uint32_t)(caller >> 16);
	}
	if (caller & WF_CALLER_ACTOR)
		return !wf_actor_of(rt, (weft_actor){ caller });
	struct wf_cell *cell = &rt->cells[caller & WF_INDEX_MASK];

	return ((wf_ref_of(rt, cell).bits ^ caller) & ~TASK_ORPHAN) ||
		wf_promise_is_done(&cell->promise);
}

static uint32_t bucket_of(uint64_t caller, uint32_t buckets)
{
	return (uint32_t)(caller * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (buckets - 1);
}

/* Give back the links of callers that are gone. */
static void links_sweep(struct wf_local *self, struct wf_cold *cold)
{
	WF_DEBUG(cold->link_buckets || !cold->link_count);
	WF_DEBUG(!(cold->link_buckets & (cold->link_buckets - 1)));
	for (uint32_t i = 0; i < cold->link_buckets; i++) {
		struct wf_link_node **at = &cold->links[i];

		while (*at) {
			struct wf_link_node *node = *at;

			if (wf_link_pending(&node->link) || !caller_gone(self, node->link.caller)) {
				at = &node->next;
				continue;
			}
			*at = node->next;
			wf_block_free(self, node, node->block);
			cold->link_count--;
		}
	}
	cold->link_sweep = cold->link_count * 2 + WF_LINK_BUCKETS;
}

/* Room for one more. False: there are no buckets at all. */
static bool links_grow(struct wf_cold *cold)
{
	uint32_t more = cold->link_buckets ? cold->link_buckets * 4 : WF_LINK_BUCKETS;

	if (cold->link_count < cold->link_buckets * 2)
		return true;
	struct wf_link_node **links = wf_calloc(more, sizeof(*links));

	if (!links)
		return cold->link_buckets > 0;
	WF_DEBUG(more > cold->link_buckets && !(more & (more - 1)));
	WF_CHECK(more);
	for (uint32_t i = 0; i < cold->link_buckets; i++) {
		struct wf_link_node *node = cold->links[i];

		while (node) {
			struct wf_link_node *next = node->next;
			uint32_t to = bucket_of(node->link.caller, more);

			node->next = links[to];
			links[to] = node;
			node = next;
		}
	}
	wf_free((void *)cold->links);
	cold->links = links;
	cold->link_buckets = more;
	return true;
}

struct wf_link *wf_link_find(struct wf_actor *a, uint64_t caller)
{
	struct wf_cold *cold = a->cold;

	if (WF_LIKELY(a->link.caller == caller))
		return &a->link;
	if (!cold || !cold->link_buckets)
		return NULL;
	struct wf_link_node *node = cold->links[bucket_of(caller, cold->link_buckets)];

	while (node && node->link.caller != caller)
		node = node->next;
	return node ? &node->link : NULL;
}

static struct wf_link *link_make(struct wf_local *self, struct wf_actor *a, uint64_t caller)
{
	/* The first one's place serves again when its caller is gone. */
	if (!a->link.caller || (!wf_link_pending(&a->link) && caller_gone(self, a->link.caller))) {
		a->link.caller = caller;
		return &a->link;
	}
	struct wf_cold *cold = wf_actor_cold(a);
	uint32_t got;

	if (!cold)
		return NULL;
	if (cold->link_count >= cold->link_sweep)
		links_sweep(self, cold);
	if (!links_grow(cold))
		return NULL;
	struct wf_link_node *node = wf_block_alloc(self, sizeof(*node), &got);

	if (!node)
		return NULL;
	WF_DEBUG(cold->link_buckets && got);
	WF_DEBUG(a->link.caller != caller);
	memset(node, 0, sizeof(*node));
	node->block = got;
	node->link.caller = caller;
	struct wf_link_node **bucket = &cold->links[bucket_of(caller, cold->link_buckets)];

	node->next = *bucket;
	*bucket = node;
	cold->link_count++;
	return &node->link;
}

struct wf_link *wf_link_of(struct wf_local *self, struct wf_actor *a, uint64_t caller)
{
	struct wf_link *link = wf_link_find(a, caller);

	return WF_LIKELY(link != NULL) ? link : link_make(self, a, caller);
}
