/*
 * get.c: the doors that wait for results.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "plain.h"
#include "wf_store.h"

#define NODES_ON_STACK 16

/* ---- One ----------------------------------------------------------------------------------- */

int weft_get(weft *rt, weft_ref ref, weft_deadline until, struct weft_view *view)
{
	struct wf_cell *cell = rt && view ? wf_cell_of(rt, ref) : NULL;

	if (!cell)
		return -EINVAL;
	if (!wf_promise_is_done(&cell->promise)) {
		int rc = wf_wait_cell(rt, cell, until);

		if (rc)
			return rc;
	}
	if (wf_flags(cell) & WF_CELL_ERROR)
		return wf_cell_status_told(cell);
	if (WF_UNLIKELY(wf_flags(cell) & WF_CELL_BIG))
		return wf_cell_get_view(rt, cell, until, view);
	*view = wf_cell_view(cell);
	return 0;
}

static WF_SUSPENDS inline int64_t copy_value(weft *rt, struct wf_cell *cell, void *dst, size_t size)
{
	if (WF_UNLIKELY(wf_cell_is_outside(cell)))
		return wf_cell_copy_object(rt, cell, dst, size);
	struct weft_view view = wf_cell_view(cell);

	if (view.size > size)
		return -EMSGSIZE;
	if (view.size == 8)
		memcpy(dst, view.data, 8);
	else if (view.size)
		memcpy(dst, view.data, view.size);
	return (int64_t)view.size;
}

static WF_SUSPENDS inline int64_t get_copy(weft *rt, struct wf_cell *cell, void *dst, size_t size)
{
	if (WF_UNLIKELY(!wf_promise_is_done(&cell->promise))) {
		int rc = wf_wait_cell(rt, cell, WEFT_FOREVER);

		if (rc)
			return rc;
	}
	if (WF_UNLIKELY(wf_flags(cell) & WF_CELL_ERROR))
		return wf_cell_status_told(cell);
	return copy_value(rt, cell, dst, size);
}

int64_t weft_get_copy(weft *rt, weft_ref ref, void *dst, size_t size)
{
	struct wf_cell *cell = rt && (dst || !size) ? wf_cell_of(rt, ref) : NULL;

	return cell ? get_copy(rt, cell, dst, size) : -EINVAL;
}

WF_NOINLINE static int64_t take_slow(weft *rt, weft_ref ref, void *dst, size_t size)
{
	struct wf_cell *cell = rt && (dst || !size) ? wf_cell_of(rt, ref) : NULL;

	if (!cell)
		return -EINVAL;
	int64_t got = get_copy(rt, cell, dst, size);
	struct wf_local *self = wf_local_of(rt);

	if (self)
		wf_cell_release(self, cell);
	return got;
}

/* The same for one whose body has returned `code`. */
WF_NOINLINE static WF_SUSPENDS int64_t take_returned(struct wf_local *self, struct weft_task *frame,
                                                     int code, void *dst, size_t size)
{
	weft *rt = frame->rt;
	weft_ref ref = wf_ref_of(rt, frame->cell);

	wf_task_end(self, frame, code);
	return take_slow(rt, ref, dst, size);
}

/*
 * The body has returned and the caller is the only holder: if nothing out of the ordinary
 * happened, nobody can be waiting, and the completion need not be published at all. True: the
 * value is in `dst` and the cell is free. One sum, because ten branches would cost more.
 */
static inline bool take_unpublished(struct wf_local *self, struct wf_cell *cell,
                                    const struct weft_task *frame, int code, void *dst, size_t size)
{
	/* relaxed, here and below: ours alone, or somebody else has retained it. */
	uint32_t gen = wf_load_relaxed(&cell->gen) + 1;
	uint64_t odd = (uintptr_t)frame->payload | (uintptr_t)frame->error |
		wf_load_relaxed(&cell->promise.waiters) | wf_load_relaxed(&cell->promise.refs) |
		(wf_load_relaxed(&cell->head) ^ wf_head(self->id, WF_CELL_TASK)) |
		(uint32_t)(code & INT32_MIN);

	if (WF_UNLIKELY(odd || cell->mark.size != 8 || size < 8 || !(gen & WF_REST_MASK)))
		return false;
	memcpy(dst, cell->data, 8);
	wf_bump(&self->completed);
	wf_cell_reuse(self, cell, gen);
	return true;
}

