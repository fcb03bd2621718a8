/*
 * wf_store.h: the object store. Sealed objects of any size in one shared memory, read in place by
 * pinning them, spilled to files when they do not fit and restored when they are wanted.
 *
 * The store knows no tasks. Nothing in it blocks its caller: what cannot be done at once is left
 * as a ticket, and the ticket's `done` is called when it is.
 *
 * Life of an object: wf_store_create() (CREATING: its writer's alone) - wf_object_seal() (SEALED:
 * read by whoever pins it) - spilled and restored any number of times, unseen by its holder -
 * wf_object_delete() by its one owner; the bytes go at the last unpin.
 */
#ifndef WF_STORE_H
#define WF_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"

struct wf_store;
struct wf_io;

/* ---- Objects -------------------------------------------------------------------------------- */

enum wf_object_state {
	WF_OBJECT_FREE = 0,
	WF_OBJECT_CREATING, /* being written by its creator */
	WF_OBJECT_SEALED,   /* in memory */
	WF_OBJECT_SPILLING, /* in memory, and being written to a file */
	WF_OBJECT_SPILLED,  /* only in a file */
	WF_OBJECT_RESTORING,
	WF_OBJECT_LOST, /* its file's bytes are not what was written, or cannot be read */
};

/*
 * The word, bit by bit:   0-3   enum wf_object_state
 *                         4     WF_OBJECT_DEAD: deleted; goes at the last unpin
 *                         5     WF_OBJECT_COPY: a file has it too (`place` is valid)
 *                         8-31  views: void when the object is deleted
 *                         32-63 pins: keep the object, and its bytes where they are once they
 *                               are in memory; a waiting ticket's pin stands on a spilled one
 * Transitions are in object.c, with who makes them. At most 2^23 views and 2^31 pins: one more is
 * refused with -EOVERFLOW.
 */
#define WF_OBJECT_STATE ((uint64_t)15)
#define WF_OBJECT_DEAD  ((uint64_t)1 << 4)
#define WF_OBJECT_COPY  ((uint64_t)1 << 5)
#define WF_OBJECT_VIEW  ((uint64_t)1 << 8)
#define WF_OBJECT_VIEWS ((uint64_t)0xffffff << 8)
#define WF_OBJECT_PIN   ((uint64_t)1 << 32)
#define WF_OBJECT_PINS  ((uint64_t)0xffffffff << 32)
/* The upper bit of either count: so many that the next one is looked at more closely. */
#define WF_OBJECT_CROWD (((uint64_t)1 << 31) | ((uint64_t)1 << 63))

struct wf_store_loss {
	struct wf_store_loss *next; /* the store's own */
	int code;       /* -EBADMSG corrupt, else the read's errno */
	char text[256]; /* file, offset, reason */
};

struct wf_object {
	struct wf_a64 word;
	uint64_t size;
	union {
		uint64_t offset;            /* while its bytes are in memory */
		struct wf_store_loss *loss; /* LOST */
		struct wf_object *next;     /* FREE */
	};
	void *meta;          /* the owner's; handed to meta_drop() at the end */
	struct wf_a32 stamp;      /* when it was last unpinned, in wf_store's ticks */
	struct wf_a32 generation; /* changes when the object is freed; never 0 */
	uint32_t place[4];        /* struct wf_spill_place */
	uint32_t tag;             /* the owner's type tag */
	struct wf_a32 lines;      /* what it takes in memory, in units of 64 bytes */
};
_Static_assert(sizeof(struct wf_object) == 64, "one cache line");

/* What a thread keeps at hand: memory, entries, credit. Used by one thread at a time. */
struct wf_store_local;

/* ---- Store ---------------------------------------------------------------------------------- */

struct wf_store_full {
	/* Bytes when it was found that nothing could help. */
	uint64_t capacity, free, creating, pinned, transit, evictable;
	uint64_t asked;
	char text[512]; /* one line: the numbers, and the greatest pinned and unsealed objects */
};

