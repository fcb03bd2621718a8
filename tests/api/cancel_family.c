/*
 * Goal: a cancel reaches what the task has submitted and nothing else, whatever state that is in;
 * a deadline is a cancel with another name; a body in a system call is woken, and given up when
 * that was asked for.
 * Method: bodies that say where they are, and wait on gates, events and pipes; no time is measured,
 * and what a cancel causes later is polled for.
 */
#include <errno.h>
#include <unistd.h>

#include "api.h"
#include "test.h"

#define MONTHS_MS (INT64_C(90) * 24 * 3600 * 1000)

static int sleeps_for_months(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	return weft_sleep_until(rt, weft_after_ms(rt, MONTHS_MS));
}

Test(cancel_family, sleep_for_months_cancel_get_says_cancelled)
{
	weft *rt = api_open(2);
	weft_ref ref = api_spawn(rt, sleeps_for_months, NULL, 0);

	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_get(rt, ref), -ECANCELED);
	cr_assert_eq(api_state(rt, ref), WEFT_REF_CANCELLED);
	api_release(rt, ref);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Children ------------------------------------------------------------------------------ */

/* What a parent has submitted, for the test to look at; the refs are the test's. */
struct family {
	struct api_gate gate; /* holds running children */
	weft_ref event;       /* holds waiting ones, and the parent itself */
	weft_ref child[8];
	struct api_count ran, stopped, ready;
	bool alone;
};

static int waits_for_event(weft_task *self)
{
	struct family *f = api_arg_pointer(self);
	struct weft_view view;
	int rc = weft_get(weft_task_runtime(self), f->event, WEFT_FOREVER, &view);

	if (rc == -EINTR)
		api_add(&f->stopped, 1);
	return rc;
}

static int polls(weft_task *self)
{
	struct family *f = api_arg_pointer(self);

	api_add(&f->ready, 1);
	while (!weft_task_cancelled(self))
		if (weft_yield(weft_task_runtime(self)) < 0)
			break;
	api_add(&f->stopped, 1);
	return -ECANCELED;
}

static int counts(weft_task *self)
{
	struct family *f = api_arg_pointer(self);

	api_add(&f->ran, 1);
	return 0;
}

enum { BLOCKED, POLLING, WAITING, WAITING_MANY, SHORT_OF, KINDS };

#define MANY 300 /* inputs: more than fit a block of the slab */

static void submit_waiting(struct family *f, weft *rt)
{
	weft_ref many[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		many[i] = f->event;
	f->child[WAITING] = api_submit(rt, WEFT_TASK(counts, API_POINTER(f), WEFT_AFTER(f->event)));
	f->child[WAITING_MANY] =
		api_submit(rt, WEFT_TASK(counts, API_POINTER(f), .inputs = many, .n_after = MANY));
}

static int has_children(weft_task *self)
{
	struct family *f = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	f->child[BLOCKED] = api_spawn(rt, waits_for_event, &f, sizeof f);
	f->child[POLLING] = api_spawn(rt, polls, &f, sizeof f);
	submit_waiting(f, rt);
	f->child[SHORT_OF] =
		api_submit(rt,
	                   WEFT_TASK(counts, API_POINTER(f),
	                             .opts = WEFT_TASK_OPTIONS(.n_resources = 1,
	                                                       .resources = &(struct weft_resource){
								       "slot", 100 })));
	api_add(&f->ready, 1);
	return waits_for_event(self);
}

static weft *open_family(struct family *f, uint32_t workers)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .n_resources = 1,
	                                 .resources = &(struct weft_resource){ "slot", 1 })) == 0);
	*f = (struct family){ .gate = API_GATE_INIT, .event = api_event(rt) };
	return rt;
}

static void close_family(struct family *f, weft *rt)
{
	api_release(rt, f->event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cancel_family, children_in_every_state_end_with_their_parent)
{
	struct family f, *p = &f;
	weft *rt = open_family(&f, 2);
	weft_ref parent = api_spawn(rt, has_children, &p, sizeof p);

	api_await_count(&f.ready, 2);
	api_await_state(rt, f.child[BLOCKED], WEFT_REF_BLOCKED);
	api_await_state(rt, parent, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, parent), 0);
	cr_assert_eq(api_end(rt, parent), -ECANCELED);
	for (int i = 0; i < KINDS; i++)
		cr_assert_eq(api_end(rt, f.child[i]), -ECANCELED, "child %d", i);
	cr_assert_eq(api_read(&f.ran), 0);
	cr_assert_eq(api_read(&f.stopped), 3);
	close_family(&f, rt);
}

