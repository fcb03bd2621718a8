/*
 * Goal: a device that is short of room lets go what nobody uses, first what the host has too, then
 * what must be copied down before; what is in use stays; tasks whose working set is nearly the
 * whole device take turns and all come to their end; copies go through bounded pinned memory and
 * nobody holds a worker while it waits for that.
 * Method: rows of a fraction of a small simulated device; counters of the device say what went.
 */
#include "gpu_values.h"
#include "objects.h"
#include "test.h"

#define KIB         1024u
#define WORDS       (64u * KIB) /* 256 KiB: four fill the device */
#define BYTES       (WORDS * 4u)
#define GPUS(share) .opts = WEFT_TASK_OPTIONS(.gpus = (share))
#define PART(share, rows) \
	.opts = WEFT_TASK_OPTIONS(.gpus = (share), .gpu_mem = (uint64_t)(rows)*BYTES)

static void await(weft *rt, weft_ref ref)
{
	cr_assert_eq(weft_wait(rt, &ref, 1, 1, WEFT_FOREVER, &(bool){ false }), 1);
}

static weft_ref made(weft *rt, uint32_t base)
{
	weft_ref ref = api_submit(rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, base), PART(1, 0)));

	await(rt, ref);
	return ref;
}

/* ---- What goes ------------------------------------------------------------------------------- */

Test(cuda_evict, what_the_host_has_too_goes_first)
{
	struct gpu_test t = gpu_open("sim:memory=1M", 2);
	weft_ref only = made(t.rt, 1), both = made(t.rt, 2), host = values_put(t.rt, WORDS, 3);

	cr_assert_eq(api_get(t.rt, both), 0);
	/* Its copy and the sum: the device is full. */
	weft_ref sum = api_submit(
		t.rt, WEFT_TASK(values_add, VALUES_PLAN(WORDS, 10), WEFT_INPUTS(host), GPUS(1)));

	await(t.rt, sum);
	cr_assert_eq(gpu_info(&t, 0).resident, 4 * BYTES);
	cr_assert_eq(gpu_info(&t, 0).dropped, 0);
	weft_ref more[2];

	for (uint32_t i = 0; i < 2; i++)
		more[i] = made(t.rt, 20 + i);
	cr_assert_eq(gpu_info(&t, 0).dropped, 2);
	cr_assert_eq(gpu_info(&t, 0).evicted, 0, "nothing had to be copied down");
	cr_assert_eq(values_place(t.rt, only), WEFT_OBJECT_DEVICE);
	cr_assert_eq(values_place(t.rt, sum), WEFT_OBJECT_DEVICE);
	/* Both can come back. */
	weft_ref again = api_submit(
		t.rt,
		WEFT_TASK(values_add, VALUES_PLAN(WORDS, 0), WEFT_INPUTS(both, host), GPUS(1)));

	values_end(t.rt, again, WORDS, 5, 2);
	cr_assert_gt(gpu_info(&t, 0).evicted, 0, "now something had");
	values_end(t.rt, only, WORDS, 1, 1);
	values_end(t.rt, sum, WORDS, 13, 1);
	values_end(t.rt, both, WORDS, 2, 1);
	values_end(t.rt, host, WORDS, 3, 1);
	for (uint32_t i = 0; i < 2; i++)
		values_end(t.rt, more[i], WORDS, 20 + i, 1);
	values_close(&t);
}

Test(cuda_evict, results_of_many_times_a_device_all_come_to_the_host)
{
	struct gpu_test t = gpu_open("sim:memory=1M", 2);
	weft_ref refs[20];

	for (uint32_t i = 0; i < 20; i++)
		refs[i] = api_submit(t.rt,
		                     WEFT_TASK(values_make, VALUES_PLAN(WORDS, i), PART(0.25, 1)));
	for (uint32_t i = 0; i < 20; i++)
		await(t.rt, refs[i]);
	cr_assert_geq(gpu_info(&t, 0).evicted, 16);
	cr_assert_leq(gpu_info(&t, 0).resident, 1u << 20);
	cr_assert_leq(gpu_stats(&t).memory_peak, 1u << 20);
	for (uint32_t i = 0; i < 20; i++)
		values_end(t.rt, refs[i], WORDS, i, 1);
	values_close(&t);
}

