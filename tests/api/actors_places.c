/*
 * Goal: an actor with a node has its calls run there, over restarts, until it is dead; what makes
 * no sense is refused. (Row T31.) What holds in placement groups is in actors_bundles.c.
 * Method: HWLOC_SYNTHETIC gives a machine of four nodes with two workers each; calls say where they
 * are, gates hold the workers of a node.
 */
#include "actors_place.h"

/* Its argument is the node that the actor was meant for; returns the one that it runs on. */
static int tells_node(weft_task *self)
{
	const int64_t node = node_here(self);

	API_CHECK(place_here(self).node == *(const uint32_t *)weft_task_arg(self, NULL));
	API_CHECK(place_here(self).group.bits == 0);
	return weft_return(self, &node, sizeof node);
}

/* ---- Nodes --------------------------------------------------------------------------------- */

struct homes {
	uint32_t node;
	struct api_count inits, calls, finis;
};

/* The state is where it belongs: init, calls and fini check that they are there. */
static int init_at_home(weft_task *self)
{
	struct homes **homes = weft_actor_state(self);

	*homes = api_arg_pointer(self);
	API_CHECK(node_here(self) == (*homes)->node && place_here(self).node == (*homes)->node);
	api_add(&(*homes)->inits, 1);
	return 0;
}

static int call_at_home(weft_task *self)
{
	struct homes *homes = *(struct homes **)weft_actor_state(self);

	API_CHECK(node_here(self) == homes->node);
	api_add(&homes->calls, 1);
	return 0;
}

static int fini_at_home(weft_task *self)
{
	struct homes *homes = *(struct homes **)weft_actor_state(self);

	API_CHECK(node_here(self) == homes->node);
	api_add(&homes->finis, 1);
	return 0;
}

#define HOME_CLASS(...) \
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct homes *), .init = init_at_home, \
	                 .fini = fini_at_home, __VA_ARGS__)

static void live_at_home(weft *rt, const struct weft_actor_class *class_)
{
	const uint32_t calls = 150;
	struct homes homes[NODES] = { { 0 } };
	weft_actor actors[NODES];

	for (uint32_t n = 0; n < NODES; n++) {
		void *arg = &homes[n];

		homes[n].node = n;
		cr_assert_eq(weft_actor_create(rt, class_,
		                               WEFT_ACTOR_OPTIONS(.holds = HOLDS(ON(n))),
		                               &(struct weft_call){ WEFT_ARG(arg) }, &actors[n]),
		             0);
	}
	/* One at a time, and a queue of them: turns that are begun anew and that go on. */
	for (uint32_t i = 0; i < calls; i++)
		for (uint32_t n = 0; n < NODES; n++) {
			weft_ref ref = act_call(rt, actors[n], call_at_home, NULL, 0);

			if (i < 10)
				cr_assert_eq(api_end(rt, ref), 0);
			else
				api_release(rt, ref);
		}
	for (uint32_t n = 0; n < NODES; n++) {
		weft_ref died;

		cr_assert_eq(weft_actor_died(rt, actors[n], &died), 0);
		act_release(rt, actors[n]);
		cr_assert_eq(api_end(rt, died), 0);
		cr_assert(api_read(&homes[n].inits) == 1 && api_read(&homes[n].finis) == 1);
		cr_assert_eq(api_read(&homes[n].calls), calls);
	}
}

Test(actors_places, calls_run_on_its_node_and_on_no_other)
{
	static const struct weft_actor_group further = { "further", 2 };
	static const struct weft_actor_class one = HOME_CLASS(.name = "one");
	static const struct weft_actor_class more =
		HOME_CLASS(.name = "more", .max_concurrency = 3);
	static const struct weft_actor_class in_groups =
		HOME_CLASS(.name = "in groups", .groups = &further, .n_groups = 1);
	weft *rt = open_with(WORKERS, NULL);

	live_at_home(rt, &one);
	live_at_home(rt, &more);
	live_at_home(rt, &in_groups);
	close_empty(rt);
}

static int calls_from_a_task(weft_task *self)
{
	const weft_actor *actors = *(const weft_actor *const *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);

	for (uint32_t i = 0; i < 100; i++) {
		const uint32_t node = i % NODES;

		API_CHECK(api_take_i64(rt, act_call(rt, actors[node], tells_node, &node, 4)) ==
		          node);
	}
	return 0;
}

Test(actors_places, whoever_calls_it_comes_from_anywhere)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_actor actors[NODES];
	weft_ref refs[WORKERS];

	for (uint32_t n = 0; n < NODES; n++)
		actors[n] = placed(rt, &bare, HOLDS(ON(n)), NULL);
	for (uint32_t i = 0; i < WORKERS; i++)
		refs[i] = api_submit(rt, WEFT_TASK(calls_from_a_task, API_POINTER(actors)));
	for (uint32_t i = 0; i < WORKERS; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	for (uint32_t n = 0; n < NODES; n++)
		act_release(rt, actors[n]);
	close_empty(rt);
}

