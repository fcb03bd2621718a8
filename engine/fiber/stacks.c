/*
 * stacks.c: the pool of fibers and their stacks.
 *
 * All stacks of a pool lie in one range, reserved at create and touched only by who runs on them:
 *
 *   guard | stack 0 | guard | stack 1 | ...
 *
 * so that an index and a stack are the same thing. A fiber is handed out by index for the first
 * time (its guard is installed then), comes back into the cache of a worker, and moves on in
 * batches: a cache holds one batch in use and one spare (the magazines of Bonwick and Adams), so
 * that a worker that alternates between get and put never reaches the pool, and one exchange with
 * it pays for a whole batch.
 *
 * Memory of idle stacks. The pool keeps up to WF_STACKS_WARM_MAX stacks as they came back; a batch
 * that comes when it holds that many is first given to the kernel, whole stacks, neighbours in one
 * call, and kept apart (`cold`). So idle memory is at most that of WF_STACKS_WARM_MAX stacks and
 * two batches a cache, whatever was blocked at once before; a burst pays the kernel only for what
 * exceeds that. How deep a stack was used is not asked: that costs a system call for each, as much
 * as giving it back. An engine that goes idle calls wf_stacks_trim() for the rest.
 *
 * Shared: `lock` protects the two lists of batches, the `next`, `batch_next` and `batch_count` of
 *   fibers on them, the list of caches, and the carving of new stacks; the counters are written
 *   under it and read by anybody. A cache, and the fibers in it, belong to one thread; its two
 *   counts are read by wf_stacks_live().
 * Invariants: index_end <= max; live = index_end - (fibers on the lists) <= live_max;
 *   warm_count = fibers on `warm`; every batch has 1 to `batch` fibers; a cache that holds a fiber
 *   is listed.
 * Progress: get and put are wait-free while the cache serves; else blocking on `lock`, which is
 *   held for a few instructions, or one system call when a stack is carved.
 * After: J. Bonwick, J. Adams, "Magazines and Vmem", USENIX ATC 2001. Here magazines are chains
 *   through the fibers, and the depot remembers whether their memory is warm.
 */
#include "stacks.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Larger than a page, so that a frame with a path buffer (4 KiB) does not step over it. */
#define GUARD_BYTES 16384u
#define BATCH_MAX   16u
/* A cache holds two batches: at most 1/32 of the stacks may be idle in one. */
#define BATCH_SHARE 64u

_Static_assert(offsetof(struct wf_fiber, user) % 64 == 0, "the engine's part has its own lines");
_Static_assert(sizeof(struct wf_fiber) == 256, "four lines");
_Static_assert(offsetof(struct wf_stacks, lock) % 64 == 0, "readers' and writers' lines are apart");

/* ---- The lock: 0 free, 1 held, 2 held and somebody may sleep ------------------------------ */

static void lock_pool(struct wf_stacks *stacks)
{
	uint32_t state = 0;

	/* acquire [S1]: the lists as left before the release [S2]. */
	if (WF_LIKELY(wf_cas_acquire(&stacks->lock, &state, 1)))
		return;
	/* acquire [S1]: as above. Who slept cannot know whether others do, so it stays 2. */
	while (wf_swap_acquire(&stacks->lock, 2) != 0)
		(void)wf_futex_wait(&stacks->lock, 2, WF_FOREVER);
}

static void unlock_pool(struct wf_stacks *stacks)
{
	/* release [S2]: the lists as they are now, to the acquire [S1]. */
	if (WF_UNLIKELY(wf_swap_release(&stacks->lock, 0) == 2))
		(void)wf_futex_wake(&stacks->lock, 1);
}

