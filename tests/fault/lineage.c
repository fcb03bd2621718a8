/*
 * Goal: a value that a file has lost is computed again by its task, as often as its retries allow,
 * with the inputs that it had, for everybody who wants it and once for all; what cannot be is lost,
 * and says why; nothing is left.
 * Method: values pushed out to files whose reads then fail, by every way to meet them, on both
 * back ends of the I/O.
 */
#include "lineage.h"

/* ---- Cases ---------------------------------------------------------------------------------- */

static void as_often_as_its_retries_allow(void)
{
	weft_ref ref = make_value(5, WELL, 2);

	for (uint64_t i = 0; i < 2; i++) {
		lose(ref);
		look(ref, 5);
		API_CHECK(api_read(&runs) == 2 + i);
		API_CHECK(stats().losses == 1 + i && stats().rebuilt == 1 + i);
	}
	lose(ref);
	look_lost(ref, "its task has no attempt left");
	API_CHECK(api_read(&runs) == 3 && api_read(&drops) == 0);
	api_release(rt, ref);
	api_await_count(&drops, 1);
}

static void who_did_not_ask_is_told(void)
{
	static unsigned char bytes[BYTES];
	const struct order order = { 1, WELL };
	weft_ref put = WEFT_NONE;
	weft_ref made = api_submit(
		rt, WEFT_TASK(make, WEFT_ARG(order), .opts = WEFT_TASK_OPTIONS(.retries = 3)));

	API_CHECK(weft_put(rt, bytes, sizeof bytes, &put) == 0);
	lose(put);
	look_lost(put, "it was put");
	lose(made);
	look_lost(made, "its task did not ask for it");
	API_CHECK(api_read(&runs) == 1 && stats().rebuilt == 0);
	api_release(rt, put);
	api_release(rt, made);
}

static void a_run_that_goes_wrong_is_the_last(void)
{
	weft_ref fails = make_value(1, FAILS, 1);

	lose(fails);
	look_lost(fails, "its task failed");
	API_CHECK(api_read(&runs) == 2);
	api_release(rt, fails);
	api_set(&runs, 0);
	weft_ref shrinks = make_value(1, SHRINKS, 7);

	lose(shrinks);
	look_lost(shrinks, "another size");
	API_CHECK(api_read(&runs) == 2);
	api_release(rt, shrinks);
	api_await_count(&drops, 2);
}

/* Inputs that nobody else holds are kept, and rebuilt themselves. */
static void a_chain(void)
{
	weft_ref a = make_value(10, WELL, 9), b = make_next(a, WEFT_TASK_REBUILD);
	weft_ref c = make_next(b, WEFT_TASK_REBUILD);

	push_out(c);
	push_out(b);
	push_out(a);
	api_release(rt, a);
	api_release(rt, b);
	lose(c);
	look(c, 12);
	API_CHECK(api_read(&runs) == 6 && stats().rebuilt == 3 && stats().losses == 3);
	/* Once more, with those of its inputs that were pushed out with it. */
	lose(c);
	look(c, 12);
	API_CHECK(api_read(&runs) > 6 && stats().rebuilt == stats().losses);
	api_release(rt, c);
	api_await_count(&drops, 1);
}

/* As an input, by copy, and with others. */
static void every_way_to_meet_it(void)
{
	static uint64_t copy[BYTES / 8];
	weft_ref refs[2] = { make_value(20, WELL, 9), make_value(30, WELL, 9) };
	struct weft_view views[2];
	uint32_t failed = 9;

	lose(refs[0]);
	weft_ref after = make_next(refs[0], 0);

	API_CHECK(api_get(rt, after) == 0);
	wf_io_fault_arm(NULL);
	look(after, 21);
	api_release(rt, after);
	lose(refs[0]);
	API_CHECK(weft_get_copy(rt, refs[0], copy, sizeof copy) == (int64_t)sizeof copy);
	wf_io_fault_arm(NULL);
	API_CHECK(filled(&(struct weft_view){ copy, sizeof copy }, 20));
	push_out(refs[0]);
	lose(refs[1]);
	API_CHECK(weft_get_many(rt, refs, 2, WEFT_FOREVER, views, &failed) == 0);
	wf_io_fault_arm(NULL);
	for (int i = 0; i < 2; i++) {
		API_CHECK(filled(&views[i], i ? 30 : 20));
		API_CHECK(weft_view_end(rt, refs[i]) == 0);
		api_release(rt, refs[i]);
	}
	API_CHECK(stats().losses == stats().rebuilt);
}

/* An input that stays lost is what the policy says. */
static void a_lost_input_fails_its_task(void)
{
	weft_ref value = make_value(1, FAILS, 1);

	lose(value);
	weft_ref after = make_next(value, 0);

	API_CHECK(api_end(rt, after) == WEFT_EDEP);
	wf_io_fault_arm(NULL);
	api_release(rt, value);
}

