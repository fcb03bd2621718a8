/*
 * device.h: the table of functions through which a device room (GPUs, or their simulation) plugs
 * into the engine. The engine knows streams, events, memory and errors only by these words.
 *
 * A back end fills one static `struct wf_device_ops`. Every call names the back end first; the
 * other handles are the back end's own structs, opaque here. Device memory is an address of 64
 * bits that the host must not follow.
 *
 * Fixed for all calls, unless said otherwise:
 *
 *   Owned     what a create or alloc call writes through its last parameter is the engine's; the
 *             destroy or free call of the same noun takes it back and accepts NULL (or 0).
 *   Context   any thread; the back end makes the device's context current by itself and leaves
 *             the thread's own, but for device_enter(). Never suspends a task and never waits for
 *             the device.
 *   Order     work of one stream runs in the order of the calls. Streams are ordered among each
 *             other only by stream_wait(). What the host wrote before a call is visible to the
 *             work; what the work wrote is visible to the host once an event recorded after it
 *             was seen as passed by event_query().
 *   Errors    0, or one of the codes of enum wf_device_class's table. Results are written only
 *             on success. A lost device answers WF_DEVICE_LOST to everything but destroy, free
 *             and error_text calls, for ever.
 *
 * Versions: the table and the structs that cross it begin with their size as the caller knows it.
 * Entries are only ever appended; a reader asks WF_DEVICE_HAS() before it uses an entry that a
 * first-version back end (WF_DEVICE_OPS_SIZE_1) lacks.
 */
#ifndef WF_DEVICE_H
#define WF_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wf_device_backend; /* one opened back end */
struct wf_device_stream;  /* a queue of work on one device */
struct wf_device_event;   /* a mark in a stream that passes once all before it is done */
struct wf_device_kernel;  /* a function that runs on a device */
struct wf_device_graph;   /* recorded launches and copies, replayed as one */

/*
 * What a failure means for the engine.
 *
 *   class                 codes                         the engine's answer
 *   WF_DEVICE_CLASS_OK    0                             -
 *   WF_DEVICE_CLASS_BUSY  -EAGAIN                       not there yet: ask again later
 *   WF_DEVICE_CLASS_TASK  -EINVAL, -ENOENT, -ENOTSUP,   this task fails; the device is fine
 *                         any negative code not below
 *   WF_DEVICE_CLASS_ROOM  -ENOMEM                       evict and try again, else the task fails
 *   WF_DEVICE_CLASS_LOST  WF_DEVICE_LOST, -ENODEV       all on the device fails, no new grants
 */
enum wf_device_class {
	WF_DEVICE_CLASS_OK = 0,
	WF_DEVICE_CLASS_BUSY,
	WF_DEVICE_CLASS_TASK,
	WF_DEVICE_CLASS_ROOM,
	WF_DEVICE_CLASS_LOST,
};
#define WF_DEVICE_LOST (-5010) /* the value of WEFT_EDEVICE: sticky, only a new process heals it */

/* The class of a code. Any thread; never fails. */
enum wf_device_class wf_device_classify(int status);

#define WF_DEVICE_PCI_BYTES 16 /* "0000:c1:00.0" and its zero */

struct wf_device_info {
	size_t struct_size; /* set by the caller */
	char name[64];
	char pci[WF_DEVICE_PCI_BYTES]; /* for the NUMA node by hwloc; "" when not on a bus */
	uint64_t memory_bytes;         /* that grants may share out */
	uint64_t reserve_bytes;        /* kept back for contexts and code */
	uint32_t copy_engines;         /* copies that run beside kernels */
	uint32_t streams_max;          /* compute streams worth having at once */
	bool shares_host_memory;       /* copies are not needed for correctness */
	uint32_t near; /* NUMA node of wf_topology() that it is near, plus one; 0: not known */
};

enum wf_device_stream_kind {
	WF_DEVICE_COMPUTE = 0, /* kernels of tasks */
	WF_DEVICE_UPLOAD,      /* host to device */
	WF_DEVICE_DOWNLOAD,    /* device to host */
};

/* A launch: a kernel of the device and, for the simulation, its twin on the host. */
struct wf_device_launch {
	size_t struct_size;
	struct wf_device_kernel *kernel; /* of kernel_get(); NULL: only `twin` exists */
	void (*twin)(void *const *args, const struct wf_device_launch *launch);
	uint32_t grid[3], block[3]; /* at least 1 each */
	uint32_t shared_bytes;
	uint32_t args_count;
	void *const *args;          /* args_count pointers to values; copied by the call */
	const uint16_t *args_bytes; /* the values' sizes; NULL: 8 each */
	uintptr_t user[2];          /* for the twin; copied */
};

