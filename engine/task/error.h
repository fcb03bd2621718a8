/*
 * error.h: why a result is not there. Counted, because dependents carry their input's error as
 * cause. Never fails: when memory is out, a static error of the same status stands in.
 */
#ifndef WF_ERROR_H
#define WF_ERROR_H

#include "base.h"
#include "weft.h"

struct wf_error {
	struct weft_error pub;
	struct wf_a32 refs;
	struct wf_a32 seen; /* somebody has looked at it, or was told that nobody did */
	bool is_static;
	char strings[]; /* text, task, site */
};

struct wf_error_args {
	int status, code;
	uint32_t attempt;
	const char *text, *task, *site;
	const void *payload;
	size_t payload_size;
	struct wf_error *cause; /* retained */
};

struct wf_error *wf_error_create(const struct wf_error_args *args);
struct wf_error *wf_error_static(int status);
void wf_error_retain(struct wf_error *error);
void wf_error_release(struct wf_error *error); /* NULL accepted */

/* Somebody was told of it: it will not be reported as overlooked. */
static inline void wf_error_see(struct wf_error *error)
{
	/* relaxed: whoever drops the last count after this is ordered behind it by the count. */
	if (!error->is_static)
		wf_store_relaxed(&error->seen, 1);
}

#endif /* WF_ERROR_H */
