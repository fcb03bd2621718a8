/*
 * Goal: what is pinned by those who will want room is bounded so that there is room, shares are
 * given in order, can be lent, given back and left, and are given all the same when nothing else
 * can help.
 * Method: direct calls on pretended memory and files; the keeper is settled by a call that it
 * answers after a full round.
 */
#include "fake_store.h"

struct sharer {
	struct wf_store_sharer sharer;
	struct wf_a32 is_done;
};

static struct wf_a32 outside; /* 1: something outside may still help */

static bool is_busy(void *arg)
{
	(void)arg;
	return wf_load_acquire(&outside) != 0;
}

static void open_4m(void)
{
	wf_store_release(&outside, 1);
	open_fake((struct wf_store_options){ .capacity_bytes = 4 * MIB, .busy = is_busy }, true);
}

/* All were given back: one as large as the store is the first. */
static void close_whole(void)
{
	wf_store_release(&outside, 0);
	spill_all();
	cr_assert(wf_store_share(store, 4 * MIB));
	cr_assert_not(wf_store_share(store, 1));
	wf_store_unshare(store, 4 * MIB);
	close_empty();
}

static void sharer_done(struct wf_store_sharer *sharer)
{
	struct sharer *s = wf_container_of(sharer, struct sharer, sharer);

	wf_store_release(&s->is_done, 1);
	wf_futex_wake(&s->is_done, 1);
}

static void share_wait(struct sharer *s, uint64_t bytes)
{
	wf_init(&s->is_done, 0);
	s->sharer = (struct wf_store_sharer){ .done = sharer_done, .bytes = bytes };
	wf_store_share_wait(store, &s->sharer);
}

static bool is_given(struct sharer *s)
{
	return wf_load_acquire(&s->is_done) != 0;
}

static int share_await(struct sharer *s)
{
	while (!is_given(s))
		wf_futex_wait(&s->is_done, 0, WF_FOREVER);
	return s->sharer.status;
}

#define SHARES(name) Test(store_shares, name, .init = open_4m, .fini = close_whole)

SHARES(half_is_given_and_the_first_whatever_its_size)
{
	cr_assert(wf_store_share(store, 3 * MIB), "the first");
	cr_assert_not(wf_store_share(store, 64));
	wf_store_unshare(store, 3 * MIB);
	cr_assert(wf_store_share(store, MIB));
	cr_assert(wf_store_share(store, MIB));
	cr_assert_not(wf_store_share(store, 64));
	wf_store_unshare(store, 2 * MIB);
}

SHARES(what_is_too_small_to_matter_is_not_counted)
{
	cr_assert_eq(wf_store_share_bytes(store, 63), 0);
	cr_assert_eq(wf_store_share_bytes(store, 64), 64);
	cr_assert_eq(wf_store_share_bytes(store, 9 * MIB), 4 * MIB);
}

SHARES(they_are_given_in_order)
{
	struct sharer large, small;

	cr_assert(wf_store_share(store, MIB));
	share_wait(&large, 3 * MIB / 2);
	share_wait(&small, MIB / 2);
	cr_assert_not(wf_store_share(store, 64), "not past those who wait");
	spill_all();
	cr_assert_not(is_given(&large));
	cr_assert_not(is_given(&small), "it would fit, but came later");
	wf_store_unshare(store, MIB);
	cr_assert_eq(share_await(&large), 0);
	cr_assert_eq(share_await(&small), 0);
	wf_store_unshare(store, 2 * MIB);
}

SHARES(one_that_waits_can_leave)
{
	struct sharer first, second;

	cr_assert(wf_store_share(store, 2 * MIB));
	share_wait(&first, 2 * MIB);
	share_wait(&second, MIB);
	cr_assert(wf_store_share_cancel(store, &first.sharer));
	cr_assert_not(is_given(&first));
	wf_store_unshare(store, MIB);
	cr_assert_eq(share_await(&second), 0);
	cr_assert_not(wf_store_share_cancel(store, &second.sharer), "it was given");
	wf_store_unshare(store, 2 * MIB);
}

