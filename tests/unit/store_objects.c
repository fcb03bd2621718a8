/*
 * Goal: an object's life is what wf_store.h says, state by state: misuse is told by the word, what
 * is deleted goes at the last unpin and not before, what is spilled comes back as it was, and what
 * happens during a transfer ends as designed. After every test the accounting equals a recount.
 * Method: direct calls on pretended memory and files whose transfers the test holds and breaks.
 */
#include "fake_store.h"

static uint32_t dropped;

static void count_drop(void *arg, void *meta)
{
	cr_assert_null(arg);
	cr_assert_not_null(meta);
	dropped++;
}

static void open_with(uint64_t capacity, bool spills)
{
	dropped = 0;
	open_fake((struct wf_store_options){ .capacity_bytes = capacity, .meta_drop = count_drop },
	          spills);
}

static void open_4m(void)
{
	open_with(4 * MIB, true);
}

/* ---- Without files --------------------------------------------------------------------------- */

Test(store_objects, the_life_of_one, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = NULL;
	uint64_t id;

	cr_assert_eq(wf_store_create(store, local, 1000, &object), 0);
	cr_assert_eq(store_state(object), WF_OBJECT_CREATING);
	cr_assert_eq(object->size, 1000);
	cr_assert_eq(store_recount(store).creating, 1024);
	store_fill(wf_object_writable(store, object), 1000, 7);
	cr_assert_eq(wf_object_seal(store, object, 0, 0), 0);
	cr_assert_eq(store_recount(store).evictable, 1024);
	check(object, 1000, 7);
	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	cr_assert_eq(store_recount(store).pinned, 1024);
	wf_object_pin_again(object, PIN);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_null(wf_object_loss(object));
	id = wf_object_id(store, object);
	cr_assert_neq(id, 0);
	object->meta = &id;
	drop(object);
	cr_assert_eq(dropped, 1);
	cr_assert_neq(wf_object_id(store, object), id, "a stale holder can tell");
}

Test(store_objects, misuse_is_told, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object;

	cr_assert_eq(wf_store_create(store, local, 10, &object), 0);
	cr_assert_eq(wf_object_pin(store, object, PIN), -EINVAL, "not sealed");
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), -EINVAL);
	cr_assert_eq(wf_object_seal(store, object, UINT32_MAX, 0), -EINVAL);
	cr_assert_eq(wf_object_seal(store, object, 0, UINT32_MAX), -EINVAL);
	cr_assert_eq(wf_object_seal(store, object, 1, 2), 0);
	cr_assert_eq(wf_object_seal(store, object, 0, 0), -EINVAL, "twice");
	cr_assert_eq(wf_object_unpin(store, local, object, 3), -EINVAL);
	cr_assert_eq(wf_object_pin_slow(store, object, 3), -EINVAL);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), -EINVAL, "views are not pins");
	cr_assert_eq(wf_object_unpin(store, local, object, VIEW), 0);
	cr_assert_eq(wf_object_unpin(store, local, object, VIEW), 0);
	cr_assert_eq(wf_object_unpin(store, local, object, VIEW), -EINVAL);
	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	drop(object);
	cr_assert_eq(wf_object_pin(store, object, PIN), -EINVAL, "dead");
	cr_assert_eq(wf_object_seal(store, object, 0, 0), -EINVAL);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_eq(store_state(object), WF_OBJECT_FREE);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), -EINVAL, "gone");
	cr_assert_eq(wf_object_pin(store, object, PIN), -EINVAL, "gone");
}

Test(store_objects, deleting_twice_stops_the_process, .init = open_4m, .signal = SIGABRT)
{
	struct wf_object *object = put(100, 1);

	drop(object);
	drop(object);
}

Test(store_objects, bytes_stay_until_the_last_unpin, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(5000, 3);

	object->meta = &dropped;
	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	cr_assert_eq(wf_object_pin(store, object, VIEW), 0);
	drop(object);
	cr_assert_eq(wf_object_unpin(store, local, object, VIEW), -EINVAL, "views are void");
	cr_assert(store_has(wf_object_readable(store, object), 5000, 3));
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert(store_has(wf_object_readable(store, object), 5000, 3));
	cr_assert_eq(dropped, 0);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_eq(dropped, 1);
	cr_assert_eq(fake_memory_blocks(), 0);
}

