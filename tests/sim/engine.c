/*
 * Goal: fork and join, loops, timers, completion queues and blocking parts end with the right
 * results and nothing left, under every schedule tried. Method: small programs of random shape on
 * the simulated engine (tests/support/sim.c); a lost wake-up is a deadlock there, a leak is a
 * count at the end.
 */
#include <errno.h>
#include <string.h>

#include "sim_util.h"

/* ---- Fork and join ------------------------------------------------------------------------ */

static int64_t fib_serial(int64_t n)
{
	return n < 2 ? n : fib_serial(n - 1) + fib_serial(n - 2);
}

/* With refs: one child is submitted, the other is submitted or called. */
static int fib(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	int64_t n = *(const int64_t *)weft_task_arg(self, NULL);
	int64_t x = 0, y = 0, less = n - 1, least = n - 2;
	weft_ref a, b;

	if (n < 2)
		return weft_return(self, &n, sizeof n);
	SIM_CHECK(weft_spawn(rt, fib, &less, sizeof less, &a) == 0);
	SIM_CHECK(weft_spawn(rt, fib, &least, sizeof least, &b) == 0);
	if (sim_choose(4) == 0)
		SIM_CHECK(weft_yield(rt) == 0);
	SIM_CHECK(weft_take(rt, a, &x, sizeof x) == sizeof x);
	SIM_CHECK(weft_take(rt, b, &y, sizeof y) == sizeof y);
	x += y;
	return weft_return(self, &x, sizeof x);
}

static void fork_fib(weft_task *self, void *arg)
{
	int64_t *n = arg;
	int64_t x = *n - 1, y = *n - 2;
	struct weft_fork fork;

	if (*n < 2)
		return;
	weft_fork(self, &fork, fork_fib, &x);
	fork_fib(self, &y);
	weft_fork_join(self, &fork);
	*n = x + y;
}

static int fork_root(weft_task *self)
{
	int64_t n = *(const int64_t *)weft_task_arg(self, NULL);

	fork_fib(self, &n);
	return weft_return(self, &n, sizeof n);
}

static void *fib_thread(void *arg)
{
	int64_t n = 3 + sim_choose(6), value = 0;
	weft_ref ref;

	SIM_CHECK(weft_spawn(arg, sim_choose(2) ? fib : fork_root, &n, sizeof n, &ref) == 0);
	if (sim_choose(3) == 0)
		SIM_CHECK(weft_run(arg, ref, WEFT_FOREVER) == 0);
	SIM_CHECK(weft_take(arg, ref, &value, sizeof value) == sizeof value);
	SIM_CHECK(value == fib_serial(n));
	return NULL;
}

static void fork_join(void)
{
	weft *rt = sim_open();
	pthread_t thread[2];
	uint32_t threads = sim_choose(3);

	for (uint32_t i = 0; i < threads; i++)
		thread[i] = sim_thread(fib_thread, rt);
	fib_thread(rt);
	for (uint32_t i = 0; i < threads; i++)
		sim_join(thread[i]);
	sim_close(rt);
}

/* ---- Loops -------------------------------------------------------------------------------- */

#define LOOP_MOST 64

struct loop {
	struct wf_a32 seen[LOOP_MOST];
};

static void loop_body(int64_t begin, int64_t end, void *arg)
{
	struct loop *loop = arg;

	for (int64_t i = begin; i < end; i++)
		SIM_CHECK(wf_add_relaxed(&loop->seen[i], 1) == 0);
}

static void sum_body(int64_t begin, int64_t end, void *arg, void *acc)
{
	(void)arg;
	for (int64_t i = begin; i < end; i++)
		*(int64_t *)acc += i;
}

static void sum_combine(void *into, const void *from, void *arg)
{
	(void)arg;
	*(int64_t *)into += *(const int64_t *)from;
}

static void one_loop(weft *rt)
{
	struct loop loop;
	int64_t n = sim_choose(LOOP_MOST), sum = -1;
	const int64_t zero = 0;

	memset(&loop, 0, sizeof loop);
	SIM_CHECK(weft_for(rt, 0, n, sim_choose(4), loop_body, &loop) == 0);
	for (int64_t i = 0; i < LOOP_MOST; i++)
		SIM_CHECK(wf_load_relaxed(&loop.seen[i]) == (i < n));
	SIM_CHECK(weft_reduce(rt, 0, n, sim_choose(4), sum_body, sum_combine, NULL, &zero,
	                      sizeof zero, &sum) == 0);
	SIM_CHECK(sum == n * (n - 1) / 2);
}

static int loop_task(weft_task *self)
{
	one_loop(weft_task_runtime(self));
	return 0;
}

