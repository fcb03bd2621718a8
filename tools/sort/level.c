/*
 * level.c: one level of the sort: splitters from a sample, partition tasks, and for each bucket a
 * sort task and a write task. A bucket that came out too large for the memory is a level of its
 * own, over the pieces of the bucket: nested splitting. That is also how inputs are sorted for
 * which one level would need too many partitions.
 *
 * A bucket of equal keys needs no sorting: its pieces are its records in order, and it is only cut
 * into shares that fit. Keys that are equal as far as splitters look are split by what is behind.
 *
 * Termination: a bucket that is split again holds fewer records than its level, or its keys are
 * known to be equal for more bytes, but for bad luck with the sample; levels are limited for that,
 * and a bucket at the limit is sorted by one task, whatever its size.
 *
 * A level runs in the calling task, nested ones too: one after the other, so that the memory that
 * a window bounds is that of the job. Refs of pieces are given up as soon as their tasks are
 * submitted, so that an object goes, from memory and from the file, when it was used.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define OVERSAMPLE   64 /* sample keys per partition: a guess; the largest is a third too large */
#define SAMPLE_TASKS 16
#define SAMPLE_SEED  0x5eedu /* the same file is always cut the same way */
#define DIRECT_ALIGN 4096u

struct bucket {
	struct wf_sort_pieces pieces;
	enum wf_sort_equals equals;
	uint32_t in_common; /* bytes of all its keys */
};

/* The state of one level while it partitions. */
struct level {
	struct wf_sort_run *run;
	struct wf_sort_pieces *pieces;
	uint32_t prefix, depth;
	weft_ref table;
	struct bucket *buckets;
	uint32_t bucket_count;
	/* Refs of partition tasks that have not been filed, in the order of the window. */
	struct wf_sort_refs outputs;
	size_t filed;
};

static int no_memory(const struct wf_sort_run *run)
{
	return weft_fail(run->self, -ENOMEM, "no memory for a list of tasks");
}

/* ---- Splitters --------------------------------------------------------------------- */

/* Pieces `first` .. of the level that one task takes: about a chunk. */
static size_t group_end(const struct level *level, size_t first)
{
	uint64_t most = level->run->job->layout.chunk_bytes, bytes = 0;
	size_t end = first;

	while (end < level->pieces->count && end - first < WEFT_INPUTS_MAX - 2 &&
	       (end == first || bytes + level->pieces->list[end].bytes <= most))
		bytes += level->pieces->list[end++].bytes;
	return end;
}

static bool is_top(const struct level *level)
{
	return level->depth == 0;
}

/* Sample tasks; nested, over one piece each, evenly spread. */
static int submit_samples(struct level *level, struct wf_sort_refs *samples)
{
	struct wf_sort_run *run = level->run;
	const struct wf_sort_layout *layout = &run->job->layout;
	size_t count = level->pieces->count;
	size_t tasks = is_top(level) || count > SAMPLE_TASKS ? SAMPLE_TASKS : count;
	uint64_t records =
		level->pieces->records ? level->pieces->records : level->pieces->bytes / 64 + 1;
	struct wf_sort_draw draw = { .job = run->job, .prefix = level->prefix };
	uint64_t wanted;

	wanted = wf_sort_layout_partitions(layout, level->pieces->bytes, records) * OVERSAMPLE;
	draw.wanted = (uint32_t)(wanted / tasks + 1);
	for (size_t i = 0; i < tasks; i++) {
		const struct wf_sort_piece *piece = &level->pieces->list[i * count / tasks];
		weft_ref out;
		int status;

		draw.seed = (uint32_t)(SAMPLE_SEED + i);
		status = wf_sort_window_submit(&run->window,
		                               WEFT_TASK(wf_sort_sample_body, WEFT_ARG(draw),
		                                         .inputs = &piece->ref,
		                                         .n_inputs = !is_top(level)),
		                               &out);
		if (status < 0)
			return status;
		if (wf_sort_refs_add(samples, out) < 0) {
			weft_release(run->job->rt, out);
			return no_memory(run);
		}
	}
	return 0;
}

static int make_buckets(struct level *level, const struct wf_sort_splitters *splitters)
{
	level->buckets = wf_calloc(splitters->bucket_count, sizeof(*level->buckets));
	if (!level->buckets)
		return no_memory(level->run);
	level->bucket_count = splitters->bucket_count;
	for (uint32_t b = 0; b < level->bucket_count; b++) {
		level->buckets[b].equals = splitters->equals[b];
		level->buckets[b].in_common = splitters->in_common[b];
	}
	return 0;
}