/* Caller holds the lock. */
static void add_live(struct wf_stacks *stacks, int32_t change)
{
	/* relaxed, all: written under the lock; readers want a number, not an order. */
	uint32_t live = wf_load_relaxed(&stacks->live) + (uint32_t)change;

	WF_CHECK(live <= stacks->max);
	wf_store_relaxed(&stacks->live, live);
	if (live > wf_load_relaxed(&stacks->live_max))
		wf_store_relaxed(&stacks->live_max, live);
}

/* ---- Giving memory back ------------------------------------------------------------------ */

/* The whole of stacks `first` to `last`; what lies between are guards, which stay. */
static void release_run(const struct wf_fiber *first, const struct wf_fiber *last)
{
	char *lo = first->lo;

	/* Fails on locked memory, which its owner wanted resident: nothing to do. */
	(void)madvise(lo, (size_t)(last->hi - lo), MADV_DONTNEED);
}

/* The page with the canary stays: to write it anew would cost as much as to keep it. */
static void release_above_canary(const struct wf_fiber *fiber)
{
	char *lo = fiber->lo + sysconf(_SC_PAGESIZE);

	(void)madvise(lo, (size_t)(fiber->hi - lo), MADV_DONTNEED);
}

/* A chain that nobody else sees. */
static void release_chain(const struct wf_fiber *chain)
{
	const struct wf_fiber *low = NULL, *high = NULL;

	for (; chain; chain = chain->next) {
		if (chain->ctx.canary) {
			release_above_canary(chain);
		} else if (low && chain->index == high->index + 1) {
			high = chain;
		} else if (low && chain->index + 1 == low->index) {
			low = chain;
		} else {
			if (low)
				release_run(low, high);
			low = high = chain;
		}
	}
	if (low)
		release_run(low, high);
}

/* ---- Batches ----------------------------------------------------------------------------- */

/* Caller holds the lock. */
static void push_batch(struct wf_fiber **list, struct wf_fiber *head)
{
	head->batch_next = *list;
	*list = head;
}

static void give_batch(struct wf_stacks *stacks, struct wf_fiber *head, uint32_t count)
{
	/* relaxed: a guess made early is off by what others give meanwhile; the bound is soft. */
	bool warm = wf_load_relaxed(&stacks->warm_count) < WF_STACKS_WARM_MAX;

	WF_CHECK(head != NULL && count >= 1 && count <= stacks->batch);
	if (!warm)
		release_chain(head);
	head->batch_count = count;
	lock_pool(stacks);
	push_batch(warm ? &stacks->warm : &stacks->cold, head);
	if (warm)
		/* relaxed, both: under the lock. */
		wf_store_relaxed(&stacks->warm_count, wf_load_relaxed(&stacks->warm_count) + count);
	add_live(stacks, -(int32_t)count);
	unlock_pool(stacks);
}

/* Caller holds the lock. NULL when none is warm. */
static struct wf_fiber *pop_warm(struct wf_stacks *stacks)
{
	struct wf_fiber *head = stacks->warm;

	if (!head)
		return NULL;
	stacks->warm = head->batch_next;
	/* relaxed, both: under the lock. */
	wf_store_relaxed(&stacks->warm_count,
	                 wf_load_relaxed(&stacks->warm_count) - head->batch_count);
	return head;
}

/* Caller holds the lock: a stack that was never used. NULL when all were. */
static struct wf_fiber *carve(struct wf_stacks *stacks)
{
	/* relaxed: under the lock. */
	uint32_t index = wf_load_relaxed(&stacks->index_end);
	struct wf_fiber *fiber;
	char *guard;

