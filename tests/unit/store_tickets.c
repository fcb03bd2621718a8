/*
 * Goal: whoever waits for room or for a working set is served, in order, as soon as that is
 * possible; is told at once and with the right figures when nothing can help; and can leave at any
 * time. After every test the accounting equals a recount.
 * Method: direct calls on pretended memory and files whose transfers the test holds and breaks.
 */
#include <sched.h>

#include "fake_store.h"

static struct wf_a32 outside; /* 1: something outside may still help */

static bool is_busy(void *arg)
{
	(void)arg;
	return wf_load_acquire(&outside) != 0;
}

static void open_with(uint64_t capacity, bool spills)
{
	wf_store_release(&outside, 0);
	wf_store_relaxed(&waiters_done, 0);
	open_fake((struct wf_store_options){ .capacity_bytes = capacity, .busy = is_busy }, spills);
}

static void open_4m(void)
{
	open_with(4 * MIB, true);
}

static void open_4m_without_files(void)
{
	open_with(4 * MIB, false);
}

static struct wf_object *put_pinned(uint64_t size)
{
	struct wf_object *object = store_put_pinned(store, local, size, 0, 1);

	cr_assert_not_null(object);
	return object;
}

static void unpin(struct wf_object *object)
{
	cr_assert_eq(wf_object_unpin(store, local, object, WF_OBJECT_PIN), 0);
}

static void unpin_and_drop(struct wf_object *object)
{
	unpin(object);
	drop(object);
}

/* The keeper has looked at everything that happened before. */
static void settle(void)
{
	int rc = wf_store_spill_all(store);

	cr_assert(rc == 0 || rc == -ENOTSUP);
}

/* ---- Room ------------------------------------------------------------------------------------ */

Test(store_tickets, room_that_is_there_is_given, .init = open_4m, .fini = close_empty)
{
	struct waiter waiter;

	waiter_create(store, &waiter, MIB);
	cr_assert_eq(waiter_await(&waiter), 0);
	cr_assert_eq(store_state(waiter.ticket.object), WF_OBJECT_CREATING);
	cr_assert_not(wf_store_cancel(store, &waiter.ticket));
	drop(waiter.ticket.object);
}

Test(store_tickets, too_much_is_refused_at_once, .init = open_4m, .fini = close_empty)
{
	struct wf_object *set[5];
	struct waiter waiter;

	waiter_create(store, &waiter, 4 * MIB + 1);
	cr_assert(waiter_is_done(&waiter));
	cr_assert_eq(waiter.ticket.status, -EMSGSIZE);
	for (int i = 0; i < 5; i++)
		set[i] = put(MIB, (uint64_t)i);
	waiter_pin(store, &waiter, set, 5, PIN);
	cr_assert(waiter_is_done(&waiter));
	cr_assert_eq(waiter.ticket.status, -EMSGSIZE);
	for (int i = 0; i < 5; i++)
		drop(set[i]);
}

Test(store_tickets, creates_are_served_in_order, .init = open_4m_without_files, .fini = close_empty)
{
	struct wf_object *full = put_pinned(4 * MIB), *object;
	struct waiter waiters[4];

	wf_store_release(&outside, 1);
	waiter_create(store, &waiters[0], MIB);
	waiter_create(store, &waiters[1], 2 * MIB);
	waiter_create(store, &waiters[2], 2 * MIB);
	waiter_create(store, &waiters[3], 64);
	cr_assert_eq(wf_store_create(store, local, 64, &object), -EAGAIN, "nobody overtakes");
	unpin_and_drop(full);
	cr_assert_eq(waiter_await(&waiters[0]), 0);
	cr_assert_eq(waiter_await(&waiters[1]), 0);
	cr_assert_eq(wf_store_create(store, local, 64, &object), -EAGAIN, "nobody overtakes");
	cr_assert_not(waiter_is_done(&waiters[3]), "there is room, but not for the one before");
	drop(waiters[0].ticket.object);
	cr_assert_eq(waiter_await(&waiters[2]), 0);
	drop(waiters[1].ticket.object);
	cr_assert_eq(waiter_await(&waiters[3]), 0);
	for (uint32_t i = 0; i < 4; i++)
		cr_assert_eq(waiters[i].order, i);
	drop(waiters[2].ticket.object);
	drop(waiters[3].ticket.object);
}

