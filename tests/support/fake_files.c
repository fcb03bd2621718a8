/*
 * fake_files.c: see fake_files.h. A record that is freed twice, read after it was freed, or read
 * under another name than it was written under, ends the program, as does memory freed twice.
 */
#include "fake_files.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base.h"
#include "mem.h"
#include "spill.h"
#include "wf_io.h"

#if WF_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, size)   ((void)(p), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(p, size) ((void)(p), (void)(size))
#endif

#define RECORDS_MAX 65536u
#define ORDER_MAX   65536u

static pthread_mutex_t knobs = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t knobs_moved = PTHREAD_COND_INITIALIZER;

static struct {
	bool hold, refuse_open, refuse_memory, small_memory, small_pages;
	uint32_t let_go, held;
	uint64_t write_from, write_until, read_from, read_until, disk_bytes, memory_bytes;
	int write_status, read_status;
	uint64_t writes, batches, reads, records, blocks;
	uint64_t order[ORDER_MAX];
} fake;

static void fail(const char *text)
{
	fprintf(stderr, "fake files: %s\n", text);
	abort();
}

void fake_reset(void)
{
	pthread_mutex_lock(&knobs);
	memset(&fake, 0, sizeof(fake));
	fake.disk_bytes = UINT64_MAX;
	pthread_mutex_unlock(&knobs);
}

void fake_hold(bool hold)
{
	pthread_mutex_lock(&knobs);
	fake.hold = hold;
	fake.let_go = 0;
	pthread_cond_broadcast(&knobs_moved);
	pthread_mutex_unlock(&knobs);
}

void fake_let_one_go(void)
{
	pthread_mutex_lock(&knobs);
	fake.let_go++;
	pthread_cond_broadcast(&knobs_moved);
	pthread_mutex_unlock(&knobs);
}

void fake_await_held(uint32_t count)
{
	pthread_mutex_lock(&knobs);
	while (fake.held < count)
		pthread_cond_wait(&knobs_moved, &knobs);
	pthread_mutex_unlock(&knobs);
}

#define GETTER(type, name, value) \
	type name(void) \
	{ \
		pthread_mutex_lock(&knobs); \
		type answer = (value); \
		pthread_mutex_unlock(&knobs); \
		return answer; \
	}
GETTER(uint32_t, fake_held, fake.held)
GETTER(uint64_t, fake_writes, fake.writes)
GETTER(uint64_t, fake_batches, fake.batches)
GETTER(uint64_t, fake_reads, fake.reads)
GETTER(uint64_t, fake_records, fake.records)
GETTER(uint64_t, fake_memory_blocks, fake.blocks)

void fake_fail_writes(uint64_t nth, uint64_t count, int status)
{
	pthread_mutex_lock(&knobs);
	fake.write_from = nth > 0 ? fake.writes + nth : 0;
	fake.write_until = fake.write_from + count;
	fake.write_status = status;
	pthread_mutex_unlock(&knobs);
}

void fake_fail_reads(uint64_t nth, uint64_t count, int status)
{
	pthread_mutex_lock(&knobs);
	fake.read_from = nth > 0 ? fake.reads + nth : 0;
	fake.read_until = fake.read_from + count;
	fake.read_status = status;
	pthread_mutex_unlock(&knobs);
}

void fake_disk_bytes(uint64_t bytes)
{
	pthread_mutex_lock(&knobs);
	fake.disk_bytes = bytes;
	pthread_mutex_unlock(&knobs);
}

void fake_memory_bytes(uint64_t bytes)
{
	pthread_mutex_lock(&knobs);
	fake.memory_bytes = bytes;
	pthread_mutex_unlock(&knobs);
}

void fake_refuse_open(bool refuse)
{
	pthread_mutex_lock(&knobs);
	fake.refuse_open = refuse;
	pthread_mutex_unlock(&knobs);
}

void fake_small_memory(bool small)
{
	pthread_mutex_lock(&knobs);
	fake.small_memory = small;
	pthread_mutex_unlock(&knobs);
}

bool fake_small_pages(void)
{
	bool small;

	pthread_mutex_lock(&knobs);
	small = fake.small_pages;
	pthread_mutex_unlock(&knobs);
	return small;
}

void fake_refuse_memory(bool refuse)
{
	pthread_mutex_lock(&knobs);
	fake.refuse_memory = refuse;
	pthread_mutex_unlock(&knobs);
}

uint64_t fake_written_as(uint64_t id)
{
	uint64_t found = UINT64_MAX;

	pthread_mutex_lock(&knobs);
	for (uint64_t i = 0; i < fake.writes && i < ORDER_MAX && found == UINT64_MAX; i++) {
		if (fake.order[i] == id)
			found = i;
	}
	pthread_mutex_unlock(&knobs);
	return found;
}

