/*
 * mem_keep.h: the few freed runs that one thread keeps for itself, and that any thread may take
 * when memory is short.
 *
 * Shared: slot[], each a word that names a run whole (first page and length) or is 0. The owner
 * alone writes runs in; owner and thieves take them out by exchange.
 *
 * Invariants: a run is in at most one slot, and only the owner puts it there, so a slot that is
 * empty stays empty until the owner fills it: putting needs no exchange. A word names all of what
 * it stands for, so a thief that took an equal word after others had taken and put it back has
 * taken just that run: ABA is harmless.
 *
 * Progress: all three are wait-free (at most one exchange a slot).
 */
#ifndef WF_MEM_KEEP_H
#define WF_MEM_KEEP_H

#include "atomic.h"
#include "check.h"

#define WF_MEM_KEEP_SLOTS 4u

struct wf_mem_keep {
	struct wf_a64 slot[WF_MEM_KEEP_SLOTS];
};

/* The number of pages is never 0, so no run looks like an empty slot. */
static inline uint64_t wf_mem_keep_word(uint32_t page, uint32_t count)
{
	WF_CHECK(count != 0);
	return (uint64_t)page << 32 | count;
}

/* Owner only. False: no slot is empty. */
static inline bool wf_mem_keep_put_local(struct wf_mem_keep *keep, uint64_t word)
{
	WF_DEBUG((uint32_t)word != 0);
	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++) {
		/* relaxed: what others make of it is 0, and nothing comes with that. */
		if (wf_load_relaxed(&keep->slot[i]) != 0)
			continue;
		/* release [K1]: the end of all use of the run, to who takes it by [K2]. */
		wf_store_release(&keep->slot[i], word);
		return true;
	}
	return false;
}

/* Owner only. A run of exactly `count` pages; 0: none. */
static inline uint64_t wf_mem_keep_take_local(struct wf_mem_keep *keep, uint32_t count)
{
	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++) {
		/* relaxed: the exchange decides. */
		uint64_t word = wf_load_relaxed(&keep->slot[i]);

		/* acquire [K2]: with the release [K1]. */
		if ((uint32_t)word == count && wf_cas_acquire(&keep->slot[i], &word, 0))
			return word;
	}
	return 0;
}

/* Any thread. Whatever is in slot `i`; 0: nothing. */
static inline uint64_t wf_mem_keep_steal_mt(struct wf_mem_keep *keep, uint32_t i)
{
	WF_DEBUG(i < WF_MEM_KEEP_SLOTS);
	/* relaxed: spares the exchange. */
	if (wf_load_relaxed(&keep->slot[i]) == 0)
		return 0;
	/* acquire [K2]: as above. */
	return wf_swap_acquire(&keep->slot[i], 0);
}

/* Pages in it; a guess, exact for the owner while nobody steals. */
static inline uint64_t wf_mem_keep_pages(const struct wf_mem_keep *keep)
{
	uint64_t sum = 0;

	/* relaxed: a guess. */
	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++)
		sum += (uint32_t)wf_load_relaxed(&keep->slot[i]);
	return sum;
}

#endif /* WF_MEM_KEEP_H */
