/*
 * group.h: groups of tasks, and how they share the workers. A part of runtime.h, which includes it.
 *
 * A cell carries the number of its group (wf_cell_group()), a fiber that of the body on it. Tasks
 * of a group are not on the workers' deques but in lanes of their group; tasks in no group never
 * come here.
 */
#ifndef WF_GROUP_H
#define WF_GROUP_H

#define WF_GROUPS_END  4096u /* numbers of groups; 0: none */
#define WF_READY_GROUP 4u    /* beside a priority: what is ready belongs to a group */
#define WF_HOME_GROUP  1u    /* in wf_fiber_user.home: a group, not a worker */
#define WF_HOME_NODE   2u    /* a node; when WF_HOME_GROUP is not set */
#define WF_FIBER_GROUP 16    /* shift in wf_fiber_user.bound */
#define WF_BOUND_MASK  0xffffu /* below it: WEFT_TASK_STAY bodies, and WF_FIBER_KEPT */
#define WF_STAY_MASK   0x7fffu
#define WF_FIBER_KEPT  0x8000u /* a body that is kept on its node */

/* In worker->attend: why it looks up between two items. */
#define WF_LOOK_HELPER 1u /* it is a helper, which may be done */
#define WF_LOOK_SLOTS  2u /* workers are to stand aside, see slots.c */
#define WF_LOOK_GROUPS 4u /* a group has something to run, see fair.c */
#define WF_LOOK_GPU    8u /* there are devices to be polled */
#define WF_LOOK_PLACES 16u /* something is ready for its node, see lanes.c */

/* One that competes for time with others under the same roof. */
struct wf_share {
	uint64_t pass; /* time had, by weight; compared by difference */
	uint32_t weight;
	uint32_t priority; /* enum weft_priority */
};

/* Ready things, a ring. */
struct wf_lane {
	void **at;
	uint32_t head, count, room; /* room: a power of two, or 0 */
};

struct wf_group_joiner {
	struct wf_group_joiner *next;
	struct wf_cell *signal; /* one count is the list's */
};

struct wf_group {
	uint32_t index, gen;
	uint32_t depth;
	bool used, open;         /* taken; its handle is good */
	struct wf_group *parent; /* NULL: the root, which is what is in no group */
	uint32_t children;       /* used ones */
	uint32_t users;          /* turns, joiners and helpers that look at it */
	struct wf_a64 live;      /* tasks, of those in it as well */
	struct wf_a64 submitted; /* its own, as the next three */
	struct wf_a64 done, failed, ended_cancelled;
	struct wf_group_joiner *joiners;
	/* Memory; see api/budget.c. */
	uint64_t memory_max;   /* 0: no limit */
	uint64_t reserved;     /* of those in it as well */
	uint64_t reserved_own; /* by its own handle */
	void (*reclaim)(void *arg, uint64_t bytes);
	void *reclaim_arg;
	weft_ref *kept; /* released when it is destroyed */
	uint32_t kept_count, kept_room;
	char name[64];
	/* Competition; see fair.c. */
	struct wf_share share; /* among the groups of its parent */
	struct wf_share own;   /* of its own tasks among the groups in it */
	uint64_t vtime;        /* pass of what was chosen last in it */
	struct wf_group *active_first, *active_next;
	bool active; /* it, or a group in it, has something queued */
	struct wf_lane lane[WF_PRIORITIES];
	uint32_t queued;                /* in its lanes */
	uint32_t running, parallel_max; /* running: of those in it as well */
	uint32_t budget;                /* items that make about a turn */
	int64_t run_ns;
	uint64_t longest, waited, waited_at; /* in ticks */
	uint32_t waited_count;               /* queued at waited_at */
};

/* Somebody who waits for memory of a group. */
struct wf_group_waiter {
	struct wf_group_waiter *next;
	struct wf_group *group;
	uint64_t bytes;
	struct wf_cell *signal; /* one count is the list's */
	bool refused;           /* its group was destroyed: nothing is granted */
};

