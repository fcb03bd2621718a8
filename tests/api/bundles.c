/*
 * Goal: a placement group reserves all of its bundles or nothing, its tasks take from them and from
 * nothing else, and when it is removed everything is the runtime's again.
 * Method: one node; bodies held at gates, so that what runs at one moment is known; the books of
 * the runtime and of the bundles looked at before, during and after.
 */
#include "bundles.h"
#include "test.h"

/* ---- Made ---------------------------------------------------------------------------------- */

static void expect_refused(weft *rt, struct said *said, const struct weft_placement_options *opts,
                           const struct weft_bundle *bundles, uint32_t n, const char *field)
{
	weft_placement out = { API_POISON };

	said->text[0] = '\0';
	cr_assert_eq(weft_placement_create(rt, opts, bundles, n, &out), -EINVAL, "%s", field);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_not_null(strstr(said->text, field), "%s: %s", field, said->text);
}

Test(bundles, what_makes_no_sense_is_refused_by_field)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(2, &said);
	const struct weft_resource many[9] = { { "disk", 1 } };
	const struct weft_bundle good = { .cpus = 1 };
	char long_name[65];

	memset(long_name, 'n', 64);
	long_name[64] = '\0';
#define REFUSED(field, ...) expect_refused(rt, &said, NULL, &BUNDLE(__VA_ARGS__), 1, field)
	REFUSED("asks for nothing", .cpus = 0);
	REFUSED("cpus", .cpus = -1);
	REFUSED("cpus", .cpus = 0.00001);
	REFUSED("gpus", .gpus = 0.5);
	REFUSED("gpus", .gpus = -1);
	REFUSED("gpus", .gpus = 65);
	REFUSED("memory", .memory = UINT64_MAX);
	REFUSED("reserved0", .cpus = 1, .reserved0 = 1);
	REFUSED("n_resources", .n_resources = 1);
	REFUSED("n_resources", .resources = many, .n_resources = 9);
	REFUSED("resources", REQUEST({ "tape", 1 }));
	REFUSED("resources", REQUEST({ NULL, 1 }));
	REFUSED("disk", REQUEST({ "disk", 0 }));
	REFUSED("named twice", REQUEST({ "disk", 1 }, { "disk", 1 }));
	/* More than there ever is. */
	REFUSED("resource", .cpus = 3);
	REFUSED("resource", .gpus = 4);
	REFUSED("resource", .memory = 1001);
	REFUSED("resource", REQUEST({ "disk", 5 }));
#undef REFUSED
#define REFUSED(field, ...) \
	expect_refused(rt, &said, WEFT_PLACEMENT_OPTIONS(__VA_ARGS__), &good, 1, field)
	REFUSED("strategy", .strategy = 4);
	REFUSED("name", .name = "");
	REFUSED("name", .name = long_name);
	REFUSED("reserved0", .reserved0 = 1);
	REFUSED("reserved", .reserved = { 0, 0, 0, 1 });
#undef REFUSED
	expect_refused(rt, &said, &(struct weft_placement_options){ .struct_size = 3 }, &good, 1,
	               "struct_size");
	expect_refused(rt, &said, NULL, &good, 0, "n:");
	expect_refused(rt, &said, NULL, &good, WEFT_BUNDLES_MAX + 1, "n:");
	expect_refused(rt, &said, WEFT_PLACEMENT_OPTIONS(.strategy = WEFT_STRICT_SPREAD),
	               (const struct weft_bundle[]){ { .cpus = 1 }, { .cpus = 1 } }, 2, "nodes");
	close_empty(rt);
}

