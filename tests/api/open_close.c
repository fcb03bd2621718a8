/*
 * Goal: a runtime opens and closes in its numbered steps, with work left or not, many times and
 * many at once, and leaves no descriptor, mapping, thread or memory behind.
 * Method: submits that race the close from outside and inside, counts in /proc/self.
 */
#include <dirent.h>

#include "api.h"
#include "test.h"

Test(open_close, defaults_open_and_close)
{
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, NULL), 0);
	cr_assert_not_null(rt);
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_eq(weft_open(NULL, NULL), -EINVAL);
	cr_assert_eq(weft_close(NULL, WEFT_FOREVER), 0);
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	API_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static unsigned maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	unsigned lines = 0;
	int c;

	API_CHECK(file != NULL);
	while ((c = fgetc(file)) != EOF)
		lines += c == '\n';
	fclose(file);
	return lines;
}

Test(open_close, a_thousand_times_leaves_nothing_behind)
{
	const uint32_t n = WF_TSAN ? 50 : WF_ASAN ? 200 : 1000;
	unsigned fds = 0, mappings = 0, threads = 0;

	for (uint32_t i = 0; i < n; i++) {
		weft *rt = api_open(2);

		if (i % 10 == 0) {
			weft_cq *cq = NULL;

			cr_assert_eq(weft_cq_create(rt, &cq), 0);
			cr_assert_geq(weft_cq_fd(cq), 0);
			weft_cq_destroy(cq);
			cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
		}
		api_close(rt);
		if (i == 10) {
			fds = entries("/proc/self/fd");
			threads = entries("/proc/self/task");
			mappings = maps();
		}
	}
	cr_assert_eq(entries("/proc/self/fd"), fds);
	cr_assert_leq(entries("/proc/self/task"), threads);
	if (!WF_TSAN && !WF_ASAN)
		cr_assert_leq(maps(), mappings + 8, "%u mappings, were %u", maps(), mappings);
}

static int closes(weft_task *self)
{
	API_CHECK(weft_close(weft_task_runtime(self), WEFT_POLL) == -EDEADLK);
	return 0;
}

Test(open_close, a_task_cannot_close_its_own_runtime)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_spawn(rt, closes, NULL, 0)), 0);
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0);
	api_close(rt);
}

static int opens_another(weft_task *self)
{
	weft *other = api_open(1);
	const int64_t value = 6;

	API_CHECK(other != weft_task_runtime(self));
	API_CHECK(weft_current() == weft_task_runtime(self));
	const int64_t back =
		api_take_i64(other, api_spawn(other, api_body_identity, &value, sizeof value));
	api_close(other);
	return weft_return(self, &back, sizeof back);
}

Test(open_close, a_task_may_open_use_and_close_another_runtime)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_take_i64(rt, api_spawn(rt, opens_another, NULL, 0)), 6);
	api_close(rt);
}

static int reports_current(weft_task *self)
{
	weft *current = weft_current();

	API_CHECK(current == weft_task_runtime(self));
	return 0;
}

Test(open_close, current_is_the_tasks_or_the_newest_open_one)
{
	cr_assert_null(weft_current());
	weft *a = api_open(1);
	cr_assert_eq(weft_current(), a);
	weft *b = api_open(1);
	cr_assert_eq(weft_current(), b);
	cr_assert_eq(api_end(a, api_spawn(a, reports_current, NULL, 0)), 0);
	cr_assert_eq(api_end(b, api_spawn(b, reports_current, NULL, 0)), 0);
	api_close(b);
	cr_assert_eq(weft_current(), a);
	api_close(a);
	cr_assert_null(weft_current());
}

Test(open_close, others_who_hold_the_runtime_keep_it_open)
{
	weft *rt = api_open(1);

	cr_assert_eq(weft_retain_runtime(rt), 0);
	cr_assert_eq(weft_retain_runtime(rt), 0);
	cr_assert_eq(weft_close(rt, WEFT_POLL), -EBUSY);
	weft_release_runtime(rt);
	cr_assert_eq(weft_close(rt, WEFT_POLL), -EBUSY);
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0, "it still works");
	weft_release_runtime(rt);
	cr_assert_eq(weft_retain_runtime(NULL), -EINVAL);
	weft_release_runtime(NULL);
	api_close(rt);
}

static int counts_then_spawns(weft_task *self)
{
	struct api_count *left = api_arg_pointer(self);
	void *arg = left;

	if (api_add(left, (uint64_t)-1) != 0)
		API_CHECK(weft_spawn(weft_task_runtime(self), counts_then_spawns, &arg, sizeof arg,
		                     NULL) == 0);
	return 0;
}

Test(open_close, a_draining_close_takes_the_submits_of_running_tasks)
{
	weft *rt = api_open(2);
	struct api_count left = { 0 };
	void *arg = &left;

	api_set(&left, 1000);
	cr_assert_eq(weft_spawn(rt, counts_then_spawns, &arg, sizeof arg, NULL), 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&left), 0);
}

struct late {
	struct api_gate gate;
	struct api_count refused;
};

