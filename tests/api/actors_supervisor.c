/*
 * actors_supervisor: crashes by code, and actors that begin anew together.
 *
 * Goal: exactly those that the strategy names lose their state, all keep their handles and queued
 * calls, one crash counts once, and one too many is the end of all. Method: each child counts its
 * inits and adds up numbers; what happens after a crash is waited for by these counts. Periods are
 * measured on a virtual clock.
 */
#include "actors.h"

#define KIDS 4

struct kid_log {
	struct api_count inits, finis, drops;
	struct api_count fail_next; /* inits that will fail */
	struct api_count *order;    /* of finis */
	uint64_t place;             /* in it */
};

struct kid_state {
	struct kid_log *log;
	int64_t sum;
};

static int kid_init(weft_task *self)
{
	struct kid_state *state = weft_actor_state(self);
	struct kid_log *log = api_arg_pointer(self);

	API_CHECK(!state->log && !state->sum);
	if (api_read(&log->fail_next)) {
		api_set(&log->fail_next, api_read(&log->fail_next) - 1);
		api_add(&log->inits, 1);
		return weft_fail(self, -7, "init fails");
	}
	state->log = log;
	api_add(&log->inits, 1);
	return 0;
}

static int kid_fini(weft_task *self)
{
	struct kid_log *log = ((struct kid_state *)weft_actor_state(self))->log;

	api_add(&log->finis, 1);
	if (log->order)
		log->place = api_add(log->order, 1);
	return 0;
}

static void kid_drop(void *memory, size_t size)
{
	struct kid_state *state = memory;

	API_CHECK(size == sizeof *state);
	if (state->log)
		api_add(&state->log->drops, 1);
}

static const struct weft_actor_class kid_class =
	WEFT_ACTOR_CLASS(.name = "kid", .state_bytes = sizeof(struct kid_state), .init = kid_init,
                         .fini = kid_fini, .drop = kid_drop,
                         .max_restarts = WEFT_RESTARTS_UNLIMITED);
static const struct weft_actor_class few_class =
	WEFT_ACTOR_CLASS(.name = "few", .state_bytes = sizeof(struct kid_state), .init = kid_init,
                         .fini = kid_fini, .drop = kid_drop, .max_restarts = 5);

static int kid_add(weft_task *self)
{
	struct kid_state *state = weft_actor_state(self);

	state->sum += *(const int64_t *)weft_task_arg(self, NULL);
	return weft_return(self, &state->sum, sizeof state->sum);
}

static int kid_crash(weft_task *self)
{
	return weft_fail(self, WEFT_ECRASH, "number %d", 3);
}

static int kid_crash_bare(weft_task *self)
{
	(void)self;
	return WEFT_ECRASH;
}

static int64_t kid_sum(weft *rt, weft_actor kid)
{
	return api_take_i64(rt, act_call(rt, kid, kid_add, &(int64_t){ 0 }, sizeof(int64_t)));
}

static weft_actor kid_make(weft *rt, const struct weft_actor_class *class_, struct kid_log *log)
{
	return act_create(rt, class_, NULL, (struct act_log *)(void *)log);
}

static uint32_t restarts_of(weft *rt, weft_actor actor)
{
	struct weft_actor_info info = { .struct_size = sizeof info };

	API_CHECK(weft_actor_info(rt, actor, &info) == 0);
	return info.restarts;
}

/* ---- A crash by code --------------------------------------------------------------------- */

