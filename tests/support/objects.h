/*
 * objects.h: what the tests of values in the store share: small stores, patterned bytes.
 */
#ifndef WEFT_TEST_OBJECTS_H
#define WEFT_TEST_OBJECTS_H

#include "api.h"
#include "test.h"

#define MIB ((size_t)1 << 20)

static inline void fill(void *at, size_t size, uint64_t seed)
{
	uint64_t *words = at;

	for (size_t i = 0; i < size / 8; i++)
		words[i] = seed * 0x9e3779b97f4a7c15u + i;
}

static inline bool filled(const void *at, size_t size, uint64_t seed)
{
	const uint64_t *words = at;

	for (size_t i = 0; i < size / 8; i++) {
		if (words[i] != seed * 0x9e3779b97f4a7c15u + i)
			return false;
	}
	return true;
}

static inline weft *open_store(uint32_t workers, size_t store_bytes, const char *spill_dirs)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .store_bytes = store_bytes,
	                                 .spill_dirs = spill_dirs)) == 0);
	return rt;
}

static inline struct weft_store_stats store_stats(weft *rt)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };

	API_CHECK(weft_store_stats(rt, &stats) == 0);
	return stats;
}

/*
 * Until no byte is in use: what was on its way to the disk or back when it was released goes when
 * it has arrived, and the snapshot itself may catch a thread between two numbers.
 */
static inline void store_await_empty(weft *rt)
{
	const int64_t start = api_now();

	while (store_stats(rt).used != 0)
		api_polling(start, "the store is empty");
}

/* A weft_put() of patterned bytes by way of a buffer. */
static inline weft_ref put(weft *rt, size_t size, uint64_t seed)
{
	struct weft_buffer buffer;
	weft_ref ref = api_poison_ref();

	API_CHECK(weft_create(rt, size, NULL, &buffer) == 0);
	API_CHECK((uintptr_t)buffer.data % 64 == 0);
	fill(buffer.data, size, seed);
	API_CHECK(weft_seal(rt, &buffer, &ref) == 0);
	return ref;
}

static inline void check_value(weft *rt, weft_ref ref, size_t size, uint64_t seed)
{
	struct weft_view view;
	int rc = weft_get(rt, ref, WEFT_FOREVER, &view);

	cr_assert_eq(rc, 0, "%s", weft_strerror(rc));
	cr_assert_eq(view.size, size);
	cr_assert(filled(view.data, size, seed), "object %llu", (unsigned long long)seed);
	cr_assert_eq(weft_view_end(rt, ref), 0);
}

#endif /* WEFT_TEST_OBJECTS_H */
