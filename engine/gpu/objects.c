/*
 * objects.c: the books of values that have copies on devices: which there are, who uses them, what
 * goes first when a device is short of room.
 *
 * A copy is pinned by each attempt that uses it until the device was found to have done that
 * attempt's work: the attempt's mark is the last use in its stream, so nobody has to tell which
 * streams a value was used in. A copy without pins has no event that anybody waits for, and may be
 * freed in any stream. The budget of an attempt counts what it has pinned, and budgets never add up
 * to more than the device has; what is not pinned can always give way. So who waits for room waits
 * for the device and the store alone, never for another one that waits for room.
 *
 * Shared: everything under gpus->objects_mutex, but for `object`, which is set once [X1] and read
 * without. In it: a device's mutex, the lock of a promise's list.
 *
 * Invariants
 *   a copy that is not filling has all its bytes, or `mark` stands behind the last of them
 *   a value of the store is in the table as long as it has a copy, and no longer than its object
 *   resident of a device = sizes of the copies that have an address there
 */
#include <errno.h>

#include "gpu.h"
#include "wf_store.h"

#define HERE_FIRST_NS INT64_C(50000)
#define HERE_LAST_NS  INT64_C(1000000)

void wf_gpu_objects_lock(struct wf_gpus *gpus)
{
	pthread_mutex_lock(&gpus->objects_mutex);
}

void wf_gpu_objects_unlock(struct wf_gpus *gpus)
{
	pthread_mutex_unlock(&gpus->objects_mutex);
}

/* ---- Gates ----------------------------------------------------------------------------------- */

/* A body that cannot suspend looks for itself: all workers may be inside long bodies. */
static WF_SUSPENDS int wait_here(weft *rt, struct wf_cell *cell, int64_t until)
{
	int64_t interval = HERE_FIRST_NS;

	for (;;) {
		wf_gpu_poll(wf_local_of(rt));
		/* Without marks it sleeps as any other, and who looks for deadlocks sees that. */
		int64_t next = wf_gpus_pending(rt) ? wf_clock_now(NULL) + interval : WEFT_FOREVER;
		int rc = wf_wait_cell(rt, cell, until < next ? until : next);

		WF_DEBUG(rc <= 0 && interval <= HERE_LAST_NS);
		if (rc != -ETIMEDOUT || until <= next)
			return rc;
		interval = interval * 2 < HERE_LAST_NS ? interval * 2 : HERE_LAST_NS;
	}
}

int wf_gpu_gate_wait(struct wf_gpus *gpus, struct wf_gpu_gate *gate, int64_t until)
{
	struct wf_local *self = wf_local_of(gpus->rt);

	if (self && !gate->cell)
		gate->cell = wf_event_start(self, WF_CELL_SIGNAL);
	struct wf_cell *cell = self ? gate->cell : NULL;

	if (!cell)
		return -ENOMEM;
	/* One count is the gate's, one is ours. */
	wf_promise_retain(&cell->promise);
	wf_gpu_objects_unlock(gpus);
	/* A virtual clock gives no limits: then a worker must be free to look. */
	bool here = self->current && !wf_can_suspend(self) && !gpus->rt->clock.virtual_time;
	int rc = here && gpus->rt->workers ? wait_here(gpus->rt, cell, until)
					   : wf_wait_cell(gpus->rt, cell, until);

	wf_gpu_objects_lock(gpus);
	/*
	 * Nobody has fired it: ended by a runtime that is being cancelled. Its flags would not say
	 * so for certain: he may have written them while we wrote ours. It is no other cell, as
	 * our count is still there.
	 */
	if (!rc && gate->cell == cell)
		rc = -EINTR;
	wf_cell_release(wf_local_of(gpus->rt), cell);
	WF_DEBUG(rc <= 0);
	return rc;
}

struct wf_cell *wf_gpu_gate_take(struct wf_gpu_gate *gate)
{
	struct wf_cell *cell = gate->cell;

	gate->cell = NULL;
	return cell;
}

void wf_gpu_gate_fire(struct wf_local *self, struct wf_cell *cell)
{
	wf_signal(self, cell, NULL);
}

/* ---- Values ---------------------------------------------------------------------------------- */

