/*
 * Goal: a value that a file has lost is computed again by its task, as often as its retries allow,
 * with the inputs that it had, for everybody who wants it and once for all; what cannot be is lost,
 * and says why; nothing is left.
 * Method: values pushed out to files whose reads then fail, by every way to meet them, on both
 * back ends of the I/O.
 */
#include "../../store/include/wf_io.h"
#include "api_fault.h"

#define BYTES   ((size_t)150 << 10)
#define FOREVER UINT64_MAX

static char dir[] = "/var/tmp/weft-fault-lineage-XXXXXX";
static struct api_count runs, drops;
static weft *rt;

static void open_runtime(void)
{
	api_set(&runs, 0);
	api_set(&drops, 0);
	static const struct weft_resource only = { "only", 1 };

	/* Full from a tenth on, so that a few values push others out; all would fit. */
	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 2, .store_bytes = 8u << 20, .spill_dirs = dir,
	                                 .spill_high = 100, .spill_low = 50, .resources = &only,
	                                 .n_resources = 1)) == 0);
}

static struct weft_store_stats stats(void)
{
	struct weft_store_stats now = { .struct_size = sizeof now };

	API_CHECK(weft_store_stats(rt, &now) == 0);
	return now;
}

static void close_runtime(void)
{
	const int64_t start = api_now();

	api_await_no_tasks(rt);
	while (stats().objects)
		api_polling(start, "all objects are gone");
	api_close(rt);
}

/* ---- Values --------------------------------------------------------------------------------- */

static void fill(void *data, size_t size, uint64_t key)
{
	for (size_t i = 0; i < size / 8; i++)
		((uint64_t *)data)[i] = key * 31 + i;
}

static bool filled(const struct weft_view *view, uint64_t key)
{
	for (size_t i = 0; i < view->size / 8; i++) {
		if (((const uint64_t *)view->data)[i] != key * 31 + i)
			return false;
	}
	return view->size == BYTES;
}

enum way { WELL, FAILS, SHRINKS };

struct order {
	uint64_t key;
	uint64_t way; /* of every run but the first */
};

static int make(weft_task *self)
{
	const struct order *order = weft_task_arg(self, NULL);
	const bool again = api_add(&runs, 1) > 1;
	void *data;

	if (again && order->way == FAILS)
		return weft_fail(self, -EDOM, "not again");
	size_t size = again && order->way == SHRINKS ? BYTES / 2 : BYTES;
	int rc = weft_task_output(self, 0, size, &data);

	if (!rc)
		fill(data, size, order->key);
	return rc;
}

/* Its value has its input's key and one more. */
static int next(weft_task *self)
{
	struct weft_view view;
	void *data;
	int rc = weft_input(self, 0, &view);

	api_add(&runs, 1);
	if (!rc)
		rc = weft_task_output(self, 0, BYTES, &data);
	if (rc)
		return rc;
	const uint64_t key = *(const uint64_t *)view.data / 31;

	API_CHECK(filled(&view, key));
	fill(data, BYTES, key + 1);
	return 0;
}

static void dropped(void *arg, size_t size)
{
	API_CHECK(arg && size == sizeof(struct order));
	api_add(&drops, 1);
}

static weft_ref make_value(uint64_t key, enum way way, uint32_t retries)
{
	const struct order order = { key, way };

	return api_submit(
		rt,
		WEFT_TASK(make, WEFT_ARG(order),
	                  .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD, .retries = retries,
	                                            .arg_drop = dropped)));
}

static weft_ref make_next(weft_ref of, uint32_t flags)
{
	return api_submit(rt,
	                  WEFT_TASK(next, WEFT_INPUTS(of),
	                            .opts = WEFT_TASK_OPTIONS(.flags = flags, .retries = 9)));
}

static int place(weft_ref ref)
{
	struct weft_object_info info = { .struct_size = sizeof info };

	API_CHECK(weft_object_info(rt, ref, &info) == 0);
	return info.place;
}

/* Until it is only in a file. */
static void push_out(weft_ref ref)
{
	static unsigned char filler[BYTES];
	const int64_t start = api_now();
	struct weft_view view;
	weft_ref others[8];

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0 && weft_view_end(rt, ref) == 0);
	while (place(ref) != WEFT_OBJECT_FILE) {
		api_polling(start, "it is pushed out");
		for (int i = 0; i < 8; i++)
			API_CHECK(weft_put(rt, filler, sizeof filler, &others[i]) == 0);
		for (int i = 0; i < 8; i++)
			api_release(rt, others[i]);
	}
}

