/*
 * Goal: a runtime on the CUDA back end: tasks run, what the driver says becomes their end, a device
 * that hangs holds up nobody, and a body's device is current whatever it asks for.
 * Method: the pretended driver of fake_driver.c behind weft_cuda_open(); one worker, as the driver
 * keeps no locks of its own.
 */
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "api.h"
#include "driver_api.h"
#include "fake_driver.h"
#include "test.h"
#include "weft_cuda.h"

#define WORDS 64u

static fake_fail_fn *fail;
static fake_fail_more_fn *fail_more;
static fake_event_queries_fn *event_queries;
static fake_counts_fn *counts;
static fake_current_fn *get_current;

struct kit {
	weft_cuda *cuda;
	weft *rt;
	uint32_t *host;
};

static struct kit open_kit(int64_t hang_ns)
{
	const char *path = getenv("WEFT_FAKE_DRIVER");
	struct kit kit = { 0 };
	fake_reset_fn *reset;
	char backend[1024];
	void *memory = NULL;

	cr_assert_not_null(path, "WEFT_FAKE_DRIVER names the pretended driver");
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	cr_assert_not_null(library);
	*(void **)&fail = dlsym(library, "fake_fail");
	*(void **)&fail_more = dlsym(library, "fake_fail_more");
	*(void **)&event_queries = dlsym(library, "fake_event_queries");
	*(void **)&counts = dlsym(library, "fake_counts");
	*(void **)&get_current = dlsym(library, "fake_current");
	*(void **)&reset = dlsym(library, "fake_reset");
	cr_assert(fail && fail_more && event_queries && counts && get_current && reset);
	reset();
	cr_assert_eq(unsetenv("WEFT_GPU"), 0);
	snprintf(backend, sizeof(backend), "cuda:library=%s", path);
	const struct weft_cuda_options o = { .struct_size = sizeof o,
		                             .backend = backend,
		                             .hang_ns = hang_ns };

	cr_assert_eq(weft_cuda_open(&kit.cuda, &o), 0);
	cr_assert_eq(weft_open(&kit.rt, WEFT_OPTIONS(.workers = 1, .devices = kit.cuda)), 0);
	cr_assert_eq(weft_cuda_host_alloc(kit.rt, WORDS * 4, &memory), 0);
	cr_assert_eq(get_current(), -1, "this thread has no device of its own");
	kit.host = memory;
	return kit;
}

static struct fake_counts close_kit(const struct kit *kit)
{
	weft_cuda_host_free(kit->rt, kit->host);
	cr_assert_eq(weft_close(kit->rt, WEFT_FOREVER), 0);
	cr_assert_eq(weft_cuda_close(kit->cuda), 0);
	cr_assert_eq(counts().misuses, 0);
	return counts();
}

static const struct weft_cuda_kernel add = { .image = "fake", .image_bytes = 5, .name = "add" };

static int launch_add(weft_task *self, uint64_t at, uint32_t what)
{
	uint32_t n = WORDS;
	void *args[] = { &at, &n, &what };
	const struct weft_cuda_launch launch = { .kernel = &add, .n_args = 3, .args = args };

	return weft_cuda_launch(self, &launch);
}

/* Adds 5 to the words at its argument, over the device. */
static int adds(weft_task *self)
{
	uint32_t *host = api_arg_pointer(self);
	uint64_t at;
	int rc = weft_cuda_alloc(self, WORDS * 4, &at);

	if (!rc)
		rc = weft_cuda_copy_in(self, at, host, WORDS * 4);
	if (!rc)
		rc = launch_add(self, at, 5);
	return rc ? rc : weft_cuda_copy_out(self, host, at, WORDS * 4);
}

Test(driver_engine, tasks_run_and_everything_is_given_back)
{
	struct kit kit = open_kit(0);

	for (uint32_t i = 0; i < WORDS; i++)
		kit.host[i] = i;
	event_queries(3);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(kit.rt,
		                     api_submit(kit.rt,
		                                WEFT_TASK(adds, API_POINTER(kit.host),
		                                          .opts = WEFT_TASK_OPTIONS(.gpus = 0.5)))),
		             0);
	for (uint32_t i = 0; i < WORDS; i++)
		cr_assert_eq(kit.host[i], i + 10);
	struct fake_counts c = close_kit(&kit);

	cr_assert(!c.contexts && !c.streams && !c.events && !c.pools && !c.memory && !c.pinned &&
	          !c.modules);
	cr_assert_eq(c.retained, 1, "who is not used costs no context");
	cr_assert_eq(get_current(), -1);
}

