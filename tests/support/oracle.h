/*
 * oracle.h: what a queue promises, checked per item; shared by model and stress tests.
 *
 *   once    an item is taken at most once
 *   loss    in the end every item that was pushed has been taken
 *   order   what one consumer of a FIFO (or one thief of a deque) takes of one producer comes in
 *           the order in which it was pushed
 *   data    what the producer wrote behind the pointer is what the consumer reads; both accesses
 *           are plain, so that ThreadSanitizer judges whether the queue ordered them
 *
 * The includer defines ORACLE_FAIL(text), which does not return. The counters are relaxed and
 * outside the atomics shim: they order nothing and are no scheduling points.
 */
#ifndef WEFT_TEST_ORACLE_H
#define WEFT_TEST_ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#ifndef ORACLE_FAIL
#error "define ORACLE_FAIL(text) first"
#endif
#define ORACLE_PRODUCERS_MAX 8

struct oracle_item {
	uint64_t payload;
	uint32_t producer;
	uint32_t seq; /* 1 .. in the order of this producer's pushes */
	_Atomic uint32_t taken;
};

/* One consumer's memory: the last item it took from each producer. */
struct oracle_view {
	uint32_t last[ORACLE_PRODUCERS_MAX];
};

static inline uint64_t oracle_payload(uint32_t producer, uint32_t seq)
{
	return ((uint64_t)producer << 32 | seq) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* The producer, before the push. */
static inline void oracle_make(struct oracle_item *item, uint32_t producer, uint32_t seq)
{
	item->producer = producer;
	item->seq = seq;
	item->payload = oracle_payload(producer, seq);
	atomic_store_explicit(&item->taken, 0, memory_order_relaxed);
}

/* The consumer, once for each item it gets. */
static inline void oracle_take(struct oracle_item *item)
{
	if (atomic_fetch_add_explicit(&item->taken, 1, memory_order_relaxed) != 0)
		ORACLE_FAIL("an item was taken twice");
	if (item->payload != oracle_payload(item->producer, item->seq))
		ORACLE_FAIL("an item came without its data");
	item->payload = 0;
}

/* The same for a consumer that must see each producer's items in order. */
static inline void oracle_take_in_order(struct oracle_view *view, struct oracle_item *item)
{
	oracle_take(item);
	if (item->producer >= ORACLE_PRODUCERS_MAX)
		ORACLE_FAIL("not an item");
	if (view->last[item->producer] >= item->seq)
		ORACLE_FAIL("items of one producer came out of order");
	view->last[item->producer] = item->seq;
}

/* In the end: each of these was taken exactly once. */
static inline void oracle_all_taken(const struct oracle_item *items, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		uint32_t taken = atomic_load_explicit(&items[i].taken, memory_order_relaxed);
		if (taken == 0)
			ORACLE_FAIL("an item was lost");
		if (taken > 1)
			ORACLE_FAIL("an item was taken twice");
	}
}

#endif /* WEFT_TEST_ORACLE_H */
