/*
 * Goal: the CUDA back end makes the right calls of the driver, in a current context, gives back
 * what it took, tells the classes of errors apart, and keeps a lost device lost.
 * Method: a pretended driver library (fake_driver.c) that does the work at once and counts; every
 * entry fails in turn, with an error of each class; also no driver at all, and the toolkit's stub.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver_api.h"
#include "fake_driver.h"
#include "test.h"
#include "wf_cuda.h"

#define WORDS 256u

static const struct wf_device_ops *ops;
static struct wf_device_backend *dev;
static fake_fail_fn *fail;
static fake_event_queries_fn *event_queries;
static fake_counts_fn *counts;
static fake_reset_fn *reset;
static fake_set_current_fn *set_current;
static fake_current_fn *get_current;
static fake_capture_fn *capture;
static fake_hold_doorbells_fn *hold_doorbells;
static fake_ring_fn *ring;
static char options[1024];

static void find_fake(void)
{
	const char *path = getenv("WEFT_FAKE_DRIVER");

	ops = wf_device_cuda();
	cr_assert_not_null(path, "WEFT_FAKE_DRIVER names the pretended driver");
	snprintf(options, sizeof(options), "library=%s", path);
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	cr_assert_not_null(library);
	*(void **)&fail = dlsym(library, "fake_fail");
	*(void **)&event_queries = dlsym(library, "fake_event_queries");
	*(void **)&counts = dlsym(library, "fake_counts");
	*(void **)&reset = dlsym(library, "fake_reset");
	*(void **)&set_current = dlsym(library, "fake_set_current");
	*(void **)&get_current = dlsym(library, "fake_current");
	*(void **)&capture = dlsym(library, "fake_capture");
	*(void **)&hold_doorbells = dlsym(library, "fake_hold_doorbells");
	*(void **)&ring = dlsym(library, "fake_ring");
	cr_assert(fail && event_queries && counts && reset && set_current && get_current &&
	          capture && hold_doorbells && ring);
	reset();
}

static void open_fake(void)
{
	find_fake();
	cr_assert_eq(ops->open(options, &dev), 0);
}

static void close_fake(void)
{
	struct fake_counts c;

	ops->close(dev);
	c = counts();
	cr_assert_eq(c.misuses, 0);
	cr_assert(!c.contexts && !c.streams && !c.events && !c.pools && !c.memory && !c.pinned &&
	          !c.registered && !c.modules && !c.graphs);
}

Test(driver, nothing_is_there_without_a_driver)
{
	struct wf_device_backend *none = NULL;
	const char *stub = "/usr/local/cuda/lib64/stubs/libcuda.so";

	ops = wf_device_cuda();
	cr_assert_eq(wf_device_ops_check(ops), 0);
	cr_assert_str_eq(ops->name, "cuda");
	cr_assert_eq(ops->open(NULL, NULL), -EINVAL);
	cr_assert_eq(ops->open("devices=2", &none), -EINVAL);
	cr_assert_eq(ops->open("library=/nowhere/libcuda.so.1", &none), -ENODEV);
	/* A library that is no driver. */
	cr_assert_eq(ops->open("library=libm.so.6", &none), -ENODEV);
	if (access(stub, R_OK) == 0)
		cr_assert_eq(ops->open("library=/usr/local/cuda/lib64/stubs/libcuda.so", &none),
		             -ENODEV);
	cr_assert_null(none);
	ops->close(NULL);
}

Test(driver, a_driver_that_does_not_answer_is_none)
{
	static const char *const entries[] = { "cuInit", "cuDeviceGetCount", "cuGraphLaunch" };

	find_fake();
	for (int i = 0; i < 3; i++) {
		fail(entries[i], WF_CU_NO_DEVICE, i == 2 ? -100 : 0);
		dev = NULL;
		cr_assert_eq(ops->open(options, &dev), -ENODEV, "%s", entries[i]);
		cr_assert_null(dev);
	}
	fail(NULL, 0, 0);
}

