/*
 * sim.c: simulated threads, locks, futexes and time under the shipped engine.
 *
 * The shipped sources are compiled unchanged with -DWF_SIM: every operation of the atomics shim
 * first calls wf_sim_point(). The rest of the world is replaced where the engine meets the C
 * library: the linker's --wrap sends each of these calls of the engine, and of the test, here:
 * threads, mutexes, thread-local keys, the system calls futex and membarrier, the clock, random
 * bytes, sched_yield() and the alternate signal stack. So engine/base itself is under test, too.
 *
 * A simulated thread is a flow of control on its own stack, switched by the fiber room's switch.
 * Its thread-local variables are those of the one real thread: at a switch the program's whole
 * thread-local segment is saved and the other thread's is put in its place. (So a pointer to a
 * thread-local variable of another thread points to the running thread's; the engine has one such,
 * which weft_close() uses to clear the identity of threads that live on. Here it clears nothing
 * of a thread that does not run: threads end before the runtime that they called.)
 *
 * Schedules. At a scheduling point the running thread may be preempted, after a random number of
 * points whose mean the seed gives, from one to thousands; now and then one thread is left out
 * for a long while, as if its core had been taken away. Any thread that can run may be next. Time
 * moves on by a step of the seed's choice at each point, and jumps to the next deadline when
 * nobody can run. Waits may end spuriously, and wakes pick any of the waiters.
 *
 * Found: a failed check of the engine or the test, a crash, memory not given back, a deadlock or
 * lost wake-up (nobody can run and there is no deadline), a livelock (a limit on points), time
 * that runs away (a wait that only a periodic look ends). Freed memory is overwritten.
 *
 * Not seen: orders that are too weak, and stores that pass later loads: interleavings are
 * sequentially consistent. A membarrier therefore has nothing to do; whether there is one is the
 * seed's choice, so that both protocols run.
 */
#include "sim.h"

#include <errno.h>
#include <inttypes.h>
#include <link.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base.h"
#include "fiber.h"
#include "seed.h"

#define THREADS_MAX  256
#define KEYS_MAX     8
#define STACK_BYTES  (512u << 10)
#define TLS_MAX      4096u
#define POINTS_MAX   UINT64_C(40000000)
#define TIME_MAX     (INT64_C(600) * 1000000000)
#define TIME_FIRST   (INT64_C(1000) * 1000000000)
#define HANG_SECONDS 120
#define FIXED_SEEDS  200
#define LONG_SEEDS   3000
#define POISON       0xdd

enum thread_state { THREAD_FREE, THREAD_READY, THREAD_BLOCKED, THREAD_DONE };

struct thread {
	struct wf_fiber fiber;
	enum thread_state state;
	const char *waits; /* for what, in words; on what, in `word` */
	const void *word;
	int64_t until; /* WF_FOREVER: none */
	bool woken;
	uint32_t key_count;
	void *values[KEYS_MAX];
	void *(*fn)(void *);
	void *arg;
	void *result;
	char name[16];
	stack_t alternate;
	unsigned char tls[TLS_MAX];
};

static struct {
	const char *program;
	uint64_t seed;
	bool active;
	struct thread threads[THREADS_MAX];
	uint32_t thread_end; /* threads[] ever used */
	uint32_t current;
	void (*destructors[KEYS_MAX])(void *);
	uint32_t key_count;
	uint64_t schedule_state; /* of the scheduler's numbers */
	uint64_t choice_state;   /* of the program's */
	int64_t now;
	int64_t step_ns;
	uint64_t points, switches;
	uint64_t trace;
	uint32_t quantum;
	uint32_t quantum_mean;
	uint32_t victim;
	uint64_t victim_until;
	bool membarrier;
	int64_t blocks, mapped; /* not given back: pieces of heap, bytes of mappings */
	unsigned char *tls;
	size_t tls_bytes;
	unsigned char tls_fresh[TLS_MAX];
} sim;

/* What a run tells its parent. */
struct outcome {
	uint64_t points, switches, trace;
};

