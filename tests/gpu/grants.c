/*
 * Goal: devices are opened as asked; a task with a GPU is granted a device, a stream, a context and
 * memory, all at once, as its request says, and gives all of it back however it ends.
 * Method: simulated devices; bodies that look at what they were given and hold it at gates; the
 * books before, during and after.
 */
#include "gpu_task.h"
#include "test.h"

/* ---- Devices -------------------------------------------------------------------------------- */

static void refused(int status, const struct weft_cuda_options *opts)
{
	weft_cuda *cuda = (weft_cuda *)(uintptr_t)16;

	cr_assert_eq(weft_cuda_open(&cuda, opts), status, "%s", opts->backend ? opts->backend : "");
	cr_assert_eq((uintptr_t)cuda, 16);
}

#define HOW(...) \
	(&(struct weft_cuda_options){ .struct_size = sizeof(struct weft_cuda_options), \
	                              __VA_ARGS__ })

Test(cuda_open, options_are_checked)
{
	weft_cuda *cuda = NULL;
	struct {
		struct weft_cuda_options known;
		uint64_t tail;
	} longer = { .known = { .struct_size = sizeof longer, .backend = "sim" } };

	unsetenv("WEFT_GPU");
	cr_assert_eq(weft_cuda_open(NULL, NULL), -EINVAL);
	refused(-EINVAL, HOW(.backend = "hip"));
	refused(-EINVAL, HOW(.backend = ""));
	refused(-EINVAL, HOW(.backend = "simulation"));
	refused(-EINVAL, HOW(.backend = "sim:9"));
	refused(-EINVAL, HOW(.backend = "none:1"));
	refused(-EINVAL, HOW(.backend = "sim", .ahead_max = 65537));
	refused(-EINVAL, HOW(.backend = "sim", .hang_ns = -1));
	refused(-EINVAL, HOW(.backend = "sim", .reserved0 = 1));
	refused(-EINVAL, HOW(.backend = "sim", .reserved = { 0, 1 }));
	refused(-EINVAL, &(struct weft_cuda_options){ .struct_size = 1 });
	refused(-ENODEV, HOW(.backend = "cuda:library=/nowhere/libcuda.so.1"));
	longer.tail = 1;
	refused(-EINVAL, &longer.known);
	longer.tail = 0;
	cr_assert_eq(weft_cuda_open(&cuda, &longer.known), 0);
	cr_assert_eq(weft_cuda_count(cuda), 1);
	cr_assert_eq(weft_cuda_close(cuda), 0);
	cr_assert_eq(weft_cuda_close(NULL), 0);
	cr_assert_eq(weft_cuda_count(NULL), -EINVAL);
}

Test(cuda_open, the_environment_decides_over_the_program)
{
	weft_cuda *cuda = NULL;

	setenv("WEFT_GPU", "sim:3", 1);
	cr_assert_eq(weft_cuda_open(&cuda, HOW(.backend = "none")), 0);
	cr_assert_eq(weft_cuda_count(cuda), 3);
	cr_assert_eq(weft_cuda_close(cuda), 0);
	setenv("WEFT_GPU", "none", 1);
	cr_assert_eq(weft_cuda_open(&cuda, HOW(.backend = "sim")), 0);
	cr_assert_eq(weft_cuda_count(cuda), 0);
	cr_assert_eq(weft_cuda_close(cuda), 0);
	setenv("WEFT_GPU", "what", 1);
	refused(-EINVAL, HOW(.backend = "sim"));
	setenv("WEFT_GPU", "", 1);
	cr_assert_eq(weft_cuda_open(&cuda, HOW(.backend = "sim:2")), 0);
	cr_assert_eq(weft_cuda_count(cuda), 2);
	cr_assert_eq(weft_cuda_close(cuda), 0);
	unsetenv("WEFT_GPU");
}

