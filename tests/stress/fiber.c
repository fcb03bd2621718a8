/*
 * Stress of engine/fiber: flows that wander between threads, and a hundred thousand at once.
 *
 * Goal: whatever thread a fiber goes on, its stack and its registers are its own; the pool never
 * hands one stack to two; a hundred thousand suspended fibers fit into the default limit of
 * mappings at no more than 8 KiB each.
 *
 * Method, wandering: 2, 4 and 8 workers share one locked queue. A fiber fills a block on its stack
 * with numbers made from its identity and the round, yields, and after each resume checks every
 * word of it, mostly on another thread; now and then it goes deep, and now and then it switches
 * straight into the next ready fiber instead of the worker's own flow. Fibers end and begin all the
 * time, so stacks pass through the caches and the pool between threads. Oracle: every job ran each
 * of its rounds once, and no stack was held twice.
 *
 * Method, many: enter each once, leave it suspended, ask the kernel which pages are there.
 */
#include "fiber.h"
#include "seed.h"
#include "stacks.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define STACK_BYTES      65536u
#define JOBS             (WF_TSAN || WF_ASAN ? 400u : 4000u)
#define LIVE             (WF_TSAN || WF_ASAN ? 60u : 300u)
#define ROUNDS           (WF_TSAN || WF_ASAN ? 20u : 60u)
#define WORDS            64u
#define MANY             (WF_TSAN || WF_ASAN ? 500u : 100000u)
#define MANY_STACK_BYTES 262144u

static void must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "failed: %s\n", what);
	_Exit(1);
}
#define MUST(x) must((x), #x)

/* ---- Wandering --------------------------------------------------------------------------- */

struct worker;

/* What the flow that was left wants done by the flow that goes on. */
struct message {
	struct worker *worker;
	struct wf_fiber *ready; /* publish it */
	struct wf_fiber *done;  /* give it back */
};

/* In the user's part of a fiber. */
struct job {
	uint64_t id;
	struct wf_random random;
	struct wf_a32 holders;
	struct message last; /* not in the frame: it leaves */
};

struct worker {
	struct wf_context own;
	struct wf_stack_cache cache;
	struct wf_thread thread;
};

_Static_assert(sizeof(struct job) <= WF_FIBER_USER_BYTES, "it fits");

static struct wf_stacks *stacks;
static struct wf_fiber *queue_head, **queue_tail = &queue_head;
static uint32_t begun_count, live_count;
static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_changed = PTHREAD_COND_INITIALIZER;
static struct wf_a64 rounds_total, checks_total, moves_total;

static struct job *job_of(struct wf_fiber *fiber)
{
	return (struct job *)fiber->user;
}

static void publish(struct wf_fiber *fiber)
{
	MUST(pthread_mutex_lock(&queue_lock) == 0);
	fiber->next = NULL;
	*queue_tail = fiber;
	queue_tail = &fiber->next;
	MUST(pthread_cond_signal(&queue_changed) == 0);
	MUST(pthread_mutex_unlock(&queue_lock) == 0);
}

/* Caller holds queue_lock. */
static struct wf_fiber *pop_locked(void)
{
	struct wf_fiber *fiber = queue_head;

	if (!fiber)
		return NULL;
	queue_head = fiber->next;
	if (!queue_head)
		queue_tail = &queue_head;
	return fiber;
}

/* Every flow, when it goes on: do what the left one wanted, then tell on which worker we are. */
static WF_NOINLINE struct worker *arrive(void *arg)
{
	/* It is the left flow's, and gone as soon as that is published. */
	struct message message = *(struct message *)arg;

	if (message.ready)
		publish(message.ready);
	if (message.done) {
		/* relaxed: the switch and the pool order it; the count is what is tested. */
		MUST(wf_add_relaxed(&job_of(message.done)->holders, UINT32_MAX) == 1);
		wf_fiber_put(stacks, &message.worker->cache, message.done);
		MUST(pthread_mutex_lock(&queue_lock) == 0);
		live_count--;
		MUST(pthread_cond_broadcast(&queue_changed) == 0);
		MUST(pthread_mutex_unlock(&queue_lock) == 0);
	}
	return message.worker;
}

