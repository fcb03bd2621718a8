/*
 * io_uring_none.c: what stands for io_uring.c in a build without liburing: a back end that does not
 * work here.
 */
#include "io.h"

#include <errno.h>
#include <stdio.h>

static int init(struct wf_io_lane *lane)
{
	struct wf_io *io = lane->io;

	WF_CHECK(io->lane_count == 0);
	snprintf(io->reason, sizeof(io->reason), "built without liburing");
	return -ENOTSUP;
}

const struct wf_io_backend wf_io_uring = {
	.name = "uring",
	.lane_count = 1,
	.block_bytes = (uint64_t)1 << 20,
	.lane_bytes = sizeof(struct wf_io_lane),
	.init = init,
};
