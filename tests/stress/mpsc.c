/*
 * mpsc.c: the intrusive list with real threads.
 *
 * Goal: with 1, 2 and 8 producers nothing is lost or doubled, each producer's nodes come in order
 * and with their data, "the list was empty" is said once per filling. Method: producers push,
 * the consumer takes all, again and again, sleeping on a parker that only pushes onto an empty
 * list unpark: a missed wake-up hangs the test.
 */
#include "stress.h"

#include "mpsc.h"
#include "parker.h"
#define ORACLE_FAIL(text) STRESS_FAIL(text)
#include "../support/oracle.h"

#define ITEMS_COUNT   STRESS_SCALE(200000u) /* of each producer */
#define PRODUCERS_MAX 8u

struct entry {
	struct wf_mpsc_node node;
	struct oracle_item item;
};

struct run {
	WF_ALIGNED(WF_CACHE_LINE) struct wf_mpsc list;
	WF_ALIGNED(WF_CACHE_LINE) struct wf_parker parker;
	WF_ALIGNED(WF_CACHE_LINE) struct wf_a64 fillings;
};

struct producer {
	struct run *run;
	struct wf_thread thread;
	uint32_t index;
	struct entry *entries;
};

static void *produce(void *arg)
{
	struct producer *self = arg;
	for (uint32_t i = 0; i < ITEMS_COUNT; i++) {
		oracle_make(&self->entries[i].item, self->index, i + 1);
		if (wf_mpsc_push_mt(&self->run->list, &self->entries[i].node)) {
			/* relaxed: compared after the join. */
			wf_add_relaxed(&self->run->fillings, 1);
			wf_parker_unpark_mt(&self->run->parker);
		}
		if (i % 64 == 0)
			sched_yield(); /* on few CPUs: let the consumer in */
	}
	return NULL;
}

static void run_with(uint32_t count)
{
	static struct run run;
	struct producer producers[PRODUCERS_MAX];
	struct oracle_view view = { 0 };
	uint64_t taken = 0, takes = 0;
	wf_mpsc_init(&run.list);
	wf_parker_init(&run.parker);
	wf_init(&run.fillings, 0);
	for (uint32_t i = 0; i < count; i++) {
		producers[i] = (struct producer){ .run = &run, .index = i };
		producers[i].entries = calloc(ITEMS_COUNT, sizeof *producers[i].entries);
		STRESS_CHECK(producers[i].entries != NULL);
		STRESS_CHECK(wf_thread_start(&producers[i].thread, "producer", produce,
		                             &producers[i]) == 0);
	}
	while (taken < (uint64_t)count * ITEMS_COUNT) {
		struct wf_mpsc_node *node = wf_mpsc_take_all(&run.list);
		takes += node != NULL;
		if (!node)
			STRESS_CHECK(wf_parker_park(&run.parker, WF_FOREVER) == 0);
		while (node) {
			struct entry *entry = wf_container_of(node, struct entry, node);
			node = wf_mpsc_next(node);
			oracle_take_in_order(&view, &entry->item);
			taken++;
		}
	}
	for (uint32_t i = 0; i < count; i++)
		wf_thread_join(&producers[i].thread);
	STRESS_CHECK(wf_mpsc_is_empty(&run.list));
	STRESS_CHECK(takes == wf_load_relaxed(&run.fillings));
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = 0; k < ITEMS_COUNT; k++)
			oracle_all_taken(&producers[i].entries[k].item, 1);
		free(producers[i].entries);
	}
	printf("%u producers: %u nodes each, %llu takes\n", count, ITEMS_COUNT,
	       (unsigned long long)takes);
}

int main(void)
{
	run_with(1);
	run_with(2);
	run_with(8);
	return 0;
}
