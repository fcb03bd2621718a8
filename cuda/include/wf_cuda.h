/*
 * wf_cuda.h: the device back ends of this room, for whoever opens a runtime with devices.
 */
#ifndef WF_CUDA_H
#define WF_CUDA_H

#include "device.h"

/*
 * Simulated devices: threads of this process, memory that the host cannot touch. Always there.
 * Options of open(), separated by commas, or a number of devices alone; NULL and "" are the
 * defaults. Unknown words and values out of range are -EINVAL.
 *
 *   devices=N      0 to 8                                       1
 *   memory=SIZE    of each device, with K, M or G               256M
 *   threads=N      that perform the work, 1 to 64; 0: none,     2
 *                  wf_sim_step() does it
 *   streams=N      worth having, device_info().streams_max      4
 *   seed=N         of the order of independent work             1
 *   launch_ns=N    model: what every launch and copy costs      5000
 *   copy_mbs=N     model: MB/s of each copy engine              12000
 *   thread_ps=N    model: what each thread of a launch costs    10
 */
const struct wf_device_ops *wf_device_sim(void);

/*
 * CUDA devices, by a driver of version 12.0 or later that is loaded at run time. open() is -ENODEV
 * where there is no driver, an older one, the toolkit's stub, or no card with memory pools.
 * Options: NULL, "", or "library=PATH", another library than libcuda.so.1.
 */
const struct wf_device_ops *wf_device_cuda(void);

#endif /* WF_CUDA_H */
