/*
 * actor.h: an actor, its calls, and what the files of this room offer each other.
 *
 * An actor is a slot of 128 bytes in a reserved range, so that a 28-bit index names one and a stale
 * handle reads a generation. A handle is the index, the generation with the runtime's salt, and bit
 * 60, which no reference has.
 *
 * A call is a task: a cell and a cold block. The block says whose call it is (struct wf_call_info),
 * the cell's data is its link while it is queued, and its argument is always in the block.
 *
 * Counts. `handles` are the user's, and a detached one's own while it is not dead. `holds` keep the
 * slot: one while it is not dead, one while there are handles, one for each call that waits outside
 * the queues, and those of passers-by. Calls in the queues hold nothing: a dead actor's queues are
 * empty.
 */
#ifndef WF_ACTOR_H
#define WF_ACTOR_H

#include "mailbox.h"
#include "runtime.h"

#define WF_ACTOR_HANDLE    (UINT64_C(1) << 60)
#define WF_ACTORS_MAX      (1u << 24)
#define WF_BATCH_CALLS     100u /* of one turn, then others of the queues come first */
#define WF_FETCH_MAX       16u  /* calls taken at once; a kill reaches all others at once */
#define WF_CHAIN_MAX       64u  /* turns in a row that their predecessors scheduled */
#define WF_LINK_BUCKETS    8u   /* of the first table */
#define WF_CROWD           5000u /* calls that wait in one queue: the log says so */
#define WF_ROOM_MOST       512u /* free places of a caller that waits, when it is told */
#define WF_RESTART_NS      INT64_C(1000000)     /* before the second restart in a row */
#define WF_RESTART_MAX_NS  INT64_C(1000000000)  /* it doubles up to this */
#define WF_RESTART_CALM_NS INT64_C(10000000000) /* alive for so long: not in a row */

/* What one caller has pending at one actor. Under the lock, but for `done`. */
struct wf_link {
	uint64_t caller; /* one of WF_CALLER_...; 0: not used */
	uint32_t submitted;
	uint32_t settled;         /* ended elsewhere than in the exclusive turn */
	struct wf_a32 done;       /* ended in the exclusive turn, its only writer */
	struct wf_a32 calls_high; /* of the first link: upper half of the calls */
};

struct wf_link_node {
	struct wf_link link;
	struct wf_link_node *next; /* in its bucket */
	uint32_t block;            /* to free it with */
};

#define WF_CALLER_TASK   (UINT64_C(0) << 61)
#define WF_CALLER_ACTOR  (UINT64_C(1) << 60) /* its handle */
#define WF_CALLER_THREAD (UINT64_C(1) << 61)

struct wf_actor {
	struct wf_mailbox box;
	uint32_t max_pending;  /* UINT32_MAX: not counted */
	struct wf_a32 handles; /* of a free slot: the next free one */
	struct wf_a32 holds;
	/* detached: has a handle of its own until it is dead. */
	uint8_t exclusive : 1, any_order : 1, priority : 2, grouped : 1, detached : 1, device : 1;
	uint8_t keeper : 1; /* is to hold something: has a cold part from the start */
	uint8_t state_block;
	uint16_t stuck; /* turns that no queue had room for; under the overflow mutex */
	WF_ALIGNED(64) struct wf_link link; /* the first caller's */
	void *state;
	const struct weft_actor_class *class_;
	struct wf_cold *cold;
	struct wf_aptr turns; /* struct wf_turn; linked under the lock, or by the exclusive turn */
	struct wf_error *death; /* set under the lock, once */
};
_Static_assert(sizeof(struct wf_actor) == 128, "two cache lines");

/* Calls of one caller and group, of which the first waits for its inputs. */
struct wf_row {
	struct wf_row *next;
	uint64_t caller;
	uint32_t group;
	struct wf_ext *head, *tail;
};

