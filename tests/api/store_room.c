/*
 * Goal: programs that need more than the store holds go through it, whether bodies hold inputs
 * while they write outputs, wait for each other, or host threads copy side by side; what can never
 * work says so, with the figures.
 * Method: stores of a few MiB, patterned bytes, the store's own counters.
 */
#include "objects.h"

/* ---- Through a small store ------------------------------------------------------------------ */

/* Its input, so many times. */
static int body_multiplies(weft_task *self)
{
	const uint32_t *times = weft_task_arg(self, NULL);
	struct weft_view view;
	void *data;
	int rc = weft_input(self, 0, &view);

	if (!rc)
		rc = weft_task_output(self, 0, *times * view.size, &data);
	for (uint32_t i = 0; !rc && i < *times; i++)
		memcpy((char *)data + i * view.size, view.data, view.size);
	return rc;
}

/*
 * Each holds its input and waits for room; every worker goes on with the next while one waits. One
 * after the other all fit.
 */
Test(store_room, tasks_that_read_and_write_pass_a_store_that_holds_few_of_them)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	enum { N = WF_TSAN || WF_ASAN ? 20 : 48 };
	weft_ref in[N], out[N];

	for (uint32_t times = 1; times <= 4; times += 3) {
		for (uint64_t i = 0; i < N; i++) {
			in[i] = put(rt, MIB / 2, i);
			cr_assert_eq(weft_submit(rt,
			                         WEFT_TASK(body_multiplies, .arg = &times,
			                                   .arg_size = sizeof(times),
			                                   .inputs = &in[i], .n_inputs = 1),
			                         &out[i]),
			             0);
		}
		for (uint64_t i = 0; i < N; i++) {
			struct weft_view view;
			int rc = weft_get(rt, out[i], WEFT_FOREVER, &view);

			cr_assert_eq(rc, 0, "task %d: %s", (int)i, weft_strerror(rc));
			cr_assert_eq(view.size, times * MIB / 2);
			for (uint32_t k = 0; k < times; k++)
				cr_assert(
					filled((const char *)view.data + k * MIB / 2, MIB / 2, i));
			cr_assert_eq(weft_view_end(rt, out[i]), 0);
		}
		cr_assert_eq(store_stats(rt).fulls, 0);
		weft_release_many(rt, in, N);
		weft_release_many(rt, out, N);
		api_await_no_tasks(rt);
	}
	store_await_empty(rt);
	api_close(rt);
}

static int body_holds_that_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

struct nest {
	uint32_t depth;
	weft_ref leaf;
};

static int body_nests(weft_task *self)
{
	const struct nest *nest = weft_task_arg(self, NULL);
	struct nest inner = { nest->depth - 1, nest->leaf };
	weft *rt = weft_task_runtime(self);
	struct weft_view view, mine;
	weft_ref made, child;

	API_CHECK(weft_input(self, 0, &mine) == 0);
	if (nest->depth) {
		made = put(rt, MIB, nest->depth);
		API_CHECK(
			weft_submit(rt,
		                    WEFT_TASK(body_nests, .arg = &inner, .arg_size = sizeof(inner),
		                              .inputs = &made, .n_inputs = 1),
		                    &child) == 0);
		int rc = weft_get(rt, child, WEFT_FOREVER, &view);

		API_CHECK(rc == 0);
		weft_release(rt, child);
		weft_release(rt, made);
	}
	return weft_return(self, mine.data, 8);
}

/* Each holds an input and waits for one that needs another: they must not wait for shares. */
Test(store_room, tasks_that_wait_for_tasks_with_inputs_of_their_own_go_on)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	struct api_gate gate = API_GATE_INIT;
	struct nest nest = { .depth = 5 };
	weft_ref made = put(rt, MIB, 9), ref, busy;

	/* With a body that runs for ever, and without. */
	for (int round = 0; round < 2; round++) {
		if (!round)
			busy = api_submit(rt, WEFT_TASK(body_holds_that_gate, API_POINTER(&gate)));
		cr_assert_eq(
			weft_submit(rt,
		                    WEFT_TASK(body_nests, .arg = &nest, .arg_size = sizeof(nest),
		                              .inputs = &made, .n_inputs = 1),
		                    &ref),
			0);
		cr_assert_eq(api_end(rt, ref), 0);
		if (!round) {
			api_gate_open(&gate);
			cr_assert_eq(api_end(rt, busy), 0);
		}
	}
	api_release(rt, made);
	api_await_no_tasks(rt);
	store_await_empty(rt);
	api_close(rt);
}

