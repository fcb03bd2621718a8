/*
 * Goal: a rebuild that is short of something does not make its value lost for good: whoever waits
 * is told, or waits, and who asks next has it tried again; who holds what it needs gives it back
 * where it can, and is told where not.
 * Method: as in lineage.c; runtimes whose cells are counted out, so that the event, the run or the
 * mover of a rebuild finds none; memory that fails until it is seen to; resources of which there is
 * one.
 */
#include "lineage.h"
#include "weft_actor.h"

/* ---- Memory --------------------------------------------------------------------------------- */

static weft_ref cells[4096];
static uint32_t n_cells;

/* All that are left to this thread, which are at least so many, some perhaps on their way home. */
static void take_cells(uint32_t least)
{
	const int64_t start = api_now();
	const uint64_t one = 1;

	do {
		while (weft_put(rt, &one, sizeof one, &cells[n_cells]) == 0)
			API_CHECK(++n_cells < sizeof cells / sizeof cells[0]);
		if (n_cells < least)
			api_polling(start, "they are home");
	} while (n_cells < least);
}

static void give_cells(uint32_t n)
{
	API_CHECK(n <= n_cells);
	n_cells -= n;
	API_CHECK(weft_release_many(rt, &cells[n_cells], n) == 0);
}

static void close_all(void)
{
	wf_io_fault_arm(NULL);
	give_cells(n_cells);
	close_runtime();
}

static int get_once(weft_ref ref)
{
	struct weft_view view;
	const int rc = weft_get(rt, ref, WEFT_FOREVER, &view);

	if (rc == 0) {
		API_CHECK(filled(&view, 5));
		API_CHECK(weft_view_end(rt, ref) == 0);
	}
	return rc;
}

/* No cell for the event; none for the run; none for the mover; then there are enough. */
static void without_cells(void)
{
	open_with(2, 4096);
	weft_ref ref = make_value(5, WELL, 2);

	lose(ref);
	take_cells(1);
	const uint32_t all = n_cells;

	for (uint32_t i = 0; i < 4; i++) {
		take_cells(all);
		give_cells(i / 2);
		API_CHECK(get_once(ref) == -ENOMEM);
	}
	API_CHECK(place(ref) == WEFT_OBJECT_LOST && api_read(&runs) == 1);
	give_cells(n_cells);
	API_CHECK(get_once(ref) == 0 && api_read(&runs) == 2);
	wf_io_fault_arm(NULL);
	api_release(rt, ref);
	api_await_count(&drops, 1);
	close_all();
}

/*
 * A run whose mover cannot be submitted is cancelled, in whatever state it is by then, and has its
 * argument until it has ended.
 */
static void without_a_mover(void)
{
	open_with(2, 4096);
	weft_ref ref = make_value(5, WELL, WEFT_RETRIES_FOREVER);

	lose(ref);
	take_cells(2);
	const uint32_t all = n_cells;

	for (int i = 0; i < 100; i++) {
		take_cells(all);
		give_cells(2);
		API_CHECK(get_once(ref) == -ENOMEM);
	}
	give_cells(n_cells);
	API_CHECK(get_once(ref) == 0);
	wf_io_fault_arm(NULL);
	api_release(rt, ref);
	api_await_count(&drops, 1);
	close_all();
}
static void without_memory(uint64_t nth)
{
	struct weft_view view;
	weft_ref ref = make_value(60, WELL, 9);
	const int64_t start = api_now();
	int rc;

	lose(ref);
	wf_fault_arm(-1, nth);
	do {
		rc = weft_get(rt, ref, WEFT_FOREVER, &view);
		if (rc == -EAGAIN || rc == -ENOMEM || rc == WEFT_ESTOREFULL)
			api_polling(start, "it can be had again");
	} while (rc == -EAGAIN || rc == -ENOMEM || rc == WEFT_ESTOREFULL);
	wf_fault_arm(-1, 0);
	wf_io_fault_arm(NULL);
	API_CHECK(rc == 0 && filled(&view, 60) && weft_view_end(rt, ref) == 0);
	api_release(rt, ref);
}

static void every_want_of_memory(void)
{
	/* Each in a runtime of its own: what fails may be a spill, which some do not survive. */
	for (uint64_t nth = 1; nth < 60; nth += 3) {
		open_runtime();
		without_memory(nth);
		close_runtime();
	}
}

/* Many outputs, of which the last is a value as others: its rebuild needs memory of the heap. */
#define MANY 12u

static int make_many(weft_task *self)
{
	void *data;
	int rc = weft_task_output(self, MANY - 1, BYTES, &data);

	api_add(&runs, 1);
	if (!rc)
		fill(data, BYTES, 5);
	return rc;
}

/* What a worker needs for the wait of the test below it has by then. */
static int warm(weft_task *self)
{
	weft *my = weft_task_runtime(self);
	int rc = api_end(my, api_spawn(my, api_body_nothing, NULL, 0));

	return rc ? rc : weft_sleep_until(my, weft_after_ms(my, 1));
}