Test(cancel_family, alone_leaves_the_children)
{
	struct family f, *p = &f;
	weft *rt = open_family(&f, 2);
	weft_ref parent = api_spawn(rt, has_children, &p, sizeof p);

	api_await_count(&f.ready, 2);
	cr_assert_eq(weft_cancel_with(rt, parent, WEFT_CANCEL_ALONE), 0);
	cr_assert_eq(api_end(rt, parent), -ECANCELED);
	for (int i = 0; i < KINDS; i++)
		cr_assert_eq(weft_peek(rt, f.child[i]), 0, "child %d", i);
	cr_assert_eq(weft_cancel(rt, f.child[POLLING]), 0);
	cr_assert_eq(weft_cancel(rt, f.child[SHORT_OF]), 0);
	cr_assert_eq(weft_event_set(rt, f.event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, f.child[BLOCKED]), 0);
	cr_assert_eq(api_end(rt, f.child[WAITING]), 0);
	cr_assert_eq(api_end(rt, f.child[WAITING_MANY]), 0);
	cr_assert_eq(api_end(rt, f.child[POLLING]), -ECANCELED);
	cr_assert_eq(api_end(rt, f.child[SHORT_OF]), -ECANCELED);
	cr_assert_eq(api_read(&f.ran), 2);
	close_family(&f, rt);
}

/* With the one worker held, its children are queued. */
static int leaves_queued(weft_task *self)
{
	struct family *f = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	for (int i = 0; i < 8; i++)
		f->child[i] = api_spawn(rt, counts, &f, sizeof f);
	api_gate_pass(&f->gate);
	return weft_task_cancelled(self) ? -ECANCELED : 0;
}

Test(cancel_family, queued_children_never_run)
{
	struct family f, *p = &f;
	weft *rt = open_family(&f, 1);
	weft_ref parent = api_spawn(rt, leaves_queued, &p, sizeof p);

	api_gate_await(&f.gate, 1);
	cr_assert_eq(weft_cancel(rt, parent), 0);
	api_gate_open(&f.gate);
	cr_assert_eq(api_end(rt, parent), -ECANCELED);
	for (int i = 0; i < 8; i++)
		cr_assert_eq(api_end(rt, f.child[i]), -ECANCELED);
	cr_assert_eq(api_read(&f.ran), 0);
	close_family(&f, rt);
}

/* A chain of tasks, each of which waits for its child. */
struct chain {
	struct family *f;
	uint64_t depth;
};

