/*
 * Goal: a completion queue reports every registered ref once, with its tag and status, to a poll
 * loop, a host thread or a task; registrations can be undone while the ref completes.
 * Method: known sets of refs, epoll on the queue's descriptor, many rounds of removal against
 * completion in which the item appears exactly when remove said so.
 */
#include <poll.h>
#include <sys/epoll.h>

#include "api.h"
#include "test.h"

static weft_cq *cq_open(weft *rt)
{
	weft_cq *cq = NULL;

	API_CHECK(weft_cq_create(rt, &cq) == 0);
	API_CHECK(cq != NULL);
	return cq;
}

Test(cq, items_carry_tag_ref_and_status)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	const int64_t code = -3;
	weft_ref event = api_event(rt),
		 refs[4] = { api_put_i64(rt, 1), api_spawn(rt, api_body_fail, &code, sizeof code),
		             api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event))),
		             event };
	const int expected[4] = { 0, WEFT_ETASK, -ECANCELED, 0 };
	bool seen[4] = { 0 };

	for (uint64_t i = 0; i < 4; i++)
		cr_assert_eq(weft_cq_add(cq, refs[i], i << 40), 0);
	cr_assert_eq(weft_cancel(rt, refs[2]), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	for (int left = 4; left > 0;) {
		struct weft_cq_item items[3];
		const int n = weft_cq_wait(cq, items, 3, WEFT_FOREVER);

		cr_assert(n >= 1 && n <= 3 && n <= left);
		for (int i = 0; i < n; i++) {
			const uint64_t which = items[i].tag >> 40;

			cr_assert_lt(which, 4);
			cr_assert(!seen[which]);
			seen[which] = true;
			cr_assert_eq(items[i].ref.bits, refs[which].bits);
			cr_assert_eq(items[i].status, expected[which]);
		}
		left -= n;
	}
	cr_assert_eq(weft_release_many(rt, refs, 4), 0);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, items_come_in_the_order_of_completion)
{
	enum { N = 200 };
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	weft_ref events[N];
	struct weft_cq_item items[N + 1];

	for (uint64_t i = 0; i < N; i++) {
		events[i] = api_event(rt);
		cr_assert_eq(weft_cq_add(cq, events[i], i), 0);
	}
	cr_assert_eq(weft_cq_drain(cq, items, N), 0);
	for (uint32_t i = 0; i < N; i++)
		cr_assert_eq(weft_event_set(rt, events[i * 71 % N], NULL, 0), 0);
	cr_assert_eq(weft_cq_drain(cq, items, 0), 0);
	cr_assert_eq(weft_cq_drain(cq, items, 50), 50);
	cr_assert_eq(weft_cq_drain(cq, items + 50, N), N - 50);
	for (uint32_t i = 0; i < N; i++)
		cr_assert_eq(items[i].tag, i * 71 % N);
	cr_assert_eq(weft_cq_drain(cq, items, N), 0);
	cr_assert_eq(weft_release_many(rt, events, N), 0);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, waiting_with_nothing_registered_is_enoent_and_times_out_otherwise)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	struct weft_cq_item item;
	weft_ref event = api_event(rt);

	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_POLL), -ENOENT);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), -ENOENT);
	cr_assert_eq(weft_cq_add(cq, event, 5), 0);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_POLL), 0);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, weft_after_ms(rt, 2)), 0);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_POLL), 1);
	cr_assert_eq(item.tag, 5);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), -ENOENT);
	api_release(rt, event);
	weft_cq_destroy(cq);
	api_close(rt);
}

