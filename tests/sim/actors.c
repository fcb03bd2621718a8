/*
 * Goal: every accepted call of an actor ends exactly once and as it must: calls of one caller in
 * their order, nobody else inside an exclusive actor, states that begin and end once; whatever
 * mixture of inputs, waits, nested calls, crashes, exits, kills, stops, cancels, held resources and
 * groups they are part of.
 * Method: random programs on the simulated engine (tests/support/sim.c): a few actors, several
 * callers (the host, a thread, a task), each call with a record of what became of it. At the end
 * the record, the status that a get sees and what was done to the actor must fit together.
 */
#include <errno.h>
#include <string.h>

#include "sim_util.h"

#define ACTORS_MOST  3
#define CALLERS      3
#define CALLS_MOST   12
#define WIDE_CALLERS 2 /* inside at once */

enum plan {
	PLAN_VALUE,
	PLAN_FAIL,
	PLAN_YIELD,
	PLAN_SLEEP,
	PLAN_CHILD, /* submits a task and waits for it */
	PLAN_CALL,  /* calls an actor with a greater number, and waits */
	PLAN_BLOCK, /* leaves its worker for a while */
	PLANS_TAME,
	PLAN_CRASH = PLANS_TAME,
	PLAN_EXIT,
	PLANS
};

struct program;

struct being {
	struct program *program;
	weft_actor actor;
	uint32_t index, restarts, retries;
	bool wide, grouped, holds;
	bool disturbed; /* anything may have ended its calls */
	struct wf_a32 inside, inits, finis, drops;
	struct wf_a32 last[CALLERS]; /* number of the last call that began, plus one */
};

struct memory {
	struct being *being;
	uint32_t guard;
};

struct call {
	struct being *being;
	uint32_t caller, index; /* index: among those of its caller */
	uint32_t plan;
	uint32_t waits; /* for the one so many before it; 0: for none */
	uint32_t tries; /* further attempts of one that fails */
	bool strict;    /* and ends when that fails */
	bool cancelled;
	bool accepted;
	weft_ref ref;
	struct wf_a32 runs, succeeded;
};

struct program {
	weft *rt;
	weft_group group; /* of some of the actors; zero: none */
	bool chaos, closing;
	bool cancelled; /* the group was */
	uint32_t n_actors, n_calls;
	struct being beings[ACTORS_MOST];
	struct call calls[CALLERS][CALLS_MOST];
};

static struct program program;

/* ---- Lives ----------------------------------------------------------------------------------- */

static int init(weft_task *self)
{
	struct being *being = *(struct being *const *)weft_task_arg(self, NULL);
	struct memory *memory = weft_actor_state(self);

	SIM_CHECK(memory && !memory->being && !memory->guard);
	SIM_CHECK(wf_load_relaxed(&being->inside) == 0);
	memory->being = being;
	wf_add_relaxed(&being->inits, 1);
	return 0;
}

static int fini(weft_task *self)
{
	struct memory *memory = weft_actor_state(self);

	SIM_CHECK(memory->being && !memory->guard);
	SIM_CHECK(wf_load_relaxed(&memory->being->inside) == 0);
	SIM_CHECK(wf_add_relaxed(&memory->being->finis, 1) == 0);
	return 0;
}

static void drop(void *state, size_t size)
{
	const struct memory *memory = state;

	SIM_CHECK(size == sizeof *memory);
	if (memory->being)
		wf_add_relaxed(&memory->being->drops, 1);
}

static const struct weft_actor_class classes[2] = {
	WEFT_ACTOR_CLASS(.name = "one", .state_bytes = sizeof(struct memory), .init = init,
	                 .fini = fini, .drop = drop, .max_pending = 4),
	WEFT_ACTOR_CLASS(.name = "wide", .state_bytes = sizeof(struct memory), .init = init,
	                 .fini = fini, .drop = drop, .max_concurrency = WIDE_CALLERS),
};

/* ---- Calls ----------------------------------------------------------------------------------- */

static int child(weft_task *self)
{
	return weft_return(self, &(int64_t){ 77 }, sizeof(int64_t));
}

