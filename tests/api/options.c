/*
 * Goal: options mean what the tables in the header say: zero is the default, every "none" has its
 * word, a base is completed by the call, and what is unknown or out of range is refused.
 * Method: each field wrong in turn, larger structs with zero and non-zero tails, chains of bases.
 */
#include "api.h"
#include "test.h"

static void expect_open(const struct weft_options *opts, int status)
{
	weft *const poison = (void *)(uintptr_t)API_POISON, *rt = poison;

	cr_assert_eq(weft_open(&rt, opts), status);
	if (status < 0)
		cr_assert_eq(rt, poison);
	else
		api_close(rt);
}

/* A machine may have room for fewer; that is no bad option. */
Test(options, as_many_workers_as_are_promised)
{
	weft *rt = NULL;
	const int rc = weft_open(&rt, WEFT_OPTIONS(.workers = 1024, .stack_bytes = 65536));

	cr_assert(rc == 0 || rc == -EAGAIN || rc == -ENOMEM, "%d", rc);
	if (rc)
		return;
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	api_close(rt);
}

Test(options, a_runtime_refuses_what_it_does_not_know)
{
	char long_name[65];

	memset(long_name, 'n', 64);
	long_name[64] = '\0';
	expect_open(&(const struct weft_options){ 0 }, -EINVAL);
	expect_open(WEFT_OPTIONS(.workers = 1025), -EINVAL);
	expect_open(WEFT_OPTIONS(.flags = 1u << 30), -EINVAL);
	expect_open(WEFT_OPTIONS(.bind = 3), -EINVAL);
	expect_open(WEFT_OPTIONS(.stacks_max = (1u << 20) + 1), -EINVAL);
	expect_open(WEFT_OPTIONS(.stack_bytes = 16383), -EINVAL);
	expect_open(WEFT_OPTIONS(.stack_bytes = (64u << 20) + 1), -EINVAL);
	expect_open(WEFT_OPTIONS(.tasks_max = (1u << 28) + 1), -EINVAL);
	expect_open(WEFT_OPTIONS(.store_bytes = (1u << 20) - 1), -EINVAL);
	expect_open(WEFT_OPTIONS(.store_bytes = ((uint64_t)1 << 46) + 1), -EINVAL);
	expect_open(WEFT_OPTIONS(.spill_bytes = 4095), -EINVAL);
	expect_open(WEFT_OPTIONS(.spill_high = 1001), -EINVAL);
	expect_open(WEFT_OPTIONS(.spill_low = 801), -EINVAL);
	expect_open(WEFT_OPTIONS(.spill_dirs = "a:b:c:d:e:f:g:h:i:j:k:l:m:n:o:p:q"), -EINVAL);
	expect_open(WEFT_OPTIONS(.name = long_name), -EINVAL);
	expect_open(WEFT_OPTIONS(.ns = long_name), -EINVAL);
	for (int i = 0; i < 8; i++) {
		struct weft_options opts = *WEFT_OPTIONS(.workers = 1);

		opts.reserved[i] = 1;
		expect_open(&opts, -EINVAL);
	}
	long_name[63] = '\0';
	expect_open(WEFT_OPTIONS(.workers = 1, .name = long_name, .ns = long_name), 0);
	expect_open(WEFT_OPTIONS(.workers = 1, .store_bytes = (uint64_t)1 << 46,
	                         .spill_dirs = "a:b:c:d:e:f:g:h:i:j:k:l:m:n:o::p:"),
	            0);
	expect_open(WEFT_OPTIONS(.workers = 1, .stack_bytes = WF_ASAN || WF_TSAN ? 65536 : 16384),
	            0);
	expect_open(WEFT_OPTIONS(.workers = 1, .stack_bytes = 100001), 0);
}

struct newer_options {
	struct weft_options known;
	uint64_t tail[4];
};

Test(options, a_newer_struct_is_taken_when_its_tail_is_zero)
{
	struct newer_options opts = { .known = { .struct_size = sizeof opts, .workers = 1 } };

	expect_open(&opts.known, 0);
	opts.tail[3] = 1;
	expect_open(&opts.known, -EINVAL);
	opts.tail[3] = 0;
	opts.known.struct_size = sizeof(size_t) - 1;
	expect_open(&opts.known, -EINVAL);
}

