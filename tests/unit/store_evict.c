/*
 * Goal: among thousands of objects, those that go are the ones unpinned longest ago, wherever their
 * entries stand, and of those that have a copy in a file as well. When the disk is full all that
 * was made can be read, and what is deleted in the files is room again at once.
 * Method: old and young ones in stretches that begin and end within and between the blocks of
 * entries by which the walks go; a disk of half the memory. On pretended memory and files.
 */
#include "fake_store.h"

#define OBJECTS 5000u
#define BYTES   ((uint64_t)512)

static struct wf_object *objects[OBJECTS];
static uint32_t made;

static void open_with(uint32_t count, uint64_t disk_bytes)
{
	/* Nothing goes but for who waits. */
	open_fake((struct wf_store_options){ .capacity_bytes = 4 * MIB,
	                                     .spill_high = 1000,
	                                     .spill_low = 1000 },
	          true);
	fake_disk_bytes(disk_bytes);
	for (made = 0; made < count; made++) {
		objects[made] = store_put(store, local, BYTES, made);
		cr_assert_not_null(objects[made]);
	}
}

static void open_4m(void)
{
	open_with(OBJECTS, UINT64_MAX);
}

static void close_all(void)
{
	for (uint32_t i = 0; i < made; i++)
		wf_object_delete(store, local, objects[i]);
	wf_store_local_destroy(local);
	wf_store_close(store);
	cr_assert_eq(fake_records(), 0);
	cr_assert_eq(fake_memory_blocks(), 0);
}

/* 1536 of them: a whole block, and parts of three others. */
static bool is_old(uint32_t i)
{
	return (i >= 1000 && i < 2100) || (i >= 3000 && i < 3436);
}

/* The clock goes by what is created. */
static void let_time_pass(void)
{
	for (int i = 0; i < 4; i++) {
		struct wf_object *object = store_put(store, local, 100 * KIB, 0);

		cr_assert_not_null(object);
		wf_object_delete(store, local, object);
	}
}

static void touch_the_young(void)
{
	let_time_pass();
	for (uint32_t i = 0; i < OBJECTS; i++) {
		if (!is_old(i))
			cr_assert_eq(store_check(store, local, objects[i], BYTES, i), 0);
	}
	let_time_pass();
}

static void make_room(uint64_t size)
{
	struct waiter waiter;

	waiter_create(store, &waiter, size);
	cr_assert_eq(waiter_await(&waiter), 0, "%s", waiter.full.text);
	cr_assert_eq(wf_object_discard(store, local, waiter.ticket.object), 0);
}

static uint32_t spilled_old(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < OBJECTS; i++) {
		if (store_state(objects[i]) != WF_OBJECT_SPILLED)
			continue;
		cr_assert(is_old(i), "%u is young", i);
		count++;
	}
	return count;
}

Test(store_evict, the_old_ones_go_wherever_they_stand, .init = open_4m, .fini = close_all)
{
	touch_the_young();
	/* 2.44 MiB are there; a sixteenth is kept as soon as something is in a file. */
	make_room(2 * MIB);
	cr_assert_geq(spilled_old(), 900);
	cr_assert_leq(spilled_old(), 1536);
}

Test(store_evict, copies_go_wherever_they_stand, .init = open_4m, .fini = close_all)
{
	uint64_t writes;

	cr_assert_eq(wf_store_spill_all(store), 0);
	for (uint32_t i = 0; i < OBJECTS; i++)
		cr_assert_eq(store_check(store, local, objects[i], BYTES, i), 0);
	touch_the_young();
	writes = fake_writes();
	make_room(2 * MIB);
	cr_assert_geq(spilled_old(), 900);
	cr_assert_eq(fake_writes(), writes);
	cr_assert_gt(store_recount(store).evicted_copies, 0);
}

/* ---- What one walk has added up serves again ------------------------------------------------ */

static bool is_resident(uint32_t i)
{
	return store_state(objects[i]) == WF_OBJECT_SEALED;
}