Test(store_tickets, a_create_makes_others_go, .init = open_4m, .fini = close_empty)
{
	struct wf_object *objects[3], *object;
	struct waiter waiter;

	for (int i = 0; i < 3; i++)
		objects[i] = put(MIB, (uint64_t)i);
	cr_assert_eq(wf_store_create(store, local, 3 * MIB, &object), -EAGAIN);
	waiter_create(store, &waiter, 3 * MIB);
	cr_assert_eq(waiter_await(&waiter), 0);
	drop(waiter.ticket.object);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(store_check(store, local, objects[i], MIB, (uint64_t)i), 0);
		drop(objects[i]);
	}
}

/* More than what creators may have while something is spilled: as a last resort it is given. */
Test(store_tickets, one_may_fill_the_whole_store, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1);
	struct waiter waiter;

	waiter_create(store, &waiter, 4 * MIB);
	cr_assert_eq(waiter_await(&waiter), 0);
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLED);
	drop(waiter.ticket.object);
	drop(object);
}

/* ---- Full ------------------------------------------------------------------------------------ */

Test(store_tickets, a_hopeless_store_says_so_with_figures, .init = open_4m, .fini = close_empty)
{
	struct wf_object *pinned = put_pinned(2 * MIB), *creating, *small = put_pinned(64);
	struct waiter waiter;
	int64_t began = wf_clock_now(NULL);

	cr_assert_eq(wf_store_create(store, local, MIB, &creating), 0);
	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	fprintf(stderr, "answered after %lld us: %s\n",
	        (long long)(wf_clock_now(NULL) - began) / 1000, waiter.full.text);
	cr_assert_eq(waiter.full.capacity, 4 * MIB);
	cr_assert_eq(waiter.full.free, MIB - 64);
	cr_assert_eq(waiter.full.creating, MIB);
	cr_assert_eq(waiter.full.pinned, 2 * MIB + 64);
	cr_assert_eq(waiter.full.transit, 0);
	cr_assert_eq(waiter.full.evictable, 0);
	cr_assert_eq(waiter.full.asked, 2 * MIB);
	cr_assert_not_null(strstr(waiter.full.text, "2097152 pinned 1 times"));
	cr_assert_not_null(strstr(waiter.full.text, "1048576 unsealed"));
	cr_assert_eq(store_recount(store).fulls, 1);
	drop(creating);
	unpin_and_drop(pinned);
	unpin_and_drop(small);
}

Test(store_tickets, without_files_evictable_ones_do_not_help, .init = open_4m_without_files,
     .fini = close_empty)
{
	struct wf_object *object = put(3 * MIB, 1);
	struct waiter waiter;

	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	cr_assert_eq(waiter.full.evictable, 3 * MIB);
	cr_assert_not_null(strstr(waiter.full.text, "no spill directory"));
	cr_assert_eq(store_check(store, local, object, 3 * MIB, 1), 0);
	drop(object);
}

Test(store_tickets, a_full_disk_is_named, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(3 * MIB, 1);
	struct waiter waiter;

	fake_disk_bytes(MIB);
	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	cr_assert_eq(waiter.full.evictable, 3 * MIB);
	cr_assert_not_null(strstr(waiter.full.text, "No space left on device"));
	cr_assert_eq(store_check(store, local, object, 3 * MIB, 1), 0);
	/* The disk has room again: the next one is served, once the pause is over. */
	fake_disk_bytes(UINT64_MAX);
	wf_store_release(&outside, 1);
	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), 0);
	drop(waiter.ticket.object);
	drop(object);
}

