/*
 * Goal: a task starts when its whole request is free and not before, and whatever becomes of it,
 * everything is available again when it has ended; requests that cannot be met harm nobody.
 * Method: bodies held at gates, so that what runs at one moment is known; the books
 * (weft_resources()) looked at before, during and after; refused options with the log read back.
 */
#include <math.h>

#include "resources.h"
#include "test.h"

/* ---- Refused ------------------------------------------------------------------------------- */

static void expect_refused(weft *rt, struct said *said, const struct weft_task_options *opts,
                           const char *field, const char *value)
{
	weft_ref out = api_poison_ref();

	said->text[0] = '\0';
	cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .opts = opts), &out), -EINVAL,
	             "%s %s", field, value);
	cr_assert_eq(out.bits, API_POISON);
	cr_assert_not_null(strstr(said->text, field), "%s: %s", field, said->text);
	cr_assert_not_null(strstr(said->text, value), "%s: %s", value, said->text);
}

Test(resources, what_makes_no_sense_is_refused_by_field_and_value)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(2, &said);
	const struct weft_resource many[9] = { { "disk", 1 } };

#define REFUSED(field, value, ...) \
	expect_refused(rt, &said, WEFT_TASK_OPTIONS(__VA_ARGS__), field, value)
	REFUSED("cpus", "-2", .cpus = -2);
	REFUSED("cpus", "5e-05", .cpus = 0.00005);
	REFUSED("cpus", "inf", .cpus = HUGE_VAL);
	REFUSED("gpus", "1.5", .gpus = 1.5);
	REFUSED("gpus", "-3", .gpus = -3);
	REFUSED("gpus", "9e-05", .gpus = 0.00009);
	REFUSED("memory_soft", "11", .memory = 10, .memory_soft = 11);
	REFUSED("memory_retries", "1", .memory_retries = 1);
	REFUSED("memory_retries", "33", .memory = 1, .memory_retries = 33);
	REFUSED("resources", "tape", REQUEST({ "tape", 1 }));
	REFUSED("resources", "CPU", REQUEST({ "CPU", 1 }));
	REFUSED("resources", "(null)", REQUEST({ NULL, 1 }));
	REFUSED("disk", "0", REQUEST({ "disk", 0 }));
	REFUSED("disk", "2e-05", REQUEST({ "disk", 0.00002 }));
	REFUSED("resources", "named twice",
	        REQUEST({ "disk", 1 }, { "license", 1 }, { "disk", 1 }));
	REFUSED("n_resources", "9", .resources = many, .n_resources = 9);
	REFUSED("n_resources", "1", .n_resources = 1);
#undef REFUSED
	close_empty(rt);
}

static void refused_open(const struct weft_options *opts, struct said *said, const char *field)
{
	weft *rt = NULL;

	said->text[0] = '\0';
	cr_assert_eq(weft_open(&rt, opts), -EINVAL, "%s", field);
	cr_assert_not_null(strstr(said->text, field), "%s: %s", field, said->text);
}

Test(resources, a_runtime_refuses_capacities_that_make_no_sense)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	char long_name[65];

	memset(long_name, 'n', 64);
	long_name[64] = '\0';
#define REFUSED(field, ...) \
	refused_open(WEFT_OPTIONS(.workers = 1, .log = hear, .log_arg = &said, __VA_ARGS__), \
	             &said, field)
	REFUSED("gpus", .gpus = WEFT_GPUS_MAX + 1);
	REFUSED("memory", .memory = UINT64_MAX);
	REFUSED("n_resources", .n_resources = 1);
	REFUSED("n_resources", .n_resources = WEFT_RESOURCES_MAX + 1, .resources = two_names);
	REFUSED("resources", REQUEST({ "CPU", 1 }));
	REFUSED("resources", REQUEST({ "memory", 1 }));
	REFUSED("resources", REQUEST({ "", 1 }));
	REFUSED("resources", REQUEST({ long_name, 1 }));
	REFUSED("resources", REQUEST({ "x", -1 }));
	REFUSED("resources", REQUEST({ "x", 1 }, { "x", 1 }));
	REFUSED("fault_rate", .fault_rate = 1.5);
	REFUSED("fault_rate", .fault_rate = -0.5);
