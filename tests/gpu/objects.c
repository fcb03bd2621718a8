/*
 * Goal: a result may stay on its device and an input is found there; a value goes where it is
 * wanted and no more often than it must; what is wrong is refused; when a device is lost a value
 * that was only there ends with that as cause, and every other lives on.
 * Method: rows of words that simulated kernels write and add up; the device's own counters say what
 * was moved; in the end nothing may be left, on a device or in the store.
 */
#include "gpu_values.h"
#include "test.h"

#define WORDS       4096u
#define BYTES       (WORDS * 4u)
#define GPUS(share) .opts = WEFT_TASK_OPTIONS(.gpus = (share))
#define SOME(share) .opts = WEFT_TASK_OPTIONS(.gpus = (share), .gpu_mem = 8 * BYTES)

static weft_ref made(weft *rt, uint32_t base)
{
	weft_ref ref = api_submit(rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, base), GPUS(1)));

	cr_assert_eq(weft_wait(rt, &ref, 1, 1, WEFT_FOREVER, &(bool){ false }), 1);
	return ref;
}

/* ---- Where it is ----------------------------------------------------------------------------- */

Test(cuda_objects, an_output_stays_and_a_get_copies_it_down_once)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct weft_ref_info info = { .struct_size = sizeof info };
	weft_ref ref = made(t.rt, 7);

	cr_assert_eq(values_place(t.rt, ref), WEFT_OBJECT_DEVICE);
	cr_assert_eq(weft_ref_info(t.rt, ref, &info), 0);
	cr_assert(info.state == WEFT_REF_READY && info.size == BYTES);
	cr_assert_eq(gpu_info(&t, 0).resident, BYTES);
	cr_assert_eq(gpu_info(&t, 0).memory_free, gpu_info(&t, 0).memory_bytes);
	for (uint32_t i = 0; i < 3; i++) {
		struct weft_view view = api_poison_view();

		cr_assert_eq(weft_get(t.rt, ref, WEFT_FOREVER, &view), 0);
		cr_assert(values_are(&view, WORDS, 7, 1));
		cr_assert_eq(weft_view_end(t.rt, ref), 0);
	}
	cr_assert_eq(values_place(t.rt, ref), WEFT_OBJECT_MEMORY);
	cr_assert_eq(gpu_info(&t, 0).downloads, 1);
	cr_assert_eq(gpu_info(&t, 0).resident, BYTES, "still there");
	api_release(t.rt, ref);
	values_close(&t);
}

Test(cuda_objects, every_door_of_the_host_gets_the_value)
{
	struct gpu_test t = gpu_open("sim", 2);
	uint32_t *copy = malloc(BYTES);
	struct weft_view views[3];
	weft_ref refs[3];

	cr_assert_not_null(copy);
	weft_ref ref = made(t.rt, 1);
	cr_assert_eq(weft_get_copy(t.rt, ref, copy, BYTES - 1), -EMSGSIZE);
	cr_assert_eq(values_place(t.rt, ref), WEFT_OBJECT_DEVICE, "not for that");
	cr_assert_eq(weft_take(t.rt, ref, copy, BYTES), BYTES);
	cr_assert(copy[0] == 1 && copy[WORDS - 1] == WORDS);
	free(copy);
	for (uint32_t i = 0; i < 3; i++)
		refs[i] = i == 1 ? values_put(t.rt, WORDS, i) : made(t.rt, i);
	cr_assert_eq(weft_get_many(t.rt, refs, 3, WEFT_FOREVER, views, NULL), 0);
	for (uint32_t i = 0; i < 3; i++) {
		cr_assert(values_are(&views[i], WORDS, i, 1));
		api_release(t.rt, refs[i]);
	}
	cr_assert_eq(gpu_info(&t, 0).downloads, 3);
	values_close(&t);
}

Test(cuda_objects, a_get_keeps_its_deadline_while_the_device_is_busy)
{
	/* The only thread that performs work stands at a gate: no copy comes down. */
	struct gpu_test t = gpu_open("sim:threads=1", 1);
	struct api_gate gate = API_GATE_INIT;
	struct weft_view view = api_poison_view();
	weft_ref ref = made(t.rt, 3);
	weft_ref busy =
		api_submit(t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 0, &gate), GPUS(1)));

	api_gate_await(&gate, 1);
	cr_assert_eq(weft_get(t.rt, ref, WEFT_POLL, &view), -ETIMEDOUT);
	cr_assert_eq(weft_get(t.rt, ref, weft_after_ms(t.rt, 2), &view), -ETIMEDOUT);
	cr_assert(api_view_untouched(&view));
	/* And no worker waits for it. */
	for (int64_t i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(t.rt, api_spawn(t.rt, api_body_identity, &i, sizeof i)),
		             i);
	api_gate_open(&gate);
	values_end(t.rt, ref, WORDS, 3, 1);
	values_end(t.rt, busy, WORDS, 0, 1);
	cr_assert_eq(gpu_info(&t, 0).downloads, 2, "two gets of one value share a copy");
	values_close(&t);
}