static int make_splitters(struct level *level)
{
	struct wf_sort_run *run = level->run;
	struct wf_sort_refs samples = { NULL, 0, 0 };
	struct wf_sort_split split = {
		.job = run->job,
		.prefix = level->prefix,
		.bytes = level->pieces->bytes,
		.records = level->pieces->records,
	};
	struct weft_view view;
	int status = submit_samples(level, &samples);

	if (status == 0)
		status = wf_sort_window_submit(&run->window,
		                               WEFT_TASK(wf_sort_splitters_body, WEFT_ARG(split),
		                                         .inputs = samples.refs,
		                                         .n_inputs = (uint16_t)samples.count),
		                               &level->table);
	wf_sort_refs_fini(run->job->rt, &samples);
	if (status == 0)
		status = wf_sort_window_drain(&run->window);
	if (status < 0)
		return status;
	status = weft_get(run->job->rt, level->table, WEFT_FOREVER, &view);
	if (status < 0)
		return weft_fail(run->self, status, "cannot get the splitters: %s",
		                 weft_strerror(status));
	status = make_buckets(level, view.data);
	weft_view_end(run->job->rt, level->table);
	return status;
}

/* ---- Partitioning ------------------------------------------------------------------ */

/* By how many outputs: options must outlive their tasks, and those the level. */
#define OUTPUTS(n) [n] = { .struct_size = sizeof(struct weft_task_options), .n_outputs = 1u << (n) }
static const struct weft_task_options outputs_options[] = {
	OUTPUTS(1), OUTPUTS(2), OUTPUTS(3), OUTPUTS(4), OUTPUTS(5),
	OUTPUTS(6), OUTPUTS(7), OUTPUTS(8), OUTPUTS(9), OUTPUTS(10),
};
_Static_assert(2 * WF_SORT_PARTITIONS_MAX <= 1 << 10, "room for the parts and all pieces");

/* For at least the parts and a piece of each bucket; what is too much stays empty. */
static uint32_t outputs_log(const struct level *level)
{
	uint32_t n = 1;

	while (1u << n < level->bucket_count + 1)
		n++;
	return n;
}

static const struct weft_task_options *options_of(const struct level *level)
{
	const struct wf_sort_gpu *gpu = level->run->job->gpu;

	return gpu ? wf_sort_gpu_options(gpu, outputs_log(level))
		   : &outputs_options[outputs_log(level)];
}

/* File the refs of one partition task under its buckets. */
static int file_pieces(struct level *level, const struct wf_sort_parts *parts, weft_ref *pieces)
{
	for (uint32_t b = 0; b < level->bucket_count; b++) {
		const struct wf_sort_part *part = &parts->part[b];
		struct wf_sort_piece piece = {
			.ref = pieces[b],
			.bytes = part->bytes,
			.records = part->records,
		};
		int status;

		if (part->bytes == 0)
			continue; /* an empty value */
		status = wf_sort_pieces_add(&level->buckets[b].pieces, piece);
		if (status < 0)
			return status;
		pieces[b] = WEFT_NONE; /* moved */
	}
	return 0;
}

/* For the window: the oldest partition task has ended. */
static int partition_done(void *arg, const struct weft_view *value)
{
	struct level *level = arg;
	const struct wf_sort_parts *parts = value->data;
	uint32_t n = options_of(level)->n_outputs;
	weft_ref *refs = level->outputs.refs + level->filed;
	int status;

	WF_CHECK(level->filed + n <= level->outputs.count);
	if (level->depth == 0) {
		level->run->sum.checksum += parts->sum.checksum;
		level->run->sum.records += parts->sum.records;
	}
	status = file_pieces(level, parts, refs + 1);
	for (uint32_t i = 0; i < n; i++) {
		if (refs[i].bits)
			weft_release(level->run->job->rt, refs[i]);
		refs[i] = WEFT_NONE;
	}
	level->filed += n;
	if (level->filed == level->outputs.count)
		level->filed = level->outputs.count = 0;
	return status;
}

/* --check: keep what went in and what came out. */
static int keep_partition(struct level *level, const struct wf_sort_partition *arg,
                          const weft_ref *inputs, uint32_t n_inputs, const weft_ref *pieces)
{
	struct wf_sort_run *run = level->run;
	struct wf_sort_proof proof = { .partition = *arg, .n_inputs = n_inputs };

	if (!run->job->check)
		return 0;
	if (wf_sort_refs_add_many(&proof.refs, inputs, n_inputs) < 0 ||
	    wf_sort_refs_add_many(&proof.refs, pieces, level->bucket_count) < 0) {
		wf_free(proof.refs.refs);
		return no_memory(run);
	}
	weft_retain_many(run->job->rt, proof.refs.refs, (uint32_t)proof.refs.count);
	return wf_sort_proofs_add(run->job->rt, &run->proofs, &proof) < 0 ? no_memory(run) : 0;
}