Test(bundles, nothing_is_written_when_the_question_is_bad)
{
	weft *rt = open_with(1, NULL);
	const struct weft_bundle bundle = { .cpus = 1 };
	const struct weft_placement bad[] = { { 0 }, { 1 }, { API_POISON }, { UINT64_MAX } };
	weft_placement out = { API_POISON };
	weft_ref ref = api_poison_ref();

	cr_assert_eq(weft_placement_create(NULL, NULL, &bundle, 1, &out), -EINVAL);
	cr_assert_eq(weft_placement_create(rt, NULL, NULL, 1, &out), -EINVAL);
	cr_assert_eq(weft_placement_create(rt, NULL, &bundle, 1, NULL), -EINVAL);
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(weft_placement_ready(rt, bad[i], &ref), -EINVAL);
		cr_assert_eq(weft_placement_wait(rt, bad[i], WEFT_POLL), -EINVAL);
		cr_assert_eq(weft_bundles(rt, bad[i], NULL, 0), -EINVAL);
		cr_assert_eq(weft_placement_remove(rt, bad[i]), i ? -EINVAL : 0);
	}
	cr_assert_eq(weft_placement_ready(NULL, bad[0], &ref), -EINVAL);
	cr_assert_eq(weft_placement_remove(NULL, bad[0]), -EINVAL);
	cr_assert_eq(weft_placement_find(rt, NULL, &out), -EINVAL);
	cr_assert_eq(weft_placement_find(NULL, "x", &out), -EINVAL);
	cr_assert_eq(weft_placement_find(rt, "x", &out), -ENOENT);
	cr_assert_eq(weft_placement_find(rt, "", &out), -ENOENT);
	cr_assert_eq(weft_placements(NULL, NULL, 0), -EINVAL);
	cr_assert_eq(weft_placements(rt, NULL, 1), -EINVAL);
	cr_assert_eq(weft_placements(rt, NULL, 0), 0);
	cr_assert_eq(weft_bundles(rt, bad[1], NULL, 1), -EINVAL);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_eq(ref.bits, API_POISON);
	close_empty(rt);
}

Test(bundles, a_group_reserves_at_once_what_is_free_and_gives_it_back)
{
	weft *rt = open_with(2, NULL);
	const struct weft_bundle bundles[] = {
		{ .cpus = 1, .gpus = 1, .memory = 400 },
		{ .cpus = 0.5, REQUEST({ "disk", 3 }, { "license", 0.25 }) },
	};
	weft_placement group;

	cr_assert_eq(weft_placement_create(rt, NULL, bundles, 2, &group), 0);
	cr_assert_eq(weft_placement_wait(rt, group, WEFT_POLL), 0);
	cr_assert(available(rt, "GPU") == 2);
	cr_assert(available(rt, "memory") == 600);
	cr_assert(available(rt, "disk") == 1);
	cr_assert(available(rt, "license") == 1.25);
	struct weft_bundle_info info = bundle_of(rt, group, 0);

	cr_assert_eq(info.node, 0);
	cr_assert(info.cpus == 1 && info.cpus_free == 1 && info.gpus == 1 && info.gpus_free == 1);
	cr_assert(info.memory == 400 && info.memory_free == 400 && info.n_resources == 0);
	info = bundle_of(rt, group, 1);
	cr_assert(info.cpus == 0.5 && info.gpus == 0 && info.memory == 0);
	cr_assert_eq(info.n_resources, 2);
	cr_assert_str_eq(info.resources[0].name, "disk");
	cr_assert(info.resources[0].amount == 3 && info.resources_free[0] == 3);
	cr_assert(info.resources[1].amount == 0.25 && info.resources_free[1] == 0.25);
	removed(rt, group);
	close_empty(rt);
}

Test(bundles, groups_are_listed_and_found_by_name)
{
	weft *rt = open_with(2, NULL);
	const struct weft_bundle bundle = { .memory = 600 };
	weft_placement a, b, found = { 0 };
	struct weft_placement_info infos[4];

	cr_assert_eq(
		weft_placement_create(rt, WEFT_PLACEMENT_OPTIONS(.name = "first"), &bundle, 1, &a),
		0);
	cr_assert_eq(
		weft_placement_create(rt, WEFT_PLACEMENT_OPTIONS(.name = "first"), &bundle, 1, &b),
		-EEXIST);
	cr_assert_eq(weft_placement_create(rt, WEFT_PLACEMENT_OPTIONS(.strategy = WEFT_SPREAD),
	                                   &bundle, 1, &b),
	             0);
	cr_assert_eq(weft_placements(rt, infos, 1), 2);
	cr_assert_eq(weft_placements(rt, infos, 4), 2);
	cr_assert_eq(infos[0].group.bits, a.bits);
	cr_assert_str_eq(infos[0].name, "first");
	cr_assert(infos[0].reserved && infos[0].n_bundles == 1);
	cr_assert_eq(infos[1].strategy, WEFT_SPREAD);
	cr_assert_str_eq(infos[1].name, "");
	cr_assert(!infos[1].reserved);
	cr_assert_eq(bundle_of(rt, b, 0).node, WEFT_NODE_NONE);
	cr_assert_eq(bundle_of(rt, b, 0).memory_free, 0);
	cr_assert_eq(weft_placement_find(rt, "first", &found), 0);
	cr_assert_eq(found.bits, a.bits);
	removed(rt, a);
	cr_assert_eq(weft_placement_find(rt, "first", &found), -ENOENT);
	cr_assert(is_reserved(rt, b));
	removed(rt, b);
	cr_assert_eq(weft_placements(rt, NULL, 0), 0);
	close_empty(rt);
}

