/*
 * lanes.c: what is ready and has a node: a lane per node, kind and priority.
 *
 * A task that has a node is not on a worker's deque, where thieves of other nodes find it, but in a
 * lane of its node. What is kept is for the workers that have their home there; what is loose, also
 * for a worker of another node that has nothing else. Whoever puts something in wakes a sleeper of
 * the node by name, and as long as that one has not come, one thing stays for it: otherwise the
 * worker that happens to be awake would take everything that is meant for others.
 *
 * Workers look here only while WF_LOOK_PLACES is set in worker->attend, or (for others' loose
 * things) when they have nothing at all and rt->placed says that there is something. A runtime of
 * one node has no lanes.
 *
 * Shared: all of struct wf_place_node but what is fixed, and worker->called, under lanes->mutex.
 * rt->placed is written under it. WF_LOOK_PLACES is set by whoever puts something in and cleared by
 * its worker, both under it.
 *
 * Invariants
 *   rt->placed == sum of count; loose <= count; called == workers of the node with `called`
 *   count > 0: each worker of the node has WF_LOOK_PLACES
 *
 * Progress: blocking. Nothing is called with the mutex held.
 *
 * Sleep against push: as in ready.c. The pusher sets WF_LOOK_PLACES, has a full fence and looks at
 * the map of sleepers; the sleeper marks itself there, has its barrier [S1] and looks once more.
 */
#include <errno.h>
#include <string.h>

#include "place.h"

#define BYTES_MIN ((uint64_t)64 << 10) /* guessed: fewer are read from afar in some 10 us */
#define LOOSE     0
#define KEPT      1

static const uint8_t lane_order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL,
	                                           WEFT_PRIORITY_LOW };

/* ---- Made and gone -------------------------------------------------------------------------- */

int wf_lanes_create(weft *rt)
{
	size_t bytes = sizeof(struct wf_lanes) + rt->node_count * sizeof(struct wf_place_node);
	struct wf_lanes *lanes = wf_calloc(1, bytes);
	uint32_t at = 0;

	if (!lanes)
		return -ENOMEM;
	lanes->worker = wf_malloc((rt->workers + 1) * sizeof(*lanes->worker));
	if (!lanes->worker) {
		wf_free(lanes);
		return -ENOMEM;
	}
	WF_CHECK(rt->node_count > 1 && rt->node_count <= WF_NODES_MAX);
	pthread_mutex_init(&lanes->mutex, NULL);
	for (uint32_t i = 0; i < rt->node_count; i++) {
		lanes->node[i].first = at;
		for (uint32_t w = 0; w < rt->workers; w++) {
			if (rt->worker[w]->local.node == i)
				lanes->worker[at++] = (uint16_t)w;
		}
		lanes->node[i].workers = at - lanes->node[i].first;
		lanes->usable += lanes->node[i].workers || !rt->workers;
	}
	WF_CHECK(at == rt->workers && lanes->usable);
	rt->lanes = lanes;
	return 0;
}

void wf_lanes_destroy(weft *rt)
{
	struct wf_lanes *lanes = rt->lanes;

	if (!lanes)
		return;
	for (uint32_t i = 0; i < rt->node_count; i++) {
		/* Entries of tasks that were cancelled may be left, as in any queue. */
		WF_CHECK(!lanes->node[i].load);
		for (uint32_t p = 0; p < 2 * WF_PRIORITIES; p++)
			wf_free(lanes->node[i].lane[p / WF_PRIORITIES][p % WF_PRIORITIES].at);
	}
	pthread_mutex_destroy(&lanes->mutex);
	wf_free(lanes->worker);
	wf_free(lanes);
	rt->lanes = NULL;
}

uint32_t wf_node_workers(const weft *rt, uint32_t node)
{
	if (!rt->lanes)
		return node ? 0 : rt->workers;
	return node < rt->node_count ? rt->lanes->node[node].workers : 0;
}

bool wf_node_usable(const weft *rt, uint32_t node)
{
	return node < rt->node_count && (!rt->workers || wf_node_workers(rt, node));
}

/* ---- In ------------------------------------------------------------------------------------- */

static struct wf_worker *worker_at(const weft *rt, const struct wf_place_node *node, uint32_t i)
{
	WF_DEBUG(i < node->workers);
	return rt->worker[rt->lanes->worker[node->first + i]];
}

