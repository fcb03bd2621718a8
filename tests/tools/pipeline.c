/*
 * pipeline.c: goal: weft-sort's flow of tasks sorts right whatever the keys, splits what is too
 * large by nested levels, and turns every failure of a file, of memory or of the result into one
 * text, without taking the process with it. Method: whole jobs with tiny chunks, partitions and
 * slices, so that a few thousand records pass through many tasks and levels, compared byte by byte
 * with a stable oracle; then jobs with bad descriptors, shortened files, failing allocations and
 * outputs that were tampered with. Lines and little memory are in external.c. `pipeline DEVICES`
 * has the jobs partition on them.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "trial.h"

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

/* Equal words in front of other bytes, and more of it than a table of splitters can cut. */
static void skew_is_split_by_nested_levels(void)
{
	struct trial trial;
	char text[256];

	trial_open(&trial, RECORDS_MAX, 24, 2, 18, 50);
	fill(&trial, 150, 0);
	for (int i = 0; i < RECORDS_MAX * 3 / 4; i++)
		memset(trial.records + (size_t)i * 24 + 2, 7, 8);
	/* At most four partitions in a level, so four levels at least. */
	trial.job.layout.store_bytes = 1 << 16;
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SPLITTERS) > 20);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SORT) > RECORDS_MAX / 50 / 2);
	trial_close(&trial);
}

static void equal_keys_are_copied_by_many_tasks(void)
{
	struct trial trial;
	char text[256];

	trial_open(&trial, RECORDS_MAX, 12, 0, 8, 50);
	fill(&trial, 150, 100);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SPLITTERS) == 1);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SORT) == trial.job.layout.chunk_count);
	trial_close(&trial);
}

/* A last byte behind equal ones: each level looks at WF_SORT_KEY_CAP of them, until the limit. */
static void levels_stop_at_their_limit(uint32_t levels)
{
	uint32_t key_bytes = levels * WF_SORT_KEY_CAP;
	uint64_t seen = levels < WF_SORT_LEVELS_MAX ? levels : WF_SORT_LEVELS_MAX;
	struct trial trial;
	char text[256];

	trial_open(&trial, 60, key_bytes, 0, key_bytes, 2);
	fill(&trial, 1, 0);
	for (uint32_t i = 0; i < 60; i++)
		trial.records[(size_t)(i + 1) * key_bytes - 1] = (uint8_t)next_random();
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_SPLITTERS) >= seen);
	if (levels > WF_SORT_LEVELS_MAX) {
		EXPECT(tasks_of(&trial, WF_SORT_STAGE_SPLITTERS) == WF_SORT_LEVELS_MAX);
		EXPECT(tasks_of(&trial, WF_SORT_STAGE_SORT) == 1);
	}
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
	EXPECT(dup2(fd, trial.job.output.fd) >= 0);
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
		runtime_close(&trial);
		failures_are_expected = fired;
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

static int verify_root(weft_task *self)
{
	struct trial *trial = *(struct trial *const *)weft_task_arg(self, NULL);
	struct wf_sort_result sum = { 0, 0 };
	int status = wf_sort_verify_run(self, &trial->job, &sum);

	return status < 0 ? status : weft_return(self, &sum, sizeof(sum));
}

/* `part` NULL: nothing but the checksum can tell. */
static void verification_sees(struct trial *trial, const char *part)
{
	const struct wf_sort_layout *layout = &trial->job.layout;
	const void *arg = trial;
	struct wf_sort_result sum;
	uint64_t expected = 0;
	weft_ref ref;
	int status;

	EXPECT(weft_spawn(trial->job.rt, verify_root, &arg, sizeof(arg), &ref) == 0);
	status = (int)weft_get_copy(trial->job.rt, ref, &sum, sizeof(sum));
	for (uint64_t i = 0; i < layout->records; i++)
		expected += wf_sort_hash(trial->records + i * layout->record_bytes,
		                         layout->record_bytes);
	if (part) {
		EXPECT(status < 0 && strstr(wf_sort_cause(trial->job.rt, ref, status), part));
	} else {
		EXPECT(status >= 0 && sum.records == layout->records);
		EXPECT(sum.checksum != expected);
	}
	weft_release(trial->job.rt, ref);
}

