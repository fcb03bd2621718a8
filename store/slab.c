/*
 * slab.c: slots of 80 sizes out of slabs, and what each thread keeps at hand.
 *
 * Sizes are multiples of 64 bytes with eight steps to each power of two. A slab is a run of pages
 * cut into slots of one size; which of them are free stands in a bitmap beside it. The slabs of
 * one class and node that have a free slot stand in the class's central list. Threads do not work
 * there slot by slot: a cache has a magazine of free slots for each class, filled from and emptied
 * into the central list in batches. Slots of another node collect in `away` and go home likewise.
 * A freed slot may be handed out again by any thread that freed it, so memory made by one thread
 * and freed by another flows back without a message, and only as much as the magazines hold is out
 * of the other threads' reach: keep_slot_bytes a cache, a sixteenth of the limit for all. A slab
 * that becomes wholly free goes back to the runs at once.
 *
 * Runs beyond the slabs' sizes are kept by the thread that freed them, a few and at most
 * keep_run_bytes, since a commit is dear and the node's lock is shared; when memory is short any
 * thread takes them (mem_keep.h).
 *
 * Shared
 *   central lists, slabs in them  under the central's lock
 *   node->idle, node->blocks      under the node's lock
 *   list of caches                under caches_lock
 *   cache->runs                   put by its owner, taken by anybody; all else of a cache is
 *                                 its owner's
 *   keep_slot_bytes, keep_run_bytes  written under caches_lock, read by all as hints
 *
 * Invariants: a slab is in its central list exactly if 0 < free_count < slots; with free_count ==
 * slots it is being given back. A slot is in one place: handed out, in one magazine, in one
 * `away`, or free in its bitmap. kept_bytes is the sum of all slots in the cache's magazines and in
 * `away`. Nothing is ever written into free memory.
 *
 * Progress: magazines are wait-free; the rest is blocking, for a batch at most.
 *
 * After: J. Bonwick, J. Adams, "Magazines and vmem: extending the slab allocator to many CPUs and
 * arbitrary resources", USENIX 2001; without the depot of whole magazines, for which the bitmaps
 * stand.
 */
#include "mem_internal.h"

#include <string.h>

#define CLASS_UNIT      64u
#define SLABS_OF_BLOCK  32u
/* A magazine is filled by so much at a time, though at most by half. Guessed. */
#define BATCH_BYTES     ((uint32_t)512 << 10)
/* All caches together keep so many parts of the limit. */
#define KEEP_SLOTS_PART 16u
#define KEEP_RUNS_PART  4u

struct wf_mem_slab_block {
	WF_ALIGNED(WF_CACHE_LINE) struct wf_mem_slab_block *next;
	struct wf_mem_slab slabs[SLABS_OF_BLOCK];
};

/* ---- Classes -------------------------------------------------------------------------------- */

/*
 * Pages of a slab by class: the fewest, up to 16, that hold four slots, or two, and waste so little
 * at the end that the whole is within an eighth of the smallest size that falls into the class
 * (from 512 bytes up). A test computes them again.
 */
static const uint8_t class_pages[WF_MEM_CLASSES] = {
	1,  1, 1,  1, 1, 1,  1,  1,  5,  1,  1,  1,  1, 1,  1,  1,  7,  2,  1,  1,
	1,  1, 1,  1, 9, 3,  2,  2,  2,  1,  2,  1,  9, 3,  4,  3,  4,  2,  4,  1,
	9,  5, 7,  3, 5, 4,  8,  2,  9,  5,  7,  3,  5, 7,  15, 4,  9,  5,  7,  6,
	10, 7, 15, 8, 9, 10, 11, 12, 13, 14, 15, 16, 9, 10, 11, 12, 13, 14, 15, 16,
};

/* A slot and its share of what is left over at its slab's end: asked at every create. */
static const uint32_t class_footprint[WF_MEM_CLASSES] = {
	64,     128,    193,    256,    322,    386,    449,    512,    577,    643,
	713,    781,    841,    911,    964,    1024,   1153,   1286,   1425,   1561,
	1725,   1821,   1928,   2048,   2304,   2587,   2850,   3121,   3450,   3641,
	3856,   4096,   4608,   5174,   5699,   6144,   6899,   7282,   7711,   8192,
	9216,   10240,  11469,  12288,  13654,  14564,  15421,  16384,  18432,  20480,
	22938,  24576,  27307,  28672,  30720,  32768,  36864,  40960,  45876,  49152,
	54614,  57344,  61440,  65536,  73728,  81920,  90112,  98304,  106496, 114688,
	122880, 131072, 147456, 163840, 180224, 196608, 212992, 229376, 245760, 262144,
};