Test(cuda_open, one_runtime_at_a_time_has_the_devices)
{
	struct gpu_test t = gpu_open("sim:2", 1);
	struct weft_info info = { .struct_size = sizeof info };
	weft *other = NULL;

	cr_assert_eq(weft_open(&other, WEFT_OPTIONS(.workers = 1, .devices = t.cuda)), -EBUSY);
	cr_assert_null(other);
	cr_assert_eq(weft_open(&other, WEFT_OPTIONS(.workers = 1, .devices = t.cuda, .gpus = 1)),
	             -EINVAL);
	cr_assert_eq(weft_cuda_close(t.cuda), -EBUSY);
	cr_assert_eq(weft_info(t.rt, &info), 0);
	cr_assert_str_eq(info.device, "sim");
	cr_assert_eq(info.options.gpus, 2);
	api_close(t.rt);
	/* Afterwards the next one may. */
	cr_assert_eq(weft_open(&t.rt, WEFT_OPTIONS(.workers = 1, .devices = t.cuda)), 0);
	gpu_close(&t);
}

Test(cuda_open, no_devices_and_none_given_leave_everything_as_it_was)
{
	struct gpu_test t = gpu_open("none", 1);
	struct weft_cuda_info info = { .struct_size = sizeof info };
	void *memory = NULL;
	weft *plain = api_open(1);
	weft_ref ref = WEFT_NONE;

	cr_assert_eq(weft_cuda_info(t.rt, 0, &info), -EINVAL);
	cr_assert_eq(weft_cuda_host_alloc(t.rt, 10, &memory), -ENODEV);
	cr_assert(gpu_available(t.rt, "GPU") == 0);
	cr_assert_eq(weft_submit(plain,
	                         WEFT_TASK(api_body_nothing,
	                                   .opts = WEFT_TASK_OPTIONS(.gpus = 1, .gpu_mem = 1)),
	                         &ref),
	             -EINVAL);
	cr_assert_eq(weft_cuda_info(plain, 0, &info), -EINVAL);
	cr_assert_eq(weft_cuda_info(NULL, 0, &info), -EINVAL);
	cr_assert_eq(weft_cuda_host_alloc(plain, 10, &memory), -ENODEV);
	cr_assert_eq(weft_cuda_host_alloc(NULL, 10, &memory), -EINVAL);
	cr_assert_null(memory);
	weft_cuda_host_free(plain, NULL);
	api_close(plain);
	gpu_close(&t);
}

Test(cuda_open, what_is_there_is_told)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=8M", 1);
	struct weft_cuda_info info = { .struct_size = sizeof info };
	struct weft_cuda_info little = { .struct_size = offsetof(struct weft_cuda_info, pci) };
	void *memory = NULL;

	cr_assert_eq(weft_cuda_info(t.rt, 1, &info), 0);
	cr_assert_str_eq(info.name, "simulated device");
	cr_assert_eq(info.memory_bytes, 8u << 20);
	cr_assert_eq(info.memory_free, 8u << 20);
	cr_assert(info.share_free == 1 && !info.lost && !info.running && !info.pending);
	cr_assert_str_eq(info.failure, "");
	memset(little.pci, 'x', sizeof little.pci);
	cr_assert_eq(weft_cuda_info(t.rt, 0, &little), 0);
	cr_assert_eq(little.pci[0], 'x');
	cr_assert_eq(weft_cuda_info(t.rt, 2, &info), -EINVAL);
	cr_assert_eq(weft_cuda_info(t.rt, 0, NULL), -EINVAL);
	info.struct_size = 3;
	cr_assert_eq(weft_cuda_info(t.rt, 0, &info), -EINVAL);
	cr_assert(gpu_available(t.rt, "GPU") == 2);
	cr_assert(gpu_available(t.rt, "GPU memory") == 16 << 20);
	cr_assert_eq(weft_cuda_host_alloc(t.rt, 0, &memory), -EINVAL);
	cr_assert_eq(weft_cuda_host_alloc(t.rt, 5000, &memory), 0);
	cr_assert_eq((uintptr_t)memory % 4096, 0);
	weft_cuda_host_free(t.rt, memory);
	gpu_close(&t);
}

/* ---- What a body is given ------------------------------------------------------------------- */