Test(store_objects, views_do_not_keep_what_is_deleted, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(100, 1);

	cr_assert_eq(wf_object_pin(store, object, VIEW), 0);
	drop(object);
	cr_assert_eq(store_state(object), WF_OBJECT_FREE);
}

Test(store_objects, an_unsealed_one_can_be_discarded, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object;

	cr_assert_eq(wf_store_create(store, local, 100, &object), 0);
	object->meta = &dropped;
	drop(object);
	cr_assert_eq(dropped, 1);
}

Test(store_objects, the_counts_have_an_end, .init = open_4m, .fini = close_empty)
{
	const uint32_t views = 1u << 23, pins = 1u << 31;
	struct wf_object *object;

	cr_assert_eq(wf_store_create(store, local, 100, &object), 0);
	cr_assert_eq(wf_object_seal(store, object, 0, views), 0);
	cr_assert_eq(wf_object_pin(store, object, VIEW), -EOVERFLOW);
	cr_assert_eq(wf_object_pin(store, object, PIN), 0, "the other count has room");
	cr_assert_eq(wf_object_unpin(store, local, object, VIEW), 0);
	cr_assert_eq(wf_object_pin(store, object, VIEW), 0);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	drop(object);
	cr_assert_eq(wf_store_create(store, local, 100, &object), 0);
	cr_assert_eq(wf_object_seal(store, object, pins, 0), 0);
	cr_assert_eq(wf_object_pin(store, object, PIN), -EOVERFLOW);
	wf_a64_init(&object->word, WF_OBJECT_SEALED);
	drop(object);
}

Test(store_objects, sizes_from_none_to_all, .fini = close_empty)
{
	static const uint64_t sizes[] = { 0, 1, 63, 64, 65, 4095, 100000, MIB };
	struct wf_object *objects[8], *extra;

	open_with(4 * MIB, false);
	for (int i = 0; i < 8; i++)
		objects[i] = put(sizes[i], (uint64_t)i);
	for (int i = 0; i < 8; i++) {
		check(objects[i], sizes[i], (uint64_t)i);
		drop(objects[i]);
	}
	extra = put(4 * MIB, 9);
	check(extra, 4 * MIB, 9);
	cr_assert_eq(wf_store_create(store, local, 1, &objects[0]), -EAGAIN);
	cr_assert_eq(wf_store_create(store, local, 4 * MIB + 1, &objects[0]), -EMSGSIZE);
	cr_assert_eq(wf_store_create(store, local, UINT64_MAX, &objects[0]), -EMSGSIZE);
	drop(extra);
}

/* What a thread keeps was a thousandth of the capacity, which need not be whole lines. */
Test(store_objects, a_capacity_of_any_size_is_counted_in_lines, .fini = close_empty)
{
	struct wf_store_stats stats;

	open_with(223999936, false);
	drop(put(1000, 1));
	drop(put(100000, 2));
	stats = store_recount(store);
	cr_assert_eq(stats.capacity % 64, 0);
	cr_assert_eq(stats.used, 0);
}

Test(store_objects, entries_have_an_end, .fini = close_empty)
{
	struct wf_store_options options = { .capacity_bytes = MIB, .objects_max = 100 };
	struct wf_object *objects[100], *extra;

	fake_reset();
	cr_assert_eq(wf_store_open(&store, &options), 0);
	local = wf_store_local_create(store, 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 100; i++)
			objects[i] = put(64, (uint64_t)i);
		cr_assert_eq(wf_store_create(store, local, 64, &extra), -ENOMEM);
		store_recount(store);
		for (int i = 0; i < 100; i++) {
			check(objects[i], 64, (uint64_t)i);
			drop(objects[i]);
		}
	}
}

Test(store_objects, a_thread_without_a_local_can_do_all, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object;

	cr_assert_eq(wf_store_create(store, NULL, 100, &object), 0);
	cr_assert_eq(wf_object_seal(store, object, 1, 0), 0);
	wf_object_delete(store, NULL, object);
	cr_assert_eq(wf_object_unpin(store, NULL, object, PIN), 0);
}