/* Device, host, file, and back. */
Test(cuda_evict, a_store_that_is_full_as_well_spills)
{
	char dir[] = "/tmp/weft-test-gpu-XXXXXX";

	cr_assert_not_null(mkdtemp(dir));
	struct weft_options o = { .struct_size = sizeof o,
		                  .store_bytes = 2u << 20,
		                  .spill_dirs = dir };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 2, &o, NULL);
	weft_ref refs[24];

	for (uint32_t i = 0; i < 24; i++)
		refs[i] = made(t.rt, i);
	uint32_t files = 0;

	for (uint32_t i = 0; i < 24; i++)
		files += values_place(t.rt, refs[i]) == WEFT_OBJECT_FILE;
	cr_assert_gt(files, 0, "6 MB are more than a device of one and a store of two");
	for (uint32_t i = 0; i < 24; i += 2) {
		weft_ref sum = api_submit(t.rt,
		                          WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1),
		                                    WEFT_INPUTS(refs[i], refs[i + 1]), GPUS(1)));

		values_end(t.rt, sum, WORDS, 2 * i + 2, 2);
	}
	for (uint32_t i = 0; i < 24; i++)
		values_end(t.rt, refs[i], WORDS, i, 1);
	values_close(&t);
	cr_assert_eq(rmdir(dir), 0);
}

/* The whole device. */
static weft_ref made_big(weft *rt)
{
	weft_ref ref =
		api_submit(rt, WEFT_TASK(values_make, VALUES_PLAN(4 * WORDS, 1), PART(1, 0)));

	await(rt, ref);
	return ref;
}

/* No spilling, and the store holds less than what must go. */
Test(cuda_evict, without_room_on_the_host_the_task_is_told)
{
	struct weft_options o = { .struct_size = sizeof o,
		                  .store_bytes = 1u << 20,
		                  .spill_dirs = "" };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 2, &o, NULL);
	weft_ref refs[16];
	uint32_t n = 0;
	int rc = 0;

	for (; n < 16 && !rc; n++) {
		refs[n] = api_submit(t.rt, WEFT_TASK(values_make, VALUES_PLAN(WORDS, n), GPUS(1)));
		await(t.rt, refs[n]);
		struct weft_ref_info info = { .struct_size = sizeof info };

		cr_assert_eq(weft_ref_info(t.rt, refs[n], &info), 0);
		rc = info.status;
	}
	const struct weft_error *error = NULL;

	cr_assert_eq(rc, WEFT_ETASK);
	cr_assert_eq(weft_ref_error(t.rt, refs[n - 1], &error), 0);
	cr_assert_eq(error->code, WEFT_ESTOREFULL);
	cr_assert_gt(n, 4);
	api_release(t.rt, refs[--n]);
	/* What there was is there. */
	while (n)
		api_release(t.rt, refs[--n]);
	weft_ref ref = made(t.rt, 5);
	values_end(t.rt, ref, WORDS, 5, 1);
	values_close(&t);
}

/* The only worker is busy, so the copy to the host waits, and its value is released meanwhile. */
Test(cuda_evict, what_was_released_is_no_failure_of_who_needs_its_room)
{
	struct weft_options o = { .struct_size = sizeof o,
		                  .store_bytes = 1u << 20,
		                  .spill_dirs = "" };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 1, &o, NULL);
	struct api_gate held = API_GATE_INIT;
	weft_ref full = made_big(t.rt), put = values_put(t.rt, WORDS, 1);
	weft_ref body = api_submit(t.rt, WEFT_TASK(api_body_gate, API_POINTER(&held)));

	api_gate_await(&held, 1);
	weft_ref next =
		api_submit(t.rt,
	                   WEFT_TASK(values_make, VALUES_PLAN(WORDS, 5),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 1, .cpus = WEFT_CPUS_NONE)));
	const int64_t start = api_now();

	while (!gpu_info(&t, 0).evicted)
		api_polling(start, "a value is on its way to the host");
	api_release(t.rt, full);
	api_gate_open(&held);
	cr_assert_eq(api_end(t.rt, body), 0);
	await(t.rt, next);
	api_release(t.rt, put);
	values_end(t.rt, next, WORDS, 5, 1);
	values_close(&t);
}

