/*
 * stress.h: what the stress tests share: failing, waiting, random numbers, sizes.
 */
#ifndef WEFT_TEST_STRESS_H
#define WEFT_TEST_STRESS_H

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "../support/seed.h"

/* Other threads may be running: nothing is cleaned up. */
#define STRESS_FAIL(text) \
	do { \
		fprintf(stderr, "%s:%d: FAILED: %s (seed %llu)\n", __FILE__, __LINE__, (text), \
		        (unsigned long long)test_seed()); \
		_Exit(1); \
	} while (0)
#define STRESS_CHECK(x) \
	do { \
		if (!(x)) \
			STRESS_FAIL(#x); \
	} while (0)

/* Less where every access is instrumented. */
#define STRESS_SCALE(n) (WF_TSAN || WF_ASAN ? (n) / 10 : (n))

static inline struct wf_random stress_random(uint64_t stream)
{
	struct wf_random random;
	wf_random_init(&random, test_seed() * UINT64_C(1000003) + stream);
	return random;
}

#endif /* WEFT_TEST_STRESS_H */