static int no_device(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	uint64_t address = 7;

	API_CHECK(weft_cuda_grant(self, 0, &grant) == -EINVAL);
	API_CHECK(weft_cuda_stream(self) == NULL);
	API_CHECK(weft_cuda_use(self, 0) == -EINVAL);
	API_CHECK(weft_cuda_alloc(self, 16, &address) == -EINVAL && address == 7);
	API_CHECK(weft_cuda_copy_in(self, 1, &address, 8) == -EINVAL);
	API_CHECK(weft_cuda_copy_out(self, &address, 1, 8) == -EINVAL);
	API_CHECK(gpu_launch_add(self, 1, 1, 1) == -EINVAL);
	return 0;
}

static int a_quarter(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	struct weft_task_info info = { .struct_size = sizeof info };
	uint64_t a = 0, b = 0;

	API_CHECK(weft_cuda_grant(self, 1, &grant) == -EINVAL);
	API_CHECK(weft_cuda_grant(self, 0, NULL) == -EINVAL);
	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0);
	API_CHECK(weft_task_info(self, &info) == 0);
	API_CHECK(info.n_gpu == 1 && info.gpu[0] == grant.device && info.gpus == 0.25);
	API_CHECK(info.gpu_mem == grant.memory);
	API_CHECK(grant.share == 0.25 && grant.memory == 1u << 20 && grant.memory_used == 0);
	API_CHECK(grant.stream && grant.stream == weft_cuda_stream(self));
	API_CHECK(wf_sim_current() == (int)grant.device);
	API_CHECK(weft_cuda_use(self, 1) == -EINVAL && weft_cuda_use(self, 0) == 0);
	API_CHECK(weft_cuda_alloc(self, 0, &a) == -EINVAL &&
	          weft_cuda_alloc(self, 1, NULL) == -EINVAL);
	API_CHECK(weft_cuda_alloc(self, (1u << 20) + 1, &a) == -ENOMEM && a == 0);
	API_CHECK(weft_cuda_alloc(self, 1u << 19, &a) == 0 && a);
	API_CHECK(weft_cuda_alloc(self, 1u << 19, &b) == 0 && b && b != a);
	API_CHECK(weft_cuda_alloc(self, 1, &b) == -ENOMEM);
	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0 && grant.memory_used == 1u << 20);
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

Test(cuda_grant, a_body_without_a_device_is_told_so)
{
	struct gpu_test t = gpu_open("sim", 1);

	cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(no_device))), 0);
	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(no_device,
	                                          .opts = WEFT_TASK_OPTIONS(.memory = 1000)))),
	             0);
	gpu_close(&t);
}

Test(cuda_grant, four_quarters_share_a_device_and_its_memory)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 4);
	struct api_gate gate = API_GATE_INIT;
	weft_ref refs[5];

	for (int i = 0; i < 5; i++)
		refs[i] = api_submit(t.rt,
		                     WEFT_TASK(a_quarter, API_POINTER(&gate),
		                               .opts = WEFT_TASK_OPTIONS(.gpus = 0.25)));
	api_gate_await(&gate, 4);
	cr_assert(gpu_info(&t, 0).share_free == 0);
	cr_assert_eq(gpu_info(&t, 0).memory_free, 0);
	cr_assert_eq(gpu_stats(&t).memory_used, 4u << 20);
	cr_assert(gpu_available(t.rt, "GPU memory") == 0);
	api_gate_open(&gate);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
	gpu_close(&t);
}

static int whole_devices(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	struct weft_task_info info = { .struct_size = sizeof info };
	uint32_t seen = 0;

	API_CHECK(weft_task_info(self, &info) == 0 && info.n_gpu == 2 && info.gpus == 2);
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t address = 0;

		API_CHECK(weft_cuda_use(self, i) == 0);
		API_CHECK(weft_cuda_grant(self, i, &grant) == 0);
		API_CHECK(grant.share == 1 && grant.memory == 4u << 20);
		API_CHECK(grant.stream == weft_cuda_stream(self));
		API_CHECK(wf_sim_current() == (int)grant.device);
		API_CHECK(weft_cuda_alloc(self, 4u << 20, &address) == 0);
		seen |= 1u << grant.device;
	}
	API_CHECK(weft_cuda_grant(self, 2, &grant) == -EINVAL);
	api_gate_pass(api_arg_pointer(self));
	return __builtin_popcount(seen) == 2 ? 0 : -EIO;
}

