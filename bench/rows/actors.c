/*
 * actors.c: benchmarks of actors, most of them Savina's (Imam and Sarkar, AGERE! 2014,
 * doi:10.1145/2687357.2687368) by their names. A message is a call without a result, unless the row
 * is about calls. Floods keep the default limit of 1024 pending calls for each sender and wait for
 * room beyond it.
 */
#include "actors.h"

static const struct weft_actor_class stateless = WEFT_ACTOR_CLASS(.name = "bench");
static const struct weft_actor_class counter_class =
	WEFT_ACTOR_CLASS(.name = "counter", .state_bytes = 64);

weft_actor bench_actor(weft *rt, const struct weft_actor_class *class_)
{
	weft_actor actor;

	bench_must(weft_actor_create(rt, class_, NULL, NULL, &actor), "weft_actor_create");
	return actor;
}

void bench_tell(weft *rt, weft_actor actor, weft_task_fn *fn, const void *arg, size_t size)
{
	int rc = weft_actor_call(rt, actor, fn, arg, size, NULL);

	while (rc == WEFT_ECALLS) {
		bench_must(weft_actor_wait_room(rt, actor, WEFT_FOREVER), "weft_actor_wait_room");
		rc = weft_actor_call(rt, actor, fn, arg, size, NULL);
	}
	bench_must(rc, "weft_actor_call");
}

static weft_ref event_make(weft *rt)
{
	weft_ref event;

	bench_must(weft_event_create(rt, &event), "weft_event_create");
	return event;
}

/* Set by the last message, which tells how many there were. */
static weft_ref done;

void bench_actors_done(weft *rt, uint64_t value)
{
	bench_must(weft_event_set(rt, done, &value, sizeof value), "weft_event_set");
}

static uint64_t await_done(weft *rt)
{
	uint64_t value = 0;

	bench_must(weft_take(rt, done, &value, sizeof value), "weft_take");
	return value;
}

int bench_actors_run(const struct bench_run *run, const struct bench_plan *plan)
{
	weft *rt = bench_open(run->threads);

	for (int rep = -run->warmups; rep < run->reps; rep++) {
		done = event_make(rt);
		if (plan->prepare)
			plan->prepare(rt, plan->n);
		const int64_t start = bench_now_ns();
		bench_must(weft_spawn(rt, plan->root, &plan->n, sizeof plan->n, NULL),
		           "weft_spawn");
		uint64_t answer = await_done(rt);
		const int64_t ns = bench_now_ns() - start;
		if (plan->finish)
			answer = plan->finish(rt, plan->n, answer);
		bench_emit(run, rep, "", (double)ns / (double)(plan->n * plan->messages), plan->n,
		           answer);
	}
	bench_close(rt);
	return 0;
}

/* ---- Ping-pong, thread ring ------------------------------------------------------------------ */

struct ball {
	weft_actor back;
	uint64_t left;
};

static uint64_t hops;

static int bounce(weft_task *self)
{
	const struct ball *ball = bench_arg(self);
	weft *rt = weft_task_runtime(self);

	hops++;
	if (!ball->left) {
		bench_actors_done(rt, hops);
		return 0;
	}
	const struct ball next = { weft_actor_self(self), ball->left - 1 };

	bench_tell(rt, ball->back, bounce, &next, sizeof next);
	return 0;
}

static weft_actor players[2];

static int pingpong_root(weft_task *self)
{
	const struct ball first = { players[1], *(const uint64_t *)bench_arg(self) - 1 };

	hops = 0;
	bench_tell(weft_task_runtime(self), players[0], bounce, &first, sizeof first);
	return 0;
}

static void pingpong_prepare(weft *rt, uint64_t n)
{
	(void)n;
	players[0] = bench_actor(rt, &stateless);
	players[1] = bench_actor(rt, &stateless);
}

static uint64_t pingpong_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	bench_must(weft_actor_release(rt, players[0]), "weft_actor_release");
	bench_must(weft_actor_release(rt, players[1]), "weft_actor_release");
	return value;
}

int row_actor_pingpong(const struct bench_run *run)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(2000000, 2000), pingpong_root,
	                                              pingpong_prepare, pingpong_finish, 1 });
}

#define RING 100

static weft_actor ring[RING];

static int pass(weft_task *self)
{
	const struct ball *ball = bench_arg(self);
	weft *rt = weft_task_runtime(self);

	hops++;
	if (!ball->left) {
		bench_actors_done(rt, hops);
		return 0;
	}
	/* `back` carries the place in the ring. */
	const uint64_t at = (ball->back.bits + 1) % RING;
	const struct ball next = { { at }, ball->left - 1 };

	bench_tell(rt, ring[at], pass, &next, sizeof next);
	return 0;
}

static int ring_root(weft_task *self)
{
	const struct ball first = { { 0 }, *(const uint64_t *)bench_arg(self) - 1 };

	hops = 0;
	bench_tell(weft_task_runtime(self), ring[0], pass, &first, sizeof first);
	return 0;
}

