/*
 * weft_cuda.h: GPUs: opening them for a runtime, and what a task that was granted one does there.
 *
 *	weft_cuda *cuda;
 *	weft_cuda_open(&cuda, NULL);                          CUDA where it is, else no devices
 *	weft_open(&rt, WEFT_OPTIONS(.devices = cuda));
 *	weft_submit(rt, WEFT_TASK(body, .opts = WEFT_TASK_OPTIONS(.gpus = 0.5)), &ref);
 *	...
 *	weft_close(rt, WEFT_FOREVER);
 *	weft_cuda_close(cuda);
 *
 * A task with options.gpus starts when its share of the devices is free, and with it as much of
 * each device's memory as options.gpu_mem says, all of it at once. Its body finds the device's
 * context current and gives work to weft_cuda_stream(), by the calls below or by any library that
 * takes a cudaStream_t; it returns when everything is submitted, and the task ends when the device
 * has done it. No worker waits meanwhile. A body must join to its stream whatever it gives to
 * another one, and never wait for the device itself.
 *
 * What is enforced: the memory that is taken here. What is not: how much of a device's time a share
 * gets, and memory that other libraries take.
 *
 * A GPU task that comes after another one (n_after of weft_call), or has its first output as input
 * when that stays on a device, is started as soon as that one is submitted: their order is kept on
 * the device, and the host learns of the last. With an equal request it takes over the other's
 * grant and stream, unless the other has values on the device in use. Not so after a task with
 * retries, or one that gives outputs one by one, or when ahead_max tasks' work waits in the stream;
 * nor for such an input when the task is WEFT_TASK_BLOCKING, has a key, or takes failures as
 * values. When the first fails after all, what came after it fails as WEFT_EDEP, whatever it has
 * returned.
 *
 * A result may stay on its device (weft_cuda_output), and a body finds an input there
 * (weft_cuda_input): the reference is as any other, its value is in up to three places, a device,
 * the host, a file, and goes where it is wanted: down for weft_get() or for a task without a
 * device, up for one that has one, across from another device where the two can. What is on a
 * device and used by nobody gives way when room is short there: first copies of what the host has
 * too, those used longest ago first; then others, which are copied down before. A task's working
 * set is its options.gpu_mem: inputs on the device, outputs that stay and what it allocates, all of
 * it granted at once, so tasks that need nearly all of a device take turns, and none holds a part
 * while it waits for another. Values that are used nowhere count for no grant. When a device is
 * lost a value that was only there is lost with it: weft_get() returns WEFT_EDEVICE, and who has it
 * as input fails with that as cause; what the host has too lives on.
 *
 * A device is near a NUMA node (weft_cuda_info.node): staging memory lies there, and a task that is
 * granted it and has no place (weft_task_options.place) begins there, unless only workers of
 * other nodes are free.
 *
 * Everything works without a card on simulated devices, with the same calls: their memory cannot be
 * touched by the host, and kernels are C functions, the twins of the real ones.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed; context; suspends.
 */
#ifndef WEFT_CUDA_H
#define WEFT_CUDA_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Devices ---------------------------------------------------------------------------- */

/*
 * How to open devices (a zero field is the default):
 *
 *   backend     "cuda"; "sim", simulated devices, "sim:2" two of them, "sim:devices=2,memory=64M"
 *               (words: README of the room); "none". NULL: "cuda" where a driver and a card are,
 *               else "none". The environment's WEFT_GPU, when it is set and not empty, is taken
 *               instead.
 *   ahead_max   how many tasks' work may wait in one stream before a task that comes after the
 *               last of them waits for its end; default 1024
 *   hang_ns     a device that has not gone on for so long is lost; default never
 *   staging_bytes  pinned memory through which values and other memory are copied, of each device
 *               and direction, taken when first needed; 16 KiB to 1 GiB, default 8 MiB
 *   pin_bytes   so much of the store's memory may be registered with the devices, in chunks of 2
 *               MiB, each when a value in it is first copied up; later ones are copied out of it
 *               without a detour through staging memory. Registered memory is not given back to
 *               the system until the store needs it elsewhere. Costs about a tenth of a second
 *               for a GB and is for values that go up again and again, or share chunks with
 *               others that do; what cannot be registered is staged. Default 0: nothing is
 */