Test(cuda_evict, what_is_in_use_stays)
{
	struct gpu_test t = gpu_open("sim:memory=1M", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref a = values_put(t.rt, WORDS, 1), b[6], sum;

	/* Reads `a` and stays: half of the device. */
	sum = api_submit(t.rt,
	                 WEFT_TASK(values_add, VALUES_AT_GATE(WORDS, 0, &gate), WEFT_INPUTS(a),
	                           PART(0.5, 2)));
	api_gate_await(&gate, 1);
	/* The other half is filled three times over. */
	for (uint32_t i = 0; i < 6; i++) {
		b[i] = api_submit(t.rt,
		                  WEFT_TASK(values_make, VALUES_PLAN(WORDS, i), PART(0.5, 1)));
		await(t.rt, b[i]);
	}
	cr_assert_geq(gpu_info(&t, 0).evicted, 4);
	/* Another reader of `a` finds it. */
	weft_ref again = api_submit(
		t.rt, WEFT_TASK(values_add, VALUES_PLAN(WORDS, 5), WEFT_INPUTS(a), PART(0.5, 2)));

	await(t.rt, again);
	cr_assert_eq(gpu_info(&t, 0).uploads, 1);
	api_gate_open(&gate);
	values_end(t.rt, sum, WORDS, 1, 1);
	values_end(t.rt, again, WORDS, 6, 1);
	for (uint32_t i = 0; i < 6; i++)
		values_end(t.rt, b[i], WORDS, i, 1);
	api_release(t.rt, a);
	values_close(&t);
}

/* ---- Thrash ---------------------------------------------------------------------------------- */

/*
 * Three rows of the four that fit, for each task, of eight: whatever one needs the one before has
 * driven out. In StarPU's issue 38 two inputs evict each other for ever.
 */
static void thrash(bool born_there)
{
	struct gpu_test t = gpu_open("sim:memory=1M", 2);
	uint64_t random = test_seed();
	uint32_t tasks = 8 + api_scaled(100), from[2][128];
	weft_ref rows[8], sums[128];

	API_CHECK(tasks <= 128);
	for (uint32_t i = 0; i < 8; i++)
		rows[i] = born_there ? made(t.rt, i) : values_put(t.rt, WORDS, i);
	for (uint32_t i = 0; i < tasks; i++) {
		from[0][i] = api_below(&random, 8);
		from[1][i] = api_below(&random, 8);
		sums[i] = api_submit(t.rt,
		                     WEFT_TASK(values_add, VALUES_PLAN(WORDS, i),
		                               WEFT_INPUTS(rows[from[0][i]], rows[from[1][i]]),
		                               PART(i % 3 ? 0.5 : 1, i % 3 ? 3 : 0)));
		/* Some are wanted on the host meanwhile. */
		if (i % 5 == 0)
			values_end(t.rt, sums[i], WORDS, from[0][i] + from[1][i] + i, 2);
	}
	for (uint32_t i = 0; i < tasks; i++) {
		if (i % 5)
			values_end(t.rt, sums[i], WORDS, from[0][i] + from[1][i] + i, 2);
	}
	cr_assert_gt(gpu_info(&t, 0).dropped, 0);
	for (uint32_t i = 0; i < 8; i++)
		values_end(t.rt, rows[i], WORDS, i, 1);
	values_close(&t);
}

Test(cuda_evict, inputs_of_nearly_a_device_make_progress)
{
	thrash(false);
}

Test(cuda_evict, and_so_do_inputs_that_were_born_there)
{
	thrash(true);
}

/* Each leaves more than half of the device, which the next one needs. */
static void chain_of_values(double cpus)
{
	enum { LINKS = 24 };
	const struct weft_task_options o = { .struct_size = sizeof o, .gpus = 1, .cpus = cpus };
	const uint32_t words = WORDS * 12 / 5;
	struct gpu_test t = gpu_open("sim:memory=1M", 2);
	struct api_gate gates[LINKS];
	weft_ref refs[LINKS], event = api_poison_ref();

	cr_assert_eq(weft_event_create(t.rt, &event), 0);
	for (uint32_t i = 0; i < LINKS; i++) {
		gates[i] = (struct api_gate)API_GATE_INIT;
		refs[i] = api_submit(t.rt,
		                     WEFT_TASK(values_make, VALUES_AT_GATE(words, i, &gates[i]),
		                               WEFT_AFTER(i ? refs[i - 1] : event), .opts = &o));
	}
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	for (uint32_t i = 0; i < LINKS; i++) {
		api_gate_await(&gates[i], 1);
		/* All that may come meanwhile. */
		for (int64_t k = 0; k < 20; k++)
			cr_assert_eq(api_take_i64(t.rt,
			                          api_spawn(t.rt, api_body_identity, &k, sizeof k)),
			             k);
		api_gate_open(&gates[i]);
	}
	for (uint32_t i = 0; i < LINKS; i++)
		values_end(t.rt, refs[i], words, i, 1);
	api_release(t.rt, event);
	values_close(&t);
}

Test(cuda_evict, a_chain_of_whole_devices_may_leave_values)
{
	chain_of_values(0);
	chain_of_values(WEFT_CPUS_NONE);
}

/* ---- Pinned memory --------------------------------------------------------------------------- */

Test(cuda_evict, a_value_many_times_the_pinned_memory_goes_through)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .staging_bytes = 16384 };
	struct gpu_test t = gpu_open_with("sim:memory=4M", 2, NULL, &how);
	weft_ref rows[4], sums[4];

	for (uint32_t i = 0; i < 4; i++) {
		rows[i] = values_put(t.rt, WORDS - i, 7 * i);
		sums[i] = api_submit(t.rt,
		                     WEFT_TASK(values_add, VALUES_PLAN(WORDS - i, i),
		                               WEFT_INPUTS(rows[i]), GPUS(0.25)));
	}
	for (uint32_t i = 0; i < 4; i++) {
		values_end(t.rt, sums[i], WORDS - i, 8 * i, 1);
		api_release(t.rt, rows[i]);
	}
	cr_assert_eq(gpu_stats(&t).pageable, 0);
	values_close(&t);
}

