/*
 * query.c: the query of examples/query as a row: scan with a filter, partial aggregates, merge, as
 * a group with a budget. Per row of the table.
 */
#include <string.h>

#include "query.h"
#include "rows.h"

int row_query(const struct bench_run *run)
{
	const uint64_t rows = bench_pick(16000000, 100000);
	const struct weft_group_options options = { .struct_size = sizeof options,
		                                    .memory = 8 * sizeof(struct query_result) };
	struct query_result *expected = bench_alloc(sizeof *expected);
	struct query_result *result = bench_alloc(sizeof *result);
	struct query_table table;
	struct query query = { .table = &table, .one_of = 3, .parts = 2 * run->threads };
	weft *rt = bench_open(run->threads);

	if (query_generate(&table, rows))
		bench_die("no memory for %llu rows", (unsigned long long)rows);
	query_serial(&query, expected);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		weft_ref ref;
		const int64_t start = bench_now_ns();
		bench_must(weft_group_create(rt, &options, &query.group), "weft_group_create");
		bench_must(query_submit(rt, &query, &ref), "query_submit");
		bench_must(weft_take(rt, ref, result, sizeof *result), "weft_take");
		bench_must(weft_group_destroy(rt, query.group), "weft_group_destroy");
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)rows, rows,
		           memcmp(result, expected, sizeof *result) ? 0 : rows);
	}
	bench_close(rt);
	query_free(&table);
	free(expected);
	free(result);
	return 0;
}
