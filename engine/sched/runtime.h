/*
 * runtime.h: a runtime, its workers, and a thread's identity in it.
 */
#ifndef WF_RUNTIME_H
#define WF_RUNTIME_H

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "base.h"
#include "call.h"
#include "cell.h"
#include "error.h"
#include "fiber.h"
#include "queue.h"
#include "slab.h"
#include "stream.h"
#include "weft.h"

#define WF_HELPERS_MAX 16u /* host threads inside weft_run() at once */
#define WF_WORKERS_MAX 1024u
#define WF_LOCALS_MAX  32768u
#define WF_DIRS_MAX    16u /* of options.spill_dirs */
#define WF_PRIORITIES  3
#define WF_STEAL_MAX   64u        /* items moved by one steal */
#define WF_SPIN_US     15u        /* searching before sleeping; 10 to 20 measured best elsewhere */
#define WF_IDLE_ALWAYS (1u << 16) /* in `idle` without membarrier: pushers always look closer */
#define WF_POLITE_US   2u         /* spinning between a host thread and a worker before a yield */
#ifdef WF_SIM
#define WF_INJECT_PERIOD 5u
#else
#define WF_INJECT_PERIOD 61u /* tasks between looks at the injector */
#endif
/* ---- Items of the queues: a task, a parked fiber, a fork on a stack, an actor's turn --------- */

#define WF_ITEM_CELL  0u
#define WF_ITEM_FIBER 1u
#define WF_ITEM_FORK  2u
#define WF_ITEM_ACTOR 3u
#define WF_ITEM_MASK  3u

/* ---- The running task's frame, on its stack ------------------------------------------------ */

struct weft_task {
	struct wf_cell *cell;
	weft *rt;
	void *arg;
	weft_task_fn *fn;
	struct wf_payload *payload; /* of output 0, not sealed */
	struct wf_error *error;     /* of weft_fail(); or more than that, see attempt.h */
	struct weft_task *outer;    /* the task this one runs in place on top of */
	uint32_t arg_size;
	uint32_t borrowed; /* 1: a stolen fork, the cell is the forking task's */
	WF_ALIGNED(16) unsigned char data[WF_INLINE_BYTES];
};

#define WF_FLOOR_NONE ((char *)UINTPTR_MAX)
#define WF_RT_NONE    ((weft *)UINTPTR_MAX) /* equals no argument, not even NULL */

#include "group.h"
#include "idle.h"

/* ---- A thread's identity ------------------------------------------------------------------- */

struct wf_counters {
	struct wf_a64 failed, cancelled, popped, early, stolen, steals, forced, suspended, parked,
		woken, skipped, retried, faults;
};

struct wf_local {
	weft *rt;
	weft *fast_rt;  /* rt where submits may go the short way, from a body; else WF_RT_NONE */
	weft *plain_rt; /* fast_rt, but for what the running bodies pass on */
	struct weft_task *current; /* innermost frame */
	struct wf_fiber *fiber;    /* whose stack we are on; NULL on a thread's own */
	char *stack_floor; /* below this a get parks, not runs in place; or WF_FLOOR_NONE: never */
	uint16_t id;
	uint16_t node;
	bool worker;              /* this is a struct wf_worker */
	uint32_t head;            /* wf_head() of new cells, without their kind */
	uint32_t mark;            /* wf_mark() of a first attempt here */
	bool walking;             /* inside wf_cancel_children() */
	bool early_busy;          /* inside early_end() */
	struct wf_cell *early;    /* claimed, to be ended; linked through their data */
	bool passing, refusing;   /* calls become ready, or are refused, one by one; see call.c */
	bool draining, drain;     /* inside wf_groups_end_queued(); and all of them once more */
	bool ends;                /* actors end one by one; see life.c of the actors' room */
	struct wf_actor *ending;  /* those still to come */
	struct wf_ext *pass;      /* those still to come, linked through their call info */
	struct wf_cell *refuse;   /* those still to come, linked through their data */
	struct wf_a32 caller_gen; /* guests: changes with the thread, whose calls have an order */
	uint32_t chain;           /* turns that turns have scheduled here */
	uint16_t shared_left;     /* inbox drains until new cells start private again */
	uint32_t touches_seen;
	struct wf_a32 foreign_touches; /* that cost a membarrier: many make cells start shared */
	struct wf_slab slab;
	struct wf_store_local *store; /* made when first needed */
	uint64_t share;               /* as a fiber's, of a thread without */
	uint32_t room_calls;          /* calls entered that are not left, see wf_room_enter() */
	bool metas_busy;              /* inside meta_drop() */
	struct wf_object_meta *metas; /* of objects that are gone: their refs are to go */
	struct wf_counters count;     /* written by this thread, read racily for statistics */
	struct wf_a64 submitted, completed; /* tasks: the sums decide whether all is done */
	struct wf_random random;
	struct wf_local *next_free; /* guests: returned by threads that have ended */
	struct wf_aptr *tls_at;     /* guests: their thread's wf_local_tls */
};

