/*
 * explore.c: depth-first search over the schedules of a few logical threads.
 *
 * Logical threads are coroutines on one OS thread. At each scheduling point the search picks who
 * goes on; the picks of a run are a list of small numbers, the next run repeats a prefix of it
 * and differs in the last one. 0 always means "the thread that was running", so the first run is
 * the one without preemptions. A pick of another thread while the current one could go on costs
 * one preemption; WEFT_EXPLORE_BOUND (3; 4 with WEFT_TEST_LONG=1) limits those. Most concurrency
 * bugs need few: M. Musuvathi and S. Qadeer, "Iterative context bounding for systematic testing of
 * multithreaded programs", PLDI 2007, doi:10.1145/1250734.1250785.
 *
 * A thread that says it waits (explore_yield(), which the engine's waits reach by sched_yield())
 * lets another one go on, for free. Two waiting threads could so take turns for ever while the
 * one they wait for stands still, therefore the scheduler is fair in the way of M. Musuvathi and
 * S. Qadeer, "Fair stateless model checking", PLDI 2008, doi:10.1145/1375581.1375625: who waits
 * again yields precedence to every thread that could have run since its last wait and did not.
 *
 * Also found: deadlock (nobody can go on), livelock (a limit on steps), a failed check in the
 * shipped code, a crash, memory that is freed twice, written after it was freed, or never freed.
 * Freed memory is filled with a pattern and kept until the schedule ends.
 *
 * The base services under the explored code are replaced: a futex blocks the logical thread, a
 * wait with a deadline may time out at any point, allocation counts. A membarrier is a scheduling
 * point, and available.
 *
 * What this does not prove: interleavings are sequentially consistent. An order that is too weak
 * (tests/model/orders.py looks for those), and a store that passes a later load, are not seen.
 * The latter is what a membarrier prevents: here it has nothing to do, so that the search checks
 * the protocol around it and not the barrier itself, which has its own test with real threads.
 *
 * A failure prints the picks; WEFT_EXPLORE_REPLAY=<picks> with the scenario's name runs exactly
 * that schedule, under a debugger if wanted.
 */
#include "explore.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "base.h"

#define STACK_BYTES (128u << 10)
#define STEPS_MAX   20000u
#define BLOCKS_MAX  256u
#define POISON      0xdd

enum thread_state {
	THREAD_READY,   /* can go on */
	THREAD_BLOCKED, /* in a futex wait */
	THREAD_TIMED,   /* in a futex wait with a deadline: can go on, and has then timed out */
	THREAD_DONE
};

struct thread {
	ucontext_t context;
	enum thread_state state;
	struct wf_a32 *word; /* what it sleeps on */
	bool woken;
	/* Sets of threads, one bit each; see explore_yield(). */
	uint32_t enabled;   /* could run at every step since this thread's last wait */
	uint32_t scheduled; /* did run since then */
	uint32_t after;     /* must run before this thread does */
	char *stack;
};

/* One choice of the current run. */
struct pick {
	uint8_t picked;
	uint8_t count;
};

struct block {
	void *p;
	size_t bytes;
	bool freed;
};

static struct {
	const struct explore *test;
	struct thread threads[EXPLORE_THREADS_MAX];
	ucontext_t main;
	int current;         /* -1: the main context */
	struct pick *picks;  /* of this run, and of the prefix to repeat */
	uint32_t pick_count; /* length of the prefix */
	uint32_t depth;      /* picks made in this run */
	uint32_t preemptions;
	uint32_t bound;
	uint32_t steps;
	uint64_t schedules;
	uint32_t spurious;
	uint32_t fail_allocation;
	struct block blocks[BLOCKS_MAX];
	uint32_t block_count;
	bool replay;
} ex;

static void print_picks(void)
{
	fprintf(stderr, "  again: WEFT_EXPLORE_BOUND=%u WEFT_EXPLORE_REPLAY=", ex.bound);
	uint32_t n = ex.depth;
	while (n > 1 && ex.picks[n - 1].picked == 0)
		n--; /* zeros are the default */
	for (uint32_t i = 0; i < n; i++)
		fprintf(stderr, "%s%u", i ? "," : "", ex.picks[i].picked);
	fprintf(stderr, " %s %s\n", program_invocation_name, ex.test ? ex.test->name : "");
}

