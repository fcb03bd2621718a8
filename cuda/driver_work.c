/*
 * driver_work.c: copies, kernels, launches and graphs of CUDA devices.
 */
#include "driver_inner.h"

#include <errno.h>
#include <string.h>

#define GRAPH_MAX    65536u
#define SHARED_GIVEN 49152u /* bytes that a block may share without being asked for */

/* ---- Copies --------------------------------------------------------------------------------- */

int wf_cuda_copy_to_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t to, const void *from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	struct cuda_visit visit;
	int rc = bytes ? wf_cuda_enter(stream->device, &visit) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_leave(&visit,
	                     backend->cu.cuMemcpyHtoDAsync(to, from, bytes, stream->stream));
}

int wf_cuda_copy_to_host(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         void *to, uint64_t from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	struct cuda_visit visit;
	int rc = bytes ? wf_cuda_enter(stream->device, &visit) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_leave(&visit,
	                     backend->cu.cuMemcpyDtoHAsync(to, from, bytes, stream->stream));
}

int wf_cuda_copy_on_device(struct wf_device_backend *backend, struct wf_device_stream *stream,
                           uint64_t to, uint64_t from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && (!to || !from)))
		return -EINVAL;
	struct cuda_visit visit;
	int rc = bytes ? wf_cuda_enter(stream->device, &visit) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_leave(&visit,
	                     backend->cu.cuMemcpyDtoDAsync(to, from, bytes, stream->stream));
}

/* Once for each two: may the one read the other's pool. With the other's lock held. */
static int let_read(struct cuda_device *device, struct cuda_device *from)
{
	const struct wf_cuda_api *cu = &device->backend->cu;
	uint64_t bit = UINT64_C(1) << (device - device->backend->device);
	CUmemAccessDesc access;
	int can = 0;

	if (from->peers & bit)
		return 0;
	memset(&access, 0, sizeof(access));
	access.location.type = WF_CU_LOCATION_DEVICE;
	access.location.id = device->id;
	access.flags = WF_CU_ACCESS_READ_WRITE; /* a pool knows only all or nothing */
	CUresult rc = cu->cuDeviceCanAccessPeer(&can, device->id, from->id);

	if (rc != WF_CU_SUCCESS || !can || !from->pool ||
	    cu->cuMemPoolSetAccess(from->pool, &access, 1) != WF_CU_SUCCESS)
		return -ENOTSUP;
	from->peers |= bit;
	return 0;
}

int wf_cuda_copy_peer(struct wf_device_backend *backend, struct wf_device_stream *stream,
                      uint64_t to, uint32_t from_device, uint64_t from, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || from_device >= backend->count || (bytes && (!to || !from)))
		return -EINVAL;
	struct cuda_device *peer = &backend->device[from_device];
	if (!bytes)
		return 0;
	if (wf_cuda_is_lost(peer))
		return wf_cuda_is_lost(stream->device) ? WF_DEVICE_LOST : -EIO;
	struct cuda_visit visit;
	int rc = wf_cuda_enter(stream->device, &visit);

	if (rc)
		return rc;
	pthread_mutex_lock(&peer->lock);
	rc = let_read(stream->device, peer);
	pthread_mutex_unlock(&peer->lock);
	CUresult result = rc ? WF_CU_SUCCESS
			     : backend->cu.cuMemcpyPeerAsync(to, stream->device->context, from,
	                                                     peer->context, bytes, stream->stream);
	int told = wf_cuda_leave(&visit, result);

	return rc ? rc : told;
}

int wf_cuda_fill(struct wf_device_backend *backend, struct wf_device_stream *stream, uint64_t to,
                 uint8_t byte, uint64_t bytes)
{
	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!stream || (bytes && !to))
		return -EINVAL;
	struct cuda_visit visit;
	int rc = bytes ? wf_cuda_enter(stream->device, &visit) : 0;

	if (rc || !bytes)
		return rc;
	return wf_cuda_leave(&visit, backend->cu.cuMemsetD8Async(to, byte, bytes, stream->stream));
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
	struct wf_device_kernel *kernel = wf_calloc(1, sizeof(*kernel));
	struct cuda_visit visit;
	int rc = kernel ? wf_cuda_enter(&backend->device[index], &visit) : -ENOMEM;

	if (rc) {
		wf_free(kernel);
		return rc;
	}
	pthread_mutex_lock(&backend->lock);
	CUresult result = module_of(visit.device, image, &module);

	if (result == WF_CU_SUCCESS)
		result = backend->cu.cuModuleGetFunction(&kernel->function, module, name);
	if (result == WF_CU_SUCCESS) {
		kernel->device = visit.device;
		kernel->next = backend->kernels;
		backend->kernels = kernel;
	}
	pthread_mutex_unlock(&backend->lock);
	rc = wf_cuda_leave(&visit, result);
	if (rc)
		wf_free(kernel);
	else
		*out = kernel;
	return rc;
}