Test(cuda_objects, a_runtime_without_workers_copies_too)
{
	struct gpu_test t = gpu_open("sim", 0);
	weft_ref ref = api_submit(t.rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, 5), GPUS(1)));

	values_end(t.rt, ref, WORDS, 5, 1);
	values_close(&t);
}

Test(cuda_objects, injected_faults_spare_the_copy)
{
	struct weft_options o = { .struct_size = sizeof o, .fault_rate = 1 };
	struct gpu_test t = gpu_open_with("sim", 2, &o, NULL);
	/* The third attempt is spared, a copy has only one. */
	weft_ref ref = api_submit(t.rt,
	                          WEFT_TASK(values_make, VALUES_PLAN(WORDS, 5),
	                                    .opts = WEFT_TASK_OPTIONS(.gpus = 1, .retries = 2)));

	values_end(t.rt, ref, WORDS, 5, 1);
	values_close(&t);
}

Test(cuda_objects, a_task_on_the_host_finds_it_in_place)
{
	struct gpu_test t = gpu_open("sim", 2);
	weft_ref ref = api_submit(t.rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, 9), GPUS(1)));
	weft_ref looks[4];

	for (uint32_t i = 0; i < 4; i++)
		looks[i] = api_submit(
			t.rt, WEFT_TASK(values_look, VALUES_PLAN(WORDS, 9), WEFT_INPUTS(ref)));
	for (uint32_t i = 0; i < 4; i++)
		cr_assert_eq(api_end(t.rt, looks[i]), 0);
	cr_assert_eq(gpu_info(&t, 0).downloads, 1);
	api_release(t.rt, ref);
	values_close(&t);
}

Test(cuda_objects, a_chain_on_one_device_moves_nothing)
{
	struct gpu_test t = gpu_open("sim", 2);
	weft_ref ref = api_submit(t.rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, 0), GPUS(1)));

	for (uint32_t i = 0; i < 20; i++) {
		weft_ref next = api_submit(
			t.rt,
			WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(ref), SOME(0.5)));

		api_release(t.rt, ref);
		ref = next;
	}
	cr_assert_eq(weft_wait(t.rt, &ref, 1, 1, WEFT_FOREVER, &(bool){ false }), 1);
	cr_assert_eq(gpu_info(&t, 0).uploads + gpu_info(&t, 0).downloads, 0);
	values_end(t.rt, ref, WORDS, 20, 1);
	values_close(&t);
}

Test(cuda_objects, a_value_of_the_store_goes_up_once_for_all)
{
	struct gpu_test t = gpu_open("sim", 2);
	weft_ref ref = values_put(t.rt, WORDS, 4), sums[8];

	for (uint32_t i = 0; i < 8; i++)
		sums[i] = api_submit(t.rt,
		                     WEFT_TASK(values_add, VALUES_PLAN(WORDS, i),
		                               WEFT_INPUTS(ref, ref), SOME(0.25)));
	for (uint32_t i = 0; i < 8; i++)
		values_end(t.rt, sums[i], WORDS, 8 + i, 2);
	cr_assert_eq(gpu_info(&t, 0).uploads, 1);
	cr_assert_eq(gpu_info(&t, 0).resident, BYTES);
	cr_assert_eq(gpu_stats(&t).pageable, 0, "nothing was copied but through pinned memory");
	api_release(t.rt, ref);
	cr_assert_eq(gpu_info(&t, 0).resident, 0, "a copy goes with its value");
	values_close(&t);
}

/* Device 0 is taken whole while it runs. */
static void on_the_other_device(const struct gpu_test *t, weft_ref ref)
{
	struct api_gate gate = API_GATE_INIT;
	weft_ref busy =
		api_submit(t->rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 0, &gate), GPUS(1)));

	api_gate_await(&gate, 1);
	weft_ref sum = api_submit(
		t->rt, WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(ref), GPUS(1)));

	values_end(t->rt, sum, WORDS, 101, 1);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t->rt, busy), 0);
}