/* A slot's bytes by class: 64 to 512 by 64, then eight steps to each power of two. */
uint32_t wf_mem_class_bytes(uint32_t class)
{
	uint32_t shift;

	WF_CHECK(class < WF_MEM_CLASSES);
	if (class < 8)
		return (class + 1) * CLASS_UNIT;
	shift = (class - 8) / 8;
	return ((class % 8 + 9) << shift) * CLASS_UNIT;
}

static inline uint32_t class_of(uint64_t size)
{
	/* The last unit's number: size 1 to 64 is 0. */
	uint32_t unit = (uint32_t)((size - (size != 0)) / CLASS_UNIT);
	uint32_t shift;

	if (unit < 8)
		return unit;
	shift = 31 - (uint32_t)__builtin_clz(unit) - 3;
	return 8 * shift + (unit >> shift);
}

uint32_t wf_mem_class_of(uint64_t size)
{
	WF_CHECK(size <= WF_MEM_SLAB_MAX);
	return class_of(size);
}

uint32_t wf_mem_class_pages(uint32_t class)
{
	WF_CHECK(class < WF_MEM_CLASSES);
	return class_pages[class];
}

static uint32_t class_slots(uint32_t class)
{
	return (uint32_t)(class_pages[class] * WF_MEM_PAGE_BYTES) / wf_mem_class_bytes(class);
}

static uint64_t run_pages(uint64_t size)
{
	return size / WF_MEM_PAGE_BYTES + (size % WF_MEM_PAGE_BYTES != 0);
}

uint64_t wf_mem_footprint(uint64_t size)
{
	if (WF_LIKELY(size <= WF_MEM_SLAB_MAX))
		return class_footprint[class_of(size)];
	if (size > UINT64_MAX - WF_MEM_PAGE_BYTES)
		return UINT64_MAX;
	return run_pages(size) * WF_MEM_PAGE_BYTES;
}

/* ---- Slabs ---------------------------------------------------------------------------------- */

void wf_slabs_init(struct wf_mem_node *node)
{
	WF_CHECK(node->blocks == NULL);
	for (uint32_t i = 0; i < WF_MEM_CLASSES; i++)
		wf_mem_mutex_init(&node->central[i].lock);
}

void wf_slabs_fini(struct wf_mem_node *node)
{
	while (node->blocks != NULL) {
		struct wf_mem_slab_block *next = node->blocks->next;

		wf_node_free(node->blocks);
		node->blocks = next;
	}
	for (uint32_t i = 0; i < WF_MEM_CLASSES; i++)
		pthread_mutex_destroy(&node->central[i].lock);
}

static struct wf_mem_slab *idle_pop(struct wf_mem_node *node)
{
	struct wf_mem_slab *slab;

	pthread_mutex_lock(&node->lock);
	slab = node->idle;
	if (slab != NULL)
		node->idle = slab->next;
	pthread_mutex_unlock(&node->lock);
	return slab;
}

static void idle_push(struct wf_mem_node *node, struct wf_mem_slab *slab)
{
	pthread_mutex_lock(&node->lock);
	slab->next = node->idle;
	node->idle = slab;
	pthread_mutex_unlock(&node->lock);
}

/* The description of a slab, without a run yet. */
static struct wf_mem_slab *slab_obtain(struct wf_mem_node *node)
{
	struct wf_mem_slab *slab = idle_pop(node);
	struct wf_mem_slab_block *block;

	if (slab != NULL)
		return slab;
	block = wf_node_alloc(node->index, WF_CACHE_LINE, sizeof(*block));
	if (block == NULL)
		return NULL;
	memset(block, 0, sizeof(*block));
	pthread_mutex_lock(&node->lock);
	block->next = node->blocks;
	node->blocks = block;
	for (uint32_t i = 1; i < SLABS_OF_BLOCK; i++) {
		block->slabs[i].next = node->idle;
		node->idle = &block->slabs[i];
	}
	pthread_mutex_unlock(&node->lock);
	return &block->slabs[0];
}

