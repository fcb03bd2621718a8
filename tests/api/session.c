/*
 * Goal: a task with a key is done once for a session directory: shared while it is pending, taken
 * from the disk afterwards, also by later runtimes and after a kill; computed again when what is
 * there does not verify; given up after a bounded number of starts. Bodies' files are published as
 * a whole or not at all.
 * Method: a directory of its own per test, bodies that count their runs, runtimes opened one after
 * the other on it, files looked at from outside, children that kill themselves inside a body.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "api_dir.h"
#include "test.h"

#define BIG ((size_t)100000)

static struct api_count runs;

static void begin(void)
{
	make_dir();
	api_set(&runs, 0);
}

static weft *open_session(void)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 2, .session_dir = dir, .log = keep_line,
	                                 .store_bytes = 8 << 20, .spill_dirs = "")) == 0);
	return rt;
}

static struct weft_session_info session(weft *rt)
{
	struct weft_session_info info = { .struct_size = sizeof(info) };

	API_CHECK(weft_session_info(rt, &info) == 0);
	return info;
}

/* BIG bytes that follow from the argument, an int64_t. */
static int body_big(weft_task *self)
{
	const int64_t *seed = weft_task_arg(self, NULL);
	uint64_t *words;

	api_add(&runs, 1);
	API_CHECK(weft_task_output(self, 0, BIG, (void **)&words) == 0);
	for (size_t i = 0; i < BIG / 8; i++)
		words[i] = (uint64_t)*seed * 31 + i;
	return 0;
}

static void check_big(weft *rt, weft_ref ref, int64_t seed)
{
	struct weft_view view;

	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, BIG);
	for (size_t i = 0; i < BIG / 8; i++)
		cr_assert_eq(((const uint64_t *)view.data)[i], (uint64_t)seed * 31 + i);
	api_release(rt, ref);
}

static weft_ref submit_big(weft *rt, const char *key, int64_t seed)
{
	return api_submit(
		rt, WEFT_TASK(body_big, WEFT_ARG(seed), .opts = WEFT_TASK_OPTIONS(.key = key)));
}

Test(session, a_finished_key_is_taken_from_the_disk_by_the_next_runtime, .init = begin,
     .fini = remove_dir)
{
	weft *rt = open_session();

	cr_assert_eq(session(rt).epoch, 1);
	check_big(rt, submit_big(rt, "one", 7), 7);
	cr_assert_eq(session(rt).ran, 1);
	api_await_no_tasks(rt);
	api_close(rt);
	rt = open_session();
	weft_ref event = api_event(rt);
	weft_ref ref = submit_big(rt, "one", 7);

	cr_assert_eq(weft_peek(rt, ref), 1, "ready when the submit returns");
	cr_assert(logged("\"one\": already finished"));
	check_big(rt, ref, 7);
	cr_assert_eq(api_read(&runs), 1);
	cr_assert_eq(session(rt).epoch, 2);
	cr_assert_eq(session(rt).skipped, 1);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* Two outputs, the second from the input. */
static int body_two(weft_task *self)
{
	struct weft_view in;
	void *out;

	api_add(&runs, 1);
	API_CHECK(weft_input(self, 0, &in) == 0);
	API_CHECK(weft_task_output(self, 1, in.size, &out) == 0);
	memcpy(out, in.data, in.size);
	return weft_return(self, "first", 5);
}

Test(session, what_is_finished_does_not_wait_for_its_inputs, .init = begin, .fini = remove_dir)
{
	for (int round = 0; round < 2; round++) {
		weft *rt = open_session();
		weft_ref input = api_event(rt), out[2];
		int64_t value = 42;

		if (round == 0)
			cr_assert_eq(weft_event_set(rt, input, &value, sizeof(value)), 0);
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(body_two, WEFT_INPUTS(input),
		                                   .opts = WEFT_TASK_OPTIONS(.key = "two/x",
		                                                             .n_outputs = 2)),
		                         out),
		             0);
		char text[8] = "";

		cr_assert_eq(weft_take(rt, out[0], text, sizeof(text)), 5);
		cr_assert_str_eq(text, "first");
		cr_assert_eq(api_take_i64(rt, out[1]), 42);
		if (round == 1)
			cr_assert_eq(weft_event_set(rt, input, &value, sizeof(value)), 0);
		api_release(rt, input);
		api_await_no_tasks(rt);
		api_close(rt);
	}
	cr_assert_eq(api_read(&runs), 1);
}

