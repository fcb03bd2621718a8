/*
 * Goal: a failure is data on the ref: class, code, text, payload, name and place of the submit, and
 * the chain of causes; dependents obey their policy.
 * Method: bodies that fail in every way the header lists; each field read back.
 */
#include "api.h"
#include "test.h"

#define IN_TABLE(name, value, text) name,
static const int classes[] = { WEFT_STATUS_LIST(IN_TABLE) };
#define CLASSES (sizeof classes / sizeof classes[0])

static const struct weft_error *error_of(weft *rt, weft_ref ref)
{
	const struct weft_error *error = NULL;

	API_CHECK(weft_ref_error(rt, ref, &error) == 0);
	API_CHECK(error && error->text && error->task && error->site);
	API_CHECK(error->status == api_get(rt, ref));
	return error;
}

Test(errors, every_class_has_a_text_of_its_own)
{
	for (unsigned i = 0; i < CLASSES; i++) {
		cr_assert_str_neq(weft_strerror(classes[i]), "unknown status");
		for (unsigned j = 0; j < i; j++) {
			cr_assert_neq(classes[i], classes[j]);
			cr_assert_str_neq(weft_strerror(classes[i]), weft_strerror(classes[j]));
		}
	}
	cr_assert_str_eq(weft_strerror(WEFT_ETASK), "the task's body failed");
	cr_assert_str_eq(weft_strerror(-ENOMEM), strerror(ENOMEM));
	cr_assert_str_eq(weft_strerror(-4999), "unknown status");
	cr_assert_str_eq(weft_strerror(INT32_MIN), "unknown status");
	cr_assert_not_null(weft_strerror(0));
	cr_assert_not_null(weft_strerror(77));
}

static int fails_with_text(weft_task *self)
{
	return weft_fail(self, -EPROTO, "part %d of %s", 3, "four");
}

Test(errors, code_text_name_and_site_are_kept)
{
	weft *rt = api_open(2);
	struct weft_view view = api_poison_view();
	const int line = __LINE__ + 1;
	weft_ref ref = api_submit(rt, WEFT_TASK(fails_with_text));
	char place[32];

	snprintf(place, sizeof place, "errors.c:%d", line);
	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), WEFT_ETASK);
	cr_assert(api_view_untouched(&view));
	const struct weft_error *error = error_of(rt, ref);
	cr_assert_eq(error->status, WEFT_ETASK);
	cr_assert_eq(error->code, -EPROTO);
	cr_assert_eq(error->attempt, 1);
	cr_assert_str_eq(error->text, "part 3 of four");
	cr_assert_str_eq(error->task, "fails_with_text");
	cr_assert_not_null(strstr(error->site, place), "site is %s", error->site);
	cr_assert_null(error->payload);
	cr_assert_eq(error->payload_size, 0);
	cr_assert_null(error->cause);
	api_release(rt, ref);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(errors, a_name_in_the_options_wins_and_a_plain_spawn_has_no_site)
{
	weft *rt = api_open(2);
	const int64_t code = -8;
	weft_ref named = api_submit(
		rt, WEFT_TASK(fails_with_text, .opts = WEFT_TASK_OPTIONS(.name = "other name")));
	weft_ref plain = api_spawn(rt, api_body_fail, &code, sizeof code);

	cr_assert_eq(api_get(rt, named), WEFT_ETASK);
	cr_assert_str_eq(error_of(rt, named)->task, "other name");
	cr_assert_eq(api_get(rt, plain), WEFT_ETASK);
	cr_assert_str_eq(error_of(rt, plain)->site, "");
	cr_assert_str_eq(error_of(rt, plain)->text, "code -8");
	api_release(rt, named);
	api_release(rt, plain);
	api_close(rt);
}

static int plain_code(weft_task *self)
{
	return *(const int *)weft_task_arg(self, NULL);
}

Test(errors, any_negative_code_fails_with_an_empty_text)
{
	static const int codes[] = { -1,         -EIO,         -ECANCELED, -EINTR,   -4096,
		                     WEFT_ETASK, WEFT_ECLOSED, -100000,    INT32_MIN };
	weft *rt = api_open(2);

	for (unsigned i = 0; i < sizeof codes / sizeof codes[0]; i++) {
		weft_ref ref = api_spawn(rt, plain_code, &codes[i], sizeof codes[i]);

		cr_assert_eq(api_get(rt, ref), WEFT_ETASK, "code %d", codes[i]);
		cr_assert_eq(error_of(rt, ref)->code, codes[i]);
		cr_assert_str_eq(error_of(rt, ref)->text, "");
		cr_assert_null(error_of(rt, ref)->cause);
		cr_assert_eq(api_state(rt, ref), WEFT_REF_FAILED);
		api_release(rt, ref);
	}
	api_close(rt);
}

