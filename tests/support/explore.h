/*
 * explore.h: runs a few logical threads through all their interleavings, up to a bound.
 *
 * A scenario is compiled together with the shipped sources it explores, with -DWF_SIM, so that
 * every atomic operation first calls wf_sim_point(), where any thread may go on. The search is
 * depth-first over all choices with a bound on preemptions (switches away from a thread that
 * could have gone on). explore.c says what this proves and what not.
 */
#ifndef WEFT_TEST_EXPLORE_H
#define WEFT_TEST_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPLORE_THREADS_MAX 4

struct explore {
	const char *name;
	uint32_t thread_count;
	void (*setup)(void);            /* before the threads; no scheduling in it */
	void (*thread)(uint32_t index); /* the body of logical thread `index` */
	void (*check)(void);            /* after all threads; no scheduling in it */
};

/*
 * The main() of a model test: runs the scenarios (or those named on the command line), prints one
 * line for each. 0 when all schedules of all passed, else 1.
 */
int explore_main(const struct explore *list, size_t count, int argc, char **argv);

/* End this schedule, and the search, as a failure. */
_Noreturn void explore_fail(const char *file, int line, const char *text);
#define EXPLORE_CHECK(x) \
	do { \
		if (!(x)) \
			explore_fail(__FILE__, __LINE__, #x); \
	} while (0)

/* A choice of the world, not of the scheduler: every value below n is tried. */
uint32_t explore_choose(uint32_t n);
/* A thread's way to say that it waits for another one: it is not run again before that happens. */
void explore_yield(void);
/* From setup: the nth allocation (1 ..) from now fails; 0: none. */
void explore_fail_allocation(uint32_t nth);
/* From setup: at most `n` futex waits of this schedule return without a wake (default 0). */
void explore_spurious_wakes(uint32_t n);

#endif /* WEFT_TEST_EXPLORE_H */
