/*
 * staging.c: rings of pinned memory, through which pageable memory is copied.
 *
 * A device copies to and from pinned memory only, or the calling thread waits for it. So bytes go
 * through slots: a ring of WF_GPU_SLOTS for each device and direction, made when first used, whose
 * size is an option. Who finds no slot free sleeps until a copy was found done; who has one never
 * waits for another, so nobody holds what others wait for. Down, two slots are under way at once,
 * and the host copies out of one while the device fills the other; up, as many as are free.
 *
 * Shared: `free`, `flying`, `left`, the gates, under gpus->objects_mutex. A slot's memory is its
 * taker's, or the device's while it flies.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"

#define DOWN_DEPTH 2u

enum { UP = 0, DOWN = 1 };

/* ---- Slots ----------------------------------------------------------------------------------- */

void wf_gpu_rings_init(struct wf_gpu *gpu)
{
	for (uint32_t r = 0; r < 2; r++) {
		struct wf_gpu_ring *ring = &gpu->ring[r];

		ring->gpu = gpu;
		for (uint32_t i = 0; i < WF_GPU_SLOTS; i++) {
			ring->slot[i].ring = ring;
			ring->slot[i].next = ring->free;
			ring->free = &ring->slot[i];
		}
	}
}

void wf_gpu_rings_fini(struct wf_gpu *gpu)
{
	const struct wf_device_ops *ops = gpu->gpus->ops;
	struct wf_device_backend *backend = gpu->gpus->backend;

	for (uint32_t i = 0; i < 2 * WF_GPU_SLOTS; i++) {
		struct wf_gpu_slot *slot = &gpu->ring[i / WF_GPU_SLOTS].slot[i % WF_GPU_SLOTS];

		WF_CHECK(!slot->flying && !slot->gate.cell);
		ops->event_destroy(backend, slot->mark.event);
		ops->pinned_free(backend, slot->memory);
	}
}

static uint64_t slot_bytes(const struct wf_gpu *gpu)
{
	WF_DEBUG(gpu->gpus->cuda->slot_bytes > 0);
	return gpu->gpus->cuda->slot_bytes;
}

/* Without the mutex; the slot is the caller's. */
static int slot_make(struct wf_gpu_slot *slot)
{
	struct wf_gpu *gpu = slot->ring->gpu;
	int rc = 0;

	WF_DEBUG(!slot->flying);
	if (!slot->mark.event)
		rc = wf_gpu_event_take(gpu, &slot->mark.event);
	if (rc || slot->memory)
		return rc;
	const struct wf_device_ops *ops = gpu->gpus->ops;

	rc = WF_DEVICE_HAS(ops, pinned_alloc_near)
		? ops->pinned_alloc_near(gpu->gpus->backend, gpu->index, slot_bytes(gpu),
	                                 &slot->memory)
		: ops->pinned_alloc(gpu->gpus->backend, slot_bytes(gpu), &slot->memory);
	/* Pinned memory is no device's: which one was lost is found out by whoever uses it. */
	return wf_device_classify(rc) == WF_DEVICE_CLASS_LOST ? -ENOMEM : rc;
}

static void ring_give(struct wf_local *self, struct wf_gpu_slot *slot)
{
	struct wf_gpus *gpus = slot->ring->gpu->gpus;

	wf_gpu_objects_lock(gpus);
	WF_CHECK(!slot->flying);
	slot->next = slot->ring->free;
	slot->ring->free = slot;
	struct wf_cell *gate = wf_gpu_gate_take(&slot->ring->gate);

	wf_gpu_objects_unlock(gpus);
	wf_gpu_gate_fire(self, gate);
}

/* Off the free ones, of those that are made if there are; with the mutex held. NULL: none. */
static struct wf_gpu_slot *ring_pick(struct wf_gpu_ring *ring, bool made)
{
	struct wf_gpu_slot **at = &ring->free;

	while (*at && !(*at)->made)
		at = &(*at)->next;
	if (!*at && !made)
		at = &ring->free;
	struct wf_gpu_slot *slot = *at;

	WF_DEBUG(!slot || (!slot->flying && slot->ring == ring));
	if (slot)
		*at = slot->next;
	return slot;
}

/*
 * One that is free; without `waits` *out may stay NULL. One that cannot be made is no failure when
 * there are others: they will be free again.
 */
static WF_SUSPENDS int ring_take(struct wf_gpu_ring *ring, bool waits, struct wf_gpu_slot **out)
{
	struct wf_gpus *gpus = ring->gpu->gpus;
	struct wf_gpu_slot *slot;
	int rc = 0, bad = 0;

	*out = NULL;
	wf_gpu_objects_lock(gpus);
	for (;;) {
		slot = ring_pick(ring, bad);
		if (!slot && bad && !ring->made)
			rc = bad;
		else if (!slot && waits)
			rc = wf_gpu_gate_wait(gpus, &ring->gate, WEFT_FOREVER);
		if (rc || (!slot && !waits) || (slot && slot->made))
			break;
		if (!slot)
			continue;
		wf_gpu_objects_unlock(gpus);
		bad = slot_make(slot);
		if (bad)
			ring_give(wf_local_of(gpus->rt), slot);
		wf_gpu_objects_lock(gpus);
		if (!bad) {
			ring->made++;
			slot->made = true;
			break;
		}
		if (bad == WEFT_EDEVICE) {
			rc = bad;
			slot = NULL;
			break;
		}
	}
	WF_DEBUG(ring->made <= WF_GPU_SLOTS && !(rc && slot));
	wf_gpu_objects_unlock(gpus);
	*out = slot;
	return rc;
}