Test(bundles, a_group_waits_whole_and_blocks_nobody)
{
	weft *rt = open_with(2, NULL);
	const struct weft_bundle bundles[] = { { .gpus = 2 }, { .memory = 800 } };
	weft_placement first = group_of(rt, BUNDLE(.gpus = 2)), second;
	weft_ref ready;
	struct weft_view view;

	cr_assert_eq(weft_placement_create(rt, NULL, bundles, 2, &second), 0);
	cr_assert_eq(weft_placement_ready(rt, second, &ready), 0);
	cr_assert_eq(weft_placement_wait(rt, second, WEFT_POLL), -ETIMEDOUT);
	/* It holds nothing of what it waits for. */
	cr_assert(available(rt, "GPU") == 1);
	cr_assert(available(rt, "memory") == 1000);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(api_end(rt,
		                     submit(rt, api_body_nothing, NULL,
		                            WEFT_TASK_OPTIONS(.gpus = 1, .memory = 1000))),
		             0);
	cr_assert_eq(api_end(rt, submit(rt, api_body_nothing, NULL, NULL)), 0);
	cr_assert_eq(weft_get(rt, ready, WEFT_POLL, &view), -ETIMEDOUT);
	removed(rt, first);
	cr_assert_eq(weft_get(rt, ready, WEFT_FOREVER, &view), 0);
	cr_assert_eq(view.size, 0);
	cr_assert(available(rt, "memory") == 200);
	api_release(rt, ready);
	removed(rt, second);
	close_empty(rt);
}

Test(bundles, a_group_that_waits_comes_before_tasks_when_a_task_ends)
{
	weft *rt = open_with(2, NULL);
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref held, later;
	weft_placement group;

	held = submit(rt, at_gate, &stage, WEFT_TASK_OPTIONS(.gpus = 3));
	api_await_count(&stage.began, 1);
	later = submit(rt, api_body_nothing, NULL, WEFT_TASK_OPTIONS(.gpus = 2));
	group = group_of(rt, BUNDLE(.gpus = 2));
	cr_assert(!is_reserved(rt, group));
	api_gate_open(&stage.gate);
	cr_assert_eq(api_end(rt, held), 0);
	cr_assert_eq(weft_placement_wait(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(weft_pending(rt, &(struct weft_pending_info){ 0 }, 1), 1);
	removed(rt, group);
	cr_assert_eq(api_end(rt, later), 0);
	close_empty(rt);
}

static int depends(weft_task *self)
{
	return weft_input_count(self) ? -EPROTO : 0;
}

Test(bundles, ready_is_a_ref_like_any_other)
{
	weft *rt = open_with(2, NULL);
	weft_placement first = group_of(rt, BUNDLE(.gpus = 3)),
		       second = group_of(rt, BUNDLE(.gpus = 1));
	weft_ref ready, task, inside;

	cr_assert_eq(weft_placement_ready(rt, second, &ready), 0);
	task = api_submit(rt, WEFT_TASK(depends, WEFT_AFTER(ready)));
	inside = api_submit(rt, WEFT_TASK(api_body_get, WEFT_ARG(ready)));
	removed(rt, first);
	cr_assert_eq(api_end(rt, task), 0);
	cr_assert_eq(api_end(rt, inside), 0);
	api_release(rt, ready);
	/* Asked late, it is ready at once. */
	cr_assert_eq(weft_placement_ready(rt, second, &ready), 0);
	removed(rt, second);
	cr_assert_eq(api_end(rt, ready), 0);
	close_empty(rt);
}

/* ---- Tasks in bundles ---------------------------------------------------------------------- */

Test(bundles, a_task_that_does_not_fit_is_refused)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(4, &said);
	const struct weft_bundle bundles[] = { { .cpus = 2, .gpus = 1 }, { .memory = 100 } };
	weft_placement group, gone = group_of(rt, BUNDLE(.cpus = 1));

	removed(rt, gone);
	cr_assert_eq(weft_placement_create(rt, NULL, bundles, 2, &group), 0);
#define REFUSED(field, opts_) \
	do { \
		weft_ref out = api_poison_ref(); \
		said.text[0] = '\0'; \
		cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = (opts_)), &out), \
		             -EINVAL, "%s", field); \
		cr_assert_eq(out.bits, API_POISON); \
		cr_assert_not_null(strstr(said.text, field), "%s: %s", field, said.text); \
	} while (0)
	REFUSED("place.bundle", IN_BUNDLE(group, 2));
	REFUSED("place.bundle", IN(group, .cpus = 3));
	REFUSED("place.bundle", IN(group, .gpus = 2));
	REFUSED("place.bundle", IN(group, .memory = 1)); /* with its one CPU */
	REFUSED("place.bundle", IN(group, .cpus = WEFT_CPUS_NONE, .memory = 101));
	REFUSED("place.bundle", IN(group, REQUEST({ "disk", 1 })));
	REFUSED("place.bundle", IN_BUNDLE(group, 1));
	REFUSED("place.group", IN(gone));
