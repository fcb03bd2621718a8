/*
 * Goal: what ends a task or its group comes through, whatever the task is on its way to: a cancel,
 * a deadline or a group's cancel that meets a request just when it joins its queue; a group that
 * is destroyed while tasks are submitted to it and cancelled one by one; a cancel or a deadline
 * that meets a task just when it joins a queue that nobody serves.
 * Method: each round sets two threads off at once, each after a random moment. Requests are for
 * more than there is, so nothing but its end ends a task; every wait has a generous limit, which
 * only a lost end reaches.
 */
#include <sched.h>

#include "api.h"

#define TASKS 32

#define NEVER WEFT_TASK_OPTIONS(.gpus = 1) /* there is none */

struct duel {
	weft *rt;
	weft_group group;
	weft_ref event, parent, child[TASKS];
	void (*other)(struct duel *);
	uint64_t random, other_random;
	struct wf_a32 round, done; /* done: by the other thread */
	uint32_t spin;             /* at most so much before a blow */
	bool over;
};

static void spin(uint64_t *random, uint32_t most)
{
	for (volatile uint32_t left = api_below(random, most); left; left--)
		continue;
}

static void *other_thread(void *arg)
{
	struct duel *duel = arg;
	for (uint32_t seen = 0;;) {
		const uint32_t round = wf_load_acquire(&duel->round);

		if (round == seen) {
			sched_yield();
			continue;
		}
		if (duel->over)
			return NULL;
		seen = round;
		spin(&duel->other_random, duel->spin);
		duel->other(duel);
		wf_store_release(&duel->done, seen);
	}
}

static void begin(struct duel *duel)
{
	/* relaxed: this thread's. */
	wf_store_release(&duel->round, wf_load_relaxed(&duel->round) + 1);
	spin(&duel->random, duel->spin);
}

static void await_other(struct duel *duel)
{
	/* relaxed: this thread's. */
	while (wf_load_acquire(&duel->done) != wf_load_relaxed(&duel->round))
		sched_yield();
}

static pthread_t start(struct duel *duel, uint32_t workers, uint64_t seed,
                       void (*other)(struct duel *))
{
	*duel = (struct duel){ .other = other, .random = seed, .spin = 2000 };
	API_CHECK(weft_open(&duel->rt,
	                    WEFT_OPTIONS(.workers = workers, .seed = seed,
	                                 .spare_threads_max = 1)) == 0);
	return api_thread(other_thread, duel);
}

static void finish(struct duel *duel, pthread_t thread)
{
	duel->over = true;
	wf_store_release(&duel->round, wf_load_relaxed(&duel->round) + 1);
	api_join(thread);
	api_await_no_tasks(duel->rt);
	API_CHECK(weft_close(duel->rt, WEFT_FOREVER) == 0);
}

static void ends(weft *rt, weft_ref ref, int as)
{
	struct weft_view view;
	const int rc = weft_get(rt, ref, weft_now(rt) + 60 * INT64_C(1000000000), &view);

	if (rc != as)
		fprintf(stderr, "ends with %d\n", rc);
	API_CHECK(rc == as);
	API_CHECK(weft_release(rt, ref) == 0);
}

static int must_not_run(weft_task *self)
{
	(void)self;
	API_CHECK(!"it runs");
	return 0;
}

/* ---- Against a request ---------------------------------------------------------------------- */

static void run_deadlines(uint64_t seed)
{
	weft *rt = api_open(2);
	uint64_t random = seed;

	for (uint32_t i = 0; i < api_scaled(3000); i++) {
		const weft_ref ref = api_submit(
			rt,
			WEFT_TASK(must_not_run,
		                  .opts = WEFT_TASK_OPTIONS(.gpus = 1,
		                                            .deadline = weft_now(rt) +
		                                                    api_below(&random, 2000))));

		ends(rt, ref, WEFT_EDEADLINE);
	}
	api_close(rt);
}

static void sets_event(struct duel *duel)
{
	API_CHECK(weft_event_set(duel->rt, duel->event, NULL, 0) == 0);
}

static void run_cancels(uint64_t seed)
{
	struct duel duel;
	const pthread_t thread = start(&duel, 2, seed, sets_event);

	for (uint32_t i = 0; i < api_scaled(20000); i++) {
		duel.event = api_event(duel.rt);
		const weft_ref ref = api_submit(
			duel.rt, WEFT_TASK(must_not_run, WEFT_AFTER(duel.event), .opts = NEVER));

		begin(&duel);
		API_CHECK(weft_cancel(duel.rt, ref) == 0);
		await_other(&duel);
		ends(duel.rt, ref, -ECANCELED);
		api_release(duel.rt, duel.event);
	}
	finish(&duel, thread);
}

