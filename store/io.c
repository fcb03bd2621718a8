/*
 * io.c: the queue of file transfers: requests in, blocks out, results in, `done` out.
 *
 * A request stands in one queue until its last block is taken. A lane takes one block of the first
 * request, which then goes to the end: requests are served in turns, block by block, so a long one
 * delays a short one by no more than one block of each that is ahead of it. Several lanes may have
 * blocks of one request, and they may end in any order.
 *
 * The outcome is the one that a single sequential transfer would have had: `moved` begins as the
 * whole size, and a block that cannot go on (an error, the end of the file) lowers it to where it
 * stopped and sets `status`, unless something stopped further down already. No block is cut above
 * the lowest stop; those that fly are waited for, as they use the caller's memory.
 *
 * Shared: everything in struct wf_io under its lock, except what open wrote and the counters, which
 * are statistics; of a request between submit and done: `next`, `prev`, `issued`, `flying`,
 * `phase`, `status`, `moved` under that lock, the rest is only read. A block belongs to its lane.
 *
 * Invariants: a request is in `queue` exactly in phase QUEUED, in `ended` exactly in phase ENDED;
 * QUEUED means issued < whole(request) and moved == whole(request); in phase FLYING flying > 0; its
 * `done` is called by whoever sets the phase to DONE, with the lock not held. A block leaves its
 * lane through end_block() only, whatever happened to it, so flying comes back to 0.
 * A lane that is PARKED or WAITING was so when the queue was empty; whoever fills the queue wakes
 * one, and a lane that takes a block and leaves others behind wakes the next. Where the first of
 * the queue shares a lane that is awake nobody is woken: that one comes back to the queue.
 *
 * Progress: blocking, by a mutex that is held for the moving of a few words, and for the wake-up of
 * a sleeping lane: after the lock is gone the request may be done and the room closed by somebody
 * else, so nothing may be touched then.
 */
#include "io.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* Scattered small pages take a segment of the device's request each, of which it has so many. */
#define SMALL_PAGES_BLOCK ((uint64_t)256 << 10)

enum { PHASE_DONE = 0, PHASE_QUEUED, PHASE_FLYING, PHASE_ENDED };

_Static_assert(WF_IO_READ == 0 && WF_IO_WRITE == 1 && WF_IO_SYNC == 2, "used as indices");