static int chain(weft_task *self)
{
	struct chain arg = *(const struct chain *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	struct weft_view view;
	weft_ref child;
	int rc;

	if (!arg.depth--) {
		api_add(&arg.f->ready, 1);
		rc = weft_get(rt, arg.f->event, WEFT_FOREVER, &view);
	} else {
		child = api_spawn(rt, chain, &arg, sizeof arg);
		rc = weft_get(rt, child, WEFT_FOREVER, &view);
		api_release(rt, child);
	}
	if (rc == -EINTR || rc == -ECANCELED)
		api_add(&arg.f->stopped, 1);
	return rc;
}

Test(cancel_family, grandchildren_of_any_depth)
{
	struct family f;
	weft *rt = open_family(&f, 2);
	const uint64_t depth = api_scaled(2000);
	const struct chain arg = { &f, depth };
	weft_ref ref = api_spawn(rt, chain, &arg, sizeof arg);

	api_await_count(&f.ready, 1);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_await_count(&f.stopped, depth + 1);
	close_family(&f, rt);
}

static int swallows(weft_task *self)
{
	const int64_t value = 8;

	API_CHECK(has_children(self) == -EINTR);
	return weft_return(self, &value, sizeof value);
}

Test(cancel_family, children_end_though_their_parent_swallows_it)
{
	struct family f, *p = &f;
	weft *rt = open_family(&f, 2);
	weft_ref parent = api_spawn(rt, swallows, &p, sizeof p);

	api_await_count(&f.ready, 2);
	cr_assert_eq(weft_cancel(rt, parent), 0);
	cr_assert_eq(api_take_i64(rt, parent), 8);
	for (int i = 0; i < KINDS; i++)
		cr_assert_eq(api_end(rt, f.child[i]), -ECANCELED, "child %d", i);
	close_family(&f, rt);
}

static int leaves_children(weft_task *self)
{
	struct family *f = api_arg_pointer(self);

	f->child[0] = api_spawn(weft_task_runtime(self), waits_for_event, &f, sizeof f);
	submit_waiting(f, weft_task_runtime(self));
	return 0;
}

Test(cancel_family, what_an_ended_parent_left_is_nobodys)
{
	struct family f, *p = &f;
	weft *rt = open_family(&f, 1);

	/* Many tasks after it have its cell and its stack, and are cancelled. */
	cr_assert_eq(api_end(rt, api_spawn(rt, leaves_children, &p, sizeof p)), 0);
	api_await_state(rt, f.child[0], WEFT_REF_BLOCKED);
	for (uint32_t i = 0; i < api_scaled(300); i++) {
		weft_ref ref = api_spawn(rt, sleeps_for_months, NULL, 0);

		api_await_state(rt, ref, WEFT_REF_BLOCKED);
		cr_assert_eq(weft_cancel(rt, ref), 0);
		cr_assert_eq(api_end(rt, ref), -ECANCELED);
		cr_assert_eq(api_state(rt, f.child[0]), WEFT_REF_BLOCKED);
		cr_assert_eq(weft_peek(rt, f.child[WAITING]), 0);
		cr_assert_eq(weft_peek(rt, f.child[WAITING_MANY]), 0);
	}
	cr_assert_eq(weft_event_set(rt, f.event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, f.child[0]), 0);
	cr_assert_eq(api_end(rt, f.child[WAITING]), 0);
	cr_assert_eq(api_end(rt, f.child[WAITING_MANY]), 0);
	close_family(&f, rt);
}

/* A parent nobody holds a ref of is found through its own parent. */
static int orphans(weft_task *self)
{
	struct family *f = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	weft_ref child = api_spawn(rt, has_children, &f, sizeof f);

	api_await_state(rt, child, WEFT_REF_BLOCKED);
	api_release(rt, child);
	API_CHECK(weft_spawn(rt, polls, &f, sizeof f, NULL) == 0);
	return sleeps_for_months(self);
}

Test(cancel_family, through_tasks_that_nobody_holds)
{
	struct family f, *p = &f;
	weft *rt = open_family(&f, 3);
	weft_ref ref = api_spawn(rt, orphans, &p, sizeof p);

	api_await_count(&f.ready, 3);
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	for (int i = 0; i < KINDS; i++)
		cr_assert_eq(api_end(rt, f.child[i]), -ECANCELED, "child %d", i);
	close_family(&f, rt);
}

static void drop_cancels(void *arg, size_t size)
{
	struct family *f = *(struct family **)arg;

	(void)size;
	API_CHECK(weft_cancel(weft_current(), f->child[7]) == 0);
}

static int child_with_drop(weft_task *self)
{
	struct family *f = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	f->child[0] = api_submit(rt,
	                         WEFT_TASK(counts, API_POINTER(f), WEFT_AFTER(f->event),
	                                   .opts = WEFT_TASK_OPTIONS(.arg_drop = drop_cancels)));
	api_add(&f->ready, 1);
	return sleeps_for_months(self);
}

Test(cancel_family, a_cancel_inside_a_cancel_reaches_its_children_too)
{
	struct family f, g, *p = &f, *q = &g;
	weft *rt = open_family(&f, 2);

	g = (struct family){ .gate = API_GATE_INIT, .event = f.event };
	f.child[7] = api_spawn(rt, has_children, &q, sizeof q);
	api_await_count(&g.ready, 2);
	weft_ref ref = api_spawn(rt, child_with_drop, &p, sizeof p);

	api_await_count(&f.ready, 1);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	cr_assert_eq(api_end(rt, f.child[0]), -ECANCELED);
	cr_assert_eq(api_end(rt, f.child[7]), -ECANCELED);
	for (int i = 0; i < KINDS; i++)
		cr_assert_eq(api_end(rt, g.child[i]), -ECANCELED, "child %d", i);
	close_family(&f, rt);
}

Test(cancel_family, bad_flags_and_force_do_nothing)
{
	struct family f;
	weft *rt = open_family(&f, 2);
	struct family *p = &f;
	weft_ref ref = api_spawn(rt, waits_for_event, &p, sizeof p);

	cr_assert_eq(weft_cancel_with(rt, ref, 8), -EINVAL);
	cr_assert_eq(weft_cancel_with(rt, ref, WEFT_CANCEL_FORCE), -ENOTSUP);
	cr_assert_eq(weft_cancel_with(rt, f.event, WEFT_CANCEL_ALONE), -EINVAL);
	cr_assert_eq(weft_cancel_with(NULL, ref, 0), -EINVAL);
	cr_assert_eq(weft_event_set(rt, f.event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, ref), 0);
	close_family(&f, rt);
}

/* ---- Deadlines ----------------------------------------------------------------------------- */

static weft *open_virtual(uint32_t workers)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .flags = WEFT_OPEN_VIRTUAL_CLOCK,
	                                 .n_resources = 1,
	                                 .resources = &(struct weft_resource){ "slot", 1 })) == 0);
	return rt;
}

