/*
 * runs.c: runs of pages within one node, all of their bookkeeping outside of the memory itself.
 *
 * A node's pages are divided into blocks: free ones with memory behind them (FREE), free ones
 * without (BARE), ones that are being changed from the one into the other (BUSY), and ones that
 * are handed out. The first and the last page of each block carry its kind, so that a freed block
 * finds its neighbours; what the pages between carry is stale. Free blocks stand in bins by the
 * logarithm of their length with eight steps each, and a bitmap says which bins have any.
 *
 * Shared: everything, under the node's lock, with two exceptions. A page's `kind` is turned
 * between RUN and KEPT by the thread that has the run, while others may look at it as a
 * neighbour's: so it is atomic, and both answers mean "not free". The pages of a slab are read
 * without the lock by those who free a slot of it.
 *
 * Invariants: the blocks follow each other without gaps from page 0 to the last. No two FREE blocks
 * and no two BARE blocks are neighbours. free_pages is the sum of all FREE blocks, ready_pages of
 * those of at least a chunk. A chunk's `pages` is the number of its pages that are in neither BARE
 * nor BUSY blocks.
 *
 * Progress: blocking (the lock is the caller's). Taking looks at no more than BIN_TRIES blocks that
 * do not fit; giving and merging are constant. Only wf_runs_claim_free() walks, and only when
 * memory is given back.
 *
 * After: M. Masmano, I. Ripoll, A. Crespo, J. Real, "TLSF: a new dynamic memory allocator for
 * real-time systems", ECRTS 2004, doi 10.1109/EMRTS.2004.1311009. It differs in that the blocks'
 * heads lie apart, that the bin below is looked through first, and in the two kinds of free.
 */
#include "mem_internal.h"

/* Blocks of the right bin that are looked at although they may be too short. Guessed. */
#define BIN_TRIES 8u

enum { SET_FREE = 0, SET_BARE = 1 };

static enum wf_page_kind kind_of(const struct wf_mem_node *node, uint32_t page)
{
	/* relaxed: under the lock, but for RUN and KEPT, between which nothing is decided. */
	return (enum wf_page_kind)wf_load_relaxed(&node->pages[page].kind);
}

/* First and last page say what the block is. */
static void mark(struct wf_mem_node *node, uint32_t page, uint32_t count, enum wf_page_kind kind)
{
	uint32_t last = page + count - 1;

	WF_CHECK(count != 0 && last < node->page_count && last >= page);
	node->pages[page].length = node->pages[last].length = count;
	/* relaxed, both: as in kind_of(). */
	wf_store_relaxed(&node->pages[page].kind, (uint8_t)kind);
	wf_store_relaxed(&node->pages[last].kind, (uint8_t)kind);
}

static uint32_t log2_of(uint32_t x)
{
	return 31 - (uint32_t)__builtin_clz(x);
}

/* Lengths 1 to 15 have a bin each; from there on eight bins share a power of two. */
static uint32_t bin_of(uint32_t count)
{
	uint32_t log;

	if (count < 8)
		return count;
	log = log2_of(count);
	return (log - 2) * 8 + ((count >> (log - 3)) & 7);
}

/* The first bin from `bin` on in which there is something. */
static uint32_t next_bin(const struct wf_mem_node *node, int set, uint32_t bin)
{
	for (uint32_t word = bin / 64; word < 4; word++) {
		uint64_t bits = node->map[set][word];

		if (word == bin / 64)
			bits &= ~(uint64_t)0 << (bin % 64);
		if (bits != 0)
			return word * 64 + (uint32_t)__builtin_ctzll(bits);
	}
	return WF_RUN_BINS;
}

static void count_free(struct wf_mem_node *node, uint32_t count, bool more)
{
	uint64_t change = more ? count : -(uint64_t)count;

	node->free_pages += change;
	if (count >= WF_PAGES_OF_CHUNK)
		node->ready_pages += change;
}

/* Make a block, its neighbours as they are. */
static void put(struct wf_mem_node *node, int set, uint32_t page, uint32_t count)
{
	uint32_t bin = bin_of(count);
	uint32_t head = node->bins[set][bin];

	WF_CHECK(bin < WF_RUN_BINS && head != page);
	mark(node, page, count, set == SET_FREE ? WF_PAGE_FREE : WF_PAGE_BARE);
	node->pages[page].prev = WF_PAGE_NONE;
	node->pages[page].next = head;
	if (head != WF_PAGE_NONE)
		node->pages[head].prev = page;
	node->bins[set][bin] = page;
	node->map[set][bin / 64] |= (uint64_t)1 << (bin % 64);
	if (set == SET_FREE)
		count_free(node, count, true);
}

