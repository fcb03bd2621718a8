/*
 * deque.c: the split deque with real threads.
 *
 * Goal: with 0, 1, 2 and 8 thieves on few CPUs nothing is lost or doubled, thieves see the oldest
 * first, the owner exactly the newest, and what lies behind the pointers arrives; rings grow under
 * the thieves. Method: the owner keeps a list of what it has pushed. Since thieves take the
 * oldest, a pop gives either exactly the end of that list or nothing, and then all of it is gone.
 * Forcing thieves run where the membarrier works: this is also the test of the asymmetric Dekker,
 * which the explorer cannot check. Both modes; asking without forcing under ThreadSanitizer.
 */
#include "stress.h"

#include "deque.h"
#define ORACLE_FAIL(text) STRESS_FAIL(text)
#include "../support/oracle.h"

#define ITEMS_COUNT STRESS_SCALE(400000u)
#define GROW_COUNT  2000u /* items of a run that only pushes */
#define GROW_RUNS   STRESS_SCALE(400u)
#define THIEVES_MAX 8u
#define BATCH_MAX   16u

struct run {
	struct wf_deque deque;
	struct oracle_item *items;
	uint32_t *pushed; /* the owner's list: seqs of what it has not taken itself */
	uint32_t pushed_count;
	uint32_t item_count;
	bool force;
	struct wf_a32 stop;
	struct wf_a32 thief_count; /* that have started */
	struct wf_a64 stolen;
};

struct thief {
	struct run *run;
	struct wf_thread thread;
	uint32_t index;
	struct oracle_view view;
};

static void *thief_main(void *arg)
{
	struct thief *thief = arg;
	struct run *run = thief->run;
	struct wf_random random = stress_random(1 + thief->index);
	void *out[BATCH_MAX];
	uint64_t stolen = 0;

	/* relaxed: a hint that somebody is there. */
	wf_add_relaxed(&run->thief_count, 1);
	for (;;) {
		/* relaxed: a late stop is one more look at an empty deque. */
		bool stop = wf_load_relaxed(&run->stop);
		uint32_t max = 1 + wf_random_below(&random, BATCH_MAX);
		uint32_t n = wf_deque_steal_mt(&run->deque, out, max);
		STRESS_CHECK(n <= max);
		for (uint32_t i = 0; i < n; i++)
			oracle_take_in_order(&thief->view, out[i]);
		stolen += n;
		if (n > 0)
			continue;
		if (stop)
			break;
		if (run->force && wf_random_below(&random, 2) == 0)
			wf_deque_force_mt(&run->deque);
		else
			wf_deque_ask_mt(&run->deque);
		(void)wf_deque_has_public(&run->deque);
		/* Of a ring that the owner may be replacing. */
		(void)wf_deque_oldest_mt(&run->deque);
		STRESS_CHECK(wf_deque_count_mt(&run->deque) <= run->item_count);
		if (wf_random_below(&random, 8) == 0)
			sched_yield();
	}
	/* relaxed: read after the join. */
	wf_add_relaxed(&run->stolen, stolen);
	return NULL;
}

static void push(struct run *run, uint32_t seq)
{
	struct oracle_item *item = &run->items[seq - 1];
	oracle_make(item, 0, seq);
	STRESS_CHECK(wf_deque_push_local(&run->deque, item) == 0);
	run->pushed[run->pushed_count++] = seq;
}

static bool pop(struct run *run)
{
	struct oracle_item *item = wf_deque_pop_local(&run->deque);
	if (!item) {
		run->pushed_count = 0; /* all of them stolen; the end will tell */
		return false;
	}
	oracle_take(item);
	STRESS_CHECK(run->pushed_count > 0);
	STRESS_CHECK(item->seq == run->pushed[run->pushed_count - 1]);
	run->pushed_count--;
	return true;
}

/* The fork-join move: take exactly this one, or know that it was stolen. */
static void take(struct run *run)
{
	if (run->pushed_count == 0)
		return;
	struct oracle_item *item = &run->items[run->pushed[run->pushed_count - 1] - 1];
	if (wf_deque_take_local(&run->deque, item)) {
		oracle_take(item);
		run->pushed_count--;
	} else {
		run->pushed_count = 0;
		STRESS_CHECK(wf_deque_pop_local(&run->deque) == NULL);
	}
}

