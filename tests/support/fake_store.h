/*
 * fake_store.h: a store on pretended memory and files (fake_files.h), and one thread's part of it,
 * for tests of the object layer. Closed, it has nothing left of what the test has deleted.
 */
#ifndef WEFT_TEST_FAKE_STORE_H
#define WEFT_TEST_FAKE_STORE_H

#include "fake_files.h"
#include "store.h"
#include "test.h"

#define PIN  WF_OBJECT_PIN
#define VIEW WF_OBJECT_VIEW

static const char *const fake_dirs[] = { "fake" };
static struct wf_store *store;
static struct wf_store_local *local;

static inline void open_fake(struct wf_store_options options, bool spills)
{
	if (spills) {
		options.spill_dirs = fake_dirs;
		options.spill_dir_count = 1;
	}
	fake_reset();
	cr_assert_eq(wf_store_open(&store, &options), 0);
	local = wf_store_local_create(store, 0);
	cr_assert_not_null(local);
}

static inline void close_empty(void)
{
	struct wf_store_stats stats;

	/* What was in flight when it was deleted has come back. */
	(void)wf_store_spill_all(store);
	stats = store_recount(store);
	cr_assert_eq(stats.objects, 0);
	cr_assert_eq(stats.used, 0);
	cr_assert_eq(fake_memory_blocks(), 0);
	cr_assert_eq(fake_records(), 0);
	wf_store_local_destroy(local);
	wf_store_close(store);
}

static inline struct wf_object *put(uint64_t size, uint64_t key)
{
	struct wf_object *object = store_put(store, local, size, key);

	cr_assert_not_null(object);
	return object;
}

static inline void check(struct wf_object *object, uint64_t size, uint64_t key)
{
	cr_assert_eq(store_check(store, local, object, size, key), 0);
}

static inline void drop(struct wf_object *object)
{
	wf_object_delete(store, local, object);
}

static inline void spill_all(void)
{
	cr_assert_eq(wf_store_spill_all(store), 0);
}

#endif /* WEFT_TEST_FAKE_STORE_H */
