/*
 * gpu.c: --gpu: the partition task with its middle part on a GPU.
 *
 *	read a range of the file into pinned memory                         this thread
 *	copy up, count, rows, starts, scatter (batch.h), copy down          the GPU, in one stream
 *	checksum of what was read                                           this thread, meanwhile
 *	copy each bucket's records into an object                           this thread
 *
 * The task asks for a third of a GPU, so three batches are under way on each: one comes up, one is
 * computed, one goes down, in streams of their own, while the CPUs read and fill objects for
 * others. While its batch is on the GPU a task waits and no worker does.
 *
 * Pinned memory is what a batch needs while it is under way: a slot, one for each grant that there
 * can be, of the size of a chunk. Up and down use the same bytes, one after the other.
 *
 * The pieces are the very bytes that partition.c makes, in the same order; what comes behind does
 * not know where they were made.
 *
 * Decision: the records come down and go to the store by the CPU. Rejected: pieces that stay on the
 * device as values of their own (thousands of small ones for each batch, and the sort is on the
 * host); copies from the device into the objects (each would go through pinned memory as well, and
 * is waited for by itself).
 */
#include "sort.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base.h"
#include "batch.h"
#include "partition_ptx.h"

#define ALIGN         256u
#define BATCHES       3u /* under way on one device: up, compute, down */
#define SHARE         0.3333
#define STAGING_BYTES (256u << 10)         /* for what does not lie in slots: tables and totals */
#define HANG_NS       INT64_C(60000000000) /* no batch takes so long: the device is lost */
#define BOUND_LEAST   8u                   /* batches that the copy bound is measured with */
#define BOUND_MOST    64u

struct wf_sort_gpu {
	uint64_t memory; /* of the largest device */
	char name[64];   /* of the first */
	uint64_t slot_bytes;
	struct weft_task_options options[11]; /* by the logarithm of the outputs */
	struct weft_task_options bound_options;
	pthread_mutex_t mutex;
	uint32_t slot_count, free_count; /* both and `slot`: under the mutex */
	uint8_t *slot[WF_SORT_WINDOW_MAX];
	char why[128]; /* under the mutex: of the first batch that has kept its slot */
};

/* ---- Twins of the kernels ---------------------------------------------------------- */

static void *there(weft_cuda *cuda, uint64_t address, uint64_t bytes)
{
	void *memory = weft_cuda_twin_memory(cuda, address, bytes);

	WF_CHECK(memory);
	return memory;
}

/* What all twins look at. */
struct seen {
	struct wf_sort_batch batch;
	uint32_t *counts, *totals, *starts;
	uint16_t *ids;
	const uint8_t *records;
};

static struct seen see(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct seen s;
	const struct wf_sort_batch *b = &s.batch;

	memcpy(&s.batch, launch->args[0], sizeof(s.batch));
	s.counts = there(cuda, b->counts, sizeof(uint32_t) * b->buckets * b->tiles);
	s.totals = there(cuda, b->totals, sizeof(uint32_t) * b->buckets);
	s.starts = there(cuda, b->starts, sizeof(uint32_t) * b->buckets);
	s.ids = there(cuda, b->ids, sizeof(uint16_t) * b->n);
	s.records = there(cuda, b->records, (uint64_t)b->n * b->record_bytes);
	return s;
}

static void twin_count(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct seen s = see(cuda, launch);
	const struct wf_sort_batch *b = &s.batch;
	const struct wf_sort_splitters *table = there(cuda, b->table, sizeof(*table));

	memset(s.counts, 0, sizeof(uint32_t) * b->buckets * b->tiles);
	for (uint32_t i = 0; i < b->n; i++) {
		const uint8_t *record = s.records + (uint64_t)i * b->record_bytes;

		s.ids[i] = (uint16_t)wf_sort_batch_bucket(b, table, record);
		s.counts[(uint64_t)s.ids[i] * b->tiles + i / WF_SORT_TILE]++;
	}
}

static uint32_t scan(const uint32_t *from, uint32_t *to, uint32_t n)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		uint32_t value = from[i];

		to[i] = sum;
		sum += value;
	}
	return sum;
}

static void twin_rows(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct seen s = see(cuda, launch);

	for (uint32_t b = 0; b < s.batch.buckets; b++) {
		uint32_t *row = s.counts + (uint64_t)b * s.batch.tiles;

		s.totals[b] = scan(row, row, s.batch.tiles);
	}
}

static void twin_starts(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct seen s = see(cuda, launch);

	scan(s.totals, s.starts, s.batch.buckets);
}

