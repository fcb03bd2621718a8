/*
 * store_mem.c: the store's memory with real threads.
 *
 * Goal: with 1, 2 and 8 threads that allocate, free what others made, flush, trim and hold, no two
 * live allocations overlap, a holder's bytes stay as they were written, and at the end everything
 * is back. Method: each 64 bytes of an allocation are marked in a shared map by an exchange that
 * must find them unowned; the bytes at both ends and in the middle carry the owner's mark; the
 * memory is small, so that the limit is reached again and again, on one node and on two.
 */
#include "stress.h"

#include <string.h>

#include "../support/mem_oracle.h"

#define MIB         ((uint64_t)1 << 20)
#define STEPS       STRESS_SCALE(15000u) /* of each thread */
#define THREADS_MAX 8u
#define EXCHANGE    64u /* places where threads leave allocations for others */
#define LIVE_MAX    64u

struct live {
	uint64_t offset, size;
	uint64_t mark;
};

struct run {
	struct wf_mem *mem;
	struct wf_a8 *map; /* by 64 bytes */
	struct wf_aptr exchange[EXCHANGE];
	struct wf_a64 refused, allocated;
};

struct worker {
	struct run *run;
	struct wf_thread thread;
	uint32_t index;
};

static void claim(struct run *run, const struct live *live, uint8_t from, uint8_t to)
{
	uint64_t end = (live->offset + live->size + 63) / 64;

	for (uint64_t i = live->offset / 64; i < end; i++) {
		/* relaxed: only who is found there counts. */
		uint8_t found = wf_swap_relaxed(&run->map[i], to);

		STRESS_CHECK(found == from);
	}
}

static uint64_t *word_at(const struct run *run, const struct live *live, uint64_t at)
{
	return (uint64_t *)(void *)(wf_mem_writable(run->mem) + live->offset + at / 8 * 8);
}

static void write_marks(const struct run *run, const struct live *live)
{
	*word_at(run, live, 0) = live->mark;
	*word_at(run, live, live->size / 2) = live->mark;
	*word_at(run, live, live->size - 8) = live->mark;
}

static void check_marks(const struct run *run, const struct live *live)
{
	STRESS_CHECK(*word_at(run, live, 0) == live->mark);
	STRESS_CHECK(*word_at(run, live, live->size / 2) == live->mark);
	STRESS_CHECK(*word_at(run, live, live->size - 8) == live->mark);
}

static void drop(struct run *run, struct wf_mem_cache *cache, struct live *live)
{
	check_marks(run, live);
	claim(run, live, 1, 0);
	wf_mem_free(run->mem, cache, live->offset, live->size);
	live->size = 0;
}

static bool make(struct run *run, struct wf_mem_cache *cache, struct wf_random *random,
                 struct live *live)
{
	uint32_t kind = wf_random_below(random, 16);

	live->size = 8 +
		(kind < 8            ? wf_random_below(random, 3000)
	                 : kind < 13 ? wf_random_below(random, 200000)
	                 : kind < 15 ? wf_random_below(random, 1500000)
	                             : wf_random_below(random, 5000000));
	live->mark = wf_random_next(random);
	live->offset = wf_mem_alloc(run->mem, cache, live->size);
	/* relaxed, both: read after the join. */
	if (live->offset == WF_MEM_NONE) {
		wf_add_relaxed(&run->refused, 1);
		live->size = 0;
		return false;
	}
	wf_add_relaxed(&run->allocated, 1);
	STRESS_CHECK(live->offset % WF_MEM_ALIGN == 0);
	claim(run, live, 0, 1);
	write_marks(run, live);
	return true;
}

/* Leave one for others, free what was there. */
static void swap_one(struct run *run, struct wf_mem_cache *cache, struct wf_random *random,
                     struct live *live)
{
	struct wf_aptr *place = &run->exchange[wf_random_below(random, EXCHANGE)];
	struct live *other = malloc(sizeof(*other));

	STRESS_CHECK(other != NULL);
	*other = *live;
	live->size = 0;
	/* acq_rel [X1]: with itself: the description, the bytes, and that they were written. */
	other = (struct live *)wf_swap_acq_rel(place, (uintptr_t)other);
	if (other != NULL)
		drop(run, cache, other);
	free(other);
}