static void loops(void)
{
	weft *rt = sim_open();
	weft_ref refs[3];
	uint32_t n = sim_choose(4);

	for (uint32_t i = 0; i < n; i++)
		SIM_CHECK(weft_submit(rt, WEFT_TASK(loop_task), &refs[i]) == 0);
	one_loop(rt);
	for (uint32_t i = 0; i < n; i++)
		SIM_CHECK(weft_take(rt, refs[i], NULL, 0) == 0);
	sim_close(rt);
}

/* ---- Timers ------------------------------------------------------------------------------- */

/* Sleeps, waits that end by time, waits that end just before: none early, none for ever. */
static int timer_task(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref event = *(const weft_ref *)weft_task_arg(self, NULL);

	for (uint32_t i = 0; i < 1 + sim_choose(4); i++) {
		weft_deadline until = weft_now(rt) + sim_choose(3000000);
		struct weft_view view;
		int rc;

		if (sim_choose(2)) {
			SIM_CHECK(weft_sleep_until(rt, until) == 0);
			SIM_CHECK(weft_now(rt) >= until);
			continue;
		}
		rc = weft_get(rt, event, until, &view);
		SIM_CHECK(rc == 0 || (rc == -ETIMEDOUT && weft_now(rt) >= until));
	}
	SIM_CHECK(weft_release(rt, event) == 0);
	return 0;
}

static void timers(void)
{
	weft *rt = sim_open();
	uint32_t n = 1 + sim_choose(10);
	weft_ref event, refs[10];
	bool ready[10] = { false };

	SIM_CHECK(weft_event_create(rt, &event) == 0);
	for (uint32_t i = 0; i < n; i++) {
		SIM_CHECK(weft_retain(rt, event) == 0);
		SIM_CHECK(weft_spawn(rt, timer_task, &event, sizeof event, &refs[i]) == 0);
	}
	weft_deadline until = weft_now(rt) + sim_choose(4000000);
	int got = weft_wait_all_ready(rt, refs, n, n, until, ready);

	SIM_CHECK(got >= 0 && got <= (int)n);
	SIM_CHECK(got == (int)n || weft_now(rt) >= until);
	if (sim_choose(2))
		SIM_CHECK(weft_sleep_until(rt, weft_now(rt) + sim_choose(2000000)) == 0);
	SIM_CHECK(weft_event_set(rt, event, "x", 1) == 0);
	SIM_CHECK(weft_release(rt, event) == 0);
	for (uint32_t i = 0; i < n; i++)
		SIM_CHECK(weft_take(rt, refs[i], NULL, 0) == 0);
	sim_close(rt);
}

/* ---- Cancelling what sleeps --------------------------------------------------------------- */

#define SLEEPERS_MOST 12

struct sleeper {
	weft_ref light; /* is set in the end */
	weft_ref dark;  /* never is, while somebody waits: only a cancel ends that */
	enum { SAFE, DOOMED, FICKLE } kind; /* cancelled: never, for sure, perhaps too late */
};

/* Short waits, each on the stack that another sleeper may just have left; then a long one. */
static int sleeper_task(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const struct sleeper *me = *(struct sleeper *const *)weft_task_arg(self, NULL);
	struct weft_view view;
	bool ready = false;
	int rc = 0;

	for (uint32_t i = sim_choose(6); i > 0 && rc == 0; i--) {
		rc = sim_choose(2) ? weft_yield(rt)
				   : weft_sleep_until(rt, weft_now(rt) + sim_choose(20000));
		SIM_CHECK(rc == 0 || (rc == -ECANCELED && me->kind != SAFE));
	}
	if (rc || me->kind == FICKLE)
		return rc;
	if (me->kind == SAFE) {
		SIM_CHECK(weft_get(rt, me->light, WEFT_FOREVER, &view) == 0);
		return 0;
	}
	if (sim_choose(2))
		rc = weft_get(rt, me->dark, WEFT_FOREVER, &view);
	else
		rc = weft_wait(rt, &me->dark, 1, 1, WEFT_FOREVER, &ready);
	SIM_CHECK(rc == -EINTR && weft_task_cancelled(self));
	return rc;
}