/* A sleeper of the node, who is expected from here on. NULL: nobody sleeps there. */
static struct wf_worker *claim(weft *rt, struct wf_place_node *node)
{
	for (uint32_t i = 0; i < node->workers; i++) {
		struct wf_worker *worker = worker_at(rt, node, i);
		uint64_t bit = UINT64_C(1) << worker->index % 64;
		struct wf_a64 *bits = &rt->parked_bits[worker->index / 64];

		/* relaxed: a guess. acq_rel [W1] in ready.c: one waker per sleeper. */
		if (!(wf_load_relaxed(bits) & bit) || !(wf_and_acq_rel(bits, ~bit) & bit))
			continue;
		if (!worker->called) {
			worker->called = true;
			node->called++;
		}
		WF_DEBUG(node->called <= node->workers);
		return worker;
	}
	return NULL;
}

static void count(weft *rt, struct wf_place_node *node, int by, bool loose)
{
	WF_DEBUG(by > 0 || node->count > 0);
	node->count += (uint32_t)by;
	if (loose)
		node->loose += (uint32_t)by;
	WF_DEBUG(node->loose <= node->count);
	/* relaxed: under the mutex; who sleeps looks behind [S1]. */
	wf_store_relaxed(&rt->placed, wf_load_relaxed(&rt->placed) + (uint32_t)by);
}

/* Something was put in: have the node's workers look. Whom to wake, NULL: nobody there sleeps. */
static struct wf_worker *announce(weft *rt, struct wf_place_node *node, bool loose)
{
	count(rt, node, 1, loose);
	for (uint32_t i = 0; i < node->workers; i++) {
		struct wf_worker *worker = worker_at(rt, node, i);

		/* relaxed, both: a worker looks again behind [S1] before it sleeps. */
		if (!(wf_load_relaxed(&worker->attend) & WF_LOOK_PLACES))
			wf_or_relaxed(&worker->attend, WF_LOOK_PLACES);
	}
	/* Pairs with the sleeper's barrier [S1]. */
	wf_fence_seq_cst();
	return claim(rt, node);
}

/* Without the mutex: the one that was claimed, or whoever may take it. */
static void wake(struct wf_local *self, struct wf_worker *claimed, bool anybody)
{
	weft *rt = self->rt;

	if (!claimed && (anybody || !rt->workers)) {
		wf_injected(rt, self);
		return;
	}
	if (!self->worker)
		/* relaxed: only has to change, see wf_deadlock_search(). */
		wf_add_relaxed(&rt->external, 1);
	if (claimed)
		wf_parker_unpark_mt(&claimed->parker);
}

/* No memory for the lane: through the cold block, out of a canceller's reach. */
static void stick(struct wf_local *self, struct wf_place_node *node, struct wf_cell *cell)
{
	weft *rt = self->rt;

	wf_store_release(&cell->promise.state, WF_STATE_RUNNING); /* release [C1] */
	wf_fence_compiler();
	if (wf_ended_in_queue(self, cell))
		return;
	WF_CHECK(cell->ext_word->parts & WF_PART_REQUEST);
	pthread_mutex_lock(&rt->lanes->mutex);
	wf_ext_request(cell->ext_word)->stuck = node->stuck;
	node->stuck = cell->ext_word->cell;
	WF_DEBUG(node->stuck != 0);
	struct wf_worker *claimed = announce(rt, node, false);

	pthread_mutex_unlock(&rt->lanes->mutex);
	wake(self, claimed, false);
}

/* False: no memory for the lane. */
static bool put(struct wf_local *self, struct wf_place_node *node, bool kept, void *item,
                uint32_t priority)
{
	weft *rt = self->rt;
	struct wf_worker *claimed = NULL;

	WF_CHECK(priority < WF_PRIORITIES);
	pthread_mutex_lock(&rt->lanes->mutex);
	bool done = wf_lane_put(&node->lane[kept ? KEPT : LOOSE][priority], item, false);

	if (done)
		claimed = announce(rt, node, !kept);
	pthread_mutex_unlock(&rt->lanes->mutex);
	if (done)
		wake(self, claimed, !kept);
	return done;
}