static void partial_link(struct wf_mem_central *central, struct wf_mem_slab *slab)
{
	slab->prev = NULL;
	slab->next = central->partial;
	if (slab->next != NULL)
		slab->next->prev = slab;
	central->partial = slab;
}

static void partial_unlink(struct wf_mem_central *central, struct wf_mem_slab *slab)
{
	WF_CHECK(slab->prev != NULL ? slab->prev->next == slab : central->partial == slab);
	if (slab->prev != NULL)
		slab->prev->next = slab->next;
	else
		central->partial = slab->next;
	if (slab->next != NULL)
		slab->next->prev = slab->prev;
}

/* Up to `want` free slots of a slab. */
static uint32_t slab_take(struct wf_mem_slab *slab, uint64_t *out, uint32_t want)
{
	uint32_t bytes = wf_mem_class_bytes(slab->class), got = 0;

	for (uint32_t word = 0; word < WF_SLAB_SLOTS_MAX / 64 && got < want; word++) {
		uint64_t bits = slab->free[word];

		for (; bits != 0 && got < want; bits &= bits - 1) {
			uint64_t slot = word * 64 + (uint32_t)__builtin_ctzll(bits);

			WF_DEBUG(slot < slab->slots);
			out[got++] = slab->offset + slot * bytes;
		}
		slab->free[word] = bits;
	}
	WF_CHECK(slab->free_count >= got);
	slab->free_count = (uint16_t)(slab->free_count - got);
	return got;
}

/* True: the slot was the last in use. */
static bool slab_give(struct wf_mem_slab *slab, uint64_t offset)
{
	uint32_t bytes = wf_mem_class_bytes(slab->class);
	uint32_t at = (uint32_t)(offset - slab->offset), slot = at / bytes;

	WF_CHECK(slot * bytes == at && slot < slab->slots);
	/* Free already: it was freed twice. */
	WF_CHECK((slab->free[slot / 64] >> slot % 64 & 1) == 0);
	slab->free[slot / 64] |= (uint64_t)1 << slot % 64;
	return ++slab->free_count == slab->slots;
}

/* A new slab with its first `want` slots taken. 0: no memory. */
static uint32_t slab_create(struct wf_mem *mem, struct wf_mem_cache *cache, uint32_t class,
                            uint64_t *out, uint32_t want)
{
	struct wf_mem_slab *slab = slab_obtain(cache->node);
	struct wf_mem_central *central;
	uint32_t got;

	if (slab == NULL)
		return 0;
	slab->class = (uint16_t) class;
	slab->slots = slab->free_count = (uint16_t)class_slots(class);
	WF_CHECK(slab->slots >= 2 && slab->slots <= WF_SLAB_SLOTS_MAX);
	for (uint32_t word = 0; word < WF_SLAB_SLOTS_MAX / 64; word++) {
		uint32_t left = slab->slots > word * 64 ? slab->slots - word * 64 : 0;

		slab->free[word] = left >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << left) - 1;
	}
	slab->offset = wf_mem_run_alloc(mem, cache, class_pages[class], slab);
	if (slab->offset == WF_MEM_NONE) {
		idle_push(cache->node, slab);
		return 0;
	}
	slab->node = (uint16_t)wf_mem_node_of(mem, slab->offset)->index;
	central = &mem->nodes[slab->node].central[class];
	got = slab_take(slab, out, want);
	WF_CHECK(got != 0);
	if (slab->free_count == 0)
		return got;
	pthread_mutex_lock(&central->lock);
	partial_link(central, slab);
	pthread_mutex_unlock(&central->lock);
	return got;
}

/* ---- Central lists -------------------------------------------------------------------------- */

static uint32_t central_take(struct wf_mem_central *central, uint64_t *out, uint32_t want)
{
	uint32_t got = 0;

	pthread_mutex_lock(&central->lock);
	while (got < want && central->partial != NULL) {
		struct wf_mem_slab *slab = central->partial;

		WF_CHECK(slab->free_count != 0 && slab->free_count < slab->slots);
		got += slab_take(slab, out + got, want - got);
		if (slab->free_count == 0)
			partial_unlink(central, slab);
	}
	pthread_mutex_unlock(&central->lock);
	return got;
}

