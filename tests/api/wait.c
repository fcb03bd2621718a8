/*
 * Goal: wait follows its rules: exactly `want` marked, never more, order and set of the input kept,
 * failed refs are ready, errors leave `ready` alone, and a wait leaves nothing behind.
 * Method: lists with known ready members, poisoned flags, a million timed-out waits against the
 * resident memory, a random drain of many refs one by one.
 */
#include "api.h"
#include "test.h"

static uint32_t marked(const bool *ready, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		sum += ready[i];
	return sum;
}

Test(wait, marks_exactly_as_many_as_wanted)
{
	weft *rt = api_open(2);
	weft_ref refs[6];
	bool ready[6];

	for (int i = 0; i < 6; i++)
		refs[i] = i == 2 || i == 4 ? api_event(rt) : api_put_i64(rt, i);
	for (uint32_t want = 1; want <= 4; want++) {
		memset(ready, 1, sizeof ready);
		cr_assert_eq(weft_wait(rt, refs, 6, want, WEFT_FOREVER, ready), (int)want);
		cr_assert_eq(marked(ready, 6), want);
		cr_assert(!ready[2] && !ready[4]);
	}
	memset(ready, 1, sizeof ready);
	cr_assert_eq(weft_wait(rt, refs, 6, 6, WEFT_POLL, ready), 4);
	cr_assert_eq(marked(ready, 6), 4);
	cr_assert_eq(weft_wait(rt, refs, 6, 5, weft_after_ms(rt, 2), ready), 4);
	cr_assert_eq(weft_wait(rt, refs + 2, 1, 1, WEFT_POLL, ready), 0);
	cr_assert(!ready[0]);
	cr_assert_eq(weft_event_set(rt, refs[2], NULL, 0), 0);
	cr_assert_eq(weft_event_set(rt, refs[4], NULL, 0), 0);
	cr_assert_eq(weft_wait(rt, refs, 6, 6, WEFT_FOREVER, ready), 6);
	cr_assert_eq(weft_release_many(rt, refs, 6), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(wait, all_ready_marks_and_counts_every_ready_one)
{
	weft *rt = api_open(2);
	weft_ref refs[6];
	bool ready[6];

	for (int i = 0; i < 6; i++)
		refs[i] = i == 3 ? api_event(rt) : api_put_i64(rt, i);
	for (uint32_t want = 1; want <= 5; want++) {
		memset(ready, 0, sizeof ready);
		cr_assert_eq(weft_wait_all_ready(rt, refs, 6, want, WEFT_FOREVER, ready), 5);
		cr_assert_eq(marked(ready, 6), 5);
		cr_assert(!ready[3]);
	}
	cr_assert_eq(weft_wait_all_ready(rt, refs, 6, 6, WEFT_POLL, ready), 5);
	cr_assert_eq(weft_wait_all_ready(rt, NULL, 0, 0, WEFT_FOREVER, NULL), 0);
	cr_assert_eq(weft_event_set(rt, refs[3], NULL, 0), 0);
	cr_assert_eq(weft_wait_all_ready(rt, refs, 6, 1, WEFT_POLL, ready), 6);
	cr_assert_eq(weft_release_many(rt, refs, 6), 0);
	api_close(rt);
}

Test(wait, failed_and_cancelled_refs_are_ready)
{
	weft *rt = api_open(2);
	const int64_t code = -2;
	weft_ref event = api_event(rt);
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code);
	weft_ref cancelled = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
	const weft_ref refs[] = { event, bad, cancelled };
	bool ready[3] = { 1, 1, 1 };

	cr_assert_eq(weft_cancel(rt, cancelled), 0);
	cr_assert_eq(weft_wait(rt, refs, 3, 2, WEFT_FOREVER, ready), 2);
	cr_assert(!ready[0] && ready[1] && ready[2]);
	cr_assert_eq(weft_event_fail(rt, event, -EIO, "x"), 0);
	cr_assert_eq(weft_wait(rt, refs, 3, 3, WEFT_FOREVER, ready), 3);
	cr_assert_eq(weft_release_many(rt, refs, 3), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void expect_invalid(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want)
{
	unsigned char ready[8];

	memset(ready, 0x5a, sizeof ready);
	cr_assert_eq(weft_wait(rt, refs, n, want, WEFT_POLL, (bool *)ready), -EINVAL);
	cr_assert_eq(weft_wait(rt, refs, n, want, WEFT_FOREVER, (bool *)ready), -EINVAL);
	cr_assert_eq(weft_wait_all_ready(rt, refs, n, want, WEFT_FOREVER, (bool *)ready), -EINVAL);
	for (unsigned i = 0; i < sizeof ready; i++)
		cr_assert_eq(ready[i], 0x5a, "ready is untouched");
}

Test(wait, bad_counts_duplicates_and_bad_refs_are_refused)
{
	weft *rt = api_open(2), *other = api_open(1);
	weft_ref stale = api_put_i64(rt, 0), a = api_put_i64(rt, 1), b = api_event(rt);
	weft_ref foreign = api_put_i64(other, 1);
	bool ready[4];

	api_release(rt, stale);
	expect_invalid(rt, (const weft_ref[]){ a, b }, 2, 0);
	expect_invalid(rt, (const weft_ref[]){ a, b }, 2, 3);
	expect_invalid(rt, (const weft_ref[]){ a, b, a }, 3, 1);
	expect_invalid(rt, (const weft_ref[]){ b, b }, 2, 1);
	expect_invalid(rt, (const weft_ref[]){ a, WEFT_NONE }, 2, 1);
	expect_invalid(rt, (const weft_ref[]){ a, stale }, 2, 1);
	expect_invalid(rt, (const weft_ref[]){ a, foreign }, 2, 1);
	expect_invalid(rt, NULL, 2, 1);
	expect_invalid(NULL, (const weft_ref[]){ a, b }, 2, 1);
	cr_assert_eq(weft_wait(rt, &a, 1, 1, WEFT_POLL, NULL), -EINVAL);
	cr_assert_eq(weft_wait(rt, NULL, 0, 0, WEFT_FOREVER, NULL), 0);
	cr_assert_eq(weft_wait(rt, &a, 0, 5, WEFT_FOREVER, ready), 0, "an empty list goes first");
	api_release(rt, a);
	cr_assert_eq(weft_event_set(rt, b, NULL, 0), 0);
	api_release(rt, b);
	api_await_no_tasks(rt);
	api_release(other, foreign);
	api_close(other);
	api_close(rt);
}

Test(wait, duplicates_are_found_in_long_lists)
{
	enum { N = 2000 };
	weft *rt = api_open(1);
	weft_ref refs[N + 1];
	static bool ready[N + 1];

	for (int i = 0; i < N; i++)
		refs[i] = api_put_i64(rt, i);
	refs[N] = refs[N / 3];
	cr_assert_eq(weft_wait(rt, refs, N, N, WEFT_FOREVER, ready), N);
	cr_assert_eq(weft_wait(rt, refs, N + 1, 1, WEFT_FOREVER, ready), -EINVAL);
	refs[N] = refs[N - 1];
	cr_assert_eq(weft_wait(rt, refs, N + 1, 1, WEFT_FOREVER, ready), -EINVAL);
	cr_assert_eq(weft_release_many(rt, refs, N), 0);
	api_close(rt);
}

static long resident_pages(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long total = 0, resident = 0;

	API_CHECK(file && fscanf(file, "%ld %ld", &total, &resident) == 2);
	fclose(file);
	return resident;
}

static int waits_in_vain(weft_task *self)
{
	const weft_ref *refs = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	bool ready[3];

	for (uint32_t i = 0; i < api_scaled(1000); i++)
		API_CHECK(weft_wait(rt, refs, 3, 2, weft_now(rt) + 1, ready) == 1);
	return 0;
}

Test(wait, a_million_timed_out_waits_leave_nothing_behind)
{
	weft *rt = api_open(2);
	weft_ref refs[3] = { api_event(rt), api_put_i64(rt, 1), api_event(rt) };
	const uint32_t n = api_scaled(1000000);
	struct weft_view view;
	bool ready[3];
	long before = 0;

	for (uint32_t i = 0; i < n; i++) {
		cr_assert_eq(weft_wait(rt, refs, 3, 3, i % 64 ? WEFT_POLL : 1, ready), 1);
		cr_assert_eq(weft_get(rt, refs[0], i % 64 ? WEFT_POLL : 1, &view), -ETIMEDOUT);
		if (i == n / 10)
			before = resident_pages();
	}
	for (uint32_t i = 0; i < api_scaled(2000); i++) /* these block a little */
		cr_assert_eq(weft_wait(rt, refs, 3, 3, weft_now(rt) + 1000, ready), 1);
	if (!WF_ASAN && !WF_TSAN)
		cr_assert_lt(resident_pages() - before, 512, "two megabytes are no leak per wait");
	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(waits_in_vain, API_POINTER(refs)))), 0);
	cr_assert_eq(weft_event_set(rt, refs[0], NULL, 0), 0);
	cr_assert_eq(weft_event_set(rt, refs[2], NULL, 0), 0);
	cr_assert_eq(weft_wait(rt, refs, 3, 3, WEFT_FOREVER, ready), 3);
	cr_assert_eq(weft_release_many(rt, refs, 3), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct waiters {
	weft *rt;
	weft_ref *refs;
	uint32_t n;
	struct api_count *in;
};

static void *wait_for_all(void *arg)
{
	const struct waiters *w = arg;
	bool *ready = calloc(w->n, sizeof *ready);

	api_add(w->in, 1);
	for (uint32_t want = 1; want <= w->n; want++)
		API_CHECK(weft_wait(w->rt, w->refs, w->n, want, WEFT_FOREVER, ready) == (int)want);
	free(ready);
	return NULL;
}

static int wait_for_all_in_task(weft_task *self)
{
	wait_for_all(api_arg_pointer(self));
	return 0;
}

Test(wait, many_threads_and_tasks_wait_for_the_same_refs)
{
	enum { N = 100 };
	weft *rt = api_open(2);
	weft_ref refs[N], tasks[8];
	struct api_count in = { 0 };
	struct waiters w = { rt, refs, N, &in };
	pthread_t threads[4];

	for (int i = 0; i < N; i++)
		refs[i] = api_event(rt);
	for (int t = 0; t < 4; t++)
		threads[t] = api_thread(wait_for_all, &w);
	for (int t = 0; t < 8; t++)
		tasks[t] = api_submit(rt, WEFT_TASK(wait_for_all_in_task, API_POINTER(&w)));
	api_await_count(&in, 12);
	for (int i = 0; i < N; i++)
		cr_assert_eq(weft_event_set(rt, refs[(i * 37) % N], NULL, 0), 0);
	for (int t = 0; t < 4; t++)
		api_join(threads[t]);
	for (int t = 0; t < 8; t++)
		cr_assert_eq(api_end(rt, tasks[t]), 0);
	cr_assert_eq(weft_release_many(rt, refs, N), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(wait, drains_a_shrinking_list_one_by_one)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(1000);
	weft_ref *refs = calloc(n, sizeof *refs);
	bool *ready = calloc(n, sizeof *ready);
	uint64_t sum = 0;

	for (int64_t i = 0; i < n; i++)
		refs[i] = api_spawn(rt, api_body_identity, &i, sizeof i);
	for (uint32_t left = n; left > 0;) {
		uint32_t kept = 0;

		cr_assert_eq(weft_wait(rt, refs, left, 1, WEFT_FOREVER, ready), 1);
		for (uint32_t i = 0; i < left; i++) {
			if (ready[i])
				sum += (uint64_t)api_take_i64(rt, refs[i]);
			else
				refs[kept++] = refs[i];
		}
		cr_assert_eq(kept, left - 1);
		left = kept;
	}
	cr_assert_eq(sum, (uint64_t)n * (n - 1) / 2);
	free(refs);
	free(ready);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int wait_for_children(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref refs[10];
	bool ready[10];

	for (int64_t i = 0; i < 10; i++)
		refs[i] = api_spawn(rt, api_body_identity, &i, sizeof i);
	API_CHECK(weft_wait(rt, refs, 10, 10, WEFT_FOREVER, ready) == 10);
	return weft_release_many(rt, refs, 10);
}

Test(wait, a_task_waits_for_its_own_children_on_one_worker)
{
	weft *rt = api_open(1);

	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, api_spawn(rt, wait_for_children, NULL, 0)), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}
