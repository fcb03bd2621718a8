/*
 * Goal: get waits anywhere, from tasks and host threads, without losing a CPU and to any depth; its
 * deadlines and errors are the documented ones.
 * Method: nested and recursive gets on one worker and small stacks, many blocked tasks at once,
 * deadlines in the past and on pending events, poisoned views.
 */
#include "api.h"
#include "test.h"

Test(get, a_pending_ref_times_out_and_comes_later)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	struct weft_view view = api_poison_view();
	const int64_t value = 12;

	cr_assert_eq(weft_get(rt, event, WEFT_POLL, &view), -ETIMEDOUT);
	cr_assert_eq(weft_get(rt, event, 1, &view), -ETIMEDOUT);
	cr_assert_eq(weft_get(rt, event, weft_after_ms(rt, 5), &view), -ETIMEDOUT);
	cr_assert(api_view_untouched(&view));
	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	cr_assert_eq(weft_get(rt, event, WEFT_POLL, &view), 0);
	cr_assert_eq(*(const int64_t *)view.data, 12);
	api_release(rt, event);
	api_close(rt);
}

Test(get, a_deadline_is_not_met_early)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	struct weft_view view;
	const weft_deadline until = weft_after_ms(rt, 20);

	cr_assert_eq(weft_get(rt, event, until, &view), -ETIMEDOUT);
	cr_assert_geq(weft_now(rt), until);
	api_release(rt, event);
	api_close(rt);
}

static int get_with_deadline(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const weft_ref *ref = weft_task_arg(self, NULL);
	struct weft_view view = api_poison_view();
	const weft_deadline until = weft_after_ms(rt, 5);

	API_CHECK(weft_get(rt, *ref, WEFT_POLL, &view) == -ETIMEDOUT);
	API_CHECK(weft_get(rt, *ref, until, &view) == -ETIMEDOUT);
	API_CHECK(weft_now(rt) >= until);
	API_CHECK(api_view_untouched(&view));
	API_CHECK(!weft_task_cancelled(self));
	return 0;
}

Test(get, deadlines_work_inside_tasks)
{
	weft *rt = api_open(1);
	weft_ref event = api_event(rt), refs[50];

	for (int i = 0; i < 50; i++)
		refs[i] = api_spawn(rt, get_with_deadline, &event, sizeof event);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(get, bad_refs_and_views_are_refused)
{
	weft *rt = api_open(2), *other = api_open(2);
	struct weft_view view = api_poison_view();
	weft_ref stale = api_put_i64(rt, 1), foreign = api_put_i64(other, 1);
	weft_ref good = api_put_i64(rt, 2), wild = { 0xfedcba9876543210ULL };
	int64_t value = 55;

	api_release(rt, stale);
	const weft_ref bad[] = {
		WEFT_NONE, stale, foreign, wild, { UINT64_MAX }, { 1 }, { 1u << 17 }
	}; /* of a cell that was never used */
	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		cr_assert_eq(weft_get(rt, bad[i], WEFT_FOREVER, &view), -EINVAL, "ref %u", i);
		cr_assert_eq(weft_get(rt, bad[i], WEFT_POLL, &view), -EINVAL);
		cr_assert_eq(weft_get_copy(rt, bad[i], &value, sizeof value), -EINVAL);
		cr_assert_eq(weft_take(rt, bad[i], &value, sizeof value), -EINVAL);
		cr_assert_eq(weft_peek(rt, bad[i]), -EINVAL);
	}
	cr_assert_eq(weft_get(rt, good, WEFT_FOREVER, NULL), -EINVAL);
	cr_assert_eq(weft_get(NULL, good, WEFT_FOREVER, &view), -EINVAL);
	cr_assert_eq(weft_get_copy(NULL, good, &value, sizeof value), -EINVAL);
	cr_assert_eq(weft_get_copy(rt, good, NULL, sizeof value), -EINVAL);
	cr_assert_eq(value, 55);
	cr_assert(api_view_untouched(&view));
	cr_assert_eq(api_take_i64(rt, good), 2);
	cr_assert_eq(api_take_i64(other, foreign), 1, "nobody else may drop it");
	api_close(other);
	api_close(rt);
}

