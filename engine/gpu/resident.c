/*
 * resident.c: what a body does with values on its device: inputs that are there, or come there, and
 * outputs that stay.
 *
 * A value that an attempt wants is copied from another device, or up from the host, in a stream of
 * its own, beside what other tasks compute, and stays until its room is wanted, for whoever takes
 * it next. The attempt's stream waits for the copy, not the body.
 */
#include <errno.h>

#include "attempt.h"
#include "gpu.h"
#include "keyed.h"
#include "wf_store.h"

/* ---- Uses ------------------------------------------------------------------------------------ */

static bool uses(const struct wf_gpu_part *part, const struct wf_gpu_copy *copy)
{
	const struct wf_gpu_use *use = part->uses;

	while (use && use->copy != copy)
		use = use->next;
	return use != NULL;
}

/* The pin is the use's. */
static void use_add(struct wf_gpu_part *part, struct wf_gpu_use *use, struct wf_gpu_copy *copy)
{
	WF_CHECK(copy->pins && copy->value->size <= wf_gpu_budget_left(part));
	use->copy = copy;
	use->next = part->uses;
	part->uses = use;
	part->held += copy->value->size;
}

/* Whether an upload is still under way: its event could not be waited for. */
static bool uploading(struct wf_gpus *gpus, const struct wf_gpu_part *part)
{
	bool any = false;

	wf_gpu_objects_lock(gpus);
	for (const struct wf_gpu_use *use = part->uses; use && !any; use = use->next)
		any = use->copy->mark.event != NULL;
	wf_gpu_objects_unlock(gpus);
	return any;
}

void wf_gpu_uses_end(struct wf_gpus *gpus, struct wf_gpu_part *part)
{
	uint32_t stream;

	/* By the attempt's own event, which has passed and is not published any more. */
	if (part->uses && uploading(gpus, part) &&
	    !wf_gpu_line(&gpus->gpu[part->device], WF_GPU_LINE_UP, &stream))
		(void)wf_gpu_settle(&gpus->gpu[part->device], stream, part->mark.event);
	while (part->uses) {
		struct wf_gpu_use *use = part->uses;
		uint64_t size = use->copy->value->size;

		WF_CHECK(part->held >= size);
		part->held -= size;
		part->uses = use->next;
		wf_gpu_copy_unpin(use->copy);
		wf_free(use);
	}
	WF_DEBUG(!part->held);
}

/* ---- Outputs --------------------------------------------------------------------------------- */

/* Whether a value may stay on a device as output `i`. */
static bool may_stay(const weft_task *self, uint32_t i)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);
	const struct wf_more *more = wf_ext_more(ext);

	WF_DEBUG(ext->parts & WF_PART_REQUEST || ext->call);
	return i < wf_task_outputs(self) && !wf_ext_stream(ext) && !(more && more->keyed);
}

static struct wf_gpu_copy *output_make(struct wf_gpu *gpu, uint64_t bytes, uint64_t at)
{
	struct wf_gpus *gpus = gpu->gpus;

	wf_gpu_objects_lock(gpus);
	struct wf_gpu_value *value = wf_gpu_value_create(gpus, bytes, NULL);
	struct wf_gpu_copy *copy = value ? wf_gpu_copy_add(value, gpu) : NULL;

	if (copy) {
		copy->address = at;
		copy->filling = false;
		gpu->resident += bytes;
		wf_gpu_objects_unlock(gpus);
		return copy;
	}
	if (value) {
		value->dead = true;
		wf_gpu_value_settle_unlock(gpus, value);
	} else {
		wf_gpu_objects_unlock(gpus);
	}
	return NULL;
}

