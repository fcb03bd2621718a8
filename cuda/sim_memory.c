/*
 * sim_memory.c: see sim_memory.h.
 */
#include "sim_memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base.h"

#define ALIGN  256u
#define POISON 0xa5
#define SPAN   4u

struct wf_sim_block {
	struct wf_sim_block *next;
	uint64_t offset, bytes; /* as asked for */
};

static uint64_t padded(uint64_t bytes)
{
	return (bytes + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
}

int wf_sim_memory_init(struct wf_sim_memory *memory, uint64_t bytes)
{
	*memory = (struct wf_sim_memory){
		.bytes = bytes, .span = SPAN * bytes, .limit = bytes, .fd = -1
	};
	memory->fd = wf_fault(WF_FAULT_FILE) ? -1 : memfd_create("weft-sim", MFD_CLOEXEC);
	if (memory->fd < 0 || ftruncate(memory->fd, (off_t)memory->span)) {
		wf_sim_memory_fini(memory);
		return -ENOMEM;
	}
	if (!wf_fault(WF_FAULT_MMAP))
		memory->device = mmap(NULL, memory->span, PROT_NONE, MAP_SHARED, memory->fd, 0);
	if (memory->device && memory->device != MAP_FAILED)
		memory->host = mmap(NULL, memory->span, PROT_READ | PROT_WRITE,
		                    MAP_SHARED | MAP_NORESERVE, memory->fd, 0);
	if (!memory->host || memory->host == MAP_FAILED) {
		wf_sim_memory_fini(memory);
		return -ENOMEM;
	}
	return 0;
}

void wf_sim_memory_fini(struct wf_sim_memory *memory)
{
	while (memory->blocks) {
		struct wf_sim_block *block = memory->blocks;

		memory->blocks = block->next;
		wf_free(block);
	}
	if (memory->device && memory->device != MAP_FAILED)
		munmap(memory->device, memory->span);
	if (memory->host && memory->host != MAP_FAILED)
		munmap(memory->host, memory->span);
	if (memory->fd >= 0)
		close(memory->fd);
	*memory = (struct wf_sim_memory){ .fd = -1 };
}

int wf_sim_memory_alloc(struct wf_sim_memory *memory, uint64_t bytes, uint64_t *address)
{
	struct wf_sim_block **at = &memory->blocks;
	uint64_t offset = 0, size = padded(bytes);

	WF_CHECK(memory->used <= memory->bytes);
	if (!bytes || size < bytes || size > memory->bytes || memory->used + size > memory->limit)
		return -ENOMEM;
	while (*at && (*at)->offset - offset < size) {
		offset = (*at)->offset + padded((*at)->bytes);
		at = &(*at)->next;
	}
	if (memory->span - offset < size)
		return -ENOMEM;
	struct wf_sim_block *block = wf_malloc(sizeof(*block));

	if (!block)
		return -ENOMEM;
	*block = (struct wf_sim_block){ *at, offset, bytes };
	*at = block;
	WF_CHECK(!block->next || block->next->offset >= offset + size);
	memset(memory->host + offset, POISON, bytes);
	memory->used += size;
	if (memory->used > memory->peak)
		memory->peak = memory->used;
	*address = (uint64_t)(uintptr_t)memory->device + offset;
	return 0;
}

static struct wf_sim_block **find(const struct wf_sim_memory *memory, uint64_t offset)
{
	struct wf_sim_block *const *at = &memory->blocks;

	while (*at && (*at)->offset != offset)
		at = &(*at)->next;
	return (struct wf_sim_block **)(uintptr_t)at;
}

bool wf_sim_memory_has(const struct wf_sim_memory *memory, uint64_t address)
{
	return *find(memory, address - (uint64_t)(uintptr_t)memory->device) != NULL;
}

bool wf_sim_memory_free(struct wf_sim_memory *memory, uint64_t address)
{
	struct wf_sim_block **at = find(memory, address - (uint64_t)(uintptr_t)memory->device);
	struct wf_sim_block *block = *at;

	if (!block)
		return false;
	*at = block->next;
	WF_CHECK(memory->used >= padded(block->bytes));
	memory->used -= padded(block->bytes);
	memset(memory->host + block->offset, POISON, block->bytes);
	wf_free(block);
	return true;
}

void *wf_sim_memory_pointer(const struct wf_sim_memory *memory, uint64_t address, uint64_t bytes)
{
	uint64_t offset = address - (uint64_t)(uintptr_t)memory->device;

	if (offset >= memory->span)
		return NULL;
	for (const struct wf_sim_block *block = memory->blocks; block; block = block->next) {
		if (offset < block->offset || offset - block->offset >= block->bytes)
			continue;
		if (bytes > block->bytes - (offset - block->offset))
			return NULL;
		return memory->host + offset;
	}
	return NULL;
}
