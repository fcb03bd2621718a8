/*
 * spill.c: objects that do not fit: written to files (spill_write_*), brought back
 * (spill_restore_*), the processor time of a store that has done both and does nothing now
 * (store_idle_cpu), and datasets (store_dataset_*).
 *
 * All objects of a repetition together are several times the store. They are made without a copy:
 * room is taken and two words are written, so the producer only waits for the files. A repetition
 * ends with nothing left, and the next one overwrites the same segment files.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "rows.h"

#define KIB     ((size_t)1 << 10)
#define MIB     ((size_t)1 << 20)
#define READERS 16 /* tasks that look at objects, a batch each */

struct spill {
	weft *rt;
	size_t size;
	uint64_t count;
	uint32_t batch; /* objects that a reader asks for at once */
	weft_ref *refs;
	uint64_t left;     /* refs that are not released yet, at the front of the array */
	uint64_t *indices; /* what they are marked with */
	struct bench_counter next;
	int64_t ns;
	uint64_t moved;
};

static struct weft_store_stats stats_of(weft *rt)
{
	struct weft_store_stats stats = { .struct_size = sizeof stats };
	bench_must(weft_store_stats(rt, &stats), "weft_store_stats");
	return stats;
}

/* ---- Writing ---- */

static void mark(char *data, size_t size, uint64_t index)
{
	memcpy(data, &index, sizeof index);
	memcpy(data + size - sizeof index, &index, sizeof index);
}

static bool is_marked(const struct weft_view *view, size_t size, uint64_t index)
{
	const char *data = view->data;
	return view->size == size && !memcmp(data, &index, sizeof index) &&
		!memcmp(data + size - sizeof index, &index, sizeof index);
}

static int fill_body(weft_task *self)
{
	struct spill *spill = *(struct spill **)bench_arg(self);
	const uint64_t before = stats_of(spill->rt).spilled_bytes;
	const int64_t start = bench_now_ns();
	for (uint64_t i = 0; i < spill->count; i++) {
		struct weft_buffer buffer;
		bench_must(weft_create(spill->rt, spill->size, NULL, &buffer), "weft_create");
		mark(buffer.data, spill->size, i);
		bench_must(weft_seal(spill->rt, &buffer, &spill->refs[i]), "weft_seal");
	}
	spill->ns = bench_now_ns() - start;
	spill->moved = stats_of(spill->rt).spilled_bytes - before;
	return weft_return(self, &spill->count, sizeof spill->count);
}

/* ---- Reading back ---- */

static int read_body(weft_task *self)
{
	struct spill *spill = *(struct spill **)bench_arg(self);
	struct weft_view views[1024];
	uint64_t good = 0;
	for (;;) {
		const uint64_t at =
			__atomic_fetch_add(&spill->next.value, spill->batch, __ATOMIC_ACQ_REL);
		if (at >= spill->left)
			break;
		const uint64_t left = spill->left - at;
		const uint32_t n = left < spill->batch ? (uint32_t)left : spill->batch;
		bench_must(weft_get_many(spill->rt, spill->refs + at, n, WEFT_FOREVER, views, NULL),
		           "weft_get_many");
		for (uint32_t i = 0; i < n; i++)
			good += is_marked(&views[i], spill->size, spill->indices[at + i]);
		bench_must(weft_release_many(spill->rt, spill->refs + at, n), "weft_release_many");
	}
	return weft_return(self, &good, sizeof good);
}

/*
 * Look at what is in memory and let it go: what comes back then finds room, and nothing is written
 * while it is read.
 */
static uint64_t drop_resident(struct spill *spill)
{
	uint64_t good = 0;
	uint64_t kept = 0;
	for (uint64_t i = 0; i < spill->count; i++) {
		struct weft_object_info info = { .struct_size = sizeof info };
		struct weft_view view;
		bench_must(weft_object_info(spill->rt, spill->refs[i], &info), "weft_object_info");
		if (info.place != WEFT_OBJECT_MEMORY) {
			spill->indices[kept] = i;
			spill->refs[kept++] = spill->refs[i];
			continue;
		}
		bench_must(weft_get(spill->rt, spill->refs[i], WEFT_FOREVER, &view), "weft_get");
		good += is_marked(&view, spill->size, i);
		bench_must(weft_release(spill->rt, spill->refs[i]), "weft_release");
	}
	spill->left = kept;
	return good;
}

static uint64_t read_back(struct spill *spill)
{
	weft_ref refs[READERS];
	uint64_t good = drop_resident(spill);
	const uint64_t before = stats_of(spill->rt).restored_bytes;
	const int64_t start = bench_now_ns();
	spill->next.value = 0;
	for (uint32_t i = 0; i < READERS; i++)
		bench_must(weft_spawn(spill->rt, read_body, &spill, sizeof spill, &refs[i]),
		           "weft_spawn");
	for (uint32_t i = 0; i < READERS; i++) {
		uint64_t part = 0;
		bench_must(weft_take(spill->rt, refs[i], &part, sizeof part), "weft_take");
		good += part;
	}
	spill->ns = bench_now_ns() - start;
	spill->moved = stats_of(spill->rt).restored_bytes - before;
	return good;
}

/* ---- Both ---- */

