/*
 * Goal: who waits for room at an actor goes on when much is free, and when anything is free while
 * nothing may end for long: the actor has nothing to run, or its body waits; and when the actor
 * dies; and leaves no trace when it gives up. (Row A22.)
 * Method: a task fills the limit behind a call at a gate and waits; then the gate is opened, and
 * what the second call waits for is done by that task, after its wait.
 */
#include <errno.h>

#include "actors.h"

#define LIMIT 8u

enum stall {
	GETS,    /* the second call waits in weft_get() */
	YIELDS,  /* in weft_yield() */
	BLOCKS,  /* in a blocking section */
	HOLDS,   /* in one that keeps its worker */
	LEAVES,  /* it waits for an input, and nothing else is there to run */
	CANCELS, /* the second call waits, and a queued one is cancelled */
	STALLS
};

struct scene {
	weft *rt;
	weft_actor actor;
	enum stall how;
	struct api_gate first, second;
	weft_ref event, calls[LIMIT], waiter;
	int64_t wait_ms; /* -1: as long as it takes */
	int rc;
};

static int passes_first(weft_task *self)
{
	struct scene *s = api_arg_pointer(self);

	api_gate_pass(&s->first);
	return 0;
}

static int stalls(weft_task *self)
{
	struct scene *s = api_arg_pointer(self);
	struct weft_view view;

	switch (s->how) {
	case GETS:
	case CANCELS:
		API_CHECK(weft_get(s->rt, s->event, WEFT_FOREVER, &view) == 0);
		break;
	case YIELDS:
		while (!weft_peek(s->rt, s->event))
			API_CHECK(weft_yield(s->rt) == 0);
		break;
	case BLOCKS:
	case HOLDS:
		API_CHECK(weft_block_enter(s->rt,
		                           s->how == HOLDS ? WEFT_BLOCK_HOLD
		                                           : WEFT_BLOCK_RELEASE) == 0);
		api_gate_pass(&s->second);
		weft_block_exit(s->rt);
		break;
	default:
		break;
	}
	return 0;
}

/* Fills the limit, waits for room, and lets the second call go on. */
static int fills_and_waits(weft_task *self)
{
	struct scene *s = api_arg_pointer(self);
	const struct weft_call waiting = { .fn = api_body_nothing,
		                           .actor = s->actor,
		                           WEFT_AFTER(s->event) };
	weft_ref none = api_poison_ref();

	for (uint32_t i = 0; i < LIMIT; i++) {
		void *arg = s;

		if (i && s->how == LEAVES)
			API_CHECK(weft_submit(s->rt, &waiting, &s->calls[i]) == 0);
		else
			s->calls[i] = act_call(s->rt, s->actor, i ? stalls : passes_first, &arg,
			                       sizeof arg);
	}
	API_CHECK(weft_actor_call(s->rt, s->actor, api_body_nothing, NULL, 0, &none) ==
	          WEFT_ECALLS);
	s->rc = weft_actor_wait_room(
		s->rt, s->actor, s->wait_ms < 0 ? WEFT_FOREVER : weft_after_ms(s->rt, s->wait_ms));
	API_CHECK(weft_event_set(s->rt, s->event, NULL, 0) == 0);
	api_gate_open(&s->second);
	return 0;
}

static const struct weft_actor_class limited = WEFT_ACTOR_CLASS(.max_pending = LIMIT);

static void scene_begin(struct scene *s, enum stall how, int64_t wait_ms)
{
	*s = (struct scene){ .rt = api_open(2),
		             .how = how,
		             .first = API_GATE_INIT,
		             .second = API_GATE_INIT,
		             .wait_ms = wait_ms,
		             .rc = 1 };
	s->actor = act_create(s->rt, &limited, NULL, NULL);
	s->event = api_event(s->rt);
	s->waiter = api_spawn(s->rt, fills_and_waits, &(void *){ s }, sizeof(void *));
}

static void scene_end(struct scene *s, int waited)
{
	cr_assert_eq(api_end(s->rt, s->waiter), 0);
	cr_assert_eq(s->rc, waited, "%d: %d", (int)s->how, s->rc);
	for (uint32_t i = 0; i < LIMIT; i++) {
		const int rc = api_end(s->rt, s->calls[i]);

		cr_assert(rc == 0 || rc == WEFT_EACTOR || rc == -ECANCELED, "%d", rc);
	}
	api_release(s->rt, s->event);
	act_release(s->rt, s->actor);
	api_close(s->rt);
}

/* One place is free, and half of the limit is not. */
static void waits_and_is_told(enum stall how)
{
	struct scene s;

	scene_begin(&s, how, -1);
	api_gate_await(&s.first, 1);
	api_await_state(s.rt, s.waiter, WEFT_REF_BLOCKED);
	if (how == CANCELS)
		cr_assert_eq(weft_cancel(s.rt, s.calls[LIMIT - 1]), 0);
	api_gate_open(&s.first);
	scene_end(&s, 0);
}

