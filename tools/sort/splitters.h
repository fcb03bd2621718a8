/*
 * splitters.h: the splitter table and the end of a search in it, in the words that C and CUDA
 * share: the kernels of partition.cu find a bucket by the very code that runs on the host.
 */
#ifndef WEFT_SORT_SPLITTERS_H
#define WEFT_SORT_SPLITTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define WF_SORT_BOTH        static __device__ __forceinline__
#define WF_SORT_BOTH_SELDOM static __device__ __noinline__
#else
#define WF_SORT_BOTH        static inline __attribute__((always_inline))
#define WF_SORT_BOTH_SELDOM static __attribute__((noinline, unused))
#endif

#define WF_SORT_PARTITIONS_MAX 512
#define WF_SORT_BUCKETS_MAX    (2 * WF_SORT_PARTITIONS_MAX - 1)
#define WF_SORT_KEY_CAP        120 /* bytes of a key that splitters look at, in one level */

/*
 * The splitter table, value of the splitters task: `count` sorted keys, the first words of them
 * also as a search tree. Splitters that stand for much have a bucket of their own for the
 * keys that equal them. Buckets are numbered in the order of keys.
 */
struct wf_sort_splitters {
	uint32_t count; /* up to 2^log - 1: places behind are above every key */
	uint32_t log;
	uint32_t bucket_count;
	uint32_t prefix;  /* bytes that all keys of the level have in common */
	uint32_t common;  /* more bytes that the samples have in common: looked at first */
	bool word_is_all; /* keys are not longer than a word behind these */
	uint64_t tree[WF_SORT_PARTITIONS_MAX]; /* children of i are 2i and 2i + 1, root 1 */
	uint64_t word[WF_SORT_PARTITIONS_MAX];
	/* By twice the number of splitters <= key, less one when it equals the last of them. */
	uint16_t bucket[2 * WF_SORT_PARTITIONS_MAX];
	/* Of each bucket: enum wf_sort_equals, and what its keys have in common with the prefix. */
	uint8_t equals[2 * WF_SORT_PARTITIONS_MAX];
	uint32_t in_common[2 * WF_SORT_PARTITIONS_MAX];
	uint16_t size[WF_SORT_PARTITIONS_MAX]; /* of `key`, behind the common bytes */
	bool heavy[WF_SORT_PARTITIONS_MAX];
	uint8_t shared[WF_SORT_KEY_CAP]; /* the common bytes */
	uint8_t key[WF_SORT_PARTITIONS_MAX][WF_SORT_KEY_CAP];
};

/* Order of two cut keys. One that ends is before those that go on. */
WF_SORT_BOTH int wf_sort_key_compare(const uint8_t *a, uint32_t n, const uint8_t *b, uint32_t m)
{
	uint32_t least = n < m ? n : m;
	int order = 0;

#ifdef __CUDACC__
	for (uint32_t i = 0; i < least && order == 0; i++)
		order = (int)a[i] - (int)b[i];
#else
	order = memcmp(a, b, least);
#endif
	return order ? order : n < m ? -1 : n > m;
}

/* Order against what the samples have in common, 0: it has that too. */
WF_SORT_BOTH int wf_sort_key_common(const struct wf_sort_splitters *s, const uint8_t *key,
                                    uint32_t size)
{
	if (s->common == 0)
		return 0;
	return wf_sort_key_compare(key, size < s->common ? size : s->common, s->shared, s->common);
}

/* Bucket of a key that begins otherwise than all samples: below or above all splitters. */
WF_SORT_BOTH uint32_t wf_sort_key_outside(const struct wf_sort_splitters *s, int order)
{
	return s->bucket[order < 0 ? 0 : 2 * s->count];
}

/* `at` splitters have words <= `word`, and some of them this very word. */
WF_SORT_BOTH_SELDOM uint32_t wf_sort_key_closer(const struct wf_sort_splitters *s, uint32_t at,
                                                uint64_t word, const uint8_t *key, uint32_t size)
{
	uint32_t low = at, end = at;
	int order = 1;

	size = size < WF_SORT_KEY_CAP - s->common ? size : WF_SORT_KEY_CAP - s->common;
	while (low > 0 && s->word[low - 1] == word)
		low--;
	/* The number of splitters <= key is in [low, end]. */
	while (low < end) {
		uint32_t middle = (low + end) / 2;
		int here = wf_sort_key_compare(key, size, s->key[middle], s->size[middle]);

		if (here < 0) {
			end = middle;
		} else {
			low = middle + 1;
			order = here;
		}
	}
	return s->bucket[2 * low - (low > 0 && order == 0)];
}

/* From the leaf `at` that a search for `word` ended in to the bucket; `key` behind the common. */
WF_SORT_BOTH uint32_t wf_sort_key_bucket(const struct wf_sort_splitters *s, uint32_t at,
                                         uint64_t word, const uint8_t *key, uint32_t size)
{
	at -= 1u << s->log; /* now the number of splitters whose word is <= */
	at = at < s->count ? at : s->count;
	if (at == 0 || s->word[at - 1] != word)
		return s->bucket[2 * at];
	if (s->word_is_all)
		return s->bucket[2 * at - 1];
	return wf_sort_key_closer(s, at, word, key, size);
}

#endif /* WEFT_SORT_SPLITTERS_H */
