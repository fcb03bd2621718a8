/*
 * limit.c: what the machine allows, measured in the same run: the fastest way to copy into warm
 * pages, and plain O_DIRECT transfers of an existing file from and to 2 MiB pages. Not a peer: a
 * store cannot be faster than this, only near it.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine.h"
#include "problem.h"
#include "sorting.h"
#include "stats.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define KIB         ((size_t)1 << 10)
#define MIB         ((size_t)1 << 20)
#define BLOCK_BYTES (4 * MIB)

/* ---- Copies ---- */

typedef void copy_fn(char *to, const char *from, size_t size);

static void copy_memcpy(char *to, const char *from, size_t size)
{
	memcpy(to, from, size);
}

#if defined(__x86_64__)
static void copy_movsb(char *to, const char *from, size_t size)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/* Whole lines; the buffers here are aligned and whole MiBs. */
__attribute__((target("avx2"))) static void copy_stream(char *to, const char *from, size_t size)
{
	for (size_t at = 0; at < size; at += BENCH_LINE_BYTES) {
		const __m256i *in = (const __m256i *)(const void *)(from + at);
		__m256i *out = (__m256i *)(void *)(to + at);
		const __m256i a = _mm256_loadu_si256(in);
		const __m256i b = _mm256_loadu_si256(in + 1);
		_mm256_stream_si256(out, a);
		_mm256_stream_si256(out + 1, b);
	}
	_mm_sfence();
}

__attribute__((target("avx512f"))) static void copy_line(char *to, const char *from, size_t size)
{
	for (size_t at = 0; at < size; at += BENCH_LINE_BYTES)
		_mm512_stream_si512((__m512i *)(void *)(to + at), _mm512_loadu_si512(from + at));
	_mm_sfence();
}
#endif

static int copies(const struct bench_run *run, size_t size, uint64_t rounds)
{
	copy_fn *kernels[4] = { copy_memcpy };
	size_t kernel_count = 1;
#if defined(__x86_64__)
	kernels[kernel_count++] = copy_movsb;
	if (__builtin_cpu_supports("avx2"))
		kernels[kernel_count++] = copy_stream;
	if (__builtin_cpu_supports("avx512f"))
		kernels[kernel_count++] = copy_line;
#endif
	char *from = bench_alloc_huge(size);
	char *to = bench_alloc_huge(size);
	double *ns = bench_alloc(rounds * sizeof *ns);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		double best = 0;
		uint64_t good = 0;
		for (size_t k = 0; k < kernel_count; k++) {
			good = 0;
			for (uint64_t i = 0; i < rounds; i++) {
				const int64_t start = bench_now_ns();
				from[0] = from[size - 1] = (char)i;
				kernels[k](to, from, size);
				good += to[0] == (char)i && to[size - 1] == (char)i;
				ns[i] = (double)(bench_now_ns() - start);
			}
			bench_sort(ns, rounds);
			const double median = bench_percentile(ns, rounds, 0.5);
			best = k == 0 || median < best ? median : best;
		}
		bench_emit(run, rep, "", best / ((double)size / (double)MIB), rounds, good);
	}
	free(ns);
	return 0;
}

static int row_put_1m(const struct bench_run *run)
{
	return copies(run, MIB, bench_pick(500, 4));
}

static int row_put_100m(const struct bench_run *run)
{
	return copies(run, bench_pick(100 * MIB, 8 * MIB), bench_pick(9, 2));
}

/* ---- Files ---- */

/* One thread's part of a file, block by block. */
struct part {
	int fd;
	bool write;
	char *buffer; /* of `span` bytes: as much memory as the rows' store has */
	size_t span;
	size_t begin;
	size_t end;
	size_t step; /* from one block of this part to the next */
	uint64_t good;
};

static void *part_run(void *arg)
{
	struct part *part = arg;
	for (size_t at = part->begin; at < part->end; at += part->step) {
		char *block = part->buffer + at % part->span;
		uint64_t *first = (uint64_t *)(void *)block;
		*first = part->write ? at : 0;
		const ssize_t got = part->write ? pwrite(part->fd, block, BLOCK_BYTES, (off_t)at)
						: pread(part->fd, block, BLOCK_BYTES, (off_t)at);
		if (got != (ssize_t)BLOCK_BYTES)
			bench_die("a transfer of %zu bytes: %s", BLOCK_BYTES,
			          got < 0 ? strerror(errno) : "short");
		part->good += *first == at;
	}
	return NULL;
}

static size_t span_bytes(void)
{
	return bench_pick(256 * MIB, 16 * MIB);
}

/* The whole file by `depth` threads, each with a block under way: nanoseconds. */
static int64_t sweep(int fd, bool write, char *buffer, size_t bytes, size_t depth, uint64_t *good)
{
	const size_t span = span_bytes();
	pthread_t threads[4];
	struct part parts[4];
	const int64_t start = bench_now_ns();
	for (size_t i = 0; i < depth; i++) {
		parts[i] = (struct part){ .fd = fd,
			                  .write = write,
			                  .buffer = buffer,
			                  .span = span,
			                  .begin = i * BLOCK_BYTES,
			                  .end = bytes,
			                  .step = depth * BLOCK_BYTES };
		if (i && pthread_create(&threads[i], NULL, part_run, &parts[i]))
			bench_die("cannot start a thread");
	}
	part_run(&parts[0]);
	*good = parts[0].good;
	for (size_t i = 1; i < depth; i++) {
		pthread_join(threads[i], NULL);
		*good += parts[i].good;
	}
	return bench_now_ns() - start;
}