struct wf_worker {
	struct wf_local local;
	WF_ALIGNED(64) struct wf_deque deque[WF_PRIORITIES];
	WF_ALIGNED(64) struct wf_stack_cache stacks;
	struct wf_context *thread_ctx; /* of the OS thread that runs this worker now */
	struct wf_thread_state *thread;
	/* What the code after the next switch must do on this worker. */
	struct wf_fiber *switched_from; /* NULL: nothing */
	struct wf_wait *switched_wait;  /* commit this wait */
	bool switched_yield;            /* queue it last; neither: its stack is free */
	uint32_t tick;
	uint32_t index;
	uint64_t polled; /* wf_ticks() at its last look at devices */
	uint32_t cpu;
	struct wf_a32 attend;     /* WF_LOOK_... */
	bool helper;              /* a host thread in weft_run() */
	bool woke_host;           /* has ended a host thread's wait since the last search */
	bool called, placed_last; /* woken for a thing of its node; had one last; see lanes.c */
	struct wf_a32 aside;      /* it stands aside, see slots.c */
	struct wf_worker *aside_next;
	struct wf_ext *aside_for;    /* the task that its CPU is named to */
	struct wf_wait *helper_wait; /* its exit condition */
	struct wf_a32 active;        /* its deques may be stolen from */
	struct wf_a32 stay_parked;   /* WEFT_TASK_STAY fibers that wait to resume here */
	uint16_t victims_count;
	uint16_t *victims; /* nearest first */
	struct wf_lone lone;
	struct wf_trickle trickle;
	struct wf_stretch stretch;
	struct wf_group *only; /* a helper: of this group alone */
	struct wf_nap nap;
	WF_ALIGNED(64) struct wf_parker parker;
	struct wf_mpsc inbox; /* WEFT_TASK_STAY fibers made ready by others */
};

/* ---- Waiting ------------------------------------------------------------------------------- */

/* ARMING -> PARKED by the sleeper's successor on its thread; either -> FIRED + enum wf_wake. */
enum wf_wait_phase { WF_WAIT_ARMING = 0, WF_WAIT_PARKED, WF_WAIT_FIRED };
enum wf_wake { WF_WAKE_READY = 0, WF_WAKE_TIMEOUT, WF_WAKE_CANCEL, WF_WAKE_DEADLOCK };

struct wf_wait_node {
	struct wf_waiter waiter;
	struct wf_wait *wait;
	struct wf_cell *cell;
	struct wf_a32 fired; /* the firer's last touch of the node */
	bool pushed;
};

/* One suspension of one task, or one blocked host thread. Lives on its stack. */
struct wf_wait {
	struct wf_a32 phase;      /* enum wf_wait_phase; whoever stores FIRED wakes it */
	struct wf_a32 need;       /* nodes still to fire */
	struct wf_a32 futex;      /* host threads */
	struct wf_local *outside; /* a body's that has no worker: counted as asleep */
	bool fail_fast;           /* one failed node is enough */
	struct wf_fiber *fiber;   /* NULL: a host thread */
	struct wf_worker *helper; /* a host thread in weft_run() */
	weft *rt;
	struct wf_timer timer;
	bool timed; /* was put among the timers */
	uint32_t node_count;
	struct wf_wait_node *nodes; /* for removal and for the deadlock search */
	bool external;              /* somebody outside may end it: no deadlock */
	bool uninterruptible;       /* not for cancel: somebody uses the sleeper's stack */
	bool room;                  /* for room in the store: what is pinned counts meanwhile */
};

/* The engine's part of a struct wf_fiber. */
struct wf_fiber_user {
	struct weft_task *current;
	struct wf_a32 lock; /* guards `wait` and `task_bits` against cancellers */
	struct wf_wait *wait;
	uint64_t task_bits;       /* handle of the innermost task while blocked */
	struct wf_mpsc_node link; /* in a worker's inbox, or the overflow list */
	uintptr_t home;           /* while parked and bound: its worker, or group << 1 | 1 */
	uint32_t bound;           /* WEFT_TASK_STAY bodies, and << WF_FIBER_GROUP: group */
	uint64_t share;           /* of the store, for the inputs of the bodies on this stack */
	uint16_t giving;          /* bodies that pass something on to what they submit */
	uint16_t counted;         /* bodies that hold counted CPUs */
};
_Static_assert(sizeof(struct wf_fiber_user) <= WF_FIBER_USER_BYTES, "fits the fiber");

static inline struct wf_fiber_user *wf_fiber_user(struct wf_fiber *fiber)
{
	return (struct wf_fiber_user *)(void *)fiber->user;
}

/* A stack on which no body runs yet. */
static inline void wf_fiber_fresh(struct wf_fiber *fiber)
{
	struct wf_fiber_user *user = wf_fiber_user(fiber);

	user->bound = 0;
	user->giving = user->counted = 0;
	user->share = 0;
	user->home = 0;
}

