/*
 * mem.h: the store's memory. One sealed memfd per NUMA node, mapped twice (to write and to read),
 * committed in chunks of 2 MiB, handed out as slots of slabs and runs of pages.
 *
 * A place in the memory is an offset: the same in both mappings, and in the mapping of any other
 * process. Nothing of the allocator's own lies in the shared bytes.
 */
#ifndef WF_MEM_H
#define WF_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"
#include "wf_copy.h"

#define WF_MEM_CHUNK_BYTES ((uint64_t)2 << 20)
#define WF_MEM_PAGE_BYTES  ((uint64_t)32 << 10)  /* runs are whole pages of this size */
#define WF_MEM_SLAB_MAX    ((uint64_t)256 << 10) /* beyond this a run */
#define WF_MEM_ALIGN       64u
#define WF_MEM_NONE        UINT64_MAX

struct wf_mem;
struct wf_mem_cache; /* what one thread keeps at hand; used by one thread at a time */

struct wf_mem_options {
	uint64_t limit_bytes; /* of committed memory, all nodes together; rounded up to a chunk */
	uint64_t ahead_bytes; /* committed before it is asked for, once memory is used at all */
	uint32_t node_count;  /* at least 1 */
	bool bind;            /* each node's file to its node */
	bool no_huge;         /* stay with small pages: for tests */
	void (*log)(void *arg, int level, const char *text); /* levels as enum weft_log_level */
	/* Before a request is refused, and before a trim: unhold what may be. NULL: nothing. */
	void (*let_go)(void *arg);
	void *arg; /* of both */
};

/*
 * Reserve addresses and make the files. Commits nothing and starts no thread: the thread that
 * commits ahead starts with the first allocation.
 * Errors: -ENOMEM no addresses, -errno of memfd_create() and friends; nothing is left behind.
 */
int wf_mem_open(struct wf_mem **out, const struct wf_mem_options *options);
/* Every cache must be destroyed. NULL is accepted. */
void wf_mem_close(struct wf_mem *mem);

/* `node`: where this thread likes its memory. NULL: -ENOMEM. */
struct wf_mem_cache *wf_mem_cache_create(struct wf_mem *mem, uint32_t node);
/* What it kept goes back. NULL is accepted. */
void wf_mem_cache_destroy(struct wf_mem_cache *cache);
/* Give back what the cache keeps, also of slabs that others have freed from: how many bytes. */
uint64_t wf_mem_cache_flush(struct wf_mem_cache *cache);

/*
 * What an allocation of `size` bytes really takes, with its share of what is left over at the end
 * of a slab: at most an eighth more from 512 bytes up.
 */
uint64_t wf_mem_footprint(uint64_t size);
/*
 * Room for `size` bytes (0 counts as 1), aligned to 64; its content is undefined. WF_MEM_NONE:
 * `limit_bytes` is reached, or the system has no memory (never SIGBUS later: it is committed).
 */
uint64_t wf_mem_alloc(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t size);
/* `size` as it was asked for. Any thread's cache will do. */
void wf_mem_free(struct wf_mem *mem, struct wf_mem_cache *cache, uint64_t offset, uint64_t size);

/* Start of the two mappings: constant from open to close. */
char *wf_mem_writable(const struct wf_mem *mem);
const char *wf_mem_readable(const struct wf_mem *mem);

/*
 * Keep the chunks of a range committed, whatever happens to what lies in them: they are known to
 * a device or to a ring. Counted.
 */
void wf_mem_hold(struct wf_mem *mem, uint64_t offset, uint64_t size);
void wf_mem_unhold(struct wf_mem *mem, uint64_t offset, uint64_t size);
/*
 * As wf_mem_hold(), of the one chunk in which `offset` lies, unless a part of it is not committed:
 * then whoever looks at all of it would have the system find memory for the rest. False: not held.
 */
bool wf_mem_hold_whole(struct wf_mem *mem, uint64_t offset);
/* Give chunks in which nothing lies back to the system, keeping `keep_bytes`: how many bytes. */
uint64_t wf_mem_trim(struct wf_mem *mem, uint64_t keep_bytes);

/*
 * For readers in other processes. Owned by `mem`. The descriptor is read-only. -errno: it could
 * not be opened (no /proc).
 */
int wf_mem_read_fd(const struct wf_mem *mem, uint32_t node);
uint32_t wf_mem_node_count(const struct wf_mem *mem);
/* Where node `n`'s file is mapped: offset of its first byte, and its length. */
uint64_t wf_mem_node_offset(const struct wf_mem *mem, uint32_t node);
uint64_t wf_mem_node_bytes(const struct wf_mem *mem);

struct wf_mem_stats {
	uint64_t limit_bytes, committed_bytes, huge_bytes; /* huge: known to be in 2 MiB pages */
	uint64_t slab_bytes, run_bytes;                    /* handed out, caches included */
	uint64_t committed_late; /* allocations that had to wait for a commit */
	uint64_t trimmed_bytes;  /* given back since open */
	bool refused;            /* by the system, the last time that it was asked for more */
};
void wf_mem_stats(const struct wf_mem *mem, struct wf_mem_stats *stats);

/*
 * How much the store may take: a quarter of what this process may use (RAM, cgroup v1 and v2
 * limits less what is in use there), read anew at each call. 0 when less than 64 MiB is left.
 * `why`, when not NULL, gets one line on where the figure comes from (static, not freed).
 */
uint64_t wf_mem_default_bytes(const char **why);

#endif /* WF_MEM_H */
