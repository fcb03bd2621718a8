/*
 * Goal: a flooded actor's memory stays flat, because its callers are limited, and goes back when
 * the flood is over: what one flood has taken serves the next one. (Row A22.)
 * Method: cells in use are counted exactly while a flood is held back by a gate and when it is
 * over; resident memory of the process is compared between floods, with much room.
 */
#include "actors.h"

#define LIMIT WEFT_PENDING_DEFAULT

/* Without init and fini, which have cells of their own. */
static const struct weft_actor_class plain =
	WEFT_ACTOR_CLASS(.name = "plain", .state_bytes = sizeof(struct act_state));

static int at_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

static uint64_t resident_bytes(void)
{
	unsigned long long pages = 0, all = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	API_CHECK(file != NULL);
	API_CHECK(fscanf(file, "%llu %llu", &all, &pages) == 2);
	fclose(file);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct flood {
	weft_actor actor;
	struct api_gate gate;
	uint32_t calls;
	uint64_t live; /* cells in use when the queue was full for the first time */
};

/* Makes calls until it is told that there are too many, waits, and goes on. */
static int floods(weft_task *self)
{
	struct flood *flood = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	void *gate = &flood->gate;
	const int64_t one = 1;

	API_CHECK(weft_actor_call(rt, flood->actor, at_gate, &gate, sizeof gate, NULL) == 0);
	for (uint32_t i = 0; i < flood->calls; i++) {
		int rc;

		while ((rc = weft_actor_call(rt, flood->actor, act_add, &one, 8, NULL)) ==
		       WEFT_ECALLS) {
			/* The actor stands at the gate: nothing begins or ends. */
			if (!flood->live) {
				api_gate_await(&flood->gate, 1);
				flood->live = api_tasks_live(rt);
				api_gate_open(&flood->gate);
			}
			API_CHECK(weft_actor_wait_room(rt, flood->actor, WEFT_FOREVER) == 0);
		}
		API_CHECK(rc == 0);
	}
	return 0;
}

static void run_flood(weft *rt, struct flood *flood, uint32_t calls)
{
	flood->gate = (struct api_gate)API_GATE_INIT;
	flood->calls = calls;
	flood->live = 0;
	cr_assert_eq(api_end(rt, api_spawn(rt, floods, &(void *){ flood }, sizeof(void *))), 0);
	/* The caller's calls, and the caller. */
	cr_assert_eq(flood->live, LIMIT + 1);
}

Test(actors_flood, its_memory_stays_flat_while_it_lasts_and_is_used_again)
{
	weft *rt = api_open(2);
	struct flood flood = { .actor = act_create(rt, &plain, NULL, NULL) };
	const uint32_t first = 4 * LIMIT, long_one = api_scaled(300000) + 4 * LIMIT;

	run_flood(rt, &flood, first);
	cr_assert_eq(act_value(rt, flood.actor), first);
	const uint64_t before = resident_bytes();

	run_flood(rt, &flood, long_one);
	cr_assert_eq(act_value(rt, flood.actor), (int64_t)first + long_one);
	/* Fifty times as many calls: without the limit they would take 40 MiB. */
	if (!WF_TSAN && !WF_ASAN)
		cr_assert_lt(resident_bytes(), before + (UINT64_C(8) << 20));
	api_await_no_tasks(rt);
	act_release(rt, flood.actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* Calls without a limit: all of them are there at once, then none, and again in the same memory. */
Test(actors_flood, the_memory_of_a_flood_without_a_limit_goes_back_after_it)
{
	const uint32_t n = WF_TSAN ? 5000 : api_scaled(100000);
	weft *rt = api_open(2);
	weft_actor actor = act_create(
		rt, &plain, WEFT_ACTOR_OPTIONS(.max_pending = WEFT_PENDING_UNLIMITED), NULL);
	const uint64_t small = resident_bytes();
	uint64_t once = 0;

	for (int round = 0; round < 4; round++) {
		struct api_gate gate = API_GATE_INIT;
		weft_ref first = act_call(rt, actor, at_gate, &(void *){ &gate }, sizeof(void *));
		const int64_t one = 1;

		api_gate_await(&gate, 1);
		for (uint32_t i = 0; i < n; i++)
			cr_assert_eq(weft_actor_call(rt, actor, act_add, &one, 8, NULL), 0);
		cr_assert_eq(api_tasks_live(rt), n + 1);
		api_gate_open(&gate);
		cr_assert_eq(api_end(rt, first), 0);
		cr_assert_eq(act_value(rt, actor), (int64_t)(round + 1) * n);
		api_await_no_tasks(rt);
		once = round ? once : resident_bytes() - small;
	}
	/* Three more floods have not taken as much as one. */
	if (!WF_TSAN && !WF_ASAN)
		cr_assert_lt(resident_bytes() - small, 2 * once);
	act_release(rt, actor);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* With its limit reached a caller's calls are refused, and nothing else is. */
Test(actors_flood, a_full_queue_stands_in_the_way_of_no_end)
{
	weft *rt = api_open(2);

	for (int how = 0; how < 2; how++) {
		struct api_gate gate = API_GATE_INIT;
		weft_actor actor =
			act_create(rt, &plain, WEFT_ACTOR_OPTIONS(.max_pending = 4), NULL);
		weft_ref refs[4], died = WEFT_NONE, none = api_poison_ref();

		refs[0] = act_call(rt, actor, at_gate, &(void *){ &gate }, sizeof(void *));
		for (int i = 1; i < 4; i++)
			refs[i] = act_call(rt, actor, act_add, &(int64_t){ 1 }, 8);
		api_gate_await(&gate, 1);
		cr_assert_eq(weft_actor_call(rt, actor, act_add, &(int64_t){ 1 }, 8, &none),
		             WEFT_ECALLS);
		cr_assert_eq(weft_submit(rt, WEFT_TASK(api_body_nothing, .actor = actor), &none),
		             WEFT_ECALLS);
		cr_assert_eq(none.bits, API_POISON);
		cr_assert_eq(weft_actor_died(rt, actor, &died), 0);
		if (how) {
			cr_assert_eq(weft_actor_stop(rt, actor, WEFT_POLL), -ETIMEDOUT);
		} else {
			cr_assert_eq(weft_cancel(rt, refs[3]), 0);
			cr_assert_eq(api_get(rt, refs[3]), -ECANCELED);
			/* Its place is free again. */
			cr_assert_eq(weft_actor_wait_room(rt, actor, WEFT_POLL), 0);
			cr_assert_eq(weft_actor_kill(rt, actor, WEFT_KILL_NOW), 0);
		}
		cr_assert_eq(api_end(rt, refs[1]), WEFT_EACTOR);
		api_gate_open(&gate);
		cr_assert_eq(api_end(rt, died), WEFT_EACTOR);
		cr_assert_eq(api_end(rt, refs[0]), WEFT_EACTOR);
		cr_assert_eq(api_end(rt, refs[2]), WEFT_EACTOR);
		api_release(rt, refs[3]);
		act_release(rt, actor);
	}
	api_await_no_tasks(rt);
	api_close(rt);
}
