/*
 * driver_api.h: the part of the CUDA driver API that this room calls, in our own prototypes, so
 * that neither a toolkit nor a card is needed to build. tests/gpu/prototypes.c compares them with
 * NVIDIA's header where there is one. Entry points are taken from the library by name through
 * cuGetProcAddress with WF_CUDA_VERSION, so each is the variant of that version in every later
 * driver (CUDA Driver API, "Driver Entry Point Access").
 */
#ifndef WF_DRIVER_API_H
#define WF_DRIVER_API_H

#include <stddef.h>
#include <stdint.h>

#define WF_CUDA_VERSION 12000

#ifndef WF_CUDA_TYPES /* the test brings NVIDIA's */
typedef int CUresult;
typedef int CUdevice;
typedef unsigned long long CUdeviceptr;
typedef struct CUctx_st *CUcontext;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUkern_st *CUkernel;
typedef struct CUgraph_st *CUgraph;
typedef struct CUgraphNode_st *CUgraphNode;
typedef struct CUgraphExec_st *CUgraphExec;
typedef struct CUmemPoolHandle_st *CUmemoryPool;
typedef void (*CUhostFn)(void *arg);
typedef int CUdevice_attribute;
typedef int CUmemPool_attribute;
typedef int CUstreamCaptureMode;
typedef int CUfunction_attribute;

typedef struct {
	int allocType, handleTypes;
	struct {
		int type, id;
	} location;
	void *win32SecurityAttributes;
	size_t maxSize;
	unsigned char reserved[56];
} CUmemPoolProps;

typedef struct {
	struct {
		int type, id;
	} location;
	int flags;
} CUmemAccessDesc;

typedef struct {
	size_t srcXInBytes, srcY, srcZ, srcLOD;
	int srcMemoryType;
	const void *srcHost;
	CUdeviceptr srcDevice;
	void *srcArray, *reserved0;
	size_t srcPitch, srcHeight;
	size_t dstXInBytes, dstY, dstZ, dstLOD;
	int dstMemoryType;
	void *dstHost;
	CUdeviceptr dstDevice;
	void *dstArray, *reserved1;
	size_t dstPitch, dstHeight;
	size_t WidthInBytes, Height, Depth;
} CUDA_MEMCPY3D;

typedef struct {
	CUfunction func;
	unsigned int gridDimX, gridDimY, gridDimZ;
	unsigned int blockDimX, blockDimY, blockDimZ;
	unsigned int sharedMemBytes;
	void **kernelParams, **extra;
	CUkernel kern;
	CUcontext ctx;
} CUDA_KERNEL_NODE_PARAMS;
#endif

/* Values of NVIDIA's enums that are used here. */
enum wf_cuda_value {
	WF_CU_SUCCESS = 0,
	WF_CU_INVALID_VALUE = 1,
	WF_CU_OUT_OF_MEMORY = 2,
	WF_CU_DEINITIALIZED = 4,
	WF_CU_STUB_LIBRARY = 34,
	WF_CU_NO_DEVICE = 100,
	WF_CU_INVALID_IMAGE = 200,
	WF_CU_NO_BINARY = 209,
	WF_CU_ECC = 214,
	WF_CU_INVALID_PTX = 218,
	WF_CU_NVLINK = 220,
	WF_CU_PTX_VERSION = 222,
	WF_CU_CONTAINED = 226,
	WF_CU_NOT_FOUND = 500,
	WF_CU_NOT_READY = 600,
	WF_CU_ILLEGAL_ADDRESS = 700,
	WF_CU_LAUNCH_TIMEOUT = 702,
	WF_CU_CONTEXT_DESTROYED = 709,
	WF_CU_ASSERT = 710,
	WF_CU_HARDWARE_STACK = 714,
	WF_CU_LAUNCH_FAILED = 719,
	WF_CU_TENSOR_MEMORY_LEAK = 721,
	WF_CU_NOT_SUPPORTED = 801,
	WF_CU_MPS_TERMINATED = 810,
	WF_CU_CAPTURE_UNSUPPORTED = 900, /* the first, */
	WF_CU_CAPTURE_WRONG_THREAD = 908, /* and the last, of those about captures */
	WF_CU_EXTERNAL_DEVICE = 911,

	WF_CU_STREAM_NON_BLOCKING = 1,
	WF_CU_EVENT_DISABLE_TIMING = 2,
	WF_CU_HOST_PORTABLE = 1,
	WF_CU_ATTRIBUTE_INTEGRATED = 18,
	WF_CU_ATTRIBUTE_ASYNC_ENGINES = 40,
	WF_CU_ATTRIBUTE_MEMORY_POOLS = 115,
	WF_CU_ALLOCATION_PINNED = 1,
	WF_CU_LOCATION_DEVICE = 1,
	WF_CU_POOL_RELEASE_THRESHOLD = 4,
	WF_CU_POOL_USED_CURRENT = 7,
	WF_CU_ACCESS_READ_WRITE = 3,
	WF_CU_MEMORY_HOST = 1,
	WF_CU_MEMORY_DEVICE = 2,
	WF_CU_CAPTURE_RELAXED = 2,
	WF_CU_ATTRIBUTE_SHARED_MOST = 97,
	WF_CU_FUNCTION_SHARED = 1,
	WF_CU_FUNCTION_SHARED_MOST = 8,
	WF_CU_STREAM_LEGACY = 1,
	WF_CU_STREAM_PER_THREAD = 2,
};

