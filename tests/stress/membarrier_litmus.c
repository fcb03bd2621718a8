/*
 * Goal: the two forms of the full barrier between a hot and a cold side work on this machine. In
 * Dekker's exchange (each side stores its own word, then loads the other's) never do both sides
 * read the old value: neither with wf_fence_seq_cst() on both sides, nor with a mere compiler fence
 * on the hot side and wf_membarrier() on the cold one.
 * Method: two real threads agree on a moment round by round, by the processor's ticks, and each
 * waits a little past it, so that their stores and loads fall before, into and after the other's.
 * The same rounds without any barrier are counted first and printed: on a machine with store
 * buffers they do go wrong, which shows that the rounds meet closely enough to see it. Their count
 * decides nothing, as on an emulator or a strictly ordered machine it may be zero.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "seed.h"

#define ROUNDS    (WF_TSAN || WF_ASAN ? 3000 : 30000)
#define TRIES     3
#define RUN_NS    500000000 /* where two busy threads share too little CPU */
#define SPINS     200
#define AIM_BITS  14
#define AIM_LOOPS 100000

enum barrier { BARRIER_NONE, BARRIER_FENCE, BARRIER_ASYMMETRIC };

/* A line for each word: the sides must not slow one another but by what is tested. */
struct line {
	struct wf_a32 word;
} WF_ALIGNED(WF_CACHE_LINE);

static struct line hot_word, cold_word, hot_round, cold_round;
static uint32_t hot_saw[ROUNDS], cold_saw[ROUNDS];
static enum barrier barrier;
static uint64_t start_ticks;
static int64_t until_ns;
static bool stop;
static uint32_t rounds_done;

/* Wait until the other side has come as far. Gives the CPU away when there is only one. */
static void meet(struct line *mine, struct line *other, uint32_t round)
{
	/* release [R1], acquire [R2]: the words of the last round are read before this begins. */
	wf_store_release(&mine->word, round);
	for (int i = 0; wf_load_acquire(&other->word) < round; i++) {
		if (i < SPINS)
			wf_cpu_relax();
		else
			sched_yield();
	}
}

/* Wait past the agreed moment: often a few ticks, at times as long as a membarrier may take. */
static void aim(struct wf_random *random)
{
	uint64_t until =
		start_ticks + wf_random_below(random, 1u << wf_random_below(random, AIM_BITS));

	/* Bounded, for processors whose ticks disagree. */
	for (int i = 0; i < AIM_LOOPS && wf_ticks() < until; i++)
		;
}

static void *hot_side(void *arg)
{
	struct wf_random random;

	wf_random_init(&random, *(uint64_t *)arg);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		meet(&hot_round, &cold_round, 2 * i + 1);
		if (stop)
			break;
		aim(&random);
		/* relaxed, both: what stands between them is what is tested. */
		wf_store_relaxed(&hot_word.word, i + 1);
		if (barrier == BARRIER_FENCE)
			wf_fence_seq_cst();
		else
			wf_fence_compiler();
		hot_saw[i] = wf_load_relaxed(&cold_word.word);
		meet(&hot_round, &cold_round, 2 * i + 2);
	}
	return NULL;
}

static void *cold_side(void *arg)
{
	struct wf_random random;

	wf_random_init(&random, ~*(uint64_t *)arg);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		start_ticks = wf_ticks() + wf_ticks_per_us();
		stop = wf_clock_now(NULL) > until_ns;
		meet(&cold_round, &hot_round, 2 * i + 1);
		if (stop)
			break;
		rounds_done = i + 1;
		aim(&random);
		/* relaxed, both: as above. */
		wf_store_relaxed(&cold_word.word, i + 1);
		if (barrier == BARRIER_FENCE)
			wf_fence_seq_cst();
		else if (barrier == BARRIER_ASYMMETRIC)
			wf_membarrier();
		else
			wf_fence_compiler();
		cold_saw[i] = wf_load_relaxed(&hot_word.word);
		meet(&cold_round, &hot_round, 2 * i + 2);
	}
	return NULL;
}

/* In how many rounds both sides missed the other's store. */
static uint32_t run(enum barrier which, uint64_t seed, uint32_t *both)
{
	struct wf_thread hot, cold;
	uint32_t missed = 0;

	barrier = which;
	*both = 0;
	stop = false;
	rounds_done = 0;
	until_ns = wf_clock_now(NULL) + RUN_NS;
	wf_init(&hot_word.word, 0);
	wf_init(&cold_word.word, 0);
	wf_init(&hot_round.word, 0);
	wf_init(&cold_round.word, 0);
	if (wf_thread_start(&hot, "hot", hot_side, &seed) != 0 ||
	    wf_thread_start(&cold, "cold", cold_side, &seed) != 0) {
		fprintf(stderr, "no threads\n");
		exit(1);
	}
	wf_thread_join(&hot);
	wf_thread_join(&cold);
	for (uint32_t i = 0; i < rounds_done; i++) {
		bool hot_missed = hot_saw[i] != i + 1, cold_missed = cold_saw[i] != i + 1;

		/* A round sees this round's value or the last one's, nothing else. */
		WF_CHECK(hot_saw[i] == i || hot_saw[i] == i + 1);
		WF_CHECK(cold_saw[i] == i || cold_saw[i] == i + 1);
		missed += hot_missed && cold_missed;
		*both += !hot_missed && !cold_missed;
	}
	return missed;
}

int main(void)
{
	static const char *const names[] = { "no barrier", "fence and fence",
		                             "compiler fence and membarrier" };
	enum barrier last = BARRIER_ASYMMETRIC;
	uint64_t seed = test_seed();
	int status = 0;

	if (wf_topology()->allowed_count < 2) {
		fprintf(stderr, "skipped: one CPU has no store buffer to see\n");
		return 77;
	}
	if (!wf_membarrier_available()) {
		last = BARRIER_FENCE;
		fprintf(stderr, "membarrier is refused here: its half is not run\n");
	}
	for (enum barrier which = BARRIER_NONE; which <= last; which++) {
		uint32_t both = 0, missed = 0;

		/* On a busy machine one side may be ahead in every round: then once more. */
		for (int i = 0; i < TRIES && missed + both == 0; i++)
			missed = run(which, seed + (uint64_t)i, &both);
		fprintf(stderr, "%s: %u of %u rounds missed both ways, %u seen both ways\n",
		        names[which], missed, rounds_done, both);
		if (which != BARRIER_NONE && missed != 0)
			status = 1;
	}
	if (status == 0 && last != BARRIER_ASYMMETRIC)
		status = 77;
	return status;
}
