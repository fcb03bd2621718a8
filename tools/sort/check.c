/*
 * check.c: --check proves what the sums of verify.c make likely: each output record is an input
 * record, none is used twice, and equal keys are in input order.
 *
 * It goes the job's way again. Each partition task is repeated, and record by record the pieces
 * must be what it read: so the pieces of a bucket, one after the other, are some of the records of
 * the input in input order, and together they are all. Then each sort task's output is read from
 * the file and compared with the records of its pieces that it is said to be; inside equal keys
 * their places must grow. That is stability, and since keys are in order it also shows that no
 * record was used twice.
 *
 * Everything that is looked at again is kept, in memory or in the spill files, until then.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

/* Input `i`, without what is behind the last line. */
static struct wf_sort_span span_of(weft_task *self, const struct wf_sort_job *job, uint32_t i)
{
	uint64_t pad = job->layout.lines ? WF_SORT_LINE_PAD : 0;
	struct weft_view view;

	WF_CHECK(weft_input(self, i, &view) == 0);
	return (struct wf_sort_span){ view.data, view.size > pad ? view.size - pad : 0 };
}

/* ---- Partitions -------------------------------------------------------------------- */

/* Inputs: splitters, pieces that were partitioned, pieces that came of it. */
struct again {
	struct wf_sort_partition partition;
	uint32_t n_inputs;
};

/* Every record of `from` against the next one of its bucket. */
static int repeat(weft_task *self, const struct again *again, struct wf_sort_span from,
                  struct wf_sort_span *pieces)
{
	const struct wf_sort_job *job = again->partition.job;
	const struct wf_sort_splitters *splitters;
	struct weft_view table;

	WF_CHECK(weft_input(self, 0, &table) == 0);
	splitters = table.data;
	while (from.bytes) {
		size_t size = wf_sort_record_size(&job->layout, from.data);
		struct wf_sort_span *piece =
			&pieces[wf_sort_bucket(splitters, &job->layout, from.data, size)];

		if (piece->bytes < size || memcmp(piece->data, from.data, size) != 0)
			return weft_fail(self, -EBADMSG,
			                 "%s: a record was not partitioned as it was read",
			                 job->input_name);
		piece->data += size;
		piece->bytes -= size;
		from.data += size;
		from.bytes -= size;
	}
	return 0;
}

static int repeat_range(weft_task *self, const struct again *again, struct wf_sort_span *pieces)
{
	const struct wf_sort_range *range = &again->partition.range;
	struct weft_buffer room;
	int status = wf_sort_room(self, range->bytes + WF_SORT_LINE_PAD, &room);

	if (status < 0)
		return status;
	status = wf_sort_read_range(self, again->partition.job, range->offset, range->bytes,
	                            room.data);
	if (status == 0)
		status = repeat(self, again, (struct wf_sort_span){ room.data, range->bytes },
		                pieces);
	weft_discard(weft_task_runtime(self), &room);
	return status;
}

static int partition_body(weft_task *self)
{
	const struct again *again = weft_task_arg(self, NULL);
	const struct wf_sort_job *job = again->partition.job;
	uint32_t buckets = weft_input_count(self) - again->n_inputs;
	struct wf_sort_time begin = wf_sort_time_now();
	struct wf_sort_span *pieces = wf_malloc(buckets * sizeof(*pieces));
	uint64_t bytes = 0;
	int status = 0;

	if (!pieces)
		return weft_fail(self, -ENOMEM, "no memory to check the output");
	for (uint32_t b = 0; b < buckets; b++) {
		pieces[b] = span_of(self, job, again->n_inputs + b);
		bytes += pieces[b].bytes;
	}
	if (again->n_inputs == 1)
		status = repeat_range(self, again, pieces);
	for (uint32_t i = 1; i < again->n_inputs && status == 0; i++)
		status = repeat(self, again, span_of(self, job, i), pieces);
	for (uint32_t b = 0; b < buckets && status == 0; b++) {
		if (pieces[b].bytes)
			status = weft_fail(self, -EBADMSG,
			                   "%s: more records were partitioned than were read",
			                   job->input_name);
	}
	wf_free(pieces);
	if (status == 0)
		wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_CHECK, begin, bytes);
	return status;
}

/* ---- Sorted records ---------------------------------------------------------------- */

/* Inputs: the pieces; where each record of the output was in them. */
struct proof {
	const struct wf_sort_job *job;
	uint64_t offset;
};

static const uint8_t *record_at(weft_task *self, const struct wf_sort_job *job, uint64_t loc)
{
	uint32_t pieces = weft_input_count(self) - 1;
	struct wf_sort_span span;

	if (loc >> 32 >= pieces)
		return NULL;
	span = span_of(self, job, (uint32_t)(loc >> 32));
	return (uint32_t)loc < span.bytes ? span.data + (uint32_t)loc : NULL;
}

