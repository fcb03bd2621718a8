/*
 * get.c: the doors that wait for results.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime.h"

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
		return cell->u.error->pub.status;
	*view = wf_cell_view(cell);
	return 0;
}

static inline int64_t copy_value(const struct wf_cell *cell, void *dst, size_t size)
{
	struct weft_view view = wf_cell_view(cell);

	if (view.size > size)
		return -EMSGSIZE;
	if (view.size == 8)
		memcpy(dst, view.data, 8);
	else if (view.size)
		memcpy(dst, view.data, view.size);
	return (int64_t)view.size;
}

static inline int64_t get_copy(weft *rt, struct wf_cell *cell, void *dst, size_t size)
{
	if (WF_UNLIKELY(!wf_promise_is_done(&cell->promise))) {
		int rc = wf_wait_cell(rt, cell, WEFT_FOREVER);

		if (rc)
			return rc;
	}
	if (WF_UNLIKELY(wf_flags(cell) & WF_CELL_ERROR))
		return cell->u.error->pub.status;
	return copy_value(cell, dst, size);
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

/*
 * The body has returned and the caller is the only holder: if nothing out of the ordinary
 * happened, nobody can be waiting, and the completion need not be published at all. True: the
 * value is in `dst` and the cell is free.
 */
static inline bool take_unpublished(struct wf_local *self, const struct weft_task *frame, int code,
                                    void *dst, size_t size)
{
	struct wf_cell *cell = frame->cell;
	uint32_t got = cell->mark.size;

	/* relaxed, both: ours alone, or somebody else has retained it. */
	if (WF_UNLIKELY(code < 0 || frame->payload || frame->error ||
	                wf_load_relaxed(&cell->promise.refs) ||
	                wf_load_relaxed(&cell->promise.waiters) || got > size ||
	                wf_flags(cell) & WF_CELL_SHARED))
		return false;
	if (WF_LIKELY(got == 8))
		memcpy(dst, cell->data, 8);
	else if (got)
		memcpy(dst, cell->data, got);
	wf_bump(&self->completed);
	wf_cell_free(self, cell);
	return true;
}

int64_t weft_take(weft *rt, weft_ref ref, void *dst, size_t size)
{
	struct wf_local *self = wf_self();
	struct weft_task frame;

	if (WF_UNLIKELY(!self || self->rt != rt || wf_stack_here() < self->stack_floor))
		return take_slow(rt, ref, dst, size);
	struct wf_cell *cell = wf_cell_of(rt, ref);

	/* The common end of a fork: our own newest task, not begun, run right here. */
	if (WF_UNLIKELY(
		    !cell || (!dst && size) ||
		    !wf_deque_take_local(&wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL], cell)))
		return take_slow(rt, ref, dst, size);
	if (WF_UNLIKELY(!wf_task_begin(self, cell))) {
		wf_task_run_slow(self, cell);
		return take_slow(rt, ref, dst, size);
	}
	int code = wf_task_call(self, cell, &frame);

	self = wf_self();
	uint32_t got = cell->mark.size;

	if (WF_LIKELY(take_unpublished(self, &frame, code, dst, size)))
		return got;
	wf_task_end(self, &frame, code);
	return take_slow(rt, ref, dst, size);
}

int weft_peek(weft *rt, weft_ref ref)
{
	struct wf_cell *cell = rt ? wf_cell_of(rt, ref) : NULL;

	return cell ? wf_promise_is_done(&cell->promise) : -EINVAL;
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

/*
 * Sleep until `need` of the refs are done. `fail_fast`: or one has failed. 0 or an error of the
 * sleep.
 */
static int many_sleep(weft *rt, struct wf_local *self, const weft_ref *refs, uint32_t n,
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
	for (uint32_t i = 0; i < n; i++) {
		struct wf_cell *cell = wf_cell_of(rt, refs[i]);
		struct wf_wait_node *node = &m.nodes[i];

		if (!wf_promise_is_done(&cell->promise) && wf_wait_add(self, &m.wait, node, cell))
			continue;
		/* Done, before or just now: it counts as if it had been pushed and fired. */
		*node = (struct wf_wait_node){ .waiter.fire = wf_wait_fire,
			                       .wait = &m.wait,
			                       .cell = cell };
		wf_wait_fire(&node->waiter, cell, self);
	}
	rc = wf_wait_sleep(&m.wait);
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

static int check_refs(weft *rt, const weft_ref *refs, uint32_t n)
{
	if (!rt || (n && !refs))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		if (!wf_cell_of(rt, refs[i]))
			return -EINVAL;
	}
	return 0;
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

/* Without workers somebody must run the tasks: the caller, ref by ref. */
static int run_for(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want, int64_t until)
{
	uint32_t failed;

	for (uint32_t i = 0; i < n; i++) {
		if (count_done(rt, refs, n, &failed) >= want)
			return 0;
		struct wf_cell *cell = wf_cell_of(rt, refs[i]);
		int rc = wf_promise_is_done(&cell->promise) ? 0 : wf_run_until(rt, cell, until);

		if (rc)
			return rc;
	}
	return 0;
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
		if (!wf_can_suspend(self) && !rt->workers)
			rc = run_for(rt, refs, n, want, until);
		else
			rc = many_sleep(rt, self, refs, n, want, until, fail_fast);
		if (rc)
			return rc;
	}
}

int weft_get_many(weft *rt, const weft_ref *refs, uint32_t n, weft_deadline until,
                  struct weft_view *views, uint32_t *failed)
{
	int rc = check_refs(rt, refs, n);
	uint32_t bad;

	if (rc || (n && !views))
		return -EINVAL;
	rc = wait_for(rt, refs, n, n, until, true);
	count_done(rt, refs, n, &bad);
	if (bad < n) {
		if (failed)
			*failed = bad;
		return wf_cell_status(wf_cell_of(rt, refs[bad]));
	}
	if (rc)
		return rc;
	for (uint32_t i = 0; i < n; i++)
		views[i] = wf_cell_view(wf_cell_of(rt, refs[i]));
	return 0;
}

/* ---- Wait ---------------------------------------------------------------------------------- */

static int compare_bits(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
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

static int wait_refs(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want, int64_t until,
                     bool *ready, uint32_t most)
{
	if (!rt)
		return -EINVAL;
	if (!n)
		return 0;
	int rc = check_refs(rt, refs, n);

	if (rc || !ready || !want || want > n || n > INT32_MAX)
		return -EINVAL;
	rc = check_unique(refs, n);
	if (!rc)
		rc = wait_for(rt, refs, n, want, until, false);
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
