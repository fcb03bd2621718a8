/*
 * weft.h: tasks, references and work stealing on one machine, in one process.
 *
 * A program opens a runtime, submits C functions, gets references to their results, passes
 * references on as inputs, and blocks in weft_get() anywhere without losing a CPU.
 *
 *	weft *rt;
 *	weft_open(&rt, NULL);
 *	weft_spawn(rt, body, &arg, sizeof arg, &ref);     any thread, any task
 *	weft_take(rt, ref, &value, sizeof value);         get a copy, then release
 *	weft_close(rt, WEFT_FOREVER);
 *
 * Words with a fixed meaning in this file:
 *
 *   owned      the caller must release it         borrowed   valid until the named event
 *   copied     the library keeps its own copy     consumed   moved into the library on success
 *   counted    shared; retain to keep it
 *
 * "Context" says who may call: any thread (a host thread of the program, or a task), in a task
 * (only inside a running body), outside tasks. "May suspend" means that a task calling it may be
 * parked and later go on, possibly on another worker thread; a host thread that calls it blocks.
 *
 * What does not travel with a task when it suspends: errno, thread-local variables, held
 * mutexes, floating-point modes, the signal mask. Do not carry them across a call marked
 * "may suspend", or submit the task with WEFT_TASK_STAY. The library itself never runs an
 * unrelated task on top of a suspended one, so a lock held across weft_get() cannot be met again
 * by a foreign body on the same stack.
 *
 * Status: 0 or more is success; otherwise a negated errno or one of enum weft_status. Results
 * are written through the last parameters, and only on success. A task's own failure is data on
 * its reference (weft_ref_error()), never thread-local state. The library prints nothing.
 *
 * Times are absolute nanoseconds on the runtime's clock (CLOCK_MONOTONIC unless a virtual clock
 * was chosen). Sizes are bytes. The header is strict C11 and C++17.
 */
#ifndef WEFT_H
#define WEFT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_API          __attribute__((visibility("default")))
#define WEFT_NODISC       __attribute__((warn_unused_result))
#define WEFT_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* ---- Handles ---------------------------------------------------------------------------- */

typedef struct weft weft;           /* a runtime; opaque */
typedef struct weft_task weft_task; /* the running task; opaque, borrowed until the body returns */
typedef struct weft_cq weft_cq;     /* a completion queue; opaque */
typedef struct weft_cuda weft_cuda; /* opened devices, see weft_cuda.h; opaque */

/*
 * A reference to a result that exists now or later. A 64-bit value that carries a generation:
 * using it after its last release, or with another runtime, is detected and answered -EINVAL.
 * Counted: weft_submit() and friends hand out one count; weft_retain() adds one,
 * weft_release() drops one. bits == 0 is "none".
 */
typedef struct weft_ref {
	uint64_t bits;
} weft_ref;
typedef struct weft_actor {
	uint64_t bits;
} weft_actor; /* an actor, see weft_actor.h; counted and checked as a weft_ref is */
typedef struct weft_group {
	uint64_t bits;
} weft_group; /* see weft_group.h; checked as a weft_ref is; 0: none */

#define WEFT_NONE ((weft_ref){ 0 }) /* C only */

typedef int64_t weft_deadline; /* absolute ns on the runtime's clock */
#define WEFT_POLL    ((weft_deadline)0)
#define WEFT_FOREVER ((weft_deadline)INT64_MAX)

typedef int weft_task_fn(weft_task *self);

/* ---- Status ----------------------------------------------------------------------------- */

/* Error classes. Every failed reference has exactly one of them (or a plain -ECANCELED). */
#define WEFT_STATUS_LIST(X) \
	X(WEFT_ETASK, -5001, "the task's body failed") \
	X(WEFT_EDEP, -5002, "an input of the task failed, so it did not run") \
	X(WEFT_EDEADLINE, -5003, "the task's own deadline passed") \
	X(WEFT_ELOST, -5004, "the result is gone and cannot be rebuilt") \
	X(WEFT_ECORRUPT, -5005, "the stored bytes do not match their checksum") \
	X(WEFT_ESTOREFULL, -5006, "the object store is full") \
	X(WEFT_EOOM, -5007, "the task went past its memory limit") \
	X(WEFT_EACTOR, -5008, "the actor died before the call was done") \
	X(WEFT_ECALLS, -5009, "too many calls are pending at the actor") \
	X(WEFT_EDEVICE, -5010, "the device was lost") \
	X(WEFT_ECLOSED, -5011, "the runtime is closing or closed") \
	X(WEFT_EDEADLOCK, -5012, "waiting would never end: the tasks wait for each other") \
	X(WEFT_EATTEMPTS, -5013, "the key was begun too often without a good end") \
	X(WEFT_ECONFLICT, -5014, "the key belongs to another descriptor") \
	X(WEFT_ECRASH, -5015, "the state of the actor is damaged") \
	X(WEFT_AGAIN, -5016, "the body wants to be called again") \
	X(WEFT_EPLACEMENT, -5017, "the placement group was removed")

enum weft_status {
	WEFT_OK = 0,
#define WEFT_STATUS_ENUM(name, value, text) name = value,
	WEFT_STATUS_LIST(WEFT_STATUS_ENUM)
#undef WEFT_STATUS_ENUM
		WEFT_STATUS_LAST =
			-5999 /* bodies may use any negative code; below this is never weft's */
};

/*
 * The text of a status: one of the table above, or the errno's text.
 * Owned: borrowed for ever. Context: any thread. Suspends: never. Errors: none, unknown codes
 * give "unknown status".
 */
