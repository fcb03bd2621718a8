/*
 * actors_pool: pools of actors, and timers.
 *
 * Goal: a submit goes to an idle actor or waits for one, each ref is given out once, oldest or
 * first ended; dead actors leave; timers call when they are due, not before, end with a cancel,
 * their actor and the runtime. Method: gates hold bodies where a test needs them; timers run on a
 * virtual clock, so that nothing depends on how long things take.
 */
#include "actors.h"

static const struct weft_actor_class worker_class =
	WEFT_ACTOR_CLASS(.name = "worker", .state_bytes = sizeof(int64_t));

static weft_pool *pool_make(weft *rt, weft_actor *actors, uint32_t n)
{
	weft_pool *pool = NULL;

	for (uint32_t i = 0; i < n; i++)
		actors[i] = act_create(rt, &worker_class, NULL, NULL);
	API_CHECK(weft_pool_create(rt, actors, n, &pool) == 0);
	API_CHECK(pool != NULL);
	return pool;
}

static void release_actors(weft *rt, const weft_actor *actors, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		act_release(rt, actors[i]);
}

static struct weft_pool_info pool_info(weft_pool *pool)
{
	struct weft_pool_info info = { .struct_size = sizeof info };

	API_CHECK(weft_pool_info(pool, &info) == 0);
	return info;
}

static void await_ended(weft_pool *pool, uint32_t ended)
{
	const int64_t start = api_now();

	while (pool_info(pool).ended != ended)
		api_polling(start, "submits have ended");
}

/* Of a pool: passes the gate of its argument, if any, and returns the number. */
struct job {
	struct api_gate *gate;
	int64_t number;
};

static int works(weft_task *self)
{
	const struct job job = *(const struct job *)weft_task_arg(self, NULL);

	++*(int64_t *)weft_actor_state(self);
	if (job.gate)
		api_gate_pass(job.gate);
	return weft_return(self, &job.number, sizeof job.number);
}

static void submit(weft_pool *pool, struct api_gate *gate, int64_t number)
{
	API_CHECK(weft_pool_submit(pool,
	                           WEFT_TASK(works, WEFT_ARG((struct job){ gate, number }))) == 0);
}

static int64_t next_number(weft *rt, weft_pool *pool)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_pool_next(pool, WEFT_FOREVER, &ref) == 0);
	return api_take_i64(rt, ref);
}

static int64_t next_ready_number(weft *rt, weft_pool *pool)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_pool_next_ready(pool, WEFT_FOREVER, &ref) == 0);
	return api_take_i64(rt, ref);
}

static int reads(weft_task *self)
{
	return weft_return(self, weft_actor_state(self), sizeof(int64_t));
}

static int64_t worked(weft *rt, weft_actor actor)
{
	return api_take_i64(rt, act_call(rt, actor, reads, NULL, 0));
}

