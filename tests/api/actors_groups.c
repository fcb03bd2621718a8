/*
 * Goal: more than one call inside an actor, but never more than its limits; groups do not wait for
 * each other; order where it is promised; long queues are told of. (Rows A4 to A8, A23.)
 * Method: bodies that count who is inside and wait for each other where only real concurrency lets
 * them go on.
 */
#include "actors.h"

static const struct weft_actor_group groups[] = { { "io", 2 }, { "one", 1 } };
static const struct weft_actor_class grouped =
	ACT_CLASS(.groups = groups, .n_groups = 2, .max_pending = WEFT_PENDING_UNLIMITED);
static const struct weft_actor_class plain = ACT_CLASS(.max_pending = WEFT_PENDING_UNLIMITED);

struct meet {
	struct api_count inside, most, calls;
	weft_ref event;
	uint32_t wanted;
};

/* Waits until `wanted` are inside at once. */
static int meets(weft_task *self)
{
	struct meet *meet = api_arg_pointer(self);
	const uint64_t inside = api_add(&meet->inside, 1);
	struct weft_view view;

	api_raise(&meet->most, inside);
	if (inside == meet->wanted)
		API_CHECK(weft_event_set(weft_task_runtime(self), meet->event, NULL, 0) == 0);
	API_CHECK(weft_get(weft_task_runtime(self), meet->event, WEFT_FOREVER, &view) == 0);
	api_add(&meet->inside, (uint64_t)-1);
	return 0;
}

static int counts_inside(weft_task *self)
{
	struct meet *meet = api_arg_pointer(self);
	const uint64_t inside = api_add(&meet->inside, 1);

	API_CHECK(inside <= meet->wanted);
	if (api_add(&meet->calls, 1) % 3 == 0)
		weft_yield(weft_task_runtime(self));
	API_CHECK(api_read(&meet->inside) <= meet->wanted);
	api_add(&meet->inside, (uint64_t)-1);
	return 0;
}

static weft_ref in_group(weft *rt, weft_actor actor, const char *group, weft_task_fn *fn, void *arg)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(fn, .actor = actor, API_POINTER(arg),
	                                .opts = WEFT_TASK_OPTIONS(.actor_group = group)),
	                      &ref) == 0);
	return ref;
}

Test(actors_groups, max_concurrency_calls_are_inside_at_once_and_never_more)
{
	for (uint32_t limit = 2; limit <= 8; limit += 3) {
		weft *rt = api_open(2);
		struct meet meet = { .wanted = limit, .event = api_event(rt) };
		weft_actor actor =
			act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_concurrency = limit), NULL);
		void *arg = &meet;
		weft_ref refs[300];

		for (uint32_t i = 0; i < limit; i++)
			refs[i] = act_call(rt, actor, meets, &arg, sizeof arg);
		for (uint32_t i = 0; i < limit; i++)
			cr_assert_eq(api_end(rt, refs[i]), 0);
		cr_assert_eq(api_read(&meet.most), limit);
		for (int i = 0; i < 300; i++)
			refs[i] = act_call(rt, actor, counts_inside, &arg, sizeof arg);
		for (int i = 0; i < 300; i++)
			cr_assert_eq(api_end(rt, refs[i]), 0);
		cr_assert_eq(api_read(&meet.calls), 300);
		api_release(rt, meet.event);
		act_release(rt, actor);
		api_close(rt);
	}
}