struct wf_store_options {
	uint64_t capacity_bytes; /* 0: wf_mem_default_bytes(); at least 1 MiB */
	uint32_t node_count;
	bool bind;
	/* Spilling: starts at `high`, stops at `low` thousandths of capacity; 0: 800 and 700. */
	uint32_t spill_high, spill_low;
	const char *const *spill_dirs; /* none: nothing is spilled */
	uint32_t spill_dir_count;
	uint64_t spill_budget_bytes;  /* 0: the disk's */
	uint64_t spill_segment_bytes; /* 0: 256 MiB */
	uint64_t objects_max;         /* 0: 2^24 */
	/*
	 * Whether anything outside the store may still unpin, seal or delete (a body runs, say).
	 * False: a request that only that could help fails at once. Called on the keeper.
	 */
	bool (*busy)(void *arg);
	/* The owner's data of an object that is gone. Any thread. May delete others, not wait. */
	void (*meta_drop)(void *arg, void *meta);
	void (*log)(void *arg, int level, const char *text);
	/*
	 * There is no memory for somebody, and chunks that are held may be why: let go those that
	 * need not be. NULL: nobody holds any. On the keeper, or on a thread that creates; calls
	 * nothing here but wf_store_chunk_unhold(), and waits for nothing of the store's.
	 */
	void (*let_go)(void *arg);
	void *arg; /* of the four above */
};

/*
 * Reserve addresses, entries and the files behind them; nothing is committed, no thread started:
 * the keeper thread, the I/O and the spill files come when first needed.
 * Errors: -EINVAL, -ENOMEM, -errno of memfd_create(). `*out` untouched, nothing left behind.
 */
int wf_store_open(struct wf_store **out, const struct wf_store_options *options);
/*
 * All locals destroyed, no tickets waiting, nobody inside. What is still there is dropped
 * (meta_drop() is called for it). NULL is accepted.
 */
void wf_store_close(struct wf_store *store);

/*
 * NULL: -ENOMEM. `node`: where its thread's memory should lie. The calls below that take a local
 * also take NULL, from threads that have none: one that all those share, under a lock.
 */
struct wf_store_local *wf_store_local_create(struct wf_store *store, uint32_t node);
void wf_store_local_destroy(struct wf_store_local *local); /* NULL is accepted */

/* The store's file I/O, started at the first call; NULL: it cannot (logged). Borrowed. */
struct wf_io *wf_store_io(struct wf_store *store);

/* ---- Creating ------------------------------------------------------------------------------- */

/*
 * A new object of `size` bytes, CREATING, for the caller to write at wf_object_writable().
 * Never waits. Errors: -EAGAIN there is no room now, or others wait in line: use a ticket;
 * -EMSGSIZE it can never fit; -ENOMEM objects_max is reached or the system has no memory.
 */
int wf_store_create(struct wf_store *store, struct wf_store_local *local, uint64_t size,
                    struct wf_object **out);
char *wf_object_writable(const struct wf_store *store, const struct wf_object *object);
/*
 * Make it readable, with `pins` pins and `views` views already taken. The caller has written all.
 * Order: the bytes are visible to whoever pins it. -EINVAL: it is not CREATING.
 */
int wf_object_seal(struct wf_store *store, struct wf_object *object, uint32_t pins, uint32_t views);
/* Its creator does not want it any more. -EINVAL: it is not CREATING; it was left alone. */
int wf_object_discard(struct wf_store *store, struct wf_store_local *local,
                      struct wf_object *object);

/* ---- Reading -------------------------------------------------------------------------------- */

/*
 * Keep its bytes in place and readable: `unit` is WF_OBJECT_PIN or WF_OBJECT_VIEW. Never waits.
 * 0; -EAGAIN it is in a file: use a ticket; -EIO it is lost: see wf_object_loss(); -EINVAL it is
 * not sealed, or is dead; -EOVERFLOW too many have it.
 */
