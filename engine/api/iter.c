/*
 * iter.c: iterators over many results: refs as they complete, and a function mapped over an array.
 *
 * An iterator holds one count of each ref that it has and has not given out, in a slot. Ordered
 * ones wait for the slot of their next index; the others have a completion queue, whose tags are
 * slots. Nothing is shared: an iterator has one user at a time.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

#define CHUNK 32u /* calls that are submitted at once */

struct slot {
	weft_ref ref;   /* zero: free */
	uint32_t index; /* of the element; free: of the next free slot */
};

struct weft_iter {
	weft *rt;
	weft_cq *cq; /* NULL: in order */
	struct weft_map map;
	uint32_t submitted, taken; /* of map.n */
	uint32_t slot_count, slot_free;
	struct slot slots[];
};

static struct weft_iter *iter_create(weft *rt, uint32_t n, uint32_t slots, bool ordered)
{
	struct weft_iter *iter = wf_calloc(1, sizeof(*iter) + slots * sizeof(iter->slots[0]));

	WF_DEBUG(slots <= n);
	if (!iter)
		return NULL;
	iter->rt = rt;
	iter->map.n = n;
	iter->slot_count = slots;
	for (uint32_t i = 0; i < slots; i++)
		iter->slots[i].index = i + 1;
	if (!ordered && weft_cq_create(rt, &iter->cq)) {
		wf_free(iter);
		return NULL;
	}
	return iter;
}

void weft_iter_close(weft_iter *iter)
{
	if (!iter)
		return;
	weft_cq_destroy(iter->cq);
	for (uint32_t i = 0; i < iter->slot_count; i++) {
		if (iter->slots[i].ref.bits)
			weft_release(iter->rt, iter->slots[i].ref);
	}
	wf_free(iter);
}

/* ---- Filling ------------------------------------------------------------------------------- */

/* A ref of the next index, whose count passes to the iterator. */
static int slot_fill(struct weft_iter *iter, weft_ref ref)
{
	uint32_t slot = iter->cq ? iter->slot_free : iter->submitted % iter->slot_count;
	uint32_t next = iter->slots[slot].index;
	int rc = iter->cq ? weft_cq_add(iter->cq, ref, slot) : 0;

	WF_DEBUG(slot < iter->slot_count && !iter->slots[slot].ref.bits);
	if (rc)
		return rc;
	iter->slot_free = next;
	iter->slots[slot] = (struct slot){ ref, iter->submitted++ };
	WF_DEBUG(iter->submitted - iter->taken <= iter->slot_count);
	return 0;
}

/* Submit what there are free slots for. 0, or the error of the first that could not be. */
static int top_up(struct weft_iter *iter)
{
	const struct weft_map *map = &iter->map;

	while (map->fn && iter->submitted < map->n) {
		struct weft_call calls[CHUNK];
		weft_ref refs[CHUNK];
		uint32_t n = iter->slot_count - (iter->submitted - iter->taken);

		n = n < map->n - iter->submitted ? n : map->n - iter->submitted;
		n = n < CHUNK ? n : CHUNK;
		if (!n)
			return 0;
		for (uint32_t i = 0; i < n; i++) {
			size_t at = (size_t)(iter->submitted + i) * map->arg_size;
			const char *arg = map->arg_size ? (const char *)map->args + at : NULL;

			calls[i] = (struct weft_call){ .fn = map->fn,
				                       .arg = arg,
				                       .arg_size = map->arg_size,
				                       .opts = map->opts,
				                       .site = map->site };
		}
		int got = weft_submit_many(iter->rt, calls, n, refs), rc = 0;

		for (int i = 0; i < got; i++) {
			if (!rc)
				rc = slot_fill(iter, refs[i]);
			if (rc)
				weft_release(iter->rt, refs[i]);
		}
		if (got < 0 || rc)
			return rc ? rc : got;
	}
	return 0;
}

