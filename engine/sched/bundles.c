/*
 * bundles.c: the books of placement groups: bundles of resources that are reserved together.
 *
 * To reserve is to move amounts from the runtime's books into the bundles', all of them at once;
 * see reserve.c. A request in a group takes from a bundle and gives back to it. Groups that cannot
 * be reserved yet hold nothing; they are looked at in order whenever something has come back. A
 * class of requests in a group waits for WF_RES_BUNDLE, which is no heap: when something comes back
 * to a bundle the few classes of its group are looked at. When a group is removed what is free of
 * it goes back, and from then on what comes back to it goes on at once.
 *
 * CPUs. What bundles hold is not free for others, but no worker stands aside for it before a
 * request that collects workers has it: `unspent` is what bundles hold and no such request has. A
 * request of one CPU in a bundle collects nobody, since the worker that runs it is its CPU; it is
 * only counted (request->slot), and `slots` is what such requests hold. So are those of actors,
 * which are an amount, see kept.c.
 *
 * Shared: everything here, under admit->mutex, but pg->removed, which is read without by whoever
 * holds a class of the group. A group is freed when it is removed, no class names it and nobody
 * uses it.
 *
 * Invariants
 *   of a reserved group, for every need: free + what requests in the bundle hold == total
 *   cpu_free of a node + totals of CPUs in bundles on it == its workers
 *   unspent == CPUs free in bundles + slots
 *   a removed group has nothing free, and no handle finds it
 */
#include <errno.h>
#include <string.h>

#include "place.h"

static struct wf_places *places_of(const weft *rt)
{
	return rt->admit->places;
}

/* Its place in bundle->need, or bundle->n. */
static uint32_t place_of(const struct wf_bundle *bundle, uint32_t res)
{
	uint32_t i = 0;

	while (i < bundle->n && bundle->need[i].res != res)
		i++;
	return i;
}

static struct wf_bundle_need *need_in(struct wf_bundle *bundle, uint32_t res)
{
	uint32_t i = place_of(bundle, res);

	WF_CHECK(i < bundle->n);
	return &bundle->need[i];
}

/* ---- Whether a request fits ----------------------------------------------------------------- */

static bool is_gpu(uint32_t res)
{
	return res == WF_RES_GPU || res == WF_RES_SHARE || res == WF_RES_GPU_MEM;
}

/* GPUs of a bundle that have room, or would if they were empty. */
static uint32_t gpus_with_room(const struct wf_admit *a, const struct wf_bundle *bundle,
                               const struct wf_shape *shape, bool empty)
{
	int64_t share = wf_need_of(shape, WF_RES_SHARE), bytes = wf_need_of(shape, WF_RES_GPU_MEM);
	uint32_t n = 0;

	share = share ? share : WF_FIXED;
	WF_DEBUG(bundle->n_gpus <= WEFT_GPUS_MAX);
	for (uint32_t i = 0; i < bundle->n_gpus; i++) {
		const struct wf_bundle_gpu *gpu = &bundle->gpu[i];
		bool known = gpu->device != WEFT_GPUS_MAX;

		WF_DEBUG(known || !gpu->share);
		if (known && a->gpus_lost >> gpu->device & 1)
			continue;
		if (empty)
			n += !known || a->gpu_mem[gpu->device] >= bytes;
		else
			n += gpu->share >= share && gpu->mem >= bytes;
	}
	return n;
}

static bool has_room(const struct wf_admit *a, const struct wf_bundle *bundle,
                     const struct wf_shape *shape, bool empty)
{
	for (uint32_t i = 0; i < shape->n; i++) {
		struct wf_need need = shape->need[i];

		if (need.res == WF_RES_COLLECT || is_gpu(need.res))
			continue;
		uint32_t at = place_of(bundle, need.res);

		WF_DEBUG(need.amount > 0 && need.res < WF_RES_MAX);
		if (at == bundle->n)
			return false;
		if ((empty ? bundle->need[at].total : bundle->need[at].free) < need.amount)
			return false;
	}
	int64_t whole = wf_need_of(shape, WF_RES_GPU) / WF_FIXED;

	WF_DEBUG(whole >= 0 && bundle->n <= WF_BUNDLE_NEEDS);
	return !wf_shape_has_gpu(shape) ||
		gpus_with_room(a, bundle, shape, empty) >= (whole ? whole : 1);
}

/* The first bundle that is meant and has room; n: none. */
static uint32_t find_room(const struct wf_admit *a, const struct wf_pg *pg,
                          const struct wf_shape *shape, bool empty)
{
	uint32_t i = shape->bundle ? shape->bundle - 1 : 0;
	uint32_t end = shape->bundle ? shape->bundle : pg->n;

	WF_CHECK(end <= pg->n);
	while (i < end && !has_room(a, &pg->bundle[i], shape, empty))
		i++;
	return i < end ? i : pg->n;
}

bool wf_pg_never(const struct wf_admit *a, const struct wf_class *class)
{
	return find_room(a, class->pg, &class->shape, true) == class->pg->n;
}

