/*
 * cancel.c: n queued tasks are cancelled, one by one by their references, or all at once by their
 * group, while every worker is busy with something else. From the first cancel until the last task
 * has ended; per task.
 */
#include <errno.h>
#include <pthread.h>

#include "rows.h"

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	int inside;
	bool open;
} gate = { .mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static int holds(weft_task *self)
{
	(void)self;
	pthread_mutex_lock(&gate.mutex);
	gate.inside++;
	pthread_cond_broadcast(&gate.changed);
	while (!gate.open)
		pthread_cond_wait(&gate.changed, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
	return 0;
}

static int never(weft_task *self)
{
	(void)self;
	return -EIO;
}

/* Until all workers are inside. */
static void hold_workers(weft *rt, int threads, weft_ref *holders)
{
	gate.inside = 0;
	gate.open = false;
	for (int i = 0; i < threads; i++)
		bench_must(weft_spawn(rt, holds, NULL, 0, &holders[i]), "weft_spawn");
	pthread_mutex_lock(&gate.mutex);
	while (gate.inside < threads)
		pthread_cond_wait(&gate.changed, &gate.mutex);
	pthread_mutex_unlock(&gate.mutex);
}

static void let_go(weft *rt, int threads, const weft_ref *holders)
{
	pthread_mutex_lock(&gate.mutex);
	gate.open = true;
	pthread_cond_broadcast(&gate.changed);
	pthread_mutex_unlock(&gate.mutex);
	for (int i = 0; i < threads; i++)
		bench_must((int)weft_take(rt, holders[i], NULL, 0), "weft_take");
}

static void one(const struct bench_run *run, int rep, weft *rt, weft_ref *refs, uint64_t n,
                bool by_group)
{
	weft_ref *holders = bench_alloc((size_t)run->threads * sizeof *holders);
	weft_group group = { 0 };
	uint64_t answer = 0;

	hold_workers(rt, run->threads, holders);
	if (by_group)
		bench_must(weft_group_create(rt, NULL, &group), "weft_group_create");
	const struct weft_task_options options = { .struct_size = sizeof options, .group = group };
	const struct weft_call call = { .fn = never, .opts = by_group ? &options : NULL };

	for (uint64_t i = 0; i < n; i++)
		bench_must(weft_submit(rt, &call, &refs[i]), "weft_submit");
	const int64_t start = bench_now_ns();

	if (by_group) {
		bench_must(weft_group_cancel(rt, group), "weft_group_cancel");
	} else {
		for (uint64_t i = 0; i < n; i++)
			bench_must(weft_cancel(rt, refs[i]), "weft_cancel");
	}
	for (uint64_t i = 0; i < n; i++)
		answer += weft_peek(rt, refs[i]) == 1;
	const int64_t ns = bench_now_ns() - start;

	bench_emit(run, rep, by_group ? "_group" : "", (double)ns / (double)n, n, answer);
	bench_must(weft_release_many(rt, refs, (uint32_t)n), "weft_release_many");
	if (by_group)
		bench_must(weft_group_destroy(rt, group), "weft_group_destroy");
	let_go(rt, run->threads, holders);
	free(holders);
}

int row_cancel_queued(const struct bench_run *run)
{
	const uint64_t n = bench_pick(1000000, 1000);
	weft *rt = bench_open(run->threads);
	weft_ref *refs = bench_alloc(n * sizeof *refs);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		one(run, rep, rt, refs, n, false);
		one(run, rep, rt, refs, n, true);
	}
	free(refs);
	bench_close(rt);
	return 0;
}