Test(cuda_objects, a_value_goes_to_the_device_where_it_is_wanted)
{
	/* How it goes there without the host is in peers.c. */
	struct gpu_test t = gpu_open("sim:devices=2,peer_mbs=0", 2);
	weft_ref ref = made(t.rt, 100);
	const uint32_t from = gpu_info(&t, 0).resident ? 0 : 1;

	cr_assert_eq(from, 0, "the first device is taken first");
	on_the_other_device(&t, ref);
	/* Of it, and of the result of what kept the device busy. */
	cr_assert_eq(gpu_info(&t, 0).downloads, 2);
	cr_assert_eq(gpu_info(&t, 1).uploads, 1);
	api_release(t.rt, ref);
	values_close(&t);
}

static int small_inputs(weft_task *self)
{
	uint64_t at = 1, again = 1;
	size_t bytes = 99;
	int64_t *out = NULL;

	API_CHECK(weft_cuda_input(self, 0, &at, &bytes) == 0 && at && bytes == 8);
	API_CHECK(weft_cuda_input(self, 0, &again, NULL) == 0 && again == at);
	API_CHECK(weft_cuda_input(self, 1, &again, &bytes) == 0 && !again && !bytes);
	/* On the host too. */
	struct weft_view view = api_poison_view();
	API_CHECK(weft_input(self, 0, &view) == 0 && view.size == 8);
	API_CHECK(weft_task_output(self, 0, 8, (void **)&out) == 0);
	return weft_cuda_copy_out(self, out, at, 8);
}

Test(cuda_objects, small_and_empty_inputs_are_there_as_well)
{
	struct gpu_test t = gpu_open("sim", 1);
	weft_ref value = api_put_i64(t.rt, 77);
	weft_ref empty = api_submit(t.rt, WEFT_TASK(api_body_nothing));

	cr_assert_eq(api_take_i64(t.rt,
	                          api_submit(t.rt,
	                                     WEFT_TASK(small_inputs, WEFT_INPUTS(value, empty),
	                                               GPUS(1)))),
	             77);
	api_release(t.rt, value);
	api_release(t.rt, empty);
	values_close(&t);
}

Test(cuda_objects, refs_that_nobody_releases_go_with_the_runtime)
{
	struct gpu_test t = gpu_open("sim", 2);
	weft_ref ref = made(t.rt, 1), host = values_put(t.rt, WORDS, 1);

	cr_assert_eq(api_get(t.rt, ref), 0);
	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1),
	                                          WEFT_INPUTS(host), GPUS(1)))),
	             0);
	(void)made(t.rt, 2);
	cr_assert_eq(gpu_info(&t, 0).resident, 3 * BYTES);
	api_close(t.rt);
	const int64_t start = api_now();

	while (gpu_stats(&t).streams || gpu_stats(&t).events || gpu_stats(&t).memory_used)
		api_polling(start, "everything is given back");
	cr_assert_eq(weft_cuda_close(t.cuda), 0);
}

Test(cuda_objects, who_lets_go_keeps_the_device_that_he_had)
{
	struct gpu_test t = gpu_open("sim", 2);

	for (int i = -1; i < 2; i++) {
		weft_ref ref = made(t.rt, 5);

		wf_sim_set_current(i);
		api_release(t.rt, ref);
		cr_assert_eq(wf_sim_current(), i);
		wf_sim_set_current(-1);
	}
	cr_assert_eq(gpu_info(&t, 0).resident, 0);
	values_close(&t);
}

/* ---- Outputs --------------------------------------------------------------------------------- */

static int fails_at_first(weft_task *self)
{
	int rc = values_make(self);

	if (!rc && weft_task_attempt(self) < 3)
		rc = -EAGAIN;
	return rc;
}

Test(cuda_objects, a_failed_attempt_leaves_nothing)
{
	struct gpu_test t = gpu_open("sim", 1);
	weft_ref ref = api_submit(t.rt,
	                          WEFT_TASK(fails_at_first, VALUES_PLAN(WORDS, 6),
	                                    .opts = WEFT_TASK_OPTIONS(.gpus = 1, .retries = 2)));

	cr_assert_eq(weft_wait(t.rt, &ref, 1, 1, WEFT_FOREVER, &(bool){ false }), 1);
	cr_assert_eq(gpu_info(&t, 0).resident, BYTES);
	values_end(t.rt, ref, WORDS, 6, 1);
	ref = api_submit(t.rt, WEFT_TASK(fails_at_first, VALUES_PLAN(WORDS, 6), GPUS(1)));
	cr_assert_eq(api_end(t.rt, ref), WEFT_ETASK);
	cr_assert_eq(gpu_info(&t, 0).resident, 0);
	values_close(&t);
}

