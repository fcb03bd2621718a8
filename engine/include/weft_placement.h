/*
 * weft_placement.h: where a task runs, and resources that are set aside for tasks to come; a part
 * of weft.h, which includes this file.
 *
 * weft's nodes are the NUMA nodes on which workers have their home (weft_nodes()). A task that says
 * nothing runs where a worker is free, most likely on its submitter's node; on a machine of several
 * nodes one whose inputs are large goes first to the node where most of their bytes were made. All
 * else is said by options.place:
 *
 *	weft_submit(rt, WEFT_TASK(scan, .opts = WEFT_TASK_OPTIONS(
 *		.place = WEFT_PLACE(.strategy = WEFT_PLACE_NODE, .node = 1))), &ref);
 *
 * A placement group reserves several bundles of resources at once, all or none of them:
 *
 *	const struct weft_bundle bundles[] = { { .cpus = 2 }, { .cpus = 1, .gpus = 1 } };
 *	weft_placement group;
 *	weft_placement_create(rt, NULL, bundles, 2, &group);
 *	weft_submit(rt, WEFT_TASK(train, .opts = WEFT_TASK_OPTIONS(.gpus = 1,
 *		.place = WEFT_PLACE(.group = group, .bundle = WEFT_BUNDLE(1)))), &ref);
 *	...
 *	weft_placement_remove(rt, group);
 *
 * An actor has a place as well, by weft_actor_holds.place. Tasks and actors that use none of this
 * pay nothing for it.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
#ifndef WEFT_PLACEMENT_H
#define WEFT_PLACEMENT_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A placement group: it carries a generation and is checked as a weft_ref is; 0: none. */
typedef struct weft_placement {
	uint64_t bits;
} weft_placement;

/* ---- One task --------------------------------------------------------------------------- */

/*
 * Where one task runs:
 *
 *   DEFAULT    as if nothing was said; but what the submitting task passes on to what it submits
 *              (WEFT_PLACE_CAPTURE) ends here.
 *   SPREAD     on the node with the fewest placed tasks for its workers, in turn among equals.
 *   PACK       on the fullest node on which a worker is left over, by the count of placed tasks.
 *   NODE       on `node` and on no other; it waits until a worker there is free.
 *   NODE_SOFT  the same, when there is such a node, with workers, and as many as the request has
 *              CPUs; else DEFAULT.
 *
 * The node of SPREAD and PACK is a preference, as is that of the bytes of inputs: a worker of
 * another node that has nothing else takes such a task when none of the node is on its way to it.
 * NODE, and a bundle, are kept: also a body that has waited goes on on its node. What they do not
 * reach: threads beside the workers (WEFT_TASK_BLOCKING, weft_block_enter(), fractions of a CPU),
 * forks of a body that others have taken, and the CPUs beyond the first of a body with several.
 * With WEFT_OPEN_NO_WORKERS host threads run everything. Where there is one node, all run there.
 *
 * Of a task in a weft_group that has a node or a bundle the time counts for its group; the group's
 * order and its parallel_max do not hold it back.
 */
enum weft_place_strategy {
	WEFT_PLACE_DEFAULT = 0,
	WEFT_PLACE_SPREAD,
	WEFT_PLACE_PACK,
	WEFT_PLACE_NODE,
	WEFT_PLACE_NODE_SOFT,
};

enum weft_place_flags {
	/* What it submits or creates, and what that does, is in the group too, in any bundle. */
	WEFT_PLACE_CAPTURE = 1u << 0,
};

#define WEFT_BUNDLE(index) ((uint32_t)(index) + 1u) /* for weft_place.bundle */

/* Options of a place, of weft_task_options or weft_actor_holds; copied at the submit. */
struct weft_place {
	size_t struct_size;   /* sizeof(struct weft_place) */
	uint32_t strategy;    /* enum weft_place_strategy; with a group: DEFAULT */
	uint32_t node;        /* of NODE and NODE_SOFT; else 0 */
	weft_placement group; /* 0: none */
	uint32_t bundle;      /* of the group: WEFT_BUNDLE(index), 0 any one that has room */
	uint32_t flags;       /* enum weft_place_flags; only with a group */
	uint64_t reserved[2]; /* zero */
};

