/*
 * Goal: a submitted function runs exactly once with what it was given, from any thread, alone or in
 * bulk; what cannot be submitted is refused with the documented code and leaves nothing behind.
 * Method: counters in bodies, poisoned outputs, and the count of live cells at the end.
 */
#include "api.h"
#include "test.h"

Test(submit, a_body_runs_once_and_its_value_comes_back)
{
	weft *rt = api_open(2);
	int64_t value = 42;
	weft_ref ref = api_poison_ref();

	cr_assert_eq(weft_spawn(rt, api_body_identity, &value, sizeof value, &ref), 0);
	value = 7; /* the argument was copied */
	cr_assert_eq(api_take_i64(rt, ref), 42);
	api_close(rt);
}

Test(submit, ten_thousand_tasks_run_once_each)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	const uint32_t n = api_scaled(10000);
	weft_ref *refs = calloc(n, sizeof *refs);

	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_read(&count), n);
	api_await_no_tasks(rt);
	free(refs);
	api_close(rt);
}

Test(submit, fire_and_forget_runs_before_a_draining_close)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	void *arg = &count;

	for (int i = 0; i < 1000; i++)
		cr_assert_eq(weft_spawn(rt, api_body_count, &arg, sizeof arg, NULL), 0);
	api_close(rt);
	cr_assert_eq(api_read(&count), 1000);
}

static int submit_child(weft_task *self)
{
	weft_ref child = WEFT_NONE;
	int64_t *value = weft_task_arg(self, NULL);

	API_CHECK(weft_spawn(weft_task_runtime(self), api_body_identity, value, sizeof *value,
	                     &child) == 0);
	return weft_return(self, &child, sizeof child);
}