Test(actors_supervisor, a_method_that_returns_the_crash_code_has_crashed)
{
	weft *rt = api_open(2);
	struct kid_log log = { 0 };
	weft_actor kid = kid_make(rt, &few_class, &log);
	const struct weft_error *error = NULL;

	cr_assert_eq(api_take_i64(rt, act_call(rt, kid, kid_add, &(int64_t){ 5 }, 8)), 5);
	weft_ref crash = act_call(rt, kid, kid_crash, NULL, 0);
	weft_ref after = act_call(rt, kid, kid_add, &(int64_t){ 2 }, 8);

	cr_assert_eq(api_get(rt, crash), WEFT_EACTOR);
	cr_assert_eq(weft_ref_error(rt, crash, &error), 0);
	cr_assert_str_eq(error->text, "number 3");
	api_release(rt, crash);
	cr_assert_eq(api_take_i64(rt, after), 2);
	cr_assert_eq(api_end(rt, act_call(rt, kid, kid_crash_bare, NULL, 0)), WEFT_EACTOR);
	cr_assert_eq(kid_sum(rt, kid), 0);
	cr_assert_eq(api_read(&log.inits), 3);
	cr_assert_eq(restarts_of(rt, kid), 2);
	/* Without a ref, and with options, which is the long way. */
	cr_assert_eq(weft_actor_call(rt, kid, kid_crash, NULL, 0, NULL), 0);
	cr_assert_eq(kid_sum(rt, kid), 0);
	cr_assert_eq(api_read(&log.inits), 4);
	weft_ref twice = api_submit(
		rt, WEFT_TASK(kid_crash, .actor = kid, .opts = WEFT_TASK_OPTIONS(.retries = 1)));

	cr_assert_eq(api_end(rt, twice), WEFT_EACTOR);
	cr_assert_eq(kid_sum(rt, kid), 0);
	/* One attempt for the call, one for its retry: both crashed: that was the last restart. */
	cr_assert_eq(api_read(&log.inits), 6);
	act_release(rt, kid);
	api_close(rt);
}

Test(actors_supervisor, elsewhere_the_crash_code_is_an_error_like_any_other)
{
	static const struct weft_actor_class plain = WEFT_ACTOR_CLASS(.name = "no restart");
	static const struct weft_actor_class born_dead =
		WEFT_ACTOR_CLASS(.name = "born dead", .init = kid_crash_bare, .max_restarts = 3);
	weft *rt = api_open(1);
	const struct weft_error *error = NULL;
	weft_ref task = api_submit(rt, WEFT_TASK(kid_crash));

	cr_assert_eq(api_get(rt, task), WEFT_ETASK);
	cr_assert_eq(weft_ref_error(rt, task, &error), 0);
	cr_assert_eq(error->code, WEFT_ECRASH);
	api_release(rt, task);
	weft_actor actor = act_create(rt, &born_dead, NULL, NULL);

	act_await_dead(rt, actor);
	cr_assert_eq(restarts_of(rt, actor), 0);
	act_release(rt, actor);
	/* Without a restart left it is the actor's death. */
	actor = act_create(rt, &plain, NULL, NULL);
	cr_assert_eq(api_end(rt, act_call(rt, actor, kid_crash, NULL, 0)), WEFT_EACTOR);
	act_await_dead(rt, actor);
	act_release(rt, actor);
	api_close(rt);
}

/* ---- Families ---------------------------------------------------------------------------- */

struct family {
	weft *rt;
	weft_supervisor *supervisor;
	weft_actor kids[KIDS];
	struct kid_log logs[KIDS];
};

static void family_make(struct family *f, weft *rt, uint32_t strategy, uint32_t intensity)
{
	const struct weft_supervisor_options options = { .struct_size = sizeof options,
		                                         .strategy = strategy,
		                                         .intensity = intensity };

	memset(f, 0, sizeof *f);
	f->rt = rt;
	API_CHECK(weft_supervisor_create(rt, &options, &f->supervisor) == 0);
	for (int i = 0; i < KIDS; i++) {
		f->kids[i] = kid_make(rt, &kid_class, &f->logs[i]);
		API_CHECK(weft_supervisor_add(f->supervisor, f->kids[i]) == 0);
		API_CHECK(api_take_i64(rt, act_call(rt, f->kids[i], kid_add, &(int64_t){ 1 }, 8)) ==
		          1);
	}
}

static void family_end(struct family *f)
{
	weft_supervisor_destroy(f->supervisor);
	for (int i = 0; i < KIDS; i++)
		act_release(f->rt, f->kids[i]);
}

static void family_crash(struct family *f, int which)
{
	API_CHECK(api_end(f->rt, act_call(f->rt, f->kids[which], kid_crash, NULL, 0)) ==
	          WEFT_EACTOR);
}

/* Those from `first` to `last` have begun anew, `inits` times in all, and no other has. */
static void family_check(struct family *f, int first, int last, uint64_t inits)
{
	for (int i = first; i <= last; i++)
		api_await_count(&f->logs[i].inits, inits);
	for (int i = 0; i < KIDS; i++) {
		const bool anew = i >= first && i <= last;

		API_CHECK(kid_sum(f->rt, f->kids[i]) == !anew);
		API_CHECK(api_read(&f->logs[i].inits) == (anew ? inits : 1));
	}
}

