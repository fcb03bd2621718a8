/*
 * Goal: a generator gives its items in order, each once, at once; a window holds the body back and
 * nothing else does; failures, retries, cancels and drops end where they must; misuse is told.
 * Method: bodies that count how far they have come, looked at from the test thread at moments
 * that gates and states make certain. One test or more per row of the reference's table.
 */
#include "generator.h"

/* ---- T9: streaming ------------------------------------------------------------------------ */

Test(generators, items_come_in_order_and_then_the_end_for_ever)
{
	static const size_t sizes[] = { 8, 9, 16, 17, 448, 449, 4096 };

	for (uint32_t workers = 1; workers <= 2; workers++) {
		for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
			struct gen_plan plan = { .good = 50, .size = sizes[k] };
			weft *rt = api_open(workers);
			weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), item;
			struct weft_view view;

			for (int64_t i = 0; i < plan.good; i++) {
				cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), 0);
				cr_assert_eq(weft_peek(rt, item), 1);
				cr_assert_eq(weft_get(rt, item, WEFT_POLL, &view), 0);
				cr_assert_eq(view.size, sizes[k]);
				cr_assert_eq(memcmp(view.data, &i, sizeof i), 0);
				api_release(rt, item);
			}
			gen_expect_end(rt, gen);
			gen_release_and_close(rt, gen);
		}
	}
}

Test(generators, each_item_is_there_while_the_body_goes_on)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct gen_plan plan = { .good = 5, .gate = &gate, .at = 3 };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), item = api_poison_ref();

	for (int64_t i = 0; i < 3; i++)
		cr_assert_eq(gen_take_next(rt, gen), i);
	api_gate_await(&gate, 1);
	cr_assert_eq(weft_next(rt, gen, WEFT_POLL, &item), -ETIMEDOUT);
	cr_assert_eq(weft_next(rt, gen, weft_after_ms(rt, 2), &item), -ETIMEDOUT);
	cr_assert_eq(item.bits, API_POISON);
	cr_assert_eq(weft_is_finished(rt, gen), 0);
	api_gate_open(&gate);
	cr_assert_eq(gen_take_next(rt, gen), 3);
	cr_assert_eq(gen_take_next(rt, gen), 4);
	gen_expect_end(rt, gen);
	gen_release_and_close(rt, gen);
}

Test(generators, the_body_is_eager_and_runs_to_its_end_whatever_is_taken)
{
	weft *rt = api_open(1);
	struct gen_plan plan = { .good = 1000 };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0));

	api_await_count(&plan.ended, 1);
	cr_assert_eq(api_read(&plan.given), 1000);
	for (int64_t i = 0; i < 1000; i++)
		cr_assert_eq(gen_take_next(rt, gen), i);
	gen_expect_end(rt, gen);
	gen_release_and_close(rt, gen);
}

Test(generators, a_body_that_gives_nothing_ends_at_once)
{
	weft *rt = api_open(2);
	weft_ref gen = api_submit(rt, WEFT_TASK(api_body_nothing, .opts = GEN_STREAM(0)));

	gen_expect_end(rt, gen);
	gen_release_and_close(rt, gen);
}

Test(generators, several_items_are_taken_in_one_call)
{
	weft *rt = api_open(1);
	struct gen_plan plan = { .good = 10 };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), items[8];

	api_await_count(&plan.ended, 1);
	cr_assert_eq(weft_next_many(rt, gen, WEFT_FOREVER, items, 8), 8);
	for (int64_t i = 0; i < 8; i++)
		cr_assert_eq(api_take_i64(rt, items[i]), i);
	cr_assert_eq(weft_next_many(rt, gen, WEFT_FOREVER, items, 8), 2);
	for (int64_t i = 0; i < 2; i++)
		cr_assert_eq(api_take_i64(rt, items[i]), 8 + i);
	cr_assert_eq(weft_next_many(rt, gen, WEFT_FOREVER, items, 8), -ENODATA);
	gen_release_and_close(rt, gen);
}

static int body_emits_in_place(weft_task *self)
{
	void *room;

	API_CHECK(weft_emit_done(self) == -EINVAL);
	for (size_t size = 0; size < 2000; size = size * 3 + 1) {
		API_CHECK(weft_emit_room(self, 5000, &room) == 0);
		memset(room, 1, 5000);
		API_CHECK(weft_emit_room(self, size, &room) == 0);
		memset(room, (int)(size % 251), size);
		API_CHECK(weft_emit_done(self) == 0);
		API_CHECK(weft_emit_done(self) == -EINVAL);
	}
	/* Room that is never given, of both kinds, is freed. */
	API_CHECK(weft_emit_room(self, 3000, &room) == 0);
	return 0;
}

