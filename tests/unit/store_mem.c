/*
 * Goal: the store's memory hands out what was asked for: aligned, in both mappings, apart from
 * everything else that is live, within the limit and the slack; gives back what it should and
 * nothing that is held; and its counters are those of a recount.
 * Method: small memories, where every path is reached; a shadow list of what is live, each byte of
 * which carries its owner's mark; the oracle after each step that matters.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "mem_oracle.h"
#include "test.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

static int logged;
static char log_text[256];

static void log_line(void *arg, int level, const char *text)
{
	(void)arg;
	logged = level;
	snprintf(log_text, sizeof log_text, "%s", text);
}

static struct wf_mem *open_mem(uint64_t limit, uint32_t nodes)
{
	struct wf_mem_options options = { .limit_bytes = limit, .node_count = nodes };
	struct wf_mem *mem = NULL;

	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	return mem;
}

static struct wf_mem_cache *open_cache(struct wf_mem *mem, uint32_t node)
{
	struct wf_mem_cache *cache = wf_mem_cache_create(mem, node);

	cr_assert_not_null(cache);
	return cache;
}

/* With all caches gone and everything freed, nothing is in use. */
static void close_empty(struct wf_mem *mem)
{
	struct mem_recount n = mem_oracle(mem);

	cr_assert_eq(n.run, 0);
	cr_assert_eq(n.slab, 0);
	wf_mem_close(mem);
}

static struct wf_mem_stats stats_of(const struct wf_mem *mem)
{
	struct wf_mem_stats stats;

	wf_mem_stats(mem, &stats);
	return stats;
}

Test(store_mem, footprint_is_within_an_eighth)
{
	uint64_t last = 0;

	for (uint64_t size = 0; size < 3 * MIB; size += size < 2 * KIB ? 1 : size / 1000) {
		uint64_t footprint = wf_mem_footprint(size);

		cr_assert_geq(footprint, size);
		cr_assert_geq(footprint, last);
		last = footprint;
		if (size >= 512)
			cr_assert_leq(footprint * 8, size * 9, "size %llu",
			              (unsigned long long)size);
		else
			cr_assert_leq(footprint, size + 72);
	}
	cr_assert_eq(wf_mem_footprint(WF_MEM_SLAB_MAX + 1), WF_MEM_SLAB_MAX + WF_MEM_PAGE_BYTES);
	cr_assert_eq(wf_mem_footprint(UINT64_MAX), UINT64_MAX);
}

Test(store_mem, every_class_is_found_for_its_sizes_and_fills_its_slab)
{
	for (uint32_t class = 0; class < WF_MEM_CLASSES; class ++) {
		uint64_t bytes = wf_mem_class_bytes(class), below = 0;
		uint64_t run = wf_mem_class_pages(class) * WF_MEM_PAGE_BYTES;

		if (class > 0)
			below = wf_mem_class_bytes(class - 1);
		cr_assert_eq(bytes % WF_MEM_ALIGN, 0);
		cr_assert_eq(wf_mem_class_of(bytes), class);
		cr_assert_eq(wf_mem_class_of(below + 1), class);
		cr_assert_leq(wf_mem_class_pages(class), WF_SLAB_PAGES_MAX);
		cr_assert_geq(run / bytes, 2);
		cr_assert_leq(run / bytes, WF_SLAB_SLOTS_MAX);
		/* All of the slab, shared by its slots. */
		cr_assert_eq((run - 1) / (run / bytes) + 1, wf_mem_footprint(bytes));
	}
	cr_assert_eq(wf_mem_class_of(0), 0);
	cr_assert_eq(wf_mem_class_of(WF_MEM_SLAB_MAX), WF_MEM_CLASSES - 1);
}

Test(store_mem, opening_commits_nothing_and_starts_no_thread)
{
	struct wf_mem *mem = open_mem(64 * MIB, 2);

	cr_assert_eq(stats_of(mem).committed_bytes, 0);
	cr_assert_eq(mem_oracle_resident(mem), 0);
	cr_assert_not(mem->shared->started);
	cr_assert_eq(wf_mem_node_offset(mem, 1), wf_mem_node_bytes(mem));
	close_empty(mem);
	wf_mem_close(NULL);
}

