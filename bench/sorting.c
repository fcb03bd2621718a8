/*
 * sorting.c: see sorting.h. The input is on the disk and in the page cache before the first
 * repetition; a second figure is the time until the output is on the disk as well, which evens out
 * who leaves how much of it to the system.
 *
 * The answer is the number of records of the output, if they are in order and their hashes add up
 * to those of the input; else 0, which is wrong.
 */
#include "sorting.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "problem.h"

#define RECORD_BYTES 100
#define KEY_BYTES    10
#define LINE_MAX_    128
#define BUFFER_BYTES ((size_t)4 << 20)

static uint64_t mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93u;
	x ^= x >> 29;
	x *= 0xa0761d6478bd642fu;
	return x ^ x >> 32;
}

/* In byte order, without quotes, blanks and backslashes: so it is text for everybody. */
static const char alphabet[] = "+-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static uint64_t hash(const char *record, size_t size)
{
	uint64_t sum = size;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = 0;

		memcpy(&word, record + i, size - i < 8 ? size - i : 8);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
		sum ^= sum >> 29;
	}
	return mix(sum);
}

/* Record `i` into `to`, with its newline. Returns its size. */
static size_t make_record(const struct bench_sorting *sorting, uint64_t i, char *to)
{
	uint64_t random = mix(i + 0x5eed);
	size_t size = RECORD_BYTES;

	if (sorting->lines)
		size = 1 + (random >> 8) % LINE_MAX_;
	for (size_t k = 0; k + 1 < size; k++) {
		if (k % KEY_BYTES == 0 && (k == 0 || sorting->lines))
			random = mix(random + k);
		to[k] = alphabet[random >> (6 * (k % KEY_BYTES)) & 63];
	}
	to[size - 1] = '\n';
	return size;
}

static bool write_all(int fd, const char *data, size_t size)
{
	while (size) {
		const ssize_t n = write(fd, data, size);
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			data += n;
			size -= (size_t)n;
		}
	}
	return true;
}

static bool make_input(struct bench_sorting *sorting, uint64_t bytes)
{
	const int fd = open(sorting->input, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	char *buffer = malloc(BUFFER_BYTES + LINE_MAX_);
	bool good = fd >= 0 && buffer;

	for (uint64_t done = 0; good && done < bytes;) {
		size_t have = 0;

		while (have < BUFFER_BYTES && done + have < bytes) {
			const size_t size = make_record(sorting, sorting->records++, buffer + have);
			sorting->sum += hash(buffer + have, size);
			have += size;
		}
		good = write_all(fd, buffer, have);
		done += have;
	}
	good = good && !fdatasync(fd);
	free(buffer);
	if (fd >= 0)
		close(fd);
	return good;
}

static bool in_order(const struct bench_sorting *sorting, const char *a, size_t a_size,
                     const char *b, size_t b_size)
{
	const size_t n = a_size < b_size ? a_size : b_size;

	if (!sorting->lines)
		return memcmp(a, b, KEY_BYTES) <= 0;
	/* Both have a newline at their end, which nothing orders below. */
	const int order = memcmp(a, b, n - 1);
	return order < 0 || (order == 0 && a_size <= b_size);
}

static uint64_t check_output(const struct bench_sorting *sorting)
{
	FILE *in = fopen(sorting->output, "re");
	char line[2][LINE_MAX_ + 2];
	uint64_t records = 0, sum = 0;
	size_t before = 0;
	bool good = in != NULL;

	while (good && fgets(line[records & 1], sizeof line[0], in)) {
		const char *now = line[records & 1];
		const size_t size = strlen(now);

		good = now[size - 1] == '\n' &&
			(records == 0 || in_order(sorting, line[~records & 1], before, now, size));
		sum += hash(now, size);
		records++;
		before = size;
	}
	if (in)
		fclose(in);
	return good && records == sorting->records && sum == sorting->sum ? records : 0;
}

/* Seconds until what was written is on the disk. */
static double flush(const char *path)
{
	const int64_t begin = bench_now_ns();
	const int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (fdatasync(fd))
			bench_die("cannot flush %s: %s", path, strerror(errno));
		close(fd);
	}
	return (double)(bench_now_ns() - begin) * 1e-9;
}

static bool repeat(struct bench_sorting *sorting, int rep, bench_sorter *sorter)
{
	const double per_record = 1e9 / (double)sorting->records;
	bool writes = true;

	unlink(sorting->output);
	const double seconds = sorter(sorting, &writes);
	if (seconds < 0)
		return false;
	const double flushed = writes ? flush(sorting->output) : 0;
	const uint64_t answer = writes ? check_output(sorting) : sorting->records;
	bench_emit(sorting->run, rep, "", seconds * per_record, sorting->records, answer);
	if (writes)
		bench_emit(sorting->run, rep, "_flushed", (seconds + flushed) * per_record,
		           sorting->records, answer);
	return true;
}

int bench_sorting_run(const struct bench_run *run, bench_sorter *sorter)
{
	struct bench_sorting sorting = {
		.run = run,
		.memory_bytes = bench_pick(256000000, 4000000),
		.lines = !strcmp(run->row, "sort_lines"),
	};
	const uint64_t bytes = bench_pick(1000000000, 500000);
	bool good;

	if (!strcmp(run->row, "sort_fit"))
		sorting.memory_bytes = bench_pick(4000000000, 16000000);
	bench_file_dir_make(sorting.dir, sizeof sorting.dir);
	snprintf(sorting.input, sizeof sorting.input, "%s/input", sorting.dir);
	snprintf(sorting.output, sizeof sorting.output, "%s/output", sorting.dir);
	good = make_input(&sorting, bytes);
	if (!good)
		fprintf(stderr, "cannot write %s: %s\n", sorting.input, strerror(errno));
	bool has_row = true;
	for (int rep = -run->warmups; good && has_row && rep < run->reps; rep++)
		has_row = repeat(&sorting, rep, sorter);
	bench_file_dir_remove(sorting.dir);
	return !good ? 1 : has_row ? 0 : BENCH_EXIT_NO_ROW;
}

double bench_sorting_command(const char *command)
{
	const int64_t begin = bench_now_ns();
	const int status = system(command);

	return status == 0 ? (double)(bench_now_ns() - begin) * 1e-9 : -1;
}

double bench_sorting_weft(struct bench_sorting *sorting, const char *more, const char *name)
{
	char self[PATH_MAX] = "", command[6 * PATH_MAX], report[16384] = "";
	const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *slash = n > 0 ? strrchr(self, '/') : NULL;
	double value = -1;

	if (!slash)
		return -1;
	*slash = 0;
	snprintf(command, sizeof command,
	         "'%s/../tools/weft-sort' '%s' -o '%s' --spill-dir '%s' --mem %" PRIu64
	         " --threads %" PRIu32 " %s --json %s",
	         self, sorting->input, sorting->output, sorting->dir, sorting->memory_bytes,
	         sorting->run->threads, sorting->lines ? "--lines" : "", more);
	FILE *out = popen(command, "re");
	if (!out)
		return -1;
	report[fread(report, 1, sizeof report - 1, out)] = 0;
	if (pclose(out) != 0)
		return -1;
	const char *at = strstr(report, name);
	if (at && sscanf(at + strlen(name), "%lf", &value) != 1)
		value = -1;
	return value;
}
