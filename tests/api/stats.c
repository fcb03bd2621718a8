/*
 * Goal: the counters add up when nothing runs, and the dump names what is blocked and on what.
 * Method: known numbers of outcomes; lines of the dump searched for names.
 */
#include "api.h"
#include "test.h"

static struct weft_stats read_stats(weft *rt)
{
	struct weft_stats stats = { .struct_size = sizeof stats };

	API_CHECK(weft_stats(rt, &stats) == 0);
	return stats;
}

Test(stats, outcomes_are_counted)
{
	enum { GOOD = 100, BAD = 30, GONE = 20 };
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), refs[GOOD + BAD + GONE];
	const int64_t code = -1;

	for (int i = 0; i < GOOD + BAD + GONE; i++) {
		if (i < GOOD)
			refs[i] = api_spawn(rt, api_body_nothing, NULL, 0);
		else if (i < GOOD + BAD)
			refs[i] = api_spawn(rt, api_body_fail, &code, sizeof code);
		else
			refs[i] = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
		if (i >= GOOD + BAD)
			cr_assert_eq(weft_cancel(rt, refs[i]), 0);
	}
	for (int i = 0; i < GOOD + BAD + GONE; i++)
		api_get(rt, refs[i]);
	/* Exact when nothing runs: a task that just gave its result may not be counted yet. */
	struct weft_stats stats = read_stats(rt);
	const int64_t start = api_now();
	while (stats.completed + stats.failed + stats.cancelled < stats.submitted) {
		api_polling(start, "all ends are counted");
		stats = read_stats(rt);
	}
	cr_assert_eq(stats.submitted, GOOD + BAD + GONE);
	cr_assert_eq(stats.completed, GOOD);
	cr_assert_eq(stats.failed, BAD);
	cr_assert_eq(stats.cancelled, GONE);
	cr_assert_eq(stats.tasks_live, GOOD + BAD + GONE + 1);
	cr_assert_eq(weft_release_many(rt, refs, GOOD + BAD + GONE), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(stats, blocked_tasks_show_in_stacks_and_suspensions)
{
	weft *rt = api_open(1);
	weft_ref event = api_event(rt), refs[50];

	for (int i = 0; i < 50; i++)
		refs[i] = api_spawn(rt, api_body_get, &event, sizeof event);
	for (int i = 0; i < 50; i++)
		api_await_state(rt, refs[i], WEFT_REF_BLOCKED);
	cr_assert_geq(read_stats(rt).stacks_live, 50);
	/* Exact when nothing runs: the last one may still be on its way to sleep. */
	const int64_t start = api_now();
	while (read_stats(rt).suspended < 50)
		api_polling(start, "all suspensions are counted");
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_geq(read_stats(rt).stacks_max_live, 50);
	api_release(rt, event);
	api_close(rt);
}

struct found {
	bool blocked;
	uint32_t lines;
};

static void look(void *arg, const char *line)
{
	struct found *found = arg;

	API_CHECK(strchr(line, '\n') == NULL);
	found->lines++;
	found->blocked |= strstr(line, "waits for godot") != NULL;
}

Test(stats, the_dump_names_blocked_tasks)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt);
	struct found found = { 0 };
	weft_ref ref = api_submit(rt,
	                          WEFT_TASK(api_body_get, WEFT_ARG(event),
	                                    .opts = WEFT_TASK_OPTIONS(.name = "waits for godot")));

	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	/* It is marked as blocked a moment before its wait can be looked at. */
	const int64_t start = api_now();
	do {
		api_polling(start, "the blocked task is named");
		found.lines = 0;
		cr_assert_eq(weft_dump(rt, look, &found), 0);
		cr_assert_geq(found.lines, 2);
	} while (!found.blocked);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	api_release(rt, event);
	api_close(rt);
}
