/*
 * blocking.c: a call that blocks its thread, made on a spare thread while the task sleeps.
 */
#include <errno.h>

#include "runtime.h"

/* On the sleeping task's stack. */
struct blocking_call {
	int (*fn)(void *arg);
	void *arg;
	int rc;
	struct wf_wait wait;
	struct wf_wait_node node;
};

static int call_body(weft_task *self)
{
	struct blocking_call *call = *(struct blocking_call **)weft_task_arg(self, NULL);

	call->rc = call->fn(call->arg);
	return 0;
}

/* Once, on every path: the body has run, or never will. */
static void call_over(void *arg, size_t size)
{
	struct blocking_call *call = *(struct blocking_call **)arg;

	(void)size;
	wf_wait_fire_from_outside(&call->wait, &call->node);
}

int wf_call_blocking(weft *rt, int (*fn)(void *arg), void *arg)
{
	struct wf_local *self = wf_local_of(rt);
	struct blocking_call call = { .fn = fn, .arg = arg, .rc = -ECANCELED };
	struct blocking_call *pointer = &call;
	const struct weft_task_options options = { .struct_size = sizeof(options),
		                                   .flags = WEFT_TASK_BLOCKING,
		                                   .arg_drop = call_over };
	const struct weft_call submit = {
		.fn = call_body, .arg = &pointer, .arg_size = sizeof(pointer), .opts = &options
	};

	if (!self)
		return -ENOMEM;
	/* There is no other thread for it in a deterministic runtime. */
	if (!wf_can_suspend(self) || rt->order)
		return fn(arg);
	wf_wait_init(&call.wait, self, 1, WEFT_FOREVER);
	call.wait.external = true;
	call.wait.uninterruptible = true;
	call.node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire, .wait = &call.wait };
	int rc = wf_submit_internal(rt, &submit);

	if (rc)
		return rc;
	rc = wf_wait_sleep(&call.wait);
	/* acquire [F3]: the last touch. */
	while (!wf_load_acquire(&call.node.fired))
		wf_cpu_relax();
	WF_CHECK(!rc);
	return call.rc;
}