SHARES(what_is_lent_can_be_had_by_another)
{
	cr_assert(wf_store_share(store, 2 * MIB));
	cr_assert_not(wf_store_share(store, MIB));
	wf_store_share_lend(store, 2 * MIB);
	cr_assert(wf_store_share(store, 2 * MIB));
	/* Its owner comes back without asking. */
	wf_store_share_again(store, 2 * MIB);
	wf_store_unshare(store, 2 * MIB);
	cr_assert_not(wf_store_share(store, MIB));
	wf_store_unshare(store, 2 * MIB);
}

SHARES(nothing_else_can_help_so_one_is_given_all_the_same)
{
	struct sharer first, second;

	cr_assert(wf_store_share(store, 2 * MIB));
	share_wait(&first, MIB);
	share_wait(&second, MIB);
	spill_all();
	cr_assert_not(is_given(&first));
	wf_store_release(&outside, 0);
	cr_assert_eq(share_await(&first), 0);
	cr_assert_eq(share_await(&second), 0);
	wf_store_unshare(store, 4 * MIB);
}

SHARES(room_is_left_for_the_create_that_waits)
{
	struct wf_object *pinned = store_put_pinned(store, local, 2 * MIB, 1, 1);
	struct waiter create;
	struct sharer share;

	waiter_create(store, &create, 3 * MIB);
	spill_all();
	cr_assert_not(waiter_is_done(&create));
	cr_assert_not(wf_store_share(store, MIB), "the fast way is closed");
	share_wait(&share, MIB / 2);
	cr_assert_eq(share_await(&share), 0, "the first");
	share_wait(&share, 3 * MIB / 4);
	spill_all();
	cr_assert_not(is_given(&share), "less than a MiB is left beside it");
	cr_assert_eq(wf_object_unpin(store, local, pinned, WF_OBJECT_PIN), 0);
	cr_assert_eq(waiter_await(&create), 0);
	/* Such a create may come again; in the end that is forgotten, or there is another way. */
	wf_store_release(&outside, 0);
	cr_assert_eq(share_await(&share), 0);
	wf_store_unshare(store, 5 * MIB / 4);
	wf_object_delete(store, local, create.ticket.object);
	wf_object_delete(store, local, pinned);
}

SHARES(a_create_fails_before_another_may_pin_in_its_way)
{
	struct wf_object *pinned = store_put_pinned(store, local, 2 * MIB, 1, 1);
	struct waiter create;
	struct sharer share;

	cr_assert(wf_store_share(store, MIB));
	waiter_create(store, &create, 3 * MIB);
	share_wait(&share, 2 * MIB);
	spill_all();
	wf_store_release(&outside, 0);
	cr_assert_eq(waiter_await(&create), -ENOSPC);
	cr_assert_eq(share_await(&share), 0);
	wf_store_unshare(store, 3 * MIB);
	cr_assert_eq(wf_object_unpin(store, local, pinned, WF_OBJECT_PIN), 0);
	wf_object_delete(store, local, pinned);
}

SHARES(who_lends_waits_for_another_whose_share_comes_first)
{
	struct wf_object *pinned = store_put_pinned(store, local, 2 * MIB, 1, 1);
	struct waiter create;
	struct sharer share;

	cr_assert(wf_store_share(store, MIB));
	cr_assert(wf_store_share(store, MIB));
	wf_store_share_lend(store, MIB);
	waiter_create(store, &create, 3 * MIB);
	share_wait(&share, 3 * MIB);
	spill_all();
	cr_assert_not(is_given(&share));
	wf_store_release(&outside, 0);
	cr_assert_eq(share_await(&share), 0);
	/* It ends, and so does the one that waited for it, and its pins go: there is room. */
	wf_store_release(&outside, 1);
	wf_store_unshare(store, 3 * MIB);
	wf_store_share_again(store, MIB);
	wf_store_unshare(store, 2 * MIB);
	cr_assert_eq(wf_object_unpin(store, local, pinned, WF_OBJECT_PIN), 0);
	if (waiter_await(&create) == 0)
		wf_object_delete(store, local, create.ticket.object);
	wf_object_delete(store, local, pinned);
}
