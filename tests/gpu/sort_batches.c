/*
 * Goal: weft-sort --gpu makes the very pieces that the CPUs make, has three batches on a device at
 * once, and whatever a device does wrong the job ends with one text, or right.
 * Method: the two partition tasks side by side over the same ranges, compared byte by byte; jobs on
 * simulated devices with little memory and with every operation failing in turn, compared with a
 * stable oracle; a device whose work is done step by step. `sort_pipeline_gpu` runs all jobs of
 * tests/tools/pipeline.c on devices as well.
 */
#include <errno.h>
#include <string.h>

#include "../tools/trial.h"
#include "devices.h"
#include "sim_device.h"

#if WF_TSAN || WF_ASAN
#define STRIDE 40 /* at random, up to it: another seed finds others */
#else
#define STRIDE 1
#endif

#define HANG_NS 200000000 /* of the jobs on a device that hangs */

/* ---- The same pieces ------------------------------------------------------------------------ */

struct pair {
	const struct wf_sort_job *job;
	struct wf_sort_range range;
};

/* All outputs of a partition task over `range` with `table`. */
static void partition(const struct pair *pair, bool on_gpu, weft_ref table, weft_ref *out)
{
	static const struct weft_task_options most = { .struct_size = sizeof(most),
		                                       .n_outputs = 1u << 10 };
	struct wf_sort_partition arg = { .job = pair->job, .range = pair->range };
	const struct weft_call call = {
		.fn = on_gpu ? wf_sort_gpu_partition_body : wf_sort_partition_body,
		.arg = &arg,
		.arg_size = sizeof(arg),
		.inputs = &table,
		.n_inputs = 1,
		.opts = on_gpu ? wf_sort_gpu_options(pair->job->gpu, 10) : &most,
	};

	EXPECT(weft_submit(pair->job->rt, &call, out) == 0);
}

static void expect_equal(weft *rt, weft_ref a, weft_ref b)
{
	struct weft_view x, y;

	EXPECT(weft_get(rt, a, WEFT_FOREVER, &x) == 0);
	EXPECT(weft_get(rt, b, WEFT_FOREVER, &y) == 0);
	EXPECT(x.size == y.size && (x.size == 0 || memcmp(x.data, y.data, x.size) == 0));
	weft_view_end(rt, a);
	weft_view_end(rt, b);
	weft_release(rt, a);
	weft_release(rt, b);
}

static int compare_samples(const void *a, const void *b)
{
	const struct wf_sort_sample *x = *(const struct wf_sort_sample *const *)a;
	const struct wf_sort_sample *y = *(const struct wf_sort_sample *const *)b;

	return memcmp(x->key, y->key, x->size);
}

static weft_ref make_table(const struct trial *trial, uint32_t partitions)
{
	enum { SAMPLES = 2000 };
	const struct wf_sort_layout *layout = &trial->job.layout;
	struct wf_sort_sample *sample = calloc(SAMPLES, sizeof(*sample));
	const struct wf_sort_sample **sorted = calloc(SAMPLES, sizeof(*sorted));
	struct wf_sort_splitters *table = malloc(sizeof(*table));
	weft_ref ref;

	EXPECT(sample && sorted && table);
	for (uint32_t i = 0; i < SAMPLES; i++) {
		uint64_t record = next_random() % layout->records;

		sample[i].size =
			layout->key_bytes < WF_SORT_KEY_CAP ? layout->key_bytes : WF_SORT_KEY_CAP;
		memcpy(sample[i].key,
		       trial->records + record * layout->record_bytes + layout->key_offset,
		       sample[i].size);
		sorted[i] = &sample[i];
	}
	qsort(sorted, SAMPLES, sizeof(*sorted), compare_samples);
	wf_sort_splitters_init(table, layout, 0, partitions, sorted, SAMPLES);
	EXPECT(weft_put(trial->job.rt, table, sizeof(*table), &ref) == 0);
	free(sample);
	free(sorted);
	free(table);
	return ref;
}