#undef REFUSED
}

Test(resources, nothing_is_written_when_the_question_is_bad)
{
	weft *rt = open_with(1, NULL);

	cr_assert_eq(weft_resources(NULL, NULL, 0), -EINVAL);
	cr_assert_eq(weft_resources(rt, NULL, 1), -EINVAL);
	cr_assert_eq(weft_nodes(rt, NULL, 1), -EINVAL);
	cr_assert_eq(weft_nodes(NULL, NULL, 0), -EINVAL);
	cr_assert_eq(weft_pending(rt, NULL, 1), -EINVAL);
	cr_assert_eq(weft_pending(NULL, NULL, 0), -EINVAL);
	cr_assert_eq(weft_cancel_pending(NULL, 1), -EINVAL);
	cr_assert_eq(weft_cancel_pending(rt, 999), 0);
	close_empty(rt);
}

/* ---- Totals -------------------------------------------------------------------------------- */

Test(resources, totals_are_what_the_runtime_was_opened_with)
{
	weft *rt = open_with(2, NULL);
	struct weft_resource_info infos[8];
	struct weft_node_info nodes[64];
	const double totals[] = { 2, 3, 1000, 4, 1.5 };
	const char *names[] = { "CPU", "GPU", "memory", "disk", "license" };

	cr_assert_eq(weft_resources(rt, infos, 8), 5);
	for (int i = 0; i < 5; i++) {
		cr_assert_str_eq(infos[i].name, names[i]);
		cr_assert(infos[i].total == totals[i], "%s", names[i]);
	}
	await_all_back(rt);
	const int n = weft_nodes(rt, nodes, 64);
	uint32_t workers = 0, cpus = 0;
	cr_assert_geq(n, 1);
	for (int i = 0; i < n; i++) {
		cr_assert_eq(nodes[i].node, (uint32_t)i);
		workers += nodes[i].workers;
		cpus += nodes[i].cpus;
	}
	cr_assert_eq(workers, 2);
	cr_assert_geq(cpus, 1);
	cr_assert_eq(weft_resources(rt, infos, 1), 5, "how many there are, not how many fit");
	close_empty(rt);
}

Test(resources, memory_defaults_to_a_share_of_what_there_is)
{
	weft *rt = api_open(1);

	cr_assert(available(rt, "memory") > 1e6);
	cr_assert(available(rt, "GPU") == 0);
	close_empty(rt);
}

/* ---- Admission ----------------------------------------------------------------------------- */

Test(resources, a_request_is_met_whole_or_waits)
{
	weft *rt = open_with(2, NULL);
	struct quiet one = { .event = api_event(rt) }, two = { .event = api_event(rt) };
	weft_ref a = submit(rt, at_event, &one, WEFT_TASK_OPTIONS(REQUEST({ "disk", 3 })));

	api_await_count(&one.began, 1);
	cr_assert(available(rt, "disk") == 1);
	/* Half of what it wants is free: it takes nothing of that. */
	weft_ref b = submit(rt, at_event, &two,
	                    WEFT_TASK_OPTIONS(REQUEST({ "license", 1 }, { "disk", 2 })));
	cr_assert(available(rt, "license") == 1.5);
	cr_assert_eq(api_state(rt, b), WEFT_REF_QUEUED);
	/* The rest is still there for others. */
	cr_assert_eq(api_end(rt,
	                     submit(rt, api_body_count, &two.began,
	                            WEFT_TASK_OPTIONS(REQUEST({ "disk", 1 }, { "license", 1.5 })))),
	             0);
	cr_assert_eq(api_read(&two.began), 1);
	settle(rt, one.event);
	api_await_count(&two.began, 2);
	cr_assert(available(rt, "disk") == 2);
	cr_assert(available(rt, "license") == 0.5);
	settle(rt, two.event);
	cr_assert_eq(api_end(rt, a), 0);
	cr_assert_eq(api_end(rt, b), 0);
	api_release(rt, one.event);
	api_release(rt, two.event);
	close_empty(rt);
}

