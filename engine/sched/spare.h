/*
 * spare.h: OS threads beside the workers. A part of runtime.h, which includes it.
 */
#ifndef WF_SPARE_H
#define WF_SPARE_H

/* ---- An OS thread of the runtime: a worker's, or a spare ------------------------------------ */

enum wf_job_kind { WF_JOB_NONE = 0, WF_JOB_WORKER, WF_JOB_TASK, WF_JOB_EXIT };

struct wf_thread_state {
	weft *rt;
	struct wf_thread thread;
	struct wf_context ctx;  /* the thread's own stack */
	struct wf_local *guest; /* its identity while it has no worker */
	struct wf_parker parker;
	struct wf_a32 job; /* enum wf_job_kind */
	struct wf_worker *job_worker;
	struct wf_cell *job_cell;
	struct wf_thread_state *next; /* idle spares */
	struct wf_thread_state *all;  /* every thread of the runtime */
	bool spare;
	struct wf_a64 body; /* ref of the body that may block it; 0: none */
	uint32_t outcome;   /* the cell that may be ended without that body; 0: none */
	const char *outcome_name;
	const struct wf_cell *outcome_of; /* its task, which stays until that body has returned */
	bool abandoned; /* it was; these under threads_mutex */
	int32_t tid;
	struct wf_fiber *left; /* the stack that was just left for this thread's own */
};

/* The calling OS thread of the runtime; not inlined, a fiber may have changed threads. */
struct wf_thread_state *wf_thread_current(void);
void wf_thread_set(struct wf_thread_state *thread);

/* ---- blocking.c ---------------------------------------------------------------------------- */

/*
 * Call fn(arg), which blocks its OS thread, without blocking a worker: the calling task sleeps
 * until it is done (also when it is cancelled), any other caller calls it itself. What `fn`
 * returned, or WEFT_ECLOSED, -ENOMEM, -ECANCELED and it was not called.
 */
int wf_call_blocking(weft *rt, int (*fn)(void *arg), void *arg) WF_SUSPENDS;

/* ---- spare.c ------------------------------------------------------------------------------- */

/* Run a BLOCKING task beside the workers; `may_wait`: also once a thread is free. */
bool wf_spare_run(struct wf_local *self, struct wf_cell *cell, bool may_wait);
/* Around a wait without an end of a body that has a thread for itself. */
void wf_outside_sleeps(struct wf_local *self);
void wf_outside_wakes(struct wf_local *self);
/* Give this thread's worker to a spare thread. 0, -EAGAIN. */
int wf_spare_take_over(struct wf_worker *worker);
/* The body of this task, if it may block its thread: wake it out of a system call. */
void wf_spare_interrupt(struct wf_local *self, struct wf_cell *cell, uint32_t gen);
/* The same for all that were cancelled: how many there are. */
uint32_t wf_spares_nag(weft *rt);
/*
 * The body of a task with WEFT_TASK_ABANDON begins or ends on this thread; `outcome` is what its
 * getters wait for. _end(): true, it was abandoned and nobody waits any more.
 */
void wf_spare_outcome(struct wf_local *self, const struct wf_cell *cell,
                      const struct wf_cell *outcome, const char *name);
bool wf_spare_outcome_end(struct wf_local *self, const struct wf_cell *cell,
                          const struct wf_cell *outcome);
/* Take the outcome from its body, which goes on: 0, the caller ends it; -EBUSY it does not run, or
 * not on a spare thread. */
int wf_spare_abandon(struct wf_local *self, const struct wf_cell *outcome, char *name, size_t size,
                     int32_t *thread);
/* What a thread without a worker does: wait for a job. */
void wf_spares_stop(weft *rt);
int wf_thread_create(weft *rt, struct wf_worker *worker, const char *name);
void wf_threads_join(weft *rt);

#endif /* WF_SPARE_H */
