/*
 * ticket.c: those who wait: for room to create, and for working sets to be in memory together.
 *
 * Two lines, each in the order of arrival. Creates are served strictly from the front. A working
 * set is active once each of its objects carries a pin of the ticket, whatever its state, so that
 * from then on nothing of it can go, be freed or be mistaken for a later object of its entry.
 * Waiting for memory while holding memory is what could lock sets against each other. So a set
 * becomes active either with the room for everything that it lacks reserved at once, after which
 * it waits for reads alone; or in part, and that is allowed to one set at a time, the oldest which
 * has not all its reads under way. A set of one object so never waits for another set's reads.
 *
 * Between the two lines the older has the right: a younger one takes room only beside what the
 * older lacks. That is a preference and not a lock: when nothing else helps it falls (enum
 * wf_serving), since the younger one may be what the older waits for.
 *
 * Shared: everything here under the store's `lock`, which callers hold for a moment and the keeper
 * for one round of serving. `done` is called without it. A ticket that is off the lines belongs to
 * who took it off: the canceller, or the keeper, who calls `done`.
 *
 * Invariants: a ticket is on a line <=> its phase is LINE or ACTIVE. Of the ACTIVE ones only
 * `partial` has reads that have not begun. ACTIVE: one pin of the ticket on each of its objects.
 *
 * Progress: blocking, on the lock.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inner.h"

#define ATTEMPTS 32u /* sets that are not at the front and looked at closely, per round */

enum phase {
	PHASE_LINE = 1,
	PHASE_ACTIVE, /* a working set whose objects are pinned */
	PHASE_DONE,
};

/* ---- Lines ----------------------------------------------------------------------------------- */

static bool is_create(const struct wf_store_ticket *ticket)
{
	return ticket->objects == NULL;
}

static void append(struct wf_store *store, struct wf_store_ticket *ticket)
{
	struct wf_store_ticket **first = is_create(ticket) ? &store->creates : &store->pins;
	struct wf_store_ticket **last =
		is_create(ticket) ? &store->creates_last : &store->pins_last;

	ticket->next = NULL;
	ticket->prev = *last;
	if (*last != NULL)
		(*last)->next = ticket;
	else
		*first = ticket;
	*last = ticket;
}

static void take_off(struct wf_store *store, struct wf_store_ticket *ticket)
{
	struct wf_store_ticket **first = is_create(ticket) ? &store->creates : &store->pins;
	struct wf_store_ticket **last =
		is_create(ticket) ? &store->creates_last : &store->pins_last;

	WF_CHECK(ticket->phase == PHASE_LINE || ticket->phase == PHASE_ACTIVE);
	if (ticket->prev != NULL)
		ticket->prev->next = ticket->next;
	else
		*first = ticket->next;
	if (ticket->next != NULL)
		ticket->next->prev = ticket->prev;
	else
		*last = ticket->prev;
	if (store->partial == ticket)
		store->partial = NULL;
	WF_CHECK((*first == NULL) == (*last == NULL));
	ticket->next = ticket->prev = NULL;
	ticket->phase = PHASE_DONE;
}

void wf_gate_set(struct wf_store *store)
{
	uint32_t gate = 0;

	if (store->creates != NULL || (store->partial != NULL && store->partial->need > 0))
		gate |= WF_GATE_CLOSED;
	if (store->creates != NULL || store->pins != NULL)
		gate |= WF_GATE_WAITING;
	if (store->sharers != NULL)
		gate |= WF_GATE_WAITING | WF_GATE_SHARING;
	if (store->mem_short > 0 && gate != 0)
		gate |= WF_GATE_SHORT;
	/* relaxed, both: a hint to those outside; written under the lock. */
	if (wf_load_relaxed(&store->gate) != gate)
		wf_store_relaxed(&store->gate, gate);
}

/* ---- Working sets ---------------------------------------------------------------------------- */

static uint32_t generation_of(const struct wf_store_ticket *ticket, uint32_t i)
{
	return ticket->generations != NULL ? ticket->generations[i] : ticket->generation;
}

