/*
 * leaf.c: the sort task at the end of partitioning. It makes an entry for each record of its
 * pieces, sorts the entries (radix.c) and gathers the records behind them into the value that a
 * write task writes out.
 *
 * Gathering reads records all over the pieces, so it is bound by cache misses. They are asked for
 * some records ahead; without that the sort tasks took a third longer.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define PREFETCH_AHEAD 24 /* records; 8 was as good, 48 cost a fifth of the sort tasks' time */

struct work {
	weft_task *self;
	const struct wf_sort_leaf *arg;
	struct wf_sort_source source;
	uint8_t *to; /* the records in order */
	uint64_t *order;
};

/* Whole bytes of piece `i`. */
static struct wf_sort_span piece(const struct work *work, uint32_t i)
{
	uint64_t pad = work->arg->job->layout.lines ? WF_SORT_LINE_PAD : 0;
	struct weft_view view;

	WF_CHECK(weft_input(work->self, i, &view) == 0 && view.size > pad);
	return (struct wf_sort_span){ view.data, view.size - pad };
}

/* Entries of all records, in input order. */
static void list(const struct work *work, struct wf_sort_entry *entries)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;
	const struct wf_sort_entry *end = entries + work->arg->records;

	for (uint32_t i = 0; i < weft_input_count(work->self); i++) {
		struct wf_sort_span span = piece(work, i);

		for (size_t at = 0; at < span.bytes;) {
			const uint8_t *record = span.data + at;

			WF_CHECK(entries < end);
			*entries++ = (struct wf_sort_entry){
				.key = wf_sort_word(&work->source, record, 0),
				.loc = wf_sort_loc(i, at),
			};
			at += wf_sort_record_size(layout, record);
		}
	}
	WF_CHECK(entries == end);
}

/* `record_bytes` is a constant in the call for the usual size: copies without a loop. */
WF_INLINE void gather_sized(const struct work *work, const struct wf_sort_entry *entries,
                            size_t record_bytes)
{
	uint64_t n = work->arg->records;
	uint8_t *to = work->to;

	for (uint64_t i = 0; i < n; i++) {
		if (i + PREFETCH_AHEAD < n) {
			const uint8_t *next =
				wf_sort_record(&work->source, entries[i + PREFETCH_AHEAD].loc);

			__builtin_prefetch(next);
			if (record_bytes > 64)
				__builtin_prefetch(next + 64);
			__builtin_prefetch(next + record_bytes - 1);
		}
		memcpy(to, wf_sort_record(&work->source, entries[i].loc), record_bytes);
		to += record_bytes;
	}
}

static void gather_lines(const struct work *work, const struct wf_sort_entry *entries)
{
	uint64_t n = work->arg->records;
	uint8_t *to = work->to;

	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *line = wf_sort_record(&work->source, entries[i].loc);
		size_t size = (size_t)((const uint8_t *)rawmemchr(line, '\n') - line) + 1;

		if (i + PREFETCH_AHEAD < n) {
			const uint8_t *next =
				wf_sort_record(&work->source, entries[i + PREFETCH_AHEAD].loc);

			__builtin_prefetch(next);
			__builtin_prefetch(next + 64);
		}
		memcpy(to, line, size);
		to += size;
	}
	WF_CHECK(to == work->to + work->arg->bytes);
}

/* Equal keys: the records as they came. */
static void copy_all(const struct work *work)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;
	uint8_t *to = work->to;
	uint64_t *order = work->order;

	for (uint32_t i = 0; i < weft_input_count(work->self); i++) {
		struct wf_sort_span span = piece(work, i);

		memcpy(to, span.data, span.bytes);
		to += span.bytes;
		for (size_t at = 0; order && at < span.bytes;) {
			*order++ = wf_sort_loc(i, at);
			at += wf_sort_record_size(layout, span.data + at);
		}
	}
	WF_CHECK(to == work->to + work->arg->bytes);
}

/* May suspend. */
static int sort_all(struct work *work)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;
	uint64_t records = work->arg->records;
	const uint8_t **pieces;
	struct wf_sort_entry *entries;
	struct wf_sort_time begin;
	struct weft_buffer room;
	size_t entries_bytes = 2 * records * sizeof(*entries);
	int status = wf_sort_room(
		work->self, entries_bytes + weft_input_count(work->self) * sizeof(*pieces), &room);

	if (status < 0)
		return status;
	begin = wf_sort_time_now();
	entries = room.data;
	pieces = (const uint8_t **)(entries + 2 * records);
	for (uint32_t i = 0; i < weft_input_count(work->self); i++)
		pieces[i] = piece(work, i).data;
	work->source.pieces = pieces;
	list(work, entries);
	wf_sort_entries(entries, entries + records, records, &work->source, 0);
	if (layout->lines)
		gather_lines(work, entries);
	else if (layout->record_bytes == 100)
		gather_sized(work, entries, 100);
	else
		gather_sized(work, entries, layout->record_bytes);
	for (uint64_t i = 0; work->order && i < records; i++)
		work->order[i] = entries[i].loc;
	wf_sort_journal_add(work->arg->job->journal, work->self, WF_SORT_STAGE_SORT, begin,
	                    work->arg->bytes);
	weft_discard(weft_task_runtime(work->self), &room);
	return 0;
}

int wf_sort_leaf_body(weft_task *self)
{
	const struct wf_sort_leaf *arg = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &arg->job->layout;
	struct work work = { .self = self, .arg = arg };
	struct wf_sort_time begin;
	void *records, *order = NULL;
	int status;

	WF_CHECK(arg->records > 0 && weft_input_count(self) > 0);
	if (weft_task_cancelled(self))
		return -ECANCELED;
	status = weft_task_output(self, 0, arg->skip + arg->bytes, &records);
	if (status >= 0 && arg->job->check)
		status = weft_task_output(self, 1, arg->records * sizeof(uint64_t), &order);
	if (status < 0)
		return wf_sort_fail_room(self, status, "to sort a partition");
	memset(records, 0, arg->skip);
	work.to = (uint8_t *)records + arg->skip;
	work.order = order;
	work.source.lines = layout->lines;
	work.source.key_offset = layout->key_offset + arg->prefix;
	work.source.key_bytes = layout->lines ? 0 : layout->key_bytes - arg->prefix;
	if (arg->sort)
		return sort_all(&work);
	begin = wf_sort_time_now();
	copy_all(&work);
	wf_sort_journal_add(arg->job->journal, self, WF_SORT_STAGE_SORT, begin, arg->bytes);
	return 0;
}