static bool option_refused(uint64_t staging)
{
	struct weft_cuda_options how = { .struct_size = sizeof how,
		                         .backend = "sim",
		                         .staging_bytes = staging };
	weft_cuda *cuda = NULL;

	return weft_cuda_open(&cuda, &how) == -EINVAL && !cuda;
}

Test(cuda_evict, the_size_of_pinned_memory_has_bounds)
{
	cr_assert(option_refused(1));
	cr_assert(option_refused((16u << 10) - 1));
	cr_assert(option_refused((1ull << 30) + 1));
}

Test(cuda_evict, who_waits_for_pinned_memory_holds_no_worker)
{
	/* The only thread that performs work stands at a gate: no slot becomes free. */
	struct weft_cuda_options how = { .struct_size = sizeof how, .staging_bytes = 16384 };
	struct gpu_test t = gpu_open_with("sim:threads=1,memory=4M", 1, NULL, &how);
	struct api_gate gate = API_GATE_INIT;
	weft_ref row = values_put(t.rt, WORDS, 1), sums[3];
	weft_ref busy = api_submit(
		t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(16, 0, &gate), PART(0.25, 1)));

	api_gate_await(&gate, 1);
	for (uint32_t i = 0; i < 3; i++)
		sums[i] = api_submit(t.rt,
		                     WEFT_TASK(values_add, VALUES_PLAN(WORDS, i), WEFT_INPUTS(row),
		                               PART(0.25, 3)));
	/* One of them sleeps in the middle of its upload, the others wait for it. */
	for (uint32_t i = 0; i < 3; i++)
		api_await_state(t.rt, sums[i], WEFT_REF_BLOCKED);
	for (int64_t i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(t.rt, api_spawn(t.rt, api_body_identity, &i, sizeof i)),
		             i);
	cr_assert_eq(gpu_info(&t, 0).uploads, 0);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < 3; i++)
		values_end(t.rt, sums[i], WORDS, 1 + i, 1);
	cr_assert_eq(gpu_info(&t, 0).uploads, 1);
	cr_assert_eq(api_end(t.rt, busy), 0);
	api_release(t.rt, row);
	values_close(&t);
}

