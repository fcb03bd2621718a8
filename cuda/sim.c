/*
 * sim.c: the table of the simulated devices.
 *
 * Shared: everything of a back end is under its one lock, but for the bytes of device memory and
 * of copies, which the stream's order protects. Twins of kernels and doorbells run without it.
 */
#include "sim_device.h"

#include <errno.h>
#include <string.h>

#include "sim_inner.h"
#include "wf_cuda.h"

/* ---- Devices -------------------------------------------------------------------------------- */

static int sim_device_count(struct wf_device_backend *backend, uint32_t *count)
{
	if (!count)
		return -EINVAL;
	*count = backend->devices;
	return 0;
}

static int sim_device_info(struct wf_device_backend *backend, uint32_t device,
                           struct wf_device_info *info)
{
	struct wf_device_info full = { .name = "simulated device",
		                       .memory_bytes = backend->memory_bytes,
		                       .copy_engines = 2,
		                       .streams_max = backend->streams_max };

	WF_CHECK(backend);
	if (device >= backend->devices || !info || info->struct_size < sizeof(size_t))
		return -EINVAL;
	full.near = backend->device[device].near;
	full.struct_size = info->struct_size;
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}

static int sim_device_state(struct wf_device_backend *backend, uint32_t device)
{
	WF_CHECK(backend);
	if (device >= backend->devices)
		return -EINVAL;
	sim_lock(backend);
	int rc = backend->device[device].lost;

	sim_unlock(backend);
	return rc;
}

/* Of the thread, as CUDA's current context is. Read only through the two calls below. */
static _Thread_local int current = -1;

WF_NOINLINE int wf_sim_current(void)
{
	return current;
}

WF_NOINLINE void wf_sim_set_current(int device)
{
	current = device;
}

static int sim_device_enter(struct wf_device_backend *backend, uint32_t device)
{
	int rc = sim_device_state(backend, device);

	WF_CHECK(backend);
	if (!rc)
		wf_sim_set_current((int)device);
	return rc;
}

static int sim_device_leave(struct wf_device_backend *backend, uint32_t device)
{
	bool same = wf_sim_current() == (int)device;

	WF_CHECK(backend);
	wf_sim_set_current(-1);
	if (!same)
		return -EPERM;
	return sim_device_state(backend, device);
}

static int sim_default_idle(struct wf_device_backend *backend, uint32_t device)
{
	WF_CHECK(backend);
	if (device >= backend->devices)
		return -EINVAL;
	sim_lock(backend);
	int rc = backend->device[device].lost   ? WF_DEVICE_LOST
		: backend->device[device].stray ? -EBUSY
						: 0;

	sim_unlock(backend);
	return rc;
}

static void sim_device_abandon(struct wf_device_backend *backend, uint32_t device)
{
	WF_CHECK(backend);
	if (device >= backend->devices)
		return;
	sim_lock(backend);
	wf_sim_give_up(backend, &backend->device[device], "given up");
	sim_changed(backend);
	sim_unlock(backend);
}

/* ---- Streams and events --------------------------------------------------------------------- */

static int sim_stream_create(struct wf_device_backend *backend, uint32_t device,
                             enum wf_device_stream_kind kind, uint32_t priority,
                             struct wf_device_stream **out)
{
	WF_CHECK(backend);
	if (!out || device >= backend->devices || kind > WF_DEVICE_DOWNLOAD || priority > 2)
		return -EINVAL;
	sim_lock(backend);
	int rc = wf_sim_call(backend, &backend->device[device]);
	struct wf_device_stream *stream = rc ? NULL : wf_calloc(1, sizeof(*stream));

	if (stream) {
		stream->device = &backend->device[device];
		stream->kind = kind;
		stream->tail = &stream->head;
		stream->next = backend->streams;
		backend->streams = stream;
		backend->stats.streams++;
		*out = stream;
	}
	sim_unlock(backend);
	return rc ? rc : stream ? 0 : -ENOMEM;
}