/* What few actors have. */
struct wf_cold {
	struct wf_row *rows;  /* under the lock */
	struct wf_ext *loose; /* waiting calls that hold back nobody; under the lock */
	uint32_t waiting;     /* calls in either; under the lock */
	uint32_t crowd;       /* so many are the next to be told of, 0: WF_CROWD; under the lock */
	uint32_t n_groups;    /* further ones */
	struct wf_call_group *groups;
	struct wf_link_node **links; /* buckets, under the lock */
	uint32_t link_buckets, link_count, link_sweep;
	uint32_t max_restarts, max_task_retries, restarts;
	uint32_t restarts_in_row;
	int64_t restarted_at;
	struct wf_cell *died;   /* event, counted; under the lock */
	struct wf_cell *room;   /* events of those who wait for room, see call.c; under the lock */
	struct wf_cell *last;   /* the call of fini, not yet submitted */
	struct wf_again *again; /* init's argument and inputs */
	struct wf_a64 busy_ns;
	char *ns, *name; /* in the table of names */
	struct wf_cold *name_next;
	uint32_t index; /* of the actor */
	bool named;     /* under the names' mutex */
	bool told; /* under the supervisor's mutex: it crashes because the supervisor said so */
	struct weft_supervisor *supervisor; /* under the lock */
	uint32_t group;      /* grouped: whose slot is kept until it is dead */
	struct wf_kept kept; /* what it holds; set under the lock, before its init begins */
	weft_ref grant;      /* the task that asks for it, counted; under the lock */
	uint64_t placement;  /* in which that is, 0: none; fixed */
	/* Of one that is kept on its node, under the mutex of the nodes' lanes, see lanes.c. */
	struct wf_actor *stuck_next;
	uint32_t stuck; /* turns that no lane had room for */
};

/* For running init again. */
struct wf_again {
	uint32_t arg_size;
	uint16_t n_inputs, n_after;
	int policy;
	weft_ref *inputs; /* counted */
	unsigned char *arg;
};

enum wf_call_kind { WF_CALL_METHOD = 0, WF_CALL_INIT, WF_CALL_FINI };

/* Where a call waits: bits of wf_call_info.row, under the actor's lock. */
#define WF_ROW_IN     1u
#define WF_ROW_LOOSE  2u
#define WF_ROW_BEHIND 4u /* a count of unready for the predecessor */
#define WF_ROW_AGAIN  8u /* in no row: its next attempt takes the long way */

/* Of a call, in its cold block: only the first 16 bytes in the short form's, which never waits. */
struct wf_call_info {
	uint32_t actor; /* index */
	uint8_t kind;
	uint8_t group;
	uint8_t held;         /* a hold of the actor */
	uint8_t row;          /* WF_ROW_... */
	struct wf_link *link; /* NULL: not counted, or settled */
	struct wf_ext *row_next, *row_prev;
	struct wf_ext *pass_next; /* of whoever lets it pass, see let_pass() */
	uint64_t unused; /* parts are of 16 bytes */
};
_Static_assert(sizeof(struct wf_call_info) == 16u * WF_CALL_WAITS, "whole parts");

/* One flow that runs calls, on its stack. */
struct wf_turn {
	struct wf_turn *next;
	struct wf_actor *actor;
	struct wf_call_group *group;
	struct wf_fiber *fiber;
	struct wf_a64 bits; /* handle of the call that runs */
	struct wf_mail *fetched;
	uint32_t fetch;
	uint32_t done;
};

/* Of a class: what its actors did whose slots were given back. Under the table's lock. */
struct wf_actor_class {
	struct wf_actor_class *next; /* entries stay until the runtime is closed */
	const struct weft_actor_class *class_;
	uint64_t gone, calls, restarts, busy_ns;
};

struct wf_actors {
	struct wf_actor *slot;
	uint32_t max;
	struct wf_a32 end;  /* indices used so far, plus one */
	struct wf_a32 lock; /* of the three below */
	uint32_t free;
	struct wf_actor_class *classes;
	struct wf_a32 live;  /* not dead */
	struct wf_a32 poked; /* turns of WF_BOX_POKED */
	pthread_mutex_t names_mutex;
	struct wf_cold **names; /* buckets, chained */
	uint32_t name_buckets, name_count;
	/* All under the names' mutex. */
	struct wf_cell
		*closing; /* of timers: completed when the runtime begins to close, counted */
	uint32_t timers;
	bool closed;
};

static inline struct wf_actors *wf_actors_of(const weft *rt)
{
	/* acquire [T1]: the table. */
	return (struct wf_actors *)wf_load_acquire(&rt->actors);
}

static inline struct wf_actor *wf_actor_at(const weft *rt, uint32_t index)
{
	return &wf_actors_of(rt)->slot[index];
}

static inline uint32_t wf_actor_index(const weft *rt, const struct wf_actor *a)
{
	return (uint32_t)(a - wf_actors_of(rt)->slot);
}

static inline weft_actor wf_actor_handle(const weft *rt, const struct wf_actor *a)
{
	/* relaxed: whoever asks holds the actor. */
	return (weft_actor){ WF_ACTOR_HANDLE |
		             (uint64_t)wf_load_relaxed(&a->box.gen) << WF_INDEX_BITS |
		             wf_actor_index(rt, a) };
}

