/*
 * Goal: when a placement group is removed everything is the runtime's again, and nothing of it runs
 * that had not begun; children are in it when it captures them; limits are kept.
 * Method: as in bundles.c.
 */
#include "bundles.h"
#include "test.h"

/* ---- Removed ------------------------------------------------------------------------------- */

Test(bundles_end, removing_fails_what_has_not_begun_and_lets_bodies_end)
{
	weft *rt = open_with(3, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1, .gpus = 1, .memory = 500));
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref event = api_event(rt), runs, queued[50], input;
	const struct weft_error *error = NULL;

	runs = submit(rt, at_gate, &stage, IN(group, .gpus = 0.5, .memory = 100));
	api_await_count(&stage.began, 1);
	for (int i = 0; i < 50; i++)
		queued[i] = submit(rt, api_body_nothing, NULL, IN(group));
	input = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event), .opts = IN(group)));
	cr_assert_eq(weft_placement_remove(rt, group), 0);
	for (int i = 0; i < 50; i++) {
		cr_assert_eq(api_get(rt, queued[i]), WEFT_EPLACEMENT);
		api_release(rt, queued[i]);
	}
	settle(rt, event);
	cr_assert_eq(api_get(rt, input), WEFT_EPLACEMENT);
	cr_assert_eq(weft_ref_error(rt, input, &error), 0);
	cr_assert_eq(error->code, WEFT_EPLACEMENT);
	cr_assert_str_eq(error->text, weft_strerror(WEFT_EPLACEMENT));
	api_release(rt, input);
	api_release(rt, event);
	/* What the body has not is back already. */
	cr_assert(available(rt, "GPU") == 2.5);
	cr_assert(available(rt, "memory") == 900);
	cr_assert_eq(api_read(&stage.began), 1);
	api_gate_open(&stage.gate);
	cr_assert_eq(api_end(rt, runs), 0);
	close_empty(rt);
}

Test(bundles_end, a_removed_handle_is_stale_and_removing_again_does_nothing)
{
	weft *rt = open_with(2, NULL);
	weft_placement old = group_of(rt, BUNDLE(.cpus = 1)), fresh;
	weft_ref out = api_poison_ref();

	removed(rt, old);
	removed(rt, old);
	fresh = group_of(rt, BUNDLE(.cpus = 1));
	cr_assert_neq(fresh.bits, old.bits);
	removed(rt, old);
	cr_assert_eq(weft_bundles(rt, old, NULL, 0), -EINVAL);
	cr_assert_eq(weft_placement_ready(rt, old, &out), -EINVAL);
	cr_assert_eq(weft_bundles(rt, fresh, NULL, 0), 1);
	removed(rt, fresh);
	close_empty(rt);
}

Test(bundles_end, ready_fails_when_the_group_is_removed_before)
{
	weft *rt = open_with(2, NULL);
	weft_placement first = group_of(rt, BUNDLE(.gpus = 3));
	weft_placement second = group_of(rt, BUNDLE(.gpus = 1));
	weft_ref ready;

	cr_assert_eq(weft_placement_ready(rt, second, &ready), 0);
	removed(rt, second);
	cr_assert_eq(api_end(rt, ready), WEFT_EPLACEMENT);
	removed(rt, first);
	close_empty(rt);
}

Test(bundles_end, a_body_that_waits_outlives_its_group)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 2, REQUEST({ "disk", 4 })));
	struct quiet quiet = { .event = api_event(rt) };
	weft_ref one, two;

	one = submit(rt, at_event, &quiet, IN(group, REQUEST({ "disk", 1 })));
	two = submit(rt, at_event, &quiet, IN(group, .cpus = 2));
	api_await_count(&quiet.began, 2);
	removed(rt, group);
	cr_assert(available(rt, "disk") == 3);
	settle(rt, quiet.event);
	cr_assert_eq(api_end(rt, one), 0);
	cr_assert_eq(api_end(rt, two), 0);
	api_release(rt, quiet.event);
	close_empty(rt);
}

struct again {
	weft_placement group;
	struct api_count runs;
};

/* Fails, after its group is gone. */
static int fails_without_group(weft_task *self)
{
	struct again *again = api_arg_pointer(self);

	api_add(&again->runs, 1);
	API_CHECK(weft_placement_remove(weft_task_runtime(self), again->group) == 0);
	return weft_fail(self, -EPROTO, "planned");
}

Test(bundles_end, no_attempt_asks_a_group_that_is_gone)
{
	weft *rt = open_with(2, NULL);
	struct again again = { .group = group_of(rt, BUNDLE(.cpus = 1, .memory = 100)) };
	weft_ref ref = submit(rt, fails_without_group, &again,
	                      IN(again.group, .memory = 10, .retries = 5, .backoff_ns = 1000));

	cr_assert_eq(api_end(rt, ref), WEFT_ETASK);
	cr_assert_eq(api_read(&again.runs), 1);
	close_empty(rt);
}

static int succeeds_at_third(weft_task *self)
{
	return weft_task_attempt(self) < 3 ? -EAGAIN : 0;
}

