/*
 * Goal: no two live records share a byte, pages come back when the last record on them is gone and
 * join their neighbours, the counters equal a recount, and what is empty beyond the pool is closed.
 * Method: random takes, records and removals on segments alone, with the places of all live
 * records as oracle; then every rule of choosing an extent by itself.
 */
#include "seed.h"
#include "spill_disk.h"
#include "test.h"

#define LIVE_MAX 600

struct live {
	struct wf_spill_place place;
	uint64_t size;
};

static struct wf_segments segments;
static struct wf_io *io;
static char scratch[8192] WF_ALIGNED(4096);

static void setup_with(uint64_t budget)
{
	const char *dirs[2] = { io_dir(), io_dir() };
	struct wf_spill_options options = { .dirs = dirs, .dir_count = 2, .reserve_bytes = 1 };

	options.segment_bytes = SPILL_MIB;
	options.budget_bytes = budget;
	cr_assert_eq(io_open(&io, "threads", (struct wf_io_options){ 0 }), 0);
	options.io = io;
	cr_assert_eq(wf_segments_open(&segments, &options, scratch), 0);
}

static void setup(void)
{
	setup_with(12 * SPILL_MIB);
}

static void teardown(void)
{
	wf_segments_close(&segments);
	wf_io_close(io);
}

static uint64_t begin_of(const struct live *live)
{
	return (uint64_t)live->place.page * 4096 + live->place.skip;
}

static void expect_apart(const struct live *all, uint32_t count, const struct live *fresh)
{
	for (uint32_t i = 0; i < count; i++) {
		if (all[i].place.segment != fresh->place.segment)
			continue;
		cr_assert(begin_of(&all[i]) + wf_record_bytes(all[i].size) <= begin_of(fresh) ||
		          begin_of(fresh) + wf_record_bytes(fresh->size) <= begin_of(&all[i]));
	}
}

/* Fill an extent with records of random sizes, as the writer does. How many were put. */
static uint32_t fill(struct wf_random *random, const struct wf_extent *extent, struct live *all,
                     uint32_t count)
{
	uint64_t end = 0, limit = (uint64_t)extent->pages * 4096;
	uint32_t before = count;

	while (count < LIVE_MAX) {
		uint64_t size =
			wf_random_below(random, wf_random_below(random, 4) == 0 ? 400000 : 5000);
		uint64_t at = wf_record_round(end, wf_record_unit(size));
		struct live fresh = { .size = size };

		if (at + wf_record_bytes(size) > limit)
			break;
		fresh.place = (struct wf_spill_place){ .segment = extent->segment };
		fresh.place.page = extent->page + (uint32_t)(at / 4096);
		fresh.place.skip = (uint32_t)(at % 4096);
		expect_apart(all, count, &fresh);
		all[count++] = fresh;
		end = at + wf_record_bytes(size);
	}
	pthread_mutex_lock(&segments.lock);
	for (uint32_t i = before; i < count; i++)
		wf_segments_add_locked(&segments, &all[i].place, all[i].size);
	pthread_mutex_unlock(&segments.lock);
	return count - before;
}

static uint64_t live_bytes(const struct live *all, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += wf_record_bytes(all[i].size);
	return sum;
}

static void random_rounds(struct wf_random *random, struct live *all, int rounds)
{
	uint32_t count = 0;

	for (int round = 0; round < rounds; round++) {
		uint32_t want = 1 + wf_random_below(random, 300), least;
		struct wf_extent extent;

		least = 1 + wf_random_below(random, want);
		if (wf_segments_take(&segments, want, least, WF_SEGMENTS_NO_DIR, &extent) == 0) {
			uint32_t keep = 1 + wf_random_below(random, extent.pages);

			cr_assert(extent.pages >= least && extent.pages <= want);
			wf_segments_shrink(&segments, &extent, keep);
			count += fill(random, &extent, all, count);
			wf_segments_drop(&segments, &extent);
		}
		while (count > LIVE_MAX / 2 || (count > 0 && wf_random_below(random, 3) != 0)) {
			uint32_t i = wf_random_below(random, count);

			if (wf_segments_remove(&segments, &all[i].place, all[i].size))
				wf_segments_trim(&segments);
			all[i] = all[--count];
		}
		cr_assert_eq(segments.live_bytes, live_bytes(all, count));
		cr_assert_leq(segments.file_bytes, 12 * SPILL_MIB);
		wf_segments_verify(&segments);
	}
	while (count-- > 0)
		(void)wf_segments_remove(&segments, &all[count].place, all[count].size);
}