/* The actor a handle names, or NULL when it is zero, stale, foreign or something else. */
static inline struct wf_actor *wf_actor_of(const weft *rt, weft_actor actor)
{
	const struct wf_actors *t = wf_actors_of(rt);
	uint32_t index = (uint32_t)actor.bits & WF_INDEX_MASK;

	/* relaxed, both: a holder's slot is there; for anyone else any answer is a snapshot. */
	if (!t || index - 1 >= wf_load_relaxed(&t->end) - 1)
		return NULL;
	if ((actor.bits & ~(uint64_t)WF_INDEX_MASK) !=
	    (WF_ACTOR_HANDLE | (uint64_t)wf_load_relaxed(&t->slot[index].box.gen) << WF_INDEX_BITS))
		return NULL;
	return &t->slot[index];
}

static inline uint32_t wf_actor_gen(weft_actor actor)
{
	return (uint32_t)(actor.bits >> WF_INDEX_BITS);
}

/* Under the lock: whether the slot is still the actor that a handle named. */
static inline bool wf_actor_is(const struct wf_actor *a, uint32_t word, uint32_t gen)
{
	/* relaxed: that of a slot in use does not change. */
	return word & WF_BOX_USED && wf_load_relaxed(&a->box.gen) == gen;
}

static inline struct wf_call_info *wf_call_info(struct wf_ext *ext)
{
	return (struct wf_call_info *)(void *)((char *)ext + sizeof(*ext) +
	                                       wf_ext_edge_count(ext) * sizeof(struct wf_edge));
}

static inline struct wf_cell *wf_cell_of_mail(struct wf_mail *mail)
{
	return wf_container_of((unsigned char(*)[WF_INLINE_BYTES])(void *)mail, struct wf_cell,
	                       data);
}

static inline struct wf_mail *wf_mail_of(struct wf_cell *cell)
{
	return (struct wf_mail *)(void *)cell->data;
}

static inline struct wf_call_group *wf_call_group_at(struct wf_actor *a, uint32_t i)
{
	return i ? &a->cold->groups[i - 1] : &a->box.group;
}

/* ---- table.c: slots, handles, links --------------------------------------------------------- */

/* What an actor is made of, defaults filled in. */
struct wf_actor_spec {
	const struct weft_actor_class *class_;
	struct weft_actor_class c; /* with the creation's own values */
	char *ns, *name;           /* consumed by wf_actor_new() */
	uint32_t group;            /* kept, 0: none; consumed by wf_actor_new() */
	const struct wf_setup *hold; /* what it is to hold, NULL: nothing */
	uint64_t placement;          /* in which, 0: none */
	bool device;                 /* devices among it */
};

struct wf_actors *wf_actors_open(weft *rt); /* NULL: -ENOMEM */
struct wf_actor *wf_actor_new(struct wf_local *self, const struct wf_actor_spec *spec);
/* From here on others can see it; `open`: it has no init. */
void wf_actor_publish(weft *rt, struct wf_actor *a, bool open);
/* Of wf_actor_new(), before that. */
void wf_actor_discard(struct wf_local *self, struct wf_actor *a);
void wf_actor_hold(struct wf_actor *a);
void wf_actor_unhold(struct wf_local *self, struct wf_actor *a);
/* Hold what a handle names, whether the caller has a count or not. NULL: it is not there. */
struct wf_actor *wf_actor_hold_of(weft *rt, weft_actor actor);
struct wf_cold *wf_actor_cold(struct wf_actor *a); /* made when missing; NULL: -ENOMEM */
uint64_t wf_caller_of(struct wf_local *self);
/* The caller's link, made when missing, under the lock. NULL: -ENOMEM. */
struct wf_link *wf_link_of(struct wf_local *self, struct wf_actor *a, uint64_t caller);
struct wf_link *wf_link_find(struct wf_actor *a, uint64_t caller);
uint32_t wf_link_pending(const struct wf_link *link);
void wf_state_free(struct wf_local *self, struct wf_actor *a);
uint64_t wf_actor_calls(const struct wf_actor *a); /* bodies that have returned */
/* A copy of the entries of all classes, `*n` of them. NULL: none, or with `*n` no memory. */
struct wf_actor_class *wf_classes_copy(struct wf_actors *t, uint32_t *n);

/* ---- call.c: from a submit to a queue ------------------------------------------------------ */

/* Those who wait for room, see call.c. */
uint32_t wf_room_wanted(const struct wf_actor *a);
/* Under the lock: wait by an event, of which the list has a count from here on; the word. */
uint32_t wf_room_wait(struct wf_actor *a, uint32_t word, struct wf_link *link,
                      struct wf_cell *event);
/* Under the lock: no longer, and the count is the caller's. False: it was taken out before. */
bool wf_room_leave(struct wf_actor *a, uint32_t *word, struct wf_cell *event);
/*
 * Under the lock: take out who has `free` places, or all of a closed actor; the word. They are told
 * without the lock.
 */