uint32_t wf_pg_short(const struct wf_admit *a, const struct wf_class *class)
{
	const struct wf_pg *pg = class->pg;

	WF_DEBUG(pg->bits == class->shape.pg);
	WF_DEBUG(!class->infeasible || a->gpus_lost);
	if (!pg->reserved || find_room(a, pg, &class->shape, false) == pg->n)
		return WF_RES_BUNDLE;
	return a->free[WF_RES_COLLECT] < wf_need_of(&class->shape, WF_RES_COLLECT) ? WF_RES_COLLECT
										   : WF_RES_NONE;
}

/* ---- What comes back to a bundle ------------------------------------------------------------ */

void wf_bundle_flush(weft *rt, struct wf_bundle *bundle)
{
	struct wf_admit *a = rt->admit;
	struct wf_places *p = a->places;

	WF_CHECK(bundle->node < rt->node_count);
	for (uint32_t i = 0; i < bundle->n; i++) {
		struct wf_bundle_need *need = &bundle->need[i];

		a->free[need->res] += need->free;
		if (need->res == WF_RES_CPU) {
			p->cpu_free[bundle->node] += need->free;
			a->unspent -= need->free;
		}
		p->freed |= UINT64_C(1) << need->res;
		need->free = 0;
		WF_DEBUG(a->free[need->res] <= a->total[need->res]);
	}
	for (uint32_t i = 0; i < bundle->n_gpus; i++) {
		struct wf_bundle_gpu *gpu = &bundle->gpu[i];

		wf_gpus_return(a, gpu->device, gpu->share, gpu->mem);
		gpu->share = gpu->mem = 0;
	}
	if (bundle->n_gpus)
		p->freed |= UINT64_C(1) << WF_RES_GPU;
}

void wf_pg_dirty(struct wf_places *p, struct wf_pg *pg)
{
	if (pg->dirty)
		return;
	pg->dirty = true;
	pg->dirty_next = p->dirty;
	p->dirty = pg;
}

static void came_back(weft *rt, const struct wf_request *request)
{
	struct wf_pg *pg = request->class->pg;

	WF_CHECK(pg->reserved && request->bundle < pg->n);
	/* relaxed: under the mutex. */
	if (wf_load_relaxed(&pg->removed))
		wf_bundle_flush(rt, &pg->bundle[request->bundle]);
	else
		wf_pg_dirty(places_of(rt), pg);
}

static void cpus_move(weft *rt, const struct wf_request *request, int64_t by)
{
	struct wf_admit *a = rt->admit;
	struct wf_pg *pg = request->class->pg;
	struct wf_bundle_need *need = need_in(&pg->bundle[request->bundle], WF_RES_CPU);

	need->free += by;
	if (request->slot || request->class->shape.keeps)
		a->slots -= by;
	else
		a->unspent += by;
	WF_DEBUG(a->slots >= 0 && need->free <= need->total);
	came_back(rt, request);
}

void wf_cpus_give(weft *rt, struct wf_request *request)
{
	WF_DEBUG(request->cpus > 0);
	if (request->class->pg)
		cpus_move(rt, request, request->cpus);
	else
		rt->admit->free[WF_RES_CPU] += request->cpus;
}

void wf_cpus_take(weft *rt, struct wf_request *request)
{
	WF_DEBUG(request->cpus > 0);
	if (request->class->pg)
		cpus_move(rt, request, -request->cpus);
	else
		rt->admit->free[WF_RES_CPU] -= request->cpus;
}

/* ---- Requests in a bundle ------------------------------------------------------------------- */

/* One GPU for a share (the fullest that has room), or as many as are asked for, whole. */
static void take_gpus(const struct wf_admit *a, struct wf_bundle *bundle,
                      struct wf_request *request)
{
	const struct wf_shape *shape = &request->class->shape;
	int64_t share = wf_need_of(shape, WF_RES_SHARE), bytes = wf_need_of(shape, WF_RES_GPU_MEM);
	int64_t left = share ? 1 : wf_need_of(shape, WF_RES_GPU) / WF_FIXED;

	WF_CHECK(!request->gpus && left > 0);
	while (left--) {
		struct wf_bundle_gpu *best = NULL;

		for (uint32_t i = 0; i < bundle->n_gpus; i++) {
			struct wf_bundle_gpu *gpu = &bundle->gpu[i];

			if (a->gpus_lost >> gpu->device & 1 || gpu->mem < bytes ||
			    gpu->share < (share ? share : WF_FIXED))
				continue;
			best = !best || gpu->share < best->share ? gpu : best;
		}
		WF_CHECK(best);
		request->gpus |= UINT64_C(1) << best->device;
		best->share -= share ? share : WF_FIXED;
		best->mem = share ? best->mem - bytes : 0;
	}
}

static void give_gpus(const struct wf_admit *a, struct wf_bundle *bundle,
                      struct wf_request *request)
{
	const struct wf_shape *shape = &request->class->shape;
	int64_t share = wf_need_of(shape, WF_RES_SHARE), bytes = wf_need_of(shape, WF_RES_GPU_MEM);

