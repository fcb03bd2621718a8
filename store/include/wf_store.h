/*
 * wf_store.h: the door of the store, in its first and small form: buffers for results that do not
 * fit a ref's own cell. Nothing here knows of tasks, refs or fibers.
 */
#ifndef WF_STORE_H
#define WF_STORE_H

#include <stddef.h>

/* From this size on a buffer is a mapping of its own, aligned to it, in huge pages if possible. */
#define WF_STORE_BIG_BYTES   ((size_t)2 << 20)
/* Freed big buffers kept for the next of the same size; all together at most this. */
#define WF_STORE_CACHE_BYTES ((size_t)256 << 20)

/*
 * A buffer of `bytes`, 64-byte aligned. Its content is undefined, also where it is fresh memory.
 *
 * Owned:    the result is the caller's; wf_store_free() it with the same size.
 * Context:  any thread, any task. Never suspends; takes a lock for a moment for big buffers.
 * Order:    whoever hands the buffer to another thread orders the bytes.
 * Errors:   NULL no memory, or more than the address space. 0 bytes give a buffer to be freed.
 */
void *wf_store_alloc(size_t bytes);

/*
 * Give a buffer back.
 *
 * Owned:    `p` is consumed. NULL is accepted. `bytes` as at its wf_store_alloc().
 * Context:  any thread, any task, not only the one that allocated. Never suspends.
 * Errors:   cannot fail.
 */
void wf_store_free(void *p, size_t bytes);

/*
 * Give the memory of the cached buffers back to the system. How many bytes that were.
 *
 * Context:  any thread, any task. Never suspends. Cannot fail.
 */
size_t wf_store_trim(void);

/* Bytes asked for and not yet freed, over the whole process; exact when nobody is inside. */
size_t wf_store_live_bytes(void);
/* Bytes in the cache. As above. */
size_t wf_store_cached_bytes(void);

#endif /* WF_STORE_H */
