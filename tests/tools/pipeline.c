/*
 * pipeline.c: goal: weft-sort's flow of tasks sorts right whatever the keys, splits skew by nested
 * levels, and turns every failure of a file, of memory or of the result into one text, without
 * taking the process with it. Method: whole jobs with tiny chunks, partitions and slices, so that
 * a few thousand records pass through many tasks and levels, compared byte by byte with a stable
 * oracle; then jobs with bad descriptors, shortened files, failing allocations and outputs that
 * were tampered with.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "seed.h"
#include "sort.h"

#define RECORDS_MAX 6000

#if WF_TSAN || WF_ASAN
#define RANDOM_RUNS 6
#else
#define RANDOM_RUNS 25
#endif

#define EXPECT(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: expected: %s\n", __FILE__, __LINE__, #x); \
			exit(1); \
		} \
	} while (0)

static uint64_t random_state;

static uint64_t next_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

/* One job over two unnamed files. */
struct trial {
	struct wf_sort_job job;
	struct wf_sort_journal journal;
	uint8_t *records;
};

static int make_file(void)
{
	FILE *file = tmpfile();
	int fd;

	EXPECT(file != NULL);
	fd = dup(fileno(file));
	EXPECT(fd >= 0);
	fclose(file);
	return fd;
}

static void on_log(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	if (record->level == WEFT_LOG_ERROR)
		fprintf(stderr, "worker %d, task %s: %s\n", record->worker, record->task,
		        record->text);
}

static void runtime_open(struct trial *trial)
{
	EXPECT(weft_open(&trial->job.rt, WEFT_OPTIONS(.workers = 4, .log = on_log)) == 0);
}

/* Tiny chunks, partitions and slices; `leaf` 0 keeps what the layout chose. */
static void trial_open(struct trial *trial, uint32_t records, uint32_t record_bytes,
                       uint32_t key_offset, uint32_t key_bytes, uint32_t leaf)
{
	struct wf_sort_options options = {
		.record_bytes = record_bytes,
		.key_offset = key_offset,
		.key_bytes = key_bytes,
	};
	struct wf_sort_layout *layout = &trial->job.layout;

	*trial = (struct trial){ .records = calloc((size_t)records + 1, record_bytes) };
	EXPECT(trial->records != NULL);
	EXPECT(wf_sort_journal_init(&trial->journal, false) == 0);
	EXPECT(wf_sort_layout_init(layout, (uint64_t)records * record_bytes, &options) == 0);
	if (leaf) {
		layout->leaf_records = leaf;
		layout->chunk_records = 3 * (uint64_t)leaf + 1;
		layout->chunk_count =
			(uint32_t)((records + layout->chunk_records - 1) / layout->chunk_records);
		layout->slice_records = leaf + 3;
		layout->slice_count =
			(uint32_t)((records + layout->slice_records - 1) / layout->slice_records);
		layout->block_records = 7;
	}
	runtime_open(trial);
	trial->job.journal = &trial->journal;
	trial->job.input_name = "INPUT";
	trial->job.output_name = "OUTPUT";
	trial->job.check = true;
	trial->job.input_fd = make_file();
	trial->job.output_fd = make_file();
}

static void trial_save(struct trial *trial)
{
	EXPECT(wf_sort_pwrite(trial->job.input_fd, trial->records, trial->job.layout.bytes, 0) ==
	       0);
}

/* First the runtime: when a job has failed, tasks of it may still be on their way to the files. */
static void trial_close(struct trial *trial)
{
	EXPECT(weft_close(trial->job.rt, WEFT_FOREVER) == 0);
	close(trial->job.input_fd);
	close(trial->job.output_fd);
	wf_sort_journal_fini(&trial->journal);
	free(trial->records);
}

/* Run a root task; `text` gets the cause of a failure. */
static int run_root(weft *rt, weft_task_fn *fn, const void *arg, char text[256])
{
	struct weft_view view;
	weft_ref ref;
	int status = weft_spawn(rt, fn, &arg, sizeof(arg), &ref);

	if (status < 0) {
		snprintf(text, 256, "%s", weft_strerror(status));
		return status;
	}
	status = weft_get(rt, ref, WEFT_FOREVER, &view);
	if (status < 0)
		snprintf(text, 256, "%s", wf_sort_cause(rt, ref, status));
	weft_release(rt, ref);
	return status;
}

