/*
 * moves.c: values on their way to the host, and out of the way.
 *
 * The copy to the host is a task of the library's own, nobody's child, so that whoever asks for it
 * waits as long as he likes, and several who ask wait for one. It takes room in the store as any
 * body does that writes a result: the store may spill for it, or refuse.
 *
 * Room on a device: memory is taken, and only when there is none is anything dropped: first copies
 * of what the host has too, the one let go longest ago first; then others are copied to the host,
 * and dropped in the next round. When nothing is left that could go, what is short was freed in a
 * stream and the device has not come to it yet.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"
#include "wf_store.h"

#define VICTIMS_MAX 8u /* copied to the host at once for one that is short of room */

/* ---- To the host ----------------------------------------------------------------------------- */

/* A copy to read from, pinned; NULL: there is none any more. */
static struct wf_gpu_copy *source_of(struct wf_gpus *gpus, struct wf_gpu_value *value)
{
	wf_gpu_objects_lock(gpus);
	WF_CHECK(value->moving && value->own);
	struct wf_gpu_copy *copy = value->copies;

	while (copy && (copy->filling || wf_gpu_is_lost(copy->gpu)))
		copy = copy->next;
	if (copy)
		copy->pins++;
	wf_gpu_objects_unlock(gpus);
	return copy;
}

/* Have the stream wait for what may still be on its way to the device. */
static int follow(struct wf_gpu_copy *copy, uint32_t stream)
{
	struct wf_gpu *gpu = copy->gpu;
	struct wf_gpus *gpus = gpu->gpus;
	int rc = 0;

	wf_gpu_objects_lock(gpus);
	WF_DEBUG(copy->pins && !copy->filling);
	if (copy->mark.event) {
		pthread_mutex_lock(&gpu->mutex);
		rc = gpus->ops->stream_wait(gpus->backend, gpu->stream[stream].queue,
		                            copy->mark.event);
		pthread_mutex_unlock(&gpu->mutex);
	}
	wf_gpu_objects_unlock(gpus);
	return wf_gpu_status(gpu, rc);
}

/* Its bytes in a sealed object; on failure nothing is under way any more. */
static WF_SUSPENDS int copy_down(struct wf_gpus *gpus, struct wf_gpu_copy *copy, uint64_t size,
                                 struct wf_object **out)
{
	weft *rt = gpus->rt;
	struct wf_device_event *event = NULL;
	uint32_t stream;
	int rc = wf_gpu_line(copy->gpu, WF_GPU_LINE_DOWN, &stream);
	struct wf_object *object;

	WF_DEBUG(copy->address);
	if (!rc)
		rc = wf_object_make(rt, size, WEFT_FOREVER, &object);
	if (rc)
		return rc == -EMSGSIZE ? WEFT_ESTOREFULL : rc;
	/* Before the first byte is asked for: what was begun can always be waited for. */
	rc = wf_gpu_event_take(copy->gpu, &event);
	if (!rc)
		rc = follow(copy, stream);
	if (!rc) {
		rc = wf_gpu_download(copy->gpu, stream,
		                     wf_object_writable(wf_runtime_store(rt), object),
		                     copy->address, size);
		if (rc)
			(void)wf_gpu_settle(copy->gpu, stream, event);
	}
	WF_DEBUG(rc <= 0 && (rc || event));
	wf_gpu_event_give(copy->gpu, event);
	if (rc) {
		wf_object_drop(wf_local_of(rt), object);
		return rc;
	}
	WF_CHECK(!wf_object_seal(wf_runtime_store(rt), object, 0, 0));
	*out = object;
	return 0;
}

static void move_end(struct wf_gpus *gpus, struct wf_gpu_value *value, struct wf_gpu_copy *copy,
                     struct wf_object *object, int rc)
{
	struct wf_local *self = wf_local_of(gpus->rt);

	WF_CHECK(self && !rc == !!object);
	wf_gpu_objects_lock(gpus);
	WF_CHECK(value->moving && !wf_gpu_value_object(value) && !value->error);
	if (object)
		/* release [X1]: its bytes. */
		wf_store_release(&value->object, (uintptr_t)object);
	if (copy)
		copy->pins--;
	if (copy && object)
		copy->gpu->downloads++;
	value->moving = false;
	value->moved = rc;
	struct wf_cell *gate = wf_gpu_gate_take(&value->gate);

