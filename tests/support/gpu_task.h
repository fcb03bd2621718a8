/*
 * gpu_task.h: what the tests of tasks on GPUs share: a runtime with simulated devices, kernels that
 * are twins, bodies that put work on a stream.
 */
#ifndef WEFT_TEST_GPU_H
#define WEFT_TEST_GPU_H

#include "../../engine/include/weft_cuda.h"
#include "api.h"
#include "devices.h"
#include "sim_device.h"

struct gpu_test {
	weft *rt;
	weft_cuda *cuda;
	struct wf_device_backend *sim;
};

static inline struct gpu_test gpu_open_with(const char *devices, uint32_t workers,
                                            struct weft_options *more,
                                            struct weft_cuda_options *how)
{
	struct gpu_test t = { 0 };
	struct weft_options o = { .struct_size = sizeof o };
	struct weft_cuda_options c = { .struct_size = sizeof c };

	if (more)
		o = *more;
	if (how)
		c = *how;
	c.backend = devices;
	API_CHECK(weft_cuda_open(&t.cuda, &c) == 0);
	t.sim = weft_cuda_count(t.cuda) ? t.cuda->backend : NULL;
	o.workers = workers;
	o.seed = test_seed();
	o.devices = t.cuda;
	API_CHECK(weft_open(&t.rt, &o) == 0);
	return t;
}

static inline struct gpu_test gpu_open(const char *devices, uint32_t workers)
{
	return gpu_open_with(devices, workers, NULL, NULL);
}

static inline struct wf_sim_stats gpu_stats(const struct gpu_test *t)
{
	struct wf_sim_stats stats = { 0 };

	if (t->sim)
		wf_sim_stats(t->sim, &stats);
	return stats;
}

static inline struct weft_cuda_info gpu_info(const struct gpu_test *t, uint32_t device)
{
	struct weft_cuda_info info = { .struct_size = sizeof info };

	API_CHECK(weft_cuda_info(t->rt, device, &info) == 0);
	return info;
}

static inline double gpu_available(weft *rt, const char *name)
{
	struct weft_resource_info infos[32];
	const int n = weft_resources(rt, infos, 32);

	for (int i = 0; i < n; i++) {
		if (!strcmp(infos[i].name, name))
			return infos[i].available;
	}
	API_CHECK(!"a resource of that name");
	return -1;
}

/* All work is over: nothing is held, and what the simulation made is gone after the close. */
static inline void gpu_close(struct gpu_test *t)
{
	const int64_t start = api_now();
	bool lost = false;

	api_await_no_tasks(t->rt);
	for (int i = 0; i < weft_cuda_count(t->cuda); i++) {
		while (gpu_info(t, (uint32_t)i).running || gpu_info(t, (uint32_t)i).pending)
			api_polling(start, "nothing is at a device");
		lost = lost || gpu_info(t, (uint32_t)i).lost;
		if (!gpu_info(t, (uint32_t)i).lost) {
			API_CHECK(gpu_info(t, (uint32_t)i).share_free == 1);
			API_CHECK(gpu_info(t, (uint32_t)i).memory_free ==
			          gpu_info(t, (uint32_t)i).memory_bytes);
		}
	}
	api_close(t->rt);
	API_CHECK(gpu_stats(t).events == 0);
	/* The memory of a lost device is gone with it. */
	while (gpu_stats(t).streams || (!lost && gpu_stats(t).memory_used))
		api_polling(start, "streams and memory are given back");
	API_CHECK(weft_cuda_close(t->cuda) == 0);
}

/* ---- Kernels ------------------------------------------------------------------------------- */

/* args: address of 32-bit words, how many, what to add. */
static inline void gpu_twin_add(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	uint64_t address = *(const uint64_t *)launch->args[0];
	uint32_t n = *(const uint32_t *)launch->args[1], add = *(const uint32_t *)launch->args[2];
	uint32_t *words = weft_cuda_twin_memory(cuda, address, n * sizeof(uint32_t));

	API_CHECK(words);
	for (uint32_t i = 0; i < n; i++)
		words[i] += add;
}
static const struct weft_cuda_kernel gpu_add = { .name = "add", .twin = gpu_twin_add };

static inline int gpu_launch_add(weft_task *self, uint64_t address, uint32_t n, uint32_t add)
{
	static const uint16_t sizes[] = { 8, 4, 4 };
	void *args[] = { &address, &n, &add };
	const struct weft_cuda_launch launch = { .kernel = &gpu_add,
		                                 .grid = { 4 },
		                                 .block = { 32 },
		                                 .n_args = 3,
		                                 .args = args,
		                                 .args_bytes = sizes };

	return weft_cuda_launch(self, &launch);
}

/* args: a pointer to a struct api_gate that the device passes: work as long as we want it. */
static inline void gpu_twin_gate(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	(void)cuda;
	api_gate_pass(*(struct api_gate **)launch->args[0]);
}
static const struct weft_cuda_kernel gpu_gate = { .name = "gate", .twin = gpu_twin_gate };

static inline int gpu_launch_gate(weft_task *self, struct api_gate *gate)
{
	void *args[] = { &gate };
	const struct weft_cuda_launch launch = { .kernel = &gpu_gate, .n_args = 1, .args = args };

	return weft_cuda_launch(self, &launch);
}

/* args: a pointer to a struct api_count. */
static inline void gpu_twin_count(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	(void)cuda;
	api_add(*(struct api_count **)launch->args[0], 1);
}
static const struct weft_cuda_kernel gpu_count = { .name = "count", .twin = gpu_twin_count };

static inline int gpu_launch_count(weft_task *self, struct api_count *count)
{
	void *args[] = { &count };
	const struct weft_cuda_launch launch = { .kernel = &gpu_count, .n_args = 1, .args = args };

	return weft_cuda_launch(self, &launch);
}

#endif /* WEFT_TEST_GPU_H */
