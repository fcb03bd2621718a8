/*
 * Goal: whichever allocation, mapping, file or thread of the store's memory fails, opening fails
 * clean or goes on poorer, an allocation is had or refused, nothing is lost and nothing is left.
 * Method: one scenario of all kinds, run once for each of its fault points; open descriptors are
 * counted.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "../support/mem_oracle.h"

#define MIB        ((uint64_t)1 << 20)

#define REQUIRE(x) MEM_REQUIRE(x)

static int lines;
static char last_line[256];

static void log_line(void *arg, int level, const char *text)
{
	(void)arg;
	REQUIRE(level >= WF_MEM_LOG_ERROR && level <= WF_MEM_LOG_INFO);
	REQUIRE(text[0] != 0);
	snprintf(last_line, sizeof last_line, "%s", text);
	/* The committer may say something as well; the tests look when it is gone or asleep. */
	lines++;
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	REQUIRE(dir != NULL);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count;
}

/* How many allocations were refused, or the error of open. */
static int scenario(uint64_t ahead)
{
	static const uint64_t sizes[] = { 100, 70000, 3 * MIB, 200, 5 * MIB, 1000, 100, 9 * MIB };
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	struct wf_mem_options options = {
		.limit_bytes = 24 * MIB, .node_count = 2, .ahead_bytes = ahead, .log = log_line
	};
	struct wf_mem_cache *cache[2];
	struct wf_mem *mem = NULL;
	uint64_t offset[COUNT];
	int refused = 0, error;

	error = wf_mem_open(&mem, &options);
	if (error != 0) {
		REQUIRE(mem == NULL && error < 0);
		return error;
	}
	for (uint32_t i = 0; i < 2; i++)
		cache[i] = wf_mem_cache_create(mem, i);
	for (int i = 0; i < COUNT; i++) {
		offset[i] = WF_MEM_NONE;
		if (cache[i % 2] == NULL)
			continue;
		offset[i] = wf_mem_alloc(mem, cache[i % 2], sizes[i]);
		refused += offset[i] == WF_MEM_NONE;
		if (offset[i] != WF_MEM_NONE)
			memset(wf_mem_writable(mem) + offset[i], i, sizes[i]);
	}
	for (int i = 0; i < COUNT; i++) {
		if (offset[i] == WF_MEM_NONE)
			continue;
		REQUIRE(wf_mem_readable(mem)[offset[i]] == i);
		REQUIRE(wf_mem_readable(mem)[offset[i] + sizes[i] - 1] == i);
		wf_mem_free(mem, cache[i % 2], offset[i], sizes[i]);
	}
	for (int i = 0; i < 2; i++) {
		refused += cache[i] == NULL;
		wf_mem_cache_destroy(cache[i]);
	}
	if (ahead == 0) {
		struct mem_recount n = mem_oracle(mem);

		REQUIRE(n.run == 0 && n.slab == 0);
		wf_mem_trim(mem, 0);
		REQUIRE(mem_oracle(mem).committed == 0);
	}
	wf_mem_close(mem);
	return refused;
}

static void every_point(uint64_t ahead)
{
	int fds = count_fds(), failed_opens = 0, refused = 0, fine = 0;
	uint64_t nth;

	for (nth = 1;; nth++) {
		int result;

		REQUIRE(nth < 1000);
		wf_fault_arm(-1, nth);
		result = scenario(ahead);
		if (!wf_fault_fired())
			break;
		wf_fault_arm(-1, 0);
		failed_opens += result < 0;
		refused += result > 0;
		fine += result == 0;
		/* One failure, one thing that could not be had. */
		REQUIRE(result <= 1);
		REQUIRE(count_fds() == fds);
	}
	wf_fault_arm(-1, 0);
	REQUIRE(scenario(ahead) == 0);
	REQUIRE(failed_opens > 5 && fine > 3);
	/* Commits that fail are tried again by other means: memory of others, another node. */
	REQUIRE(refused >= 1);
	printf("%llu points: %d opens failed, %d allocations, %d did without\n",
	       (unsigned long long)nth - 1, failed_opens, refused, fine);
}

static struct wf_mem *open_one(uint64_t limit)
{
	struct wf_mem_options options = { .limit_bytes = limit, .node_count = 1, .log = log_line };
	struct wf_mem *mem;

	REQUIRE(wf_mem_open(&mem, &options) == 0);
	return mem;
}

/* Until each chunk is huge, or was tried often enough, or huge pages are refused. */
static void wait_mended(struct wf_mem *mem)
{
	struct wf_mem_node *node = &mem->nodes[0];
	uint64_t wanted;

	do {
		/* relaxed: a hint. */
		if (wf_load_relaxed(&mem->shared->huge_refused) != 0)
			break;
		wf_store_release(&mem->shared->wake, 1);
		wf_futex_wake(&mem->shared->wake, 1);
		sched_yield();
		pthread_mutex_lock(&node->lock);
		wanted = node->wanted_chunks;
		for (uint32_t i = 0; i < node->chunk_count; i++)
			wanted += (node->chunks[i].flags & WF_CHUNK_BUSY) != 0;
		pthread_mutex_unlock(&node->lock);
	} while (wanted != 0);
}