static struct api_gate gate = API_GATE_INIT;

static int body_gate(weft_task *self)
{
	(void)self;
	api_add(&runs, 1);
	api_gate_pass(&gate);
	return weft_return(self, "gate", 4);
}

Test(session, submits_of_a_pending_key_share_its_refs, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();
	const struct weft_call *call =
		WEFT_TASK(body_gate, .opts = WEFT_TASK_OPTIONS(.key = "gate"));
	weft_ref a = api_submit(rt, call), found;

	api_gate_await(&gate, 1);
	weft_ref b = api_submit(rt, call);

	cr_assert_eq(a.bits, b.bits);
	cr_assert_eq(weft_find(rt, "gate", &found), 0);
	cr_assert_eq(a.bits, found.bits);
	/* The key is taken: another function, and another number of outputs, are refused. */
	weft_ref out[2] = { api_poison_ref(), api_poison_ref() };

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(body_big, WEFT_ARG((int64_t){ 1 }),
	                                   .opts = WEFT_TASK_OPTIONS(.key = "gate")),
	                         out),
	             WEFT_ECONFLICT);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(body_gate,
	                              .opts = WEFT_TASK_OPTIONS(.key = "gate", .n_outputs = 2)),
	                    out),
		WEFT_ECONFLICT);
	cr_assert_eq(out[0].bits, API_POISON);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, a), 0);
	cr_assert_eq(api_end(rt, b), 0);
	cr_assert_eq(api_end(rt, found), 0);
	api_await_no_tasks(rt);
	cr_assert_eq(api_read(&runs), 1);
	cr_assert_eq(session(rt).shared, 1);
	/* And so once it is finished. */
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(body_gate,
	                              .opts = WEFT_TASK_OPTIONS(.key = "gate", .n_outputs = 2)),
	                    out),
		WEFT_ECONFLICT);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* Change one byte of each file of the session's results. */
static void damage_results(void)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/data", dir);
	DIR *d = opendir(path);

	API_CHECK(d != NULL);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		char file[1200];
		unsigned char byte;

		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		int fd = open(file, O_RDWR);

		API_CHECK(fd >= 0 && pread(fd, &byte, 1, 5000) == 1);
		byte ^= 0x40;
		API_CHECK(pwrite(fd, &byte, 1, 5000) == 1 && close(fd) == 0);
	}
	closedir(d);
}