Test(generators, items_are_written_in_their_final_place)
{
	weft *rt = api_open(2);
	weft_ref gen = api_submit(rt, WEFT_TASK(body_emits_in_place, .opts = GEN_STREAM(0))), item;
	struct weft_view view;

	for (size_t size = 0; size < 2000; size = size * 3 + 1) {
		cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), 0);
		cr_assert_eq(weft_get(rt, item, WEFT_POLL, &view), 0);
		cr_assert_eq(view.size, size);
		for (size_t i = 0; i < size; i++)
			cr_assert_eq(((const unsigned char *)view.data)[i], size % 251);
		api_release(rt, item);
	}
	gen_expect_end(rt, gen);
	gen_release_and_close(rt, gen);
}

static int body_emits_refs(weft_task *self)
{
	const weft_ref *refs = weft_task_arg(self, NULL);

	for (int i = 0; i < 3; i++) {
		int rc = weft_emit_ref(self, refs[i]);

		API_CHECK(rc == 0 || rc == 1);
		rc = weft_emit(self, &i, sizeof i);
		API_CHECK(rc == 0 || rc == 1);
	}
	API_CHECK(weft_emit_ref(self, WEFT_NONE) == -EINVAL);
	return 0;
}

Test(generators, an_existing_ref_is_handed_on_as_it_is)
{
	for (int taken = 0; taken <= 6; taken++) {
		weft *rt = api_open(2);
		weft_ref refs[3] = { api_put_i64(rt, 100), api_event(rt), api_put_i64(rt, 102) };
		weft_ref gen = api_submit(
			rt, WEFT_TASK(body_emits_refs, WEFT_ARG(refs), .opts = GEN_STREAM(0)));
		weft_ref item;

		for (int i = 0; i < taken; i++) {
			cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), 0);
			if (i % 2 == 0)
				cr_assert_eq(item.bits, refs[i / 2].bits);
			cr_assert_eq(weft_peek(rt, item), i != 2);
			api_release(rt, item);
		}
		/* What was not taken goes with the generator, before or after it was given. */
		cr_assert_eq(weft_completed(rt, gen, &item), 0);
		if (taken % 2)
			cr_assert_eq(api_get(rt, item), 0);
		api_release(rt, gen);
		cr_assert_eq(api_end(rt, item), 0);
		for (int i = 0; i < 3; i++)
			api_release(rt, refs[i]);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

/* ---- T10: failures ------------------------------------------------------------------------ */

Test(generators, a_failure_after_k_items_is_item_k_plus_1_and_then_the_end)
{
	for (int64_t good = 0; good < 4; good++) {
		weft *rt = api_open(2);
		struct gen_plan plan = { .good = good, .code = -77 };
		const struct weft_error *error;
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), item;

		for (int64_t i = 0; i < good; i++)
			cr_assert_eq(gen_take_next(rt, gen), i);
		cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), 0);
		cr_assert_eq(api_get(rt, item), WEFT_ETASK);
		cr_assert_eq(weft_ref_error(rt, item, &error), 0);
		cr_assert_eq(error->code, -77);
		cr_assert_str_eq(error->task, "gen_body_counts");
		api_release(rt, item);
		gen_expect_end(rt, gen);
		cr_assert_eq(weft_is_finished(rt, gen), 1);
		gen_release_and_close(rt, gen);
	}
}

Test(generators, a_body_that_never_runs_gives_its_error_as_first_item)
{
	weft *rt = api_open(2);
	const int64_t code = -5;
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code);
	weft_ref gen =
		api_submit(rt, WEFT_TASK(gen_body_counts, WEFT_INPUTS(bad), .opts = GEN_STREAM(0)));

	cr_assert_eq(gen_take_next(rt, gen), WEFT_EDEP);
	gen_expect_end(rt, gen);
	api_release(rt, bad);
	gen_release_and_close(rt, gen);
}

/* ---- T11: retries ------------------------------------------------------------------------- */