static void sim_stream_destroy(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream)
		return;
	sim_lock(backend);
	stream->dying = true;
	wf_sim_stream_reap(stream);
	sim_unlock(backend);
}

static void *sim_stream_native(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	(void)backend;
	return stream;
}

static int sim_stream_wait(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           struct wf_device_event *event)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (!stream || !event)
		return -EINVAL;
	struct sim_work *work = wf_sim_work_create(SIM_WAIT, 0);

	sim_lock(backend);
	if (work) {
		work->event = event;
		work->serial = event->issued;
		event->users++;
	}
	int rc = wf_sim_submit_checked(backend, stream, work);

	sim_unlock(backend);
	return rc;
}

static int sim_stream_doorbell(struct wf_device_backend *backend, struct wf_device_stream *stream,
                               wf_device_doorbell_fn *fn, void *arg)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || !fn)
		return -EINVAL;
	struct sim_work *work = wf_sim_work_create(SIM_DOORBELL, 0);

	if (work) {
		work->fn = fn;
		work->arg = arg;
	}
	sim_lock(backend);
	int rc = wf_sim_submit_checked(backend, stream, work);

	sim_unlock(backend);
	return rc;
}

static int sim_event_create(struct wf_device_backend *backend, uint32_t device,
                            struct wf_device_event **out)
{
	WF_CHECK(backend);
	if (!out || device >= backend->devices)
		return -EINVAL;
	sim_lock(backend);
	int rc = wf_sim_call(backend, &backend->device[device]);

	if (!rc)
		rc = wf_sim_call_from(backend, WF_SIM_FAULT_EVENT);
	struct wf_device_event *event = rc ? NULL : wf_calloc(1, sizeof(*event));

	if (event) {
		event->device = &backend->device[device];
		event->users = 1;
		backend->stats.events++;
		*out = event;
	}
	sim_unlock(backend);
	return rc ? rc : event ? 0 : -ENOMEM;
}

static void sim_event_destroy(struct wf_device_backend *backend, struct wf_device_event *event)
{
	WF_CHECK(backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (!event)
		return;
	sim_lock(backend);
	backend->stats.events--;
	wf_sim_event_put(event);
	sim_unlock(backend);
}

static int sim_event_record(struct wf_device_backend *backend, struct wf_device_event *event,
                            struct wf_device_stream *stream)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (!event || !stream || event->device != stream->device)
		return -EINVAL;
	struct sim_work *work = wf_sim_work_create(SIM_RECORD, 0);

	sim_lock(backend);
	int rc = work ? wf_sim_call(backend, stream->device) : -ENOMEM;

	if (!rc) {
		work->event = event;
		work->serial = ++event->issued;
		event->users++;
		wf_sim_submit(stream, work);
	} else if (work) {
		wf_sim_work_destroy(work);
	}
	sim_unlock(backend);
	return rc;
}

