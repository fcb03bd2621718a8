/*
 * Goal: groups of tasks: who is in one, what is counted, joined, cancelled, bounded, given up.
 * Method: bodies held at gates and by events, so that every state that is looked at stays; joins
 * for the rest.
 */
#include "groups.h"
#include "test.h"

/* ---- Life ------------------------------------------------------------------------------------ */

Test(groups, a_handle_is_good_until_it_is_destroyed)
{
	weft *rt = api_open(1), *other = api_open(1);
	weft_group group = group_make(rt, NULL), foreign = group_make(other, NULL);
	struct weft_group_stats stats = { .struct_size = sizeof stats };

	cr_assert_eq(weft_group_stats(rt, group, &stats), 0);
	cr_assert_eq(weft_group_stats(rt, foreign, &stats), -EINVAL);
	cr_assert_eq(weft_group_join(rt, foreign, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_group_join(rt, (weft_group){ 0 }, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_group_join(rt, WEFT_GROUP_NONE, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_group_join(NULL, group, WEFT_FOREVER), -EINVAL);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), 0);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	cr_assert_eq(weft_group_destroy(rt, group), -EINVAL);
	cr_assert_eq(weft_group_cancel(rt, group), -EINVAL);
	cr_assert_eq(weft_group_stats(rt, group, &stats), -EINVAL);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_group_destroy(rt, (weft_group){ 0 }), 0);
	cr_assert_eq(weft_group_destroy(NULL, (weft_group){ 0 }), -EINVAL);
	/* The slot is used again, under another name. */
	weft_group next = group_make(rt, NULL);

	cr_assert_neq(next.bits, group.bits);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), -EINVAL);
	group_end(rt, next);
	group_end(other, foreign);
	api_close(other);
	api_close(rt);
}

static void refused(weft *rt, const struct weft_group_options *opts, int status)
{
	weft_group group = { API_POISON };

	cr_assert_eq(weft_group_create(rt, opts, &group), status);
	cr_assert_eq(group.bits, API_POISON);
}

Test(groups, what_makes_no_sense_is_refused)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL), gone = group_make(rt, NULL);
	char name[65];

	memset(name, 'x', 64);
	name[64] = 0;
	group_end(rt, gone);
	refused(NULL, NULL, -EINVAL);
	cr_assert_eq(weft_group_create(rt, NULL, NULL), -EINVAL);
	refused(rt, WEFT_GROUP_OPTIONS(.name = name), -EINVAL);
	refused(rt, WEFT_GROUP_OPTIONS(.weight = WEFT_GROUP_WEIGHT_MAX + 1), -EINVAL);
	refused(rt, WEFT_GROUP_OPTIONS(.priority = 3), -EINVAL);
	refused(rt, WEFT_GROUP_OPTIONS(.reserved0 = 1), -EINVAL);
	refused(rt, WEFT_GROUP_OPTIONS(.reserved = { 0, 1 }), -EINVAL);
	refused(rt, WEFT_GROUP_OPTIONS(.parent = gone), -EINVAL);
	refused(rt, &(struct weft_group_options){ .struct_size = 1 }, -EINVAL);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	refused(rt, WEFT_GROUP_OPTIONS(.parent = group), -ECANCELED);
	group_end(rt, group);
	name[63] = 0;
	group_end(rt,
	          group_make(rt,
	                     WEFT_GROUP_OPTIONS(.name = name, .weight = WEFT_GROUP_WEIGHT_MAX,
	                                        .priority = WEFT_PRIORITY_LOW)));
	struct weft_group_stats stats = { .struct_size = 1 };

	cr_assert_eq(weft_group_stats(rt, group, NULL), -EINVAL);
	cr_assert_eq(weft_group_stats(rt, group, &stats), -EINVAL);
	cr_assert_eq(weft_group_stats(NULL, group, &stats), -EINVAL);
	api_close(rt);
}

