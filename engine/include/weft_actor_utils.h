/*
 * weft_actor_utils.h: what programs of actors are made with beside actors: timers, queues, topics,
 * pools, supervisors. Part of weft.h, which includes it; the words owned, borrowed, copied,
 * consumed and counted, and "Context", are explained there.
 *
 * Queues, topics, pools and supervisors are their creator's, who destroys them before the runtime
 * is closed and with nobody inside. They may be used from any thread and any
 * task; whoever waits in one frees its worker, as in weft_get().
 */
#ifndef WEFT_ACTOR_UTILS_H
#define WEFT_ACTOR_UTILS_H

#ifndef WEFT_H
#include "weft.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Timers ---------------------------------------------------------------------------------- */

/*
 * Call an actor, without a result, `ns` from now; or again and again, every `ns`, the first time
 * after `ns`. A call that is due while the last one of the same timer has not ended is left out.
 * `out` is ready when the call was made, and cancelled when none will be made any more: by
 * weft_cancel(), when the actor has died, or when the runtime begins to close. A timer does not
 * keep its actor alive, and its calls have no order to others. Until it ends it holds a stack.
 *
 * Owned:    `*out` is the caller's; `out` NULL: nobody will cancel it. `arg` is copied.
 * Context:  any thread, any task. Does not suspend.
 * Errors:   -EINVAL no such actor, no fn, ns negative (or zero, with every); -EMSGSIZE, -ENOMEM,
 *           WEFT_ECLOSED. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_tell_after(weft *rt, weft_actor actor, int64_t ns, weft_task_fn *fn,
                                         const void *arg, size_t arg_size, weft_ref *out);
WEFT_API WEFT_NODISC int weft_tell_every(weft *rt, weft_actor actor, int64_t ns, weft_task_fn *fn,
                                         const void *arg, size_t arg_size, weft_ref *out);

/* ---- Queues ---------------------------------------------------------------------------------- */

/*
 * A queue of references, first in, first out, of at most `max` (0: any number). Those who wait are
 * served in the order in which they came.
 */
typedef struct weft_queue weft_queue;

/* `*out` owned; weft_queue_destroy() it. Any thread, never suspends. -EINVAL, -ENOMEM. */
WEFT_API WEFT_NODISC int weft_queue_create(weft *rt, uint32_t max, weft_queue **out);
/* NULL is accepted. What is in it is released. Any thread, never suspends. */
WEFT_API void weft_queue_destroy(weft_queue *queue);
/*
 * Put `n` refs, all of them beside each other or none, as soon as there is room for all.
 *
 * Owned:    the refs are consumed; on an error they are still the caller's.
 * Context:  any thread, any task. May suspend until `until`, with WEFT_POLL never.
 * Errors:   -ETIMEDOUT no room until then, -EMSGSIZE n is more than max, WEFT_ECLOSED the queue
 *           or the runtime is closed, -EINTR as weft_get(), -EINVAL, -ENOMEM, -EAGAIN.
 */
WEFT_API WEFT_NODISC int weft_queue_put(weft_queue *queue, const weft_ref *refs, uint32_t n,
                                        weft_deadline until);
/*
 * Take refs: at least `least`, together, as soon as so many are there, and up to `most` then. From
 * a closed queue what is left, even fewer. Returns how many.
 *
 * Owned:    the refs are the caller's.
 * Context:  as weft_queue_put().
 * Errors:   -ETIMEDOUT not so many until then; -EMSGSIZE least is more than max; -EINVAL least is
 *           0 or more than most; else as weft_queue_put(). `out` untouched.
 */
WEFT_API WEFT_NODISC int weft_queue_take(weft_queue *queue, weft_ref *out, uint32_t least,
                                         uint32_t most, weft_deadline until);
/* How many refs are in it: a snapshot. Any thread, never suspends. -EINVAL. */
WEFT_API int64_t weft_queue_size(weft_queue *queue);
/*
 * Refuse what is put from now on, and those who wait to put. With `drop` what is in the queue is
 * released, else it can still be taken; takers then get WEFT_ECLOSED. Any thread, never suspends.
 * -EINVAL.
 */
