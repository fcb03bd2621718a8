/*
 * chunks.c: the memory in pieces, for devices that are told of it. See wf_store.h.
 */
#include "inner.h"

_Static_assert(WF_STORE_CHUNK_BYTES == WF_MEM_CHUNK_BYTES, "the memory's own");

uint64_t wf_store_chunk_count(const struct wf_store *store)
{
	return wf_mem_node_count(store->mem) * wf_mem_node_bytes(store->mem) / WF_MEM_CHUNK_BYTES;
}

char *wf_store_chunk(const struct wf_store *store, uint64_t chunk)
{
	WF_CHECK(chunk < wf_store_chunk_count(store));
	return store->writable + chunk * WF_MEM_CHUNK_BYTES;
}

uint64_t wf_store_chunk_of(const struct wf_store *store, const void *at, uint64_t *inside)
{
	uint64_t offset = (uint64_t)((const char *)at - store->readable);

	WF_CHECK(offset / WF_MEM_CHUNK_BYTES < wf_store_chunk_count(store));
	*inside = offset % WF_MEM_CHUNK_BYTES;
	return offset / WF_MEM_CHUNK_BYTES;
}

bool wf_store_chunk_hold(struct wf_store *store, uint64_t chunk)
{
	WF_CHECK(chunk < wf_store_chunk_count(store));
	return wf_mem_hold_whole(store->mem, chunk * WF_MEM_CHUNK_BYTES);
}

void wf_store_chunk_unhold(struct wf_store *store, uint64_t chunk)
{
	WF_CHECK(chunk < wf_store_chunk_count(store));
	wf_mem_unhold(store->mem, chunk * WF_MEM_CHUNK_BYTES, WF_MEM_CHUNK_BYTES);
}
