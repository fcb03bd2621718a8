/*
 * value.h: values that lie in the store, and parts of datasets as values. A part of runtime.h,
 * which includes it.
 */
#ifndef WF_VALUE_H
#define WF_VALUE_H

/* Hangs on an object: refs that it holds, then the user's bytes. */
struct wf_object_meta {
	struct wf_object_meta *next; /* to be dropped after this one */
	uint32_t n_refs, size;
	struct wf_lineage *lineage; /* how it can be computed again, see lineage.c; or NULL */
	uint32_t output;            /* which one of its task */
	weft_ref refs[];
};

struct wf_lost {
	struct wf_lost *next;
	const struct wf_object *object;
	struct wf_error *error;
};

struct wf_store *wf_runtime_store_slow(weft *rt);
/* Opened when need be; NULL: it cannot, logged. */
static inline struct wf_store *wf_runtime_store(weft *rt)
{
	/* acquire [B1] in task/object.c: the store behind the pointer. */
	struct wf_store *store = (struct wf_store *)wf_load_acquire(&rt->store);

	return WF_LIKELY(store) ? store : wf_runtime_store_slow(rt);
}
void wf_runtime_store_close(weft *rt);
/*
 * An unsealed object. Waits for room, then the identity may be another. 0; -EAGAIN no room and
 * `until` is WEFT_POLL, -EMSGSIZE never any room; WEFT_ESTOREFULL, -ENOMEM, -ETIMEDOUT, -EINTR.
 */
int wf_object_make(weft *rt, uint64_t size, int64_t until, struct wf_object **out) WF_SUSPENDS;
/* Its one owner lets go, sealed or not. */
void wf_object_drop(struct wf_local *self, struct wf_object *object);
/* Before it is sealed: hang refs (valid ones; retained) and bytes on it. 0, -ENOMEM. */
int wf_object_set_meta(weft *rt, struct wf_object *object, const weft_ref *refs, uint32_t n_refs,
                       const void *bytes, size_t size);
int wf_value_unview(struct wf_local *self, struct wf_object *object); /* 0, -EINVAL none */
/* Of a running task: how many outputs, and an unsealed payload (consumed) as one of them. */
uint32_t wf_task_outputs(const weft_task *self);
void wf_task_set_output(weft_task *self, uint32_t i, struct wf_payload *payload);
/* Room for a value beyond sixteen bytes; errors as wf_object_make(), WEFT_ESTOREFULL for never. */
int wf_payload_make(weft *rt, size_t size, int64_t until, struct wf_payload **out,
                    void **data) WF_SUSPENDS;
/* The value is written: before the cell is published. */
void wf_payload_seal(weft *rt, struct wf_payload *payload);
/* A fresh ready cell with a sealed payload (consumed whatever happens) or up to sixteen bytes. */
int wf_value_publish(weft *rt, struct wf_payload *payload, const void *data, size_t size,
                     weft_ref *out);
size_t wf_cell_size(const struct wf_cell *cell); /* of a done cell's value */
/* The object that a done cell's value is, or NULL: it is none, or lies on a device only. */
struct wf_object *wf_cell_object(const struct wf_cell *cell);
/*
 * Have all in memory at once and hold each by a WF_OBJECT_PIN or WF_OBJECT_VIEW. 0; -ETIMEDOUT,
 * -EINTR, -ENOMEM, WEFT_ESTOREFULL; WEFT_ECORRUPT or WEFT_ELOST for objects[*failed].
 */
int wf_values_hold(weft *rt, struct wf_object *const *objects, uint32_t n, uint64_t unit,
                   int64_t until, uint32_t *failed) WF_SUSPENDS;
/*
 * After one of these: whether `object` was lost and can be tried again, because its task has run
 * once more. Else *rc may be why that could not be waited for.
 */
bool wf_lost_again(weft *rt, struct wf_object *object, int64_t until, int *rc) WF_SUSPENDS;
void wf_value_unhold(struct wf_local *self, struct wf_object *object, uint64_t unit);
struct weft_view wf_object_view(weft *rt, const struct wf_object *object); /* while held */
/* A done cell's value: a view that weft_view_end() or the cell's end takes back. */
int wf_cell_get_view(weft *rt, struct wf_cell *cell, int64_t until,
                     struct weft_view *view) WF_SUSPENDS;
int64_t wf_cell_copy_object(weft *rt, struct wf_cell *cell, void *dst, size_t size) WF_SUSPENDS;
int wf_object_lost_status(const struct wf_object *object);
/* Why it is lost, alive as long as the object is deleted by nobody. NULL: it is not. */
struct wf_error *wf_object_lost_error(weft *rt, const struct wf_cell *cell,
                                      struct wf_object *object);
void wf_lost_forget(weft *rt, const struct wf_object *object); /* what was said so is not true */
/*
 * Hold the inputs that lie in the store for a task about to run. 0, or the status that it ends
 * with; *cause then is the error of a lost input (borrowed) or NULL.
 */
int wf_inputs_hold(struct weft_task *frame, struct wf_error **cause) WF_SUSPENDS;
void wf_inputs_unhold(struct wf_local *self, struct wf_ext *ext);
bool wf_inputs_on_device(const weft *rt, struct wf_ext *ext);
void wf_inputs_prefetch(weft *rt, const struct wf_ext *ext);
/* The inputs of a task are there, which may need something. True: it was sent to a node. */
bool wf_inputs_mind(struct wf_local *self, struct wf_cell *cell);

/* ---- gpu/objects.c: values that were born on a device ---------------------------------------- */

struct wf_object *wf_remote_object(const struct wf_payload *payload); /* its copy on the host */
size_t wf_remote_size(const struct wf_payload *payload);
void wf_remote_free(struct wf_local *self, struct wf_payload *payload);
/* Why it is lost, alive as long as the cell. NULL: it is not, or was not born on a device. */
struct wf_error *wf_remote_lost(weft *rt, const struct wf_cell *cell);
/*
 * Have the copy on the host; WEFT_POLL: begin to. 0, -ETIMEDOUT, -EINTR, -ENOMEM; WEFT_EDEVICE it
 * is lost, WEFT_ESTOREFULL.
 */
int wf_remote_bring(weft *rt, const struct wf_cell *cell, int64_t until) WF_SUSPENDS;
/* An object goes that may have copies on devices. */
void wf_remote_object_gone(weft *rt, const struct wf_object *object);
/* The store is short of memory: what devices were told of it and do not use is let go. */
void wf_gpus_let_go(weft *rt);
/* It is about to be closed: devices forget it. */
void wf_gpus_store_goes(weft *rt);

/* ---- datasets.c ---------------------------------------------------------------------------- */

struct wf_dataset;
struct wf_dataset_env;
/* 0, or -EIO: the store's I/O cannot be started (logged). */
int wf_dataset_env_init(weft *rt, struct wf_dataset_env *env);
/* A part, below part_count, as a ready ref; errors as weft_dataset_read(). */
int wf_dataset_take(weft *rt, const struct wf_dataset *dataset, uint32_t part,
                    weft_ref *out) WF_SUSPENDS;

#endif /* WF_VALUE_H */