struct weft_cuda_options {
	size_t struct_size;
	const char *backend; /* borrowed for the call */
	uint32_t ahead_max;  /* at most 65536 */
	uint32_t reserved0;  /* zero */
	int64_t hang_ns;
	uint64_t staging_bytes;
	uint64_t pin_bytes;
	uint64_t reserved[2]; /* zero */
};

/*
 * Find devices. Zero devices is no error, unless `backend` or WEFT_GPU names "cuda".
 *
 * Owned:    `*out` is the caller's; weft_cuda_close() it. Options are copied.
 * Context:  any thread. Does not suspend; CUDA's own start may take long.
 * Errors:   -EINVAL an option, -ENODEV no driver of version 12 or no card, -ENOMEM. `*out`
 *           untouched.
 */
WEFT_API WEFT_NODISC int weft_cuda_open(weft_cuda **out, const struct weft_cuda_options *opts);
/*
 * Close them. NULL is accepted and does nothing.
 * Owned: `cuda` is consumed unless an error is returned. Context: outside tasks. Waits for work in
 * flight, but not for what hangs. Errors: -EBUSY a runtime has them.
 */
WEFT_API int weft_cuda_close(weft_cuda *cuda);
/* How many devices. Any thread, never suspends. -EINVAL NULL. */
WEFT_API int weft_cuda_count(const weft_cuda *cuda);

struct weft_cuda_info {
	size_t struct_size; /* set by the caller */
	char name[64];
	char pci[16];          /* "" when it is not on a bus */
	uint64_t memory_bytes; /* that grants share out */
	uint64_t memory_free;  /* in no grant */
	double share_free;     /* 0 to 1 */
	uint32_t lost;         /* 1: it failed for good; nothing runs there any more */
	uint32_t running;      /* attempts of tasks that are in a body there */
	uint32_t pending;      /* attempts whose work the device has not done yet */
	uint32_t reserved0;
	uint64_t attempts;   /* so far */
	uint64_t doorbells;  /* rung by the device: somebody slept for it */
	uint64_t takeovers;  /* grants that a task took over from the one before it */
	uint64_t chained;    /* tasks that began while an input was still on the device */
	const char *failure; /* why it was lost, "" before; borrowed until weft_close() */
	uint64_t resident;   /* bytes there of values, see weft_cuda_output(); in no grant */
	uint64_t uploads, downloads; /* of values, so far */
	uint64_t dropped;            /* copies there that gave way to others, so far */
	uint64_t evicted;            /* of them: were copied to the host for that, or are being */
	uint64_t peers;              /* of values, from other devices without the host, so far */
	uint32_t node;               /* that it is near: bodies of its tasks begin there when they
	                              * can, staging memory is there; UINT32_MAX: not known */
	uint32_t reserved1;
	uint64_t pinned; /* bytes of the store that are registered, with all devices */
};
/*
 * Facts of one device of a runtime, its number as in weft_task_info.gpu. A snapshot.
 * Context: any thread. Suspends: never. Errors: -EINVAL no such device, struct_size.
 */
WEFT_API int weft_cuda_info(weft *rt, uint32_t device, struct weft_cuda_info *info);

/*
 * Host memory for copies that nobody has to wait for; page-aligned.
 * Owned: `*out` is the caller's; weft_cuda_host_free() it before weft_close(), when no copy uses
 * it; what is left goes with weft_cuda_close(). Context: any thread. Does not suspend; slow, so
 * keep it. Errors: -EINVAL, -ENODEV the runtime has no devices, -ENOMEM, WEFT_EDEVICE all are
 * lost. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_cuda_host_alloc(weft *rt, size_t bytes, void **out);
/* Give it back. NULL is accepted. Any thread, never suspends. */
WEFT_API void weft_cuda_host_free(weft *rt, void *memory);

/* ---- Inside a task that was granted a device -------------------------------------------- */

/*
 * Or inside a call of an actor that holds one (weft_actor.h). All of these: context in a task, by
 * the body itself with its own `self` (not by a fork that runs elsewhere), before it returns;
 * suspend never, unless said otherwise. Errors: -EINVAL the task has no device; WEFT_EDEVICE it is
 * lost (a body that returns this code ends so). Results are written only on success.
 */