/* Another actor's answer; what it ends with is not this call's affair. */
static int call_on(weft_task *self, const struct being *being)
{
	weft *rt = weft_task_runtime(self);
	weft_ref ref;

	if (being->index + 1 >= program.n_actors)
		return 0;
	int rc = weft_actor_call(rt, program.beings[being->index + 1].actor, child, NULL, 0, &ref);

	/* At a close it may be gone, with the handle that was let go. */
	SIM_CHECK(rc == 0 || rc == WEFT_ECALLS ||
	          (program.closing && (rc == WEFT_ECLOSED || rc == -EINVAL)));
	if (rc)
		return 0;
	rc = (int)weft_take(rt, ref, NULL, 0);
	return rc == -EINTR ? rc : 0;
}

static int do_plan(weft_task *self, const struct call *call)
{
	weft *rt = weft_task_runtime(self);
	int64_t value = 0;
	weft_ref ref;
	int rc = 0;

	switch (call->plan) {
	case PLAN_FAIL:
		return weft_fail(self, -EIO, "call %u", call->index);
	case PLAN_YIELD:
		rc = weft_yield(rt);
		break;
	case PLAN_SLEEP:
		rc = weft_sleep_until(rt, weft_now(rt) + sim_choose(200000));
		break;
	case PLAN_CHILD:
		rc = weft_spawn(rt, child, NULL, 0, &ref);
		if (rc)
			break;
		rc = (int)weft_take(rt, ref, &value, sizeof value);
		SIM_CHECK(rc < 0 || value == 77);
		break;
	case PLAN_CALL:
		rc = call_on(self, call->being);
		break;
	case PLAN_BLOCK:
		if (weft_block_enter(rt, WEFT_BLOCK_RELEASE) == 0) {
			sim_yield();
			weft_block_exit(rt);
		}
		break;
	case PLAN_CRASH:
		return weft_actor_crash(self, "planned");
	case PLAN_EXIT:
		return weft_actor_exit(self);
	default:
		break;
	}
	SIM_CHECK(rc >= 0 || rc == -EINTR || rc == -ECANCELED || rc == WEFT_ECLOSED);
	SIM_CHECK(rc >= 0 || call->cancelled || call->being->disturbed);
	return rc < 0 ? rc : 0;
}

/* Alone, or not too many; after the caller's earlier ones. */
static void enter(weft_task *self, const struct call *call)
{
	struct being *being = call->being;
	struct memory *memory = weft_actor_state(self);
	uint32_t inside = wf_add_relaxed(&being->inside, 1) + 1;
	uint32_t last = wf_load_relaxed(&being->last[call->caller]);

	SIM_CHECK(memory->being == being);
	SIM_CHECK(inside <= (being->wide ? WIDE_CALLERS : 1));
	if (being->wide)
		return;
	SIM_CHECK(memory->guard == 0);
	memory->guard = call->index + 1;
	if (weft_task_attempt(self) > 1)
		return;
	SIM_CHECK(last < call->index + 1);
	wf_store_relaxed(&being->last[call->caller], call->index + 1);
}

static const struct call *awaited(const struct call *call)
{
	SIM_CHECK(call->waits && call->waits <= call->index);
	return call - call->waits;
}

static int body(weft_task *self)
{
	struct call *call = *(struct call *const *)weft_task_arg(self, NULL);
	struct memory *memory = weft_actor_state(self);

	uint32_t runs = wf_add_relaxed(&call->runs, 1);

	SIM_CHECK(runs <= call->tries || call->being->retries);
	SIM_CHECK(weft_task_attempt(self) == runs + 1);
	if (call->waits)
		SIM_CHECK(weft_peek(program.rt, awaited(call)->ref) == 1);
	enter(self, call);
	int rc = do_plan(self, call);

	SIM_CHECK(weft_actor_state(self) == memory && memory->being == call->being);
	if (!call->being->wide) {
		SIM_CHECK(memory->guard == call->index + 1);
		memory->guard = 0;
	}
	wf_add_relaxed(&call->being->inside, (uint32_t)-1);
	if (rc < 0)
		return rc;
	wf_store_relaxed(&call->succeeded, 1);
	return weft_return(self, &call->index, sizeof call->index);
}