Test(generators, a_retry_begins_anew_and_no_item_comes_twice)
{
	weft *rt = api_open(2);
	struct gen_again again = { .give = { 3, 1, 5 }, .attempts = 3 };
	static const int64_t expected[] = { 1000, 1001, 1002, 3003, 3004 };
	weft_ref gen = api_submit(
		rt,
		WEFT_TASK(gen_body_again, API_POINTER(&again), .opts = GEN_STREAM(.retries = 5)));

	for (int i = 0; i < 5; i++)
		cr_assert_eq(gen_take_next(rt, gen), expected[i]);
	gen_expect_end(rt, gen);
	cr_assert_eq(api_read(&again.runs), 3);
	gen_release_and_close(rt, gen);
}

Test(generators, retries_that_are_used_up_fail_behind_the_last_item_given)
{
	weft *rt = api_open(2);
	struct gen_again again = { .give = { 2, 3, 1 }, .attempts = 9 };
	static const int64_t expected[] = { 1000, 1001, 2002 };
	weft_ref gen = api_submit(
		rt,
		WEFT_TASK(gen_body_again, API_POINTER(&again), .opts = GEN_STREAM(.retries = 2)));

	for (int i = 0; i < 3; i++)
		cr_assert_eq(gen_take_next(rt, gen), expected[i]);
	cr_assert_eq(gen_take_next(rt, gen), WEFT_ETASK);
	gen_expect_end(rt, gen);
	cr_assert_eq(api_read(&again.runs), 3);
	gen_release_and_close(rt, gen);
}

/* ---- T12: completed, ready, finished -------------------------------------------------------- */

Test(generators, completed_is_ready_when_the_task_has_ended)
{
	for (int fails = 0; fails < 2; fails++) {
		weft *rt = api_open(1);
		struct api_gate gate = API_GATE_INIT;
		struct gen_plan plan = {
			.good = 3, .code = fails ? -9 : 0, .gate = &gate, .at = 2
		};
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), completed;
		const struct weft_error *error;

		cr_assert_eq(weft_completed(rt, gen, &completed), 0);
		api_gate_await(&gate, 1);
		cr_assert_eq(weft_peek(rt, completed), 0);
		api_gate_open(&gate);
		cr_assert_eq(api_get(rt, completed), fails ? WEFT_ETASK : 0);
		if (fails)
			cr_assert_eq(weft_ref_error(rt, completed, &error), 0);
		cr_assert_eq(weft_is_finished(rt, gen), 0, "there are items to take");
		for (int64_t i = 0; i < 3; i++)
			cr_assert_eq(gen_take_next(rt, gen), i);
		cr_assert_eq(weft_is_finished(rt, gen), !fails);
		if (fails)
			cr_assert_eq(gen_take_next(rt, gen), WEFT_ETASK);
		cr_assert_eq(weft_is_finished(rt, gen), 1);
		api_release(rt, gen);
		cr_assert_eq(api_get(rt, completed), fails ? WEFT_ETASK : 0);
		gen_release_and_close(rt, completed);
	}
}

Test(generators, peek_tells_whether_next_would_block)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct gen_plan plan = { .good = 3, .gate = &gate, .at = 1 };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0));

	api_gate_await(&gate, 1);
	cr_assert_eq(weft_peek(rt, gen), 1);
	cr_assert_eq(gen_take_next(rt, gen), 0);
	cr_assert_eq(weft_peek(rt, gen), 0);
	cr_assert_eq(api_state(rt, gen), WEFT_REF_RUNNING);
	api_gate_open(&gate);
	api_await_count(&plan.ended, 1);
	cr_assert_eq(weft_peek(rt, gen), 1);
	cr_assert_eq(gen_take_next(rt, gen), 1);
	cr_assert_eq(gen_take_next(rt, gen), 2);
	gen_expect_end(rt, gen);
	cr_assert_eq(weft_peek(rt, gen), 1, "the end does not block");
	cr_assert_eq(api_state(rt, gen), WEFT_REF_READY);
	gen_release_and_close(rt, gen);
}

/* ---- T13: wait and completion queues -------------------------------------------------------- */