void wf_io_say(const struct wf_io *io, int level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (io->log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	io->log(io->log_arg, level, text);
}

/* ---- Lists ---------------------------------------------------------------------------------- */

static void append(struct wf_io_list *list, struct wf_io_request *request)
{
	WF_CHECK((list->first == NULL) == (list->last == NULL));
	request->next = NULL;
	request->prev = list->last;
	if (list->last != NULL)
		list->last->next = request;
	else
		list->first = request;
	list->last = request;
}

static void take_out(struct wf_io_list *list, struct wf_io_request *request)
{
	if (request->prev != NULL)
		request->prev->next = request->next;
	else
		list->first = request->next;
	if (request->next != NULL)
		request->next->prev = request->prev;
	else
		list->last = request->prev;
	WF_CHECK((list->first == NULL) == (list->last == NULL));
}

/* ---- Blocks --------------------------------------------------------------------------------- */

static uint64_t whole(const struct wf_io_request *request)
{
	return request->op == WF_IO_SYNC ? 1 : request->size;
}

unsigned int wf_io_pieces(const struct wf_io_block *block, struct iovec pieces[2])
{
	const struct wf_io_request *request = block->request;
	uint64_t front = request->size - request->tail_size, end = block->at + block->attempt;
	unsigned int count = block->at < front && end > front ? 2 : 1;

	WF_CHECK(end <= request->size);
	pieces[0].iov_base = wf_io_address(request, block->at);
	pieces[0].iov_len = count == 2 ? front - block->at : block->attempt;
	if (count == 2)
		pieces[1] = (struct iovec){ request->tail, end - front };
	return count;
}

int64_t wf_io_perform(const struct wf_io_block *block)
{
	const struct wf_io_request *request = block->request;
	off_t offset = (off_t)(request->offset + block->at);
	struct iovec pieces[2];
	ssize_t result = -1;

	WF_CHECK(block->attempt > 0 && block->attempt <= block->size);
	switch (request->op) {
	case WF_IO_READ:
		result = preadv(request->fd, pieces, (int)wf_io_pieces(block, pieces), offset);
		break;
	case WF_IO_WRITE:
		result = pwritev(request->fd, pieces, (int)wf_io_pieces(block, pieces), offset);
		break;
	case WF_IO_SYNC:
		result = fdatasync(request->fd);
		break;
	}
	return result >= 0 ? result : -errno;
}

/* Nothing was moved and it may be tried again. False: it has been tried often enough. */
static bool again(struct wf_io *io, struct wf_io_block *block, int error)
{
	if (block->retries == WF_IO_RETRIES_MAX) {
		block->status = error;
		return false;
	}
	block->retries++;
	/* relaxed: a statistic. */
	wf_add_relaxed(&io->counters.retries, 1);
	return true;
}

/*
 * An O_DIRECT transfer goes on at a whole sector. A read that gives a part of one has met the end
 * of the file, or was only short: another attempt from the sector's start decides.
 */
static bool part_of_a_sector(struct wf_io *io, struct wf_io_block *block, uint64_t part,
                             bool progress)
{
	bool seen = block->request->op == WF_IO_READ && !progress && block->tail == part;

	WF_CHECK(part > 0 && part < WF_IO_SECTOR);
	block->tail = block->request->op == WF_IO_READ ? (uint32_t)part : 0;
	if (seen) {
		block->status = 0;
		return false;
	}
	return progress || again(io, block, -EIO);
}

/*
 * Account for what the attempt gave. True: the block goes on. False: it ends; with size > 0 it
 * stopped at `at` + `tail`, because of `status`.
 */
static bool advance(struct wf_io *io, struct wf_io_block *block, int64_t result)
{
	uint64_t got, part = 0;

	if (result == -EINTR || result == -EAGAIN)
		return again(io, block, (int)result);
	if (result < 0) {
		block->status = (int)result;
		return false;
	}
	WF_CHECK(block->attempt > 0 && block->attempt <= block->size);
	WF_CHECK((uint64_t)result <= block->attempt);
	if (result == 0) {
		block->tail = 0;
		block->status = 0;
		/* A write that moves nothing and says nothing is not the end of anything. */
		return block->request->op != WF_IO_READ && again(io, block, -EIO);
	}
	got = (uint64_t)result;
	if (got < block->size) {
		/* relaxed: a statistic. */
		wf_add_relaxed(&io->counters.short_results, 1);
		if (block->request->direct)
			part = got % WF_IO_SECTOR;
	}
	got -= part;
	block->at += got;
	block->size -= got;
	if (got > 0)
		block->retries = 0;
	if (part != 0)
		return part_of_a_sector(io, block, part, got > 0);
	block->tail = 0;
	return block->size > 0;
}

/* Called with the lock: the request has nothing in flight and nothing to be cut any more. */
static void count_ended(struct wf_io *io, const struct wf_io_request *request)
{
	struct wf_io_counters *counters = &io->counters;

	if (request->op > WF_IO_SYNC)
		return;
	/* relaxed, all: statistics. */
	wf_add_relaxed(&counters->ended[request->op], 1);
	if (request->op != WF_IO_SYNC)
		wf_add_relaxed(&counters->bytes[request->op], request->moved);
	if (request->status < 0)
		wf_add_relaxed(&counters->failures, 1);
}

/* The lane is done with the block; perhaps with the request too. */
static void end_block(struct wf_io *io, struct wf_io_block *block)
{
	struct wf_io_request *request = block->request;
	uint64_t stop = block->at + block->tail;
	bool is_done;

	block->request = NULL;
	pthread_mutex_lock(&io->lock);
	WF_CHECK(request->flying > 0);
	WF_CHECK(request->phase == PHASE_QUEUED || request->phase == PHASE_FLYING);
	request->flying--;
	if (request->shares_lane) {
		WF_CHECK(block->lane->shared > 0);
		block->lane->shared--;
	}
	if (block->size > 0 && stop < request->moved) {
		request->moved = stop;
		request->status = block->status;
		if (request->phase == PHASE_QUEUED) {
			take_out(&io->queue, request);
			request->phase = PHASE_FLYING;
		}
	}
	is_done = request->flying == 0 && request->phase == PHASE_FLYING;
	if (is_done) {
		WF_CHECK(request->moved <= whole(request));
		if (request->op == WF_IO_SYNC)
			request->moved = 0;
		request->phase = PHASE_DONE;
		count_ended(io, request);
	}
	pthread_mutex_unlock(&io->lock);
	if (is_done)
		request->done(request);
}

/* Get the block's next attempt ready. False: it ended without one that is to be performed. */
static bool make_attempt(struct wf_io *io, struct wf_io_block *block)
{
	int64_t result;

	do {
		WF_CHECK(block->size > 0);
		block->attempt = block->size;
		if (!wf_io_fault_before(block, &result))
			return true;
	} while (advance(io, block, result));
	end_block(io, block);
	return false;
}

bool wf_io_result(struct wf_io *io, struct wf_io_block *block, int64_t result)
{
	WF_CHECK(block->request != NULL);
	if (block->request->op == WF_IO_SYNC && result == 0)
		result = 1;
	result = wf_io_fault_after(block, result);
	if (advance(io, block, result))
		return make_attempt(io, block);
	end_block(io, block);
	return false;
}

/* ---- Queue ---------------------------------------------------------------------------------- */

/* Called with the lock: the lane that gets the requests that share one, or NULL: any. */
static struct wf_io_lane *shared_lane(const struct wf_io *io)
{
	WF_DEBUG(io->lane_count <= WF_IO_LANES_MAX);
	for (uint32_t i = 0; i < io->lane_count && io->backend->poke != NULL; i++) {
		if (io->lanes[i]->shared > 0 && !io->lanes[i]->broken)
			return io->lanes[i];
	}
	return NULL;
}

/* Called with the lock: the lane sleeps in its back end, and is to look at the queue again. */
static void poke(struct wf_io *io, struct wf_io_lane *lane)
{
	WF_CHECK(lane->state == WF_IO_LANE_WAITING && io->backend->poke != NULL);
	lane->state = WF_IO_LANE_AWAKE;
	io->backend->poke(lane);
}

/*
 * Called with the lock: there is something to do. With `shares` it is for the lane that has others
 * in flight that share one. That looks at the queue again before it sleeps when it is awake, be it
 * after something of what it has in flight has ended.
 */
static void wake_one(struct wf_io *io, bool shares)
{
	struct wf_io_lane *shared = shares ? shared_lane(io) : NULL;

	if (shared != NULL) {
		WF_CHECK(shared->state != WF_IO_LANE_PARKED);
		if (shared->state == WF_IO_LANE_WAITING)
			poke(io, shared);
		return;
	}
	for (uint32_t i = 0; i < io->lane_count; i++) {
		struct wf_io_lane *lane = io->lanes[i];

		if (lane->state == WF_IO_LANE_PARKED) {
			lane->state = WF_IO_LANE_AWAKE;
			pthread_cond_signal(&lane->wake);
			return;
		}
		if (lane->state == WF_IO_LANE_WAITING) {
			poke(io, lane);
			return;
		}
	}
}

/* Called with the lock: cut the next block from the first request. */
static void cut(struct wf_io_lane *lane, struct wf_io_block *block)
{
	struct wf_io *io = lane->io;
	struct wf_io_request *request = io->queue.first;
	uint64_t size = whole(request) - request->issued;

	WF_CHECK(request->phase == PHASE_QUEUED && size > 0);
	WF_CHECK(lane->state == WF_IO_LANE_AWAKE);
	WF_CHECK(request->moved == whole(request));
	/* The tail goes with what is before it. */
	if (request->op != WF_IO_SYNC && size > io->block_bytes[request->op] + request->tail_size)
		size = io->block_bytes[request->op];
	*block = (struct wf_io_block){ .request = request, .lane = lane, .size = size };
	block->at = request->issued;
	lane->shared += request->shares_lane;
	request->issued += size;
	request->flying++;
	take_out(&io->queue, request);
	if (request->issued < whole(request))
		append(&io->queue, request);
	else
		request->phase = PHASE_FLYING;
}

/* Called with the lock, which is given up meanwhile. */
static void finish_ended(struct wf_io *io)
{
	struct wf_io_request *request = io->ended.first;

	io->ended = (struct wf_io_list){ NULL, NULL };
	for (struct wf_io_request *r = request; r != NULL; r = r->next) {
		WF_CHECK(r->phase == PHASE_ENDED && r->flying == 0);
		r->phase = PHASE_DONE;
		if (r->status != -ECANCELED)
			count_ended(io, r);
	}
	pthread_mutex_unlock(&io->lock);
	while (request != NULL) {
		struct wf_io_request *next = request->next;

		request->done(request);
		request = next;
	}
	pthread_mutex_lock(&io->lock);
}

enum wf_io_taken wf_io_take(struct wf_io_lane *lane, bool busy, struct wf_io_block *block)
{
	struct wf_io *io = lane->io;

	pthread_mutex_lock(&io->lock);
	WF_CHECK(lane->state != WF_IO_LANE_STARTING && lane->state != WF_IO_LANE_PARKED);
	lane->state = WF_IO_LANE_AWAKE;
	for (;;) {
		if (io->ended.first != NULL) {
			finish_ended(io);
		} else if (io->queue.first != NULL) {
			cut(lane, block);
			if (io->queue.first != NULL)
				wake_one(io, io->queue.first->shares_lane);
			pthread_mutex_unlock(&io->lock);
			if (make_attempt(io, block))
				return WF_IO_TAKEN;
			pthread_mutex_lock(&io->lock);
		} else if (busy) {
			WF_CHECK(io->backend->poke != NULL);
			lane->state = WF_IO_LANE_WAITING;
			pthread_mutex_unlock(&io->lock);
			return WF_IO_EMPTY;
		} else if (io->stopping) {
			pthread_mutex_unlock(&io->lock);
			return WF_IO_OVER;
		} else {
			lane->state = WF_IO_LANE_PARKED;
			while (lane->state == WF_IO_LANE_PARKED)
				pthread_cond_wait(&lane->wake, &io->lock);
		}
	}
}

/* ---- Requests ------------------------------------------------------------------------------- */

/* 0, or why it is not even tried. */
static int refusal(const struct wf_io_request *request)
{
	uint64_t units = (uintptr_t)request->data | request->offset | request->size;
	uint64_t end;

	if (request->op == WF_IO_SYNC)
		return 0;
	if (request->op != WF_IO_READ && request->op != WF_IO_WRITE)
		return -EINVAL;
	if (__builtin_add_overflow(request->offset, request->size, &end) || end > INT64_MAX ||
	    request->tail_size > request->size)
		return -EINVAL;
	/* Some file systems take any alignment and others do not: no difference between them. */
	if (request->tail_size != 0)
		units |= (uintptr_t)request->tail | request->tail_size;
	if (request->direct && units % WF_IO_SECTOR != 0)
		return -EINVAL;
	return 0;
}

void wf_io_small_pages(struct wf_io *io, bool small)
{
	uint64_t bytes = io->read_bytes_max;

	WF_CHECK(bytes >= WF_IO_SECTOR);
	if (small && bytes > SMALL_PAGES_BLOCK)
		bytes = SMALL_PAGES_BLOCK;
	pthread_mutex_lock(&io->lock);
	io->block_bytes[WF_IO_READ] = bytes;
	pthread_mutex_unlock(&io->lock);
}

void wf_io_submit(struct wf_io *io, struct wf_io_request *request)
{
	int status = refusal(request);

	WF_CHECK(request->done != NULL);
	WF_CHECK(io->lane_count > 0);
	pthread_mutex_lock(&io->lock);
	request->status = status;
	request->moved = status == 0 ? whole(request) : 0;
	request->issued = 0;
	request->flying = 0;
	if (request->moved > 0) {
		request->phase = PHASE_QUEUED;
		append(&io->queue, request);
	} else {
		request->phase = PHASE_ENDED;
		append(&io->ended, request);
	}
	wake_one(io, request->phase == PHASE_QUEUED && request->shares_lane);
	pthread_mutex_unlock(&io->lock);
}

bool wf_io_cancel(struct wf_io *io, struct wf_io_request *request)
{
	bool is_taken_back;

	pthread_mutex_lock(&io->lock);
	WF_CHECK(request->phase <= PHASE_ENDED); /* else it was never submitted */
	is_taken_back = request->phase == PHASE_QUEUED && request->issued == 0;
	if (is_taken_back) {
		WF_CHECK(request->flying == 0);
		take_out(&io->queue, request);
		request->phase = PHASE_ENDED;
		request->status = -ECANCELED;
		request->moved = 0;
		append(&io->ended, request);
		wake_one(io, false);
	}
	pthread_mutex_unlock(&io->lock);
	return is_taken_back;
}

struct waiter {
	struct wf_a32 is_done;
};

static void wake_waiter(struct wf_io_request *request)
{
	struct waiter *waiter = request->arg;

	/* release [I1]: the results, to the acquire [I2] in wf_io_run(), which may return now. */
	wf_store_release(&waiter->is_done, 1);
	/* The address alone is used: at worst somebody else is woken, who looks again. */
	wf_futex_wake(&waiter->is_done, 1);
}

int wf_io_run(struct wf_io *io, struct wf_io_request *request)
{
	struct waiter waiter;
	void *arg = request->arg;
	void (*done)(struct wf_io_request *) = request->done;

	wf_init(&waiter.is_done, 0);
	request->arg = &waiter;
	request->done = wake_waiter;
	wf_io_submit(io, request);
	/* acquire [I2]: with the release [I1]. */
	while (wf_load_acquire(&waiter.is_done) == 0)
		wf_futex_wait(&waiter.is_done, 0, WF_FOREVER);
	request->arg = arg;
	request->done = done;
	return request->status;
}

void wf_io_stats(const struct wf_io *io, struct wf_io_stats *stats)
{
	const struct wf_io_counters *counters = &io->counters;

	/* relaxed, all: statistics. */
	stats->read_bytes = wf_load_relaxed(&counters->bytes[WF_IO_READ]);
	stats->written_bytes = wf_load_relaxed(&counters->bytes[WF_IO_WRITE]);
	stats->reads = wf_load_relaxed(&counters->ended[WF_IO_READ]);
	stats->writes = wf_load_relaxed(&counters->ended[WF_IO_WRITE]);
	stats->syncs = wf_load_relaxed(&counters->ended[WF_IO_SYNC]);
	stats->short_results = wf_load_relaxed(&counters->short_results);
	stats->retries = wf_load_relaxed(&counters->retries);
	stats->failures = wf_load_relaxed(&counters->failures);
}
