/*
 * marks.c: streams and events of attempts, and the sleep until work is done.
 *
 * An event is taken before the body runs, so that its end can always be marked. A mark that cannot
 * be recorded all the same, several times, leaves no way to know when the device lets go of the
 * attempt's memory: then the device is given up.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"

#define RECORD_TRIES 4

/* ---- Streams and events ---------------------------------------------------------------------- */

/* One with the fewest users, made when there are none to spare. With the mutex held. */
static int pick_stream(struct wf_gpu *gpu, uint32_t *out)
{
	struct wf_gpus *gpus = gpu->gpus;
	uint32_t best = 0;
	int rc = 0;

	WF_DEBUG(gpu->stream_count > 0);
	for (uint32_t i = 1; i < gpu->stream_count; i++) {
		if (gpu->stream[i].users < gpu->stream[best].users)
			best = i;
	}
	if (!gpu->stream[best].queue)
		rc = gpus->ops->stream_create(gpus->backend, gpu->index, WF_DEVICE_COMPUTE, 0,
		                              &gpu->stream[best].queue);
	/* Another one will do. */
	for (uint32_t i = 0; rc && i < gpu->stream_count; i++) {
		if (gpu->stream[i].queue) {
			best = i;
			rc = 0;
		}
	}
	WF_DEBUG(rc || gpu->stream[best].queue);
	*out = best;
	return rc;
}

/* With the mutex held. */
static int take_event(struct wf_gpu *gpu, struct wf_device_event **out)
{
	struct wf_gpus *gpus = gpu->gpus;

	WF_DEBUG(gpu->spare_count <= gpu->spare_room);
	if (gpu->spare_count) {
		*out = gpu->spare[--gpu->spare_count];
		return 0;
	}
	return gpus->ops->event_create(gpus->backend, gpu->index, out);
}

/* With the mutex held. */
static void give_event(struct wf_gpu *gpu, struct wf_device_event *event)
{
	if (!event)
		return;
	if (gpu->spare_count == gpu->spare_room) {
		uint32_t room = gpu->spare_room ? gpu->spare_room * 2 : 16;
		struct wf_device_event **grown = wf_malloc(room * sizeof(struct wf_device_event *));

		if (!grown) {
			gpu->gpus->ops->event_destroy(gpu->gpus->backend, event);
			return;
		}
		if (gpu->spare_count)
			memcpy(grown, gpu->spare,
			       gpu->spare_count * sizeof(struct wf_device_event *));
		wf_free(gpu->spare);
		gpu->spare = grown;
		gpu->spare_room = room;
	}
	WF_CHECK(gpu->spare_count < gpu->spare_room);
	gpu->spare[gpu->spare_count++] = event;
}

int wf_gpu_event_take(struct wf_gpu *gpu, struct wf_device_event **out)
{
	pthread_mutex_lock(&gpu->mutex);
	int rc = wf_gpu_is_lost(gpu) ? WEFT_EDEVICE : take_event(gpu, out);

	pthread_mutex_unlock(&gpu->mutex);
	return wf_gpu_status(gpu, rc);
}

void wf_gpu_event_give(struct wf_gpu *gpu, struct wf_device_event *event)
{
	pthread_mutex_lock(&gpu->mutex);
	give_event(gpu, event);
	pthread_mutex_unlock(&gpu->mutex);
}

int wf_gpu_line_locked(struct wf_gpu *gpu, enum wf_gpu_line line, uint32_t *stream)
{
	static const enum wf_device_stream_kind kinds[WF_GPU_LINES] = {
		[WF_GPU_LINE_UP] = WF_DEVICE_UPLOAD,
		[WF_GPU_LINE_DOWN] = WF_DEVICE_DOWNLOAD,
		[WF_GPU_LINE_FREE] = WF_DEVICE_COMPUTE,
	};
	struct wf_gpus *gpus = gpu->gpus;
	uint32_t i = gpu->stream_count + (uint32_t)line;
	int rc = 0;

	WF_CHECK(line < WF_GPU_LINES && i < WF_GPU_STREAMS_MAX + WF_GPU_LINES);
	if (wf_gpu_is_lost(gpu))
		rc = WEFT_EDEVICE;
	else if (!gpu->stream[i].queue)
		rc = gpus->ops->stream_create(gpus->backend, gpu->index, kinds[line], 0,
		                              &gpu->stream[i].queue);
	if (!rc)
		*stream = i;
	return rc;
}