#undef REFUSED
	cr_assert_eq(api_end(rt,
	                     submit(rt, api_body_nothing, NULL,
	                            IN(group, .cpus = WEFT_CPUS_NONE, .memory = 100))),
	             0);
	removed(rt, group);
	close_empty(rt);
}

Test(bundles, tasks_take_from_their_bundle_and_from_nothing_else)
{
	weft *rt = open_with(4, NULL);
	const struct weft_bundle bundles[] = { { .cpus = 1, REQUEST({ "disk", 2 }) },
		                               { .cpus = 2, .memory = 300 } };
	struct stage a = { .gate = API_GATE_INIT }, b = { .gate = API_GATE_INIT };
	weft_placement group;
	weft_ref refs[5];

	cr_assert_eq(weft_placement_create(rt, NULL, bundles, 2, &group), 0);
	refs[0] = submit(rt, at_gate, &a, IN_BUNDLE(group, 0, REQUEST({ "disk", 1.5 })));
	refs[1] = submit(rt, at_gate, &b, IN_BUNDLE(group, 0));
	refs[2] = submit(rt, at_gate, &a, IN_BUNDLE(group, 1, .memory = 200));
	refs[3] = submit(rt, at_gate, &a, IN(group));
	refs[4] = submit(rt, at_gate, &b, IN(group));
	api_await_count(&a.began, 3);
	cr_assert(bundle_of(rt, group, 0).cpus_free == 0);
	cr_assert(bundle_of(rt, group, 0).resources_free[0] == 0.5);
	cr_assert(bundle_of(rt, group, 1).cpus_free == 0);
	cr_assert_eq(bundle_of(rt, group, 1).memory_free, 100);
	cr_assert(available(rt, "disk") == 2);
	cr_assert(available(rt, "memory") == 700);
	/* Others have what the group has not, also of the workers. */
	cr_assert_eq(api_end(rt,
	                     submit(rt, api_body_nothing, NULL,
	                            WEFT_TASK_OPTIONS(.memory = 700, REQUEST({ "disk", 2 })))),
	             0);
	cr_assert_eq(api_read(&b.began), 0);
	api_gate_open(&a.gate);
	api_await_count(&b.began, 2);
	api_gate_open(&b.gate);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert(bundle_of(rt, group, 0).cpus_free == 1);
	cr_assert(bundle_of(rt, group, 1).cpus_free == 2);
	removed(rt, group);
	close_empty(rt);
}

static int tells_gpus(weft_task *self)
{
	struct weft_task_info info = { .struct_size = sizeof info };
	int64_t mask = 0;

	API_CHECK(weft_task_info(self, &info) == 0);
	for (uint32_t i = 0; i < info.n_gpu; i++)
		mask |= INT64_C(1) << info.gpu[i];
	return weft_return(self, &mask, sizeof mask);
}

