/*
 * copy.h: the copy kernels one by one, for tests and measurements. All are as memcpy() for ranges
 * that do not overlap. Where the CPU or the build has no such kernel, it is memcpy().
 */
#ifndef WF_COPY_KERNELS_H
#define WF_COPY_KERNELS_H

#include <stddef.h>

void wf_copy_movsb(void *dst, const void *src, size_t size);
void wf_copy_stream_sse2(void *dst, const void *src, size_t size);
void wf_copy_stream_avx2(void *dst, const void *src, size_t size);
void wf_copy_stream_avx512(void *dst, const void *src, size_t size);

#endif /* WF_COPY_KERNELS_H */
