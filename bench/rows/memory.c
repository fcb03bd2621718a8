/*
 * memory.c: resident memory: a queued task with its reference (queued_bytes), and whether a
 * runtime that has run very many tasks is larger than one that has run a million (churn_rss).
 */
#include "bodies.h"
#include "rows.h"

/* ---- A queued task ---- */

struct queued {
	weft *rt;
	weft_ref *refs;
	uint64_t total;
	uint64_t grown_bytes;
};

struct queued_arg {
	uint64_t value;
	uint64_t pad;
};

static int queued_body(weft_task *self)
{
	return weft_return(self, bench_arg(self), sizeof(uint64_t));
}

/* The only worker runs this body, so nothing leaves the queue while it fills. */
static int queued_root(weft_task *self)
{
	struct queued *q = *(struct queued **)bench_arg(self);
	uint64_t sum = 0;
	const uint64_t before = bench_rss_bytes();
	for (uint64_t i = 0; i < q->total; i++) {
		const struct queued_arg arg = { .value = i };
		bench_must(weft_spawn(q->rt, queued_body, &arg, sizeof arg, &q->refs[i]),
		           "weft_spawn");
	}
	q->grown_bytes = bench_rss_bytes() - before;
	for (uint64_t i = q->total; i-- > 0;) {
		uint64_t value = 0;
		bench_must(weft_take(q->rt, q->refs[i], &value, sizeof value), "weft_take");
		sum += value;
	}
	return weft_return(self, &sum, sizeof sum);
}

int row_queued_bytes(const struct bench_run *run)
{
	struct queued q = { .total = bench_pick(1000000, 2000) };
	struct queued *arg = &q;
	q.refs = bench_alloc(q.total * sizeof *q.refs);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		q.rt = bench_open(1);
		const uint64_t answer = bench_root(q.rt, queued_root, &arg, sizeof arg);
		bench_emit(run, rep, "", (double)q.grown_bytes / (double)q.total, q.total, answer);
		bench_close(q.rt);
	}
	free(q.refs);
	return 0;
}

/* ---- Churn ---- */

#define WAVE 100000

/* Waves of fire-and-forget tasks, each waited for: the live ones never exceed one wave. */
static uint64_t churn(struct bench_flat *flat, uint64_t tasks)
{
	uint64_t done = 0;
	struct weft_view view;
	while (done < tasks) {
		flat->count.value = 0;
		flat->total = tasks - done < WAVE ? tasks - done : WAVE;
		flat->done = bench_done_event(flat->rt);
		bench_must(weft_spawn(flat->rt, bench_flat_root, &flat, sizeof flat, NULL),
		           "weft_spawn");
		bench_must(weft_get(flat->rt, flat->done, WEFT_FOREVER, &view), "weft_get");
		bench_must(weft_release(flat->rt, flat->done), "weft_release");
		done += bench_counter_read(&flat->count);
	}
	return done;
}

int row_churn_rss(const struct bench_run *run)
{
	struct bench_flat *flat = bench_alloc(sizeof *flat);
	const uint64_t first = bench_pick(1000000, 20000);
	const uint64_t all = bench_long() ? 1000000000 : bench_pick(20000000, 100000);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		flat->rt = bench_open(run->threads);
		uint64_t done = churn(flat, first);
		const uint64_t before = bench_rss_bytes();
		done += churn(flat, all - first);
		const uint64_t after = bench_rss_bytes();
		const double grown = (double)after - (double)before;
		bench_emit(run, rep, "", grown, all, done);
		bench_emit(run, rep, "_base", (double)before, all, done);
		bench_close(flat->rt);
	}
	free(flat);
	return 0;
}
