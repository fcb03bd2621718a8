/*
 * Goal: a host thread can run a runtime's work itself, on pooled stacks, and a runtime without
 * workers makes all its progress that way.
 * Method: graphs on WEFT_OPEN_NO_WORKERS, run by weft_run() and by blocked gets, several hosts at
 * once; addresses of frames.
 */
#include "api.h"
#include "test.h"

Test(run, nothing_runs_before_somebody_runs_it)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	struct api_count count = { 0 };
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	struct weft_info info = { .struct_size = sizeof info };

	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(info.workers, 0);
	cr_assert_eq(weft_peek(rt, ref), 0);
	cr_assert_eq(api_read(&count), 0);
	cr_assert_eq(weft_run(rt, ref, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&count), 1);
	cr_assert_eq(weft_peek(rt, ref), 1);
	api_release(rt, ref);
	api_close(rt);
}

Test(run, until_a_ref_is_ready_or_all_is_done)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	struct api_count count = { 0 };
	weft_ref chain = api_put_i64(rt, 1);

	for (int i = 0; i < 100; i++) {
		weft_ref next = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(chain, chain)));

		if (i % 10)
			api_release(rt,
			            api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count))));
		api_release(rt, chain);
		chain = i % 20 == 19 ? api_put_i64(rt, 1) : next;
		if (i % 20 == 19) {
			cr_assert_eq(weft_run(rt, next, WEFT_FOREVER), 0);
			cr_assert_eq(api_take_i64(rt, next), 1 << 20);
		}
	}
	cr_assert_eq(weft_run(rt, WEFT_NONE, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&count), 90);
	cr_assert_eq(weft_run(rt, WEFT_NONE, WEFT_FOREVER), 0, "nothing is left");
	api_release(rt, chain);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int frame(weft_task *self)
{
	const int64_t at = (int64_t)(uintptr_t)__builtin_frame_address(0);

	return weft_return(self, &at, sizeof at);
}

Test(run, bodies_do_not_run_on_the_hosts_stack)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	weft_ref ref = api_spawn(rt, frame, NULL, 0);
	const int64_t mine = (int64_t)(uintptr_t)__builtin_frame_address(0);

	cr_assert_eq(weft_run(rt, ref, WEFT_FOREVER), 0);
	const int64_t far = api_take_i64(rt, ref) - mine;
	cr_assert(far > 64 << 10 || far < -(64 << 10));
	api_close(rt);
}

static int fib(weft_task *self)
{
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL), next = n - 1;
	const int64_t second = n - 2;
	weft *rt = weft_task_runtime(self);
	int64_t result = n;

	if (n >= 2) {
		weft_ref a = api_spawn(rt, fib, &next, sizeof next);
		weft_ref b = api_spawn(rt, fib, &second, sizeof second);

		result = api_take_i64(rt, a) + api_take_i64(rt, b);
	}
	return weft_return(self, &result, sizeof result);
}

Test(run, a_blocked_get_runs_the_work_when_there_are_no_workers)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	const int64_t n = 12;
	weft_ref refs[10];
	bool ready[10];

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, fib, &n, sizeof n)), 144);
	for (int i = 0; i < 10; i++)
		refs[i] = api_spawn(rt, fib, &n, sizeof n);
	cr_assert_eq(weft_wait(rt, refs, 10, 10, WEFT_FOREVER, ready), 10);
	cr_assert_eq(weft_release_many(rt, refs, 10), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(run, closing_a_runtime_without_workers_drains_it)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	struct api_count count = { 0 };

	for (int i = 0; i < 100; i++)
		api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&count), 100);
}

static int blocks_and_goes_on(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	int64_t value = -1;

	API_CHECK(weft_get_copy(weft_task_runtime(self), *event, &value, sizeof value) == 8);
	return weft_return(self, &value, sizeof value);
}

struct set {
	weft *rt;
	weft_ref event;
};

static void *sets_event(void *arg)
{
	const struct set *set = arg;
	const int64_t value = 44;

	API_CHECK(weft_event_set(set->rt, set->event, &value, sizeof value) == 0);
	return NULL;
}

Test(run, blocked_bodies_go_on_when_a_foreign_thread_completes_what_they_wait_for)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	struct set set = { rt, api_event(rt) };
	weft_ref ref = api_spawn(rt, blocks_and_goes_on, &set.event, sizeof set.event);

	/* The time may be up before the body was begun. */
	const int64_t start = api_now();
	do {
		cr_assert_eq(weft_run(rt, ref, weft_after_ms(rt, 5)), -ETIMEDOUT);
		api_polling(start, "the body is blocked");
	} while (api_state(rt, ref) != WEFT_REF_BLOCKED);
	pthread_t thread = api_thread(sets_event, &set);
	cr_assert_eq(weft_run(rt, ref, WEFT_FOREVER), 0);
	api_join(thread);
	cr_assert_eq(api_take_i64(rt, ref), 44);
	api_release(rt, set.event);
	api_close(rt);
}

Test(run, a_passed_time_and_bad_refs)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	weft_ref event = api_event(rt), stale = api_put_i64(rt, 1);

	api_release(rt, stale);
	cr_assert_eq(weft_run(rt, event, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_run(rt, event, weft_after_ms(rt, 2)), -ETIMEDOUT);
	cr_assert_eq(weft_run(rt, stale, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_event_fail(rt, event, -EIO, "x"), 0);
	cr_assert_eq(weft_run(rt, event, WEFT_FOREVER), 0, "failed is ready");
	api_release(rt, event);
	api_close(rt);
}

static void *runs(void *rt)
{
	const int64_t n = 10;

	for (int i = 0; i < 20; i++) {
		weft_ref ref = api_spawn(rt, fib, &n, sizeof n);

		API_CHECK(weft_run(rt, ref, WEFT_FOREVER) == 0);
		API_CHECK(api_take_i64(rt, ref) == 55);
	}
	return NULL;
}

Test(run, several_hosts_run_beside_workers_or_without)
{
	for (int bare = 0; bare < 2; bare++) {
		weft *rt = bare ? api_open_flags(0, WEFT_OPEN_NO_WORKERS) : api_open(2);
		pthread_t threads[3];

		for (int t = 0; t < 3; t++)
			threads[t] = api_thread(runs, rt);
		for (int t = 0; t < 3; t++)
			api_join(threads[t]);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}