Test(resources, fractions_are_counted_to_a_ten_thousandth)
{
	weft *rt = open_with(2, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	weft_ref refs[16];

	for (int i = 0; i < 15; i++)
		refs[i] = submit(rt, at_event, &quiet,
		                 WEFT_TASK_OPTIONS(REQUEST({ "license", 0.1 })));
	api_await_count(&quiet.began, 15);
	cr_assert(available(rt, "license") == 0);
	refs[15] = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(REQUEST({ "license", 0.0001 })));
	cr_assert_eq(api_state(rt, refs[15]), WEFT_REF_QUEUED);
	settle(rt, quiet.event);
	for (int i = 0; i < 16; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	api_release(rt, quiet.event);
	close_empty(rt);
}

Test(resources, memory_is_admission)
{
	weft *rt = open_with(2, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	weft_ref refs[3];

	for (int i = 0; i < 3; i++)
		refs[i] = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(.memory = 400));
	api_await_count(&quiet.began, 2);
	cr_assert(available(rt, "memory") == 200);
	cr_assert_eq(api_state(rt, refs[2]), WEFT_REF_QUEUED);
	settle(rt, quiet.event);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	cr_assert_eq(api_read(&quiet.began), 3);
	api_release(rt, quiet.event);
	close_empty(rt);
}

static int tells_gpus(weft_task *self)
{
	struct stage *stage = api_arg_pointer(self);
	struct weft_task_info info = { .struct_size = sizeof info };
	uint64_t mask = 0;

	api_add(&stage->began, 1);
	api_gate_pass(&stage->gate);
	API_CHECK(weft_task_info(self, &info) == 0);
	for (uint32_t i = 0; i < info.n_gpu; i++)
		mask |= 1u << info.gpu[i];
	return weft_return(self, &mask, sizeof mask);
}

Test(resources, shares_of_a_gpu_fill_one_after_the_other)
{
	weft *rt = open_with(6, NULL);
	struct stage stage = { .gate = API_GATE_INIT };
	weft_ref refs[6];
	uint32_t used[3] = { 0 };

	for (int i = 0; i < 6; i++)
		refs[i] = submit(rt, tells_gpus, &stage, WEFT_TASK_OPTIONS(.gpus = 0.5));
	api_await_count(&stage.began, 6);
	cr_assert(available(rt, "GPU") == 0);
	api_gate_open(&stage.gate);
	for (int i = 0; i < 6; i++) {
		const uint64_t mask = (uint64_t)api_take_i64(rt, refs[i]);

		cr_assert_eq(__builtin_popcountll(mask), 1);
		used[__builtin_ctzll(mask)]++;
	}
	for (int i = 0; i < 3; i++)
		cr_assert_eq(used[i], 2, "GPU %d", i);
	cr_assert_eq(api_take_i64(rt, submit(rt, tells_gpus, &stage, NULL)), 0,
	             "without a request there is none");
	close_empty(rt);
}

Test(resources, whole_gpus_are_nobody_elses)
{
	weft *rt = open_with(3, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	weft_ref share = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(.gpus = 0.1));
	weft_ref three = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(.gpus = 3));
	weft_ref two = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(.gpus = 2));

	api_await_count(&quiet.began, 2);
	cr_assert_eq(api_state(rt, three), WEFT_REF_QUEUED);
	cr_assert(available(rt, "GPU") == 0.9);
	/* A share fits beside the other share, not on a GPU that is taken whole. */
	cr_assert_eq(
		api_end(rt,
	                submit(rt, api_body_count, &quiet.began, WEFT_TASK_OPTIONS(.gpus = 0.9))),
		0);
	settle(rt, quiet.event);
	cr_assert_eq(api_end(rt, share), 0);
	cr_assert_eq(api_end(rt, two), 0);
	cr_assert_eq(api_end(rt, three), 0);
	api_release(rt, quiet.event);
	close_empty(rt);
}

