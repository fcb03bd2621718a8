/*
 * heap.c: plain buffers behind the store's door.
 *
 * Below 2 MiB a buffer is the C library's, aligned here: its aligned_alloc() does not use the
 * caches of the threads and was measured at five times the price of malloc(). The block's own
 * address stands in the word before the buffer. From 2 MiB on it is a mapping of its own in units
 * of 2 MiB, aligned so that the kernel can back it with huge pages. Such a mapping is dear to make:
 * each of its pages is faulted in and zeroed. A stream of equal big results, each freed before the
 * one after next is made, would pay that every time, so freed buffers are kept, bounded, and the
 * next request of the same number of units takes the one freed last, which is the warmest.
 *
 * Shared: `cache`, `cache_count`, `cache_bytes`, read and written under `lock` (cache_bytes is also
 * read without it, as a statistic); `live[]`, added to by all threads. A buffer counts in the
 * stripe of its address, so that it leaves the stripe it came to, and threads, whose heaps lie
 * apart, mostly count on cache lines of their own.
 *
 * Invariants: cache_bytes = sum of cache[0 .. cache_count).bytes <= WF_STORE_CACHE_BYTES; each
 * entry is a whole number of units, so cache_count <= CACHE_MAX. Entries stand in the order in
 * which they were freed, the oldest first.
 *
 * Progress: blocking for big buffers (a mutex, held for a scan of at most CACHE_MAX entries and
 * never across a system call on memory); for small ones that of malloc.
 */
#include "wf_store.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "base.h"

#if WF_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, size)   ((void)(p), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#endif

#define UNIT_BYTES   WF_STORE_BIG_BYTES
#define CACHE_MAX    (WF_STORE_CACHE_BYTES / UNIT_BYTES)

/* Guessed: enough for the heaps of the threads of a large machine, one page in all. */
#define STRIPES      64
#define STRIPE_SHIFT 21

_Static_assert((UNIT_BYTES & (UNIT_BYTES - 1)) == 0, "alignment by masking");

struct kept {
	void *p;
	size_t bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept cache[CACHE_MAX];
static size_t cache_count;
static struct wf_a64 cache_bytes;
static struct stripe {
	struct wf_a64 bytes;
} WF_ALIGNED(WF_CACHE_LINE) live[STRIPES];

_Static_assert(STRIPES == 1 << (64 - 58), "the hash gives six bits");
_Static_assert(sizeof(struct stripe) == WF_CACHE_LINE, "a line each");

static struct wf_a64 *live_of(const void *p)
{
	/* Fibonacci hashing: neighbouring regions go to stripes far apart. */
	uint64_t hash = ((uintptr_t)p >> STRIPE_SHIFT) * 0x9e3779b97f4a7c15u;

	return &live[hash >> 58].bytes;
}

/* Whole units; 0 when that does not fit a size. */
static size_t units_of(size_t bytes)
{
	size_t rounded;

	if (__builtin_add_overflow(bytes, UNIT_BYTES - 1, &rounded))
		return 0;
	return rounded & ~(UNIT_BYTES - 1);
}

static bool is_aligned(const void *p)
{
	return ((uintptr_t)p & (UNIT_BYTES - 1)) == 0;
}

/* Take entry `i` out, keeping the order. Called with the lock held. */
static struct kept remove_locked(size_t i)
{
	struct kept taken = cache[i];

