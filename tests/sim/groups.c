/*
 * Goal: groups share the workers by weight and priority, whatever the schedule; limits hold; every
 * task of a group ends once, and everything that was held is given back, whoever yields, waits,
 * joins, cancels or destroys meanwhile.
 * Method: the simulated engine (tests/support/sim.c). Bodies take a known time by its clock, so
 * that shares can be counted in bodies; and a random forest of groups with tasks in all of them.
 */
#include <errno.h>
#include <string.h>

#include "sim_util.h"

/* ---- Shares ---------------------------------------------------------------------------------- */

#define FLOOD 1000
#define WORK  20000 /* ns of a body */

struct flood {
	weft *rt;
	weft_group group;
	struct wf_a32 begun, over;
};

static void work(struct flood *flood)
{
	const int64_t until = sim_now() + WORK;

	wf_add_relaxed(&flood->begun, 1);
	/* Many steps of the schedule as well: what the engine does in between must not count. */
	for (uint32_t i = 0; i < 1000 || sim_now() < until; i++) {
		if (wf_load_relaxed(&flood->over))
			break;
		sim_yield();
	}
}

static int works(weft_task *self)
{
	struct flood *flood = *(struct flood *const *)weft_task_arg(self, NULL);

	work(flood);
	return 0;
}

/* As long as ten of the others, in turns. */
static int works_long(weft_task *self)
{
	struct flood *flood = *(struct flood *const *)weft_task_arg(self, NULL);

	for (int i = 0; i < 10; i++) {
		work(flood);
		if (weft_should_yield(self))
			SIM_CHECK(weft_yield(flood->rt) == 0);
	}
	return 0;
}

static void pour(struct flood *flood, weft_task_fn *fn, uint32_t n)
{
	const struct weft_task_options opts = { .struct_size = sizeof opts, .group = flood->group };

	for (uint32_t i = 0; i < n; i++)
		SIM_CHECK(weft_submit(flood->rt,
		                      &(struct weft_call){ .fn = fn,
		                                           .arg = &flood,
		                                           .arg_size = sizeof flood,
		                                           .opts = &opts },
		                      NULL) == 0);
}

/* Keeps a worker until all is queued. */
static int holds(weft_task *self)
{
	struct wf_a32 *held = *(struct wf_a32 *const *)weft_task_arg(self, NULL);

	wf_add_relaxed(held, 1);
	while (wf_load_relaxed(held) < 100)
		sim_yield();
	return 0;
}

static void shares(void)
{
	uint32_t workers = 1 + sim_choose(2), weight[2] = { 1, 1 + sim_choose(4) };
	weft *rt = sim_open_with(workers, 0);
	struct flood both[2] = { 0 };
	struct wf_a32 held = { 0 }, *arg = &held;
	uint32_t begun[2];

	for (uint32_t i = 0; i < workers; i++)
		SIM_CHECK(weft_spawn(rt, holds, &arg, sizeof arg, NULL) == 0);
	while (wf_load_relaxed(&held) < workers)
		sim_yield();
	/* What is in no group weighs one. */
	for (uint32_t i = 0; i < 2; i++) {
		both[i].rt = rt;
		if (i || sim_choose(2))
			SIM_CHECK(weft_group_create(rt, WEFT_GROUP_OPTIONS(.weight = weight[i]),
			                            &both[i].group) == 0);
		if (i && sim_choose(3) == 0)
			pour(&both[i], works_long, FLOOD / 10);
		else
			pour(&both[i], works, FLOOD);
	}
	wf_store_relaxed(&held, 100);
	do {
		sim_yield();
		for (uint32_t i = 0; i < 2; i++)
			begun[i] = wf_load_relaxed(&both[i].begun);
	} while (begun[0] + begun[1] < FLOOD);
	/* Of all that has begun, within two turns of 25 bodies for each worker and the start. */
	uint32_t fair = FLOOD * weight[1] / (weight[0] + weight[1]);
	uint32_t slack = 50 * workers + FLOOD / 20;

	SIM_CHECK(begun[1] + slack >= fair && begun[1] <= fair + slack);
	for (uint32_t i = 0; i < 2; i++) {
		wf_store_relaxed(&both[i].over, 1);
		if (!both[i].group.bits)
			continue;
		SIM_CHECK(weft_group_join(rt, both[i].group, WEFT_FOREVER) == 0);
		SIM_CHECK(weft_group_destroy(rt, both[i].group) == 0);
	}
	sim_close(rt);
}

/* ---- What is urgent -------------------------------------------------------------------------- */

struct urgent {
	struct flood *flood;
	struct wf_a32 after; /* bodies of the flood that had begun when it came to run */
};

