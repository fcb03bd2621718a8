/*
 * Goal: a generator whose items are outputs, or a list of refs, publishes them when it has ended;
 * a failure, too few or too many of them end as the header says.
 * Method: bodies that give more or fewer items than there are outputs, with and without retries.
 */
#include "generator.h"

/* ---- T6, T7: a number of outputs ------------------------------------------------------------ */

Test(generator_outputs, with_a_number_of_outputs_item_i_is_output_i_at_the_end)
{
	static const size_t sizes[] = { 8, 100, 1000 };

	for (size_t k = 0; k < 3; k++) {
		weft *rt = api_open(1);
		struct api_gate gate = API_GATE_INIT;
		struct gen_plan plan = { .good = 3, .size = sizes[k], .gate = &gate, .at = 2 };
		struct weft_view view;
		weft_ref out[3];

		cr_assert_eq(
			weft_submit(rt,
		                    WEFT_TASK(gen_body_counts, API_POINTER(&plan),
		                              .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_EMITS,
		                                                        .n_outputs = 3)),
		                    out),
			0);
		api_gate_await(&gate, 1);
		for (int i = 0; i < 3; i++)
			cr_assert_eq(weft_peek(rt, out[i]), 0);
		api_gate_open(&gate);
		for (int64_t i = 0; i < 3; i++) {
			cr_assert_eq(weft_get(rt, out[i], WEFT_FOREVER, &view), 0);
			cr_assert_eq(view.size, sizes[k]);
			cr_assert_eq(memcmp(view.data, &i, sizeof i), 0);
			api_release(rt, out[i]);
		}
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

Test(generator_outputs, with_a_number_of_outputs_a_failure_leaves_those_before_it)
{
	for (uint32_t retries = 0; retries < 2; retries++) {
		for (int64_t good = 0; good <= 3; good++) {
			weft *rt = api_open(2);
			struct gen_plan plan = { .good = good, .code = -8, .size = 600 };
			const struct weft_error *error;
			weft_ref out[3];

			cr_assert_eq(weft_submit(rt,
			                         WEFT_TASK(gen_body_counts, API_POINTER(&plan),
			                                   .opts = WEFT_TASK_OPTIONS(
									   .flags = WEFT_TASK_EMITS,
									   .retries = retries,
									   .n_outputs = 3)),
			                         out),
			             0);
			for (int64_t i = 0; i < 3; i++) {
				cr_assert_eq(api_get(rt, out[i]), i < good ? 0 : WEFT_ETASK);
				if (i >= good) {
					cr_assert_eq(weft_ref_error(rt, out[i], &error), 0);
					cr_assert_eq(error->code, -8);
				}
				api_release(rt, out[i]);
			}
			api_await_no_tasks(rt);
			api_close(rt);
		}
	}
}

Test(generator_outputs, with_a_number_of_outputs_too_few_fail_and_too_many_are_left_out)
{
	for (int64_t good = 0; good <= 5; good++) {
		weft *rt = api_open(2);
		struct gen_plan plan = { .good = good };
		const struct weft_error *error;
		weft_ref out[3];

		cr_assert_eq(
			weft_submit(rt,
		                    WEFT_TASK(gen_body_counts, API_POINTER(&plan),
		                              .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_EMITS,
		                                                        .n_outputs = 3)),
		                    out),
			0);
		for (int64_t i = 0; i < 3; i++) {
			if (i < good) {
				cr_assert_eq(api_take_i64(rt, out[i]), i);
				continue;
			}
			cr_assert_eq(api_get(rt, out[i]), WEFT_ETASK);
			cr_assert_eq(weft_ref_error(rt, out[i], &error), 0);
			cr_assert_eq(error->code, -ERANGE);
			api_release(rt, out[i]);
		}
		cr_assert_eq(plan.last, good > 3);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static int body_in_place_fixed(weft_task *self)
{
	void *room;

	for (int i = 0; i < 3; i++) {
		API_CHECK(weft_emit_room(self, 1000, &room) == 0);
		memset(room, i, 1000);
		API_CHECK(weft_emit_done(self) == 0);
	}
	API_CHECK(weft_emit_room(self, 8, &room) == 1);
	API_CHECK(weft_emit_ref(self, weft_task_ref(self)) == -ENOTSUP);
	return 0;
}

Test(generator_outputs, with_a_number_of_outputs_items_are_written_in_place_too)
{
	weft *rt = api_open(2);
	struct weft_view view;
	weft_ref out[3];

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(body_in_place_fixed,
	                                   .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_EMITS,
	                                                             .n_outputs = 3)),
	                         out),
	             0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(weft_get(rt, out[i], WEFT_FOREVER, &view), 0);
		cr_assert_eq(view.size, 1000);
		cr_assert_eq(((const unsigned char *)view.data)[999], i);
		api_release(rt, out[i]);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- T8: a list ------------------------------------------------------------------------------ */

Test(generator_outputs, a_list_of_refs_is_there_when_the_task_has_ended)
{
	for (int64_t good = 0; good <= 100; good += 50) {
		weft *rt = api_open(1);
		struct api_gate gate = API_GATE_INIT;
		struct gen_plan plan = { .good = good, .size = 30, .gate = &gate, .at = good / 2 };
		weft_ref list =
			gen_start(rt, &plan, WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_LIST));
		struct weft_view view, item;

		if (good) {
			api_gate_await(&gate, 1);
			cr_assert_eq(weft_peek(rt, list), 0);
			api_gate_open(&gate);
		}
		cr_assert_eq(weft_get(rt, list, WEFT_FOREVER, &view), 0);
		cr_assert_eq(view.size, (size_t)good * sizeof(weft_ref));
		for (int64_t i = 0; i < good; i++) {
			weft_ref ref = ((const weft_ref *)view.data)[i];

			cr_assert_eq(weft_get(rt, ref, WEFT_POLL, &item), 0);
			cr_assert_eq(item.size, 30);
			cr_assert_eq(memcmp(item.data, &i, sizeof i), 0);
		}
		gen_release_and_close(rt, list);
	}
}

