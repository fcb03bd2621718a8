/*
 * pipeline.c: the job as a whole, from the read tasks to the verified output.
 *
 *	read (chunk)          -> chunk bytes, its key words, its checksum
 *	splitters (all keys)  -> splitter table
 *	scatter (keys, table) -> the chunk's entries by bucket
 *	plan (all scatters)   -> exact sizes, and so every record's place in the output
 *	sort (bucket)         -> the bucket's records in order        (or a nested level)
 *	write (records)       -> nothing: pwrite at the known offset
 *	verify (slice)        -> order and checksum of a slice of the output, after all writes
 *
 * Each line is a kind of task and waits for the refs of the line above, so sorting overlaps
 * writing. Chunks stay where read tasks put them; scatter moves 16 bytes per record, and the
 * record's own bytes move once, when they are gathered.
 *
 * Decision: read and write tasks are plain ones, not WEFT_TASK_BLOCKING. A buffered pread or
 * pwrite is a copy by this CPU most of the time, and handing the slot to a spare thread would put
 * more copies than CPUs beside each other. Files that are not cached are read ahead by the kernel,
 * which is told about the next chunk when one is begun.
 */
#include "sort.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "base.h"

/*
 * A little under a power of two: the allocator's classes grow by a quarter, and a chunk that is a
 * header too large would take, and clear, two more MiB.
 */
#define CHUNK_BYTES   ((8u << 20) - (64u << 10))
#define CHUNK_RECORDS (256u << 10) /* bounds the entries of a chunk of tiny records */
#define CHUNKS_MAX    1024
#define LEAF_BYTES    (4u << 20) /* 2 and 8 MiB were slower by some percent */
#define LEAF_RECORDS  (64u << 10)
#define SLICES_MAX    4096

/* ---- Layout ------------------------------------------------------------------------ */

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	WF_CHECK(b > 0);
	return a / b + (a % b != 0);
}

static uint64_t clamp(uint64_t x, uint64_t least, uint64_t most)
{
	return x < least ? least : x > most ? most : x;
}

int wf_sort_layout_init(struct wf_sort_layout *layout, uint64_t bytes,
                        const struct wf_sort_options *options)
{
	uint64_t record_bytes = options->record_bytes;
	uint64_t records = bytes / record_bytes;
	uint64_t chunk, leaf, slice;

	WF_CHECK(bytes % record_bytes == 0);
	chunk = clamp(CHUNK_BYTES / record_bytes, 1, CHUNK_RECORDS);
	if (chunk < divide_up(records, CHUNKS_MAX))
		chunk = divide_up(records, CHUNKS_MAX);
	if (chunk * record_bytes > UINT32_MAX)
		return -EFBIG; /* offsets inside a chunk have 32 bits */
	leaf = clamp(LEAF_BYTES / record_bytes, 1, LEAF_RECORDS);
	if (leaf < divide_up(records, WF_SORT_PARTITIONS_MAX))
		leaf = divide_up(records, WF_SORT_PARTITIONS_MAX);
	slice = clamp(LEAF_BYTES / record_bytes, 1, UINT32_MAX);
	if (slice < divide_up(records, SLICES_MAX))
		slice = divide_up(records, SLICES_MAX);
	*layout = (struct wf_sort_layout){
		.bytes = bytes,
		.records = records,
		.record_bytes = options->record_bytes,
		.key_offset = options->key_offset,
		.key_bytes = options->key_bytes,
		.chunk_count = (uint32_t)divide_up(records, chunk),
		.chunk_records = chunk,
		.leaf_records = leaf,
		.slice_count = (uint32_t)divide_up(records, slice),
		.slice_records = slice,
		.block_records = (uint32_t)clamp(WF_SORT_BLOCK_BYTES / record_bytes, 1, UINT32_MAX),
	};
	return 0;
}

uint64_t wf_sort_layout_memory(const struct wf_sort_layout *layout, uint32_t workers, bool check)
{
	uint64_t entry = sizeof(struct wf_sort_entry);
	uint64_t per_record = entry + sizeof(uint64_t) + (check ? sizeof(uint64_t) : 0);
	uint64_t per_worker = 3 * layout->leaf_records * (layout->record_bytes + 2 * entry);

	if (layout->records / 2 < layout->leaf_records)
		per_worker = layout->bytes + layout->records * 2 * entry;
	return layout->bytes + layout->records * per_record + workers * per_worker;
}

/* ---- Lists of refs, failures ------------------------------------------------------- */

