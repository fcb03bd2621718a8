/*
 * fake_driver.c: a library that answers as a CUDA driver does, for tests of cuda/driver.c without
 * a card. Three devices, the last without memory pools. Work is done when it is submitted; events
 * are not ready for a number of queries that the test sets. Any entry can be made to fail.
 *
 * Not a model of a device (that is the simulation's part): it checks that the right calls are
 * made, in a current context, with handles that exist, and that all of them are given back.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_driver.h"

#include "driver_api.h"

#define EXPORT  __attribute__((visibility("default")))
#define DEVICES 3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fake_counts counts;
static char failing[64];
static int fail_code, fail_after, fail_more, queries_left;
static int64_t used[DEVICES];
static struct CUctx_st {
	int device;
} contexts[DEVICES] = { { 0 }, { 1 }, { 2 } };
static _Thread_local CUcontext current;
static _Thread_local int mode; /* of captures */
static bool capturing;         /* somebody, in the strictest mode */
static bool holding;           /* what is given to cuLaunchHostFunc() */
static CUhostFn held_fn;
static void *held_arg;

EXPORT void fake_fail(const char *name, int code, int after)
{
	pthread_mutex_lock(&lock);
	snprintf(failing, sizeof(failing), "%s", name ? name : "");
	fail_code = code;
	fail_after = after;
	fail_more = 0;
	pthread_mutex_unlock(&lock);
}

EXPORT void fake_fail_more(int times)
{
	pthread_mutex_lock(&lock);
	fail_more = times;
	pthread_mutex_unlock(&lock);
}

/* What the driver hands out: of one arena, so that what a lost device keeps is no leak. */
static _Alignas(16) unsigned char arena[16 << 20];
static size_t arena_used;

static void *take(size_t bytes)
{
	size_t at = __atomic_fetch_add(&arena_used, (bytes + 15) & ~(size_t)15, __ATOMIC_RELAXED);

	if (at + bytes > sizeof(arena))
		abort();
	return memset(arena + at, 0, bytes);
}

EXPORT void fake_reset(void)
{
	memset(&counts, 0, sizeof(counts));
	memset(used, 0, sizeof(used));
	arena_used = 0;
	current = NULL;
	mode = 0;
	capturing = false;
	fake_fail(NULL, 0, 0);
	fake_event_queries(0);
}

EXPORT void fake_event_queries(int n)
{
	queries_left = n;
}

EXPORT struct fake_counts fake_counts(void)
{
	return counts;
}

EXPORT void fake_set_current(int device)
{
	current = device < 0 ? NULL : &contexts[device];
}

EXPORT int fake_current(void)
{
	return mode ? -2 : current ? current->device : -1;
}

EXPORT void fake_capture(bool on)
{
	capturing = on;
}

/* The failure planted for an entry, or success. */
static CUresult answer(const char *name)
{
	CUresult rc = WF_CU_SUCCESS;

	pthread_mutex_lock(&lock);
	counts.calls++;
	if (!strcmp(failing, name) && fail_after-- == 0) {
		rc = fail_code;
		counts.failed++;
		if (fail_more > 0) {
			fail_more--;
			fail_after = 0;
		}
	}
	pthread_mutex_unlock(&lock);
	return rc;
}

/* The same for entries that need a current context. */
static CUresult answer_in_context(const char *name)
{
	if (!current) {
		counts.misuses++;
		return 201;
	}
	if (capturing && mode != WF_CU_CAPTURE_RELAXED)
		return WF_CU_CAPTURE_UNSUPPORTED;
	return answer(name);
}

#define ANSWER(name) \
	do { \
		CUresult answered = answer(name); \
		if (answered != WF_CU_SUCCESS) \
			return answered; \
	} while (0)
#define ANSWER_IN_CONTEXT(name) \
	do { \
		CUresult answered = answer_in_context(name); \
		if (answered != WF_CU_SUCCESS) \
			return answered; \
	} while (0)

/* ---- Devices and contexts ------------------------------------------------------------------- */

static CUresult my_cuInit(unsigned int flags)
{
	(void)flags;
	ANSWER("cuInit");
	return WF_CU_SUCCESS;
}

static CUresult my_cuDriverGetVersion(int *version)
{
	*version = 12040;
	return WF_CU_SUCCESS;
}

static CUresult my_cuGetErrorString(CUresult rc, const char **text)
{
	*text = rc == WF_CU_ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : NULL;
	return *text ? WF_CU_SUCCESS : WF_CU_INVALID_VALUE;
}

