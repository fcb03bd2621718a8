/*
 * Goal: a body that returns WEFT_AGAIN is called again with its argument as it left it, in the same
 * attempt, after what was ready; whatever kind of task it is. weft_should_yield() says when.
 * Method: bodies that count their calls; one worker, so that what is ready in between has a place.
 */
#include "groups.h"
#include "test.h"

struct steps {
	struct api_count calls, others;
	uint64_t others_seen;
	int64_t left;
	uint32_t attempt;
	void *kept;
};

static int counts_down(weft_task *self)
{
	int64_t *left = weft_task_arg(self, NULL);

	API_CHECK(weft_task_attempt(self) == 1);
	if ((*left)-- > 0)
		return WEFT_AGAIN;
	return weft_return(self, left, sizeof *left);
}

Test(again, the_argument_is_as_the_body_has_left_it)
{
	weft *rt = api_open(1);
	const struct weft_resource slot = { "slot", 1 };
	weft *other = NULL;
	int64_t n = 10;
	char far[64] = { 0 };
	weft_ref ref, event;

	cr_assert_eq(
		weft_open(&other, WEFT_OPTIONS(.workers = 1, .resources = &slot, .n_resources = 1)),
		0);
	cr_assert_eq(api_take_i64(rt, api_spawn(rt, counts_down, &n, sizeof n)), -1);
	memcpy(far, &n, sizeof n);
	cr_assert_eq(api_take_i64(rt, api_spawn(rt, counts_down, far, sizeof far)), -1);
	event = api_event(rt);
	ref = api_submit(rt, WEFT_TASK(counts_down, WEFT_ARG(n), WEFT_AFTER(event)));
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_take_i64(rt, ref), -1);
	api_release(rt, event);
	ref = api_submit(
		rt, WEFT_TASK(counts_down, WEFT_ARG(n), .opts = WEFT_TASK_OPTIONS(.retries = 3)));
	cr_assert_eq(api_take_i64(rt, ref), -1);
	ref = api_submit(rt,
	                 WEFT_TASK(counts_down, WEFT_ARG(n),
	                           .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)));
	cr_assert_eq(api_take_i64(rt, ref), -1);
	ref = api_submit(
		other,
		WEFT_TASK(counts_down, WEFT_ARG(n),
	                  .opts = WEFT_TASK_OPTIONS(.resources = &slot, .n_resources = 1)));
	cr_assert_eq(api_take_i64(other, ref), -1);
	api_close(other);
	api_close(rt);
}

static int takes_in_place(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t n = 5, got = 0;
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_spawn(rt, counts_down, &n, sizeof n, &ref) == 0);
	API_CHECK(weft_take(rt, ref, &got, sizeof got) == sizeof got);
	return weft_return(self, &got, sizeof got);
}

Test(again, a_child_that_is_run_in_place_too)
{
	weft *rt = api_open(2);

	for (int i = 0; i < 200; i++)
		cr_assert_eq(api_take_i64(rt, api_spawn(rt, takes_in_place, NULL, 0)), -1);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int lets_others_run(weft_task *self)
{
	struct steps *steps = api_arg_pointer(self);
	uint64_t call = api_add(&steps->calls, 1);

	if (call == 1) {
		/* What it has of the attempt stays. */
		API_CHECK(weft_task_alloc(self, 100, &steps->kept) == 0);
		memset(steps->kept, 7, 100);
		for (int i = 0; i < 10; i++)
			API_CHECK(weft_spawn(weft_task_runtime(self), api_body_count,
			                     &(void *){ &steps->others }, sizeof(void *),
			                     NULL) == 0);
		return WEFT_AGAIN;
	}
	API_CHECK(((char *)steps->kept)[99] == 7);
	steps->others_seen = api_read(&steps->others);
	return 0;
}

Test(again, what_is_ready_runs_in_between)
{
	weft *rt = api_open(1);
	struct steps steps = { 0 };

	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(lets_others_run, API_POINTER(&steps)))),
	             0);
	cr_assert_eq(api_read(&steps.calls), 2);
	cr_assert_eq(steps.others_seen, 10);
	api_close(rt);
}

