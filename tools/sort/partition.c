/*
 * partition.c: the partition task. It brings whole records into memory, finds the bucket of each,
 * and copies them, bucket by bucket in input order, into objects: one for each bucket that has any.
 * From here on records are in the store and may be spilled.
 *
 * Decision: records are copied, not only their keys. A sort in memory could leave them where they
 * were read and gather them once (which is faster by that copy); but what is spilled has to come
 * back bucket by bucket, so each bucket's records must lie together.
 *
 * Each object is made in its exact size, which needs the counts first: the chunk is looked at once
 * to classify and once to copy.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define BLOCK_BYTES ((size_t)64 << 10)

struct work {
	weft_task *self;
	const struct wf_sort_partition *arg;
	const struct wf_sort_splitters *splitters;
	struct wf_sort_span *spans; /* borrowed from the body */
	uint32_t span_count;
	uint64_t bytes;   /* of all spans */
	uint64_t records; /* at most, then exactly */
	struct wf_sort_parts *parts;
	uint8_t **to; /* where the next record of each bucket goes */
	uint16_t *ids;
};

static uint64_t count_lines(const uint8_t *at, const uint8_t *end)
{
	uint64_t count = 0;

	for (; at < end; count++)
		at = (const uint8_t *)rawmemchr(at, '\n') + 1;
	return count;
}

static void count_records(struct work *work)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;

	for (uint32_t i = 0; i < work->span_count; i++) {
		const struct wf_sort_span *span = &work->spans[i];

		work->bytes += span->bytes;
		work->records += layout->lines ? count_lines(span->data, span->data + span->bytes)
					       : span->bytes / layout->record_bytes;
	}
}

/* Find the buckets of whole records, add up what goes there. */
static uint64_t classify_block(struct work *work, const uint8_t *record, size_t bytes, bool top,
                               uint16_t *ids)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;
	struct wf_sort_parts *parts = work->parts;
	size_t n = wf_sort_classify(work->splitters, layout, record, bytes, ids);

	for (size_t i = 0; i < n; i++) {
		size_t size = wf_sort_record_size(layout, record);
		struct wf_sort_part *part = &parts->part[ids[i]];

		part->bytes += size;
		part->records++;
		if (top)
			parts->sum.checksum += wf_sort_hash(record, size);
		record += size;
	}
	return n;
}

/* Whole records of about BLOCK_BYTES, which stay in the cache between the looks at them. */
static size_t block_at(const struct wf_sort_layout *layout, const uint8_t *at, size_t left)
{
	if (left <= BLOCK_BYTES)
		return left;
	if (layout->lines)
		return (size_t)((const uint8_t *)rawmemchr(at + BLOCK_BYTES, '\n') - at) + 1;
	if (layout->record_bytes >= BLOCK_BYTES)
		return layout->record_bytes;
	return BLOCK_BYTES - BLOCK_BYTES % layout->record_bytes;
}

static void classify(struct work *work)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;
	bool top = weft_input_count(work->self) == 1;
	uint64_t count = 0;

	for (uint32_t i = 0; i < work->span_count; i++) {
		const struct wf_sort_span *span = &work->spans[i];

		for (size_t at = 0, bytes; at < span->bytes; at += bytes) {
			bytes = block_at(layout, span->data + at, span->bytes - at);
			count += classify_block(work, span->data + at, bytes, top,
			                        work->ids + count);
		}
	}
	WF_CHECK(count == work->records);
	work->parts->sum.records = count;
}

/* May suspend. */
static int make_pieces(struct work *work)
{
	uint64_t pad = work->arg->job->layout.lines ? WF_SORT_LINE_PAD : 0;

	for (uint32_t b = 0; b < work->splitters->bucket_count; b++) {
		uint64_t bytes = work->parts->part[b].bytes;
		void *data;
		int status;

		if (bytes == 0)
			continue;
		status = weft_task_output(work->self, 1 + b, bytes + pad, &data);
		if (status < 0)
			return wf_sort_fail_room(work->self, status, "to partition a chunk");
		work->to[b] = data;
		memset(work->to[b] + bytes, 0, pad);
	}
	return 0;
}

/* `record_bytes` is a constant in the call for the usual size: copies without a loop. */
WF_INLINE void scatter_sized(struct work *work, size_t record_bytes)
{
	const uint16_t *ids = work->ids;

	for (uint32_t i = 0; i < work->span_count; i++) {
		const uint8_t *at = work->spans[i].data, *end = at + work->spans[i].bytes;

		for (; at < end; at += record_bytes) {
			uint8_t **to = &work->to[*ids++];

			memcpy(*to, at, record_bytes);
			*to += record_bytes;
		}
	}
}

