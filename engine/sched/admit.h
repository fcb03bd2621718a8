/*
 * admit.h: admission of tasks that ask for more, or for less, than the CPU of one worker.
 */
#ifndef WF_ADMIT_H
#define WF_ADMIT_H

#include "base.h"
#include "weft.h"

#define WF_FIXED 10000 /* steps of an amount */

/* Resources by index; those of the program follow. */
enum wf_res {
	WF_RES_CPU = 0, /* of requests that are counted */
	WF_RES_COLLECT, /* there is one: who has it collects workers */
	WF_RES_GPU,     /* whole ones */
	WF_RES_SHARE,   /* of one GPU */
	WF_RES_GPU_MEM, /* bytes of each device that GPU or SHARE takes; after them in a shape */
	WF_RES_MEMORY,  /* bytes */
	WF_RES_NAMED,
	WF_RES_MAX = WF_RES_NAMED + WEFT_RESOURCES_MAX,
	WF_RES_BUNDLE = 254, /* in place of one: room in a bundle, see bundles.c */
	WF_RES_NONE = 255
};

struct wf_need {
	uint32_t res;
	int64_t amount;
};
#define WF_NEEDS_MAX (WF_RES_NAMED + WEFT_REQUEST_MAX)

/* What makes two requests the same kind of request. */
struct wf_shape {
	uint32_t n;
	uint8_t priority;
	bool beside; /* the body runs on a thread of its own */
	bool keeps;  /* for an actor, see kept.c: its CPUs are an amount like others */
	uint8_t place;   /* enum weft_place_strategy, but for NODE_SOFT */
	bool capture;    /* what it submits is in the group as well */
	uint16_t node;   /* of WEFT_PLACE_NODE */
	uint32_t bundle; /* of the group, plus one; 0: any */
	uint64_t pg;     /* placement group, a handle; 0: none */
	struct wf_need need[WF_NEEDS_MAX];
};
#define WF_NODE_NONE 0xffffu

struct weft_task;
struct wf_cell;
struct wf_class;
struct wf_ext;
struct wf_gpu_end;
struct wf_gpu_run;
struct wf_local;
struct wf_wait_node;
struct wf_worker;

enum wf_request_state {
	WF_REQUEST_NEW = 0,    /* not asked yet, or between two attempts */
	WF_REQUEST_WAITING,    /* in its class's queue */
	WF_REQUEST_COLLECTING, /* all is taken, workers are still to stand aside */
	WF_REQUEST_GRANTED,
	WF_REQUEST_PASSED, /* may start with nothing, because it is only to end */
	WF_REQUEST_OVER
};

/* A task's part of admission, in its cold block; under the mutex unless said otherwise. */
struct wf_request {
	struct wf_class *class;
	struct wf_ext *next, *prev;   /* in the class's queue */
	struct wf_wait_node *sleeper; /* an attempt that waits for its turn */
	struct wf_gpu_run *run;       /* of the attempt that is at a device; its runner's */
	struct wf_gpu_end *end;       /* one that began ahead waits for its inputs */
	uint64_t gpus;                /* bit mask, granted */
	int64_t cpus;                 /* counted, of class and attempt; 0: none */
	uint32_t *cpu;                /* the machine's numbers of the granted CPUs */
	uint32_t n_cpu;
	uint32_t stuck;  /* in the list of last resort; see ready.c */
	uint32_t bundle; /* of its placement group, granted */
	uint16_t stream; /* that comes with a grant taken over, plus one */
	uint16_t node;   /* granted; WF_NODE_NONE: any */
	uint8_t state;   /* enum wf_request_state */
	bool beside;     /* runs on a thread of its own; fixed */
	bool held;       /* has its CPUs, or has left them for a while */
	bool lent;       /* the worker that runs it counts as one that stands aside */
	bool away;       /* blocked: its CPUs are free for others */
	bool refused;    /* its devices are lost: it goes on to end */
	bool kept;       /* on its node, and on no other */
	/* Two of a byte, which nobody writes later. */
	bool slot : 1;    /* one CPU of a bundle: the worker that runs it is that CPU; fixed */
	bool capture : 1; /* as in its shape; fixed */
};
_Static_assert(sizeof(struct wf_request) == 96, "with the cold block's head two cache lines");

