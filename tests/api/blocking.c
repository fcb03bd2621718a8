/*
 * Goal: bodies that block their OS thread do not stop the others, within a bound that is an error
 * and not the end; STAY keeps the thread; no unrelated body ever runs on top of a suspended one.
 * Method: pipes that only a task beyond the number of workers writes, thread ids around waits,
 * stack addresses of suspended and running bodies.
 */
#include <sys/syscall.h>

#include "api.h"
#include "test.h"

static int read_a_byte(weft_task *self)
{
	const int *fd = weft_task_arg(self, NULL);
	char byte;

	API_CHECK(read(*fd, &byte, 1) == 1);
	return 0;
}

static int write_bytes(weft_task *self)
{
	const int *arg = weft_task_arg(self, NULL);

	for (int i = 0; i < arg[1]; i++)
		API_CHECK(write(arg[0], "x", 1) == 1);
	return 0;
}

#define BLOCKING WEFT_TASK_OPTIONS(.flags = WEFT_TASK_BLOCKING)

Test(blocking, more_blocking_tasks_than_workers_block_at_once)
{
	enum { N = 40 };
	weft *rt = api_open(2);
	weft_ref refs[N];
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	for (int i = 0; i < N; i++)
		refs[i] =
			api_submit(rt, WEFT_TASK(read_a_byte, WEFT_ARG(fds[0]), .opts = BLOCKING));
	for (int i = 0; i < N; i++)
		api_await_state(rt, refs[i], WEFT_REF_RUNNING);
	/* All of them sit in read(2); plain work goes on and frees them. */
	const int arg[2] = { fds[1], N };
	cr_assert_eq(api_end(rt, api_spawn(rt, write_bytes, arg, sizeof arg)), 0);
	for (int i = 0; i < N; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	close(fds[0]);
	close(fds[1]);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(blocking, tasks_beyond_the_spare_threads_wait_their_turn)
{
	enum { N = 30 };
	weft *rt = NULL;
	weft_ref refs[N];
	int fds[2];

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .spare_threads_max = 3)), 0);
	cr_assert_eq(pipe(fds), 0);
	for (int i = 0; i < N; i++)
		refs[i] =
			api_submit(rt, WEFT_TASK(read_a_byte, WEFT_ARG(fds[0]), .opts = BLOCKING));
	for (int i = 0; i < N; i++)
		cr_assert_eq(write(fds[1], "x", 1), 1);
	for (int i = 0; i < N; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	close(fds[0]);
	close(fds[1]);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* One BLOCKING task inside the other, `depth` of them; the innermost gives 1. */
static int blocking_nest(weft_task *self)
{
	const int64_t *depth = weft_task_arg(self, NULL);
	const int64_t less = *depth - 1;
	weft *rt = weft_task_runtime(self);
	int64_t sum = 1;

	if (less > 0)
		sum += api_take_i64(
			rt,
			api_submit(rt, WEFT_TASK(blocking_nest, WEFT_ARG(less), .opts = BLOCKING)));
	return weft_return(self, &sum, sizeof sum);
}

/* The bodies that hold all spare threads wait for tasks that would have to wait for a thread. */
Test(blocking, spare_threads_that_wait_for_blocking_tasks_do_not_lock_them_out)
{
	const int64_t depth = 20;

	for (uint32_t workers = 1; workers <= 2; workers++) {
		for (uint32_t spares = 1; spares <= 3; spares++) {
			weft *rt = NULL;

			cr_assert_eq(weft_open(&rt,
			                       WEFT_OPTIONS(.workers = workers,
			                                    .spare_threads_max = spares)),
			             0);
			weft_ref ref = api_submit(
				rt, WEFT_TASK(blocking_nest, WEFT_ARG(depth), .opts = BLOCKING));

			cr_assert_eq(api_take_i64(rt, ref), depth);
			api_await_no_tasks(rt);
			api_close(rt);
		}
	}
}

static int blocking_gets(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t value = 3;
	int64_t sum = 0;
	const long thread = syscall(SYS_gettid);

	for (int i = 0; i < 10; i++) {
		sum += api_take_i64(rt, api_spawn(rt, api_body_identity, &value, sizeof value));
		API_CHECK(syscall(SYS_gettid) == thread);
	}
	return weft_return(self, &sum, sizeof sum);
}

Test(blocking, blocking_tasks_wait_for_children_and_keep_their_thread)
{
	weft *rt = api_open(1);
	weft_ref refs[10];

	for (int i = 0; i < 10; i++)
		refs[i] = api_submit(rt, WEFT_TASK(blocking_gets, .opts = BLOCKING));
	for (int i = 0; i < 10; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), 30);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct bracket {
	int fd;
	int mode;
	struct api_count *in;
};

static int brackets(weft_task *self)
{
	const struct bracket *arg = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	char byte;

	API_CHECK(weft_block_enter(rt, arg->mode) == 0);
	api_add(arg->in, 1);
	API_CHECK(arg->mode == WEFT_BLOCK_HOLD || read(arg->fd, &byte, 1) == 1);
	weft_block_exit(rt);
	const int64_t value = 4;
	API_CHECK(api_take_i64(rt, api_spawn(rt, api_body_identity, &value, sizeof value)) == 4);
	return weft_return(self, &value, sizeof value);
}

Test(blocking, brackets_release_the_worker_and_the_body_goes_on)
{
	enum { N = 20 };
	weft *rt = api_open(1);
	weft_ref refs[N];
	struct api_count in = { 0 };
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	const struct bracket arg = { fds[0], WEFT_BLOCK_RELEASE, &in };
	for (int i = 0; i < N; i++)
		refs[i] = api_spawn(rt, brackets, &arg, sizeof arg);
	api_await_count(&in, N);
	const int writer[2] = { fds[1], N };
	cr_assert_eq(api_end(rt, api_spawn(rt, write_bytes, writer, sizeof writer)), 0);
	for (int i = 0; i < N; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), 4);
	const struct bracket hold = { -1, WEFT_BLOCK_HOLD, &in };
	cr_assert_eq(api_take_i64(rt, api_spawn(rt, brackets, &hold, sizeof hold)), 4);
	close(fds[0]);
	close(fds[1]);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct refusal {
	struct api_gate *gate;
	struct api_count *refused;
};

static int enters_past_the_limit(weft_task *self)
{
	const struct refusal *arg = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	const int status = weft_block_enter(rt, WEFT_BLOCK_RELEASE);

	API_CHECK(status == -EAGAIN);
	api_add(arg->refused, 1);
	/* Nothing changed: the body goes on as before. */
	const int64_t value = 1;
	return api_take_i64(rt, api_spawn(rt, api_body_identity, &value, sizeof value)) == 1 ? 0
											     : -1;
}

Test(blocking, no_spare_thread_is_eagain_and_nothing_changed)
{
	weft *rt = NULL;
	struct api_count refused = { 0 };
	const struct refusal arg = { NULL, &refused };

	cr_assert_eq(
		weft_open(&rt, WEFT_OPTIONS(.workers = 1, .spare_threads_max = WEFT_SPARE_NONE)),
		0);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(api_end(rt, api_spawn(rt, enters_past_the_limit, &arg, sizeof arg)),
		             0);
	cr_assert_eq(api_read(&refused), 5);
	api_close(rt);
}

static int enters_badly(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_block_enter(rt, 2) == -EINVAL);
	API_CHECK(weft_block_enter(rt, -1) == -EINVAL);
	API_CHECK(weft_block_enter(NULL, WEFT_BLOCK_RELEASE) == -EINVAL);
	return 0;
}

