/*
 * attach.h: an attachment as its own files see it: attach_socket.c the socket's file,
 * attach_items.c names and values, attach_request.c what is asked for, attach_client.c who asks,
 * attach.c the thread.
 */
#ifndef WF_STORE_ATTACH_H
#define WF_STORE_ATTACH_H

#include <pthread.h>

#include "base.h"
#include "wf_attach.h"
#include "wire.h"

#define WF_ATTACH_REQUESTS 16u /* of one connection, not answered yet; one more is refused */
#define WF_ATTACH_BUCKETS  1024u
#define WF_ATTACH_COPY     ((uint64_t)4 << 20) /* of one creation, before another's turn */
#define WF_ATTACH_TURN     64u                 /* messages of one client, likewise */

enum wf_item_state {
	WF_ITEM_PENDING, /* exported, not known yet */
	WF_ITEM_WANTED,  /* imported: a client may make it */
	WF_ITEM_OBJECT,
	WF_ITEM_BYTES, /* in `bytes` */
	WF_ITEM_FAILED /* status, code, and a text in `bytes` */
};

struct wf_attach_request;

/* A value under a name, or under its number alone. */
struct wf_item {
	struct wf_item *next_name, *next_id; /* in their buckets */
	struct wf_attach_request *waiters;   /* while it is PENDING or WANTED */
	uint64_t id, owner;
	uint64_t creator; /* a client's id; 0: the store's own process */
	uint64_t created; /* bytes that count for created_max */
	uint32_t users;   /* the tables count as one; requests that look into it */
	enum wf_item_state state;
	bool listed;
	int status, code;
	struct wf_object *object;
	void *bytes;
	size_t size;
	char name[]; /* "": none */
};

enum wf_request_phase {
	WF_REQUEST_FREE,
	WF_REQUEST_NAME,   /* until the name is exported */
	WF_REQUEST_ITEM,   /* until the item is known */
	WF_REQUEST_TICKET, /* the store has its ticket: for a pin, or for room */
	WF_REQUEST_COPY,   /* its bytes are being fetched */
	WF_REQUEST_ANSWER  /* to be sent */
};

struct wf_attach_request {
	struct wf_store_ticket ticket;
	struct wf_store_full full;      /* its text is the text of any failure */
	struct wf_attach_request *next; /* answers, waiters of an item, tickets that are done */
	struct wf_client *client;
	struct wf_item *item; /* a use of it */
	enum wf_request_phase phase;
	enum wf_wire_kind kind; /* GET, CREATE, REMOVE */
	bool wait;
	uint64_t serial;
	/* The answer. */
	int status, code;
	uint64_t id, pin;
	struct wf_object *object; /* pinned; or being made */
	/* CREATE. */
	int fd;
	uint64_t size, copied;
	uint32_t tag, meta_bytes;
	void *meta;
	char name[WF_ATTACH_NAME_MAX + 1];
};

#define WF_PIN_NONE UINT32_MAX

struct wf_pin {
	struct wf_object *object; /* NULL: free */
	uint32_t generation, next;
};

struct wf_client {
	struct wf_client *next;
	struct wf_attach *attach;
	uint64_t id;
	int fd; /* -1: hung up; goes when no ticket is out */
	int32_t pid;
	uint32_t uid;
	bool welcome; /* has said hello */
	/* The ledger: exactly what it has pinned. */
	struct wf_pin *pins;
	uint32_t pin_room, pin_count, pin_free;
	uint64_t pinned, gets, creates;
	struct wf_attach_request *answers, *answers_last;
	struct wf_attach_request requests[WF_ATTACH_REQUESTS];
};

struct wf_attach {
	struct wf_store *store;
	struct wf_attach_options options;
	char *path;
	uint64_t socket_device, socket_inode;
	int listen_fd, wake_fd;
	struct wf_thread thread;
	struct wf_a32 stop;
	struct wf_a32 began; /* by the thread: 1 and begin()'s status negated */
	struct wf_aptr done;   /* stack of requests whose tickets are done */
	struct wf_a32 ringing; /* threads that push there: they also touch wake_fd */

