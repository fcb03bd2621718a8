/*
 * Goal: buffers of any size are aligned, whole and counted; big ones are huge-page aligned and
 * recycled, within the bound; trimming gives everything back.
 * Method: direct calls, the counters as oracle, content patterns against overlap, the process's
 * own list of mappings against leaks; three joined threads that exchange buffers.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

#include "base.h"
#include "test.h"
#include "wf_store.h"

#define MIB ((size_t)1 << 20)

static void empty(void)
{
	wf_store_trim();
	cr_assert_eq(wf_store_live_bytes(), 0);
	cr_assert_eq(wf_store_cached_bytes(), 0);
}

Test(store_heap, buffers_of_any_size_are_aligned_and_apart, .init = empty, .fini = empty)
{
	static const size_t sizes[] = {
		0, 1, 33, 64, 65, 4096, 1000001, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 5 * MIB,
	};
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	unsigned char *p[COUNT];
	size_t sum = 0;

	for (int i = 0; i < COUNT; i++) {
		p[i] = wf_store_alloc(sizes[i]);
		cr_assert_not_null(p[i]);
		cr_assert_eq((uintptr_t)p[i] % (sizes[i] >= WF_STORE_BIG_BYTES ? 2 * MIB : 64), 0);
		memset(p[i], i + 1, sizes[i]);
		sum += sizes[i];
		cr_assert_eq(wf_store_live_bytes(), sum);
	}
	for (int i = 0; i < COUNT; i++) {
		for (size_t at = 0; at < sizes[i]; at += 61)
			cr_assert_eq(p[i][at], i + 1);
		cr_assert(sizes[i] == 0 || p[i][sizes[i] - 1] == i + 1);
		wf_store_free(p[i], sizes[i]);
	}
}

Test(store_heap, null_is_freed, .init = empty, .fini = empty)
{
	wf_store_free(NULL, 0);
	wf_store_free(NULL, 5 * MIB);
}

Test(store_heap, a_freed_big_buffer_is_the_next_of_its_size, .init = empty, .fini = empty)
{
	char *a = wf_store_alloc(5 * MIB), *b = wf_store_alloc(5 * MIB);
	char *c = wf_store_alloc(7 * MIB);

	cr_assert(a != NULL && b != NULL && c != NULL);
	wf_store_free(a, 5 * MIB);
	wf_store_free(b, 5 * MIB);
	wf_store_free(c, 7 * MIB);
	cr_assert_eq(wf_store_cached_bytes(), 20 * MIB, "whole units: 6, 6 and 8 MiB");
	/* Same units, other size; the one freed last first. */
	cr_assert_eq(wf_store_alloc(5 * MIB + 1), b);
	cr_assert_eq(wf_store_alloc(6 * MIB), a);
	cr_assert_eq(wf_store_cached_bytes(), 8 * MIB);
	cr_assert_eq(wf_store_live_bytes(), 11 * MIB + 1);
	wf_store_free(b, 5 * MIB + 1);
	wf_store_free(a, 6 * MIB);
	cr_assert_eq(wf_store_trim(), 20 * MIB);
}

Test(store_heap, the_cache_is_bounded_and_drops_the_oldest, .init = empty, .fini = empty)
{
	size_t size = WF_STORE_CACHE_BYTES / 4;
	char *p[5];

	for (int i = 0; i < 5; i++) {
		p[i] = wf_store_alloc(size);
		cr_assert_not_null(p[i]);
	}
	for (int i = 0; i < 5; i++)
		wf_store_free(p[i], size);
	cr_assert_eq(wf_store_cached_bytes(), WF_STORE_CACHE_BYTES);
	for (int i = 4; i >= 1; i--)
		cr_assert_eq(wf_store_alloc(size), p[i]);
	cr_assert_eq(wf_store_cached_bytes(), 0);
	for (int i = 1; i < 5; i++)
		wf_store_free(p[i], size);
	/* One that fills the cache drives all others out; one above the bound is not kept. */
	p[0] = wf_store_alloc(WF_STORE_CACHE_BYTES);
	wf_store_free(p[0], WF_STORE_CACHE_BYTES);
	cr_assert_eq(wf_store_cached_bytes(), WF_STORE_CACHE_BYTES);
	cr_assert_eq(wf_store_alloc(WF_STORE_CACHE_BYTES), p[0]);
	wf_store_free(p[0], WF_STORE_CACHE_BYTES);
	p[1] = wf_store_alloc(WF_STORE_CACHE_BYTES + 1);
	cr_assert_not_null(p[1]);
	wf_store_free(p[1], WF_STORE_CACHE_BYTES + 1);
	cr_assert_eq(wf_store_cached_bytes(), WF_STORE_CACHE_BYTES);
}