Test(session, a_result_that_does_not_verify_is_computed_again, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();
	weft_ref ref = api_poison_ref();

	check_big(rt, submit_big(rt, "one", 3), 3);
	api_await_no_tasks(rt);
	damage_results();
	cr_assert_eq(weft_find(rt, "one", &ref), WEFT_ECORRUPT);
	cr_assert_eq(ref.bits, API_POISON);
	check_big(rt, submit_big(rt, "one", 3), 3);
	cr_assert(logged("does not verify, computed again"));
	api_await_no_tasks(rt);
	cr_assert_eq(session(rt).recomputed, 1);
	cr_assert_eq(api_read(&runs), 2);
	check_big(rt, submit_big(rt, "one", 3), 3);
	cr_assert_eq(api_read(&runs), 2);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* Fails as often as its argument says, over all runs. */
static int body_failing(weft_task *self)
{
	const int64_t *times = weft_task_arg(self, NULL);

	if ((int64_t)api_add(&runs, 1) <= *times)
		return weft_fail(self, -EIO, "not yet");
	return weft_return(self, "done", 4);
}

static int run_failing(weft *rt, int64_t times, uint32_t key_retries, uint32_t retries)
{
	return api_end(
		rt,
		api_submit(rt,
	                   WEFT_TASK(body_failing, WEFT_ARG(times),
	                             .opts = WEFT_TASK_OPTIONS(.key = "failing", .retries = retries,
	                                                       .key_retries = key_retries))));
}

Test(session, starts_of_a_key_are_bounded_over_sessions, .init = begin, .fini = remove_dir)
{
	static const int expected[] = { WEFT_ETASK, WEFT_ETASK, WEFT_EATTEMPTS, WEFT_EATTEMPTS };

	for (uint32_t i = 0; i < 4; i++) {
		weft *rt = open_session();

		cr_assert_eq(run_failing(rt, 100, 1, 0), expected[i], "session %u", i);
		api_await_no_tasks(rt);
		api_close(rt);
	}
	cr_assert_eq(api_read(&runs), 2);
	cr_assert(logged("begun 2 times and never ended well"));
}

Test(session, starts_within_a_run_count_as_well, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();

	/* Six by default: the smaller bound ends it. */
	cr_assert_eq(run_failing(rt, 100, 0, 50), WEFT_EATTEMPTS);
	cr_assert_eq(api_read(&runs), 6);
	cr_assert_eq(run_failing(rt, 100, 0, 0), WEFT_EATTEMPTS);
	cr_assert_eq(api_read(&runs), 6);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(session, a_good_end_lets_the_count_start_anew, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();

	for (int round = 0; round < 2; round++) {
		api_set(&runs, 0);
		cr_assert_eq(run_failing(rt, 2, 2, 2), 0);
		cr_assert_eq(api_read(&runs), 3);
		api_await_no_tasks(rt);
		cr_assert_eq(weft_dataset_remove(rt, session(rt).data, "failing"), 0);
	}
	cr_assert_eq(run_failing(rt, 100, WEFT_RETRIES_NONE, 0), WEFT_ETASK);
	cr_assert_eq(run_failing(rt, 100, WEFT_RETRIES_NONE, 0), WEFT_EATTEMPTS);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int body_refs(weft_task *self)
{
	weft_ref ref = api_put_i64(weft_task_runtime(self), 1);
	int rc = weft_task_output_refs(self, 0, &ref, 1);

	api_release(weft_task_runtime(self), ref);
	return rc;
}

Test(session, lists_of_references_cannot_be_kept, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();
	weft_ref ref = api_submit(rt, WEFT_TASK(body_refs, .opts = WEFT_TASK_OPTIONS(.key = "r")));
	const struct weft_error *error;

	cr_assert_eq(api_get(rt, ref), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_eq(error->code, -ENOTSUP);
	api_release(rt, ref);
	cr_assert_eq(weft_find(rt, "r", &ref), -ENOENT);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static char seen_out[600], seen_tmp[600];

static void write_file(const char *in, const char *name)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/%s", in, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);

	API_CHECK(fd >= 0 && write(fd, name, strlen(name)) == (ssize_t)strlen(name));
	API_CHECK(close(fd) == 0);
}

static bool there(const char *in, const char *name)
{
	char path[1300];

	snprintf(path, sizeof(path), "%s/%s", in, name);
	return access(path, F_OK) == 0;
}

/* Writes files; fails when its argument says so. */
static int body_files(weft_task *self)
{
	const int64_t *bad = weft_task_arg(self, NULL);
	const char *out = NULL, *again = NULL, *tmp = NULL;

	API_CHECK(weft_task_outdir(self, &out) == 0);
	API_CHECK(weft_task_outdir(self, &again) == 0 && again == out);
	API_CHECK(weft_task_tmpdir(self, &tmp) == 0 && strcmp(tmp, out) != 0);
	write_file(out, "part");
	write_file(tmp, "scratch");
	snprintf(seen_out, sizeof(seen_out), "%s", out);
	snprintf(seen_tmp, sizeof(seen_tmp), "%s", tmp);
	return *bad ? weft_fail(self, -EIO, "bad") : 0;
}

static int run_files(weft *rt, int64_t bad, const struct weft_task_options *opts)
{
	return api_end(rt, api_submit(rt, WEFT_TASK(body_files, WEFT_ARG(bad), .opts = opts)));
}

Test(session, files_are_published_as_a_whole_or_not_at_all, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();
	char place[600];

	cr_assert_eq(run_files(rt, 1, WEFT_TASK_OPTIONS(.output_name = "named")), WEFT_ETASK);
	cr_assert_not(there(session(rt).output, "named"));
	cr_assert_not(there(seen_out, "part"));
	cr_assert_not(there(seen_tmp, "scratch"));
	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.output_name = "named")), 0);
	cr_assert(there(session(rt).output, "named/part"));
	cr_assert_not(there(seen_out, ""), "the private name is gone");
	cr_assert_not(there(seen_tmp, ""));
	snprintf(place, sizeof(place), "%s/elsewhere", dir);
	cr_assert_eq(
		run_files(rt, 0, WEFT_TASK_OPTIONS(.output_name = "named", .output_place = place)),
		0);
	cr_assert(there(place, "named/part"));
	/* A newer attempt takes the place of the older. */
	cr_assert_eq(
		run_files(rt, 0, WEFT_TASK_OPTIONS(.output_name = "named", .output_place = place)),
		0);
	cr_assert(there(place, "named/part"));
	/* Also where the one has a key and the other has not. */
	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.key = "k", .output_name = "named")), 0);
	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.output_name = "named")), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(session, temporary_outputs_go_after_a_session_that_went_well, .init = begin,
     .fini = remove_dir)
{
	char temp[600];

	snprintf(temp, sizeof(temp), "%s/temp", dir);
	weft *rt = open_session();

	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.key = "files")), 0);
	cr_assert(there(temp, "files/part"));
	cr_assert_eq(run_files(rt, 1, WEFT_TASK_OPTIONS(.key = "bad")), WEFT_ETASK);
	api_close(rt);
	cr_assert(there(temp, "files/part"), "all stays after a failure");
	rt = open_session();
	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.key = "bad")), 0);
	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.output_name = "")), 0);
	cr_assert_eq(run_files(rt, 0, WEFT_TASK_OPTIONS(.output_name = "stays")), 0);
	api_close(rt);
	cr_assert_not(there(temp, "files"));
	cr_assert_not(there(temp, "bad"));
	snprintf(temp, sizeof(temp), "%s/output", dir);
	cr_assert(there(temp, "stays/part"));
}