Test(driver, devices_are_described)
{
	struct wf_device_info info = { .struct_size = sizeof(info) };
	uint32_t count = 0;

	open_fake();
	cr_assert_eq(ops->device_count(dev, &count), 0);
	cr_assert_eq(count, 2, "the third has no memory pools");
	cr_assert_eq(ops->device_info(dev, 1, &info), 0);
	cr_assert_str_eq(info.name, "Fake 1");
	cr_assert_str_eq(info.pci, "0000:c1:00.0");
	cr_assert_eq(info.reserve_bytes, ((uint64_t)16 << 30) / 20);
	cr_assert_eq(info.memory_bytes, ((uint64_t)16 << 30) - info.reserve_bytes);
	cr_assert_eq(info.copy_engines, 3);
	cr_assert_not(info.shares_host_memory);
	cr_assert_eq(ops->device_info(dev, 2, &info), -EINVAL);
	cr_assert_eq(counts().contexts, 0, "looking costs no context");
	cr_assert_eq(ops->device_enter(dev, 1), 0);
	cr_assert_eq(counts().contexts, 1);
	cr_assert_eq(ops->device_leave(dev, 1), 0);
	cr_assert_eq(ops->device_enter(dev, 1), 0);
	set_current(0);
	cr_assert_eq(ops->device_leave(dev, 1), -EPERM);
	cr_assert_eq(get_current(), -1);
	set_current(0);
	cr_assert_eq(ops->device_enter(dev, 1), 0);
	cr_assert_eq(get_current(), 1);
	cr_assert_eq(ops->device_leave(dev, 1), 0);
	cr_assert_eq(get_current(), 0, "what the thread had before");
	close_fake();
}

struct kit {
	struct wf_device_stream *stream;
	struct wf_device_event *event;
	struct wf_device_kernel *kernel;
	uint32_t *host;
	uint64_t at;
};

static const char image[] = "fake";

static int launch_add(const struct kit *kit, uint32_t n, uint32_t add)
{
	uint64_t at = kit->at;
	void *args[] = { &at, &n, &add };
	const struct wf_device_launch launch = { .struct_size = sizeof(launch),
		                                 .kernel = kit->kernel,
		                                 .grid = { 1, 1, 1 },
		                                 .block = { 32, 1, 1 },
		                                 .args_count = 3,
		                                 .args = args };

	return ops->launch(dev, kit->stream, &launch);
}

/* Make everything; the first error, after which what is there is still there. */
static int make(struct kit *kit)
{
	void *host = NULL;
	int rc = ops->stream_create(dev, 0, WF_DEVICE_COMPUTE, 1, &kit->stream);

	if (!rc)
		rc = ops->event_create(dev, 0, &kit->event);
	if (!rc)
		rc = ops->pinned_alloc(dev, WORDS * 4, &host);
	kit->host = host;
	if (!rc)
		rc = ops->memory_alloc(dev, kit->stream, WORDS * 4, &kit->at);
	if (!rc)
		rc = ops->kernel_get(dev, 0, image, sizeof(image), "add", &kit->kernel);
	return rc;
}

static int work(const struct kit *kit)
{
	int rc = 0;

	for (uint32_t i = 0; i < WORDS; i++)
		kit->host[i] = i;
	if (!rc)
		rc = ops->copy_to_device(dev, kit->stream, kit->at, kit->host, WORDS * 4);
	if (!rc)
		rc = launch_add(kit, WORDS, 3);
	if (!rc)
		rc = ops->copy_on_device(dev, kit->stream, kit->at, kit->at, WORDS * 4);
	if (!rc)
		rc = ops->copy_to_host(dev, kit->stream, kit->host, kit->at, WORDS * 4);
	if (!rc)
		rc = ops->fill(dev, kit->stream, kit->at, 0, WORDS * 4);
	if (!rc)
		rc = ops->event_record(dev, kit->event, kit->stream);
	if (!rc)
		rc = ops->stream_wait(dev, kit->stream, kit->event);
	if (!rc)
		rc = ops->event_query(dev, kit->event);
	if (!rc)
		rc = ops->pool_trim(dev, 0);
	return rc;
}

