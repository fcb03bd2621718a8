/*
 * weft_actor.h: actors. Part of weft.h, which includes it; the words owned, borrowed, copied and
 * counted, and "Context", are explained there.
 *
 * An actor is a block of memory and a queue of calls. A call is a task whose body finds that memory
 * by weft_actor_state(); of one actor's calls only one runs at a time (more with max_concurrency),
 * so bodies need no locks. A class is a static description; weft_actor_create() makes an actor of
 * it; weft_actor_call(), or weft_submit() with `.actor`, calls it and gives references like any
 * other task, with inputs, outputs, errors, cancel and retries.
 *
 *	struct counter { int64_t n; };
 *	static int add(weft_task *self)
 *	{
 *		struct counter *c = weft_actor_state(self);
 *		c->n += *(int64_t *)weft_task_arg(self, NULL);
 *		return weft_return(self, &c->n, sizeof c->n);
 *	}
 *	static const struct weft_actor_class counter = {
 *		.struct_size = sizeof counter, .state_bytes = sizeof(struct counter)
 *	};
 *	weft_actor_create(rt, &counter, NULL, NULL, &actor);
 *	weft_actor_call(rt, actor, add, &one, sizeof one, &ref);
 *
 * Options of a method (outputs, retries, concurrency group, window ..) are a static const struct
 * weft_task_options beside it, given as `.opts` of each call, or changed for one call as for tasks:
 * `.opts = WEFT_TASK_OPTIONS(.base = &those, .retries = 3)`.
 *
 * Order. Calls of one caller run in the order of their submits. The caller is the calling actor,
 * else the calling task, else the calling thread. A call whose inputs are not ready holds back the
 * later calls of the same caller, in the same concurrency group, and nobody else's. A call that is
 * tried again, because its body failed (retries) or the actor crashed, leaves the order: the actor
 * goes on with the others at once, and the next attempt goes to the end of the queue when its
 * back-off is over. Until then it is pending as one that waits for inputs: max_pending counts it, a
 * stop waits for it, a kill ends it, and a restart does not touch it. A later call that needs its
 * result takes it as an input; one that waits for it inside may find a WEFT_EDEADLOCK.
 *
 * Long queues. When 5,000 calls wait in one queue of an actor, or for their inputs, the log has one
 * warning, another when there are twice as many, and so on. What a caller has pending is limited,
 * see max_pending.
 *
 * Waiting. A call that blocks in weft_get() frees its worker; the actor stays busy with it. One
 * that waits for a later call of its own actor, or round a ring of actors, or for an actor that
 * cannot begin before this one lets go of what it holds, is answered WEFT_EDEADLOCK.
 *
 * Methods may be generators (weft_stream.h). Items that one has given stay when its actor dies, and
 * the next is the failure; when it runs again (max_task_retries) no item is given twice.
 *
 * Death. An actor dies by weft_actor_kill(), weft_actor_stop(), weft_actor_exit(), a failed init,
 * a crash without a restart left, when its last handle is released and its calls are done, when its
 * group is cancelled, when the placement group that it is in is removed, or when the runtime
 * closes. Every call that did not run, and every later one,
 * ends with WEFT_EACTOR, whose cause says why. A running body cannot be stopped: it is told as by
 * weft_cancel(), and its refs end with WEFT_EACTOR when it returns.
 */
#ifndef WEFT_ACTOR_H
#define WEFT_ACTOR_H

#ifndef WEFT_H
#include "weft.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Description ------------------------------------------------------------------------- */

#define WEFT_ACTOR_NAME_MAX      255
#define WEFT_ACTOR_GROUPS_MAX    32
#define WEFT_PENDING_UNLIMITED   UINT32_MAX
#define WEFT_PENDING_DEFAULT     1024
#define WEFT_CONCURRENCY_MAX     65535
#define WEFT_RESTARTS_UNLIMITED  UINT32_MAX
#define WEFT_TASK_RETRIES_ALWAYS UINT32_MAX
#define WEFT_ACTOR_NORMAL        3u /* as priority: WEFT_PRIORITY_NORMAL, whoever creates it */
#define WEFT_ACTOR_NONE          ((weft_actor){ 0 }) /* C only */

