/*
 * weft_store.h: what the object store adds to weft.h, which includes this file: objects written in
 * place, files read and written as references, datasets that outlive the process.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
#ifndef WEFT_STORE_H
#define WEFT_STORE_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weft_dataset weft_dataset; /* a durable dataset, open for reading; opaque */

/* ---- Objects ---------------------------------------------------------------------------- */

/*
 * Values of 449 bytes and more lie in the runtime's object store: one memory, shared by all, from
 * which nothing is copied. When it fills up, values that nobody looks at are written to files and
 * come back when they are wanted; weft_get() and inputs wait for that. A value that is looked at
 * stays where it is, so give long views back: what is held by views can make the store too full
 * for others.
 */

/*
 * A view of `ref` that weft_get() or weft_get_many() gave is not used any more: its value may be
 * spilled. One call ends one view. Views that are not given back end with the value. Values that
 * lie elsewhere than in the store need no views; for them this does nothing.
 * Context: any thread. Suspends: never. Errors: -EINVAL a bad ref, or it has no view.
 */
WEFT_API int weft_view_end(weft *rt, weft_ref ref);

/* Options of an object. Zero everywhere is fine. */
struct weft_object_options {
	size_t struct_size;   /* sizeof(struct weft_object_options) */
	uint32_t tag;         /* the program's own type tag */
	uint32_t n_refs;      /* references that the object keeps alive */
	const weft_ref *refs; /* copied; retained until the object is gone */
	const void *meta;     /* bytes that go with it, see weft_object_info(); copied */
	size_t meta_size;     /* at most 64 KiB */
	weft_deadline until;  /* how long to wait for room; 0: for ever; in the past: not at all */
	uint64_t reserved[4]; /* zero */
};

/* An object that is being written. Its fields are the library's. */
struct weft_buffer {
	void *data; /* 64-byte aligned, uninitialised */
	size_t size;
	uint64_t private_[2];
};

/*
 * Room in the store for `size` bytes, to be written in place by whoever holds the buffer, on any
 * threads, and then sealed or discarded.
 *
 * Owned:    `*buffer` is the caller's: weft_seal() or weft_discard() it. `opts` may be NULL.
 * Context:  any thread, any task. May suspend while the store is full.
 * Errors:   -EINVAL, -ENOMEM; WEFT_ESTOREFULL nothing can make room, or `size` can never fit;
 *           -ETIMEDOUT not by opts->until; -EINTR the caller was cancelled; WEFT_ECLOSED.
 *           `*buffer` untouched.
 */
WEFT_API WEFT_NODISC int weft_create(weft *rt, size_t size, const struct weft_object_options *opts,
                                     struct weft_buffer *buffer);
/*
 * Freeze a buffer and name it by a reference. After this nobody may write the bytes.
 *
 * Owned:    `*out` is the caller's; weft_release() it. `buffer` is consumed on success.
 * Context:  any thread, any task. Does not suspend.
 * Order:    bytes written before the call are visible to every weft_get() of `*out`.
 * Errors:   -EINVAL `buffer` was not made by weft_create(), or was sealed or discarded before, also
 *           by another thread at the same moment through a copy of `*buffer` (one of them wins; a
 *           call that overlaps the end of the winner's object as well is not always detected);
 *           -ENOMEM (the buffer is still the caller's). `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_seal(weft *rt, struct weft_buffer *buffer, weft_ref *out);
/* Give a buffer back unsealed. Consumes it. Any thread, never suspends. -EINVAL as weft_seal(). */
WEFT_API int weft_discard(weft *rt, struct weft_buffer *buffer);

/*
 * A value that is an array of `n` references and keeps them alive as long as it lives. `*out`
 * owned, the refs are retained. May suspend, as weft_put(). -EINVAL also for a bad ref.
 */
WEFT_API WEFT_NODISC int weft_put_refs(weft *rt, const weft_ref *refs, uint32_t n, weft_ref *out);