int weft_cuda_output(weft_task *self, uint32_t i, size_t bytes, uint64_t *address)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self && address && bytes ? wf_gpu_part_of(self, &run) : NULL;
	uint64_t at;

	if (!part || !may_stay(self, i))
		return -EINVAL;
	if (bytes > wf_gpu_budget_left(part))
		return -ENOMEM;
	struct wf_gpu *gpu = &run->gpus->gpu[part->device];
	struct wf_gpu_use *use = wf_malloc(sizeof(*use));
	int rc = use ? wf_gpu_room(run, part, part->stream, bytes, &at) : -ENOMEM;
	struct wf_gpu_copy *copy = rc ? NULL : output_make(gpu, bytes, at);

	if (!rc && !copy) {
		(void)run->gpus->ops->memory_free(run->gpus->backend, part->queue, at);
		rc = -ENOMEM;
	}
	if (rc) {
		wf_free(use);
		return rc;
	}
	use_add(part, use, copy);
	wf_task_set_output(self, i, wf_payload_of_remote(copy->value));
	*address = at;
	return 0;
}

/* ---- Inputs ---------------------------------------------------------------------------------- */

/* A value of a few bytes: in memory of the attempt, once. */
static WF_SUSPENDS int small_input(struct wf_gpu_run *run, struct wf_gpu_part *part, uint32_t i,
                                   struct weft_view view, uint64_t *address)
{
	struct wf_gpu_piece *piece = part->pieces;

	WF_DEBUG(view.size && view.size <= WF_BLOCK_VALUE_MAX);
	while (piece && piece->input != i + 1)
		piece = piece->next;
	if (!piece) {
		int rc = wf_gpu_piece(run, part, view.size, &piece);

		if (!rc)
			rc = wf_gpu_upload(&run->gpus->gpu[part->device], part->stream,
			                   piece->address, view.data, view.size);
		if (rc)
			return rc;
		piece->input = i + 1;
	}
	*address = piece->address;
	return 0;
}

void wf_gpu_uploaded(struct wf_gpu_mark *mark, struct wf_local *self)
{
	struct wf_gpu_copy *copy = wf_container_of(mark, struct wf_gpu_copy, mark);
	struct wf_gpu *gpu = copy->gpu;

	WF_DEBUG(self->rt == gpu->gpus->rt);
	/* Before anybody can see that the upload is over. Nobody else looks at it. */
	if (copy->flight)
		wf_gpu_flight_end(gpu->gpus, copy->flight, mark->rc != 0);
	copy->flight = NULL;
	wf_gpu_objects_lock(gpu->gpus);
	struct wf_device_event *event = mark->event;
	struct wf_cell *gate = wf_gpu_gate_take(&copy->value->gate);

	WF_CHECK(event && copy->pins);
	mark->event = NULL;
	copy->pins--;
	if (copy->from)
		wf_gpu_peer_give(copy->from);
	copy->from = NULL;
	wf_gpu_value_settle_unlock(gpu->gpus, copy->value);
	wf_gpu_event_give(gpu, event);
	wf_gpu_gate_fire(self, gate);
}

/* Up, from the host's copy, and its mark behind it. On failure nothing is under way any more. */
static WF_SUSPENDS int upload_value(struct wf_gpu_run *run, struct wf_gpu_part *part,
                                    struct wf_gpu_copy *copy)
{
	struct wf_gpu *gpu = copy->gpu;
	weft *rt = gpu->gpus->rt;
	struct wf_object *object = wf_gpu_value_object(copy->value);
	struct wf_device_event *event = NULL;
	struct wf_gpu_flight *flight = NULL;
	uint64_t size = copy->value->size;
	uint32_t stream, failed;
	int rc = wf_gpu_line(gpu, WF_GPU_LINE_UP, &stream);