Test(actors_pool, submits_share_the_actors_and_come_back_in_order)
{
	enum { ACTORS = 3 };
	weft *rt = api_open(2);
	weft_actor actors[ACTORS];
	weft_pool *pool = pool_make(rt, actors, ACTORS);
	const int64_t n = api_scaled(2000) + 1;
	weft_ref ref = { API_POISON };

	cr_assert_eq(weft_pool_next(pool, WEFT_FOREVER, &ref), -ENOENT);
	for (int64_t i = 0; i < n; i++)
		submit(pool, NULL, i);
	for (int64_t i = 0; i < n; i++)
		cr_assert_eq(next_number(rt, pool), i);
	cr_assert_eq(weft_pool_next_ready(pool, WEFT_FOREVER, &ref), -ENOENT);
	cr_assert_eq(ref.bits, API_POISON);
	const struct weft_pool_info info = pool_info(pool);

	cr_assert_eq(info.actors, ACTORS);
	cr_assert_eq(info.idle, ACTORS);
	cr_assert_eq(info.queued + info.running + info.ended, 0);
	weft_pool_destroy(pool);
	release_actors(rt, actors, ACTORS);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_pool, a_submit_waits_for_an_idle_actor_and_the_first_that_ended_can_be_taken)
{
	weft *rt = api_open(3);
	weft_actor actors[2], extra = act_create(rt, &worker_class, NULL, NULL);
	weft_pool *pool = pool_make(rt, actors, 2);
	struct api_gate gates[2] = { API_GATE_INIT, API_GATE_INIT };
	weft_ref ref = { API_POISON };

	submit(pool, &gates[0], 0);
	submit(pool, &gates[1], 1);
	submit(pool, NULL, 2);
	api_gate_await(&gates[0], 1);
	api_gate_await(&gates[1], 1);
	cr_assert_eq(pool_info(pool).queued, 1);
	cr_assert_eq(pool_info(pool).running, 2);
	cr_assert_eq(weft_pool_pop_idle(pool, &extra), -EAGAIN);
	cr_assert_eq(weft_pool_next(pool, WEFT_POLL, &ref), -ETIMEDOUT);
	cr_assert_eq(weft_pool_next_ready(pool, weft_after_ms(rt, 1), &ref), -ETIMEDOUT);
	cr_assert_eq(ref.bits, API_POISON);
	/* One more actor: what waits goes to it. */
	cr_assert_eq(weft_pool_push(pool, actors[0]), -EEXIST);
	cr_assert_eq(weft_pool_push(pool, extra), 0);
	cr_assert_eq(next_ready_number(rt, pool), 2);
	api_gate_open(&gates[1]);
	cr_assert_eq(next_ready_number(rt, pool), 1);
	cr_assert_eq(weft_pool_next_ready(pool, WEFT_POLL, &ref), -ETIMEDOUT);
	api_gate_open(&gates[0]);
	cr_assert_eq(next_number(rt, pool), 0);
	weft_pool_destroy(pool);
	release_actors(rt, actors, 2);
	act_release(rt, extra);
	api_close(rt);
}

Test(actors_pool, an_idle_actor_can_be_taken_out)
{
	weft *rt = api_open(1);
	weft_actor actors[2], out[2] = { { 0 }, { 0 } };
	weft_pool *pool = pool_make(rt, actors, 2);

	cr_assert_eq(weft_pool_pop_idle(pool, &out[0]), 0);
	cr_assert_eq(weft_pool_pop_idle(pool, &out[1]), 0);
	cr_assert_eq(weft_pool_pop_idle(pool, &out[1]), -EAGAIN);
	cr_assert_neq(out[0].bits, out[1].bits);
	/* A pool without actors keeps what is submitted until one comes. */
	submit(pool, NULL, 7);
	cr_assert_eq(pool_info(pool).queued, 1);
	cr_assert_eq(weft_pool_push(pool, out[0]), 0);
	cr_assert_eq(next_number(rt, pool), 7);
	weft_pool_destroy(pool);
	release_actors(rt, out, 2);
	release_actors(rt, actors, 2);
	api_close(rt);
}

static int fails(weft_task *self)
{
	return weft_fail(self, -7, "on purpose");
}

