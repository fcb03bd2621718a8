/*
 * api_fault.h: what the fault tests of the public door share: the sweep that fails the n-th
 * resource point for n = 1, 2, ... until a run passes without a failure, and counts of what a
 * failed call could leave behind. Needs the fault points of base.h.
 */
#ifndef WEFT_TEST_API_FAULT_H
#define WEFT_TEST_API_FAULT_H

#include <dirent.h>

#include "../../engine/base/base.h"
#include "api.h"

#define FAULT_POINTS_MAX 20000
#define FAULT_MAPS_PLAY  48

/* What a call that ran out of something may answer. */
static inline bool fault_allowed(int64_t status)
{
	return status >= 0 || status == -ENOMEM || status == -EAGAIN;
}

struct fault_census {
	unsigned fds, threads, maps;
};

static inline unsigned fault_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	API_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline struct fault_census fault_census(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	struct fault_census census = { 0 };
	int c;

	API_CHECK(file != NULL);
	while ((c = fgetc(file)) != EOF)
		census.maps += c == '\n';
	fclose(file);
	census.fds = fault_entries("/proc/self/fd");
	census.threads = fault_entries("/proc/self/task");
	return census;
}

/*
 * Nothing more than before. The C library keeps the stacks and arenas of ended threads for reuse,
 * so mappings have some play: far less than one per round of a sweep.
 */
static inline void fault_census_check(const struct fault_census *before)
{
	const int64_t start = api_now();
	struct fault_census now = fault_census();

	/* A joined thread's entry goes shortly after the join. */
	while (now.threads > before->threads) {
		api_polling(start, "no thread is left behind");
		now = fault_census();
	}
	API_CHECK(now.fds == before->fds);
	if (!WF_TSAN && !WF_ASAN)
		API_CHECK(now.maps <= before->maps + FAULT_MAPS_PLAY);
}

/*
 * Run `round` with the first, second, ... point failing until three runs in a row reached none
 * (threads beside it make the number of points vary); the last point that failed.
 */
static inline uint64_t fault_sweep(void (*round)(uint64_t nth))
{
	uint64_t last = 0;

	for (uint64_t nth = 1; nth < FAULT_POINTS_MAX; nth++) {
		round(nth);
		wf_fault_arm(-1, 0);
		if (wf_fault_fired())
			last = nth;
		else if (nth - last == 3)
			return last;
	}
	API_CHECK(!"the sweep ends");
	return 0;
}

#endif /* WEFT_TEST_API_FAULT_H */
