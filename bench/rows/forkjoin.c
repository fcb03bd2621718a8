/*
 * forkjoin.c: the strict fork/join pair: no reference, the child lives on the caller's stack.
 */
#include "rows.h"

struct fib {
	uint64_t n; /* in: n, out: fib(n) */
};

static uint64_t fib(weft_task *self, uint64_t n);

static void fib_child(weft_task *self, void *arg)
{
	struct fib *f = arg;
	f->n = fib(self, f->n);
}

static uint64_t fib(weft_task *self, uint64_t n)
{
	if (n < 2)
		return n;
	struct fib left = { n - 1 };
	struct weft_fork fork;
	weft_fork(self, &fork, fib_child, &left);
	const uint64_t right = fib(self, n - 2);
	weft_fork_join(self, &fork);
	return left.n + right;
}

static int root(weft_task *self)
{
	const uint64_t value = fib(self, *(const uint64_t *)bench_arg(self));
	return weft_return(self, &value, sizeof value);
}

int row_forkjoin(const struct bench_run *run)
{
	const uint64_t n = bench_pick(38, 16);
	weft *rt = bench_open(run->threads);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		const int64_t start = bench_now_ns();
		const uint64_t answer = bench_root(rt, root, &n, sizeof n);
		const int64_t ns = bench_now_ns() - start;
		bench_emit(run, rep, "", (double)ns / (double)bench_fib_forks(n), n, answer);
	}
	bench_close(rt);
	return 0;
}