static int body_no_files(weft_task *self)
{
	const char *path = "untouched";

	API_CHECK(weft_task_outdir(self, &path) == -ENOTSUP);
	API_CHECK(weft_task_tmpdir(self, &path) == -ENOTSUP);
	API_CHECK(weft_task_tmpdir(self, NULL) == -EINVAL);
	API_CHECK(!strcmp(path, "untouched"));
	return 0;
}

Test(session, directories_are_for_tasks_that_asked_for_them, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();

	cr_assert_eq(api_end(rt, api_spawn(rt, body_no_files, NULL, 0)), 0);
	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(body_no_files,
	                                          .opts = WEFT_TASK_OPTIONS(.name = "n")))),
	             0);
	api_close(rt);
}

/* ---- Arguments, bad input ------------------------------------------------------------------- */

static struct api_count drops;

static void drop(void *arg, size_t size)
{
	API_CHECK(size == sizeof(int64_t) && *(int64_t *)arg == 5);
	api_add(&drops, 1);
}

Test(session, arguments_are_dropped_once_also_when_nothing_runs, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();
	int64_t five = 5;
	const struct weft_task_options *options =
		WEFT_TASK_OPTIONS(.key = "five", .arg_drop = drop);

	api_set(&drops, 0);
	for (uint64_t i = 1; i <= 2; i++) {
		check_big(rt, api_submit(rt, WEFT_TASK(body_big, WEFT_ARG(five), .opts = options)),
		          5);
		api_await_no_tasks(rt);
		cr_assert_eq(api_read(&drops), i);
	}
	cr_assert_eq(api_read(&runs), 1);
	api_close(rt);
}

