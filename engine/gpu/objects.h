/*
 * objects.h: values with copies on devices. A part of gpu.h, which includes it.
 *
 * A value was born on a device (weft_cuda_output) and belongs to its cell, or is an object of the
 * store that has been copied to one. It has at most one copy on each device, and one on the host,
 * an object, which the store may move to a file.
 */
#ifndef WF_GPU_OBJECTS_H
#define WF_GPU_OBJECTS_H

struct wf_gpu;
struct wf_gpus;
struct wf_gpu_run;
struct wf_gpu_part;
struct wf_gpu_value;

/* Where those wait who wait for a change of something under objects_mutex. */
struct wf_gpu_gate {
	struct wf_cell *cell; /* NULL: nobody waits */
};

struct wf_gpu_copy {
	struct wf_gpu_copy *next;          /* of the value */
	struct wf_gpu_copy *older, *newer; /* of the device */
	struct wf_gpu_value *value;
	struct wf_gpu *gpu;
	uint64_t address;        /* 0: not yet */
	uint32_t pins;           /* attempts that use it, its upload, its way to the host */
	uint32_t uses;           /* of them: attempts, and who fills it for one */
	uint32_t lent;           /* of them: copies on other devices that are made of it */
	struct wf_gpu_copy *from; /* that is lent for this one, as long as `mark` has its event */
	bool filling;            /* not all of it has been submitted */
	uint64_t bytes;          /* of one that is gone, when `value` is NULL */
	struct wf_gpu_mark mark; /* behind its upload; its event NULL: that has passed */
	struct wf_gpu_flight *flight; /* what the upload reads; NULL: nothing of the store's */
};

/* Under objects_mutex, but for what never changes, and `object`. */
struct wf_gpu_value {
	struct wf_gpu_value *next, **at; /* among all */
	struct wf_gpu_value *bucket_next;
	uint64_t size;
	struct wf_aptr object; /* on the host; set once; 0: not there */
	struct wf_gpu_copy *copies;
	uint32_t users;          /* calls that look at it again */
	bool own;                /* born on a device: the object is its */
	bool dead;               /* its cell or object is gone */
	bool moving;             /* is being copied to the host */
	int moved;               /* how the last try of that ended */
	struct wf_error *error;  /* it is lost: it stays so */
	struct wf_gpu_gate gate; /* filling, an upload, or moving has ended */
};

/* A copy that an attempt uses, until the device has done the attempt's work. */
struct wf_gpu_use {
	struct wf_gpu_use *next;
	struct wf_gpu_copy *copy;
};

/* Pinned memory for a piece of a transfer. */
struct wf_gpu_slot {
	struct wf_gpu_slot *next; /* among the free */
	struct wf_gpu_ring *ring;
	void *memory;            /* NULL: not made yet */
	bool made;               /* it has memory and an event */
	struct wf_gpu_mark mark; /* with an event of its own */
	bool flying;             /* a copy uses it */
	bool left;               /* nobody waits for that: it is free afterwards */
	struct wf_gpu_gate gate; /* it flies no longer */
};
struct wf_gpu_ring {
	struct wf_gpu *gpu;
	struct wf_gpu_slot slot[WF_GPU_SLOTS], *free;
	uint32_t made;           /* slots */
	struct wf_gpu_gate gate; /* one is free */
};

/* ---- objects.c ------------------------------------------------------------------------------ */

void wf_gpu_objects_lock(struct wf_gpus *gpus);
void wf_gpu_objects_unlock(struct wf_gpus *gpus);
/* Wait for a change, with the mutex held but while it sleeps. 0, -ETIMEDOUT, -EINTR, -ENOMEM. */
int wf_gpu_gate_wait(struct wf_gpus *gpus, struct wf_gpu_gate *gate, int64_t until) WF_SUSPENDS;
/* There is one: take with the mutex held, fire without. */
struct wf_cell *wf_gpu_gate_take(struct wf_gpu_gate *gate);
void wf_gpu_gate_fire(struct wf_local *self, struct wf_cell *cell);

/* With the mutex held, the next six. A value of the device's own, or `object`'s; NULL: -ENOMEM. */
struct wf_gpu_value *wf_gpu_value_create(struct wf_gpus *gpus, uint64_t size,
                                         struct wf_object *object);
struct wf_gpu_value *wf_gpu_value_find(struct wf_gpus *gpus, const struct wf_object *object);
/* The copy on a device, or NULL. */
struct wf_gpu_copy *wf_gpu_copy_find(const struct wf_gpu_value *value, const struct wf_gpu *gpu);
/* A copy that is filling, with one use; NULL: no memory. */
struct wf_gpu_copy *wf_gpu_copy_add(struct wf_gpu_value *value, struct wf_gpu *gpu);
/* Nobody knows its address any more. */
void wf_gpu_copy_remove(struct wf_gpu_copy *copy);
/* Whether it is lost, and why; borrowed from the value. */
struct wf_error *wf_gpu_value_lost(struct wf_gpu_value *value);
/*
 * Let go what nobody needs any more; with the mutex held, which is released. The value may be gone.
 */
