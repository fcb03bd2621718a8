/*
 * Goal: an event is a ref that any thread completes once, with a value or an error.
 * Method: values over the size borders, races of completers, dependents and waiters of every kind.
 */
#include "api.h"
#include "test.h"

Test(event, a_set_event_has_its_value)
{
	static const uint32_t sizes[] = { 0, 1, 16, 32, 33, 64, 65, 4096, 1 << 20 };
	weft *rt = api_open(2);
	unsigned char *bytes = malloc(1 << 20), *copy = malloc(1 << 20);

	for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
		weft_ref event = api_event(rt);

		cr_assert_eq(weft_peek(rt, event), 0);
		memset(bytes, (int)s + 1, sizes[s]);
		cr_assert_eq(weft_event_set(rt, event, bytes, sizes[s]), 0);
		memset(bytes, 0, sizes[s]);
		cr_assert_eq(weft_peek(rt, event), 1);
		cr_assert_eq(weft_take(rt, event, copy, 1 << 20), sizes[s]);
		for (uint32_t i = 0; i < sizes[s]; i++)
			cr_assert_eq(copy[i], s + 1);
	}
	free(bytes);
	free(copy);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(event, completes_once)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	const int64_t value = 3, other = 4;

	cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
	cr_assert_eq(weft_event_set(rt, event, &other, sizeof other), -EALREADY);
	cr_assert_eq(weft_event_fail(rt, event, -EIO, "late"), -EALREADY);
	cr_assert_eq(api_take_i64(rt, event), 3);
	event = api_event(rt);
	cr_assert_eq(weft_event_fail(rt, event, -EIO, "first"), 0);
	cr_assert_eq(weft_event_set(rt, event, &other, sizeof other), -EALREADY);
	cr_assert_lt(api_end(rt, event), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(event, a_failed_event_carries_code_and_text)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(event)));
	const struct weft_error *error = NULL;
	char text[16] = "disk is gone";

	cr_assert_eq(weft_event_fail(rt, event, -EIO, text), 0);
	text[0] = 'X'; /* the text was copied */
	cr_assert_eq(weft_ref_error(rt, event, &error), 0);
	cr_assert_eq(error->code, -EIO);
	cr_assert_str_eq(error->text, "disk is gone");
	cr_assert_eq(error->status, api_get(rt, event));
	cr_assert_eq(api_state(rt, event), WEFT_REF_FAILED);
	cr_assert_eq(api_get(rt, ref), WEFT_EDEP);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_not_null(error->cause);
	cr_assert_eq(error->cause->code, -EIO);
	cr_assert_str_eq(error->cause->text, "disk is gone");
	api_release(rt, event);
	api_release(rt, ref);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(event, fails_with_a_class_of_the_table_as_that_class)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	const struct weft_error *error = NULL;

	cr_assert_eq(weft_event_fail(rt, event, WEFT_EDEVICE, NULL), 0);
	cr_assert_eq(api_get(rt, event), WEFT_EDEVICE);
	cr_assert_eq(weft_ref_error(rt, event, &error), 0);
	cr_assert_eq(error->code, WEFT_EDEVICE);
	cr_assert_not_null(error->text, "no text is an empty text");
	api_release(rt, event);
	api_close(rt);
}