/* The same for a task that this worker has just taken off its queue and begun, and has an ext. */
WF_NOINLINE static WF_SUSPENDS int64_t take_begun(struct wf_local *self, struct wf_cell *cell,
                                                  void *dst, size_t size)
{
	struct weft_task frame;
	int code;

	/* relaxed: our own store. */
	WF_DEBUG(wf_load_relaxed(&cell->promise.state) == WF_STATE_RUNNING);
	if (WF_UNLIKELY(!wf_plain_may_run(self, cell))) {
		weft *rt = self->rt;
		weft_ref ref = wf_ref_of(rt, cell);

		wf_task_run_slow(self, cell);
		return take_slow(rt, ref, dst, size);
	}
	wf_plain_frame(self, cell, &frame);
	self = wf_task_call(self, &frame, &code);
	if (WF_LIKELY(code >= 0 && !frame.payload && !frame.error)) {
		wf_plain_end(self, cell);
		if (WF_LIKELY(take_unpublished(self, cell, &frame, code, dst, size)))
			return 8;
	}
	return take_returned(self, &frame, code, dst, size);
}

/*
 * The common end of a fork is our own newest task, not begun, which is run right here. No call but
 * the body's returns here, so that next to nothing has to be saved.
 */
int64_t weft_take(weft *rt, weft_ref ref, void *dst, size_t size)
{
	struct wf_local *self = wf_self();
	struct weft_task frame;

	/* Where tasks are never run in place the floor is above all. */
	if (WF_UNLIKELY(!self || self->rt != rt || wf_stack_here() < self->stack_floor))
		return take_slow(rt, ref, dst, size);
	struct wf_deque *deque = &wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL];
	struct wf_cell *cell = &rt->cells[wf_ref_index(ref)];
	uint32_t b = wf_deque_bottom_local(deque);

	/*
	 * What our deque names is a cell of our runtime; before that is known nothing may be read
	 * there. relaxed, both: of the handle's holder, and a hint.
	 */
	if (WF_UNLIKELY(!wf_deque_is_newest_local(deque, b, cell) ||
	                wf_load_relaxed(&cell->gen) != wf_ref_gen(ref) || (!dst && size) ||
	                wf_deque_is_asked_local(deque) || !wf_deque_take_private_local(deque, b)))
		return take_slow(rt, ref, dst, size);
	if (WF_UNLIKELY(!wf_task_begin(self, cell)))
		return take_begun(self, cell, dst, size);
	int code;

	wf_task_frame(self, cell, &frame);
	self = wf_task_call(self, &frame, &code);
	if (WF_UNLIKELY(!take_unpublished(self, cell, &frame, code, dst, size)))
		return take_returned(self, &frame, code, dst, size);
	return 8;
}

/* Of a generator: whether its next item, or its end, is there. */
static int peek_stream(weft *rt, struct wf_cell *gen)
{
	struct wf_local *self = wf_local_of(rt);
	struct wf_cell *next;
	int rc = self ? wf_stream_peek(gen, &next) : -ENOMEM;

	if (rc)
		return rc;
	rc = wf_promise_is_done(&next->promise);
	wf_cell_release(self, next);
	return rc;
}

int weft_peek(weft *rt, weft_ref ref)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;

	if (!cell)
		return -EINVAL;
	if (wf_promise_is_done(&cell->promise))
		return 1;
	return WF_UNLIKELY(wf_cell_is_stream(cell)) ? peek_stream(rt, cell) : 0;
}

/* ---- Many ---------------------------------------------------------------------------------- */

struct many {
	struct wf_wait wait;
	struct wf_wait_node *nodes;
	struct wf_wait_node stack_nodes[NODES_ON_STACK];
};

static int many_nodes(struct many *m, uint32_t n)
{
	m->nodes = n <= NODES_ON_STACK ? m->stack_nodes : wf_calloc(n, sizeof(*m->nodes));
	return m->nodes ? 0 : -ENOMEM;
}

static void many_free(struct many *m)
{
	if (m->nodes != m->stack_nodes)
		wf_free(m->nodes);
}

struct many_refs {
	weft *rt;
	const weft_ref *refs;
};