Test(actors_groups, a_full_group_blocks_no_other_and_keeps_its_limit)
{
	weft *rt = api_open(2);
	struct meet io = { .wanted = 3, .event = api_event(rt) }, rest = { .wanted = 1 };
	weft_actor actor = act_create(rt, &grouped, NULL, NULL);
	weft_ref refs[10];

	for (int i = 0; i < 10; i++)
		refs[i] = in_group(rt, actor, "io", meets, &io);
	/* Two are inside and wait for a third that may not come in. */
	api_await_count(&io.inside, 2);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(api_end(rt, in_group(rt, actor, "one", counts_inside, &rest)), 0);
		cr_assert_eq(api_end(rt, in_group(rt, actor, NULL, counts_inside, &rest)), 0);
	}
	cr_assert_eq(api_read(&io.most), 2);
	cr_assert_eq(weft_event_set(rt, io.event, NULL, 0), 0);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_read(&io.most), 2);
	api_release(rt, io.event);
	act_release(rt, actor);
	api_close(rt);
}

static int in_turn(weft_task *self)
{
	const uint64_t *arg = weft_task_arg(self, NULL);
	struct api_count *count = (struct api_count *)(uintptr_t)arg[0];

	API_CHECK(api_add(count, 1) == arg[1] + 1);
	return 0;
}

static weft_ref turn(weft *rt, weft_actor actor, const char *group, struct api_count *count,
                     uint64_t n, weft_ref after)
{
	const uint64_t arg[2] = { (uintptr_t)count, n };
	struct weft_call call = { .fn = in_turn,
		                  .arg = arg,
		                  .arg_size = sizeof arg,
		                  .actor = actor,
		                  .inputs = &after,
		                  .n_after = after.bits ? 1 : 0,
		                  .opts = WEFT_TASK_OPTIONS(.actor_group = group) };
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_submit_call(rt, &call, &ref) == 0);
	return ref;
}

Test(actors_groups, order_and_waiting_are_per_caller_and_group)
{
	weft *rt = api_open(2);
	struct api_count one = { 0 }, rest = { 0 };
	weft_actor actor = act_create(rt, &grouped, NULL, NULL);
	weft_ref event = api_event(rt), refs[20], none = WEFT_NONE;

	refs[0] = turn(rt, actor, "one", &one, 0, event);
	for (uint64_t i = 1; i < 20; i++)
		refs[i] = turn(rt, actor, "one", &one, i, none);
	for (uint64_t i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, turn(rt, actor, NULL, &rest, i, none)), 0);
	cr_assert_eq(api_read(&one), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_groups, in_any_order_ready_calls_pass_waiting_ones)
{
	weft *rt = api_open(1);
	weft_actor actor =
		act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.flags = WEFT_ACTOR_ANY_ORDER), NULL);
	struct api_count count = { 0 };
	weft_ref event = api_event(rt), none = WEFT_NONE;
	weft_ref waits = turn(rt, actor, NULL, &count, 1, event);
	weft_ref passes = turn(rt, actor, NULL, &count, 0, none);

	cr_assert_eq(api_end(rt, passes), 0);
	cr_assert_eq(api_state(rt, waits), WEFT_REF_WAITING);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, waits), 0);
	/* What waits ends with a kill here too. */
	api_release(rt, event);
	event = api_event(rt);
	waits = turn(rt, actor, NULL, &count, 9, event);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	cr_assert_eq(api_end(rt, waits), WEFT_EACTOR);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}

static int waits_inside(weft_task *self)
{
	struct meet *meet = api_arg_pointer(self);
	struct weft_view view;

	api_add(&meet->inside, 1);
	return weft_get(weft_task_runtime(self), meet->event, WEFT_FOREVER, &view);
}

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "all is lost");
}

Test(actors_groups, a_crash_takes_everybody_inside_along_and_restarts_once)
{
	weft *rt = api_open(2);
	struct act_log log = { 0 };
	struct meet meet = { .event = api_event(rt) };
	weft_actor actor = act_create(
		rt, &plain, WEFT_ACTOR_OPTIONS(.max_concurrency = 4, .max_restarts = 1), &log);
	void *arg = &meet;
	weft_ref refs[3];

	for (int i = 0; i < 3; i++)
		refs[i] = act_call(rt, actor, waits_inside, &arg, sizeof arg);
	api_await_count(&meet.inside, 3);
	cr_assert_eq(api_end(rt, act_call(rt, actor, crashes, NULL, 0)), WEFT_EACTOR);
	/* Those that are blocked are woken, as by a cancel. */
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, refs[i]), WEFT_EACTOR);
	cr_assert_eq(act_value(rt, actor), 0);
	cr_assert_eq(api_read(&log.inits), 2);
	api_release(rt, meet.event);
	act_release(rt, actor);
	api_close(rt);
}