Test(bundles_end, attempts_take_from_the_same_bundle_again)
{
	weft *rt = open_with(2, NULL);
	const struct weft_bundle bundles[] = { { .cpus = 1, .memory = 100 },
		                               { .cpus = 1, .memory = 100 } };
	weft_placement group;
	weft_ref refs[20];

	cr_assert_eq(weft_placement_create(rt, NULL, bundles, 2, &group), 0);
	for (int i = 0; i < 20; i++)
		refs[i] = submit(rt, succeeds_at_third, NULL,
		                 IN(group, .memory = 60, .retries = 3, .backoff_ns = 1000));
	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(bundle_of(rt, group, 0).memory_free, 100);
	cr_assert_eq(bundle_of(rt, group, 1).memory_free, 100);
	removed(rt, group);
	close_empty(rt);
}

/* ---- Capture ------------------------------------------------------------------------------- */

struct family {
	weft_placement group;
	bool captured;
	int depth;
};

static void check_place(weft_task *self, const struct family *family)
{
	struct weft_task_place place = { .struct_size = sizeof place };

	API_CHECK(weft_task_place(self, &place) == 0);
	API_CHECK(place.group.bits == (family->captured ? family->group.bits : 0));
	API_CHECK(place.captures == family->captured);
	API_CHECK(place.node == (family->captured ? 0 : WEFT_NODE_NONE));
}

static int is_family(weft_task *self)
{
	const struct family *family = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	struct family next = *family;
	weft_ref child;

	check_place(self, family);
	if (!next.depth--)
		return 0;
	API_CHECK(weft_spawn(rt, is_family, &next, sizeof next, &child) == 0);
	API_CHECK(api_end(rt, child) == 0);
	/* With options of its own as well, and out of the group when it says so. */
	child = api_submit(
		rt, WEFT_TASK(is_family, WEFT_ARG(next), .opts = WEFT_TASK_OPTIONS(.memory = 1)));
	API_CHECK(api_end(rt, child) == 0);
	next.captured = false;
	child = api_submit(rt,
	                   WEFT_TASK(is_family, WEFT_ARG(next),
	                             .opts = WEFT_TASK_OPTIONS(.place = WEFT_PLACE(0))));
	API_CHECK(api_end(rt, child) == 0);
	return 0;
}

Test(bundles_end, children_are_in_the_group_when_it_captures)
{
	weft *rt = open_with(2, NULL);
	struct family family = { .group = group_of(rt, BUNDLE(.cpus = 1, .memory = 10)),
		                 .captured = true,
		                 .depth = 4 };
	weft_ref ref = api_submit(
		rt,
		WEFT_TASK(is_family, WEFT_ARG(family),
	                  .opts = WEFT_TASK_OPTIONS(
					  .place = WEFT_PLACE(.group = family.group,
	                                                      .flags = WEFT_PLACE_CAPTURE))));

	cr_assert_eq(api_end(rt, ref), 0);
	removed(rt, family.group);
	close_empty(rt);
}

static int has_free_children(weft_task *self)
{
	const struct family family = { .captured = false };
	weft_ref child;

	API_CHECK(weft_spawn(weft_task_runtime(self), is_family, &family, sizeof family, &child) ==
	          0);
	return api_end(weft_task_runtime(self), child);
}

Test(bundles_end, children_are_in_no_group_when_it_does_not)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));

	cr_assert_eq(api_end(rt, submit(rt, has_free_children, NULL, IN(group))), 0);
	removed(rt, group);
	close_empty(rt);
}

static int submits_into_nothing(weft_task *self)
{
	const weft_placement *group = weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	weft_ref child = api_poison_ref();

	API_CHECK(weft_spawn(rt, api_body_nothing, NULL, 0, &child) == 0);
	API_CHECK(api_end(rt, child) == 0);
	/* It fits into no bundle. */
	API_CHECK(weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(.cpus = 2)),
	                      &child) == -EINVAL);
	API_CHECK(weft_placement_remove(rt, *group) == 0);
	child = api_poison_ref();
	API_CHECK(weft_spawn(rt, api_body_nothing, NULL, 0, &child) == WEFT_EPLACEMENT);
	API_CHECK(child.bits == API_POISON);
	return 0;
}

Test(bundles_end, a_captured_child_of_a_removed_group_is_refused)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	weft_ref ref = api_submit(
		rt,
		WEFT_TASK(submits_into_nothing, WEFT_ARG(group),
	                  .opts = WEFT_TASK_OPTIONS(
					  .place = WEFT_PLACE(.group = group,
	                                                      .flags = WEFT_PLACE_CAPTURE))));

	cr_assert_eq(api_end(rt, ref), 0);
	close_empty(rt);
}

struct kin {
	struct stage stage;
	struct api_count ran;
	weft_ref event, queued, waits;
};

