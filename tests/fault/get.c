/*
 * Goal: whatever fails while tasks and hosts wait, the wait answers -ENOMEM or -EAGAIN and nothing
 * is lost: whoever still waits is woken, cells and threads go back.
 * Method: the sweep over a program of nested gets, timed waits, sleeps, queues, blocking tasks and
 * loops on a fresh runtime each time.
 */
#include "api_fault.h"

static bool fault_or(int64_t status, int64_t expected)
{
	return status == expected || ((status == -ENOMEM || status == -EAGAIN) && wf_fault_fired());
}

static int waits_in_many_ways(weft_task *self)
{
	const weft_ref *event = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	const weft_ref refs[1] = { *event };
	struct weft_view view;
	weft_ref child = WEFT_NONE;
	bool ready[1];
	int status = weft_spawn(rt, api_body_nothing, NULL, 0, &child);

	API_CHECK(fault_or(status, 0));
	if (status == 0) {
		API_CHECK(fault_or(weft_get(rt, child, WEFT_FOREVER, &view), 0));
		api_release(rt, child);
	}
	status = weft_get(rt, *event, weft_now(rt) + 1000, &view);
	API_CHECK(status == 0 || fault_or(status, -ETIMEDOUT));
	status = weft_wait(rt, refs, 1, 1, weft_now(rt) + 1000, ready);
	API_CHECK(status == 1 || fault_or(status, 0));
	API_CHECK(fault_or(weft_sleep_until(rt, weft_now(rt) + 1000), 0));
	API_CHECK(fault_or(weft_yield(rt), 0));
	status = weft_block_enter(rt, WEFT_BLOCK_RELEASE);
	API_CHECK(fault_or(status, 0));
	if (status == 0)
		weft_block_exit(rt);
	API_CHECK(fault_or(weft_get_many(rt, refs, 1, WEFT_FOREVER, &view, NULL), 0));
	return 0;
}

static int nests(weft_task *self)
{
	int64_t depth = *(const int64_t *)weft_task_arg(self, NULL) - 1;
	weft *rt = weft_task_runtime(self);
	weft_ref child = WEFT_NONE;
	struct weft_view view;

	if (depth < 0)
		return 0;
	const int status = weft_spawn(rt, nests, &depth, sizeof depth, &child);
	API_CHECK(fault_or(status, 0));
	if (status < 0)
		return status;
	const int got = weft_get(rt, child, WEFT_FOREVER, &view);
	API_CHECK(got == WEFT_ETASK || fault_or(got, 0));
	api_release(rt, child);
	return got == WEFT_ETASK ? -ENOMEM : got;
}

static void count_piece(int64_t begin, int64_t end, void *arg)
{
	api_add(arg, (uint64_t)(end - begin));
}

static void fold(int64_t begin, int64_t end, void *arg, void *acc)
{
	(void)arg;
	*(int64_t *)acc += end - begin;
}

static void combine(void *into, const void *from, void *arg)
{
	(void)arg;
	*(int64_t *)into += *(const int64_t *)from;
}

static void loop(weft *rt)
{
	struct api_count pieces = { 0 };
	const int64_t zero = 0;
	int64_t result = -7;
	int status = weft_for(rt, 0, 1000, 10, count_piece, &pieces);

	API_CHECK(fault_or(status, 0));
	API_CHECK(api_read(&pieces) == 1000 || status < 0);
	status = weft_reduce(rt, 0, 1000, 10, fold, combine, NULL, &zero, sizeof zero, &result);
	API_CHECK(fault_or(status, 0));
	API_CHECK(result == (status < 0 ? -7 : 1000));
}

static void get_once(uint64_t nth)
{
	enum { N = 12 };
	weft *rt = api_open(1);
	weft_ref event = api_event(rt), refs[2 * N];
	const int64_t depth = 300;
	struct weft_view view;
	uint32_t n = 0;

	wf_fault_arm(-1, nth);
	for (uint32_t i = 0; i < 2 * N; i++) {
		const struct weft_task_options *opts =
			i < N ? NULL : WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING);
		const int status = i % N == 5
			? weft_submit(rt, WEFT_TASK(nests, WEFT_ARG(depth), .opts = opts), &refs[n])
			: weft_submit(rt,
		                      WEFT_TASK(waits_in_many_ways, WEFT_ARG(event), .opts = opts),
		                      &refs[n]);

		API_CHECK(fault_or(status, 0));
		n += status == 0;
	}
	loop(rt);
	int status = weft_get(rt, event, weft_now(rt) + 1000, &view);
	API_CHECK(fault_or(status, -ETIMEDOUT));
	API_CHECK(weft_event_set(rt, event, NULL, 0) == 0);
	for (uint32_t i = 0; i < n; i++) {
		do
			status = weft_get(rt, refs[i], WEFT_FOREVER, &view);
		while (status == -ENOMEM ||
		       status == -EAGAIN); /* the one failure may hit this get */
		API_CHECK(status == 0 || (status == WEFT_ETASK && wf_fault_fired()));
	}
	wf_fault_arm(-1, 0);
	API_CHECK(weft_release_many(rt, refs, n) == 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	get_once(FAULT_POINTS_MAX); /* none fails: threads and stacks that are kept for reuse */
	wf_fault_arm(-1, 0);
	const struct fault_census before = fault_census();
	const uint64_t points = fault_sweep(get_once);

	printf("%llu points\n", (unsigned long long)points);
	API_CHECK(points > 0);
	fault_census_check(&before);
	return 0;
}
