/*
 * skew.c: programs and libraries of different ages meet.
 *
 * Goal: an option struct that is shorter than the library's means defaults for what it does not
 * have; a longer one is fine as long as the part the library does not know is zero, and refused
 * when it is not; what the caller reads back is never written past the size it said.
 * Method: structs placed in buffers of other sizes, with poisoned surroundings.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <weft.h>

#include "test.h"

#define TAIL 64

struct long_options {
	struct weft_options known;
	unsigned char tail[TAIL];
};

struct long_task_options {
	struct weft_task_options known;
	unsigned char tail[TAIL];
};

static int answer(weft_task *self)
{
	int value = 42;

	return weft_return(self, &value, sizeof value);
}

static weft *open_one(void)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1)), 0);
	cr_assert_not_null(rt);
	return rt;
}

static int submit_with(weft *rt, const struct weft_task_options *opts, weft_ref *ref)
{
	return weft_submit(rt, &(struct weft_call){ .fn = answer, .opts = opts }, ref);
}

static void expect_answer(weft *rt, weft_ref ref)
{
	int value = 0;

	cr_assert_eq(weft_take(rt, ref, &value, sizeof value), (int64_t)sizeof value);
	cr_assert_eq(value, 42);
}

Test(skew, shorter_runtime_options_take_defaults_for_the_missing_fields)
{
	struct weft_options options;
	struct weft_info info = { .struct_size = sizeof info };
	weft *rt = NULL;

	memset(&options, 0xff, sizeof options);
	memset(&options, 0, offsetof(struct weft_options, flags));
	options.struct_size = offsetof(struct weft_options, flags);
	options.workers = 1;
	cr_assert_eq(weft_open(&rt, &options), 0);
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(info.workers, 1u);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(skew, longer_runtime_options_with_a_zero_tail_are_accepted)
{
	struct long_options options = { .known = { .struct_size = sizeof options, .workers = 1 } };
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, &options.known), 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(skew, longer_runtime_options_with_any_unknown_byte_set_are_refused)
{
	for (size_t i = 0; i < TAIL; i++) {
		struct long_options options = {
			.known = { .struct_size = sizeof options, .workers = 1 },
		};
		weft *rt = (weft *)&options;

		options.tail[i] = 1;
		cr_assert_eq(weft_open(&rt, &options.known), -EINVAL, "byte %zu", i);
		cr_assert_eq(rt, (weft *)&options, "touched on failure");
	}
}

Test(skew, runtime_options_without_a_size_or_with_an_absurd_one_are_refused)
{
	const size_t sizes[] = { 0, 1, sizeof(size_t) - 1, SIZE_MAX, (size_t)1 << 40 };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct weft_options options = { .struct_size = sizes[i], .workers = 1 };
		weft *rt = NULL;

		cr_assert_eq(weft_open(&rt, &options), -EINVAL, "size %zu", sizes[i]);
		cr_assert_null(rt);
	}
}

Test(skew, shorter_task_options_take_defaults_for_the_missing_fields)
{
	struct weft_task_options options;
	weft *rt = open_one();
	weft_ref ref = WEFT_NONE;

	memset(&options, 0xff, sizeof options);
	memset(&options, 0, offsetof(struct weft_task_options, flags));
	options.struct_size = offsetof(struct weft_task_options, flags);
	options.name = "short";
	cr_assert_eq(submit_with(rt, &options, &ref), 0);
	expect_answer(rt, ref);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(skew, longer_task_options_are_accepted_only_with_a_zero_tail)
{
	struct long_task_options options = { .known = { .struct_size = sizeof options } };
	weft *rt = open_one();
	weft_ref ref = WEFT_NONE;

	cr_assert_eq(submit_with(rt, &options.known, &ref), 0);
	expect_answer(rt, ref);
	for (size_t i = 0; i < TAIL; i++) {
		weft_ref poison = { 0xabcdef };

		options.tail[i] = 0x80;
		cr_assert_eq(submit_with(rt, &options.known, &poison), -EINVAL, "byte %zu", i);
		cr_assert_eq(poison.bits, 0xabcdefu, "touched on failure");
		options.tail[i] = 0;
	}
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(skew, reserved_fields_that_are_set_are_refused)
{
	struct weft_options options = { .struct_size = sizeof options, .workers = 1 };
	struct weft_task_options task = { .struct_size = sizeof task };
	weft *rt = NULL;
	weft_ref ref = { 7 };

	options.reserved[7] = 1;
	cr_assert_eq(weft_open(&rt, &options), -EINVAL);
	cr_assert_null(rt);
	rt = open_one();
	task.reserved[sizeof task.reserved / sizeof *task.reserved - 1] = 1;
	cr_assert_eq(submit_with(rt, &task, &ref), -EINVAL);
	cr_assert_eq(ref.bits, 7u);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(skew, results_are_never_written_past_the_size_the_caller_said)
{
	union {
		struct weft_stats stats;
		unsigned char bytes[sizeof(struct weft_stats) + TAIL];
	} u;
	const size_t sizes[] = { offsetof(struct weft_stats, completed),
		                 offsetof(struct weft_stats, stolen), sizeof(struct weft_stats) };
	weft *rt = open_one();

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		memset(&u, 0x5a, sizeof u);
		u.stats.struct_size = sizes[i];
		cr_assert_eq(weft_stats(rt, &u.stats), 0, "size %zu", sizes[i]);
		for (size_t at = sizes[i]; at < sizeof u; at++)
			cr_assert_eq(u.bytes[at], 0x5a, "byte %zu of size %zu", at, sizes[i]);
	}
	memset(&u, 0x5a, sizeof u);
	u.stats.struct_size = 0;
	cr_assert_eq(weft_stats(rt, &u.stats), -EINVAL);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(skew, a_longer_result_struct_gets_a_zero_tail_or_none)
{
	struct {
		struct weft_info known;
		unsigned char tail[TAIL];
	} info;
	weft *rt = open_one();

	memset(&info, 0, sizeof info);
	info.known.struct_size = sizeof info;
	cr_assert_eq(weft_info(rt, &info.known), 0);
	cr_assert_eq(info.known.workers, 1u);
	for (size_t i = 0; i < TAIL; i++)
		cr_assert_eq(info.tail[i], 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}