/* Those that are done count as if they had been pushed and fired. False: that is enough. */
static bool many_arm(struct wf_local *self, struct wf_wait *wait, void *arg)
{
	const struct many_refs *many = arg;

	for (uint32_t i = 0; i < wait->node_count; i++) {
		struct wf_cell *cell = wf_cell_of(many->rt, many->refs[i]);
		struct wf_wait_node *node = &wait->nodes[i];

		if (!wf_promise_is_done(&cell->promise) && wf_wait_add(self, wait, node, cell))
			continue;
		*node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire,
			                       .wait = wait,
			                       .cell = cell };
		wf_wait_fire(&node->waiter, cell, self);
	}
	/* relaxed: looked at again. */
	return wf_load_relaxed(&wait->phase) < WF_WAIT_FIRED;
}

/*
 * Sleep until `need` of the refs are done. `fail_fast`: or one has failed. 0 or an error of the
 * sleep.
 */
static WF_SUSPENDS int many_sleep(weft *rt, struct wf_local *self, const weft_ref *refs, uint32_t n,
                                  uint32_t need, int64_t until, bool fail_fast)
{
	struct many m;
	int rc = many_nodes(&m, n);

	if (rc)
		return rc;
	wf_wait_init(&m.wait, self, need, until);
	m.wait.fail_fast = fail_fast;
	m.wait.nodes = m.nodes;
	m.wait.node_count = n;
	for (uint32_t i = 0; i < n; i++)
		m.nodes[i].pushed = false;
	struct many_refs many = { rt, refs };

	if (!wf_can_suspend(self) && !rt->workers) {
		/* Without workers somebody must run the tasks: the caller. */
		rc = wf_run_wait(rt, &m.wait, many_arm, &many);
	} else {
		many_arm(self, &m.wait, &many);
		rc = wf_wait_sleep(&m.wait);
	}
	many_free(&m);
	return rc;
}

/* How many of the refs are done; *failed: the first that failed, n when none. */
static uint32_t count_done(weft *rt, const weft_ref *refs, uint32_t n, uint32_t *failed)
{
	uint32_t done = 0;

	*failed = n;
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = wf_cell_of(rt, refs[i]);

		if (!wf_promise_is_done(&cell->promise))
			continue;
		done++;
		if (*failed == n && wf_flags(cell) & WF_CELL_ERROR)
			*failed = i;
	}
	return done;
}

/* 0, or -EINVAL. *streams: how many are generators; NULL: none may be. */
static int check_refs(weft *rt, const weft_ref *refs, uint32_t n, uint32_t *streams)
{
	uint32_t count = 0;

	if (!rt || (n && !refs))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		const struct wf_cell *cell = wf_cell_of(rt, refs[i]);

		if (!cell)
			return -EINVAL;
		count += wf_cell_is_stream(cell);
	}
	if (streams)
		*streams = count;
	return count && !streams ? -EINVAL : 0;
}

/* Before a task or thread sleeps for many: 0, or why it must not. */
static int may_sleep(weft *rt, struct wf_local **self, int64_t until)
{
	*self = wf_local_of(rt);
	if (!*self)
		return -ENOMEM;
	if (until == WEFT_POLL)
		return -ETIMEDOUT;
	return wf_self_cancelled(*self) ? -EINTR : 0;
}

/*
 * Until `want` refs are done, or (fail_fast) one has failed, or the time is up (-ETIMEDOUT).
 */
static int wait_for(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want, int64_t until,
                    bool fail_fast)
{
	struct wf_local *self;
	uint32_t failed;

	for (;;) {
		uint32_t done = count_done(rt, refs, n, &failed);

		if (done >= want || (fail_fast && failed < n))
			return 0;
		int rc = may_sleep(rt, &self, until);

		if (rc)
			return rc;
		rc = many_sleep(rt, self, refs, n, want, until, fail_fast);
		if (rc)
			return rc;
	}
}

/* Those that lie on devices, all at once; *failed: which could not be had. */
static WF_SUSPENDS int bring_all(weft *rt, const weft_ref *refs, uint32_t n, int64_t until,
                                 uint32_t *failed)
{
	int rc = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct wf_cell *cell = wf_cell_of(rt, refs[i]);

		if (wf_cell_is_remote(cell))
			(void)wf_remote_bring(rt, cell, WEFT_POLL);
	}
	for (uint32_t i = 0; i < n && !rc; i++) {
		const struct wf_cell *cell = wf_cell_of(rt, refs[i]);

		if (wf_cell_is_remote(cell))
			rc = wf_remote_bring(rt, cell, until);
		if (rc == WEFT_EDEVICE && failed)
			*failed = i;
	}
	return rc;
}

