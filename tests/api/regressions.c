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

/* ---- Waits without workers ------------------------------------------------------------------- */

/* The first ref never ends: whoever helps may not wait for it alone. */
Test(regressions, without_workers_a_wait_for_several_helped_only_the_first)
{
	weft *rt = NULL;
	const int64_t code = -5;
	struct weft_cq_item item;
	struct weft_view views[2];
	uint32_t failed = 9;
	weft_cq *cq;
	bool ready[2];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)), 0);
	const weft_ref never = api_event(rt);
	weft_ref good = api_spawn(rt, api_body_nothing, NULL, 0);

	cr_assert_eq(weft_wait(rt, (weft_ref[]){ never, good }, 2, 1, WEFT_FOREVER, ready), 1);
	cr_assert(!ready[0] && ready[1]);
	api_release(rt, good);
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code);

	cr_assert_eq(weft_get_many(rt, (weft_ref[]){ never, bad }, 2, WEFT_FOREVER, views, &failed),
	             WEFT_ETASK);
	cr_assert_eq(failed, 1);
	api_release(rt, bad);
	good = api_spawn(rt, api_body_nothing, NULL, 0);
	cr_assert_eq(weft_cq_create(rt, &cq), 0);
	cr_assert_eq(weft_cq_add(cq, never, 0), 0);
	cr_assert_eq(weft_cq_add(cq, good, 1), 0);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
	cr_assert_eq(item.tag, 1);
	weft_cq_destroy(cq);
	cr_assert_eq(weft_event_set(rt, never, NULL, 0), 0);
	api_release(rt, good);
	api_release(rt, never);
	api_close(rt);
}

/* ---- Cancels and deadlines ------------------------------------------------------------------- */

struct abandoned {
	struct api_gate gate;
	weft_ref other;
	struct api_count over;
};

static int cancels_other(weft_task *self)
{
	struct abandoned *abandoned = api_arg_pointer(self);

	api_gate_pass(&abandoned->gate);
	API_CHECK(weft_cancel(weft_task_runtime(self), abandoned->other) == 0);
	api_add(&abandoned->over, 1);
	return 0;
}

Test(regressions, an_abandoned_body_took_what_it_cancelled_for_itself)
{
	static const struct weft_task_options may_be = {
		.struct_size = sizeof may_be, .flags = WEFT_TASK_BLOCKING | WEFT_TASK_ABANDON
	};
	weft *rt = api_open(1);
	struct abandoned abandoned = { .gate = API_GATE_INIT };
	struct api_gate busy = API_GATE_INIT;
	weft_ref self =
		api_submit(rt, WEFT_TASK(cancels_other, API_POINTER(&abandoned), .opts = &may_be));

	api_gate_await(&abandoned.gate, 1);
	weft_ref worker = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&busy)));

	/* The only worker is busy, so that the other one stays queued. */
	api_gate_await(&busy, 1);
	abandoned.other = api_submit(rt, WEFT_TASK(api_body_nothing, .opts = &may_be));
	cr_assert_eq(weft_cancel_with(rt, self, WEFT_CANCEL_ABANDON), 0);
	cr_assert_eq(api_end(rt, self), -ECANCELED);
	api_gate_open(&abandoned.gate);
	cr_assert_eq(api_end(rt, abandoned.other), -ECANCELED);
	api_await_count(&abandoned.over, 1);
	api_gate_open(&busy);
	cr_assert_eq(api_end(rt, worker), 0);
	api_close(rt);
}

Test(regressions, a_deadline_that_had_passed_waited_for_the_next_advance)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_VIRTUAL_CLOCK)),
	             0);
	cr_assert_eq(weft_clock_advance(rt, 1000), 0);
	const weft_ref never = api_event(rt);
	const weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(api_body_nothing, WEFT_AFTER(never),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = weft_now(rt) - 1)));

	cr_assert_eq(api_end(rt, ref), WEFT_EDEADLINE);
	cr_assert_eq(weft_event_set(rt, never, NULL, 0), 0);
	api_release(rt, never);
	api_close(rt);
}

static struct api_count asleep;

static void sleeps_for_ever(weft_task *self, void *arg)
{
	weft *rt = weft_task_runtime(self);

	(void)arg;
	api_add(&asleep, 1);
	API_CHECK(weft_sleep_until(rt, weft_now(rt) + 1000 * INT64_C(1000000000)) < 0);
}

/* The thief begins the fork while its parent waits on its own thread. */
static int forks(weft_task *self)
{
	struct weft_fork fork;

	weft_fork(self, &fork, sleeps_for_ever, NULL);
	api_await_count(&asleep, 1);
	weft_fork_join(self, &fork);
	return weft_task_cancelled(self) ? -ECANCELED : 0;
}

Test(regressions, a_cancel_did_not_wake_a_fork_that_a_thief_had_taken)
{
	weft *rt = api_open(2);
	const weft_ref ref = api_spawn(rt, forks, NULL, 0);

	api_await_count(&asleep, 1);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_close(rt);
}