/* Drop the pins on the first `count` objects. `local`: the keeper's, or NULL. */
static void unhold(struct wf_store *store, struct wf_store_local *local,
                   struct wf_store_ticket *ticket, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		wf_object_unhold(store, local, ticket->objects[i]);
}

/* Pin all. 0, or why not and which: then none is pinned. */
static int hold_all(struct wf_store *store, struct wf_store_ticket *ticket)
{
	WF_CHECK(ticket->phase == PHASE_LINE);
	WF_CHECK(ticket->started == 0 && ticket->count > 0);
	for (uint32_t i = 0; i < ticket->count; i++) {
		struct wf_object *object = ticket->objects[i];
		int rc = wf_object_hold(object);

		/*
		 * relaxed: the pin's acquire came before, so this is the generation of what was
		 * pinned: it cannot change under a pin.
		 */
		if (rc == 0 && wf_load_relaxed(&object->generation) != generation_of(ticket, i)) {
			wf_object_unhold(store, store->local, object);
			rc = -EINVAL;
		}
		if (rc < 0) {
			ticket->failed = i;
			unhold(store, store->local, ticket, i);
			return rc;
		}
	}
	return 0;
}

/* Bytes of it that are in files alone; what stands in it twice counts twice. */
static uint64_t lacking_bytes(const struct wf_store_ticket *ticket)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < ticket->count; i++) {
		const struct wf_object *object = ticket->objects[i];

		if ((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_SPILLED)
			sum += wf_object_bytes(object);
	}
	return sum;
}

/*
 * Begin reads from where it left off; `reserved`, when not NULL, is what they may take, otherwise
 * each reserves for itself below `limit`. True: all are under way.
 */
static bool begin_reads(struct wf_store *store, struct wf_store_ticket *ticket, uint64_t *reserved,
                        uint64_t limit)
{
	WF_CHECK(ticket->phase == PHASE_ACTIVE);
	for (; ticket->started < ticket->count; ticket->started++) {
		struct wf_object *object = ticket->objects[ticket->started];
		uint64_t bytes = wf_object_bytes(object);
		int rc;

		if ((wf_object_word(object) & WF_OBJECT_STATE) != WF_OBJECT_SPILLED)
			continue;
		if (reserved == NULL && !wf_account_reserve(store, bytes, limit))
			return false;
		if (reserved != NULL && *reserved < bytes)
			return false;
		rc = wf_restore_begin(store, object, bytes);
		if (rc == 0) {
			ticket->need -= ticket->need < bytes ? ticket->need : bytes;
			if (reserved != NULL)
				*reserved -= bytes;
			continue;
		}
		if (reserved == NULL)
			wf_account_unreserve(store, bytes);
		if (rc == -ENOMEM) {
			store->mem_short = bytes;
			return false;
		}
		/* Dead: found when it is looked at. */
	}
	WF_DEBUG(ticket->started == ticket->count);
	ticket->need = 0;
	return true;
}

/* 1: all are in memory; 0: not yet; else why they never will be. */
static int look(struct wf_store_ticket *ticket)
{
	WF_CHECK(ticket->phase == PHASE_ACTIVE);
	for (; ticket->present < ticket->count; ticket->present++) {
		uint64_t word = wf_object_word(ticket->objects[ticket->present]);

		if ((word & WF_OBJECT_STATE) == WF_OBJECT_LOST || (word & WF_OBJECT_DEAD) != 0) {
			ticket->failed = ticket->present;
			return (word & WF_OBJECT_DEAD) != 0 ? -EINVAL : -EIO;
		}
		if (!wf_word_is_resident(word))
			return 0;
	}
	return 1;
}

/* Views on all of them, or on none: our pins keep each what it is until all have theirs. */
static int view_all(struct wf_store *store, struct wf_store_ticket *ticket)
{
	uint32_t i = 0;
	int rc = 0;

	for (; i < ticket->count && rc == 0; i++)
		rc = wf_object_pin(store, ticket->objects[i], ticket->unit);
	if (rc < 0) {
		ticket->failed = --i;
		/* A deletion meanwhile has made the view void: then there is none to drop. */
		while (i-- > 0)
			(void)wf_object_unpin(store, store->local, ticket->objects[i],
			                      ticket->unit);
	}
	return rc;
}