static struct outcome *outcome;

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint32_t scheduler_below(uint32_t n)
{
	return (uint32_t)(next_random(&sim.schedule_state) >> 33) % n;
}

uint32_t sim_choose(uint32_t n)
{
	return (uint32_t)(next_random(&sim.choice_state) >> 33) % n;
}

int64_t sim_now(void)
{
	return sim.now;
}

/* ---- Failing ------------------------------------------------------------------------------ */

static void rerun_line(const char *program, uint64_t seed)
{
	fprintf(stderr, "  again: WEFT_SIM_SEED=%" PRIu64 " %s %s\n", seed, program_invocation_name,
	        program);
}

static void dump_threads(void)
{
	static const char *const words[] = { "free", "ready", "blocked", "done" };

	for (uint32_t i = 0; i < sim.thread_end; i++) {
		const struct thread *t = &sim.threads[i];

		if (t->state == THREAD_FREE)
			continue;
		fprintf(stderr, "  thread %u %s: %s%s%s", i, t->name, words[t->state],
		        t->state == THREAD_BLOCKED ? " in " : "",
		        t->state == THREAD_BLOCKED ? t->waits : "");
		if (t->state == THREAD_BLOCKED)
			fprintf(stderr, " on %p", t->word);
		fprintf(stderr, "\n");
	}
}

_Noreturn void sim_fail(const char *file, int line, const char *text)
{
	fprintf(stderr,
	        "%s: FAILED in thread %u, point %" PRIu64 ", at %" PRId64 " ns: %s:%d: %s\n",
	        sim.program, sim.current, sim.points, sim.now - TIME_FIRST, file, line, text);
	dump_threads();
	fflush(stderr);
	abort();
}

/* ---- Scheduling --------------------------------------------------------------------------- */

static struct thread *self(void)
{
	return &sim.threads[sim.current];
}

static bool can_run(const struct thread *t)
{
	return t->state == THREAD_READY || (t->state == THREAD_BLOCKED && t->until <= sim.now);
}

/* Jump to the next deadline; false: there is none. */
static bool time_jumps(void)
{
	int64_t next = WF_FOREVER;

	for (uint32_t i = 0; i < sim.thread_end; i++) {
		if (sim.threads[i].state == THREAD_BLOCKED && sim.threads[i].until < next)
			next = sim.threads[i].until;
	}
	if (next == WF_FOREVER)
		return false;
	if (next > sim.now)
		sim.now = next;
	if (sim.now > TIME_FIRST + TIME_MAX)
		sim_fail(__FILE__, __LINE__, "time runs away: only periodic looks go on");
	return true;
}

/* Any thread that can run; `yields`: rather not the current one. */
static uint32_t pick_thread(bool yields)
{
	uint32_t options[THREADS_MAX];
	uint32_t count = 0;

	for (;;) {
		bool victim = false;

		for (uint32_t i = 0; i < sim.thread_end; i++) {
			if (!can_run(&sim.threads[i]) || (yields && i == sim.current))
				continue;
			if (i == sim.victim && sim.points < sim.victim_until)
				victim = true;
			else
				options[count++] = i;
		}
		if (count > 0)
			return options[scheduler_below(count)];
		if (victim)
			return sim.victim;
		if (yields && can_run(self())) {
			/* A poll while all others sleep: let it see the next deadline. */
			if (!time_jumps())
				return sim.current;
			yields = false;
			continue;
		}
		if (!time_jumps())
			sim_fail(__FILE__, __LINE__,
			         "deadlock or lost wake-up: nobody can run, no deadline");
	}
}

static void draw_quantum(void)
{
	sim.quantum = 1 + scheduler_below(2 * sim.quantum_mean);
	if (scheduler_below(256) == 0) {
		sim.victim = scheduler_below(sim.thread_end);
		sim.victim_until = sim.points + scheduler_below(100000);
	}
}

