/*
 * Goal: whichever allocation or mapping of the store's heap fails, the caller gets NULL or a good
 * buffer, the counters stay right and nothing is lost.
 * Method: a scenario of all kinds of buffers, run once for each of its fault points.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "wf_store.h"

#define MIB ((size_t)1 << 20)

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			exit(1); \
		} \
	} while (0)

/* How many of the buffers could not be had. */
static int scenario(void)
{
	static const size_t sizes[] = { 100, 3 * MIB, 2 * MIB, 3 * MIB, 1 * MIB, 9 * MIB };
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	char *p[COUNT];
	size_t live = 0;
	int failed = 0;

	for (int i = 0; i < COUNT; i++) {
		p[i] = wf_store_alloc(sizes[i]);
		failed += p[i] == NULL;
		if (p[i] == NULL)
			continue;
		live += sizes[i];
		memset(p[i], i, sizes[i]);
		/* The third is given back at once: the cache is not empty when others fail. */
		if (i == 2) {
			wf_store_free(p[i], sizes[i]);
			live -= sizes[i];
			p[i] = NULL;
		}
		REQUIRE(wf_store_live_bytes() == live);
	}
	for (int i = 0; i < COUNT; i++) {
		REQUIRE(p[i] == NULL || (p[i][0] == i && p[i][sizes[i] - 1] == i));
		wf_store_free(p[i], sizes[i]);
	}
	REQUIRE(wf_store_live_bytes() == 0);
	wf_store_trim();
	REQUIRE(wf_store_cached_bytes() == 0);
	return failed;
}

/* A mapping that fails while buffers are kept is tried again without them. */
static void cache_gives_way(void)
{
	void *p = wf_store_alloc(4 * MIB);

	REQUIRE(p != NULL);
	wf_store_free(p, 4 * MIB);
	wf_fault_arm(WF_FAULT_MMAP, 1);
	p = wf_store_alloc(6 * MIB);
	REQUIRE(p != NULL && wf_fault_fired());
	REQUIRE(wf_store_cached_bytes() == 0);
	wf_fault_arm(WF_FAULT_MMAP, 1);
	REQUIRE(wf_store_alloc(6 * MIB) == NULL && wf_fault_fired());
	wf_fault_arm(-1, 0);
	wf_store_free(p, 6 * MIB);
	wf_store_trim();
}

int main(void)
{
	uint64_t nth;
	int refused = 0;

	wf_fault_arm(-1, UINT64_MAX);
	REQUIRE(scenario() == 0);
	REQUIRE(wf_fault_count() >= 6);
	for (nth = 1;; nth++) {
		int failed;

		REQUIRE(nth < 100);
		wf_fault_arm(-1, nth);
		failed = scenario();
		if (!wf_fault_fired())
			break;
		/* At most the one that was hit; none where the cache gave way. */
		REQUIRE(failed <= 1);
		refused += failed;
	}
	wf_fault_arm(-1, 0);
	REQUIRE(nth > 6);
	REQUIRE(refused >= 4);
	cache_gives_way();
	return 0;
}