struct wf_thread_state; /* spare.h */

/* ---- The runtime --------------------------------------------------------------------------- */

enum wf_gate {
	WF_GATE_OPEN = 0,
	WF_GATE_DRAIN,  /* submits from outside are refused */
	WF_GATE_CANCEL, /* all submits are refused, what is left ends as cancelled */
	WF_GATE_FORKED, /* this is a fork child */
};

struct weft {
	/* Read-mostly: every submit looks here. */
	struct wf_a32 idle;      /* workers parked or searching; plus WF_IDLE_ALWAYS */
	struct wf_a32 gate;      /* enum wf_gate */
	struct wf_a32 attention; /* WF_ATTEND_...: tasks start the long way */
	struct wf_a32 prio_used; /* something was not of normal priority once */
	struct wf_a32 group_queued, group_epoch; /* see fair.c */
	struct wf_aptr groups;                   /* struct wf_groups; made with the first one */
	struct wf_cell *cells;                   /* = arena.cells */
	uint32_t cells_last;                     /* greatest index */
	uint32_t salt;                           /* upper bits of every generation */
	bool asymmetric;                         /* membarrier works */
	bool timing;
	uint32_t workers;          /* threads */
	uint32_t slots;            /* workers + helpers */
	struct wf_worker **worker; /* [slots] */
	struct wf_stacks *stacks;

	WF_ALIGNED(64) struct wf_arena arena;
	struct wf_clock clock;
	uint32_t node_count;
	struct wf_injector (*inject)[WF_PRIORITIES]; /* [node_count] */
	struct wf_a32 overflow_count;                /* ready things that no queue had room for */
	pthread_mutex_t overflow_mutex;
	struct wf_fiber *overflow_fibers;
	uint32_t overflow_tasks;  /* index of a cell, linked through ext->unready; 0: none */
	uint32_t overflow_actors; /* turns that no queue had room for */
	struct wf_aptr actors;    /* struct wf_actors; made with the first one */

	WF_ALIGNED(64) struct wf_a32 searching;
	struct wf_a32 sleeping; /* parked workers */
	struct wf_a32 watcher;  /* index + 1 of the worker that sleeps with a time-out */
	struct wf_a32 placed;   /* in all lanes of nodes, see lanes.c */
	struct wf_a64 parked_bits[(WF_WORKERS_MAX + WF_HELPERS_MAX) / 64 + 1];

	WF_ALIGNED(64) struct wf_local **locals; /* [WF_LOCALS_MAX] by id */
	struct wf_a32 locals_end;
	pthread_mutex_t locals_mutex;
	struct wf_local *guests_free;

	pthread_mutex_t threads_mutex;
	struct wf_thread_state *threads_all, *spares_idle;
	struct wf_cell **blocking_wait; /* BLOCKING tasks beyond the cap, ring */
	uint32_t blocking_count, blocking_room;
	uint32_t outside_asleep; /* bodies outside that wait for ever, in the engine */
	uint32_t spare_count, spare_max;
	uint64_t abandoned;           /* bodies, ever */
	bool wakes;                   /* it has had wf_wake_install() */
	struct wf_a32 bodies_outside; /* bodies that run on spares */
	struct wf_a32 stopping;
	struct wf_a32 quiet;        /* bumped when the last worker goes idle; close waits here */
	struct wf_a32 external;     /* bumped by every action from outside the workers */
	struct wf_a32 forks_asleep; /* stolen forks that wait, or are about to */

	/* The service thread: timers, interrupts, deadlock search. */
	pthread_mutex_t timer_mutex;
	struct wf_timer **timer_heap; /* [1 .. timer_count], earliest first */
	uint32_t timer_count, timer_room;
	uint32_t timer_tasks;    /* of them, those of tasks */
	uint32_t timer_reserved; /* room for so many more that are to come */
	struct wf_a32 service_word;
	struct wf_a32 service_flags;
	struct wf_thread service;
	bool service_started;

	struct wf_a32 users; /* weft_retain_runtime() */
	struct weft_options options;
	char name[64], ns[64];
	uint64_t seed;
	uint32_t id;
	int32_t pid;
	uint32_t cpus;
	struct wf_a32 helpers_used; /* bit mask of helper slots */
	struct wf_gpus *gpus;       /* see gpu/gpu.h; NULL: none were given */

	/* Values beyond a block, see object.c. The store is opened by the first of them. */
	struct wf_aptr store; /* struct wf_store */
	pthread_mutex_t store_mutex;
	struct wf_lost *lost;        /* errors of objects that could not be restored */
	struct wf_a32 inputs_mind;   /* WF_MIND_...: what a task whose inputs are there may need */
	struct wf_a64 store_idle_at; /* the keeper's memory of the last look */
	/* Calls that will give room back without anybody's help, see wf_room_enter(). */
	struct wf_a64 rooms_entered, rooms_left;
	bool store_closing;
	char *paths;                      /* of the options */
	struct wf_session_table *session; /* see keyed.c; NULL: none */
	struct wf_admit *admit;           /* resources, see admit.h */
	struct wf_lanes *lanes;           /* see place.h; NULL: one node */
	bool seeded;                      /* every task has a random stream */
	struct wf_order *order;           /* of a deterministic runtime; NULL: it is none */
	struct wf_faults *faults;         /* to be injected; NULL: none */
	struct wf_a64 roots;              /* tasks with a stream that no task has submitted */
	struct weft *next_open;           /* registry */