static int waits_for_own(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t value;

	return (int)weft_take(rt, act_call(rt, weft_actor_self(self), act_add, &(int64_t){ 1 }, 8),
	                      &value, 8);
}

Test(actors_groups, a_call_may_wait_for_its_own_actor_when_there_is_room_inside)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_concurrency = 2), NULL);

	cr_assert_eq(api_end(rt, act_call(rt, actor, waits_for_own, NULL, 0)), 0);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Long queues ----------------------------------------------------------------------------- */

enum { CROWD = 5000 };

static void counts_crowds(void *arg, const struct weft_log_record *record)
{
	if (record->level == WEFT_LOG_WARN && strstr(record->text, "calls wait"))
		api_add(arg, 1);
}

static int calls_on(weft_task *self)
{
	const weft_actor actor = *(const weft_actor *)weft_task_arg(self, NULL);

	for (int i = 0; i < CROWD; i++)
		API_CHECK(weft_actor_call(weft_task_runtime(self), actor, api_body_nothing, NULL, 0,
		                          NULL) == 0);
	return 0;
}

static void make_calls(weft *rt, weft_actor actor, const weft_ref *after, int n)
{
	const struct weft_call call = {
		.fn = api_body_nothing, .actor = actor, .inputs = after, .n_after = after != NULL
	};

	for (int i = 0; i < n; i++)
		cr_assert_eq(weft_submit(rt, &call, NULL), 0);
}

static weft *open_and_count(struct api_count *told)
{
	weft *rt = NULL;

	cr_assert_eq(
		weft_open(&rt, WEFT_OPTIONS(.workers = 2, .log = counts_crowds, .log_arg = told)),
		0);
	return rt;
}

Test(actors_groups, a_long_queue_is_told_of_once_and_again_when_it_has_doubled)
{
	struct api_count told = { 0 };
	weft *rt = open_and_count(&told);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref event = api_event(rt);
	weft_ref first = act_call(rt, actor, api_body_get, &event, sizeof event);

	/* Not in the queue any more. */
	api_await_state(rt, first, WEFT_REF_BLOCKED);
	make_calls(rt, actor, NULL, CROWD - 1);
	cr_assert_eq(api_read(&told), 0);
	make_calls(rt, actor, NULL, 1);
	cr_assert_eq(api_read(&told), 1);
	make_calls(rt, actor, NULL, CROWD - 1);
	cr_assert_eq(api_read(&told), 1);
	/* By the short way. */
	cr_assert_eq(api_end(rt, api_spawn(rt, calls_on, &actor, sizeof actor)), 0);
	cr_assert_eq(api_read(&told), 2);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, first), 0);
	cr_assert_eq(act_value(rt, actor), 0);
	api_release(rt, event);
	/* As long as before is no news. */
	event = api_event(rt);
	first = act_call(rt, actor, api_body_get, &event, sizeof event);
	make_calls(rt, actor, NULL, 2 * CROWD);
	cr_assert_eq(api_read(&told), 2);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_release(rt, first);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_groups, so_are_many_calls_that_wait_for_their_inputs)
{
	struct api_count told = { 0 };
	weft *rt = open_and_count(&told);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref event = api_event(rt);

	make_calls(rt, actor, &event, CROWD - 1);
	cr_assert_eq(api_read(&told), 0);
	make_calls(rt, actor, &event, 2);
	cr_assert_eq(api_read(&told), 1);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	act_release(rt, actor);
	api_close(rt);
}