static int run(struct trial *trial, char text[256])
{
	return run_root(trial->job.rt, wf_sort_root, &trial->job, text);
}

static void expect_failure(struct trial *trial, const char *part)
{
	char text[256] = "";

	EXPECT(run(trial, text) == WEFT_ETASK);
	if (!strstr(text, part)) {
		fprintf(stderr, "got the text \"%s\" without \"%s\"\n", text, part);
		exit(1);
	}
}

/* Of the oracle's comparison, which qsort() gives no argument. */
static const struct trial *oracle;

static int compare_places(const void *a, const void *b)
{
	const struct wf_sort_layout *layout = &oracle->job.layout;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int order = memcmp(oracle->records + (size_t)i * layout->record_bytes + layout->key_offset,
	                   oracle->records + (size_t)j * layout->record_bytes + layout->key_offset,
	                   layout->key_bytes);

	return order ? order : i < j ? -1 : i > j;
}

static void expect_sorted(const struct trial *trial)
{
	const struct wf_sort_layout *layout = &trial->job.layout;
	uint32_t *places = calloc(layout->records + 1, sizeof(*places));
	uint8_t *record = malloc(layout->record_bytes);

	EXPECT(places && record);
	for (uint32_t i = 0; i < layout->records; i++)
		places[i] = i;
	oracle = trial;
	qsort(places, layout->records, sizeof(*places), compare_places);
	for (uint64_t i = 0; i < layout->records; i++) {
		EXPECT(wf_sort_pread(trial->job.output_fd, record, layout->record_bytes,
		                     i * layout->record_bytes) == 0);
		EXPECT(memcmp(record, trial->records + (size_t)places[i] * layout->record_bytes,
		              layout->record_bytes) == 0);
	}
	free(places);
	free(record);
}

static uint64_t tasks_of(const struct trial *trial, enum wf_sort_stage stage)
{
	/* relaxed: the job has ended. */
	return wf_load_relaxed(&trial->journal.stages[stage].tasks);
}

/* Keys over `symbols` values; `hot` of 100 records have one and the same key. */
static void fill(struct trial *trial, unsigned symbols, unsigned hot)
{
	const struct wf_sort_layout *layout = &trial->job.layout;

	for (uint64_t i = 0; i < layout->records; i++) {
		uint8_t *record = trial->records + i * layout->record_bytes;
		bool is_hot = next_random() % 100 < hot;

		for (uint32_t k = 0; k < layout->record_bytes; k++)
			record[k] = (uint8_t)(next_random() % symbols + 100);
		if (is_hot)
			memset(record + layout->key_offset, 101, layout->key_bytes);
	}
}

/* ---- Right results ----------------------------------------------------------------- */

static void random_jobs_are_sorted_stably(void)
{
	static const unsigned symbols[] = { 1, 2, 3, 20, 150 };
	static const uint32_t key_lengths[] = { 1, 3, 8, 9, 10, 17, 24 };
	char text[256] = "";

	for (int i = 0; i < RANDOM_RUNS; i++) {
		uint32_t key_bytes = key_lengths[next_random() % 7];
		uint32_t key_offset = (uint32_t)(next_random() % 5);
		struct trial trial;

		trial_open(&trial, (uint32_t)(next_random() % RECORDS_MAX),
		           key_offset + key_bytes + (uint32_t)(next_random() % 30), key_offset,
		           key_bytes, 8 + (uint32_t)(next_random() % 200));
		trial.job.check = next_random() % 4 != 0;
		fill(&trial, symbols[next_random() % 5], (unsigned)(next_random() % 100));
		trial_save(&trial);
		if (run(&trial, text) < 0) {
			fprintf(stderr, "job %d failed: %s\n", i, text);
			exit(1);
		}
		expect_sorted(&trial);
		trial_close(&trial);
	}
}

