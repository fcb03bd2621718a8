/*
 * evict.c: making room. Keeper only, but for the call that the files make when a batch is written.
 *
 * Whom: the objects unpinned longest ago first, of equally old ones the largest. The entries are in
 * no order, and a store of millions of small objects cannot sort them each time it is full: a first
 * walk adds up the evictable bytes by age and size class, which tells down to which class it must
 * go; a second walk claims what lies above that line until enough is claimed, and leaves out the
 * blocks of entries in which the first has met nothing of the kind. Ages are measured in
 * ticks, a thousandth of the capacity each, so a class is a few thousandths wide; within one, the
 * order is that of the entries.
 *
 * The first walk reads all entries, most of which are of objects in files when much is spilled. So
 * what it has added up serves until nearly all of it is claimed. What changes meanwhile is younger
 * than all that it has seen, or gone, which is found when a line claims less than it should: then,
 * and when there are copies, something was restored or a write has failed, the entries are added up
 * anew. A copy that was held during the walk and is let go later waits for the next one.
 *
 * How: copies of what a file has already go first and cost nothing: when they are enough, nothing
 * is written. The rest is written in batches of at least BATCH_BYTES while there is more, with a
 * bound on the bytes in flight. A plan is made once for all that is wanted and followed while
 * batches come back, so that a great need does not walk the entries for every batch.
 *
 * When writing fails the objects are as before, and the next attempt waits: from 1 ms doubling to
 * 1 s. A full disk or the third failure in a row is believed: until a write succeeds, or on a full
 * disk something is deleted, objects that have no copy are no help to those who wait.
 *
 * Invariants: every object that is SPILLING is in exactly one batch in flight. flying_bytes = bytes
 * of those. Memory goes only after the item's status was 0.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "inner.h"

#define BATCH_BYTES  ((uint64_t)16 << 20)
#define BATCH_ITEMS  16384u /* of 1 KiB: a batch's bytes */
#define BATCHES      4u
#define SPARE_ITEMS  32u
#define FLYING_MAX   (BATCHES * BATCH_BYTES)
#define AGES         512u
#define AGE_SHIFT    2 /* ticks in an age: 4 */
#define SIZES        16u
#define KEYS         (AGES * SIZES)
#define BLOCK        1024u /* entries: 64 KiB of them are left out at once */
#define RETRY_NS     1000000
#define RETRY_MAX_NS 1000000000
#define BELIEVED     3u /* failures in a row */
#define LAZY_NS      10000000
#define AHEAD        8u /* entries of a batch asked for before it is their turn */

struct batch {
	struct wf_back back;
	struct wf_spill_batch spill;
	struct wf_store *store;
	struct batch *next;
	uint64_t bytes;
	uint32_t max;
	struct wf_spill_item items[];
};

/* The line that a walk draws: everything above `key`, and of `key` itself `quota` bytes. */
struct line {
	uint32_t key;
	uint64_t quota;
	uint64_t left; /* bytes still to be claimed in all */
};

struct wf_evict {
	uint64_t sums[2][KEYS]; /* evictable bytes: 0 without, 1 with a copy; greater key: first */
	uint64_t totals[2];
	uint16_t *tops[2]; /* of each block the greatest key that was met, plus 1; 0: none */
	bool counted;      /* the sums are true but for what has changed since */
	uint64_t restored; /* restores up to then */
	uint64_t end;      /* of the entries then */
	uint32_t now;      /* the tick then */
	bool planned;
	bool follows; /* the plan is made from sums that have served another */
	struct line line;
	uint64_t cursor;
	uint32_t top; /* of the block before the cursor: what the plan has left there, as in tops */

	struct batch *idle;
	struct batch *spare; /* of SPARE_ITEMS: made at open */
	uint32_t made;
	uint64_t flying_bytes, flying_max, batch_bytes;

	uint32_t failures; /* in a row */
	int failure;       /* since it was last asked for */
	int last_failure;
	uint64_t forgotten; /* the store's count when something was last given to be written */
	int64_t retry_ns, pause_ns;
	int64_t eager_ns, lazy_ns; /* no walk before, after one that found nothing */
	int64_t again_ns;          /* of the last WF_EVICT_LATER */
	char hindrance[96];
};

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* ---- Batches --------------------------------------------------------------------------------- */

static struct batch *make_batch(struct wf_store *store, uint32_t items)
{
	struct batch *batch = wf_malloc(sizeof(*batch) + items * sizeof(batch->items[0]));