enum weft_object_place {
	WEFT_OBJECT_INLINE = 0, /* not in the store: in the reference's own memory */
	WEFT_OBJECT_MEMORY,
	WEFT_OBJECT_FILE, /* spilled, or on its way back */
	WEFT_OBJECT_LOST, /* spilled, and cannot be read back: see weft_ref_error() */
	WEFT_OBJECT_DEVICE, /* on a device only, see weft_cuda.h: weft_get() copies it down */
};
struct weft_object_info {
	size_t struct_size; /* set by the caller */
	int place;          /* enum weft_object_place */
	uint32_t tag;
	uint64_t size;
	uint32_t views;   /* not given back yet */
	uint32_t n_refs;  /* that it keeps alive */
	const void *meta; /* borrowed until the caller's count of the ref is released */
	size_t meta_size;
	const weft_ref *refs; /* likewise */
};
/* A snapshot of a ready value. Any thread, never suspends. -EINVAL, -EAGAIN it is not ready. */
WEFT_API int weft_object_info(weft *rt, weft_ref ref, struct weft_object_info *info);

struct weft_store_stats {
	size_t struct_size; /* set by the caller */
	uint64_t capacity;  /* bytes; 0: the store was not needed yet */
	uint64_t used;      /* capacity taken by values in memory */
	/* `used` apart, by what could be done about it. */
	uint64_t creating, pinned, transit, evictable;
	uint64_t spilled; /* bytes that are only in files */
	uint64_t objects;
	uint64_t committed, huge; /* memory taken from the system; of it known in 2 MiB pages */
	uint64_t spilled_bytes, restored_bytes; /* moved since open */
	uint64_t spills, restores, losses;      /* values */
	uint64_t waits, fulls; /* requests that had to wait; that were refused as hopeless */
	uint64_t file_bytes;   /* of all spill files */
	const char *io;        /* "uring", "threads", "" not started */
	uint64_t rebuilt;      /* of the losses: computed again, see WEFT_TASK_REBUILD */
};
/* Any thread, never suspends; walks over all objects. -EINVAL. */
WEFT_API int weft_store_stats(weft *rt, struct weft_store_stats *stats);

/* ---- Files ------------------------------------------------------------------------------ */

/*
 * Read up to `size` bytes at `offset` of a file: the ref's value is what was read, shorter only
 * where the file ends. No worker blocks: the transfer goes through io_uring, or through threads
 * where there is none. A descriptor opened with O_DIRECT needs an offset and a size in units of 512.
 *
 * Owned:    `*out` is the caller's. `fd` is borrowed until the ref is ready. `opts` as for a task,
 *           without arg_drop and n_outputs; weft_cancel() of the ref works: what has not begun ends.
 * Context:  any thread. Does not suspend.
 * Errors:   -EINVAL, -ENOMEM, WEFT_ECLOSED. A failed transfer is WEFT_ETASK on the ref, with the
 *           negated errno as its code; no room is WEFT_ESTOREFULL.
 */
WEFT_API WEFT_NODISC int weft_read(weft *rt, int fd, uint64_t offset, size_t size,
                                   const struct weft_task_options *opts, weft_ref *out);
/*
 * Write the value of `data`, once it is ready, at `offset` of a file: the ref's value is the number
 * of bytes, a uint64_t. All are written, or the ref fails. `data` is retained. Otherwise as
 * weft_read(). Several writes may run at once, in any order.
 */
WEFT_API WEFT_NODISC int weft_write(weft *rt, int fd, uint64_t offset, weft_ref data,
                                    const struct weft_task_options *opts, weft_ref *out);

/* ---- Datasets --------------------------------------------------------------------------- */

/*
 * A dataset is results that outlive the process: a file in a directory, under a name, with one
 * part for each value and any number of key/value pairs. It is whole or absent: after a crash at
 * any point, the old one or the new one is there, never a mixture. Every part has a checksum.
 *
 * All of these wait for the disk, on a thread of their own: a task that calls them is suspended, a
 * host thread blocks. A cancelled task comes back when what was under way is done.
 */

#define WEFT_DATASET_WHOLE UINT32_MAX /* instead of a part: the dataset as a whole */

struct weft_pair {
	const char *key;   /* 1 to 255 bytes */
	const void *value; /* at most 1 MiB */
	size_t size;
};

