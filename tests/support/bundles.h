/*
 * bundles.h: what the tests of placement groups share: groups of one bundle, their books, tasks in
 * them.
 */
#ifndef WEFT_TEST_BUNDLES_H
#define WEFT_TEST_BUNDLES_H

#include "resources.h"

#define BUNDLE(...) ((const struct weft_bundle){ __VA_ARGS__ })

static inline weft_placement group_of(weft *rt, struct weft_bundle bundle)
{
	weft_placement group;

	API_CHECK(weft_placement_create(rt, NULL, &bundle, 1, &group) == 0);
	return group;
}

static inline void removed(weft *rt, weft_placement group)
{
	API_CHECK(weft_placement_remove(rt, group) == 0);
}

static inline struct weft_bundle_info bundle_of(weft *rt, weft_placement group, uint32_t index)
{
	struct weft_bundle_info infos[8];

	API_CHECK(weft_bundles(rt, group, infos, 8) > (int)index);
	return infos[index];
}

static inline bool is_reserved(weft *rt, weft_placement group)
{
	const int rc = weft_placement_wait(rt, group, WEFT_POLL);

	API_CHECK(rc == 0 || rc == -ETIMEDOUT);
	return rc == 0;
}

/* A task in a group, by the fields of its place and the other options. */
#define IN(g, ...) WEFT_TASK_OPTIONS(.place = WEFT_PLACE(.group = (g)), __VA_ARGS__)
#define IN_BUNDLE(g, i, ...) \
	WEFT_TASK_OPTIONS(.place = WEFT_PLACE(.group = (g), .bundle = WEFT_BUNDLE(i)), __VA_ARGS__)

#endif /* WEFT_TEST_BUNDLES_H */
