/*
 * io.h: the inside of file I/O: the queue of requests, the blocks they are cut into, the lanes
 * that perform them, and the table of functions behind which a back end stands.
 *
 * A lane is one I/O thread. It takes blocks from the queue, performs them by whatever its back end
 * has, and reports what each attempt gave; everything else (cutting, going on after short results,
 * retries, faults, the end of a request) is in io.c and the same for all.
 */
#ifndef WF_STORE_IO_H
#define WF_STORE_IO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base.h"
#include "wf_io.h"

#define WF_IO_LANES_MAX   64u
#define WF_IO_RING_DEPTH  64u
#define WF_IO_RETRIES_MAX 64u /* in a row, without a byte of progress */
#define WF_IO_SECTOR      512u
#define WF_IO_BLOCK_MAX   ((uint64_t)1 << 30) /* the kernel moves no more than 2 GiB a call */
#define WF_IO_REASON_SIZE 160u

/* As the numbers of enum weft_log_level. */
enum { WF_IO_LOG_ERROR = 1, WF_IO_LOG_WARN, WF_IO_LOG_INFO };

/* What an armed fault decided for one attempt, or for one call on a file. */
enum wf_io_fate {
	WF_IO_FATE_NONE = 0,
	WF_IO_FATE_ERROR,
	WF_IO_FATE_SHORT,
	WF_IO_FATE_FLIP,
	WF_IO_FATE_LIE,
};

/*
 * A piece of a request in the hands of one lane. What is still to be done is [at, at + size). A
 * sync is one block of size 1, and moves 1 when it succeeds.
 */
struct wf_io_block {
	struct wf_io_request *request;
	struct wf_io_lane *lane;
	uint64_t at; /* from the start of the request */
	uint64_t size;
	uint64_t attempt; /* bytes of this attempt: size, or less under a fault */
	uint32_t retries; /* in a row */
	uint32_t tail;    /* bytes beyond `at` that an O_DIRECT read found at the end of the file */
	int status;       /* why it ends with size > 0; 0: the end of the file */
	enum wf_io_fate fate;
};

enum wf_io_lane_state {
	WF_IO_LANE_STARTING = 0,
	WF_IO_LANE_AWAKE,   /* will look at the queue again before it sleeps; or has ended */
	WF_IO_LANE_PARKED,  /* sleeps on its condition variable: nothing in flight */
	WF_IO_LANE_WAITING, /* has blocks in flight and room for more: poke() it */
};

struct wf_io_lane {
	struct wf_io *io;
	struct wf_thread thread;
	pthread_cond_t wake;
	/* Under the lock of io. */
	enum wf_io_lane_state state;
	uint32_t shared; /* blocks that it has of requests that share a lane */
	int error;   /* of init() */
	bool broken; /* what init() made stopped working: it goes on by plain calls */
};

/* The table of functions of a back end. */
struct wf_io_backend {
	const char *name;
	uint32_t lane_count;
	uint64_t block_bytes;
	size_t lane_bytes; /* the back end's own structure, a struct wf_io_lane first */
	/*
	 * Make and undo what the lane needs, on its thread; may be NULL. -ENOTSUP: it does not
	 * work on this machine, io->reason says why. On failure nothing is left.
	 */
	int (*init)(struct wf_io_lane *lane);
	void (*fini)(struct wf_io_lane *lane);
	/* Perform blocks until wf_io_take() says that it is over. */
	void (*run)(struct wf_io_lane *lane);
	/* Make a WAITING lane look at the queue. Called with the lock. NULL: it never waits. */
	void (*poke)(struct wf_io_lane *lane);
};

extern const struct wf_io_backend wf_io_threads;
extern const struct wf_io_backend wf_io_uring;

struct wf_io_list {
	struct wf_io_request *first, *last;
};

struct wf_io_counters {
	struct wf_a64 bytes[2]; /* by enum wf_io_op */
	struct wf_a64 ended[3];
	struct wf_a64 short_results, retries, failures;
};

struct wf_io {
	/* Written at open only. */
	const struct wf_io_backend *backend;
	uint64_t read_bytes_max; /* of a read's block, when pages are large */
	uint32_t depth;
	void (*log)(void *arg, int level, const char *text);
	void *log_arg;
	char reason[WF_IO_REASON_SIZE]; /* why the back end does not work */
	/* Under the lock. */
	WF_ALIGNED(WF_CACHE_LINE) pthread_mutex_t lock;
	uint64_t block_bytes[2]; /* by enum wf_io_op: read, write */
	struct wf_io_list queue; /* have blocks to be taken */
	struct wf_io_list ended; /* cancelled or refused: done is still to be called */
	bool stopping, probing;
	uint32_t lane_count;
	struct wf_io_lane *lanes[WF_IO_LANES_MAX];
	/* Statistics. */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_io_counters counters;
};

/* ---- The queue, for back ends (io.c) ------------------------------------------------------- */

enum wf_io_taken {
	WF_IO_TAKEN = 0, /* `block` has an attempt to be performed */
	WF_IO_EMPTY,     /* the lane is marked WAITING: sleep where poke() reaches it */
	WF_IO_OVER,      /* the room closes and nothing is left: return from run() */
};
/*
 * The next block for this lane. With `busy` (it has blocks in flight) it never sleeps and never
 * says OVER; without, it sleeps while there is nothing to do and never says EMPTY. Calls `done`
 * of requests.
 */
enum wf_io_taken wf_io_take(struct wf_io_lane *lane, bool busy, struct wf_io_block *block);
/*
 * What the attempt gave: bytes or a negated errno, as the system calls. True: the block goes on,
 * perform the attempt that it has now. False: the block is done with (so may be its request).
 */
bool wf_io_result(struct wf_io *io, struct wf_io_block *block, int64_t result);
/* Perform the block's attempt on this thread, by the plain system calls. */
int64_t wf_io_perform(const struct wf_io_block *block);
/* Where the block's attempt goes from or to: one piece, or two. Returns how many. */
unsigned int wf_io_pieces(const struct wf_io_block *block, struct iovec pieces[2]);
/* Where byte `at` of the request is. */
static inline char *wf_io_address(const struct wf_io_request *request, uint64_t at)
{
	uint64_t front = request->size - request->tail_size;

	return at < front ? (char *)request->data + at : (char *)request->tail + (at - front);
}

void wf_io_say(const struct wf_io *io, int level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- Faults (io_fault.c) -------------------------------------------------------------------- */

extern struct wf_a32 wf_io_fault_word;
enum wf_io_fate wf_io_fault_draw(enum wf_io_fault_kind kind, int *error);
/* The fate of one point of this kind; `*error` is set with ERROR (negated). */
static inline enum wf_io_fate wf_io_fault(enum wf_io_fault_kind kind, int *error)
{
	/* relaxed: tests arm before they start what they test. */
	if (WF_LIKELY(wf_load_relaxed(&wf_io_fault_word) == 0))
		return WF_IO_FATE_NONE;
	return wf_io_fault_draw(kind, error);
}
/* Around an attempt. True: do not perform it, *result is its result. */
bool wf_io_fault_before(struct wf_io_block *block, int64_t *result);
int64_t wf_io_fault_after(struct wf_io_block *block, int64_t result);

#endif /* WF_STORE_IO_H */
