/*
 * verify.c: is the output file right?
 *
 * Verify tasks read slices of the finished file again, so they also see what a wrong offset or a
 * later write did to it.
 * The sum of a hash over all records must be the one of the input: a record that was lost, doubled
 * or changed alters it with probability 1 - 2^-64 (it is no defence against intent).
 *
 * Lines belong to the slice in which they begin. A slice looks at one record more, the first of the
 * next slice, so that the order across the border is checked as well.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define BEHIND_BYTES 4096u /* read behind a slice, at first, for the record that follows it */

/* Fold 64 x 64 to 64 bits; every bit of the product depends on both factors. */
static inline uint64_t fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load(const uint8_t *from, size_t n)
{
	uint64_t value = 0;

	memcpy(&value, from, n);
	return value;
}

/*
 * The blocks of a record are folded independently of each other, each with constants of its own
 * place, so that a processor does several at once; a swap of two blocks changes the sum. The
 * constants are odd with about half of their bits set, so that plain input makes no factor 0.
 */
uint64_t wf_sort_hash(const uint8_t *record, size_t n)
{
	uint64_t one = 0xd6e8feb86659fd93u, two = 0xa0761d6478bd642fu;
	uint64_t hash = 0x9e3779b97f4a7c15u ^ n;

	for (; n >= 16; n -= 16, record += 16) {
		hash += fold(load(record, 8) ^ one, load(record + 8, 8) ^ two);
		one += 0x8ebc6af09c88c6e4u;
		two += 0x589965cc75374cc4u;
	}
	if (n >= 8)
		hash += fold(load(record, 8) ^ one, load(record + 8, n - 8) ^ two);
	else
		hash += fold(load(record, n) ^ one, two);
	return fold(hash ^ 0xe7037ed1a0b428dbu, hash + 0x1d8e4e27c47d124fu);
}

/* ---- Reading records one by one ------------------------------------------------------ */

struct slice {
	const struct wf_sort_job *job;
	uint64_t begin, end; /* of what begins here */
};

/*
 * A window on the output that grows when records are longer: `have` bytes from `at` of the buffer
 * on are those of the file from `offset` on.
 */
struct reader {
	weft_task *self;
	const struct wf_sort_job *job;
	uint8_t *buffer;
	size_t size, at, have;
	uint64_t offset;
	uint64_t end; /* of the slice: little is needed of what is behind */
};

/* More bytes, at least one: there must be some. May fail the task. */
static int read_more(struct reader *reader)
{
	uint64_t next = reader->offset + reader->have;
	uint64_t left = reader->job->layout.output_bytes - next;
	size_t room;
	int status;

	WF_CHECK(left > 0);
	memmove(reader->buffer, reader->buffer + reader->at, reader->have);
	reader->at = 0;
	if (reader->have == reader->size) {
		uint8_t *grown = wf_malloc(2 * reader->size);

		if (!grown)
			return weft_fail(reader->self, -ENOMEM, "no memory to verify the output");
		memcpy(grown, reader->buffer, reader->have);
		wf_free(reader->buffer);
		reader->buffer = grown;
		reader->size *= 2;
	}
	if (next < reader->end && left > reader->end - next + BEHIND_BYTES)
		left = reader->end - next + BEHIND_BYTES;
	room = reader->size - reader->have;
	room = room < left ? room : left;
	if (weft_task_cancelled(reader->self))
		return -ECANCELED;
	status = wf_sort_pread(reader->job->output.fd, reader->buffer + reader->have, room, next);
	if (status < 0)
		return wf_sort_fail_file(reader->self, reader->job->output.name, status);
	reader->have += room;
	return 0;
}

/* The record `skip` bytes behind the reader's place; 0 bytes of it where the file ends. */
static int look(struct reader *reader, size_t skip, const uint8_t **record, size_t *size)
{
	const struct wf_sort_layout *layout = &reader->job->layout;
	size_t searched = skip;

	WF_DEBUG(skip <= reader->have);
	*size = 0;
	if (reader->offset + skip == layout->output_bytes)
		return 0;
	for (;;) {
		const uint8_t *data = reader->buffer + reader->at, *newline;
		int status;

		*record = data + skip;
		if (!layout->lines && reader->have >= skip + layout->record_bytes) {
			*size = layout->record_bytes;
			return 0;
		}
		newline = layout->lines ? memchr(data + searched, '\n', reader->have - searched)
					: NULL;
		if (newline) {
			*size = (size_t)(newline - *record) + 1;
			return 0;
		}
		if (reader->offset + reader->have == layout->output_bytes)
			return weft_fail(reader->self, -EBADMSG, "%s: the last line has no end",
			                 reader->job->output.name);
		searched = reader->have;
		status = read_more(reader);
		if (status < 0)
			return status;
	}
}

