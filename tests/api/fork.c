/*
 * Goal: forked children run exactly once before their join returns, whoever takes them, also when
 * they or their parent wait in between.
 * Method: fib, many children outstanding at once, children that block on events and tasks.
 */
#include "api.h"
#include "test.h"

struct fib {
	int64_t n, result;
};

static void fib(weft_task *self, void *arg)
{
	struct fib *fib_arg = arg;

	if (fib_arg->n < 2) {
		fib_arg->result = fib_arg->n;
		return;
	}
	struct fib a = { fib_arg->n - 1, -1 }, b = { fib_arg->n - 2, -1 };
	struct weft_fork fork_a;

	weft_fork(self, &fork_a, fib, &a);
	fib(self, &b);
	weft_fork_join(self, &fork_a);
	API_CHECK(a.result >= 0);
	fib_arg->result = a.result + b.result;
}

static int fib_task(weft_task *self)
{
	struct fib root = { *(const int64_t *)weft_task_arg(self, NULL), -1 };

	fib(self, &root);
	return weft_return(self, &root.result, sizeof root.result);
}

Test(fork, fib_on_1_2_and_8_workers)
{
	const int64_t n = WF_TSAN ? 14 : WF_ASAN ? 18 : 25;
	const int64_t expected = WF_TSAN ? 377 : WF_ASAN ? 2584 : 75025;

	static const uint32_t workers[] = { 1, 2, 8 };

	for (int w = 0; w < 3; w++) {
		weft *rt = api_open(workers[w]);
		weft_ref refs[4];

		for (int i = 0; i < 4; i++)
			refs[i] = api_spawn(rt, fib_task, &n, sizeof n);
		for (int i = 0; i < 4; i++)
			cr_assert_eq(api_take_i64(rt, refs[i]), expected);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static void set_one(weft_task *self, void *arg)
{
	API_CHECK(self != NULL);
	++*(int64_t *)arg;
}

static int forks_many(weft_task *self)
{
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL);
	struct weft_fork *forks = calloc((size_t)n, sizeof *forks);
	int64_t *ran = calloc((size_t)n, sizeof *ran);
	int64_t sum = 0;

	for (int64_t i = 0; i < n; i++)
		weft_fork(self, &forks[i], set_one, &ran[i]);
	for (int64_t i = n; i-- > 0;) {
		weft_fork_join(self, &forks[i]);
		API_CHECK(ran[i] == 1);
	}
	for (int64_t i = 0; i < n; i++)
		sum += ran[i];
	free(forks);
	free(ran);
	return weft_return(self, &sum, sizeof sum);
}

Test(fork, a_hundred_thousand_children_outstanding_at_once)
{
	weft *rt = api_open(2);
	const int64_t n = api_scaled(100000);

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, forks_many, &n, sizeof n)), n);
	api_close(rt);
}

struct waits {
	weft *rt;
	weft_ref event;
	int64_t got;
};

static void child_waits(weft_task *self, void *arg)
{
	struct waits *waits = arg;
	int64_t value = -1;

	(void)self;
	API_CHECK(weft_get_copy(waits->rt, waits->event, &value, sizeof value) == sizeof value);
	waits->got = value;
}

static int forks_waiting_children(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	struct weft_fork forks[5];
	struct waits waits[5];
	int64_t sum = 0;

	for (int i = 0; i < 5; i++) {
		waits[i] = (struct waits){ weft_task_runtime(self), *event, 0 };
		weft_fork(self, &forks[i], child_waits, &waits[i]);
	}
	sum += api_take_i64(
		waits[0].rt,
		api_spawn(waits[0].rt, api_body_identity, &(int64_t){ 1 }, sizeof(int64_t)));
	for (int i = 4; i >= 0; i--) {
		weft_fork_join(self, &forks[i]);
		sum += waits[i].got;
	}
	return weft_return(self, &sum, sizeof sum);
}

Test(fork, children_may_wait)
{
	for (uint32_t workers = 1; workers <= 2; workers++) {
		weft *rt = api_open(workers);
		weft_ref event = api_event(rt), refs[20];
		const int64_t value = 100;

		for (int i = 0; i < 20; i++)
			refs[i] = api_spawn(rt, forks_waiting_children, &event, sizeof event);
		for (int i = 0; i < 20; i++)
			api_await_state(rt, refs[i], WEFT_REF_BLOCKED);
		cr_assert_eq(weft_event_set(rt, event, &value, sizeof value), 0);
		for (int i = 0; i < 20; i++)
			cr_assert_eq(api_take_i64(rt, refs[i]), 501);
		api_release(rt, event);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static void child_spawns(weft_task *self, void *arg)
{
	weft *rt = weft_task_runtime(self);
	const int64_t value = 2;

	*(int64_t *)arg = api_take_i64(rt, api_spawn(rt, api_body_identity, &value, sizeof value));
}

static int mixes(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t a = 0, b = 0;
	struct weft_fork fork_a, fork_b;
	const int64_t value = 3;

	weft_fork(self, &fork_a, child_spawns, &a);
	weft_ref ref = api_spawn(rt, api_body_identity, &value, sizeof value);
	weft_fork(self, &fork_b, child_spawns, &b);
	weft_fork_join(self, &fork_b);
	const int64_t c = api_take_i64(rt, ref);
	weft_fork_join(self, &fork_a);
	const int64_t sum = a + b + c;
	return weft_return(self, &sum, sizeof sum);
}

Test(fork, forks_and_submits_mix)
{
	weft *rt = api_open(2);

	for (uint32_t i = 0; i < api_scaled(2000); i++)
		cr_assert_eq(api_take_i64(rt, api_spawn(rt, mixes, NULL, 0)), 7);
	api_await_no_tasks(rt);
	api_close(rt);
}
