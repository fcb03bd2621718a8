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

#include "admit.h"
#include "promise.h"
#include "weft.h"

#define WF_INLINE_BYTES 16

enum wf_cell_flags {
	WF_CELL_KIND_MASK = 7u,
	WF_CELL_TASK = 0u,
	WF_CELL_OUTPUT = 1u, /* a further output of a task */
	WF_CELL_EVENT = 2u,
	WF_CELL_VALUE = 3u,
	WF_CELL_STREAM = 4u,      /* a generator: u.stream; never done */
	WF_CELL_LINK = 5u,        /* an item of a stream that is another ref, in data; 0: the end */
	WF_CELL_SIGNAL = 6u,      /* an event that only the engine sets */
	WF_CELL_HANDLE = 7u,      /* a value that holds a count of an actor; with WF_CELL_TIMED */
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
	WF_CANCEL_LATE,   /* asked by its deadline */
	WF_CANCEL_ENDED,  /* ended by its canceller while queued: the queue's entry is a count */
	WF_CANCEL_LEFT,   /* the same by one who had no count, see wf_cell_part() */
};

struct wf_error;
struct wf_ext;
struct wf_stream;

/*
 * Which task has submitted a task: the place of its cell in the range of cells (an address less its
 * two lowest bits: a range has at most 2^34 bytes) and its generation. The generation's upper
 * half is never 0, the upper quarter of an address always is.
 */
struct wf_tag {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint32_t at, gen;
#else
	uint32_t gen, at;
#endif
};
#define WF_TAG_NONE ((struct wf_tag){ UINT32_MAX, UINT32_MAX })

/*
 * A value that does not fit its cell: a block of the slab, or, when bit 0 of the pointer is set, an
 * object of the store, or, with bit 1, one that lies on a device (gpu/objects.c). Blocks are not
 * worth a place in the store's table, and cannot be spilled.
 */
struct wf_payload {
	uint32_t size;
	uint32_t block_bytes;
	WF_ALIGNED(64) unsigned char data[];
};
#define WF_BLOCK_VALUE_MAX ((size_t)448) /* of a block of 512 bytes; larger values are objects */

struct wf_object;

#define WF_PAYLOAD_BITS ((uintptr_t)3)

static inline bool wf_payload_is_remote(const struct wf_payload *payload)
{
	return (uintptr_t)payload & 2;
}

static inline bool wf_payload_is_object(const struct wf_payload *payload)
{
	return (uintptr_t)payload & 1;
}

static inline struct wf_object *wf_payload_object(struct wf_payload *payload)
{
	return (struct wf_object *)((uintptr_t)payload & ~(uintptr_t)1);
}

static inline struct wf_payload *wf_payload_of_object(struct wf_object *object)
{
	return (struct wf_payload *)((uintptr_t)object | 1);
}

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

/* Owner, flags and cancel in one word: set in one store, compared in one load. */
static inline uint32_t wf_head(uint32_t owner, uint32_t flags)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return owner | flags << 16;
#else
	return owner << 16 | flags << 8;
#endif
}

struct wf_cell {
	struct wf_promise promise;
	union {
		weft_task_fn *fn;           /* until it runs */
		struct wf_payload *payload; /* done, WF_CELL_BIG */
		struct wf_error *error;     /* done, WF_CELL_ERROR */
		struct wf_stream *stream;   /* WF_CELL_STREAM */
	} u;
	union {
		struct wf_ext *ext_word; /* WF_CELL_TASK: wf_cell_ext(); freed when it has ended */
		struct wf_tag parent;    /* WF_CELL_TASK without ext */
		uint16_t quarters[4];    /* which of the two, see wf_cell_is_bare() */
		struct wf_cell *main; /* WF_CELL_OUTPUT, pending: its task; done: the next item */
		struct wf_cell *next; /* free */
	};
	union {
		struct wf_a64 life; /* the two below in one, for who holds no count: family.c */
		struct {
			struct wf_a32 gen; /* salt and count, see below; 0 before the first use */
			union {
				struct wf_a32 head; /* wf_head() */
				struct {
					uint16_t owner;     /* wf_cell_owner() */
					struct wf_a8 flags; /* one writer at a time */
					struct wf_a8 cancel;
				};
			};
		};
	};
	struct wf_a32 place; /* group (12 bits), and the fiber it is parked on (20 bits) */
	union wf_mark mark;
	WF_ALIGNED(16) unsigned char data[WF_INLINE_BYTES];
};
_Static_assert(sizeof(struct wf_cell) == 64, "one cache line");
_Static_assert(offsetof(struct wf_cell, data) == 48, "data closes the line");

