/*
 * Goal: a lost object has bytes again, those of a fresh one that nobody else knows, and is then as
 * any other; otherwise nothing changes. After every test the accounting equals a recount.
 * Method: direct calls on pretended memory and files, whose reads the test breaks.
 */
#include "fake_store.h"

static void open_4m(void)
{
	open_fake((struct wf_store_options){ .capacity_bytes = 4 * MIB }, true);
}

/* One lost object of a MiB and its bytes. */
static struct wf_object *lose(uint64_t key)
{
	struct wf_object *object = put(MIB, key);

	spill_all();
	fake_fail_reads(1, 1, -EBADMSG);
	cr_assert_eq(store_pin(store, object), -EIO);
	cr_assert_eq(store_state(object), WF_OBJECT_LOST);
	return object;
}

Test(store_revive, a_lost_one_takes_the_bytes_of_a_fresh_one, .init = open_4m, .fini = close_empty)
{
	struct wf_object *lost = lose(1), *fresh = put(MIB, 1);

	cr_assert_eq(store_pin(store, fresh), 0);
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), 0);
	cr_assert_eq(store_state(fresh), WF_OBJECT_FREE);
	cr_assert_null(wf_object_loss(lost));
	check(lost, MIB, 1);
	cr_assert_eq(store_recount(store).objects, 1);
	cr_assert_eq(store_recount(store).revived, 1);
	spill_all();
	check(lost, MIB, 1);
	fresh = put(MIB, 1);
	cr_assert_eq(store_pin(store, fresh), 0);
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), -EINVAL, "it is not lost");
	cr_assert_eq(wf_object_unpin(store, local, fresh, WF_OBJECT_PIN), 0);
	drop(lost);
	drop(fresh);
}

Test(store_revive, what_revives_must_be_whole_and_nobody_elses, .init = open_4m,
     .fini = close_empty)
{
	struct wf_object *lost = lose(1), *small = put(MIB / 2, 1), *fresh = put(MIB, 1);

	cr_assert_eq(store_pin(store, small), 0);
	cr_assert_eq(wf_object_revive(store, local, lost, small), -EINVAL, "another size");
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), -EINVAL, "not pinned");
	cr_assert_eq(store_pin(store, fresh), 0);
	cr_assert_eq(store_pin(store, fresh), 0);
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), -EINVAL, "pinned twice");
	cr_assert_eq(store_state(lost), WF_OBJECT_LOST);
	cr_assert_str_eq(wf_object_loss(lost)->text, "fake file, offset 0: as told");
	cr_assert_eq(wf_object_unpin(store, local, fresh, WF_OBJECT_PIN), 0);
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), 0);
	check(lost, MIB, 1);
	cr_assert_eq(wf_object_unpin(store, local, small, WF_OBJECT_PIN), 0);
	drop(small);
	drop(lost);
}

/* What was taken while it had a copy gives that copy's record back. */
Test(store_revive, a_copy_of_the_fresh_one_goes, .init = open_4m, .fini = close_empty)
{
	struct wf_object *lost = lose(1), *fresh = put(MIB, 1);

	spill_all();
	cr_assert_eq(store_pin(store, fresh), 0, "it is back, with a copy");
	cr_assert_eq(fake_records(), 1);
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), 0);
	cr_assert_eq(fake_records(), 0);
	check(lost, MIB, 1);
	drop(lost);
}

/* Pinned in the middle of a write it is not to be had until that is over. */
Test(store_revive, one_that_is_being_written_comes_a_little_later, .init = open_4m,
     .fini = close_empty)
{
	const uint64_t size = 3 * MIB + 512 * KIB;
	struct wf_object *lost = put(size, 1);

	spill_all();
	fake_fail_reads(1, 1, -EBADMSG);
	cr_assert_eq(store_pin(store, lost), -EIO);
	struct wf_object *fresh = put(size, 1);

	fake_hold(true);
	/* Passes `high`. */
	drop(put(64, 0));
	fake_await_held(1);
	cr_assert_eq(store_state(fresh), WF_OBJECT_SPILLING);
	cr_assert_eq(store_pin(store, fresh), 0);
	cr_assert_eq(wf_object_revive(store, local, lost, fresh), -EAGAIN);
	cr_assert_eq(store_state(lost), WF_OBJECT_LOST);
	fake_hold(false);
	while (wf_object_revive(store, local, lost, fresh) == -EAGAIN)
		usleep(100);
	cr_assert_eq(store_state(fresh), WF_OBJECT_FREE);
	check(lost, size, 1);
	drop(lost);
}

Test(store_revive, a_revived_one_can_be_lost_again, .init = open_4m, .fini = close_empty)
{
	struct wf_object *lost = lose(1);

	for (int i = 0; i < 3; i++) {
		struct wf_object *fresh = put(MIB, 1);

		cr_assert_eq(store_pin(store, fresh), 0);
		cr_assert_eq(wf_object_revive(store, local, lost, fresh), 0);
		spill_all();
		fake_fail_reads(1, 1, -EIO);
		cr_assert_eq(store_pin(store, lost), -EIO);
		cr_assert_eq(wf_object_loss(lost)->code, -EIO);
	}
	drop(lost);
}
