/*
 * Goal: a task that wants a value which another one leaves on a device begins while that one's work
 * is still there: the device keeps the order, the value is right, and a failure of the first is the
 * failure of all behind it. Who cannot take it so early waits for its end.
 * Method: producers that stand at a gate on the device, consumers whose bodies are over meanwhile;
 * faults and cancels under them.
 */
#include "gpu_values.h"
#include "test.h"

#define WORDS         1000u
#define MEM           (1u << 16)

#define SHARE(s, ...) WEFT_TASK_OPTIONS(.gpus = (s), .gpu_mem = MEM, __VA_ARGS__)

/* So many attempts have given all that they have to the device, which has done none of it. */
static void await_submitted(const struct gpu_test *t, uint32_t device, uint32_t n)
{
	const int64_t start = api_now();

	while (gpu_info(t, device).pending != n)
		api_polling(start, "bodies are over, their work is not");
}

static void check_value(const struct gpu_test *t, weft_ref ref, uint32_t base, uint32_t step)
{
	struct weft_view view;

	cr_assert_eq(weft_get(t->rt, ref, WEFT_FOREVER, &view), 0);
	cr_assert(values_are(&view, WORDS, base, step));
}

/* A row at a gate, two that add to it, one that joins these. */
static void submit_four(const struct gpu_test *t, struct api_gate *gate, weft_ref refs[4])
{
	refs[0] = api_submit(
		t->rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 5, gate), .opts = SHARE(0.25)));
	refs[1] = api_submit(t->rt,
	                     WEFT_TASK(values_add, VALUES_PLAN(WORDS, 10), WEFT_INPUTS(refs[0]),
	                               .opts = SHARE(0.25)));
	refs[2] = api_submit(t->rt,
	                     WEFT_TASK(values_add, VALUES_PLAN(WORDS, 100), WEFT_INPUTS(refs[0]),
	                               .opts = SHARE(0.25)));
	refs[3] = api_submit(t->rt,
	                     WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1000),
	                               WEFT_INPUTS(refs[1], refs[2]), .opts = SHARE(0.25)));
}

Test(cuda_early, all_of_a_tree_of_values_is_on_the_device_at_once)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref refs[4];

	submit_four(&t, &gate, refs);
	await_submitted(&t, 0, 4);
	cr_assert_eq(gpu_info(&t, 0).chained, 3);
	api_gate_open(&gate);
	check_value(&t, refs[3], 5 + 10 + 5 + 100 + 1000, 2);
	check_value(&t, refs[1], 15, 1);
	cr_assert_eq(gpu_info(&t, 0).uploads, 0);
	cr_assert_eq(weft_release_many(t.rt, refs, 4), 0);
	gpu_close(&t);
}

Test(cuda_early, late_comers_find_what_was_submitted)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref first = api_submit(
		t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 5, &gate), .opts = SHARE(0.25)));

	await_submitted(&t, 0, 1);
	weft_ref second = api_submit(t.rt,
	                             WEFT_TASK(values_add, VALUES_PLAN(WORDS, 10),
	                                       WEFT_INPUTS(first), .opts = SHARE(0.25)));

	await_submitted(&t, 0, 2);
	/* Nobody but the second has it any more. */
	api_release(t.rt, first);
	api_gate_open(&gate);
	check_value(&t, second, 15, 1);
	api_release(t.rt, second);
	gpu_close(&t);
}

/* One input is in the store, one is early; the host sees neither of the latter's bytes. */
static int adds_mixed(weft_task *self)
{
	struct weft_view view;

	API_CHECK(weft_input(self, 0, &view) == -EREMOTE);
	API_CHECK(weft_input(self, 1, &view) == 0 && view.size == WORDS * 4);
	return values_add(self);
}

Test(cuda_early, beside_a_value_of_the_store)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct api_gate gate = API_GATE_INIT;
	uint32_t words[WORDS];
	weft_ref put = WEFT_NONE;

	for (uint32_t i = 0; i < WORDS; i++)
		words[i] = 3 * i;
	cr_assert_eq(weft_put(t.rt, words, sizeof words, &put), 0);
	weft_ref first = api_submit(
		t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 5, &gate), .opts = SHARE(0.25)));
	weft_ref second = api_submit(t.rt,
	                             WEFT_TASK(adds_mixed, VALUES_PLAN(WORDS, 10),
	                                       WEFT_INPUTS(first, put), .opts = SHARE(0.25)));

	/* The upload has passed, the two have not. */
	await_submitted(&t, 0, 2);
	api_gate_open(&gate);
	check_value(&t, second, 15, 4);
	cr_assert_eq(gpu_info(&t, 0).uploads, 1);
	api_release(t.rt, first);
	api_release(t.rt, second);
	api_release(t.rt, put);
	gpu_close(&t);
}