Test(cq, the_same_ref_may_be_added_again_and_one_is_undone_alone)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	weft_ref event = api_event(rt), other = api_event(rt);
	struct weft_cq_item items[8];
	uint64_t tags = 0;

	for (uint64_t tag = 1; tag <= 4; tag++)
		cr_assert_eq(weft_cq_add(cq, event, tag), 0);
	cr_assert_eq(weft_cq_remove(cq, event, 3), 1);
	cr_assert_eq(weft_cq_remove(cq, event, 9), -ENOENT);
	cr_assert_eq(weft_cq_remove(cq, other, 1), -ENOENT);
	cr_assert_eq(weft_cq_remove(cq, WEFT_NONE, 1), -EINVAL);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(weft_cq_remove(cq, event, 1), 0, "its item is in the queue");
	cr_assert_eq(weft_cq_drain(cq, items, 8), 3);
	for (int i = 0; i < 3; i++)
		tags |= 1u << items[i].tag;
	cr_assert_eq(tags, 1u << 1 | 1u << 2 | 1u << 4);
	cr_assert_eq(weft_cq_remove(cq, event, 1), -ENOENT, "its item was taken");
	api_release(rt, event);
	api_release(rt, other);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, a_queue_keeps_its_refs_alive)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	struct weft_cq_item item;
	const int64_t value = 66;
	weft_ref ref = api_spawn(rt, api_body_identity, &value, sizeof value);

	cr_assert_eq(weft_cq_add(cq, ref, 1), 0);
	api_release(rt, ref);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
	cr_assert_eq(item.status, 0);
	api_await_no_tasks(rt);
	ref = api_event(rt);
	cr_assert_eq(weft_cq_add(cq, ref, 2), 0);
	api_release(rt, ref);
	cr_assert_eq(weft_cq_remove(cq, ref, 2), 1);
	api_await_no_tasks(rt);
	weft_cq_destroy(cq);
	api_close(rt);
}

Test(cq, destroying_undoes_pending_registrations)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	weft_ref events[100];

	for (uint64_t i = 0; i < 100; i++) {
		events[i] = api_event(rt);
		cr_assert_eq(weft_cq_add(cq, events[i], i), 0);
	}
	for (int i = 0; i < 50; i++) /* half of them sit in the queue as items */
		cr_assert_eq(weft_event_set(rt, events[i], NULL, 0), 0);
	weft_cq_destroy(cq);
	weft_cq_destroy(NULL);
	for (int i = 50; i < 100; i++)
		cr_assert_eq(weft_event_set(rt, events[i], NULL, 0), 0);
	cr_assert_eq(weft_release_many(rt, events, 100), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, epoll_sees_items_and_draining_resets_it)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	const int fd = weft_cq_fd(cq), epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event got, want = { .events = EPOLLIN, .data.u64 = 17 };
	struct weft_cq_item items[16];
	uint32_t seen = 0;

	cr_assert_geq(fd, 0);
	cr_assert_eq(weft_cq_fd(cq), fd, "one descriptor per queue");
	cr_assert_eq(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &want), 0);
	cr_assert_eq(epoll_wait(epoll, &got, 1, 0), 0);
	for (uint32_t round = 0; round < 50; round++) {
		weft_ref refs[20];

		for (int64_t i = 0; i < 20; i++) {
			refs[i] = api_spawn(rt, api_body_identity, &i, sizeof i);
			cr_assert_eq(weft_cq_add(cq, refs[i], (uint64_t)i), 0);
		}
		for (seen = 0; seen < 20;) {
			int n;

			cr_assert_eq(epoll_wait(epoll, &got, 1, 60000), 1, "items are announced");
			cr_assert_eq(got.data.u64, 17);
			while ((n = weft_cq_drain(cq, items, 16)) > 0)
				seen += (uint32_t)n;
			cr_assert_eq(n, 0);
		}
		cr_assert_eq(seen, 20);
		cr_assert_eq(epoll_wait(epoll, &got, 1, 0), 0,
		             "drained to 0 resets the descriptor");
		cr_assert_eq(weft_release_many(rt, refs, 20), 0);
	}
	close(epoll);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, a_descriptor_asked_for_late_is_readable_at_once)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	weft_ref ref = api_put_i64(rt, 1);
	struct weft_cq_item item;

	cr_assert_eq(weft_cq_add(cq, ref, 1), 0);
	struct pollfd poll_fd = { .fd = weft_cq_fd(cq), .events = POLLIN };
	cr_assert_geq(poll_fd.fd, 0);
	cr_assert_eq(poll(&poll_fd, 1, 60000), 1);
	cr_assert_eq(weft_cq_drain(cq, &item, 1), 1);
	cr_assert_eq(weft_cq_drain(cq, &item, 1), 0);
	cr_assert_eq(poll(&poll_fd, 1, 0), 0);
	api_release(rt, ref);
	weft_cq_destroy(cq);
	api_close(rt);
}