struct depth {
	int64_t left;
};

static int nested(weft_task *self)
{
	const struct depth *arg = weft_task_arg(self, NULL);
	const struct depth down = { arg->left - 1 };
	weft *rt = weft_task_runtime(self);
	int64_t value = 0;

	if (arg->left > 0) {
		value = api_take_i64(rt, api_spawn(rt, nested, &down, sizeof down)) + 1;
	}
	return weft_return(self, &value, sizeof value);
}

static void nest(uint32_t workers, int64_t levels, size_t stack_bytes)
{
	weft *rt = NULL;
	const struct depth root = { levels };

	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = workers, .stack_bytes = stack_bytes,
	                                    .stacks_max = 1u << 20)),
	             0);
	cr_assert_eq(api_take_i64(rt, api_spawn(rt, nested, &root, sizeof root)), levels);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(get, nests_ten_thousand_deep_on_one_worker)
{
	nest(1, api_scaled(10000), 0);
}

Test(get, nests_ten_thousand_deep_on_eight_workers)
{
	nest(8, api_scaled(10000), 0);
}

Test(get, nests_deeper_than_a_stack_on_small_stacks)
{
	nest(1, api_scaled(1000000), WF_ASAN || WF_TSAN ? 65536 : 32768);
	nest(2, api_scaled(1000000), WF_ASAN || WF_TSAN ? 65536 : 32768);
}

static int fib(weft_task *self)
{
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL), next = n - 1, second = n - 2;
	weft *rt = weft_task_runtime(self);
	int64_t result = n;

	if (n >= 2) {
		weft_ref a = api_spawn(rt, fib, &next, sizeof next);
		weft_ref b = api_spawn(rt, fib, &second, sizeof second);

		result = api_take_i64(rt, b) + api_take_i64(rt, a);
	}
	return weft_return(self, &result, sizeof result);
}

Test(get, fib_on_1_2_and_8_workers)
{
	static const uint32_t workers[] = { 1, 2, 8 };
	const int64_t n = WF_TSAN ? 12 : WF_ASAN ? 17 : 22;
	int64_t expected[23] = { 0, 1 };

	for (int i = 2; i < 23; i++)
		expected[i] = expected[i - 1] + expected[i - 2];
	for (int w = 0; w < 3; w++) {
		weft *rt = api_open(workers[w]);

		cr_assert_eq(api_take_i64(rt, api_spawn(rt, fib, &n, sizeof n)), expected[n]);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static int block_on(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	int64_t value = -1;

	API_CHECK(weft_get_copy(weft_task_runtime(self), *event, &value, sizeof value) == 8);
	return weft_return(self, &value, sizeof value);
}

/* Each blocked task has touched a page or two of a stack. */
Test(get, a_hundred_thousand_tasks_blocked_at_once)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(100000);
	weft_ref event = api_event(rt), *refs = calloc(n, sizeof *refs);
	const int64_t value = 8;

	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_spawn(rt, block_on, &event, sizeof event);
	for (uint32_t i = 0; i < n; i++)
		api_await_state(rt, refs[i], WEFT_REF_BLOCKED);
	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), 8);
	api_release(rt, event);
	api_await_no_tasks(rt);
	free(refs);
	api_close(rt);
}

