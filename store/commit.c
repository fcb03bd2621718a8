/*
 * commit.c: memory put behind runs and taken away from them again, within the limit.
 *
 * A run is taken from what is free and committed. Where there is nothing, its pages are committed
 * on the spot ("late"), and a thread of the store commits ahead so that this is rare: it keeps
 * `ahead_pages` of each node ready in blocks of at least a chunk, from the first late commit on. It
 * sleeps on a futex otherwise. Huge pages are made by that thread, too, before the pages can be had
 * or, of those committed late, while they are in use; only where nothing is committed ahead, and so
 * there is no thread, whoever commits makes them.
 *
 * When the limit is reached, room is scraped together, in steps, one thread at a time and while the
 * committer rests: what caches keep; whole free chunks anywhere are given back for others where
 * they are needed; and in the end the free pages of chunks that are partly used, which breaks their
 * huge pages. So a request is refused only when there are not that many free pages, or no
 * addresses.
 *
 * Shared
 *   committed_bytes  written under commit_lock, read by anybody
 *   in_flight, underway, credit  under commit_lock; in_flight: commits between reserve() and
 *                    settle(); underway: their bytes of which the system may not know yet
 *   wake             set to 1 by anybody, to 0 by the committer before it looks
 *   ahead_failed, huge_refused, *_told  flags, set by anybody
 *   all else is the nodes', under their locks
 *
 * Invariants: committed_bytes <= limit_bytes; it is the pages of all blocks but BARE ones, plus
 * those BUSY ones that are reserved. Locks are taken in the order squeeze_lock, caches_lock or a
 * central's, a node's; commit_lock beside a node's never. No system call is made under a node's
 * lock or the commit_lock.
 *
 * Progress: blocking. A request waits for commits under way before it is refused.
 */
#include "mem_internal.h"

#include <errno.h>
#include <string.h>

/* After so many commits whose memory others took away, one stops trying. Guessed. */
#define GROW_TRIES      64
/* What others are left with, at least. */
#define LEFT_FREE_BYTES ((uint64_t)16 << 20)
/* So many others may commit on the same answer at the same time. Guessed. */
#define CREDIT_PART     8

static uint32_t pages_of(uint64_t bytes)
{
	return (uint32_t)(bytes / WF_MEM_PAGE_BYTES);
}

static void wake_committer(struct wf_mem *mem)
{
	/*
	 * acq_rel [C1]: what made this necessary happened before; with the swap [C2] of the
	 * committer, which looks at it then.
	 */
	if (wf_swap_acq_rel(&mem->shared->wake, 1) == 0)
		wf_futex_wake(&mem->shared->wake, 1);
}

static uint64_t committed_bytes(const struct wf_mem *mem)
{
	/* relaxed: a statistic, or under the lock under which it is written. */
	return wf_load_relaxed(&mem->shared->committed_bytes);
}

/* ---- The limit ------------------------------------------------------------------------------ */

/*
 * At least `least` and at most `most` pages of what the limit leaves; 0: so many are not left. With
 * `waited` the call first waits for a commit under way, if there is one: then *waited, and 0, since
 * everything may be different now.
 */
static uint32_t reserve(struct wf_mem *mem, uint32_t least, uint32_t most, bool *waited)
{
	struct wf_mem_shared *shared = mem->shared;
	uint32_t granted = 0;
	uint64_t room;

	WF_CHECK(least != 0 && least <= most);
	pthread_mutex_lock(&shared->commit_lock);
	WF_CHECK(committed_bytes(mem) <= mem->limit_bytes);
	room = (mem->limit_bytes - committed_bytes(mem)) / WF_MEM_PAGE_BYTES;
	if (room >= least) {
		granted = room < most ? (uint32_t)room : most;
		/* relaxed: as in committed_bytes(). */
		wf_add_relaxed(&shared->committed_bytes, granted * WF_MEM_PAGE_BYTES);
		shared->in_flight++;
	} else if (waited != NULL && shared->in_flight != 0) {
		*waited = true;
		pthread_cond_wait(&shared->commit_done, &shared->commit_lock);
	}
	pthread_mutex_unlock(&shared->commit_lock);
	return granted;
}