	pthread_mutex_t lock; /* for all below */
	struct wf_client *clients;
	uint32_t client_count;
	uint32_t tickets; /* out */
	uint64_t serial;  /* the last client, and the last item */
	uint64_t pinned, created;
	bool accept_failed;
	struct wf_item *by_name[WF_ATTACH_BUCKETS], *by_id[WF_ATTACH_BUCKETS];
	uint32_t item_count;
	struct pollfd *polls;
	uint32_t poll_room;
	unsigned char *message; /* WF_WIRE_BYTES_MAX */
};

__attribute__((format(printf, 3, 4))) void wf_attach_log(const struct wf_attach *attach, int level,
                                                         const char *format, ...);
/* Have the thread look at everything again. Any thread. */
void wf_attach_wake(struct wf_attach *attach);

/* ---- attach_socket.c ------------------------------------------------------------------------- */

/* Bind and listen; the descriptor or -errno, see wf_attach_open(). */
int wf_socket_listen(const char *path, uint64_t *device, uint64_t *inode);
/* Remove the file, when it is still this one. */
void wf_socket_remove(const char *path, uint64_t device, uint64_t inode);

/* ---- attach_items.c: with the lock held ------------------------------------------------------ */

struct wf_item *wf_item_by_name(struct wf_attach *attach, const char *name);
struct wf_item *wf_item_by_id(struct wf_attach *attach, uint64_t id);
/* `name` may be "". 0; -EEXIST, -ENFILE, -ENOMEM. */
int wf_item_create(struct wf_attach *attach, const char *name, uint64_t owner,
                   struct wf_item **out);
void wf_item_unlist(struct wf_attach *attach, struct wf_item *item);
void wf_item_unuse(struct wf_attach *attach, struct wf_item *item);
/* An item is known, or a new one has its name: those who wait go on. */
void wf_item_serve(struct wf_attach *attach, struct wf_item *item);

/* ---- attach_client.c: with the lock held ----------------------------------------------------- */

/* A connection; closes `fd` when it is refused. */
void wf_client_accept(struct wf_attach *attach, int fd);
/* Read what it says and do it. False: it has hung up, or must be. */
bool wf_client_read(struct wf_client *client);
/* Send answers as far as they go. False: as above. */
bool wf_client_flush(struct wf_client *client);
/* Undo all that it has; it is freed when the last of its tickets is back. */
void wf_client_hang_up(struct wf_client *client);
bool wf_client_is_gone(const struct wf_client *client);
void wf_client_free(struct wf_client *client);

/* ---- attach_request.c: with the lock held ---------------------------------------------------- */

/* Begin what a GET, CREATE or REMOVE asks for; consumes `fd`. False: no place for one more. */
bool wf_request_start(struct wf_client *client, const struct wf_wire *wire, int fd);
/* The client does not want to wait any more: it is answered now. */
void wf_request_cancel(struct wf_client *client, uint64_t serial);
/* The item that a request waited for is known. */
void wf_request_go_on(struct wf_attach_request *request, struct wf_item *item);
/* The answer is known; `text` may be NULL. */
void wf_request_end(struct wf_attach_request *request, int status, int code, const char *text);
/* Its ticket is back. */
void wf_request_done(struct wf_attach_request *request);
/* Stop what it waits for. False: that cannot be stopped any more; its end is near. */
bool wf_request_stop(struct wf_attach_request *request);
void wf_request_free(struct wf_attach_request *request);
/* Without the lock: fetch the next piece of a creation. 0 more, 1 all, -errno. */
int wf_request_copy(struct wf_attach_request *request);
/* All is there, or not: seal and list it, or give up. */
void wf_request_copied(struct wf_attach_request *request, int status);
/* Undo a pin. False: there is none of this number. */
bool wf_ledger_release(struct wf_client *client, uint64_t id);
void wf_ledger_clear(struct wf_client *client);

#endif /* WF_STORE_ATTACH_H */
