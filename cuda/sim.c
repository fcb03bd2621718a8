/*
 * sim.c: the table of the simulated devices.
 *
 * Shared: everything of a back end is under its one lock, but for the bytes of device memory and
 * of copies, which the stream's order protects. Twins of kernels and doorbells run without it.
 */
#include "sim_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim_inner.h"
#include "wf_cuda.h"

#define MIB ((uint64_t)1 << 20)

/* ---- Options -------------------------------------------------------------------------------- */

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
	char *end;
	uint64_t shift = 0;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);

	if (*end == 'K' || *end == 'M' || *end == 'G')
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30, end++;
	if (errno || *end || value > UINT64_MAX >> 31 || value << shift < min ||
	    value << shift > max)
		return false;
	*out = value << shift;
	return true;
}

struct sim_options {
	uint64_t devices, memory, threads, streams, seed, launch_ns, copy_mbs, thread_ps;
};

static bool read_word(struct sim_options *o, char *word)
{
	const struct {
		const char *name;
		uint64_t min, max, *out;
	} words[] = {
		{ "devices", 0, SIM_DEVICES_MAX, &o->devices },
		{ "memory", 4096, (uint64_t)16 << 30, &o->memory },
		{ "threads", 0, SIM_THREADS_MAX, &o->threads },
		{ "streams", 1, 1024, &o->streams },
		{ "seed", 0, UINT32_MAX, &o->seed },
		{ "launch_ns", 0, 1000000000, &o->launch_ns },
		{ "copy_mbs", 1, 100000000, &o->copy_mbs },
		{ "thread_ps", 0, 1000000000, &o->thread_ps },
	};
	char *value = strchr(word, '=');

	if (!value)
		return number(word, 0, SIM_DEVICES_MAX, &o->devices);
	*value++ = 0;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!strcmp(word, words[i].name))
			return number(value, words[i].min, words[i].max, words[i].out);
	}
	return false;
}

static int read_options(struct sim_options *o, const char *text)
{
	char copy[256], *rest = copy, *word;

	*o = (struct sim_options){ .devices = 1,
		                   .memory = 256 * MIB,
		                   .threads = 2,
		                   .streams = 4,
		                   .seed = 1,
		                   .launch_ns = 5000,
		                   .copy_mbs = 12000,
		                   .thread_ps = 10 };
	if (!text || !*text)
		return 0;
	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	while ((word = strsep(&rest, ","))) {
		if (!read_word(o, word))
			return -EINVAL;
	}
	return 0;
}

/* ---- Back end ------------------------------------------------------------------------------- */

static void backend_free(struct wf_device_backend *b)
{
	for (uint32_t i = 0; i < b->devices; i++)
		wf_sim_memory_fini(&b->device[i].memory);
	while (b->kernels) {
		struct wf_device_kernel *kernel = b->kernels;

		b->kernels = kernel->next;
		wf_free(kernel);
	}
	while (b->pinned) {
		struct sim_pinned *pinned = b->pinned;

		b->pinned = pinned->next;
		if (pinned->owned)
			wf_free(pinned->at);
		wf_free(pinned);
	}
	pthread_cond_destroy(&b->changed);
	pthread_mutex_destroy(&b->lock);
	wf_free(b);
}

/* Wait for all but what hangs, which is dropped; then the threads end. */
static void drain(struct wf_device_backend *b)
{
	sim_lock(b);
	for (;;) {
		if (!b->started && wf_sim_perform_one(b))
			continue;
		bool waits = false;

		for (struct wf_device_stream *s = b->streams; s; s = s->next) {
			if (s->hung && !s->device->lost) {
				s->device->lost = WF_DEVICE_LOST;
				strcpy(s->device->text, "closed while work hung");
			}
			s->hung = false;
			waits = waits || s->head || s->busy;
		}
		if (!waits)
			break;
		pthread_cond_broadcast(&b->changed);
		if (b->started)
			pthread_cond_wait(&b->changed, &b->lock);
	}
	b->stopping = true;
	pthread_cond_broadcast(&b->changed);
	sim_unlock(b);
}

static void sim_close(struct wf_device_backend *backend)
{
	if (!backend)
		return;
	drain(backend);
	for (uint32_t i = 0; i < backend->started; i++)
		wf_thread_join(&backend->thread[i]);
	while (backend->streams) {
		backend->streams->dying = true;
		wf_sim_stream_reap(backend->streams);
	}
	backend_free(backend);
}

static int sim_open(const char *options, struct wf_device_backend **out)
{
	struct sim_options o;
	int rc = out ? read_options(&o, options) : -EINVAL;
	struct wf_device_backend *b = rc ? NULL : wf_calloc(1, sizeof(*b));

	if (!b)
		return rc ? rc : -ENOMEM;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->changed, NULL);
	wf_random_init(&b->random, o.seed);
	b->threads = (uint32_t)o.threads;
	b->streams_max = (uint32_t)o.streams;
	b->launch_ns = (int64_t)o.launch_ns;
	b->copy_mbs = (int64_t)o.copy_mbs;
	b->thread_ps = (int64_t)o.thread_ps;
	b->memory_bytes = o.memory;
	for (uint32_t i = 0; i < o.devices && !rc; i++) {
		b->device[i].backend = b;
		rc = wf_sim_memory_init(&b->device[i].memory, o.memory);
		b->devices += !rc;
	}
	while (!rc && b->started < b->threads) {
		rc = wf_thread_start(&b->thread[b->started], "weft-sim", wf_sim_thread_main, b);
		b->started += !rc;
	}
	if (rc) {
		sim_close(b);
		return rc;
	}
	*out = b;
	return 0;
}

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

	while (stream && !(stream->device == device && stream->busy))
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
	/* As a driver's: it makes the context current and leaves it so. */
	wf_sim_set_current((int)(stream->device - backend->device));
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
	if (found)
		*link = found->next;
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
			pthread_cond_wait(&backend->changed, &backend->lock);
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
	.open = sim_open,
	.close = sim_close,
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
};

const struct wf_device_ops *wf_device_sim(void)
{
	return &sim_ops;
}
