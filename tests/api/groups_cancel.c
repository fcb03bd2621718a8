/*
 * Goal: a cancelled group stops: whatever its tasks wait for, and wherever they are. What is
 * destroyed is cancelled; other groups and what is in none go on.
 * Method: tasks held in every state there is, then the cancel, then a join and the counters. None
 * of what has not begun may run: each body that must not says so.
 */
#include "groups.h"
#include "test.h"

static int must_not_run(weft_task *self)
{
	(void)self;
	API_CHECK(!"it was cancelled before it could begin");
	return 0;
}

static int sleeps_for_months(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_sleep_until(rt, weft_now(rt) + 86400LL * 1000000000 * 90) == -ECANCELED);
	return -ECANCELED;
}

static int looks_until_cancelled(weft_task *self)
{
	api_add(api_arg_pointer(self), 1);
	while (!weft_task_cancelled(self))
		sched_yield();
	return -ECANCELED;
}

Test(groups_cancel, what_is_queued_never_runs_though_every_worker_is_busy)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	weft_ref refs[100];

	api_gate_await(&gate, 1);
	for (int i = 0; i < 100; i++)
		refs[i] = group_submit(rt, group, must_not_run, NULL);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	/* They end here and now: the worker has not come by. */
	for (int i = 0; i < 100; i++)
		cr_assert_eq(api_end(rt, refs[i]), -ECANCELED);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), 0);
	cr_assert_eq(group_stats(rt, group).cancelled, 100);
	cr_assert_eq(group_stats(rt, group).queued, 0);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, holder), 0);
	group_end(rt, group);
	api_close(rt);
}

Test(groups_cancel, what_waits_runs_sleeps_or_blocks_is_told)
{
	const struct weft_resource tape = { "tape", 1 };
	weft *rt = NULL;

	cr_assert_eq(
		weft_open(&rt, WEFT_OPTIONS(.workers = 2, .resources = &tape, .n_resources = 1)),
		0);
	weft_group group = group_make(rt, NULL), within;
	struct api_count looking = { 0 };
	weft_ref event = api_event(rt), refs[6];

	within = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group, .weight = 2));
	refs[0] = group_submit(rt, within, sleeps_for_months, NULL);
	refs[1] = api_submit(rt,
	                     WEFT_TASK(api_body_get, WEFT_ARG(event),
	                               .opts = WEFT_TASK_OPTIONS(.group = group)));
	api_await_state(rt, refs[0], WEFT_REF_BLOCKED);
	api_await_state(rt, refs[1], WEFT_REF_BLOCKED);
	refs[2] = api_submit(rt,
	                     WEFT_TASK(must_not_run, WEFT_INPUTS(event),
	                               .opts = WEFT_TASK_OPTIONS(.group = within)));
	refs[3] =
		api_submit(rt,
	                   WEFT_TASK(must_not_run,
	                             .opts = WEFT_TASK_OPTIONS(.group = group, .n_resources = 1,
	                                                       .resources = &(struct weft_resource){
								       "tape", 2 })));
	refs[4] = group_submit(rt, within, looks_until_cancelled, &looking);
	refs[5] = api_submit(
		rt,
		WEFT_TASK(looks_until_cancelled, API_POINTER(&looking),
	                  .opts = WEFT_TASK_OPTIONS(.group = group, .flags = WEFT_TASK_BLOCKING)));
	api_await_count(&looking, 2);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(api_end(rt, refs[0]), -ECANCELED);
	cr_assert_eq(api_end(rt, refs[1]), -ECANCELED);
	for (int i = 2; i < 6; i++)
		cr_assert_eq(api_end(rt, refs[i]), -ECANCELED);
	cr_assert_eq(group_stats(rt, group).cancelled, 6);
	cr_assert_eq(weft_pending(rt, &(struct weft_pending_info){ 0 }, 1), 0);
	api_release(rt, event);
	group_end(rt, within);
	group_end(rt, group);
	api_close(rt);
}

struct submitter {
	struct api_count started;
	struct api_gate gate;
	int status;
};

static int submits_late(weft_task *self)
{
	struct submitter *s = api_arg_pointer(self);
	weft_ref ref = api_poison_ref();

	api_gate_pass(&s->gate);
	s->status = weft_spawn(weft_task_runtime(self), must_not_run, NULL, 0, &ref);
	API_CHECK(ref.bits == API_POISON);
	return 0;
}

