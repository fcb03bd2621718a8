/*
 * child.h: run one batch of one row on one engine, in a process of its own.
 */
#ifndef BENCH_CHILD_H
#define BENCH_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_SERIES_MAX 16

struct bench_line {
	char series[BENCH_SERIES_MAX]; /* "" for the row itself */
	double figure;
	uint64_t size;
	uint64_t answer;
};

enum bench_child_end {
	BENCH_CHILD_DONE = 0,
	BENCH_CHILD_NO_ROW,  /* the engine has no such row */
	BENCH_CHILD_NO_FILE, /* the program was not built */
	BENCH_CHILD_FAILED,  /* exit status, signal or a line that is no line */
	BENCH_CHILD_TIMEOUT,
};

struct bench_batch {
	enum bench_child_end end;
	int status; /* of wait(), after BENCH_CHILD_FAILED */
	int64_t wall_ns;
	double other_cores; /* cores kept busy by others meanwhile; below 0: unknown */
	size_t line_count;
	struct bench_line *lines; /* owned; bench_batch_fini() frees them */
};

/*
 * Run `argv` (a path first) to its end and collect its lines. It is killed after `limit_ns`.
 * Returns 0, or a negated errno when the process could not be made.
 */
int bench_child_run(struct bench_batch *batch, char *const argv[], int64_t limit_ns);
void bench_batch_fini(struct bench_batch *batch);

#endif /* BENCH_CHILD_H */