Test(deadline, ends_a_task_in_every_state)
{
	weft *rt = open_virtual(2);
	struct family f = { .gate = API_GATE_INIT, .event = api_event(rt) }, *p = &f;
	const weft_deadline at = weft_now(rt) + 1000;
	const struct weft_task_options o = { .struct_size = sizeof o, .deadline = at };
	const struct weft_task_options slots = { .struct_size = sizeof slots,
		                                 .base = &o,
		                                 .n_resources = 1,
		                                 .resources =
		                                         &(struct weft_resource){ "slot", 9 } };

	f.child[BLOCKED] = api_submit(rt, WEFT_TASK(waits_for_event, API_POINTER(p), .opts = &o));
	f.child[POLLING] = api_submit(rt, WEFT_TASK(polls, API_POINTER(p), .opts = &o));
	f.child[WAITING] =
		api_submit(rt, WEFT_TASK(counts, API_POINTER(p), WEFT_AFTER(f.event), .opts = &o));
	f.child[SHORT_OF] = api_submit(rt, WEFT_TASK(counts, API_POINTER(p), .opts = &slots));
	api_await_state(rt, f.child[BLOCKED], WEFT_REF_BLOCKED);
	api_await_count(&f.ready, 1);
	cr_assert_eq(weft_clock_advance(rt, 999), 0);
	for (int i = 0; i < KINDS; i++) {
		if (i != WAITING_MANY)
			cr_assert_eq(weft_peek(rt, f.child[i]), 0, "too early %d", i);
	}
	cr_assert_eq(weft_clock_advance(rt, 1), 0);
	for (int i = 0; i < KINDS; i++) {
		if (i != WAITING_MANY)
			cr_assert_eq(api_end(rt, f.child[i]), WEFT_EDEADLINE, "%d", i);
	}
	cr_assert_eq(api_read(&f.ran), 0);
	cr_assert_eq(api_read(&f.stopped), 2);
	close_family(&f, rt);
}

Test(deadline, ends_a_queued_task_though_every_worker_is_busy)
{
	weft *rt = open_virtual(1);
	struct family f = { .gate = API_GATE_INIT, .event = api_event(rt) }, *p = &f;
	struct api_gate *gate = &f.gate;
	weft_ref holder = api_spawn(rt, api_body_gate, &gate, sizeof gate);

	api_gate_await(&f.gate, 1);
	weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(counts, API_POINTER(p),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = weft_now(rt) + 5)));

	cr_assert_eq(weft_clock_advance(rt, 5), 0);
	cr_assert_eq(api_end(rt, ref), WEFT_EDEADLINE);
	api_gate_open(&f.gate);
	cr_assert_eq(api_end(rt, holder), 0);
	cr_assert_eq(api_read(&f.ran), 0);
	close_family(&f, rt);
}

