/*
 * table.c: the entries of all objects.
 *
 * One reserved array; an entry's index is its distance from the start, and an entry stays an entry
 * for ever, so that whoever has a stale pointer looks at a word and a generation and never at
 * somebody's bytes. Free entries lie in two small stacks of each local and travel between locals
 * and the table in whole batches: a thread that creates and deletes touches no shared line, and
 * one that only creates takes the lock once for every batch (magazines: J. Bonwick and J. Adams,
 * "Magazines and Vmem", USENIX ATC 2001).
 *
 * Shared: `batches` and, to write, `fresh`, under `lock`. `fresh` is read by walks.
 *
 * Invariants: entries at `fresh` and beyond have never been used and are all zero. A used one is
 * in exactly one of: an object, a local's stacks, a batch. loaded_count, spare_count <=
 * WF_ENTRY_BATCH; spare_count is 0 or a batch.
 *
 * Progress: blocking, a mutex held for a few stores, once per batch.
 */
#include <errno.h>
#include <sys/mman.h>

#include "inner.h"

int wf_table_open(struct wf_table *table, uint64_t max)
{
	WF_CHECK(max > 0 && max <= UINT32_MAX);
	table->entries = wf_map(max * sizeof(struct wf_object), PROT_READ | PROT_WRITE);
	if (table->entries == NULL)
		return -ENOMEM;
	table->max = max;
	table->batches = NULL;
	wf_init(&table->fresh, 0);
	WF_CHECK(pthread_mutex_init(&table->lock, NULL) == 0);
	return 0;
}

void wf_table_close(struct wf_table *table)
{
	if (table->entries == NULL)
		return;
	wf_unmap(table->entries, table->max * sizeof(struct wf_object));
	WF_CHECK(pthread_mutex_destroy(&table->lock) == 0);
	table->entries = NULL;
}

/* Entries never used before. Called with the lock held. */
static uint32_t make_locked(struct wf_table *table, struct wf_object **batch)
{
	/* relaxed: written under the lock only. */
	uint64_t fresh = wf_load_relaxed(&table->fresh);
	uint32_t count = WF_ENTRY_BATCH;

	WF_CHECK(fresh <= table->max);
	if (count > table->max - fresh)
		count = (uint32_t)(table->max - fresh);
	*batch = NULL;
	/* From the last to the first, so that the first is taken first. */
	for (uint32_t i = count; i-- > 0;) {
		struct wf_object *object = &table->entries[fresh + i];

		/* relaxed: published with the entry, by the lock or by the move to CREATING. */
		wf_store_relaxed(&object->generation, 1);
		object->next = *batch;
		*batch = object;
	}
	/* release [T1]: the acquire in walks: what they meet is an entry. */
	wf_store_release(&table->fresh, fresh + count);
	return count;
}

uint32_t wf_table_take(struct wf_table *table, struct wf_object **batch)
{
	uint32_t count = 0;

	WF_CHECK(table->entries != NULL);
	pthread_mutex_lock(&table->lock);
	*batch = table->batches;
	if (*batch != NULL)
		table->batches = (*batch)->meta;
	else
		count = make_locked(table, batch);
	pthread_mutex_unlock(&table->lock);
	if (count == 0) {
		for (struct wf_object *entry = *batch; entry != NULL; entry = entry->next)
			count++;
	}
	WF_CHECK(count <= WF_ENTRY_BATCH);
	return count;
}

void wf_table_give(struct wf_table *table, struct wf_object *batch)
{
	if (batch == NULL)
		return;
	pthread_mutex_lock(&table->lock);
	batch->meta = table->batches;
	table->batches = batch;
	pthread_mutex_unlock(&table->lock);
}

struct wf_object *wf_entry_take(struct wf_table *table, struct wf_store_local *local)
{
	struct wf_object *object;

	if (WF_UNLIKELY(local->loaded_count == 0)) {
		if (local->spare_count > 0) {
			local->loaded = local->spare;
			local->loaded_count = local->spare_count;
			local->spare = NULL;
			local->spare_count = 0;
		} else {
			local->loaded_count = wf_table_take(table, &local->loaded);
			if (local->loaded_count == 0)
				return NULL;
		}
	}
	object = local->loaded;
	WF_CHECK(object != NULL);
	/* relaxed: a free entry has no other user. */
	WF_DEBUG(wf_load_relaxed(&object->word) == WF_OBJECT_FREE);
	local->loaded = object->next;
	local->loaded_count--;
	return object;
}

void wf_entry_give(struct wf_table *table, struct wf_store_local *local, struct wf_object *object)
{
	WF_DEBUG(object >= table->entries && object < table->entries + table->max);
	if (WF_UNLIKELY(local->loaded_count == WF_ENTRY_BATCH)) {
		wf_table_give(table, local->spare);
		local->spare = local->loaded;
		local->spare_count = WF_ENTRY_BATCH;
		local->loaded = NULL;
		local->loaded_count = 0;
	}
	WF_DEBUG(local->loaded_count < WF_ENTRY_BATCH);
	object->next = local->loaded;
	local->loaded = object;
	local->loaded_count++;
}

void wf_entry_flush(struct wf_table *table, struct wf_store_local *local)
{
	wf_table_give(table, local->loaded);
	wf_table_give(table, local->spare);
	local->loaded = local->spare = NULL;
	local->loaded_count = local->spare_count = 0;
}
struct wf_object *wf_store_find(struct wf_store *store, struct wf_object *object, uint64_t id,
                                enum wf_object_state state)
{
	uint64_t index = id & UINT32_MAX;

	/* relaxed: entries that were never used have no id that anybody could know. */
	if (index >= wf_load_relaxed(&store->table.fresh) ||
	    object != store->table.entries + index || wf_object_id(store, object) != id)
		return NULL;
	return (wf_object_word(object) & WF_OBJECT_STATE) == (uint64_t)state ? object : NULL;
}