Test(groups, there_is_an_end_to_nesting_and_to_their_number)
{
	weft *rt = api_open(1);
	weft_group all[WEFT_GROUPS_MAX], nest[WEFT_GROUP_DEPTH_MAX];

	for (int i = 0; i < WEFT_GROUP_DEPTH_MAX; i++)
		nest[i] = group_make(
			rt, i ? WEFT_GROUP_OPTIONS(.parent = nest[i - 1]) : WEFT_GROUP_OPTIONS());
	refused(rt, WEFT_GROUP_OPTIONS(.parent = nest[WEFT_GROUP_DEPTH_MAX - 1]), -EMLINK);
	for (int i = 0; i < WEFT_GROUP_DEPTH_MAX; i++)
		cr_assert_eq(weft_group_destroy(rt, nest[i]), 0);
	for (int i = 0; i < WEFT_GROUPS_MAX; i++)
		all[i] = group_make(rt, NULL);
	refused(rt, NULL, -ENOSPC);
	for (int i = 0; i < WEFT_GROUPS_MAX; i++)
		cr_assert_eq(weft_group_destroy(rt, all[i]), 0);
	api_close(rt);
}

/* ---- Who is in it ---------------------------------------------------------------------------- */

struct seen {
	weft_group self, child, given, none;
	weft_group other;
};

static int tells_group(weft_task *self)
{
	weft_group *out = api_arg_pointer(self);

	*out = weft_task_group(self);
	return 0;
}

static int has_children(weft_task *self)
{
	struct seen *seen = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	weft_group *to[3] = { &seen->child, &seen->given, &seen->none };
	const struct weft_task_options *opts[3] = { NULL, WEFT_TASK_OPTIONS(.group = seen->other),
		                                    WEFT_TASK_OPTIONS(.group = WEFT_GROUP_NONE) };
	weft_ref refs[4];

	seen->self = weft_task_group(self);
	for (int i = 0; i < 3; i++)
		refs[i] =
			api_submit(rt, WEFT_TASK(tells_group, API_POINTER(to[i]), .opts = opts[i]));
	for (int i = 0; i < 3; i++)
		API_CHECK(api_end(rt, refs[i]) == 0);
	return 0;
}

Test(groups, children_are_in_the_group_of_their_parent_unless_they_are_given_another)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL), other = group_make(rt, NULL);
	struct seen seen = { .other = other };

	cr_assert_eq(api_end(rt, group_submit(rt, group, has_children, &seen)), 0);
	cr_assert_eq(seen.self.bits, group.bits);
	cr_assert_eq(seen.child.bits, group.bits);
	cr_assert_eq(seen.given.bits, other.bits);
	cr_assert_eq(seen.none.bits, 0);
	/* The same of what is not in a group. */
	cr_assert_eq(api_end(rt, api_submit(rt, WEFT_TASK(has_children, API_POINTER(&seen)))), 0);
	cr_assert_eq(seen.self.bits, 0);
	cr_assert_eq(seen.child.bits, 0);
	cr_assert_eq(seen.given.bits, other.bits);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(weft_group_join(rt, other, WEFT_FOREVER), 0);
	cr_assert_eq(group_stats(rt, group).submitted, 2);
	cr_assert_eq(group_stats(rt, other).submitted, 2);
	group_end(rt, group);
	group_end(rt, other);
	api_close(rt);
}

struct nesting {
	weft_group made, top;
};

static int makes_groups(weft_task *self)
{
	struct nesting *n = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	n->made = group_make(rt, NULL);
	n->top = group_make(rt, WEFT_GROUP_OPTIONS(.parent = WEFT_GROUP_NONE));
	return 0;
}

Test(groups, a_group_made_in_a_task_is_in_the_group_of_that_task)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	struct nesting n;
	struct api_count count = { 0 };

	cr_assert_eq(api_end(rt, group_submit(rt, group, makes_groups, &n)), 0);
	cr_assert_eq(weft_group_cancel(rt, group), 0);
	cr_assert_eq(weft_spawn(rt, api_body_count, &(void *){ &count }, sizeof(void *), NULL), 0);
	api_await_count(&count, 1);
	struct weft_call call = { .fn = api_body_count, API_POINTER(&count) };

	call.opts = WEFT_TASK_OPTIONS(.group = n.made);
	cr_assert_eq(weft_submit(rt, &call, NULL), -ECANCELED);
	call.opts = WEFT_TASK_OPTIONS(.group = n.top);
	cr_assert_eq(weft_submit(rt, &call, NULL), 0);
	cr_assert_eq(weft_group_join(rt, n.top, WEFT_FOREVER), 0);
	group_end(rt, n.made);
	group_end(rt, n.top);
	group_end(rt, group);
	api_close(rt);
}

