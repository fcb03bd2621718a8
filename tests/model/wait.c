/*
 * wait.c: a task or a thread that goes to sleep, under every schedule of those who end its sleep.
 *
 * Goal: a sleeper is woken exactly once, by exactly one reason, and never before its stack is
 * parked; no wake is lost; when it returns, nobody touches its frame any more. Method: the shipped
 * suspend.c is compiled into this file. The switch of stacks is played by two logical threads:
 * thread 0 is the task's own flow, thread 1 the flow that its worker goes on with, which commits
 * the wait (wf_after_switch()). Thread 0 goes on when somebody has made its fiber ready, on
 * another worker, maybe while thread 1 is still busy. Threads 2 and 3 complete results, cancel or
 * play the timer. The wait and its nodes are zeroed at once after the sleep, which makes them look
 * like a fresh wait: whoever comes late ends it once more, and that shows.
 */
#include <errno.h>
#include <string.h>

#include "base.h"
#include "explore.h"

/* A spin waits for another thread: without this it would never end. */
#define wf_cpu_relax explore_yield
#include "runtime.h"

static struct wf_local *sim_self(void);
static void sim_switch(void);
static int sim_futex_wait(struct wf_a32 *word, uint32_t expected, int64_t until_ns);

/* A thread-local is one per logical thread, and a switch is played. */
#define wf_self()                        sim_self()
#define wf_local_of(rt)                  ((void)(rt), sim_self())
#define wf_context_switch(from, to, arg) sim_switch()
#define wf_context_leave(from, to, arg)  wf_check_failed(__FILE__, __LINE__, "not reached")
#define wf_futex_wait                    sim_futex_wait
#include "suspend.c"
#undef wf_futex_wait

#define CELLS  4
#define OWN    1 /* the sleeper's task */
#define TARGET 2 /* what it waits for, and the next one */

static weft rt;
static struct wf_cell cells[CELLS];
static struct wf_worker worker_a, worker_b;
static struct wf_local guest;
static struct wf_fiber fiber, next_stack;
static struct weft_task frame;
static uintptr_t stack_of[EXPLORE_THREADS_MAX]; /* an address on each */

static bool no_stack;       /* wf_fiber_get() fails */
static struct wf_a32 go;    /* 1: thread 0 has switched, 2: it never will */
static struct wf_a32 ready; /* its fiber may run */
static bool saved, resumed; /* its stack is parked; it runs on another worker */
static uint32_t switches, readied;
static struct wf_wait *timed; /* in the timers */
static struct wf_a32 timer_lock;
static bool timer_fired, asked;
static struct {
	struct wf_wait wait;
	struct wf_wait_node node[2];
} * sleep_frame;
static int result;

/* ---- Who runs ---------------------------------------- */

static void stack_is(uint32_t i)
{
	stack_of[i] = (uintptr_t)__builtin_frame_address(0);
}

/* The thread whose address is nearest; stacks are far longer than what the threads use. */
static uint32_t thread_here(void)
{
	uintptr_t here = (uintptr_t)__builtin_frame_address(0), least = UINTPTR_MAX;
	uint32_t nearest = 0;

	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		uintptr_t away = stack_of[i] > here ? stack_of[i] - here : here - stack_of[i];

		if (stack_of[i] && away < least) {
			least = away;
			nearest = i;
		}
	}
	return nearest;
}

static struct wf_local *sim_self(void)
{
	switch (thread_here()) {
	case 0:
		return resumed ? &worker_b.local : worker_a.local.fiber ? &worker_a.local : &guest;
	case 1:
		return &worker_a.local;
	default:
		return &guest;
	}
}

/* On thread 0: what its worker goes on with is thread 1's. Back when the fiber is ready. */
static void sim_switch(void)
{
	EXPLORE_CHECK(thread_here() == 0 && !saved);
	switches++;
	saved = true;
	wf_store_release(&go, 1);
	wf_futex_wake(&go, 1);
	while (!wf_load_acquire(&ready))
		wf_futex_wait(&ready, 0, WF_FOREVER);
	resumed = true;
	worker_b.local.fiber = &fiber;
	worker_b.local.current = &frame;
}

/* Whose time is up and who has lost to a waker waits for it, a moment, by asking again. */
static int sim_futex_wait(struct wf_a32 *word, uint32_t expected, int64_t until_ns)
{
	int rc = wf_futex_wait(word, expected, until_ns);

	if (rc == -ETIMEDOUT)
		explore_yield();
	return rc;
}