/* A part of the old ones has gone, and the sums of that walk are there. */
static void let_some_go(void)
{
	uint32_t gone;

	touch_the_young();
	make_room(1700 * KIB);
	gone = spilled_old();
	cr_assert(gone > 0 && gone < 1200);
}

Test(store_evict, what_was_used_since_the_walk_stays, .init = open_4m, .fini = close_all)
{
	static bool used[OBJECTS];
	uint32_t gone = 0;

	let_some_go();
	for (uint32_t i = 0; i < OBJECTS; i++) {
		used[i] = is_old(i) && is_resident(i);
		if (used[i])
			cr_assert_eq(store_check(store, local, objects[i], BYTES, i), 0);
	}
	make_room(2 * MIB);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		cr_assert(!used[i] || is_resident(i), "%u was used", i);
		gone += !is_old(i) && !is_resident(i);
	}
	cr_assert_gt(gone, 0);
}

/* At the walk all are as old; since then time has passed, and half of them were used. */
Test(store_evict, the_youngest_of_the_walk_are_told_apart_anew, .init = open_4m, .fini = close_all)
{
	static bool used[OBJECTS];
	uint32_t gone = 0;

	for (uint32_t i = 0; i < OBJECTS; i++)
		cr_assert_eq(store_check(store, local, objects[i], BYTES, i), 0);
	make_room(1700 * KIB);
	let_time_pass();
	for (uint32_t i = 0; i < OBJECTS; i += 2) {
		used[i] = is_resident(i);
		if (used[i])
			cr_assert_eq(store_check(store, local, objects[i], BYTES, i), 0);
	}
	let_time_pass();
	make_room(2 * MIB);
	for (uint32_t i = 0; i < OBJECTS; i++) {
		cr_assert(!used[i] || is_resident(i), "%u was used", i);
		gone += !used[i] && !is_resident(i);
	}
	/* Of those that were not used, some are left: the sums would have been enough. */
	cr_assert(gone > 500 && gone < OBJECTS / 2, "%u have gone", gone);
}

Test(store_evict, what_was_deleted_since_the_walk_is_made_up_for, .init = open_4m,
     .fini = close_all)
{
	uint32_t left = 0;

	let_some_go();
	for (uint32_t i = 0; i < made; i++) {
		if (is_old(i) && is_resident(i))
			wf_object_delete(store, local, objects[i]);
		else
			objects[left++] = objects[i];
	}
	cr_assert_lt(left, made);
	made = left;
	/* More than there is without the walk's share of the deleted. */
	make_room(3500 * KIB);
}

/* ---- A full disk ----------------------------------------------------------------------------- */

#define LARGE (256 * KIB)

/* Memory and disk are full: 6 MiB and a piece. */
static void open_and_fill(void)
{
	open_with(0, 2 * MIB);
	while (made < 64) {
		objects[made] = store_put(store, local, LARGE, made);
		if (objects[made] == NULL)
			break;
		made++;
	}
	cr_assert_geq(made, 22);
	cr_assert_leq(made, 24);
}

Test(store_evict, on_a_full_disk_all_can_be_read, .init = open_and_fill, .fini = close_all)
{
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < made; i++)
			cr_assert_eq(store_check(store, local, objects[i], LARGE, i), 0);
	}
	cr_assert_gt(store_recount(store).restores, made);
}

Test(store_evict, what_is_deleted_in_the_files_is_room_at_once, .init = open_and_fill,
     .fini = close_all)
{
	for (uint32_t round = 0; round < 20; round++) {
		struct wf_object *object;
		uint32_t at = 0;

		while (at < made && store_state(objects[at]) != WF_OBJECT_SPILLED)
			at++;
		cr_assert_lt(at, made);
		wf_object_delete(store, local, objects[at]);
		object = store_put(store, local, LARGE, at);
		cr_assert_not_null(object, "round %u", round);
		objects[at] = object;
	}
}