Test(actors_places, it_waits_for_its_node_while_others_go_on)
{
	weft *rt = open_with(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_ref held[PER_NODE], waits;
	const uint32_t two = 2, three = 3;
	weft_actor there = placed(rt, &bare, HOLDS(ON(3)), NULL), late, other;

	cr_assert_eq(api_take_i64(rt, act_call(rt, there, tells_node, &three, 4)), 3);
	for (uint32_t i = 0; i < PER_NODE; i++)
		held[i] = api_submit(rt,
		                     WEFT_TASK(api_body_gate, API_POINTER(&gate),
		                               .opts = WEFT_TASK_OPTIONS(ON(3))));
	api_gate_await(&gate, PER_NODE);
	late = placed(rt, &bare, HOLDS(ON(3)), NULL);
	waits = act_call(rt, there, tells_node, &three, 4);
	other = placed(rt, &bare, HOLDS(ON(2)), NULL);
	cr_assert_eq(api_take_i64(rt, act_call(rt, other, tells_node, &two, 4)), 2);
	cr_assert_eq(act_phase(rt, late), WEFT_ACTOR_PENDING);
	cr_assert_eq(weft_peek(rt, waits), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_take_i64(rt, waits), 3);
	cr_assert_eq(api_take_i64(rt, act_call(rt, late, tells_node, &three, 4)), 3);
	for (uint32_t i = 0; i < PER_NODE; i++)
		cr_assert_eq(api_end(rt, held[i]), 0);
	act_release(rt, there);
	act_release(rt, late);
	act_release(rt, other);
	close_empty(rt);
}

static int waits_and_stays(weft_task *self)
{
	API_CHECK(node_here(self) == place_here(self).node);
	wait_and_stay(self);
	return 0;
}

/* By the short form, whose bodies say nothing of themselves, and by the long one. */
Test(actors_places, a_call_that_has_waited_goes_on_on_its_node)
{
	weft *rt = open_with(WORKERS, NULL);
	struct stays stays = { .event = api_event(rt) };
	weft_actor actors[NODES * 4];
	weft_ref refs[NODES * 4];

	for (uint32_t i = 0; i < NODES * 4; i++) {
		void *arg = &stays;

		actors[i] = placed(rt, &bare, HOLDS(ON(i % NODES)), NULL);
		refs[i] = i % 2
			? act_call(rt, actors[i], waits_and_stays, &arg, sizeof arg)
			: api_submit(rt,
		                     WEFT_TASK(waits_and_stays, .actor = actors[i], WEFT_ARG(arg)));
	}
	api_await_count(&stays.began, NODES * 4);
	settle(rt, stays.event);
	for (uint32_t i = 0; i < NODES * 4; i++) {
		cr_assert_eq(api_end(rt, refs[i]), 0);
		act_release(rt, actors[i]);
	}
	api_release(rt, stays.event);
	close_empty(rt);
}

Test(actors_places, a_restart_stays_on_the_node_and_in_the_bundle)
{
	weft *rt = open_with(WORKERS, NULL);
	const struct weft_resource disk = { "disk", 2 };
	weft_placement group =
		group_of(rt, BUNDLE(.cpus = 1, .resources = &disk, .n_resources = 1));
	struct act_log log = { 0 };
	const uint32_t two = 2;
	weft_actor on_node = placed(rt, &plain, HOLDS(ON(2)), &log);
	weft_actor inside = placed(rt, &plain, INSIDE(group, REQUEST({ "disk", 1.5 })), &log);

	for (uint32_t i = 1; i <= 3; i++) {
		cr_assert_eq(api_end(rt, act_call(rt, on_node, crashes, NULL, 0)), WEFT_EACTOR);
		cr_assert_eq(api_end(rt, act_call(rt, inside, crashes, NULL, 0)), WEFT_EACTOR);
		cr_assert_eq(api_take_i64(rt, act_call(rt, on_node, tells_node, &two, 4)), 2);
		cr_assert_eq(act_value(rt, inside), 0);
		cr_assert_eq(api_read(&log.inits), 2 + 2 * i);
		cr_assert(bundle_of(rt, group, 0).resources_free[0] == 0.5);
	}
	act_release(rt, on_node);
	act_release(rt, inside);
	api_await_count(&log.drops, 8);
	removed(rt, group);
	close_empty(rt);
}

static int tells_place(weft_task *self)
{
	const int64_t node = place_here(self).node;

	return weft_return(self, &node, sizeof node);
}

static int64_t meant_for(weft *rt, weft_actor actor)
{
	return api_take_i64(rt, act_call(rt, actor, tells_place, NULL, 0));
}

/* Also idle they count, and no longer when they are dead. */
Test(actors_places, spread_and_pack_count_the_actors_that_live)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_actor actors[NODES];

	for (int round = 0; round < 3; round++) {
		uint32_t seen = 0;

		for (uint32_t i = 0; i < NODES; i++) {
			actors[i] =
				placed(rt, &bare, HOLDS(AT(.strategy = WEFT_PLACE_SPREAD)), NULL);
			seen |= 1u << meant_for(rt, actors[i]);
		}
		cr_assert_eq(seen, (1u << NODES) - 1);
		for (uint32_t i = 0; i < NODES; i++) {
			cr_assert_eq(weft_actor_stop(rt, actors[i], WEFT_FOREVER), 0);
			act_release(rt, actors[i]);
		}
		for (uint32_t i = 0; i < NODES; i++)
			actors[i] = placed(rt, &bare, HOLDS(AT(.strategy = WEFT_PLACE_PACK)), NULL);
		/* A worker each, and no more: two nodes are full. */
		for (uint32_t i = 0, at[NODES] = { 0 }; i < NODES; i++) {
			const uint32_t n = ++at[meant_for(rt, actors[i])];

			cr_assert_leq(n, PER_NODE);
			cr_assert(i != NODES - 1 || n == PER_NODE);
		}
		for (uint32_t i = 0; i < NODES; i++) {
			cr_assert_eq(weft_actor_stop(rt, actors[i], WEFT_FOREVER), 0);
			act_release(rt, actors[i]);
		}
	}
	close_empty(rt);
}

