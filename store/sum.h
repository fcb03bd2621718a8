/*
 * sum.h: the checksum of everything that leaves memory: XXH3-64, by the widest vectors of this
 * CPU where the library can choose at run time.
 */
#ifndef WF_SUM_H
#define WF_SUM_H

#include <stddef.h>
#include <stdint.h>

#include "base.h"

uint64_t wf_sum(const void *data, size_t size);

/* The same sum piece by piece. The state is plain bytes: nothing to give back. */
struct wf_sum_state {
	unsigned char bytes[576];
} WF_ALIGNED(64);
void wf_sum_begin(struct wf_sum_state *state);
void wf_sum_add(struct wf_sum_state *state, const void *data, size_t size);
uint64_t wf_sum_end(const struct wf_sum_state *state);

#endif /* WF_SUM_H */
