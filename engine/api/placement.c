/*
 * placement.c: the doors of placement groups, and what a task may ask about its place.
 */
#include <errno.h>
#include <string.h>

#include "place.h"

static int bad(weft *rt, const char *field, double value, const char *why)
{
	wf_log(rt, WEFT_LOG_ERROR, "placement: %s: %.9g: %s", field, value, why);
	return -EINVAL;
}

/* ---- Made ----------------------------------------------------------------------------------- */

static int check(weft *rt, const struct weft_placement_options *o)
{
	const char *wrong = "makes no sense";

	if (o->strategy > WEFT_STRICT_SPREAD)
		return bad(rt, "strategy", o->strategy, wrong);
	if (o->name && (!*o->name || strnlen(o->name, 64) > 63))
		return bad(rt, "name", (double)strnlen(o->name, 4096), "bytes");
	if (o->reserved0)
		return bad(rt, "reserved0", o->reserved0, wrong);
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(*o->reserved); i++) {
		if (o->reserved[i])
			return bad(rt, "reserved", (double)o->reserved[i], wrong);
	}
	return 0;
}

/* How many GPUs a bundle has; negative: it is no number of them. */
static int64_t gpus_of(const struct weft_bundle *from)
{
	bool good = from->gpus >= 0 && from->gpus <= WEFT_GPUS_MAX &&
		from->gpus == (double)(int64_t)from->gpus;

	return good ? (int64_t)from->gpus : -1;
}

static void need(struct wf_pg *pg, struct wf_bundle *bundle, uint32_t res, int64_t amount)
{
	WF_CHECK(bundle->n < WF_BUNDLE_NEEDS && amount > 0);
	WF_DEBUG(res < WF_RES_MAX);
	bundle->need[bundle->n++] = (struct wf_bundle_need){ .res = res, .total = amount };
	pg->sum[res] += amount;
}

static int read_resources(weft *rt, struct wf_pg *pg, struct wf_bundle *bundle,
                          const struct weft_bundle *from)
{
	uint32_t first = bundle->n;

	if (from->n_resources > WEFT_REQUEST_MAX || !from->resources != !from->n_resources)
		return bad(rt, "n_resources", from->n_resources, "makes no sense");
	for (uint32_t i = 0; i < from->n_resources; i++) {
		const char *name = from->resources[i].name;
		uint32_t res = name ? wf_admit_named(rt, name) : WF_RES_NONE;
		int64_t amount;

		if (res == WF_RES_NONE)
			return bad(rt, "resources", i, "the runtime has none of this name");
		if (!wf_fixed(from->resources[i].amount, &amount))
			return bad(rt, name, from->resources[i].amount, "no amount");
		for (uint32_t j = first; j < bundle->n; j++) {
			if (bundle->need[j].res == res)
				return bad(rt, name, i, "named twice");
		}
		need(pg, bundle, res, amount);
	}
	WF_DEBUG(bundle->n == first + from->n_resources);
	return 0;
}

/* `gpu`: where those of this bundle begin. */
static int read_bundle(weft *rt, struct wf_pg *pg, uint32_t index, const struct weft_bundle *from,
                       struct wf_bundle_gpu *gpu)
{
	struct wf_bundle *bundle = &pg->bundle[index];
	int64_t cpus = 0;

	if (from->cpus != 0 && !wf_fixed(from->cpus, &cpus))
		return bad(rt, "cpus", from->cpus, "no amount");
	if (from->memory > INT64_MAX / WEFT_BUNDLES_MAX)
		return bad(rt, "memory", (double)from->memory, "no amount");
	if (from->reserved0)
		return bad(rt, "reserved0", from->reserved0, "makes no sense");
	if (cpus)
		need(pg, bundle, WF_RES_CPU, cpus);
	if (from->memory)
		need(pg, bundle, WF_RES_MEMORY, (int64_t)from->memory);
	bundle->gpu = gpu;
	bundle->n_gpus = (uint32_t)gpus_of(from);
	pg->sum[WF_RES_GPU] += (int64_t)bundle->n_gpus * WF_FIXED;
	for (uint32_t i = 0; i < bundle->n_gpus; i++)
		gpu[i].device = WEFT_GPUS_MAX;
	int rc = read_resources(rt, pg, bundle, from);

	if (!rc && !bundle->n && !bundle->n_gpus)
		rc = bad(rt, "bundle", index, "asks for nothing");
	return rc;
}