Test(blocking, brackets_in_the_wrong_place_are_refused)
{
	weft *rt = api_open(1);

	cr_assert_eq(weft_block_enter(rt, WEFT_BLOCK_RELEASE), -EINVAL, "not in a task");
	cr_assert_eq(weft_block_enter(rt, WEFT_BLOCK_HOLD), -EINVAL);
	cr_assert_eq(api_end(rt, api_spawn(rt, enters_badly, NULL, 0)), 0);
	api_close(rt);
}

/* ---- STAY ---- */

struct stay {
	weft_ref *events;
	uint32_t n;
};

static int stays(weft_task *self)
{
	const struct stay *arg = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	const long thread = syscall(SYS_gettid);
	struct weft_view view;

	for (uint32_t i = 0; i < arg->n; i++) {
		API_CHECK(weft_get(rt, arg->events[i], WEFT_FOREVER, &view) == 0);
		API_CHECK(syscall(SYS_gettid) == thread);
		if (i % 4 == 0)
			API_CHECK(weft_yield(rt) == 0);
		API_CHECK(syscall(SYS_gettid) == thread);
	}
	return 0;
}

Test(blocking, stay_keeps_the_thread_over_every_wait)
{
	enum { N = 100, TASKS = 16 };
	weft *rt = api_open(8);
	weft_ref events[N], refs[TASKS];
	const struct stay arg = { events, N };

	for (int i = 0; i < N; i++)
		events[i] = api_event(rt);
	for (int i = 0; i < TASKS; i++)
		refs[i] = api_submit(rt,
		                     WEFT_TASK(stays, WEFT_ARG(arg),
		                               .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_STAY)));
	for (int i = 0; i < N; i++)
		cr_assert_eq(weft_event_set(rt, events[i], NULL, 0), 0);
	for (int i = 0; i < TASKS; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(weft_release_many(rt, events, N), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Nobody on top of a suspended body ---- */

#define HOLDERS     64
#define STACK_BYTES (128u << 10)

struct holders {
	struct wf_aptr frame[HOLDERS]; /* of the suspended body; 0: not suspended */
	weft_ref event;
	pthread_mutex_t lock;
};

struct holder {
	struct holders *all;
	uint32_t index;
};

/* Whether the running body's frame lies on the stack of a suspended one, below that one's frame. */
static bool on_a_foreign_stack(struct holders *all)
{
	const uintptr_t mine = (uintptr_t)__builtin_frame_address(0);

	for (uint32_t i = 0; i < HOLDERS; i++) {
		const uintptr_t frame = wf_load_acquire(&all->frame[i]);

		if (frame && mine < frame && frame - mine < STACK_BYTES / 2)
			return true;
	}
	return false;
}

static int holds_a_lock(weft_task *self)
{
	const struct holder *arg = weft_task_arg(self, NULL);
	struct holders *all = arg->all;
	struct weft_view view;

	API_CHECK(!on_a_foreign_stack(all));
	if (arg->index == 0)
		API_CHECK(pthread_mutex_lock(&all->lock) == 0);
	wf_store_release(&all->frame[arg->index], (uintptr_t)__builtin_frame_address(0));
	API_CHECK(weft_get(weft_task_runtime(self), all->event, WEFT_FOREVER, &view) == 0);
	wf_store_release(&all->frame[arg->index], 0);
	if (arg->index == 0)
		API_CHECK(pthread_mutex_unlock(&all->lock) == 0);
	return 0;
}

static int tries_the_lock(weft_task *self)
{
	struct holders *all = api_arg_pointer(self);

	API_CHECK(!on_a_foreign_stack(all));
	/* An error-checking mutex: the owner's thread may run this, but the lock stays taken. */
	API_CHECK(pthread_mutex_trylock(&all->lock) == EBUSY);
	return 0;
}

Test(blocking, a_body_that_holds_a_lock_over_get_meets_no_foreign_body_on_its_stack)
{
	weft *rt = NULL;
	static struct holders all;
	weft_ref refs[HOLDERS];
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK);
	pthread_mutex_init(&all.lock, &attr);
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .stack_bytes = STACK_BYTES)), 0);
	all.event = api_event(rt);
	for (uint32_t i = 0; i < HOLDERS; i++) {
		const struct holder arg = { &all, i };

		refs[i] = api_submit(rt,
		                     WEFT_TASK(holds_a_lock, WEFT_ARG(arg),
		                               .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_STAY)));
	}
	for (uint32_t i = 0; i < HOLDERS; i++)
		api_await_state(rt, refs[i], WEFT_REF_BLOCKED);
	for (uint32_t i = 0; i < api_scaled(5000); i++)
		cr_assert_eq(
			api_end(rt, api_submit(rt, WEFT_TASK(tries_the_lock, API_POINTER(&all)))),
			0);
	cr_assert_eq(weft_event_set(rt, all.event, NULL, 0), 0);
	for (uint32_t i = 0; i < HOLDERS; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	api_release(rt, all.event);
	pthread_mutex_destroy(&all.lock);
	api_await_no_tasks(rt);
	api_close(rt);
}
