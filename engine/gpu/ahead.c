/*
 * ahead.c: tasks that begin while what they come after is still on a device.
 *
 * A task whose body has returned and whose work is marked in a stream is published, by its cell,
 * until the work was found done. A GPU task may begin ahead when every edge that is not done comes
 * from a published one, and is a control edge or brings a value that is on a device: its stream
 * waits for the other's mark (in the same stream not even that), so the device keeps the order and
 * no host is woken in between. Such a value is found through whom it comes from, as its cell has
 * none before the end; on another device it is waited for by the host. Two look for such
 * tasks: who is published, among its waiters; and who has linked its edges, among the published. As
 * each has made its half known first, one of them finds the other.
 *
 * The task that began ahead has WF_UNREADY_AHEAD set and a count of its own in ext->unready: nobody
 * ends it early, and its ext stays. When its own work is done it gives that count back and waits
 * for the last edge. An input that has failed by then is its failure, whatever its work has made.
 *
 * Of those that wait for one published task one with the same request takes its grant over, and its
 * stream. What is given back when a grant ends is given back by the last of such a row.
 *
 * Shared: the table, and who is published, under ahead_mutex. In it: the lock of a promise's list,
 * the admission's mutex.
 */
#include <errno.h>

#include "admit_state.h"
#include "gpu.h"

#define LOOK_MAX 64u /* waiters of a published task that are looked at */

/* ---- The published --------------------------------------------------------------------------- */

static struct wf_gpu_run **bucket_of(struct wf_gpus *gpus, const struct wf_cell *cell)
{
	return &gpus->bucket[(size_t)(cell - gpus->rt->cells) % WF_GPU_BUCKETS];
}

/* With the mutex held. */
static struct wf_gpu_run *published(struct wf_gpus *gpus, const struct wf_cell *cell)
{
	struct wf_gpu_run *run = *bucket_of(gpus, cell);

	while (run && run->frame->cell != cell)
		run = run->hash_next;
	return run;
}

/* Whether others may rely on this attempt being the last one, and its work being all there is. */
static bool may_publish(const struct wf_gpu_run *run)
{
	struct wf_ext *ext = wf_cell_ext(run->frame->cell);
	const struct wf_plus *plus = wf_ext_plus(ext);
	WF_DEBUG(run->n && run->gpus->cuda->ahead_max);
	bool ok = run->code >= 0 && !ext->call && !wf_ext_stream(ext) &&
		!(plus && (plus->retries || plus->memory_retries));

	for (uint32_t i = 0; i < run->n && ok; i++) {
		struct wf_gpu *gpu = &run->gpus->gpu[run->part[i].device];

		pthread_mutex_lock(&gpu->mutex);
		ok = gpu->stream[run->part[i].stream].depth < run->gpus->cuda->ahead_max;
		pthread_mutex_unlock(&gpu->mutex);
	}
	return ok;
}

/* ---- Who may begin --------------------------------------------------------------------------- */

static bool wants_gpu(struct wf_ext *ext)
{
	return ext->parts & WF_PART_REQUEST &&
		wf_shape_has_gpu(&wf_ext_request(ext)->class->shape) && !ext->call;
}

/* Whether its body may find values before their end, when it learns whether they have failed. */
static bool may_take_early(struct wf_ext *ext)
{
	const struct wf_more *more = wf_ext_more(ext);

	/* A thread that cannot suspend might have to wait for one. */
	return ext->policy == WEFT_INPUT_FAIL_FAST && !(ext->flags & WEFT_TASK_BLOCKING) &&
		!(more && more->keyed);
}

/* What the published one leaves on a device as its value; NULL: it is elsewhere. Mutex held. */
static struct wf_gpu_value *early_value(const struct wf_gpu_run *run)
{
	const struct wf_payload *payload = run->frame->payload;

	return wf_payload_is_remote(payload) ? wf_gpu_value_of(payload) : NULL;
}