static int file_open(char *path, size_t size)
{
	const int n = snprintf(path, size, "%s/weft-bench-file-XXXXXX", bench_file_dir());
	if (n < 0 || (size_t)n >= size)
		bench_die("the name of the directory is too long");
	const int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		bench_die("%s: %s", path, strerror(errno));
	close(fd);
	/* Where files cannot be opened so, they are read and written as they can be. */
	const int direct = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	return direct >= 0 ? direct : open(path, O_RDWR | O_CLOEXEC);
}

/* A file that has been written before, from one end to the other; the better of two depths. */
static int files(const struct bench_run *run, bool write)
{
	char path[PATH_MAX];
	const size_t bytes = bench_pick(1024 * MIB, 16 * MIB);
	const uint64_t blocks = bytes / BLOCK_BYTES;
	char *buffer = bench_alloc_huge(span_bytes());
	const int fd = file_open(path, sizeof path);
	uint64_t good = 0;
	unlink(path);
	if (fd < 0 || posix_fallocate(fd, 0, (off_t)bytes))
		bench_die("no file of %zu bytes in %s", bytes, bench_file_dir());
	sweep(fd, true, buffer, bytes, 1, &good);
	for (int rep = 0; rep < run->reps; rep++) {
		const double mib = (double)bytes / (double)MIB;
		const double one = (double)sweep(fd, write, buffer, bytes, 1, &good) / mib;
		uint64_t also = 0;
		const double two = (double)sweep(fd, write, buffer, bytes, 2, &also) / mib;
		bench_emit(run, rep, "", one < two ? one : two, blocks, good < also ? good : also);
	}
	close(fd);
	return 0;
}

static int row_write(const struct bench_run *run)
{
	return files(run, true);
}

static int row_read(const struct bench_run *run)
{
	return files(run, false);
}

/* ---- A new file, with room made for it: what a dataset has to write at least ---- */

static int new_files(const struct bench_run *run, size_t size)
{
	const uint64_t n = size < MIB ? bench_pick(20, 1) : 1;
	const size_t bytes = bench_pick(size, size < MIB ? size : MIB);
	char *buffer = bench_alloc_huge(bytes);
	for (int rep = -run->warmups; rep < run->reps; rep++) {
		int64_t ns = 0;
		uint64_t good = 0;
		for (uint64_t i = 0; i < n; i++) {
			char path[PATH_MAX];
			const int fd = file_open(path, sizeof path);
			const int64_t start = bench_now_ns();
			size_t at = 0;
			if (fd < 0 || posix_fallocate(fd, 0, (off_t)bytes))
				bench_die("no file of %zu bytes in %s", bytes, bench_file_dir());
			for (; at < bytes; at += BLOCK_BYTES) {
				const size_t left = bytes - at;
				const size_t want = left < BLOCK_BYTES ? left : BLOCK_BYTES;
				if (pwrite(fd, buffer + at, want, (off_t)at) != (ssize_t)want)
					bench_die("a write in %s failed", bench_file_dir());
			}
			ns += bench_now_ns() - start;
			good += at >= bytes;
			unlink(path);
			close(fd);
		}
		bench_emit(run, rep, "", (double)ns / (double)n, n, good);
	}
	return 0;
}

static int row_dataset_4k(const struct bench_run *run)
{
	return new_files(run, 4 * KIB);
}

static int row_dataset_64m(const struct bench_run *run)
{
	return new_files(run, 64 * MIB);
}

/* ---- Sorting a file: its bytes moved as a sort has to, measured by weft-sort ---- */

static double move_bytes(struct bench_sorting *sorting, bool *writes)
{
	*writes = false;
	return bench_sorting_weft(sorting, "--floor",
	                          "with the same threads and memory\", \"seconds\": ");
}

static int row_sort(const struct bench_run *run)
{
	return bench_sorting_run(run, move_bytes);
}

static const struct bench_engine_row engine_rows[] = {
	{ "store_put_1m", row_put_1m },
	{ "store_put_100m", row_put_100m },
	{ "store_dataset_4k", row_dataset_4k },
	{ "store_dataset_64m", row_dataset_64m },
	{ "spill_write_4m", row_write },
	{ "spill_write_64k", row_write },
	{ "spill_write_1k", row_write },
	{ "spill_restore_4m", row_read },
	{ "spill_restore_64k", row_read },
	{ "spill_restore_1k", row_read },
	BENCH_SORT_ROWS(row_sort),
};

int main(int argc, char **argv)
{
	return bench_engine_main(argc, argv, engine_rows, sizeof engine_rows / sizeof *engine_rows);
}