static CUresult my_cuDeviceGetCount(int *count)
{
	ANSWER("cuDeviceGetCount");
	*count = DEVICES;
	return WF_CU_SUCCESS;
}

static CUresult my_cuDeviceGet(CUdevice *device, int ordinal)
{
	ANSWER("cuDeviceGet");
	*device = ordinal;
	return WF_CU_SUCCESS;
}

static CUresult my_cuDeviceGetName(char *name, int size, CUdevice device)
{
	ANSWER("cuDeviceGetName");
	snprintf(name, (size_t)size, "Fake %d", device);
	return WF_CU_SUCCESS;
}

static CUresult my_cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
	(void)device;
	ANSWER("cuDeviceTotalMem");
	*bytes = (size_t)16 << 30;
	return WF_CU_SUCCESS;
}

static CUresult my_cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
	ANSWER("cuDeviceGetAttribute");
	*value = attribute == WF_CU_ATTRIBUTE_ASYNC_ENGINES ? 3
		: attribute == WF_CU_ATTRIBUTE_MEMORY_POOLS ? device != 2
		: attribute == WF_CU_ATTRIBUTE_SHARED_MOST  ? 100000
							    : 0;
	return WF_CU_SUCCESS;
}

static CUresult my_cuDeviceGetPCIBusId(char *text, int size, CUdevice device)
{
	ANSWER("cuDeviceGetPCIBusId");
	snprintf(text, (size_t)size, "0000:C%d:00.0", device);
	return WF_CU_SUCCESS;
}

static CUresult my_cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
	ANSWER("cuDeviceCanAccessPeer");
	counts.misuses += device == peer;
	*can = 1;
	return WF_CU_SUCCESS;
}

static CUresult my_cuDevicePrimaryCtxRetain(CUcontext *out, CUdevice device)
{
	ANSWER("cuDevicePrimaryCtxRetain");
	counts.contexts++;
	counts.retained++;
	*out = &contexts[device];
	return WF_CU_SUCCESS;
}