static int submit_call(struct call *call)
{
	struct weft_task_options o = { .struct_size = sizeof o, .retries = call->tries };
	weft_actor actor = call->being->actor;

	if (!call->strict)
		o.on_input_error = WEFT_INPUT_IGNORE;
	if (call->tries && sim_choose(3))
		o.backoff_ns = 1 + sim_choose(sim_choose(2) ? 3000 : 200000);
	if (!call->waits && !call->tries && sim_choose(2))
		return weft_actor_call(program.rt, actor, body, &call, sizeof call, &call->ref);
	return weft_submit(program.rt,
	                   &(struct weft_call){ .fn = body,
	                                        .actor = actor,
	                                        .arg = &call,
	                                        .arg_size = sizeof call,
	                                        .inputs = call->waits ? &awaited(call)->ref : NULL,
	                                        .n_after = call->waits ? 1 : 0,
	                                        .opts = call->strict && !call->tries ? NULL : &o },
	                   &call->ref);
}

/* Now and then something is done to the call or its actor. */
static void disturb(struct call *call)
{
	weft *rt = program.rt;
	weft_actor actor = call->being->actor;

	if (sim_choose(8) == 0) {
		/* This one, or one that may be between two attempts. */
		struct call *other = call - sim_choose(call->index + 1);

		other->cancelled = true;
		SIM_CHECK(weft_cancel(rt, other->ref) == 0);
	}
	if (sim_choose(12) == 0) {
		call->being->disturbed = true;
		SIM_CHECK(weft_actor_kill(rt, actor, WEFT_KILL_RESTART) == 0);
	}
	if (sim_choose(40) == 0) {
		call->being->disturbed = true;
		SIM_CHECK(weft_actor_kill(rt, actor, WEFT_KILL_NOW) == 0);
	}
	if (program.group.bits && sim_choose(40) == 0) {
		program.cancelled = true;
		for (uint32_t i = 0; i < program.n_actors; i++)
			program.beings[i].disturbed = true;
		SIM_CHECK(weft_group_cancel(rt, program.group) == 0);
	}
}

static void run_caller(uint32_t caller)
{
	for (uint32_t i = 0; i < program.n_calls; i++) {
		struct call *call = &program.calls[caller][i];
		int rc;

		while ((rc = submit_call(call)) == WEFT_ECALLS) {
			rc = weft_actor_wait_room(program.rt, call->being->actor, WEFT_FOREVER);
			SIM_CHECK(rc == 0 || (rc == WEFT_EACTOR && call->being->disturbed));
		}
		SIM_CHECK(rc == 0);
		call->accepted = true;
		if (program.chaos)
			disturb(call);
	}
}

static void *thread_caller(void *arg)
{
	run_caller(*(const uint32_t *)arg);
	return NULL;
}

static int task_caller(weft_task *self)
{
	run_caller(*(const uint32_t *)weft_task_arg(self, NULL));
	return 0;
}

/* ---- The oracle ------------------------------------------------------------------------------ */

/* It, or its child, ended as one of the cancelled group before its actor was found dead. */
static bool by_group(const struct call *call)
{
	return program.cancelled && call->being->grouped;
}

static void check_call(const struct call *call)
{
	struct weft_view view = { 0 };
	const int status = weft_get(program.rt, call->ref, WEFT_FOREVER, &view);
	const uint32_t runs = wf_load_relaxed(&call->runs);

	SIM_CHECK(call->accepted);
	switch (status) {
	case 0:
		SIM_CHECK((runs == 1 || call->being->retries) && wf_load_relaxed(&call->succeeded));
		SIM_CHECK(view.size == sizeof(uint32_t));
		SIM_CHECK(*(const uint32_t *)view.data == call->index);
		break;
	case WEFT_ETASK:
		/* What is asked to stop is not tried again. */
		SIM_CHECK(runs == 1 + call->tries || (runs > call->tries && call->being->retries) ||
		          (runs && (call->cancelled || call->being->disturbed)));
		SIM_CHECK(call->plan == PLAN_FAIL || (call->plan == PLAN_CHILD && by_group(call)));
		break;
	case WEFT_EACTOR:
		SIM_CHECK(call->being->disturbed);
		break;
	case WEFT_EDEP:
		SIM_CHECK(runs == 0 && call->waits && call->strict);
		SIM_CHECK(weft_get(program.rt, awaited(call)->ref, WEFT_FOREVER, &view) < 0);
		break;
	default:
		SIM_CHECK(status == -ECANCELED && (call->cancelled || by_group(call)));
	}
}

