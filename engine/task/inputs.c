/*
 * inputs.c: inputs that lie in the store, or on devices.
 *
 * What the body reads in place is pinned for its call, all or none, so that two tasks never hold
 * half of what the other needs. A value that was born on a device is copied to the host first, for
 * a task that has no device; one that has finds it there (gpu/resident.c), and nothing is held.
 */
#include <errno.h>

#include "admit_state.h"
#include "gpu.h"
#include "lineage.h"
#include "room.h"
#include "runtime.h"
#include "wf_store.h"

#define PINS_ON_STACK        16
#define REBUILD_DELAY_NS     INT64_C(1000000) /* before an input is asked for again; doubled */
#define REBUILD_DELAY_MAX_NS INT64_C(512000000)

/* ---- Inputs ----------------------------------------------------------------- */

uint64_t wf_shares_out(struct wf_local *self)
{
	uint64_t bytes = *wf_share_of(self);

	if (bytes)
		wf_store_share_lend(wf_runtime_store(self->rt), bytes);
	return bytes;
}

void wf_shares_in(struct wf_local *self, uint64_t bytes)
{
	WF_CHECK(*wf_share_of(self) == bytes);
	wf_store_share_again(wf_runtime_store(self->rt), bytes);
}

struct share_wait {
	struct wf_store_sharer sharer;
	struct wf_wait wait;
	struct wf_wait_node node;
};

static void share_done(struct wf_store_sharer *sharer)
{
	struct share_wait *sw = wf_container_of(sharer, struct share_wait, sharer);

	/* As in ticket_done(). */
	if (!sw->wait.fiber)
		wf_add_acq_rel(&sw->wait.rt->rooms_entered, 1); /* acq_rel [R1] */
	wf_wait_fire_from_outside(&sw->wait, &sw->node);
}

static WF_SUSPENDS int share_await(struct wf_local *self, uint64_t bytes)
{
	struct wf_store *store = wf_runtime_store(self->rt);
	struct share_wait sw = { .sharer = { .done = share_done, .bytes = bytes } };

	if (wf_self_cancelled(self))
		return -EINTR;
	wf_wait_init(&sw.wait, self, 1, WEFT_FOREVER);
	sw.wait.external = true;
	sw.node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire, .wait = &sw.wait };
	wf_outside_begin(self->rt);
	wf_store_share_wait(store, &sw.sharer);
	int rc = wf_wait_sleep(&sw.wait);

	wf_outside_end(sw.wait.rt);

	if (rc && wf_store_share_cancel(store, &sw.sharer))
		return rc;
	/* acquire [F3]: given, or just being: the last touch is near. */
	while (!wf_load_acquire(&sw.node.fired))
		wf_cpu_relax();
	if (!sw.wait.fiber)
		wf_add_release(&sw.wait.rt->rooms_left, 1); /* release [R2] */
	return sw.sharer.status;
}

/* Leave to pin that much; on failure there is none. */
static WF_SUSPENDS int share_take(weft *rt, uint64_t bytes)
{
	struct wf_local *self = wf_self();
	int rc = 0;

	if (!bytes)
		return 0;
	if (!wf_store_share(wf_runtime_store(rt), bytes))
		rc = share_await(self, bytes);
	if (!rc)
		*wf_share_of(wf_self()) += bytes;
	return rc;
}

static void share_drop(struct wf_local *self, uint64_t bytes)
{
	if (!bytes)
		return;
	WF_CHECK(*wf_share_of(self) >= bytes);
	*wf_share_of(self) -= bytes;
	wf_store_unshare(wf_runtime_store(self->rt), bytes);
}

/* Whether its body finds what was born on a device there. Until its request ends. */
bool wf_inputs_on_device(const weft *rt, struct wf_ext *ext)
{
	const struct wf_request *request = wf_ext_request(ext);

	if (ext->call)
		return rt->gpus && wf_call_devices(rt, ext);
	return request && wf_shape_has_gpu(&request->class->shape);
}

/* Of a task that began ahead: still on a device, where it stays. Nothing of it may be read. */
static bool is_early(const struct wf_ext *ext, const struct wf_cell *src)
{
	return WF_UNLIKELY(wf_ext_is_ahead(ext)) && !wf_promise_is_done(&src->promise);
}