WEFT_API const char *weft_strerror(int status);

/* ---- Runtime ---------------------------------------------------------------------------- */

enum weft_log_level { WEFT_LOG_ERROR = 1, WEFT_LOG_WARN, WEFT_LOG_INFO, WEFT_LOG_DEBUG };

struct weft_log_record {
	int level;        /* enum weft_log_level */
	uint32_t runtime; /* weft_info.id */
	int32_t worker;   /* -1: not on a worker */
	uint32_t attempt; /* 0 outside tasks, else 1, 2, ... */
	const char *task; /* name of the current task, "" outside tasks */
	const char *text; /* one line without a newline */
};
/* Called from any thread of the runtime, also concurrently; must not call weft. */
typedef void weft_log_fn(void *arg, const struct weft_log_record *record);

enum weft_bind { WEFT_BIND_NODE = 0, WEFT_BIND_CORE, WEFT_BIND_NONE };

enum weft_open_flags {
	WEFT_OPEN_TIMING = 1u << 0,        /* keep submit, start and end times of every task */
	WEFT_OPEN_VIRTUAL_CLOCK = 1u << 1, /* time stands still but for weft_clock_advance() */
	WEFT_OPEN_NO_WORKERS = 1u << 2, /* no workers: only weft_run() and blocked gets run tasks */
	WEFT_OPEN_SEEDED = 1u << 3, /* every task has its weft_task_random(); submits cost more */
	WEFT_OPEN_DETERMINISTIC = 1u << 4, /* one thread, one seed, virtual time: see below */
};

#define WEFT_SPARE_NONE UINT32_MAX

/*
 * Options of a runtime. Zero everywhere is the sensible default:
 *
 *   field              default (0)                     word for "none"
 *   workers            one per CPU this process may    WEFT_OPEN_NO_WORKERS
 *                      use (affinity, cgroup quota)
 *   bind               WEFT_BIND_NODE                  WEFT_BIND_NONE
 *   stack_bytes        256 KiB reserved per stack      -
 *   stacks_max         131,072 stacks                  -
 *   tasks_max          16,777,216 tasks and refs       -
 *   spare_threads_max  256                             WEFT_SPARE_NONE
 *   seed               from the kernel                 -
 *   log, log_arg       silent                          NULL
 *   name               "weft"                          -
 *   ns                 "default"                       -
 *   store_bytes        a quarter of the memory that    -
 *                      this process may use
 *   spill_dirs         $TMPDIR, else /var/tmp          "" (nothing is spilled)
 *   spill_bytes        what the disks have, less a     -
 *                      reserve
 *   spill_high, _low   800, 700                        1000 (spill only when it is full)
 *   session_dir        no session                      NULL
 *   gpus               0, or those of `devices`        -
 *   memory             7/10 of the memory that this    -
 *                      process may use
 *   resources          none                            - (with n_resources)
 *   fault_rate         0: no injected faults           -
 *   devices            none: gpus are only counted     NULL
 *
 * WEFT_OPEN_DETERMINISTIC, to find and repeat a fault of a program: the same program with the same
 * `seed` (weft_info() tells it) runs its tasks in the same order every time. It implies NO_WORKERS,
 * VIRTUAL_CLOCK and SEEDED. One thread makes all calls; whenever it waits, tasks run, one at a
 * time, and which one of the ready ones is next is drawn (of the highest priority; who yields lets
 * another one run first). When none is ready the clock jumps to the next deadline: sleeps and time
 * limits pass at once, and bodies take no time. When there is no deadline either, nothing will ever
 * go on: the wait returns WEFT_EDEADLOCK (weft_group_run() also when only others could go on), and
 * weft_close() cancels what is left. Bodies with
 * WEFT_TASK_BLOCKING, and calls that wait for the disk, hold the thread; CPUs are not counted, a
 * second thread that waits gets -EAGAIN, and `workers` and `devices` are -EINVAL. Not part of the
 * order: when transfers of weft_read() and weft_write() end, and what a store does that spills.
 */
struct weft_options {
	size_t struct_size;         /* sizeof(struct weft_options) */
	uint32_t workers;           /* worker threads, at most 1024 */
	uint32_t flags;             /* enum weft_open_flags; unknown bits: -EINVAL */
	uint32_t bind;              /* enum weft_bind */
	uint32_t stacks_max;        /* stacks, running and blocked, at most 2^20 */
	size_t stack_bytes;         /* bytes of one stack, 16 KiB to 64 MiB, rounded up to pages */
	uint32_t tasks_max;         /* live tasks and refs, at most 2^28 */
	uint32_t spare_threads_max; /* OS threads that stand in for blocked ones */
	uint64_t seed;              /* of every random choice the runtime takes */
	weft_log_fn *log;
	void *log_arg;        /* borrowed until weft_close() returns */
	const char *name;     /* copied; at most 63 bytes */
	const char *ns;       /* namespace; copied; at most 63 bytes */
	uint64_t store_bytes; /* capacity of the object store, 1 MiB to 64 TiB */
	/* Directories for spill files, separated by colons, at most 16; copied. */
	const char *spill_dirs;
	uint64_t spill_bytes; /* of all spill files together, at least 4096 */
	/* Thousandths of store_bytes: spilling starts above the one and stops below the other. */
	uint32_t spill_high, spill_low;
	const char *session_dir; /* see weft_session.h; made when missing; copied */
	/* What tasks may ask for, see weft_options.h. The CPUs are the workers. */
	uint32_t gpus;                         /* at most WEFT_GPUS_MAX */
	uint32_t n_resources;                  /* at most WEFT_RESOURCES_MAX */
	uint64_t memory;                       /* bytes */
	const struct weft_resource *resources; /* copied */
	/* For tests of programs: this share of all attempts fails, see weft_fault_point(). */
	double fault_rate;        /* 0 to 1 */
	uint64_t fault_seed;      /* of the stream that decides; 0: from `seed` */
	const char *fault_points; /* names separated by commas, "start" the attempt's; NULL: all */
	/* Of weft_cuda_open(); borrowed until weft_close() returns; one runtime at a time. */
	weft_cuda *devices;
	uint64_t reserved[8]; /* zero */
};