static void scatter_lines(struct work *work)
{
	const uint16_t *ids = work->ids;

	for (uint32_t i = 0; i < work->span_count; i++) {
		const uint8_t *at = work->spans[i].data, *end = at + work->spans[i].bytes;

		while (at < end) {
			size_t size = (size_t)((const uint8_t *)rawmemchr(at, '\n') - at) + 1;
			uint8_t **to = &work->to[*ids++];

			memcpy(*to, at, size);
			*to += size;
			at += size;
		}
	}
}

static void scatter(struct work *work)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;

	if (layout->lines)
		scatter_lines(work);
	else if (layout->record_bytes == 100)
		scatter_sized(work, 100);
	else
		scatter_sized(work, layout->record_bytes);
}

/* With the spans in memory. May suspend. */
static int partition(struct work *work)
{
	struct wf_sort_journal *journal = work->arg->job->journal;
	uint32_t buckets = work->splitters->bucket_count;
	size_t parts_bytes = sizeof(*work->parts) + buckets * sizeof(work->parts->part[0]);
	struct wf_sort_time begin;
	struct weft_buffer room;
	void *parts;
	int status;

	count_records(work);
	status = weft_task_output(work->self, 0, parts_bytes, &parts);
	if (status < 0)
		return wf_sort_fail_room(work->self, status, "to partition a chunk");
	work->parts = parts;
	memset(parts, 0, parts_bytes);
	status = wf_sort_room(work->self, buckets * sizeof(*work->to) + 2 * work->records, &room);
	if (status < 0)
		return status;
	work->to = room.data;
	work->ids = (uint16_t *)(work->to + buckets);
	begin = wf_sort_time_now();
	classify(work);
	wf_sort_journal_part(journal, WF_SORT_STAGE_PARTITION, begin);
	status = make_pieces(work);
	if (status == 0) {
		begin = wf_sort_time_now();
		scatter(work);
		wf_sort_journal_add(journal, work->self, WF_SORT_STAGE_PARTITION, begin,
		                    work->bytes);
	}
	weft_discard(weft_task_runtime(work->self), &room);
	return status;
}

/* A range of the file. */
static int partition_range(struct work *work)
{
	const struct wf_sort_job *job = work->arg->job;
	const struct wf_sort_range *range = &work->arg->range;
	struct wf_sort_span span = { .bytes = range->bytes };
	struct wf_sort_time begin;
	struct weft_buffer room;
	int status = wf_sort_room(work->self, range->bytes + WF_SORT_LINE_PAD, &room);

	if (status < 0)
		return status;
	begin = wf_sort_time_now();
	status = wf_sort_read_range(work->self, job, range->offset, range->bytes, room.data);
	if (status == 0) {
		wf_sort_journal_add(job->journal, work->self, WF_SORT_STAGE_READ, begin,
		                    range->bytes);
		span.data = room.data;
		work->spans = &span;
		work->span_count = 1;
		status = partition(work);
		work->spans = NULL;
		work->span_count = 0;
	}
	weft_discard(weft_task_runtime(work->self), &room);
	return status;
}

static int partition_pieces(struct work *work)
{
	uint64_t pad = work->arg->job->layout.lines ? WF_SORT_LINE_PAD : 0;
	int status;

	work->span_count = weft_input_count(work->self) - 1;
	work->spans = wf_malloc(work->span_count * sizeof(*work->spans));
	if (!work->spans)
		return weft_fail(work->self, -ENOMEM, "no memory to partition a chunk");
	for (uint32_t i = 0; i < work->span_count; i++) {
		struct weft_view view;

		WF_CHECK(weft_input(work->self, i + 1, &view) == 0 && view.size > pad);
		work->spans[i] = (struct wf_sort_span){ view.data, view.size - pad };
	}
	status = partition(work);
	wf_free(work->spans);
	return status;
}

int wf_sort_partition_body(weft_task *self)
{
	struct work work = { .self = self, .arg = weft_task_arg(self, NULL) };
	struct weft_view table;

	WF_CHECK(weft_input(self, 0, &table) == 0 && table.size == sizeof(*work.splitters));
	work.splitters = table.data;
	if (weft_task_cancelled(self))
		return -ECANCELED;
	return weft_input_count(self) == 1 ? partition_range(&work) : partition_pieces(&work);
}