/* Whose slab it is from: id of a wf_local. It stays, whoever exchanges `life`. */
static inline uint16_t wf_cell_owner(const struct wf_cell *cell)
{
#if WF_TSAN
	/* relaxed: an exchange of `life` writes it, with what it was. */
	uint32_t head = wf_load_relaxed(&cell->head);

	return (uint16_t)(wf_head(1, 0) == 1 ? head : head >> 16);
#else
	return cell->owner;
#endif
}

/* Of a done cell: its value is neither in it nor in a block, and must be held to be read. */
static inline bool wf_cell_is_outside(const struct wf_cell *cell)
{
	/* relaxed, both below: as all flags. */
	return (wf_load_relaxed(&cell->flags) & (WF_CELL_BIG | WF_CELL_ERROR)) == WF_CELL_BIG &&
		(uintptr_t)cell->u.payload & WF_PAYLOAD_BITS;
}

/* The same: it was born on a device. */
static inline bool wf_cell_is_remote(const struct wf_cell *cell)
{
	return wf_cell_is_outside(cell) && wf_payload_is_remote(cell->u.payload);
}

/* Of a task: it has no cold block. One comparison, where a task starts. */
static inline bool wf_cell_is_bare(const struct wf_cell *cell)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return cell->quarters[3];
#else
	return cell->quarters[0];
#endif
}

/* The cold block of a task, or NULL. */
static inline struct wf_ext *wf_cell_ext(const struct wf_cell *cell)
{
	return wf_cell_is_bare(cell) ? NULL : cell->ext_word;
}

static inline void wf_cell_set_ext(struct wf_cell *cell, struct wf_ext *ext)
{
	cell->ext_word = ext;
}

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

/*
 * Copy at most sixteen bytes into a cell, in one or two stores of eight, as they are read again: a
 * load that spans two recent stores waits until both have reached the cache, and so, nearly, does
 * one of eight out of a store of sixteen. Behind `size` the upper half keeps what it was.
 */
static inline void wf_copy_inline(unsigned char *to, const void *from, size_t size)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	const unsigned char *bytes = (const unsigned char *)from;
	uint64_t lo = 0, hi;
	uint32_t a, b;

	if (WF_LIKELY(size == 8)) {
		memcpy(&lo, bytes, 8);
	} else if (size > 8) {
		memcpy(&lo, bytes, 8);
		memcpy(&hi, bytes + size - 8, 8);
		hi >>= (16 - size) * 8;
		memcpy(to + 8, &hi, 8);
	} else if (size >= 4) {
		memcpy(&a, bytes, 4);
		memcpy(&b, bytes + size - 4, 4);
		lo = a | (uint64_t)b << (size - 4) * 8;
	} else {
		for (size_t i = 0; i < size; i++)
			lo |= (uint64_t)bytes[i] << i * 8;
	}
	memcpy(to, &lo, 8);
#else
	if (size)
		memcpy(to, from, size);
#endif
}

/* All sixteen bytes, in halves. */
static inline void wf_copy_halves(unsigned char *to, const unsigned char *from)
{
	uint64_t lo, hi;

	memcpy(&lo, from, 8);
	memcpy(&hi, from + 8, 8);
	memcpy(to, &lo, 8);
	memcpy(to + 8, &hi, 8);
}

/* One input: a waiter in its producer's list. Without a function, so that two fit one line. */
struct wf_edge {
	union {
		struct wf_waiter waiter;
		struct {
			struct wf_waiter *next;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
			uint32_t src;  /* cell index of the producer */
			uint32_t mark; /* WF_WAITER_EDGE's half, and the place in ext->edges */
#else
			uint32_t mark;
			uint32_t src;
#endif
		};
	};
};
#define WF_EDGE_MARK (1u << 31)

/*
 * In the heap of timers: a wait that has an end, a task that has a deadline, or a call between two
 * attempts.
 */