	WF_CHECK(object && copy->filling);
	if (!rc)
		rc = wf_gpu_room(run, part, stream, size, &copy->address);
	/* Before the first byte is sent: what was begun can always be waited for. */
	if (!rc)
		rc = wf_gpu_event_take(gpu, &event);
	if (rc)
		return rc;
	WF_DEBUG(copy->address && event);
	/* An input of the store is held by the task; what was born on a device is not. */
	rc = wf_values_hold(rt, &object, 1, WF_OBJECT_PIN, WEFT_FOREVER, &failed);
	if (!rc) {
		const void *from = wf_object_view(rt, object).data;

		flight = wf_gpu_flight_begin(gpu->gpus, object);
		rc = flight ? wf_gpu_flight_send(gpu, stream, copy->address, from, size, flight)
			    : wf_gpu_upload(gpu, stream, copy->address, from, size);
		/* Else the pin goes with the flight. */
		if (!flight)
			wf_value_unhold(wf_local_of(rt), object, WF_OBJECT_PIN);
	}
	if (rc) {
		(void)wf_gpu_run_settle(run, gpu, stream, event);
		wf_gpu_event_give(gpu, event);
		if (flight)
			wf_gpu_flight_end(gpu->gpus, flight, wf_gpu_is_lost(gpu));
		return rc;
	}
	wf_gpu_objects_lock(gpu->gpus);
	copy->pins++;
	copy->mark = (struct wf_gpu_mark){ .event = event, .done = wf_gpu_uploaded };
	copy->flight = flight;
	gpu->uploads++;
	wf_gpu_mark(gpu, stream, &copy->mark);
	wf_gpu_objects_unlock(gpu->gpus);
	return 0;
}

/* Have the attempt's stream wait for the bytes. Its use keeps the copy. */
static WF_SUSPENDS int follow(struct wf_gpu_run *run, struct wf_gpu_part *part,
                              struct wf_gpu_copy *copy)
{
	struct wf_gpu *gpu = copy->gpu;
	struct wf_gpus *gpus = gpu->gpus;
	uint32_t stream;
	int rc = 0;

	wf_gpu_objects_lock(gpus);
	WF_CHECK(copy->pins && !copy->filling);
	if (copy->mark.event) {
		pthread_mutex_lock(&gpu->mutex);
		rc = gpus->ops->stream_wait(gpus->backend, part->queue, copy->mark.event);
		pthread_mutex_unlock(&gpu->mutex);
	}
	wf_gpu_objects_unlock(gpus);
	rc = wf_gpu_status(gpu, rc);
	if (!rc || rc == WEFT_EDEVICE)
		return rc;
	/* Then the host waits. */
	rc = wf_gpu_line(gpu, WF_GPU_LINE_UP, &stream);
	return rc ? rc : wf_gpu_run_settle(run, gpu, stream, NULL);
}

/* The filler is done, one way or the other; with the mutex held. The gate is to be fired. */
static struct wf_cell *fill_end(struct wf_gpu_copy *copy, int rc)
{
	struct wf_cell *gate = wf_gpu_gate_take(&copy->value->gate);

	WF_CHECK(copy->filling && copy->pins);
	if (rc) {
		copy->pins--;
		copy->uses--;
		wf_gpu_copy_remove(copy);
	} else {
		copy->filling = false;
		copy->gpu->resident += copy->value->size;
	}
	return gate;
}

/* Make the value's copy on this device; with the mutex held, but in between. As input_copy(). */
static WF_SUSPENDS int input_fill(struct wf_gpu_run *run, struct wf_gpu_part *part,
                                  struct wf_gpu_value *value, bool *host_only,
                                  struct wf_gpu_copy **out)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_gpu *gpu = &gpus->gpu[part->device];
	bool peer = !*host_only && wf_gpu_peer_find(value, gpu), refused = false;
	struct wf_gpu_copy *copy;
	int rc;

	WF_CHECK(value->users > 0 && !wf_gpu_copy_find(value, gpu));

	if (!peer && !wf_gpu_value_object(value)) {
		wf_gpu_objects_unlock(gpus);
		rc = wf_gpu_value_bring(gpus, value, WEFT_FOREVER);
		wf_gpu_objects_lock(gpus);
		return rc;
	}
	copy = wf_gpu_copy_add(value, gpu);
	if (!copy)
		return -ENOMEM;
	wf_gpu_objects_unlock(gpus);
	rc = peer ? wf_gpu_peer_fill(run, part, copy, &refused) : upload_value(run, part, copy);
	wf_gpu_objects_lock(gpus);
	struct wf_cell *gate = fill_end(copy, rc);

	WF_DEBUG(!refused || (rc && peer));
	if (!rc)
		*out = copy;
	*host_only = *host_only || refused;
	wf_gpu_objects_unlock(gpus);
	wf_gpu_gate_fire(wf_local_of(gpus->rt), gate);
	wf_gpu_objects_lock(gpus);
	return refused ? 0 : rc;
}

