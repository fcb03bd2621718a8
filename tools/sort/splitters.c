/*
 * splitters.c: cutting a level into partitions by key.
 *
 * The splitters are quantiles of a random sample, compared as whole keys (up to WF_SORT_KEY_CAP
 * bytes): keys that begin alike, as those of text do, are told apart as well as random ones. A
 * search goes down a tree of first words, and only keys whose word is that of a splitter are
 * compared further. Bytes that all of the sample have in common come before the first word, so
 * that the word is one that tells something; a key without them is outside of all splitters.
 *
 * Keys that are frequent enough to fill much of a partition ("heavy") get a bucket of their own in
 * which all keys are equal, so that skew ends in buckets which need no sorting. Other splitters get
 * none: it would hold about one record.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define OVERSAMPLE 64 /* sample keys per partition: a guess; the largest one is a third too large */
#define ABREAST    8  /* searches side by side; a guess, halved the time of one by one */

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static int compare_samples(const struct wf_sort_sample *a, const struct wf_sort_sample *b)
{
	return wf_sort_key_compare(a->key, a->size, b->key, b->size);
}

/* First word of what is behind the common bytes, as wf_sort_word() makes it of the record. */
static uint64_t word_of(const struct wf_sort_layout *layout, const uint8_t *key, size_t size)
{
	uint8_t line[16];

	if (!layout->lines)
		return wf_sort_key_word(key, size, 0);
	size = size < 9 ? size : 9;
	memcpy(line, key, size);
	memset(line + size, '\n', sizeof(line) - size);
	return wf_sort_line_word(line, 0);
}

/* ---- The table --------------------------------------------------------------------- */

/* How often the value of samples[at] occurs. */
static size_t run_length(const struct wf_sort_sample *const *samples, size_t n, size_t at)
{
	size_t first = at, end = at + 1;

	while (first > 0 && compare_samples(samples[first - 1], samples[at]) == 0)
		first--;
	while (end < n && compare_samples(samples[end], samples[at]) == 0)
		end++;
	return end - first;
}

static void take_common(struct wf_sort_splitters *s, const struct wf_sort_sample *first,
                        const struct wf_sort_sample *last)
{
	uint32_t n = least(first->size, last->size), common = 0;

	/* What is left of a cut key has a whole word. */
	n = least(n, WF_SORT_KEY_CAP - 16);
	while (common < n && first->key[common] == last->key[common])
		common++;
	s->common = common;
	memcpy(s->shared, first->key, common);
}

/* Choose quantiles; equal ones count once. */
static void choose(struct wf_sort_splitters *s, const struct wf_sort_layout *layout,
                   uint32_t partitions, const struct wf_sort_sample *const *samples, size_t n)
{
	const struct wf_sort_sample *before = NULL;

	for (uint32_t i = 1; i < partitions && n; i++) {
		size_t at = (size_t)i * n / partitions;
		const struct wf_sort_sample *sample = samples[at];
		uint32_t index = s->count;
		size_t run;

		if (before && compare_samples(before, sample) == 0)
			continue;
		WF_CHECK(!before || compare_samples(before, sample) < 0);
		before = sample;
		run = run_length(samples, n, at);
		s->heavy[index] = run > 1 && run * partitions * 2 >= n;
		s->size[index] = (uint16_t)(sample->size - s->common);
		memcpy(s->key[index], sample->key + s->common, s->size[index]);
		s->word[index] = word_of(layout, s->key[index], s->size[index]);
		s->count++;
	}
}

/* Lay out the words as an implicit binary tree, in the order a search visits it. */
static void fill_tree(struct wf_sort_splitters *s)
{
	while ((1u << s->log) - 1 < s->count)
		s->log++;
	for (uint32_t node = 1; node < 1u << s->log; node++) {
		uint32_t depth = 31 - (uint32_t)__builtin_clz(node);
		uint32_t place = node - (1u << depth);
		uint32_t index = ((2 * place + 1) << (s->log - depth - 1)) - 1;

		s->tree[node] = index < s->count ? s->word[index] : UINT64_MAX;
	}
}

