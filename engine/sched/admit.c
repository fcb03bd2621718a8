/*
 * admit.c: admission of tasks with a request: all of it at once, or wait.
 *
 * Tasks of the same shape (amounts, priority, beside) are a class with a first-in first-out queue.
 * A class whose first task cannot start is in the heap of one resource that is short, ordered by
 * need, then by turn. Whoever gives something back looks at the heaps of just those resources:
 * the top of a heap tells in one comparison whether anything in it can start, and a class that
 * turns out to be short of something else moves to that heap. So draining n tasks of c classes
 * costs O(log c) each, and what can never be met is in no heap at all.
 *
 * Shared: everything in struct wf_admit and every struct wf_request, under admit->mutex. A plain
 * task never comes here.
 *
 * Invariants
 *   free[r] + what GRANTED and COLLECTING requests hold == total[r], for every r; of the CPUs,
 *   what `away` requests hold is free as well, so that free may fall below zero when they return
 *   a class with a queue is in exactly one heap or infeasible, and its first task does not fit
 *   a WAITING request is in no other queue, so that its canceller can take it out (withdraw)
 *
 * Whoever makes a task QUEUED does it under the mutex, together with its place in a class's queue:
 * a canceller that reads QUEUED then finds it there, or granted and on its way to a real queue.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "admit_state.h"

#define TABLE_FIRST 64u

static void lock(struct wf_admit *a)
{
	pthread_mutex_lock(&a->mutex);
}

static void unlock(struct wf_admit *a)
{
	pthread_mutex_unlock(&a->mutex);
}

static struct wf_cell *cell_of(weft *rt, const struct wf_ext *ext)
{
	return &rt->cells[ext->cell];
}

struct wf_class *wf_admit_class(weft *rt, const struct wf_shape *shape)
{
	lock(rt->admit);
	struct wf_class *class = wf_class_find(rt, shape);
	bool told = class && class->infeasible && class->users == 1 && !class->pg;

	unlock(rt->admit);
	if (told)
		wf_log(rt, WEFT_LOG_WARN,
		       "a task asks for more than the runtime has: it waits until it is cancelled");
	return class;
}

void wf_admit_class_drop(weft *rt, struct wf_class *class)
{
	lock(rt->admit);
	wf_class_drop(rt->admit, class);
	unlock(rt->admit);
}

void wf_request_init(struct wf_request *request, struct wf_class *class)
{
	*request = (struct wf_request){ .class = class,
		                        .cpus = class->shape.keeps
		                                ? 0
		                                : wf_need_of(&class->shape, WF_RES_CPU),
		                        .beside = class->shape.beside,
		                        .capture = class->shape.capture,
		                        .node = WF_NODE_NONE };
	request->slot = request->cpus && !wf_need_of(&class->shape, WF_RES_COLLECT);
}

/* ---- Taking and giving --------------------------------------------------------------------- */

/* The first resource that is short for a class, or WF_RES_NONE. */
uint32_t wf_short_of(const struct wf_admit *a, const struct wf_class *class)
{
	const struct wf_shape *shape = &class->shape;

	if (class->pg)
		return wf_pg_short(a, class);
	for (uint32_t i = 0; i < shape->n; i++) {
		uint32_t res = shape->need[i].res;

		if (a->free[res] < shape->need[i].amount ||
		    (res == WF_RES_GPU_MEM && !wf_gpus_fit(a, shape)))
			return res;
	}
	return WF_RES_NONE;
}

static void take(weft *rt, struct wf_request *request)
{
	struct wf_admit *a = rt->admit;
	const struct wf_shape *shape = &request->class->shape;

	if (request->class->pg) {
		wf_pg_take(rt, request);
		return;
	}
	for (uint32_t i = 0; i < shape->n; i++) {
		uint32_t res = shape->need[i].res;

		if (res == WF_RES_GPU || res == WF_RES_SHARE) {
			wf_gpus_take(a, request);
			continue;
		}
		/* Goes with its device. */
		if (res == WF_RES_GPU_MEM)
			continue;
		WF_DEBUG(shape->need[i].amount > 0 && a->free[res] >= shape->need[i].amount);
		a->free[res] -= shape->need[i].amount;
		if (res == WF_RES_CPU && shape->keeps)
			a->kept_cpus += shape->need[i].amount;
		WF_DEBUG(a->free[res] >= 0);
	}
}

