/*
 * Goal: the kernels of weft-sort, the very text of partition.cu, partition as the host does, for
 * any number of records, of buckets and of bytes, and no two threads of a block get in each other's
 * way.
 * Method: the text is compiled as C: a block is so many threads with a barrier, one block after the
 * other, shared memory is static. The result of each kernel is compared with that of a plain loop;
 * under TSan the barriers are proven as well.
 */
#include <pthread.h>

#include "seed.h"
#include "sort.h"
#include "test.h"

/* ---- CUDA's words --------------------------------------------------------------------------- */

struct dimension {
	uint32_t x;
};

static _Thread_local struct dimension threadIdx, blockIdx;
static struct dimension blockDim;
static pthread_barrier_t barrier;
static pthread_mutex_t atomic_mutex = PTHREAD_MUTEX_INITIALIZER;

static void sync_threads(void)
{
	pthread_barrier_wait(&barrier);
}

static uint32_t atomicAdd(uint32_t *at, uint32_t more)
{
	pthread_mutex_lock(&atomic_mutex);
	uint32_t before = *at;

	*at += more;
	pthread_mutex_unlock(&atomic_mutex);
	return before;
}

#define __device__
#define __shared__      static
#define __syncthreads() sync_threads()
#define KERNEL          static void
#include "../../tools/sort/partition.cu"

struct grid {
	void (*kernel)(struct wf_sort_batch batch);
	const struct wf_sort_batch *batch;
	uint32_t blocks, thread;
};

static void *thread_main(void *arg)
{
	const struct grid *grid = arg;

	threadIdx.x = grid->thread;
	for (blockIdx.x = 0; blockIdx.x < grid->blocks; blockIdx.x++) {
		grid->kernel(*grid->batch);
		sync_threads();
	}
	return NULL;
}

static void launch(void (*kernel)(struct wf_sort_batch batch), uint32_t blocks, uint32_t threads,
                   const struct wf_sort_batch *batch)
{
	pthread_t thread[WF_SORT_THREADS];
	struct grid grid[WF_SORT_THREADS];

	cr_assert_eq(pthread_barrier_init(&barrier, NULL, threads), 0);
	blockDim.x = threads;
	for (uint32_t i = 0; i < threads; i++) {
		grid[i] = (struct grid){ kernel, batch, blocks, i };
		cr_assert_eq(pthread_create(&thread[i], NULL, thread_main, &grid[i]), 0);
	}
	for (uint32_t i = 0; i < threads; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&barrier);
}

/* ---- Batches -------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint32_t next_random(uint32_t below)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
	return (uint32_t)((x ^ x >> 32) % below);
}

struct shape {
	uint32_t n, record_bytes, key_offset, key_bytes, prefix;
	uint32_t partitions, symbols, hot; /* `hot` of 100 records have one key */
	uint32_t threads;
};

struct memory {
	struct wf_sort_layout layout;
	struct wf_sort_splitters table;
	struct wf_sort_batch batch;
	uint8_t *records, *out, *expected;
	uint16_t *ids, *expected_ids;
	uint32_t *counts, *totals, *starts;
};

static void *zeros(size_t n, size_t size)
{
	void *memory = calloc(n + 1, size);

	cr_assert_not_null(memory);
	return memory;
}

static int compare_samples(const void *a, const void *b)
{
	const struct wf_sort_sample *x = *(const struct wf_sort_sample *const *)a;
	const struct wf_sort_sample *y = *(const struct wf_sort_sample *const *)b;

	return memcmp(x->key, y->key, x->size);
}

/* Splitters from a sample of the records, as the job makes them. */
static void make_table(struct memory *m, const struct shape *shape)
{
	enum { SAMPLES = 3000 };
	struct wf_sort_sample *sample = zeros(SAMPLES, sizeof(*sample));
	const struct wf_sort_sample **sorted = zeros(SAMPLES, sizeof(*sorted));
	const uint32_t left = shape->key_bytes - shape->prefix;

	for (uint32_t i = 0; i < SAMPLES; i++) {
		const uint8_t *record =
			m->records + (size_t)next_random(shape->n) * shape->record_bytes;

		sample[i].size = left < WF_SORT_KEY_CAP ? left : WF_SORT_KEY_CAP;
		memcpy(sample[i].key, record + shape->key_offset + shape->prefix, sample[i].size);
		sorted[i] = &sample[i];
	}
	qsort(sorted, SAMPLES, sizeof(*sorted), compare_samples);
	wf_sort_splitters_init(&m->table, &m->layout, shape->prefix, shape->partitions, sorted,
	                       SAMPLES);
	free(sample);
	free(sorted);
}

static struct memory make(const struct shape *shape)
{
	const size_t bytes = (size_t)shape->n * shape->record_bytes;
	struct memory m = {
		.layout = { .record_bytes = shape->record_bytes,
		            .key_offset = shape->key_offset,
		            .key_bytes = shape->key_bytes },
		.records = zeros(bytes, 1),
		.out = zeros(bytes, 1),
		.expected = zeros(bytes, 1),
		.ids = zeros(shape->n, sizeof(uint16_t)),
		.expected_ids = zeros(shape->n, sizeof(uint16_t)),
	};

