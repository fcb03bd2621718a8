/*
 * Goal: the three classes are served in their order when all are queued, and none starves.
 * Method: one worker held while all are queued, then the mean place of each class in the order of
 * running; a chain of high tasks that feeds itself until a low one has run.
 */
#include "api.h"
#include "test.h"

struct place {
	struct api_count *order;
	uint64_t at;
};

static int takes_its_place(weft_task *self)
{
	struct place *place = api_arg_pointer(self);

	place->at = api_add(place->order, 1);
	return 0;
}

Test(priority, queued_classes_run_in_their_order)
{
	enum { N = 90 };
	static const uint32_t classes[] = { WEFT_PRIORITY_LOW, WEFT_PRIORITY_HIGH,
		                            WEFT_PRIORITY_NORMAL };
	weft *rt = api_open(1);
	struct api_gate gate = API_GATE_INIT;
	struct api_count order = { 0 };
	struct place places[N];
	uint64_t sums[3] = { 0 };
	weft_ref refs[N], holder = api_submit(rt, WEFT_TASK(api_body_gate, API_POINTER(&gate)));

	api_gate_await(&gate, 1);
	for (int i = 0; i < N; i++) {
		places[i] = (struct place){ &order, 0 };
		refs[i] = api_submit(
			rt,
			WEFT_TASK(takes_its_place, API_POINTER(&places[i]),
		                  .opts = WEFT_TASK_OPTIONS(.priority = classes[i % 3])));
	}
	api_gate_open(&gate);
	for (int i = 0; i < N; i++)
		cr_assert_eq(api_end(rt, refs[i]), 0);
	for (int i = 0; i < N; i++)
		sums[classes[i % 3]] += places[i].at;
	cr_assert_lt(sums[WEFT_PRIORITY_HIGH], sums[WEFT_PRIORITY_NORMAL]);
	cr_assert_lt(sums[WEFT_PRIORITY_NORMAL], sums[WEFT_PRIORITY_LOW]);
	cr_assert_eq(api_end(rt, holder), 0);
	api_close(rt);
}

struct chain {
	struct api_count *stop;
	struct api_count *links;
	uint32_t priority;
};

static int relinks(weft_task *self)
{
	const struct chain *chain = weft_task_arg(self, NULL);

	api_add(chain->links, 1);
	if (api_read(chain->stop) == 0)
		API_CHECK(weft_submit(
				  weft_task_runtime(self),
				  WEFT_TASK(relinks, WEFT_ARG(*chain),
		                            .opts = WEFT_TASK_OPTIONS(.priority = chain->priority)),
				  NULL) == 0);
	return 0;
}

static void starve(uint32_t fed, uint32_t hungry)
{
	weft *rt = api_open(1);
	struct api_count stop = { 0 }, links = { 0 };
	const struct chain chain = { &stop, &links, fed };

	for (int i = 0; i < 5; i++)
		cr_assert_eq(weft_submit(rt,
		                         WEFT_TASK(relinks, WEFT_ARG(chain),
		                                   .opts = WEFT_TASK_OPTIONS(.priority = fed)),
		                         NULL),
		             0);
	api_await_count(&links, 50);
	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(api_body_count, API_POINTER(&stop),
	                                          .opts = WEFT_TASK_OPTIONS(.priority = hungry)))),
	             0);
	api_close(rt);
}

Test(priority, no_class_starves_another)
{
	starve(WEFT_PRIORITY_HIGH, WEFT_PRIORITY_LOW);
	starve(WEFT_PRIORITY_HIGH, WEFT_PRIORITY_NORMAL);
	starve(WEFT_PRIORITY_NORMAL, WEFT_PRIORITY_LOW);
}