/*
 * Open a runtime: find the CPUs, reserve stacks and slabs, start the workers.
 *
 * Owned:    `*out` is the caller's, who is its only owner; weft_close() it. Options are copied.
 * Context:  outside tasks of this or any runtime, or in one: any thread. Does not suspend.
 * Order:    everything written before is visible to every task.
 * Errors:   -EINVAL an option is unknown or out of range (the log names it), -ENOMEM,
 *           -EAGAIN a thread could not be started; of session_dir: -EBUSY another process has it,
 *           -EBADMSG its epoch cannot be read, -errno; -EBUSY another runtime has the devices.
 *           `*out` untouched, nothing is left behind.
 */
WEFT_API WEFT_NODISC int weft_open(weft **out, const struct weft_options *opts);

/*
 * Close a runtime. In order: (1) submits from outside are refused with WEFT_ECLOSED, those of
 * running tasks still accepted; (2) work drains until `drain_until`; (3) what is left is
 * cancelled and submits inside tasks are refused too; running bodies are waited for, they cannot
 * be killed; (4) timers, spare threads and workers end; (5) memory goes back. References,
 * completion queues and views of the runtime are dead afterwards.
 *
 * Owned:    `rt` is consumed unless an error is returned. NULL is accepted and does nothing.
 * Context:  outside tasks, the owner only (not after weft_retain_runtime()). Blocks.
 * Errors:   -EDEADLK called inside one of its own tasks, -EBUSY others hold the runtime
 *           (weft_retain_runtime()), -ECHILD called in a fork child. Returns 1 when tasks had
 *           to be cancelled, else 0.
 */
WEFT_API int weft_close(weft *rt, weft_deadline drain_until);

/*
 * Attach to / detach from a runtime that somebody else owns. Counted.
 * Context: any thread. Suspends: never. Errors: -EINVAL NULL, WEFT_ECLOSED it is closing.
 */
WEFT_API WEFT_NODISC int weft_retain_runtime(weft *rt);
WEFT_API void weft_release_runtime(weft *rt);

/*
 * The runtime of the running task, else the runtime most recently opened and still open, else
 * NULL. Owned: borrowed until its owner closes it. Context: any thread. Suspends: never.
 */
WEFT_API weft *weft_current(void);

struct weft_info {
	size_t struct_size; /* set by the caller */
	uint32_t id;        /* unique in this process */
	int32_t pid;
	uint32_t workers;    /* worker threads */
	uint32_t cpus;       /* CPUs this process may use */
	uint32_t nodes;      /* NUMA nodes in use */
	uint32_t membarrier; /* 1: the asymmetric fast paths are on */
	uint64_t seed;
	const char *name; /* borrowed until close */
	const char *ns;
	const char *topology;        /* "hwloc", "sysfs" or "synthetic" */
	const char *stack_guard;     /* "guard", "mprotect" or "canary" */
	const char *device;          /* name of the device back end, "none" */
	struct weft_options options; /* as copied, defaults filled in */
};
/* Read a runtime's facts. Context: any thread. Suspends: never. Errors: -EINVAL. */
WEFT_API int weft_info(const weft *rt, struct weft_info *info);

/* Whether two option structs open the same runtime once defaults are filled in: 1 or 0, -EINVAL. */
WEFT_API int weft_options_equal(const struct weft_options *a, const struct weft_options *b);

/*
 * End a runtime's work: everything not yet finished ends as cancelled, later submits are refused
 * with WEFT_ECLOSED. Only weft_close() is left to do.
 * Context: any thread and any signal handler (async-signal-safe). Suspends: never.
 */
WEFT_API void weft_interrupt(weft *rt);

/* Now, on the runtime's clock; `rt` may be NULL for CLOCK_MONOTONIC. Never suspends. */
WEFT_API weft_deadline weft_now(const weft *rt);
/* Move a virtual clock forward and fire what is due. -EINVAL: not virtual, or backwards. */
WEFT_API int weft_clock_advance(weft *rt, int64_t ns);

static inline weft_deadline weft_after_ms(const weft *rt, int64_t ms)
{
	return weft_now(rt) + ms * 1000000;
}

/*
 * Run tasks of `rt` on the calling host thread until `ref` is ready (or, with a zero ref, until
 * nothing is left to run) or `until` passes. Makes a runtime without workers progress. Bodies run
 * on pooled stacks, not on the caller's.
 * Context: outside tasks. Blocks. Errors: -ETIMEDOUT, -EINVAL, -EDEADLK in a task, -EAGAIN no
 * worker slot or stack is left.
 */
WEFT_API int weft_run(weft *rt, weft_ref ref, weft_deadline until);

/* ---- Submitting ------------------------------------------------------------------------- */

/* Options of a task, resources, retries: struct weft_task_options. */
#include "weft_options.h"

