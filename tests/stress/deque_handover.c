/*
 * deque_handover.c: what a forcing thief exposes arrives with its data.
 *
 * Goal: the chain of orders owner - forcing thief - stealing thief carries the items and what they
 * point to ([D1] [D2] [D3] [D4] in deque.c), which ThreadSanitizer can judge only when the forced
 * path runs under it. Method: this program brings its own membarrier that does nothing. That is
 * sound here, since the owner stands still while it is forced: it says so by a relaxed store, so
 * that no other order helps. One thief forces, another steals, the owner takes the rest.
 */
#include "stress.h"

#include "deque.h"
#define ORACLE_FAIL(text) STRESS_FAIL(text)
#include "../support/oracle.h"

#define ROUNDS      STRESS_SCALE(20000u)
#define ITEMS_COUNT 7u

bool wf_membarrier_available(void)
{
	return true;
}

void wf_membarrier(void)
{
}

enum phase { PHASE_OWNER, PHASE_FORCE, PHASE_STEAL };

static struct wf_deque deque;
static struct wf_a32 phase;
static struct wf_a32 stop;
static struct oracle_item items[ROUNDS][ITEMS_COUNT];
static uint32_t stolen;

/* False: the run is over. All orders are relaxed: the phase must not help the deque. */
static bool wait_phase(enum phase wanted)
{
	while (wf_load_relaxed(&phase) != wanted) {
		if (wf_load_relaxed(&stop))
			return false;
		sched_yield();
	}
	return true;
}

static void *force_main(void *arg)
{
	(void)arg;
	while (wait_phase(PHASE_FORCE)) {
		while (!wf_deque_force_mt(&deque))
			sched_yield();
		wf_store_relaxed(&phase, PHASE_STEAL);
	}
	return NULL;
}

static void *steal_main(void *arg)
{
	struct oracle_view view = { 0 };
	void *out[ITEMS_COUNT];
	(void)arg;
	while (wait_phase(PHASE_STEAL)) {
		uint32_t n = 0;
		while (!(n = wf_deque_steal_mt(&deque, out, ITEMS_COUNT)))
			sched_yield();
		for (uint32_t i = 0; i < n; i++)
			oracle_take_in_order(&view, out[i]);
		stolen += n;
		wf_store_relaxed(&phase, PHASE_OWNER);
	}
	return NULL;
}

int main(void)
{
	struct wf_thread force, steal;
	uint32_t seq = 0;
	STRESS_CHECK(wf_deque_init(&deque, 3, true) == 0);
	STRESS_CHECK(wf_thread_start(&force, "force", force_main, NULL) == 0);
	STRESS_CHECK(wf_thread_start(&steal, "steal", steal_main, NULL) == 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < ITEMS_COUNT; i++) {
			oracle_make(&items[round][i], 0, ++seq);
			STRESS_CHECK(wf_deque_push_local(&deque, &items[round][i]) == 0);
		}
		wf_store_relaxed(&phase, PHASE_FORCE);
		wait_phase(PHASE_OWNER);
		for (void *item; (item = wf_deque_pop_local(&deque)) != NULL;)
			oracle_take(item);
	}
	wf_store_relaxed(&stop, 1);
	wf_thread_join(&force);
	wf_thread_join(&steal);
	oracle_all_taken(&items[0][0], ROUNDS * ITEMS_COUNT);
	/* Seven private items: four are exposed, half of those are stolen. */
	STRESS_CHECK(stolen == 2 * ROUNDS);
	wf_deque_fini(&deque);
	return 0;
}