/* A commit is over; so many of its pages did not become anything. */
static void settle(struct wf_mem *mem, uint32_t unused)
{
	struct wf_mem_shared *shared = mem->shared;

	pthread_mutex_lock(&shared->commit_lock);
	WF_CHECK(shared->in_flight != 0);
	shared->in_flight--;
	/* relaxed: as in committed_bytes(). */
	wf_add_relaxed(&shared->committed_bytes, -(unused * WF_MEM_PAGE_BYTES));
	pthread_cond_broadcast(&shared->commit_done);
	pthread_mutex_unlock(&shared->commit_lock);
}

/* ---- Huge pages ----------------------------------------------------------------------------- */

static bool huge_allowed(const struct wf_mem *mem)
{
	/* relaxed: a flag that is set for good and comes with nothing. */
	return !mem->no_huge && wf_load_relaxed(&mem->shared->huge_refused) == 0;
}

static void refuse_huge(struct wf_mem *mem, int error)
{
	/* relaxed: as above. */
	if (wf_swap_relaxed(&mem->shared->huge_refused, 1) == 0)
		wf_mem_logf(mem, WF_MEM_LOG_WARN,
		            "small pages: 2 MiB pages are refused (%s); copies and file "
		            "I/O are slower",
		            strerror(-error));
}

static void mark_huge(struct wf_mem_node *node, uint32_t chunk, uint32_t count)
{
	pthread_mutex_lock(&node->lock);
	for (uint32_t i = chunk; i < chunk + count; i++)
		wf_runs_chunk_flags(
			node, i,
			(uint8_t)((node->chunks[i].flags & WF_CHUNK_BUSY) | WF_CHUNK_HUGE));
	pthread_mutex_unlock(&node->lock);
}

/*
 * Huge pages for committed chunks that nobody punches meanwhile: all in one call, those that it
 * left out one by one. Marks what became huge.
 */
static void collapse(struct wf_mem *mem, struct wf_mem_node *node, uint32_t chunk, uint32_t count)
{
	int error;

	if (!huge_allowed(mem))
		return;
	WF_CHECK(count != 0 && chunk + count <= node->chunk_count);
	error = wf_region_collapse(mem, node, chunk, count);
	if (error == 0) {
		mark_huge(node, chunk, count);
		return;
	}
	for (uint32_t i = chunk; i < chunk + count && error != -EINVAL; i++) {
		error = wf_region_collapse(mem, node, i, 1);
		if (error == 0)
			mark_huge(node, i, 1);
	}
	/* Nobody made a hole in it, so that is not the reason: the kernel does not do it. */
	if (error == -EINVAL)
		refuse_huge(mem, error);
}

static void collapse_pages(struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                           uint32_t count)
{
	const uint32_t most = (uint32_t)(WF_COLLAPSE_BYTES / WF_MEM_CHUNK_BYTES);
	uint32_t chunk = (page + WF_PAGES_OF_CHUNK - 1) / WF_PAGES_OF_CHUNK;
	uint32_t end = (page + count) / WF_PAGES_OF_CHUNK;

	while (chunk < end) {
		uint32_t now = end - chunk < most ? end - chunk : most;

		collapse(mem, node, chunk, now);
		chunk += now;
	}
}

/* The next chunks from *chunk on that want another try; marks them BUSY. 0: none. */
static uint32_t claim_wanted(struct wf_mem_node *node, uint32_t *chunk)
{
	const uint32_t most = (uint32_t)(WF_COLLAPSE_BYTES / WF_MEM_CHUNK_BYTES);
	uint32_t count = 0;

	pthread_mutex_lock(&node->lock);
	for (uint32_t i = *chunk; node->wanted_chunks != 0 && i < node->chunk_count; i++) {
		struct wf_mem_chunk *c = &node->chunks[i];

		if (c->flags == WF_CHUNK_WANTED && c->holds == 0 && count < most) {
			if (count == 0)
				*chunk = i;
			wf_runs_chunk_flags(node, i, WF_CHUNK_WANTED | WF_CHUNK_BUSY);
			count++;
		} else if (count != 0) {
			break;
		}
	}
	pthread_mutex_unlock(&node->lock);
	return count;
}