/*
 * What a submit answers beside what weft_submit() does: -EINVAL, with the field in the log, when
 * the struct contradicts itself, a NODE does not exist, has no worker or fewer than the request has
 * CPUs, the group is unknown or removed, the bundle is not one of its, or the request fits into
 * none of the bundles that are meant; WEFT_EPLACEMENT when the group was removed during the call,
 * or is the one that a captured task was to go to; -ENOTSUP for calls of actors, which run where
 * their actor is.
 *
 * A task in a group waits until the group is reserved, and then until what it asks for is free in
 * its bundle: of CPUs 1 when it does not say, which is counted here. Waiting (get, wait, sleep,
 * yield) gives its CPUs back to the bundle, and it goes on at once when the wait is over.
 */

/*
 * An actor, by weft_actor_holds.place: what it holds is taken in that bundle, and goes back to it;
 * its init, calls and fini run on that node, as bodies of tasks with such a place do, over
 * restarts, until it is dead. It is WEFT_ACTOR_PENDING until the group is reserved, there is room
 * in the bundle, and a worker of the node comes to begin it. The node is chosen once: SPREAD and
 * PACK count the actors that live, also idle ones, as they count tasks. Without amounts it is in
 * the group, or on the node, all the same, and takes nothing of a bundle. CPUs that it holds are
 * the bundle's, and no worker stands aside for them; with a NODE what it holds is the runtime's,
 * only its calls are the node's. In a weft_group, too, they run there, as said above of tasks.
 *
 * With WEFT_PLACE_CAPTURE what its calls submit or create is in the group. An actor that a captured
 * task creates without a place of its own is in the group in that way. Timers and joins are in no
 * group.
 *
 * What such a call waits for may want what its own actor holds in the bundle, and waits for ever
 * then: in bundles nobody is told WEFT_EDEADLOCK for want of resources.
 *
 * weft_actor_create() answers as weft_submit() does, see above.
 */

/* ---- Groups ----------------------------------------------------------------------------- */

#define WEFT_BUNDLES_MAX    1024 /* of one group */
#define WEFT_PLACEMENTS_MAX 4095 /* groups at once, of a runtime */

/*
 * What is set aside together, on one node. CPUs are those of the node's workers; GPUs, memory and
 * named resources belong to no node. It must ask for something.
 */
struct weft_bundle {
	double cpus; /* 0: none; in steps of 1/10000 */
	double gpus; /* whole ones, with all their memory */
	uint64_t memory;
	const struct weft_resource *resources; /* names as given to weft_open() */
	uint32_t n_resources;                  /* at most WEFT_REQUEST_MAX */
	uint32_t reserved0;                    /* zero */
};

/*
 *   PACK           on as few nodes as it finds a way for
 *   SPREAD         on as many
 *   STRICT_PACK    on one node
 *   STRICT_SPREAD  on a node each
 *
 * The way is looked for with the largest bundles first: each to the first node with room, or each
 * to the node with the most, whichever goes; a more cunning way is not seen.
 */
enum weft_placement_strategy { WEFT_PACK = 0, WEFT_SPREAD, WEFT_STRICT_PACK, WEFT_STRICT_SPREAD };

struct weft_placement_options {
	size_t struct_size;   /* sizeof(struct weft_placement_options) */
	const char *name;     /* for weft_placement_find(); copied; at most 63 bytes; NULL: none */
	uint32_t strategy;    /* enum weft_placement_strategy */
	uint32_t reserved0;   /* zero */
	uint64_t reserved[4]; /* zero */
};

/*
 * Make a group and reserve its bundles, all of them at one moment: now, or as soon as they are free
 * together; until then nothing is taken, and everybody else goes on. Groups that wait are looked at
 * in the order of their making whenever something comes back, before the tasks that wait. `opts`
 * NULL: defaults.
 *
 * What is reserved is nobody else's. A task of one CPU outside groups is not counted, though: it
 * may run on any worker, also while the CPUs of that are set aside.
 *
 * Owned:    `*out` is the caller's, who alone may remove it; others may use the handle meanwhile.
 *           A group that nobody removes goes with the runtime. `bundles` are copied.
 * Context:  any thread. Does not suspend.
 * Errors:   -EINVAL a bad option or bundle, or more than the runtime ever has: of a resource, of
 *           the CPUs of a node, of nodes (the log says which); -EEXIST the name is taken; -ENOSPC
 *           WEFT_PLACEMENTS_MAX are there; -ENOMEM. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_placement_create(weft *rt, const struct weft_placement_options *opts,
                                               const struct weft_bundle *bundles, uint32_t n,
                                               weft_placement *out);

/*
 * A reference that is ready (with an empty value) when the group is reserved. It fails as
 * WEFT_EPLACEMENT when the group is removed before that, and as WEFT_EDEVICE when a device is lost
 * without which it cannot be reserved: then the group is removed as by weft_placement_remove().
 *
 * Owned:    `*out` is the caller's; release it.
 * Context:  any thread. Does not suspend.
 * Errors:   -EINVAL no such group, -ENOMEM. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_placement_ready(weft *rt, weft_placement group, weft_ref *out);
/*
 * Wait for that: 0 it is reserved.
 * Context: any thread. May suspend. Errors: -ETIMEDOUT not by `until` (WEFT_POLL: a look), -EINVAL,
 * -ENOMEM, WEFT_EPLACEMENT it was removed meanwhile, WEFT_EDEVICE as above, and as weft_get().
 */
