/*
 * prototypes_layout.h: what of the driver API's structs is compared, for prototypes.c with NVIDIA's
 * header and prototypes_ours.c with our own.
 */
#ifndef WEFT_TESTS_PROTOTYPES_LAYOUT_H
#define WEFT_TESTS_PROTOTYPES_LAYOUT_H

#include <stddef.h>

#define LAYOUT_COUNT 15
/* clang-format off */
#define LAYOUT \
	sizeof(CUmemPoolProps), \
	offsetof(CUmemPoolProps, location), \
	offsetof(CUmemPoolProps, maxSize), \
	sizeof(CUDA_KERNEL_NODE_PARAMS), \
	offsetof(CUDA_KERNEL_NODE_PARAMS, sharedMemBytes), \
	offsetof(CUDA_KERNEL_NODE_PARAMS, kernelParams), \
	offsetof(CUDA_KERNEL_NODE_PARAMS, ctx), \
	sizeof(CUdeviceptr), \
	sizeof(CUmemAccessDesc), \
	offsetof(CUmemAccessDesc, flags), \
	sizeof(CUDA_MEMCPY3D), \
	offsetof(CUDA_MEMCPY3D, srcHost), \
	offsetof(CUDA_MEMCPY3D, dstMemoryType), \
	offsetof(CUDA_MEMCPY3D, dstDevice), \
	offsetof(CUDA_MEMCPY3D, WidthInBytes)
/* clang-format on */

extern const size_t weft_our_layout[LAYOUT_COUNT];

#endif /* WEFT_TESTS_PROTOTYPES_LAYOUT_H */