Test(cuda_evict, a_cancel_in_the_middle_of_an_upload_ends_it)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .staging_bytes = 16384 };
	struct gpu_test t = gpu_open_with("sim:threads=1,memory=4M", 1, NULL, &how);
	struct api_gate gate = API_GATE_INIT;
	weft_ref row = values_put(t.rt, WORDS, 1);
	weft_ref busy = api_submit(
		t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(16, 0, &gate), PART(0.25, 1)));

	api_gate_await(&gate, 1);
	weft_ref first = api_submit(
		t.rt,
		WEFT_TASK(values_add, VALUES_PLAN(WORDS, 0), WEFT_INPUTS(row), PART(0.25, 3)));

	api_await_state(t.rt, first, WEFT_REF_BLOCKED);
	weft_ref second = api_submit(
		t.rt,
		WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(row), PART(0.25, 3)));

	api_await_state(t.rt, second, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(t.rt, first), 0);
	/* What is under way is waited for. */
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, first), -ECANCELED);
	/* Who has waited for it does it himself. */
	values_end(t.rt, second, WORDS, 2, 1);
	cr_assert_eq(api_end(t.rt, busy), 0);
	api_release(t.rt, row);
	values_close(&t);
}

struct pages {
	struct api_gate gate;
	uint32_t *words;
};

/* The caller's memory is his again when the calls return. */
static int pageable(weft_task *self)
{
	struct pages *p = api_arg_pointer(self);
	uint64_t at = 0;

	API_CHECK(weft_cuda_alloc(self, BYTES, &at) == 0);
	API_CHECK(weft_cuda_copy_in(self, at, NULL, BYTES) == -EINVAL);
	API_CHECK(weft_cuda_copy_in(self, at, p->words, BYTES) == 0);
	memset(p->words, 0, BYTES);
	API_CHECK(gpu_launch_add(self, at, WORDS, 5) == 0);
	API_CHECK(gpu_launch_gate(self, &p->gate) == 0);
	API_CHECK(weft_cuda_copy_out(self, p->words, at, BYTES) == 0);
	for (uint32_t i = 0; i < WORDS; i++)
		API_CHECK(p->words[i] == i + 5);
	return 0;
}

Test(cuda_evict, any_memory_goes_through_pinned_memory_and_no_worker_waits)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .staging_bytes = 65536 };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 1, NULL, &how);
	struct pages p = { .gate = API_GATE_INIT, .words = malloc(BYTES) };

	cr_assert_not_null(p.words);
	for (uint32_t i = 0; i < WORDS; i++)
		p.words[i] = i;
	weft_ref ref = api_submit(t.rt, WEFT_TASK(pageable, API_POINTER(&p), GPUS(1)));

	api_gate_await(&p.gate, 1);
	for (int64_t i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(t.rt, api_spawn(t.rt, api_body_identity, &i, sizeof i)),
		             i);
	api_gate_open(&p.gate);
	cr_assert_eq(api_end(t.rt, ref), 0);
	cr_assert_eq(gpu_stats(&t).pageable, 0);
	free(p.words);
	values_close(&t);
}

/* One piece up and down: a slot of each ring is made. */
static int one_piece(weft_task *self)
{
	uint32_t word = 1;
	uint64_t at = 0;

	API_CHECK(weft_cuda_alloc(self, sizeof word, &at) == 0);
	API_CHECK(weft_cuda_copy_in(self, at, &word, sizeof word) == 0);
	return weft_cuda_copy_out(self, &word, at, sizeof word);
}

static void pages_open(struct pages *p)
{
	*p = (struct pages){ .gate = API_GATE_INIT, .words = malloc(BYTES) };
	cr_assert_not_null(p->words);
	for (uint32_t i = 0; i < WORDS; i++)
		p->words[i] = i;
	api_gate_open(&p->gate);
}

