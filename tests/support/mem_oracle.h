/*
 * mem_oracle.h: what must hold in the store's memory when nobody is using it just now: every block,
 * bin, slab, magazine and counter by a recount.
 */
#ifndef WEFT_TEST_MEM_ORACLE_H
#define WEFT_TEST_MEM_ORACLE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mem_internal.h"

#define MEM_REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			_Exit(1); \
		} \
	} while (0)

struct mem_recount {
	uint64_t free, ready, bare, run, kept, slab, committed;
	uint64_t free_blocks, bare_blocks;
};

static inline uint64_t mem_oracle_list(const struct wf_mem_node *node, int set, uint8_t kind)
{
	uint64_t count = 0;

	for (uint32_t bin = 0; bin < WF_RUN_BINS; bin++) {
		uint32_t prev = WF_PAGE_NONE, page = node->bins[set][bin];

		MEM_REQUIRE(!!(node->map[set][bin / 64] >> bin % 64 & 1) == (page != WF_PAGE_NONE));
		for (; page != WF_PAGE_NONE; page = node->pages[page].next) {
			MEM_REQUIRE(node->pages[page].prev == prev);
			MEM_REQUIRE(wf_load_relaxed(&node->pages[page].kind) == kind);
			prev = page;
			count++;
		}
	}
	return count;
}

/* The slots of a slab: those free in it, and its place in the central list. */
static inline void mem_oracle_slab(const struct wf_mem_node *node, const struct wf_mem_slab *slab)
{
	uint32_t free = 0;
	bool linked = false;

	for (uint32_t i = 0; i < WF_SLAB_SLOTS_MAX / 64; i++)
		free += (uint32_t)__builtin_popcountll(slab->free[i]);
	MEM_REQUIRE(free == slab->free_count && free < slab->slots);
	for (const struct wf_mem_slab *s = node->central[slab->class].partial; s; s = s->next)
		linked |= s == slab;
	MEM_REQUIRE(linked == (free != 0));
}

static inline struct mem_recount mem_oracle_blocks(const struct wf_mem_node *node)
{
	struct mem_recount n = { 0 };
	uint8_t before = WF_PAGE_BUSY;
	uint32_t length;

	for (uint32_t page = 0; page < node->page_count; page += length) {
		uint8_t kind = wf_load_relaxed(&node->pages[page].kind);

		length = node->pages[page].length;
		if (kind == WF_PAGE_SLAB) {
			length = wf_mem_class_pages(node->pages[page].slab->class);
			for (uint32_t i = 0; i < length; i++)
				MEM_REQUIRE(node->pages[page + i].slab == node->pages[page].slab);
			mem_oracle_slab(node, node->pages[page].slab);
			n.slab += length;
		} else {
			MEM_REQUIRE(length != 0 && length <= node->page_count - page);
			MEM_REQUIRE(node->pages[page + length - 1].length == length);
			MEM_REQUIRE(wf_load_relaxed(&node->pages[page + length - 1].kind) == kind ||
			            kind == WF_PAGE_KEPT || kind == WF_PAGE_RUN);
		}
		MEM_REQUIRE(kind != before || (kind != WF_PAGE_FREE && kind != WF_PAGE_BARE));
		before = kind;
		n.free += kind == WF_PAGE_FREE ? length : 0;
		n.free_blocks += kind == WF_PAGE_FREE;
		n.ready += kind == WF_PAGE_FREE && length >= WF_PAGES_OF_CHUNK ? length : 0;
		n.bare += kind == WF_PAGE_BARE ? length : 0;
		n.bare_blocks += kind == WF_PAGE_BARE;
		n.run += kind == WF_PAGE_RUN || kind == WF_PAGE_KEPT ? length : 0;
		n.kept += kind == WF_PAGE_KEPT ? length : 0;
		MEM_REQUIRE(kind != WF_PAGE_BUSY && kind != WF_PAGE_INSIDE);
	}
	return n;
}

/*
 * Everything of an idle memory. Returns the recount of all nodes. `settled`: the committer is
 * asleep or there is none.
 */
static inline struct mem_recount mem_oracle(struct wf_mem *mem)
{
	struct mem_recount sum = { 0 };
	struct wf_mem_stats stats;
	uint64_t huge = 0, kept = 0;

	for (uint32_t i = 0; i < mem->node_count; i++) {
		struct wf_mem_node *node = &mem->nodes[i];
		struct mem_recount n = mem_oracle_blocks(node);
		uint64_t wanted = 0;

		MEM_REQUIRE(n.free == node->free_pages && n.ready == node->ready_pages);
		MEM_REQUIRE(n.run == node->run_pages && n.slab == node->slab_pages);
		MEM_REQUIRE(mem_oracle_list(node, 0, WF_PAGE_FREE) == n.free_blocks);
		MEM_REQUIRE(mem_oracle_list(node, 1, WF_PAGE_BARE) == n.bare_blocks);
		for (uint32_t c = 0; c < node->chunk_count; c++) {
			MEM_REQUIRE(node->chunks[c].pages <= WF_PAGES_OF_CHUNK);
			MEM_REQUIRE(node->chunks[c].flags == 0 ||
			            node->chunks[c].pages == WF_PAGES_OF_CHUNK);
			n.committed += node->chunks[c].pages;
			huge += node->chunks[c].flags & WF_CHUNK_HUGE;
			wanted += (node->chunks[c].flags & WF_CHUNK_WANTED) != 0;
		}
		MEM_REQUIRE(wanted == node->wanted_chunks);
		MEM_REQUIRE(n.committed == node->page_count - n.bare);
		sum.free += n.free;
		sum.run += n.run;
		sum.slab += n.slab;
		sum.kept += n.kept;
		sum.committed += n.committed;
	}
	wf_mem_stats(mem, &stats);
	MEM_REQUIRE(stats.committed_bytes == sum.committed * WF_MEM_PAGE_BYTES);
	MEM_REQUIRE(stats.committed_bytes <= stats.limit_bytes);
	MEM_REQUIRE(stats.huge_bytes == huge * WF_MEM_CHUNK_BYTES);
	MEM_REQUIRE(stats.run_bytes == sum.run * WF_MEM_PAGE_BYTES);
	MEM_REQUIRE(stats.slab_bytes == sum.slab * WF_MEM_PAGE_BYTES);
	for (struct wf_mem_cache *c = mem->shared->caches; c != NULL; c = c->next) {
		uint64_t bytes = c->away_bytes;

		kept += wf_mem_keep_pages(&c->runs);
		for (uint32_t k = 0; k < WF_MEM_CLASSES; k++)
			bytes += (uint64_t)c->magazine[k].count * wf_mem_class_bytes(k);
		MEM_REQUIRE(bytes == c->kept_bytes);
	}
	MEM_REQUIRE(kept == sum.kept);
	return sum;
}

/* What the system says is behind the files: bytes. */
static inline uint64_t mem_oracle_resident(const struct wf_mem *mem)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < mem->node_count; i++) {
		struct stat stat;

		MEM_REQUIRE(fstat(mem->nodes[i].fd, &stat) == 0);
		sum += (uint64_t)stat.st_blocks * 512;
	}
	return sum;
}

#endif /* WEFT_TEST_MEM_ORACLE_H */
