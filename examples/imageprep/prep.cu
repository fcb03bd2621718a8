/*
 * prep.cu: the kernel of prep.h: a thread for each place of the planes.
 */
#include "prep.h"

extern "C" __global__ void prep_image(struct prep_image image)
{
	uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;

	if (i < image.side * image.side)
		prep_pixel(&image, (const uint8_t *)image.from, (uint16_t *)image.to, i);
}