static int read_bundles(weft *rt, struct wf_pg *pg, const struct weft_bundle *bundles)
{
	struct wf_bundle_gpu *gpu = pg->bundle[0].gpu;
	int rc = 0;

	WF_DEBUG(pg->n > 0);
	for (uint32_t i = 0; i < pg->n && !rc; i++) {
		rc = read_bundle(rt, pg, i, &bundles[i], gpu);
		gpu += pg->bundle[i].n_gpus;
	}
	return rc;
}

/* A signal with one count, which completes whoever sets it. NULL: no memory. */
static struct wf_cell *signal_make(struct wf_local *self)
{
	return wf_event_start(self, WF_CELL_SIGNAL);
}

/* A group that is read and has its signal: into the table; consumed when that fails. */
static int enter(struct wf_local *self, struct wf_pg *pg, weft_placement *out)
{
	const char *why = NULL;
	struct wf_cell *ready = signal_make(self);

	pg->ready = ready;
	WF_DEBUG(!pg->reserved && pg->n > 0);
	int rc = ready ? wf_pg_enter(self, pg, &out->bits, &why) : -ENOMEM;

	if (rc == -EINVAL)
		bad(self->rt, "bundles", pg->n, why);
	if (rc) {
		wf_signal(self, ready, NULL);
		wf_free(pg);
	}
	return rc;
}

int weft_placement_create(weft *rt, const struct weft_placement_options *opts,
                          const struct weft_bundle *bundles, uint32_t n, weft_placement *out)
{
	struct weft_placement_options o = { .struct_size = sizeof(o) };
	uint32_t n_gpus = 0;

	if (!rt || !out || !bundles)
		return -EINVAL;
	if (opts && wf_options_read(&o, sizeof(o), opts))
		return bad(rt, "struct_size", (double)opts->struct_size, "of another version");
	int rc = check(rt, &o);

	if (!rc && (!n || n > WEFT_BUNDLES_MAX))
		rc = bad(rt, "n", n, "bundles");
	if (!rc)
		rc = wf_gate_check(rt);
	for (uint32_t i = 0; i < n && !rc; i++) {
		int64_t gpus = gpus_of(&bundles[i]);

		if (gpus < 0)
			rc = bad(rt, "gpus", bundles[i].gpus, "no number of GPUs");
		n_gpus += (uint32_t)gpus;
	}
	if (rc)
		return rc;
	struct wf_local *self = wf_local_of(rt);
	struct wf_pg *pg = self ? wf_pg_alloc(n, n_gpus) : NULL;

	if (!pg)
		return -ENOMEM;
	pg->strategy = o.strategy;
	if (o.name)
		strcpy(pg->name, o.name);
	WF_DEBUG(n_gpus <= n * WEFT_GPUS_MAX);
	rc = read_bundles(rt, pg, bundles);
	if (!rc)
		return enter(self, pg, out);
	wf_free(pg);
	return rc;
}

/* ---- Waited for, removed -------------------------------------------------------------------- */

int weft_placement_ready(weft *rt, weft_placement group, weft_ref *out)
{
	if (!rt || !out)
		return -EINVAL;
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	pthread_mutex_lock(&rt->admit->mutex);
	struct wf_pg *pg = wf_pg_of(rt, group.bits);

	if (pg) {
		/* The handle is of a group that is there, so it has its count. */
		WF_CHECK(pg->ready);
		wf_promise_retain(&pg->ready->promise);
		*out = wf_ref_of(rt, pg->ready);
	}
	pthread_mutex_unlock(&rt->admit->mutex);
	return pg ? 0 : -EINVAL;
}

int weft_placement_wait(weft *rt, weft_placement group, weft_deadline until)
{
	weft_ref ref;
	struct weft_view view;
	int rc = weft_placement_ready(rt, group, &ref);

	if (rc)
		return rc;
	rc = weft_get(rt, ref, until, &view);
	(void)weft_release(rt, ref);
	return rc;
}

int weft_placement_remove(weft *rt, weft_placement group)
{
	struct wf_local *self = rt && group.bits ? wf_local_of(rt) : NULL;

	if (!rt || !group.bits)
		return rt ? 0 : -EINVAL;
	return self ? wf_pg_remove(self, group.bits) : -ENOMEM;
}

/* ---- Questions ------------------------------------------------------------------------------ */

static double amount(int64_t fixed)
{
	return (double)fixed / WF_FIXED;
}

int weft_placement_find(weft *rt, const char *name, weft_placement *out)
{
	int rc = -ENOENT;

	if (!rt || !name || !out)
		return -EINVAL;
	pthread_mutex_lock(&rt->admit->mutex);
	const struct wf_places *p = rt->admit->places;

	for (uint32_t i = 0; *name && p && i < p->slots && rc; i++) {
		const struct wf_pg *pg = p->slot[i].pg;

		if (!pg || strcmp(pg->name, name) != 0)
			continue;
		WF_DEBUG(pg->slot == i);
		out->bits = pg->bits;
		rc = 0;
	}
	pthread_mutex_unlock(&rt->admit->mutex);
	return rc;
}