Test(store_tickets, a_write_that_fails_once_is_tried_again, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(3 * MIB, 1);
	struct waiter waiter;

	fake_fail_writes(1, 2, -EIO);
	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), 0);
	cr_assert_eq(fake_writes(), 3);
	drop(waiter.ticket.object);
	drop(object);
}

Test(store_tickets, a_broken_disk_is_believed, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(3 * MIB, 1);
	struct waiter waiter;

	fake_fail_writes(1, UINT64_MAX / 2, -EIO);
	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	cr_assert_eq(fake_writes(), 3);
	cr_assert_not_null(strstr(waiter.full.text, "Input/output error"));
	drop(object);
}

/*
 * A plan is followed over several rounds. What it has passed can be free again when it is at its
 * end: that is no proof that nothing can go.
 */
Test(store_tickets, what_an_old_plan_has_passed_can_help, .init = open_4m, .fini = close_empty)
{
	struct wf_object *passed, *written, *other;
	struct waiter waiter;

	passed = put_pinned(2 * MIB);
	written = put_pinned(MIB);
	other = put_pinned(MIB);
	cr_assert(passed < written, "the entry of the first is the first");
	unpin(written);
	fake_hold(true);
	waiter_create(store, &waiter, MIB + MIB / 2);
	fake_await_held(1);
	cr_assert_eq(wf_object_pin(store, written, PIN), 0);
	unpin(passed);
	fake_hold(false);
	cr_assert_eq(waiter_await(&waiter), 0, "%s", waiter.full.text);
	drop(waiter.ticket.object);
	unpin_and_drop(written);
	unpin_and_drop(other);
	drop(passed);
}

/* A read that once had no memory is not why there is no room for a create. */
Test(store_tickets, a_full_store_is_not_taken_for_want_of_memory, .init = open_4m,
     .fini = close_empty)
{
	struct wf_object *object = put(2 * MIB, 1), *full;
	struct waiter waiter;

	settle();
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLED);
	fake_fail_reads(1, 1, -ENOMEM);
	waiter_pin(store, &waiter, &object, 1, PIN);
	if (waiter_await(&waiter) == 0)
		unpin(object);
	drop(object);
	fake_fail_reads(0, 0, 0);
	full = put_pinned(4 * MIB);
	waiter_create(store, &waiter, MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	unpin_and_drop(full);
}

Test(store_tickets, while_the_outside_may_help_it_waits, .init = open_4m, .fini = close_empty)
{
	struct wf_object *pinned = put_pinned(3 * MIB);
	struct waiter first, second;

	wf_store_release(&outside, 1);
	waiter_create(store, &first, 2 * MIB);
	settle();
	cr_assert_not(waiter_is_done(&first));
	unpin(pinned);
	cr_assert_eq(waiter_await(&first), 0);
	waiter_create(store, &second, 3 * MIB);
	settle();
	cr_assert_not(waiter_is_done(&second));
	/* Nothing rings: the keeper asks from time to time. */
	wf_store_release(&outside, 0);
	cr_assert_eq(waiter_await(&second), -ENOSPC);
	drop(first.ticket.object);
	drop(pinned);
}

Test(store_tickets, the_system_has_no_memory, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object;
	struct waiter waiter;

	fake_refuse_memory(true);
	cr_assert_eq(wf_store_create(store, local, MIB, &object), -EAGAIN);
	store_recount(store);
	waiter_create(store, &waiter, MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOMEM);
	fake_refuse_memory(false);
	drop(put(MIB, 1));
	/* The same for what is in a file. */
	object = put(MIB, 2);
	settle();
	fake_refuse_memory(true);
	cr_assert_eq(store_pin(store, object), -ENOMEM);
	fake_refuse_memory(false);
	cr_assert_eq(store_check(store, local, object, MIB, 2), 0);
	drop(object);
}

