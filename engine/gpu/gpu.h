/*
 * gpu.h: a runtime's devices: streams, marks of work that is not done yet, and the attempts of
 * tasks that put it there.
 *
 * An attempt of a task with a GPU runs its body with the device's context current, marks the end
 * of what the body has submitted by an event in its stream, and sleeps as any blocked task does
 * until somebody has found the event passed. So what ends a task, what retries it and what cancels
 * it know nothing of devices.
 */
#ifndef WF_GPU_H
#define WF_GPU_H

#include "devices.h"
#include "runtime.h"

#define WF_GPU_STREAMS_MAX 32u
#define WF_GPU_BUCKETS     256u
#define WF_GPU_TEXT_BYTES  256
#define WF_GPU_SLOTS       4u /* of a staging ring */

/* Streams that belong to no attempt, behind the others in wf_gpu.stream. */
enum wf_gpu_line {
	WF_GPU_LINE_UP = 0, /* values to the device */
	WF_GPU_LINE_DOWN,   /* and from it */
	WF_GPU_LINE_FREE,   /* where copies of values are freed that nobody uses any more */
	WF_GPU_LINES,
};

/* The end of one attempt's work in one stream; on its runner's stack, or beside it. */
struct wf_gpu_mark {
	struct wf_gpu_mark *next; /* in its stream, or among those that have passed */
	struct wf_device_event *event;
	struct wf_wait_node node; /* fired when it has passed; its wait NULL: `passed` is */
	struct wf_a32 passed;     /* a futex, of threads that cannot suspend */
	/* Not NULL: called instead when it has passed, without any lock; the mark may go there. */
	void (*done)(struct wf_gpu_mark *mark, struct wf_local *self);
	uint64_t serial; /* of the device's marks */
	bool covered;    /* another mark behind it tells the host enough */
	int rc;          /* how the work ended; before it is fired */
};

/* A piece of memory that the attempt has taken. */
struct wf_gpu_piece {
	struct wf_gpu_piece *next;
	uint64_t address, bytes;
	uint32_t input; /* plus one: of which it has the value; 0: none */
};

#include "objects.h"

/* One granted device of an attempt. */
struct wf_gpu_part {
	uint32_t device, stream;
	struct wf_device_stream *queue;
	struct wf_gpu_mark mark;
	uint64_t budget, used, held; /* held: bytes of values, used: of pieces */
	struct wf_gpu_piece *pieces;
	struct wf_gpu_use *uses; /* values */
	bool aside;              /* of no attempt: not counted as one */
};

/* An attempt at its devices, on its runner's stack. */
struct wf_gpu_run {
	struct wf_gpus *gpus;
	struct weft_task *frame;
	struct wf_gpu_run *hash_next; /* published: see ahead.c */
	uint32_t n, used;             /* parts; the one that calls mean */
	bool inside;                  /* the thread has the device's context current */
	bool published;
	int code; /* of the body */
	struct wf_gpu_recording *recording; /* NULL: what calls give is done */
	struct wf_gpu_part *part, one;
};

/* Of a task that began ahead and waits for its inputs; on its runner's stack. */
struct wf_gpu_end {
	struct wf_wait_node node; /* as of a mark */
	struct wf_a32 passed;
};

struct wf_gpu_stream {
	struct wf_device_stream *queue; /* NULL: not made yet */
	struct wf_gpu_mark *first, *last;
	uint32_t depth; /* marks */
	uint32_t users; /* attempts */
};

struct wf_gpu_kernel {
	struct wf_gpu_kernel *next;
	const struct weft_cuda_kernel *key;
	struct wf_device_kernel *kernel;
};

/*
 * A device of a runtime.
 *
 * Shared: `pending`, written under the mutex, read by whoever may poll; `lost`, set once, after
 * `failure`; everything else under the mutex. Calls of the back end that name one of its streams or
 * events are made under it, but for those of a running body on its own stream.
 */
struct wf_gpu {
	struct wf_gpus *gpus;
	uint32_t index;
	uint32_t node; /* of the runtime, near; WF_NODE_NONE: not known */
	struct wf_device_info info;
	pthread_mutex_t mutex;
	struct wf_a32 pending; /* marks that were not found passed */
	struct wf_a32 lost;
	struct wf_gpu_stream stream[WF_GPU_STREAMS_MAX + WF_GPU_LINES]; /* lines: the last ones */
	uint32_t stream_count;                                          /* without lines */
	struct wf_device_stream *bell;  /* doorbells, each behind one event of another stream */
	struct wf_device_event **spare; /* events that nobody uses */
	uint32_t spare_count, spare_room;
	struct wf_gpu_kernel *kernels;
	uint64_t serial;
	int64_t moved_ns; /* when something passed last, or the first mark came */
	uint32_t running;
	uint64_t attempts, takeovers, chained;
	/* Values, all under gpus->objects_mutex. */
	struct wf_gpu_copy *oldest, *newest; /* by when they were last let go */
	struct wf_gpu_copy *gone;            /* whose memory nobody uses, and is to be freed */
	struct wf_a32 gone_count;            /* read without the mutex, as a hint */
	uint64_t resident, uploads, downloads, dropped, evicted, peers, frees;
	uint64_t no_peers; /* devices whose bytes it cannot be given without the host */
	struct wf_gpu_ring ring[2]; /* up, down */
	char failure[WF_GPU_TEXT_BYTES];
};

