/*
 * Goal: a failure that nobody looks at is logged once, one that somebody was told of never.
 * Method: failing tasks whose refs are read in every way there is, or in none; a log callback
 * that counts its lines.
 */
#include "api.h"
#include "test.h"

struct heard {
	pthread_mutex_t lock;
	uint32_t lines;
	char task[64], text[512];
	uint32_t attempt;
	int level;
};

static struct heard heard = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void hear(void *arg, const struct weft_log_record *record)
{
	struct heard *h = arg;

	if (record->level > WEFT_LOG_WARN)
		return;
	pthread_mutex_lock(&h->lock);
	h->lines++;
	h->level = record->level;
	h->attempt = record->attempt;
	snprintf(h->task, sizeof h->task, "%s", record->task);
	snprintf(h->text, sizeof h->text, "%s", record->text);
	pthread_mutex_unlock(&h->lock);
}

static weft *open_heard(void)
{
	weft *rt = NULL;

	heard.lines = 0;
	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 2, .log = hear, .log_arg = &heard,
	                                 .bind = WEFT_BIND_NONE)) == 0);
	return rt;
}

/* Close when all refs are gone: exactly `lines` were logged. */
static void close_heard(weft *rt, uint32_t lines)
{
	api_await_no_tasks(rt);
	api_close(rt);
	cr_assert_eq(heard.lines, lines, "%u lines, last: %s", heard.lines, heard.text);
}

static int body_fails(weft_task *self)
{
	return weft_fail(self, -71, "on purpose");
}

static weft_ref failing(weft *rt)
{
	return api_submit(rt, WEFT_TASK(body_fails));
}

static void await_end(weft *rt, weft_ref ref)
{
	bool ready = false;

	cr_assert_eq(weft_wait(rt, &ref, 1, 1, WEFT_FOREVER, &ready), 1);
}

Test(unhandled, a_failure_that_is_dropped_unread_is_logged_once_with_its_task)
{
	for (int waits = 0; waits < 2; waits++) {
		weft *rt = open_heard();
		weft_ref ref = failing(rt);

		/* That it is ready, and no more, is what a wait tells. */
		if (waits)
			await_end(rt, ref);
		cr_assert_eq(weft_retain(rt, ref), 0);
		api_release(rt, ref);
		api_release(rt, ref);
		close_heard(rt, 1);
		cr_assert_eq(heard.level, WEFT_LOG_ERROR);
		cr_assert_eq(heard.attempt, 1);
		cr_assert_str_eq(heard.task, "body_fails");
		cr_assert_not_null(strstr(heard.text, "on purpose"));
		cr_assert_not_null(strstr(heard.text, "code -71"));
		cr_assert_not_null(strstr(heard.text, "unhandled.c:"));
	}
}

Test(unhandled, fire_and_forget_has_nobody_who_could_look)
{
	weft *rt = open_heard();

	cr_assert_eq(weft_spawn(rt, body_fails, NULL, 0, NULL), 0);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(body_fails,
	                              .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_NONE)),
	                    NULL),
		0);
	close_heard(rt, 2);
}

static int body_told(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input_count(self) == 0 || weft_input(self, 0, &view) == WEFT_ETASK);
	return 0;
}

static void on_done(void *arg, weft_ref ref, int status)
{
	(void)ref;
	API_CHECK(status == WEFT_ETASK);
	api_add(arg, 1);
}

/* Learn of the failure in the k-th way; false: there are no more. */
static bool learn(weft *rt, weft_ref ref, int how)
{
	struct weft_ref_info info = { .struct_size = sizeof info };
	static const struct weft_task_options as_value = { .struct_size = sizeof as_value,
		                                           .on_input_error = WEFT_INPUT_AS_VALUE };
	static const struct weft_task_options ignored = { .struct_size = sizeof ignored,
		                                          .on_input_error = WEFT_INPUT_IGNORE };
	const struct weft_error *error;
	struct weft_cq_item item;
	struct api_count count = { 0 };
	struct weft_view view;
	weft_cq *cq;

	switch (how) {
	case 0:
		cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), WEFT_ETASK);
		return true;
	case 1:
		cr_assert_eq(weft_get_copy(rt, ref, NULL, 0), WEFT_ETASK);
		return true;
	case 2:
		cr_assert_eq(weft_get_many(rt, &ref, 1, WEFT_FOREVER, &view, NULL), WEFT_ETASK);
		return true;
	case 3:
		await_end(rt, ref);
		cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
		return true;
	case 4:
		await_end(rt, ref);
		cr_assert_eq(weft_ref_info(rt, ref, &info), 0);
		return true;
	case 5:
		cr_assert_eq(weft_cq_create(rt, &cq), 0);
		cr_assert_eq(weft_cq_add(cq, ref, 1), 0);
		cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
		weft_cq_destroy(cq);
		return true;
	case 6:
		cr_assert_eq(weft_on_done(rt, ref, on_done, &count), 0);
		api_await_count(&count, 1);
		return true;
	case 7:
		cr_assert_eq(api_end(rt,
		                     api_submit(rt,
		                                WEFT_TASK(body_told, WEFT_INPUTS(ref),
		                                          .opts = &as_value))),
		             0);
		return true;
	case 8:
		cr_assert_eq(api_end(rt,
		                     api_submit(rt,
		                                WEFT_TASK(api_body_nothing, WEFT_AFTER(ref),
		                                          .opts = &ignored))),
		             0);
		return true;
	case 9:
		cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(body_told, WEFT_INPUTS(ref)))),
		             WEFT_EDEP);
		return true;
	default:
		return false;
	}
}

