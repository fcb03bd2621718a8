/*
 * peers.c: values that come from another device without the host.
 *
 * What one device has another may copy for itself, in its stream for values. The copy that is read
 * is lent meanwhile: a pin that is within nobody's grant, so whoever needs its room waits for the
 * end of the lending, which waits for devices alone: nothing is lent before the other one has its
 * room, or two could wait for what each has lent to the other. Where the two devices cannot, or
 * nothing is left to be lent by then, the value goes over the host.
 */
#include <errno.h>

#include "gpu.h"

struct wf_gpu_copy *wf_gpu_peer_find(struct wf_gpu_value *value, const struct wf_gpu *gpu)
{
	struct wf_gpu_copy *copy = WF_DEVICE_HAS(gpu->gpus->ops, copy_peer) ? value->copies : NULL;

	while (copy &&
	       (copy->gpu == gpu || copy->filling || wf_gpu_is_lost(copy->gpu) ||
	        gpu->no_peers >> copy->gpu->index & 1))
		copy = copy->next;
	WF_DEBUG(!copy || (copy->address && copy->value == value));
	return copy;
}

void wf_gpu_peer_give(struct wf_gpu_copy *from)
{
	WF_CHECK(from->pins > 0 && from->lent > 0);
	from->pins--;
	from->lent--;
}

/* With the mutex of the values held, and neither device's. */
static int send(struct wf_gpu_copy *copy, uint32_t stream, struct wf_gpu_copy *from)
{
	struct wf_gpu *gpu = copy->gpu;
	struct wf_gpus *gpus = gpu->gpus;
	int rc = 0;

	WF_DEBUG(copy->address && from->gpu != gpu);
	pthread_mutex_lock(&gpu->mutex);
	struct wf_device_stream *queue = gpu->stream[stream].queue;

	/* Its own bytes may still be on their way. */
	if (from->mark.event)
		rc = gpus->ops->stream_wait(gpus->backend, queue, from->mark.event);
	if (!rc)
		rc = gpus->ops->copy_peer(gpus->backend, queue, copy->address, from->gpu->index,
		                          from->address, copy->value->size);
	pthread_mutex_unlock(&gpu->mutex);
	return rc;
}

/* With the mutex: from whoever has it, and its mark behind it. */
static int fill(struct wf_gpu_copy *copy, uint32_t stream, struct wf_device_event *event)
{
	struct wf_gpu *gpu = copy->gpu;
	struct wf_gpu_copy *from = wf_gpu_peer_find(copy->value, gpu);
	int rc = from ? send(copy, stream, from) : -ENOENT;

	WF_DEBUG(!copy->from && !copy->mark.event);
	if (rc == -ENOTSUP)
		gpu->no_peers |= UINT64_C(1) << from->gpu->index;
	if (rc)
		return rc;
	from->pins++;
	from->lent++;
	copy->pins++;
	copy->from = from;
	copy->mark = (struct wf_gpu_mark){ .event = event, .done = wf_gpu_uploaded };
	gpu->peers++;
	wf_gpu_mark(gpu, stream, &copy->mark);
	return 0;
}

int wf_gpu_peer_fill(struct wf_gpu_run *run, struct wf_gpu_part *part, struct wf_gpu_copy *copy,
                     bool *refused)
{
	struct wf_gpu *gpu = copy->gpu;
	struct wf_device_event *event = NULL;
	uint32_t stream;
	int rc = wf_gpu_line(gpu, WF_GPU_LINE_UP, &stream);

	WF_CHECK(copy->filling && !copy->address);
	*refused = false;
	if (!rc)
		rc = wf_gpu_room(run, part, stream, copy->value->size, &copy->address);
	if (!rc)
		rc = wf_gpu_event_take(gpu, &event);
	if (rc)
		return rc;
	wf_gpu_objects_lock(gpu->gpus);
	rc = fill(copy, stream, event);
	wf_gpu_objects_unlock(gpu->gpus);
	if (!rc)
		return 0;
	wf_gpu_event_give(gpu, event);
	*refused = wf_device_classify(rc) != WF_DEVICE_CLASS_LOST;
	return wf_gpu_status(gpu, rc);
}
