/*
 * host.c: what a program asks of a runtime's devices from outside: facts, and memory for copies.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"

int weft_cuda_info(weft *rt, uint32_t device, struct weft_cuda_info *info)
{
	struct wf_gpus *gpus = rt ? rt->gpus : NULL;
	int64_t share, bytes;

	if (!gpus || device >= gpus->count || !info || info->struct_size < sizeof(size_t) ||
	    info->struct_size > 4096)
		return -EINVAL;
	struct wf_gpu *gpu = &gpus->gpu[device];

	WF_DEBUG(gpu->index == device && gpu->gpus == gpus);
	struct weft_cuda_info full = { .struct_size = info->struct_size,
		                       .memory_bytes = gpu->info.memory_bytes,
		                       .failure = "",
		                       .node = gpu->node == WF_NODE_NONE ? WEFT_NODE_NONE
		                                                         : gpu->node };

	wf_admit_gpu_free(rt, device, &share, &bytes);
	full.share_free = (double)share / WF_FIXED;
	full.memory_free = (uint64_t)bytes;
	memcpy(full.name, gpu->info.name, sizeof(full.name));
	memcpy(full.pci, gpu->info.pci, sizeof(full.pci));
	pthread_mutex_lock(&gpu->mutex);
	/* relaxed: written under the mutex. */
	full.pending = wf_load_relaxed(&gpu->pending);
	full.running = gpu->running;
	full.attempts = gpu->attempts;
	full.takeovers = gpu->takeovers;
	full.chained = gpu->chained;
	full.lost = wf_gpu_is_lost(gpu);
	if (full.lost)
		full.failure = gpu->failure;
	pthread_mutex_unlock(&gpu->mutex);
	wf_gpu_objects_lock(gpus);
	full.resident = gpu->resident;
	full.uploads = gpu->uploads;
	full.downloads = gpu->downloads;
	full.dropped = gpu->dropped;
	full.evicted = gpu->evicted;
	full.peers = gpu->peers;
	wf_gpu_objects_unlock(gpus);
	full.pinned = wf_gpu_pinned_bytes(gpus);
	full.doorbells = wf_load_relaxed(&gpus->cuda->bell[device].rung); /* relaxed: a snapshot */
	memcpy(info, &full, full.struct_size < sizeof(full) ? full.struct_size : sizeof(full));
	return 0;
}

/* ---- Pinned memory --------------------------------------------------------------------------- */

struct wf_gpu_pinned {
	struct wf_gpu_pinned *next;
	uintptr_t at;
	uint64_t bytes;
};

bool wf_gpu_is_pinned(struct wf_gpus *gpus, const void *at, uint64_t bytes)
{
	uintptr_t begin = (uintptr_t)at;
	struct wf_gpu_pinned **link, *found;

	WF_DEBUG(at || !bytes);
	wf_gpu_objects_lock(gpus);
	for (link = &gpus->pinned; (found = *link); link = &found->next) {
		if (begin >= found->at && begin - found->at <= found->bytes &&
		    bytes <= found->bytes - (begin - found->at))
			break;
	}
	if (found) {
		*link = found->next;
		found->next = gpus->pinned;
		gpus->pinned = found;
	}
	wf_gpu_objects_unlock(gpus);
	return found != NULL;
}

/* Off the list; false: it is not on it. */
static bool pinned_remove(struct wf_gpus *gpus, const void *at)
{
	struct wf_gpu_pinned **link, *found;

	wf_gpu_objects_lock(gpus);
	for (link = &gpus->pinned; (found = *link) && found->at != (uintptr_t)at;)
		link = &found->next;
	if (found)
		*link = found->next;
	wf_gpu_objects_unlock(gpus);
	wf_free(found);
	return found != NULL;
}

void wf_gpu_pinned_close(struct wf_gpus *gpus)
{
	WF_DEBUG(gpus->rt);
	while (gpus->pinned) {
		struct wf_gpu_pinned *pinned = gpus->pinned;

		gpus->pinned = pinned->next;
		wf_free(pinned);
	}
}

int weft_cuda_host_alloc(weft *rt, size_t bytes, void **out)
{
	struct wf_gpus *gpus = rt ? rt->gpus : NULL;

	if (!rt || !bytes || !out)
		return -EINVAL;
	if (!gpus || !gpus->count)
		return -ENODEV;
	struct wf_gpu_pinned *pinned = wf_malloc(sizeof(*pinned));
	void *memory = NULL;
	int rc = pinned ? gpus->ops->pinned_alloc(gpus->backend, bytes, &memory) : -ENOMEM;

	if (!rc) {
		wf_gpu_objects_lock(gpus);
		*pinned = (struct wf_gpu_pinned){ gpus->pinned, (uintptr_t)memory, bytes };
		gpus->pinned = pinned;
		wf_gpu_objects_unlock(gpus);
		*out = memory;
		return 0;
	}
	wf_free(pinned);
	/* Which device failed is found out by whoever uses it. */
	return wf_device_classify(rc) == WF_DEVICE_CLASS_LOST ? WEFT_EDEVICE : rc;
}

void weft_cuda_host_free(weft *rt, void *memory)
{
	if (memory && rt && rt->gpus && pinned_remove(rt->gpus, memory))
		rt->gpus->ops->pinned_free(rt->gpus->backend, memory);
}