static int children_by_every_door(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	struct api_count *count = api_arg_pointer(self);
	char longer[100] = { 0 };
	weft_ref first = WEFT_NONE, ref = WEFT_NONE;
	struct weft_call calls[3];

	memcpy(longer, &(void *){ count }, sizeof(void *));
	API_CHECK(weft_spawn(rt, api_body_count, &(void *){ count }, sizeof(void *), &first) == 0);
	API_CHECK(weft_spawn(rt, api_body_nothing, longer, sizeof longer, NULL) == 0);
	API_CHECK(weft_submit(rt, WEFT_TASK(api_body_count, API_POINTER(count), WEFT_INPUTS(first)),
	                      &ref) == 0);
	for (int i = 0; i < 3; i++)
		calls[i] = (struct weft_call){ .fn = api_body_count,
			                       .arg = &count,
			                       .arg_size = sizeof(void *) };
	API_CHECK(weft_submit_many(rt, calls, 3, NULL) == 3);
	api_release(rt, first);
	return api_end(rt, ref);
}

Test(groups, every_way_to_submit_inherits)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL);
	struct api_count count = { 0 };

	cr_assert_eq(api_end(rt, group_submit(rt, group, children_by_every_door, &count)), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(group_stats(rt, group).submitted, 7);
	cr_assert_eq(group_stats(rt, group).done, 7);
	cr_assert_eq(api_read(&count), 5);
	group_end(rt, group);
	api_close(rt);
}

Test(groups, a_stale_or_foreign_group_is_refused_at_submit)
{
	weft *rt = api_open(1), *other = api_open(1);
	weft_group group = group_make(rt, NULL), foreign = group_make(other, NULL);
	weft_ref ref = api_poison_ref();
	struct weft_call call = { .fn = api_body_nothing };

	group_end(rt, group);
	call.opts = WEFT_TASK_OPTIONS(.group = group);
	cr_assert_eq(weft_submit(rt, &call, &ref), -EINVAL);
	call.opts = WEFT_TASK_OPTIONS(.group = foreign);
	cr_assert_eq(weft_submit(rt, &call, &ref), -EINVAL);
	cr_assert_eq(ref.bits, API_POISON);
	group_end(other, foreign);
	api_close(other);
	api_close(rt);
}

/* ---- Counters, join -------------------------------------------------------------------------- */

Test(groups, what_became_of_its_tasks_is_counted)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, NULL), within;
	const int64_t code = -7;
	weft_ref event = api_event(rt), waits, failed;

	within = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group));
	for (int i = 0; i < 5; i++)
		cr_assert_eq(api_end(rt, group_submit(rt, group, api_body_nothing, NULL)), 0);
	failed = api_submit(rt,
	                    WEFT_TASK(api_body_fail, WEFT_ARG(code),
	                              .opts = WEFT_TASK_OPTIONS(.group = within)));
	cr_assert_eq(api_end(rt, failed), WEFT_ETASK);
	waits = api_submit(rt,
	                   WEFT_TASK(api_body_nothing, WEFT_INPUTS(event),
	                             .opts = WEFT_TASK_OPTIONS(.group = within)));
	cr_assert_eq(weft_cancel(rt, waits), 0);
	cr_assert_eq(api_end(rt, waits), -ECANCELED);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	struct weft_group_stats stats = group_stats(rt, group);

	cr_assert_eq(stats.submitted, 7);
	cr_assert_eq(stats.done, 5);
	cr_assert_eq(stats.failed, 2);
	cr_assert_eq(stats.cancelled, 1);
	cr_assert_eq(stats.queued, 0);
	stats = group_stats(rt, within);
	cr_assert_eq(stats.submitted, 2);
	cr_assert_eq(stats.failed, 2);
	/* What a group in it has counted stays. */
	group_end(rt, within);
	cr_assert_eq(group_stats(rt, group).failed, 2);
	cr_assert_eq(group_stats(rt, group).submitted, 7);
	api_release(rt, event);
	group_end(rt, group);
	api_close(rt);
}