static CUresult my_cuDevicePrimaryCtxRelease(CUdevice device)
{
	(void)device;
	counts.contexts--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuCtxSetCurrent(CUcontext context)
{
	ANSWER("cuCtxSetCurrent");
	current = context;
	return WF_CU_SUCCESS;
}

static CUresult my_cuCtxGetCurrent(CUcontext *out)
{
	ANSWER("cuCtxGetCurrent");
	*out = current;
	return WF_CU_SUCCESS;
}

static CUresult my_cuCtxSynchronize(void)
{
	ANSWER_IN_CONTEXT("cuCtxSynchronize");
	return WF_CU_SUCCESS;
}

static CUresult my_cuCtxGetStreamPriorityRange(int *low, int *high)
{
	ANSWER_IN_CONTEXT("cuCtxGetStreamPriorityRange");
	*low = 0;
	*high = -5;
	return WF_CU_SUCCESS;
}

/* ---- Streams and events --------------------------------------------------------------------- */

struct CUstream_st {
	CUcontext context;
	int priority;
};
struct CUevent_st {
	CUcontext context;
};

static CUresult my_cuStreamCreateWithPriority(CUstream *out, unsigned int flags, int priority)
{
	ANSWER_IN_CONTEXT("cuStreamCreateWithPriority");
	counts.misuses += flags != WF_CU_STREAM_NON_BLOCKING || priority > 0 || priority < -5;
	*out = take(sizeof(**out));
	**out = (struct CUstream_st){ current, priority };
	counts.streams++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuStreamDestroy(CUstream stream)
{
	counts.misuses += stream->context != current;
	(void)stream;
	counts.streams--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int flags)
{
	(void)event;
	ANSWER_IN_CONTEXT("cuStreamWaitEvent");
	counts.misuses += stream->context != current || flags != 0;
	return WF_CU_SUCCESS;
}

static CUresult my_cuStreamQuery(CUstream stream)
{
	ANSWER_IN_CONTEXT("cuStreamQuery");
	/* Only those that have no handle are asked. */
	counts.misuses += (uintptr_t)stream != WF_CU_STREAM_LEGACY &&
		(uintptr_t)stream != WF_CU_STREAM_PER_THREAD;
	return WF_CU_SUCCESS;
}

static CUresult my_cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *at)
{
	int before = mode;

	ANSWER("cuThreadExchangeStreamCaptureMode");
	mode = *at;
	*at = before;
	return WF_CU_SUCCESS;
}

static CUresult my_cuLaunchHostFunc(CUstream stream, CUhostFn fn, void *arg)
{
	ANSWER_IN_CONTEXT("cuLaunchHostFunc");
	counts.misuses += stream->context != current;
	if (!holding) {
		fn(arg);
		return WF_CU_SUCCESS;
	}
	counts.misuses += held_fn != NULL;
	held_fn = fn;
	held_arg = arg;
	return WF_CU_SUCCESS;
}

EXPORT void fake_hold_doorbells(void)
{
	holding = true;
}

EXPORT bool fake_ring(void)
{
	CUhostFn fn = held_fn;

	held_fn = NULL;
	holding = false;
	if (fn)
		fn(held_arg);
	return fn != NULL;
}

static CUresult my_cuEventCreate(CUevent *out, unsigned int flags)
{
	ANSWER_IN_CONTEXT("cuEventCreate");
	counts.misuses += flags != WF_CU_EVENT_DISABLE_TIMING;
	*out = take(sizeof(**out));
	(*out)->context = current;
	counts.events++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuEventDestroy(CUevent event)
{
	(void)event;
	counts.events--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuEventRecord(CUevent event, CUstream stream)
{
	ANSWER_IN_CONTEXT("cuEventRecord");
	counts.misuses += event->context != stream->context;
	return WF_CU_SUCCESS;
}

static CUresult my_cuEventQuery(CUevent event)
{
	(void)event;
	ANSWER_IN_CONTEXT("cuEventQuery");
	if (queries_left <= 0)
		return WF_CU_SUCCESS;
	queries_left--;
	return WF_CU_NOT_READY;
}

/* ---- Memory --------------------------------------------------------------------------------- */

struct CUmemPoolHandle_st {
	int device;
	unsigned int readers; /* bits of devices */
};

static CUresult my_cuMemPoolCreate(CUmemoryPool *out, const CUmemPoolProps *props)
{
	ANSWER_IN_CONTEXT("cuMemPoolCreate");
	counts.misuses += props->allocType != WF_CU_ALLOCATION_PINNED || props->handleTypes ||
		props->location.type != WF_CU_LOCATION_DEVICE ||
		props->location.id != current->device || props->win32SecurityAttributes;
	*out = take(sizeof(**out));
	(*out)->device = props->location.id;
	counts.pools++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemPoolDestroy(CUmemoryPool pool)
{
	(void)pool;
	counts.pools--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemPoolSetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute,
                                         void *value)
{
	(void)pool;
	ANSWER_IN_CONTEXT("cuMemPoolSetAttribute");
	counts.misuses +=
		attribute != WF_CU_POOL_RELEASE_THRESHOLD || *(uint64_t *)value != UINT64_MAX;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemPoolGetAttribute(CUmemoryPool pool, CUmemPool_attribute attribute,
                                         void *value)
{
	ANSWER_IN_CONTEXT("cuMemPoolGetAttribute");
	counts.misuses += attribute != WF_CU_POOL_USED_CURRENT;
	*(uint64_t *)value = (uint64_t)used[pool->device];
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemPoolSetAccess(CUmemoryPool pool, const CUmemAccessDesc *access, size_t n)
{
	ANSWER_IN_CONTEXT("cuMemPoolSetAccess");
	counts.misuses += n != 1 || access->location.type != WF_CU_LOCATION_DEVICE ||
		access->location.id == pool->device || access->flags != WF_CU_ACCESS_READ_WRITE;
	pool->readers |= 1u << access->location.id;
	counts.accesses++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemPoolTrimTo(CUmemoryPool pool, size_t keep)
{
	(void)pool;
	ANSWER_IN_CONTEXT("cuMemPoolTrimTo");
	counts.misuses += keep != 0;
	return WF_CU_SUCCESS;
}

/* Each block says its size in front of it. */
static CUresult my_cuMemAllocFromPoolAsync(CUdeviceptr *out, size_t bytes, CUmemoryPool pool,
                                           CUstream stream)
{
	ANSWER_IN_CONTEXT("cuMemAllocFromPoolAsync");
	counts.misuses += stream->context != current || pool->device != current->device;
	uint64_t *block = take(16 + bytes);

	block[0] = bytes;
	used[current->device] += (int64_t)bytes;
	counts.memory += (int64_t)bytes;
	*out = (CUdeviceptr)(uintptr_t)(block + 2);
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemFreeAsync(CUdeviceptr at, CUstream stream)
{
	ANSWER_IN_CONTEXT("cuMemFreeAsync");
	uint64_t *block = (uint64_t *)(uintptr_t)at - 2;

	counts.misuses += stream->context != current;
	used[current->device] -= (int64_t)block[0];
	counts.memory -= (int64_t)block[0];
	(void)block;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemHostAlloc(void **out, size_t bytes, unsigned int flags)
{
	ANSWER_IN_CONTEXT("cuMemHostAlloc");
	counts.misuses += flags != WF_CU_HOST_PORTABLE;
	*out = take(bytes);
	counts.pinned++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemFreeHost(void *memory)
{
	(void)memory;
	counts.pinned--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemHostRegister(void *memory, size_t bytes, unsigned int flags)
{
	(void)memory, (void)bytes;
	ANSWER_IN_CONTEXT("cuMemHostRegister");
	counts.misuses += flags != WF_CU_HOST_PORTABLE;
	counts.registered++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemHostUnregister(void *memory)
{
	(void)memory;
	ANSWER_IN_CONTEXT("cuMemHostUnregister");
	counts.registered--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream s)
{
	ANSWER_IN_CONTEXT("cuMemcpyHtoDAsync");
	counts.misuses += s->context != current;
	memcpy((void *)(uintptr_t)to, from, bytes);
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream s)
{
	ANSWER_IN_CONTEXT("cuMemcpyDtoHAsync");
	counts.misuses += s->context != current;
	memcpy(to, (const void *)(uintptr_t)from, bytes);
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream s)
{
	ANSWER_IN_CONTEXT("cuMemcpyDtoDAsync");
	counts.misuses += s->context != current;
	memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                                     CUcontext from_context, size_t bytes, CUstream s)
{
	ANSWER_IN_CONTEXT("cuMemcpyPeerAsync");
	counts.misuses +=
		s->context != current || to_context != current || from_context == to_context;
	memmove((void *)(uintptr_t)to, (const void *)(uintptr_t)from, bytes);
	return WF_CU_SUCCESS;
}

static CUresult my_cuMemsetD8Async(CUdeviceptr to, unsigned char byte, size_t bytes, CUstream s)
{
	ANSWER_IN_CONTEXT("cuMemsetD8Async");
	counts.misuses += s->context != current;
	memset((void *)(uintptr_t)to, byte, bytes);
	return WF_CU_SUCCESS;
}

/* ---- Kernels -------------------------------------------------------------------------------- */

struct CUmod_st {
	CUcontext context;
	struct CUfunc_st {
		CUcontext context;
		unsigned int shared; /* bytes that were asked for */
	} add;
};

static CUresult my_cuModuleLoadData(CUmodule *out, const void *image)
{
	ANSWER_IN_CONTEXT("cuModuleLoadData");
	if (memcmp(image, "fake", 5) != 0)
		return WF_CU_INVALID_IMAGE;
	*out = take(sizeof(**out));
	(*out)->context = (*out)->add.context = current;
	counts.modules++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuModuleUnload(CUmodule module)
{
	counts.misuses += module->context != current;
	(void)module;
	counts.modules--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuModuleGetFunction(CUfunction *out, CUmodule module, const char *name)
{
	ANSWER_IN_CONTEXT("cuModuleGetFunction");
	if (strcmp(name, "add") != 0)
		return WF_CU_NOT_FOUND;
	*out = &module->add;
	return WF_CU_SUCCESS;
}

static CUresult my_cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction f)
{
	(void)f;
	ANSWER_IN_CONTEXT("cuFuncGetAttribute");
	counts.misuses += attribute != WF_CU_FUNCTION_SHARED;
	*value = 1000;
	return WF_CU_SUCCESS;
}

static CUresult my_cuFuncSetAttribute(CUfunction f, CUfunction_attribute attribute, int value)
{
	ANSWER_IN_CONTEXT("cuFuncSetAttribute");
	counts.misuses += attribute != WF_CU_FUNCTION_SHARED_MOST || value != 99000;
	f->shared = (unsigned int)value;
	return WF_CU_SUCCESS;
}

/* add(uint32_t *words, uint32_t n, uint32_t add) */
static void add(void **args)
{
	uint32_t *words = (uint32_t *)(uintptr_t) * (uint64_t *)args[0];

	for (uint32_t i = 0; i < *(uint32_t *)args[1]; i++)
		words[i] += *(uint32_t *)args[2];
}

static CUresult my_cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                  unsigned int bx, unsigned int by, unsigned int bz,
                                  unsigned int shared, CUstream s, void **args, void **extra)
{
	ANSWER_IN_CONTEXT("cuLaunchKernel");
	if (shared > 49152 && shared > f->shared)
		return WF_CU_INVALID_VALUE;
	counts.misuses += s->context != current || f->context != current || extra ||
		!(gx && gy && gz && bx && by && bz);
	add(args);
	return WF_CU_SUCCESS;
}

/* ---- Graphs --------------------------------------------------------------------------------- */

struct CUgraphNode_st {
	CUgraphNode before;
	uint64_t words;
	uint32_t n, add;
	CUDA_MEMCPY3D copy; /* Depth 0: a launch */
};
struct CUgraph_st {
	struct CUgraphNode_st node[8];
	size_t count;
};
struct CUgraphExec_st {
	struct CUgraph_st graph;
};

static CUresult my_cuGraphCreate(CUgraph *out, unsigned int flags)
{
	ANSWER_IN_CONTEXT("cuGraphCreate");
	counts.misuses += flags != 0;
	*out = take(sizeof(**out));
	counts.graphs++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuGraphDestroy(CUgraph graph)
{
	(void)graph;
	counts.graphs--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuGraphAddKernelNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                        size_t n, const CUDA_KERNEL_NODE_PARAMS *p)
{
	ANSWER_IN_CONTEXT("cuGraphAddKernelNode");
	counts.misuses += n != (graph->count ? 1 : 0) || p->extra || p->kern || p->ctx ||
		(n && *before != &graph->node[graph->count - 1]) || graph->count == 8;
	*out = &graph->node[graph->count++];
	(*out)->words = *(uint64_t *)p->kernelParams[0];
	(*out)->n = *(uint32_t *)p->kernelParams[1];
	(*out)->add = *(uint32_t *)p->kernelParams[2];
	return WF_CU_SUCCESS;
}

static CUresult my_cuGraphAddMemcpyNode(CUgraphNode *out, CUgraph graph, const CUgraphNode *before,
                                        size_t n, const CUDA_MEMCPY3D *copy, CUcontext context)
{
	ANSWER_IN_CONTEXT("cuGraphAddMemcpyNode");
	counts.misuses += n != (graph->count ? 1 : 0) || context != current || graph->count == 8 ||
		(n && *before != &graph->node[graph->count - 1]) || copy->Height != 1 ||
		copy->Depth != 1 || copy->srcMemoryType == copy->dstMemoryType;
	*out = &graph->node[graph->count++];
	(*out)->copy = *copy;
	return WF_CU_SUCCESS;
}

static void copy_node(const CUDA_MEMCPY3D *copy)
{
	const void *from = copy->srcMemoryType == WF_CU_MEMORY_HOST
		? copy->srcHost
		: (const void *)(uintptr_t)copy->srcDevice;
	void *to = copy->dstMemoryType == WF_CU_MEMORY_HOST ? copy->dstHost
							    : (void *)(uintptr_t)copy->dstDevice;

	memcpy(to, from, copy->WidthInBytes);
}

static CUresult my_cuGraphInstantiate(CUgraphExec *out, CUgraph graph, unsigned long long flags)
{
	ANSWER_IN_CONTEXT("cuGraphInstantiate");
	counts.misuses += flags != 0;
	*out = take(sizeof(**out));
	(*out)->graph = *graph;
	counts.graphs++;
	return WF_CU_SUCCESS;
}

static CUresult my_cuGraphExecDestroy(CUgraphExec exec)
{
	(void)exec;
	counts.graphs--;
	return WF_CU_SUCCESS;
}

static CUresult my_cuGraphLaunch(CUgraphExec exec, CUstream s)
{
	ANSWER_IN_CONTEXT("cuGraphLaunch");
	counts.misuses += s->context != current;
	for (size_t i = 0; i < exec->graph.count; i++) {
		struct CUgraphNode_st *node = &exec->graph.node[i];

		if (node->copy.Depth)
			copy_node(&node->copy);
		else
			add((void *[]){ &node->words, &node->n, &node->add });
	}
	return WF_CU_SUCCESS;
}

EXPORT CUresult cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                                    int *found);
EXPORT CUresult cuGetProcAddress_v2(const char *name, void **out, int version, uint64_t flags,
                                    int *found)
{
	static const struct {
		const char *name;
		void *at;
	} entries[] = {
#define ENTRY(n, parameters) { #n, (void *)my_##n },
		WF_CUDA_API(ENTRY)
#undef ENTRY
	};

	(void)found;
	counts.misuses += version != WF_CUDA_VERSION || flags != 0;
	if (!strcmp(failing, name) && fail_after == -100)
		return WF_CU_NOT_FOUND;
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		if (strcmp(entries[i].name, name) == 0) {
			*out = entries[i].at;
			return WF_CU_SUCCESS;
		}
	}
	return WF_CU_NOT_FOUND;
}