enum weft_actor_flags {
	WEFT_ACTOR_DETACHED = 1u << 0,  /* lives without handles: only kill, stop and exit end it */
	WEFT_ACTOR_ANY_ORDER = 1u << 1, /* ready calls pass those whose inputs are not ready */
	WEFT_ACTOR_IN_ORDER = 1u << 2,  /* asks for order; -EINVAL with max_concurrency above 1 */
	WEFT_ACTOR_GET = 1u << 3,       /* create: if the name is taken, a handle of that actor */
};

/* As actor_group of a call: the default group, where its base names another. */
#define WEFT_ACTOR_GROUP_DEFAULT "_default"

/* A concurrency group: a queue and a limit of its own inside an actor. */
struct weft_actor_group {
	const char *name;         /* what weft_task_options.actor_group names; no other's */
	uint32_t max_concurrency; /* at least 1 */
};

struct weft_place; /* weft_placement.h */

/*
 * What an actor holds from before its init until it is dead, over restarts, and while a call of it
 * waits (zero fields: nothing). It is asked for like the request of a task, see weft_options.h: all
 * at once, in turn with others, without keeping anybody else back; until it is there the actor is
 * WEFT_ACTOR_PENDING, its calls wait, and weft_pending() lists the request. Killing the actor ends
 * that wait; weft_cancel_pending() ends the actor. An actor that holds nothing, the default, costs
 * memory only, and each call of it that runs has a worker's CPU.
 *
 *   cpus       in steps of 1/10000; 1 is counted, too. They are kept from other requests for CPUs.
 *              No worker stands aside for them: calls run on workers, and so do, while the actor is
 *              idle, tasks of one CPU, which are not counted
 *   gpus       at most 1, or a whole number
 *   gpu_mem    bytes of each device, as in weft_options.h
 *   memory     bytes; calls have no limit by it
 *   resources  with n_resources; borrowed for the create
 *   place      the actor's, also when it holds nothing else; see weft_placement.h
 *
 * A call finds them by weft_task_info(): cpus, gpus, gpu[], gpu_mem, and weft_task_place().
 *
 * With devices (weft_cuda.h) each call, init and fini too, runs as a task that was granted those:
 * it has a stream, the device's context and the granted memory, and has ended when the device has
 * done its work. What a call takes by weft_cuda_alloc() is its own; what is to stay is an output
 * that is passed on as an input. Such an actor runs one call at a time (-ENOTSUP: max_concurrency,
 * groups). When the device is lost its calls end with WEFT_EDEVICE; what it holds it keeps until it
 * is dead.
 */
struct weft_actor_holds {
	size_t struct_size; /* sizeof(struct weft_actor_holds) */
	double cpus, gpus;
	uint64_t memory;
	const struct weft_resource *resources;
	uint32_t n_resources; /* at most WEFT_REQUEST_MAX */
	uint32_t reserved0;   /* zero */
	uint64_t gpu_mem;
	const struct weft_place *place; /* NULL: anywhere; copied */
};

/*
 * A class of actors: usually `static const`; borrowed until the runtime is closed.
 *
 *   field             default (0)             other words
 *   name              "actor"                 -
 *   id                not checked             -
 *   state_bytes       no state                -
 *   init, fini, drop  nothing to do           NULL
 *   groups            the default group only  -
 *   max_pending       1024 per caller         WEFT_PENDING_UNLIMITED
 *   max_concurrency   1                       at most 65535; above 1 the order is as with
 *                                             WEFT_ACTOR_ANY_ORDER
 *   max_restarts      none                    WEFT_RESTARTS_UNLIMITED
 *   max_task_retries  none                    WEFT_TASK_RETRIES_ALWAYS
 *   priority          of the task or call     enum weft_priority, WEFT_ACTOR_NORMAL
 *                     that creates it, else
 *                     normal
 *   holds             nothing                 one with zero fields, in the options
 */
