/*
 * Goal: objects of any size and alignment come back as they were; records that were damaged,
 * cut off, swapped or never there end as -EBADMSG with file, place and reason, and nothing else
 * suffers; room of freed records is used again and given back; budget, reserve and broken
 * directories end as designed. On both back ends.
 * Method: segments of 1 MiB, contents from seeds, guard bytes behind each final place, files
 * rewritten through /proc/self/fd, counters against recounts.
 */
#include "spill_disk.h"
#include "test.h"

#define GUARD 64

static const uint64_t all_sizes[] = {
	0,
	1,
	63,
	64,
	65,
	1000,
	4031,
	4032,
	4033,
	4095,
	4096,
	4097,
	65536,
	100000,
	WF_RECORD_PACKED_MAX - 1,
	WF_RECORD_PACKED_MAX,
	WF_RECORD_PACKED_MAX + 1,
	WF_SPILL_DIRECT_MIN - 4096,
	WF_SPILL_DIRECT_MIN - 1,
	WF_SPILL_DIRECT_MIN,
	WF_SPILL_DIRECT_MIN + 1,
	WF_SPILL_STAGING_BYTES - 4096,
	WF_SPILL_STAGING_BYTES - 64,
	WF_SPILL_STAGING_BYTES - 63,
	WF_SPILL_STAGING_BYTES - 1,
	WF_SPILL_STAGING_BYTES,
	WF_SPILL_STAGING_BYTES + 4032,
	WF_SPILL_STAGING_BYTES + 4033,
	2 * WF_SPILL_STAGING_BYTES - 64,
	2 * WF_SPILL_STAGING_BYTES - 63,
	9 * SPILL_MIB + 777,
};
enum { ALL = sizeof(all_sizes) / sizeof(all_sizes[0]) };

static struct spill_kit kit;

static struct wf_spill_item make_item(uint64_t id, uint64_t size, uint64_t shift)
{
	struct wf_spill_item item = { .id = id, .size = size, .generation = (uint32_t)id + 7 };
	char *bytes = spill_bytes(size, shift);

	cr_assert_not_null(bytes);
	io_fill(bytes, size, id);
	item.data = bytes;
	return item;
}

static void free_item(struct wf_spill *spill, struct wf_spill_item *item)
{
	if (item->status == 0)
		wf_spill_free(spill, &item->place, item->size);
	spill_bytes_free((void *)(uintptr_t)item->data);
}

/* It reads back, to places of either kind, and nothing is written behind its end. */
static void expect_back(struct wf_spill *spill, const struct wf_spill_item *item, uint64_t shift)
{
	char *to = spill_bytes(item->size + GUARD, shift);
	char text[256];

	memset(to, 0x33, item->size + GUARD);
	cr_assert_eq(spill_read_to(spill, item, to, text), 0, "%llu bytes: %s",
	             (unsigned long long)item->size, text);
	cr_assert(memcmp(to, item->data, item->size) == 0, "%llu bytes",
	          (unsigned long long)item->size);
	for (int i = 0; i < GUARD; i++)
		cr_assert_eq(to[item->size + (uint64_t)i], 0x33);
	spill_bytes_free(to);
}

static void expect_bad(struct wf_spill *spill, const struct wf_spill_item *item, const char *words)
{
	char *to = spill_bytes(item->size, 0);
	char text[256];

	cr_assert_eq(spill_read_to(spill, item, to, text), -EBADMSG);
	cr_assert_not_null(strstr(text, words), "%s: %s", words, text);
	cr_assert(item->place.segment == 0 || strstr(text, "segment ") != NULL, "%s", text);
	spill_bytes_free(to);
}

