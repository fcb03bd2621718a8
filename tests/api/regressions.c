/*
 * Goal: what once was wrong stays right. Each test is named after what was wrong.
 * Method: the smallest program that showed it, through the public door.
 */
#include "api.h"
#include "test.h"

Test(regressions, a_failure_ran_down_a_chain_by_recursion)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(200000);
	weft_ref event = api_event(rt), last = event;

	for (uint32_t i = 0; i < n; i++) {
		weft_ref next = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(last)));

		if (i)
			api_release(rt, last);
		last = next;
	}
	cr_assert_eq(weft_event_fail(rt, event, -EPROTO, "head"), 0);
	cr_assert_eq(api_end(rt, last), WEFT_EDEP);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(regressions, a_second_failed_input_read_a_free_cell)
{
	weft *rt = api_open(2);
	weft_ref bad[2];
	const int64_t code = -5;

	for (int i = 0; i < 2; i++) {
		bad[i] = api_spawn(rt, api_body_fail, &code, sizeof code);
		cr_assert_eq(api_get(rt, bad[i]), WEFT_ETASK);
	}
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(api_body_nothing, WEFT_INPUTS(bad[0], bad[1])),
		                         NULL),
		             0);
	cr_assert_eq(weft_release_many(rt, bad, 2), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int sleeps_for_months(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	return weft_sleep_until(rt, weft_after_ms(rt, INT64_C(7776000000)));
}

Test(regressions, a_blocking_body_that_slept_could_not_be_cancelled)
{
	weft *rt = api_open(1);
	weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(sleeps_for_months,
	                             .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)));

	api_await_state(rt, ref, WEFT_REF_RUNNING);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int gets_itself(weft_task *self)
{
	weft_ref own = weft_task_ref(self);
	struct weft_view view;

	API_CHECK(weft_get(weft_task_runtime(self), own, WEFT_FOREVER, &view) == WEFT_EDEADLOCK);
	return 0;
}

Test(regressions, a_blocking_body_that_got_itself_slept_for_ever)
{
	weft *rt = api_open(1);

	cr_assert_eq(
		api_end(rt,
	                api_submit(
				rt,
				WEFT_TASK(gets_itself,
	                                  .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)))),
		0);
	api_close(rt);
}

static int helps_another(weft_task *self)
{
	weft *other = *(weft **)weft_task_arg(self, NULL);
	const int64_t value = 41;

	return (int)api_take_i64(other, api_spawn(other, api_body_identity, &value, sizeof value));
}

Test(regressions, a_task_that_helped_a_runtime_without_workers_lost_its_own)
{
	weft *rt = api_open(1), *other = NULL;

	cr_assert_eq(weft_open(&other, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, api_spawn(rt, helps_another, &other, sizeof other)), 0);
	api_close(other);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void *blocks_once(void *arg)
{
	weft *rt = arg;

	for (int i = 0; i < 20; i++)
		cr_assert_eq(
			api_end(rt,
		                api_submit(
					rt,
					WEFT_TASK(api_body_nothing,
		                                  .opts = WEFT_TASK_OPTIONS(
								  .flags = WEFT_TASK_BLOCKING)))),
			0);
	return NULL;
}

static int enters_and_leaves(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_block_enter(rt, WEFT_BLOCK_RELEASE) == 0);
	weft_block_exit(rt);
	return 0;
}

Test(regressions, block_enter_used_up_the_spare_threads)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .spare_threads_max = 2)), 0);
	cr_assert_eq(api_end(rt, api_spawn(rt, enters_and_leaves, NULL, 0)), 0);
	blocks_once(rt);
	api_close(rt);
}

static int init_nothing(weft_task *self)
{
	(void)self;
	return 0;
}

Test(regressions, a_named_actor_whose_init_had_a_failed_input_stopped_its_creator)
{
	static const struct weft_actor_class plain =
		WEFT_ACTOR_CLASS(.name = "plain", .init = init_nothing);
	weft *rt = api_open(2);
	weft_ref bad = api_event(rt), died;
	weft_actor actor;

	cr_assert_eq(weft_event_fail(rt, bad, -EIO, "before"), 0);
	cr_assert_eq(weft_actor_create(rt, &plain, WEFT_ACTOR_OPTIONS(.name = "n"),
	                               &(struct weft_call){ WEFT_INPUTS(bad) }, &actor),
	             0);
	cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
	cr_assert_eq(api_end(rt, died), WEFT_EACTOR);
	cr_assert_eq(weft_actor_find(rt, NULL, "n", &actor), -ENOENT);
	cr_assert_eq(weft_actor_release(rt, actor), 0);
	api_release(rt, bad);
	api_close(rt);
}
