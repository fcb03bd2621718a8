/*
 * flat.c: a flood of empty tasks from one producer: one worker (flat, and flat_cold in a process
 * that has run nothing before), a foreign thread (flat_foreign), a foreign thread in batches
 * (flat_bulk). The last task to count sets an event that the main thread gets.
 */
#include "bodies.h"
#include "rows.h"

#define BATCH 256

typedef void produce_fn(struct bench_flat *flat);

static void from_worker(struct bench_flat *flat)
{
	bench_must(weft_spawn(flat->rt, bench_flat_root, &flat, sizeof flat, NULL), "weft_spawn");
}

static void from_foreign(struct bench_flat *flat)
{
	for (uint64_t i = 0; i < flat->total; i++)
		bench_must(weft_spawn(flat->rt, bench_flat_body, &flat, sizeof flat, NULL),
		           "weft_spawn");
}

static void in_batches(struct bench_flat *flat)
{
	struct weft_call calls[BATCH];
	for (uint32_t i = 0; i < BATCH; i++)
		calls[i] = (struct weft_call){
			.fn = bench_flat_body,
			.arg = &flat,
			.arg_size = sizeof flat,
		};
	for (uint64_t done = 0; done < flat->total;) {
		const uint64_t left = flat->total - done;
		const int n = weft_submit_many(flat->rt, calls,
		                               left < BATCH ? (uint32_t)left : BATCH, NULL);
		bench_must(n, "weft_submit_many");
		done += (uint64_t)n;
	}
}

static int flat(const struct bench_run *run, produce_fn *produce)
{
	struct bench_flat *state = bench_alloc(sizeof *state);
	struct weft_view view;
	state->rt = bench_open(run->threads);
	state->total = bench_pick(1000000, 5000);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		state->count.value = 0;
		state->done = bench_done_event(state->rt);
		const int64_t start = bench_now_ns();
		produce(state);
		bench_must(weft_get(state->rt, state->done, WEFT_FOREVER, &view), "weft_get");
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)state->total, state->total,
		           bench_counter_read(&state->count));
		bench_must(weft_release(state->rt, state->done), "weft_release");
	}
	bench_close(state->rt);
	free(state);
	return 0;
}

int row_flat(const struct bench_run *run)
{
	return flat(run, from_worker);
}

int row_flat_foreign(const struct bench_run *run)
{
	return flat(run, from_foreign);
}

int row_flat_bulk(const struct bench_run *run)
{
	return flat(run, in_batches);
}
