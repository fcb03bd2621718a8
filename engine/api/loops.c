/*
 * loops.c: strict fork/join, and the parallel loops on top of it.
 *
 * A fork is a struct on the forker's stack and a tagged pointer on its deque. A join that finds it
 * there calls the child directly. A thief runs it with a frame of its own that borrows the
 * forker's task (name, cancel), then swaps DONE into the fork's word; what it gets back is the
 * joiner's wait, when the joiner already sleeps. A join cannot be cancelled: the child uses the
 * forker's stack.
 *
 * Loops split only when somebody is hungry: between pieces the loop looks whether another worker
 * is idle while its own deque is empty, and if so forks the later half. Pieces grow until they
 * take PIECE_US, so that the looking costs nothing and the answer comes quickly.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define FORK_PENDING 0u
#define FORK_DONE    1u
#define FORK_AT_JOIN 2u
#define JOIN_DEPTH   64
#define PIECE_US     50u
#define ACC_INLINE   256u
#define ACC_MAX      4096u

struct fork_private {
	struct wf_aptr word; /* FORK_..., or the joiner's struct wf_wait */
	struct weft_task *parent;
};
_Static_assert(sizeof(struct fork_private) == sizeof(((struct weft_fork *)0)->private_), "fits");

static inline struct fork_private *private_of(struct weft_fork *fork)
{
	return (struct fork_private *)(void *)fork->private_;
}

static inline void *item_of(struct weft_fork *fork)
{
	/* Added, not or-ed: that is one instruction less. */
	return (char *)fork + WF_ITEM_FORK;
}

WF_NOINLINE static void fork_slow(struct wf_local *local, struct weft_fork *fork)
{
	if (!local->worker || !local->fiber ||
	    wf_deque_push_local(&wf_worker_of(local)->deque[WEFT_PRIORITY_NORMAL], item_of(fork)))
		wf_init(&private_of(fork)->word, FORK_AT_JOIN);
	else
		wf_pushed(wf_worker_of(local));
}

void weft_fork(weft_task *self, struct weft_fork *fork, weft_fork_fn *fn, void *arg)
{
	struct wf_local *local = wf_self();

	fork->fn = fn;
	fork->arg = arg;
	private_of(fork)->parent = self;
	wf_init(&private_of(fork)->word, FORK_PENDING);
	if (WF_UNLIKELY(!local->worker)) {
		fork_slow(local, fork);
		return;
	}
	struct wf_deque *deque = &wf_worker_of(local)->deque[WEFT_PRIORITY_NORMAL];
	uint32_t b = wf_deque_bottom_local(deque);

	if (WF_UNLIKELY(!wf_deque_has_room_local(deque, b))) {
		fork_slow(local, fork);
		return;
	}
	wf_deque_put_local(deque, b, item_of(fork));
	wf_pushed_put(local->rt, wf_worker_of(local));
}

static bool take_back(struct wf_worker *worker, struct weft_fork *fork)
{
	struct wf_deque *deque = &worker->deque[WEFT_PRIORITY_NORMAL];

	return wf_deque_take_local(deque, item_of(fork)) ||
		wf_deque_remove_local(deque, item_of(fork), JOIN_DEPTH);
}

WF_NOINLINE static WF_SUSPENDS void join_slow(weft_task *self, struct weft_fork *fork)
{
	struct fork_private *private = private_of(fork);
	struct wf_local *local = wf_self();
	uintptr_t pending = FORK_PENDING;
	struct wf_wait wait;

	/* relaxed: written by this thread, or by a thief as DONE, which acquire reads below. */
	if (wf_load_relaxed(&private->word) == FORK_AT_JOIN ||
	    (local->worker && take_back(wf_worker_of(local), fork))) {
		fork->fn(self, fork->arg);
		return;
	}
	/* acquire [N1]: what the child wrote. */
	if (wf_load_acquire(&private->word) == FORK_DONE)
		return;
	wf_wait_init(&wait, local, 1, WEFT_FOREVER);
	wait.uninterruptible = true;
	/* release [N2]: the wait, to the thief's swap. acquire [N1]. */
	if (!wf_cas_acq_rel(&private->word, &pending, (uintptr_t)&wait))
		return;
	/* Uninterruptible: it cannot fail. */
	WF_CHECK(!wf_wait_sleep(&wait));
}