static void unmake(const struct kit *kit)
{
	if (kit->at)
		cr_assert_eq(ops->memory_free(dev, kit->stream, kit->at), 0);
	ops->event_destroy(dev, kit->event);
	ops->stream_destroy(dev, kit->stream);
	ops->pinned_free(dev, kit->host);
}

static void set_flag(void *arg)
{
	*(int *)arg = 1;
}

Test(driver, work_goes_through_and_everything_is_given_back)
{
	struct kit kit = { 0 };
	int rung = 0;

	open_fake();
	cr_assert_eq(make(&kit), 0);
	cr_assert_not_null(ops->stream_native(dev, kit.stream));
	cr_assert_null(ops->stream_native(dev, NULL));
	cr_assert_eq(ops->event_query(dev, kit.event), 0, "never recorded");
	cr_assert_eq(work(&kit), 0);
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(kit.host[i], i + 3);
	event_queries(2);
	cr_assert_eq(ops->event_query(dev, kit.event), -EAGAIN);
	cr_assert_eq(ops->event_query(dev, kit.event), -EAGAIN);
	cr_assert_eq(ops->event_query(dev, kit.event), 0);
	cr_assert_eq(ops->stream_doorbell(dev, kit.stream, set_flag, &rung), 0);
	cr_assert(rung);
	cr_assert_eq(ops->host_register(dev, options, sizeof(options)), 0);
	cr_assert_eq(ops->host_unregister(dev, options), 0);
	unmake(&kit);
	close_fake();
}

/* Whoever calls may have a context of his own; and may be called while others record. */
Test(driver, calls_leave_their_thread_as_it_was)
{
	static const char *const firsts[] = { "cuDevicePrimaryCtxRetain", "cuMemPoolCreate",
		                              "cuThreadExchangeStreamCaptureMode" };
	struct kit kit = { 0 };

	open_fake();
	capture(true);
	for (int i = 0; i < 3; i++) {
		fail(firsts[i], 999, 0);
		cr_assert_eq(make(&kit), -EIO);
		cr_assert_eq(get_current(), -1);
	}
	for (int current = -1; current < 2; current++) {
		set_current(current);
		/* Also when the device is used first. */
		capture(current != 0);
		cr_assert_eq(make(&kit), 0);
		cr_assert_eq(get_current(), current);
		cr_assert_eq(work(&kit), 0);
		cr_assert_eq(ops->host_register(dev, options, sizeof(options)), 0);
		cr_assert_eq(ops->host_unregister(dev, options), 0);
		cr_assert_eq(get_current(), current);
		fail("cuLaunchKernel", 999, 0);
		cr_assert_eq(work(&kit), -EIO);
		cr_assert_eq(get_current(), current);
		unmake(&kit);
		cr_assert_eq(get_current(), current);
		kit = (struct kit){ 0 };
	}
	fail("cuStreamQuery", WF_CU_CAPTURE_UNSUPPORTED, 0);
	cr_assert_eq(ops->default_idle(dev, 0), 0, "under a capture nothing is known");
	set_current(1);
	close_fake();
	cr_assert_eq(get_current(), 1);
}

Test(driver, a_device_that_was_given_up_is_not_waited_for)
{
	struct kit kit = { 0 };
	void *memory = NULL;

	open_fake();
	cr_assert_eq(make(&kit), 0);
	ops->device_abandon(dev, 7);
	cr_assert_eq(ops->host_register(dev, options, sizeof(options)), 0);
	cr_assert_eq(ops->device_state(dev, 0), 0);
	ops->device_abandon(dev, 0);
	ops->device_abandon(dev, 0);
	cr_assert_eq(ops->device_state(dev, 0), WF_DEVICE_LOST);
	cr_assert_str_eq(ops->error_text(dev, 0), "it was given up");
	cr_assert_eq(ops->device_enter(dev, 0), WF_DEVICE_LOST);
	cr_assert_eq(ops->pinned_alloc(dev, 64, &memory), 0, "by the other");
	uint64_t pinned = (uint64_t)counts().pinned;

	/* It may still write there. */
	ops->pinned_free(dev, memory);
	cr_assert_eq(ops->host_unregister(dev, options), WF_DEVICE_LOST);
	cr_assert_eq((uint64_t)counts().pinned, pinned);
	cr_assert_eq(counts().registered, 1);
	unmake(&kit);
	fail("cuCtxSynchronize", 999, 0);
	uint64_t failed = counts().failed;

	ops->close(dev);
	cr_assert_eq(counts().failed, failed + 1, "only the other is waited for");
	cr_assert_eq(counts().misuses, 0);
}

