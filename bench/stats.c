/*
 * stats.c: order statistics. Medians and percentiles only: a mean of timings says how often the
 * machine was disturbed, not what the engine costs.
 */
#include "stats.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	const double x = *(const double *)a;
	const double y = *(const double *)b;
	return (x > y) - (x < y);
}

void bench_sort(double *values, size_t n)
{
	if (n > 1)
		qsort(values, n, sizeof *values, compare);
}

double bench_percentile(const double *sorted, size_t n, double p)
{
	if (n == 0)
		return 0;
	const double at = p * (double)(n - 1);
	const size_t below = (size_t)at;
	if (below + 1 >= n)
		return sorted[n - 1];
	return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}