__attribute__((no_sanitize("address", "undefined"))) static void switch_to(uint32_t to)
{
	struct thread *from = self();
	struct thread *next = &sim.threads[to];

	sim.switches++;
	sim.trace = (sim.trace ^ to ^ sim.points << 8) * UINT64_C(0x100000001b3);
	memcpy(from->tls, sim.tls, sim.tls_bytes);
	memcpy(sim.tls, next->tls, sim.tls_bytes);
	sim.current = to;
	/* It may be on any stack by now: the one that arrives learns which it was. */
	from->fiber.ctx.stack_bytes = 0;
	wf_context_switch(&from->fiber.ctx, &next->fiber.ctx, NULL);
}

static void reschedule(bool yields)
{
	uint32_t to = pick_thread(yields);

	draw_quantum();
	if (to != sim.current)
		switch_to(to);
}

static void point(bool yields)
{
	if (!sim.active)
		return;
	sim.now += sim.step_ns;
	if (++sim.points > POINTS_MAX)
		sim_fail(__FILE__, __LINE__, "livelock: too many points");
	if (yields || --sim.quantum == 0)
		reschedule(yields);
}

void wf_sim_point(void)
{
	point(false);
}

uint64_t wf_sim_ticks(void)
{
	return (uint64_t)sim.now;
}

void sim_yield(void)
{
	point(true);
}

/* Sleep until woken or `until`; true: woken. */
static bool block(const char *waits, const void *word, int64_t until)
{
	struct thread *t = self();

	t->waits = waits;
	t->word = word;
	t->until = until;
	t->woken = false;
	t->state = THREAD_BLOCKED;
	reschedule(false);
	t->state = THREAD_READY;
	t->word = NULL;
	t->until = WF_FOREVER;
	return t->woken;
}

/* Wake up to `count` threads that wait on `word`, any of them first. */
static int wake(const void *word, int count)
{
	uint32_t first = scheduler_below(sim.thread_end);
	int woken = 0;

	for (uint32_t i = 0; i < sim.thread_end && woken < count; i++) {
		struct thread *t = &sim.threads[(first + i) % sim.thread_end];

		if (t->state != THREAD_BLOCKED || t->word != word || t->woken)
			continue;
		t->woken = true;
		t->state = THREAD_READY;
		woken++;
	}
	return woken;
}

/* ---- Threads ------------------------------------------------------------------------------ */

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*fn)(void *),
                          void *arg);
int __wrap_pthread_join(pthread_t thread, void **result);
pthread_t __wrap_pthread_self(void);
int __wrap_pthread_setname_np(pthread_t thread, const char *name);
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);

/* As a thread's end does: destructors, until there is nothing left for them. */
static void run_destructors(void)
{
	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < sim.key_count; i++) {
			void *value = self()->values[i];

			self()->values[i] = NULL;
			if (value && sim.destructors[i])
				sim.destructors[i](value);
		}
	}
}

static void thread_begin(struct wf_fiber *fiber, void *arg)
{
	(void)fiber;
	(void)arg;
	self()->result = self()->fn(self()->arg);
	run_destructors();
	self()->state = THREAD_DONE;
	wake(self(), INT32_MAX);
	reschedule(false);
	sim_fail(__FILE__, __LINE__, "a finished thread went on");
}

static struct thread *free_thread(void)
{
	for (uint32_t i = 1; i < THREADS_MAX; i++) {
		if (sim.threads[i].state == THREAD_FREE) {
			if (i >= sim.thread_end)
				sim.thread_end = i + 1;
			return &sim.threads[i];
		}
	}
	sim_fail(__FILE__, __LINE__, "too many threads at once");
}