/* What it was to tell is freed by then. */
Test(driver, a_doorbell_of_a_lost_device_may_ring_after_the_close)
{
	struct kit kit = { 0 };
	int *rung = calloc(1, sizeof(*rung));

	cr_assert_not_null(rung);
	open_fake();
	cr_assert_eq(make(&kit), 0);
	fail("cuLaunchHostFunc", 999, 0);
	cr_assert_eq(ops->stream_doorbell(dev, kit.stream, set_flag, rung), -EIO);
	hold_doorbells();
	cr_assert_eq(ops->stream_doorbell(dev, kit.stream, set_flag, rung), 0);
	cr_assert(ring());
	cr_assert_eq(*rung, 1, "while all is open it is heard");
	hold_doorbells();
	cr_assert_eq(ops->stream_doorbell(dev, kit.stream, set_flag, rung), 0);
	ops->device_abandon(dev, 0);
	unmake(&kit);
	ops->close(dev);
	*rung = 0;
	cr_assert(ring());
	cr_assert_eq(*rung, 0);
	free(rung);
	cr_assert_eq(counts().misuses, 0);
}

Test(driver, memory_has_the_limit_that_was_set)
{
	struct kit kit = { 0 };
	uint64_t more = 7;

	open_fake();
	cr_assert_eq(ops->pool_limit(dev, 0, WORDS * 4 + 100), 0);
	cr_assert_eq(make(&kit), 0);
	cr_assert_eq(ops->memory_alloc(dev, kit.stream, 101, &more), -ENOMEM);
	cr_assert_eq(ops->memory_alloc(dev, kit.stream, UINT64_MAX, &more), -ENOMEM);
	cr_assert_eq(more, 7);
	cr_assert_eq(ops->memory_alloc(dev, kit.stream, 100, &more), 0);
	cr_assert_eq(ops->memory_free(dev, kit.stream, more), 0);
	unmake(&kit);
	close_fake();
}

Test(driver, kernels_and_launches_are_checked)
{
	struct kit kit = { 0 };
	struct wf_device_kernel *kernel = NULL;
	struct wf_device_stream *other = NULL;
	struct wf_device_launch l = { .struct_size = sizeof(l),
		                      .grid = { 1, 1, 1 },
		                      .block = { 1, 1, 1 } };

	open_fake();
	cr_assert_eq(make(&kit), 0);
	cr_assert_eq(ops->kernel_get(dev, 0, "else", 5, "add", &kernel), -ENOTSUP);
	cr_assert_eq(ops->kernel_get(dev, 0, image, sizeof(image), "sub", &kernel), -ENOENT);
	cr_assert_eq(ops->kernel_get(dev, 0, image, sizeof(image), "add", &kernel), 0);
	cr_assert_eq(counts().modules, 1, "an image is loaded once");
	cr_assert_eq(ops->launch(dev, kit.stream, &l), -ENOTSUP, "no kernel");
	l.kernel = kernel;
	l.args_count = 1;
	cr_assert_eq(ops->launch(dev, kit.stream, &l), -EINVAL, "no arguments");
	l.args_count = 0;
	l.block[1] = 0;
	cr_assert_eq(ops->launch(dev, kit.stream, &l), -EINVAL);
	l.block[1] = 1;
	cr_assert_eq(ops->stream_create(dev, 1, WF_DEVICE_COMPUTE, 0, &other), 0);
	cr_assert_eq(ops->launch(dev, other, &l), -EINVAL, "another device's kernel");
	uint32_t none = 0;
	void *args[] = { &kit.at, &none, &none };

	l.args_count = 3;
	l.args = args;
	static const char *const asks[] = { "cuFuncGetAttribute", "cuFuncSetAttribute" };

	l.shared_bytes = 60000;
	for (int i = 0; i < 2; i++) {
		fail(asks[i], WF_CU_INVALID_VALUE, 0);
		cr_assert_eq(ops->launch(dev, kit.stream, &l), -EINVAL);
	}
	for (int i = 0; i < 2; i++)
		cr_assert_eq(ops->launch(dev, kit.stream, &l), 0, "more than unasked");
	l.shared_bytes = 99001;
	cr_assert_eq(ops->launch(dev, kit.stream, &l), -EINVAL, "more than there is");
	ops->stream_destroy(dev, other);
	unmake(&kit);
	close_fake();
}

