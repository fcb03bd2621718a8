/*
 * catalog.h: what each row measures, its unit, its goal, and the answer a correct run gives.
 */
#ifndef BENCH_CATALOG_H
#define BENCH_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bench_info {
	const char *name;
	const char *unit;     /* "ns", "bytes" or "percent" */
	uint32_t threads_max; /* 0: any; 1: the row is about one worker */
	bool store;           /* has limits, or parts of weft beside it */
	bool io;              /* moves files: run on both back ends */
	bool ray;             /* one of Ray's microbenchmarks or of its limits of a node */
	bool cold;            /* one repetition per process, without a warm-up */
	const char *program;  /* of weft's side; NULL: weft-bench itself */
	const char *row;      /* its name on the engines' side when it is not `name` */
	const char *text;     /* one repetition, and what the figure is per */
	const char *goal;     /* at 1 / 2 threads on the 2-core reference machine */
	uint64_t (*expected)(uint64_t size);
	double published; /* Ray's best published figure, in `unit`; 0: there is none */
	struct {          /* a second figure of the same run; suffix NULL: none */
		const char *suffix;
		const char *unit;
		const char *text;
		const char *goal;
		uint64_t (*expected)(uint64_t size); /* NULL: as the row's */
	} extra;
};

extern const struct bench_info bench_catalog[];
extern const size_t bench_catalog_count;

/* The row with this name, or the row whose extra figure has it; NULL when unknown. */
const struct bench_info *bench_find(const char *name, bool *is_extra);

#endif /* BENCH_CATALOG_H */
