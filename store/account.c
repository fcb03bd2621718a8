/*
 * account.c: how many bytes there are, and who has them.
 *
 * A reservation comes before every allocation. One counter, `used`, holds what is reserved; so that
 * threads which create and delete do not meet there, each local keeps a credit that it has reserved
 * and not used. The keeper takes credits back before it serves anybody (local.c). A store that is
 * below SMALL_BYTES has none: its figures are exact at every moment, and the counter is no
 * bottleneck where a few objects fill the store.
 *
 * The five classes (free, creating, pinned, in transit, evictable) are not counted: that would be
 * several shared additions per operation. They are found by a walk over the entries when somebody
 * asks, which is a question of a person or of a store that is full.
 *
 * The clock that stamps objects, `tick`, moves with the volume reserved, not with time: an object
 * unpinned a thousandth of the capacity ago is as old in a slow program as in a fast one.
 *
 * Shared: `used`, `volume`, `tick`: all threads, relaxed: numbers that publish nothing. `credit` of
 * a local: see local.c.
 *
 * Invariants: used = bytes of objects CREATING, SEALED, SPILLING, RESTORING + credits + what the
 * keeper has reserved and not begun (nothing, between its rounds). used <= capacity.
 *
 * Progress: lock-free.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "inner.h"

#define HOLDERS 5

uint64_t wf_account_bytes(const struct wf_store *store, uint64_t size)
{
	uint64_t bytes;

	if (size > store->capacity)
		return 0;
	bytes = (wf_mem_footprint(size) + WF_LINE_BYTES - 1) / WF_LINE_BYTES * WF_LINE_BYTES;
	WF_DEBUG(bytes >= size);
	if (bytes > store->capacity || bytes / WF_LINE_BYTES > UINT32_MAX)
		return 0;
	return bytes;
}

uint64_t wf_account_limit(const struct wf_store *store)
{
	/* relaxed: a policy, not a proof: the keeper knows better. */
	if (wf_load_relaxed(&store->spilled) == 0)
		return store->capacity;
	return store->capacity - store->reserve;
}

bool wf_account_reserve(struct wf_store *store, uint64_t bytes, uint64_t limit)
{
	/* relaxed: a number. */
	uint64_t used = wf_load_relaxed(&store->used);
	uint64_t volume;
	uint32_t tick;

	WF_CHECK(limit <= store->capacity);
	WF_DEBUG(bytes % WF_LINE_BYTES == 0);
	do {
		if (bytes > limit || used > limit - bytes)
			return false;
	} while (!wf_cas_relaxed(&store->used, &used, used + bytes));
	/* relaxed, both: numbers that move on. */
	volume = wf_add_relaxed(&store->volume, bytes) + bytes;
	tick = (uint32_t)(volume / store->tick_bytes);
	/* relaxed, both: of two that store at once the older may win, by one tick. */
	if (wf_load_relaxed(&store->tick) != tick)
		wf_store_relaxed(&store->tick, tick);
	return true;
}

void wf_account_unreserve(struct wf_store *store, uint64_t bytes)
{
	/* relaxed: a number. */
	uint64_t before = wf_add_relaxed(&store->used, -bytes);

	WF_CHECK(before >= bytes);
}

bool wf_account_take_slow(struct wf_store *store, struct wf_store_local *local, uint64_t bytes)
{
	uint64_t limit = wf_account_limit(store), extra = store->credit_bytes;
	/* relaxed: a number of this thread's. What it has is used, or it would grow. */
	uint64_t more = bytes - wf_load_relaxed(&local->credit);

	WF_CHECK(more <= bytes);
	/* relaxed, all: a hint: who waits gets the room first; a number of this thread's. */
	if ((wf_load_relaxed(&store->gate) & WF_GATE_WAITING) == 0 && extra > 0 &&
	    wf_account_reserve(store, more + extra, limit))
		wf_store_relaxed(&local->credit, extra);
	else if (wf_account_reserve(store, more, limit))
		wf_store_relaxed(&local->credit, 0);
	else
		return false;
	/* relaxed: a number. The keeper looks for itself after its own reservations. */
	if (wf_load_relaxed(&store->used) > store->high)
		wf_keeper_kick(store);
	return true;
}

void wf_account_give_slow(struct wf_store *store, struct wf_store_local *local)
{
	/* relaxed, both: numbers of this thread's, and a hint. */
	uint64_t credit = wf_load_relaxed(&local->credit), keep = store->credit_bytes;

	if ((wf_load_relaxed(&store->gate) & WF_GATE_WAITING) != 0)
		keep = 0;
	if (credit <= keep)
		return;
	/* relaxed: as above. */
	wf_store_relaxed(&local->credit, keep);
	wf_account_unreserve(store, credit - keep);
}

/* ---- Looking --------------------------------------------------------------------------------- */

/* The greatest that keep others out. */
struct holder {
	uint64_t bytes, index, word;
};