static int launch_read(struct cuda_device *device, const struct wf_device_launch *launch,
                       struct wf_device_launch *l)
{
	int rc = wf_device_launch_read(launch, l);

	if (!rc && !l->kernel)
		rc = -ENOTSUP;
	return rc ? rc : l->kernel->device == device ? 0 : -EINVAL;
}

/* More than SHARED_GIVEN has to be asked for, once; all that there can be beside what is fixed. */
static CUresult let_share(struct wf_device_kernel *kernel, uint32_t bytes)
{
	const struct wf_cuda_api *cu = &kernel->device->backend->cu;
	int fixed = 0;

	WF_CHECK(wf_cuda_is_ready(kernel->device));
	WF_DEBUG(kernel->function);
	/* relaxed: asked for twice it is the same. */
	if (bytes <= SHARED_GIVEN || wf_load_relaxed(&kernel->wide))
		return WF_CU_SUCCESS;
	CUresult rc = cu->cuFuncGetAttribute(&fixed, WF_CU_FUNCTION_SHARED, kernel->function);

	if (rc == WF_CU_SUCCESS)
		rc = cu->cuFuncSetAttribute(kernel->function, WF_CU_FUNCTION_SHARED_MOST,
		                            kernel->device->shared_most - fixed);
	if (rc == WF_CU_SUCCESS)
		wf_store_relaxed(&kernel->wide, 1); /* relaxed: as above */
	return rc;
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
	struct cuda_visit visit;
	int rc = stream ? launch_read(stream->device, launch, &l) : -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	if (!rc)
		rc = wf_cuda_enter(stream->device, &visit);
	if (rc)
		return rc;
	CUresult result = let_share(l.kernel, l.shared_bytes);

	if (result == WF_CU_SUCCESS)
		result = backend->cu.cuLaunchKernel(
			l.kernel->function, l.grid[0], l.grid[1], l.grid[2], l.block[0], l.block[1],
			l.block[2], l.shared_bytes, stream->stream, parameters(&l), NULL);
	return wf_cuda_leave(&visit, result);
}

/* ---- Graphs ---------------------------------------------------------------------------------- */

/* What is built: a chain, each node after the one before. */
struct chain {
	struct cuda_device *device;
	CUgraph graph;
	CUgraphNode last; /* NULL: none yet */
};

static int add_launch(struct chain *chain, const struct wf_device_launch *launch)
{
	struct wf_device_launch l;
	CUgraphNode before = chain->last;
	int rc = launch_read(chain->device, launch, &l);

	if (!rc)
		rc = wf_cuda_status(chain->device, let_share(l.kernel, l.shared_bytes));
	if (rc)
		return rc;
	CUDA_KERNEL_NODE_PARAMS params = { .func = l.kernel->function,
		                           .gridDimX = l.grid[0],
		                           .gridDimY = l.grid[1],
		                           .gridDimZ = l.grid[2],
		                           .blockDimX = l.block[0],
		                           .blockDimY = l.block[1],
		                           .blockDimZ = l.block[2],
		                           .sharedMemBytes = l.shared_bytes,
		                           .kernelParams = parameters(&l) };

	return wf_cuda_status(
		chain->device,
		chain->device->backend->cu.cuGraphAddKernelNode(&chain->last, chain->graph, &before,
	                                                        before ? 1 : 0, &params));
}