/* Whether keys that equal splitter `index` are equal to their ends. */
static bool is_whole(const struct wf_sort_splitters *s, const struct wf_sort_layout *layout,
                     uint32_t index)
{
	uint32_t seen = s->common + s->size[index];

	return layout->lines ? seen < WF_SORT_KEY_CAP : s->prefix + seen == layout->key_bytes;
}

/* Bytes that splitters `index` - 1 and `index` have in common, and so all keys between them. */
static uint32_t between(const struct wf_sort_splitters *s, uint32_t index)
{
	uint32_t n, same = 0;

	if (index == 0 || index == s->count)
		return s->prefix; /* keys without what the samples have in common are here */
	n = least(s->size[index - 1], s->size[index]);
	while (same < n && s->key[index - 1][same] == s->key[index][same])
		same++;
	return s->prefix + s->common + same;
}

static void number_buckets(struct wf_sort_splitters *s, const struct wf_sort_layout *layout)
{
	uint32_t next = 0;

	for (uint32_t i = 0; i <= s->count; i++) {
		if (i) {
			/* Of a splitter that is not heavy, its keys go with those above it. */
			s->bucket[2 * i - 1] = (uint16_t)next;
			if (s->heavy[i - 1]) {
				s->in_common[next] = s->prefix + s->common + s->size[i - 1];
				s->equals[next++] = is_whole(s, layout, i - 1)
					? WF_SORT_EQUAL_KEYS
					: WF_SORT_EQUAL_PREFIXES;
			}
		}
		s->in_common[next] = between(s, i);
		s->bucket[2 * i] = (uint16_t)next++;
	}
	s->bucket_count = next;
}

void wf_sort_splitters_init(struct wf_sort_splitters *s, const struct wf_sort_layout *layout,
                            uint32_t prefix, uint32_t partitions,
                            const struct wf_sort_sample *const *samples, size_t n)
{
	WF_CHECK(partitions >= 1 && partitions <= WF_SORT_PARTITIONS_MAX);
	WF_CHECK(layout->lines || prefix <= layout->key_bytes);
	memset(s, 0, sizeof(*s));
	s->prefix = prefix;
	if (n > 0 && partitions > 1)
		take_common(s, samples[0], samples[n - 1]);
	choose(s, layout, partitions, samples, n);
	s->word_is_all = !layout->lines && layout->key_bytes - prefix - s->common <= 8;
	fill_tree(s);
	number_buckets(s, layout);
	WF_CHECK(s->bucket_count <= 2 * WF_SORT_PARTITIONS_MAX - 1);
}

/* ---- Finding buckets --------------------------------------------------------------- */

/* The key of a record from the level's prefix on. */
WF_INLINE const uint8_t *key_behind(const struct wf_sort_splitters *s,
                                    const struct wf_sort_layout *layout, const uint8_t *record,
                                    size_t size, size_t *key_size)
{
	*key_size = wf_sort_key_size(layout, size) - s->prefix;
	return record + layout->key_offset + s->prefix;
}

WF_INLINE uint64_t first_word(const struct wf_sort_layout *layout, const uint8_t *key, size_t size)
{
	return layout->lines ? wf_sort_line_word(key, 0) : wf_sort_key_word(key, size, 0);
}

uint32_t wf_sort_bucket(const struct wf_sort_splitters *s, const struct wf_sort_layout *layout,
                        const uint8_t *record, size_t size)
{
	size_t key_size;
	const uint8_t *key = key_behind(s, layout, record, size, &key_size);
	int order = wf_sort_key_common(s, key, key_size);
	uint32_t at = 1;
	uint64_t word;

	if (order != 0)
		return wf_sort_key_outside(s, order);
	key += s->common;
	key_size -= s->common;
	word = first_word(layout, key, key_size);
	for (uint32_t i = 0; i < s->log; i++)
		at = 2 * at + (word >= s->tree[at]);
	return wf_sort_key_bucket(s, at, word, key, key_size);
}