static void cancel_sleepers(void)
{
	weft *rt = sim_open();
	uint32_t n = 1 + sim_choose(SLEEPERS_MOST);
	struct sleeper sleepers[SLEEPERS_MOST];
	weft_ref refs[SLEEPERS_MOST], light, dark;

	SIM_CHECK(weft_event_create(rt, &light) == 0);
	SIM_CHECK(weft_event_create(rt, &dark) == 0);
	for (uint32_t i = 0; i < n; i++) {
		struct sleeper *me = &sleepers[i];

		*me = (struct sleeper){ light, dark, sim_choose(3) };
		SIM_CHECK(weft_spawn(rt, sleeper_task, &me, sizeof me, &refs[i]) == 0);
	}
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t turns = sim_choose(30); turns > 0; turns--)
			sim_yield();
		if (sleepers[i].kind != SAFE)
			SIM_CHECK(weft_cancel(rt, refs[i]) == 0);
	}
	SIM_CHECK(weft_event_set(rt, light, NULL, 0) == 0);
	for (uint32_t i = 0; i < n; i++) {
		int64_t rc = weft_take(rt, refs[i], NULL, 0);

		SIM_CHECK(rc == 0 || rc == -ECANCELED);
		SIM_CHECK(sleepers[i].kind == FICKLE ||
		          (rc == -ECANCELED) == (sleepers[i].kind == DOOMED));
	}
	SIM_CHECK(weft_event_fail(rt, dark, -EIO, "nobody") == 0);
	SIM_CHECK(weft_release(rt, dark) == 0);
	SIM_CHECK(weft_release(rt, light) == 0);
	sim_close(rt);
}

/* ---- Completion queues -------------------------------------------------------------------- */

#define QUEUED_MOST 24

struct queued {
	weft *rt;
	weft_cq *cq;
	weft_ref refs[QUEUED_MOST];
	uint32_t n;
	uint32_t taken[QUEUED_MOST];
	struct wf_a32 done;
};

static int maybe_slow(weft_task *self)
{
	uint32_t what = sim_choose(4);

	if (what == 0)
		return weft_fail(self, -EIO, "on purpose");
	if (what == 1)
		SIM_CHECK(weft_sleep_until(weft_task_runtime(self),
		                           weft_now(NULL) + sim_choose(100000)) == 0);
	else if (what == 2)
		SIM_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	return 0;
}

static void count_done(void *arg, weft_ref ref, int status)
{
	struct queued *q = arg;

	SIM_CHECK(ref.bits != 0);
	SIM_CHECK(status == 0 || status == WEFT_ETASK);
	wf_add_relaxed(&q->done, 1);
}

/* Takes what comes until all that was not removed has come. */
static void *take_all(void *arg)
{
	struct queued *q = arg;
	struct weft_cq_item items[5];

	for (;;) {
		int got = weft_cq_wait(q->cq, items, 1 + sim_choose(5), WEFT_FOREVER);

		if (got == -ENOENT)
			return NULL;
		SIM_CHECK(got > 0);
		for (int i = 0; i < got; i++) {
			SIM_CHECK(items[i].tag < q->n);
			SIM_CHECK(items[i].ref.bits == q->refs[items[i].tag].bits);
			SIM_CHECK(items[i].status == 0 || items[i].status == WEFT_ETASK);
			q->taken[items[i].tag]++;
		}
	}
}

static int take_all_task(weft_task *self)
{
	take_all(*(void *const *)weft_task_arg(self, NULL));
	return 0;
}

static void completion_queue(void)
{
	struct queued q = { .rt = sim_open(), .n = 1 + sim_choose(QUEUED_MOST) };
	bool removed[QUEUED_MOST] = { false };
	uint32_t hooked = 0;
	bool by_task = sim_choose(2);
	void *arg = &q;
	weft_ref taker = WEFT_NONE;
	pthread_t thread = 0;

	SIM_CHECK(weft_cq_create(q.rt, &q.cq) == 0);
	for (uint32_t i = 0; i < q.n; i++) {
		SIM_CHECK(weft_submit(q.rt, WEFT_TASK(maybe_slow), &q.refs[i]) == 0);
		SIM_CHECK(weft_cq_add(q.cq, q.refs[i], i) == 0);
		if (sim_choose(4) == 0) {
			SIM_CHECK(weft_on_done(q.rt, q.refs[i], count_done, &q) == 0);
			hooked++;
		}
	}
	if (by_task)
		SIM_CHECK(weft_spawn(q.rt, take_all_task, &arg, sizeof arg, &taker) == 0);
	else
		thread = sim_thread(take_all, &q);
	for (uint32_t i = 0; i < q.n; i += 1 + sim_choose(6)) {
		int rc = weft_cq_remove(q.cq, q.refs[i], i);

		SIM_CHECK(rc == 0 || rc == 1 || rc == -ENOENT);
		removed[i] = rc == 1;
	}
	if (by_task)
		SIM_CHECK(weft_take(q.rt, taker, NULL, 0) == 0);
	else
		sim_join(thread);
	for (uint32_t i = 0; i < q.n; i++) {
		SIM_CHECK(q.taken[i] == !removed[i]);
		SIM_CHECK(weft_release(q.rt, q.refs[i]) == 0);
	}
	weft_cq_destroy(q.cq);
	sim_close(q.rt);
	SIM_CHECK(wf_load_relaxed(&q.done) == hooked);
}

