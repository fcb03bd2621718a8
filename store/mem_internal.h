/*
 * mem_internal.h: the parts that the store's memory is made of, from the bottom up: region.c (files
 * and mappings), runs.c (runs of pages), commit.c (what of them has memory behind it), slab.c
 * (slots, and what threads keep at hand).
 */
#ifndef WF_MEM_INTERNAL_H
#define WF_MEM_INTERNAL_H

#include <pthread.h>

#include "mem.h"
#include "mem_keep.h"

#define WF_PAGE_NONE      UINT32_MAX
#define WF_PAGES_OF_CHUNK ((uint32_t)(WF_MEM_CHUNK_BYTES / WF_MEM_PAGE_BYTES))
#define WF_RUN_BINS       240u /* by log2 of the length, eight steps each */
#define WF_MEM_CLASSES    80u
#define WF_SLAB_PAGES_MAX 16u
#define WF_SLAB_SLOTS_MAX 512u
#define WF_MAGAZINE_MAX   64u
#define WF_AWAY_MAX       32u
/* One MADV_COLLAPSE covers this much: measured five times dearer a chunk at a call. */
#define WF_COLLAPSE_BYTES ((uint64_t)64 << 20)
#define WF_COLLAPSE_TRIES 3u

enum wf_page_kind {
	WF_PAGE_INSIDE = 0, /* not the first or last page of a block, or stale */
	WF_PAGE_FREE,       /* committed, nothing lies in it */
	WF_PAGE_BARE,       /* nothing behind it */
	WF_PAGE_BUSY,       /* being committed, or being given back */
	WF_PAGE_RUN,        /* handed out */
	WF_PAGE_KEPT,       /* handed out and freed: in a thread's cache */
	WF_PAGE_SLAB,       /* every page of a slab */
};

struct wf_mem_page {
	uint32_t length;   /* first and last page of a block; of a slab's pages: its class */
	struct wf_a8 kind; /* enum wf_page_kind */
	union {
		struct {
			uint32_t next, prev; /* FREE and BARE: in their bin */
		};
		struct wf_mem_slab *slab;
	};
};
_Static_assert(sizeof(struct wf_mem_page) == 16, "four to a line");

enum wf_chunk_flag {
	WF_CHUNK_HUGE = 1,   /* one 2 MiB page */
	WF_CHUNK_WANTED = 2, /* committed and not huge: to be tried again */
	WF_CHUNK_BUSY = 4,   /* that is being done: not to be punched */
};

struct wf_mem_chunk {
	uint32_t holds;
	uint8_t pages; /* committed */
	uint8_t flags, tries, unused;
};

/* A run cut into slots of one class. What is free stands here, not in the slots. */
struct wf_mem_slab {
	WF_ALIGNED(WF_CACHE_LINE) uint64_t free[WF_SLAB_SLOTS_MAX / 64];
	uint64_t offset;
	struct wf_mem_slab *next, *prev; /* partial list, or idle list */
	uint16_t class, slots, free_count, node;
};

/* The slabs of one class and node that have a free slot. */
struct wf_mem_central {
	WF_ALIGNED(WF_CACHE_LINE) pthread_mutex_t lock;
	struct wf_mem_slab *partial;
};

struct wf_mem_node {
	WF_ALIGNED(WF_CACHE_LINE) pthread_mutex_t lock; /* for all below but the files */
	uint32_t index, page_count, chunk_count;
	bool used;
	struct wf_mem_page *pages;
	struct wf_mem_chunk *chunks;
	uint64_t free_pages, ready_pages; /* FREE; of it in blocks of at least a chunk */
	uint64_t run_pages, slab_pages, huge_chunks, wanted_chunks;
	uint64_t map[2][4]; /* bins with something in them: FREE, BARE */
	uint32_t bins[2][WF_RUN_BINS];
	struct wf_mem_slab *idle;         /* slabs without a run */
	struct wf_mem_slab_block *blocks; /* the memory of slabs */
	struct wf_mem_central central[WF_MEM_CLASSES];
	uint64_t offset; /* of its first byte in the mappings */
	int fd, read_fd; /* read_fd: or -errno */
};

/* What changes in the slow paths only, apart from what all read. */
struct wf_mem_shared {
	pthread_mutex_t commit_lock; /* for the next five */
	pthread_cond_t commit_done;
	uint64_t in_flight; /* commits under way */
	uint64_t underway;  /* bytes that the system was asked for and may not have given yet */
	uint64_t credit;    /* bytes that may be committed before the system is asked again */
	bool started;       /* the thread was, or it was tried */
	bool stop;
	struct wf_thread thread;
	bool thread_runs;
	struct wf_a32 wake;         /* 1: there may be something to do */
	struct wf_a32 ahead_failed; /* the system refused; until a commit succeeds again */
	struct wf_a32 huge_refused; /* for good */
	struct wf_a32 small_told, refusal_told;
	struct wf_a64 committed_bytes, committed_late, trimmed_bytes;
	pthread_mutex_t squeeze_lock; /* one at a time scrapes room together, or commits ahead */
	pthread_mutex_t caches_lock;  /* for the next two */
	struct wf_mem_cache *caches;
	uint32_t cache_count;
};

struct wf_mem {
	char *writable;
	const char *readable;
	uint64_t node_bytes, limit_bytes;
	uint32_t node_count;
	bool no_huge;
	uint64_t ahead_pages;                          /* of each node */
	struct wf_a64 keep_slot_bytes, keep_run_bytes; /* what one cache may keep */
	struct wf_mem_node *nodes;
	struct wf_mem_shared *shared;
	uint64_t (*memory_left)(const char **why); /* wf_memory_left(), or a test's */
	void (*log)(void *arg, int level, const char *text);
	void (*let_go)(void *arg);
	void *arg;
	void *reserved;
	size_t reserved_bytes;
};