Test(actors_supervisor, one_for_one_restarts_the_one_that_crashed)
{
	weft *rt = api_open(2);
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ONE, 1);
	family_crash(&f, 2);
	family_check(&f, 2, 2, 2);
	family_end(&f);
	api_close(rt);
}

Test(actors_supervisor, one_for_all_restarts_all_and_counts_once)
{
	weft *rt = api_open(2);
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ALL, 1);
	family_crash(&f, 1);
	family_check(&f, 0, KIDS - 1, 2);
	family_end(&f);
	api_close(rt);
}

Test(actors_supervisor, rest_for_one_restarts_it_and_those_after_it)
{
	weft *rt = api_open(2);
	struct family f;

	family_make(&f, rt, WEFT_REST_FOR_ONE, 2);
	family_crash(&f, 2);
	family_check(&f, 2, KIDS - 1, 2);
	/* A kill that counts as a crash is one. */
	cr_assert_eq(weft_actor_kill(rt, f.kids[3], WEFT_KILL_RESTART), 0);
	api_await_count(&f.logs[3].inits, 3);
	cr_assert_eq(kid_sum(rt, f.kids[2]), 0);
	cr_assert_eq(api_read(&f.logs[2].inits), 2);
	family_end(&f);
	api_close(rt);
}

static int waits_at_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

Test(actors_supervisor, a_sibling_keeps_its_queued_calls_and_loses_the_one_that_runs)
{
	weft *rt = api_open(2);
	struct api_gate gate = API_GATE_INIT;
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ALL, 1);
	weft_ref runs = act_call(rt, f.kids[0], waits_at_gate, &(void *){ &gate }, sizeof(void *));

	api_gate_await(&gate, 1);
	weft_ref queued = act_call(rt, f.kids[0], kid_add, &(int64_t){ 20 }, 8);

	family_crash(&f, 3);
	/* The one that crashed is anew when its sibling has been told. */
	api_await_count(&f.logs[3].inits, 2);
	cr_assert_eq(weft_peek(rt, queued), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, runs), WEFT_EACTOR);
	cr_assert_eq(api_take_i64(rt, queued), 20);
	cr_assert_eq(api_read(&f.logs[0].inits), 2);
	family_end(&f);
	api_close(rt);
}

static void over_after(struct family *f, int which)
{
	struct weft_view view;
	weft_ref died = WEFT_NONE;

	API_CHECK(weft_supervisor_died(f->supervisor, &died) == 0);
	API_CHECK(weft_peek(f->rt, died) == 0);
	family_crash(f, which);
	API_CHECK(weft_get(f->rt, died, WEFT_FOREVER, &view) == WEFT_EACTOR);
	api_release(f->rt, died);
	for (int i = 0; i < KIDS; i++) {
		act_await_dead(f->rt, f->kids[i]);
		API_CHECK(api_read(&f->logs[i].finis) == 0);
	}
}

Test(actors_supervisor, too_many_crashes_are_the_end_of_all)
{
	weft *rt = api_open(2);
	struct family f;
	struct kid_log log = { 0 };
	weft_actor late = kid_make(rt, &kid_class, &log);

	family_make(&f, rt, WEFT_ONE_FOR_ONE, 2);
	family_crash(&f, 0);
	api_await_count(&f.logs[0].inits, 2);
	family_crash(&f, 1);
	api_await_count(&f.logs[1].inits, 2);
	over_after(&f, 2);
	cr_assert_eq(weft_supervisor_add(f.supervisor, late), WEFT_EACTOR);
	family_end(&f);
	/* None at all. */
	family_make(&f, rt, WEFT_ONE_FOR_ALL, WEFT_INTENSITY_NONE);
	over_after(&f, 3);
	family_end(&f);
	act_release(rt, late);
	api_close(rt);
}

#define SECOND INT64_C(1000000000)

Test(actors_supervisor, crashes_that_are_far_apart_are_not_too_many)
{
	weft *rt = NULL;
	struct family f;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .flags = WEFT_OPEN_VIRTUAL_CLOCK)),
	             0);
	family_make(&f, rt, WEFT_ONE_FOR_ONE, 1);
	for (uint64_t i = 2; i <= 5; i++) {
		family_crash(&f, 0);
		api_await_count(&f.logs[0].inits, i);
		cr_assert_eq(kid_sum(rt, f.kids[0]), 0);
		/* Beyond the period, and beyond what would make the next restart wait. */
		cr_assert_eq(weft_clock_advance(rt, 11 * SECOND), 0);
	}
	family_crash(&f, 0);
	api_await_count(&f.logs[0].inits, 6);
	cr_assert_eq(weft_clock_advance(rt, 4 * SECOND), 0);
	over_after(&f, 1);
	family_end(&f);
	api_close(rt);
}

