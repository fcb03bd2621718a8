/*
 * sim_device.h: what tests can do to simulated devices, and see of them.
 *
 * All calls: any thread; `backend` is one that wf_device_sim()->open() gave.
 */
#ifndef WF_SIM_DEVICE_H
#define WF_SIM_DEVICE_H

#include "device.h"

enum wf_sim_fault {
	WF_SIM_FAULT_CALL = 0, /* the n-th call that can fail answers `code` and does nothing */
	WF_SIM_FAULT_WORK,     /* the n-th piece of work that is performed kills its device */
	WF_SIM_FAULT_HANG,     /* the n-th piece of work is not performed until the close */
	WF_SIM_FAULT_EVENT,    /* from the n-th on no event can be made: `code` */
	WF_SIM_FAULT_PINNED,   /* from the n-th on no pinned memory: `code` */
	WF_SIM_FAULT_QUERY,    /* from the n-th on no event that has passed says so, but `code` */
	WF_SIM_FAULT_PEER,     /* from the n-th on no copy between devices: `code` */
	WF_SIM_FAULT_KINDS
};
/* Arm; `nth` 0 disarms. Counts from now on, one of each kind at a time. */
void wf_sim_fault(struct wf_device_backend *backend, enum wf_sim_fault kind, uint64_t nth,
                  int code);
/* Calls or pieces of work that were counted since. */
uint64_t wf_sim_fault_count(struct wf_device_backend *backend, enum wf_sim_fault kind);
/* Refuse to register host memory from now on (-EPERM), or no more. */
void wf_sim_refuse_register(struct wf_device_backend *backend, bool refuse);

/*
 * With threads=0: perform one piece of work, chosen by the seed among all that may come next.
 * False: nothing may, because all is done, or waits for a hung piece.
 */
bool wf_sim_step(struct wf_device_backend *backend);

/*
 * Events pass no earlier than their time by the model: now(arg) is the clock, and whoever moves it
 * asks again. Without one the clock is what the host has seen pass.
 */
void wf_sim_clock(struct wf_device_backend *backend, int64_t (*now)(void *arg), void *arg);

/* Where the bytes of device memory are, for twins of kernels; NULL: not an address in use. */
void *wf_sim_pointer(struct wf_device_backend *backend, uint64_t address, uint64_t bytes);

/* The device that this thread has entered, -1: none. What a misbehaving body changes. */
int wf_sim_current(void);
void wf_sim_set_current(int device);

/* As if a body had put work into the device's default stream, which is not done yet; or it is. */
void wf_sim_stray(struct wf_device_backend *backend, uint32_t device, bool stray);

#define WF_SIM_ENGINES 4u /* by enum wf_device_stream_kind, then copies between devices */
#define WF_SIM_DEVICES 8u

struct wf_sim_stats {
	uint64_t performed;   /* pieces of work */
	uint64_t pageable;    /* copies that had to wait: host memory was not pinned */
	uint64_t doorbells;   /* rung */
	uint64_t swallowed;   /* doorbells and work that a lost device will not do */
	uint64_t memory_used; /* of all devices, now */
	uint64_t memory_peak;
	uint32_t streams, events; /* that exist */
	int64_t model_ns;         /* when all that was submitted is done, by the model */
	int64_t engine_ns[WF_SIM_ENGINES];    /* busy by the model */
	uint64_t peer_copies;                 /* between devices */
	uint32_t pinned_near[WF_SIM_DEVICES]; /* pieces of pinned memory taken near each device */
};
void wf_sim_stats(struct wf_device_backend *backend, struct wf_sim_stats *stats);

#endif /* WF_SIM_DEVICE_H */