void wf_admit_give_back(weft *rt, struct wf_request *request)
{
	struct wf_admit *a = rt->admit;
	const struct wf_shape *shape = &request->class->shape;

	if (request->class->pg) {
		wf_pg_give(rt, request);
		return;
	}
	for (uint32_t i = 0; i < shape->n; i++) {
		uint32_t res = shape->need[i].res;
		bool kept = res == WF_RES_CPU && shape->keeps;

		if (res == WF_RES_GPU || res == WF_RES_SHARE)
			wf_gpus_give(a, request);
		else if ((res != WF_RES_CPU && res != WF_RES_COLLECT && res != WF_RES_GPU_MEM) ||
		         kept)
			a->free[res] += shape->need[i].amount;
		if (kept)
			a->kept_cpus -= shape->need[i].amount;
		WF_DEBUG(a->free[res] <= a->total[res]);
	}
}

/* The class may be gone by the time that what was given is served. */
static void copy_needs(struct wf_shape *to, const struct wf_shape *from)
{
	to->n = from->n;
	memcpy(to->need, from->need, from->n * sizeof(from->need[0]));
}

/* ---- Starting what can start --------------------------------------------------------------- */

/* It has its resources: on its way, or first the workers are to be collected. */
static void granted(weft *rt, struct wf_ext *ext, struct wf_grants *grants)
{
	struct wf_request *request = wf_ext_request(ext);

	take(rt, request);
	wf_place_choose(rt, request);
	if (wf_need_of(&request->class->shape, WF_RES_COLLECT)) {
		WF_CHECK(!rt->admit->collecting && request->cpus);
		request->held = true;
		request->state = WF_REQUEST_COLLECTING;
		rt->admit->collecting = ext;
		return;
	}
	if (request->slot)
		request->held = true;
	request->state = WF_REQUEST_GRANTED;
	wf_grant_add(grants, cell_of(rt, ext), request);
}

/* The first of a class may start. False: the batch is full. */
bool wf_admit_start(weft *rt, struct wf_class *class, struct wf_grants *grants)
{
	struct wf_ext *ext = class->first;

	WF_CHECK(ext && !class->infeasible);
	if (grants->n == WF_BATCH_MAX)
		return false;
	wf_class_remove(rt->admit, ext);
	granted(rt, ext, grants);
	wf_class_turn(rt->admit, class);
	return true;
}

/* As wf_admit_serve_one(), for what no one number tells. */
static bool serve_gpu_mem(weft *rt, struct wf_grants *grants)
{
	static const uint8_t order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL,
		                                      WEFT_PRIORITY_LOW };

	for (uint32_t i = 0; i < WF_PRIORITIES; i++) {
		struct wf_class *class;

		while ((class = wf_gpus_next(rt->admit,
		                             &rt->admit->heap[WF_RES_GPU_MEM][order[i]]))) {
			if (!wf_admit_start(rt, class, grants))
				return false;
		}
	}
	return true;
}

/* Start what `res` has become enough for. False: the batch is full, come again. */
bool wf_admit_serve_one(weft *rt, uint32_t res, struct wf_grants *grants)
{
	struct wf_admit *a = rt->admit;

	for (uint32_t i = 0; i < WF_PRIORITIES; i++) {
		static const uint8_t order[WF_PRIORITIES] = { WEFT_PRIORITY_HIGH,
			                                      WEFT_PRIORITY_NORMAL,
			                                      WEFT_PRIORITY_LOW };
		struct wf_class_heap *heap = &a->heap[res][order[i]];

		while (heap->count) {
			struct wf_class *class = heap->at[0];

			WF_DEBUG(class->heap_res == res && !class->infeasible);
			WF_CHECK(class->first &&
			         wf_ext_request(class->first)->state == WF_REQUEST_WAITING);
			if (a->free[res] < wf_need_of(&class->shape, res))
				break;
			uint32_t other = wf_short_of(a, class);

			if (other != WF_RES_NONE) {
				wf_class_join(a, class, other);
				continue;
			}
			if (!wf_admit_start(rt, class, grants))
				return false;
		}
	}
	return true;
}

