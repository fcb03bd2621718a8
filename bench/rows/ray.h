/*
 * ray.h: what the rows of Ray's names share: one call of the driver, repeated.
 */
#ifndef BENCH_RAY_H
#define BENCH_RAY_H

#include "rows.h"

#define RAY_ONES 10000 /* numbers in an object of the envelope */

struct ray_case {
	uint64_t ops;                           /* operations of one call: what the figure is per */
	uint64_t calls;                         /* of one repetition */
	uint64_t (*call)(weft *rt, uint64_t i); /* how many operations had a right answer */
};
/* `calls` calls by the main thread, timed as a whole, for every repetition. */
void ray_measure(const struct bench_run *run, weft *rt, const struct ray_case *what);

/* Zeros that nobody has written: all of it may be one page of the kernel. */
void *ray_zeros(size_t size);
void ray_zeros_free(void *zeros, size_t size);
/* How many bytes one object of these rows may have: half of the store. */
uint64_t ray_object_max(weft *rt);

#endif /* BENCH_RAY_H */
