/*
 * batch.h: a batch of records that the GPU partitions, in the words that C and CUDA share: what its
 * kernels (partition.cu) and their twins (gpu.c) are given, and how both find a record's bucket.
 *
 * A batch is cut into tiles of records. A record goes to the place
 *
 *	start of its bucket + records of the bucket in tiles before + those before it in its tile
 *
 * so each bucket keeps the order of the input, as on the host. The kernels, one after the other:
 *
 *	count     bucket of each record; how many of each bucket are in each tile
 *	rows      for each bucket: a running sum over the tiles, and the total
 *	starts    a running sum over the totals
 *	scatter   copies the records to their places
 */
#ifndef WEFT_SORT_BATCH_H
#define WEFT_SORT_BATCH_H

#include "splitters.h"

#define WF_SORT_TILE    1024u /* records that a block of threads looks at */
#define WF_SORT_THREADS 256u  /* of a block, at most */

/* The one argument of all kernels. Addresses are the device's. */
struct wf_sort_batch {
	uint64_t table;   /* struct wf_sort_splitters */
	uint64_t records; /* `n` of them */
	uint64_t out;     /* the same, bucket by bucket */
	uint64_t ids;     /* uint16_t[n], of buckets */
	uint64_t counts;  /* uint32_t[buckets][tiles] */
	uint64_t totals;  /* uint32_t[buckets]: records of each */
	uint64_t starts;  /* uint32_t[buckets]: records before each */
	uint32_t n, tiles, buckets;
	uint32_t record_bytes;
	uint32_t key_offset, key_bytes; /* behind what all keys have in common */
};

WF_SORT_BOTH uint32_t wf_sort_batch_bucket(const struct wf_sort_batch *batch,
                                           const struct wf_sort_splitters *s,
                                           const uint8_t *record)
{
	const uint8_t *key = record + batch->key_offset;
	uint32_t size = batch->key_bytes, at = 1;
	int order = wf_sort_key_common(s, key, size);
	uint64_t word = 0;

	if (order != 0)
		return wf_sort_key_outside(s, order);
	key += s->common;
	size -= s->common;
	for (uint32_t i = 0; i < 8; i++)
		word = word << 8 | (i < size ? key[i] : 0);
	for (uint32_t i = 0; i < s->log; i++)
		at = 2 * at + (word >= s->tree[at]);
	return wf_sort_key_bucket(s, at, word, key, size);
}

#endif /* WEFT_SORT_BATCH_H */