/* What changes at every call: 48 bytes, and the actor of a call. Zero fields are fine. */
struct weft_call {
	weft_task_fn *fn;       /* required */
	const void *arg;        /* copied before the submit returns */
	const weft_ref *inputs; /* n_inputs value edges, then n_after control edges; the array is
	                           * borrowed for the call, the refs are retained until the task ends */
	const struct weft_task_options *opts; /* borrowed until the task ends; NULL: defaults */
	const char *site;                     /* set by WEFT_TASK(): "name\0file:line" */
	uint32_t arg_size; /* at most WEFT_ARG_MAX: more is -EMSGSIZE, put an object instead */
	uint16_t n_inputs;
	uint16_t n_after;
	weft_actor actor; /* zero: a task of its own; see weft_actor.h */
};

/* Declared here for weft_submit() below. Any thread, never suspends; -EINVAL: weft_actor.h. */
WEFT_API WEFT_NODISC int weft_actor_call(weft *rt, weft_actor actor, weft_task_fn *fn,
                                         const void *arg, size_t arg_size, weft_ref *out);

/*
 * Submit `fn` with a copied argument and default options: the short form of weft_submit().
 *
 * Owned:    `*out` is the caller's; release it. `out` NULL: fire and forget. `arg` is copied.
 * Context:  any thread, any task. Does not suspend.
 * Order:    what the caller wrote before is visible to the body.
 * Errors:   -EINVAL, -EMSGSIZE, -ENOMEM tasks_max is reached or memory is out, WEFT_ECLOSED,
 *           -ECHILD in a fork child. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_spawn(weft *rt, weft_task_fn *fn, const void *arg, size_t arg_size,
                                    weft_ref *out);

/* The general form behind weft_submit(). */
WEFT_API WEFT_NODISC int weft_submit_call(weft *rt, const struct weft_call *call, weft_ref *out);

/*
 * Submit a task. It becomes ready when all its inputs are; its body then finds their values by
 * weft_input().
 *
 * Owned:    out[0 .. n_outputs) are the caller's; release them. `out` NULL: fire and forget.
 *           The argument is copied, the inputs are retained until the task has ended.
 * Context:  any thread, any task. Does not suspend, but with options.key, see weft_session.h.
 * Order:    what the caller wrote before is visible to the body; what a producer wrote is
 *           visible to every consumer of its refs.
 * Errors:   as weft_spawn(); -EINVAL also for a stale or foreign input, an unknown option;
 *           -ENOTSUP an option that this version reserves. `out` untouched.
 */
static inline WEFT_NODISC int weft_submit(weft *rt, const struct weft_call *call, weft_ref *out)
{
	if (!call || call->opts || call->site || call->inputs || call->n_inputs || call->n_after)
		return weft_submit_call(rt, call, out);
	if (call->actor.bits)
		return weft_actor_call(rt, call->actor, call->fn, call->arg, call->arg_size, out);
	return weft_spawn(rt, call->fn, call->arg, call->arg_size, out);
}

/*
 * Submit `n` calls with one output (or none) each. out[i] belongs to calls[i]; `out` NULL: fire
 * and forget. Returns how many were submitted: on an error the first `k` were, and are in out[],
 * and the error is returned only when k is 0.
 * Context, order, errors: as weft_submit().
 */
WEFT_API WEFT_NODISC int weft_submit_many(weft *rt, const struct weft_call *calls, uint32_t n,
                                          weft_ref *out);

/* ---- Inside a task ---------------------------------------------------------------------- */

struct weft_view {
	const void *data;
	size_t size;
};

/* All of these: context in a task, with its own `self`; suspend never; unless said otherwise. */

WEFT_API weft *weft_task_runtime(const weft_task *self);
/*
 * The argument: borrowed until the body returns, 16-byte aligned. Bodies may scribble on it.
 * `size` may be NULL.
 */
WEFT_API void *weft_task_arg(weft_task *self, size_t *size);
/* The task's own output 0, borrowed: weft_retain() it to keep it. Zero when nobody holds it. */
WEFT_API weft_ref weft_task_ref(const weft_task *self);
WEFT_API const char *weft_task_name(const weft_task *self); /* borrowed until the body returns */
WEFT_API uint32_t weft_task_attempt(const weft_task *self); /* 1, 2, ... */
WEFT_API int32_t weft_task_worker(const weft_task *self);   /* index; -1 on a spare thread */
/* Whether someone asked this task to stop. Long bodies poll it and return -ECANCELED. */
WEFT_API bool weft_task_cancelled(const weft_task *self);

WEFT_API uint32_t weft_input_count(const weft_task *self); /* value edges */
/*
 * Value of input `i`, borrowed until the body returns. Returns 0; with WEFT_INPUT_AS_VALUE what
 * weft_get() of a failed input would return; -EINVAL i is out of range; -EREMOTE of a value that
 * was born on a device, in a task that has one: weft_cuda_input().
 */
WEFT_API int weft_input(const weft_task *self, uint32_t i, struct weft_view *view);
/* The reference of input `i`, borrowed until the body returns. Zero when out of range. */
WEFT_API weft_ref weft_input_ref(const weft_task *self, uint32_t i);

/*
 * Room for output `i` in its final place, 16-byte aligned (64 from 17 bytes up), uninitialised;
 * the body writes there and the bytes are the result once it returns 0 or more. Calling it again
 * replaces the room. An output never asked for is an empty value.
 * From 449 bytes up the room is in the object store, and the call may suspend: a task that finds
 * the store full waits until others' results have been spilled or released.
 * Errors: -EINVAL i is out of range, -ENOMEM, WEFT_ESTOREFULL nothing can make room (a body that
 * returns this code fails with the store's explanation), -EINTR the task was cancelled.
 * `*data` untouched.
 */