/* ---- No room ---------------------------------------------------------------- */

static void count_full(void *arg, const struct weft_log_record *record)
{
	if (record->level == WEFT_LOG_WARN && strstr(record->text, "pinned"))
		api_add(arg, 1);
}

Test(store_room, a_hopeless_store_says_so_at_once)
{
	static struct api_count told;
	weft *rt = NULL;
	struct weft_view view;
	struct weft_buffer buffer = { .size = 7 };
	weft_ref refs[8];
	int n = 0;

	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 1, .store_bytes = 4 * MIB, .log = count_full,
	                                    .log_arg = &told)),
	             0);
	cr_assert_eq(weft_create(rt, 100 * MIB, NULL, &buffer), WEFT_ESTOREFULL);
	for (; n < 8; n++) {
		int rc = weft_create(rt, MIB, NULL, &buffer);

		if (rc) {
			cr_assert_eq(rc, WEFT_ESTOREFULL, "%s", weft_strerror(rc));
			break;
		}
		cr_assert_eq(weft_seal(rt, &buffer, &refs[n]), 0);
		cr_assert_eq(weft_get(rt, refs[n], WEFT_POLL, &view), 0);
	}
	cr_assert(n >= 2 && n < 5, "%d", n);
	cr_assert(api_read(&told) >= 1, "the five numbers are logged");
	cr_assert_eq(store_stats(rt).fulls, 1);
	/* With one view given back there is room again. */
	cr_assert_eq(weft_view_end(rt, refs[0]), 0);
	cr_assert_eq(weft_create(rt, MIB, NULL, &buffer), 0);
	cr_assert_eq(weft_discard(rt, &buffer), 0);
	weft_release_many(rt, refs, (uint32_t)n);
	api_close(rt);
}

#define PUTS (WF_TSAN || WF_ASAN ? 2 : 5)

struct putters {
	weft *rt;
	void *bytes;
	struct api_count served, copied;
};

static void *puts_some(void *arg)
{
	struct putters *p = arg;
	unsigned char *copy = malloc(12 * MIB);
	weft_ref ref;

	for (int i = 0; i < PUTS; i++) {
		API_CHECK(weft_put(p->rt, p->bytes, 12 * MIB, &ref) == 0);
		api_add(&p->served, 1);
		API_CHECK(weft_take(p->rt, ref, copy, 12 * MIB) == 12 * (int64_t)MIB);
		API_CHECK(!memcmp(copy, p->bytes, 12 * MIB));
		api_add(&p->copied, 1);
	}
	free(copy);
	return NULL;
}

/* What another thread holds for the time of its own call comes back without anybody's help. */
Test(store_room, host_threads_that_copy_do_not_make_the_store_hopeless)
{
	struct putters p = { .rt = open_store(1, 16 * MIB, NULL), .bytes = malloc(12 * MIB) };
	pthread_t threads[3];

	fill(p.bytes, 12 * MIB, 5);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, puts_some, &p), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(api_read(&p.served), 3 * PUTS);
	cr_assert_eq(api_read(&p.copied), 3 * PUTS);
	cr_assert_eq(store_stats(p.rt).fulls, 0);
	free(p.bytes);
	api_close(p.rt);
}

static int body_too_much(weft_task *self)
{
	void *data = NULL;

	return weft_task_output(self, 0, 100 * MIB, &data);
}

Test(store_room, a_task_without_room_fails_with_the_stores_words)
{
	weft *rt = open_store(2, 4 * MIB, NULL);
	weft_ref ref = api_submit(rt, WEFT_TASK(body_too_much));
	const struct weft_error *error = NULL;
	struct weft_view view;

	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &view), WEFT_ESTOREFULL);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert(strstr(error->text, "104857600") != NULL, "%s", error->text);
	cr_assert_str_eq(error->task, "body_too_much");
	api_release(rt, ref);
	api_close(rt);
}

static int body_gives_up_otherwise(weft_task *self)
{
	void *data = NULL;

	API_CHECK(weft_task_output(self, 0, 100 * MIB, &data) == WEFT_ESTOREFULL);
	return -5;
}