Test(groups_cancel, nothing_more_is_let_in)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	struct submitter s = { .gate = API_GATE_INIT };
	struct weft_call call = { .fn = must_not_run, .opts = WEFT_TASK_OPTIONS(.group = group) };
	weft_ref ref = group_submit(rt, group, submits_late, &s), out = api_poison_ref();

	api_gate_await(&s.gate, 1);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(weft_submit(rt, &call, &out), -ECANCELED);
	cr_assert_eq(out.bits, API_POISON);
	api_gate_open(&s.gate);
	/* A body that returns a value all the same has it. */
	cr_assert_eq(api_end(rt, ref), 0);
	cr_assert_eq(s.status, -ECANCELED);
	cr_assert_eq(group_stats(rt, group).submitted, 1);
	group_end(rt, group);
	api_close(rt);
}

Test(groups_cancel, a_parent_stops_what_is_in_it_and_nobody_else)
{
	weft *rt = api_open(2);
	weft_group top = group_make(rt, NULL), left, right, other = group_make(rt, NULL);
	weft_ref event = api_event(rt), refs[3];

	left = group_make(rt, WEFT_GROUP_OPTIONS(.parent = top));
	right = group_make(rt, WEFT_GROUP_OPTIONS(.parent = top));
	refs[0] = api_submit(rt,
	                     WEFT_TASK(api_body_nothing, WEFT_AFTER(event),
	                               .opts = WEFT_TASK_OPTIONS(.group = left)));
	refs[1] = api_submit(rt,
	                     WEFT_TASK(api_body_nothing, WEFT_AFTER(event),
	                               .opts = WEFT_TASK_OPTIONS(.group = right)));
	refs[2] = api_submit(rt,
	                     WEFT_TASK(api_body_nothing, WEFT_AFTER(event),
	                               .opts = WEFT_TASK_OPTIONS(.group = other)));
	cr_assert_eq(weft_group_cancel(rt, left), 0);
	cr_assert_eq(api_end(rt, refs[0]), -ECANCELED);
	cr_assert_eq(weft_peek(rt, refs[1]), 0);
	cr_assert_eq(weft_group_cancel(rt, top), 0);
	cr_assert_eq(api_end(rt, refs[1]), -ECANCELED);
	cr_assert_eq(weft_peek(rt, refs[2]), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, refs[2]), 0);
	api_release(rt, event);
	group_end(rt, top);
	group_end(rt, left);
	group_end(rt, right);
	group_end(rt, other);
	api_close(rt);
}

Test(groups_cancel, destroying_cancels_what_is_left)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL), within;
	struct weft_call call = { .fn = must_not_run };
	weft_ref ref;

	within = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group));
	ref = group_submit(rt, within, sleeps_for_months, NULL);
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	/* The one in it is there, and cancelled. */
	call.opts = WEFT_TASK_OPTIONS(.group = within);
	cr_assert_eq(weft_submit(rt, &call, NULL), -ECANCELED);
	cr_assert_eq(weft_group_join(rt, within, WEFT_FOREVER), 0);
	group_end(rt, within);
	api_close(rt);
}

static int destroys_its_own(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_group_destroy(rt, weft_task_group(self)) == 0);
	API_CHECK(weft_task_cancelled(self));
	API_CHECK(weft_task_group(self).bits == 0);
	return 0;
}

Test(groups_cancel, a_task_may_destroy_its_own_group)
{
	weft *rt = api_open(1);

	for (int i = 0; i < 100; i++) {
		weft_group group = group_make(rt, NULL);

		cr_assert_eq(api_end(rt, group_submit(rt, group, destroys_its_own, NULL)), 0);
	}
	api_close(rt);
}

static int fans_out(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref refs[8];
	int n = 0, rc = 0;

	while (n < 8 && !rc) {
		rc = weft_spawn(rt, n % 2 ? api_body_nothing : sleeps_for_months, NULL, 0,
		                &refs[n]);
		n += !rc;
	}
	API_CHECK(!rc || rc == -ECANCELED);
	for (int i = 0; i < n; i++) {
		struct weft_view view;

		rc = weft_get(rt, refs[i], WEFT_FOREVER, &view);
		api_release(rt, refs[i]);
	}
	return -ECANCELED;
}

