/*
 * Goal: what a thread keeps at hand (bytes reserved, slots of slabs, runs) is nobody's loss: a
 * thread that does nothing any more is not asked, and yet an object as large as the store is made.
 * Method: locals that create and delete, on real memory, and then stand still.
 */
#include "store.h"
#include "test.h"

#define LOCALS  8u
#define OBJECTS 4096u

static struct wf_store *store;
static struct wf_store_local *locals[LOCALS];

static void open_with(uint64_t capacity)
{
	struct wf_store_options options = { .capacity_bytes = capacity };

	cr_assert_eq(wf_store_open(&store, &options), 0);
	for (uint32_t i = 0; i < LOCALS; i++) {
		locals[i] = wf_store_local_create(store, 0);
		cr_assert_not_null(locals[i]);
	}
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

/* Few bytes, but each in a slab of its own, which is whole only without it. */
Test(store_idle, slots_that_threads_keep, .fini = close_empty)
{
	static const uint64_t sizes[] = { 1000, 3000, 5000, 9000, 20000, 60000 };
	static struct wf_object *objects[OBJECTS];
	uint32_t made = 0;

	open_with(64 * MIB);
	while (made < OBJECTS) {
		objects[made] = store_put(store, locals[made % LOCALS],
		                          sizes[made % (sizeof(sizes) / sizeof(sizes[0]))], made);
		if (objects[made] == NULL)
			break;
		made++;
	}
	/* Backwards by strides, so that neighbours are freed by different threads. */
	for (uint32_t first = 0; first < 17; first++) {
		for (uint32_t i = first; i < made; i += 17)
			wf_object_delete(store, locals[(i / 17 + first) % LOCALS], objects[i]);
	}
	cr_assert_eq(store_recount(store).used, 0);
	make_large(64 * MIB);
}