Test(store_objects, options_are_checked)
{
	struct wf_store_options options = { .capacity_bytes = 4 * MIB };
	struct wf_store *const poison = (void *)8;

	fake_reset();
	store = poison;
	options.spill_high = 1001;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.spill_high = 500;
	options.spill_low = 501;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.spill_low = 500;
	options.capacity_bytes = MIB - 1;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.capacity_bytes = UINT64_MAX;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.capacity_bytes = MIB;
	options.spill_dir_count = 1;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.spill_dir_count = 17;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.spill_dir_count = 0;
	options.node_count = 1000;
	cr_assert_eq(wf_store_open(&store, &options), -EINVAL);
	options.node_count = 0;
	cr_assert_eq(store, poison);
	options.capacity_bytes = 0;
	cr_assert_eq(wf_store_open(&store, &options), 0);
	wf_store_close(store);
	wf_store_close(NULL);
	wf_store_local_destroy(NULL);
}

Test(store_objects, closing_drops_what_is_left, .init = open_4m)
{
	struct wf_object *objects[4];

	for (int i = 0; i < 4; i++) {
		objects[i] = put(100 * KIB, (uint64_t)i);
		objects[i]->meta = &dropped;
	}
	spill_all();
	cr_assert_eq(store_pin(store, objects[1]), 0);
	fake_fail_reads(1, 1, -EBADMSG);
	cr_assert_eq(store_pin(store, objects[2]), -EIO);
	cr_assert_eq(wf_store_create(store, local, 100, &objects[0]), 0);
	objects[0]->meta = &dropped;
	wf_store_local_destroy(local);
	wf_store_close(store);
	cr_assert_eq(dropped, 5);
	cr_assert_eq(fake_records(), 0);
	cr_assert_eq(fake_memory_blocks(), 0);
}

Test(store_objects, credits_are_no_objects, .fini = close_empty)
{
	struct wf_object *objects[300];
	struct wf_store_stats stats;

	open_with(64 * MIB, false);
	for (int i = 0; i < 300; i++)
		objects[i] = put(1024, (uint64_t)i);
	stats = store_recount(store);
	cr_assert_eq(stats.used, 300 * KIB);
	cr_assert_eq(stats.objects, 300);
	wf_store_stats(store, false, &stats);
	cr_assert_gt(stats.used, 300 * KIB, "the local has some in hand");
	for (int i = 0; i < 300; i++)
		drop(objects[i]);
}

Test(store_objects, what_a_thread_has_in_hand_ends_with_it, .fini = close_empty)
{
	struct wf_store_stats before, after;
	struct wf_store_local *other;
	struct wf_object *object;

	open_with(64 * MIB, false);
	wf_store_stats(store, false, &before);
	other = wf_store_local_create(store, 0);
	cr_assert_not_null(other);
	for (int i = 0; i < 100; i++) {
		object = store_put(store, other, KIB, 1);
		cr_assert_not_null(object);
		wf_object_delete(store, other, object);
		/* In credit: reserved, and nobody's. */
		cr_assert_eq(store_recount(store).used, 0);
	}
	wf_store_stats(store, false, &after);
	cr_assert_gt(after.used, before.used);
	wf_store_local_destroy(other);
	wf_store_stats(store, false, &after);
	cr_assert_eq(after.used, before.used);
}

/* ---- With files ------------------------------------------------------------------------------ */

Test(store_objects, what_is_spilled_comes_back, .init = open_4m, .fini = close_empty)
{
	static const uint64_t sizes[] = { 0, 1, 64, 5000, 300000, MIB };
	struct wf_object *objects[6];
	struct wf_store_stats stats;

	for (int i = 0; i < 6; i++)
		objects[i] = put(sizes[i], (uint64_t)i);
	spill_all();
	stats = store_recount(store);
	cr_assert_eq(stats.used, 0);
	cr_assert_eq(stats.spills, 6);
	cr_assert_eq(stats.spilled_bytes, 1 + 64 + 5000 + 300000 + MIB);
	cr_assert_str_eq(stats.io_backend, "fake");
	for (int i = 0; i < 6; i++) {
		cr_assert_eq(store_state(objects[i]), WF_OBJECT_SPILLED);
		cr_assert_eq(wf_object_pin(store, objects[i], PIN), -EAGAIN);
	}
	for (int i = 0; i < 6; i++)
		check(objects[i], sizes[i], (uint64_t)i);
	stats = store_recount(store);
	cr_assert_eq(stats.restores, 6);
	cr_assert_eq(stats.restored_bytes, stats.spilled_bytes);
	for (int i = 0; i < 6; i++)
		drop(objects[i]);
}