int __wrap_pthread_create(pthread_t *out, const pthread_attr_t *attributes, void *(*fn)(void *),
                          void *arg)
{
	(void)attributes;
	point(false);
	struct thread *t = free_thread();

	if (!t->fiber.lo) {
		t->fiber.lo = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
		                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		SIM_CHECK(t->fiber.lo != MAP_FAILED);
		t->fiber.hi = t->fiber.lo + STACK_BYTES;
	}
	t->fiber.ctx = (struct wf_context){ .stack_lo = t->fiber.lo, .stack_bytes = STACK_BYTES };
	wf_fiber_prepare(&t->fiber, thread_begin);
	memcpy(t->tls, sim.tls_fresh, sim.tls_bytes);
	memset(t->values, 0, sizeof t->values);
	t->fn = fn;
	t->arg = arg;
	t->until = WF_FOREVER;
	t->alternate = (stack_t){ .ss_flags = SS_DISABLE };
	strcpy(t->name, "?");
	t->state = THREAD_READY;
	*out = (pthread_t)(t - sim.threads) + 1;
	point(false);
	return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result)
{
	struct thread *t = &sim.threads[thread - 1];

	SIM_CHECK(thread >= 1 && thread <= THREADS_MAX);
	SIM_CHECK(t->state != THREAD_FREE && t != self());
	point(false);
	while (t->state != THREAD_DONE)
		block("join", t, WF_FOREVER);
	if (result)
		*result = t->result;
	t->state = THREAD_FREE;
	return 0;
}

pthread_t __wrap_pthread_self(void)
{
	return (pthread_t)sim.current + 1;
}

int __wrap_pthread_setname_np(pthread_t thread, const char *name)
{
	SIM_CHECK(thread >= 1 && thread <= sim.thread_end);
	SIM_CHECK(strlen(name) < sizeof sim.threads[0].name);
	strcpy(sim.threads[thread - 1].name, name);
	return 0;
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
	SIM_CHECK(sim.key_count < KEYS_MAX);
	sim.destructors[sim.key_count] = destructor;
	*key = sim.key_count++;
	return 0;
}

int __wrap_pthread_setspecific(pthread_key_t key, const void *value)
{
	SIM_CHECK(key < sim.key_count);
	self()->values[key] = (void *)(uintptr_t)value;
	return 0;
}

/* ---- Mutexes: the first word is 0, or the number of the thread that holds it --------------- */

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
	int *holder = (int *)(void *)mutex;

	point(false);
	SIM_CHECK(*holder != (int)sim.current + 1);
	while (*holder != 0)
		block("mutex", mutex, WF_FOREVER);
	*holder = (int)sim.current + 1;
	return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	int *holder = (int *)(void *)mutex;

	SIM_CHECK(*holder == (int)sim.current + 1);
	*holder = 0;
	wake(mutex, INT32_MAX);
	point(false);
	return 0;
}

/* ---- System calls ------------------------------------------------------------------------- */

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);
ssize_t __real_getrandom(void *to, size_t bytes, unsigned int flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned int flags);
int __wrap_sched_yield(void);
int __wrap_sigaltstack(const stack_t *to, stack_t *old);

static long fails(int error)
{
	errno = error;
	return -1;
}

static long futex(uint32_t *word, int op, uint32_t value, const struct timespec *until)
{
	int command = op & ~FUTEX_PRIVATE_FLAG;

	point(false);
	if (command == FUTEX_WAKE)
		return wake(word, (int)value);
	SIM_CHECK(command == FUTEX_WAIT_BITSET);
	if (*word != value)
		return fails(EAGAIN);
	if (scheduler_below(64) == 0)
		return scheduler_below(2) ? 0 : fails(EINTR);
	int64_t end = until ? until->tv_sec * 1000000000 + until->tv_nsec : WF_FOREVER;

	return block("futex", word, end) ? 0 : fails(ETIMEDOUT);
}

static long membarrier(int command)
{
	const long known =
		MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED;

	if (!sim.membarrier)
		return fails(ENOSYS);
	point(false);
	return command == MEMBARRIER_CMD_QUERY ? known : 0;
}