Test(driver, graphs_are_chains_that_are_replayed)
{
	struct kit kit = { 0 };
	struct wf_device_graph *graph = NULL;
	struct wf_device_launch chain[3];
	uint32_t n = WORDS, one = 1;

	open_fake();
	cr_assert_eq(make(&kit), 0);
	void *args[] = { &kit.at, &n, &one };

	for (int i = 0; i < 3; i++)
		chain[i] = (struct wf_device_launch){ .struct_size = sizeof(chain[i]),
			                              .kernel = kit.kernel,
			                              .grid = { 1, 1, 1 },
			                              .block = { 1, 1, 1 },
			                              .args_count = 3,
			                              .args = args };
	cr_assert_eq(ops->graph_create(dev, 0, chain, 0, &graph), -EINVAL);
	cr_assert_eq(ops->graph_create(dev, 0, chain, 3, &graph), 0);
	cr_assert_eq(ops->fill(dev, kit.stream, kit.at, 0, WORDS * 4), 0);
	cr_assert_eq(ops->graph_launch(dev, kit.stream, graph), 0);
	cr_assert_eq(ops->graph_launch(dev, kit.stream, graph), 0);
	cr_assert_eq(ops->copy_to_host(dev, kit.stream, kit.host, kit.at, WORDS * 4), 0);
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(kit.host[i], 6);
	ops->graph_destroy(dev, graph);
	static const char *const entries[] = { "cuGraphCreate", "cuGraphAddKernelNode",
		                               "cuGraphInstantiate" };

	for (int i = 0; i < 3; i++) {
		fail(entries[i], WF_CU_OUT_OF_MEMORY, 0);
		cr_assert_eq(ops->graph_create(dev, 0, chain, 3, &graph), -ENOMEM);
	}
	unmake(&kit);
	close_fake();
}

Test(driver, a_recording_has_copies_too)
{
	struct kit kit = { 0 };
	struct wf_device_graph *graph = NULL;
	struct wf_device_step steps[3] = { { .kind = WF_DEVICE_STEP_UP },
		                           { .kind = WF_DEVICE_STEP_LAUNCH },
		                           { .kind = WF_DEVICE_STEP_DOWN } };
	uint32_t n = WORDS, one = 1;

	open_fake();
	cr_assert_eq(make(&kit), 0);
	void *args[] = { &kit.at, &n, &one };

	steps[1].launch = (struct wf_device_launch){ .struct_size = sizeof(steps[1].launch),
		                                     .kernel = kit.kernel,
		                                     .grid = { 1, 1, 1 },
		                                     .block = { 1, 1, 1 },
		                                     .args_count = 3,
		                                     .args = args };
	cr_assert_eq(ops->graph_record(dev, 0, steps, 3, &graph), -EINVAL, "a copy of nothing");
	for (int i = 0; i < 3; i += 2) {
		steps[i].host = kit.host;
		steps[i].address = kit.at;
		steps[i].bytes = WORDS * 4;
	}
	cr_assert_eq(ops->graph_record(dev, 0, steps, 0, &graph), -EINVAL);
	cr_assert_eq(ops->graph_record(dev, 2, steps, 3, &graph), -EINVAL);
	cr_assert_eq(ops->graph_record(dev, 0, steps, 3, &graph), 0);
	for (uint32_t i = 0; i < WORDS; i++)
		kit.host[i] = i;
	cr_assert_eq(ops->graph_launch(dev, kit.stream, graph), 0);
	cr_assert_eq(ops->graph_launch(dev, kit.stream, graph), 0);
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(kit.host[i], i + 2);
	ops->graph_destroy(dev, graph);
	fail("cuGraphAddMemcpyNode", WF_CU_OUT_OF_MEMORY, 1);
	cr_assert_eq(ops->graph_record(dev, 0, steps, 3, &graph), -ENOMEM);
	unmake(&kit);
	close_fake();
}

