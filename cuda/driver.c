/*
 * driver.c: CUDA devices, by the driver library that is loaded at run time.
 *
 * Each device has its primary context, retained at the first use and made current by every call
 * that names the device, so that users' code on the runtime API finds the same one. A call leaves
 * its thread as it was: what is current there may be a program's own. While it lasts the thread
 * does not mind captures: others may be recording a stream with the driver, in its strictest mode,
 * where our questions would fail and end their recording.
 *
 * A failure that CUDA calls sticky marks the device lost; from then on nothing is asked of the
 * driver for it, not even to give things back.
 *
 * Shared: a device's `lost` is set once and read everywhere; its context and pool are fixed once it
 * is `ready` [R1]; its limit, peers and text are under its `lock`. The lists of modules and kernels
 * are under the back end's, which is held while the driver compiles. Streams, events and graphs are
 * their callers', but for the lock of a graph.
 */
#include "driver_inner.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wf_cuda.h"

#define RESERVE_MIN    ((uint64_t)512 << 20)
#define STREAMS_GOOD   4
#define UNANSWERED_MAX 100 /* guessed: 2 ms of busy polling, seconds of workers that sleep */

/* ---- Errors --------------------------------------------------------------------------------- */

/* Only a new process heals these ("leaves the process in an inconsistent state"). */
static bool is_sticky(CUresult rc)
{
	switch (rc) {
	case WF_CU_DEINITIALIZED:
	case WF_CU_ECC:
	case WF_CU_NVLINK:
	case WF_CU_CONTAINED:
	case WF_CU_ILLEGAL_ADDRESS:
	case WF_CU_LAUNCH_TIMEOUT:
	case WF_CU_CONTEXT_DESTROYED:
	case WF_CU_ASSERT:
	case WF_CU_TENSOR_MEMORY_LEAK:
	case WF_CU_MPS_TERMINATED:
	case WF_CU_EXTERNAL_DEVICE:
		return true;
	default:
		return rc >= WF_CU_HARDWARE_STACK && rc <= WF_CU_LAUNCH_FAILED;
	}
}

static int plain_status(CUresult rc)
{
	switch (rc) {
	case WF_CU_SUCCESS:
		return 0;
	case WF_CU_NOT_READY:
		return -EAGAIN;
	case WF_CU_OUT_OF_MEMORY:
		return -ENOMEM;
	case WF_CU_NOT_FOUND:
		return -ENOENT;
	case WF_CU_NOT_SUPPORTED:
	case WF_CU_NO_BINARY:
	case WF_CU_INVALID_IMAGE:
	case WF_CU_INVALID_PTX:
	case WF_CU_PTX_VERSION:
		return -ENOTSUP;
	default:
		return rc < 500 ? -EINVAL : -EIO;
	}
}

static void note(struct cuda_device *device, CUresult rc)
{
	const char *text = NULL;

	if (device->backend->cu.cuGetErrorString(rc, &text) != WF_CU_SUCCESS || !text)
		text = "unknown error";
	pthread_mutex_lock(&device->lock);
	/* relaxed: under the lock. */
	if (!wf_load_relaxed(&device->lost))
		snprintf(device->text, sizeof(device->text), "CUDA error %d: %s", (int)rc, text);
	if (is_sticky(rc))
		/* release [L1]: the text, to whoever is told that the device is lost. */
		wf_store_release(&device->lost, 1);
	pthread_mutex_unlock(&device->lock);
}

int wf_cuda_status(struct cuda_device *device, CUresult rc)
{
	if (rc == WF_CU_SUCCESS || rc == WF_CU_NOT_READY)
		return plain_status(rc);
	note(device, rc);
	return is_sticky(rc) ? WF_DEVICE_LOST : plain_status(rc);
}

/* ---- Loading -------------------------------------------------------------------------------- */

typedef CUresult get_proc_fn(const char *name, void **out, int version, uint64_t flags, int *found);

