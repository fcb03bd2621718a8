/*
 * keyed.h: tasks with a key or an output directory, see weft_session.h.
 */
#ifndef WF_KEYED_H
#define WF_KEYED_H

#include "base.h"
#include "weft.h"

struct wf_keyed;

/* Open the session of options.session_dir; logged when it fails. 0 also when there is none. */
int wf_session_start(weft *rt);
/* Nothing runs any more. `well`: all tasks had ended by themselves. */
void wf_session_stop(weft *rt, bool well);

/* Whether a submit with these options is wf_keyed_submit()'s; a negative errno: it is wrong. */
int wf_keyed_wanted(weft *rt, const struct weft_task_options *o);
/* A submit with a key or an output directory, whose call and options are checked. */
int wf_keyed_submit(weft *rt, const struct weft_call *call, const struct weft_task_options *o,
                    weft_ref *out) WF_SUSPENDS;

/* Around a body, as the task: 0 or the code to fail with; the code that the body's becomes. */
int wf_keyed_begin(struct weft_task *frame, struct wf_keyed *keyed) WF_SUSPENDS;
int wf_keyed_finish(struct weft_task *frame, struct wf_keyed *keyed, int code) WF_SUSPENDS;
/* The task has ended, or never will begin. */
void wf_keyed_drop(weft *rt, struct wf_keyed *keyed);

#endif /* WF_KEYED_H */