Test(driver, devices_read_each_other_once_they_may)
{
	struct kit kit = { 0 };
	struct wf_device_stream *other = NULL;
	uint64_t at = 0;

	open_fake();
	cr_assert_eq(make(&kit), 0);
	cr_assert_eq(work(&kit), 0);
	cr_assert_eq(ops->stream_create(dev, 1, WF_DEVICE_UPLOAD, 0, &other), 0);
	cr_assert_eq(ops->memory_alloc(dev, other, WORDS * 4, &at), 0);
	cr_assert_eq(ops->fill(dev, kit.stream, kit.at, 7, WORDS * 4), 0);
	cr_assert_eq(ops->copy_peer(dev, other, at, 2, kit.at, WORDS * 4), -EINVAL);
	cr_assert_eq(ops->copy_peer(dev, other, 0, 0, kit.at, WORDS * 4), -EINVAL);
	cr_assert_eq(ops->copy_peer(dev, other, at, 0, kit.at, 0), 0);
	fail("cuDeviceCanAccessPeer", WF_CU_NOT_SUPPORTED, 0);
	cr_assert_eq(ops->copy_peer(dev, other, at, 0, kit.at, WORDS * 4), -ENOTSUP);
	fail("cuMemPoolSetAccess", WF_CU_INVALID_VALUE, 0);
	cr_assert_eq(ops->copy_peer(dev, other, at, 0, kit.at, WORDS * 4), -ENOTSUP);
	cr_assert_eq(counts().accesses, 0);
	cr_assert_eq(ops->copy_peer(dev, other, at, 0, kit.at, WORDS * 4), 0);
	cr_assert_eq(ops->copy_peer(dev, other, at, 0, kit.at, WORDS * 4), 0);
	cr_assert_eq(counts().accesses, 1);
	cr_assert_eq(ops->copy_to_host(dev, other, kit.host, at, WORDS * 4), 0);
	cr_assert_eq(kit.host[0], 0x07070707);
	cr_assert_eq(kit.host[WORDS - 1], 0x07070707);
	fail("cuEventQuery", WF_CU_ILLEGAL_ADDRESS, 0);
	cr_assert_eq(ops->event_query(dev, kit.event), WF_DEVICE_LOST);
	cr_assert_eq(ops->copy_peer(dev, other, at, 0, kit.at, WORDS * 4), -EIO);
	cr_assert_eq(ops->device_state(dev, 1), 0, "this one works");
	cr_assert_eq(ops->memory_free(dev, other, at), 0);
	ops->stream_destroy(dev, other);
	kit.at = 0;
	unmake(&kit);
	ops->close(dev);
	cr_assert_eq(counts().misuses, 0);
}

Test(driver, work_in_a_default_stream_is_seen)
{
	void *memory = NULL;

	open_fake();
	cr_assert_eq(ops->default_idle(dev, 2), -EINVAL);
	cr_assert_eq(ops->default_idle(dev, 1), 0);
	for (int i = 0; i < 2; i++) {
		fail("cuStreamQuery", WF_CU_NOT_READY, i);
		cr_assert_eq(ops->default_idle(dev, 1), -EBUSY);
	}
	cr_assert_eq(ops->pinned_alloc_near(dev, 2, 64, &memory), -EINVAL);
	cr_assert_eq(ops->pinned_alloc_near(dev, 1, 0, &memory), -EINVAL);
	cr_assert_eq(ops->pinned_alloc_near(dev, 1, 64, &memory), 0);
	ops->pinned_free(dev, memory);
	fail("cuStreamQuery", WF_CU_ILLEGAL_ADDRESS, 0);
	cr_assert_eq(ops->default_idle(dev, 1), WF_DEVICE_LOST);
	cr_assert_eq(ops->pinned_alloc_near(dev, 1, 64, &memory), WF_DEVICE_LOST);
	ops->close(dev);
}

