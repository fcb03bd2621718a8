/*
 * link.h: the client's end of a connection: calls that are answered, and what is held.
 */
#ifndef WF_CLIENT_LINK_H
#define WF_CLIENT_LINK_H

#include <pthread.h>
#include <sys/types.h>

#include "../wire.h"
#include "check.h"
#include "weft_client.h"

#define WF_LINK_CALLS_MAX 16u
#define WF_LINK_GRACE_NS  ((int64_t)1000000000) /* for an answer, beyond a deadline */

/* Where tests end the process: before and after everything that another process can see. */
#ifdef WEFT_CLIENT_POINTS
void weft_client_point(void);
#define WF_POINT() weft_client_point()
#else
#define WF_POINT() ((void)0)
#endif

/* A request under way; on its caller's stack. */
struct wf_call {
	struct wf_call *next;
	struct wf_wire answer;
	void *block; /* malloc'ed: what the answer points to; NULL: to nothing */
	bool done;
};

struct wf_held {
	uint32_t generation, next;
	uint64_t pin; /* 0: nothing of the store's */
	void *block;
	bool used;
};

struct wf_buffer {
	struct wf_buffer *next;
	uint64_t number;
	int fd;
	void *data;
	size_t size;
};

struct weft_client {
	int fd;
	pid_t process; /* that may use it */
	/* Written by connect only. */
	char *map;
	uint64_t map_bytes;
	uint32_t calls_max, pins_max;
	int32_t store_pid;
	bool creates;

	pthread_mutex_t lock;   /* for all below */
	pthread_cond_t changed; /* CLOCK_MONOTONIC */
	bool reading;           /* one of the callers waits at the socket for all */
	int dead;               /* 0, or why nothing works any more */
	uint64_t serial;
	struct wf_call *calls;
	uint32_t call_count;                   /* not answered yet, also those in `abandoned` */
	uint64_t abandoned[WF_LINK_CALLS_MAX]; /* serials; 0: free */
	uint64_t unmade[WF_LINK_CALLS_MAX];    /* of each what is still to be removed; 0: nothing */
	struct wf_held *held;
	uint32_t held_room, held_count, held_free, held_reserved;
	uint64_t *unsent; /* pins to be given back */
	uint32_t unsent_count, unsent_room;
	struct wf_buffer *buffers;
	unsigned char *in, *out; /* WF_WIRE_BYTES_MAX each */
};

int64_t wf_link_now(void);
/* Until the socket has an event, or for a signal: 0; -ETIMEDOUT. */
int wf_link_poll(int fd, short events, int64_t until);
/*
 * Send a request (its serial is given here) with a file or -1, and wait for its answer. At `until`
 * the store is told that nobody waits any more; `slow_ns`: how long the answer may take then, and
 * before, beyond a round trip. 0: call->answer is there, which may be a failure; call->block is
 * the caller's to free. -ETIMEDOUT, -EPIPE.
 */
int wf_link_call(struct weft_client *c, struct wf_wire *request, int fd, int64_t until,
                 int64_t slow_ns, struct wf_call *call);
/* With the lock held: send what is to be given back, as far as it goes. */
void wf_link_flush(struct weft_client *c);
/* With the lock held, when nobody is reading: take what has come, without waiting. */
void wf_link_look(struct weft_client *c);
/* With the lock held: there will be no more of it. */
void wf_link_die(struct weft_client *c, int status);

#endif /* WF_CLIENT_LINK_H */