_Noreturn void explore_fail(const char *file, int line, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "%s: FAILED in schedule %" PRIu64 ", thread %d, step %u: %s:%d: %s\n",
	        ex.test ? ex.test->name : "?", ex.schedules, ex.current, ex.steps, file, line,
	        text);
	print_picks();
	/* Stacks of the other threads are abandoned in the middle: nothing to clean up. */
	_exit(1);
}

_Noreturn void wf_check_failed(const char *file, int line, const char *text)
{
	explore_fail(file, line, text);
}

static void on_crash(int sig)
{
	explore_fail(__FILE__, __LINE__, sig == SIGSEGV ? "SIGSEGV" : "crash");
}

/* ---- Choices ------------------------------------------------------------------------------ */

static uint32_t pick(uint32_t count)
{
	EXPLORE_CHECK(count > 0 && count < 256);
	EXPLORE_CHECK(ex.depth < STEPS_MAX);
	struct pick *p = &ex.picks[ex.depth];
	if (ex.depth < ex.pick_count) {
		/* A run must be a function of its picks; pointers and clocks must not decide. */
		if (!ex.replay)
			EXPLORE_CHECK(p->count == count);
		EXPLORE_CHECK(p->picked < count);
		p->count = (uint8_t)count;
	} else {
		p->picked = 0;
		p->count = (uint8_t)count;
	}
	ex.depth++;
	return p->picked;
}

uint32_t explore_choose(uint32_t n)
{
	return n > 1 ? pick(n) : 0;
}

/* ---- Scheduling --------------------------------------------------------------------------- */

static uint32_t runnable(void)
{
	uint32_t set = 0;
	for (uint32_t i = 0; i < ex.test->thread_count; i++) {
		if (ex.threads[i].state == THREAD_READY || ex.threads[i].state == THREAD_TIMED)
			set |= 1u << i;
	}
	return set;
}

/* Note that `to` makes a step. */
static void note_step(uint32_t to, uint32_t set)
{
	for (uint32_t i = 0; i < ex.test->thread_count; i++) {
		struct thread *t = &ex.threads[i];
		t->after &= ~(1u << to);
		t->scheduled |= 1u << to;
		t->enabled &= set;
	}
}

/* Who goes on; `waits`: the current thread would rather not. -1: all are done. */
static int pick_thread(bool waits)
{
	uint32_t options[EXPLORE_THREADS_MAX];
	uint32_t count = 0;
	uint32_t set = runnable();
	bool keeps = ex.current >= 0 && ex.threads[ex.current].state == THREAD_READY &&
		!(ex.threads[ex.current].after & set);

	if (set == 0) {
		for (uint32_t i = 0; i < ex.test->thread_count; i++) {
			if (ex.threads[i].state == THREAD_BLOCKED)
				explore_fail(__FILE__, __LINE__, "deadlock: all sleep or are done");
		}
		return -1;
	}
	if (keeps && !waits)
		options[count++] = (uint32_t)ex.current;
	for (uint32_t i = 0; i < ex.test->thread_count; i++) {
		bool is_current = (int)i == ex.current;
		if (is_current && (keeps || waits))
			continue;
		if (set & 1u << i && !(ex.threads[i].after & set))
			options[count++] = i;
	}
	if (count == 0)
		options[count++] = (uint32_t)ex.current;
	if (keeps && !waits && ex.preemptions >= ex.bound)
		count = 1;
	uint32_t chosen = count > 1 ? pick(count) : 0;
	if (keeps && !waits && chosen > 0)
		ex.preemptions++;
	EXPLORE_CHECK(set & 1u << options[chosen]);
	note_step(options[chosen], set);
	return (int)options[chosen];
}

/* Let the picked thread run; returns when this one is picked again. */
static void reschedule(bool waits)
{
	if (++ex.steps > STEPS_MAX)
		explore_fail(__FILE__, __LINE__, "livelock: too many steps");
	int from = ex.current;
	int to = pick_thread(waits);
	if (to == from)
		return;
	ex.current = to;
	ucontext_t *next = to < 0 ? &ex.main : &ex.threads[to].context;
	swapcontext(from < 0 ? &ex.main : &ex.threads[from].context, next);
}