Test(generators, wait_takes_a_generator_for_ready_when_next_would_not_block)
{
	for (uint32_t window = 0; window <= 1; window++) {
		weft *rt = api_open(2);
		struct api_gate gate = API_GATE_INIT;
		struct gen_plan plan = { .good = 2, .gate = &gate };
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(.window = window));
		weft_ref event = api_event(rt);
		const weft_ref refs[2] = { event, gen };
		bool ready[2] = { true, true };

		cr_assert_eq(weft_wait(rt, refs, 2, 1, WEFT_POLL, ready), 0);
		cr_assert(!ready[0] && !ready[1]);
		cr_assert_eq(weft_wait(rt, refs, 2, 1, weft_after_ms(rt, 2), ready), 0);
		api_gate_open(&gate);
		for (int64_t i = 0; i < 2; i++) {
			cr_assert_eq(weft_wait(rt, refs, 2, 1, WEFT_FOREVER, ready), 1);
			cr_assert(!ready[0] && ready[1]);
			cr_assert_eq(gen_take_next(rt, gen), i);
		}
		/* The end is ready as well, and stays so. */
		for (int i = 0; i < 2; i++) {
			cr_assert_eq(weft_wait(rt, refs, 2, 1, WEFT_FOREVER, ready), 1);
			cr_assert(!ready[0] && ready[1]);
		}
		gen_expect_end(rt, gen);
		cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
		cr_assert_eq(weft_wait(rt, refs, 2, 2, WEFT_FOREVER, ready), 2);
		cr_assert_eq(weft_wait(rt, refs, 2, 1, WEFT_FOREVER, ready), 1);
		cr_assert(ready[0] && !ready[1], "never more than wanted");
		cr_assert_eq(weft_wait_all_ready(rt, refs, 2, 1, WEFT_FOREVER, ready), 2);
		api_release(rt, event);
		gen_release_and_close(rt, gen);
	}
}

Test(generators, a_completion_queue_tells_of_the_next_item_and_of_the_end)
{
	weft *rt = api_open(2);
	struct gen_plan plan = { .good = 3, .code = -3 };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(.window = 1));
	static const int status[] = { 0, 0, 0, WEFT_ETASK, -ENODATA, -ENODATA };
	struct weft_cq_item item;
	weft_cq *cq;

	cr_assert_eq(weft_cq_create(rt, &cq), 0);
	for (int64_t i = 0; i < 6; i++) {
		cr_assert_eq(weft_cq_add(cq, gen, (uint64_t)i), 0);
		cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
		cr_assert_eq(item.tag, (uint64_t)i);
		cr_assert_eq(item.ref.bits, gen.bits);
		cr_assert_eq(item.status, status[i], "item %d", (int)i);
		cr_assert_eq(gen_take_next(rt, gen), status[i] ? status[i] : i);
	}
	/* A registration keeps the generator. */
	cr_assert_eq(weft_cq_add(cq, gen, 9), 0);
	api_release(rt, gen);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
	cr_assert_eq(item.status, -ENODATA);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(generators, a_registration_is_undone_by_ref_and_tag)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct gen_plan plan = { .good = 1, .gate = &gate };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0));
	weft_cq *cq;

	cr_assert_eq(weft_cq_create(rt, &cq), 0);
	cr_assert_eq(weft_cq_add(cq, gen, 1), 0);
	cr_assert_eq(weft_cq_add(cq, gen, 2), 0);
	cr_assert_eq(weft_cq_remove(cq, gen, 1), 1);
	cr_assert_eq(weft_cq_remove(cq, gen, 1), -ENOENT);
	/* The other one goes with the queue, which is not told of anything. */
	weft_cq_destroy(cq);
	api_gate_open(&gate);
	cr_assert_eq(gen_take_next(rt, gen), 0);
	gen_release_and_close(rt, gen);
}

/* ---- T14: limits and misuse ----------------------------------------------------------------- */

Test(generators, an_item_more_than_items_max_fails_the_task)
{
	for (uint32_t mode = 0; mode < 3; mode++) {
		static const uint32_t outputs[] = { WEFT_OUTPUTS_STREAM, WEFT_OUTPUTS_LIST, 5 };
		weft *rt = api_open(1);
		struct gen_plan plan = { .good = 6 };
		const struct weft_error *error;
		weft_ref refs[5] = { WEFT_NONE }, last;

		cr_assert_eq(
			weft_submit(rt,
		                    WEFT_TASK(gen_body_counts, API_POINTER(&plan),
		                              .opts = WEFT_TASK_OPTIONS(.n_outputs = outputs[mode],
		                                                        .items_max = 3,
		                                                        .flags = WEFT_TASK_EMITS)),
		                    refs),
			0);
		for (int64_t i = 0; i < 3 && mode == 0; i++)
			cr_assert_eq(gen_take_next(rt, refs[0]), i);
		last = mode == 2 ? refs[3] : refs[0];
		if (mode == 0)
			cr_assert_eq(weft_next(rt, refs[0], WEFT_FOREVER, &last), 0);
		cr_assert_eq(api_get(rt, last), WEFT_ETASK);
		cr_assert_eq(weft_ref_error(rt, last, &error), 0);
		cr_assert_eq(error->code, -EOVERFLOW);
		cr_assert_str_eq(error->text, "a generator of at most 3 items gave one more");
		cr_assert_eq(api_read(&plan.made), 4);
		if (mode == 0)
			api_release(rt, last);
		cr_assert_eq(weft_release_many(rt, refs, 5), 0);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static void expect_refused(weft *rt, const struct weft_task_options *opts)
{
	weft_ref refs[4] = { { API_POISON } };

	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = opts), refs), -EINVAL);
	cr_assert_eq(refs[0].bits, API_POISON);
}