Test(bundles, gpus_of_a_bundle_are_nobody_elses)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1, .gpus = 2));
	const int64_t others =
		api_take_i64(rt, submit(rt, tells_gpus, NULL, WEFT_TASK_OPTIONS(.gpus = 1)));
	const int64_t whole = api_take_i64(rt, submit(rt, tells_gpus, NULL, IN(group, .gpus = 2)));

	cr_assert_eq(others | whole, 7);
	cr_assert_eq(others & whole, 0);
	for (int i = 0; i < 20; i++) {
		const int64_t share =
			api_take_i64(rt, submit(rt, tells_gpus, NULL, IN(group, .gpus = 0.3)));

		cr_assert(share && (share & whole) == share);
	}
	cr_assert(bundle_of(rt, group, 0).gpus_free == 2);
	removed(rt, group);
	close_empty(rt);
}

Test(bundles, several_cpus_and_fractions_are_taken_from_the_bundle)
{
	weft *rt = open_with(4, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 3));
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref two, half, one;

	two = submit(rt, at_gate, &stage, IN(group, .cpus = 2));
	half = submit(rt, at_gate, &stage, IN(group, .cpus = 0.5));
	api_await_count(&stage.began, 2);
	cr_assert(bundle_of(rt, group, 0).cpus_free == 0.5);
	one = submit(rt, at_gate, &stage, IN(group));
	/* One CPU is not reserved: a fourth of the workers, which is enough for the others. */
	cr_assert_eq(api_end(rt, submit(rt, api_body_nothing, NULL, NULL)), 0);
	cr_assert_eq(api_read(&stage.began), 2);
	api_gate_open(&stage.gate);
	cr_assert_eq(api_end(rt, two), 0);
	cr_assert_eq(api_end(rt, half), 0);
	cr_assert_eq(api_end(rt, one), 0);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(api_end(rt,
		                     submit(rt, api_body_nothing, NULL,
		                            IN(group, .cpus = i % 2 ? 3 : 1.5))),
		             0);
	removed(rt, group);
	close_empty(rt);
}

Test(bundles, who_waits_gives_his_cpu_to_his_bundle)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	struct quiet quiet = { .event = api_event(rt) };
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref waits, next;

	waits = submit(rt, at_event, &quiet, IN(group));
	api_await_count(&quiet.began, 1);
	next = submit(rt, at_gate, &stage, IN(group));
	api_await_count(&stage.began, 1);
	/* It goes on at once: more run than there are CPUs. */
	settle(rt, quiet.event);
	cr_assert_eq(api_end(rt, waits), 0);
	api_gate_open(&stage.gate);
	cr_assert_eq(api_end(rt, next), 0);
	cr_assert(bundle_of(rt, group, 0).cpus_free == 1);
	removed(rt, group);
	api_release(rt, quiet.event);
	close_empty(rt);
}

Test(bundles, tasks_wait_for_their_group)
{
	weft *rt = open_with(2, NULL);
	weft_placement first = group_of(rt, BUNDLE(.gpus = 3));
	weft_placement second = group_of(rt, BUNDLE(.cpus = 1, .gpus = 1));
	weft_ref refs[4];

	for (int i = 0; i < 4; i++)
		refs[i] = submit(rt, api_body_nothing, NULL, IN(second, .gpus = i % 2 ? 0.5 : 0));
	cr_assert_eq(weft_cancel(rt, refs[3]), 0);
	cr_assert_eq(api_end(rt, refs[3]), -ECANCELED);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_state(rt, refs[i]), WEFT_REF_QUEUED);
	removed(rt, first);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	removed(rt, second);
	close_empty(rt);
}

Test(bundles, a_task_with_a_thread_of_its_own_takes_from_its_bundle)
{
	weft *rt = open_with(2, NULL);
	weft_placement group = group_of(rt, BUNDLE(.cpus = 1));
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref refs[2];

	for (int i = 0; i < 2; i++)
		refs[i] = submit(rt, at_gate, &stage, IN(group, .flags = WEFT_TASK_BLOCKING));
	api_await_count(&stage.began, 1);
	for (int i = 0; i < 50; i++)
		cr_assert_eq(api_end(rt, submit(rt, api_body_nothing, NULL, NULL)), 0);
	cr_assert_eq(api_read(&stage.began), 1);
	api_gate_open(&stage.gate);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	removed(rt, group);
	close_empty(rt);
}