struct weft_actor_class {
	size_t struct_size; /* sizeof(struct weft_actor_class) */
	const char *name;   /* at most 255 bytes */
	uint64_t id;        /* calls with options.actor_class of another value are refused */
	size_t state_bytes; /* zeroed, 64-byte aligned, before init */
	/*
	 * The first call, with the argument and the inputs given at create. When it fails the actor
	 * dies, and its error is the cause of every call's.
	 */
	weft_task_fn *init;
	/* The last call: after stop, exit, the last handle's release; not after kill or a crash. */
	weft_task_fn *fini;
	/*
	 * Called once for each state, on whatever end, after fini: for memory that it holds. It may
	 * release refs and actors, and must not wait; actors that end by it do so after its return.
	 */
	void (*drop)(void *state, size_t size);
	const struct weft_actor_group *groups; /* beside the default group */
	uint32_t n_groups;                     /* at most WEFT_ACTOR_GROUPS_MAX */
	uint32_t flags;                        /* enum weft_actor_flags; unknown bits: -EINVAL */
	uint32_t max_pending;                  /* calls of one caller that have not ended */
	uint32_t max_concurrency;              /* of the default group */
	uint32_t max_restarts;                 /* after crashes */
	uint32_t max_task_retries;             /* further attempts of a call that a crash ended */
	uint32_t priority;
	uint32_t reserved0; /* zero */
	const struct weft_actor_holds *holds;
	uint64_t reserved[3]; /* zero */
};

/* What one actor has different from its class; zero fields take the class's value. */
struct weft_actor_options {
	size_t struct_size;
	const char *name; /* unique in its namespace while it lives; NULL: none; copied */
	const char *ns;   /* NULL: the runtime's; copied */
	uint32_t flags;   /* added to the class's */
	uint32_t max_pending, max_concurrency, max_restarts, max_task_retries, priority;
	const struct weft_actor_holds *holds; /* in place of the class's */
	/*
	 * Its calls, whoever makes them, are tasks of this group: they share its time, are counted
	 * and joined with it; when it is cancelled or destroyed the actor is killed. Default: the
	 * group of the task or call that creates it; WEFT_GROUP_NONE: none.
	 */
	weft_group group;
	uint64_t reserved[2]; /* zero */
};

/* ---- Create and call ----------------------------------------------------------------------- */

/*
 * Create an actor. Its init runs as the first call: `init` holds argument and inputs for it, with
 * `fn` NULL, or is NULL. Calls may follow at once; they wait for it.
 *
 * Owned:    `*out` is the caller's; weft_actor_release() it. Argument and names are copied, inputs
 *           retained.
 * Context:  any thread, any task. Does not suspend.
 * Errors:   -EINVAL a bad class, option, name or input, an init argument without an init;
 *           -EMSGSIZE a name or argument is too long; -EEXIST the name is taken (with
 *           WEFT_ACTOR_GET that actor, `*out` is a handle of it and 1 is returned); -ENOTSUP an
 *           option of init's call that calls do not have; -ENOMEM, WEFT_ECLOSED, -ECHILD;
 *           -ECANCELED the group is cancelled. `*out` untouched. What it is to hold is refused as
 *           by weft_submit(), with a line in the log.
 */
WEFT_API WEFT_NODISC int weft_actor_create(weft *rt, const struct weft_actor_class *class_,
                                           const struct weft_actor_options *opts,
                                           const struct weft_call *init, weft_actor *out);
