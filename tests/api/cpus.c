/*
 * Goal: a task has the CPUs that it asked for: so many workers stand aside while it runs, they are
 * back when it waits, and fractions share one; also where there are no spare threads or workers.
 * Method: bodies that count how many others run beside them, or sit at gates.
 */
#include "resources.h"
#include "test.h"

struct gauge {
	struct api_count plain, wide, most, stop;
};

static int plain_body(weft_task *self)
{
	struct gauge *gauge = api_arg_pointer(self);

	api_add(&gauge->plain, 1);
	for (int i = 0; i < 50; i++)
		wf_cpu_relax();
	api_add(&gauge->plain, (uint64_t)-1);
	return 0;
}

static int wide_body(weft_task *self)
{
	struct gauge *gauge = api_arg_pointer(self);
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(api_add(&gauge->wide, 1) == 1);
	API_CHECK(weft_task_info(self, &info) == 0);
	API_CHECK(info.cpus == 3 && info.n_cpu == 3 && info.cpu);
	for (int i = 0; i < 200; i++) {
		/* Of four workers three are ours. */
		API_CHECK(api_read(&gauge->plain) <= 1);
		wf_cpu_relax();
	}
	api_add(&gauge->wide, (uint64_t)-1);
	api_add(&gauge->most, 1);
	return 0;
}

Test(cpus, three_cpus_are_three_workers_that_stand_aside)
{
	weft *rt = api_open(4);
	struct gauge gauge = { 0 };
	const uint32_t rounds = api_scaled(300) < 20 ? 20 : api_scaled(300);

	for (uint32_t i = 0; i < rounds; i++) {
		for (int j = 0; j < 20; j++)
			cr_assert_eq(weft_spawn(rt, plain_body, &(void *){ &gauge }, sizeof(void *),
			                        NULL),
			             0);
		api_release(rt, submit(rt, wide_body, &gauge, WEFT_TASK_OPTIONS(.cpus = 3)));
	}
	api_await_count(&gauge.most, rounds);
	close_empty(rt);
}

static int add_one(weft_task *self)
{
	const int64_t one = 1;

	return weft_return(self, &one, sizeof one);
}

/* Holds all CPUs, and waits for a plain child and for one that wants all CPUs as well. */
static int waits_for_children(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t depth = *(const int64_t *)weft_task_arg(self, NULL);
	int64_t sum = 0, value = 0, less = depth - 1;
	weft_ref ref;

	if (depth == 0)
		return add_one(self);
	API_CHECK(weft_spawn(rt, add_one, NULL, 0, &ref) == 0);
	API_CHECK(weft_take(rt, ref, &value, sizeof value) == sizeof value);
	sum += value;
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(waits_for_children, WEFT_ARG(less),
	                                .opts = WEFT_TASK_OPTIONS(.cpus = 2)),
	                      &ref) == 0);
	API_CHECK(weft_take(rt, ref, &value, sizeof value) == sizeof value);
	sum += value;
	API_CHECK(weft_yield(rt) == 0);
	return weft_return(self, &sum, sizeof sum);
}

Test(cpus, cpus_are_free_while_a_body_waits)
{
	weft *rt = api_open(2);
	const int64_t depth = 20;

	for (int i = 0; i < 10; i++) {
		weft_ref ref = api_submit(rt,
		                          WEFT_TASK(waits_for_children, WEFT_ARG(depth),
		                                    .opts = WEFT_TASK_OPTIONS(.cpus = 2)));

		cr_assert_eq(api_take_i64(rt, ref), 21);
	}
	close_empty(rt);
}

Test(cpus, who_wakes_does_not_wait_for_its_cpus)
{
	weft *rt = api_open(2);
	struct quiet quiet = { .event = api_event(rt) };
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref first = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(.cpus = 2));

	api_await_state(rt, first, WEFT_REF_BLOCKED);
	const int64_t start = api_now();

	while (!(available(rt, "CPU") >= 1))
		api_polling(start, "a CPU of the one that waits is back");
	/* Its two CPUs go to another one, which does not give them back. */
	weft_ref second = submit(rt, at_gate, &stage,
	                         WEFT_TASK_OPTIONS(.cpus = 2, .flags = WEFT_TASK_BLOCKING));
	api_await_count(&stage.began, 1);
	weft_ref third = submit(rt, at_event, &quiet,
	                        WEFT_TASK_OPTIONS(.cpus = 2, .flags = WEFT_TASK_BLOCKING));
	cr_assert_eq(weft_event_set(rt, quiet.event, NULL, 0), 0);
	cr_assert_eq(api_state(rt, third), WEFT_REF_QUEUED);
	api_gate_open(&stage.gate);
	cr_assert_eq(api_end(rt, first), 0);
	cr_assert_eq(api_end(rt, second), 0);
	cr_assert_eq(api_end(rt, third), 0);
	api_release(rt, quiet.event);
	close_empty(rt);
}

