/*
 * sort.c: weft's side of sorting a file: weft-sort, without its verification, which comes after and
 * which nobody else does.
 */
#include "sorting.h"

static double sorter(struct bench_sorting *sorting, bool *writes)
{
	*writes = true;
	return bench_sorting_weft(sorting, "", "\"sort_seconds\": ");
}

static int row(const struct bench_run *run)
{
	return bench_sorting_run(run, sorter);
}

static const struct bench_engine_row engine_rows[] = { BENCH_SORT_ROWS(row) };

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