Test(deadline, reaches_the_children_and_is_kept_by_nobody_else)
{
	weft *rt = open_virtual(2);
	struct family f = { .gate = API_GATE_INIT, .event = api_event(rt) }, *p = &f;
	weft_ref ref =
		api_submit(rt,
	                   WEFT_TASK(has_children, API_POINTER(p),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = weft_now(rt) + 7)));

	api_await_count(&f.ready, 2);
	cr_assert_eq(weft_clock_advance(rt, 7), 0);
	cr_assert_eq(api_end(rt, ref), WEFT_EDEADLINE);
	for (int i = 0; i < KINDS; i++)
		cr_assert_eq(api_end(rt, f.child[i]), -ECANCELED, "child %d", i);
	close_family(&f, rt);
}

static int fails_when_stopped(weft_task *self)
{
	struct family *f = api_arg_pointer(self);

	api_add(&f->ran, 1);
	return waits_for_event(self);
}

Test(deadline, is_not_tried_again_and_a_value_counts)
{
	weft *rt = open_virtual(2);
	struct family f = { .gate = API_GATE_INIT, .event = api_event(rt) }, *p = &f;
	const weft_deadline at = weft_now(rt) + 3;
	weft_ref again =
		api_submit(rt,
	                   WEFT_TASK(fails_when_stopped, API_POINTER(p),
	                             .opts = WEFT_TASK_OPTIONS(.deadline = at, .retries = 5)));
	weft_ref value = api_submit(
		rt, WEFT_TASK(swallows, API_POINTER(p), .opts = WEFT_TASK_OPTIONS(.deadline = at)));

	api_await_count(&f.ready, 2);
	api_await_state(rt, again, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_clock_advance(rt, 3), 0);
	cr_assert_eq(api_end(rt, again), WEFT_EDEADLINE);
	cr_assert_eq(api_take_i64(rt, value), 8);
	cr_assert_eq(api_read(&f.ran), 1);
	for (int i = 0; i < KINDS; i++)
		api_release(rt, f.child[i]);
	close_family(&f, rt);
}

Test(deadline, a_task_that_ends_before_leaves_nothing_behind)
{
	weft *rt = open_virtual(2);
	struct family f = { .gate = API_GATE_INIT, .event = api_event(rt) }, *p = &f;
	const struct weft_task_options late = { .struct_size = sizeof late,
		                                .deadline = weft_now(rt) + 1000000 };
	const struct weft_task_options never = { .struct_size = sizeof never,
		                                 .base = &late,
		                                 .deadline = WEFT_FOREVER };

	for (uint32_t i = 0; i < api_scaled(2000); i++) {
		cr_assert_eq(
			api_end(rt,
		                api_submit(rt, WEFT_TASK(counts, API_POINTER(p), .opts = &late))),
			0);
		/* Nobody holds these. */
		cr_assert_eq(
			weft_submit(rt, WEFT_TASK(counts, API_POINTER(p), .opts = &late), NULL), 0);
	}
	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(counts, API_POINTER(p), .opts = &never))),
	             0);
	close_family(&f, rt);
}

Test(deadline, of_several_outputs_that_nobody_holds)
{
	weft *rt = open_virtual(1);
	struct family f = { .gate = API_GATE_INIT, .event = api_event(rt) }, *p = &f;
	const struct weft_task_options o = { .struct_size = sizeof o,
		                             .n_outputs = 3,
		                             .deadline = weft_now(rt) + 10 };
	weft_ref outs[3];

	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(counts, API_POINTER(p), WEFT_AFTER(f.event), .opts = &o),
	                         NULL),
	             0);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(counts, API_POINTER(p), WEFT_AFTER(f.event), .opts = &o),
	                         outs),
	             0);
	cr_assert_eq(weft_clock_advance(rt, 10), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, outs[i]), WEFT_EDEADLINE);
	cr_assert_eq(api_read(&f.ran), 0);
	close_family(&f, rt);
}