	WF_CHECK(i < cache_count);
	cache_count--;
	memmove(&cache[i], &cache[i + 1], (cache_count - i) * sizeof(cache[0]));
	/* relaxed: written under the lock; read elsewhere as a statistic. */
	wf_add_relaxed(&cache_bytes, -(uint64_t)taken.bytes);
	return taken;
}

/* The buffer of exactly this size that was freed last, or NULL. */
static void *take_cached(size_t bytes)
{
	void *p = NULL;

	pthread_mutex_lock(&lock);
	for (size_t i = cache_count; i-- > 0;) {
		if (cache[i].bytes == bytes) {
			p = remove_locked(i).p;
			break;
		}
	}
	pthread_mutex_unlock(&lock);
	if (p != NULL)
		ASAN_UNPOISON_MEMORY_REGION(p, bytes);
	return p;
}

static void unmap_kept(const struct kept *dropped)
{
	/* The addresses may be mapped again by somebody who does not know of the poison. */
	ASAN_UNPOISON_MEMORY_REGION(dropped->p, dropped->bytes);
	wf_unmap(dropped->p, dropped->bytes);
}

/*
 * Map one unit more than is needed and cut off what is not aligned. Trying without the extra unit
 * first would often do and save two system calls, which are nothing beside filling the buffer.
 */
static void *map_big(size_t bytes)
{
	size_t before;
	char *p;

	WF_CHECK(bytes % UNIT_BYTES == 0 && bytes <= SIZE_MAX / 2);
	p = wf_map(bytes + UNIT_BYTES, PROT_READ | PROT_WRITE);
	if (p == NULL)
		return NULL;
	before = -(uintptr_t)p & (UNIT_BYTES - 1);
	if (before != 0)
		wf_unmap(p, before);
	wf_unmap(p + before + bytes, UNIT_BYTES - before);
	p += before;
	WF_CHECK(is_aligned(p));
	/* Refused where huge pages are switched off: then small ones do. */
	(void)madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

static void *alloc_big(size_t bytes)
{
	size_t whole = units_of(bytes);
	void *p;

	/* mmap's limit is half of the space; asking for more would only wrap further on. */
	if (whole == 0 || whole > SIZE_MAX / 2)
		return NULL;
	p = take_cached(whole);
	if (p == NULL)
		p = map_big(whole);
	if (p == NULL && wf_store_trim() > 0) {
		/* What was full may have been full of our own cache. */
		p = map_big(whole);
	}
	if (p != NULL)
		ASAN_POISON_MEMORY_REGION((char *)p + bytes, whole - bytes);
	return p;
}

/* Keep it, dropping the oldest until there is room. The system calls come after the lock. */
static void free_big(void *p, size_t bytes)
{
	struct kept dropped[CACHE_MAX];
	size_t dropped_count = 0;

	WF_CHECK(is_aligned(p));
	bytes = units_of(bytes);
	WF_CHECK(bytes != 0);
	if (bytes > WF_STORE_CACHE_BYTES) {
		const struct kept whole = { p, bytes };

		unmap_kept(&whole);
		return;
	}
	ASAN_POISON_MEMORY_REGION(p, bytes);
	pthread_mutex_lock(&lock);
	/* relaxed: written under this lock only. */
	while (wf_load_relaxed(&cache_bytes) + bytes > WF_STORE_CACHE_BYTES)
		dropped[dropped_count++] = remove_locked(0);
	WF_CHECK(cache_count < CACHE_MAX);
	cache[cache_count++] = (struct kept){ p, bytes };
	/* relaxed: as above. */
	wf_add_relaxed(&cache_bytes, bytes);
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < dropped_count; i++)
		unmap_kept(&dropped[i]);
}

static void *alloc_small(size_t bytes)
{
	/* malloc aligns to 16, so the step up to the next line is at least that: a word fits. */
	char *block = wf_malloc(bytes + WF_CACHE_LINE);
	char *p;

	if (block == NULL)
		return NULL;
	p = block + WF_CACHE_LINE - (uintptr_t)block % WF_CACHE_LINE;
	WF_CHECK((size_t)(p - block) >= sizeof(void *));
	memcpy(p - sizeof(void *), &block, sizeof(void *));
	ASAN_POISON_MEMORY_REGION(p + bytes, (size_t)(block + WF_CACHE_LINE - p));
	return p;
}

static void free_small(char *p, size_t bytes)
{
	char *block;

	memcpy(&block, p - sizeof(void *), sizeof(void *));
	/* Anything else: not our buffer, or somebody wrote before its begin. */
	WF_CHECK(block < p && p <= block + WF_CACHE_LINE);
	ASAN_UNPOISON_MEMORY_REGION(p + bytes, (size_t)(block + WF_CACHE_LINE - p));
	wf_free(block);
}

void *wf_store_alloc(size_t bytes)
{
	void *p;

	if (bytes >= WF_STORE_BIG_BYTES)
		p = alloc_big(bytes);
	else
		p = alloc_small(bytes);
	if (p != NULL) {
		/* relaxed: a statistic. */
		wf_add_relaxed(live_of(p), bytes);
	}
	return p;
}

void wf_store_free(void *p, size_t bytes)
{
	uint64_t before;

	if (p == NULL)
		return;
	/* relaxed: a statistic, and a net for buffers freed twice or with another size. */
	before = wf_add_relaxed(live_of(p), -(uint64_t)bytes);
	WF_CHECK(before >= bytes);
	if (bytes >= WF_STORE_BIG_BYTES)
		free_big(p, bytes);
	else
		free_small(p, bytes);
}

size_t wf_store_trim(void)
{
	struct kept dropped[CACHE_MAX];
	size_t dropped_count, bytes = 0;

	pthread_mutex_lock(&lock);
	dropped_count = cache_count;
	WF_CHECK(dropped_count <= CACHE_MAX);
	memcpy(dropped, cache, dropped_count * sizeof(dropped[0]));
	cache_count = 0;
	/* relaxed: written under the lock only; read elsewhere as a statistic. */
	wf_store_relaxed(&cache_bytes, 0);
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < dropped_count; i++) {
		bytes += dropped[i].bytes;
		unmap_kept(&dropped[i]);
	}
	return bytes;
}

size_t wf_store_live_bytes(void)
{
	size_t sum = 0;

	/* relaxed: a statistic. */
	for (int i = 0; i < STRIPES; i++)
		sum += (size_t)wf_load_relaxed(&live[i].bytes);
	return sum;
}

size_t wf_store_cached_bytes(void)
{
	/* relaxed: a statistic. */
	return (size_t)wf_load_relaxed(&cache_bytes);
}