static int not_negative(weft_task *self)
{
	const int code = *(const int *)weft_task_arg(self, NULL);
	const int returned = weft_fail(self, code, "positive");

	API_CHECK(returned == -EIO);
	return returned;
}

Test(errors, a_code_that_is_not_negative_becomes_eio)
{
	weft *rt = api_open(2);

	for (int code = 0; code <= 1; code++) {
		weft_ref ref = api_spawn(rt, not_negative, &code, sizeof code);

		cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
		cr_assert_eq(error_of(rt, ref)->code, -EIO);
		api_release(rt, ref);
	}
	api_close(rt);
}

static int long_text(weft_task *self)
{
	char text[5000];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	return weft_fail(self, -1, "%s", text);
}

Test(errors, a_long_text_is_cut_to_1023_bytes)
{
	weft *rt = api_open(2);
	weft_ref ref = api_spawn(rt, long_text, NULL, 0);

	cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
	cr_assert_eq(strlen(error_of(rt, ref)->text), 1023);
	api_release(rt, ref);
	api_close(rt);
}

static int with_payload(weft_task *self)
{
	const uint32_t size = *(const uint32_t *)weft_task_arg(self, NULL);
	unsigned char *bytes = malloc(size + 1);

	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(i * 3);
	const int code = weft_fail_with(self, -ERANGE, bytes, size, "%u bytes", size);
	memset(bytes, 0, size);
	free(bytes);
	return code;
}

Test(errors, a_payload_is_copied_and_read_back)
{
	static const uint32_t sizes[] = { 1, 7, 64, 1000, 65536 };
	weft *rt = api_open(2);

	for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
		weft_ref ref = api_spawn(rt, with_payload, &sizes[s], sizeof sizes[s]);

		cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
		const struct weft_error *error = error_of(rt, ref);
		cr_assert_eq(error->payload_size, sizes[s]);
		for (uint32_t i = 0; i < sizes[s]; i++)
			cr_assert_eq(((const unsigned char *)error->payload)[i],
			             (unsigned char)(i * 3));
		api_release(rt, ref);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

static int relay(weft_task *self)
{
	(void)self;
	API_CHECK(!"a dependent of a failed input must not run");
	return 0;
}

Test(errors, failures_run_down_a_chain_with_all_their_causes)
{
	enum { N = 100 };
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), last;

	last = api_submit(rt, WEFT_TASK(fails_with_text, WEFT_AFTER(event)));
	for (int i = 0; i < N; i++) {
		weft_ref next = i % 2 ? api_submit(rt, WEFT_TASK(relay, WEFT_INPUTS(last)))
				      : api_submit(rt, WEFT_TASK(relay, WEFT_AFTER(last)));

		api_release(rt, last); /* the causes live as long as the last ref */
		last = next;
	}
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_get(rt, last), WEFT_EDEP);
	const struct weft_error *error = error_of(rt, last);
	for (int i = 0; i < N; i++) {
		cr_assert_eq(error->status, WEFT_EDEP);
		cr_assert_eq(error->code, WEFT_EDEP);
		cr_assert_str_eq(error->task, "relay");
		cr_assert_not_null(strstr(error->site, "errors.c:"));
		cr_assert_not_null(error->cause, "link %d", i);
		error = error->cause;
	}
	cr_assert_eq(error->status, WEFT_ETASK);
	cr_assert_eq(error->code, -EPROTO);
	cr_assert_str_eq(error->text, "part 3 of four");
	cr_assert_null(error->cause);
	api_release(rt, last);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(errors, a_failed_input_fails_at_once_though_others_are_pending)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), bad = api_submit(rt, WEFT_TASK(fails_with_text));
	weft_ref ref = api_submit(rt, WEFT_TASK(relay, WEFT_INPUTS(event, bad)));

	cr_assert_eq(api_end(rt, ref), WEFT_EDEP);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_release(rt, bad);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int sees_errors(weft_task *self)
{
	const int64_t *expected = weft_task_arg(self, NULL);
	struct weft_view view = api_poison_view();

	API_CHECK(weft_input_count(self) == 2);
	API_CHECK(weft_input(self, 0, &view) == *expected);
	if (*expected == 0)
		API_CHECK(view.size == 0);
	else
		API_CHECK(api_view_untouched(&view));
	API_CHECK(weft_input(self, 1, &view) == 0 && *(const int64_t *)view.data == 70);
	return weft_return(self, view.data, view.size);
}

