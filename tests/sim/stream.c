/*
 * Goal: every item of a generator is taken once and in order or freed with it, whoever takes,
 * drops, cancels, waits or retries meanwhile; nobody sleeps for ever and nothing stays.
 * Method: generators of random length, window, failure and attempts on the simulated engine
 * (tests/support/sim.c), consumed by tasks and threads in a random way that may stop early. What
 * an attempt gives names the attempt and the index, so a double or a hole is seen at once.
 */
#include <errno.h>
#include <string.h>

#include "base.h"
#include "sim_util.h"

#define GENS_MOST 8

struct gen {
	weft *rt;
	weft_ref ref;
	uint32_t good[3]; /* items of attempt 1, 2, 3 */
	uint32_t attempts, window;
	bool fails;     /* the last attempt as well */
	size_t size;    /* of an item: in its cell, in a block, in the store */
	bool cancelled; /* somebody may cancel it */
	uint32_t stops; /* the consumer drops it after so many items */
	uint32_t taken;
};

static uint32_t length_of(const struct gen *gen)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < gen->attempts; i++)
		most = gen->good[i] > most ? gen->good[i] : most;
	return most;
}

static int give(weft_task *self)
{
	struct gen *gen = *(struct gen *const *)weft_task_arg(self, NULL);
	uint32_t attempt = weft_task_attempt(self), item[150] = { attempt };

	SIM_CHECK(attempt >= 1 && attempt <= gen->attempts);
	for (uint32_t i = 0; i < gen->good[attempt - 1]; i++) {
		int rc;

		item[1] = i;
		switch (sim_choose(8)) {
		case 0:
			rc = weft_yield(gen->rt);
			break;
		case 1:
			rc = weft_sleep_until(gen->rt, weft_now(gen->rt) + sim_choose(100000));
			break;
		default:
			rc = 0;
		}
		if (!rc && sim_choose(3) == 0) {
			void *room;

			rc = weft_emit_room(self, gen->size, &room);
			if (!rc) {
				memcpy(room, item, gen->size);
				rc = weft_emit_done(self);
			}
		} else if (!rc) {
			rc = weft_emit(self, item, gen->size);
		}
		SIM_CHECK(rc == 0 || rc == 1 ||
		          (gen->cancelled && (rc == -EINTR || rc == -ECANCELED)));
		if (rc < 0)
			return rc;
	}
	if (attempt < gen->attempts || gen->fails)
		return weft_fail(self, -EIO, "attempt %u", attempt);
	return 0;
}

/* The item that must come next: given by the first attempt that came so far. */
static void check_item(struct gen *gen, weft_ref item)
{
	struct weft_view view;
	uint32_t got[2], attempt = 0;
	int rc = weft_get(gen->rt, item, WEFT_FOREVER, &view);

	if (rc) {
		/* A cancelled one may have failed just before, and is not tried again. */
		SIM_CHECK(gen->cancelled || (rc == WEFT_ETASK && gen->fails));
		SIM_CHECK(gen->cancelled || gen->taken == length_of(gen));
		SIM_CHECK(rc == WEFT_ETASK || rc == -ECANCELED);
		gen->fails = true; /* from here on only the end may come */
		return;
	}
	SIM_CHECK(view.size == gen->size);
	memcpy(got, view.data, sizeof got);
	while (attempt < gen->attempts && gen->good[attempt] <= gen->taken)
		attempt++;
	SIM_CHECK(attempt < gen->attempts);
	SIM_CHECK(got[0] == attempt + 1);
	SIM_CHECK(got[1] == gen->taken);
	gen->taken++;
}

/* Wait for the next item, or not at all. */
static void await_next(struct gen *gen, weft_cq *cq)
{
	struct weft_cq_item item;
	bool ready = false;

	switch (sim_choose(4)) {
	case 0:
		SIM_CHECK(weft_wait(gen->rt, &gen->ref, 1, 1, WEFT_FOREVER, &ready) == 1);
		SIM_CHECK(ready && weft_peek(gen->rt, gen->ref) == 1);
		return;
	case 1:
		SIM_CHECK(weft_cq_add(cq, gen->ref, 5) == 0);
		if (sim_choose(4) == 0 && weft_cq_remove(cq, gen->ref, 5) == 1)
			return;
		SIM_CHECK(weft_cq_wait(cq, &item, 1, WEFT_FOREVER) == 1);
		SIM_CHECK(item.tag == 5 && item.ref.bits == gen->ref.bits);
		SIM_CHECK(weft_peek(gen->rt, gen->ref) == 1);
		return;
	default:
		return;
	}
}