/*
 * A pinned copy with all its bytes, or on their way; with the mutex held, but in between. 0 and
 * *copy NULL: something has changed.
 */
static WF_SUSPENDS int input_copy(struct wf_gpu_run *run, struct wf_gpu_part *part,
                                  struct wf_gpu_value *value, bool *host_only,
                                  struct wf_gpu_copy **out)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_gpu_copy *copy = wf_gpu_copy_find(value, &gpus->gpu[part->device]);

	*out = NULL;
	if (copy && copy->filling)
		return wf_gpu_gate_wait(gpus, &value->gate, WEFT_FOREVER);
	if (!copy)
		return input_fill(run, part, value, host_only, out);
	copy->pins++;
	copy->uses++;
	*out = copy;
	return 0;
}

/* The value of an input that is done, with a use of the caller's; NULL: no memory. */
static struct wf_gpu_value *value_of_input(struct wf_gpus *gpus, const struct wf_cell *src)
{
	struct wf_object *object = wf_cell_object(src);

	wf_gpu_objects_lock(gpus);
	struct wf_gpu_value *value = wf_cell_is_remote(src) ? wf_gpu_value_of(src->u.payload)
							    : wf_gpu_value_find(gpus, object);

	if (!value)
		value = wf_gpu_value_create(gpus, object->size, object);
	if (value)
		value->users++;
	wf_gpu_objects_unlock(gpus);
	return value;
}

/*
 * A value of the store, or of a device; the caller's use of it is consumed. -ESTALE: whoever was
 * about to leave it has failed, and took it back.
 */
static WF_SUSPENDS int large_input(struct wf_gpu_run *run, struct wf_gpu_part *part,
                                   struct wf_gpu_value *value, uint64_t *address)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_gpu *gpu = &gpus->gpu[part->device];
	struct wf_gpu_use *use = wf_malloc(sizeof(*use));
	int rc = use ? 0 : -ENOMEM;

	wf_gpu_objects_lock(gpus);
	WF_CHECK(value->users > 0);
	struct wf_gpu_copy *copy = wf_gpu_copy_find(value, gpu);
	/* Asked for before: it is in use by this attempt already. */
	bool again = copy && uses(part, copy), host_only = false;

	if (!again && value->size > wf_gpu_budget_left(part))
		rc = -ENOMEM;
	for (copy = again ? copy : NULL; !copy && !rc;)
		rc = value->dead ? -ESTALE : input_copy(run, part, value, &host_only, &copy);
	if (copy && !again)
		use_add(part, use, copy);
	value->users--;
	wf_gpu_value_settle_unlock(gpus, value);
	if (!copy || again)
		wf_free(use);
	if (copy) {
		rc = follow(run, part, copy);
		if (!rc)
			*address = copy->address;
	}
	return rc;
}

static int input_failed(weft_task *self, struct wf_error *cause)
{
	wf_frame_set_error(self, wf_input_error(wf_local_of(self->rt), self->cell, cause));
	return WEFT_EDEP;
}

/* What the body is told: its own cancel, the end of a value that is gone. */
static int input_status(weft_task *self, const struct wf_cell *src, int rc)
{
	struct wf_error *lost = rc == WEFT_EDEVICE ? wf_remote_lost(self->rt, src) : NULL;

	WF_DEBUG(rc < 0);
	if (lost)
		return input_failed(self, lost);
	return rc == -EINTR ? -ECANCELED : rc;
}