static WF_NOINLINE struct worker *yield(struct wf_fiber *self, struct worker *worker, bool direct)
{
	struct message message = { .worker = worker, .ready = self };
	struct wf_fiber *next = NULL;

	if (direct) {
		MUST(pthread_mutex_lock(&queue_lock) == 0);
		next = pop_locked();
		MUST(pthread_mutex_unlock(&queue_lock) == 0);
	}
	return arrive(wf_context_switch(&self->ctx, next ? &next->ctx : &worker->own, &message));
}

static WF_NOINLINE uint64_t deep(uint32_t levels, uint64_t salt)
{
	volatile uint64_t block[32];

	for (uint32_t i = 0; i < 32; i++)
		block[i] = salt + i;
	if (levels > 0)
		salt += deep(levels - 1, salt + 1);
	for (uint32_t i = 0; i < 32; i++)
		salt += block[i];
	return salt;
}

static void run_job(struct wf_fiber *self, void *arg)
{
	struct worker *worker = arrive(arg), *before;
	struct job *job = job_of(self);
	uint64_t id = job->id, moves = 0;
	double kept = (double)id + 0.5;
	volatile uint64_t block[WORDS];

	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (uint64_t i = 0; i < WORDS; i++)
			block[i] = id << 32 ^ round << 16 ^ i;
		before = worker;
		worker = yield(self, worker, wf_random_below(&job->random, 2) != 0);
		moves += worker != before;
		for (uint64_t i = 0; i < WORDS; i++)
			MUST(block[i] == (id << 32 ^ round << 16 ^ i));
		MUST(kept == (double)id + 0.5 + (double)round);
		kept += 1;
		if (wf_random_below(&job->random, 16) == 0)
			MUST(deep(40, id) == deep(40, id));
		MUST(job->id == id && job_of(self) == job);
		/* relaxed, here and below: counted now, read after the join. */
		(void)wf_add_relaxed(&rounds_total, 1);
	}
	(void)wf_add_relaxed(&checks_total, id);
	(void)wf_add_relaxed(&moves_total, moves);
	job->last = (struct message){ .worker = worker, .done = self };
	wf_context_leave(&self->ctx, &worker->own, &job->last);
}

/* NULL: all jobs have ended. */
static struct wf_fiber *next_fiber(struct worker *worker, uint64_t *new_id)
{
	struct wf_fiber *fiber = NULL;

	*new_id = 0;
	MUST(pthread_mutex_lock(&queue_lock) == 0);
	for (;;) {
		if (begun_count < JOBS && live_count < LIVE) {
			*new_id = ++begun_count;
			live_count++;
			break;
		}
		fiber = pop_locked();
		if (fiber || (begun_count == JOBS && live_count == 0))
			break;
		MUST(pthread_cond_wait(&queue_changed, &queue_lock) == 0);
	}
	MUST(pthread_mutex_unlock(&queue_lock) == 0);
	if (*new_id)
		fiber = wf_fiber_get(stacks, &worker->cache);
	MUST(fiber || !*new_id);
	return fiber;
}

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct wf_fiber *fiber;
	uint64_t new_id;

	while ((fiber = next_fiber(worker, &new_id)) != NULL) {
		struct message message = { .worker = worker };

		if (new_id) {
			struct job *job = job_of(fiber);

			MUST(wf_add_relaxed(&job->holders, 1) == 0);
			job->id = new_id;
			wf_random_init(&job->random, test_seed() + new_id);
			wf_fiber_prepare(fiber, run_job);
		}
		MUST(arrive(wf_context_switch(&worker->own, &fiber->ctx, &message)) == worker);
	}
	wf_stack_cache_flush(stacks, &worker->cache);
	return NULL;
}

