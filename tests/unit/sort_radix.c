/*
 * sort_radix.c: goal: the partition sort of weft-sort puts entries in the order of their whole
 * keys and keeps the order of equal keys, for every key length and kind of key. Method: compare
 * with an oracle that is stable by construction, qsort() over (key bytes, place in the input).
 */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "radix.h"
#include "seed.h"

#define KEY_OFFSET 3
#define KEY_MAX    1024

/* Of the oracle's comparison, which qsort() gives no argument. */
static const uint8_t *oracle_records;
static size_t oracle_record_bytes, oracle_key_bytes;

static uint64_t random_state;

static uint64_t next_random(void)
{
	/* An additive sequence with a multiplicative mix: enough to vary tests. */
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static int compare_places(const void *a, const void *b)
{
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int order = memcmp(oracle_records + i * oracle_record_bytes + KEY_OFFSET,
	                   oracle_records + j * oracle_record_bytes + KEY_OFFSET, oracle_key_bytes);

	return order ? order : i < j ? -1 : i > j;
}

/* Sort `n` records with keys of `key_bytes` behind KEY_OFFSET and compare with the oracle. */
static void check(const uint8_t *records, size_t record_bytes, size_t key_bytes, size_t n)
{
	const uint8_t *pieces[1] = { records };
	struct wf_sort_source source = {
		.pieces = pieces,
		.key_offset = KEY_OFFSET,
		.key_bytes = (uint32_t)key_bytes,
	};
	struct wf_sort_entry *entries = calloc(2 * n + 1, sizeof(*entries));
	uint32_t *places = calloc(n + 1, sizeof(*places));

	cr_assert(entries && places);
	for (size_t i = 0; i < n; i++) {
		entries[i].key =
			wf_sort_key_word(records + i * record_bytes + KEY_OFFSET, key_bytes, 0);
		entries[i].loc = wf_sort_loc(0, i * record_bytes);
		places[i] = (uint32_t)i;
	}
	oracle_records = records;
	oracle_record_bytes = record_bytes;
	oracle_key_bytes = key_bytes;
	qsort(places, n, sizeof(*places), compare_places);
	wf_sort_entries(entries, entries + n, n, &source, 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(entries[i].loc, places[i] * record_bytes,
		             "%zu records, key of %zu bytes: wrong record at %zu", n, key_bytes, i);
	free(entries);
	free(places);
}

/* Keys over `symbols` values, the first `shared` bytes of all keys equal. */
static void check_random(size_t n, size_t key_bytes, unsigned symbols, size_t shared)
{
	size_t record_bytes = KEY_OFFSET + key_bytes;
	uint8_t *records = calloc(n + 1, record_bytes);

	cr_assert(records);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = shared; k < key_bytes; k++)
			records[i * record_bytes + KEY_OFFSET + k] =
				(uint8_t)(next_random() % symbols *
			                  (255 / (symbols > 1 ? symbols - 1 : 1)));
		memset(records + i * record_bytes, (int)next_random() & 255, KEY_OFFSET);
	}
	check(records, record_bytes, key_bytes, n);
	free(records);
}

Test(sort_radix, sorts_random_keys_of_every_length_stably)
{
	static const size_t lengths[] = { 1, 2, 7, 8, 9, 10, 15, 16, 17, 33 };
	static const size_t counts[] = { 0, 1, 2, 23, 24, 25, 100, 257, 3000 };
	static const unsigned symbols[] = { 1, 2, 5, 64, 256 };

	random_state = test_seed();
	for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
			for (size_t s = 0; s < sizeof symbols / sizeof *symbols; s++)
				check_random(counts[c], lengths[l], symbols[s], 0);
		}
	}
}

Test(sort_radix, looks_behind_a_prefix_that_all_keys_share)
{
	random_state = test_seed();
	for (size_t shared = 0; shared <= 40; shared += 5)
		check_random(2000, 40, 200, shared);
}

Test(sort_radix, sorts_many_records_with_all_digit_passes)
{
	random_state = test_seed();
	check_random(100000, 10, 256, 0);
	check_random(100000, 8, 2, 0);
}

Test(sort_radix, sorts_input_that_is_sorted_or_reversed)
{
	enum { COUNT = 5000, RECORD = KEY_OFFSET + 10 };
	uint8_t *records = calloc(COUNT, RECORD);

	cr_assert_not_null(records);
	for (int reverse = 0; reverse <= 1; reverse++) {
		for (int i = 0; i < COUNT; i++) {
			int value = (reverse ? COUNT - i : i) / 3;
			uint8_t *key = records + i * RECORD + KEY_OFFSET;

			key[6] = (uint8_t)(value >> 16);
			key[7] = (uint8_t)(value >> 8);
			key[9] = (uint8_t)value;
		}
		check(records, RECORD, 10, COUNT);
	}
	free(records);
}

/* Few keys with most of the records, as a law of 1 / rank has them. */
Test(sort_radix, sorts_skewed_keys_stably)
{
	enum { COUNT = 20000, RECORD = KEY_OFFSET + 12 };
	uint8_t *records = calloc(COUNT, RECORD);

	random_state = test_seed();
	cr_assert_not_null(records);
	for (int i = 0; i < COUNT; i++) {
		unsigned bits = (unsigned)(next_random() % 20);
		uint64_t rank = next_random() & ((1u << bits) - 1);

		memcpy(records + i * RECORD + KEY_OFFSET + 4, &rank, sizeof(rank));
	}
	check(records, RECORD, 12, COUNT);
	free(records);
}