Test(store_room, a_task_that_fails_for_another_reason_says_that)
{
	weft *rt = open_store(2, 4 * MIB, NULL);
	weft_ref ref = api_submit(rt, WEFT_TASK(body_gives_up_otherwise));
	const struct weft_error *error = NULL;

	cr_assert_eq(weft_get(rt, ref, WEFT_FOREVER, &(struct weft_view){ 0 }), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_eq(error->code, -5);
	cr_assert_null(strstr(error->text, "store"), "%s", error->text);
	api_release(rt, ref);
	api_close(rt);
}

static int body_wants_a_pebibyte(weft_task *self)
{
	void *data = NULL;

	return weft_task_output(self, 0, (size_t)1 << 50, &data);
}

static int body_never_runs(weft_task *self)
{
	(void)self;
	API_CHECK(!"it runs");
	return 0;
}

static void count_too_large(void *arg, const struct weft_log_record *record)
{
	if (record->level == WEFT_LOG_WARN &&
	    strstr(record->text, "can never fit the store of 4194304 bytes"))
		api_add(arg, 1);
}

/* The store's size is named, also where nobody has set it. */
Test(store_room, what_can_never_fit_is_told_with_the_sizes)
{
	static struct api_count told;
	weft *rt = NULL;
	const struct weft_error *error = NULL;
	struct weft_buffer buffer;
	weft_ref refs[8], ref;

	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 1, .store_bytes = 4 * MIB,
	                                    .log = count_too_large, .log_arg = &told)),
	             0);
	cr_assert_eq(weft_create(rt, 5 * MIB, NULL, &buffer), WEFT_ESTOREFULL);
	cr_assert_eq(api_read(&told), 1, "also without a task");
	for (uint64_t i = 0; i < 8; i++)
		refs[i] = put(rt, MIB, i);
	cr_assert_eq(
		weft_submit(rt, WEFT_TASK(body_never_runs, .inputs = refs, .n_inputs = 8), &ref),
		0);
	cr_assert_eq(api_get(rt, ref), WEFT_ESTOREFULL);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_str_eq(error->text,
	                 "8 values of together 8388608 bytes can never fit the store "
	                 "of 4194304 bytes");
	cr_assert_str_eq(error->task, "body_never_runs");
	api_release(rt, ref);
	weft_release_many(rt, refs, 8);
	api_close(rt);
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1)), 0);
	ref = api_submit(rt, WEFT_TASK(body_wants_a_pebibyte));
	cr_assert_eq(api_get(rt, ref), WEFT_ESTOREFULL);
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	cr_assert_not_null(strstr(error->text, "1125899906842624 bytes can never fit"));
	cr_assert_null(strstr(error->text, "of 0 bytes"), "%s", error->text);
	api_release(rt, ref);
	api_close(rt);
}

Test(store_room, without_spilling_room_comes_from_releases)
{
	weft *rt = open_store(2, 4 * MIB, "");
	struct weft_object_options poll = { .struct_size = sizeof(poll), .until = 1 };
	struct weft_buffer buffer;
	weft_ref refs[8];
	int n = 0, rc = 0;

	while (n < 8 && (rc = weft_create(rt, MIB, &poll, &buffer)) == 0)
		cr_assert_eq(weft_seal(rt, &buffer, &refs[n++]), 0);
	cr_assert(n >= 2 && n < 5, "%d", n);
	cr_assert_eq(rc, -ETIMEDOUT);
	cr_assert_eq(weft_create(rt, MIB, NULL, &buffer), WEFT_ESTOREFULL);
	api_release(rt, refs[--n]);
	cr_assert_eq(weft_create(rt, MIB, NULL, &buffer), 0);
	cr_assert_eq(weft_discard(rt, &buffer), 0);
	weft_release_many(rt, refs, (uint32_t)n);
	api_close(rt);
}

struct waiter {
	struct api_count inside;
	struct api_gate gate;
};

static int body_waits_for_room(weft_task *self)
{
	struct waiter *w = api_arg_pointer(self);
	struct weft_buffer buffer;

	api_add(&w->inside, 1);
	int rc = weft_create(weft_task_runtime(self), 3 * MIB, NULL, &buffer);

	API_CHECK(rc == -EINTR && weft_task_cancelled(self));
	return rc;
}

static int body_holds_the_gate(weft_task *self)
{
	struct waiter *w = api_arg_pointer(self);

	api_gate_pass(&w->gate);
	return 0;
}