Test(groups_cancel, nothing_is_left_whenever_it_comes)
{
	weft *rt = api_open(4);

	for (uint32_t i = 0; i < api_scaled(2000); i++) {
		weft_group group = group_make(rt, NULL), within;
		uint64_t seed = i;

		within = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group, .parallel_max = 2));
		for (int j = 0; j < 4; j++)
			group_forget(rt, j % 2 ? group : within, fans_out, NULL);
		for (uint32_t j = api_below(&seed, 30); j; j--)
			sched_yield();
		cr_assert_eq(weft_group_cancel(rt, group), 0);
		cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
		struct weft_group_stats stats = group_stats(rt, group);

		cr_assert_eq(stats.submitted, stats.done + stats.failed);
		cr_assert_eq(stats.queued, 0);
		group_end(rt, within);
		group_end(rt, group);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(groups_cancel, a_close_ends_groups_that_nobody_has_destroyed)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = 1));

	for (int i = 0; i < 10; i++)
		group_forget(rt, group, sleeps_for_months, NULL);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
}

/* Three of each kind: one with a ref, one whose ref is gone, one that never had any. */
static weft_ref three(weft *rt, const struct weft_task_options *opts)
{
	const weft_ref ref = api_submit(rt, WEFT_TASK(must_not_run, .opts = opts));

	api_release(rt, api_submit(rt, WEFT_TASK(must_not_run, .opts = opts)));
	cr_assert_eq(weft_submit(rt, WEFT_TASK(must_not_run, .opts = opts), NULL), 0);
	return ref;
}

Test(groups_cancel, what_waits_for_a_thread_or_collects_cpus_ends_without_a_worker)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .spare_threads_max = 1)), 0);
	weft_group group = group_make(rt, NULL);
	struct api_gate gate = API_GATE_INIT;
	const weft_ref holders[2] = {
		api_submit(rt,
		           WEFT_TASK(api_body_gate, API_POINTER(&gate),
		                     .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING))),
		api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate))),
	};

	api_gate_await(&gate, 2);
	const weft_ref blocking =
		three(rt, WEFT_TASK_OPTIONS(.group = group, .flags = WEFT_TASK_BLOCKING));

	/* Until the free worker has handed them on: the group's lane is empty then. */
	while (group_stats(rt, group).queued)
		sched_yield();
	const weft_ref wide = three(rt, WEFT_TASK_OPTIONS(.group = group, .cpus = 2));

	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(weft_group_join(rt, group, weft_now(rt) + 60 * INT64_C(1000000000)), 0);
	cr_assert_eq(api_end(rt, blocking), -ECANCELED);
	cr_assert_eq(api_end(rt, wide), -ECANCELED);
	cr_assert_eq(group_stats(rt, group).cancelled, 6);
	group_end(rt, group);
	api_gate_open(&gate);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(rt, holders[i]), 0);
	api_close(rt);
}

struct leaver {
	weft_group group;
	struct api_count made;
	weft_ref child;
};

/* Its child waits for a thread. */
static int leaves_a_child(weft_task *self)
{
	struct leaver *leaver = api_arg_pointer(self);

	leaver->child =
		api_submit(weft_task_runtime(self),
	                   WEFT_TASK(must_not_run,
	                             .opts = WEFT_TASK_OPTIONS(.group = leaver->group,
	                                                       .flags = WEFT_TASK_BLOCKING)));
	api_add(&leaver->made, 1);
	while (!weft_task_cancelled(self))
		sched_yield();
	return -ECANCELED;
}

Test(groups_cancel, what_a_parents_cancel_has_asked_ends_with_the_group)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .spare_threads_max = 1)), 0);
	struct leaver leaver = { .group = group_make(rt, NULL) };
	struct api_gate gate = API_GATE_INIT;
	const weft_ref holder =
		api_submit(rt,
	                   WEFT_TASK(api_body_gate, API_POINTER(&gate),
	                             .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)));

	api_gate_await(&gate, 1);
	const weft_ref parent = api_submit(rt, WEFT_TASK(leaves_a_child, API_POINTER(&leaver)));

	api_await_count(&leaver.made, 1);
	while (group_stats(rt, leaver.group).queued)
		sched_yield();
	cr_assert_eq(weft_cancel(rt, parent), 0);
	cr_assert_eq(api_end(rt, parent), -ECANCELED);
	cr_assert_eq(weft_group_cancel(rt, leaver.group), 0);
	cr_assert_eq(api_end(rt, leaver.child), -ECANCELED);
	cr_assert_eq(weft_group_join(rt, leaver.group, WEFT_FOREVER), 0);
	group_end(rt, leaver.group);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, holder), 0);
	api_close(rt);
}
