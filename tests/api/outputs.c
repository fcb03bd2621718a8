/*
 * Goal: results of every size and number arrive whole, in their final place, aligned; outputs live
 * and die one by one; a buffer that is too small gets nothing.
 * Method: patterned bytes over the borders of where a value is kept, poisoned destinations, the
 * count of live cells at the end.
 */
#include "api.h"
#include "test.h"

static const uint32_t sizes[] = { 0,    1,    8,    15,    16,      17,           31,  32,
	                          33,   63,   64,   65,    127,     128,          129, 1000,
	                          4095, 4096, 4097, 65536, 1 << 20, (2 << 20) + 1 };
#define SIZES (sizeof sizes / sizeof sizes[0])

static void fill(unsigned char *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(size + i * 13);
}

static bool filled(const unsigned char *bytes, uint32_t size)
{
	for (uint32_t i = 0; i < size; i++)
		if (bytes[i] != (unsigned char)(size + i * 13))
			return false;
	return true;
}

static int write_output(weft_task *self)
{
	const uint32_t *size = weft_task_arg(self, NULL);
	void *data = NULL;

	API_CHECK(weft_task_output(self, 0, *size, &data) == 0);
	API_CHECK(*size == 0 || (uintptr_t)data % (*size >= 64 ? 64 : 16) == 0);
	fill(data, *size);
	return 0;
}

static int return_output(weft_task *self)
{
	const uint32_t *size = weft_task_arg(self, NULL);
	unsigned char *data = malloc(*size + 1);

	API_CHECK(data != NULL);
	fill(data, *size);
	const int status = weft_return(self, data, *size);
	memset(data, 0xee, *size);
	free(data);
	return status;
}