void wf_gpu_value_settle_unlock(struct wf_gpus *gpus, struct wf_gpu_value *value);
/* An attempt lets go. */
void wf_gpu_copy_unpin(struct wf_gpu_copy *copy);
/* Of a remote payload, and back. */
static inline struct wf_gpu_value *wf_gpu_value_of(const struct wf_payload *payload)
{
	WF_DEBUG(wf_payload_is_remote(payload));
	return (struct wf_gpu_value *)((uintptr_t)payload & ~WF_PAYLOAD_BITS);
}
static inline struct wf_payload *wf_payload_of_remote(struct wf_gpu_value *value)
{
	WF_DEBUG(!((uintptr_t)value & WF_PAYLOAD_BITS));
	return (struct wf_payload *)((uintptr_t)value | 2);
}
static inline struct wf_object *wf_gpu_value_object(const struct wf_gpu_value *value)
{
	/* acquire [X1]: its bytes. */
	return (struct wf_object *)wf_load_acquire(&value->object);
}
/* Drop copies that the host has too, or nobody needs, as many as make `bytes`. How many bytes. */
uint64_t wf_gpu_drop(struct wf_gpu *gpu, uint64_t bytes);
/*
 * Free the memory of copies that are gone, in stream WF_GPU_LINE_FREE: how many bytes. Not on a
 * thread with another device current. Without the mutex.
 */
uint64_t wf_gpu_sweep(struct wf_gpu *gpu);
/* All of it, at close. */
void wf_gpu_objects_close(struct wf_gpus *gpus);

/* ---- moves.c: to the host, and out of the way ------------------------------------------------ */

/* Have the host copy. 0, -ETIMEDOUT, -EINTR, WEFT_EDEVICE it is lost, WEFT_ESTOREFULL, ... */
int wf_gpu_value_bring(struct wf_gpus *gpus, struct wf_gpu_value *value, int64_t until) WF_SUSPENDS;
/*
 * Device memory for a running body, in order of stream `stream`. Copies that nobody uses give way,
 * first those that the host has too.
 */
int wf_gpu_room(struct wf_gpu_run *run, struct wf_gpu_part *part, uint32_t stream, uint64_t bytes,
                uint64_t *address) WF_SUSPENDS;

/* ---- staging.c ------------------------------------------------------------------------------ */

void wf_gpu_rings_init(struct wf_gpu *gpu);
void wf_gpu_rings_fini(struct wf_gpu *gpu);
/*
 * Copy through the ring. Up: `from` was read when it returns, and the copies are in the stream.
 * Down: it is done when it returns. After an error some copies may still be under way, whose host
 * memory is the ring's. Errors: -EINTR, -ENOMEM, WEFT_EDEVICE, the back end's.
 */
int wf_gpu_upload(struct wf_gpu *gpu, uint32_t stream, uint64_t to, const void *from,
                  uint64_t bytes) WF_SUSPENDS;
int wf_gpu_download(struct wf_gpu *gpu, uint32_t stream, void *to, uint64_t from,
                    uint64_t bytes) WF_SUSPENDS;

/* ---- peers.c: from device to device ---------------------------------------------------------- */

/* A copy of the value that one on `gpu` can be made of; with the mutex. NULL: none. */
struct wf_gpu_copy *wf_gpu_peer_find(struct wf_gpu_value *value, const struct wf_gpu *gpu);
/* It is lent no longer; with the mutex. The value's gate is to be fired. */
void wf_gpu_peer_give(struct wf_gpu_copy *from);
/*
 * Fill `copy` from another device, whose copy is lent until it is done. On failure nothing is under
 * way; *refused: the devices cannot do it, and the host may.
 */
int wf_gpu_peer_fill(struct wf_gpu_run *run, struct wf_gpu_part *part, struct wf_gpu_copy *copy,
                     bool *refused) WF_SUSPENDS;

/* ---- pins.c: the store's memory, told to the devices ----------------------------------------- */

int wf_gpu_pins_open(struct wf_gpus *gpus); /* 0, also without the option; -ENOMEM */
void wf_gpu_pins_close(struct wf_gpus *gpus);
uint64_t wf_gpu_pinned_bytes(struct wf_gpus *gpus);
/* An upload of a pinned object begins; the pin is its own. NULL: all goes through the ring. */
struct wf_gpu_flight *wf_gpu_flight_begin(struct wf_gpus *gpus, struct wf_object *object);
/* As wf_gpu_upload(), but `from`, a part of the object, is read until the device has done it. */
int wf_gpu_flight_send(struct wf_gpu *gpu, uint32_t stream, uint64_t to, const void *from,
                       uint64_t bytes, struct wf_gpu_flight *flight) WF_SUSPENDS;
/* It is done, or (`lost`) nobody knows. Without the mutex; consumed. */
void wf_gpu_flight_end(struct wf_gpus *gpus, struct wf_gpu_flight *flight, bool lost);

/* ---- resident.c ----------------------------------------------------------------------------- */

/* What the poller calls: an upload, or a copy from another device, is done. */
void wf_gpu_uploaded(struct wf_gpu_mark *mark, struct wf_local *self);
/* The attempt's work is done: let go of the values that it has used. */
void wf_gpu_uses_end(struct wf_gpus *gpus, struct wf_gpu_part *part) WF_SUSPENDS;

#endif /* WF_GPU_OBJECTS_H */