/* Every edge is done, or from something that is published. Mutex held. */
static bool edges_allow(struct wf_gpus *gpus, struct wf_ext *ext)
{
	uint32_t edges = wf_ext_edge_count(ext);

	WF_DEBUG(ext->n_inputs <= edges);
	for (uint32_t i = 0; i < edges; i++) {
		struct wf_cell *src = &gpus->rt->cells[ext->edges[i].src];
		const struct wf_gpu_run *run;

		if (wf_promise_is_done(&src->promise))
			continue;
		run = published(gpus, src);
		if (!run || (i < ext->n_inputs && !(may_take_early(ext) && early_value(run))))
			return false;
	}
	return true;
}

/* Win the right to begin it; then its ext stays. Mutex held. */
static bool claim(struct wf_gpus *gpus, struct wf_ext *ext)
{
	/* relaxed: a guess for the exchange. */
	uint32_t old = wf_load_relaxed(&ext->unready);

	WF_DEBUG(ext->cell);
	if (!wants_gpu(ext) || !edges_allow(gpus, ext))
		return false;
	do {
		uint32_t linker = old & WF_UNREADY_LINKING ? 1 : 0;

		/* All are there by now, and it begins as any other; or it has ended. */
		if (old & (WF_UNREADY_EARLY | WF_UNREADY_AHEAD) ||
		    (old & WF_UNREADY_COUNT) <= linker)
			return false;
		/* acq_rel [U1]: one beginner. */
	} while (!wf_cas_acq_rel(&ext->unready, &old, (old | WF_UNREADY_AHEAD) + 1));
	return true;
}

/*
 * The published one's grant, stream and all, for one that asks for the same. Mutex held. What it
 * has pinned is within its grant until the host has found its work done, so then there is nothing
 * to take over; `uses` changes no more while it is published.
 */
static bool take_over(struct wf_gpu_run *run, struct wf_ext *ext)
{
	struct wf_request *from = wf_ext_request(wf_cell_ext(run->frame->cell));
	struct wf_request *to = wf_ext_request(ext);
	weft *rt = run->gpus->rt;

	/* A node of its own choice is its own; that of the device goes with it. */
	if (run->n != 1 || from->class != to->class || from->cpus || from->class->pg ||
	    from->class->shape.place != WEFT_PLACE_DEFAULT || run->part->uses)
		return false;
	pthread_mutex_lock(&rt->admit->mutex);
	WF_DEBUG(from != to && run->published);
	bool ok = from->state == WF_REQUEST_GRANTED && to->state == WF_REQUEST_NEW &&
		!rt->admit->open;

	if (ok) {
		WF_CHECK(from->gpus && !to->gpus);
		to->state = WF_REQUEST_GRANTED;
		to->gpus = from->gpus;
		to->stream = (uint16_t)(run->part->stream + 1);
		from->gpus = 0;
		from->state = WF_REQUEST_PASSED;
		WF_CHECK(to->node == WF_NODE_NONE);
		to->node = from->node;
		from->node = WF_NODE_NONE;
		/* release [C1]: under the mutex, see admit.c. */
		wf_store_release(&rt->cells[ext->cell].promise.state, WF_STATE_QUEUED);
	}
	pthread_mutex_unlock(&rt->admit->mutex);
	return ok;
}

/* Claimed tasks, on their way; the first may have taken a grant over. Without the mutex. */
static void start(struct wf_local *self, struct wf_ext **ext, uint32_t n, bool taken)
{
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = &self->rt->cells[ext[i]->cell];
		struct wf_grants grants;

		WF_CHECK(wf_ext_is_ahead(ext[i]));
		if (i || !taken) {
			wf_admit(self, cell);
			continue;
		}
		grants.n = 0;
		wf_grant_add(&grants, cell, wf_ext_request(ext[i]));
		wf_grants_send(self, &grants);
	}
}

/* ---- Publishing ------------------------------------------------------------------------------ */

/* The waiters of a published task that may begin; *alone: nobody else waits. Mutex held. */
static uint32_t find_waiters(struct wf_gpu_run *run, struct wf_ext **found, uint32_t room,
                             bool *alone)
{
	struct wf_promise *promise = &run->frame->cell->promise;
	uintptr_t old;
	uint32_t n = 0, seen = 0;

	WF_DEBUG(room && run->published);
	*alone = false;
	/* Only we complete it, so it is not closed. */
	old = wf_promise_lock(promise);
	for (struct wf_waiter *node = (struct wf_waiter *)(old & ~WF_W_BITS);
	     node && seen < LOOK_MAX; node = node->next) {
		seen++;
		if (!(node->edge & WF_WAITER_EDGE) || n == room)
			continue;
		struct wf_edge *edge = wf_container_of(node, struct wf_edge, waiter);
		struct wf_ext *ext = wf_ext_of_edge(edge);

		if (claim(run->gpus, ext))
			found[n++] = ext;
	}
	wf_promise_unlock(promise, old);
	*alone = seen == 1;
	return n;
}

