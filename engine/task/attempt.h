/*
 * attempt.h: what a task has beside its body: further attempts, inherited things, memory of an
 * attempt, a random stream; included by runtime.h.
 */
#ifndef WF_TASK_ATTEMPT_H
#define WF_TASK_ATTEMPT_H

#include "runtime.h"

struct wf_setup;

/* ---- What hangs on a frame ----------------------------------------------------------------- */

/* A piece of an attempt's memory; what the body has of it begins behind. */
struct wf_chunk {
	WF_ALIGNED(16) struct wf_chunk *next;
	struct wf_chunk *prev;
	size_t size;
	uint64_t counted; /* towards the limit; 0: the library's own */
};

/* More than an error: then bit 0 of frame->error is set, so that a plain body pays nothing. */
struct wf_side {
	struct wf_error *error;
	struct wf_chunk chunks; /* head of a ring */
	uint64_t used;
	bool warned;
};

static inline struct wf_side *wf_frame_side(const struct weft_task *frame)
{
	uintptr_t word = (uintptr_t)frame->error;

	return word & 1 ? (struct wf_side *)(word - 1) : NULL;
}

static inline struct wf_error *wf_frame_error(const struct weft_task *frame)
{
	struct wf_side *side = wf_frame_side(frame);

	return side ? side->error : frame->error;
}

/* Consumes `error`; releases the one before. */
void wf_frame_set_error(struct weft_task *frame, struct wf_error *error);
struct wf_error *wf_frame_take_error(struct weft_task *frame); /* the caller's; NULL: none */
/* Memory that is freed with the attempt and counts for nothing. NULL: none. */
void *wf_frame_keep(struct weft_task *frame, size_t size);
/* The attempt is over: its memory goes, and its error. */
void wf_frame_clear(struct weft_task *frame);

/* ---- Tasks --------------------------------------------------------------------------------- */

struct wf_faults {
	uint64_t below; /* a draw of 64 bits under this fails */
	uint64_t seed;
	struct wf_a64 draws; /* of tasks without a stream */
	char points[];       /* ",name,name," or "" for all */
};

int wf_faults_create(weft *rt); /* from the options; 0, -ENOMEM */

/* What a task gets from the one that submits it, found before it is built. */
struct wf_legacy {
	struct wf_blob *context; /* counted by the caller when it is passed on */
	uint64_t identity;
};
/* `setup` may be NULL. Draws the next number of the parent's children. */
struct wf_legacy wf_legacy_of(struct wf_local *self, const struct wf_setup *setup);
/* Fill in a fresh wf_plus. False: no memory, nothing is taken. */
bool wf_plus_init(struct wf_plus *plus, const struct wf_setup *setup,
                  const struct wf_legacy *legacy);
void wf_plus_fini(struct wf_plus *plus);
void wf_blob_release(struct wf_blob *blob); /* NULL is accepted */

/* Around all attempts of a task with a cold block, or a fork of one; what _end() wants. */
uint32_t wf_bodies_begin(struct wf_local *self, struct wf_ext *ext);
void wf_bodies_end(struct wf_local *self, uint32_t modes, struct wf_fiber *fiber);
/* An attempt is about to begin. 0, or the code with which it is made to fail. */
int wf_attempt_begin(struct weft_task *frame);
/*
 * An attempt has failed with `code`: whether there is another one. Then the failure is on record,
 * and what the attempt has asked for in between is done; the caller drops its results.
 */
bool wf_attempt_again(struct weft_task *frame, int code);
/* After that: how long until the next one, 0: at once. */
int64_t wf_attempt_backoff(const struct wf_plus *plus);
/*
 * Wait for the next attempt's time and resources. 0; -ECANCELED; or what prevents it, and the
 * last failure stands.
 */
int wf_attempt_wait(struct weft_task *frame) WF_SUSPENDS;

/* ---- task.c, for slow.c -------------------------------------------------------------------- */

/* The end of a task with a cold block or an error. `error` is consumed; NULL: the value stands. */
void wf_task_finish(struct wf_local *self, struct wf_cell *cell, struct wf_error *error);
/* Put the frame's output 0 in place, or drop it. */
void wf_take_result(struct wf_local *self, struct weft_task *frame, bool keep);
/* What a body has left in further outputs from `first` on, and nobody will read. */
void wf_drop_outs(struct wf_local *self, struct wf_ext *ext, uint32_t first);
/* What a failed input does to its dependent. */
struct wf_error *wf_input_error(struct wf_local *self, struct wf_cell *cell,
                                struct wf_error *cause);
/* The body has returned `code`, and has failed or left something behind. */
void wf_run_failed(struct wf_local *self, struct weft_task *frame, int code) WF_SUSPENDS;
/* The body has returned WEFT_AGAIN: let others run, call it again. What it returns in the end. */
int wf_body_again(struct weft_task *frame) WF_SUSPENDS;
/* The body, called until it does not want to be called again: its code. */
int wf_body_call(struct weft_task *frame) WF_SUSPENDS;

/* See wf_admit_leave_slow(). */
static inline struct wf_ext *wf_admit_leave(struct wf_local *self)
{
	const struct weft_task *frame = self ? self->current : NULL;
	const struct wf_ext *ext = frame ? wf_cell_ext(frame->cell) : NULL;

	return WF_UNLIKELY(ext && (ext->parts & WF_PART_REQUEST || (ext->call && self->rt->gpus)))
	               ? wf_admit_leave_slow(self)
	               : NULL;
}

/* See wf_call_pauses_slow(). */
static inline void wf_call_pauses(struct wf_local *self)
{
	const struct weft_task *frame = self->current;
	const struct wf_ext *ext = frame ? wf_cell_ext(frame->cell) : NULL;

	if (WF_UNLIKELY(frame && (frame->outer || (ext && ext->call))))
		wf_call_pauses_slow(self);
}

#endif /* WF_TASK_ATTEMPT_H */