struct wf_gpus {
	weft *rt;
	weft_cuda *cuda;
	const struct wf_device_ops *ops;
	struct wf_device_backend *backend;
	uint32_t count;
	struct wf_a32 watcher; /* index + 1 of the worker that sleeps with a time-out */
	/* What was submitted and is not done, by cell; see ahead.c. */
	pthread_mutex_t ahead_mutex;
	struct wf_gpu_run *bucket[WF_GPU_BUCKETS];
	/* Values with copies on devices; see objects.c. */
	pthread_mutex_t objects_mutex;
	struct wf_gpu_value *values;                 /* all */
	struct wf_gpu_value *object[WF_GPU_BUCKETS]; /* those of the store, by object */
	struct wf_gpu_pinned *pinned; /* of weft_cuda_host_alloc(), last used first */
	struct wf_gpu_pins *pins;     /* of the store's memory; NULL: not wanted */
	struct wf_gpu gpu[];
};

/* ---- devices.c ------------------------------------------------------------------------------ */

/* Take the options' devices: 0, -EBUSY, -ENOMEM. Sets options.gpus. */
int wf_gpus_open(weft *rt);

/* No doorbell wakes a worker from now on, and none is about to. Before the workers go. */
void wf_gpus_quiet(weft *rt);

/* After it, and after the workers' last account. */
void wf_gpus_close(weft *rt);
const char *wf_gpus_name(const weft *rt);
/* The node that the first of these devices whose place is known is near; WF_NODE_NONE: of none. */
uint32_t wf_gpu_node(const weft *rt, uint64_t devices);
/* Bytes that grants share out; 0: GPUs are only counted. */
uint64_t wf_gpu_memory(const weft *rt, uint32_t device);
static inline bool wf_gpu_is_lost(const struct wf_gpu *gpu)
{
	/* acquire [G3]: why. */
	return wf_load_acquire(&gpu->lost);
}

/* ---- marks.c: what is under way ------------------------------------------------------------- */

/* A stream with few users, or number `stream`, and an event: 0 or an error. */
int wf_gpu_part_take(struct wf_gpu *gpu, struct wf_gpu_part *part, uint32_t stream);
void wf_gpu_part_give(struct wf_gpu *gpu, struct wf_gpu_part *part);
/* The number of one of the streams beside those of attempts, made when need be. 0 or an error. */
int wf_gpu_line(struct wf_gpu *gpu, enum wf_gpu_line line, uint32_t *stream);
int wf_gpu_line_locked(struct wf_gpu *gpu, enum wf_gpu_line line, uint32_t *stream);
int wf_gpu_event_take(struct wf_gpu *gpu, struct wf_device_event **out);
void wf_gpu_event_give(struct wf_gpu *gpu, struct wf_device_event *event); /* NULL accepted */
/* Mark the end of what is in the stream now. The mark's `node.wait`, or `done`, is set. */
void wf_gpu_mark(struct wf_gpu *gpu, uint32_t stream, struct wf_gpu_mark *mark);
/*
 * Sleep until all parts' work is done; the outcome of the first that failed. `run`: the parts are
 * the attempt's own, and who comes after it may begin; NULL: any others.
 */
int wf_gpu_await(weft *rt, struct wf_gpu_run *run, struct wf_gpu_part *part,
                 uint32_t n) WF_SUSPENDS;
/*
 * Until all that is in a stream now is done. No device is current on this thread. With an event of
 * the caller's, which nobody else uses, it is done afterwards, whatever comes back, or the device
 * is lost; NULL: one is taken, which may fail.
 */
int wf_gpu_settle(struct wf_gpu *gpu, uint32_t stream, struct wf_device_event *event) WF_SUSPENDS;

/* ---- poll.c --------------------------------------------------------------------------------- */

/* Look what has passed: how many marks. */
uint32_t wf_gpu_poll(struct wf_local *self);
/* The same, but not so soon after the last look of this worker. */
void wf_gpu_poll_slow(struct wf_worker *worker, uint32_t us);
bool wf_gpus_pending(const weft *rt);
static inline void wf_gpu_poll_every(struct wf_worker *worker, uint32_t us)
{
	if (WF_UNLIKELY(worker->local.rt->gpus != NULL))
		wf_gpu_poll_slow(worker, us);
}
/*
 * A worker is about to sleep: true, something has passed. Else doorbells are armed, and of several
 * sleepers one has its time limited, because doorbells do not ring after an error.
 */
