/*
 * place.c: where one task runs: read from its options, chosen when its request is granted.
 *
 * A place is part of what makes two requests the same kind (struct wf_shape), so that admission
 * carries it: a task with a place has a request, also when it asks for nothing. The node is chosen
 * under admit->mutex when all else is granted, and sent on to the node's lane by whoever sends
 * grants. Where only one node can run anything there is nothing to choose. A task that was granted
 * a device, and has no place, is near that one, loosely. An actor has the place of what it holds.
 *
 * Shared: load of struct wf_place_node, under admit->mutex.
 *
 * Invariant: load of a node == requests that have it as their node and are not over, and actors.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"
#include "place.h"

/* ---- Options -------------------------------------------------------------------------------- */

static int bad(weft *rt, const char *field, uint64_t value, const char *why)
{
	wf_log(rt, WEFT_LOG_ERROR, "submit: option place.%s: %llu: %s", field,
	       (unsigned long long)value, why);
	return -EINVAL;
}

static int check(weft *rt, const struct weft_place *p)
{
	const char *wrong = "makes no sense";

	WF_DEBUG(p->struct_size >= sizeof(p->struct_size));
	bool has_node = p->strategy == WEFT_PLACE_NODE || p->strategy == WEFT_PLACE_NODE_SOFT;

	if (p->strategy > WEFT_PLACE_NODE_SOFT)
		return bad(rt, "strategy", p->strategy, wrong);
	if (p->flags & ~(uint32_t)WEFT_PLACE_CAPTURE)
		return bad(rt, "flags", p->flags, wrong);
	if (p->reserved[0] || p->reserved[1])
		return bad(rt, "reserved", p->reserved[0] | p->reserved[1], wrong);
	if (p->node && !has_node)
		return bad(rt, "node", p->node, "the strategy has none");
	if (p->group.bits && p->strategy)
		return bad(rt, "strategy", p->strategy, "a bundle has its node");
	if (!p->group.bits && p->bundle)
		return bad(rt, "bundle", p->bundle - 1, "of no group");
	if (!p->group.bits && p->flags)
		return bad(rt, "flags", p->flags, "of no group");
	return 0;
}

/* Whether a node can ever meet the request, but for what belongs to no node. */
static bool node_could(const weft *rt, uint32_t node, const struct wf_shape *shape)
{
	return wf_node_usable(rt, node) &&
		wf_need_of(shape, WF_RES_CPU) <= (int64_t)wf_node_workers(rt, node) * WF_FIXED;
}

static int read_node(weft *rt, const struct weft_place *p, struct wf_shape *shape)
{
	bool could = node_could(rt, p->node, shape);

	WF_DEBUG(p->strategy == WEFT_PLACE_NODE || p->strategy == WEFT_PLACE_NODE_SOFT);
	if (!could && p->strategy == WEFT_PLACE_NODE)
		return bad(rt, "node", p->node,
		           wf_node_usable(rt, p->node) ? "has fewer workers than CPUs are asked for"
		                                       : "no worker has its home there");
	if (could) {
		shape->place = WEFT_PLACE_NODE;
		shape->node = (uint16_t)p->node;
	}
	return 0;
}

/* The first CPU is counted in a bundle: in front of the other needs, as elsewhere. */
static void count_cpu(struct wf_shape *shape)
{
	WF_CHECK(shape->n < WF_NEEDS_MAX);
	WF_DEBUG(!wf_need_of(shape, WF_RES_CPU));
	memmove(shape->need + 1, shape->need, shape->n * sizeof(shape->need[0]));
	shape->need[0] = (struct wf_need){ WF_RES_CPU, WF_FIXED };
	shape->n++;
}

/* A task of one CPU: the only one that asks for none and is not beside. An actor has none. */
static bool is_plain(const struct wf_shape *shape)
{
	return !shape->beside && !shape->keeps && !wf_need_of(shape, WF_RES_CPU);
}

