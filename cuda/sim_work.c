/*
 * sim_work.c: the work of simulated devices: queues, the order in which pieces come, what each
 * does, and the model of how long it would take.
 *
 * Streams are queues under one lock. Whoever performs picks a stream at random among those whose
 * head may come next, marks it busy, and performs the head without the lock; so work of one stream
 * keeps its order, and all other orders happen. A device that is lost drops what is left: records
 * pass, doorbells are not rung, as CUDA does it.
 *
 * The model needs no clock of its own. Each piece begins when its stream, its engine (copies in,
 * copies out, kernels, copies between devices) and the events that it waits for are done, and not
 * before the host could have submitted it: at the time of the latest event that the host has seen
 * pass. So times follow from the order of calls alone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sim_inner.h"

/* ---- Faults ------------------------------------------------------------------------------- */

static bool fault_due(struct wf_device_backend *backend, enum wf_sim_fault kind)
{
	struct sim_fault *fault = &backend->fault[kind];

	fault->count++;
	return fault->nth && fault->count == fault->nth;
}

static void lose(struct sim_device *device, const char *why, uint64_t address)
{
	if (device->lost)
		return;
	device->lost = WF_DEVICE_LOST;
	snprintf(device->text, sizeof(device->text), "%s at %#llx", why,
	         (unsigned long long)address);
}

void wf_sim_give_up(struct wf_device_backend *backend, struct sim_device *device, const char *why)
{
	WF_CHECK(device->backend == backend && why);
	if (!device->lost)
		snprintf(device->text, sizeof(device->text), "%s", why);
	device->lost = WF_DEVICE_LOST;
	/* What hangs is dropped as all the rest. */
	for (struct wf_device_stream *s = backend->streams; s; s = s->next) {
		if (s->device == device)
			s->hung = false;
	}
}

int wf_sim_call(struct wf_device_backend *backend, struct sim_device *device)
{
	if (device && device->lost)
		return WF_DEVICE_LOST;
	if (!fault_due(backend, WF_SIM_FAULT_CALL))
		return 0;
	int code = backend->fault[WF_SIM_FAULT_CALL].code;

	/* Who has said so once says so for ever, and does nothing more. */
	if (device && code == WF_DEVICE_LOST)
		lose(device, "planted failure", 0);
	return code;
}

int wf_sim_call_from(struct wf_device_backend *backend, enum wf_sim_fault kind)
{
	struct sim_fault *fault = &backend->fault[kind];

	WF_CHECK(kind < WF_SIM_FAULT_KINDS);
	fault->count++;
	return fault->nth && fault->count >= fault->nth ? fault->code : 0;
}

/* ---- Pieces of work ------------------------------------------------------------------------ */

struct sim_work *wf_sim_work_create(enum sim_work_kind kind, size_t bytes)
{
	struct sim_work *work = wf_aligned_alloc(16, sizeof(*work) + bytes);

	if (!work)
		return NULL;
	memset(work, 0, sizeof(*work));
	work->kind = kind;
	work->value_bytes = bytes;
	return work;
}

void wf_sim_event_put(struct wf_device_event *event)
{
	WF_CHECK(event->users > 0);
	if (--event->users == 0)
		wf_free(event);
}

void wf_sim_work_destroy(struct sim_work *work)
{
	if (work->event)
		wf_sim_event_put(work->event);
	wf_free(work);
}

/* ---- The model ----------------------------------------------------------------------------- */

int64_t wf_sim_now(struct wf_device_backend *backend)
{
	return backend->now ? backend->now(backend->now_arg) : backend->seen_ns;
}

