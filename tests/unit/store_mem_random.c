/*
 * Goal: whatever sequence of sizes, threads' caches and nodes comes, no two live allocations
 * overlap, all are committed, and nothing is lost.
 * Method: random allocation and freeing, now growing, now shrinking, against a map of who has each
 * 64 bytes; trims and flushes in between; the oracle every few hundred steps.
 */
#include "mem_oracle.h"
#include "seed.h"
#include "test.h"

#define MIB ((uint64_t)1 << 20)
#define KIB ((uint64_t)1 << 10)

struct live {
	uint64_t offset, size;
};

/* Sizes of all kinds: around class boundaries, runs, chunks. */
static uint64_t random_size(struct wf_random *random)
{
	switch (wf_random_below(random, 8)) {
	case 0:
	case 1:
	case 2:
		return wf_random_below(random, 2000);
	case 3:
		return wf_mem_class_bytes(wf_random_below(random, WF_MEM_CLASSES)) -
			wf_random_below(random, 2);
	case 4:
		return wf_random_below(random, (uint32_t)(300 * KIB));
	case 5:
		return (1 + wf_random_below(random, 40)) * WF_MEM_PAGE_BYTES +
			wf_random_below(random, 3) - 1;
	case 6:
		return wf_random_below(random, (uint32_t)(2 * MIB));
	default:
		return wf_random_below(random, 20) == 0 ? 6 * MIB : 100;
	}
}

/* Marks at 64-byte steps in a map of owners: two owners of one line overlap. */
static void shadow(uint16_t *map, const struct live *live, uint16_t from, uint16_t to)
{
	uint64_t end = (live->offset + (live->size ? live->size : 1) + 63) / 64;

	for (uint64_t i = live->offset / 64; i < end; i++) {
		MEM_REQUIRE(map[i] == from);
		map[i] = to;
	}
}

static void fuzz(uint64_t seed, uint32_t nodes, bool no_huge, int steps)
{
	struct wf_mem_options options = { .limit_bytes = 16 * MIB,
		                          .node_count = nodes,
		                          .no_huge = no_huge,
		                          .ahead_bytes = seed % 3 == 0 ? 4 * MIB : 0 };
	enum { LIVE_MAX = 1000, CACHES = 3 };
	static struct live live[LIVE_MAX];
	struct wf_mem_cache *cache[CACHES];
	struct wf_random random;
	struct wf_mem *mem;
	uint16_t *map;
	uint64_t bytes, refused = 0;
	uint32_t count = 0;

	wf_random_init(&random, seed);
	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	bytes = nodes * wf_mem_node_bytes(mem);
	map = calloc(bytes / 64, sizeof(*map));
	cr_assert_not_null(map);
	for (uint32_t i = 0; i < CACHES; i++) {
		cache[i] = wf_mem_cache_create(mem, i);
		cr_assert_not_null(cache[i]);
	}
	for (int step = 0; step < steps; step++) {
		struct wf_mem_cache *c = cache[wf_random_below(&random, CACHES)];
		/* Now mostly more, now mostly fewer. */
		uint32_t more = step / 400 % 2 ? 3 : 7;

		if (count < LIVE_MAX && wf_random_below(&random, 10) < more) {
			struct live one = { .size = random_size(&random) };

			one.offset = wf_mem_alloc(mem, c, one.size);
			if (one.offset == WF_MEM_NONE) {
				refused++;
				continue;
			}
			cr_assert_leq(one.offset + one.size, bytes);
			cr_assert_eq(one.offset % WF_MEM_ALIGN, 0);
			live[count++] = one;
			shadow(map, &one, 0, (uint16_t)count);
			shadow(map, &one, (uint16_t)count, 1);
			/* Would be a signal if nothing were behind it. */
			wf_mem_writable(mem)[one.offset + one.size / 2] = 1;
		} else if (count != 0) {
			uint32_t i = wf_random_below(&random, count);

			shadow(map, &live[i], 1, 0);
			wf_mem_free(mem, c, live[i].offset, live[i].size);
			live[i] = live[--count];
		}
		if (wf_random_below(&random, 200) == 0)
			wf_mem_trim(mem, wf_random_below(&random, 8) * MIB);
		if (wf_random_below(&random, 200) == 0)
			wf_mem_cache_flush(c);
		if (options.ahead_bytes == 0 && step % 500 == 0)
			mem_oracle(mem);
	}
	for (uint32_t i = 0; i < count; i++)
		wf_mem_free(mem, cache[i % CACHES], live[i].offset, live[i].size);
	for (uint32_t i = 0; i < CACHES; i++)
		wf_mem_cache_destroy(cache[i]);
	free(map);
	if (options.ahead_bytes == 0) {
		struct mem_recount n = mem_oracle(mem);

		cr_assert_eq(n.run, 0);
		cr_assert_eq(n.slab, 0);
	}
	wf_mem_close(mem);
	cr_assert(steps < 2000 || refused > 0);
}

Test(store_mem_random, no_two_live_ones_overlap)
{
	int rounds = test_is_long() ? 200 : 4;
	int steps = WF_ASAN || WF_TSAN ? 2500 : 6000;

	for (int i = 0; i < rounds; i++)
		fuzz(test_seed() * 1000 + (uint64_t)i, i % 2 ? 3 : 1, i % 4 == 3, steps);
}