struct wf_magazine {
	uint32_t count;
	uint64_t slot[WF_MAGAZINE_MAX];
};

struct wf_mem_cache {
	struct wf_mem *mem;
	struct wf_mem_node *node;
	uint64_t kept_bytes; /* in the magazines and in away[] */
	uint64_t away_bytes;
	uint32_t away_count, next_run;
	uint64_t away[WF_AWAY_MAX]; /* freed slots of other nodes */
	struct wf_magazine magazine[WF_MEM_CLASSES];
	/* Taken from by any thread. */
	WF_ALIGNED(WF_CACHE_LINE) struct wf_mem_keep runs;
	WF_ALIGNED(WF_CACHE_LINE) struct wf_mem_cache *next, *prev;
};

/* As enum weft_log_level, which is not below this room. */
enum wf_mem_log_level { WF_MEM_LOG_ERROR = 1, WF_MEM_LOG_WARN, WF_MEM_LOG_INFO };
__attribute__((format(printf, 3, 4))) void wf_mem_logf(const struct wf_mem *mem, int level,
                                                       const char *format, ...);
void wf_mem_mutex_init(pthread_mutex_t *mutex);

static inline struct wf_mem_node *wf_mem_node_of(const struct wf_mem *mem, uint64_t offset)
{
	uint64_t index = mem->node_count == 1 ? 0 : offset / mem->node_bytes;

	WF_CHECK(index < mem->node_count);
	return &mem->nodes[index];
}

static inline uint32_t wf_mem_page_of(const struct wf_mem_node *node, uint64_t offset)
{
	uint64_t page = (offset - node->offset) / WF_MEM_PAGE_BYTES;

	WF_CHECK(page < node->page_count);
	return (uint32_t)page;
}

/* ---- region.c: system calls on a range of a node's pages ------------------------------------ */

/* Memory behind all of it. 0 or -errno, then nothing was committed that was not before. */
int wf_region_commit(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                     uint32_t count);
void wf_region_punch(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                     uint32_t count);
/* One 2 MiB page for each of these chunks, all committed. 0 or -errno: of one of them. */
int wf_region_collapse(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t chunk,
                       uint32_t count);
/* Have its page tables made, so that nobody meets a fault. A hint. */
void wf_region_populate(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                        uint32_t count);

/* ---- runs.c: all with the node's lock held -------------------------------------------------- */

void wf_runs_init(struct wf_mem_node *node);
/* A run of committed pages, RUN or, with `slab`, SLAB. WF_PAGE_NONE: there is none. */
uint32_t wf_runs_take(struct wf_mem_node *node, uint32_t count, struct wf_mem_slab *slab);
void wf_runs_give(struct wf_mem_node *node, uint32_t page, uint32_t count, enum wf_page_kind was);
/*
 * Bare pages that, committed, make room for a run of `count`: marks them BUSY. `*least` of them
 * are needed, `*most` fill up the chunk. False: no addresses.
 */
bool wf_runs_claim_bare(struct wf_mem_node *node, uint32_t count, uint32_t *page, uint32_t *least,
                        uint32_t *most);
/*
 * About `most` free pages to be given back, marked BUSY: whole chunks and pieces of chunks that are
 * not whole any more, or with `scrape` any; never of a chunk that is held. 0: none.
 */
uint32_t wf_runs_claim_free(struct wf_mem_node *node, uint32_t most, bool scrape, uint32_t *page);
/* Claimed bare pages after all but the first `kept` are bare again. */
void wf_runs_unclaim(struct wf_mem_node *node, uint32_t page, uint32_t count, uint32_t kept);
/* Claimed pages are committed now; or have been given back. */
void wf_runs_committed(struct wf_mem_node *node, uint32_t page, uint32_t count);
void wf_runs_bare(struct wf_mem_node *node, uint32_t page, uint32_t count);
/* Pages that could be claimed so without `scrape`. */
uint64_t wf_runs_idle_pages(struct wf_mem_node *node);
/* Keeps the counters of flags right. */
void wf_runs_chunk_flags(struct wf_mem_node *node, uint32_t chunk, uint8_t flags);

/* ---- commit.c ------------------------------------------------------------------------------- */

/* A run for the cache's thread, committed. WF_MEM_NONE: by no means. The caller has no locks. */
uint64_t wf_mem_run_alloc(struct wf_mem *mem, struct wf_mem_cache *cache, uint32_t count,
                          struct wf_mem_slab *slab);
void wf_mem_run_free(struct wf_mem *mem, uint64_t offset, uint32_t count, enum wf_page_kind was);
void wf_commit_close(struct wf_mem *mem);

/* ---- slab.c --------------------------------------------------------------------------------- */

/* Take all runs that caches keep and give them to their nodes: how many pages. */
uint64_t wf_mem_keep_reclaim(struct wf_mem *mem);
void wf_slabs_init(struct wf_mem_node *node);
void wf_slabs_fini(struct wf_mem_node *node);
/* Sizes of a class, for tests. */
uint32_t wf_mem_class_of(uint64_t size);
uint32_t wf_mem_class_bytes(uint32_t class);
uint32_t wf_mem_class_pages(uint32_t class);

#endif /* WF_MEM_INTERNAL_H */