/* ---- Bodies in system calls ---------------------------------------------------------------- */

struct reader {
	int fd;
	int code; /* errno of the read, or what it returned */
	bool enter;
	struct api_count inside, left;
};

static int reads(weft_task *self)
{
	struct reader *r = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const int64_t value = 3;
	ssize_t n;
	char byte;

	if (r->enter)
		API_CHECK(weft_block_enter(rt, WEFT_BLOCK_RELEASE) == 0);
	api_add(&r->inside, 1);
	n = read(r->fd, &byte, 1);
	r->code = n < 0 ? errno : (int)n;
	if (r->enter)
		weft_block_exit(rt);
	api_add(&r->left, 1);
	if (n < 0 && weft_task_cancelled(self))
		return -ECANCELED;
	return weft_return(self, &value, sizeof value);
}

static const struct weft_task_options blocking = { .struct_size = sizeof blocking,
	                                           .flags = WEFT_TASK_BLOCKING };
static const struct weft_task_options abandons = { .struct_size = sizeof abandons,
	                                           .flags =
	                                                   WEFT_TASK_BLOCKING | WEFT_TASK_ABANDON };

Test(cancel_family, a_body_in_a_system_call_is_woken)
{
	weft *rt = api_open(2);
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	for (int enter = 0; enter < 2; enter++) {
		struct reader r = { .fd = fds[0], .enter = enter };
		weft_ref ref = api_submit(
			rt, WEFT_TASK(reads, API_POINTER(&r), .opts = enter ? NULL : &blocking));

		/* It may be just before the call: then the first signal is too early. */
		api_await_count(&r.inside, 1);
		cr_assert_eq(weft_cancel(rt, ref), 0);
		cr_assert_eq(api_end(rt, ref), -ECANCELED);
		cr_assert_eq(r.code, EINTR);
	}
	close(fds[0]);
	close(fds[1]);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int has_a_reader(weft_task *self)
{
	struct reader *r = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_submit(rt, WEFT_TASK(reads, API_POINTER(r), .opts = &blocking), NULL) == 0);
	return sleeps_for_months(self);
}

Test(cancel_family, so_is_a_child)
{
	weft *rt = api_open(2);
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	struct reader r = { .fd = fds[0] }, *p = &r;
	weft_ref ref = api_spawn(rt, has_a_reader, &p, sizeof p);

	api_await_count(&r.inside, 1);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_await_count(&r.left, 1);
	cr_assert_eq(r.code, EINTR);
	api_await_no_tasks(rt);
	close(fds[0]);
	close(fds[1]);
	api_close(rt);
}

/* Reads again whatever happens, as a library may. */
static int insists(weft_task *self)
{
	struct reader *r = api_arg_pointer(self);
	const int64_t value = 3;
	ssize_t n;
	char byte;

	api_add(&r->inside, 1);
	do
		n = read(r->fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	r->code = (int)n;
	API_CHECK(weft_return(self, &value, sizeof value) == 0);
	api_add(&r->left, 1);
	return 0;
}

static uint64_t abandoned(weft *rt)
{
	struct weft_stats stats = { .struct_size = sizeof stats };

	API_CHECK(weft_stats(rt, &stats) == 0);
	return stats.abandoned;
}

struct said {
	struct api_count lines;
};

static void hear(void *arg, const struct weft_log_record *record)
{
	struct said *said = arg;

	if (record->level == WEFT_LOG_WARN && strstr(record->text, "abandoned: task insists"))
		api_add(&said->lines, 1);
}

Test(cancel_family, an_abandoned_body_leaves_its_ref_and_its_place)
{
	struct said said = { 0 };
	weft *rt = NULL;
	int fds[2];

	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 1, .spare_threads_max = 1, .log = hear,
	                                    .log_arg = &said)),
	             0);
	struct reader r = { .fd = fds[0] };
	weft_ref ref = api_submit(rt, WEFT_TASK(insists, API_POINTER(&r), .opts = &abandons));

	api_await_count(&r.inside, 1);
	cr_assert_eq(weft_cancel_with(rt, ref, WEFT_CANCEL_ABANDON), 0);
	cr_assert_eq(weft_peek(rt, ref), 1, "at once");
	cr_assert_eq(weft_cancel_with(rt, ref, WEFT_CANCEL_ABANDON), 0, "twice is once");
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	cr_assert_eq(api_read(&said.lines), 1);
	cr_assert_eq(abandoned(rt), 1);
	/* With one spare thread at most, and that one taken, another body has one all the same. */
	struct api_gate gate = API_GATE_INIT;
	weft_ref next =
		api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), .opts = &blocking));

	api_gate_await(&gate, 1);
	cr_assert_eq(api_end(rt, api_spawn(rt, api_body_nothing, NULL, 0)), 0,
	             "and the worker is free");
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, next), 0);
	cr_assert_eq(api_read(&r.left), 0);
	cr_assert_eq(write(fds[1], "x", 1), 1);
	api_await_count(&r.left, 1);
	cr_assert_eq(r.code, 1);
	api_await_no_tasks(rt);
	api_close(rt);
	close(fds[0]);
	close(fds[1]);
}

