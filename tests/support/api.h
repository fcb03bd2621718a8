/*
 * api.h: what the tests of the public door share: counters and gates between bodies and the test,
 * runtimes with checks, bodies that many tests use.
 *
 * A body runs on another stack and thread than the test, where a failed cr_assert cannot jump out,
 * so bodies and helpers use API_CHECK(): one line on stderr, then abort. Waiting is for events
 * (gates, states), never for time; a state that does not come within two minutes ends the program.
 */
#ifndef WEFT_TEST_API_H
#define WEFT_TEST_API_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../engine/base/atomic.h"
#include "../../engine/include/weft.h"
#include "seed.h"

#define API_CHECK(cond) \
	do { \
		if (!(cond)) \
			api_check_failed(__FILE__, __LINE__, #cond); \
	} while (0)

static inline _Noreturn void api_check_failed(const char *file, int line, const char *text)
{
	fprintf(stderr, "%s:%d: check failed: %s\n", file, line, text);
	fflush(stderr);
	abort();
}

/* Fewer rounds where each costs ten times as much. */
static inline uint32_t api_scaled(uint32_t n)
{
#if WF_TSAN
	return n / 50 + 1;
#elif WF_ASAN
	return n / 10 + 1;
#else
	return n;
#endif
}

/* A bit pattern that no test writes as a result. */
#define API_POISON 0x5a5a5a5a5a5a5a5aULL

static inline weft_ref api_poison_ref(void)
{
	return (weft_ref){ API_POISON };
}

static inline struct weft_view api_poison_view(void)
{
	return (struct weft_view){ .data = (const void *)(uintptr_t)API_POISON, .size = 12345 };
}

static inline bool api_view_untouched(const struct weft_view *view)
{
	return view->data == (const void *)(uintptr_t)API_POISON && view->size == 12345;
}

/* splitmix64: enough for choosing among cases, and one word of state. */
static inline uint64_t api_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static inline uint32_t api_below(uint64_t *state, uint32_t n)
{
	return (uint32_t)(api_random(state) >> 33) % n;
}

/* ---- Counters ---------------------------------------------------------------------------- */

struct api_count {
	struct wf_a64 n;
};

/* acq_rel: a test that reads the count also reads what the counting body wrote before. */
static inline uint64_t api_add(struct api_count *count, uint64_t n)
{
	return wf_add_acq_rel(&count->n, n) + n;
}

static inline uint64_t api_read(const struct api_count *count)
{
	return wf_load_acquire(&count->n);
}

/* To at least `n`. */
static inline void api_raise(struct api_count *count, uint64_t n)
{
	uint64_t old = wf_load_acquire(&count->n);

	while (old < n && !wf_cas_acq_rel(&count->n, &old, n))
		continue;
}

static inline void api_set(struct api_count *count, uint64_t n)
{
	wf_store_release(&count->n, n);
}

static inline int64_t api_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Ends the program when what is polled for does not come; `start` is api_now() at the start. */
static inline void api_polling(int64_t start, const char *what)
{
	if (api_now() - start > 120LL * 1000000000)
		api_check_failed(__FILE__, __LINE__, what);
	sched_yield();
}

static inline void api_await_count(const struct api_count *count, uint64_t n)
{
	const int64_t start = api_now();

	while (api_read(count) < n)
		api_polling(start, "a count was reached");
}

/* ---- Gates: block the OS thread of a body, and know how many are inside --------------------- */

struct api_gate {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool open;
	uint32_t inside;
};

#define API_GATE_INIT \
	{ \
		.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER \
	}

static inline void api_gate_pass(struct api_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->inside++;
	pthread_cond_broadcast(&gate->changed);
	while (!gate->open)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static inline void api_gate_await(struct api_gate *gate, uint32_t inside)
{
	pthread_mutex_lock(&gate->lock);
	while (gate->inside < inside)
		pthread_cond_wait(&gate->changed, &gate->lock);
	pthread_mutex_unlock(&gate->lock);
}

static inline void api_gate_open(struct api_gate *gate)
{
	pthread_mutex_lock(&gate->lock);
	gate->open = true;
	pthread_cond_broadcast(&gate->changed);
	pthread_mutex_unlock(&gate->lock);
}

/* ---- Runtimes and references --------------------------------------------------------------- */

static inline weft *api_open_flags(uint32_t workers, uint32_t flags)
{
	weft *rt = NULL;
	const int status = weft_open(
		&rt, WEFT_OPTIONS(.workers = workers, .flags = flags, .seed = test_seed()));

	API_CHECK(status == 0);
	API_CHECK(rt != NULL);
	return rt;
}

static inline weft *api_open(uint32_t workers)
{
	return api_open_flags(workers, 0);
}

/* Close a runtime whose work is all done. */
static inline void api_close(weft *rt)
{
	API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
}

static inline void api_release(weft *rt, weft_ref ref)
{
	API_CHECK(weft_release(rt, ref) == 0);
}

static inline int64_t api_take_i64(weft *rt, weft_ref ref)
{
	int64_t value = -1;

	API_CHECK(weft_take(rt, ref, &value, sizeof value) == (int64_t)sizeof value);
	return value;
}

static inline weft_ref api_put_i64(weft *rt, int64_t value)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_put(rt, &value, sizeof value, &ref) == 0);
	return ref;
}

