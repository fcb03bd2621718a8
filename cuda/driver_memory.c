/*
 * driver_memory.c: memory of CUDA devices, and of the host for their copies.
 *
 * Device memory comes from a pool of our own per device, whose limit is kept here: the driver's is
 * fixed when a pool is made. What may still be in use by a device that was given up is not given
 * back: the driver would wait for it, or somebody else would get it.
 */
#include "driver_inner.h"

#include <errno.h>
#include <string.h>

/* ---- Device memory -------------------------------------------------------------------------- */

int wf_cuda_pool_limit(struct wf_device_backend *backend, uint32_t index, uint64_t bytes)
{
	WF_CHECK(backend);
	if (index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];

	pthread_mutex_lock(&device->lock);
	device->limit = bytes;
	pthread_mutex_unlock(&device->lock);
	return wf_cuda_is_lost(device) ? WF_DEVICE_LOST : 0;
}

int wf_cuda_pool_trim(struct wf_device_backend *backend, uint32_t index)
{
	struct cuda_visit visit;

	WF_CHECK(backend);
	if (index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];

	/* A device that was never used has nothing, and a context of it would cost much. */
	if (!wf_cuda_is_ready(device))
		return 0;
	int rc = wf_cuda_enter(device, &visit);

	return rc ? rc : wf_cuda_leave(&visit, backend->cu.cuMemPoolTrimTo(device->pool, 0));
}

int wf_cuda_memory_alloc(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         uint64_t bytes, uint64_t *address)
{
	struct cuda_visit visit;
	int rc = stream && address && bytes ? wf_cuda_enter(stream->device, &visit) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (rc)
		return rc;
	struct cuda_device *device = stream->device;
	CUdeviceptr at = 0;
	uint64_t used = 0;

	/* Looked at and taken under the lock: two callers never pass the limit together. */
	WF_DEBUG(wf_cuda_is_ready(device));
	pthread_mutex_lock(&device->lock);
	CUresult result =
		backend->cu.cuMemPoolGetAttribute(device->pool, WF_CU_POOL_USED_CURRENT, &used);

	if (result == WF_CU_SUCCESS && (bytes > device->limit || used > device->limit - bytes))
		rc = -ENOMEM;
	else if (result == WF_CU_SUCCESS)
		result = backend->cu.cuMemAllocFromPoolAsync(&at, bytes, device->pool,
		                                             stream->stream);
	pthread_mutex_unlock(&device->lock);
	int told = wf_cuda_leave(&visit, result);

	rc = rc ? rc : told;
	WF_DEBUG(rc || at);
	if (!rc)
		*address = at;
	return rc;
}

int wf_cuda_memory_free(struct wf_device_backend *backend, struct wf_device_stream *stream,
                        uint64_t address)
{
	struct cuda_visit visit;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!address)
		return 0;
	if (!stream)
		return -EINVAL;
	/* With a lost device its memory is gone anyway. */
	if (wf_cuda_is_lost(stream->device))
		return 0;
	int rc = wf_cuda_enter(stream->device, &visit);

	return rc ? rc : wf_cuda_leave(&visit, backend->cu.cuMemFreeAsync(address, stream->stream));
}

/* ---- Host memory ---------------------------------------------------------------------------- */

/* Host memory belongs to no device: any context that works will do, best one that is there. */
static int enter_any(struct wf_device_backend *backend, struct cuda_visit *visit)
{
	int rc = -ENODEV;

	WF_CHECK(backend);
	for (uint32_t i = 0; i < 2 * backend->count && rc; i++) {
		struct cuda_device *device = &backend->device[i % backend->count];

		if (i >= backend->count || wf_cuda_is_ready(device))
			rc = wf_cuda_enter(device, visit);
	}
	return rc;
}

static bool is_abandoned(const struct wf_device_backend *backend)
{
	/* acquire [L2]: see driver.c. */
	return wf_load_acquire(&backend->abandoned);
}

int wf_cuda_pinned_alloc(struct wf_device_backend *backend, uint64_t bytes, void **out)
{
	struct cuda_visit visit;
	void *memory = NULL;
	int rc = out && bytes ? enter_any(backend, &visit) : -EINVAL;

	WF_CHECK(backend);
	if (!rc)
		rc = wf_cuda_leave(&visit,
		                   backend->cu.cuMemHostAlloc(&memory, bytes, WF_CU_HOST_PORTABLE));
	if (!rc)
		*out = memory;
	return rc;
}

int wf_cuda_pinned_alloc_near(struct wf_device_backend *backend, uint32_t index, uint64_t bytes,
                              void **out)
{
	struct wf_memory_policy before;
	struct cuda_visit visit;
	void *memory = NULL;

	WF_CHECK(backend);
	if (index >= backend->count || !out || !bytes)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	int rc = wf_cuda_enter(device, &visit);

	if (rc)
		return rc;
	pthread_mutex_lock(&device->lock);
	uint32_t near = device->near;

	pthread_mutex_unlock(&device->lock);
	/* The driver takes the pages here and now, for this thread. */
	wf_memory_near_begin(&before, near - 1);
	CUresult result = backend->cu.cuMemHostAlloc(&memory, bytes, WF_CU_HOST_PORTABLE);

	wf_memory_near_end(&before);
	rc = wf_cuda_leave(&visit, result);
	if (!rc)
		*out = memory;
	return rc;
}

void wf_cuda_pinned_free(struct wf_device_backend *backend, void *memory)
{
	struct cuda_visit visit;

	if (memory && !is_abandoned(backend) && !enter_any(backend, &visit))
		(void)wf_cuda_leave(&visit, backend->cu.cuMemFreeHost(memory));
}

int wf_cuda_host_register(struct wf_device_backend *backend, void *memory, uint64_t bytes)
{
	struct cuda_visit visit;

	WF_CHECK(backend);
	if (!memory || !bytes)
		return -EINVAL;
	int rc = enter_any(backend, &visit);

	return rc
		? rc
		: wf_cuda_leave(&visit,
	                        backend->cu.cuMemHostRegister(memory, bytes, WF_CU_HOST_PORTABLE));
}

int wf_cuda_host_unregister(struct wf_device_backend *backend, void *memory)
{
	struct cuda_visit visit;

	WF_CHECK(backend);
	if (!memory)
		return -EINVAL;
	if (is_abandoned(backend))
		return WF_DEVICE_LOST;
	int rc = enter_any(backend, &visit);

	return rc ? rc : wf_cuda_leave(&visit, backend->cu.cuMemHostUnregister(memory));
}