Test(segment, live_records_never_overlap_and_counts_are_right, .init = setup, .fini = teardown)
{
	static struct live all[LIVE_MAX];
	struct wf_random random;

	wf_random_init(&random, test_seed());
	random_rounds(&random, all, test_is_long() ? 20000 : 1500);
	wf_segments_trim(&segments);
	wf_segments_verify(&segments);
	cr_assert_eq(segments.live_bytes, 0);
	cr_assert_leq(segments.segment_count, 8);
	cr_assert_eq(segments.file_bytes, segments.segment_count * SPILL_MIB);
}

static struct wf_extent take(uint32_t want, uint32_t least)
{
	struct wf_extent extent = { 0 };

	cr_assert_eq(wf_segments_take(&segments, want, least, WF_SEGMENTS_NO_DIR, &extent), 0);
	return extent;
}

Test(segment, directories_take_turns, .init = setup, .fini = teardown)
{
	struct wf_extent a = take(10, 10), b = take(10, 10), c = take(10, 10);

	cr_assert_neq(a.dir, b.dir);
	cr_assert_eq(a.dir, c.dir);
	cr_assert_eq(a.segment, c.segment);
	cr_assert_eq(c.page, a.page + 10);
	wf_segments_drop(&segments, &a);
	wf_segments_drop(&segments, &b);
	wf_segments_drop(&segments, &c);
}

Test(segment, freed_neighbours_are_one_extent_again, .init = setup, .fini = teardown)
{
	struct wf_extent extents[6], all;

	/* The other directory is not used: it is avoided. */
	for (int i = 0; i < 6; i++) {
		cr_assert_eq(wf_segments_take(&segments, 40, 40, 1, &extents[i]), 0);
		cr_assert_eq(extents[i].dir, 0);
		cr_assert_eq(extents[i].segment, extents[0].segment);
	}
	wf_segments_drop(&segments, &extents[2]);
	wf_segments_drop(&segments, &extents[4]);
	wf_segments_drop(&segments, &extents[3]);
	cr_assert_eq(wf_segments_take(&segments, 120, 120, 1, &all), 0);
	cr_assert_eq(all.segment, extents[0].segment);
	cr_assert_eq(all.page, extents[2].page);
	wf_segments_verify(&segments);
}

Test(segment, a_new_file_is_better_than_crumbs_and_crumbs_better_than_nothing)
{
	struct wf_extent full[2], crumb, next;

	setup_with(2 * SPILL_MIB);
	full[0] = take(256, 256);
	full[1] = take(256, 256);
	cr_assert_neq(full[0].segment, full[1].segment);
	cr_assert_eq(wf_segments_take(&segments, 1, 1, WF_SEGMENTS_NO_DIR, &next), -ENOSPC);
	wf_segments_shrink(&segments, &full[0], 246);
	crumb = take(200, 3);
	cr_assert_eq(crumb.pages, 10);
	cr_assert_eq(crumb.segment, full[0].segment);
	wf_segments_drop(&segments, &crumb);
	/* With room in the budget the crumbs are left for later. */
	segments.budget_bytes = 3 * SPILL_MIB;
	next = take(200, 3);
	cr_assert_eq(next.pages, 200);
	cr_assert(next.segment != full[0].segment && next.segment != full[1].segment);
	/* But a run of 256 KiB is no crumb. */
	segments.budget_bytes = 4 * SPILL_MIB;
	wf_segments_shrink(&segments, &full[0], 190);
	wf_segments_shrink(&segments, &full[1], 190);
	next = take(200, 3);
	cr_assert(next.segment == full[0].segment || next.segment == full[1].segment);
	cr_assert_eq(next.pages, 66);
	wf_segments_verify(&segments);
	teardown();
}