/* Nearly always the child is the newest thing on our deque, and no call returns here. */
void weft_fork_join(weft_task *self, struct weft_fork *fork)
{
	struct wf_local *local = wf_self();
	struct wf_deque *deque = &wf_worker_of(local)->deque[WEFT_PRIORITY_NORMAL];
	uint32_t b = local->worker ? wf_deque_bottom_local(deque) : 0;

	if (WF_LIKELY(local->worker && wf_deque_is_newest_local(deque, b, item_of(fork)) &&
	              !wf_deque_is_asked_local(deque) && wf_deque_take_private_local(deque, b)))
		fork->fn(self, fork->arg);
	else
		join_slow(self, fork);
}

void wf_fork_run(struct wf_local *self, struct weft_fork *fork)
{
	struct fork_private *private = private_of(fork);
	struct weft_task *parent = private->parent;
	struct weft_task frame = { .cell = parent->cell,
		                   .rt = parent->rt,
		                   .fn = parent->fn,
		                   .outer = self->current,
		                   .borrowed = 1 };

	frame.arg = frame.data;
	self->current = &frame;
	struct wf_ext *ext = wf_cell_ext(parent->cell);
	struct wf_fiber *fiber = self->fiber;
	uint32_t modes = ext && (ext->parts || ext->call) ? wf_bodies_begin(self, ext) : 0;

	fork->fn(&frame, fork->arg);
	self = wf_self();
	wf_bodies_end(self, modes, fiber);
	self->current = frame.outer;
	wf_frame_clear(&frame);
	wf_payload_free(self, frame.payload);
	/* release [N1]: what the child wrote. acquire [N2]: the joiner's wait. */
	uintptr_t old = wf_swap_acq_rel(&private->word, FORK_DONE);

	if (old != FORK_PENDING)
		wf_wait_wake((struct wf_wait *)old, WF_WAKE_READY, self);
}

/* ---- Loops --------------------------------------------------------------------------------- */

struct loop {
	weft_for_fn *fn;
	weft_reduce_fn *reduce; /* one of the two */
	weft_combine_fn *combine;
	void *arg;
	const void *zero;
	size_t acc_size;
	int64_t grain;
};

/* One side of a split, or a whole loop. */
struct range {
	const struct loop *loop;
	int64_t begin, end;
	void *acc;    /* of a reduction */
	bool skipped; /* cancelled before the end */
};

/* Somebody is idle and finds nothing to take from us. */
static inline bool hungry(const weft *rt)
{
	struct wf_local *self = wf_self();

	if (WF_UNLIKELY(rt->order))
		return !wf_order_below(rt->order, 4);
	/* relaxed: a hint. */
	return wf_load_relaxed(&rt->idle) && self->worker &&
		!wf_deque_count_mt(&wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL]);
}

static void run_range(weft_task *self, struct range *range);

static void run_forked(weft_task *self, void *arg)
{
	run_range(self, arg);
}

/* Fork the later half, run the earlier one, fold. False: no memory for an accumulator. */
static bool split(weft_task *self, struct range *range)
{
	const struct loop *loop = range->loop;
	int64_t middle = range->begin + (range->end - range->begin) / 2;
	WF_ALIGNED(16) unsigned char small[ACC_INLINE];
	unsigned char *acc = NULL;
	struct weft_fork fork;

	if (loop->reduce) {
		acc = loop->acc_size <= ACC_INLINE ? small : wf_malloc(loop->acc_size);
		if (!acc)
			return false;
		memcpy(acc, loop->zero, loop->acc_size);
	}
	struct range right = { .loop = loop, .begin = middle, .end = range->end, .acc = acc };

	range->end = middle;
	weft_fork(self, &fork, run_forked, &right);
	/* Whoever is hungry would ask for it, and nobody answers between pieces. */
	if (wf_self()->worker)
		wf_deque_expose_local(&wf_worker_of(wf_self())->deque[WEFT_PRIORITY_NORMAL], 1);
	run_range(self, range);
	weft_fork_join(self, &fork);
	range->skipped |= right.skipped;
	if (loop->reduce) {
		loop->combine(range->acc, acc, loop->arg);
		if (acc != small)
			wf_free(acc);
	}
	return true;
}

