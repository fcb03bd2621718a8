/*
 * driver.c: CUDA devices, by the driver library that is loaded at run time.
 *
 * Each device has its primary context, retained at the first use and made current by every call
 * that names the device, so that users' code on the runtime API finds the same one. A failure
 * that CUDA calls sticky marks the device lost; from then on nothing is asked of the driver for it
 * but what gives things back. Memory comes from a pool of our own per device, whose limit is kept
 * here: the driver's is fixed when a pool is made.
 *
 * Shared: a device's `lost` is set once and read everywhere; its context, pool and limit, the lists
 * of modules and kernels are under `lock`. Streams, events and graphs are their callers'.
 */
#include "driver_inner.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "wf_cuda.h"

#define RESERVE_MIN  ((uint64_t)512 << 20)
#define STREAMS_GOOD 4

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
	pthread_mutex_lock(&device->backend->lock);
	/* relaxed: under the lock. */
	if (!wf_load_relaxed(&device->lost))
		snprintf(device->text, sizeof(device->text), "CUDA error %d: %s", (int)rc, text);
	if (is_sticky(rc))
		/* release [L1]: the text, to whoever is told that the device is lost. */
		wf_store_release(&device->lost, 1);
	pthread_mutex_unlock(&device->backend->lock);
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
		if (b->cu.cuDeviceGet(&device->id, i) == WF_CU_SUCCESS &&
		    b->cu.cuDeviceGetAttribute(&pools, WF_CU_ATTRIBUTE_MEMORY_POOLS, device->id) ==
		            WF_CU_SUCCESS &&
		    pools)
			b->count++;
	}
	return b->count ? 0 : -ENODEV;
}