/* One step of a recording, in order. */
struct wf_device_step {
	enum wf_device_step_kind {
		WF_DEVICE_STEP_LAUNCH = 0,
		WF_DEVICE_STEP_UP,   /* from `host`, which is pinned, to `address` */
		WF_DEVICE_STEP_DOWN, /* and back */
	} kind;
	struct wf_device_launch launch;
	void *host; /* borrowed as long as the graph is */
	uint64_t address, bytes;
};

/* What stream_doorbell() calls, but not after close(): it wakes somebody and does nothing else. */
typedef void wf_device_doorbell_fn(void *arg);

struct wf_device_ops {
	size_t struct_size; /* of this table: what the back end was built with */
	const char *name;   /* "none", "sim", "cuda" */

	/*
	 * Find the devices. `options` is the back end's own string ("2" devices and the like), NULL
	 * for its default. -ENODEV: nothing of this kind is here (no driver, no card).
	 */
	int (*open)(const char *options, struct wf_device_backend **out);
	/* Waits for work in flight, frees everything. The only call that blocks. NULL accepted. */
	void (*close)(struct wf_device_backend *backend);
	/* How many devices; the others are named 0 .. count-1. 0 is an answer, not an error. */
	int (*device_count)(struct wf_device_backend *backend, uint32_t *count);
	/* -EINVAL `device` or info->struct_size. */
	int (*device_info)(struct wf_device_backend *backend, uint32_t device,
	                   struct wf_device_info *info);
	/* 0 in order, WF_DEVICE_LOST. Cheap: reads a flag. */
	int (*device_state)(struct wf_device_backend *backend, uint32_t device);
	/* Make the device's context current for the body that the calling thread runs next. */
	int (*device_enter)(struct wf_device_backend *backend, uint32_t device);
	/*
	 * Undo it, on the same thread, before another enter: what was current there is so again.
	 * -EPERM: the body left another context or device current.
	 */
	int (*device_leave)(struct wf_device_backend *backend, uint32_t device);

