/*
 * options.h: from a struct weft_task_options and its bases to what a submit needs.
 */
#ifndef WF_TASK_OPTIONS_H
#define WF_TASK_OPTIONS_H

#include "admit.h"
#include "weft.h"

/* Options with the bases merged, the defaults filled in and the words for "none" replaced. */
struct wf_setup {
	struct weft_task_options o;
	struct wf_shape shape;
	bool request; /* shape is to be admitted */
	bool plus;    /* needs a struct wf_plus */
};

/* 0; or -EINVAL, -ENOTSUP, with the field and its value in the log. */
int wf_setup_read(weft *rt, const struct weft_task_options *opts, struct wf_setup *out);
/* The same of what an actor is to hold: 1 CPU is counted, too, and none is the default. */
int wf_setup_read_kept(weft *rt, const struct weft_task_options *opts, struct wf_setup *out);

#endif /* WF_TASK_OPTIONS_H */