/* Slots of any classes and nodes. */
static void central_give(struct wf_mem *mem, const uint64_t *slots, uint32_t count)
{
	struct wf_mem_slab *empty = NULL;
	struct wf_mem_central *locked = NULL;

	for (uint32_t i = 0; i < count; i++) {
		struct wf_mem_node *node = wf_mem_node_of(mem, slots[i]);
		struct wf_mem_slab *slab = node->pages[wf_mem_page_of(node, slots[i])].slab;
		struct wf_mem_central *central = &node->central[slab->class];

		WF_CHECK(slab->offset <= slots[i] && slab->node == node->index);
		if (central != locked) {
			if (locked != NULL)
				pthread_mutex_unlock(&locked->lock);
			pthread_mutex_lock(&central->lock);
			locked = central;
		}
		if (slab->free_count == 0)
			partial_link(central, slab);
		if (!slab_give(slab, slots[i]))
			continue;
		partial_unlink(central, slab);
		slab->next = empty;
		empty = slab;
	}
	if (locked != NULL)
		pthread_mutex_unlock(&locked->lock);
	while (empty != NULL) {
		struct wf_mem_slab *next = empty->next;

		wf_mem_run_free(mem, empty->offset, class_pages[empty->class], WF_PAGE_SLAB);
		idle_push(&mem->nodes[empty->node], empty);
		empty = next;
	}
}

/* ---- Caches --------------------------------------------------------------------------------- */

/* With the caches_lock. */
static void share_out(struct wf_mem *mem)
{
	uint32_t count = mem->shared->cache_count != 0 ? mem->shared->cache_count : 1;

	/* relaxed, both: hints. */
	wf_store_relaxed(&mem->keep_slot_bytes, mem->limit_bytes / KEEP_SLOTS_PART / count);
	wf_store_relaxed(&mem->keep_run_bytes, mem->limit_bytes / KEEP_RUNS_PART / count);
}

struct wf_mem_cache *wf_mem_cache_create(struct wf_mem *mem, uint32_t node)
{
	const uint32_t home = node % mem->node_count;
	struct wf_mem_cache *cache = wf_node_alloc(home, WF_CACHE_LINE, sizeof(*cache));

	if (cache == NULL)
		return NULL;
	memset(cache, 0, sizeof(*cache));
	cache->mem = mem;
	cache->node = &mem->nodes[home];
	pthread_mutex_lock(&mem->shared->caches_lock);
	cache->next = mem->shared->caches;
	if (cache->next != NULL)
		cache->next->prev = cache;
	mem->shared->caches = cache;
	mem->shared->cache_count++;
	share_out(mem);
	pthread_mutex_unlock(&mem->shared->caches_lock);
	return cache;
}

static void run_word_free(struct wf_mem *mem, struct wf_mem_node *node, uint64_t word)
{
	uint64_t offset = node->offset + (word >> 32) * WF_MEM_PAGE_BYTES;

	wf_mem_run_free(mem, offset, (uint32_t)word, WF_PAGE_KEPT);
}

static uint64_t runs_reclaim(struct wf_mem *mem, struct wf_mem_cache *cache)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++) {
		uint64_t word = wf_mem_keep_steal_mt(&cache->runs, i);

		if (word == 0)
			continue;
		run_word_free(mem, cache->node, word);
		pages += (uint32_t)word;
	}
	return pages;
}

uint64_t wf_mem_keep_reclaim(struct wf_mem *mem)
{
	uint64_t pages = 0;

	pthread_mutex_lock(&mem->shared->caches_lock);
	for (struct wf_mem_cache *cache = mem->shared->caches; cache != NULL; cache = cache->next)
		pages += runs_reclaim(mem, cache);
	pthread_mutex_unlock(&mem->shared->caches_lock);
	return pages;
}

/* The newest stay: they are the warmest. */
static void magazine_trim(struct wf_mem_cache *cache, uint32_t class, uint32_t left)
{
	struct wf_magazine *magazine = &cache->magazine[class];
	uint32_t count = magazine->count - left;

	WF_CHECK(left <= magazine->count);
	if (count == 0)
		return;
	central_give(cache->mem, magazine->slot, count);
	memmove(magazine->slot, magazine->slot + count, left * sizeof(magazine->slot[0]));
	magazine->count = left;
	cache->kept_bytes -= (uint64_t)count * wf_mem_class_bytes(class);
}

static void away_flush(struct wf_mem_cache *cache)
{
	central_give(cache->mem, cache->away, cache->away_count);
	cache->away_count = 0;
	WF_CHECK(cache->kept_bytes >= cache->away_bytes);
	cache->kept_bytes -= cache->away_bytes;
	cache->away_bytes = 0;
}