static void break_reads(uint64_t count)
{
	struct wf_io_fault fault = { .kinds = WF_IO_FAULT_READ,
		                     .effect = WF_IO_EFFECT_ERROR,
		                     .error = EIO,
		                     .nth = 1,
		                     .count = count };

	wf_io_fault_arm(&fault);
}

/* From here on what is in a file is lost to whoever wants it. */
static void lose(weft_ref ref)
{
	push_out(ref);
	break_reads(FOREVER);
}

static void look(weft_ref ref, uint64_t key)
{
	struct weft_view view;

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0);
	wf_io_fault_arm(NULL);
	API_CHECK(filled(&view, key));
	API_CHECK(weft_view_end(rt, ref) == 0);
}

static void look_lost(weft_ref ref, const char *why)
{
	const struct weft_error *error = NULL;
	struct weft_view view;

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == WEFT_ELOST);
	wf_io_fault_arm(NULL);
	API_CHECK(place(ref) == WEFT_OBJECT_LOST);
	API_CHECK(weft_ref_error(rt, ref, &error) == 0);
	API_CHECK(error->status == WEFT_ELOST && error->code == -EIO);
	API_CHECK(strstr(error->text, why) != NULL);
	/* And stays so. */
	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == WEFT_ELOST);
}

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

/* Who waits for its input's task gives back meanwhile what that may need. */
static void with_a_resource_of_which_there_is_one(void)
{
	static const struct weft_resource one = { "only", 1 };
	const struct order order = { 70, WELL };
	weft_ref a = api_submit(
		rt,
		WEFT_TASK(make, WEFT_ARG(order),
	                  .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD, .retries = 9,
	                                            .resources = &one, .n_resources = 1)));

	lose(a);
	weft_ref b = api_submit(
		rt,
		WEFT_TASK(next, WEFT_INPUTS(a),
	                  .opts = WEFT_TASK_OPTIONS(.resources = &one, .n_resources = 1)));

	API_CHECK(api_get(rt, b) == 0);
	wf_io_fault_arm(NULL);
	look(b, 71);
	API_CHECK(stats().rebuilt == 1);
	api_release(rt, a);
	api_release(rt, b);
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

static void without_memory(uint64_t nth)
{
	struct weft_view view;
	weft_ref ref = make_value(60, WELL, 9);
	const int64_t start = api_now();
	int rc;

	lose(ref);
	wf_fault_arm(-1, nth);
	do {
		rc = weft_get(rt, ref, WEFT_FOREVER, &view);
		if (rc == -EAGAIN || rc == -ENOMEM || rc == WEFT_ESTOREFULL)
			api_polling(start, "it can be had again");
	} while (rc == -EAGAIN || rc == -ENOMEM || rc == WEFT_ESTOREFULL);
	wf_fault_arm(-1, 0);
	wf_io_fault_arm(NULL);
	API_CHECK(rc == 0 ? filled(&view, 60) : rc == WEFT_ELOST);
	api_release(rt, ref);
}

static void every_want_of_memory(void)
{
	for (uint64_t nth = 1; nth < 60; nth += 3)
		without_memory(nth);
}

static void (*const cases[])(void) = {
	as_often_as_its_retries_allow,
	who_did_not_ask_is_told,
	a_run_that_goes_wrong_is_the_last,
	a_chain,
	every_way_to_meet_it,
	a_lost_input_fails_its_task,
	with_a_resource_of_which_there_is_one,
	once_for_all,
	the_ref_may_go_meanwhile,
	it_has_what_it_had,
	what_makes_no_sense_is_refused,
	every_want_of_memory,
};

int main(void)
{
	static const char *const backends[] = { "uring", "threads" };

	API_CHECK(mkdtemp(dir) != NULL);
	for (int b = 0; b < 2; b++) {
		struct wf_io_options probe = { .backend = backends[b] };
		struct wf_io *io;

		if (wf_io_open(&io, &probe) != 0) {
			API_CHECK(b == 0);
			printf("no %s here\n", backends[b]);
			continue;
		}
		wf_io_close(io);
		API_CHECK(setenv("WEFT_IO", backends[b], 1) == 0);
		for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
			open_runtime();
			cases[i]();
			close_runtime();
		}
		printf("%s: %zu cases\n", backends[b], sizeof cases / sizeof cases[0]);
	}
	API_CHECK(fault_entries(dir) == 2 && rmdir(dir) == 0);
	return 0;
}