/* ---- What cannot be met -------------------------------------------------------------------- */

Test(resources, an_infeasible_request_waits_and_blocks_nobody)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	weft *rt = open_with(2, &said);
	struct api_count runs = { 0 };
	weft_ref never = submit(rt, api_body_count, &runs,
	                        WEFT_TASK_OPTIONS(REQUEST({ "disk", 5 }), .cpus = 2, .gpus = 1));
	weft_ref more = submit(rt, api_body_count, &runs, WEFT_TASK_OPTIONS(.cpus = 3));
	struct weft_pending_info infos[4];
	bool ready = true;

	cr_assert_not_null(strstr(said.text, "more than the runtime has"), "%s", said.text);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(api_end(rt,
		                     submit(rt, api_body_nothing, NULL,
		                            WEFT_TASK_OPTIONS(REQUEST({ "disk", 4 }),
		                                              .cpus = 1 + i % 2))),
		             0);
	cr_assert_eq(weft_wait(rt, &never, 1, 1, WEFT_POLL, &ready), 0);
	cr_assert_not(ready);
	cr_assert_eq(weft_pending(rt, infos, 4), 2);
	const int big = infos[0].cpus == 2 ? 0 : 1;
	cr_assert(infos[big].infeasible && infos[big].cpus == 2 && infos[big].gpus == 1);
	cr_assert_eq(infos[big].waiting, 1);
	cr_assert_eq(infos[big].n_resources, 1);
	cr_assert_str_eq(infos[big].resources[0].name, "disk");
	cr_assert(infos[big].resources[0].amount == 5);
	cr_assert(infos[!big].infeasible && infos[!big].cpus == 3);
	cr_assert_eq(weft_pending(rt, infos, 1), 1);
	cr_assert_eq(weft_cancel(rt, never), 0);
	cr_assert_eq(api_end(rt, never), -ECANCELED);
	cr_assert_eq(weft_pending(rt, infos, 4), 1);
	cr_assert_eq(weft_cancel_pending(rt, infos[0].id), 1);
	cr_assert_eq(api_end(rt, more), -ECANCELED);
	cr_assert_eq(weft_cancel_pending(rt, infos[0].id), 0);
	cr_assert_eq(api_read(&runs), 0);
	close_empty(rt);
}

Test(resources, what_is_cancelled_as_a_kind_ends_without_a_worker)
{
	weft *rt = open_with(1, NULL);
	struct api_gate gate = API_GATE_INIT;
	const weft_ref holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	struct weft_pending_info info;
	weft_ref refs[100];

	api_gate_await(&gate, 1);
	for (int i = 0; i < 100; i++) {
		refs[i] = submit(rt, api_body_nothing, NULL, WEFT_TASK_OPTIONS(.gpus = 64));
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(api_body_nothing,
		                                   .opts = WEFT_TASK_OPTIONS(.gpus = 64)),
		                         NULL),
		             0);
	}
	cr_assert_eq(weft_pending(rt, &info, 1), 1);
	cr_assert_eq(info.waiting, 200);
	cr_assert_eq(weft_cancel_pending(rt, info.id), 200);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(api_end(rt, refs[i]), -ECANCELED);
	cr_assert_eq(weft_pending(rt, &info, 1), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, holder), 0);
	close_empty(rt);
}

Test(resources, close_ends_what_can_never_start)
{
	weft *rt = open_with(2, NULL);
	weft_ref refs[100];

	for (int i = 0; i < 100; i++)
		refs[i] = submit(rt, api_body_nothing, NULL,
		                 WEFT_TASK_OPTIONS(REQUEST({ "disk", 5 + i % 7 })));
	cr_assert_eq(weft_close(rt, WEFT_POLL), 1);
	cr_assert_neq(refs[99].bits, 0);
}