/* Uses the counts up: each record leaves there where the next one of its tile goes. */
static void twin_scatter(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct seen s = see(cuda, launch);
	const struct wf_sort_batch *b = &s.batch;
	uint64_t size = b->record_bytes;
	uint8_t *out = there(cuda, b->out, b->n * size);

	for (uint32_t i = 0; i < b->n; i++) {
		uint32_t *next = &s.counts[(uint64_t)s.ids[i] * b->tiles + i / WF_SORT_TILE];
		uint64_t to = s.starts[s.ids[i]] + (uint64_t)(*next)++;

		memcpy(out + to * size, s.records + i * size, size);
	}
}

#define KERNEL(word) \
	{ \
		.image = partition_ptx, .image_bytes = sizeof(partition_ptx), \
		.name = "weft_sort_" #word, .twin = twin_##word \
	}
static const struct weft_cuda_kernel count_kernel = KERNEL(count), rows_kernel = KERNEL(rows),
				     starts_kernel = KERNEL(starts),
				     scatter_kernel = KERNEL(scatter);

static int launch(weft_task *self, const struct weft_cuda_kernel *kernel, uint32_t blocks,
                  struct wf_sort_batch *batch)
{
	static const uint16_t sizes[] = { sizeof(*batch) };
	void *args[] = { batch };

	return weft_cuda_launch(self,
	                        &(const struct weft_cuda_launch){ .kernel = kernel,
	                                                          .grid = { blocks },
	                                                          .block = { WF_SORT_THREADS },
	                                                          .n_args = 1,
	                                                          .args = args,
	                                                          .args_bytes = sizes });
}

static int launch_all(weft_task *self, struct wf_sort_batch *batch)
{
	int status = launch(self, &count_kernel, batch->tiles, batch);

	if (status == 0)
		status = launch(self, &rows_kernel, batch->buckets, batch);
	if (status == 0)
		status = launch(self, &starts_kernel, 1, batch);
	if (status == 0)
		status = launch(self, &scatter_kernel, batch->tiles, batch);
	return status;
}

/* ---- Memory of a batch ------------------------------------------------------------- */

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

/* The next part of one block of memory. */
static uint64_t part(uint64_t *at, uint64_t bytes)
{
	uint64_t address = *at;

	*at += round_up(bytes);
	return address;
}

/* Fill in the addresses from `base` on. Returns how much it is in all. */
static uint64_t place(struct wf_sort_batch *batch, uint64_t base)
{
	uint64_t at = base, bytes = (uint64_t)batch->n * batch->record_bytes;

	batch->records = part(&at, bytes);
	batch->out = part(&at, bytes);
	batch->ids = part(&at, sizeof(uint16_t) * batch->n);
	batch->counts = part(&at, sizeof(uint32_t) * (uint64_t)batch->buckets * batch->tiles);
	batch->totals = part(&at, sizeof(uint32_t) * batch->buckets);
	batch->starts = part(&at, sizeof(uint32_t) * batch->buckets);
	return at - base;
}

static struct wf_sort_batch batch_of(const struct wf_sort_layout *layout, uint64_t bytes,
                                     uint32_t buckets, uint32_t prefix)
{
	uint32_t n = (uint32_t)(bytes / layout->record_bytes);

	WF_CHECK(!layout->lines && prefix <= layout->key_bytes);
	return (struct wf_sort_batch){
		.n = n,
		.tiles = (n + WF_SORT_TILE - 1) / WF_SORT_TILE,
		.buckets = buckets,
		.record_bytes = layout->record_bytes,
		.key_offset = layout->key_offset + prefix,
		.key_bytes = layout->key_bytes - prefix,
	};
}

/*
 * Of a batch that has failed the device may still write to its slot, so it is kept, and who finds
 * none left fails for that cause: `self` has failed then, and the result is NULL.
 */
static uint8_t *slot_take(struct wf_sort_gpu *gpu, weft_task *self, int *status)
{
	uint8_t *slot = NULL;
	char why[sizeof(gpu->why)];

	pthread_mutex_lock(&gpu->mutex);
	if (gpu->free_count)
		slot = gpu->slot[--gpu->free_count];
	memcpy(why, gpu->why, sizeof(why));
	pthread_mutex_unlock(&gpu->mutex);
	*status = slot ? 0 : why[0] ? weft_fail(self, -EIO, "%s", why) : -ECANCELED;
	return slot;
}

static void slot_give(struct wf_sort_gpu *gpu, uint8_t *slot)
{
	pthread_mutex_lock(&gpu->mutex);
	WF_CHECK(gpu->free_count < gpu->slot_count);
	gpu->slot[gpu->free_count++] = slot;
	pthread_mutex_unlock(&gpu->mutex);
}