static int body_sums_a_list(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	struct weft_view list;
	int64_t sum = 0, value;

	API_CHECK(weft_input(self, 0, &list) == 0);
	for (size_t i = 0; i < list.size / sizeof(weft_ref); i++) {
		API_CHECK(weft_get_copy(rt, ((const weft_ref *)list.data)[i], &value,
		                        sizeof value) == sizeof value);
		sum += value;
	}
	return weft_return(self, &sum, sizeof sum);
}

Test(generator_outputs, a_list_is_passed_on_as_an_input)
{
	weft *rt = api_open(2);
	struct gen_plan plan = { .good = 40 };
	weft_ref list = gen_start(rt, &plan, WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_LIST));
	weft_ref sum = api_submit(rt, WEFT_TASK(body_sums_a_list, WEFT_INPUTS(list)));

	api_release(rt, list);
	cr_assert_eq(api_take_i64(rt, sum), 40 * 39 / 2);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(generator_outputs, a_list_of_a_failing_body_is_that_failure)
{
	for (uint32_t retries = 0; retries < 2; retries++) {
		weft *rt = api_open(2);
		struct gen_plan plan = { .good = 20, .code = -6, .size = 600 };
		weft_ref list = gen_start(
			rt, &plan,
			WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_LIST, .retries = retries));

		cr_assert_eq(api_get(rt, list), WEFT_ETASK);
		gen_release_and_close(rt, list);
	}
}

Test(generator_outputs, a_list_after_a_retry_holds_the_last_attempt_only)
{
	weft *rt = api_open(2);
	struct gen_again again = { .give = { 4, 2 }, .attempts = 2 };
	weft_ref list = api_submit(
		rt,
		WEFT_TASK(gen_body_again, API_POINTER(&again),
	                  .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_LIST, .retries = 3)));
	struct weft_view view;
	int64_t value;

	cr_assert_eq(weft_get(rt, list, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 2 * sizeof(weft_ref));
	cr_assert_eq(weft_get_copy(rt, ((const weft_ref *)view.data)[1], &value, 8), 8);
	cr_assert_eq(value, 2001);
	gen_release_and_close(rt, list);
}
