/*
 * partition.cu: the kernels of batch.h. Blocks of any number of threads up to WF_SORT_THREADS, a
 * multiple of a warp; all pointers are aligned to 4 bytes.
 *
 * It is CUDA in words that are C as well, so that tests/gpu/kernels.c can run this very text on
 * threads of the host.
 *
 * Decision: a record's rank in its tile is found by looking at all before it, which costs a tile's
 * square in reads of shared memory: by reckoning a tenth of the time in which the batch is copied
 * to the device. Rejected: ranks by warps that match keys among their lanes: faster and much
 * harder to prove.
 */
#include "batch.h"

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#endif

#define WARP 32u

/* What this thread's `value` and those of all threads before it add up to. All threads call it. */
static __device__ uint32_t sum_up(uint32_t *part, uint32_t value)
{
	part[threadIdx.x] = value;
	__syncthreads();
	for (uint32_t step = 1; step < blockDim.x; step *= 2) {
		uint32_t other = threadIdx.x >= step ? part[threadIdx.x - step] : 0;

		__syncthreads();
		part[threadIdx.x] += other;
		__syncthreads();
	}
	return part[threadIdx.x];
}

/* to[i] is what from[0] to from[i - 1] add up to; they may be the same. Returns the sum of all. */
static __device__ uint32_t scan(const uint32_t *from, uint32_t *to, uint32_t n)
{
	__shared__ uint32_t part[WF_SORT_THREADS];
	uint32_t before = 0;

	for (uint32_t base = 0; base < n; base += blockDim.x) {
		uint32_t i = base + threadIdx.x;
		uint32_t value = i < n ? from[i] : 0;
		uint32_t sum = sum_up(part, value);

		if (i < n)
			to[i] = before + sum - value;
		before += part[blockDim.x - 1];
		__syncthreads(); /* before `part` is written again */
	}
	return before;
}

/* Records of the tile that this block looks at. */
static __device__ uint32_t tile_size(const struct wf_sort_batch *batch)
{
	uint32_t left = batch->n - blockIdx.x * WF_SORT_TILE;

	return left < WF_SORT_TILE ? left : WF_SORT_TILE;
}

/* A block for each tile. */
KERNEL weft_sort_count(struct wf_sort_batch batch)
{
	__shared__ uint32_t count[WF_SORT_BUCKETS_MAX];
	const struct wf_sort_splitters *table = (const struct wf_sort_splitters *)batch.table;
	uint64_t first = (uint64_t)blockIdx.x * WF_SORT_TILE;
	const uint8_t *records = (const uint8_t *)batch.records + first * batch.record_bytes;
	uint16_t *ids = (uint16_t *)batch.ids + first;
	uint32_t *counts = (uint32_t *)batch.counts;
	uint32_t n = tile_size(&batch);

	for (uint32_t b = threadIdx.x; b < batch.buckets; b += blockDim.x)
		count[b] = 0;
	__syncthreads();
	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
		uint32_t bucket = wf_sort_batch_bucket(&batch, table,
		                                       records + (uint64_t)i * batch.record_bytes);

		ids[i] = (uint16_t)bucket;
		atomicAdd(&count[bucket], 1u);
	}
	__syncthreads();
	for (uint32_t b = threadIdx.x; b < batch.buckets; b += blockDim.x)
		counts[(uint64_t)b * batch.tiles + blockIdx.x] = count[b];
}

/* A block for each bucket. */
KERNEL weft_sort_rows(struct wf_sort_batch batch)
{
	uint32_t *row = (uint32_t *)batch.counts + (uint64_t)blockIdx.x * batch.tiles;
	uint32_t total = scan(row, row, batch.tiles);

	if (threadIdx.x == 0)
		((uint32_t *)batch.totals)[blockIdx.x] = total;
}

/* One block. */
KERNEL weft_sort_starts(struct wf_sort_batch batch)
{
	scan((const uint32_t *)batch.totals, (uint32_t *)batch.starts, batch.buckets);
}

/* A block for each tile. */
KERNEL weft_sort_scatter(struct wf_sort_batch batch)
{
	__shared__ uint16_t id[WF_SORT_TILE];
	__shared__ uint32_t to[WF_SORT_TILE];
	uint64_t first = (uint64_t)blockIdx.x * WF_SORT_TILE;
	const uint16_t *ids = (const uint16_t *)batch.ids + first;
	const uint32_t *counts = (const uint32_t *)batch.counts;
	const uint32_t *starts = (const uint32_t *)batch.starts;
	uint32_t n = tile_size(&batch), warps = blockDim.x / WARP;

	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x)
		id[i] = ids[i];
	__syncthreads();
	for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
		uint32_t rank = 0;

		for (uint32_t k = 0; k < i; k++)
			rank += id[k] == id[i];
		to[i] = starts[id[i]] + counts[(uint64_t)id[i] * batch.tiles + blockIdx.x] + rank;
	}
	__syncthreads();
	/* A warp for each record, which it copies word by word, or byte by byte. */
	for (uint32_t i = threadIdx.x / WARP; i < n; i += warps) {
		uint64_t from_byte = (first + i) * batch.record_bytes;
		uint64_t to_byte = (uint64_t)to[i] * batch.record_bytes;
		const uint8_t *from = (const uint8_t *)batch.records + from_byte;
		uint8_t *there = (uint8_t *)batch.out + to_byte;

		if (batch.record_bytes % 4 == 0) {
			for (uint32_t k = threadIdx.x % WARP; k < batch.record_bytes / 4; k += WARP)
				((uint32_t *)there)[k] = ((const uint32_t *)from)[k];
		} else {
			for (uint32_t k = threadIdx.x % WARP; k < batch.record_bytes; k += WARP)
				there[k] = from[k];
		}
	}
}