static struct wf_gpu_value **bucket_of(struct wf_gpus *gpus, const struct wf_object *object)
{
	return &gpus->object[(uintptr_t)object / sizeof(*object) % WF_GPU_BUCKETS];
}

struct wf_gpu_value *wf_gpu_value_find(struct wf_gpus *gpus, const struct wf_object *object)
{
	struct wf_gpu_value *value = *bucket_of(gpus, object);

	while (value && wf_gpu_value_object(value) != object)
		value = value->bucket_next;
	return value;
}

struct wf_gpu_value *wf_gpu_value_create(struct wf_gpus *gpus, uint64_t size,
                                         struct wf_object *object)
{
	struct wf_gpu_value *value = wf_malloc(sizeof(*value));

	WF_CHECK(size && (!object || object->size == size));
	if (!value)
		return NULL;
	*value = (struct wf_gpu_value){
		.next = gpus->values, .at = &gpus->values, .size = size, .own = !object
	};
	wf_init(&value->object, (uintptr_t)object);
	if (value->next)
		value->next->at = &value->next;
	gpus->values = value;
	if (object) {
		WF_DEBUG(!wf_gpu_value_find(gpus, object));
		value->bucket_next = *bucket_of(gpus, object);
		*bucket_of(gpus, object) = value;
	}
	return value;
}

static void table_remove(struct wf_gpus *gpus, struct wf_gpu_value *value)
{
	struct wf_gpu_value **at = bucket_of(gpus, wf_gpu_value_object(value));

	WF_CHECK(!value->own);
	while (*at != value) {
		WF_CHECK(*at);
		at = &(*at)->bucket_next;
	}
	*at = value->bucket_next;
}

/* Its copies are gone. */
static void value_destroy(struct wf_gpus *gpus, struct wf_gpu_value *value)
{
	WF_CHECK(!value->copies && !value->users && !value->moving && !value->gate.cell);
	if (!value->own && !value->dead)
		table_remove(gpus, value);
	*value->at = value->next;
	if (value->next)
		value->next->at = value->at;
	wf_error_release(value->error);
	wf_free(value);
}

struct wf_error *wf_gpu_value_lost(struct wf_gpu_value *value)
{
	const struct wf_gpu *gpu = NULL;

	/* One that is on its way to the host is not lost before that has failed. */
	if (value->error || wf_gpu_value_object(value) || value->moving)
		return value->error;
	for (struct wf_gpu_copy *copy = value->copies; copy; copy = copy->next) {
		/* That is made of one of the others. */
		if (copy->filling)
			continue;
		if (!wf_gpu_is_lost(copy->gpu))
			return NULL;
		gpu = copy->gpu;
	}
	WF_CHECK(gpu && value->own);
	value->error = wf_error_create(&(struct wf_error_args){ .status = WEFT_EDEVICE,
	                                                        .code = WEFT_EDEVICE,
	                                                        .text = gpu->failure,
	                                                        .task = "device" });
	return value->error;
}

/* ---- Copies ---------------------------------------------------------------------------------- */

struct wf_gpu_copy *wf_gpu_copy_find(const struct wf_gpu_value *value, const struct wf_gpu *gpu)
{
	struct wf_gpu_copy *copy = value->copies;

	while (copy && copy->gpu != gpu)
		copy = copy->next;
	return copy;
}

static void list_add(struct wf_gpu_copy *copy)
{
	struct wf_gpu *gpu = copy->gpu;

	copy->newer = NULL;
	copy->older = gpu->newest;
	if (gpu->newest)
		gpu->newest->newer = copy;
	else
		gpu->oldest = copy;
	gpu->newest = copy;
	WF_DEBUG(gpu->oldest && !gpu->oldest->older);
}

static void list_remove(struct wf_gpu_copy *copy)
{
	struct wf_gpu *gpu = copy->gpu;

	if (copy->older)
		copy->older->newer = copy->newer;
	else
		gpu->oldest = copy->newer;
	if (copy->newer)
		copy->newer->older = copy->older;
	else
		gpu->newest = copy->older;
	WF_DEBUG(!gpu->oldest == !gpu->newest);
}