static void flip(struct wf_spill *spill, const struct wf_spill_item *item, uint64_t at)
{
	int fd = spill_file(spill, item);
	char byte;

	cr_assert_geq(fd, 0);
	at += spill_offset(item);
	cr_assert_eq(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	cr_assert_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static uint64_t expected_live(const struct wf_spill_item *items, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += items[i].status == 0 ? wf_record_bytes(items[i].size) : 0;
	return sum;
}

/* Open with both back ends, if they are there. */
static bool open_kit(const char *backend)
{
	int status = spill_open(&kit, backend);

	cr_assert(status == 0 || (status == -ENOTSUP && backend == io_backends[0]), "%s: %d",
	          backend, status);
	return status == 0;
}

static void every_size(uint64_t shift_from, uint64_t shift_to)
{
	struct wf_spill_item items[ALL];

	/* Not in the order of size. */
	for (uint32_t i = 0; i < ALL; i++)
		items[i] = make_item(100 + i, all_sizes[i * 7 % ALL], shift_from);
	spill_write(kit.spill, items, ALL);
	for (uint32_t i = 0; i < ALL; i++) {
		cr_assert_eq(items[i].status, 0);
		expect_back(kit.spill, &items[i], shift_to);
	}
	wf_segments_verify(&kit.spill->segments);
	cr_assert_eq(spill_stats(kit.spill).live_bytes, expected_live(items, ALL));
	for (uint32_t i = 0; i < ALL; i++)
		free_item(kit.spill, &items[i]);
	cr_assert_eq(spill_stats(kit.spill).live_bytes, 0);
	wf_segments_verify(&kit.spill->segments);
}

Test(spill, objects_of_every_size_and_alignment_come_back)
{
	_Static_assert(ALL % 7 != 0, "each is taken once");

	for (int b = 0; b < 2; b++) {
		struct wf_spill_stats stats;

		if (!open_kit(io_backends[b]))
			continue;
		every_size(0, 0);
		every_size(64, 64);
		every_size(512 + 64, 4096 - 64);
		stats = spill_stats(kit.spill);
		cr_assert_eq(stats.records_written, 3 * ALL);
		cr_assert_eq(stats.records_read, 3 * ALL);
		cr_assert_eq(stats.written_bytes, stats.read_bytes);
		cr_assert_eq(stats.corrupt, 0);
		cr_assert_gt(stats.fused, 0);
		spill_close(&kit);
	}
}

Test(spill, files_without_o_direct_and_without_tmpfile_work)
{
	for (int b = 0; b < 2; b++) {
		if (!open_kit(io_backends[b]))
			continue;
		kit.spill->segments.dirs[0].direct = false;
		kit.spill->segments.dirs[0].tmpfile = false;
		every_size(0, 64);
		every_size(64, 0);
		spill_close(&kit);
	}
}

Test(spill, an_empty_batch_is_done)
{
	cr_assert(open_kit("threads"));
	spill_settle(kit.spill);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, 0);
	spill_close(&kit);
}

static void note_done(struct wf_spill_batch *batch)
{
	cr_assert_neq(gettid(), getpid());
	io_event_add(batch->arg);
}

Test(spill, batches_queue_up_and_each_is_done_once_on_another_thread)
{
	enum { BATCHES = 50, PER = 3 };
	static struct wf_spill_batch batches[BATCHES];
	static struct wf_spill_item items[BATCHES * PER];
	struct io_event event = { { 0 } };

	cr_assert(open_kit("threads"));
	for (uint32_t i = 0; i < BATCHES * PER; i++)
		items[i] = make_item(i, i % PER == 0 ? 2 * SPILL_MIB : i * 997, i % 2 * 64);
	for (uint32_t i = 0; i < BATCHES; i++) {
		batches[i] =
			(struct wf_spill_batch){ .items = items + (size_t)i * PER, .count = PER };
		batches[i].done = note_done;
		batches[i].arg = &event;
		wf_spill_write(kit.spill, &batches[i]);
	}
	io_event_wait(&event, BATCHES);
	for (uint32_t i = 0; i < BATCHES * PER; i++) {
		cr_assert_eq(items[i].status, 0);
		expect_back(kit.spill, &items[i], 0);
		free_item(kit.spill, &items[i]);
	}
	/* relaxed: all are done. */
	cr_assert_eq(wf_load_relaxed(&event.count), BATCHES);
	spill_close(&kit);
}

Test(spill, more_reads_than_slots_wait_their_turn)
{
	enum { READS = 5 * WF_SPILL_READ_COUNT };
	static struct wf_spill_read reads[READS];
	struct wf_spill_item items[4] = {
		make_item(1, 300, 0),
		make_item(2, 70000, 0),
		make_item(3, 5 * SPILL_MIB + 5, 0),
		make_item(4, 9 * SPILL_MIB, 0),
	};
	struct io_event event = { { 0 } };

	cr_assert(open_kit("threads"));
	spill_write(kit.spill, items, 4);
	for (int i = 0; i < READS; i++) {
		struct wf_spill_item *item = &items[i % 4];

		reads[i] = (struct wf_spill_read){ .place = item->place, .size = item->size };
		reads[i].id = item->id;
		reads[i].generation = item->generation;
		reads[i].data = spill_bytes(item->size, 0);
		reads[i].done = spill_read_done;
		reads[i].arg = &event;
		wf_spill_read(kit.spill, &reads[i]);
	}
	io_event_wait(&event, READS);
	for (int i = 0; i < READS; i++) {
		cr_assert_eq(reads[i].status, 0);
		cr_assert(memcmp(reads[i].data, items[i % 4].data, reads[i].size) == 0);
		spill_bytes_free(reads[i].data);
	}
	for (int i = 0; i < 4; i++)
		free_item(kit.spill, &items[i]);
	spill_close(&kit);
}

/*
 * Reads that wait share transfers, also of records with gaps between them, and those that come in
 * one go do from the first on; a damaged one and one that is not there fail alone.
 */
Test(spill, neighbours_come_together_and_fail_alone)
{
	enum { COUNT = 600, BAD = 251, GONE = 402 };
	static struct wf_spill_item items[COUNT];
	static struct wf_spill_read reads[COUNT];

	for (int b = 0; b < 4; b++) {
		bool at_once = b >= 2;
		struct io_event event = { { 0 } };
		struct wf_io_stats before, after;

		if (!open_kit(io_backends[b % 2]))
			continue;
		for (uint32_t i = 0; i < COUNT; i++)
			items[i] = make_item(i, i % 50 == 49 ? 60000 : 900 + i, i % 2 * 64);
		spill_write(kit.spill, items, COUNT);
		flip(kit.spill, &items[BAD], 100);
		wf_io_stats(kit.io, &before);
		for (uint32_t i = 0; i < COUNT; i++) {
			reads[i] = (struct wf_spill_read){ .place = items[i].place };
			reads[i].size = items[i].size;
			reads[i].id = items[i].id;
			reads[i].generation = items[i].generation;
			reads[i].data = spill_bytes(items[i].size, 0);
			reads[i].done = spill_read_done;
			reads[i].arg = &event;
			reads[i].place.page += i == GONE ? 100000 : 0;
			if (!at_once)
				wf_spill_read(kit.spill, &reads[i]);
			else if (i > 0)
				reads[i - 1].private_ = &reads[i];
		}
		if (at_once)
			wf_spill_read_all(kit.spill, &reads[0]);
		io_event_wait(&event, COUNT);
		wf_io_stats(kit.io, &after);
		/*
		 * 1.3 MB, in pieces of up to 272 KiB, two again. Of those that come one by one as
		 * many share as are there when a transfer begins, which is a matter of speed.
		 */
		if (at_once)
			cr_assert_lt(after.reads - before.reads, 40);
		for (uint32_t i = 0; i < COUNT; i++) {
			bool bad = i == BAD || i == GONE;

			cr_assert_eq(reads[i].status, bad ? -EBADMSG : 0, "%u: %s", i,
			             reads[i].text);
			cr_assert(bad || memcmp(reads[i].data, items[i].data, items[i].size) == 0);
			spill_bytes_free(reads[i].data);
			free_item(kit.spill, &items[i]);
		}
		cr_assert_eq(spill_stats(kit.spill).corrupt, 2);
		spill_close(&kit);
	}
}

/* ---- Damage --------------------------------------------------------------------------------- */

/* Bytes of the header and some of the others, one at a time; then it is whole again. */
static void flip_everywhere(struct wf_spill *spill, struct wf_spill_item *item, uint64_t step)
{
	uint64_t header = wf_record_header_at(item->size);
	uint64_t bytes = wf_record_payload_at(item->size);

	for (uint64_t i = 0; i < WF_RECORD_HEADER; i += step) {
		flip(spill, item, header + i);
		expect_bad(spill, item, "");
		flip(spill, item, header + i);
	}
	for (uint64_t i = 0; i < 8; i++) {
		uint64_t at = bytes + (item->size - 1) * i / 7;

		flip(spill, item, at);
		expect_bad(spill, item, "the sum is ");
		flip(spill, item, at);
	}
	expect_back(spill, item, 0);
}

Test(spill, one_wrong_bit_is_found_and_touches_nothing_else)
{
	static const uint64_t sizes[] = { 1, 1000, 70000, 300000, 2 * SPILL_MIB + 100 };
	enum { COUNT = sizeof(sizes) / sizeof(sizes[0]) };
	struct wf_spill_item items[COUNT];

	for (int b = 0; b < 2; b++) {
		if (!open_kit(io_backends[b]))
			continue;
		for (int i = 0; i < COUNT; i++)
			items[i] = make_item((uint64_t)i, sizes[i], 0);
		spill_write(kit.spill, items, COUNT);
		for (int i = 0; i < COUNT; i++) {
			/* Every field has a byte that is hit. */
			flip_everywhere(kit.spill, &items[i], i < 2 ? 1 : 4);
			flip(kit.spill, &items[i], wf_record_payload_at(sizes[i]));
			expect_bad(kit.spill, &items[i], io_dir());
			for (int j = i + 1; j < COUNT; j++)
				expect_back(kit.spill, &items[j], 0);
		}
		cr_assert_eq(spill_stats(kit.spill).corrupt, 2 * 73 + (COUNT - 2) * 25);
		for (int i = 0; i < COUNT; i++)
			free_item(kit.spill, &items[i]);
		cr_assert_eq(spill_stats(kit.spill).live_bytes, 0);
		spill_settle(kit.spill);
		/* Where a record went bad nothing is written again. */
		cr_assert_eq(spill_stats(kit.spill).segments_bad, 0, "they are gone when empty");
		wf_segments_verify(&kit.spill->segments);
		spill_close(&kit);
	}
}

Test(spill, a_file_that_ends_early_is_found)
{
	struct wf_spill_item items[3] = {
		make_item(1, 500, 0),
		make_item(2, 200000, 0),
		make_item(3, 700000, 0),
	};
	int fd;

	for (int b = 0; b < 2; b++) {
		if (!open_kit(io_backends[b]))
			continue;
		spill_write(kit.spill, items, 3);
		fd = spill_file(kit.spill, &items[2]);
		cr_assert_geq(fd, 0);
		cr_assert_eq(items[0].place.segment, items[2].place.segment);
		cr_assert_eq(ftruncate(fd, (off_t)spill_offset(&items[2]) + 8192), 0);
		expect_bad(kit.spill, &items[2], "ends before");
		expect_back(kit.spill, &items[0], 0);
		expect_back(kit.spill, &items[1], 0);
		cr_assert_eq(ftruncate(fd, 0), 0);
		for (int i = 0; i < 3; i++)
			expect_bad(kit.spill, &items[i], "ends before");
		close(fd);
		for (int i = 0; i < 3; i++)
			wf_spill_free(kit.spill, &items[i].place, items[i].size);
		spill_close(&kit);
	}
	for (int i = 0; i < 3; i++)
		spill_bytes_free((void *)(uintptr_t)items[i].data);
}

static void swap_records(struct wf_spill *spill, struct wf_spill_item *a, struct wf_spill_item *b)
{
	size_t bytes = wf_record_bytes(a->size);
	char *one = malloc(bytes), *two = malloc(bytes);
	int fd_a = spill_file(spill, a), fd_b = spill_file(spill, b);

	cr_assert_eq(pread(fd_a, one, bytes, (off_t)spill_offset(a)), (ssize_t)bytes);
	cr_assert_eq(pread(fd_b, two, bytes, (off_t)spill_offset(b)), (ssize_t)bytes);
	cr_assert_eq(pwrite(fd_a, two, bytes, (off_t)spill_offset(a)), (ssize_t)bytes);
	cr_assert_eq(pwrite(fd_b, one, bytes, (off_t)spill_offset(b)), (ssize_t)bytes);
	close(fd_a);
	close(fd_b);
	free(one);
	free(two);
}

Test(spill, a_record_of_another_object_generation_size_or_session_is_not_believed)
{
	struct wf_spill_item items[4] = {
		make_item(1, 5000, 0),
		make_item(2, 5000, 0),
		make_item(3, 900000, 0),
		make_item(4, 900000, 0),
	};

	cr_assert(open_kit("threads"));
	spill_write(kit.spill, items, 4);
	for (int i = 0; i < 4; i += 2) {
		struct wf_spill_item other = items[i];

		swap_records(kit.spill, &items[i], &items[i + 1]);
		expect_bad(kit.spill, &items[i], "another object");
		expect_bad(kit.spill, &items[i + 1], "another object");
		swap_records(kit.spill, &items[i], &items[i + 1]);
		other.generation++;
		expect_bad(kit.spill, &other, "another generation");
		other = items[i];
		other.size--;
		expect_bad(kit.spill, &other, "another size");
		kit.spill->session++;
		expect_bad(kit.spill, &items[i], "another session");
		kit.spill->session--;
		expect_back(kit.spill, &items[i], 0);
	}
	for (int i = 0; i < 4; i++)
		free_item(kit.spill, &items[i]);
	spill_close(&kit);
}

Test(spill, places_that_are_not_there_are_refused)
{
	struct wf_spill_item item = make_item(1, 5000, 0), wrong;

	cr_assert(open_kit("threads"));
	wrong = item;
	expect_bad(kit.spill, &wrong, "no such place");
	spill_write(kit.spill, &item, 1);
	wrong = item;
	wrong.place.segment = 9999;
	expect_bad(kit.spill, &wrong, "no such place");
	wrong = item;
	wrong.place.page = 255;
	expect_bad(kit.spill, &wrong, "no such place");
	wrong.place.page = 100;
	expect_bad(kit.spill, &wrong, "no record lies here");
	wrong = item;
	wrong.place.skip = 32;
	expect_bad(kit.spill, &wrong, "no such place");
	wrong.place.skip = 8192;
	expect_bad(kit.spill, &wrong, "no such place");
	expect_back(kit.spill, &item, 0);
	free_item(kit.spill, &item);
	spill_close(&kit);
}

/* ---- Room ----------------------------------------------------------------------------------- */

Test(spill, one_small_live_record_keeps_its_page_only)
{
	enum { SMALL = 800 };
	static struct wf_spill_item items[SMALL];
	struct wf_spill_item large;

	cr_assert(open_kit("threads"));
	for (uint32_t i = 0; i < SMALL; i++)
		items[i] = make_item(i, 1000, 0);
	spill_write(kit.spill, items, SMALL);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, SPILL_MIB);
	for (uint32_t i = 0; i < SMALL; i++) {
		if (i != 5)
			wf_spill_free(kit.spill, &items[i].place, items[i].size);
	}
	/* A record of 1088 bytes lies in one or two pages; all behind them is one run again. */
	large = make_item(9999, SPILL_MIB - 4 * 4096 - 64, 0);
	spill_write(kit.spill, &large, 1);
	cr_assert_eq(large.status, 0);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, SPILL_MIB);
	cr_assert_eq(large.place.segment, items[5].place.segment);
	expect_back(kit.spill, &items[5], 0);
	expect_back(kit.spill, &large, 0);
	free_item(kit.spill, &large);
	wf_spill_free(kit.spill, &items[5].place, items[5].size);
	for (uint32_t i = 0; i < SMALL; i++)
		spill_bytes_free((void *)(uintptr_t)items[i].data);
	spill_close(&kit);
}