static void unlink_block(struct wf_mem_node *node, int set, uint32_t page)
{
	const struct wf_mem_page *block = &node->pages[page];
	uint32_t bin = bin_of(block->length);

	WF_CHECK(kind_of(node, page) == (set == SET_FREE ? WF_PAGE_FREE : WF_PAGE_BARE));
	WF_CHECK(node->map[set][bin / 64] >> bin % 64 & 1);
	WF_CHECK(block->prev == WF_PAGE_NONE ? node->bins[set][bin] == page
	                                     : node->pages[block->prev].next == page);
	if (block->prev != WF_PAGE_NONE)
		node->pages[block->prev].next = block->next;
	else
		node->bins[set][bin] = block->next;
	if (block->next != WF_PAGE_NONE)
		node->pages[block->next].prev = block->prev;
	if (node->bins[set][bin] == WF_PAGE_NONE)
		node->map[set][bin / 64] &= ~((uint64_t)1 << (bin % 64));
	if (set == SET_FREE)
		count_free(node, block->length, false);
}

/* Make a block and merge it with its neighbours of the same kind. */
static void put_merged(struct wf_mem_node *node, int set, uint32_t page, uint32_t count)
{
	enum wf_page_kind kind = set == SET_FREE ? WF_PAGE_FREE : WF_PAGE_BARE;
	uint32_t end = page + count;

	WF_CHECK(end <= node->page_count && end > page);
	if (page > 0 && kind_of(node, page - 1) == kind) {
		page -= node->pages[page - 1].length;
		unlink_block(node, set, page);
	}
	if (end < node->page_count && kind_of(node, end) == kind) {
		unlink_block(node, set, end);
		end += node->pages[end].length;
	}
	put(node, set, page, end - page);
}

/* Cut [from, from + count) out of the free block at `page`; it gets `kind`. */
static void carve(struct wf_mem_node *node, int set, uint32_t page, uint32_t from, uint32_t count,
                  enum wf_page_kind kind)
{
	uint32_t end = page + node->pages[page].length;

	WF_CHECK(from >= page && from + count <= end);
	unlink_block(node, set, page);
	if (from > page)
		put(node, set, page, from - page);
	if (end > from + count)
		put(node, set, from + count, end - from - count);
	mark(node, from, count, kind);
}

/* A block of at least `count`; WF_PAGE_NONE: none, or none among the first of the bin below. */
static uint32_t find(const struct wf_mem_node *node, int set, uint32_t count)
{
	uint32_t bin = bin_of(count);
	uint32_t page = node->bins[set][bin];

	for (uint32_t i = 0; i < BIN_TRIES && page != WF_PAGE_NONE; i++) {
		if (node->pages[page].length >= count)
			return page;
		page = node->pages[page].next;
	}
	bin = next_bin(node, set, bin + 1);
	return bin < WF_RUN_BINS ? node->bins[set][bin] : WF_PAGE_NONE;
}

void wf_runs_init(struct wf_mem_node *node)
{
	WF_CHECK(node->page_count != 0);
	for (uint32_t bin = 0; bin < WF_RUN_BINS; bin++)
		node->bins[SET_FREE][bin] = node->bins[SET_BARE][bin] = WF_PAGE_NONE;
	put(node, SET_BARE, 0, node->page_count);
}

uint32_t wf_runs_take(struct wf_mem_node *node, uint32_t count, struct wf_mem_slab *slab)
{
	uint32_t page = find(node, SET_FREE, count);

	node->used = true;
	if (page == WF_PAGE_NONE)
		return WF_PAGE_NONE;
	WF_CHECK(node->pages[page].length >= count);
	carve(node, SET_FREE, page, page, count, slab != NULL ? WF_PAGE_SLAB : WF_PAGE_RUN);
	if (slab == NULL) {
		node->run_pages += count;
		return page;
	}
	for (uint32_t i = page; i < page + count; i++) {
		node->pages[i].length = slab->class;
		node->pages[i].slab = slab;
		/* relaxed: read by those who were handed a slot of it, later. */
		wf_store_relaxed(&node->pages[i].kind, WF_PAGE_SLAB);
	}
	node->slab_pages += count;
	return page;
}