/* ---- Bodies that block their thread ------------------------------------------------------- */

/* Waits, inside the bracket, for something that only another task does. */
static int blocking_task(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref event = *(const weft_ref *)weft_task_arg(self, NULL);
	struct weft_view view;
	int rc = sim_choose(2) ? weft_block_enter(rt, WEFT_BLOCK_RELEASE) : -EAGAIN;

	SIM_CHECK(rc == 0 || rc == -EAGAIN);
	if (rc == 0) {
		for (uint32_t i = sim_choose(20); i > 0; i--)
			sim_yield();
		weft_block_exit(rt);
	}
	SIM_CHECK(weft_get(rt, event, WEFT_FOREVER, &view) == 0);
	SIM_CHECK(view.size == sizeof(int64_t));
	int64_t n = 2 + sim_choose(3), value = 0;
	weft_ref child;

	SIM_CHECK(weft_spawn(rt, fib, &n, sizeof n, &child) == 0);
	SIM_CHECK(weft_take(rt, child, &value, sizeof value) == sizeof value);
	SIM_CHECK(value == fib_serial(n));
	SIM_CHECK(weft_release(rt, event) == 0);
	return 0;
}

static weft_ref submit_blocking(weft *rt, weft_ref event, uint32_t kind)
{
	static const struct weft_task_options kinds[3] = {
		{ .struct_size = sizeof *kinds, .flags = WEFT_TASK_BLOCKING },
		{ .struct_size = sizeof *kinds, .flags = WEFT_TASK_STAY },
		{ .struct_size = sizeof *kinds },
	};
	weft_ref ref = WEFT_NONE;

	SIM_CHECK(weft_retain(rt, event) == 0);
	SIM_CHECK(weft_submit(rt, WEFT_TASK(blocking_task, WEFT_ARG(event), .opts = &kinds[kind]),
	                      &ref) == 0);
	return ref;
}

static void blocking(void)
{
	weft *rt = sim_open();
	uint32_t n = 1 + sim_choose(8);
	int64_t value = 7;
	weft_ref event, refs[8];

	SIM_CHECK(weft_event_create(rt, &event) == 0);
	for (uint32_t i = 0; i < n; i++)
		refs[i] = submit_blocking(rt, event, sim_choose(3));
	SIM_CHECK(weft_event_set(rt, event, &value, sizeof value) == 0);
	for (uint32_t i = 0; i < n; i++)
		SIM_CHECK(weft_take(rt, refs[i], NULL, 0) == 0);
	/* Around the moment at which idle spare threads leave. */
	for (uint32_t i = 0; i < 10; i++) {
		SIM_CHECK(weft_sleep_until(rt, weft_now(rt) + 1999900000 + sim_choose(110000)) ==
		          0);
		refs[0] = submit_blocking(rt, event, 0);
		SIM_CHECK(weft_take(rt, refs[0], NULL, 0) == 0);
	}
	SIM_CHECK(weft_release(rt, event) == 0);
	sim_close(rt);
}

static int value_task(weft_task *self)
{
	(void)self;
	return 0;
}

/* ---- Deadlocks ---------------------------------------------------------------------------- */

#define RING_MOST  5
#define CHAIN_MOST 12

struct ring {
	weft *rt;
	weft_ref gate, late; /* events: the ring is closed; something that does come */
	weft_ref refs[RING_MOST], chain[CHAIN_MOST];
	uint32_t n, chain_n;
	struct wf_a32 told;
};

struct place {
	struct ring *ring;
	uint32_t index;
};

/* Waits for the next one of the ring: some must be told that this would never end. */
static int ring_task(weft_task *self)
{
	const struct place *place = weft_task_arg(self, NULL);
	struct ring *ring = place->ring;
	struct weft_view view;

	SIM_CHECK(weft_get(ring->rt, ring->gate, WEFT_FOREVER, &view) == 0);
	int rc = weft_get(ring->rt, ring->refs[(place->index + 1) % ring->n], WEFT_FOREVER, &view);

	SIM_CHECK(rc == 0 || rc == WEFT_EDEADLOCK);
	if (rc)
		wf_add_relaxed(&ring->told, 1);
	return 0;
}

