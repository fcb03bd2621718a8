/*
 * Goal: whatever fails while groups are made, entered, joined, cancelled and given up, the call
 * says so with its outputs untouched; what was accepted ends and is counted, what was reserved is
 * back, and what groups keep goes with them.
 * Method: the sweep over one program that makes groups in a group, submits into them tasks that
 * reserve, wait for memory, keep references and have children, joins one and cancels another.
 */
#include "api_fault.h"

enum { GROUPS = 4, TASKS = 24, MEMORY = 100 };

struct made {
	weft *rt;
	weft_group top, group[GROUPS];
	weft_ref refs[TASKS];
	uint32_t n_groups, n_refs, submitted[GROUPS];
};

static bool allowed(int64_t status)
{
	return fault_allowed(status) || status == -ECANCELED || status == -EINTR;
}

/* What of it is there at the end is the group's, or gone. */
static void keep_one(weft *rt, weft_group group)
{
	weft_ref value = api_poison_ref();
	const uint64_t seven = 7;
	int rc = weft_put(rt, &seven, sizeof seven, &value);

	API_CHECK(allowed(rc) && (rc == 0) == (value.bits != API_POISON));
	if (rc)
		return;
	rc = weft_group_keep(rt, group, value);
	API_CHECK(allowed(rc));
	if (rc)
		api_release(rt, value);
}

static int works(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	const weft_group group = weft_task_group(self);
	weft_ref child = api_poison_ref();

	API_CHECK(group.bits != 0);
	/* Two of them fit. */
	int rc = weft_group_reserve(rt, group, MEMORY / 2, WEFT_FOREVER);

	API_CHECK(allowed(rc));
	if (rc)
		return 0;
	rc = weft_spawn(rt, api_body_nothing, NULL, 0, &child);
	API_CHECK(allowed(rc) && (rc == 0) == (child.bits != API_POISON));
	if (!rc)
		API_CHECK(allowed(api_end(rt, child)));
	keep_one(rt, group);
	API_CHECK(weft_group_give_back(rt, group, MEMORY / 2) == 0);
	return 0;
}

static void make_group(struct made *made)
{
	weft_group group = { API_POISON };
	const int rc = weft_group_create(
		made->rt,
		WEFT_GROUP_OPTIONS(.parent = made->top, .weight = made->n_groups + 1,
	                           .parallel_max = made->n_groups % 2, .name = "one"),
		&group);

	API_CHECK(fault_allowed(rc) && (rc == 0) == (group.bits != API_POISON));
	if (!rc)
		made->group[made->n_groups++] = group;
}

static void submit_one(struct made *made, uint32_t i)
{
	weft_ref out = api_poison_ref();
	const int rc = weft_submit(
		made->rt,
		WEFT_TASK(works,
	                  .opts = WEFT_TASK_OPTIONS(.group = made->group[i % made->n_groups])),
		&out);

	API_CHECK(fault_allowed(rc) && (rc == 0) == (out.bits != API_POISON));
	if (rc)
		return;
	made->refs[made->n_refs++] = out;
	made->submitted[i % made->n_groups]++;
}

/* With the fault armed. */
static void play(struct made *made)
{
	for (uint32_t i = 0; i < GROUPS; i++)
		make_group(made);
	for (uint32_t i = 0; i < TASKS && made->n_groups; i++)
		submit_one(made, i);
	if (!made->n_groups)
		return;
	keep_one(made->rt, made->group[0]);
	int rc = weft_group_reserve(made->rt, made->group[0], 1, WEFT_FOREVER);

	API_CHECK(fault_allowed(rc));
	if (!rc)
		API_CHECK(weft_group_give_back(made->rt, made->group[0], 1) == 0);
	API_CHECK(fault_allowed(weft_group_join(made->rt, made->group[0], WEFT_FOREVER)));
	API_CHECK(fault_allowed(weft_group_run(made->rt, made->group[0], WEFT_NONE, WEFT_FOREVER)));
	API_CHECK(fault_allowed(weft_group_cancel(made->rt, made->group[made->n_groups - 1])));
}

static void check_counts(const struct made *made, uint32_t i)
{
	struct weft_group_stats stats = { .struct_size = sizeof stats };

	API_CHECK(weft_group_stats(made->rt, made->group[i], &stats) == 0);
	API_CHECK(stats.done + stats.failed == stats.submitted);
	API_CHECK(stats.submitted >= made->submitted[i] && stats.memory == 0);
}

static void round_of(uint64_t nth)
{
	struct made made = { .n_refs = 0 };

	API_CHECK(weft_open(&made.rt, WEFT_OPTIONS(.workers = 2, .seed = test_seed())) == 0);
	API_CHECK(weft_group_create(made.rt, WEFT_GROUP_OPTIONS(.memory = MEMORY), &made.top) == 0);
	wf_fault_arm(-1, nth);
	play(&made);
	wf_fault_arm(-1, 0);
	for (uint32_t i = 0; i < made.n_refs; i++)
		API_CHECK(allowed(api_end(made.rt, made.refs[i])));
	API_CHECK(weft_group_join(made.rt, made.top, WEFT_FOREVER) == 0);
	for (uint32_t i = 0; i < made.n_groups; i++) {
		check_counts(&made, i);
		API_CHECK(weft_group_destroy(made.rt, made.group[i]) == 0);
	}
	API_CHECK(weft_group_destroy(made.rt, made.top) == 0);
	/* What they kept, too. */
	api_await_no_tasks(made.rt);
	api_close(made.rt);
}

int main(void)
{
	round_of(0);
	const struct fault_census before = fault_census();
	const uint64_t points = fault_sweep(round_of);

	fault_census_check(&before);
	printf("groups: %llu points\n", (unsigned long long)points);
	return 0;
}