static int load(struct wf_device_backend *b, const char *path)
{
	get_proc_fn *get = NULL;

	b->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!b->library)
		return -ENODEV;
	*(void **)&get = dlsym(b->library, "cuGetProcAddress_v2");
	if (!get)
		return -ENODEV; /* a driver before 12.0 */
#define WF_CUDA_LOAD(name, parameters) \
	do { \
		int found = 0; \
		void *at = NULL; \
\
		if (get(#name, &at, WF_CUDA_VERSION, 0, &found) != WF_CU_SUCCESS || !at) \
			return -ENODEV; \
		*(void **)&b->cu.name = at; \
	} while (0);
	WF_CUDA_API(WF_CUDA_LOAD)
#undef WF_CUDA_LOAD
	return 0;
}

/* The devices that have what is used here, in the driver's order. */
static int find_devices(struct wf_device_backend *b)
{
	int count = 0;

	if (b->cu.cuInit(0) != WF_CU_SUCCESS)
		return -ENODEV; /* no card, no access, or the toolkit's stub */
	if (b->cu.cuDeviceGetCount(&count) != WF_CU_SUCCESS || count <= 0)
		return -ENODEV;
	for (int i = 0; i < count && b->count < CUDA_DEVICES_MAX; i++) {
		struct cuda_device *device = &b->device[b->count];
		int pools = 0;

		device->backend = b;
		device->limit = UINT64_MAX;
		if (b->cu.cuDeviceGet(&device->id, i) != WF_CU_SUCCESS ||
		    b->cu.cuDeviceGetAttribute(&pools, WF_CU_ATTRIBUTE_MEMORY_POOLS, device->id) !=
		            WF_CU_SUCCESS ||
		    !pools)
			continue;
		pthread_mutex_init(&device->lock, NULL);
		b->count++;
	}
	return b->count ? 0 : -ENODEV;
}

/* Of a device that was lost a doorbell may ring whenever it likes: what it looks at stays. */
static void leave_behind(struct wf_device_backend *b)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static struct wf_device_backend *all;

	WF_DEBUG(b->closed && !b->modules && !b->kernels);
	pthread_mutex_lock(&lock);
	b->left = all;
	all = b;
	pthread_mutex_unlock(&lock);
}

/* What nobody can tell to be over is left alone: the process takes it along. */
static void device_close(struct cuda_device *device)
{
	const struct wf_cuda_api *cu = &device->backend->cu;

	WF_CHECK(!device->pool || device->context);
	WF_DEBUG(!wf_cuda_is_ready(device) || device->pool);
	if (device->context && !wf_cuda_is_lost(device)) {
		if (device->pool)
			cu->cuMemPoolDestroy(device->pool);
		cu->cuDevicePrimaryCtxRelease(device->id);
	}
	pthread_mutex_destroy(&device->lock);
}

static void cuda_close(struct wf_device_backend *b)
{
	struct cuda_visit visit;
	bool lost = false;

	if (!b)
		return;
	for (uint32_t i = 0; i < b->count; i++) {
		struct cuda_device *device = &b->device[i];

		if (wf_cuda_is_ready(device) && !wf_cuda_enter(device, &visit))
			(void)wf_cuda_leave(&visit, b->cu.cuCtxSynchronize());
	}
	pthread_mutex_lock(&b->bell_lock);
	b->closed = true;
	pthread_mutex_unlock(&b->bell_lock);
	while (b->kernels) {
		struct wf_device_kernel *kernel = b->kernels;

		b->kernels = kernel->next;
		wf_free(kernel);
	}
	while (b->modules) {
		struct cuda_module *module = b->modules;

		b->modules = module->next;
		if (!wf_cuda_enter(module->device, &visit))
			(void)wf_cuda_leave(&visit, b->cu.cuModuleUnload(module->module));
		wf_free(module);
	}
	for (uint32_t i = 0; i < b->count; i++) {
		lost = lost || wf_cuda_is_lost(&b->device[i]);
		device_close(&b->device[i]);
	}
	/* The library stays: the driver has threads of its own. */
	pthread_mutex_destroy(&b->lock);
	if (lost) {
		leave_behind(b);
		return;
	}
	pthread_mutex_destroy(&b->bell_lock);
	wf_free(b);
}