static int several_outputs(weft_task *self)
{
	uint64_t at[3];
	int64_t seven = 7;

	/* The second of output 0 counts, and output 2 is on the host in the end. */
	API_CHECK(weft_cuda_output(self, 0, BYTES, &at[0]) == 0);
	API_CHECK(values_launch_fill(self, at[0], WORDS, 1) == 0);
	API_CHECK(weft_cuda_output(self, 0, BYTES, &at[0]) == 0);
	API_CHECK(weft_cuda_output(self, 1, BYTES, &at[1]) == 0);
	API_CHECK(weft_cuda_output(self, 2, BYTES, &at[2]) == 0);
	API_CHECK(values_launch_fill(self, at[0], WORDS, 10) == 0);
	API_CHECK(values_launch_fill(self, at[1], WORDS, 11) == 0);
	API_CHECK(values_launch_fill(self, at[2], WORDS, 12) == 0);
	void *out = NULL;

	API_CHECK(weft_task_output(self, 2, sizeof seven, &out) == 0);
	memcpy(out, &seven, sizeof seven);
	return 0;
}

Test(cuda_objects, several_outputs_and_the_last_word_counts)
{
	struct gpu_test t = gpu_open("sim", 1);
	weft_ref refs[3];

	cr_assert_eq(weft_submit(t.rt,
	                         WEFT_TASK(several_outputs,
	                                   .opts = WEFT_TASK_OPTIONS(.gpus = 1, .n_outputs = 3)),
	                         refs),
	             0);
	cr_assert_eq(weft_wait(t.rt, refs, 3, 3, WEFT_FOREVER, (bool[3]){ false }), 3);
	cr_assert_eq(gpu_info(&t, 0).resident, 2 * BYTES);
	cr_assert_eq(api_take_i64(t.rt, refs[2]), 7);
	values_end(t.rt, refs[0], WORDS, 10, 1);
	values_end(t.rt, refs[1], WORDS, 11, 1);
	values_close(&t);
}

/* ---- Misuse ---------------------------------------------------------------------------------- */

static int misuses(weft_task *self)
{
	uint64_t at = API_POISON;
	struct weft_view view = api_poison_view();
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };

	API_CHECK(weft_cuda_output(NULL, 0, BYTES, &at) == -EINVAL);
	API_CHECK(weft_cuda_output(self, 0, BYTES, NULL) == -EINVAL);
	API_CHECK(weft_cuda_output(self, 0, 0, &at) == -EINVAL);
	API_CHECK(weft_cuda_output(self, 1, BYTES, &at) == -EINVAL);
	API_CHECK(weft_cuda_output(self, 0, 9 * BYTES, &at) == -ENOMEM);
	API_CHECK(weft_cuda_input(NULL, 0, &at, NULL) == -EINVAL);
	API_CHECK(weft_cuda_input(self, 0, NULL, NULL) == -EINVAL);
	API_CHECK(weft_cuda_input(self, 1, &at, NULL) == -EINVAL);
	API_CHECK(at == API_POISON);
	API_CHECK(weft_input(self, 0, &view) == -EREMOTE && api_view_untouched(&view));
	/* The input counts for the grant once, and so do outputs. */
	API_CHECK(weft_cuda_input(self, 0, &at, NULL) == 0);
	API_CHECK(weft_cuda_input(self, 0, &at, NULL) == 0);
	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0 && grant.memory_used == BYTES);
	API_CHECK(weft_cuda_output(self, 0, 7 * BYTES, &at) == 0);
	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0 && grant.memory_used == 8 * BYTES);
	API_CHECK(weft_cuda_alloc(self, 1, &at) == -ENOMEM);
	return weft_return(self, &(int64_t){ 1 }, 8);
}

static int without_device(weft_task *self)
{
	uint64_t at;

	API_CHECK(weft_cuda_output(self, 0, BYTES, &at) == -EINVAL);
	API_CHECK(weft_cuda_input(self, 0, &at, NULL) == -EINVAL);
	return 0;
}

static int gives_one_by_one(weft_task *self)
{
	uint64_t at;

	API_CHECK(weft_cuda_output(self, 0, BYTES, &at) == -EINVAL);
	return 0;
}

Test(cuda_objects, what_is_wrong_is_refused)
{
	struct gpu_test t = gpu_open("sim", 1);
	weft_ref ref = made(t.rt, 1), emits = api_poison_ref();

	cr_assert_eq(
		api_take_i64(t.rt,
	                     api_submit(t.rt, WEFT_TASK(misuses, WEFT_INPUTS(ref), SOME(0.5)))),
		1);
	cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(without_device, WEFT_INPUTS(ref)))),
	             0);
	cr_assert_eq(weft_submit(t.rt,
	                         WEFT_TASK(gives_one_by_one,
	                                   .opts = WEFT_TASK_OPTIONS(.gpus = 1,
	                                                             .flags = WEFT_TASK_EMITS)),
	                         &emits),
	             0);
	api_release(t.rt, emits);
	api_release(t.rt, ref);
	values_close(&t);
}

