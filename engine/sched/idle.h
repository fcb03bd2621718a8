/*
 * idle.h: what a worker remembers of its last looks for work, see worker.c.
 */
#ifndef WF_SCHED_IDLE_H
#define WF_SCHED_IDLE_H

#include <stdint.h>

struct wf_deque;

/* The only item of somebody's deque, as a thief last saw it. */
struct wf_lone {
	struct wf_deque *deque; /* NULL: none */
	void *item;
	uint64_t since; /* wf_ticks() */
};

/* Items from injectors, which came few at a time and soon after one another. */
struct wf_trickle {
	uint32_t visits; /* in a row that found some soon */
	uint32_t taken;  /* by the last one */
};

#endif /* WF_SCHED_IDLE_H */
