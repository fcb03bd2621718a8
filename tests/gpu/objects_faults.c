/*
 * Goal: whatever a device does wrong while values move, every task ends with its value or an error
 * that says why, no value is wrong, what the host has lives on, and the books are exact afterwards.
 * Method: one program of tasks that leave values on two small devices, take them as inputs there
 * and on the host, and are short of room, run once for each operation that can fail and each way in
 * which it can; the same with tasks that are cancelled, and with each allocation that fails.
 */
#include "gpu_values.h"
#include "test.h"

#define WORDS (8u * 1024)
#define BYTES (WORDS * 4u)
#define ROWS  6u

enum failure { CALL_TASK, CALL_ROOM, CALL_LOST, WORK_LOST, WORK_HANGS, NO_EVENTS };

static void plant(const struct gpu_test *t, enum failure failure, uint64_t n)
{
	static const int codes[] = { -EIO, -ENOMEM, WF_DEVICE_LOST, -EIO, -EIO, -EIO };
	static const enum wf_sim_fault kinds[] = { WF_SIM_FAULT_CALL, WF_SIM_FAULT_CALL,
		                                   WF_SIM_FAULT_CALL, WF_SIM_FAULT_WORK,
		                                   WF_SIM_FAULT_HANG, WF_SIM_FAULT_EVENT };

	wf_sim_fault(t->sim, kinds[failure], n, codes[failure]);
}

static bool hit(const struct gpu_test *t, enum failure failure, uint64_t n)
{
	return wf_sim_fault_count(t->sim,
	                          failure == WORK_LOST            ? WF_SIM_FAULT_WORK
	                                  : failure == WORK_HANGS ? WF_SIM_FAULT_HANG
	                                  : failure == NO_EVENTS  ? WF_SIM_FAULT_EVENT
	                                                          : WF_SIM_FAULT_CALL) >= n;
}

static bool is_eio(enum failure failure)
{
	return failure == CALL_TASK || failure == NO_EVENTS;
}

/* A right value, or an error of a kind that this failure may give. */
static void check(weft *rt, weft_ref ref, uint32_t base, uint32_t step, enum failure failure,
                  bool cancels)
{
	struct weft_view view = api_poison_view();
	const struct weft_error *error = NULL;
	int rc = weft_get(rt, ref, WEFT_FOREVER, &view);

	if (!rc) {
		cr_assert(values_are(&view, WORDS, base, step));
	} else if (weft_ref_error(rt, ref, &error)) {
		/* The task has ended well, and its value cannot be fetched: not now. */
		cr_assert(rc == (is_eio(failure) ? -EIO : -ENOMEM), "%d", rc);
	} else {
		while (error->cause)
			error = error->cause;
		if (cancels && error->status == -ECANCELED)
			return;
		if (is_eio(failure))
			cr_assert(error->code == -EIO, "%d %d", error->status, error->code);
		else if (failure == CALL_ROOM)
			cr_assert(error->code == -ENOMEM, "%d %d", error->status, error->code);
		else if (failure != CALL_LOST || error->code != -ENOMEM)
			/* But for pinned memory, which is no device's. */
			cr_assert(error->status == WEFT_EDEVICE && strstr(error->text, "was lost"),
			          "%d %s", error->status, error->text);
	}
}

struct field {
	struct gpu_test t;
	weft_ref host[ROWS], born[ROWS], sums[ROWS], looks[ROWS];
};

static void submit_all(struct field *f, bool cancels)
{
	weft *rt = f->t.rt;
	const struct weft_task_options whole = { .struct_size = sizeof whole, .gpus = 1 };
	const struct weft_task_options half = { .struct_size = sizeof half,
		                                .gpus = 0.5,
		                                .gpu_mem = 3 * BYTES };

	for (uint32_t i = 0; i < ROWS; i++) {
		f->host[i] = values_put(rt, WORDS, i);
		f->born[i] = api_submit(rt,
		                        WEFT_TASK(values_make, VALUES_PLAN(WORDS, 10 * i),
		                                  .opts = i & 1 ? &whole : &half));
		f->sums[i] = api_submit(rt,
		                        WEFT_TASK(values_add, VALUES_PLAN(WORDS, i),
		                                  WEFT_INPUTS(f->host[i / 2], f->born[i]),
		                                  .opts = i & 1 ? &half : &whole));
		f->looks[i] = api_submit(rt,
		                         WEFT_TASK(values_look, VALUES_PLAN(WORDS, 10 * i),
		                                   WEFT_INPUTS(f->born[i])));
		if (cancels && i % 2)
			(void)weft_cancel(rt, i % 4 == 1 ? f->sums[i] : f->born[i]);
	}
}