/* ---- Memory ---------------------------------------------------------------------------------- */

struct block {
	uint64_t offset, bytes;
	struct block *next;
};

struct wf_mem {
	char *base;
	uint64_t limit, taken;
	pthread_mutex_t lock;
	struct block *blocks; /* by offset */
};

struct wf_mem_cache {
	struct wf_mem *mem;
};

int wf_mem_open(struct wf_mem **out, const struct wf_mem_options *options)
{
	struct wf_mem *mem = wf_calloc(1, sizeof(*mem));

	if (mem == NULL)
		return -ENOMEM;
	pthread_mutex_lock(&knobs);
	mem->limit = fake.memory_bytes != 0 ? fake.memory_bytes : options->limit_bytes;
	pthread_mutex_unlock(&knobs);
	mem->base = wf_map(mem->limit, PROT_READ | PROT_WRITE);
	if (mem->base == NULL) {
		wf_free(mem);
		return -ENOMEM;
	}
	ASAN_POISON_MEMORY_REGION(mem->base, mem->limit);
	pthread_mutex_init(&mem->lock, NULL);
	*out = mem;
	return 0;
}

void wf_mem_close(struct wf_mem *mem)
{
	if (mem == NULL)
		return;
	while (mem->blocks != NULL) {
		struct block *block = mem->blocks;

		mem->blocks = block->next;
		free(block);
	}
	ASAN_UNPOISON_MEMORY_REGION(mem->base, mem->limit);
	wf_unmap(mem->base, mem->limit);
	pthread_mutex_destroy(&mem->lock);
	wf_free(mem);
}

struct wf_mem_cache *wf_mem_cache_create(struct wf_mem *mem, uint32_t node)
{
	struct wf_mem_cache *cache = wf_malloc(sizeof(*cache));

	(void)node;
	if (cache != NULL)
		cache->mem = mem;
	return cache;
}

void wf_mem_cache_destroy(struct wf_mem_cache *cache)
{
	wf_free(cache);
}

uint64_t wf_mem_cache_flush(struct wf_mem_cache *cache)
{
	(void)cache;
	return 0;
}

uint64_t wf_mem_footprint(uint64_t size)
{
	return size <= 64 ? 64 : (size + 63) / 64 * 64;
}

uint64_t wf_mem_alloc(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t size)
{
	uint64_t bytes = wf_mem_footprint(size), offset = 0;
	struct block **at, *block = malloc(sizeof(*block));
	bool refused;

	(void)cache;
	pthread_mutex_lock(&knobs);
	refused = fake.refuse_memory;
	fake.blocks += !refused;
	pthread_mutex_unlock(&knobs);
	if (refused) {
		free(block);
		return WF_MEM_NONE;
	}
	pthread_mutex_lock(&mem->lock);
	for (at = &mem->blocks; *at != NULL; at = &(*at)->next) {
		if ((*at)->offset - offset >= bytes)
			break;
		offset = (*at)->offset + (*at)->bytes;
	}
	if (*at == NULL && mem->limit - offset < bytes) {
		pthread_mutex_unlock(&mem->lock);
		pthread_mutex_lock(&knobs);
		fake.blocks--;
		pthread_mutex_unlock(&knobs);
		free(block);
		return WF_MEM_NONE;
	}
	*block = (struct block){ offset, bytes, *at };
	*at = block;
	mem->taken += bytes;
	pthread_mutex_unlock(&mem->lock);
	ASAN_UNPOISON_MEMORY_REGION(mem->base + offset, size);
	memset(mem->base + offset, 0xcd, size);
	return offset;
}

void wf_mem_free(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t offset, uint64_t size)
{
	struct block **at, *block;

	(void)cache;
	/* Whoever still reads it sees that it is gone. */
	memset(mem->base + offset, 0xdd, size);
	ASAN_POISON_MEMORY_REGION(mem->base + offset, size);
	pthread_mutex_lock(&mem->lock);
	for (at = &mem->blocks; *at != NULL && (*at)->offset != offset; at = &(*at)->next) {
	}
	block = *at;
	if (block == NULL || block->bytes != wf_mem_footprint(size))
		fail("memory freed that was not there");
	*at = block->next;
	mem->taken -= block->bytes;
	pthread_mutex_unlock(&mem->lock);
	free(block);
	pthread_mutex_lock(&knobs);
	fake.blocks--;
	pthread_mutex_unlock(&knobs);
}

char *wf_mem_writable(const struct wf_mem *mem)
{
	return mem->base;
}

const char *wf_mem_readable(const struct wf_mem *mem)
{
	return mem->base;
}

