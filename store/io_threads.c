/*
 * io_threads.c: file I/O by a pool of threads with pread, pwrite and fdatasync.
 *
 * A thread performs one block at a time; blocks of one request are served by several threads. With
 * blocks of 4 MiB from 2 MiB pages two threads move as much as a ring does. What remains of a
 * block after a short result is performed by the thread that has it.
 *
 * Shared: nothing of its own; see io.c.
 */
#include "io.h"

static void run(struct wf_io_lane *lane)
{
	struct wf_io_block block;
	enum wf_io_taken taken;

	for (;;) {
		taken = wf_io_take(lane, false, &block);
		if (taken == WF_IO_OVER)
			break;
		WF_CHECK(taken == WF_IO_TAKEN);
		while (wf_io_result(lane->io, &block, wf_io_perform(&block)))
			;
		WF_CHECK(block.request == NULL);
	}
}

const struct wf_io_backend wf_io_threads = {
	.name = "threads",
	.lane_count = 2,
	.block_bytes = (uint64_t)4 << 20,
	.lane_bytes = sizeof(struct wf_io_lane),
	.run = run,
};