/* ---- The partition task ------------------------------------------------------------ */

struct work {
	weft_task *self;
	const struct wf_sort_partition *arg;
	struct wf_sort_gpu *gpu;
	const struct wf_sort_splitters *splitters;
	struct wf_sort_parts *parts;
	uint8_t *slot;
	uint64_t bytes;                       /* in the slot */
	uint32_t totals[WF_SORT_BUCKETS_MAX]; /* records of each bucket */
	uint8_t *to[WF_SORT_BUCKETS_MAX];
};

/* A batch fails, and keeps its slot. What the engine says of a loss is the text already. */
static int fail(weft_task *self, struct wf_sort_gpu *gpu, int status)
{
	bool lost = status == WEFT_EDEVICE || status == WEFT_EDEP;
	char why[sizeof(gpu->why)];

	if (weft_task_cancelled(self))
		return -ECANCELED;
	if (status == -ENOMEM)
		snprintf(why, sizeof(why), "the GPU has no memory for a batch");
	else
		snprintf(why, sizeof(why), "a batch on the GPU has failed: %s",
		         weft_strerror(status));
	pthread_mutex_lock(&gpu->mutex);
	if (!gpu->why[0])
		memcpy(gpu->why, why, sizeof(why));
	pthread_mutex_unlock(&gpu->mutex);
	return lost || status == WEFT_ESTOREFULL ? status : weft_fail(self, status, "%s", why);
}

static bool is_top(const struct work *work)
{
	return weft_input_count(work->self) == 1;
}

/* What is to be partitioned, into the slot: a range of the file, or the pieces of a bucket. */
static int fill(struct work *work)
{
	const struct wf_sort_job *job = work->arg->job;
	const struct wf_sort_range *range = &work->arg->range;
	struct wf_sort_time begin = wf_sort_time_now();
	int status;

	for (uint32_t i = 1; i < weft_input_count(work->self); i++) {
		struct weft_view view;

		WF_CHECK(weft_input(work->self, i, &view) == 0);
		WF_CHECK(view.size <= work->gpu->slot_bytes - work->bytes);
		memcpy(work->slot + work->bytes, view.data, view.size);
		work->bytes += view.size;
	}
	if (!is_top(work)) {
		wf_sort_journal_part(job->journal, WF_SORT_STAGE_PARTITION, begin);
		return 0;
	}
	WF_CHECK(range->bytes <= work->gpu->slot_bytes);
	work->bytes = range->bytes;
	status = wf_sort_read_range(work->self, job, range->offset, range->bytes, work->slot);
	if (status == 0)
		wf_sort_journal_add(job->journal, work->self, WF_SORT_STAGE_READ, begin,
		                    range->bytes);
	return status;
}

/* Of what is in the slot, before the device writes there. */
static void check_sum(struct work *work)
{
	uint32_t size = work->arg->job->layout.record_bytes;
	struct wf_sort_time begin = wf_sort_time_now();

	if (!is_top(work))
		return;
	for (uint64_t at = 0; at < work->bytes; at += size)
		work->parts->sum.checksum += wf_sort_hash(work->slot + at, size);
	wf_sort_journal_part(work->arg->job->journal, WF_SORT_STAGE_PARTITION, begin);
}

/* Suspends until the device is done: from the slot, partitioned, to the slot. */
static int on_device(struct work *work)
{
	const struct wf_sort_job *job = work->arg->job;
	weft_task *self = work->self;
	struct wf_sort_batch batch = batch_of(
		&job->layout, work->bytes, work->splitters->bucket_count, work->splitters->prefix);
	struct wf_sort_time begin = wf_sort_time_now();
	uint64_t base = 0;
	int status = weft_cuda_input(self, 0, &batch.table, NULL);

	if (status == 0)
		status = weft_cuda_alloc(self, place(&batch, 0), &base);
	if (status < 0)
		return fail(self, work->gpu, status);
	place(&batch, base);
	status = weft_cuda_copy_in(self, batch.records, work->slot, work->bytes);
	if (status == 0)
		status = launch_all(self, &batch);
	if (status == 0) {
		check_sum(work);
		status = weft_cuda_copy_out(self, work->slot, batch.out, work->bytes);
	}
	/* This memory is not pinned: it waits for all of the above. */
	if (status == 0)
		status = weft_cuda_copy_out(self, work->totals, batch.totals,
		                            sizeof(uint32_t) * batch.buckets);
	if (status < 0)
		return fail(self, work->gpu, status);
	/* Of a thread that may be another one by now. */
	begin.cpu_ns = wf_sort_time_now().cpu_ns;
	wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_GPU, begin, work->bytes);
	return 0;
}

