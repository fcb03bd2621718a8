/*
 * Goal: a host thread that helps a group runs tasks of it, and of the groups in it, and of nobody
 * else; and leaves when its ref is ready, its group is done or its time is up.
 * Method: a runtime without workers, where what runs is run by the helper; and one with workers
 * that are held, so that the helper is the only one that can.
 */
#include "groups.h"
#include "test.h"

static int forks_and_spawns(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	struct api_count *count = api_arg_pointer(self);
	weft_ref refs[10];

	for (int i = 0; i < 10; i++)
		API_CHECK(weft_spawn(rt, api_body_count, &(void *){ count }, sizeof(void *),
		                     &refs[i]) == 0);
	for (int i = 0; i < 10; i++)
		API_CHECK(api_end(rt, refs[i]) == 0);
	return 0;
}

Test(groups_run, only_what_is_in_the_group_is_run)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	weft_group group = group_make(rt, NULL), within, other = group_make(rt, NULL);
	struct api_count mine = { 0 }, others = { 0 };

	within = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group));
	for (int i = 0; i < 10; i++) {
		group_forget(rt, i % 2 ? group : within, forks_and_spawns, &mine);
		group_forget(rt, other, api_body_count, &others);
		cr_assert_eq(
			weft_spawn(rt, api_body_count, &(void *){ &others }, sizeof(void *), NULL),
			0);
	}
	cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&mine), 100);
	cr_assert_eq(api_read(&others), 0);
	cr_assert_eq(group_stats(rt, group).done, 110);
	/* Nothing is left of it: at once. */
	cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, WEFT_FOREVER), 0);
	cr_assert_eq(weft_run(rt, WEFT_NONE, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&others), 20);
	group_end(rt, within);
	group_end(rt, group);
	group_end(rt, other);
	api_close(rt);
}

Test(groups_run, until_a_ref_is_ready_or_the_time_is_up)
{
	weft *rt = api_open_flags(0, WEFT_OPEN_NO_WORKERS);
	weft_group group = group_make(rt, NULL), other = group_make(rt, NULL);
	struct api_count count = { 0 };
	weft_ref event = api_event(rt), foreign, mine;

	foreign = group_submit(rt, other, api_body_count, &count);
	mine = group_submit(rt, group, api_body_nothing, NULL);
	cr_assert_eq(weft_group_run(rt, group, foreign, weft_after_ms(rt, 5)), -ETIMEDOUT);
	cr_assert_eq(weft_peek(rt, mine), 1);
	cr_assert_eq(api_read(&count), 0);
	cr_assert_eq(weft_group_run(rt, other, foreign, WEFT_FOREVER), 0);
	cr_assert_eq(weft_group_run(rt, group, foreign, WEFT_FOREVER), 0);
	weft_ref held = api_submit(rt,
	                           WEFT_TASK(api_body_nothing, WEFT_AFTER(event),
	                                     .opts = WEFT_TASK_OPTIONS(.group = group)));

	cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, weft_after_ms(rt, 5)), -ETIMEDOUT);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	/* A join does the same where nobody else could. */
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(api_end(rt, held), 0);
	cr_assert_eq(api_end(rt, mine), 0);
	cr_assert_eq(api_end(rt, foreign), 0);
	api_release(rt, event);
	group_end(rt, group);
	group_end(rt, other);
	api_close(rt);
}

static int helps(weft_task *self)
{
	int *status = api_arg_pointer(self);

	*status = weft_group_run(weft_task_runtime(self), weft_task_group(self), WEFT_NONE,
	                         WEFT_FOREVER);
	return 0;
}

Test(groups_run, bad_calls_are_refused)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	int status = 0;
	weft_ref gone = api_put_i64(rt, 1);

	api_release(rt, gone);
	cr_assert_eq(weft_group_run(NULL, group, WEFT_NONE, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_group_run(rt, (weft_group){ 0 }, WEFT_NONE, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_group_run(rt, group, gone, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(api_end(rt, group_submit(rt, group, helps, &status)), 0);
	cr_assert_eq(status, -EDEADLK);
	group_end(rt, group);
	cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, WEFT_FOREVER), -EINVAL);
	api_close(rt);
}

static int64_t fib_of(int64_t n)
{
	return n < 2 ? n : fib_of(n - 1) + fib_of(n - 2);
}

static int fib(weft_task *self)
{
	int64_t n = *(int64_t *)weft_task_arg(self, NULL), less[2] = { n - 1, n - 2 }, part[2];
	weft *rt = weft_task_runtime(self);
	weft_ref child[2];

	if (n < 2)
		return weft_return(self, &n, sizeof n);
	for (int i = 0; i < 2; i++)
		API_CHECK(weft_spawn(rt, fib, &less[i], sizeof n, &child[i]) == 0);
	for (int i = 0; i < 2; i++)
		API_CHECK(weft_take(rt, child[i], &part[i], sizeof n) == sizeof n);
	return weft_return(self, &(int64_t){ part[0] + part[1] }, sizeof n);
}

struct helper {
	weft *rt;
	weft_group group;
	weft_ref ref;
	int64_t n;
};

static void *queries(void *arg)
{
	struct helper *h = arg;

	for (int i = 0; i < 100; i++) {
		weft_group group = group_make(h->rt, WEFT_GROUP_OPTIONS(.weight = (uint32_t)h->n));
		weft_ref ref = api_submit(
			h->rt,
			WEFT_TASK(fib, WEFT_ARG(h->n), .opts = WEFT_TASK_OPTIONS(.group = group)));

		API_CHECK(weft_group_run(h->rt, group, ref, WEFT_FOREVER) == 0);
		API_CHECK(api_take_i64(h->rt, ref) == fib_of(h->n));
		API_CHECK(weft_group_run(h->rt, group, WEFT_NONE, WEFT_FOREVER) == 0);
		group_end(h->rt, group);
	}
	return NULL;
}

Test(groups_run, many_threads_help_their_own)
{
	weft *rt = api_open(2);
	struct helper h[4];
	pthread_t thread[4];

	for (int i = 0; i < 4; i++) {
		h[i] = (struct helper){ .rt = rt, .n = 8 + i };
		thread[i] = api_thread(queries, &h[i]);
	}
	for (int i = 0; i < 4; i++)
		api_join(thread[i]);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(groups_run, it_helps_while_all_workers_are_busy_elsewhere)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL);
	struct api_gate gate = API_GATE_INIT;
	struct api_count count = { 0 };
	weft_ref holder[2];

	for (int i = 0; i < 2; i++)
		holder[i] = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	api_gate_await(&gate, 2);
	for (int i = 0; i < 10; i++)
		group_forget(rt, group, forks_and_spawns, &count);
	cr_assert_eq(weft_group_run(rt, group, WEFT_NONE, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&count), 100);
	api_gate_open(&gate);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(rt, holder[i]), 0);
	group_end(rt, group);
	api_close(rt);
}
