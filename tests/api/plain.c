/*
 * Goal: what a task submits without options takes a short way inside, from submit to end; to the
 * caller nothing differs from the long way.
 * Method: everything is submitted from inside a task (only there the way is short), with arguments
 * of every size round the limits, with one to eighteen inputs that are done, pending, failed or in
 * the store, with inputs that are no references, and with cancels; the live cells are counted.
 */
#include "api.h"
#include "test.h"

enum { ARG_MOST = 600, INPUTS_MOST = 18 };

static const uint32_t sizes[] = { 0,   1,   7,   8,   9,   15,  16,  17,      31,  32,
	                          33,  48,  63,  64,  65,  95,  96,  97,      255, 256,
	                          257, 448, 480, 481, 511, 512, 513, ARG_MOST };

/* Run `fn` as the only task of a fresh runtime, and leave nothing behind. */
static void in_task(weft_task_fn *fn)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_spawn(rt, fn, NULL, 0)), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void fill(unsigned char *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 7 + size);
}

/* Returns the size of its argument, which must be what fill() writes. */
static int check_argument(weft_task *self)
{
	unsigned char expected[ARG_MOST];
	size_t size = SIZE_MAX;
	const void *arg = weft_task_arg(self, &size);

	API_CHECK(size <= ARG_MOST);
	fill(expected, (uint32_t)size);
	API_CHECK(!memcmp(arg, expected, size));
	API_CHECK(weft_task_attempt(self) == 1 && weft_input_count(self) == 0);
	return weft_return(self, &(int64_t){ (int64_t)size }, sizeof(int64_t));
}

static int spawn_sizes(weft_task *self)
{
	unsigned char bytes[ARG_MOST];
	weft *rt = weft_task_runtime(self);

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		const uint32_t size = sizes[i];

		fill(bytes, size);
		/* Taken at once it runs in place; the second and third run off the queue. */
		weft_ref here = api_spawn(rt, check_argument, bytes, size);
		API_CHECK(api_take_i64(rt, here) == size);
		weft_ref queued = api_spawn(rt, check_argument, bytes, size);
		weft_ref call =
			api_submit(rt, WEFT_TASK(check_argument, .arg = bytes, .arg_size = size));
		API_CHECK(weft_spawn(rt, check_argument, bytes, size, NULL) == 0);
		memset(bytes, 0, sizeof bytes);
		API_CHECK(api_get(rt, queued) == 0);
		API_CHECK(api_take_i64(rt, queued) == size);
		API_CHECK(api_take_i64(rt, call) == size);
	}
	return 0;
}

Test(plain, an_argument_of_any_size_arrives)
{
	in_task(spawn_sizes);
}

/* All done (mode 0), all pending (1), or every other one (2): the sum of 1 .. n arrives. */
static void sum_inputs(weft *rt, uint32_t n, uint32_t mode)
{
	weft_ref in[INPUTS_MOST];

	for (uint32_t i = 0; i < n; i++)
		in[i] = mode == 0 || (mode == 2 && i % 2) ? api_put_i64(rt, i + 1) : api_event(rt);
	const struct weft_call call = { .fn = api_body_sum, .inputs = in, .n_inputs = (uint16_t)n };
	weft_ref sum = api_submit(rt, &call);
	/* The last input is a control edge here, and must be there all the same. */
	const struct weft_call after = {
		.fn = api_body_sum, .inputs = in, .n_inputs = (uint16_t)(n - 1), .n_after = 1
	};
	weft_ref less = api_submit(rt, &after);

	for (uint32_t i = n; i-- > 0;) {
		int64_t value = i + 1;

		API_CHECK(mode == 0 || weft_peek(rt, sum) == 0 || weft_peek(rt, in[i]) == 1);
		if (mode == 1 || (mode == 2 && !(i % 2)))
			API_CHECK(weft_event_set(rt, in[i], &value, sizeof value) == 0);
		api_release(rt, in[i]);
	}
	API_CHECK(api_take_i64(rt, sum) == (int64_t)n * (n + 1) / 2);
	API_CHECK(api_take_i64(rt, less) == (int64_t)n * (n - 1) / 2);
}

static int submit_inputs(weft_task *self)
{
	for (uint32_t n = 1; n <= INPUTS_MOST; n++) {
		for (uint32_t mode = 0; mode < 3; mode++)
			sum_inputs(weft_task_runtime(self), n, mode);
	}
	return 0;
}