	/* Cancelled tasks whose children are to be looked for, see family.c. */
	pthread_mutex_t kin_mutex;
	struct wf_tag *kin;
	uint32_t kin_count, kin_room;
	uint64_t kin_noted;
	struct wf_big *bigs;        /* cold blocks that are no blocks of a slab */
	pthread_mutex_t walk_mutex; /* who holds it walks */
	uint64_t kin_walked;        /* of kin_noted */

	/* Other processes, see api/attach.c. */
	pthread_mutex_t attach_mutex;
	struct wf_attached *attached; /* NULL: it does not listen */
};

#define WF_MIND_SPILLED      1u /* something was, once: inputs are brought in ahead */
#define WF_MIND_NODES        2u /* objects lie on several nodes */
#define WF_ATTEND_CANCEL     1u /* everything ends as cancelled */
#define WF_ATTEND_FENCE      2u /* no membarrier: a start needs a fence against cancellers */
#define WF_ATTEND_FAULTS     4u /* any attempt may be made to fail */

#define WF_SERVICE_INTERRUPT 1u
#define WF_SERVICE_QUIET     2u
#define WF_SERVICE_STOP      4u
#define WF_SERVICE_NAG       8u /* somebody has been woken out of a system call, or not */

/* ---- Who am I ------------------------------------------------------------------------------ */

extern _Thread_local struct wf_aptr wf_local_tls __attribute__((tls_model("initial-exec")));

struct wf_local *wf_self_call(void);

/*
 * The identity of the calling thread, or NULL. Read anew at every call: a task may have changed
 * threads since the last one, so the compiler must not keep the thread-local's address.
 */
static inline struct wf_local *wf_self(void)
{
#if defined(__x86_64__) && !WF_TSAN && !WF_ASAN
	struct wf_local *self;
	__asm__ volatile("movq wf_local_tls@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0"
	                 : "=r"(self));
	return self;
#else
	return wf_self_call();
#endif
}

/* Roughly where the stack pointer is. */
static inline char *wf_stack_here(void)
{
#if defined(__x86_64__)
	char *sp;
	__asm__ volatile("movq %%rsp, %0" : "=r"(sp));
	return sp;
#else
	return __builtin_frame_address(0);
#endif
}

static inline struct wf_worker *wf_worker_of(struct wf_local *self)
{
	return (struct wf_worker *)self;
}

/* The identity of the calling thread in `rt`, made when it has none. NULL: -ENOMEM. */
struct wf_local *wf_local_slow(weft *rt);
static inline struct wf_local *wf_local_of(weft *rt)
{
	struct wf_local *self = wf_self();

	return WF_LIKELY(self && self->rt == rt) ? self : wf_local_slow(rt);
}
/* Whether the caller may suspend: it is a task of `rt` on a worker. */
static inline bool wf_can_suspend(const struct wf_local *self)
{
	return self->worker && self->fiber && self->current;
}

/* ---- host.c -------------------------------------------------------------------------------- */

/* Aligned, zeroed, registered; in the cold heap of `node`. NULL: -ENOMEM. */
struct wf_local *wf_local_create(weft *rt, bool worker, uint32_t node);
struct wf_local *wf_guest_create(weft *rt); /* or one that another thread left; NULL: -ENOMEM */
void wf_local_forget(struct wf_local *guest);
void wf_local_set(struct wf_local *self);
void wf_locals_detach(weft *rt);
void wf_locals_free(weft *rt);

/* ---- registry.c: the runtimes of this process ------------------------------------------------ */

void wf_registry_lock(void);
void wf_registry_unlock(void);
bool wf_registry_has(weft *rt, uint32_t id); /* under the lock */
int wf_registry_add(weft *rt);               /* gives the id; -ENOMEM */
void wf_registry_remove(weft *rt);

/* ---- cell.c -------------------------------------------------------------------------------- */

static inline weft_ref wf_ref_of(const weft *rt, const struct wf_cell *cell)
{
	/* relaxed: whoever asks holds the cell. */
	return (weft_ref){ (uint64_t)wf_load_relaxed(&cell->gen) << WF_INDEX_BITS |
		           (uint64_t)(cell - rt->cells) };
}