Test(get, running_out_of_stacks_is_an_error_and_not_the_end)
{
	weft *rt = NULL;
	weft_ref event, refs[200];
	const int64_t value = 1;
	uint32_t ok = 0;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .stacks_max = 32)), 0);
	event = api_event(rt);
	for (int i = 0; i < 200; i++)
		refs[i] = api_spawn(rt, api_body_get, &event, sizeof event);
	/* Bodies that find no stack for their wait fail with -EAGAIN, the others wait. */
	for (int i = 0; i < 200; i++) {
		struct weft_view view;
		const int status = weft_get(rt, refs[i], weft_after_ms(rt, 1), &view);

		cr_assert(status == -ETIMEDOUT || status == WEFT_ETASK);
	}
	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	for (int i = 0; i < 200; i++) {
		const struct weft_error *error = NULL;
		const int status = api_get(rt, refs[i]);

		ok += status == 0;
		if (status < 0) {
			cr_assert_eq(status, WEFT_ETASK);
			cr_assert_eq(weft_ref_error(rt, refs[i], &error), 0);
			cr_assert_eq(error->code, -EAGAIN);
		}
		api_release(rt, refs[i]);
	}
	cr_assert_gt(ok, 0);
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(get, blocked_tasks_do_not_hold_the_only_worker)
{
	weft *rt = api_open(1);
	weft_ref event = api_event(rt), blocked[20];
	const int64_t value = 3;

	for (int i = 0; i < 20; i++)
		blocked[i] = api_spawn(rt, block_on, &event, sizeof event);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(
			api_take_i64(rt, api_spawn(rt, api_body_identity, &value, sizeof value)),
			3);
	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_take_i64(rt, blocked[i]), 3);
	api_release(rt, event);
	api_close(rt);
}

/* ---- get_many ---- */

