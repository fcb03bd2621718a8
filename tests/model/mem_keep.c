/*
 * mem_keep.c: the runs that a thread keeps, under every schedule of its owner and thieves.
 *
 * Goal: each run is with one thread at a time and none is lost, also when the same run is put back
 * into the same slot while a thief is half way (ABA), and whoever takes a run sees what was done
 * with it before. Method: who has a run is written beside it in plain memory; whoever takes one
 * must find it ownerless.
 */
#include "base.h"
#include "explore.h"
#include "mem_keep.h"

#define RUNS 3u

static struct wf_mem_keep keep;
static bool held[RUNS];
static uint32_t uses[RUNS]; /* plain: whoever takes it must see all of them */
static uint32_t stolen;

static void setup(void)
{
	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++)
		wf_init(&keep.slot[i], 0);
	for (uint32_t i = 0; i < RUNS; i++) {
		held[i] = false;
		uses[i] = 0;
	}
	stolen = 0;
}

/* Run i has page i and i + 1 pages. */
static uint32_t take(uint64_t word)
{
	uint32_t run = (uint32_t)(word >> 32);

	EXPLORE_CHECK(run < RUNS && (uint32_t)word == run + 1);
	EXPLORE_CHECK(!held[run]);
	held[run] = true;
	uses[run]++;
	return run;
}

static void put(uint32_t run)
{
	uses[run]++;
	held[run] = false;
	EXPLORE_CHECK(wf_mem_keep_put_local(&keep, wf_mem_keep_word(run, run + 1)));
}

static void steal_all(void)
{
	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++) {
		uint64_t word = wf_mem_keep_steal_mt(&keep, i);

		if (word != 0) {
			take(word);
			stolen++;
		}
	}
}

static void mixed_thread(uint32_t i)
{
	if (i != 0) {
		steal_all();
		return;
	}
	held[0] = held[1] = held[2] = true;
	put(0);
	put(1);
	for (uint32_t k = 0; k < 2; k++) {
		uint64_t word = wf_mem_keep_take_local(&keep, 1 + k);

		/* A stolen one is not there; another one is not what was asked for. */
		if (word != 0)
			put(take(word));
	}
	put(2);
}

/* The same word comes back to the same slot, again and again. */
static void again_thread(uint32_t i)
{
	if (i != 0) {
		uint64_t word = wf_mem_keep_steal_mt(&keep, 0);

		if (word != 0) {
			take(word);
			stolen++;
		}
		return;
	}
	held[0] = true;
	put(0);
	for (uint32_t k = 0; k < 3; k++) {
		uint64_t word = wf_mem_keep_take_local(&keep, 1);

		if (word == 0)
			break;
		put(take(word));
	}
}

static void check(uint32_t runs)
{
	uint64_t pages = wf_mem_keep_pages(&keep);
	uint32_t kept = 0, counted = 0;

	for (uint32_t i = 0; i < WF_MEM_KEEP_SLOTS; i++) {
		uint64_t word = wf_mem_keep_steal_mt(&keep, i);

		if (word != 0) {
			counted += (uint32_t)word;
			take(word);
			kept++;
		}
	}
	EXPLORE_CHECK(pages == counted);
	EXPLORE_CHECK(kept + stolen == runs);
	for (uint32_t i = 0; i < runs; i++)
		EXPLORE_CHECK(held[i] && uses[i] % 2 == 0);
}

static void mixed_check(void)
{
	check(3);
}

static void again_check(void)
{
	check(1);
}

/* Four slots, and no more. */
static void full_thread(uint32_t i)
{
	if (i != 0)
		return;
	for (uint32_t k = 0; k < WF_MEM_KEEP_SLOTS; k++)
		EXPLORE_CHECK(wf_mem_keep_put_local(&keep, wf_mem_keep_word(k, 1)));
	EXPLORE_CHECK(!wf_mem_keep_put_local(&keep, wf_mem_keep_word(9, 1)));
	EXPLORE_CHECK(wf_mem_keep_take_local(&keep, 2) == 0);
	EXPLORE_CHECK(wf_mem_keep_take_local(&keep, 1) == wf_mem_keep_word(0, 1));
	EXPLORE_CHECK(wf_mem_keep_put_local(&keep, wf_mem_keep_word(9, 1)));
}

static void full_check(void)
{
	EXPLORE_CHECK(wf_mem_keep_pages(&keep) == WF_MEM_KEEP_SLOTS);
}

static const struct explore scenarios[] = {
	{ "mixed", 2, setup, mixed_thread, mixed_check },
	{ "thieves", 3, setup, again_thread, again_check },
	{ "full", 2, setup, full_thread, full_check },
};

int main(int argc, char **argv)
{
	return explore_main(scenarios, sizeof scenarios / sizeof scenarios[0], argc, argv);
}
