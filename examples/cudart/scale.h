/*
 * scale.h: what the C side of this example sees of its CUDA side.
 */
#ifndef SCALE_H
#define SCALE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* data[i] = factor * data[i] + i, by a kernel in `stream`, a cudaStream_t. 0, or a cudaError_t. */
int scale_launch(void *stream, float *data, size_t n, float factor);

#ifdef __cplusplus
}
#endif

#endif /* SCALE_H */
