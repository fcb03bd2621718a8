/*
 * query.c: the tasks of a query.
 *
 * As many scans as wanted take morsels off one counter, each into an aggregate of its own, and a
 * merge has them as inputs. A scan reserves its aggregate's memory in the query's group before it
 * begins: with a small budget few scans are inside, and the others wait without a worker. Between
 * morsels a scan asks whether others should run; then it returns and is called again, with its
 * argument, and in it the place of its aggregate, as it left them.
 */
#include "query.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int query_generate(struct query_table *table, uint64_t rows)
{
	*table = (struct query_table){ .rows = rows,
		                       .key = malloc(rows),
		                       .value = malloc(rows * sizeof *table->value) };
	if (!table->key || !table->value) {
		query_free(table);
		return -1;
	}
	for (uint64_t i = 0; i < rows; i++) {
		uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

		x = (x ^ x >> 31) * UINT64_C(0xbf58476d1ce4e5b9);
		table->key[i] = (uint8_t)(x >> 56);
		table->value[i] = (int32_t)(x >> 20);
	}
	return 0;
}

void query_free(struct query_table *table)
{
	free(table->key);
	free(table->value);
	*table = (struct query_table){ 0 };
}

static void scan_rows(const struct query *query, uint64_t begin, uint64_t end,
                      struct query_result *into)
{
	const struct query_table *table = query->table;

	for (uint64_t i = begin; i < end; i++) {
		if (table->value[i] % query->one_of)
			continue;
		into->sum[table->key[i]] += table->value[i];
		into->count[table->key[i]]++;
	}
}

void query_serial(const struct query *query, struct query_result *result)
{
	memset(result, 0, sizeof *result);
	for (uint32_t i = 0; i < (query->repeats ? query->repeats : 1); i++)
		scan_rows(query, 0, query->table->rows, result);
}

struct scan {
	struct query *query;
	struct query_result *partial; /* NULL: not begun */
};

static int scan_begin(weft_task *self, struct scan *scan)
{
	void *room;
	int rc = weft_group_reserve(weft_task_runtime(self), scan->query->group,
	                            sizeof *scan->partial, WEFT_FOREVER);

	if (!rc)
		rc = weft_task_output(self, 0, sizeof *scan->partial, &room);
	if (!rc) {
		scan->partial = room;
		memset(room, 0, sizeof *scan->partial);
	}
	return rc;
}

static int scan(weft_task *self)
{
	struct scan *scan = weft_task_arg(self, NULL);
	struct query *query = scan->query;
	const uint64_t rows = query->table->rows;
	const uint64_t morsels = (rows + QUERY_MORSEL - 1) / QUERY_MORSEL;
	const uint64_t all = morsels * (query->repeats ? query->repeats : 1);
	int rc = scan->partial ? 0 : scan_begin(self, scan);

	while (!rc) {
		const uint64_t i = atomic_fetch_add(&query->next, 1);

		if (i >= all)
			break;
		const uint64_t begin = i % morsels * QUERY_MORSEL;
		const uint64_t end = rows - begin < QUERY_MORSEL ? rows : begin + QUERY_MORSEL;

		scan_rows(query, begin, end, scan->partial);
		atomic_fetch_add(&query->scanned, 1);
		if (weft_should_yield(self)) {
			if (!weft_task_cancelled(self))
				return WEFT_AGAIN;
			rc = -ECANCELED;
		}
	}
	if (scan->partial)
		weft_group_give_back(weft_task_runtime(self), query->group, sizeof *scan->partial);
	return rc;
}

static int merge(weft_task *self)
{
	struct query_result *result;
	void *room;
	int rc = weft_task_output(self, 0, sizeof *result, &room);

	if (rc)
		return rc;
	result = memset(room, 0, sizeof *result);
	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		rc = weft_input(self, i, &view);
		if (rc)
			return rc;
		const struct query_result *partial = view.data;

		for (uint32_t k = 0; k < QUERY_KEYS; k++) {
			result->sum[k] += partial->sum[k];
			result->count[k] += partial->count[k];
		}
	}
	return 0;
}

int query_submit(weft *rt, struct query *query, weft_ref *out)
{
	const struct weft_task_options options = { .struct_size = sizeof options,
		                                   .group = query->group };
	weft_ref *partial = calloc(query->parts, sizeof *partial);
	struct scan begin = { .query = query };
	int rc = partial ? 0 : -ENOMEM;

	atomic_store(&query->next, 0);
	atomic_store(&query->scanned, 0);
	for (uint32_t i = 0; i < query->parts && !rc; i++)
		rc = weft_submit(
			rt,
			WEFT_TASK(scan, .arg = &begin, .arg_size = sizeof begin, .opts = &options),
			&partial[i]);
	if (!rc)
		rc = weft_submit(rt,
		                 WEFT_TASK(merge, .inputs = partial,
		                           .n_inputs = (uint16_t)query->parts, .opts = &options),
		                 out);
	if (partial)
		weft_release_many(rt, partial, query->parts);
	free(partial);
	return rc;
}