Test(cpus, the_rest_is_kept_while_a_body_waits)
{
	weft *rt = open_with(2, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	struct api_count runs = { 0 };
	weft_ref holder = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(EVERYTHING));

	api_await_state(rt, holder, WEFT_REF_BLOCKED);
	cr_assert(available(rt, "GPU") == 1 && available(rt, "disk") == 1);
	cr_assert(available(rt, "license") == 1 && available(rt, "memory") == 900);
	weft_ref next = submit(rt, api_body_count, &runs, WEFT_TASK_OPTIONS(.gpus = 2));
	for (int i = 0; i < 100; i++)
		cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	cr_assert_eq(api_read(&runs), 0);
	settle(rt, quiet.event);
	cr_assert_eq(api_end(rt, holder), 0);
	cr_assert_eq(api_end(rt, next), 0);
	api_release(rt, quiet.event);
	close_empty(rt);
}

Test(cpus, fractions_of_a_cpu_run_beside_each_other)
{
	weft *rt = api_open(1);
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref half[3], none;

	for (int i = 0; i < 3; i++)
		half[i] = submit(rt, at_gate, &stage, WEFT_TASK_OPTIONS(.cpus = 0.5));
	/* Two halves are the one CPU; both hold their threads. */
	api_await_count(&stage.began, 2);
	none = submit(rt, at_gate, &stage, WEFT_TASK_OPTIONS(.cpus = WEFT_CPUS_NONE));
	api_await_count(&stage.began, 3);
	cr_assert_eq(api_state(rt, half[2]), WEFT_REF_QUEUED);
	cr_assert(available(rt, "CPU") == 0);
	weft_ref plain = submit(rt, at_gate, &stage, NULL);
	cr_assert_eq(api_state(rt, plain), WEFT_REF_QUEUED);
	api_gate_open(&stage.gate);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, half[i]), 0);
	cr_assert_eq(api_end(rt, none), 0);
	cr_assert_eq(api_end(rt, plain), 0);
	close_empty(rt);
}

Test(cpus, without_spare_threads_fractions_take_a_worker)
{
	weft *rt = NULL;
	struct api_count runs = { 0 };
	weft_ref refs[30];
	const double cpus[] = { 0.5, WEFT_CPUS_NONE, 2, 0.3, 1.7 };

	cr_assert_eq(
		weft_open(&rt, WEFT_OPTIONS(.workers = 2, .spare_threads_max = WEFT_SPARE_NONE)),
		0);
	for (int i = 0; i < 30; i++)
		refs[i] = submit(rt, api_body_count, &runs, WEFT_TASK_OPTIONS(.cpus = cpus[i % 5]));
	for (int i = 0; i < 30; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_read(&runs), 30);
	close_empty(rt);
}

Test(cpus, without_workers_only_tasks_without_cpus_run_by_themselves)
{
	weft *rt = NULL;
	struct api_count runs = { 0 };

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS)), 0);
	weft_ref none =
		submit(rt, api_body_count, &runs, WEFT_TASK_OPTIONS(.cpus = WEFT_CPUS_NONE));
	weft_ref plain = submit(rt, api_body_count, &runs, NULL);
	weft_ref half = submit(rt, api_body_count, &runs, WEFT_TASK_OPTIONS(.cpus = 0.5));
	api_await_state(rt, none, WEFT_REF_READY);
	cr_assert_eq(api_read(&runs), 1);
	cr_assert_eq(weft_run(rt, plain, WEFT_FOREVER), 0);
	cr_assert_eq(api_state(rt, half), WEFT_REF_QUEUED);
	cr_assert_eq(weft_cancel(rt, half), 0);
	cr_assert_eq(api_end(rt, half), -ECANCELED);
	api_release(rt, none);
	api_release(rt, plain);
	cr_assert_eq(api_read(&runs), 2);
	api_await_no_tasks(rt);
	api_close(rt);
}
