/*
 * Goal: a completion queue fed and undone by many threads delivers each registration exactly once,
 * or never when its removal said so.
 * Method: producers register refs of every kind in one queue, complete them, and undo a third; one
 * consumer takes items by poll and drain, by wait from a host, or by wait from a task. A counter
 * per tag; the sum over removals and deliveries is one for each. 1, 2 and 8 workers.
 */
#include <poll.h>

#include "api.h"

#define PRODUCERS 4
#define PER       2000

struct feed {
	weft *rt;
	weft_cq *cq;
	struct api_count seen[PRODUCERS * PER];
	struct api_count removed[PRODUCERS * PER];
	struct api_count delivered_or_removed;
	uint32_t n; /* registrations of each producer */
	int how;
};

struct producer {
	struct feed *feed;
	uint32_t index;
	uint64_t random;
};

static void *produce(void *arg)
{
	struct producer *p = arg;
	struct feed *feed = p->feed;
	weft *rt = feed->rt;

	for (uint32_t i = 0; i < feed->n; i++) {
		const uint64_t tag = (uint64_t)p->index * PER + i;
		const uint32_t kind = api_below(&p->random, 3);
		weft_ref ref = kind == 0 ? api_event(rt)
			: kind == 1      ? api_put_i64(rt, 5)
					 : api_spawn(rt, api_body_nothing, NULL, 0);

		API_CHECK(weft_cq_add(feed->cq, ref, tag) == 0);
		const bool undo = api_below(&p->random, 3) == 0, before = api_below(&p->random, 2);
		int removed = 0;
		if (undo && before)
			removed = weft_cq_remove(feed->cq, ref, tag);
		if (kind == 0)
			API_CHECK(weft_event_set(rt, ref, NULL, 0) == 0);
		if (undo && !before)
			removed = weft_cq_remove(feed->cq, ref, tag);
		API_CHECK(removed == 0 || removed == 1 || removed == -ENOENT);
		if (removed == 1) {
			api_add(&feed->removed[tag], 1);
			api_add(&feed->delivered_or_removed, 1);
		}
		api_release(rt, ref);
	}
	return NULL;
}

static void take(struct feed *feed, const struct weft_cq_item *items, int n)
{
	API_CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		API_CHECK(items[i].tag < PRODUCERS * PER);
		API_CHECK(items[i].status == 0);
		API_CHECK(api_add(&feed->seen[items[i].tag], 1) == 1);
		api_add(&feed->delivered_or_removed, 1);
	}
}

static void consume(struct feed *feed)
{
	struct weft_cq_item items[32];
	const uint64_t all = (uint64_t)PRODUCERS * feed->n;

	while (api_read(&feed->delivered_or_removed) < all) {
		struct pollfd fd = { .fd = feed->how == 0 ? weft_cq_fd(feed->cq) : -1,
			             .events = POLLIN };
		int n;

		if (feed->how == 0) {
			API_CHECK(fd.fd >= 0 && poll(&fd, 1, 10) >= 0);
			while ((n = weft_cq_drain(feed->cq, items, 32)) > 0)
				take(feed, items, n);
			API_CHECK(n == 0);
			continue;
		}
		/* A removal can take away the last item waited for, hence the time limit. */
		n = weft_cq_wait(feed->cq, items, 32, weft_after_ms(feed->rt, 10));
		API_CHECK(n >= 0 || n == -ENOENT);
		if (n < 0)
			sched_yield();
		else
			take(feed, items, n);
	}
}

static int consume_in_task(weft_task *self)
{
	consume(api_arg_pointer(self));
	return 0;
}

static void run(uint32_t workers, int how, uint64_t *random)
{
	weft *rt = api_open(workers);
	struct feed *feed = calloc(1, sizeof *feed);
	struct producer producers[PRODUCERS];
	pthread_t threads[PRODUCERS];
	weft_ref task = WEFT_NONE;

	feed->rt = rt;
	feed->how = how;
	feed->n = api_scaled(PER);
	API_CHECK(weft_cq_create(rt, &feed->cq) == 0);
	for (uint32_t t = 0; t < PRODUCERS; t++) {
		producers[t] = (struct producer){ feed, t, api_random(random) };
		threads[t] = api_thread(produce, &producers[t]);
	}
	if (how == 2) {
		task = api_submit(rt, WEFT_TASK(consume_in_task, API_POINTER(feed)));
		API_CHECK(api_end(rt, task) == 0);
	} else {
		consume(feed);
	}
	for (int t = 0; t < PRODUCERS; t++)
		api_join(threads[t]);
	for (uint32_t t = 0; t < PRODUCERS; t++)
		for (uint32_t i = 0; i < feed->n; i++)
			API_CHECK(api_read(&feed->seen[t * PER + i]) +
			                  api_read(&feed->removed[t * PER + i]) ==
			          1);
	struct weft_cq_item item;
	API_CHECK(weft_cq_wait(feed->cq, &item, 1, WEFT_POLL) == -ENOENT);
	weft_cq_destroy(feed->cq);
	free(feed);
	api_await_no_tasks(rt);
	api_close(rt);
}

int main(void)
{
	static const uint32_t workers[] = { 1, 2, 8 };
	uint64_t random = test_seed();
	const uint32_t rounds = test_is_long() ? 100 : 2;

	for (uint32_t round = 0; round < rounds; round++)
		for (int w = 0; w < 3; w++)
			for (int how = 0; how < 3; how++)
				run(workers[w], how, &random);
	return 0;
}