/* A task whose input waits for memory waits with it. */
static void an_input_is_asked_for_again(void)
{
	weft_ref refs[MANY];

	open_with(1, 4096);
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(make_many,
	                                .opts = WEFT_TASK_OPTIONS(.n_outputs = MANY, .retries = 9,
	                                                          .flags = WEFT_TASK_REBUILD)),
	                      refs) == 0);
	lose(refs[MANY - 1]);
	API_CHECK(api_end(rt, api_spawn(rt, warm, NULL, 0)) == 0);
	/* Found lost, and not begun. */
	take_cells(1);
	API_CHECK(get_once(refs[MANY - 1]) == -ENOMEM);
	API_CHECK(place(refs[MANY - 1]) == WEFT_OBJECT_LOST);
	give_cells(n_cells);
	wf_fault_arm_lasting(WF_FAULT_MALLOC, 1);
	weft_ref after = make_next(refs[MANY - 1], 0);
	const int64_t start = api_now();

	while (!wf_fault_fired())
		api_polling(start, "the heap has refused");
	wf_fault_arm(-1, 0);
	API_CHECK(api_get(rt, after) == 0 && api_read(&runs) == 3);
	wf_io_fault_arm(NULL);
	API_CHECK(weft_release_many(rt, refs, MANY) == 0);
	api_release(rt, after);
	close_all();
}

/* ---- What there is one of ------------------------------------------------------------------- */

enum scarce { NAMED, WHOLE_GPU, PART_OF_GPU };

static const struct weft_task_options *asking(enum scarce of, uint32_t flags)
{
	static const struct weft_resource one = { "only", 1 };
	static struct weft_task_options o;

	o = (struct weft_task_options){ .struct_size = sizeof o, .flags = flags, .retries = 9 };
	if (of == NAMED) {
		o.resources = &one;
		o.n_resources = 1;
	} else {
		o.gpus = of == WHOLE_GPU ? 1 : 0.7;
	}
	return &o;
}

static weft_ref scarce_value(enum scarce of)
{
	const struct order order = { 70, WELL };

	return api_submit(rt,
	                  WEFT_TASK(make, WEFT_ARG(order), .opts = asking(of, WEFT_TASK_REBUILD)));
}

/* Who waits for its input's task gives back meanwhile what that may need. */
static void who_begins_gives_back_what_its_input_needs(void)
{
	open_runtime();
	for (enum scarce of = NAMED; of <= PART_OF_GPU; of++) {
		weft_ref a = scarce_value(of);

		lose(a);
		weft_ref b = api_submit(rt, WEFT_TASK(next, WEFT_INPUTS(a), .opts = asking(of, 0)));

		API_CHECK(api_get(rt, b) == 0);
		wf_io_fault_arm(NULL);
		look(b, 71);
		API_CHECK(stats().rebuilt == (uint64_t)of + 1);
		api_release(rt, a);
		api_release(rt, b);
	}
	close_runtime();
}

static int wants(weft_task *self)
{
	struct weft_view view;
	const weft_ref *ref = weft_task_arg(self, NULL);

	return weft_get(weft_task_runtime(self), *ref, WEFT_FOREVER, &view);
}

/* A body that runs keeps what it has, as in any wait, and is told, as in any. */
static void a_body_that_holds_what_it_waits_for_is_told(void)
{
	open_runtime();
	for (enum scarce of = NAMED; of <= PART_OF_GPU; of++) {
		const struct weft_error *error = NULL;
		weft_ref a = scarce_value(of);

		lose(a);
		weft_ref b = api_submit(rt, WEFT_TASK(wants, WEFT_ARG(a), .opts = asking(of, 0)));

		API_CHECK(api_get(rt, b) == WEFT_ETASK);
		API_CHECK(weft_ref_error(rt, b, &error) == 0);
		API_CHECK(error->code == WEFT_EDEADLOCK);
		look(a, 70);
		api_release(rt, a);
		api_release(rt, b);
	}
	close_runtime();
}

static int get_input(weft_task *self)
{
	struct weft_view view;

	return weft_input(self, 0, &view);
}

/* What an actor holds it holds for its life: its call is told, and another one finds the value. */
static void the_call_of_an_actor_that_holds_it_is_told(void)
{
	static const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.name = "holder");
	static const struct weft_resource one = { "only", 1 };
	static const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                       .resources = &one,
		                                       .n_resources = 1 };
	weft_actor actor;

	open_runtime();
	weft_ref a = scarce_value(NAMED);

	lose(a);
	API_CHECK(weft_actor_create(rt, &class_, WEFT_ACTOR_OPTIONS(.holds = &holds), NULL,
	                            &actor) == 0);
	weft_ref b = api_submit(rt, WEFT_TASK(get_input, WEFT_INPUTS(a), .actor = actor));

	API_CHECK(api_end(rt, b) == WEFT_EDEADLOCK);
	API_CHECK(weft_actor_release(rt, actor) == 0);
	look(a, 70);
	api_release(rt, a);
	close_runtime();
}

static void (*const cases[])(void) = {
	without_cells,
	without_a_mover,
	every_want_of_memory,
	an_input_is_asked_for_again,
	who_begins_gives_back_what_its_input_needs,
	a_body_that_holds_what_it_waits_for_is_told,
	the_call_of_an_actor_that_holds_it_is_told,
};

int main(void)
{
	run_cases(cases, sizeof cases / sizeof cases[0], false);
	return 0;
}