/* A grant that is an actor's now. */
struct wf_kept {
	struct wf_class *class; /* counted; NULL: nothing */
	uint64_t gpus;
	struct wf_gpu_run *run; /* of the call that is at a device; its runner's */
	uint32_t bundle;        /* of its placement group */
	uint16_t node;          /* WF_NODE_NONE: any */
	bool stays;             /* on its node, and on no other */
	bool captures;          /* what its calls submit is in the group as well */
};

/* A device was lost: nothing of it is given any more, and who can never be served ends. */
void wf_admit_gpu_lost(struct wf_local *self, uint32_t device);
/* Bytes of a device that may be used there by what was granted to this class, of the caller's. */
uint64_t wf_admit_gpu_mem(weft *rt, const struct wf_class *class, uint32_t device);
/* What of one device is free: thousandths of thousandths, and bytes. */
void wf_admit_gpu_free(weft *rt, uint32_t device, int64_t *share, int64_t *bytes);
/* The memory that a share of `amount` stands for. */
int64_t wf_admit_gpu_part(const weft *rt, int64_t amount);

const char *wf_admit_bad_option(const struct weft_options *o); /* of weft_open(); NULL: none */
bool wf_admit_same_options(const struct weft_options *a, const struct weft_options *b);
int wf_admit_create(weft *rt); /* from the options; 0, -ENOMEM */
void wf_admit_destroy(weft *rt);
/* Index of a resource of the program; WF_RES_NONE. */
uint32_t wf_admit_named(const weft *rt, const char *name);

/* Before the task is built: its class, counted; NULL: -ENOMEM. */
struct wf_class *wf_admit_class(weft *rt, const struct wf_shape *shape);
void wf_admit_class_drop(weft *rt, struct wf_class *class);
void wf_request_init(struct wf_request *request, struct wf_class *class);
/* Its placement group was removed. */
bool wf_class_is_gone(const struct wf_class *class);

/* The inputs of a task with a request are there: queued, or ready at once. Cannot fail. */
void wf_admit(struct wf_local *self, struct wf_cell *cell);
/* A task with a request ends, or will never begin: everything is given back, once. */
void wf_admit_end(struct wf_local *self, struct wf_ext *ext);
/* The grant of a running task goes over to `kept`. False: it has none. */
bool wf_admit_keep(weft *rt, struct wf_ext *ext, struct wf_kept *kept);
void wf_admit_let_go(struct wf_local *self, struct wf_kept *kept);
/* Whether something waits while others keep what could be enough for it. */
bool wf_admit_starves(weft *rt);
/* A queued task is ended by its canceller. True: it was in no queue but that of its class. */
bool wf_admit_withdraw(struct wf_local *self, struct wf_ext *ext);
struct wf_grants;
/*
 * Locked by a canceller that does not end it: it waits for resources no longer. What that grants is
 * to be sent once no cell is locked.
 */
void wf_admit_hurry(weft *rt, struct wf_ext *ext, struct wf_grants *grants);
/* It starts on a worker after all, because there was no other thread. */
void wf_admit_started(struct wf_local *self, struct wf_ext *ext);
/* Between two attempts: give back all but the CPUs. `memory`: what the next one asks for. */
void wf_admit_pause(struct wf_local *self, struct wf_ext *ext);
/*
 * Take it again, with `memory` bytes; may wait. 0; -EINTR, WEFT_EDEADLOCK, -EAGAIN, -ENOMEM,
 * WEFT_EPLACEMENT and nothing is taken; WEFT_EOOM the runtime does not have that much.
 */
int wf_admit_again(struct weft_task *frame, int64_t memory) WF_SUSPENDS;

/* Around a wait of a running task that holds counted CPUs: NULL, or what _back() wants. */
struct wf_ext *wf_admit_leave_slow(struct wf_local *self); /* see wf_admit_leave() */
void wf_admit_back(struct wf_ext *ext);
/* The running task's worker goes to others, its body stays on the thread. */
void wf_admit_unlend(struct wf_local *self);

/* A worker between two items, while somebody collects: it stands aside, or gets what to run. */
struct wf_cell *wf_admit_attend(struct wf_worker *worker);
/* Cancel what waits in one class; how many. */
int64_t wf_admit_cancel_class(struct wf_local *self, uint64_t id);
/* Whatever waits may go on, to end: everything is cancelled. */
void wf_admit_open(struct wf_local *self);
/* The same of what is in a cancelled group. */
void wf_admit_cancel_groups(struct wf_local *self);
/* What waits and was asked to stop goes on, to end. */
void wf_admit_cancel_asked(struct wf_local *self);

#endif /* WF_ADMIT_H */