struct wf_gpu_copy *wf_gpu_copy_add(struct wf_gpu_value *value, struct wf_gpu *gpu)
{
	struct wf_gpu_copy *copy = wf_malloc(sizeof(*copy));

	WF_CHECK(!wf_gpu_copy_find(value, gpu) && !value->dead);
	if (!copy)
		return NULL;
	*copy = (struct wf_gpu_copy){ .next = value->copies,
		                      .value = value,
		                      .gpu = gpu,
		                      .pins = 1,
		                      .uses = 1,
		                      .filling = true };
	value->copies = copy;
	list_add(copy);
	return copy;
}

/* Nobody uses it, so any stream will do; the last resort is one that is there already. */
static int memory_free(struct wf_gpu *gpu, uint64_t address)
{
	struct wf_gpus *gpus = gpu->gpus;
	uint32_t line = 0;

	WF_DEBUG(address);
	pthread_mutex_lock(&gpu->mutex);
	int rc = wf_gpu_line_locked(gpu, WF_GPU_LINE_FREE, &line);

	while (rc && line < gpu->stream_count + WF_GPU_LINES && !gpu->stream[line].queue)
		line++;
	WF_CHECK(line < gpu->stream_count + WF_GPU_LINES);
	rc = gpus->ops->memory_free(gpus->backend, gpu->stream[line].queue, address);
	pthread_mutex_unlock(&gpu->mutex);
	return rc;
}

uint64_t wf_gpu_sweep(struct wf_gpu *gpu)
{
	struct wf_gpus *gpus = gpu->gpus;
	uint64_t sum = 0, bad_bytes = 0;
	int bad = 0;

	/* relaxed: a hint; what this thread has put there it sees. */
	if (!wf_load_relaxed(&gpu->gone_count))
		return 0;
	wf_gpu_objects_lock(gpus);
	while (gpu->gone) {
		struct wf_gpu_copy *copy = gpu->gone;
		int rc = memory_free(gpu, copy->address);

		WF_DEBUG(!copy->pins && copy->bytes && copy->gpu == gpu);
		gpu->gone = copy->next;
		sum += copy->bytes;
		bad = rc ? rc : bad;
		bad_bytes += rc ? copy->bytes : 0;
		wf_free(copy);
	}
	/* relaxed: under the mutex. */
	wf_store_relaxed(&gpu->gone_count, 0);
	wf_gpu_objects_unlock(gpus);
	if (bad)
		wf_log(gpus->rt, WEFT_LOG_ERROR, "%llu bytes of device %u cannot be freed: %s",
		       (unsigned long long)bad_bytes, gpu->index, weft_strerror(bad));
	return sum;
}

/*
 * Whoever lets go of a value may be any thread, and a call of the back end would change its current
 * device: the memory goes at the next look of somebody who may make such calls.
 */
static void gone_add(struct wf_gpu_copy *copy, uint64_t bytes)
{
	struct wf_gpu *gpu = copy->gpu;

	WF_DEBUG(copy->address && bytes);
	copy->bytes = bytes;
	copy->value = NULL;
	copy->next = gpu->gone;
	gpu->gone = copy;
	gpu->frees++;
	/* relaxed: written under the mutex. */
	wf_store_relaxed(&gpu->gone_count, wf_load_relaxed(&gpu->gone_count) + 1);
}

void wf_gpu_copy_remove(struct wf_gpu_copy *copy)
{
	struct wf_gpu_value *value = copy->value;
	struct wf_gpu_copy **at = &value->copies;

	WF_CHECK(!copy->pins && !copy->mark.event);
	while (*at != copy) {
		WF_CHECK(*at);
		at = &(*at)->next;
	}
	*at = copy->next;
	list_remove(copy);
	if (copy->address) {
		WF_CHECK(copy->filling || copy->gpu->resident >= value->size);
		if (!copy->filling)
			copy->gpu->resident -= value->size;
		gone_add(copy, value->size);
	} else {
		wf_free(copy);
	}
}

