/*
 * promise.c: the word of a result under every schedule of a completer, waiters and last holders.
 *
 * Goal: every pushed node is fired exactly once or removed, never both; who is told "done" sees
 * the result; the memory is freed exactly once, and nobody touches it then; a cell that is used
 * again is not disturbed by whoever held its earlier use. Method: thread 0 owns the memory. Every
 * step of the other threads takes the same way as the engine's (wf_cell_release(), wf_cell_fire(),
 * wf_wait_add()) with the bookkeeping replaced by an oracle that notes who is inside an operation.
 * A free by a stranger of a private promise goes home to the owner first, as the slab does it:
 * only the owner may use the memory again, which is what a private completion rests on.
 *
 * Not seen here: that the owner's store of DONE may pass its look at the list. The explorer's
 * schedules are sequentially consistent; tests/stress/membarrier_litmus.c has that half.
 */
#include "base.h"
#include "explore.h"

/* Who spins on WF_W_LOCKED waits for another thread: without this a spin would never end. */
#define wf_cpu_relax explore_yield
#include "promise.h"
#undef wf_cpu_relax

#define OWNER  0u
#define RESULT 42u

struct wf_cell {
	struct wf_promise promise;
	uint32_t result;
};

/* What a promise is told about the callers; the model needs none of it. */
struct node {
	struct wf_waiter waiter; /* first: fire() gets this */
	struct wf_a32 fired;
	bool pushed, removed;
};

static struct wf_cell *cell;
static bool private_one; /* the owner completes it privately */
static bool freed;       /* this use of the memory is over */
static uint32_t uses;
static bool inside[EXPLORE_THREADS_MAX]; /* in an operation on the promise */
static struct node nodes[EXPLORE_THREADS_MAX];
static uint32_t told_done;

/* ---- The oracle ---------------------------------------- */

static void enter(uint32_t i)
{
	EXPLORE_CHECK(!freed);
	EXPLORE_CHECK(!inside[i]);
	inside[i] = true;
}

static void leave(uint32_t i)
{
	inside[i] = false;
}

static bool foreign(uint32_t i)
{
	return private_one && i != OWNER;
}

static void check_result(void)
{
	EXPLORE_CHECK(!freed);
	EXPLORE_CHECK(cell->result == RESULT);
	told_done++;
}

static void free_cell(uint32_t i)
{
	EXPLORE_CHECK(!freed);
	EXPLORE_CHECK(!inside[i]);
	for (uint32_t other = 0; other < EXPLORE_THREADS_MAX; other++) {
		/* The owner itself puts a private promise to its next use, so it may be inside. */
		if (other != OWNER || !private_one)
			EXPLORE_CHECK(!inside[other]);
	}
	freed = true;
	if (!private_one)
		wf_free(cell);
}

static void fire(struct wf_waiter *waiter, struct wf_cell *of, struct wf_local *self)
{
	struct node *node = (struct node *)waiter;

	(void)self;
	EXPLORE_CHECK(of == cell && !freed);
	EXPLORE_CHECK(node->pushed && !node->removed);
	EXPLORE_CHECK(cell->result == RESULT);
	EXPLORE_CHECK(wf_swap_acq_rel(&node->fired, 1) == 0);
}

/* ---- The engine's ways ---------------------------------------- */

/* As wf_cell_fire(). */
static void fire_list(uint32_t i, uintptr_t list)
{
	struct wf_waiter *waiter = (struct wf_waiter *)(list & ~WF_W_BITS);

	EXPLORE_CHECK(!(list & (WF_W_CLOSED | WF_W_LOCKED)));
	while (waiter) {
		struct wf_waiter *next = waiter->next;

		waiter->fire(waiter, cell, NULL);
		waiter = next;
	}
	if (list & WF_W_ORPHAN)
		free_cell(i);
}

static void complete(uint32_t i)
{
	uintptr_t list;

	/* The completer holds no count: what it holds is that nobody else completes. */
	EXPLORE_CHECK(!freed);
	inside[i] = true;
	cell->result = RESULT;
	if (private_one && i == OWNER)
		list = wf_promise_complete_private(&cell->promise);
	else
		list = wf_promise_complete_shared(&cell->promise);
	leave(i);
	fire_list(i, list);
}