WEFT_API int weft_queue_close(weft_queue *queue, bool drop);

/* ---- Topics ---------------------------------------------------------------------------------- */

/* Actors that want to be told, each by a method of its own. */
typedef struct weft_topic weft_topic;

/* `*out` owned; weft_topic_destroy() it. Any thread, never suspends. -EINVAL, -ENOMEM. */
WEFT_API WEFT_NODISC int weft_topic_create(weft *rt, weft_topic **out);
/* NULL is accepted. Any thread, never suspends. */
WEFT_API void weft_topic_destroy(weft_topic *topic);
/*
 * Have `fn` called on `actor` with whatever is published from now on. The subscription holds a
 * count of the actor until it is undone, the topic is destroyed, or a publish finds the actor dead.
 * Any thread, never suspends. -EINVAL no such actor, no fn; -EEXIST, -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_topic_subscribe(weft_topic *topic, weft_actor actor,
                                              weft_task_fn *fn);
/* Undo it. A publish that has begun may still call. -ENOENT, -EINVAL, -ENOMEM. Never suspends. */
WEFT_API int weft_topic_unsubscribe(weft_topic *topic, weft_actor actor, weft_task_fn *fn);
/*
 * Call all subscribers with the message's argument and inputs, without results, in the order of
 * their subscriptions. Returns how many were called. What one caller publishes reaches each of them
 * in that order.
 *
 * Owned:    `message` is borrowed for the call; its fn and actor are zero. Argument and inputs are
 *           treated as by weft_submit().
 * Context:  any thread, any task. May suspend until `until`, while the caller has max_pending
 *           calls pending at a subscriber.
 * Errors:   -ETIMEDOUT, -EINTR: subscribers have been left out, `*missed` (or NULL) says how many;
 *           the others were called. -EINVAL; -ENOMEM, WEFT_ECLOSED: some may have been called.
 */
WEFT_API int weft_topic_publish(weft_topic *topic, const struct weft_call *message,
                                weft_deadline until, uint32_t *missed);

/* ---- Pools ----------------------------------------------------------------------------------- */

/* Actors that share work: a call goes to one that is idle, or waits until one is. */
typedef struct weft_pool weft_pool;

/*
 * Make a pool of `n` actors, 0 or more, of which it holds counts. `*out` owned; weft_pool_destroy()
 * it. Any thread, never suspends. -EINVAL no such actor, -EEXIST one is there twice, -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_pool_create(weft *rt, const weft_actor *actors, uint32_t n,
                                          weft_pool **out);
/* NULL is accepted. Calls that wait are not made; refs that nobody took are released. */
WEFT_API void weft_pool_destroy(weft_pool *pool);
/*
 * Call a method, with one output, on whichever actor is idle first, in the order of the submits.
 *
 * Owned:    argument and inputs as by weft_submit(); `call->actor` is zero; `call->opts` is
 *           borrowed until the call has ended.
 * Context:  any thread, any task. Does not suspend.
 * Errors:   those of weft_submit(); WEFT_EACTOR the pool had actors and all are dead; -ENOTSUP
 *           items that are taken one by one.
 */
WEFT_API WEFT_NODISC int weft_pool_submit(weft_pool *pool, const struct weft_call *call);
/*
 * The ref of a submit that has not been given out, once its call has ended: of the oldest, or of
 * the first that ended.
 *
 * Owned:    `*out` is the caller's.
 * Context:  any thread, any task. May suspend.
 * Errors:   -ENOENT every submit's was given out, -ETIMEDOUT, -EINTR as weft_get(), WEFT_ECLOSED,
 *           -ENOMEM, -EAGAIN. Any other: this submit could not be called (WEFT_EACTOR all actors
 *           died first), and it counts as given out. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_pool_next(weft_pool *pool, weft_deadline until, weft_ref *out);
WEFT_API WEFT_NODISC int weft_pool_next_ready(weft_pool *pool, weft_deadline until, weft_ref *out);
/* One more actor; waiting calls go to it first. Never suspends. -EINVAL, -EEXIST, -ENOMEM. */
WEFT_API WEFT_NODISC int weft_pool_push(weft_pool *pool, weft_actor actor);
/* Take an idle actor out; `*out` owned. Never suspends. -EAGAIN none is idle, -EINVAL. */
WEFT_API WEFT_NODISC int weft_pool_pop_idle(weft_pool *pool, weft_actor *out);

