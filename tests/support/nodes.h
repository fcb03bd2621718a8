/*
 * nodes.h: what bodies ask and do in tests of machines with several NUMA nodes.
 */
#ifndef WEFT_TEST_NODES_H
#define WEFT_TEST_NODES_H

#include "api.h"

static inline uint32_t node_here(weft_task *self)
{
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	return info.node;
}

static inline struct weft_task_place place_here(weft_task *self)
{
	struct weft_task_place place = { .struct_size = sizeof place };

	API_CHECK(weft_task_place(self, &place) == 0);
	return place;
}

struct stays {
	weft_ref event;
	struct api_count began;
};

/* Waits for the event, then lets others run: it goes on on its node each time. */
static inline void wait_and_stay(weft_task *self)
{
	struct stays *stays = api_arg_pointer(self);
	const uint32_t node = node_here(self);
	weft *rt = weft_task_runtime(self);
	struct weft_view view;

	api_add(&stays->began, 1);
	API_CHECK(weft_get(rt, stays->event, WEFT_FOREVER, &view) == 0);
	API_CHECK(node_here(self) == node);
	for (int i = 0; i < 5; i++) {
		API_CHECK(weft_yield(rt) == 0);
		API_CHECK(node_here(self) == node);
	}
}

#endif /* WEFT_TEST_NODES_H */
