/*
 * injector.c: the injector with real threads.
 *
 * Goal: with 1, 2 and 8 producers and as many consumers on few CPUs nothing is lost or doubled,
 * each producer's items reach each consumer in order and with their data, and blocks are freed
 * neither too early nor never. Method: random batches on both sides, from single items to several
 * blocks at once; the sanitizers watch the memory.
 */
#include "stress.h"

#include "injector.h"
#define ORACLE_FAIL(text) STRESS_FAIL(text)
#include "../support/oracle.h"

#define ITEMS_COUNT STRESS_SCALE(200000u) /* of each producer */
#define PAIRS_MAX   8u
#define PUSH_MAX    200u
#define POP_MAX     70u

struct run {
	struct wf_injector queue;
	uint32_t pairs;
	struct oracle_item *items; /* [producer * ITEMS_COUNT + seq - 1] */
	struct wf_a64 taken;
};

struct actor {
	struct run *run;
	struct wf_thread thread;
	uint32_t index;
};

static void *produce(void *arg)
{
	struct actor *self = arg;
	struct wf_random random = stress_random(self->index);
	struct oracle_item *items = self->run->items + (size_t)self->index * ITEMS_COUNT;
	void *batch[PUSH_MAX];
	uint32_t seq = 0;

	while (seq < ITEMS_COUNT) {
		uint32_t n = 1;
		if (wf_random_below(&random, 4) == 0)
			n += wf_random_below(&random, PUSH_MAX);
		if (n > ITEMS_COUNT - seq)
			n = ITEMS_COUNT - seq;
		for (uint32_t i = 0; i < n; i++, seq++) {
			oracle_make(&items[seq], self->index, seq + 1);
			batch[i] = &items[seq];
		}
		int rc = n == 1 ? wf_injector_push_mt(&self->run->queue, batch[0])
				: wf_injector_push_many_mt(&self->run->queue, batch, n);
		STRESS_CHECK(rc == 0);
	}
	return NULL;
}

static void *consume(void *arg)
{
	struct actor *self = arg;
	struct run *run = self->run;
	struct wf_random random = stress_random(100 + self->index);
	struct oracle_view view = { 0 };
	void *out[POP_MAX];
	uint64_t total = (uint64_t)run->pairs * ITEMS_COUNT;

	/* relaxed, both: only a count of what is left to do. */
	while (wf_load_relaxed(&run->taken) < total) {
		uint32_t max = 1 + wf_random_below(&random, POP_MAX);
		uint32_t n = wf_injector_pop_mt(&run->queue, out, max);
		STRESS_CHECK(n <= max);
		for (uint32_t i = 0; i < n; i++)
			oracle_take_in_order(&view, out[i]);
		wf_add_relaxed(&run->taken, n);
		if (n == 0)
			sched_yield();
	}
	return NULL;
}

static void run_with(uint32_t pairs)
{
	struct run run = { .pairs = pairs };
	struct actor producers[PAIRS_MAX], consumers[PAIRS_MAX];
	run.items = calloc((size_t)pairs * ITEMS_COUNT, sizeof *run.items);
	STRESS_CHECK(run.items != NULL);
	STRESS_CHECK(wf_injector_init(&run.queue) == 0);
	for (uint32_t i = 0; i < pairs; i++) {
		producers[i] = consumers[i] = (struct actor){ .run = &run, .index = i };
		STRESS_CHECK(wf_thread_start(&consumers[i].thread, "consumer", consume,
		                             &consumers[i]) == 0);
		STRESS_CHECK(wf_thread_start(&producers[i].thread, "producer", produce,
		                             &producers[i]) == 0);
	}
	for (uint32_t i = 0; i < pairs; i++) {
		wf_thread_join(&producers[i].thread);
		wf_thread_join(&consumers[i].thread);
	}
	STRESS_CHECK(wf_injector_is_empty_mt(&run.queue));
	oracle_all_taken(run.items, pairs * ITEMS_COUNT);
	printf("%u producers, %u consumers: %u items each\n", pairs, pairs, ITEMS_COUNT);
	wf_injector_fini(&run.queue);
	free(run.items);
}

int main(void)
{
	(void)test_seed();
	run_with(1);
	run_with(2);
	run_with(8);
	return 0;
}
