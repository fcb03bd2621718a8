/*
 * Goal: a value that one device has comes to another without the host where the two can do that,
 * and over the host where they cannot; what is lent stays until it was read, and no longer; every
 * failure ends in a right value or an error.
 * Method: rows of words made on one simulated device and added up on another; counters of both say
 * which way they went; gates keep a copy under way; every call fails in turn.
 */
#include "gpu_values.h"
#include "test.h"

#define WORDS       (64u * 1024) /* 256 KiB: four fill a device of one MiB */
#define BYTES       (WORDS * 4u)
#define GPUS(share) .opts = WEFT_TASK_OPTIONS(.gpus = (share))
#define PART(share, rows) \
	.opts = WEFT_TASK_OPTIONS(.gpus = (share), .gpu_mem = (uint64_t)(rows)*BYTES)

static void await(weft *rt, weft_ref ref)
{
	cr_assert_eq(weft_wait(rt, &ref, 1, 1, WEFT_FOREVER, &(bool){ false }), 1);
}

/* On device 0, which is free. */
static weft_ref made(weft *rt, uint32_t base)
{
	weft_ref ref = api_submit(rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, base), PART(1, 0)));

	await(rt, ref);
	return ref;
}

/* Holds half of device 0, and a thread of the simulation, until the gate opens. */
static int at_gate(weft_task *self)
{
	return gpu_launch_gate(self, api_arg_pointer(self));
}

static weft_ref hold_first(const struct gpu_test *t, struct api_gate *gate)
{
	weft_ref held = api_submit(t->rt, WEFT_TASK(at_gate, API_POINTER(gate), PART(0.5, 1)));

	api_gate_await(gate, 1);
	return held;
}

/* A sum of it on device 1, the only one that is whole. */
static weft_ref on_second(const struct gpu_test *t, weft_ref ref, uint32_t add)
{
	return api_submit(
		t->rt, WEFT_TASK(values_add, VALUES_PLAN(WORDS, add), WEFT_INPUTS(ref), GPUS(1)));
}

/* ---- Ways ------------------------------------------------------------------------------------ */

Test(cuda_peers, a_value_comes_from_the_other_device)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = made(t.rt, 100), held = hold_first(&t, &gate), sums[3];

	for (uint32_t i = 0; i < 3; i++)
		sums[i] = on_second(&t, ref, i);
	for (uint32_t i = 0; i < 3; i++)
		values_end(t.rt, sums[i], WORDS, 100 + i, 1);
	cr_assert_eq(gpu_info(&t, 1).peers, 1, "it stays for who asks next");
	cr_assert_eq(gpu_info(&t, 1).uploads, 0);
	cr_assert_eq(gpu_info(&t, 0).downloads, 0);
	cr_assert_eq(gpu_stats(&t).peer_copies, 1);
	cr_assert_eq(values_place(t.rt, ref), WEFT_OBJECT_DEVICE);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, held), 0);
	values_end(t.rt, ref, WORDS, 100, 1);
	values_close(&t);
}

Test(cuda_peers, where_they_cannot_it_goes_over_the_host)
{
	struct gpu_test t = gpu_open("sim:devices=2,peer_mbs=0", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref[2] = { made(t.rt, 100), made(t.rt, 200) }, held = hold_first(&t, &gate);

	for (uint32_t i = 0; i < 2; i++)
		values_end(t.rt, on_second(&t, ref[i], 1), WORDS, 101 + 100 * i, 1);
	cr_assert_eq(gpu_info(&t, 1).peers, 0);
	cr_assert_eq(gpu_info(&t, 1).uploads, 2);
	cr_assert_eq(gpu_info(&t, 0).downloads, 2);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, held), 0);
	for (uint32_t i = 0; i < 2; i++)
		values_end(t.rt, ref[i], WORDS, 100 + 100 * i, 1);
	values_close(&t);
}