Test(store_objects, a_copy_goes_again_without_a_write, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 5);

	spill_all();
	check(object, MIB, 5);
	cr_assert(wf_object_word(object) & WF_OBJECT_COPY);
	spill_all();
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLED);
	cr_assert_eq(fake_writes(), 1);
	cr_assert_eq(store_recount(store).evicted_copies, 1);
	check(object, MIB, 5);
	cr_assert_eq(fake_reads(), 2);
	drop(object);
}

/* Memory that was committed late becomes large pages after the I/O has been opened. */
Test(store_objects, every_restore_tells_what_the_pages_are_now, .init = open_4m,
     .fini = close_empty)
{
	struct wf_object *object = put(MIB, 5);

	for (int round = 0; round < 4; round++) {
		fake_small_memory(round % 2 == 0);
		spill_all();
		check(object, MIB, 5);
		cr_assert_eq(fake_small_pages(), round % 2 == 0);
	}
	drop(object);
}

Test(store_objects, no_directory_no_spill, .fini = close_empty)
{
	struct wf_object *object;

	open_with(4 * MIB, false);
	object = put(MIB, 5);
	cr_assert_eq(wf_store_spill_all(store), -ENOTSUP);
	drop(object);
}

Test(store_objects, pinned_ones_stay, .init = open_4m, .fini = close_empty)
{
	struct wf_object *a = put(MIB, 1), *b = put(MIB, 2), *c = put(MIB, 3);

	cr_assert_eq(wf_object_pin(store, a, PIN), 0);
	cr_assert_eq(wf_object_pin(store, b, VIEW), 0);
	spill_all();
	cr_assert_eq(store_state(a), WF_OBJECT_SEALED);
	cr_assert_eq(store_state(b), WF_OBJECT_SEALED);
	cr_assert_eq(store_state(c), WF_OBJECT_SPILLED);
	cr_assert_eq(wf_object_unpin(store, local, a, PIN), 0);
	cr_assert_eq(wf_object_unpin(store, local, b, VIEW), 0);
	drop(a);
	drop(b);
	drop(c);
}

/* From `high` (3.2 MiB) down to `low` (2.8 MiB), those unpinned longest ago. */
Test(store_objects, the_least_recently_released_go_first, .init = open_4m, .fini = close_empty)
{
	struct wf_object *objects[14];

	fake_hold(true);
	for (int i = 0; i < 12; i++)
		objects[i] = put(256 * KIB, (uint64_t)i);
	check(objects[0], 256 * KIB, 0);
	check(objects[1], 256 * KIB, 1);
	cr_assert_eq(fake_writes(), 0);
	objects[12] = put(256 * KIB, 12);
	fake_await_held(1);
	fake_hold(false);
	spill_all();
	/* The first two to be written are the oldest untouched ones. */
	for (int i = 2; i < 4; i++)
		cr_assert_lt(fake_written_as(wf_object_id(store, objects[i])), 2, "object %d", i);
	for (int i = 0; i < 13; i++) {
		check(objects[i], 256 * KIB, (uint64_t)i);
		drop(objects[i]);
	}
}

Test(store_objects, of_equally_old_ones_the_largest_goes, .init = open_4m, .fini = close_empty)
{
	struct wf_object *small[16], *big;

	for (int i = 0; i < 16; i++)
		small[i] = put(64, (uint64_t)i);
	big = put(3 * MIB, 77);
	/* Equally old: the volume moved on for all of them together. */
	for (int i = 0; i < 16; i++)
		check(small[i], 64, (uint64_t)i);
	check(big, 3 * MIB, 77);
	fake_hold(true);
	small[0]->meta = NULL;
	struct wf_object *last = put(300 * KIB, 5);
	fake_await_held(1);
	fake_hold(false);
	spill_all();
	cr_assert_eq(fake_written_as(wf_object_id(store, big)), 0);
	for (int i = 0; i < 16; i++)
		drop(small[i]);
	drop(big);
	drop(last);
}

/* Spill in flight: the test holds the write. */
static struct wf_object *spilling(uint64_t key)
{
	struct wf_object *object = put(3 * MIB + 512 * KIB, key);

	fake_hold(true);
	/* Passes `high`. */
	drop(put(64, 0));
	fake_await_held(1);
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLING);
	cr_assert_eq(store_recount(store).transit, 3 * MIB + 512 * KIB);
	return object;
}

