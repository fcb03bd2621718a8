/*
 * sim_inner.h: the structs that the files of the simulation share.
 */
#ifndef WF_SIM_INNER_H
#define WF_SIM_INNER_H

#include <pthread.h>
#include <stdbool.h>

#include "base.h"
#include "sim_device.h"
#include "sim_memory.h"

#define SIM_DEVICES_MAX WF_SIM_DEVICES
#define SIM_THREADS_MAX 64u
#define SIM_ARGS_MAX    64u
#define SIM_ENGINES     WF_SIM_ENGINES
#define SIM_PEER        3 /* the engine of copies between devices */

enum sim_work_kind {
	SIM_COPY_IN = 0,
	SIM_COPY_OUT,
	SIM_COPY_ON,
	SIM_COPY_PEER,
	SIM_FILL,
	SIM_LAUNCH,
	SIM_FREE,
	SIM_RECORD,
	SIM_WAIT,
	SIM_DOORBELL,
};

/* One piece of work in a stream. */
struct sim_work {
	struct sim_work *next;
	enum sim_work_kind kind;
	bool waited;              /* a caller waits for it: pageable memory */
	uint64_t to, from, bytes; /* addresses; `to` of SIM_FREE */
	uint8_t byte;             /* SIM_FILL */
	struct sim_device *peer;  /* SIM_COPY_PEER: the one that `from` is on */
	uint64_t serial;          /* SIM_RECORD, SIM_WAIT */
	struct wf_device_event *event;
	wf_device_doorbell_fn *fn; /* SIM_DOORBELL */
	void *arg;
	struct wf_device_launch launch; /* SIM_LAUNCH; args in `values` */
	void *args[SIM_ARGS_MAX];
	size_t value_bytes;
	WF_ALIGNED(16) unsigned char values[];
};

struct sim_device {
	struct wf_device_backend *backend;
	struct wf_sim_memory memory;
	int lost; /* 0, or why: then all that is left is dropped */
	char text[160];
	bool stray; /* as if work waited in its default stream */
	uint32_t near; /* as in struct wf_device_info */
	int64_t engine_ns[SIM_ENGINES]; /* when each is free, by the model */
};

struct wf_device_stream {
	struct wf_device_stream *next;
	struct sim_device *device;
	enum wf_device_stream_kind kind;
	struct sim_work *head, **tail;
	bool busy;      /* a thread performs the head */
	bool hung;      /* the head is never performed */
	bool dying;     /* destroyed; goes when it is empty */
	int64_t end_ns; /* of what was submitted, by the model */
};

struct wf_device_event {
	struct sim_device *device;
	uint64_t issued, passed; /* records submitted, performed */
	uint32_t users;          /* the caller, and work that names it */
	int64_t end_ns;          /* of the last record, by the model */
};

struct wf_device_kernel {
	struct wf_device_kernel *next;
	const char *name;
	uint32_t device;
};

struct wf_device_graph {
	struct sim_device *device;
	uint32_t count;
	struct sim_work *chain[]; /* templates */
};

struct sim_fault {
	uint64_t nth, count;
	int code;
};

/* Host memory that copies need not wait for. */
struct sim_pinned {
	struct sim_pinned *next;
	char *at;
	uint64_t bytes;
	bool owned;
};

struct wf_device_backend {
	pthread_mutex_t lock;
	struct wf_a32 changed; /* counts: work was submitted or performed, the end came */
	uint32_t waiting;      /* for it to change */
	struct sim_device device[SIM_DEVICES_MAX];
	uint32_t devices, threads, streams_max;
	struct wf_thread thread[SIM_THREADS_MAX];
	uint32_t started;
	bool stopping;
	struct wf_random random;
	struct wf_device_stream *streams;
	struct wf_device_kernel *kernels;
	struct sim_pinned *pinned;
	bool refuse;
	uint64_t working; /* pieces that threads perform now */
	struct sim_fault fault[WF_SIM_FAULT_KINDS];
	uint64_t memory_bytes;
	int64_t launch_ns, thread_ps, copy_mbs, peer_mbs;
	int64_t seen_ns; /* what the host has seen pass, by the model */
	int64_t (*now)(void *arg);
	void *now_arg;
	struct wf_sim_stats stats;
};

