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

#include <string.h>

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

/* Set in one store when a task is made and when it starts, read and written in parts. */
union wf_mark {
	struct wf_a32 all;
	struct {
		struct wf_a16 worker; /* that runs or ran it, plus one */
		uint8_t size;         /* argument, then result, when not elsewhere */
		struct wf_a8 attempt;
	};
};

static inline uint32_t wf_mark(uint32_t worker, uint32_t size, uint32_t attempt)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return worker | size << 16 | attempt << 24;
#else
	return worker << 16 | size << 8 | attempt;
#endif
}

struct wf_cell {
	struct wf_promise promise;
	union {
		weft_task_fn *fn;           /* until it runs */
		struct wf_payload *payload; /* done, WF_CELL_BIG */
		struct wf_error *error;     /* done, WF_CELL_ERROR */
	} u;
	union {
		struct wf_ext *ext;   /* WF_CELL_TASK; freed when the task has ended */
		struct wf_cell *main; /* WF_CELL_OUTPUT, pending: its task */
		struct wf_cell *next; /* free */
	};
	struct wf_a32 gen;  /* salt and count, see below; 0 only before the first use */
	uint16_t owner;     /* whose slab: id of a wf_local */
	struct wf_a8 flags; /* one writer at a time; others read */
	struct wf_a8 cancel;
	struct wf_a32 place; /* group (12 bits), and the fiber it is parked on (20 bits) */
	union wf_mark mark;
	WF_ALIGNED(16) unsigned char data[WF_INLINE_BYTES];
};
_Static_assert(sizeof(struct wf_cell) == 64, "one cache line");
_Static_assert(offsetof(struct wf_cell, data) == 48, "data closes the line");

#define WF_PLACE_FIBER 0xfffffu /* stacks are at most 2^20 */

static inline uint32_t wf_place(uint32_t group)
{
	return group << 20;
}

/* relaxed, both: published by the state BLOCKED; a late reader checks what it finds. */
static inline void wf_place_fiber(struct wf_cell *cell, uint32_t index)
{
	/* relaxed: only the runner writes it. */
	wf_store_relaxed(&cell->place, (wf_load_relaxed(&cell->place) & ~WF_PLACE_FIBER) | index);
}

static inline uint32_t wf_placed_fiber(const struct wf_cell *cell)
{
	/* relaxed: as above. */
	return wf_load_relaxed(&cell->place) & WF_PLACE_FIBER;
}

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

typedef uint64_t wf_pair __attribute__((vector_size(16), may_alias));

/*
 * Copy at most sixteen bytes into a cell with one store of sixteen: the runner loads them so, and
 * a load that spans two recent stores waits until both have reached the cache.
 */
static inline void wf_copy_inline(unsigned char *to, const void *from, size_t size)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const unsigned char *bytes = (const unsigned char *)from;
	uint64_t lo = 0, hi = 0;
	uint32_t a, b;

	if (WF_LIKELY(size == 8)) {
		memcpy(&lo, bytes, 8);
	} else if (size > 8) {
		memcpy(&lo, bytes, 8);
		memcpy(&hi, bytes + size - 8, 8);
		hi >>= (16 - size) * 8;
	} else if (size >= 4) {
		memcpy(&a, bytes, 4);
		memcpy(&b, bytes + size - 4, 4);
		lo = a | (uint64_t)b << (size - 4) * 8;
	} else {
		for (size_t i = 0; i < size; i++)
			lo |= (uint64_t)bytes[i] << i * 8;
	}
	*(wf_pair *)(void *)to = (wf_pair){ lo, hi };
#else
	if (size)
		memcpy(to, from, size);
#endif
}

/* One input: a waiter in its producer's list. */
struct wf_edge {
	struct wf_waiter waiter;
	uint32_t src;      /* cell index of the producer */
	uint32_t position; /* of this edge in ext->edges */
};

/* What few tasks have. */
struct wf_more {
	const char *name;
	void (*arg_drop)(void *arg, size_t size);
	int64_t deadline;
	int64_t submit_ns, start_ns, end_ns;
};

/* In ext->flags, beside enum weft_task_flags. */
#define WF_EXT_RELEASED  (1u << 4) /* the inputs' counts are gone */
#define WF_EXT_MORE      (1u << 5) /* has a struct wf_more */
#define WF_EXT_ARG       (1u << 6) /* has the argument; else it is in the cell */
#define WF_EXT_ALWAYS    (1u << 7) /* runs even when everything is cancelled */

#define WF_UNREADY_EARLY (1u << 31) /* ended before its inputs were ready */

/*
 * The cold block. Behind the edges, when there: struct wf_more, the indices of n_outputs - 1
 * further cells, the argument. One input and nothing else make 64 bytes.
 */
struct wf_ext {
	const char *site;      /* "name\0file:line" or NULL */
	uint32_t cell;         /* index */
	struct wf_a32 unready; /* edges not fired, plus one guard; plus WF_UNREADY_EARLY */
	uint16_t n_inputs, n_after;
	uint16_t n_outputs;
	uint16_t arg_size;
	uint8_t policy, priority, flags, retries_left;
	uint8_t block;       /* to free it with; 0: from the heap */
	struct wf_a8 linked; /* 1: every edge is linked; 2: somebody has unlinked what is left */
	uint16_t reserved;
	struct wf_edge edges[];
};
_Static_assert(sizeof(struct wf_ext) == 32 && sizeof(struct wf_edge) == 24,
               "one line for one input");

static inline uint32_t wf_ext_edge_count(const struct wf_ext *ext)
{
	return (uint32_t)ext->n_inputs + ext->n_after;
}

static inline size_t wf_ext_outs_at(const struct wf_ext *ext)
{
	return sizeof(*ext) + wf_ext_edge_count(ext) * sizeof(struct wf_edge) +
		(ext->flags & WF_EXT_MORE ? sizeof(struct wf_more) : 0);
}

static inline size_t wf_ext_arg_at(const struct wf_ext *ext)
{
	size_t outs = ext->n_outputs > 1 ? (ext->n_outputs - 1u) * sizeof(uint32_t) : 0;

	return (wf_ext_outs_at(ext) + outs + 15) & ~(size_t)15;
}

static inline struct wf_more *wf_ext_more(struct wf_ext *ext)
{
	if (!(ext->flags & WF_EXT_MORE))
		return NULL;
	return (struct wf_more *)(void *)((char *)ext + wf_ext_outs_at(ext) -
	                                  sizeof(struct wf_more));
}

static inline uint32_t *wf_ext_outs(struct wf_ext *ext)
{
	return (uint32_t *)(void *)((char *)ext + wf_ext_outs_at(ext));
}

static inline void *wf_ext_arg(struct wf_ext *ext)
{
	return ext->flags & WF_EXT_ARG ? (char *)ext + wf_ext_arg_at(ext) : NULL;
}

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
