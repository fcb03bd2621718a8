/*
 * sum.c: XXH3-64 of libxxhash.
 *
 * A library built for every x86-64 sums with SSE2, at a third of what AVX2 does (15 against 41
 * GB/s at 1 MiB, measured), which is slower than memory. The library's dispatching twins ask the
 * CPU at the first call; the build looks whether they are there.
 */
#include "sum.h"

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#ifdef WF_SUM_DISPATCH
#include <xxh_x86dispatch.h>
#endif

_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct wf_sum_state), "the state has room");
_Static_assert(_Alignof(XXH3_state_t) <= _Alignof(struct wf_sum_state), "and is aligned");

uint64_t wf_sum(const void *data, size_t size)
{
	WF_CHECK(data != NULL || size == 0);
	return XXH3_64bits(size != 0 ? data : "", size);
}

void wf_sum_begin(struct wf_sum_state *state)
{
	WF_CHECK(XXH3_64bits_reset((XXH3_state_t *)state) == XXH_OK);
}

void wf_sum_add(struct wf_sum_state *state, const void *data, size_t size)
{
	if (size == 0)
		return;
	WF_CHECK(data != NULL);
	WF_CHECK(XXH3_64bits_update((XXH3_state_t *)state, data, size) == XXH_OK);
}

uint64_t wf_sum_end(const struct wf_sum_state *state)
{
	return XXH3_64bits_digest((const XXH3_state_t *)state);
}
