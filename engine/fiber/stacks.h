/*
 * stacks.h: what the files of this room share and nobody else sees.
 */
#ifndef WF_STACKS_H
#define WF_STACKS_H

#include "fiber.h"

#define WF_CANARY_WORDS     8
#define WF_NOT_INSTRUMENTED __attribute__((no_sanitize("address", "thread", "undefined")))
/*
 * Idle stacks whose memory the pool keeps. A guess: 8 MiB where tasks use little stack, 256 MiB
 * where all used all of the default 256 KiB; a nest of a thousand blocked tasks comes and goes
 * without the kernel.
 */
#define WF_STACKS_WARM_MAX  1024u

struct wf_overflow_slot;

/*
 * A pool. The first part never changes after create; the second is under `lock`, but the three
 * counters are written under it and read by anybody.
 */
struct wf_stacks {
	char *base; /* the range: per stack, `guard_bytes` and then `stack_bytes` */
	size_t range_bytes;
	size_t stride_bytes;
	size_t guard_bytes;
	size_t stack_bytes;
	struct wf_fiber *fibers;
	uint32_t max;
	uint32_t batch; /* fibers that move between a cache and the pool at once */
	enum wf_guard guard;
	/* Set by wf_overflow_install(), on one thread, before fibers run. */
	wf_overflow_describe_fn *describe;
	struct wf_overflow_slot *slot;

	WF_ALIGNED(64) struct wf_a32 lock;
	struct wf_a32 index_end;
	struct wf_a32 live; /* neither on a list below nor new: with callers, or in their caches */
	struct wf_a32 live_max;
	struct wf_a32 unguarded;
	struct wf_a32 warm_count; /* idle stacks whose memory was kept */
	struct wf_stack_cache *caches;
	struct wf_fiber *warm; /* batches */
	struct wf_fiber *cold; /* batches whose memory went back to the kernel */
};

/* ---- context.c ---- */

/* What a made flow calls; `arg` is what the first switch to it passed. */
typedef void wf_context_entry_fn(struct wf_fiber *fiber, void *arg, wf_fiber_fn *fn);

/* Per ABI: build a flow that has not begun below `top` (16-byte aligned); its `sp`. */
void *wf_context_make(char *top, wf_context_entry_fn *entry, struct wf_fiber *fiber,
                      wf_fiber_fn *fn);
/* A stack begins and ends to exist: for valgrind. */
void wf_context_stack_born(struct wf_fiber *fiber);
void wf_context_stack_dead(struct wf_fiber *fiber);
void wf_context_retire_tsan(struct wf_fiber *fiber);

/* A fiber comes back: a switch to it before it is prepared again is caught. */
static inline void wf_context_retire(struct wf_fiber *fiber)
{
	fiber->ctx.sp = NULL;
	if (WF_TSAN)
		wf_context_retire_tsan(fiber);
}

/* ---- guard.c ---- */

/*
 * The kind that works on this range, tried on its first `bytes`: `wanted`, or for AUTO the best.
 * -ENOTSUP when `wanted` does not.
 */
int wf_guard_choose(enum wf_guard wanted, char *at, size_t bytes, enum wf_guard *chosen);
/* Protect one region. False: do with a canary. */
bool wf_guard_install(enum wf_guard kind, char *at, size_t bytes);
/* The pool goes: give back what its `count` regions took of the process's budget. */
void wf_guard_release(enum wf_guard kind, uint32_t count);
/* How many mprotect regions the process may have; 0: not read yet. For tests. */
extern struct wf_a32 wf_guard_budget;

void wf_canary_write(uint64_t *canary);
bool wf_canary_intact(const uint64_t *canary);

/* ---- overflow.c ---- */

/* The message of overflow.c for a broken canary, then abort. */
_Noreturn void wf_overflow_die(const struct wf_stacks *stacks);

#endif /* WF_STACKS_H */
