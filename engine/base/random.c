/*
 * random.c: small, fast, repeatable random numbers for stealing order, jitter and tests.
 *
 * xoshiro256** 1.0 and the splitmix64 that fills its state. Not for secrets. Each worker has a
 * generator of its own, so nothing here is shared.
 *
 * After: David Blackman, Sebastiano Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM
 * TOMS 47(4), 2021, doi:10.1145/3460772 (preprint 2018). Guy Steele, Doug Lea, Christine Flood,
 * "Fast splittable pseudorandom number generators", OOPSLA 2014, doi:10.1145/2660193.2660195.
 * Daniel Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS 29(1), 2019,
 * doi:10.1145/3230636.
 */
#include "base.h"

#include <errno.h>
#include <sys/random.h>
#include <unistd.h>

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static inline uint64_t rotate_left(uint64_t x, int by)
{
	return (x << by) | (x >> (64 - by));
}

void wf_random_init(struct wf_random *random, uint64_t seed)
{
	/* splitmix64 is a bijection of a counter, so at most one of four words can be zero. */
	for (int i = 0; i < 4; i++)
		random->s[i] = splitmix64(&seed);
	WF_CHECK((random->s[0] | random->s[1]) != 0);
}

uint64_t wf_random_next(struct wf_random *random)
{
	uint64_t *s = random->s;
	uint64_t result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint32_t wf_random_below(struct wf_random *random, uint32_t n)
{
	uint64_t product;
	uint32_t threshold;

	WF_CHECK(n > 0);
	product = (wf_random_next(random) >> 32) * n;
	if (WF_UNLIKELY((uint32_t)product < n)) {
		/* 2^32 mod n values are drawn once too often; leave them out. */
		threshold = -n % n;
		while ((uint32_t)product < threshold)
			product = (wf_random_next(random) >> 32) * n;
	}
	return (uint32_t)(product >> 32);
}

uint64_t wf_random_seed(void)
{
	uint64_t seed = 0;
	int saved = errno;

	/*
	 * Not to wait for entropy at boot, and where the call is missing, time and process tell
	 * runs apart well enough: the seed only has to differ, not to be secret.
	 */
	if (wf_fault(WF_FAULT_FILE) ||
	    getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed)) {
		seed = (uint64_t)wf_clock_now(NULL) ^ ((uint64_t)getpid() << 40);
		seed = splitmix64(&seed);
	}
	errno = saved;
	return seed != 0 ? seed : 1;
}
