/*
 * options.h: from a struct weft_task_options and its bases to what a submit needs.
 */
#ifndef WF_TASK_OPTIONS_H
#define WF_TASK_OPTIONS_H

#include "admit.h"
#include "weft.h"

struct wf_legacy;

/* Options with the bases merged, the defaults filled in and the words for "none" replaced. */
struct wf_setup {
	struct weft_task_options o;
	struct wf_shape shape;
	bool request; /* shape is to be admitted */
	bool plus;    /* needs a struct wf_plus */
	const struct wf_legacy *legacy; /* NULL: what the submitter passes on */
};

/* In steps of 1/WF_FIXED, to the nearest; false: too small, too large or not a number. */
bool wf_fixed(double amount, int64_t *out);
/*
 * The class of a task that is submitted here, counted: of what it asks for, or is in because its
 * parent is; *out is left alone when it is in none. 0, -EINVAL, -ENOMEM, WEFT_EPLACEMENT. (place.c)
 */
int wf_place_class(struct wf_local *self, const struct wf_setup *setup, struct wf_class **out);
/* The place of what the library submits for itself: nowhere, and not where its parent is. */
extern const struct weft_place wf_place_nowhere;
/* The placement group of the same, 0: none. (place.c) */
uint64_t wf_place_group(const struct wf_local *self, const struct wf_setup *setup);
/* 0; or -EINVAL, -ENOTSUP, with the field and its value in the log. */
int wf_setup_read(weft *rt, const struct weft_task_options *opts, struct wf_setup *out);
/* The same of what an actor is to hold: 1 CPU is counted, too, and none is the default. */
int wf_setup_read_kept(weft *rt, const struct weft_task_options *opts, struct wf_setup *out);

#endif /* WF_TASK_OPTIONS_H */
