/*
 * store.c: objects in memory: their whole life (store_cycle_1k), a look at one (store_get_1k),
 * copies into the store (store_put_*), room taken and given back (store_alloc_*), the answer when
 * nothing can help (store_full), and what an idle store uses (store_idle_cpu).
 *
 * Bodies that measure per thread run at once, one on each worker, and each keeps its own time:
 * the figure is their mean, so two threads that did not disturb each other give one thread's.
 */
#include <string.h>

#include "rows.h"
#include "stats.h"

#define KIB  ((size_t)1 << 10)
#define MIB  ((size_t)1 << 20)
#define LIVE 64 /* objects of one size that are there at any time, as in the peers */

/* ---- One body on each worker ---- */

struct crew {
	weft *rt;
	uint32_t threads;
	uint64_t chunks; /* of each body, BENCH_CHUNK_ROUNDS each */
	size_t size;
	bool written; /* all bytes, not the first and the last */
	weft_ref ref; /* what all look at */
	struct bench_counter arrived, good, ps;
};

/* Nobody begins before all are there; they all have a worker, so this ends. */
static void crew_meet(struct crew *crew)
{
	bench_counter_add(&crew->arrived);
	while (bench_counter_read(&crew->arrived) < crew->threads)
		continue;
}

/* Rounds of one body; the mark changes from round to round. True: the answer was right. */
typedef bool round_fn(struct crew *crew, void *own, uint64_t i);

static void crew_rounds(struct crew *crew, round_fn *round, void *own)
{
	struct bench_chunks *chunks = bench_alloc(sizeof *chunks);
	uint64_t good = 0;
	uint64_t i = 0;
	/* Everything at hand that will be used. */
	for (; i < BENCH_CHUNK_ROUNDS; i++)
		round(crew, own, i);
	crew_meet(crew);
	bench_chunks_begin(chunks);
	for (uint64_t chunk = 0; chunk < crew->chunks; chunk++) {
		for (uint64_t end = i + BENCH_CHUNK_ROUNDS; i < end; i++)
			good += round(crew, own, i);
		bench_chunks_mark(chunks);
	}
	const double ps = bench_chunks_end(chunks) * 1000;
	__atomic_fetch_add(&crew->ps.value, (uint64_t)ps, __ATOMIC_ACQ_REL);
	__atomic_fetch_add(&crew->good.value, good, __ATOMIC_ACQ_REL);
	free(chunks);
}

static uint64_t crew_size(const struct crew *crew)
{
	return crew->chunks * BENCH_CHUNK_ROUNDS * crew->threads;
}

/* Run `body` once on every worker: nanoseconds per round and thread. */
static double crew_run(struct crew *crew, weft_task_fn *body)
{
	weft_ref refs[64];
	if (crew->threads > sizeof refs / sizeof *refs)
		bench_die("at most 64 threads in this row");
	crew->arrived.value = crew->good.value = crew->ps.value = 0;
	for (uint32_t i = 0; i < crew->threads; i++)
		bench_must(weft_spawn(crew->rt, body, &crew, sizeof crew, &refs[i]), "weft_spawn");
	for (uint32_t i = 0; i < crew->threads; i++)
		bench_must(weft_take(crew->rt, refs[i], NULL, 0), "weft_take");
	return (double)crew->ps.value / 1000 / crew->threads;
}

static struct crew *crew_open(const struct bench_run *run, uint64_t chunks, size_t size)
{
	struct crew *crew = bench_alloc(sizeof *crew);
	crew->rt = bench_open(run->threads);
	crew->threads = run->threads;
	crew->chunks = bench_pick(chunks, 1);
	crew->size = size;
	return crew;
}

static void crew_close(struct crew *crew)
{
	bench_close(crew->rt);
	free(crew);
}

/* ---- The whole life of an object ---- */

