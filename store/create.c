/*
 * create.c: what a thread does with objects: create, seal, unpin, delete, and the way back of all
 * that an object had.
 *
 * Nothing here waits and nothing takes a lock, except the table's for a batch of entries and what
 * the memory does inside. A call that makes room while somebody waits for room rings the keeper.
 * That is a hint: on machines that let the load of `gate` pass the move of the word before it, a
 * ring can be missed; the keeper looks by itself every few milliseconds while tickets wait.
 */
#include <errno.h>

#include "inner.h"

#define COUNT_MAX_PINS  ((uint32_t)1 << 31)
#define COUNT_MAX_VIEWS ((uint32_t)1 << 23)

static bool is_waited_for(const struct wf_store *store)
{
	/* relaxed: a hint, see above. */
	return WF_UNLIKELY(wf_load_relaxed(&store->gate) & WF_GATE_WAITING);
}

/* ---- Creating -------------------------------------------------------------------------------- */

uint64_t wf_store_allocate(struct wf_store *store, struct wf_store_local *local, uint64_t size)
{
	uint64_t offset = wf_mem_alloc(store->mem, local->cache, size);

	if (WF_LIKELY(offset != WF_MEM_NONE))
		return offset;
	/* What is missing may lie in our own cache, in another size. */
	(void)wf_mem_cache_flush(local->cache);
	return wf_mem_alloc(store->mem, local->cache, size);
}

int wf_create_reserved(struct wf_store *store, struct wf_store_local *local, uint64_t size,
                       uint64_t bytes, struct wf_object **out)
{
	struct wf_object *object = wf_entry_take(&store->table, local);
	uint64_t offset;

	if (object == NULL)
		return -ENOMEM;
	offset = wf_store_allocate(store, local, size);
	if (offset == WF_MEM_NONE) {
		wf_entry_give(&store->table, local, object);
		return -EAGAIN;
	}
	WF_CHECK(offset % WF_MEM_ALIGN == 0);
	WF_DEBUG(bytes >= size);
	object->size = size;
	object->offset = offset;
	object->meta = NULL;
	object->tag = 0;
	/* relaxed, both: published by the store of the word. */
	wf_store_relaxed(&object->stamp, wf_store_now(store));
	wf_store_relaxed(&object->lines, (uint32_t)(bytes / WF_LINE_BYTES));
	/* relaxed: nobody else may touch a free entry. */
	WF_CHECK(wf_load_relaxed(&object->word) == WF_OBJECT_FREE);
	/* release [O3]: the entry's other fields, to walks and to whoever is told of it. */
	wf_store_release(&object->word, WF_OBJECT_CREATING);
	*out = object;
	return 0;
}

int wf_store_create(struct wf_store *store, struct wf_store_local *local, uint64_t size,
                    struct wf_object **out)
{
	uint64_t bytes = wf_account_bytes(store, size);
	int rc = -EAGAIN;

	if (WF_UNLIKELY(bytes == 0))
		return -EMSGSIZE;
	/* relaxed: who passes a gate that is being closed was there first. */
	if (WF_UNLIKELY(wf_load_relaxed(&store->gate) & WF_GATE_CLOSED))
		return -EAGAIN;
	local = wf_local_enter(store, local);
	if (WF_LIKELY(wf_account_take(store, local, bytes))) {
		rc = wf_create_reserved(store, local, size, bytes, out);
		if (WF_UNLIKELY(rc < 0)) {
			wf_account_give(store, local, bytes);
			wf_account_give_slow(store, local);
		}
	}
	wf_local_leave(store, local);
	return rc;
}

char *wf_object_writable(const struct wf_store *store, const struct wf_object *object)
{
	WF_DEBUG((wf_object_word(object) & WF_OBJECT_STATE) == WF_OBJECT_CREATING);
	return store->writable + object->offset;
}

int wf_object_seal(struct wf_store *store, struct wf_object *object, uint32_t pins, uint32_t views)
{
	uint64_t word = WF_OBJECT_CREATING;

	if (WF_UNLIKELY(pins > COUNT_MAX_PINS || views > COUNT_MAX_VIEWS))
		return -EINVAL;
	/* relaxed: as after the last unpin. */
	wf_store_relaxed(&object->stamp, wf_store_now(store));
	/* release [O1]: the bytes, to whoever pins it. */
	if (!wf_cas_release(&object->word, &word,
	                    WF_OBJECT_SEALED + pins * WF_OBJECT_PIN + views * WF_OBJECT_VIEW))
		return -EINVAL;
	if (is_waited_for(store))
		wf_keeper_ring(store);
	return 0;
}

/* ---- Reading --------------------------------------------------------------------------------- */

const char *wf_object_readable(const struct wf_store *store, const struct wf_object *object)
{
	WF_DEBUG(wf_word_is_resident(wf_object_word(object)));
	return store->readable + object->offset;
}