static int cuda_open(const char *options, struct wf_device_backend **out)
{
	const char *path = "libcuda.so.1";

	if (!out)
		return -EINVAL;
	if (options && !strncmp(options, "library=", 8))
		path = options + 8;
	else if (options && *options)
		return -EINVAL;
	struct wf_device_backend *b = wf_calloc(1, sizeof(*b));

	if (!b)
		return -ENOMEM;
	pthread_mutex_init(&b->lock, NULL);
	pthread_mutex_init(&b->bell_lock, NULL);
	int rc = load(b, path);

	if (!rc)
		rc = find_devices(b);
	if (rc) {
		b->count = 0;
		cuda_close(b);
		return rc;
	}
	*out = b;
	return 0;
}

/* ---- Devices -------------------------------------------------------------------------------- */

/* The context of a device that is used first, made current; with its lock held. */
static CUresult retain(struct cuda_device *device)
{
	const struct wf_cuda_api *cu = &device->backend->cu;
	CUresult rc = WF_CU_SUCCESS;

	WF_CHECK(!wf_cuda_is_ready(device) || device->context);
	if (!device->context)
		rc = cu->cuDevicePrimaryCtxRetain(&device->context, device->id);
	return rc == WF_CU_SUCCESS ? cu->cuCtxSetCurrent(device->context) : rc;
}

/* All else that it has, there; with its lock held. */
static CUresult prepare(struct cuda_device *device)
{
	const struct wf_cuda_api *cu = &device->backend->cu;
	CUmemPoolProps props;
	uint64_t keep = UINT64_MAX;

	WF_CHECK(device->context);
	/* relaxed: under the lock. */
	if (wf_load_relaxed(&device->ready))
		return WF_CU_SUCCESS;
	memset(&props, 0, sizeof(props));
	props.allocType = WF_CU_ALLOCATION_PINNED;
	props.location.type = WF_CU_LOCATION_DEVICE;
	props.location.id = device->id;
	CUresult rc =
		cu->cuCtxGetStreamPriorityRange(&device->priority_low, &device->priority_high);

	if (rc == WF_CU_SUCCESS)
		rc = cu->cuDeviceGetAttribute(&device->shared_most, WF_CU_ATTRIBUTE_SHARED_MOST,
		                              device->id);
	if (rc == WF_CU_SUCCESS && !device->pool)
		rc = cu->cuMemPoolCreate(&device->pool, &props);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuMemPoolSetAttribute(device->pool, WF_CU_POOL_RELEASE_THRESHOLD, &keep);
	if (rc == WF_CU_SUCCESS)
		/* release [R1]: the context and the pool. */
		wf_store_release(&device->ready, 1);
	return rc;
}

/* The device's context, and the thread's mode. */
static CUresult arrive(struct cuda_visit *visit)
{
	struct cuda_device *device = visit->device;
	const struct wf_cuda_api *cu = &device->backend->cu;
	bool ready = wf_cuda_is_ready(device);
	int mode = WF_CU_CAPTURE_RELAXED;
	CUresult rc = WF_CU_SUCCESS;

	if (WF_UNLIKELY(!ready)) {
		visit->moved = true;
		pthread_mutex_lock(&device->lock);
		rc = retain(device);
		pthread_mutex_unlock(&device->lock);
	} else if (visit->before != device->context) {
		visit->moved = true;
		rc = cu->cuCtxSetCurrent(device->context);
	}
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuThreadExchangeStreamCaptureMode(&mode);
	visit->mode = mode;
	if (WF_UNLIKELY(!ready) && rc == WF_CU_SUCCESS) {
		pthread_mutex_lock(&device->lock);
		rc = prepare(device);
		pthread_mutex_unlock(&device->lock);
		if (rc != WF_CU_SUCCESS)
			cu->cuThreadExchangeStreamCaptureMode(&mode);
	}
	WF_DEBUG(rc != WF_CU_SUCCESS || (device->context && device->pool));
	return rc;
}