static void pieces_are_the_same(uint32_t records, uint32_t record_bytes, uint32_t key_bytes,
                                unsigned symbols, unsigned hot, uint32_t partitions)
{
	static weft_ref host[1 << 10], gpu[1 << 10];
	struct trial trial;
	struct pair pair;
	weft_ref table;

	trial_devices = "sim:memory=64M";
	trial_open(&trial, records, record_bytes, record_bytes - key_bytes, key_bytes, records);
	fill(&trial, symbols, hot);
	trial_save(&trial);
	table = make_table(&trial, partitions);
	pair = (struct pair){ &trial.job, { 0, trial.job.layout.bytes } };
	partition(&pair, false, table, host);
	partition(&pair, true, table, gpu);
	for (uint32_t i = 0; i < 1 << 10; i++)
		expect_equal(trial.job.rt, host[i], gpu[i]);
	weft_release(trial.job.rt, table);
	trial_close(&trial);
}

/* ---- Jobs ----------------------------------------------------------------------------------- */

static void the_copy_bound_is_measured(void)
{
	struct trial trial;
	char text[256] = "";

	trial_devices = "sim:devices=2,memory=4M";
	trial_open(&trial, 5000, 100, 0, 10, 100);
	fill(&trial, 60, 10);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_GPU) == tasks_of(&trial, WF_SORT_STAGE_PARTITION));
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_GPU) >= trial.job.layout.chunk_count);
	EXPECT(run_root(trial.job.rt, wf_sort_gpu_bound_root, &trial.job, text) == 0);
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_GPU_COPIES) >= 8);
	EXPECT(wf_sort_stage_seconds(&trial.journal, WF_SORT_STAGE_GPU_COPIES,
	                             WF_SORT_STAGE_GPU_COPIES) > 0);
	trial_close(&trial);
}

static void too_little_memory_fails_the_job(void)
{
	struct trial trial;

	trial_devices = "sim:memory=64K";
	trial_open(&trial, 5000, 100, 0, 10, 1000);
	fill(&trial, 60, 0);
	trial_save(&trial);
	expect_failure(&trial, "--gpu: a batch needs ");
	EXPECT(tasks_of(&trial, WF_SORT_STAGE_READ) == 0);
	trial_close(&trial);
}

/* Room for one batch and a half: they take turns. */
static void little_memory_is_enough(void)
{
	struct trial trial;
	char text[256] = "";

	trial_devices = "sim:memory=1M";
	trial_open(&trial, 5000, 100, 0, 10, 1000);
	fill(&trial, 60, 0);
	trial_save(&trial);
	EXPECT(run(&trial, text) == 0);
	expect_sorted(&trial);
	trial_close(&trial);
}

static void short_input_fails_the_job(void)
{
	struct trial trial;

	trial_devices = "sim:memory=16M";
	trial_open(&trial, 3000, 20, 0, 10, 100);
	fill(&trial, 60, 0);
	EXPECT(wf_sort_pwrite(trial.job.input_fd, trial.records, 30001, 0) == 0);
	expect_failure(&trial, "INPUT: the file became shorter");
	trial_close(&trial);
}

/* Nothing is done there but by steps: three bodies wait for it, then the fourth gets its turn. */
static void three_batches_are_on_a_device(void)
{
	struct weft_cuda_info info = { .struct_size = sizeof(info) };
	struct weft_view view;
	struct trial trial;
	const void *arg = &trial.job;
	weft_ref ref;

	trial_devices = "sim:memory=16M,threads=0";
	trial_open(&trial, 5000, 100, 0, 10, 100);
	fill(&trial, 60, 0);
	trial_save(&trial);
	EXPECT(weft_spawn(trial.job.rt, wf_sort_root, &arg, sizeof(arg), &ref) == 0);
	do
		EXPECT(weft_cuda_info(trial.job.rt, 0, &info) == 0);
	while (info.running < 3 || info.share_free > 0.01);
	while (weft_get(trial.job.rt, ref, WEFT_POLL, &view) == -ETIMEDOUT)
		wf_sim_step(trial.cuda->backend);
	EXPECT(weft_get(trial.job.rt, ref, WEFT_FOREVER, &view) == 0);
	weft_release(trial.job.rt, ref);
	expect_sorted(&trial);
	trial_close(&trial);
}

