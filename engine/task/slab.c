/*
 * slab.c: cells and blocks, their free lists, and the way home for what others freed.
 *
 * Shared
 *   inbox      pushed by every other thread (a chain at a time), taken whole by the owner
 *   cells_end  bumped by whoever carves; cells below it exist for walkers
 *   regions    mappings of block chunks, under region_lock (taken once per MiB)
 *
 * Invariants
 *   an object is in at most one of: in use, an owner's list, an outbox, an inbox, quarantine
 *   a cell's owner and a chunk's owner never change
 *
 * Progress: alloc and free by the owner are wait-free but for carving; sending home is lock-free.
 *
 * After: the remote free lists of mimalloc (Leijen, Zorn, de Moura, 2019) and of Lea-style slabs;
 * ours differ in that the freer batches per owner.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "runtime.h"

#define REGION_BYTES ((size_t)1 << 20)
#define CARVE_FIRST  64u /* one page of cells */
#define CARVE_MOST   4096u
#define REST_CELLS   1024u
#define LOCK_SPINS   128u
#define HUGE_FROM    ((size_t)2 << 20) /* below: small pages, so that small runtimes stay small */

struct chunk {
	uint16_t owner;
	uint16_t block_class;
	char pad[60];
};
_Static_assert(sizeof(struct chunk) == 64, "blocks keep their alignment");

struct region {
	struct region *next;
	char pad[56];
};

static const uint16_t class_bytes[WF_BLOCK_CLASSES] = { 64,  128, 192,  256,  384,
	                                                512, 768, 1024, 2048, WF_BLOCK_MAX_BYTES };

int wf_arena_init(struct wf_arena *arena, uint32_t cells_max)
{
	WF_CHECK(cells_max >= 1024 && cells_max <= 1u << WF_INDEX_BITS);
	for (;;) {
		arena->cells =
			wf_map((size_t)cells_max * sizeof(struct wf_cell), PROT_READ | PROT_WRITE);
		if (arena->cells || cells_max <= 4096)
			break;
		cells_max /= 2;
	}
	if (!arena->cells)
		return -ENOMEM;
	size_t bytes = (size_t)cells_max * sizeof(struct wf_cell);

	if (bytes > HUGE_FROM)
		madvise((char *)arena->cells + HUGE_FROM, bytes - HUGE_FROM, MADV_HUGEPAGE);
	arena->cells_max = cells_max;
	wf_init(&arena->cells_end, 1);
	return 0;
}

void wf_arena_fini(struct wf_arena *arena)
{
	/* acquire [A1]: the chain, written by whoever mapped last. */
	struct region *region = (struct region *)wf_load_acquire(&arena->regions);

	while (region) {
		struct region *next = region->next;

		wf_unmap((char *)region - sizeof(struct chunk), REGION_BYTES);
		region = next;
	}
	if (arena->cells)
		wf_unmap(arena->cells, (size_t)arena->cells_max * sizeof(struct wf_cell));
	*arena = (struct wf_arena){ 0 };
}

/* ---- Going home ---------------------------------------------------------------------------- */

static struct chunk *chunk_of(void *block)
{
	return (struct chunk *)((uintptr_t)block & ~(WF_CHUNK_BYTES - 1));
}

static void outbox_send(struct wf_local *self, struct wf_outbox *box, enum wf_slab_kind kind)
{
	if (!box->count)
		return;
	struct wf_aptr *inbox = &self->rt->locals[box->owner]->slab.inbox[kind];
	/* relaxed: a guess for the exchange. */
	uintptr_t old = wf_load_relaxed(inbox);

	do {
		box->tail->next = (struct wf_free *)old;
		/* release [A2]: the chain, to the owner's swap. */
	} while (!wf_cas_release(inbox, &old, (uintptr_t)box->head));
	box->count = 0;
	box->head = box->tail = NULL;
}