/* ---- Lost devices ---------------------------------------------------------------------------- */

static void lose(const struct gpu_test *t)
{
	wf_sim_fault(t->sim, WF_SIM_FAULT_WORK, 1, -EIO);
	weft_ref ref = api_submit(t->rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, 0), GPUS(1)));

	cr_assert_eq(api_end(t->rt, ref), WEFT_EDEVICE);
}

static int told_of_the_loss(weft_task *self)
{
	struct weft_view view = api_poison_view();

	API_CHECK(weft_input(self, 0, &view) == WEFT_EDEVICE);
	return 0;
}

Test(cuda_objects, with_a_device_goes_what_was_only_there)
{
	struct gpu_test t = gpu_open("sim", 2);
	const struct weft_error *error = NULL;
	struct weft_view view = api_poison_view();
	uint32_t failed = 99;
	weft_ref both = made(t.rt, 1), only = made(t.rt, 2), host = values_put(t.rt, WORDS, 3);

	cr_assert_eq(api_get(t.rt, both), 0);
	lose(&t);
	values_end(t.rt, host, WORDS, 3, 1);
	cr_assert_eq(weft_get(t.rt, only, WEFT_FOREVER, &view), WEFT_EDEVICE);
	cr_assert_eq(weft_get_many(t.rt, (weft_ref[]){ both, only }, 2, WEFT_FOREVER,
	                           (struct weft_view[2]){ { 0 } }, &failed),
	             WEFT_EDEVICE);
	cr_assert_eq(failed, 1);
	cr_assert(api_view_untouched(&view));
	cr_assert_eq(values_place(t.rt, only), WEFT_OBJECT_LOST);
	cr_assert_eq(weft_ref_error(t.rt, only, &error), 0);
	cr_assert(error->status == WEFT_EDEVICE && strstr(error->text, "was lost"));
	weft_ref look =
		api_submit(t.rt, WEFT_TASK(values_look, VALUES_PLAN(WORDS, 2), WEFT_INPUTS(only)));

	cr_assert_eq(api_get(t.rt, look), WEFT_EDEP);
	cr_assert_eq(weft_ref_error(t.rt, look, &error), 0);
	cr_assert(error->cause && error->cause->status == WEFT_EDEVICE);
	api_release(t.rt, look);
	look = api_submit(
		t.rt,
		WEFT_TASK(told_of_the_loss, WEFT_INPUTS(only),
	                  .opts = WEFT_TASK_OPTIONS(.on_input_error = WEFT_INPUT_AS_VALUE)));
	cr_assert_eq(api_end(t.rt, look), 0);
	look = api_submit(t.rt, WEFT_TASK(values_look, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(both)));
	cr_assert_eq(api_end(t.rt, look), 0);
	values_end(t.rt, both, WORDS, 1, 1);
	api_release(t.rt, only);
	values_close(&t);
}

Test(cuda_objects, another_device_takes_over_what_the_host_has)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	weft_ref both = made(t.rt, 100), only = made(t.rt, 100);

	cr_assert_eq(api_get(t.rt, both), 0);
	lose(&t);
	cr_assert_eq(gpu_info(&t, 0).lost, 1);
	weft_ref sum = api_submit(
		t.rt, WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(both), GPUS(1)));

	values_end(t.rt, sum, WORDS, 101, 1);
	sum = api_submit(t.rt,
	                 WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(only), GPUS(1)));
	cr_assert_eq(api_end(t.rt, sum), WEFT_EDEP);
	api_release(t.rt, both);
	api_release(t.rt, only);
	values_close(&t);
}

Test(cuda_objects, a_loss_on_the_way_down_ends_the_get)
{
	struct gpu_test t = gpu_open("sim:threads=1", 2);
	struct api_gate gate = API_GATE_INIT;
	struct weft_view view;
	weft_ref ref = made(t.rt, 1);
	weft_ref busy =
		api_submit(t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 0, &gate), GPUS(1)));

	api_gate_await(&gate, 1);
	cr_assert_eq(weft_get(t.rt, ref, WEFT_POLL, &view), -ETIMEDOUT);
	wf_sim_fault(t.sim, WF_SIM_FAULT_WORK, 1, -EIO);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, ref), WEFT_EDEVICE);
	(void)api_end(t.rt, busy);
	values_close(&t);
}