Test(submit, a_child_outlives_its_parent_and_its_ref_travels_as_a_value)
{
	weft *rt = api_open(2);
	const int64_t value = -5;
	weft_ref parent = api_spawn(rt, submit_child, &value, sizeof value), child;

	cr_assert_eq(weft_take(rt, parent, &child, sizeof child), (int64_t)sizeof child);
	cr_assert_eq(api_take_i64(rt, child), -5);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct tree {
	struct api_count *leaves;
	int64_t depth;
};

static int submit_tree(weft_task *self)
{
	const struct tree *arg = weft_task_arg(self, NULL);
	const struct tree down = { arg->leaves, arg->depth - 1 };

	if (arg->depth == 0) {
		api_add(arg->leaves, 1);
		return 0;
	}
	for (int i = 0; i < 2; i++)
		API_CHECK(weft_spawn(weft_task_runtime(self), submit_tree, &down, sizeof down,
		                     NULL) == 0);
	return 0;
}

Test(submit, forgotten_descendants_to_any_depth_all_run)
{
	weft *rt = api_open(2);
	struct api_count leaves = { 0 };
	const int64_t depth = WF_TSAN ? 8 : 12;
	const struct tree root = { &leaves, depth };

	cr_assert_eq(weft_spawn(rt, submit_tree, &root, sizeof root, NULL), 0);
	api_close(rt);
	cr_assert_eq(api_read(&leaves), 1u << depth);
}

Test(submit, many_calls_at_once_give_refs_in_order)
{
	enum { N = 500 };
	weft *rt = api_open(2);
	static int64_t values[N];
	static struct weft_call calls[N];
	static weft_ref refs[N];

	for (int i = 0; i < N; i++) {
		values[i] = i * 3;
		calls[i] = (struct weft_call){ .fn = api_body_identity,
			                       .arg = &values[i],
			                       .arg_size = sizeof values[i] };
	}
	cr_assert_eq(weft_submit_many(rt, calls, N, refs), N);
	for (int i = 0; i < N; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), i * 3);
	cr_assert_eq(weft_submit_many(rt, NULL, 0, NULL), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(submit, many_calls_may_be_forgotten)
{
	enum { N = 300 };
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	void *arg = &count;
	static struct weft_call calls[N];

	for (int i = 0; i < N; i++)
		calls[i] = (struct weft_call){ .fn = api_body_count,
			                       .arg = &arg,
			                       .arg_size = sizeof arg };
	cr_assert_eq(weft_submit_many(rt, calls, N, NULL), N);
	api_close(rt);
	cr_assert_eq(api_read(&count), N);
}

Test(submit, many_calls_stop_at_the_first_bad_one)
{
	weft *rt = api_open(2);
	const int64_t value = 9;
	struct weft_call calls[4];
	weft_ref refs[4];

	for (int i = 0; i < 4; i++) {
		calls[i] = (struct weft_call){ .fn = api_body_identity,
			                       .arg = &value,
			                       .arg_size = sizeof value };
		refs[i] = api_poison_ref();
	}
	calls[2].fn = NULL;
	cr_assert_eq(weft_submit_many(rt, calls, 4, refs), 2);
	cr_assert_eq(refs[2].bits, API_POISON);
	cr_assert_eq(refs[3].bits, API_POISON);
	cr_assert_eq(api_take_i64(rt, refs[0]), 9);
	cr_assert_eq(api_take_i64(rt, refs[1]), 9);
	refs[0] = api_poison_ref();
	calls[0].fn = NULL;
	cr_assert_eq(weft_submit_many(rt, calls, 4, refs), -EINVAL);
	cr_assert_eq(refs[0].bits, API_POISON);
	calls[0].fn = api_body_identity;
	calls[0].opts = WEFT_TASK_OPTIONS(.n_outputs = 2);
	cr_assert_eq(weft_submit_many(rt, calls, 4, refs), -EINVAL, "one output each");
	cr_assert_eq(refs[0].bits, API_POISON);
	cr_assert_eq(weft_submit_many(rt, NULL, 4, refs), -EINVAL);
	cr_assert_eq(weft_submit_many(NULL, calls + 1, 1, refs), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void expect_refused(weft *rt, const struct weft_call *call, int status)
{
	weft_ref out = api_poison_ref();

	cr_assert_eq(weft_submit(rt, call, &out), status);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_eq(weft_submit_call(rt, call, &out), status);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_eq(weft_submit(rt, call, NULL), status);
}

Test(submit, bad_calls_are_refused_with_outputs_untouched)
{
	weft *rt = api_open(2);
	char big[WEFT_ARG_MAX + 1] = { 0 };
	weft_ref out = api_poison_ref();
	weft_ref stale = api_put_i64(rt, 1);

	api_release(rt, stale);
	expect_refused(rt, NULL, -EINVAL);
	expect_refused(rt, &(const struct weft_call){ 0 }, -EINVAL);
	expect_refused(NULL, WEFT_TASK(api_body_nothing), -EINVAL);
	expect_refused(rt, WEFT_TASK(NULL), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, .arg = big, .arg_size = sizeof big),
	               -EMSGSIZE);
	expect_refused(rt,
	               &(const struct weft_call){
			       .fn = api_body_nothing, .arg = big, .arg_size = UINT32_MAX },
	               -EMSGSIZE);
	expect_refused(rt, WEFT_TASK(api_body_nothing, .arg_size = 8), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, .n_inputs = 1), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, .n_after = 1), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(WEFT_NONE)), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(WEFT_NONE)), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(stale)), -EINVAL);
	expect_refused(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(stale)), -EINVAL);
	cr_assert_eq(weft_spawn(rt, NULL, NULL, 0, &out), -EINVAL);
	cr_assert_eq(weft_spawn(NULL, api_body_nothing, NULL, 0, &out), -EINVAL);
	cr_assert_eq(weft_spawn(rt, api_body_nothing, NULL, 1, &out), -EINVAL);
	cr_assert_eq(weft_spawn(rt, api_body_nothing, big, sizeof big, &out), -EMSGSIZE);
	cr_assert_eq(weft_spawn(rt, api_body_nothing, big, SIZE_MAX, &out), -EMSGSIZE);
	cr_assert_eq(out.bits, API_POISON);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(submit, a_bad_input_among_good_ones_leaves_the_good_ones_alone)
{
	weft *rt = api_open(2);
	weft_ref good = api_put_i64(rt, 4), stale = api_put_i64(rt, 1), event = api_event(rt);

	api_release(rt, stale);
	expect_refused(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(good, event, good, stale)), -EINVAL);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	cr_assert_eq(weft_retain(rt, good), 0);
	api_release(rt, good);
	cr_assert_eq(api_take_i64(rt, good), 4);
	cr_assert_eq(weft_peek(rt, good), -EINVAL, "no count of a refused submit is left");
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(submit, a_full_table_refuses_and_recovers)
{
	enum { MAX = 8192 };
	weft *rt = NULL;
	static weft_ref refs[MAX + 1];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .tasks_max = MAX)), 0);
	for (int round = 0; round < 3; round++) {
		weft_ref out = api_poison_ref();
		uint32_t n = 0;
		int status = 0;

		while (n <= MAX && (status = weft_put(rt, &n, sizeof n, &refs[n])) == 0)
			n++;
		cr_assert_eq(status, -ENOMEM);
		cr_assert_leq(n, MAX);
		cr_assert_geq(n, MAX / 2, "most of the table can be used: %u", n);
		cr_assert_eq(weft_spawn(rt, api_body_nothing, NULL, 0, &out), -ENOMEM);
		cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing), &out), -ENOMEM);
		cr_assert_eq(weft_event_create(rt, &out), -ENOMEM);
		cr_assert_eq(weft_join(rt, refs, 2, 0, &out), -ENOMEM);
		cr_assert_eq(out.bits, API_POISON);
		cr_assert_eq(weft_release_many(rt, refs, n), 0);
		api_await_no_tasks(rt);
		cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	}
	api_close(rt);
}

struct host {
	weft *rt;
	struct api_count *count;
};