WEFT_API WEFT_NODISC int weft_placement_wait(weft *rt, weft_placement group, weft_deadline until);

/*
 * Give a group up. Its tasks that have not begun fail as WEFT_EPLACEMENT; bodies that run go on to
 * their end, without further attempts that would have to ask again for what they hold. Its actors
 * are killed, as by weft_actor_kill(), those that wait as well, with WEFT_EPLACEMENT as the cause
 * (WEFT_EDEVICE, when that is why the group is given up). What is free of its bundles is the
 * runtime's at once, what running bodies and actors hold when they end.
 *
 * Owned:    consumed: the handle is stale from here on. Removing it again, or a zero one, does
 *           nothing.
 * Context:  any thread, tasks of the group as well. Does not suspend.
 * Errors:   -EINVAL it never was a group of this runtime, -ENOMEM.
 */
WEFT_API int weft_placement_remove(weft *rt, weft_placement group);

/*
 * The group that was made with this name and is not removed.
 * Owned: the number only. Context: any thread. Suspends: never. Errors: -ENOENT, -EINVAL. `*out`
 * untouched.
 */
WEFT_API int weft_placement_find(weft *rt, const char *name, weft_placement *out);

struct weft_placement_info {
	weft_placement group;
	uint32_t strategy; /* enum weft_placement_strategy */
	uint32_t n_bundles;
	bool reserved; /* else it waits */
	char name[64];
};
/*
 * The groups that are there, at most `n` into `infos` (NULL: none); returns how many there are.
 * Context: any thread. Suspends: never. Errors: -EINVAL `rt` NULL, or n > 0 without `infos`.
 */
WEFT_API int weft_placements(weft *rt, struct weft_placement_info *infos, uint32_t n);

#define WEFT_NODE_NONE UINT32_MAX

struct weft_bundle_info {
	uint32_t node; /* WEFT_NODE_NONE while the group waits */
	double cpus, cpus_free;
	double gpus, gpus_free; /* gpus_free: the sum of what is left of each */
	uint64_t memory, memory_free;
	uint32_t n_resources;
	struct weft_resource resources[WEFT_REQUEST_MAX]; /* names borrowed until close */
	double resources_free[WEFT_REQUEST_MAX];
};
/*
 * The bundles of a group, in order, as weft_placements() otherwise. Nothing is free while the group
 * waits; cpus_free is below 0 while bodies that have waited run beside new ones.
 * Context: any thread. Suspends: never. Errors: -EINVAL.
 */
WEFT_API int weft_bundles(weft *rt, weft_placement group, struct weft_bundle_info *infos,
                          uint32_t n);

struct weft_task_place {
	size_t struct_size;   /* set by the caller */
	weft_placement group; /* 0: in none */
	uint32_t bundle;      /* index, 0 without a group */
	uint32_t node;        /* that it was meant for, WEFT_NODE_NONE: any */
	bool captures;        /* what it submits is in the group too */
};
/*
 * What was decided about the place of a running task; of a call, that of its actor.
 * Context: in a task, with its own `self`. Suspends: never. Errors: -EINVAL struct_size.
 */
WEFT_API int weft_task_place(weft_task *self, struct weft_task_place *place);

/* ---- Call-site sugar: C only ------------------------------------------------------------ */

#ifndef __cplusplus
#define WEFT_PLACE(...) \
	(&(const struct weft_place){ .struct_size = sizeof(struct weft_place), __VA_ARGS__ })
#define WEFT_PLACEMENT_OPTIONS(...) \
	(&(const struct weft_placement_options){ \
		.struct_size = sizeof(struct weft_placement_options), __VA_ARGS__ })
#endif

#ifdef __cplusplus
}
#endif

#endif /* WEFT_PLACEMENT_H */