static int sim_event_query(struct wf_device_backend *backend, struct wf_device_event *event)
{
	int rc = 0;

	WF_CHECK(backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (!event)
		return -EINVAL;
	sim_lock(backend);
	if (event->device->lost)
		rc = WF_DEVICE_LOST;
	else if (event->passed < event->issued ||
	         (backend->now && event->end_ns > backend->now(backend->now_arg)))
		rc = -EAGAIN;
	else
		rc = wf_sim_call_from(backend, WF_SIM_FAULT_QUERY);
	if (!rc && event->end_ns > backend->seen_ns)
		backend->seen_ns = event->end_ns;
	sim_unlock(backend);
	return rc;
}

/* ---- Memory --------------------------------------------------------------------------------- */

static int sim_pool_limit(struct wf_device_backend *backend, uint32_t device, uint64_t bytes)
{
	WF_CHECK(backend);
	if (device >= backend->devices)
		return -EINVAL;
	sim_lock(backend);
	struct wf_sim_memory *memory = &backend->device[device].memory;
	int rc = wf_sim_call(backend, &backend->device[device]);

	if (!rc)
		memory->limit = bytes < memory->bytes ? bytes : memory->bytes;
	sim_unlock(backend);
	return rc;
}

static int sim_pool_trim(struct wf_device_backend *backend, uint32_t device)
{
	WF_CHECK(backend);
	if (device >= backend->devices)
		return -EINVAL;
	sim_lock(backend);
	int rc = wf_sim_call(backend, &backend->device[device]);

	sim_unlock(backend);
	return rc;
}

static int sim_memory_alloc(struct wf_device_backend *backend, struct wf_device_stream *stream,
                            uint64_t bytes, uint64_t *out)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || !out || !bytes)
		return -EINVAL;
	sim_lock(backend);
	int rc = wf_sim_call(backend, stream->device);

	if (!rc)
		rc = wf_sim_memory_alloc(&stream->device->memory, bytes, out);
	sim_unlock(backend);
	return rc;
}

/* A thread is in the middle of a piece of its work. */
static bool is_working(const struct sim_device *device)
{
	const struct wf_device_stream *stream = device->backend->streams;

	/* Another device's copy may read here. */
	while (stream &&
	       !(stream->busy && (stream->device == device || stream->head->peer == device)))
		stream = stream->next;
	return stream != NULL;
}

static int sim_memory_free(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t at)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!at)
		return 0;
	if (!stream)
		return -EINVAL;
	struct sim_work *work = wf_sim_work_create(SIM_FREE, 0);

	if (work)
		work->to = at;
	sim_lock(backend);
	int rc = 0;

	/* Frees are taken also by a lost device, and never fail by a planted fault. */
	if (!wf_sim_memory_has(&stream->device->memory, at))
		rc = -EINVAL;
	else if (!work)
		rc = -ENOMEM;
	else if (stream->device->lost && is_working(stream->device))
		rc = 0; /* what is in the middle may use it: it goes with the device */
	else if (stream->device->lost)
		(void)wf_sim_memory_free(&stream->device->memory, at);
	else
		wf_sim_submit(stream, work), work = NULL;
	sim_unlock(backend);
	if (work)
		wf_sim_work_destroy(work);
	return rc;
}

static int pin(struct wf_device_backend *backend, void *at, uint64_t bytes, bool owned)
{
	struct sim_pinned *pinned = wf_malloc(sizeof(*pinned));

	WF_CHECK(backend);
	if (!pinned)
		return -ENOMEM;
	sim_lock(backend);
	int rc = backend->refuse && !owned ? -EPERM : wf_sim_call(backend, NULL);

	if (!rc && owned)
		rc = wf_sim_call_from(backend, WF_SIM_FAULT_PINNED);
	if (!rc) {
		*pinned = (struct sim_pinned){ backend->pinned, at, bytes, owned };
		backend->pinned = pinned;
		pinned = NULL;
	}
	sim_unlock(backend);
	wf_free(pinned);
	return rc;
}

/* A copy that a thread is in the middle of is waited for, as a driver does; others never come. */
static void await_copies(struct wf_device_backend *backend, const struct sim_pinned *pinned)
{
	uint64_t begin = (uint64_t)(uintptr_t)pinned->at, end = begin + pinned->bytes;
	struct wf_device_stream *stream = backend->streams;

	while (stream) {
		const struct sim_work *work = stream->busy ? stream->head : NULL;
		uint64_t host = work && work->kind == SIM_COPY_IN ? work->from
			: work && work->kind == SIM_COPY_OUT      ? work->to
								  : 0;

		if (host && host < end && host + work->bytes > begin) {
			sim_await_change(backend);
			/* Streams may have come and gone. */
			stream = backend->streams;
		} else {
			stream = stream->next;
		}
	}
}

