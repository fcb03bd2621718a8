/*
 * weft_client.h: look at the objects of another process's weft store, and hand objects over.
 *
 *	weft_client *client;
 *	weft_client_connect("/run/user/1000/engine", weft_client_after_ms(1000), &client, NULL);
 *	weft_client_get(client, "prices", WEFT_CLIENT_FOREVER, &view, NULL);
 *	... view.data, view.size: the store's own memory, read-only, no copy ...
 *	weft_client_release(client, &view);
 *	weft_client_close(client);
 *
 * The other process is a runtime that listens with weft_attach_listen() (weft_attach.h) and exports
 * results by name. What a view shows stays in memory and in its place until the view is released,
 * or until this process ends, however it ends. A write through a view faults.
 *
 * A small value (below 449 bytes) does not lie in the store: it is copied, which makes no
 * difference in use.
 *
 * Words with a fixed meaning: owned (the caller gives it back), borrowed (valid until the named
 * event), copied, consumed (gone on success). Status: 0, a negated errno, or a code of weft.h's
 * enum weft_status, whose texts weft_client_strerror() has. Results are written on success only.
 *
 * Context of every function: any thread; several may be inside with one client at once, and one
 * that waits does not hold up others. Not in a child of fork(), where all but weft_client_close()
 * give -ECHILD. The library starts no thread, handles no signal, prints nothing and needs libc
 * only.
 *
 * Times are absolute nanoseconds of CLOCK_MONOTONIC. A deadline is kept to within a round trip of
 * the store; where the store does not answer at all (it is stopped in a debugger, say), calls come
 * back with -ETIMEDOUT one second later.
 *
 * The header is strict C11 and C++17.
 */
#ifndef WEFT_CLIENT_H
#define WEFT_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_CLIENT_API     __attribute__((visibility("default")))
#define WEFT_CLIENT_NODISC  __attribute__((warn_unused_result))
#define WEFT_CLIENT_POLL    ((int64_t)0)
#define WEFT_CLIENT_FOREVER INT64_MAX

typedef struct weft_client weft_client; /* a connection; opaque */

/* Why a call failed. Parameters of this type may be NULL. */
struct weft_client_error {
	int status;     /* what the call returned */
	int code;       /* of a failed task: its own code; else often the same */
	char text[512]; /* one line */
};

/* Now plus so many milliseconds, as a deadline. Any thread; cannot fail. */
WEFT_CLIENT_API int64_t weft_client_after_ms(int64_t ms);
/* The text of a status: borrowed for ever. Any thread; unknown codes give "unknown status". */
WEFT_CLIENT_API const char *weft_client_strerror(int status);

/*
 * Attach to the runtime that listens on `path`; one that does not listen yet is waited for until
 * the deadline. Takes some 100 us, whatever the size of the store.
 *
 * Owned:    `*out` is the caller's: weft_client_close() it.
 * Errors:   -ENOENT, -ECONNREFUSED nobody listens there by `until`; -EACCES another user's; -EUSERS
 *           too many are attached; -ENAMETOOLONG; -EPROTONOSUPPORT another version; -ETIMEDOUT
 *           no answer; -EPROTO it is no runtime; -ENOMEM, -EMFILE, -errno. `*out` untouched.
 */
WEFT_CLIENT_API WEFT_CLIENT_NODISC int weft_client_connect(const char *path, int64_t until,
                                                           weft_client **out,
                                                           struct weft_client_error *error);
/* Give everything back: views and buffers are void. Nobody may be inside. NULL is accepted. */
WEFT_CLIENT_API void weft_client_close(weft_client *client);

/* ---- Looking at values ------------------------------------------------------------------ */

struct weft_client_view {
	const void *data; /* 64-byte aligned when it lies in the store, else by 16 */
	size_t size;
	const void *meta; /* the object's metadata */
	size_t meta_size;
	uint64_t id;  /* the value's number: for weft_client_get_id(), also in other processes */
	uint32_t tag; /* the object's type tag */
	uint32_t reserved;
	uint64_t private_[2];
};

/*
 * Look at what is exported as `name`. Waits until `until` for the name to appear, for the value to
 * be ready, and for a spilled value to be back in memory; WEFT_CLIENT_POLL: does not wait, and has
 * a spilled value brought in for the next try.
 *
 * Owned:    `*view` is the caller's: weft_client_release() it. Its data and meta are borrowed until
 *           then, or until weft_client_close().
 * Errors:   -ENOENT no such name; -ETIMEDOUT it is not ready; the status of a failed value, with
 *           its code and text in `*error`; -EMFILE, -EDQUOT too many values, or bytes, are held;
 *           -EPIPE the runtime is gone; -EINVAL the name (1 to 255 bytes); -ENOMEM, -ECHILD.
 */