void wf_sim_point(void)
{
	if (ex.current < 0) {
		/* setup or check: nobody else to run, but a loop in there must end as well. */
		if (++ex.steps > STEPS_MAX)
			explore_fail(__FILE__, __LINE__, "livelock: too many steps");
		return;
	}
	reschedule(false);
}

uint64_t wf_sim_ticks(void)
{
	return ex.steps;
}

void explore_yield(void)
{
	if (ex.current < 0)
		return;
	struct thread *self = &ex.threads[ex.current];
	self->after |= self->enabled & ~self->scheduled;
	self->enabled = runnable();
	self->scheduled = 0;
	reschedule(true);
}

/* Takes the place of the C library's: the engine's waits say so in this way. */
int sched_yield(void)
{
	explore_yield();
	return 0;
}

static void thread_main(void)
{
	ex.test->thread((uint32_t)ex.current);
	ex.threads[ex.current].state = THREAD_DONE;
	reschedule(false);
	explore_fail(__FILE__, __LINE__, "a finished thread went on");
}

/* ---- Twins of the base services ----------------------------------------------------------- */

int wf_futex_wait(struct wf_a32 *word, uint32_t expected, int64_t until_ns)
{
	wf_sim_point();
	struct thread *self = &ex.threads[ex.current];
	if (atomic_load_explicit(&word->v, memory_order_relaxed) != expected)
		return 0;
	if (ex.spurious > 0 && explore_choose(2) == 1) {
		ex.spurious--;
		return 0;
	}
	self->word = word;
	self->woken = false;
	self->state = until_ns == WF_FOREVER ? THREAD_BLOCKED : THREAD_TIMED;
	reschedule(false);
	self->state = THREAD_READY;
	self->word = NULL;
	return self->woken ? 0 : -ETIMEDOUT;
}

int wf_futex_wake(struct wf_a32 *word, int count)
{
	int woken = 0;
	wf_sim_point();
	for (uint32_t i = 0; i < ex.test->thread_count && woken < count; i++) {
		struct thread *t = &ex.threads[i];
		if (t->word == word && !t->woken) {
			t->woken = true;
			t->state = THREAD_READY;
			woken++;
		}
	}
	return woken;
}

bool wf_membarrier_available(void)
{
	return true;
}

void wf_membarrier(void)
{
	wf_sim_point();
}

static void *allocate(size_t bytes, size_t align)
{
	if (ex.fail_allocation > 0 && --ex.fail_allocation == 0)
		return NULL;
	EXPLORE_CHECK(ex.block_count < BLOCKS_MAX);
	size_t rounded = (bytes + align - 1) / align * align;
	void *p = aligned_alloc(align, rounded ? rounded : align);
	EXPLORE_CHECK(p != NULL);
	ex.blocks[ex.block_count++] = (struct block){ .p = p, .bytes = bytes };
	return p;
}

void *wf_malloc(size_t size)
{
	void *p = allocate(size, 16);
	if (p)
		memset(p, 0xcd, size); /* what is not written must not be used */
	return p;
}

void *wf_calloc(size_t count, size_t size)
{
	void *p = allocate(count * size, 16);
	if (p)
		memset(p, 0, count * size);
	return p;
}

void *wf_aligned_alloc(size_t align, size_t size)
{
	void *p = allocate(size, align < 16 ? 16 : align);
	if (p)
		memset(p, 0xcd, size);
	return p;
}

void wf_free(void *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < ex.block_count; i++) {
		if (ex.blocks[i].p != p)
			continue;
		if (ex.blocks[i].freed)
			explore_fail(__FILE__, __LINE__, "memory freed twice");
		ex.blocks[i].freed = true;
		memset(p, POISON, ex.blocks[i].bytes);
		return;
	}
	explore_fail(__FILE__, __LINE__, "freed what was not allocated");
}

void explore_fail_allocation(uint32_t nth)
{
	ex.fail_allocation = nth;
}

void explore_spurious_wakes(uint32_t n)
{
	ex.spurious = n;
}

