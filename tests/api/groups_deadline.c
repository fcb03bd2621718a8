/*
 * Goal: deadlines hold in groups as elsewhere: of tasks that lie in a group's lane, wait for their
 * place in it, sleep, or have children in it; of a join. What they end is counted once, whether a
 * deadline or the group's cancel comes first.
 * Method: a clock that only the test moves; bodies held at gates and by events.
 */
#include "groups.h"
#include "test.h"

static weft_ref submit_until(weft *rt, weft_group group, weft_task_fn *fn, void *arg,
                             weft_deadline until)
{
	return api_submit(rt,
	                  WEFT_TASK(fn, API_POINTER(arg),
	                            .opts = WEFT_TASK_OPTIONS(.group = group, .deadline = until)));
}

static int sleeps_for_months(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int rc = weft_sleep_until(rt, weft_now(rt) + 90 * INT64_C(86400000000000));

	if (api_arg_pointer(self))
		api_add(api_arg_pointer(self), 1);
	return rc;
}

static void check_stats(weft *rt, weft_group group, uint64_t done, uint64_t failed)
{
	const struct weft_group_stats stats = group_stats(rt, group);

	cr_assert_eq(stats.done, done);
	cr_assert_eq(stats.failed, failed);
	cr_assert_eq(stats.submitted, done + failed);
}

Test(groups_deadline, what_lies_in_the_lane_ends_at_its_time_and_never_runs)
{
	weft *rt = api_open_flags(1, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_group group = group_make(rt, NULL);
	struct api_gate gate = API_GATE_INIT;
	struct api_count ran = { 0 };
	weft_ref refs[20];
	/* In no group: the only worker is busy. */
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	const weft_deadline start = weft_now(rt);

	api_gate_await(&gate, 1);
	for (int i = 0; i < 20; i++)
		refs[i] =
			submit_until(rt, group, api_body_count, &ran, start + (i % 2 ? 10 : 1000));
	cr_assert_eq(weft_clock_advance(rt, 100), 0);
	/* Now, and not when the worker comes by. */
	for (int i = 1; i < 20; i += 2)
		cr_assert_eq(api_get(rt, refs[i]), WEFT_EDEADLINE);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), -ETIMEDOUT);
	api_gate_open(&gate);
	for (int i = 0; i < 20; i += 2)
		cr_assert_eq(api_get(rt, refs[i]), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&ran), 10);
	check_stats(rt, group, 10, 10);
	cr_assert_eq(weft_release_many(rt, refs, 20), 0);
	cr_assert_eq(api_end(rt, holder), 0);
	group_end(rt, group);
	api_close(rt);
}

Test(groups_deadline, who_waits_for_a_place_ends_at_his_time_and_leaves_it_to_others)
{
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = 1));
	struct api_gate gate = API_GATE_INIT;
	struct api_count ran = { 0 };
	weft_ref holder = group_submit(rt, group, api_body_gate, &gate);
	const weft_deadline start = weft_now(rt);

	api_gate_await(&gate, 1);
	weft_ref late = submit_until(rt, group, api_body_count, &ran, start + 10);
	weft_ref fine = submit_until(rt, group, api_body_count, &ran, start + 1000);

	cr_assert_eq(weft_clock_advance(rt, 100), 0);
	cr_assert_eq(api_end(rt, late), WEFT_EDEADLINE);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, fine), 0);
	cr_assert_eq(api_end(rt, holder), 0);
	cr_assert_eq(api_read(&ran), 1);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	check_stats(rt, group, 2, 1);
	group_end(rt, group);
	api_close(rt);
}

struct family {
	weft_ref child;
	struct api_count woken;
};

static int has_a_child(weft_task *self)
{
	struct family *family = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	family->child = api_submit(rt, WEFT_TASK(sleeps_for_months, API_POINTER(&family->woken)));
	return api_get(rt, family->child);
}