/* All are done and well: look at them, the ones in the store all or none. */
static WF_SUSPENDS int views_of(weft *rt, const weft_ref *refs, uint32_t n, int64_t until,
                                struct weft_view *views, uint32_t *failed)
{
	struct wf_object **objects = NULL;
	uint32_t count = 0, bad = 0;
	int rc = rt->gpus ? bring_all(rt, refs, n, until, failed) : 0;

	if (rc)
		return rc;
	for (uint32_t i = 0; i < n; i++)
		count += wf_cell_object(wf_cell_of(rt, refs[i])) != NULL;
	if (count) {
		objects = (struct wf_object **)wf_malloc(count * sizeof(*objects));
		if (!objects)
			return -ENOMEM;
		count = 0;
		for (uint32_t i = 0; i < n; i++) {
			struct wf_object *object = wf_cell_object(wf_cell_of(rt, refs[i]));

			if (object)
				objects[count++] = object;
		}
		do {
			rc = wf_values_hold(rt, objects, count, WF_OBJECT_VIEW, until, &bad);
		} while (rc && wf_lost_again(rt, objects[bad], until, &rc));
	}
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = wf_cell_of(rt, refs[i]);
		struct wf_object *object = wf_cell_object(cell);

		if (!rc)
			views[i] = object ? wf_object_view(rt, object) : wf_cell_view(cell);
		else if ((rc == WEFT_ECORRUPT || rc == WEFT_ELOST) && failed &&
		         object == objects[bad])
			*failed = i;
	}
	wf_free((void *)objects);
	return rc;
}

/* Whether all is there and well, and in cells and blocks: nothing to wait for or to hold. */
static bool all_at_hand(weft *rt, const weft_ref *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct wf_cell *cell = wf_cell_of(rt, refs[i]);

		if (!cell || !wf_promise_is_done(&cell->promise) ||
		    wf_flags(cell) & WF_CELL_ERROR || wf_cell_is_outside(cell))
			return false;
	}
	return true;
}

int weft_get_many(weft *rt, const weft_ref *refs, uint32_t n, weft_deadline until,
                  struct weft_view *views, uint32_t *failed)
{
	if (!rt || (n && (!refs || !views)))
		return -EINVAL;
	if (n && all_at_hand(rt, refs, n)) {
		for (uint32_t i = 0; i < n; i++)
			views[i] = wf_cell_view(wf_cell_of(rt, refs[i]));
		return 0;
	}
	int rc = check_refs(rt, refs, n, NULL);
	uint32_t bad;

	if (rc)
		return -EINVAL;
	if (!n)
		return 0;
	rc = wait_for(rt, refs, n, n, until, true);
	count_done(rt, refs, n, &bad);
	if (bad < n) {
		if (failed)
			*failed = bad;
		return wf_cell_status_told(wf_cell_of(rt, refs[bad]));
	}
	return rc ? rc : views_of(rt, refs, n, until, views, failed);
}

/* ---- Wait ---------------------------------------------------------------------------------- */

static int compare_bits(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Refs that were made one after the other mostly are, and stay so when some are taken out. */
static bool is_ordered(const weft_ref *refs, uint32_t n)
{
	bool up = true, down = true;

	for (uint32_t i = 1; i < n && (up || down); i++) {
		up = up && refs[i - 1].bits < refs[i].bits;
		down = down && refs[i - 1].bits > refs[i].bits;
	}
	return up || down;
}

/* 0, -EINVAL when one occurs twice, -ENOMEM. */
static int check_unique(const weft_ref *refs, uint32_t n)
{
	if (n <= NODES_ON_STACK) {
		for (uint32_t i = 0; i < n; i++) {
			for (uint32_t j = 0; j < i; j++) {
				if (refs[i].bits == refs[j].bits)
					return -EINVAL;
			}
		}
		return 0;
	}
	if (is_ordered(refs, n))
		return 0;
	uint64_t *sorted = wf_malloc(n * sizeof(*sorted));
	int rc = 0;

	if (!sorted)
		return -ENOMEM;
	memcpy(sorted, refs, n * sizeof(*sorted));
	qsort(sorted, n, sizeof(*sorted), compare_bits);
	for (uint32_t i = 1; i < n && !rc; i++) {
		if (sorted[i] == sorted[i - 1])
			rc = -EINVAL;
	}
	wf_free(sorted);
	return rc;
}

/* The wait proper, on refs that are no generators. */
static int wait_checked(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want, int64_t until,
                        bool *ready, uint32_t most)
{
	int rc = wait_for(rt, refs, n, want, until, false);

	if (rc && rc != -ETIMEDOUT)
		return rc;
	uint32_t count = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = wf_cell_of(rt, refs[i]);

		ready[i] = count < most && wf_promise_is_done(&cell->promise);
		count += ready[i];
	}
	return (int)count;
}