Test(event, only_events_can_be_set)
{
	weft *rt = api_open(2);
	weft_ref value = api_put_i64(rt, 2), task = api_spawn(rt, api_body_nothing, NULL, 0);
	weft_ref event = api_event(rt);

	cr_assert_eq(api_get(rt, task), 0);
	cr_assert_eq(weft_event_set(rt, value, NULL, 0), -EINVAL);
	cr_assert_eq(weft_event_fail(rt, value, -EIO, "x"), -EINVAL);
	cr_assert_eq(weft_event_set(rt, task, NULL, 0), -EINVAL);
	cr_assert_eq(weft_event_set(rt, WEFT_NONE, NULL, 0), -EINVAL);
	cr_assert_eq(weft_event_set(NULL, event, NULL, 0), -EINVAL);
	cr_assert_eq(weft_event_set(rt, event, NULL, 8), -EINVAL);
	cr_assert_eq(weft_event_fail(NULL, event, -EIO, "x"), -EINVAL);
	cr_assert_eq(weft_peek(rt, event), 0, "a refused set leaves it pending");
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), -EINVAL);
	api_release(rt, task);
	cr_assert_eq(api_take_i64(rt, value), 2);
	cr_assert_eq(weft_event_create(rt, NULL), -EINVAL);
	cr_assert_eq(weft_event_create(NULL, &event), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct race {
	weft *rt;
	weft_ref *events;
	uint32_t n;
	struct api_count *wins;
	int64_t who;
};

static void *race_to_set(void *arg)
{
	const struct race *race = arg;

	for (uint32_t i = 0; i < race->n; i++) {
		const int status =
			weft_event_set(race->rt, race->events[i], &race->who, sizeof race->who);

		API_CHECK(status == 0 || status == -EALREADY);
		if (status == 0)
			api_add(race->wins, 1);
		struct weft_view view;
		API_CHECK(weft_get(race->rt, race->events[i], WEFT_FOREVER, &view) == 0);
	}
	return NULL;
}

Test(event, of_racing_completers_exactly_one_wins)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(20000);
	weft_ref *events = calloc(n, sizeof *events);
	struct api_count wins = { 0 };
	struct race race[4];
	pthread_t threads[4];

	for (uint32_t i = 0; i < n; i++)
		events[i] = api_event(rt);
	for (int t = 0; t < 4; t++) {
		race[t] = (struct race){ rt, events, n, &wins, t };
		threads[t] = api_thread(race_to_set, &race[t]);
	}
	for (int t = 0; t < 4; t++)
		api_join(threads[t]);
	cr_assert_eq(api_read(&wins), n);
	for (uint32_t i = 0; i < n; i++) {
		const int64_t who = api_take_i64(rt, events[i]);

		cr_assert(who >= 0 && who < 4);
	}
	free(events);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void *host_waits(void *arg)
{
	const struct race *race = arg;

	for (uint32_t i = 0; i < race->n; i++) {
		int64_t value = -1;

		API_CHECK(weft_get_copy(race->rt, race->events[i], &value, sizeof value) == 8);
		API_CHECK(value == (int64_t)i);
	}
	return NULL;
}

static int task_waits(weft_task *self)
{
	host_waits(api_arg_pointer(self));
	return 0;
}

Test(event, wakes_every_waiting_host_thread_and_task)
{
	weft *rt = api_open(2);
	const uint32_t n = api_scaled(2000);
	weft_ref *events = calloc(n, sizeof *events), tasks[16];
	struct race race = { rt, events, n, NULL, 0 };
	pthread_t threads[4];

	for (uint32_t i = 0; i < n; i++)
		events[i] = api_event(rt);
	for (int t = 0; t < 16; t++)
		tasks[t] = api_submit(rt, WEFT_TASK(task_waits, API_POINTER(&race)));
	for (int t = 0; t < 4; t++)
		threads[t] = api_thread(host_waits, &race);
	for (int64_t i = 0; i < n; i++)
		cr_assert_eq(weft_event_set(rt, events[i], &i, sizeof i), 0);
	for (int t = 0; t < 4; t++)
		api_join(threads[t]);
	for (int t = 0; t < 16; t++)
		cr_assert_eq(api_end(rt, tasks[t]), 0);
	cr_assert_eq(weft_release_many(rt, events, n), 0);
	free(events);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(event, an_event_nobody_completes_can_be_released)
{
	weft *rt = api_open(2);

	for (int i = 0; i < 1000; i++)
		api_release(rt, api_event(rt));
	api_await_no_tasks(rt);
	api_close(rt);
}