/* Suspends, for room. */
static int make_pieces(struct work *work)
{
	const struct wf_sort_layout *layout = &work->arg->job->layout;
	uint64_t records = 0;

	for (uint32_t b = 0; b < work->splitters->bucket_count; b++) {
		struct wf_sort_part *bucket = &work->parts->part[b];
		void *data = NULL;
		int status = 0;

		bucket->records = work->totals[b];
		bucket->bytes = bucket->records * layout->record_bytes;
		records += bucket->records;
		/* A device that miscounts is broken: no more is read than was written. */
		WF_CHECK(records * layout->record_bytes <= work->bytes);
		if (bucket->bytes)
			status = weft_task_output(work->self, 1 + b, bucket->bytes, &data);
		if (status < 0)
			return wf_sort_fail_room(work->self, status, "to partition a chunk");
		work->to[b] = data;
	}
	WF_CHECK(records * layout->record_bytes == work->bytes);
	work->parts->sum.records = records;
	return 0;
}

static void fill_pieces(struct work *work)
{
	const struct wf_sort_job *job = work->arg->job;
	struct wf_sort_time begin = wf_sort_time_now();
	const uint8_t *from = work->slot;

	for (uint32_t b = 0; b < work->splitters->bucket_count; b++) {
		uint64_t bytes = work->parts->part[b].bytes;

		if (bytes)
			memcpy(work->to[b], from, bytes);
		from += bytes;
	}
	wf_sort_journal_add(job->journal, work->self, WF_SORT_STAGE_PARTITION, begin, work->bytes);
}

static int partition(struct work *work)
{
	uint32_t buckets = work->splitters->bucket_count;
	size_t parts_bytes = sizeof(*work->parts) + buckets * sizeof(work->parts->part[0]);
	void *parts;
	int status = weft_task_output(work->self, 0, parts_bytes, &parts);

	if (status < 0) {
		slot_give(work->gpu, work->slot);
		return wf_sort_fail_room(work->self, status, "to partition a chunk");
	}
	work->parts = parts;
	memset(parts, 0, parts_bytes);
	status = fill(work);
	if (status == 0) {
		status = on_device(work);
		if (status < 0)
			return status; /* and the slot is kept */
		status = make_pieces(work);
	}
	if (status == 0)
		fill_pieces(work);
	slot_give(work->gpu, work->slot);
	return status;
}

int wf_sort_gpu_partition_body(weft_task *self)
{
	struct work work = { .self = self, .arg = weft_task_arg(self, NULL) };
	struct weft_view table;
	int status;

	WF_CHECK(weft_input(self, 0, &table) == 0 && table.size == sizeof(*work.splitters));
	work.splitters = table.data;
	work.gpu = work.arg->job->gpu;
	if (weft_task_cancelled(self))
		return -ECANCELED;
	work.slot = slot_take(work.gpu, self, &status);
	return work.slot ? partition(&work) : status;
}

const struct weft_task_options *wf_sort_gpu_options(const struct wf_sort_gpu *gpu,
                                                    uint32_t outputs_log)
{
	WF_CHECK(outputs_log < sizeof(gpu->options) / sizeof(gpu->options[0]));
	return &gpu->options[outputs_log];
}

int wf_sort_gpu_fits(weft_task *self, const struct wf_sort_gpu *gpu, uint32_t outputs_log)
{
	uint64_t wanted = wf_sort_gpu_options(gpu, outputs_log)->gpu_mem;

	if (wanted <= gpu->memory)
		return 0;
	return weft_fail(self, -ENOMEM,
	                 "--gpu: a batch needs %.1f MB on the GPU, %s has %.1f MB; less --mem "
	                 "makes smaller ones",
	                 (double)wanted * 1e-6, gpu->name, (double)gpu->memory * 1e-6);
}

/* ---- The copy bound ---------------------------------------------------------------- */

static int bound_body(weft_task *self)
{
	const struct wf_sort_job *job =
		*(const struct wf_sort_job *const *)weft_task_arg(self, NULL);
	struct wf_sort_gpu *gpu = job->gpu;
	struct wf_sort_time begin = wf_sort_time_now();
	int status;
	uint8_t *slot = slot_take(gpu, self, &status);
	uint64_t up = 0;
	uint32_t word;

	if (!slot)
		return status;
	status = weft_cuda_alloc(self, gpu->slot_bytes, &up);
	if (status == 0)
		status = weft_cuda_copy_in(self, up, slot, gpu->slot_bytes);
	if (status == 0)
		status = weft_cuda_copy_out(self, slot, up, gpu->slot_bytes);
	/* Not pinned: it waits for both. */
	if (status == 0)
		status = weft_cuda_copy_out(self, &word, up, 1);
	if (status < 0)
		return fail(self, gpu, status);
	slot_give(gpu, slot);
	begin.cpu_ns = wf_sort_time_now().cpu_ns;
	wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_GPU_COPIES, begin, gpu->slot_bytes);
	return 0;
}