static void check_being(struct being *being)
{
	weft *rt = program.rt;
	uint32_t inits, most = 1 + being->restarts;
	struct weft_view view;
	weft_ref died;

	SIM_CHECK(weft_actor_died(rt, being->actor, &died) == 0);
	/* By itself; it may have left before. */
	int rc = program.cancelled && being->grouped ? weft_get(rt, died, WEFT_FOREVER, &view) : 0;

	SIM_CHECK(rc == 0 || rc == WEFT_EACTOR);
	if (sim_choose(2))
		SIM_CHECK(weft_actor_stop(rt, being->actor, WEFT_FOREVER) == 0);
	SIM_CHECK(weft_actor_release(rt, being->actor) == 0);
	rc = weft_get(rt, died, WEFT_FOREVER, &view);
	SIM_CHECK(rc == 0 || (rc == WEFT_EACTOR && being->disturbed));
	SIM_CHECK(weft_release(rt, died) == 0);
	inits = wf_load_relaxed(&being->inits);
	SIM_CHECK(wf_load_relaxed(&being->inside) == 0);
	SIM_CHECK(inits <= most && wf_load_relaxed(&being->drops) == inits);
	SIM_CHECK(being->disturbed || (inits == 1 && wf_load_relaxed(&being->finis) == 1));
}

/* ---- Programs -------------------------------------------------------------------------------- */

static void create(struct being *being, const struct weft_actor_options *o)
{
	struct weft_task_options of_init = { .struct_size = sizeof of_init };

	if (sim_choose(2))
		of_init.on_input_error = WEFT_INPUT_IGNORE;
	if (program.chaos && sim_choose(2)) {
		of_init.deadline = weft_now(program.rt) + 1 + sim_choose(8000);
		being->disturbed = true;
	}
	SIM_CHECK(weft_actor_create(program.rt, &classes[being->wide], o,
	                            &(struct weft_call){ .arg = &being,
	                                                 .arg_size = sizeof being,
	                                                 .opts = &of_init },
	                            &being->actor) == 0);
}

static void make_being(struct being *being, uint32_t index)
{
	/* Two fit at once; at a close one, and the others end for whoever waits. */
	const struct weft_resource disk = { "disk", program.closing ? 2 : 1 };
	const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                .cpus = 0.5,
		                                .memory = 20,
		                                .resources = &disk,
		                                .n_resources = 1 };
	struct weft_actor_options o = { .struct_size = sizeof o };

	*being = (struct being){ .program = &program, .index = index };
	being->wide = sim_choose(3) == 0;
	being->holds = (index < 2 || program.closing) && sim_choose(3) == 0;
	if (being->holds)
		o.holds = &holds;
	being->grouped = program.group.bits && sim_choose(2);
	if (being->grouped)
		o.group = program.group;
	o.max_restarts = being->restarts = sim_choose(3);
	if (program.chaos)
		o.max_task_retries = being->retries = sim_choose(3);
	o.priority = sim_choose(4);
	create(being, &o);
}

static void make_call(uint32_t caller, uint32_t index)
{
	struct call *call = &program.calls[caller][index];

	*call = (struct call){ .being = &program.beings[sim_choose(program.n_actors)],
		               .caller = caller,
		               .index = index,
		               .plan = sim_choose(program.chaos ? PLANS : PLANS_TAME),
		               .strict = sim_choose(2) };
	if (call->plan == PLAN_FAIL)
		call->tries = sim_choose(3);
	if (index && sim_choose(3) == 0)
		call->waits = 1 + sim_choose(index < 3 ? index : 3);
	if (call->plan >= PLANS_TAME)
		call->being->disturbed = true;
	/* At a close all are run. */
	call->strict = call->strict && !program.closing;
	/* Who waits for an actor that waits for what he holds waits for ever. */
	if (program.closing && call->being->holds) {
		call->waits = 0;
		if (call->plan == PLAN_CALL)
			call->plan = PLAN_VALUE;
	}
}