/* Waits for what does come, by way of tasks that others may cancel: never told. */
static int patient_task(weft_task *self)
{
	const struct place *place = weft_task_arg(self, NULL);
	struct ring *ring = place->ring;
	struct weft_view view;
	int rc = weft_get(ring->rt, ring->chain[place->index], WEFT_FOREVER, &view);

	SIM_CHECK(rc == 0 || rc == -ECANCELED || rc == WEFT_EDEP);
	return 0;
}

/* Tasks that wait for their inputs: the event, or each other. */
static void make_chain(struct ring *ring)
{
	for (uint32_t i = 0; i < ring->chain_n; i++) {
		weft_ref in[2] = { ring->late, i ? ring->chain[sim_choose(i)] : ring->late };

		SIM_CHECK(
			weft_submit(ring->rt,
		                    &(struct weft_call){ .fn = value_task,
		                                         .inputs = in,
		                                         .n_after = (uint16_t)(1 + sim_choose(2)) },
		                    &ring->chain[i]) == 0);
	}
}

/* Cancels what waits, about when the search looks at it. */
static void *cancel_chain(void *arg)
{
	struct ring *ring = arg;

	SIM_CHECK(weft_sleep_until(ring->rt, weft_now(NULL) + 19900000 + sim_choose(200000)) == 0);
	for (uint32_t i = sim_choose(4); i > 0; i--) {
		SIM_CHECK(weft_cancel(ring->rt, ring->chain[sim_choose(ring->chain_n)]) == 0);
		for (uint32_t turns = sim_choose(50); turns > 0; turns--)
			sim_yield();
	}
	SIM_CHECK(weft_sleep_until(ring->rt, weft_now(NULL) + sim_choose(60000000)) == 0);
	SIM_CHECK(weft_event_set(ring->rt, ring->late, NULL, 0) == 0);
	return NULL;
}

/* Beside the workers until long after everything else has come to rest. */
static int outside_task(weft_task *self)
{
	SIM_CHECK(weft_sleep_until(weft_task_runtime(self), weft_now(NULL) + 200000000) == 0);
	return 0;
}

static void deadlocks(void)
{
	static const struct weft_task_options outside = { .struct_size = sizeof outside,
		                                          .flags = WEFT_TASK_BLOCKING };
	struct ring ring = { .rt = sim_open(),
		             .n = 2 + sim_choose(RING_MOST - 1),
		             .chain_n = 1 + sim_choose(CHAIN_MOST) };
	bool closed = sim_choose(2);
	weft_ref patient[CHAIN_MOST];
	uint32_t patients = sim_choose(ring.chain_n + 1);

	SIM_CHECK(weft_event_create(ring.rt, &ring.gate) == 0);
	SIM_CHECK(weft_event_create(ring.rt, &ring.late) == 0);
	make_chain(&ring);
	for (uint32_t i = 0; closed && i < ring.n; i++) {
		struct place place = { &ring, i };

		SIM_CHECK(weft_spawn(ring.rt, ring_task, &place, sizeof place, &ring.refs[i]) == 0);
	}
	for (uint32_t i = 0; i < patients; i++) {
		struct place place = { &ring, i };

		SIM_CHECK(weft_spawn(ring.rt, patient_task, &place, sizeof place, &patient[i]) ==
		          0);
	}
	if (sim_choose(3) == 0)
		SIM_CHECK(weft_submit(ring.rt, WEFT_TASK(outside_task, .opts = &outside), NULL) ==
		          0);
	pthread_t thread = sim_thread(cancel_chain, &ring);

	SIM_CHECK(weft_event_set(ring.rt, ring.gate, NULL, 0) == 0);
	for (uint32_t i = 0; closed && i < ring.n; i++)
		SIM_CHECK(weft_take(ring.rt, ring.refs[i], NULL, 0) == 0);
	SIM_CHECK(!closed || wf_load_relaxed(&ring.told) > 0);
	for (uint32_t i = 0; i < patients; i++)
		SIM_CHECK(weft_take(ring.rt, patient[i], NULL, 0) == 0);
	sim_join(thread);
	SIM_CHECK(weft_release_many(ring.rt, ring.chain, ring.chain_n) == 0);
	SIM_CHECK(weft_release(ring.rt, ring.gate) == 0);
	SIM_CHECK(weft_release(ring.rt, ring.late) == 0);
	sim_close(ring.rt);
}

int main(int argc, char **argv)
{
	static const struct sim_program programs[] = {
		{ "fork_join", fork_join },
		{ "loops", loops },
		{ "timers", timers },
		{ "cancel_sleepers", cancel_sleepers },
		{ "completion_queue", completion_queue },
		{ "blocking", blocking },
		{ "deadlocks", deadlocks },
	};

	return sim_main(programs, sizeof programs / sizeof *programs, argc, argv);
}
