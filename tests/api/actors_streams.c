/*
 * Goal: a method that gives items is a generator like any task, in its actor's order; its items
 * end once and as they must when the actor crashes, is killed or is dead. (Row A25.)
 * Method: the bodies of the tests of generators, called on actors, with gates and windows that hold
 * them where something is to happen.
 */
#include "actors.h"
#include "generator.h"

static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 0);
static const struct weft_actor_class twice = ACT_CLASS(.max_restarts = 1, .max_task_retries = 1);

static weft_ref gen_call(weft *rt, weft_actor actor, weft_task_fn *fn, void *arg,
                         const struct weft_task_options *opts)
{
	return api_submit(rt, WEFT_TASK(fn, API_POINTER(arg), .actor = actor, .opts = opts));
}

static void expect_items(weft *rt, weft_ref gen, int64_t first, int64_t end)
{
	for (int64_t i = first; i < end; i++)
		cr_assert_eq(gen_take_next(rt, gen), i);
}

Test(actors_streams, items_come_one_by_one_and_later_calls_after_the_last)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	struct api_gate gate = API_GATE_INIT;
	struct gen_plan plan = { .good = 20, .gate = &gate, .at = 10 };
	weft_ref gen = gen_call(rt, actor, gen_body_counts, &plan, GEN_STREAM());
	weft_ref later = act_call(rt, actor, act_add, &(int64_t){ 3 }, 8);

	expect_items(rt, gen, 0, 10);
	cr_assert_eq(weft_peek(rt, later), 0);
	api_gate_open(&gate);
	expect_items(rt, gen, 10, 20);
	gen_expect_end(rt, gen);
	cr_assert_eq(api_take_i64(rt, later), 3);
	act_release(rt, actor);
	gen_release_and_close(rt, gen);
}

Test(actors_streams, a_full_window_holds_the_actor_and_no_worker)
{
	weft *rt = api_open(1);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_actor other = act_create(rt, &plain, NULL, NULL);
	struct gen_plan plan = { .good = 5 };
	weft_ref gen = gen_call(rt, actor, gen_body_counts, &plan, GEN_STREAM(.window = 2));
	weft_ref later = act_call(rt, actor, act_add, &(int64_t){ 3 }, 8);

	api_await_count(&plan.given, 1);
	/* On the only worker. */
	cr_assert_eq(act_value(rt, other), 0);
	cr_assert_eq(weft_peek(rt, later), 0);
	expect_items(rt, gen, 0, 3);
	/* Nobody wants the others. */
	api_release(rt, gen);
	cr_assert_eq(api_take_i64(rt, later), 3);
	cr_assert_eq(api_read(&plan.ended), 1);
	act_release(rt, actor);
	act_release(rt, other);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* What comes after the items that were given when the actor has died of it. */
static void expect_dead(weft *rt, weft_ref gen)
{
	cr_assert_eq(gen_take_next(rt, gen), WEFT_EACTOR);
	gen_expect_end(rt, gen);
	api_release(rt, gen);
}

Test(actors_streams, a_kill_ends_it_after_what_was_given)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	struct gen_plan running = { .good = 100 }, queued = { .good = 3 }, late = { .good = 3 };
	weft_ref gens[3];

	gens[0] = gen_call(rt, actor, gen_body_counts, &running, GEN_STREAM(.window = 4));
	gens[1] = gen_call(rt, actor, gen_body_counts, &queued, GEN_STREAM());
	expect_items(rt, gens[0], 0, 2);
	/* Two were taken: it has gone on to the next four, and waits in its window. */
	api_await_state(rt, gens[0], WEFT_REF_BLOCKED);
	cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
	gens[2] = gen_call(rt, actor, gen_body_counts, &late, GEN_STREAM());
	for (int64_t i = 2, got = i; got >= 0; i++) {
		got = gen_take_next(rt, gens[0]);
		cr_assert(got == i || (got == WEFT_EACTOR && i >= 4));
	}
	gen_expect_end(rt, gens[0]);
	api_release(rt, gens[0]);
	expect_dead(rt, gens[1]);
	expect_dead(rt, gens[2]);
	cr_assert(running.last < 0 && api_read(&running.ended) == 1);
	cr_assert(api_read(&queued.made) == 0 && api_read(&late.made) == 0);
	act_await_dead(rt, actor);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int gives_and_crashes_once(weft_task *self)
{
	struct gen_plan *plan = api_arg_pointer(self);
	const bool first = api_add(&plan->ended, 1) == 1;

	for (int64_t i = 0; i < plan->good; i++) {
		if (first && i == plan->at)
			return weft_actor_crash(self, "on purpose");
		API_CHECK(weft_emit(self, &i, sizeof i) == 0);
	}
	return 0;
}

Test(actors_streams, one_that_runs_again_gives_no_item_twice)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &twice, NULL, NULL);
	struct gen_plan plan = { .good = 8, .at = 5 };
	weft_ref gen = gen_call(rt, actor, gives_and_crashes_once, &plan, GEN_STREAM());

	expect_items(rt, gen, 0, 8);
	gen_expect_end(rt, gen);
	cr_assert_eq(api_read(&plan.ended), 2);
	act_release(rt, actor);
	gen_release_and_close(rt, gen);
}

static void fixed(const struct weft_actor_class *class_, int64_t at, int wanted)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, class_, NULL, NULL);
	struct gen_plan plan = { .good = 3, .at = at };
	weft_ref refs[3];

	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(gives_and_crashes_once, API_POINTER(&plan), .actor = actor,
	                              .opts = WEFT_TASK_OPTIONS(.n_outputs = 3,
	                                                        .flags = WEFT_TASK_EMITS)),
	                    refs),
		0);
	for (int64_t i = 0; i < 3; i++) {
		int64_t value = -1;
		const int64_t rc = weft_take(rt, refs[i], &value, sizeof value);

		cr_assert_eq(rc < 0 ? rc : 0, wanted);
		cr_assert_eq(value, wanted ? -1 : i);
	}
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_streams, a_number_of_outputs_is_given_or_all_end_with_their_actor)
{
	fixed(&plain, 3, 0);
	fixed(&twice, 2, 0);
	fixed(&plain, 2, WEFT_EACTOR);
}

Test(actors_streams, a_list_of_items_is_one_value)
{
	weft *rt = api_open(2);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	struct gen_plan plan = { .good = 4 };
	weft_ref list = gen_call(rt, actor, gen_body_counts, &plan,
	                         WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_LIST));

	struct weft_view view;

	cr_assert_eq(weft_get(rt, list, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 4 * sizeof(weft_ref));
	for (int64_t i = 0, value; i < 4; i++) {
		cr_assert_eq(weft_get_copy(rt, ((const weft_ref *)view.data)[i], &value, 8), 8);
		cr_assert_eq(value, i);
	}
	api_release(rt, list);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}
