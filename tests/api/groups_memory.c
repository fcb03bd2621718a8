/*
 * Goal: reservations of a group's memory are whole or wait, for all groups above as well; who waits
 * blocks no worker, goes on when others give back, and leaves nothing when it gives up; callbacks
 * reclaim first; what is kept by a group goes with it.
 * Method: reservations that fill a group, then one that waits, then what ends the wait.
 */
#include "groups.h"
#include "test.h"

static uint64_t memory_of(weft *rt, weft_group group)
{
	return group_stats(rt, group).memory;
}

Test(groups_memory, what_fits_is_reserved_in_all_groups_above)
{
	weft *rt = api_open(1);
	weft_group top = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 100)), low, free_one;

	low = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 60, .parent = top));
	free_one = group_make(rt, NULL);
	cr_assert_eq(weft_group_reserve(rt, low, 60, WEFT_POLL), 0);
	cr_assert_eq(weft_group_reserve(rt, low, 1, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_group_reserve(rt, top, 41, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_group_reserve(rt, top, 40, WEFT_POLL), 0);
	cr_assert_eq(memory_of(rt, top), 100);
	cr_assert_eq(memory_of(rt, low), 60);
	cr_assert_eq(weft_group_reserve(rt, low, 61, WEFT_FOREVER), -EMSGSIZE);
	cr_assert_eq(weft_group_reserve(rt, top, 101, WEFT_FOREVER), -EMSGSIZE);
	cr_assert_eq(weft_group_reserve(rt, free_one, UINT64_MAX, WEFT_FOREVER), -EMSGSIZE);
	cr_assert_eq(weft_group_reserve(rt, free_one, (uint64_t)1 << 50, WEFT_POLL), 0);
	cr_assert_eq(weft_group_reserve(rt, top, 1, weft_after_ms(rt, 5)), -ETIMEDOUT);
	/* Only what a group holds itself can be given back by its name. */
	cr_assert_eq(weft_group_give_back(rt, top, 41), -EINVAL);
	cr_assert_eq(weft_group_give_back(rt, low, 20), 0);
	cr_assert_eq(weft_group_reserve(rt, top, 20, WEFT_POLL), 0);
	/* What is destroyed gives back. */
	group_end(rt, low);
	cr_assert_eq(memory_of(rt, top), 60);
	cr_assert_eq(weft_group_reserve(rt, low, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_group_give_back(rt, low, 1), -EINVAL);
	cr_assert_eq(weft_group_on_reclaim(rt, low, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_group_reserve(NULL, top, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_group_give_back(NULL, top, 1), -EINVAL);
	weft_group group = { API_POISON };

	cr_assert_eq(weft_group_create(rt, WEFT_GROUP_OPTIONS(.memory = UINT64_MAX), &group),
	             -EINVAL);
	group_end(rt, top);
	group_end(rt, free_one);
	api_close(rt);
}

struct holder {
	weft_group group;
	uint64_t bytes;
	struct api_count inside, most, done;
	int status;
};

static int holds(weft_task *self)
{
	struct holder *h = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	API_CHECK(weft_group_reserve(rt, h->group, h->bytes, WEFT_FOREVER) == 0);
	uint64_t inside = api_add(&h->inside, 1), most = api_read(&h->most);

	while (inside > most && !wf_cas_acq_rel(&h->most.n, &most, inside))
		;
	API_CHECK(weft_yield(rt) == 0);
	api_add(&h->inside, (uint64_t)-1);
	API_CHECK(weft_group_give_back(rt, h->group, h->bytes) == 0);
	api_add(&h->done, 1);
	return 0;
}

Test(groups_memory, many_that_do_not_fit_together_all_come_to_it)
{
	weft *rt = api_open(4);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 100));
	struct holder h = { .group = group, .bytes = 30 };

	for (int i = 0; i < 300; i++)
		group_forget(rt, group, holds, &h);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&h.done), 300);
	cr_assert_leq(api_read(&h.most), 3);
	cr_assert_eq(memory_of(rt, group), 0);
	group_end(rt, group);
	api_close(rt);
}

static int waits_for_memory(weft_task *self)
{
	struct holder *h = api_arg_pointer(self);

	h->status = weft_group_reserve(weft_task_runtime(self), h->group, h->bytes, WEFT_FOREVER);
	return 0;
}