static void *host_submits(void *arg)
{
	const struct host *host = arg;
	const uint32_t n = api_scaled(5000);
	void *count = host->count;

	for (uint32_t i = 0; i < n; i++) {
		const int64_t value = i;

		API_CHECK(api_take_i64(host->rt,
		                       api_spawn(host->rt, api_body_identity, &value,
		                                 sizeof value)) == value);
		API_CHECK(weft_spawn(host->rt, api_body_count, &count, sizeof count, NULL) == 0);
	}
	return NULL;
}

Test(submit, eight_host_threads_submit_and_take_at_once)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	struct host host = { rt, &count };
	pthread_t threads[8];

	for (int i = 0; i < 8; i++)
		threads[i] = api_thread(host_submits, &host);
	for (int i = 0; i < 8; i++)
		api_join(threads[i]);
	api_close(rt);
	cr_assert_eq(api_read(&count), 8 * api_scaled(5000));
}

struct foreign {
	weft *rt;
	weft_ref refs[64];
};

static void *foreign_exits(void *arg)
{
	struct foreign *foreign = arg;

	for (int64_t i = 0; i < 64; i++)
		foreign->refs[i] = i % 2 ? api_put_i64(foreign->rt, i)
					 : api_spawn(foreign->rt, api_body_identity, &i, sizeof i);
	return NULL;
}

Test(submit, refs_outlive_the_foreign_thread_that_made_them)
{
	weft *rt = api_open(2);
	static struct foreign foreign[20];

	for (int t = 0; t < 20; t++) {
		foreign[t].rt = rt;
		api_join(api_thread(foreign_exits, &foreign[t]));
	}
	for (int t = 0; t < 20; t++)
		for (int64_t i = 0; i < 64; i++)
			cr_assert_eq(api_take_i64(rt, foreign[t].refs[i]), i);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int see_write(weft_task *self)
{
	const int64_t *shared = api_arg_pointer(self);

	return weft_return(self, shared, sizeof *shared);
}

Test(submit, what_was_written_before_is_visible_to_the_body)
{
	weft *rt = api_open(2);
	int64_t shared = 0; /* plain: the submit and the get order it */

	for (int64_t i = 1; i <= 2000; i++) {
		shared = i;
		cr_assert_eq(
			api_take_i64(rt,
		                     api_submit(rt, WEFT_TASK(see_write, API_POINTER(&shared)))),
			i);
	}
	api_close(rt);
}

enum { MIXED = 3000 };

/* Inside a task, where a batch goes the short way: plain calls, and others between them. */
static int body_submits_a_mixture(weft_task *self)
{
	static const struct weft_task_options named = { .struct_size = sizeof named,
		                                        .name = "named" };
	static const int64_t numbers[2] = { 0, 0 };
	weft *rt = weft_task_runtime(self);
	struct weft_call *calls = calloc(MIXED, sizeof *calls);
	weft_ref *refs = calloc(MIXED, sizeof *refs);
	int64_t *args = calloc(MIXED, sizeof *args), sum = 0;

	API_CHECK(calls && refs && args);
	for (int64_t i = 0; i < MIXED; i++) {
		args[i] = i;
		calls[i] = (struct weft_call){ .fn = api_body_identity,
			                       .arg = &args[i],
			                       .arg_size = sizeof *args,
			                       .opts = i % 7 == 3 ? &named : NULL };
	}
	API_CHECK(weft_submit_many(rt, calls, MIXED, refs) == MIXED);
	for (int64_t i = 0; i < MIXED; i++) {
		int64_t value = -1;

		API_CHECK(weft_take(rt, refs[i], &value, sizeof value) == sizeof value);
		API_CHECK(value == i);
		sum += value;
	}
	API_CHECK(weft_submit_many(rt, calls, 100, NULL) == 100);
	/* The first error ends it: those before are submitted, the rest is untouched. */
	memset(refs, 0x5a, MIXED * sizeof *refs);
	calls[20].arg = NULL;
	API_CHECK(weft_submit_many(rt, calls, 40, refs) == 20);
	API_CHECK(refs[20].bits == API_POISON);
	API_CHECK(weft_release_many(rt, refs, 20) == 0);
	calls[0] = (struct weft_call){ .fn = NULL, .arg = numbers, .arg_size = 16 };
	API_CHECK(weft_submit_many(rt, calls, 40, refs) == -EINVAL);
	free(calls);
	free(refs);
	free(args);
	return weft_return(self, &sum, sizeof sum);
}

Test(submit, many_in_a_task_are_each_submitted_once_whatever_they_are)
{
	for (uint32_t workers = 1; workers <= 3; workers++) {
		weft *rt = api_open(workers);

		cr_assert_eq(api_take_i64(rt, api_spawn(rt, body_submits_a_mixture, NULL, 0)),
		             (int64_t)MIXED * (MIXED - 1) / 2);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}