Test(actors_room, one_is_told_of_any_when_the_body_waits_for_a_ref)
{
	waits_and_is_told(GETS);
}

Test(actors_room, one_is_told_of_any_when_the_body_yields)
{
	waits_and_is_told(YIELDS);
}

Test(actors_room, one_is_told_of_any_when_the_body_blocks_its_thread)
{
	waits_and_is_told(BLOCKS);
	waits_and_is_told(HOLDS);
}

Test(actors_room, one_is_told_of_any_when_nothing_is_there_to_run)
{
	waits_and_is_told(LEAVES);
}

Test(actors_room, one_is_told_of_any_that_a_cancel_makes)
{
	waits_and_is_told(CANCELS);
}

static int stops(weft_task *self)
{
	struct scene *s = api_arg_pointer(self);

	return weft_actor_stop(s->rt, s->actor, WEFT_FOREVER);
}

Test(actors_room, one_is_told_of_the_actors_end)
{
	enum { KILLED, STOPPED, OVERDUE };

	for (int how = KILLED; how <= OVERDUE; how++) {
		struct scene s;
		weft_ref stopper = WEFT_NONE;

		scene_begin(&s, GETS, -1);
		api_gate_await(&s.first, 1);
		api_await_state(s.rt, s.waiter, WEFT_REF_BLOCKED);
		if (how == KILLED)
			cr_assert_eq(weft_actor_kill(s.rt, s.actor, WEFT_KILL_NOW), 0);
		else if (how == STOPPED)
			stopper = api_spawn(s.rt, stops, &(void *){ &s }, sizeof(void *));
		else
			cr_assert_eq(weft_actor_stop(s.rt, s.actor, WEFT_POLL), -ETIMEDOUT);
		/* Nothing has ended: what is pending may wait for who waits. */
		cr_assert_eq(api_end(s.rt, s.waiter), 0);
		s.waiter = api_spawn(s.rt, api_body_nothing, NULL, 0);
		api_gate_open(&s.first);
		if (how == STOPPED)
			cr_assert_eq(api_end(s.rt, stopper), 0);
		scene_end(&s, WEFT_EACTOR);
	}
}

Test(actors_room, one_that_gives_up_leaves_no_trace)
{
	struct scene s;

	/* By its time-out, by a cancel, and the next one of the same caller is told. */
	scene_begin(&s, GETS, 1);
	api_gate_await(&s.first, 1);
	cr_assert_eq(api_end(s.rt, s.waiter), 0);
	s.waiter = api_spawn(s.rt, api_body_nothing, NULL, 0);
	api_gate_open(&s.first);
	scene_end(&s, -ETIMEDOUT);

	scene_begin(&s, GETS, -1);
	api_gate_await(&s.first, 1);
	api_await_state(s.rt, s.waiter, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(s.rt, s.waiter), 0);
	/* Its body has gone on to its end. */
	cr_assert_eq(api_end(s.rt, s.waiter), 0);
	s.waiter = api_spawn(s.rt, api_body_nothing, NULL, 0);
	api_gate_open(&s.first);
	scene_end(&s, -EINTR);
}

/* Many callers fill one actor again and again: everyone is told, each of its own room. */
struct crowd {
	weft_actor actor;
	uint32_t calls;
};

static int floods(weft_task *self)
{
	const struct crowd *crowd = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	for (uint32_t i = 0; i < crowd->calls; i++) {
		int rc;

		while ((rc = weft_actor_call(rt, crowd->actor, act_add, &(int64_t){ 1 }, 8,
		                             NULL)) == WEFT_ECALLS)
			API_CHECK(weft_actor_wait_room(rt, crowd->actor, WEFT_FOREVER) == 0);
		API_CHECK(rc == 0);
	}
	return 0;
}

Test(actors_room, many_that_wait_are_all_told)
{
	static const struct weft_actor_class adder = ACT_CLASS(.max_pending = 0);
	static const uint32_t limits[] = { 1, 2, 5, 64, 2000 };

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		weft *rt = api_open(2);
		struct act_log log = { 0 };
		struct crowd crowd = {
			act_create(rt, &adder, WEFT_ACTOR_OPTIONS(.max_pending = limits[i]), &log),
			api_scaled(5000)
		};
		weft_ref refs[8];

		for (int j = 0; j < 8; j++)
			refs[j] = api_spawn(rt, floods, &(void *){ &crowd }, sizeof(void *));
		for (int j = 0; j < 8; j++)
			cr_assert_eq(api_end(rt, refs[j]), 0);
		cr_assert_eq(act_value(rt, crowd.actor), (int64_t)crowd.calls * 8);
		act_release(rt, crowd.actor);
		api_close(rt);
	}
}
