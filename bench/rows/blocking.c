/*
 * blocking.c: tasks that block in get: the price of one block and resume (block_resume), a get
 * inside a get a thousand deep (nested_1000), and a hundred thousand tasks blocked on one event
 * at the same time (blocked_100k).
 */
#include "rows.h"

/* ---- Block and resume ---- */

/*
 * Two tasks hand a token to and fro through events made beforehand: each step sets one event and
 * blocks on another, so a step is one block, one resume and one event_set. With one worker both
 * run on it.
 */
struct pingpong {
	weft *rt;
	weft_ref *events; /* even ones are set by the first task, odd ones by the second */
	uint64_t steps;   /* of both tasks together; even */
	uint64_t blocked;
};

static void pingpong_get(weft *rt, weft_ref event)
{
	struct weft_view view;
	bench_must(weft_get(rt, event, WEFT_FOREVER, &view), "weft_get");
}

static int pong(weft_task *self)
{
	const struct pingpong *p = *(struct pingpong **)bench_arg(self);
	for (uint64_t i = 0; i < p->steps; i += 2) {
		pingpong_get(p->rt, p->events[i]);
		bench_must(weft_event_set(p->rt, p->events[i + 1], NULL, 0), "weft_event_set");
	}
	return 0;
}

static int ping(weft_task *self)
{
	struct pingpong *p = *(struct pingpong **)bench_arg(self);
	weft_ref other;
	struct weft_view view;
	bench_must(weft_spawn(p->rt, pong, &p, sizeof p, &other), "weft_spawn");
	for (uint64_t i = 0; i < p->steps; i += 2) {
		bench_must(weft_event_set(p->rt, p->events[i], NULL, 0), "weft_event_set");
		pingpong_get(p->rt, p->events[i + 1]);
		p->blocked += 2;
	}
	bench_must(weft_get(p->rt, other, WEFT_FOREVER, &view), "weft_get");
	bench_must(weft_release(p->rt, other), "weft_release");
	return weft_return(self, &p->blocked, sizeof p->blocked);
}

int row_block_resume(const struct bench_run *run)
{
	struct pingpong p = { .rt = bench_open(run->threads), .steps = bench_pick(200000, 200) };
	struct pingpong *arg = &p;
	p.events = bench_alloc(p.steps * sizeof *p.events);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		p.blocked = 0;
		for (uint64_t i = 0; i < p.steps; i++)
			bench_must(weft_event_create(p.rt, &p.events[i]), "weft_event_create");
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(p.rt, ping, &arg, sizeof arg);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)p.steps, p.steps, answer);
		bench_must(weft_release_many(p.rt, p.events, (uint32_t)p.steps),
		           "weft_release_many");
	}
	free(p.events);
	bench_close(p.rt);
	return 0;
}

/* ---- A thousand nested gets ---- */

#define NEST_DEPTH 1000
#define NESTS      20

static int nest(weft_task *self)
{
	const uint32_t depth = *(const uint32_t *)bench_arg(self);
	weft *rt = weft_task_runtime(self);
	uint64_t value = 0;
	if (depth > 1) {
		const uint32_t below = depth - 1;
		weft_ref ref;
		bench_must(weft_spawn(rt, nest, &below, sizeof below, &ref), "weft_spawn");
		bench_must(weft_take(rt, ref, &value, sizeof value), "weft_take");
	}
	value++;
	return weft_return(self, &value, sizeof value);
}

int row_nested_1000(const struct bench_run *run)
{
	const uint32_t depth = NEST_DEPTH;
	const uint64_t nests = bench_pick(NESTS, 1);
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t answer = 0;
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < nests; i++)
			answer += bench_root(rt, nest, &depth, sizeof depth);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)nests, nests * depth, answer);
	}
	bench_close(rt);
	return 0;
}

/* ---- A hundred thousand blocked at once ---- */

struct crowd {
	struct bench_counter arrived;
	struct bench_counter left;
	weft *rt;
	weft_ref gate;
	weft_ref done;
	uint64_t total;
};

static int crowd_body(weft_task *self)
{
	struct crowd *crowd = *(struct crowd **)bench_arg(self);
	struct weft_view view;
	bench_counter_add(&crowd->arrived);
	bench_must(weft_get(crowd->rt, crowd->gate, WEFT_FOREVER, &view), "weft_get");
	if (bench_counter_add(&crowd->left) + 1 < crowd->total)
		return 0;
	bench_set_done(crowd->rt, crowd->done);
	return 0;
}

static int crowd_root(weft_task *self)
{
	struct crowd *crowd = *(struct crowd **)bench_arg(self);
	for (uint64_t i = 0; i < crowd->total; i++)
		bench_must(weft_spawn(crowd->rt, crowd_body, &crowd, sizeof crowd, NULL),
		           "weft_spawn");
	return 0;
}

int row_blocked_100k(const struct bench_run *run)
{
	struct crowd *crowd = bench_alloc(sizeof *crowd);
	struct weft_view view;
	crowd->total = bench_pick(100000, 300);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		crowd->rt = bench_open(run->threads);
		crowd->arrived.value = 0;
		crowd->left.value = 0;
		bench_must(weft_event_create(crowd->rt, &crowd->gate), "weft_event_create");
		crowd->done = bench_done_event(crowd->rt);
		const uint64_t before = bench_rss_bytes();
		const int64_t start = bench_now_ns();
		bench_must(weft_spawn(crowd->rt, crowd_root, &crowd, sizeof crowd, NULL),
		           "weft_spawn");
		/* Nothing tells that all have arrived but their own count; 0.1 ms a look. */
		while (bench_counter_read(&crowd->arrived) < crowd->total)
			bench_sleep_ns(100000);
		const int64_t in_ns = bench_now_ns() - start;
		const uint64_t grown = bench_rss_bytes() - before;
		const int64_t opened = bench_now_ns();
		bench_must(weft_event_set(crowd->rt, crowd->gate, NULL, 0), "weft_event_set");
		bench_must(weft_get(crowd->rt, crowd->done, WEFT_FOREVER, &view), "weft_get");
		const int64_t ns = in_ns + bench_now_ns() - opened;
		const uint64_t answer = bench_counter_read(&crowd->left);
		bench_emit(run, rep, "", (double)grown / (double)crowd->total, crowd->total,
		           answer);
		bench_emit(run, rep, "_ns", (double)ns / (double)crowd->total, crowd->total,
		           answer);
		bench_must(weft_release(crowd->rt, crowd->gate), "weft_release");
		bench_must(weft_release(crowd->rt, crowd->done), "weft_release");
		bench_close(crowd->rt);
	}
	free(crowd);
	return 0;
}