static void run_piece(const struct range *range, int64_t begin, int64_t end)
{
	if (range->loop->fn)
		range->loop->fn(begin, end, range->loop->arg);
	else
		range->loop->reduce(begin, end, range->loop->arg, range->acc);
}

static void run_range(weft_task *self, struct range *range)
{
	uint64_t goal = PIECE_US * wf_ticks_per_us();
	int64_t least = range->loop->grain > 0 ? range->loop->grain : 1;
	int64_t piece = least;

	while (range->begin < range->end) {
		int64_t left = range->end - range->begin;

		if (weft_task_cancelled(self)) {
			range->skipped = true;
			return;
		}
		if (left / 2 >= least && hungry(self->rt) && split(self, range))
			return;
		int64_t end = left - piece < least ? range->end : range->begin + piece;
		uint64_t before = wf_ticks();

		run_piece(range, range->begin, end);
		range->begin = end;
		bool grow = WF_UNLIKELY(self->rt->order) ? wf_order_below(self->rt->order, 2)
							 : wf_ticks() - before < goal / 2;

		if (grow && piece < INT64_MAX / 4)
			piece *= 2;
	}
}

static int root_body(weft_task *self)
{
	struct range *range = *(struct range **)weft_task_arg(self, NULL);

	run_range(self, range);
	return range->skipped ? -ECANCELED : 0;
}

static int run_loop(weft *rt, struct range *range)
{
	struct wf_local *self = wf_self();
	weft_ref ref;

	if (self && self->rt == rt && wf_can_suspend(self)) {
		run_range(self->current, range);
		return range->skipped ? -ECANCELED : 0;
	}
	int rc = weft_submit(rt, WEFT_TASK(root_body, WEFT_ARG(range)), &ref);

	if (rc)
		return rc;
	struct weft_view view;
	int got = weft_get(rt, ref, WEFT_FOREVER, &view);

	/* It uses our frame: a caller that is told to stop passes that on and waits all the same. */
	while (!weft_peek(rt, ref)) {
		weft_cancel(rt, ref);
		sched_yield();
		got = weft_get(rt, ref, WEFT_FOREVER, &view);
	}
	weft_release(rt, ref);
	return got == -EINTR ? -ECANCELED : got;
}

int weft_for(weft *rt, int64_t begin, int64_t end, int64_t grain, weft_for_fn *fn, void *arg)
{
	if (!rt || !fn || grain < 0 || begin > end || (begin < 0 && end > INT64_MAX + begin))
		return -EINVAL;
	struct loop loop = { .fn = fn, .arg = arg, .grain = grain };
	struct range range = { .loop = &loop, .begin = begin, .end = end };

	return begin == end ? 0 : run_loop(rt, &range);
}

int weft_reduce(weft *rt, int64_t begin, int64_t end, int64_t grain, weft_reduce_fn *fn,
                weft_combine_fn *combine, void *arg, const void *zero, size_t acc_size,
                void *result)
{
	WF_ALIGNED(16) unsigned char acc[ACC_MAX];

	if (!rt || !fn || !combine || !zero || !acc_size || !result || grain < 0 || begin > end ||
	    (begin < 0 && end > INT64_MAX + begin))
		return -EINVAL;
	if (acc_size > ACC_MAX)
		return -EMSGSIZE;
	struct loop loop = { .reduce = fn,
		             .combine = combine,
		             .arg = arg,
		             .zero = zero,
		             .acc_size = acc_size,
		             .grain = grain };
	struct range range = { .loop = &loop, .begin = begin, .end = end, .acc = acc };

	memcpy(acc, zero, acc_size);
	int rc = begin == end ? 0 : run_loop(rt, &range);

	if (!rc)
		memcpy(result, acc, acc_size);
	return rc;
}
