/*
 * weft_attach.h: other processes at the object store. A runtime listens on a unix socket; processes
 * of the same user attach to it with libweft-client (weft_client.h), get exported values by name or
 * id without a copy, and may hand objects over.
 *
 * An attached process receives the store's memory by read-only descriptors and maps it; what it
 * looks at is pinned, so that it is neither moved, spilled nor freed meanwhile. Its pins are undone
 * when it gives them back or when its socket hangs up, however it ended. All is unnamed but the
 * socket's file: when the processes are gone, so is the memory.
 *
 * A child of fork() that does not call exec() shares its parent's socket: until it has ended too,
 * the other side does not see the hang-up.
 *
 * What this protects from is accident, not malice: the kernel lets a process of the same user open
 * the memory for writing through /proc.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
#ifndef WEFT_ATTACH_H
#define WEFT_ATTACH_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

enum weft_attach_flags {
	WEFT_ATTACH_CREATE = 1u << 0, /* attached processes may hand objects over */
};

#define WEFT_ATTACH_NAME_MAX 255 /* bytes of a name */

/* Options of listening. Zero everywhere is fine. */
struct weft_attach_options {
	size_t struct_size;   /* sizeof(struct weft_attach_options) */
	uint32_t flags;       /* enum weft_attach_flags */
	uint32_t clients_max; /* connections; 0: 64; at most 4096 */
	uint32_t process_max; /* connections of one process; 0: 16 */
	uint32_t pins_max;    /* values that one connection may hold at once; 0: 65,536 */
	uint32_t names_max;   /* values exported or imported at once; 0: 65,536 */
	uint32_t reserved0;   /* zero */
	uint64_t pinned_max;  /* bytes that all may hold at once; 0: half of the store */
	uint64_t created_max; /* bytes of what they handed over and is exported; 0: a quarter */
	uint64_t reserved[4]; /* zero */
};

/*
 * Listen on the socket `path`, with a thread that sleeps until somebody comes. The file gets
 * mode 0600, and only processes of the same user, and of root, are let in. The file of a process
 * that has died without removing it is replaced.
 *
 * Owned:    `path` and `opts` are copied; `opts` may be NULL. weft_attach_stop() or weft_close()
 *           ends it.
 * Context:  any thread, any task. Never suspends; blocks for some system calls, and up to two
 *           seconds when another process of the kind is starting in the same directory.
 * Errors:   -EINVAL; -EALREADY it listens; -ENAMETOOLONG (107 bytes); -EADDRINUSE a process
 *           listens there, or it is another kind of file; -EBUSY the directory stayed locked;
 *           -EACCES, -ENOENT, -ENOMEM, -EAGAIN no thread, -errno; WEFT_ECLOSED. Nothing is left.
 */
WEFT_API WEFT_NODISC int weft_attach_listen(weft *rt, const char *path,
                                            const struct weft_attach_options *opts);
/*
 * Hang up on all attached processes, undo what they have pinned, forget all names, remove the
 * socket's file. Imports that are not there yet fail with WEFT_ECLOSED.
 * Context: any thread, any task, no callback of this header. Never suspends; waits for the thread
 * that serves them to end. Errors: -EINVAL, -ENOTCONN it does not listen, -ECHILD after fork().
 */
WEFT_API int weft_attach_stop(weft *rt);

/*
 * Let attached processes get the value of `ref` by `name`, or with `name` NULL by `*id` only. It
 * may be pending: who asks for it may wait. A failure is told as one: status, code and text.
 *
 * Owned:    a count of `ref` is kept until it is unexported; `name` is copied. `id` may be NULL.
 * Context:  any thread, any task. Never suspends.
 * Errors:   -EINVAL a bad ref or name (1 to 255 bytes); -ENOTCONN it does not listen; -EEXIST the
 *           name is exported or imported; -ENFILE names_max; -ENOMEM; WEFT_ECLOSED. `*id`
 *           untouched.
 */
WEFT_API WEFT_NODISC int weft_attach_export(weft *rt, const char *name, weft_ref ref, uint64_t *id);
/*
 * Take a name back (or, with `name` NULL, an id), whoever exported it: this process or an attached
 * one. Who has the value keeps it; a value deleted meanwhile goes with the last of them. An import
 * that is not there yet fails with -ECANCELED.
 * Any thread, any task; never suspends. -EINVAL, -ENOTCONN, -ENOENT.
 */
WEFT_API int weft_attach_unexport(weft *rt, const char *name, uint64_t id);
/*
 * A ref of what is exported as `name`. When nothing is yet: a ref that becomes ready when an
 * attached process hands an object over by this name.
 *
 * Owned:    `*out` is the caller's. The name stays taken until it is unexported.
 * Context:  any thread, any task. Never suspends.
 * Errors:   -EINVAL the name; -ENOTCONN; -ENFILE; -ENOMEM; WEFT_ECLOSED. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_attach_import(weft *rt, const char *name, weft_ref *out);

/* An attached process, at one moment. */
struct weft_attach_client {
	uint64_t id; /* of the connection */
	int32_t pid;
	uint32_t uid;
	uint32_t pins;          /* values that it holds */
	uint32_t requests;      /* that wait for something */
	uint64_t pinned_bytes;  /* a value held twice counts twice */
	uint64_t gets, creates; /* since it came */
};
/* Called for each; not 0 ends the walk. */
typedef int weft_attach_client_fn(void *arg, const struct weft_attach_client *client);
/*
 * Call fn(arg, client) for each attached process. 0, or what `fn` returned.
 * Any thread, any task; never suspends. -EINVAL, -ENOTCONN, -ENOMEM.
 */
WEFT_API int weft_attach_clients(weft *rt, weft_attach_client_fn *fn, void *arg);

#ifdef __cplusplus
}
#endif
#endif /* WEFT_ATTACH_H */
