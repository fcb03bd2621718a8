/*
 * place.h: NUMA nodes as places of tasks, and placement groups.
 */
#ifndef WF_PLACE_H
#define WF_PLACE_H

#include "admit_state.h"
#include "options.h"

/* ---- Nodes and what is ready for them, see lanes.c ------------------------------------------ */

struct wf_place_node {
	uint32_t first, workers; /* in lanes->worker: those that have their home here; fixed */
	uint32_t load;           /* placed tasks that are granted; under admit->mutex */
	/* The rest under lanes->mutex. */
	uint32_t count;  /* of all that is here */
	uint32_t loose;  /* of it, what others may take */
	uint32_t called; /* workers that were woken for it and have not looked yet */
	uint32_t stuck;  /* a cell that no lane had room for, linked through its request; 0 */
	bool went_on;    /* the last that was taken was one of those, or a stack */
	struct wf_lane lane[2][WF_PRIORITIES]; /* loose, kept */
	struct wf_fiber *fibers, *fibers_last; /* stacks that go on here, through `next` */
	struct wf_actor *stuck_actors;         /* whose turns no lane had room for */
};

struct wf_lanes {
	pthread_mutex_t mutex;
	uint32_t usable;             /* nodes on which something may run */
	uint32_t last;               /* that was chosen by turns; under admit->mutex */
	uint16_t *worker;            /* [rt->workers] by node */
	struct wf_place_node node[]; /* [rt->node_count] */
};

int wf_lanes_create(weft *rt); /* of several nodes, after the workers; 0, -ENOMEM */
void wf_lanes_destroy(weft *rt);
uint32_t wf_node_workers(const weft *rt, uint32_t node); /* 0: none, or no such node */
bool wf_node_usable(const weft *rt, uint32_t node);      /* whether something may run there */

/* ---- Where one task runs, see place.c ------------------------------------------------------- */

/* options.place into a shape whose needs are there. 0, -EINVAL. */
int wf_place_read(weft *rt, const struct weft_task_options *o, struct wf_shape *shape);

/* ---- Placement groups, see bundles.c -------------------------------------------------------- */

#define WF_BUNDLE_NEEDS (2 + WEFT_REQUEST_MAX) /* CPUs, memory, named ones */

struct wf_bundle_need {
	uint32_t res;
	int64_t total, free; /* free may be below 0, of CPUs, see wf_cpus_take() */
};

struct wf_bundle_gpu {
	uint32_t device;
	int64_t share, mem; /* free */
};

struct wf_bundle {
	uint32_t node, planned;
	uint32_t n, n_gpus;
	struct wf_bundle_need need[WF_BUNDLE_NEEDS];
	struct wf_bundle_gpu *gpu; /* [n_gpus] */
};

struct wf_pg {
	uint32_t slot, strategy, n;
	struct wf_a32 removed; /* set under the mutex, read without */
	bool reserved;
	bool dirty;         /* something came back to a bundle, or all of it came */
	bool untold;        /* that it is reserved */
	uint32_t users;     /* that look at it without the mutex */
	uint64_t bits;      /* its handle */
	struct wf_pg *next; /* of those that wait, in order */
	struct wf_pg *dirty_next, *untold_next;
	struct wf_class *classes; /* of requests in it, through pg_next */
	struct wf_cell *ready;    /* a signal; one count is the group's */
	int64_t sum[WF_RES_MAX];  /* of all bundles */
	uint32_t *order;          /* [n] by CPUs, most first */
	char name[64];
	struct wf_bundle bundle[];
};

struct wf_places {
	struct wf_place_slot {
		struct wf_pg *pg; /* NULL: free */
		uint32_t gen;     /* of its last group */
	} * slot;
	uint32_t slots, room;
	struct wf_pg *waiting, *dirty, *untold;
	uint64_t freed; /* resources that came back from bundles that are gone, by bit */
	int64_t cpu_free[WF_NODES_MAX]; /* of the workers of each node, what no bundle has */
	/* Of one look for a way. */
	int64_t cpu[WF_NODES_MAX];
	uint32_t bundles[WF_NODES_MAX];
};

/* A group of `n` bundles with so many GPUs, zeroed but for its links. NULL: no memory. */
struct wf_pg *wf_pg_alloc(uint32_t n, uint32_t n_gpus);
/*
 * Its bundles are filled in: enter it, and reserve it or let it wait. 0, *bits is its handle, and
 * it is the table's; -EINVAL and *why in words, -EEXIST, -ENOSPC, -ENOMEM.
 */
int wf_pg_enter(struct wf_local *self, struct wf_pg *pg, uint64_t *bits, const char **why);
int wf_pg_remove(struct wf_local *self, uint64_t bits); /* 0, -EINVAL */

/* The rest under admit->mutex. */

struct wf_pg *wf_pg_of(const weft *rt, uint64_t bits); /* NULL: none */
/* Of its classes that wait, the one whose first task starts next. NULL: none can. */
struct wf_class *wf_pg_next(struct wf_admit *a, const struct wf_pg *pg);
void wf_pg_dirty(struct wf_places *p, struct wf_pg *pg);
void wf_bundle_flush(weft *rt, struct wf_bundle *bundle); /* what is free goes to the runtime */
void wf_pg_settle(struct wf_pg *pg);                      /* freed, if nobody names it */

#endif /* WF_PLACE_H */