Test(groups_memory, who_waits_blocks_no_worker_and_can_be_cancelled)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 10)), other;
	struct holder big = { .group = group, .bytes = 10 }, small = { .group = group, .bytes = 4 };

	other = group_make(rt, NULL);
	cr_assert_eq(weft_group_reserve(rt, group, 5, WEFT_POLL), 0);
	weft_ref first = group_submit(rt, group, waits_for_memory, &big);

	api_await_state(rt, first, WEFT_REF_BLOCKED);
	/* The only worker is free, and a smaller one overtakes. */
	cr_assert_eq(api_end(rt, group_submit(rt, other, waits_for_memory, &small)), 0);
	cr_assert_eq(small.status, 0);
	cr_assert_eq(weft_cancel(rt, first), 0);
	cr_assert_eq(api_end(rt, first), 0);
	cr_assert_eq(big.status, -EINTR);
	cr_assert_eq(memory_of(rt, group), 9);
	/* Another one, and then the group. */
	first = group_submit(rt, group, waits_for_memory, &big);
	api_await_state(rt, first, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(api_end(rt, first), 0);
	cr_assert_eq(big.status, -EINTR);
	cr_assert_eq(weft_group_give_back(rt, group, 9), 0);
	cr_assert_eq(memory_of(rt, group), 0);
	group_end(rt, group);
	group_end(rt, other);
	api_close(rt);
}

static void *waits_outside(void *arg)
{
	void **both = arg;
	struct holder *h = both[0];

	h->status = weft_group_reserve(both[1], h->group, h->bytes, WEFT_FOREVER);
	return NULL;
}

Test(groups_memory, a_host_thread_waits_too)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 10));
	struct holder h = { .group = group, .bytes = 10, .status = 1 };

	cr_assert_eq(weft_group_reserve(rt, group, 10, WEFT_POLL), 0);
	pthread_t thread = api_thread(waits_outside, (void *[]){ &h, rt });

	cr_assert_eq(weft_group_reserve(rt, group, 1, weft_after_ms(rt, 5)), -ETIMEDOUT);
	cr_assert_eq(weft_group_give_back(rt, group, 10), 0);
	api_join(thread);
	cr_assert_eq(h.status, 0);
	cr_assert_eq(memory_of(rt, group), 10);
	group_end(rt, group);
	api_close(rt);
}

/* Others have what it waits for, and keep it: it is told all the same, in a task and outside. */
Test(groups_memory, who_waits_for_a_group_that_goes_is_told_though_nothing_is_given_back)
{
	weft *rt = api_open(1);
	weft_group parent = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 100));
	weft_group child = group_make(rt, WEFT_GROUP_OPTIONS(.parent = parent));
	struct holder outside = { .group = child, .bytes = 60, .status = 1 };
	struct holder inside = { .group = child, .bytes = 60, .status = 1 };

	cr_assert_eq(weft_group_reserve(rt, parent, 100, WEFT_POLL), 0);
	pthread_t thread = api_thread(waits_outside, (void *[]){ &outside, rt });
	/* In no group, so that no cancel reaches it. */
	weft_ref task = api_submit(rt, WEFT_TASK(waits_for_memory, API_POINTER(&inside)));

	api_await_state(rt, task, WEFT_REF_BLOCKED);
	/* The thread may come before this or after it. */
	group_end(rt, child);
	cr_assert_eq(api_end(rt, task), 0);
	cr_assert_eq(inside.status, -EINVAL);
	api_join(thread);
	cr_assert_eq(outside.status, -EINVAL);
	cr_assert_eq(memory_of(rt, parent), 100);
	group_end(rt, parent);
	api_close(rt);
}

/* What it is granted while its group goes comes to the next one. */
Test(groups_memory, who_waits_for_a_group_that_goes_keeps_nothing)
{
	weft *rt = api_open(1);
	weft_group parent = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 100));
	weft_group child = group_make(rt, WEFT_GROUP_OPTIONS(.parent = parent));
	struct holder of_child = { .group = child, .bytes = 60, .status = 1 };
	struct holder of_parent = { .group = parent, .bytes = 60, .status = 1 };

	cr_assert_eq(weft_group_reserve(rt, child, 100, WEFT_POLL), 0);
	pthread_t first = api_thread(waits_outside, (void *[]){ &of_child, rt });

	weft_sleep_until(rt, weft_after_ms(rt, 5));
	pthread_t second = api_thread(waits_outside, (void *[]){ &of_parent, rt });

	weft_sleep_until(rt, weft_after_ms(rt, 5));
	group_end(rt, child);
	api_join(second);
	cr_assert_eq(of_parent.status, 0);
	cr_assert_eq(weft_group_give_back(rt, parent, 60), 0);
	api_join(first);
	cr_assert_eq(of_child.status, -EINVAL);
	cr_assert_eq(memory_of(rt, parent), 0);
	group_end(rt, parent);
	api_close(rt);
}