Test(cancel_family, what_may_be_abandoned_is_otherwise_a_task_like_any)
{
	weft *rt = api_open(2);
	struct api_count count = { 0 };
	const int64_t value = 31, code = -7;
	weft_ref event = api_event(rt);

	cr_assert_eq(api_take_i64(rt,
	                          api_submit(rt,
	                                     WEFT_TASK(api_body_identity, WEFT_ARG(value),
	                                               .opts = &abandons))),
	             31);
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_fail, WEFT_ARG(code), .opts = &abandons));

	cr_assert_eq(api_end(rt, ref), WEFT_ETASK);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_count, API_POINTER(&count), .opts = &abandons),
	                         NULL),
	             0);
	ref = api_submit(rt,
	                 WEFT_TASK(api_body_count, API_POINTER(&count), WEFT_AFTER(event),
	                           .opts = &abandons));
	cr_assert_eq(weft_cancel_with(rt, ref, WEFT_CANCEL_ABANDON), 0, "not begun: it just ends");
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	ref = api_submit(rt, WEFT_TASK(api_body_count, API_POINTER(&count), WEFT_AFTER(event)));
	cr_assert_eq(weft_cancel_with(rt, ref, WEFT_CANCEL_ABANDON), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	api_await_count(&count, 1);
	cr_assert_eq(abandoned(rt), 0);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int returns_bytes(weft_task *self)
{
	char bytes[1000];

	memset(bytes, 7, sizeof bytes);
	return weft_return(self, bytes, sizeof bytes);
}

Test(cancel_family, a_large_value_of_what_may_be_abandoned_comes_through)
{
	weft *rt = api_open(2);
	char bytes[1000] = { 0 };
	weft_ref ref = api_submit(rt, WEFT_TASK(returns_bytes, .opts = &abandons));

	cr_assert_eq(weft_take(rt, ref, bytes, sizeof bytes), 1000);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(bytes[i], 7);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cancel_family, only_what_was_submitted_so_can_be_abandoned)
{
	weft *rt = api_open(2);
	weft_ref ref = { 77 };
	struct api_gate gate = API_GATE_INIT;
	static const uint32_t bad[] = { WEFT_TASK_ABANDON,
		                        WEFT_TASK_ABANDON | WEFT_TASK_BLOCKING | WEFT_TASK_STAY };

	for (int i = 0; i < 2; i++)
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(api_body_nothing,
		                                   .opts = WEFT_TASK_OPTIONS(.flags = bad[i])),
		                         &ref),
		             -EINVAL);
	cr_assert_eq(
		weft_submit(rt,
	                    WEFT_TASK(api_body_nothing,
	                              .opts = WEFT_TASK_OPTIONS(.base = &abandons, .n_outputs = 2)),
	                    &ref),
		-EINVAL);
	cr_assert_eq(ref.bits, 77);
	ref = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate), .opts = &blocking));
	api_gate_await(&gate, 1);
	cr_assert_eq(weft_cancel_with(rt, ref, WEFT_CANCEL_ABANDON), -EBUSY, "it was asked");
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, ref), 0, "and returned a value all the same");
	api_await_no_tasks(rt);
	api_close(rt);
}