static int read_group(weft *rt, const struct weft_place *p, struct wf_shape *shape)
{
	pthread_mutex_lock(&rt->admit->mutex);
	const struct wf_pg *pg = wf_pg_of(rt, p->group.bits);
	uint32_t n = pg ? pg->n : 0;

	pthread_mutex_unlock(&rt->admit->mutex);
	if (!n)
		return bad(rt, "group", p->group.bits, "there is none");
	if (p->bundle > n)
		return bad(rt, "bundle", p->bundle - 1, "the group has fewer");
	shape->pg = p->group.bits;
	shape->bundle = p->bundle;
	shape->capture = p->flags & WEFT_PLACE_CAPTURE;
	WF_DEBUG(shape->pg && shape->bundle <= n);
	if (is_plain(shape))
		count_cpu(shape);
	return 0;
}

int wf_place_read(weft *rt, const struct weft_task_options *o, struct wf_shape *shape)
{
	struct weft_place p;

	shape->place = WEFT_PLACE_DEFAULT;
	shape->capture = false;
	shape->node = 0;
	shape->bundle = 0;
	shape->pg = 0;
	if (!o->place)
		return 0;
	if (wf_options_read(&p, sizeof(p), o->place))
		return bad(rt, "struct_size", o->place->struct_size, "of another version");
	int rc = check(rt, &p);

	if (rc)
		return rc;
	if (p.group.bits)
		return read_group(rt, &p, shape);
	if (p.strategy == WEFT_PLACE_NODE || p.strategy == WEFT_PLACE_NODE_SOFT)
		rc = read_node(rt, &p, shape);
	else
		shape->place = (uint8_t)p.strategy;
	/* One node: everything is there. */
	if (!rt->lanes || rt->lanes->usable == 1)
		shape->place = WEFT_PLACE_DEFAULT;
	return rc;
}

/* ---- What is passed on ---------------------------------------------------------------------- */

const struct weft_place wf_place_nowhere = { .struct_size = sizeof(wf_place_nowhere) };

/* The group that the running body, or its actor, has its children in. NULL: none. */
static const struct wf_shape *captor(const struct wf_local *self)
{
	const struct weft_task *frame = self->current;
	struct wf_ext *ext = frame && frame->rt == self->rt ? wf_cell_ext(frame->cell) : NULL;
	const struct wf_kept *kept = ext && ext->call ? wf_call_kept(self->rt, ext) : NULL;

	WF_DEBUG(!ext || !ext->call || !(ext->parts & WF_PART_REQUEST));
	if (kept)
		return kept->captures ? &kept->class->shape : NULL;
	if (!ext || !(ext->parts & WF_PART_REQUEST))
		return NULL;
	/* The class of a further attempt does not say so. */
	const struct wf_request *request = wf_ext_request(ext);

	return request->capture ? &request->class->shape : NULL;
}

/* The request of a task as it is submitted here; NULL: it has none. */
static const struct wf_shape *shape_here(const struct wf_local *self, const struct wf_setup *setup,
                                         struct wf_shape *room)
{
	const struct wf_shape *from = setup && setup->o.place ? NULL : captor(self);

	if (!from)
		return setup && setup->request ? &setup->shape : NULL;
	if (setup)
		*room = setup->shape;
	else
		*room = (struct wf_shape){ .n = 0 };
	WF_DEBUG(!room->pg && from->pg);
	room->pg = from->pg;
	room->capture = true;
	if (is_plain(room))
		count_cpu(room);
	return room;
}

uint64_t wf_place_group(const struct wf_local *self, const struct wf_setup *setup)
{
	struct wf_shape room;
	const struct wf_shape *shape = shape_here(self, setup, &room);

	return shape ? shape->pg : 0;
}

