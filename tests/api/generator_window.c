/*
 * Goal: a generator's window holds its body back and nothing else does; whoever takes, drops or
 * cancels lets it go on.
 * Method: bodies that count what they have computed, looked at while they are blocked.
 */
#include "generator.h"

/* ---- T16, T17: the window ------------------------------------------------------------------- */

Test(generator_window, a_window_holds_the_body_back_and_taking_lets_it_go_on)
{
	for (uint32_t window = 1; window <= 3; window++) {
		weft *rt = api_open(1);
		struct gen_plan plan = { .good = 8 };
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(.window = window)), item;

		for (int64_t i = 0; i < plan.good; i++) {
			const int64_t most = i + window < plan.good ? i + window : plan.good;

			api_await_count(&plan.made, (uint64_t)most);
			if (i + window <= plan.good)
				api_await_state(rt, gen, WEFT_REF_BLOCKED);
			cr_assert_eq(api_read(&plan.made), (uint64_t)most);
			cr_assert_lt(api_read(&plan.given), (uint64_t)i + window);
			cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), 0);
			api_release(rt, item);
		}
		gen_expect_end(rt, gen);
		gen_release_and_close(rt, gen);
	}
}

Test(generator_window, dropping_the_generator_releases_its_body)
{
	for (int blocking = 0; blocking < 2; blocking++) {
		weft *rt = api_open(2);
		struct gen_plan plan = { .good = 100 };
		weft_ref gen = gen_start(
			rt, &plan,
			GEN_STREAM(.window = 2, .flags = blocking ? WEFT_TASK_BLOCKING : 0));

		api_await_count(&plan.made, 2);
		cr_assert_eq(gen_take_next(rt, gen), 0);
		api_await_count(&plan.made, 3);
		api_release(rt, gen);
		api_await_count(&plan.ended, 1);
		cr_assert_eq(plan.last, 1);
		cr_assert_eq(api_read(&plan.made), 100);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

Test(generator_window, a_body_in_its_window_can_be_cancelled)
{
	for (int how = 0; how < 4; how++) {
		weft *rt = api_open(2);
		struct gen_plan plan = { .good = 100 };
		weft_ref gen = gen_start(
			rt, &plan,
			GEN_STREAM(.window = 2, .flags = how & 1 ? WEFT_TASK_BLOCKING : 0));
		weft_ref completed;

		api_await_count(&plan.made, 2);
		cr_assert_eq(weft_completed(rt, gen, &completed), 0);
		cr_assert_eq(weft_cancel(rt, how & 2 ? gen : completed), 0);
		cr_assert_eq(api_end(rt, completed), -ECANCELED);
		cr_assert_eq(plan.last, -EINTR);
		cr_assert_eq(gen_take_next(rt, gen), 0);
		cr_assert_eq(gen_take_next(rt, gen), 1);
		cr_assert_eq(gen_take_next(rt, gen), -ECANCELED);
		gen_expect_end(rt, gen);
		gen_release_and_close(rt, gen);
	}
}

Test(generator_window, a_cancelled_one_that_has_not_begun_gives_its_cancel)
{
	weft *rt = api_open(1);
	struct gen_plan plan = { .good = 100 };
	weft_ref event = api_event(rt);
	weft_ref gen = api_submit(rt,
	                          WEFT_TASK(gen_body_counts, API_POINTER(&plan), WEFT_AFTER(event),
	                                    .opts = GEN_STREAM(.window = 1)));

	cr_assert_eq(weft_cancel(rt, gen), 0);
	cr_assert_eq(gen_take_next(rt, gen), -ECANCELED);
	gen_expect_end(rt, gen);
	cr_assert_eq(api_read(&plan.made), 0);
	cr_assert_eq(weft_cancel(rt, gen), 0, "idempotent");
	api_release(rt, event);
	gen_release_and_close(rt, gen);
}

Test(generator_window, closing_ends_a_body_in_its_window)
{
	weft *rt = api_open(2);
	struct gen_plan plan = { .good = 100 };

	gen_start(rt, &plan, GEN_STREAM(.window = 2));
	api_await_count(&plan.made, 2);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_eq(plan.last, -EINTR);
}

static int body_takes_its_own(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const weft_ref *event = weft_task_arg(self, NULL);
	struct weft_view view;
	weft_ref gen, item;

	API_CHECK(weft_get(rt, *event, WEFT_FOREVER, &view) == 0);
	memcpy(&gen, view.data, sizeof gen);
	API_CHECK(weft_emit(self, NULL, 0) == 0);
	API_CHECK(weft_next(rt, gen, WEFT_FOREVER, &item) == 0);
	API_CHECK(weft_release(rt, item) == 0);
	API_CHECK(weft_next(rt, gen, WEFT_FOREVER, &item) == WEFT_EDEADLOCK);
	return 0;
}

Test(generator_window, a_body_that_waits_for_its_own_next_item_is_told)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	weft_ref gen = api_submit(
		rt, WEFT_TASK(body_takes_its_own, WEFT_ARG(event), .opts = GEN_STREAM(0)));
	weft_ref completed;

	cr_assert_eq(weft_completed(rt, gen, &completed), 0);
	cr_assert_eq(weft_event_set(rt, event, &gen, sizeof gen), 0);
	cr_assert_eq(api_end(rt, completed), 0);
	gen_expect_end(rt, gen);
	api_release(rt, event);
	gen_release_and_close(rt, gen);
}