	if (batch == NULL)
		return NULL;
	memset(batch, 0, sizeof(*batch));
	batch->store = store;
	batch->max = items;
	return batch;
}

static struct batch *take_batch(struct wf_store *store)
{
	struct wf_evict *evict = store->evict;
	struct batch *batch = evict->idle;

	WF_CHECK(evict->made <= BATCHES);
	if (batch != NULL) {
		WF_CHECK(batch->spill.count == 0 && batch->bytes == 0);
		evict->idle = batch->next;
		return batch;
	}
	if (evict->made < BATCHES) {
		batch = make_batch(store, BATCH_ITEMS);
		if (batch != NULL) {
			evict->made++;
			return batch;
		}
	}
	batch = evict->spare;
	evict->spare = NULL;
	return batch;
}

static void put_batch(struct wf_evict *evict, struct batch *batch)
{
	batch->bytes = 0;
	batch->spill.count = 0;
	if (batch->max == SPARE_ITEMS) {
		evict->spare = batch;
		return;
	}
	batch->next = evict->idle;
	evict->idle = batch;
}

int wf_evict_open(struct wf_store *store)
{
	struct wf_evict *evict = wf_calloc(1, sizeof(*evict));
	const uint64_t blocks = store->table.max / BLOCK + 1;

	if (evict == NULL)
		return -ENOMEM;
	store->evict = evict;
	evict->tops[0] = wf_malloc(2 * blocks * sizeof(evict->tops[0][0]));
	if (evict->tops[0] == NULL)
		return -ENOMEM;
	evict->tops[1] = evict->tops[0] + blocks;
	evict->spare = make_batch(store, SPARE_ITEMS);
	evict->flying_max = least(store->capacity / 4, FLYING_MAX);
	evict->batch_bytes = least(store->capacity / 16, BATCH_BYTES);
	return evict->spare != NULL ? 0 : -ENOMEM;
}

void wf_evict_close(struct wf_store *store)
{
	struct wf_evict *evict = store->evict;

	if (evict == NULL)
		return;
	WF_CHECK(evict->flying_bytes == 0);
	while (evict->idle != NULL) {
		struct batch *batch = evict->idle;

		evict->idle = batch->next;
		wf_free(batch);
	}
	wf_free(evict->spare);
	wf_free(evict->tops[0]);
	wf_free(evict);
	store->evict = NULL;
}

uint64_t wf_evict_flying_bytes(const struct wf_store *store)
{
	return store->evict->flying_bytes;
}

/* ---- How it ended ---------------------------------------------------------------------------- */

static void note_failure(struct wf_store *store, int status)
{
	struct wf_evict *evict = store->evict;

	/* Once until it has worked again. */
	if (evict->pause_ns == 0)
		wf_store_log(store, WF_STORE_LOG_WARN, "spilling failed: %s", strerror(-status));
	evict->counted = false;
	evict->failures++;
	evict->failure = evict->last_failure = status;
	evict->pause_ns = evict->pause_ns == 0 ? RETRY_NS : 2 * evict->pause_ns;
	if (evict->pause_ns > RETRY_MAX_NS)
		evict->pause_ns = RETRY_MAX_NS;
	evict->retry_ns = wf_clock_now(NULL) + evict->pause_ns;
}

/* The disk was full; what has been deleted since may be what was missing. */
static void take_heart(struct wf_store *store)
{
	struct wf_evict *evict = store->evict;

	if (evict->failures == 0 || evict->last_failure != -ENOSPC)
		return;
	/* relaxed: a number; the room itself is found under the lock of the files. */
	if (wf_load_relaxed(&store->forgotten) == evict->forgotten)
		return;
	evict->failures = 0;
	evict->retry_ns = evict->eager_ns = evict->lazy_ns = 0;
}

static bool is_believed(const struct wf_evict *evict)
{
	return evict->failures >= BELIEVED ||
		(evict->failures > 0 && evict->last_failure == -ENOSPC);
}

bool wf_evict_is_broken(const struct wf_store *store)
{
	return is_believed(store->evict);
}

int wf_evict_take_failure(struct wf_store *store)
{
	int failure = store->evict->failure;

	store->evict->failure = 0;
	return failure;
}

const char *wf_evict_hindrance(const struct wf_store *store)
{
	struct wf_evict *evict = store->evict;

	if (store->options.spill_dir_count == 0)
		return "nothing is spilled: no spill directory";
	if (evict->failures == 0)
		return NULL;
	snprintf(evict->hindrance, sizeof(evict->hindrance), "spilling fails: %s",
	         strerror(-evict->last_failure));
	return evict->hindrance;
}