static int leaves_children(weft_task *self)
{
	struct kin *kin = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	void *ran = &kin->ran;

	/* The bundle has one CPU, which is this body's. */
	API_CHECK(weft_spawn(rt, api_body_count, &ran, sizeof ran, &kin->queued) == 0);
	kin->waits = api_submit(
		rt, WEFT_TASK(api_body_count, API_POINTER(&kin->ran), WEFT_AFTER(kin->event)));
	return at_gate(self);
}

Test(bundles_end, captured_tasks_that_have_not_begun_end_with_their_group)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	struct kin kin = { .stage.gate = API_GATE_INIT, .event = api_event(rt) };
	weft_ref ref = api_submit(
		rt,
		WEFT_TASK(leaves_children, API_POINTER(&kin),
	                  .opts = WEFT_TASK_OPTIONS(
					  .place = WEFT_PLACE(.group = group,
	                                                      .flags = WEFT_PLACE_CAPTURE))));

	api_await_count(&kin.stage.began, 1);
	removed(rt, group);
	cr_assert_eq(api_end(rt, kin.queued), WEFT_EPLACEMENT);
	settle(rt, kin.event);
	cr_assert_eq(api_end(rt, kin.waits), WEFT_EPLACEMENT);
	api_gate_open(&kin.stage.gate);
	cr_assert_eq(api_end(rt, ref), 0);
	cr_assert_eq(api_read(&kin.ran), 0);
	api_release(rt, kin.event);
	close_empty(rt);
}

/* ---- The rest ------------------------------------------------------------------------------ */

Test(bundles_end, close_ends_what_waits_for_a_group_and_for_room)
{
	weft *rt = open_with(2, NULL);
	weft_placement first = group_of(rt, BUNDLE(.gpus = 3));
	weft_placement second = group_of(rt, BUNDLE(.cpus = 1, .gpus = 1));
	weft_ref waits = submit(rt, api_body_nothing, NULL, IN(second)), ready, inside;

	(void)first;
	cr_assert_eq(weft_placement_ready(rt, second, &ready), 0);
	inside = api_submit(rt, WEFT_TASK(api_body_get, WEFT_ARG(ready)));
	weft_interrupt(rt);
	cr_assert_eq(api_get(rt, waits), -ECANCELED);
	cr_assert_lt(api_get(rt, inside), 0);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(bundles_end, a_runtime_has_so_many_groups_and_no_more)
{
	weft *rt = open_with(2, NULL);
	static weft_placement groups[WEFT_PLACEMENTS_MAX];
	const struct weft_bundle bundle = { .memory = 1 };
	weft_placement more = { API_POISON };

	for (int i = 0; i < WEFT_PLACEMENTS_MAX; i++)
		groups[i] = group_of(rt, bundle);
	cr_assert_eq(weft_placement_create(rt, NULL, &bundle, 1, &more), -ENOSPC);
	cr_assert_eq(more.bits, API_POISON);
	/* Those beyond the memory wait, and come in order. */
	cr_assert(is_reserved(rt, groups[999]) && !is_reserved(rt, groups[1000]));
	removed(rt, groups[7]);
	cr_assert(is_reserved(rt, groups[1000]) && !is_reserved(rt, groups[1001]));
	groups[7] = group_of(rt, bundle);
	for (int i = WEFT_PLACEMENTS_MAX; i--;)
		removed(rt, groups[i]);
	close_empty(rt);
}

static int asks_badly(weft_task *self)
{
	struct weft_task_place place = { .struct_size = 4, .bundle = 77 };

	API_CHECK(weft_task_place(self, NULL) == -EINVAL);
	API_CHECK(weft_task_place(self, &place) == -EINVAL && place.bundle == 77);
	/* An older one is filled as far as it goes. */
	place.struct_size = offsetof(struct weft_task_place, bundle);
	API_CHECK(weft_task_place(self, &place) == 0 && place.bundle == 77);
	API_CHECK(place.group.bits != 0);
	return 0;
}

Test(bundles_end, a_body_may_ask_for_less)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));

	cr_assert_eq(api_end(rt, submit(rt, asks_badly, NULL, IN(group))), 0);
	removed(rt, group);
	close_empty(rt);
}

Test(bundles_end, a_group_of_1024_bundles_and_many_groups)
{
	weft *rt = open_with(2, NULL);
	static struct weft_bundle bundles[WEFT_BUNDLES_MAX];
	weft_placement many[200], wide;

	for (int i = 0; i < WEFT_BUNDLES_MAX; i++)
		bundles[i] = BUNDLE(.cpus = 0.001);
	cr_assert_eq(weft_placement_create(rt, NULL, bundles, WEFT_BUNDLES_MAX, &wide), 0);
	cr_assert(is_reserved(rt, wide));
	for (int i = 0; i < 200; i++)
		many[i] = group_of(rt, BUNDLE(.memory = 5));
	for (int i = 0; i < 200; i++)
		cr_assert(is_reserved(rt, many[i]));
	cr_assert(!(available(rt, "memory") > 0));
	for (int i = 0; i < 200; i++)
		removed(rt, many[i]);
	removed(rt, wide);
	close_empty(rt);
}