int weft_as_completed(weft *rt, const weft_ref *refs, uint32_t n, weft_iter **out)
{
	if (!rt || !out || (n && !refs))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++) {
		if (!wf_cell_of(rt, refs[i]))
			return -EINVAL;
	}
	struct weft_iter *iter = iter_create(rt, n, n, false);
	int rc = iter ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n && !rc; i++) {
		wf_promise_retain(&wf_cell_of(rt, refs[i])->promise);
		rc = slot_fill(iter, refs[i]);
		if (rc)
			weft_release(rt, refs[i]);
	}
	if (rc)
		weft_iter_close(iter);
	else
		*out = iter;
	return rc;
}

static int read_map(const struct weft_map *from, struct weft_map *map)
{
	int rc = wf_options_read(map, sizeof(*map), from);

	if (rc)
		return rc;
	for (size_t i = 0; i < sizeof(map->reserved) / sizeof(*map->reserved); i++) {
		if (map->reserved[i])
			return -EINVAL;
	}
	if (!map->fn || (map->n && map->arg_size && !map->args) ||
	    map->flags & ~(uint32_t)WEFT_MAP_UNORDERED)
		return -EINVAL;
	if (map->opts && map->opts->n_outputs == WEFT_OUTPUTS_NONE)
		return -EINVAL;
	return map->arg_size > WEFT_ARG_MAX ? -EMSGSIZE : 0;
}

int weft_map(weft *rt, const struct weft_map *spec, weft_iter **out)
{
	struct weft_map map;
	int rc = rt && spec && out ? read_map(spec, &map) : -EINVAL;

	if (rc)
		return rc;
	uint32_t slots = map.window && map.window < map.n ? map.window : map.n;
	struct weft_iter *iter = iter_create(rt, map.n, slots, !(map.flags & WEFT_MAP_UNORDERED));

	if (!iter)
		return -ENOMEM;
	iter->map = map;
	rc = top_up(iter);
	/* What did not go now goes when there is room again, unless nothing went at all. */
	if (rc && !iter->submitted) {
		weft_iter_close(iter);
		return rc;
	}
	*out = iter;
	return 0;
}

/* ---- Taking -------------------------------------------------------------------------------- */

/* The slot of a ready ref: 0, or why there is none. */
static WF_SUSPENDS int ready_slot(struct weft_iter *iter, int64_t until, uint32_t *slot)
{
	struct weft_cq_item item;

	if (iter->cq) {
		int got = weft_cq_wait(iter->cq, &item, 1, until);

		*slot = got > 0 ? (uint32_t)item.tag : 0;
		return got > 0 ? 0 : got ? got : -ETIMEDOUT;
	}
	*slot = iter->taken % iter->slot_count;
	struct wf_cell *cell = wf_cell_of(iter->rt, iter->slots[*slot].ref);

	WF_CHECK(cell && iter->slots[*slot].index == iter->taken);
	return wf_promise_is_done(&cell->promise) ? 0 : wf_wait_cell(iter->rt, cell, until);
}

int weft_iter_next(weft_iter *iter, weft_deadline until, uint32_t *index, weft_ref *ref)
{
	uint32_t slot = 0;

	if (!iter)
		return -EINVAL;
	if (iter->taken == iter->map.n)
		return -ENODATA;
	/* What could not be submitted before is what is left. */
	int rc = iter->submitted == iter->taken ? top_up(iter) : 0;

	if (iter->submitted > iter->taken)
		rc = ready_slot(iter, until, &slot);
	if (rc)
		return rc;
	struct slot *at = &iter->slots[slot];

	WF_CHECK(at->ref.bits);
	if (index)
		*index = at->index;
	if (ref)
		*ref = at->ref;
	else
		weft_release(iter->rt, at->ref);
	*at = (struct slot){ .index = iter->slot_free };
	iter->slot_free = slot;
	iter->taken++;
	/* An error comes back when nothing else is left to give. */
	(void)top_up(iter);
	return 0;
}