/* All are in memory under our pins: make them what was asked for. */
static int convert(struct wf_store *store, struct wf_store_ticket *ticket)
{
	int rc = 0;

	/* Pins are what they are to be. */
	if (ticket->unit == WF_OBJECT_PIN)
		return 0;
	if (ticket->unit == WF_OBJECT_VIEW && ticket->count == 1) {
		rc = wf_object_unhold_as_view(ticket->objects[0]);
		if (rc == 0)
			return 0;
		ticket->failed = 0;
	} else if (ticket->unit != 0) {
		rc = view_all(store, ticket);
	}
	unhold(store, store->local, ticket, ticket->count);
	return rc;
}

static void finish_to(struct wf_store *store, struct wf_store_ticket *ticket, int status,
                      struct wf_served *served)
{
	if (ticket->phase == PHASE_ACTIVE) {
		if (status == 0)
			status = convert(store, ticket);
		else
			unhold(store, store->local, ticket, ticket->count);
	}
	take_off(store, ticket);
	ticket->status = status;
	if (served->finished_last != NULL)
		served->finished_last->next = ticket;
	else
		served->finished = ticket;
	served->finished_last = ticket;
}

/* Back to the line, holding nothing. */
static void deactivate(struct wf_store *store, struct wf_store_ticket *ticket)
{
	WF_CHECK(ticket->phase == PHASE_ACTIVE);
	unhold(store, store->local, ticket, ticket->count);
	ticket->phase = PHASE_LINE;
	ticket->started = ticket->present = 0;
	if (store->partial == ticket)
		store->partial = NULL;
}

/* All or nothing, within `limit`. 1 active, 0 no room, else why it never can be. */
static int activate_whole(struct wf_store *store, struct wf_store_ticket *ticket, uint64_t limit)
{
	uint64_t reserved = lacking_bytes(ticket);
	bool whole = false;
	int rc;

	WF_CHECK(ticket->phase == PHASE_LINE);
	if (reserved > 0 && !wf_account_reserve(store, reserved, limit))
		return 0;
	rc = hold_all(store, ticket);
	if (rc == 0) {
		ticket->phase = PHASE_ACTIVE;
		/* What was seen in memory before it was held may have left since. */
		ticket->present = 0;
		ticket->need = reserved;
		whole = begin_reads(store, ticket, &reserved, limit);
		if (!whole)
			deactivate(store, ticket);
	}
	WF_CHECK(!whole || rc == 0);
	if (reserved > 0)
		wf_account_unreserve(store, reserved);
	if (rc < 0)
		return rc;
	return whole ? 1 : 0;
}

static int activate_partly(struct wf_store *store, struct wf_store_ticket *ticket)
{
	int rc;

	WF_CHECK(store->partial == NULL);
	ticket->need = lacking_bytes(ticket);
	rc = hold_all(store, ticket);
	if (rc < 0)
		return rc;
	ticket->phase = PHASE_ACTIVE;
	ticket->present = 0;
	store->partial = ticket;
	return 1;
}

/* Whether its objects are all in memory, by one look at each over many rounds. */
static bool seems_present(struct wf_store_ticket *ticket)
{
	while (ticket->present < ticket->count) {
		uint64_t state = wf_object_word(ticket->objects[ticket->present]) & WF_OBJECT_STATE;

		if (state == WF_OBJECT_SPILLED || state == WF_OBJECT_RESTORING)
			return false;
		ticket->present++;
	}
	ticket->present = 0;
	return true;
}

/* ---- Serving --------------------------------------------------------------------------------- */

static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* The room below which this working set may reserve. */
static uint64_t limit_of(const struct wf_store *store, const struct wf_store_ticket *ticket,
                         enum wf_serving serving)
{
	uint64_t limit = store->capacity;