static int is_urgent(weft_task *self)
{
	struct urgent *urgent = *(struct urgent *const *)weft_task_arg(self, NULL);

	wf_store_relaxed(&urgent->after, wf_load_relaxed(&urgent->flood->begun));
	return 0;
}

static void urgent(void)
{
	/* With more, any of them may be held up between the choice and the body. */
	weft *rt = sim_open_with(1, 0);
	struct flood flood = { .rt = rt };
	struct urgent urgent = { .flood = &flood }, *arg = &urgent;
	weft_group high;

	if (sim_choose(2))
		SIM_CHECK(weft_group_create(rt, NULL, &flood.group) == 0);
	SIM_CHECK(weft_group_create(rt, WEFT_GROUP_OPTIONS(.priority = WEFT_PRIORITY_HIGH),
	                            &high) == 0);
	if (sim_choose(2))
		pour(&flood, works_long, 40);
	else
		pour(&flood, works, 400);
	while (wf_load_relaxed(&flood.begun) < 10)
		sim_yield();
	weft_ref ref;
	const struct weft_task_options opts = { .struct_size = sizeof opts, .group = high };

	for (int i = 0; i < 5; i++) {
		SIM_CHECK(weft_submit(rt,
		                      &(struct weft_call){ .fn = is_urgent,
		                                           .arg = &arg,
		                                           .arg_size = sizeof arg,
		                                           .opts = &opts },
		                      &ref) == 0);
		uint32_t before = wf_load_relaxed(&flood.begun);

		while (!weft_peek(rt, ref))
			sim_yield();
		/* The worker may be about to begin one. */
		SIM_CHECK(wf_load_relaxed(&urgent.after) <= before + 1);
		SIM_CHECK(weft_release(rt, ref) == 0);
	}
	wf_store_relaxed(&flood.over, 1);
	SIM_CHECK(weft_group_destroy(rt, high) == 0);
	if (flood.group.bits) {
		SIM_CHECK(weft_group_join(rt, flood.group, WEFT_FOREVER) == 0);
		SIM_CHECK(weft_group_destroy(rt, flood.group) == 0);
	}
	sim_close(rt);
}

/* ---- Anything -------------------------------------------------------------------------------- */

#define GROUPS 6
#define DEPTH  3

struct forest {
	weft *rt;
	weft_group group[GROUPS];
	uint32_t limit[GROUPS];
	struct wf_a32 on[GROUPS]; /* bodies on workers, of the group itself */
	struct wf_a32 submitted;
	bool stops; /* something may be cancelled */
};

struct node {
	struct forest *forest;
	uint32_t depth, times;
};

static int grows(weft_task *self);

static int submit_node(struct forest *forest, weft_group group, uint32_t depth, weft_ref *out)
{
	struct node node = { forest, depth, sim_choose(4) };
	const struct weft_task_options opts = { .struct_size = sizeof opts,
		                                .group = group,
		                                .priority = sim_choose(3),
		                                .flags = forest->stops && sim_choose(12) == 0
		                                        ? WEFT_TASK_STAY
		                                        : 0 };
	int rc = weft_submit(
		forest->rt,
		&(struct weft_call){
			.fn = grows, .arg = &node, .arg_size = sizeof node, .opts = &opts },
		out);

	SIM_CHECK(!rc || (forest->stops && (rc == -ECANCELED || rc == -EINVAL)));
	if (!rc)
		wf_add_relaxed(&forest->submitted, 1);
	return rc;
}

static void on_worker(struct forest *forest, weft_task *self, uint32_t by)
{
	weft_group group = weft_task_group(self);

	for (uint32_t i = 0; i < GROUPS; i++) {
		if (forest->group[i].bits != group.bits || !forest->limit[i])
			continue;
		uint32_t on = wf_add_relaxed(&forest->on[i], by) + by;

		SIM_CHECK(on <= forest->limit[i]);
	}
}