Test(actors_supervisor, an_init_that_fails_again_is_one_more_crash)
{
	weft *rt = api_open(2);
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ONE, 4);
	api_set(&f.logs[1].fail_next, 2);
	family_crash(&f, 1);
	api_await_count(&f.logs[1].inits, 4);
	cr_assert_eq(kid_sum(rt, f.kids[1]), 0);
	/* The fourth was counted: the next one but one is too many. */
	api_set(&f.logs[2].fail_next, 1000);
	over_after(&f, 2);
	family_end(&f);
	api_close(rt);
}

Test(actors_supervisor, ends_that_are_no_crash_are_the_childs_own)
{
	weft *rt = api_open(2);
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ALL, 1);
	cr_assert_eq(weft_actor_kill(rt, f.kids[0], WEFT_KILL_NOW), 0);
	act_await_dead(rt, f.kids[0]);
	cr_assert_eq(weft_actor_stop(rt, f.kids[1], WEFT_FOREVER), 0);
	/* The others still are a family. */
	family_crash(&f, 2);
	api_await_count(&f.logs[2].inits, 2);
	api_await_count(&f.logs[3].inits, 2);
	cr_assert_eq(kid_sum(rt, f.kids[3]), 0);
	cr_assert_eq(api_read(&f.logs[0].inits), 1);
	cr_assert_eq(api_read(&f.logs[1].inits), 1);
	family_end(&f);
	api_close(rt);
}

Test(actors_supervisor, stop_ends_the_last_child_first)
{
	weft *rt = api_open(2);
	struct api_count order = { { 0 } };
	weft_ref died = WEFT_NONE;
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ONE, 1);
	for (int i = 0; i < KIDS; i++)
		f.logs[i].order = &order;
	cr_assert_eq(weft_supervisor_died(f.supervisor, &died), 0);
	cr_assert_eq(weft_supervisor_stop(f.supervisor, WEFT_FOREVER), 0);
	for (int i = 0; i < KIDS; i++) {
		cr_assert_eq(api_read(&f.logs[i].finis), 1);
		cr_assert_eq(f.logs[i].place, (uint64_t)(KIDS - i));
	}
	family_end(&f);
	cr_assert_eq(api_end(rt, died), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_supervisor, after_its_destroy_the_children_are_on_their_own)
{
	weft *rt = api_open(2);
	struct family f;

	family_make(&f, rt, WEFT_ONE_FOR_ALL, WEFT_INTENSITY_NONE);
	weft_supervisor_destroy(f.supervisor);
	family_crash(&f, 0);
	family_check(&f, 0, 0, 2);
	f.supervisor = NULL;
	family_end(&f);
	api_close(rt);
}

