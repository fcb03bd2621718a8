/*
 * Goal: arguments of every size arrive whole and aligned, and arg_drop runs exactly once with them
 * on every path on which the submit succeeded, and never when it failed.
 * Method: patterned bytes over the size borders; a counter inside the argument, read after close,
 * by when every path must have dropped it.
 */
#include "api.h"
#include "test.h"

static const uint32_t sizes[] = { 0,   1,   2,   8,    15,   16,   17,   31,   32,
	                          33,  48,  63,  64,   65,   100,  127,  128,  129,
	                          255, 256, 257, 1000, 1024, 2048, 4000, 4095, 4096 };
#define SIZES (sizeof sizes / sizeof sizes[0])

static unsigned char pattern(uint32_t size, uint32_t i)
{
	return (unsigned char)(size * 31 + i * 7 + 1);
}

static int check_bytes(weft_task *self)
{
	size_t size = 1;
	unsigned char *arg = weft_task_arg(self, &size);

	API_CHECK(size == 0 || (uintptr_t)arg % 16 == 0);
	for (uint32_t i = 0; i < size; i++)
		API_CHECK(arg[i] == pattern((uint32_t)size, i));
	if (size)
		memset(arg, 0xff, size); /* bodies may scribble */
	const int64_t seen = (int64_t)size;
	return weft_return(self, &seen, sizeof seen);
}

Test(args, every_size_arrives_whole_and_aligned)
{
	weft *rt = api_open(2);
	unsigned char bytes[WEFT_ARG_MAX + 1];

	for (uint32_t s = 0; s < SIZES; s++) {
		weft_ref ref[3];

		for (uint32_t i = 0; i < sizes[s]; i++)
			bytes[i + 1] = pattern(sizes[s], i); /* the source may be unaligned */
		ref[0] = api_spawn(rt, check_bytes, bytes + 1, sizes[s]);
		ref[1] = api_submit(rt,
		                    WEFT_TASK(check_bytes, .arg = bytes + 1, .arg_size = sizes[s]));
		ref[2] = api_submit(rt,
		                    WEFT_TASK(check_bytes, .arg = bytes + 1, .arg_size = sizes[s],
		                              WEFT_AFTER(ref[0])));
		memset(bytes, 0, sizeof bytes);
		for (int i = 0; i < 3; i++)
			cr_assert_eq(api_get(rt, ref[i]), 0);
		for (int i = 0; i < 3; i++)
			cr_assert_eq(api_take_i64(rt, ref[i]), sizes[s]);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

static int size_may_be_null(weft_task *self)
{
	const int64_t *value = weft_task_arg(self, NULL);

	API_CHECK((const int64_t *)weft_task_arg(self, NULL) == value);
	return weft_return(self, value, sizeof *value);
}

Test(args, the_size_need_not_be_asked_for)
{
	weft *rt = api_open(1);
	const int64_t value = 77;

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, size_may_be_null, &value, sizeof value)), 77);
	api_close(rt);
}

/* ---- arg_drop ---- */

struct cargo {
	struct api_count *drops;
	struct api_gate *gate;
	weft_ref ref;
	int64_t code;
	char fill[64]; /* past what rides in the record itself */
};

static void drop(void *arg, size_t size)
{
	const struct cargo *cargo = arg;

	API_CHECK(size == sizeof *cargo);
	api_add(cargo->drops, 1);
}

static const struct weft_task_options drops = {
	.struct_size = sizeof drops,
	.arg_drop = drop,
	.name = "cargo",
};

static int cargo_body(weft_task *self)
{
	const struct cargo *cargo = weft_task_arg(self, NULL);
	struct weft_view view;

	if (cargo->gate)
		api_gate_pass(cargo->gate);
	if (cargo->ref.bits) {
		const int status =
			weft_get(weft_task_runtime(self), cargo->ref, WEFT_FOREVER, &view);

		if (status < 0)
			return -ECANCELED;
	}
	return cargo->code ? weft_fail(self, (int)cargo->code, "no") : 0;
}

Test(args, dropped_once_after_a_run_and_after_a_failure)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };

	for (uint32_t i = 0; i < 100; i++) {
		const struct cargo cargo = { .drops = &count, .code = i % 2 ? -5 : 0 };
		weft_ref ref =
			api_submit(rt, WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops));
		cr_assert_eq(api_end(rt, ref), i % 2 ? WEFT_ETASK : 0);
		cr_assert_eq(weft_submit(rt, WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops),
		                         NULL),
		             0);
	}
	api_close(rt);
	cr_assert_eq(api_read(&count), 200);
}

Test(args, dropped_once_when_cancelled_in_the_queue)
{
	weft *rt = api_open(1);
	struct api_count count = { 0 };
	struct api_gate gate = API_GATE_INIT;
	const struct cargo cargo = { .drops = &count };
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate))), ref;

	api_gate_await(&gate, 1);
	ref = api_submit(rt, WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops));
	cr_assert_eq(weft_cancel(rt, ref), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	cr_assert_eq(api_end(rt, holder), 0);
	api_close(rt);
	cr_assert_eq(api_read(&count), 1);
}