int64_t wf_evict_again_ns(const struct wf_store *store)
{
	return store->evict->again_ns;
}

/* The end of a transit that took `object` out of memory, or tried to. True: bytes were freed. */
static bool end_transit(struct wf_store *store, struct wf_object *object, bool has_place)
{
	/* Before the move: after it another may have it. */
	uint64_t offset = object->offset, size = object->size, bytes = wf_object_bytes(object);

	WF_CHECK(bytes >= size);
	WF_DEBUG((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_SPILLING);
	switch (wf_object_end_spill(object, has_place)) {
	case WF_NEXT_RELEASE:
		wf_object_release(store, store->local, object,
		                  WF_OBJECT_SEALED | (has_place ? WF_OBJECT_COPY : 0));
		return true;
	case WF_NEXT_EVICT:
		/*
		 * relaxed: a policy's number; between the move and here a deletion may take it
		 * below zero for a moment, which reads as "something is spilled".
		 */
		wf_add_relaxed(&store->spilled, 1);
		wf_mem_free(store->mem, store->local->cache, offset, size);
		wf_account_unreserve(store, bytes);
		return true;
	default:
		/* Held again: a copy that was not there when the sums were made. */
		store->evict->counted = false;
		return false;
	}
}

/*
 * Whether records of what is in memory may be given up: for a creation that waits, or when all is
 * to go. What was read into the room for restores can leave it only by its record.
 */
static bool may_reclaim(struct wf_store *store)
{
	bool waits;

	pthread_mutex_lock(&store->lock);
	/* relaxed: written by this thread. */
	waits = store->creates != NULL || store->all_asked != wf_load_relaxed(&store->all_done);
	pthread_mutex_unlock(&store->lock);
	/* relaxed: a number, and only the keeper fills that room. */
	return waits && wf_load_relaxed(&store->used) <= store->capacity - store->reserve;
}

/*
 * The disk is full: records of objects that are in memory and stay there are of no use now. A pin
 * keeps the entry what it is while its record is given back.
 */
static bool reclaim_copies(struct wf_store *store)
{
	/* acquire [T2]: with the release [T1] in table.c. */
	uint64_t end = wf_load_acquire(&store->table.fresh);
	bool any = false;

	WF_CHECK(store->options.spill_dir_count > 0);
	for (uint64_t i = 0; i < end; i++) {
		struct wf_object *object = &store->table.entries[i];

		if ((wf_object_word(object) & WF_OBJECT_COPY) == 0 || wf_object_hold(object) != 0)
			continue;
		if (wf_object_drop_copy(object)) {
			wf_object_forget(store, object);
			any = true;
		}
		wf_object_unhold(store, store->local, object);
	}
	return any;
}

static void finish(struct wf_store *store, struct wf_back *back)
{
	struct batch *batch = wf_container_of(back, struct batch, back);
	struct wf_evict *evict = store->evict;
	uint64_t written = 0, count = 0;
	int status = 0;

	WF_CHECK(batch->store == store && batch->spill.count > 0);
	WF_CHECK(batch->spill.count <= batch->max);
	for (uint32_t i = 0; i < batch->spill.count; i++) {
		const struct wf_spill_item *item = &batch->items[i];

		written += item->status == 0 ? item->size : 0;
		count += item->status == 0;
	}
	/* relaxed, both: statistics; before anybody can have the room. */
	wf_add_relaxed(&store->spilled_bytes, written);
	wf_add_relaxed(&store->spills, count);
	for (uint32_t i = 0; i < batch->spill.count; i++) {
		struct wf_spill_item *item = &batch->items[i];
		struct wf_object *object = item->arg;

		if (i + AHEAD < batch->spill.count)
			__builtin_prefetch(batch->items[i + AHEAD].arg, 1);
		if (item->status == 0) {
			WF_CHECK(item->place.segment != 0);
			memcpy(object->place, &item->place, sizeof(object->place));
		} else {
			status = item->status;
		}
		end_transit(store, object, item->status == 0);
	}
	WF_CHECK(evict->flying_bytes >= batch->bytes);
	evict->flying_bytes -= batch->bytes;
	put_batch(evict, batch);
	if (status == 0) {
		evict->failures = 0;
		evict->retry_ns = evict->pause_ns = 0;
		return;
	}
	note_failure(store, status);
	evict->planned = false;
	if (status == -ENOSPC && may_reclaim(store) && reclaim_copies(store))
		evict->failures = 0;
}

/* On a thread of the files. */
static void write_done(struct wf_spill_batch *spill)
{
	struct batch *batch = wf_container_of(spill, struct batch, spill);

	wf_keeper_back(batch->store, &batch->back);
}

/* ---- Planning -------------------------------------------------------------------------------- */

/* Where an evictable object stands in the order; greater goes first. */
static uint32_t key_of(const struct wf_object *object, uint32_t now)
{
	/* relaxed, both: of an object that is not claimed: a hint. */
	int32_t age = (int32_t)(now - wf_load_relaxed(&object->stamp));
	uint32_t lines = wf_load_relaxed(&object->lines);
	uint32_t size = (31u - (uint32_t)__builtin_clz(lines | 1)) / 2;

	age = age < 0 ? 0 : age >> AGE_SHIFT;
	if (age >= (int32_t)AGES)
		age = AGES - 1;
	WF_DEBUG(size < SIZES);
	return (uint32_t)age * SIZES + size;
}

static void add_up_block(struct wf_store *store, uint64_t from, uint64_t end)
{
	struct wf_evict *evict = store->evict;
	uint32_t tops[2] = { 0, 0 };

	WF_CHECK(from % BLOCK == 0 && from < end);
	WF_DEBUG(end <= store->table.max && end - from <= BLOCK);
	for (uint64_t i = from; i < end; i++) {
		const struct wf_object *object = &store->table.entries[i];
		/* relaxed: what is claimed is looked at again. */
		uint64_t word = wf_load_relaxed(&object->word), bytes;
		int copy = (word & WF_OBJECT_COPY) != 0;
		uint32_t key;

		if (!wf_word_is_evictable(word))
			continue;
		key = key_of(object, evict->now);
		bytes = wf_object_bytes(object);
		WF_DEBUG(key < KEYS);
		evict->sums[copy][key] += bytes;
		evict->totals[copy] += bytes;
		tops[copy] = tops[copy] > key ? tops[copy] : key + 1;
	}
	for (int copy = 0; copy < 2; copy++)
		evict->tops[copy][from / BLOCK] = (uint16_t)tops[copy];
}

static void add_up(struct wf_store *store)
{
	struct wf_evict *evict = store->evict;

	_Static_assert(KEYS < UINT16_MAX, "a key and 1 fit");
	memset(evict->sums, 0, sizeof(evict->sums));
	memset(evict->totals, 0, sizeof(evict->totals));
	evict->now = wf_store_now(store);
	evict->counted = true;
	/* relaxed: written by this thread. */
	evict->restored = wf_load_relaxed(&store->restores_done);
	/* acquire [T2]: with the release [T1] in table.c. */
	evict->end = wf_load_acquire(&store->table.fresh);
	WF_CHECK(evict->end <= store->table.max);
	for (uint64_t i = 0; i < evict->end; i += BLOCK)
		add_up_block(store, i, least(i + BLOCK, evict->end));
}

/* From `at` on, the first entry that is not in a block where nothing is at `key` or above. */
static uint64_t pass_over(const struct wf_evict *evict, int copy, uint32_t key, uint64_t at)
{
	while (at < evict->end && at % BLOCK == 0 && evict->tops[copy][at / BLOCK] <= key)
		at += BLOCK;
	return least(at, evict->end);
}

static struct line draw_line(const uint64_t sums[KEYS], uint64_t want)
{
	struct line line = { .key = 0, .quota = UINT64_MAX, .left = want };
	uint64_t above = 0;

	for (uint32_t key = KEYS; key-- > 0;) {
		if (sums[key] >= want - above) {
			line.key = key;
			line.quota = want - above;
			break;
		}
		above += sums[key];
	}
	WF_DEBUG(above <= want);
	return line;
}

/* Whether the walk takes this one; counts it. */
static bool is_above(struct line *line, uint32_t key, uint64_t bytes)
{
	if (key < line->key || line->left == 0)
		return false;
	if (key == line->key) {
		if (line->quota == 0)
			return false;
		line->quota -= least(line->quota, bytes);
	}
	line->left -= least(line->left, bytes);
	return true;
}

/* True: bytes were freed. */
static bool drop_copies(struct wf_store *store, uint64_t want)
{
	struct wf_evict *evict = store->evict;
	struct line line = draw_line(evict->sums[1], want);
	bool freed = false;

	WF_CHECK(want > 0 && evict->totals[1] > 0);
	for (uint64_t i = 0; line.left > 0; i++) {
		struct wf_object *object;
		uint64_t word;

		i = pass_over(evict, 1, line.key, i);
		if (i == evict->end)
			break;
		object = &store->table.entries[i];
		/* relaxed: the claim looks again. */
		word = wf_load_relaxed(&object->word);
		if (!wf_word_is_evictable(word) || (word & WF_OBJECT_COPY) == 0)
			continue;
		if (!is_above(&line, key_of(object, evict->now), wf_object_bytes(object)))
			continue;
		if (!wf_object_begin_spill(object, true))
			continue;
		freed = end_transit(store, object, true) || freed;
		/* relaxed: a statistic. */
		wf_add_relaxed(&store->evicted_copies, 1);
	}
	return freed;
}

/* ---- Writing --------------------------------------------------------------------------------- */

static void add_item(struct wf_store *store, struct batch *batch, struct wf_object *object)
{
	struct wf_spill_item *item = &batch->items[batch->spill.count++];
	uint64_t bytes = wf_object_bytes(object);

	WF_CHECK(batch->spill.count <= batch->max);
	WF_DEBUG((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_SPILLING);
	*item = (struct wf_spill_item){ .data = store->writable + object->offset };
	/* Runs are whole pages; behind a slab's slot lies somebody else's. */
	item->padded = object->size > WF_MEM_SLAB_MAX;
	item->size = object->size;
	item->id = wf_object_id(store, object);
	item->arg = object;
	/* relaxed: the keeper's while SPILLING. */
	item->generation = wf_load_relaxed(&object->generation);
	batch->bytes += bytes;
}

/* Claim the object for the batch, if the plan takes it. */
static void visit(struct wf_store *store, struct batch *batch, struct wf_object *object)
{
	struct wf_evict *evict = store->evict;
	/* relaxed: the claim looks again. */
	uint64_t word = wf_load_relaxed(&object->word), bytes;
	uint32_t key;

	WF_DEBUG(evict->planned && evict->line.left > 0);
	WF_DEBUG(object < &store->table.entries[evict->end]);
	if (!wf_word_is_evictable(word) || (word & WF_OBJECT_COPY) != 0)
		return;
	key = key_of(object, evict->now);
	bytes = wf_object_bytes(object);
	WF_DEBUG(key < KEYS);
	if (!is_above(&evict->line, key, bytes)) {
		evict->top = evict->top > key ? evict->top : key + 1;
		return;
	}
	if (!wf_object_begin_spill(object, false))
		return;
	add_item(store, batch, object);
	evict->sums[0][key] -= least(evict->sums[0][key], bytes);
	evict->totals[0] -= least(evict->totals[0], bytes);
}

/* Follow the plan until the batch is full or the plan is at its end. */
static void fill_batch(struct wf_store *store, struct batch *batch)
{
	struct wf_evict *evict = store->evict;

	while (evict->line.left > 0 && batch->spill.count < batch->max &&
	       batch->bytes < evict->batch_bytes) {
		evict->cursor = pass_over(evict, 0, evict->line.key, evict->cursor);
		if (evict->cursor == evict->end)
			break;
		if (evict->cursor % BLOCK == 0)
			evict->top = 0;
		visit(store, batch, &store->table.entries[evict->cursor++]);
		if (evict->cursor % BLOCK == 0 || evict->cursor == evict->end)
			evict->tops[0][(evict->cursor - 1) / BLOCK] = (uint16_t)evict->top;
	}
	WF_CHECK(evict->cursor <= evict->end);
	WF_DEBUG(evict->top <= KEYS);
	if (evict->cursor == evict->end || evict->line.left == 0)
		evict->planned = false;
	/* Less was there than the sums say. */
	if (evict->line.left > 0 && evict->cursor == evict->end)
		evict->counted = false;
}

static void write_some(struct wf_store *store)
{
	struct wf_evict *evict = store->evict;

	while (evict->planned && evict->flying_bytes < evict->flying_max) {
		struct batch *batch = take_batch(store);

		if (batch == NULL)
			return;
		fill_batch(store, batch);
		if (batch->spill.count == 0) {
			put_batch(evict, batch);
			continue;
		}
		WF_CHECK(batch->bytes > 0);
		evict->flying_bytes += batch->bytes;
		batch->back.finish = finish;
		batch->spill.items = batch->items;
		batch->spill.done = write_done;
		/* relaxed: as in take_heart(). */
		evict->forgotten = wf_load_relaxed(&store->forgotten);
		wf_spill_write(wf_store_spill_opened(store), &batch->spill);
	}
}

/* Whether something can be written now; opens the files at the first call. */
static bool can_write(struct wf_store *store)
{
	struct wf_evict *evict = store->evict;
	int rc;

	if (store->options.spill_dir_count == 0)
		return false;
	if (evict->retry_ns != 0 && wf_clock_now(NULL) < evict->retry_ns)
		return false;
	rc = wf_store_spill(store);
	WF_CHECK((rc == 0) == (wf_store_spill_opened(store) != NULL));
	if (rc == 0)
		return true;
	note_failure(store, rc);
	evict->failures = BELIEVED;
	return false;
}

/*
 * Whether the sums can serve once more: without copies, of which there may be others now, and above
 * those of the youngest, among which what came later is met.
 */
static bool can_follow(const struct wf_store *store, uint64_t want)
{
	const struct wf_evict *evict = store->evict;

	WF_DEBUG(want > 0);
	WF_DEBUG(!evict->planned);
	if (!evict->counted || evict->totals[1] > 0)
		return false;
	/* relaxed: written by this thread. */
	if (wf_load_relaxed(&store->restores_done) != evict->restored)
		return false;
	/* At 0 also when they are less than that. */
	return draw_line(evict->sums[0], want).key >= SIZES;
}

/* A new plan. True: bytes were freed at once. */
static bool plan(struct wf_store *store, uint64_t want)
{
	struct wf_evict *evict = store->evict;
	bool freed = false;

	WF_CHECK(!evict->planned && want > 0);
	evict->follows = can_follow(store, want);
	if (!evict->follows)
		add_up(store);
	if (evict->totals[1] > 0)
		freed = drop_copies(store, want);
	if (evict->totals[1] >= want || evict->totals[0] == 0 || !can_write(store))
		return freed;
	evict->line = draw_line(evict->sums[0], want - evict->totals[1]);
	evict->cursor = 0;
	evict->planned = true;
	return freed;
}

static enum wf_evict_answer found_nothing(struct wf_store *store, int64_t began)
{
	struct wf_evict *evict = store->evict;
	int64_t now = wf_clock_now(NULL);
	int64_t pause = 4 * (now - began);

	evict->eager_ns = now + pause;
	evict->lazy_ns = now + (pause > LAZY_NS ? pause : LAZY_NS);
	/* The walk has seen some: held again since then, or written when the disk has recovered. */
	if (evict->totals[1] > 0 ||
	    (evict->totals[0] > 0 && store->options.spill_dir_count > 0 && !is_believed(evict))) {
		evict->again_ns =
			evict->retry_ns > evict->eager_ns ? evict->retry_ns : evict->eager_ns;
		return WF_EVICT_LATER;
	}
	return WF_EVICT_NOTHING;
}

static enum wf_evict_answer too_soon(struct wf_evict *evict, bool urgent)
{
	if (evict->flying_bytes > 0)
		return WF_EVICT_FLYING;
	evict->again_ns = urgent ? evict->eager_ns : evict->lazy_ns;
	return WF_EVICT_LATER;
}

enum wf_evict_answer wf_evict(struct wf_store *store, uint64_t want, bool urgent)
{
	struct wf_evict *evict = store->evict;
	int64_t began = wf_clock_now(NULL);
	bool freed = false, old = evict->planned;

	WF_CHECK(evict != NULL && evict->cursor <= evict->end);
	take_heart(store);
	if (want == 0)
		evict->planned = false;
	/* Nobody waits, and a batch is under way: no plan for less than another. */
	if (!urgent && !evict->planned && want < evict->batch_bytes &&
	    evict->flying_bytes >= evict->batch_bytes)
		return WF_EVICT_FLYING;
	if (want > 0 && !evict->planned) {
		if (began < (urgent ? evict->eager_ns : evict->lazy_ns))
			return too_soon(evict, urgent);
		freed = plan(store, want);
	}
	if (evict->planned) {
		evict->line.left = least(evict->line.left, want);
		if (can_write(store))
			write_some(store);
	}
	if (freed)
		return WF_EVICT_FREED;
	if (evict->flying_bytes > 0)
		return WF_EVICT_FLYING;
	if (want == 0)
		return WF_EVICT_NOTHING;
	if (old || evict->follows) {
		/* At its end. What it has passed may be free again, so it proves nothing. */
		evict->planned = evict->counted = false;
		return wf_evict(store, want, urgent);
	}
	return found_nothing(store, began);
}