Test(store_heap, the_cache_holds_the_most_entries_it_can, .init = empty, .fini = empty)
{
	enum { MOST = WF_STORE_CACHE_BYTES / WF_STORE_BIG_BYTES };
	static char *p[MOST + 3];

	for (int i = 0; i < MOST + 3; i++) {
		p[i] = wf_store_alloc(WF_STORE_BIG_BYTES);
		cr_assert_not_null(p[i]);
		p[i][0] = 1;
	}
	for (int i = 0; i < MOST + 3; i++)
		wf_store_free(p[i], WF_STORE_BIG_BYTES);
	cr_assert_eq(wf_store_cached_bytes(), WF_STORE_CACHE_BYTES);
	cr_assert_eq(wf_store_trim(), WF_STORE_CACHE_BYTES);
}

Test(store_heap, impossible_sizes_are_refused, .init = empty, .fini = empty)
{
	volatile size_t huge = SIZE_MAX;

	cr_assert_null(wf_store_alloc(huge));
	cr_assert_null(wf_store_alloc(huge - 2 * MIB + 1));
	cr_assert_null(wf_store_alloc(huge / 2));
	cr_assert_null(wf_store_alloc(huge / 4));
}

Test(store_heap, a_buffer_freed_twice_dies, .signal = SIGABRT)
{
	void *p = wf_store_alloc(3 * MIB);

	wf_store_free(p, 3 * MIB);
	wf_store_free(p, 3 * MIB);
}

Test(store_heap, a_write_before_the_begin_dies, .signal = SIGABRT)
{
	char *p = wf_store_alloc(1000);

	memset(p - sizeof(void *), 0x55, sizeof(void *));
	wf_store_free(p, 1000);
}

/* Lines of /proc/self/maps; without the heap, as the test must not count itself. */
static int count_mappings(void)
{
	static char buffer[65536];
	int fd = open("/proc/self/maps", O_RDONLY), lines = 0;
	ssize_t got;

	cr_assert_geq(fd, 0);
	while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
		for (ssize_t i = 0; i < got; i++)
			lines += buffer[i] == '\n';
	}
	close(fd);
	return lines;
}

static void use_all_kinds(void)
{
	size_t odd = 3 * MIB + 4096;
	char *a = wf_store_alloc(odd), *b = wf_store_alloc(100), *c = wf_store_alloc(260 * MIB);

	cr_assert(a != NULL && b != NULL && c != NULL);
	a[odd - 1] = b[99] = c[0] = 1;
	wf_store_free(c, 260 * MIB);
	wf_store_free(a, odd);
	wf_store_free(b, 100);
	wf_store_trim();
}

Test(store_heap, nothing_stays_mapped, .init = empty, .fini = empty)
{
	int before;

	if (WF_ASAN || WF_TSAN)
		test_skip("a sanitizer's own mappings come and go");
	use_all_kinds();
	before = count_mappings();
	for (int i = 0; i < 100; i++)
		use_all_kinds();
	cr_assert_eq(count_mappings(), before);
}

#define ROUNDS 300

static struct wf_aptr slots[4];

/* Put a marked buffer into a random slot, check and free what was there. */
static void *exchange(void *arg)
{
	struct wf_random random;
	size_t size = 2 * MIB;

	wf_random_init(&random, *(uint64_t *)arg);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t mark = wf_random_next(&random);
		uint64_t *p = wf_store_alloc(size);
		uint64_t *old;

		cr_assert_not_null(p);
		p[0] = mark;
		p[1] = ~mark;
		/* acq_rel [X1]: our marks to whoever takes the buffer; theirs to us. */
		old = (uint64_t *)wf_swap_acq_rel(&slots[mark % 4], (uintptr_t)p);
		if (old != NULL) {
			cr_assert_eq(old[0], ~old[1], "a buffer has one owner");
			wf_store_free(old, size);
		}
	}
	return NULL;
}

Test(store_heap, threads_free_what_others_made, .init = empty, .fini = empty)
{
	uint64_t seeds[3] = { 1, 2, 3 };
	pthread_t threads[3];

	for (int i = 0; i < 4; i++)
		wf_init(&slots[i], 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, exchange, &seeds[i]), 0);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(wf_store_live_bytes() % (2 * MIB), 0);
	cr_assert_leq(wf_store_live_bytes(), 8 * MIB);
	for (int i = 0; i < 4; i++)
		wf_store_free((void *)wf_load_relaxed(&slots[i]), 2 * MIB);
}
