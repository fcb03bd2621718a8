/*
 * injector.c: unbounded FIFO of pointers, many producers, many consumers.
 *
 * Two free-running indices over a chain of blocks. A claim is one CAS on an index, for one item
 * or for a whole batch; the slots are then filled or read without further competition.
 *
 * Shared
 *   tail, tail_block  producers. A producer that claims the last slot of a block leaves the tail
 *                     on the position behind it (the edge), where all others wait, installs the
 *                     next block and moves the tail into it.
 *   head, head_block  consumers; likewise.
 *   slots[i]          NULL until its producer stores the item; read once, by the consumer that
 *                     claimed it.
 *   next              the following block; stored by the producer that installs it, its last
 *                     touch of the block but for the slots it claimed itself.
 *   read_count        slots whose consumers are done.
 *
 * Invariants
 *   1. An index mod WF_LAP is a slot (< WF_INJECTOR_CAP) or the edge (== WF_INJECTOR_CAP).
 *   2. head <= tail; every position of [head, tail) is claimed by exactly one producer and by no
 *      consumer; indices never fall (64 bits do not wrap), so a CAS cannot be fooled.
 *   3. A block pointer is dereferenced only by who has claimed a slot in it. The pointer was
 *      loaded after the index, and a block changes only while the index rests on the edge; so a
 *      CAS that finds the index unchanged vouches for the pointer as well.
 *
 * Reclamation: counted blocks. Each slot is read once; who brings read_count to the capacity
 * frees the block. By then every slot has been written and every consumer is done, and the one
 * that claimed the last slot has waited for `next`, so no producer comes back to it.
 *
 * Progress: a claim is lock-free. Two windows block: on the edge, while the next block is being
 * installed (three stores; the block was allocated before the claim), and a consumer that has
 * claimed a slot whose producer is between its claim and its store. A producer suspended exactly
 * there delays one consumer (or, on the edge, all producers) until it runs again; they yield the
 * CPU. The alternative, looking at the slot before the claim, would need hazard pointers or
 * blocks that are never freed, and would keep all consumers from what lies behind that slot.
 * A push that fails for want of memory has claimed nothing. is_empty is wait-free.
 *
 * After: the block queue of crossbeam-deque's Injector (2019), which itself follows M. Michael and
 * M. Scott, "Simple, fast, and practical non-blocking and blocking concurrent queue algorithms",
 * PODC 1996, doi:10.1145/248052.248106. Differences: one counter per block instead of three bits
 * per slot; batches are claimed by one CAS on both sides, across any number of blocks when pushed.
 */
#include "injector.h"

#include <errno.h>

#include "base.h"

/*
 * WF_SPIN_COUNT: tries before a waiting thread gives its CPU away; guessed: a few times the
 * window's length. Under the explorer two slots bring every edge within a few operations, and a
 * wait says at once that it waits.
 */
#ifdef WF_SIM
#define WF_INJECTOR_CAP 2u
#define WF_SPIN_COUNT   1u
#else
#define WF_INJECTOR_CAP 63u
#define WF_SPIN_COUNT   64u
#endif
#define WF_LAP (WF_INJECTOR_CAP + 1)

struct wf_injector_block {
	struct wf_aptr next;
	struct wf_a32 read_count;
	struct wf_aptr slots[WF_INJECTOR_CAP];
};

static struct wf_injector_block *block_create(void)
{
	return wf_calloc(1, sizeof(struct wf_injector_block));
}

/* A chain of `count` blocks linked by next, or NULL. */
static struct wf_injector_block *chain_create(uint32_t count)
{
	struct wf_injector_block *first = NULL;
	for (uint32_t i = 0; i < count; i++) {
		struct wf_injector_block *block = block_create();
		if (!block) {
			while (first) {
				/* relaxed: not shared yet. */
				block = (struct wf_injector_block *)wf_load_relaxed(&first->next);
				wf_free(first);
				first = block;
			}
			return NULL;
		}
		wf_init(&block->next, (uintptr_t)first);
		first = block;
	}
	return first;
}

static void chain_destroy(struct wf_injector_block *block)
{
	while (block) {
		/* relaxed: not shared, or not any more. */
		struct wf_injector_block *next =
			(struct wf_injector_block *)wf_load_relaxed(&block->next);
		wf_free(block);
		block = next;
	}
}