WEFT_API WEFT_NODISC int weft_task_output(weft_task *self, uint32_t i, size_t size, void **data);
/*
 * Output `i` is a list of references: its value is an array of weft_ref, and the result keeps
 * them alive as long as it lives. `refs` is copied, the refs are retained. As weft_task_output()
 * otherwise; -EINVAL also for a bad ref.
 */
WEFT_API WEFT_NODISC int weft_task_output_refs(weft_task *self, uint32_t i, const weft_ref *refs,
                                               uint32_t n);
/*
 * Copy `size` bytes as output 0; returns 0, so that a body can end in `return weft_return(...)`.
 * May suspend, as weft_task_output().
 */
WEFT_API int weft_return(weft_task *self, const void *data, size_t size);
/*
 * Fail: record a code (negative; anything else becomes -EIO), a formatted text of up to 1023
 * bytes and, with weft_fail_with(), a payload of up to 64 KiB that is copied. Returns the code,
 * so that a body ends in `return weft_fail(...)`. Getters see WEFT_ETASK and find the rest by
 * weft_ref_error(). A body that returns a negative code without it fails with an empty text;
 * -ECANCELED or -EINTR from a task that was cancelled ends it as cancelled. A body that returns 0
 * or more after all has succeeded. A larger payload is left out.
 */
WEFT_API int weft_fail(weft_task *self, int code, const char *format, ...) WEFT_PRINTF(3, 4);
WEFT_API int weft_fail_with(weft_task *self, int code, const void *payload, size_t size,
                            const char *format, ...) WEFT_PRINTF(5, 6);
/* Log a line with this task's name, attempt and worker. `self` may not be NULL. */
WEFT_API void weft_log(weft_task *self, int level, const char *format, ...) WEFT_PRINTF(3, 4);

/*
 * Let other work run first: the task goes to the far end of the queue. May suspend.
 * Context: in a task (elsewhere: sched_yield). Errors: -ECANCELED the task was cancelled.
 */
WEFT_API int weft_yield(weft *rt);
/*
 * Sleep until `until`. May suspend; a host thread blocks.
 * Errors: -ECANCELED the task was cancelled or the runtime interrupted, -EINVAL, -ENOMEM.
 */
WEFT_API int weft_sleep_until(weft *rt, weft_deadline until);

enum weft_block_mode {
	WEFT_BLOCK_RELEASE = 0, /* give the CPU slot to a spare thread meanwhile */
	WEFT_BLOCK_HOLD         /* keep the slot: the call is known to be short */
};
/*
 * Bracket a part of a body that may block its OS thread (system calls, foreign locks). After
 * RELEASE the body goes on at once when the part ends, beside the workers, and its later waits
 * block its thread until it returns. Does not suspend.
 * Errors: -EAGAIN spare_threads_max is reached (nothing changed), -EINVAL not in a task.
 */
WEFT_API WEFT_NODISC int weft_block_enter(weft *rt, int mode);
WEFT_API void weft_block_exit(weft *rt);

/* ---- References ------------------------------------------------------------------------- */

/*
 * Wait for a result and look at it in place.
 *
 * Owned:    view->data is borrowed until weft_view_end() or until the caller's count of `ref` is
 *           released, whichever comes first. Read-only: values in the store (449 bytes and
 *           more) lie in a mapping in which a write faults.
 * Context:  any thread, any task. May suspend unless the result is there or `until` is WEFT_POLL.
 *           An own task that has not started is run in place.
 * Order:    everything the producer did before it returned is visible.
 * Errors:   -ETIMEDOUT not ready by `until` (WEFT_POLL included), WEFT_ETASK the body failed
 *           (weft_ref_error() has the rest), -ECANCELED the producer was cancelled, or any other
 *           class of the table; -EINVAL a zero, stale or foreign ref, or a NULL view;
 *           -EINTR the *calling* task was cancelled or interrupted (its own
 *           weft_task_cancelled() is true); WEFT_EDEADLOCK a task gets its own result, or
 *           tasks wait for each other, in a ring or for resources that they hold, and no
 *           time-out or deadline of theirs will end it; -EAGAIN no stack is left; WEFT_ECORRUPT
 *           or WEFT_ELOST the value was spilled and cannot be read back; WEFT_ESTOREFULL it was
 *           spilled and nothing can make room for it. `*view` untouched.
 */
WEFT_API WEFT_NODISC int weft_get(weft *rt, weft_ref ref, weft_deadline until,
                                  struct weft_view *view);
/*
 * As weft_get(), copying at most `size` bytes to `dst`. Returns the value's size; when that is
 * more than `size`, -EMSGSIZE and nothing is copied. Waits for ever.
 */
WEFT_API WEFT_NODISC int64_t weft_get_copy(weft *rt, weft_ref ref, void *dst, size_t size);
/* weft_get_copy() and weft_release() in one, whatever the outcome. Consumes `ref`. */
WEFT_API WEFT_NODISC int64_t weft_take(weft *rt, weft_ref ref, void *dst, size_t size);
/*
 * As weft_get() for `n` refs; duplicates are fine. Fails as soon as one of them is known to have
 * failed, with the first failure in list order among those known; `views` is then untouched and,
 * when `failed` is not NULL, `*failed` is its index. -ETIMEDOUT when one is not ready by `until`.
 */
