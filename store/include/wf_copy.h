/*
 * wf_copy.h: copies into the store by the best kernel for the size.
 */
#ifndef WF_COPY_H
#define WF_COPY_H

#include <stddef.h>

/*
 * Copy into the store: the kernel is chosen once by CPU, plain memcpy where there is none better.
 * As memcpy() otherwise; `src` may be NULL when `size` is 0.
 */
void wf_copy_into(void *dst, const void *src, size_t size);
/* Its name for this size, for the log and the bench: "memcpy", "rep movsb", "non-temporal". */
const char *wf_copy_kernel(size_t size);

#endif /* WF_COPY_H */