int wf_cuda_enter(struct cuda_device *device, struct cuda_visit *visit)
{
	const struct wf_cuda_api *cu = &device->backend->cu;

	WF_DEBUG(visit && cu->cuCtxGetCurrent);
	if (wf_cuda_is_lost(device))
		return WF_DEVICE_LOST;
	*visit = (struct cuda_visit){ .device = device };
	CUresult rc = cu->cuCtxGetCurrent(&visit->before);

	if (rc == WF_CU_SUCCESS)
		rc = arrive(visit);
	if (rc != WF_CU_SUCCESS && visit->moved)
		cu->cuCtxSetCurrent(visit->before);
	return wf_cuda_status(device, rc);
}

int wf_cuda_leave(struct cuda_visit *visit, CUresult rc)
{
	const struct wf_cuda_api *cu = &visit->device->backend->cu;

	cu->cuThreadExchangeStreamCaptureMode(&visit->mode);
	if (visit->moved)
		cu->cuCtxSetCurrent(visit->before);
	return wf_cuda_status(visit->device, rc);
}

static int cuda_device_count(struct wf_device_backend *backend, uint32_t *count)
{
	if (!count)
		return -EINVAL;
	*count = backend->count;
	return 0;
}

static int cuda_device_info(struct wf_device_backend *backend, uint32_t index,
                            struct wf_device_info *info)
{
	struct wf_device_info full = { .streams_max = STREAMS_GOOD };
	int engines = 1, integrated = 0;
	size_t total = 0;

	WF_CHECK(backend);
	if (index >= backend->count || !info || info->struct_size < sizeof(size_t))
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	const struct wf_cuda_api *cu = &backend->cu;
	CUresult rc = cu->cuDeviceGetName(full.name, sizeof(full.name), device->id);

