/*
 * floor.c: the machine's floor for the job's bytes. No record of the output is known before the
 * last one of the input was read, so whoever sorts in memory has to read all of it into memory,
 * move each byte there once, and write it. This does just that, in the tasks, chunks and blocks
 * of the job and with its threads, but without looking at a record.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define CHUNK_BYTES ((8u << 20) - (64u << 10)) /* as in the job */

struct part {
	const struct wf_sort_floor *floor;
	uint64_t offset, bytes;
};

/* Value: the part's bytes. */
static int read_body(weft_task *self)
{
	const struct part *part = weft_task_arg(self, NULL);
	const struct wf_sort_job *job = part->floor->job;
	struct wf_sort_time begin = wf_sort_time_now();
	void *bytes;
	int status = weft_task_output(self, 0, part->bytes, &bytes);

	if (status < 0)
		return weft_fail(self, status, "no memory to measure the floor");
	for (uint64_t done = 0, n; done < part->bytes; done += n) {
		n = part->bytes - done;
		n = n < WF_SORT_BLOCK_BYTES ? n : WF_SORT_BLOCK_BYTES;
		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(job->input_fd, (char *)bytes + done, n, part->offset + done);
		if (status < 0)
			return wf_sort_fail_file(self, job->input_name, status);
	}
	wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_FLOOR, begin, part->bytes);
	return 0;
}

/* Input: the part's bytes. */
static int write_body(weft_task *self)
{
	const struct part *part = weft_task_arg(self, NULL);
	const struct wf_sort_job *job = part->floor->job;
	struct wf_sort_time begin = wf_sort_time_now();
	struct weft_view bytes;
	void *copy;
	int status;

	WF_CHECK(weft_input(self, 0, &bytes) == 0 && bytes.size == part->bytes);
	if (weft_task_cancelled(self))
		return -ECANCELED;
	copy = wf_malloc(part->bytes);
	if (!copy)
		return weft_fail(self, -ENOMEM, "no memory to measure the floor");
	memcpy(copy, bytes.data, part->bytes);
	status = wf_sort_pwrite(part->floor->fd, copy, part->bytes, part->offset);
	wf_free(copy);
	if (status < 0)
		return wf_sort_fail_file(self, job->output_name, status);
	wf_sort_journal_add(job->journal, self, WF_SORT_STAGE_FLOOR, begin, part->bytes);
	return 0;
}

/* One task per part with `fn`; with `inputs` each has one of them. Then wait for all. */
static int run_parts(weft_task *self, const struct wf_sort_floor *floor, weft_task_fn *fn,
                     const struct wf_sort_refs *inputs, struct wf_sort_refs *out)
{
	uint64_t bytes = floor->job->layout.bytes;
	size_t i = 0;
	int status = 0;

	for (uint64_t at = 0; at < bytes && status == 0; at += CHUNK_BYTES, i++) {
		struct part part = { .floor = floor, .offset = at, .bytes = CHUNK_BYTES };
		weft_ref ref;

		if (bytes - at < CHUNK_BYTES)
			part.bytes = bytes - at;
		status = weft_submit(floor->job->rt,
		                     WEFT_TASK(fn, WEFT_ARG(part),
		                               .inputs = inputs ? &inputs->refs[i] : NULL,
		                               .n_inputs = inputs ? 1 : 0),
		                     &ref);
		if (status == 0)
			status = wf_sort_refs_add(out, ref);
	}
	if (status < 0)
		return weft_fail(self, status, "cannot submit a task: %s", weft_strerror(status));
	return wf_sort_refs_wait(self, out);
}

int wf_sort_floor_root(weft_task *self)
{
	const struct wf_sort_floor *floor =
		*(const struct wf_sort_floor *const *)weft_task_arg(self, NULL);
	struct wf_sort_refs parts = { NULL, 0, 0 }, written = { NULL, 0, 0 };
	int status = run_parts(self, floor, read_body, NULL, &parts);

	if (status == 0)
		status = run_parts(self, floor, write_body, &parts, &written);
	wf_sort_refs_fini(floor->job->rt, &parts);
	wf_sort_refs_fini(floor->job->rt, &written);
	return status;
}
