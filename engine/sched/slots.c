/*
 * slots.c: the CPUs of counted requests: workers that stand aside.
 *
 * A worker is a CPU. Counted requests together take a number of CPUs; rounded up that is the
 * target: so many workers have to stand aside, or to be the one that runs such a body (both are
 * `lent`). While the two differ workers are called: each looks up between two items and either
 * stands aside (its queues open to the others) or, when only one is missing for the request that
 * collects, takes that task and runs it. When the target falls, those aside go back to work. A
 * request for a thread of its own (a fraction of a CPU, none at all, BLOCKING) is started on a
 * spare thread once enough workers are aside.
 *
 * One request collects at a time (WF_RES_COLLECT), so that two never hold half of what the other
 * needs. A body that blocks leaves its CPUs and takes them back without waiting when it wakes;
 * then workers are called for what is missing, and until they come more runs than there are CPUs.
 *
 * Shared: as in admit.c. worker->aside is cleared under the mutex and read by its worker.
 */
#include <errno.h>
#include <string.h>

#include "admit_state.h"
#include "gpu.h"

uint32_t wf_slots_target(const weft *rt)
{
	const struct wf_admit *a = rt->admit;
	int64_t used = a->total[WF_RES_CPU] - a->free[WF_RES_CPU] - a->kept_cpus - a->unspent;
	int64_t up = (used + WF_FIXED - 1) / WF_FIXED;

	return up < (int64_t)rt->workers ? (uint32_t)up : rt->workers;
}

/* `runner` NULL: any one; else one that may run it. False: there is none. */
static bool let_one_go(struct wf_admit *a, const struct wf_request *runner)
{
	struct wf_worker **at = &a->aside;

	while (*at && runner && !wf_place_allows(runner, *at))
		at = &(*at)->aside_next;
	struct wf_worker *worker = *at;

	if (!worker)
		return false;
	WF_CHECK(a->lent);
	*at = worker->aside_next;
	a->lent--;
	worker->aside_for = NULL;
	/* release [A1]: out of the list. */
	wf_store_release(&worker->aside, 0);
	wf_parker_unpark_mt(&worker->parker);
	return true;
}

#define WF_CALL_ALL UINT32_MAX

/* Ask workers to look up between two items, or no longer; `calling` as in struct wf_admit. */
static void call(weft *rt, uint32_t calling, uint32_t wanted)
{
	struct wf_admit *a = rt->admit;

	WF_DEBUG(wanted <= rt->workers && (calling || !wanted));
	if (a->calling != calling) {
		a->calling = calling;
		for (uint32_t i = 0; i < rt->workers; i++) {
			uint32_t node = rt->worker[i]->local.node;

			/* relaxed: what to do is found under the mutex. */
			if (calling == WF_CALL_ALL || calling == node + 1)
				wf_or_relaxed(&rt->worker[i]->attend, WF_LOOK_SLOTS);
			else
				/* acq_rel [A5]: there is no weaker one; its worker reads it. */
				wf_and_acq_rel(&rt->worker[i]->attend, ~WF_LOOK_SLOTS);
		}
		/* A worker that goes to sleep looks once more behind its own barrier [S1]. */
		if (calling && rt->asymmetric)
			wf_membarrier();
		else
			wf_fence_seq_cst();
	}
	for (uint32_t i = 0; calling && i < wanted; i++)
		wf_wake_one(rt);
}

void wf_slots_unname(weft *rt, const struct wf_ext *ext)
{
	for (struct wf_worker *w = rt->admit->aside; w; w = w->aside_next) {
		if (w->aside_for == ext)
			w->aside_for = NULL;
	}
}

/* The CPUs that a k-CPU task is told: of the worker that runs it and of those that are aside. */
static void name_cpus(weft *rt, struct wf_worker *worker, struct wf_ext *ext)
{
	struct wf_request *request = wf_ext_request(ext);
	uint32_t k = (uint32_t)((request->cpus + WF_FIXED - 1) / WF_FIXED), n = 0;
	const struct wf_topology *topo = wf_topology();

	WF_CHECK(request->cpus > 0);
	wf_free(request->cpu);
	request->n_cpu = 0;
	request->cpu = k <= rt->workers ? wf_malloc(k * sizeof(*request->cpu)) : NULL;
	if (!request->cpu)
		return;
	if (worker)
		request->cpu[n++] = topo->cpus[worker->cpu].os_index;
	for (struct wf_worker *w = rt->admit->aside; w && n < k; w = w->aside_next) {
		/* Those that stand aside for somebody else are named to them. */
		if (w->aside_for)
			continue;
		w->aside_for = ext;
		request->cpu[n++] = topo->cpus[w->cpu].os_index;
	}
	request->n_cpu = n;
}

