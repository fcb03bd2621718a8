/*
 * parker.c: the parker with real threads.
 *
 * Goal: no wake-up is lost, no token is doubled, and what was written before an unpark is seen
 * after the park. Method: 1, 2 and 8 threads pass one baton round a ring; the baton is plain data
 * and the only thing that orders it is the parker. Some parks have deadlines that pass; they are
 * repeated. A lost wake-up hangs the test.
 */
#include <errno.h>

#include "stress.h"

#include "parker.h"

#define LAPS        STRESS_SCALE(20000u)
#define THREADS_MAX 8u

struct seat {
	WF_ALIGNED(WF_CACHE_LINE) struct wf_parker parker;
	struct wf_thread thread;
	uint32_t index;
	uint32_t count;
	uint64_t timeouts;
};

static struct seat seats[THREADS_MAX];
static uint64_t baton; /* plain: passed by the parkers */

static void *sit(void *arg)
{
	struct seat *self = arg;
	struct seat *next = &seats[(self->index + 1) % self->count];
	struct wf_random random = stress_random(self->index);

	for (uint32_t lap = 0; lap < LAPS; lap++) {
		int rc;
		do {
			int64_t until = WF_FOREVER;
			if (wf_random_below(&random, 4) == 0)
				until = wf_clock_now(NULL) + wf_random_below(&random, 20000);
			rc = wf_parker_park(&self->parker, until);
			STRESS_CHECK(rc == 0 || (rc == -ETIMEDOUT && until != WF_FOREVER));
			self->timeouts += rc != 0;
		} while (rc != 0);
		/* One baton, one token: whoever is here is alone. */
		STRESS_CHECK(baton == (uint64_t)lap * self->count + self->index);
		baton++;
		wf_parker_unpark_mt(&next->parker);
	}
	return NULL;
}

static void run_with(uint32_t count)
{
	uint64_t timeouts = 0;
	baton = 0;
	for (uint32_t i = 0; i < count; i++) {
		wf_parker_init(&seats[i].parker);
		seats[i].index = i;
		seats[i].count = count;
		seats[i].timeouts = 0;
	}
	for (uint32_t i = 0; i < count; i++)
		STRESS_CHECK(wf_thread_start(&seats[i].thread, "seat", sit, &seats[i]) == 0);
	wf_parker_unpark_mt(&seats[0].parker);
	for (uint32_t i = 0; i < count; i++) {
		wf_thread_join(&seats[i].thread);
		timeouts += seats[i].timeouts;
	}
	STRESS_CHECK(baton == (uint64_t)LAPS * count);
	/* The last one left a token at the first seat. */
	STRESS_CHECK(wf_parker_park(&seats[0].parker, 0) == 0);
	STRESS_CHECK(wf_parker_park(&seats[0].parker, 0) == -ETIMEDOUT);
	printf("%u threads, %u laps, %llu deadlines passed\n", count, LAPS,
	       (unsigned long long)timeouts);
}

int main(void)
{
	(void)test_seed();
	run_with(1);
	run_with(2);
	run_with(8);
	return 0;
}