/* Pinned memory is no device's: asking for it may enter any. */
static int asks_for_memory(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	void *memory;

	for (uint32_t i = 0; i < 2; i++) {
		API_CHECK(weft_cuda_use(self, i) == 0 && get_current() == (int)i);
		API_CHECK(weft_cuda_host_alloc(rt, 64, &memory) == 0 && get_current() == (int)i);
		weft_cuda_host_free(rt, memory);
		API_CHECK(get_current() == (int)i);
	}
	return 0;
}

static void hear(void *arg, const struct weft_log_record *record)
{
	if (record->level == WEFT_LOG_ERROR)
		api_add(arg, 1);
}

Test(driver_engine, a_body_keeps_its_device)
{
	struct kit kit = open_kit(0);
	struct api_count complaints = { 0 };

	weft_cuda_host_free(kit.rt, kit.host);
	kit.host = NULL;
	cr_assert_eq(weft_close(kit.rt, WEFT_FOREVER), 0);
	cr_assert_eq(weft_open(&kit.rt,
	                       WEFT_OPTIONS(.workers = 1, .devices = kit.cuda, .log = hear,
	                                    .log_arg = &complaints)),
	             0);
	cr_assert_eq(api_end(kit.rt,
	                     api_submit(kit.rt,
	                                WEFT_TASK(asks_for_memory,
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 2)))),
	             0);
	(void)close_kit(&kit);
	cr_assert_eq(api_read(&complaints), 0);
}

Test(driver_engine, what_the_driver_says_is_the_cause)
{
	struct kit kit = open_kit(0);
	const struct weft_error *error;

	fail("cuEventQuery", WF_CU_ILLEGAL_ADDRESS, 0);
	weft_ref ref = api_submit(
		kit.rt,
		WEFT_TASK(adds, API_POINTER(kit.host), .opts = WEFT_TASK_OPTIONS(.gpus = 0.5)));

	cr_assert_eq(api_get(kit.rt, ref), WEFT_EDEVICE);
	cr_assert_eq(weft_ref_error(kit.rt, ref, &error), 0);
	cr_assert_not_null(strstr(error->text, "CUDA error 700: an illegal memory access"), "%s",
	                   error->text);
	api_release(kit.rt, ref);
	/* The other one is as it was. */
	cr_assert_eq(api_end(kit.rt,
	                     api_submit(kit.rt,
	                                WEFT_TASK(adds, API_POINTER(kit.host),
	                                          .opts = WEFT_TASK_OPTIONS(.gpus = 1)))),
	             0);
	(void)close_kit(&kit);
}

/* The work may still run: its attempt ends when the driver says so, or with the device. */
Test(driver_engine, a_question_that_fails_ends_no_attempt)
{
	struct kit kit = open_kit(0);
	const struct weft_task_options o = { .struct_size = sizeof o, .gpus = 0.5 };
	const struct weft_call *call = WEFT_TASK(adds, API_POINTER(kit.host), .opts = &o);
	const struct weft_error *error;

	fail("cuEventQuery", 999, 0);
	fail_more(20);
	cr_assert_eq(api_end(kit.rt, api_submit(kit.rt, call)), 0);
	cr_assert_eq(counts().failed, 21);
	cr_assert_eq(kit.host[0], 5);
	fail("cuEventQuery", 999, 0);
	fail_more(INT_MAX);
	weft_ref ref = api_submit(kit.rt, call);

	cr_assert_eq(api_get(kit.rt, ref), WEFT_EDEVICE);
	cr_assert_eq(weft_ref_error(kit.rt, ref, &error), 0);
	cr_assert_not_null(strstr(error->text, "what it has done: CUDA error 999"), "%s",
	                   error->text);
	api_release(kit.rt, ref);
	cr_assert_gt(close_kit(&kit).pinned, 0, "what it may still write");
}

Test(driver_engine, a_device_that_hangs_holds_up_nobody)
{
	struct kit kit = open_kit(20000000);
	const struct weft_error *error;

	event_queries(INT_MAX);
	weft_ref ref = api_submit(
		kit.rt,
		WEFT_TASK(adds, API_POINTER(kit.host), .opts = WEFT_TASK_OPTIONS(.gpus = 0.5)));

	cr_assert_eq(api_get(kit.rt, ref), WEFT_EDEVICE);
	cr_assert_eq(weft_ref_error(kit.rt, ref, &error), 0);
	cr_assert_not_null(strstr(error->text, "nothing was done for"), "%s", error->text);
	api_release(kit.rt, ref);
	/* The driver would wait for ever: it is not asked. */
	fail("cuCtxSynchronize", 999, 0);
	struct fake_counts c = close_kit(&kit);

	cr_assert_eq(c.failed, 0);
	cr_assert_gt(c.pinned, 0, "what it may still write");
}
