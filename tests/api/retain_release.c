/*
 * Goal: counts are exact and misuse is detected: a value lives as long as one count is held, by
 * whoever, and a handle whose last count is gone is dead for ever, also when its cell is reused.
 * Method: counts dropped in every order and by many threads, old handles tried on every function
 * over many reuses, another runtime's handles.
 */
#include "api.h"
#include "test.h"

Test(retain_release, a_value_lives_until_the_last_count_goes)
{
	weft *rt = api_open(2);
	weft_ref ref = api_put_i64(rt, 4);

	for (int i = 0; i < 1000; i++)
		cr_assert_eq(weft_retain(rt, ref), 0);
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(weft_release(rt, ref), 0);
		cr_assert_eq(weft_peek(rt, ref), 1);
	}
	cr_assert_eq(weft_release(rt, ref), 0);
	cr_assert_eq(weft_release(rt, ref), -EINVAL);
	cr_assert_eq(weft_retain(rt, ref), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void expect_dead(weft *rt, weft_ref ref)
{
	struct weft_view view = api_poison_view();
	struct weft_ref_info info = { .struct_size = sizeof info };
	const struct weft_error *error = NULL;
	weft_ref out = api_poison_ref();
	bool ready = true;
	int64_t value;
	weft_cq *cq = NULL;

	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), -EINVAL);
	cr_assert_eq(weft_get_copy(rt, ref, &value, sizeof value), -EINVAL);
	cr_assert_eq(weft_take(rt, ref, &value, sizeof value), -EINVAL);
	cr_assert_eq(weft_get_many(rt, &ref, 1, WEFT_FOREVER, &view, NULL), -EINVAL);
	cr_assert_eq(weft_wait(rt, &ref, 1, 1, WEFT_FOREVER, &ready), -EINVAL);
	cr_assert_eq(weft_wait_all_ready(rt, &ref, 1, 1, WEFT_FOREVER, &ready), -EINVAL);
	cr_assert_eq(weft_peek(rt, ref), -EINVAL);
	cr_assert_eq(weft_retain(rt, ref), -EINVAL);
	cr_assert_eq(weft_release(rt, ref), -EINVAL);
	cr_assert_eq(weft_cancel(rt, ref), -EINVAL);
	cr_assert_eq(weft_join(rt, &ref, 1, 0, &out), -EINVAL);
	cr_assert_eq(weft_event_set(rt, ref, NULL, 0), -EINVAL);
	cr_assert_eq(weft_event_fail(rt, ref, -EIO, ""), -EINVAL);
	cr_assert_eq(weft_ref_error(rt, ref, &error), -EINVAL);
	cr_assert_eq(weft_ref_info(rt, ref, &info), -EINVAL);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(ref)), &out), -EINVAL);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(ref)), &out), -EINVAL);
	cr_assert_eq(weft_cq_create(rt, &cq), 0);
	cr_assert_eq(weft_cq_add(cq, ref, 1), -EINVAL);
	weft_cq_destroy(cq);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert(api_view_untouched(&view));
	cr_assert(ready);
}

Test(retain_release, a_dead_handle_is_refused_by_every_function)
{
	weft *rt = api_open(2), *other = api_open(1);
	weft_ref value = api_put_i64(rt, 1), event = api_event(rt);
	weft_ref task = api_spawn(rt, api_body_nothing, NULL, 0), foreign = api_put_i64(other, 1);

	cr_assert_eq(api_get(rt, task), 0);
	api_release(rt, value);
	api_release(rt, event);
	api_release(rt, task);
	expect_dead(rt, value);
	expect_dead(rt, event);
	expect_dead(rt, task);
	expect_dead(rt, WEFT_NONE);
	expect_dead(rt, foreign);
	expect_dead(rt, (weft_ref){ ~foreign.bits });
	api_release(other, foreign);
	api_await_no_tasks(rt);
	api_close(other);
	api_close(rt);
}

Test(retain_release, a_reused_cell_does_not_answer_to_its_old_handle)
{
	weft *rt = api_open(1);
	const uint32_t n = api_scaled(200000);
	weft_ref first = api_put_i64(rt, 0), old = first;

	api_release(rt, first);
	for (uint32_t i = 0; i < n; i++) {
		/* A task is waited for: until it has ended the engine itself keeps its cell. */
		weft_ref ref = i % 3 == 0 ? api_event(rt)
			: i % 3 == 1      ? api_put_i64(rt, i)
					  : api_spawn(rt, api_body_nothing, NULL, 0);

		cr_assert_neq(ref.bits, old.bits);
		cr_assert_neq(ref.bits, first.bits);
		cr_assert_eq(weft_peek(rt, old), -EINVAL);
		cr_assert_eq(weft_peek(rt, first), -EINVAL);
		cr_assert_eq(weft_release(rt, old), -EINVAL);
		if (i % 3 == 2)
			cr_assert_eq(api_get(rt, ref), 0);
		api_release(rt, ref);
		old = ref;
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(retain_release, a_released_task_still_runs)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };

	for (uint32_t i = 0; i < 1000; i++)
		api_release(rt, api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count))));
	api_await_no_tasks(rt);
	cr_assert_eq(api_read(&count), 1000);
	api_close(rt);
}

