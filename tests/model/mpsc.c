/*
 * mpsc.c: the intrusive list under every schedule of a few pushes and takes.
 *
 * Goal: nothing lost or doubled, each producer's nodes in order, and "the list was empty" said
 * exactly once per filling, so that a consumer woken by it misses nothing. Method: two producers
 * and a consumer; a second scenario reuses a node at once after it was taken (ABA), a third puts
 * the consumer to sleep on a parker and ends in a deadlock if a wake-up is missed.
 */
#include <string.h>

#include "base.h"
#include "explore.h"
#include "mpsc.h"
#include "parker.h"
#define ORACLE_FAIL(text) explore_fail(__FILE__, __LINE__, text)
#include "oracle.h"

struct entry {
	struct wf_mpsc_node node;
	struct oracle_item item;
};

static struct wf_mpsc list;
static struct wf_parker parker;
static struct entry entries[2][4];
static struct oracle_view view;
static uint32_t taken;
static uint32_t fillings; /* pushes that found the list empty */
static uint32_t takes;    /* takes that found something */

static void setup(void)
{
	memset(entries, 0, sizeof entries);
	memset(&view, 0, sizeof view);
	taken = fillings = takes = 0;
	wf_mpsc_init(&list);
	wf_parker_init(&parker);
	explore_spurious_wakes(1);
}

static bool push(uint32_t producer, uint32_t seq)
{
	struct entry *entry = &entries[producer][seq - 1];
	oracle_make(&entry->item, producer, seq);
	bool was_empty = wf_mpsc_push_mt(&list, &entry->node);
	fillings += was_empty;
	return was_empty;
}

static void take(void)
{
	struct wf_mpsc_node *node = wf_mpsc_take_all(&list);
	takes += node != NULL;
	for (uint32_t guard = 0; node; guard++) {
		EXPLORE_CHECK(guard < 8);
		struct entry *entry = wf_container_of(node, struct entry, node);
		node = wf_mpsc_next(node);
		oracle_take_in_order(&view, &entry->item);
		taken++;
	}
}

static void finish(void)
{
	take();
	EXPLORE_CHECK(wf_mpsc_is_empty(&list));
	EXPLORE_CHECK(wf_mpsc_take_all(&list) == NULL);
	EXPLORE_CHECK(fillings == takes);
	for (uint32_t p = 0; p < 2; p++) {
		for (uint32_t i = 0; i < 2; i++)
			oracle_all_taken(&entries[p][i].item, 1);
	}
}

static void push_thread(uint32_t i)
{
	if (i == 2) {
		take();
		take();
		return;
	}
	push(i, 1);
	push(i, 2);
}

/* The consumer pushes what it has just taken: an equal head with another chain below it. */
static uint32_t passed;

static void reuse_setup(void)
{
	setup();
	passed = 0;
}

static void reuse_thread(uint32_t i)
{
	if (i == 0) {
		push(0, 1);
		return;
	}
	for (int k = 0; k < 2; k++) {
		struct entry *own = &entries[1][0];
		wf_mpsc_push_mt(&list, &own->node);
		bool found = false;
		struct wf_mpsc_node *node = wf_mpsc_take_all(&list);
		for (uint32_t guard = 0; node; guard++) {
			EXPLORE_CHECK(guard < 3);
			if (node == &own->node)
				found = true;
			else
				passed++;
			node = wf_mpsc_next(node);
		}
		EXPLORE_CHECK(found);
	}
}

static void reuse_check(void)
{
	struct wf_mpsc_node *node = wf_mpsc_take_all(&list);
	if (node) {
		EXPLORE_CHECK(node == &entries[0][0].node && !wf_mpsc_next(node));
		passed++;
	}
	EXPLORE_CHECK(passed == 1);
}

/* "True: it was empty" is enough to wake a sleeping consumer. */
static void sleep_thread(uint32_t i)
{
	if (i < 2) {
		for (uint32_t seq = 1; seq <= 2 - i; seq++) {
			if (push(i, seq))
				wf_parker_unpark_mt(&parker);
		}
		return;
	}
	while (taken < 3) {
		take();
		if (taken < 3)
			EXPLORE_CHECK(wf_parker_park(&parker, WF_FOREVER) == 0);
	}
}

static void sleep_check(void)
{
	EXPLORE_CHECK(taken == 3 && fillings == takes);
	EXPLORE_CHECK(wf_mpsc_is_empty(&list));
}

static const struct explore scenarios[] = {
	{ "push", 3, setup, push_thread, finish },
	{ "reuse", 2, reuse_setup, reuse_thread, reuse_check },
	{ "sleep", 3, setup, sleep_thread, sleep_check },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
