/*
 * query.h: an analytics engine in small: a scan with a filter, partial aggregates, a merge, over
 * columns in memory. A query is a group of tasks.
 */
#ifndef EXAMPLES_QUERY_H
#define EXAMPLES_QUERY_H

#include <stdatomic.h>
#include <weft.h>

#define QUERY_KEYS   256
#define QUERY_MORSEL 8192 /* rows that are worked through without a look up */

struct query_table {
	uint64_t rows;
	uint8_t *key;
	int32_t *value;
};

/* select key, sum(value), count(*) where value % one_of = 0 group by key */
struct query_result {
	int64_t sum[QUERY_KEYS];
	uint64_t count[QUERY_KEYS];
};

struct query {
	const struct query_table *table;
	int32_t one_of;
	uint32_t parts;   /* partial aggregates at once, at most */
	uint32_t repeats; /* of the scan; 0: one */
	weft_group group;
	_Atomic uint64_t next, scanned; /* morsels: taken, and done */
};

/* Columns that are functions of the row's number. 0, -1 no memory. */
int query_generate(struct query_table *table, uint64_t rows);
void query_free(struct query_table *table);
/*
 * Submit the tasks of a query into its group. *out: a struct query_result to be; the caller's.
 * `query` and its table stay until then. Errors as weft_submit().
 */
int query_submit(weft *rt, struct query *query, weft_ref *out);
/* The same answer by one loop. */
void query_serial(const struct query *query, struct query_result *result);

#endif /* EXAMPLES_QUERY_H */