struct weft_cuda_grant {
	size_t struct_size; /* set by the caller */
	uint32_t device;    /* as in weft_task_info.gpu */
	uint32_t reserved0;
	void *stream;         /* a cudaStream_t that does not wait for the default stream; borrowed
	                       * until the body returns */
	double share;         /* of the device, 1: all of it */
	uint64_t memory;      /* bytes that weft_cuda_alloc() may take there */
	uint64_t memory_used; /* of them */
};
/* The i-th granted device; -EINVAL also when there are fewer, struct_size. */
WEFT_API int weft_cuda_grant(weft_task *self, uint32_t i, struct weft_cuda_grant *grant);
/* The stream of the device that calls here mean: a cudaStream_t. NULL without a device. */
WEFT_API void *weft_cuda_stream(weft_task *self);
/*
 * The calls below mean the i-th granted device from now on, and its context is current; at first it
 * is the first. -EINVAL also when there are fewer.
 */
WEFT_API WEFT_NODISC int weft_cuda_use(weft_task *self, uint32_t i);

/*
 * Memory of the device, from this point of the stream to the end of the attempt's work. `*address`
 * is nothing that the host may follow (a CUdeviceptr). May suspend: when the device is short
 * of room, until work that was submitted before has given some back.
 * Errors: -ENOMEM more than the grant has, or the device has no room.
 */
WEFT_API WEFT_NODISC int weft_cuda_alloc(weft_task *self, size_t bytes, uint64_t *address);
/*
 * Copies in the stream. Memory of weft_cuda_host_alloc() is borrowed until the task has ended. Any
 * other goes through pinned memory of the library, and is the caller's again on return: up, the
 * call may suspend until the last bytes were read; down, it suspends until the copy and all that
 * was in the stream before is done. No worker waits. Errors: -ECANCELED also, when it has
 * suspended.
 */
WEFT_API WEFT_NODISC int weft_cuda_copy_in(weft_task *self, uint64_t to, const void *from,
                                           size_t bytes);
WEFT_API WEFT_NODISC int weft_cuda_copy_out(weft_task *self, void *to, uint64_t from, size_t bytes);

/*
 * Output `i` of this task, `bytes` of them, in memory of the device, to be written by work in the
 * stream. Who gets the value later finds what was there when the task had ended. Until then it is
 * the task's: a call for the same `i` (or weft_task_output(), weft_return()) takes its place, and
 * an attempt that fails leaves nothing.
 *
 * Owned:    `*address` is borrowed until the body returns; the memory is the output's, counts for
 *           the grant as weft_cuda_alloc() does until the task has ended, and for none afterwards.
 * Suspends: may, when the device is short of room.
 * Order:    what work in the stream has written is there for whoever gets the value, on any device
 *           or on the host; nobody has to wait for anything else.
 * Errors:   -EINVAL also `bytes` 0, no such output, a task with a key, with an output directory or
 *           that gives its outputs one by one; -ENOMEM more than the grant has left, or no room;
 *           WEFT_ESTOREFULL what should give way finds no room on the host; -ECANCELED.
 */
WEFT_API WEFT_NODISC int weft_cuda_output(weft_task *self, uint32_t i, size_t bytes,
                                          uint64_t *address);
/*
 * Where input `i` is on the device, from this point of the stream on. One that is there already, as
 * some task's output or because another task has asked for it, is just named; else it is copied up,
 * in a stream of its own, through pinned memory, and stays for who asks next. Must not be written:
 * others read the same bytes. weft_input() of a task with a device answers -EREMOTE for a value
 * that was born on a device, or is to be, and works for all others.
 *
 * Owned:    `*address` is borrowed until the task has ended: nothing of it moves or goes before the
 *           device has done this task's work. `bytes` may be NULL. For an empty value both are 0.
 * Suspends: may, until the bytes are under way: for a free piece of pinned memory, for room on the
 *           device, for a value that is in a file or on another device, where the task that makes
 *           it may not be done yet. It counts for the grant.
 * Errors:   -EINVAL also no such input; -ENOMEM more than the grant has left, or no room; of an
 *           input that has failed as weft_input(); WEFT_EDEP it was on a device that is lost, or
 *           has failed after all (a body that returns this code ends with that as cause);
 *           WEFT_ESTOREFULL; -ECANCELED.
 */