/*
 * Word w of a key is not 0 for the records of one group only, so each level of the recursion
 * splits off one group and leaves the rest to the next: 100 levels, past the limit of 32.
 */
Test(sort_radix, falls_back_to_merging_when_keys_nest_too_deeply)
{
	enum { GROUPS = 100, GROUP = 30, KEY = GROUPS * 8, RECORD = KEY_OFFSET + KEY };
	uint8_t *records = calloc((size_t)GROUPS * GROUP, RECORD);

	random_state = test_seed();
	cr_assert_not_null(records);
	cr_assert(KEY <= KEY_MAX);
	for (size_t i = 0; i < (size_t)GROUPS * GROUP; i++) {
		uint8_t *key = records + i * RECORD + KEY_OFFSET;

		key[i % GROUPS * 8 + 3] = (uint8_t)(1 + next_random() % 3);
	}
	check(records, RECORD, KEY, (size_t)GROUPS * GROUP);
	free(records);
}

/* ---- Lines --------------------------------------------------------------------------- */

static const uint8_t *line_at[6000];
static size_t line_size[6000];

static int compare_line_places(const void *a, const void *b)
{
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	size_t n = line_size[i] < line_size[j] ? line_size[i] : line_size[j];
	int order = memcmp(line_at[i], line_at[j], n);

	if (order == 0)
		order = line_size[i] < line_size[j] ? -1 : line_size[i] > line_size[j];
	return order ? order : i < j ? -1 : i > j;
}

/* `n` lines over `symbols` bytes from 0 on, all with `shared` bytes in front, which are skipped. */
static void check_lines(size_t n, size_t length, unsigned symbols, uint32_t shared)
{
	uint8_t *text = calloc(n + 8, shared + length + 2), *to = text;
	struct wf_sort_entry *entries = calloc(2 * n + 1, sizeof(*entries));
	uint32_t *places = calloc(n + 1, sizeof(*places));
	const uint8_t *pieces[1] = { text };
	struct wf_sort_source source = { .pieces = pieces, .key_offset = shared, .lines = true };

	cr_assert(text && entries && places);
	cr_assert_leq(n, 6000);
	for (size_t i = 0; i < n; i++) {
		size_t size = next_random() % (length + 1);

		line_at[i] = to;
		memset(to, 'p', shared);
		to += shared;
		for (size_t k = 0; k < size; k++) {
			*to = (uint8_t)(next_random() % symbols);
			*to += *to >= '\n';
			to++;
		}
		line_size[i] = shared + size;
		*to++ = '\n';
		places[i] = (uint32_t)i;
	}
	for (size_t i = 0; i < n; i++)
		entries[i] = (struct wf_sort_entry){
			.key = wf_sort_word(&source, line_at[i], 0),
			.loc = wf_sort_loc(0, (uint64_t)(line_at[i] - text)),
		};
	qsort(places, n, sizeof(*places), compare_line_places);
	wf_sort_entries(entries, entries + n, n, &source, 0);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(entries[i].loc, (uint64_t)(line_at[places[i]] - text),
		             "%zu lines of up to %zu bytes: wrong line at %zu", n, length, i);
	free(text);
	free(entries);
	free(places);
}

Test(sort_radix, sorts_lines_like_their_bytes)
{
	static const size_t lengths[] = { 0, 1, 6, 7, 8, 9, 14, 15, 40 };
	static const size_t counts[] = { 1, 2, 24, 25, 300, 3000 };
	static const unsigned symbols[] = { 1, 2, 5, 255 };

	random_state = test_seed();
	for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
		for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
			for (size_t s = 0; s < sizeof symbols / sizeof *symbols; s++)
				check_lines(counts[c], lengths[l], symbols[s],
				            (uint32_t)(next_random() % 20));
		}
	}
}

/* Zero bytes order before others and behind the end. */
Test(sort_radix, words_of_lines_tell_ends_from_zero_bytes)
{
	static const char text[] = "\n\0\n\0\0\nabcdefg\nabcdefg\0\nabcdefgh\n\377\n\0\0\0\0\0\0\0";
	const uint8_t *line = (const uint8_t *)text;
	uint64_t before = 0;

	for (int i = 0; i < 7; i++) {
		uint64_t word = wf_sort_line_word(line, 0);

		/* "abcdefg\0" and "abcdefgh" go on behind the same word. */
		if (i == 5)
			cr_assert_eq(word, before);
		else if (i)
			cr_assert_gt(word, before);
		before = word;
		line = (const uint8_t *)memchr(line, '\n', 32) + 1;
	}
	cr_assert_eq(wf_sort_line_word((const uint8_t *)"\n1234567", 0), 0u);
	cr_assert_eq(wf_sort_line_word((const uint8_t *)"abcdefgh1\n234567", 1) & 0xff, 2u);
}

Test(sort_radix, key_words_order_like_the_bytes)
{
	static const uint8_t key[10] = { 0x80, 1, 2, 3, 4, 5, 6, 7, 0xfe, 0xff };

	cr_assert_eq(wf_sort_key_word(key, 10, 0), 0x8001020304050607u);
	cr_assert_eq(wf_sort_key_word(key, 10, 1), 0xfeff000000000000u);
	cr_assert_eq(wf_sort_key_word(key, 10, 2), 0u);
	cr_assert_eq(wf_sort_key_word(key, 3, 0), 0x8001020000000000u);
}