	if (rc == WF_CU_SUCCESS)
		rc = cu->cuDeviceGetPCIBusId(full.pci, sizeof(full.pci), device->id);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuDeviceTotalMem(&total, device->id);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuDeviceGetAttribute(&engines, WF_CU_ATTRIBUTE_ASYNC_ENGINES, device->id);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuDeviceGetAttribute(&integrated, WF_CU_ATTRIBUTE_INTEGRATED, device->id);
	if (rc != WF_CU_SUCCESS)
		return wf_cuda_status(device, rc);
	/* As sysfs writes it. */
	for (char *c = full.pci; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	full.near = wf_topology_pci_node(wf_topology(), full.pci) + 1;
	pthread_mutex_lock(&device->lock);
	device->near = full.near;
	pthread_mutex_unlock(&device->lock);
	full.struct_size = info->struct_size;
	full.reserve_bytes = total / 20 > RESERVE_MIN ? total / 20 : RESERVE_MIN;
	if (full.reserve_bytes > total)
		full.reserve_bytes = total;
	full.memory_bytes = total - full.reserve_bytes;
	full.copy_engines = (uint32_t)engines;
	full.shares_host_memory = integrated != 0;
	memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
	return 0;
}

static int cuda_device_state(struct wf_device_backend *backend, uint32_t device)
{
	if (device >= backend->count)
		return -EINVAL;
	return wf_cuda_is_lost(&backend->device[device]) ? WF_DEVICE_LOST : 0;
}

/* It may still be at work: what it may use is given back to nobody. `why` is copied. */
static void give_up(struct cuda_device *device, const char *why)
{
	pthread_mutex_lock(&device->lock);
	/* relaxed: under the lock. */
	if (!wf_load_relaxed(&device->lost)) {
		snprintf(device->text, sizeof(device->text), "%s", why);
		/* release [L2]: before the loss is known. */
		wf_store_release(&device->backend->abandoned, 1);
		/* release [L1] */
		wf_store_release(&device->lost, 1);
	}
	pthread_mutex_unlock(&device->lock);
}

static void cuda_device_abandon(struct wf_device_backend *backend, uint32_t index)
{
	WF_CHECK(backend);
	if (index >= backend->count)
		return;
	give_up(&backend->device[index], "it was given up");
}

/*
 * What was current before the body that this thread runs. A body that leaves its thread leaves its
 * device before, so between the two calls there is no third.
 */
static _Thread_local CUcontext outside;

static int cuda_device_enter(struct wf_device_backend *backend, uint32_t index)
{
	CUcontext before = NULL;

	WF_CHECK(backend);
	if (index >= backend->count)
		return -EINVAL;
	WF_CHECK(!outside);
	struct cuda_device *device = &backend->device[index];
	struct cuda_visit visit;
	int rc = wf_cuda_enter(device, &visit);

	if (rc)
		return rc;
	before = visit.before;
	rc = wf_cuda_leave(&visit, WF_CU_SUCCESS);
	if (!rc)
		rc = wf_cuda_status(device, backend->cu.cuCtxSetCurrent(device->context));
	if (!rc)
		outside = before;
	return rc;
}

static int cuda_device_leave(struct wf_device_backend *backend, uint32_t index)
{
	CUcontext context = NULL;

	WF_CHECK(backend);
	if (index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	CUresult rc = backend->cu.cuCtxGetCurrent(&context);

	backend->cu.cuCtxSetCurrent(outside);
	outside = NULL;
	if (wf_cuda_is_lost(device) || rc != WF_CU_SUCCESS)
		return wf_cuda_is_lost(device) ? WF_DEVICE_LOST : wf_cuda_status(device, rc);
	return context == device->context ? 0 : -EPERM;
}

/* ---- Streams and events --------------------------------------------------------------------- */

static int cuda_stream_create(struct wf_device_backend *backend, uint32_t index,
                              enum wf_device_stream_kind kind, uint32_t priority,
                              struct wf_device_stream **out)
{
	WF_CHECK(backend);
	if (!out || index >= backend->count || kind > WF_DEVICE_DOWNLOAD || priority > 2)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	struct wf_device_stream *stream = wf_malloc(sizeof(*stream));
	struct cuda_visit visit;
	int rc = stream ? wf_cuda_enter(device, &visit) : -ENOMEM;

	if (rc) {
		wf_free(stream);
		return rc;
	}
	/* Lower numbers come first; 0 lies between, or is one of the ends. */
	int level = priority == 1 ? device->priority_high
		: priority == 2   ? device->priority_low
				  : 0;

	stream->device = device;
	rc = wf_cuda_leave(&visit,
	                   backend->cu.cuStreamCreateWithPriority(
				   &stream->stream, WF_CU_STREAM_NON_BLOCKING, level));
	if (rc)
		wf_free(stream);
	else
		*out = stream;
	return rc;
}

static void cuda_stream_destroy(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	struct cuda_visit visit;

	if (!stream)
		return;
	if (!wf_cuda_enter(stream->device, &visit))
		(void)wf_cuda_leave(&visit, backend->cu.cuStreamDestroy(stream->stream));
	wf_free(stream);
}

static void *cuda_stream_native(struct wf_device_backend *backend, struct wf_device_stream *stream)
{
	(void)backend;
	return stream ? stream->stream : NULL;
}

static int cuda_stream_wait(struct wf_device_backend *backend, struct wf_device_stream *stream,
                            struct wf_device_event *event)
{
	struct cuda_visit visit;
	int rc = stream && event ? wf_cuda_enter(stream->device, &visit) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!event || event->device->backend == backend);
	return rc ? rc
		  : wf_cuda_leave(&visit,
	                          backend->cu.cuStreamWaitEvent(stream->stream, event->event, 0));
}

/* A doorbell in the driver's hands. */
struct bell {
	struct wf_device_backend *backend;
	wf_device_doorbell_fn *fn;
	void *arg;
};

/* On a thread of the driver's. */
static void ring(void *arg)
{
	struct bell bell = *(struct bell *)arg;

	WF_CHECK(bell.backend && bell.fn);
	wf_free(arg);
	pthread_mutex_lock(&bell.backend->bell_lock);
	if (!bell.backend->closed)
		bell.fn(bell.arg);
	pthread_mutex_unlock(&bell.backend->bell_lock);
}

static int cuda_stream_doorbell(struct wf_device_backend *backend, struct wf_device_stream *stream,
                                wf_device_doorbell_fn *fn, void *arg)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || !fn)
		return -EINVAL;
	struct bell *bell = wf_malloc(sizeof(*bell));
	struct cuda_visit visit;
	int rc = bell ? wf_cuda_enter(stream->device, &visit) : -ENOMEM;

	if (!rc) {
		*bell = (struct bell){ backend, fn, arg };
		rc = wf_cuda_leave(&visit,
		                   backend->cu.cuLaunchHostFunc(stream->stream, ring, bell));
	}
	if (rc)
		wf_free(bell);
	return rc;
}