static void step(struct reader *reader, size_t n)
{
	WF_CHECK(n <= reader->have);
	reader->at += n;
	reader->have -= n;
	reader->offset += n;
}

/* ---- Verify tasks ------------------------------------------------------------------ */

static int out_of_order(const struct reader *reader, uint64_t offset)
{
	const struct wf_sort_layout *layout = &reader->job->layout;

	if (layout->lines)
		return weft_fail(reader->self, -EBADMSG,
		                 "%s: the line at byte %llu is out of order",
		                 reader->job->output.name, (unsigned long long)offset);
	return weft_fail(reader->self, -EBADMSG, "%s: record %llu is out of order",
	                 reader->job->output.name,
	                 (unsigned long long)(offset / layout->record_bytes));
}

/* To the first record that begins in the slice. */
static int find_first(struct reader *reader, const struct slice *slice)
{
	const uint8_t *record;
	size_t size;
	int status;

	reader->offset = slice->begin;
	if (!reader->job->layout.lines || slice->begin == 0)
		return 0;
	reader->offset--;
	status = look(reader, 0, &record, &size);
	if (status == 0)
		step(reader, size);
	return status;
}

/* The reader's place stays at the record before, so that both are in the buffer. */
static int verify_slice(struct reader *reader, const struct slice *slice,
                        struct wf_sort_result *sum)
{
	const struct wf_sort_layout *layout = &reader->job->layout;
	size_t before = 0;
	int status = find_first(reader, slice);

	while (status == 0) {
		bool ours = reader->offset + before < slice->end;
		const uint8_t *record;
		size_t size;

		/* The first one behind the slice is only compared. */
		if (!ours && before == 0)
			break;
		status = look(reader, before, &record, &size);
		if (status < 0 || size == 0)
			break;
		if (before && wf_sort_compare(layout, record - before, before, record, size) > 0)
			return out_of_order(reader, reader->offset + before);
		if (!ours)
			break;
		sum->checksum += wf_sort_hash(record, size);
		sum->records++;
		step(reader, before);
		before = size;
	}
	return status;
}

/* Value: struct wf_sort_result of the slice. */
static int verify_body(weft_task *self)
{
	const struct slice *slice = weft_task_arg(self, NULL);
	struct reader reader = {
		.self = self,
		.job = slice->job,
		.size = WF_SORT_BLOCK_BYTES,
		.end = slice->end,
	};
	struct wf_sort_result sum = { 0, 0 };
	struct wf_sort_time begin = wf_sort_time_now();
	int status;

	reader.buffer = wf_malloc(reader.size);
	if (!reader.buffer)
		return weft_fail(self, -ENOMEM, "no memory to verify the output");
	status = verify_slice(&reader, slice, &sum);
	wf_free(reader.buffer);
	if (status < 0)
		return status;
	wf_sort_journal_add(slice->job->journal, self, WF_SORT_STAGE_VERIFY, begin,
	                    slice->end - slice->begin);
	return weft_return(self, &sum, sizeof(sum));
}

/* For the window. */
static int add_sum(void *arg, const struct weft_view *value)
{
	struct wf_sort_result *to = arg;
	const struct wf_sort_result *sum = value->data;

	WF_CHECK(value->size == sizeof(*sum));
	to->records += sum->records;
	to->checksum += sum->checksum;
	return 0;
}

int wf_sort_verify_run(weft_task *self, const struct wf_sort_job *job, struct wf_sort_result *sum)
{
	const struct wf_sort_layout *layout = &job->layout;
	struct wf_sort_window window;
	int status = 0;

	wf_sort_window_init(&window, self, layout->window);
	window.done = add_sum;
	window.arg = sum;
	for (uint64_t at = 0; at < layout->output_bytes && status == 0; at += layout->slice_bytes) {
		struct slice slice = { .job = job, .begin = at, .end = layout->output_bytes };

		if (slice.end - at > layout->slice_bytes)
			slice.end = at + layout->slice_bytes;
		status = wf_sort_window_submit(&window, WEFT_TASK(verify_body, WEFT_ARG(slice)),
		                               NULL);
	}
	if (status == 0)
		status = wf_sort_window_drain(&window);
	wf_sort_window_fini(&window);
	return status;
}