static void the_usual_record_size_is_sorted(void)
{
	struct trial trial;
	char text[256];

	trial_open(&trial, 5000, 100, 0, 10, 100);
	fill(&trial, 60, 10);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	trial_close(&trial);
}

static void no_record_and_one_record_are_sorted(void)
{
	for (uint32_t n = 0; n <= 1; n++) {
		struct trial trial;
		char text[256];

		trial_open(&trial, n, 20, 4, 10, 0);
		fill(&trial, 60, 0);
		trial_save(&trial);
		EXPECT(run(&trial, text) == 0);
		expect_sorted(&trial);
		trial_close(&trial);
	}
}

/* Too many records below one splitter that is not heavy, and a heavy key with more words. */
static void skew_is_split_by_nested_levels(void)
{
	struct trial trial;
	char text[256];

	trial_open(&trial, RECORDS_MAX, 24, 2, 18, 50);
	fill(&trial, 150, 0);
	for (int i = 0; i < RECORDS_MAX * 3 / 4; i++)
		memset(trial.records + (size_t)i * 24 + 2, 7, 8);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_REGROUP) > 0);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_PLAN) > 1);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SORT) > RECORDS_MAX / 50 / 2);
	trial_close(&trial);
}

static void equal_keys_are_gathered_by_many_tasks(void)
{
	struct trial trial;
	char text[256];

	trial_open(&trial, RECORDS_MAX, 12, 0, 8, 50);
	fill(&trial, 150, 100);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_PLAN) == 1);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SORT) == RECORDS_MAX / 50);
	trial_close(&trial);
}

/* Keys of 80 equal words and a last one: each level peels off one word until the limit. */
static void levels_stop_at_their_limit(void)
{
	struct trial trial;
	char text[256];

	trial_open(&trial, 1000, 648, 0, 648, 20);
	fill(&trial, 1, 0);
	for (uint32_t i = 0; i < 1000; i++)
		trial.records[(size_t)i * 648 + 645] = (uint8_t)next_random();
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_PLAN) == WF_SORT_LEVELS_MAX);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SORT) == 1);
	trial_close(&trial);
}

/* ---- Failures of files and memory -------------------------------------------------- */

static void short_input_fails_the_job(void)
{
	struct trial trial;

	trial_open(&trial, 3000, 20, 0, 10, 100);
	fill(&trial, 60, 0);
	trial_save(&trial);
	EXPECT(ftruncate(trial.job.input_fd, 30001) == 0);
	expect_failure(&trial, "INPUT: the file became shorter");
	trial_close(&trial);
}

static void unreadable_input_fails_the_job(void)
{
	struct trial trial;
	int fd = open("/dev/null", O_WRONLY);

	trial_open(&trial, 3000, 20, 0, 10, 100);
	EXPECT(fd >= 0 && dup2(fd, trial.job.input_fd) >= 0);
	close(fd);
	expect_failure(&trial, "INPUT: ");
	trial_close(&trial);
}

static void full_disk_fails_the_job(void)
{
	struct trial trial;
	int fd = open("/dev/full", O_RDWR);

	EXPECT(fd >= 0);
	trial_open(&trial, 3000, 20, 0, 10, 100);
	fill(&trial, 60, 0);
	trial_save(&trial);
	EXPECT(dup2(fd, trial.job.output_fd) >= 0);
	close(fd);
	expect_failure(&trial, "OUTPUT: No space left on device");
	trial_close(&trial);
}

/*
 * Fail each allocation of the job and of the engine under it in turn: the job fails with a text or,
 * where the engine can do without, is right; and the next job works.
 */
static void every_failed_allocation_fails_the_job_cleanly(void)
{
	uint64_t failures = 0;
	struct trial trial;
	char text[256];
	bool fired;

	trial_open(&trial, 300, 24, 0, 17, 10);
	fill(&trial, 3, 60);
	trial_save(&trial);
	for (uint64_t nth = 1;; nth += WF_TSAN || WF_ASAN ? 13 : 1) {
		int status;

		wf_fault_arm(WF_FAULT_MALLOC, nth);
		status = run(&trial, text);
		fired = wf_fault_fired();
		wf_fault_arm(WF_FAULT_MALLOC, 0);
		EXPECT(fired || status == 0);
		if (status == 0)
			expect_sorted(&trial);
		EXPECT(weft_close(trial.job.rt, WEFT_FOREVER) == 0);
		runtime_open(&trial);
		if (!fired)
			break;
		EXPECT(status == 0 || strstr(text, "memory") != NULL);
		failures += status < 0;
	}
	EXPECT(failures > 10);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	trial_close(&trial);
}