static int submits_while_cancelled(weft_task *self)
{
	struct late *late = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	weft_ref out = api_poison_ref();
	const int64_t start = api_now();

	api_gate_pass(&late->gate);
	while (!weft_task_cancelled(self))
		api_polling(start, "close cancels what runs");
	API_CHECK(weft_spawn(rt, api_body_nothing, NULL, 0, &out) == WEFT_ECLOSED);
	API_CHECK(weft_submit(rt, WEFT_TASK(api_body_nothing), &out) == WEFT_ECLOSED);
	API_CHECK(weft_put(rt, "", 1, &out) == WEFT_ECLOSED);
	API_CHECK(out.bits == API_POISON);
	api_add(&late->refused, 1);
	return -ECANCELED;
}

Test(open_close, work_left_is_cancelled_and_running_bodies_are_waited_for)
{
	weft *rt = api_open(1);
	struct late late = { .gate = API_GATE_INIT };
	struct api_count ran = { 0 };

	api_submit(rt, WEFT_TASK(submits_while_cancelled, API_POINTER(&late)));
	api_gate_await(&late.gate, 1);
	for (int i = 0; i < 100; i++)
		api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&ran)));
	api_gate_open(&late.gate);
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_eq(api_read(&late.refused), 1);
	cr_assert_eq(api_read(&ran), 0);
}

struct closing {
	weft *rt;
	struct api_gate gate;
	struct api_count stop;
};

static int holds_the_close(weft_task *self)
{
	api_gate_pass(&((struct closing *)api_arg_pointer(self))->gate);
	return 0;
}

static void *closes_later(void *arg)
{
	struct closing *closing = arg;

	API_CHECK(weft_close(closing->rt, WEFT_FOREVER) == 0);
	return NULL;
}

Test(open_close, submits_from_outside_are_refused_while_it_drains)
{
	struct closing closing = { .gate = API_GATE_INIT };
	weft_ref out = api_poison_ref();
	int status;
	weft *rt = api_open(1);

	closing.rt = rt;
	cr_assert_eq(weft_spawn(rt, holds_the_close, &(void *){ &closing }, sizeof(void *), NULL),
	             0);
	api_gate_await(&closing.gate, 1);
	pthread_t thread = api_thread(closes_later, &closing);
	const int64_t start = api_now();
	while ((status = weft_spawn(rt, api_body_nothing, NULL, 0, NULL)) == 0)
		api_polling(start, "the close has begun");
	cr_assert_eq(status, WEFT_ECLOSED);
	cr_assert_eq(weft_spawn(rt, api_body_nothing, NULL, 0, &out), WEFT_ECLOSED);
	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing), &out), WEFT_ECLOSED);
	cr_assert_eq(weft_put(rt, "", 1, &out), WEFT_ECLOSED);
	cr_assert_eq(weft_retain_runtime(rt), WEFT_ECLOSED);
	cr_assert_eq(out.bits, API_POISON);
	api_gate_open(&closing.gate);
	api_join(thread);
}

Test(open_close, what_waits_for_the_outside_for_ever_is_cancelled_at_the_drain_time)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);

	for (int i = 0; i < 20; i++) {
		api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
		api_spawn(rt, api_body_get, &event, sizeof event);
	}
	const weft_deadline until = weft_after_ms(rt, 10);
	cr_assert_eq(weft_close(rt, until), 1);
	cr_assert_geq(weft_now(NULL), until);
}

static void *uses_a_runtime_of_its_own(void *arg)
{
	struct api_count *sum = arg;

	for (uint32_t i = 0; i < api_scaled(50); i++) {
		weft *rt = api_open(2);

		for (int64_t k = 0; k < 20; k++)
			api_add(sum,
			        (uint64_t)api_take_i64(
					rt, api_spawn(rt, api_body_identity, &k, sizeof k)));
		api_close(rt);
	}
	return NULL;
}

Test(open_close, several_runtimes_live_side_by_side)
{
	struct api_count sum = { 0 };
	pthread_t threads[4];

	for (int t = 0; t < 4; t++)
		threads[t] = api_thread(uses_a_runtime_of_its_own, &sum);
	for (int t = 0; t < 4; t++)
		api_join(threads[t]);
	cr_assert_eq(api_read(&sum), 4 * 190 * api_scaled(50));
}

struct other {
	weft *rt;
};

static int uses_another(weft_task *self)
{
	const struct other *other = weft_task_arg(self, NULL);
	const int64_t value = 14;
	weft_ref ref = api_spawn(other->rt, api_body_identity, &value, sizeof value);
	struct weft_view view = api_poison_view();

	API_CHECK(weft_get(weft_task_runtime(self), ref, WEFT_POLL, &view) == -EINVAL);
	API_CHECK(api_view_untouched(&view));
	const int64_t back = api_take_i64(other->rt, ref);
	return weft_return(self, &back, sizeof back);
}

static void use_each_other(bool both_ways)
{
	weft *a = api_open(1), *b = api_open(1);
	const struct other to_b = { b }, to_a = { a };
	weft_ref refs[20];

	for (int i = 0; i < 20; i++)
		refs[i] = both_ways && i % 2 ? api_spawn(b, uses_another, &to_a, sizeof to_a)
					     : api_spawn(a, uses_another, &to_b, sizeof to_b);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_take_i64(both_ways && i % 2 ? b : a, refs[i]), 14);
	api_close(a);
	api_close(b);
}

Test(open_close, a_task_gets_from_another_runtime)
{
	use_each_other(false);
}

Test(open_close, tasks_of_two_runtimes_wait_for_each_others_work)
{
	use_each_other(true);
}
