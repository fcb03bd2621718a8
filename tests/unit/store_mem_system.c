/*
 * Goal: the store's memory takes no more from the system than the system has, also when several
 * threads take at the same time: a control group kills whoever passes its limit.
 * Method: a system that pretends; both threads are made to ask before either has taken.
 */
#include <pthread.h>

#include "mem_oracle.h"
#include "test.h"

#define MIB ((uint64_t)1 << 20)

static int logged;
static char log_text[256];

static void log_line(void *arg, int level, const char *text)
{
	(void)arg;
	logged = level;
	snprintf(log_text, sizeof log_text, "%s", text);
}

static struct wf_mem_cache *open_cache(struct wf_mem *mem, uint32_t node)
{
	struct wf_mem_cache *cache = wf_mem_cache_create(mem, node);

	cr_assert_not_null(cache);
	return cache;
}

static struct wf_mem_stats stats_of(const struct wf_mem *mem)
{
	struct wf_mem_stats stats;

	wf_mem_stats(mem, &stats);
	return stats;
}

static uint64_t pretended_left;

static uint64_t memory_left(const char **why)
{
	(void)why;
	return pretended_left;
}

/* As where a control group would kill the process. */
Test(store_mem_system, it_commits_no_more_than_the_system_has)
{
	struct wf_mem_options options = { .limit_bytes = 32 * MIB,
		                          .node_count = 2,
		                          .log = log_line };
	struct wf_mem_cache *cache;
	uint64_t offset[8];
	struct wf_mem *mem;

	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	mem->memory_left = memory_left;
	cache = open_cache(mem, 0);
	pretended_left = 20 * MIB;
	logged = 0;
	offset[0] = wf_mem_alloc(mem, cache, 4 * MIB);
	cr_assert_neq(offset[0], WF_MEM_NONE);
	pretended_left = 16 * MIB;
	cr_assert_eq(wf_mem_alloc(mem, cache, 4 * MIB), WF_MEM_NONE);
	cr_assert_eq(logged, WF_MEM_LOG_ERROR);
	cr_assert_not_null(strstr(log_text, "no memory"));
	cr_assert_eq(stats_of(mem).committed_bytes, 4 * MIB);
	mem_oracle(mem);
	/* Its own can be used, also in another form. */
	wf_mem_free(mem, cache, offset[0], 4 * MIB);
	for (int i = 0; i < 4; i++) {
		offset[i] = wf_mem_alloc(mem, cache, MIB);
		cr_assert_neq(offset[i], WF_MEM_NONE);
	}
	/* And more when there is more. One answer serves for a while. */
	pretended_left = 80 * MIB;
	offset[4] = wf_mem_alloc(mem, cache, 2 * MIB);
	pretended_left = 1;
	offset[5] = wf_mem_alloc(mem, cache, 2 * MIB);
	cr_assert(offset[4] != WF_MEM_NONE && offset[5] != WF_MEM_NONE);
	cr_assert_eq(wf_mem_alloc(mem, cache, 16 * MIB), WF_MEM_NONE);
	/* Where nothing can be known it is tried. */
	pretended_left = 0;
	offset[6] = wf_mem_alloc(mem, cache, 16 * MIB);
	cr_assert_neq(offset[6], WF_MEM_NONE);
	mem_oracle(mem);
	wf_mem_cache_destroy(cache);
	wf_mem_close(mem);
}

static pthread_barrier_t both_ask;
static struct wf_a32 asked;

/* 16 MiB are left alone, 6 can be had; a second look finds less. */
static uint64_t memory_left_at_once(const char **why)
{
	(void)why;
	if (wf_add_relaxed(&asked, 1) >= 2)
		return 1;
	pthread_barrier_wait(&both_ask);
	return 22 * MIB;
}

struct taker {
	struct wf_mem *mem;
	struct wf_mem_cache *cache;
	uint64_t offset;
};

static void *take_4_mib(void *arg)
{
	struct taker *taker = arg;

	taker->offset = wf_mem_alloc(taker->mem, taker->cache, 4 * MIB);
	return NULL;
}

/* Two that ask at the same time, and get the same answer, do not both take it. */
Test(store_mem_system, what_is_underway_is_not_given_twice)
{
	struct wf_mem_options options = { .limit_bytes = 32 * MIB,
		                          .node_count = 1,
		                          .log = log_line };
	struct taker taker[2];
	pthread_t thread[2];
	struct wf_mem *mem;

	cr_assert_eq(wf_mem_open(&mem, &options), 0);
	mem->memory_left = memory_left_at_once;
	/* Without a thread that commits ahead, which would ask as well. */
	mem->ahead_pages = 0;
	cr_assert_eq(pthread_barrier_init(&both_ask, NULL, 2), 0);
	for (int i = 0; i < 2; i++) {
		taker[i] = (struct taker){ mem, open_cache(mem, 0), 0 };
		cr_assert_eq(pthread_create(&thread[i], NULL, take_4_mib, &taker[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		cr_assert_eq(pthread_join(thread[i], NULL), 0);
	cr_assert(taker[0].offset == WF_MEM_NONE || taker[1].offset == WF_MEM_NONE);
	cr_assert_eq(mem->shared->underway, 0);
	mem_oracle(mem);
	for (int i = 0; i < 2; i++) {
		if (taker[i].offset != WF_MEM_NONE)
			wf_mem_free(mem, taker[i].cache, taker[i].offset, 4 * MIB);
		wf_mem_cache_destroy(taker[i].cache);
	}
	pthread_barrier_destroy(&both_ask);
	wf_mem_close(mem);
}

Test(store_mem_system, the_default_is_a_quarter_of_what_is_left)
{
	const char *why = NULL;
	uint64_t left = wf_memory_left(&why), share;

	cr_assert_not_null(why);
	cr_assert_gt(left, 0);
	share = wf_mem_default_bytes(&why);
	/* Others use memory as well: about. */
	if (left > 256 * MIB) {
		cr_assert_gt(share, left / 16);
		cr_assert_lt(share, left);
	}
	cr_assert_eq(wf_mem_default_bytes(NULL) == 0, share == 0);
}