struct wf_timer {
	int64_t until;
	uint32_t heap_index; /* 0: not there; under timer_mutex */
	uint32_t cell;       /* the task's, of which the timer holds a count while it is there */
};
#define WF_TIMER_PAUSE UINT32_MAX /* for a cell: of a struct wf_pause */

/* A call of an actor that waits for its next attempt, as for one more input. */
struct wf_pause {
	struct wf_timer timer; /* while it is there it has a count of ext->unready */
	struct wf_ext *ext;    /* NULL: it has never waited so */
};

/* What few tasks have. */
struct wf_more {
	const char *name;
	void (*arg_drop)(void *arg, size_t size);
	struct wf_timer deadline; /* until 0: none */
	bool abandon;             /* WEFT_TASK_ABANDON: its getters have its only further output */
	bool timed;               /* its times are kept */
	int64_t submit_ns, start_ns, end_ns;
	struct wf_keyed *keyed;   /* until the task has ended */
	struct wf_lineage *lineage; /* likewise */
	struct wf_stream *stream; /* with WEFT_TASK_EMITS */
};

/* Bytes that a task and those that it submits share: options.context. */
struct wf_blob {
	struct wf_a32 refs; /* counts minus one */
	uint32_t size;
	WF_ALIGNED(16) unsigned char data[];
};

/* What tasks have that may be tried again, or have a context, a stream, a memory limit. */
struct wf_plus {
	struct wf_blob *context;
	uint64_t identity;      /* of the random stream; 0: none */
	struct wf_a32 children; /* submitted so far, by this attempt */
	uint32_t failures;
	uint32_t retries, memory_retries; /* left */
	int64_t backoff_ns, backoff_max_ns;
	uint64_t memory, memory_soft; /* of this attempt */
	struct wf_error *last_error;
	void *checkpoint;
	size_t checkpoint_size;
	struct wf_random random;
	uint32_t fault_calls;
	uint32_t n_retry_on;
	int retry_on[WEFT_RETRY_ON_MAX];
	struct wf_pause pause;
};

/* In ext->flags, beside enum weft_task_flags. */
#define WF_EXT_PLAIN       (1u << 3) /* nothing but inputs, an argument, a site: see plain.c */
#define WF_EXT_RELEASED    (1u << 4) /* the inputs' counts are gone */
#define WF_EXT_MORE        (1u << 5) /* has a struct wf_more */
#define WF_EXT_ARG         (1u << 6) /* has the argument; else it is in the cell */
#define WF_EXT_ALWAYS      (1u << 7) /* runs even when everything is cancelled */

/* In ext->parts. */
#define WF_PART_GROUP      (1u << 0) /* in a group; the cell has its number; see wf_ext_ready() */
#define WF_PART_REQUEST    (1u << 1) /* has a struct wf_request */
#define WF_PART_PLUS       (1u << 2) /* has a struct wf_plus */
#define WF_PART_SKIP_EMPTY (1u << 3)

#define WF_UNREADY_EARLY   (1u << 31) /* ended before its inputs were ready */
#define WF_UNREADY_LINKING (1u << 30) /* edges are being linked; stays when it ended meanwhile */
#define WF_UNREADY_AHEAD   (1u << 29) /* began before its inputs were done, see gpu/ahead.c */
#define WF_UNREADY_COUNT   (WF_UNREADY_AHEAD - 1)

/*
 * The cold block. Behind the edges, when there: what makes it a call of an actor, struct wf_more,
 * struct wf_request, struct wf_plus, the indices of n_outputs - 1 further cells, the argument. Two
 * inputs alone make 64 bytes.
 */
struct wf_ext {
	struct wf_tag parent;
	/* Packed, so that two edges are still one line; plain_head() fills in the words. */
	union {
		uint64_t site_word;
		struct {
			uint64_t site_bits : 48; /* wf_ext_site() */
			uint64_t arg_size : 13;
			uint64_t call : 2; /* 16-byte parts of struct wf_call_info that it has */
		};
	};
	uint32_t cell;         /* index */
	struct wf_a32 unready; /* edges not fired, plus one while linking; plus the bits */
	uint16_t n_inputs, n_after;
	union {
		uint32_t kind_word;
		struct {
			uint16_t n_outputs : 11;
			uint16_t block : 4;  /* to free it with; 0: from the heap */
			uint16_t pinned : 1; /* the runner holds what lies in the store */
			uint8_t flags;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
			uint8_t priority : 2; /* these two in this order: wf_ext_ready() */
			uint8_t parts : 4;    /* WF_PART_... */
			uint8_t policy : 2;
#else
			uint8_t policy : 2;
			uint8_t parts : 4;
			uint8_t priority : 2;
#endif
		};
	};
	struct wf_edge edges[];
};
_Static_assert(sizeof(struct wf_ext) == 32 && sizeof(struct wf_edge) == 16,
               "one line for two inputs");