	if (serving != WF_SERVE_FAIR)
		return limit;
	if (store->creates != NULL && store->creates->serial < ticket->serial)
		limit = less(limit, wf_account_bytes(store, store->creates->size));
	if (store->partial != NULL && store->partial != ticket)
		limit = less(limit, store->partial->need);
	return limit;
}

/* May this one, of which all before it are under way, hold a part? */
static bool may_hold_partly(const struct wf_store *store)
{
	return store->partial == NULL &&
		(store->demoted_for == 0 || store->creates == NULL ||
	         store->creates->serial > store->demoted_for);
}

/* Whether a read of it ended for want of something passing: the object is where it was. */
static bool is_abandoned(const struct wf_store_ticket *ticket)
{
	const struct wf_object *object = ticket->objects[ticket->present];

	return (wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_SPILLED;
}

static int serve_set(struct wf_store *store, struct wf_store_ticket *ticket,
                     enum wf_serving serving, uint32_t *attempts)
{
	uint64_t limit = limit_of(store, ticket, serving);
	int rc = 1;

	WF_CHECK(!is_create(ticket));
	WF_CHECK(limit <= store->capacity);
	if (ticket->phase == PHASE_LINE) {
		if (!seems_present(ticket) && !may_hold_partly(store)) {
			if (*attempts == 0)
				return 0;
			--*attempts;
		}
		rc = activate_whole(store, ticket, limit);
		if (rc == 0 && may_hold_partly(store))
			rc = activate_partly(store, ticket);
		if (rc <= 0)
			return rc;
	}
	if (ticket->started < ticket->count && begin_reads(store, ticket, NULL, limit)) {
		WF_CHECK(store->partial == ticket || store->partial == NULL);
		if (store->partial == ticket)
			store->partial = NULL;
	}
	rc = look(ticket);
	if (rc == 0 && store->partial != ticket && is_abandoned(ticket))
		deactivate(store, ticket);
	return rc;
}

static void serve_sets(struct wf_store *store, enum wf_serving serving, struct wf_served *served)
{
	struct wf_store_ticket *next;
	uint32_t attempts = ATTEMPTS;

	WF_CHECK(store->partial == NULL || store->partial->phase == PHASE_ACTIVE);
	for (struct wf_store_ticket *ticket = store->pins; ticket != NULL; ticket = next) {
		int rc = serve_set(store, ticket, serving, &attempts);

		next = ticket->next;
		if (rc != 0) {
			finish_to(store, ticket, rc < 0 ? rc : 0, served);
			continue;
		}
		if (ticket->phase == PHASE_LINE || ticket->started < ticket->count)
			served->lacking = true;
	}
	if (store->partial != NULL)
		served->need += store->partial->need;
	else if (served->lacking && store->pins != NULL)
		served->need += lacking_bytes(store->pins);
}

static int serve_create(struct wf_store *store, struct wf_store_ticket *ticket,
                        enum wf_serving serving)
{
	uint64_t bytes = wf_account_bytes(store, ticket->size);
	uint64_t limit = wf_account_limit(store);
	int rc;

	/* On a full disk what it takes would stay, and nothing in the files be had any more. */
	if (serving == WF_SERVE_RESERVE && !wf_evict_is_broken(store))
		limit = store->capacity;
	WF_CHECK(bytes > 0);
	WF_CHECK(ticket->phase == PHASE_LINE);
	if (serving == WF_SERVE_FAIR && store->partial != NULL &&
	    store->partial->serial < ticket->serial)
		limit = less(limit, store->partial->need);
	if (!wf_account_reserve(store, bytes, limit))
		return -EAGAIN;
	rc = wf_create_reserved(store, store->local, ticket->size, bytes, &ticket->object);
	if (rc == 0) {
		store->mem_short = 0;
		wf_share_note_create(store, bytes);
		return 0;
	}
	wf_account_unreserve(store, bytes);
	if (rc == -EAGAIN)
		store->mem_short = bytes;
	return rc;
}

static void serve_creates(struct wf_store *store, enum wf_serving serving, struct wf_served *served)
{
	while (store->creates != NULL) {
		struct wf_store_ticket *ticket = store->creates;
		int rc = serve_create(store, ticket, serving);

		if (rc == -EAGAIN)
			break;
		finish_to(store, ticket, rc, served);
	}
	for (struct wf_store_ticket *ticket = store->creates; ticket != NULL;
	     ticket = ticket->next) {
		served->lacking = true;
		served->need += wf_account_bytes(store, ticket->size);
	}
}

/* A wish is only for memory that nobody else wants. Called with the lock held. */
static void serve_wishes(struct wf_store *store)
{
	while (store->wish_count > 0) {
		struct wf_object *object = store->wishes[--store->wish_count];
		uint64_t bytes;

		/* relaxed: of a stale one nothing worse comes than another's early return. */
		if (wf_load_relaxed(&object->generation) !=
		            store->wish_generations[store->wish_count] ||
		    (wf_object_word(object) & WF_OBJECT_STATE) != WF_OBJECT_SPILLED)
			continue;
		if (wf_object_hold(object) != 0)
			continue;
		/* Under the pin it stays what it is. */
		bytes = wf_object_bytes(object);
		if (wf_account_reserve(store, bytes, store->low) &&
		    wf_restore_begin(store, object, bytes) != 0)
			wf_account_unreserve(store, bytes);
		wf_object_unhold(store, store->local, object);
	}
}

/* What must go so that all that is waited for fits. */
static uint64_t excess(const struct wf_store *store, uint64_t need)
{
	uint64_t limit = store->creates != NULL ? wf_account_limit(store) : store->capacity;
	/* relaxed: a number. */
	uint64_t used = wf_load_relaxed(&store->used);

	return less(used + need, limit);
}

void wf_tickets_serve(struct wf_store *store, enum wf_serving serving, struct wf_served *served)
{
	uint64_t freed;

	memset(served, 0, sizeof(*served));
	pthread_mutex_lock(&store->lock);
	if (store->creates != NULL || store->pins != NULL) {
		/* Before anybody fails, all that threads have at hand. */
		served->inside = !wf_locals_collect(store, serving != WF_SERVE_FAIR, &freed);
		serve_sets(store, serving, served);
		serve_creates(store, serving, served);
	}
	if (served->lacking)
		served->need = excess(store, served->need);
	else
		store->mem_short = 0;
	if (served->lacking && served->need < store->mem_short)
		served->need = store->mem_short;
	if (!served->lacking)
		serve_wishes(store);
	wf_restores_send(store);
	WF_CHECK(!served->lacking || store->creates != NULL || store->pins != NULL);
	served->waiting = store->creates != NULL || store->pins != NULL;
	wf_gate_set(store);
	pthread_mutex_unlock(&store->lock);
}

void wf_tickets_finish(struct wf_store *store, struct wf_store_ticket *finished)
{
	(void)store;
	while (finished != NULL) {
		struct wf_store_ticket *ticket = finished;

		finished = ticket->next;
		ticket->next = NULL;
		WF_CHECK(ticket->phase == PHASE_DONE);
		wf_free(ticket->generations);
		ticket->generations = NULL;
		ticket->done(ticket);
	}
}

bool wf_tickets_demote(struct wf_store *store)
{
	bool demoted = false;

	pthread_mutex_lock(&store->lock);
	if (store->partial != NULL && store->creates != NULL &&
	    store->creates->serial < store->partial->serial) {
		store->demoted_for = store->creates->serial;
		deactivate(store, store->partial);
		wf_gate_set(store);
		demoted = true;
	}
	pthread_mutex_unlock(&store->lock);
	return demoted;
}

/* The oldest that lacks room. Called with the lock held. */
static struct wf_store_ticket *oldest_lacking(struct wf_store *store)
{
	struct wf_store_ticket *ticket = store->pins;

	while (ticket != NULL && ticket->phase == PHASE_ACTIVE && ticket->started == ticket->count)
		ticket = ticket->next;
	if (ticket == NULL || (store->creates != NULL && store->creates->serial < ticket->serial))
		return store->creates;
	return ticket;
}

/* Accounting has the room; it is the system that is out of memory. */
static bool is_out_of_memory(struct wf_store *store, const struct wf_store_ticket *ticket,
                             uint64_t asked)
{
	struct wf_mem_stats mem;

	/* A read's failure, which may be long ago, is no reason for a create. */
	if (!is_create(ticket) && wf_restores_fail(store))
		return true;
	if (store->mem_short == 0)
		return false;
	wf_mem_stats(store->mem, &mem);
	/* Little committed alone proves nothing: pieces in the way make addresses short as well. */
	return mem.refused && mem.committed_bytes + asked + WF_MEM_CHUNK_BYTES <= mem.limit_bytes;
}

void wf_tickets_fail_oldest(struct wf_store *store, uint64_t newest, const char *why)
{
	struct wf_served served = { 0 };
	struct wf_store_ticket *ticket;
	uint64_t asked = 0;

	pthread_mutex_lock(&store->lock);
	ticket = oldest_lacking(store);
	if (ticket != NULL && ticket->serial > newest)
		ticket = NULL;
	if (ticket != NULL) {
		for (uint32_t i = 0; !is_create(ticket) && i < ticket->count; i++)
			asked += wf_object_bytes(ticket->objects[i]);
		if (is_create(ticket))
			asked = wf_account_bytes(store, ticket->size);
		finish_to(store, ticket, -ENOSPC, &served);
		wf_gate_set(store);
	}
	pthread_mutex_unlock(&store->lock);
	if (ticket == NULL)
		return;
	/* relaxed: a statistic. */
	wf_add_relaxed(&store->fulls, 1);
	if (is_out_of_memory(store, ticket, asked))
		ticket->status = -ENOMEM;
	else if (ticket->full != NULL)
		wf_account_full(store, asked, why, ticket->full);
	wf_tickets_finish(store, served.finished);
}

/* ---- The calls ------------------------------------------------------------------------------- */

static int compare_pointers(const void *a, const void *b)
{
	const struct wf_object *const *x = a, *const *y = b;

	return (*x > *y) - (*x < *y);
}

/* Whether they can ever be in memory together: each counted once. 0, -EMSGSIZE, -ENOMEM. */
static int check_total(const struct wf_store *store, const struct wf_store_ticket *ticket)
{
	const struct wf_object **sorted;
	uint64_t sum = 0;

	WF_CHECK(ticket->count > 0);
	for (uint32_t i = 0; i < ticket->count; i++)
		sum += wf_object_bytes(ticket->objects[i]);
	if (sum <= store->capacity)
		return 0;
	sorted = wf_malloc(ticket->count * sizeof(sorted[0]));
	if (sorted == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < ticket->count; i++)
		sorted[i] = ticket->objects[i];
	qsort(sorted, ticket->count, sizeof(sorted[0]), compare_pointers);
	sum = 0;
	for (uint32_t i = 0; i < ticket->count; i++) {
		if (i == 0 || sorted[i] != sorted[i - 1])
			sum += wf_object_bytes(sorted[i]);
	}
	wf_free(sorted);
	return sum <= store->capacity ? 0 : -EMSGSIZE;
}

/* Without waiting: 0 pinned all; -EAGAIN one is in a file; else why it never can be. */
static int pin_present(struct wf_store *store, struct wf_store_ticket *ticket)
{
	uint64_t unit = ticket->unit != 0 ? ticket->unit : WF_OBJECT_PIN;
	uint32_t pinned = 0;
	int rc = 0;

	WF_DEBUG(unit == WF_OBJECT_PIN || unit == WF_OBJECT_VIEW);
	while (pinned < ticket->count) {
		rc = wf_object_pin(store, ticket->objects[pinned], unit);
		if (rc < 0) {
			ticket->failed = pinned;
			break;
		}
		pinned++;
	}
	if (rc == 0 && ticket->unit != 0)
		return 0;
	while (pinned-- > 0)
		WF_CHECK(wf_object_unpin(store, NULL, ticket->objects[pinned], unit) == 0);
	return rc;
}

static int note_generations(struct wf_store_ticket *ticket)
{
	uint32_t *all = NULL;

	if (ticket->count > 1) {
		all = wf_malloc(ticket->count * sizeof(all[0]));
		if (all == NULL)
			return -ENOMEM;
	}
	for (uint32_t i = 0; i < ticket->count; i++) {
		/* relaxed: constant while the caller has the object. */
		uint32_t generation = wf_load_relaxed(&ticket->objects[i]->generation);

		if (all != NULL)
			all[i] = generation;
		else
			ticket->generation = generation;
	}
	ticket->generations = all;
	return 0;
}

/* 1: it has to wait. */
static int prepare_set(struct wf_store *store, struct wf_store_ticket *ticket)
{
	int rc;

	if (ticket->unit != 0 && ticket->unit != WF_OBJECT_PIN && ticket->unit != WF_OBJECT_VIEW)
		return -EINVAL;
	rc = pin_present(store, ticket);
	if (rc != -EAGAIN)
		return rc;
	ticket->failed = 0;
	rc = check_total(store, ticket);
	if (rc == 0)
		rc = note_generations(ticket);
	return rc < 0 ? rc : 1;
}

void wf_store_wait(struct wf_store *store, struct wf_store_ticket *ticket)
{
	int rc = 1;

	WF_CHECK(ticket->done != NULL);
	WF_CHECK(ticket->count == 0 || ticket->objects != NULL);
	ticket->object = NULL;
	ticket->generations = NULL;
	ticket->failed = ticket->started = ticket->present = 0;
	ticket->need = 0;
	if (!is_create(ticket))
		rc = prepare_set(store, ticket);
	else if (wf_account_bytes(store, ticket->size) == 0)
		rc = -EMSGSIZE;
	if (rc > 0 && wf_keeper_start(store) != 0)
		rc = -ENOMEM;
	if (rc <= 0) {
		ticket->status = rc;
		ticket->phase = PHASE_DONE;
		wf_tickets_finish(store, ticket);
		return;
	}
	/* relaxed: a statistic. */
	wf_add_relaxed(&store->waits, 1);
	pthread_mutex_lock(&store->lock);
	WF_CHECK(wf_load_relaxed(&store->stop) == 0); /* relaxed: a net for misuse */
	ticket->serial = ++store->serial;
	ticket->phase = PHASE_LINE;
	append(store, ticket);
	wf_gate_set(store);
	pthread_mutex_unlock(&store->lock);
	wf_keeper_ring(store);
}

bool wf_store_cancel(struct wf_store *store, struct wf_store_ticket *ticket)
{
	uint32_t phase;

	pthread_mutex_lock(&store->lock);
	phase = ticket->phase;
	if (phase != PHASE_DONE) {
		take_off(store, ticket);
		wf_gate_set(store);
	}
	pthread_mutex_unlock(&store->lock);
	WF_CHECK(phase >= PHASE_LINE && phase <= PHASE_DONE);
	if (phase == PHASE_DONE)
		return false;
	if (phase == PHASE_ACTIVE)
		unhold(store, NULL, ticket, ticket->count);
	wf_free(ticket->generations);
	ticket->generations = NULL;
	wf_keeper_ring(store);
	return true;
}

void wf_store_prefetch(struct wf_store *store, struct wf_object *object)
{
	const uint32_t max = sizeof(store->wishes) / sizeof(store->wishes[0]);
	uint32_t generation;

	if ((wf_object_word(object) & WF_OBJECT_STATE) != WF_OBJECT_SPILLED)
		return;
	/* relaxed: constant while the caller has the object. */
	generation = wf_load_relaxed(&object->generation);
	if (wf_keeper_start(store) != 0)
		return;
	pthread_mutex_lock(&store->lock);
	WF_CHECK(store->wish_count <= max);
	if (store->wish_count < max) {
		store->wishes[store->wish_count] = object;
		store->wish_generations[store->wish_count++] = generation;
	}
	pthread_mutex_unlock(&store->lock);
	wf_keeper_ring(store);
}
