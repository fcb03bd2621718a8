/*
 * actor_life.c: what actors cost beside messages: memory of an idle one and of a flood, a kill with
 * calls in its queue, a restart, and what a second worker gains when methods are not empty.
 */
#include <string.h>

#include "actors.h"

/* ---- Memory ---------------------------------------------------------------------------------- */

static int touches(weft_task *self)
{
	uint64_t *state = weft_actor_state(self);

	++*state;
	return weft_return(self, state, sizeof *state);
}

static const struct weft_actor_class small =
	WEFT_ACTOR_CLASS(.name = "small", .state_bytes = sizeof(uint64_t));

static uint64_t call_once(weft *rt, weft_actor actor, weft_task_fn *fn)
{
	uint64_t value = 0;
	weft_ref ref;

	bench_must(weft_actor_call(rt, actor, fn, NULL, 0, &ref), "weft_actor_call");
	bench_must(weft_take(rt, ref, &value, sizeof value), "weft_take");
	return value;
}

struct idle {
	weft_actor *actors;
	uint64_t n, grown;
};

static int makes_idle_ones(weft_task *self)
{
	struct idle *idle = *(struct idle *const *)bench_arg(self);
	weft *rt = weft_task_runtime(self);
	uint64_t answer = 0;
	/* What every runtime has, and the first call of a worker. */
	const weft_actor first = bench_actor(rt, &small);

	(void)call_once(rt, first, touches);
	const uint64_t before = bench_rss_bytes();

	for (uint64_t i = 0; i < idle->n; i++) {
		idle->actors[i] = bench_actor(rt, &small);
		answer += call_once(rt, idle->actors[i], touches);
	}
	idle->grown = bench_rss_bytes() - before;
	bench_must(weft_actor_release(rt, first), "weft_actor_release");
	return weft_return(self, &answer, sizeof answer);
}

/* One that has run a call, with eight bytes of state. */
int row_actor_idle_bytes(const struct bench_run *run)
{
	struct idle idle = { .n = bench_pick(200000, 500) };
	struct idle *arg = &idle;

	idle.actors = bench_alloc(idle.n * sizeof *idle.actors);
	/* The handles are not the actors'. */
	memset(idle.actors, 1, idle.n * sizeof *idle.actors);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		weft *rt = bench_open(run->threads);
		const uint64_t answer = bench_root(rt, makes_idle_ones, &arg, sizeof arg);

		bench_emit(run, rep, "", (double)idle.grown / (double)idle.n, idle.n, answer);
		for (uint64_t i = 0; i < idle.n; i++)
			bench_must(weft_actor_release(rt, idle.actors[i]), "weft_actor_release");
		bench_close(rt);
	}
	free(idle.actors);
	return 0;
}

struct flood {
	weft_actor target;
	uint64_t n, rss;
};

static int floods(weft_task *self)
{
	struct flood *flood = *(struct flood *const *)bench_arg(self);
	weft *rt = weft_task_runtime(self);

	for (uint64_t i = 0; i < flood->n; i++) {
		bench_tell(rt, flood->target, touches, NULL, 0);
		if (i % 8192 == 8191) {
			const uint64_t rss = bench_rss_bytes();

			flood->rss = rss > flood->rss ? rss : flood->rss;
		}
	}
	return 0;
}

/* The most that a runtime grows by while one actor's queue is kept full. */
int row_actor_flood_bytes(const struct bench_run *run)
{
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		weft *rt = bench_open(run->threads);
		struct flood flood = { bench_actor(rt, &small), bench_pick(2000000, 20000), 0 };
		struct flood *arg = &flood;
		weft_ref ref;

		(void)call_once(rt, flood.target, touches);
		const uint64_t before = flood.rss = bench_rss_bytes();

		bench_must(weft_spawn(rt, floods, &arg, sizeof arg, &ref), "weft_spawn");
		bench_must(weft_take(rt, ref, NULL, 0), "weft_take");
		const uint64_t answer = call_once(rt, flood.target, touches) - 2;

		bench_emit(run, rep, "", (double)(flood.rss - before), flood.n, answer);
		bench_must(weft_actor_release(rt, flood.target), "weft_actor_release");
		bench_close(rt);
	}
	return 0;
}

/* ---- Kill, restart --------------------------------------------------------------------------- */

#define PENDING 10000

static int waits(weft_task *self)
{
	struct weft_view view;

	/* Until it is told that its actor is killed. */
	return weft_get(weft_task_runtime(self), *(const weft_ref *)bench_arg(self), WEFT_FOREVER,
	                &view);
}