static void slots_flush(struct wf_mem_cache *cache)
{
	for (uint32_t i = 0; i < WF_MEM_CLASSES; i++)
		magazine_trim(cache, i, 0);
	away_flush(cache);
	WF_CHECK(cache->kept_bytes == 0);
}

uint64_t wf_mem_cache_flush(struct wf_mem_cache *cache)
{
	uint64_t bytes = cache->kept_bytes;

	slots_flush(cache);
	return bytes + runs_reclaim(cache->mem, cache) * WF_MEM_PAGE_BYTES;
}

void wf_mem_cache_destroy(struct wf_mem_cache *cache)
{
	struct wf_mem_shared *shared;

	if (cache == NULL)
		return;
	shared = cache->mem->shared;
	pthread_mutex_lock(&shared->caches_lock);
	if (cache->prev != NULL)
		cache->prev->next = cache->next;
	else
		shared->caches = cache->next;
	if (cache->next != NULL)
		cache->next->prev = cache->prev;
	WF_CHECK(shared->cache_count != 0);
	WF_CHECK((shared->caches == NULL) == (shared->cache_count == 1));
	shared->cache_count--;
	share_out(cache->mem);
	pthread_mutex_unlock(&shared->caches_lock);
	(void)wf_mem_cache_flush(cache);
	wf_node_free(cache);
}

/* ---- Allocating ----------------------------------------------------------------------------- */

/* One slot of an empty magazine's class; the rest of the batch goes into it. */
static WF_NOINLINE uint64_t slot_alloc_slow(struct wf_mem *mem, struct wf_mem_cache *cache,
                                            uint32_t class)
{
	struct wf_magazine *magazine = &cache->magazine[class];
	uint32_t bytes = wf_mem_class_bytes(class), want = BATCH_BYTES / wf_mem_class_bytes(class),
		 got;
	/* relaxed: a hint. */
	uint64_t most = wf_load_relaxed(&mem->keep_slot_bytes);
	uint64_t batch[WF_MAGAZINE_MAX / 2];

	if (want > WF_MAGAZINE_MAX / 2)
		want = WF_MAGAZINE_MAX / 2;
	if (cache->kept_bytes + (uint64_t)want * bytes > most)
		want = 1;
	WF_CHECK(magazine->count == 0 && want >= 1 && want <= WF_MAGAZINE_MAX / 2);
	got = central_take(&cache->node->central[class], batch, want);
	if (got == 0)
		got = slab_create(mem, cache, class, batch, want);
	for (uint32_t i = 0; got == 0 && i < mem->node_count; i++)
		got = central_take(&mem->nodes[i].central[class], batch, 1);
	if (got == 0)
		return WF_MEM_NONE;
	/* The first is handed out, and the second is the next. */
	for (uint32_t i = got; i-- > 1;)
		magazine->slot[magazine->count++] = batch[i];
	cache->kept_bytes += (uint64_t)(got - 1) * bytes;
	return batch[0];
}

static uint64_t run_alloc(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t size)
{
	uint64_t count = run_pages(size), word;
	uint32_t page;

	if (size > mem->limit_bytes)
		return WF_MEM_NONE;
	word = wf_mem_keep_take_local(&cache->runs, (uint32_t)count);
	if (word == 0)
		return wf_mem_run_alloc(mem, cache, (uint32_t)count, NULL);
	page = (uint32_t)(word >> 32);
	WF_CHECK(cache->node->pages[page].length == count);
	/* relaxed: see runs.c. */
	wf_store_relaxed(&cache->node->pages[page].kind, WF_PAGE_RUN);
	return cache->node->offset + page * WF_MEM_PAGE_BYTES;
}

uint64_t wf_mem_alloc(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t size)
{
	struct wf_magazine *magazine;
	uint32_t class;

	if (size > WF_MEM_SLAB_MAX)
		return run_alloc(mem, cache, size);
	class = class_of(size);
	magazine = &cache->magazine[class];
	if (WF_UNLIKELY(magazine->count == 0))
		return slot_alloc_slow(mem, cache, class);
	cache->kept_bytes -= wf_mem_class_bytes(class);
	return magazine->slot[--magazine->count];
}

/* ---- Freeing -------------------------------------------------------------------------------- */

