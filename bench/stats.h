/*
 * stats.h: order statistics of a series of figures.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sort in place, ascending. */
void bench_sort(double *values, size_t n);
/*
 * The `p`-th part (0 to 1) of a sorted series, interpolated between its neighbours; 0 for an
 * empty one.
 */
double bench_percentile(const double *sorted, size_t n, double p);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_STATS_H */