static int cuda_event_create(struct wf_device_backend *backend, uint32_t index,
                             struct wf_device_event **out)
{
	WF_CHECK(backend);
	if (!out || index >= backend->count)
		return -EINVAL;
	struct wf_device_event *event = wf_calloc(1, sizeof(*event));
	struct cuda_visit visit;
	int rc = event ? wf_cuda_enter(&backend->device[index], &visit) : -ENOMEM;

	if (rc) {
		wf_free(event);
		return rc;
	}
	event->device = visit.device;
	rc = wf_cuda_leave(&visit,
	                   backend->cu.cuEventCreate(&event->event, WF_CU_EVENT_DISABLE_TIMING));
	if (rc)
		wf_free(event);
	else
		*out = event;
	return rc;
}

static void cuda_event_destroy(struct wf_device_backend *backend, struct wf_device_event *event)
{
	WF_CHECK(backend);
	WF_CHECK(!event || event->device->backend == backend);
	struct cuda_visit visit;

	if (!event)
		return;
	if (!wf_cuda_enter(event->device, &visit))
		(void)wf_cuda_leave(&visit, backend->cu.cuEventDestroy(event->event));
	wf_free(event);
}

static int cuda_event_record(struct wf_device_backend *backend, struct wf_device_event *event,
                             struct wf_device_stream *stream)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (!event || !stream || event->device != stream->device)
		return -EINVAL;
	struct cuda_visit visit;
	int rc = wf_cuda_enter(stream->device, &visit);

	if (!rc)
		rc = wf_cuda_leave(&visit, backend->cu.cuEventRecord(event->event, stream->stream));
	event->recorded = event->recorded || !rc;
	event->unanswered = 0;
	return rc;
}

/*
 * What the driver answers beside "done" and "not ready" is about the question, or "error codes from
 * previous, asynchronous launches"; that the work before the event has ended it does not say, and
 * the device may go on with that. So it is asked again, until the device is given up.
 */
static int no_answer(struct wf_device_event *event)
{
	struct cuda_device *device = event->device;
	char why[sizeof(device->text)];

	WF_CHECK(event->recorded && event->unanswered < UNANSWERED_MAX);
	if (++event->unanswered < UNANSWERED_MAX)
		return -EAGAIN;
	pthread_mutex_lock(&device->lock);
	snprintf(why, sizeof(why), "it does not tell what it has done: %.150s", device->text);
	pthread_mutex_unlock(&device->lock);
	give_up(device, why);
	return WF_DEVICE_LOST;
}

