/*
 * Goal: sleeping tasks hold no worker and wake in the order of their times, not before; yield lets
 * other work run first.
 * Method: one worker, many sleepers on a virtual clock whose order is known, counters for yield.
 */
#include "api.h"
#include "test.h"

struct sleeper {
	struct api_count *clock;
	uint64_t *woke;
	weft_deadline until;
};

static int sleeps(weft_task *self)
{
	const struct sleeper *arg = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_sleep_until(rt, arg->until) == 0);
	API_CHECK(weft_now(rt) >= arg->until);
	*arg->woke = api_add(arg->clock, 1);
	return 0;
}

Test(sleep, virtual_sleepers_wake_in_the_order_of_their_times)
{
	enum { N = 100 };
	weft *rt = NULL;
	struct api_count clock = { 0 };
	uint64_t woke[N] = { 0 };
	weft_ref refs[N];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_VIRTUAL_CLOCK)),
	             0);
	const weft_deadline start = weft_now(rt);
	for (int i = 0; i < N; i++) {
		const struct sleeper arg = { &clock, &woke[i], start + 1000 * (1 + i * 37 % N) };

		refs[i] = api_spawn(rt, sleeps, &arg, sizeof arg);
	}
	for (int i = 0; i < N; i++)
		api_await_state(rt, refs[i], WEFT_REF_BLOCKED);
	for (uint64_t step = 1; step <= N; step++) {
		cr_assert_eq(weft_clock_advance(rt, 1000), 0);
		api_await_count(&clock, step);
		cr_assert_eq(api_read(&clock), step, "only one was due");
	}
	for (int i = 0; i < N; i++) {
		cr_assert_eq(api_end(rt, refs[i]), 0);
		cr_assert_eq(woke[i], 1u + (uint32_t)i * 37 % N);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

static int sleeps_for_ever(weft_task *self)
{
	const int status = weft_sleep_until(weft_task_runtime(self), WEFT_FOREVER);

	API_CHECK(status == -ECANCELED);
	return status;
}

Test(sleep, real_sleepers_do_not_hold_the_only_worker)
{
	weft *rt = api_open(1);
	struct api_count clock = { 0 };
	uint64_t woke[50] = { 0 };
	weft_ref refs[50];
	const weft_deadline until = weft_after_ms(rt, 30);
	weft_ref last = api_spawn(rt, sleeps_for_ever, NULL, 0);

	for (int i = 0; i < 50; i++) {
		const struct sleeper arg = { &clock, &woke[i], until + i % 7 };

		refs[i] = api_spawn(rt, sleeps, &arg, sizeof arg);
	}
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_geq(weft_now(rt), until);
	cr_assert_eq(weft_peek(rt, last), 0);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1, "a sleeper for ever is cancelled by close");
}

static int sleeps_in_the_past(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_sleep_until(rt, 0) == 0);
	API_CHECK(weft_sleep_until(rt, 1) == 0);
	API_CHECK(weft_sleep_until(rt, weft_now(rt)) == 0);
	return 0;
}

Test(sleep, a_time_in_the_past_returns_and_hosts_sleep_too)
{
	weft *rt = api_open(1);
	const weft_deadline until = weft_after_ms(rt, 5);

	cr_assert_eq(api_end(rt, api_spawn(rt, sleeps_in_the_past, NULL, 0)), 0);
	cr_assert_eq(weft_sleep_until(rt, 0), 0);
	cr_assert_eq(weft_sleep_until(rt, until), 0);
	cr_assert_geq(weft_now(rt), until);
	cr_assert_eq(weft_sleep_until(NULL, 0), -EINVAL);
	api_close(rt);
}

struct turn {
	struct api_count *order;
	uint64_t at;
	struct api_gate *gate;
};

static int yields_first(weft_task *self)
{
	struct turn *turn = api_arg_pointer(self);

	api_gate_pass(turn->gate);
	API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	turn->at = api_add(turn->order, 1);
	return 0;
}

static int takes_a_turn(weft_task *self)
{
	struct turn *turn = api_arg_pointer(self);

	turn->at = api_add(turn->order, 1);
	return 0;
}

Test(yield, queued_work_runs_first)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct api_count order = { 0 };
	struct turn turns[10];
	weft_ref refs[10];

	for (int i = 0; i < 10; i++) {
		turns[i] = (struct turn){ &order, 0, &gate };
		refs[i] = api_submit(rt,
		                     i == 0 ? WEFT_TASK(yields_first, API_POINTER(&turns[0]))
		                            : WEFT_TASK(takes_a_turn, API_POINTER(&turns[i])));
		if (i == 0)
			api_gate_await(&gate, 1);
	}
	api_gate_open(&gate);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(turns[0].at, 10, "it went on at %u", (unsigned)turns[0].at);
	api_close(rt);
}

static int waits_by_yielding(weft_task *self)
{
	const struct api_count *flag = api_arg_pointer(self);

	while (api_read(flag) == 0)
		API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	return 0;
}

Test(yield, tasks_that_wait_by_yielding_do_not_starve_the_one_they_wait_for)
{
	weft *rt = api_open(1);
	struct api_count flag = { 0 };
	weft_ref refs[20], setter;

	for (int i = 0; i < 20; i++)
		refs[i] = api_submit(rt, WEFT_TASK(waits_by_yielding, API_POINTER(&flag)));
	setter = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&flag)));
	cr_assert_eq(api_end(rt, setter), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct chain {
	struct api_count *stop;
	struct api_count *links;
};

static int relinks(weft_task *self)
{
	const struct chain *chain = weft_task_arg(self, NULL);

	api_add(chain->links, 1);
	if (api_read(chain->stop) == 0)
		API_CHECK(weft_spawn(weft_task_runtime(self), relinks, chain, sizeof *chain,
		                     NULL) == 0);
	return 0;
}

Test(yield, a_worker_fed_by_itself_still_looks_at_what_hosts_submit)
{
	weft *rt = api_open(1);
	struct api_count stop = { 0 }, links = { 0 };
	const struct chain chain = { &stop, &links };

	for (int i = 0; i < 10; i++)
		cr_assert_eq(weft_spawn(rt, relinks, &chain, sizeof chain, NULL), 0);
	api_await_count(&links, 100);
	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&stop)))), 0);
	api_close(rt);
}

Test(yield, outside_tasks_it_is_a_plain_yield)
{
	weft *rt = api_open(1);

	cr_assert_eq(weft_yield(rt), 0);
	api_close(rt);
}