long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (sim.active && number == SYS_futex)
		return futex((uint32_t *)a[0], (int)a[1], (uint32_t)a[2],
		             (const struct timespec *)a[3]);
	if (sim.active && number == SYS_membarrier)
		return membarrier((int)a[0]);
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!sim.active)
		return __real_clock_gettime(clock, now);
	point(false);
	now->tv_sec = sim.now / 1000000000;
	now->tv_nsec = sim.now % 1000000000;
	return 0;
}

ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned int flags)
{
	if (!sim.active)
		return __real_getrandom(to, bytes, flags);
	for (size_t i = 0; i < bytes; i++)
		((unsigned char *)to)[i] = (unsigned char)next_random(&sim.choice_state);
	return (ssize_t)bytes;
}

int __wrap_sched_yield(void)
{
	point(true);
	return 0;
}

int __wrap_sigaltstack(const stack_t *to, stack_t *old)
{
	if (old)
		*old = self()->alternate;
	if (to)
		self()->alternate = *to;
	return 0;
}

/* ---- Memory: what is given back is overwritten, and all of it must be ---------------------- */

void *__real_wf_malloc(size_t size);
void *__wrap_wf_malloc(size_t size);
void *__real_wf_calloc(size_t count, size_t size);
void *__wrap_wf_calloc(size_t count, size_t size);
void *__real_wf_aligned_alloc(size_t align, size_t size);
void *__wrap_wf_aligned_alloc(size_t align, size_t size);
void __real_wf_free(void *p);
void __wrap_wf_free(void *p);
void *__real_wf_map(size_t size, int prot);
void *__wrap_wf_map(size_t size, int prot);
void __real_wf_unmap(void *p, size_t size);
void __wrap_wf_unmap(void *p, size_t size);

static void *counted(void *p)
{
	sim.blocks += p != NULL;
	return p;
}

void *__wrap_wf_malloc(size_t size)
{
	void *p = counted(__real_wf_malloc(size));

	if (p)
		memset(p, POISON, size); /* what is not written must not be used */
	return p;
}

void *__wrap_wf_calloc(size_t count, size_t size)
{
	return counted(__real_wf_calloc(count, size));
}

void *__wrap_wf_aligned_alloc(size_t align, size_t size)
{
	void *p = counted(__real_wf_aligned_alloc(align, size));

	if (p)
		memset(p, POISON, size);
	return p;
}

void __wrap_wf_free(void *p)
{
	if (p) {
		sim.blocks--;
		if (!WF_ASAN)
			memset(p, POISON, malloc_usable_size(p));
	}
	__real_wf_free(p);
}

void *__wrap_wf_map(size_t size, int prot)
{
	void *p = __real_wf_map(size, prot);

	sim.mapped += p ? (int64_t)size : 0;
	return p;
}

void __wrap_wf_unmap(void *p, size_t size)
{
	sim.mapped -= p ? (int64_t)size : 0;
	__real_wf_unmap(p, size);
}

/* ---- One run ------------------------------------------------------------------------------ */

static int find_tls(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	/* The first object is the program, which has the engine in it. */
	for (int i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type == PT_TLS) {
			sim.tls = info->dlpi_tls_data;
			sim.tls_bytes = info->dlpi_phdr[i].p_memsz;
		}
	}
	return 1;
}

static void choose_machine(void)
{
	static const char *const machines[] = { "node:1 core:1 pu:1", "node:1 core:2 pu:1",
		                                "node:1 core:4 pu:1", "node:2 core:2 pu:1" };
	static const uint32_t means[] = { 1, 2, 4, 16, 64, 256, 1024, 8192 };
	static const int64_t steps[] = { 1, 10, 100, 1000 };

	sim.membarrier = sim_choose(3) != 0;
	sim.quantum_mean = means[sim_choose(sizeof means / sizeof *means)];
	sim.step_ns = steps[sim_choose(sizeof steps / sizeof *steps)];
	setenv("HWLOC_SYNTHETIC", machines[sim_choose(sizeof machines / sizeof *machines)], 1);
	unsetenv("WEFT_MEMBARRIER");
}

