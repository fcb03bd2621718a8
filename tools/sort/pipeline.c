/*
 * pipeline.c: the job as a whole, from the input to the verified output.
 *
 *	cut                   -> ranges of whole records, one for each partition task
 *	sample                -> some keys
 *	splitters (samples)   -> splitter table
 *	partition (table)     -> reads a range: a piece for each bucket, what is in each, a checksum
 *	sort (pieces)         -> the bucket's records in order        (or a nested level)
 *	write (records)       -> nothing: written at the known place
 *	verify (slice)        -> order and checksum of a slice of the output, after all writes
 *	check                 -> with --check: each step again, compared
 *
 * Each line is a kind of task and waits for refs of the lines above. Pieces are objects of the
 * store: what does not fit is spilled while others are made, and restored for the sort tasks.
 */
#include "sort.h"

#include <errno.h>
#include <string.h>

#include "base.h"

/* The ranges of the input, as pieces of the top level. */
static int list_ranges(struct wf_sort_run *run, struct wf_sort_pieces *pieces)
{
	weft *rt = run->job->rt;
	const struct wf_sort_range *ranges;
	struct weft_view view = { NULL, 0 };
	weft_ref ref;
	int status;

	status = wf_sort_window_submit(&run->window,
	                               WEFT_TASK(wf_sort_cut_body, WEFT_ARG(run->job)), &ref);
	if (status < 0)
		return status;
	status = wf_sort_window_drain(&run->window);
	if (status == 0)
		status = weft_get(rt, ref, WEFT_FOREVER, &view);
	if (status < 0) {
		weft_release(rt, ref);
		return status;
	}
	ranges = view.data;
	for (size_t i = 0; i < view.size / sizeof(*ranges) && status == 0; i++)
		status = wf_sort_pieces_add(pieces,
		                            (struct wf_sort_piece){ .bytes = ranges[i].bytes,
		                                                    .offset = ranges[i].offset });
	weft_release(rt, ref);
	pieces->records = run->job->layout.records;
	return status < 0 ? weft_fail(run->self, status, "no memory for a list of tasks") : 0;
}

/* A range that holds a long line needs more memory at once: fewer tasks then. */
static void fit_window(struct wf_sort_run *run, const struct wf_sort_pieces *pieces)
{
	uint64_t longest = 1, fit;

	for (size_t i = 0; i < pieces->count; i++) {
		if (pieces->list[i].bytes > longest)
			longest = pieces->list[i].bytes;
	}
	fit = run->job->layout.store_bytes / (3 * longest);
	if (fit < run->window.room)
		run->window.room = fit ? (uint32_t)fit : 1;
}

static int compare_sums(struct wf_sort_run *run, const struct wf_sort_done *done)
{
	const struct wf_sort_result *output = &done->result;

	if (run->sum.records == output->records && run->sum.checksum == output->checksum)
		return weft_return(run->self, done, sizeof(*done));
	return weft_fail(run->self, -EBADMSG,
	                 "%s: not the same records as the input: checksum %016llx, not %016llx",
	                 run->job->output.name, (unsigned long long)output->checksum,
	                 (unsigned long long)run->sum.checksum);
}

static int sort(struct wf_sort_run *run)
{
	struct wf_sort_pieces pieces = { .list = NULL };
	int status = list_ranges(run, &pieces);

	fit_window(run, &pieces);
	if (status == 0 && pieces.count > 0) /* an empty file is sorted */
		status = wf_sort_level_run(run, &pieces, 0, 0);
	wf_sort_pieces_fini(run->job->rt, &pieces);
	if (status == 0)
		status = wf_sort_window_drain(&run->window);
	WF_CHECK(status < 0 || run->written == run->job->layout.output_bytes);
	return status;
}

int wf_sort_root(weft_task *self)
{
	const struct wf_sort_job *job =
		*(const struct wf_sort_job *const *)weft_task_arg(self, NULL);
	struct wf_sort_run run = { .self = self, .job = job };
	struct weft_store_stats before = { .struct_size = sizeof(before) }, after = before;
	struct wf_sort_done done = { .spilled_bytes = 0 };
	int status;

	wf_sort_window_init(&run.window, self, job->layout.window);
	weft_store_stats(job->rt, &before);
	status = sort(&run);
	weft_store_stats(job->rt, &after);
	done.spilled_bytes = after.spilled_bytes - before.spilled_bytes;
	done.restored_bytes = after.restored_bytes - before.restored_bytes;
	if (status == 0)
		status = wf_sort_verify_run(self, job, &done.result);
	if (status == 0 && job->check)
		status = wf_sort_check_run(self, job, &run.proofs);
	if (status == 0)
		status = compare_sums(&run, &done);
	wf_sort_window_fini(&run.window);
	wf_sort_proofs_fini(job->rt, &run.proofs);
	return status;
}