static void note_chained(struct wf_gpu_run *run, uint32_t n, bool taken, bool covered)
{
	struct wf_gpu *gpu = &run->gpus->gpu[run->part->device];

	pthread_mutex_lock(&gpu->mutex);
	gpu->chained += n;
	gpu->takeovers += taken;
	run->part->mark.covered = covered;
	pthread_mutex_unlock(&gpu->mutex);
}

void wf_gpu_publish(struct wf_gpu_run *run)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_gpu_run **bucket = bucket_of(gpus, run->frame->cell);
	struct wf_ext *found[LOOK_MAX];
	bool taken = false, alone;

	WF_CHECK(!run->published);
	if (!may_publish(run))
		return;
	pthread_mutex_lock(&gpus->ahead_mutex);
	run->hash_next = *bucket;
	*bucket = run;
	run->published = true;
	uint32_t n = find_waiters(run, found, LOOK_MAX, &alone);

	for (uint32_t i = 0; i < n && !taken; i++) {
		taken = take_over(run, found[i]);
		if (taken) {
			struct wf_ext *first = found[0];

			found[0] = found[i];
			found[i] = first;
		}
	}
	WF_DEBUG(n <= LOOK_MAX && (!taken || n));
	if (n)
		note_chained(run, n, taken, taken && alone);
	pthread_mutex_unlock(&gpus->ahead_mutex);
	start(wf_self(), found, n, taken);
}

void wf_gpu_unpublish(struct wf_gpu_run *run)
{
	struct wf_gpus *gpus = run->gpus;

	if (!run->published)
		return;
	WF_DEBUG(run->frame && run->frame->cell);
	pthread_mutex_lock(&gpus->ahead_mutex);
	struct wf_gpu_run **at = bucket_of(gpus, run->frame->cell);

	while (*at != run) {
		WF_CHECK(*at);
		at = &(*at)->hash_next;
	}
	*at = run->hash_next;
	run->published = false;
	pthread_mutex_unlock(&gpus->ahead_mutex);
}

void wf_gpu_linked(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_gpus *gpus = self->rt->gpus;
	struct wf_gpu_run *run = NULL, *last = NULL;
	bool taken = false;

	if (!gpus || !wants_gpu(ext))
		return;
	uint32_t edges = wf_ext_edge_count(ext);

	if (!edges)
		return;
	pthread_mutex_lock(&gpus->ahead_mutex);
	bool ok = claim(gpus, ext);

	WF_DEBUG(!ok || wf_ext_is_ahead(ext));
	for (uint32_t i = 0; i < edges && ok && !taken; i++) {
		run = published(gpus, &gpus->rt->cells[ext->edges[i].src]);
		if (!run)
			continue;
		taken = take_over(run, ext);
		last = run;
		/* Who else waits is not looked at: the host is told of both. */
		note_chained(run, 0, false, false);
	}
	if (last)
		note_chained(last, 1, taken, false);
	pthread_mutex_unlock(&gpus->ahead_mutex);
	if (ok)
		start(self, &ext, 1, taken);
}

/* ---- The task that begins -------------------------------------------------------------------- */

int wf_gpu_wait_inputs(struct wf_gpu_run *run, struct wf_gpu_part *part)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_ext *ext = wf_cell_ext(run->frame->cell);
	uint32_t edges = wf_ext_edge_count(ext);
	int rc = 0;

	if (!wf_ext_is_ahead(ext))
		return 0;
	WF_DEBUG(part->queue && edges);
	/* Under the mutex nobody lets go of its event. */
	pthread_mutex_lock(&gpus->ahead_mutex);
	for (uint32_t i = 0; i < edges && !rc; i++) {
		struct wf_gpu_run *other = published(gpus, &gpus->rt->cells[ext->edges[i].src]);

		for (uint32_t j = 0; other && j < other->n && !rc; j++) {
			const struct wf_gpu_part *from = &other->part[j];

			/* In one stream the order is there. */
			if (from->queue == part->queue)
				continue;
			rc = gpus->ops->stream_wait(gpus->backend, part->queue, from->mark.event);
		}
	}
	pthread_mutex_unlock(&gpus->ahead_mutex);
	return wf_gpu_status(&gpus->gpu[part->device], rc);
}

