/*
 * Goal: with weft_cuda_options.pin_bytes values go up straight out of the store's memory, which
 * devices are told of chunk by chunk and never beyond the limit; where that cannot be, all is as
 * without it; what is registered stands in nobody's way, and is gone before the store is.
 * Method: rows of words that are added up on simulated devices, which know what host memory is
 * pinned; a small store that must spill and make room; the system refuses; each call fails.
 */
#include "gpu_values.h"
#include "resources.h"
#include "test.h"

#define MIB         (1024u * 1024u)
#define WORDS       (MIB / 4) /* a row is one MiB: four and what is around them are chunks */
#define BYTES       MIB
#define GPUS(share) .opts = WEFT_TASK_OPTIONS(.gpus = (share))

static struct gpu_test open_pinned(const char *devices, uint64_t pin_bytes, struct weft_options *o)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .pin_bytes = pin_bytes };

	return gpu_open_with(devices, 2, o, &how);
}

/* What is being written to a file when it is let go goes afterwards. */
static void await_empty(weft *rt)
{
	struct weft_store_stats stats = { .struct_size = sizeof stats };
	const int64_t start = api_now();

	do {
		cr_assert_eq(weft_store_stats(rt, &stats), 0);
		api_polling(start, "nothing is in the store");
	} while (stats.used || stats.spilled);
}

/* The values of the store, summed up on a device; all of them are released. */
static void sum_up(const struct gpu_test *t, weft_ref *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		values_end(t->rt,
		           api_submit(t->rt,
		                      WEFT_TASK(values_add, VALUES_PLAN(WORDS, 5),
		                                WEFT_INPUTS(refs[i]), GPUS(1))),
		           WORDS, 5 + i, 1);
	}
	for (uint32_t i = 0; i < n; i++)
		api_release(t->rt, refs[i]);
}

static void put_rows(const struct gpu_test *t, weft_ref *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		refs[i] = values_put(t->rt, WORDS, i);
}

Test(cuda_pins, what_is_registered_goes_up_straight)
{
	struct gpu_test t = open_pinned("sim", 64 * MIB, NULL);
	weft_ref refs[8];

	put_rows(&t, refs, 8);
	cr_assert_eq(gpu_info(&t, 0).pinned, 0, "nobody has asked");
	sum_up(&t, refs, 8);
	cr_assert_geq(gpu_info(&t, 0).pinned, 8 * MIB);
	cr_assert_eq(gpu_info(&t, 0).pinned % (2 * MIB), 0);
	cr_assert_eq(gpu_info(&t, 0).uploads, 8);
	cr_assert_eq(gpu_stats(&t).pageable, 0);
	/* The results have come down through slots; nothing has gone up through any. */
	cr_assert_leq(gpu_stats(&t).pinned_near[0], 2);
	values_close(&t);
}

/* Longer than a chunk: one copy for each. */
Test(cuda_pins, a_long_value_is_copied_chunk_by_chunk)
{
	struct gpu_test t = open_pinned("sim", 64 * MIB, NULL);
	weft_ref ref = values_put(t.rt, 7 * WORDS, 3);

	values_end(t.rt,
	           api_submit(t.rt,
	                      WEFT_TASK(values_add, VALUES_PLAN(7 * WORDS, 1), WEFT_INPUTS(ref),
	                                GPUS(1))),
	           7 * WORDS, 4, 1);
	cr_assert_geq(gpu_info(&t, 0).pinned, 8 * MIB);
	cr_assert_eq(gpu_stats(&t).pageable, 0);
	api_release(t.rt, ref);
	values_close(&t);
}

Test(cuda_pins, beyond_the_limit_it_is_staged)
{
	static const uint64_t limits[] = { 1, 2 * MIB - 1, 2 * MIB, 5 * MIB };

	for (uint32_t i = 0; i < 4; i++) {
		struct gpu_test t = open_pinned("sim", limits[i], NULL);
		weft_ref refs[8];

		put_rows(&t, refs, 8);
		sum_up(&t, refs, 8);
		cr_assert_eq(gpu_info(&t, 0).pinned, limits[i] / (2 * MIB) * (2 * MIB));
		cr_assert_eq(gpu_stats(&t).pageable, 0);
		values_close(&t);
	}
}