#define WF_CALL_SHORT 1u /* parts of a call that never waits */
#define WF_CALL_WAITS 3u /* of one that may */

/*
 * What a running task was asked. LOCKED is none yet: who locks finds it running and says what he
 * wants, or that he wants nothing (a walker that met the wrong one), after a membarrier at most.
 */
static inline uint32_t wf_cancel_asked(const struct wf_cell *cell)
{
	uint8_t cancel;

	/* relaxed: a request may be seen late. */
	while (WF_UNLIKELY((cancel = wf_load_relaxed(&cell->cancel)) == WF_CANCEL_LOCKED))
		wf_cpu_relax();
	return cancel;
}

/* Where it goes when it is ready: its priority, and whether to its group (WF_READY_GROUP). */
static inline uint32_t wf_ext_ready(const struct wf_ext *ext)
{
	return ((const unsigned char *)&ext->kind_word)[3] & 7u;
}

/* "name\0file:line" or NULL. */
static inline const char *wf_ext_site(const struct wf_ext *ext)
{
	return (const char *)(uintptr_t)ext->site_bits;
}

/* In front of a cold block that is too large for the slab, which lies at an odd place so. */
struct wf_big {
	struct wf_big *next, *prev;
};

static inline bool wf_ext_is_big(const struct wf_ext *ext)
{
	return (uintptr_t)ext % 64 != 0;
}

static inline struct wf_ext *wf_big_ext(struct wf_big *big)
{
	return (struct wf_ext *)(void *)(big + 1);
}

static inline struct wf_edge wf_edge_to(uint32_t src, uint32_t place)
{
	return (struct wf_edge){ .src = src, .mark = WF_EDGE_MARK | place };
}

static inline struct wf_ext *wf_ext_of_edge(struct wf_edge *edge)
{
	return wf_container_of(edge - (edge->mark & ~WF_EDGE_MARK), struct wf_ext, edges[0]);
}

static inline uint32_t wf_ext_edge_count(const struct wf_ext *ext)
{
	return (uint32_t)ext->n_inputs + ext->n_after;
}

static inline size_t wf_ext_more_at(const struct wf_ext *ext)
{
	return sizeof(*ext) + wf_ext_edge_count(ext) * sizeof(struct wf_edge) + ext->call * 16u;
}

static inline size_t wf_ext_request_at(const struct wf_ext *ext)
{
	return wf_ext_more_at(ext) + (ext->flags & WF_EXT_MORE ? sizeof(struct wf_more) : 0);
}

static inline size_t wf_ext_plus_at(const struct wf_ext *ext)
{
	return wf_ext_request_at(ext) +
		(ext->parts & WF_PART_REQUEST ? sizeof(struct wf_request) : 0);
}

static inline size_t wf_ext_outs_at(const struct wf_ext *ext)
{
	return wf_ext_plus_at(ext) + (ext->parts & WF_PART_PLUS ? sizeof(struct wf_plus) : 0);
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
	return (struct wf_more *)(void *)((char *)ext + wf_ext_more_at(ext));
}

static inline bool wf_ext_abandonable(struct wf_ext *ext)
{
	const struct wf_more *more = wf_ext_more(ext);

	return more && more->abandon;
}

static inline struct wf_request *wf_ext_request(struct wf_ext *ext)
{
	if (!(ext->parts & WF_PART_REQUEST))
		return NULL;
	return (struct wf_request *)(void *)((char *)ext + wf_ext_request_at(ext));
}

static inline struct wf_plus *wf_ext_plus(struct wf_ext *ext)
{
	if (!(ext->parts & WF_PART_PLUS))
		return NULL;
	return (struct wf_plus *)(void *)((char *)ext + wf_ext_plus_at(ext));
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