Test(session, wrong_options_are_refused_by_name, .init = begin, .fini = remove_dir)
{
	static char long_text[512];
	const struct {
		struct weft_task_options o;
		const char *field;
	} wrong[] = {
		{ { .key = "" }, "key" },
		{ { .key = long_text }, "key" },
		{ { .key = "k", .key_retries = 1001 }, "key_retries" },
		{ { .key_retries = 3 }, "key_retries" },
		{ { .output_name = long_text }, "output_name" },
		{ { .output_place = "/tmp" }, "output_place" },
		{ { .output_place = "/tmp", .output_name = "" }, "output_place" },
		{ { .output_place = "", .output_name = "x" }, "output_place" },
	};

	memset(long_text, 'x', sizeof(long_text) - 1);
	weft *rt = open_session();

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct weft_task_options o = wrong[i].o;
		weft_ref ref = api_poison_ref();

		o.struct_size = sizeof(o);
		memset(last, 0, sizeof(last));
		cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = &o), &ref),
		             -EINVAL, "case %zu", i);
		cr_assert_eq(ref.bits, API_POISON);
		cr_assert(logged(wrong[i].field), "case %zu", i);
	}
	weft_ref ref = api_poison_ref();

	cr_assert_eq(weft_find(rt, "", &ref), -EINVAL);
	cr_assert_eq(weft_find(rt, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_find(rt, "x", NULL), -EINVAL);
	cr_assert_eq(weft_find(rt, "x", &ref), -ENOENT);
	/* As a file name it is too long: said by the files. */
	memset(long_text, '/', 100);
	long_text[100] = 0;
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_nothing,
	                                   .opts = WEFT_TASK_OPTIONS(.key = long_text)),
	                         &ref),
	             -ENAMETOOLONG);
	cr_assert_eq(ref.bits, API_POISON);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(session, a_key_needs_a_session)
{
	weft *rt = api_open(1);
	weft_ref ref = api_poison_ref();
	struct weft_session_info info = { .struct_size = sizeof(info) };

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.key = "k")),
	                         &ref),
	             -EINVAL);
	cr_assert_eq(weft_find(rt, "k", &ref), -EINVAL);
	cr_assert_eq(weft_session_info(rt, &info), -EINVAL);
	cr_assert_eq(ref.bits, API_POISON);
	api_close(rt);
}

Test(session, a_directory_belongs_to_one_runtime, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session(), *other = NULL;

	cr_assert_eq(
		weft_open(&other, WEFT_OPTIONS(.workers = 1, .session_dir = dir, .log = keep_line)),
		-EBUSY);
	cr_assert_null(other);
	cr_assert(logged("is in use by process"));
	api_close(rt);
	cr_assert_eq(weft_open(&other, WEFT_OPTIONS(.workers = 1, .session_dir = "")), -EINVAL);
	cr_assert_eq(weft_open(&other, WEFT_OPTIONS(.workers = 1, .session_dir = "/dev/null/x")),
	             -ENOTDIR);
	rt = open_session();
	cr_assert_eq(session(rt).epoch, 2);
	api_close(rt);
}

Test(session, a_cancelled_key_is_not_finished, .init = begin, .fini = remove_dir)
{
	weft *rt = open_session();
	weft_ref event = api_event(rt);
	const struct weft_call *call =
		WEFT_TASK(body_failing, WEFT_ARG((int64_t){ 0 }), WEFT_AFTER(event),
	                  .opts = WEFT_TASK_OPTIONS(.key = "late"));
	weft_ref ref = api_submit(rt, call), found;

	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	cr_assert_eq(weft_find(rt, "late", &found), -ENOENT);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, api_submit(rt, call)), 0);
	cr_assert_eq(weft_find(rt, "late", &found), 0);
	api_release(rt, found);
	api_release(rt, event);
	api_await_no_tasks(rt);
	cr_assert_eq(api_read(&runs), 1);
	api_close(rt);
}

/* ---- Many at once --------------------------------------------------------------------------- */

#define KEYS 8

static weft *shared_rt;

static void submit_all(weft *rt, uint64_t *random)
{
	for (int i = 0; i < 2 * KEYS; i++) {
		int64_t k = api_below(random, KEYS);
		char key[16];

		snprintf(key, sizeof(key), "k%d", (int)k);
		check_big(rt, submit_big(rt, key, k), k);
	}
}

static void *submitter(void *arg)
{
	uint64_t random = test_seed() + (uintptr_t)arg;

	submit_all(shared_rt, &random);
	return NULL;
}

static int body_submitter(weft_task *self)
{
	uint64_t random = test_seed() + 77;

	submit_all(weft_task_runtime(self), &random);
	return 0;
}