#define NAME(name, parameters) #name,
static const char *const entries[] = { WF_CUDA_API(NAME) };
#undef NAME
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

/* Every entry fails once, with each class of error: what came of it fits, and nothing leaks. */
Test(driver, each_entry_fails_in_turn)
{
	static const struct {
		int code, status;
	} kinds[] = {
		{ WF_CU_OUT_OF_MEMORY, -ENOMEM },
		{ WF_CU_INVALID_VALUE, -EINVAL },
		{ 999, -EIO },
		{ WF_CU_ILLEGAL_ADDRESS, WF_DEVICE_LOST },
	};

	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		uint32_t seen = 0;

		for (size_t i = 0; i < ENTRIES; i++) {
			struct kit kit = { 0 };
			bool lost = kinds[k].status == WF_DEVICE_LOST;

			open_fake();
			uint64_t failed = counts().failed;

			fail(entries[i], kinds[k].code, 0);
			int rc = make(&kit);

			if (!rc)
				rc = work(&kit);
			bool hit = counts().failed > failed;

			fail(NULL, 0, 0);
			if (hit && strcmp(entries[i], "cuGetErrorString") != 0) {
				/* A question that failed is to be asked again. */
				bool question = !lost && !strcmp(entries[i], "cuEventQuery");

				seen++;
				cr_assert_eq(rc, question ? -EAGAIN : kinds[k].status, "%s: %d",
				             entries[i], rc);
				cr_assert_eq(ops->device_state(dev, 0), lost ? WF_DEVICE_LOST : 0);
				cr_assert_neq(ops->error_text(dev, 0)[0], 0);
			} else {
				cr_assert_eq(rc, 0, "%s: %d", entries[i], rc);
			}
			/* A lost device's things go with the process: only ours are given back. */
			if (!lost || !hit) {
				unmake(&kit);
				close_fake();
			} else {
				kit.at = 0;
				unmake(&kit);
				ops->close(dev);
			}
		}
		cr_assert_gt(seen, 20);
	}
}

Test(driver, a_lost_device_stays_lost_and_the_other_goes_on)
{
	struct kit kit = { 0 };
	struct wf_device_stream *other = NULL;
	uint64_t at = 0;
	void *pinned = NULL;

	open_fake();
	cr_assert_eq(make(&kit), 0);
	fail("cuEventQuery", WF_CU_ILLEGAL_ADDRESS, 0);
	cr_assert_eq(work(&kit), WF_DEVICE_LOST);
	cr_assert_not_null(strstr(ops->error_text(dev, 0), "illegal memory access"));
	uint64_t calls = counts().calls;

	cr_assert_eq(work(&kit), WF_DEVICE_LOST);
	cr_assert_eq(ops->event_query(dev, kit.event), WF_DEVICE_LOST);
	cr_assert_eq(ops->memory_alloc(dev, kit.stream, 16, &at), WF_DEVICE_LOST);
	cr_assert_eq(ops->memory_free(dev, kit.stream, kit.at), 0);
	cr_assert_eq(ops->device_enter(dev, 0), WF_DEVICE_LOST);
	cr_assert_eq(counts().calls, calls, "the driver is not asked any more");
	cr_assert_eq(ops->stream_create(dev, 1, WF_DEVICE_UPLOAD, 2, &other), 0);
	cr_assert_eq(ops->memory_alloc(dev, other, 16, &at), 0);
	cr_assert_eq(ops->memory_free(dev, other, at), 0);
	cr_assert_eq(ops->pinned_alloc(dev, 64, &pinned), 0, "by the device that works");
	ops->pinned_free(dev, pinned);
	ops->stream_destroy(dev, other);
	kit.at = 0;
	unmake(&kit);
	ops->close(dev);
	cr_assert_eq(counts().misuses, 0);
}
