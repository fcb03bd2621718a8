/*
 * wf_io.h: reads and writes of files that nobody waits for on a thread, behind one table of
 * functions: io_uring, or a pool of threads with pread and pwrite. And the few calls on files
 * around them, each with a fault point.
 */
#ifndef WF_IO_H
#define WF_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base.h"

/*
 * SYNC is fdatasync: of what was done before it was submitted, and in no order with what is in
 * flight then. Its size and offset are ignored.
 */
enum wf_io_op { WF_IO_READ = 0, WF_IO_WRITE, WF_IO_SYNC };

struct wf_io;

/*
 * One transfer of any size. The room cuts it into blocks, keeps several in flight, goes on after
 * short results, and retries EINTR and EAGAIN a bounded number of times. All of `size` is
 * transferred, or `status` says why not: a read that meets the end of the file stops there with
 * status 0 and `moved` < size. Requests are served in turns, block by block.
 * The request is the caller's and must stay until `done` is called, exactly once, on a thread of
 * the room (never from inside wf_io_submit()); it may be freed there. `done` must not block for
 * long, and may submit.
 */
struct wf_io_request {
	enum wf_io_op op;
	int fd;
	bool direct; /* fd was opened with O_DIRECT: buffers, sizes, offset in units of 512 */
	/*
	 * A hint: while an io_uring thread has some such in flight it gets these too, for a caller
	 * that has work for the other processors meanwhile.
	 */
	bool shares_lane;
	void *data;  /* read into, or written from */
	/* The last `tail_size` bytes of `size` are at `tail` instead; 0: all are at `data`. */
	void *tail;
	uint64_t tail_size;
	uint64_t size;
	uint64_t offset;
	void (*done)(struct wf_io_request *request);
	void *arg;
	/* Results. */
	int status;     /* 0 or a negated errno */
	uint64_t moved; /* bytes transferred from the start without a gap */
	/* The room's own; submit sets them. */
	struct wf_io_request *next, *prev;
	uint64_t issued;
	uint32_t flying, phase;
};

struct wf_io_options {
	const char *backend;   /* "uring", "threads", NULL: what works, WEFT_IO first */
	const char *probe_dir; /* where a real write and read is tried; NULL: a memory file */
	uint32_t depth;        /* blocks in flight per io_uring thread, at most 63; 0: 4 */
	uint32_t threads;      /* at most 64; 0: 2 */
	uint64_t block_bytes;  /* 0: 2 MiB for io_uring, 4 MiB for the pool */
	void (*log)(void *arg, int level, const char *text);
	void *log_arg;
};

/*
 * Open: probe and start. One log line says which back end runs, and why.
 * Errors: -ENOTSUP a forced back end does not work here (the log says why), -ENOMEM, -EAGAIN no
 * thread; nothing is left behind.
 */
int wf_io_open(struct wf_io **out, const struct wf_io_options *options);
/* Waits for what is in flight. NULL is accepted. */
void wf_io_close(struct wf_io *io);
/*
 * Whether the memory that is read into is in 4 KiB pages: then reads go in blocks of 256 KiB. False
 * at open; the memory may become one or the other. Any thread; for blocks that begin from then on.
 */
void wf_io_small_pages(struct wf_io *io, bool small);
/* Cannot fail: what cannot be started comes back through `done` with a status. Any thread. */
void wf_io_submit(struct wf_io *io, struct wf_io_request *request);
/*
 * Submit and block this thread until it is done: request->status. `done` and `arg` are ignored.
 * Not from a `done`: it would wait for its own thread.
 */
int wf_io_run(struct wf_io *io, struct wf_io_request *request);
/*
 * Take a request back that has not begun. True: done is called with -ECANCELED (soon, on a thread
 * of the room). False: it runs to its end. The memory of a request that was submitted once must
 * still be there: the caller keeps `done` from freeing it meanwhile.
 */
bool wf_io_cancel(struct wf_io *io, struct wf_io_request *request);
const char *wf_io_backend(const struct wf_io *io); /* "uring" or "threads" */

struct wf_io_stats {
	uint64_t read_bytes, written_bytes;
	uint64_t reads, writes, syncs, failures; /* requests that ended; not those taken back */
	uint64_t short_results, retries;         /* of single calls */
};
void wf_io_stats(const struct wf_io *io, struct wf_io_stats *stats);

/* ---- Calls on files, synchronous, each with a fault point ---------------------------------- */

/* As the system calls, but a negated errno is returned; EINTR is retried. */
int wf_file_open(const char *path, int flags, mode_t mode); /* O_CLOEXEC is added */
int wf_file_openat(int dir, const char *path, int flags, mode_t mode);
int wf_file_close(int fd); /* -1 is accepted */
/*
 * Reserve, and grow the file as needed. What a failure leaves beyond the old end is given back, so
 * nobody else may grow the file meanwhile.
 */
int wf_file_fallocate(int fd, uint64_t offset, uint64_t size);
int wf_file_truncate(int fd, uint64_t size);
int wf_file_punch(int fd, uint64_t offset, uint64_t size);
int wf_file_fdatasync(int fd);
int wf_file_fsync_dir(const char *path);
int wf_file_rename(const char *from, const char *to);
int wf_file_unlink(const char *path);
/*
 * Everything of a small file, in memory of wf_malloc(), with a zero byte behind it that `size`
 * does not count. -EFBIG: it has more than `max` bytes.
 */
int wf_file_read_all(const char *path, size_t max, char **data, size_t *size);

/* ---- Faults --------------------------------------------------------------------------------- */

/*
 * For tests: what goes wrong, and when. Counts every transfer block (its retries and continuations
 * too) and every call on a file, of the kinds in `kinds`, over all back ends; from the `nth` on
 * (1 ..), `count` of them suffer. An effect that means nothing for a call leaves it as it is, and
 * counts as fired.
 * A program sets it before it opens anything. Costs one relaxed load when nothing is armed.
 */
enum wf_io_fault_kind {
	WF_IO_FAULT_READ = 1,
	WF_IO_FAULT_WRITE = 2,
	WF_IO_FAULT_SYNC = 4,
	WF_IO_FAULT_OPEN = 8,
	WF_IO_FAULT_FALLOCATE = 16,
	WF_IO_FAULT_RENAME = 32,
	WF_IO_FAULT_UNLINK = 64,
	WF_IO_FAULT_CALLS = 128, /* truncate, punch, fsync of a directory, close */
};
enum wf_io_fault_effect {
	WF_IO_EFFECT_ERROR = 0, /* fails with `error` */
	WF_IO_EFFECT_SHORT,     /* transfers half (in units of 512, at least one) */
	WF_IO_EFFECT_FLIP,      /* succeeds, with one bit of the data wrong */
	WF_IO_EFFECT_LIE,       /* says that it succeeded and does nothing; not open, close */
	WF_IO_EFFECT_KILL,      /* SIGKILL to this process: before it is done */
};
struct wf_io_fault {
	uint32_t kinds;
	enum wf_io_fault_effect effect;
	int error; /* positive errno */
	uint64_t nth, count;
};
void wf_io_fault_arm(const struct wf_io_fault *fault); /* NULL disarms */
uint64_t wf_io_fault_seen(void);  /* of the armed kinds since the last arm; kept when disarmed */
uint64_t wf_io_fault_fired(void); /* how many suffered */

#endif /* WF_IO_H */