Test(actors_places, a_preference_leaves_no_call_without_a_worker)
{
	weft *rt = open_with(WORKERS, NULL);
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = placed(rt, &bare, HOLDS(AT(.strategy = WEFT_PLACE_SPREAD)), NULL);
	const uint32_t node = (uint32_t)meant_for(rt, actor);
	weft_ref held[PER_NODE];

	for (uint32_t i = 0; i < PER_NODE; i++)
		held[i] = api_submit(rt,
		                     WEFT_TASK(api_body_gate, API_POINTER(&gate),
		                               .opts = WEFT_TASK_OPTIONS(ON(node))));
	api_gate_await(&gate, PER_NODE);
	cr_assert_neq(api_take_i64(rt, act_call(rt, actor, tells_node, &node, 4)), node);
	api_gate_open(&gate);
	for (uint32_t i = 0; i < PER_NODE; i++)
		cr_assert_eq(api_end(rt, held[i]), 0);
	act_release(rt, actor);
	close_empty(rt);
}

Test(actors_places, soft_falls_back_when_the_node_can_never_serve_it)
{
	weft *rt = open_with(WORKERS, NULL);
#define SOFT(n, ...) HOLDS(AT(.strategy = WEFT_PLACE_NODE_SOFT, .node = (n)), __VA_ARGS__)
	weft_actor there = placed(rt, &bare, SOFT(1, .cpus = 2), NULL);
	weft_actor none = placed(rt, &bare, SOFT(NODES, .cpus = 1), NULL);
	weft_actor wide = placed(rt, &bare, SOFT(1, .cpus = 3), NULL);
#undef SOFT

	cr_assert_eq(meant_for(rt, there), 1);
	cr_assert_eq(meant_for(rt, none), WEFT_NODE_NONE);
	cr_assert_eq(meant_for(rt, wide), WEFT_NODE_NONE);
	act_release(rt, there);
	act_release(rt, none);
	act_release(rt, wide);
	close_empty(rt);
}

Test(actors_places, calls_on_a_node_count_for_the_actors_group)
{
	weft *rt = open_with(WORKERS, NULL);
	struct weft_group_stats stats = { .struct_size = sizeof stats };
	const uint32_t one = 1;
	weft_group group;
	weft_actor actor;

	cr_assert_eq(weft_group_create(rt, NULL, &group), 0);
	actor = act_create(rt, &bare, WEFT_ACTOR_OPTIONS(.holds = HOLDS(ON(1)), .group = group),
	                   NULL);
	for (uint32_t i = 0; i < 50; i++)
		cr_assert_eq(api_take_i64(rt, act_call(rt, actor, tells_node, &one, 4)), 1);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(weft_group_stats(rt, group, &stats), 0);
	/* Init, too. */
	cr_assert_eq(stats.done, 51);
	act_release(rt, actor);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	close_empty(rt);
}

/* ---- Refused, close -------------------------------------------------------------------------- */