Test(store_mem, options_that_make_no_sense_are_refused)
{
	struct wf_mem *mem = (struct wf_mem *)&logged;
	struct wf_mem_options options = { .limit_bytes = 0, .node_count = 1 };

	cr_assert_eq(wf_mem_open(&mem, &options), -EINVAL);
	options = (struct wf_mem_options){ .limit_bytes = MIB };
	cr_assert_eq(wf_mem_open(&mem, &options), -EINVAL);
	options = (struct wf_mem_options){ .limit_bytes = UINT64_MAX, .node_count = 1 };
	cr_assert_eq(wf_mem_open(&mem, &options), -EINVAL);
	/* More than there are addresses. */
	options = (struct wf_mem_options){ .limit_bytes = (uint64_t)1 << 48, .node_count = 1 };
	cr_assert_eq(wf_mem_open(&mem, &options), -ENOMEM);
	cr_assert_eq((void *)mem, (void *)&logged);
}

Test(store_mem, every_size_around_every_class_is_had_and_lies_apart)
{
	struct wf_mem *mem = open_mem(64 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	enum { COUNT = 3 * WF_MEM_CLASSES };
	static uint64_t offset[COUNT], size[COUNT];

	for (uint32_t i = 0; i < COUNT; i++) {
		size[i] = wf_mem_class_bytes(i / 3) + i % 3 - 1;
		offset[i] = wf_mem_alloc(mem, cache, size[i]);
		cr_assert_neq(offset[i], WF_MEM_NONE);
		cr_assert_eq(offset[i] % WF_MEM_ALIGN, 0);
		memset(wf_mem_writable(mem) + offset[i], (int)(i % 251), size[i]);
	}
	for (uint32_t i = 0; i < COUNT; i++) {
		const char *at = wf_mem_readable(mem) + offset[i];

		for (uint64_t k = 0; k < size[i]; k++)
			cr_assert_eq((unsigned char)at[k], i % 251);
	}
	for (uint32_t i = 0; i < COUNT; i++)
		wf_mem_free(mem, cache, offset[i], size[i]);
	mem_oracle(mem);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

/* The kernel is asked to write there, since the sanitizers have their own ways with a signal. */
Test(store_mem, the_readable_mapping_cannot_be_written)
{
	struct wf_mem *mem = open_mem(2 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset = wf_mem_alloc(mem, cache, 100);
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	union {
		const char *read;
		char *write;
	} p = { wf_mem_readable(mem) + offset };

	cr_assert_geq(fd, 0);
	cr_assert_eq(read(fd, wf_mem_writable(mem) + offset, 1), 1);
	cr_assert_eq(read(fd, p.write, 1), -1);
	cr_assert_eq(errno, EFAULT);
	close(fd);
	wf_mem_free(mem, cache, offset, 100);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

Test(store_mem, readers_descriptor_is_read_only_and_sealed)
{
	struct wf_mem *mem = open_mem(8 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset = wf_mem_alloc(mem, cache, 100);
	int fd = wf_mem_read_fd(mem, 0);
	char *mapped;

	cr_assert_geq(fd, 0);
	memset(wf_mem_writable(mem) + offset, 7, 100);
	cr_assert_eq(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), MAP_FAILED);
	mapped = mmap(NULL, wf_mem_node_bytes(mem), PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq((void *)mapped, MAP_FAILED);
	cr_assert_eq(mapped[offset - wf_mem_node_offset(mem, 0) + 99], 7);
	cr_assert_neq(ftruncate(fd, 0), 0);
	cr_assert_neq(ftruncate(mem->nodes[0].fd, 0), 0);
	cr_assert_eq(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
	             F_SEAL_SHRINK | F_SEAL_GROW);
	munmap(mapped, wf_mem_node_bytes(mem));
	wf_mem_free(mem, cache, offset, 100);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

Test(store_mem, freed_memory_is_not_written)
{
	struct wf_mem *mem = open_mem(32 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	static const uint64_t sizes[] = { 64, 1000, 100 * KIB, MIB, 5 * MIB };
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	uint64_t offset[COUNT];

	for (int i = 0; i < COUNT; i++) {
		offset[i] = wf_mem_alloc(mem, cache, sizes[i]);
		memset(wf_mem_writable(mem) + offset[i], 0x5a, sizes[i]);
	}
	for (int i = 0; i < COUNT; i++)
		wf_mem_free(mem, cache, offset[i], sizes[i]);
	wf_mem_cache_flush(cache);
	for (int i = 0; i < COUNT; i++) {
		for (uint64_t k = 0; k < sizes[i]; k++)
			cr_assert_eq(wf_mem_readable(mem)[offset[i] + k], 0x5a);
	}
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

Test(store_mem, freed_twice_is_detected, .signal = SIGABRT)
{
	struct wf_mem *mem = open_mem(32 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset = wf_mem_alloc(mem, cache, 3 * MIB);

	wf_mem_free(mem, cache, offset, 3 * MIB);
	wf_mem_free(mem, cache, offset, 3 * MIB);
}

Test(store_mem, slot_freed_twice_is_detected_when_it_goes_home, .signal = SIGABRT)
{
	struct wf_mem *mem = open_mem(32 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset = wf_mem_alloc(mem, cache, 100), other = wf_mem_alloc(mem, cache, 100);

	(void)other;
	wf_mem_free(mem, cache, offset, 100);
	wf_mem_free(mem, cache, offset, 100);
	wf_mem_cache_flush(cache);
}

Test(store_mem, freed_with_another_size_is_detected, .signal = SIGABRT)
{
	struct wf_mem *mem = open_mem(32 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset = wf_mem_alloc(mem, cache, 100);

	wf_mem_free(mem, cache, offset, 1000);
}

/* All of the limit can be had in runs, and nothing is lost when it was reached. */
Test(store_mem, the_limit_is_reached_and_not_passed)
{
	struct wf_mem *mem = open_mem(16 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset[64];
	uint32_t count;

	for (int round = 0; round < 3; round++) {
		for (count = 0; count < 64; count++) {
			offset[count] = wf_mem_alloc(mem, cache, MIB);
			if (offset[count] == WF_MEM_NONE)
				break;
		}
		cr_assert_eq(count, 16);
		cr_assert_eq(wf_mem_alloc(mem, cache, 64), WF_MEM_NONE);
		cr_assert_eq(wf_mem_alloc(mem, cache, 17 * MIB), WF_MEM_NONE);
		cr_assert_eq(wf_mem_alloc(mem, cache, UINT64_MAX), WF_MEM_NONE);
		mem_oracle(mem);
		for (uint32_t i = 0; i < count; i++)
			wf_mem_free(mem, cache, offset[i], MIB);
	}
	/* As one piece as well. */
	offset[0] = wf_mem_alloc(mem, cache, 16 * MIB);
	cr_assert_neq(offset[0], WF_MEM_NONE);
	wf_mem_free(mem, cache, offset[0], 16 * MIB);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

/* Every second piece is freed: what is free is in pieces, and still as good as in one. */
Test(store_mem, pieces_do_not_make_it_full)
{
	static const uint64_t sizes[] = { 4 * MIB, MIB, 300 * KIB };

	for (int i = 0; i < 3; i++) {
		struct wf_mem *mem = open_mem(24 * MIB, 1);
		struct wf_mem_cache *cache = open_cache(mem, 0);
		uint64_t offset[128], size = sizes[i], big, used;
		uint32_t count;

		for (count = 0; count < 128; count++) {
			offset[count] = wf_mem_alloc(mem, cache, size);
			if (offset[count] == WF_MEM_NONE)
				break;
			memset(wf_mem_writable(mem) + offset[count], (int)count, size);
		}
		used = (count + 1) / 2 * wf_mem_footprint(size);
		for (uint32_t k = 1; k < count; k += 2)
			wf_mem_free(mem, cache, offset[k], size);
		big = wf_mem_alloc(mem, cache, 24 * MIB - used);
		cr_assert_neq(big, WF_MEM_NONE, "pieces of %llu", (unsigned long long)size);
		memset(wf_mem_writable(mem) + big, 0xff, 24 * MIB - used);
		mem_oracle(mem);
		cr_assert_gt(stats_of(mem).trimmed_bytes, 0);
		/* The system agrees, but for pieces of huge pages that it did not split. */
		for (uint32_t k = 0; k < count; k += 2) {
			const char *at = wf_mem_readable(mem) + offset[k];

			for (uint64_t b = 0; b < size; b++)
				cr_assert_eq((unsigned char)at[b], k);
			wf_mem_free(mem, cache, offset[k], size);
		}
		wf_mem_free(mem, cache, big, 24 * MIB - used);
		wf_mem_cache_destroy(cache);
		close_empty(mem);
	}
}

Test(store_mem, kept_runs_of_others_are_taken_when_memory_is_short)
{
	struct wf_mem *mem = open_mem(16 * MIB, 1);
	struct wf_mem_cache *one = open_cache(mem, 0), *two = open_cache(mem, 0);
	uint64_t a = wf_mem_alloc(mem, one, 2 * MIB), b = wf_mem_alloc(mem, two, 14 * MIB);

	cr_assert(a != WF_MEM_NONE && b != WF_MEM_NONE);
	wf_mem_free(mem, one, a, 2 * MIB);
	cr_assert_eq(mem_oracle(mem).kept, 2 * MIB / WF_MEM_PAGE_BYTES);
	cr_assert_eq(wf_mem_alloc(mem, one, 2 * MIB), a);
	wf_mem_free(mem, one, a, 2 * MIB);
	cr_assert_eq(wf_mem_alloc(mem, two, 2 * MIB), a);
	wf_mem_free(mem, two, a, 2 * MIB);
	wf_mem_free(mem, two, b, 14 * MIB);
	wf_mem_cache_destroy(one);
	wf_mem_cache_destroy(two);
	close_empty(mem);
}

Test(store_mem, slots_freed_by_another_thread_serve_it)
{
	struct wf_mem *mem = open_mem(16 * MIB, 1);
	struct wf_mem_cache *one = open_cache(mem, 0), *two = open_cache(mem, 0);
	enum { COUNT = 2000 };
	static uint64_t offset[COUNT];
	uint64_t committed;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < COUNT; i++) {
			offset[i] = wf_mem_alloc(mem, one, 4000);
			cr_assert_neq(offset[i], WF_MEM_NONE);
		}
		for (int i = 0; i < COUNT; i++)
			wf_mem_free(mem, two, offset[i], 4000);
		if (round == 0)
			committed = stats_of(mem).committed_bytes;
	}
	/* It goes round; the magazines are the only difference. */
	cr_assert_leq(stats_of(mem).committed_bytes, committed + WF_MEM_CHUNK_BYTES);
	mem_oracle(mem);
	wf_mem_cache_destroy(one);
	wf_mem_cache_destroy(two);
	close_empty(mem);
}

Test(store_mem, caches_keep_no_more_than_their_part)
{
	struct wf_mem *mem = open_mem(8 * MIB, 1);
	struct wf_mem_cache *cache[4];
	uint64_t offset[40];
	struct mem_recount n;

	for (int i = 0; i < 4; i++)
		cache[i] = open_cache(mem, 0);
	for (int i = 0; i < 40; i++) {
		offset[i] = wf_mem_alloc(mem, cache[0], 100 * KIB);
		cr_assert_neq(offset[i], WF_MEM_NONE);
	}
	for (int i = 0; i < 40; i++)
		wf_mem_free(mem, cache[i % 4], offset[i], 100 * KIB);
	for (int i = 0; i < 4; i++)
		cr_assert_leq(cache[i]->kept_bytes, 8 * MIB / 16 / 4);
	n = mem_oracle(mem);
	cr_assert_leq(n.slab, 16 * 4u);
	for (int i = 0; i < 4; i++)
		wf_mem_cache_destroy(cache[i]);
	close_empty(mem);
}

Test(store_mem, nodes_are_preferred_and_stand_in_for_each_other)
{
	struct wf_mem *mem = open_mem(8 * MIB, 3);
	struct wf_mem_cache *cache[3];
	uint64_t offset[3], all[9];

	for (uint32_t i = 0; i < 3; i++) {
		cache[i] = open_cache(mem, i);
		offset[i] = wf_mem_alloc(mem, cache[i], 100);
		cr_assert_eq(offset[i] / wf_mem_node_bytes(mem), i);
	}
	/* Freed from elsewhere they go home, and are not handed out there. */
	for (uint32_t i = 0; i < 3; i++)
		wf_mem_free(mem, cache[(i + 1) % 3], offset[i], 100);
	for (uint32_t i = 0; i < 3; i++) {
		cr_assert_eq(cache[i]->away_count, 1);
		offset[i] = wf_mem_alloc(mem, cache[i], 100);
		cr_assert_eq(offset[i] / wf_mem_node_bytes(mem), i);
	}
	for (uint32_t i = 0; i < 3; i++)
		wf_mem_free(mem, cache[i], offset[i], 100);
	for (uint32_t i = 0; i < 3; i++)
		wf_mem_cache_flush(cache[i]);
	/* The limit is one for all. What others have is used before an answer is no. */
	for (int i = 0; i < 8; i++) {
		all[i] = wf_mem_alloc(mem, cache[0], MIB);
		cr_assert_neq(all[i], WF_MEM_NONE);
	}
	cr_assert_eq(wf_mem_alloc(mem, cache[2], MIB), WF_MEM_NONE);
	for (int i = 0; i < 8; i++)
		wf_mem_free(mem, cache[i % 3], all[i], MIB);
	mem_oracle(mem);
	for (uint32_t i = 0; i < 3; i++)
		wf_mem_cache_destroy(cache[i]);
	close_empty(mem);
}

Test(store_mem, trim_gives_back_whole_idle_chunks_and_keeps_what_it_should)
{
	struct wf_mem *mem = open_mem(32 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t big = wf_mem_alloc(mem, cache, 20 * MIB), small = wf_mem_alloc(mem, cache, 100);

	wf_mem_free(mem, cache, big, 20 * MIB);
	cr_assert_eq(stats_of(mem).committed_bytes, 22 * MIB);
	cr_assert_eq(wf_mem_trim(mem, 32 * MIB), 0);
	cr_assert_eq(wf_mem_trim(mem, 12 * MIB), 8 * MIB);
	cr_assert_eq(stats_of(mem).committed_bytes, 14 * MIB);
	mem_oracle(mem);
	cr_assert_eq(wf_mem_trim(mem, 0), 12 * MIB);
	/* The chunk with the small one stays. */
	cr_assert_eq(stats_of(mem).committed_bytes, 2 * MIB);
	cr_assert_eq(mem_oracle_resident(mem), 2 * MIB);
	wf_mem_free(mem, cache, small, 100);
	wf_mem_cache_flush(cache);
	cr_assert_eq(wf_mem_trim(mem, 0), 2 * MIB);
	cr_assert_eq(mem_oracle_resident(mem), 0);
	cr_assert_eq(stats_of(mem).trimmed_bytes, 22 * MIB);
	big = wf_mem_alloc(mem, cache, 20 * MIB);
	cr_assert_neq(big, WF_MEM_NONE);
	memset(wf_mem_writable(mem) + big, 1, 20 * MIB);
	wf_mem_free(mem, cache, big, 20 * MIB);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

Test(store_mem, held_chunks_stay)
{
	struct wf_mem *mem = open_mem(16 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t a = wf_mem_alloc(mem, cache, 16 * MIB);

	memset(wf_mem_writable(mem) + a, 3, 16 * MIB);
	/* Two chunks are touched by this, and one of them twice. */
	wf_mem_hold(mem, a + 4 * MIB - 1, 2);
	wf_mem_hold(mem, a + 4 * MIB, 0);
	wf_mem_free(mem, cache, a, 16 * MIB);
	cr_assert_eq(wf_mem_trim(mem, 0), 12 * MIB);
	cr_assert_eq(wf_mem_readable(mem)[a + 4 * MIB], 3);
	mem_oracle(mem);
	wf_mem_unhold(mem, a + 4 * MIB - 1, 2);
	wf_mem_trim(mem, 0);
	cr_assert_eq(stats_of(mem).committed_bytes, 2 * MIB);
	wf_mem_unhold(mem, a + 4 * MIB, 0);
	cr_assert_eq(wf_mem_trim(mem, 0), 2 * MIB);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

/* Of five pieces the first, the third and the fifth are free; the third is held. */
Test(store_mem, held_chunks_stay_when_memory_is_short)
{
	struct wf_mem *mem = open_mem(16 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset[5], big;

	for (int i = 0; i < 5; i++) {
		offset[i] = wf_mem_alloc(mem, cache, (i % 2 ? 2 : 4) * MIB);
		cr_assert_eq(offset[i], i * 3 * MIB + i % 2 * MIB);
	}
	memset(wf_mem_writable(mem) + offset[2], 3, 4 * MIB);
	wf_mem_hold(mem, offset[2], 4 * MIB);
	for (int i = 0; i < 5; i += 2)
		wf_mem_free(mem, cache, offset[i], 4 * MIB);
	cr_assert_eq(wf_mem_alloc(mem, cache, 12 * MIB), WF_MEM_NONE);
	big = wf_mem_alloc(mem, cache, 8 * MIB);
	cr_assert_neq(big, WF_MEM_NONE);
	for (uint64_t i = 0; i < 4 * MIB; i++)
		cr_assert_eq(wf_mem_readable(mem)[offset[2] + i], 3);
	mem_oracle(mem);
	wf_mem_unhold(mem, offset[2], 4 * MIB);
	wf_mem_free(mem, cache, big, 8 * MIB);
	big = wf_mem_alloc(mem, cache, 12 * MIB);
	cr_assert_neq(big, WF_MEM_NONE);
	wf_mem_free(mem, cache, big, 12 * MIB);
	wf_mem_free(mem, cache, offset[1], 2 * MIB);
	wf_mem_free(mem, cache, offset[3], 2 * MIB);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

/* Holds of a test, and how often it was asked to let them go. */
struct lent {
	struct wf_mem *mem;
	uint64_t offset; /* WF_MEM_NONE: let go, or never held */
	uint32_t asked;
	bool keeps;
};

static void let_go(void *arg)
{
	struct lent *lent = arg;

	lent->asked++;
	if (lent->offset != WF_MEM_NONE && !lent->keeps) {
		wf_mem_unhold(lent->mem, lent->offset, 1);
		lent->offset = WF_MEM_NONE;
	}
}

static struct wf_mem *open_lent(uint64_t limit, struct lent *lent)
{
	const struct wf_mem_options options = {
		.limit_bytes = limit, .node_count = 1, .let_go = let_go, .arg = lent
	};

	cr_assert_eq(wf_mem_open(&lent->mem, &options), 0);
	return lent->mem;
}

Test(store_mem, only_a_whole_chunk_is_held_as_one)
{
	struct wf_mem *mem = open_mem(8 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t a = wf_mem_alloc(mem, cache, 4 * MIB);

	cr_assert_eq(a, 0);
	cr_assert_not(wf_mem_hold_whole(mem, 6 * MIB), "nothing is there");
	cr_assert(wf_mem_hold_whole(mem, 2 * MIB - 1));
	cr_assert(wf_mem_hold_whole(mem, 0), "they are counted");
	wf_mem_free(mem, cache, a, 4 * MIB);
	cr_assert_eq(wf_mem_trim(mem, 0), 2 * MIB);
	cr_assert_not(wf_mem_hold_whole(mem, 2 * MIB), "it is gone");
	wf_mem_unhold(mem, 0, 1);
	wf_mem_unhold(mem, 1, 1);
	cr_assert_eq(wf_mem_trim(mem, 0), 2 * MIB);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

/* As above, but whoever holds the third piece is asked. */
Test(store_mem, who_holds_is_asked_before_a_request_is_refused)
{
	for (int keeps = 0; keeps < 2; keeps++) {
		struct lent lent = { .offset = WF_MEM_NONE, .keeps = keeps };
		struct wf_mem *mem = open_lent(12 * MIB, &lent);
		struct wf_mem_cache *cache = open_cache(mem, 0);
		uint64_t offset[3], big;

		for (int i = 0; i < 3; i++)
			offset[i] = wf_mem_alloc(mem, cache, 4 * MIB);
		lent.offset = offset[1];
		cr_assert(wf_mem_hold_whole(mem, lent.offset));
		cr_assert_eq(wf_mem_alloc(mem, cache, 4 * MIB), WF_MEM_NONE);
		cr_assert_eq(lent.asked, 0, "nothing is free: there is nothing to win");
		wf_mem_free(mem, cache, offset[0], 4 * MIB);
		wf_mem_free(mem, cache, offset[2], 4 * MIB);
		/* 8 MiB are free, and no two of the pieces are neighbours: all is moved. */
		big = wf_mem_alloc(mem, cache, 8 * MIB);
		cr_assert_neq(big, WF_MEM_NONE);
		cr_assert_eq(lent.asked, 0, "what is held was not needed");
		wf_mem_free(mem, cache, offset[1], 4 * MIB);
		offset[1] = wf_mem_alloc(mem, cache, 4 * MIB);
		cr_assert_neq(offset[1], WF_MEM_NONE);
		wf_mem_free(mem, cache, offset[1], 4 * MIB);
		wf_mem_free(mem, cache, big, 8 * MIB);
		big = wf_mem_alloc(mem, cache, 12 * MIB);
		cr_assert_eq(lent.asked > 0, big == WF_MEM_NONE || lent.offset == WF_MEM_NONE);
		if (!keeps)
			cr_assert_neq(big, WF_MEM_NONE);
		if (big != WF_MEM_NONE)
			wf_mem_free(mem, cache, big, 12 * MIB);
		lent.asked = 0;
		(void)wf_mem_trim(mem, 0);
		cr_assert_eq(lent.asked, 1);
		cr_assert_eq(stats_of(mem).committed_bytes,
		             lent.offset == WF_MEM_NONE ? 0 : 2 * MIB);
		mem_oracle(mem);
		lent.keeps = false;
		let_go(&lent);
		wf_mem_cache_destroy(cache);
		close_empty(mem);
	}
}

Test(store_mem, unheld_once_too_often_is_detected, .signal = SIGABRT)
{
	struct wf_mem *mem = open_mem(4 * MIB, 1);

	wf_mem_hold(mem, 0, 1);
	wf_mem_unhold(mem, 0, 1);
	wf_mem_unhold(mem, 0, 1);
}

static uint64_t wait_ready(struct wf_mem *mem, uint64_t bytes)
{
	for (;;) {
		uint64_t ready;

		pthread_mutex_lock(&mem->nodes[0].lock);
		ready = mem->nodes[0].ready_pages * WF_MEM_PAGE_BYTES;
		pthread_mutex_unlock(&mem->nodes[0].lock);
		if (ready >= bytes)
			return ready;
		sched_yield();
	}
}

Test(store_mem, what_is_committed_ahead_is_not_waited_for)
{
	struct wf_mem_options options = { .limit_bytes = 40 * MIB,
		                          .ahead_bytes = 12 * MIB,
		                          .node_count = 1 };
	struct wf_mem_cache *cache;
	struct wf_mem *mem;
	uint64_t small, big;

	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	cache = open_cache(mem, 0);
	small = wf_mem_alloc(mem, cache, 64);
	cr_assert_eq(stats_of(mem).committed_late, 1);
	wait_ready(mem, 12 * MIB);
	big = wf_mem_alloc(mem, cache, 12 * MIB);
	cr_assert_neq(big, WF_MEM_NONE);
	cr_assert_eq(stats_of(mem).committed_late, 1);
	wait_ready(mem, 12 * MIB);
	wf_mem_free(mem, cache, big, 12 * MIB);
	wf_mem_free(mem, cache, small, 64);
	wf_mem_cache_destroy(cache);
	wf_mem_close(mem);
}

/* It goes as far as the limit and then sleeps; all that it made can be had. */
Test(store_mem, committing_ahead_stops_at_the_limit)
{
	struct wf_mem_options options = { .limit_bytes = 16 * MIB,
		                          .ahead_bytes = 64 * MIB,
		                          .node_count = 1 };
	struct wf_mem_cache *cache;
	struct wf_mem *mem;

	for (int round = 0; round < 20; round++) {
		uint64_t all;

		cr_assert_eq(wf_mem_open(&mem, &options), 0);
		cache = open_cache(mem, 0);
		wf_mem_free(mem, cache, wf_mem_alloc(mem, cache, MIB), MIB);
		/* In the middle of it, or after it. */
		if (round % 2 != 0)
			wait_ready(mem, 15 * MIB);
		all = wf_mem_alloc(mem, cache, 16 * MIB);
		cr_assert_neq(all, WF_MEM_NONE);
		wf_mem_free(mem, cache, all, 16 * MIB);
		wf_mem_cache_destroy(cache);
		wf_mem_close(mem);
	}
}

Test(store_mem, huge_pages_are_had_where_the_kernel_gives_them)
{
	struct wf_mem *mem = open_mem(16 * MIB, 1);
	struct wf_mem_cache *cache = open_cache(mem, 0);
	uint64_t offset = wf_mem_alloc(mem, cache, 8 * MIB);
	bool refused = wf_load_relaxed(&mem->shared->huge_refused) != 0;

	cr_assert_eq(stats_of(mem).committed_bytes, 8 * MIB);
	wf_mem_free(mem, cache, offset, 8 * MIB);
	wf_mem_cache_destroy(cache);
	if (!refused)
		cr_assert_leq(stats_of(mem).huge_bytes, 8 * MIB);
	else
		cr_assert_eq(stats_of(mem).huge_bytes, 0);
	close_empty(mem);
	if (refused)
		test_skip("2 MiB pages are refused here");
}

Test(store_mem, small_pages_will_do_and_are_reported)
{
	struct wf_mem_options options = {
		.limit_bytes = 16 * MIB, .node_count = 1, .no_huge = true, .log = log_line
	};
	struct wf_mem_cache *cache;
	struct wf_mem *mem;
	uint64_t offset;

	logged = 0;
	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	cr_assert_eq(logged, WF_MEM_LOG_INFO);
	cr_assert_not_null(strstr(log_text, "small pages"));
	cache = open_cache(mem, 0);
	offset = wf_mem_alloc(mem, cache, 5 * MIB);
	memset(wf_mem_writable(mem) + offset, 1, 5 * MIB);
	cr_assert_eq(stats_of(mem).huge_bytes, 0);
	mem_oracle(mem);
	wf_mem_free(mem, cache, offset, 5 * MIB);
	wf_mem_cache_destroy(cache);
	close_empty(mem);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	cr_assert_not_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

static int count_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	int count = 0;
	char line[512];

	cr_assert_not_null(file);
	while (fgets(line, sizeof line, file) != NULL)
		count += strstr(line, "weft-store") != NULL;
	fclose(file);
	return count;
}

Test(store_mem, nothing_is_left_after_close)
{
	int fds = count_fds();

	for (int i = 0; i < 20; i++) {
		struct wf_mem_options options = { .limit_bytes = 8 * MIB,
			                          .node_count = 2,
			                          .ahead_bytes = 4 * MIB,
			                          .bind = true };
		struct wf_mem *mem;
		struct wf_mem_cache *cache;

		cr_assert_eq(wf_mem_open(&mem, &options), 0);
		cr_assert_eq(count_maps(), 4);
		cache = open_cache(mem, 1);
		/* Still live at close. */
		cr_assert_neq(wf_mem_alloc(mem, cache, MIB), WF_MEM_NONE);
		wf_mem_cache_destroy(cache);
		wf_mem_close(mem);
		cr_assert_eq(count_maps(), 0);
	}
	cr_assert_eq(count_fds(), fds);
}

Test(store_mem, a_limit_on_file_sizes_is_an_error_and_no_signal)
{
	struct wf_mem_options options = { .limit_bytes = 64 * MIB, .node_count = 1 };
	struct rlimit before, less;
	struct wf_mem *mem = NULL;
	int fds = count_fds();

	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	less = before;
	less.rlim_cur = 32 * MIB;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &less), 0);
	cr_assert_eq(wf_mem_open(&mem, &options), -EFBIG);
	cr_assert_null(mem);
	/* With fewer addresses to spare it fits. */
	options.limit_bytes = 20 * MIB;
	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	cr_assert_eq(wf_mem_node_bytes(mem), 20 * MIB);
	wf_mem_close(mem);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	cr_assert_eq(count_fds(), fds);
}
