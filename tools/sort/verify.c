/*
 * verify.c: is the output file right?
 *
 * Verify tasks read slices of the finished file again, so they also see what a wrong offset or a
 * later write did to it. A slice checks its order, and its first record against the one before it.
 * The sum of a hash over all records must be the one of the input: a record that was lost, doubled
 * or changed alters it with probability 1 - 2^-64 (it is no defence against intent).
 *
 * Check tasks (--check) prove the rest. Each output record is compared with the input record that
 * it was said to be; inside equal keys the input places must grow. That is stability, and since
 * keys are in order it also shows that no input record was used twice.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

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

/* ---- Verify tasks ------------------------------------------------------------------ */

struct slice {
	const struct wf_sort_job *job;
	uint64_t first, count;
};

/*
 * Whether `n` records at `at`, and the one before the first when `joined`, are in order. Fails the
 * task otherwise.
 */
static int check_order(weft_task *self, const struct wf_sort_job *job, const uint8_t *at,
                       uint64_t n, bool joined, uint64_t first)
{
	const struct wf_sort_layout *layout = &job->layout;
	size_t key_bytes = layout->key_bytes;
	uint64_t word, before = 0;

	if (joined)
		before = wf_sort_key_word(at - layout->record_bytes + layout->key_offset, key_bytes,
		                          0);
	for (uint64_t i = 0; i < n; i++, at += layout->record_bytes, before = word) {
		const uint8_t *key = at + layout->key_offset;

		word = wf_sort_key_word(key, key_bytes, 0);
		if (i == 0 && !joined)
			continue;
		if (word > before ||
		    (word == before &&
		     (key_bytes <= 8 || memcmp(key - layout->record_bytes, key, key_bytes) <= 0)))
			continue;
		return weft_fail(self, -EBADMSG, "%s: record %llu is out of order",
		                 job->output_name, (unsigned long long)(first + i));
	}
	return 0;
}

/* `buffer` has room for one record and then one block. */
static int verify_slice(weft_task *self, const struct slice *slice, uint8_t *buffer,
                        struct wf_sort_result *sum)
{
	const struct wf_sort_job *job = slice->job;
	size_t record_bytes = job->layout.record_bytes;
	uint8_t *block = buffer + record_bytes;
	bool joined = slice->first > 0;
	int status = 0;

	if (joined)
		status = wf_sort_pread(job->output_fd, buffer, record_bytes,
		                       (slice->first - 1) * record_bytes);
	for (uint64_t done = 0, n; done < slice->count && status == 0; done += n, joined = true) {
		n = slice->count - done;
		n = n < job->layout.block_records ? n : job->layout.block_records;
		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(job->output_fd, block, n * record_bytes,
		                       (slice->first + done) * record_bytes);
		if (status < 0)
			break;
		if (check_order(self, job, block, n, joined, slice->first + done) < 0)
			return -EBADMSG;
		for (uint64_t i = 0; i < n; i++)
			sum->checksum += wf_sort_hash(block + i * record_bytes, record_bytes);
		memcpy(buffer, block + (n - 1) * record_bytes, record_bytes);
	}
	sum->records = slice->count;
	return status < 0 ? wf_sort_fail_file(self, job->output_name, status) : 0;
}

/* Value: struct wf_sort_result of the slice. */
static int verify_body(weft_task *self)
{
	const struct slice *slice = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &slice->job->layout;
	struct wf_sort_result sum = { 0, 0 };
	struct wf_sort_time begin = wf_sort_time_now();
	uint8_t *buffer;
	int status;

	buffer = wf_malloc((layout->block_records + (size_t)1) * layout->record_bytes);
	if (!buffer)
		return weft_fail(self, -ENOMEM, "no memory to verify the output");
	status = verify_slice(self, slice, buffer, &sum);
	wf_free(buffer);
	if (status < 0)
		return status;
	wf_sort_journal_add(slice->job->journal, self, WF_SORT_STAGE_VERIFY, begin,
	                    slice->count * layout->record_bytes);
	return weft_return(self, &sum, sizeof(sum));
}

int wf_sort_verify_submit(const struct wf_sort_job *job, struct wf_sort_refs *sums)
{
	const struct wf_sort_layout *layout = &job->layout;

	for (uint32_t i = 0; i < layout->slice_count; i++) {
		struct slice slice = { .job = job, .first = i * layout->slice_records };
		weft_ref sum;
		int status;

		slice.count = layout->records - slice.first;
		if (slice.count > layout->slice_records)
			slice.count = layout->slice_records;
		status = weft_submit(job->rt, WEFT_TASK(verify_body, WEFT_ARG(slice)), &sum);
		if (status == 0)
			status = wf_sort_refs_add(sums, sum);
		if (status < 0)
			return status;
	}
	return 0;
}

/* ---- Check tasks ------------------------------------------------------------------- */

/* Inputs: the leaf's order, that of the leaf before (or again its own), all chunks. */
struct proof {
	const struct wf_sort_job *job;
	uint64_t first, count;
	bool joined; /* there is a leaf before */
};

