/*
 * pins.c: the store's memory told to the devices, so that values are copied up out of it without a
 * detour. An option: weft_cuda_options.pin_bytes.
 *
 * A chunk of the store is registered when a value in it goes up for the first time, and stays so;
 * what registers costs as much as copying, so it pays from the second time on. Registered chunks
 * are held in the store, which never gives them back; when it is short of memory it asks, and those
 * that no copy uses are let go, first by the devices, then in the store. So none is ever given back
 * that a device knows. A copy never leaves a chunk: CUDA takes no copy of two registrations. Where
 * a chunk cannot be registered (the limit is reached, part of it is not there, the system refuses)
 * the bytes go through the ring.
 *
 * Only up. What a device that was lost may still write must never be anybody's memory again, and
 * the ring's is not; what it may still read stays registered, and held.
 *
 * Shared: all of it under `mutex`. In it: the back end, the locks of the store's memory. It is
 * taken with the memory of the store locked (let_go), so nothing of the store is called in it but
 * holds.
 */
#include <errno.h>
#include <sys/mman.h>

#include "gpu.h"
#include "wf_store.h"

struct wf_gpu_pins {
	pthread_mutex_t mutex;
	struct wf_gpus *gpus;
	struct wf_store *store; /* NULL: it is not there yet, or is about to go */
	uint64_t count;         /* of chunks that there can be */
	uint64_t bytes;         /* registered */
	bool refused;           /* the system does not do it */
	struct chunk {
		uint32_t users; /* copies under way */
		bool registered;
	} * chunk; /* [count] */
};

/* Chunks that a copy up reads from, and the value that it reads. */
struct wf_gpu_flight {
	struct wf_object *object;
	uint32_t n;
	uint64_t chunk[];
};

/* ---- Made and gone --------------------------------------------------------------------------- */

int wf_gpu_pins_open(struct wf_gpus *gpus)
{
	if (!gpus->cuda->pin_bytes || !gpus->count)
		return 0;
	struct wf_gpu_pins *pins = wf_calloc(1, sizeof(*pins));

	WF_DEBUG(!gpus->pins);
	if (!pins)
		return -ENOMEM;
	pthread_mutex_init(&pins->mutex, NULL);
	pins->gpus = gpus;
	gpus->pins = pins;
	return 0;
}

/* The table, at the first use. With the mutex. */
static bool prepare(struct wf_gpu_pins *pins)
{
	struct wf_store *store = wf_runtime_store(pins->gpus->rt);

	if (pins->chunk || pins->refused)
		return pins->chunk;
	uint64_t count = wf_store_chunk_count(store);

	WF_CHECK(count && !pins->bytes);
	pins->chunk = wf_map(count * sizeof(*pins->chunk), PROT_READ | PROT_WRITE);
	if (!pins->chunk)
		return false;
	pins->count = count;
	pins->store = store;
	return true;
}

/* The devices forget it, then the store may do with it what it likes. */
static void forget(struct wf_gpu_pins *pins, uint64_t i)
{
	const struct wf_gpus *gpus = pins->gpus;

	WF_CHECK(pins->chunk[i].registered && pins->bytes >= WF_STORE_CHUNK_BYTES);
	/* Of devices that are all lost there is nobody to tell. */
	(void)gpus->ops->host_unregister(gpus->backend, wf_store_chunk(pins->store, i));
	pins->chunk[i].registered = false;
	pins->bytes -= WF_STORE_CHUNK_BYTES;
	wf_store_chunk_unhold(pins->store, i);
}

void wf_gpus_let_go(weft *rt)
{
	struct wf_gpu_pins *pins = rt->gpus ? rt->gpus->pins : NULL;

	if (!pins)
		return;
	pthread_mutex_lock(&pins->mutex);
	for (uint64_t i = 0; i < pins->count && pins->bytes; i++) {
		if (pins->chunk[i].registered && !pins->chunk[i].users)
			forget(pins, i);
	}
	pthread_mutex_unlock(&pins->mutex);
}

void wf_gpus_store_goes(weft *rt)
{
	struct wf_gpu_pins *pins = rt->gpus ? rt->gpus->pins : NULL;

	if (!pins)
		return;
	pthread_mutex_lock(&pins->mutex);
	/* Copies of a device that was lost are still counted; it reads no more, or who knows. */
	for (uint64_t i = 0; i < pins->count && pins->bytes; i++) {
		if (pins->chunk[i].registered)
			forget(pins, i);
	}
	WF_CHECK(!pins->bytes);
	if (pins->chunk)
		wf_unmap(pins->chunk, pins->count * sizeof(*pins->chunk));
	pins->chunk = NULL;
	pins->count = 0;
	pins->store = NULL;
	pins->refused = true;
	pthread_mutex_unlock(&pins->mutex);
}

void wf_gpu_pins_close(struct wf_gpus *gpus)
{
	struct wf_gpu_pins *pins = gpus->pins;

	if (!pins)
		return;
	WF_CHECK(!pins->chunk && !pins->bytes);
	pthread_mutex_destroy(&pins->mutex);
	wf_free(pins);
	gpus->pins = NULL;
}

