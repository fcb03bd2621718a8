/*
 * actors.c: many callers, many actors, many threads, and ends at random moments.
 *
 * Goal: every accepted call ends exactly once; calls of one caller run in their order; nobody else
 * is inside while a body runs; state is not shared between lives; kills, restarts, cancels, exits
 * and closes at any moment lose nothing; nor do calls that fail, leave their actor for a while and
 * come again. Method: callers keep a table of what they sent; each body
 * marks its entry; the refs, gotten afterwards, must agree with the marks.
 */
#include "../api/actors.h"

#define CALLERS 6
#define ACTORS  5

struct state {
	uint64_t guard, last[CALLERS], lives;
	bool ready;
};

struct entry {
	struct wf_a32 ran;
	weft_ref ref;
	int status;
};

struct caller {
	weft *rt;
	uint32_t id, calls;
	uint64_t random;
	weft_actor actor[ACTORS];
	struct entry *entry; /* [calls] */
	bool chaos;
};

struct msg {
	struct entry *entry;
	uint32_t caller, seq;
};

#define TRIES 3

/* Attempts of a call; all but the last of them fail. */
static uint32_t tries_of(uint32_t seq)
{
	return seq % 9 == 7 ? TRIES : 1;
}

static int init(weft_task *self)
{
	struct state *state = weft_actor_state(self);

	API_CHECK(!state->ready && !state->guard);
	state->ready = true;
	return 0;
}

static int fini(weft_task *self)
{
	struct state *state = weft_actor_state(self);

	API_CHECK(state->ready && !state->guard);
	return 0;
}

static int body(weft_task *self)
{
	struct state *state = weft_actor_state(self);
	const struct msg msg = *(const struct msg *)weft_task_arg(self, NULL);

	API_CHECK(state->ready);
	/* Alone: a plain field that everybody writes. */
	API_CHECK(state->guard == 0);
	state->guard = msg.seq + 1;
	const uint32_t times = wf_add_acq_rel(&msg.entry->ran, 1);

	API_CHECK(times < tries_of(msg.seq) && times + 1 == weft_task_attempt(self));
	/* In order, with gaps where calls were cancelled or lost. */
	if (times == 0) {
		API_CHECK(state->last[msg.caller] <= msg.seq);
		state->last[msg.caller] = msg.seq + 1;
	}
	if (msg.seq % 7 == 3)
		weft_yield(weft_task_runtime(self));
	API_CHECK(state->guard == msg.seq + 1);
	state->guard = 0;
	if (msg.caller == 0 && msg.seq % 1001 == 1000)
		return weft_actor_crash(self, "chaos");
	if (msg.seq % 4999 == 4998)
		return weft_actor_exit(self);
	return msg.seq % 11 == 5 || times + 1 < tries_of(msg.seq) ? -7 : 0;
}

/* Its back-off is none, one that is over when it has hardly begun, or longer; or its end comes. */
static int submit_retried(struct caller *c, weft_actor actor, const struct msg *msg, weft_ref *out)
{
	const int64_t deadline = c->chaos && api_below(&c->random, 4) == 0
		? weft_now(c->rt) + 1 + api_below(&c->random, 100000)
		: 0;

	return weft_submit(
		c->rt,
		WEFT_TASK(body, .actor = actor, .arg = msg, .arg_size = sizeof *msg,
	                  .opts = WEFT_TASK_OPTIONS(.retries = TRIES - 1, .deadline = deadline,
	                                            .backoff_ns = api_below(&c->random, 3) *
	                                                    (1 + api_below(&c->random, 50000)))),
		out);
}

