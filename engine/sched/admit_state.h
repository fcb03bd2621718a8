/*
 * admit_state.h: the books of admission, as admit.c and slots.c share them.
 */
#ifndef WF_ADMIT_STATE_H
#define WF_ADMIT_STATE_H

#include "runtime.h"

#define WF_NAME_BYTES 64
#define WF_BATCH_MAX  32

/* All requests of one shape, in the order of their arrival. */
struct wf_class {
	struct wf_class *next; /* in its bucket of the table */
	uint64_t id, hash;
	uint64_t users; /* tasks that name it */
	uint64_t turn;  /* of its last admission: among equals the longest waiting goes first */
	uint64_t waiting;
	struct wf_ext *first, *last;
	uint32_t heap_res, heap_index; /* which heap it is in, WF_RES_NONE: none */
	bool infeasible;
	struct wf_pg *pg;         /* NULL: of none */
	struct wf_class *pg_next; /* of the same group */
	struct wf_shape shape;
};

/* Classes that wait for one resource, the smallest need first. */
struct wf_class_heap {
	struct wf_class **at;
	uint32_t count, room, users; /* room >= users: classes that may come here */
};

struct wf_admit {
	pthread_mutex_t mutex;
	int64_t total[WF_RES_MAX], free[WF_RES_MAX];
	int64_t gpu_free[WEFT_GPUS_MAX];
	int64_t gpu_mem[WEFT_GPUS_MAX], gpu_mem_free[WEFT_GPUS_MAX]; /* bytes; 0: only counted */
	uint64_t gpus_lost;                                          /* bit mask */
	uint32_t gpus, named;
	char names[WEFT_RESOURCES_MAX][WF_NAME_BYTES];
	struct weft_resource listed[WEFT_RESOURCES_MAX];
	struct wf_class **table;
	uint32_t table_size, class_count; /* size: a power of two */
	struct wf_class_heap heap[WF_RES_MAX][WF_PRIORITIES];
	uint64_t turn, ids;
	int64_t kept_cpus; /* of those taken: no worker stands aside for them */
	uint32_t keepers;  /* grants that were kept */
	bool open;         /* everything is cancelled: nothing waits */
	/* Who is asked to stand aside: 0 nobody, WF_CALL_ALL, or a node's workers: it plus one. */
	uint32_t calling;
	/* Slots, see slots.c. */
	struct wf_ext *collecting;
	uint32_t lent; /* workers that stand aside or run a counted body */
	struct wf_worker *aside;
	/* Placement groups, see bundles.c. */
	struct wf_places *places; /* made with the first one */
	int64_t unspent;          /* CPUs that bundles hold, and nobody who collects workers */
	int64_t slots; /* CPUs that requests of one CPU and actors hold in bundles */
};

/* ---- classes.c, under the mutex ------------------------------------------------------------ */

int64_t wf_need_of(const struct wf_shape *shape, uint32_t res);         /* 0: none */
struct wf_class *wf_class_find(weft *rt, const struct wf_shape *shape); /* counted; NULL: -ENOMEM */
void wf_class_drop(struct wf_admit *a, struct wf_class *class);
/* Into the heap of a resource that is short, out of the one that it is in. */
void wf_class_join(struct wf_admit *a, struct wf_class *class, uint32_t res);
void wf_class_leave(struct wf_admit *a, struct wf_class *class);
/* One of its tasks starts: it goes behind its equals. */
void wf_class_turn(struct wf_admit *a, struct wf_class *class);
/* Into the class's queue, at the end; out of it, anywhere (and out of its heap, if it is empty). */
void wf_class_add(struct wf_ext *ext);
void wf_class_remove(struct wf_admit *a, struct wf_ext *ext);
/* The memory that tasks may ask for is read off the machine when it is first of interest. */
void wf_admit_know_memory(struct wf_admit *a);

/* Whether the runtime can never serve it. */
bool wf_shape_infeasible(const struct wf_admit *a, const struct wf_shape *shape);

/* ---- gpus.c, under the mutex --------------------------------------------------------------- */

void wf_gpus_init(weft *rt, struct wf_admit *a);
/* Whether one device, or as many whole ones, have share and memory free together. */
bool wf_gpus_fit(const struct wf_admit *a, const struct wf_shape *shape);
/* The same of devices that are empty. */
bool wf_gpus_could_fit(const struct wf_admit *a, const struct wf_shape *shape);
void wf_gpus_take(struct wf_admit *a, struct wf_request *request);
void wf_gpus_give(struct wf_admit *a, struct wf_request *request);
/* For a bundle: a whole one that is free, with its memory; some of one comes back. */
uint32_t wf_gpus_reserve(struct wf_admit *a);
void wf_gpus_return(struct wf_admit *a, uint32_t device, int64_t share, int64_t mem);
bool wf_shape_has_gpu(const struct wf_shape *shape);
/*
 * Of the classes that wait for memory of a device, one whose first task can start; NULL: none. What
 * has come to wait for something else is moved there.
 */
