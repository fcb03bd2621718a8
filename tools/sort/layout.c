/*
 * layout.c: sizes. A job has the memory of its store and nothing else for large things, so the
 * sizes follow from what must lie there at once:
 *
 *	partitioning	a window of tasks with a chunk, its pieces, and two bytes a record
 *	sorting		a window of tasks with a partition, its records in order, its entries
 *	both		what is on its way to or from a file
 *
 * The window is the workers and two more, so that something is being read and something written
 * while all of them compute.
 */
#include "sort.h"

#include "base.h"

#define CHUNK_MOST     (16u << 20)
#define CHUNK_LEAST    (16u << 10)
#define CHUNKS_MOST    60000        /* pieces of a partition are the inputs of a task */
#define PIECE_BYTES    (160u << 10) /* smaller ones cost more than the cache saves */
#define LEAF_MOST      (8u << 20)   /* of records: larger ones leave the caches */
#define PIECE_OVERHEAD 256          /* bytes that a piece costs beside its records; guessed */
#define SLICES_MOST    4096
#define SLICE_BYTES    (4u << 20)

static uint64_t divide_up(uint64_t a, uint64_t b)
{
	WF_CHECK(b > 0);
	return a / b + (a % b != 0);
}

static uint64_t clamp(uint64_t x, uint64_t least, uint64_t most)
{
	return x < least ? least : x > most ? most : x;
}

void wf_sort_layout_init(struct wf_sort_layout *layout, uint64_t bytes, bool unended,
                         uint64_t store_bytes, uint32_t workers,
                         const struct wf_sort_options *options)
{
	uint64_t record_bytes = options->lines ? 1 : options->record_bytes;
	uint64_t window = clamp(workers + 2, 3, WF_SORT_WINDOW_MAX);
	uint64_t chunk, slice;

	WF_CHECK(bytes % record_bytes == 0 && store_bytes > 0);
	/* Large records beside little memory: better by few tasks than not at all. */
	while (window > 1 && record_bytes > store_bytes / (4 * window))
		window--;
	chunk = clamp(store_bytes / (4 * window), CHUNK_LEAST, CHUNK_MOST);
	chunk = clamp(chunk, divide_up(bytes, CHUNKS_MOST), UINT32_MAX);
	chunk = clamp(chunk / record_bytes, 1, chunk) * record_bytes;
	slice = clamp(SLICE_BYTES, divide_up(bytes, SLICES_MOST), UINT64_MAX);
	slice = clamp(slice / record_bytes, 1, slice) * record_bytes;
	*layout = (struct wf_sort_layout){
		.bytes = bytes,
		.output_bytes = bytes + unended,
		.records = options->lines ? 0 : bytes / record_bytes,
		.lines = options->lines,
		.record_bytes = (uint32_t)record_bytes,
		.key_offset = options->lines ? 0 : options->key_offset,
		.key_bytes = options->lines ? 0 : options->key_bytes,
		.store_bytes = store_bytes,
		.window = (uint32_t)window,
		.chunk_bytes = chunk,
		.chunk_count = (uint32_t)divide_up(bytes, chunk),
		.piece_bytes = PIECE_BYTES,
		.leaf_most = store_bytes * 7 / 8 / window,
		.slice_bytes = slice,
		.slice_count = (uint32_t)divide_up(bytes, slice),
	};
	/* A partition may come out larger than aimed at by more than a half. */
	layout->leaf_target = layout->leaf_most * 5 / 8;
}

uint32_t wf_sort_layout_partitions(const struct wf_sort_layout *layout, uint64_t bytes,
                                   uint64_t records)
{
	uint64_t chunks = divide_up(bytes, layout->chunk_bytes);
	uint64_t memory = wf_sort_leaf_memory(bytes, records);
	uint64_t least = divide_up(memory, layout->leaf_target);
	uint64_t most = layout->store_bytes / 8 / (chunks * PIECE_OVERHEAD + 1);
	/* More of them, while pieces do not become small, for the sake of the caches. */
	uint64_t cached = divide_up(bytes, LEAF_MOST);

	if (cached > layout->chunk_bytes / layout->piece_bytes)
		cached = layout->chunk_bytes / layout->piece_bytes;
	most = clamp(most, 4, WF_SORT_PARTITIONS_MAX);
	return (uint32_t)clamp(least > cached ? least : cached, 1, most);
}
