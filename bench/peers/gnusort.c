/*
 * gnusort.c: sort(1), where it is GNU's: the memory is its buffer, temporary files go to the same
 * directory.
 */
#include <inttypes.h>
#include <stdio.h>

#include "sorting.h"

static double sorter(struct bench_sorting *sorting, bool *writes)
{
	char command[4 * PATH_MAX];

	*writes = true;
	snprintf(command, sizeof command,
	         "LC_ALL=C exec sort -s %s --parallel=%" PRIu32 " --buffer-size=%" PRIu64
	         "b -T '%s' -o '%s' -- '%s' 2>/dev/null",
	         sorting->lines ? "" : "-k1.1,1.10", sorting->run->threads, sorting->memory_bytes,
	         sorting->dir, sorting->output, sorting->input);
	return bench_sorting_command(command);
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
