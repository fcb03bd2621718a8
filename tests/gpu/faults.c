/*
 * Goal: whatever a device does wrong, every task ends, with its value or an error that says why;
 * what never touched the device goes on; a lost device is not granted any more and everything else
 * is; and the books are exact afterwards.
 * Method: one program of tasks on two simulated devices, run once for each operation that can fail,
 * and each way in which it can: an error of the call, no room, a fatal one, work that kills its
 * device, work that hangs.
 */
#include "gpu_task.h"
#include "test.h"

#define WORDS 256u
#define ROW   4096u /* words of a value that lies in the store */
#define TASKS 12u

struct job {
	uint32_t *host;
	uint32_t add;
};

static int job_body(weft_task *self)
{
	const struct job *job = api_arg_pointer(self);
	uint64_t address = 0, scratch = 0;
	int rc = weft_cuda_alloc(self, WORDS * 4, &address);

	if (!rc)
		rc = weft_cuda_alloc(self, WORDS * 4, &scratch);
	if (!rc)
		rc = weft_cuda_copy_in(self, address, job->host, WORDS * 4);
	if (!rc)
		rc = gpu_launch_add(self, address, WORDS, job->add);
	if (!rc)
		rc = weft_cuda_copy_out(self, job->host, address, WORDS * 4);
	return rc;
}

/* On the host: what its input has left. */
static int check_body(weft_task *self)
{
	const struct job *job = api_arg_pointer(self);

	for (uint32_t i = 0; i < WORDS; i++)
		API_CHECK(job->host[i] == i + job->add);
	return 0;
}

enum failure { CALL_TASK, CALL_ROOM, CALL_LOST, WORK_LOST, WORK_HANGS, FAILURES };

static void plant(const struct gpu_test *t, enum failure failure, uint64_t n)
{
	static const int codes[] = { -EIO, -ENOMEM, WF_DEVICE_LOST, -EIO, -EIO };
	static const enum wf_sim_fault kinds[] = { WF_SIM_FAULT_CALL, WF_SIM_FAULT_CALL,
		                                   WF_SIM_FAULT_CALL, WF_SIM_FAULT_WORK,
		                                   WF_SIM_FAULT_HANG };

	wf_sim_fault(t->sim, kinds[failure], n, codes[failure]);
}

static bool hit(const struct gpu_test *t, enum failure failure, uint64_t n)
{
	return wf_sim_fault_count(t->sim,
	                          failure == WORK_LOST            ? WF_SIM_FAULT_WORK
	                                  : failure == WORK_HANGS ? WF_SIM_FAULT_HANG
	                                                          : WF_SIM_FAULT_CALL) >= n;
}

/* How a task on a device may have ended. */
static void check_end(weft *rt, weft_ref ref, int rc, enum failure failure)
{
	const struct weft_error *error;

	if (!rc)
		return;
	cr_assert_eq(weft_ref_error(rt, ref, &error), 0);
	while (error->cause)
		error = error->cause;
	if (failure == CALL_TASK)
		cr_assert(error->status == WEFT_ETASK && error->code == -EIO, "%d %d",
		          error->status, error->code);
	else if (failure == CALL_ROOM)
		cr_assert(error->status == WEFT_ETASK && error->code == -ENOMEM, "%d %d",
		          error->status, error->code);
	else
		cr_assert(error->status == WEFT_EDEVICE && strstr(error->text, "was lost"), "%d %s",
		          error->status, error->text);
}

/* Afterwards: refused when too little is left. */
static void check_again(weft *rt, weft_ref ref, bool refused, enum failure failure)
{
	int rc = api_get(rt, ref);

	if (failure != WORK_HANGS)
		cr_assert_eq(rc, refused ? WEFT_EDEVICE : 0);
	else
		cr_assert(rc == WEFT_EDEVICE || (!rc && !refused));
}