Test(args, dropped_once_when_cancelled_while_waiting_or_blocked)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	weft_ref event = api_event(rt);
	const struct cargo waiting = { .drops = &count };
	const struct cargo blocked = { .drops = &count, .ref = event };
	weft_ref a = api_submit(
		rt, WEFT_TASK(cargo_body, WEFT_ARG(waiting), .opts = &drops, WEFT_INPUTS(event)));
	weft_ref b = api_submit(rt, WEFT_TASK(cargo_body, WEFT_ARG(blocked), .opts = &drops));

	api_await_state(rt, b, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, a), 0);
	cr_assert_eq(weft_cancel(rt, b), 0);
	cr_assert_eq(api_end(rt, a), -ECANCELED);
	cr_assert_eq(api_end(rt, b), -ECANCELED);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_close(rt);
	cr_assert_eq(api_read(&count), 2);
}

Test(args, dropped_once_when_an_input_failed)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	const int64_t code = -3;
	const struct cargo cargo = { .drops = &count };
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code), ref;

	for (int ready = 0; ready < 2; ready++) {
		ref = api_submit(
			rt,
			WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops, WEFT_INPUTS(bad)));
		cr_assert_eq(api_end(rt, ref), WEFT_EDEP);
		cr_assert_eq(api_get(rt, bad), WEFT_ETASK);
	}
	api_release(rt, bad);
	api_close(rt);
	cr_assert_eq(api_read(&count), 2);
}

Test(args, dropped_once_when_the_deadline_passed)
{
	weft *rt = api_open(1);
	struct api_count count = { 0 };
	struct api_gate gate = API_GATE_INIT;
	const struct cargo cargo = { .drops = &count };
	weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate))), ref;

	api_gate_await(&gate, 1);
	ref = api_submit(rt,
	                 WEFT_TASK(cargo_body, WEFT_ARG(cargo),
	                           .opts = WEFT_TASK_OPTIONS(.base = &drops, .deadline = 1)));
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, ref), WEFT_EDEADLINE);
	cr_assert_eq(api_end(rt, holder), 0);
	api_close(rt);
	cr_assert_eq(api_read(&count), 1);
}

Test(args, dropped_once_when_closing_cancels_the_rest)
{
	weft *rt = api_open(1);
	struct api_count count = { 0 };
	weft_ref event = api_event(rt);
	const struct cargo blocked = { .drops = &count, .ref = event };
	const struct cargo waiting = { .drops = &count };
	weft_ref refs[100];

	for (int i = 0; i < 100; i++)
		refs[i] = i < 50
			? api_submit(rt, WEFT_TASK(cargo_body, WEFT_ARG(blocked), .opts = &drops))
			: api_submit(rt,
		                     WEFT_TASK(cargo_body, WEFT_ARG(waiting), .opts = &drops,
		                               WEFT_AFTER(event)));
	for (int i = 0; i < 50; i++)
		api_await_state(rt, refs[i], WEFT_REF_BLOCKED);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_eq(api_read(&count), 100);
}

Test(args, dropped_once_after_all_attempts)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	const struct cargo cargo = { .drops = &count, .code = -9 };
	weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(cargo_body, WEFT_ARG(cargo),
	                             .opts = WEFT_TASK_OPTIONS(.base = &drops, .retries = 4)));

	cr_assert_eq(api_end(rt, ref), WEFT_ETASK);
	api_close(rt);
	cr_assert_eq(api_read(&count), 1);
}

Test(args, dropped_once_when_nobody_wants_the_result)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	weft_ref event = api_event(rt);
	const struct cargo cargo = { .drops = &count };

	for (int i = 0; i < 100; i++)
		api_release(rt,
		            api_submit(rt,
		                       WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops,
		                                 WEFT_AFTER(event))));
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_release(rt, event);
	api_close(rt);
	cr_assert_eq(api_read(&count), 100);
}

Test(args, not_dropped_when_the_submit_fails)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	const struct cargo cargo = { .drops = &count };
	weft_ref stale = api_put_i64(rt, 1), out = api_poison_ref();

	api_release(rt, stale);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops,
	                                   WEFT_INPUTS(stale)),
	                         &out),
	             -EINVAL);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(cargo_body, WEFT_ARG(cargo),
	                              .opts = WEFT_TASK_OPTIONS(.base = &drops, .flags = 1u << 31)),
	                    &out),
		-EINVAL);
	weft_interrupt(rt);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(cargo_body, WEFT_ARG(cargo), .opts = &drops), &out),
	             WEFT_ECLOSED);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&count), 0);
}

static struct api_count empty_drops;

static void drop_empty(void *arg, size_t size)
{
	(void)arg;
	API_CHECK(size == 0);
	api_add(&empty_drops, 1);
}

Test(args, an_empty_argument_is_dropped_once_too)
{
	weft *rt = api_open(2);
	weft_ref ref = api_submit(
		rt, WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.arg_drop = drop_empty)));

	cr_assert_eq(api_end(rt, ref), 0);
	api_close(rt);
	cr_assert_eq(api_read(&empty_drops), 1);
}