	if (index == stacks->max)
		return NULL;
	fiber = &stacks->fibers[index];
	guard = stacks->base + (size_t)index * stacks->stride_bytes;
	fiber->index = index;
	fiber->stacks = stacks;
	fiber->lo = guard + stacks->guard_bytes;
	fiber->hi = guard + stacks->stride_bytes;
	fiber->batch_count = 1;
	if (!wf_guard_install(stacks->guard, guard, stacks->guard_bytes)) {
		wf_canary_write((uint64_t *)fiber->lo);
		fiber->ctx.canary = (uint64_t *)fiber->lo;
		/* relaxed, both: under the lock. */
		if (stacks->guard != WF_GUARD_CANARY)
			wf_store_relaxed(&stacks->unguarded,
			                 wf_load_relaxed(&stacks->unguarded) + 1);
	}
	wf_context_stack_born(fiber);
	/* release [S3]: the fields above, to the acquire [S4] of who walks the fibers. */
	wf_store_release(&stacks->index_end, index + 1);
	return fiber;
}

static struct wf_fiber *take_batch(struct wf_stacks *stacks)
{
	struct wf_fiber *head;

	lock_pool(stacks);
	head = pop_warm(stacks);
	if (!head && stacks->cold) {
		head = stacks->cold;
		stacks->cold = head->batch_next;
	}
	if (!head)
		head = carve(stacks);
	if (head)
		add_live(stacks, (int32_t)head->batch_count);
	unlock_pool(stacks);
	return head;
}

/* ---- Caches ------------------------------------------------------------------------------ */

/*
 * The counts are the owner's: it alone writes them, so it reads its own store, and wf_stacks_live()
 * wants a number, not an order. Hence relaxed throughout. Where fibers move, the count of where
 * they came from falls first, so that a reader in between sees them as out rather than twice idle.
 */
static uint32_t cached(const struct wf_stack_cache *cache)
{
	/* relaxed: see above. */
	return wf_load_relaxed(&cache->count);
}

static void set_cached(struct wf_stack_cache *cache, uint32_t count)
{
	/* relaxed: see above. */
	wf_store_relaxed(&cache->count, count);
}

static void set_spare(struct wf_stack_cache *cache, struct wf_fiber *spare, uint32_t count)
{
	cache->spare = spare;
	/* relaxed: see above. */
	wf_store_relaxed(&cache->spare_count, count);
}

static void list_cache(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	lock_pool(stacks);
	cache->next = stacks->caches;
	stacks->caches = cache;
	unlock_pool(stacks);
	cache->listed = true;
}

static void unlist_cache(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	struct wf_stack_cache **link = &stacks->caches;

	lock_pool(stacks);
	while (*link && *link != cache)
		link = &(*link)->next;
	WF_CHECK(*link == cache);
	*link = cache->next;
	unlock_pool(stacks);
	cache->listed = false;
}

static WF_NOINLINE struct wf_fiber *get_slow(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	struct wf_fiber *head = cache->spare;
	uint32_t count = stacks->batch;

	WF_CHECK(cached(cache) == 0);
	if (!cache->listed)
		list_cache(stacks, cache);
	if (head) {
		set_spare(cache, NULL, 0);
	} else {
		head = take_batch(stacks);
		if (!head)
			return NULL;
		count = head->batch_count;
	}
	cache->free = head->next;
	set_cached(cache, count - 1);
	return head;
}

/* Before a put that the cache has no room for, or that is its first. */
static WF_NOINLINE void make_room(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	struct wf_fiber *older = cache->spare, *newer = cache->free;

	if (!cache->listed)
		list_cache(stacks, cache);
	if (cached(cache) < stacks->batch)
		return;
	/* The older batch goes: the stacks of the one just filled are still in the CPU's cache. */
	set_spare(cache, NULL, 0);
	if (older)
		give_batch(stacks, older, stacks->batch);
	cache->free = NULL;
	set_cached(cache, 0);
	set_spare(cache, newer, stacks->batch);
}

struct wf_fiber *wf_fiber_get(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	struct wf_fiber *fiber = cache->free;

	if (WF_UNLIKELY(!fiber))
		return get_slow(stacks, cache);
	WF_DEBUG(cached(cache) > 0 && fiber->stacks == stacks);
	cache->free = fiber->next;
	set_cached(cache, cached(cache) - 1);
	return fiber;
}