struct wf_gpu_value *wf_gpu_early_input(struct wf_gpus *gpus, const struct wf_cell *src)
{
	struct wf_gpu_value *value = NULL;

	pthread_mutex_lock(&gpus->ahead_mutex);
	const struct wf_gpu_run *run = published(gpus, src);

	if (run)
		value = early_value(run);
	if (value) {
		wf_gpu_objects_lock(gpus);
		WF_CHECK(value->own && !value->dead);
		value->users++;
		wf_gpu_objects_unlock(gpus);
	}
	pthread_mutex_unlock(&gpus->ahead_mutex);
	WF_DEBUG(!value || value->size);
	return value;
}

void wf_gpu_inputs_done(struct wf_local *self, struct wf_ext *ext)
{
	struct wf_gpu_end *end = wf_ext_request(ext)->end;

	WF_CHECK(end);
	if (end->node.wait) {
		wf_wait_fire(&end->node.waiter, NULL, self);
		return;
	}
	/* release [M1]: the last touch. */
	wf_store_release(&end->passed, 1);
	wf_futex_wake(&end->passed, 1);
}

static struct wf_error *failed_input(weft *rt, const struct wf_ext *ext)
{
	uint32_t edges = wf_ext_edge_count(ext);

	for (uint32_t i = 0; i < edges && ext->policy == WEFT_INPUT_FAIL_FAST; i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];

		WF_DEBUG(wf_promise_is_done(&src->promise));
		if (wf_flags(src) & WF_CELL_ERROR)
			return src->u.error;
	}
	return NULL;
}

/* Until the last edge has fired. */
static WF_SUSPENDS void await_edges(struct weft_task *frame, struct wf_ext *ext)
{
	struct wf_local *self = wf_local_of(frame->rt);
	struct wf_gpu_end end = { .node = { .waiter.fire = wf_wait_fire } };
	struct wf_wait wait;

	wf_wait_init(&wait, self, 1, WEFT_FOREVER);
	wait.external = wait.uninterruptible = true;
	WF_DEBUG(!wf_ext_request(ext)->end);
	wf_init(&end.passed, 0);
	end.node.wait = wait.fiber ? &wait : NULL;
	wf_ext_request(ext)->end = &end;
	/* acq_rel [U1]: the results of all inputs; and `end`, to whoever drops the last. */
	uint32_t old = wf_add_acq_rel(&ext->unready, (uint32_t)-1);

	WF_CHECK(old & WF_UNREADY_AHEAD && (old & WF_UNREADY_COUNT) > 0);
	if ((old & WF_UNREADY_COUNT) == 1)
		return;
	if (!wait.fiber) {
		/* acquire [M1] */
		while (!wf_load_acquire(&end.passed)) {
			wf_gpu_poll(self);
			wf_futex_wait(&end.passed, 0, wf_clock_now(NULL) + 1000000);
		}
		return;
	}
	int rc = wf_wait_sleep(&wait);

	WF_CHECK(!rc);
	/* acquire [F3]: the firer's last touch. */
	while (!wf_load_acquire(&end.node.fired))
		wf_cpu_relax();
}

int wf_gpu_ahead_end(struct weft_task *frame, int code)
{
	struct wf_ext *ext = wf_cell_ext(frame->cell);
	struct wf_local *self = wf_self();

	WF_CHECK(wf_ext_is_ahead(ext));
	WF_DEBUG(self->current != frame);
	/* As the task that it is. */
	frame->outer = self->current;
	self->current = frame;
	await_edges(frame, ext);
	wf_self()->current = frame->outer;
	struct wf_error *cause = failed_input(frame->rt, ext);

	if (!cause)
		return code;
	wf_error_see(cause);
	wf_frame_set_error(frame, wf_input_error(wf_self(), frame->cell, cause));
	return WEFT_EDEP;
}