/* Push; false: it was done. `node` is on the list or already fired otherwise. */
static bool push(uint32_t i, struct node *node)
{
	uintptr_t taken = 0;

	enter(i);
	node->waiter.fire = fire;
	node->pushed = true;
	bool done = wf_promise_is_done(&cell->promise) ||
		!wf_promise_push(&cell->promise, &node->waiter, foreign(i), &taken);

	leave(i);
	EXPLORE_CHECK(!done || !taken);
	if (done) {
		node->pushed = false;
		check_result();
		return false;
	}
	if (taken)
		fire_list(i, taken);
	return true;
}

static void await(struct node *node)
{
	while (!wf_load_acquire(&node->fired))
		explore_yield();
	check_result();
}

/* As weft_get(). */
static void wait(uint32_t i)
{
	if (push(i, &nodes[i]))
		await(&nodes[i]);
}

/* As a weft_get() whose time is up at once. */
static void wait_timed(uint32_t i)
{
	if (!push(i, &nodes[i]))
		return;
	enter(i);
	bool removed = wf_promise_remove(&cell->promise, &nodes[i].waiter);

	leave(i);
	nodes[i].removed = removed;
	if (removed)
		EXPLORE_CHECK(!wf_load_relaxed(&nodes[i].fired));
	else
		await(&nodes[i]);
}

/* As wf_cell_release(). */
static void release(uint32_t i)
{
	bool mine = true;

	enter(i);
	if (!wf_promise_drop(&cell->promise))
		mine = false;
	else if (!wf_promise_is_done(&cell->promise))
		mine = wf_promise_orphan(&cell->promise, foreign(i));
	leave(i);
	if (mine)
		free_cell(i);
}

/* ---- Setup and check ---------------------------------------- */

static void use(uint32_t counts)
{
	wf_init(&cell->promise.waiters, 0);
	wf_init(&cell->promise.refs, counts - 1);
	cell->result = 0;
	freed = false;
	uses++;
	/* relaxed: as cell_start() in submit.c. */
	wf_store_relaxed(&cell->promise.state, WF_STATE_RUNNING);
}

static void begin(bool private, uint32_t counts)
{
	cell = wf_malloc(sizeof(*cell));
	EXPLORE_CHECK(cell);
	private_one = private;
	uses = told_done = 0;
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		inside[i] = false;
		nodes[i].pushed = nodes[i].removed = false;
		wf_init(&nodes[i].fired, 0);
	}
	use(counts);
}

static void check(void)
{
	EXPLORE_CHECK(freed);
	for (uint32_t i = 0; i < EXPLORE_THREADS_MAX; i++) {
		uint32_t fired = wf_load_relaxed(&nodes[i].fired);

		EXPLORE_CHECK(fired + nodes[i].removed == nodes[i].pushed);
	}
	if (private_one)
		wf_free(cell);
}

static void private_1(void)
{
	begin(true, 1);
}

static void private_2(void)
{
	begin(true, 2);
}

static void shared_1(void)
{
	begin(false, 1);
}

static void shared_2(void)
{
	begin(false, 2);
}

static void shared_3(void)
{
	begin(false, 3);
}

/* ---- Scenarios ---------------------------------------- */

/* Thread 0 completes and has no count of its own; the others wait and let go. */
static void waiters_thread(uint32_t i)
{
	if (i == OWNER) {
		complete(i);
		return;
	}
	wait(i);
	release(i);
}

/* A task of the owner waits as well, on the thread that then completes. */
static void owner_waits_thread(uint32_t i)
{
	if (i > 0) {
		wait(i);
		release(i);
		return;
	}
	EXPLORE_CHECK(push(i, &nodes[i]));
	complete(i);
	await(&nodes[i]);
	release(i);
}

static void timed_thread(uint32_t i)
{
	if (i == OWNER) {
		complete(i);
		return;
	}
	wait_timed(i);
	release(i);
}

