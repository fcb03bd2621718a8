/*
 * wf_attach.h: other processes at the store. A unix socket on which attached processes get the
 * store's memory to read and ask for values by name or id; a ledger of what each has pinned, which
 * is undone when its socket hangs up; and objects that they hand over.
 *
 * A value has an owner above this room, a number that only the owner understands: it stands for
 * one count of whatever keeps the value's object from being deleted, and goes back by drop().
 *
 * Any thread may call anything here. The callbacks are made on the thread of the attachment or
 * inside the calls below; they must not call back into this header, but readable(), which may.
 */
#ifndef WF_ATTACH_H
#define WF_ATTACH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wf_store.h"

struct wf_attach;

#define WF_ATTACH_NAME_MAX 255u

struct wf_attach_options {
	const char *path;     /* of the socket; copied */
	uint32_t clients_max; /* connections */
	uint32_t process_max; /* of one process */
	uint32_t pins_max;    /* of one connection */
	uint32_t names_max;   /* values that are exported or wanted, with a name or without */
	uint64_t pinned_max;  /* bytes, of all connections together */
	bool create;          /* whether they may hand objects over */
	uint64_t created_max; /* bytes of those that are exported, all together */
	int full_status;      /* what to say of a full store, */
	int lost_status, corrupt_status; /* and of a spilled object that cannot be read */
	/* First of all on the thread, which does nothing without it. 0, or what opening returns. */
	int (*begin)(void *arg);
	/* Polled beside the sockets, and readable() called when there is something. -1: nothing. */
	int fd;
	void (*readable)(void *arg);
	/*
	 * A sealed object that a client has made gets its owner. `wanted`: the owner that waits for
	 * it, or 0. The object is the owner's on success. 0, -ENOMEM.
	 */
	int (*adopt)(void *arg, struct wf_object *object, uint64_t wanted, uint64_t *owner);
	/* One more count of an owner, for wf_attach_import(). */
	void (*keep)(void *arg, uint64_t owner);
	/* `wanted`: it still waits for its object, which will not come. */
	void (*drop)(void *arg, uint64_t owner, bool wanted);
	/* The bytes in an object's meta; NULL and 0 where there are none. The object is pinned. */
	const void *(*meta)(void *arg, const struct wf_object *object, uint32_t *bytes);
	int (*set_meta)(void *arg, struct wf_object *object, const void *bytes, uint32_t size);
	/*
	 * An object begins or ends to be held by the attachment itself: while its bytes are fetched
	 * it will be given back without anybody's help, see wf_store_options.busy. Any thread.
	 */
	void (*room)(void *arg, bool held);
	void (*log)(void *arg, int level, const char *text);
	void *arg;
};

/*
 * Listen on the path, with a thread that sleeps until somebody comes. The file is of mode 0600; a
 * socket that nobody listens on any more is replaced.
 * Errors: -ENAMETOOLONG, -EADDRINUSE somebody listens there, or it is no socket; -EBUSY others
 * hold the directory's lock; -ENOMEM, -EAGAIN no thread; -errno. Nothing is left behind.
 */
int wf_attach_open(struct wf_attach **out, struct wf_store *store,
                   const struct wf_attach_options *options);
/*
 * Hang up on all, undo what they pinned, drop all owners, remove the socket's file. Not from a
 * callback. NULL is accepted.
 */
void wf_attach_close(struct wf_attach *attach);

/* What a name stands for, once it is known. */
struct wf_attach_value {
	struct wf_object *object; /* sealed; or NULL and */
	const void *data;         /* at most 1024 bytes, copied; or */
	size_t size;
	int status, code; /* status < 0: there will be no value, */
	const char *text; /* and why; copied */
};

/*
 * Export a value, or with `value` NULL one that wf_attach_ready() tells later. `name`: NULL or 1 ..
 * WF_ATTACH_NAME_MAX bytes. Consumes one count of `owner` on success. `*id` is unique as long as
 * the attachment is open, and never 0.
 * Errors: -EINVAL the name; -EEXIST; -ENFILE names_max is reached; -ENOMEM.
 */
int wf_attach_export(struct wf_attach *attach, const char *name, uint64_t owner,
                     const struct wf_attach_value *value, uint64_t *id);
/* Whether it is exported and wf_attach_ready() has not been told yet. */
bool wf_attach_is_pending(struct wf_attach *attach, uint64_t id);
/* -ENOENT: it is exported no more, or was ready before. -ENOMEM: it became a failure. */
int wf_attach_ready(struct wf_attach *attach, uint64_t id, const struct wf_attach_value *value);
/*
 * The owner of `name`: 1, and a count of it is kept for the caller; or 0, and `wanted` (consumed)
 * will be given the object of this name that a client makes. Errors as wf_attach_export().
 */
int wf_attach_import(struct wf_attach *attach, const char *name, uint64_t wanted, uint64_t *owner);
/*
 * Take a name (NULL: by id) back; who has it pinned keeps it. `*owner` is whose it was, for
 * comparison only. -ENOENT.
 */
int wf_attach_unexport(struct wf_attach *attach, const char *name, uint64_t id, uint64_t *owner,
                       uint64_t *was);

struct wf_attach_client {
	uint64_t id;
	int32_t pid;
	uint32_t uid;
	uint32_t pins;         /* held now */
	uint32_t requests;     /* not answered yet */
	uint64_t pinned_bytes; /* an object pinned twice counts twice */
	uint64_t gets, creates;
};
/* Up to `n` of those that are attached: how many there are. */
uint32_t wf_attach_clients(struct wf_attach *attach, struct wf_attach_client *clients, uint32_t n);

#endif /* WF_ATTACH_H */