Test(cuda_grant, whole_requests_get_whole_devices)
{
	struct gpu_test t = gpu_open("sim:devices=3,memory=4M", 3);
	struct api_gate first = API_GATE_INIT, second = API_GATE_INIT;
	weft_ref a = api_submit(t.rt,
	                        WEFT_TASK(whole_devices, API_POINTER(&first),
	                                  .opts = WEFT_TASK_OPTIONS(.gpus = 2)));

	api_gate_await(&first, 1);
	/* One is left: not two halves of two. */
	weft_ref b = api_submit(t.rt,
	                        WEFT_TASK(whole_devices, API_POINTER(&second),
	                                  .opts = WEFT_TASK_OPTIONS(.gpus = 2)));
	cr_assert_eq(api_end(t.rt,
	                     api_submit(t.rt,
	                                WEFT_TASK(api_body_nothing,
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 0.5)))),
	             0);
	cr_assert_eq(api_state(t.rt, b), WEFT_REF_QUEUED);
	api_gate_open(&first);
	cr_assert_eq(api_end(t.rt, a), 0);
	api_gate_await(&second, 1);
	api_gate_open(&second);
	cr_assert_eq(api_end(t.rt, b), 0);
	gpu_close(&t);
}

/* Holds what it was given until the gate opens. */
static int holds(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

#define SHARE(share, mem) .opts = WEFT_TASK_OPTIONS(.gpus = (share), .gpu_mem = (mem))

Test(cuda_grant, share_and_memory_must_be_free_on_one_device)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=4M", 4);
	struct api_gate gate = API_GATE_INIT;
	/* Device A: little share, all memory. Device B: all share but a little, little memory. */
	weft_ref a = api_submit(t.rt, WEFT_TASK(holds, API_POINTER(&gate), SHARE(0.1, 4u << 20)));

	api_gate_await(&gate, 1);
	weft_ref b = api_submit(t.rt, WEFT_TASK(holds, API_POINTER(&gate), SHARE(0.95, 1u << 20)));

	api_gate_await(&gate, 2);
	/* Half a device is free, and 3 MiB are, but not on the same one. */
	weft_ref c = api_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(0.5, 2u << 20)));
	struct weft_pending_info pending[4];

	cr_assert_eq(api_state(t.rt, c), WEFT_REF_QUEUED);
	cr_assert_eq(weft_pending(t.rt, pending, 4), 1);
	cr_assert(pending[0].gpus == 0.5 && pending[0].gpu_mem == 2u << 20);
	cr_assert_not(pending[0].infeasible);
	/* One that fits passes it by. */
	cr_assert_eq(
		api_end(t.rt, api_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(0.05, 1u << 20)))),
		0);
	cr_assert_eq(api_state(t.rt, c), WEFT_REF_QUEUED);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, a), 0);
	cr_assert_eq(api_end(t.rt, b), 0);
	cr_assert_eq(api_end(t.rt, c), 0);
	gpu_close(&t);
}

Test(cuda_grant, more_memory_than_a_device_has_waits_until_it_is_cancelled)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=4M", 1);
	weft_ref much = api_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(0.5, (4u << 20) + 1)));
	weft_ref many = api_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(3, 0)));
	weft_ref ref = WEFT_NONE;

	cr_assert_eq(weft_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(0, 1)), &ref), -EINVAL);
	cr_assert_eq(weft_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(0.5, UINT64_MAX)), &ref),
	             -EINVAL);
	cr_assert_eq(
		api_end(t.rt, api_submit(t.rt, WEFT_TASK(api_body_nothing, SHARE(2, 4u << 20)))),
		0);
	cr_assert_eq(api_state(t.rt, much), WEFT_REF_QUEUED);
	cr_assert_eq(api_state(t.rt, many), WEFT_REF_QUEUED);
	cr_assert_eq(weft_cancel(t.rt, much), 0);
	cr_assert_eq(weft_cancel(t.rt, many), 0);
	cr_assert_eq(api_end(t.rt, much), -ECANCELED);
	cr_assert_eq(api_end(t.rt, many), -ECANCELED);
	gpu_close(&t);
}