	/* Never synchronises with the device's default stream. `priority` 0, 1 high, 2 low. */
	int (*stream_create)(struct wf_device_backend *backend, uint32_t device,
	                     enum wf_device_stream_kind kind, uint32_t priority,
	                     struct wf_device_stream **out);
	void (*stream_destroy)(struct wf_device_backend *backend, struct wf_device_stream *stream);
	/* The native handle (cudaStream_t) that users' code takes; borrowed with the stream. */
	void *(*stream_native)(struct wf_device_backend *backend, struct wf_device_stream *stream);
	/* Later work of `stream` starts only when `event` has passed; of any device. */
	int (*stream_wait)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                   struct wf_device_event *event);
	/*
	 * Call fn(arg) once, on a thread of the back end, when all that is in the stream now is
	 * done. The function may only ring an eventfd or a futex. It may never be called once the
	 * device has failed, so whoever sleeps for it sleeps with a time limit and asks
	 * event_query() then.
	 */
	int (*stream_doorbell)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                       wf_device_doorbell_fn *fn, void *arg);

	int (*event_create)(struct wf_device_backend *backend, uint32_t device,
	                    struct wf_device_event **out);
	void (*event_destroy)(struct wf_device_backend *backend, struct wf_device_event *event);
	/* Mark the end of what is in the stream now; an older mark of the event is forgotten. */
	int (*event_record)(struct wf_device_backend *backend, struct wf_device_event *event,
	                    struct wf_device_stream *stream);
	/*
	 * 0 passed (or never recorded), -EAGAIN not yet, or it cannot be told now (a device of
	 * which that is so for long is lost); else it has passed, and so the work before it failed.
	 */
	int (*event_query)(struct wf_device_backend *backend, struct wf_device_event *event);

	/* At most `bytes` of pool memory from now on, and keep freed memory for reuse up to it. */
	int (*pool_limit)(struct wf_device_backend *backend, uint32_t device, uint64_t bytes);
	/* Give unused pool memory back to the device. */
	int (*pool_trim)(struct wf_device_backend *backend, uint32_t device);
	/* Memory that exists from this point of the stream on. -ENOMEM past the limit. */
	int (*memory_alloc)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                    uint64_t bytes, uint64_t *address);
	/* It ends at this point of the stream; uses in other streams are ordered by events. */
	int (*memory_free)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                   uint64_t address);

	/* Host memory that copies can use without a bounce. -ENOMEM. */
	int (*pinned_alloc)(struct wf_device_backend *backend, uint64_t bytes, void **out);
	void (*pinned_free)(struct wf_device_backend *backend, void *memory);
	/* The same for memory that exists: not to be punched, moved or unmapped until undone. */
	int (*host_register)(struct wf_device_backend *backend, void *memory, uint64_t bytes);
	int (*host_unregister)(struct wf_device_backend *backend, void *memory);

	/*
	 * Copies in a stream. Host memory is borrowed until an event after the copy has passed, and
	 * must be pinned or registered for the call not to wait. bytes == 0 does nothing.
	 */
	int (*copy_to_device)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                      uint64_t to, const void *from, uint64_t bytes);
	int (*copy_to_host)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                    void *to, uint64_t from, uint64_t bytes);
	int (*copy_on_device)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                      uint64_t to, uint64_t from, uint64_t bytes);
	int (*fill)(struct wf_device_backend *backend, struct wf_device_stream *stream, uint64_t to,
	            uint8_t byte, uint64_t bytes);

	/* A kernel by name out of an image; image and name are borrowed until close. -ENOENT. */
	int (*kernel_get)(struct wf_device_backend *backend, uint32_t device, const void *image,
	                  size_t image_bytes, const char *name, struct wf_device_kernel **out);
	int (*launch)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	              const struct wf_device_launch *launch);

	/* A chain of launches with fixed shapes, built explicitly; -ENOTSUP where there is none. */
	int (*graph_create)(struct wf_device_backend *backend, uint32_t device,
	                    const struct wf_device_launch *chain, uint32_t count,
	                    struct wf_device_graph **out);
	void (*graph_destroy)(struct wf_device_backend *backend, struct wf_device_graph *graph);
	int (*graph_launch)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                    struct wf_device_graph *graph);

	/* Words for the last failure of a device; borrowed until close, never NULL. */
	const char *(*error_text)(struct wf_device_backend *backend, uint32_t device);

	/* Where twins find device memory; NULL: not in use. Only where twins run. */
	void *(*memory_host)(struct wf_device_backend *backend, uint64_t address, uint64_t bytes);

	/* As pinned_alloc(), on the NUMA node that the device is near, if that has room. */
	int (*pinned_alloc_near)(struct wf_device_backend *backend, uint32_t device, uint64_t bytes,
	                         void **out);
	/*
	 * Copy in a stream from memory of another device, `from_device`, without the host. When
	 * that one is lost before the copy is done, so is the stream's: its work may have read
	 * what is not there. -ENOTSUP the two cannot, today or ever; -EIO `from_device` is lost.
	 */
	int (*copy_peer)(struct wf_device_backend *backend, struct wf_device_stream *stream,
	                 uint64_t to, uint32_t from_device, uint64_t from, uint64_t bytes);
	/* As graph_create(), of launches and copies. */
	int (*graph_record)(struct wf_device_backend *backend, uint32_t device,
	                    const struct wf_device_step *steps, uint32_t count,
	                    struct wf_device_graph **out);
	/*
	 * 0, or -EBUSY: work waits in a default stream of the device, where the engine never puts
	 * any. For builds that look for bodies that stray.
	 */
	int (*default_idle)(struct wf_device_backend *backend, uint32_t device);
	/*
	 * The engine has given the device up, as one whose work does not end: it is lost from now
	 * on. Nothing waits for what it may still do, close neither; what it may still use is given
	 * back to nobody. No device: nothing happens.
	 */
	void (*device_abandon)(struct wf_device_backend *backend, uint32_t device);
};

/* The table's size in its first version: a back end that has less is refused. */
#define WF_DEVICE_OPS_SIZE_1 \
	(offsetof(struct wf_device_ops, error_text) + \
	 sizeof(((struct wf_device_ops *)0)->error_text))

/* Whether a back end's table reaches to `entry` and fills it. */
#define WF_DEVICE_HAS(ops, entry) \
	((ops)->struct_size >= offsetof(struct wf_device_ops, entry) + sizeof((ops)->entry) && \
	 (ops)->entry)

/*
 * Whether a table can be used: long enough for the first version and no hole in that part.
 * Owned: `ops` borrowed for the call. Context: any thread. Errors: -EINVAL.
 */
int wf_device_ops_check(const struct wf_device_ops *ops);

/*
 * For back ends: a launch of any version, checked but for its kernel and twin, of which one is
 * there. `*out` is written also on an error. Any thread. Errors: -EINVAL.
 */
int wf_device_launch_read(const struct wf_device_launch *launch, struct wf_device_launch *out);

/*
 * The null device: opens everywhere, has zero devices. Calls that name a device or a stream
 * answer -ENODEV, kernel, launch and graph calls too; pinned memory and registering -ENOTSUP;
 * destroy and free calls of void type do nothing. A NULL result pointer of open and device_count
 * is -EINVAL.
 */
const struct wf_device_ops *wf_device_null(void);

#endif /* WF_DEVICE_H */
