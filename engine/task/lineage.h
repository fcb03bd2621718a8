/*
 * lineage.h: how a result that a file has lost is computed again (WEFT_TASK_REBUILD).
 */
#ifndef WF_LINEAGE_H
#define WF_LINEAGE_H

#include "options.h"
#include "runtime.h"

struct wf_lineage;

/* What a further run of this call needs; its user is the task to be submitted. NULL: no memory. */
struct wf_lineage *wf_lineage_create(weft *rt, const struct weft_call *call,
                                     const struct wf_setup *setup);
/* The submit has failed: the argument is still the caller's. */
void wf_lineage_undo(struct wf_local *self, struct wf_lineage *lineage);
/* One user less; the last one drops the argument and the inputs. */
void wf_lineage_put(struct wf_local *self, struct wf_lineage *lineage);
/* The task has ended well: what of its outputs lies in the store can be rebuilt from here on. */
void wf_lineage_made(struct wf_local *self, struct wf_cell *cell, struct wf_ext *ext);
/* An output is gone: its part of the object's `meta`. `self` NULL: the runtime closes. */
void wf_lineage_gone(struct wf_local *self, const struct wf_object_meta *meta);
/*
 * Have a lost object computed again: 0 look again; 1 it stays lost; -ETIMEDOUT (WEFT_POLL: it has
 * been begun), -EINTR, or what else ends a wait; -ENOMEM, -EAGAIN, WEFT_ESTOREFULL, WEFT_EDEADLOCK:
 * this run was short of that, and the next one may not be.
 */
int wf_lineage_rebuild(weft *rt, struct wf_object *object, int64_t until) WF_SUSPENDS;
/* Whether it is lost and there is what that needs, though perhaps no attempt left. */
bool wf_lineage_may_rebuild(const struct wf_object *object);
/* Why a lost value stays lost, in words; "" when it may still be rebuilt. */
void wf_lineage_why(const struct wf_cell *cell, const struct wf_object *object, char *text,
                    size_t size);

#endif /* WF_LINEAGE_H */