void wf_fiber_put(struct wf_stacks *stacks, struct wf_stack_cache *cache, struct wf_fiber *fiber)
{
	WF_DEBUG(fiber->stacks == stacks);
	/* The memory of the stack we stand on may be gone after this. */
	WF_DEBUG((char *)__builtin_frame_address(0) < fiber->lo ||
	         (char *)__builtin_frame_address(0) >= fiber->hi);
	if (WF_UNLIKELY(fiber->ctx.canary != NULL) && !wf_canary_intact(fiber->ctx.canary))
		wf_overflow_die(stacks);
	wf_context_retire(fiber);
	if (WF_UNLIKELY(cached(cache) == stacks->batch || !cache->listed))
		make_room(stacks, cache);
	fiber->next = cache->free;
	cache->free = fiber;
	set_cached(cache, cached(cache) + 1);
}

void wf_stack_cache_flush(struct wf_stacks *stacks, struct wf_stack_cache *cache)
{
	struct wf_fiber *spare = cache->spare;
	uint32_t count = cached(cache);

	set_cached(cache, 0);
	if (count)
		give_batch(stacks, cache->free, count);
	cache->free = NULL;
	set_spare(cache, NULL, 0);
	if (spare)
		give_batch(stacks, spare, stacks->batch);
	if (cache->listed)
		unlist_cache(stacks, cache);
}

void wf_stacks_trim(struct wf_stacks *stacks)
{
	/*
	 * Batch by batch, so that the others' gets find the rest. Bounded by what is warm now: who
	 * gives meanwhile must not keep this here.
	 * relaxed: a bound, not an order.
	 */
	uint32_t left = wf_load_relaxed(&stacks->warm_count);

	while (left > 0) {
		struct wf_fiber *head;

		lock_pool(stacks);
		head = pop_warm(stacks);
		unlock_pool(stacks);
		if (!head)
			break;
		left -= head->batch_count < left ? head->batch_count : left;
		release_chain(head);
		lock_pool(stacks);
		push_batch(&stacks->cold, head);
		unlock_pool(stacks);
	}
}

/* ---- The pool ---------------------------------------------------------------------------- */

/* False: not this many. */
static bool reserve(struct wf_stacks *stacks, uint32_t max)
{
	if (__builtin_mul_overflow(stacks->stride_bytes, (size_t)max, &stacks->range_bytes))
		return false;
	stacks->base = wf_map(stacks->range_bytes, PROT_READ | PROT_WRITE);
	if (!stacks->base)
		return false;
	stacks->fibers = wf_map((size_t)max * sizeof(struct wf_fiber), PROT_READ | PROT_WRITE);
	if (!stacks->fibers) {
		wf_unmap(stacks->base, stacks->range_bytes);
		stacks->base = NULL;
		return false;
	}
	stacks->max = max;
	/* A huge page would make the first touch of one stack the first touch of eight. */
	(void)madvise(stacks->base, stacks->range_bytes, MADV_NOHUGEPAGE);
	return true;
}

static int reserve_what_fits(struct wf_stacks *stacks, uint32_t max)
{
	while (!reserve(stacks, max)) {
		if (max <= WF_STACKS_MIN)
			return -ENOMEM;
		max = max / 2 > WF_STACKS_MIN ? max / 2 : WF_STACKS_MIN;
	}
	stacks->batch = max / BATCH_SHARE;
	if (stacks->batch > BATCH_MAX)
		stacks->batch = BATCH_MAX;
	if (stacks->batch == 0)
		stacks->batch = 1;
	return 0;
}

static void unreserve(struct wf_stacks *stacks)
{
	wf_unmap(stacks->fibers, (size_t)stacks->max * sizeof(struct wf_fiber));
	wf_unmap(stacks->base, stacks->range_bytes);
}