Test(store_room, a_task_that_waits_for_room_can_be_cancelled)
{
	static struct waiter w = { .gate = API_GATE_INIT };
	weft *rt = open_store(3, 4 * MIB, NULL);
	weft_ref held = put(rt, 2 * MIB, 1), gate, waits;
	struct weft_view view;

	cr_assert_eq(weft_get(rt, held, WEFT_POLL, &view), 0);
	/* A body that runs keeps the store hoping. */
	gate = api_submit(rt, WEFT_TASK(body_holds_the_gate, API_POINTER(&w)));
	api_gate_await(&w.gate, 1);
	waits = api_submit(rt, WEFT_TASK(body_waits_for_room, API_POINTER(&w)));
	api_await_state(rt, waits, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, waits), 0);
	cr_assert_eq(api_end(rt, waits), -ECANCELED);
	api_gate_open(&w.gate);
	cr_assert_eq(api_end(rt, gate), 0);
	api_release(rt, held);
	api_await_no_tasks(rt);
	store_await_empty(rt);
	api_close(rt);
}

/* In full rooms, with somebody outside who might still help: 0 as expected. */
static int runs_into_deadlines(weft *rt, weft_ref spilled)
{
	struct weft_object_options soon = { .struct_size = sizeof(soon) };
	struct weft_buffer buffer = { .size = 7 };
	struct weft_view view = api_poison_view();

	soon.until = weft_after_ms(rt, 5);
	API_CHECK(weft_create(rt, 3 * MIB, &soon, &buffer) == -ETIMEDOUT);
	API_CHECK(buffer.size == 7);
	API_CHECK(weft_get(rt, spilled, weft_after_ms(rt, 5), &view) == -ETIMEDOUT);
	API_CHECK(weft_get(rt, spilled, WEFT_POLL, &view) == -ETIMEDOUT);
	API_CHECK(api_view_untouched(&view));
	return 0;
}

static int body_runs_into_deadlines(weft_task *self)
{
	return runs_into_deadlines(weft_task_runtime(self), *(weft_ref *)weft_task_arg(self, NULL));
}

Test(store_room, waits_for_room_end_at_their_deadlines)
{
	static struct waiter w = { .gate = API_GATE_INIT };
	weft *rt = open_store(2, 4 * MIB, NULL);
	weft_ref spilled = put(rt, 3 * MIB, 1), held[2], gate, body;
	struct weft_view view;

	/* Its place is taken by others that are looked at. */
	for (int i = 0; i < 2; i++) {
		held[i] = put(rt, 3 * MIB / 2, (uint64_t)i);
		cr_assert_eq(weft_get(rt, held[i], WEFT_FOREVER, &view), 0);
	}
	/* A body that runs keeps the store hoping. */
	gate = api_submit(rt, WEFT_TASK(body_holds_the_gate, API_POINTER(&w)));
	api_gate_await(&w.gate, 1);
	cr_assert_eq(runs_into_deadlines(rt, spilled), 0);
	body = api_spawn(rt, body_runs_into_deadlines, &spilled, sizeof(spilled));
	cr_assert_eq(api_end(rt, body), 0);
	/* Nothing of the waits is left: with one view less it comes back. */
	cr_assert_eq(weft_view_end(rt, held[0]), 0);
	cr_assert_eq(weft_view_end(rt, held[1]), 0);
	check_value(rt, spilled, 3 * MIB, 1);
	api_gate_open(&w.gate);
	cr_assert_eq(api_end(rt, gate), 0);
	api_release(rt, spilled);
	weft_release_many(rt, held, 2);
	api_await_no_tasks(rt);
	store_await_empty(rt);
	api_close(rt);
}

static int body_blocks_with_an_input(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == 0);
	API_CHECK(weft_block_enter(weft_task_runtime(self), WEFT_BLOCK_RELEASE) == 0);
	weft_block_exit(weft_task_runtime(self));
	return weft_return(self, view.data, 8);
}

/* The share of what it holds goes with it to the thread that has no worker any more. */
Test(store_room, a_body_that_gives_its_worker_away_keeps_its_share)
{
	weft *rt = open_store(2, 8 * MIB, NULL);
	weft_ref made = put(rt, MIB, 9), ref;

	for (int i = 0; i < 20; i++) {
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(body_blocks_with_an_input, .inputs = &made,
		                                   .n_inputs = 1),
		                         &ref),
		             0);
		cr_assert_eq(api_end(rt, ref), 0);
	}
	api_release(rt, made);
	api_await_no_tasks(rt);
	store_await_empty(rt);
	api_close(rt);
}