static int add_copy(struct chain *chain, const struct wf_device_step *step)
{
	CUDA_MEMCPY3D copy;
	CUgraphNode before = chain->last;

	if (!step->host || !step->address || !step->bytes)
		return -EINVAL;
	memset(&copy, 0, sizeof(copy));
	copy.WidthInBytes = step->bytes;
	copy.Height = copy.Depth = 1;
	if (step->kind == WF_DEVICE_STEP_UP) {
		copy.srcMemoryType = WF_CU_MEMORY_HOST;
		copy.srcHost = step->host;
		copy.dstMemoryType = WF_CU_MEMORY_DEVICE;
		copy.dstDevice = step->address;
	} else {
		copy.srcMemoryType = WF_CU_MEMORY_DEVICE;
		copy.srcDevice = step->address;
		copy.dstMemoryType = WF_CU_MEMORY_HOST;
		copy.dstHost = step->host;
	}
	return wf_cuda_status(chain->device,
	                      chain->device->backend->cu.cuGraphAddMemcpyNode(
				      &chain->last, chain->graph, &before, before ? 1 : 0, &copy,
				      chain->device->context));
}

/* Steps, or launches. */
static int graph_build(struct wf_device_backend *backend, uint32_t index,
                       const struct wf_device_step *steps, const struct wf_device_launch *launches,
                       uint32_t count, struct wf_device_graph **out)
{
	WF_CHECK(backend);
	if (!out || !(steps || launches) || !count || count > GRAPH_MAX || index >= backend->count)
		return -EINVAL;
	struct chain chain = { .device = &backend->device[index] };
	struct wf_device_graph *graph = wf_calloc(1, sizeof(*graph));
	struct cuda_visit visit;
	int rc = graph ? wf_cuda_enter(chain.device, &visit) : -ENOMEM;

	if (rc) {
		wf_free(graph);
		return rc;
	}
	graph->device = chain.device;
	rc = wf_cuda_status(chain.device, backend->cu.cuGraphCreate(&chain.graph, 0));
	for (uint32_t i = 0; i < count && !rc; i++) {
		if (steps && steps[i].kind != WF_DEVICE_STEP_LAUNCH)
			rc = add_copy(&chain, &steps[i]);
		else
			rc = add_launch(&chain, steps ? &steps[i].launch : &launches[i]);
	}
	if (!rc)
		rc = wf_cuda_status(chain.device,
		                    backend->cu.cuGraphInstantiate(&graph->exec, chain.graph, 0));
	if (chain.graph)
		backend->cu.cuGraphDestroy(chain.graph);
	(void)wf_cuda_leave(&visit, WF_CU_SUCCESS);
	if (rc) {
		wf_free(graph);
		return rc;
	}
	pthread_mutex_init(&graph->lock, NULL);
	*out = graph;
	return 0;
}

int wf_cuda_graph_create(struct wf_device_backend *backend, uint32_t index,
                         const struct wf_device_launch *chain, uint32_t count,
                         struct wf_device_graph **out)
{
	return graph_build(backend, index, NULL, chain, count, out);
}

int wf_cuda_graph_record(struct wf_device_backend *backend, uint32_t index,
                         const struct wf_device_step *steps, uint32_t count,
                         struct wf_device_graph **out)
{
	return graph_build(backend, index, steps, NULL, count, out);
}

void wf_cuda_graph_destroy(struct wf_device_backend *backend, struct wf_device_graph *graph)
{
	WF_CHECK(backend);
	WF_CHECK(!graph || graph->device->backend == backend);
	struct cuda_visit visit;

	if (!graph)
		return;
	if (!wf_cuda_enter(graph->device, &visit))
		(void)wf_cuda_leave(&visit, backend->cu.cuGraphExecDestroy(graph->exec));
	pthread_mutex_destroy(&graph->lock);
	wf_free(graph);
}

int wf_cuda_graph_launch(struct wf_device_backend *backend, struct wf_device_stream *stream,
                         struct wf_device_graph *graph)
{
	struct cuda_visit visit;
	int rc = stream && graph && graph->device == stream->device
		? wf_cuda_enter(stream->device, &visit)
		: -EINVAL;

	WF_CHECK(backend);
	WF_CHECK(!stream || stream->device->backend == backend);
	WF_CHECK(!graph || graph->device->backend == backend);
	if (rc)
		return rc;
	/* "Graph objects are not internally synchronized": tasks may launch one at once. */
	pthread_mutex_lock(&graph->lock);
	CUresult result = backend->cu.cuGraphLaunch(graph->exec, stream->stream);

	pthread_mutex_unlock(&graph->lock);
	return wf_cuda_leave(&visit, result);
}