uint64_t wf_mem_trim(struct wf_mem *mem, uint64_t keep_bytes)
{
	(void)mem;
	(void)keep_bytes;
	return 0;
}

void wf_mem_stats(const struct wf_mem *mem, struct wf_mem_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->limit_bytes = mem->limit;
	pthread_mutex_lock(&knobs);
	/* Pieces may be in the way of a large one at any fill. */
	stats->committed_bytes = fake.small_memory ? mem->limit : 0;
	stats->refused = fake.refuse_memory;
	pthread_mutex_unlock(&knobs);
}

uint64_t wf_mem_default_bytes(const char **why)
{
	if (why != NULL)
		*why = "fake";
	return (uint64_t)4 << 20;
}

/* ---- I/O: only that it is there -------------------------------------------------------------- */

struct wf_io {
	int nothing;
};

int wf_io_open(struct wf_io **out, const struct wf_io_options *options)
{
	struct wf_io *io = wf_malloc(sizeof(*io));

	(void)options;
	if (io == NULL)
		return -ENOMEM;
	*out = io;
	return 0;
}

void wf_io_close(struct wf_io *io)
{
	wf_free(io);
}

void wf_io_small_pages(struct wf_io *io, bool small)
{
	(void)io;
	pthread_mutex_lock(&knobs);
	fake.small_pages = small;
	pthread_mutex_unlock(&knobs);
}

const char *wf_io_backend(const struct wf_io *io)
{
	(void)io;
	return "fake";
}

/* ---- Files ----------------------------------------------------------------------------------- */

struct record {
	char *data;
	uint64_t size, id;
	uint32_t generation;
};

struct transfer {
	struct transfer *next;
	struct wf_spill_batch *batch; /* or */
	struct wf_spill_read *read;
};

struct wf_spill {
	struct wf_thread thread;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool stop;
	struct transfer *first, **last;
	struct record records[RECORDS_MAX];
	uint64_t bytes;
};

static int write_one(struct wf_spill *spill, struct wf_spill_item *item)
{
	uint64_t number, bytes, i;
	int status = 0;
	bool full;

	pthread_mutex_lock(&spill->lock);
	bytes = spill->bytes + item->size;
	pthread_mutex_unlock(&spill->lock);
	pthread_mutex_lock(&knobs);
	if (fake.writes < ORDER_MAX)
		fake.order[fake.writes] = item->id;
	number = ++fake.writes;
	if (fake.write_from > 0 && number >= fake.write_from && number < fake.write_until)
		status = fake.write_status;
	full = bytes > fake.disk_bytes;
	pthread_mutex_unlock(&knobs);
	if (status == 0 && full)
		status = -ENOSPC;
	if (status != 0)
		return status;
	pthread_mutex_lock(&spill->lock);
	for (i = 0; i < RECORDS_MAX && spill->records[i].data != NULL; i++) {
	}
	if (i == RECORDS_MAX)
		fail("too many records");
	spill->records[i] = (struct record){ .data = malloc(item->size + 1),
		                             .size = item->size,
		                             .id = item->id,
		                             .generation = item->generation };
	memcpy(spill->records[i].data, item->data, item->size);
	spill->bytes += item->size;
	pthread_mutex_unlock(&spill->lock);
	pthread_mutex_lock(&knobs);
	fake.records++;
	pthread_mutex_unlock(&knobs);
	item->place = (struct wf_spill_place){ .segment = 1, .page = (uint32_t)i };
	return 0;
}

static int read_one(struct wf_spill *spill, struct wf_spill_read *read)
{
	struct record *record = &spill->records[read->place.page];
	int status = 0;
	uint64_t number;

	if (read->place.segment != 1)
		fail("read from nowhere");
	pthread_mutex_lock(&knobs);
	number = ++fake.reads;
	if (fake.read_from > 0 && number >= fake.read_from && number < fake.read_until)
		status = fake.read_status;
	pthread_mutex_unlock(&knobs);
	pthread_mutex_lock(&spill->lock);
	if (record->data == NULL || record->id != read->id || record->size != read->size ||
	    record->generation != read->generation)
		fail("read of a record that is not there");
	memcpy(read->data, record->data, record->size);
	pthread_mutex_unlock(&spill->lock);
	strcpy(read->text, status != 0 ? "fake file, offset 0: as told" : "");
	return status;
}

static void transfer_now(struct wf_spill *spill, struct transfer *transfer)
{
	if (transfer->batch != NULL) {
		for (uint32_t i = 0; i < transfer->batch->count; i++)
			transfer->batch->items[i].status =
				write_one(spill, &transfer->batch->items[i]);
		transfer->batch->done(transfer->batch);
	} else {
		transfer->read->status = read_one(spill, transfer->read);
		transfer->read->done(transfer->read);
	}
	free(transfer);
}