static int grows(weft_task *self)
{
	struct node *node = weft_task_arg(self, NULL);
	struct forest *forest = node->forest;
	weft_ref refs[2];
	uint32_t n = 0;
	int rc = 0;

	if (!forest->stops)
		on_worker(forest, self, 1);
	for (uint32_t i = sim_choose(10); i; i--)
		sim_yield();
	if (!forest->stops)
		on_worker(forest, self, (uint32_t)-1);
	if (node->times) {
		node->times--;
		switch (sim_choose(3)) {
		case 0:
			return WEFT_AGAIN;
		case 1:
			rc = weft_yield(forest->rt);
			break;
		default:
			rc = weft_sleep_until(forest->rt, weft_now(forest->rt) + sim_choose(20000));
		}
		SIM_CHECK(!rc || (forest->stops && rc == -ECANCELED));
	}
	for (uint32_t i = sim_choose(3); i && node->depth < DEPTH; i--) {
		weft_group to = { 0 };

		if (sim_choose(3) == 0)
			to = forest->group[sim_choose(GROUPS)];
		n += !submit_node(forest, to, node->depth + 1, &refs[n]);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct weft_view view;

		if (sim_choose(2)) {
			rc = weft_get(forest->rt, refs[i], WEFT_FOREVER, &view);
			SIM_CHECK(!rc || (forest->stops && (rc == -ECANCELED || rc == -EINTR)));
		}
		SIM_CHECK(weft_release(forest->rt, refs[i]) == 0);
	}
	return weft_task_cancelled(self) ? -ECANCELED : 0;
}

static void *stops(void *arg)
{
	struct forest *forest = arg;

	for (uint32_t i = sim_choose(3); i; i--) {
		for (uint32_t j = sim_choose(2000); j; j--)
			sim_yield();
		SIM_CHECK(weft_group_cancel(forest->rt, forest->group[sim_choose(GROUPS)]) == 0);
	}
	return NULL;
}

static void *joins(void *arg)
{
	struct forest *forest = arg;
	weft_group group = forest->group[sim_choose(GROUPS)];
	int64_t until = sim_choose(2) ? WEFT_FOREVER : weft_now(forest->rt) + sim_choose(200000);
	int rc = sim_choose(2) ? weft_group_run(forest->rt, group, (weft_ref){ 0 }, until)
			       : weft_group_join(forest->rt, group, until);

	SIM_CHECK(rc == 0 || (until != WEFT_FOREVER && rc == -ETIMEDOUT));
	return NULL;
}

static void plant(struct forest *forest)
{
	for (uint32_t i = 0; i < GROUPS; i++) {
		weft_group parent = { 0 };

		if (i && sim_choose(2))
			parent = forest->group[sim_choose(i)];
		forest->limit[i] = sim_choose(2) ? 1 + sim_choose(3) : 0;
		SIM_CHECK(weft_group_create(forest->rt,
		                            WEFT_GROUP_OPTIONS(.parent = parent,
		                                               .weight = 1 + sim_choose(5),
		                                               .priority = sim_choose(3),
		                                               .parallel_max = forest->limit[i]),
		                            &forest->group[i]) == 0);
	}
}

static void anything(void)
{
	struct forest forest = { .rt = sim_open(), .stops = sim_choose(2) };
	pthread_t thread[3];
	uint64_t submitted = 0, ended = 0;

	plant(&forest);
	for (uint32_t i = 0; i < 12; i++)
		submit_node(&forest, forest.group[sim_choose(GROUPS)], 0, NULL);
	thread[0] = sim_thread(joins, &forest);
	thread[1] = sim_thread(joins, &forest);
	if (forest.stops)
		thread[2] = sim_thread(stops, &forest);
	for (uint32_t i = 0; i < (forest.stops ? 3u : 2u); i++)
		sim_join(thread[i]);
	/* Tasks of one may submit into another that was joined before: once for each generation. */
	for (uint32_t i = 0; i < GROUPS * (DEPTH + 1); i++)
		SIM_CHECK(weft_group_join(forest.rt, forest.group[i % GROUPS], WEFT_FOREVER) == 0);
	/* The children before the parents: each adds up in the one that it is in. */
	for (uint32_t i = GROUPS; i-- > 0;) {
		struct weft_group_stats stats = { .struct_size = sizeof stats };

		SIM_CHECK(weft_group_stats(forest.rt, forest.group[i], &stats) == 0);
		SIM_CHECK(stats.submitted == stats.done + stats.failed && !stats.queued);
		SIM_CHECK(stats.failed == stats.cancelled);
		SIM_CHECK(forest.stops || !stats.failed);
		submitted = stats.submitted > submitted ? stats.submitted : submitted;
		ended += stats.done;
		SIM_CHECK(weft_group_destroy(forest.rt, forest.group[i]) == 0);
	}
	SIM_CHECK(submitted <= wf_load_relaxed(&forest.submitted));
	SIM_CHECK(forest.stops || ended >= wf_load_relaxed(&forest.submitted));
	sim_close(forest.rt);
}

int main(int argc, char **argv)
{
	static const struct sim_program list[] = {
		{ "shares", shares },
		{ "urgent", urgent },
		{ "anything", anything },
	};

	return sim_main(list, sizeof list / sizeof *list, argc, argv);
}