Test(get_many, views_come_in_order_and_duplicates_are_fine)
{
	weft *rt = api_open(2);
	weft_ref a = api_put_i64(rt, 1), event = api_event(rt);
	weft_ref b = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(a, event)));
	const weft_ref refs[] = { b, a, event, b, a };
	struct weft_view views[5];
	const int64_t value = 10, expected[] = { 11, 1, 10, 11, 1 };

	views[0] = api_poison_view();
	cr_assert_eq(weft_get_many(rt, refs, 5, WEFT_POLL, views, NULL), -ETIMEDOUT);
	cr_assert(api_view_untouched(&views[0]));
	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	cr_assert_eq(weft_get_many(rt, refs, 5, WEFT_FOREVER, views, NULL), 0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(*(const int64_t *)views[i].data, expected[i]);
	cr_assert_eq(weft_get_many(rt, NULL, 0, WEFT_FOREVER, NULL, NULL), 0);
	api_release(rt, a);
	api_release(rt, b);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(get_many, raises_as_soon_as_one_failed_while_another_is_pending)
{
	weft *rt = api_open(2);
	weft_ref pending = api_event(rt), later = api_event(rt), good = api_put_i64(rt, 1);
	const weft_ref refs[] = { pending, good, later };
	const int64_t code = -4;
	weft_ref bad = api_submit(rt, WEFT_TASK(api_body_fail, WEFT_ARG(code), WEFT_AFTER(later)));
	const weft_ref with_bad[] = { pending, good, bad };
	struct weft_view views[3] = { api_poison_view(), api_poison_view(), api_poison_view() };
	uint32_t failed = 99;

	cr_assert_eq(weft_event_set(rt, later, NULL, 0), 0);
	cr_assert_eq(weft_get_many(rt, with_bad, 3, WEFT_FOREVER, views, &failed), WEFT_ETASK);
	cr_assert_eq(failed, 2);
	failed = 99;
	cr_assert_eq(weft_get_many(rt, refs, 3, weft_after_ms(rt, 2), views, &failed), -ETIMEDOUT);
	cr_assert_eq(failed, 99, "a time-out is no failure of a ref");
	cr_assert_eq(weft_get_many(rt, with_bad, 3, WEFT_FOREVER, views, NULL), WEFT_ETASK);
	for (int i = 0; i < 3; i++)
		cr_assert(api_view_untouched(&views[i]));
	cr_assert_eq(weft_event_set(rt, pending, NULL, 0), 0);
	const weft_ref all[] = { pending, later, good, bad };
	cr_assert_eq(weft_release_many(rt, all, 4), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct raise {
	weft *rt;
	weft_ref pending, late;
	struct api_count *in;
};

static int raise_in_task(weft_task *self)
{
	const struct raise *raise = weft_task_arg(self, NULL);
	const weft_ref refs[] = { raise->pending, raise->late };
	struct weft_view views[2];
	uint32_t failed = 99;

	api_add(raise->in, 1);
	API_CHECK(weft_get_many(raise->rt, refs, 2, WEFT_FOREVER, views, &failed) == WEFT_EDEVICE);
	API_CHECK(failed == 1);
	return 0;
}

Test(get_many, a_blocked_caller_is_woken_by_the_failure)
{
	weft *rt = api_open(2);
	struct api_count in = { 0 };
	struct raise raise = { rt, api_event(rt), api_event(rt), &in };
	weft_ref task = api_spawn(rt, raise_in_task, &raise, sizeof raise);

	api_await_state(rt, task, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_event_fail(rt, raise.late, WEFT_EDEVICE, "gone"), 0);
	cr_assert_eq(api_end(rt, task), 0);
	cr_assert_eq(weft_event_set(rt, raise.pending, NULL, 0), 0);
	api_release(rt, raise.pending);
	api_release(rt, raise.late);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(get_many, reports_the_first_failure_in_list_order)
{
	weft *rt = api_open(2);
	weft_ref refs[4];
	const int64_t code = -6;
	struct weft_view views[4];
	uint32_t failed = 99;

	for (int i = 0; i < 4; i++) {
		refs[i] = i % 2 ? api_spawn(rt, api_body_fail, &code, sizeof code) : api_event(rt);
		if (i % 2)
			cr_assert_eq(api_get(rt, refs[i]), WEFT_ETASK);
	}
	cr_assert_eq(weft_get_many(rt, refs, 4, WEFT_FOREVER, views, &failed), WEFT_ETASK);
	cr_assert_eq(failed, 1);
	cr_assert_eq(weft_event_fail(rt, refs[0], WEFT_EDEVICE, "x"), 0);
	cr_assert_eq(weft_get_many(rt, refs, 4, WEFT_FOREVER, views, &failed), WEFT_EDEVICE);
	cr_assert_eq(failed, 0);
	cr_assert_eq(weft_release_many(rt, refs, 4), 0);
	api_close(rt);
}

Test(get_many, bad_input_is_refused)
{
	weft *rt = api_open(2);
	weft_ref good = api_put_i64(rt, 1);
	const weft_ref refs[] = { good, WEFT_NONE };
	struct weft_view views[2] = { api_poison_view(), api_poison_view() };
	uint32_t failed = 99;

	cr_assert_eq(weft_get_many(rt, refs, 2, WEFT_FOREVER, views, &failed), -EINVAL);
	cr_assert_eq(weft_get_many(rt, NULL, 2, WEFT_FOREVER, views, &failed), -EINVAL);
	cr_assert_eq(weft_get_many(rt, refs, 1, WEFT_FOREVER, NULL, &failed), -EINVAL);
	cr_assert_eq(weft_get_many(NULL, refs, 1, WEFT_FOREVER, views, &failed), -EINVAL);
	cr_assert(api_view_untouched(&views[0]) && api_view_untouched(&views[1]));
	api_release(rt, good);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int many_in_task(weft_task *self)
{
	enum { N = 1000 };
	weft *rt = weft_task_runtime(self);
	weft_ref *refs = calloc(N, sizeof *refs);
	struct weft_view *views = calloc(N, sizeof *views);
	int64_t sum = 0;

	for (int64_t i = 0; i < N; i++)
		refs[i] = api_spawn(rt, api_body_identity, &i, sizeof i);
	const int status = weft_get_many(rt, refs, N, WEFT_FOREVER, views, NULL);
	if (status)
		fprintf(stderr, "get_many: %d\n", status);
	API_CHECK(status == 0);
	for (int i = 0; i < N; i++)
		sum += *(const int64_t *)views[i].data;
	API_CHECK(weft_release_many(rt, refs, N) == 0);
	free(refs);
	free(views);
	return weft_return(self, &sum, sizeof sum);
}

Test(get_many, a_task_gets_a_thousand_children)
{
	weft *rt = api_open(2);

	for (int i = 0; i < 5; i++)
		cr_assert_eq(api_take_i64(rt, api_spawn(rt, many_in_task, NULL, 0)), 499500);
	api_await_no_tasks(rt);
	api_close(rt);
}