/* -EINVAL: it was not pinned so. */
static int unpin(struct wf_device_backend *backend, const void *at, bool owned)
{
	struct sim_pinned **link, *found;

	WF_CHECK(backend);
	sim_lock(backend);
	for (link = &backend->pinned; (found = *link); link = &found->next) {
		if (found->at == at && found->owned == owned)
			break;
	}
	if (found) {
		*link = found->next;
		await_copies(backend, found);
	}
	sim_unlock(backend);
	wf_free(found);
	return found ? 0 : -EINVAL;
}

static int sim_pinned_alloc(struct wf_device_backend *backend, uint64_t bytes, void **out)
{
	WF_CHECK(backend);
	if (!out || !bytes)
		return -EINVAL;
	void *memory = wf_aligned_alloc(4096, bytes);
	int rc = memory ? pin(backend, memory, bytes, true) : -ENOMEM;

	if (rc)
		wf_free(memory);
	else
		*out = memory;
	return rc;
}

/* The simulation's memory is where the system likes it; that it was asked for so is counted. */
static int sim_pinned_alloc_near(struct wf_device_backend *backend, uint32_t device, uint64_t bytes,
                                 void **out)
{
	WF_CHECK(backend);
	if (device >= backend->devices)
		return -EINVAL;
	int rc = sim_pinned_alloc(backend, bytes, out);

	sim_lock(backend);
	backend->stats.pinned_near[device] += !rc;
	sim_unlock(backend);
	return rc;
}

static void sim_pinned_free(struct wf_device_backend *backend, void *memory)
{
	if (memory && unpin(backend, memory, true) == 0)
		wf_free(memory);
}

static int sim_host_register(struct wf_device_backend *backend, void *memory, uint64_t bytes)
{
	return memory && bytes ? pin(backend, memory, bytes, false) : -EINVAL;
}

static int sim_host_unregister(struct wf_device_backend *backend, void *memory)
{
	return unpin(backend, memory, false);
}

/* ---- Copies --------------------------------------------------------------------------------- */

static bool is_pinned(const struct wf_device_backend *backend, uint64_t at, uint64_t bytes)
{
	for (const struct sim_pinned *p = backend->pinned; p; p = p->next) {
		uint64_t begin = (uint64_t)(uintptr_t)p->at;

		if (at >= begin && at - begin < p->bytes && bytes <= p->bytes - (at - begin))
			return true;
	}
	return false;
}

/* A copy of pageable memory returns when it is done, or its device or stream is. */
static void wait_for(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	backend->stats.pageable++;
	while ((stream->head || stream->busy) && !stream->hung && !stream->device->lost) {
		if (backend->started)
			sim_await_change(backend);
		else if (!wf_sim_perform_one(backend))
			break;
	}
}

static int copy(struct wf_device_backend *backend, struct wf_device_stream *stream,
                enum sim_work_kind kind, uint64_t to, uint64_t from, uint64_t bytes)
{
	uint64_t host = kind == SIM_COPY_IN ? from : to;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	if (!bytes)
		return 0;
	struct sim_work *work = wf_sim_work_create(kind, 0);

	if (work) {
		work->to = to;
		work->from = from;
		work->bytes = bytes;
	}
	sim_lock(backend);
	int rc = wf_sim_submit_checked(backend, stream, work);

	if (!rc && kind != SIM_COPY_ON && !is_pinned(backend, host, bytes))
		wait_for(backend, stream);
	sim_unlock(backend);
	return rc;
}

static int sim_copy_to_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                              uint64_t to, const void *from, uint64_t bytes)
{
	return copy(backend, stream, SIM_COPY_IN, to, (uint64_t)(uintptr_t)from, bytes);
}

static int sim_copy_to_host(struct wf_device_backend *backend, struct wf_device_stream *stream,
                            void *to, uint64_t from, uint64_t bytes)
{
	return copy(backend, stream, SIM_COPY_OUT, (uint64_t)(uintptr_t)to, from, bytes);
}