size_t wf_sort_classify(const struct wf_sort_splitters *s, const struct wf_sort_layout *layout,
                        const uint8_t *at, size_t bytes, uint16_t *ids)
{
	const uint8_t *end = at + bytes;
	size_t count = 0;

	/* A search is a chain of dependent loads, so several run side by side. */
	while (at < end) {
		const uint8_t *key[ABREAST];
		size_t size[ABREAST];
		uint64_t word[ABREAST];
		uint32_t node[ABREAST];
		int order[ABREAST];
		uint32_t n = 0;

		for (; n < ABREAST && at < end; n++) {
			size_t record_size = wf_sort_record_size(layout, at);

			key[n] = key_behind(s, layout, at, record_size, &size[n]);
			order[n] = wf_sort_key_common(s, key[n], size[n]);
			node[n] = 1;
			word[n] = 0;
			if (order[n] == 0) {
				key[n] += s->common;
				size[n] -= s->common;
				word[n] = first_word(layout, key[n], size[n]);
			}
			at += record_size;
		}
		for (uint32_t depth = 0; depth < s->log; depth++) {
			for (uint32_t k = 0; k < n; k++)
				node[k] = 2 * node[k] + (word[k] >= s->tree[node[k]]);
		}
		for (uint32_t k = 0; k < n; k++)
			ids[count++] = (uint16_t)(order[k] ? wf_sort_key_outside(s, order[k])
			                                   : wf_sort_key_bucket(s, node[k], word[k],
			                                                        key[k], size[k]));
	}
	WF_CHECK(at == end);
	return count;
}

/* ---- Tasks ------------------------------------------------------------------------- */

static void sort_samples(const struct wf_sort_sample **samples, const struct wf_sort_sample **spare,
                         size_t n)
{
	/* Merge sort from below: bounded in time and stack whatever the keys are. */
	for (size_t run = 1; run < n; run *= 2) {
		for (size_t at = 0; at < n; at += 2 * run) {
			size_t left = at, middle = at + run < n ? at + run : n;
			size_t right = middle, end = middle + run < n ? middle + run : n;

			for (size_t to = at; to < end; to++) {
				bool from_right = left == middle ||
					(right < end &&
				         compare_samples(samples[right], samples[left]) < 0);

				spare[to] = samples[from_right ? right++ : left++];
			}
		}
		memcpy(samples, spare, n * sizeof(*samples));
	}
}

/*
 * How many records the level has, going by the sample: a line is drawn in proportion to its length,
 * or to that of the one before, so lines count by the inverse of theirs.
 */
static uint64_t estimate_records(const struct wf_sort_sample *const *samples, size_t n,
                                 uint64_t bytes)
{
	double inverse = 0;

	for (size_t i = 0; i < n; i++)
		inverse += 1.0 / samples[i]->record_bytes;
	return n ? (uint64_t)((double)bytes * inverse / (double)n) + 1 : 1;
}

static int make_table(weft_task *self, const struct wf_sort_split *split,
                      const struct wf_sort_sample **samples, size_t n)
{
	const struct wf_sort_layout *layout = &split->job->layout;
	uint64_t records = split->records;
	uint32_t partitions;
	void *table;
	int status = weft_task_output(self, 0, sizeof(struct wf_sort_splitters), &table);

	if (status < 0)
		return wf_sort_fail_room(self, status, "for the splitters");
	sort_samples(samples, samples + n, n);
	if (records == 0)
		records = estimate_records(samples, n, split->bytes);
	partitions = wf_sort_layout_partitions(layout, split->bytes, records);
	wf_sort_splitters_init(table, layout, split->prefix, partitions, samples, n);
	return 0;
}

int wf_sort_splitters_body(weft_task *self)
{
	const struct wf_sort_split *split = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	const struct wf_sort_sample **samples;
	size_t n = 0, at = 0;
	int status;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		WF_CHECK(weft_input(self, i, &view) == 0);
		n += view.size / sizeof(struct wf_sort_sample);
	}
	samples = wf_malloc((2 * n + 1) * sizeof(*samples));
	if (!samples)
		return weft_fail(self, -ENOMEM, "no memory for a sample of the keys");
	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		WF_CHECK(weft_input(self, i, &view) == 0);
		for (size_t k = 0; k < view.size / sizeof(**samples); k++) {
			const struct wf_sort_sample *sample = view.data;

			if (sample[k].record_bytes)
				samples[at++] = &sample[k];
		}
	}
	status = make_table(self, split, samples, at);
	wf_free(samples);
	if (status == 0)
		wf_sort_journal_add(split->job->journal, self, WF_SORT_STAGE_SPLITTERS, begin,
		                    n * sizeof(**samples));
	return status;
}