Test(options, an_older_struct_is_completed_with_defaults)
{
	struct weft_options opts = *WEFT_OPTIONS(.workers = 1, .name = "never read");

	opts.struct_size = offsetof(struct weft_options, seed);
	weft *rt = NULL;
	struct weft_info info = { .struct_size = sizeof info };
	cr_assert_eq(weft_open(&rt, &opts), 0);
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_str_eq(info.name, "weft");
	api_close(rt);
}

Test(options, equal_means_the_same_once_defaults_are_filled_in)
{
	cr_assert_eq(weft_options_equal(NULL, NULL), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.workers = 2), WEFT_OPTIONS(.workers = 2)), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.workers = 2), WEFT_OPTIONS(.workers = 3)), 0);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(0), NULL), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.name = "weft"), WEFT_OPTIONS(0)), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.name = "other"), WEFT_OPTIONS(0)), 0);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.ns = "default"), WEFT_OPTIONS(0)), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.stack_bytes = 256 << 10), WEFT_OPTIONS(0)),
	             1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.stacks_max = 131072), WEFT_OPTIONS(0)), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.tasks_max = 16777216), WEFT_OPTIONS(0)), 1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.spare_threads_max = 256), WEFT_OPTIONS(0)),
	             1);
	cr_assert_eq(weft_options_equal(WEFT_OPTIONS(.spare_threads_max = WEFT_SPARE_NONE),
	                                WEFT_OPTIONS(0)),
	             0);
	cr_assert_eq(weft_options_equal(&(const struct weft_options){ 0 }, NULL), -EINVAL);
	cr_assert_eq(weft_options_equal(NULL, WEFT_OPTIONS(.flags = 1u << 30)), -EINVAL);
}

static void expect_submit(weft *rt, const struct weft_task_options *opts, int status)
{
	weft_ref out = api_poison_ref();

	const int got = weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = opts), &out);

	cr_assert_eq(got, status, "%d and not %d", got, status);
	if (status < 0)
		cr_assert_eq(out.bits, API_POISON);
	else
		cr_assert_eq(api_end(rt, out), 0);
}