/* More than all slots, both ways, and the only worker is inside a long body. */
Test(cuda_evict, a_thread_that_cannot_suspend_looks_for_its_copies_itself)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .staging_bytes = 16384 };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 1, NULL, &how);
	struct api_gate held = API_GATE_INIT;
	struct pages p;
	weft_ref body = api_submit(t.rt, WEFT_TASK(api_body_gate, API_POINTER(&held)));

	pages_open(&p);
	api_gate_await(&held, 1);
	weft_ref ref =
		api_submit(t.rt,
	                   WEFT_TASK(pageable, API_POINTER(&p),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 1, .cpus = WEFT_CPUS_NONE)));

	cr_assert_eq(api_end(t.rt, ref), 0);
	api_gate_open(&held);
	cr_assert_eq(api_end(t.rt, body), 0);
	free(p.words);
	values_close(&t);
}

/* One slot is made, and never another one. */
Test(cuda_evict, one_slot_is_enough)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .staging_bytes = 16384 };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 2, NULL, &how);
	weft_ref refs[4];
	struct pages p[4];

	cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(one_piece, GPUS(1)))), 0);
	wf_sim_fault(t.sim, WF_SIM_FAULT_PINNED, 1, -ENOMEM);
	for (uint32_t i = 0; i < 4; i++)
		pages_open(&p[i]);
	for (uint32_t i = 0; i < 4; i++)
		refs[i] = api_submit(t.rt, WEFT_TASK(pageable, API_POINTER(&p[i]), PART(0.25, 1)));
	for (uint32_t i = 0; i < 4; i++) {
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
		free(p[i].words);
	}
	cr_assert_gt(wf_sim_fault_count(t.sim, WF_SIM_FAULT_PINNED), 0);
	wf_sim_fault(t.sim, WF_SIM_FAULT_PINNED, 0, 0);
	values_close(&t);
}

/* It sends one piece, and then stays away from everything. */
static int sends_and_stays(weft_task *self)
{
	static const uint32_t word = 1;
	uint64_t at = 0;

	API_CHECK(weft_cuda_alloc(self, sizeof word, &at) == 0);
	API_CHECK(weft_cuda_copy_in(self, at, &word, sizeof word) == 0);
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

Test(cuda_evict, a_worker_is_woken_for_the_first_copy_of_another_thread)
{
	struct gpu_test t = gpu_open("sim:memory=1M", 1);

	for (uint32_t i = 0; i < 20; i++) {
		struct api_gate gate = API_GATE_INIT;
		weft_ref ref = api_submit(
			t.rt,
			WEFT_TASK(sends_and_stays, API_POINTER(&gate),
		                  .opts = WEFT_TASK_OPTIONS(.gpus = 1, .cpus = WEFT_CPUS_NONE)));

		api_gate_await(&gate, 1);
		const int64_t start = api_now();

		while (gpu_info(&t, 0).pending)
			api_polling(start, "somebody has found the copy done");
		api_gate_open(&gate);
		cr_assert_eq(api_end(t.rt, ref), 0);
	}
	values_close(&t);
}

/* ---- Overlap --------------------------------------------------------------------------------- */

/* A kernel stands at its gate: values go up and come down beside it. */
Test(cuda_evict, copies_in_both_directions_run_beside_kernels)
{
	struct gpu_test t = gpu_open("sim:threads=2,memory=4M", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref row = values_put(t.rt, WORDS, 1), born = made(t.rt, 2);
	weft_ref busy = api_submit(
		t.rt, WEFT_TASK(values_make, VALUES_AT_GATE(16, 0, &gate), PART(0.25, 1)));

	api_gate_await(&gate, 1);
	weft_ref sum = api_submit(
		t.rt,
		WEFT_TASK(values_add, VALUES_PLAN(WORDS, 3), WEFT_INPUTS(row), PART(0.25, 3)));

	await(t.rt, sum);
	cr_assert_eq(gpu_info(&t, 0).uploads, 1);
	values_end(t.rt, born, WORDS, 2, 1);
	values_end(t.rt, sum, WORDS, 4, 1);
	cr_assert_eq(gpu_info(&t, 0).downloads, 2);
	cr_assert_eq(weft_peek(t.rt, busy), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, busy), 0);
	api_release(t.rt, row);
	values_close(&t);
}
