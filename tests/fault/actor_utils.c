/*
 * Goal: whatever fails in a timer, a queue, a topic, a pool or a supervisor, the call answers
 * -ENOMEM (or -EAGAIN) with its outputs untouched, who waits in it comes out again, nothing leaks,
 * and the runtime goes on.
 * Method: the sweep over a program for each of them, on a fresh runtime each time; afterwards the
 * live cells must go back to none.
 */
#include "api_fault.h"

static struct api_count calls;

static int counts(weft_task *self)
{
	(void)self;
	api_add(&calls, 1);
	return 0;
}

static const struct weft_actor_class plain = WEFT_ACTOR_CLASS(.state_bytes = 8);
static const struct weft_actor_class restarts =
	WEFT_ACTOR_CLASS(.state_bytes = 8, .init = counts, .max_restarts = WEFT_RESTARTS_UNLIMITED);

static weft_actor actor_make(weft *rt, const struct weft_actor_class *class_)
{
	weft_actor actor;

	API_CHECK(weft_actor_create(rt, class_, NULL, NULL, &actor) == 0);
	return actor;
}

static void actor_end(weft *rt, weft_actor actor)
{
	API_CHECK(weft_actor_release(rt, actor) == 0);
}

/* Nothing is left, and the runtime goes on. */
static void finish(weft *rt)
{
	wf_fault_arm(-1, 0);
	api_await_no_tasks(rt);
	for (int64_t i = 0; i < 10; i++)
		API_CHECK(api_take_i64(rt, api_spawn(rt, api_body_identity, &i, sizeof i)) == i);
	api_close(rt);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static void timers_round(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_actor actor = actor_make(rt, &plain);
	weft_ref once = api_poison_ref(), often = api_poison_ref();
	static const char arg[100];

	api_set(&calls, 0);
	wf_fault_arm(-1, nth);
	int rc = weft_tell_after(rt, actor, 1000, counts, arg, sizeof arg, &once);

	API_CHECK(fault_allowed(rc) && (rc == 0 || once.bits == API_POISON));
	if (rc == 0) {
		rc = api_end(rt, once);
		API_CHECK(rc == 0 || rc == WEFT_ETASK || fault_allowed(rc));
	}
	rc = weft_tell_every(rt, actor, 1000, counts, arg, 8, &often);
	API_CHECK(fault_allowed(rc) && (rc == 0 || often.bits == API_POISON));
	if (rc == 0) {
		const int64_t start = api_now();

		/* It goes on, or it has ended by what failed. */
		while (api_read(&calls) < 4 && !weft_peek(rt, often))
			api_polling(start, "a timer ticks");
		API_CHECK(weft_cancel(rt, often) == 0);
		rc = api_end(rt, often);
		API_CHECK(rc == -ECANCELED || rc == WEFT_ETASK || rc == -ENOMEM || rc == -EAGAIN);
	}
	wf_fault_arm(-1, 0);
	actor_end(rt, actor);
	finish(rt);
}

/* ---- Queues ---------------------------------------------------------------------------------- */

static int takes(weft_task *self)
{
	weft_queue *queue = api_arg_pointer(self);
	weft_ref ref = api_poison_ref();
	const int rc = weft_queue_take(queue, &ref, 1, 1, WEFT_FOREVER);

	API_CHECK(rc == 1 || rc == WEFT_ECLOSED || rc == -ENOMEM || rc == -EAGAIN);
	if (rc == 1)
		api_release(weft_task_runtime(self), ref);
	else
		API_CHECK(ref.bits == API_POISON);
	return 0;
}

static void put_one(weft *rt, weft_queue *queue)
{
	weft_ref ref = api_put_i64(rt, 5);
	const int rc = weft_queue_put(queue, &ref, 1, WEFT_POLL);

	API_CHECK(fault_allowed(rc) || rc == -ETIMEDOUT);
	if (rc)
		api_release(rt, ref);
}

static void queues_round(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_queue *const poison = (void *)(uintptr_t)API_POISON, *queue = poison;
	weft_ref refs[40], takers[2] = { WEFT_NONE, WEFT_NONE };
	void *arg;

	for (int i = 0; i < 40; i++)
		refs[i] = api_put_i64(rt, i);
	wf_fault_arm(-1, nth);
	int rc = weft_queue_create(rt, 60, &queue);

	API_CHECK(fault_allowed(rc) && (rc == 0 || queue == poison));
	if (rc) {
		for (int i = 0; i < 40; i++)
			api_release(rt, refs[i]);
		finish(rt);
		return;
	}
	arg = queue;
	for (int i = 0; i < 2; i++) {
		rc = weft_spawn(rt, takes, &arg, sizeof arg, &takers[i]);
		API_CHECK(fault_allowed(rc));
		if (rc)
			takers[i] = WEFT_NONE;
	}
	/* Beyond the first room of its ring. */
	rc = weft_queue_put(queue, refs, 40, WEFT_POLL);
	API_CHECK(fault_allowed(rc));
	for (int i = 0; rc && i < 40; i++)
		api_release(rt, refs[i]);
	wf_fault_arm(-1, 0);
	put_one(rt, queue);
	API_CHECK(weft_queue_size(queue) >= 0);
	API_CHECK(weft_queue_close(queue, nth % 2) == 0);
	for (int i = 0; i < 2; i++) {
		if (takers[i].bits)
			API_CHECK(fault_allowed(api_end(rt, takers[i])));
	}
	weft_queue_destroy(queue);
	finish(rt);
}

/* ---- Topics ---------------------------------------------------------------------------------- */

static void topics_round(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_actor actors[3];
	weft_topic *const poison = (void *)(uintptr_t)API_POISON, *topic = poison;
	weft_ref input = api_put_i64(rt, 1);
	static const char arg[200];
	const struct weft_call message = {
		.arg = arg, .arg_size = sizeof arg, .inputs = &input, .n_inputs = 1
	};
	int32_t subscribed = 0;

	for (int i = 0; i < 3; i++)
		actors[i] = actor_make(rt, &plain);
	api_set(&calls, 0);
	wf_fault_arm(-1, nth);
	int rc = weft_topic_create(rt, &topic);

	API_CHECK(fault_allowed(rc) && (rc == 0 || topic == poison));
	if (rc)
		topic = NULL;
	for (int i = 0; topic && i < 3; i++) {
		rc = weft_topic_subscribe(topic, actors[i], counts);
		API_CHECK(fault_allowed(rc));
		subscribed += !rc;
	}
	if (topic) {
		rc = weft_topic_publish(topic, &message, WEFT_FOREVER, NULL);
		API_CHECK(fault_allowed(rc) && rc <= subscribed);
		rc = weft_topic_unsubscribe(topic, actors[0], counts);
		API_CHECK(fault_allowed(rc) || rc == -ENOENT);
	}
	wf_fault_arm(-1, 0);
	/* It is as it was: the next publish reaches who is left. */
	if (topic)
		API_CHECK(weft_topic_publish(topic, &message, WEFT_FOREVER, NULL) >=
		          subscribed - 1);
	weft_topic_destroy(topic);
	for (int i = 0; i < 3; i++)
		actor_end(rt, actors[i]);
	api_release(rt, input);
	finish(rt);
}

/* ---- Pools ----------------------------------------------------------------------------------- */

/* Take all there is. */
static uint32_t drain(weft *rt, weft_pool *pool)
{
	uint32_t n = 0;

	for (;;) {
		weft_ref ref = api_poison_ref();
		const int rc = n % 2 ? weft_pool_next_ready(pool, WEFT_FOREVER, &ref)
				     : weft_pool_next(pool, WEFT_FOREVER, &ref);

		API_CHECK(rc == 0 || ref.bits == API_POISON);
		if (rc == -ENOENT)
			return n;
		API_CHECK(fault_allowed(rc));
		if (rc == 0) {
			const int end = api_end(rt, ref);

			API_CHECK(fault_allowed(end));
			n++;
		}
	}
}

static void pools_round(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_actor actors[3], popped;
	weft_pool *const poison = (void *)(uintptr_t)API_POISON, *pool = poison;
	const struct weft_call call = { .fn = counts, .arg = "0123456789", .arg_size = 10 };
	uint32_t accepted = 0;

	for (int i = 0; i < 3; i++)
		actors[i] = actor_make(rt, &plain);
	wf_fault_arm(-1, nth);
	int rc = weft_pool_create(rt, actors, 2, &pool);

	API_CHECK(fault_allowed(rc) && (rc == 0 || pool == poison));
	if (rc)
		pool = NULL;
	for (int i = 0; pool && i < 6; i++) {
		rc = weft_pool_submit(pool, &call);
		API_CHECK(fault_allowed(rc));
		accepted += !rc;
	}
	if (pool) {
		rc = weft_pool_push(pool, actors[2]);
		API_CHECK(fault_allowed(rc));
		API_CHECK(drain(rt, pool) <= accepted);
	}
	wf_fault_arm(-1, 0);
	for (int i = 0; pool && i < 4; i++)
		API_CHECK(weft_pool_submit(pool, &call) == 0);
	if (pool) {
		API_CHECK(drain(rt, pool) == 4);
		API_CHECK(weft_pool_pop_idle(pool, &popped) == 0);
		actor_end(rt, popped);
	}
	weft_pool_destroy(pool);
	for (int i = 0; i < 3; i++)
		actor_end(rt, actors[i]);
	finish(rt);
}

/* ---- Supervisors ----------------------------------------------------------------------------- */

static int crashes(weft_task *self)
{
	return weft_actor_crash(self, "on purpose");
}

static void supervisors_round(uint64_t nth)
{
	weft *rt = api_open(1);
	weft_supervisor *const poison = (void *)(uintptr_t)API_POISON, *s = poison;
	weft_actor actors[2];
	weft_ref died = api_poison_ref(), ref;

	for (int i = 0; i < 2; i++)
		actors[i] = actor_make(rt, &restarts);
	wf_fault_arm(-1, nth);
	int rc = weft_supervisor_create(
		rt,
		&(struct weft_supervisor_options){ .struct_size =
	                                                   sizeof(struct weft_supervisor_options),
	                                           .strategy = WEFT_ONE_FOR_ALL,
	                                           .intensity = 10 },
		&s);

	API_CHECK(fault_allowed(rc) && (rc == 0 || s == poison));
	if (rc)
		s = NULL;
	for (int i = 0; s && i < 2; i++)
		API_CHECK(fault_allowed(weft_supervisor_add(s, actors[i])));
	if (s) {
		rc = weft_supervisor_died(s, &died);
		API_CHECK(fault_allowed(rc) && (rc == 0 || died.bits == API_POISON));
		if (rc == 0)
			api_release(rt, died);
	}
	rc = weft_actor_call(rt, actors[0], crashes, NULL, 0, &ref);
	API_CHECK(fault_allowed(rc));
	if (rc == 0)
		API_CHECK(api_end(rt, ref) == WEFT_EACTOR);
	for (int i = 0; i < 2; i++) {
		rc = weft_actor_call(rt, actors[i], counts, NULL, 0, &ref);
		API_CHECK(fault_allowed(rc));
		if (rc == 0)
			rc = api_end(rt, ref);
		/* Dead, when its init could not be called again. */
		API_CHECK(fault_allowed(rc) || rc == WEFT_EACTOR);
	}
	if (s) {
		rc = weft_supervisor_stop(s, WEFT_FOREVER);
		API_CHECK(fault_allowed(rc));
	}
	wf_fault_arm(-1, 0);
	weft_supervisor_destroy(s);
	for (int i = 0; i < 2; i++) {
		API_CHECK(weft_actor_kill(rt, actors[i], WEFT_KILL_NOW) == 0);
		actor_end(rt, actors[i]);
	}
	finish(rt);
}

int main(void)
{
	api_close(api_open(1));
	const struct fault_census before = fault_census();

	API_CHECK(fault_sweep(timers_round) > 0);
	API_CHECK(fault_sweep(queues_round) > 0);
	API_CHECK(fault_sweep(topics_round) > 0);
	API_CHECK(fault_sweep(pools_round) > 0);
	API_CHECK(fault_sweep(supervisors_round) > 0);
	fault_census_check(&before);
	return 0;
}