Test(generators, options_that_contradict_each_other_are_refused)
{
	weft *rt = api_open(1);

	expect_refused(rt, WEFT_TASK_OPTIONS(.window = 1));
	expect_refused(rt, WEFT_TASK_OPTIONS(.window = 1, .flags = WEFT_TASK_EMITS));
	expect_refused(rt, WEFT_TASK_OPTIONS(.window = 1, .n_outputs = WEFT_OUTPUTS_LIST));
	expect_refused(rt, WEFT_TASK_OPTIONS(.items_max = 1));
	expect_refused(rt, GEN_STREAM(.items_max = 100000001));
	expect_refused(rt,
	               WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_NONE, .flags = WEFT_TASK_EMITS));
	expect_refused(rt, WEFT_TASK_OPTIONS(.n_outputs = UINT32_MAX - 3));
	expect_refused(rt, GEN_STREAM(.key = "k"));
	expect_refused(rt, GEN_STREAM(.output_name = "o"));
	api_await_no_tasks(rt);
	api_close(rt);
}

static int body_emits_though_it_is_none(weft_task *self)
{
	const int64_t one = 1;
	void *room = NULL;

	API_CHECK(weft_emit(self, &one, sizeof one) == -EINVAL);
	API_CHECK(weft_emit_room(self, 8, &room) == -EINVAL);
	API_CHECK(weft_emit_done(self) == -EINVAL);
	API_CHECK(weft_emit_ref(self, weft_task_ref(self)) == -EINVAL);
	API_CHECK(room == NULL);
	return 0;
}

static int body_emits_wrongly(weft_task *self)
{
	const weft_ref *gen = weft_task_arg(self, NULL);
	const weft_ref refs[2] = { weft_task_ref(self), *gen };
	const struct weft_call call = { .fn = api_body_nothing, .inputs = refs, .n_inputs = 2 };
	weft_ref out = api_poison_ref();

	API_CHECK(weft_emit(self, NULL, 1) == -EINVAL);
	API_CHECK(weft_emit_room(self, 1, NULL) == -EINVAL);
	API_CHECK(weft_emit_ref(self, *gen) == -EINVAL);
	API_CHECK(weft_submit(weft_task_runtime(self), &call, &out) == -EINVAL);
	API_CHECK(out.bits == API_POISON);
	return 0;
}