/* A block of the output: bytes [begin, end) of the file. */
struct block {
	uint8_t *data;
	uint64_t begin, end;
};

/* Whether the output has `n` bytes of `data` at `offset`: 1 or 0, or the task has failed. */
static int is_at(weft_task *self, const struct wf_sort_job *job, struct block *block,
                 uint64_t offset, const uint8_t *data, size_t n)
{
	for (size_t part; n; n -= part, data += part, offset += part) {
		if (offset >= block->end) {
			uint64_t left = job->layout.output_bytes - offset;
			int status;

			block->begin = block->end = offset;
			left = left < WF_SORT_BLOCK_BYTES ? left : WF_SORT_BLOCK_BYTES;
			if (weft_task_cancelled(self))
				return -ECANCELED;
			status = wf_sort_pread(job->output.fd, block->data, left, offset);
			if (status < 0)
				return wf_sort_fail_file(self, job->output.name, status);
			block->end += left;
		}
		part = block->end - offset < n ? block->end - offset : n;
		WF_CHECK(part > 0 && offset >= block->begin);
		if (memcmp(block->data + (offset - block->begin), data, part) != 0)
			return 0;
	}
	return 1;
}

static int wrong(weft_task *self, const struct wf_sort_job *job, uint64_t offset, const char *how)
{
	return weft_fail(self, -EBADMSG, "%s: the record at byte %llu %s", job->output.name,
	                 (unsigned long long)offset, how);
}

/* The output's records from `offset` on against those at `locs`. Returns how many bytes. */
static int64_t prove(weft_task *self, const struct proof *proof, const uint64_t *locs, uint64_t n,
                     struct block *block)
{
	const struct wf_sort_layout *layout = &proof->job->layout;
	const uint8_t *before = NULL, *record;
	uint64_t offset = proof->offset;
	size_t size_before = 0, size;

	for (uint64_t i = 0; i < n; i++, offset += size, before = record, size_before = size) {
		int same;

		record = record_at(self, proof->job, locs[i]);
		if (!record)
			return wrong(self, proof->job, offset, "comes from nowhere");
		size = wf_sort_record_size(layout, record);
		if (before && locs[i] <= locs[i - 1] &&
		    wf_sort_compare(layout, before, size_before, record, size) == 0)
			return wrong(self, proof->job, offset,
			             "is not in input order among equal keys");
		if (size > layout->output_bytes - offset)
			return wrong(self, proof->job, offset, "is longer than the file");
		same = is_at(self, proof->job, block, offset, record, size);
		if (same < 0)
			return same;
		if (!same)
			return wrong(self, proof->job, offset,
			             "is not the input record it came from");
	}
	return (int64_t)(offset - proof->offset);
}

static int leaf_body(weft_task *self)
{
	const struct proof *proof = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	struct block block = { .data = wf_malloc(WF_SORT_BLOCK_BYTES) };
	struct weft_view order;
	int64_t bytes;

	if (!block.data)
		return weft_fail(self, -ENOMEM, "no memory to check the output");
	WF_CHECK(weft_input(self, weft_input_count(self) - 1, &order) == 0);
	bytes = prove(self, proof, order.data, order.size / sizeof(uint64_t), &block);
	wf_free(block.data);
	if (bytes < 0)
		return (int)bytes;
	wf_sort_journal_add(proof->job->journal, self, WF_SORT_STAGE_CHECK, begin, (uint64_t)bytes);
	return 0;
}

/* ---- All --------------------------------------------------------------------------- */

static int submit(struct wf_sort_window *window, const struct wf_sort_job *job,
                  const struct wf_sort_proof *proof)
{
	struct again again = { .partition = proof->partition, .n_inputs = proof->n_inputs };
	struct proof leaf = { .job = job, .offset = proof->offset };

	WF_CHECK(proof->refs.count <= WEFT_INPUTS_MAX);
	if (proof->is_leaf)
		return wf_sort_window_submit(window,
		                             WEFT_TASK(leaf_body, WEFT_ARG(leaf),
		                                       .inputs = proof->refs.refs,
		                                       .n_inputs = (uint16_t)proof->refs.count),
		                             NULL);
	return wf_sort_window_submit(window,
	                             WEFT_TASK(partition_body, WEFT_ARG(again),
	                                       .inputs = proof->refs.refs,
	                                       .n_inputs = (uint16_t)proof->refs.count),
	                             NULL);
}

int wf_sort_check_run(weft_task *self, const struct wf_sort_job *job,
                      const struct wf_sort_proofs *proofs)
{
	struct wf_sort_window window;
	int status = 0;

	wf_sort_window_init(&window, self, job->layout.window);
	for (size_t i = 0; i < proofs->count && status == 0; i++)
		status = submit(&window, job, &proofs->list[i]);
	if (status == 0)
		status = wf_sort_window_drain(&window);
	wf_sort_window_fini(&window);
	return status;
}