int wf_place_class(struct wf_local *self, const struct wf_setup *setup, struct wf_class **out)
{
	weft *rt = self->rt;
	struct wf_shape room;
	const struct wf_shape *shape = shape_here(self, setup, &room);

	WF_DEBUG(!setup || setup->request || !setup->shape.n);
	if (!shape)
		return 0;
	struct wf_class *class = wf_admit_class(rt, shape);

	/* All else is about placement groups: of one that is gone there is no class. */
	if (!shape->pg) {
		*out = class;
		return class ? 0 : -ENOMEM;
	}
	pthread_mutex_lock(&rt->admit->mutex);
	bool gone = !wf_pg_of(rt, shape->pg);
	/* What has lost its device is told when it is to start, as elsewhere. */
	bool never = class && class->pg && class->infeasible &&
		!(rt->admit->gpus_lost && wf_shape_has_gpu(shape));

	pthread_mutex_unlock(&rt->admit->mutex);
	if (class && (gone || never))
		wf_admit_class_drop(rt, class);
	if (gone)
		return WEFT_EPLACEMENT;
	if (never)
		return bad(rt, "bundle", shape->bundle, "the request fits into none that is meant");
	*out = class;
	return class ? 0 : -ENOMEM;
}

/* ---- The node ------------------------------------------------------------------------------- */

/* Whether `a` is less loaded than `b`, for its workers. */
static bool lighter(const struct wf_place_node *a, const struct wf_place_node *b)
{
	WF_DEBUG(a->workers || !b->workers);
	return (uint64_t)a->load * b->workers < (uint64_t)b->load * a->workers;
}

/* With the fewest for its workers, from the one behind the last on. */
static uint32_t spread(weft *rt)
{
	struct wf_lanes *lanes = rt->lanes;
	uint32_t best = WF_NODE_NONE;

	for (uint32_t i = 1; i <= rt->node_count; i++) {
		uint32_t at = (lanes->last + i) % rt->node_count;

		if (wf_node_usable(rt, at) &&
		    (best == WF_NODE_NONE || lighter(&lanes->node[at], &lanes->node[best])))
			best = at;
	}
	WF_CHECK(best != WF_NODE_NONE);
	lanes->last = best;
	return best;
}

/* The fullest where a worker is left over; else as spread(). */
static uint32_t pack(weft *rt)
{
	const struct wf_lanes *lanes = rt->lanes;
	uint32_t best = WF_NODE_NONE;

	for (uint32_t i = 0; i < rt->node_count; i++) {
		const struct wf_place_node *node = &lanes->node[i];

		if (node->load < node->workers &&
		    (best == WF_NODE_NONE || node->load > lanes->node[best].load))
			best = i;
	}
	return best == WF_NODE_NONE ? spread(rt) : best;
}

void wf_place_choose(weft *rt, struct wf_request *request)
{
	const struct wf_shape *shape = &request->class->shape;
	const struct wf_pg *pg = request->class->pg;
	uint32_t node;

	/* Host threads, where they are all there is, look into no lanes. */
	if (!rt->lanes || !rt->workers || rt->lanes->usable == 1 || request->node != WF_NODE_NONE)
		return;
	if (pg)
		node = pg->bundle[request->bundle].node;
	else if (shape->place == WEFT_PLACE_NODE)
		node = shape->node;
	else if (shape->place == WEFT_PLACE_SPREAD)
		node = spread(rt);
	else if (shape->place == WEFT_PLACE_PACK)
		node = pack(rt);
	else if (request->gpus)
		node = wf_gpu_node(rt, request->gpus);
	else
		return;
	/* A device may be near nobody's node, or near one where nobody works. */
	if (node == WF_NODE_NONE || (request->gpus && !wf_node_usable(rt, node)))
		return;
	WF_CHECK(node < rt->node_count);
	WF_DEBUG(wf_node_usable(rt, node));
	request->node = (uint16_t)node;
	request->kept = pg || shape->place == WEFT_PLACE_NODE;
	rt->lanes->node[node].load++;
}

void wf_place_over(weft *rt, struct wf_request *request)
{
	if (request->node == WF_NODE_NONE)
		return;
	WF_CHECK(rt->lanes->node[request->node].load > 0);
	rt->lanes->node[request->node].load--;
	request->node = WF_NODE_NONE;
}