/* One output record against the input record `loc`, and the order of places in equal keys. */
static const char *prove_record(const struct wf_sort_source *source, const uint8_t *record,
                                size_t record_bytes, uint64_t loc, const uint64_t *loc_before)
{
	const uint8_t *key = record + source->key_offset;

	if (memcmp(record, wf_sort_record(source, loc), record_bytes) != 0)
		return "is not the input record it came from";
	if (loc_before && *loc_before >= loc &&
	    memcmp(wf_sort_record(source, *loc_before) + source->key_offset, key,
	           source->key_bytes) == 0)
		return "is not in input order among equal keys";
	return NULL;
}

static int prove_leaf(weft_task *self, const struct proof *proof,
                      const struct wf_sort_source *source, uint8_t *block)
{
	const struct wf_sort_job *job = proof->job;
	size_t record_bytes = job->layout.record_bytes;
	struct weft_view order, before;
	const uint64_t *locs;

	WF_CHECK(weft_input(self, 0, &order) == 0 && weft_input(self, 1, &before) == 0);
	WF_CHECK(order.size == proof->count * sizeof(uint64_t));
	locs = order.data;
	for (uint64_t i = 0; i < proof->count; i++) {
		uint64_t at = i % job->layout.block_records;
		const uint64_t *loc_before = i ? &locs[i - 1] : NULL;
		const char *problem;

		if (at == 0) {
			uint64_t n = proof->count - i;
			int status;

			n = n < job->layout.block_records ? n : job->layout.block_records;
			if (weft_task_cancelled(self))
				return -ECANCELED;
			status = wf_sort_pread(job->output_fd, block, n * record_bytes,
			                       (proof->first + i) * record_bytes);
			if (status < 0)
				return wf_sort_fail_file(self, job->output_name, status);
		}
		if (i == 0 && proof->joined)
			loc_before = (const uint64_t *)before.data + before.size / 8 - 1;
		problem = prove_record(source, block + at * record_bytes, record_bytes, locs[i],
		                       loc_before);
		if (problem)
			return weft_fail(self, -EBADMSG, "%s: record %llu %s", job->output_name,
			                 (unsigned long long)(proof->first + i), problem);
	}
	return 0;
}

static int check_body(weft_task *self)
{
	const struct proof *proof = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &proof->job->layout;
	size_t block_bytes = (size_t)layout->block_records * layout->record_bytes;
	struct wf_sort_time begin = wf_sort_time_now();
	struct wf_sort_source source = {
		.key_offset = layout->key_offset,
		.key_bytes = layout->key_bytes,
	};
	const uint8_t **chunks;
	uint8_t *block;
	int status;

	chunks = wf_malloc(layout->chunk_count * sizeof(*chunks));
	block = wf_malloc(block_bytes);
	if (!chunks || !block) {
		wf_free(chunks);
		wf_free(block);
		return weft_fail(self, -ENOMEM, "no memory to check the output");
	}
	for (uint32_t i = 0; i < layout->chunk_count; i++) {
		struct weft_view chunk;

		WF_CHECK(weft_input(self, 2 + i, &chunk) == 0);
		chunks[i] = chunk.data;
	}
	source.chunks = chunks;
	status = prove_leaf(self, proof, &source, block);
	wf_free(chunks);
	wf_free(block);
	if (status == 0)
		wf_sort_journal_add(proof->job->journal, self, WF_SORT_STAGE_CHECK, begin,
		                    proof->count * layout->record_bytes);
	return status;
}

int wf_sort_check_submit(const struct wf_sort_job *job, const weft_ref *chunks,
                         const struct wf_sort_leaf *leaves, size_t leaf_count,
                         struct wf_sort_refs *done)
{
	uint32_t n_inputs = 2 + job->layout.chunk_count;
	weft_ref *inputs = wf_malloc(n_inputs * sizeof(*inputs));
	uint64_t next = 0;
	int status = 0;

	if (!inputs)
		return -ENOMEM;
	if (leaf_count)
		memcpy(inputs + 2, chunks, job->layout.chunk_count * sizeof(*inputs));
	for (size_t i = 0; i < leaf_count && status == 0; i++) {
		struct proof proof = {
			.job = job,
			.first = leaves[i].first_record,
			.count = leaves[i].records,
			.joined = i > 0,
		};
		weft_ref ref;

		WF_CHECK(proof.first == next); /* the leaves tile the output */
		next += proof.count;
		inputs[0] = leaves[i].order;
		inputs[1] = leaves[i ? i - 1 : 0].order;
		status = weft_submit(job->rt,
		                     WEFT_TASK(check_body, WEFT_ARG(proof), .inputs = inputs,
		                               .n_inputs = (uint16_t)n_inputs),
		                     &ref);
		if (status == 0)
			status = wf_sort_refs_add(done, ref);
	}
	WF_CHECK(status < 0 || next == job->layout.records);
	wf_free(inputs);
	return status;
}