static void ring_prepare(weft *rt, uint64_t n)
{
	(void)n;
	for (int i = 0; i < RING; i++)
		ring[i] = bench_actor(rt, &stateless);
}

static uint64_t ring_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	for (int i = 0; i < RING; i++)
		bench_must(weft_actor_release(rt, ring[i]), "weft_actor_release");
	return value;
}

int row_actor_ring(const struct bench_run *run)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(4000000, 2000), ring_root,
	                                              ring_prepare, ring_finish, 1 });
}

/* ---- Counting, eight to one, fork-join throughput ------------------------------------------ */

static weft_actor target, sources[8];

static int count(weft_task *self)
{
	++*(uint64_t *)weft_actor_state(self);
	return 0;
}

static int count_end(weft_task *self)
{
	uint64_t *state = weft_actor_state(self);
	const uint64_t *expected = bench_arg(self);

	if (++state[1] == *expected)
		bench_actors_done(weft_task_runtime(self), state[0]);
	return 0;
}

struct flood {
	uint64_t n, sources;
};

static int flood_body(weft_task *self)
{
	const struct flood flood = *(const struct flood *)bench_arg(self);
	weft *rt = weft_task_runtime(self);

	for (uint64_t i = 0; i < flood.n; i++)
		bench_tell(rt, target, count, NULL, 0);
	bench_tell(rt, target, count_end, &flood.sources, sizeof flood.sources);
	return 0;
}

static uint64_t sources_count;

static int counting_root(weft_task *self)
{
	const struct flood flood = { *(const uint64_t *)bench_arg(self) / sources_count,
		                     sources_count };
	weft *rt = weft_task_runtime(self);

	for (uint64_t i = 0; i < sources_count; i++)
		bench_tell(rt, sources[i], flood_body, &flood, sizeof flood);
	return 0;
}

static void counting_prepare(weft *rt, uint64_t n)
{
	(void)n;
	target = bench_actor(rt, &counter_class);
	for (uint64_t i = 0; i < sources_count; i++)
		sources[i] = bench_actor(rt, &stateless);
}

static uint64_t counting_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	for (uint64_t i = 0; i < sources_count; i++)
		bench_must(weft_actor_release(rt, sources[i]), "weft_actor_release");
	bench_must(weft_actor_release(rt, target), "weft_actor_release");
	return value;
}

int row_actor_counting(const struct bench_run *run)
{
	sources_count = 1;
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(4000000, 4000), counting_root,
	                                              counting_prepare, counting_finish, 1 });
}

int row_actor_n1(const struct bench_run *run)
{
	sources_count = 8;
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(4000000, 4000), counting_root,
	                                              counting_prepare, counting_finish, 1 });
}

#define FORKS 60

static weft_actor forks[FORKS];
static struct bench_counter forks_ended;

static int fork_end(weft_task *self)
{
	if (bench_counter_add(&forks_ended) + 1 == FORKS)
		bench_actors_done(weft_task_runtime(self), 0);
	return 0;
}

static int fjthrput_root(weft_task *self)
{
	const uint64_t n = *(const uint64_t *)bench_arg(self) / FORKS;
	weft *rt = weft_task_runtime(self);

	forks_ended.value = 0;
	for (uint64_t i = 0; i < n; i++)
		for (int j = 0; j < FORKS; j++)
			bench_tell(rt, forks[j], count, NULL, 0);
	for (int j = 0; j < FORKS; j++)
		bench_tell(rt, forks[j], fork_end, NULL, 0);
	return 0;
}

static void fjthrput_prepare(weft *rt, uint64_t n)
{
	(void)n;
	for (int i = 0; i < FORKS; i++)
		forks[i] = bench_actor(rt, &counter_class);
}

int bench_actor_count(weft_task *self)
{
	return weft_return(self, weft_actor_state(self), sizeof(uint64_t));
}

/* What actors have counted, by a last call to each; they are released. */
static uint64_t counted(weft *rt, const weft_actor *actors, int n, weft_task_fn *last)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		uint64_t one = 0;
		weft_ref ref;

		bench_must(weft_actor_call(rt, actors[i], last, NULL, 0, &ref), "weft_actor_call");
		bench_must(weft_take(rt, ref, &one, sizeof one), "weft_take");
		bench_must(weft_actor_release(rt, actors[i]), "weft_actor_release");
		sum += one;
	}
	return sum;
}

static uint64_t fjthrput_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	return value + counted(rt, forks, FORKS, bench_actor_count);
}

int row_actor_fjthrput(const struct bench_run *run)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(6000000, 6000), fjthrput_root,
	                                              fjthrput_prepare, fjthrput_finish, 1 });
}

/* ---- Creation ------------------------------------------------------------------------------ */

static struct bench_counter created;
static uint64_t created_wanted;

static int created_body(weft_task *self)
{
	if (bench_counter_add(&created) + 1 == created_wanted)
		bench_actors_done(weft_task_runtime(self), created_wanted);
	return 0;
}

