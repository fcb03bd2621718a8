/*
 * slab.h: memory of tasks: cells, and blocks for what a cell has no room for.
 *
 * A wf_local is one thread's identity in a runtime: a worker, or a guest (a host thread that
 * calls in). Each owns the objects it carved. Freed by their owner, objects go to its own lists
 * without an atomic; freed by others, they collect in the freer's outbox and go home in batches,
 * one locked instruction each.
 *
 * Cells lie in one reserved range, so that a 28-bit index names one and a walk finds all; their
 * memory is never given back and never becomes anything else, so a stale handle reads a
 * generation and not garbage. A cell that its owner frees after a multiple of 2^20 uses rests in
 * a first-in first-out quarantine of 1024 cells, so that even at 10 ns a use the generations of the
 * hottest cell last minutes. Cells freed by others come back in batches, which spreads their uses.
 *
 * Blocks are multiples of 64 bytes from 64 KiB chunks, whose head names owner and size class.
 */
#ifndef WF_SLAB_H
#define WF_SLAB_H

#include "cell.h"

#define WF_BLOCK_CLASSES   10
#define WF_BLOCK_MAX_BYTES 4224 /* an argument or a payload of 4 KiB with its head */
#define WF_CHUNK_BYTES     ((size_t)64 << 10)
#define WF_OUTBOX_SLOTS    8
#ifdef WF_SIM
#define WF_OUTBOX_BATCH 2 /* so that a simulation's few tasks fill it */
#else
#define WF_OUTBOX_BATCH 64
#endif
#define WF_REST_MASK 0xfffffu

/* The head of a freed object; offset 24 of a cell is `next`, so blocks link there as well. */
struct wf_free {
	uint64_t pad[3];
	struct wf_free *next;
};
_Static_assert(offsetof(struct wf_free, next) == offsetof(struct wf_cell, next), "one link place");

/* What goes home together. Blocks of one line are most, and need no sorting when they come. */
enum wf_slab_kind { WF_SLAB_CELL = 0, WF_SLAB_LINE, WF_SLAB_BLOCK, WF_SLAB_KINDS };

struct wf_outbox {
	uint16_t owner;
	uint16_t count;
	struct wf_free *head, *tail;
};

struct wf_slab {
	struct wf_cell *cells_free;                    /* owner only */
	struct wf_cell *carve, *carve_end;             /* owner only */
	struct wf_free *blocks_free[WF_BLOCK_CLASSES]; /* owner only */
	char *chunk_carve[WF_BLOCK_CLASSES], *chunk_end[WF_BLOCK_CLASSES];
	struct wf_cell *rest_head, *rest_tail; /* quarantine; owner only */
	uint32_t rest_count;
	uint32_t carve_cells;                        /* size of the next carve */
	/* Owner only; by enum wf_slab_kind. */
	struct wf_outbox outbox[WF_SLAB_KINDS][WF_OUTBOX_SLOTS];
	WF_ALIGNED(64) struct wf_aptr inbox[WF_SLAB_KINDS]; /* what others sent home, likewise */
};

/* The part of a runtime that all slabs share. */
struct wf_arena {
	struct wf_cell *cells; /* the range; index 0 is never used */
	uint32_t cells_max;
	struct wf_a32 cells_end; /* carved so far */
	struct wf_aptr regions;  /* mappings of blocks, linked, unmapped at fini */
	struct wf_a32 region_lock;
	char *region_carve, *region_end;
};

int wf_arena_init(struct wf_arena *arena, uint32_t cells_max);
void wf_arena_fini(struct wf_arena *arena);

struct wf_cell *wf_cell_alloc_slow(struct wf_local *self);
void wf_cell_free_slow(struct wf_local *self, struct wf_cell *cell);
/*
 * `bytes` of 64-byte-aligned memory up to WF_BLOCK_MAX_BYTES, or NULL. *got is what to free with.
 * plain.h has a quick way for small ones.
 */
void *wf_block_alloc(struct wf_local *self, size_t bytes, uint32_t *got);
void wf_block_free(struct wf_local *self, void *block, uint32_t got);
/* Send a block of one line to its owner, who is somebody else. */
void wf_line_send(struct wf_local *self, void *block, uint16_t owner);
/*
 * Bytes from `p` on that may be read as long as the runtime lives, whatever they hold by now; 0:
 * `p` is not in a chunk of blocks. Walks the regions: for searches, not for every day.
 */
size_t wf_block_room(struct wf_arena *arena, const void *p);
/* Send everything in the outbox home: before sleeping, and when a thread leaves. */
void wf_slab_flush(struct wf_local *self);

#endif /* WF_SLAB_H */