/* ---- Faults --------------------------------------------------------------------------------- */

struct failure {
	enum wf_sim_fault kind;
	int code;
	const char *part; /* of the text */
};

/* False: it was right, there are fewer operations of the kind. */
static bool runs_or_fails(struct trial *trial, const struct failure *failure, uint64_t nth)
{
	char text[256] = "";
	bool fired;
	int status;

	runtime_open(trial);
	wf_sim_fault(trial->cuda->backend, failure->kind, nth, failure->code);
	status = run(trial, text);
	fired = wf_sim_fault_count(trial->cuda->backend, failure->kind) >= nth;
	/* On a machine that is busy enough any device seems to hang. */
	EXPECT(fired || status == 0 || trial_hang_ns);
	if (status == 0)
		expect_sorted(trial);
	else if (!text[0] || !strstr(text, failure->part)) {
		fprintf(stderr, "fault %d at %u: \"%s\" lacks \"%s\"\n", (int)failure->kind,
		        (unsigned)nth, text, failure->part);
		exit(1);
	}
	runtime_close(trial);
	return fired || status < 0;
}

static void every_failure_of_a_device_fails_the_job_cleanly(void)
{
	static const struct failure failures[] = {
		{ WF_SIM_FAULT_CALL, -EIO, "Input/output error" },
		{ WF_SIM_FAULT_CALL, -ENOMEM, "memory" },
		/* Pinned memory is no device's: then there is none. */
		{ WF_SIM_FAULT_CALL, WF_DEVICE_LOST, "" },
		{ WF_SIM_FAULT_WORK, -EIO, "lost" },
		{ WF_SIM_FAULT_EVENT, -ENOMEM, "" },
		{ WF_SIM_FAULT_PINNED, -ENOMEM, "memory" },
		{ WF_SIM_FAULT_QUERY, -EIO, "" },
		{ WF_SIM_FAULT_HANG, -EIO, "lost" },
	};
	struct trial trial;

	trial_devices = "sim:memory=4M";
	trial_open(&trial, 600, 24, 0, 10, 50);
	fill(&trial, 60, 30);
	trial_save(&trial);
	failures_are_expected = true;
	runtime_close(&trial);
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		const bool hangs = failures[i].kind == WF_SIM_FAULT_HANG;
		uint64_t nth = 1;

		trial_hang_ns = hangs ? HANG_NS : 0;
		while (runs_or_fails(&trial, &failures[i], nth))
			nth += 1 + next_random() % (hangs ? 30 : STRIDE);
		EXPECT(nth > 1);
	}
	runtime_open(&trial);
	trial_close(&trial);
	failures_are_expected = false;
	trial_hang_ns = 0;
}

static void no_pinned_memory_is_an_error(void)
{
	struct wf_sort_gpu *gpu = NULL;
	struct trial trial;

	trial_devices = "sim:memory=4M";
	trial_open(&trial, 600, 24, 0, 10, 50);
	wf_sim_fault(trial.cuda->backend, WF_SIM_FAULT_PINNED, 2, -ENOMEM);
	EXPECT(wf_sort_gpu_open(&gpu, trial.job.rt, trial.cuda, &trial.job.layout) == -ENOMEM);
	EXPECT(gpu == NULL);
	trial_close(&trial);
}

int main(void)
{
	unsetenv("WEFT_GPU");
	random_state = test_seed();
	pieces_are_the_same(RECORDS_MAX, 100, 10, 150, 0, 64);
	pieces_are_the_same(RECORDS_MAX, 100, 10, 150, 70, WF_SORT_PARTITIONS_MAX);
	pieces_are_the_same(RECORDS_MAX, 13, 9, 3, 0, 100);
	pieces_are_the_same(1, 100, 10, 150, 0, 64);
	pieces_are_the_same(3, 1, 1, 2, 0, 1);
	the_copy_bound_is_measured();
	too_little_memory_fails_the_job();
	little_memory_is_enough();
	short_input_fails_the_job();
	three_batches_are_on_a_device();
	every_failure_of_a_device_fails_the_job_cleanly();
	no_pinned_memory_is_an_error();
	return 0;
}