static int fjcreate_root(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	created.value = 0;
	created_wanted = *(const uint64_t *)bench_arg(self);
	for (uint64_t i = 0; i < created_wanted; i++) {
		weft_actor actor = bench_actor(rt, &stateless);

		bench_tell(rt, actor, created_body, NULL, 0);
		bench_must(weft_actor_release(rt, actor), "weft_actor_release");
	}
	return 0;
}

int row_actor_fjcreate(const struct bench_run *run)
{
	return bench_actors_run(
		run,
		&(struct bench_plan){ bench_pick(400000, 2000), fjcreate_root, NULL, NULL, 1 });
}

/* ---- Big: everybody pings everybody -------------------------------------------------------- */

#define BIG 120

static weft_actor big[BIG];
static uint64_t big_each;
static struct bench_counter big_ended;

struct big_state {
	uint64_t left, random, pings;
};
static const struct weft_actor_class big_class =
	WEFT_ACTOR_CLASS(.name = "big", .state_bytes = sizeof(struct big_state));

static int big_pong(weft_task *self);

static int big_ping(weft_task *self)
{
	struct big_state *state = weft_actor_state(self);
	const weft_actor *from = bench_arg(self);

	state->pings++;
	bench_tell(weft_task_runtime(self), *from, big_pong, NULL, 0);
	return 0;
}

static int big_pong(weft_task *self)
{
	struct big_state *state = weft_actor_state(self);
	weft *rt = weft_task_runtime(self);

	if (!state->left) {
		if (bench_counter_add(&big_ended) + 1 == BIG)
			bench_actors_done(rt, 0);
		return 0;
	}
	state->left--;
	state->random = bench_mix(state->random);
	const weft_actor me = weft_actor_self(self);

	bench_tell(rt, big[state->random % BIG], big_ping, &me, sizeof me);
	return 0;
}

static int big_begin(weft_task *self)
{
	struct big_state *state = weft_actor_state(self);

	state->left = big_each;
	state->random = *(const uint64_t *)bench_arg(self);
	return big_pong(self);
}

static int big_root(weft_task *self)
{
	big_each = *(const uint64_t *)bench_arg(self) / BIG;
	big_ended.value = 0;
	for (uint64_t i = 0; i < BIG; i++)
		bench_tell(weft_task_runtime(self), big[i], big_begin, &i, sizeof i);
	return 0;
}

static void big_prepare(weft *rt, uint64_t n)
{
	(void)n;
	for (int i = 0; i < BIG; i++)
		big[i] = bench_actor(rt, &big_class);
}

static int big_count(weft_task *self)
{
	return weft_return(self, &((struct big_state *)weft_actor_state(self))->pings,
	                   sizeof(uint64_t));
}

static uint64_t big_finish(weft *rt, uint64_t n, uint64_t value)
{
	(void)n;
	return value + counted(rt, big, BIG, big_count);
}

int row_actor_big(const struct bench_run *run)
{
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(BIG * 20000, BIG * 20), big_root,
	                                              big_prepare, big_finish, 2 });
}

/* ---- Calls with results -------------------------------------------------------------------- */

static int ask_only(weft_task *self)
{
	uint64_t *state = weft_actor_state(self);

	++*state;
	return weft_return(self, state, sizeof *state);
}

static int ask_each(weft_task *self)
{
	const uint64_t n = *(const uint64_t *)bench_arg(self);
	weft *rt = weft_task_runtime(self);
	uint64_t value = 0;

	for (uint64_t i = 0; i < n; i++) {
		weft_ref ref;

		bench_must(weft_actor_call(rt, target, ask_only, NULL, 0, &ref), "weft_actor_call");
		bench_must(weft_take(rt, ref, &value, sizeof value), "weft_take");
	}
	bench_actors_done(rt, value);
	return 0;
}

#define BURST 1000

static int ask_bursts(weft_task *self)
{
	const uint64_t n = *(const uint64_t *)bench_arg(self);
	weft *rt = weft_task_runtime(self);
	uint64_t value = 0;
	weft_ref refs[BURST];

	for (uint64_t i = 0; i < n; i += BURST) {
		for (int j = 0; j < BURST; j++)
			bench_must(weft_actor_call(rt, target, ask_only, NULL, 0, &refs[j]),
			           "weft_actor_call");
		for (int j = 0; j < BURST; j++)
			bench_must(weft_take(rt, refs[j], &value, sizeof value), "weft_take");
	}
	bench_actors_done(rt, value);
	return 0;
}

int row_actor_ask(const struct bench_run *run)
{
	sources_count = 0;
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(1000000, 1000), ask_each,
	                                              counting_prepare, counting_finish, 1 });
}

int row_actor_askburst(const struct bench_run *run)
{
	sources_count = 0;
	return bench_actors_run(run,
	                        &(struct bench_plan){ bench_pick(1000000, 1000), ask_bursts,
	                                              counting_prepare, counting_finish, 1 });
}
