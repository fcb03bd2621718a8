/*
 * Goal: threads that create and delete without a pause keep nothing from the one that waits for
 * nearly all of the store, which is never refused; and what the keeper takes out of their locals
 * meanwhile is neither lost nor had twice.
 * Method: workers hold a bounded number of small objects, whose bytes they compare before they
 * delete them; one thread makes an object of the capacity less that bound, again and again, by
 * tickets. With and without the membarrier.
 */
#include <sched.h>

#include "store.h"
#include "stress.h"

#define WORKERS  3u
#define HELD     16u
#define OBJECT   ((uint64_t)448)
#define CAPACITY (64 * MIB)

static struct wf_store *store;
static struct wf_a32 stop;
static struct wf_a64 rounds; /* of all workers */

static void drop(struct wf_store_local *local, struct wf_object **object, uint64_t key)
{
	uint64_t size = (*object)->size;

	STORE_CHECK(store_has(wf_object_writable(store, *object), size, key));
	STORE_CHECK(wf_object_discard(store, local, *object) == 0);
	*object = NULL;
}

static void *worker(void *arg)
{
	struct wf_store_local *local = wf_store_local_create(store, 0);
	uint64_t base = (uint64_t)(uintptr_t)arg << 32;
	struct wf_object *objects[HELD] = { NULL };
	uint64_t keys[HELD] = { 0 };

	STORE_CHECK(local != NULL);
	/* relaxed, both: a flag and a number. */
	for (uint64_t i = 0; wf_load_relaxed(&stop) == 0; i++) {
		uint32_t at = (uint32_t)(i % HELD);
		uint64_t size = 1 + i * 37 % OBJECT;

		if (objects[at] != NULL)
			drop(local, &objects[at], keys[at]);
		if (wf_store_create(store, local, size, &objects[at]) != 0) {
			/* Somebody waits for room: him first. */
			objects[at] = NULL;
			sched_yield();
			continue;
		}
		keys[at] = base + i;
		store_fill(wf_object_writable(store, objects[at]), size, keys[at]);
		wf_add_relaxed(&rounds, 1);
	}
	for (uint32_t at = 0; at < HELD; at++) {
		if (objects[at] != NULL)
			drop(local, &objects[at], keys[at]);
	}
	wf_store_local_destroy(local);
	return NULL;
}

/* What workers have made since then: they go on beside the one that waits. */
static void await_rounds(uint64_t more)
{
	uint64_t from = wf_load_relaxed(&rounds);

	while (wf_load_relaxed(&rounds) - from < more)
		sched_yield();
}

static void run(uint32_t times)
{
	struct wf_store_options options = { .capacity_bytes = CAPACITY };
	/* What workers hold, and what each has reserved for one more. */
	uint64_t most = CAPACITY - WORKERS * (HELD + 1) * 2 * OBJECT;
	struct wf_thread threads[WORKERS];
	struct wf_object *first;

	wf_store_relaxed(&stop, 0);
	STORE_CHECK(wf_store_open(&store, &options) == 0);
	for (uint32_t i = 0; i < WORKERS; i++)
		STORE_CHECK(wf_thread_start(&threads[i], "worker", worker,
		                            (void *)(uintptr_t)(i + 1)) == 0);
	for (uint32_t i = 0; i < times; i++) {
		struct waiter waiter;

		await_rounds(100);
		waiter_create(store, &waiter, most / 64 * 64);
		if (waiter_await(&waiter) != 0) {
			fprintf(stderr, "%u: %s\n", i, waiter.full.text);
			abort();
		}
		first = waiter.ticket.object;
		wf_object_writable(store, first)[i % most] = 1;
		STORE_CHECK(wf_object_discard(store, NULL, first) == 0);
	}
	wf_store_release(&stop, 1);
	for (uint32_t i = 0; i < WORKERS; i++)
		wf_thread_join(&threads[i]);
	STORE_CHECK(store_recount(store).used == 0);
	wf_store_close(store);
}

int main(void)
{
	const uint32_t times = WF_TSAN || WF_ASAN ? 60 : 160;

	run(times);
	setenv("WEFT_MEMBARRIER", "0", 1);
	wf_membarrier_reload();
	run(times / 4);
	printf("%llu objects made beside\n", (unsigned long long)wf_load_relaxed(&rounds));
	return 0;
}
