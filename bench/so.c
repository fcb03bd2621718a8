/*
 * so.c: weft-bench-so: the fib row linked with libweft.so instead of the static library, for the
 * price of calls through a shared library. weft-bench runs it as the row fib_so.
 */
#include "rows/rows.h"

static const struct bench_engine_row engine_rows[] = {
	{ "fib", row_fib },
};

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