/* Broken up by a squeeze and filled again, a chunk becomes huge again. */
static void broken_chunks_are_mended(void)
{
	/* Nothing ahead, but a thread that could. */
	struct wf_mem_options options = {
		.limit_bytes = 4 * MIB, .node_count = 1, .ahead_bytes = 1, .log = log_line
	};
	struct wf_mem_cache *cache;
	struct wf_mem_stats stats;
	struct wf_mem *mem;
	uint64_t piece[4], big;

	REQUIRE(wf_mem_open(&mem, &options) == 0);
	cache = wf_mem_cache_create(mem, 0);
	REQUIRE(cache != NULL);
	for (int i = 0; i < 4; i++) {
		piece[i] = wf_mem_alloc(mem, cache, MIB);
		REQUIRE(piece[i] != WF_MEM_NONE);
	}
	wf_mem_free(mem, cache, piece[0], MIB);
	wf_mem_free(mem, cache, piece[2], MIB);
	/* What is being made huge is not broken up: then there is no room for a moment. */
	while ((big = wf_mem_alloc(mem, cache, 2 * MIB)) == WF_MEM_NONE)
		wait_mended(mem);
	memset(wf_mem_writable(mem) + big, 9, 2 * MIB);
	wf_mem_free(mem, cache, big, 2 * MIB);
	wf_mem_cache_flush(cache);
	wf_mem_trim(mem, 0);
	/* The two holes are all that there is: they are filled, and the chunks are whole. */
	piece[0] = wf_mem_alloc(mem, cache, MIB);
	piece[2] = wf_mem_alloc(mem, cache, MIB);
	REQUIRE(piece[0] != WF_MEM_NONE && piece[2] != WF_MEM_NONE);
	wait_mended(mem);
	/* The oracle wants to be alone. */
	wf_commit_close(mem);
	mem->shared->thread_runs = false;
	wf_mem_stats(mem, &stats);
	/* Now and then the kernel has a reason not to; the oracle knows both. */
	printf("%llu of 2 chunks are huge again\n",
	       (unsigned long long)(stats.huge_bytes / WF_MEM_CHUNK_BYTES));
	mem_oracle(mem);
	for (int i = 0; i < 4; i++)
		wf_mem_free(mem, cache, piece[i], MIB);
	wf_mem_cache_destroy(cache);
	wf_mem_close(mem);
}

/* The system has no memory: said once, refused, and had when it has again. */
static void no_memory_is_said_once(void)
{
	struct wf_mem *mem = open_one(8 * MIB);
	struct wf_mem_cache *cache = wf_mem_cache_create(mem, 0);
	uint64_t offset;
	int before = lines;

	REQUIRE(cache != NULL);
	for (int i = 0; i < 4; i++) {
		/* The first reads what memory is left, which serves for the others. */
		wf_fault_arm(WF_FAULT_FILE, i != 0 ? 1 : 0);
		offset = wf_mem_alloc(mem, cache, MIB);
		wf_fault_arm(-1, 0);
		/* Tried again at once, with success. */
		REQUIRE(offset != WF_MEM_NONE);
		wf_mem_free(mem, cache, offset, MIB);
		wf_mem_cache_flush(cache);
		wf_mem_trim(mem, 0);
		mem_oracle(mem);
	}
	REQUIRE(lines == before + 1 && strstr(last_line, "no memory") != NULL);
	offset = wf_mem_alloc(mem, cache, MIB);
	REQUIRE(offset != WF_MEM_NONE);
	wf_mem_free(mem, cache, offset, MIB);
	wf_mem_cache_destroy(cache);
	wf_mem_close(mem);
}

/* Switched off for the process: small pages, one line in the log. */
static void huge_pages_are_refused(void)
{
	struct wf_mem_stats stats;
	struct wf_mem_cache *cache;
	struct wf_mem *mem;
	uint64_t offset;
	int before = lines;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0)
		return;
	mem = open_one(16 * MIB);
	cache = wf_mem_cache_create(mem, 0);
	REQUIRE(cache != NULL);
	for (int i = 0; i < 2; i++) {
		offset = wf_mem_alloc(mem, cache, 6 * MIB);
		REQUIRE(offset != WF_MEM_NONE);
		memset(wf_mem_writable(mem) + offset, 1, 6 * MIB);
	}
	wf_mem_stats(mem, &stats);
	if (stats.huge_bytes == 0)
		REQUIRE(lines == before + 1 && strstr(last_line, "small pages") != NULL);
	mem_oracle(mem);
	wf_mem_cache_destroy(cache);
	wf_mem_close(mem);
	REQUIRE(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
}

int main(void)
{
	REQUIRE(scenario(0) == 0 && scenario(8 * MIB) == 0);
	every_point(0);
	every_point(8 * MIB);
	broken_chunks_are_mended();
	no_memory_is_said_once();
	huge_pages_are_refused();
	return 0;
}
