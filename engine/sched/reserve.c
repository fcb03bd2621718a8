/*
 * reserve.c: placement groups: made, reserved when there is a way, removed.
 *
 * A way is a node for each bundle. It is looked for with the largest bundles first, in one or two
 * simple manners; that is quick, and what it does not find hardly anybody misses. Only CPUs belong
 * to nodes: all else is compared as sums, first, which is what most looks end with.
 *
 * Shared and invariants: as in bundles.c, all under admit->mutex.
 */
#include <errno.h>
#include <string.h>

#include "place.h"

static struct wf_places *places_of(const weft *rt)
{
	return rt->admit->places;
}

static uint64_t handle_of(const weft *rt, uint32_t slot, uint32_t gen)
{
	return (uint64_t)(rt->salt | (gen & WF_GEN_MASK)) << 32 | (slot + 1);
}

struct wf_pg *wf_pg_of(const weft *rt, uint64_t bits)
{
	const struct wf_places *p = places_of(rt);
	uint32_t slot = (uint32_t)bits - 1;

	if (!p || slot >= p->slots || !p->slot[slot].pg)
		return NULL;
	struct wf_pg *pg = p->slot[slot].pg;

	WF_DEBUG(pg->slot == slot);
	return pg->bits == bits ? pg : NULL;
}

/* ---- A way to reserve ----------------------------------------------------------------------- */

typedef uint32_t pick_fn(const weft *rt, int64_t cpus);

/* One that has bundles already, else the one with the most. */
static uint32_t pick_packed(const weft *rt, int64_t cpus)
{
	const struct wf_places *p = places_of(rt);
	uint32_t best = WF_NODE_NONE;

	for (uint32_t i = 0; i < rt->node_count; i++) {
		if (p->cpu[i] < cpus)
			continue;
		if (p->bundles[i])
			return i;
		if (best == WF_NODE_NONE || p->cpu[i] > p->cpu[best])
			best = i;
	}
	return best;
}

/* The one with the fewest bundles, and among those with the most CPUs. */
static uint32_t pick_spread(const weft *rt, int64_t cpus)
{
	const struct wf_places *p = places_of(rt);
	uint32_t best = WF_NODE_NONE;

	for (uint32_t i = 0; i < rt->node_count; i++) {
		if (p->cpu[i] < cpus)
			continue;
		if (best == WF_NODE_NONE || p->bundles[i] < p->bundles[best] ||
		    (p->bundles[i] == p->bundles[best] && p->cpu[i] > p->cpu[best]))
			best = i;
	}
	return best;
}

static uint32_t pick_apart(const weft *rt, int64_t cpus)
{
	uint32_t best = pick_spread(rt, cpus);

	return best != WF_NODE_NONE && places_of(rt)->bundles[best] ? WF_NODE_NONE : best;
}

/* The first of its needs, if it is one. */
static int64_t cpus_of(const struct wf_bundle *bundle)
{
	return bundle->n && bundle->need[0].res == WF_RES_CPU ? bundle->need[0].total : 0;
}

/* What every node has, or has free; nodes where nothing can run have less than nothing. */
static void look(const weft *rt, bool empty)
{
	struct wf_places *p = places_of(rt);

	for (uint32_t i = 0; i < rt->node_count; i++) {
		p->bundles[i] = 0;
		p->cpu[i] = empty ? (int64_t)wf_node_workers(rt, i) * WF_FIXED : p->cpu_free[i];
		if (!wf_node_usable(rt, i))
			p->cpu[i] = -1;
	}
}

static bool try_each(const weft *rt, struct wf_pg *pg, bool empty, pick_fn *pick)
{
	struct wf_places *p = places_of(rt);

	look(rt, empty);
	for (uint32_t i = 0; i < pg->n; i++) {
		struct wf_bundle *bundle = &pg->bundle[pg->order[i]];
		int64_t cpus = cpus_of(bundle);

		bundle->planned = pick(rt, cpus);
		if (bundle->planned == WF_NODE_NONE)
			return false;
		WF_DEBUG(bundle->planned < rt->node_count && p->cpu[bundle->planned] >= cpus);
		p->cpu[bundle->planned] -= cpus;
		p->bundles[bundle->planned]++;
	}
	return true;
}