/* The cell a handle names, or NULL when it is zero, stale or of another runtime. */
static inline struct wf_cell *wf_cell_of(const weft *rt, weft_ref ref)
{
	uint32_t index = wf_ref_index(ref);

	/* No handle has generation 0: that is a cell of which none was ever made. */
	if (WF_UNLIKELY(index - 1 >= rt->cells_last || !wf_ref_gen(ref)))
		return NULL;
	struct wf_cell *cell = &rt->cells[index];

	/* relaxed: a holder's generation stays; for anyone else any answer is a snapshot. */
	return WF_LIKELY(wf_load_relaxed(&cell->gen) == wf_ref_gen(ref)) ? cell : NULL;
}

/* Take the first cell off the free list. */
static inline void wf_cell_unlink(struct wf_local *self, struct wf_cell *cell)
{
	struct wf_cell *next = cell->next;

	self->slab.cells_free = next;
	/* After a thief the next one's line is far away: have it come while this one is filled. */
	__builtin_prefetch(next, 1);
}

/* A fresh cell: not shared, all fields but `gen` and `owner` to be set. NULL: -ENOMEM. */
static inline struct wf_cell *wf_cell_alloc(struct wf_local *self)
{
	struct wf_cell *cell = self->slab.cells_free;

	if (WF_UNLIKELY(!cell))
		return wf_cell_alloc_slow(self);
	wf_cell_unlink(self, cell);
	return cell;
}

/* Put a cell of ours that is not tired on the free list; `gen` is that of its next use. */
static inline void wf_cell_reuse(struct wf_local *self, struct wf_cell *cell, uint32_t gen)
{
	/* relaxed: see wf_cell_of(). */
	wf_store_relaxed(&cell->gen, gen);
	wf_store_relaxed(&cell->promise.state, WF_STATE_FREE);
	cell->next = self->slab.cells_free;
	self->slab.cells_free = cell;
}

/* The value is gone (or was in the cell); give the cell back. */
static inline void wf_cell_free(struct wf_local *self, struct wf_cell *cell)
{
	/* relaxed: the last holder is the only one here. */
	uint32_t gen = wf_load_relaxed(&cell->gen) + 1;

	if (WF_UNLIKELY(wf_cell_owner(cell) != self->id || !(gen & WF_REST_MASK))) {
		wf_cell_free_slow(self, cell);
		return;
	}
	wf_cell_reuse(self, cell, gen);
}

/*
 * A queued task is ended by one who has no count of it: he, its entry in the queue, and its last
 * count, if it ever had one, each call wf_cell_destroy_slow() from here on; the last one frees it.
 */
void wf_cell_part(struct wf_cell *cell);
/* Free a done cell with its value or error. */
void wf_cell_destroy_slow(struct wf_local *self, struct wf_cell *cell);
static inline void wf_cell_destroy(struct wf_local *self, struct wf_cell *cell)
{
	if (WF_UNLIKELY(wf_flags(cell) & (WF_CELL_ERROR | WF_CELL_BIG | WF_CELL_TIMED)))
		wf_cell_destroy_slow(self, cell);
	else
		wf_cell_free(self, cell);
}

/* Whether `self` must pay a membarrier to add something to a pending cell. */
static inline bool wf_cell_foreign(const struct wf_local *self, const struct wf_cell *cell)
{
	return !(wf_flags(cell) & WF_CELL_SHARED) && wf_cell_owner(cell) != self->id;
}

void wf_cell_release_slow(struct wf_local *self, struct wf_cell *cell);
/* Drop one count. */
static inline void wf_cell_release(struct wf_local *self, struct wf_cell *cell)
{
	if (!wf_promise_drop(&cell->promise))
		return;
	if (WF_LIKELY(wf_promise_is_done(&cell->promise)))
		wf_cell_destroy(self, cell);
	else
		wf_cell_release_slow(self, cell);
}

/* Fire a list taken from `cell`, and free the cell when it was an orphan. */
void wf_cell_fire(struct wf_local *self, struct wf_cell *cell, uintptr_t list);

/* What weft_get() would return for a done cell. */
int wf_cell_status(const struct wf_cell *cell);
/* The same, for somebody who is told: the failure has been looked at. */
int wf_cell_status_told(const struct wf_cell *cell);
/* Value of a done cell without WF_CELL_ERROR; a value in the store by wf_cell_get_view(). */
static inline struct weft_view wf_cell_view(const struct wf_cell *cell)
{
	if (WF_UNLIKELY(wf_flags(cell) & WF_CELL_BIG))
		return (struct weft_view){ cell->u.payload->data, cell->u.payload->size };
	return (struct weft_view){ cell->data, cell->mark.size };
}

/* At close: what unreleased refs still hold outside the slabs and the store. */
void wf_cells_sweep(weft *rt);
/* A block for up to WF_BLOCK_VALUE_MAX bytes. NULL: -ENOMEM. */
struct wf_payload *wf_payload_alloc(struct wf_local *self, size_t size);
/* Whatever it is, sealed or not; NULL is accepted. */
void wf_payload_free(struct wf_local *self, struct wf_payload *payload);
/* The value of a cell nobody else sees yet: the payload, or, when NULL, at most sixteen bytes. */
void wf_cell_set_value(struct wf_cell *cell, struct wf_payload *payload, const void *data,
                       size_t size);

