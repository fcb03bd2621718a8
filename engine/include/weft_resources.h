/*
 * weft_resources.h: what a runtime has and what is free of it, and what a running body may ask
 * about itself; a part of weft.h, which includes this file.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
#ifndef WEFT_RESOURCES_H
#define WEFT_RESOURCES_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- What there is ---------------------------------------------------------------------- */

struct weft_resource_info {
	/* "CPU", "GPU", "memory", "GPU memory" with devices, the program's; borrowed until close */
	const char *name;
	double total;     /* memory in bytes */
	double available; /* below 0 while tasks that have waited run beside new ones */
};
/*
 * What the runtime has and what is free right now, at most `n` entries into `infos` (NULL: none);
 * returns how many there are. CPUs: the workers, less those that run something or stand aside, and
 * what placement groups have; the others are exact. When everything has ended all is available
 * again.
 * Context: any thread. Suspends: never. Errors: -EINVAL `rt` NULL, or n > 0 without `infos`.
 */
WEFT_API int weft_resources(weft *rt, struct weft_resource_info *infos, uint32_t n);

struct weft_node_info {
	uint32_t node;
	uint32_t cpus;    /* that this process may use there */
	uint32_t workers; /* that have their home there */
};
/*
 * The NUMA nodes in use, as weft_resources() otherwise.
 * Context: any thread. Suspends: never. Errors: -EINVAL.
 */
WEFT_API int weft_nodes(weft *rt, struct weft_node_info *infos, uint32_t n);

struct weft_pending_info {
	double cpus, gpus; /* cpus is 1 for a task's request that is not about CPUs */
	uint64_t memory, gpu_mem;
	uint32_t priority; /* enum weft_priority */
	uint32_t n_resources;
	struct weft_resource resources[WEFT_REQUEST_MAX]; /* names borrowed until close */
	uint64_t waiting;                                 /* tasks, and actors */
	uint64_t id;     /* of this kind of request, see weft_cancel_pending() */
	bool infeasible; /* more than the runtime has: it waits until it is cancelled */
};
/*
 * The requests that tasks wait for, one entry per kind of request, at most `n`; returns how many
 * entries were written. Only what waits for resources is listed, not what waits for inputs.
 * Context: any thread. Suspends: never. Errors: -EINVAL.
 */
WEFT_API int weft_pending(weft *rt, struct weft_pending_info *infos, uint32_t n);
/*
 * Cancel all tasks that wait for resources with this kind of request, as weft_cancel() would:
 * none of them runs. Returns how many, 0 when nothing of the kind waits.
 * Context: any thread. Suspends: never. Errors: -EINVAL.
 */
WEFT_API int64_t weft_cancel_pending(weft *rt, uint64_t id);

/* ---- Inside a task ---------------------------------------------------------------------- */

struct weft_task_info {
	size_t struct_size; /* set by the caller */
	weft_ref ref;       /* output 0, borrowed; zero when nobody holds it */
	const char *name;   /* these and the other pointers: borrowed until the body returns */
	uint32_t runtime;   /* weft_info.id */
	uint32_t attempt;   /* 1, 2, ... */
	uint32_t failures;  /* attempts that have failed so far */
	int32_t worker;     /* index; -1 on a spare thread */
	uint32_t node;      /* NUMA node of the calling thread's worker */
	bool cancelled;
	double cpus, gpus;      /* granted */
	const uint32_t *cpu;    /* [n_cpu] the machine's numbers of the CPUs that it may use */
	uint32_t n_cpu;         /* 0: on a thread beside the workers, with no CPU of its own */
	uint32_t n_gpu;         /* of gpu[]; 0 without a grant */
	const uint32_t *gpu;    /* indices below weft_options.gpus */
	uint64_t memory;        /* granted; 0: no limit */
	uint64_t memory_used;   /* by weft_task_alloc() */
	weft_deadline deadline; /* 0: none */
	const struct weft_error *last_error; /* of the attempt before; NULL in the first */
	uint64_t identity;                   /* of its random stream; 0: it has none */
	uint64_t gpu_mem;                    /* granted, bytes of each device; 0: none */
};
/*
 * Everything a body may know about its own run.
 * Context: in a task, with its own `self`. Suspends: never. Errors: -EINVAL struct_size.
 */
WEFT_API int weft_task_info(weft_task *self, struct weft_task_info *info);

/*
 * The context of options.context, the task's own or inherited: borrowed until the body returns,
 * read-only, 16-byte aligned. NULL and size 0 without one. `size` may be NULL.
 * Context: in a task, with its own `self`. Suspends: never. Errors: none.
 */
WEFT_API const void *weft_task_context(const weft_task *self, size_t *size);

/*
 * Memory of this attempt, 16-byte aligned, uninitialised: freed when the body returns, if not
 * before. With options.memory it is counted.
 *
 * Owned:    `*out` is the body's until it returns; weft_task_free() it or leave it.
 * Context:  in a task, by the body itself (not by a fork that runs elsewhere). Does not suspend.
 * Errors:   WEFT_EOOM the task would hold more than options.memory: a body that then returns a
 *           failure ends as WEFT_EOOM, after options.memory_retries; -ENOMEM, -EINVAL.
 *           `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_task_alloc(weft_task *self, size_t size, void **out);
/* Give it back early. NULL is accepted. In a task, never suspends; `p` must be of this attempt. */
WEFT_API void weft_task_free(weft_task *self, void *p);

/*
 * Keep `size` bytes for the next attempt, in place of what was kept before. Without retries there
 * is none, and nothing is kept. Of a task with a key (weft_session.h) they are on the disk when
 * this returns, and the next attempt may be in another process; they go when the key ends well.
 * Owned: copied. Context: in a task. Suspends: may, with a key; else never. Errors: -EINVAL,
 * -ENOMEM, -EMSGSIZE more than 1 MiB; with a key: -errno of the files, -ECANCELED, WEFT_ECLOSED;
 * what was kept before stays.
 */
WEFT_API WEFT_NODISC int weft_checkpoint(weft_task *self, const void *data, size_t size);
/* What the attempts before have kept, empty when nothing; borrowed until the next
 * weft_checkpoint() or the body's return. In a task, never suspends. Errors: -EINVAL. */
WEFT_API int weft_checkpoint_read(weft_task *self, struct weft_view *view);

/*
 * The next number of the task's own random stream. A task has one when it, or a task above it, was
 * submitted with options.seed, or when its runtime was opened with WEFT_OPEN_SEEDED. The stream is
 * the same on every attempt, worker and order of execution: it depends on the seed, on how many
 * tasks the parent had submitted before, and on the parent's stream (host threads: on how many
 * were submitted from outside before). Without one the numbers come from the worker's own.
 * Context: in a task, by the body itself. Suspends: never. Errors: none.
 */
WEFT_API uint64_t weft_task_random(weft_task *self);
/*
 * 32 bytes that seed another generator: a function of the task's stream, not of its position.
 * Context: in a task. Suspends: never. Errors: -ENODATA it has no stream, -EINVAL.
 */
WEFT_API int weft_task_seed(weft_task *self, uint8_t seed[32]);

/*
 * A place at which this task may be made to fail, for tests of programs: 0, or, with the
 * probability weft_options.fault_rate, -EIO, which the body is meant to return. Never in a task's
 * third attempt and later, so that two retries are always enough; never when fault_points names
 * other places.
 * Context: in a task, by the body itself. Suspends: never. Errors: -EIO as said, -EINVAL.
 */
WEFT_API WEFT_NODISC int weft_fault_point(weft_task *self, const char *name);

#ifdef __cplusplus
}
#endif

#endif /* WEFT_RESOURCES_H */