void wf_admit_serve(struct wf_local *self, const struct wf_shape *given)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	bool gpus = wf_shape_has_gpu(given);
	bool collect = false, full;

	do {
		struct wf_grants grants;

		WF_DEBUG(given->n <= WF_NEEDS_MAX);
		grants.n = 0;
		full = a->places && !wf_places_serve(rt, &grants);
		for (uint32_t i = 0; i < given->n && !full; i++) {
			if (given->need[i].res != WF_RES_GPU_MEM)
				full = !wf_admit_serve_one(rt, given->need[i].res, &grants);
		}
		if ((gpus || a->places) && !full)
			full = !wf_admit_serve_one(rt, WF_RES_GPU, &grants) ||
				!wf_admit_serve_one(rt, WF_RES_SHARE, &grants) ||
				!serve_gpu_mem(rt, &grants);
		if (collect && !full)
			full = !wf_admit_serve_one(rt, WF_RES_COLLECT, &grants);
		collect = wf_slots_settle(self) || (collect && full);
		if (grants.n) {
			unlock(a);
			wf_grants_send(self, &grants);
			lock(a);
		}
	} while (full || collect);
	if (a->places)
		wf_places_tell(self);
	unlock(a);
}

void wf_grants_send(struct wf_local *self, struct wf_grants *grants)
{
	for (uint32_t i = 0; i < grants->n; i++) {
		const struct wf_grant *grant = &grants->at[i];

		WF_DEBUG((grant->priority & ~WF_READY_GROUP) < WF_PRIORITIES);
		if (grant->sleeper)
			wf_wait_fire(&grant->sleeper->waiter, NULL, self);
		else if (grant->beside && wf_spare_run(self, grant->cell, true))
			wf_bump(&self->count.popped);
		else if (grant->node != WF_NODE_NONE)
			wf_lane_cell(self, grant->node, grant->kept, grant->cell, grant->priority);
		else
			wf_ready_cell(self, grant->cell, grant->priority);
	}
	grants->n = 0;
}

/* ---- The doors ----------------------------------------------------------------------------- */

/* A canceller has asked it to end, and may not have found it here. */
static bool is_asked(weft *rt, const struct wf_ext *ext)
{
	const struct wf_cell *cell = cell_of(rt, ext);
	/* acquire [C3] */
	uint8_t cancel = wf_load_acquire(&cell->cancel);

	WF_DEBUG(ext->parts & WF_PART_REQUEST);
	/* LOCKED is none yet: whoever locks looks here again, or takes it back. */
	return cancel == WF_CANCEL_ASKED || cancel == WF_CANCEL_LATE ||
		(ext->parts & WF_PART_GROUP && wf_group_cancelled(rt, cell));
}

/* Ask for the first time, or again. True: it does not wait. With the mutex held. */
static bool ask(weft *rt, struct wf_ext *ext, struct wf_grants *grants)
{
	struct wf_admit *a = rt->admit;
	struct wf_request *request = wf_ext_request(ext);
	struct wf_class *class = request->class;

	WF_DEBUG(request->state == WF_REQUEST_NEW && class->users > 0);
	request->refused = class->infeasible && a->gpus_lost && wf_shape_has_gpu(&class->shape);
	if (a->open || request->refused || wf_class_is_gone(class) || is_asked(rt, ext)) {
		request->state = WF_REQUEST_PASSED;
		request->beside = false;
		wf_grant_add(grants, cell_of(rt, ext), request);
		return true;
	}
	if (!class->first && !class->infeasible) {
		uint32_t res = wf_short_of(a, class);

		if (res == WF_RES_NONE) {
			class->turn = ++a->turn;
			granted(rt, ext, grants);
			return true;
		}
		wf_class_join(a, class, res);
	}
	wf_class_add(ext);
	return false;
}

void wf_admit(struct wf_local *self, struct wf_cell *cell)
{
	static const struct wf_shape collect = { .n = 1, .need = { { WF_RES_COLLECT, 1 } } };
	weft *rt = self->rt;
	struct wf_grants grants;

	grants.n = 0;
	lock(rt->admit);
	/* release [C1]: under the mutex, see the essay. */
	wf_store_release(&cell->promise.state, WF_STATE_QUEUED);
	/* [C4]: it can be found here; now whether somebody has asked before. */
	wf_fence_seq_cst();
	ask(rt, wf_cell_ext(cell), &grants);
	if (rt->admit->collecting)
		wf_admit_serve(self, &collect);
	else
		unlock(rt->admit);
	wf_grants_send(self, &grants);
}

/* CPUs and a collection, whatever became of them. With the mutex held. */
static void slots_end(weft *rt, struct wf_ext *ext)
{
	struct wf_admit *a = rt->admit;
	struct wf_request *request = wf_ext_request(ext);

	WF_CHECK(request->held);
	wf_slots_unname(rt, ext);
	if (a->collecting == ext) {
		a->collecting = NULL;
		a->free[WF_RES_COLLECT]++;
	}
	if (!request->away)
		wf_cpus_give(rt, request);
	if (request->lent)
		a->lent--;
	request->held = request->lent = request->away = false;
}