/* ---- Twins of what suspend.c calls ---------------------------------------- */

void wf_ready_fiber(struct wf_local *self, struct wf_fiber *to)
{
	(void)self;
	EXPLORE_CHECK(to == &fiber);
	EXPLORE_CHECK(saved);
	EXPLORE_CHECK(++readied == 1);
	wf_store_release(&ready, 1);
	wf_futex_wake(&ready, 1);
}

void wf_ready_fiber_last(struct wf_local *self, struct wf_fiber *to)
{
	wf_ready_fiber(self, to);
}

struct wf_fiber *wf_fiber_get(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	(void)stacks;
	(void)cache;
	return no_stack ? NULL : &next_stack;
}

void wf_fiber_put(struct wf_stacks *stacks, struct wf_stack_cache *cache, struct wf_fiber *back)
{
	(void)stacks;
	(void)cache;
	(void)back;
	EXPLORE_CHECK(!"no stack is given back here");
}

void wf_fiber_prepare(struct wf_fiber *to, wf_fiber_fn *fn)
{
	EXPLORE_CHECK(to == &next_stack && fn == wf_fiber_main);
}

void wf_fiber_main(struct wf_fiber *at, void *arg)
{
	(void)at;
	(void)arg;
}

uint32_t wf_stacks_index_end(const struct wf_stacks *stacks)
{
	(void)stacks;
	return 1;
}

struct wf_fiber *wf_fiber_at(struct wf_stacks *stacks, uint32_t index)
{
	(void)stacks;
	EXPLORE_CHECK(index == 0);
	return &fiber;
}

void wf_cell_fire(struct wf_local *self, struct wf_cell *cell, uintptr_t list)
{
	struct wf_waiter *node = (struct wf_waiter *)(list & ~WF_W_BITS);

	while (node) {
		struct wf_waiter *next = node->next;

		node->fire(node, cell, self);
		node = next;
	}
}

static void timer_take_lock(void)
{
	uint32_t unlocked = 0;

	while (!wf_cas_acquire(&timer_lock, &unlocked, 1)) {
		unlocked = 0;
		explore_yield();
	}
}

int wf_timer_add(struct wf_wait *wait)
{
	timer_take_lock();
	timed = wait;
	wait->timed = true;
	wf_store_release(&timer_lock, 0);
	return 0;
}

void wf_timer_remove(struct wf_wait *wait)
{
	timer_take_lock();
	EXPLORE_CHECK(!timed || timed == wait);
	timed = NULL;
	wf_store_release(&timer_lock, 0);
}

/* As wf_timers_fire(), when the time has come. */
static void timer_fires(struct wf_local *self)
{
	timer_take_lock();
	if (timed) {
		struct wf_wait *wait = timed;

		timed = NULL;
		timer_fired = true;
		wf_wait_wake(wait, WF_WAKE_TIMEOUT, self);
	}
	wf_store_release(&timer_lock, 0);
}

void wf_task_run(struct wf_local *self, struct wf_cell *cell)
{
	(void)self;
	(void)cell;
}

/* No store here: nobody holds a share of it. */
uint64_t wf_shares_out(struct wf_local *self)
{
	(void)self;
	return 0;
}

void wf_shares_in(struct wf_local *self, uint64_t bytes)
{
	(void)self;
	WF_CHECK(bytes == 0);
}

/* No task here is a call, or in a group. */
bool wf_task_stopping_elsewhere(const struct weft_task *of)
{
	WF_CHECK(!of->cell->ext_word);
	return false;
}

void wf_outside_sleeps(struct wf_local *self)
{
	(void)self;
}

void wf_outside_wakes(struct wf_local *self)
{
	(void)self;
}

/* No runtime here is deterministic. */
char *wf_order_floor(struct wf_local *self)
{
	return self->stack_floor;
}

int wf_run_armed(struct wf_wait *wait)
{
	(void)wait;
	return 0;
}

/* No task here has a request. */
void wf_gpu_poll_slow(struct wf_worker *worker, uint32_t us)
{
	(void)worker, (void)us;
}

void wf_call_pauses_slow(struct wf_local *self)
{
	(void)self;
}

struct wf_ext *wf_admit_leave_slow(struct wf_local *self)
{
	(void)self;
	return NULL;
}