/* The next of those that are in small pages, for which there were reasons that may have gone. */
static bool retry_some(struct wf_mem *mem, struct wf_mem_node *node, uint32_t *chunk)
{
	uint32_t count = huge_allowed(mem) ? claim_wanted(node, chunk) : 0;

	if (count == 0)
		return false;
	collapse(mem, node, *chunk, count);
	pthread_mutex_lock(&node->lock);
	for (uint32_t i = *chunk; i < *chunk + count; i++) {
		struct wf_mem_chunk *c = &node->chunks[i];
		uint8_t flags = c->flags & WF_CHUNK_HUGE;

		WF_CHECK(c->flags & WF_CHUNK_BUSY);
		if (flags == 0 && ++c->tries < WF_COLLAPSE_TRIES)
			flags = WF_CHUNK_WANTED;
		wf_runs_chunk_flags(node, i, flags);
	}
	pthread_mutex_unlock(&node->lock);
	*chunk += count;
	return true;
}

/* ---- Committing ----------------------------------------------------------------------------- */

/*
 * Whether the system has so much; then it is counted as underway until system_told(). A control
 * group's limit kills whoever passes it, also inside fallocate(), and an exhausted machine kills
 * whoever it likes: so they are asked first. That costs a tenth of committing a chunk; an answer
 * serves for a part of what it says is left. Whoever asks later counts all that is underway, and
 * takes the credit away first, so commits at the same time do not each take the same bytes.
 */
static bool system_has(struct wf_mem *mem, uint64_t bytes)
{
	struct wf_mem_shared *shared = mem->shared;
	uint64_t left, need;
	bool enough;

	pthread_mutex_lock(&shared->commit_lock);
	enough = shared->credit >= bytes;
	shared->credit = enough ? shared->credit - bytes : 0;
	shared->underway += bytes;
	pthread_mutex_unlock(&shared->commit_lock);
	if (enough)
		return true;
	left = mem->memory_left(NULL);
	pthread_mutex_lock(&shared->commit_lock);
	need = shared->underway + LEFT_FREE_BYTES;
	/* 0: not known, then it is tried. */
	enough = left == 0 || left >= need;
	shared->credit = left > need ? (left - need) / CREDIT_PART : 0;
	if (!enough)
		shared->underway -= bytes;
	pthread_mutex_unlock(&shared->commit_lock);
	return enough;
}

/* What was underway is there, or has failed: who asks the system now is told. */
static void system_told(struct wf_mem *mem, uint64_t bytes)
{
	struct wf_mem_shared *shared = mem->shared;

	pthread_mutex_lock(&shared->commit_lock);
	WF_CHECK(shared->underway >= bytes);
	shared->underway -= bytes;
	pthread_mutex_unlock(&shared->commit_lock);
}

/*
 * Claimed and reserved pages. On failure they are bare again, and the reservation is settled.
 * `huge`: here and now, else it is left to the committer, as it takes several times as long.
 */
static int commit(struct wf_mem *mem, struct wf_mem_node *node, uint32_t page, uint32_t count,
                  bool huge)
{
	int error = -ENOMEM;

	if (system_has(mem, count * WF_MEM_PAGE_BYTES)) {
		error = wf_region_commit(mem, node, page, count);
		system_told(mem, count * WF_MEM_PAGE_BYTES);
	}
	if (error == 0) {
		/* relaxed: a hint. */
		wf_store_relaxed(&mem->shared->ahead_failed, 0);
		if (huge)
			collapse_pages(mem, node, page, count);
		return 0;
	}
	/* relaxed: as above. */
	wf_store_relaxed(&mem->shared->ahead_failed, 1);
	if (wf_swap_relaxed(&mem->shared->refusal_told, 1) == 0)
		wf_mem_logf(mem, WF_MEM_LOG_ERROR,
		            "the system has no memory for the store: %s; %llu MiB of %llu",
		            strerror(-error), (unsigned long long)(committed_bytes(mem) >> 20),
		            (unsigned long long)(mem->limit_bytes >> 20));
	pthread_mutex_lock(&node->lock);
	wf_runs_unclaim(node, page, count, 0);
	pthread_mutex_unlock(&node->lock);
	settle(mem, count);
	return error;
}