Test(errors, as_value_and_ignore_run_the_task)
{
	weft *rt = api_open(2);

	for (int late = 0; late < 2; late++) {
		weft_ref event = api_event(rt), good = api_put_i64(rt, 70);
		weft_ref bad = api_submit(rt, WEFT_TASK(fails_with_text, WEFT_AFTER(event)));
		const int64_t as_value = WEFT_ETASK, ignored = 0;

		if (!late) {
			cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
			cr_assert_eq(api_get(rt, bad), WEFT_ETASK);
		}
		weft_ref a = api_submit(
			rt,
			WEFT_TASK(
				sees_errors, WEFT_ARG(as_value), WEFT_INPUTS(bad, good),
				.opts = WEFT_TASK_OPTIONS(.on_input_error = WEFT_INPUT_AS_VALUE)));
		weft_ref b = api_submit(
			rt,
			WEFT_TASK(sees_errors, WEFT_ARG(ignored), WEFT_INPUTS(bad, good),
		                  .opts = WEFT_TASK_OPTIONS(.on_input_error = WEFT_INPUT_IGNORE)));
		if (late)
			cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
		cr_assert_eq(api_take_i64(rt, a), 70);
		cr_assert_eq(api_take_i64(rt, b), 70);
		api_release(rt, bad);
		api_release(rt, good);
		api_release(rt, event);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(errors, a_failed_control_edge_obeys_the_policy)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	weft_ref bad = api_submit(rt, WEFT_TASK(fails_with_text));

	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(api_body_count, API_POINTER(&count),
	                                          WEFT_AFTER(bad)))),
	             WEFT_EDEP);
	cr_assert_eq(api_read(&count), 0);
	for (uint32_t policy = WEFT_INPUT_AS_VALUE; policy <= WEFT_INPUT_IGNORE; policy++)
		cr_assert_eq(
			api_end(rt,
		                api_submit(rt,
		                           WEFT_TASK(api_body_count, API_POINTER(&count),
		                                     WEFT_AFTER(bad),
		                                     .opts = WEFT_TASK_OPTIONS(.on_input_error =
		                                                                       policy)))),
			0);
	cr_assert_eq(api_read(&count), 2);
	api_release(rt, bad);
	api_close(rt);
}

Test(errors, asking_for_an_error_that_is_not_there)
{
	weft *rt = api_open(2);
	const struct weft_error *const poison = (const void *)(uintptr_t)API_POISON;
	const struct weft_error *error = poison;
	weft_ref good = api_put_i64(rt, 1), event = api_event(rt);

	cr_assert_eq(weft_ref_error(rt, good, &error), -ENODATA);
	cr_assert_eq(weft_ref_error(rt, event, &error), -EAGAIN);
	cr_assert_eq(weft_ref_error(rt, WEFT_NONE, &error), -EINVAL);
	cr_assert_eq(weft_ref_error(rt, good, NULL), -EINVAL);
	cr_assert_eq(weft_ref_error(NULL, good, &error), -EINVAL);
	api_release(rt, good);
	cr_assert_eq(weft_ref_error(rt, good, &error), -EINVAL);
	cr_assert_eq(error, poison);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_close(rt);
}

Test(errors, getting_a_failed_ref_never_touches_the_destination)
{
	weft *rt = api_open(2);
	weft_ref ref = api_submit(rt, WEFT_TASK(fails_with_text));
	int64_t value = 99;

	cr_assert_eq(weft_get_copy(rt, ref, &value, sizeof value), WEFT_ETASK);
	cr_assert_eq(weft_get_copy(rt, ref, NULL, 0), WEFT_ETASK);
	cr_assert_eq(weft_take(rt, ref, &value, sizeof value), WEFT_ETASK);
	cr_assert_eq(value, 99);
	cr_assert_eq(weft_peek(rt, ref), -EINVAL, "take released it all the same");
	api_await_no_tasks(rt);
	api_close(rt);
}

static int child_fails(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref child = api_submit(rt, WEFT_TASK(fails_with_text));
	const int status = api_end(rt, child);

	return status < 0 ? weft_fail(self, -ECHILD, "child: %s", weft_strerror(status)) : 0;
}

Test(errors, a_body_can_report_its_childs_failure)
{
	weft *rt = api_open(2);
	weft_ref ref = api_submit(rt, WEFT_TASK(child_fails));

	cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
	cr_assert_eq(error_of(rt, ref)->code, -ECHILD);
	cr_assert_str_eq(error_of(rt, ref)->text, "child: the task's body failed");
	api_release(rt, ref);
	api_close(rt);
}
