/*
 * external.c: goal: weft-sort sorts texts of any lines like their bytes, and more data than its
 * memory holds: the rest was in files in between, and the counters and the kernel agree about that.
 * Method: random texts with tiny chunks against qsort(); jobs of four times the store.
 */
#include <string.h>

#include "trial.h"

#define SLACK_BYTES ((uint64_t)8 << 20)

/* ---- Lines ------------------------------------------------------------------------- */

/* Fill trial.records with a text of about `bytes`, with lines of up to `longest` bytes. */
static size_t make_text(struct trial *trial, size_t bytes, size_t longest, unsigned symbols,
                        bool unended)
{
	uint8_t *to = trial->records, *end = to + bytes;

	while (to < end) {
		size_t n = next_random() % 8 ? next_random() % 12 : next_random() % (longest + 1);

		for (; n; n--) {
			*to = (uint8_t)(next_random() % symbols);
			*to += *to >= '\n';
			to++;
		}
		*to++ = '\n';
	}
	/* A line of no bytes that has no end either is none. */
	if (unended && to > trial->records + 1 && to[-2] != '\n')
		to--;
	return (size_t)(to - trial->records);
}

struct line {
	const uint8_t *data;
	size_t size;
};

static int compare_lines(const void *a, const void *b)
{
	const struct line *x = a, *y = b;
	int order = memcmp(x->data, y->data, x->size < y->size ? x->size : y->size);

	return order ? order : x->size < y->size ? -1 : x->size > y->size;
}

static void expect_lines_sorted(const struct trial *trial, size_t bytes)
{
	struct line *lines = calloc(bytes + 1, sizeof(*lines));
	uint8_t *got = malloc(bytes + 2), *at = got;
	size_t count = 0, out = trial->job.layout.output_bytes;

	EXPECT(lines && got);
	for (size_t from = 0; from < bytes; count++) {
		const uint8_t *newline = memchr(trial->records + from, '\n', bytes - from);

		lines[count].data = trial->records + from;
		lines[count].size = newline ? (size_t)(newline - lines[count].data) : bytes - from;
		from += lines[count].size + 1;
	}
	qsort(lines, count, sizeof(*lines), compare_lines);
	EXPECT(wf_sort_pread(trial->job.output.fd, got, out, 0) == 0);
	for (size_t i = 0; i < count; i++) {
		EXPECT(memcmp(at, lines[i].data, lines[i].size) == 0);
		at += lines[i].size;
		EXPECT(*at++ == '\n');
	}
	EXPECT(at == got + out);
	free(lines);
	free(got);
}

static void sort_text(size_t bytes, size_t longest, unsigned symbols, uint32_t leaf)
{
	struct wf_sort_options options = { .lines = true };
	struct trial trial = { .records = calloc(bytes + longest + 20, 1) };
	bool unended = next_random() % 2 != 0;
	char text[256] = "";
	size_t n;

	EXPECT(trial.records != NULL);
	n = make_text(&trial, bytes, longest, symbols, unended);
	trial_start(&trial, n, n > 0 && trial.records[n - 1] != '\n', &options, leaf);
	trial.job.check = next_random() % 2 != 0;
	EXPECT(wf_sort_pwrite(trial.job.input_fd, trial.records, n, 0) == 0);
	if (run(&trial, text) < 0) {
		fprintf(stderr, "text of %zu bytes: %s\n", n, text);
		exit(1);
	}
	expect_lines_sorted(&trial, n);
	trial_close(&trial);
}

static void random_texts_are_sorted(void)
{
	static const unsigned symbols[] = { 1, 2, 4, 255 };
	static const size_t sizes[] = { 0, 1, 2, 30, 3000, 30000 };

	for (int i = 0; i < RANDOM_RUNS; i++) {
		sort_text(sizes[next_random() % 6], 200, symbols[next_random() % 4],
		          2 + (uint32_t)(next_random() % 100));
		/* Lines that are longer than chunks and partitions. */
		sort_text(sizes[next_random() % 6], 5000, symbols[next_random() % 4],
		          2 + (uint32_t)(next_random() % 20));
	}
}

/* ---- Little memory ----------------------------------------------------------------- */

static struct weft_store_stats stats_of(const struct trial *trial)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };

	EXPECT(weft_store_stats(trial->job.rt, &stats) == 0);
	return stats;
}

/* Bytes that this process had written to disks, or UINT64_MAX. */
static uint64_t disk_bytes(void)
{
	FILE *in = fopen("/proc/self/io", "re");
	unsigned long long bytes = 0;
	bool found = false;
	char line[128];

	while (in && !found && fgets(line, sizeof(line), in))
		found = sscanf(line, "write_bytes: %llu", &bytes) == 1;
	if (in)
		fclose(in);
	return found ? bytes : UINT64_MAX;
}

/* More than the store holds: the rest has been in files, and the bytes are what was counted. */
static void what_does_not_fit_is_spilled(unsigned symbols, unsigned hot, bool check)
{
	enum { RECORDS = (int)(4 * STORE_BYTES / 100) };
	uint64_t before = disk_bytes();
	struct weft_store_stats stats;
	struct trial trial;
	char text[256] = "";

	trial_open(&trial, RECORDS, 100, 0, 10, 0);
	trial.job.check = check;
	fill(&trial, symbols, hot);
	trial_save(&trial);
	if (run(&trial, text) < 0) {
		fprintf(stderr, "failed: %s\n", text);
		exit(1);
	}
	expect_sorted(&trial);
	stats = stats_of(&trial);
	EXPECT(stats.spilled_bytes >= trial.job.layout.bytes - STORE_BYTES);
	EXPECT(stats.restored_bytes >= trial.job.layout.bytes - STORE_BYTES);
	/* The store's own slack: a sixteenth, and chunks of 2 MiB for threads. */
	EXPECT(stats.committed <= STORE_BYTES + STORE_BYTES / 16 + SLACK_BYTES);
	/* A file system in memory moves nothing to a disk. */
	if (before != UINT64_MAX && disk_bytes() != before)
		EXPECT(disk_bytes() - before >= stats.spilled_bytes);
	trial_close(&trial);
}

/* Nowhere to spill to: the job ends with the store's text, it does not hang. */
static void without_room_to_spill_the_job_fails(void)
{
	struct trial trial;

	trial_open(&trial, (uint32_t)(2 * STORE_BYTES / 100), 100, 0, 10, 0);
	EXPECT(weft_close(trial.job.rt, WEFT_FOREVER) == 0);
	EXPECT(weft_open(&trial.job.rt,
	                 WEFT_OPTIONS(.workers = 4, .store_bytes = STORE_BYTES,
	                              .spill_dirs = "")) == 0);
	fill(&trial, 100, 0);
	trial_save(&trial);
	expect_failure(&trial, "no spill directory");
	trial_close(&trial);
}

int main(void)
{
	random_state = test_seed();
	random_texts_are_sorted();
	what_does_not_fit_is_spilled(150, 0, false);
	what_does_not_fit_is_spilled(3, 60, true);
	without_room_to_spill_the_job_fails();
	return 0;
}
