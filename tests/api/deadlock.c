/*
 * Goal: tasks that wait for each other are told so; those that wait for the outside are not.
 * Method: a task and itself, rings of two and more, a waiter outside the ring, tasks that wait for
 * an event while everything else is idle.
 */
#include "api.h"
#include "test.h"

struct ring {
	struct api_gate *gate;
	weft_ref *refs;
	uint32_t next;
};

static int gets_the_next(weft_task *self)
{
	const struct ring *ring = weft_task_arg(self, NULL);
	struct weft_view view = api_poison_view();

	api_gate_pass(ring->gate);
	const int status =
		weft_get(weft_task_runtime(self), ring->refs[ring->next], WEFT_FOREVER, &view);
	API_CHECK(status < 0 && api_view_untouched(&view));
	return status;
}

Test(deadlock, a_task_that_gets_itself_is_told_at_once)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	const struct weft_error *error = NULL;
	weft_ref ref = WEFT_NONE;
	const struct ring ring = { &gate, &ref, 0 };

	ref = api_spawn(rt, gets_the_next, &ring, sizeof ring);
	api_gate_open(&gate);
	cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_eq(error->code, WEFT_EDEADLOCK);
	api_release(rt, ref);
	api_close(rt);
}

static void run_ring(uint32_t n, uint32_t workers)
{
	weft *rt = NULL;
	struct api_gate gate = API_GATE_INIT;
	weft_ref refs[16];
	uint32_t detected = 0;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = workers)), 0);
	for (uint32_t i = 0; i < n; i++) {
		const struct ring ring = { &gate, refs, (i + 1) % n };

		refs[i] = api_submit(
			rt,
			WEFT_TASK(gets_the_next, WEFT_ARG(ring),
		                  .opts = WEFT_TASK_OPTIONS(.flags = i % 3 == 2 ? WEFT_TASK_STAY
		                                                                : 0)));
	}
	api_gate_open(&gate);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_get(rt, refs[i]), WEFT_ETASK);
	for (uint32_t i = 0; i < n; i++) {
		const struct weft_error *error = NULL;

		cr_assert_eq(weft_ref_error(rt, refs[i], &error), 0);
		cr_assert(error->code == WEFT_EDEADLOCK || error->code == WEFT_ETASK);
		detected += error->code == WEFT_EDEADLOCK;
	}
	cr_assert_geq(detected, 1);
	cr_assert_eq(weft_release_many(rt, refs, n), 0);
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(deadlock, a_ring_that_a_deadline_will_break_is_none)
{
	weft *rt = api_open(2);
	struct api_gate gate = API_GATE_INIT;
	const struct weft_error *error = NULL;
	weft_ref refs[2];

	for (uint32_t i = 0; i < 2; i++) {
		const struct ring ring = { &gate, refs, 1 - i };

		refs[i] = api_submit(
			rt,
			WEFT_TASK(gets_the_next, WEFT_ARG(ring),
		                  .opts = WEFT_TASK_OPTIONS(.deadline = i ? weft_after_ms(rt, 200)
		                                                          : 0)));
	}
	api_gate_open(&gate);
	cr_assert_eq(api_get(rt, refs[1]), WEFT_EDEADLINE);
	cr_assert_eq(api_get(rt, refs[0]), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, refs[0], &error), 0);
	cr_assert_eq(error->code, WEFT_EDEADLINE);
	api_release(rt, refs[0]);
	api_release(rt, refs[1]);
	api_close(rt);
}

Test(deadlock, two_tasks_that_get_each_other_are_told)
{
	run_ring(2, 1);
	run_ring(2, 2);
}

Test(deadlock, rings_of_many_are_told)
{
	run_ring(3, 2);
	run_ring(16, 2);
}

Test(deadlock, waiting_for_an_event_is_none)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), outer[20], inner[20];

	for (int i = 0; i < 20; i++) {
		inner[i] = api_spawn(rt, api_body_get, &event, sizeof event);
		outer[i] = api_spawn(rt, api_body_get, &inner[i], sizeof inner[i]);
	}
	for (int i = 0; i < 20; i++) {
		api_await_state(rt, outer[i], WEFT_REF_BLOCKED);
		api_await_state(rt, inner[i], WEFT_REF_BLOCKED);
	}
	/* Give a detector that errs the time to err: a few rounds of an otherwise idle runtime. */
	for (int i = 0; i < 20; i++)
		cr_assert_eq(weft_sleep_until(rt, weft_after_ms(rt, 2)), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(api_end(rt, outer[i]), 0);
		cr_assert_eq(api_end(rt, inner[i]), 0);
	}
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int sleeps_a_little(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	return weft_sleep_until(rt, weft_after_ms(rt, 30));
}

Test(deadlock, waiting_for_a_sleeper_is_none)
{
	weft *rt = api_open(2);
	weft_ref sleeper = api_spawn(rt, sleeps_a_little, NULL, 0), refs[10];

	for (int i = 0; i < 10; i++)
		refs[i] = api_spawn(rt, api_body_get, &sleeper, sizeof sleeper);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_end(rt, sleeper), 0);
	api_close(rt);
}