WEFT_API WEFT_NODISC int weft_get_many(weft *rt, const weft_ref *refs, uint32_t n,
                                       weft_deadline until, struct weft_view *views,
                                       uint32_t *failed);
/*
 * Wait until `want` of the `n` refs are ready, or `until` passes. ready[i] is set for exactly the
 * returned number of refs, never more than `want`; further ready ones are reported as not ready.
 * A failed ref is ready. n == 0 returns 0 at once. Leaves nothing behind on the refs.
 * Context: any thread. May suspend. Errors: -EINVAL want is 0 or more than n, a bad ref, a
 * duplicate; -EINTR as weft_get(). `ready` untouched on error.
 */
WEFT_API WEFT_NODISC int weft_wait(weft *rt, const weft_ref *refs, uint32_t n, uint32_t want,
                                   weft_deadline until, bool *ready);
/* As weft_wait(), but marks and counts all that are ready, at least `want` unless `until` passed. */
WEFT_API WEFT_NODISC int weft_wait_all_ready(weft *rt, const weft_ref *refs, uint32_t n,
                                             uint32_t want, weft_deadline until, bool *ready);
/* 1 ready (also when failed), 0 pending, -EINVAL. Any thread, never suspends. */
WEFT_API int weft_peek(weft *rt, weft_ref ref);

/* Add / drop a count. Any thread, never suspend. -EINVAL a zero, stale or foreign ref. */
WEFT_API int weft_retain(weft *rt, weft_ref ref);
WEFT_API int weft_release(weft *rt, weft_ref ref);
/* In bulk; zero refs are skipped. The first error, after doing all the others. */
WEFT_API int weft_retain_many(weft *rt, const weft_ref *refs, uint32_t n);
WEFT_API int weft_release_many(weft *rt, const weft_ref *refs, uint32_t n);

enum weft_cancel_flags {
	WEFT_CANCEL_ALONE = 1u << 0,   /* not what the task has submitted */
	WEFT_CANCEL_FORCE = 1u << 1,   /* -ENOTSUP: a body in this process cannot be killed */
	WEFT_CANCEL_ABANDON = 1u << 2, /* and do not wait for its body, see below */
};
/*
 * Ask a task to stop, and what it has submitted, and what that has. Not started: it never runs
 * and its refs end as -ECANCELED. Blocked or sleeping: the call it sits in returns -EINTR or
 * -ECANCELED. Running: weft_task_cancelled() turns true and its next call that may suspend returns
 * -EINTR; a body that returns a value all the same has that value. A body on a thread of its own
 * (WEFT_TASK_BLOCKING, or after weft_block_enter()) is woken out of a system call, which returns
 * EINTR: by SIGURG, now and again until it has returned; for that the signal gets a handler unless
 * the program has one. Ended, or asked before: nothing happens. No attempt follows. Dependents
 * fail, inputs are not touched.
 *
 * Children: tasks and actor calls that the body has submitted by now and that have not ended, and
 * theirs, whether or not anybody holds their refs; those that are queued end when a worker comes to
 * them. What a child that has ended has left running goes on, and so do actors, also those whose
 * init is still to come, and what the body submits from now on.
 * Context: any thread. Suspends: never. Errors: -EINVAL (also for an event or a put value).
 */
WEFT_API int weft_cancel(weft *rt, weft_ref ref);
/*
 * The same with flags. With WEFT_CANCEL_ABANDON a task that was submitted with WEFT_TASK_ABANDON
 * and whose body runs ends at once, as -ECANCELED. The body goes on, its results are dropped; its
 * thread is named in the log, counted in weft_stats.abandoned and does not count for
 * spare_threads_max. What the body uses stays: its argument, its inputs, resources it was granted,
 * and the runtime, whose weft_close() waits for it.
 * Errors: as weft_cancel(); -EINVAL unknown flags; -ENOTSUP WEFT_CANCEL_FORCE, nothing is done;
 * -EBUSY it could not be abandoned, because no spare thread was left and it runs on a worker, or
 * because it was submitted without WEFT_TASK_ABANDON: it was asked to stop.
 */
WEFT_API int weft_cancel_with(weft *rt, weft_ref ref, uint32_t flags);

/*
 * A value, copied now, ready at once. `*out` owned. May suspend when it goes to the store (449
 * bytes and more) and the store is full. -EINVAL, -ENOMEM, WEFT_ECLOSED, WEFT_ESTOREFULL, -EINTR.
 */
WEFT_API WEFT_NODISC int weft_put(weft *rt, const void *data, size_t size, weft_ref *out);
/*
 * One ref out of many: ready, with an empty value, when all `n` are; failed with WEFT_EDEP as
 * soon as one is known to have failed (with WEFT_INPUT_IGNORE: never). `*out` owned, the inputs
 * are retained until then. Any thread, never suspends. -EINVAL, -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_join(weft *rt, const weft_ref *refs, uint32_t n, int on_input_error,
                                   weft_ref *out);

/*
 * A ref that is completed by hand, once, by any thread (foreign I/O, devices, bindings).
 * `*out` owned. Whoever completes it needs a count of it. Setting copies the bytes.
 * weft_event_fail(): a code of enum weft_status, or -ECANCELED, is the status that getters see; any
 * other negative code gives WEFT_ETASK, with the code in weft_ref_error().
 * Errors: -EINVAL not an event, a bad ref, a code that is not negative; -EALREADY somebody else
 * completes it (a get that polls right then may still find it pending); -ENOMEM; -EAGAIN the value
 * goes to the store, which has no room right now (the event is still pending). Never suspend.
 */