	wf_gpu_value_settle_unlock(gpus, value);
	wf_gpu_gate_fire(self, gate);
}

static WF_SUSPENDS int move_body(weft_task *self)
{
	struct wf_gpus *gpus = weft_task_runtime(self)->gpus;
	struct wf_gpu_value *value;
	struct wf_object *object = NULL;

	memcpy(&value, weft_task_arg(self, NULL), sizeof(value));
	struct wf_gpu_copy *copy = source_of(gpus, value);
	int rc = copy ? copy_down(gpus, copy, value->size, &object) : WEFT_EDEVICE;

	WF_DEBUG(rc <= 0);
	move_end(gpus, value, copy, object, rc);
	return 0;
}

/* `moving` was set by the caller. */
static void move_start(struct wf_gpus *gpus, struct wf_gpu_value *value)
{
	static const struct weft_task_options options = { .struct_size = sizeof(options),
		                                          .name = "weft.copy_down",
		                                          .flags = WF_EXT_ALWAYS };
	const struct weft_call call = { .fn = move_body,
		                        .arg = &(void *){ value },
		                        .arg_size = sizeof(void *),
		                        .opts = &options };
	int rc = wf_submit_internal(gpus->rt, &call);

	WF_DEBUG(rc <= 0);
	if (rc)
		move_end(gpus, value, NULL, NULL, rc);
}

int wf_gpu_value_bring(struct wf_gpus *gpus, struct wf_gpu_value *value, int64_t until)
{
	bool waited = false;
	int rc = 0;

	/* As nearly always. */
	if (wf_gpu_value_object(value))
		return 0;
	if (!wf_local_of(gpus->rt))
		return -ENOMEM;
	wf_gpu_objects_lock(gpus);
	value->users++;
	while (!rc && !wf_gpu_value_object(value)) {
		if (wf_gpu_value_lost(value)) {
			rc = WEFT_EDEVICE;
		} else if (value->moving) {
			rc = wf_gpu_gate_wait(gpus, &value->gate, until);
			waited = true;
		} else if (waited && value->moved != WEFT_EDEVICE) {
			rc = value->moved;
			WF_CHECK(rc < 0);
		} else {
			/* Also when a device was lost, but another one has it too. */
			value->moving = true;
			wf_gpu_objects_unlock(gpus);
			move_start(gpus, value);
			wf_gpu_objects_lock(gpus);
			waited = !value->moving;
		}
	}
	WF_CHECK(value->users > 0);
	value->users--;
	wf_gpu_value_settle_unlock(gpus, value);
	return rc;
}

/* ---- Room ------------------------------------------------------------------------------------ */

/* Whether something but an attempt keeps the copy, which will be over soon. */
static bool is_passing(const struct wf_gpu_copy *copy)
{
	return !copy->uses && (copy->value->moving || copy->mark.event || copy->lent);
}

/*
 * The oldest that only a device has, as many as make `bytes`: those that are on their way to the
 * host already, or will be now; those whose upload nobody needs any more; those that are lent.
 * *fresh: how many of the found are to be started; they come first.
 */
static uint32_t find_victims(struct wf_gpu *gpu, uint64_t bytes,
                             struct wf_gpu_value *found[VICTIMS_MAX], uint32_t *fresh)
{
	uint64_t sum = 0;
	uint32_t n = 0;

	*fresh = 0;
	for (struct wf_gpu_copy *copy = gpu->oldest; copy && sum < bytes && n < VICTIMS_MAX;
	     copy = copy->newer) {
		struct wf_gpu_value *value = copy->value;
		bool passing = is_passing(copy);

		if (copy->filling || copy->uses || value->error ||
		    (!passing && (copy->pins || wf_gpu_value_object(value))))
			continue;
		sum += value->size;
		value->users++;
		found[n++] = value;
		if (passing)
			continue;
		value->moving = true;
		gpu->evicted++;
		found[n - 1] = found[*fresh];
		found[(*fresh)++] = value;
	}
	WF_DEBUG(*fresh <= n);
	return n;
}

