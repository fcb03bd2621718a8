/*
 * sort_splitters.c: goal: the buckets of weft-sort follow the order of the keys, heavy keys get
 * buckets of their own, every edge value finds its place, and what a bucket's keys are said to have
 * in common they have. Method: random samples of several kinds, of fixed keys and of lines; the
 * tree search is compared with counting splitters one by one.
 */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "seed.h"
#include "sort.h"

#define SAMPLE_MAX 600
#define KEY_MAX    300

static uint64_t random_state;

static uint64_t next_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

/* Records one after the other, and the sample that consists of all of them. */
struct set {
	struct wf_sort_layout layout;
	uint8_t *bytes; /* 8 more behind the last */
	const uint8_t *record[SAMPLE_MAX];
	size_t size[SAMPLE_MAX];
	size_t n;
	struct wf_sort_sample sample[SAMPLE_MAX];
	const struct wf_sort_sample *sorted[SAMPLE_MAX];
	struct wf_sort_splitters splitters;
};

static int compare_samples(const void *a, const void *b)
{
	const struct wf_sort_sample *x = *(const struct wf_sort_sample *const *)a;
	const struct wf_sort_sample *y = *(const struct wf_sort_sample *const *)b;
	uint32_t n = x->size < y->size ? x->size : y->size;
	int order = memcmp(x->key, y->key, n);

	return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

static struct set *make_set(uint32_t key_bytes)
{
	struct set *set = calloc(1, sizeof(*set));

	cr_assert_not_null(set);
	set->bytes = calloc(SAMPLE_MAX + 1, KEY_MAX + 1);
	cr_assert_not_null(set->bytes);
	set->layout = (struct wf_sort_layout){
		.lines = key_bytes == 0,
		.record_bytes = key_bytes ? key_bytes : 1,
		.key_bytes = key_bytes,
	};
	return set;
}

static void free_set(struct set *set)
{
	free(set->bytes);
	free(set);
}

/* `n` records; the key of record i is `size` bytes that fill(arg, i, key) writes. */
static void build(struct set *set, size_t n, uint32_t prefix, uint32_t partitions,
                  size_t (*fill)(unsigned symbols, size_t i, uint8_t *key), unsigned symbols)
{
	uint8_t *to = set->bytes;

	set->n = n;
	memset(set->sample, 0, sizeof(set->sample));
	for (size_t i = 0; i < n; i++) {
		size_t size = fill(symbols, i, to), cut;

		set->record[i] = to;
		cut = size - prefix < WF_SORT_KEY_CAP ? size - prefix : WF_SORT_KEY_CAP;
		set->sample[i].size = (uint32_t)cut;
		set->sample[i].record_bytes = 1;
		memcpy(set->sample[i].key, to + prefix, cut);
		set->sorted[i] = &set->sample[i];
		if (set->layout.lines)
			to[size++] = '\n';
		set->size[i] = size;
		to += size;
	}
	memset(to, 0, 8);
	qsort(set->sorted, n, sizeof(set->sorted[0]), compare_samples);
	wf_sort_splitters_init(&set->splitters, &set->layout, prefix, partitions, set->sorted, n);
}

/* What wf_sort_bucket() must say, without its tree. */
static uint32_t bucket_by_counting(const struct set *set, size_t i)
{
	const struct wf_sort_splitters *s = &set->splitters;
	struct wf_sort_sample key = set->sample[i], splitter;
	const struct wf_sort_sample *a = &key, *b = &splitter;
	uint32_t below = 0;
	int order = 1;

	for (; below < s->count; below++) {
		memset(&splitter, 0, sizeof(splitter));
		splitter.size = s->common + s->size[below];
		memcpy(splitter.key, s->shared, s->common);
		memcpy(splitter.key + s->common, s->key[below], s->size[below]);
		if (compare_samples(&a, &b) < 0)
			break;
		order = compare_samples(&a, &b);
	}
	return s->bucket[2 * below - (below && order == 0)];
}

static void check(const struct set *set)
{
	const struct wf_sort_splitters *s = &set->splitters;
	uint16_t ids[SAMPLE_MAX];
	size_t bytes = 0;

	for (size_t i = 0; i < set->n; i++)
		bytes += set->size[i];
	cr_assert_eq(wf_sort_classify(s, &set->layout, set->bytes, bytes, ids), set->n);
	for (size_t i = 0; i < set->n; i++) {
		uint32_t bucket = wf_sort_bucket(s, &set->layout, set->record[i], set->size[i]);

		cr_assert_eq(bucket, bucket_by_counting(set, i));
		cr_assert_eq(bucket, ids[i]);
		cr_assert_lt(bucket, s->bucket_count);
	}
	for (size_t i = 0; i < set->n; i++) {
		size_t k = next_random() % set->n;
		const uint8_t *a = set->record[i], *b = set->record[k];
		int order = wf_sort_compare(&set->layout, a, set->size[i], b, set->size[k]);
		uint32_t common = s->in_common[ids[i]];

		if (order < 0)
			cr_assert_leq(ids[i], ids[k]);
		if (ids[i] != ids[k])
			continue;
		if (s->equals[ids[i]] == WF_SORT_EQUAL_KEYS)
			cr_assert_eq(order, 0, "two keys in a bucket of equals");
		cr_assert(common < set->size[i] + 1 && common < set->size[k] + 1);
		cr_assert_eq(memcmp(a, b, common), 0, "not as much in common as was said");
	}
}

static uint32_t fixed_bytes;

static size_t fill_fixed(unsigned symbols, size_t i, uint8_t *key)
{
	(void)i;
	for (uint32_t k = 0; k < fixed_bytes; k++)
		key[k] = (uint8_t)(next_random() % symbols *
		                   (255 / (symbols > 1 ? symbols - 1 : 1)));
	return fixed_bytes;
}

static size_t fill_line(unsigned symbols, size_t i, uint8_t *key)
{
	size_t n = next_random() % (symbols > 100 ? KEY_MAX - 10 : 12);

	(void)i;
	for (size_t k = 0; k < n; k++) {
		key[k] = (uint8_t)(next_random() % symbols);
		key[k] += key[k] >= '\n';
	}
	return n;
}

static size_t fill_url(unsigned symbols, size_t i, uint8_t *key)
{
	static const char front[] = "https://www.example.org/";

	if (i % 50 == 0)
		return fill_line(symbols, i, key); /* and some that are otherwise */
	memcpy(key, front, sizeof(front) - 1);
	return sizeof(front) - 1 + fill_line(symbols, i, key + sizeof(front) - 1);
}

Test(sort_splitters, tree_search_agrees_with_counting)
{
	static const uint32_t lengths[] = { 1, 3, 8, 9, 10, 40, 250 };
	static const unsigned symbols[] = { 1, 2, 3, 20, 256 };

	random_state = test_seed();
	for (uint32_t partitions = 1; partitions <= WF_SORT_PARTITIONS_MAX; partitions *= 3) {
		for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
			struct set *set = make_set(fixed_bytes = lengths[l]);

			for (size_t s = 0; s < sizeof symbols / sizeof *symbols; s++) {
				build(set, next_random() % SAMPLE_MAX, 0, partitions, fill_fixed,
				      symbols[s]);
				check(set);
			}
			free_set(set);
		}
	}
}