Test(generators, misuse_is_told)
{
	weft *rt = api_open(2);
	struct gen_plan plan = { .good = 1 };
	weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), plain, item = api_poison_ref(), out;
	struct weft_view view = api_poison_view();
	const struct weft_error *error;
	int64_t value;

	cr_assert_eq(api_end(rt, api_spawn(rt, body_emits_though_it_is_none, NULL, 0)), 0);
	plain = api_submit(
		rt,
		WEFT_TASK(body_emits_though_it_is_none, .opts = WEFT_TASK_OPTIONS(.n_outputs = 1)));
	cr_assert_eq(weft_next(rt, plain, WEFT_FOREVER, &item), -EINVAL);
	cr_assert_eq(weft_next(rt, WEFT_NONE, WEFT_FOREVER, &item), -EINVAL);
	cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, NULL), -EINVAL);
	cr_assert_eq(weft_next(NULL, gen, WEFT_FOREVER, &item), -EINVAL);
	cr_assert_eq(weft_next_many(rt, gen, WEFT_FOREVER, &item, 0), -EINVAL);
	cr_assert_eq(weft_completed(rt, plain, &item), -EINVAL);
	cr_assert_eq(weft_completed(rt, gen, NULL), -EINVAL);
	cr_assert_eq(weft_is_finished(rt, plain), -EINVAL);
	cr_assert_eq(weft_get(rt, gen, WEFT_FOREVER, &view), -EINVAL);
	cr_assert_eq(weft_get_copy(rt, gen, &value, sizeof value), -EINVAL);
	cr_assert_eq(weft_get_many(rt, &gen, 1, WEFT_FOREVER, &view, NULL), -EINVAL);
	cr_assert_eq(weft_run(rt, gen, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_join(rt, &gen, 1, WEFT_INPUT_FAIL_FAST, &out), -EINVAL);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, WEFT_INPUTS(gen)), &out), -EINVAL);
	cr_assert_eq(weft_put_refs(rt, &gen, 1, &out), -EINVAL);
	cr_assert_eq(weft_ref_error(rt, gen, &error), -EINVAL);
	cr_assert_eq(weft_event_set(rt, gen, NULL, 0), -EINVAL);
	cr_assert(api_view_untouched(&view));
	cr_assert_eq(item.bits, API_POISON);
	cr_assert_eq(gen_take_next(rt, gen), 0);
	out = api_submit(rt, WEFT_TASK(body_emits_wrongly, WEFT_ARG(gen), .opts = GEN_STREAM(0)));
	gen_expect_end(rt, out);
	api_release(rt, out);
	api_release(rt, gen);
	cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), -EINVAL, "stale");
	gen_release_and_close(rt, plain);
}

struct second {
	weft *rt;
	weft_ref gen;
	int64_t got;
};

static void *next_thread(void *arg)
{
	struct second *second = arg;

	/* The other one looks whether we are inside, and may just be inside for that. */
	do
		second->got = gen_take_next(second->rt, second->gen);
	while (second->got == -EBUSY);
	return NULL;
}

Test(generators, a_second_consumer_at_the_same_time_is_told)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct gen_plan plan = { .good = 1, .gate = &gate };
	struct second second = { .rt = rt, .gen = gen_start(rt, &plan, GEN_STREAM(0)), .got = -1 };
	const int64_t begin = api_now();
	weft_ref item = api_poison_ref();
	bool ready = false;
	pthread_t thread;
	weft_cq *cq;

	cr_assert_eq(weft_cq_create(rt, &cq), 0);
	cr_assert_eq(pthread_create(&thread, NULL, next_thread, &second), 0);
	while (weft_peek(rt, second.gen) != -EBUSY)
		api_polling(begin, "the other consumer is inside");
	cr_assert_eq(weft_next(rt, second.gen, WEFT_FOREVER, &item), -EBUSY);
	cr_assert_eq(weft_wait(rt, &second.gen, 1, 1, WEFT_FOREVER, &ready), -EBUSY);
	cr_assert_eq(weft_cq_add(cq, second.gen, 1), -EBUSY);
	cr_assert_eq(weft_is_finished(rt, second.gen), -EBUSY);
	cr_assert_eq(item.bits, API_POISON);
	api_gate_open(&gate);
	pthread_join(thread, NULL);
	cr_assert_eq(second.got, 0);
	weft_cq_destroy(cq);
	gen_release_and_close(rt, second.gen);
}

/* ---- T15: dropping ------------------------------------------------------------------------ */

Test(generators, dropping_frees_what_was_not_taken_and_nothing_else)
{
	for (int64_t taken = 0; taken <= 20; taken += 5) {
		weft *rt = api_open(2);
		struct gen_plan plan = { .good = 20, .size = 600 };
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(0)), items[20];
		char bytes[600];

		for (int64_t i = 0; i < taken; i++)
			cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &items[i]), 0);
		api_release(rt, gen);
		api_await_count(&plan.ended, 1);
		for (int64_t i = 0; i < taken; i++) {
			cr_assert_eq(weft_take(rt, items[i], bytes, sizeof bytes), 600);
			cr_assert_eq(memcmp(bytes, &i, sizeof i), 0);
		}
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