static bool cycle_once(struct crew *crew, void *own, uint64_t i)
{
	const char mark = (char)i;
	(void)own;
	struct weft_buffer buffer;
	struct weft_view view;
	weft_ref ref;
	const size_t last = crew->size - 1;
	bench_must(weft_create(crew->rt, crew->size, NULL, &buffer), "weft_create");
	char *to = buffer.data;
	if (crew->written)
		memset(to, mark, crew->size);
	else
		to[0] = to[last] = mark;
	bench_must(weft_seal(crew->rt, &buffer, &ref), "weft_seal");
	bench_must(weft_get(crew->rt, ref, WEFT_FOREVER, &view), "weft_get");
	const char *from = view.data;
	const bool good = view.size == crew->size && from[0] == mark && from[last] == mark;
	bench_must(weft_view_end(crew->rt, ref), "weft_view_end");
	bench_must(weft_release(crew->rt, ref), "weft_release");
	return good;
}

static int cycle_body(weft_task *self)
{
	crew_rounds(*(struct crew **)bench_arg(self), cycle_once, NULL);
	return 0;
}

int row_store_cycle_1k(const struct bench_run *run)
{
	struct crew *crew = crew_open(run, 200, KIB);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		crew->written = false;
		double ns = crew_run(crew, cycle_body);
		bench_emit(run, rep, "", ns, crew_size(crew), crew->good.value);
		crew->written = true;
		ns = crew_run(crew, cycle_body);
		bench_emit(run, rep, "_written", ns, crew_size(crew), crew->good.value);
	}
	crew_close(crew);
	return 0;
}

/* ---- A look ---- */

/* An object of this thread's own: threads that look at one object share its word. */
static weft_ref sealed(weft *rt, size_t size, char mark)
{
	struct weft_buffer buffer;
	weft_ref ref;
	bench_must(weft_create(rt, size, NULL, &buffer), "weft_create");
	memset(buffer.data, mark, size);
	bench_must(weft_seal(rt, &buffer, &ref), "weft_seal");
	return ref;
}

static bool look(struct crew *crew, void *own, uint64_t i)
{
	const weft_ref ref = *(const weft_ref *)own;
	struct weft_view view;
	(void)i;
	bench_must(weft_get(crew->rt, ref, WEFT_FOREVER, &view), "weft_get");
	const bool good = *(const char *)view.data == 7;
	bench_must(weft_view_end(crew->rt, ref), "weft_view_end");
	return good;
}

static int look_body(weft_task *self)
{
	struct crew *crew = *(struct crew **)bench_arg(self);
	weft_ref ref = sealed(crew->rt, crew->size, 7);
	crew_rounds(crew, look, &ref);
	bench_must(weft_release(crew->rt, ref), "weft_release");
	return 0;
}

int row_store_get_1k(const struct bench_run *run)
{
	struct crew *crew = crew_open(run, 400, KIB);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const double ns = crew_run(crew, look_body);
		bench_emit(run, rep, "", ns, crew_size(crew), crew->good.value);
	}
	crew_close(crew);
	return 0;
}

/* ---- Room taken and given back ---- */

struct places {
	struct weft_buffer at[LIVE];
	uint64_t live;
};

static bool room_swap(struct crew *crew, void *own, uint64_t i)
{
	struct places *places = own;
	struct weft_buffer *place = &places->at[i % places->live];
	bool good = true;
	if (place->data) {
		good = *(uint64_t *)place->data == i - places->live;
		bench_must(weft_discard(crew->rt, place), "weft_discard");
	}
	bench_must(weft_create(crew->rt, crew->size, NULL, place), "weft_create");
	*(uint64_t *)place->data = i;
	return good;
}

static int room_body(weft_task *self)
{
	struct crew *crew = *(struct crew **)bench_arg(self);
	struct places places = { .live = crew->size >= 8 * MIB ? 8 : LIVE };
	crew_rounds(crew, room_swap, &places);
	for (uint64_t i = 0; i < places.live; i++)
		bench_must(weft_discard(crew->rt, &places.at[i]), "weft_discard");
	return 0;
}

/* weft_create() and weft_discard(): the store's memory, its entry and its accounting. */
static int room(const struct bench_run *run, uint64_t chunks, size_t size)
{
	struct crew *crew = crew_open(run, chunks, size);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const double ns = crew_run(crew, room_body);
		bench_emit(run, rep, "", ns, crew_size(crew), crew->good.value);
	}
	crew_close(crew);
	return 0;
}