Test(sort_splitters, lines_find_their_buckets)
{
	static const unsigned symbols[] = { 1, 2, 5, 250 };
	struct set *set = make_set(0);

	random_state = test_seed();
	for (uint32_t partitions = 1; partitions <= WF_SORT_PARTITIONS_MAX; partitions *= 3) {
		for (size_t s = 0; s < sizeof symbols / sizeof *symbols; s++) {
			build(set, next_random() % SAMPLE_MAX, 0, partitions, fill_line,
			      symbols[s]);
			check(set);
			build(set, next_random() % SAMPLE_MAX, 0, partitions, fill_url, symbols[s]);
			check(set);
		}
	}
	free_set(set);
}

static size_t fill_half(unsigned hot, size_t i, uint8_t *key)
{
	uint64_t value = i % 2 ? hot : 1000 * i;

	for (uint32_t k = 0; k < fixed_bytes; k++)
		key[k] = k < 8 ? (uint8_t)(value >> (56 - 8 * k)) : 7;
	return fixed_bytes;
}

Test(sort_splitters, heavy_key_gets_a_bucket_of_equals_and_rare_ones_do_not)
{
	for (fixed_bytes = 8; fixed_bytes <= 200; fixed_bytes += 64) {
		struct set *set = make_set(fixed_bytes);
		const struct wf_sort_splitters *s = &set->splitters;

		random_state = test_seed();
		build(set, SAMPLE_MAX, 0, 64, fill_half, 100001);
		check(set);
		for (size_t i = 0; i < set->n; i++) {
			uint32_t bucket =
				wf_sort_bucket(s, &set->layout, set->record[i], set->size[i]);

			cr_assert_eq(s->equals[bucket],
			             i % 2 == 0 ? WF_SORT_EQUAL_NOT
			                     : fixed_bytes <= WF_SORT_KEY_CAP
			                     ? WF_SORT_EQUAL_KEYS
			                     : WF_SORT_EQUAL_PREFIXES);
		}
		free_set(set);
	}
}

static size_t fill_highest(unsigned symbols, size_t i, uint8_t *key)
{
	(void)symbols;
	memset(key, 0xff, 8);
	if (i % 3 == 0)
		memset(key, (int)(next_random() % 255), 7);
	return 8;
}

Test(sort_splitters, highest_key_as_a_heavy_splitter_stays_a_bucket_of_equals)
{
	static const uint8_t highest[8] = { 255, 255, 255, 255, 255, 255, 255, 255 };
	struct set *set = make_set(8);
	uint32_t bucket;

	random_state = test_seed();
	build(set, SAMPLE_MAX, 0, 16, fill_highest, 0);
	check(set);
	bucket = wf_sort_bucket(&set->splitters, &set->layout, highest, 8);
	cr_assert_eq(set->splitters.equals[bucket], WF_SORT_EQUAL_KEYS);
	free_set(set);
}

/* A nested level looks behind the bytes that its keys are known to have in common. */
static size_t fill_behind(unsigned symbols, size_t i, uint8_t *key)
{
	memset(key, 'p', 130);
	return 130 + fill_line(symbols, i, key + 130);
}

Test(sort_splitters, a_prefix_is_looked_behind)
{
	struct set *set = make_set(0);

	random_state = test_seed();
	build(set, SAMPLE_MAX, 130, 40, fill_behind, 20);
	check(set);
	cr_assert_gt(set->splitters.count, 30);
	for (uint32_t b = 0; b < set->splitters.bucket_count; b++)
		cr_assert_geq(set->splitters.in_common[b], 130);
	free_set(set);
}

Test(sort_splitters, no_sample_makes_one_bucket)
{
	struct set *set = make_set(10);

	build(set, 0, 0, 64, fill_fixed, 1);
	cr_assert_eq(set->splitters.bucket_count, 1);
	cr_assert_eq(
		wf_sort_bucket(&set->splitters, &set->layout, (const uint8_t *)"0123456789", 10),
		0);
	free_set(set);
}
