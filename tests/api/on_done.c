/*
 * Goal: a callback runs once with the ref and its status, also when the ref is done already.
 * Method: counters per callback, refs released before they are done, bad input.
 */
#include "api.h"
#include "test.h"

struct done {
	struct api_count calls;
	weft_ref ref;
	int status;
};

static void note(void *arg, weft_ref ref, int status)
{
	struct done *done = arg;

	done->ref = ref;
	done->status = status;
	api_add(&done->calls, 1);
}

Test(on_done, runs_once_for_every_outcome)
{
	weft *rt = api_open(2);
	const int64_t code = -2;
	weft_ref event = api_event(rt);
	weft_ref refs[4] = { api_put_i64(rt, 1), api_spawn(rt, api_body_fail, &code, sizeof code),
		             api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event))),
		             event };
	const int expected[4] = { 0, WEFT_ETASK, -ECANCELED, 0 };
	struct done done[4] = { 0 };

	for (int i = 0; i < 4; i++)
		cr_assert_eq(weft_on_done(rt, refs[i], note, &done[i]), 0);
	cr_assert_eq(weft_cancel(rt, refs[2]), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	for (int i = 0; i < 4; i++) {
		api_await_count(&done[i].calls, 1);
		cr_assert_eq(done[i].status, expected[i]);
		cr_assert_eq(done[i].ref.bits, refs[i].bits);
	}
	cr_assert_eq(weft_release_many(rt, refs, 4), 0);
	api_await_no_tasks(rt);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(api_read(&done[i].calls), 1);
	api_close(rt);
}

Test(on_done, the_ref_is_kept_until_the_callback_ran)
{
	weft *rt = api_open(2);
	struct done a = { 0 }, b = { 0 };

	for (uint32_t i = 1; i <= 1000; i++) {
		weft_ref ref = api_spawn(rt, api_body_nothing, NULL, 0);

		cr_assert_eq(weft_on_done(rt, ref, note, &a), 0);
		cr_assert_eq(weft_on_done(rt, ref, note, &b), 0);
		api_release(rt, ref);
		api_await_count(&a.calls, i);
		api_await_count(&b.calls, i);
	}
	api_await_no_tasks(rt);
	cr_assert_eq(api_read(&a.calls), 1000);
	cr_assert_eq(api_read(&b.calls), 1000);
	api_close(rt);
}

struct spawner {
	weft *rt;
	struct api_count *count;
};

static void spawns(void *arg, weft_ref ref, int status)
{
	const struct spawner *spawner = arg;
	void *count = spawner->count;

	(void)ref;
	(void)status;
	API_CHECK(weft_spawn(spawner->rt, api_body_count, &count, sizeof count, NULL) == 0);
}

Test(on_done, a_callback_may_submit)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	struct spawner spawner = { rt, &count };

	for (int i = 0; i < 200; i++) {
		weft_ref ref = api_spawn(rt, api_body_nothing, NULL, 0);

		cr_assert_eq(weft_on_done(rt, ref, spawns, &spawner), 0);
		api_release(rt, ref);
	}
	api_await_count(&count, 200);
	api_close(rt);
	cr_assert_eq(api_read(&count), 200);
}

Test(on_done, pending_callbacks_run_as_cancelled_when_the_runtime_closes)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
	struct done done = { 0 };

	cr_assert_eq(weft_on_done(rt, ref, note, &done), 0);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_eq(api_read(&done.calls), 1);
	cr_assert_eq(done.status, -ECANCELED);
}

Test(on_done, bad_input_is_refused)
{
	weft *rt = api_open(1), *other = api_open(1);
	weft_ref good = api_put_i64(rt, 1), stale = api_put_i64(rt, 1),
		 foreign = api_put_i64(other, 1);
	struct done done = { 0 };

	api_release(rt, stale);
	cr_assert_eq(weft_on_done(rt, good, NULL, &done), -EINVAL);
	cr_assert_eq(weft_on_done(NULL, good, note, &done), -EINVAL);
	cr_assert_eq(weft_on_done(rt, WEFT_NONE, note, &done), -EINVAL);
	cr_assert_eq(weft_on_done(rt, stale, note, &done), -EINVAL);
	cr_assert_eq(weft_on_done(rt, foreign, note, &done), -EINVAL);
	api_release(rt, good);
	api_await_no_tasks(rt);
	api_release(other, foreign);
	api_close(other);
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&done.calls), 0);
}