/* ---- Verification finds what is wrong ---------------------------------------------- */

static void verification_sees(struct trial *trial, const char *part)
{
	struct wf_sort_refs sums = { NULL, 0, 0 };
	uint64_t checksum = 0, expected = 0, bad = 0;
	const struct wf_sort_layout *layout = &trial->job.layout;

	EXPECT(wf_sort_verify_submit(&trial->job, &sums) == 0);
	for (size_t i = 0; i < sums.count; i++) {
		struct weft_view view;
		int status = weft_get(trial->job.rt, sums.refs[i], WEFT_FOREVER, &view);

		if (status < 0) {
			EXPECT(part &&
			       strstr(wf_sort_cause(trial->job.rt, sums.refs[i], status), part));
			bad++;
			continue;
		}
		checksum += ((const struct wf_sort_result *)view.data)->checksum;
	}
	for (uint64_t i = 0; i < layout->records; i++)
		expected += wf_sort_hash(trial->records + i * layout->record_bytes,
		                         layout->record_bytes);
	if (part)
		EXPECT(bad > 0);
	else
		EXPECT(bad == 0 && checksum != expected);
	wf_sort_refs_fini(trial->job.rt, &sums);
}

static void swap_records(struct trial *trial, uint64_t i, uint64_t j)
{
	size_t n = trial->job.layout.record_bytes;
	uint8_t a[64], b[64];

	EXPECT(n <= sizeof(a));
	EXPECT(wf_sort_pread(trial->job.output_fd, a, n, i * n) == 0);
	EXPECT(wf_sort_pread(trial->job.output_fd, b, n, j * n) == 0);
	EXPECT(wf_sort_pwrite(trial->job.output_fd, a, n, j * n) == 0);
	EXPECT(wf_sort_pwrite(trial->job.output_fd, b, n, i * n) == 0);
}

static void verification_finds_tampering(void)
{
	struct trial trial;
	char text[256];
	uint8_t byte = 0;

	trial_open(&trial, 1000, 20, 0, 10, 50);
	fill(&trial, 150, 0);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	/* Inside a slice, and across the border between two. */
	swap_records(&trial, 10, 11);
	verification_sees(&trial, "record 11 is out of order");
	swap_records(&trial, 10, 11);
	swap_records(&trial, 52, 53);
	verification_sees(&trial, "record 53 is out of order");
	swap_records(&trial, 52, 53);
	/* In order, but a byte of the payload is another: only the checksum can tell. */
	EXPECT(wf_sort_pread(trial.job.output_fd, &byte, 1, 515) == 0);
	byte ^= 4;
	EXPECT(wf_sort_pwrite(trial.job.output_fd, &byte, 1, 515) == 0);
	verification_sees(&trial, NULL);
	EXPECT(ftruncate(trial.job.output_fd, 9990) == 0);
	verification_sees(&trial, "OUTPUT: the file became shorter");
	trial_close(&trial);
}

/* Check tasks over one chunk and two leaves with the given order. */
static void check_sees(struct trial *trial, const uint64_t *order, const char *part)
{
	weft *rt = trial->job.rt;
	struct wf_sort_refs done = { NULL, 0, 0 };
	struct wf_sort_leaf leaves[2];
	uint64_t half = trial->job.layout.records / 2;
	bool seen = false;
	weft_ref chunk;

	EXPECT(weft_put(rt, trial->records, trial->job.layout.bytes, &chunk) == 0);
	for (uint64_t i = 0; i < 2; i++) {
		leaves[i] = (struct wf_sort_leaf){ .first_record = i * half, .records = half };
		EXPECT(weft_put(rt, order + i * half, half * sizeof(*order), &leaves[i].order) ==
		       0);
	}
	EXPECT(wf_sort_check_submit(&trial->job, &chunk, leaves, 2, &done) == 0);
	for (size_t i = 0; i < done.count; i++) {
		struct weft_view view;
		int status = weft_get(rt, done.refs[i], WEFT_FOREVER, &view);

		if (status < 0)
			seen |= part && strstr(wf_sort_cause(rt, done.refs[i], status), part);
		EXPECT(part || status == 0);
	}
	EXPECT(seen == (part != NULL));
	wf_sort_refs_fini(rt, &done);
	weft_release(rt, leaves[0].order);
	weft_release(rt, leaves[1].order);
	weft_release(rt, chunk);
}