Test(actors_pool, a_failed_call_and_inputs_and_long_arguments_are_as_for_any_call)
{
	weft *rt = api_open(1);
	weft_actor actor;
	weft_pool *pool = pool_make(rt, &actor, 1);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = WEFT_NONE, input = api_put_i64(rt, 40);

	submit(pool, &gate, 0);
	api_gate_await(&gate, 1);
	/* These are kept: their inputs and arguments are copies. */
	cr_assert_eq(weft_pool_submit(pool, WEFT_TASK(fails)), 0);
	cr_assert_eq(weft_pool_submit(pool, WEFT_TASK(api_body_sum, WEFT_INPUTS(input))), 0);
	api_release(rt, input);
	api_gate_open(&gate);
	cr_assert_eq(next_number(rt, pool), 0);
	cr_assert_eq(weft_pool_next(pool, WEFT_FOREVER, &ref), 0);
	cr_assert_eq(api_end(rt, ref), WEFT_ETASK);
	cr_assert_eq(next_number(rt, pool), 40);
	weft_pool_destroy(pool);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_pool, bad_arguments_are_refused_without_a_trace)
{
	weft *rt = api_open(1);
	weft_actor actor, bad[2] = { { 0 }, { 0 } }, poison = { API_POISON };
	weft_pool *pool = pool_make(rt, &actor, 1), *none = NULL;
	struct weft_pool_info info = { .struct_size = 1 };
	struct weft_call call = { .fn = works, .actor = actor };
	static const struct weft_task_options two = { .struct_size = sizeof two, .n_outputs = 2 };
	static const struct weft_task_options items = { .struct_size = sizeof items,
		                                        .n_outputs = WEFT_OUTPUTS_STREAM };

	bad[0] = actor;
	cr_assert_eq(weft_pool_create(rt, bad, 2, &none), -EINVAL);
	bad[1] = actor;
	cr_assert_eq(weft_pool_create(rt, bad, 2, &none), -EEXIST);
	cr_assert_eq(weft_pool_create(rt, NULL, 1, &none), -EINVAL);
	cr_assert_eq(weft_pool_create(NULL, bad, 1, &none), -EINVAL);
	cr_assert_eq(weft_pool_create(rt, bad, 1, NULL), -EINVAL);
	cr_assert_eq(none == NULL, true);
	cr_assert_eq(weft_pool_submit(pool, &call), -EINVAL);
	cr_assert_eq(weft_pool_submit(pool, NULL), -EINVAL);
	cr_assert_eq(weft_pool_submit(NULL, WEFT_TASK(works)), -EINVAL);
	cr_assert_eq(weft_pool_submit(pool, &(struct weft_call){ 0 }), -EINVAL);
	call = (struct weft_call){ .fn = works, .arg = &call, .arg_size = WEFT_ARG_MAX + 1 };
	cr_assert_eq(weft_pool_submit(pool, &call), -EMSGSIZE);
	cr_assert_eq(weft_pool_submit(pool, WEFT_TASK(works, .opts = &two)), -EINVAL);
	cr_assert_eq(weft_pool_submit(pool, WEFT_TASK(works, .opts = &items)), -ENOTSUP);
	cr_assert_eq(weft_pool_push(pool, poison), -EINVAL);
	cr_assert_eq(weft_pool_push(NULL, actor), -EINVAL);
	cr_assert_eq(weft_pool_pop_idle(pool, NULL), -EINVAL);
	cr_assert_eq(weft_pool_pop_idle(NULL, &poison), -EINVAL);
	cr_assert_eq(weft_pool_next(pool, WEFT_POLL, NULL), -EINVAL);
	cr_assert_eq(weft_pool_info(pool, &info), -EINVAL);
	cr_assert_eq(weft_pool_info(NULL, &info), -EINVAL);
	cr_assert_eq(pool_info(pool).idle, 1);
	cr_assert_eq(pool_info(pool).queued + pool_info(pool).ended, 0);
	weft_pool_destroy(pool);
	weft_pool_destroy(NULL);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct dropped {
	weft_pool *pool;
	struct api_count *drops;
};

/* Asks the pool, and submits once more. */
static void drop_uses_the_pool(void *arg, size_t size)
{
	const struct dropped dropped = *(const struct dropped *)arg;

	API_CHECK(size == sizeof dropped);
	API_CHECK(pool_info(dropped.pool).actors == 1);
	if (api_add(dropped.drops, 1) == 1)
		submit(dropped.pool, NULL, 5);
}

/* The input has failed: the submit itself ends the call and drops its argument. */
Test(actors_pool, what_a_submit_drops_may_use_the_pool)
{
	weft *rt = api_open(2);
	weft_actor actor;
	weft_pool *pool = pool_make(rt, &actor, 1);
	struct api_count drops = { 0 };
	const struct dropped dropped = { pool, &drops };
	weft_ref failed = api_event(rt), ref = WEFT_NONE;

	cr_assert_eq(weft_event_fail(rt, failed, -3, "no"), 0);
	cr_assert_eq(weft_pool_submit(
			     pool,
			     WEFT_TASK(works, WEFT_ARG(dropped), WEFT_AFTER(failed),
	                               .opts = WEFT_TASK_OPTIONS(.arg_drop = drop_uses_the_pool))),
	             0);
	cr_assert_eq(weft_pool_next(pool, WEFT_FOREVER, &ref), 0);
	cr_assert_eq(api_end(rt, ref), WEFT_EDEP);
	cr_assert_eq(next_number(rt, pool), 5);
	cr_assert_eq(api_read(&drops), 1);
	weft_pool_destroy(pool);
	api_release(rt, failed);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_pool, dead_actors_leave_and_the_last_one_takes_what_waits_along)
{
	weft *rt = api_open(2);
	weft_actor actors[2];
	weft_pool *pool = pool_make(rt, actors, 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = { API_POISON };

	submit(pool, &gate, 0);
	api_gate_await(&gate, 1);
	/* The idle one dies: nothing is given to it. */
	const int64_t start = api_now();
	uint32_t busy = 2;

	while (busy == 2) {
		for (uint32_t i = 0; i < 2; i++)
			busy = act_phase(rt, actors[i]) == WEFT_ACTOR_RUNNING ? i : busy;
		api_polling(start, "one of them runs");
	}
	cr_assert_eq(weft_actor_kill(rt, actors[1 - busy], WEFT_KILL_NOW), 0);
	submit(pool, NULL, 1);
	submit(pool, NULL, 2);
	cr_assert_eq(pool_info(pool).actors, 1);
	cr_assert_eq(pool_info(pool).queued, 2);
	/* The last one dies while it works. */
	cr_assert_eq(weft_actor_kill(rt, actors[busy], WEFT_KILL_NOW), 0);
	api_gate_open(&gate);
	cr_assert_eq(weft_pool_next(pool, WEFT_FOREVER, &ref), 0);
	cr_assert_eq(api_end(rt, ref), WEFT_EACTOR);
	ref = (weft_ref){ API_POISON };
	cr_assert_eq(weft_pool_next(pool, WEFT_FOREVER, &ref), WEFT_EACTOR);
	cr_assert_eq(weft_pool_next_ready(pool, WEFT_FOREVER, &ref), WEFT_EACTOR);
	cr_assert_eq(ref.bits, API_POISON);
	cr_assert_eq(weft_pool_next(pool, WEFT_FOREVER, &ref), -ENOENT);
	cr_assert_eq(weft_pool_submit(pool, WEFT_TASK(works)), WEFT_EACTOR);
	weft_pool_destroy(pool);
	release_actors(rt, actors, 2);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_pool, a_pool_can_be_destroyed_with_calls_in_every_state)
{
	for (int round = 0; round < 20; round++) {
		weft *rt = api_open(2);
		weft_actor actors[2];
		weft_pool *pool = pool_make(rt, actors, 2);
		struct api_gate gate = API_GATE_INIT;

		submit(pool, NULL, 0);
		await_ended(pool, 1);
		submit(pool, &gate, 1);
		api_gate_await(&gate, 1);
		submit(pool, &gate, 2);
		for (int i = 0; i < 5; i++)
			submit(pool, NULL, 3);
		if (round % 2)
			api_gate_open(&gate);
		weft_pool_destroy(pool);
		api_gate_open(&gate);
		release_actors(rt, actors, 2);
		api_await_no_tasks(rt);
		api_close(rt);
	}
}

static int takes_next(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t number = next_ready_number(rt, api_arg_pointer(self));

	return weft_return(self, &number, sizeof number);
}

Test(actors_pool, many_wait_for_the_same_pool_and_each_ref_is_given_out_once)
{
	enum { N = 50 };
	weft *rt = api_open(2);
	weft_actor actors[2];
	weft_pool *pool = pool_make(rt, actors, 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref tasks[N];
	bool seen[N] = { false };

	submit(pool, &gate, 0);
	api_gate_await(&gate, 1);
	for (int i = 1; i < N; i++)
		submit(pool, &gate, i);
	for (int i = 0; i < N; i++)
		tasks[i] = api_submit(rt, WEFT_TASK(takes_next, API_POINTER(pool)));
	api_gate_open(&gate);
	for (int i = 0; i < N; i++) {
		const int64_t number = api_take_i64(rt, tasks[i]);

		cr_assert(number >= 0 && number < N && !seen[number]);
		seen[number] = true;
	}
	cr_assert_eq(worked(rt, actors[0]) + worked(rt, actors[1]), N);
	weft_pool_destroy(pool);
	release_actors(rt, actors, 2);
	api_close(rt);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

#define MS INT64_C(1000000)

static void advance(weft *rt, int64_t ns)
{
	API_CHECK(weft_clock_advance(rt, ns) == 0);
}

static int64_t count_of(weft *rt, weft_actor actor)
{
	return api_take_i64(rt, act_call(rt, actor, act_add, &(int64_t){ 0 }, sizeof(int64_t)));
}

static int counts(weft_task *self)
{
	++((struct act_state *)weft_actor_state(self))->n;
	return 0;
}

static void await_counted(weft *rt, weft_actor actor, int64_t n)
{
	const int64_t start = api_now();

	while (count_of(rt, actor) < n)
		api_polling(start, "a timer's call");
}

Test(actors_pool, a_delayed_call_is_made_when_it_is_due_and_not_before)
{
	static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 5);
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref timer = WEFT_NONE;
	const int64_t seven = 7;

	cr_assert_eq(weft_tell_after(rt, actor, 10 * MS, act_add, &seven, sizeof seven, &timer), 0);
	api_await_state(rt, timer, WEFT_REF_BLOCKED);
	advance(rt, 9 * MS);
	cr_assert_eq(weft_peek(rt, timer), 0);
	cr_assert_eq(count_of(rt, actor), 0);
	advance(rt, 1 * MS);
	cr_assert_eq(api_end(rt, timer), 0);
	cr_assert_eq(count_of(rt, actor), 7);
	/* At once, and without anybody who asks. */
	cr_assert_eq(weft_tell_after(rt, actor, 0, act_add, &seven, sizeof seven, NULL), 0);
	await_counted(rt, actor, 14);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_pool, a_cancelled_timer_calls_no_more)
{
	static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 5);
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	weft_ref once = WEFT_NONE, again = WEFT_NONE;

	cr_assert_eq(weft_tell_after(rt, actor, 10 * MS, counts, NULL, 0, &once), 0);
	cr_assert_eq(weft_cancel(rt, once), 0);
	cr_assert_eq(api_end(rt, once), -ECANCELED);
	cr_assert_eq(weft_tell_every(rt, actor, 10 * MS, counts, NULL, 0, &again), 0);
	for (int64_t i = 1; i <= 5; i++) {
		/* It has slept again before time moves on. */
		api_await_state(rt, again, WEFT_REF_BLOCKED);
		const int64_t start = api_now();

		while (count_of(rt, actor) < i) {
			advance(rt, 10 * MS);
			api_polling(start, "a period");
		}
	}
	cr_assert_eq(weft_cancel(rt, again), 0);
	cr_assert_eq(api_end(rt, again), -ECANCELED);
	const int64_t n = count_of(rt, actor);

	advance(rt, 1000 * MS);
	cr_assert_eq(count_of(rt, actor), n);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int passes_gate_and_counts(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return counts(self);
}

Test(actors_pool, a_period_that_its_actor_cannot_follow_is_left_out)
{
	static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 5);
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref timer = WEFT_NONE;

	cr_assert_eq(weft_tell_every(rt, actor, MS, passes_gate_and_counts, &(void *){ &gate },
	                             sizeof(void *), &timer),
	             0);
	api_await_state(rt, timer, WEFT_REF_BLOCKED);
	advance(rt, MS);
	api_gate_await(&gate, 1);
	/* Ninety-nine more are due while the first one runs. */
	advance(rt, 99 * MS);
	api_gate_open(&gate);
	await_counted(rt, actor, 1);
	cr_assert_eq(count_of(rt, actor), 1);
	cr_assert_eq(weft_cancel(rt, timer), 0);
	api_end(rt, timer);
	cr_assert_eq(count_of(rt, actor), 1);
	act_release(rt, actor);
	api_close(rt);
}

Test(actors_pool, a_timer_ends_with_its_actor_and_does_not_keep_it)
{
	struct act_log log = { 0 };
	static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 5);
	weft *rt = api_open_flags(2, WEFT_OPEN_VIRTUAL_CLOCK);
	weft_actor actor = act_create(rt, &plain, NULL, &log);
	weft_ref once = WEFT_NONE, again = WEFT_NONE, none = { API_POISON };

	cr_assert_eq(weft_tell_after(rt, actor, 10 * MS, counts, NULL, 0, &once), 0);
	cr_assert_eq(weft_tell_every(rt, actor, 10 * MS, counts, NULL, 0, &again), 0);
	cr_assert_eq(weft_tell_every(rt, actor, 0, counts, NULL, 0, &none), -EINVAL);
	cr_assert_eq(weft_tell_every(rt, actor, -1, counts, NULL, 0, &none), -EINVAL);
	cr_assert_eq(weft_tell_after(rt, actor, -1, counts, NULL, 0, &none), -EINVAL);
	cr_assert_eq(weft_tell_after(rt, actor, 1, NULL, NULL, 0, &none), -EINVAL);
	cr_assert_eq(weft_tell_after(rt, actor, 1, counts, NULL, 1, &none), -EINVAL);
	cr_assert_eq(weft_tell_after(NULL, actor, 1, counts, NULL, 0, &none), -EINVAL);
	cr_assert_eq(weft_tell_after(rt, actor, 1, counts, &log, WEFT_ARG_MAX + 1, &none),
	             -EMSGSIZE);
	cr_assert_eq(weft_tell_after(rt, (weft_actor){ API_POISON }, 1, counts, NULL, 0, &none),
	             -EINVAL);
	cr_assert_eq(none.bits, API_POISON);
	act_release(rt, actor);
	api_await_count(&log.finis, 1);
	cr_assert_eq(api_end(rt, once), -ECANCELED);
	cr_assert_eq(api_end(rt, again), -ECANCELED);
	api_await_no_tasks(rt);
	cr_assert_eq(weft_tell_after(rt, actor, 1, counts, NULL, 0, &none), -EINVAL);
	api_close(rt);
}

Test(actors_pool, close_does_not_wait_for_timers)
{
	static const struct weft_actor_class plain = ACT_CLASS(.max_pending = 5);
	weft *rt = api_open(1);
	weft_actor actor = act_create(rt, &plain, NULL, NULL);

	/* An hour. */
	cr_assert_eq(weft_tell_after(rt, actor, 3600000 * MS, counts, NULL, 0, NULL), 0);
	cr_assert_eq(weft_tell_every(rt, actor, 3600000 * MS, counts, NULL, 0, NULL), 0);
	cr_assert_eq(weft_tell_after(rt, actor, INT64_MAX, counts, NULL, 0, NULL), 0);
	api_close(rt);
}
