/*
 * devices.h: what weft_cuda_open() gives and weft_open() takes: a back end that is open.
 *
 * Shared: `users` by exchanges; `bell`, see engine/gpu. Everything else is fixed when it is made.
 */
#ifndef WF_DEVICES_H
#define WF_DEVICES_H

#include <pthread.h>

#include "base.h"
#include "device.h"
#include "weft_cuda.h"

struct weft_cuda {
	const struct wf_device_ops *ops;
	struct wf_device_backend *backend;
	uint32_t count;
	uint32_t ahead_max;
	int64_t hang_ns;
	uint64_t slot_bytes; /* of a staging ring's slots */
	uint64_t pin_bytes;  /* of the store that may be registered */
	struct wf_a32 used; /* by a runtime */
	/*
	 * What doorbells are given: it outlives the runtime that they wake, because the last may
	 * ring late.
	 */
	struct wf_bell {
		pthread_mutex_t mutex;
		weft *rt; /* under the mutex; NULL: nobody wants to know */
		struct wf_a32 armed;
		struct wf_a64 rung;
	} bell[WEFT_GPUS_MAX];
};

#endif /* WF_DEVICES_H */