static void odd_job(struct run *run, struct wf_mem_cache *cache, struct wf_random *random,
                    struct live *live)
{
	switch (wf_random_below(random, 4)) {
	case 0:
		wf_mem_cache_flush(cache);
		break;
	case 1:
		wf_mem_trim(run->mem, wf_random_below(random, 16) * MIB);
		break;
	default:
		/* Held while it goes, and for a while after. */
		if (live->size != 0) {
			struct live held = *live;

			wf_mem_hold(run->mem, held.offset, held.size);
			drop(run, cache, live);
			wf_mem_trim(run->mem, 0);
			wf_mem_unhold(run->mem, held.offset, held.size);
		}
		break;
	}
}

static void *work(void *arg)
{
	struct worker *self = arg;
	struct run *run = self->run;
	struct wf_random random = stress_random(self->index);
	struct wf_mem_cache *cache = wf_mem_cache_create(run->mem, self->index);
	struct live live[LIVE_MAX] = { { 0 } };

	STRESS_CHECK(cache != NULL);
	for (uint32_t step = 0; step < STEPS; step++) {
		struct live *one = &live[wf_random_below(&random, LIVE_MAX)];
		uint32_t what = wf_random_below(&random, 1000);

		if (what < 3)
			odd_job(run, cache, &random, one);
		else if (one->size == 0)
			make(run, cache, &random, one);
		else if (what < 500)
			swap_one(run, cache, &random, one);
		else
			drop(run, cache, one);
		/* Threads come and go. */
		if (what == 999) {
			wf_mem_cache_destroy(cache);
			cache = wf_mem_cache_create(run->mem, self->index);
			STRESS_CHECK(cache != NULL);
		}
	}
	for (uint32_t i = 0; i < LIVE_MAX; i++) {
		if (live[i].size != 0)
			drop(run, cache, &live[i]);
	}
	wf_mem_cache_destroy(cache);
	return NULL;
}

static void run_with(uint32_t threads, uint32_t nodes, uint64_t ahead, bool no_huge)
{
	static struct run run;
	struct wf_mem_options options = { .limit_bytes = 48 * MIB,
		                          .ahead_bytes = ahead,
		                          .node_count = nodes,
		                          .no_huge = no_huge };
	struct worker workers[THREADS_MAX];
	struct wf_mem_cache *cache;
	struct mem_recount n;
	struct wf_mem_stats stats;
	uint64_t lines;

	memset(&run, 0, sizeof run);
	STRESS_CHECK(wf_mem_open(&run.mem, &options) == 0);
	lines = nodes * wf_mem_node_bytes(run.mem) / 64;
	run.map = calloc(lines, sizeof(*run.map));
	STRESS_CHECK(run.map != NULL);
	for (uint32_t i = 0; i < threads; i++) {
		workers[i] = (struct worker){ .run = &run, .index = i };
		STRESS_CHECK(wf_thread_start(&workers[i].thread, "worker", work, &workers[i]) == 0);
	}
	for (uint32_t i = 0; i < threads; i++)
		wf_thread_join(&workers[i].thread);
	cache = wf_mem_cache_create(run.mem, 0);
	STRESS_CHECK(cache != NULL);
	for (uint32_t i = 0; i < EXCHANGE; i++) {
		/* relaxed: after the join. */
		struct live *left = (struct live *)wf_load_relaxed(&run.exchange[i]);

		if (left != NULL)
			drop(&run, cache, left);
		free(left);
	}
	for (uint64_t i = 0; i < lines; i++)
		STRESS_CHECK(wf_load_relaxed(&run.map[i]) == 0);
	wf_mem_cache_destroy(cache);
	/* The committer is the only other thread: it must be gone before the recount. */
	wf_commit_close(run.mem);
	run.mem->shared->thread_runs = false;
	n = mem_oracle(run.mem);
	STRESS_CHECK(n.run == 0 && n.slab == 0 && n.kept == 0);
	wf_mem_stats(run.mem, &stats);
	STRESS_CHECK(wf_mem_trim(run.mem, 0) == stats.committed_bytes);
	wf_mem_close(run.mem);
	free(run.map);
	printf("%u threads, %u nodes: %llu had, %llu refused, %llu late, %llu MiB given back\n",
	       threads, nodes, (unsigned long long)wf_load_relaxed(&run.allocated),
	       (unsigned long long)wf_load_relaxed(&run.refused),
	       (unsigned long long)stats.committed_late,
	       (unsigned long long)(stats.trimmed_bytes / MIB));
}

int main(void)
{
	run_with(1, 1, 0, false);
	run_with(2, 1, 8 * MIB, false);
	run_with(2, 2, 0, true);
	run_with(8, 2, 8 * MIB, false);
	run_with(8, 1, 0, true);
	return 0;
}