static inline weft_ref api_event(weft *rt)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_event_create(rt, &ref) == 0);
	return ref;
}

static inline weft_ref api_spawn(weft *rt, weft_task_fn *fn, const void *arg, size_t size)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_spawn(rt, fn, arg, size, &ref) == 0);
	API_CHECK(ref.bits != 0);
	return ref;
}

static inline weft_ref api_submit(weft *rt, const struct weft_call *call)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_submit(rt, call, &ref) == 0);
	API_CHECK(ref.bits != 0);
	return ref;
}

/* What a get with no value in mind returns; the ref stays. */
static inline int api_get(weft *rt, weft_ref ref)
{
	struct weft_view view;

	return weft_get(rt, ref, WEFT_FOREVER, &view);
}

/* Get the status and drop the ref. */
static inline int api_end(weft *rt, weft_ref ref)
{
	const int status = api_get(rt, ref);

	api_release(rt, ref);
	return status;
}

static inline int api_state(weft *rt, weft_ref ref)
{
	struct weft_ref_info info = { .struct_size = sizeof info, .state = -1 };

	API_CHECK(weft_ref_info(rt, ref, &info) == 0);
	return info.state;
}

static inline void api_await_state(weft *rt, weft_ref ref, int state)
{
	const int64_t start = api_now();

	while (api_state(rt, ref) != state)
		api_polling(start, "a state was reached");
}

static inline uint64_t api_tasks_live(weft *rt)
{
	struct weft_stats stats = { .struct_size = sizeof stats };

	API_CHECK(weft_stats(rt, &stats) == 0);
	return stats.tasks_live;
}

/* Wait until nothing of the runtime is referred to or queued: what a leak would prevent. */
static inline void api_await_no_tasks(weft *rt)
{
	const int64_t start = api_now();

	while (api_tasks_live(rt) != 0)
		api_polling(start, "all cells are free again");
}

/* ---- Bodies ------------------------------------------------------------------------------ */

/* Every argument of these is a pointer to what the test owns, or a plain number. */
static inline void *api_arg_pointer(weft_task *self)
{
	size_t size = 0;
	void **arg = weft_task_arg(self, &size);

	API_CHECK(size == sizeof *arg);
	return *arg;
}

#define API_POINTER(p) WEFT_ARG((void *){ (p) })

static inline int api_body_nothing(weft_task *self)
{
	(void)self;
	return 0;
}

/* Returns its int64_t argument. */
static inline int api_body_identity(weft_task *self)
{
	size_t size = 0;
	const void *arg = weft_task_arg(self, &size);

	API_CHECK(size == sizeof(int64_t));
	return weft_return(self, arg, size);
}

/* Returns the sum of its inputs, each an int64_t or empty. */
static inline int api_body_sum(weft_task *self)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view = { 0 };

		API_CHECK(weft_input(self, i, &view) == 0);
		API_CHECK(view.size == sizeof(int64_t) || view.size == 0);
		if (view.size)
			sum += *(const int64_t *)view.data;
	}
	return weft_return(self, &sum, sizeof sum);
}

/* Fails with its int64_t argument as the code. */
static inline int api_body_fail(weft_task *self)
{
	const int64_t *code = weft_task_arg(self, NULL);

	return weft_fail(self, (int)*code, "code %d", (int)*code);
}

/* Adds one to the struct api_count it points to. */
static inline int api_body_count(weft_task *self)
{
	api_add(api_arg_pointer(self), 1);
	return 0;
}

/* Holds its OS thread at a gate. */
static inline int api_body_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

/* Waits inside the body for the weft_ref that is its argument and returns what the get returned. */
static inline int api_body_get(weft_task *self)
{
	const weft_ref *ref = weft_task_arg(self, NULL);
	struct weft_view view;

	return weft_get(weft_task_runtime(self), *ref, WEFT_FOREVER, &view);
}

/* ---- Threads ----------------------------------------------------------------------------- */

static inline pthread_t api_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	API_CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
	return thread;
}

static inline void api_join(pthread_t thread)
{
	API_CHECK(pthread_join(thread, NULL) == 0);
}

#endif /* WEFT_TEST_API_H */