/* Claim and reserve. The number of pages, or 0. */
static uint32_t prepare(struct wf_mem *mem, struct wf_mem_node *node, uint32_t want, uint32_t least,
                        bool *waited, uint32_t *page)
{
	uint32_t needed, most, granted;
	bool claimed;

	pthread_mutex_lock(&node->lock);
	claimed = wf_runs_claim_bare(node, want, page, &needed, &most);
	pthread_mutex_unlock(&node->lock);
	if (!claimed)
		return 0;
	if (least == 0 || least > needed)
		least = needed;
	WF_CHECK(least != 0 && least <= most);
	granted = reserve(mem, least, most, waited);
	WF_CHECK(granted <= most);
	pthread_mutex_lock(&node->lock);
	wf_runs_unclaim(node, *page, most, granted);
	pthread_mutex_unlock(&node->lock);
	return granted;
}

static uint64_t offset_of(const struct wf_mem_node *node, uint32_t page)
{
	return page == WF_PAGE_NONE ? WF_MEM_NONE : node->offset + page * WF_MEM_PAGE_BYTES;
}

/*
 * Commit what a run needs and take it. WF_MEM_NONE: refused, or *again: somebody else got in
 * between.
 */
static uint64_t grow(struct wf_mem *mem, struct wf_mem_node *node, uint32_t count,
                     struct wf_mem_slab *slab, bool *again)
{
	uint32_t page, granted, run;

	granted = prepare(mem, node, count, 0, again, &page);
	if (granted == 0 || commit(mem, node, page, granted, mem->ahead_pages == 0) != 0)
		return WF_MEM_NONE;
	pthread_mutex_lock(&node->lock);
	wf_runs_committed(node, page, granted);
	run = wf_runs_take(node, count, slab);
	pthread_mutex_unlock(&node->lock);
	settle(mem, 0);
	if (run == WF_PAGE_NONE && again != NULL)
		*again = true;
	return offset_of(node, run);
}

/* Whether the node has less ready than it should, and something can be done about it. */
static bool lacks(const struct wf_mem *mem, const struct wf_mem_node *node, uint64_t least)
{
	/* relaxed: a hint. */
	return node->used && node->ready_pages < least && committed_bytes(mem) < mem->limit_bytes &&
		wf_load_relaxed(&mem->shared->ahead_failed) == 0;
}

static bool commit_ahead(struct wf_mem *mem, struct wf_mem_node *node)
{
	const uint32_t most = pages_of(WF_COLLAPSE_BYTES);
	uint32_t want, granted, page;

	pthread_mutex_lock(&node->lock);
	want = !lacks(mem, node, mem->ahead_pages) ? 0
		: mem->ahead_pages - node->ready_pages < most
		? (uint32_t)(mem->ahead_pages - node->ready_pages)
		: most;
	pthread_mutex_unlock(&node->lock);
	if (want == 0)
		return false;
	granted = prepare(mem, node, want, 1, NULL, &page);
	if (granted == 0 && want > WF_PAGES_OF_CHUNK)
		granted = prepare(mem, node, WF_PAGES_OF_CHUNK, 1, NULL, &page);
	if (granted == 0 || commit(mem, node, page, granted, true) != 0)
		return false;
	wf_region_populate(mem, node, page, granted);
	pthread_mutex_lock(&node->lock);
	wf_runs_committed(node, page, granted);
	pthread_mutex_unlock(&node->lock);
	settle(mem, 0);
	return true;
}

static bool is_stopped(struct wf_mem_shared *shared)
{
	bool stop;

	pthread_mutex_lock(&shared->commit_lock);
	stop = shared->stop;
	pthread_mutex_unlock(&shared->commit_lock);
	return stop;
}

/*
 * The committer's work on a node. Each step keeps out those who scrape room together: what they
 * have given back is not committed again elsewhere, and no chunk is BUSY that they need.
 */
static bool look_after(struct wf_mem *mem, struct wf_mem_node *node)
{
	pthread_mutex_t *lock = &mem->shared->squeeze_lock;
	uint32_t chunk = 0;
	bool any, more;

	pthread_mutex_lock(lock);
	any = commit_ahead(mem, node);
	pthread_mutex_unlock(lock);
	do {
		pthread_mutex_lock(lock);
		more = retry_some(mem, node, &chunk);
		pthread_mutex_unlock(lock);
	} while (more);
	return any;
}