static void cuda_close(struct wf_device_backend *b)
{
	if (!b)
		return;
	for (uint32_t i = 0; i < b->count; i++) {
		struct cuda_device *device = &b->device[i];

		if (!device->context || wf_cuda_is_lost(device))
			continue;
		b->cu.cuCtxSetCurrent(device->context);
		b->cu.cuCtxSynchronize();
	}
	while (b->kernels) {
		struct wf_device_kernel *kernel = b->kernels;

		b->kernels = kernel->next;
		wf_free(kernel);
	}
	while (b->modules) {
		struct cuda_module *module = b->modules;

		b->modules = module->next;
		if (!wf_cuda_is_lost(module->device)) {
			b->cu.cuCtxSetCurrent(module->device->context);
			b->cu.cuModuleUnload(module->module);
		}
		wf_free(module);
	}
	for (uint32_t i = 0; i < b->count; i++) {
		struct cuda_device *device = &b->device[i];

		if (device->pool)
			b->cu.cuMemPoolDestroy(device->pool);
		if (device->context)
			b->cu.cuDevicePrimaryCtxRelease(device->id);
	}
	if (b->count)
		b->cu.cuCtxSetCurrent(NULL);
	/* The library stays: the driver has threads of its own. */
	pthread_mutex_destroy(&b->lock);
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

/* The first use of a device; with the lock held. */
static CUresult prepare(struct cuda_device *device)
{
	const struct wf_cuda_api *cu = &device->backend->cu;
	CUmemPoolProps props;
	uint64_t keep = UINT64_MAX;
	CUresult rc;

	if (device->pool)
		return cu->cuCtxSetCurrent(device->context);
	memset(&props, 0, sizeof(props));
	props.allocType = WF_CU_ALLOCATION_PINNED;
	props.location.type = WF_CU_LOCATION_DEVICE;
	props.location.id = device->id;
	rc = device->context ? WF_CU_SUCCESS
			     : cu->cuDevicePrimaryCtxRetain(&device->context, device->id);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuCtxSetCurrent(device->context);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuCtxGetStreamPriorityRange(&device->priority_low, &device->priority_high);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuMemPoolCreate(&device->pool, &props);
	if (rc == WF_CU_SUCCESS)
		rc = cu->cuMemPoolSetAttribute(device->pool, WF_CU_POOL_RELEASE_THRESHOLD, &keep);
	return rc;
}

int wf_cuda_enter(struct cuda_device *device)
{
	if (wf_cuda_is_lost(device))
		return WF_DEVICE_LOST;
	pthread_mutex_lock(&device->backend->lock);
	CUresult rc = prepare(device);

	pthread_mutex_unlock(&device->backend->lock);
	return wf_cuda_status(device, rc);
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
	pthread_mutex_lock(&backend->lock);
	device->near = full.near;
	pthread_mutex_unlock(&backend->lock);
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

static int cuda_device_enter(struct wf_device_backend *backend, uint32_t device)
{
	return device < backend->count ? wf_cuda_enter(&backend->device[device]) : -EINVAL;
}

static int cuda_device_leave(struct wf_device_backend *backend, uint32_t index)
{
	CUcontext context = NULL;

	WF_CHECK(backend);
	if (index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	CUresult rc = backend->cu.cuCtxGetCurrent(&context);

	if (wf_cuda_is_lost(device) || rc != WF_CU_SUCCESS)
		return wf_cuda_is_lost(device) ? WF_DEVICE_LOST : wf_cuda_status(device, rc);
	backend->cu.cuCtxSetCurrent(NULL);
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
	int rc = wf_cuda_enter(device);
	struct wf_device_stream *stream = rc ? NULL : wf_malloc(sizeof(*stream));

	if (!stream)
		return rc ? rc : -ENOMEM;
	/* Lower numbers come first; 0 lies between, or is one of the ends. */
	int level = priority == 1 ? device->priority_high
		: priority == 2   ? device->priority_low
				  : 0;

	stream->device = device;
	rc = wf_cuda_status(device,
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
	if (!stream)
		return;
	if (wf_cuda_enter(stream->device) == 0)
		backend->cu.cuStreamDestroy(stream->stream);
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
	int rc = stream && event ? wf_cuda_enter(stream->device) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!event || event->device->backend == backend);
	if (rc)
		return rc;
	return wf_cuda_status(stream->device,
	                      backend->cu.cuStreamWaitEvent(stream->stream, event->event, 0));
}

static int cuda_stream_doorbell(struct wf_device_backend *backend, struct wf_device_stream *stream,
                                wf_device_doorbell_fn *fn, void *arg)
{
	int rc = stream && fn ? wf_cuda_enter(stream->device) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	return rc ? rc
		  : wf_cuda_status(stream->device,
	                           backend->cu.cuLaunchHostFunc(stream->stream, fn, arg));
}

static int cuda_event_create(struct wf_device_backend *backend, uint32_t index,
                             struct wf_device_event **out)
{
	WF_CHECK(backend);
	if (!out || index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	int rc = wf_cuda_enter(device);
	struct wf_device_event *event = rc ? NULL : wf_calloc(1, sizeof(*event));

	if (!event)
		return rc ? rc : -ENOMEM;
	event->device = device;
	rc = wf_cuda_status(device,
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
	if (!event)
		return;
	if (wf_cuda_enter(event->device) == 0)
		backend->cu.cuEventDestroy(event->event);
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
	int rc = wf_cuda_enter(stream->device);

	if (!rc)
		rc = wf_cuda_status(stream->device,
		                    backend->cu.cuEventRecord(event->event, stream->stream));
	event->recorded = event->recorded || !rc;
	return rc;
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
	int rc = wf_cuda_enter(event->device);

	return rc ? rc : wf_cuda_status(event->device, backend->cu.cuEventQuery(event->event));
}

/* ---- Memory --------------------------------------------------------------------------------- */

static int cuda_pool_limit(struct wf_device_backend *backend, uint32_t index, uint64_t bytes)
{
	WF_CHECK(backend);
	if (index >= backend->count)
		return -EINVAL;
	pthread_mutex_lock(&backend->lock);
	backend->device[index].limit = bytes;
	pthread_mutex_unlock(&backend->lock);
	return cuda_device_state(backend, index);
}

static int cuda_pool_trim(struct wf_device_backend *backend, uint32_t index)
{
	int rc = index < backend->count ? wf_cuda_enter(&backend->device[index]) : -EINVAL;

	WF_CHECK(backend);
	if (rc)
		return rc;
	return wf_cuda_status(&backend->device[index],
	                      backend->cu.cuMemPoolTrimTo(backend->device[index].pool, 0));
}

static int cuda_memory_alloc(struct wf_device_backend *backend, struct wf_device_stream *stream,
                             uint64_t bytes, uint64_t *address)
{
	int rc = stream && address && bytes ? wf_cuda_enter(stream->device) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (rc)
		return rc;
	struct cuda_device *device = stream->device;
	CUdeviceptr at = 0;
	uint64_t used = 0;

	/* Looked at and taken under the lock: two callers never pass the limit together. */
	pthread_mutex_lock(&backend->lock);
	CUresult result =
		backend->cu.cuMemPoolGetAttribute(device->pool, WF_CU_POOL_USED_CURRENT, &used);

	if (result == WF_CU_SUCCESS && (bytes > device->limit || used > device->limit - bytes))
		rc = -ENOMEM;
	else if (result == WF_CU_SUCCESS)
		result = backend->cu.cuMemAllocFromPoolAsync(&at, bytes, device->pool,
		                                             stream->stream);
	pthread_mutex_unlock(&backend->lock);
	if (!rc)
		rc = wf_cuda_status(device, result);
	if (!rc)
		*address = at;
	return rc;
}

static int cuda_memory_free(struct wf_device_backend *backend, struct wf_device_stream *stream,
                            uint64_t address)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!address)
		return 0;
	if (!stream)
		return -EINVAL;
	/* With a lost device its memory is gone anyway. */
	if (wf_cuda_is_lost(stream->device))
		return 0;
	int rc = wf_cuda_enter(stream->device);

	return rc ? rc
		  : wf_cuda_status(stream->device,
	                           backend->cu.cuMemFreeAsync(address, stream->stream));
}

/* Host memory belongs to no device: any context that works will do. */
static int enter_any(struct wf_device_backend *backend, struct cuda_device **out)
{
	int rc = -ENODEV;

	WF_CHECK(backend);
	for (uint32_t i = 0; i < backend->count && rc; i++) {
		*out = &backend->device[i];
		rc = wf_cuda_enter(*out);
	}
	return rc;
}

static int cuda_pinned_alloc(struct wf_device_backend *backend, uint64_t bytes, void **out)
{
	struct cuda_device *device = NULL;
	int rc = out && bytes ? enter_any(backend, &device) : -EINVAL;

	WF_CHECK(backend);
	return rc ? rc
		  : wf_cuda_status(device,
	                           backend->cu.cuMemHostAlloc(out, bytes, WF_CU_HOST_PORTABLE));
}

static int cuda_pinned_alloc_near(struct wf_device_backend *backend, uint32_t index, uint64_t bytes,
                                  void **out)
{
	struct wf_memory_policy before;

	WF_CHECK(backend);
	if (index >= backend->count || !out || !bytes)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	int rc = wf_cuda_enter(device);

	if (rc)
		return rc;
	pthread_mutex_lock(&backend->lock);
	uint32_t near = device->near;

	pthread_mutex_unlock(&backend->lock);
	/* The driver takes the pages here and now, for this thread. */
	wf_memory_near_begin(&before, near - 1);
	rc = wf_cuda_status(device, backend->cu.cuMemHostAlloc(out, bytes, WF_CU_HOST_PORTABLE));
	wf_memory_near_end(&before);
	return rc;
}

static void cuda_pinned_free(struct wf_device_backend *backend, void *memory)
{
	struct cuda_device *device = NULL;

	if (memory && enter_any(backend, &device) == 0)
		backend->cu.cuMemFreeHost(memory);
}

/* Whoever calls these may have a context of his own current: it stays so. */
static int cuda_host_register(struct wf_device_backend *backend, void *memory, uint64_t bytes)
{
	struct cuda_device *device = NULL;
	CUcontext before = NULL;

	WF_CHECK(backend);
	if (!memory || !bytes)
		return -EINVAL;
	CUresult asked = backend->cu.cuCtxGetCurrent(&before);
	int rc = enter_any(backend, &device);

	if (!rc)
		rc = wf_cuda_status(
			device, backend->cu.cuMemHostRegister(memory, bytes, WF_CU_HOST_PORTABLE));
	if (asked == WF_CU_SUCCESS)
		backend->cu.cuCtxSetCurrent(before);
	return rc;
}

static int cuda_host_unregister(struct wf_device_backend *backend, void *memory)
{
	struct cuda_device *device = NULL;
	CUcontext before = NULL;

	WF_CHECK(backend);
	if (!memory)
		return -EINVAL;
	CUresult asked = backend->cu.cuCtxGetCurrent(&before);
	int rc = enter_any(backend, &device);

	if (!rc)
		rc = wf_cuda_status(device, backend->cu.cuMemHostUnregister(memory));
	if (asked == WF_CU_SUCCESS)
		backend->cu.cuCtxSetCurrent(before);
	return rc;
}

static int cuda_default_idle(struct wf_device_backend *backend, uint32_t index)
{
	static const uintptr_t streams[] = { WF_CU_STREAM_LEGACY, WF_CU_STREAM_PER_THREAD };
	int rc = index < backend->count ? wf_cuda_enter(&backend->device[index]) : -EINVAL;

	WF_CHECK(backend);
	for (int i = 0; i < 2 && !rc; i++)
		rc = wf_cuda_status(&backend->device[index],
		                    backend->cu.cuStreamQuery((CUstream)streams[i]));
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
	.pool_limit = cuda_pool_limit,
	.pool_trim = cuda_pool_trim,
	.memory_alloc = cuda_memory_alloc,
	.memory_free = cuda_memory_free,
	.pinned_alloc = cuda_pinned_alloc,
	.pinned_free = cuda_pinned_free,
	.host_register = cuda_host_register,
	.host_unregister = cuda_host_unregister,
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
	.pinned_alloc_near = cuda_pinned_alloc_near,
	.copy_peer = wf_cuda_copy_peer,
	.graph_record = wf_cuda_graph_record,
	.default_idle = cuda_default_idle,
};

const struct wf_device_ops *wf_device_cuda(void)
{
	return &cuda_ops;
}
