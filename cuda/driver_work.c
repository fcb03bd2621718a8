/*
 * driver_work.c: copies, kernels, launches and graphs of CUDA devices.
 */
#include "driver_inner.h"

#include <errno.h>
#include <string.h>

#define GRAPH_MAX 65536u

/* ---- Copies --------------------------------------------------------------------------------- */

int wf_cuda_copy_to_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t to, const void *from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	int rc = bytes ? wf_cuda_enter(stream->device) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_status(stream->device,
	                      backend->cu.cuMemcpyHtoDAsync(to, from, bytes, stream->stream));
}

int wf_cuda_copy_to_host(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         void *to, uint64_t from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	int rc = bytes ? wf_cuda_enter(stream->device) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_status(stream->device,
	                      backend->cu.cuMemcpyDtoHAsync(to, from, bytes, stream->stream));
}

int wf_cuda_copy_on_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t to, uint64_t from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	int rc = bytes ? wf_cuda_enter(stream->device) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_status(stream->device,
	                      backend->cu.cuMemcpyDtoDAsync(to, from, bytes, stream->stream));
}

int wf_cuda_fill(struct wf_device_backend *backend, struct wf_device_stream *stream, uint64_t to,
                 uint8_t byte, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && !to))
		return -EINVAL;
	int rc = bytes ? wf_cuda_enter(stream->device) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_status(stream->device,
	                      backend->cu.cuMemsetD8Async(to, byte, bytes, stream->stream));
}

/* ---- Launches ------------------------------------------------------------------------------- */

/* The module of an image, loaded once per device; with the lock held. */
static CUresult module_of(struct cuda_device *device, const void *image, CUmodule *out)
{
	struct wf_device_backend *b = device->backend;
	struct cuda_module *module = b->modules;

	while (module && (module->device != device || module->image != image))
		module = module->next;
	if (!module) {
		module = wf_malloc(sizeof(*module));
		if (!module)
			return WF_CU_OUT_OF_MEMORY;
		*module = (struct cuda_module){ b->modules, device, image, NULL };
		CUresult rc = b->cu.cuModuleLoadData(&module->module, image);

		if (rc != WF_CU_SUCCESS) {
			wf_free(module);
			return rc;
		}
		b->modules = module;
	}
	*out = module->module;
	return WF_CU_SUCCESS;
}

int wf_cuda_kernel_get(struct wf_device_backend *backend, uint32_t index, const void *image,
                       size_t image_bytes, const char *name, struct wf_device_kernel **out)
{
	CUmodule module = NULL;

	WF_CHECK(backend);
	if (!out || !image || !image_bytes || !name || index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	int rc = wf_cuda_enter(device);
	struct wf_device_kernel *kernel = rc ? NULL : wf_calloc(1, sizeof(*kernel));

	if (!kernel)
		return rc ? rc : -ENOMEM;
	pthread_mutex_lock(&backend->lock);
	CUresult result = module_of(device, image, &module);

	if (result == WF_CU_SUCCESS)
		result = backend->cu.cuModuleGetFunction(&kernel->function, module, name);
	if (result == WF_CU_SUCCESS) {
		kernel->device = device;
		kernel->next = backend->kernels;
		backend->kernels = kernel;
	}
	pthread_mutex_unlock(&backend->lock);
	rc = wf_cuda_status(device, result);
	if (rc)
		wf_free(kernel);
	else
		*out = kernel;
	return rc;
}

/* Read a launch of any version and check it. */
static int launch_read(struct cuda_device *device, const struct wf_device_launch *launch,
                       struct wf_device_launch *l)
{
	if (!launch || launch->struct_size < sizeof(size_t))
		return -EINVAL;
	memset(l, 0, sizeof(*l));
	memcpy(l, launch, launch->struct_size < sizeof(*l) ? launch->struct_size : sizeof(*l));
	if (!l->kernel)
		return -ENOTSUP;
	for (int i = 0; i < 3; i++) {
		if (!l->grid[i] || !l->block[i])
			return -EINVAL;
	}
	if (l->kernel->device != device || (l->args_count && !l->args))
		return -EINVAL;
	return 0;
}

static void **parameters(const struct wf_device_launch *l)
{
	/* The driver reads through it and copies the values. */
	return l->args_count ? (void **)(uintptr_t)l->args : NULL;
}

int wf_cuda_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                   const struct wf_device_launch *launch)
{
	struct wf_device_launch l;
	int rc = stream ? launch_read(stream->device, launch, &l) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!rc)
		rc = wf_cuda_enter(stream->device);
	if (rc)
		return rc;
	return wf_cuda_status(stream->device,
	                      backend->cu.cuLaunchKernel(l.kernel->function, l.grid[0], l.grid[1],
	                                                 l.grid[2], l.block[0], l.block[1],
	                                                 l.block[2], l.shared_bytes, stream->stream,
	                                                 parameters(&l), NULL));
}