/* What lies in the store of an input that the body reads on the host, or NULL. */
static struct wf_object *input_object(weft *rt, struct wf_ext *ext, uint32_t i)
{
	const struct wf_cell *src = &rt->cells[ext->edges[i].src];

	if (is_early(ext, src))
		return NULL;
	if (wf_cell_is_remote(src) && wf_inputs_on_device(rt, ext))
		return NULL;
	return wf_cell_object(src);
}

/* Have copied to the host what lies on devices. One that is lost is the policy's business. */
static WF_SUSPENDS int bring_inputs(weft *rt, struct wf_ext *ext)
{
	int rc = 0;

	if (wf_inputs_on_device(rt, ext))
		return 0;
	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];

		if (wf_cell_is_remote(src))
			(void)wf_remote_bring(rt, src, WEFT_POLL);
	}
	for (uint32_t i = 0; i < ext->n_inputs && (!rc || rc == WEFT_EDEVICE); i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];

		if (wf_cell_is_remote(src))
			rc = wf_remote_bring(rt, src, WEFT_FOREVER);
	}
	WF_DEBUG(rc <= 0);
	return rc == WEFT_EDEVICE ? 0 : rc;
}

/* The inputs that lie in the store and are not lost; `array` has room for all. */
static uint32_t input_objects(weft *rt, struct wf_ext *ext, struct wf_object **array)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		struct wf_object *object = input_object(rt, ext, i);

		if (object && (wf_object_word(object) & WF_OBJECT_STATE) != WF_OBJECT_LOST)
			array[n++] = object;
	}
	return n;
}

static bool has_object(const weft *rt, const struct wf_ext *ext)
{
	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];

		if (!is_early(ext, src) && wf_cell_is_outside(src))
			return true;
	}
	return false;
}

/* The first lost input's error, for a task that fails fast. */
static struct wf_error *lost_input(weft *rt, const struct wf_ext *ext)
{
	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];

		if (is_early(ext, src))
			continue;
		struct wf_object *object = wf_cell_object(src);

		if (object && (wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_LOST)
			return wf_object_lost_error(rt, src, object);
		struct wf_error *lost = wf_remote_lost(rt, src);

		if (lost)
			return lost;
	}
	return NULL;
}

/*
 * A task that has begun ahead may have its grant from one whose work is not done yet: nothing of it
 * is given back before. 0, or what ends the wait.
 */
static WF_SUSPENDS int await_those_ahead(weft *rt, struct wf_ext *ext)
{
	uint32_t edges = wf_ext_is_ahead(ext) ? wf_ext_edge_count(ext) : 0;
	int rc = 0;

	for (uint32_t i = ext->n_inputs; i < edges && !rc; i++)
		rc = wf_wait_cell(rt, &rt->cells[ext->edges[i].src], WEFT_FOREVER);
	WF_DEBUG(rc <= 0);
	return rc;
}

/* One input, as long as it is lost and may be rebuilt. For want of memory, a few times. */
static WF_SUSPENDS int rebuild_input(weft *rt, struct wf_object *object)
{
	int64_t delay = REBUILD_DELAY_NS;
	int rc = 0;

	while (!rc && wf_lineage_may_rebuild(object)) {
		rc = wf_lineage_rebuild(rt, object, WEFT_FOREVER);
		if ((rc != -ENOMEM && rc != -EAGAIN) || delay > REBUILD_DELAY_MAX_NS)
			continue;
		rc = weft_sleep_until(rt, wf_clock_now(&rt->clock) + delay);
		delay *= 2;
	}
	WF_DEBUG(delay >= REBUILD_DELAY_NS);
	return rc;
}

/*
 * Have what is lost computed again, where its task allows it. 0, or what ends the wait. That task
 * may need what this one has been given, which goes back meanwhile; an actor keeps what it has.
 */