struct wanted {
	weft_ref ref;
	uint64_t key;
};

static void *want(void *arg)
{
	const struct wanted *wanted = arg;
	struct weft_view view;

	API_CHECK(weft_get(rt, wanted->ref, WEFT_FOREVER, &view) == 0);
	API_CHECK(filled(&view, wanted->key));
	API_CHECK(weft_view_end(rt, wanted->ref) == 0);
	return NULL;
}

static int want_task(weft_task *self)
{
	want(api_arg_pointer(self));
	return 0;
}

static void once_for_all(void)
{
	struct wanted wanted = { make_value(40, WELL, 9), 40 };
	weft_ref tasks[8];
	pthread_t threads[2];

	lose(wanted.ref);
	for (int i = 0; i < 8; i++)
		tasks[i] = api_submit(rt, WEFT_TASK(want_task, API_POINTER(&wanted)));
	for (int i = 0; i < 2; i++)
		threads[i] = api_thread(want, &wanted);
	for (int i = 0; i < 2; i++)
		api_join(threads[i]);
	for (int i = 0; i < 8; i++)
		API_CHECK(api_end(rt, tasks[i]) == 0);
	wf_io_fault_arm(NULL);
	API_CHECK(api_read(&runs) == 2 && stats().losses == 1 && stats().rebuilt == 1);
	api_release(rt, wanted.ref);
}

static void the_ref_may_go_meanwhile(void)
{
	struct weft_view view;
	weft_ref ref = make_value(50, WELL, 9);
	const int64_t start = api_now();

	lose(ref);
	while (weft_get(rt, ref, WEFT_POLL, &view) == -ETIMEDOUT && api_read(&runs) < 2)
		api_polling(start, "it has been begun");
	api_release(rt, ref);
	api_await_count(&drops, 1);
	wf_io_fault_arm(NULL);
}

/* A number of the task's own stream, its context, and who it is. */
static int inherits(weft_task *self)
{
	size_t size = 0;
	const char *context = weft_task_context(self, &size);
	void *data;
	int rc = weft_task_output(self, 0, BYTES, &data);

	api_add(&runs, 1);
	API_CHECK(context && size == 4 && !memcmp(context, "ctx", 4));
	API_CHECK(!strcmp(weft_task_name(self), "named"));
	if (!rc)
		fill(data, BYTES, weft_task_random(self) % 1000);
	return rc;
}

static int parent(weft_task *self)
{
	weft_ref *out = api_arg_pointer(self);
	char name[] = "named";

	*out = api_submit(rt,
	                  WEFT_TASK(inherits,
	                            .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD,
	                                                      .retries = 1, .name = name)));
	/* The name must live until the task has ended. */
	return api_get(rt, *out);
}

static void it_has_what_it_had(void)
{
	weft_ref ref = WEFT_NONE;
	struct weft_view view;

	API_CHECK(api_end(rt,
	                  api_submit(rt,
	                             WEFT_TASK(parent, API_POINTER(&ref),
	                                       .opts = WEFT_TASK_OPTIONS(.context = "ctx",
	                                                                 .context_size = 4,
	                                                                 .seed = 77)))) == 0);
	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0);
	const uint64_t key = *(const uint64_t *)view.data / 31;

	API_CHECK(weft_view_end(rt, ref) == 0 && weft_view_end(rt, ref) == 0);
	lose(ref);
	look(ref, key);
	API_CHECK(api_read(&runs) == 2);
	api_release(rt, ref);
}

static int refused(const struct weft_task_options *opts, weft_actor actor)
{
	const struct order order = { 1, WELL };
	weft_ref ref = WEFT_NONE;

	return weft_submit(rt, WEFT_TASK(make, WEFT_ARG(order), .opts = opts, .actor = actor),
	                   &ref);
}

static void what_makes_no_sense_is_refused(void)
{
	const weft_actor none = { 0 };

	API_CHECK(refused(WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD), none) == -EINVAL);
	API_CHECK(
		refused(WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD, .retries = WEFT_RETRIES_NONE),
	                none) == -EINVAL);
	API_CHECK(refused(WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD, .retries = 1,
	                                    .n_outputs = WEFT_OUTPUTS_STREAM),
	                  none) == -EINVAL);
	API_CHECK(refused(WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD | WEFT_TASK_EMITS,
	                                    .retries = 1),
	                  none) == -EINVAL);
	API_CHECK(api_read(&runs) == 0);
}

static void (*const cases[])(void) = {
	as_often_as_its_retries_allow,
	who_did_not_ask_is_told,
	a_run_that_goes_wrong_is_the_last,
	a_chain,
	every_way_to_meet_it,
	a_lost_input_fails_its_task,
	once_for_all,
	the_ref_may_go_meanwhile,
	it_has_what_it_had,
	what_makes_no_sense_is_refused,
};

int main(void)
{
	run_cases(cases, sizeof cases / sizeof cases[0], true);
	return 0;
}