int wf_object_pin_slow(struct wf_store *store, struct wf_object *object, uint64_t unit);
static inline int wf_object_pin(struct wf_store *store, struct wf_object *object, uint64_t unit)
{
	/* relaxed: the exchange below decides. */
	uint64_t word = wf_load_relaxed(&object->word);

	/* acquire [O1]: with the release of seal and restore: the bytes. */
	if (WF_LIKELY((word & (WF_OBJECT_STATE | WF_OBJECT_DEAD | WF_OBJECT_CROWD)) ==
	              WF_OBJECT_SEALED) &&
	    WF_LIKELY(wf_cas_acquire(&object->word, &word, word + unit)))
		return 0;
	return wf_object_pin_slow(store, object, unit);
}
/* Another one, by somebody who has one: it cannot fail. */
static inline void wf_object_pin_again(struct wf_object *object, uint64_t unit)
{
	/* relaxed: the caller's pin keeps everything where it is. */
	wf_add_relaxed(&object->word, unit);
}
/* -EINVAL: there was none to drop. The last unpin of a dead object frees it. */
int wf_object_unpin(struct wf_store *store, struct wf_store_local *local, struct wf_object *object,
                    uint64_t unit);
/* While pinned: in the read-only mapping, a write faults. */
const char *wf_object_readable(const struct wf_store *store, const struct wf_object *object);

/* A snapshot for whoever holds the object. */
static inline uint64_t wf_object_word(const struct wf_object *object)
{
	/* acquire [O2]: with the release of whoever moved it there. */
	return wf_load_acquire(&object->word);
}
/* Why it is lost; borrowed until it is deleted. NULL: it is not. */
const struct wf_store_loss *wf_object_loss(const struct wf_object *object);
/*
 * Give a lost object the bytes of `fresh`, of the same size, which nobody but the caller knows, and
 * he by one pin: `fresh` is gone then. 0; -EINVAL it is not lost (any more), the sizes differ, or
 * `fresh` is otherwise held or has something hung on it; -EAGAIN `fresh` was just being written to
 * a file when it was pinned, which ends soon; then nothing has changed.
 */
int wf_object_revive(struct wf_store *store, struct wf_store_local *local, struct wf_object *lost,
                     struct wf_object *fresh);

/*
 * The owner is done with it, in whatever state it is (CREATING too: it is discarded). Views are
 * void; pins keep the bytes until they are gone. Once per object.
 */
void wf_object_delete(struct wf_store *store, struct wf_store_local *local,
                      struct wf_object *object);

/* ---- Waiting -------------------------------------------------------------------------------- */

/*
 * A request that could not be met at once. Requests for room are served in the order in which
 * they came. The memory is the caller's and stays until `done` (which may free it), or until
 * wf_store_cancel() returned true. `done` is called exactly once, on the keeper thread or another
 * thread of the store or inside wf_store_wait(); it must not block; it may call the store.
 */
struct wf_store_ticket {
	void (*done)(struct wf_store_ticket *ticket);
	void *arg;
	/*
	 * Set by the caller. objects == NULL: create an object of `size`. Otherwise: have all
	 * `count` objects in memory at once and pin each with `unit` (0: only have them brought in,
	 * without a promise that they stay). The array stays until done; duplicates are fine.
	 */
	uint64_t size;
	struct wf_object *const *objects;
	uint32_t count;
	uint64_t unit;
	/* Results. */
	struct wf_object *object; /* the created one */
	/*
	 * 0; -ENOSPC nothing can help: `full`, when not NULL, says why; -EMSGSIZE they can never
	 * fit together; -EIO one is lost (its index in `failed`), -EINVAL one is dead or unsealed;
	 * -ENOMEM.
	 */
	int status;
	uint32_t failed;
	struct wf_store_full *full; /* the caller's room, filled in with -ENOSPC; may be NULL */
	/* The store's own. */
	struct wf_store_ticket *next, *prev;
	uint64_t serial, need;
	uint32_t phase, started, present, generation;
	uint32_t *generations;
};
void wf_store_wait(struct wf_store *store, struct wf_store_ticket *ticket);
/* True: done will not be called, nothing was done. False: it was, or is being, called. */
bool wf_store_cancel(struct wf_store *store, struct wf_store_ticket *ticket);
/* Begin to bring an object in that will be wanted soon; a hint, dropped when memory is short. */
void wf_store_prefetch(struct wf_store *store, struct wf_object *object);

