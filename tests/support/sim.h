/*
 * sim.h: the whole engine on one operating-system thread, under schedules that are functions of a
 * seed.
 *
 * A program is linked with a library of all rooms compiled with -DWF_SIM and with sim.c, which
 * stands between the shipped code and the C library (sim.c says how). Everything a program calls
 * of weft.h, and the pthread functions that sim.c replaces, then run in virtual time on simulated
 * threads, and whatever goes wrong goes wrong again under the same seed.
 */
#ifndef WEFT_TEST_SIM_H
#define WEFT_TEST_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_program {
	const char *name;
	void (*run)(void); /* on the first simulated thread; ends with all others joined */
};

/*
 * Run the programs, each under many seeds, each seed in a process of its own. WEFT_SIM_SEED=N and
 * a program's name run that one in this process; WEFT_SIM_SEEDS=N as many as that.
 */
int sim_main(const struct sim_program *list, size_t count, int argc, char **argv);

/* A choice of the program, below `n`; drawn from the seed, but not from the scheduler's numbers. */
uint32_t sim_choose(uint32_t n);
/* Virtual nanoseconds. */
int64_t sim_now(void);
/* Let others run; for polling. */
void sim_yield(void);
_Noreturn void sim_fail(const char *file, int line, const char *text);

#define SIM_CHECK(cond) ((cond) ? (void)0 : sim_fail(__FILE__, __LINE__, #cond))

#endif /* WEFT_TEST_SIM_H */
