/*
 * groups.h: what the tests of groups share.
 */
#ifndef WEFT_TEST_GROUPS_H
#define WEFT_TEST_GROUPS_H

#include "api.h"

static inline weft_group group_make(weft *rt, const struct weft_group_options *opts)
{
	weft_group group = { 0 };

	API_CHECK(weft_group_create(rt, opts, &group) == 0);
	API_CHECK(group.bits != 0);
	return group;
}

static inline void group_end(weft *rt, weft_group group)
{
	API_CHECK(weft_group_destroy(rt, group) == 0);
}

static inline struct weft_group_stats group_stats(weft *rt, weft_group group)
{
	struct weft_group_stats stats = { .struct_size = sizeof stats };

	API_CHECK(weft_group_stats(rt, group, &stats) == 0);
	return stats;
}

/* A task of the group with a pointer as its argument. */
static inline weft_ref group_submit(weft *rt, weft_group group, weft_task_fn *fn, void *arg)
{
	return api_submit(
		rt, WEFT_TASK(fn, API_POINTER(arg), .opts = WEFT_TASK_OPTIONS(.group = group)));
}

static inline void group_forget(weft *rt, weft_group group, weft_task_fn *fn, void *arg)
{
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(fn, API_POINTER(arg),
	                                .opts = WEFT_TASK_OPTIONS(.group = group)),
	                      NULL) == 0);
}

/* Processor time of the calling thread. */
static inline int64_t group_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Keeps its worker busy for so much processor time. */
struct group_spin {
	int64_t ns;
};

static inline int group_body_spin(weft_task *self)
{
	const struct group_spin *spin = api_arg_pointer(self);
	const int64_t start = group_cpu_ns();

	while (group_cpu_ns() - start < spin->ns)
		;
	return 0;
}

#endif /* WEFT_TEST_GROUPS_H */