static void wander(uint32_t worker_count, enum wf_guard guard)
{
	static struct worker workers[8];

	memset(workers, 0, sizeof(workers));
	begun_count = live_count = 0;
	wf_init(&rounds_total, 0);
	wf_init(&checks_total, 0);
	wf_init(&moves_total, 0);
	MUST(wf_stacks_create(&stacks, STACK_BYTES, 1024, guard) == 0);
	for (uint32_t i = 0; i < worker_count; i++)
		MUST(wf_thread_start(&workers[i].thread, "wander", work, &workers[i]) == 0);
	for (uint32_t i = 0; i < worker_count; i++)
		wf_thread_join(&workers[i].thread);
	MUST(wf_load_relaxed(&rounds_total) == (uint64_t)JOBS * ROUNDS);
	MUST(wf_load_relaxed(&checks_total) == (uint64_t)JOBS * (JOBS + 1) / 2);
	MUST(wf_stacks_live(stacks) == 0);
	MUST(wf_stacks_index_end(stacks) <= 1024);
	for (uint32_t i = 0; i < wf_stacks_index_end(stacks); i++)
		MUST(wf_load_relaxed(&job_of(wf_fiber_at(stacks, i))->holders) == 0);
	printf("%u workers, %s: %u jobs, %u stacks, %llu moves between threads\n", worker_count,
	       wf_stacks_guard_name(stacks), JOBS, wf_stacks_index_end(stacks),
	       (unsigned long long)wf_load_relaxed(&moves_total));
	wf_stacks_destroy(stacks);
}

/* ---- Many -------------------------------------------------------------------------------- */

static struct wf_context here;

static void wait_for_ever(struct wf_fiber *fiber, void *arg)
{
	(void)wf_context_switch(&fiber->ctx, &here, arg);
	MUST(!"a suspended fiber was resumed");
}

/* Of the stacks alone, which an emulator does not blur. */
static uint64_t resident_bytes(void)
{
	static unsigned char pages[MANY_STACK_BYTES / 4096];
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t resident = 0;

	for (uint32_t i = 0; i < wf_stacks_index_end(stacks); i++) {
		MUST(mincore(wf_fiber_at(stacks, i)->lo, MANY_STACK_BYTES, pages) == 0);
		for (size_t page = 0; page < MANY_STACK_BYTES / page_bytes; page++)
			resident += (pages[page] & 1) * page_bytes;
	}
	return resident;
}

static void many(void)
{
	struct wf_stack_cache cache = { 0 };
	uint64_t touched;
	uint32_t entered = 0;

	MUST(wf_stacks_create(&stacks, MANY_STACK_BYTES, MANY, WF_GUARD_AUTO) == 0);
	for (; entered < MANY; entered++) {
		struct wf_fiber *fiber = wf_fiber_get(stacks, &cache);

		/* Fewer fit only where the address space is small, and that was said at create. */
		if (!fiber)
			break;
		wf_fiber_prepare(fiber, wait_for_ever);
		(void)wf_context_switch(&here, &fiber->ctx, fiber);
	}
	touched = resident_bytes() / entered + sizeof(struct wf_fiber);
	printf("%u suspended, %s, %u of them with a canary: %llu bytes each\n", entered,
	       wf_stacks_guard_name(stacks), wf_stacks_unguarded(stacks),
	       (unsigned long long)touched);
	MUST(entered == wf_stacks_max(stacks));
	MUST(wf_stacks_live(stacks) == entered);
#if !WF_ASAN && !WF_TSAN && !defined(WF_FIBER_UCONTEXT)
	if (sysconf(_SC_PAGESIZE) == 4096 && wf_stacks_unguarded(stacks) == 0)
		MUST(touched <= 8192);
#endif
	for (uint32_t i = 0; i < entered; i++)
		wf_fiber_put(stacks, &cache, wf_fiber_at(stacks, i));
	wf_stack_cache_flush(stacks, &cache);
	wf_stacks_trim(stacks);
	MUST(resident_bytes() ==
	     (uint64_t)wf_stacks_unguarded(stacks) * (uint64_t)sysconf(_SC_PAGESIZE));
	wf_stacks_destroy(stacks);
}

int main(void)
{
	(void)test_seed();
	wander(2, WF_GUARD_AUTO);
	wander(4, WF_GUARD_MPROTECT);
	wander(8, WF_GUARD_CANARY);
	if (test_is_long())
		for (int i = 0; i < 20; i++)
			wander(8, WF_GUARD_AUTO);
	many();
	return 0;
}