Test(unhandled, whoever_was_told_in_any_way_is_enough)
{
	bool more = true;

	for (int how = 0; more; how++) {
		weft *rt = open_heard();
		weft_ref ref = failing(rt);

		more = learn(rt, ref, how);
		if (!more)
			cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
		api_release(rt, ref);
		close_heard(rt, 0);
	}
}

Test(unhandled, take_tells_as_well)
{
	weft *rt = open_heard();

	cr_assert_eq(weft_take(rt, failing(rt), NULL, 0), WEFT_ETASK);
	close_heard(rt, 0);
}

Test(unhandled, outputs_of_one_task_are_one_failure)
{
	for (int reads = 0; reads < 2; reads++) {
		weft *rt = open_heard();
		weft_ref out[3];

		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(body_fails,
		                                   .opts = WEFT_TASK_OPTIONS(.n_outputs = 3)),
		                         out),
		             0);
		if (reads)
			cr_assert_eq(api_get(rt, out[1]), WEFT_ETASK);
		cr_assert_eq(weft_release_many(rt, out, 3), 0);
		close_heard(rt, !reads);
	}
}

Test(unhandled, of_a_chain_of_failures_the_last_one_is_logged)
{
	weft *rt = open_heard();
	weft_ref first = failing(rt);
	weft_ref second = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(first)));

	await_end(rt, second);
	api_release(rt, first);
	api_release(rt, second);
	close_heard(rt, 1);
	cr_assert_str_eq(heard.task, "api_body_nothing");
}

Test(unhandled, a_cancel_and_a_success_after_failures_are_none)
{
	weft *rt = open_heard();
	weft_ref event = api_event(rt);
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));

	cr_assert_eq(weft_cancel(rt, ref), 0);
	api_release(rt, ref);
	api_release(rt, event);
	close_heard(rt, 0);
}

Test(unhandled, an_event_that_failed_is_like_a_task)
{
	weft *rt = open_heard();
	weft_ref event = api_event(rt);

	cr_assert_eq(weft_event_fail(rt, event, -EIO, "the disk"), 0);
	api_release(rt, event);
	close_heard(rt, 1);
	cr_assert_str_eq(heard.task, "event");
}

static int body_gives_then_fails(weft_task *self)
{
	API_CHECK(weft_emit(self, "x", 1) >= 0);
	return weft_fail(self, -72, "then");
}

Test(unhandled, a_generators_failure_is_seen_on_its_item_or_on_completed_or_logged)
{
	for (int how = 0; how < 4; how++) {
		weft *rt = open_heard();
		weft_ref gen = api_submit(
			rt,
			WEFT_TASK(body_gives_then_fails,
		                  .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_STREAM)));
		weft_ref item;

		for (int i = 0; i < how && i < 2; i++) {
			cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), 0);
			if (i == 1 && how == 3)
				break;
			if (i == 1)
				cr_assert_eq(api_get(rt, item), WEFT_ETASK);
			api_release(rt, item);
		}
		/* Taken, and dropped unread. */
		if (how == 3)
			api_release(rt, item);
		api_release(rt, gen);
		close_heard(rt, how != 2);
	}
}

Test(unhandled, a_failure_behind_all_outputs_is_logged)
{
	weft *rt = open_heard();
	weft_ref out = api_submit(rt,
	                          WEFT_TASK(body_gives_then_fails,
	                                    .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_EMITS)));

	cr_assert_eq(api_end(rt, out), 0);
	close_heard(rt, 1);
}
