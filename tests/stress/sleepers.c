/*
 * Goal: timers, timed waits and yields of thousands of tasks at once: nobody wakes early, nobody is
 * forgotten, and a timed-out wait can be repeated until the value comes.
 * Method: tasks that mix sleeps, timed gets and timed waits of random length on shared events that
 * four foreign threads complete in between; some are cancelled. 1, 2 and 8 workers.
 */
#include "api.h"

#define EVENTS  64
#define THREADS 4

struct bed {
	weft *rt;
	weft_ref events[EVENTS];
	struct api_count next;
};

struct sleeper {
	struct bed *bed;
	uint64_t random;
};

/* A get with a time limit, again and again, until the event is there. */
static int get_by_and_by(weft_task *self, struct bed *bed, weft_ref event, uint64_t *random)
{
	for (;;) {
		struct weft_view view;
		const weft_deadline until = weft_now(bed->rt) + api_below(random, 300000);
		const int status = weft_get(bed->rt, event, until, &view);

		if (status == 0) {
			API_CHECK(view.size == sizeof event);
			API_CHECK(memcmp(view.data, &event, sizeof event) == 0);
			return 0;
		}
		if (status == -EINTR) {
			API_CHECK(weft_task_cancelled(self));
			return status;
		}
		API_CHECK(status == -ETIMEDOUT);
		API_CHECK(weft_now(bed->rt) >= until);
	}
}

static int wait_for_two(struct bed *bed, uint64_t *random)
{
	const uint32_t first = api_below(random, EVENTS - 1);
	const weft_ref refs[2] = { bed->events[first], bed->events[first + 1] };
	bool ready[2] = { 0 };
	const int n = weft_wait(bed->rt, refs, 2, 2, weft_now(bed->rt) + 100000, ready);

	if (n < 0)
		return n;
	API_CHECK(n == ready[0] + ready[1]);
	return 0;
}

static int sleeps(weft_task *self)
{
	struct sleeper *s = weft_task_arg(self, NULL);
	struct bed *bed = s->bed;

	for (int i = 0; i < 6; i++) {
		const weft_ref event = bed->events[api_below(&s->random, EVENTS)];
		const weft_deadline until = weft_now(bed->rt) + api_below(&s->random, 400000);
		int status = 0;

		switch (api_below(&s->random, 4)) {
		case 0:
			status = weft_sleep_until(bed->rt, until);
			API_CHECK(status < 0 || weft_now(bed->rt) >= until);
			break;
		case 1:
			status = get_by_and_by(self, bed, event, &s->random);
			break;
		case 2:
			status = wait_for_two(bed, &s->random);
			break;
		default:
			status = weft_yield(bed->rt);
		}
		if (status < 0) {
			API_CHECK(status == -EINTR || status == -ECANCELED);
			API_CHECK(weft_task_cancelled(self));
			return -ECANCELED;
		}
	}
	return 0;
}

static void *complete(void *arg)
{
	struct bed *bed = arg;
	uint64_t i;

	while ((i = api_add(&bed->next, 1) - 1) < EVENTS) {
		API_CHECK(weft_sleep_until(bed->rt, weft_now(bed->rt) + 200000) == 0);
		API_CHECK(weft_event_set(bed->rt, bed->events[i], &bed->events[i],
		                         sizeof bed->events[i]) == 0);
	}
	return NULL;
}

static void run(uint32_t workers, uint64_t *random)
{
	weft *rt = api_open(workers);
	const uint32_t n = api_scaled(test_is_long() ? 100000 : 5000);
	weft_ref *refs = calloc(n, sizeof *refs);
	struct bed bed = { .rt = rt };
	pthread_t threads[THREADS];
	uint32_t cancelled = 0;

	for (uint32_t i = 0; i < EVENTS; i++)
		bed.events[i] = api_event(rt);
	for (uint32_t i = 0; i < n; i++) {
		const struct sleeper s = { &bed, api_random(random) };

		refs[i] = api_spawn(rt, sleeps, &s, sizeof s);
	}
	for (int t = 0; t < THREADS; t++)
		threads[t] = api_thread(complete, &bed);
	for (uint32_t i = 0; i < n; i += 7)
		API_CHECK(weft_cancel(rt, refs[i]) == 0);
	for (int t = 0; t < THREADS; t++)
		api_join(threads[t]);
	for (uint32_t i = 0; i < n; i++) {
		const int status = api_end(rt, refs[i]);

		API_CHECK(status == 0 || (status == -ECANCELED && i % 7 == 0));
		cancelled += status < 0;
	}
	API_CHECK(cancelled <= n / 7 + 1);
	API_CHECK(weft_release_many(rt, bed.events, EVENTS) == 0);
	free(refs);
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	uint64_t random = test_seed();

	run(1, &random);
	run(2, &random);
	run(8, &random);
	return 0;
}