/* The oldest transfer, or NULL: stop. */
static struct transfer *next_transfer(struct wf_spill *spill)
{
	struct transfer *transfer;

	pthread_mutex_lock(&spill->lock);
	while (spill->first == NULL && !spill->stop)
		pthread_cond_wait(&spill->moved, &spill->lock);
	transfer = spill->first;
	if (transfer != NULL) {
		spill->first = transfer->next;
		if (spill->first == NULL)
			spill->last = &spill->first;
	}
	pthread_mutex_unlock(&spill->lock);
	if (transfer == NULL)
		return NULL;
	pthread_mutex_lock(&knobs);
	while (fake.hold && fake.let_go == 0)
		pthread_cond_wait(&knobs_moved, &knobs);
	if (fake.hold)
		fake.let_go--;
	fake.held--;
	pthread_mutex_unlock(&knobs);
	return transfer;
}

static void *files_main(void *arg)
{
	struct wf_spill *spill = arg;

	for (;;) {
		struct transfer *transfer = next_transfer(spill);

		if (transfer == NULL)
			return NULL;
		transfer_now(spill, transfer);
	}
}

int wf_spill_open(struct wf_spill **out, const struct wf_spill_options *options)
{
	struct wf_spill *spill;
	bool refused;
	int rc;

	if (options->io == NULL || options->dir_count == 0)
		fail("opened without I/O or directories");
	pthread_mutex_lock(&knobs);
	refused = fake.refuse_open;
	pthread_mutex_unlock(&knobs);
	if (refused)
		return -EACCES;
	spill = wf_calloc(1, sizeof(*spill));
	if (spill == NULL)
		return -ENOMEM;
	pthread_mutex_init(&spill->lock, NULL);
	pthread_cond_init(&spill->moved, NULL);
	spill->last = &spill->first;
	rc = wf_thread_start(&spill->thread, "fake-files", files_main, spill);
	if (rc < 0) {
		wf_free(spill);
		return rc;
	}
	*out = spill;
	return 0;
}

void wf_spill_close(struct wf_spill *spill)
{
	if (spill == NULL)
		return;
	pthread_mutex_lock(&spill->lock);
	if (spill->first != NULL)
		fail("closed with transfers in flight");
	spill->stop = true;
	pthread_cond_signal(&spill->moved);
	pthread_mutex_unlock(&spill->lock);
	wf_thread_join(&spill->thread);
	for (uint64_t i = 0; i < RECORDS_MAX; i++)
		free(spill->records[i].data);
	pthread_mutex_destroy(&spill->lock);
	pthread_cond_destroy(&spill->moved);
	wf_free(spill);
}

static void queue(struct wf_spill *spill, struct wf_spill_batch *batch, struct wf_spill_read *read)
{
	struct transfer *transfer = malloc(sizeof(*transfer));

	*transfer = (struct transfer){ .batch = batch, .read = read };
	pthread_mutex_lock(&knobs);
	fake.held++;
	fake.batches += batch != NULL;
	pthread_cond_broadcast(&knobs_moved);
	pthread_mutex_unlock(&knobs);
	pthread_mutex_lock(&spill->lock);
	*spill->last = transfer;
	spill->last = &transfer->next;
	pthread_cond_signal(&spill->moved);
	pthread_mutex_unlock(&spill->lock);
}

void wf_spill_write(struct wf_spill *spill, struct wf_spill_batch *batch)
{
	queue(spill, batch, NULL);
}

void wf_spill_read(struct wf_spill *spill, struct wf_spill_read *read)
{
	queue(spill, NULL, read);
}

void wf_spill_read_all(struct wf_spill *spill, struct wf_spill_read *first)
{
	while (first != NULL) {
		struct wf_spill_read *next = first->private_;

		wf_spill_read(spill, first);
		first = next;
	}
}

void wf_spill_free(struct wf_spill *spill, const struct wf_spill_place *place, uint64_t size)
{
	struct record *record = &spill->records[place->page];

	pthread_mutex_lock(&spill->lock);
	if (place->segment != 1 || record->data == NULL || record->size != size)
		fail("a record freed that was not there");
	free(record->data);
	record->data = NULL;
	spill->bytes -= size;
	pthread_mutex_unlock(&spill->lock);
	pthread_mutex_lock(&knobs);
	fake.records--;
	pthread_mutex_unlock(&knobs);
}

void wf_spill_stats(const struct wf_spill *spill, struct wf_spill_stats *stats)
{
	(void)spill;
	memset(stats, 0, sizeof(*stats));
	stats->live_bytes = stats->file_bytes = fake_records();
}

bool wf_spill_is_full(struct wf_spill *spill, uint64_t size)
{
	(void)spill;
	(void)size;
	return false;
}
