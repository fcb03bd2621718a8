/*
 * Goal: admission counts what tasks hold by their inputs: many tasks whose inputs do not fit in the
 * store together all finish, and an input is read back once for the task that reads it.
 * Method: a store of 16 MiB, 48 MiB of inputs in files, tasks that are all ready before the first
 * one runs, threads that run them, the store's own counters.
 */
#include "api.h"
#include "test.h"

#define MIB    ((size_t)1 << 20)
#define INPUTS 48
#define SHARED 4 /* tasks that read the same input */

static weft *rt;
static weft_ref inputs[INPUTS];

static struct weft_store_stats stats(void)
{
	struct weft_store_stats now = { .struct_size = sizeof now };

	API_CHECK(weft_store_stats(rt, &now) == 0);
	return now;
}

static uint64_t spilled_inputs(void)
{
	uint64_t n = 0;

	for (int i = 0; i < INPUTS; i++) {
		struct weft_object_info info = { .struct_size = sizeof info };

		API_CHECK(weft_object_info(rt, inputs[i], &info) == 0);
		n += info.place == WEFT_OBJECT_FILE;
	}
	return n;
}

static void make_inputs(void)
{
	static uint64_t words[MIB / 8];

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.flags = WEFT_OPEN_NO_WORKERS, .store_bytes = 16 * MIB)) ==
	          0);
	for (uint64_t i = 0; i < INPUTS; i++) {
		for (size_t j = 0; j < MIB / 8; j++)
			words[j] = i * 7919 + j;
		API_CHECK(weft_put(rt, words, sizeof words, &inputs[i]) == 0);
	}
}

static void drop_inputs(void)
{
	for (int i = 0; i < INPUTS; i++)
		api_release(rt, inputs[i]);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* Every input whole; lets others run while it holds them. */
static int reads_all(weft_task *self)
{
	const uint64_t *first = weft_task_arg(self, NULL);
	uint64_t sum = 0;

	API_CHECK(weft_yield(weft_task_runtime(self)) == 0);
	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		struct weft_view view;

		API_CHECK(weft_input(self, i, &view) == 0 && view.size == MIB);
		for (size_t j = 0; j < MIB / 8; j++)
			API_CHECK(((const uint64_t *)view.data)[j] == (*first + i) * 7919 + j);
		sum += *(const uint64_t *)view.data;
	}
	return weft_return(self, &sum, sizeof sum);
}

static void *runs_tasks(void *arg)
{
	(void)arg;
	API_CHECK(weft_run(rt, WEFT_NONE, WEFT_FOREVER) == 0);
	return NULL;
}

static void run_tasks(uint32_t each, uint32_t n_inputs)
{
	pthread_t threads[4];
	weft_ref refs[INPUTS * SHARED];
	uint32_t n = 0;

	/* Those that read the same one after another, as a program's stages do. */
	for (uint64_t i = 0; i + n_inputs <= INPUTS; i += n_inputs) {
		for (uint32_t k = 0; k < each; k++) {
			const struct weft_call call = { .fn = reads_all,
				                        .arg = &i,
				                        .arg_size = sizeof i,
				                        .inputs = &inputs[i],
				                        .n_inputs = (uint16_t)n_inputs };

			API_CHECK(weft_submit(rt, &call, &refs[n++]) == 0);
		}
	}
	for (int i = 0; i < 4; i++)
		threads[i] = api_thread(runs_tasks, NULL);
	for (int i = 0; i < 4; i++)
		api_join(threads[i]);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
}

Test(inputs_room, each_input_is_read_back_once, .init = make_inputs, .fini = drop_inputs)
{
	const uint64_t in_files = spilled_inputs(), before = stats().restores;

	cr_assert_geq(in_files, 32);
	run_tasks(1, 1);
	cr_assert_geq(stats().restores - before, 32);
	/* One that was brought ahead of its task may go again for room before it is read. */
	cr_assert_leq(stats().restores - before, INPUTS + INPUTS / 8);
}

/*
 * Two of these sets are all that fits: tasks that had half of theirs would wait for each other. How
 * often an input is read back that several want is up to how they meet.
 */
Test(inputs_room, sets_and_shared_ones_all_end_too, .init = make_inputs, .fini = drop_inputs)
{
	run_tasks(1, 8);
	run_tasks(SHARED, 1);
	run_tasks(2, 8);
}
