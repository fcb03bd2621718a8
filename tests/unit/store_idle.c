/*
 * Goal: what a thread keeps at hand (bytes reserved, slots of slabs, runs) is nobody's loss: a
 * thread that does nothing any more is not asked, and yet an object as large as the store is made.
 * Nobody is refused what a thread that stands still in the middle of a call is about to give back.
 * Method: locals that create and delete, on real memory, and then stand still; steps of a call by
 * hand, and the keeper's rounds counted.
 */
#include <unistd.h>

#include "inner.h"
#include "store.h"
#include "test.h"

#define LOCALS  8u
#define OBJECTS 4096u

static struct wf_store *store;
static struct wf_store_local *locals[LOCALS];
static char dir[] = "/tmp/weft-test-idle-XXXXXX";
static struct wf_a32 looks; /* of the keeper at the outside */

static bool count_looks(void *arg)
{
	(void)arg;
	/* relaxed: a number. */
	wf_add_relaxed(&looks, 1);
	return false;
}

static void open_on(uint64_t capacity, const char *const *dirs)
{
	struct wf_store_options options = { .capacity_bytes = capacity,
		                            .busy = count_looks,
		                            .spill_dirs = dirs,
		                            .spill_dir_count = dirs != NULL };

	cr_assert_eq(wf_store_open(&store, &options), 0);
	for (uint32_t i = 0; i < LOCALS; i++) {
		locals[i] = wf_store_local_create(store, 0);
		cr_assert_not_null(locals[i]);
	}
}

static void open_with(uint64_t capacity)
{
	open_on(capacity, NULL);
}

static void close_empty(void)
{
	for (uint32_t i = 0; i < LOCALS; i++)
		wf_store_local_destroy(locals[i]);
	cr_assert_eq(store_recount(store).used, 0);
	wf_store_close(store);
}

/* An object of `size` is made by the keeper, as by a thread that waits. */
static void make_large(uint64_t size)
{
	struct waiter waiter;

	waiter_create(store, &waiter, size);
	cr_assert_eq(waiter_await(&waiter), 0, "%s", waiter.full.text);
	cr_assert_eq(store_recount(store).creating, size);
	cr_assert_eq(wf_object_discard(store, NULL, waiter.ticket.object), 0);
}

Test(store_idle, bytes_that_threads_have_reserved, .fini = close_empty)
{
	open_with(64 * MIB);
	for (uint32_t i = 0; i < LOCALS; i++) {
		struct wf_object *object = store_put(store, locals[i], KIB, i);

		cr_assert_not_null(object);
		wf_object_delete(store, locals[i], object);
	}
	make_large(64 * MIB);
}

/* One makes, another deletes: what the first has reserved ahead does not grow with it. */
Test(store_idle, bytes_reserved_ahead_are_used, .fini = close_empty)
{
	open_with(64 * MIB);
	for (uint32_t i = 0; i < 200; i++) {
		struct wf_object *object = store_put(store, locals[0], MIB, i);

		cr_assert_not_null(object);
		/* relaxed: of a local in which nobody is. */
		cr_assert_leq(wf_load_relaxed(&locals[0]->credit), 2 * store->credit_bytes);
		wf_object_delete(store, locals[1], object);
	}
}

/* Few bytes, but each in a slab of its own, which is whole only without it. */
static void keep_slots(void)
{
	static const uint64_t sizes[] = { 1000, 3000, 5000, 9000, 20000, 60000 };
	static struct wf_object *objects[OBJECTS];
	uint32_t made = 0;

	while (made < OBJECTS) {
		uint64_t size = sizes[made % (sizeof(sizes) / sizeof(sizes[0]))];

		if (wf_store_create(store, locals[made % LOCALS], size, &objects[made]) != 0)
			break;
		made++;
	}
	/* Backwards by strides, so that neighbours are freed by different threads. */
	for (uint32_t first = 0; first < 17; first++) {
		for (uint32_t i = first; i < made; i += 17)
			cr_assert_eq(wf_object_discard(store, locals[(i / 17 + first) % LOCALS],
			                               objects[i]),
			             0);
	}
	cr_assert_eq(store_recount(store).used, 0);
}

Test(store_idle, slots_that_threads_keep, .fini = close_empty)
{
	open_with(64 * MIB);
	keep_slots();
	make_large(64 * MIB);
}

/* It has the room of accounting only when preferences are dropped: nobody has looked before. */
Test(store_idle, slots_that_threads_keep_in_the_room_for_restores, .fini = close_empty)
{
	const char *const dirs[] = { dir };
	struct wf_object *object;

	cr_assert_not_null(mkdtemp(dir));
	open_on(64 * MIB, dirs);
	object = store_put(store, locals[0], 100 * KIB, 1);
	cr_assert_not_null(object);
	cr_assert_eq(wf_store_spill_all(store), 0);
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLED);
	keep_slots();
	make_large(64 * MIB);
	wf_object_delete(store, locals[0], object);
	cr_assert_eq(rmdir(dir), 0);
}

/* As in a creation that is stopped when it has reserved some for the next ones as well. */
Test(store_idle, bytes_of_a_thread_in_the_middle, .fini = close_empty)
{
	struct waiter waiter;
	uint32_t from;

	open_with(64 * MIB);
	cr_assert_eq(wf_local_enter(store, locals[0]), locals[0]);
	cr_assert(wf_account_reserve(store, store->credit_bytes, store->capacity));
	waiter_create(store, &waiter, 64 * MIB);
	/* relaxed, both: a number. */
	from = wf_load_relaxed(&looks);
	while (!waiter_is_done(&waiter) && wf_load_relaxed(&looks) - from < 8)
		usleep(1000);
	cr_assert_not(waiter_is_done(&waiter), "%s", waiter.full.text);
	/* relaxed: its thread's. */
	wf_store_relaxed(&locals[0]->credit, store->credit_bytes);
	wf_local_leave(store, locals[0]);
	cr_assert_eq(waiter_await(&waiter), 0, "%s", waiter.full.text);
	cr_assert_eq(wf_object_discard(store, NULL, waiter.ticket.object), 0);
}
