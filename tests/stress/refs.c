/*
 * Goal: counts held, handed over and dropped by many threads and tasks at once are exact: a value
 * is there as long as one count is, and its cell is free once none is.
 * Method: threads pass counted handles through mailboxes of each other, get, retain, use as inputs
 * and release at random; each handle carries the value it must have. At the end no cell is in use.
 */
#include "api.h"

#define THREADS 4
#define BOX     64

struct handle {
	weft_ref ref;
	int64_t value;
};

struct box {
	pthread_mutex_t lock;
	uint32_t n;
	struct handle handles[BOX];
};

struct actor {
	weft *rt;
	struct box *boxes;
	uint32_t index, rounds;
	uint64_t random;
};

static struct handle make(struct actor *a)
{
	const int64_t value = (int64_t)(api_random(&a->random) >> 1);
	struct handle handle = { .value = value };

	switch (api_below(&a->random, 3)) {
	case 0:
		handle.ref = api_put_i64(a->rt, value);
		break;
	case 1:
		handle.ref = api_spawn(a->rt, api_body_identity, &value, sizeof value);
		break;
	default:
		handle.ref = api_event(a->rt);
		API_CHECK(weft_event_set(a->rt, handle.ref, &value, sizeof value) == 0);
	}
	return handle;
}

static void check(struct actor *a, const struct handle *handle)
{
	struct weft_view view;

	API_CHECK(weft_get(a->rt, handle->ref, WEFT_FOREVER, &view) == 0);
	API_CHECK(view.size == 8 && *(const int64_t *)view.data == handle->value);
}

/* Put a handle into a random box, or give back one to drop when it is full. */
static bool send(struct actor *a, const struct handle *handle)
{
	struct box *box = &a->boxes[api_below(&a->random, THREADS)];

	pthread_mutex_lock(&box->lock);
	const bool sent = box->n < BOX;
	if (sent)
		box->handles[box->n++] = *handle;
	pthread_mutex_unlock(&box->lock);
	return sent;
}

static bool receive(struct actor *a, struct handle *handle)
{
	struct box *box = &a->boxes[a->index];

	pthread_mutex_lock(&box->lock);
	const bool got = box->n > 0;
	if (got)
		*handle = box->handles[--box->n];
	pthread_mutex_unlock(&box->lock);
	return got;
}

static void use(struct actor *a, const struct handle *handle)
{
	weft_ref sum;

	switch (api_below(&a->random, 6)) {
	case 0:
		check(a, handle);
		break;
	case 1: /* outlive it by a consumer */
		sum = api_submit(a->rt, WEFT_TASK(api_body_sum, WEFT_INPUTS(handle->ref)));
		API_CHECK(send(a, &(const struct handle){ sum, handle->value }) ||
		          weft_release(a->rt, sum) == 0);
		break;
	case 2:
		API_CHECK(weft_retain(a->rt, handle->ref) == 0);
		if (!send(a, handle))
			api_release(a->rt, handle->ref);
		break;
	case 3:
		API_CHECK(weft_peek(a->rt, handle->ref) >= 0);
		break;
	default:
		break;
	}
}

static void act(struct actor *a)
{
	for (uint32_t i = 0; i < a->rounds; i++) {
		struct handle handle;

		if (api_below(&a->random, 2) || !receive(a, &handle))
			handle = make(a);
		use(a, &handle);
		if (api_below(&a->random, 3) == 0)
			check(a, &handle);
		if (api_below(&a->random, 2) || !send(a, &handle))
			api_release(a->rt, handle.ref);
	}
}

static void *act_as_thread(void *arg)
{
	act(arg);
	return NULL;
}

static int act_as_task(weft_task *self)
{
	act(api_arg_pointer(self));
	return 0;
}

/* Half of the actors are foreign threads, half are tasks. */
static void run(uint32_t workers, uint64_t *random)
{
	weft *rt = api_open(workers);
	struct box *boxes = calloc(THREADS, sizeof *boxes);
	struct actor actors[2 * THREADS];
	pthread_t threads[THREADS];
	weft_ref tasks[THREADS];

	for (uint32_t t = 0; t < THREADS; t++)
		pthread_mutex_init(&boxes[t].lock, NULL);
	for (uint32_t t = 0; t < 2 * THREADS; t++)
		actors[t] = (struct actor){ rt, boxes, t % THREADS,
			                    api_scaled(test_is_long() ? 2000000 : 30000),
			                    api_random(random) };
	for (uint32_t t = 0; t < THREADS; t++) {
		threads[t] = api_thread(act_as_thread, &actors[t]);
		tasks[t] =
			api_submit(rt, WEFT_TASK(act_as_task, API_POINTER(&actors[THREADS + t])));
	}
	for (uint32_t t = 0; t < THREADS; t++) {
		api_join(threads[t]);
		API_CHECK(api_end(rt, tasks[t]) == 0);
	}
	for (uint32_t t = 0; t < THREADS; t++) {
		for (uint32_t i = 0; i < boxes[t].n; i++) {
			check(&actors[0], &boxes[t].handles[i]);
			api_release(rt, boxes[t].handles[i].ref);
		}
		pthread_mutex_destroy(&boxes[t].lock);
	}
	free(boxes);
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	uint64_t random = test_seed();

	run(1, &random);
	run(2, &random);
	run(8, &random);
	return 0;
}