/* One partition task over pieces [first, end). `out` has room for all its outputs. */
static int submit_partition(struct level *level, size_t first, size_t end, weft_ref *inputs,
                            weft_ref *out)
{
	struct wf_sort_run *run = level->run;
	const struct weft_task_options *options = options_of(level);
	weft_task_fn *partition_body =
		run->job->gpu ? wf_sort_gpu_partition_body : wf_sort_partition_body;
	struct wf_sort_partition arg = { .job = run->job };
	bool top = is_top(level);
	uint32_t n_inputs = 1;
	int status;

	inputs[0] = level->table;
	if (top)
		arg.range = (struct wf_sort_range){ level->pieces->list[first].offset,
			                            level->pieces->list[first].bytes };
	for (size_t i = first; i < end && !top; i++)
		inputs[n_inputs++] = level->pieces->list[i].ref;
	status = wf_sort_window_submit(&run->window,
	                               WEFT_TASK(partition_body, WEFT_ARG(arg), .inputs = inputs,
	                                         .n_inputs = (uint16_t)n_inputs, .opts = options),
	                               out);
	if (status < 0)
		return status;
	status = keep_partition(level, &arg, inputs, n_inputs, out + 1);
	if (status == 0 && wf_sort_refs_add_many(&level->outputs, out, options->n_outputs) < 0)
		status = no_memory(run);
	if (status < 0)
		weft_release_many(run->job->rt, out, options->n_outputs);
	for (size_t i = first; i < end && !top; i++) {
		weft_release(run->job->rt, level->pieces->list[i].ref);
		level->pieces->list[i].ref = WEFT_NONE;
	}
	return status;
}

/* All partition tasks, until the last has ended. */
static int partition(struct level *level)
{
	struct wf_sort_run *run = level->run;
	bool top = is_top(level);
	weft_ref *room = wf_malloc((WEFT_INPUTS_MAX + 2 * WF_SORT_PARTITIONS_MAX) * sizeof(*room));
	size_t end;
	int status = 0;

	if (!room)
		return no_memory(run);
	WF_CHECK(run->window.count == 0);
	run->window.done = partition_done;
	run->window.arg = level;
	if (run->job->gpu)
		status = wf_sort_gpu_fits(run->self, run->job->gpu, outputs_log(level));
	for (size_t i = 0; i < level->pieces->count && status == 0; i = end) {
		end = top ? i + 1 : group_end(level, i);
		status = submit_partition(level, i, end, room + 2 * WF_SORT_PARTITIONS_MAX, room);
	}
	if (status == 0)
		status = wf_sort_window_drain(&run->window);
	run->window.done = NULL;
	wf_free(room);
	return status;
}

/* ---- Sorting ----------------------------------------------------------------------- */

/* Pieces of a bucket that one sort task takes. */
struct share {
	size_t first, end;
	uint64_t bytes, records;
	uint32_t prefix;
	bool sort;
};

static int keep_leaf(struct wf_sort_run *run, const struct share *share, const weft_ref *pieces,
                     weft_ref order)
{
	struct wf_sort_proof proof = {
		.is_leaf = true,
		.offset = run->written,
		.n_inputs = (uint32_t)(share->end - share->first),
	};

	if (wf_sort_refs_add_many(&proof.refs, pieces, proof.n_inputs) < 0 ||
	    wf_sort_refs_add(&proof.refs, order) < 0) {
		wf_free(proof.refs.refs);
		return no_memory(run);
	}
	weft_retain_many(run->job->rt, proof.refs.refs, (uint32_t)proof.refs.count);
	return wf_sort_proofs_add(run->job->rt, &run->proofs, &proof) < 0 ? no_memory(run) : 0;
}

/* A sort task and the write task behind it, for `pieces`, whose refs are given up. */
static int submit_leaf(struct wf_sort_run *run, const struct share *share, weft_ref *pieces)
{
	static const struct weft_task_options with_order = {
		.struct_size = sizeof(with_order),
		.n_outputs = 2,
	};
	const struct wf_sort_job *job = run->job;
	struct wf_sort_leaf leaf = {
		.job = job,
		.bytes = share->bytes,
		.records = share->records,
		/* Memory has the alignment of the file, for writing past the page cache. */
		.skip = (uint32_t)(run->written % DIRECT_ALIGN),
		.prefix = share->prefix,
		.sort = share->sort,
	};
	struct wf_sort_write write = {
		.job = job,
		.sink = &job->output,
		.stage = WF_SORT_STAGE_WRITE,
		.skip = leaf.skip,
		.offset = run->written,
	};
	weft_ref out[2];
	int status;

	status = weft_submit(job->rt,
	                     WEFT_TASK(wf_sort_leaf_body, WEFT_ARG(leaf), .inputs = pieces,
	                               .n_inputs = (uint16_t)(share->end - share->first),
	                               .opts = job->check ? &with_order : NULL),
	                     out);
	if (status < 0)
		return weft_fail(run->self, status, "cannot submit a task: %s",
		                 weft_strerror(status));
	status = wf_sort_write_submit(&run->window, &write, out[0]);
	weft_release(job->rt, out[0]);
	if (job->check) {
		if (status == 0)
			status = keep_leaf(run, share, pieces, out[1]);
		weft_release(job->rt, out[1]);
	}
	run->written += share->bytes;
	return status;
}

