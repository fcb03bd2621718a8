/*
 * allocs.h: the rows store_alloc_* for an allocator by itself: room is taken and given back in the
 * order in which weft's rows do it, 64 live pieces of a size (8 of 10 MiB), each carrying a mark.
 * Whoever includes this says how: alloc_take(), alloc_give(), alloc_thread_begin(),
 * alloc_thread_end().
 */
#ifndef BENCH_ALLOCS_H
#define BENCH_ALLOCS_H

#include <pthread.h>

#include "engine.h"
#include "problem.h"

#define ALLOC_LIVE    64
#define ALLOC_THREADS 64

static void *alloc_thread_begin(void);
static void alloc_thread_end(void *own);
/* Returns where it can be written; `*handle` is what alloc_give() wants back. */
static void *alloc_take(void *own, size_t size, uint64_t *handle);
static void alloc_give(void *own, size_t size, uint64_t handle);

struct alloc_crew {
	uint32_t threads;
	uint64_t chunks;
	size_t size;
	struct bench_counter arrived, good, ps;
};

struct alloc_places {
	struct alloc_place {
		uint64_t *data;
		uint64_t handle;
	} at[ALLOC_LIVE];
	uint64_t live;
};

static bool alloc_swap(void *own, size_t size, struct alloc_places *places, uint64_t i)
{
	struct alloc_place *place = &places->at[i % places->live];
	bool good = true;
	if (place->data) {
		good = *place->data == i - places->live;
		alloc_give(own, size, place->handle);
	}
	place->data = alloc_take(own, size, &place->handle);
	if (!place->data)
		bench_die("no memory for %zu bytes", size);
	*place->data = i;
	return good;
}

static void *alloc_thread(void *arg)
{
	struct alloc_crew *crew = arg;
	struct alloc_places places = { .live = crew->size >= (size_t)8 << 20 ? 8 : ALLOC_LIVE };
	struct bench_chunks *chunks = bench_alloc(sizeof *chunks);
	uint64_t good = 0;
	uint64_t i = 0;
	void *own = alloc_thread_begin();
	for (; i < BENCH_CHUNK_ROUNDS; i++)
		alloc_swap(own, crew->size, &places, i);
	bench_counter_add(&crew->arrived);
	while (bench_counter_read(&crew->arrived) < crew->threads)
		continue;
	bench_chunks_begin(chunks);
	for (uint64_t chunk = 0; chunk < crew->chunks; chunk++) {
		for (uint64_t end = i + BENCH_CHUNK_ROUNDS; i < end; i++)
			good += alloc_swap(own, crew->size, &places, i);
		bench_chunks_mark(chunks);
	}
	const double ps = bench_chunks_end(chunks) * 1000;
	__atomic_fetch_add(&crew->ps.value, (uint64_t)ps, __ATOMIC_ACQ_REL);
	__atomic_fetch_add(&crew->good.value, good, __ATOMIC_ACQ_REL);
	for (uint64_t j = 0; j < places.live; j++)
		alloc_give(own, crew->size, places.at[j].handle);
	alloc_thread_end(own);
	free(chunks);
	return NULL;
}

static int allocs(const struct bench_run *run, uint64_t chunks, size_t size)
{
	pthread_t threads[ALLOC_THREADS];
	struct alloc_crew *crew = bench_alloc(sizeof *crew);
	crew->threads = run->threads < ALLOC_THREADS ? run->threads : ALLOC_THREADS;
	crew->chunks = bench_pick(chunks, 1);
	crew->size = size;
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		crew->arrived.value = crew->good.value = crew->ps.value = 0;
		for (uint32_t i = 0; i < crew->threads; i++)
			if (pthread_create(&threads[i], NULL, alloc_thread, crew))
				bench_die("cannot start a thread");
		for (uint32_t i = 0; i < crew->threads; i++)
			pthread_join(threads[i], NULL);
		bench_emit(run, rep, "", (double)crew->ps.value / 1000 / crew->threads,
		           crew->chunks * BENCH_CHUNK_ROUNDS * crew->threads, crew->good.value);
	}
	free(crew);
	return 0;
}

static int row_alloc_64(const struct bench_run *run)
{
	return allocs(run, 400, 64);
}

static int row_alloc_1k(const struct bench_run *run)
{
	return allocs(run, 400, 1024);
}

static int row_alloc_100k(const struct bench_run *run)
{
	return allocs(run, 100, (size_t)100 << 10);
}

static int row_alloc_10m(const struct bench_run *run)
{
	return allocs(run, 40, (size_t)10 << 20);
}

static int allocs_main(int argc, char **argv)
{
	static const struct bench_engine_row rows[] = {
		{ "store_alloc_64", row_alloc_64 },
		{ "store_alloc_1k", row_alloc_1k },
		{ "store_alloc_100k", row_alloc_100k },
		{ "store_alloc_10m", row_alloc_10m },
	};
	return bench_engine_main(argc, argv, rows, sizeof rows / sizeof *rows);
}

#endif /* BENCH_ALLOCS_H */