static void consume(struct gen *gen)
{
	weft_ref items[4], completed;
	weft_cq *cq;
	int got = 0;

	SIM_CHECK(weft_cq_create(gen->rt, &cq) == 0);
	while (gen->taken < gen->stops) {
		await_next(gen, cq);
		weft_deadline until =
			sim_choose(3) ? WEFT_FOREVER : weft_now(gen->rt) + sim_choose(50000);

		got = weft_next_many(gen->rt, gen->ref, until, items, 1 + sim_choose(4));
		SIM_CHECK(got > 0 || got == -ENODATA ||
		          (got == -ETIMEDOUT && until != WEFT_FOREVER));
		for (int i = 0; i < got; i++) {
			check_item(gen, items[i]);
			SIM_CHECK(weft_release(gen->rt, items[i]) == 0);
		}
		if (got == -ENODATA)
			break;
	}
	if (got == -ENODATA) {
		SIM_CHECK(gen->cancelled || gen->taken == length_of(gen));
		SIM_CHECK(weft_next(gen->rt, gen->ref, WEFT_FOREVER, items) == -ENODATA);
		SIM_CHECK(weft_completed(gen->rt, gen->ref, &completed) == 0);
		int64_t rc = weft_take(gen->rt, completed, NULL, 0);

		SIM_CHECK(rc == 0 || gen->fails || gen->cancelled);
		SIM_CHECK(weft_is_finished(gen->rt, gen->ref) == 1);
	}
	weft_cq_destroy(cq);
	SIM_CHECK(weft_release(gen->rt, gen->ref) == 0);
}

static int consume_task(weft_task *self)
{
	consume(*(struct gen *const *)weft_task_arg(self, NULL));
	return 0;
}

static void *consume_thread(void *arg)
{
	consume(arg);
	return NULL;
}

static void make(weft *rt, struct gen *gen, bool store)
{
	*gen = (struct gen){ .rt = rt,
		             .attempts = 1 + sim_choose(3),
		             .window = sim_choose(4),
		             .fails = sim_choose(3) == 0,
		             .size = sim_choose(3)                 ? 8
		                     : store && sim_choose(4) == 0 ? 600
		                                                   : 100,
		             .cancelled = sim_choose(4) == 0,
		             .stops = sim_choose(3) ? UINT32_MAX : sim_choose(6) };
	for (uint32_t i = 0; i < gen->attempts; i++)
		gen->good[i] = sim_choose(8);
	struct weft_task_options options = { .struct_size = sizeof options,
		                             .n_outputs = WEFT_OUTPUTS_STREAM,
		                             .window = gen->window,
		                             .retries = gen->attempts - 1,
		                             .flags = sim_choose(5) ? 0 : WEFT_TASK_BLOCKING };

	SIM_CHECK(
		weft_submit(rt,
	                    WEFT_TASK(give, .arg = &gen, .arg_size = sizeof gen, .opts = &options),
	                    &gen->ref) == 0);
}

static void streams(void)
{
	weft *rt = sim_open();
	static struct gen gens[GENS_MOST];
	uint32_t n = 1 + sim_choose(GENS_MOST);
	bool store = sim_choose(20) == 0; /* opening one takes most of a run's time */
	weft_ref tasks[GENS_MOST] = { { 0 } }, kept[GENS_MOST];
	pthread_t threads[GENS_MOST] = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		struct gen *gen = &gens[i];

		make(rt, gen, store);
		kept[i] = gen->ref;
		if (gen->cancelled)
			SIM_CHECK(weft_completed(rt, gen->ref, &kept[i]) == 0);
		if (sim_choose(2))
			threads[i] = sim_thread(consume_thread, gen);
		else
			SIM_CHECK(weft_spawn(rt, consume_task, &gen, sizeof gen, &tasks[i]) == 0);
	}
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t turns = sim_choose(40); turns > 0; turns--)
			sim_yield();
		if (!gens[i].cancelled)
			continue;
		SIM_CHECK(weft_cancel(rt, kept[i]) == 0);
		SIM_CHECK(weft_release(rt, kept[i]) == 0);
	}
	for (uint32_t i = 0; i < n; i++) {
		if (tasks[i].bits)
			SIM_CHECK(weft_take(rt, tasks[i], NULL, 0) == 0);
		else
			sim_join(threads[i]);
	}
	sim_close(rt);
}

/* Closed in the middle: bodies in their windows, consumers that wait; it must come to an end. */
static int keep_taking(weft_task *self)
{
	weft_ref gen = *(const weft_ref *)weft_task_arg(self, NULL), item;
	weft *rt = weft_task_runtime(self);
	int rc;

	while ((rc = weft_next(rt, gen, WEFT_FOREVER, &item)) == 0)
		SIM_CHECK(weft_release(rt, item) == 0);
	SIM_CHECK(rc == -ENODATA || rc == -EINTR);
	return 0;
}

static void closing(void)
{
	weft *rt = sim_open();
	static struct gen gens[GENS_MOST];
	uint32_t n = 1 + sim_choose(GENS_MOST);

	for (uint32_t i = 0; i < n; i++) {
		make(rt, &gens[i], false);
		gens[i].cancelled = true;
		if (sim_choose(2))
			SIM_CHECK(weft_spawn(rt, keep_taking, &gens[i].ref, sizeof(weft_ref),
			                     NULL) == 0);
	}
	for (uint32_t turns = sim_choose(200); turns > 0; turns--)
		sim_yield();
	if (sim_choose(2))
		weft_interrupt(rt);
	SIM_CHECK(weft_close(rt, WEFT_POLL) >= 0);
}

int main(int argc, char **argv)
{
	static const struct sim_program programs[] = {
		{ "streams", streams },
		{ "closing", closing },
	};

	return sim_main(programs, sizeof programs / sizeof *programs, argc, argv);
}
