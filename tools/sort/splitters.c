/*
 * splitters.c: cutting a level into partitions by key, and sending entries there.
 *
 * The splitters are quantiles of a random sample. Keys that are frequent enough to fill much of a
 * partition ("heavy") get a bucket of their own in which all key words are equal, so that skew
 * ends in buckets which need no sorting by this word at all. Other splitters get none: it would
 * hold about one record.
 *
 * The sample is drawn by a generator with a fixed seed: the same file is always cut the same way.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define OVERSAMPLE  32 /* sample keys per partition: a guess; twice even is nested */
#define ABREAST     8  /* searches side by side; a guess, halved the time of one by one */
#define SAMPLE_SEED 0x5eed5a3b1e5u

/* How often the value of sample[at] occurs in the sorted sample. */
static size_t run_length(const struct wf_sort_entry *sample, size_t n, size_t at)
{
	size_t first = at, end = at + 1;

	while (first > 0 && sample[first - 1].key == sample[at].key)
		first--;
	while (end < n && sample[end].key == sample[at].key)
		end++;
	return end - first;
}

/* Lay out the sorted splitters as an implicit binary tree, in the order a search visits it. */
static void fill_tree(struct wf_sort_splitters *s)
{
	for (uint32_t node = 1; node <= s->count; node++) {
		uint32_t depth = 31 - (uint32_t)__builtin_clz(node);
		uint32_t place = node - (1u << depth);

		s->tree[node] = s->sorted[((2 * place + 1) << (s->log - depth - 1)) - 1];
	}
}

void wf_sort_splitters_init(struct wf_sort_splitters *s, uint32_t partitions,
                            const struct wf_sort_entry *sample, size_t n)
{
	uint32_t used = 0;
	bool last_is_heavy;

	WF_CHECK(partitions >= 1 && partitions <= WF_SORT_PARTITIONS_MAX);
	WF_CHECK((partitions & (partitions - 1)) == 0);
	memset(s, 0, sizeof(*s));
	for (uint32_t i = 1; i < partitions && n; i++) {
		size_t at = (size_t)i * n / partitions;
		size_t run;

		if (used && s->sorted[used - 1] == sample[at].key)
			continue;
		WF_CHECK(!used || s->sorted[used - 1] < sample[at].key);
		run = run_length(sample, n, at);
		s->heavy[used] = run > 1 && run * partitions * 2 >= n;
		s->sorted[used++] = sample[at].key;
	}
	while ((1u << s->log) - 1 < used)
		s->log++;
	s->count = (1u << s->log) - 1;
	/* Unused places count as splitters above every key; only the last key can equal them. */
	last_is_heavy = used && s->sorted[used - 1] == UINT64_MAX && s->heavy[used - 1];
	for (uint32_t i = used; i < s->count; i++) {
		s->sorted[i] = UINT64_MAX;
		s->heavy[i] = last_is_heavy;
	}
	fill_tree(s);
}

static uint64_t key_at(const struct weft_view *piece, uint32_t stride, uint64_t i)
{
	return ((const uint64_t *)piece->data)[i * stride];
}

/* Random keys of all pieces, from each in proportion to its size. Returns how many. */
static size_t draw_sample(const weft_task *self, const struct wf_sort_split *split, uint64_t n,
                          size_t wanted, struct wf_sort_entry *sample)
{
	struct wf_random random;
	size_t count = 0, key_size = sizeof(uint64_t) * split->stride;
	uint64_t seen = 0;

	wf_random_init(&random, SAMPLE_SEED);
	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view piece;
		uint64_t here;

		WF_CHECK(weft_input(self, i, &piece) == 0);
		here = piece.size / key_size;
		seen += here;
		/* Up to its share of all seen so far: rounding cannot starve small pieces. */
		while (here && count < (size_t)((double)seen / (double)n * (double)wanted))
			sample[count++] = (struct wf_sort_entry){
				.key = key_at(&piece, split->stride,
				              wf_random_next(&random) % here),
			};
	}
	WF_CHECK(count <= wanted);
	return count;
}

