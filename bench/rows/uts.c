/*
 * uts.c: unbalanced tree search: a task per child of a geometric random tree, the last child of
 * a node called. Nobody knows the size of a subtree beforehand; stealing has to find it.
 */
#include "rows.h"

struct search {
	struct bench_uts_node node;
	uint32_t depth_max;
	uint32_t pad;
};

static int search_body(weft_task *self);

static uint64_t search(weft_task *self, const struct search *s)
{
	weft *rt = weft_task_runtime(self);
	weft_ref refs[BENCH_UTS_CHILDREN_MAX];
	const uint32_t n = bench_uts_children(&s->node, s->depth_max);
	uint64_t count = 1;
	for (uint32_t i = 0; i < n; i++) {
		const struct search child = {
			.node = bench_uts_child(&s->node, i),
			.depth_max = s->depth_max,
		};
		if (i == n - 1)
			count += search(self, &child);
		else
			bench_must(weft_spawn(rt, search_body, &child, sizeof child, &refs[i]),
			           "weft_spawn");
	}
	/* The youngest first: it is the one still at the private end of the queue. */
	for (uint32_t i = n ? n - 1 : 0; i-- > 0;) {
		uint64_t below = 0;
		bench_must(weft_take(rt, refs[i], &below, sizeof below), "weft_take");
		count += below;
	}
	return count;
}

static int search_body(weft_task *self)
{
	const uint64_t count = search(self, bench_arg(self));
	return weft_return(self, &count, sizeof count);
}

int row_uts(const struct bench_run *run)
{
	const struct search s = {
		.node = bench_uts_root(),
		.depth_max = (uint32_t)bench_pick(10, 5),
	};
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, search_body, &s, sizeof s);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)answer, s.depth_max, answer);
	}
	bench_close(rt);
	return 0;
}
