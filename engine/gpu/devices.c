/*
 * devices.c: the devices of a runtime: taken at open, given back at close, lost in between.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gpu.h"

/* ---- Open ----------------------------------------------------------------------------------- */

static int gpu_init(struct wf_gpus *gpus, struct wf_gpu *gpu, uint32_t index)
{
	WF_CHECK(!gpu->gpus && index < WEFT_GPUS_MAX);
	gpu->gpus = gpus;
	gpu->index = index;
	pthread_mutex_init(&gpu->mutex, NULL);
	gpu->info.struct_size = sizeof(gpu->info);
	int rc = gpus->ops->device_info(gpus->backend, index, &gpu->info);

	if (rc)
		return rc;
	gpu->stream_count = gpu->info.streams_max;
	if (!gpu->stream_count || gpu->stream_count > WF_GPU_STREAMS_MAX)
		gpu->stream_count = gpu->stream_count ? WF_GPU_STREAMS_MAX : 1;
	WF_DEBUG(gpu->stream_count && gpu->stream_count <= WF_GPU_STREAMS_MAX);
	gpu->node = gpu->info.near - 1 < gpus->rt->node_count ? gpu->info.near - 1 : WF_NODE_NONE;
	wf_gpu_rings_init(gpu);
	return gpus->ops->pool_limit(gpus->backend, index, gpu->info.memory_bytes);
}

static void bells(struct wf_gpus *gpus, weft *rt)
{
	for (uint32_t i = 0; i < gpus->count; i++) {
		struct wf_bell *bell = &gpus->cuda->bell[i];

		pthread_mutex_lock(&bell->mutex);
		bell->rt = rt;
		pthread_mutex_unlock(&bell->mutex);
	}
}

int wf_gpus_open(weft *rt)
{
	weft_cuda *cuda = rt->options.devices;
	uint32_t unused = 0;
	int rc = 0;

	if (!cuda)
		return 0;
	/* acquire [D1]: what the runtime before did is over. */
	if (!wf_cas_acquire(&cuda->used, &unused, 1))
		return -EBUSY;
	struct wf_gpus *gpus = wf_calloc(1, sizeof(*gpus) + cuda->count * sizeof(struct wf_gpu));

	if (!gpus) {
		wf_store_release(&cuda->used, 0); /* release [D1] */
		return -ENOMEM;
	}
	WF_CHECK(!rt->gpus && cuda->count <= WEFT_GPUS_MAX);
	WF_DEBUG(!wf_device_ops_check(cuda->ops));
	gpus->rt = rt;
	gpus->cuda = cuda;
	gpus->ops = cuda->ops;
	gpus->backend = cuda->backend;
	pthread_mutex_init(&gpus->ahead_mutex, NULL);
	pthread_mutex_init(&gpus->objects_mutex, NULL);
	rt->gpus = gpus;
	for (uint32_t i = 0; i < cuda->count && !rc; i++) {
		rc = gpu_init(gpus, &gpus->gpu[i], i);
		gpus->count++;
		if (wf_device_classify(rc) == WF_DEVICE_CLASS_LOST) {
			/* Under another runtime, before. Nobody waits for it yet. */
			wf_gpu_lose(&gpus->gpu[i], NULL);
			rc = 0;
		}
	}
	rt->options.gpus = gpus->count;
	if (!rc)
		rc = wf_gpu_pins_open(gpus);
	if (!rc)
		bells(gpus, rt);
	return rc;
}

/* ---- Close ---------------------------------------------------------------------------------- */

static void gpu_fini(struct wf_gpu *gpu)
{
	const struct wf_device_ops *ops = gpu->gpus->ops;
	struct wf_device_backend *backend = gpu->gpus->backend;

	WF_CHECK(!wf_load_acquire(&gpu->pending)); /* acquire [G4] */
	WF_DEBUG(!gpu->running && !gpu->oldest);
	wf_gpu_rings_fini(gpu);
	while (gpu->spare_count)
		ops->event_destroy(backend, gpu->spare[--gpu->spare_count]);
	wf_free(gpu->spare);
	for (uint32_t i = 0; i < gpu->stream_count + WF_GPU_LINES; i++)
		ops->stream_destroy(backend, gpu->stream[i].queue);
	ops->stream_destroy(backend, gpu->bell);
	while (gpu->kernels) {
		struct wf_gpu_kernel *kernel = gpu->kernels;

		gpu->kernels = kernel->next;
		wf_free(kernel);
	}
	ops->pool_trim(backend, gpu->index);
	pthread_mutex_destroy(&gpu->mutex);
}

void wf_gpus_quiet(weft *rt)
{
	WF_CHECK(!rt->gpus || rt->gpus->rt == rt);
	if (rt->gpus)
		bells(rt->gpus, NULL);
}

void wf_gpus_close(weft *rt)
{
	struct wf_gpus *gpus = rt->gpus;

	if (!gpus)
		return;
	WF_CHECK(gpus->rt == rt);
	wf_gpu_objects_close(gpus);
	wf_gpu_pinned_close(gpus);
	wf_gpu_pins_close(gpus);
	for (uint32_t i = 0; i < gpus->count; i++)
		gpu_fini(&gpus->gpu[i]);
	for (uint32_t i = 0; i < WF_GPU_BUCKETS; i++)
		WF_CHECK(!gpus->bucket[i]);
	pthread_mutex_destroy(&gpus->ahead_mutex);
	pthread_mutex_destroy(&gpus->objects_mutex);
	/* release [D1] */
	wf_store_release(&gpus->cuda->used, 0);
	wf_free(gpus);
	rt->gpus = NULL;
}

/* ---- Questions ------------------------------------------------------------------------------ */

const char *wf_gpus_name(const weft *rt)
{
	return rt->gpus ? rt->gpus->ops->name : "none";
}

uint32_t wf_gpu_node(const weft *rt, uint64_t devices)
{
	uint32_t node = WF_NODE_NONE;

	for (uint32_t i = 0; rt->gpus && i < rt->gpus->count && node == WF_NODE_NONE; i++) {
		if (devices >> i & 1)
			node = rt->gpus->gpu[i].node;
	}
	WF_DEBUG(node == WF_NODE_NONE || node < rt->node_count);
	return node;
}

uint64_t wf_gpu_memory(const weft *rt, uint32_t device)
{
	return rt->gpus && device < rt->gpus->count ? rt->gpus->gpu[device].info.memory_bytes : 0;
}