void wf_lane_cell(struct wf_local *self, uint32_t index, bool kept, struct wf_cell *cell,
                  uint32_t priority)
{
	struct wf_place_node *node = &self->rt->lanes->node[index];

	WF_CHECK(index < self->rt->node_count);
	if (put(self, node, kept, cell, priority & ~WF_READY_GROUP))
		return;
	if (kept)
		stick(self, node, cell);
	else
		wf_ready_cell(self, cell, priority);
}

void wf_lane_actor(struct wf_local *self, uint32_t index, bool kept, struct wf_actor *actor,
                   uint32_t priority)
{
	weft *rt = self->rt;
	struct wf_place_node *node = &rt->lanes->node[index];

	WF_CHECK(index < rt->node_count);
	WF_DEBUG(!((uintptr_t)actor & WF_ITEM_MASK));
	if (put(self, node, kept, (void *)((uintptr_t)actor | WF_ITEM_ACTOR), priority))
		return;
	if (!kept) {
		wf_ready_actor(self, actor, priority, false);
		return;
	}
	pthread_mutex_lock(&rt->lanes->mutex);
	wf_actor_stuck_at(actor, &node->stuck_actors);
	struct wf_worker *claimed = announce(rt, node, false);

	pthread_mutex_unlock(&rt->lanes->mutex);
	wake(self, claimed, false);
}

void wf_lane_fiber(struct wf_local *self, uint32_t index, struct wf_fiber *fiber)
{
	weft *rt = self->rt;
	struct wf_place_node *node = &rt->lanes->node[index];

	WF_CHECK(index < rt->node_count && fiber);
	pthread_mutex_lock(&rt->lanes->mutex);
	fiber->next = NULL;
	if (node->fibers)
		node->fibers_last->next = fiber;
	else
		node->fibers = fiber;
	node->fibers_last = fiber;
	struct wf_worker *claimed = announce(rt, node, false);

	pthread_mutex_unlock(&rt->lanes->mutex);
	wake(self, claimed, false);
}

void wf_lanes_wake(weft *rt, uint32_t index)
{
	const struct wf_place_node *node = &rt->lanes->node[index];

	WF_CHECK(index < rt->node_count);
	for (uint32_t i = 0; i < node->workers; i++)
		wf_parker_unpark_mt(&worker_at(rt, node, i)->parker);
}

/* ---- Out ------------------------------------------------------------------------------------ */

/* Bodies that go on, and what no lane had room for. */
static void *take_linked(weft *rt, struct wf_place_node *node)
{
	struct wf_fiber *fiber = node->fibers;

	if (fiber) {
		node->fibers = fiber->next;
		return (void *)((uintptr_t)fiber | WF_ITEM_FIBER);
	}
	if (node->stuck) {
		struct wf_cell *cell = &rt->cells[node->stuck];

		node->stuck = wf_ext_request(cell->ext_word)->stuck;
		return cell;
	}
	struct wf_actor *actor = wf_actor_unstuck_at(&node->stuck_actors);

	return actor ? (void *)((uintptr_t)actor | WF_ITEM_ACTOR) : NULL;
}

/* The next thing for a worker of the node, or for another (`loose`). NULL: there is none. */
static void *take(weft *rt, struct wf_place_node *node, bool loose)
{
	/* Bodies that go on and that begin take turns: one may yield until another ends. */
	void *item = loose || node->went_on ? NULL : take_linked(rt, node);
	bool was_loose = false, went_on = item;

	WF_DEBUG(!loose || node->loose);
	WF_DEBUG(node->loose <= node->count);
	for (uint32_t i = 0; i < 2 * WF_PRIORITIES && !item; i++) {
		struct wf_lane *lane = &node->lane[i % 2 ? LOOSE : KEPT][lane_order[i / 2]];

		was_loose = i % 2;
		if (lane->count && (was_loose || !loose))
			item = wf_lane_take(lane);
	}
	if (!item && !loose) {
		item = take_linked(rt, node);
		was_loose = false;
		went_on = true;
	}
	if (item) {
		count(rt, node, -1, was_loose);
		node->went_on = went_on;
	}
	return item;
}

/* The worker has come, or comes no more. */
static void uncall(struct wf_place_node *node, struct wf_worker *worker)
{
	if (!worker->called)
		return;
	WF_CHECK(node->called > 0);
	worker->called = false;
	node->called--;
}