Test(spill, empty_segments_beyond_the_pool_are_given_back)
{
	enum { COUNT = 12 };
	struct wf_spill_item items[COUNT];

	cr_assert(open_kit("threads"));
	for (uint32_t i = 0; i < COUNT; i++)
		items[i] = make_item(i, SPILL_MIB - 64, 0);
	spill_write(kit.spill, items, COUNT);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, COUNT * SPILL_MIB);
	for (uint32_t i = 0; i < COUNT; i++)
		free_item(kit.spill, &items[i]);
	spill_settle(kit.spill);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, 4 * SPILL_MIB);
	cr_assert_eq(spill_stats(kit.spill).segments, 4);
	wf_segments_verify(&kit.spill->segments);
	spill_close(&kit);
}

Test(spill, an_object_larger_than_a_segment_has_one_of_its_own)
{
	struct wf_spill_item item = make_item(1, 10 * SPILL_MIB + 3, 0);

	cr_assert(open_kit("threads"));
	spill_write(kit.spill, &item, 1);
	cr_assert_eq(item.status, 0);
	cr_assert_eq(spill_stats(kit.spill).segments, 1);
	expect_back(kit.spill, &item, 0);
	free_item(kit.spill, &item);
	spill_settle(kit.spill);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, 0);
	spill_close(&kit);
}