struct racer {
	weft *rt;
	weft_group group;
	struct api_gate *gate;
};

static void *reserves_often(void *arg)
{
	const struct racer *r = arg;
	int rc = 0;

	api_gate_pass(r->gate);
	while (rc != -EINVAL) {
		rc = weft_group_reserve(r->rt, r->group, 7, WEFT_FOREVER);
		API_CHECK(rc == 0 || rc == -EINVAL);
		if (!rc)
			rc = weft_group_give_back(r->rt, r->group, 7);
		API_CHECK(rc == 0 || rc == -EINVAL);
	}
	return NULL;
}

Test(groups_memory, reservations_of_host_threads_race_with_the_end_of_their_group)
{
	weft *rt = api_open(1);
	weft_group parent = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 20));

	for (int round = 0; round < 100; round++) {
		struct api_gate gate = API_GATE_INIT;
		weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parent = parent));
		struct racer racer = { rt, group, &gate };
		pthread_t threads[4];

		for (int i = 0; i < 4; i++)
			threads[i] = api_thread(reserves_often, &racer);
		api_gate_open(&gate);
		for (int i = 0; i < round % 8; i++)
			sched_yield();
		group_end(rt, group);
		for (int i = 0; i < 4; i++)
			api_join(threads[i]);
		cr_assert_eq(memory_of(rt, parent), 0);
	}
	group_end(rt, parent);
	api_close(rt);
}

struct cache {
	weft *rt;
	weft_group group;
	uint64_t held, asked, calls;
};

static void reclaims(void *arg, uint64_t bytes)
{
	struct cache *cache = arg;

	cache->calls++;
	cache->asked = bytes;
	if (cache->held) {
		API_CHECK(weft_group_give_back(cache->rt, cache->group, cache->held) == 0);
		cache->held = 0;
	}
}

Test(groups_memory, caches_are_asked_first)
{
	weft *rt = api_open(1);
	weft_group top = group_make(rt, WEFT_GROUP_OPTIONS(.memory = 100)), low;
	struct cache cache = { .rt = rt, .group = top, .held = 50 };

	low = group_make(rt, WEFT_GROUP_OPTIONS(.parent = top, .memory = 90));
	cr_assert_eq(weft_group_on_reclaim(rt, top, reclaims, &cache), 0);
	cr_assert_eq(weft_group_reserve(rt, top, 50, WEFT_POLL), 0);
	cr_assert_eq(weft_group_reserve(rt, low, 50, WEFT_POLL), 0);
	cr_assert_eq(cache.calls, 0);
	/* The one above is short; what it is asked for is what is missing. */
	cr_assert_eq(weft_group_reserve(rt, low, 20, WEFT_POLL), 0);
	cr_assert_eq(cache.calls, 1);
	cr_assert_eq(cache.asked, 20);
	cr_assert_eq(memory_of(rt, top), 70);
	/* With nothing left to drop it is asked, and the reservation fails. */
	cr_assert_eq(weft_group_reserve(rt, top, 40, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(cache.calls, 2);
	cr_assert_eq(weft_group_on_reclaim(rt, top, NULL, NULL), 0);
	cr_assert_eq(weft_group_reserve(rt, top, 40, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(cache.calls, 2);
	group_end(rt, low);
	group_end(rt, top);
	api_close(rt);
}

Test(groups_memory, what_it_keeps_goes_with_it)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	weft_ref mine, refs[50];

	for (int i = 0; i < 50; i++) {
		refs[i] = api_put_i64(rt, i);
		cr_assert_eq(weft_group_keep(rt, group, refs[i]), 0);
	}
	mine = refs[7];
	cr_assert_eq(weft_retain(rt, mine), 0);
	cr_assert_eq(weft_group_keep(rt, group, WEFT_NONE), -EINVAL);
	group_end(rt, group);
	cr_assert_eq(weft_group_keep(rt, group, mine), -EINVAL);
	cr_assert_eq(api_tasks_live(rt), 1);
	cr_assert_eq(weft_peek(rt, refs[8]), -EINVAL);
	cr_assert_eq(api_take_i64(rt, mine), 7);
	api_await_no_tasks(rt);
	/* Never destroyed: it goes with the runtime. */
	group = group_make(rt, NULL);
	cr_assert_eq(weft_group_keep(rt, group, api_put_i64(rt, 1)), 0);
	api_close(rt);
}
