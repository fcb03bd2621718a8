/*
 * Goal: closing cannot fail for want of anything: with work queued, waiting, blocked, sleeping and
 * registered it ends, drops every argument once and leaves nothing behind.
 * Method: the sweep over the close alone; descriptors, threads and mappings counted.
 */
#include "api_fault.h"

static struct fault_census before;

static void drop(void *arg, size_t size)
{
	API_CHECK(size == sizeof(struct api_count *));
	api_add(*(struct api_count **)arg, 1);
}

static void note(void *arg, weft_ref ref, int status)
{
	(void)ref;
	API_CHECK(status < 0);
	api_add(arg, 1);
}

static int sleeps(weft_task *self)
{
	return weft_sleep_until(weft_task_runtime(self), WEFT_FOREVER);
}

static void close_once(uint64_t nth)
{
	weft *rt = api_open(2);
	struct api_count drops = { 0 }, calls = { 0 };
	struct api_count *arg = &drops;
	weft_ref event = api_event(rt);
	weft_cq *cq = NULL;

	API_CHECK(weft_cq_create(rt, &cq) == 0);
	for (uint32_t i = 0; i < 20; i++) {
		weft_ref waiting =
			api_submit(rt,
		                   WEFT_TASK(api_body_nothing, WEFT_ARG(arg), WEFT_AFTER(event),
		                             .opts = WEFT_TASK_OPTIONS(.arg_drop = drop)));
		weft_ref blocked = api_spawn(rt, api_body_get, &event, sizeof event);
		weft_ref sleeping = api_spawn(rt, sleeps, NULL, 0);

		API_CHECK(weft_on_done(rt, waiting, note, &calls) == 0);
		API_CHECK(weft_cq_add(cq, waiting, i) == 0);
		api_await_state(rt, blocked, WEFT_REF_BLOCKED);
		api_await_state(rt, sleeping, WEFT_REF_BLOCKED);
	}
	weft_cq_destroy(cq);
	wf_fault_arm(-1, nth);
	API_CHECK(weft_close(rt, WEFT_POLL) == 1);
	API_CHECK(api_read(&drops) == 20);
	API_CHECK(api_read(&calls) == 20);
	fault_census_check(&before);
}

int main(void)
{
	api_close(api_open(2));
	api_close(api_open(2));
	before = fault_census();
	printf("%llu points\n", (unsigned long long)fault_sweep(close_once));
	return 0;
}