static void make_program(bool chaos, bool closing)
{
	memset(&program, 0, sizeof program);
	program.rt = sim_open();
	program.chaos = chaos;
	program.closing = closing;
	program.n_actors = 1 + sim_choose(ACTORS_MOST);
	program.n_calls = 1 + sim_choose(CALLS_MOST);
	if (sim_choose(3) == 0)
		SIM_CHECK(weft_group_create(program.rt, NULL, &program.group) == 0);
	for (uint32_t i = 0; i < program.n_actors; i++)
		make_being(&program.beings[i], i);
	for (uint32_t c = 0; c < CALLERS; c++) {
		for (uint32_t i = 0; i < program.n_calls; i++)
			make_call(c, i);
	}
}

static void finish_program(uint32_t callers)
{
	for (uint32_t c = 0; c < callers; c++) {
		for (uint32_t i = 0; i < program.n_calls; i++)
			check_call(&program.calls[c][i]);
	}
	for (uint32_t c = 0; c < callers; c++) {
		for (uint32_t i = 0; i < program.n_calls; i++)
			SIM_CHECK(weft_release(program.rt, program.calls[c][i].ref) == 0);
	}
	for (uint32_t i = 0; i < program.n_actors; i++)
		check_being(&program.beings[i]);
	if (program.group.bits) {
		SIM_CHECK(weft_group_join(program.rt, program.group, WEFT_FOREVER) == 0);
		SIM_CHECK(weft_group_destroy(program.rt, program.group) == 0);
	}
	sim_close(program.rt);
}

static void whole_program(bool chaos)
{
	uint32_t by_host = 0, by_thread = 1, by_task = 2;
	weft_ref task;

	make_program(chaos, false);
	pthread_t thread = sim_thread(thread_caller, &by_thread);

	SIM_CHECK(weft_spawn(program.rt, task_caller, &by_task, sizeof by_task, &task) == 0);
	run_caller(by_host);
	sim_join(thread);
	SIM_CHECK(weft_take(program.rt, task, NULL, 0) == 0);
	finish_program(CALLERS);
}

/*
 * Close in the middle: with no time, with little, with all of it; with or without handles. Calls
 * that were let in are run when there is time, states end once.
 */