struct waiter {
	weft_cq *cq;
	struct api_count *in;
	int status;
};

static void *cq_waits(void *arg)
{
	struct waiter *waiter = arg;
	struct weft_cq_item item;

	api_add(waiter->in, 1);
	do /* the test's own short visits may be met */
		waiter->status = weft_cq_wait(waiter->cq, &item, 1, WEFT_FOREVER);
	while (waiter->status == -EBUSY && sched_yield() == 0);
	return NULL;
}

Test(cq, a_second_waiter_is_busy)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	struct api_count in = { 0 };
	struct waiter waiter = { cq, &in, -1 };
	weft_ref event = api_event(rt);
	struct weft_cq_item item;
	int status;

	cr_assert_eq(weft_cq_add(cq, event, 1), 0);
	pthread_t thread = api_thread(cq_waits, &waiter);
	api_await_count(&in, 1);
	const int64_t start = api_now();
	while ((status = weft_cq_wait(cq, &item, 1, weft_after_ms(rt, 1))) ==
	       0) /* not inside yet */
		api_polling(start, "the other waiter is inside");
	cr_assert_eq(status, -EBUSY);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	api_join(thread);
	cr_assert_eq(waiter.status, 1);
	api_release(rt, event);
	weft_cq_destroy(cq);
	api_close(rt);
}

static int cq_in_task(weft_task *self)
{
	enum { N = 100 };
	weft *rt = weft_task_runtime(self);
	weft_cq *cq = cq_open(rt);
	struct weft_cq_item items[7];
	int64_t sum = 0;

	for (int64_t i = 0; i < N; i++) {
		weft_ref ref = api_spawn(rt, api_body_identity, &i, sizeof i);

		API_CHECK(weft_cq_add(cq, ref, (uint64_t)i) == 0);
	}
	for (int left = N; left > 0;) {
		const int n = weft_cq_wait(cq, items, 7, WEFT_FOREVER);

		API_CHECK(n >= 1 && n <= left);
		for (int i = 0; i < n; i++)
			sum += api_take_i64(rt, items[i].ref);
		left -= n;
	}
	API_CHECK(weft_cq_wait(cq, items, 7, WEFT_FOREVER) == -ENOENT);
	weft_cq_destroy(cq);
	return weft_return(self, &sum, sizeof sum);
}

Test(cq, a_task_waits_on_a_queue_of_its_own_children)
{
	weft *rt = api_open(1);
	weft_ref refs[10];

	for (int i = 0; i < 10; i++)
		refs[i] = api_spawn(rt, cq_in_task, NULL, 0);
	for (int i = 0; i < 10; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), 4950);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct setter {
	weft *rt;
	weft_ref *events;
	uint32_t n;
	struct api_count *round;
};

static void *set_in_rounds(void *arg)
{
	const struct setter *setter = arg;

	for (uint32_t i = 0; i < setter->n; i++) {
		api_await_count(setter->round, i + 1);
		API_CHECK(weft_event_set(setter->rt, setter->events[i], NULL, 0) == 0);
	}
	return NULL;
}

