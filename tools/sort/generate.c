/*
 * generate.c: the demo's input. A record is a function of the seed and its index alone, so chunks
 * are generated in parallel and in any order, and the checksum is known before anything is read.
 *
 * Records are lines: printable bytes without blanks in the key, so that sort(1) finds the same
 * key by column. Uniform keys have 60 random bits per 10 bytes. Skewed keys: one record in four
 * has one and the same key; the others follow a law in which the k-th key comes up in proportion
 * to 1/k, and sixteen neighbours share their first eight bytes, so that sorting has to look
 * behind them.
 */
#include "sort.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base.h"

#define INDEX_DIGITS   16
#define SKEW_KEYS_LOG2 20

/* In byte order, so that a key orders like its 6-bit digits. */
static const char alphabet[] = "+-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* What all records have in common. */
struct pattern {
	const struct wf_sort_generate *generate;
	size_t record_bytes, key_offset, key_bytes;
	size_t index_at; /* of the digits of the record's index */
	bool index_fits;
};

/* A bijective mixer of 64 bits: multiply and shift until every input bit reaches every output. */
static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 29;
	x *= 0xa0761d6478bd642fu;
	return x ^ x >> 32;
}

static void fill_key(uint8_t *key, size_t n, uint64_t random)
{
	for (size_t i = 0; i < n; i++) {
		if (i && i % 10 == 0)
			random = mix(random + i);
		key[i] = (uint8_t)alphabet[random >> (6 * (i % 10)) & 63];
	}
}

static void fill_skewed_key(uint8_t *key, size_t n, uint64_t random)
{
	double uniform = (double)(random >> 11) * 0x1p-53;
	uint64_t rank;

	if ((random & 3) == 0) {
		memset(key, 'W', n);
		return;
	}
	rank = (uint64_t)exp2(uniform * SKEW_KEYS_LOG2);
	fill_key(key, n, mix(rank / 16));
	for (size_t i = n > 8 ? 8 : n - 1; i < n; i++)
		key[i] = (uint8_t)alphabet[mix(rank + i) & 63];
}

/* Filler, index and line end; the key is written last and wins where they overlap. */
static void fill_record(const struct pattern *pattern, uint8_t *record, uint64_t index)
{
	static const char digits[16] = "0123456789abcdef";
	const struct wf_sort_generate *generate = pattern->generate;
	uint64_t random = mix(index + mix(generate->seed));

	if (pattern->index_fits) {
		for (size_t i = 0; i < INDEX_DIGITS; i++)
			record[pattern->index_at + i] =
				(uint8_t)digits[index >> (4 * (INDEX_DIGITS - 1 - i)) & 15];
	}
	if (generate->skew)
		fill_skewed_key(record + pattern->key_offset, pattern->key_bytes, random);
	else
		fill_key(record + pattern->key_offset, pattern->key_bytes, random);
	record[pattern->record_bytes - 1] = '\n';
}

/* The index goes behind the key if there is room, else in front of it, else nowhere. */
static void pattern_init(struct pattern *pattern, const struct wf_sort_generate *generate,
                         uint8_t *record)
{
	const struct wf_sort_layout *layout = &generate->job->layout;
	size_t behind = (size_t)layout->key_offset + layout->key_bytes + 1;

	*pattern = (struct pattern){
		.generate = generate,
		.record_bytes = layout->record_bytes,
		.key_offset = layout->key_offset,
		.key_bytes = layout->key_bytes,
	};
	for (size_t i = 0; i < pattern->record_bytes; i++)
		record[i] = (uint8_t)alphabet[12 + i % 26];
	record[pattern->record_bytes - 1] = '\n';
	if (behind + INDEX_DIGITS + 1 < pattern->record_bytes) {
		pattern->index_at = behind;
		pattern->index_fits = true;
		record[behind - 1] = ' ';
		record[behind + INDEX_DIGITS] = ' ';
	} else if (layout->key_offset > INDEX_DIGITS) {
		pattern->index_fits = true;
		record[INDEX_DIGITS] = ' ';
	}
}

struct generate_chunk {
	const struct wf_sort_generate *generate;
	uint32_t chunk;
};