WEFT_API WEFT_NODISC int weft_cuda_input(weft_task *self, uint32_t i, uint64_t *address,
                                         size_t *bytes);

struct weft_cuda_launch;
/* The twin of a kernel: does on the host what the launch would do. Runs on threads of the devices,
 * in the order of its stream; must not call weft but for weft_cuda_twin_memory(). */
typedef void weft_cuda_twin_fn(weft_cuda *cuda, const struct weft_cuda_launch *launch);

/* A kernel, `static const` of the program; found in its image (PTX, cubin) once per device. */
struct weft_cuda_kernel {
	const void *image; /* borrowed until weft_cuda_close(), as is this struct */
	size_t image_bytes;
	const char *name;
	weft_cuda_twin_fn *twin; /* NULL: it does not run on simulated devices */
};
struct weft_cuda_launch {
	const struct weft_cuda_kernel *kernel;
	uint32_t grid[3], block[3]; /* 0 means 1 */
	uint32_t shared_bytes;      /* of a block, as many as the device can give */
	uint32_t n_args;            /* at most 64 */
	void *const *args;          /* pointers to the values; copied */
	const uint16_t *args_bytes; /* the values' sizes; NULL: 8 each */
};
/* Launch in the stream. -ENOTSUP nothing of the kernel runs here, -ENOENT not in its image. */
WEFT_API WEFT_NODISC int weft_cuda_launch(weft_task *self, const struct weft_cuda_launch *launch);
/*
 * A chain of launches with all their arguments, built once and launched as one: for what is
 * repeated with fixed shapes. Opaque. It is nobody's memory: an address among its arguments must be
 * in use whenever it is launched.
 */
typedef struct weft_cuda_graph weft_cuda_graph;
/*
 * Build one for the device that calls here mean, of 1 to 65536 launches, each after the one before.
 * Owned: `*out` is the program's; weft_cuda_graph_destroy() it. `chain` is copied. Errors: as
 * weft_cuda_launch(); -EINVAL also `n`; -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_cuda_graph_create(weft_task *self,
                                                const struct weft_cuda_launch *chain, uint32_t n,
                                                weft_cuda_graph **out);
/*
 * Record one: from here to weft_cuda_record_end() what the body gives to the device that calls mean
 * is noted, in order, and not done: launches, and copies of memory of weft_cuda_host_alloc(). All
 * else is as ever, weft_cuda_alloc(), weft_cuda_input() and weft_cuda_output() too, whose addresses
 * are in use until the task has ended, and so is the graph. So a chain of tasks with fixed shapes
 * is recorded once by calling their bodies one after the other, and then replayed as often as need
 * be. Work that other libraries give to the stream is done, and is not in the recording.
 *
 * While it lasts, weft_cuda_use(), weft_cuda_graph_launch() and copies of other memory are -EINVAL.
 * It ends with the body at the latest, without a graph.
 * Errors: begin: -EBUSY one has begun, -ENOTSUP, -ENOMEM. end: -EINVAL also none has begun, or
 * nothing was noted; -ENOMEM; as weft_cuda_launch(). `out` NULL: forget it. It has ended, whatever
 * comes back.
 */
WEFT_API WEFT_NODISC int weft_cuda_record_begin(weft_task *self);
WEFT_API WEFT_NODISC int weft_cuda_record_end(weft_task *self, weft_cuda_graph **out);
/* Launch it in the stream. -EINVAL also when it was built for another device or runtime. */
WEFT_API WEFT_NODISC int weft_cuda_graph_launch(weft_task *self, weft_cuda_graph *graph);
/*
 * Before weft_close(), when no task that has launched it is under way. NULL is accepted.
 * Context: any thread. Suspends: never. Errors: none.
 */
WEFT_API void weft_cuda_graph_destroy(weft_cuda_graph *graph);

/*
 * Where a twin finds device memory; NULL when [address, address + bytes) is not in use.
 * Context: in a twin. Suspends: never. Errors: none.
 */
WEFT_API void *weft_cuda_twin_memory(weft_cuda *cuda, uint64_t address, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif /* WEFT_CUDA_H */