static void refused(weft *rt, struct said *said, const struct weft_actor_holds *holds,
                    const char *field)
{
	weft_actor actor = { API_POISON };

	said->text[0] = '\0';
	cr_assert_eq(weft_actor_create(rt, &plain,
	                               WEFT_ACTOR_OPTIONS(.name = "refused", .holds = holds), NULL,
	                               &actor),
	             -EINVAL, "%s", field);
	cr_assert_eq(actor.bits, API_POISON);
	cr_assert_not_null(strstr(said->text, field), "%s: %s", field, said->text);
	cr_assert_eq(weft_actor_find(rt, NULL, "refused", &actor), -ENOENT);
}

Test(actors_places, what_makes_no_sense_is_refused_by_field)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(WORKERS, &said), *other = open_with(2, NULL);
	weft_placement group = two_bundles(rt), old = two_bundles(rt);
	weft_placement foreign = group_of(other, BUNDLE(.cpus = 1));
	const struct weft_place odd = { .struct_size = 4 };

	removed(rt, old);
	refused(rt, &said, HOLDS(.place = &odd), "place.struct_size");
	refused(rt, &said, HOLDS(AT(.strategy = 77)), "place.strategy");
	refused(rt, &said, HOLDS(AT(.node = 1)), "place.node");
	refused(rt, &said, HOLDS(ON(NODES)), "place.node");
	refused(rt, &said, HOLDS(ON(1), .cpus = PER_NODE + 1), "place.node");
	refused(rt, &said, HOLDS(AT(.flags = WEFT_PLACE_CAPTURE)), "place.flags");
	refused(rt, &said, INSIDE(old), "place.group");
	refused(rt, &said, INSIDE(foreign), "place.group");
	refused(rt, &said, HOLDS(AT(.group = group, .bundle = WEFT_BUNDLE(2))), "place.bundle");
	/* In none of the two, or not in the one that is meant. */
	refused(rt, &said, INSIDE(group, .cpus = 2.5), "bundle");
	refused(rt, &said, INSIDE(group, REQUEST({ "license", 1 })), "bundle");
	refused(rt, &said, HOLDS(AT(.group = group, .bundle = WEFT_BUNDLE(0)), .memory = 1),
	        "bundle");
	removed(rt, group);
	removed(other, foreign);
	close_empty(other);
	close_empty(rt);
}

Test(actors_places, a_call_has_no_place_of_its_own)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	weft_actor actor = placed(rt, &plain, INSIDE(group), NULL), other = { API_POISON };
	weft_ref out = api_poison_ref();

	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .actor = actor, .opts = IN(group)),
	                         &out),
	             -ENOTSUP);
	cr_assert_eq(weft_submit(rt,
	                         WEFT_TASK(api_body_nothing, .actor = actor,
	                                   .opts = WEFT_TASK_OPTIONS(ON(1))),
	                         &out),
	             -ENOTSUP);
	cr_assert_eq(out.bits, API_POISON);
	/* Nor has an init. */
	cr_assert_eq(weft_actor_create(rt, &plain, NULL, &(struct weft_call){ .opts = IN(group) },
	                               &other),
	             -ENOTSUP);
	cr_assert_eq(other.bits, API_POISON);
	act_release(rt, actor);
	removed(rt, group);
	close_empty(rt);
}

Test(actors_places, the_place_goes_without_saying_where_there_is_one_node)
{
	weft *rt = NULL;
	const uint32_t none = WEFT_NODE_NONE;

	setenv("HWLOC_SYNTHETIC", "node:1 core:2 pu:1", 1);
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .seed = test_seed())), 0);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	struct inside inside = { group, 0, 1 };
	void *arg = &inside;
	weft_actor on_node = placed(rt, &plain, HOLDS(ON(0)), NULL);
	weft_actor in_group = placed(rt, &plain, INSIDE(group, .cpus = 1), NULL);

	cr_assert_eq(api_take_i64(rt, act_call(rt, on_node, tells_node, &none, 4)), 0);
	cr_assert_eq(api_end(rt, act_call(rt, in_group, checks_place, &arg, sizeof arg)), 0);
	removed(rt, group);
	act_await_dead(rt, in_group);
	act_release(rt, on_node);
	act_release(rt, in_group);
	api_close(rt);
}

Test(actors_places, close_ends_those_that_wait_in_groups)
{
	weft *rt = open_with(WORKERS, NULL);
	weft_placement first = group_of(rt, BUNDLE(.cpus = 1, .gpus = 3));
	weft_placement second = group_of(rt, BUNDLE(.cpus = 1, .gpus = 1));
	struct act_log log = { 0 };
	weft_actor holds = placed(rt, &plain, INSIDE(first, .cpus = 1), &log);
	weft_actor waits = placed(rt, &plain, INSIDE(first, .cpus = 1), &log);

	cr_assert_eq(act_value(rt, holds), 0);
	(void)waits;
	(void)placed(rt, &plain, INSIDE(second, .gpus = 1), NULL);
	weft_interrupt(rt);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&log.inits), api_read(&log.drops));
}