/* Inputs: all pieces. Value: struct wf_sort_splitters. */
int wf_sort_splitters_body(weft_task *self)
{
	const struct wf_sort_split *split = weft_task_arg(self, NULL);
	struct wf_sort_source keys_only = { .key_bytes = sizeof(uint64_t) };
	size_t wanted = (size_t)split->partitions * OVERSAMPLE, count;
	struct wf_sort_time begin = wf_sort_time_now();
	struct wf_sort_entry *sample;
	uint64_t n = 0;
	void *table;
	int status;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view piece;

		WF_CHECK(weft_input(self, i, &piece) == 0);
		n += piece.size / (sizeof(uint64_t) * split->stride);
	}
	status = weft_task_output(self, 0, sizeof(struct wf_sort_splitters), &table);
	if (status < 0)
		return weft_fail(self, status, "no memory for the splitters");
	sample = wf_malloc(2 * wanted * sizeof(*sample));
	if (!sample)
		return weft_fail(self, -ENOMEM, "no memory for a sample of the keys");
	count = n ? draw_sample(self, split, n, wanted, sample) : 0;
	wf_sort_entries(sample, sample + wanted, count, &keys_only, 0);
	wf_sort_splitters_init(table, split->partitions, sample, count);
	wf_free(sample);
	wf_sort_journal_add(split->job->journal, self, WF_SORT_STAGE_SPLITTERS, begin,
	                    count * sizeof(uint64_t));
	return 0;
}

/*
 * Bucket of every key into `ids`, and their counts into start[1 ..]. A search is a chain of
 * dependent loads, so several run side by side.
 */
static void classify(const struct wf_sort_splitters *splitters, const uint64_t *keys,
                     uint32_t stride, size_t n, uint16_t *ids, uint64_t *start)
{
	size_t i = 0;

	for (; i + ABREAST <= n; i += ABREAST) {
		uint64_t key[ABREAST];
		uint32_t at[ABREAST];

		for (size_t k = 0; k < ABREAST; k++) {
			key[k] = keys[(i + k) * stride];
			at[k] = 1;
		}
		for (uint32_t depth = 0; depth < splitters->log; depth++) {
			for (size_t k = 0; k < ABREAST; k++)
				at[k] = 2 * at[k] + (key[k] >= splitters->tree[at[k]]);
		}
		for (size_t k = 0; k < ABREAST; k++)
			ids[i + k] = (uint16_t)wf_sort_bucket_of_leaf(splitters, at[k], key[k]);
	}
	for (; i < n; i++)
		ids[i] = (uint16_t)wf_sort_bucket(splitters, keys[i * stride]);
	for (i = 0; i < n; i++)
		start[ids[i] + 1]++;
}

/* start[b] is where bucket b begins; filling moves it to its end, which shifting back undoes. */
static void place(const struct wf_sort_split *split, const uint64_t *keys, size_t n,
                  const uint16_t *ids, uint32_t buckets, uint64_t *start,
                  struct wf_sort_entry *entries)
{
	uint64_t record_bytes = split->job->layout.record_bytes;

	for (uint32_t b = 0; b < buckets; b++)
		start[b + 1] += start[b];
	WF_CHECK(start[buckets] == n);
	if (split->stride == 1) {
		for (size_t i = 0; i < n; i++)
			entries[start[ids[i]]++] = (struct wf_sort_entry){
				.key = keys[i],
				.loc = wf_sort_loc(split->index, i * record_bytes),
			};
	} else {
		for (size_t i = 0; i < n; i++)
			entries[start[ids[i]]++] = (struct wf_sort_entry){
				.key = keys[2 * i],
				.loc = keys[2 * i + 1],
			};
	}
	memmove(start + 1, start, buckets * sizeof(*start));
	start[0] = 0;
}

/* Inputs: the splitters, one piece. Value: bucket starts and entries by bucket, stable. */
int wf_sort_scatter_body(weft_task *self)
{
	const struct wf_sort_split *split = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	const struct wf_sort_splitters *splitters;
	struct weft_view table, piece;
	uint32_t buckets;
	size_t n, header;
	uint16_t *ids;
	void *value;
	int status;

	WF_CHECK(weft_input(self, 0, &table) == 0 && weft_input(self, 1, &piece) == 0);
	WF_CHECK(table.size == sizeof(*splitters));
	if (weft_task_cancelled(self))
		return -ECANCELED;
	splitters = table.data;
	buckets = wf_sort_bucket_count(splitters);
	header = wf_sort_scatter_header(buckets);
	n = piece.size / (sizeof(uint64_t) * split->stride);
	status = weft_task_output(self, 0, header + n * sizeof(struct wf_sort_entry), &value);
	if (status < 0)
		return weft_fail(self, status, "no memory to partition a chunk");
	ids = wf_malloc(n * sizeof(*ids) + 1);
	if (!ids)
		return weft_fail(self, -ENOMEM, "no memory to partition a chunk");
	memset(value, 0, header);
	classify(splitters, piece.data, split->stride, n, ids, value);
	place(split, piece.data, n, ids, buckets, value,
	      (struct wf_sort_entry *)((char *)value + header));
	wf_free(ids);
	wf_sort_journal_add(split->job->journal, self, WF_SORT_STAGE_SCATTER, begin,
	                    n * split->job->layout.record_bytes);
	return 0;
}