Test(spill, the_budget_bounds_the_files_and_freed_room_counts)
{
	enum { COUNT = 20 };
	struct wf_spill_item items[COUNT];
	uint32_t written = 0;

	kit.options.budget_bytes = 5 * SPILL_MIB + SPILL_MIB / 2;
	cr_assert(open_kit("threads"));
	for (uint32_t i = 0; i < COUNT; i++)
		items[i] = make_item(i, 400000, 0);
	spill_write(kit.spill, items, COUNT);
	for (uint32_t i = 0; i < COUNT; i++) {
		cr_assert(items[i].status == 0 || items[i].status == -ENOSPC);
		cr_assert(items[i].status == 0 || items[i].place.segment == 0);
		written += items[i].status == 0;
	}
	/* Two in each whole segment, one in the half that is left. */
	cr_assert_eq(written, 11);
	cr_assert_leq(spill_stats(kit.spill).file_bytes, kit.options.budget_bytes);
	cr_assert(wf_spill_is_full(kit.spill, 400000));
	cr_assert_not(wf_spill_is_full(kit.spill, 100000));
	for (uint32_t i = 0; i < COUNT; i++)
		free_item(kit.spill, &items[i]);
	cr_assert_not(wf_spill_is_full(kit.spill, 400000));
	cr_assert(wf_spill_is_full(kit.spill, 100 * SPILL_MIB));
	cr_assert(wf_spill_is_full(kit.spill, UINT64_MAX));
	items[0] = make_item(0, 400000, 0);
	spill_write(kit.spill, items, 1);
	cr_assert_eq(items[0].status, 0);
	free_item(kit.spill, &items[0]);
	spill_close(&kit);
}