Test(outputs, every_size_comes_back_in_place_and_by_copy)
{
	weft *rt = api_open(2);
	unsigned char *copy = malloc((2 << 20) + 2);

	for (uint32_t s = 0; s < 2 * SIZES; s++) {
		const uint32_t size = sizes[s / 2];
		weft_ref ref =
			api_spawn(rt, s % 2 ? write_output : return_output, &size, sizeof size);
		struct weft_view view = api_poison_view(), again;

		cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), 0);
		cr_assert_eq(view.size, size);
		cr_assert(filled(view.data, size), "size %u", size);
		cr_assert_eq(weft_get(rt, ref, WEFT_POLL, &again), 0);
		cr_assert_eq(again.data, view.data, "a value does not move");
		copy[size] = 0xab;
		cr_assert_eq(weft_get_copy(rt, ref, copy, size), size);
		cr_assert(filled(copy, size));
		cr_assert_eq(copy[size], 0xab, "nothing is written past the size");
		memset(copy, 0, size);
		cr_assert_eq(weft_take(rt, ref, copy, size + 1), size);
		cr_assert(filled(copy, size));
		cr_assert_eq(weft_peek(rt, ref), -EINVAL, "take released the ref");
	}
	free(copy);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(outputs, a_small_buffer_gets_nothing)
{
	weft *rt = api_open(2);
	const uint32_t size = 40;
	unsigned char small[39];
	weft_ref ref = api_spawn(rt, write_output, &size, sizeof size);

	memset(small, 0x77, sizeof small);
	cr_assert_eq(weft_get_copy(rt, ref, small, sizeof small), -EMSGSIZE);
	cr_assert_eq(weft_get_copy(rt, ref, NULL, 0), -EMSGSIZE);
	cr_assert_eq(weft_peek(rt, ref), 1, "get_copy keeps the ref");
	cr_assert_eq(weft_take(rt, ref, small, sizeof small), -EMSGSIZE);
	for (unsigned i = 0; i < sizeof small; i++)
		cr_assert_eq(small[i], 0x77);
	cr_assert_eq(weft_peek(rt, ref), -EINVAL, "take consumes the ref whatever the outcome");
	ref = api_spawn(rt, api_body_nothing, NULL, 0);
	cr_assert_eq(weft_get_copy(rt, ref, NULL, 0), 0);
	cr_assert_eq(weft_take(rt, ref, NULL, 0), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int replace_output(weft_task *self)
{
	void *data;

	API_CHECK(weft_task_output(self, 0, 100000, &data) == 0);
	memset(data, 1, 100000);
	API_CHECK(weft_task_output(self, 0, 8, &data) == 0);
	memset(data, 2, 8);
	API_CHECK(weft_task_output(self, 0, 500, &data) == 0);
	memset(data, 3, 500);
	const int64_t last = 4;
	return weft_return(self, &last, sizeof last);
}

Test(outputs, asking_again_replaces_the_room)
{
	weft *rt = api_open(2);

	for (int i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(rt, api_spawn(rt, replace_output, NULL, 0)), 4);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int out_of_range(weft_task *self)
{
	void *data = (void *)(uintptr_t)API_POISON;

	API_CHECK(weft_task_output(self, 1, 8, &data) == -EINVAL);
	API_CHECK(weft_task_output(self, UINT32_MAX, 8, &data) == -EINVAL);
	API_CHECK(data == (void *)(uintptr_t)API_POISON);
	API_CHECK(weft_task_output(self, 0, SIZE_MAX / 2, &data) == WEFT_ESTOREFULL);
	API_CHECK(data == (void *)(uintptr_t)API_POISON);
	API_CHECK(weft_task_output(self, 0, 8, NULL) == -EINVAL);
	return 0;
}

Test(outputs, rooms_that_cannot_be_are_refused)
{
	weft *rt = api_open(2);
	struct weft_view view;
	weft_ref ref = api_spawn(rt, out_of_range, NULL, 0);

	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 0, "an output never given is an empty value");
	api_release(rt, ref);
	api_close(rt);
}

static int write_all(weft_task *self)
{
	const uint32_t *n = weft_task_arg(self, NULL);

	for (uint32_t i = 0; i < *n; i++) {
		void *data;

		if (i % 3 == 1)
			continue; /* stays empty */
		API_CHECK(weft_task_output(self, i, 4 + i % 70, &data) == 0);
		memset(data, (int)(i % 251), 4 + i % 70);
	}
	return 0;
}

static void check_output(weft *rt, weft_ref ref, uint32_t i)
{
	struct weft_view view = api_poison_view();

	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, i % 3 == 1 ? 0 : 4 + i % 70);
	for (uint32_t b = 0; b < view.size; b++)
		cr_assert_eq(((const unsigned char *)view.data)[b], i % 251);
	cr_assert_eq(weft_release(rt, ref), 0);
}

Test(outputs, one_two_and_1024_outputs)
{
	static const uint32_t counts[] = { 1, 2, 3, 100, 1023, WEFT_OUTPUTS_MAX };
	weft *rt = api_open(2);
	static weft_ref refs[WEFT_OUTPUTS_MAX + 1];

	for (unsigned c = 0; c < sizeof counts / sizeof counts[0]; c++) {
		const uint32_t n = counts[c];

		refs[n] = api_poison_ref();
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(write_all, WEFT_ARG(n),
		                                   .opts = WEFT_TASK_OPTIONS(.n_outputs = n)),
		                         refs),
		             0);
		cr_assert_eq(refs[n].bits, API_POISON);
		for (uint32_t i = 0; i < n; i++) /* release each at a time of its own */
			check_output(rt, refs[c % 2 ? i : n - 1 - i], c % 2 ? i : n - 1 - i);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

static int no_room(weft_task *self)
{
	void *data = (void *)(uintptr_t)API_POISON;

	API_CHECK(weft_task_output(self, 0, 1, &data) == -EINVAL);
	API_CHECK(data == (void *)(uintptr_t)API_POISON);
	API_CHECK(weft_task_ref(self).bits == 0);
	return api_body_count(self);
}

Test(outputs, a_task_with_no_outputs_runs_and_writes_no_ref)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	weft_ref out = api_poison_ref();

	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(no_room, API_POINTER(&count),
	                              .opts = WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_NONE)),
	                    &out),
		0);
	cr_assert_eq(out.bits, API_POISON);
	api_close(rt);
	cr_assert_eq(api_read(&count), 1);
}

