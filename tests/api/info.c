/*
 * Goal: a runtime and a ref tell their facts truly.
 * Method: options given and read back, states driven one by one, times on a runtime with timing.
 */
#include "api.h"
#include "test.h"

Test(info, options_are_copied_and_read_back)
{
	weft *rt = NULL;
	char name[] = "mine", ns[] = "space";
	struct weft_info info = { .struct_size = sizeof info };

	cr_assert_eq(weft_open(&rt,
	                       WEFT_OPTIONS(.workers = 3, .name = name, .ns = ns, .seed = 77,
	                                    .stack_bytes = 128 << 10, .spare_threads_max = 5)),
	             0);
	name[0] = 'X';
	ns[0] = 'X';
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(info.workers, 3);
	cr_assert_eq(info.pid, getpid());
	cr_assert_geq(info.cpus, 1);
	cr_assert_geq(info.nodes, 1);
	cr_assert_eq(info.seed, 77);
	cr_assert_str_eq(info.name, "mine");
	cr_assert_str_eq(info.ns, "space");
	cr_assert(strcmp(info.topology, "hwloc") == 0 || strcmp(info.topology, "sysfs") == 0 ||
	          strcmp(info.topology, "synthetic") == 0);
	cr_assert(strcmp(info.stack_guard, "guard") == 0 ||
	          strcmp(info.stack_guard, "mprotect") == 0 ||
	          strcmp(info.stack_guard, "canary") == 0);
	cr_assert_str_eq(info.device, "none");
	cr_assert_eq(info.options.workers, 3);
	cr_assert_eq(info.options.stack_bytes, 128 << 10);
	cr_assert_eq(info.options.spare_threads_max, 5);
	cr_assert_eq(info.options.stacks_max, 131072, "defaults are filled in");
	cr_assert_eq(info.options.tasks_max, 16777216);
	cr_assert_str_eq(info.options.name, "mine");
	api_close(rt);
}

Test(info, defaults_are_as_the_table_says)
{
	weft *a = NULL, *b = NULL;
	struct weft_info ia = { .struct_size = sizeof ia }, ib = { .struct_size = sizeof ib };

	cr_assert_eq(weft_open(&a, NULL), 0);
	cr_assert_eq(weft_open(&b, NULL), 0);
	cr_assert_eq(weft_info(a, &ia), 0);
	cr_assert_eq(weft_info(b, &ib), 0);
	cr_assert_eq(ia.workers, ia.cpus);
	cr_assert_eq(ia.options.stack_bytes, 256 << 10);
	cr_assert_eq(ia.options.spare_threads_max, 256);
	cr_assert_eq(ia.options.bind, WEFT_BIND_NODE);
	cr_assert_str_eq(ia.name, "weft");
	cr_assert_str_eq(ia.ns, "default");
	cr_assert_neq(ia.seed, 0);
	cr_assert_neq(ia.seed, ib.seed, "from the kernel");
	cr_assert_neq(ia.id, ib.id);
	cr_assert_eq(weft_options_equal(&ia.options, NULL), 1);
	api_close(b);
	api_close(a);
}

Test(info, structs_of_other_sizes)
{
	weft *rt = api_open(1);
	struct {
		struct weft_info known;
		uint64_t tail;
	} newer = { .known = { .struct_size = sizeof newer }, .tail = 5 };
	struct weft_info info = { .struct_size = 0 };
	struct weft_ref_info ref_info = { .struct_size = 0, .state = 55 };
	struct weft_stats stats = { .struct_size = 0, .submitted = 55 };
	weft_ref ref = api_put_i64(rt, 1);

	cr_assert_eq(weft_info(rt, &newer.known), 0);
	cr_assert_eq(newer.known.workers, 1);
	cr_assert_eq(weft_info(rt, &info), -EINVAL);
	cr_assert_eq(weft_info(rt, NULL), -EINVAL);
	cr_assert_eq(weft_info(NULL, &newer.known), -EINVAL);
	cr_assert_eq(weft_ref_info(rt, ref, &ref_info), -EINVAL);
	cr_assert_eq(weft_ref_info(rt, ref, NULL), -EINVAL);
	cr_assert_eq(ref_info.state, 55);
	cr_assert_eq(weft_stats(rt, &stats), -EINVAL);
	cr_assert_eq(stats.submitted, 55);
	info.struct_size = offsetof(struct weft_info, options);
	info.options.workers = 99;
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(info.options.workers, 99, "nothing is written past the caller's struct");
	cr_assert_eq(info.pid, getpid());
	api_release(rt, ref);
	api_close(rt);
}

static struct weft_ref_info ref_info(weft *rt, weft_ref ref)
{
	struct weft_ref_info info = { .struct_size = sizeof info };

	API_CHECK(weft_ref_info(rt, ref, &info) == 0);
	return info;
}