Test(segment, a_failed_segment_is_not_used_again_and_goes_when_it_is_empty, .init = setup,
     .fini = teardown)
{
	struct wf_extent bad = take(5, 5), other;
	struct wf_spill_place place = { .segment = bad.segment, .page = bad.page };

	pthread_mutex_lock(&segments.lock);
	wf_segments_add_locked(&segments, &place, 100);
	pthread_mutex_unlock(&segments.lock);
	wf_segments_failed(&segments, &bad, -EIO);
	wf_segments_drop(&segments, &bad);
	cr_assert_eq(segments.bad_count, 1);
	for (int i = 0; i < 4; i++) {
		other = take(5, 5);
		cr_assert_neq(other.segment, bad.segment);
		wf_segments_drop(&segments, &other);
	}
	cr_assert_eq(segments.segment_count, 3);
	cr_assert(wf_segments_remove(&segments, &place, 100));
	wf_segments_trim(&segments);
	cr_assert_eq(segments.segment_count, 2);
	cr_assert_eq(segments.bad_count, 0);
	wf_segments_verify(&segments);
}

Test(segment, a_directory_whose_segments_keep_failing_is_given_up, .init = setup, .fini = teardown)
{
	struct wf_extent extent;
	int taken = 0;

	while (wf_segments_take(&segments, 5, 5, WF_SEGMENTS_NO_DIR, &extent) == 0) {
		wf_segments_failed(&segments, &extent, -EIO);
		wf_segments_drop(&segments, &extent);
		taken++;
		cr_assert_lt(taken, 20);
	}
	cr_assert_eq(taken, 8);
	cr_assert_eq(segments.segment_count, 0);
	cr_assert_eq(wf_segments_take(&segments, 5, 5, WF_SEGMENTS_NO_DIR, &extent), -EIO);
	cr_assert_not(wf_segments_have_room(&segments, 1));
}

/* As by a quota, which the free blocks of the disk do not show. */
Test(segment, a_full_directory_that_seems_to_have_room_is_tried_again_later, .init = setup,
     .fini = teardown)
{
	struct wf_extent extent = take(5, 5), next;
	uint32_t dir = extent.dir;

	wf_segments_failed(&segments, &extent, -EDQUOT);
	wf_segments_drop(&segments, &extent);
	cr_assert(segments.dirs[dir].full);
	/* The pause is over. */
	segments.dirs[dir].full_until_ns = 0;
	for (int i = 0; i < 2; i++) {
		next = take(5, 5);
		wf_segments_drop(&segments, &next);
		if (next.dir == dir)
			break;
	}
	cr_assert_eq(next.dir, dir);
	cr_assert_not(segments.dirs[dir].full);
}

Test(segment, a_full_directory_is_left_alone_until_a_segment_is_free, .init = setup,
     .fini = teardown)
{
	struct wf_extent extent = take(5, 5), next;
	uint64_t room = wf_directory_room(&segments.dirs[0]);

	wf_segments_failed(&segments, &extent, -ENOSPC);
	wf_segments_drop(&segments, &extent);
	cr_assert(segments.dirs[extent.dir].full);
	cr_assert_gt(segments.dirs[extent.dir].full_until_ns, wf_clock_now(NULL));
	segments.dirs[extent.dir].full_until_ns = INT64_MAX;
	/* Others use this disk too: what they free in the meantime is not to count. */
	segments.dirs[extent.dir].room_when_full = 2 * room;
	for (int i = 0; i < 4; i++) {
		next = take(5, 5);
		cr_assert_neq(next.dir, extent.dir);
		wf_segments_drop(&segments, &next);
	}
	cr_assert_eq(segments.dirs[extent.dir].strikes, 0);
	/* As if a segment's worth had become free. */
	segments.dirs[extent.dir].room_when_full = room / 2;
	next = take(5, 5);
	if (next.dir != extent.dir) {
		wf_segments_drop(&segments, &next);
		next = take(5, 5);
	}
	cr_assert_eq(next.dir, extent.dir);
	cr_assert_not(segments.dirs[extent.dir].full);
	wf_segments_drop(&segments, &next);
}