Test(groups, times_add_up_while_bodies_run_and_others_wait)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	struct group_spin spin = { .ns = 3000000 };
	struct api_gate gate = API_GATE_INIT;

	group_forget(rt, group, api_body_gate, &gate);
	api_gate_await(&gate, 1);
	for (int i = 0; i < 20; i++)
		group_forget(rt, group, group_body_spin, &spin);
	api_gate_open(&gate);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	const int64_t start = api_now();
	struct weft_group_stats stats;

	/* The worker has ended its last body and still has to read the clock. */
	do {
		stats = group_stats(rt, group);
		api_polling(start, "the time of the last body was counted");
	} while (stats.run_ns < 20 * 2900000LL);
	cr_assert_geq(stats.longest_ns, 2900000);
	/* Nineteen, eighteen, ... waited for 3 ms each. */
	cr_assert_geq(stats.queued_ns, 100 * 2900000LL);
	group_end(rt, group);
	api_close(rt);
}

Test(groups, queued_and_running_are_what_they_are_right_now)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	struct api_gate gate = API_GATE_INIT;

	group_forget(rt, group, api_body_gate, &gate);
	api_gate_await(&gate, 1);
	for (int i = 0; i < 9; i++)
		group_forget(rt, group, api_body_nothing, NULL);
	cr_assert_eq(group_stats(rt, group).queued, 9);
	cr_assert_eq(group_stats(rt, group).running, 1);
	cr_assert_eq(weft_group_join(rt, group, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_group_join(rt, group, weft_after_ms(rt, 5)), -ETIMEDOUT);
	api_gate_open(&gate);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_eq(group_stats(rt, group).queued, 0);
	group_end(rt, group);
	api_close(rt);
}

struct joining {
	weft_group group;
	int status;
};

static int joins(weft_task *self)
{
	struct joining *j = api_arg_pointer(self);

	j->status = weft_group_join(weft_task_runtime(self), j->group, WEFT_FOREVER);
	return 0;
}

Test(groups, a_task_joins_another_group_and_not_its_own)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL), inner, other = group_make(rt, NULL);
	weft_ref event = api_event(rt), held;
	struct joining j = { group, 1 }, k = { group, 1 }, m = { other, 1 };

	inner = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group));
	cr_assert_eq(api_end(rt, group_submit(rt, group, joins, &j)), 0);
	cr_assert_eq(j.status, WEFT_EDEADLOCK);
	cr_assert_eq(api_end(rt, group_submit(rt, inner, joins, &k)), 0);
	cr_assert_eq(k.status, WEFT_EDEADLOCK);
	/* The joiner sleeps on the only worker while what it waits for comes to run. */
	held = api_submit(rt,
	                  WEFT_TASK(api_body_nothing, WEFT_INPUTS(event),
	                            .opts = WEFT_TASK_OPTIONS(.group = other)));
	weft_ref joiner = group_submit(rt, group, joins, &m);

	api_await_state(rt, joiner, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, joiner), 0);
	cr_assert_eq(m.status, 0);
	cr_assert_eq(api_end(rt, held), 0);
	api_release(rt, event);
	group_end(rt, inner);
	group_end(rt, group);
	group_end(rt, other);
	api_close(rt);
}

Test(groups, a_joiner_that_is_cancelled_gives_up)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	weft_ref event = api_event(rt);
	struct joining j = { group, 1 };
	weft_ref held = api_submit(rt,
	                           WEFT_TASK(api_body_nothing, WEFT_INPUTS(event),
	                                     .opts = WEFT_TASK_OPTIONS(.group = group)));
	weft_ref joiner = api_submit(rt, WEFT_TASK(joins, API_POINTER(&j)));

	api_await_state(rt, joiner, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, joiner), 0);
	cr_assert_eq(api_end(rt, joiner), 0);
	cr_assert_eq(j.status, -EINTR);
	cr_assert_eq(weft_event_set(rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(rt, held), 0);
	api_release(rt, event);
	group_end(rt, group);
	api_close(rt);
}

static void *joins_outside(void *arg)
{
	struct joining *j = ((void **)arg)[0];

	j->status = weft_group_join(((void **)arg)[1], j->group, WEFT_FOREVER);
	return NULL;
}