static int cuda_event_query(struct wf_device_backend *backend, struct wf_device_event *event)
{
	WF_CHECK(backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (!event)
		return -EINVAL;
	if (wf_cuda_is_lost(event->device))
		return WF_DEVICE_LOST;
	if (!event->recorded)
		return 0;
	struct cuda_visit visit;
	int rc = wf_cuda_enter(event->device, &visit);

	if (!rc)
		rc = wf_cuda_leave(&visit, backend->cu.cuEventQuery(event->event));
	if (rc && rc != -EAGAIN && rc != WF_DEVICE_LOST)
		return no_answer(event);
	event->unanswered = 0;
	return rc;
}

/* ---- Questions ------------------------------------------------------------------------------ */

/* Under a capture of others the legacy stream cannot be asked: then nothing is known of it. */
static CUresult default_query(const struct wf_cuda_api *cu, uintptr_t stream)
{
	CUresult rc = cu->cuStreamQuery((CUstream)stream);

	return rc >= WF_CU_CAPTURE_UNSUPPORTED && rc <= WF_CU_CAPTURE_WRONG_THREAD ? WF_CU_SUCCESS
										   : rc;
}

static int cuda_default_idle(struct wf_device_backend *backend, uint32_t index)
{
	static const uintptr_t streams[] = { WF_CU_STREAM_LEGACY, WF_CU_STREAM_PER_THREAD };
	struct cuda_visit visit;
	int rc = index < backend->count ? wf_cuda_enter(&backend->device[index], &visit) : -EINVAL;

	WF_CHECK(backend);
	if (rc)
		return rc;
	CUresult result = WF_CU_SUCCESS;

	for (int i = 0; i < 2 && result == WF_CU_SUCCESS; i++)
		result = default_query(&backend->cu, streams[i]);
	rc = wf_cuda_leave(&visit, result);
	return rc == -EAGAIN ? -EBUSY : rc;
}

static const char *cuda_error_text(struct wf_device_backend *backend, uint32_t device)
{
	return device < backend->count ? backend->device[device].text : "there is no such device";
}

static const struct wf_device_ops cuda_ops = {
	.struct_size = sizeof(cuda_ops),
	.name = "cuda",
	.open = cuda_open,
	.close = cuda_close,
	.device_count = cuda_device_count,
	.device_info = cuda_device_info,
	.device_state = cuda_device_state,
	.device_enter = cuda_device_enter,
	.device_leave = cuda_device_leave,
	.stream_create = cuda_stream_create,
	.stream_destroy = cuda_stream_destroy,
	.stream_native = cuda_stream_native,
	.stream_wait = cuda_stream_wait,
	.stream_doorbell = cuda_stream_doorbell,
	.event_create = cuda_event_create,
	.event_destroy = cuda_event_destroy,
	.event_record = cuda_event_record,
	.event_query = cuda_event_query,
	.pool_limit = wf_cuda_pool_limit,
	.pool_trim = wf_cuda_pool_trim,
	.memory_alloc = wf_cuda_memory_alloc,
	.memory_free = wf_cuda_memory_free,
	.pinned_alloc = wf_cuda_pinned_alloc,
	.pinned_free = wf_cuda_pinned_free,
	.host_register = wf_cuda_host_register,
	.host_unregister = wf_cuda_host_unregister,
	.copy_to_device = wf_cuda_copy_to_device,
	.copy_to_host = wf_cuda_copy_to_host,
	.copy_on_device = wf_cuda_copy_on_device,
	.fill = wf_cuda_fill,
	.kernel_get = wf_cuda_kernel_get,
	.launch = wf_cuda_launch,
	.graph_create = wf_cuda_graph_create,
	.graph_destroy = wf_cuda_graph_destroy,
	.graph_launch = wf_cuda_graph_launch,
	.error_text = cuda_error_text,
	.pinned_alloc_near = wf_cuda_pinned_alloc_near,
	.copy_peer = wf_cuda_copy_peer,
	.graph_record = wf_cuda_graph_record,
	.default_idle = cuda_default_idle,
	.device_abandon = cuda_device_abandon,
};

const struct wf_device_ops *wf_device_cuda(void)
{
	return &cuda_ops;
}