/* X(name, parameters): all return CUresult. */
#define WF_CUDA_API(X) \
	X(cuInit, (unsigned int)) \
	X(cuDriverGetVersion, (int *)) \
	X(cuGetErrorString, (CUresult, const char **)) \
	X(cuDeviceGetCount, (int *)) \
	X(cuDeviceGet, (CUdevice *, int)) \
	X(cuDeviceGetName, (char *, int, CUdevice)) \
	X(cuDeviceTotalMem, (size_t *, CUdevice)) \
	X(cuDeviceGetAttribute, (int *, CUdevice_attribute, CUdevice)) \
	X(cuDeviceGetPCIBusId, (char *, int, CUdevice)) \
	X(cuDeviceCanAccessPeer, (int *, CUdevice, CUdevice)) \
	X(cuDevicePrimaryCtxRetain, (CUcontext *, CUdevice)) \
	X(cuDevicePrimaryCtxRelease, (CUdevice)) \
	X(cuCtxSetCurrent, (CUcontext)) \
	X(cuCtxGetCurrent, (CUcontext *)) \
	X(cuCtxSynchronize, (void)) \
	X(cuCtxGetStreamPriorityRange, (int *, int *)) \
	X(cuStreamCreateWithPriority, (CUstream *, unsigned int, int)) \
	X(cuStreamDestroy, (CUstream)) \
	X(cuStreamWaitEvent, (CUstream, CUevent, unsigned int)) \
	X(cuStreamQuery, (CUstream)) \
	X(cuThreadExchangeStreamCaptureMode, (CUstreamCaptureMode *)) \
	X(cuLaunchHostFunc, (CUstream, CUhostFn, void *)) \
	X(cuEventCreate, (CUevent *, unsigned int)) \
	X(cuEventDestroy, (CUevent)) \
	X(cuEventRecord, (CUevent, CUstream)) \
	X(cuEventQuery, (CUevent)) \
	X(cuMemPoolCreate, (CUmemoryPool *, const CUmemPoolProps *)) \
	X(cuMemPoolDestroy, (CUmemoryPool)) \
	X(cuMemPoolSetAttribute, (CUmemoryPool, CUmemPool_attribute, void *)) \
	X(cuMemPoolGetAttribute, (CUmemoryPool, CUmemPool_attribute, void *)) \
	X(cuMemPoolSetAccess, (CUmemoryPool, const CUmemAccessDesc *, size_t)) \
	X(cuMemPoolTrimTo, (CUmemoryPool, size_t)) \
	X(cuMemAllocFromPoolAsync, (CUdeviceptr *, size_t, CUmemoryPool, CUstream)) \
	X(cuMemFreeAsync, (CUdeviceptr, CUstream)) \
	X(cuMemHostAlloc, (void **, size_t, unsigned int)) \
	X(cuMemFreeHost, (void *)) \
	X(cuMemHostRegister, (void *, size_t, unsigned int)) \
	X(cuMemHostUnregister, (void *)) \
	X(cuMemcpyHtoDAsync, (CUdeviceptr, const void *, size_t, CUstream)) \
	X(cuMemcpyDtoHAsync, (void *, CUdeviceptr, size_t, CUstream)) \
	X(cuMemcpyDtoDAsync, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) \
	X(cuMemcpyPeerAsync, (CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, size_t, CUstream)) \
	X(cuMemsetD8Async, (CUdeviceptr, unsigned char, size_t, CUstream)) \
	X(cuModuleLoadData, (CUmodule *, const void *)) \
	X(cuModuleUnload, (CUmodule)) \
	X(cuModuleGetFunction, (CUfunction *, CUmodule, const char *)) \
	X(cuFuncGetAttribute, (int *, CUfunction_attribute, CUfunction)) \
	X(cuFuncSetAttribute, (CUfunction, CUfunction_attribute, int)) \
	X(cuLaunchKernel, \
	  (CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, \
	   unsigned int, unsigned int, CUstream, void **, void **)) \
	X(cuGraphCreate, (CUgraph *, unsigned int)) \
	X(cuGraphDestroy, (CUgraph)) \
	X(cuGraphAddKernelNode, \
	  (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const CUDA_KERNEL_NODE_PARAMS *)) \
	X(cuGraphAddMemcpyNode, \
	  (CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const CUDA_MEMCPY3D *, CUcontext)) \
	X(cuGraphInstantiate, (CUgraphExec *, CUgraph, unsigned long long)) \
	X(cuGraphExecDestroy, (CUgraphExec)) \
	X(cuGraphLaunch, (CUgraphExec, CUstream))

struct wf_cuda_api {
#define WF_CUDA_MEMBER(name, parameters) CUresult(*name) parameters;
	WF_CUDA_API(WF_CUDA_MEMBER)
#undef WF_CUDA_MEMBER
};

#endif /* WF_DRIVER_API_H */
