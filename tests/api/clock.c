/*
 * Goal: the runtime's clock is the monotonic one, or stands still until it is moved; deadlines of
 * tasks and waits follow it.
 * Method: virtual runtimes advanced step by step; deadlines in the past, at and after now.
 */
#include "api.h"
#include "test.h"

Test(clock, the_real_clock_is_monotonic_time)
{
	weft *rt = api_open(1);
	const int64_t a = api_now(), b = weft_now(rt), c = weft_now(NULL), d = api_now();

	cr_assert(a <= b && b <= c && c <= d);
	cr_assert_eq(weft_clock_advance(rt, 5), -EINVAL, "it is not virtual");
	api_close(rt);
}

Test(clock, virtual_time_stands_still_and_moves_forward_only)
{
	weft *rt = api_open_flags(1, WEFT_OPEN_VIRTUAL_CLOCK);
	const weft_deadline start = weft_now(rt);

	cr_assert_gt(start, 0, "never the poll deadline");
	for (int i = 0; i < 100; i++)
		cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	cr_assert_eq(weft_now(rt), start);
	cr_assert_eq(weft_clock_advance(rt, 1000), 0);
	cr_assert_eq(weft_now(rt), start + 1000);
	cr_assert_eq(weft_clock_advance(rt, -1), -EINVAL);
	cr_assert_eq(weft_clock_advance(rt, 0), 0);
	cr_assert_eq(weft_now(rt), start + 1000);
	cr_assert_eq(weft_after_ms(rt, 2), start + 1000 + 2000000);
	api_close(rt);
}

struct timed {
	weft_ref event;
	weft_deadline until;
};

static int times_out(weft_task *self)
{
	const struct timed *timed = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	struct weft_view view;

	API_CHECK(weft_get(rt, timed->event, timed->until, &view) == -ETIMEDOUT);
	API_CHECK(weft_now(rt) >= timed->until);
	return 0;
}

Test(clock, waits_in_tasks_follow_virtual_time)
{
	weft *rt = api_open_flags(1, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_ref event = api_event(rt);
	const struct timed early = { event, weft_now(rt) + 100 },
			   late = { event, weft_now(rt) + 300 };
	weft_ref a = api_spawn(rt, times_out, &early, sizeof early);
	weft_ref b = api_spawn(rt, times_out, &late, sizeof late);

	api_await_state(rt, a, WEFT_REF_BLOCKED);
	api_await_state(rt, b, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 200), 0);
	cr_assert_eq(api_end(rt, a), 0);
	cr_assert_eq(weft_peek(rt, b), 0);
	cr_assert_eq(weft_clock_advance(rt, 100), 0);
	cr_assert_eq(api_end(rt, b), 0);
	api_release(rt, event);
	api_close(rt);
}

Test(clock, a_task_not_started_by_its_deadline_ends_with_that_class)
{
	weft *rt = api_open_flags(1, WEFT_OPEN_VIRTUAL_CLOCK);
	struct api_gate gate = API_GATE_INIT;
	struct api_count ran = { 0 };
	const struct weft_error *error = NULL;
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	weft_ref event = api_event(rt);

	api_gate_await(&gate, 1);
	const weft_deadline soon = weft_now(rt) + 10, later = weft_now(rt) + 1000;
	weft_ref queued = api_submit(rt,
	                             WEFT_TASK(api_body_count, API_POINTER(&ran),
	                                       .opts = WEFT_TASK_OPTIONS(.deadline = soon)));
	weft_ref fine = api_submit(rt,
	                           WEFT_TASK(api_body_count, API_POINTER(&ran),
	                                     .opts = WEFT_TASK_OPTIONS(.deadline = later)));
	weft_ref after =
		api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&ran), WEFT_INPUTS(queued)));
	weft_ref waiting =
		api_submit(rt,
	                   WEFT_TASK(api_body_count, API_POINTER(&ran), WEFT_INPUTS(event),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = soon)));
	cr_assert_eq(weft_clock_advance(rt, 100), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_get(rt, queued), WEFT_EDEADLINE);
	cr_assert_eq(weft_ref_error(rt, queued, &error), 0);
	cr_assert_eq(error->code, WEFT_EDEADLINE);
	cr_assert_eq(api_end(rt, after), WEFT_EDEP);
	cr_assert_eq(api_end(rt, fine), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, waiting), WEFT_EDEADLINE);
	cr_assert_eq(api_end(rt, holder), 0);
	cr_assert_eq(api_read(&ran), 1);
	api_release(rt, queued);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(clock, a_started_task_is_not_ended_by_its_deadline)
{
	weft *rt = api_open_flags(1, WEFT_OPEN_VIRTUAL_CLOCK);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(api_body_gate, API_POINTER(&gate),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = weft_now(rt) + 10)));

	api_gate_await(&gate, 1);
	cr_assert_eq(weft_clock_advance(rt, 100), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, ref), 0);
	api_close(rt);
}
