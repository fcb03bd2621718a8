/*
 * Goal: on real threads, each item of a generator is taken once and in order or freed with it,
 * whatever the window, and a drop or a cancel at any moment loses, doubles and leaks nothing.
 * Method: rounds of generators of random length, window and size; each is consumed by a task or
 * by a thread, which checks the numbers and may stop early, while another thread cancels some.
 * Then everything that ever had a cell must be free again. 1, 2 and 8 workers.
 */
#include "api.h"

#define GENS 64

struct gen {
	weft *rt;
	weft_ref ref, completed;
	int64_t length, stops, taken;
	size_t size;
	uint32_t window;
	bool fails, cancelled;
	struct api_count ended;
};

static int give(weft_task *self)
{
	struct gen *gen = api_arg_pointer(self);
	char bytes[600] = { 0 };
	int rc = 0;

	for (int64_t i = 0; i < gen->length && rc >= 0; i++) {
		memcpy(bytes, &i, sizeof i);
		rc = weft_emit(self, bytes, gen->size);
	}
	API_CHECK(rc >= 0 || (rc == -EINTR && gen->cancelled));
	if (rc >= 0 && gen->fails)
		rc = -EPROTO;
	/* The last look at it. */
	api_add(&gen->ended, 1);
	return rc < 0 ? rc : 0;
}

static void check_item(struct gen *gen, weft_ref item)
{
	struct weft_view view;
	int rc = weft_get(gen->rt, item, WEFT_FOREVER, &view);

	if (rc) {
		API_CHECK(rc == WEFT_ETASK ? gen->fails : rc == -ECANCELED && gen->cancelled);
		gen->stops = INT64_MAX;
	} else {
		API_CHECK(view.size == gen->size);
		API_CHECK(memcmp(view.data, &gen->taken, sizeof gen->taken) == 0);
		gen->taken++;
	}
	api_release(gen->rt, item);
}

static void consume(struct gen *gen, uint64_t *random)
{
	weft_ref items[8];
	bool ready;
	int got = 0;

	while (gen->taken < gen->stops) {
		if (api_below(random, 8) == 0)
			API_CHECK(weft_wait(gen->rt, &gen->ref, 1, 1, WEFT_FOREVER, &ready) == 1);
		got = weft_next_many(gen->rt, gen->ref, WEFT_FOREVER, items,
		                     1 + api_below(random, 8));
		API_CHECK(got > 0 || got == -ENODATA);
		for (int i = 0; i < got; i++)
			check_item(gen, items[i]);
		if (got == -ENODATA)
			break;
	}
	API_CHECK(got != -ENODATA || gen->cancelled || gen->taken == gen->length);
	api_release(gen->rt, gen->ref);
}

struct work {
	struct gen *gens;
	uint64_t random;
	uint32_t begin, step;
};

static void *consume_thread(void *arg)
{
	struct work *work = arg;

	for (uint32_t i = work->begin; i < GENS; i += work->step)
		consume(&work->gens[i], &work->random);
	return NULL;
}

static int consume_task(weft_task *self)
{
	struct gen *gen = api_arg_pointer(self);
	uint64_t random = (uint64_t)gen->length * 77 + gen->window;

	consume(gen, &random);
	return 0;
}

static void *cancel_thread(void *arg)
{
	struct work *work = arg;

	for (uint32_t i = 0; i < GENS; i++) {
		struct gen *gen = &work->gens[i];

		if (gen->cancelled && api_below(&work->random, 2))
			API_CHECK(weft_cancel(gen->rt, gen->completed) == 0);
		api_release(gen->rt, gen->completed);
	}
	return NULL;
}

static void start(weft *rt, struct gen *gen, uint64_t *random)
{
	static const size_t sizes[] = { 8, 8, 8, 16, 40, 600 };

	*gen = (struct gen){ .rt = rt,
		             .length = api_below(random, 60),
		             .size = sizes[api_below(random, 6)],
		             .window = api_below(random, 5),
		             .fails = api_below(random, 4) == 0,
		             .cancelled = api_below(random, 4) == 0,
		             .stops = api_below(random, 3) ? INT64_MAX : api_below(random, 30) };
	struct weft_task_options options = { .struct_size = sizeof options,
		                             .n_outputs = WEFT_OUTPUTS_STREAM,
		                             .window = gen->window };

	gen->ref = api_submit(rt, WEFT_TASK(give, API_POINTER(gen), .opts = &options));
	API_CHECK(weft_completed(rt, gen->ref, &gen->completed) == 0);
}

static void round_of(weft *rt, uint64_t *random)
{
	static struct gen gens[GENS];
	struct work even = { gens, api_random(random), 0, 2 },
		    all = { gens, api_random(random), 0, 1 };
	weft_ref tasks[GENS / 2];
	pthread_t threads[2];

	for (uint32_t i = 0; i < GENS; i++)
		start(rt, &gens[i], random);
	API_CHECK(pthread_create(&threads[0], NULL, consume_thread, &even) == 0);
	API_CHECK(pthread_create(&threads[1], NULL, cancel_thread, &all) == 0);
	for (uint32_t i = 0; i < GENS / 2; i++)
		tasks[i] = api_submit(rt, WEFT_TASK(consume_task, API_POINTER(&gens[i * 2 + 1])));
	for (uint32_t i = 0; i < GENS / 2; i++)
		API_CHECK(api_end(rt, tasks[i]) == 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	api_await_no_tasks(rt);
	/* That nothing is left orders nothing: what a body has read it has read before this. */
	for (uint32_t i = 0; i < GENS; i++)
		API_CHECK(api_read(&gens[i].ended) <= 1);
}

int main(void)
{
	static const uint32_t workers[] = { 1, 2, 8 };
	uint64_t random = test_seed();

	for (int w = 0; w < 3; w++) {
		weft *rt = api_open(workers[w]);

		for (uint32_t i = api_scaled(100); i > 0; i--)
			round_of(rt, &random);
		api_close(rt);
	}
	return 0;
}