int weft_placements(weft *rt, struct weft_placement_info *infos, uint32_t n)
{
	uint32_t count = 0;

	if (!rt || (n && !infos))
		return -EINVAL;
	pthread_mutex_lock(&rt->admit->mutex);
	const struct wf_places *p = rt->admit->places;

	for (uint32_t i = 0; p && i < p->slots; i++) {
		const struct wf_pg *pg = p->slot[i].pg;

		if (!pg)
			continue;
		WF_DEBUG(pg->slot == i && pg->n);
		if (count < n) {
			infos[count] = (struct weft_placement_info){ .group.bits = pg->bits,
				                                     .strategy = pg->strategy,
				                                     .n_bundles = pg->n,
				                                     .reserved = pg->reserved };
			strcpy(infos[count].name, pg->name);
		}
		count++;
	}
	pthread_mutex_unlock(&rt->admit->mutex);
	return (int)count;
}

static struct weft_bundle_info info_of(const struct wf_admit *a, const struct wf_bundle *bundle)
{
	struct weft_bundle_info info = { .node = bundle->node == WF_NODE_NONE ? WEFT_NODE_NONE
		                                                              : bundle->node,
		                         .gpus = bundle->n_gpus };

	for (uint32_t i = 0; i < bundle->n; i++) {
		struct wf_bundle_need one = bundle->need[i];

		if (one.res == WF_RES_CPU) {
			info.cpus = amount(one.total);
			info.cpus_free = amount(one.free);
		} else if (one.res == WF_RES_MEMORY) {
			info.memory = (uint64_t)one.total;
			info.memory_free = (uint64_t)one.free;
		} else {
			WF_CHECK(one.res >= WF_RES_NAMED && info.n_resources < WEFT_REQUEST_MAX);
			info.resources_free[info.n_resources] = amount(one.free);
			info.resources[info.n_resources++] =
				(struct weft_resource){ a->names[one.res - WF_RES_NAMED],
				                        amount(one.total) };
		}
	}
	for (uint32_t i = 0; i < bundle->n_gpus; i++)
		info.gpus_free += amount(bundle->gpu[i].share);
	return info;
}

int weft_bundles(weft *rt, weft_placement group, struct weft_bundle_info *infos, uint32_t n)
{
	int rc = -EINVAL;

	if (!rt || (n && !infos))
		return -EINVAL;
	pthread_mutex_lock(&rt->admit->mutex);
	const struct wf_pg *pg = wf_pg_of(rt, group.bits);

	for (uint32_t i = 0; pg && i < pg->n && i < n; i++)
		infos[i] = info_of(rt->admit, &pg->bundle[i]);
	if (pg)
		rc = (int)pg->n;
	WF_DEBUG(rc == -EINVAL || rc <= WEFT_BUNDLES_MAX);
	pthread_mutex_unlock(&rt->admit->mutex);
	return rc;
}

/* Of what was granted to a task, or to the actor whose call it is. */
static void tell_place(const struct wf_class *class, uint32_t bundle, uint32_t node,
                       struct weft_task_place *place)
{
	const struct wf_pg *pg = class->pg;

	WF_DEBUG(!pg || pg->reserved);
	WF_DEBUG(!pg || bundle < pg->n);
	place->group.bits = pg ? pg->bits : 0;
	place->bundle = pg ? bundle : 0;
	if (node != WF_NODE_NONE)
		place->node = node;
	else if (pg)
		place->node = pg->bundle[bundle].node;
}

int weft_task_place(weft_task *self, struct weft_task_place *place)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);
	struct weft_task_place all = { .node = WEFT_NODE_NONE };

	if (!place || place->struct_size < sizeof(size_t) || place->struct_size > 4096)
		return -EINVAL;
	all.struct_size = place->struct_size;
	if (ext && ext->parts & WF_PART_REQUEST) {
		const struct wf_request *request = wf_ext_request(ext);

		tell_place(request->class, request->bundle, request->node, &all);
		all.captures = request->capture;
	}
	const struct wf_kept *kept = ext && ext->call ? wf_call_kept(self->rt, ext) : NULL;

	if (kept) {
		tell_place(kept->class, kept->bundle, kept->node, &all);
		all.captures = kept->captures;
	}
	memcpy(place, &all, place->struct_size < sizeof(all) ? place->struct_size : sizeof(all));
	return 0;
}