/* What waits for memory of the host, and has come out of the queue for devices, is served there. */
Test(cuda_grant, a_class_that_waits_for_one_thing_after_another_starts)
{
	struct weft_options o = { .struct_size = sizeof o, .memory = 1000 };
	struct gpu_test t = gpu_open_with("sim:devices=1,memory=4M", 4, &o, NULL);
	struct api_gate gpu = API_GATE_INIT, host = API_GATE_INIT;
	weft_ref a = api_submit(t.rt, WEFT_TASK(holds, API_POINTER(&gpu), SHARE(0.1, 4u << 20)));
	weft_ref b = api_submit(
		t.rt,
		WEFT_TASK(holds, API_POINTER(&host), .opts = WEFT_TASK_OPTIONS(.memory = 1000)));

	api_gate_await(&gpu, 1);
	api_gate_await(&host, 1);
	weft_ref c = api_submit(
		t.rt,
		WEFT_TASK(api_body_nothing,
	                  .opts = WEFT_TASK_OPTIONS(.gpus = 0.5, .gpu_mem = 4096, .memory = 10)));
	api_gate_open(&gpu);
	cr_assert_eq(api_end(t.rt, a), 0);
	cr_assert_eq(api_state(t.rt, c), WEFT_REF_QUEUED);
	api_gate_open(&host);
	cr_assert_eq(api_end(t.rt, b), 0);
	cr_assert_eq(api_end(t.rt, c), 0);
	gpu_close(&t);
}

/* ---- Kept while blocked ---------------------------------------------------------------------- */

struct blocked {
	weft_ref event;
	struct api_count waits;
};

static int waits_with_device(weft_task *self)
{
	struct blocked *b = api_arg_pointer(self);
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	void *stream = weft_cuda_stream(self);
	struct weft_view view;

	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0);
	API_CHECK(wf_sim_current() == (int)grant.device);
	api_add(&b->waits, 1);
	API_CHECK(weft_get(weft_task_runtime(self), b->event, WEFT_FOREVER, &view) == 0);
	/* Wherever it goes on, the context is current, and all is as it was. */
	API_CHECK(wf_sim_current() == (int)grant.device && weft_cuda_stream(self) == stream);
	API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	API_CHECK(wf_sim_current() == (int)grant.device && weft_cuda_stream(self) == stream);
	return 0;
}

static int no_context(weft_task *self)
{
	(void)self;
	return wf_sim_current() == -1 ? 0 : -EIO;
}

Test(cuda_grant, a_blocked_task_keeps_its_device_and_leaves_its_thread_clean)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct blocked b = { .event = api_event(t.rt) };
	weft_ref refs[8];

	for (int i = 0; i < 8; i++)
		refs[i] = api_submit(t.rt,
		                     WEFT_TASK(waits_with_device, API_POINTER(&b),
		                               .opts = WEFT_TASK_OPTIONS(.gpus = 0.25)));
	api_await_count(&b.waits, 8);
	for (int i = 0; i < 8; i++)
		api_await_state(t.rt, refs[i], WEFT_REF_BLOCKED);
	cr_assert(gpu_available(t.rt, "GPU") == 0);
	for (int i = 0; i < 16; i++)
		cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(no_context))), 0);
	cr_assert_eq(weft_event_set(t.rt, b.event, NULL, 0), 0);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
	api_release(t.rt, b.event);
	gpu_close(&t);
}

/* A task that it gets in place, on top of its stack, does not see its device. */
static int gets_child(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref child = api_submit(rt, WEFT_TASK(no_context));
	int rc = api_end(rt, child);

	API_CHECK(wf_sim_current() == 0);
	return rc;
}

Test(cuda_grant, what_runs_in_between_has_no_device)
{
	struct gpu_test t = gpu_open("sim", 1);

	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(gets_child, SHARE(1, 0)))),
		             0);
	gpu_close(&t);
}