/*
 * Call `fn` on an actor, with a copied argument and default options: the short form of
 * weft_submit() with `.actor`.
 *
 * Owned:    `*out` is the caller's. `out` NULL: fire and forget, which is cheaper.
 * Context:  any thread, any task. Does not suspend.
 * Order:    after the caller's earlier calls; what the caller wrote before is visible to the body,
 *           and what earlier calls of the actor wrote.
 * Errors:   -EINVAL no such actor, or of another class (options.actor_class), an unknown
 *           options.actor_group; WEFT_ECALLS the caller has max_pending calls there that have not
 *           ended; WEFT_EACTOR it is dead and `out` is NULL (with `out`, the ref says so);
 *           -ENOTSUP WEFT_TASK_BLOCKING, a key, an output directory; as weft_spawn().
 *           `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_actor_call(weft *rt, weft_actor actor, weft_task_fn *fn,
                                         const void *arg, size_t arg_size, weft_ref *out);
/*
 * Wait until the caller may make a call: fewer than max_pending of its calls are pending. Who has
 * to wait goes on when half of max_pending is free (512 at most), or when less is and the actor has
 * nothing to run, or its body suspends or enters a blocking section: a full queue is work for a
 * while, and many calls can be made then. A body that runs long tells nobody before it ends.
 *
 * Owned:    the handle stays the caller's.
 * Context:  any thread, any task. May suspend.
 * Order:    none among those who wait: room that is seen may be taken by another call of the same
 *           caller.
 * Errors:   -EINVAL, -ETIMEDOUT not by `until`, -EINTR as weft_get(), WEFT_EACTOR it is dead or was
 *           told to stop, -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_actor_wait_room(weft *rt, weft_actor actor, weft_deadline until);

/* ---- Inside a call -------------------------------------------------------------------------- */

/*
 * The actor's state, borrowed until the body returns; NULL outside calls and without state.
 * Context: in a task. Never suspends.
 */
WEFT_API void *weft_actor_state(const weft_task *self);
/*
 * The actor that runs this call, borrowed until the body returns: weft_actor_retain() it to keep
 * it. Zero outside calls. Context: in a task. Never suspends.
 */
WEFT_API weft_actor weft_actor_self(const weft_task *self);
/*
 * End the actor when this body returns: its refs and all queued calls end with WEFT_EACTOR, then
 * fini runs. Returns WEFT_EACTOR, for `return weft_actor_exit(self)`. Context: in a call; -EINVAL
 * elsewhere, and nothing happens. Never suspends.
 */
WEFT_API int weft_actor_exit(weft_task *self);
/*
 * Say that the state is damaged: when this body returns its refs end with WEFT_EACTOR (or it is
 * tried again, max_task_retries), the state is dropped and, while max_restarts lasts, init runs
 * again with its first arguments and queued calls go on; else the actor dies. So does a method that
 * returns WEFT_ECRASH, with the text of weft_fail(); any other error of a body is no crash. Init
 * runs again at once the first time, and then after 1 ms, doubled up to 1 s, until the actor has
 * lived for 10 s. `why` is copied. Returns WEFT_EACTOR; -EINVAL outside a call. Never suspends.
 */
WEFT_API int weft_actor_crash(weft_task *self, const char *why);

/* ---- Handles and life ------------------------------------------------------------------------ */

/* Add / drop a count. Any thread, never suspend. -ENOMEM; -EINVAL a zero, stale or foreign one. */
WEFT_API int weft_actor_retain(weft *rt, weft_actor actor);
WEFT_API int weft_actor_release(weft *rt, weft_actor actor);
/*
 * A ready ref whose value is the handle (a struct weft_actor) and which holds a count of it: for
 * inputs, outputs and objects that carry an actor. `*out` owned. Any thread, never suspends.
 * -EINVAL, -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_actor_ref(weft *rt, weft_actor actor, weft_ref *out);
/*
 * A ref that is ready when the actor is dead: empty after stop, exit and the last release, else
 * failed with WEFT_EACTOR and the reason. `*out` owned. Any thread, never suspends. -EINVAL,
 * -ENOMEM.
 */
WEFT_API WEFT_NODISC int weft_actor_died(weft *rt, weft_actor actor, weft_ref *out);

enum weft_kill { WEFT_KILL_NOW = 0, WEFT_KILL_RESTART = 1 /* counts as a crash */ };
/*
 * Kill: queued calls end at once with WEFT_EACTOR, the running one when its body returns, which is
 * told by weft_task_cancelled() and by -EINTR from calls that suspend; fini does not run. The name
 * is free when this returns. With WEFT_KILL_RESTART as weft_actor_crash(): queued calls stay.
 * Any thread, also before init ran. Never suspends. -EINVAL not an actor; 0 also when dead.
 */
