/*
 * fib.c: the smallest whole program: a function that submits itself and waits for the result.
 *
 *	fib [N]        prints the N-th Fibonacci number, N at most 40; default 20
 *
 * A task that waits for a child gives its CPU away, or runs the child in its place when nobody has
 * taken it yet. So the recursion needs no cutoff to be correct, only to be fast.
 */
#include <stdio.h>
#include <stdlib.h>

#include <weft.h>

static int fib(weft_task *self)
{
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	int64_t a = n, b = 0;

	if (n >= 2) {
		weft_ref left, right;
		int status = weft_spawn(rt, fib, &(int64_t){ n - 1 }, sizeof n, &left);

		if (status < 0)
			return weft_fail(self, status, "cannot submit fib(%lld)", (long long)n - 1);
		status = weft_spawn(rt, fib, &(int64_t){ n - 2 }, sizeof n, &right);
		if (status < 0) {
			weft_release(rt, left);
			return weft_fail(self, status, "cannot submit fib(%lld)", (long long)n - 2);
		}
		const int64_t got_right = weft_take(rt, right, &b, sizeof b);
		const int64_t got_left = weft_take(rt, left, &a, sizeof a);
		if (got_left < 0 || got_right < 0)
			return weft_fail(self, -EXIT_FAILURE, "a child failed");
	}
	const int64_t sum = a + b;
	return weft_return(self, &sum, sizeof sum);
}

int main(int argc, char **argv)
{
	const int64_t n = argc > 1 ? atoll(argv[1]) : 20;
	int64_t value = -1, expected = 0, next = 1;
	weft_ref ref;
	weft *rt;

	if (n < 0 || n > 40) {
		fprintf(stderr, "usage: fib [0..40]\n");
		return 2;
	}
	int status = weft_open(&rt, NULL);
	if (status < 0) {
		fprintf(stderr, "fib: cannot open: %s\n", weft_strerror(status));
		return 1;
	}
	status = weft_submit(rt, WEFT_TASK(fib, WEFT_ARG(n)), &ref);
	if (status == 0)
		status = (int)weft_take(rt, ref, &value, sizeof value);
	weft_close(rt, WEFT_FOREVER);
	if (status < 0) {
		fprintf(stderr, "fib: %s\n", weft_strerror(status));
		return 1;
	}
	for (int64_t i = 0; i < n; i++) {
		const int64_t sum = expected + next;

		expected = next;
		next = sum;
	}
	printf("fib(%lld) = %lld\n", (long long)n, (long long)value);
	return value == expected ? 0 : 1;
}
