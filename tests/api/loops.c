/*
 * Goal: a parallel loop covers its range exactly once in disjoint pieces, and a reduction equals
 * the serial fold also for a combine that is only associative; both can be cancelled and nested.
 * Method: a mark per index, affine maps (not commutative) as the reduction, bodies that cancel.
 */
#include "api.h"
#include "test.h"

struct marks {
	int64_t base;
	struct wf_a8 *seen;
	int64_t grain;
	int64_t end;
};

static void mark(int64_t begin, int64_t end, void *arg)
{
	struct marks *marks = arg;

	API_CHECK(begin < end);
	API_CHECK(end - begin >= marks->grain || end == marks->end);
	for (int64_t i = begin; i < end; i++)
		wf_add_relaxed(&marks->seen[i - marks->base],
		               1); /* relaxed: the loop's end orders it */
}

static void loop_over(weft *rt, int64_t begin, int64_t n, int64_t grain)
{
	struct marks marks = { begin, calloc((size_t)n + 1, 1), grain, begin + n };

	API_CHECK(weft_for(rt, begin, begin + n, grain, mark, &marks) == 0);
	for (int64_t i = 0; i < n; i++)
		API_CHECK(wf_load_relaxed(&marks.seen[i]) == 1); /* relaxed: all is done */
	free(marks.seen);
}

static int loops_in_task(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	loop_over(rt, 0, 1000, 0);
	loop_over(rt, -500, 1000, 7);
	return 0;
}