struct wf_groups {
	pthread_mutex_t mutex;
	struct wf_group root;
	struct wf_group *at[WF_GROUPS_END]; /* never freed before the runtime */
	struct wf_a32 cancelled[WF_GROUPS_END];
	uint32_t end, used;
	struct wf_group_waiter *waiters, *waiters_last;
};

/* What a worker has been given last; under the mutex, but for its own looks. */
struct wf_stretch {
	struct wf_group *group; /* NULL: nothing */
	uint64_t begin;         /* ticks */
	int64_t cpu_ns;         /* of the thread, by then */
	struct wf_thread_state *thread;
	uint32_t items, budget, epoch;
	bool holds; /* it is counted in `running` */
	/* The body that has asked weft_should_yield(), by a count of bodies, and since when. */
	uint64_t slice_item, slice_begin;
};

static inline uint32_t wf_cell_group(const struct wf_cell *cell)
{
	/* relaxed: set before the task is, and read by those who hold it. */
	return wf_load_relaxed(&cell->place) >> 20;
}

/* ---- task/group.c -------------------------------------------------------------------------- */

struct wf_groups *wf_groups(const weft *rt); /* NULL as long as there was no group */
struct wf_group *wf_group_at(const weft *rt, uint32_t index); /* NULL: 0 */
/* With the parent `wanted`: 0 the current one, all ones: none. Errors as weft_group_create(). */
int wf_group_make(weft *rt, const struct weft_group_options *o, weft_group wanted, weft_group *out);
/* Under the mutex: free the slot if nobody can name or reach it, and so its parents'. */
void wf_group_settle(struct wf_groups *gs, struct wf_group *group);
/* Keep the slot, under the mutex; let go of it, without. */
void wf_group_hold(weft *rt, struct wf_group *group);
void wf_group_drop(weft *rt, struct wf_group *group);
/* For an entry of a queue whose task has ended; takes the mutex. The group has a task. */
void wf_group_hold_queued(weft *rt, uint32_t index);
/* A group that stays until wf_group_drop(); `close`: its handle is no longer good. NULL: none. */
struct wf_group *wf_group_find(weft *rt, weft_group handle, bool close);
/* Destroyed: what was reserved and kept by it goes. */
void wf_group_strip(struct wf_local *self, struct wf_group *group);
/* Cancel all in it; the caller keeps the slot. */
void wf_group_stop(struct wf_local *self, struct wf_group *group);
/* A group by its handle, with the mutex held when there is one; NULL. */
struct wf_group *wf_group_of(weft *rt, weft_group handle);
bool wf_group_known(weft *rt, weft_group handle); /* good for options.group, right now */
weft_group wf_group_handle(const struct wf_group *group);
/* The group of the innermost task here, NULL: none. */
struct wf_group *wf_group_current(const weft *rt, const struct wf_local *self);
/*
 * The group of a task that `self` submits, entered: the task is counted. 0, -EINVAL, -ECANCELED.
 * *out NULL: none.
 */
int wf_group_enter(weft *rt, const struct wf_local *self, weft_group wanted, struct wf_group **out);
/*
 * The same for an actor, which is no task of it: the slot is kept until wf_group_drop(). *index 0:
 * none.
 */
int wf_group_hold_for(weft *rt, const struct wf_local *self, weft_group wanted, uint32_t *index);
/* A call that nobody has seen yet is counted in a group that is kept. */
void wf_group_take_in(weft *rt, uint32_t index, struct wf_cell *cell);
bool wf_group_is_cancelled(const weft *rt, uint32_t index);
/*
 * End what lies in the lanes of a cancelled group, or of all (0), and has not begun. That may make
 * more ready, which lands there: a call from inside has the outer one look at all once more.
 */
