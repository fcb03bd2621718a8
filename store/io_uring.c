/*
 * io_uring.c: file I/O by a ring per lane.
 *
 * The ring is made, used and closed by the lane's thread alone (a ring with two masters loses
 * entries, and requests must not outlive the thread that submitted them). No polling thread, no
 * registered buffers: both were measured to buy nothing at these block sizes, the first costs a
 * processor, the second pins memory that the store wants to move.
 *
 * The lane sleeps in one of two places. With nothing in flight it parks on its condition variable
 * like a lane of the pool; waiting in the ring then would cost nothing either, but the kernel
 * counts it as waiting for I/O, and an idle process would show a processor at 100 % iowait. With
 * blocks in flight and slots free it waits in the ring, where a read of an eventfd stands beside
 * the blocks: poke() completes it.
 *
 * A ring can stop working, because a filter is installed late or the kernel is out of memory. The
 * lane then is broken, for good: what the kernel has not taken is performed by plain calls, what
 * it has is waited for, and the lane goes on as a thread of the pool would.
 *
 * Shared: `event`, which poke() writes. Everything else is the lane's thread's.
 *
 * Invariants: busy slots + free_count = depth; busy slots = flying. A slot is busy from
 * wf_io_take() until wf_io_result() says that its block has ended. Entries are consumed by the
 * kernel in the order of `prepared`; those from prepared - io_uring_sq_ready() on are not yet.
 */
#include "io.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SLOTS_MAX (WF_IO_RING_DEPTH - 1) /* one entry is the eventfd's */
#define POKED     UINT64_MAX             /* user_data of the eventfd's read */

struct slot {
	struct wf_io_block block;
	struct iovec pieces[2];
	uint32_t sequence; /* value of `prepared` at its entry */
	bool busy;
};

struct ring_lane {
	struct wf_io_lane lane;
	struct io_uring ring;
	int event;
	uint64_t event_value;
	bool armed; /* the read of the eventfd is prepared or in flight */
	uint32_t event_sequence;
	uint32_t prepared; /* entries so far; wraps */
	uint32_t depth, flying, free_count, failures;
	uint8_t free[SLOTS_MAX];
	struct slot slots[SLOTS_MAX];
};

static struct ring_lane *ring_of(struct wf_io_lane *lane)
{
	return wf_container_of(lane, struct ring_lane, lane);
}

static int no_ring(struct ring_lane *r, const char *call, int error)
{
	struct wf_io *io = r->lane.io;

	/* One lane starts at a time, and open reads it after it has. */
	snprintf(io->reason, sizeof(io->reason), "%s: %s", call, strerrordesc_np(error));
	return -ENOTSUP;
}

static int init(struct wf_io_lane *lane)
{
	struct ring_lane *r = ring_of(lane);
	unsigned int depth = WF_IO_RING_DEPTH;
	int error;

	/* A ring of 64 takes two pages, as the smallest does: a second try with less is none. */
	error = io_uring_queue_init(depth, &r->ring, IORING_SETUP_SINGLE_ISSUER);
	if (error == -EINVAL)
		error = io_uring_queue_init(depth, &r->ring, 0);
	if (error < 0)
		return no_ring(r, "io_uring_setup", -error);
	r->event = wf_fault(WF_FAULT_EVENTFD) ? -1 : eventfd(0, EFD_CLOEXEC);
	if (r->event < 0) {
		error = errno;
		io_uring_queue_exit(&r->ring);
		return no_ring(r, "eventfd", error);
	}
	r->depth = lane->io->depth < SLOTS_MAX ? lane->io->depth : SLOTS_MAX;
	for (uint32_t i = 0; i < r->depth; i++)
		r->free[i] = (uint8_t)(r->depth - 1 - i);
	r->free_count = r->depth;
	WF_CHECK(r->depth > 0 && !r->armed && r->prepared == 0);
	return 0;
}

static void poke(struct wf_io_lane *lane)
{
	static const uint64_t one = 1;

	WF_CHECK(write(ring_of(lane)->event, &one, sizeof(one)) == sizeof(one));
}

/* There is always an entry: the ring has one more than there are slots. */
static struct io_uring_sqe *entry_of(struct ring_lane *r, uint32_t *sequence)
{
	struct io_uring_sqe *entry = io_uring_get_sqe(&r->ring);

	WF_CHECK(entry != NULL);
	*sequence = r->prepared++;
	return entry;
}