static void one_call(struct caller *c, uint32_t i)
{
	const struct msg msg = { &c->entry[i], c->id, i };
	weft_actor actor = c->actor[api_below(&c->random, ACTORS)];
	int rc;

	for (;;) {
		if (tries_of(i) > 1)
			rc = submit_retried(c, actor, &msg, &c->entry[i].ref);
		else if (i % 5 == 2)
			rc = weft_submit(c->rt, WEFT_TASK(body, .actor = actor, WEFT_ARG(msg)),
			                 &c->entry[i].ref);
		else if (i % 13 == 4 && i)
			rc = weft_submit(
				c->rt,
				&(struct weft_call){
					.fn = body,
					.actor = actor,
					WEFT_ARG(msg),
					.opts = WEFT_TASK_OPTIONS(.on_input_error =
			                                                  WEFT_INPUT_IGNORE),
					WEFT_AFTER(c->entry[i - 1].ref) },
				&c->entry[i].ref);
		else
			rc = weft_actor_call(c->rt, actor, body, &msg, sizeof msg,
			                     &c->entry[i].ref);
		if (rc != WEFT_ECALLS)
			break;
		rc = weft_actor_wait_room(c->rt, actor, WEFT_FOREVER);
		API_CHECK(rc == 0 || rc == WEFT_EACTOR);
	}
	API_CHECK(rc == 0);
	if (!c->chaos)
		return;
	if (api_below(&c->random, 40) == 0)
		API_CHECK(weft_cancel(c->rt, c->entry[i].ref) == 0);
	/* One that may be between two attempts. */
	if (i > 6 && api_below(&c->random, 40) == 0)
		API_CHECK(weft_cancel(c->rt, c->entry[(i + 2) / 9 * 9 - 2].ref) == 0);
	if (api_below(&c->random, 3000) == 0)
		API_CHECK(weft_actor_kill(c->rt, actor, WEFT_KILL_RESTART) == 0);
	if (api_below(&c->random, 20000) == 0)
		API_CHECK(weft_actor_kill(c->rt, actor, WEFT_KILL_NOW) == 0);
}

static void run_caller(struct caller *c)
{
	for (uint32_t i = 0; i < c->calls; i++)
		one_call(c, i);
	for (uint32_t i = 0; i < c->calls; i++) {
		const int rc = api_end(c->rt, c->entry[i].ref);
		const uint32_t ran = wf_load_acquire(&c->entry[i].ran);

		API_CHECK(rc == 0 || rc == WEFT_ETASK || rc == WEFT_EACTOR || rc == -ECANCELED ||
		          rc == WEFT_EDEADLINE);
		/* What has a result has run; what has not run has none. */
		API_CHECK(ran || rc == WEFT_EACTOR || rc == -ECANCELED || rc == WEFT_EDEADLINE);
		API_CHECK(rc != 0 || ran == tries_of(i));
	}
}

static void *thread_caller(void *arg)
{
	run_caller(arg);
	return NULL;
}

static int task_caller(weft_task *self)
{
	struct caller *const *c = weft_task_arg(self, NULL);

	run_caller(*c);
	return 0;
}

static const struct weft_actor_class class_ =
	WEFT_ACTOR_CLASS(.name = "stress", .state_bytes = sizeof(struct state), .init = init,
                         .fini = fini, .max_restarts = WEFT_RESTARTS_UNLIMITED, .max_pending = 64);

static void run(uint32_t workers, uint32_t calls, bool chaos, uint64_t seed)
{
	weft *rt = api_open(workers);
	struct caller callers[CALLERS];
	weft_actor actor[ACTORS];
	pthread_t threads[CALLERS / 2];
	weft_ref tasks[CALLERS];

	for (int i = 0; i < ACTORS; i++)
		API_CHECK(weft_actor_create(rt, &class_, NULL, NULL, &actor[i]) == 0);
	for (uint32_t i = 0; i < CALLERS; i++) {
		callers[i] = (struct caller){
			.rt = rt, .id = i, .calls = calls, .random = seed + i, .chaos = chaos
		};
		memcpy(callers[i].actor, actor, sizeof actor);
		callers[i].entry = calloc(calls, sizeof(struct entry));
		API_CHECK(callers[i].entry != NULL);
		if (i < CALLERS / 2)
			threads[i] = api_thread(thread_caller, &callers[i]);
		else
			tasks[i] = api_spawn(rt, task_caller, &(void *){ &callers[i] },
			                     sizeof(void *));
	}
	for (uint32_t i = 0; i < CALLERS; i++) {
		if (i < CALLERS / 2)
			api_join(threads[i]);
		else
			API_CHECK(api_end(rt, tasks[i]) == 0);
		free(callers[i].entry);
	}
	for (int i = 0; i < ACTORS; i++)
		act_release(rt, actor[i]);
	API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
}