/* It has begun, and waits for the end, as its device is not where the value is. */
Test(cuda_early, on_another_device_it_is_waited_for)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref first = api_submit(
		t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 5, &gate), .opts = SHARE(1)));
	weft_ref second = api_submit(t.rt,
	                             WEFT_TASK(values_add, VALUES_PLAN(WORDS, 10),
	                                       WEFT_INPUTS(first), .opts = SHARE(1)));
	const int64_t start = api_now();

	while (!gpu_info(&t, 0).running || !gpu_info(&t, 1).running)
		api_polling(start, "both have begun");
	api_gate_open(&gate);
	check_value(&t, second, 15, 1);
	cr_assert_eq(gpu_info(&t, 0).peers + gpu_info(&t, 1).peers, 1);
	api_release(t.rt, first);
	api_release(t.rt, second);
	gpu_close(&t);
}

static int leaves_nothing_there(weft_task *self)
{
	struct api_gate *gate = api_arg_pointer(self);
	int rc = gpu_launch_gate(self, gate);

	return rc ? rc : weft_return(self, &(uint32_t){ 7 }, 4);
}

/* A value that is not on a device, a producer that may try again, who takes errors as values. */
Test(cuda_early, nobody_takes_what_may_still_change)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct api_gate gate[3] = { API_GATE_INIT, API_GATE_INIT, API_GATE_INIT };
	weft_ref from[3], to[3];

	for (int i = 0; i < 3; i++) {
		struct weft_task_options o = { .struct_size = sizeof o,
			                       .gpus = 0.125,
			                       .gpu_mem = MEM,
			                       .retries = i == 1 ? 2 : 0 };

		from[i] = i ? api_submit(t.rt,
		                         WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 5, &gate[i]),
		                                   .opts = &o))
			    : api_submit(t.rt,
		                         WEFT_TASK(leaves_nothing_there, API_POINTER(&gate[i]),
		                                   .opts = &o));
	}
	await_submitted(&t, 0, 3);
	for (int i = 0; i < 3; i++) {
		struct weft_task_options o = { .struct_size = sizeof o,
			                       .gpus = 0.125,
			                       .gpu_mem = MEM,
			                       .on_input_error = i == 2 ? WEFT_INPUT_AS_VALUE : 0 };

		to[i] = api_submit(t.rt,
		                   WEFT_TASK(values_add, VALUES_PLAN(i ? WORDS : 1, 10),
		                             WEFT_INPUTS(from[i]), .opts = &o));
	}
	for (int i = 0; i < 3; i++)
		api_gate_open(&gate[i]);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(t.rt, to[i]), 0);
	cr_assert_eq(gpu_info(&t, 0).chained, 0);
	cr_assert_eq(weft_release_many(t.rt, from, 3), 0);
	gpu_close(&t);
}

/* ---- Failures -------------------------------------------------------------------------------- */

Test(cuda_early, a_device_lost_under_it_fails_all_behind)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct api_gate gate = API_GATE_INIT;
	const struct weft_error *error;
	weft_ref refs[4];

	submit_four(&t, &gate, refs);
	await_submitted(&t, 0, 4);
	/* What comes next: the gate, or what is behind it. */
	wf_sim_fault(t.sim, WF_SIM_FAULT_WORK, 1, -EIO);
	api_gate_open(&gate);
	for (int i = 3; i >= 0; i--) {
		cr_assert_eq(api_get(t.rt, refs[i]), i ? WEFT_EDEP : WEFT_EDEVICE, "task %d", i);
		cr_assert_eq(weft_ref_error(t.rt, refs[i], &error), 0);
		while (error->cause)
			error = error->cause;
		cr_assert_eq(error->status, WEFT_EDEVICE);
	}
	cr_assert_eq(weft_release_many(t.rt, refs, 4), 0);
	gpu_close(&t);
}

/* Each in turn, while all are on the device. */
Test(cuda_early, one_that_is_cancelled_ends_and_those_behind_it)
{
	for (int k = 0; k < 8; k++) {
		struct gpu_test t = gpu_open(k % 2 ? "sim:2" : "sim", 2);
		struct api_gate gate = API_GATE_INIT;
		weft_ref refs[4];
		int rc[4];

		submit_four(&t, &gate, refs);
		if (k >= 4)
			api_gate_await(&gate, 1);
		cr_assert_eq(weft_cancel(t.rt, refs[k % 4]), 0);
		api_gate_open(&gate);
		for (int i = 0; i < 4; i++)
			rc[i] = api_end(t.rt, refs[i]);
		for (int i = 0; i < 4; i++) {
			const bool behind = (i == 1 || i == 2) ? rc[0]
				: i == 3                       ? rc[1] || rc[2]
							       : false;

			if (i == k % 4 && rc[i] == -ECANCELED)
				continue;
			cr_assert_eq(rc[i], behind ? WEFT_EDEP : 0, "task %d of %d", i, k);
		}
		gpu_close(&t);
	}
}
