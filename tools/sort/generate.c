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
	size_t behind = (size_t)generate->key_offset + generate->key_bytes + 1;

	*pattern = (struct pattern){
		.generate = generate,
		.record_bytes = generate->record_bytes,
		.key_offset = generate->key_offset,
		.key_bytes = generate->key_bytes,
	};
	for (size_t i = 0; i < pattern->record_bytes; i++)
		record[i] = (uint8_t)alphabet[12 + i % 26];
	record[pattern->record_bytes - 1] = '\n';
	if (behind + INDEX_DIGITS + 1 < pattern->record_bytes) {
		pattern->index_at = behind;
		pattern->index_fits = true;
		record[behind - 1] = ' ';
		record[behind + INDEX_DIGITS] = ' ';
	} else if (generate->key_offset > INDEX_DIGITS) {
		pattern->index_fits = true;
		record[INDEX_DIGITS] = ' ';
	}
}

#define CHUNK_BYTES (4u << 20)

struct generate_chunk {
	const struct wf_sort_generate *generate;
	uint64_t first, count; /* records */
};

/* Values: the chunk's struct wf_sort_result, its bytes. */
static int generate_body(weft_task *self)
{
	const struct generate_chunk *arg = weft_task_arg(self, NULL);
	size_t record_bytes = arg->generate->record_bytes;
	struct wf_sort_result sum = { .records = arg->count };
	struct wf_sort_time begin;
	struct pattern pattern;
	void *bytes, *value;
	uint8_t *at;
	int status;

	if (weft_task_cancelled(self))
		return -ECANCELED;
	status = weft_task_output(self, 1, arg->count * record_bytes, &bytes);
	if (status >= 0)
		status = weft_task_output(self, 0, sizeof(sum), &value);
	if (status < 0)
		return wf_sort_fail_room(self, status, "to generate records");
	begin = wf_sort_time_now();
	at = bytes;
	pattern_init(&pattern, arg->generate, at);
	for (uint64_t i = 0; i < arg->count; i++, at += record_bytes) {
		if (i)
			memcpy(at, at - record_bytes, record_bytes);
		fill_record(&pattern, at, arg->first + i);
		sum.checksum += wf_sort_hash(at, record_bytes);
	}
	memcpy(value, &sum, sizeof(sum));
	wf_sort_journal_add(arg->generate->job->journal, self, WF_SORT_STAGE_GENERATE, begin,
	                    arg->count * record_bytes);
	return 0;
}

/* One chunk and the write task behind it. */
static int submit_chunk(struct wf_sort_window *window, const struct generate_chunk *chunk,
                        struct wf_sort_refs *sums)
{
	static const struct weft_task_options two = { .struct_size = sizeof(two), .n_outputs = 2 };
	const struct wf_sort_generate *generate = chunk->generate;
	weft *rt = generate->job->rt;
	struct wf_sort_write write = {
		.job = generate->job,
		.sink = &generate->sink,
		.stage = WF_SORT_STAGE_SAVE,
		.offset = chunk->first * generate->record_bytes,
	};
	weft_ref out[2];
	int status = wf_sort_window_wait(window);

	if (status < 0)
		return status;
	status = weft_submit(
		rt,
		WEFT_TASK(generate_body, .arg = chunk, .arg_size = sizeof(*chunk), .opts = &two),
		out);
	if (status < 0)
		return weft_fail(window->self, status, "cannot submit a task: %s",
		                 weft_strerror(status));
	status = wf_sort_write_submit(window, &write, out[1]);
	weft_release(rt, out[1]);
	if (wf_sort_refs_add(sums, out[0]) < 0) {
		weft_release(rt, out[0]);
		return weft_fail(window->self, -ENOMEM, "no memory for a list of tasks");
	}
	return status;
}

/* Sums of chunks that are written: each is there, or in a moment, as the data beside it was. */
static int add_sums(weft *rt, const struct wf_sort_refs *sums, struct wf_sort_result *total)
{
	for (size_t i = 0; i < sums->count; i++) {
		const struct wf_sort_result *sum;
		struct weft_view view;
		int status = weft_get(rt, sums->refs[i], WEFT_FOREVER, &view);

		if (status < 0)
			return status; /* cancelled */
		sum = view.data;
		total->records += sum->records;
		total->checksum += sum->checksum;
	}
	return 0;
}

int wf_sort_generate_root(weft_task *self)
{
	const struct wf_sort_generate *generate =
		*(const struct wf_sort_generate *const *)weft_task_arg(self, NULL);
	const struct wf_sort_layout *layout = &generate->job->layout;
	uint64_t records = layout->bytes / generate->record_bytes;
	uint64_t step = layout->chunk_bytes < CHUNK_BYTES ? layout->chunk_bytes : CHUNK_BYTES;
	struct wf_sort_refs sums = { NULL, 0, 0 };
	struct wf_sort_result total = { 0, 0 };
	struct wf_sort_window window;
	int status = 0;

	step = step / generate->record_bytes + 1;
	wf_sort_window_init(&window, self, layout->window);
	for (uint64_t at = 0; at < records && status == 0; at += step) {
		struct generate_chunk chunk = { generate, at, step };

		if (records - at < step)
			chunk.count = records - at;
		status = submit_chunk(&window, &chunk, &sums);
	}
	if (status == 0)
		status = wf_sort_window_drain(&window);
	if (status == 0)
		status = add_sums(generate->job->rt, &sums, &total);
	wf_sort_window_fini(&window);
	wf_sort_refs_fini(generate->job->rt, &sums);
	return status == 0 ? weft_return(self, &total, sizeof(total)) : status;
}