Test(plain, any_number_of_inputs_done_or_pending)
{
	in_task(submit_inputs);
}

/* The input `bad` of `n` is no reference: refused, and the others' counts are as before. */
static void refuse(weft *rt, uint32_t n, uint32_t bad)
{
	weft_ref in[INPUTS_MOST], out = api_poison_ref();

	for (uint32_t i = 0; i < n; i++)
		in[i] = api_put_i64(rt, i);
	const weft_ref good = in[bad];
	in[bad] = bad % 2 ? WEFT_NONE : (weft_ref){ good.bits ^ (uint64_t)1 << 40 };
	const struct weft_call call = { .fn = api_body_sum, .inputs = in, .n_inputs = (uint16_t)n };

	API_CHECK(weft_submit(rt, &call, &out) == -EINVAL);
	API_CHECK(out.bits == API_POISON);
	in[bad] = good;
	API_CHECK(weft_release_many(rt, in, n) == 0);
	for (uint32_t i = 0; i < n; i++)
		API_CHECK(weft_peek(rt, in[i]) == -EINVAL);
}

static int submit_bad_inputs(weft_task *self)
{
	for (uint32_t n = 1; n <= INPUTS_MOST; n++) {
		for (uint32_t bad = 0; bad < n; bad++)
			refuse(weft_task_runtime(self), n, bad);
	}
	return 0;
}

Test(plain, what_is_no_reference_is_refused_without_a_trace)
{
	in_task(submit_bad_inputs);
}

/* A stream of items is no value: refused as an input here as everywhere. */
static int submit_stream(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref gen = WEFT_NONE, good = api_put_i64(rt, 1), out = api_poison_ref();

	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(api_body_nothing,
	                                .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_STREAM,
	                                                          .flags = WEFT_TASK_EMITS)),
	                      &gen) == 0);
	const weft_ref in[] = { good, gen };
	const struct weft_call call = { .fn = api_body_sum, .inputs = in, .n_inputs = 2 };
	API_CHECK(weft_submit(rt, &call, &out) == -EINVAL && out.bits == API_POISON);
	api_release(rt, gen);
	api_release(rt, good);
	API_CHECK(weft_peek(rt, good) == -EINVAL);
	return 0;
}

Test(plain, a_stream_is_no_input)
{
	in_task(submit_stream);
}

static int returns_much(weft_task *self)
{
	void *data;

	API_CHECK(weft_task_output(self, 0, 100000, &data) == 0);
	memset(data, 5, 100000);
	return 0;
}

static int reads_much(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0 && view.size == 100000);
	const int64_t last = ((const unsigned char *)view.data)[view.size - 1];
	return weft_return(self, &last, sizeof last);
}

static int submit_odd_ones(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref event = api_event(rt), gone = api_event(rt);
	const int64_t code[8] = { -EPROTO };
	/* A body that fails, with a long argument; dependents from before and after its end. */
	weft_ref failed = api_spawn(rt, api_body_fail, code, sizeof code);
	weft_ref before = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(event, failed)));
	API_CHECK(api_get(rt, failed) == WEFT_ETASK);
	weft_ref after = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(failed, event)));
	API_CHECK(api_get(rt, before) == WEFT_EDEP && api_get(rt, after) == WEFT_EDEP);
	/* A value that lies in the store, from a plain task and into one. */
	weft_ref much = api_submit(rt, WEFT_TASK(returns_much, .inputs = &event, .n_after = 1));
	weft_ref last = api_submit(rt, WEFT_TASK(reads_much, WEFT_INPUTS(much)));
	/* Cancelled while it waits; while it is queued; and without a reference left. */
	weft_ref waits = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(gone, event)));
	weft_ref queued = api_spawn(rt, api_body_fail, code, sizeof code);
	API_CHECK(weft_cancel(rt, waits) == 0 && weft_cancel(rt, queued) == 0);
	API_CHECK(api_end(rt, waits) == -ECANCELED && api_end(rt, queued) == -ECANCELED);
	api_release(rt, api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(event, gone))));
	API_CHECK(weft_event_set(rt, event, NULL, 0) == 0);
	API_CHECK(weft_event_set(rt, gone, NULL, 0) == 0);
	API_CHECK(api_take_i64(rt, last) == 5);
	const weft_ref all[] = { event, gone, failed, before, after, much };
	return weft_release_many(rt, all, sizeof all / sizeof *all);
}

Test(plain, failures_cancels_and_large_values_go_the_long_way)
{
	in_task(submit_odd_ones);
}