	for (uint32_t i = 0; i < bundle->n_gpus; i++) {
		struct wf_bundle_gpu *gpu = &bundle->gpu[i];

		if (!(request->gpus >> gpu->device & 1))
			continue;
		gpu->share += share ? share : WF_FIXED;
		gpu->mem += share ? bytes : a->gpu_mem[gpu->device];
		WF_CHECK(gpu->share <= WF_FIXED && gpu->mem <= a->gpu_mem[gpu->device]);
	}
	request->gpus = 0;
}

void wf_pg_take(weft *rt, struct wf_request *request)
{
	struct wf_admit *a = rt->admit;
	const struct wf_shape *shape = &request->class->shape;
	struct wf_pg *pg = request->class->pg;

	request->bundle = find_room(a, pg, shape, false);
	WF_CHECK(pg->reserved && request->bundle < pg->n);
	struct wf_bundle *bundle = &pg->bundle[request->bundle];

	for (uint32_t i = 0; i < shape->n; i++) {
		struct wf_need need = shape->need[i];

		if (need.res == WF_RES_CPU)
			continue;
		if (need.res == WF_RES_COLLECT)
			a->free[WF_RES_COLLECT] -= need.amount;
		else if (!is_gpu(need.res))
			need_in(bundle, need.res)->free -= need.amount;
	}
	WF_DEBUG(a->free[WF_RES_COLLECT] >= 0);
	if (wf_need_of(shape, WF_RES_CPU))
		cpus_move(rt, request, -wf_need_of(shape, WF_RES_CPU));
	if (wf_shape_has_gpu(shape))
		take_gpus(a, bundle, request);
}

/* All but COLLECT, and CPUs that are not an actor's. */
void wf_pg_give(weft *rt, struct wf_request *request)
{
	const struct wf_shape *shape = &request->class->shape;
	struct wf_bundle *bundle = &request->class->pg->bundle[request->bundle];

	WF_CHECK(request->bundle < request->class->pg->n);
	if (shape->keeps && wf_need_of(shape, WF_RES_CPU))
		cpus_move(rt, request, wf_need_of(shape, WF_RES_CPU));
	for (uint32_t i = 0; i < shape->n; i++) {
		struct wf_need need = shape->need[i];

		if (need.res == WF_RES_CPU || need.res == WF_RES_COLLECT || is_gpu(need.res))
			continue;
		struct wf_bundle_need *in = need_in(bundle, need.res);

		in->free += need.amount;
		WF_CHECK(in->free <= in->total);
	}
	if (wf_shape_has_gpu(shape))
		give_gpus(rt->admit, bundle, request);
	came_back(rt, request);
}

bool wf_pg_join(weft *rt, struct wf_class *class)
{
	struct wf_pg *pg = wf_pg_of(rt, class->shape.pg);

	if (!pg)
		return false;
	WF_DEBUG(!class->pg && class->shape.bundle <= pg->n);
	class->pg = pg;
	class->pg_next = pg->classes;
	pg->classes = class;
	return true;
}

void wf_pg_settle(struct wf_pg *pg)
{
	/* relaxed: under the mutex. */
	if (!wf_load_relaxed(&pg->removed) || pg->classes || pg->users)
		return;
	WF_CHECK(!pg->dirty && !pg->untold && !pg->ready);
	wf_free(pg);
}

void wf_pg_leave(struct wf_class *class)
{
	struct wf_pg *pg = class->pg;
	struct wf_class **at = &pg->classes;

	WF_CHECK(!class->users && !class->first);
	while (*at != class)
		at = &(*at)->pg_next;
	*at = class->pg_next;
	wf_pg_settle(pg);
}

bool wf_class_is_gone(const struct wf_class *class)
{
	/* relaxed: what was not begun by then, is not. */
	return class->pg && wf_load_relaxed(&class->pg->removed);
}

/* ---- Who is next ---------------------------------------------------------------------------- */

struct wf_class *wf_pg_next(struct wf_admit *a, const struct wf_pg *pg)
{
	static const uint8_t rank[WF_PRIORITIES] = {
		[WEFT_PRIORITY_HIGH] = 0, [WEFT_PRIORITY_NORMAL] = 1, [WEFT_PRIORITY_LOW] = 2
	};
	struct wf_class *best = NULL;

	/* relaxed: under the mutex. */
	WF_DEBUG(!wf_load_relaxed(&pg->removed));
	for (struct wf_class *class = pg->classes; class; class = class->pg_next) {
		uint32_t res;

		if (class->heap_res != WF_RES_BUNDLE)
			continue;
		WF_CHECK(class->first && !class->infeasible);
		res = wf_pg_short(a, class);
		if (res == WF_RES_COLLECT)
			wf_class_join(a, class, res);
		if (res != WF_RES_NONE)
			continue;
		int by = best ? rank[class->shape.priority] - rank[best->shape.priority] : -1;

		if (by < 0 || (!by && class->turn < best->turn))
			best = class;
	}
	return best;
}
