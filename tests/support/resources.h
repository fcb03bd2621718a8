/*
 * resources.h: what the tests of resources share: a runtime with some of everything, its log's last
 * word, its books, bodies that hold what they have.
 */
#ifndef WEFT_TEST_RESOURCES_H
#define WEFT_TEST_RESOURCES_H

#include "api.h"

struct said {
	pthread_mutex_t lock;
	char text[512];
};

static inline void hear(void *arg, const struct weft_log_record *record)
{
	struct said *said = arg;

	if (record->level > WEFT_LOG_WARN)
		return;
	pthread_mutex_lock(&said->lock);
	snprintf(said->text, sizeof said->text, "%s", record->text);
	pthread_mutex_unlock(&said->lock);
}

static const struct weft_resource two_names[] = { { "disk", 4 }, { "license", 1.5 } };

static inline weft *open_with(uint32_t workers, struct said *said)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = workers, .seed = test_seed(), .gpus = 3,
	                                 .memory = 1000, .resources = two_names, .n_resources = 2,
	                                 .log = said ? hear : NULL, .log_arg = said)) == 0);
	return rt;
}

static inline double available(weft *rt, const char *name)
{
	struct weft_resource_info infos[8];
	const int n = weft_resources(rt, infos, 8);

	for (int i = 0; i < n; i++) {
		if (!strcmp(infos[i].name, name))
			return infos[i].available;
	}
	API_CHECK(!"a resource of this name");
	return 0;
}

static inline bool anything_pending(weft *rt)
{
	struct weft_pending_info info;
	const int n = weft_pending(rt, &info, 1);

	API_CHECK(n == 0 || n == 1);
	return n;
}

/* Whether all that is counted is back; the plain CPUs follow when the workers rest. */
static inline bool all_back(weft *rt)
{
	struct weft_resource_info infos[8];
	const int n = weft_resources(rt, infos, 8);

	for (int i = 0; i < n; i++) {
		if (infos[i].available != infos[i].total)
			return false;
	}
	return !anything_pending(rt);
}

static inline void await_all_back(weft *rt)
{
	const int64_t start = api_now();

	while (!all_back(rt))
		api_polling(start, "all resources are back");
}

static inline void close_empty(weft *rt)
{
	api_await_no_tasks(rt);
	await_all_back(rt);
	api_close(rt);
}

#define REQUEST(...) \
	.resources = (const struct weft_resource[]){ __VA_ARGS__ }, \
	.n_resources = sizeof((const struct weft_resource[]){ __VA_ARGS__ }) / \
		sizeof(struct weft_resource)

static inline weft_ref submit(weft *rt, weft_task_fn *fn, void *arg,
                              const struct weft_task_options *opts)
{
	return api_submit(rt, WEFT_TASK(fn, API_POINTER(arg), .opts = opts));
}

#define EVERYTHING .cpus = 2, .gpus = 2, .memory = 100, REQUEST({ "disk", 3 }, { "license", 0.5 })

struct stage {
	struct api_gate gate;
	struct api_count began;
};

static inline int at_gate(weft_task *self)
{
	struct stage *stage = api_arg_pointer(self);

	api_add(&stage->began, 1);
	api_gate_pass(&stage->gate);
	return 0;
}

/* Waits in the engine, not on its thread. */
struct quiet {
	weft_ref event;
	struct api_count began;
};

static inline int at_event(weft_task *self)
{
	struct quiet *quiet = api_arg_pointer(self);
	struct weft_view view;

	api_add(&quiet->began, 1);
	return weft_get(weft_task_runtime(self), quiet->event, WEFT_FOREVER, &view);
}

static inline void settle(weft *rt, weft_ref event)
{
	API_CHECK(weft_event_set(rt, event, NULL, 0) == 0);
}

#endif /* WEFT_TEST_RESOURCES_H */