/* Accounting has room, but not in one piece: others go until there is, or it is full. */
Test(store_tickets, pieces_are_no_room, .fini = close_empty)
{
	struct wf_store_options options = { .capacity_bytes = 4 * MIB,
		                            .spill_dirs = fake_dirs,
		                            .spill_dir_count = 1,
		                            .spill_high = 1000,
		                            .busy = is_busy };
	struct wf_object *objects[16];
	struct waiter waiter;

	fake_reset();
	fake_memory_bytes(4 * MIB);
	cr_assert_eq(wf_store_open(&store, &options), 0);
	local = wf_store_local_create(store, 0);
	for (int i = 0; i < 16; i++)
		objects[i] = put(256 * KIB, (uint64_t)i);
	for (int i = 0; i < 16; i += 2)
		drop(objects[i]);
	cr_assert_eq(wf_object_pin(store, objects[15], PIN), 0);
	waiter_create(store, &waiter, MIB + 256 * KIB);
	cr_assert_eq(waiter_await(&waiter), 0);
	drop(waiter.ticket.object);
	unpin(objects[15]);
	for (int i = 1; i < 16; i += 2)
		drop(objects[i]);
	settle();
	/* Pinned ones in the way. */
	for (int i = 0; i < 16; i++)
		objects[i] = put_pinned(256 * KIB);
	for (int i = 0; i < 16; i += 2)
		unpin_and_drop(objects[i]);
	/* Not -ENOMEM: the system has refused nothing. */
	waiter_create(store, &waiter, 2 * MIB);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	cr_assert_eq(waiter.full.free, 2 * MIB);
	for (int i = 1; i < 16; i += 2)
		unpin_and_drop(objects[i]);
}

/* ---- Working sets ---------------------------------------------------------------------------- */

Test(store_tickets, a_set_is_brought_in_together, .init = open_4m, .fini = close_empty)
{
	static const uint64_t units[] = { PIN, VIEW };
	struct wf_object *set[4];
	struct waiter waiter;

	for (int i = 0; i < 3; i++)
		set[i] = put(MIB, (uint64_t)i);
	set[3] = set[1];
	for (int round = 0; round < 2; round++) {
		settle();
		waiter_pin(store, &waiter, set, 4, units[round]);
		cr_assert_eq(waiter_await(&waiter), 0);
		cr_assert_eq(store_recount(store).pinned, 3 * MIB);
		for (int i = 0; i < 4; i++)
			cr_assert(store_has(wf_object_readable(store, set[i]), MIB,
			                    (uint64_t)i % 3 + (i == 3)));
		for (int i = 0; i < 4; i++)
			cr_assert_eq(wf_object_unpin(store, local, set[i], units[round]), 0);
	}
	/* No promise that they stay. */
	settle();
	waiter_pin(store, &waiter, set, 4, 0);
	cr_assert_eq(waiter_await(&waiter), 0);
	cr_assert_eq(store_recount(store).pinned, 0);
	cr_assert_eq(store_recount(store).evictable, 3 * MIB);
	waiter_pin(store, &waiter, set, 4, 0);
	cr_assert(waiter_is_done(&waiter), "they are there");
	waiter_pin(store, &waiter, set, 0, PIN);
	cr_assert(waiter_is_done(&waiter), "nothing is there at once");
	cr_assert_eq(waiter_await(&waiter), 0);
	waiter_pin(store, &waiter, set, 4, 5);
	cr_assert_eq(waiter_await(&waiter), -EINVAL);
	for (int i = 0; i < 3; i++)
		drop(set[i]);
}

/* Each fits, two do not: none holds a part while another one does. */
Test(store_tickets, large_sets_finish_one_after_another, .init = open_4m, .fini = close_empty)
{
	struct wf_object *objects[8], *sets[6][5];
	struct waiter waiters[6];
	bool served[6] = { false };

	for (int i = 0; i < 8; i++)
		objects[i] = put(640 * KIB, (uint64_t)i);
	settle();
	wf_store_release(&outside, 1);
	for (uint32_t s = 0; s < 6; s++) {
		for (uint32_t i = 0; i < 5; i++)
			sets[s][i] = objects[(s * 3 + i) % 8];
		waiter_pin(store, &waiters[s], sets[s], 5, PIN);
	}
	/* In whatever order: a younger one may go first when the older one is stuck. */
	for (uint32_t left = 6, s = 0; left > 0; s = (s + 1) % 6) {
		if (served[s] || !waiter_is_done(&waiters[s])) {
			sched_yield();
			continue;
		}
		cr_assert_eq(waiters[s].ticket.status, 0);
		for (uint32_t i = 0; i < 5; i++) {
			cr_assert(store_has(wf_object_readable(store, sets[s][i]), 640 * KIB,
			                    (s * 3 + i) % 8));
			unpin(sets[s][i]);
		}
		served[s] = true;
		left--;
	}
	for (int i = 0; i < 8; i++)
		drop(objects[i]);
}