/* One waits for good, one times out: removal from the middle or the head beside a push. */
static void mixed_thread(uint32_t i)
{
	if (i == OWNER) {
		complete(i);
		return;
	}
	if (i == 1)
		wait_timed(i);
	else
		wait(i);
	release(i);
}

/* The owner's waiter, then a stranger's, and the owner's is removed beside the push. */
static void owner_timed_thread(uint32_t i)
{
	if (i > 0) {
		wait(i);
		release(i);
		return;
	}
	wait_timed(i);
	complete(i);
	release(i);
}

/* Nobody waits: the last count goes, on any side of the completion. */
static void strangers_thread(uint32_t i)
{
	if (i == OWNER)
		complete(i);
	else
		release(i);
}

/* The owner has a count, drops it first and completes then. */
static void owner_drops_thread(uint32_t i)
{
	if (i > 0) {
		release(i);
		return;
	}
	release(i);
	complete(i);
}

/* A thief completes what the owner lets go of. */
static void thief_thread(uint32_t i)
{
	if (i == OWNER)
		release(i);
	else
		complete(i);
}

/* A holder copies its handle; both counts go. */
static void retain_thread(uint32_t i)
{
	if (i == OWNER) {
		complete(i);
		return;
	}
	enter(i);
	wf_promise_retain(&cell->promise);
	leave(i);
	wait_timed(i);
	release(i);
	release(i);
}

/*
 * The owner uses the memory again at once, as its free list does: another result that is complete
 * and freed, then a third one that nobody completes. A stranger that was the last holder of the
 * first use must leave the others alone.
 */
static void reuse_thread(uint32_t i)
{
	if (i > 0) {
		release(i);
		return;
	}
	complete(i);
	while (!freed)
		explore_yield();
	use(1);
	EXPLORE_CHECK(!wf_promise_is_done(&cell->promise));
	EXPLORE_CHECK(push(i, &nodes[i]));
	complete(i);
	EXPLORE_CHECK(wf_load_acquire(&nodes[i].fired));
	release(i);
	use(1);
	EXPLORE_CHECK(!wf_promise_is_done(&cell->promise));
}

static void reuse_check(void)
{
	EXPLORE_CHECK(uses == 3);
	EXPLORE_CHECK(!freed);
	EXPLORE_CHECK(!wf_promise_is_done(&cell->promise));
	EXPLORE_CHECK(wf_load_relaxed(&cell->promise.waiters) == 0);
	wf_free(cell);
}

static const struct explore scenarios[] = {
	{ "private_waiter", 2, private_1, waiters_thread, check },
	{ "private_two_waiters", 3, private_2, waiters_thread, check },
	{ "private_owner_waits", 2, private_2, owner_waits_thread, check },
	{ "private_timed", 2, private_1, timed_thread, check },
	{ "private_two_timed", 3, private_2, timed_thread, check },
	{ "private_mixed", 3, private_2, mixed_thread, check },
	{ "private_owner_timed", 2, private_2, owner_timed_thread, check },
	{ "private_stranger_last", 2, private_1, strangers_thread, check },
	{ "private_strangers_last", 3, private_2, strangers_thread, check },
	{ "private_owner_drops", 2, private_2, owner_drops_thread, check },
	{ "private_owner_last", 1, private_1, owner_drops_thread, check },
	{ "private_retain", 2, private_1, retain_thread, check },
	{ "private_reuse", 2, private_1, reuse_thread, reuse_check },
	{ "shared_waiter", 2, shared_1, waiters_thread, check },
	{ "shared_two_waiters", 3, shared_2, waiters_thread, check },
	{ "shared_owner_waits", 2, shared_2, owner_waits_thread, check },
	{ "shared_timed", 2, shared_1, timed_thread, check },
	{ "shared_two_timed", 3, shared_2, timed_thread, check },
	{ "shared_mixed", 3, shared_2, mixed_thread, check },
	{ "shared_strangers_last", 3, shared_2, strangers_thread, check },
	{ "shared_owner_drops", 3, shared_3, owner_drops_thread, check },
	{ "shared_thief", 2, shared_1, thief_thread, check },
	{ "shared_retain", 2, shared_1, retain_thread, check },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