static void check_memory(void)
{
	for (uint32_t i = 0; i < ex.block_count; i++) {
		const struct block *b = &ex.blocks[i];
		if (!b->freed)
			explore_fail(__FILE__, __LINE__, "memory never freed");
		for (size_t k = 0; k < b->bytes; k++) {
			if (((unsigned char *)b->p)[k] != POISON)
				explore_fail(__FILE__, __LINE__,
				             "memory written after it was freed");
		}
		free(b->p);
	}
	ex.block_count = 0;
}

/* ---- The search --------------------------------------------------------------------------- */

static void run_schedule(void)
{
	ex.depth = 0;
	ex.steps = 0;
	ex.preemptions = 0;
	ex.spurious = 0;
	ex.fail_allocation = 0;
	ex.current = -1;
	ex.test->setup();
	for (uint32_t i = 0; i < ex.test->thread_count; i++) {
		struct thread *t = &ex.threads[i];
		t->state = THREAD_READY;
		t->word = NULL;
		t->woken = false;
		t->enabled = 0;
		t->scheduled = UINT32_MAX;
		t->after = 0;
		getcontext(&t->context);
		t->context.uc_stack.ss_sp = t->stack;
		t->context.uc_stack.ss_size = STACK_BYTES;
		t->context.uc_link = NULL;
		makecontext(&t->context, thread_main, 0);
	}
	reschedule(false);
	ex.current = -1;
	ex.steps = 0;
	ex.test->check();
	check_memory();
	ex.schedules++;
}

/* The next prefix in depth-first order; false: none. */
static bool next_schedule(void)
{
	while (ex.depth > 0) {
		struct pick *p = &ex.picks[ex.depth - 1];
		if (p->picked + 1u < p->count) {
			p->picked++;
			ex.pick_count = ex.depth;
			return true;
		}
		ex.depth--;
	}
	return false;
}

static void read_replay(const char *text)
{
	ex.replay = true;
	ex.pick_count = 0;
	while (*text && ex.pick_count < STEPS_MAX) {
		char *end;
		ex.picks[ex.pick_count++].picked = (uint8_t)strtoul(text, &end, 10);
		text = *end == ',' ? end + 1 : "";
	}
}

static void explore_one(const struct explore *test)
{
	const char *replay = getenv("WEFT_EXPLORE_REPLAY");
	EXPLORE_CHECK(test->thread_count >= 1 && test->thread_count <= EXPLORE_THREADS_MAX);
	ex.test = test;
	ex.schedules = 0;
	ex.pick_count = 0;
	ex.replay = false;
	if (replay)
		read_replay(replay);
	do {
		run_schedule();
	} while (!ex.replay && next_schedule());
	printf("%s: %" PRIu64 " schedules, bound %u\n", test->name, ex.schedules, ex.bound);
	fflush(stdout);
}

int explore_main(const struct explore *list, size_t count, int argc, char **argv)
{
	const char *bound = getenv("WEFT_EXPLORE_BOUND");
	const char *wide = getenv("WEFT_TEST_LONG");
	static char crash_stack[64 << 10];
	stack_t alternate = { .ss_sp = crash_stack, .ss_size = sizeof crash_stack };
	struct sigaction action = { .sa_handler = on_crash, .sa_flags = SA_ONSTACK };
	size_t ran = 0;

	ex.current = -1;
	ex.bound = wide && wide[0] && wide[0] != '0' ? 4 : 3;
	if (bound)
		ex.bound = (uint32_t)strtoul(bound, NULL, 10);
	ex.picks = calloc(STEPS_MAX + 1, sizeof *ex.picks);
	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		ex.threads[i].stack = malloc(STACK_BYTES);
		if (!ex.picks || !ex.threads[i].stack)
			return 1;
	}
	for (size_t i = 0; i < count; i++) {
		bool wanted = argc < 2;
		for (int k = 1; k < argc; k++)
			wanted = wanted || strcmp(argv[k], list[i].name) == 0;
		if (!wanted)
			continue;
		explore_one(&list[i]);
		ran++;
	}
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++)
		free(ex.threads[i].stack);
	free(ex.picks);
	if (ran == 0)
		fprintf(stderr, "no such scenario\n");
	return ran > 0 ? 0 : 1;
}