static void send_home(struct wf_local *self, uint16_t owner, void *object, enum wf_slab_kind kind)
{
	struct wf_outbox *box = &self->slab.outbox[kind][owner % WF_OUTBOX_SLOTS];
	struct wf_free *item = object;

	WF_DEBUG(owner != self->id);
	if (box->count && box->owner != owner)
		outbox_send(self, box, kind);
	box->owner = owner;
	item->next = box->head;
	box->head = item;
	if (!box->count++)
		box->tail = item;
	if (box->count == WF_OUTBOX_BATCH)
		outbox_send(self, box, kind);
}

void wf_slab_flush(struct wf_local *self)
{
	for (uint32_t i = 0; i < WF_OUTBOX_SLOTS; i++) {
		for (uint32_t kind = 0; kind < WF_SLAB_KINDS; kind++)
			outbox_send(self, &self->slab.outbox[kind][i], kind);
	}
}

/*
 * Each wait by a stranger on one of our private cells costs it a membarrier. Where that happens
 * often, new cells start shared for a while, which costs us one locked instruction each.
 */
static void mind_strangers(struct wf_local *self)
{
	/* relaxed: a statistic. */
	uint32_t touches = wf_load_relaxed(&self->foreign_touches);

	if (!self->rt->asymmetric)
		return;
	if (touches - self->touches_seen > 32)
		self->shared_left = 256;
	else if (self->shared_left)
		self->shared_left--;
	self->touches_seen = touches;
	self->head = wf_head(self->id, self->shared_left ? WF_CELL_SHARED : 0);
}

static struct wf_free *take_inbox(struct wf_local *self, enum wf_slab_kind kind)
{
	struct wf_aptr *inbox = &self->slab.inbox[kind];

	/* relaxed: nothing there, nothing to order. */
	if (!wf_load_relaxed(inbox))
		return NULL;
	mind_strangers(self);
	/* acquire [A2]: the chain. */
	return (struct wf_free *)wf_swap_acquire(inbox, 0);
}

/* The chain as it came is the new list: nobody walks it, its lines are fetched one by one. */
static bool drain_cells(struct wf_local *self)
{
	struct wf_free *chain = take_inbox(self, WF_SLAB_CELL);

	WF_DEBUG(!self->slab.cells_free);
	self->slab.cells_free = (struct wf_cell *)(void *)chain;
	return chain != NULL;
}

/* The same of blocks of one line. */
static bool drain_lines(struct wf_local *self)
{
	struct wf_free *chain = take_inbox(self, WF_SLAB_LINE);

	WF_DEBUG(!self->slab.blocks_free[0]);
	self->slab.blocks_free[0] = chain;
	return chain != NULL;
}

/* Sort the blocks that others sent home into the lists of their classes. */
static bool drain_blocks(struct wf_local *self)
{
	struct wf_free *item = take_inbox(self, WF_SLAB_BLOCK);
	bool any = item != NULL;

	while (item) {
		struct wf_free *next = item->next;
		struct chunk *chunk = chunk_of(item);

		WF_CHECK(chunk->owner == self->id && chunk->block_class < WF_BLOCK_CLASSES);
		item->next = self->slab.blocks_free[chunk->block_class];
		self->slab.blocks_free[chunk->block_class] = item;
		item = next;
	}
	return any;
}

/* ---- Cells --------------------------------------------------------------------------------- */

static bool carve_more(struct wf_local *self)
{
	struct wf_arena *arena = &self->rt->arena;
	struct wf_slab *slab = &self->slab;
	uint32_t want = slab->carve_cells ? slab->carve_cells : CARVE_FIRST;
	/* relaxed: indices only; the cells are fresh zero pages. */
	uint32_t begin = wf_load_relaxed(&arena->cells_end);
	uint32_t end;

	if (wf_fault(WF_FAULT_MMAP))
		return false;
	do {
		if (begin >= arena->cells_max)
			return false;
		end = arena->cells_max - begin < want ? arena->cells_max : begin + want;
		/* Whole pages after the first, so that two owners rarely share one. */
		if (end < arena->cells_max)
			end = end & ~(CARVE_FIRST - 1);
		/* release [A3]: to walkers; they read zeroed or initialised cells, both fine. */
	} while (!wf_cas_release(&arena->cells_end, &begin, end));
	slab->carve = &arena->cells[begin];
	slab->carve_end = &arena->cells[end];
	slab->carve_cells = want < CARVE_MOST ? want * 2 : CARVE_MOST;
	return true;
}