WEFT_API WEFT_NODISC int weft_event_create(weft *rt, weft_ref *out);
WEFT_API int weft_event_set(weft *rt, weft_ref event, const void *data, size_t size);
WEFT_API int weft_event_fail(weft *rt, weft_ref event, int code, const char *text);

struct weft_error {
	int status; /* what weft_get() returns */
	int code;   /* the body's own code; equal to status where there was no body */
	uint32_t attempt;
	const char *text;    /* never NULL */
	const char *task;    /* name of the task that failed */
	const char *site;    /* "file:line" of its submit, "" when not captured */
	const void *payload; /* of weft_fail_with(); NULL when none */
	size_t payload_size;
	const struct weft_error *cause; /* of WEFT_EDEP: the input's error; NULL at the end */
};
/*
 * Why a ref failed. `*error` and all it points to: borrowed until the caller's count is released.
 * Any thread, never suspends. Errors: -EINVAL, -EAGAIN not ready, -ENODATA it did not fail.
 *
 * A failure that nobody was told of when its last ref goes is logged once, as an error of its task.
 * Told is who gets it by weft_get() and its kin, by this function, weft_ref_info(), a completion
 * queue or weft_on_done(), and a task that has it as an input. A cancel is not such a failure.
 */
WEFT_API int weft_ref_error(weft *rt, weft_ref ref, const struct weft_error **error);

enum weft_ref_state {
	WEFT_REF_WAITING = 0, /* for its inputs; a call of an actor also for its next attempt */
	WEFT_REF_QUEUED,
	WEFT_REF_RUNNING,
	WEFT_REF_BLOCKED,
	WEFT_REF_READY,
	WEFT_REF_FAILED,
	WEFT_REF_CANCELLED,
};
struct weft_ref_info {
	size_t struct_size; /* set by the caller */
	int state;          /* enum weft_ref_state */
	int status;         /* 0, or what weft_get() would return; -EAGAIN while pending */
	uint32_t attempt;
	int32_t worker;                      /* that ran it, -1 not yet or none */
	uint64_t size;                       /* of the value, 0 while pending */
	int64_t submit_ns, start_ns, end_ns; /* with WEFT_OPEN_TIMING, else 0 */
};
/* A snapshot. Any thread, never suspends. -EINVAL. */
WEFT_API int weft_ref_info(weft *rt, weft_ref ref, struct weft_ref_info *info);

/* ---- Completion queues ------------------------------------------------------------------ */

/*
 * A completion queue tells a foreign event loop, a host thread or a task which of many refs have
 * become ready: register each once, take ready ones in completion order, O(1) each.
 */
struct weft_cq_item {
	uint64_t tag; /* given at weft_cq_add() */
	weft_ref ref; /* borrowed: the caller's own count keeps it */
	int status;   /* 0, or what weft_get() returns; the value is not fetched */
};
/* `*out` owned; weft_cq_destroy() it. Any thread, never suspends. -EINVAL, -ENOMEM. */
WEFT_API WEFT_NODISC int weft_cq_create(weft *rt, weft_cq **out);
/* NULL is accepted. Pending registrations are undone; nobody may be inside the queue. */
WEFT_API void weft_cq_destroy(weft_cq *cq);
/*
 * Register `ref`: an item appears once it is ready (at once if it is already). The queue retains
 * the ref until its item is taken or it is removed. The same ref may be added again.
 * Any thread, never suspends. -EINVAL, -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_cq_add(weft_cq *cq, weft_ref ref, uint64_t tag);
/*
 * Undo a registration by ref and tag. 1: it will not appear. 0: it has completed, its item is in
 * the queue. -ENOENT: no such registration, or its item was taken. -EINVAL. Any thread, never
 * suspends.
 */
WEFT_API int weft_cq_remove(weft_cq *cq, weft_ref ref, uint64_t tag);
/* Take up to `n` items without waiting: how many. Any thread, never suspends. */
WEFT_API int weft_cq_drain(weft_cq *cq, struct weft_cq_item *items, uint32_t n);
/*
 * Take up to `n`, waiting until at least one is there or `until` passes (then 0). May suspend.
 * -ENOENT nothing is registered and nothing is queued; -EINTR as weft_get(). One waiter at a time
 * (-EBUSY).
 */
WEFT_API WEFT_NODISC int weft_cq_wait(weft_cq *cq, struct weft_cq_item *items, uint32_t n,
                                      weft_deadline until);
/*
 * An eventfd that is readable while items may be there: poll it, then weft_cq_drain() until it
 * returns 0 (draining resets it). Borrowed until destroy. Negated errno when none can be made.
 */
WEFT_API int weft_cq_fd(weft_cq *cq);
/*
 * Call fn(arg, ref, status) once when `ref` is ready, on a worker, promptly if it is already. The
 * ref is retained until then. Any thread, never suspends. -EINVAL, -ENOMEM, WEFT_ECLOSED.
 */
typedef void weft_done_fn(void *arg, weft_ref ref, int status);
WEFT_API WEFT_NODISC int weft_on_done(weft *rt, weft_ref ref, weft_done_fn *fn, void *arg);

/* ---- Loops and strict fork/join --------------------------------------------------------- */