Test(retain_release, in_bulk_skips_zero_and_reports_the_first_error_after_the_rest)
{
	weft *rt = api_open(2);
	weft_ref a = api_put_i64(rt, 1), b = api_put_i64(rt, 2), stale = api_put_i64(rt, 3);
	api_release(rt, stale);
	const weft_ref good[] = { a, WEFT_NONE, b, a }, mixed[] = { a, stale, WEFT_NONE, b };

	cr_assert_eq(weft_retain_many(rt, good, 4), 0);
	cr_assert_eq(weft_release_many(rt, good, 4), 0);
	cr_assert_eq(weft_retain_many(rt, mixed, 4), -EINVAL);
	cr_assert_eq(weft_release_many(rt, mixed, 4), -EINVAL);
	cr_assert_eq(weft_peek(rt, a), 1);
	cr_assert_eq(weft_peek(rt, b), 1);
	cr_assert_eq(weft_release_many(rt, mixed, 4), -EINVAL);
	cr_assert_eq(weft_peek(rt, a), -EINVAL, "the others were done");
	cr_assert_eq(weft_peek(rt, b), -EINVAL);
	cr_assert_eq(weft_retain_many(rt, NULL, 0), 0);
	cr_assert_eq(weft_release_many(rt, NULL, 0), 0);
	cr_assert_eq(weft_retain_many(rt, NULL, 1), -EINVAL);
	cr_assert_eq(weft_release_many(rt, NULL, 1), -EINVAL);
	cr_assert_eq(weft_retain_many(NULL, good, 1), -EINVAL);
	cr_assert_eq(weft_release_many(NULL, good, 1), -EINVAL);
	cr_assert_eq(weft_retain(NULL, a), -EINVAL);
	cr_assert_eq(weft_release(NULL, a), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct shared {
	weft *rt;
	weft_ref ref;
};

static void *retain_and_release(void *arg)
{
	const struct shared *shared = arg;
	const uint32_t n = api_scaled(100000);

	for (uint32_t i = 0; i < n; i++) {
		API_CHECK(weft_retain(shared->rt, shared->ref) == 0);
		if (i % 16 == 0)
			API_CHECK(weft_peek(shared->rt, shared->ref) == 1);
		API_CHECK(weft_release(shared->rt, shared->ref) == 0);
	}
	return NULL;
}

static int retain_in_task(weft_task *self)
{
	retain_and_release(api_arg_pointer(self));
	return 0;
}

Test(retain_release, many_threads_and_tasks_share_one_count)
{
	weft *rt = api_open(2);
	struct shared shared = { rt, api_put_i64(rt, 8) };
	pthread_t threads[3];
	weft_ref tasks[3];

	for (int t = 0; t < 3; t++) {
		threads[t] = api_thread(retain_and_release, &shared);
		tasks[t] = api_submit(rt, WEFT_TASK(retain_in_task, API_POINTER(&shared)));
	}
	retain_and_release(&shared);
	for (int t = 0; t < 3; t++) {
		api_join(threads[t]);
		cr_assert_eq(api_end(rt, tasks[t]), 0);
	}
	cr_assert_eq(api_take_i64(rt, shared.ref), 8);
	cr_assert_eq(weft_release(rt, shared.ref), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct handover {
	weft *rt;
	weft_ref refs[1000];
	struct api_count ready;
};

static void *release_what_others_made(void *arg)
{
	struct handover *h = arg;

	for (uint32_t i = 0; i < 1000; i++) {
		api_await_count(&h->ready, i + 1);
		API_CHECK(api_take_i64(h->rt, h->refs[i]) == i);
	}
	return NULL;
}

static int make_refs(weft_task *self)
{
	struct handover *h = api_arg_pointer(self);

	for (uint32_t i = 0; i < 1000; i++) {
		const int64_t value = i;

		h->refs[i] = i % 2 ? api_put_i64(h->rt, i)
				   : api_spawn(h->rt, api_body_identity, &value, sizeof value);
		api_add(&h->ready, 1);
	}
	return 0;
}

Test(retain_release, a_foreign_thread_drops_what_a_worker_made)
{
	static struct handover h;
	weft *rt = api_open(2);

	h.rt = rt;
	pthread_t thread = api_thread(release_what_others_made, &h);
	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(make_refs, API_POINTER(&h)))), 0);
	api_join(thread);
	api_await_no_tasks(rt);
	api_close(rt);
}
