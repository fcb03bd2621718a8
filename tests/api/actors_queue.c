/*
 * actors_queue: queues of references and topics.
 *
 * Goal: what is put is taken once and in its order, all of a batch or nothing; who waits holds no
 * worker, is served in the order of coming and leaves nothing behind when its time is over; a
 * topic's subscribers are told of everything in the publisher's order. Method: values that carry
 * their number, one worker where a held worker would be a hang, and states that are polled for.
 */
#include "actors.h"

static weft_queue *queue_make(weft *rt, uint32_t max)
{
	weft_queue *queue = NULL;

	API_CHECK(weft_queue_create(rt, max, &queue) == 0);
	API_CHECK(queue != NULL);
	return queue;
}

static void put_i64(weft *rt, weft_queue *queue, int64_t value)
{
	const weft_ref ref = api_put_i64(rt, value);

	API_CHECK(weft_queue_put(queue, &ref, 1, WEFT_FOREVER) == 0);
}

static int64_t take_i64(weft *rt, weft_queue *queue)
{
	weft_ref ref = WEFT_NONE;

	API_CHECK(weft_queue_take(queue, &ref, 1, 1, WEFT_FOREVER) == 1);
	return api_take_i64(rt, ref);
}

Test(actors_queue, first_in_first_out_and_a_batch_is_all_or_nothing)
{
	weft *rt = api_open(1);
	weft_queue *queue = queue_make(rt, 4);
	weft_ref in[5], out[5] = { { API_POISON } };

	for (int i = 0; i < 5; i++)
		in[i] = api_put_i64(rt, i);
	cr_assert_eq(weft_queue_put(queue, in, 3, WEFT_POLL), 0);
	cr_assert_eq(weft_queue_put(queue, in + 3, 2, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(weft_queue_size(queue), 3);
	cr_assert_eq(weft_queue_take(queue, out, 4, 4, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(out[0].bits, API_POISON);
	cr_assert_eq(weft_queue_put(queue, in + 3, 1, WEFT_POLL), 0);
	cr_assert_eq(weft_queue_take(queue, out, 1, 2, WEFT_POLL), 2);
	/* Round the end of the ring. */
	cr_assert_eq(weft_queue_put(queue, in + 4, 1, WEFT_POLL), 0);
	cr_assert_eq(weft_queue_take(queue, out + 2, 3, 3, WEFT_POLL), 3);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(api_take_i64(rt, out[i]), i);
	cr_assert_eq(weft_queue_size(queue), 0);
	weft_queue_destroy(queue);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_queue, bad_arguments_are_refused_without_a_trace)
{
	weft *rt = api_open(1);
	weft_queue *queue = NULL;
	const weft_ref in[3] = { api_put_i64(rt, 0), { 0 }, api_put_i64(rt, 1) };
	weft_ref out[3] = { { API_POISON } };

	cr_assert_eq(weft_queue_create(NULL, 1, &queue), -EINVAL);
	cr_assert_eq(weft_queue_create(rt, 1, NULL), -EINVAL);
	queue = queue_make(rt, 2);
	cr_assert_eq(weft_queue_put(NULL, in, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_put(queue, NULL, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_put(queue, in, 0, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_put(queue, in, 2, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_put(queue, in, 3, WEFT_FOREVER), -EMSGSIZE);
	cr_assert_eq(weft_queue_take(NULL, out, 1, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_take(queue, NULL, 1, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_take(queue, out, 0, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_take(queue, out, 2, 1, WEFT_POLL), -EINVAL);
	cr_assert_eq(weft_queue_take(queue, out, 3, 3, WEFT_FOREVER), -EMSGSIZE);
	cr_assert_eq(weft_queue_size(NULL), -EINVAL);
	cr_assert_eq(weft_queue_close(NULL, false), -EINVAL);
	cr_assert_eq(weft_queue_size(queue), 0);
	cr_assert_eq(out[0].bits, API_POISON);
	weft_queue_destroy(queue);
	weft_queue_destroy(NULL);
	api_release(rt, in[0]);
	api_release(rt, in[2]);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Waiting --------------------------------------------------------------------------------- */

struct both {
	weft_queue *in, *out;
};

static int takes_one(weft_task *self)
{
	struct both *both = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const int64_t value = take_i64(rt, both->in);

	put_i64(rt, both->out, value);
	return 0;
}

Test(actors_queue, blocked_takers_hold_no_worker)
{
	enum { TAKERS = 200 };
	weft *rt = api_open(1);
	struct both both = { queue_make(rt, 1), queue_make(rt, 0) };
	static weft_ref tasks[TAKERS];
	bool seen[TAKERS] = { false };

	for (int i = 0; i < TAKERS; i++)
		tasks[i] = api_submit(rt, WEFT_TASK(takes_one, API_POINTER(&both)));
	for (int i = 0; i < TAKERS; i++)
		api_await_state(rt, tasks[i], WEFT_REF_BLOCKED);
	for (int i = 0; i < TAKERS; i++)
		put_i64(rt, both.in, i);
	for (int i = 0; i < TAKERS; i++) {
		const int64_t value = take_i64(rt, both.out);

		cr_assert(value >= 0 && value < TAKERS && !seen[value]);
		seen[value] = true;
	}
	for (int i = 0; i < TAKERS; i++)
		cr_assert_eq(api_end(rt, tasks[i]), 0);
	weft_queue_destroy(both.in);
	weft_queue_destroy(both.out);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int takes_numbered(weft_task *self)
{
	weft_queue *queue = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const int64_t value = take_i64(rt, queue);

	return weft_return(self, &value, sizeof value);
}

Test(actors_queue, takers_are_served_in_the_order_of_coming)
{
	enum { TAKERS = 20 };
	weft *rt = api_open(2);
	weft_queue *queue = queue_make(rt, 3);
	weft_ref tasks[TAKERS];

	for (int i = 0; i < TAKERS; i++) {
		tasks[i] = api_submit(rt, WEFT_TASK(takes_numbered, API_POINTER(queue)));
		api_await_state(rt, tasks[i], WEFT_REF_BLOCKED);
	}
	for (int i = 0; i < TAKERS; i++)
		put_i64(rt, queue, i);
	for (int i = 0; i < TAKERS; i++)
		cr_assert_eq(api_take_i64(rt, tasks[i]), i);
	weft_queue_destroy(queue);
	api_close(rt);
}

static int puts_two(weft_task *self)
{
	weft_queue *queue = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	const weft_ref refs[2] = { api_put_i64(rt, 10), api_put_i64(rt, 11) };
	const int rc = weft_queue_put(queue, refs, 2, WEFT_FOREVER);

	if (rc) {
		api_release(rt, refs[0]);
		api_release(rt, refs[1]);
	}
	return rc;
}

Test(actors_queue, a_putter_waits_until_all_of_its_batch_fits)
{
	weft *rt = api_open(1);
	weft_queue *queue = queue_make(rt, 2);

	put_i64(rt, queue, 0);
	weft_ref task = api_submit(rt, WEFT_TASK(puts_two, API_POINTER(queue)));

	api_await_state(rt, task, WEFT_REF_BLOCKED);
	/* It does not overtake the one that waits, though it would fit. */
	const weft_ref small = api_put_i64(rt, 1);

	cr_assert_eq(weft_queue_put(queue, &small, 1, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(take_i64(rt, queue), 0);
	cr_assert_eq(api_end(rt, task), 0);
	cr_assert_eq(weft_queue_put(queue, &small, 1, WEFT_POLL), -ETIMEDOUT);
	cr_assert_eq(take_i64(rt, queue), 10);
	cr_assert_eq(weft_queue_put(queue, &small, 1, WEFT_POLL), 0);
	cr_assert_eq(take_i64(rt, queue), 11);
	cr_assert_eq(take_i64(rt, queue), 1);
	weft_queue_destroy(queue);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_queue, who_stops_waiting_leaves_no_trace_and_lets_the_next_one_in)
{
	weft *rt = api_open(1);
	weft_queue *queue = queue_make(rt, 2);
	weft_ref out[2] = { { API_POISON } };

	/* By time-out, on a host thread. */
	cr_assert_eq(weft_queue_take(queue, out, 1, 2, weft_after_ms(rt, 1)), -ETIMEDOUT);
	cr_assert_eq(out[0].bits, API_POISON);
	/* By cancel: of two putters that wait the second one fits when the first has gone. */
	put_i64(rt, queue, 0);
	weft_ref task = api_submit(rt, WEFT_TASK(puts_two, API_POINTER(queue)));

	api_await_state(rt, task, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(rt, task), 0);
	cr_assert_eq(api_end(rt, task), -ECANCELED);
	put_i64(rt, queue, 1);
	cr_assert_eq(take_i64(rt, queue), 0);
	cr_assert_eq(take_i64(rt, queue), 1);
	/* And a taker that was cancelled takes nothing. */
	task = api_submit(rt, WEFT_TASK(takes_one, API_POINTER((&(struct both){ queue, queue }))));
	api_await_state(rt, task, WEFT_REF_BLOCKED);
	put_i64(rt, queue, 2);
	cr_assert_eq(api_end(rt, task), 0);
	cr_assert_eq(take_i64(rt, queue), 2);
	weft_queue_destroy(queue);
	api_await_no_tasks(rt);
	api_close(rt);
}

static int takes_numbered_or_fails(weft_task *self)
{
	weft_ref ref = { API_POISON };
	const int rc = weft_queue_take(api_arg_pointer(self), &ref, 1, 1, WEFT_FOREVER);

	API_CHECK(rc == -EINTR || rc == WEFT_ECLOSED);
	API_CHECK(ref.bits == API_POISON);
	return -ECANCELED;
}

static int takes_until_closed(weft_task *self)
{
	weft_queue *queue = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	int64_t sum = 0;
	weft_ref refs[3];
	int n;

	while ((n = weft_queue_take(queue, refs, 3, 3, WEFT_FOREVER)) > 0) {
		for (int i = 0; i < n; i++)
			sum += api_take_i64(rt, refs[i]);
	}
	API_CHECK(n == WEFT_ECLOSED);
	return weft_return(self, &sum, sizeof sum);
}

Test(actors_queue, a_closed_queue_gives_what_is_left_and_ends_those_who_wait)
{
	weft *rt = api_open(2);
	weft_queue *queue = queue_make(rt, 3);
	weft_ref out = { API_POISON };
	weft_ref task = api_submit(rt, WEFT_TASK(takes_until_closed, API_POINTER(queue)));

	api_await_state(rt, task, WEFT_REF_BLOCKED);
	put_i64(rt, queue, 1);
	put_i64(rt, queue, 2);
	cr_assert_eq(weft_queue_close(queue, false), 0);
	cr_assert_eq(api_take_i64(rt, task), 3);
	cr_assert_eq(weft_queue_take(queue, &out, 1, 1, WEFT_FOREVER), WEFT_ECLOSED);
	cr_assert_eq(out.bits, API_POISON);
	weft_queue_destroy(queue);
	/* A putter that waits, and what is dropped. */
	queue = queue_make(rt, 2);
	put_i64(rt, queue, 0);
	task = api_submit(rt, WEFT_TASK(puts_two, API_POINTER(queue)));
	api_await_state(rt, task, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_queue_close(queue, true), 0);
	cr_assert_eq(api_end(rt, task), WEFT_ETASK);
	cr_assert_eq(weft_queue_size(queue), 0);
	const weft_ref ref = api_put_i64(rt, 1);

	cr_assert_eq(weft_queue_put(queue, &ref, 1, WEFT_FOREVER), WEFT_ECLOSED);
	api_release(rt, ref);
	weft_queue_destroy(queue);
	api_await_no_tasks(rt);
	api_close(rt);
}

Test(actors_queue, a_runtime_that_is_interrupted_ends_those_who_wait)
{
	weft *rt = api_open(1);
	weft_queue *queue = queue_make(rt, 1);
	weft_ref task = api_submit(rt, WEFT_TASK(takes_numbered_or_fails, API_POINTER(queue)));

	api_await_state(rt, task, WEFT_REF_BLOCKED);
	weft_interrupt(rt);
	cr_assert_eq(api_end(rt, task), -ECANCELED);
	weft_queue_destroy(queue);
	cr_assert_eq(weft_close(rt, WEFT_FOREVER) >= 0, true);
}

struct mass {
	weft_queue *queue;
	uint32_t n, n_puts;
	struct api_count sum, taken;
};

static int mass_puts(weft_task *self)
{
	struct mass *mass = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	for (uint32_t i = 0; i < mass->n; i += 2) {
		const weft_ref refs[2] = { api_put_i64(rt, i), api_put_i64(rt, i + 1) };

		API_CHECK(weft_queue_put(mass->queue, refs, 2, WEFT_FOREVER) == 0);
	}
	return 0;
}

static int mass_takes(weft_task *self)
{
	struct mass *mass = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);
	weft_ref refs[3];
	int n;

	while ((n = weft_queue_take(mass->queue, refs, 1, 3, WEFT_FOREVER)) > 0) {
		for (int i = 0; i < n; i++)
			api_add(&mass->sum, (uint64_t)api_take_i64(rt, refs[i]));
		api_add(&mass->taken, (uint64_t)n);
	}
	API_CHECK(n == WEFT_ECLOSED);
	return 0;
}

Test(actors_queue, many_putters_and_takers_lose_nothing)
{
	enum { SIDES = 6 };
	weft *rt = api_open(2);
	struct mass mass = { .queue = queue_make(rt, 5), .n = api_scaled(2000) * 2 };
	weft_ref puts[SIDES], takes[SIDES];

	for (int i = 0; i < SIDES; i++) {
		takes[i] = api_submit(rt, WEFT_TASK(mass_takes, API_POINTER(&mass)));
		puts[i] = api_submit(rt, WEFT_TASK(mass_puts, API_POINTER(&mass)));
	}
	for (int i = 0; i < SIDES; i++)
		cr_assert_eq(api_end(rt, puts[i]), 0);
	cr_assert_eq(weft_queue_close(mass.queue, false), 0);
	for (int i = 0; i < SIDES; i++)
		cr_assert_eq(api_end(rt, takes[i]), 0);
	cr_assert_eq(api_read(&mass.taken), (uint64_t)SIDES * mass.n);
	cr_assert_eq(api_read(&mass.sum), (uint64_t)SIDES * mass.n * (mass.n - 1) / 2);
	weft_queue_destroy(mass.queue);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* ---- Topics ---------------------------------------------------------------------------------- */

static const struct weft_actor_class listener =
	WEFT_ACTOR_CLASS(.name = "listener", .state_bytes = 2 * sizeof(int64_t));
static const struct weft_actor_class narrow =
	WEFT_ACTOR_CLASS(.name = "narrow", .state_bytes = 2 * sizeof(int64_t), .max_pending = 1);

/* Messages count up from 1. */
static int hears(weft_task *self)
{
	int64_t *state = weft_actor_state(self);
	const int64_t value = *(const int64_t *)weft_task_arg(self, NULL);

	API_CHECK(value == state[0] + 1);
	state[0] = value;
	return 0;
}

static int hears_too(weft_task *self)
{
	int64_t *state = weft_actor_state(self);
	struct weft_view view = { 0 };

	API_CHECK(weft_input_count(self) == 1);
	API_CHECK(weft_input(self, 0, &view) == 0);
	state[1] += *(const int64_t *)view.data;
	return 0;
}

static int heard(weft_task *self)
{
	return weft_return(self, weft_actor_state(self), 2 * sizeof(int64_t));
}

static int64_t heard_of(weft *rt, weft_actor actor, int which)
{
	int64_t state[2];

	API_CHECK(weft_take(rt, act_call(rt, actor, heard, NULL, 0), state, sizeof state) ==
	          sizeof state);
	return state[which];
}

static int publish(weft_topic *topic, int64_t value)
{
	return weft_topic_publish(topic, &(struct weft_call){ WEFT_ARG(value) }, WEFT_FOREVER,
	                          NULL);
}

Test(actors_queue, a_topics_subscribers_hear_everything_in_order)
{
	enum { LISTENERS = 10 };
	weft *rt = api_open(2);
	weft_topic *topic = NULL;
	weft_actor actors[LISTENERS];
	const int64_t n = api_scaled(2000) + 1;

	cr_assert_eq(weft_topic_create(rt, &topic), 0);
	cr_assert_eq(publish(topic, 0), 0);
	for (int i = 0; i < LISTENERS; i++) {
		actors[i] = act_create(rt, &listener, NULL, NULL);
		cr_assert_eq(weft_topic_subscribe(topic, actors[i], hears), 0);
	}
	for (int64_t i = 1; i <= n; i++)
		cr_assert_eq(publish(topic, i), LISTENERS);
	for (int i = 0; i < LISTENERS; i++)
		cr_assert_eq(heard_of(rt, actors[i], 0), n);
	/* Without the first one, whose second method gets an input. */
	cr_assert_eq(weft_topic_unsubscribe(topic, actors[0], hears), 0);
	cr_assert_eq(publish(topic, n + 1), LISTENERS - 1);
	cr_assert_eq(heard_of(rt, actors[0], 0), n);
	for (int i = 1; i < LISTENERS; i++)
		cr_assert_eq(weft_topic_unsubscribe(topic, actors[i], hears), 0);
	cr_assert_eq(weft_topic_subscribe(topic, actors[0], hears_too), 0);
	const weft_ref value = api_put_i64(rt, 5);

	cr_assert_eq(weft_topic_publish(topic, &(struct weft_call){ WEFT_INPUTS(value) },
	                                WEFT_FOREVER, NULL),
	             1);
	cr_assert_eq(heard_of(rt, actors[0], 1), 5);
	api_release(rt, value);
	weft_topic_destroy(topic);
	for (int i = 0; i < LISTENERS; i++)
		act_release(rt, actors[i]);
	api_close(rt);
}

static int waits_at_gate(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

Test(actors_queue, a_full_subscriber_is_missed_and_a_dead_one_is_forgotten)
{
	weft *rt = api_open(2);
	weft_topic *topic = NULL;
	weft_actor full = act_create(rt, &narrow, NULL, NULL);
	weft_actor other = act_create(rt, &listener, NULL, NULL);
	struct api_gate gate = API_GATE_INIT;
	const int64_t one = 1, two = 2;
	uint32_t missed = 77;

	cr_assert_eq(weft_topic_create(rt, &topic), 0);
	cr_assert_eq(weft_topic_subscribe(topic, full, hears), 0);
	cr_assert_eq(weft_topic_subscribe(topic, other, hears), 0);
	weft_ref blocker = act_call(rt, full, waits_at_gate, &(void *){ &gate }, sizeof(void *));

	cr_assert_eq(
		weft_topic_publish(topic, &(struct weft_call){ WEFT_ARG(one) }, WEFT_POLL, &missed),
		-ETIMEDOUT);
	cr_assert_eq(missed, 1);
	cr_assert_eq(heard_of(rt, other, 0), 1);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, blocker), 0);
	cr_assert_eq(heard_of(rt, full, 0), 0);
	/* Dead: told to one, and the subscription is gone. */
	cr_assert_eq(weft_actor_kill(rt, full, WEFT_KILL_NOW), 0);
	act_await_dead(rt, full);
	cr_assert_eq(publish(topic, two), 1);
	cr_assert_eq(weft_topic_unsubscribe(topic, full, hears), -ENOENT);
	cr_assert_eq(heard_of(rt, other, 0), 2);
	act_release(rt, full);
	act_release(rt, other);
	weft_topic_destroy(topic);
	api_close(rt);
}

Test(actors_queue, a_subscription_keeps_its_actor)
{
	struct act_log log = { 0 };
	static const struct weft_actor_class kept = ACT_CLASS(.max_pending = 5);
	weft *rt = api_open(1);
	weft_topic *topic = NULL;
	weft_actor actor = act_create(rt, &kept, NULL, &log);
	const int64_t value = 1;
	struct weft_call message = { WEFT_ARG(value), .fn = hears };

	cr_assert_eq(weft_topic_create(rt, &topic), 0);
	cr_assert_eq(weft_topic_subscribe(topic, actor, act_add), 0);
	cr_assert_eq(weft_topic_subscribe(topic, actor, act_add), -EEXIST);
	cr_assert_eq(weft_topic_subscribe(topic, (weft_actor){ API_POISON }, act_add), -EINVAL);
	cr_assert_eq(weft_topic_subscribe(topic, actor, NULL), -EINVAL);
	cr_assert_eq(weft_topic_subscribe(NULL, actor, act_add), -EINVAL);
	cr_assert_eq(weft_topic_unsubscribe(topic, actor, hears), -ENOENT);
	cr_assert_eq(weft_topic_unsubscribe(NULL, actor, hears), -EINVAL);
	cr_assert_eq(weft_topic_publish(topic, &message, WEFT_POLL, NULL), -EINVAL);
	cr_assert_eq(weft_topic_publish(topic, NULL, WEFT_POLL, NULL), -EINVAL);
	cr_assert_eq(weft_topic_create(rt, NULL), -EINVAL);
	cr_assert_eq(weft_topic_create(NULL, &topic), -EINVAL);
	act_release(rt, actor);
	cr_assert_eq(publish(topic, 3), 1);
	cr_assert_eq(act_value(rt, actor), 3);
	cr_assert_eq(api_read(&log.finis), 0);
	weft_topic_destroy(topic);
	weft_topic_destroy(NULL);
	api_await_count(&log.drops, 1);
	cr_assert_eq(api_read(&log.finis), 1);
	api_close(rt);
}
