/*
 * weft_options.h: the options of a task, a part of weft.h, which includes this file.
 *
 * Usually one `static const` per function; per call, `.base = &those` and the fields that differ.
 * What a submit refuses is said in one line to the log of the runtime: the field and its value.
 */
/* Included first, it comes in at its place in weft.h, which what stands there needs. */
#ifndef WEFT_H
#include "weft.h"
#endif
#ifndef WEFT_OPTIONS_H
#define WEFT_OPTIONS_H

#ifdef __cplusplus
extern "C" {
#endif

enum weft_task_flags {
	WEFT_TASK_STAY =
		1u << 0, /* it resumes on the thread it began on (not kept by weft_run()) */
	WEFT_TASK_BLOCKING = 1u << 1, /* may block its OS thread; its CPU slot goes to a spare */
	WEFT_TASK_EMITS = 1u << 2,    /* gives its outputs one by one, see weft_stream.h */
	/* When one of its value inputs is empty the body does not run: all outputs are empty. */
	WEFT_TASK_SKIP_EMPTY = 1u << 3,
	/*
	 * Nothing of it is recorded for its own sake: with WEFT_OPEN_TIMING weft_ref_info() has no
	 * times of it, and nothing is kept of them when it has ended. Its errors are logged and
	 * counters count as ever. What it submits has this flag only when it is given there.
	 */
	WEFT_TASK_NO_EVENTS = 1u << 4,
	WEFT_TASK_ISOLATED = 1u << 5, /* in a process of its own: reserved, -ENOTSUP */
	/* Never a second attempt beside one that runs. None is made so far: it holds anyway. */
	WEFT_TASK_NO_SPECULATION = 1u << 6,
	/*
	 * With BLOCKING: may be given up while it runs, see weft_cancel_with(). One output, no
	 * key; weft_task_ref() is zero.
	 */
	WEFT_TASK_ABANDON = 1u << 7,
	/*
	 * Values that were spilled and cannot be read back are computed again, when somebody wants
	 * them, by another run of the task: the same argument, inputs (kept as long as the values
	 * are, and rebuilt themselves where they have this flag), context and random stream. Each
	 * attempt is one of `retries`, which must be given. A run that fails, or gives another
	 * size, is the last one; then, and without this flag, such a value ends as WEFT_ECORRUPT or
	 * WEFT_ELOST, and weft_ref_error() says why it was not rebuilt. Lists of refs are not. A
	 * run for which there is no memory, or no room in the store, is told to who waits for it
	 * (-ENOMEM, -EAGAIN, WEFT_ESTOREFULL), and tried again when somebody asks next. A task
	 * whose input is being rebuilt waits without its resources; a body that waits in weft_get()
	 * keeps them, and when the run needs those it is told WEFT_EDEADLOCK, as is the call of an
	 * actor that holds them. arg_drop is called when that all is not needed any more. Not with
	 * a key, an output directory, items, WEFT_TASK_ABANDON; not for calls of actors (-ENOTSUP).
	 */
	WEFT_TASK_REBUILD = 1u << 8,
};

enum weft_on_input_error {
	WEFT_INPUT_FAIL_FAST = 0, /* a failed input ends the task as WEFT_EDEP; it does not run */
	WEFT_INPUT_AS_VALUE,      /* the task runs; weft_input() returns the input's error */
	WEFT_INPUT_IGNORE,        /* the task runs; a failed input is an empty view */
};

enum weft_priority { WEFT_PRIORITY_NORMAL = 0, WEFT_PRIORITY_HIGH = 1, WEFT_PRIORITY_LOW = 2 };

#define WEFT_OUTPUTS_NONE    UINT32_MAX /* 0 means the default, one */
#define WEFT_RETRIES_NONE    UINT32_MAX /* 0 means the default, none as well */
#define WEFT_RETRIES_FOREVER (UINT32_MAX - 1)
#define WEFT_CPUS_NONE       (-1.0) /* 0 means the default, one CPU */
#define WEFT_GPUS_NONE       (-1.0) /* 0 means the default, none as well */
#define WEFT_MEMORY_NONE     UINT64_MAX
#define WEFT_BACKOFF_NONE    (-1)
#define WEFT_OUTPUTS_MAX     1024
#define WEFT_INPUTS_MAX      65535
#define WEFT_ARG_MAX         4096
#define WEFT_CONTEXT_MAX     4096
#define WEFT_RETRY_ON_MAX    16
#define WEFT_RESOURCES_MAX   24 /* names of a runtime */
#define WEFT_REQUEST_MAX     8  /* names that one task asks for */
#define WEFT_GPUS_MAX        64

/* An amount of a resource that the program has named; counted in steps of 1/10000. */
struct weft_resource {
	const char *name; /* at most 63 bytes; not "CPU", "GPU" or "memory" */
	double amount;
};

/*
 * Options of a task (a zero field takes the base's value):
 *
 *   field           default (0)              word for "none"
 *   name            the WEFT_TASK() name     -
 *   n_outputs       1                        WEFT_OUTPUTS_NONE (_STREAM, _LIST: weft_stream.h)
 *   priority        WEFT_PRIORITY_NORMAL     -
 *   on_input_error  WEFT_INPUT_FAIL_FAST     -
 *   retries         no retry                 WEFT_RETRIES_NONE; WEFT_RETRIES_FOREVER
 *   retry_on        every code               - (with n_retry_on)
 *   backoff_ns      at once                  WEFT_BACKOFF_NONE
 *   backoff_max_ns  a minute                 -
 *   memory_retries  no retry                 WEFT_RETRIES_NONE
 *   cpus            1 CPU                    WEFT_CPUS_NONE
 *   gpus            none                     WEFT_GPUS_NONE
 *   gpu_mem         gpus of its memory       - (see below)
 *   memory          none, no limit           WEFT_MEMORY_NONE
 *   memory_soft     8/10 of memory           WEFT_MEMORY_NONE
 *   resources       none                     - (with n_resources)
 *   deadline        none                     WEFT_FOREVER (never "poll")
 *   group           the parent's             WEFT_GROUP_NONE (weft_group.h)
 *   context         the parent's             - (with context_size)
 *   seed            the parent's stream      -
 *   arg_drop        nothing to drop          NULL
 *   key             not kept                 NULL (this and the next three: weft_session.h)
 *   key_retries     5                        WEFT_RETRIES_NONE
 *   output_name     no output directory      NULL
 *   output_place    the session's            NULL
 *   actor_group     the default group        WEFT_ACTOR_GROUP_DEFAULT
 *   actor_class     not checked              -
 *   window          no limit                 0 (of a stream: items not taken before it waits)
 *   items_max       100,000,000              - (items of a body that emits)
 *
 * Resources are admission: a task starts when its whole request is free, and all of it is given
 * back when it ends, however it ends. A task of 1 CPU is not counted: the worker that runs it is
 * its CPU. Others wait for their turn with those of the same request, first come, first served; a
 * smaller request may overtake a larger one, and a request that can never be met waits until it is
 * cancelled and keeps nobody else back. See weft_resources.h for what a runtime has.
 *
 *   cpus   2 and more: as many workers stand aside while the body runs, so that it may start
 *          threads of its own (weft_task_info() names the CPUs); one of them runs it. Fractions
 *          and WEFT_CPUS_NONE: the body runs on a thread of its own beside the workers, and
 *          one worker stands aside for each whole CPU that fractions add up to. A body that only
 *          waits in calls of weft needs none of this: waiting gives its CPU back.
 *   gpus   at most 1, or a whole number: that many of the runtime's GPUs, or a share of one.
 *          With devices (weft_cuda.h) as much of each one's memory is taken with it as gpu_mem
 *          says; 0: all of it, or of the smallest device's what the share is. -EINVAL without gpus.
 *          Of a lost device nothing is given any more: a request that the others can never meet
 *          ends its task as WEFT_EDEVICE.
 *   While a task waits (get, wait, sleep, yield) its CPUs are free for others, and it goes on at
 *   once when the wait is over even if that is more than there are; the rest it keeps.
 */
struct weft_place;
struct weft_task_options {
	size_t struct_size;                   /* sizeof(struct weft_task_options) */
	const struct weft_task_options *base; /* at most 8 deep */
	const char *name; /* static, or alive until the task ends; at most 255 bytes */
	uint32_t flags;   /* enum weft_task_flags; unknown bits: -EINVAL */
	uint32_t n_outputs;
	uint32_t priority;       /* enum weft_priority */
	uint32_t on_input_error; /* enum weft_on_input_error */
	/*
	 * Further attempts after the body failed (up to 254, or for ever); a task that was
	 * cancelled is never tried again. Getters see the last attempt's error.
	 */
	uint32_t retries;
	uint32_t memory_retries; /* after WEFT_EOOM, each with twice the memory; at most 32 */
	uint32_t n_retry_on;     /* at most WEFT_RETRY_ON_MAX */
	uint32_t n_resources;    /* at most WEFT_REQUEST_MAX */
	const int *retry_on;     /* only these codes of a body are tried again; copied */
	/* Before the n-th further attempt: backoff_ns * 2^(n-1), at most backoff_max_ns. */
	int64_t backoff_ns, backoff_max_ns;
	double cpus, gpus; /* in steps of 1/10000 */
	/*
	 * Bytes: counted against the runtime's memory, and the most that the body may hold by
	 * weft_task_alloc(). Above memory_soft that is logged once.
	 */
	uint64_t memory, memory_soft;
	const struct weft_resource *resources; /* names as given to weft_open(); copied */
	/*
	 * Absolute. A task that has not ended by then is cancelled, in whatever state, with what it
	 * has submitted, and ends as WEFT_EDEADLINE; a body that returns a value all the same has
	 * that value.
	 */
	weft_deadline deadline;
	weft_group group;
	/* Bytes for the body and the tasks it submits, see weft_task_context(); copied. */
	const void *context;
	size_t context_size; /* at most WEFT_CONTEXT_MAX */
	uint64_t seed;       /* of weft_task_random(), here and in the tasks it submits */
	/*
	 * Called exactly once with the task's argument when it is no longer needed, on every path:
	 * ran, failed, cancelled, never ran. Not called when the submit itself fails.
	 */
	void (*arg_drop)(void *arg, size_t size);
	const char *key, *output_name, *output_place; /* copied */
	uint32_t key_retries;
	uint32_t window, items_max;
	uint32_t reserved0; /* zero */
	/* Of calls of actors, see weft_actor.h: concurrency group, class of the method. */
	const char *actor_group;
	uint64_t actor_class;
	uint64_t gpu_mem;     /* bytes of each device that is granted */
	/* Where it runs, see weft_placement.h; NULL: wherever a worker is free. Copied. */
	const struct weft_place *place;
	uint64_t reserved[1]; /* zero */
};

#ifdef __cplusplus
}
#endif

#endif /* WEFT_OPTIONS_H */