static struct spill *spill_open(uint32_t threads, uint64_t store, uint64_t all, size_t size)
{
	const struct weft_options options = {
		.struct_size = sizeof options,
		.workers = threads,
		.store_bytes = store,
	};
	struct spill *spill = bench_alloc(sizeof *spill);
	bench_must(weft_open(&spill->rt, &options), "weft_open");
	spill->size = size;
	spill->count = all / size;
	spill->batch = (uint32_t)(MIB / size);
	if (spill->batch < 1)
		spill->batch = 1;
	spill->refs = bench_alloc(spill->count * sizeof *spill->refs);
	spill->indices = bench_alloc(spill->count * sizeof *spill->indices);
	return spill;
}

static void spill_close(struct spill *spill)
{
	bench_close(spill->rt);
	free(spill->refs);
	free(spill->indices);
	free(spill);
}

/* Nanoseconds per MiB that went through the files. */
static double per_mib(const struct spill *spill)
{
	return (double)spill->ns / ((double)spill->moved / (double)MIB);
}

static int spill_row(const struct bench_run *run, bool restore, uint64_t all, size_t size)
{
	const uint64_t store = bench_pick(256 * MIB, 16 * MIB);
	struct spill *spill = spill_open(run->threads, store, bench_pick(all, 64 * MIB), size);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		uint64_t done = bench_root(spill->rt, fill_body, &spill, sizeof spill);
		if (!spill->moved)
			bench_die("nothing was spilled");
		if (!restore)
			bench_emit(run, rep, "", per_mib(spill), spill->count, done);
		done = read_back(spill);
		if (!spill->moved || done != spill->count)
			bench_die("%zu of %zu objects came back", (size_t)done,
			          (size_t)spill->count);
		if (restore)
			bench_emit(run, rep, "", per_mib(spill), spill->count, done);
	}
	spill_close(spill);
	return 0;
}

int row_spill_write_4m(const struct bench_run *run)
{
	return spill_row(run, false, 1024 * MIB, 4 * MIB);
}

int row_spill_write_64k(const struct bench_run *run)
{
	return spill_row(run, false, 1024 * MIB, 64 * KIB);
}

int row_spill_write_1k(const struct bench_run *run)
{
	return spill_row(run, false, 512 * MIB, KIB);
}

int row_spill_restore_4m(const struct bench_run *run)
{
	return spill_row(run, true, 1024 * MIB, 4 * MIB);
}

int row_spill_restore_64k(const struct bench_run *run)
{
	return spill_row(run, true, 1024 * MIB, 64 * KIB);
}

int row_spill_restore_1k(const struct bench_run *run)
{
	return spill_row(run, true, 512 * MIB, KIB);
}

/* ---- Idle ---- */

/* Processor time of a process whose store has written and read files, from 1 ms after. */
int row_store_idle_cpu(const struct bench_run *run)
{
	const int64_t idle_ns = (int64_t)bench_pick(1000000000, 20000000);
	struct spill *spill = spill_open(run->threads, 32 * MIB, 96 * MIB, MIB);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		bench_root(spill->rt, fill_body, &spill, sizeof spill);
		const uint64_t done = read_back(spill);
		bench_sleep_ns(1000000);
		const int64_t cpu = bench_process_cpu_ns();
		const int64_t start = bench_now_ns();
		bench_sleep_ns(idle_ns);
		const double percent = 100.0 * (double)(bench_process_cpu_ns() - cpu) /
			(double)(bench_now_ns() - start);
		bench_emit(run, rep, "", percent, spill->count, done);
	}
	spill_close(spill);
	return 0;
}

/* ---- Datasets ---- */

static int dataset(const struct bench_run *run, size_t size)
{
	const uint64_t n = size < MIB ? bench_pick(20, 1) : 1;
	const size_t bytes = bench_pick(size, size < MIB ? size : MIB);
	weft *rt = bench_open(run->threads);
	struct weft_buffer buffer;
	weft_ref ref;
	char dir[PATH_MAX];
	bench_file_dir_make(dir, sizeof dir);
	bench_must(weft_create(rt, bytes, NULL, &buffer), "weft_create");
	memset(buffer.data, 5, bytes);
	bench_must(weft_seal(rt, &buffer, &ref), "weft_seal");
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		char name[32];
		uint64_t there = 0;
		int64_t ns = 0;
		for (uint64_t i = 0; i < n; i++) {
			weft_dataset *open = NULL;
			snprintf(name, sizeof name, "d%d", (int)i);
			const int64_t start = bench_now_ns();
			bench_must(weft_dataset_write(rt, dir, name, &ref, 1, NULL),
			           "weft_dataset_write");
			ns += bench_now_ns() - start;
			bench_must(weft_dataset_open(rt, dir, name, &open), "weft_dataset_open");
			there += weft_dataset_part_size(open, 0) == (int64_t)bytes &&
				weft_dataset_verify(open, NULL, NULL) == 0;
			weft_dataset_close(open);
			bench_must(weft_dataset_remove(rt, dir, name), "weft_dataset_remove");
		}
		bench_emit(run, rep, "", (double)ns / (double)n, n, there);
	}
	bench_must(weft_release(rt, ref), "weft_release");
	bench_close(rt);
	bench_file_dir_remove(dir);
	return 0;
}

int row_store_dataset_4k(const struct bench_run *run)
{
	return dataset(run, 4 * KIB);
}

int row_store_dataset_64m(const struct bench_run *run)
{
	return dataset(run, 64 * MIB);
}