Test(cuda_peers, a_value_of_the_store_comes_from_where_it_was_brought)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = values_put(t.rt, WORDS, 5);
	weft_ref first = api_submit(
		t.rt, WEFT_TASK(values_add, VALUES_PLAN(WORDS, 0), WEFT_INPUTS(ref), GPUS(1)));

	values_end(t.rt, first, WORDS, 5, 1);
	cr_assert_eq(gpu_info(&t, 0).uploads, 1);
	weft_ref held = hold_first(&t, &gate);

	values_end(t.rt, on_second(&t, ref, 1), WORDS, 6, 1);
	cr_assert_eq(gpu_info(&t, 1).peers, 1);
	cr_assert_eq(gpu_info(&t, 1).uploads, 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, held), 0);
	api_release(t.rt, ref);
	values_close(&t);
}

/* ---- Lent ------------------------------------------------------------------------------------ */

/* The one thread of the devices stands at a gate, so what is submitted meanwhile is not done. */
Test(cuda_peers, what_is_lent_gives_way_when_it_was_read)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=1M,threads=1", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref rows[3];

	for (uint32_t i = 0; i < 3; i++)
		rows[i] = made(t.rt, 10 * i);
	weft_ref held = hold_first(&t, &gate), sum = on_second(&t, rows[0], 1);
	const int64_t start = api_now();

	while (!gpu_info(&t, 1).peers)
		api_polling(start, "the copy is under way");
	/* Three rows beside the held one's: all that is there must go. */
	weft_ref more[3];

	for (uint32_t i = 0; i < 3; i++)
		more[i] = api_submit(
			t.rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, 100 * i), PART(0.5, 3)));
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, held), 0);
	values_end(t.rt, sum, WORDS, 1, 1);
	for (uint32_t i = 0; i < 3; i++) {
		values_end(t.rt, more[i], WORDS, 100 * i, 1);
		values_end(t.rt, rows[i], WORDS, 10 * i, 1);
	}
	values_close(&t);
}

/* Two devices that are full, each of which wants what the other has, again and again. */
Test(cuda_peers, two_that_are_full_do_not_wait_for_each_other)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=1M", 2);
	enum { ROWS = 8, ROUNDS = 6 };
	weft_ref rows[ROWS], sums[ROWS * ROUNDS];
	const uint32_t rounds = api_scaled(ROUNDS * 50) / 50 + 1;

	for (uint32_t i = 0; i < ROWS; i++)
		rows[i] = api_submit(
			t.rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, 10 * i), PART(0.5, 1)));
	for (uint32_t r = 0; r < rounds && r < ROUNDS; r++) {
		for (uint32_t i = 0; i < ROWS; i++)
			sums[r * ROWS + i] = api_submit(
				t.rt,
				WEFT_TASK(values_add, VALUES_PLAN(WORDS, r),
			                  WEFT_INPUTS(rows[i], rows[(i + r + 1) % ROWS]), GPUS(1)));
	}
	for (uint32_t r = 0; r < rounds && r < ROUNDS; r++) {
		for (uint32_t i = 0; i < ROWS; i++)
			values_end(t.rt, sums[r * ROWS + i], WORDS,
			           10 * (i + (i + r + 1) % ROWS) + r, 2);
	}
	for (uint32_t i = 0; i < ROWS; i++)
		values_end(t.rt, rows[i], WORDS, 10 * i, 1);
	values_close(&t);
}

Test(cuda_peers, a_value_that_is_let_go_while_it_is_lent_goes_afterwards)
{
	struct gpu_test t = gpu_open("sim:devices=2,threads=1", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = made(t.rt, 3), held = hold_first(&t, &gate), sum = on_second(&t, ref, 1);
	const int64_t start = api_now();

	while (!gpu_info(&t, 1).peers)
		api_polling(start, "the copy is under way");
	api_release(t.rt, ref);
	cr_assert_geq(gpu_info(&t, 0).resident, BYTES);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, held), 0);
	values_end(t.rt, sum, WORDS, 4, 1);
	values_close(&t);
}

