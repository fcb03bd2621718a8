/*
 * leaf.c: the tasks at the end of partitioning. A sort task collects its bucket's entries from
 * all scatter values, sorts them (radix.c) and gathers the records behind them, once, into the
 * value that a write task writes out.
 *
 * Gathering reads records all over the input, so it is bound by cache misses. They are asked for
 * some records ahead; without that the sort tasks took a third longer.
 */
#include "leaf.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define PREFETCH_AHEAD 24 /* records; 8 was as good, 48 cost a fifth of the sort tasks' time */

/* First bytes of all chunks: inputs scatter_count .. of the task. */
static void find_chunks(const weft_task *self, const struct wf_sort_share *share,
                        const uint8_t **chunks)
{
	for (uint32_t i = 0; i < share->job->layout.chunk_count; i++) {
		struct weft_view chunk;

		WF_CHECK(weft_input(self, share->scatter_count + i, &chunk) == 0);
		chunks[i] = chunk.data;
	}
}

/* Copy the share's entries, in input order. */
static void collect(const weft_task *self, const struct wf_sort_share *share,
                    struct wf_sort_entry *entries)
{
	size_t header = wf_sort_scatter_header(share->bucket_count);
	uint64_t skip = share->skip, left = share->count;

	for (uint32_t i = 0; i < share->scatter_count && left; i++) {
		const struct wf_sort_entry *from;
		const uint64_t *start;
		struct weft_view value;
		uint64_t here;

		WF_CHECK(weft_input(self, i, &value) == 0 && value.size >= header);
		start = wf_sort_scatter_start(value.data);
		here = start[share->bucket + 1] - start[share->bucket];
		if (skip >= here) {
			skip -= here;
			continue;
		}
		from = (const struct wf_sort_entry *)((const char *)value.data + header);
		from += start[share->bucket] + skip;
		here -= skip;
		skip = 0;
		here = here < left ? here : left;
		memcpy(entries, from, here * sizeof(*entries));
		entries += here;
		left -= here;
	}
	WF_CHECK(left == 0);
}

static void rekey(struct wf_sort_entry *entries, uint64_t n, const struct wf_sort_source *source,
                  uint32_t word)
{
	for (uint64_t i = 0; i < n; i++) {
		const uint8_t *record = wf_sort_record(source, entries[i].loc);

		if (i + PREFETCH_AHEAD < n)
			__builtin_prefetch(wf_sort_record(source, entries[i + PREFETCH_AHEAD].loc) +
			                   source->key_offset + 8 * (size_t)word);
		entries[i].key =
			wf_sort_key_word(record + source->key_offset, source->key_bytes, word);
	}
}

int wf_sort_regroup_body(weft_task *self)
{
	const struct wf_sort_share *share = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &share->job->layout;
	struct wf_sort_time begin = wf_sort_time_now();
	const uint8_t **chunks;
	void *value;
	int status;

	if (weft_task_cancelled(self))
		return -ECANCELED;
	status = weft_task_output(self, 0, share->count * sizeof(struct wf_sort_entry), &value);
	if (status < 0)
		return weft_fail(self, status, "no memory to regroup a partition");
	collect(self, share, value);
	if (share->rekey) {
		struct wf_sort_source source = {
			.key_offset = layout->key_offset,
			.key_bytes = layout->key_bytes,
		};

		chunks = wf_malloc(layout->chunk_count * sizeof(*chunks));
		if (!chunks)
			return weft_fail(self, -ENOMEM, "no memory to regroup a partition");
		find_chunks(self, share, chunks);
		source.chunks = chunks;
		rekey(value, share->count, &source, share->word);
		wf_free(chunks);
	}
	wf_sort_journal_add(share->job->journal, self, WF_SORT_STAGE_REGROUP, begin,
	                    share->count * layout->record_bytes);
	return 0;
}

/* `record_bytes` is a constant in the call for the usual size: copies without a loop. */
WF_INLINE void gather_sized(uint8_t *to, const struct wf_sort_entry *entries, uint64_t n,
                            const struct wf_sort_source *source, size_t record_bytes)
{
	for (uint64_t i = 0; i < n; i++) {
		if (i + PREFETCH_AHEAD < n) {
			const uint8_t *next =
				wf_sort_record(source, entries[i + PREFETCH_AHEAD].loc);

			__builtin_prefetch(next);
			if (record_bytes > 64)
				__builtin_prefetch(next + 64);
			__builtin_prefetch(next + record_bytes - 1);
		}
		memcpy(to, wf_sort_record(source, entries[i].loc), record_bytes);
		to += record_bytes;
	}
}

static void gather(uint8_t *to, const struct wf_sort_entry *entries, uint64_t n,
                   const struct wf_sort_source *source, size_t record_bytes)
{
	if (record_bytes == 100)
		gather_sized(to, entries, n, source, 100);
	else
		gather_sized(to, entries, n, source, record_bytes);
}

/* Sort and gather with the room that wf_sort_leaf_body() made. */
static void fill(weft_task *self, const struct wf_sort_share *share, struct wf_sort_entry *entries,
                 const uint8_t **chunks, uint8_t *records, uint64_t *order)
{
	const struct wf_sort_layout *layout = &share->job->layout;
	struct wf_sort_source source = {
		.chunks = chunks,
		.key_offset = layout->key_offset,
		.key_bytes = layout->key_bytes,
	};

	find_chunks(self, share, chunks);
	collect(self, share, entries);
	if (share->rekey)
		rekey(entries, share->count, &source, share->word);
	if (share->sort)
		wf_sort_entries(entries, entries + share->count, share->count, &source,
		                share->word);
	gather(records, entries, share->count, &source, layout->record_bytes);
	for (uint64_t i = 0; order && i < share->count; i++)
		order[i] = entries[i].loc;
}

int wf_sort_leaf_body(weft_task *self)
{
	const struct wf_sort_share *share = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &share->job->layout;
	size_t entries_bytes = 2 * share->count * sizeof(struct wf_sort_entry);
	struct wf_sort_time begin = wf_sort_time_now();
	void *records, *order = NULL, *room;
	int status;

	if (weft_task_cancelled(self))
		return -ECANCELED;
	status = weft_task_output(self, 0, share->count * layout->record_bytes, &records);
	if (status >= 0 && share->job->check)
		status = weft_task_output(self, 1, share->count * sizeof(uint64_t), &order);
	if (status < 0)
		return weft_fail(self, status, "no memory to sort a partition");
	room = wf_malloc(entries_bytes + layout->chunk_count * sizeof(void *));
	if (!room)
		return weft_fail(self, -ENOMEM, "no memory to sort a partition");
	fill(self, share, room, (const uint8_t **)((char *)room + entries_bytes), records, order);
	wf_free(room);
	wf_sort_journal_add(share->job->journal, self, WF_SORT_STAGE_SORT, begin,
	                    share->count * layout->record_bytes);
	return 0;
}