/*
 * An input from a task whose work is not done: 1 and its value, if that is on this device. Else
 * what it comes from is waited for: 0, it is done by now; -ECANCELED.
 */
static WF_SUSPENDS int early_input(struct wf_gpu_run *run, const struct wf_gpu_part *part,
                                   struct wf_cell *src, struct wf_gpu_value **value)
{
	struct wf_gpus *gpus = run->gpus;
	struct wf_gpu_value *early = wf_gpu_early_input(gpus, src);

	if (early) {
		wf_gpu_objects_lock(gpus);
		if (wf_gpu_copy_find(early, &gpus->gpu[part->device])) {
			wf_gpu_objects_unlock(gpus);
			*value = early;
			return 1;
		}
		/* Nothing may be copied from where it is before it was written. */
		early->users--;
		wf_gpu_value_settle_unlock(gpus, early);
	}
	int rc = wf_wait_cell(gpus->rt, src, WEFT_FOREVER);

	WF_DEBUG(rc || wf_promise_is_done(&src->promise));
	return rc == -EINTR ? -ECANCELED : rc;
}

/* An input that is done. */
static WF_SUSPENDS int done_input(weft_task *self, struct wf_gpu_run *run, struct wf_gpu_part *part,
                                  uint32_t i, uint64_t *at, size_t *bytes)
{
	const struct wf_cell *src = &self->rt->cells[wf_cell_ext(self->cell)->edges[i].src];
	struct weft_view view = { NULL, 0 };

	WF_CHECK(wf_promise_is_done(&src->promise));
	/* Lost since the task began, or failed after all: what fails fast does so now. */
	if (wf_cell_ext(self->cell)->policy == WEFT_INPUT_FAIL_FAST) {
		if (wf_flags(src) & WF_CELL_ERROR)
			return input_failed(self, src->u.error);
		if (wf_remote_lost(self->rt, src))
			return input_status(self, src, WEFT_EDEVICE);
	}
	int rc = weft_input(self, i, &view);

	/* A failed input is as weft_input() says it. */
	if (rc && rc != -EREMOTE)
		return rc;
	if (rc == -EREMOTE)
		view.size = wf_cell_size(src);
	rc = 0;
	if (view.size && wf_cell_is_outside(src)) {
		struct wf_gpu_value *value = value_of_input(run->gpus, src);

		rc = value ? large_input(run, part, value, at) : -ENOMEM;
	} else if (view.size) {
		rc = small_input(run, part, i, view, at);
	}
	*bytes = view.size;
	return rc ? input_status(self, src, rc) : 0;
}

int weft_cuda_input(weft_task *self, uint32_t i, uint64_t *address, size_t *bytes)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self && address ? wf_gpu_part_of(self, &run) : NULL;
	struct wf_gpu_value *value = NULL;

	if (!part || i >= weft_input_count(self))
		return -EINVAL;
	if (wf_gpu_is_lost(&run->gpus->gpu[part->device]))
		return WEFT_EDEVICE;
	struct wf_cell *src = &self->rt->cells[wf_cell_ext(self->cell)->edges[i].src];
	uint64_t at = 0;
	size_t size = 0;
	bool taken = false;
	int rc = wf_promise_is_done(&src->promise) ? 0 : early_input(run, part, src, &value);

	WF_DEBUG(rc <= 1 && (rc > 0) == !!value);
	if (value) {
		size = value->size;
		rc = large_input(run, part, value, &at);
		if (rc == -ESTALE)
			rc = wf_wait_cell(self->rt, src, WEFT_FOREVER);
		else
			taken = true;
		rc = rc == -EINTR ? -ECANCELED : rc;
	}
	if (!rc && !taken)
		rc = done_input(self, run, part, i, &at, &size);
	if (rc)
		return rc;
	*address = at;
	if (bytes)
		*bytes = size;
	return 0;
}
