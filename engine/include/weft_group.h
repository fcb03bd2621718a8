/*
 * weft_group.h: groups of tasks: a query, a job, a tenant; a part of weft.h, which includes this
 * file.
 *
 *	weft_group query;
 *	weft_group_create(rt, WEFT_GROUP_OPTIONS(.weight = 3), &query);
 *	weft_submit(rt, WEFT_TASK(scan, .opts = WEFT_TASK_OPTIONS(.group = query)), &ref);
 *	weft_group_join(rt, query, WEFT_FOREVER);     scan, and all that it has submitted
 *	weft_group_destroy(rt, query);
 *
 * A task is in the group of options.group, else in that of the task that submits it, else in none.
 * Tasks in no group are together one more competitor, of weight 1 and normal priority, and pay
 * nothing for the groups of others. Groups nest: what a group is given is shared out again among
 * its own tasks and the groups in it, and whatever stops or bounds a group does so to those as
 * well. Calls of an actor are in the group of the actor (weft_actor_options.group), whoever makes
 * them.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
/* Included first, it comes in at its place in weft.h, which what stands there needs. */
#ifndef WEFT_H
#include "weft.h"
#endif
#ifndef WEFT_GROUP_H
#define WEFT_GROUP_H

#ifdef __cplusplus
extern "C" {
#endif

/* As options.group of a task: in no group, whoever submits it. */
#define WEFT_GROUP_NONE       ((weft_group){ UINT64_MAX }) /* C only */
#define WEFT_GROUPS_MAX       4095                         /* at once, of a runtime */
#define WEFT_GROUP_DEPTH_MAX  8                            /* groups inside each other */
#define WEFT_GROUP_WEIGHT_MAX 10000

/*
 * Options of a group (zero fields take the default):
 *
 *   field         default (0)
 *   parent        the group of the calling task, else none   (WEFT_GROUP_NONE: none)
 *   weight        1
 *   priority      WEFT_PRIORITY_NORMAL
 *   parallel_max  no limit
 *   memory        no limit
 *   name          ""
 *
 *   weight        Among the groups of one parent that have something to run, time on the workers is
 *                 given in proportion to it. A group that had nothing to run gets no more for that
 *                 than a few turns.
 *   priority      Strict, among the groups of one parent: nothing of a lower one is begun while
 *                 something of a higher one is ready. A body that runs is not interrupted.
 *   parallel_max  So many bodies are on workers at once. A body that waits counts no more, and may
 *                 have to wait for its turn to go on; nor does one that has a thread beside the
 *                 workers (WEFT_TASK_BLOCKING, weft_block_enter(), fractions of a CPU), or a fork
 *                 of a body that a worker has taken, or a body with WEFT_TASK_STAY that goes on.
 *   memory        Bytes that may be reserved in it, and in the groups in it, by
 *                 weft_group_reserve(). It is a count that bodies keep with each other, not what
 *                 they allocate.
 */
struct weft_group_options {
	size_t struct_size; /* sizeof(struct weft_group_options) */
	weft_group parent;
	const char *name;  /* copied; at most 63 bytes */
	uint32_t weight;   /* at most WEFT_GROUP_WEIGHT_MAX */
	uint32_t priority; /* enum weft_priority */
	uint32_t parallel_max;
	uint32_t reserved0; /* zero */
	uint64_t memory;
	uint64_t reserved[5];
};

/*
 * Make a group. `opts` NULL: defaults.
 *
 * Owned:    `*out` is the caller's, who alone may destroy it. The handle is a number that others
 *           may use meanwhile.
 * Context:  any thread. Does not suspend.
 * Errors:   -EINVAL an unknown or bad option, a stale or foreign parent (the log names the field);
 *           -EMLINK deeper than WEFT_GROUP_DEPTH_MAX; -ENOSPC WEFT_GROUPS_MAX are there; -ENOMEM;
 *           -ECANCELED the parent is cancelled. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_group_create(weft *rt, const struct weft_group_options *opts,
                                           weft_group *out);
/*
 * Give a group up. What has not ended in it is cancelled, as by weft_group_cancel(), and is not
 * waited for (weft_group_join() first, to have it end well). Groups in it stay, cancelled, until
 * they are destroyed.
 *
 * Owned:    consumed: the handle is stale from here on. A zero one is accepted and does nothing.
 * Context:  any thread, tasks of the group as well. Does not suspend.
 * Errors:   -EINVAL a stale or foreign group.
 */
WEFT_API int weft_group_destroy(weft *rt, weft_group group);

/*
 * Stop a group for good: submits into it are refused with -ECANCELED; its tasks, and those of the
 * groups in it, are cancelled as weft_cancel() does it: what has not begun never runs, who waits or
 * sleeps is woken, and running bodies see weft_task_cancelled(). Not more than one body for each
 * worker runs on: until it looks. Actors in them are killed, as by weft_actor_kill().
 * Context: any thread. Suspends: never. Errors: -EINVAL a stale or foreign group, -ENOMEM.
 */
WEFT_API int weft_group_cancel(weft *rt, weft_group group);

/*
 * Wait until no task of the group, and of the groups in it, is left. What is submitted by others
 * meanwhile is waited for as well. A task without outputs counts like any other.
 *
 * Context:  any thread. May suspend.
 * Order:    everything that those tasks did is visible.
 * Errors:   -ETIMEDOUT some are left at `until` (WEFT_POLL: a look); -EINVAL a stale or foreign
 *           group; WEFT_EDEADLOCK the caller is one of those tasks; -EINTR as weft_get(); -ENOMEM.
 *           How the tasks have ended is told by weft_group_stats() and by their references.
 */
WEFT_API WEFT_NODISC int weft_group_join(weft *rt, weft_group group, weft_deadline until);

/*
 * Run tasks of the group, and of the groups in it, on the calling host thread until `ref` is ready
 * (or, with a zero ref, until no task of the group is left) or `until` passes: weft_run() for
 * somebody who waits for a query and helps nobody else. Bodies in other groups, or in none, are not
 * run. The thread counts towards parallel_max.
 * Context: outside tasks. Blocks. Errors: -EINVAL a stale or foreign group, and as weft_run().
 */
WEFT_API int weft_group_run(weft *rt, weft_group group, weft_ref ref, weft_deadline until);

struct weft_group_stats {
	size_t struct_size; /* set by the caller */
	uint64_t submitted; /* tasks */
	uint64_t done;      /* ended with a value */
	uint64_t failed;    /* ended without one, the cancelled among them */
	uint64_t cancelled;
	uint64_t queued;  /* ready to run or to go on, right now; of an actor's calls the first */
	uint64_t running; /* on workers, right now */
	uint64_t memory;  /* reserved, right now */
	/*
	 * Times come from a clock that is read once for a turn of some 500 us, or for a body that
	 * is longer, and never for every task; they are right to within such turns.
	 */
	int64_t queued_ns;  /* all tasks together, ready and not running */
	int64_t run_ns;     /* processor time on workers */
	int64_t longest_ns; /* longest turn: when it is far beyond 500 us, a body that holds on */
};
/*
 * Counters of a group with those in it, the destroyed ones included. The first four are exact when
 * nothing runs.
 * Context: any thread. Suspends: never. Errors: -EINVAL.
 */
WEFT_API int weft_group_stats(weft *rt, weft_group group, struct weft_group_stats *stats);

/*
 * The group of a running task; zero: none, or it was destroyed.
 * Context: in a task, with its own `self`. Suspends: never.
 */
WEFT_API weft_group weft_task_group(const weft_task *self);

/* ---- Memory ------------------------------------------------------------------------------- */

/*
 * Reserve `bytes` of a group's memory, and of the groups that it is in: all of it at once, or wait.
 * First the groups that are short are asked to reclaim, once; then the caller waits until others
 * give back. A smaller reservation may overtake a larger one.
 *
 * Owned:    the bytes are the group's until weft_group_give_back(), or until it is destroyed.
 * Context:  any thread. May suspend unless `until` is WEFT_POLL; no worker is blocked meanwhile.
 * Errors:   -ETIMEDOUT, -EMSGSIZE more than the memory of one of those groups; -EINVAL a stale or
 *           foreign group, or one that was destroyed meanwhile; -EINTR as weft_get(); -ENOMEM.
 *           Nothing is reserved then.
 */
WEFT_API WEFT_NODISC int weft_group_reserve(weft *rt, weft_group group, uint64_t bytes,
                                            weft_deadline until);
/*
 * Give back what was reserved in this group. Any thread, never suspends. -EINVAL a stale or foreign
 * group, more than it holds.
 */
WEFT_API int weft_group_give_back(weft *rt, weft_group group, uint64_t bytes);
/*
 * Have `fn` called when a reservation does not fit in the group's memory, with how many bytes are
 * short: it drops caches and gives back what it can; it may do nothing. It is called by whoever
 * reserves, in a task or on a host thread, also by several at once, and must not reserve itself.
 * One per group, the last one counts; NULL: none.
 * Context: any thread. Suspends: never. Errors: -EINVAL a stale or foreign group.
 */
typedef void weft_reclaim_fn(void *arg, uint64_t bytes);
WEFT_API int weft_group_on_reclaim(weft *rt, weft_group group, weft_reclaim_fn *fn, void *arg);

/*
 * Leave a count of a reference to the group, which releases it when it is destroyed: partitions,
 * hash tables, whatever a query makes and must not outlive it, however it ends.
 *
 * Owned:    one count of `ref` is consumed on success.
 * Context:  any thread. Does not suspend.
 * Errors:   -EINVAL a stale or foreign group or ref; -ENOMEM.
 */
WEFT_API int weft_group_keep(weft *rt, weft_group group, weft_ref ref);

/* ---- Long bodies ------------------------------------------------------------------------- */

/*
 * Whether a long body should let others run: it has been running for a turn (500 us) and something
 * else is ready, or something of a higher priority is, or it was cancelled, or its worker is asked
 * for. Then call weft_yield(), or return WEFT_AGAIN to be called again later with the argument as
 * the body has left it: from its start, in the same attempt, with its outputs and its
 * weft_task_alloc() memory kept. Cheap enough for every morsel, not for every row. A body without
 * a worker (see parallel_max) is never asked to.
 * Context: in a task, with its own `self`. Suspends: never.
 */
WEFT_API bool weft_should_yield(weft_task *self);

#ifndef __cplusplus
#define WEFT_GROUP_OPTIONS(...) \
	(&(const struct weft_group_options){ .struct_size = sizeof(struct weft_group_options), \
	                                     __VA_ARGS__ })
#endif

#ifdef __cplusplus
}
#endif

#endif /* WEFT_GROUP_H */