/* Let go of what stand_in() took, of the first `n`. */
static void stand_down(weft *rt, const weft_ref *refs, const weft_ref *stand, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (stand[i].bits == refs[i].bits)
			continue;
		/* The item first: the generator's last count frees items that nobody holds. */
		weft_release(rt, stand[i]);
		weft_release(rt, refs[i]);
	}
}

/* In the place of each generator its next item, both retained. 0, -EBUSY. */
static int stand_in(weft *rt, const weft_ref *refs, weft_ref *stand, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = wf_cell_of(rt, refs[i]), *next;

		stand[i] = refs[i];
		if (!wf_cell_is_stream(cell))
			continue;
		int rc = wf_stream_peek(cell, &next);

		if (rc) {
			stand_down(rt, refs, stand, i);
			return rc;
		}
		wf_promise_retain(&cell->promise);
		stand[i] = wf_ref_of(rt, next);
	}
	return 0;
}

static int wait_refs(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want, int64_t until,
                     bool *ready, uint32_t most)
{
	uint32_t streams = 0;

	if (!rt)
		return -EINVAL;
	if (!n)
		return 0;
	int rc = check_refs(rt, refs, n, &streams);

	if (rc || !ready || !want || want > n || n > INT32_MAX)
		return -EINVAL;
	rc = check_unique(refs, n);
	if (rc || !streams)
		return rc ? rc : wait_checked(rt, refs, n, want, until, ready, most);
	/* The caller has an identity from here on, so that what is taken can be given back. */
	weft_ref *stand = wf_local_of(rt) ? wf_malloc(n * sizeof(*stand)) : NULL;

	if (!stand)
		return -ENOMEM;
	WF_DEBUG(streams <= n);
	rc = stand_in(rt, refs, stand, n);
	if (!rc) {
		rc = wait_checked(rt, stand, n, want, until, ready, most);
		stand_down(rt, refs, stand, n);
	}
	wf_free(stand);
	return rc;
}

int weft_wait(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want, weft_deadline until,
              bool *ready)
{
	return wait_refs(rt, refs, n, want, until, ready, want);
}

int weft_wait_all_ready(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want,
                        weft_deadline until, bool *ready)
{
	return wait_refs(rt, refs, n, want, until, ready, n);
}

/* ---- Sleeping ------------------------------------------------------------------------------ */

int weft_sleep_until(weft *rt, weft_deadline until)
{
	struct wf_wait wait;

	if (!rt)
		return -EINVAL;
	struct wf_local *self = wf_local_of(rt);

	if (!self)
		return -ENOMEM;
	if (wf_self_cancelled(self))
		return -ECANCELED;
	if (until <= wf_clock_now(&rt->clock))
		return 0;
	wf_wait_init(&wait, self, 1, until);
	wait.external = true;
	int rc = wf_wait_sleep(&wait);

	if (rc == -ETIMEDOUT)
		return 0;
	return rc == -EINTR ? -ECANCELED : rc;
}

int weft_yield(weft *rt)
{
	struct wf_local *self = wf_self();

	if (!rt)
		return -EINVAL;
	if (!self || self->rt != rt || !wf_can_suspend(self)) {
		sched_yield();
		return 0;
	}
	if (wf_self_cancelled(self))
		return -ECANCELED;
	/* No stack to run others on: going on is a correct, if unfair, answer. */
	wf_suspend_yield();
	return 0;
}