/* The host wants it while its only whole copy is lent, and the other is on its way. */
Test(cuda_peers, the_host_gets_it_meanwhile)
{
	struct gpu_test t = gpu_open("sim:devices=2,threads=1", 2);
	struct api_gate gate = API_GATE_INIT;
	struct weft_view view;
	weft_ref ref = made(t.rt, 3), held = hold_first(&t, &gate), sum = on_second(&t, ref, 1);
	const int64_t start = api_now();

	while (!gpu_info(&t, 1).peers)
		api_polling(start, "the copy is under way");
	cr_assert_eq(weft_get(t.rt, ref, WEFT_POLL, &view), -ETIMEDOUT);
	api_gate_open(&gate);
	values_end(t.rt, ref, WORDS, 3, 1);
	values_end(t.rt, sum, WORDS, 4, 1);
	cr_assert_eq(api_end(t.rt, held), 0);
	values_close(&t);
}

/* ---- Failures -------------------------------------------------------------------------------- */

Test(cuda_peers, a_copy_that_is_refused_goes_over_the_host)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = made(t.rt, 100), held = hold_first(&t, &gate);

	wf_sim_fault(t.sim, WF_SIM_FAULT_PEER, 1, -EIO);
	values_end(t.rt, on_second(&t, ref, 1), WORDS, 101, 1);
	cr_assert_eq(wf_sim_fault_count(t.sim, WF_SIM_FAULT_PEER), 1);
	cr_assert_eq(gpu_info(&t, 1).peers, 0);
	cr_assert_eq(gpu_info(&t, 1).uploads, 1);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, held), 0);
	api_release(t.rt, ref);
	values_close(&t);
}

struct outcome {
	bool hit, right;
};

static struct outcome run_with(uint64_t n, int code)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = made(t.rt, 100), held = hold_first(&t, &gate);
	struct outcome outcome = { .hit = false };
	struct weft_view view;

	wf_sim_fault(t.sim, WF_SIM_FAULT_CALL, n, code);
	weft_ref sum = on_second(&t, ref, 1);
	int rc = weft_get(t.rt, sum, WEFT_FOREVER, &view);

	outcome.hit = wf_sim_fault_count(t.sim, WF_SIM_FAULT_CALL) >= n;
	wf_sim_fault(t.sim, WF_SIM_FAULT_CALL, 0, 0);
	outcome.right = rc == 0;
	if (!rc)
		cr_assert(values_are(&view, WORDS, 101, 1));
	else
		cr_assert(rc == WEFT_ETASK || rc == WEFT_EDEP || rc == WEFT_EDEVICE || rc == code ||
		                  rc == -ENOMEM,
		          "%d", rc);
	cr_assert(code == WF_DEVICE_LOST || !outcome.hit || !gpu_info(&t, 0).lost);
	api_release(t.rt, sum);
	api_gate_open(&gate);
	(void)api_end(t.rt, held);
	rc = api_get(t.rt, ref);
	cr_assert(!rc || (rc == WEFT_EDEVICE && gpu_info(&t, 0).lost), "%d", rc);
	api_release(t.rt, ref);
	values_close(&t);
	return outcome;
}

Test(cuda_peers, each_call_fails_in_turn)
{
	static const int codes[] = { -EIO, -ENOMEM, WF_DEVICE_LOST };
	const uint64_t step = 300 / api_scaled(300);

	for (int c = 0; c < 3; c++) {
		uint32_t wrong = 0;
		struct outcome outcome = { .hit = true };

		for (uint64_t n = 1; outcome.hit; n += step) {
			cr_assert_lt(n, 200);
			outcome = run_with(n, codes[c]);
			wrong += !outcome.right;
		}
		if (step == 1)
			cr_assert_gt(wrong, 0);
	}
}