/* A chain of kernel nodes, each after the one before. */
static int build_chain(struct cuda_device *device, const struct wf_device_launch *chain,
                       uint32_t count, CUgraph graph)
{
	CUgraphNode node = NULL;
	int rc = 0;

	for (uint32_t i = 0; i < count && !rc; i++) {
		struct wf_device_launch l;
		CUgraphNode before = node;

		rc = launch_read(device, &chain[i], &l);
		if (rc)
			break;
		const CUDA_KERNEL_NODE_PARAMS params = { .func = l.kernel->function,
			                                 .gridDimX = l.grid[0],
			                                 .gridDimY = l.grid[1],
			                                 .gridDimZ = l.grid[2],
			                                 .blockDimX = l.block[0],
			                                 .blockDimY = l.block[1],
			                                 .blockDimZ = l.block[2],
			                                 .sharedMemBytes = l.shared_bytes,
			                                 .kernelParams = parameters(&l) };

		rc = wf_cuda_status(device,
		                    device->backend->cu.cuGraphAddKernelNode(&node, graph, &before,
		                                                             i ? 1 : 0, &params));
	}
	return rc;
}

int wf_cuda_graph_create(struct wf_device_backend *backend, uint32_t index,
                         const struct wf_device_launch *chain, uint32_t count,
                         struct wf_device_graph **out)
{
	WF_CHECK(backend);
	if (!out || !chain || !count || count > GRAPH_MAX || index >= backend->count)
		return -EINVAL;
	struct cuda_device *device = &backend->device[index];
	CUgraph nodes = NULL;
	int rc = wf_cuda_enter(device);
	struct wf_device_graph *graph = rc ? NULL : wf_calloc(1, sizeof(*graph));

	if (!graph)
		return rc ? rc : -ENOMEM;
	graph->device = device;
	rc = wf_cuda_status(device, backend->cu.cuGraphCreate(&nodes, 0));
	if (!rc)
		rc = build_chain(device, chain, count, nodes);
	if (!rc)
		rc = wf_cuda_status(device, backend->cu.cuGraphInstantiate(&graph->exec, nodes, 0));
	if (nodes)
		backend->cu.cuGraphDestroy(nodes);
	if (rc)
		wf_free(graph);
	else
		*out = graph;
	return rc;
}

void wf_cuda_graph_destroy(struct wf_device_backend *backend, struct wf_device_graph *graph)
{
	WF_CHECK(backend);
	WF_CHECK(!graph || graph->device->backend == backend);
	if (!graph)
		return;
	if (wf_cuda_enter(graph->device) == 0)
		backend->cu.cuGraphExecDestroy(graph->exec);
	wf_free(graph);
}

int wf_cuda_graph_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         struct wf_device_graph *graph)
{
	int rc = stream && graph && graph->device == stream->device ? wf_cuda_enter(stream->device)
								    : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!graph || graph->device->backend == backend);
	return rc ? rc
		  : wf_cuda_status(stream->device,
	                           backend->cu.cuGraphLaunch(graph->exec, stream->stream));
}
