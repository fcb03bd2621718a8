/*
 * Goal: a failed body is tried again as often as asked and no oftener; a cancelled one never; the
 * result is published once.
 * Method: bodies that count their attempts and succeed at the k-th.
 */
#include "api.h"
#include "test.h"

struct tries {
	struct api_count *runs;
	int64_t good;
	int64_t value;
};

static int succeeds_at(weft_task *self)
{
	const struct tries *tries = weft_task_arg(self, NULL);
	const uint64_t run = api_add(tries->runs, 1);
	const int64_t bad = -1;

	API_CHECK(weft_task_attempt(self) == run);
	API_CHECK(tries->value == 33);
	if ((int64_t)run == tries->good)
		return weft_return(self, &tries->value, sizeof tries->value);
	API_CHECK(weft_return(self, &bad, sizeof bad) == 0);
	return weft_fail(self, -EIO, "attempt %d", (int)run);
}

Test(retry, stops_at_the_first_success)
{
	weft *rt = api_open(2);

	for (int64_t good = 1; good <= 4; good++) {
		struct api_count runs = { 0 };
		const struct tries tries = { &runs, good, 33 };

		cr_assert_eq(
			api_take_i64(
				rt,
				api_submit(rt,
		                           WEFT_TASK(succeeds_at, WEFT_ARG(tries),
		                                     .opts = WEFT_TASK_OPTIONS(.retries = 3)))),
			33);
		cr_assert_eq(api_read(&runs), (uint64_t)good);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(retry, reports_the_last_attempt_when_all_fail)
{
	weft *rt = api_open(2);

	for (uint32_t retries = 0; retries <= 3; retries++) {
		struct api_count runs = { 0 };
		const struct tries tries = { &runs, 100, 33 };
		const struct weft_error *error = NULL;
		char text[32];
		weft_ref ref = api_submit(rt,
		                          WEFT_TASK(succeeds_at, WEFT_ARG(tries),
		                                    .opts = WEFT_TASK_OPTIONS(.retries = retries)));

		cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
		cr_assert_eq(api_read(&runs), retries + 1);
		cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
		snprintf(text, sizeof text, "attempt %u", retries + 1);
		cr_assert_str_eq(error->text, text);
		cr_assert_eq(error->attempt, retries + 1);
		cr_assert_null(error->cause);
		api_release(rt, ref);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(retry, dependents_see_only_the_published_outcome)
{
	weft *rt = api_open(2);
	struct api_count runs = { 0 };
	const struct tries tries = { &runs, 3, 33 };
	weft_ref event = api_event(rt);
	weft_ref ref = api_submit(rt,
	                          WEFT_TASK(succeeds_at, WEFT_ARG(tries), WEFT_AFTER(event),
	                                    .opts = WEFT_TASK_OPTIONS(.retries = 5)));
	weft_ref sum = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(ref, ref)));

	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_take_i64(rt, sum), 66);
	cr_assert_eq(api_read(&runs), 3);
	api_release(rt, ref);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct stuck {
	struct api_count *runs;
	weft_ref event;
};

static int fails_when_interrupted(weft_task *self)
{
	const struct stuck *stuck = weft_task_arg(self, NULL);
	struct weft_view view;

	api_add(stuck->runs, 1);
	API_CHECK(weft_get(weft_task_runtime(self), stuck->event, WEFT_FOREVER, &view) == -EINTR);
	return -ECANCELED;
}

Test(retry, a_cancelled_task_is_not_tried_again)
{
	weft *rt = api_open(2);
	struct api_count runs = { 0 };
	const struct stuck stuck = { &runs, api_event(rt) };
	weft_ref ref = api_submit(rt,
	                          WEFT_TASK(fails_when_interrupted, WEFT_ARG(stuck),
	                                    .opts = WEFT_TASK_OPTIONS(.retries = 5)));

	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	cr_assert_eq(api_read(&runs), 1);
	api_release(rt, stuck.event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(retry, a_failed_input_is_not_tried_again)
{
	weft *rt = api_open(2);
	struct api_count runs = { 0 };
	const int64_t code = -1;
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code);

	cr_assert_eq(
		api_end(rt,
	                api_submit(rt,
	                           WEFT_TASK(api_body_count, API_POINTER(&runs), WEFT_INPUTS(bad),
	                                     .opts = WEFT_TASK_OPTIONS(.retries = 3)))),
		WEFT_EDEP);
	cr_assert_eq(api_read(&runs), 0);
	api_release(rt, bad);
	api_close(rt);
}

static int body_first_leaves_something(weft_task *self)
{
	void *data;

	if (weft_task_attempt(self) > 1)
		return 0;
	for (uint32_t i = 0; i < 3; i++)
		API_CHECK(weft_task_output(self, i, i ? 3000 * i : 10, &data) == 0);
	return -EIO;
}

Test(retry, outputs_of_a_failed_attempt_are_gone)
{
	weft *rt = api_open(2);
	weft_ref out[3];
	struct weft_view view;

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(body_first_leaves_something,
	                                   .opts = WEFT_TASK_OPTIONS(.retries = 1, .n_outputs = 3)),
	                         out),
	             0);
	for (uint32_t i = 0; i < 3; i++) {
		cr_assert_eq(weft_get(rt, out[i], WEFT_FOREVER, &view), 0);
		cr_assert_eq(view.size, 0, "output %u", i);
		api_release(rt, out[i]);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}