/* What is left works, and what is lost is refused. */
static void afterwards(const struct gpu_test *t, struct job *job, enum failure failure)
{
	uint32_t lost = gpu_info(t, 0).lost + gpu_info(t, 1).lost;

	if (failure <= CALL_ROOM)
		cr_assert_eq(lost, 0);
	cr_assert(gpu_available(t->rt, "GPU") <= 2 - lost);
	for (uint32_t n = 1; n <= 2; n++) {
		const struct weft_task_options o = { .struct_size = sizeof o, .gpus = n };

		for (uint32_t j = 0; j < WORDS; j++)
			job->host[j] = j;
		weft_ref ref = api_submit(t->rt, WEFT_TASK(job_body, API_POINTER(job), .opts = &o));
		check_again(t->rt, ref, 2 - lost < n, failure);
		api_release(t->rt, ref);
	}
}

/* False: the program has fewer operations than that. */
static bool run_with(enum failure failure, uint64_t n)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .hang_ns = 50000000 };
	struct gpu_test t = gpu_open_with("sim:devices=2,memory=1M,streams=2", 2, NULL,
	                                  failure == WORK_HANGS ? &how : NULL);
	struct job jobs[TASKS];
	weft_ref refs[TASKS], checks[TASKS];
	struct api_count cpu = { 0 };
	uint32_t failed = 0;

	for (uint32_t i = 0; i < TASKS; i++) {
		void *memory = NULL;

		cr_assert_eq(weft_cuda_host_alloc(t.rt, WORDS * 4, &memory), 0);
		jobs[i] = (struct job){ memory, i };
		for (uint32_t j = 0; j < WORDS; j++)
			jobs[i].host[j] = j;
	}
	plant(&t, failure, n);
	for (uint32_t i = 0; i < TASKS; i++) {
		const struct weft_task_options o = { .struct_size = sizeof o,
			                             .gpus = i % 5 == 4 ? 2
			                                     : i % 3    ? 0.5
			                                                : 1 };

		/* Two chains, and some for themselves. */
		refs[i] = i < 3 || i > 8
			? api_submit(t.rt, WEFT_TASK(job_body, API_POINTER(&jobs[i]), .opts = &o))
			: api_submit(t.rt,
		                     WEFT_TASK(job_body, API_POINTER(&jobs[i]),
		                               WEFT_AFTER(refs[i - 2]), .opts = &o));
		checks[i] = api_submit(
			t.rt, WEFT_TASK(check_body, API_POINTER(&jobs[i]), WEFT_INPUTS(refs[i])));
		weft_release(t.rt, api_submit(t.rt, WEFT_TASK(api_body_count, API_POINTER(&cpu))));
	}
	for (uint32_t i = 0; i < TASKS; i++) {
		int rc = api_get(t.rt, refs[i]);

		check_end(t.rt, refs[i], rc, failure);
		failed += rc != 0;
		cr_assert_eq(api_end(t.rt, checks[i]), rc ? WEFT_EDEP : 0);
	}
	/* The host has not noticed. */
	api_await_count(&cpu, TASKS);
	bool was = hit(&t, failure, n);
	/* A machine that stands still for so long looks like a device that does. */
	if (!was && failure != WORK_HANGS)
		cr_assert_eq(failed, 0);
	plant(&t, failure, 0);
	afterwards(&t, &jobs[0], failure);
	for (uint32_t i = 0; i < TASKS; i++) {
		api_release(t.rt, refs[i]);
		/* What hangs may still come to it; then it goes with the devices. */
		if (failure != WORK_HANGS)
			weft_cuda_host_free(t.rt, jobs[i].host);
	}
	if (failure == WORK_HANGS) {
		api_await_no_tasks(t.rt);
		api_close(t.rt);
		cr_assert_eq(weft_cuda_close(t.cuda), 0);
	} else {
		gpu_close(&t);
	}
	return was;
}

/* Every operation in turn; under sanitizers some of them. */
static void matrix(enum failure failure)
{
	uint64_t step = (failure == WORK_HANGS ? 5 : 1) * (300 / api_scaled(300));
	uint64_t n = 1;

	for (; run_with(failure, n); n += step)
		cr_assert_lt(n, 2000);
	cr_assert_gt(n, TASKS);
}

Test(cuda_faults, each_call_fails_as_its_task)
{
	matrix(CALL_TASK);
}

Test(cuda_faults, each_call_finds_no_room)
{
	matrix(CALL_ROOM);
}