/* One share of a bucket. Its pieces are consumed. */
static int sort_share(struct wf_sort_run *run, struct wf_sort_pieces *bucket,
                      const struct share *share)
{
	uint64_t memory = wf_sort_leaf_memory(share->bytes, share->records);
	size_t n = share->end - share->first;
	bool alone = share->sort && memory > run->job->layout.leaf_most;
	weft_ref *pieces = wf_malloc(n * sizeof(*pieces));
	int status = 0;

	WF_CHECK(n > 0 && n < WEFT_INPUTS_MAX);
	if (!pieces)
		return no_memory(run);
	for (size_t i = 0; i < n; i++)
		pieces[i] = bucket->list[share->first + i].ref;
	/* What is too large to be beside others may do alone. */
	if (alone)
		status = wf_sort_window_drain(&run->window);
	if (status == 0)
		status = wf_sort_window_wait(&run->window);
	if (status == 0)
		status = submit_leaf(run, share, pieces);
	if (status == 0 && alone)
		status = wf_sort_window_drain(&run->window);
	for (size_t i = 0; i < n; i++)
		bucket->list[share->first + i].ref = WEFT_NONE;
	weft_release_many(run->job->rt, pieces, (uint32_t)n);
	wf_free(pieces);
	return status;
}

/* A bucket of equal keys: in shares of whole pieces, copied as they are. */
static int copy_bucket(struct level *level, uint32_t b)
{
	struct wf_sort_pieces *bucket = &level->buckets[b].pieces;
	const struct wf_sort_layout *layout = &level->run->job->layout;
	struct share share = { .end = 0 };
	int status = 0;

	while (share.end < bucket->count && status == 0) {
		share.first = share.end;
		share.bytes = share.records = 0;
		do {
			share.bytes += bucket->list[share.end].bytes;
			share.records += bucket->list[share.end].records;
			share.end++;
		} while (share.end < bucket->count &&
		         2 * (share.bytes + bucket->list[share.end].bytes) <= layout->leaf_target);
		status = sort_share(level->run, bucket, &share);
	}
	return status;
}

static int sort_bucket(struct level *level, uint32_t b)
{
	struct wf_sort_pieces *bucket = &level->buckets[b].pieces;
	const struct wf_sort_layout *layout = &level->run->job->layout;
	uint64_t memory = wf_sort_leaf_memory(bucket->bytes, bucket->records);
	struct share share = {
		.end = bucket->count,
		.bytes = bucket->bytes,
		.records = bucket->records,
		.prefix = level->buckets[b].in_common,
		.sort = true,
	};

	if (bucket->count == 0)
		return 0;
	if (level->buckets[b].equals == WF_SORT_EQUAL_KEYS)
		return copy_bucket(level, b);
	if (memory > layout->leaf_most && bucket->records > 1 &&
	    level->depth + 1 < WF_SORT_LEVELS_MAX)
		return wf_sort_level_run(level->run, bucket, share.prefix, level->depth + 1);
	return sort_share(level->run, bucket, &share);
}

int wf_sort_level_run(struct wf_sort_run *run, struct wf_sort_pieces *pieces, uint32_t prefix,
                      uint32_t depth)
{
	struct level level = { .run = run, .pieces = pieces, .prefix = prefix, .depth = depth };
	weft *rt = run->job->rt;
	int status;

	WF_CHECK(pieces->count > 0 && pieces->bytes > 0);
	status = wf_sort_window_drain(&run->window);
	if (status == 0)
		status = make_splitters(&level);
	if (status == 0)
		status = partition(&level);
	wf_sort_pieces_fini(rt, pieces);
	if (level.table.bits)
		weft_release(rt, level.table);
	for (uint32_t b = 0; b < level.bucket_count && status == 0; b++)
		status = sort_bucket(&level, b);
	for (uint32_t b = 0; b < level.bucket_count; b++)
		wf_sort_pieces_fini(rt, &level.buckets[b].pieces);
	wf_free(level.buckets);
	wf_sort_refs_fini(rt, &level.outputs);
	return status;
}