WEFT_API int weft_actor_kill(weft *rt, weft_actor actor, int how);
/*
 * End an actor after what is queued: later calls are refused, then fini runs. Waits until it is
 * dead; at `until` it is killed and -ETIMEDOUT returned. May suspend. Errors: -EINVAL, -EDEADLK
 * from one of its own calls (use weft_actor_exit()), -EINTR, -ENOMEM. 0 also when it was dead.
 */
WEFT_API WEFT_NODISC int weft_actor_stop(weft *rt, weft_actor actor, weft_deadline until);

/* ---- Names ----------------------------------------------------------------------------------- */

/*
 * Find a living actor by name; `ns` NULL: the runtime's namespace. `*out` owned. Any thread, never
 * suspends. -EINVAL no name or an empty one, -EMSGSIZE, -ENOENT.
 */
WEFT_API WEFT_NODISC int weft_actor_find(weft *rt, const char *ns, const char *name,
                                         weft_actor *out);
/* Call fn for each name of a namespace (NULL: of all), in no order; it must not call weft. How many
 * there were. Any thread, never suspends. -EINVAL. */
typedef void weft_actor_name_fn(void *arg, const char *ns, const char *name, weft_actor actor);
WEFT_API int weft_actor_list(weft *rt, const char *ns, weft_actor_name_fn *fn, void *arg);

/* ---- Observation --------------------------------------------------------------------------- */

enum weft_actor_phase {
	WEFT_ACTOR_PENDING = 0, /* init has not ended, or waits for what the actor is to hold */
	WEFT_ACTOR_IDLE,
	WEFT_ACTOR_RUNNING, /* or about to */
	WEFT_ACTOR_RESTARTING,
	WEFT_ACTOR_DEAD,
};
struct weft_actor_info {
	size_t struct_size; /* set by the caller */
	int phase;          /* enum weft_actor_phase */
	uint32_t restarts;
	uint32_t queued;                /* calls in its queues */
	uint32_t running;               /* calls inside */
	uint64_t calls;                 /* bodies that have returned */
	int64_t busy_ns;                /* time in bodies, with WEFT_OPEN_TIMING, else 0 */
	const char *class_name;         /* borrowed until the runtime is closed */
	const struct weft_error *cause; /* dead: why; borrowed while the caller's count lasts */
};
/* A snapshot. Any thread, never suspends. -EINVAL. */
WEFT_API int weft_actor_info(weft *rt, weft_actor actor, struct weft_actor_info *info);

/* All actors of one class that the runtime has had. */
struct weft_actor_class_info {
	const struct weft_actor_class *class_; /* borrowed until the runtime is closed */
	const char *name;                      /* "actor" when it has none */
	uint64_t created;
	uint64_t pending, idle, running, restarting; /* as enum weft_actor_phase; others died */
	uint64_t queued, calls, restarts;            /* sums of weft_actor_info's */
	int64_t busy_ns;
};
/*
 * Call fn for each class, in no order, with an info that is borrowed for the call; it must not call
 * weft. How many there were. A snapshot, exact when nothing changes: an actor that is just going
 * may be left out. Any thread, never suspends. -EINVAL, -ENOMEM.
 */
typedef void weft_actor_class_fn(void *arg, const struct weft_actor_class_info *info);
WEFT_API int weft_actor_classes(weft *rt, weft_actor_class_fn *fn, void *arg);

#ifndef __cplusplus
#define WEFT_ACTOR_OPTIONS(...) \
	(&(const struct weft_actor_options){ .struct_size = sizeof(struct weft_actor_options), \
	                                     __VA_ARGS__ })
/* The fields of a static class: static const struct weft_actor_class c = WEFT_ACTOR_CLASS(...). */
#define WEFT_ACTOR_CLASS(...) \
	{ \
		.struct_size = sizeof(struct weft_actor_class), __VA_ARGS__ \
	}
#endif

#ifdef __cplusplus
}
#endif

#endif /* WEFT_ACTOR_H */
