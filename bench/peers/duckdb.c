/*
 * duckdb.c: DuckDB, where python3 has it: a table of one column, ordered by its first ten
 * characters or as a whole, copied to a file. Its memory limit is the same; its temporary files go
 * to the same directory.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "sorting.h"

/* The time is that of the statement, without the start of Python and the import. */
static const char script[] =
	"import sys, time\n"
	"try:\n"
	"    import duckdb\n"
	"except ImportError:\n"
	"    sys.exit(3)\n"
	"source, target, spill, memory, threads, key = sys.argv[1:]\n"
	"c = duckdb.connect()\n"
	"c.execute(\"SET memory_limit='%sB'\" % memory)\n"
	"c.execute('SET threads=' + threads)\n"
	"c.execute(\"SET temp_directory='%s'\" % spill)\n"
	"c.execute('SET preserve_insertion_order=false')\n"
	"c.execute('SET enable_progress_bar=false')\n"
	"begin = time.monotonic()\n"
	"c.execute(\"COPY (SELECT line FROM read_csv('%s', header=false, auto_detect=false, \"\n"
	"          \"columns={'line': 'VARCHAR'}, delim='|', quote='', escape='', \"\n"
	"          \"null_padding=false, nullstr='~') \"\n"
	"          \"ORDER BY %s) TO '%s' (FORMAT csv, HEADER false, DELIMITER '|', QUOTE '', \"\n"
	"          \"ESCAPE '')\" % (source, key, target))\n"
	"print(time.monotonic() - begin)\n";

static double sorter(struct bench_sorting *sorting, bool *writes)
{
	char command[8 * PATH_MAX];
	double seconds = -1;

	*writes = true;
	snprintf(command, sizeof command,
	         "python3 -c \"$WEFT_BENCH_SCRIPT\" '%s' '%s' '%s/spill' %" PRIu64 " %" PRIu32
	         " '%s' 2>/dev/null",
	         sorting->input, sorting->output, sorting->dir, sorting->memory_bytes,
	         sorting->run->threads, sorting->lines ? "line" : "line[1:10]");
	setenv("WEFT_BENCH_SCRIPT", script, 1);
	FILE *out = popen(command, "re");
	if (!out)
		return -1;
	if (fscanf(out, "%lf", &seconds) != 1)
		seconds = -1;
	return pclose(out) == 0 ? seconds : -1;
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