/* Start the collecting request on a thread of its own. False: there is none. */
static bool start_beside(struct wf_local *self)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_ext *ext = a->collecting;
	struct wf_request *request = wf_ext_request(ext);

	WF_CHECK(request->state == WF_REQUEST_COLLECTING);
	request->state = WF_REQUEST_GRANTED;
	if (request->cpus >= WF_FIXED)
		name_cpus(self->rt, NULL, ext);
	/*
	 * With the mutex held: only so can it be undone. It does not wait for a thread: workers
	 * stand aside for it meanwhile, and might be what it waits for.
	 */
	if (!wf_spare_run(self, &self->rt->cells[ext->cell], false)) {
		request->state = WF_REQUEST_COLLECTING;
		request->beside = false;
		return false;
	}
	wf_bump(&self->count.popped);
	a->collecting = NULL;
	a->free[WF_RES_COLLECT]++;
	return true;
}

bool wf_slots_settle(struct wf_local *self)
{
	weft *rt = self->rt;
	struct wf_admit *a = rt->admit;
	uint32_t target = wf_slots_target(rt);
	bool over = false;

	WF_DEBUG(target <= rt->workers);
	while (a->lent > target && a->aside)
		let_one_go(a, NULL);
	if (a->collecting && wf_ext_request(a->collecting)->beside && a->lent >= target)
		over = start_beside(self);
	const struct wf_request *runner = a->collecting ? wf_ext_request(a->collecting) : NULL;

	/*
	 * All are aside, and one of them is to run it, or one that is still to come: when it must
	 * be one of a node the others are not asked, who could do nothing.
	 */
	bool waits = runner && !runner->beside && a->lent >= target && !let_one_go(a, runner) &&
		runner->kept;
	uint32_t wanted = a->lent < target ? target - a->lent : 0;

	if (waits)
		call(rt, runner->node + 1u, 0);
	else
		call(rt, wanted || a->collecting ? WF_CALL_ALL : 0, wanted);
	if (waits)
		wf_lanes_wake(rt, runner->node);
	return over;
}

/* The request that collects has what it wanted and runs on this worker. */
static struct wf_cell *take_it(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_admit *a = rt->admit;
	struct wf_ext *ext = a->collecting;
	struct wf_request *request = wf_ext_request(ext);

	WF_CHECK(request->state == WF_REQUEST_COLLECTING && !request->lent);
	a->collecting = NULL;
	a->free[WF_RES_COLLECT]++;
	a->lent++;
	request->lent = true;
	request->state = WF_REQUEST_GRANTED;
	name_cpus(rt, worker, ext);
	return &rt->cells[ext->cell];
}

/* What lies in this worker's queues is for the others now. */
static void open_queues(struct wf_worker *worker)
{
	for (uint32_t p = 0; p < WF_PRIORITIES; p++)
		wf_deque_expose_local(&worker->deque[p], UINT32_MAX);
	wf_slab_flush(&worker->local);
	wf_wake_one(worker->local.rt);
}

static void stand_aside(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;

	open_queues(worker);
	wf_lane_decline(worker);
	/* acquire [A1], [X1] */
	while (wf_load_acquire(&worker->aside) && !wf_load_acquire(&rt->stopping))
		wf_parker_park(&worker->parker, WF_FOREVER);
}

/* Serve whoever waits to collect, and send on what that grants. With the mutex held, free after. */
static void collect_next(struct wf_local *self)
{
	static const struct wf_shape collect = { .n = 1, .need = { { WF_RES_COLLECT, 1 } } };

	wf_admit_serve(self, &collect);
}

struct wf_cell *wf_admit_attend(struct wf_worker *worker)
{
	weft *rt = worker->local.rt;
	struct wf_admit *a = rt->admit;
	struct wf_cell *cell = NULL;