static int submits_then_waits(weft_task *self)
{
	struct duel *duel = api_arg_pointer(self);
	struct weft_view view;
	weft_ref ref;

	API_CHECK(weft_submit(duel->rt,
	                      WEFT_TASK(must_not_run, WEFT_AFTER(duel->event), .opts = NEVER),
	                      &ref) == 0);
	begin(duel);
	const int rc = weft_get(duel->rt, ref, WEFT_FOREVER, &view);

	/* Its child may have ended before it is woken itself. */
	API_CHECK(rc == -EINTR || rc == -ECANCELED);
	API_CHECK(weft_release(duel->rt, ref) == 0);
	return -ECANCELED;
}

/* Of a cancelled task, by a walk. */
static void run_children(uint64_t seed)
{
	struct duel duel;
	const pthread_t thread = start(&duel, 2, seed, sets_event);
	uint64_t random = seed + 1;

	for (uint32_t i = 0; i < api_scaled(3000); i++) {
		duel.event = api_event(duel.rt);
		const uint32_t before = wf_load_relaxed(&duel.round);
		const weft_ref ref =
			api_submit(duel.rt, WEFT_TASK(submits_then_waits, API_POINTER(&duel)));

		while (wf_load_acquire(&duel.round) == before)
			sched_yield();
		spin(&random, duel.spin);
		API_CHECK(weft_cancel(duel.rt, ref) == 0);
		await_other(&duel);
		ends(duel.rt, ref, -ECANCELED);
		api_release(duel.rt, duel.event);
		api_await_no_tasks(duel.rt);
	}
	finish(&duel, thread);
}

static void cancels_group(struct duel *duel)
{
	API_CHECK(weft_group_cancel(duel->rt, duel->group) == 0);
}

static void run_group_cancels(uint64_t seed)
{
	struct duel duel;
	const pthread_t thread = start(&duel, 2, seed, cancels_group);

	for (uint32_t i = 0; i < api_scaled(6000); i++) {
		const struct weft_task_options *opts;
		int rc = 0;

		API_CHECK(weft_group_create(duel.rt, NULL, &duel.group) == 0);
		opts = WEFT_TASK_OPTIONS(.gpus = 1, .group = duel.group);
		begin(&duel);
		for (uint32_t k = 0; k < TASKS && !rc; k++)
			rc = weft_submit(duel.rt, WEFT_TASK(must_not_run, .opts = opts), NULL);
		API_CHECK(rc == 0 || rc == -ECANCELED);
		await_other(&duel);
		API_CHECK(weft_group_join(duel.rt, duel.group,
		                          weft_now(duel.rt) + 60 * INT64_C(1000000000)) == 0);
		API_CHECK(weft_group_destroy(duel.rt, duel.group) == 0);
	}
	finish(&duel, thread);
}

/* ---- Against a group that goes --------------------------------------------------------------- */

static void destroys_group(struct duel *duel)
{
	API_CHECK(weft_group_destroy(duel->rt, duel->group) == 0);
}

/* The only worker is busy, so that nothing leaves the lanes but by its end. */
struct busy {
	struct api_gate gate;
	weft_ref ref;
};

static void busy_begin(struct duel *duel, struct busy *busy)
{
	*busy = (struct busy){ .gate = API_GATE_INIT };
	busy->ref = api_submit(duel->rt, WEFT_TASK(api_body_gate, API_POINTER(&busy->gate)));
	api_gate_await(&busy->gate, 1);
}

static void busy_end(struct duel *duel, struct busy *busy)
{
	api_gate_open(&busy->gate);
	API_CHECK(api_end(duel->rt, busy->ref) == 0);
}

static void run_destroys(uint64_t seed)
{
	struct duel duel;
	struct busy busy;
	const pthread_t thread = start(&duel, 1, seed, destroys_group);

	busy_begin(&duel, &busy);
	for (uint32_t i = 0; i < api_scaled(6000); i++) {
		const struct weft_task_options *opts;
		weft_ref refs[TASKS];
		uint32_t n = 0;
		int rc = 0;

		API_CHECK(weft_group_create(duel.rt, NULL, &duel.group) == 0);
		opts = WEFT_TASK_OPTIONS(.group = duel.group);
		begin(&duel);
		while (n < TASKS && !rc) {
			rc = weft_submit(duel.rt, WEFT_TASK(must_not_run, .opts = opts), &refs[n]);
			API_CHECK(rc == 0 || rc == -ECANCELED || rc == -EINVAL);
			if (!rc)
				API_CHECK(weft_cancel(duel.rt, refs[n++]) == 0);
		}
		await_other(&duel);
		while (n)
			ends(duel.rt, refs[--n], -ECANCELED);
	}
	busy_end(&duel, &busy);
	finish(&duel, thread);
}