/* Wait for another thread's next few instructions. */
static void wait_turn(uint32_t *tries)
{
	wf_cpu_relax();
	if (++*tries % WF_SPIN_COUNT == 0)
		sched_yield();
}

/* How many items were pushed (popped) when the tail (head) was at this index. */
static uint64_t items_before(uint64_t index)
{
	return index / WF_LAP * WF_INJECTOR_CAP + index % WF_LAP;
}

int wf_injector_init(struct wf_injector *q)
{
	struct wf_injector_block *block = block_create();
	if (!block)
		return -ENOMEM;
	wf_init(&q->head, 0);
	wf_init(&q->head_block, (uintptr_t)block);
	wf_init(&q->tail, 0);
	wf_init(&q->tail_block, (uintptr_t)block);
	return 0;
}

void wf_injector_fini(struct wf_injector *q)
{
	/* relaxed: nobody else may look any more. */
	chain_destroy((struct wf_injector_block *)wf_load_relaxed(&q->head_block));
	wf_init(&q->head_block, 0);
	wf_init(&q->tail_block, 0);
}

/* The position `n` items after a slot, and how many edges lie between. */
static uint64_t advance(uint64_t index, uint32_t n, uint32_t *edges)
{
	uint64_t slot = index % WF_LAP + n;
	*edges = (uint32_t)(slot / WF_INJECTOR_CAP);
	return (index / WF_LAP + *edges) * WF_LAP + slot % WF_INJECTOR_CAP;
}

/*
 * Claim `n` positions: the block of the first one, and its index in *at. When that crosses an
 * edge, the next blocks come from *spare (a chain); NULL, and nothing claimed, when there is none.
 */
static struct wf_injector_block *claim(struct wf_injector *q, uint32_t n,
                                       struct wf_injector_block **spare, uint64_t *at)
{
	uint32_t tries = 0;
	for (;;) {
		/* acquire [I4]: with [I3]; the block loaded next is at least as new as this. */
		uint64_t tail = wf_load_acquire(&q->tail);
		/* acquire [I4]: with [I3]; the zeroes of a new block, and Invariant 3. */
		struct wf_injector_block *block =
			(struct wf_injector_block *)wf_load_acquire(&q->tail_block);
		if (tail % WF_LAP == WF_INJECTOR_CAP) {
			wait_turn(&tries);
			continue;
		}
		uint32_t edges;
		uint64_t after = advance(tail, n, &edges);
		if (edges && !*spare)
			return NULL;
		uint64_t edge = tail - tail % WF_LAP + WF_INJECTOR_CAP;
		/*
		 * relaxed: the items are published one by one [I1]. Had the block been loaded too
		 * new, [I4] would have brought the newer tail with it, and this would fail.
		 */
		if (!wf_cas_relaxed(&q->tail, &tail, edges ? edge : after))
			continue;
		*at = tail;
		if (edges == 0)
			return block;
		struct wf_injector_block *first = *spare;
		struct wf_injector_block *last = first;
		for (uint32_t i = 1; i < edges; i++) {
			/* relaxed: the chain is still this thread's. */
			last = (struct wf_injector_block *)wf_load_relaxed(&last->next);
		}
		/* relaxed, both: still this thread's; what is left over stays spare. */
		*spare = (struct wf_injector_block *)wf_load_relaxed(&last->next);
		wf_store_relaxed(&last->next, 0);
		/* release [I3]: the new block is visible to the producer that loads it [I4]. */
		wf_store_release(&q->tail_block, (uintptr_t)last);
		/* release [I3]: who sees this index [I4] sees the block stored just before. */
		wf_store_release(&q->tail, after);
		/* release [I5]: the chain is visible to the consumer that crosses the edge [I6]. */
		wf_store_release(&block->next, (uintptr_t)first);
		return block;
	}
}