Test(resources, a_deadline_ends_what_waits_for_resources)
{
	weft *rt = open_with(1, NULL);
	struct api_count runs = { 0 };
	const weft_deadline soon = weft_after_ms(rt, 20);
	weft_ref late = submit(rt, api_body_count, &runs,
	                       WEFT_TASK_OPTIONS(REQUEST({ "disk", 5 }), .deadline = soon));
	weft_ref later = submit(rt, api_body_count, &runs,
	                        WEFT_TASK_OPTIONS(.cpus = 9, .deadline = soon + 1000000));

	cr_assert_eq(api_end(rt, later), WEFT_EDEADLINE);
	cr_assert_eq(api_end(rt, late), WEFT_EDEADLINE);
	cr_assert_geq(weft_now(rt), soon);
	cr_assert_eq(api_read(&runs), 0);
	close_empty(rt);
}

/* ---- Everything is back -------------------------------------------------------------------- */

static int allocates_and_fails(weft_task *self)
{
	void *p;

	API_CHECK(weft_task_alloc(self, 50, &p) == 0);
	return -EIO;
}

Test(resources, all_is_back_after_every_kind_of_end)
{
	weft *rt = open_with(2, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	const int64_t code = -5;
	weft_ref bad = api_spawn(rt, api_body_fail, &code, sizeof code);
	weft_ref ref;

	cr_assert_eq(api_end(rt, submit(rt, api_body_nothing, NULL, WEFT_TASK_OPTIONS(EVERYTHING))),
	             0);
	await_all_back(rt);
	cr_assert_eq(
		api_end(rt, submit(rt, allocates_and_fails, NULL, WEFT_TASK_OPTIONS(EVERYTHING))),
		WEFT_ETASK);
	await_all_back(rt);
	cr_assert_eq(api_end(rt,
	                     submit(rt, allocates_and_fails, NULL,
	                            WEFT_TASK_OPTIONS(EVERYTHING, .retries = 3))),
	             WEFT_ETASK);
	await_all_back(rt);
	cr_assert_eq(
		api_end(rt,
	                submit(rt, allocates_and_fails, NULL,
	                       WEFT_TASK_OPTIONS(EVERYTHING, .retries = 2, .backoff_ns = 1000))),
		WEFT_ETASK);
	await_all_back(rt);
	/* Cancelled while it blocks, with everything in its hands. */
	ref = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(EVERYTHING));
	api_await_state(rt, ref, WEFT_REF_BLOCKED);
	cr_assert(available(rt, "disk") == 1);
	/* Cancelled while it waits for the first one. */
	weft_ref second = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(EVERYTHING));
	cr_assert_eq(weft_cancel(rt, second), 0);
	cr_assert_eq(api_end(rt, second), -ECANCELED);
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	await_all_back(rt);
	/* Its time is over before it starts, its input has failed, it is never to begin. */
	cr_assert_eq(api_end(rt,
	                     submit(rt, api_body_nothing, NULL,
	                            WEFT_TASK_OPTIONS(EVERYTHING, .deadline = 1))),
	             WEFT_EDEADLINE);
	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(api_body_nothing, WEFT_AFTER(bad),
	                                          .opts = WEFT_TASK_OPTIONS(EVERYTHING)))),
	             WEFT_EDEP);
	ref = api_submit(rt,
	                 WEFT_TASK(api_body_nothing, WEFT_AFTER(quiet.event),
	                           .opts = WEFT_TASK_OPTIONS(EVERYTHING)));
	cr_assert_eq(weft_cancel(rt, ref), 0);
	cr_assert_eq(api_end(rt, ref), -ECANCELED);
	settle(rt, quiet.event);
	api_release(rt, bad);
	api_release(rt, quiet.event);
	close_empty(rt);
}

