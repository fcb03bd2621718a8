/*
 * sort_splitters.c: goal: the buckets of weft-sort follow the order of the keys, heavy keys get
 * buckets of their own, and every edge value finds its place. Method: random samples of several
 * kinds; the tree search is compared with counting splitters one by one.
 */
#include "test.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "seed.h"
#include "sort.h"

#define SAMPLE_MAX 4096

static uint64_t random_state;

static uint64_t next_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static int compare_keys(const void *a, const void *b)
{
	uint64_t x = ((const struct wf_sort_entry *)a)->key;
	uint64_t y = ((const struct wf_sort_entry *)b)->key;

	return x < y ? -1 : x > y;
}

static void make(struct wf_sort_splitters *splitters, uint32_t partitions,
                 struct wf_sort_entry *sample, size_t n)
{
	qsort(sample, n, sizeof(*sample), compare_keys);
	wf_sort_splitters_init(splitters, partitions, sample, n);
}

/* What wf_sort_bucket() must say, without its tree. */
static uint32_t bucket_by_counting(const struct wf_sort_splitters *s, uint64_t key)
{
	uint32_t below = 0;

	while (below < s->count && s->sorted[below] <= key)
		below++;
	return 2 * below - (below && s->heavy[below - 1] && s->sorted[below - 1] == key);
}

static void check(const struct wf_sort_splitters *s, const struct wf_sort_entry *sample, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t key = sample[i].key;

		for (int step = -1; step <= 1; step++) {
			uint64_t near = key + (uint64_t)(int64_t)step;
			uint32_t bucket = wf_sort_bucket(s, near);

			cr_assert_eq(bucket, bucket_by_counting(s, near));
			cr_assert_lt(bucket, wf_sort_bucket_count(s));
		}
		if (i && sample[i - 1].key < key)
			cr_assert_leq(wf_sort_bucket(s, sample[i - 1].key), wf_sort_bucket(s, key));
		if (i && wf_sort_bucket(s, key) % 2 &&
		    wf_sort_bucket(s, key) == wf_sort_bucket(s, sample[i - 1].key))
			cr_assert_eq(sample[i - 1].key, key, "two keys in a bucket of equals");
	}
}

Test(sort_splitters, tree_search_agrees_with_counting)
{
	static const uint64_t ranges[] = { 1, 2, 10, 300, 100000, UINT64_MAX };
	struct wf_sort_splitters *s = malloc(sizeof(*s));
	struct wf_sort_entry *sample = calloc(SAMPLE_MAX, sizeof(*sample));

	cr_assert(s && sample);
	random_state = test_seed();
	for (uint32_t partitions = 1; partitions <= 1024; partitions *= 2) {
		for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
			size_t n = next_random() % SAMPLE_MAX;

			for (size_t i = 0; i < n; i++)
				sample[i].key = next_random() % ranges[r];
			make(s, partitions, sample, n);
			cr_assert_lt(s->count, partitions > 1 ? 2 * partitions : 1);
			check(s, sample, n);
		}
	}
	free(s);
	free(sample);
}

Test(sort_splitters, heavy_key_gets_a_bucket_of_equals_and_rare_ones_do_not)
{
	struct wf_sort_splitters *s = malloc(sizeof(*s));
	struct wf_sort_entry *sample = calloc(SAMPLE_MAX, sizeof(*sample));

	cr_assert(s && sample);
	for (size_t i = 0; i < SAMPLE_MAX; i++)
		sample[i].key = i % 2 ? 1000000 : 1000 * i;
	make(s, 64, sample, SAMPLE_MAX);
	cr_assert_eq(wf_sort_bucket(s, 1000000) % 2, 1);
	cr_assert_eq(wf_sort_bucket(s, 1000001), wf_sort_bucket(s, 1000000) + 1);
	for (size_t i = 0; i < SAMPLE_MAX; i++) {
		if (sample[i].key != 1000000)
			cr_assert_eq(wf_sort_bucket(s, sample[i].key) % 2, 0);
	}
	free(s);
	free(sample);
}

Test(sort_splitters, highest_key_as_a_heavy_splitter_stays_a_bucket_of_equals)
{
	struct wf_sort_splitters *s = malloc(sizeof(*s));
	struct wf_sort_entry *sample = calloc(SAMPLE_MAX, sizeof(*sample));

	cr_assert(s && sample);
	for (size_t i = 0; i < SAMPLE_MAX; i++)
		sample[i].key = i < 1500 ? i : i < 2500 ? 70000 : UINT64_MAX;
	make(s, 16, sample, SAMPLE_MAX);
	cr_assert_eq(wf_sort_bucket(s, UINT64_MAX) % 2, 1);
	cr_assert_neq(wf_sort_bucket(s, UINT64_MAX - 1), wf_sort_bucket(s, UINT64_MAX));
	check(s, sample, SAMPLE_MAX);
	free(s);
	free(sample);
}

Test(sort_splitters, no_sample_makes_one_bucket)
{
	struct wf_sort_splitters *s = malloc(sizeof(*s));

	cr_assert_not_null(s);
	wf_sort_splitters_init(s, 64, NULL, 0);
	cr_assert_eq(wf_sort_bucket_count(s), 1);
	cr_assert_eq(wf_sort_bucket(s, 0), 0);
	cr_assert_eq(wf_sort_bucket(s, UINT64_MAX), 0);
	free(s);
}
