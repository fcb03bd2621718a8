/*
 * Goal: with batches, reads and frees from several threads at once, every object that was written
 * comes back as it was until it is freed, no two live records share a byte, and at the end the
 * counters and the files are what an empty spill has.
 * Method: objects with their bytes in plain memory as the model; one thread writes random batches,
 * several in flight; two read random objects or free them; a table of live places under a lock.
 */
#include <pthread.h>

#include "seed.h"
#include "spill_disk.h"
#include "stress.h"

#define OBJECTS 160u
#define PER     24u
#define FLYING  3u
#define USERS   2

enum state { ABSENT = 0, WRITING, WRITTEN, USED };

struct object {
	struct wf_a32 state;
	struct wf_spill_item item;
	uint64_t shift;
};

struct flight {
	struct wf_spill_batch batch;
	struct wf_spill_item items[PER];
	uint32_t which[PER];
	struct wf_a32 busy;
};

static struct object objects[OBJECTS];
static struct flight flights[FLYING];
static struct spill_kit kit;
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static bool live[OBJECTS];
static uint64_t live_bytes;
static struct wf_a32 over;
static struct wf_a64 reads, frees, writes;

static uint64_t begin_of(const struct wf_spill_item *item)
{
	return (uint64_t)item->place.page * 4096 + item->place.skip;
}

static void enter(uint32_t n)
{
	const struct wf_spill_item *a = &objects[n].item;

	pthread_mutex_lock(&live_lock);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		const struct wf_spill_item *b = &objects[i].item;

		if (!live[i] || b->place.segment != a->place.segment)
			continue;
		STRESS_CHECK(begin_of(a) + wf_record_bytes(a->size) <= begin_of(b) ||
		             begin_of(b) + wf_record_bytes(b->size) <= begin_of(a));
	}
	live[n] = true;
	live_bytes += wf_record_bytes(a->size);
	pthread_mutex_unlock(&live_lock);
}

static void leave(uint32_t n)
{
	pthread_mutex_lock(&live_lock);
	STRESS_CHECK(live[n]);
	live[n] = false;
	live_bytes -= wf_record_bytes(objects[n].item.size);
	pthread_mutex_unlock(&live_lock);
}

static void batch_done(struct wf_spill_batch *batch)
{
	struct flight *flight = batch->arg;

	for (uint32_t i = 0; i < batch->count; i++) {
		struct object *object = &objects[flight->which[i]];

		STRESS_CHECK(flight->items[i].status == 0);
		object->item = flight->items[i];
		enter(flight->which[i]);
		/* release [S1]: the item, to the acquire [S2] of who uses it. */
		wf_store_release(&object->state, WRITTEN);
	}
	/* release [S3]: the flight is not used any more; to the acquire [S4]. */
	wf_store_release(&flight->busy, 0);
}

static void renew(struct wf_random *random, uint32_t n)
{
	struct wf_spill_item *item = &objects[n].item;
	uint64_t size = wf_random_below(random, 6000);
	char *bytes;

	if (wf_random_below(random, 8) == 0)
		size = wf_random_below(random, 400000);
	if (wf_random_below(random, 40) == 0)
		size = wf_random_below(random, 5000000);
	if (item->data != NULL)
		spill_bytes_free((void *)(uintptr_t)item->data);
	bytes = spill_bytes(size, wf_random_below(random, 2) * 64);
	io_fill(bytes, size, wf_random_next(random));
	item->data = bytes;
	item->size = size;
	item->id = n;
	item->generation++;
}

/* Fill a flight with objects that are absent. False: there are none. */
static bool launch(struct wf_random *random, struct flight *flight)
{
	uint32_t count = 0, most = 1 + wf_random_below(random, PER);

	for (uint32_t tries = 0; tries < 4 * OBJECTS && count < most; tries++) {
		uint32_t n = wf_random_below(random, OBJECTS), absent = ABSENT;

		/* acquire [S6]: with the release [S5] of who freed it. */
		if (!wf_cas_acquire(&objects[n].state, &absent, WRITING))
			continue;
		renew(random, n);
		flight->items[count] = objects[n].item;
		flight->which[count++] = n;
	}
	if (count == 0)
		return false;
	flight->batch = (struct wf_spill_batch){ .items = flight->items, .count = count };
	flight->batch.done = batch_done;
	flight->batch.arg = flight;
	/* relaxed: this thread alone launches. */
	wf_store_relaxed(&flight->busy, 1);
	wf_spill_write(kit.spill, &flight->batch);
	/* relaxed: a statistic. */
	wf_add_relaxed(&writes, count);
	return true;
}