/* All on one node: the fullest that has room. */
static bool try_together(const weft *rt, struct wf_pg *pg, bool empty)
{
	const struct wf_places *p = places_of(rt);
	uint32_t best = WF_NODE_NONE;

	look(rt, empty);
	for (uint32_t i = 0; i < rt->node_count; i++) {
		if (p->cpu[i] >= pg->sum[WF_RES_CPU] && p->cpu[i] >= 0 &&
		    (best == WF_NODE_NONE || p->cpu[i] < p->cpu[best]))
			best = i;
	}
	WF_DEBUG(best == WF_NODE_NONE || wf_node_usable(rt, best));
	for (uint32_t i = 0; i < pg->n; i++)
		pg->bundle[i].planned = best;
	return best != WF_NODE_NONE;
}

/* NULL: there is a way, in `planned`, right now or in an empty runtime; else what is in it. */
static const char *plan(const weft *rt, struct wf_pg *pg, bool empty)
{
	const struct wf_admit *a = rt->admit;
	const int64_t *have = empty ? a->total : a->free;
	bool found = false;

	WF_DEBUG(!pg->reserved && pg->n > 0);
	for (uint32_t res = 0; res < WF_RES_MAX; res++) {
		if (pg->sum[res] && pg->sum[res] > have[res])
			return "more of a resource than there is";
	}
	switch (pg->strategy) {
	case WEFT_PACK:
		found = try_together(rt, pg, empty) || try_each(rt, pg, empty, pick_packed) ||
			try_each(rt, pg, empty, pick_spread);
		return found ? NULL : "more CPUs than the nodes have";
	case WEFT_SPREAD:
		found = try_each(rt, pg, empty, pick_spread) ||
			try_each(rt, pg, empty, pick_packed);
		return found ? NULL : "more CPUs than the nodes have";
	case WEFT_STRICT_PACK:
		return try_together(rt, pg, empty) ? NULL : "more CPUs than one node has";
	default:
		return try_each(rt, pg, empty, pick_apart)
			? NULL
			: "more bundles than there are nodes for";
	}
}

/* There is a way: go it. */
static void reserve(weft *rt, struct wf_pg *pg)
{
	struct wf_admit *a = rt->admit;
	struct wf_places *p = a->places;

	for (uint32_t res = 0; res < WF_RES_MAX; res++) {
		if (res != WF_RES_GPU)
			a->free[res] -= pg->sum[res];
		WF_CHECK(!pg->sum[res] || a->free[res] >= 0);
	}
	a->unspent += pg->sum[WF_RES_CPU];
	for (uint32_t i = 0; i < pg->n; i++) {
		struct wf_bundle *bundle = &pg->bundle[i];

		bundle->node = bundle->planned;
		p->cpu_free[bundle->node] -= cpus_of(bundle);
		WF_CHECK(p->cpu_free[bundle->node] >= 0);
		for (uint32_t j = 0; j < bundle->n; j++)
			bundle->need[j].free = bundle->need[j].total;
		for (uint32_t j = 0; j < bundle->n_gpus; j++) {
			struct wf_bundle_gpu *gpu = &bundle->gpu[j];

			gpu->device = wf_gpus_reserve(a);
			gpu->share = WF_FIXED;
			gpu->mem = a->gpu_mem[gpu->device];
		}
	}
	pg->reserved = pg->untold = true;
	pg->untold_next = p->untold;
	p->untold = pg;
	wf_pg_dirty(p, pg);
}

/* ---- Serving -------------------------------------------------------------------------------- */