struct weft_dataset_options {
	size_t struct_size; /* sizeof(struct weft_dataset_options) */
	const struct weft_pair *pairs;
	uint32_t n_pairs;
	uint32_t reserved0;
	/*
	 * Where older and newer writers may overlap: a dataset of a greater (epoch, attempt) is
	 * never replaced by one of a smaller. 0, 0 in all: the last one wins.
	 */
	uint64_t epoch;
	uint32_t attempt;
	uint32_t reserved1;
	uint64_t reserved[4]; /* zero */
};

/*
 * Write the values of `n` refs, waiting for them, as dataset `name` of `dir` (made when missing; its
 * parent must be there). On success it is on the disk, in place of an older one.
 *
 * Owned:    everything is the caller's. `opts` may be NULL.
 * Context:  any thread, any task. May suspend.
 * Errors:   -EINVAL a bad ref, name, key or option; the failure of a ref, as weft_get(); -ESTALE
 *           a newer one is there; -ENOSPC, -EIO or any errno of the file calls; -ENAMETOOLONG,
 *           -ENOMEM, -EINTR. Nothing has changed then.
 */
WEFT_API WEFT_NODISC int weft_dataset_write(weft *rt, const char *dir, const char *name,
                                            const weft_ref *refs, uint32_t n,
                                            const struct weft_dataset_options *opts);
/*
 * Open a dataset. Its lengths and its table of contents are checked now, the parts when they are
 * read. What is open stays readable, whoever replaces or removes it.
 *
 * Owned:    `*out` is the caller's: weft_dataset_close() it before weft_close().
 * Context:  any thread, any task. May suspend.
 * Errors:   -ENOENT, WEFT_ECORRUPT (the log says where), -ENOMEM, -errno. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_dataset_open(weft *rt, const char *dir, const char *name,
                                           weft_dataset **out);
WEFT_API void weft_dataset_close(weft_dataset *dataset); /* NULL is accepted; never suspends */
/*
 * Read one part into the store: a ready ref.
 * `*out` owned. May suspend. Errors: -EINVAL no such part; WEFT_ECORRUPT it is not what was written
 * (the log says where; other parts are not concerned); -errno; otherwise as weft_create().
 */
WEFT_API WEFT_NODISC int weft_dataset_read(weft_dataset *dataset, uint32_t part, weft_ref *out);

struct weft_dataset_info {
	size_t struct_size; /* set by the caller */
	uint32_t parts, pairs;
	uint64_t bytes; /* of all parts */
	uint64_t epoch;
	uint32_t attempt;
};
/* Any thread, never suspends. -EINVAL. */
WEFT_API int weft_dataset_info(const weft_dataset *dataset, struct weft_dataset_info *info);
/* Bytes of a part; -EINVAL no such part. Any thread, never suspends. */
WEFT_API int64_t weft_dataset_part_size(const weft_dataset *dataset, uint32_t part);
/* The pair with this key: borrowed until close. -ENOENT. Any thread, never suspends. */
WEFT_API int weft_dataset_pair(const weft_dataset *dataset, const char *key,
                               struct weft_pair *pair);

/* Called for each dataset, or broken part, of a directory; not 0 ends the walk. */
typedef int weft_dataset_fn(void *arg, const char *name, uint32_t part, const char *text);
/*
 * Read everything and call fn(arg, name, part, what is wrong) for each part that has to be computed
 * again. Returns how many, or -errno. May suspend; `fn` runs on another thread meanwhile.
 */
WEFT_API int weft_dataset_verify(weft_dataset *dataset, weft_dataset_fn *fn, void *arg);
/*
 * Call fn(arg, name, WEFT_DATASET_WHOLE, "" or what is wrong with it) for each dataset of `dir`, in
 * no order. Returns 0, what `fn` returned, or -errno. May suspend; `fn` runs on another thread.
 */
WEFT_API int weft_dataset_list(weft *rt, const char *dir, weft_dataset_fn *fn, void *arg);
/* Remove a dataset. -ENOENT, -errno. May suspend. */
WEFT_API int weft_dataset_remove(weft *rt, const char *dir, const char *name);

#ifdef __cplusplus
}
#endif
#endif /* WEFT_STORE_H */
