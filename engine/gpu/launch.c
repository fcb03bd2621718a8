/*
 * launch.c: kernels of a program: found once per device, launched one by one or as a graph. Graphs
 * that are recorded come from record.c.
 */
#include <errno.h>
#include <string.h>

#include "gpu.h"

/* ---- Launches -------------------------------------------------------------------------------- */

#define ARGS_MAX  64u
#define GRAPH_MAX 65536u

/* With the mutex held; NULL: not found yet. */
static struct wf_device_kernel *kernel_known(const struct wf_gpu *gpu,
                                             const struct weft_cuda_kernel *key)
{
	const struct wf_gpu_kernel *entry = gpu->kernels;

	while (entry && entry->key != key)
		entry = entry->next;
	return entry ? entry->kernel : NULL;
}

/*
 * The kernel on this device: found once. Without the mutex meanwhile, as the driver may compile it:
 * whoever comes second to its end takes what the first has found.
 */
static int kernel_of(struct wf_gpu *gpu, const struct weft_cuda_kernel *key,
                     struct wf_device_kernel **out)
{
	struct wf_gpus *gpus = gpu->gpus;
	struct wf_device_kernel *kernel;

	WF_DEBUG(key && key->name);
	pthread_mutex_lock(&gpu->mutex);
	*out = kernel_known(gpu, key);
	pthread_mutex_unlock(&gpu->mutex);
	if (*out)
		return 0;
	struct wf_gpu_kernel *entry = wf_malloc(sizeof(*entry));
	int rc = !entry ? -ENOMEM
			: gpus->ops->kernel_get(gpus->backend, gpu->index, key->image,
	                                        key->image_bytes, key->name, &kernel);

	if (rc) {
		wf_free(entry);
		return rc;
	}
	WF_CHECK(kernel);
	*entry = (struct wf_gpu_kernel){ .key = key, .kernel = kernel };
	pthread_mutex_lock(&gpu->mutex);
	*out = kernel_known(gpu, key);
	if (!*out) {
		entry->next = gpu->kernels;
		gpu->kernels = entry;
		*out = kernel;
		entry = NULL;
	}
	pthread_mutex_unlock(&gpu->mutex);
	wf_free(entry);
	return 0;
}

/* A twin as the back end calls it: on one of its threads. */
static void twin(void *const *args, const struct wf_device_launch *l)
{
	const struct weft_cuda_kernel *kernel = (const struct weft_cuda_kernel *)l->user[0];
	struct weft_cuda_launch launch = { .kernel = kernel,
		                           .shared_bytes = l->shared_bytes,
		                           .n_args = l->args_count,
		                           .args = args };

	memcpy(launch.grid, l->grid, sizeof(launch.grid));
	memcpy(launch.block, l->block, sizeof(launch.block));
	kernel->twin((weft_cuda *)l->user[1], &launch);
}

/* A launch as the back end takes it; its arguments stay the caller's. */
static int launch_read(struct wf_gpu *gpu, const struct weft_cuda_launch *launch,
                       struct wf_device_launch *l)
{
	const struct weft_cuda_kernel *kernel = launch->kernel;

	WF_DEBUG(gpu == &gpu->gpus->gpu[gpu->index]);
	if (!kernel || !kernel->name || launch->n_args > ARGS_MAX ||
	    (launch->n_args && !launch->args))
		return -EINVAL;
	*l = (struct wf_device_launch){ .struct_size = sizeof(*l),
		                        .twin = kernel->twin ? twin : NULL,
		                        .shared_bytes = launch->shared_bytes,
		                        .args_count = launch->n_args,
		                        .args = launch->args,
		                        .args_bytes = launch->args_bytes,
		                        .user = { (uintptr_t)kernel, (uintptr_t)gpu->gpus->cuda } };
	for (int i = 0; i < 3; i++) {
		l->grid[i] = launch->grid[i] ? launch->grid[i] : 1;
		l->block[i] = launch->block[i] ? launch->block[i] : 1;
	}
	return kernel_of(gpu, kernel, &l->kernel);
}

int weft_cuda_launch(weft_task *self, const struct weft_cuda_launch *launch)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self && launch ? wf_gpu_part_of(self, &run) : NULL;
	struct wf_device_launch l;

	if (!part)
		return -EINVAL;
	struct wf_gpu *gpu = &run->gpus->gpu[part->device];
	int rc = launch_read(gpu, launch, &l);

	if (!rc && run->recording)
		return wf_gpu_record_launch(run, &l);
	if (!rc)
		rc = run->gpus->ops->launch(run->gpus->backend, part->queue, &l);
	return wf_gpu_status(gpu, rc);
}

/* ---- Graphs ---------------------------------------------------------------------------------- */

struct weft_cuda_graph {
	struct wf_gpu *gpu;
	struct wf_device_graph *graph;
};

int wf_gpu_graph_create(struct wf_gpu *gpu, struct wf_device_graph *graph, weft_cuda_graph **out)
{
	weft_cuda_graph *made = wf_malloc(sizeof(*made));

	WF_CHECK(graph);
	if (!made) {
		gpu->gpus->ops->graph_destroy(gpu->gpus->backend, graph);
		return -ENOMEM;
	}
	WF_DEBUG(gpu == &gpu->gpus->gpu[gpu->index]);
	*made = (weft_cuda_graph){ .gpu = gpu, .graph = graph };
	*out = made;
	return 0;
}

int weft_cuda_graph_create(weft_task *self, const struct weft_cuda_launch *chain, uint32_t n,
                           weft_cuda_graph **out)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self && chain && out ? wf_gpu_part_of(self, &run) : NULL;

	if (!part || !n || n > GRAPH_MAX)
		return -EINVAL;
	struct wf_gpu *gpu = &run->gpus->gpu[part->device];
	struct wf_device_launch *l = wf_calloc(n, sizeof(*l));
	struct wf_device_graph *graph = NULL;
	int rc = l ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < n && !rc; i++)
		rc = launch_read(gpu, &chain[i], &l[i]);
	if (!rc)
		rc = run->gpus->ops->graph_create(run->gpus->backend, gpu->index, l, n, &graph);
	wf_free(l);
	return rc ? wf_gpu_status(gpu, rc) : wf_gpu_graph_create(gpu, graph, out);
}

int weft_cuda_graph_launch(weft_task *self, weft_cuda_graph *graph)
{
	struct wf_gpu_run *run;
	struct wf_gpu_part *part = self && graph ? wf_gpu_part_of(self, &run) : NULL;

	/* No graph is a step of another one. */
	if (!part || run->recording || graph->gpu != &run->gpus->gpu[part->device])
		return -EINVAL;
	return wf_gpu_status(
		graph->gpu,
		run->gpus->ops->graph_launch(run->gpus->backend, part->queue, graph->graph));
}

void weft_cuda_graph_destroy(weft_cuda_graph *graph)
{
	if (!graph)
		return;
	struct wf_gpus *gpus = graph->gpu->gpus;

	gpus->ops->graph_destroy(gpus->backend, graph->graph);
	wf_free(graph);
}

void *weft_cuda_twin_memory(weft_cuda *cuda, uint64_t address, size_t bytes)
{
	if (!cuda || !WF_DEVICE_HAS(cuda->ops, memory_host))
		return NULL;
	return cuda->ops->memory_host(cuda->backend, address, bytes);
}