/*
 * A share: leave to pin `bytes` before asking for room to write. Who takes one and waits for room
 * cannot be in the way of others who do; see share.c. Nothing is pinned or reserved by it.
 * False: use wf_store_share_wait(). Never waits.
 */
bool wf_store_share(struct wf_store *store, uint64_t bytes);
/* What to ask for when `bytes` are to be pinned: 0 when they are too few to matter. */
uint64_t wf_store_share_bytes(const struct wf_store *store, uint64_t bytes);
/* For the time in which its owner waits for others, while what he has pinned stays pinned. */
void wf_store_share_lend(struct wf_store *store, uint64_t bytes);
void wf_store_share_again(struct wf_store *store, uint64_t bytes); /* the end of it; no asking */
void wf_store_unshare(struct wf_store *store, uint64_t bytes);
/* As a ticket, for a share: in the order of arrival; `done` once, with `status` 0 or -ENOMEM. */
struct wf_store_sharer {
	void (*done)(struct wf_store_sharer *sharer);
	uint64_t bytes; /* at most the capacity */
	int status;
	/* The store's own. */
	struct wf_store_sharer *next, *prev;
	bool waits;
};
void wf_store_share_wait(struct wf_store *store, struct wf_store_sharer *sharer);
/* True: done will not be called, nothing was given. False: it was, or is being, called. */
bool wf_store_share_cancel(struct wf_store *store, struct wf_store_sharer *sharer);

/* ---- Looking -------------------------------------------------------------------------------- */

struct wf_store_stats {
	uint64_t capacity, used;                                /* bytes reserved by objects */
	uint64_t creating, pinned, transit, evictable, spilled; /* bytes, by a walk over all */
	uint64_t objects;
	uint64_t committed, huge;
	uint64_t spilled_bytes, restored_bytes;    /* payload moved, since open */
	uint64_t spills, restores, evicted_copies; /* objects; copies: dropped without a write */
	uint64_t waits, fulls, losses;
	uint64_t revived; /* of the lost: have bytes again */
	uint64_t file_bytes, file_live_bytes;
	const char *io_backend; /* "uring", "threads", "" not started */
};
/* With `walk`, also the classes by a walk over all objects. Any thread. */
void wf_store_stats(struct wf_store *store, bool walk, struct wf_store_stats *stats);
/*
 * Spill everything that can be spilled, and wait for it: for tests and benches. Blocks; not from
 * `done`. Errors: -ENOTSUP no spill directory; -EAGAIN no keeper; what stopped the writing.
 */
int wf_store_spill_all(struct wf_store *store);
/* Index and generation: of an object that is there, unique as long as the store is open. */
uint64_t wf_object_id(const struct wf_store *store, const struct wf_object *object);
/* `object` when it is one of the store's, has this id and is in this state; else NULL. */
struct wf_object *wf_store_find(struct wf_store *store, struct wf_object *object, uint64_t id,
                                enum wf_object_state state);

/* The memory, for those who hand it to other processes. */
struct wf_mem;
struct wf_mem *wf_store_mem(struct wf_store *store);

/*
 * The memory for devices that are told of it: in chunks, by their number. `at` is of a view;
 * *inside is where in its chunk it lies. Chunks begin at wf_store_chunk(), in the mapping to write.
 */
#define WF_STORE_CHUNK_BYTES ((uint64_t)2 << 20)
uint64_t wf_store_chunk_count(const struct wf_store *store); /* addresses, not memory */
uint64_t wf_store_chunk_of(const struct wf_store *store, const void *at, uint64_t *inside);
char *wf_store_chunk(const struct wf_store *store, uint64_t chunk);
/*
 * Keep a chunk in which something pinned lies: none of it is given back to the system before
 * wf_store_chunk_unhold(), whatever lies in it by then. Counted. False: not now, some of it is
 * not there.
 */
bool wf_store_chunk_hold(struct wf_store *store, uint64_t chunk);
void wf_store_chunk_unhold(struct wf_store *store, uint64_t chunk);

#endif /* WF_STORE_H */