Test(store_tickets, single_ones_come_in_side_by_side, .init = open_4m, .fini = close_empty)
{
	struct wf_object *objects[4];
	struct waiter waiters[8];

	for (int i = 0; i < 4; i++)
		objects[i] = put(512 * KIB, (uint64_t)i);
	settle();
	fake_hold(true);
	for (int i = 0; i < 8; i++)
		waiter_pin(store, &waiters[i], &objects[i % 4], 1, PIN);
	fake_await_held(4);
	fake_hold(false);
	for (int i = 0; i < 8; i++) {
		cr_assert_eq(waiter_await(&waiters[i]), 0);
		unpin(objects[i % 4]);
	}
	cr_assert_eq(fake_reads(), 4, "one read per object, whoever wants it");
	for (int i = 0; i < 4; i++)
		drop(objects[i]);
}

Test(store_tickets, a_set_that_can_not_fit_beside_pins_fails, .init = open_4m, .fini = close_empty)
{
	struct wf_object *set[3], *pinned;
	struct waiter waiter;

	for (int i = 0; i < 3; i++)
		set[i] = put(MIB, (uint64_t)i);
	settle();
	pinned = put_pinned(2 * MIB);
	waiter_pin(store, &waiter, set, 3, PIN);
	cr_assert_eq(waiter_await(&waiter), -ENOSPC);
	cr_assert_eq(waiter.full.asked, 3 * MIB);
	cr_assert_eq(waiter.full.pinned, 2 * MIB);
	settle();
	cr_assert_eq(store_recount(store).pinned, 2 * MIB, "it left no pins");
	unpin_and_drop(pinned);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(store_check(store, local, set[i], MIB, (uint64_t)i), 0);
		drop(set[i]);
	}
}

/* A create and a set, each older than the other once, where only one fits at a time. */
Test(store_tickets, an_older_create_is_not_starved_by_a_set, .init = open_4m, .fini = close_empty)
{
	for (int round = 0; round < 2; round++) {
		struct wf_object *set[3], *pinned;
		struct waiter create, pin;

		for (int i = 0; i < 3; i++)
			set[i] = put(MIB, (uint64_t)i);
		settle();
		pinned = put_pinned(MIB + 512 * KIB);
		wf_store_release(&outside, 1);
		if (round == 0)
			waiter_create(store, &create, 3 * MIB);
		waiter_pin(store, &pin, set, 3, PIN);
		if (round == 1)
			waiter_create(store, &create, 3 * MIB);
		wf_store_release(&outside, 0);
		/* Neither fits beside what is pinned: the older one is told first. */
		cr_assert_eq(waiter_await(&create), -ENOSPC);
		cr_assert_eq(waiter_await(&pin), -ENOSPC);
		cr_assert_eq(create.order < pin.order, round == 0);
		unpin_and_drop(pinned);
		for (int i = 0; i < 3; i++)
			drop(set[i]);
		settle();
	}
}