void wf_groups_end_queued(struct wf_local *self, uint32_t index);
/* The submit failed after all. */
void wf_group_undo(struct wf_local *self, struct wf_group *group);
/* A task has ended, and everything about it is done. */
void wf_group_end(struct wf_local *self, uint32_t index, int status);
/* The task was linked: if its group was cancelled meanwhile, nobody else may find it. */
void wf_group_linked(struct wf_local *self, const struct wf_group *group, struct wf_cell *cell);
bool wf_task_stopping_elsewhere(const struct weft_task *frame); /* by its actor, or its group */
/* Whether a cell's group is; of any cell, for walkers. */
bool wf_group_cancelled(const weft *rt, const struct wf_cell *cell);
void wf_groups_free(weft *rt);

/* ---- ready.c ------------------------------------------------------------------------------- */

void wf_injected(weft *rt, const struct wf_local *self); /* something was pushed where all look */

/* ---- run.c --------------------------------------------------------------------------------- */

/* As wf_run_until(), tasks of one group and of those in it alone; the caller keeps it. */
int wf_run_group(weft *rt, struct wf_cell *cell, struct wf_group *only, int64_t until);

/* ---- fair.c -------------------------------------------------------------------------------- */

/* At the end, or in front. False: no memory. */
bool wf_lane_put(struct wf_lane *lane, void *item, bool first);
void *wf_lane_take(struct wf_lane *lane); /* the first; there is one */
/* Queue what is ready; `first`: ahead of the others. 0, or -ENOMEM and it is not queued. */
int wf_group_push(struct wf_local *self, uint32_t index, void *item, uint32_t priority, bool first);
/* Between two items, while groups have something to run: what is next, NULL: what is in none. */
void *wf_group_next(struct wf_worker *worker);
/* A worker that has nothing else: something of a group, or NULL. */
void *wf_group_take(struct wf_worker *worker);
/* Whether wf_group_take() would give something. */
bool wf_group_waits(struct wf_worker *worker);
/* A helper comes, for one group (NULL: for all), or has left that group. */
void wf_group_help(struct wf_worker *worker, struct wf_group *only);
/* The worker goes to rest, or away. */
void wf_group_leave(struct wf_worker *worker);
/* A body of a group runs on a worker that was given something else. */
void wf_group_switch(struct wf_worker *worker, uint32_t index);
/* Take a queued task of a group out of its lane, to run it in place of a wait. */
bool wf_group_take_queued(struct wf_local *self, struct wf_cell *cell);
/* Up to `n` things out of the lanes of a group that is (still) cancelled. */
uint32_t wf_group_drain(weft *rt, struct wf_group *group, void **items, uint32_t n);
/*
 * Between two calls of an actor: whether the group whose turn it is has had it, so that others are
 * to be looked at.
 */
bool wf_group_spent(struct wf_worker *worker);
/* Whether something ready is of a higher priority than what runs here. */
bool wf_group_outranked(struct wf_worker *worker);
uint64_t wf_turn_ticks(void);
void wf_share_init(struct wf_share *share, uint32_t weight, uint32_t priority, uint64_t pass);

/* ---- lanes.c: what is ready and has a node ------------------------------------------------- */

/* A queued task for a node; `kept`: for no other. Cannot fail. */
void wf_lane_cell(struct wf_local *self, uint32_t node, bool kept, struct wf_cell *cell,
                  uint32_t priority);
/* A turn of an actor that has a node; the same. */
void wf_lane_actor(struct wf_local *self, uint32_t node, bool kept, struct wf_actor *actor,
                   uint32_t priority);
/* A body that is kept on its node goes on. */
void wf_lane_fiber(struct wf_local *self, uint32_t node, struct wf_fiber *fiber);
/* With WF_LOOK_PLACES: what is for this worker, or NULL. */
void *wf_lane_next(struct wf_worker *worker);
/* A worker that has nothing else, when rt->placed says that there may be some. */
void *wf_lane_steal(struct wf_worker *worker);
bool wf_lane_waits(struct wf_worker *worker); /* whether wf_lane_steal() would give something */
/* The worker was woken and has something else to do. */
void wf_lane_decline(struct wf_worker *worker);

#endif /* WF_GROUP_H */
