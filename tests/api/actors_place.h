/*
 * actors_place.h: what the tests of actors with places share: a machine of four nodes with two
 * workers each, short forms of places, questions that a call asks.
 */
#ifndef WEFT_TEST_ACTORS_PLACE_H
#define WEFT_TEST_ACTORS_PLACE_H

#include "actors.h"
#include "bundles.h"
#include "nodes.h"

enum { NODES = 4, PER_NODE = 2, WORKERS = NODES * PER_NODE };

__attribute__((constructor)) static void choose_the_machine(void)
{
	setenv("HWLOC_SYNTHETIC", "node:4 core:2 pu:1", 1);
}

#define HOLDS(...) \
	(&(const struct weft_actor_holds){ .struct_size = sizeof(struct weft_actor_holds), \
	                                   __VA_ARGS__ })
#define AT(...)        .place = WEFT_PLACE(__VA_ARGS__)
#define ON(n)          AT(.strategy = WEFT_PLACE_NODE, .node = (n))
#define INSIDE(g, ...) HOLDS(AT(.group = (g)), __VA_ARGS__)

static const struct weft_actor_class plain = ACT_CLASS(.max_restarts = 3);
static const struct weft_actor_class bare = WEFT_ACTOR_CLASS(.name = "bare");

static inline weft_actor placed(weft *rt, const struct weft_actor_class *class_,
                                const struct weft_actor_holds *holds, struct act_log *log)
{
	return act_create(rt, class_, WEFT_ACTOR_OPTIONS(.holds = holds), log);
}

static inline int crashes(weft_task *self)
{
	return weft_actor_crash(self, "on purpose");
}

/* In a bundle that is named, and with so many CPUs. */
struct inside {
	weft_placement group;
	uint32_t bundle;
	double cpus;
};

static inline int checks_place(weft_task *self)
{
	const struct inside *inside = api_arg_pointer(self);
	const struct weft_task_place place = place_here(self);
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_task_info(self, &info) == 0);
	API_CHECK(info.cpus == inside->cpus);
	API_CHECK(place.group.bits == inside->group.bits && place.bundle == inside->bundle);
	API_CHECK(place.node == node_here(self));
	API_CHECK(!place.captures);
	return 0;
}

static const struct weft_resource two_disks = { "disk", 2 };

/* The second of two, which has some of everything. */
static inline weft_placement two_bundles(weft *rt)
{
	const struct weft_bundle bundles[] = {
		{ .cpus = 1 },
		{ .cpus = 2, .gpus = 1, .memory = 100, .resources = &two_disks, .n_resources = 1 }
	};
	weft_placement group;

	API_CHECK(weft_placement_create(rt, NULL, bundles, 2, &group) == 0);
	return group;
}

#endif /* WEFT_TEST_ACTORS_PLACE_H */