static void *committer(void *arg)
{
	struct wf_mem *mem = arg;

	while (!is_stopped(mem->shared)) {
		bool any = false;

		/* acq_rel [C2]: what was done before [C1] is seen below. */
		wf_swap_acq_rel(&mem->shared->wake, 0);
		for (uint32_t i = 0; i < mem->node_count; i++)
			any |= look_after(mem, &mem->nodes[i]);
		if (!any && !is_stopped(mem->shared))
			wf_futex_wait(&mem->shared->wake, 0, WF_FOREVER);
	}
	return NULL;
}

static void start_committer(struct wf_mem *mem)
{
	struct wf_mem_shared *shared = mem->shared;

	if (mem->ahead_pages == 0)
		return;
	pthread_mutex_lock(&shared->commit_lock);
	if (!shared->started) {
		shared->started = true;
		shared->thread_runs =
			wf_thread_start(&shared->thread, "weft-commit", committer, mem) == 0;
		if (!shared->thread_runs)
			wf_mem_logf(mem, WF_MEM_LOG_WARN,
			            "no thread to commit memory ahead of its use");
	}
	pthread_mutex_unlock(&shared->commit_lock);
}

void wf_commit_close(struct wf_mem *mem)
{
	struct wf_mem_shared *shared = mem->shared;
	bool runs;

	pthread_mutex_lock(&shared->commit_lock);
	shared->stop = true;
	runs = shared->thread_runs;
	pthread_mutex_unlock(&shared->commit_lock);
	if (!runs)
		return;
	wake_committer(mem);
	wf_thread_join(&shared->thread);
	WF_CHECK(shared->in_flight == 0);
}

/* ---- Giving back ---------------------------------------------------------------------------- */

/* Up to `pages` free pages of a node: how many. */
static uint64_t punch(struct wf_mem *mem, struct wf_mem_node *node, uint64_t pages, bool scrape)
{
	uint64_t done = 0;

	while (done < pages) {
		uint64_t left = pages - done;
		uint32_t page, count;

		pthread_mutex_lock(&node->lock);
		count = wf_runs_claim_free(
			node, left < node->page_count ? (uint32_t)left : node->page_count, scrape,
			&page);
		pthread_mutex_unlock(&node->lock);
		if (count == 0)
			break;
		WF_CHECK(page + count <= node->page_count);
		wf_region_punch(mem, node, page, count);
		pthread_mutex_lock(&node->lock);
		wf_runs_bare(node, page, count);
		pthread_mutex_unlock(&node->lock);
		done += count;
	}
	if (done == 0)
		return 0;
	pthread_mutex_lock(&mem->shared->commit_lock);
	WF_CHECK(committed_bytes(mem) >= done * WF_MEM_PAGE_BYTES);
	/* relaxed, both: as in committed_bytes(). */
	wf_add_relaxed(&mem->shared->committed_bytes, -(done * WF_MEM_PAGE_BYTES));
	wf_add_relaxed(&mem->shared->trimmed_bytes, done * WF_MEM_PAGE_BYTES);
	pthread_mutex_unlock(&mem->shared->commit_lock);
	return done;
}

static uint64_t punch_all(struct wf_mem *mem, uint64_t pages, bool scrape)
{
	uint64_t done = 0;

	for (uint32_t i = 0; i < mem->node_count && done < pages; i++)
		done += punch(mem, &mem->nodes[i], pages - done, scrape);
	return done;
}

uint64_t wf_mem_trim(struct wf_mem *mem, uint64_t keep_bytes)
{
	uint64_t idle = 0, keep = (keep_bytes + WF_MEM_PAGE_BYTES - 1) / WF_MEM_PAGE_BYTES;

	if (mem->let_go != NULL)
		mem->let_go(mem->arg);
	wf_mem_keep_reclaim(mem);
	for (uint32_t i = 0; i < mem->node_count; i++) {
		pthread_mutex_lock(&mem->nodes[i].lock);
		idle += wf_runs_idle_pages(&mem->nodes[i]);
		pthread_mutex_unlock(&mem->nodes[i].lock);
	}
	/* Whole chunks: what is kept is rounded up to them. */
	keep = (keep + WF_PAGES_OF_CHUNK - 1) / WF_PAGES_OF_CHUNK * WF_PAGES_OF_CHUNK;
	if (idle <= keep)
		return 0;
	return punch_all(mem, idle - keep, false) * WF_MEM_PAGE_BYTES;
}

/* ---- Runs ----------------------------------------------------------------------------------- */