int wf_gpu_line(struct wf_gpu *gpu, enum wf_gpu_line line, uint32_t *stream)
{
	pthread_mutex_lock(&gpu->mutex);
	int rc = wf_gpu_line_locked(gpu, line, stream);

	WF_DEBUG(rc || *stream >= gpu->stream_count);
	pthread_mutex_unlock(&gpu->mutex);
	return wf_gpu_status(gpu, rc);
}

int wf_gpu_part_take(struct wf_gpu *gpu, struct wf_gpu_part *part, uint32_t stream)
{
	int rc = 0;

	WF_CHECK(!part->queue && !part->mark.event);
	pthread_mutex_lock(&gpu->mutex);
	if (wf_gpu_is_lost(gpu))
		rc = WEFT_EDEVICE;
	else if (stream == UINT32_MAX)
		rc = pick_stream(gpu, &stream);
	if (!rc)
		rc = take_event(gpu, &part->mark.event);
	if (!rc) {
		WF_CHECK(stream < gpu->stream_count + WF_GPU_LINES && gpu->stream[stream].queue);
		part->device = gpu->index;
		part->stream = stream;
		part->queue = gpu->stream[stream].queue;
		gpu->stream[stream].users++;
		gpu->running++;
		gpu->attempts += !part->aside;
	}
	pthread_mutex_unlock(&gpu->mutex);
	return wf_gpu_status(gpu, rc);
}

void wf_gpu_part_give(struct wf_gpu *gpu, struct wf_gpu_part *part)
{
	if (!part->queue)
		return;
	WF_CHECK(part->device == gpu->index && !part->pieces && !part->uses);
	pthread_mutex_lock(&gpu->mutex);
	WF_CHECK(gpu->stream[part->stream].users > 0 && gpu->running > 0);
	gpu->stream[part->stream].users--;
	gpu->running--;
	give_event(gpu, part->mark.event);
	pthread_mutex_unlock(&gpu->mutex);
	part->queue = NULL;
	part->mark.event = NULL;
}

/* ---- Marks ----------------------------------------------------------------------------------- */

/*
 * The first mark: a worker looks before it sleeps, but others may have been asleep for long,
 * without a limit. Any other thread may go on to what lasts.
 */
static void wake_looker(weft *rt)
{
	const struct wf_local *self = wf_self();

	if (self && self->worker && self->rt == rt)
		return;
	WF_DEBUG(rt->gpus);
	wf_fence_seq_cst(); /* [D3]: who has not seen the mark is seen here, parked. */
	wf_wake_one(rt);
}

void wf_gpu_mark(struct wf_gpu *gpu, uint32_t at, struct wf_gpu_mark *mark)
{
	struct wf_gpus *gpus = gpu->gpus;
	struct wf_gpu_stream *stream = &gpu->stream[at];
	int rc = -EAGAIN;

	WF_CHECK(stream->queue && mark->event);
	pthread_mutex_lock(&gpu->mutex);
	for (int i = 0; rc && i < RECORD_TRIES && !wf_gpu_is_lost(gpu); i++) {
		rc = gpus->ops->event_record(gpus->backend, mark->event, stream->queue);
		if (wf_device_classify(rc) == WF_DEVICE_CLASS_LOST)
			wf_gpu_lose(gpu, NULL);
	}
	if (rc && !wf_gpu_is_lost(gpu))
		wf_gpu_lose(gpu, "the end of work in a stream cannot be marked");
	WF_DEBUG(!stream->first == !stream->depth);
	mark->next = NULL;
	mark->serial = ++gpu->serial;
	if (stream->last)
		stream->last->next = mark;
	else
		stream->first = mark;
	stream->last = mark;
	stream->depth++;
	/* relaxed: only written under the mutex. */
	uint32_t pending = wf_load_relaxed(&gpu->pending);

	if (!pending && gpus->cuda->hang_ns)
		gpu->moved_ns = wf_clock_now(NULL);
	/* release [G4]: with the mark. Of a lost device the next poll lets all of them pass. */
	wf_store_release(&gpu->pending, pending + 1);
	pthread_mutex_unlock(&gpu->mutex);
	if (!pending)
		wake_looker(gpus->rt);
}