/*
 * Their last input comes while they are cancelled, and, `grouped`, while their group goes; nobody
 * serves the queue that they are on their way to.
 */
static void run_ready(uint64_t seed, bool grouped)
{
	struct duel duel;
	struct busy busy;
	const pthread_t thread = start(&duel, 1, seed, sets_event);

	busy_begin(&duel, &busy);
	for (uint32_t i = 0; i < api_scaled(6000); i++) {
		weft_ref refs[TASKS];

		duel.event = api_event(duel.rt);
		if (grouped)
			API_CHECK(weft_group_create(duel.rt, NULL, &duel.group) == 0);
		const struct weft_task_options *opts = WEFT_TASK_OPTIONS(.group = duel.group);

		for (uint32_t k = 0; k < TASKS; k++)
			refs[k] = api_submit(duel.rt,
			                     WEFT_TASK(must_not_run, WEFT_AFTER(duel.event),
			                               .opts = grouped ? opts : NULL));
		begin(&duel);
		if (grouped)
			API_CHECK(weft_group_destroy(duel.rt, duel.group) == 0);
		for (uint32_t k = 0; k < TASKS; k++)
			API_CHECK(weft_cancel(duel.rt, refs[k]) == 0);
		await_other(&duel);
		for (uint32_t k = 0; k < TASKS; k++)
			ends(duel.rt, refs[k], -ECANCELED);
		api_release(duel.rt, duel.event);
	}
	busy_end(&duel, &busy);
	finish(&duel, thread);
}

/* ---- Against what is on its way in other ways ------------------------------------------------ */

/* Its deadline comes while it is submitted: a task, and a call of an actor that is busy. */
static void run_late(uint64_t seed)
{
	static const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.name = "busy");
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	uint64_t random = seed;
	weft_actor actor;

	API_CHECK(weft_actor_create(rt, &class_, NULL, NULL, &actor) == 0);
	const weft_ref busy =
		api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), .actor = actor));

	api_gate_await(&gate, 1);
	for (uint32_t i = 0; i < api_scaled(6000); i++) {
		const struct weft_task_options *opts =
			WEFT_TASK_OPTIONS(.deadline = weft_now(rt) + api_below(&random, 20000));

		ends(rt,
		     api_submit(rt,
		                WEFT_TASK(must_not_run, .opts = opts,
		                          .actor = i % 2 ? actor : (weft_actor){ 0 })),
		     WEFT_EDEADLINE);
	}
	api_gate_open(&gate);
	API_CHECK(api_end(rt, busy) == 0);
	API_CHECK(weft_actor_release(rt, actor) == 0);
	api_close(rt);
}

/* A call that crashes again and again meets its cancel, or its deadline, on its way back. */
static int crashes(weft_task *self)
{
	(void)self;
	return WEFT_ECRASH;
}

static void run_crashes(uint64_t seed)
{
	static const struct weft_actor_class class_ =
		WEFT_ACTOR_CLASS(.name = "frail", .max_restarts = WEFT_RESTARTS_UNLIMITED,
	                         .max_task_retries = WEFT_TASK_RETRIES_ALWAYS);
	weft *rt = api_open(2);
	uint64_t random = seed;

	for (uint32_t i = 0; i < api_scaled(6000); i++) {
		const bool late = i % 2;
		const struct weft_task_options *opts =
			WEFT_TASK_OPTIONS(.deadline = late
		                                  ? weft_now(rt) + api_below(&random, 20000)
		                                  : 0);
		weft_actor actor;

		API_CHECK(weft_actor_create(rt, &class_, NULL, NULL, &actor) == 0);
		const weft_ref ref =
			api_submit(rt, WEFT_TASK(crashes, .actor = actor, .opts = opts));

		if (!late) {
			spin(&random, 20000);
			API_CHECK(weft_cancel(rt, ref) == 0);
		}
		ends(rt, ref, late ? WEFT_EDEADLINE : -ECANCELED);
		API_CHECK(weft_actor_kill(rt, actor, 0) == 0);
		API_CHECK(weft_actor_release(rt, actor) == 0);
	}
	api_close(rt);
}