int wf_sort_gpu_bound_root(weft_task *self)
{
	const struct wf_sort_job *job =
		*(const struct wf_sort_job *const *)weft_task_arg(self, NULL);
	uint32_t chunks = job->layout.chunk_count;
	uint32_t batches = chunks < BOUND_LEAST ? BOUND_LEAST : chunks;
	struct wf_sort_window window;
	int status = 0;

	batches = batches < BOUND_MOST ? batches : BOUND_MOST;
	wf_sort_window_init(&window, self, job->layout.window);
	for (uint32_t i = 0; i < batches && status == 0; i++)
		status = wf_sort_window_submit(
			&window,
			WEFT_TASK(bound_body, WEFT_ARG(job), .opts = &job->gpu->bound_options),
			NULL);
	if (status == 0)
		status = wf_sort_window_drain(&window);
	wf_sort_window_fini(&window);
	return status;
}

/* ---- Open and close ---------------------------------------------------------------- */

int wf_sort_gpu_open(struct wf_sort_gpu **out, weft *rt, weft_cuda *cuda,
                     const struct wf_sort_layout *layout)
{
	struct weft_cuda_info info = { .struct_size = sizeof(info) };
	uint32_t devices = (uint32_t)weft_cuda_count(cuda);
	struct wf_sort_gpu *gpu = wf_calloc(1, sizeof(*gpu));
	uint64_t most = layout->bytes < layout->chunk_bytes ? layout->bytes : layout->chunk_bytes;
	uint32_t slots = devices * BATCHES;
	int status = gpu ? 0 : -ENOMEM;

	WF_CHECK(devices > 0);
	if (!gpu)
		return status;
	gpu->slot_bytes = most ? most : 1; /* of a file that is empty */
	pthread_mutex_init(&gpu->mutex, NULL);
	for (uint32_t i = devices; i-- > 0;) {
		WF_CHECK(weft_cuda_info(rt, i, &info) == 0);
		gpu->memory = info.memory_bytes > gpu->memory ? info.memory_bytes : gpu->memory;
	}
	memcpy(gpu->name, info.name, sizeof(gpu->name));
	for (uint32_t n = 1; n < sizeof(gpu->options) / sizeof(gpu->options[0]); n++) {
		struct wf_sort_batch batch = batch_of(layout, most, (1u << n) - 1, 0);

		gpu->options[n] = (struct weft_task_options){
			.struct_size = sizeof(gpu->options[n]),
			.n_outputs = 1u << n,
			.gpus = SHARE,
			.gpu_mem = place(&batch, 0) + round_up(sizeof(struct wf_sort_splitters)),
		};
	}
	gpu->bound_options = (struct weft_task_options){
		.struct_size = sizeof(gpu->bound_options),
		.gpus = SHARE,
		.gpu_mem = round_up(gpu->slot_bytes),
	};
	/* The window lets no more tasks begin. */
	slots = slots < layout->window ? slots : layout->window;
	while (gpu->slot_count < slots && status == 0) {
		void *slot;

		status = weft_cuda_host_alloc(rt, gpu->slot_bytes, &slot);
		if (status == 0)
			gpu->slot[gpu->slot_count++] = slot;
	}
	gpu->free_count = gpu->slot_count;
	if (status < 0)
		wf_sort_gpu_close(gpu);
	else
		*out = gpu;
	return status;
}

void wf_sort_gpu_close(struct wf_sort_gpu *gpu)
{
	if (!gpu)
		return;
	/* The slots go with the devices: a batch that has failed does not say when it is done. */
	pthread_mutex_destroy(&gpu->mutex);
	wf_free(gpu);
}

int wf_sort_gpu_devices(weft_cuda **out)
{
	const struct weft_cuda_options options = {
		.struct_size = sizeof(options),
		.staging_bytes = STAGING_BYTES,
		.hang_ns = HANG_NS,
	};
	weft_cuda *cuda;
	int status = weft_cuda_open(&cuda, &options);

	if (status < 0)
		return status;
	if (weft_cuda_count(cuda) == 0) {
		weft_cuda_close(cuda);
		return -ENODEV;
	}
	*out = cuda;
	return 0;
}

const char *wf_sort_gpu_name(const struct wf_sort_gpu *gpu)
{
	return gpu->name;
}
