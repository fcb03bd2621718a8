/*
 * Goal: whatever fails while actors are made, called, restarted and ended, the call answers -ENOMEM
 * (or -EAGAIN) with its outputs untouched, what was accepted ends, and nothing leaks.
 * Method: the sweep over one program with every kind of call, on a fresh runtime each time; the
 * counts of init, fini and drop must fit, the live cells must go back to none.
 */
#include "api_fault.h"

enum { CALLS = 40 };

struct memory {
	uint64_t begun;
};

static struct api_count inits, drops;

static int init(weft_task *self)
{
	((struct memory *)weft_actor_state(self))->begun = 1;
	api_add(&inits, 1);
	return 0;
}

static int nothing(weft_task *self)
{
	return weft_actor_state(self) ? 0 : -1;
}

static void drop(void *state, size_t size)
{
	API_CHECK(size == sizeof(struct memory));
	if (((struct memory *)state)->begun)
		api_add(&drops, 1);
}

static int body(weft_task *self)
{
	API_CHECK(((struct memory *)weft_actor_state(self))->begun == 1);
	return 0;
}

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "on purpose");
}

static int fails_once(weft_task *self)
{
	return weft_task_attempt(self) == 1 ? -7 : body(self);
}

static const struct weft_task_options retried = { .struct_size = sizeof retried,
	                                          .retries = 1,
	                                          .backoff_ns = 1000 };

static const struct weft_actor_group groups[] = { { "g", 2 } };
static const struct weft_actor_class plain =
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct memory), .init = init, .fini = nothing,
                         .drop = drop);
static const struct weft_actor_class grouped =
	WEFT_ACTOR_CLASS(.state_bytes = sizeof(struct memory), .init = init, .drop = drop,
                         .groups = groups, .n_groups = 1, .max_restarts = 2);

static void call_all(weft *rt, weft_actor actor, weft_ref event)
{
	weft_ref refs[CALLS];
	uint32_t n = 0;

	for (uint32_t i = 0; i < CALLS; i++) {
		const struct weft_call call = { .fn = i == 20        ? crashes
			                                : i % 8 == 3 ? fails_once
			                                             : body,
			                        .actor = actor,
			                        .opts = i % 8 == 3 ? &retried : NULL,
			                        .inputs = &event,
			                        .n_after = i % 4 == 1 };
		weft_ref out = api_poison_ref();
		const int rc = weft_submit_call(rt, &call, &out);

		API_CHECK(fault_allowed(rc) && (rc == 0 || out.bits == API_POISON));
		if (rc == 0)
			refs[n++] = out;
	}
	wf_fault_arm(-1, 0);
	API_CHECK(weft_event_set(rt, event, NULL, 0) == 0);
	for (uint32_t i = 0; i < n; i++) {
		const int rc = api_end(rt, refs[i]);

		API_CHECK(rc == 0 || rc == WEFT_EACTOR);
	}
}

/* Nothing is held any more. */
static void await_books(weft *rt)
{
	const int64_t start = api_now();
	struct weft_resource_info infos[3] = { 0 };

	do {
		api_polling(start, "everything was given back");
		API_CHECK(weft_resources(rt, infos, 3) == 3);
	} while (infos[0].available != infos[0].total || infos[2].available != infos[2].total);
}

static void round_in(uint64_t nth, const struct weft_actor_class *class_,
                     const struct weft_actor_holds *holds, bool in_group)
{
	weft *rt = api_open(1);
	weft_ref event = api_event(rt), died = api_poison_ref();
	weft_actor actor = { API_POISON };

	api_set(&inits, 0);
	api_set(&drops, 0);
	weft_group group = { 0 };

	if (in_group)
		API_CHECK(weft_group_create(rt, NULL, &group) == 0);
	wf_fault_arm(-1, nth);
	int rc = weft_actor_create(rt, class_,
	                           WEFT_ACTOR_OPTIONS(.name = "x", .holds = holds, .group = group),
	                           NULL, &actor);

	API_CHECK(fault_allowed(rc) && (rc == 0 || actor.bits == API_POISON));
	if (rc == 0) {
		rc = weft_actor_died(rt, actor, &died);
		API_CHECK(fault_allowed(rc) && (rc == 0 || died.bits == API_POISON));
		call_all(rt, actor, event);
		wf_fault_arm(-1, 0);
		API_CHECK(weft_actor_release(rt, actor) == 0);
		if (rc == 0)
			api_end(rt, died);
	}
	wf_fault_arm(-1, 0);
	api_release(rt, event);
	API_CHECK(weft_actor_find(rt, NULL, "x", &actor) != 0 ||
	          weft_actor_release(rt, actor) == 0);
	if (in_group)
		API_CHECK(weft_group_destroy(rt, group) == 0);
	await_books(rt);
	API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
	API_CHECK(api_read(&inits) == api_read(&drops));
}

static void round_of(uint64_t nth, const struct weft_actor_class *class_)
{
	round_in(nth, class_, NULL, false);
}

/* With something to hold, and in a group. */
static void round_holding(uint64_t nth)
{
	static const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                       .cpus = 1,
		                                       .memory = 1000 };

	round_in(nth, nth % 2 ? &plain : &grouped, &holds, true);
}

static void round_plain(uint64_t nth)
{
	round_of(nth, &plain);
}

static void round_grouped(uint64_t nth)
{
	round_of(nth, &grouped);
}

/* A call that leaves its actor for a while comes back; without memory it waits on its stack. */
static void round_leaving(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_ref out = api_poison_ref();
	weft_actor actor = { API_POISON };

	API_CHECK(weft_actor_create(rt, &plain, NULL, NULL, &actor) == 0);
	wf_fault_arm(-1, nth);
	const int rc =
		weft_submit(rt, WEFT_TASK(fails_once, .actor = actor, .opts = &retried), &out);

	API_CHECK(fault_allowed(rc) && (rc == 0 || out.bits == API_POISON));
	if (rc == 0)
		API_CHECK(api_end(rt, out) == 0);
	wf_fault_arm(-1, 0);
	API_CHECK(weft_actor_release(rt, actor) == 0);
	API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
}

int main(void)
{
	api_close(api_open(1));
	const struct fault_census before = fault_census();

	API_CHECK(fault_sweep(round_plain) > 0);
	API_CHECK(fault_sweep(round_grouped) > 0);
	API_CHECK(fault_sweep(round_holding) > 0);
	API_CHECK(fault_sweep(round_leaving) > 0);
	fault_census_check(&before);
	return 0;
}