/* How long it takes, and on which engine; -1: none, it takes no time. */
static int64_t cost(const struct wf_device_backend *b, const struct sim_work *work, int *engine)
{
	const struct wf_device_launch *l = &work->launch;
	int64_t threads;

	switch (work->kind) {
	case SIM_COPY_IN:
	case SIM_COPY_OUT:
		*engine = work->kind == SIM_COPY_IN ? WF_DEVICE_UPLOAD : WF_DEVICE_DOWNLOAD;
		return b->launch_ns + (int64_t)work->bytes * 1000 / b->copy_mbs;
	case SIM_COPY_PEER:
		*engine = SIM_PEER;
		return b->launch_ns + (int64_t)work->bytes * 1000 / b->peer_mbs;
	case SIM_COPY_ON:
	case SIM_FILL:
		*engine = WF_DEVICE_COMPUTE;
		return b->launch_ns + (int64_t)work->bytes * 50 / b->copy_mbs;
	case SIM_LAUNCH:
		*engine = WF_DEVICE_COMPUTE;
		threads = (int64_t)l->grid[0] * l->grid[1] * l->grid[2] * l->block[0] *
			l->block[1] * l->block[2];
		return b->launch_ns + threads * b->thread_ps / 1000;
	default:
		*engine = -1;
		return 0;
	}
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static void give_time(struct wf_device_stream *stream, struct sim_work *work)
{
	struct sim_device *device = stream->device;
	struct wf_device_backend *b = device->backend;
	int engine;
	int64_t ns = cost(b, work, &engine);
	int64_t start = later(stream->end_ns, wf_sim_now(b));

	if (work->kind == SIM_WAIT)
		start = later(start, work->event->end_ns);
	if (engine >= 0) {
		/* A copy between devices keeps the way of both busy. */
		struct sim_device *both = work->peer ? work->peer : device;

		start = later(start, later(device->engine_ns[engine], both->engine_ns[engine]));
		device->engine_ns[engine] = both->engine_ns[engine] = start + ns;
		b->stats.engine_ns[engine] += ns;
	}
	stream->end_ns = start + ns;
	if (work->kind == SIM_RECORD)
		work->event->end_ns = stream->end_ns;
	b->stats.model_ns = later(b->stats.model_ns, stream->end_ns);
}

void wf_sim_submit(struct wf_device_stream *stream, struct sim_work *work)
{
	WF_CHECK(!stream->dying);
	give_time(stream, work);
	work->next = NULL;
	*stream->tail = work;
	stream->tail = &work->next;
	sim_changed(stream->device->backend);
}

int wf_sim_submit_checked(struct wf_device_backend *backend, struct wf_device_stream *stream,
                          struct sim_work *work)
{
	int rc = work ? wf_sim_call(backend, stream->device) : -ENOMEM;

	if (!rc)
		wf_sim_submit(stream, work);
	else if (work)
		wf_sim_work_destroy(work);
	return rc;
}

/* ---- Performing ---------------------------------------------------------------------------- */

static void *address(struct sim_device *device, uint64_t at, uint64_t bytes)
{
	void *pointer;

	/* Other streams take and free blocks meanwhile. */
	pthread_mutex_lock(&device->backend->lock);
	pointer = wf_sim_memory_pointer(&device->memory, at, bytes);
	if (!pointer)
		lose(device, "illegal address", at);
	pthread_mutex_unlock(&device->backend->lock);
	return pointer;
}

/* NULL: the other device is lost, or has nothing there, and with it this one. */
static void *peer_address(struct sim_device *device, const struct sim_work *work)
{
	pthread_mutex_lock(&device->backend->lock);
	bool lost = work->peer->lost;

	pthread_mutex_unlock(&device->backend->lock);
	void *from = lost ? NULL : address(work->peer, work->from, work->bytes);

	if (from)
		return from;
	pthread_mutex_lock(&device->backend->lock);
	lose(device, "the other device of a copy was lost", work->from);
	pthread_mutex_unlock(&device->backend->lock);
	return NULL;
}

/* What it does, without the lock. */
static void perform(struct sim_device *device, struct sim_work *work)
{
	void *to = NULL, *from = NULL;

	switch (work->kind) {
	case SIM_COPY_IN:
		to = address(device, work->to, work->bytes);
		if (to)
			memcpy(to, (const void *)(uintptr_t)work->from, work->bytes);
		break;
	case SIM_COPY_OUT:
		from = address(device, work->from, work->bytes);
		if (from)
			memcpy((void *)(uintptr_t)work->to, from, work->bytes);
		break;
	case SIM_COPY_ON:
		to = address(device, work->to, work->bytes);
		from = address(device, work->from, work->bytes);
		if (to && from)
			memmove(to, from, work->bytes);
		break;
	case SIM_COPY_PEER:
		to = address(device, work->to, work->bytes);
		from = to ? peer_address(device, work) : NULL;
		if (from)
			memcpy(to, from, work->bytes);
		break;
	case SIM_FILL:
		to = address(device, work->to, work->bytes);
		if (to)
			memset(to, work->byte, work->bytes);
		break;
	case SIM_LAUNCH:
		work->launch.twin(work->args, &work->launch);
		break;
	default:
		break;
	}
}

/* What it does under the lock, after that. */
static void settle(struct sim_device *device, struct sim_work *work)
{
	struct wf_device_backend *b = device->backend;

	switch (work->kind) {
	case SIM_FREE:
		if (!wf_sim_memory_free(&device->memory, work->to))
			lose(device, "free of what is not in use", work->to);
		break;
	case SIM_RECORD:
		if (work->event->passed < work->serial)
			work->event->passed = work->serial;
		break;
	case SIM_DOORBELL:
		b->stats.doorbells++;
		break;
	default:
		break;
	}
}

static bool may_begin(const struct wf_device_stream *stream)
{
	const struct sim_work *work = stream->head;

	if (!work || stream->busy)
		return false;
	if (stream->device->lost)
		return true;
	return !stream->hung &&
		(work->kind != SIM_WAIT || work->event->passed >= work->serial ||
	         work->event->device->lost);
}

static struct wf_device_stream *pick(struct wf_device_backend *backend)
{
	uint32_t count = 0;
	struct wf_device_stream *chosen = NULL;

	for (struct wf_device_stream *s = backend->streams; s; s = s->next) {
		if (may_begin(s) && wf_random_below(&backend->random, ++count) == 0)
			chosen = s;
	}
	return chosen;
}

void wf_sim_stream_reap(struct wf_device_stream *stream)
{
	struct wf_device_backend *b = stream->device->backend;
	struct wf_device_stream **at = &b->streams;

	if (!stream->dying || stream->head || stream->busy)
		return;
	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
	b->stats.streams--;
	wf_free(stream);
}

/* Take the head off. */
static struct sim_work *shift(struct wf_device_stream *stream)
{
	struct sim_work *work = stream->head;

	stream->head = work->next;
	if (!stream->head)
		stream->tail = &stream->head;
	return work;
}

/* The device is lost: what is left of the stream is not done, but whoever waits is told. */
static void drop(struct wf_device_stream *stream)
{
	struct sim_work *work = shift(stream);

	stream->device->backend->stats.swallowed++;
	if (work->kind == SIM_RECORD)
		settle(stream->device, work);
	wf_sim_work_destroy(work);
}

bool wf_sim_perform_one(struct wf_device_backend *backend)
{
	struct wf_device_stream *stream = pick(backend);

	if (!stream)
		return false;
	struct sim_device *device = stream->device;

	if (!device->lost && fault_due(backend, WF_SIM_FAULT_HANG)) {
		/* Whoever waits for this stream, or for all of them, waits for no more of it. */
		stream->hung = true;
		sim_changed(backend);
		return true;
	}
	if (!device->lost && fault_due(backend, WF_SIM_FAULT_WORK))
		lose(device, "planted failure", stream->head->to);
	if (device->lost) {
		drop(stream);
	} else {
		struct sim_work *work = stream->head;

		stream->busy = true;
		backend->working++;
		pthread_mutex_unlock(&backend->lock);
		perform(device, work);
		if (work->kind == SIM_DOORBELL)
			work->fn(work->arg);
		pthread_mutex_lock(&backend->lock);
		backend->working--;
		stream->busy = false;
		backend->stats.performed++;
		settle(device, work);
		WF_CHECK(shift(stream) == work);
		wf_sim_work_destroy(work);
	}
	wf_sim_stream_reap(stream);
	sim_changed(backend);
	return true;
}

void *wf_sim_thread_main(void *arg)
{
	struct wf_device_backend *backend = arg;

	pthread_mutex_lock(&backend->lock);
	while (!backend->stopping) {
		if (!wf_sim_perform_one(backend))
			sim_await_change(backend);
	}
	pthread_mutex_unlock(&backend->lock);
	return NULL;
}