Test(generators, nothing_is_left_when_dropped_before_in_or_after_a_failing_body)
{
	for (int64_t at = 0; at < 4; at++) {
		weft *rt = api_open(2);
		struct api_gate gate = API_GATE_INIT;
		struct gen_plan plan = { .good = 3, .code = -4, .gate = &gate, .at = at };
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(.retries = 1));

		if (at < 3)
			api_gate_await(&gate, 1);
		else
			api_await_count(&plan.ended, 2);
		api_release(rt, gen);
		api_gate_open(&gate);
		api_await_count(&plan.ended, 2);
		cr_assert_eq(plan.last, at < 3);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

Test(generators, without_a_ref_all_is_dropped)
{
	weft *rt = api_open(2);
	struct gen_plan plan = { .good = 10, .size = 300 };

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(gen_body_counts, API_POINTER(&plan),
	                                   .opts = GEN_STREAM(.window = 1)),
	                         NULL),
	             0);
	api_await_count(&plan.ended, 1);
	cr_assert_eq(plan.last, 1);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Where and with what -------------------------------------------------------------------- */

static int body_consumes(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const weft_ref gen = *(const weft_ref *)weft_task_arg(self, NULL);
	int64_t sum = 0, value;

	while ((value = gen_take_next(rt, gen)) >= 0)
		sum += value;
	API_CHECK(value == -ENODATA);
	API_CHECK(weft_release(rt, gen) == 0);
	return weft_return(self, &sum, sizeof sum);
}

Test(generators, tasks_consume_them_on_one_worker_in_any_window)
{
	for (uint32_t window = 0; window <= 7; window = window * 2 + 1) {
		weft *rt = api_open(1);
		struct gen_plan plan = { .good = 200 };
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(.window = window));
		weft_ref sum = api_spawn(rt, body_consumes, &gen, sizeof gen);

		cr_assert_eq(api_take_i64(rt, sum), 200 * 199 / 2);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

Test(generators, without_workers_the_consumer_runs_the_body)
{
	for (uint32_t window = 0; window <= 1; window++) {
		weft *rt = NULL;
		struct gen_plan plan = { .good = 20 };
		weft_ref gen;
		weft_cq *cq;
		bool ready = false;
		struct weft_cq_item item;

		cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)), 0);
		gen = gen_start(rt, &plan, GEN_STREAM(.window = window));
		cr_assert_eq(weft_cq_create(rt, &cq), 0);
		cr_assert_eq(weft_cq_add(cq, gen, 1), 0);
		cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
		for (int64_t i = 0; i < 20; i++) {
			if (i % 2)
				cr_assert_eq(weft_wait(rt, &gen, 1, 1, WEFT_FOREVER, &ready), 1);
			cr_assert_eq(gen_take_next(rt, gen), i);
		}
		gen_expect_end(rt, gen);
		weft_cq_destroy(cq);
		gen_release_and_close(rt, gen);
	}
}

Test(generators, submit_many_gives_one_generator_per_call)
{
	static const struct weft_task_options stream = { .struct_size = sizeof stream,
		                                         .n_outputs = WEFT_OUTPUTS_STREAM,
		                                         .window = 2 };
	weft *rt = api_open(2);
	struct gen_plan plans[5] = { { .good = 0 } };
	void *args[5];
	struct weft_call calls[5];
	weft_ref gens[5];

	for (int i = 0; i < 5; i++) {
		plans[i].good = i;
		args[i] = &plans[i];
		calls[i] = (struct weft_call){ .fn = gen_body_counts,
			                       .arg = &args[i],
			                       .arg_size = sizeof args[i],
			                       .opts = &stream };
	}
	cr_assert_eq(weft_submit_many(rt, calls, 5, gens), 5);
	for (int i = 0; i < 5; i++) {
		for (int64_t k = 0; k < i; k++)
			cr_assert_eq(gen_take_next(rt, gens[i]), k);
		gen_expect_end(rt, gens[i]);
		api_release(rt, gens[i]);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(generators, a_thousand_dropped_ones_leave_no_memory_behind)
{
	weft *rt = api_open(2);
	struct weft_stats stats = { .struct_size = sizeof stats };
	const uint32_t n = api_scaled(1000);

	for (uint32_t i = 0; i < n; i++) {
		struct gen_plan plan = { .good = i % 7,
			                 .size = i % 3 ? 8 : 600,
			                 .code = -(int)(i % 2) };
		weft_ref gen = gen_start(rt, &plan, GEN_STREAM(.window = i % 4));

		for (uint32_t k = 0; k < i % 5; k++)
			(void)gen_take_next(rt, gen);
		api_release(rt, gen);
		api_await_count(&plan.ended, 1);
	}
	api_await_no_tasks(rt);
	cr_assert_eq(weft_stats(rt, &stats), 0);
	cr_assert_eq(stats.submitted, n);
	api_close(rt);
}
