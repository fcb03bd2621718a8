/*
 * stream.h: what a generator's body and whoever takes its items share.
 *
 * A stream is a list of cells. The last one, the tail, is pending: giving an item is to put the
 * value into the tail, to link a fresh tail behind it and to complete it like any other promise.
 * So the word that every result has is all that producer and consumer need: waiting for the next
 * item is waiting for a cell, and the list needs no lock.
 */
#ifndef WF_STREAM_H
#define WF_STREAM_H

#include "cell.h"

enum wf_stream_mode {
	WF_STREAM_LIVE = 1, /* items are taken while the body runs */
	WF_STREAM_LIST,     /* items are collected; the output is the list of their refs */
	WF_STREAM_FIXED,    /* item i is output i */
};

#define WF_ITEMS_MAX 100000000u

struct wf_stream {
	/* Set once. */
	struct wf_cell *task; /* counted by the generator; NULL: nobody ever took */
	struct wf_cell *gen;
	uint32_t mode; /* enum wf_stream_mode */
	uint32_t window, items_max;
	uint32_t block;       /* to free this with */
	struct wf_a32 sides;  /* who still uses this: the task, and the generator's holders */
	struct wf_a32 waking; /* a consumer looks at `parked` and at what it pointed to */
	/* The producer's. */
	WF_ALIGNED(64) struct wf_cell *tail; /* NULL: nobody takes any more */
	struct wf_cell *spare;               /* an error's end of stream, so that ends never fail */
	uint32_t index;                      /* of this attempt's next item */
	uint32_t emitted;                    /* items that were ever put into the list */
	bool staged;                         /* room was given and is not emitted yet */
	bool surplus;                        /* said that there are more items than outputs */
	uint8_t staged_size;                 /* in `data` */
	struct wf_payload *payload;          /* staged, when larger */
	weft_ref *refs;                      /* collected */
	uint32_t refs_count, refs_room;
	WF_ALIGNED(16) unsigned char data[WF_INLINE_BYTES];
	/* The consumer's. */
	WF_ALIGNED(64) struct wf_a32 busy; /* one call at a time */
	struct wf_cell *head;              /* the next item, or the tail, or the end for ever */
	/* Both, when there is a window. */
	WF_ALIGNED(64) struct wf_a64 taken; /* WF_STREAM_DROPPED: nobody counts any more */
	struct wf_aptr parked;              /* the producer's struct wf_wait, or 0 */
};
_Static_assert(offsetof(struct wf_stream, tail) % 64 == 0, "the producer's line");
_Static_assert(offsetof(struct wf_stream, busy) % 64 == 0, "the consumer's line");
_Static_assert(offsetof(struct wf_stream, taken) % 64 == 0, "the window's line");

#define WF_STREAM_DROPPED (UINT64_C(1) << 63)

struct weft_task_options;

/* What an item is: another ref (its count passes on), a sealed payload, or up to sixteen bytes. */
struct wf_item {
	weft_ref ref;
	struct wf_payload *payload;
	const void *data;
	size_t size;
};

/* The stream of a task with WEFT_TASK_EMITS, else NULL. */
static inline struct wf_stream *wf_ext_stream(struct wf_ext *ext)
{
	return ext && ext->flags & WEFT_TASK_EMITS ? wf_ext_more(ext)->stream : NULL;
}

static inline bool wf_cell_is_stream(const struct wf_cell *cell)
{
	return (wf_flags(cell) & WF_CELL_KIND_MASK) == WF_CELL_STREAM;
}

/* ---- The task's side ------------------------------------------------------------------------ */

/* For a task that is being submitted. `forget`: nobody will take. NULL: no memory. */
struct wf_stream *wf_stream_create(struct wf_local *self, struct wf_cell *task,
                                   const struct weft_task_options *o, bool forget);
/* The submit failed: as if there had been none. */
void wf_stream_undo(struct wf_local *self, struct wf_stream *s);
/* Whether anybody will take what is put; asked before every put. */
bool wf_stream_wanted(struct wf_local *self, struct wf_stream *s);
/* WF_STREAM_LIVE: the next item. 0, or -ENOMEM and nothing has changed. */
int wf_stream_put(struct wf_local *self, struct wf_stream *s, const struct wf_item *item);
/* After a put into a stream with a window: 0 room, -EINTR cancelled, -EAGAIN no stack. */
int wf_stream_hold_back(weft *rt, struct wf_stream *s) WF_SUSPENDS;
/* WF_STREAM_LIST: the next item; the count passes on. 0, -ENOMEM. */
int wf_stream_append(struct wf_stream *s, weft_ref ref);
/* Another attempt begins. */
void wf_stream_restart(struct wf_local *self, struct wf_stream *s);
/* The body has returned `code`, 0 or more: what it collected becomes output 0. The code. */
int wf_stream_collect(struct weft_task *frame, int code) WF_SUSPENDS;
/*
 * How many of a task's outputs keep their values when it ends with *error (NULL: well), which
 * is set when a generator gave fewer than promised.
 */
uint32_t wf_stream_outputs(struct wf_cell *cell, struct wf_error **error);
/* The task ends; `error` NULL: well. Once, before its cell completes. */
void wf_stream_end(struct wf_local *self, struct wf_stream *s, struct wf_error *error);

/* ---- The generator's side ------------------------------------------------------------------- */

/* Around a use of `head`: 0, or -EBUSY somebody else is inside. */
int wf_stream_enter(struct wf_stream *s);
void wf_stream_leave(struct wf_stream *s);
/* Inside, with the head done: 0 and *out, the caller's; -ENODATA at the end. */
int wf_stream_take(struct wf_local *self, struct wf_stream *s, weft_ref *out);
/* The next item's cell, retained: done when a next would not block. -EBUSY. */
int wf_stream_peek(struct wf_cell *gen, struct wf_cell **next);
/* What a next would find in a done cell: 0, -ENODATA at the end, or the item's failure. */
int wf_stream_status(weft *rt, const struct wf_cell *item);
/* The generator's last count goes; frees its cell. */
void wf_stream_drop(struct wf_local *self, struct wf_cell *gen);

#endif /* WF_STREAM_H */
