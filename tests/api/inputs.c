/*
 * Goal: a task starts when all its inputs are there, sees their values, and keeps them alive until
 * it has ended; control edges order without a value.
 * Method: graphs whose result is known, events as inputs that the test completes when it likes,
 * releases in the worst order, the count of live cells at the end.
 */
#include "api.h"
#include "test.h"

Test(inputs, values_arrive_in_order)
{
	weft *rt = api_open(2);
	weft_ref a = api_put_i64(rt, 3), b = api_put_i64(rt, 4);
	weft_ref c = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(a, b)));
	weft_ref d = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(c, c, a)));

	cr_assert_eq(api_take_i64(rt, d), 17);
	cr_assert_eq(api_take_i64(rt, c), 7);
	api_release(rt, a);
	api_release(rt, b);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int submits_after_a_failure(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t code = -3;
	weft_ref failed = api_spawn(rt, api_body_fail, &code, sizeof(code)), late;
	struct weft_view view;

	API_CHECK(weft_get(rt, failed, WEFT_FOREVER, &view) == WEFT_ETASK);
	late = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(failed)));
	API_CHECK(api_end(rt, late) == WEFT_EDEP);
	api_release(rt, failed);
	return 0;
}

/* From a body: there tasks end without telling other threads. */
Test(inputs, one_that_has_failed_before_ends_its_dependent_at_once)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(submits_after_a_failure))), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct expect {
	weft_ref refs[3];
};

static int check_inputs(weft_task *self)
{
	const struct expect *expect = weft_task_arg(self, NULL);
	struct weft_view view = api_poison_view();

	API_CHECK(weft_input_count(self) == 2);
	API_CHECK(weft_input_ref(self, 0).bits == expect->refs[0].bits);
	API_CHECK(weft_input_ref(self, 1).bits == expect->refs[1].bits);
	API_CHECK(weft_input_ref(self, 2).bits == 0);
	API_CHECK(weft_input_ref(self, UINT32_MAX).bits == 0);
	API_CHECK(weft_input(self, 2, &view) == -EINVAL);
	API_CHECK(weft_input(self, UINT32_MAX, &view) == -EINVAL);
	API_CHECK(api_view_untouched(&view));
	API_CHECK(weft_input(self, 1, &view) == 0);
	API_CHECK(view.size == 8 && *(const int64_t *)view.data == 22);
	return 0;
}

Test(inputs, control_edges_come_after_values_and_have_none)
{
	weft *rt = api_open(2);
	const weft_ref in[3] = { api_put_i64(rt, 11), api_put_i64(rt, 22), api_put_i64(rt, 33) };
	struct expect expect;

	memcpy(expect.refs, in, sizeof in);
	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(check_inputs, WEFT_ARG(expect), .inputs = in,
	                                          .n_inputs = 2, .n_after = 1))),
	             0);
	cr_assert_eq(weft_release_many(rt, in, 3), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(inputs, a_task_waits_for_its_last_input)
{
	weft *rt = api_open(2);
	weft_ref events[5];
	int64_t value = 1;

	for (int i = 0; i < 5; i++)
		events[i] = api_event(rt);
	weft_ref ref = api_submit(
		rt, WEFT_TASK(api_body_sum, .inputs = events, .n_inputs = 4, .n_after = 1));
	for (int i = 4; i >= 0; i--) {
		cr_assert_eq(api_state(rt, ref), WEFT_REF_WAITING);
		cr_assert_eq(weft_peek(rt, ref), 0);
		cr_assert_eq(weft_event_set(rt, events[i], &value, sizeof value), 0);
		api_release(rt, events[i]);
		value *= 2;
	}
	cr_assert_eq(api_take_i64(rt, ref), 2 + 4 + 8 + 16);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(inputs, inputs_are_kept_while_a_task_needs_them)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), value = api_put_i64(rt, 5);
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(value, event)));

	api_release(rt, value);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	cr_assert_eq(api_take_i64(rt, ref), 5);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct order {
	struct api_count *clock;
	uint64_t *at;
};

static int stamp(weft_task *self)
{
	const struct order *order = weft_task_arg(self, NULL);

	*order->at = api_add(order->clock, 1);
	return 0;
}

Test(inputs, a_control_edge_orders_plain_writes)
{
	weft *rt = api_open(2);
	struct api_count clock = { 0 };
	uint64_t at[200] = { 0 };
	weft_ref previous = WEFT_NONE;

	for (uint32_t i = 0; i < 200; i++) {
		const struct order order = { &clock, &at[i] };
		weft_ref ref = previous.bits
			? api_submit(rt, WEFT_TASK(stamp, WEFT_ARG(order), WEFT_AFTER(previous)))
			: api_submit(rt, WEFT_TASK(stamp, WEFT_ARG(order)));

		if (previous.bits)
			api_release(rt, previous);
		previous = ref;
	}
	cr_assert_eq(api_end(rt, previous), 0);
	for (uint32_t i = 0; i < 200; i++)
		cr_assert_eq(at[i], i + 1);
	api_close(rt);
}