static void remove_one(struct run *run, struct wf_random *random)
{
	if (run->pushed_count == 0)
		return;
	uint32_t depth = wf_random_below(random, run->pushed_count < 8 ? run->pushed_count : 8);
	uint32_t at = run->pushed_count - 1 - depth;
	struct oracle_item *item = &run->items[run->pushed[at] - 1];
	if (!wf_deque_remove_local(&run->deque, item, 16))
		return;
	oracle_take(item);
	for (uint32_t i = at; i + 1 < run->pushed_count; i++)
		run->pushed[i] = run->pushed[i + 1];
	run->pushed_count--;
}

/* Only pushes, once a thief is there: the ring doubles again and again under the thieves. */
static void own_growing(struct run *run)
{
	for (uint32_t seq = 1; seq <= run->item_count; seq++) {
		push(run, seq);
		/* relaxed: nothing but a wait for company. */
		while (seq == 8 && wf_load_relaxed(&run->thief_count) == 0)
			sched_yield();
	}
}

static void own_mixed(struct run *run)
{
	struct wf_random random = stress_random(0);
	uint32_t seq = 0;

	while (seq < run->item_count) {
		/* A body: without it the owner is done before the thieves have woken up. */
		for (uint32_t n = wf_random_below(&random, 64); n > 32; n--)
			wf_cpu_relax();
		switch (wf_random_below(&random, 8)) {
		case 0: /* a burst, so that rings grow */
			for (uint32_t n = wf_random_below(&random, 100); n > 0; n--) {
				if (seq < run->item_count)
					push(run, ++seq);
			}
			break;
		case 1:
			for (uint32_t n = wf_random_below(&random, 100); n > 0 && pop(run); n--)
				;
			break;
		case 2:
			remove_one(run, &random);
			break;
		case 3:
			wf_deque_expose_local(&run->deque, wf_random_below(&random, 8));
			break;
		case 4:
			take(run);
			break;
		default: /* around the edge between something and nothing */
			push(run, ++seq);
			if (wf_random_below(&random, 2))
				pop(run);
			break;
		}
	}
}

static void run_with(uint32_t thief_count, bool asymmetric, bool force, bool growing)
{
	static struct run run;
	struct thief thieves[THIEVES_MAX] = { 0 };
	run = (struct run){ .force = force, .item_count = growing ? GROW_COUNT : ITEMS_COUNT };
	run.items = calloc(run.item_count, sizeof *run.items);
	run.pushed = calloc(run.item_count, sizeof *run.pushed);
	STRESS_CHECK(run.items && run.pushed);
	STRESS_CHECK(wf_deque_init(&run.deque, 1, asymmetric) == 0);
	for (uint32_t i = 0; i < thief_count; i++) {
		thieves[i].run = &run;
		thieves[i].index = i;
		STRESS_CHECK(
			wf_thread_start(&thieves[i].thread, "thief", thief_main, &thieves[i]) == 0);
	}
	if (growing)
		own_growing(&run);
	else
		own_mixed(&run);
	while (pop(&run))
		;
	STRESS_CHECK(wf_deque_private_count_local(&run.deque) == 0);
	STRESS_CHECK(!wf_deque_has_public(&run.deque));
	/* relaxed: see there. */
	wf_store_relaxed(&run.stop, 1);
	for (uint32_t i = 0; i < thief_count; i++)
		wf_thread_join(&thieves[i].thread);
	oracle_all_taken(run.items, run.item_count);
	if (!growing) {
		printf("thieves %u, %s%s: %u items, %llu stolen\n", thief_count,
		       asymmetric ? "asymmetric" : "eager", force ? ", forced" : "", run.item_count,
		       (unsigned long long)wf_load_relaxed(&run.stolen));
	}
	wf_deque_fini(&run.deque);
	free(run.items);
	free(run.pushed);
}

int main(void)
{
	const uint32_t counts[] = { 0, 1, 2, 8 };
	(void)test_seed();
	for (uint32_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
		run_with(counts[i], false, false, false);
		run_with(counts[i], true, false, false);
		if (wf_membarrier_available())
			run_with(counts[i], true, true, false);
	}
	for (uint32_t i = 0; i < GROW_RUNS; i++)
		run_with(1, i % 2, false, true);
	printf("%u runs of a growing ring\n", GROW_RUNS);
	if (!wf_membarrier_available())
		printf("no membarrier here: nothing was forced\n");
	return 0;
}