/* The magazine is full, or the cache has what it may have. */
static WF_NOINLINE void slot_free_slow(struct wf_mem_cache *cache, uint64_t offset, uint32_t class,
                                       uint64_t most)
{
	struct wf_magazine *magazine = &cache->magazine[class];
	uint32_t bytes = wf_mem_class_bytes(class);

	if (magazine->count == WF_MAGAZINE_MAX)
		magazine_trim(cache, class, WF_MAGAZINE_MAX / 2);
	if (cache->kept_bytes + bytes > most) {
		/* What other classes keep may be of an earlier time. */
		if (bytes <= most)
			slots_flush(cache);
		if (cache->kept_bytes + bytes > most) {
			central_give(cache->mem, &offset, 1);
			return;
		}
	}
	WF_CHECK(magazine->count < WF_MAGAZINE_MAX);
	magazine->slot[magazine->count++] = offset;
	cache->kept_bytes += bytes;
}

static void slot_free_away(struct wf_mem_cache *cache, uint64_t offset, uint32_t class)
{
	uint32_t bytes = wf_mem_class_bytes(class);

	cache->away[cache->away_count++] = offset;
	cache->away_bytes += bytes;
	cache->kept_bytes += bytes;
	/* relaxed: a hint. */
	if (cache->away_count == WF_AWAY_MAX ||
	    cache->kept_bytes > wf_load_relaxed(&cache->mem->keep_slot_bytes))
		away_flush(cache);
}

static void run_free(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t offset, uint64_t size)
{
	struct wf_mem_node *node = wf_mem_node_of(mem, offset);
	uint32_t page = wf_mem_page_of(node, offset), count = (uint32_t)run_pages(size);
	uint64_t word = wf_mem_keep_word(page, count), oldest;
	/* relaxed: a hint. */
	uint64_t most = wf_load_relaxed(&mem->keep_run_bytes) / WF_MEM_PAGE_BYTES;

	/* relaxed: the run is the caller's. Anything else: freed twice, or with another size. */
	WF_CHECK(wf_load_relaxed(&node->pages[page].kind) == WF_PAGE_RUN);
	WF_CHECK(node->pages[page].length == count && offset % WF_MEM_PAGE_BYTES == 0);
	if (node != cache->node || count > most) {
		wf_mem_run_free(mem, offset, count, WF_PAGE_RUN);
		return;
	}
	/* relaxed: see runs.c. */
	wf_store_relaxed(&node->pages[page].kind, WF_PAGE_KEPT);
	/* Bounded: after as many rounds as there are slots nothing is kept. */
	for (uint32_t i = 0; i <= WF_MEM_KEEP_SLOTS; i++) {
		if (wf_mem_keep_pages(&cache->runs) + count <= most &&
		    wf_mem_keep_put_local(&cache->runs, word))
			return;
		oldest = wf_mem_keep_steal_mt(&cache->runs, cache->next_run);
		cache->next_run = (cache->next_run + 1) % WF_MEM_KEEP_SLOTS;
		if (oldest != 0)
			run_word_free(mem, node, oldest);
	}
	run_word_free(mem, node, word);
}

void wf_mem_free(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t offset, uint64_t size)
{
	struct wf_mem_node *node;
	const struct wf_mem_page *page;
	struct wf_magazine *magazine;
	uint64_t most;
	uint32_t class, bytes;

	if (size > WF_MEM_SLAB_MAX) {
		run_free(mem, cache, offset, size);
		return;
	}
	class = class_of(size);
	node = wf_mem_node_of(mem, offset);
	page = &node->pages[wf_mem_page_of(node, offset)];
	/* relaxed: the slot is the caller's, and with it the slab. Anything else: a wrong free. */
	WF_CHECK(wf_load_relaxed(&page->kind) == WF_PAGE_SLAB && page->length == class);
	if (WF_UNLIKELY(node != cache->node)) {
		slot_free_away(cache, offset, class);
		return;
	}
	magazine = &cache->magazine[class];
	bytes = wf_mem_class_bytes(class);
	/* relaxed: a hint. */
	most = wf_load_relaxed(&mem->keep_slot_bytes);
	if (WF_UNLIKELY(magazine->count == WF_MAGAZINE_MAX || cache->kept_bytes + bytes > most)) {
		slot_free_slow(cache, offset, class, most);
		return;
	}
	magazine->slot[magazine->count++] = offset;
	cache->kept_bytes += bytes;
}