bool wf_places_serve(weft *rt, struct wf_grants *grants)
{
	struct wf_admit *a = rt->admit;
	struct wf_places *p = a->places;

	for (struct wf_pg **at = &p->waiting; *at;) {
		struct wf_pg *pg = *at;

		WF_DEBUG(!pg->reserved && pg->ready);
		if (plan(rt, pg, false)) {
			at = &pg->next;
			continue;
		}
		*at = pg->next;
		reserve(rt, pg);
	}
	while (p->dirty) {
		struct wf_pg *pg = p->dirty;
		struct wf_class *class;

		while ((class = wf_pg_next(a, pg))) {
			if (!wf_admit_start(rt, class, grants))
				return false;
		}
		WF_DEBUG(p->dirty == pg);
		p->dirty = pg->dirty_next;
		pg->dirty = false;
	}
	for (; p->freed; p->freed &= p->freed - 1) {
		if (!wf_admit_serve_one(rt, (uint32_t)__builtin_ctzll(p->freed), grants))
			return false;
	}
	return true;
}

void wf_places_tell(struct wf_local *self)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_places *p = a->places;

	while (p->untold) {
		struct wf_pg *pg = p->untold;
		struct wf_cell *ready = pg->ready;

		WF_CHECK(ready && pg->reserved && pg->untold);
		p->untold = pg->untold_next;
		pg->untold = false;
		wf_promise_retain(&ready->promise);
		pthread_mutex_unlock(&a->mutex);
		wf_signal(self, ready, NULL);
		pthread_mutex_lock(&a->mutex);
	}
}

/* ---- Entered and removed -------------------------------------------------------------------- */

struct wf_pg *wf_pg_alloc(uint32_t n, uint32_t n_gpus)
{
	size_t gpus = sizeof(struct wf_pg) + n * sizeof(struct wf_bundle);
	size_t order = gpus + n_gpus * sizeof(struct wf_bundle_gpu);
	char *memory = wf_calloc(1, order + n * sizeof(uint32_t));
	struct wf_pg *pg = (struct wf_pg *)(void *)memory;

	if (!memory)
		return NULL;
	WF_CHECK(n && n <= WEFT_BUNDLES_MAX);
	pg->n = n;
	pg->order = (uint32_t *)(void *)(memory + order);
	for (uint32_t i = 0; i < n; i++) {
		pg->bundle[i].node = WF_NODE_NONE;
		pg->bundle[i].gpu = (struct wf_bundle_gpu *)(void *)(memory + gpus);
	}
	return pg;
}

/* By CPUs, most first; equals as they came. */
static void sort(struct wf_pg *pg)
{
	for (uint32_t i = 0; i < pg->n; i++) {
		uint32_t j = i;

		for (; j && cpus_of(&pg->bundle[pg->order[j - 1]]) < cpus_of(&pg->bundle[i]); j--)
			pg->order[j] = pg->order[j - 1];
		pg->order[j] = i;
	}
}

static struct wf_places *places_make(weft *rt)
{
	struct wf_admit *a = rt->admit;

	if (a->places)
		return a->places;
	struct wf_places *p = wf_calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	WF_CHECK(rt->node_count <= WF_NODES_MAX);
	for (uint32_t i = 0; i < rt->node_count; i++)
		p->cpu_free[i] = (int64_t)wf_node_workers(rt, i) * WF_FIXED;
	a->places = p;
	return p;
}