void *wf_lane_next(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_place_node *node = &rt->lanes->node[worker->local.node];

	WF_DEBUG(!worker->helper && !worker->only);
	pthread_mutex_lock(&rt->lanes->mutex);
	uncall(node, worker);
	void *item = take(rt, node, false);

	if (!node->count)
		/* acq_rel [A5]: there is no weaker one; this worker reads it. */
		wf_and_acq_rel(&worker->attend, ~WF_LOOK_PLACES);
	pthread_mutex_unlock(&rt->lanes->mutex);
	if (item && worker->stretch.group)
		wf_group_leave(worker);
	return item;
}

/* Whether a worker of another node may take something of this one. */
static bool may_steal(const weft *rt, const struct wf_place_node *node)
{
	return rt->workers ? node->loose && node->count > node->called : node->count > 0;
}

void *wf_lane_steal(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	void *item = NULL;

	WF_DEBUG(!worker->only && rt->lanes);
	pthread_mutex_lock(&rt->lanes->mutex);
	for (uint32_t i = 0; i < rt->node_count && !item; i++) {
		struct wf_place_node *node =
			&rt->lanes->node[(worker->local.node + i) % rt->node_count];

		if (may_steal(rt, node))
			item = take(rt, node, rt->workers > 0);
	}
	pthread_mutex_unlock(&rt->lanes->mutex);
	return item;
}

bool wf_lane_waits(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	bool any = false;

	WF_DEBUG(rt->lanes != NULL);
	pthread_mutex_lock(&rt->lanes->mutex);
	for (uint32_t i = 0; i < rt->node_count && !any; i++)
		any = may_steal(rt, &rt->lanes->node[i]);
	pthread_mutex_unlock(&rt->lanes->mutex);
	return any;
}

void wf_lane_decline(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_worker *other = NULL;

	/* relaxed: set before it was called. */
	if (worker->helper || !(wf_load_relaxed(&worker->attend) & WF_LOOK_PLACES))
		return;
	struct wf_place_node *node = &rt->lanes->node[worker->local.node];

	pthread_mutex_lock(&rt->lanes->mutex);
	uncall(node, worker);
	if (node->count > node->called)
		other = claim(rt, node);
	bool loose = node->loose > 0;

	pthread_mutex_unlock(&rt->lanes->mutex);
	wake(&worker->local, other, loose);
}

/* ---- Where the inputs are ------------------------------------------------------------------- */

/* The node of whoever has made a value: the worker that ran the task, or the thread. */
static uint32_t node_made(const weft *rt, const struct wf_cell *cell)
{
	/* relaxed: the cell is done. */
	uint32_t worker = wf_load_relaxed(&cell->mark.worker);

	return rt->locals[worker ? worker - 1 : wf_cell_owner(cell)]->node;
}

/*
 * A task without options whose inputs are there goes where most of their bytes were made, when they
 * are many. True: it is on its way.
 */
static bool by_bytes(struct wf_local *self, struct wf_cell *cell)
{
	weft *rt = self->rt;
	const struct wf_ext *ext = cell->ext_word;
	uint64_t bytes[WF_NODES_MAX] = { 0 };
	uint32_t best = self->node;

	if (!rt->lanes || !rt->workers || ext->call ||
	    ext->parts & (WF_PART_REQUEST | WF_PART_GROUP))
		return false;
	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];

		WF_DEBUG(wf_promise_is_done(&src->promise) && node_made(rt, src) < rt->node_count);
		if (!(wf_flags(src) & WF_CELL_ERROR))
			bytes[node_made(rt, src)] += wf_cell_size(src);
	}
	for (uint32_t i = 0; i < rt->node_count; i++) {
		if (bytes[i] > bytes[best] && bytes[i] >= BYTES_MIN && wf_node_usable(rt, i))
			best = i;
	}
	WF_DEBUG(best < rt->node_count);
	if (best == self->node)
		return false;
	uint32_t priority = wf_ext_ready(ext);

	/* release [C1]: a canceller that sees QUEUED frees the ext that was read before. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	wf_lane_cell(self, best, false, cell, priority);
	return true;
}

bool wf_inputs_mind(struct wf_local *self, struct wf_cell *cell)
{
	/* relaxed: a hint. */
	uint32_t why = wf_load_relaxed(&self->rt->inputs_mind);

	if (why & WF_MIND_SPILLED)
		wf_inputs_prefetch(self->rt, cell->ext_word);
	return why & WF_MIND_NODES && by_bytes(self, cell);
}
