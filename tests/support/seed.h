/*
 * seed.h: the seed of a random test. Fixed unless WEFT_TEST_SEED gives another; the word "fresh"
 * asks the kernel for one. The seed and the line that repeats the run go to stderr on first use,
 * before anything can fail, so that a crash shows them too.
 */
#ifndef WEFT_TEST_SEED_H
#define WEFT_TEST_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static inline uint64_t test_seed(void)
{
	static uint64_t seed;
	const char *text = getenv("WEFT_TEST_SEED");
	char program[1024] = "";

	if (seed)
		return seed;
	if (text && strcmp(text, "fresh") == 0) {
		if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed)
			seed = 1;
	} else if (text && text[0]) {
		seed = strtoull(text, NULL, 0);
	}
	if (!seed)
		seed = 1;
	/* Not argv[0]: Criterion starts each test by another name. */
	if (readlink("/proc/self/exe", program, sizeof program - 1) <= 0)
		strcpy(program, "this program");
	fprintf(stderr, "seed %llu; again: WEFT_TEST_SEED=%llu %s\n", (unsigned long long)seed,
	        (unsigned long long)seed, program);
	return seed;
}

/* Soaks and wide searches run only when asked: WEFT_TEST_LONG=1, set by `tools/test --long`. */
static inline int test_is_long(void)
{
	const char *text = getenv("WEFT_TEST_LONG");

	return text && text[0] && strcmp(text, "0") != 0;
}

#endif /* WEFT_TEST_SEED_H */