Test(spill, a_budget_below_a_segment_makes_smaller_segments)
{
	struct wf_spill_item item = make_item(1, 100000, 0);

	kit.options.budget_bytes = 300000;
	cr_assert(open_kit("threads"));
	spill_write(kit.spill, &item, 1);
	cr_assert_eq(item.status, 0);
	cr_assert_eq(spill_stats(kit.spill).file_bytes, 73 * 4096);
	free_item(kit.spill, &item);
	spill_close(&kit);
	kit.options.budget_bytes = 4095;
	cr_assert_eq(spill_open(&kit, "threads"), -EINVAL);
	spill_close(&kit);
}

Test(spill, nothing_is_made_when_the_reserve_would_suffer)
{
	struct wf_spill_item items[3] = { make_item(1, 1000, 0), make_item(2, 2 * SPILL_MIB, 0),
		                          make_item(3, 5 * SPILL_MIB, 64) };

	kit.options.reserve_bytes = (uint64_t)1 << 60;
	cr_assert(open_kit("threads"));
	spill_write(kit.spill, items, 3);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(items[i].status, -ENOSPC);
		free_item(kit.spill, &items[i]);
	}
	cr_assert_eq(spill_stats(kit.spill).file_bytes, 0);
	cr_assert(wf_spill_is_full(kit.spill, 1));
	spill_close(&kit);
}

