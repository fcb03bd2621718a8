/*
 * injector.c: the injector under every schedule of a few operations.
 *
 * Goal: nothing lost, nothing taken twice, each producer's items in order for each consumer,
 * batches side by side, blocks freed exactly once and not before their last reader is done, and a
 * failed push leaves nothing behind. Method: scenarios of two or three threads with blocks of two
 * slots, so that edges are crossed all the time; freed memory is poisoned by the explorer.
 */
#include <errno.h>
#include <string.h>

#include "explore.h"
#include "injector.h"
#define ORACLE_FAIL(text) explore_fail(__FILE__, __LINE__, text)
#include "oracle.h"

#define ITEMS_MAX 8

static struct wf_injector queue;
static struct oracle_item items[EXPLORE_THREADS_MAX][ITEMS_MAX + 1]; /* [producer][seq] */
static uint32_t pushed[EXPLORE_THREADS_MAX];
static struct oracle_view views[EXPLORE_THREADS_MAX];

static void setup(void)
{
	memset(items, 0, sizeof items);
	memset(views, 0, sizeof views);
	memset(pushed, 0, sizeof pushed);
	EXPLORE_CHECK(wf_injector_init(&queue) == 0);
	EXPLORE_CHECK(wf_injector_is_empty_mt(&queue));
}

static int push(uint32_t producer, uint32_t n)
{
	void *batch[ITEMS_MAX];
	for (uint32_t i = 0; i < n; i++) {
		struct oracle_item *item = &items[producer][pushed[producer] + 1 + i];
		oracle_make(item, producer, pushed[producer] + 1 + i);
		batch[i] = item;
	}
	int rc = n == 1 ? wf_injector_push_mt(&queue, batch[0])
			: wf_injector_push_many_mt(&queue, batch, n);
	if (rc == 0)
		pushed[producer] += n;
	else
		EXPLORE_CHECK(rc == -ENOMEM);
	return rc;
}

static uint32_t pop(uint32_t consumer, uint32_t max)
{
	void *out[ITEMS_MAX];
	uint32_t n = wf_injector_pop_mt(&queue, out, max);
	EXPLORE_CHECK(n <= max && n <= 2);
	for (uint32_t i = 0; i < n; i++)
		oracle_take_in_order(&views[consumer], out[i]);
	return n;
}

static void drain(void)
{
	/* Consumer 0 now also sees what lies behind the items that others took. */
	memset(views, 0, sizeof views);
	while (pop(0, ITEMS_MAX))
		;
	EXPLORE_CHECK(wf_injector_is_empty_mt(&queue));
	for (uint32_t p = 0; p < EXPLORE_THREADS_MAX; p++)
		oracle_all_taken(&items[p][1], pushed[p]);
	wf_injector_fini(&queue);
}

/* Two producers and a consumer, one item at a time, over an edge. */
static void single_thread(uint32_t i)
{
	if (i == 2) {
		pop(i, 2);
		return;
	}
	push(i, 1);
	push(i, 1);
}

/* Two consumers share what lies on both sides of an edge. */
static void consumers_setup(void)
{
	setup();
	push(3, 3);
}

static void consumers_thread(uint32_t i)
{
	if (i == 0) {
		push(i, 1);
		return;
	}
	pop(i, 2);
	pop(i, 1);
}

/* Batches of three and more cross one or two edges with one claim, and stay side by side. */
static uint32_t last_of_batch;

static void batch_thread(uint32_t i)
{
	if (i == 0) {
		push(i, 3);
		return;
	}
	if (i == 1) {
		push(i, 2);
		return;
	}
	pop(i, 2);
}

static void side_by_side(void)
{
	uint32_t runs = 0;
	last_of_batch = UINT32_MAX;
	void *out;
	while (wf_injector_pop_mt(&queue, &out, 1)) {
		struct oracle_item *item = out;
		oracle_take_in_order(&views[0], item);
		runs += item->producer != last_of_batch;
		last_of_batch = item->producer;
	}
	/* Two batches: two runs. */
	EXPLORE_CHECK(runs == 2);
	drain();
}

static void batches_thread(uint32_t i)
{
	push(i, i == 0 ? 5 : 3);
}

/* A consumer beside a long batch. */
static void batch_pop_thread(uint32_t i)
{
	if (i == 0) {
		push(i, 5);
		return;
	}
	for (int k = 0; k < 3; k++)
		pop(i, 2);
}

/* Who has pushed finds something, unless somebody else took it. */
static void own_thread(uint32_t i)
{
	push(i, 1);
	uint32_t n = pop(i, 1);
	EXPLORE_CHECK(n == 1);
}

/* The block allocation at the edge fails: nothing is claimed, and the next try works. */
static void nomem_setup(void)
{
	setup();
	explore_fail_allocation(1);
}

static void nomem_thread(uint32_t i)
{
	if (i == 2) {
		pop(i, 1);
		return;
	}
	if (push(i, 1) != 0)
		EXPLORE_CHECK(push(i, 1) == 0);
	if (push(i, 1) != 0)
		EXPLORE_CHECK(push(i, 1) == 0);
}

static void nomem_batch_setup(void)
{
	setup();
	explore_fail_allocation(2);
}

static void nomem_batch_thread(uint32_t i)
{
	if (i == 0) {
		EXPLORE_CHECK(push(i, 3) == -ENOMEM);
		EXPLORE_CHECK(push(i, 3) == 0);
		return;
	}
	pop(i, 2);
}

static const struct explore scenarios[] = {
	{ "single", 3, setup, single_thread, drain },
	{ "consumers", 3, consumers_setup, consumers_thread, drain },
	{ "batch", 3, setup, batch_thread, drain },
	{ "batches", 2, setup, batches_thread, side_by_side },
	{ "batch_pop", 2, setup, batch_pop_thread, drain },
	{ "own", 2, setup, own_thread, drain },
	{ "nomem", 3, nomem_setup, nomem_thread, drain },
	{ "nomem_batch", 2, nomem_batch_setup, nomem_batch_thread, drain },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