static inline void sim_lock(struct wf_device_backend *backend)
{
	pthread_mutex_lock(&backend->lock);
}

static inline void sim_unlock(struct wf_device_backend *backend)
{
	pthread_mutex_unlock(&backend->lock);
}

/* Under the lock: tell whoever waits. No condition variable: glibc's may lose a wake-up (25847). */
static inline void sim_changed(struct wf_device_backend *backend)
{
	/* relaxed: under the lock. */
	wf_store_relaxed(&backend->changed, wf_load_relaxed(&backend->changed) + 1);
	if (backend->waiting)
		wf_futex_wake(&backend->changed, INT32_MAX);
}

/* Under the lock, which is let go meanwhile: until something has changed, or for no reason. */
static inline void sim_await_change(struct wf_device_backend *backend)
{
	/* relaxed: under the lock. */
	uint32_t seen = wf_load_relaxed(&backend->changed);

	backend->waiting++;
	pthread_mutex_unlock(&backend->lock);
	wf_futex_wait(&backend->changed, seen, WF_FOREVER);
	pthread_mutex_lock(&backend->lock);
	backend->waiting--;
}

/* sim_open.c; see the table. */
int wf_sim_open(const char *options, struct wf_device_backend **out);
void wf_sim_close(struct wf_device_backend *backend);

/* sim_launch.c; see the table. */
int wf_sim_kernel_get(struct wf_device_backend *backend, uint32_t device, const void *image,
                      size_t image_bytes, const char *name, struct wf_device_kernel **out);
int wf_sim_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                  const struct wf_device_launch *launch);
void wf_sim_graph_destroy(struct wf_device_backend *backend, struct wf_device_graph *graph);
int wf_sim_graph_create(struct wf_device_backend *backend, uint32_t device,
                        const struct wf_device_launch *chain, uint32_t count,
                        struct wf_device_graph **out);
int wf_sim_graph_record(struct wf_device_backend *backend, uint32_t device,
                        const struct wf_device_step *steps, uint32_t count,
                        struct wf_device_graph **out);
int wf_sim_graph_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                        struct wf_device_graph *graph);

/* sim_work.c; called with the lock held. */
/* Whether this call fails instead: its code, or 0. */
int wf_sim_call(struct wf_device_backend *backend, struct sim_device *device);
/* It is lost, with what hangs there. */
void wf_sim_give_up(struct wf_device_backend *backend, struct sim_device *device, const char *why);
/* The same for a kind of calls that fail from one on. */
int wf_sim_call_from(struct wf_device_backend *backend, enum wf_sim_fault kind);
/* A zeroed piece with room for `bytes` of values; NULL: no memory. */
struct sim_work *wf_sim_work_create(enum sim_work_kind kind, size_t bytes);
void wf_sim_work_destroy(struct sim_work *work);
/* Put it in the stream (consumed) and give it its time. */
void wf_sim_submit(struct wf_device_stream *stream, struct sim_work *work);
/* The same unless the call fails: then the piece (NULL: no memory) is gone. */
int wf_sim_submit_checked(struct wf_device_backend *backend, struct wf_device_stream *stream,
                          struct sim_work *work);
/* Perform one piece that may come next; false: there is none. Unlocks meanwhile. */
bool wf_sim_perform_one(struct wf_device_backend *backend);
void wf_sim_event_put(struct wf_device_event *event);
int64_t wf_sim_now(struct wf_device_backend *backend);
void wf_sim_stream_reap(struct wf_device_stream *stream);
void *wf_sim_thread_main(void *arg);

#endif /* WF_SIM_INNER_H */