int wf_object_unpin(struct wf_store *store, struct wf_store_local *local, struct wf_object *object,
                    uint64_t unit)
{
	uint64_t was;

	if (WF_UNLIKELY(unit != WF_OBJECT_PIN && unit != WF_OBJECT_VIEW))
		return -EINVAL;
	switch (wf_object_move_unpin(object, unit, wf_store_now(store), &was)) {
	case WF_NEXT_REFUSED:
		return -EINVAL;
	case WF_NEXT_RELEASE:
		wf_object_release(store, local, object, was);
		break;
	case WF_NEXT_IDLE:
		if (is_waited_for(store))
			wf_keeper_ring(store);
		break;
	default:
		break;
	}
	return 0;
}

void wf_object_unhold(struct wf_store *store, struct wf_store_local *local,
                      struct wf_object *object)
{
	int rc = wf_object_unpin(store, local, object, WF_OBJECT_PIN);

	/* Somebody dropped a pin that was not his. */
	WF_CHECK(rc == 0);
}

uint64_t wf_object_id(const struct wf_store *store, const struct wf_object *object)
{
	uint64_t index = (uint64_t)(object - store->table.entries);

	WF_CHECK(index < store->table.max);
	/* relaxed: constant while the caller has the object. */
	return index | (uint64_t)wf_load_relaxed(&object->generation) << 32;
}

/* ---- The way back ---------------------------------------------------------------------------- */

void wf_object_forget(struct wf_store *store, struct wf_object *object)
{
	struct wf_spill *spill = wf_store_spill_opened(store);
	struct wf_spill_place place;

	WF_CHECK(spill != NULL);
	wf_object_place(object, &place);
	WF_CHECK(place.segment != 0);
	wf_spill_free(spill, &place, object->size);
	/* relaxed: a number. */
	wf_add_relaxed(&store->forgotten, 1);
}

static void release_bytes(struct wf_store *store, struct wf_store_local *local,
                          struct wf_object *object)
{
	uint64_t bytes = wf_object_bytes(object);

	wf_mem_free(store->mem, local->cache, object->offset, object->size);
	wf_account_give(store, local, bytes);
}

/* For those who wait: also what this thread would keep for itself. */
static void offer(struct wf_store *store, struct wf_store_local *local)
{
	/* relaxed: a hint: once more in the next round. */
	if (wf_load_relaxed(&store->gate) & WF_GATE_SHORT)
		(void)wf_mem_cache_flush(local->cache);
	wf_account_give_slow(store, local);
}

void wf_object_release(struct wf_store *store, struct wf_store_local *local,
                       struct wf_object *object, uint64_t was)
{
	uint64_t state = was & WF_OBJECT_STATE;
	/* relaxed: this thread's alone now. */
	uint32_t generation = wf_load_relaxed(&object->generation);
	bool waited;

	WF_DEBUG(wf_load_relaxed(&object->word) == WF_OBJECT_FREE);
	if (object->meta != NULL && store->options.meta_drop != NULL)
		store->options.meta_drop(store->options.arg, object->meta);
	object->meta = NULL;
	if ((was & WF_OBJECT_COPY) != 0 || state == WF_OBJECT_SPILLED)
		wf_object_forget(store, object);
	if (state == WF_OBJECT_SPILLED) {
		/* relaxed: a number. */
		wf_add_relaxed(&store->spilled, (uint64_t)-1);
	}
	local = wf_local_enter(store, local);
	/* Inside: whoever comes in after the keeper has collected sees for whom. */
	waited = is_waited_for(store);
	if (state == WF_OBJECT_CREATING || state == WF_OBJECT_SEALED)
		release_bytes(store, local, object);
	else if (state == WF_OBJECT_LOST && object->loss != &wf_loss_unsaid)
		wf_free(object->loss);
	/* relaxed: before the entry can be taken again; 0 is no generation. */
	wf_store_relaxed(&object->generation, generation + 1 != 0 ? generation + 1 : 1);
	wf_entry_give(&store->table, local, object);
	if (waited)
		offer(store, local);
	wf_local_leave(store, local);
	if (waited)
		wf_keeper_ring(store);
}

int wf_object_discard(struct wf_store *store, struct wf_store_local *local,
                      struct wf_object *object)
{
	uint64_t word = WF_OBJECT_CREATING;

	/* acq_rel [O3]: as every move; of two that discard or seal one is told. */
	if (!wf_cas_acq_rel(&object->word, &word, WF_OBJECT_FREE))
		return -EINVAL;
	wf_object_release(store, local, object, WF_OBJECT_CREATING);
	return 0;
}

void wf_object_delete(struct wf_store *store, struct wf_store_local *local,
                      struct wf_object *object)
{
	uint64_t was;

	if (wf_object_move_delete(object, &was) == WF_NEXT_RELEASE)
		wf_object_release(store, local, object, was);
}