void wf_admit_end(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_request *request = wf_ext_request(ext);
	struct wf_shape given;

	given.n = 0;
	lock(a);
	uint8_t state = request->state;

	if (state == WF_REQUEST_OVER) {
		unlock(a);
		return;
	}
	request->state = WF_REQUEST_OVER;
	wf_free(request->cpu);
	request->cpu = NULL;
	WF_CHECK(state != WF_REQUEST_WAITING);
	if (state == WF_REQUEST_GRANTED || state == WF_REQUEST_COLLECTING) {
		wf_admit_give_back(self->rt, request);
		copy_needs(&given, &request->class->shape);
	}
	wf_place_over(self->rt, request);
	if (request->held) {
		/* Also of one that was cancelled between two attempts. */
		WF_DEBUG(given.n < WF_NEEDS_MAX);
		given.need[given.n++] = (struct wf_need){ WF_RES_CPU, 1 };
		slots_end(self->rt, ext);
	}
	wf_class_drop(a, request->class);
	wf_admit_serve(self, &given);
}

bool wf_admit_withdraw(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_request *request = wf_ext_request(ext);

	lock(a);
	bool ours = request->state == WF_REQUEST_WAITING || request->state == WF_REQUEST_COLLECTING;

	WF_CHECK(request->state != WF_REQUEST_NEW && request->state != WF_REQUEST_OVER);
	if (request->state == WF_REQUEST_WAITING) {
		wf_class_remove(a, ext);
		request->state = WF_REQUEST_PASSED;
	} else if (request->state == WF_REQUEST_COLLECTING) {
		/* Still ours to give back, but no worker may take it any more. */
		WF_CHECK(a->collecting == ext);
		a->collecting = NULL;
		a->free[WF_RES_COLLECT]++;
		request->state = WF_REQUEST_GRANTED;
	}
	unlock(a);
	return ours;
}

/* ---- Attempts ------------------------------------------------------------------------------ */

void wf_admit_pause(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_request *request = wf_ext_request(ext);

	lock(a);
	if (request->state != WF_REQUEST_GRANTED) {
		unlock(a);
		return;
	}
	struct wf_shape given;

	copy_needs(&given, &request->class->shape);
	wf_admit_give_back(self->rt, request);
	request->state = WF_REQUEST_NEW;
	/* It came with the device. */
	request->stream = 0;
	wf_admit_serve(self, &given);
}

/*
 * The class of a further attempt: without the CPUs, which it keeps as one that was blocked does,
 * with its own memory, and in the bundle where those are.
 */
static struct wf_class *class_again(weft *rt, const struct wf_request *request, int64_t memory)
{
	const struct wf_class *class = request->class;
	struct wf_shape shape = { .priority = class->shape.priority,
		                  .pg = class->shape.pg,
		                  .bundle = class->pg ? request->bundle + 1 : 0 };

	for (uint32_t i = 0; i < class->shape.n; i++) {
		struct wf_need one = class->shape.need[i];

		if (one.res == WF_RES_CPU || one.res == WF_RES_COLLECT)
			continue;
		if (one.res == WF_RES_MEMORY && memory)
			one.amount = memory;
		shape.need[shape.n++] = one;
	}
	WF_DEBUG(shape.n <= class->shape.n);
	return wf_class_find(rt, &shape);
}

/* Queued with a sleeper; false: it has started at once. With the mutex held, and free after. */
static bool ask_again(struct wf_local *self, struct wf_ext *ext, struct wf_wait_node *node)
{
	weft *rt = self->rt;
	struct wf_request *request = wf_ext_request(ext);
	struct wf_grants grants;

	grants.n = 0;
	request->sleeper = node;
	bool there = ask(rt, ext, &grants);

	/* A sleeper that does not sleep is nobody's to wake. */
	if (there)
		request->sleeper = NULL;
	unlock(rt->admit);
	return !there;
}

/* After a sleep that was not ended by a grant: true, it is out of the queue. */
static bool leave_queue(weft *rt, struct wf_ext *ext)
{
	struct wf_request *request = wf_ext_request(ext);

	lock(rt->admit);
	bool waiting = request->state == WF_REQUEST_WAITING;

	if (waiting) {
		wf_class_remove(rt->admit, ext);
		request->state = WF_REQUEST_NEW;
	}
	request->sleeper = NULL;
	unlock(rt->admit);
	return waiting;
}