Test(groups, a_join_outlives_the_handle)
{
	weft *rt = api_open(1);
	weft_group group = group_make(rt, NULL);
	struct api_gate gate = API_GATE_INIT;
	struct joining j = { group, 1 };

	group_forget(rt, group, api_body_gate, &gate);
	api_gate_await(&gate, 1);
	pthread_t thread = api_thread(joins_outside, (void *[]){ &j, rt });

	cr_assert_eq(weft_group_join(rt, group, weft_after_ms(rt, 5)), -ETIMEDOUT);
	api_gate_open(&gate);
	api_join(thread);
	cr_assert_eq(j.status, 0);
	cr_assert_eq(weft_group_destroy(rt, group), 0);
	api_close(rt);
}

/* ---- At most so many at once ----------------------------------------------------------------- */

struct crowd {
	struct api_count inside, most, entered;
	weft_ref event;
};

static void enter(struct crowd *crowd)
{
	uint64_t inside = api_add(&crowd->inside, 1), most = api_read(&crowd->most);

	while (inside > most && !wf_cas_acq_rel(&crowd->most.n, &most, inside))
		;
	for (int i = 0; i < 100; i++)
		sched_yield();
	api_add(&crowd->inside, (uint64_t)-1);
}

static int one_of_a_crowd(weft_task *self)
{
	struct crowd *crowd = api_arg_pointer(self);
	struct weft_view view;

	enter(crowd);
	api_add(&crowd->entered, 1);
	/* Who waits is not on a worker. */
	if (crowd->event.bits)
		API_CHECK(weft_get(weft_task_runtime(self), crowd->event, WEFT_FOREVER, &view) ==
		          0);
	enter(crowd);
	return 0;
}

Test(groups, no_more_bodies_than_its_limit_are_on_workers)
{
	weft *rt = api_open(4);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = 2)), within[2];
	struct crowd crowd = { 0 };

	within[0] = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group));
	within[1] = group_make(rt, WEFT_GROUP_OPTIONS(.parent = group, .parallel_max = 1));
	for (int i = 0; i < 150; i++)
		group_forget(rt, i % 3 ? within[i % 3 - 1] : group, one_of_a_crowd, &crowd);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_leq(api_read(&crowd.most), 2);
	cr_assert_eq(api_read(&crowd.entered), 150);
	for (int i = 0; i < 2; i++)
		group_end(rt, within[i]);
	group_end(rt, group);
	api_close(rt);
}

Test(groups, who_waits_leaves_its_place_to_others)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = 1));
	struct crowd crowd = { .event = api_event(rt) };

	for (int i = 0; i < 20; i++)
		group_forget(rt, group, one_of_a_crowd, &crowd);
	/* All of them come in, one after the other, though none has ended. */
	api_await_count(&crowd.entered, 20);
	cr_assert_eq(weft_event_set(rt, crowd.event, NULL, 0), 0);
	cr_assert_eq(weft_group_join(rt, group, WEFT_FOREVER), 0);
	cr_assert_leq(api_read(&crowd.most), 1);
	api_release(rt, crowd.event);
	group_end(rt, group);
	api_close(rt);
}

static int counts_down(weft_task *self)
{
	int64_t n = *(int64_t *)weft_task_arg(self, NULL), left = n - 1, got = 0;
	weft *rt = weft_task_runtime(self);
	weft_ref ref = WEFT_NONE;

	if (!n)
		return weft_return(self, &n, sizeof n);
	API_CHECK(weft_spawn(rt, counts_down, &left, sizeof left, &ref) == 0);
	API_CHECK(weft_take(rt, ref, &got, sizeof got) == sizeof got);
	return weft_return(self, &(int64_t){ got + 1 }, sizeof got);
}

Test(groups, nested_gets_end_with_one_place)
{
	weft *rt = api_open(2);
	weft_group group = group_make(rt, WEFT_GROUP_OPTIONS(.parallel_max = 1));
	const int64_t n = 1000;
	weft_ref ref = api_submit(
		rt, WEFT_TASK(counts_down, WEFT_ARG(n), .opts = WEFT_TASK_OPTIONS(.group = group)));

	cr_assert_eq(api_take_i64(rt, ref), n);
	group_end(rt, group);
	api_close(rt);
}