static void proof_finds_foreign_and_unstable_records(void)
{
	uint64_t order[8];
	struct trial trial;

	trial_open(&trial, 8, 20, 0, 10, 0);
	EXPECT(trial.job.layout.chunk_count == 1);
	fill(&trial, 1, 0);
	for (uint64_t i = 0; i < 8; i++) {
		order[i] = wf_sort_loc(0, i * 20);
		trial.records[i * 20 + 19] = (uint8_t)i;
	}
	EXPECT(wf_sort_pwrite(trial.job.output_fd, trial.records, 160, 0) == 0);
	check_sees(&trial, order, NULL);
	/* The file says so too, but equal keys are not in input order; also across the leaves. */
	for (uint64_t i = 1; i <= 3; i += 2) {
		uint64_t first = order[i];

		swap_records(&trial, i, i + 1);
		order[i] = order[i + 1];
		order[i + 1] = first;
		check_sees(&trial, order, "not in input order among equal keys");
		order[i + 1] = order[i];
		order[i] = first;
		swap_records(&trial, i, i + 1);
	}
	swap_records(&trial, 5, 6);
	check_sees(&trial, order, "is not the input record it came from");
	trial_close(&trial);
}

/* ---- Demo -------------------------------------------------------------------------- */

static void the_same_seed_generates_the_same_lines(bool skew)
{
	struct wf_sort_generate generate = { .seed = 7, .skew = skew };
	struct trial trial;
	char text[256];

	trial_open(&trial, 2000, 100, 0, 10, 100);
	generate.job = &trial.job;
	EXPECT(run_root(trial.job.rt, wf_sort_generate_root, &generate, text) == 0);
	EXPECT(wf_sort_pread(trial.job.input_fd, trial.records, 200000, 0) == 0);
	for (size_t i = 0; i < 200000; i++) {
		if (i % 100 == 99)
			EXPECT(trial.records[i] == '\n');
		else
			EXPECT(trial.records[i] >= ' ' && trial.records[i] < 0x7f);
		EXPECT(i % 100 >= 10 || trial.records[i] != ' ');
	}
	/* One worker or many, another cut into chunks: the same bytes. */
	trial.job.layout.chunk_records = 2000;
	trial.job.layout.chunk_count = 1;
	EXPECT(ftruncate(trial.job.input_fd, 0) == 0);
	EXPECT(run_root(trial.job.rt, wf_sort_generate_root, &generate, text) == 0);
	for (size_t i = 0; i < 2000; i++) {
		uint8_t record[100];

		EXPECT(wf_sort_pread(trial.job.input_fd, record, 100, i * 100) == 0);
		EXPECT(memcmp(record, trial.records + i * 100, 100) == 0);
	}
	trial_close(&trial);
}

int main(void)
{
	random_state = test_seed();
	no_record_and_one_record_are_sorted();
	the_usual_record_size_is_sorted();
	random_jobs_are_sorted_stably();
	skew_is_split_by_nested_levels();
	equal_keys_are_gathered_by_many_tasks();
	levels_stop_at_their_limit();
	short_input_fails_the_job();
	unreadable_input_fails_the_job();
	full_disk_fails_the_job();
	every_failed_allocation_fails_the_job_cleanly();
	verification_finds_tampering();
	proof_finds_foreign_and_unstable_records();
	the_same_seed_generates_the_same_lines(false);
	the_same_seed_generates_the_same_lines(true);
	return 0;
}
