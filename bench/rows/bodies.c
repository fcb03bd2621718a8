/*
 * bodies.c: fib by references and the flat flood, as a user would write them.
 */
#include "bodies.h"

/* One child is submitted, the other called, no cutoff: every call with n >= 2 is one fork. */
static int64_t fib(weft_task *self, uint32_t n)
{
	if (n < 2)
		return n;

	weft *rt = weft_task_runtime(self);
	const uint32_t left = n - 1;
	weft_ref ref;
	const int status = weft_spawn(rt, bench_fib_body, &left, sizeof left, &ref);
	if (status < 0)
		return status;

	const int64_t right_value = fib(self, n - 2);
	int64_t left_value;
	if (right_value < 0) {
		weft_release(rt, ref);
		return right_value;
	}
	const int64_t got = weft_take(rt, ref, &left_value, sizeof left_value);
	if (got < 0)
		return got;
	return left_value + right_value;
}

int bench_fib_body(weft_task *self)
{
	size_t size;
	const uint32_t *n = weft_task_arg(self, &size);
	const int64_t value = fib(self, *n);
	if (value < 0)
		return (int)value;
	return weft_return(self, &value, sizeof value);
}

int bench_flat_body(weft_task *self)
{
	size_t size;
	struct bench_flat *flat = *(struct bench_flat **)weft_task_arg(self, &size);
	/* Before the add: after it, the waiter may set up the next flood. */
	const uint64_t total = flat->total;
	if (bench_counter_add(&flat->count) + 1 < total)
		return 0;
	const weft_ref done = flat->done;
	const int status = weft_event_set(flat->rt, done, NULL, 0);
	weft_release(weft_task_runtime(self), done);
	return status;
}

int bench_flat_root(weft_task *self)
{
	size_t size;
	struct bench_flat *flat = *(struct bench_flat **)weft_task_arg(self, &size);
	weft *rt = weft_task_runtime(self);
	/* A copy: once the last task is out, the waiter may set up the next flood. */
	const uint64_t total = flat->total;
	for (uint64_t i = 0; i < total; i++) {
		const int status = weft_spawn(rt, bench_flat_body, &flat, sizeof flat, NULL);
		if (status < 0)
			return status;
	}
	return 0;
}
