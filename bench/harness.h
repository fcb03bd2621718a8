/*
 * harness.h: runs rows on engines in turn and keeps their figures.
 */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "catalog.h"

#define BENCH_THREADS_MAX 16

struct bench_options {
	uint32_t threads[BENCH_THREADS_MAX];
	size_t threads_count;
	uint32_t reps;
	double min_time_s;
	double limit_s; /* of one batch */
	bool peers;
	const char *json;     /* NULL: none */
	char *const *filters; /* names or globs; none: all rows */
	size_t filters_count;
};

/* The figures of one engine at one thread count on one row, or on a row's extra figure. */
struct bench_series {
	const struct bench_info *info;
	bool extra;
	const char *engine;
	uint32_t threads;
	size_t n;
	size_t room;
	double *figures;    /* sorted once the row is done */
	bool checked;       /* every answer was right */
	double other_cores; /* mean over its batches; below 0: unknown */
};

struct bench_results {
	size_t count;
	size_t room;
	struct bench_series *series;
	uint32_t wrong_count;  /* answers that were not the expected one */
	uint32_t failed_count; /* rows on which weft itself failed or hung */
	uint32_t row_count;    /* rows that matched */
};

const char *bench_series_name(const struct bench_series *series, char *buffer, size_t size);
const char *bench_series_unit(const struct bench_series *series);

/* Run everything. 0, or a negated errno when no process could be started. */
int bench_run_all(const struct bench_options *options, struct bench_results *results);
void bench_results_fini(struct bench_results *results);

/* Write the JSON file. 0 or a negated errno. */
int bench_write_json(const struct bench_results *results, const char *path);

uint32_t bench_cpu_count(void);

#endif /* BENCH_HARNESS_H */