int wf_sort_refs_add_many(struct wf_sort_refs *list, const weft_ref *refs, size_t n)
{
	if (list->count + n > list->capacity) {
		size_t capacity = 2 * list->capacity + n + 64;
		weft_ref *grown = wf_malloc(capacity * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		if (list->count)
			memcpy(grown, list->refs, list->count * sizeof(*grown));
		wf_free(list->refs);
		list->refs = grown;
		list->capacity = capacity;
	}
	if (n)
		memcpy(list->refs + list->count, refs, n * sizeof(*refs));
	list->count += n;
	return 0;
}

int wf_sort_refs_add(struct wf_sort_refs *list, weft_ref ref)
{
	return wf_sort_refs_add_many(list, &ref, 1);
}

void wf_sort_refs_fini(weft *rt, struct wf_sort_refs *list)
{
	if (list->count)
		weft_release_many(rt, list->refs, (uint32_t)list->count);
	wf_free(list->refs);
	*list = (struct wf_sort_refs){ NULL, 0, 0 };
}

const char *wf_sort_cause(weft *rt, weft_ref ref, int status)
{
	const struct weft_error *error;

	if (weft_ref_error(rt, ref, &error) < 0)
		return weft_strerror(status);
	while (error->cause)
		error = error->cause;
	return error->text[0] ? error->text : weft_strerror(error->code);
}

int wf_sort_refs_wait(weft_task *self, const struct wf_sort_refs *list)
{
	weft *rt = weft_task_runtime(self);
	struct weft_view *views;
	uint32_t failed = UINT32_MAX;
	int status;

	if (list->count == 0)
		return 0;
	views = wf_malloc(list->count * sizeof(*views));
	if (!views)
		return weft_fail(self, -ENOMEM, "no memory to wait for tasks");
	status = weft_get_many(rt, list->refs, (uint32_t)list->count, WEFT_FOREVER, views, &failed);
	wf_free(views);
	if (status >= 0)
		return 0;
	if (weft_task_cancelled(self))
		return -ECANCELED;
	if (failed >= list->count)
		return weft_fail(self, status, "cannot wait for tasks: %s", weft_strerror(status));
	return weft_fail(self, status, "%s", wf_sort_cause(rt, list->refs[failed], status));
}

int wf_sort_fail_file(weft_task *self, const char *name, int status)
{
	if (status == -ENODATA)
		return weft_fail(self, status, "%s: the file became shorter meanwhile", name);
	return weft_fail(self, status, "%s: %s", name, weft_strerror(status));
}

/* ---- Read and write tasks ---------------------------------------------------------- */

struct read_chunk {
	const struct wf_sort_job *job;
	uint32_t chunk;
};

/* Read the chunk block by block, and take keys and hashes while a block is in the cache. */
static int fill_chunk(weft_task *self, const struct wf_sort_job *job, uint64_t first, uint64_t n,
                      uint8_t *to, uint64_t *keys, struct wf_sort_result *sum)
{
	const struct wf_sort_layout *layout = &job->layout;

	for (uint64_t done = 0; done < n;) {
		uint64_t block =
			n - done < layout->block_records ? n - done : layout->block_records;
		int status;

		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(job->input_fd, to, block * layout->record_bytes,
		                       (first + done) * layout->record_bytes);
		if (status < 0)
			return wf_sort_fail_file(self, job->input_name, status);
		for (uint64_t i = 0; i < block; i++, to += layout->record_bytes) {
			*keys++ = wf_sort_key_word(to + layout->key_offset, layout->key_bytes, 0);
			sum->checksum += wf_sort_hash(to, layout->record_bytes);
		}
		done += block;
	}
	sum->records = n;
	return 0;
}

/* Values: the chunk's bytes, key word 0 of each record, struct wf_sort_result. */
static int read_body(weft_task *self)
{
	const struct read_chunk *arg = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &arg->job->layout;
	uint64_t first = arg->chunk * layout->chunk_records;
	uint64_t n = layout->records - first;
	struct wf_sort_time begin = wf_sort_time_now();
	void *bytes, *keys, *sum;
	int status;

	if (n > layout->chunk_records)
		n = layout->chunk_records;
	WF_CHECK(first < layout->records);
	posix_fadvise(arg->job->input_fd, (off_t)((first + n) * layout->record_bytes),
	              (off_t)(n * layout->record_bytes), POSIX_FADV_WILLNEED);
	status = weft_task_output(self, 0, n * layout->record_bytes, &bytes);
	if (status >= 0)
		status = weft_task_output(self, 1, n * sizeof(uint64_t), &keys);
	if (status >= 0)
		status = weft_task_output(self, 2, sizeof(struct wf_sort_result), &sum);
	if (status < 0)
		return weft_fail(self, status, "no memory for a chunk of the input");
	memset(sum, 0, sizeof(struct wf_sort_result));
	status = fill_chunk(self, arg->job, first, n, bytes, keys, sum);
	if (status == 0)
		wf_sort_journal_add(arg->job->journal, self, WF_SORT_STAGE_READ, begin,
		                    n * layout->record_bytes);
	return status;
}

int wf_sort_write_body(weft_task *self)
{
	const struct wf_sort_write *arg = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	struct weft_view bytes;
	int status;

	WF_CHECK(weft_input(self, 0, &bytes) == 0);
	if (weft_task_cancelled(self))
		return -ECANCELED;
	status = wf_sort_pwrite(arg->fd, bytes.data, bytes.size, arg->offset);
	if (status < 0)
		return wf_sort_fail_file(self, arg->name, status);
	wf_sort_journal_add(arg->job->journal, self, (enum wf_sort_stage)arg->stage, begin,
	                    bytes.size);
	return 0;
}

/* ---- The whole --------------------------------------------------------------------- */

/* What the root task holds while it runs. */
struct root {
	struct wf_sort_refs chunks, keys;
	struct wf_sort_refs sums; /* of the read tasks, then of the verify tasks */
	struct wf_sort_refs checks;
	struct wf_sort_leaf *leaves;
	size_t leaf_count;
};

static int submit_reads(weft_task *self, const struct wf_sort_job *job, struct root *root)
{
	static const struct weft_task_options three = {
		.struct_size = sizeof(three),
		.n_outputs = 3,
	};
	int status = 0;

	for (uint32_t i = 0; i < job->layout.chunk_count && status == 0; i++) {
		struct read_chunk arg = { .job = job, .chunk = i };
		weft_ref out[3];

		status = weft_submit(job->rt, WEFT_TASK(read_body, WEFT_ARG(arg), .opts = &three),
		                     out);
		if (status < 0)
			break;
		if (wf_sort_refs_add(&root->chunks, out[0]) < 0 ||
		    wf_sort_refs_add(&root->keys, out[1]) < 0 ||
		    wf_sort_refs_add(&root->sums, out[2]) < 0)
			status = -ENOMEM;
	}
	if (status < 0)
		return weft_fail(self, status, "cannot submit the read tasks: %s",
		                 weft_strerror(status));
	return 0;
}

/* Verify tasks, once all is written; with --check also the proof tasks. */
static int verify(weft_task *self, const struct wf_sort_job *job, struct root *root)
{
	int status = wf_sort_verify_submit(job, &root->sums);

	if (status == 0 && job->check)
		status = wf_sort_check_submit(job, root->chunks.refs, root->leaves,
		                              root->leaf_count, &root->checks);
	if (status < 0)
		return weft_fail(self, status, "cannot submit the verify tasks: %s",
		                 weft_strerror(status));
	status = wf_sort_refs_wait(self, &root->sums);
	if (status == 0)
		status = wf_sort_refs_wait(self, &root->checks);
	return status;
}

/* The sums of the read tasks against those of the verify tasks. */
static int compare_sums(weft_task *self, const struct wf_sort_job *job, const struct root *root)
{
	struct wf_sort_result side[2] = { { 0, 0 }, { 0, 0 } };

	for (size_t i = 0; i < root->sums.count; i++) {
		struct wf_sort_result *to = &side[i >= job->layout.chunk_count];
		const struct wf_sort_result *sum;
		struct weft_view view;
		int status = weft_get(job->rt, root->sums.refs[i], WEFT_FOREVER, &view);

		if (status < 0)
			return weft_fail(self, status, "cannot read a checksum");
		sum = view.data;
		to->records += sum->records;
		to->checksum += sum->checksum;
	}
	if (side[0].records != side[1].records || side[0].checksum != side[1].checksum)
		return weft_fail(self, -EBADMSG,
		                 "%s: not the same records as the input: checksum "
		                 "%016llx, not %016llx",
		                 job->output_name, (unsigned long long)side[1].checksum,
		                 (unsigned long long)side[0].checksum);
	return weft_return(self, &side[0], sizeof(side[0]));
}

static int run_levels(weft_task *self, const struct wf_sort_job *job, struct root *root)
{
	struct wf_sort_level level = {
		.job = job,
		.pieces = root->keys.refs,
		.chunks = root->chunks.refs,
		.piece_count = (uint32_t)root->keys.count,
		.stride = 1,
		.records = job->layout.records,
	};

	if (level.piece_count == 0)
		return 0;     /* an empty file is sorted */
	root->keys.count = 0; /* consumed by the level */
	return wf_sort_level_run(self, &level, &root->leaves, &root->leaf_count);
}

int wf_sort_root(weft_task *self)
{
	const struct wf_sort_job *job =
		*(const struct wf_sort_job *const *)weft_task_arg(self, NULL);
	struct root root = { .leaf_count = 0 };
	int status;

	status = submit_reads(self, job, &root);
	if (status == 0)
		status = run_levels(self, job, &root);
	if (!job->check)
		wf_sort_refs_fini(job->rt, &root.chunks); /* verification needs no memory */
	if (status == 0)
		status = verify(self, job, &root);
	if (status == 0)
		status = compare_sums(self, job, &root);
	for (size_t i = 0; i < root.leaf_count; i++) {
		if (root.leaves[i].order.bits)
			weft_release(job->rt, root.leaves[i].order);
	}
	wf_free(root.leaves);
	wf_sort_refs_fini(job->rt, &root.chunks);
	wf_sort_refs_fini(job->rt, &root.keys);
	wf_sort_refs_fini(job->rt, &root.sums);
	wf_sort_refs_fini(job->rt, &root.checks);
	return status;
}
