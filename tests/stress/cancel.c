/*
 * Goal: cancelling at any moment, from any thread, never loses, doubles or leaks anything.
 * Method: tasks that run, fail, block, sleep, spin and wait for each other; four threads cancel and
 * release them at random. Per task: its body ran at most once, its argument was dropped once, its
 * ref ended once, and its status fits what the body did. 1, 2 and 8 workers.
 */
#include "api.h"

#define TASKS   600
#define THREADS 4

enum kind { RETURNS, FAILS, GETS, SLEEPS, YIELDS, SPAWNS, WAITS, KINDS };

struct item {
	struct field *field;
	uint32_t kind;
	weft_ref ref;
	int64_t returned; /* what the body returned; 1 while it has not */
	struct api_count runs, drops, ends;
	int status;
};

struct field {
	weft *rt;
	weft_ref event;
	struct item items[TASKS];
};

static void check_interrupted(weft_task *self, const struct item *item, int status)
{
	if (status < 0 && status != -EINTR && status != -ECANCELED)
		fprintf(stderr, "kind %u: %d\n", item->kind, status);
	API_CHECK(status == 0 || status == -EINTR || status == -ECANCELED);
	if (status < 0)
		API_CHECK(weft_task_cancelled(self));
}

static int act(weft_task *self, struct item *item)
{
	weft *rt = item->field->rt;
	const weft_ref events[1] = { item->field->event };
	const int64_t value = 6;
	struct weft_view view;
	bool ready[1];
	weft_ref child;
	int status = 0;

	switch (item->kind) {
	case FAILS:
		return weft_fail(self, -EPROTO, "planned");
	case GETS:
		status = weft_get(rt, events[0], WEFT_FOREVER, &view);
		break;
	case SLEEPS:
		status = weft_sleep_until(rt, weft_now(rt) + 50000);
		break;
	case YIELDS:
		for (int i = 0; i < 5 && status == 0; i++)
			status = weft_yield(rt);
		break;
	case SPAWNS:
		child = api_spawn(rt, api_body_identity, &value, sizeof value);
		status = weft_get(rt, child, WEFT_FOREVER, &view);
		API_CHECK(status < 0 || *(const int64_t *)view.data == 6);
		api_release(rt, child);
		break;
	case WAITS:
		status = weft_wait(rt, events, 1, 1, WEFT_FOREVER, ready);
		status = status > 0 ? 0 : status;
		break;
	default:
		break;
	}
	check_interrupted(self, item, status);
	return status < 0 ? -ECANCELED : 0;
}

static int body(weft_task *self)
{
	struct item *item = *(struct item **)weft_task_arg(self, NULL);

	API_CHECK(api_add(&item->runs, 1) == 1);
	const int status = act(self, item);
	item->returned = status;
	return status;
}

static void drop(void *arg, size_t size)
{
	API_CHECK(size == sizeof(struct item *));
	API_CHECK(api_add(&(*(struct item **)arg)->drops, 1) == 1);
}

static void ended(void *arg, weft_ref ref, int status)
{
	struct item *item = arg;

	(void)ref;
	item->status = status;
	API_CHECK(api_add(&item->ends, 1) == 1);
}

static const struct weft_task_options options = {
	.struct_size = sizeof options,
	.arg_drop = drop,
	.name = "item",
};

static void submit(struct field *field, uint32_t i, uint64_t *random)
{
	struct item *item = &field->items[i];
	weft_ref in[3];
	uint16_t edges = 0;

	memset(item, 0, sizeof *item);
	item->field = field;
	item->kind = api_below(random, KINDS);
	item->returned = 1;
	if (api_below(random, 4) == 0)
		in[edges++] = field->event;
	while (i && edges < 3 && api_below(random, 3) == 0)
		in[edges++] = field->items[api_below(random, i)].ref;
	item->ref = api_submit(field->rt,
	                       WEFT_TASK(body, WEFT_ARG(item), .opts = &options,
	                                 .inputs = edges ? in : NULL, .n_after = edges));
	API_CHECK(weft_on_done(field->rt, item->ref, ended, item) == 0);
}

struct canceller {
	struct field *field;
	uint64_t random;
};

static void *cancel_at_random(void *arg)
{
	struct canceller *c = arg;

	for (uint32_t i = 0; i < TASKS / 2; i++) {
		const weft_ref ref = c->field->items[api_below(&c->random, TASKS)].ref;

		API_CHECK(weft_cancel(c->field->rt, ref) == 0);
		if (i % 50 == 25)
			sched_yield();
	}
	return NULL;
}

static void check_item(const struct item *item)
{
	const uint64_t runs = api_read(&item->runs);

	API_CHECK(api_read(&item->drops) == 1);
	API_CHECK(api_read(&item->ends) == 1);
	if (item->status == 0)
		API_CHECK(runs == 1 && item->returned == 0);
	else if (item->status == WEFT_ETASK)
		API_CHECK(runs == 1 && item->returned == -EPROTO && item->kind == FAILS);
	else if (item->status == WEFT_EDEP)
		API_CHECK(runs == 0);
	else
		API_CHECK(item->status == -ECANCELED &&
		          (runs == 0 || item->returned == -ECANCELED));
}

static void round_of(weft *rt, struct field *field, uint64_t *random)
{
	struct canceller cancellers[THREADS];
	pthread_t threads[THREADS];
	bool early[TASKS];

	field->rt = rt;
	field->event = api_event(rt);
	for (uint32_t i = 0; i < TASKS; i++)
		submit(field, i, random);
	for (int t = 0; t < THREADS; t++) {
		cancellers[t] = (struct canceller){ field, api_random(random) };
		threads[t] = api_thread(cancel_at_random, &cancellers[t]);
	}
	API_CHECK(api_below(random, 2) == 0 || sched_yield() == 0);
	API_CHECK(weft_event_set(rt, field->event, NULL, 0) == 0);
	for (int t = 0; t < THREADS; t++)
		api_join(threads[t]);
	for (uint32_t i = 0; i < TASKS; i++) {
		early[i] = api_below(random, 2);
		if (early[i])
			api_release(rt, field->items[i].ref);
	}
	for (uint32_t i = 0; i < TASKS; i++)
		if (!early[i])
			(void)api_end(rt, field->items[i].ref);
	/* Bodies still use the event: it may go only when all of them have ended. */
	for (uint32_t i = 0; i < TASKS; i++)
		api_await_count(&field->items[i].ends, 1);
	api_release(rt, field->event);
	api_await_no_tasks(rt);
	for (uint32_t i = 0; i < TASKS; i++)
		check_item(&field->items[i]);
}

int main(void)
{
	static const uint32_t workers[] = { 1, 2, 8 };
	const uint32_t rounds = api_scaled(test_is_long() ? 2000 : 100);
	struct field *field = calloc(1, sizeof *field);
	uint64_t random = test_seed();

	for (int w = 0; w < 3; w++) {
		weft *rt = api_open(workers[w]);

		for (uint32_t i = 0; i < rounds; i++)
			round_of(rt, field, &random);
		api_close(rt);
	}
	free(field);
	return 0;
}