void wf_runs_give(struct wf_mem_node *node, uint32_t page, uint32_t count, enum wf_page_kind was)
{
	WF_CHECK(kind_of(node, page) == was && kind_of(node, page + count - 1) != WF_PAGE_FREE);
	if (was == WF_PAGE_SLAB) {
		WF_CHECK(node->slab_pages >= count);
		node->slab_pages -= count;
	} else {
		WF_CHECK(node->pages[page].length == count && node->run_pages >= count);
		node->run_pages -= count;
	}
	put_merged(node, SET_FREE, page, count);
}

bool wf_runs_claim_bare(struct wf_mem_node *node, uint32_t count, uint32_t *page, uint32_t *least,
                        uint32_t *most)
{
	uint32_t block = find(node, SET_BARE, count);
	uint32_t end, before = 0;

	if (block == WF_PAGE_NONE)
		return false;
	WF_CHECK(count != 0 && node->pages[block].length >= count);
	/* What is free before it counts, if it is still there afterwards. */
	if (block > 0 && kind_of(node, block - 1) == WF_PAGE_FREE)
		before = node->pages[block - 1].length;
	*least = count > before ? count - before : 1;
	/* No wrap: node sizes are whole chunks, below 2^32 pages. */
	end = (block + *least + WF_PAGES_OF_CHUNK - 1) / WF_PAGES_OF_CHUNK * WF_PAGES_OF_CHUNK;
	if (end > block + node->pages[block].length)
		end = block + node->pages[block].length;
	*page = block;
	*most = end - block;
	WF_CHECK(*least <= *most);
	carve(node, SET_BARE, block, block, *most, WF_PAGE_BUSY);
	return true;
}

/* ---- What is committed ---------------------------------------------------------------------- */

static void chunk_flags(struct wf_mem_node *node, struct wf_mem_chunk *chunk, uint8_t flags)
{
	uint8_t was = chunk->flags;

	node->huge_chunks += (uint64_t)(flags & WF_CHUNK_HUGE) - (was & WF_CHUNK_HUGE);
	if ((flags & WF_CHUNK_WANTED) != (was & WF_CHUNK_WANTED))
		node->wanted_chunks += flags & WF_CHUNK_WANTED ? 1 : -(uint64_t)1;
	chunk->flags = flags;
	WF_CHECK(node->huge_chunks <= node->chunk_count);
	WF_CHECK(node->wanted_chunks <= node->chunk_count);
}

void wf_runs_chunk_flags(struct wf_mem_node *node, uint32_t chunk, uint8_t flags)
{
	WF_CHECK(chunk < node->chunk_count);
	chunk_flags(node, &node->chunks[chunk], flags);
}

/* Go through the chunks of a range, adding to or taking from their pages. */
static void count_committed(struct wf_mem_node *node, uint32_t page, uint32_t count, bool more)
{
	for (uint32_t end = page + count, next; page < end; page = next) {
		uint32_t index = page / WF_PAGES_OF_CHUNK;
		struct wf_mem_chunk *chunk = &node->chunks[index];
		uint8_t pages;

		next = (index + 1) * WF_PAGES_OF_CHUNK;
		if (next > end)
			next = end;
		pages = (uint8_t)(next - page);
		if (more) {
			WF_CHECK(chunk->pages + pages <= (int)WF_PAGES_OF_CHUNK);
			chunk->pages = (uint8_t)(chunk->pages + pages);
			/* Whole now, and nobody has made it huge before. */
			if (chunk->pages == WF_PAGES_OF_CHUNK &&
			    (chunk->flags & (WF_CHUNK_HUGE | WF_CHUNK_WANTED)) == 0)
				chunk_flags(node, chunk, WF_CHUNK_WANTED);
		} else {
			WF_CHECK(chunk->pages >= pages && (chunk->flags & WF_CHUNK_BUSY) == 0);
			chunk->pages = (uint8_t)(chunk->pages - pages);
			chunk->tries = 0;
			chunk_flags(node, chunk, 0);
		}
	}
}

/* ---- Giving back ---------------------------------------------------------------------------- */