static WF_SUSPENDS int rebuild_inputs(struct weft_task *frame, struct wf_ext *ext)
{
	weft *rt = frame->rt;
	bool given = false;
	int rc = 0;

	WF_DEBUG(ext->n_inputs > 0);
	for (uint32_t i = 0; i < ext->n_inputs && rc >= 0; i++) {
		struct wf_object *object = input_object(rt, ext, i);

		if (!object || !wf_lineage_may_rebuild(object))
			continue;
		if (!given && ext->parts & WF_PART_REQUEST) {
			rc = await_those_ahead(rt, ext);
			if (rc)
				break;
			wf_admit_pause(wf_self(), ext);
			given = true;
		}
		rc = rebuild_input(rt, object);
	}
	if (rc >= 0 && given)
		rc = wf_admit_again(frame, 0);
	return rc == -EINTR ? -ECANCELED : rc < 0 ? rc : 0;
}

/* 0 and pinned, or the status the task ends with; *cause: the lost input's error or NULL. */
static WF_SUSPENDS int pin_inputs(struct weft_task *frame, struct wf_ext *ext,
                                  struct wf_object **objects, struct wf_error **cause)
{
	weft *rt = frame->rt;

	for (;;) {
		int rc = rebuild_inputs(frame, ext);

		if (rc)
			return rc;
		uint32_t n = input_objects(rt, ext, objects), failed;

		*cause = ext->policy == WEFT_INPUT_FAIL_FAST ? lost_input(rt, ext) : NULL;
		if (*cause)
			return WEFT_EDEP;
		uint64_t bytes = 0;

		for (uint32_t i = 0; i < n; i++)
			bytes += objects[i]->size;
		bytes = wf_store_share_bytes(wf_runtime_store(rt), bytes);
		rc = share_take(rt, bytes);

		if (!rc && n) {
			rc = wf_values_hold(rt, objects, n, WF_OBJECT_PIN, WEFT_FOREVER, &failed);
			if (rc)
				share_drop(wf_self(), bytes);
		}

		/* One more was found lost: what that means is up to the policy. */
		if (rc == WEFT_ECORRUPT || rc == WEFT_ELOST)
			continue;
		if (!rc)
			ext->pinned = true;
		return rc == -EINTR ? -ECANCELED : rc;
	}
}

int wf_inputs_hold(struct weft_task *frame, struct wf_error **cause)
{
	weft *rt = frame->rt;
	struct wf_ext *ext = wf_cell_ext(frame->cell);
	struct wf_object *few[PINS_ON_STACK];
	struct wf_object **objects = few;

	*cause = NULL;
	if (!ext || !ext->n_inputs || !has_object(rt, ext))
		return 0;
	if (ext->n_inputs > PINS_ON_STACK) {
		objects = wf_malloc(ext->n_inputs * sizeof(*objects));
		if (!objects)
			return -ENOMEM;
	}
	/* It may wait here: as the task that it is, so that it can be found and cancelled. */
	struct wf_local *self = wf_self();

	frame->outer = self->current;
	self->current = frame;
	int rc = rt->gpus ? bring_inputs(rt, ext) : 0;

	if (!rc)
		rc = pin_inputs(frame, ext, objects, cause);
	else if (rc == -EINTR)
		rc = -ECANCELED;

	wf_self()->current = frame->outer;
	if (objects != few)
		wf_free(objects);
	return rc;
}

void wf_inputs_unhold(struct wf_local *self, struct wf_ext *ext)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		struct wf_object *object = input_object(self->rt, ext, i);

		/* What is pinned cannot have become lost since. */
		if (!object || (wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_LOST)
			continue;
		bytes += object->size;
		wf_value_unhold(self, object, WF_OBJECT_PIN);
	}
	if (bytes)
		share_drop(self, wf_store_share_bytes(wf_runtime_store(self->rt), bytes));
	ext->pinned = false;
}

void wf_inputs_prefetch(weft *rt, const struct wf_ext *ext)
{
	for (uint32_t i = 0; i < ext->n_inputs; i++) {
		const struct wf_cell *src = &rt->cells[ext->edges[i].src];
		struct wf_object *object = is_early(ext, src) ? NULL : wf_cell_object(src);

		if (object && (wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_SPILLED)
			wf_store_prefetch(wf_runtime_store(rt), object);
	}
}