static int for_ever(weft_task *self)
{
	api_add(api_arg_pointer(self), 1);
	return WEFT_AGAIN;
}

Test(again, a_cancel_ends_it)
{
	weft *rt = api_open(1);
	struct api_count calls = { 0 };
	weft_group group = group_make(rt, NULL);
	const uint32_t flags[2] = { 0, WEFT_TASK_BLOCKING };

	for (int i = 0; i < 2; i++) {
		weft_ref ref = api_submit(rt,
		                          WEFT_TASK(for_ever, API_POINTER(&calls),
		                                    .opts = WEFT_TASK_OPTIONS(.flags = flags[i])));

		api_await_count(&calls, api_read(&calls) + 3);
		cr_assert_eq(weft_cancel(rt, ref), 0);
		cr_assert_eq(api_end(rt, ref), -ECANCELED);
	}
	weft_ref ref = group_submit(rt, group, for_ever, &calls);

	api_await_count(&calls, api_read(&calls) + 3);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	group_end(rt, group);
	api_close(rt);
}

struct asking {
	struct api_count asked, others;
	weft_group high;
	weft_ref ref;
};

/* Asks until it is told, and goes on asking after it has yielded. */
static int asks(weft_task *self)
{
	struct asking *a = api_arg_pointer(self);
	const int64_t start = api_now();

	while (!weft_should_yield(self)) {
		api_add(&a->asked, 1);
		api_polling(start, "a body was asked to yield");
	}
	return 0;
}

static int asks_again(weft_task *self)
{
	struct asking *a = api_arg_pointer(self);

	asks(self);
	API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	return api_read(&a->others) ? 0 : WEFT_AGAIN;
}

Test(again, who_holds_on_is_asked_when_others_wait)
{
	weft *rt = api_open(1);
	struct asking a = { 0 };
	weft_ref ref = api_submit(rt, WEFT_TASK(asks_again, API_POINTER(&a)));

	api_await_count(&a.asked, 1000);
	cr_assert_eq(weft_spawn(rt, api_body_count, &(void *){ &a.others }, sizeof(void *), NULL),
	             0);
	cr_assert_eq(api_end(rt, ref), 0);
	cr_assert_eq(api_read(&a.others), 1);
	api_close(rt);
}

Test(again, who_is_outranked_or_cancelled_is_asked)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL), high;
	struct asking a = { 0 };

	high = group_make(rt, WEFT_GROUP_OPTIONS(.priority = WEFT_PRIORITY_HIGH));
	for (int i = 0; i < 2; i++) {
		weft_ref ref = i ? group_submit(rt, group, asks_again, &a)
				 : api_submit(rt, WEFT_TASK(asks_again, API_POINTER(&a)));

		api_set(&a.others, 0);
		api_await_count(&a.asked, api_read(&a.asked) + 100);
		cr_assert_eq(api_end(rt, group_submit(rt, high, api_body_count, &a.others)), 0);
		cr_assert_eq(api_end(rt, ref), 0);
	}
	/* With nobody else: only a cancel ends it. */
	weft_ref ref = group_submit(rt, group, asks, &a);

	api_await_count(&a.asked, api_read(&a.asked) + 1000);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	group_end(rt, group);
	group_end(rt, high);
	api_close(rt);
}

static int asks_beside(weft_task *self)
{
	API_CHECK(!weft_should_yield(self));
	return 0;
}

Test(again, who_has_a_thread_for_itself_is_never_asked)
{
	weft *rt = api_open(1);

	cr_assert_eq(
		api_end(rt,
	                api_submit(
				rt,
				WEFT_TASK(asks_beside,
	                                  .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)))),
		0);
	api_close(rt);
}