struct wf_class *wf_gpus_next(struct wf_admit *a, struct wf_class_heap *heap);

/* ---- admit.c ------------------------------------------------------------------------------- */

/* What was granted under the mutex and is sent on its way after it. */
struct wf_grants {
	uint32_t n;
	struct wf_grant {
		struct wf_cell *cell;
		struct wf_wait_node *sleeper; /* else the cell is queued */
		uint8_t priority;
		bool beside;
		bool kept;
		uint16_t node; /* WF_NODE_NONE: any */
	} at[WF_BATCH_MAX];
};

static inline void wf_grant_add(struct wf_grants *grants, struct wf_cell *cell,
                                const struct wf_request *request)
{
	WF_CHECK(grants->n < WF_BATCH_MAX);
	grants->at[grants->n++] = (struct wf_grant){ .cell = cell,
		                                     .sleeper = request->sleeper,
		                                     .priority = wf_ext_ready(cell->ext_word),
		                                     .beside = request->beside,
		                                     .kept = request->kept,
		                                     .node = request->node };
}
void wf_grants_send(struct wf_local *self, struct wf_grants *grants);
/* What a grant has taken, but for CPUs and COLLECT, which have a life of their own. */
void wf_admit_give_back(weft *rt, struct wf_request *request);

/* The first resource that is short for a class, or WF_RES_NONE. */
uint32_t wf_short_of(const struct wf_admit *a, const struct wf_class *class);
/* The first task of a class starts, or what `res` has become enough for. False: batch full. */
bool wf_admit_start(weft *rt, struct wf_class *class, struct wf_grants *grants);
bool wf_admit_serve_one(weft *rt, uint32_t res, struct wf_grants *grants);
/* It waits no longer, and gets nothing. */
void wf_admit_pass(weft *rt, struct wf_ext *ext, struct wf_grants *grants);

/*
 * After something was given back, and with the mutex held: everything that can start does. The
 * mutex is let go of now and then to send on what was granted, and is free at the end.
 */
void wf_admit_serve(struct wf_local *self, const struct wf_shape *given);

/* ---- bundles.c, reserve.c, under the mutex ------------------------------------------------- */

/* The CPUs of a request that holds some are given back, or taken without waiting. */
void wf_cpus_give(weft *rt, struct wf_request *request);
void wf_cpus_take(weft *rt, struct wf_request *request);
/* Of requests in a group: as wf_short_of(), take() and give_back() in admit.c. */
uint32_t wf_pg_short(const struct wf_admit *a, const struct wf_class *class);
void wf_pg_take(weft *rt, struct wf_request *request);
void wf_pg_give(weft *rt, struct wf_request *request);
/* A class gets its group, by its shape (false: there is none), or leaves it and may be its last. */
bool wf_pg_join(weft *rt, struct wf_class *class);
void wf_pg_leave(struct wf_class *class);
/* Whether no bundle that is meant will ever have room. */
bool wf_pg_never(const struct wf_admit *a, const struct wf_class *class);
/* Reserve what can be, and start what has become possible by it. False: batch full. */
bool wf_places_serve(weft *rt, struct wf_grants *grants);
/* Who waits for what was reserved is told; the mutex is let go of meanwhile. */
void wf_places_tell(struct wf_local *self);
void wf_places_destroy(weft *rt);

/* ---- place.c, under the mutex ---------------------------------------------------------------- */

/* A request is granted: it gets a node, unless it has one or needs none. */
void wf_place_choose(weft *rt, struct wf_request *request);
void wf_place_over(weft *rt, struct wf_request *request);
/* Whether a worker may run what is granted. */
static inline bool wf_place_allows(const struct wf_request *request, const struct wf_worker *worker)
{
	return !request->kept || request->node == worker->local.node;
}
/* A device is gone: groups that wait for more than is left are given up. reserve.c */
void wf_places_lost(struct wf_local *self);
void wf_lanes_wake(weft *rt, uint32_t node); /* all workers of a node look up; lanes.c */

/* ---- slots.c, under the mutex -------------------------------------------------------------- */

/* How many workers counted requests take; never more than there are. */
uint32_t wf_slots_target(const weft *rt);
/*
 * After anything that moves the target or what stands aside: lets workers go, calls others, ends
 * a collection that is over. True: COLLECT is free again.
 */
bool wf_slots_settle(struct wf_local *self);
/* The CPUs of those aside that were named to a task may be named to others. */
void wf_slots_unname(weft *rt, const struct wf_ext *ext);

#endif /* WF_ADMIT_STATE_H */