void wf_admit_back(struct wf_ext *ext)
{
	(void)ext;
}

bool wf_group_take_queued(struct wf_local *self, struct wf_cell *cell)
{
	(void)self;
	(void)cell;
	return false;
}

int wf_spare_take_over(struct wf_worker *worker)
{
	(void)worker;
	return -EAGAIN;
}

int wf_run_until(weft *at, struct wf_cell *cell, int64_t until)
{
	(void)at;
	(void)cell;
	(void)until;
	return -EAGAIN;
}

uint64_t wf_ticks_per_us(void)
{
	return 1;
}

int64_t wf_clock_now(const struct wf_clock *clock)
{
	(void)clock;
	return 1;
}

/* ---- Setup ---------------------------------------- */

static void begin(bool task)
{
	memset(&rt, 0, sizeof(rt));
	memset(cells, 0, sizeof(cells));
	memset(&worker_a, 0, sizeof(worker_a));
	memset(&worker_b, 0, sizeof(worker_b));
	memset(&guest, 0, sizeof(guest));
	memset(&fiber, 0, sizeof(fiber));
	memset(&next_stack, 0, sizeof(next_stack));
	memset(&frame, 0, sizeof(frame));
	memset(stack_of, 0, sizeof(stack_of));
	rt.cells = cells;
	rt.cells_last = CELLS - 1;
	wf_init(&rt.prio_used, 1); /* nothing on the own deque */
	frame = (struct weft_task){ .cell = &cells[OWN], .rt = &rt };
	worker_a.local = (struct wf_local){ .rt = &rt, .worker = true };
	worker_b.local = (struct wf_local){ .rt = &rt, .worker = true };
	guest.rt = &rt;
	if (task) {
		worker_a.local.fiber = &fiber;
		worker_a.local.current = &frame;
	}
	for (uint32_t i = 0; i < CELLS; i++) {
		wf_init(&cells[i].flags, WF_CELL_SHARED);
		wf_init(&cells[i].promise.state, WF_STATE_RUNNING);
	}
	no_stack = saved = resumed = timer_fired = asked = false;
	switches = readied = 0;
	timed = NULL;
	result = 1;
	wf_init(&go, 0);
	wf_init(&ready, 0);
	wf_init(&timer_lock, 0);
	sleep_frame = wf_malloc(sizeof(*sleep_frame));
	EXPLORE_CHECK(sleep_frame);
}

static void task_setup(void)
{
	begin(true);
}

static void no_stack_setup(void)
{
	begin(true);
	no_stack = true;
}

static void host_setup(void)
{
	begin(false);
	explore_spurious_wakes(1);
}

/* ---- The threads ---------------------------------------- */

/* As many_sleep() in get.c, for one or two results. */
static void sleeper(uint32_t nodes, uint32_t need, int64_t until)
{
	struct wf_local *self = sim_self();
	struct wf_wait *wait = &sleep_frame->wait;

	wf_wait_init(wait, self, need, until);
	wait->nodes = sleep_frame->node;
	wait->node_count = nodes;
	for (uint32_t i = 0; i < nodes; i++)
		sleep_frame->node[i].pushed = false;
	for (uint32_t i = 0; i < nodes; i++) {
		struct wf_wait_node *node = &sleep_frame->node[i];
		struct wf_cell *cell = &cells[TARGET + i];

		if (!wf_wait_add(self, wait, node, cell)) {
			*node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire,
				                       .wait = wait,
				                       .cell = cell };
			wf_wait_fire(&node->waiter, cell, self);
		}
	}
	result = wf_wait_sleep(wait);
	memset(sleep_frame, 0, sizeof(*sleep_frame));
	EXPLORE_CHECK(switches == readied);
	if (!switches) {
		wf_store_release(&go, 2);
		wf_futex_wake(&go, 1);
	}
}

/* What thread 0's worker goes on with. */
static void successor(void)
{
	while (!wf_load_acquire(&go))
		wf_futex_wait(&go, 0, WF_FOREVER);
	if (wf_load_acquire(&go) == 1)
		wf_after_switch(&worker_a.local);
}

static void complete(uint32_t which)
{
	uintptr_t list = wf_promise_complete_shared(&cells[which].promise);

	if (list)
		wf_cell_fire(&guest, &cells[which], list);
}