/* Let what is held end, and wait until the keeper has seen it. */
static void settle(void)
{
	fake_hold(false);
	spill_all();
}

Test(store_objects, pinned_while_it_is_written_it_stays, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = spilling(4);

	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	cr_assert(store_has(wf_object_readable(store, object), object->size, 4));
	settle();
	cr_assert_eq(store_state(object), WF_OBJECT_SEALED);
	cr_assert(wf_object_word(object) & WF_OBJECT_COPY);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	drop(object);
}

Test(store_objects, deleted_while_it_is_written_it_goes_at_the_end, .init = open_4m,
     .fini = close_empty)
{
	struct wf_object *object = spilling(4);

	object->meta = &dropped;
	cr_assert_eq(wf_object_pin(store, object, VIEW), 0);
	drop(object);
	cr_assert_eq(dropped, 0);
	cr_assert_eq(fake_memory_blocks(), 1, "the write reads it");
	settle();
	cr_assert_eq(dropped, 1);
	cr_assert_eq(store_state(object), WF_OBJECT_FREE);
}

Test(store_objects, pinned_and_deleted_while_it_is_written, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = spilling(4);

	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	drop(object);
	settle();
	cr_assert_eq(store_state(object), WF_OBJECT_SEALED);
	cr_assert(store_has(wf_object_readable(store, object), object->size, 4));
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_eq(store_state(object), WF_OBJECT_FREE);
}

Test(store_objects, unpinned_and_deleted_while_it_is_written, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = spilling(4);

	cr_assert_eq(wf_object_pin(store, object, PIN), 0);
	drop(object);
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLING);
	settle();
	cr_assert_eq(store_state(object), WF_OBJECT_FREE);
}

Test(store_objects, what_could_not_be_written_is_as_before, .init = open_4m, .fini = close_empty)
{
	struct wf_object *objects[4];

	for (int i = 0; i < 3; i++)
		objects[i] = put(512 * KIB, (uint64_t)i);
	cr_assert_eq(wf_object_pin(store, objects[2], PIN), 0);
	fake_fail_writes(1, UINT64_MAX / 2, -EIO);
	cr_assert_eq(wf_store_spill_all(store), -EIO);
	cr_assert_leq(fake_batches(), 4, "it backs off");
	for (int i = 0; i < 3; i++)
		check(objects[i], 512 * KIB, (uint64_t)i);
	cr_assert_eq(store_recount(store).spills, 0);
	fake_fail_writes(0, 0, 0);
	cr_assert_eq(wf_object_unpin(store, local, objects[2], PIN), 0);
	/* The pause after the failure is a few milliseconds; each call asks once. */
	while (wf_store_spill_all(store) != 0 || store_state(objects[2]) != WF_OBJECT_SPILLED) {
	}
	for (int i = 0; i < 3; i++) {
		check(objects[i], 512 * KIB, (uint64_t)i);
		drop(objects[i]);
	}
}

Test(store_objects, deleted_while_writing_fails, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = spilling(4);

	fake_fail_writes(1, 1, -EIO);
	drop(object);
	fake_hold(false);
	while (store_state(object) != WF_OBJECT_FREE)
		wf_cpu_relax();
	(void)wf_store_spill_all(store);
}

/* The disk is full: records of what is pinned in memory are given up for others. */
Test(store_objects, a_full_disk_gives_up_copies, .init = open_4m, .fini = close_empty)
{
	struct wf_object *a = put(MIB, 1), *b;

	fake_disk_bytes(MIB + 64);
	spill_all();
	cr_assert_eq(store_pin(store, a), 0);
	b = put(MIB, 2);
	while (wf_store_spill_all(store) != 0 || store_state(b) != WF_OBJECT_SPILLED) {
	}
	cr_assert_eq(wf_object_word(a) & WF_OBJECT_COPY, 0);
	cr_assert_eq(fake_records(), 1);
	cr_assert(store_has(wf_object_readable(store, a), MIB, 1));
	cr_assert_eq(wf_object_unpin(store, local, a, PIN), 0);
	check(b, MIB, 2);
	drop(a);
	drop(b);
}

Test(store_objects, files_that_do_not_open_spill_nothing, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1);

	fake_refuse_open(true);
	cr_assert_eq(wf_store_spill_all(store), -EACCES, "the reason is told as it is");
	check(object, MIB, 1);
	fake_refuse_open(false);
	while (wf_store_spill_all(store) != 0 || store_state(object) != WF_OBJECT_SPILLED) {
	}
	check(object, MIB, 1);
	drop(object);
}