/*
 * A runtime that closes, or is interrupted, while calls of all kinds are on their way and actors
 * are killed and begin anew: 210 times.
 */
static const struct weft_task_options failing = { .struct_size = sizeof failing,
	                                          .retries = 2,
	                                          .backoff_ns = 20000 };

static int floods(weft_task *self)
{
	const weft_actor actor = *(const weft_actor *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);

	for (uint32_t i = 0; i < api_scaled(10000) && !weft_task_cancelled(self); i++) {
		const int rc = i % 16
			? weft_actor_call(rt, actor, api_body_nothing, NULL, 0, NULL)
			: weft_submit(rt,
		                      WEFT_TASK(api_body_fail, .actor = actor,
		                                WEFT_ARG((int64_t){ -7 }), .opts = &failing),
		                      NULL);

		if (rc == WEFT_ECALLS && weft_actor_wait_room(rt, actor, WEFT_FOREVER))
			break;
		if (rc < 0 && rc != WEFT_ECALLS)
			break;
	}
	act_release(rt, actor);
	return 0;
}

static void run_close(uint32_t workers, uint64_t seed)
{
	weft *rt = api_open(workers);
	weft_actor actor[3];
	uint64_t random = seed;

	for (int i = 0; i < 3; i++) {
		API_CHECK(weft_actor_create(rt, &class_, NULL, NULL, &actor[i]) == 0);
		API_CHECK(weft_actor_retain(rt, actor[i]) == 0);
		API_CHECK(weft_spawn(rt, floods, &actor[i], sizeof actor[i], NULL) == 0);
	}
	const uint32_t spins = api_below(&random, 20000);

	for (volatile uint32_t i = 0; i < spins; i++)
		continue;
	for (uint32_t i = api_below(&random, 4); i; i--)
		API_CHECK(weft_actor_kill(rt, actor[api_below(&random, 3)],
		                          api_below(&random, 3) ? WEFT_KILL_RESTART
		                                                : WEFT_KILL_NOW) == 0);
	if (api_below(&random, 2))
		weft_interrupt(rt);
	for (int i = 0; i < 3; i++)
		act_release(rt, actor[i]);
	API_CHECK(weft_close(rt, api_below(&random, 2) ? WEFT_POLL : WEFT_FOREVER) >= 0);
}

/* Several inside, crashes, and posts in between: nobody comes into a crashed actor. */
static const struct weft_actor_class wide =
	WEFT_ACTOR_CLASS(.name = "wide", .state_bytes = sizeof(struct state), .init = init,
                         .max_restarts = WEFT_RESTARTS_UNLIMITED, .max_concurrency = 4);

static int crashes_sometimes(weft_task *self)
{
	const uint32_t seq = *(const uint32_t *)weft_task_arg(self, NULL);

	API_CHECK(((struct state *)weft_actor_state(self))->ready);
	if (seq % 4 == 2 && weft_task_attempt(self) == 1)
		return -7;
	return seq % 16 == 15 ? weft_actor_crash(self, "often") : 0;
}

struct flood {
	weft *rt;
	weft_actor actor;
	uint32_t calls;
};

static void *floods_wide(void *arg)
{
	const struct flood *flood = arg;
	weft_ref refs[32];

	for (uint32_t i = 0; i < flood->calls; i += 32) {
		for (uint32_t j = 0; j < 32; j++)
			refs[j] = api_submit(flood->rt,
			                     WEFT_TASK(crashes_sometimes, .actor = flood->actor,
			                               WEFT_ARG((uint32_t){ i + j }),
			                               .opts = j % 4 == 2 ? &failing : NULL));
		for (uint32_t j = 0; j < 32; j++) {
			const int rc = api_end(flood->rt, refs[j]);

			/* One that has just failed is not tried again in an actor that crashes. */
			API_CHECK(rc == 0 || rc == WEFT_EACTOR || (rc == WEFT_ETASK && j % 4 == 2));
		}
	}
	return NULL;
}