static int write_then_fail(weft_task *self)
{
	const int64_t value = 1;

	API_CHECK(weft_return(self, &value, sizeof value) == 0);
	return weft_fail(self, -EPROTO, "after writing");
}

Test(outputs, all_outputs_of_a_failed_task_fail_alike)
{
	weft *rt = api_open(2);
	weft_ref refs[5];

	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(write_then_fail, .opts = WEFT_TASK_OPTIONS(.n_outputs = 5)),
	                    refs),
		0);
	for (int i = 0; i < 5; i++) {
		const struct weft_error *error = NULL;
		struct weft_view view = api_poison_view();

		cr_assert_eq(weft_get(rt, refs[i], WEFT_FOREVER, &view), WEFT_ETASK);
		cr_assert(api_view_untouched(&view));
		cr_assert_eq(weft_ref_error(rt, refs[i], &error), 0);
		cr_assert_eq(error->code, -EPROTO);
		cr_assert_str_eq(error->text, "after writing");
		api_release(rt, refs[i]);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

static int own_ref(weft_task *self)
{
	const weft_ref own = weft_task_ref(self);
	const int64_t value = 31;

	API_CHECK(own.bits != 0);
	API_CHECK(weft_peek(weft_task_runtime(self), own) == 0);
	API_CHECK(weft_retain(weft_task_runtime(self), own) == 0);
	*(weft_ref *)api_arg_pointer(self) = own;
	return weft_return(self, &value, sizeof value);
}

Test(outputs, a_task_can_retain_its_own_ref)
{
	weft *rt = api_open(2);
	weft_ref kept = WEFT_NONE;
	weft_ref ref = api_submit(rt, WEFT_TASK(own_ref, API_POINTER(&kept)));

	cr_assert_eq(api_take_i64(rt, ref), 31);
	cr_assert_eq(kept.bits, ref.bits);
	cr_assert_eq(api_take_i64(rt, kept), 31);
	cr_assert_eq(weft_peek(rt, ref), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(outputs, results_nobody_holds_are_dropped)
{
	weft *rt = api_open(2);
	const uint32_t size = 5000;

	for (uint32_t i = 0; i < api_scaled(2000); i++)
		cr_assert_eq(weft_spawn(rt, write_output, &size, sizeof size, NULL), 0);
	for (uint32_t i = 0; i < api_scaled(2000); i++)
		api_release(rt, api_spawn(rt, return_output, &size, sizeof size));
	api_await_no_tasks(rt);
	api_close(rt);
}

static int positive(weft_task *self)
{
	const int64_t value = 8;

	API_CHECK(weft_return(self, &value, sizeof value) == 0);
	return 1000;
}

Test(outputs, any_return_of_zero_or_more_is_success)
{
	weft *rt = api_open(2);

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, positive, NULL, 0)), 8);
	api_close(rt);
}

Test(outputs, a_put_value_is_copied_and_ready_at_once)
{
	weft *rt = api_open(2);
	unsigned char *bytes = malloc((2 << 20) + 1);

	for (uint32_t s = 0; s < SIZES; s++) {
		weft_ref ref = api_poison_ref();
		struct weft_view view = api_poison_view();

		fill(bytes, sizes[s]);
		cr_assert_eq(weft_put(rt, bytes, sizes[s], &ref), 0);
		memset(bytes, 0, sizes[s]);
		cr_assert_eq(weft_peek(rt, ref), 1);
		cr_assert_eq(weft_get(rt, ref, WEFT_POLL, &view), 0);
		cr_assert_eq(view.size, sizes[s]);
		cr_assert(filled(view.data, sizes[s]));
		api_release(rt, ref);
	}
	free(bytes);
	api_await_no_tasks(rt);
	api_close(rt);
}