static void prepare(struct ring_lane *r, struct slot *slot)
{
	const struct wf_io_request *request = slot->block.request;
	uint64_t offset = request->offset + slot->block.at;
	struct io_uring_sqe *entry = entry_of(r, &slot->sequence);
	unsigned int count;

	WF_CHECK(slot->busy && slot->block.attempt <= WF_IO_BLOCK_MAX);
	switch (request->op) {
	case WF_IO_READ:
		count = wf_io_pieces(&slot->block, slot->pieces);
		io_uring_prep_readv(entry, request->fd, slot->pieces, count, offset);
		break;
	case WF_IO_WRITE:
		count = wf_io_pieces(&slot->block, slot->pieces);
		io_uring_prep_writev(entry, request->fd, slot->pieces, count, offset);
		break;
	case WF_IO_SYNC:
		io_uring_prep_fsync(entry, request->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data64(entry, (uint64_t)(slot - r->slots));
}

static void arm(struct ring_lane *r)
{
	struct io_uring_sqe *entry = entry_of(r, &r->event_sequence);

	WF_CHECK(!r->armed);
	io_uring_prep_read(entry, r->event, &r->event_value, sizeof(r->event_value), 0);
	io_uring_sqe_set_data64(entry, POKED);
	r->armed = true;
}

/* What the attempt in the slot gave. Of a broken lane, the rest is performed here. */
static void finish(struct ring_lane *r, struct slot *slot, int64_t result)
{
	WF_CHECK(slot->busy && r->flying > 0);
	while (wf_io_result(r->lane.io, &slot->block, result)) {
		if (!r->lane.broken) {
			prepare(r, slot);
			return;
		}
		result = wf_io_perform(&slot->block);
	}
	slot->busy = false;
	r->flying--;
	r->free[r->free_count++] = (uint8_t)(slot - r->slots);
}

static bool is_consumed(const struct ring_lane *r, uint32_t sequence)
{
	uint32_t consumed = r->prepared - io_uring_sq_ready(&r->ring);

	return (int32_t)(sequence - consumed) < 0;
}

static void reap(struct ring_lane *r)
{
	struct io_uring_cqe *completion;

	while (io_uring_peek_cqe(&r->ring, &completion) == 0) {
		uint64_t data = io_uring_cqe_get_data64(completion);
		int result = completion->res;

		io_uring_cqe_seen(&r->ring, completion);
		if (data == POKED) {
			WF_CHECK(r->armed);
			r->armed = false;
			continue;
		}
		WF_CHECK(data < r->depth);
		WF_CHECK(r->slots[data].busy && is_consumed(r, r->slots[data].sequence));
		finish(r, &r->slots[data], result);
	}
}

/* No entry is ever handed to the kernel again; what it has not taken is performed here. */
static void break_down(struct ring_lane *r, int error)
{
	struct wf_io *io = r->lane.io;
	bool probing;

	WF_CHECK(!r->lane.broken);
	pthread_mutex_lock(&io->lock);
	r->lane.broken = true;
	probing = io->probing;
	snprintf(io->reason, sizeof(io->reason), "io_uring_enter: %s", strerrordesc_np(error));
	pthread_mutex_unlock(&io->lock);
	/* The probe has its own line, about what is used instead. */
	if (!probing)
		wf_io_say(io, WF_IO_LOG_WARN,
		          "file I/O: a ring stopped working, its lane goes on without: "
		          "io_uring_enter: %s",
		          strerrordesc_np(error));
	if (r->armed && !is_consumed(r, r->event_sequence))
		r->armed = false;
	for (uint32_t i = 0; i < r->depth; i++) {
		struct slot *slot = &r->slots[i];

		if (slot->busy && !is_consumed(r, slot->sequence))
			finish(r, slot, wf_io_perform(&slot->block));
	}
}

/* Hand the entries over and wait for a completion. Everything that can go wrong ends here. */
static void submit_and_wait(struct ring_lane *r)
{
	uint32_t ready = io_uring_sq_ready(&r->ring);
	int error = io_uring_submit_and_wait(&r->ring, 1);

	/* Fewer than all taken: the caller comes again, after the completions. */
	if (error >= 0 || error == -EINTR || io_uring_sq_ready(&r->ring) < ready) {
		r->failures = 0;
		return;
	}
	if (error == -EAGAIN || error == -EBUSY || error == -ENOMEM) {
		/* The kernel is short of something: completions, when there are any, help. */
		if (r->failures++ < WF_IO_RETRIES_MAX) {
			if (io_uring_cq_ready(&r->ring) == 0)
				sched_yield();
			return;
		}
	}
	break_down(r, -error);
}

/* Without io_uring_enter() the completions still come, and the ring's descriptor tells. */
static void run_broken(struct ring_lane *r)
{
	struct wf_io_block block;

	while (r->flying > 0) {
		struct pollfd ready = { .fd = r->ring.ring_fd, .events = POLLIN };

		(void)poll(&ready, 1, -1);
		reap(r);
	}
	while (wf_io_take(&r->lane, false, &block) == WF_IO_TAKEN) {
		while (wf_io_result(r->lane.io, &block, wf_io_perform(&block)))
			;
	}
}

static void run(struct wf_io_lane *lane)
{
	struct ring_lane *r = ring_of(lane);

	while (!lane->broken) {
		WF_CHECK(r->free_count + r->flying == r->depth);
		while (r->free_count > 0) {
			struct slot *slot = &r->slots[r->free[r->free_count - 1]];
			enum wf_io_taken taken = wf_io_take(lane, r->flying > 0, &slot->block);

			if (taken == WF_IO_OVER)
				return;
			if (taken == WF_IO_EMPTY)
				break;
			WF_CHECK(!slot->busy && taken == WF_IO_TAKEN);
			r->free_count--;
			r->flying++;
			slot->busy = true;
			prepare(r, slot);
		}
		if (!r->armed && r->free_count > 0)
			arm(r);
		submit_and_wait(r);
		reap(r);
	}
	run_broken(r);
}

/* The read of the eventfd goes into the lane: it must have ended before the memory does. */
static void fini(struct wf_io_lane *lane)
{
	struct ring_lane *r = ring_of(lane);

	WF_CHECK(r->flying == 0 && r->free_count == r->depth);
	if (r->armed && !is_consumed(r, r->event_sequence))
		r->armed = false;
	if (r->armed)
		poke(lane);
	while (r->armed) {
		struct pollfd ready = { .fd = r->ring.ring_fd, .events = POLLIN };

		(void)poll(&ready, 1, -1);
		reap(r);
	}
	io_uring_queue_exit(&r->ring);
	close(r->event);
}

const struct wf_io_backend wf_io_uring = {
	.name = "uring",
	.lane_count = 2,
	.block_bytes = (uint64_t)2 << 20,
	.lane_bytes = sizeof(struct ring_lane),
	.init = init,
	.fini = fini,
	.run = run,
	.poke = poke,
};