	for (size_t i = 0; i < bytes; i++)
		m.records[i] = (uint8_t)(100 + next_random(shape->symbols));
	for (uint32_t i = 0; i < shape->n; i++) {
		uint8_t *key = m.records + (size_t)i * shape->record_bytes + shape->key_offset;

		memset(key, 'p', shape->prefix);
		if (next_random(100) < shape->hot)
			memset(key, 101, shape->key_bytes);
		if (next_random(20) == 0)
			key[shape->key_bytes - 1] = (uint8_t)next_random(256);
	}
	make_table(&m, shape);
	m.batch = (struct wf_sort_batch){
		.n = shape->n,
		.tiles = (shape->n + WF_SORT_TILE - 1) / WF_SORT_TILE,
		.buckets = m.table.bucket_count,
		.record_bytes = shape->record_bytes,
		.key_offset = shape->key_offset + shape->prefix,
		.key_bytes = shape->key_bytes - shape->prefix,
	};
	m.counts = zeros((size_t)m.batch.tiles * m.batch.buckets, sizeof(uint32_t));
	m.totals = zeros(m.batch.buckets, sizeof(uint32_t));
	m.starts = zeros(m.batch.buckets, sizeof(uint32_t));
	m.batch.table = 0;
	return m;
}

static void destroy(struct memory *m)
{
	free(m->records);
	free(m->out);
	free(m->expected);
	free(m->ids);
	free(m->expected_ids);
	free(m->counts);
	free(m->totals);
	free(m->starts);
}

/* Where each record goes on the host, and how many go to each bucket. */
static void expect(struct memory *m, const uint32_t *totals)
{
	const size_t size = m->layout.record_bytes;
	uint8_t *to = m->expected;

	for (uint32_t b = 0; b < m->batch.buckets; b++) {
		const uint8_t *start = to;

		for (uint32_t i = 0; i < m->batch.n; i++) {
			if (m->expected_ids[i] != b)
				continue;
			memcpy(to, m->records + i * size, size);
			to += size;
		}
		cr_assert_eq(totals[b], (size_t)(to - start) / size, "bucket %u", b);
	}
	cr_assert_eq((size_t)(to - m->expected), m->batch.n * size);
}

static void check(const struct shape *shape)
{
	struct memory m = make(shape);
	const size_t bytes = (size_t)shape->n * shape->record_bytes;

	m.batch.table = (uintptr_t)&m.table;
	m.batch.records = (uintptr_t)m.records;
	m.batch.out = (uintptr_t)m.out;
	m.batch.ids = (uintptr_t)m.ids;
	m.batch.counts = (uintptr_t)m.counts;
	m.batch.totals = (uintptr_t)m.totals;
	m.batch.starts = (uintptr_t)m.starts;
	launch(weft_sort_count, m.batch.tiles, shape->threads, &m.batch);
	launch(weft_sort_rows, m.batch.buckets, shape->threads, &m.batch);
	launch(weft_sort_starts, 1, shape->threads, &m.batch);
	launch(weft_sort_scatter, m.batch.tiles, shape->threads, &m.batch);
	wf_sort_classify(&m.table, &m.layout, m.records, bytes, m.expected_ids);
	cr_assert_eq(memcmp(m.ids, m.expected_ids, sizeof(uint16_t) * shape->n), 0);
	expect(&m, m.totals);
	cr_assert_eq(memcmp(m.out, m.expected, bytes), 0, "%u records of %u bytes", shape->n,
	             shape->record_bytes);
	destroy(&m);
}

Test(sort_kernels, batches_of_every_size_come_out_as_on_the_host)
{
	static const uint32_t sizes[] = { 1, 2, 1023, 1024, 1025, 2100 };

	random_state = test_seed();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		check(&(struct shape){ .n = sizes[i],
		                       .record_bytes = 100,
		                       .key_bytes = 10,
		                       .partitions = 20,
		                       .symbols = 90,
		                       .threads = 64 });
}

Test(sort_kernels, records_and_keys_of_every_size_come_out_as_on_the_host)
{
	static const struct shape shapes[] = {
		{ .n = 2500, .record_bytes = 1, .key_bytes = 1, .symbols = 150 },
		{ .n = 2500, .record_bytes = 3, .key_offset = 1, .key_bytes = 2, .symbols = 5 },
		{ .n = 1500, .record_bytes = 4, .key_bytes = 4, .symbols = 20 },
		{ .n = 1500, .record_bytes = 13, .key_offset = 4, .key_bytes = 8, .symbols = 3 },
		{ .n = 1100, .record_bytes = 40, .key_bytes = 40, .prefix = 17, .symbols = 2 },
		{ .n = 1100, .record_bytes = 203, .key_bytes = 203, .symbols = 1 },
	};

	random_state = test_seed();
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
		struct shape shape = shapes[i];

		shape.partitions = 30;
		shape.threads = 32;
		check(&shape);
	}
}

Test(sort_kernels, skew_and_many_buckets_come_out_as_on_the_host)
{
	static const uint32_t partitions[] = { 1, 7, 300 };

	random_state = test_seed();
	for (size_t i = 0; i < sizeof partitions / sizeof *partitions; i++) {
		for (uint32_t hot = 0; hot <= 100; hot += 50)
			check(&(struct shape){ .n = 2600,
			                       .record_bytes = 12,
			                       .key_offset = 2,
			                       .key_bytes = 9,
			                       .partitions = partitions[i],
			                       .symbols = 150,
			                       .hot = hot,
			                       .threads = 32 });
	}
}