Test(groups_deadline, children_in_the_group_end_with_their_parents_deadline)
{
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_group group = group_make(rt, NULL);
	struct family family = { .child = WEFT_NONE };
	weft_ref parent = submit_until(rt, group, has_a_child, &family, weft_now(rt) + 1000);
	weft_ref other = group_submit(rt, group, sleeps_for_months, NULL);

	api_await_state(rt, parent, WEFT_REF_BLOCKED);
	api_await_state(rt, family.child, WEFT_REF_BLOCKED);
	api_await_state(rt, other, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 2000), 0);
	cr_assert_eq(api_end(rt, parent), WEFT_EDEADLINE);
	cr_assert_eq(api_end(rt, family.child), -ECANCELED);
	cr_assert_eq(api_read(&family.woken), 1);
	/* The group goes on. */
	cr_assert_eq(weft_peek(rt, other), 0);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(api_end(rt, other), -ECANCELED);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	check_stats(rt, group, 0, 3);
	cr_assert_eq(group_stats(rt, group).cancelled, 2);
	group_end(rt, group);
	api_close(rt);
}

struct join {
	weft_group group;
	weft_deadline until;
	struct api_count given_up;
};

static int joins(weft_task *self)
{
	struct join *join = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_group_join(rt, join->group, join->until) == -ETIMEDOUT);
	API_CHECK(weft_now(rt) >= join->until);
	api_add(&join->given_up, 1);
	return weft_group_join(rt, join->group, WEFT_FOREVER);
}

Test(groups_deadline, a_join_gives_up_at_its_time_and_the_next_one_finds_the_end)
{
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_group group = group_make(rt, NULL);
	weft_ref event = api_event(rt);
	weft_ref ref = api_submit(rt,
	                          WEFT_TASK(api_body_get, WEFT_ARG(event),
	                                    .opts = WEFT_TASK_OPTIONS(.group = group)));
	struct join join = { .group = group, .until = weft_now(rt) + 1000 };
	weft_ref joiner = api_submit(rt, WEFT_TASK(joins, API_POINTER(&join)));

	api_await_state(rt, joiner, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_group_join(rt, group, weft_now(rt)), -ETIMEDOUT);
	cr_assert_eq(weft_clock_advance(rt, 999), 0);
	cr_assert_eq(weft_peek(rt, joiner), 0);
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	api_await_count(&join.given_up, 1);
	cr_assert_eq(weft_group_join(rt, group, weft_now(rt)), -ETIMEDOUT);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, joiner), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	api_release(rt, event);
	group_end(rt, group);
	api_close(rt);
}

#define STORM 200

/* Deadlines pass while the group is cancelled: each task ends once, as one or the other. */
Test(groups_deadline, whichever_comes_first_ends_a_task_once)
{
	for (int round = 0; round < 20; round++) {
		weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
		weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = round % 3));
		const weft_deadline start = weft_now(rt);
		weft_ref refs[STORM];
		uint64_t late = 0, cancelled = 0;

		for (int i = 0; i < STORM; i++)
			refs[i] = submit_until(rt, group, sleeps_for_months, NULL, start + 1 + i);
		/* The service goes through them while the cancel does. */
		cr_assert_eq(weft_clock_advance(rt, STORM / 2), 0);
		cr_assert_eq(weft_group_cancel(rt, group), 0);
		cr_assert_eq(weft_clock_advance(rt, STORM), 0);
		for (int i = 0; i < STORM; i++) {
			const int rc = api_end(rt, refs[i]);

			cr_assert(rc == WEFT_EDEADLINE || rc == -ECANCELED);
			late += rc == WEFT_EDEADLINE;
			cancelled += rc == -ECANCELED;
		}
		cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
		check_stats(rt, group, 0, STORM);
		cr_assert_eq(group_stats(rt, group).cancelled, cancelled);
		cr_assert_eq(late + cancelled, STORM);
		group_end(rt, group);
		api_close(rt);
	}
}
