/*
 * store.h: what tests of the object store share: opening one, contents that say whose they are,
 * tickets that a thread waits for, and the recount.
 */
#ifndef WEFT_TEST_STORE_H
#define WEFT_TEST_STORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "wf_store.h"

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

#define STORE_CHECK(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			abort(); \
		} \
	} while (0)

/* Every word of the bytes depends on the key and on its place. */
static inline uint64_t store_word(uint64_t key, uint64_t at)
{
	uint64_t x = (key + at) * UINT64_C(0x9e3779b97f4a7c15);

	return x ^ x >> 29;
}

static inline void store_fill(char *bytes, uint64_t size, uint64_t key)
{
	for (uint64_t at = 0; at + 8 <= size; at += 8) {
		uint64_t word = store_word(key, at);

		memcpy(bytes + at, &word, 8);
	}
	for (uint64_t at = size & ~UINT64_C(7); at < size; at++)
		bytes[at] = (char)(key + at);
}

static inline bool store_has(const char *bytes, uint64_t size, uint64_t key)
{
	for (uint64_t at = 0; at + 8 <= size; at += 8) {
		uint64_t word;

		memcpy(&word, bytes + at, 8);
		if (word != store_word(key, at))
			return false;
	}
	for (uint64_t at = size & ~UINT64_C(7); at < size; at++) {
		if (bytes[at] != (char)(key + at))
			return false;
	}
	return true;
}

/* ---- Tickets --------------------------------------------------------------------------------- */

struct waiter {
	struct wf_store_ticket ticket;
	struct wf_store_full full;
	struct wf_a32 is_done;
	uint32_t order; /* the how-manieth of all waiters that were done */
};

static struct wf_a32 waiters_done;

static inline void waiter_done(struct wf_store_ticket *ticket)
{
	struct waiter *waiter = ticket->arg;

	waiter->order = wf_add_relaxed(&waiters_done, 1);
	wf_store_release(&waiter->is_done, 1);
	wf_futex_wake(&waiter->is_done, INT32_MAX);
}

static inline void waiter_start(struct wf_store *store, struct waiter *waiter)
{
	wf_init(&waiter->is_done, 0);
	waiter->ticket.done = waiter_done;
	waiter->ticket.arg = waiter;
	waiter->ticket.full = &waiter->full;
	memset(&waiter->full, 0, sizeof(waiter->full));
	wf_store_wait(store, &waiter->ticket);
}

static inline void waiter_create(struct wf_store *store, struct waiter *waiter, uint64_t size)
{
	memset(&waiter->ticket, 0, sizeof(waiter->ticket));
	waiter->ticket.size = size;
	waiter_start(store, waiter);
}

static inline void waiter_pin(struct wf_store *store, struct waiter *waiter,
                              struct wf_object *const *objects, uint32_t count, uint64_t unit)
{
	memset(&waiter->ticket, 0, sizeof(waiter->ticket));
	waiter->ticket.objects = objects;
	waiter->ticket.count = count;
	waiter->ticket.unit = unit;
	waiter_start(store, waiter);
}

static inline bool waiter_is_done(struct waiter *waiter)
{
	return wf_load_acquire(&waiter->is_done) != 0;
}

static inline int waiter_await(struct waiter *waiter)
{
	while (!waiter_is_done(waiter))
		wf_futex_wait(&waiter->is_done, 0, WF_FOREVER);
	return waiter->ticket.status;
}

/* ---- Objects --------------------------------------------------------------------------------- */

/* Filled and sealed, with `pins`. Waits for room. NULL: there is none. */
static inline struct wf_object *store_put_pinned(struct wf_store *store,
                                                 struct wf_store_local *local, uint64_t size,
                                                 uint64_t key, uint32_t pins)
{
	struct wf_object *object = NULL;
	int rc = wf_store_create(store, local, size, &object);

	if (rc == -EAGAIN) {
		struct waiter waiter;

		waiter_create(store, &waiter, size);
		rc = waiter_await(&waiter);
		object = waiter.ticket.object;
	}
	if (rc < 0)
		return NULL;
	store_fill(wf_object_writable(store, object), size, key);
	STORE_CHECK(wf_object_seal(store, object, pins, 0) == 0);
	return object;
}

static inline struct wf_object *store_put(struct wf_store *store, struct wf_store_local *local,
                                          uint64_t size, uint64_t key)
{
	return store_put_pinned(store, local, size, key, 0);
}

/* Pin it, waiting for it where it is in a file. */
static inline int store_pin(struct wf_store *store, struct wf_object *object)
{
	int rc = wf_object_pin(store, object, WF_OBJECT_PIN);

	if (rc == -EAGAIN) {
		struct waiter waiter;

		waiter_pin(store, &waiter, &object, 1, WF_OBJECT_PIN);
		rc = waiter_await(&waiter);
	}
	return rc;
}

/* Pin, compare, unpin. */
static inline int store_check(struct wf_store *store, struct wf_store_local *local,
                              struct wf_object *object, uint64_t size, uint64_t key)
{
	int rc = store_pin(store, object);

	if (rc < 0)
		return rc;
	STORE_CHECK(object->size == size);
	STORE_CHECK(store_has(wf_object_readable(store, object), size, key));
	STORE_CHECK(wf_object_unpin(store, local, object, WF_OBJECT_PIN) == 0);
	return 0;
}

static inline uint64_t store_state(const struct wf_object *object)
{
	return wf_object_word(object) & WF_OBJECT_STATE;
}

/* What is reserved is what a walk finds, exactly; nobody may be inside. */
static inline struct wf_store_stats store_recount(struct wf_store *store)
{
	struct wf_store_stats stats;

	wf_store_stats(store, true, &stats);
	if (stats.used != stats.creating + stats.pinned + stats.transit + stats.evictable) {
		fprintf(stderr,
		        "used %llu, creating %llu pinned %llu transit %llu evictable %llu\n",
		        (unsigned long long)stats.used, (unsigned long long)stats.creating,
		        (unsigned long long)stats.pinned, (unsigned long long)stats.transit,
		        (unsigned long long)stats.evictable);
		abort();
	}
	STORE_CHECK(stats.used <= stats.capacity);
	return stats;
}

#endif /* WEFT_TEST_STORE_H */
