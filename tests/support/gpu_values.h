/*
 * gpu_values.h: what the tests of values on devices share: kernels that write and read rows of
 * words, bodies that leave them on a device or look at them on the host.
 */
#ifndef WEFT_TEST_GPU_VALUES_H
#define WEFT_TEST_GPU_VALUES_H

#include "gpu_task.h"

/* args: address, how many words, the first one: a row. */
static inline void values_twin_fill(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	const uint32_t n = *(const uint32_t *)launch->args[1];
	const uint32_t base = *(const uint32_t *)launch->args[2];
	uint32_t *words = weft_cuda_twin_memory(cuda, *(const uint64_t *)launch->args[0], n * 4ul);

	API_CHECK(words);
	for (uint32_t i = 0; i < n; i++)
		words[i] = base + i;
}
static const struct weft_cuda_kernel values_fill = { .name = "fill", .twin = values_twin_fill };

/* args: to, a, b (0: none), how many words, what to add: to = a + b + add. */
static inline void values_twin_join(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	const uint32_t n = *(const uint32_t *)launch->args[3];
	const uint32_t add = *(const uint32_t *)launch->args[4];
	const uint64_t at = *(const uint64_t *)launch->args[2];
	uint32_t *to = weft_cuda_twin_memory(cuda, *(const uint64_t *)launch->args[0], n * 4ul);
	const uint32_t *a =
		weft_cuda_twin_memory(cuda, *(const uint64_t *)launch->args[1], n * 4ul);
	const uint32_t *b = at ? weft_cuda_twin_memory(cuda, at, n * 4ul) : NULL;

	API_CHECK(to && a && (b || !at));
	for (uint32_t i = 0; i < n; i++)
		to[i] = a[i] + (b ? b[i] : 0) + add;
}
static const struct weft_cuda_kernel values_join = { .name = "join", .twin = values_twin_join };

static inline int values_launch_fill(weft_task *self, uint64_t at, uint32_t n, uint32_t base)
{
	static const uint16_t sizes[] = { 8, 4, 4 };
	void *args[] = { &at, &n, &base };
	const struct weft_cuda_launch launch = {
		.kernel = &values_fill, .n_args = 3, .args = args, .args_bytes = sizes
	};

	return weft_cuda_launch(self, &launch);
}

static inline int values_launch_join(weft_task *self, uint64_t to, uint64_t a, uint64_t b,
                                     uint32_t n, uint32_t add)
{
	static const uint16_t sizes[] = { 8, 8, 8, 4, 4 };
	void *args[] = { &to, &a, &b, &n, &add };
	const struct weft_cuda_launch launch = {
		.kernel = &values_join, .n_args = 5, .args = args, .args_bytes = sizes
	};

	return weft_cuda_launch(self, &launch);
}

/* What a body makes, and what it waits for at the end of its work on the device. */
struct values_plan {
	uint32_t words, base; /* base, or what is added */
	struct api_gate *gate;
};
#define VALUES_PLAN(n, first) WEFT_ARG((struct values_plan){ .words = (n), .base = (first) })
#define VALUES_AT_GATE(n, first, g) \
	WEFT_ARG((struct values_plan){ .words = (n), .base = (first), .gate = (g) })

/* A row that stays on the device. */
static inline int values_make(weft_task *self)
{
	const struct values_plan *plan = weft_task_arg(self, NULL);
	uint64_t at = 0;
	int rc = weft_cuda_output(self, 0, plan->words * 4ul, &at);

	if (!rc)
		rc = values_launch_fill(self, at, plan->words, plan->base);
	if (!rc && plan->gate)
		rc = gpu_launch_gate(self, plan->gate);
	return rc;
}

/* The sum of its one or two inputs, and base; stays on the device. */
static inline int values_add(weft_task *self)
{
	const struct values_plan *plan = weft_task_arg(self, NULL);
	uint64_t in[2] = { 0, 0 }, at = 0;
	size_t bytes = 0;
	int rc = 0;

	for (uint32_t i = 0; i < weft_input_count(self) && !rc; i++) {
		rc = weft_cuda_input(self, i, &in[i], &bytes);
		API_CHECK(rc || (in[i] && bytes >= plan->words * 4ul));
	}
	if (!rc)
		rc = weft_cuda_output(self, 0, plan->words * 4ul, &at);
	if (!rc)
		rc = values_launch_join(self, at, in[0], in[1], plan->words, plan->base);
	if (!rc && plan->gate)
		rc = gpu_launch_gate(self, plan->gate);
	return rc;
}

static inline bool values_are(const struct weft_view *view, uint32_t words, uint32_t base,
                              uint32_t step)
{
	const uint32_t *word = view->data;

	if (view->size != words * 4ul)
		return false;
	for (uint32_t i = 0; i < words; i++) {
		if (word[i] != base + i * step)
			return false;
	}
	return true;
}

/* On the host: its input is a row. */
static inline int values_look(weft_task *self)
{
	const struct values_plan *plan = weft_task_arg(self, NULL);
	struct weft_view view = { NULL, 0 };
	int rc = weft_input(self, 0, &view);

	API_CHECK(rc || values_are(&view, plan->words, plan->base, 1));
	return rc;
}

/* A row in the store. */
static inline weft_ref values_put(weft *rt, uint32_t words, uint32_t base)
{
	struct weft_buffer buffer = { .data = NULL };
	weft_ref ref = api_poison_ref();

	API_CHECK(weft_create(rt, words * 4ul, NULL, &buffer) == 0);
	for (uint32_t i = 0; i < words; i++)
		((uint32_t *)buffer.data)[i] = base + i;
	API_CHECK(weft_seal(rt, &buffer, &ref) == 0);
	return ref;
}

/* The value is this row; the ref is released. */
static inline void values_end(weft *rt, weft_ref ref, uint32_t words, uint32_t base, uint32_t step)
{
	struct weft_view view = api_poison_view();
	const int rc = weft_get(rt, ref, WEFT_FOREVER, &view);

	if (rc)
		fprintf(stderr, "weft_get() gave %d\n", rc);
	API_CHECK(rc == 0);
	API_CHECK(values_are(&view, words, base, step));
	api_release(rt, ref);
}

static inline int values_place(weft *rt, weft_ref ref)
{
	struct weft_object_info info = { .struct_size = sizeof info };

	API_CHECK(weft_object_info(rt, ref, &info) == 0);
	return info.place;
}

/* All refs are released: nothing is left of them, on devices or in the store. */
static inline void values_close(struct gpu_test *t)
{
	struct weft_store_stats stats = { .struct_size = sizeof stats };

	const int64_t start = api_now();

	api_await_no_tasks(t->rt);
	for (int i = 0; i < weft_cuda_count(t->cuda); i++) {
		/* Whoever finds an upload done may have more on his mind. */
		while (gpu_info(t, (uint32_t)i).resident)
			api_polling(start, "no value is on a device");
	}
	API_CHECK(weft_store_stats(t->rt, &stats) == 0);
	API_CHECK(stats.used == 0 && stats.pinned == 0 && stats.spilled == 0);
	gpu_close(t);
}

#endif /* WEFT_TEST_GPU_VALUES_H */