Test(cuda_pins, a_system_that_refuses_is_asked_once)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct weft_options o = { .struct_size = sizeof o, .log = hear, .log_arg = &said };
	struct gpu_test t = open_pinned("sim", 64 * MIB, &o);
	weft_ref refs[6];

	wf_sim_refuse_register(t.sim, true);
	put_rows(&t, refs, 3);
	sum_up(&t, refs, 3);
	cr_assert_not_null(strstr(said.text, "cannot be registered"), "%s", said.text);
	said.text[0] = 0;
	wf_sim_refuse_register(t.sim, false);
	put_rows(&t, refs, 3);
	sum_up(&t, refs, 3);
	cr_assert_eq(said.text[0], 0);
	cr_assert_eq(gpu_info(&t, 0).pinned, 0);
	cr_assert_eq(gpu_stats(&t).pageable, 0);
	values_close(&t);
}

/* Values of all sizes come and go: the memory that devices know must move all the same. */
Test(cuda_pins, a_store_that_is_short_gets_its_memory_back)
{
	struct weft_options o = { .struct_size = sizeof o,
		                  .store_bytes = 16 * MIB,
		                  .spill_dirs = "" };
	struct gpu_test t = open_pinned("sim", 64 * MIB, &o);
	weft_ref refs[14];

	for (uint32_t round = 0; round < api_scaled(3); round++) {
		put_rows(&t, refs, 14);
		sum_up(&t, refs, 14);
		cr_assert_gt(gpu_info(&t, 0).pinned, 0);
		/* Nearly all of it, in one piece. */
		weft_ref big = values_put(t.rt, 14 * WORDS, round);

		values_end(t.rt,
		           api_submit(t.rt,
		                      WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(big),
		                                GPUS(1))),
		           WORDS, round + 1, 1);
		api_release(t.rt, big);
	}
	values_close(&t);
}

/* Of five pieces the first, the third and the fifth are free: what is free must move. */
Test(cuda_pins, free_pieces_that_devices_know_are_let_go)
{
	struct weft_options o = { .struct_size = sizeof o,
		                  .store_bytes = 16 * MIB,
		                  .spill_dirs = "" };
	struct gpu_test t = open_pinned("sim", 64 * MIB, &o);
	weft_ref small[5], big;

	for (uint32_t i = 0; i < 5; i++) {
		small[i] = values_put(t.rt, 3 * WORDS, i);
		values_end(t.rt,
		           api_submit(t.rt,
		                      WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1),
		                                WEFT_INPUTS(small[i]), GPUS(1))),
		           WORDS, 1 + i, 1);
	}
	uint64_t before = gpu_info(&t, 0).pinned;

	cr_assert_geq(before, 15 * MIB);
	for (uint32_t i = 0; i < 5; i += 2)
		api_release(t.rt, small[i]);
	big = values_put(t.rt, 10 * WORDS, 7);
	cr_assert_lt(gpu_info(&t, 0).pinned, before, "the memory was made elsewhere");
	values_end(t.rt, big, 10 * WORDS, 7, 1);
	values_end(t.rt, small[1], 3 * WORDS, 1, 1);
	values_end(t.rt, small[3], 3 * WORDS, 3, 1);
	values_close(&t);
}

Test(cuda_pins, values_that_are_spilled_and_come_back_are_right)
{
	char dir[] = "/tmp/weft-test-gpu-XXXXXX";

	cr_assert_not_null(mkdtemp(dir));
	struct weft_options o = { .struct_size = sizeof o,
		                  .store_bytes = 12 * MIB,
		                  .spill_dirs = dir };
	struct gpu_test t = open_pinned("sim:memory=4M", 64 * MIB, &o);
	weft_ref refs[24];

	put_rows(&t, refs, 24);
	for (uint32_t round = 0; round < api_scaled(2); round++) {
		for (uint32_t i = 0; i < 24; i++)
			values_end(t.rt,
			           api_submit(t.rt,
			                      WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1),
			                                WEFT_INPUTS(refs[i]), GPUS(1))),
			           WORDS, i + 1, 1);
	}
	cr_assert_gt(gpu_info(&t, 0).pinned, 0);
	for (uint32_t i = 0; i < 24; i++)
		api_release(t.rt, refs[i]);
	await_empty(t.rt);
	values_close(&t);
	cr_assert_eq(rmdir(dir), 0);
}