Test(store_objects, a_lost_one_says_why, .init = open_4m, .fini = close_empty)
{
	struct wf_object *a = put(MIB, 1), *b = put(MIB, 2);
	const struct wf_store_loss *loss;

	spill_all();
	fake_fail_reads(1, 1, -EBADMSG);
	cr_assert_eq(store_pin(store, a), -EIO);
	cr_assert_eq(store_state(a), WF_OBJECT_LOST);
	cr_assert_eq(wf_object_pin(store, a, PIN), -EIO);
	loss = wf_object_loss(a);
	cr_assert_not_null(loss);
	cr_assert_eq(loss->code, -EBADMSG);
	cr_assert_str_eq(loss->text, "fake file, offset 0: as told");
	check(b, MIB, 2);
	cr_assert_eq(store_recount(store).losses, 1);
	cr_assert_eq(fake_records(), 1, "its record is given up");
	drop(a);
	drop(b);
}

Test(store_objects, deleted_while_it_is_lost, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1);
	struct waiter waiter;

	spill_all();
	fake_hold(true);
	fake_fail_reads(1, 1, -EIO);
	waiter_pin(store, &waiter, &object, 1, 0);
	fake_await_held(1);
	drop(object);
	fake_hold(false);
	cr_assert_eq(waiter_await(&waiter), -EINVAL);
	settle();
	cr_assert_eq(store_state(object), WF_OBJECT_FREE);
}

Test(store_objects, a_want_of_memory_loses_nothing, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1);

	spill_all();
	fake_fail_reads(1, UINT64_MAX / 2, -ENOMEM);
	cr_assert_eq(store_pin(store, object), -ENOMEM);
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLED);
	fake_fail_reads(0, 0, 0);
	while (store_pin(store, object) != 0) {
	}
	cr_assert(store_has(wf_object_readable(store, object), MIB, 1));
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	drop(object);
}

Test(store_objects, deleted_while_it_comes_back, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1);
	struct waiter waiter;

	spill_all();
	object->meta = &dropped;
	fake_hold(true);
	waiter_pin(store, &waiter, &object, 1, PIN);
	fake_await_held(1);
	cr_assert_eq(store_state(object), WF_OBJECT_RESTORING);
	cr_assert_eq(store_recount(store).transit, MIB);
	drop(object);
	cr_assert_eq(dropped, 0);
	fake_hold(false);
	cr_assert_eq(waiter_await(&waiter), -EINVAL);
	cr_assert_eq(waiter.ticket.failed, 0);
	settle();
	cr_assert_eq(dropped, 1);
}

Test(store_objects, deleted_while_it_is_in_a_file, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1);

	spill_all();
	cr_assert_eq(fake_records(), 1);
	drop(object);
	cr_assert_eq(fake_records(), 0);
}

Test(store_objects, a_wish_brings_it_in, .init = open_4m, .fini = close_empty)
{
	struct wf_object *object = put(MIB, 1), *big;

	wf_store_prefetch(store, object);
	spill_all();
	wf_store_prefetch(store, object);
	while (store_state(object) != WF_OBJECT_SEALED)
		sched_yield();
	cr_assert_eq(wf_object_pin(store, object, PIN), 0, "without waiting");
	cr_assert_eq(wf_object_unpin(store, local, object, PIN), 0);
	spill_all();
	/* Not where it would push others out. */
	big = store_put_pinned(store, local, 2 * MIB, 2, 1);
	wf_store_prefetch(store, object);
	spill_all();
	cr_assert_eq(store_state(object), WF_OBJECT_SPILLED);
	cr_assert_eq(wf_object_unpin(store, local, big, PIN), 0);
	drop(big);
	drop(object);
}

/* Closing waits for a write that is in flight. */
Test(store_objects, closing_waits_for_a_transfer, .init = open_4m)
{
	struct wf_object *object = spilling(3);

	object->meta = &dropped;
	wf_store_local_destroy(local);
	fake_hold(false);
	wf_store_close(store);
	cr_assert_eq(dropped, 1);
	cr_assert_eq(fake_records(), 0);
	cr_assert_eq(fake_memory_blocks(), 0);
}