Test(cuda_faults, each_call_loses_its_device)
{
	matrix(CALL_LOST);
}

Test(cuda_faults, each_piece_of_work_loses_its_device)
{
	matrix(WORK_LOST);
}

Test(cuda_faults, each_piece_of_work_hangs)
{
	matrix(WORK_HANGS);
}

/* ---- In particular --------------------------------------------------------------------------- */

/* args: nothing. Reads where no memory is. */
static int follows_a_bad_address(weft_task *self)
{
	uint64_t address = 0;
	uint32_t word;
	int rc = weft_cuda_alloc(self, 64, &address);

	/* The copy is taken; it fails where it is done. */
	return rc ? rc : weft_cuda_copy_out(self, &word, address + 60, 8);
}

Test(cuda_faults, a_bad_address_costs_the_device_and_nothing_else)
{
	struct gpu_test t = gpu_open("sim", 2);
	const struct weft_error *error;
	struct weft_pending_info pending[2];
	weft_ref bad = api_submit(
		t.rt, WEFT_TASK(follows_a_bad_address, .opts = WEFT_TASK_OPTIONS(.gpus = 1)));
	/* Waits for the same device. */
	weft_ref next =
		api_submit(t.rt, WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.gpus = 1)));

	cr_assert_eq(api_get(t.rt, bad), WEFT_EDEVICE);
	cr_assert_eq(weft_ref_error(t.rt, bad, &error), 0);
	cr_assert_not_null(strstr(error->text, "illegal address"), "%s", error->text);
	cr_assert_not_null(strstr(error->text, "device 0"), "%s", error->text);
	api_release(t.rt, bad);
	cr_assert_eq(api_end(t.rt, next), WEFT_EDEVICE);
	cr_assert_eq(gpu_info(&t, 0).lost, 1);
	cr_assert_not_null(strstr(gpu_info(&t, 0).failure, "illegal address"));
	cr_assert(gpu_available(t.rt, "GPU") == 0);
	next = api_submit(t.rt,
	                  WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.gpus = 0.1)));
	cr_assert_eq(api_end(t.rt, next), WEFT_EDEVICE);
	cr_assert_eq(weft_pending(t.rt, pending, 2), 0, "nothing waits for what is gone");
	int64_t seven = 7;
	cr_assert_eq(api_take_i64(t.rt, api_spawn(t.rt, api_body_identity, &seven, sizeof seven)),
	             7);
	gpu_close(&t);
}

Test(cuda_faults, a_lost_device_stays_lost_for_the_next_runtime)
{
	struct gpu_test t = gpu_open("sim:2", 1);

	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(follows_a_bad_address,
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 1)))),
	             WEFT_EDEVICE);
	api_close(t.rt);
	cr_assert_eq(weft_open(&t.rt, WEFT_OPTIONS(.workers = 1, .devices = t.cuda)), 0);
	cr_assert_eq(gpu_info(&t, 0).lost + gpu_info(&t, 1).lost, 1);
	cr_assert(gpu_available(t.rt, "GPU") == 1);
	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(api_body_nothing,
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 1)))),
	             0);
	gpu_close(&t);
}

/* A value of the store, read on the device behind a gate: of one launch after the other. */
struct reader {
	struct api_gate gate;
	struct api_count launches;
};

static int reads_behind_a_gate(weft_task *self)
{
	struct reader *reader = api_arg_pointer(self);
	uint64_t at = 0;
	size_t bytes = 0;
	int rc = weft_cuda_input(self, 0, &at, &bytes);

	if (!rc)
		rc = gpu_launch_gate(self, &reader->gate);
	if (!rc)
		rc = gpu_launch_add(self, at, ROW, 1);
	return rc ? rc : gpu_launch_count(self, &reader->launches);
}

