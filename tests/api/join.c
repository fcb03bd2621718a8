/*
 * Goal: one ref stands for many: ready when all are, failed as soon as one is.
 * Method: joins over events completed in any order, failing and ignoring ones, joins as inputs.
 */
#include "api.h"
#include "test.h"

Test(join, is_ready_when_all_are_and_empty)
{
	enum { N = 50 };
	weft *rt = api_open(2);
	weft_ref events[N], all = WEFT_NONE;
	struct weft_view view = api_poison_view();

	for (int i = 0; i < N; i++)
		events[i] = api_event(rt);
	cr_assert_eq(weft_join(rt, events, N, WEFT_INPUT_FAIL_FAST, &all), 0);
	for (int i = 0; i < N; i++) {
		cr_assert_eq(weft_peek(rt, all), 0);
		cr_assert_eq(weft_event_set(rt, events[i * 17 % N], NULL, 0), 0);
	}
	cr_assert_eq(weft_get(rt, all, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 0);
	api_release(rt, all);
	cr_assert_eq(weft_release_many(rt, events, N), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(join, of_nothing_and_of_ready_refs_is_ready)
{
	weft *rt = api_open(2);
	weft_ref a = api_put_i64(rt, 1), all = WEFT_NONE;
	const weft_ref twice[] = { a, a };

	cr_assert_eq(weft_join(rt, NULL, 0, WEFT_INPUT_FAIL_FAST, &all), 0);
	cr_assert_eq(api_end(rt, all), 0);
	cr_assert_eq(weft_join(rt, twice, 2, WEFT_INPUT_FAIL_FAST, &all), 0);
	api_release(rt, a);
	cr_assert_eq(api_end(rt, all), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(join, fails_as_soon_as_one_is_known_to_have_failed)
{
	weft *rt = api_open(2);
	weft_ref pending = api_event(rt), late = api_event(rt), all = WEFT_NONE;
	const weft_ref refs[] = { pending, late };
	const struct weft_error *error = NULL;

	cr_assert_eq(weft_join(rt, refs, 2, WEFT_INPUT_FAIL_FAST, &all), 0);
	cr_assert_eq(weft_event_fail(rt, late, -EIO, "late"), 0);
	cr_assert_eq(api_get(rt, all), WEFT_EDEP);
	cr_assert_eq(weft_ref_error(rt, all, &error), 0);
	cr_assert_not_null(error->cause);
	cr_assert_eq(error->cause->code, -EIO);
	cr_assert_str_eq(error->cause->text, "late");
	cr_assert_eq(weft_event_set(rt, pending, NULL, 0), 0);
	cr_assert_eq(api_end(rt, all), WEFT_EDEP);
	api_release(rt, pending);
	api_release(rt, late);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(join, never_fails_when_told_to_ignore)
{
	weft *rt = api_open(2);
	weft_ref a = api_event(rt), b = api_event(rt), all = WEFT_NONE;
	const weft_ref refs[] = { a, b };

	cr_assert_eq(weft_join(rt, refs, 2, WEFT_INPUT_IGNORE, &all), 0);
	cr_assert_eq(weft_event_fail(rt, a, -EIO, "x"), 0);
	cr_assert_eq(weft_peek(rt, all), 0);
	cr_assert_eq(weft_event_set(rt, b, NULL, 0), 0);
	cr_assert_eq(api_end(rt, all), 0);
	api_release(rt, a);
	api_release(rt, b);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(join, makes_a_barrier_between_two_rounds)
{
	enum { P = 200, C = 200 };
	weft *rt = api_open(2);
	struct api_count first = { 0 };
	weft_ref producers[P], consumers[C], barrier = WEFT_NONE, done = WEFT_NONE;

	for (int i = 0; i < P; i++)
		producers[i] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&first)));
	cr_assert_eq(weft_join(rt, producers, P, WEFT_INPUT_FAIL_FAST, &barrier), 0);
	cr_assert_eq(weft_release_many(rt, producers, P), 0);
	for (int i = 0; i < C; i++)
		consumers[i] = api_submit(
			rt, WEFT_TASK(api_body_count, API_POINTER(&first), WEFT_AFTER(barrier)));
	cr_assert_eq(weft_join(rt, consumers, C, WEFT_INPUT_FAIL_FAST, &done), 0);
	cr_assert_eq(api_get(rt, barrier), 0);
	cr_assert_geq(api_read(&first), P);
	cr_assert_eq(api_end(rt, done), 0);
	cr_assert_eq(api_read(&first), P + C);
	cr_assert_eq(weft_release_many(rt, consumers, C), 0);
	api_release(rt, barrier);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(join, of_a_hundred_thousand)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(100000);
	weft_ref *refs = calloc(n, sizeof *refs), all = WEFT_NONE;
	struct api_count count = { 0 };

	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count)));
	cr_assert_eq(weft_join(rt, refs, n, WEFT_INPUT_FAIL_FAST, &all), 0);
	cr_assert_eq(weft_release_many(rt, refs, n), 0);
	cr_assert_eq(api_end(rt, all), 0);
	cr_assert_eq(api_read(&count), n);
	free(refs);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(join, bad_input_is_refused_and_holds_nothing)
{
	weft *rt = api_open(2);
	weft_ref out = api_poison_ref(), good = api_put_i64(rt, 1), event = api_event(rt);
	const weft_ref refs[] = { good, event, WEFT_NONE };

	cr_assert_eq(weft_join(rt, refs, 3, WEFT_INPUT_FAIL_FAST, &out), -EINVAL);
	cr_assert_eq(weft_join(rt, NULL, 3, WEFT_INPUT_FAIL_FAST, &out), -EINVAL);
	cr_assert_eq(weft_join(rt, refs, 2, 99, &out), -EINVAL);
	cr_assert_eq(weft_join(rt, refs, 2, -1, &out), -EINVAL);
	cr_assert_eq(weft_join(rt, refs, 2, WEFT_INPUT_FAIL_FAST, NULL), -EINVAL);
	cr_assert_eq(weft_join(NULL, refs, 2, WEFT_INPUT_FAIL_FAST, &out), -EINVAL);
	cr_assert_eq(out.bits, API_POISON);
	api_release(rt, good);
	cr_assert_eq(weft_peek(rt, good), -EINVAL, "no count was kept");
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}