/* A thread that cannot suspend looks for itself: all workers may be inside long bodies. */
static void await_here(weft *rt, struct wf_gpu_part *part, uint32_t n)
{
	struct wf_local *self = wf_local_of(rt);
	int64_t interval = 50000;

	WF_CHECK(self && n);

	for (uint32_t i = 0; i < n;) {
		struct wf_gpu_mark *mark = &part[i].mark;

		/* acquire [M1]: the poller's last touch. */
		if (wf_load_acquire(&mark->passed)) {
			i++;
			continue;
		}
		if (wf_gpu_poll(self))
			continue;
		wf_futex_wait(&mark->passed, 0, wf_clock_now(NULL) + interval);
		interval = interval < 1000000 ? interval * 2 : interval;
	}
}

static WF_SUSPENDS void await_suspended(struct wf_wait *wait, struct wf_gpu_part *part, uint32_t n)
{
	WF_DEBUG(n && wait->fiber);
	wait->external = true;
	wait->uninterruptible = true;
	int rc = wf_wait_sleep(wait);

	WF_CHECK(!rc);
	for (uint32_t i = 0; i < n; i++) {
		/* acquire [F3]: the firer's last touch. */
		while (!wf_load_acquire(&part[i].mark.node.fired))
			wf_cpu_relax();
	}
}

int wf_gpu_await(weft *rt, struct wf_gpu_run *run, struct wf_gpu_part *part, uint32_t n)
{
	struct wf_gpus *gpus = rt->gpus;
	struct wf_local *self = wf_local_of(rt);
	struct wf_wait wait;
	int rc = 0;

	WF_CHECK(self && (!run || (!run->inside && part == run->part)));
	wf_wait_init(&wait, self, n, WEFT_FOREVER);
	bool suspends = wait.fiber != NULL;

	WF_DEBUG(n && (!run || self->current == run->frame));

	for (uint32_t i = 0; i < n; i++) {
		struct wf_gpu_mark *mark = &part[i].mark;

		wf_init(&mark->passed, 0);
		mark->covered = false;
		mark->node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire };
		mark->node.wait = suspends ? &wait : NULL;
		wf_gpu_mark(&gpus->gpu[part[i].device], part[i].stream, mark);
	}
	if (run)
		wf_gpu_publish(run);
	if (suspends)
		await_suspended(&wait, part, n);
	else
		await_here(rt, part, n);
	if (run)
		wf_gpu_unpublish(run);
	for (uint32_t i = 0; i < n && !rc; i++)
		rc = part[i].mark.rc;
	return rc;
}

int wf_gpu_settle(struct wf_gpu *gpu, uint32_t stream, struct wf_device_event *event)
{
	struct wf_gpu_part here = { .device = gpu->index, .stream = stream, .aside = true };
	int rc;

	WF_CHECK(stream < gpu->stream_count + WF_GPU_LINES);
	if (event) {
		WF_CHECK(gpu->stream[stream].queue);
		here.mark.event = event;
		return wf_gpu_await(gpu->gpus->rt, NULL, &here, 1);
	}
	rc = wf_gpu_part_take(gpu, &here, stream);

	if (rc)
		return rc;
	rc = wf_gpu_await(gpu->gpus->rt, NULL, &here, 1);
	wf_gpu_part_give(gpu, &here);
	return rc;
}
