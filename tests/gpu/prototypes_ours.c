/*
 * prototypes_ours.c: the layout of our own structs, for prototypes.c, which has NVIDIA's.
 */
#include "driver_api.h"

extern const size_t weft_our_layout[15];
const size_t weft_our_layout[15] = { sizeof(CUmemPoolProps),
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