void wf_gpu_value_settle_unlock(struct wf_gpus *gpus, struct wf_gpu_value *value)
{
	struct wf_object *object = NULL;
	bool used = value->users || value->moving;

	for (struct wf_gpu_copy *copy = value->copies; copy; copy = copy->next)
		used = used || copy->pins;
	if (!used && (value->dead || (!value->own && !value->copies))) {
		while (value->copies)
			wf_gpu_copy_remove(value->copies);
		if (value->own)
			object = wf_gpu_value_object(value);
		value_destroy(gpus, value);
	}
	wf_gpu_objects_unlock(gpus);
	if (object)
		wf_object_drop(wf_local_of(gpus->rt), object);
}

void wf_gpu_copy_unpin(struct wf_gpu_copy *copy)
{
	struct wf_gpus *gpus = copy->gpu->gpus;

	wf_gpu_objects_lock(gpus);
	WF_CHECK(copy->pins > 0 && copy->uses > 0);
	copy->pins--;
	copy->uses--;
	list_remove(copy);
	list_add(copy);
	wf_gpu_value_settle_unlock(gpus, copy->value);
}

uint64_t wf_gpu_drop(struct wf_gpu *gpu, uint64_t bytes)
{
	uint64_t sum = 0;

	for (struct wf_gpu_copy *copy = gpu->oldest, *newer; copy && sum < bytes; copy = newer) {
		struct wf_gpu_value *value = copy->value;

		newer = copy->newer;
		if (copy->pins || copy->filling || !(wf_gpu_value_object(value) || value->dead))
			continue;
		sum += value->size;
		gpu->dropped += !value->dead;
		wf_gpu_copy_remove(copy);
		if (!value->own && !value->copies && !value->users)
			value_destroy(gpu->gpus, value);
	}
	return sum;
}

/* ---- Cells ----------------------------------------------------------------------------------- */

struct wf_object *wf_remote_object(const struct wf_payload *payload)
{
	return wf_gpu_value_object(wf_gpu_value_of(payload));
}

size_t wf_remote_size(const struct wf_payload *payload)
{
	return wf_gpu_value_of(payload)->size;
}

void wf_remote_free(struct wf_local *self, struct wf_payload *payload)
{
	struct wf_gpus *gpus = self->rt->gpus;
	struct wf_gpu_value *value = wf_gpu_value_of(payload);

	WF_CHECK(gpus && value->own && !value->dead);
	wf_gpu_objects_lock(gpus);
	value->dead = true;
	wf_gpu_value_settle_unlock(gpus, value);
}

struct wf_error *wf_remote_lost(weft *rt, const struct wf_cell *cell)
{
	struct wf_error *error = NULL;

	if (!wf_cell_is_remote(cell))
		return NULL;
	WF_DEBUG(rt->gpus && wf_promise_is_done(&cell->promise));
	wf_gpu_objects_lock(rt->gpus);
	error = wf_gpu_value_lost(wf_gpu_value_of(cell->u.payload));
	wf_gpu_objects_unlock(rt->gpus);
	return error;
}

int wf_remote_bring(weft *rt, const struct wf_cell *cell, int64_t until)
{
	WF_DEBUG(wf_promise_is_done(&cell->promise));
	WF_DEBUG(wf_cell_is_remote(cell));
	return wf_gpu_value_bring(rt->gpus, wf_gpu_value_of(cell->u.payload), until);
}

void wf_remote_object_gone(weft *rt, const struct wf_object *object)
{
	struct wf_gpus *gpus = rt->gpus;

	wf_gpu_objects_lock(gpus);
	struct wf_gpu_value *value = wf_gpu_value_find(gpus, object);

	if (!value) {
		wf_gpu_objects_unlock(gpus);
		return;
	}
	WF_CHECK(!value->own && !value->dead);
	/* Its object may be another's by the time when the last user is gone. */
	table_remove(gpus, value);
	value->dead = true;
	wf_gpu_value_settle_unlock(gpus, value);
}

void wf_gpu_objects_close(struct wf_gpus *gpus)
{
	/* Refs that nobody has released. Their objects went with the store. */
	while (gpus->values) {
		struct wf_gpu_value *value = gpus->values;

		WF_CHECK(!value->users && !value->moving);
		while (value->copies)
			wf_gpu_copy_remove(value->copies);
		value_destroy(gpus, value);
	}
	for (uint32_t i = 0; i < gpus->count; i++)
		(void)wf_gpu_sweep(&gpus->gpu[i]);
}