/* As wf_cancel_cell() of a running task. */
static void cancel(void)
{
	uint8_t no = WF_CANCEL_NO;

	asked = true;
	wf_cas_acq_rel(&cells[OWN].cancel, &no, WF_CANCEL_ASKED);
	wf_cancel_blocked(&guest, &cells[OWN], wf_load_relaxed(&cells[OWN].gen));
}

/* Common to all: thread 1, and thread 2 completes the first result. */
static bool common(uint32_t i)
{
	stack_is(i);
	if (i == 1)
		successor();
	else if (i == 2)
		complete(TARGET);
	return i == 1 || i == 2;
}

static void fire_thread(uint32_t i)
{
	if (!common(i))
		sleeper(1, 1, WEFT_FOREVER);
}

static void timeout_thread(uint32_t i)
{
	if (common(i))
		return;
	if (i == 3)
		timer_fires(&guest);
	else
		sleeper(1, 1, 1000);
}

static void cancel_thread(uint32_t i)
{
	if (common(i))
		return;
	if (i == 3)
		cancel();
	else
		sleeper(1, 1, WEFT_FOREVER);
}

/* Nobody completes anything: only the request ends the sleep. */
static void cancel_alone_thread(uint32_t i)
{
	if (i == 2)
		cancel();
	else if (i == 1)
		common(i);
	else {
		stack_is(i);
		sleeper(1, 1, WEFT_FOREVER);
	}
}

static void any_thread(uint32_t i)
{
	if (common(i))
		return;
	if (i == 3)
		complete(TARGET + 1);
	else
		sleeper(2, 1, WEFT_FOREVER);
}

static void all_thread(uint32_t i)
{
	if (common(i))
		return;
	if (i == 3)
		complete(TARGET + 1);
	else
		sleeper(2, 2, WEFT_FOREVER);
}

static void host_thread(uint32_t i)
{
	stack_is(i);
	if (i > 0)
		complete(TARGET + i - 1);
	else
		sleeper(2, 1, WEFT_FOREVER);
}

static void host_timeout_thread(uint32_t i)
{
	stack_is(i);
	if (i > 0)
		complete(TARGET);
	else
		sleeper(1, 1, 1000);
}

/* ---- Checks ---------------------------------------- */

static void check(void)
{
	EXPLORE_CHECK(switches == readied && switches <= 1);
	EXPLORE_CHECK(result == 0 || result == -ETIMEDOUT || result == -EINTR || result == -EAGAIN);
	EXPLORE_CHECK(result != -EINTR || asked);
	EXPLORE_CHECK(result != -EAGAIN || no_stack);
	EXPLORE_CHECK(!timed);
	for (size_t i = 0; i < sizeof(*sleep_frame); i++)
		EXPLORE_CHECK(((unsigned char *)sleep_frame)[i] == 0);
	wf_free(sleep_frame);
	EXPLORE_CHECK(!wf_fiber_user(&fiber)->wait);
	EXPLORE_CHECK(wf_load_relaxed(&wf_fiber_user(&fiber)->lock) == 0);
	for (uint32_t i = TARGET; i < CELLS; i++)
		EXPLORE_CHECK(!(wf_load_relaxed(&cells[i].promise.waiters) & ~WF_W_CLOSED));
}

static void check_timer(void)
{
	check();
	EXPLORE_CHECK(result != -ETIMEDOUT || timer_fired);
}

static void check_zero(void)
{
	check();
	EXPLORE_CHECK(result == 0);
}

static void check_cancelled(void)
{
	check();
	EXPLORE_CHECK(result == -EINTR);
}

static const struct explore scenarios[] = {
	{ "fire", 3, task_setup, fire_thread, check_zero },
	{ "timeout", 4, task_setup, timeout_thread, check_timer },
	{ "cancel", 4, task_setup, cancel_thread, check },
	{ "cancel_alone", 3, task_setup, cancel_alone_thread, check_cancelled },
	{ "any", 4, task_setup, any_thread, check_zero },
	{ "all", 4, task_setup, all_thread, check_zero },
	{ "no_stack", 3, no_stack_setup, fire_thread, check },
	{ "no_stack_timeout", 4, no_stack_setup, timeout_thread, check },
	{ "host", 3, host_setup, host_thread, check_zero },
	{ "host_timeout", 2, host_setup, host_timeout_thread, check },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