/*
 * Whether `count` free pages of a chunk may be given back: all of it, or what is free in one that
 * is not whole any more, or with `scrape` whatever there is.
 */
static bool is_punchable(const struct wf_mem_node *node, uint32_t index, uint32_t count,
                         bool scrape)
{
	const struct wf_mem_chunk *chunk = &node->chunks[index];

	WF_CHECK(count != 0 && count <= chunk->pages);
	if (chunk->holds != 0 || (chunk->flags & WF_CHUNK_BUSY) != 0)
		return false;
	return scrape || count == WF_PAGES_OF_CHUNK || chunk->pages < WF_PAGES_OF_CHUNK;
}

/* The first stretch of the free pages [page, end) that may be given back: its length, or 0. */
static uint32_t punchable(const struct wf_mem_node *node, uint32_t page, uint32_t end, bool scrape,
                          uint32_t *from)
{
	uint32_t count = 0;

	for (uint32_t next; page < end; page = next) {
		uint32_t chunk = page / WF_PAGES_OF_CHUNK;

		next = (chunk + 1) * WF_PAGES_OF_CHUNK;
		if (next > end)
			next = end;
		if (is_punchable(node, chunk, next - page, scrape)) {
			if (count == 0)
				*from = page;
			count += next - page;
		} else if (count != 0) {
			break;
		}
	}
	return count;
}

/* `count` pages at `page`, cut to `most`: in the middle of a chunk only with `scrape`. */
static uint32_t cut(uint32_t page, uint32_t count, uint32_t most, bool scrape)
{
	uint64_t end = (uint64_t)page + most;

	if (count <= most)
		return count;
	if (!scrape)
		end = (end + WF_PAGES_OF_CHUNK - 1) / WF_PAGES_OF_CHUNK * WF_PAGES_OF_CHUNK;
	return end < page + count ? (uint32_t)(end - page) : count;
}

uint32_t wf_runs_claim_free(struct wf_mem_node *node, uint32_t most, bool scrape, uint32_t *page)
{
	WF_CHECK(most != 0);
	/* The longest first: fewest calls. */
	for (uint32_t bin = WF_RUN_BINS; bin-- > 0;) {
		for (uint32_t block = node->bins[SET_FREE][bin]; block != WF_PAGE_NONE;
		     block = node->pages[block].next) {
			uint32_t end = block + node->pages[block].length;
			uint32_t count = punchable(node, block, end, scrape, page);

			if (count == 0)
				continue;
			count = cut(*page, count, most, scrape);
			WF_CHECK(*page >= block && *page + count <= end);
			carve(node, SET_FREE, block, *page, count, WF_PAGE_BUSY);
			/* From here on nobody tries to make huge pages of it. */
			count_committed(node, *page, count, false);
			return count;
		}
	}
	return 0;
}

uint64_t wf_runs_idle_pages(struct wf_mem_node *node)
{
	uint64_t sum = 0;

	for (uint32_t bin = 0; bin < WF_RUN_BINS; bin++) {
		for (uint32_t block = node->bins[SET_FREE][bin]; block != WF_PAGE_NONE;
		     block = node->pages[block].next) {
			uint32_t end = block + node->pages[block].length, at = block, count;

			while (at < end && (count = punchable(node, at, end, false, &at)) != 0) {
				sum += count;
				at += count;
			}
		}
	}
	return sum;
}

void wf_runs_committed(struct wf_mem_node *node, uint32_t page, uint32_t count)
{
	WF_CHECK(kind_of(node, page) == WF_PAGE_BUSY);
	count_committed(node, page, count, true);
	put_merged(node, SET_FREE, page, count);
}

void wf_runs_bare(struct wf_mem_node *node, uint32_t page, uint32_t count)
{
	WF_CHECK(kind_of(node, page) == WF_PAGE_BUSY);
	put_merged(node, SET_BARE, page, count);
}

void wf_runs_unclaim(struct wf_mem_node *node, uint32_t page, uint32_t count, uint32_t kept)
{
	WF_CHECK(kind_of(node, page) == WF_PAGE_BUSY && kept <= count);
	if (kept == count)
		return;
	if (kept != 0)
		mark(node, page, kept, WF_PAGE_BUSY);
	put_merged(node, SET_BARE, page + kept, count - kept);
}