/* Half of them with a name, which makes them the long way. */
static int submits_many(weft_task *self)
{
	struct duel *duel = api_arg_pointer(self);

	begin(duel);
	for (uint32_t k = 0; k < TASKS; k++) {
		const struct weft_task_options *named = WEFT_TASK_OPTIONS(.name = "child");

		duel->child[k] = api_submit(duel->rt,
		                            WEFT_TASK(must_not_run, WEFT_AFTER(duel->event),
		                                      .opts = k % 2 ? named : NULL));
	}
	return 0;
}

static void cancels_parent(struct duel *duel)
{
	API_CHECK(weft_cancel(duel->rt, duel->parent) == 0);
}

/* Its parent is cancelled while it is made: it ends by that, or by its own cancel. */
static void run_births(uint64_t seed)
{
	struct duel duel;
	const pthread_t thread = start(&duel, 1, seed, cancels_parent);

	for (uint32_t i = 0; i < api_scaled(6000); i++) {
		/* Not before the other thread has it. */
		struct api_gate gate = API_GATE_INIT;
		const weft_ref held =
			api_submit(duel.rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));

		duel.event = api_event(duel.rt);
		duel.parent = api_submit(duel.rt,
		                         WEFT_TASK(submits_many, WEFT_AFTER(held),
		                                   .arg = &(struct duel *){ &duel },
		                                   .arg_size = sizeof(void *)));
		api_gate_open(&gate);
		API_CHECK(api_end(duel.rt, held) == 0);
		while (wf_load_acquire(&duel.round) == i)
			sched_yield();
		await_other(&duel);
		API_CHECK(api_end(duel.rt, duel.parent) == 0);
		for (uint32_t k = 0; k < TASKS; k++) {
			API_CHECK(weft_cancel(duel.rt, duel.child[k]) == 0);
			ends(duel.rt, duel.child[k], -ECANCELED);
		}
		api_release(duel.rt, duel.event);
	}
	finish(&duel, thread);
}

/*
 * What nobody has a ref of any more, or just now, waits for a thread in a group that is cancelled:
 * the last ref, the end and the queue's entry go in any order, and each cell goes once. Now and
 * then the gate holds a worker, and they run.
 */
static void releases_children(struct duel *duel)
{
	for (uint32_t k = 0; k < TASKS; k++)
		API_CHECK(weft_release(duel->rt, duel->child[k]) == 0);
}

static void run_orphans(uint64_t seed)
{
	static const struct weft_task_options blocking = { .struct_size = sizeof(blocking),
		                                           .flags = WEFT_TASK_BLOCKING };
	struct duel duel;
	const pthread_t thread = start(&duel, 2, seed, releases_children);

	for (uint32_t i = 0; i < api_scaled(1000); i++) {
		struct api_gate gate = API_GATE_INIT;
		const weft_ref held = api_submit(
			duel.rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), .opts = &blocking));
		const bool twice = i % 2;

		api_gate_await(&gate, 1);
		API_CHECK(weft_group_create(duel.rt, NULL, &duel.group) == 0);
		const struct weft_task_options *opts =
			WEFT_TASK_OPTIONS(.group = duel.group, .flags = WEFT_TASK_BLOCKING,
		                          .gpus = i % 4 < 2);

		for (uint32_t k = 0; k < TASKS; k++) {
			duel.child[k] =
				api_submit(duel.rt, WEFT_TASK(api_body_nothing, .opts = opts));
			if (twice)
				API_CHECK(weft_retain(duel.rt, duel.child[k]) == 0);
		}
		begin(&duel);
		if (i % 3)
			API_CHECK(weft_group_cancel(duel.rt, duel.group) == 0);
		for (uint32_t k = 0; k < TASKS && twice; k++)
			API_CHECK(weft_release(duel.rt, duel.child[k]) == 0);
		API_CHECK(weft_group_destroy(duel.rt, duel.group) == 0);
		await_other(&duel);
		api_gate_open(&gate);
		API_CHECK(api_end(duel.rt, held) == 0);
	}
	finish(&duel, thread);
}

int main(void)
{
	const uint64_t seed = test_seed();

	run_deadlines(seed);
	run_cancels(seed);
	run_children(seed);
	run_group_cancels(seed);
	run_destroys(seed);
	run_ready(seed, true);
	run_ready(seed, false);
	run_late(seed);
	run_crashes(seed);
	run_births(seed);
	run_orphans(seed);
	return 0;
}
