/*
 * Goal: what placement groups reserve of devices is told when it can never be had any more.
 * Method: two simulated devices, one of which is lost while a group waits for both.
 */
#include "gpu_task.h"
#include "test.h"

/* The copy is taken; it fails where it is done, and costs the device. */
static int follows_a_bad_address(weft_task *self)
{
	struct api_gate *gate = api_arg_pointer(self);
	uint64_t address = 0;
	uint32_t word;
	int rc = weft_cuda_alloc(self, 64, &address);

	api_gate_pass(gate);
	return rc ? rc : weft_cuda_copy_out(self, &word, address + 60, 8);
}

static weft_placement group_of(weft *rt, struct weft_bundle bundle)
{
	weft_placement group;

	API_CHECK(weft_placement_create(rt, NULL, &bundle, 1, &group) == 0);
	return group;
}

static weft_ref in_group(weft *rt, weft_placement group)
{
	return api_submit(
		rt,
		WEFT_TASK(api_body_nothing,
	                  .opts = WEFT_TASK_OPTIONS(.place = WEFT_PLACE(.group = group))));
}

Test(gpu_placement, a_group_that_waits_for_a_lost_device_is_given_up)
{
	struct gpu_test t = gpu_open("sim:2", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref bad = api_submit(t.rt,
	                          WEFT_TASK(follows_a_bad_address, API_POINTER(&gate),
	                                    .opts = WEFT_TASK_OPTIONS(.gpus = 1)));
	weft_ref ready, task;

	api_gate_await(&gate, 1);
	weft_placement both = group_of(t.rt, (struct weft_bundle){ .gpus = 2 });
	weft_placement one = group_of(t.rt, (struct weft_bundle){ .cpus = 1, .gpus = 1 });

	cr_assert_eq(weft_placement_wait(t.rt, both, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_placement_wait(t.rt, one, WEFT_FOREVER), 0);
	cr_assert_eq(weft_placement_ready(t.rt, both, &ready), 0);
	task = api_submit(t.rt,
	                  WEFT_TASK(api_body_nothing,
	                            .opts = WEFT_TASK_OPTIONS(.gpus = 2, .cpus = WEFT_CPUS_NONE,
	                                                      .place = WEFT_PLACE(.group = both))));
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, bad), WEFT_EDEVICE);
	cr_assert_eq(api_end(t.rt, ready), WEFT_EDEVICE);
	(void)api_end(t.rt, task);
	cr_assert_eq(weft_placement_wait(t.rt, both, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_placement_remove(t.rt, both), 0, "it was one");
	/* What needs no device is refused as ever when it can never fit. */
	cr_assert_eq(
		weft_submit(t.rt,
	                    WEFT_TASK(api_body_nothing,
	                              .opts = WEFT_TASK_OPTIONS(.cpus = 2,
	                                                        .place = WEFT_PLACE(.group = one))),
	                    &task),
		-EINVAL);
	cr_assert_eq(api_end(t.rt, in_group(t.rt, one)), 0);
	cr_assert_eq(weft_placement_remove(t.rt, one), 0);
	gpu_close(&t);
}