struct weft_pool_info {
	size_t struct_size; /* set by the caller */
	uint32_t actors, idle;
	uint32_t queued;  /* submits that wait for an actor */
	uint32_t running; /* calls that have not ended */
	uint32_t ended;   /* not given out yet */
};
/* A snapshot. Any thread, never suspends. -EINVAL. */
WEFT_API int weft_pool_info(weft_pool *pool, struct weft_pool_info *info);

/* ---- Supervisors ----------------------------------------------------------------------------- */

/*
 * What happens when one of several actors crashes (weft_actor_crash(), WEFT_ECRASH,
 * WEFT_KILL_RESTART): which of them begin anew, and when it is too much. Handles, names and queued
 * calls of those that begin anew stay. All of them are closed to calls before the first init runs,
 * so an init that calls another child reaches its new state. One whose init runs right then is
 * anew already.
 *
 * A child whose init fails when it runs again has crashed again. After more than `intensity`
 * crashes within `period_ns` the supervisor is over: its children are killed, the last one first.
 * Stop, exit, WEFT_KILL_NOW and a first init that fails are the child's own business.
 */
typedef struct weft_supervisor weft_supervisor;

enum weft_strategy {
	WEFT_ONE_FOR_ONE = 0, /* the one that crashed begins anew */
	WEFT_ONE_FOR_ALL,     /* all do */
	WEFT_REST_FOR_ONE,    /* it and those that were added after it do */
};
#define WEFT_INTENSITY_NONE UINT32_MAX
#define WEFT_INTENSITY_MAX  65535

/*
 *   field      default (0)        word for "none"
 *   strategy   WEFT_ONE_FOR_ONE   -
 *   intensity  1                  WEFT_INTENSITY_NONE: the first crash is one too many
 *   period_ns  5 s                -
 */
struct weft_supervisor_options {
	size_t struct_size;   /* sizeof(struct weft_supervisor_options) */
	uint32_t strategy;    /* enum weft_strategy */
	uint32_t intensity;   /* at most WEFT_INTENSITY_MAX */
	int64_t period_ns;    /* on the runtime's clock */
	uint64_t reserved[2]; /* zero */
};

/* `*out` owned; weft_supervisor_destroy() it. Any thread, never suspends. -EINVAL, -ENOMEM. */
WEFT_API WEFT_NODISC int weft_supervisor_create(weft *rt,
                                                const struct weft_supervisor_options *opts,
                                                weft_supervisor **out);
/* NULL is accepted. The children live on, on their own. Any thread, never suspends. */
WEFT_API void weft_supervisor_destroy(weft_supervisor *supervisor);
/*
 * Supervise an actor, of which a count is held. Its max_restarts must be WEFT_RESTARTS_UNLIMITED:
 * it is the supervisor that limits them. Any thread, never suspends. Errors: -EINVAL no such actor,
 * or its restarts are limited; -EEXIST it has a supervisor; WEFT_EACTOR it, or the supervisor, is
 * dead; -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_supervisor_add(weft_supervisor *supervisor, weft_actor actor);
/*
 * weft_actor_stop() the children, the last one first, each until `until`. May suspend. The first
 * error, after doing all the others; -EINVAL.
 */
WEFT_API WEFT_NODISC int weft_supervisor_stop(weft_supervisor *supervisor, weft_deadline until);
/*
 * A ref that is ready when the supervisor is over: failed with WEFT_EACTOR after too many crashes,
 * empty after its destroy. `*out` owned. Any thread, never suspends. -EINVAL.
 */
WEFT_API WEFT_NODISC int weft_supervisor_died(weft_supervisor *supervisor, weft_ref *out);

#ifdef __cplusplus
}
#endif

#endif /* WEFT_ACTOR_UTILS_H */