int row_store_alloc_64(const struct bench_run *run)
{
	return room(run, 400, 64);
}

int row_store_alloc_1k(const struct bench_run *run)
{
	return room(run, 400, KIB);
}

int row_store_alloc_100k(const struct bench_run *run)
{
	return room(run, 100, 100 * KIB);
}

int row_store_alloc_10m(const struct bench_run *run)
{
	return room(run, 40, 10 * MIB);
}

/* ---- Copies into the store ---- */

struct put {
	weft *rt;
	char *from;
	size_t size;
	uint64_t rounds;
	double ns; /* of the median one */
};

static bool put_once(const struct put *put, char mark)
{
	struct weft_view view;
	weft_ref ref;
	put->from[0] = put->from[put->size - 1] = mark;
	bench_must(weft_put(put->rt, put->from, put->size, &ref), "weft_put");
	bench_must(weft_get(put->rt, ref, WEFT_FOREVER, &view), "weft_get");
	const char *at = view.data;
	const bool good = view.size == put->size && at[0] == mark && at[put->size - 1] == mark;
	bench_must(weft_release(put->rt, ref), "weft_release");
	return good;
}

static int put_body(weft_task *self)
{
	struct put *put = *(struct put **)bench_arg(self);
	double *ns = bench_alloc(put->rounds * sizeof *ns);
	uint64_t good = 0;
	for (uint64_t i = 0; i < put->rounds; i++) {
		const int64_t start = bench_now_ns();
		good += put_once(put, (char)i);
		ns[i] = (double)(bench_now_ns() - start);
	}
	bench_sort(ns, put->rounds);
	put->ns = bench_percentile(ns, put->rounds, 0.5);
	free(ns);
	return weft_return(self, &good, sizeof good);
}

/* Until the store makes no more pages huge: 20 ms in which this process uses under 2, or 2 s. */
static void let_settle(void)
{
	int64_t begin, used;
	int tries = 0;
	do {
		begin = bench_process_cpu_ns();
		bench_sleep_ns(20000000);
		used = bench_process_cpu_ns() - begin;
	} while (used > 2000000 && ++tries < 100);
}

/* Into pages that have been used before, as in a store that has been running. */
static int put(const struct bench_run *run, size_t size, uint64_t rounds)
{
	struct put put = { .rt = bench_open(run->threads), .size = size, .rounds = rounds };
	struct put *arg = &put;
	put.from = bench_alloc_huge(size);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const uint64_t good = bench_root(put.rt, put_body, &arg, sizeof arg);
		if (rep < 0)
			let_settle();
		bench_emit(run, rep, "", put.ns / ((double)size / (double)MIB), rounds, good);
	}
	bench_close(put.rt);
	return 0;
}

int row_store_put_1m(const struct bench_run *run)
{
	return put(run, MIB, bench_pick(500, 4));
}

int row_store_put_100m(const struct bench_run *run)
{
	return put(run, bench_pick(100 * MIB, 8 * MIB), bench_pick(9, 2));
}

/* ---- Nothing can help ---- */

/* A store full of objects that are looked at, and one more asked for: how long until the answer. */
int row_store_full(const struct bench_run *run)
{
	const uint64_t capacity = 64 * MIB;
	const uint64_t n = bench_pick(20, 3);
	const struct weft_options options = {
		.struct_size = sizeof options,
		.workers = run->threads,
		.store_bytes = capacity,
	};
	weft_ref refs[64];
	weft *rt;
	uint64_t held = 0;
	bench_must(weft_open(&rt, &options), "weft_open");
	for (struct weft_view view; held < 15; held++) {
		refs[held] = sealed(rt, 4 * MIB, 1);
		bench_must(weft_get(rt, refs[held], WEFT_FOREVER, &view), "weft_get");
	}
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t refused = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++) {
			struct weft_buffer buffer;
			refused += weft_create(rt, 16 * MIB, NULL, &buffer) == WEFT_ESTOREFULL;
		}
		bench_emit(run, rep, "", (double)(bench_now_ns() - start) / (double)n, n, refused);
	}
	bench_must(weft_release_many(rt, refs, (uint32_t)held), "weft_release_many");
	bench_close(rt);
	return 0;
}