static uint64_t take(struct wf_mem *mem, struct wf_mem_node *node, uint32_t count,
                     struct wf_mem_slab *slab)
{
	const uint64_t slack = pages_of(WF_COLLAPSE_BYTES);
	uint64_t low =
		mem->ahead_pages - (mem->ahead_pages / 4 < slack ? mem->ahead_pages / 4 : slack);
	uint32_t page;
	bool wake;

	pthread_mutex_lock(&node->lock);
	page = wf_runs_take(node, count, slab);
	wake = page != WF_PAGE_NONE && lacks(mem, node, low);
	pthread_mutex_unlock(&node->lock);
	if (wake)
		wake_committer(mem);
	return offset_of(node, page);
}

static uint64_t take_or_grow_elsewhere(struct wf_mem *mem, const struct wf_mem_node *home,
                                       uint32_t count, struct wf_mem_slab *slab)
{
	for (uint32_t i = 1; i < mem->node_count; i++) {
		struct wf_mem_node *node = &mem->nodes[(home->index + i) % mem->node_count];
		uint64_t offset = take(mem, node, count, slab);

		if (offset == WF_MEM_NONE)
			offset = grow(mem, node, count, slab, NULL);
		if (offset != WF_MEM_NONE)
			return offset;
	}
	return WF_MEM_NONE;
}

/* Free pages and those that may be committed yet. */
static uint64_t pages_left(struct wf_mem *mem)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < mem->node_count; i++) {
		pthread_mutex_lock(&mem->nodes[i].lock);
		sum += mem->nodes[i].free_pages;
		pthread_mutex_unlock(&mem->nodes[i].lock);
	}
	return sum + (mem->limit_bytes - committed_bytes(mem)) / WF_MEM_PAGE_BYTES;
}

static uint64_t run_by_any_means(struct wf_mem *mem, struct wf_mem_node *node, uint32_t count,
                                 struct wf_mem_slab *slab)
{
	uint64_t offset = WF_MEM_NONE;

	/* Bounded: each time round somebody else got the memory committed here. */
	for (int i = 0; i < GROW_TRIES; i++) {
		bool again = false;

		offset = take(mem, node, count, slab);
		if (offset == WF_MEM_NONE)
			offset = grow(mem, node, count, slab, &again);
		if (offset != WF_MEM_NONE || !again)
			break;
	}
	if (offset == WF_MEM_NONE)
		offset = take_or_grow_elsewhere(mem, node, count, slab);
	return offset;
}

/* Give free memory back elsewhere and commit it here. */
static uint64_t scrape_together(struct wf_mem *mem, struct wf_mem_node *node, uint32_t count,
                                struct wf_mem_slab *slab)
{
	uint64_t offset = WF_MEM_NONE;

	for (int scrape = 0; scrape <= 1 && offset == WF_MEM_NONE; scrape++) {
		uint64_t room = (mem->limit_bytes - committed_bytes(mem)) / WF_MEM_PAGE_BYTES;

		if (pages_left(mem) < count)
			break;
		if (room < count && punch_all(mem, count - room, scrape != 0) == 0)
			continue;
		offset = run_by_any_means(mem, node, count, slab);
	}
	return offset;
}

/* With the squeeze_lock. */
static uint64_t squeeze(struct wf_mem *mem, struct wf_mem_cache *cache, uint32_t count,
                        struct wf_mem_slab *slab)
{
	uint64_t offset;

	(void)wf_mem_cache_flush(cache);
	wf_mem_keep_reclaim(mem);
	offset = run_by_any_means(mem, cache->node, count, slab);
	if (offset == WF_MEM_NONE)
		offset = scrape_together(mem, cache->node, count, slab);
	/* Pages are free, and cannot be moved because somebody has their chunks held. */
	if (offset == WF_MEM_NONE && mem->let_go != NULL && pages_left(mem) >= count) {
		mem->let_go(mem->arg);
		offset = scrape_together(mem, cache->node, count, slab);
	}
	return offset;
}

uint64_t wf_mem_run_alloc(struct wf_mem *mem, struct wf_mem_cache *cache, uint32_t count,
                          struct wf_mem_slab *slab)
{
	uint64_t offset;