/* Values: the chunk's bytes, its struct wf_sort_result. */
static int generate_body(weft_task *self)
{
	const struct generate_chunk *arg = weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &arg->generate->job->layout;
	uint64_t first = arg->chunk * layout->chunk_records;
	struct wf_sort_result sum = { .records = layout->records - first };
	struct wf_sort_time begin = wf_sort_time_now();
	struct pattern pattern;
	void *bytes, *value;
	uint8_t *at;
	int status;

	if (weft_task_cancelled(self))
		return -ECANCELED;
	if (sum.records > layout->chunk_records)
		sum.records = layout->chunk_records;
	status = weft_task_output(self, 0, sum.records * layout->record_bytes, &bytes);
	if (status >= 0)
		status = weft_task_output(self, 1, sizeof(sum), &value);
	if (status < 0)
		return weft_fail(self, status, "no memory to generate records");
	at = bytes;
	pattern_init(&pattern, arg->generate, at);
	for (uint64_t i = 0; i < sum.records; i++, at += layout->record_bytes) {
		if (i)
			memcpy(at, at - layout->record_bytes, layout->record_bytes);
		fill_record(&pattern, at, first + i);
		sum.checksum += wf_sort_hash(at, layout->record_bytes);
	}
	memcpy(value, &sum, sizeof(sum));
	wf_sort_journal_add(arg->generate->job->journal, self, WF_SORT_STAGE_GENERATE, begin,
	                    sum.records * layout->record_bytes);
	return 0;
}

/* One chunk and the write task behind it. */
static int submit_chunk(const struct wf_sort_generate *generate, uint32_t i,
                        struct wf_sort_refs *sums, struct wf_sort_refs *writes)
{
	static const struct weft_task_options two = { .struct_size = sizeof(two), .n_outputs = 2 };
	const struct wf_sort_job *job = generate->job;
	struct generate_chunk arg = { .generate = generate, .chunk = i };
	struct wf_sort_write write = {
		.job = job,
		.name = job->input_name,
		.fd = job->input_fd,
		.stage = WF_SORT_STAGE_SAVE,
		.offset = i * job->layout.chunk_records * job->layout.record_bytes,
	};
	weft_ref out[2], written;
	int status;

	status = weft_submit(job->rt, WEFT_TASK(generate_body, WEFT_ARG(arg), .opts = &two), out);
	if (status < 0)
		return status;
	status = weft_submit(job->rt,
	                     WEFT_TASK(wf_sort_write_body, WEFT_ARG(write), WEFT_INPUTS(out[0])),
	                     &written);
	weft_release(job->rt, out[0]);
	if (wf_sort_refs_add(sums, out[1]) < 0 || status < 0)
		return status < 0 ? status : -ENOMEM;
	return wf_sort_refs_add(writes, written);
}

int wf_sort_generate_root(weft_task *self)
{
	const struct wf_sort_generate *generate =
		*(const struct wf_sort_generate *const *)weft_task_arg(self, NULL);
	const struct wf_sort_job *job = generate->job;
	struct wf_sort_refs sums = { NULL, 0, 0 }, writes = { NULL, 0, 0 };
	struct wf_sort_result total = { 0, 0 };
	int status = 0;

	for (uint32_t i = 0; i < job->layout.chunk_count && status == 0; i++)
		status = submit_chunk(generate, i, &sums, &writes);
	if (status < 0)
		status = weft_fail(self, status, "cannot submit a task: %s", weft_strerror(status));
	if (status == 0)
		status = wf_sort_refs_wait(self, &writes);
	if (status == 0)
		status = wf_sort_refs_wait(self, &sums);
	for (size_t i = 0; i < sums.count && status == 0; i++) {
		struct weft_view view;
		const struct wf_sort_result *sum;

		WF_CHECK(weft_get(job->rt, sums.refs[i], WEFT_POLL, &view) == 0);
		sum = view.data;
		total.records += sum->records;
		total.checksum += sum->checksum;
	}
	wf_sort_refs_fini(job->rt, &sums);
	wf_sort_refs_fini(job->rt, &writes);
	return status == 0 ? weft_return(self, &total, sizeof(total)) : status;
}