/* Beside the workers: no CPU, a fraction, or a blocking body; and without workers at all. */
Test(cuda_grant, bodies_on_threads_of_their_own_have_devices_too)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 1);
	struct api_gate gate = API_GATE_INIT;
	weft_ref refs[3];

	api_gate_open(&gate);
	refs[0] = api_submit(
		t.rt,
		WEFT_TASK(a_quarter, API_POINTER(&gate),
	                  .opts = WEFT_TASK_OPTIONS(.gpus = 0.25, .cpus = WEFT_CPUS_NONE)));
	refs[1] = api_submit(t.rt,
	                     WEFT_TASK(a_quarter, API_POINTER(&gate),
	                               .opts = WEFT_TASK_OPTIONS(.gpus = 0.25, .cpus = 0.5)));
	refs[2] = api_submit(
		t.rt,
		WEFT_TASK(a_quarter, API_POINTER(&gate),
	                  .opts = WEFT_TASK_OPTIONS(.gpus = 0.25, .flags = WEFT_TASK_BLOCKING)));
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
	gpu_close(&t);
}

Test(cuda_grant, a_runtime_without_workers_runs_them_in_weft_run)
{
	struct weft_options o = { .struct_size = sizeof o, .flags = WEFT_OPEN_NO_WORKERS };
	struct gpu_test t = gpu_open_with("sim:devices=1,memory=4M", 0, &o, NULL);
	struct api_gate gate = API_GATE_INIT;

	api_gate_open(&gate);
	weft_ref ref = api_submit(
		t.rt,
		WEFT_TASK(a_quarter, API_POINTER(&gate), .opts = WEFT_TASK_OPTIONS(.gpus = 0.25)));
	cr_assert_eq(weft_run(t.rt, ref, WEFT_FOREVER), 0);
	cr_assert_eq(api_end(t.rt, ref), 0);
	gpu_close(&t);
}

/* ---- Every end gives it back ----------------------------------------------------------------- */

static int leaves_another_device(weft_task *self)
{
	(void)self;
	wf_sim_set_current(1 - wf_sim_current());
	return 0;
}

static struct api_count complaints;

static void hear_it(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	if (record->level == WEFT_LOG_ERROR && strstr(record->text, "another device"))
		api_add(&complaints, 1);
}

Test(cuda_grant, a_body_that_used_another_device_is_reported)
{
	struct weft_options o = { .struct_size = sizeof o, .log = hear_it };
	struct gpu_test t = gpu_open_with("sim:2", 1, &o, NULL);

	cr_assert_eq(api_end(t.rt, api_submit(t.rt, WEFT_TASK(leaves_another_device, SHARE(1, 0)))),
	             0);
	cr_assert_eq(api_read(&complaints), 1);
	gpu_close(&t);
}

static int fails_with_memory(weft_task *self)
{
	uint64_t address;

	API_CHECK(weft_cuda_alloc(self, 1000, &address) == 0);
	return gpu_launch_add(self, address, 100, 1) ? -EIO : weft_fail(self, -EPERM, "no %d", 1);
}

Test(cuda_grant, failed_and_retried_attempts_give_all_back)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=1M", 2);
	weft_ref refs[20];
	const struct weft_error *error;

	for (int i = 0; i < 20; i++)
		refs[i] = api_submit(
			t.rt,
			WEFT_TASK(fails_with_memory,
		                  .opts = WEFT_TASK_OPTIONS(.gpus = i & 1 ? 0.5 : 1, .retries = 3,
		                                            .backoff_ns = i % 4 ? 1000 : 0)));
	for (int i = 0; i < 20; i++) {
		cr_assert_eq(api_get(t.rt, refs[i]), WEFT_ETASK);
		cr_assert_eq(weft_ref_error(t.rt, refs[i], &error), 0);
		cr_assert(error->code == -EPERM && error->attempt == 4);
		api_release(t.rt, refs[i]);
	}
	cr_assert_eq(gpu_info(&t, 0).attempts, 80);
	gpu_close(&t);
}
