/*
 * Goal: what a function can check at once it answers with the documented code and untouched
 * outputs: no runtime, wrong place, fork children, other runtimes' handles, random handles.
 * Method: every function with NULL; functions of tasks called outside and the reverse; a real fork;
 * a million random and nearly right handles.
 */
#include <sys/wait.h>

#include "api.h"
#include "test.h"

static void never(void *arg, weft_ref ref, int status)
{
	(void)arg, (void)ref, (void)status;
	API_CHECK(!"must not be called");
}

static void never_line(void *arg, const char *line)
{
	(void)arg, (void)line;
	API_CHECK(!"must not be called");
}

Test(misuse, no_runtime_is_refused_everywhere)
{
	const weft_ref ref = { 1 };
	weft_ref out = api_poison_ref();
	struct weft_info info = { .struct_size = sizeof info };
	struct weft_stats stats = { .struct_size = sizeof stats };
	weft_cq *cq = NULL;
	struct weft_view view = api_poison_view();

	cr_assert_eq(weft_retain_runtime(NULL), -EINVAL);
	cr_assert_eq(weft_info(NULL, &info), -EINVAL);
	cr_assert_eq(weft_clock_advance(NULL, 1), -EINVAL);
	cr_assert_eq(weft_run(NULL, WEFT_NONE, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_put(NULL, NULL, 0, &out), -EINVAL);
	cr_assert_eq(weft_join(NULL, NULL, 0, 0, &out), -EINVAL);
	cr_assert_eq(weft_event_create(NULL, &out), -EINVAL);
	cr_assert_eq(weft_get(NULL, ref, WEFT_POLL, &view), -EINVAL);
	cr_assert_eq(weft_peek(NULL, ref), -EINVAL);
	cr_assert_eq(weft_cq_create(NULL, &cq), -EINVAL);
	cr_assert_eq(weft_on_done(NULL, ref, never, NULL), -EINVAL);
	cr_assert_eq(weft_stats(NULL, &stats), -EINVAL);
	cr_assert_eq(weft_dump(NULL, never_line, NULL), -EINVAL);
	cr_assert_eq(weft_sleep_until(NULL, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_block_enter(NULL, WEFT_BLOCK_HOLD), -EINVAL);
	weft_block_exit(NULL);
	weft_interrupt(NULL);
	weft_release_runtime(NULL);
	weft_cq_destroy(NULL);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert(api_view_untouched(&view));
	cr_assert_null(cq);
}

Test(misuse, no_place_for_the_result_is_refused)
{
	weft *rt = api_open(1);

	cr_assert_eq(weft_put(rt, "x", 1, NULL), -EINVAL);
	cr_assert_eq(weft_dump(rt, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_stats(rt, NULL), -EINVAL);
	cr_assert_eq(weft_put(rt, NULL, 1, &(weft_ref){ 0 }), -EINVAL);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int in_the_wrong_place(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_run(rt, WEFT_NONE, WEFT_FOREVER) == -EDEADLK);
	API_CHECK(weft_run(rt, weft_task_ref(self), WEFT_FOREVER) == -EDEADLK);
	API_CHECK(weft_close(rt, WEFT_FOREVER) == -EDEADLK);
	return 0;
}

Test(misuse, calls_that_belong_outside_are_refused_in_a_task)
{
	weft *rt = api_open(2);

	cr_assert_eq(api_end(rt, api_spawn(rt, in_the_wrong_place, NULL, 0)), 0);
	api_close(rt);
}

Test(misuse, a_fork_child_is_refused)
{
	weft *rt = api_open(2);
	weft_ref ready = api_put_i64(rt, 1);
	int status = -1;
	const pid_t child = fork();

	cr_assert_geq(child, 0);
	if (child == 0) {
		weft_ref out = api_poison_ref();
		int bad = 0;

		bad |= (weft_spawn(rt, api_body_nothing, NULL, 0, &out) != -ECHILD) << 0;
		bad |= (weft_submit(rt, WEFT_TASK(api_body_nothing), &out) != -ECHILD) << 1;
		bad |= (weft_close(rt, WEFT_POLL) != -ECHILD) << 2;
		bad |= (out.bits != API_POISON) << 3;
		_exit(bad);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status));
	cr_assert_eq(WEXITSTATUS(status), 0, "which of the calls: 0x%x", WEXITSTATUS(status));
	cr_assert_eq(api_take_i64(rt, ready), 1, "the parent goes on");
	api_close(rt);
}

Test(misuse, random_handles_are_never_taken_for_good_ones)
{
	weft *rt = api_open(1);
	uint64_t state = test_seed();
	weft_ref good[64];
	const uint32_t n = api_scaled(300000);

	for (int i = 0; i < 64; i++)
		good[i] = i % 2 ? api_put_i64(rt, i) : api_event(rt);
	for (uint32_t i = 0; i < n; i++) {
		weft_ref wild;
		bool is_good = false;

		state = state * 6364136223846793005u + 1442695040888963407u;
		wild.bits = i % 2 ? state : good[i % 64].bits ^ 1ull << (state >> 58);
		for (int k = 0; k < 64; k++)
			is_good |= wild.bits == good[k].bits;
		if (!is_good)
			cr_assert_eq(weft_peek(rt, wild), -EINVAL, "bits %llx",
			             (unsigned long long)wild.bits);
		if (!is_good && i % 8 == 0)
			cr_assert_eq(weft_release(rt, wild), -EINVAL);
	}
	cr_assert_eq(weft_release_many(rt, good, 64), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}