Test(store_tickets, a_partial_set_gives_way_to_an_older_create, .init = open_4m,
     .fini = close_empty)
{
	struct wf_object *set[3], *pinned;
	struct waiter create, pin;

	for (int i = 0; i < 3; i++)
		set[i] = put(MIB, (uint64_t)i);
	settle();
	pinned = put_pinned(MIB + 256 * KIB);
	wf_store_release(&outside, 1);
	/* Fits only without the set's parts; the set gets what it can beside the create. */
	waiter_create(store, &create, 2 * MIB + 512 * KIB);
	waiter_pin(store, &pin, set, 3, PIN);
	cr_assert_eq(waiter_await(&create), 0);
	unpin_and_drop(pinned);
	drop(create.ticket.object);
	cr_assert_eq(waiter_await(&pin), 0);
	for (int i = 0; i < 3; i++)
		unpin_and_drop(set[i]);
}

Test(store_tickets, a_lost_one_fails_its_sets_and_no_other, .init = open_4m, .fini = close_empty)
{
	struct wf_object *set[3];
	struct waiter all, some;

	for (int i = 0; i < 3; i++)
		set[i] = put(512 * KIB, (uint64_t)i);
	settle();
	fake_fail_reads(3, 1, -EBADMSG);
	fake_hold(true);
	waiter_pin(store, &all, set, 3, PIN);
	waiter_pin(store, &some, set, 2, PIN);
	fake_await_held(3);
	fake_hold(false);
	cr_assert_eq(waiter_await(&all), -EIO);
	cr_assert_eq(all.ticket.failed, 2);
	cr_assert_eq(waiter_await(&some), 0);
	unpin(set[0]);
	unpin(set[1]);
	waiter_pin(store, &all, set, 3, PIN);
	cr_assert(waiter_is_done(&all), "known to be lost");
	cr_assert_eq(waiter_await(&all), -EIO);
	cr_assert_eq(all.ticket.failed, 2);
	for (int i = 0; i < 3; i++)
		drop(set[i]);
}

Test(store_tickets, what_is_deleted_meanwhile_fails_its_sets, .init = open_4m, .fini = close_empty)
{
	struct wf_object *set[3], *pinned;
	struct waiter waiter;

	for (int i = 0; i < 3; i++)
		set[i] = put(MIB, (uint64_t)i);
	settle();
	/* While it waits in line, holding nothing or a part. */
	pinned = put_pinned(3 * MIB);
	wf_store_release(&outside, 1);
	waiter_pin(store, &waiter, set, 3, PIN);
	drop(set[1]);
	cr_assert_eq(waiter_await(&waiter), -EINVAL);
	cr_assert_eq(waiter.ticket.failed, 1);
	unpin_and_drop(pinned);
	/* An entry that is used again is not mistaken for what it was. */
	waiter_pin(store, &waiter, set, 2, PIN);
	cr_assert_eq(waiter_await(&waiter), -EINVAL);
	drop(set[0]);
	drop(set[2]);
}

/* In line behind a set that holds a part, one's object is deleted and its entry used again. */
Test(store_tickets, an_entry_used_again_is_told, .init = open_4m, .fini = close_empty)
{
	struct wf_object *objects[4], *pair[2], *again, *pinned;
	struct waiter first, second;

	for (int i = 0; i < 4; i++)
		objects[i] = put(768 * KIB, (uint64_t)i);
	settle();
	pinned = put_pinned(2 * MIB);
	wf_store_release(&outside, 1);
	waiter_pin(store, &first, objects, 3, PIN);
	pair[0] = objects[2];
	pair[1] = objects[3];
	waiter_pin(store, &second, pair, 2, PIN);
	settle();
	drop(objects[3]);
	/* The last entry given back is the first to be taken. */
	unpin_and_drop(pinned);
	cr_assert_eq(waiter_await(&first), 0);
	again = put(64, 9);
	cr_assert_eq(waiter_await(&second), -EINVAL);
	cr_assert_eq(second.ticket.failed, 1);
	for (int i = 0; i < 3; i++)
		unpin_and_drop(objects[i]);
	drop(again);
}

/* ---- Leaving --------------------------------------------------------------------------------- */