Test(cq, removal_races_completion_and_the_answer_is_exact)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	const uint32_t n = api_scaled(3000);
	weft_ref *events = calloc(n, sizeof *events);
	struct api_count round = { 0 };
	struct setter setter = { rt, events, n, &round };
	struct weft_cq_item item;

	for (uint32_t i = 0; i < n; i++) {
		events[i] = api_event(rt);
		cr_assert_eq(weft_cq_add(cq, events[i], i), 0);
	}
	pthread_t thread = api_thread(set_in_rounds, &setter);
	for (uint32_t i = 0; i < n; i++) {
		api_add(&round, 1);
		const int removed = weft_cq_remove(cq, events[i], i);

		cr_assert(removed == 0 || removed == 1);
		cr_assert_eq(api_get(rt, events[i]), 0);
		if (removed) {
			cr_assert_eq(weft_cq_drain(cq, &item, 1), 0);
		} else {
			cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
			cr_assert_eq(item.tag, i);
		}
		api_release(rt, events[i]);
	}
	api_join(thread);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), -ENOENT);
	weft_cq_destroy(cq);
	free(events);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int wait_for_one_item(weft_task *self)
{
	weft_cq *const *cq = weft_task_arg(self, NULL);
	struct weft_cq_item item;
	const int64_t n = weft_cq_wait(*cq, &item, 1, WEFT_FOREVER);

	return weft_return(self, &n, sizeof n);
}

Test(cq, a_waiter_ends_when_the_last_registration_is_undone)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	weft_ref event = api_event(rt);

	for (uint64_t i = 0; i < 2; i++)
		cr_assert_eq(weft_cq_add(cq, event, i), 0);
	weft_ref waiter = api_spawn(rt, wait_for_one_item, &cq, sizeof cq);

	api_await_state(rt, waiter, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cq_remove(cq, event, 0), 1);
	cr_assert_eq(api_state(rt, waiter), WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cq_remove(cq, event, 1), 1);
	cr_assert_eq(api_take_i64(rt, waiter), -ENOENT);
	weft_cq_destroy(cq);
	api_release(rt, event);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, many_refs_drain_one_by_one)
{
	weft *rt = api_open(2);
	weft_cq *cq = cq_open(rt);
	const uint32_t n = api_scaled(50000);
	struct weft_cq_item item;
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++) {
		weft_ref ref = api_spawn(rt, api_body_nothing, NULL, 0);

		cr_assert_eq(weft_cq_add(cq, ref, i), 0);
		api_release(rt, ref);
	}
	for (uint32_t i = 0; i < n; i++) {
		cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_FOREVER), 1);
		sum += item.tag;
	}
	cr_assert_eq(sum, (uint64_t)n * (n - 1) / 2);
	cr_assert_eq(weft_cq_wait(cq, &item, 1, WEFT_POLL), -ENOENT);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(cq, bad_input_is_refused)
{
	weft *rt = api_open(2), *other = api_open(1);
	weft_cq *const poison = (void *)(uintptr_t)API_POISON, *out = poison;
	weft_cq *cq = cq_open(rt);
	weft_ref foreign = api_put_i64(other, 1), stale = api_put_i64(rt, 1), good;
	struct weft_cq_item item = { .tag = 77 };

	api_release(rt, stale);
	good = api_put_i64(rt, 2);
	cr_assert_eq(weft_cq_create(NULL, &out), -EINVAL);
	cr_assert_eq(weft_cq_create(rt, NULL), -EINVAL);
	cr_assert_eq(out, poison);
	cr_assert_eq(weft_cq_add(cq, WEFT_NONE, 1), -EINVAL);
	cr_assert_eq(weft_cq_add(cq, stale, 1), -EINVAL);
	cr_assert_eq(weft_cq_add(cq, foreign, 1), -EINVAL);
	cr_assert_eq(weft_cq_add(NULL, good, 1), -EINVAL);
	cr_assert_eq(weft_cq_remove(NULL, good, 1), -EINVAL);
	cr_assert_eq(weft_cq_drain(NULL, &item, 1), -EINVAL);
	cr_assert_eq(weft_cq_drain(cq, NULL, 1), -EINVAL);
	cr_assert_eq(weft_cq_wait(NULL, &item, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_cq_wait(cq, NULL, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_cq_wait(cq, &item, 0, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_cq_fd(NULL), -EINVAL);
	cr_assert_eq(item.tag, 77);
	api_release(rt, good);
	api_release(other, foreign);
	weft_cq_destroy(cq);
	api_await_no_tasks(rt);
	api_close(other);
	api_close(rt);
}
