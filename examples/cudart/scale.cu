/*
 * scale.cu: a kernel as users write them, launched by the CUDA runtime in the stream that weft
 * has granted. Compiled by nvcc, linked by the C compiler.
 */
#include "scale.h"

#include <cuda_runtime.h>

__global__ void scale(float *data, size_t n, float factor)
{
	size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;

	if (i < n)
		data[i] = factor * data[i] + (float)i;
}

extern "C" int scale_launch(void *stream, float *data, size_t n, float factor)
{
	scale<<<(unsigned int)((n + 255) / 256), 256, 0, (cudaStream_t)stream>>>(data, n, factor);
	return (int)cudaGetLastError();
}
