/*
 * main.c: several queries at once over one table, as groups of one engine: by weight, with a
 * budget, in a hurry, cancelled, and with a host thread that helps its own. Every answer is
 * checked.
 *
 *	query [ROWS]
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "query.h"

#define PARTS 4

static void must(int64_t status, const char *what)
{
	if (status >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, weft_strerror((int)status));
	exit(1);
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "wrong: %s\n", what);
	exit(1);
}

struct client {
	weft *rt;
	const char *name;
	struct query query;
	struct weft_group_options options;
	bool helps;
};

/* A client of the engine: one query, waited for, checked. */
static void *ask(void *arg)
{
	struct client *client = arg;
	struct query *query = &client->query;
	struct query_result expected, result;
	struct weft_group_stats stats = { .struct_size = sizeof stats };
	weft *rt = client->rt;
	weft_ref ref;

	client->options.name = client->name;
	must(weft_group_create(rt, &client->options, &query->group), "weft_group_create");
	must(query_submit(rt, query, &ref), "query_submit");
	if (client->helps)
		must(weft_group_run(rt, query->group, ref, WEFT_FOREVER), "weft_group_run");
	must(weft_take(rt, ref, &result, sizeof result), "weft_take");
	must(weft_group_join(rt, query->group, WEFT_FOREVER), "weft_group_join");
	must(weft_group_stats(rt, query->group, &stats), "weft_group_stats");
	query_serial(query, &expected);
	check(!memcmp(&result, &expected, sizeof result), client->name);
	check(stats.done == query->parts + 1 && !stats.failed && !stats.memory, "its counters");
	printf("%-10s %8.2f ms of CPU, %8.2f ms queued\n", client->name, (double)stats.run_ns / 1e6,
	       (double)stats.queued_ns / 1e6);
	must(weft_group_destroy(rt, query->group), "weft_group_destroy");
	return NULL;
}

/* A query that would take an hour is stopped after its first morsels. */
static void stop_one(weft *rt, const struct query_table *table, weft_group engine)
{
	struct query query = { .table = table, .one_of = 1, .parts = PARTS, .repeats = 10000000 };
	const struct weft_group_options options = { .struct_size = sizeof options,
		                                    .parent = engine,
		                                    .name = "endless" };
	struct weft_view view;
	weft_ref ref;

	must(weft_group_create(rt, &options, &query.group), "weft_group_create");
	must(query_submit(rt, &query, &ref), "query_submit");
	while (!atomic_load(&query.scanned))
		must(weft_sleep_until(rt, weft_after_ms(rt, 1)), "weft_sleep_until");
	must(weft_group_cancel(rt, query.group), "weft_group_cancel");
	must(weft_group_join(rt, query.group, WEFT_FOREVER), "weft_group_join");
	check(weft_get(rt, ref, WEFT_FOREVER, &view) < 0, "a cancelled query has an answer");
	must(weft_release(rt, ref), "weft_release");
	must(weft_group_destroy(rt, query.group), "weft_group_destroy");
}

struct cache {
	weft *rt;
	weft_group engine;
	uint64_t bytes;
	_Atomic int dropped;
};

/* The engine's memory is short: what was cached is dropped, once. */
static void drop_cache(void *arg, uint64_t bytes)
{
	struct cache *cache = arg;

	(void)bytes;
	if (!atomic_exchange(&cache->dropped, 1))
		must(weft_group_give_back(cache->rt, cache->engine, cache->bytes), "give back");
}

static void run(weft *rt, const struct query_table *table)
{
	const uint64_t one = sizeof(struct query_result);
	const struct weft_group_options options = { .struct_size = sizeof options,
		                                    .memory = 4 * one,
		                                    .name = "engine" };
	struct cache cache = { .rt = rt, .bytes = 4 * one };
	struct weft_group_stats stats = { .struct_size = sizeof stats };
	struct client clients[4] = {
		{ .name = "heavy", .query = { .one_of = 3 }, .options = { .weight = 3 } },
		{ .name = "frugal", .query = { .one_of = 5 }, .options = { .memory = one } },
		{ .name = "urgent",
		  .query = { .one_of = 7 },
		  .options = { .priority = WEFT_PRIORITY_HIGH } },
		{ .name = "helped", .query = { .one_of = 11 }, .helps = true },
	};
	pthread_t thread[4];

	must(weft_group_create(rt, &options, &cache.engine), "weft_group_create");
	must(weft_group_reserve(rt, cache.engine, cache.bytes, WEFT_POLL), "weft_group_reserve");
	must(weft_group_on_reclaim(rt, cache.engine, drop_cache, &cache), "weft_group_on_reclaim");
	for (int i = 0; i < 4; i++) {
		struct client *client = &clients[i];

		client->rt = rt;
		client->query.table = table;
		client->query.parts = PARTS;
		client->options.struct_size = sizeof client->options;
		client->options.parent = cache.engine;
		check(!pthread_create(&thread[i], NULL, ask, client), "pthread_create");
	}
	stop_one(rt, table, cache.engine);
	for (int i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	must(weft_group_stats(rt, cache.engine, &stats), "weft_group_stats");
	check(atomic_load(&cache.dropped) && !stats.memory, "the engine's memory is all back");
	check(stats.submitted == stats.done + stats.failed, "the engine's counters");
	must(weft_group_destroy(rt, cache.engine), "weft_group_destroy");
}

int main(int argc, char **argv)
{
	const uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 0) : 1000000;
	struct query_table table;
	weft *rt;

	check(rows > 0 && !query_generate(&table, rows), "no memory for the table");
	must(weft_open(&rt, NULL), "weft_open");
	run(rt, &table);
	must(weft_close(rt, WEFT_FOREVER), "weft_close");
	query_free(&table);
	return 0;
}
