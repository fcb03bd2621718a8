/*
 * cell.h: the record of a task and of its result, in one cache line.
 *
 * A cell is a task until it has ended and a value from then on: the argument (up to 16 bytes)
 * and the result (up to 16 bytes) lie in the same place, because the runner copies the argument
 * to its frame before the body starts. What most tasks do not have (inputs, names, long
 * arguments, further outputs, deadlines) is in the cold block `ext`.
 *
 * Who touches what: until the task is queued, its submitter. From the pop to the completion, the
 * runner. After the completion, readers. The promise (waiters, state, refs) is shared, see
 * promise.h. `gen` changes only when the cell is freed. `cancel` is the canceller's.
 */
#ifndef WF_CELL_H
#define WF_CELL_H

#include "promise.h"
#include "weft.h"

#define WF_INLINE_BYTES 16

enum wf_cell_flags {
	WF_CELL_KIND_MASK = 7u,
	WF_CELL_TASK = 0u,
	WF_CELL_OUTPUT = 1u, /* a further output of a task */
	WF_CELL_EVENT = 2u,
	WF_CELL_VALUE = 3u,
	WF_CELL_SHARED = 1u << 3, /* completes in the shared way whoever completes it */
	WF_CELL_FORGET = 1u << 4, /* no ref was ever given out */
	WF_CELL_ERROR = 1u << 5,  /* ended badly: u.error */
	WF_CELL_BIG = 1u << 6,    /* the value is in u.payload */
	WF_CELL_TIMED = 1u << 7,  /* done, and ext is kept for its times */
};

enum wf_cancel {
	WF_CANCEL_NO = 0,
	WF_CANCEL_ASKED,
	WF_CANCEL_LOCKED, /* a canceller looks at state and ext */
	WF_CANCEL_ENDED,  /* ended by its canceller while queued: the queue's entry is a count */
};

struct wf_error;

struct wf_payload {
	size_t size;
	size_t block_bytes; /* 0: from the store's heap */
	WF_ALIGNED(64) unsigned char data[];
};

struct wf_cell {
	struct wf_promise promise;
	union {
		weft_task_fn *fn;           /* until it runs */
		uint32_t fiber_index;       /* WF_STATE_BLOCKED */
		struct wf_payload *payload; /* done, WF_CELL_BIG */
		struct wf_error *error;     /* done, WF_CELL_ERROR */
	} u;
	union {
		struct wf_ext *ext;         /* WF_CELL_TASK; freed when the task has ended */
		struct wf_cell *main;       /* WF_CELL_OUTPUT, pending: its task */
		struct wf_cell *next;       /* free */
	};
	struct wf_a32 gen;          /* salt and count, see below; 0 only before the first use */
	uint16_t owner;             /* whose slab: id of a wf_local */
	struct wf_a8 flags;         /* one writer at a time; others read */
	struct wf_a8 cancel;
	uint16_t group;
	uint16_t reserved;
	struct wf_a16 worker;       /* that runs or ran it, plus one */
	uint8_t size;               /* argument, then result, when not elsewhere */
	struct wf_a8 attempt;
	WF_ALIGNED(16) unsigned char data[WF_INLINE_BYTES];
};
_Static_assert(sizeof(struct wf_cell) == 64, "one cache line");
_Static_assert(offsetof(struct wf_cell, data) == 48, "data closes the line");

/* relaxed, all: what a reader may conclude from a flag, it may since the promise is done. */
static inline uint32_t wf_flags(const struct wf_cell *cell)
{
	return wf_load_relaxed(&cell->flags);
}

static inline void wf_flags_add(struct wf_cell *cell, uint32_t flags)
{
	wf_store_relaxed(&cell->flags, (uint8_t)(wf_load_relaxed(&cell->flags) | flags));
}

static inline void wf_flags_drop(struct wf_cell *cell, uint32_t flags)
{
	wf_store_relaxed(&cell->flags, (uint8_t)(wf_load_relaxed(&cell->flags) & ~flags));
}

/* One input: a waiter in its producer's list. */
struct wf_edge {
	struct wf_waiter waiter;
	uint32_t src;      /* cell index of the producer */
	uint32_t position; /* of this edge in ext->edges */
};

/* What few tasks have. */
struct wf_more {
	void (*arg_drop)(void *arg, size_t size);
	int64_t deadline;
	int64_t submit_ns, start_ns, end_ns;
};

#define WF_EXT_ALWAYS (1u << 7) /* in ext->flags: runs even when everything is cancelled */
#define WF_UNREADY_EARLY (1u << 31) /* ended before its inputs were ready */

struct wf_ext {
	struct wf_cell *cell;
	const char *name;       /* NULL: from the site or the symbol */
	const char *site;       /* "name\0file:line" or NULL */
	void *arg;              /* longer than WF_INLINE_BYTES; own block */
	struct wf_cell **outs;  /* n_outputs - 1 further cells; own block */
	struct wf_more *more;
	struct wf_error *cause; /* the failed input, written by whoever ends it early */
	struct wf_a32 unready;  /* edges not fired, plus one guard; plus WF_UNREADY_EARLY */
	uint32_t arg_size;
	uint32_t n_outputs;
	uint16_t n_inputs, n_after;
	uint8_t policy, priority, flags, retries_left;
	uint32_t block_bytes;
	struct wf_a32 linked;   /* 1: every edge is linked; 2: somebody has unlinked what is left */
	struct wf_edge edges[];
};

/* ---- Handles: 28 bits of index, 32 bits of generation ------------------------------------- */

/*
 * The generation's upper 6 bits name the runtime, so that one comparison tells a stale handle and
 * a foreign one. Its lower 26 count the uses of the cell; see slab.h for how long that lasts.
 */
#define WF_INDEX_BITS 28
#define WF_INDEX_MASK ((1u << WF_INDEX_BITS) - 1)
#define WF_SALT_SHIFT 26
#define WF_GEN_MASK   ((1u << WF_SALT_SHIFT) - 1)
/* Flipped when the last count of a pending cell goes: its handles are stale from then on. */
#define WF_GEN_ORPHAN (1u << (WF_SALT_SHIFT - 1))

static inline uint32_t wf_ref_index(weft_ref ref)
{
	return (uint32_t)ref.bits & WF_INDEX_MASK;
}

/* More than 32 bits when the handle is garbage. */
static inline uint64_t wf_ref_gen(weft_ref ref)
{
	return ref.bits >> WF_INDEX_BITS;
}

#endif /* WF_CELL_H */