int wf_admit_again(struct weft_task *frame, int64_t memory)
{
	weft *rt = frame->rt;
	struct wf_ext *ext = wf_cell_ext(frame->cell);
	struct wf_request *request = wf_ext_request(ext);
	struct wf_local *self = wf_self();
	struct wf_wait_node node;
	struct wf_wait wait;

	lock(rt->admit);
	if (request->state != WF_REQUEST_NEW) {
		unlock(rt->admit);
		return 0;
	}
	struct wf_class *class = class_again(rt, request, memory);
	bool gone = wf_class_is_gone(request->class);

	if (!class || class->infeasible || gone) {
		if (class)
			wf_class_drop(rt->admit, class);
		unlock(rt->admit);
		return gone ? WEFT_EPLACEMENT : class ? WEFT_EOOM : -ENOMEM;
	}
	wf_class_drop(rt->admit, request->class);
	request->class = class;
	WF_CHECK(!request->sleeper && !request->gpus);
	wf_wait_init(&wait, self, 1, WEFT_FOREVER);
	wait.external = true;
	node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire, .wait = &wait };
	if (!ask_again(self, ext, &node))
		return 0;
	int rc = wf_wait_sleep(&wait);

	if (rc && leave_queue(rt, ext))
		return rc;
	/* acquire [F3]: granted; the firer's last touch is near. */
	while (!wf_load_acquire(&node.fired))
		wf_cpu_relax();
	lock(rt->admit);
	request->sleeper = NULL;
	if (!rc && request->state == WF_REQUEST_PASSED)
		rc = wf_class_is_gone(request->class) ? WEFT_EPLACEMENT : 0;
	rc = rc || !request->refused ? rc : WEFT_EDEVICE;
	unlock(rt->admit);
	return rc;
}

/* ---- Everything at once -------------------------------------------------------------------- */

void wf_admit_pass(weft *rt, struct wf_ext *ext, struct wf_grants *grants)
{
	struct wf_request *request = wf_ext_request(ext);

	WF_DEBUG(!request->gpus && (!request->held || request->sleeper));
	wf_class_remove(rt->admit, ext);
	request->state = WF_REQUEST_PASSED;
	request->beside = false;
	wf_grant_add(grants, cell_of(rt, ext), request);
}

/* Let what waits in one class go, or that of cancelled groups, up to a batch. False: more. */
static bool pass_class(weft *rt, struct wf_class *class, bool all, struct wf_grants *grants)
{
	struct wf_ext *next;

	for (struct wf_ext *ext = class->first; ext; ext = next) {
		next = wf_ext_request(ext)->next;
		if (!all && !wf_group_cancelled(rt, cell_of(rt, ext)))
			continue;
		if (grants->n == WF_BATCH_MAX)
			return false;
		wf_admit_pass(rt, ext, grants);
	}
	return true;
}

static void pass_all(struct wf_local *self, bool all)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	bool again = true;

	while (again) {
		struct wf_grants grants;

		grants.n = 0;
		again = false;
		lock(a);
		a->open = a->open || all;
		for (uint32_t i = 0; i < a->table_size && !again; i++) {
			for (struct wf_class *c = a->table[i]; c && !again; c = c->next)
				again = !pass_class(rt, c, all, &grants);
		}
		unlock(a);
		wf_grants_send(self, &grants);
	}
}

void wf_admit_open(struct wf_local *self)
{
	pass_all(self, true);
}

void wf_admit_cancel_groups(struct wf_local *self)
{
	pass_all(self, false);
}

/* Those of one class that were asked, up to a batch. False: there may be more. */
static bool pass_asked(weft *rt, struct wf_class *class, struct wf_grants *grants)
{
	WF_DEBUG(grants->n <= WF_BATCH_MAX && !class->first == !class->last);
	for (struct wf_ext *ext = class->first, *next; ext; ext = next) {
		next = wf_ext_request(ext)->next;
		if (!is_asked(rt, ext))
			continue;
		if (grants->n == WF_BATCH_MAX)
			return false;
		wf_admit_pass(rt, ext, grants);
	}
	return true;
}

void wf_admit_cancel_asked(struct wf_local *self)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;

	for (bool again = true; again;) {
		struct wf_grants grants;

		grants.n = 0;
		again = false;
		lock(a);
		for (uint32_t i = 0; i < a->table_size && !again; i++) {
			for (struct wf_class *c = a->table[i]; c && !again; c = c->next)
				again = !pass_asked(rt, c, &grants);
		}
		unlock(a);
		wf_grants_send(self, &grants);
	}
}

