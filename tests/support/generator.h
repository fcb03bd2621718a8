/*
 * generator.h: what the tests of generators share: a body that gives numbers, one that does so in
 * several attempts, and how the items are taken.
 */
#ifndef WEFT_TEST_GENERATOR_H
#define WEFT_TEST_GENERATOR_H

#include "api.h"
#include "test.h"

#define GEN_STREAM(...) WEFT_TASK_OPTIONS(.n_outputs = WEFT_OUTPUTS_STREAM, __VA_ARGS__)

/* What a body does: gives `good` items 0, 1, ..., then fails with `code` unless that is 0. */
struct gen_plan {
	int64_t good;
	int code;
	struct api_count made;  /* items computed, over all attempts */
	struct api_count given; /* emits that have returned */
	struct api_count ended;
	struct api_gate *gate; /* passed before item `at` is computed */
	int64_t at;
	size_t size; /* of an item; the first 8 bytes are the number */
	int last;    /* what the last emit returned */
};

static inline int gen_body_counts(weft_task *self)
{
	struct gen_plan *plan = api_arg_pointer(self);
	char bytes[4096] = { 0 };
	int rc = 0;

	for (int64_t i = 0; i < plan->good; i++) {
		if (plan->gate && plan->at == i)
			api_gate_pass(plan->gate);
		api_add(&plan->made, 1);
		memcpy(bytes, &i, sizeof i);
		rc = weft_emit(self, bytes, plan->size ? plan->size : sizeof i);
		api_add(&plan->given, 1);
		if (rc < 0)
			break;
	}
	plan->last = rc;
	if (rc >= 0 && plan->code)
		rc = weft_fail(self, plan->code, "after %d", (int)plan->good);
	/* The last touch: the test may leave the plan's frame. */
	api_add(&plan->ended, 1);
	return rc < 0 ? rc : 0;
}

static inline weft_ref gen_start(weft *rt, struct gen_plan *plan,
                                 const struct weft_task_options *opts)
{
	return api_submit(rt, WEFT_TASK(gen_body_counts, API_POINTER(plan), .opts = opts));
}

static inline int64_t gen_take_next(weft *rt, weft_ref gen)
{
	weft_ref item = WEFT_NONE;
	int64_t value = -1;
	int rc = weft_next(rt, gen, WEFT_FOREVER, &item);

	if (rc < 0)
		return rc;
	int64_t got = weft_take(rt, item, &value, sizeof value);

	return got < 0 ? got : value;
}

static inline void gen_expect_end(weft *rt, weft_ref gen)
{
	weft_ref item = api_poison_ref();

	for (int i = 0; i < 3; i++) {
		cr_assert_eq(weft_next(rt, gen, WEFT_FOREVER, &item), -ENODATA);
		cr_assert_eq(weft_next(rt, gen, WEFT_POLL, &item), -ENODATA);
	}
	cr_assert_eq(item.bits, API_POISON);
}

static inline void gen_release_and_close(weft *rt, weft_ref gen)
{
	api_release(rt, gen);
	api_await_no_tasks(rt);
	api_close(rt);
}

struct gen_again {
	struct api_count runs;
	int64_t give[4]; /* items of attempt 1, 2, ...; the last one listed succeeds */
	int attempts;
};

static inline int gen_body_again(weft_task *self)
{
	struct gen_again *again = api_arg_pointer(self);
	const int run = (int)api_add(&again->runs, 1);

	API_CHECK((int)weft_task_attempt(self) == run);
	for (int64_t i = 0; i < again->give[run - 1]; i++) {
		const int64_t value = run * 1000 + i;

		API_CHECK(weft_emit(self, &value, sizeof value) == 0);
	}
	return run == again->attempts ? 0 : weft_fail(self, -EIO, "attempt %d", run);
}

#endif /* WEFT_TEST_GENERATOR_H */