Test(options, a_task_refuses_what_it_does_not_know)
{
	weft *rt = api_open(1);
	char long_name[257];
	struct weft_task_options bad = *WEFT_TASK_OPTIONS(.n_outputs = 1);

	memset(long_name, 'n', 256);
	long_name[256] = '\0';
	expect_submit(rt, &(const struct weft_task_options){ 0 }, -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.flags = 1u << 7), -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_MAX + 1), -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.priority = 3), -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.on_input_error = 3), -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.name = long_name), -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.flags = WEFT_TASK_ISOLATED), -ENOTSUP);
	expect_submit(rt, WEFT_TASK_OPTIONS(.flags = WEFT_TASK_NO_EVENTS), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(.flags = WEFT_TASK_NO_SPECULATION), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(.flags = WEFT_TASK_REBUILD << 1, .retries = 1),
	              -EINVAL);
	expect_submit(rt, WEFT_TASK_OPTIONS(.cpus = 1), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(.cpus = WEFT_CPUS_NONE), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(.group = { 1 }), -EINVAL);
	for (size_t i = 0; i < sizeof bad.reserved / sizeof *bad.reserved; i++) {
		bad = *WEFT_TASK_OPTIONS(.n_outputs = 1);
		bad.reserved[i] = 1;
		expect_submit(rt, &bad, -EINVAL);
		expect_submit(rt, WEFT_TASK_OPTIONS(.base = &bad), -EINVAL);
	}
	long_name[255] = '\0';
	expect_submit(rt, WEFT_TASK_OPTIONS(.name = long_name), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(.name = ""), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(.retries = WEFT_RETRIES_NONE), 0);
	expect_submit(rt, WEFT_TASK_OPTIONS(0), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct newer_task {
	struct weft_task_options known;
	uint64_t tail[3];
};

Test(options, a_newer_task_struct_is_taken_when_its_tail_is_zero)
{
	weft *rt = api_open(1);
	struct newer_task opts = { .known = { .struct_size = sizeof opts } };

	expect_submit(rt, &opts.known, 0);
	opts.tail[2] = 1;
	expect_submit(rt, &opts.known, -EINVAL);
	opts.known.struct_size = 1;
	expect_submit(rt, &opts.known, -EINVAL);
	api_close(rt);
}

Test(options, bases_go_eight_deep_and_no_deeper)
{
	weft *rt = api_open(1);
	struct weft_task_options chain[12];

	for (int i = 0; i < 12; i++)
		chain[i] = *WEFT_TASK_OPTIONS(.base = i ? &chain[i - 1] : NULL);
	for (int i = 0; i <= 8; i++) /* chain[i] has i bases below it */
		expect_submit(rt, &chain[i], 0);
	expect_submit(rt, &chain[9], -EINVAL);
	expect_submit(rt, &chain[11], -EINVAL);
	chain[0].base = &chain[3];
	expect_submit(rt, &chain[3], -EINVAL);
	api_close(rt);
}

static int tells_its_name(weft_task *self)
{
	const char *name = weft_task_name(self);

	return weft_return(self, name, strlen(name) + 1);
}

static void expect_name(weft *rt, const struct weft_task_options *opts, const char *name)
{
	char got[256] = "";
	weft_ref ref = api_submit(rt, WEFT_TASK(tells_its_name, .opts = opts));

	cr_assert_eq(weft_take(rt, ref, got, sizeof got), (int64_t)strlen(name) + 1);
	cr_assert_str_eq(got, name);
}

Test(options, names_come_from_the_call_the_base_or_the_function)
{
	static const struct weft_task_options base = {
		.struct_size = sizeof base,
		.name = "base",
		.n_outputs = 1,
	};
	weft *rt = api_open(1);

	expect_name(rt, NULL, "tells_its_name");
	expect_name(rt, &base, "base");
	expect_name(rt, WEFT_TASK_OPTIONS(.base = &base), "base");
	expect_name(rt, WEFT_TASK_OPTIONS(.base = &base, .name = "own"), "own");
	api_close(rt);
}

static struct api_count drops;

static void drop(void *arg, size_t size)
{
	(void)arg;
	(void)size;
	api_add(&drops, 1);
}

static int fails_always(weft_task *self)
{
	api_add(api_arg_pointer(self), 1);
	return -EIO;
}

Test(options, a_zero_field_takes_the_bases_value_and_a_word_undoes_it)
{
	static const struct weft_task_options base = {
		.struct_size = sizeof base,
		.n_outputs = 3,
		.retries = 2,
		.arg_drop = drop,
		.on_input_error = WEFT_INPUT_AS_VALUE,
	};
	weft *rt = api_open(1);
	struct api_count runs = { 0 };
	weft_ref out[4] = { WEFT_NONE, WEFT_NONE, WEFT_NONE, api_poison_ref() };

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(fails_always, API_POINTER(&runs),
	                                   .opts = WEFT_TASK_OPTIONS(.base = &base)),
	                         out),
	             0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, out[i]), WEFT_ETASK);
	cr_assert_eq(out[3].bits, API_POISON);
	cr_assert_eq(api_read(&runs), 3);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(fails_always, API_POINTER(&runs),
	                                   .opts = WEFT_TASK_OPTIONS(.base = &base,
	                                                             .retries = WEFT_RETRIES_NONE,
	                                                             .n_outputs = 1)),
	                         out),
	             0);
	cr_assert_eq(api_end(rt, out[0]), WEFT_ETASK);
	cr_assert_eq(api_read(&runs), 4);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(fails_always, API_POINTER(&runs),
	                              .opts = WEFT_TASK_OPTIONS(.base = &base,
	                                                        .retries = WEFT_RETRIES_NONE,
	                                                        .n_outputs = WEFT_OUTPUTS_NONE)),
	                    &out[3]),
		0);
	cr_assert_eq(out[3].bits, API_POISON);
	api_close(rt);
	cr_assert_eq(api_read(&runs), 5);
	cr_assert_eq(api_read(&drops), 3);
}