Test(spill, an_object_beyond_all_bounds_is_refused)
{
	struct wf_spill_item item = make_item(1, 1000, 0);

	cr_assert(open_kit("threads"));
	item.size = UINT64_MAX - 10;
	spill_write(kit.spill, &item, 1);
	cr_assert_eq(item.status, -ENOSPC);
	item.size = WF_RECORD_SIZE_MAX;
	spill_write(kit.spill, &item, 1);
	cr_assert_eq(item.status, -ENOSPC);
	spill_bytes_free((void *)(uintptr_t)item.data);
	spill_close(&kit);
}

/* ---- Directories ---------------------------------------------------------------------------- */

Test(spill, directories_are_taken_in_turn_and_missing_ones_left_out)
{
	char one[] = "/tmp/weft-spill-one-XXXXXX", two[] = "/tmp/weft-spill-two-XXXXXX";
	struct wf_spill_item items[6];
	int in_one = 0, in_two = 0;

	cr_assert(mkdtemp(one) != NULL && mkdtemp(two) != NULL);
	kit.dirs[0] = one;
	kit.dirs[1] = "/nowhere/at/all";
	kit.dirs[2] = two;
	kit.options.dir_count = 3;
	cr_assert(open_kit("threads"));
	cr_assert_eq(spill_logged(&kit, "/nowhere/at/all"), 1);
	for (uint32_t i = 0; i < 6; i++)
		items[i] = make_item(i, SPILL_MIB, 0);
	spill_write(kit.spill, items, 6);
	for (uint32_t i = 0; i < 6; i++) {
		struct wf_segment_file file;

		cr_assert_eq(items[i].status, 0);
		cr_assert(
			wf_segments_find(&kit.spill->segments, &items[i].place, SPILL_MIB, &file));
		in_one += strcmp(file.dir, one) == 0;
		in_two += strcmp(file.dir, two) == 0;
		expect_back(kit.spill, &items[i], 0);
		free_item(kit.spill, &items[i]);
	}
	cr_assert(in_one >= 2 && in_two >= 2 && in_one + in_two == 6, "%d, %d", in_one, in_two);
	spill_close(&kit);
	/* Nothing is left in them. */
	cr_assert_eq(rmdir(one), 0);
	cr_assert_eq(rmdir(two), 0);
}