Test(loops, every_index_once_from_hosts_and_tasks)
{
	static const int64_t sizes[] = { 0, 1, 2, 3, 7, 64, 1000, 12345 };
	static const int64_t grains[] = { 0, 1, 2, 7, 100, 1000000 };

	for (uint32_t workers = 1; workers <= 8; workers *= 2) {
		weft *rt = api_open(workers);

		for (int s = 0; s < 8; s++)
			for (int g = 0; g < 6; g++)
				loop_over(rt, (s % 3 - 1) * 1000, sizes[s], grains[g]);
		loop_over(rt, INT64_MAX - 5000, 5000, 0);
		loop_over(rt, INT64_MIN, 5000, 3);
		cr_assert_eq(api_end(rt, api_spawn(rt, loops_in_task, NULL, 0)), 0);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static void count_calls(int64_t begin, int64_t end, void *arg)
{
	(void)begin;
	(void)end;
	api_add(arg, (uint64_t)(end - begin));
}

Test(loops, an_empty_range_calls_nothing_and_bad_input_is_refused)
{
	weft *rt = api_open(2);
	struct api_count calls = { 0 };

	cr_assert_eq(weft_for(rt, 5, 5, 0, count_calls, &calls), 0);
	cr_assert_eq(weft_for(NULL, 0, 5, 0, count_calls, &calls), -EINVAL);
	cr_assert_eq(weft_for(rt, 0, 5, 0, NULL, &calls), -EINVAL);
	cr_assert_eq(weft_for(rt, 0, 5, -1, count_calls, &calls), -EINVAL);
	cr_assert_eq(weft_for(rt, 6, 5, 0, count_calls, &calls), -EINVAL);
	cr_assert_eq(api_read(&calls), 0);
	api_close(rt);
}

static void nested_loop(int64_t begin, int64_t end, void *arg)
{
	for (int64_t i = begin; i < end; i++)
		API_CHECK(weft_for(weft_current(), 0, 50, 1, count_calls, arg) == 0);
}

Test(loops, loops_nest)
{
	weft *rt = api_open(2);
	struct api_count calls = { 0 };

	cr_assert_eq(weft_for(rt, 0, 100, 1, nested_loop, &calls), 0);
	cr_assert_eq(api_read(&calls), 5000);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void *loops_in_thread(void *rt)
{
	for (int i = 0; i < 20; i++)
		loop_over(rt, i, 2000, i);
	return NULL;
}

Test(loops, several_hosts_loop_at_once)
{
	weft *rt = api_open(2);
	pthread_t threads[4];

	for (int t = 0; t < 4; t++)
		threads[t] = api_thread(loops_in_thread, rt);
	for (int t = 0; t < 4; t++)
		api_join(threads[t]);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct stop {
	weft *rt;
	weft_ref self;
	struct api_count pieces;
};

static void cancels_the_caller(int64_t begin, int64_t end, void *arg)
{
	struct stop *stop = arg;

	(void)begin;
	(void)end;
	if (api_add(&stop->pieces, 1) == 10)
		API_CHECK(weft_cancel(stop->rt, stop->self) == 0);
}

#define LOOP_MANY 10000000

static int loops_until_cancelled(weft_task *self)
{
	struct stop *stop = api_arg_pointer(self);

	stop->rt = weft_task_runtime(self);
	stop->self = weft_task_ref(self);
	API_CHECK(weft_for(stop->rt, 0, LOOP_MANY, 1, cancels_the_caller, stop) == -ECANCELED);
	API_CHECK(weft_task_cancelled(self));
	return -ECANCELED;
}

Test(loops, a_cancelled_caller_skips_the_pieces_not_begun)
{
	weft *rt = api_open(2);
	struct stop stop = { .rt = rt };

	cr_assert_eq(
		api_end(rt, api_submit(rt, WEFT_TASK(loops_until_cancelled, API_POINTER(&stop)))),
		-ECANCELED);
	cr_assert_geq(api_read(&stop.pieces), 10);
	cr_assert_lt(api_read(&stop.pieces), LOOP_MANY);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Reductions ---- */

struct affine {
	uint64_t a, b;
}; /* x -> a x + b, modulo 2^64: composing is not commutative */

static void affine_fold(int64_t begin, int64_t end, void *arg, void *acc)
{
	struct affine *map = acc;

	(void)arg;
	for (int64_t i = begin; i < end; i++) {
		const uint64_t a = (uint64_t)i * 2 + 3, b = (uint64_t)i + 1;

		map->b = a * map->b + b;
		map->a = a * map->a;
	}
}

static void affine_combine(void *into, const void *from, void *arg)
{
	struct affine *first = into;
	const struct affine *then = from;

	(void)arg;
	first->b = then->a * first->b + then->b;
	first->a = then->a * first->a;
}

static const struct affine identity = { 1, 0 };

static void reduce_over(weft *rt, int64_t begin, int64_t end, int64_t grain)
{
	struct affine expected = identity, result = { 9, 9 };

	affine_fold(begin, end, NULL, &expected);
	API_CHECK(weft_reduce(rt, begin, end, grain, affine_fold, affine_combine, NULL, &identity,
	                      sizeof identity, &result) == 0);
	API_CHECK(result.a == expected.a && result.b == expected.b);
}

static int reduces_in_task(weft_task *self)
{
	reduce_over(weft_task_runtime(self), -100, 5000, 3);
	return 0;
}

Test(reduce, equals_the_serial_fold_in_order)
{
	static const int64_t grains[] = { 0, 1, 3, 100, 100000 };

	for (uint32_t workers = 1; workers <= 8; workers *= 2) {
		weft *rt = api_open(workers);

		for (int g = 0; g < 5; g++)
			for (int64_t n = 0; n < 20000; n = n * 3 + 1)
				reduce_over(rt, -n / 2, n, grains[g]);
		cr_assert_eq(api_end(rt, api_spawn(rt, reduces_in_task, NULL, 0)), 0);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static void big_fold(int64_t begin, int64_t end, void *arg, void *acc)
{
	uint32_t *bins = acc;

	(void)arg;
	for (int64_t i = begin; i < end; i++)
		bins[i % 1024]++;
}

static void big_combine(void *into, const void *from, void *arg)
{
	uint32_t *a = into;
	const uint32_t *b = from;

	(void)arg;
	for (int i = 0; i < 1024; i++)
		a[i] += b[i];
}

Test(reduce, accumulators_up_to_4096_bytes_and_no_more)
{
	weft *rt = api_open(2);
	static uint32_t zero[1025], result[1025];

	cr_assert_eq(weft_reduce(rt, 0, 102400, 0, big_fold, big_combine, NULL, zero, 4096, result),
	             0);
	for (int i = 0; i < 1024; i++)
		cr_assert_eq(result[i], 100);
	memset(result, 0x5a, sizeof result);
	cr_assert_eq(weft_reduce(rt, 0, 10, 0, big_fold, big_combine, NULL, zero, 4097, result),
	             -EMSGSIZE);
	cr_assert_eq(weft_reduce(NULL, 0, 10, 0, big_fold, big_combine, NULL, zero, 8, result),
	             -EINVAL);
	cr_assert_eq(weft_reduce(rt, 0, 10, 0, NULL, big_combine, NULL, zero, 8, result), -EINVAL);
	cr_assert_eq(weft_reduce(rt, 0, 10, 0, big_fold, NULL, NULL, zero, 8, result), -EINVAL);
	cr_assert_eq(weft_reduce(rt, 0, 10, 0, big_fold, big_combine, NULL, NULL, 8, result),
	             -EINVAL);
	cr_assert_eq(weft_reduce(rt, 0, 10, 0, big_fold, big_combine, NULL, zero, 8, NULL),
	             -EINVAL);
	for (int i = 0; i < 1025; i++)
		cr_assert_eq(result[i], 0x5a5a5a5a, "result is untouched");
	api_await_no_tasks(rt);
	api_close(rt);
}