static int sim_copy_on_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                              uint64_t to, uint64_t from, uint64_t bytes)
{
	return copy(backend, stream, SIM_COPY_ON, to, from, bytes);
}

static int sim_copy_peer(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         uint64_t to, uint32_t from_device, uint64_t from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || from_device >= backend->devices || (bytes && (!to || !from)))
		return -EINVAL;
	if (!backend->peer_mbs)
		return -ENOTSUP;
	struct sim_device *peer = &backend->device[from_device];

	if (!bytes)
		return 0;
	struct sim_work *work = wf_sim_work_create(SIM_COPY_PEER, 0);

	if (work) {
		work->to = to;
		work->from = from;
		work->bytes = bytes;
		work->peer = peer;
	}
	sim_lock(backend);
	int rc = peer->lost ? -EIO : wf_sim_call_from(backend, WF_SIM_FAULT_PEER);

	if (!rc)
		rc = wf_sim_submit_checked(backend, stream, work);
	else if (work)
		wf_sim_work_destroy(work);
	backend->stats.peer_copies += !rc;
	sim_unlock(backend);
	return rc;
}

static int sim_fill(struct wf_device_backend *backend, struct wf_device_stream *stream, uint64_t to,
                    uint8_t byte, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && !to))
		return -EINVAL;
	if (!bytes)
		return 0;
	struct sim_work *work = wf_sim_work_create(SIM_FILL, 0);

	if (work) {
		work->to = to;
		work->bytes = bytes;
		work->byte = byte;
	}
	sim_lock(backend);
	int rc = wf_sim_submit_checked(backend, stream, work);

	sim_unlock(backend);
	return rc;
}

/* ---- The table ------------------------------------------------------------------------------- */

static const char *sim_error_text(struct wf_device_backend *backend, uint32_t device)
{
	return device < backend->devices ? backend->device[device].text : "there is no such device";
}

static const struct wf_device_ops sim_ops = {
	.struct_size = sizeof(sim_ops),
	.name = "sim",
	.open = wf_sim_open,
	.close = wf_sim_close,
	.device_count = sim_device_count,
	.device_info = sim_device_info,
	.device_state = sim_device_state,
	.device_enter = sim_device_enter,
	.device_leave = sim_device_leave,
	.stream_create = sim_stream_create,
	.stream_destroy = sim_stream_destroy,
	.stream_native = sim_stream_native,
	.stream_wait = sim_stream_wait,
	.stream_doorbell = sim_stream_doorbell,
	.event_create = sim_event_create,
	.event_destroy = sim_event_destroy,
	.event_record = sim_event_record,
	.event_query = sim_event_query,
	.pool_limit = sim_pool_limit,
	.pool_trim = sim_pool_trim,
	.memory_alloc = sim_memory_alloc,
	.memory_free = sim_memory_free,
	.pinned_alloc = sim_pinned_alloc,
	.pinned_free = sim_pinned_free,
	.host_register = sim_host_register,
	.host_unregister = sim_host_unregister,
	.copy_to_device = sim_copy_to_device,
	.copy_to_host = sim_copy_to_host,
	.copy_on_device = sim_copy_on_device,
	.fill = sim_fill,
	.kernel_get = wf_sim_kernel_get,
	.launch = wf_sim_launch,
	.graph_create = wf_sim_graph_create,
	.graph_destroy = wf_sim_graph_destroy,
	.graph_launch = wf_sim_graph_launch,
	.error_text = sim_error_text,
	.memory_host = wf_sim_pointer,
	.pinned_alloc_near = sim_pinned_alloc_near,
	.copy_peer = sim_copy_peer,
	.graph_record = wf_sim_graph_record,
	.default_idle = sim_default_idle,
	.device_abandon = sim_device_abandon,
};

const struct wf_device_ops *wf_device_sim(void)
{
	return &sim_ops;
}