	WF_DEBUG(!worker->helper && !worker->local.current);
	for (;;) {
		pthread_mutex_lock(&a->mutex);
		uint32_t target = wf_slots_target(rt);
		bool beside = a->collecting && wf_ext_request(a->collecting)->beside;

		/* acquire [X1] */
		if (wf_load_acquire(&rt->stopping))
			break;
		if (a->collecting && !beside && a->lent + 1 >= target &&
		    wf_place_allows(wf_ext_request(a->collecting), worker)) {
			cell = take_it(worker);
			break;
		}
		if (a->lent >= target)
			break;
		worker->aside_next = a->aside;
		a->aside = worker;
		a->lent++;
		/* relaxed: this thread reads it; whoever clears it does so under the mutex. */
		wf_store_relaxed(&worker->aside, 1);
		collect_next(&worker->local);
		stand_aside(worker);
	}
	collect_next(&worker->local);
	return cell;
}

/* ---- Bodies that come and go --------------------------------------------------------------- */

static struct wf_request *asked(struct wf_local *self, struct wf_ext **ext)
{
	struct weft_task *frame = self ? self->current : NULL;

	/* A fork that was stolen has a worker of its own. */
	if (!frame || frame->borrowed || !wf_cell_ext(frame->cell))
		return NULL;
	*ext = wf_cell_ext(frame->cell);
	return wf_ext_request(*ext);
}

static struct wf_request *running(struct wf_local *self, struct wf_ext **ext)
{
	struct wf_request *request = asked(self, ext);

	return request && request->held ? request : NULL;
}

/* A worker of the runtime, which is one of its CPUs; helpers and spares are none. */
static bool is_slot(const struct wf_local *self)
{
	return self->worker && !((const struct wf_worker *)self)->helper;
}

struct wf_ext *wf_admit_leave_slow(struct wf_local *self)
{
	struct wf_ext *ext, *gpu = wf_gpu_leave(self->current);
	struct wf_request *request = asked(self, &ext);
	static const struct wf_shape cpu = { .n = 1, .need = { { WF_RES_CPU, 1 } } };

	if (!request)
		return gpu;
	weft *rt = self->current->rt;
	struct wf_local *home = wf_local_of(rt);

	pthread_mutex_lock(&rt->admit->mutex);
	/* One that waits for its next attempt's grant may be given it right now. */
	if (!request->held) {
		pthread_mutex_unlock(&rt->admit->mutex);
		return gpu;
	}
	WF_CHECK(!request->away);
	request->away = true;
	wf_cpus_give(rt, request);
	if (request->lent)
		rt->admit->lent--;
	request->lent = false;
	/* An identity is there already: the task has one. */
	wf_admit_serve(home, &cpu);
	return ext;
}

static void settle_and_unlock(struct wf_local *self)
{
	static const struct wf_shape nothing = { .n = 0 };

	wf_admit_serve(self, &nothing);
}

void wf_admit_back(struct wf_ext *ext)
{
	struct wf_local *self = wf_self();

	if (!ext)
		return;
	weft *rt = self->current->rt;
	struct wf_request *request = wf_ext_request(ext);

	wf_gpu_back(self->current);
	/* Only its runner changes it. */
	if (!request || !request->away)
		return;
	pthread_mutex_lock(&rt->admit->mutex);
	WF_CHECK(request->held && request->away);
	request->away = false;
	wf_cpus_take(rt, request);
	if (is_slot(self) && self->rt == rt && !request->slot) {
		request->lent = true;
		rt->admit->lent++;
	}
	settle_and_unlock(wf_local_of(rt));
}

void wf_admit_unlend(struct wf_local *self)
{
	struct wf_ext *ext;
	struct wf_request *request = running(self, &ext);

	if (!request)
		return;
	weft *rt = self->current->rt;

	pthread_mutex_lock(&rt->admit->mutex);
	if (request->lent)
		rt->admit->lent--;
	request->lent = false;
	settle_and_unlock(wf_local_of(rt));
}

void wf_admit_started(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_request *request = wf_ext_request(ext);

	if (!is_slot(self) || !request->held || request->lent || request->slot)
		return;
	pthread_mutex_lock(&self->rt->admit->mutex);
	request->lent = true;
	self->rt->admit->lent++;
	settle_and_unlock(self);
}