/* What the poller calls: the copy is done, or its device is lost. */
static void slot_landed(struct wf_gpu_mark *mark, struct wf_local *self)
{
	struct wf_gpu_slot *slot = wf_container_of(mark, struct wf_gpu_slot, mark);
	struct wf_gpus *gpus = slot->ring->gpu->gpus;

	wf_gpu_objects_lock(gpus);
	WF_CHECK(slot->flying);
	slot->flying = false;
	bool left = slot->left;
	struct wf_cell *gate = wf_gpu_gate_take(&slot->gate);

	wf_gpu_objects_unlock(gpus);
	wf_gpu_gate_fire(self, gate);
	if (left)
		ring_give(self, slot);
}

/* Have the device copy between the slot and `address`. On an error the slot is free again. */
static int slot_fly(struct wf_gpu_slot *slot, uint32_t stream, bool up, uint64_t address,
                    uint64_t bytes)
{
	struct wf_gpu *gpu = slot->ring->gpu;
	struct wf_gpus *gpus = gpu->gpus;

	WF_CHECK(!slot->flying && bytes && bytes <= slot_bytes(gpu));
	slot->left = up;
	slot->flying = true;
	slot->mark.done = slot_landed;
	slot->mark.covered = false;
	pthread_mutex_lock(&gpu->mutex);
	struct wf_device_stream *queue = gpu->stream[stream].queue;
	int rc = up ? gpus->ops->copy_to_device(gpus->backend, queue, address, slot->memory, bytes)
		    : gpus->ops->copy_to_host(gpus->backend, queue, slot->memory, address, bytes);

	pthread_mutex_unlock(&gpu->mutex);
	if (!rc) {
		wf_gpu_mark(gpu, stream, &slot->mark);
		return 0;
	}
	slot->flying = false;
	ring_give(wf_local_of(gpus->rt), slot);
	return wf_gpu_status(gpu, rc);
}

/* Until it flies no longer; interrupted, it is left, and not the caller's any more. */
static WF_SUSPENDS int slot_await(struct wf_gpu_slot *slot, bool *left)
{
	struct wf_gpus *gpus = slot->ring->gpu->gpus;
	int rc = 0;

	wf_gpu_objects_lock(gpus);
	while (slot->flying && !rc)
		rc = wf_gpu_gate_wait(gpus, &slot->gate, WEFT_FOREVER);
	*left = slot->left = slot->flying;
	rc = slot->flying ? rc : slot->mark.rc;
	wf_gpu_objects_unlock(gpus);
	WF_DEBUG(rc <= 0);
	return rc;
}

/* ---- Transfers ------------------------------------------------------------------------------- */

int wf_gpu_upload(struct wf_gpu *gpu, uint32_t stream, uint64_t to, const void *from,
                  uint64_t bytes)
{
	int rc = 0;

	WF_DEBUG(to && from && bytes);
	for (uint64_t at = 0, n; at < bytes && !rc; at += n) {
		struct wf_gpu_slot *slot;

		n = bytes - at < slot_bytes(gpu) ? bytes - at : slot_bytes(gpu);
		rc = ring_take(&gpu->ring[UP], true, &slot);
		if (rc)
			break;
		memcpy(slot->memory, (const char *)from + at, n);
		rc = slot_fly(slot, stream, true, to + at, n);
	}
	return rc;
}

struct descent {
	struct wf_gpu *gpu;
	uint32_t stream;
	char *to;
	uint64_t from, bytes;
	uint64_t sent, got;
	struct wf_gpu_slot *slot[DOWN_DEPTH]; /* the first n fly, oldest first */
	uint32_t n;
};

static uint64_t descent_piece(const struct descent *d, uint64_t at)
{
	return d->bytes - at < slot_bytes(d->gpu) ? d->bytes - at : slot_bytes(d->gpu);
}

/* As many more as there are slots; at least one flies then. */
static WF_SUSPENDS int descent_send(struct descent *d)
{
	while (d->sent < d->bytes && d->n < DOWN_DEPTH) {
		struct wf_gpu_slot *slot;
		int rc = ring_take(&d->gpu->ring[DOWN], !d->n, &slot);

		if (rc || !slot)
			return d->n ? 0 : rc;
		uint64_t n = descent_piece(d, d->sent);

		rc = slot_fly(slot, d->stream, false, d->from + d->sent, n);
		if (rc)
			return rc;
		d->slot[d->n++] = slot;
		d->sent += n;
	}
	WF_DEBUG(d->n);
	return 0;
}

/* Wait for the oldest; its bytes are taken unless something failed before. */
static WF_SUSPENDS int descent_land(struct descent *d, int rc)
{
	struct wf_gpu_slot *slot = d->slot[0];
	uint64_t n = descent_piece(d, d->got);
	bool left;
	int bad = slot_await(slot, &left);

	WF_CHECK(d->n);
	rc = rc ? rc : bad;
	if (!rc)
		memcpy(d->to + d->got, slot->memory, n);
	/* Left: whoever finds it landed gives it back. */
	if (!left)
		ring_give(wf_local_of(d->gpu->gpus->rt), slot);
	d->got += n;
	d->n--;
	memmove(d->slot, d->slot + 1, d->n * sizeof(d->slot[0]));
	return rc;
}

int wf_gpu_download(struct wf_gpu *gpu, uint32_t stream, void *to, uint64_t from, uint64_t bytes)
{
	struct descent d = { .gpu = gpu, .stream = stream, .to = to, .from = from, .bytes = bytes };
	int rc = 0;

	WF_DEBUG(to && from && bytes);
	while (!rc && d.got < bytes) {
		rc = descent_send(&d);
		if (d.n)
			rc = descent_land(&d, rc);
	}
	while (d.n)
		(void)descent_land(&d, rc);
	return rc;
}