static void note_holder(struct holder holders[HOLDERS], uint64_t bytes, uint64_t index,
                        uint64_t word)
{
	uint32_t at = HOLDERS;

	while (at > 0 && holders[at - 1].bytes < bytes)
		at--;
	for (uint32_t i = HOLDERS; i-- > at + 1;)
		holders[i] = holders[i - 1];
	WF_DEBUG(index <= UINT32_MAX);
	if (at < HOLDERS)
		holders[at] = (struct holder){ bytes, index, word };
}

static void walk(struct wf_store *store, struct wf_store_stats *stats,
                 struct holder holders[HOLDERS])
{
	/* acquire [T2]: with the release [T1] in table.c. */
	uint64_t end = wf_load_acquire(&store->table.fresh);

	WF_CHECK(end <= store->table.max);
	for (uint64_t i = 0; i < end; i++) {
		const struct wf_object *object = &store->table.entries[i];
		/* relaxed: a snapshot of each, of no moment in common. */
		uint64_t word = wf_load_relaxed(&object->word);
		uint64_t bytes = wf_object_bytes(object);

		switch (word & WF_OBJECT_STATE) {
		case WF_OBJECT_FREE:
			continue;
		case WF_OBJECT_CREATING:
			stats->creating += bytes;
			note_holder(holders, bytes, i, word);
			break;
		case WF_OBJECT_SEALED:
			if (wf_word_is_held(word)) {
				stats->pinned += bytes;
				note_holder(holders, bytes, i, word);
			} else {
				stats->evictable += bytes;
			}
			break;
		case WF_OBJECT_SPILLING:
		case WF_OBJECT_RESTORING:
			stats->transit += bytes;
			break;
		case WF_OBJECT_SPILLED:
			stats->spilled += bytes;
			break;
		default:
			break;
		}
		stats->objects++;
	}
}

/* Reserved by objects: what is in a credit counts as free. */
static uint64_t used_by_objects(struct wf_store *store)
{
	uint64_t used, credits = 0;

	pthread_mutex_lock(&store->locals_lock);
	/* relaxed, all: numbers; exact when nobody is inside. */
	used = wf_load_relaxed(&store->used);
	for (struct wf_store_local *local = store->locals; local != NULL; local = local->next)
		credits += wf_load_relaxed(&local->credit);
	pthread_mutex_unlock(&store->locals_lock);
	return used > credits ? used - credits : 0;
}

void wf_account_classes(struct wf_store *store, struct wf_store_stats *stats)
{
	struct holder holders[HOLDERS] = { { 0 } };

	stats->creating = stats->pinned = stats->transit = stats->evictable = stats->spilled = 0;
	stats->objects = 0;
	stats->capacity = store->capacity;
	stats->used = used_by_objects(store);
	walk(store, stats, holders);
}

static size_t add_text(char *text, size_t size, size_t at, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static size_t add_text(char *text, size_t size, size_t at, const char *format, ...)
{
	va_list args;
	int more;

	WF_CHECK(at < size);
	va_start(args, format);
	more = vsnprintf(text + at, size - at, format, args);
	va_end(args);
	if (more < 0)
		return at;
	return at + (size_t)more < size ? at + (size_t)more : size - 1;
}

void wf_account_full(struct wf_store *store, uint64_t asked, const char *why,
                     struct wf_store_full *full)
{
	struct wf_store_stats stats = { 0 };
	struct holder holders[HOLDERS] = { { 0 } };
	const size_t size = sizeof(full->text);
	size_t at;

	WF_CHECK(full != NULL);
	stats.used = used_by_objects(store);
	walk(store, &stats, holders);
	*full = (struct wf_store_full){ .capacity = store->capacity,
		                        .free = store->capacity > stats.used
		                                ? store->capacity - stats.used
		                                : 0,
		                        .creating = stats.creating,
		                        .pinned = stats.pinned,
		                        .transit = stats.transit,
		                        .evictable = stats.evictable,
		                        .asked = asked };
	at = add_text(full->text, size, 0,
	              "store full: %" PRIu64 " bytes asked of %" PRIu64 ": free %" PRIu64
	              ", creating %" PRIu64 ", pinned %" PRIu64 ", in transit %" PRIu64
	              ", evictable %" PRIu64,
	              asked, full->capacity, full->free, full->creating, full->pinned,
	              full->transit, full->evictable);
	if (why != NULL)
		at = add_text(full->text, size, at, " (%s)", why);
	for (uint32_t i = 0; i < HOLDERS && holders[i].bytes > 0; i++) {
		uint64_t word = holders[i].word;

		at = add_text(full->text, size, at, "%s #%" PRIu64 " %" PRIu64,
		              i == 0 ? "; greatest holders:" : ",", holders[i].index,
		              holders[i].bytes);
		if ((word & WF_OBJECT_STATE) == WF_OBJECT_CREATING)
			at = add_text(full->text, size, at, " unsealed");
		else
			at = add_text(full->text, size, at, " pinned %" PRIu64 " times",
			              word / WF_OBJECT_PIN +
			                      (word & WF_OBJECT_VIEWS) / WF_OBJECT_VIEW);
	}
}