static void swap_records(struct trial *trial, uint64_t i, uint64_t j)
{
	size_t n = trial->job.layout.record_bytes;
	uint8_t a[64], b[64];

	EXPECT(n <= sizeof(a));
	EXPECT(wf_sort_pread(trial->job.output.fd, a, n, i * n) == 0);
	EXPECT(wf_sort_pread(trial->job.output.fd, b, n, j * n) == 0);
	EXPECT(wf_sort_pwrite(trial->job.output.fd, a, n, j * n) == 0);
	EXPECT(wf_sort_pwrite(trial->job.output.fd, b, n, i * n) == 0);
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
	EXPECT(wf_sort_pread(trial.job.output.fd, &byte, 1, 515) == 0);
	byte ^= 4;
	EXPECT(wf_sort_pwrite(trial.job.output.fd, &byte, 1, 515) == 0);
	verification_sees(&trial, NULL);
	EXPECT(ftruncate(trial.job.output.fd, 9990) == 0);
	verification_sees(&trial, "OUTPUT: the file became shorter");
	trial_close(&trial);
}

struct proving {
	struct trial *trial;
	struct wf_sort_proofs proofs;
};

static int check_root(weft_task *self)
{
	struct proving *proving = *(struct proving *const *)weft_task_arg(self, NULL);

	return wf_sort_check_run(self, &proving->trial->job, &proving->proofs);
}

static void proof_says(struct proving *proving, const char *part)
{
	weft *rt = proving->trial->job.rt;
	char text[256] = "";
	int status = run_root(rt, check_root, proving, text);

	if (part ? !strstr(text, part) : status != 0) {
		fprintf(stderr, "the proof says \"%s\", not \"%s\"\n", text, part ? part : "");
		exit(1);
	}
	wf_sort_proofs_fini(rt, &proving->proofs);
}

/* Check tasks over one piece, and its records at the places of `order`. */
static void order_sees(struct trial *trial, const uint64_t *order, const char *part)
{
	weft *rt = trial->job.rt;
	struct proving proving = { .trial = trial };
	struct wf_sort_proof proof = { .is_leaf = true, .n_inputs = 1 };
	weft_ref refs[2];

	EXPECT(weft_put(rt, trial->records, trial->job.layout.bytes, &refs[0]) == 0);
	EXPECT(weft_put(rt, order, trial->job.layout.records * sizeof(*order), &refs[1]) == 0);
	EXPECT(wf_sort_refs_add_many(&proof.refs, refs, 2) == 0);
	EXPECT(wf_sort_proofs_add(rt, &proving.proofs, &proof) == 0);
	proof_says(&proving, part);
}

static void proof_finds_foreign_and_unstable_records(void)
{
	uint64_t order[8];
	struct trial trial;

	trial_open(&trial, 8, 20, 0, 10, 0);
	fill(&trial, 1, 0);
	for (uint64_t i = 0; i < 8; i++) {
		order[i] = wf_sort_loc(0, i * 20);
		trial.records[i * 20 + 19] = (uint8_t)i;
	}
	EXPECT(wf_sort_pwrite(trial.job.output.fd, trial.records, 160, 0) == 0);
	order_sees(&trial, order, NULL);
	/* The file says so too, but equal keys are not in input order. */
	swap_records(&trial, 1, 2);
	order[1] = order[2];
	order[2] = wf_sort_loc(0, 20);
	order_sees(&trial, order, "not in input order among equal keys");
	order[2] = order[1];
	order[1] = wf_sort_loc(0, 20);
	order_sees(&trial, order, "is not the input record it came from");
	swap_records(&trial, 1, 2);
	order[7] = wf_sort_loc(1, 0);
	order_sees(&trial, order, "comes from nowhere");
	order[7] = wf_sort_loc(0, 160);
	order_sees(&trial, order, "comes from nowhere");
	trial_close(&trial);
}

