/*
 * floor.c: the machine's floor for the job's bytes: read each byte of the input once, copy it once
 * in memory, write it once to a file beside the output. Same tasks, same threads, same block sizes
 * as the job, no sorting. A sort that holds everything in memory can hardly be faster.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

#define SLICE_BYTES (4u << 20) /* of one write, as in the job */

struct slice {
	const struct wf_sort_floor *floor;
	uint64_t offset, bytes;
};

static int copy_slice(weft_task *self, const struct slice *slice, uint8_t *block, uint8_t *copy)
{
	const struct wf_sort_job *job = slice->floor->job;
	int status;

	for (uint64_t done = 0, n; done < slice->bytes; done += n) {
		n = slice->bytes - done;
		n = n < WF_SORT_BLOCK_BYTES ? n : WF_SORT_BLOCK_BYTES;
		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(job->input_fd, block, n, slice->offset + done);
		if (status < 0)
			return wf_sort_fail_file(self, job->input_name, status);
		memcpy(copy + done, block, n);
	}
	status = wf_sort_pwrite(slice->floor->fd, copy, slice->bytes, slice->offset);
	return status < 0 ? wf_sort_fail_file(self, job->output_name, status) : 0;
}

static int floor_body(weft_task *self)
{
	const struct slice *slice = weft_task_arg(self, NULL);
	struct wf_sort_time begin = wf_sort_time_now();
	uint8_t *room = wf_malloc(slice->bytes + WF_SORT_BLOCK_BYTES);
	int status;

	if (!room)
		return weft_fail(self, -ENOMEM, "no memory to measure the floor");
	status = copy_slice(self, slice, room, room + WF_SORT_BLOCK_BYTES);
	wf_free(room);
	if (status == 0)
		wf_sort_journal_add(slice->floor->job->journal, self, WF_SORT_STAGE_FLOOR,
		                    begin, slice->bytes);
	return status;
}

int wf_sort_floor_root(weft_task *self)
{
	const struct wf_sort_floor *floor =
		*(const struct wf_sort_floor *const *)weft_task_arg(self, NULL);
	uint64_t bytes = floor->job->layout.bytes;
	struct wf_sort_refs done = { NULL, 0, 0 };
	int status = 0;

	for (uint64_t at = 0; at < bytes && status == 0; at += SLICE_BYTES) {
		struct slice slice = { .floor = floor, .offset = at, .bytes = SLICE_BYTES };
		weft_ref ref;

		if (bytes - at < SLICE_BYTES)
			slice.bytes = bytes - at;
		status = weft_submit(floor->job->rt, WEFT_TASK(floor_body, WEFT_ARG(slice)), &ref);
		if (status == 0)
			status = wf_sort_refs_add(&done, ref);
	}
	if (status < 0)
		status = weft_fail(self, status, "cannot submit a task: %s", weft_strerror(status));
	else
		status = wf_sort_refs_wait(self, &done);
	wf_sort_refs_fini(floor->job->rt, &done);
	return status;
}