int wf_stacks_create(struct wf_stacks **out, size_t stack_bytes, uint32_t max, enum wf_guard guard)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	struct wf_stacks *stacks;
	int rc;

	if (!out || max == 0 || (unsigned int)guard > WF_GUARD_CANARY ||
	    stack_bytes < WF_STACK_BYTES_MIN || stack_bytes % page_bytes != 0)
		return -EINVAL;
	stacks = wf_aligned_alloc(WF_CACHE_LINE, sizeof(*stacks));
	if (!stacks)
		return -ENOMEM;
	memset(stacks, 0, sizeof(*stacks));
	stacks->stack_bytes = stack_bytes;
	/* Where pages are larger than the guard, it is one page. */
	stacks->guard_bytes = page_bytes > GUARD_BYTES ? page_bytes : GUARD_BYTES;
	rc = -ENOMEM;
	if (__builtin_add_overflow(stack_bytes, stacks->guard_bytes, &stacks->stride_bytes))
		goto out_free;
	rc = reserve_what_fits(stacks, max);
	if (rc)
		goto out_free;
	rc = wf_guard_choose(guard, stacks->base, stacks->guard_bytes, &stacks->guard);
	if (rc)
		goto out_unreserve;
	*out = stacks;
	return 0;

out_unreserve:
	unreserve(stacks);
out_free:
	wf_free(stacks);
	return rc;
}

void wf_stacks_destroy(struct wf_stacks *stacks)
{
	uint32_t count;

	if (!stacks)
		return;
	/* relaxed: nobody else is here any more. */
	WF_CHECK(wf_load_relaxed(&stacks->live) == 0);
	WF_CHECK(stacks->caches == NULL && stacks->slot == NULL);
	count = wf_stacks_index_end(stacks);
	for (uint32_t i = 0; i < count; i++)
		wf_context_stack_dead(&stacks->fibers[i]);
	unreserve(stacks);
	wf_guard_release(stacks->guard, count - wf_stacks_unguarded(stacks));
	wf_free(stacks);
}

const char *wf_stacks_guard_name(const struct wf_stacks *stacks)
{
	switch (stacks->guard) {
	case WF_GUARD_MADVISE:
		return "guard";
	case WF_GUARD_MPROTECT:
		return "mprotect";
	case WF_GUARD_AUTO:
	case WF_GUARD_CANARY:
		break;
	}
	WF_CHECK(stacks->guard == WF_GUARD_CANARY);
	return "canary";
}

uint32_t wf_stacks_max(const struct wf_stacks *stacks)
{
	return stacks->max;
}

uint32_t wf_stacks_unguarded(const struct wf_stacks *stacks)
{
	/* relaxed: a number, not an order. */
	return wf_load_relaxed(&stacks->unguarded);
}

uint32_t wf_stacks_index_end(const struct wf_stacks *stacks)
{
	/* acquire [S4]: the fields of the fibers below it, written before the release [S3]. */
	return wf_load_acquire(&stacks->index_end);
}

uint32_t wf_stacks_live(struct wf_stacks *stacks)
{
	const struct wf_stack_cache *cache;
	uint32_t live, idle = 0;

	lock_pool(stacks);
	/* relaxed, all: the first is under the lock; of the others see cached(). */
	live = wf_load_relaxed(&stacks->live);
	for (cache = stacks->caches; cache; cache = cache->next)
		idle += wf_load_relaxed(&cache->count) + wf_load_relaxed(&cache->spare_count);
	unlock_pool(stacks);
	/* Counts that are read while they change may not fit each other. */
	return idle < live ? live - idle : 0;
}

uint32_t wf_stacks_live_max(const struct wf_stacks *stacks)
{
	/* relaxed: a number, not an order. */
	return wf_load_relaxed(&stacks->live_max);
}

struct wf_fiber *wf_fiber_at(struct wf_stacks *stacks, uint32_t index)
{
	WF_CHECK(index < wf_stacks_index_end(stacks));
	return &stacks->fibers[index];
}