/* ---- Failures -------------------------------------------------------------------------------- */

/* A sum of `ref`, whose upload is under way behind work that `*busy` holds back at the gate. */
static weft_ref on_its_way(struct gpu_test *t, struct api_gate *gate, weft_ref ref, weft_ref *busy)
{
	*busy = api_submit(t->rt,
	                   WEFT_TASK(values_make, VALUES_AT_GATE(16, 0, gate),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 0.5, .gpu_mem = 64)));
	api_gate_await(gate, 1);
	weft_ref sum =
		api_submit(t->rt,
	                   WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(ref),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 0.5, .gpu_mem = 4 * BYTES)));
	const int64_t start = api_now();

	while (!gpu_info(t, 0).uploads)
		api_polling(start, "the upload is under way");
	return sum;
}

/* A value is let go while the device reads it: its bytes are nobody else's before that is over. */
Test(cuda_pins, a_value_that_is_let_go_on_its_way_up_stays_until_it_is_there)
{
	struct gpu_test t = open_pinned("sim:threads=1", 64 * MIB, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = values_put(t.rt, WORDS, 3);
	weft_ref busy, sum = on_its_way(&t, &gate, ref, &busy);

	api_release(t.rt, ref);
	/* Others get memory meanwhile, and write to it. */
	weft_ref others[4];

	put_rows(&t, others, 4);
	api_gate_open(&gate);
	values_end(t.rt, sum, WORDS, 4, 1);
	cr_assert_eq(api_end(t.rt, busy), 0);
	for (uint32_t i = 0; i < 4; i++)
		values_end(t.rt, others[i], WORDS, i, 1);
	values_close(&t);
}

/* What it may still read stays registered, and the close does not mind. */
Test(cuda_pins, a_device_that_is_lost_on_the_way)
{
	struct gpu_test t = open_pinned("sim:threads=1", 64 * MIB, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = values_put(t.rt, WORDS, 3);
	weft_ref busy, sum = on_its_way(&t, &gate, ref, &busy);

	wf_sim_fault(t.sim, WF_SIM_FAULT_WORK, 1, -EIO);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, sum), WEFT_EDEVICE);
	(void)api_end(t.rt, busy);
	cr_assert_gt(gpu_info(&t, 0).pinned, 0);
	values_end(t.rt, ref, WORDS, 3, 1);
	values_close(&t);
}

static bool run_with(uint64_t n, int code)
{
	struct weft_options o = { .struct_size = sizeof o, .store_bytes = 8 * MIB };
	struct gpu_test t = open_pinned("sim", 4 * MIB, &o);
	weft_ref ref = values_put(t.rt, 3 * WORDS, 3);
	struct weft_view view;

	wf_sim_fault(t.sim, WF_SIM_FAULT_CALL, n, code);
	weft_ref sum = api_submit(
		t.rt, WEFT_TASK(values_add, VALUES_PLAN(3 * WORDS, 1), WEFT_INPUTS(ref), GPUS(1)));
	int rc = weft_get(t.rt, sum, WEFT_FOREVER, &view);
	bool hit = wf_sim_fault_count(t.sim, WF_SIM_FAULT_CALL) >= n;

	wf_sim_fault(t.sim, WF_SIM_FAULT_CALL, 0, 0);
	if (!rc)
		cr_assert(values_are(&view, 3 * WORDS, 4, 1));
	else
		cr_assert(rc == WEFT_ETASK || rc == WEFT_EDEVICE || rc == code || rc == -ENOMEM,
		          "%d", rc);
	api_release(t.rt, sum);
	values_end(t.rt, ref, 3 * WORDS, 3, 1);
	values_close(&t);
	return hit;
}

Test(cuda_pins, each_call_fails_in_turn)
{
	static const int codes[] = { -EIO, -ENOMEM, WF_DEVICE_LOST };
	const uint64_t step = 300 / api_scaled(300);

	for (int c = 0; c < 3; c++) {
		uint64_t n = 1;

		for (; run_with(n, codes[c]); n += step)
			cr_assert_lt(n, 500);
		cr_assert_gt(n, 5);
	}
}