struct wf_cell *wf_cell_alloc_slow(struct wf_local *self)
{
	struct wf_slab *slab = &self->slab;

	if (drain_cells(self)) {
		struct wf_cell *cell = slab->cells_free;

		slab->cells_free = cell->next;
		return cell;
	}
	if (slab->carve == slab->carve_end && !carve_more(self)) {
		/* Nothing left to carve: the quarantine is better than a refusal. */
		struct wf_cell *cell = slab->rest_head;

		if (cell) {
			slab->rest_head = cell->next;
			slab->rest_count--;
		}
		return cell;
	}
	struct wf_cell *cell = slab->carve++;

	/* relaxed, both: a walker reads them together, and one that sees 0 skips the cell. */
	wf_store_relaxed(&cell->head, wf_head(self->id, 0));
	wf_store_relaxed(&cell->gen, self->rt->salt | 1);
	return cell;
}

static void rest(struct wf_slab *slab, struct wf_cell *cell)
{
	cell->next = NULL;
	if (slab->rest_head)
		slab->rest_tail->next = cell;
	else
		slab->rest_head = cell;
	slab->rest_tail = cell;
	if (++slab->rest_count <= REST_CELLS)
		return;
	struct wf_cell *out = slab->rest_head;

	slab->rest_head = out->next;
	slab->rest_count--;
	out->next = slab->cells_free;
	slab->cells_free = out;
}

void wf_cell_free_slow(struct wf_local *self, struct wf_cell *cell)
{
	/* relaxed: see wf_cell_free(). */
	uint32_t count = (wf_load_relaxed(&cell->gen) + 1) & WF_GEN_MASK;
	bool tired = !(count & WF_REST_MASK);

	/* relaxed: see wf_cell_of(). */
	wf_store_relaxed(&cell->gen, self->rt->salt | count);
	wf_store_relaxed(&cell->promise.state, WF_STATE_FREE);
	if (wf_cell_owner(cell) != self->id)
		send_home(self, wf_cell_owner(cell), cell, WF_SLAB_CELL);
	else if (tired)
		rest(&self->slab, cell);
	else {
		cell->next = self->slab.cells_free;
		self->slab.cells_free = cell;
	}
}

/* ---- Blocks -------------------------------------------------------------------------------- */

/* By the number of 64-byte units, up to 8; beyond, the few large classes are searched. */
static const uint8_t class_of_units[9] = { 0, 0, 1, 2, 3, 4, 4, 5, 5 };

static uint32_t class_of(size_t bytes)
{
	if (WF_LIKELY(bytes <= 512))
		return class_of_units[(bytes + 63) / 64];
	uint32_t i = 6;

	while (class_bytes[i] < bytes)
		i++;
	return i;
}

/*
 * Who has the lock may be inside a system call, and without a processor if many threads wait for it
 * on few: after a while they give theirs away.
 */
static void lock_regions(struct wf_arena *arena)
{
	uint32_t unlocked = 0;

	/* acquire [A1], release [A1]: list and carve pointers; held for one mapping at most. */
	for (uint32_t spins = 1; !wf_cas_acquire(&arena->region_lock, &unlocked, 1); spins++) {
		unlocked = 0;
		wf_cpu_relax();
		if (spins % LOCK_SPINS == 0)
			sched_yield();
	}
}

/* A fresh 64 KiB chunk from a shared 1 MiB region. */
static struct chunk *chunk_map(struct wf_arena *arena)
{
	struct chunk *chunk = NULL;