/* It seems to hang, and goes on afterwards: what it was to use is not there any more. */
Test(cuda_faults, a_device_that_was_given_up_does_nothing_more)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .hang_ns = 20000000 };
	struct gpu_test t = gpu_open_with("sim:memory=1M", 2, NULL, &how);
	struct reader reader = { .gate = API_GATE_INIT };
	static uint32_t words[ROW];
	weft_ref put = WEFT_NONE;

	cr_assert_eq(weft_put(t.rt, words, sizeof words, &put), 0);
	weft_ref ref =
		api_submit(t.rt,
	                   WEFT_TASK(reads_behind_a_gate, API_POINTER(&reader), WEFT_INPUTS(put),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 0.5, .gpu_mem = 65536)));

	cr_assert_eq(api_end(t.rt, ref), WEFT_EDEVICE);
	/* Its copy on the device goes with it. */
	api_release(t.rt, put);
	api_await_no_tasks(t.rt);
	api_close(t.rt);
	api_gate_open(&reader.gate);
	cr_assert_eq(weft_cuda_close(t.cuda), 0);
	cr_assert_eq(api_read(&reader.launches), 0);
}

/* With retries the next attempt is on the device that is left. */
static int fails_on_the_first(weft_task *self)
{
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	if (info.attempt == 1)
		return follows_a_bad_address(self);
	API_CHECK(info.last_error && info.last_error->status == WEFT_EDEVICE);
	int64_t device = info.gpu[0];
	return weft_return(self, &device, sizeof device);
}

Test(cuda_faults, a_retry_moves_to_another_device)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	weft_ref ref = api_submit(
		t.rt,
		WEFT_TASK(fails_on_the_first, .opts = WEFT_TASK_OPTIONS(.gpus = 1, .retries = 1)));
	int64_t device = api_take_i64(t.rt, ref);

	cr_assert_eq(gpu_info(&t, (uint32_t)device).lost, 0);
	cr_assert_eq(gpu_info(&t, (uint32_t)(1 - device)).lost, 1);
	gpu_close(&t);
}

Test(cuda_faults, without_another_device_the_last_failure_stands)
{
	struct gpu_test t = gpu_open("sim", 2);
	weft_ref ref = api_submit(
		t.rt,
		WEFT_TASK(fails_on_the_first, .opts = WEFT_TASK_OPTIONS(.gpus = 1, .retries = 5)));

	cr_assert_eq(api_end(t.rt, ref), WEFT_EDEVICE);
	gpu_close(&t);
}

static int bad_launches(weft_task *self)
{
	static const struct weft_cuda_kernel nameless = { .twin = gpu_twin_add };
	static const struct weft_cuda_kernel card_only = { .name = "card_only" };
	void *args[65] = { 0 };

	API_CHECK(weft_cuda_launch(self, NULL) == -EINVAL);
	API_CHECK(weft_cuda_launch(self, &(struct weft_cuda_launch){ 0 }) == -EINVAL);
	API_CHECK(weft_cuda_launch(self, &(struct weft_cuda_launch){ .kernel = &nameless }) ==
	          -EINVAL);
	API_CHECK(weft_cuda_launch(self,
	                           &(struct weft_cuda_launch){ .kernel = &gpu_add,
	                                                       .n_args = 65,
	                                                       .args = args }) == -EINVAL);
	API_CHECK(weft_cuda_launch(self,
	                           &(struct weft_cuda_launch){ .kernel = &gpu_add, .n_args = 1 }) ==
	          -EINVAL);
	int rc = weft_cuda_launch(self, &(struct weft_cuda_launch){ .kernel = &card_only });
	API_CHECK(rc == -ENOTSUP);
	return rc;
}

Test(cuda_faults, a_bad_launch_fails_its_task_only)
{
	struct gpu_test t = gpu_open("sim", 1);
	const struct weft_error *error;
	weft_ref ref = api_submit(
		t.rt, WEFT_TASK(bad_launches, .opts = WEFT_TASK_OPTIONS(.gpus = 1, .retries = 2)));

	cr_assert_eq(api_get(t.rt, ref), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(t.rt, ref, &error), 0);
	cr_assert(error->code == -ENOTSUP && error->attempt == 3);
	api_release(t.rt, ref);
	cr_assert_eq(gpu_info(&t, 0).lost, 0);
	cr_assert_null(weft_cuda_twin_memory(NULL, 0, 1));
	cr_assert_null(weft_cuda_twin_memory(t.cuda, 4096, 1));
	gpu_close(&t);
}
