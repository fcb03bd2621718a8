/*
 * Goal: when memory is out for good, tasks that were accepted still move between workers and none
 * of them makes a thread wait for memory: not the steal of a batch, not the host thread that leaves
 * weft_run() with more in its queue than the injector's block has room for.
 * Method: every allocation fails from a moment on at which the tasks are queued.
 */
#include "api_fault.h"

#define TASKS 2000 /* many times a block of the injector, a ring of a helper, a batch */

static int queues_many(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	void *count = api_arg_pointer(self);

	for (uint32_t i = 0; i < TASKS; i++)
		API_CHECK(weft_spawn(rt, api_body_count, &count, sizeof count, NULL) == 0);
	wf_fault_arm_lasting(WF_FAULT_MALLOC, 1);
	return 0;
}

static void a_host_thread_leaves(void)
{
	weft *rt = NULL;
	struct api_count count = { 0 };

	API_CHECK(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)) == 0);
	weft_ref root = api_submit(rt, WEFT_TASK(queues_many, API_POINTER(&count)));

	API_CHECK(weft_run(rt, root, WEFT_FOREVER) == 0);
	API_CHECK(wf_fault_fired());
	const uint64_t before = api_read(&count);

	wf_fault_arm(-1, 0);
	API_CHECK(before < TASKS);
	API_CHECK(weft_run(rt, WEFT_NONE, WEFT_FOREVER) == 0);
	API_CHECK(api_read(&count) == TASKS);
	api_release(rt, root);
	api_await_no_tasks(rt);
	api_close(rt);
}

static void workers_share(void)
{
	weft *rt = api_open(4);
	struct api_count count = { 0 };
	weft_ref root = api_submit(rt, WEFT_TASK(queues_many, API_POINTER(&count)));

	api_await_count(&count, TASKS);
	wf_fault_arm(-1, 0);
	api_release(rt, root);
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	a_host_thread_leaves();
	for (uint32_t i = 0; i < 20; i++)
		workers_share();
	return 0;
}
