/*
 * trial.c: see trial.h.
 */
#include "trial.h"

#include <string.h>
#include <unistd.h>

uint64_t random_state;

uint64_t next_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 31) * 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

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

bool failures_are_expected;
const char *trial_devices;
int64_t trial_hang_ns;

static void on_log(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	if (record->level == WEFT_LOG_ERROR && !failures_are_expected)
		fprintf(stderr, "worker %d, task %s: %s\n", record->worker, record->task,
		        record->text);
}

void runtime_open(struct trial *trial)
{
	const struct weft_cuda_options how = { .struct_size = sizeof(how),
		                               .backend = trial_devices,
		                               .hang_ns = trial_hang_ns };

	if (trial_devices)
		EXPECT(weft_cuda_open(&trial->cuda, &how) == 0);
	EXPECT(weft_open(&trial->job.rt,
	                 WEFT_OPTIONS(.workers = 4, .log = on_log, .store_bytes = STORE_BYTES,
	                              .devices = trial->cuda)) == 0);
	if (trial_devices)
		EXPECT(wf_sort_gpu_open(&trial->job.gpu, trial->job.rt, trial->cuda,
		                        &trial->job.layout) == 0);
}

void runtime_close(struct trial *trial)
{
	EXPECT(weft_close(trial->job.rt, WEFT_FOREVER) >= 0);
	wf_sort_gpu_close(trial->job.gpu);
	EXPECT(weft_cuda_close(trial->cuda) == 0);
}

/* Tiny chunks, partitions and slices: `leaf` records in a sort task. */
static void shrink(struct wf_sort_layout *layout, uint32_t leaf)
{
	uint64_t record_bytes = layout->lines ? 10 : layout->record_bytes;

	layout->leaf_target = wf_sort_leaf_memory(leaf * record_bytes, leaf);
	layout->leaf_most = 2 * layout->leaf_target;
	layout->chunk_bytes = (3 * (uint64_t)leaf + 1) * record_bytes;
	layout->slice_bytes = (leaf + 3) * record_bytes;
	layout->chunk_count =
		(uint32_t)((layout->bytes + layout->chunk_bytes - 1) / layout->chunk_bytes);
	layout->piece_bytes = UINT32_MAX;
}

void trial_start(struct trial *trial, uint64_t bytes, bool unended,
                 const struct wf_sort_options *options, uint32_t leaf)
{
	EXPECT(wf_sort_journal_init(&trial->journal, false) == 0);
	wf_sort_layout_init(&trial->job.layout, bytes, unended, STORE_BYTES, 4, options);
	if (leaf)
		shrink(&trial->job.layout, leaf);
	runtime_open(trial);
	trial->job.journal = &trial->journal;
	trial->job.input_name = "INPUT";
	trial->job.check = true;
	trial->job.input_fd = make_file();
	trial->job.output = (struct wf_sort_sink){ "OUTPUT", make_file(), -1 };
}

/* `leaf` 0 keeps what the layout chose. */
void trial_open(struct trial *trial, uint32_t records, uint32_t record_bytes, uint32_t key_offset,
                uint32_t key_bytes, uint32_t leaf)
{
	struct wf_sort_options options = {
		.record_bytes = record_bytes,
		.key_offset = key_offset,
		.key_bytes = key_bytes,
	};

	*trial = (struct trial){ .records = calloc((size_t)records + 1, record_bytes) };
	EXPECT(trial->records != NULL);
	trial_start(trial, (uint64_t)records * record_bytes, false, &options, leaf);
}

void trial_save(struct trial *trial)
{
	EXPECT(wf_sort_pwrite(trial->job.input_fd, trial->records, trial->job.layout.bytes, 0) ==
	       0);
}

/* First the runtime: when a job has failed, tasks of it may still be on their way to the files. */
void trial_close(struct trial *trial)
{
	runtime_close(trial);
	close(trial->job.input_fd);
	close(trial->job.output.fd);
	wf_sort_journal_fini(&trial->journal);
	free(trial->records);
}

/* Run a root task; `text` gets the cause of a failure. */
int run_root(weft *rt, weft_task_fn *fn, const void *arg, char text[256])
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

int run(struct trial *trial, char text[256])
{
	return run_root(trial->job.rt, wf_sort_root, &trial->job, text);
}

void expect_failure(struct trial *trial, const char *part)
{
	char text[256] = "";

	EXPECT(run(trial, text) < 0);
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

void expect_sorted(const struct trial *trial)
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
		EXPECT(wf_sort_pread(trial->job.output.fd, record, layout->record_bytes,
		                     i * layout->record_bytes) == 0);
		EXPECT(memcmp(record, trial->records + (size_t)places[i] * layout->record_bytes,
		              layout->record_bytes) == 0);
	}
	free(places);
	free(record);
}

uint64_t tasks_of(const struct trial *trial, enum wf_sort_stage stage)
{
	/* relaxed: the job has ended. */
	return wf_load_relaxed(&trial->journal.stages[stage].tasks);
}

/* Keys over `symbols` values; `hot` of 100 records have one and the same key. */
void fill(struct trial *trial, unsigned symbols, unsigned hot)
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