bool wf_gpu_before_sleep(struct wf_worker *worker, int64_t *interval, int64_t *until);
void wf_gpu_after_sleep(struct wf_worker *worker);
/*
 * What the back end has answered: 0, the caller's to handle, or, when the device is lost,
 * everything that this means is done and WEFT_EDEVICE comes back. Without the mutex.
 */
int wf_gpu_status(struct wf_gpu *gpu, int rc);
/* It failed for good, and why; under the mutex. The next poll lets all marks pass with that. */
void wf_gpu_lose(struct wf_gpu *gpu, const char *why);

/* ---- host.c --------------------------------------------------------------------------------- */

/* Whether it lies in what weft_cuda_host_alloc() has given. */
bool wf_gpu_is_pinned(struct wf_gpus *gpus, const void *at, uint64_t bytes);
/* What was not given back goes with the back end: only our notes of it. */
void wf_gpu_pinned_close(struct wf_gpus *gpus);

/* ---- attempt.c ------------------------------------------------------------------------------ */

/* The part that calls mean; NULL: the task has none, or it is not its body that asks. */
struct wf_gpu_part *wf_gpu_part_of(weft_task *self, struct wf_gpu_run **run);
/* wf_gpu_settle() for a running body. */
int wf_gpu_run_settle(struct wf_gpu_run *run, struct wf_gpu *gpu, uint32_t stream,
                      struct wf_device_event *event) WF_SUSPENDS;
/* Memory of the grant until the end of the attempt. 0 or an error. */
int wf_gpu_piece(struct wf_gpu_run *run, struct wf_gpu_part *part, uint64_t bytes,
                 struct wf_gpu_piece **out) WF_SUSPENDS;
static inline uint64_t wf_gpu_budget_left(const struct wf_gpu_part *part)
{
	WF_DEBUG(part->used + part->held <= part->budget);
	return part->budget - part->used - part->held;
}
/* Run the body of a task that holds GPUs, to the end of what it gives to them. */
int wf_gpu_attempt(struct weft_task *frame) WF_SUSPENDS;
bool wf_gpu_wanted(const struct weft_task *frame);
/* The current task is about to leave this thread for a while, and is back, maybe on another. */
struct wf_ext *wf_gpu_leave(struct weft_task *frame);
void wf_gpu_back(const struct weft_task *frame);
/* Why a request was refused. */
struct wf_error *wf_gpu_refusal(weft *rt, const struct wf_cell *cell);
/* Whether what is granted is of no use any more. */
bool wf_gpu_grant_lost(const weft *rt, const struct wf_request *request);

/* ---- launch.c, record.c ---------------------------------------------------------------------- */

/* For the program; `graph` is consumed, also on failure. 0, -ENOMEM. */
int wf_gpu_graph_create(struct wf_gpu *gpu, struct wf_device_graph *graph, weft_cuda_graph **out);
/* Note a step. 0, -ENOMEM also when there are too many. */
int wf_gpu_record_launch(struct wf_gpu_run *run, const struct wf_device_launch *launch);
int wf_gpu_record_copy(struct wf_gpu_run *run, enum wf_device_step_kind kind, uint64_t address,
                       void *host, uint64_t bytes);
/* What was noted is forgotten; if there is a recording. */
void wf_gpu_record_drop(struct wf_gpu_run *run);

/* ---- ahead.c: tasks that begin while an input is still on a device -------------------------- */

static inline bool wf_ext_is_ahead(const struct wf_ext *ext)
{
	/* relaxed: set before the task was ready, and stays. */
	return ext->parts & WF_PART_REQUEST && wf_load_relaxed(&ext->unready) & WF_UNREADY_AHEAD;
}
/* All is submitted: those that come after it may begin. */
void wf_gpu_publish(struct wf_gpu_run *run);
void wf_gpu_unpublish(struct wf_gpu_run *run);
/* A task's edges are linked, and its guard is still there. */
void wf_gpu_linked(struct wf_local *self, struct wf_ext *ext);
/* Have the stream wait for the inputs that are on devices. 0 or an error. */
int wf_gpu_wait_inputs(struct wf_gpu_run *run, struct wf_gpu_part *part);
/*
 * The value that a task which is not done leaves on a device, with a use of the caller's; NULL: it
 * is about to be done, or was.
 */
struct wf_gpu_value *wf_gpu_early_input(struct wf_gpus *gpus, const struct wf_cell *src);
/* A task that began ahead is over but for its inputs: wait. Then their failure, or code. */
int wf_gpu_ahead_end(struct weft_task *frame, int code) WF_SUSPENDS;
/* Its last input is done. */
void wf_gpu_inputs_done(struct wf_local *self, struct wf_ext *ext);

#endif /* WF_GPU_H */