static void run_seed(const struct sim_program *program, uint64_t seed)
{
	dl_iterate_phdr(find_tls, NULL);
	SIM_CHECK(sim.tls_bytes > 0 && sim.tls_bytes <= TLS_MAX);
	sim.program = program->name;
	sim.seed = seed;
	sim.schedule_state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	sim.choice_state = seed ^ UINT64_C(0xda942042e4dd58b5);
	choose_machine();
	memcpy(sim.tls_fresh, sim.tls, sim.tls_bytes);
	sim.now = TIME_FIRST;
	sim.thread_end = 1;
	sim.threads[0].state = THREAD_READY;
	sim.threads[0].until = WF_FOREVER;
	sim.threads[0].alternate.ss_flags = SS_DISABLE;
	strcpy(sim.threads[0].name, "main");
	sim.quantum = 1;
	alarm(HANG_SECONDS);
	sim.active = true;
	program->run();
	run_destructors();
	sim.active = false;
	for (uint32_t i = 1; i < sim.thread_end; i++)
		SIM_CHECK(sim.threads[i].state == THREAD_FREE);
	SIM_CHECK(sim.blocks == 0);
	SIM_CHECK(sim.mapped == 0);
	*outcome = (struct outcome){ sim.points, sim.switches, sim.trace };
}

/* In a process of its own: whatever the program broke is gone with it. */
static bool run_apart(const struct sim_program *program, uint64_t seed)
{
	int status = 0;

	fflush(stdout);
	*outcome = (struct outcome){ 0, 0, 0 };
	pid_t child = fork();

	SIM_CHECK(child >= 0);
	if (child == 0) {
		run_seed(program, seed);
		_exit(0);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	fprintf(stderr, "%s: seed %" PRIu64 ": %s %d\n", program->name, seed,
	        WIFSIGNALED(status) ? "signal" : "exit status",
	        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	rerun_line(program->name, seed);
	return false;
}

/* Fixed seeds, one fresh one, and the last fixed one again: a seed must give one schedule. */
static bool run_program(const struct sim_program *program, uint64_t seeds, uint64_t fresh)
{
	uint64_t points = 0, switches = 0, failures = 0;

	for (uint64_t seed = 1; seed <= seeds && failures < 3; seed++) {
		failures += !run_apart(program, seed);
		points += outcome->points;
		switches += outcome->switches;
	}
	struct outcome last = *outcome;

	if (failures == 0) {
		failures += !run_apart(program, seeds);
		if (memcmp(&last, outcome, sizeof last) != 0) {
			fprintf(stderr, "%s: seed %" PRIu64 " gave two schedules\n", program->name,
			        seeds);
			failures++;
		}
		failures += !run_apart(program, fresh);
	}
	printf("%s: %" PRIu64 " seeds, %" PRIu64 " points, %" PRIu64 " switches\n", program->name,
	       seeds + 1, points, switches);
	return failures == 0;
}

int sim_main(const struct sim_program *list, size_t count, int argc, char **argv)
{
	const char *one = getenv("WEFT_SIM_SEED");
	const char *many = getenv("WEFT_SIM_SEEDS");
	uint64_t seeds = test_is_long() ? LONG_SEEDS : FIXED_SEEDS;
	uint64_t fresh = 0;
	bool good = true;
	size_t ran = 0;

	outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
	               -1, 0);
	SIM_CHECK(outcome != MAP_FAILED);
	if (many && many[0])
		seeds = strtoull(many, NULL, 0);
	if (WF_ASAN)
		seeds = seeds / 5 + 1;
	SIM_CHECK(getrandom(&fresh, 4, 0) == 4);
	for (size_t i = 0; i < count; i++) {
		if (argc > 1 && strcmp(argv[1], list[i].name) != 0)
			continue;
		ran++;
		if (one && one[0]) {
			run_seed(&list[i], strtoull(one, NULL, 0));
			printf("%s: seed %s: %" PRIu64 " points, trace %" PRIx64 "\n", list[i].name,
			       one, outcome->points, outcome->trace);
			break;
		}
		good = run_program(&list[i], seeds, fresh) && good;
	}
	if (ran == 0)
		fprintf(stderr, "no such program\n");
	return ran > 0 && good ? 0 : 1;
}
