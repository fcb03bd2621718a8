/*
 * driver_inner.h: what the files of the CUDA back end share.
 */
#ifndef WF_DRIVER_INNER_H
#define WF_DRIVER_INNER_H

#include <pthread.h>
#include <stdbool.h>

#include "base.h"
#include "device.h"
#include "driver_api.h"

#define CUDA_DEVICES_MAX 64

struct cuda_device {
	struct wf_device_backend *backend;
	CUdevice id;
	pthread_mutex_t lock;
	struct wf_a32 ready; /* the context and the pool are there, and stay */
	CUcontext context;
	CUmemoryPool pool;
	uint64_t limit; /* of the pool */
	uint64_t peers; /* devices that may read the pool */
	uint32_t near;  /* as in struct wf_device_info; 0 before that was asked for */
	int shared_most; /* bytes of memory that a block of threads may share */
	int priority_low, priority_high;
	struct wf_a32 lost;
	char text[192];
};

/* What a call of the driver changes of its thread, and puts back. */
struct cuda_visit {
	struct cuda_device *device;
	CUcontext before;
	bool moved; /* `before` is not the device's */
	int mode;   /* of captures that the thread had */
};

struct wf_device_stream {
	struct cuda_device *device;
	CUstream stream;
};

struct wf_device_event {
	struct cuda_device *device;
	CUevent event;
	bool recorded;
	uint32_t unanswered; /* questions in a row */
};

struct cuda_module {
	struct cuda_module *next;
	struct cuda_device *device;
	const void *image;
	CUmodule module;
};

struct wf_device_kernel {
	struct wf_device_kernel *next;
	struct cuda_device *device;
	CUfunction function;
	struct wf_a32 wide; /* its blocks may share more than any device gives unasked */
};

struct wf_device_graph {
	struct cuda_device *device;
	pthread_mutex_t lock; /* the driver takes one call of a graph at a time */
	CUgraphExec exec;
};

struct wf_device_backend {
	void *library;
	struct wf_cuda_api cu;
	pthread_mutex_t lock; /* of the two lists; compiling may take long */
	struct wf_a32 abandoned; /* a device was given up that may still be at work */
	pthread_mutex_t bell_lock; /* held while a doorbell rings, so that a close waits for it */
	bool closed;               /* under it: none rings any more */
	struct wf_device_backend *left; /* another one that was not freed */
	uint32_t count;
	struct cuda_device device[CUDA_DEVICES_MAX];
	struct cuda_module *modules;
	struct wf_device_kernel *kernels;
};

/* What a driver's answer means for the caller; a sticky one loses the device. */
int wf_cuda_status(struct cuda_device *device, CUresult rc);
/*
 * Before each call: the device is not lost and its context current. On success wf_cuda_leave()
 * makes the thread as it was, and says what the driver's answer means.
 */
int wf_cuda_enter(struct cuda_device *device, struct cuda_visit *visit);
int wf_cuda_leave(struct cuda_visit *visit, CUresult rc);
static inline bool wf_cuda_is_lost(const struct cuda_device *device)
{
	/* acquire [L1]: see driver.c. */
	return wf_load_acquire(&device->lost) != 0;
}

static inline bool wf_cuda_is_ready(const struct cuda_device *device)
{
	/* acquire [R1]: the context and the pool, see driver.c. */
	return wf_load_acquire(&device->ready) != 0;
}

/* driver_memory.c; see the table. */
int wf_cuda_pool_limit(struct wf_device_backend *backend, uint32_t index, uint64_t bytes);
int wf_cuda_pool_trim(struct wf_device_backend *backend, uint32_t index);
int wf_cuda_memory_alloc(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         uint64_t bytes, uint64_t *address);
int wf_cuda_memory_free(struct wf_device_backend *backend, struct wf_device_stream *stream,
                        uint64_t address);
int wf_cuda_pinned_alloc(struct wf_device_backend *backend, uint64_t bytes, void **out);
int wf_cuda_pinned_alloc_near(struct wf_device_backend *backend, uint32_t index, uint64_t bytes,
                              void **out);
void wf_cuda_pinned_free(struct wf_device_backend *backend, void *memory);
int wf_cuda_host_register(struct wf_device_backend *backend, void *memory, uint64_t bytes);
int wf_cuda_host_unregister(struct wf_device_backend *backend, void *memory);

/* driver_work.c; see the table. */
int wf_cuda_copy_to_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t to, const void *from, uint64_t bytes);
int wf_cuda_copy_to_host(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         void *to, uint64_t from, uint64_t bytes);
int wf_cuda_copy_on_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t to, uint64_t from, uint64_t bytes);
int wf_cuda_copy_peer(struct wf_device_backend *backend, struct wf_device_stream *stream,
                      uint64_t to, uint32_t from_device, uint64_t from, uint64_t bytes);
int wf_cuda_fill(struct wf_device_backend *backend, struct wf_device_stream *stream, uint64_t to,
                 uint8_t byte, uint64_t bytes);
int wf_cuda_kernel_get(struct wf_device_backend *backend, uint32_t index, const void *image,
                       size_t image_bytes, const char *name, struct wf_device_kernel **out);
int wf_cuda_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                   const struct wf_device_launch *launch);
int wf_cuda_graph_create(struct wf_device_backend *backend, uint32_t index,
                         const struct wf_device_launch *chain, uint32_t count,
                         struct wf_device_graph **out);
int wf_cuda_graph_record(struct wf_device_backend *backend, uint32_t index,
                         const struct wf_device_step *steps, uint32_t count,
                         struct wf_device_graph **out);
void wf_cuda_graph_destroy(struct wf_device_backend *backend, struct wf_device_graph *graph);
int wf_cuda_graph_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         struct wf_device_graph *graph);

#endif /* WF_DRIVER_INNER_H */