/* A free slot for it. 0, -EEXIST, -ENOSPC, -ENOMEM. */
static int slot_take(struct wf_places *p, struct wf_pg *pg)
{
	uint32_t found = p->slots;

	WF_DEBUG(p->slots <= p->room && p->slots <= WEFT_PLACEMENTS_MAX);
	for (uint32_t i = 0; i < p->slots; i++) {
		const struct wf_pg *other = p->slot[i].pg;

		if (!other)
			found = found == p->slots ? i : found;
		else if (pg->name[0] && !strcmp(other->name, pg->name))
			return -EEXIST;
	}
	if (found == WEFT_PLACEMENTS_MAX)
		return -ENOSPC;
	if (found == p->room) {
		uint32_t room = p->room ? p->room * 2 : 16;
		struct wf_place_slot *grown = wf_calloc(room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		if (p->slots)
			memcpy(grown, p->slot, p->slots * sizeof(*grown));
		wf_free(p->slot);
		p->slot = grown;
		p->room = room;
	}
	WF_DEBUG(found < p->room && found <= p->slots);
	if (found == p->slots)
		p->slots++;
	p->slot[found].pg = pg;
	pg->slot = found;
	return 0;
}

/* Behind those that wait; whoever serves next looks whether it must. */
static void wait_in_line(struct wf_places *p, struct wf_pg *pg)
{
	struct wf_pg **at = &p->waiting;

	while (*at)
		at = &(*at)->next;
	*at = pg;
}

int wf_pg_enter(struct wf_local *self, struct wf_pg *pg, uint64_t *bits, const char **why)
{
	static const struct wf_shape nothing = { .n = 0 };
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	int rc = 0;

	sort(pg);
	pthread_mutex_lock(&a->mutex);
	struct wf_places *p = places_make(rt);

	if (pg->sum[WF_RES_MEMORY])
		wf_admit_know_memory(a);
	if (!p)
		rc = -ENOMEM;
	else if ((*why = plan(rt, pg, true)))
		rc = -EINVAL;
	else
		rc = slot_take(p, pg);
	if (rc) {
		pthread_mutex_unlock(&a->mutex);
		return rc;
	}
	*bits = pg->bits = handle_of(rt, pg->slot, ++p->slot[pg->slot].gen);
	WF_CHECK(pg->ready && wf_pg_of(rt, pg->bits) == pg);
	wait_in_line(p, pg);
	wf_admit_serve(self, &nothing);
	return 0;
}

static bool was_one(const weft *rt, uint64_t bits)
{
	const struct wf_places *p = places_of(rt);
	uint32_t slot = (uint32_t)bits - 1, gen = (uint32_t)(bits >> 32);

	return p && slot < p->slots && (gen & ~WF_GEN_MASK) == rt->salt &&
		(gen & WF_GEN_MASK) <= p->slot[slot].gen;
}

/* Off every list of groups; no handle finds it any more. */
static void unlist(struct wf_places *p, struct wf_pg *pg)
{
	struct wf_pg **at;

	WF_CHECK(p->slot[pg->slot].pg == pg);
	WF_DEBUG(pg->reserved || (!pg->dirty && !pg->untold));
	p->slot[pg->slot].pg = NULL;
	for (at = &p->waiting; *at && *at != pg;)
		at = &(*at)->next;
	if (*at)
		*at = pg->next;
	for (at = &p->dirty; pg->dirty && *at != pg;)
		at = &(*at)->dirty_next;
	if (pg->dirty)
		*at = pg->dirty_next;
	for (at = &p->untold; pg->untold && *at != pg;)
		at = &(*at)->untold_next;
	if (pg->untold)
		*at = pg->untold_next;
	pg->dirty = false;
}

/* What waits in it goes on, to end; up to a batch. False: there is more. */
static bool pass_waiting(weft *rt, struct wf_pg *pg, struct wf_grants *grants)
{
	for (struct wf_class *class = pg->classes; class; class = class->pg_next) {
		while (class->first) {
			if (grants->n == WF_BATCH_MAX)
				return false;
			wf_admit_pass(rt, class->first, grants);
		}
	}
	return true;
}

static void pass_all_waiting(struct wf_local *self, struct wf_pg *pg)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_grants grants;
	bool all = false;

	WF_DEBUG(pg->users > 0);
	while (!all) {
		grants.n = 0;
		all = pass_waiting(self->rt, pg, &grants);
		pthread_mutex_unlock(&a->mutex);
		wf_grants_send(self, &grants);
		pthread_mutex_lock(&a->mutex);
	}
}

/*
 * Removed already: what waits in it is served no more, also while the mutex is let go. Who took
 * something of it now would give the rest to the runtime in the middle of that.
 */
