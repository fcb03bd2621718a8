/*
 * call.h: what a task that is a call of an actor needs of the actors' room, and what that room
 * needs of submitting. An actor is opaque here.
 */
#ifndef WF_CALL_H
#define WF_CALL_H

#include "cell.h"

struct wf_actor;
struct wf_kept;
struct wf_local;
struct wf_setup;

/* Whose call a submit is. */
struct wf_target {
	struct wf_actor *actor;
	uint32_t gen;  /* of its handle */
	uint32_t kind; /* enum wf_call_kind */
	uint32_t group;
	bool own; /* the ref of the call will be the actor's */
	uint64_t caller;
};

/* ---- submit.c ------------------------------------------------------------------------------- */

/* A call of an actor, of what was checked; the caller keeps the actor. Errors as weft_submit(). */
int wf_submit_to(struct wf_local *self, const struct wf_target *to, const struct weft_call *call,
                 const struct weft_task_options *o, const struct wf_setup *setup, weft_ref *out);
/* The cell and the cold block of a call that is not submitted. NULL: -ENOMEM. */
struct wf_cell *wf_submit_prepare(struct wf_local *self, const struct weft_call *call,
                                  const struct weft_task_options *o, const struct wf_setup *setup,
                                  struct wf_tag parent, bool forget);
/* Its inputs, which are all ready. */
void wf_submit_inputs(struct wf_local *self, struct wf_ext *ext, const struct weft_call *call);
void wf_submit_undo(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext);
int wf_submit_check(weft *rt, const struct weft_call *call);
/* A task with options that were read, nobody's child; its call has none. As weft_submit(). */
int wf_submit_setup(weft *rt, const struct weft_call *call, const struct wf_setup *setup,
                    weft_ref *out);

/* Complete an engine's event: with an empty value, or an error (borrowed). Consumes the count. */
void wf_signal(struct wf_local *self, struct wf_cell *event, struct wf_error *why);

/* ---- ../actor: calls of actors --------------------------------------------------------------- */

/* Check actor, group and options of a call: 0, -EINVAL, -ENOTSUP. */
int wf_call_target(weft *rt, const struct weft_call *call, const struct weft_task_options *o,
                   struct wf_target *to);
uint64_t wf_caller_of(struct wf_local *self);
/* Let a call in: 0 post it, 1 link its edges, or an error with nothing changed. */
int wf_call_admit(struct wf_local *self, const struct wf_target *to, struct wf_cell *cell,
                  struct wf_ext *ext, bool edges);
void wf_call_post(struct wf_local *self, struct wf_cell *cell);
/* The inputs are there, and so are those of the calls before it. */
void wf_call_ready(struct wf_local *self, struct wf_ext *ext);
/* A waiting call has ended: those behind it go on. */
void wf_call_gone(struct wf_local *self, struct wf_ext *ext, struct wf_error *error);
/* What a call holds of its actor goes, before its cold block does. */
void wf_call_settle(struct wf_local *self, struct wf_ext *ext);
/* The body on this thread is about to wait: if it is a call, who waits for room is told of any. */
void wf_call_pauses_slow(struct wf_local *self);
/* Why a call of a dead actor is refused; counted. */
struct wf_error *wf_call_error(const struct wf_target *to);
/* What becomes of an attempt that has returned: its actor may be dying. */
enum wf_verdict { WF_VERDICT_COUNTS = 0, WF_VERDICT_LOST, WF_VERDICT_AGAIN };
enum wf_verdict wf_call_verdict(struct wf_local *self, struct wf_cell *cell);
struct wf_error *wf_call_lost(struct wf_local *self, struct wf_cell *cell);
/* A method has returned WEFT_ECRASH, with `error` or NULL. */
void wf_call_crashed(struct wf_local *self, struct wf_cell *cell, const struct wf_error *error);
/* Back into its queue, as the last; off the runner's hands. */
void wf_call_again(struct wf_local *self, struct wf_cell *cell);
/* The same after a time, in which it is in no queue. False: it must wait on its stack. */
bool wf_call_leave(struct wf_local *self, struct wf_cell *cell, int64_t ns);
bool wf_call_stopping(const weft *rt, struct wf_ext *ext);
/* Of a worker: the turn that it came to in idleness, and what comes of short calls. */
struct wf_nap {
	struct wf_actor *found;
	uint64_t found_at; /* wf_ticks() */
	uint32_t us;       /* the next nap */
	bool due;
};
/* A batch of `calls` of a turn is over, and there are more: see worker.c. */
void wf_batch_judge(struct wf_local *self, const struct wf_actor *actor, uint32_t calls);
/* A call without options has returned something out of the ordinary. */
void wf_task_call_returned(struct wf_local *self, struct weft_task *frame, int code) WF_SUSPENDS;
void wf_actor_run(struct wf_local *self, struct wf_actor *actor) WF_SUSPENDS;
/* Under the overflow mutex: a turn that no queue had room for, and one of those. */
void wf_actor_stuck(struct wf_actor *actor);
struct wf_actor *wf_actor_unstuck(weft *rt);
/* The same of one that is kept on its node, in a list of that; NULL: there is none. */
void wf_actor_stuck_at(struct wf_actor *actor, struct wf_actor **list);
struct wf_actor *wf_actor_unstuck_at(struct wf_actor **list);
/*
 * For the search in service.c, which has the locks of all stacks, and an ext that may just go and
 * seems to have so many edges: the cells of which one must end before this call can run, `most` or
 * fewer, and one that must in any case. 0: it can run. WF_BLOCKERS_BUSY: somebody is at the actor.
 */
#define WF_BLOCKERS_BUSY UINT32_MAX
uint32_t wf_call_blockers(const weft *rt, const struct wf_cell *cell, const struct wf_ext *ext,
                          uint32_t edges, uint32_t *cells, uint32_t most, uint32_t *before);
/* What the actor of a running call holds, or NULL; the same if there are devices among it. */
struct wf_kept *wf_call_kept(const weft *rt, struct wf_ext *ext);
struct wf_kept *wf_call_devices(const weft *rt, struct wf_ext *ext);
void wf_handle_drop(struct wf_local *self, struct wf_cell *cell); /* of a WF_CELL_HANDLE */
/* Turns that are to come and were made by no call. */
uint32_t wf_actors_poked(weft *rt);
void wf_actors_closing(weft *rt);         /* timers end */
void wf_actors_stop(weft *rt, bool kill); /* all of them, at close; they may be there a while */
bool wf_actors_live(weft *rt);
void wf_actors_cancel_groups(struct wf_local *self); /* kill those in cancelled groups */
/* Kill those that hold something of a placement group, or are to; `why` is the cause, borrowed. */
void wf_actors_unplace(struct wf_local *self, uint64_t group, struct wf_error *why);
/* At close: those that hold what others wait for are to end. */
void wf_actors_let_go(weft *rt);
void wf_actors_free(weft *rt);

#endif /* WF_CALL_H */