static int add_one(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0 && view.size == sizeof(int64_t));
	const int64_t next = *(const int64_t *)view.data + 1;
	return weft_return(self, &next, sizeof next);
}

Test(inputs, a_long_chain_of_pending_tasks_unrolls)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(100000);
	const int64_t zero = 0;
	weft_ref start = api_event(rt), last = start;

	cr_assert_eq(weft_retain(rt, start), 0);
	for (uint32_t i = 0; i < n; i++) {
		weft_ref next = api_submit(rt, WEFT_TASK(add_one, WEFT_INPUTS(last)));

		api_release(rt, last);
		last = next;
	}
	cr_assert_eq(weft_event_set(rt, start, &zero, sizeof zero), 0);
	cr_assert_eq(api_take_i64(rt, last), n);
	api_release(rt, start);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(inputs, one_ref_with_many_dependents)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(20000);
	weft_ref start = api_event(rt), *refs = calloc(n, sizeof *refs);
	const int64_t value = 6;

	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_submit(rt, WEFT_TASK(add_one, WEFT_INPUTS(start)));
	cr_assert_eq(weft_event_set(rt, start, &value, sizeof value), 0);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), 7);
	api_release(rt, start);
	api_await_no_tasks(rt);
	free(refs);
	api_close(rt);
}

Test(inputs, the_most_inputs_a_task_can_have)
{
	weft *rt = api_open(2);
	weft_ref *in = calloc(WEFT_INPUTS_MAX, sizeof *in), event = api_event(rt);
	const int64_t value = 1;

	for (uint32_t i = 0; i < WEFT_INPUTS_MAX; i++)
		in[i] = i % 5 == 0 ? event : api_put_i64(rt, 1);
	weft_ref ref =
		api_submit(rt, WEFT_TASK(api_body_sum, .inputs = in, .n_inputs = WEFT_INPUTS_MAX));
	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	cr_assert_eq(api_take_i64(rt, ref), WEFT_INPUTS_MAX);
	for (uint32_t i = 0; i < WEFT_INPUTS_MAX; i++)
		if (i % 5)
			api_release(rt, in[i]);
	api_release(rt, event);
	api_await_no_tasks(rt);
	free(in);
	api_close(rt);
}

static int three_values(weft_task *self)
{
	for (uint32_t i = 0; i < 3; i++) {
		void *data;
		const int64_t value = 100 + i;

		API_CHECK(weft_task_output(self, i, sizeof value, &data) == 0);
		memcpy(data, &value, sizeof value);
	}
	return 0;
}

Test(inputs, each_output_of_a_task_can_be_an_input)
{
	weft *rt = api_open(2);
	weft_ref outs[3];

	for (int round = 0; round < 50; round++) {
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(three_values,
		                                   .opts = WEFT_TASK_OPTIONS(.n_outputs = 3)),
		                         outs),
		             0);
		weft_ref sum = api_submit(
			rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(outs[2], outs[0], outs[1])));
		weft_ref last = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(outs[2])));
		cr_assert_eq(weft_release_many(rt, outs, 3), 0);
		cr_assert_eq(api_take_i64(rt, sum), 303);
		cr_assert_eq(api_take_i64(rt, last), 102);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

static int big_sum(weft_task *self)
{
	struct weft_view view;
	int64_t sum = 0;

	API_CHECK(weft_input(self, 0, &view) == 0 && view.size == 1 << 20);
	for (uint32_t i = 0; i < view.size; i++)
		sum += ((const unsigned char *)view.data)[i];
	return weft_return(self, &sum, sizeof sum);
}

Test(inputs, a_large_value_is_seen_in_place)
{
	weft *rt = api_open(2);
	unsigned char *bytes = malloc(1 << 20);
	weft_ref big, sums[4];

	memset(bytes, 1, 1 << 20);
	cr_assert_eq(weft_put(rt, bytes, 1 << 20, &big), 0);
	free(bytes);
	for (int i = 0; i < 4; i++)
		sums[i] = api_submit(rt, WEFT_TASK(big_sum, WEFT_INPUTS(big)));
	api_release(rt, big);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(api_take_i64(rt, sums[i]), 1 << 20);
	api_await_no_tasks(rt);
	api_close(rt);
}