/* Wait for them all, and let go. One that went is enough, else the first failure. */
static WF_SUSPENDS int await_victims(struct wf_gpu *gpu, struct wf_gpu_value **found, uint32_t n,
                                     uint32_t fresh)
{
	struct wf_gpus *gpus = gpu->gpus;
	bool went = false;
	int rc = 0, bad = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct wf_gpu_value *value = found[i];
		const struct wf_gpu_copy *copy;

		wf_gpu_objects_lock(gpus);
		bool moves = i < fresh || value->moving;

		while (!rc && (copy = wf_gpu_copy_find(value, gpu)) && is_passing(copy))
			rc = wf_gpu_gate_wait(gpus, &value->gate, WEFT_FOREVER);
		/* How the move of a value that is gone has ended does not matter. */
		if (!moves || value->dead || wf_gpu_value_object(value) ||
		    !wf_gpu_copy_find(value, gpu))
			went = true;
		else if (!bad && !value->moving)
			bad = value->moved;
		WF_CHECK(value->users > 0);
		value->users--;
		wf_gpu_value_settle_unlock(gpus, value);
	}
	WF_DEBUG(rc <= 0 && bad <= 0);
	return rc || went ? rc : bad;
}

/* Some was swept, or something may have become free: 1. Nothing can: 0. Or an error. */
static WF_SUSPENDS int give_way(struct wf_gpu_run *run, struct wf_gpu *gpu, uint64_t swept,
                                uint64_t bytes)
{
	struct wf_gpus *gpus = gpu->gpus;
	struct wf_gpu_value *found[VICTIMS_MAX];
	uint32_t line, fresh = 0;

	wf_gpu_objects_lock(gpus);
	uint64_t freed = swept ? swept : wf_gpu_drop(gpu, bytes);
	uint32_t n = freed ? 0 : find_victims(gpu, bytes, found, &fresh);

	wf_gpu_objects_unlock(gpus);
	for (uint32_t i = 0; i < fresh; i++)
		move_start(gpus, found[i]);
	WF_DEBUG(fresh <= n && n <= VICTIMS_MAX);
	if (freed) {
		(void)wf_gpu_sweep(gpu);
		int rc = wf_gpu_line(gpu, WF_GPU_LINE_FREE, &line);

		rc = rc ? rc : wf_gpu_run_settle(run, gpu, line, NULL);
		return rc ? rc : 1;
	}
	int rc = n ? await_victims(gpu, found, n, fresh) : 0;

	return rc ? rc : n > 0;
}

/* A pool that grows takes its time: whoever polls the device is not to wait for that. */
static int take(struct wf_gpu *gpu, uint32_t stream, uint64_t bytes, uint64_t *address)
{
	struct wf_gpus *gpus = gpu->gpus;

	pthread_mutex_lock(&gpu->mutex);
	/* Once there it stays. */
	struct wf_device_stream *queue = gpu->stream[stream].queue;

	pthread_mutex_unlock(&gpu->mutex);
	WF_CHECK(queue);
	return wf_gpu_status(gpu, gpus->ops->memory_alloc(gpus->backend, queue, bytes, address));
}

/* How many copies were freed so far: while that grows there is hope. */
static uint64_t frees_of(struct wf_gpu *gpu)
{
	wf_gpu_objects_lock(gpu->gpus);
	uint64_t frees = gpu->frees;

	wf_gpu_objects_unlock(gpu->gpus);
	return frees;
}

int wf_gpu_room(struct wf_gpu_run *run, struct wf_gpu_part *part, uint32_t stream, uint64_t bytes,
                uint64_t *address)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_gpu *gpu = &gpus->gpu[part->device];
	uint64_t settled = UINT64_MAX;
	uint32_t line;

	for (;;) {
		/* Before the count: what it counts is in the stream then. */
		uint64_t swept = wf_gpu_sweep(gpu), frees = frees_of(gpu);
		int rc = take(gpu, stream, bytes, address);

		if (rc != -ENOMEM)
			return rc;
		rc = give_way(run, gpu, swept, bytes);
		if (rc > 0)
			continue;
		if (!rc && frees == settled)
			return -ENOMEM;
		/*
		 * Fragments, or frees that the device has not come to: of values, or of whoever was
		 * before in this stream.
		 */
		settled = frees_of(gpu);
		rc = rc ? rc : wf_gpu_line(gpu, WF_GPU_LINE_FREE, &line);
		rc = rc ? rc : wf_gpu_run_settle(run, gpu, line, NULL);
		rc = rc ? rc : wf_gpu_run_settle(run, gpu, part->stream, NULL);
		if (rc)
			return rc == -EINTR ? -ECANCELED : rc;
		(void)gpus->ops->pool_trim(gpus->backend, part->device);
	}
}