static void leave_queues(struct wf_admit *a, const struct wf_pg *pg)
{
	/* relaxed: under the mutex. */
	WF_CHECK(wf_load_relaxed(&pg->removed));
	WF_DEBUG(pg->users > 0);
	for (struct wf_class *class = pg->classes; class; class = class->pg_next)
		wf_class_leave(a, class);
}

/* Whether an actor holds something of it, or is to. */
static bool has_actors(const struct wf_pg *pg)
{
	const struct wf_class *class = pg->classes;

	WF_DEBUG(pg->users > 0);
	while (class && !class->shape.keeps)
		class = class->pg_next;
	return class != NULL;
}

/*
 * Removed already: a creator that names it from here on is refused, and every other one's actor
 * can be seen, because that comes before the class of its request.
 */
static void end_actors(struct wf_local *self, struct wf_pg *pg, struct wf_error *why)
{
	struct wf_admit *a = self->rt->admit;

	if (!has_actors(pg))
		return;
	pthread_mutex_unlock(&a->mutex);
	wf_actors_unplace(self, pg->bits, why);
	pthread_mutex_lock(&a->mutex);
}

/* `status`: as what its ready reference fails if it has waited until now. */
static int give_up(struct wf_local *self, uint64_t bits, int status)
{
	static const struct wf_shape nothing = { .n = 0 };
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	struct wf_error *why = wf_error_static(status);

	pthread_mutex_lock(&a->mutex);
	struct wf_pg *pg = wf_pg_of(rt, bits);

	WF_DEBUG(status == WEFT_EPLACEMENT || a->gpus_lost);
	if (!pg) {
		bool once = was_one(rt, bits);

		pthread_mutex_unlock(&a->mutex);
		return once ? 0 : -EINVAL;
	}
	struct wf_cell *ready = pg->ready;

	/* relaxed: under the mutex. */
	WF_CHECK(ready && !wf_load_relaxed(&pg->removed));
	unlist(a->places, pg);
	/* relaxed: what is just beginning may find it or not. */
	wf_store_relaxed(&pg->removed, 1);
	pg->ready = NULL;
	pg->untold = false;
	pg->users++;
	leave_queues(a, pg);
	/* First, so that those that wait end by this, and not because their init cannot run. */
	end_actors(self, pg, why);
	pass_all_waiting(self, pg);
	bool reserved = pg->reserved;

	for (uint32_t i = 0; i < pg->n && reserved; i++)
		wf_bundle_flush(rt, &pg->bundle[i]);
	WF_CHECK(!wf_pg_of(rt, bits) && pg->users);
	pg->users--;
	wf_pg_settle(pg);
	wf_admit_serve(self, &nothing);
	/* Told already, or just being: then this only lets go. */
	wf_signal(self, ready, reserved ? NULL : why);
	return 0;
}

int wf_pg_remove(struct wf_local *self, uint64_t bits)
{
	return give_up(self, bits, WEFT_EPLACEMENT);
}

void wf_places_lost(struct wf_local *self)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	uint64_t bits;

	do {
		bits = 0;
		pthread_mutex_lock(&a->mutex);
		WF_DEBUG(a->gpus_lost);
		for (struct wf_pg *pg = a->places ? a->places->waiting : NULL; pg && !bits;
		     pg = pg->next)
			bits = plan(rt, pg, true) ? pg->bits : 0;
		pthread_mutex_unlock(&a->mutex);
		if (bits && give_up(self, bits, WEFT_EDEVICE) == 0)
			wf_log(rt, WEFT_LOG_WARN,
			       "a placement group that waited for a lost device is removed");
	} while (bits);
}

void wf_places_destroy(weft *rt)
{
	struct wf_places *p = places_of(rt);

	if (!p)
		return;
	for (uint32_t i = 0; i < p->slots; i++) {
		WF_CHECK(!p->slot[i].pg || !p->slot[i].pg->classes);
		wf_free(p->slot[i].pg);
	}
	wf_free(p->slot);
	wf_free(p);
	rt->admit->places = NULL;
}