Test(actors_supervisor, bad_arguments_are_refused_without_a_trace)
{
	weft *rt = api_open(1);
	struct kid_log log = { 0 };
	weft_actor kid = kid_make(rt, &kid_class, &log), few = kid_make(rt, &few_class, &log);
	weft_supervisor *s = NULL, *other = NULL;
	struct weft_supervisor_options options = { .struct_size = sizeof options, .strategy = 3 };
	weft_ref ref = { API_POISON };

	cr_assert_eq(weft_supervisor_create(rt, &options, &s), -EINVAL);
	options.strategy = 0;
	options.intensity = WEFT_INTENSITY_MAX + 1;
	cr_assert_eq(weft_supervisor_create(rt, &options, &s), -EINVAL);
	options.intensity = 0;
	options.period_ns = -1;
	cr_assert_eq(weft_supervisor_create(rt, &options, &s), -EINVAL);
	options.period_ns = 0;
	options.reserved[1] = 1;
	cr_assert_eq(weft_supervisor_create(rt, &options, &s), -EINVAL);
	cr_assert_eq(weft_supervisor_create(NULL, NULL, &s), -EINVAL);
	cr_assert_eq(weft_supervisor_create(rt, NULL, NULL), -EINVAL);
	cr_assert_null(s);
	cr_assert_eq(weft_supervisor_create(rt, NULL, &s), 0);
	cr_assert_eq(weft_supervisor_create(rt, NULL, &other), 0);
	cr_assert_eq(weft_supervisor_add(NULL, kid), -EINVAL);
	cr_assert_eq(weft_supervisor_add(s, (weft_actor){ API_POISON }), -EINVAL);
	cr_assert_eq(weft_supervisor_add(s, few), -EINVAL);
	cr_assert_eq(weft_supervisor_add(s, kid), 0);
	cr_assert_eq(weft_supervisor_add(s, kid), -EEXIST);
	cr_assert_eq(weft_supervisor_add(other, kid), -EEXIST);
	cr_assert_eq(weft_supervisor_died(s, NULL), -EINVAL);
	cr_assert_eq(weft_supervisor_died(NULL, &ref), -EINVAL);
	cr_assert_eq(ref.bits, API_POISON);
	cr_assert_eq(weft_supervisor_stop(NULL, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_supervisor_stop(other, WEFT_POLL), 0);
	cr_assert_eq(weft_actor_stop(rt, kid, WEFT_FOREVER), 0);
	weft_supervisor_destroy(s);
	cr_assert_eq(weft_supervisor_add(other, kid), WEFT_EACTOR);
	weft_supervisor_destroy(other);
	weft_supervisor_destroy(NULL);
	act_release(rt, kid);
	act_release(rt, few);
	api_close(rt);
}

static int crashes_now_and_then(weft_task *self)
{
	struct kid_state *state = weft_actor_state(self);
	const int64_t n = *(const int64_t *)weft_task_arg(self, NULL);

	API_CHECK(state->log != NULL);
	++state->sum;
	return n % 7 == 0 ? WEFT_ECRASH : 0;
}

Test(actors_supervisor, children_that_crash_at_the_same_time_all_come_back)
{
	/* Few crashes: init runs again later and later. And some rounds of peace at the end. */
	const int64_t n = 20;
	weft *rt = api_open(3);
	struct family f;
	weft_ref refs[KIDS];

	family_make(&f, rt, WEFT_ONE_FOR_ALL, WEFT_INTENSITY_MAX);
	for (int64_t i = 1; i <= n; i++) {
		for (int k = 0; k < KIDS; k++)
			refs[k] = act_call(rt, f.kids[k], crashes_now_and_then, &i, sizeof i);
		for (int k = 0; k < KIDS; k++) {
			const int rc = api_end(rt, refs[k]);

			/* Its own crash, or a sibling's while it ran. */
			cr_assert(rc == WEFT_EACTOR || (rc == 0 && i % 7), "call %d: %s", (int)i,
			          weft_strerror(rc));
		}
	}
	for (int k = 0; k < KIDS; k++) {
		const int64_t sum = kid_sum(rt, f.kids[k]);

		/* What has run since its last init. */
		cr_assert(sum >= 0 && sum < n);
		cr_assert_geq(api_read(&f.logs[k].inits), 1 + 1);
	}
	family_end(&f);
	api_close(rt);
}

/* It kills children whose counts are dropped meanwhile, and whose slots others get. */
Test(actors_supervisor, one_that_gives_up_may_be_destroyed_meanwhile)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.state_bytes = 8, .max_restarts = WEFT_RESTARTS_UNLIMITED);
	weft *rt = api_open(2);

	const struct weft_supervisor_options o = { .struct_size = sizeof o,
		                                   .intensity = WEFT_INTENSITY_NONE };

	for (uint32_t i = 0; i < api_scaled(2000); i++) {
		weft_supervisor *s = NULL;
		weft_actor actors[KIDS];

		cr_assert_eq(weft_supervisor_create(rt, &o, &s), 0);
		for (int k = 0; k < KIDS; k++) {
			actors[k] = act_create(rt, &class_, NULL, NULL);
			cr_assert_eq(weft_supervisor_add(s, actors[k]), 0);
		}
		cr_assert_eq(weft_actor_kill(rt, actors[0], WEFT_KILL_RESTART), 0);
		for (int k = 0; k < KIDS; k++)
			act_release(rt, actors[k]);
		for (uint32_t spins = i % 64 * 16; spins; spins--)
			wf_cpu_relax();
		weft_supervisor_destroy(s);
		/* In a slot that may have been a child's. */
		weft_actor other = act_create(rt, &class_, NULL, NULL);

		cr_assert_eq(api_end(rt, act_call(rt, other, api_body_nothing, NULL, 0)), 0);
		act_release(rt, other);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}