typedef void weft_for_fn(int64_t begin, int64_t end, void *arg);
/*
 * Run fn over [begin, end) in disjoint pieces, in parallel, and return when all is done. `grain`
 * is the least piece; 0 lets pieces grow to about 50 us of work. `arg` is borrowed for the call.
 * Context: any thread. May suspend. Errors: -EINVAL, -ECANCELED the calling task was cancelled
 * (pieces not begun are skipped), -ENOMEM, WEFT_ECLOSED.
 */
WEFT_API WEFT_NODISC int weft_for(weft *rt, int64_t begin, int64_t end, int64_t grain,
                                  weft_for_fn *fn, void *arg);

/* Fold a piece into *acc, and fold *from into *into. Both deterministic functions of their input. */
typedef void weft_reduce_fn(int64_t begin, int64_t end, void *arg, void *acc);
typedef void weft_combine_fn(void *into, const void *from, void *arg);
/*
 * Reduce over [begin, end): acc starts as a copy of `zero` (acc_size bytes, at most 4096) in each
 * piece; partial results are combined in index order, so an associative combine is enough.
 * `*result` is written on success. As weft_for() otherwise; -EMSGSIZE acc_size is too large.
 */
WEFT_API WEFT_NODISC int weft_reduce(weft *rt, int64_t begin, int64_t end, int64_t grain,
                                     weft_reduce_fn *fn, weft_combine_fn *combine, void *arg,
                                     const void *zero, size_t acc_size, void *result);

/*
 * Strict fork/join for code that needs no reference: the child lives on the caller's stack and
 * must be joined, last forked first, before the caller returns.
 *
 *	struct weft_fork f;
 *	weft_fork(self, &f, child, &child_arg);
 *	mine = work();
 *	weft_fork_join(self, &f);          child has run; child_arg holds what it wrote
 *
 * Context: in a task. weft_fork() never suspends; weft_fork_join() may. They cannot fail: when the
 * queue cannot grow the child runs at the join.
 */
typedef void weft_fork_fn(weft_task *self, void *arg);
struct weft_fork {
	weft_fork_fn *fn;
	void *arg;
	uint64_t private_[2];
};
WEFT_API void weft_fork(weft_task *self, struct weft_fork *fork, weft_fork_fn *fn, void *arg);
WEFT_API void weft_fork_join(weft_task *self, struct weft_fork *fork);

/* ---- Observation ------------------------------------------------------------------------ */

struct weft_stats {
	size_t struct_size; /* set by the caller */
	uint64_t submitted; /* tasks */
	uint64_t completed, failed,
		cancelled; /* how they ended: with a value, an error, cancelled */
	uint64_t inlined;  /* run in place by a get */
	uint64_t stolen, steals, exposed, forced;
	uint64_t suspended; /* parked in a call that suspends */
	uint64_t parked, woken;
	uint64_t stacks_live, stacks_max_live, spare_threads;
	uint64_t tasks_live; /* cells in use: tasks, values, events */
	uint64_t skipped;    /* of the completed: by WEFT_TASK_SKIP_EMPTY */
	uint64_t retried;    /* further attempts */
	uint64_t faults;     /* injected */
	uint64_t abandoned;  /* bodies, see WEFT_CANCEL_ABANDON */
	uint64_t order; /* of WEFT_OPEN_DETERMINISTIC: equal in runs that went alike; else 0 */
};
/* Sums over all threads; exact when nothing runs. Any thread, never suspends. -EINVAL. */
WEFT_API int weft_stats(weft *rt, struct weft_stats *stats);

/* One line per fact: workers, queues, blocked tasks and what they wait for. */
typedef void weft_dump_fn(void *arg, const char *line);
WEFT_API int weft_dump(weft *rt, weft_dump_fn *fn, void *arg);

/* ---- Call-site sugar: C only; C++ fills the structs by hand ------------------------------ */

#ifndef __cplusplus
#define WEFT_STRINGIFY_(x) #x
#define WEFT_STRINGIFY(x)  WEFT_STRINGIFY_(x)
/* A struct weft_call that knows its function's name and the place of the submit. */
#define WEFT_TASK(function, ...) \
	(&(const struct weft_call){ .fn = (function), \
	                            .site = #function "\0" __FILE__ ":" WEFT_STRINGIFY(__LINE__), \
	                            __VA_ARGS__ })
#define WEFT_ARG(...) .arg = &(__VA_ARGS__), .arg_size = sizeof(__VA_ARGS__)
#define WEFT_INPUTS(...) \
	.inputs = (const weft_ref[]){ __VA_ARGS__ }, \
	.n_inputs = sizeof((const weft_ref[]){ __VA_ARGS__ }) / sizeof(weft_ref)
#define WEFT_AFTER(...) \
	.inputs = (const weft_ref[]){ __VA_ARGS__ }, \
	.n_after = sizeof((const weft_ref[]){ __VA_ARGS__ }) / sizeof(weft_ref)
#define WEFT_TASK_OPTIONS(...) \
	(&(const struct weft_task_options){ .struct_size = sizeof(struct weft_task_options), \
	                                    __VA_ARGS__ })
#define WEFT_OPTIONS(...) \
	(&(const struct weft_options){ .struct_size = sizeof(struct weft_options), __VA_ARGS__ })
#endif

#ifdef __cplusplus
}
#endif

/* Actors, resources, sessions, objects, generators: of this header, in files of their own. */
#include "weft_actor.h"
#include "weft_actor_utils.h"
#include "weft_group.h"
#include "weft_placement.h"
#include "weft_resources.h"
#include "weft_session.h"
#include "weft_store.h"
#include "weft_stream.h"

#endif /* WEFT_H */
