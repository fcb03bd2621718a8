/*
 * tree.c: a binary reduction tree through references: a leaf task per leaf, and above them tasks
 * with two inputs. Submitted in post-order, as a recursive program would. Build and run together,
 * per task: leaves and inner nodes.
 */
#include "rows.h"

static int leaf(weft_task *self)
{
	const uint64_t value = bench_leaf(*(const uint64_t *)bench_arg(self));
	return weft_return(self, &value, sizeof value);
}

static int inner(weft_task *self)
{
	const uint64_t value = bench_input_u64(self, 0) + bench_input_u64(self, 1);
	return weft_return(self, &value, sizeof value);
}

static weft_ref build(weft *rt, uint64_t begin, uint64_t end)
{
	weft_ref ref;
	if (end - begin == 1) {
		bench_must(weft_spawn(rt, leaf, &begin, sizeof begin, &ref), "weft_spawn");
		return ref;
	}
	const uint64_t middle = begin + (end - begin) / 2;
	const weft_ref inputs[2] = { build(rt, begin, middle), build(rt, middle, end) };
	const struct weft_call call = { .fn = inner, .inputs = inputs, .n_inputs = 2 };
	bench_must(weft_submit(rt, &call, &ref), "weft_submit");
	bench_must(weft_release(rt, inputs[0]), "weft_release");
	bench_must(weft_release(rt, inputs[1]), "weft_release");
	return ref;
}

static int root(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	uint64_t value = 0;
	const weft_ref top = build(rt, 0, *(const uint64_t *)bench_arg(self));
	bench_must(weft_take(rt, top, &value, sizeof value), "weft_take");
	return weft_return(self, &value, sizeof value);
}

int row_tree(const struct bench_run *run)
{
	const uint64_t leaves = bench_pick(1u << 20, 1u << 10);
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, root, &leaves, sizeof leaves);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)(2 * leaves - 1), leaves, answer);
	}
	bench_close(rt);
	return 0;
}