/* A partition task's chunk, its one piece changed by `tamper`. */
static void partition_sees(struct trial *trial, int tamper, const char *part)
{
	weft *rt = trial->job.rt;
	uint64_t bytes = trial->job.layout.bytes;
	uint8_t *piece = malloc(bytes + 20);
	struct wf_sort_splitters *splitters = malloc(sizeof(*splitters));
	struct proving proving = { .trial = trial };
	struct wf_sort_proof proof = {
		.partition = { &trial->job, { 0, bytes } },
		.n_inputs = 1,
	};
	weft_ref refs[2];

	EXPECT(piece && splitters);
	wf_sort_splitters_init(splitters, &trial->job.layout, 0, 1, NULL, 0);
	memcpy(piece, trial->records, bytes);
	memcpy(piece + bytes, trial->records, 20);
	if (tamper > 0)
		piece[bytes / 2] ^= 1;
	EXPECT(weft_put(rt, splitters, sizeof(*splitters), &refs[0]) == 0);
	EXPECT(weft_put(rt, piece, tamper < 0 ? bytes + 20 : bytes, &refs[1]) == 0);
	EXPECT(wf_sort_refs_add_many(&proof.refs, refs, 2) == 0);
	EXPECT(wf_sort_proofs_add(rt, &proving.proofs, &proof) == 0);
	proof_says(&proving, part);
	free(piece);
	free(splitters);
}

static void proof_finds_wrong_partitions(void)
{
	struct trial trial;

	trial_open(&trial, 100, 20, 0, 10, 0);
	fill(&trial, 50, 0);
	trial_save(&trial);
	partition_sees(&trial, 0, NULL);
	partition_sees(&trial, 1, "not partitioned as it was read");
	partition_sees(&trial, -1, "more records were partitioned than were read");
	trial_close(&trial);
}

/* ---- Demo -------------------------------------------------------------------------- */

static void the_same_seed_generates_the_same_lines(bool skew)
{
	struct wf_sort_generate generate = {
		.record_bytes = 100,
		.key_bytes = 10,
		.seed = 7,
		.skew = skew,
	};
	struct trial trial;
	char text[256];

	trial_open(&trial, 2000, 100, 0, 10, 100);
	generate.job = &trial.job;
	generate.sink = (struct wf_sort_sink){ "INPUT", trial.job.input_fd, -1 };
	EXPECT(run_root(trial.job.rt, wf_sort_generate_root, &generate, text) == 0);
	EXPECT(wf_sort_pread(trial.job.input_fd, trial.records, 200000, 0) == 0);
	for (size_t i = 0; i < 200000; i++) {
		if (i % 100 == 99)
			EXPECT(trial.records[i] == '\n');
		else
			EXPECT(trial.records[i] >= ' ' && trial.records[i] < 0x7f);
		EXPECT(i % 100 >= 10 || trial.records[i] != ' ');
	}
	/* Cut into chunks otherwise: the same bytes. */
	trial.job.layout.chunk_bytes = 100 * 2000;
	EXPECT(ftruncate(trial.job.input_fd, 0) == 0);
	EXPECT(run_root(trial.job.rt, wf_sort_generate_root, &generate, text) == 0);
	for (size_t i = 0; i < 2000; i++) {
		uint8_t record[100];

		EXPECT(wf_sort_pread(trial.job.input_fd, record, 100, i * 100) == 0);
		EXPECT(memcmp(record, trial.records + i * 100, 100) == 0);
	}
	trial_close(&trial);
}

int main(int argc, char **argv)
{
	unsetenv("WEFT_GPU");
	trial_devices = argc > 1 ? argv[1] : NULL;
	random_state = test_seed();
	no_record_and_one_record_are_sorted();
	the_usual_record_size_is_sorted();
	random_jobs_are_sorted_stably();
	skew_is_split_by_nested_levels();
	equal_keys_are_copied_by_many_tasks();
	levels_stop_at_their_limit(3);
	levels_stop_at_their_limit(WF_SORT_LEVELS_MAX + 2);
	short_input_fails_the_job();
	unreadable_input_fails_the_job();
	full_disk_fails_the_job();
	every_failed_allocation_fails_the_job_cleanly();
	verification_finds_tampering();
	proof_finds_foreign_and_unstable_records();
	proof_finds_wrong_partitions();
	the_same_seed_generates_the_same_lines(false);
	the_same_seed_generates_the_same_lines(true);
	return 0;
}