uint64_t wf_gpu_pinned_bytes(struct wf_gpus *gpus)
{
	if (!gpus->pins)
		return 0;
	pthread_mutex_lock(&gpus->pins->mutex);
	uint64_t bytes = gpus->pins->bytes;

	pthread_mutex_unlock(&gpus->pins->mutex);
	WF_DEBUG(bytes % WF_STORE_CHUNK_BYTES == 0);
	return bytes;
}

/* ---- One chunk ------------------------------------------------------------------------------- */

/* With the mutex: tell the devices of it. False: they cannot be told (*why: ever), or not now. */
static bool enlist(struct wf_gpu_pins *pins, uint64_t i, int *why)
{
	struct wf_gpus *gpus = pins->gpus;

	if (pins->refused || pins->bytes + WF_STORE_CHUNK_BYTES > gpus->cuda->pin_bytes ||
	    !wf_store_chunk_hold(pins->store, i))
		return false;
	int rc = gpus->ops->host_register(gpus->backend, wf_store_chunk(pins->store, i),
	                                  WF_STORE_CHUNK_BYTES);

	WF_DEBUG(rc <= 0);
	if (!rc) {
		pins->chunk[i].registered = true;
		pins->bytes += WF_STORE_CHUNK_BYTES;
		return true;
	}
	wf_store_chunk_unhold(pins->store, i);
	/* Short of memory it may be able to later; and a lost device's failure is its own. */
	if (rc != -ENOMEM && wf_device_classify(rc) != WF_DEVICE_CLASS_LOST) {
		pins->refused = true;
		*why = rc;
	}
	return false;
}

static bool use(struct wf_gpu_pins *pins, uint64_t i)
{
	int why = 0;

	pthread_mutex_lock(&pins->mutex);
	bool ok = prepare(pins) && (pins->chunk[i].registered || enlist(pins, i, &why));

	WF_DEBUG(!ok || (i < pins->count && pins->chunk[i].users < UINT32_MAX));
	if (ok)
		pins->chunk[i].users++;
	pthread_mutex_unlock(&pins->mutex);
	if (why)
		wf_log(pins->gpus->rt, WEFT_LOG_WARN,
		       "the store's memory cannot be registered with devices, and is staged: %s",
		       weft_strerror(why));
	return ok;
}

/* ---- Copies up ------------------------------------------------------------------------------- */

struct wf_gpu_flight *wf_gpu_flight_begin(struct wf_gpus *gpus, struct wf_object *object)
{
	uint64_t most = object->size / WF_STORE_CHUNK_BYTES + 2;
	struct wf_gpu_flight *flight =
		gpus->pins ? wf_malloc(sizeof(*flight) + most * sizeof(flight->chunk[0])) : NULL;

	if (!flight)
		return NULL;
	WF_DEBUG(most <= UINT32_MAX);
	flight->object = object;
	flight->n = 0;
	return flight;
}

void wf_gpu_flight_end(struct wf_gpus *gpus, struct wf_gpu_flight *flight, bool lost)
{
	struct wf_gpu_pins *pins = gpus->pins;

	pthread_mutex_lock(&pins->mutex);
	for (uint32_t i = 0; i < flight->n && !lost; i++) {
		WF_CHECK(pins->chunk[flight->chunk[i]].users > 0);
		pins->chunk[flight->chunk[i]].users--;
	}
	pthread_mutex_unlock(&pins->mutex);
	/* Its bytes may go now, and others get the memory. */
	wf_value_unhold(wf_local_of(gpus->rt), flight->object, WF_OBJECT_PIN);
	wf_free(flight);
}

/* Out of a registered chunk. */
static int send(struct wf_gpu *gpu, uint32_t stream, uint64_t to, const void *from, uint64_t bytes)
{
	struct wf_gpus *gpus = gpu->gpus;

	WF_DEBUG(bytes && bytes <= WF_STORE_CHUNK_BYTES);
	pthread_mutex_lock(&gpu->mutex);
	int rc = gpus->ops->copy_to_device(gpus->backend, gpu->stream[stream].queue, to, from,
	                                   bytes);

	pthread_mutex_unlock(&gpu->mutex);
	return wf_gpu_status(gpu, rc);
}

int wf_gpu_flight_send(struct wf_gpu *gpu, uint32_t stream, uint64_t to, const void *from,
                       uint64_t bytes, struct wf_gpu_flight *flight)
{
	struct wf_gpu_pins *pins = gpu->gpus->pins;
	const struct wf_store *store = wf_runtime_store(gpu->gpus->rt);
	int rc = 0;

	for (uint64_t at = 0, n, inside; at < bytes && !rc; at += n) {
		const char *piece = (const char *)from + at;
		uint64_t chunk = wf_store_chunk_of(store, piece, &inside);

		n = WF_STORE_CHUNK_BYTES - inside;
		n = n < bytes - at ? n : bytes - at;
		if (!use(pins, chunk)) {
			rc = wf_gpu_upload(gpu, stream, to + at, piece, n);
			continue;
		}
		flight->chunk[flight->n++] = chunk;
		rc = send(gpu, stream, to + at, wf_store_chunk(store, chunk) + inside, n);
	}
	return rc;
}