	lock_regions(arena);
	if (arena->region_carve == arena->region_end) {
		/* Twice the size, so that an aligned part can be kept. */
		char *raw = wf_map(REGION_BYTES + WF_CHUNK_BYTES, PROT_READ | PROT_WRITE);

		if (raw) {
			char *base = (char *)(((uintptr_t)raw + WF_CHUNK_BYTES - 1) &
			                      ~(WF_CHUNK_BYTES - 1));

			if (base > raw)
				wf_unmap(raw, (size_t)(base - raw));
			if (base - raw < (ptrdiff_t)WF_CHUNK_BYTES)
				wf_unmap(base + REGION_BYTES,
				         WF_CHUNK_BYTES - (size_t)(base - raw));
			struct region *region =
				(struct region *)(void *)(base + sizeof(struct chunk));

			/* relaxed: under the lock. */
			region->next = (struct region *)wf_load_relaxed(&arena->regions);
			wf_store_relaxed(&arena->regions, (uintptr_t)region);
			arena->region_carve = base;
			arena->region_end = base + REGION_BYTES;
		}
	}
	if (arena->region_carve != arena->region_end) {
		chunk = (struct chunk *)(void *)arena->region_carve;
		arena->region_carve += WF_CHUNK_BYTES;
	}
	wf_store_release(&arena->region_lock, 0);
	return chunk;
}

static void *block_alloc_slow(struct wf_local *self, uint32_t c)
{
	struct wf_slab *slab = &self->slab;

	if ((c ? drain_blocks(self) : drain_lines(self)) && slab->blocks_free[c]) {
		struct wf_free *block = slab->blocks_free[c];

		slab->blocks_free[c] = block->next;
		return block;
	}
	if (slab->chunk_end[c] - slab->chunk_carve[c] < class_bytes[c]) {
		struct chunk *chunk = chunk_map(&self->rt->arena);

		if (!chunk)
			return NULL;
		chunk->owner = self->id;
		chunk->block_class = (uint16_t)c;
		/* Two heads: the chunk's own, and room for the region's in its first chunk. */
		slab->chunk_carve[c] = (char *)chunk + sizeof(struct chunk) + sizeof(struct region);
		slab->chunk_end[c] = (char *)chunk + WF_CHUNK_BYTES;
	}
	char *block = slab->chunk_carve[c];

	slab->chunk_carve[c] += class_bytes[c];
	return block;
}

void *wf_block_alloc(struct wf_local *self, size_t bytes, uint32_t *got)
{
	WF_CHECK(bytes && bytes <= WF_BLOCK_MAX_BYTES);
	uint32_t c = class_of(bytes);
	struct wf_free *block = self->slab.blocks_free[c];

	*got = c + 1;
	if (WF_UNLIKELY(!block))
		return block_alloc_slow(self, c);
	self->slab.blocks_free[c] = block->next;
	/* As for cells: the next one's line may be far away. */
	__builtin_prefetch(block->next, 1);
	return block;
}

void wf_line_send(struct wf_local *self, void *block, uint16_t owner)
{
	WF_DEBUG(chunk_of(block)->owner == owner && !chunk_of(block)->block_class);
	send_home(self, owner, block, WF_SLAB_LINE);
}

void wf_block_free(struct wf_local *self, void *block, uint32_t got)
{
	struct chunk *chunk = chunk_of(block);

	WF_CHECK(got && got <= WF_BLOCK_CLASSES && chunk->block_class == got - 1);
	if (chunk->owner != self->id) {
		send_home(self, chunk->owner, block, got > 1 ? WF_SLAB_BLOCK : WF_SLAB_LINE);
		return;
	}
	struct wf_free *item = block;

	item->next = self->slab.blocks_free[got - 1];
	self->slab.blocks_free[got - 1] = item;
}

size_t wf_block_room(struct wf_arena *arena, const void *p)
{
	size_t room = 0;

	lock_regions(arena);
	/* relaxed: under the lock. */
	uintptr_t region = wf_load_relaxed(&arena->regions);

	while (region && !room) {
		uintptr_t offset = (uintptr_t)p - (region & ~(WF_CHUNK_BYTES - 1));

		if (offset < REGION_BYTES)
			room = REGION_BYTES - offset;
		region = (uintptr_t)((struct region *)region)->next;
	}
	wf_store_release(&arena->region_lock, 0); /* release [A1] */
	return room;
}