/* False: the program has fewer operations than that. */
static bool run_with(enum failure failure, uint64_t n, bool cancels)
{
	struct weft_cuda_options how = { .struct_size = sizeof how,
		                         .hang_ns = failure == WORK_HANGS ? 50000000 : 0,
		                         .staging_bytes = 4 * BYTES / 3,
		                         /* Every other time without a detour on the way up. */
		                         .pin_bytes = n % 2 ? 0 : 4u << 20 };
	struct weft_options small = { .struct_size = sizeof small, .store_bytes = 4u << 20 };
	struct field f = { .t = gpu_open_with("sim:devices=2,memory=256K,streams=2", 2, &small,
		                              &how) };

	plant(&f.t, failure, n);
	submit_all(&f, cancels);
	for (uint32_t i = 0; i < ROWS; i++) {
		check(f.t.rt, f.sums[i], i / 2 + 10 * i + i, 2, failure, cancels);
		check(f.t.rt, f.born[i], 10 * i, 1, failure, cancels);
		(void)api_end(f.t.rt, f.looks[i]);
	}
	bool was = hit(&f.t, failure, n);

	plant(&f.t, failure, 0);
	for (uint32_t i = 0; i < ROWS; i++) {
		api_release(f.t.rt, f.sums[i]);
		api_release(f.t.rt, f.born[i]);
		values_end(f.t.rt, f.host[i], WORDS, i, 1);
	}
	if (failure == WORK_HANGS) {
		api_await_no_tasks(f.t.rt);
		api_close(f.t.rt);
		cr_assert_eq(weft_cuda_close(f.t.cuda), 0);
	} else {
		values_close(&f.t);
	}
	return was;
}

/* Every operation in turn; under sanitizers some of them, by the seed. */
static void matrix(enum failure failure, bool cancels)
{
	uint64_t step = (failure == WORK_HANGS ? 5 : 1) * (300 / api_scaled(300)) + cancels * 4;
	uint64_t n = 1 + test_seed() % step;

	for (; run_with(failure, n, cancels); n += step)
		cr_assert_lt(n, 3000);
	cr_assert_gt(n, ROWS);
}

Test(cuda_objects_faults, each_call_fails_as_its_task)
{
	matrix(CALL_TASK, false);
}

Test(cuda_objects_faults, each_call_finds_no_room)
{
	matrix(CALL_ROOM, false);
}

Test(cuda_objects_faults, each_call_loses_its_device)
{
	matrix(CALL_LOST, false);
}

Test(cuda_objects_faults, each_piece_of_work_loses_its_device)
{
	matrix(WORK_LOST, false);
}

Test(cuda_objects_faults, each_piece_of_work_hangs)
{
	matrix(WORK_HANGS, false);
}

Test(cuda_objects_faults, and_tasks_are_cancelled_meanwhile)
{
	matrix(CALL_TASK, true);
	matrix(WORK_LOST, true);
}

/* ---- No more events -------------------------------------------------------------------------- */

/* From the n-th on no event can be made: what was begun is waited for all the same. */
Test(cuda_objects_faults, no_more_events)
{
	uint64_t n = 1;

	while (run_with(NO_EVENTS, n, false))
		cr_assert_lt(n++, 3000);
	cr_assert_gt(n, 2);
	for (uint64_t i = 1; i < n; i++)
		(void)run_with(NO_EVENTS, i, true);
}

/* ---- No more answers ------------------------------------------------------------------------- */