Test(info, a_ref_goes_through_its_states)
{
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	weft_ref event = api_event(rt);
	const int64_t code = -2;
	weft_ref waiting = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
	weft_ref blocked = api_spawn(rt, api_body_get, &event, sizeof event);

	cr_assert_eq(ref_info(rt, event).state, WEFT_REF_WAITING);
	cr_assert_eq(ref_info(rt, event).status, -EAGAIN);
	api_await_state(rt, blocked, WEFT_REF_BLOCKED);
	weft_ref running = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	api_gate_await(&gate, 1);
	weft_ref queued = api_spawn(rt, api_body_fail, &code, sizeof code);
	weft_ref cancelled = api_spawn(rt, api_body_nothing, NULL, 0);
	cr_assert_eq(ref_info(rt, waiting).state, WEFT_REF_WAITING);
	cr_assert_eq(ref_info(rt, waiting).worker, -1);
	cr_assert_eq(ref_info(rt, running).state, WEFT_REF_RUNNING);
	cr_assert_eq(ref_info(rt, running).status, -EAGAIN);
	cr_assert_eq(ref_info(rt, running).attempt, 1);
	cr_assert_eq(ref_info(rt, queued).state, WEFT_REF_QUEUED);
	cr_assert_eq(weft_cancel(rt, cancelled), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_get(rt, cancelled), -ECANCELED);
	cr_assert_eq(ref_info(rt, cancelled).state, WEFT_REF_CANCELLED);
	cr_assert_eq(ref_info(rt, cancelled).status, -ECANCELED);
	cr_assert_eq(weft_event_set(rt, event, "four", 4), 0);
	cr_assert_eq(api_get(rt, queued), WEFT_ETASK);
	cr_assert_eq(ref_info(rt, queued).state, WEFT_REF_FAILED);
	cr_assert_eq(ref_info(rt, queued).status, WEFT_ETASK);
	cr_assert_eq(ref_info(rt, event).state, WEFT_REF_READY);
	cr_assert_eq(ref_info(rt, event).status, 0);
	cr_assert_eq(ref_info(rt, event).size, 4);
	cr_assert_eq(api_end(rt, running), 0);
	cr_assert_eq(api_get(rt, waiting), 0);
	cr_assert_eq(ref_info(rt, waiting).worker, 0);
	cr_assert_eq(ref_info(rt, waiting).start_ns, 0, "without timing there are no times");
	const weft_ref rest[] = { event, waiting, blocked, queued, cancelled };
	cr_assert_eq(api_get(rt, blocked), 0);
	cr_assert_eq(weft_release_many(rt, rest, 5), 0);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(info, timing_keeps_submit_start_and_end)
{
	weft *rt = NULL;
	struct api_gate gate = API_GATE_INIT;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_TIMING)), 0);
	const weft_deadline before = weft_now(rt);
	weft_ref ref = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));
	api_gate_await(&gate, 1);
	const weft_deadline middle = weft_now(rt);
	api_gate_open(&gate);
	cr_assert_eq(api_get(rt, ref), 0);
	const struct weft_ref_info info = ref_info(rt, ref);
	cr_assert(before <= info.submit_ns && info.submit_ns <= info.start_ns);
	cr_assert(info.start_ns <= middle && middle <= info.end_ns);
	cr_assert_leq(info.end_ns, weft_now(rt));
	api_release(rt, ref);
	api_close(rt);
}

static int submits_a_child(weft_task *self)
{
	weft_ref child = api_submit(weft_task_runtime(self),
	                            WEFT_TASK(api_body_nothing, .opts = WEFT_TASK_OPTIONS(0)));

	return weft_return(self, &child, sizeof child);
}

/* With a cold block of its own for other reasons (a name), with one for nothing else, and plain. */
Test(info, without_events_a_task_has_no_times_and_its_children_have)
{
	static const char *const names[] = { NULL, "named" };
	weft *rt = NULL;

	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .flags = WEFT_OPEN_TIMING)), 0);
	for (int i = 0; i < 2; i++) {
		weft_ref child = WEFT_NONE;
		weft_ref ref =
			api_submit(rt,
		                   WEFT_TASK(submits_a_child,
		                             .opts = WEFT_TASK_OPTIONS(.flags = WEFT_TASK_NO_EVENTS,
		                                                       .name = names[i])));

		cr_assert_eq(weft_get_copy(rt, ref, &child, sizeof child), (int64_t)sizeof child);
		const struct weft_ref_info parent = ref_info(rt, ref);
		cr_assert(!parent.submit_ns && !parent.start_ns && !parent.end_ns);
		cr_assert_eq(parent.status, 0);
		cr_assert_eq(api_get(rt, child), 0);
		cr_assert_neq(ref_info(rt, child).start_ns, 0);
		api_release(rt, child);
		api_release(rt, ref);
	}
	api_close(rt);
}

static int tells_its_worker(weft_task *self)
{
	const int64_t worker = weft_task_worker(self);

	return weft_return(self, &worker, sizeof worker);
}

Test(info, tasks_know_their_worker)
{
	weft *rt = api_open(3);

	for (int i = 0; i < 200; i++) {
		weft_ref ref = api_spawn(rt, tells_its_worker, NULL, 0);

		cr_assert_eq(api_get(rt, ref), 0);
		const int64_t worker = ref_info(rt, ref).worker;
		cr_assert(worker >= 0 && worker < 3);
		cr_assert_eq(api_take_i64(rt, ref), worker);
	}
	api_close(rt);
}