WEFT_CLIENT_API WEFT_CLIENT_NODISC int weft_client_get(weft_client *client, const char *name,
                                                       int64_t until, struct weft_client_view *view,
                                                       struct weft_client_error *error);
/* By number, which never waits for one to appear. Otherwise as weft_client_get(). */
WEFT_CLIENT_API WEFT_CLIENT_NODISC int weft_client_get_id(weft_client *client, uint64_t id,
                                                          int64_t until,
                                                          struct weft_client_view *view,
                                                          struct weft_client_error *error);
/*
 * Give a view back. Consumed, and zeroed. Never waits: what the runtime does not take at once is
 * told with the next call. -EINVAL it is no view of this client, or was given back; -ECHILD.
 */
WEFT_CLIENT_API int weft_client_release(weft_client *client, struct weft_client_view *view);

/* ---- Handing objects over --------------------------------------------------------------- */

/* An object that is being written, in memory of this process. Its fields are the library's. */
struct weft_client_buffer {
	void *data; /* page-aligned, zero */
	size_t size;
	uint64_t private_[2];
};

/* What goes with an object. Zero everywhere is fine. */
struct weft_client_object {
	size_t struct_size; /* sizeof(struct weft_client_object) */
	const char *name;   /* to export it by, 1 to 255 bytes; NULL: by its number only */
	const void *meta;
	size_t meta_size; /* at most 64 KiB */
	uint32_t tag;
	uint32_t reserved; /* zero */
};

/*
 * Memory for an object of `size` bytes, to be written by any thread, and then sealed or discarded.
 * Owned: `*buffer` is the caller's. Never waits. Errors: -EINVAL, -ENOMEM, -EMFILE, -ECHILD; -EFBIG
 * longer than a file of this process may be.
 */
WEFT_CLIENT_API WEFT_CLIENT_NODISC int weft_client_create(weft_client *client, size_t size,
                                                          struct weft_client_buffer *buffer);
/*
 * Hand a buffer over: its bytes are copied into the store and belong to the runtime, where they
 * stay after this process has ended, until they are unexported or removed.
 *
 * Owned:    `buffer` is consumed on success; on failure it is still the caller's. `object` may be
 *           NULL. `*id` is the object's number; may be NULL.
 * Errors:   -EPERM the runtime does not allow it; -EEXIST the name is taken; -ETIMEDOUT no room by
 *           `until`, or no answer: what the runtime makes all the same is taken back by the next
 *           call, or close; WEFT_ESTOREFULL (-5006) no room is to be had; -EDQUOT, -ENFILE a
 *           limit of the runtime; -ECANCELED nobody wants it any more; -EPIPE, -EINVAL, -ENOMEM,
 *           -ECHILD.
 */
WEFT_CLIENT_API WEFT_CLIENT_NODISC int weft_client_seal(weft_client *client,
                                                        struct weft_client_buffer *buffer,
                                                        const struct weft_client_object *object,
                                                        int64_t until, uint64_t *id,
                                                        struct weft_client_error *error);
/* Give a buffer back unsealed. Consumed. -EINVAL it is none of this client's; -ECHILD. */
WEFT_CLIENT_API int weft_client_discard(weft_client *client, struct weft_client_buffer *buffer);
/* Hand a copy of `size` bytes over. As weft_client_create() and weft_client_seal(). */
WEFT_CLIENT_API WEFT_CLIENT_NODISC int weft_client_put(weft_client *client, const void *data,
                                                       size_t size,
                                                       const struct weft_client_object *object,
                                                       int64_t until, uint64_t *id,
                                                       struct weft_client_error *error);
/*
 * Take back an object that this connection has handed over: its name is free, and its bytes go when
 * nobody has them any more. -ENOENT, -EPERM another's; -EPIPE, -ETIMEDOUT, -ECHILD.
 */
WEFT_CLIENT_API int weft_client_remove(weft_client *client, uint64_t id,
                                       struct weft_client_error *error);

/* ---- Looking at the connection ---------------------------------------------------------- */

struct weft_client_info {
	size_t struct_size; /* set by the caller */
	int status;         /* 0; -EPIPE the runtime has gone, views stay readable */
	int32_t pid;        /* of the runtime, as it says */
	uint32_t views;     /* not given back yet */
	uint32_t views_max;
	uint64_t map_bytes; /* addresses taken by the store's memory */
	bool creates;       /* handing over is allowed */
};
/* Any thread, never waits. -EINVAL. */
WEFT_CLIENT_API int weft_client_info(weft_client *client, struct weft_client_info *info);

#ifdef __cplusplus
}
#endif
#endif /* WEFT_CLIENT_H */