Test(store_tickets, a_create_can_leave, .init = open_4m_without_files, .fini = close_empty)
{
	struct wf_object *full = put_pinned(4 * MIB), *object;
	struct waiter waiters[3];

	wf_store_release(&outside, 1);
	for (int i = 0; i < 3; i++)
		waiter_create(store, &waiters[i], MIB);
	cr_assert(wf_store_cancel(store, &waiters[1].ticket));
	cr_assert(wf_store_cancel(store, &waiters[0].ticket));
	unpin_and_drop(full);
	cr_assert_eq(waiter_await(&waiters[2]), 0);
	cr_assert_not(wf_store_cancel(store, &waiters[2].ticket));
	cr_assert_not(waiter_is_done(&waiters[0]));
	cr_assert_not(waiter_is_done(&waiters[1]));
	drop(waiters[2].ticket.object);
	/* The line is empty: the door is open again. */
	while (wf_store_create(store, local, 64, &object) != 0)
		sched_yield();
	drop(object);
}

Test(store_tickets, a_set_can_leave_at_any_time, .init = open_4m, .fini = close_empty)
{
	struct wf_object *set[3], *pinned;
	struct waiter waiter, behind;

	for (int i = 0; i < 3; i++)
		set[i] = put(MIB, (uint64_t)i);
	settle();
	/* While its reads are in flight. */
	fake_hold(true);
	waiter_pin(store, &waiter, set, 3, PIN);
	fake_await_held(3);
	cr_assert(wf_store_cancel(store, &waiter.ticket));
	fake_hold(false);
	settle();
	cr_assert_eq(store_recount(store).used, 0, "they came in, and could go");
	/* While it holds a part, and lacks room. */
	pinned = put_pinned(2 * MIB);
	wf_store_release(&outside, 1);
	waiter_pin(store, &waiter, set, 3, PIN);
	waiter_pin(store, &behind, set, 3, VIEW);
	settle();
	cr_assert(wf_store_cancel(store, &waiter.ticket));
	/* While it waits for its turn. */
	waiter_pin(store, &waiter, set, 2, PIN);
	cr_assert(wf_store_cancel(store, &waiter.ticket) || waiter_is_done(&waiter));
	if (waiter_is_done(&waiter)) {
		unpin(set[0]);
		unpin(set[1]);
	}
	unpin_and_drop(pinned);
	cr_assert_eq(waiter_await(&behind), 0);
	cr_assert_not(wf_store_cancel(store, &behind.ticket));
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(wf_object_unpin(store, local, set[i], VIEW), 0);
		drop(set[i]);
	}
}

Test(store_tickets, one_that_leaves_frees_what_died, .init = open_4m, .fini = close_empty)
{
	struct wf_object *set[2];
	struct waiter waiter;

	set[0] = put(MIB, 0);
	set[1] = put(MIB, 1);
	settle();
	fake_hold(true);
	waiter_pin(store, &waiter, set, 2, PIN);
	fake_await_held(2);
	fake_let_one_go();
	while (store_state(set[0]) == WF_OBJECT_RESTORING)
		sched_yield();
	if (wf_store_cancel(store, &waiter.ticket)) {
		drop(set[0]);
		drop(set[1]);
	}
	fake_hold(false);
	settle();
	cr_assert_not(waiter_is_done(&waiter));
}

/* `done` may use the store, and wait again with the same ticket. */
static struct wf_a32 rounds;

static void again(struct wf_store_ticket *ticket)
{
	cr_assert_eq(ticket->status, 0);
	wf_object_delete(store, NULL, ticket->object);
	if (wf_add_acq_rel(&rounds, 1) + 1 < 20)
		wf_store_wait(store, ticket);
	else
		wf_futex_wake(&rounds, 1);
}

Test(store_tickets, done_may_wait_again, .init = open_4m, .fini = close_empty)
{
	struct wf_store_ticket ticket = { .done = again, .size = 3 * MIB };
	uint32_t seen;

	wf_store_release(&rounds, 0);
	wf_store_wait(store, &ticket);
	while ((seen = wf_load_acquire(&rounds)) < 20)
		wf_futex_wait(&rounds, seen, WF_FOREVER);
	settle();
}