static inline bool wf_cancelling_all(const weft *rt)
{
	/* relaxed: a request may be seen late. */
	return wf_load_relaxed(&rt->attention) & WF_ATTEND_CANCEL;
}

/* Whether a running task was asked to stop. */
static inline bool wf_task_stopping(const struct weft_task *frame)
{
	const struct wf_cell *cell = frame->cell;

	if (wf_cancel_asked(cell) != WF_CANCEL_NO)
		return true;
	struct wf_ext *ext = wf_cell_ext(cell);

	if (ext && WF_UNLIKELY(ext->call | (ext->parts & WF_PART_GROUP)) &&
	    wf_task_stopping_elsewhere(frame))
		return true;
	return wf_cancelling_all(frame->rt) && !(ext && ext->flags & WF_EXT_ALWAYS);
}

/* ---- submit.c ------------------------------------------------------------------------------ */

/* A fresh cell with every field set but u, the data and the size. NULL: -ENOMEM. */
struct wf_cell *wf_cell_start(struct wf_local *self, uint32_t kind, enum wf_state state);
/* A shared event or signal that waits: seen by who cancels all only when it is whole. */
struct wf_cell *wf_event_start(struct wf_local *self, uint32_t kind);
int wf_submit_internal(weft *rt, const struct weft_call *call);
struct wf_keyed;
/* As weft_submit_call(), of what was checked; on success `keyed` is the task's, see keyed.h. */
int wf_submit_keyed(weft *rt, const struct weft_call *call, const struct weft_task_options *o,
                    struct wf_keyed *keyed, weft_ref *out);
/* 0, WEFT_ECLOSED or -ECHILD for a submit by the caller. */
int wf_gate_check(weft *rt);
/* Copy a struct that begins with struct_size: 0, -EINVAL (too short, non-zero unknown tail). */
int wf_options_read(void *to, size_t known, const void *from);

/* ---- task.c: running and ending ------------------------------------------------------------ */

/* Start a task that is off its queue. False: it has to go the long way, wf_task_run_slow(). */
static inline bool wf_task_begin(struct wf_local *self, struct wf_cell *cell)
{
	/* release [C1]: before the look at `cancel`; the canceller's half is a membarrier. */
	wf_store_release(&cell->promise.state, WF_STATE_RUNNING);
	wf_fence_compiler();
	/* relaxed, both: looked at again on the long way. A request may be seen late. */
	return WF_LIKELY(wf_cell_is_bare(cell) && !wf_load_relaxed(&cell->cancel) &&
	                 !wf_load_relaxed(&self->rt->attention));
}

/* Fill the frame of a first attempt, for an argument that is in the cell. */
static inline void wf_task_frame(struct wf_local *self, struct wf_cell *cell,
                                 struct weft_task *frame)
{
	frame->cell = cell;
	frame->rt = self->rt;
	frame->fn = cell->u.fn;
	frame->payload = NULL;
	frame->error = NULL;
	frame->arg_size = cell->mark.size;
	frame->arg = frame->data;
	frame->borrowed = 0;
	wf_copy_halves(frame->data, cell->data);
	/* relaxed: size 0, attempt 1, this worker. */
	wf_store_relaxed(&cell->mark.all, self->mark);
}

/* Call the body of a task that has begun, identity restored afterwards; *code: what it returned. */
static inline struct wf_local *wf_task_call(struct wf_local *self, struct weft_task *frame,
                                            int *code)
{
	frame->outer = self->current;
	self->current = frame;
	*code = frame->fn(frame);
	self = wf_self();
	self->current = frame->outer;
	return self;
}

void wf_task_run_slow(struct wf_local *self, struct wf_cell *cell) WF_SUSPENDS;
/* The body returned `code`: end the attempt, and the task. */
void wf_task_end(struct wf_local *self, struct weft_task *frame, int code) WF_SUSPENDS;
/* Run a task that is off its queue, on the current stack. */
void wf_task_run(struct wf_local *self, struct wf_cell *cell) WF_SUSPENDS;
/* Complete a cell whose value or error is in place. */
void wf_cell_complete(struct wf_local *self, struct wf_cell *cell);
/* Frees what the ext holds; `keep`: not the block itself nor `more` (times). */
void wf_ext_free(struct wf_local *self, struct wf_ext *ext, bool keep);
const char *wf_task_name(const struct wf_cell *cell, weft_task_fn *fn);
const char *wf_task_site(const struct wf_ext *ext);
/* The error that a returned code stands for; the frame's own text when it has one. */
struct wf_error *wf_body_error(struct weft_task *frame, int code);
struct wf_error *wf_task_error(const struct wf_cell *cell, weft_task_fn *fn, int status,
                               struct wf_error *cause);
