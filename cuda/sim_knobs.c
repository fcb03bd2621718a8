/*
 * sim_knobs.c: what tests do to simulated devices, and see of them.
 */
#include <string.h>

#include "sim_inner.h"

void wf_sim_fault(struct wf_device_backend *backend, enum wf_sim_fault kind, uint64_t nth, int code)
{
	WF_CHECK((unsigned int)kind < WF_SIM_FAULT_KINDS && (code < 0 || !nth));
	sim_lock(backend);
	backend->fault[kind] = (struct sim_fault){ .nth = nth, .code = code };
	sim_unlock(backend);
}

uint64_t wf_sim_fault_count(struct wf_device_backend *backend, enum wf_sim_fault kind)
{
	WF_CHECK((unsigned int)kind < WF_SIM_FAULT_KINDS);
	sim_lock(backend);
	uint64_t count = backend->fault[kind].count;

	sim_unlock(backend);
	return count;
}

void wf_sim_refuse_register(struct wf_device_backend *backend, bool refuse)
{
	sim_lock(backend);
	backend->refuse = refuse;
	sim_unlock(backend);
}

void wf_sim_stray(struct wf_device_backend *backend, uint32_t device, bool stray)
{
	WF_CHECK(device < backend->devices);
	sim_lock(backend);
	backend->device[device].stray = stray;
	sim_unlock(backend);
}

bool wf_sim_step(struct wf_device_backend *backend)
{
	sim_lock(backend);
	bool any = wf_sim_perform_one(backend);

	sim_unlock(backend);
	return any;
}

void wf_sim_clock(struct wf_device_backend *backend, int64_t (*now)(void *arg), void *arg)
{
	sim_lock(backend);
	backend->now = now;
	backend->now_arg = arg;
	sim_unlock(backend);
}

void *wf_sim_pointer(struct wf_device_backend *backend, uint64_t address, uint64_t bytes)
{
	void *pointer = NULL;

	sim_lock(backend);
	for (uint32_t i = 0; i < backend->devices && !pointer; i++)
		pointer = wf_sim_memory_pointer(&backend->device[i].memory, address, bytes);
	sim_unlock(backend);
	return pointer;
}

void wf_sim_stats(struct wf_device_backend *backend, struct wf_sim_stats *stats)
{
	sim_lock(backend);
	*stats = backend->stats;
	for (uint32_t i = 0; i < backend->devices; i++) {
		stats->memory_used += backend->device[i].memory.used;
		stats->memory_peak += backend->device[i].memory.peak;
	}
	sim_unlock(backend);
}