static void use(struct wf_random *random, uint32_t n, char *to)
{
	struct object *object = &objects[n];
	char text[256];

	if (wf_random_below(random, 3) != 0) {
		int status = spill_read_to(kit.spill, &object->item, to, text);

		if (status != 0)
			fprintf(stderr, "%s\n", text);
		STRESS_CHECK(status == 0);
		STRESS_CHECK(memcmp(to, object->item.data, object->item.size) == 0);
		/* relaxed: a statistic. */
		wf_add_relaxed(&reads, 1);
		/* release [S1]: as above; nothing was changed. */
		wf_store_release(&object->state, WRITTEN);
		return;
	}
	leave(n);
	wf_spill_free(kit.spill, &object->item.place, object->item.size);
	/* relaxed: a statistic. */
	wf_add_relaxed(&frees, 1);
	/* release [S5]: the object is the writer's, to the acquire [S6]. */
	wf_store_release(&object->state, ABSENT);
}

static void *user(void *arg)
{
	struct wf_random random = stress_random((uintptr_t)arg);
	char *to = spill_bytes(5000000, 0);

	/* acquire [S8]: with the release [S7]. */
	while (wf_load_acquire(&over) == 0) {
		uint32_t n = wf_random_below(&random, OBJECTS), written = WRITTEN;

		/* acquire [S2]: with the release [S1]: the item. */
		if (wf_cas_acquire(&objects[n].state, &written, USED))
			use(&random, n, to);
		else
			sched_yield();
	}
	spill_bytes_free(to);
	return NULL;
}

static void drain(void)
{
	for (uint32_t i = 0; i < FLYING; i++) {
		/* acquire [S4]: with the release [S3]. */
		while (wf_load_acquire(&flights[i].busy) != 0)
			sched_yield();
	}
	STRESS_CHECK(spill_stats(kit.spill).live_bytes == live_bytes);
	wf_segments_verify(&kit.spill->segments);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		/* relaxed: all threads have ended. */
		if (wf_load_relaxed(&objects[i].state) == WRITTEN)
			wf_spill_free(kit.spill, &objects[i].item.place, objects[i].item.size);
		if (objects[i].item.data != NULL)
			spill_bytes_free((void *)(uintptr_t)objects[i].item.data);
	}
	spill_settle(kit.spill);
	STRESS_CHECK(spill_stats(kit.spill).live_bytes == 0);
	STRESS_CHECK(spill_stats(kit.spill).file_bytes <= 4 * SPILL_MIB);
	wf_segments_verify(&kit.spill->segments);
}

static void run(const char *backend, uint32_t batches)
{
	struct wf_random random = stress_random(0);
	struct wf_thread threads[USERS];
	int status;

	memset(objects, 0, sizeof(objects));
	memset(live, 0, sizeof(live));
	live_bytes = 0;
	status = spill_open(&kit, backend);
	if (status == -ENOTSUP && backend == io_backends[0])
		return;
	STRESS_CHECK(status == 0);
	/* relaxed: the threads start after this. */
	wf_store_relaxed(&over, 0);
	for (uintptr_t i = 0; i < USERS; i++)
		STRESS_CHECK(wf_thread_start(&threads[i], "user", user, (void *)(i + 1)) == 0);
	for (uint32_t launched = 0; launched < batches;) {
		struct flight *flight = &flights[launched % FLYING];

		/* acquire [S4]: with the release [S3]. */
		if (wf_load_acquire(&flight->busy) == 0 && launch(&random, flight))
			launched++;
		else
			sched_yield();
	}
	/* release [S7]: no more batches come, to the acquire [S8]. */
	wf_store_release(&over, 1);
	for (int i = 0; i < USERS; i++)
		wf_thread_join(&threads[i]);
	drain();
	/* relaxed: all have ended. */
	fprintf(stderr, "%s: %llu written, %llu read, %llu freed, %llu bytes of files at the end\n",
	        backend, (unsigned long long)wf_load_relaxed(&writes),
	        (unsigned long long)wf_load_relaxed(&reads),
	        (unsigned long long)wf_load_relaxed(&frees),
	        (unsigned long long)spill_stats(kit.spill).file_bytes);
	spill_close(&kit);
}

int main(void)
{
	uint32_t batches = STRESS_SCALE(test_is_long() ? 30000u : 400u);

	for (int b = 0; b < 2; b++)
		run(io_backends[b], batches);
	return 0;
}
