/*
 * cancel.h: asking tasks to stop, and what they end as. A part of runtime.h, which includes it.
 */
#ifndef WF_TASK_CANCEL_H
#define WF_TASK_CANCEL_H

#include "runtime.h"

/* struct wf_cell's `life`, taken apart. */
union wf_life {
	uint64_t all;
	struct {
		uint32_t gen;
		uint16_t owner;
		uint8_t flags, cancel;
	};
};

/* An orphan is the same task. */
static inline bool wf_same_gen(uint32_t a, uint32_t b)
{
	return !((a ^ b) & ~WF_GEN_ORPHAN);
}

/* ---- cancel.c ------------------------------------------------------------------------------ */

/* With a count of the cell; enum weft_cancel_flags. 0, -EINVAL, -EBUSY. */
int wf_cancel_cell(struct wf_local *self, struct wf_cell *cell, uint32_t flags);
/* The deadline of a task has come; the caller has a count. */
void wf_cancel_late(struct wf_local *self, struct wf_cell *cell);
/*
 * For whoever has just queued a task that could be cancelled before: a canceller may have seen it
 * on its way. The caller has a count, which goes.
 */
void wf_cancel_missed(struct wf_local *self, struct wf_cell *cell);
/* A task that was locked by an exchange of `life`, without a count. */
struct wf_locked {
	struct wf_cell *cell;
	uint32_t gen;
	uint8_t was;  /* WF_CANCEL_NO, ASKED or LATE */
	bool grouped; /* because its group is cancelled */
};
#define WF_CANCEL_BATCH 32u
/*
 * End them as far as they are queued and have a cold block; the others are as before. How many
 * ended.
 */
uint32_t wf_cancel_locked(struct wf_local *self, const struct wf_locked *locked, uint32_t n);
/* Without a count: only what waits for inputs. */
void wf_cancel_waiting(struct wf_local *self, struct wf_cell *cell);
/* What a task that was asked to stop ends as. */
static inline int wf_stop_status(const struct wf_cell *cell)
{
	return wf_cancel_asked(cell) == WF_CANCEL_LATE ? WEFT_EDEADLINE : -ECANCELED;
}

/* ---- slow.c -------------------------------------------------------------------------------- */

/* A task that runs is to wait in a queue once more. False: no, it is asked to end. */
bool wf_task_requeue(struct wf_cell *cell);

/* ---- family.c ------------------------------------------------------------------------------ */

/* What the children of a running task bear. */
static inline struct wf_tag wf_tag_of(const struct weft_task *frame)
{
	/* relaxed: nobody frees it meanwhile. */
	return (struct wf_tag){ .at = (uint32_t)((uintptr_t)frame->cell >> 2),
		                .gen = wf_load_relaxed(&frame->cell->gen) };
}

/* Of what is submitted by the calling thread. */
static inline struct wf_tag wf_tag_here(const struct wf_local *self)
{
	const struct weft_task *frame = self->current;

	return frame && frame->rt == self->rt ? wf_tag_of(frame) : WF_TAG_NONE;
}

/* Ask what this task has submitted to stop; the caller has a count of it. */
void wf_cancel_children(struct wf_local *self, const struct wf_cell *cell);
/* Cold blocks that are no blocks of a slab; a copy of `head`, in the list of those. NULL. */
struct wf_ext *wf_big_alloc(struct wf_local *self, const struct wf_ext *head, size_t bytes);
void wf_big_free(weft *rt, struct wf_ext *ext);

/* ---- suspend.c, task.c, open.c ------------------------------------------------------------- */

/* Wake a cell's task when it is blocked, if it is still the one of this generation. */
void wf_cancel_blocked(struct wf_local *self, struct wf_cell *cell, uint32_t gen);
/*
 * The start against a canceller, after the state was set RUNNING. True: the canceller has ended
 * the task, the queue's entry was a count and is dropped.
 */
bool wf_ended_in_queue(struct wf_local *self, struct wf_cell *cell);
void wf_cancel_everything(weft *rt);

#endif /* WF_TASK_CANCEL_H */