	WF_CHECK(count != 0);
	WF_CHECK(slab == NULL || slab->class < WF_MEM_CLASSES);
	offset = take(mem, cache->node, count, slab);
	if (offset != WF_MEM_NONE)
		return offset;
	if (count > mem->limit_bytes / WF_MEM_PAGE_BYTES)
		return WF_MEM_NONE;
	/* relaxed: a statistic. */
	wf_add_relaxed(&mem->shared->committed_late, 1);
	offset = run_by_any_means(mem, cache->node, count, slab);
	start_committer(mem);
	if (offset == WF_MEM_NONE) {
		pthread_mutex_lock(&mem->shared->squeeze_lock);
		offset = squeeze(mem, cache, count, slab);
		pthread_mutex_unlock(&mem->shared->squeeze_lock);
	}
	if (offset != WF_MEM_NONE)
		wake_committer(mem);
	return offset;
}

void wf_mem_run_free(struct wf_mem *mem, uint64_t offset, uint32_t count, enum wf_page_kind was)
{
	struct wf_mem_node *node = wf_mem_node_of(mem, offset);

	pthread_mutex_lock(&node->lock);
	wf_runs_give(node, wf_mem_page_of(node, offset), count, was);
	pthread_mutex_unlock(&node->lock);
}

/* ---- Holding, looking ----------------------------------------------------------------------- */

static void change_holds(struct wf_mem *mem, uint64_t offset, uint64_t size, bool more)
{
	uint64_t end = offset + (size != 0 ? size : 1);

	WF_CHECK(end > offset && end <= mem->node_count * mem->node_bytes);
	for (uint64_t at = offset / WF_MEM_CHUNK_BYTES * WF_MEM_CHUNK_BYTES; at < end;
	     at += WF_MEM_CHUNK_BYTES) {
		struct wf_mem_node *node = wf_mem_node_of(mem, at);
		struct wf_mem_chunk *chunk =
			&node->chunks[(at - node->offset) / WF_MEM_CHUNK_BYTES];

		pthread_mutex_lock(&node->lock);
		WF_CHECK(chunk->holds != (more ? UINT32_MAX : 0));
		chunk->holds += more ? 1 : UINT32_MAX;
		pthread_mutex_unlock(&node->lock);
	}
}

void wf_mem_hold(struct wf_mem *mem, uint64_t offset, uint64_t size)
{
	change_holds(mem, offset, size, true);
}

void wf_mem_unhold(struct wf_mem *mem, uint64_t offset, uint64_t size)
{
	change_holds(mem, offset, size, false);
}

bool wf_mem_hold_whole(struct wf_mem *mem, uint64_t offset)
{
	struct wf_mem_node *node = wf_mem_node_of(mem, offset);
	struct wf_mem_chunk *chunk = &node->chunks[(offset - node->offset) / WF_MEM_CHUNK_BYTES];
	bool whole;

	pthread_mutex_lock(&node->lock);
	/* Pages that are being given back do not count; being made huge does not matter. */
	whole = chunk->pages == WF_PAGES_OF_CHUNK;
	WF_CHECK(chunk->holds != UINT32_MAX);
	chunk->holds += whole;
	pthread_mutex_unlock(&node->lock);
	return whole;
}

void wf_mem_stats(const struct wf_mem *mem, struct wf_mem_stats *stats)
{
	uint64_t huge = 0, slabs = 0, runs = 0;

	for (uint32_t i = 0; i < mem->node_count; i++) {
		struct wf_mem_node *node = &mem->nodes[i];

		pthread_mutex_lock(&node->lock);
		huge += node->huge_chunks;
		slabs += node->slab_pages;
		runs += node->run_pages;
		pthread_mutex_unlock(&node->lock);
	}
	*stats = (struct wf_mem_stats){
		.limit_bytes = mem->limit_bytes,
		.committed_bytes = committed_bytes(mem),
		.huge_bytes = huge * WF_MEM_CHUNK_BYTES,
		.slab_bytes = slabs * WF_MEM_PAGE_BYTES,
		.run_bytes = runs * WF_MEM_PAGE_BYTES,
		/* relaxed, both: statistics. */
		.committed_late = wf_load_relaxed(&mem->shared->committed_late),
		.trimmed_bytes = wf_load_relaxed(&mem->shared->trimmed_bytes),
		/* relaxed: a hint. */
		.refused = wf_load_relaxed(&mem->shared->ahead_failed) != 0,
	};
}