void wf_edge_fire(struct wf_waiter *node, struct wf_cell *src, struct wf_local *self);
/* All edges of a submit are linked: drop the submitter's guard. */
void wf_ext_linked(struct wf_local *self, struct wf_ext *ext);
void wf_ext_linked_gpu(struct wf_local *self, struct wf_ext *ext); /* with a request */
/* One count of ext->unready goes; the last one readies the task or frees what ended early. */
void wf_unready_drop(struct wf_local *self, struct wf_ext *ext);
/* Win the right to end a task early, then end it; `error` is consumed. */
bool wf_early_claim(struct wf_ext *ext);
void wf_early_end(struct wf_local *self, struct wf_ext *ext, struct wf_error *error);
/* End a task that is off its queue and will not run; `error` is consumed, NULL: it was asked. */
void wf_task_refuse(struct wf_local *self, struct wf_cell *cell, struct wf_error *error);
/* Win the right to complete an event: 0, -EALREADY. Then give it its value, and complete it. */
int wf_event_claim(struct wf_cell *cell);
void wf_event_complete(struct wf_local *self, struct wf_cell *cell);

#include "attempt.h"
#include "cancel.h"
#include "value.h"

/* ---- attach.c: other processes ------------------------------------------------------------- */

/* Hang up on all; before the store closes. */
void wf_runtime_attach_stop(weft *rt);

/* ---- ready.c: queues ----------------------------------------------------------------------- */

/* A task or a fiber may run now. Cannot fail. */
void wf_ready_cell(struct wf_local *self, struct wf_cell *cell, uint32_t priority);
void wf_ready_running(struct wf_local *self, struct wf_cell *cell); /* past its group */
void wf_ready_fiber(struct wf_local *self, struct wf_fiber *fiber);
void wf_ready_fiber_last(struct wf_local *self, struct wf_fiber *fiber);
/* An actor's turn, also at the far end; of one in a group. */
void wf_ready_actor(struct wf_local *self, struct wf_actor *actor, uint32_t priority, bool last);
void wf_ready_actor_in(struct wf_local *self, struct wf_actor *actor, uint32_t group,
                       uint32_t priority);
void *wf_overflow_take(weft *rt);
/* For a fresh task without ext: 0 or -ENOMEM with nothing changed. */
int wf_ready_try(struct wf_local *self, struct wf_cell *cell);
/* After a push by a worker while others are hungry. */
void wf_push_hungry(struct wf_worker *worker);
static inline void wf_pushed(struct wf_worker *worker)
{
	/* relaxed: pairs with the membarrier of a worker that goes to sleep, or [S1] in there. */
	if (WF_UNLIKELY(wf_load_relaxed(&worker->local.rt->idle)))
		wf_push_hungry(worker);
}
int wf_put_hungry(struct wf_worker *worker);
/* wf_ready_cell(), whose common end on a worker is short. */
static inline void wf_ready_soon(struct wf_local *self, struct wf_cell *cell, uint32_t priority)
{
	struct wf_deque *deque = &wf_worker_of(self)->deque[WEFT_PRIORITY_NORMAL];

	if (WF_UNLIKELY(priority != WEFT_PRIORITY_NORMAL || !self->worker ||
	                !wf_deque_has_room_local(deque, wf_deque_bottom_local(deque)))) {
		wf_ready_cell(self, cell, priority);
		return;
	}
	wf_deque_put_local(deque, wf_deque_bottom_local(deque), cell);
	/* relaxed: as in wf_pushed_put(), whose bargain this is. */
	if (WF_UNLIKELY(wf_load_relaxed(&self->rt->idle)))
		wf_put_hungry(wf_worker_of(self));
}
/*
 * The same after wf_deque_put_local(), which does not look whether a thief has asked. Whoever asks
 * is idle, so that one look tells both; what was asked by a worker that has found something else
 * meanwhile can wait. 0.
 */
static inline int wf_pushed_put(weft *rt, struct wf_worker *worker)
{
	/* relaxed: as above. */
	if (WF_UNLIKELY(wf_load_relaxed(&rt->idle)))
		return wf_put_hungry(worker);
	return 0;
}
void wf_wake_one(weft *rt);
void wf_wake_all(weft *rt);

/* ---- worker.c ------------------------------------------------------------------------------ */

void *wf_next_item(struct wf_worker *worker); /* NULL: stop */
void wf_run_item(struct wf_local *self, void *item) WF_SUSPENDS;
void wf_fiber_main(struct wf_fiber *fiber, void *arg);
void wf_fork_run(struct wf_local *self, struct weft_fork *fork) WF_SUSPENDS;
/*
 * Adopt `worker` on this thread until its loop stops or it is given to another thread (then
 * wf_self() is the thread's guest). 0, or -EAGAIN when there is no stack.
 */
int wf_worker_enter(struct wf_thread_state *thread, struct wf_worker *worker);
/* The worker now runs on `fiber`, outside any task. */
void wf_worker_on(struct wf_worker *worker, struct wf_fiber *fiber);
void *wf_thread_main(void *arg);
bool wf_runtime_is_quiet(weft *rt);
bool wf_something_queued(weft *rt);
/* Whether no body runs and none is about to, as far as one look tells; timers count as bodies. */
bool wf_runtime_is_idle(weft *rt);
uint64_t wf_runtime_progress(weft *rt); /* moves when a task ends or parks */