/* Store the items in the slots claimed from `at`, which is in `block`. */
static void fill(struct wf_injector_block *block, uint64_t at, void *const *items, uint32_t n)
{
	uint32_t slot = (uint32_t)(at % WF_LAP);
	WF_CHECK(slot < WF_INJECTOR_CAP);
	while (n > 0) {
		uint32_t k = n < WF_INJECTOR_CAP - slot ? n : WF_INJECTOR_CAP - slot;
		/*
		 * relaxed: stored by claim() in this thread. Before the slots: with the last of
		 * them the block is the consumers', who may free it.
		 */
		uintptr_t next = wf_load_relaxed(&block->next);
		for (uint32_t i = 0; i < k; i++) {
			/* release [I1]: what the item points to is visible to its consumer [I2]. */
			wf_store_release(&block->slots[slot + i], (uintptr_t)items[i]);
		}
		items += k;
		n -= k;
		slot = 0;
		block = (struct wf_injector_block *)next;
		WF_CHECK(n == 0 || block != NULL);
	}
}

int wf_injector_push_mt(struct wf_injector *q, void *item)
{
	return wf_injector_push_many_mt(q, &item, 1);
}

int wf_injector_push_many_mt(struct wf_injector *q, void *const *items, uint32_t n)
{
	/* Room for the position arithmetic; far beyond any memory. */
	WF_CHECK(n <= UINT32_MAX - WF_INJECTOR_CAP);
	for (uint32_t i = 0; i < n; i++)
		WF_CHECK(items[i] != NULL);
	if (n == 0)
		return 0;
	struct wf_injector_block *spare = NULL;
	struct wf_injector_block *block;
	uint64_t at = 0;
	/* Blocks are made only when an edge is in sight; enough for the worst place of the tail. */
	while (!(block = claim(q, n, &spare, &at))) {
		spare = chain_create((n + WF_INJECTOR_CAP - 1) / WF_INJECTOR_CAP);
		if (!spare)
			return -ENOMEM;
	}
	fill(block, at, items, n);
	chain_destroy(spare);
	return 0;
}

/* The consumer of a block's last slot moves the head into the next block. */
static void cross_edge(struct wf_injector *q, struct wf_injector_block *block, uint64_t after)
{
	uint32_t tries = 0;
	uintptr_t next;
	/* acquire [I6]: with [I5]; the new block's zeroes, and that its producer is done here. */
	while (!(next = wf_load_acquire(&block->next)))
		wait_turn(&tries);
	/* release [I7]: the block is visible to the consumer that loads it [I8]. */
	wf_store_release(&q->head_block, next);
	/* release [I7]: who sees this index [I8] sees the block stored just before. */
	wf_store_release(&q->head, after);
}

uint32_t wf_injector_pop_mt(struct wf_injector *q, void **out, uint32_t max)
{
	uint32_t tries = 0;
	for (;;) {
		/* acquire [I8]: with [I7]; the block loaded next is at least as new as this. */
		uint64_t head = wf_load_acquire(&q->head);
		/* acquire [I8]: with [I7]; and Invariant 3. */
		struct wf_injector_block *block =
			(struct wf_injector_block *)wf_load_acquire(&q->head_block);
		/* relaxed: only counts. An old value makes the queue look shorter, even empty. */
		uint64_t tail = wf_load_relaxed(&q->tail);
		if (head >= tail || max == 0)
			return 0;
		uint32_t slot = (uint32_t)(head % WF_LAP);
		if (slot == WF_INJECTOR_CAP) {
			wait_turn(&tries);
			continue;
		}
		uint64_t there = items_before(tail) - items_before(head);
		uint32_t k = WF_INJECTOR_CAP - slot < max ? WF_INJECTOR_CAP - slot : max;
		if (k > there - there / 2)
			k = (uint32_t)(there - there / 2);
		WF_CHECK(k > 0);
		/* relaxed: as the producers' CAS; the items are acquired one by one [I2]. */
		if (!wf_cas_relaxed(&q->head, &head, head + k))
			continue;
		if (slot + k == WF_INJECTOR_CAP)
			cross_edge(q, block, head - slot + WF_LAP);
		for (uint32_t i = 0; i < k; i++) {
			/* acquire [I2]: with [I1]; what the item points to. */
			while (!(out[i] = (void *)wf_load_acquire(&block->slots[slot + i])))
				wait_turn(&tries);
		}
		/* acq_rel [I9], with itself: all slots were read before the last reader frees. */
		uint32_t read_count = wf_add_acq_rel(&block->read_count, k) + k;
		WF_CHECK(read_count <= WF_INJECTOR_CAP);
		if (read_count == WF_INJECTOR_CAP)
			wf_free(block);
		return k;
	}
}