/* ---- Open and close ------------------------------------------------------------------------ */

static bool good_name(const char *name)
{
	return name && *name && strnlen(name, WF_NAME_BYTES) < WF_NAME_BYTES &&
		strcmp(name, "CPU") != 0 && strcmp(name, "GPU") != 0 &&
		strcmp(name, "memory") != 0 && strcmp(name, "GPU memory") != 0;
}

const char *wf_admit_bad_option(const struct weft_options *o)
{
	if (o->gpus > WEFT_GPUS_MAX || (o->gpus && o->devices))
		return "gpus";
	if (o->memory > INT64_MAX)
		return "memory";
	if (o->n_resources > WEFT_RESOURCES_MAX || !o->n_resources != !o->resources)
		return "n_resources";
	for (uint32_t i = 0; i < o->n_resources; i++) {
		const struct weft_resource *resource = &o->resources[i];

		if (!good_name(resource->name) || !(resource->amount >= 0) ||
		    resource->amount > 1e11)
			return "resources";
		for (uint32_t j = 0; j < i; j++) {
			if (!strcmp(o->resources[j].name, resource->name))
				return "resources";
		}
	}
	if (!(o->fault_rate >= 0 && o->fault_rate <= 1))
		return "fault_rate";
	if (o->fault_points && strnlen(o->fault_points, 4096) == 4096)
		return "fault_points";
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

bool wf_admit_same_options(const struct weft_options *a, const struct weft_options *b)
{
	bool same = a->gpus == b->gpus && a->devices == b->devices && a->memory == b->memory &&
		a->n_resources == b->n_resources && a->fault_rate == b->fault_rate &&
		a->fault_seed == b->fault_seed && same_text(a->fault_points, b->fault_points);

	for (uint32_t i = 0; same && i < a->n_resources; i++)
		same = a->resources[i].amount == b->resources[i].amount &&
			!strcmp(a->resources[i].name, b->resources[i].name);
	return same;
}

uint32_t wf_admit_named(const weft *rt, const char *name)
{
	const struct wf_admit *a = rt->admit;

	for (uint32_t i = 0; i < a->named; i++) {
		if (!strcmp(a->names[i], name))
			return WF_RES_NAMED + i;
	}
	return WF_RES_NONE;
}

int wf_admit_create(weft *rt)
{
	const struct weft_options *o = &rt->options;
	struct wf_admit *a = wf_calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	WF_CHECK(o->n_resources <= WEFT_RESOURCES_MAX && o->gpus <= WEFT_GPUS_MAX);
	a->table_size = TABLE_FIRST;
	a->table = wf_calloc(a->table_size, sizeof(struct wf_class *));
	if (!a->table) {
		wf_free(a);
		return -ENOMEM;
	}
	pthread_mutex_init(&a->mutex, NULL);
	a->total[WF_RES_CPU] = (int64_t)rt->workers * WF_FIXED;
	a->total[WF_RES_COLLECT] = 1;
	a->total[WF_RES_MEMORY] = (int64_t)o->memory;
	wf_gpus_init(rt, a);
	a->named = o->n_resources;
	for (uint32_t i = 0; i < a->named; i++) {
		strcpy(a->names[i], o->resources[i].name);
		a->total[WF_RES_NAMED + i] = (int64_t)(o->resources[i].amount * WF_FIXED + 0.5);
		a->listed[i] = (struct weft_resource){ a->names[i], o->resources[i].amount };
	}
	rt->options.resources = a->named ? a->listed : NULL;
	memcpy(a->free, a->total, sizeof(a->free));
	rt->admit = a;
	return 0;
}

void wf_admit_destroy(weft *rt)
{
	struct wf_admit *a = rt->admit;

	if (!a)
		return;
	for (uint32_t i = 0; i < a->table_size; i++) {
		for (struct wf_class *class = a->table[i]; class;) {
			struct wf_class *next = class->next;

			WF_CHECK(!class->first && !class->users);
			wf_free(class);
			class = next;
		}
	}
	for (uint32_t i = 0; i < WF_RES_MAX * WF_PRIORITIES; i++)
		wf_free(a->heap[i / WF_PRIORITIES][i % WF_PRIORITIES].at);
	wf_places_destroy(rt);
	pthread_mutex_destroy(&a->mutex);
	wf_free(a->table);
	wf_free(a);
	rt->admit = NULL;
}
