/*
 * sim_memory.h: memory of one simulated device.
 *
 * The device's addresses are a mapping without any access, so a host that follows one faults as it
 * would with a real card. The same pages are mapped once more where the simulation works on them.
 * Blocks are taken first fit; their bytes are poisoned when they are taken and when they are freed.
 * There are four times as many addresses as bytes, so that gaps between blocks are no reason to
 * refuse one, as they are none for a pool that maps pages together.
 * Not locked: the caller is.
 */
#ifndef WF_SIM_MEMORY_H
#define WF_SIM_MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct wf_sim_block;

struct wf_sim_memory {
	char *device; /* no access */
	char *host;   /* the same bytes */
	uint64_t bytes, span, limit, used, peak;
	struct wf_sim_block *blocks; /* in use, by address */
	int fd;
};

int wf_sim_memory_init(struct wf_sim_memory *memory, uint64_t bytes); /* 0, -errno */
void wf_sim_memory_fini(struct wf_sim_memory *memory);
/* 0; -ENOMEM past the limit, no gap that is long enough, or no memory for the block's record. */
int wf_sim_memory_alloc(struct wf_sim_memory *memory, uint64_t bytes, uint64_t *address);
/* False: no block begins there. */
bool wf_sim_memory_free(struct wf_sim_memory *memory, uint64_t address);
/* Whether a block begins there. */
bool wf_sim_memory_has(const struct wf_sim_memory *memory, uint64_t address);
/* NULL unless [address, address + bytes) lies within one block. */
void *wf_sim_memory_pointer(const struct wf_sim_memory *memory, uint64_t address, uint64_t bytes);

#endif /* WF_SIM_MEMORY_H */