/* From the kill until each of 10,000 queued calls was seen to have ended. */
int row_actor_kill(const struct bench_run *run)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.name = "killed", .max_pending = WEFT_PENDING_UNLIMITED);
	const uint64_t n = bench_pick(PENDING, 100);
	weft_ref *refs = bench_alloc(n * sizeof *refs);
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const weft_actor actor = bench_actor(rt, &class_);
		uint64_t ended = 0;
		weft_ref event, first;

		bench_must(weft_event_create(rt, &event), "weft_event_create");
		bench_must(weft_actor_call(rt, actor, waits, &event, sizeof event, &first),
		           "weft_actor_call");
		for (uint64_t i = 0; i < n; i++)
			bench_must(weft_actor_call(rt, actor, touches, NULL, 0, &refs[i]),
			           "weft_actor_call");
		const int64_t start = bench_now_ns();

		bench_must(weft_actor_kill(rt, actor, WEFT_KILL_NOW), "weft_actor_kill");
		for (uint64_t i = 0; i < n; i++)
			ended += weft_peek(rt, refs[i]) == 1;
		const int64_t ns = bench_now_ns() - start;

		/* The one that ran. */
		if (weft_take(rt, first, NULL, 0) != WEFT_EACTOR)
			ended = 0;
		bench_emit(run, rep, "", (double)ns, n, ended);
		bench_must(weft_release_many(rt, refs, (uint32_t)n), "weft_release_many");
		bench_must(weft_event_set(rt, event, NULL, 0), "weft_event_set");
		bench_must(weft_release(rt, event), "weft_release");
		bench_must(weft_actor_release(rt, actor), "weft_actor_release");
	}
	bench_close(rt);
	free(refs);
	return 0;
}

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "planned");
}

static int restart_each(weft_task *self)
{
	const weft_actor *actors = *(const weft_actor *const *)bench_arg(self);
	const uint64_t n = bench_pick(20000, 200);
	weft *rt = weft_task_runtime(self);
	uint64_t answer = 0;

	for (uint64_t i = 0; i < n; i++) {
		bench_must(weft_actor_call(rt, actors[i], crashes, NULL, 0, NULL),
		           "weft_actor_call");
		answer += call_once(rt, actors[i], touches);
	}
	return weft_return(self, &answer, sizeof answer);
}

/* A crash, the restart, and a call that waited for it; the first restart has no back-off. */
int row_actor_restart(const struct bench_run *run)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.name = "crashes", .state_bytes = sizeof(uint64_t),
	                         .max_restarts = 1);
	const uint64_t n = bench_pick(20000, 200);
	weft_actor *actors = bench_alloc(n * sizeof *actors);
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		for (uint64_t i = 0; i < n; i++)
			actors[i] = bench_actor(rt, &class_);
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, restart_each, &actors, sizeof actors);

		bench_emit(run, rep, "", (double)(bench_now_ns() - start) / (double)n, n, answer);
		for (uint64_t i = 0; i < n; i++)
			bench_must(weft_actor_release(rt, actors[i]), "weft_actor_release");
	}
	bench_close(rt);
	free(actors);
	return 0;
}

/* ---- Methods that work ----------------------------------------------------------------------- */

#define WORKERS    100
#define WORK_STEPS 10000 /* about a nanosecond each */

static int works(weft_task *self)
{
	uint64_t *state = weft_actor_state(self);

	bench_grain_work(WORK_STEPS);
	return weft_return(self, state, sizeof *state);
}

static int gain_root(weft_task *self)
{
	const weft_actor *actors = *(const weft_actor *const *)bench_arg(self);
	const uint64_t rounds = bench_pick(100, 2);
	weft *rt = weft_task_runtime(self);
	weft_ref refs[WORKERS];
	uint64_t answer = 0;

	for (uint64_t i = 0; i < rounds; i++) {
		for (int j = 0; j < WORKERS; j++)
			bench_must(weft_actor_call(rt, actors[j], i + 1 < rounds ? works : touches,
			                           NULL, 0, i + 1 < rounds ? NULL : &refs[j]),
			           "weft_actor_call");
	}
	for (int j = 0; j < WORKERS; j++) {
		uint64_t one = 0;

		bench_must(weft_take(rt, refs[j], &one, sizeof one), "weft_take");
		answer += one;
	}
	return weft_return(self, &answer, sizeof answer);
}

/* 100 actors, each with a queue of calls of 10 us; per call. */
int row_actor_gain(const struct bench_run *run)
{
	const uint64_t calls = WORKERS * (bench_pick(100, 2) - 1);
	weft_actor actors[WORKERS];
	const weft_actor *arg = actors;
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		for (int i = 0; i < WORKERS; i++)
			actors[i] = bench_actor(rt, &small);
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, gain_root, &arg, sizeof arg);

		bench_emit(run, rep, "", (double)(bench_now_ns() - start) / (double)calls, WORKERS,
		           answer);
		for (int i = 0; i < WORKERS; i++)
			bench_must(weft_actor_release(rt, actors[i]), "weft_actor_release");
	}
	bench_close(rt);
	return 0;
}