/* ---- suspend.c ----------------------------------------------------------------------------- */

void wf_wait_init(struct wf_wait *wait, struct wf_local *self, uint32_t need, int64_t until);
void wf_wait_fire(struct wf_waiter *node, struct wf_cell *cell, struct wf_local *self);
/* Fire a node that belongs to no cell, from a thread of the store: its last touch is `fired`. */
void wf_wait_fire_from_outside(struct wf_wait *wait, struct wf_wait_node *node);
/* Try to end a wait for `reason`; true: this call did, and the sleeper runs again. */
bool wf_wait_wake(struct wf_wait *wait, int reason, struct wf_local *self);
/*
 * Sleep until the wait is fired, then wf_wait_finish(). 0, -ETIMEDOUT, -EINTR (the caller was
 * cancelled), WEFT_EDEADLOCK, -EAGAIN (no stack), -ENOMEM (no timer).
 */
int wf_wait_sleep(struct wf_wait *wait) WF_SUSPENDS;
/* For a helper: take back the nodes of a wait that is over. */
void wf_wait_leave(struct wf_wait *wait);
/* Put the calling task at the far end of the queues. 0, -EAGAIN. */
int wf_suspend_yield(void) WF_SUSPENDS;
/* Go on with a parked fiber; the current stack is `from`, at its base, and may be reused. */
_Noreturn void wf_fiber_resume(struct wf_worker *worker, struct wf_fiber *from,
                               struct wf_fiber *to);
/* Arm one node; false: the cell is done. */
bool wf_wait_add(struct wf_local *self, struct wf_wait *wait, struct wf_wait_node *node,
                 struct wf_cell *cell);
void wf_after_switch(struct wf_local *self);
/* A body on this thread's stack begins or ends that asks something of it. */
void wf_fiber_modes(struct wf_local *self);
char *wf_fiber_floor(const struct wf_fiber *fiber); /* stack_floor of a plain body */
/* Wait for a cell. 0 done, -ETIMEDOUT, -EINTR, WEFT_EDEADLOCK, -EAGAIN, -EDEADLK. */
int wf_wait_cell(weft *rt, struct wf_cell *cell, int64_t until) WF_SUSPENDS;
void wf_fiber_lock(struct wf_fiber *fiber);
void wf_fiber_unlock(struct wf_fiber *fiber);
void wf_cancel_all_blocked(struct wf_local *self);
/* Wake the task on `fiber` if it is the one that `bits` names by then. */
void wf_cancel_turn(struct wf_local *self, struct wf_fiber *fiber, const struct wf_a64 *bits);
/* Whether the calling task was asked to stop. */
bool wf_self_cancelled(const struct wf_local *self);

/* ---- run.c --------------------------------------------------------------------------------- */

/* Run tasks on this host thread until `cell` is done (NULL: nothing is left). 0 or an error. */
int wf_run_until(weft *rt, struct wf_cell *cell, int64_t until);
/* Links the nodes of a wait, or whatever ends it. False: it need not begin. */
typedef bool wf_arm_fn(struct wf_local *self, struct wf_wait *wait, void *arg);
/* The same until `wait` is over, which `arm` arms. 0, -ETIMEDOUT (also unarmed), or an error. */
int wf_run_wait(weft *rt, struct wf_wait *wait, wf_arm_fn *arm, void *arg);
/* The same until a wait that is armed is over, or nothing goes on; it is not finished. */
int wf_run_armed(struct wf_wait *wait);
bool wf_helper_done(struct wf_worker *worker);
int64_t wf_helper_until(struct wf_worker *worker);

#include "order.h"
#include "service.h"
#include "spare.h"

/* ---- log.c --------------------------------------------------------------------------------- */

void wf_log(weft *rt, int level, const char *format, ...) WEFT_PRINTF(3, 4);
/* A failed ref is gone: if nobody has looked at its error, say so, once. */
void wf_error_overlooked(weft *rt, struct wf_error *error);
void wf_log_task(weft_task *self, int level, const char *format, va_list args) WEFT_PRINTF(3, 0);

/* An owner's counter that others read: no locked instruction. */
static inline void wf_bump(struct wf_a64 *counter)
{
	/* release [Q1]: whoever counts this also counts what came before, see
	 * wf_runtime_is_quiet(). relaxed: the owner's own last store. */
#if defined(__x86_64__) && !WF_TSAN && !defined(WF_SIM)
	/* One instruction instead of three; every store of this machine is a release. */
	__asm__ volatile("incq %0" : "+m"(counter->v) : : "cc", "memory");
#else
	wf_store_release(counter, wf_load_relaxed(counter) + 1);
#endif
}

#endif /* WF_RUNTIME_H */
