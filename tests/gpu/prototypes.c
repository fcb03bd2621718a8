/*
 * Goal: our prototypes of the driver API are NVIDIA's. Method: compiled with NVIDIA's header where
 * a toolkit is installed; types of every entry are compared by the compiler, values and the layout
 * of structs here (ours come from prototypes_ours.c).
 */
#include <stddef.h>
#include <stdio.h>

#ifdef HAVE_CUDA_H
#include <cuda.h>
#define WF_CUDA_TYPES
#include "driver_api.h"

#define SAME(name, parameters) \
	_Static_assert(__builtin_types_compatible_p(__typeof__(&name), CUresult(*) parameters), \
	               #name);
WF_CUDA_API(SAME)

#define VALUE(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours)
VALUE(WF_CU_SUCCESS, CUDA_SUCCESS);
VALUE(WF_CU_INVALID_VALUE, CUDA_ERROR_INVALID_VALUE);
VALUE(WF_CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
VALUE(WF_CU_DEINITIALIZED, CUDA_ERROR_DEINITIALIZED);
VALUE(WF_CU_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY);
VALUE(WF_CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
VALUE(WF_CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE);
VALUE(WF_CU_NO_BINARY, CUDA_ERROR_NO_BINARY_FOR_GPU);
VALUE(WF_CU_ECC, CUDA_ERROR_ECC_UNCORRECTABLE);
VALUE(WF_CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX);
VALUE(WF_CU_NVLINK, CUDA_ERROR_NVLINK_UNCORRECTABLE);
VALUE(WF_CU_PTX_VERSION, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
VALUE(WF_CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND);
VALUE(WF_CU_NOT_READY, CUDA_ERROR_NOT_READY);
VALUE(WF_CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS);
VALUE(WF_CU_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_TIMEOUT);
VALUE(WF_CU_CONTEXT_DESTROYED, CUDA_ERROR_CONTEXT_IS_DESTROYED);
VALUE(WF_CU_ASSERT, CUDA_ERROR_ASSERT);
VALUE(WF_CU_HARDWARE_STACK, CUDA_ERROR_HARDWARE_STACK_ERROR);
VALUE(WF_CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED);
VALUE(WF_CU_NOT_SUPPORTED, CUDA_ERROR_NOT_SUPPORTED);
VALUE(WF_CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING);
VALUE(WF_CU_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING);
VALUE(WF_CU_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
VALUE(WF_CU_HOST_PORTABLE, CU_MEMHOSTREGISTER_PORTABLE);
VALUE(WF_CU_ATTRIBUTE_INTEGRATED, CU_DEVICE_ATTRIBUTE_INTEGRATED);
VALUE(WF_CU_ATTRIBUTE_ASYNC_ENGINES, CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT);
VALUE(WF_CU_ATTRIBUTE_MEMORY_POOLS, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED);
VALUE(WF_CU_ALLOCATION_PINNED, CU_MEM_ALLOCATION_TYPE_PINNED);
VALUE(WF_CU_LOCATION_DEVICE, CU_MEM_LOCATION_TYPE_DEVICE);
VALUE(WF_CU_POOL_RELEASE_THRESHOLD, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD);
VALUE(WF_CU_POOL_USED_CURRENT, CU_MEMPOOL_ATTR_USED_MEM_CURRENT);
VALUE(WF_CU_ACCESS_READ_WRITE, CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
VALUE(WF_CU_MEMORY_HOST, CU_MEMORYTYPE_HOST);
VALUE(WF_CU_MEMORY_DEVICE, CU_MEMORYTYPE_DEVICE);

extern const size_t weft_our_layout[15];

int main(void)
{
	const size_t theirs[15] = { sizeof(CUmemPoolProps),
		                    offsetof(CUmemPoolProps, location),
		                    offsetof(CUmemPoolProps, maxSize),
		                    sizeof(CUDA_KERNEL_NODE_PARAMS),
		                    offsetof(CUDA_KERNEL_NODE_PARAMS, sharedMemBytes),
		                    offsetof(CUDA_KERNEL_NODE_PARAMS, kernelParams),
		                    offsetof(CUDA_KERNEL_NODE_PARAMS, ctx),
		                    sizeof(CUdeviceptr),
		                    sizeof(CUmemAccessDesc),
		                    offsetof(CUmemAccessDesc, flags),
		                    sizeof(CUDA_MEMCPY3D),
		                    offsetof(CUDA_MEMCPY3D, srcHost),
		                    offsetof(CUDA_MEMCPY3D, dstMemoryType),
		                    offsetof(CUDA_MEMCPY3D, dstDevice),
		                    offsetof(CUDA_MEMCPY3D, WidthInBytes) };
	int bad = 0;

	bad += (CUstream)WF_CU_STREAM_LEGACY != CU_STREAM_LEGACY;
	bad += (CUstream)WF_CU_STREAM_PER_THREAD != CU_STREAM_PER_THREAD;

	for (int i = 0; i < 15; i++) {
		if (weft_our_layout[i] != theirs[i])
			fprintf(stderr, "layout %d: %zu, NVIDIA's %zu\n", i, weft_our_layout[i],
			        theirs[i]);
		bad += weft_our_layout[i] != theirs[i];
	}
	return bad != 0;
}
#else
int main(void)
{
	fprintf(stderr, "skipped: no cuda.h to compare with\n");
	return 77;
}
#endif
