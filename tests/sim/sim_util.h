/*
 * sim_util.h: what the programs of tests/sim share: a runtime of random shape, checked submits,
 * a tree of tasks, the final count.
 */
#ifndef WEFT_TEST_SIM_UTIL_H
#define WEFT_TEST_SIM_UTIL_H

#include <pthread.h>

#include "atomic.h"
#include "sim.h"
#include "weft.h"

static inline weft *sim_open_with(uint32_t workers, uint32_t flags)
{
	static const struct weft_resource named[] = { { "disk", 2 }, { "tape", 1 } };
	weft *rt = NULL;
	uint32_t spares = sim_choose(4);

	SIM_CHECK(
		weft_open(&rt,
	                  WEFT_OPTIONS(.workers = workers, .flags = flags, .bind = WEFT_BIND_NONE,
	                               .stacks_max = 512, .stack_bytes = 131072, .tasks_max = 4096,
	                               .spare_threads_max = spares ? spares : WEFT_SPARE_NONE,
	                               .gpus = 2, .memory = 100, .resources = named,
	                               .n_resources = 2, .seed = 1 + sim_choose(1000))) == 0);
	return rt;
}

/*
 * Nothing that ended has kept anything. Plain CPUs follow when their workers rest, and what a dead
 * actor had asked for when the task that asked is over, for which nobody waits. What is never given
 * back is a schedule that does not end.
 */
static inline void sim_check_books(weft *rt)
{
	struct weft_resource_info infos[5];
	struct weft_pending_info pending;
	uint32_t back = 0;

	while (back < 5) {
		sim_yield();
		SIM_CHECK(weft_resources(rt, infos, 5) == 5);
		for (back = 0; back < 5 && infos[back].available == infos[back].total;)
			back++;
	}
	SIM_CHECK(weft_pending(rt, &pending, 1) == 0);
}

static inline weft *sim_open(void)
{
	return sim_open_with(1 + sim_choose(4), sim_choose(2) ? WEFT_OPEN_TIMING : 0);
}

/* Nothing that has ended may stay: wait until the last ends have been seen by all. */
static inline void sim_close(weft *rt)
{
	for (;;) {
		struct weft_stats stats = { .struct_size = sizeof stats };

		SIM_CHECK(weft_stats(rt, &stats) == 0);
		if (stats.tasks_live == 0)
			break;
		sim_yield();
	}
	sim_check_books(rt);
	SIM_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
}

static inline pthread_t sim_thread(void *(*fn)(void *), void *arg)
{
	pthread_t thread;

	SIM_CHECK(pthread_create(&thread, NULL, fn, arg) == 0);
	return thread;
}

static inline void sim_join(pthread_t thread)
{
	SIM_CHECK(pthread_join(thread, NULL) == 0);
}

#endif /* WEFT_TEST_SIM_UTIL_H */
