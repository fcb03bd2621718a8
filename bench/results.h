/*
 * results.h: a results file read back.
 */
#ifndef BENCH_RESULTS_H
#define BENCH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_FACTS_MAX 32

struct bench_fact {
	char key[32];
	char value[128];
};

struct bench_figure {
	char name[64];
	char engine[32];
	char unit[16];
	double threads;
	double median;
	double p10;
	double p90;
	double n;
	bool checked;
};

struct bench_file {
	struct bench_fact facts[BENCH_FACTS_MAX]; /* of the machine, in file order */
	size_t fact_count;
	struct bench_figure *rows; /* owned; bench_file_fini() frees them */
	size_t row_count;
};

/* Read `path`. 0, or -1 after one line on stderr that says what is wrong and where. */
int bench_file_read(struct bench_file *file, const char *path);
void bench_file_fini(struct bench_file *file);

#endif /* BENCH_RESULTS_H */