/* Whether an upload is there cannot be found out: its value is on the host, and nowhere else. */
Test(cuda_objects_faults, no_more_answers)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=256K,streams=2", 2);
	const struct weft_task_options whole = { .struct_size = sizeof whole, .gpus = 1 };
	weft_ref row = values_put(t.rt, WORDS, 1);

	wf_sim_fault(t.sim, WF_SIM_FAULT_QUERY, 1, -EIO);
	weft_ref sum = api_submit(
		t.rt,
		WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(row), .opts = &whole));

	cr_assert_lt(api_end(t.rt, sum), 0);
	const int64_t start = api_now();

	while (!gpu_info(&t, 0).lost)
		api_polling(start, "the device is lost");
	cr_assert(strstr(gpu_info(&t, 0).failure, "how a copy has ended"), "%s",
	          gpu_info(&t, 0).failure);
	cr_assert_eq(gpu_info(&t, 1).lost, 0);
	wf_sim_fault(t.sim, WF_SIM_FAULT_QUERY, 0, 0);
	sum = api_submit(
		t.rt,
		WEFT_TASK(values_add, VALUES_PLAN(WORDS, 1), WEFT_INPUTS(row), .opts = &whole));
	values_end(t.rt, sum, WORDS, 2, 1);
	values_end(t.rt, row, WORDS, 1, 1);
	values_close(&t);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* A right value, or an error that says that there was no memory. */
static void check_memory(weft *rt, weft_ref ref, uint32_t base, uint32_t step)
{
	struct weft_view view = api_poison_view();
	const struct weft_error *error = NULL;
	int rc = weft_get(rt, ref, WEFT_FOREVER, &view);

	if (!rc) {
		cr_assert(values_are(&view, WORDS, base, step));
		return;
	}
	if (weft_ref_error(rt, ref, &error)) {
		cr_assert_eq(rc, -ENOMEM);
		return;
	}
	while (error->cause)
		error = error->cause;
	cr_assert(error->code == -ENOMEM || error->status == -ENOMEM, "%d %d", error->status,
	          error->code);
}

/* The n-th allocation of anybody fails while the tasks run. False: there are fewer. */
static bool run_without_memory(uint64_t n)
{
	struct weft_options small = { .struct_size = sizeof small, .store_bytes = 4u << 20 };
	struct weft_cuda_options how = { .struct_size = sizeof how,
		                         .staging_bytes = 4 * BYTES / 3 };
	struct field f = { .t = gpu_open_with("sim:devices=2,memory=256K,streams=2", 2, &small,
		                              &how) };
	struct api_gate gate = API_GATE_INIT;
	weft_ref held = api_submit(f.t.rt,
	                           WEFT_TASK(values_make, VALUES_AT_GATE(WORDS, 0, &gate),
	                                     .opts = WEFT_TASK_OPTIONS(.gpus = 2)));

	api_gate_await(&gate, 1);
	submit_all(&f, false);
	wf_fault_arm(WF_FAULT_MALLOC, n);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < ROWS; i++) {
		check_memory(f.t.rt, f.sums[i], i / 2 + 10 * i + i, 2);
		check_memory(f.t.rt, f.born[i], 10 * i, 1);
	}
	bool fired = wf_fault_fired();

	wf_fault_arm(WF_FAULT_MALLOC, 0);
	for (uint32_t i = 0; i < ROWS; i++) {
		(void)api_end(f.t.rt, f.looks[i]);
		api_release(f.t.rt, f.sums[i]);
		api_release(f.t.rt, f.born[i]);
		values_end(f.t.rt, f.host[i], WORDS, i, 1);
	}
	api_release(f.t.rt, held);
	api_await_no_tasks(f.t.rt);
	/* The simulation cannot even free without memory, so its books are not looked at. */
	for (uint32_t i = 0; i < 2; i++)
		cr_assert_eq(gpu_info(&f.t, i).lost, 0);
	api_close(f.t.rt);
	cr_assert_eq(weft_cuda_close(f.t.cuda), 0);
	return fired;
}

Test(cuda_objects_faults, each_allocation_fails)
{
	uint64_t step = 3 * (300 / api_scaled(300)), n = 1 + test_seed() % step;

	for (; run_without_memory(n); n += step)
		cr_assert_lt(n, 3000);
	cr_assert_gt(n, ROWS);
}