static void actors_close(void)
{
	uint32_t how = sim_choose(3), kept = sim_choose(2);
	int64_t until = how ? WEFT_FOREVER : WEFT_POLL;

	make_program(false, true);
	for (uint32_t i = 0; i < program.n_calls; i++) {
		struct call *call = &program.calls[0][i];
		int rc = submit_call(call);

		SIM_CHECK(rc == 0 || rc == WEFT_ECALLS);
		call->accepted = rc == 0;
		if (rc) {
			/* What comes after it may not wait for it. */
			program.n_calls = i;
			break;
		}
	}
	for (uint32_t i = 0; !kept && i < program.n_actors; i++)
		SIM_CHECK(weft_actor_release(program.rt, program.beings[i].actor) == 0);
	if (how == 1)
		until = weft_now(program.rt) + sim_choose(1000000);
	for (uint32_t i = 0; how < 2 && i < program.n_actors; i++)
		program.beings[i].disturbed = true;
	for (uint32_t i = 0; how < 2 && i < program.n_calls; i++)
		program.calls[0][i].cancelled = true;
	const int rc = weft_close(program.rt, until);

	SIM_CHECK(rc == 0 || (rc == 1 && how < 2));
	for (uint32_t i = 0; i < program.n_calls; i++) {
		const uint32_t runs = wf_load_relaxed(&program.calls[0][i].runs);

		SIM_CHECK(runs == 1 + program.calls[0][i].tries ||
		          (runs <= program.calls[0][i].tries && how < 2));
	}
	for (uint32_t i = 0; i < program.n_actors; i++) {
		const struct being *being = &program.beings[i];
		const uint32_t inits = wf_load_relaxed(&being->inits);

		SIM_CHECK(wf_load_relaxed(&being->inside) == 0);
		SIM_CHECK(inits <= 1 && wf_load_relaxed(&being->drops) == inits);
		SIM_CHECK(how < 2 || (inits == 1 && wf_load_relaxed(&being->finis) == 1));
	}
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void *kills(void *arg)
{
	const weft_actor actor = *(const weft_actor *)arg;

	for (uint32_t i = sim_choose(100); i; i--)
		sim_yield();
	SIM_CHECK(weft_actor_kill(program.rt, actor,
	                          sim_choose(2) ? WEFT_KILL_NOW : WEFT_KILL_RESTART) == 0);
	return NULL;
}

/*
 * The calls of the first actor's row become ready one by one while it is killed, and each has
 * others waiting for it at the heads of the rows of the other two, who run theirs in order.
 */
static void actors_rows(void)
{
	static const struct {
		uint32_t being, waits;
	} rows[] = { { 2, 0 }, { 0, 1 }, { 0, 0 }, { 1, 1 }, { 1, 0 },
		     { 2, 3 }, { 2, 0 }, { 0, 0 }, { 1, 1 }, { 2, 2 } };
	const struct weft_actor_options o = { .struct_size = sizeof o };

	memset(&program, 0, sizeof program);
	program.rt = sim_open();
	program.n_actors = ACTORS_MOST;
	program.n_calls = sizeof rows / sizeof *rows;
	for (uint32_t i = 0; i < program.n_actors; i++) {
		program.beings[i] = (struct being){ .program = &program, .index = i };
		create(&program.beings[i], &o);
	}
	program.beings[0].disturbed = true;
	for (uint32_t i = 0; i < program.n_calls; i++)
		program.calls[0][i] = (struct call){ .being = &program.beings[rows[i].being],
			                             .index = i,
			                             .plan = i ? PLAN_VALUE : PLAN_SLEEP,
			                             .waits = rows[i].waits };
	pthread_t killer = sim_thread(kills, &program.beings[0].actor);

	run_caller(0);
	sim_join(killer);
	finish_program(1);
}

/* ---- Stops ----------------------------------------------------------------------------------- */

static int empty(weft_task *self)
{
	(void)self;
	return 0;
}

static void *submits(void *arg)
{
	const weft_actor actor = *(const weft_actor *)arg;
	static const struct weft_task_options long_way = { .struct_size = sizeof long_way,
		                                           .name = "n" };

	for (uint32_t i = 0; i < 3; i++) {
		weft_ref ref;

		SIM_CHECK(weft_submit(program.rt,
		                      &(struct weft_call){
					      .fn = empty, .actor = actor, .opts = &long_way },
		                      &ref) == 0);
		const int64_t rc = weft_take(program.rt, ref, NULL, 0);
		SIM_CHECK(rc == 0 || rc == WEFT_EACTOR);
	}
	return NULL;
}

/* A stop comes while calls are let in that are not queued yet. */
static void actors_stop(void)
{
	static const struct weft_actor_class two[2] = {
		WEFT_ACTOR_CLASS(.state_bytes = 8, .max_concurrency = WIDE_CALLERS),
		WEFT_ACTOR_CLASS(.state_bytes = 8, .max_concurrency = WIDE_CALLERS, .fini = empty),
	};
	weft_actor actor;

	memset(&program, 0, sizeof program);
	program.rt = sim_open();
	SIM_CHECK(weft_actor_create(program.rt, &two[sim_choose(2)], NULL, NULL, &actor) == 0);
	pthread_t thread = sim_thread(submits, &actor);

	for (uint32_t i = sim_choose(40); i; i--)
		sim_yield();
	SIM_CHECK(weft_actor_stop(program.rt, actor, WEFT_FOREVER) == 0);
	sim_join(thread);
	SIM_CHECK(weft_actor_release(program.rt, actor) == 0);
	sim_close(program.rt);
}

static void actors_plain(void)
{
	whole_program(false);
}

static void actors_chaos(void)
{
	whole_program(true);
}

int main(int argc, char **argv)
{
	static const struct sim_program programs[] = {
		{ "actors_plain", actors_plain }, { "actors_chaos", actors_chaos },
		{ "actors_close", actors_close }, { "actors_rows", actors_rows },
		{ "actors_stop", actors_stop },
	};

	return sim_main(programs, sizeof programs / sizeof *programs, argc, argv);
}
