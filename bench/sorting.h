/*
 * sorting.h: the rows of sorting a file: the input, the clock around a sorter, and the look at its
 * output. Each sorter is a program of its own that an engine starts; all get the same file,
 * threads, memory and directory, and none is asked to flush what it writes.
 */
#ifndef BENCH_SORTING_H
#define BENCH_SORTING_H

#include <limits.h>

#include "engine.h"

struct bench_sorting {
	const struct bench_run *run;
	uint64_t memory_bytes;
	bool lines; /* whole lines are the keys, not the first ten bytes */
	char dir[PATH_MAX];
	char input[PATH_MAX + 16], output[PATH_MAX + 16];
	/* Of the input, and then of an output: */
	uint64_t records, sum;
};

/*
 * Sort once, from `input` to `output`, which is not there. Seconds, or below 0: the engine has no
 * such row. `*writes` false: there is no output to look at.
 */
typedef double bench_sorter(struct bench_sorting *sorting, bool *writes);

/* A whole row by this sorter. The engine's table has the rows of BENCH_SORT_ROWS for it. */
int bench_sorting_run(const struct bench_run *run, bench_sorter *sorter);
#define BENCH_SORT_ROWS(fn) \
	{ "sort", fn }, { "sort_fit", fn }, \
	{ \
		"sort_lines", fn \
	}

/* The number behind `name` in the JSON report of weft-sort with `more` arguments; below 0: none. */
double bench_sorting_weft(struct bench_sorting *sorting, const char *more, const char *name);
/* Run a shell command: seconds, or below 0 when it failed. */
double bench_sorting_command(const char *command);

#endif /* BENCH_SORTING_H */