uint32_t wf_room_take(struct wf_actor *a, uint32_t word, uint32_t free, struct wf_cell **told);
void wf_room_tell(struct wf_local *self, struct wf_cell *told);
/* End queued calls that will not run; `error` is borrowed. */
void wf_call_refuse_all(struct wf_local *self, struct wf_mail *chain, struct wf_error *error);
/* Under the lock: a call waits, and nobody behind it. 0, -ENOMEM when there is no cold part. */
int wf_loose_join(struct wf_actor *a, struct wf_ext *ext);
/* Under the lock: take what waits outside the queues; what was claimed, linked by row_next. */
struct wf_ext *wf_rows_claim(struct wf_local *self, struct wf_actor *a);
/* End what was claimed; `error` is borrowed. */
void wf_rows_end(struct wf_local *self, struct wf_ext *claimed, struct wf_error *error);
/* A call of the actor's own, not submitted: a cell in state QUEUED. NULL: -ENOMEM. */
struct wf_cell *wf_call_make(struct wf_local *self, struct wf_actor *a, uint32_t kind,
                             weft_task_fn *fn, const struct wf_again *again);
void wf_call_unmake(struct wf_local *self, struct wf_cell *cell);

/* ---- turn.c: running ----------------------------------------------------------------------- */

void wf_turn_schedule(struct wf_local *self, struct wf_actor *a);
/* Under the lock, when open: turns that are missing; how many to schedule after the unlock. */
uint32_t wf_turns_missing(struct wf_actor *a);
/* Run an init; the call's count is the actor's. NULL: it is open; or why it failed, counted. */
struct wf_error *wf_turn_init(struct wf_local **self, struct wf_turn *turn,
                              struct wf_cell *cell) WF_SUSPENDS;
uint32_t wf_actor_active(struct wf_actor *a);
uint32_t wf_actor_queued(struct wf_actor *a);

/* ---- life.c: the ends ---------------------------------------------------------------------- */

/* The error that ends a call of a dead or dying actor; counted. */
struct wf_error *wf_actor_error(struct wf_actor *a);
struct wf_error *wf_death_make(struct wf_actor *a, const char *text, struct wf_error *cause);
/* An init has failed: the actor dies of it. */
void wf_actor_fail(struct wf_actor *a, struct wf_error *cause);
/* Under the lock: the turn that was made by no call is over; the word without WF_BOX_POKED. */
uint32_t wf_poke_over(struct wf_local *self, uint32_t word);
/* The caller is the only one inside: end the actor. */
void wf_actor_end(struct wf_local *self, struct wf_actor *a);
void wf_actor_die(struct wf_local *self, struct wf_actor *a) WF_SUSPENDS; /* after fini */
/* Crashed, and the caller is the only one inside: the state anew. False: it died. */
bool wf_actor_restart(struct wf_local **self, struct wf_turn *turn) WF_SUSPENDS;
/* An init has ended well: open. */
void wf_actor_opened(struct wf_local *self, struct wf_turn *turn);
void wf_actor_take_handle(struct wf_actor *a);
void wf_actor_ask_stop(struct wf_local *self, struct wf_actor *a);
void wf_actor_drop_handle(struct wf_local *self, struct wf_actor *a);
/* `death` is consumed. True: it will begin anew, by wf_actor_restart(). */
bool wf_actor_kill(struct wf_local *self, struct wf_actor *a, struct wf_error *death, bool restart);
/* Wake bodies that are blocked in calls of the actor. Under the lock, with the word stored. */
void wf_actor_wake(struct wf_local *self, struct wf_actor *a);
/* Something was asked of an actor: if nobody is inside, see to it, or have a turn do so. */
void wf_actor_poke(struct wf_local *self, struct wf_actor *a);

/* A body says that its actor is to leave or has crashed; `death` is consumed. WEFT_EACTOR. */
int wf_actor_leave(weft *rt, struct wf_actor *a, uint32_t bit, struct wf_error *death);

/* ---- supervisor.c ---------------------------------------------------------------------------- */

/* The actor has crashed: see to its siblings. False: it is to die, as they do. */
bool wf_supervised_crash(struct wf_local *self, struct wf_actor *a);

/* ---- names.c ------------------------------------------------------------------------------- */

void wf_name_remove(weft *rt, struct wf_actor *a);
/* Under the names' mutex: the living actor of that name, or NULL. */
struct wf_actor *wf_name_find(weft *rt, const char *ns, const char *name);
int wf_name_room(struct wf_actors *t); /* 0, -ENOMEM */
void wf_name_add(weft *rt, struct wf_actor *a);

#endif /* WF_ACTOR_H */
