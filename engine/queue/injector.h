/*
 * injector.h: unbounded FIFO of pointers, many producers, many consumers.
 *
 * The entrance for work from threads that own no deque. The essay is in injector.c.
 */
#ifndef WF_QUEUE_INJECTOR_H
#define WF_QUEUE_INJECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "atomic.h"
#include "check.h"

struct wf_injector_block;

/*
 * The indices count positions; each block covers its slots and one position more, on which an
 * index rests while the next block is being installed. 64 bits never wrap.
 */
struct wf_injector {
	/* Line 0: consumers. */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_a64 head;
	struct wf_aptr head_block;
	/* Line 1: producers. */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_a64 tail;
	struct wf_aptr tail_block;
};

_Static_assert(offsetof(struct wf_injector, head) == 0, "line 0: consumers");
_Static_assert(offsetof(struct wf_injector, tail) == WF_CACHE_LINE, "line 1: producers");

/* 0 or -ENOMEM. */
int wf_injector_init(struct wf_injector *q);
/* Frees the blocks, not what the items point to. No other thread may still look. Zeroed is fine. */
void wf_injector_fini(struct wf_injector *q);

/* Append a non-NULL item. 0, or -ENOMEM with the queue unchanged. */
int wf_injector_push_mt(struct wf_injector *q, void *item);
/* Append `n` items side by side with one claim. All of them: 0; or none: -ENOMEM. */
int wf_injector_push_many_mt(struct wf_injector *q, void *const *items, uint32_t n);
/*
 * Take the oldest items, at most `max` and at most half (rounded up) of what is there; fewer at
 * the edge of a block. How many; 0 when the queue is empty.
 */
uint32_t wf_injector_pop_mt(struct wf_injector *q, void **out, uint32_t max);

/* Approximate; who sleeps on the answer must order it with a fence of his own. */
static inline bool wf_injector_is_empty_mt(const struct wf_injector *q)
{
	/* relaxed, both: an answer of the past; `>=` since the two are of different moments. */
	uint64_t head = wf_load_relaxed(&q->head);
	return head >= wf_load_relaxed(&q->tail);
}

#endif /* WF_QUEUE_INJECTOR_H */