/* ---- Many ---------------------------------------------------------------------------------- */

static int add_one(weft_task *self)
{
	const int64_t one = 1;

	return weft_return(self, &one, sizeof one);
}

static int nested(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const int64_t depth = *(const int64_t *)weft_task_arg(self, NULL);
	int64_t less = depth - 1, value = 0;
	weft_ref ref;

	if (depth == 0)
		return add_one(self);
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(nested, WEFT_ARG(less),
	                                .opts = WEFT_TASK_OPTIONS(.cpus = depth % 2 ? 0 : 1,
	                                                          .memory = (uint64_t)depth)),
	                      &ref) == 0);
	API_CHECK(weft_take(rt, ref, &value, sizeof value) == sizeof value);
	return weft_return(self, &value, sizeof value);
}

Test(resources, a_thousand_nested_gets_end_on_one_cpu)
{
	weft *rt = api_open(1);
	const uint32_t n = api_scaled(1000);
	weft_ref *refs = calloc(n, sizeof *refs);
	const int64_t depth = 2;

	for (uint32_t i = 0; i < n; i++)
		refs[i] = api_spawn(rt, nested, &depth, sizeof depth);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_take_i64(rt, refs[i]), 1);
	free(refs);
	close_empty(rt);
}

Test(resources, a_hundred_classes_drain_in_their_order)
{
	weft *rt = open_with(2, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	const uint32_t n = api_scaled(20000);
	struct api_count runs = { 0 };
	weft_ref holder = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(REQUEST({ "disk", 4 })));

	api_await_count(&quiet.began, 1);
	for (uint32_t i = 0; i < n; i++) {
		const struct weft_resource want[] = { { "disk", 0.1 + i % 100 * 0.01 } };
		const struct weft_task_options opts = { .struct_size = sizeof opts,
			                                .resources = want,
			                                .n_resources = 1,
			                                .priority = i % 3 };

		cr_assert_eq(
			weft_submit(rt,
		                    WEFT_TASK(api_body_count, API_POINTER(&runs), .opts = &opts),
		                    NULL),
			0);
	}
	struct weft_pending_info infos[400];
	uint64_t waiting = 0;
	const int kinds = weft_pending(rt, infos, 400);
	for (int i = 0; i < kinds; i++)
		waiting += infos[i].waiting;
	cr_assert_eq(waiting, n);
	cr_assert_eq(api_read(&runs), 0);
	settle(rt, quiet.event);
	api_await_count(&runs, n);
	api_release(rt, holder);
	api_release(rt, quiet.event);
	close_empty(rt);
}

static struct api_count order;

static int notes_its_turn(weft_task *self)
{
	const int64_t turn = (int64_t)api_add(&order, 1);

	(void)self;
	return weft_return(self, &turn, sizeof turn);
}

Test(resources, who_asks_for_the_same_comes_in_the_order_of_priority_and_arrival)
{
	weft *rt = open_with(1, NULL);
	struct quiet quiet = { .event = api_event(rt) };
	weft_ref holder = submit(rt, at_event, &quiet, WEFT_TASK_OPTIONS(REQUEST({ "disk", 4 })));
	weft_ref refs[9];
	int64_t turns[9];

	api_set(&order, 0);
	api_await_count(&quiet.began, 1);
	for (uint32_t i = 0; i < 9; i++)
		refs[i] = submit(rt, notes_its_turn, NULL,
		                 WEFT_TASK_OPTIONS(REQUEST({ "disk", 4 }), .priority = i / 3));
	settle(rt, quiet.event);
	for (int i = 0; i < 9; i++)
		turns[i] = api_take_i64(rt, refs[i]);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(turns[3 + i], 1 + i, "high");
		cr_assert_eq(turns[i], 4 + i, "normal");
		cr_assert_eq(turns[6 + i], 7 + i, "low");
	}
	api_release(rt, holder);
	api_release(rt, quiet.event);
	close_empty(rt);
}
