/*
 * wait_one.c: drain n references one by one in the order they become ready, with a completion
 * queue: register each once, take one at a time. Per reference: register, run, take. With wait()
 * on a shrinking list this is quadratic.
 */
#include "rows.h"

static int body(weft_task *self)
{
	return weft_return(self, bench_arg(self), sizeof(uint64_t));
}

int row_wait_one(const struct bench_run *run)
{
	const uint64_t n = bench_pick(10000, 200);
	weft *rt = bench_open(run->threads);
	weft_ref *refs = bench_alloc(n * sizeof *refs);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		weft_ref gate;
		weft_cq *cq;
		uint64_t answer = 0;
		bench_must(weft_event_create(rt, &gate), "weft_event_create");
		bench_must(weft_cq_create(rt, &cq), "weft_cq_create");
		for (uint64_t i = 0; i < n; i++) {
			const struct weft_call call = {
				.fn = body,
				.arg = &i,
				.arg_size = sizeof i,
				.inputs = &gate,
				.n_after = 1,
			};
			bench_must(weft_submit(rt, &call, &refs[i]), "weft_submit");
		}
		const int64_t start = bench_now_ns();
		for (uint64_t i = 0; i < n; i++)
			bench_must(weft_cq_add(cq, refs[i], i), "weft_cq_add");
		bench_must(weft_event_set(rt, gate, NULL, 0), "weft_event_set");
		for (uint64_t i = 0; i < n; i++) {
			struct weft_cq_item item;
			const int got = weft_cq_wait(cq, &item, 1, WEFT_FOREVER);
			if (got != 1 || item.status < 0)
				bench_die("weft_cq_wait: %d", got);
			answer += item.tag;
		}
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)n, n, answer);
		weft_cq_destroy(cq);
		bench_must(weft_release_many(rt, refs, (uint32_t)n), "weft_release_many");
		bench_must(weft_release(rt, gate), "weft_release");
	}
	free(refs);
	bench_close(rt);
	return 0;
}