Test(session, threads_and_tasks_that_submit_the_same_keys_run_each_once, .init = begin,
     .fini = remove_dir)
{
	weft *rt = shared_rt = open_session();
	pthread_t thread[3];
	weft_ref task[2];

	for (uintptr_t i = 0; i < 3; i++)
		thread[i] = api_thread(submitter, (void *)i);
	for (int i = 0; i < 2; i++)
		task[i] = api_spawn(rt, body_submitter, NULL, 0);
	for (int i = 0; i < 3; i++)
		api_join(thread[i]);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(rt, task[i]), 0);
	api_await_no_tasks(rt);
	cr_assert_leq(api_read(&runs), KEYS);
	cr_assert_eq(session(rt).ran, api_read(&runs));
	cr_assert_eq(session(rt).ran + session(rt).skipped + session(rt).shared, 5 * 2 * KEYS);
	api_close(rt);
}

/* ---- Killed --------------------------------------------------------------------------------- */

#define CHAIN 6

/* Dies in step `die` of its first start; the steps' runs are counted in files. */
static int body_step(weft_task *self)
{
	const int64_t *arg = weft_task_arg(self, NULL);
	struct weft_view in = { .data = NULL };
	int64_t sum = arg[0];
	char name[32];

	if (weft_input_count(self)) {
		API_CHECK(weft_input(self, 0, &in) == 0);
		sum += *(const int64_t *)in.data;
	}
	snprintf(name, sizeof(name), "ran-%d", (int)arg[0]);
	if (arg[0] == arg[1] && !there(dir, name)) {
		write_file(dir, name);
		kill(getpid(), SIGKILL);
	}
	return weft_return(self, &sum, sizeof(sum));
}

static int64_t run_chain(int64_t die)
{
	weft *rt = open_session();
	weft_ref step = WEFT_NONE;

	for (int64_t i = 0; i < CHAIN; i++) {
		int64_t arg[2] = { i, die };
		char key[16];
		weft_ref next;

		snprintf(key, sizeof(key), "step %d", (int)i);
		next = api_submit(rt,
		                  WEFT_TASK(body_step, WEFT_ARG(arg), .inputs = &step,
		                            .n_inputs = i > 0,
		                            .opts = WEFT_TASK_OPTIONS(.key = key)));
		if (i)
			api_release(rt, step);
		step = next;
	}
	int64_t sum = api_take_i64(rt, step);

	api_close(rt);
	return sum;
}

/* Run before this process has threads: each child is a program that starts anew. */
Test(session, a_killed_program_goes_on_where_it_was, .init = begin, .fini = remove_dir)
{
	for (int64_t die = 0; die < CHAIN; die++) {
		for (int start = 0; start < 2; start++) {
			pid_t pid = fork();
			int status = 0;

			cr_assert(pid >= 0);
			if (!pid)
				_Exit(run_chain(die) == CHAIN * (CHAIN - 1) / 2 ? 0 : 1);
			cr_assert_eq(waitpid(pid, &status, 0), pid);
			if (start == 0)
				cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			else
				cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		}
		remove_dir();
		make_dir();
	}
}

static void *interrupts(void *arg)
{
	weft_interrupt(arg);
	return NULL;
}

/* Also in the middle of the look for a result: nobody else may set what the look is told by. */
Test(session, an_interrupt_meets_submits_that_look, .init = begin, .fini = remove_dir)
{
	for (int round = 0; round < 40; round++) {
		weft *rt = open_session();
		pthread_t thread;
		weft_ref ref;
		int rc = 0;

		cr_assert_eq(pthread_create(&thread, NULL, interrupts, rt), 0);
		for (int64_t i = 0; !rc && i < 1000; i++) {
			char key[32];

			snprintf(key, sizeof(key), "k%d.%d", round, (int)i);
			rc = weft_submit(rt,
			                 WEFT_TASK(body_big, WEFT_ARG(i),
			                           .opts = WEFT_TASK_OPTIONS(.key = key)),
			                 &ref);
			if (!rc)
				api_release(rt, ref);
		}
		cr_assert_eq(pthread_join(thread, NULL), 0);
		(void)weft_close(rt, WEFT_POLL);
	}
}