Test(spill, a_directory_that_breaks_is_left_and_said_once)
{
	char one[] = "/tmp/weft-spill-one-XXXXXX", two[] = "/tmp/weft-spill-two-XXXXXX";
	struct wf_spill_item items[4];

	cr_assert(mkdtemp(one) != NULL && mkdtemp(two) != NULL);
	kit.dirs[0] = one;
	kit.dirs[1] = two;
	kit.options.dir_count = 2;
	cr_assert(open_kit("threads"));
	cr_assert_eq(rmdir(one), 0);
	for (uint32_t i = 0; i < 4; i++)
		items[i] = make_item(i, 3 * SPILL_MIB, 0);
	spill_write(kit.spill, items, 4);
	cr_assert_eq(spill_logged(&kit, one), 1);
	for (uint32_t i = 0; i < 4; i++) {
		cr_assert_eq(items[i].status, 0);
		expect_back(kit.spill, &items[i], 0);
	}
	cr_assert_eq(rmdir(two), 0);
	for (uint32_t i = 0; i < 4; i++)
		free_item(kit.spill, &items[i]);
	items[0] = make_item(9, 30 * SPILL_MIB, 0);
	spill_write(kit.spill, items, 1);
	/* What exactly is the file system's choice. */
	cr_assert(items[0].status < 0 && items[0].status != -ENOSPC, "%d", items[0].status);
	free_item(kit.spill, &items[0]);
	spill_close(&kit);
}

Test(spill, no_usable_directory_is_an_error)
{
	kit.dirs[0] = "/nowhere/at/all";
	kit.dirs[1] = "/dev/null";
	kit.options.dir_count = 2;
	cr_assert_eq(spill_open(&kit, "threads"), -ENOENT);
	cr_assert_eq(spill_logged(&kit, "/nowhere/at/all"), 1);
	cr_assert_eq(spill_logged(&kit, "/dev/null"), 1);
	spill_close(&kit);
}

Test(spill, closing_nothing_is_fine)
{
	wf_spill_close(NULL);
}

Test(spill, a_place_freed_twice_dies, .signal = SIGABRT)
{
	struct wf_spill_item item = make_item(1, 1000, 0);

	cr_assert(open_kit("threads"));
	spill_write(kit.spill, &item, 1);
	wf_spill_free(kit.spill, &item.place, item.size);
	wf_spill_free(kit.spill, &item.place, item.size);
}