/* Restarts in a row take longer and longer, so there are few. */
static void run_wide(uint32_t workers)
{
	weft *rt = api_open(workers);
	pthread_t threads[3];
	struct flood flood = { .rt = rt, .calls = 32 };

	for (uint32_t round = 0; round < api_scaled(20); round++) {
		API_CHECK(weft_actor_create(rt, &wide, NULL, NULL, &flood.actor) == 0);
		for (int i = 0; i < 3; i++)
			threads[i] = api_thread(floods_wide, &flood);
		for (int i = 0; i < 3; i++)
			api_join(threads[i]);
		act_release(rt, flood.actor);
	}
	/* Also when a crashed actor that nobody has waits to start again. */
	API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
}

/* ---- What ends a call that is just leaving its actor for an hour ----------------------------- */

static int fails(weft_task *self)
{
	(void)self;
	return -7;
}

struct leaving {
	weft *rt;
	weft_actor actor;
	weft_deadline deadline;
	weft_ref call;
	struct api_count made;
};

static void leave(struct leaving *l)
{
	l->call = api_submit(
		l->rt,
		WEFT_TASK(fails, .actor = l->actor,
	                  .opts = WEFT_TASK_OPTIONS(.retries = 1, .deadline = l->deadline,
	                                            .backoff_ns = INT64_C(3600000000000),
	                                            .backoff_max_ns = INT64_C(3600000000000))));
	api_add(&l->made, 1);
}

static int leaves(weft_task *self)
{
	struct leaving *l = api_arg_pointer(self);
	struct weft_view view;

	leave(l);
	return weft_get(l->rt, l->call, WEFT_FOREVER, &view);
}

/* Asked while its attempt runs it fails as that did, else it ends between two. */
static void ends_with(const struct leaving *l, int status)
{
	const int rc = api_end(l->rt, l->call);

	API_CHECK(rc == status || rc == WEFT_ETASK);
}

static void run_leaves(uint32_t workers, uint64_t seed)
{
	weft *rt = api_open(workers);
	uint64_t random = seed;
	weft_ref task;

	for (uint32_t i = 0; i < api_scaled(4000); i++) {
		struct leaving l = { .rt = rt };
		const uint32_t how = api_below(&random, 4);

		API_CHECK(weft_actor_create(rt, &wide, NULL, NULL, &l.actor) == 0);
		if (how == 0)
			l.deadline = weft_now(rt) + 1 + api_below(&random, 50000);
		if (how == 1)
			task = api_submit(rt, WEFT_TASK(leaves, API_POINTER(&l)));
		else
			leave(&l);
		api_await_count(&l.made, 1);
		for (volatile uint32_t n = api_below(&random, 3000); n; n--)
			continue;
		if (how == 1) {
			API_CHECK(weft_cancel(rt, task) == 0);
			api_end(rt, task);
		} else if (how == 2) {
			API_CHECK(weft_cancel(rt, l.call) == 0);
		} else if (how == 3) {
			API_CHECK(weft_actor_kill(rt, l.actor, WEFT_KILL_NOW) == 0);
		}
		ends_with(&l, how == 0 ? WEFT_EDEADLINE : how < 3 ? -ECANCELED : WEFT_EACTOR);
		act_release(rt, l.actor);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	const uint64_t seed = test_seed();
	static const uint32_t workers[] = { 1, 2, 8 };

	for (uint32_t i = 0; i < 3; i++) {
		run(workers[i], api_scaled(8000), false, seed);
		run(workers[i], api_scaled(8000), true, seed);
		for (uint32_t j = 0; j < api_scaled(70); j++)
			run_close(workers[i], seed + j);
		run_wide(workers[i]);
		run_leaves(workers[i], seed);
	}
	return 0;
}
