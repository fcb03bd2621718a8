/*
 * region.c: the files behind the store's memory, their two mappings, and the system calls on
 * ranges of them.
 *
 * One reservation of addresses holds everything: the writable mappings of all nodes one after the
 * other, then the readable ones, each node's file mapped over its part. A file is twice as long as
 * the limit of all memory, and sparse: committing is fallocate(), which fails by an error and not
 * later by a signal; giving back is punching a hole. The files are sealed against shrinking, so no
 * process that was handed a descriptor can take pages away under a reader.
 *
 * Huge pages come by MADV_COLLAPSE, which needs no privilege and no setting, on memory that is
 * committed already. It is refused for good where the kernel is older than 6.1 or huge pages are
 * switched off for the process, and refused now where somebody holds a page or memory is in pieces.
 *
 * Shared: after open everything here is constant but shared->huge_refused (set once, by any
 * thread) and the contents of the files, whose ranges are guarded by BUSY runs (runs.c).
 */
#include "mem_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008u
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define MPOL_PREFERRED_     1

/* One fallocate() holds the file's lock for this much, 2 to 4 ms: others commit in between. */
#define COMMIT_STEP_BYTES   ((uint64_t)8 << 20)
/* Each node's file is so many times the limit, so that pieces in use never fill the addresses. */
#define SPAN_FACTOR         2u
#define OS_NODES_MAX        1024u
#define DEFAULT_LEAST_BYTES ((uint64_t)64 << 20)

void wf_mem_logf(const struct wf_mem *mem, int level, const char *format, ...)
{
	char text[256];
	va_list args;

	if (mem->log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	mem->log(mem->arg, level, text);
}

void wf_mem_mutex_init(pthread_mutex_t *mutex)
{
	pthread_mutexattr_t attributes;

	WF_CHECK(pthread_mutexattr_init(&attributes) == 0);
#ifdef PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
	/* Held for tens of nanoseconds, while a sleep costs tens of microseconds. */
	WF_CHECK(pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP) == 0);
#endif
	WF_CHECK(pthread_mutex_init(mutex, &attributes) == 0);
	pthread_mutexattr_destroy(&attributes);
}

/* ---- Ranges --------------------------------------------------------------------------------- */

static uint64_t bytes_of(uint64_t pages)
{
	return pages * WF_MEM_PAGE_BYTES;
}

static int call_fallocate(int fd, int mode, uint64_t offset, uint64_t bytes)
{
	int result;

	if (mode == 0 && wf_fault(WF_FAULT_FILE))
		return -ENOMEM;
	do {
		result = fallocate(fd, mode, (off_t)offset, (off_t)bytes);
	} while (result != 0 && errno == EINTR);
	return result == 0 ? 0 : -errno;
}

void wf_region_punch(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                     uint32_t count)
{
	int error;

	(void)mem;
	WF_CHECK(count != 0 && (uint64_t)page + count <= node->page_count);
	error = call_fallocate(node->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, bytes_of(page),
	                       bytes_of(count));
	/* It frees; whoever refuses that has been told to, by a seal or a filter. */
	WF_CHECK(error == 0);
}

int wf_region_commit(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                     uint32_t count)
{
	const uint32_t step = (uint32_t)(COMMIT_STEP_BYTES / WF_MEM_PAGE_BYTES);

	WF_CHECK(count != 0 && (uint64_t)page + count <= node->page_count);
	for (uint32_t done = 0; done < count;) {
		uint32_t now = count - done < step ? count - done : step;
		int error =
			call_fallocate(node->fd, 0, bytes_of((uint64_t)page + done), bytes_of(now));

		if (error != 0) {
			/* The call that failed has undone itself. */
			if (done != 0)
				wf_region_punch(mem, node, page, done);
			return error;
		}
		done += now;
	}
	return 0;
}

int wf_region_collapse(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t chunk,
                       uint32_t count)
{
	char *begin = mem->writable + node->offset + (uint64_t)chunk * WF_MEM_CHUNK_BYTES;

	WF_CHECK(count != 0 && (uint64_t)chunk + count <= node->chunk_count);
	if (wf_fault(WF_FAULT_MMAP))
		return -EAGAIN;
	if (madvise(begin, count * WF_MEM_CHUNK_BYTES, MADV_COLLAPSE) == 0)
		return 0;
	return -errno;
}

void wf_region_populate(const struct wf_mem *mem, struct wf_mem_node *node, uint32_t page,
                        uint32_t count)
{
	uint64_t offset = node->offset + bytes_of(page);
	union {
		const char *readable;
		char *advised; /* madvise() takes no const, and changes nothing here */
	} second = { mem->readable + offset };

	WF_CHECK((uint64_t)page + count <= node->page_count);
	(void)madvise(mem->writable + offset, bytes_of(count), MADV_POPULATE_WRITE);
	(void)madvise(second.advised, bytes_of(count), MADV_POPULATE_READ);
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* The system's number of the node that weft calls `index`; -1: not known. */
static int os_node_of(uint32_t index)
{
	const struct wf_topology *topo = wf_topology();
	char path[96];

	if (!topo->bindable)
		return -1;
	for (uint32_t i = 0; i < topo->allowed_count; i++) {
		if (topo->cpus[i].node != index)
			continue;
		for (unsigned int id = 0; id < OS_NODES_MAX; id++) {
			snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%u/node%u",
			         topo->cpus[i].os_index, id);
			if (access(path, F_OK) == 0)
				return (int)id;
		}
		return -1;
	}
	return -1;
}

/*
 * Prefer the node and not more: bound to it, a full node would mean a killed process while others
 * have room.
 */
static void prefer_node(const struct wf_mem *mem, const struct wf_mem_node *node)
{
	unsigned long mask[OS_NODES_MAX / (8 * sizeof(long))] = { 0 };
	int id = os_node_of(node->index);

	if (id >= 0) {
		mask[(size_t)id / (8 * sizeof(long))] = 1ul << ((size_t)id % (8 * sizeof(long)));
		if (syscall(SYS_mbind, mem->writable + node->offset, mem->node_bytes,
		            MPOL_PREFERRED_, mask, OS_NODES_MAX, 0) == 0)
			return;
	}
	wf_mem_logf(mem, WF_MEM_LOG_WARN, "memory of node %u is not bound to it: %s", node->index,
	            id < 0 ? "its number is not known" : strerror(errno));
}

static int make_file(void)
{
	int fd;

	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	fd = memfd_create("weft-store", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	/* Before Linux 6.3 that flag is not known. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("weft-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd >= 0 ? fd : -errno;
}

/* Growing past the limit on file sizes would be answered by a signal as well. */
static bool over_file_limit(uint64_t bytes)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
		bytes > limit.rlim_cur;
}

static int open_read_only(int fd)
{
	char path[64];

	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd >= 0 ? fd : -errno;
}

static int map_file(const struct wf_mem *mem, const struct wf_mem_node *node)
{
	char *second = mem->writable + mem->node_count * mem->node_bytes + node->offset;
	void *p;

	if (wf_fault(WF_FAULT_MMAP))
		return -ENOMEM;
	p = mmap(mem->writable + node->offset, mem->node_bytes, PROT_READ | PROT_WRITE,
	         MAP_SHARED | MAP_FIXED | MAP_NORESERVE, node->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	if (wf_fault(WF_FAULT_MMAP))
		return -ENOMEM;
	p = mmap(second, mem->node_bytes, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
	         node->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	/* A dump needs the bytes once. */
	(void)madvise(second, mem->node_bytes, MADV_DONTDUMP);
	if (mem->no_huge) {
		(void)madvise(mem->writable + node->offset, mem->node_bytes, MADV_NOHUGEPAGE);
		(void)madvise(second, mem->node_bytes, MADV_NOHUGEPAGE);
	}
	return 0;
}

static int open_node(struct wf_mem *mem, struct wf_mem_node *node, bool bind)
{
	int error;

	WF_CHECK(mem->node_bytes % WF_MEM_CHUNK_BYTES == 0);
	node->page_count = (uint32_t)(mem->node_bytes / WF_MEM_PAGE_BYTES);
	node->chunk_count = (uint32_t)(mem->node_bytes / WF_MEM_CHUNK_BYTES);
	/* Not touched beyond what is used: a sixteenth of a thousandth of the addresses. */
	node->pages = wf_map(node->page_count * sizeof(node->pages[0]), PROT_READ | PROT_WRITE);
	node->chunks = wf_map(node->chunk_count * sizeof(node->chunks[0]), PROT_READ | PROT_WRITE);
	if (node->pages == NULL || node->chunks == NULL)
		return -ENOMEM;
	node->fd = make_file();
	if (node->fd < 0)
		return node->fd;
	if (over_file_limit(mem->node_bytes))
		return -EFBIG;
	if (ftruncate(node->fd, (off_t)mem->node_bytes) != 0 ||
	    fcntl(node->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		return -errno;
	node->read_fd = open_read_only(node->fd);
	error = map_file(mem, node);
	if (error != 0)
		return error;
	if (bind)
		prefer_node(mem, node);
	wf_runs_init(node);
	return 0;
}

static void close_node(const struct wf_mem *mem, struct wf_mem_node *node)
{
	wf_slabs_fini(node);
	if (node->pages != NULL)
		wf_unmap(node->pages, node->page_count * sizeof(node->pages[0]));
	if (node->chunks != NULL)
		wf_unmap(node->chunks, node->chunk_count * sizeof(node->chunks[0]));
	if (node->fd >= 0)
		close(node->fd);
	if (node->read_fd >= 0)
		close(node->read_fd);
	WF_CHECK(node->index < mem->node_count);
	pthread_mutex_destroy(&node->lock);
}

/* Addresses for two mappings of each node; fewer to spare where there are not so many. */
static int reserve(struct wf_mem *mem)
{
	for (uint64_t factor = SPAN_FACTOR; factor >= 1; factor--) {
		uint64_t node_bytes, all;
		uintptr_t begin;

		if (__builtin_mul_overflow(mem->limit_bytes, factor, &node_bytes) ||
		    __builtin_mul_overflow(node_bytes, 2 * (uint64_t)mem->node_count, &all) ||
		    __builtin_add_overflow(all, WF_MEM_CHUNK_BYTES, &all) ||
		    node_bytes / WF_MEM_PAGE_BYTES >= WF_PAGE_NONE || over_file_limit(node_bytes))
			continue;
		mem->reserved = wf_map(all, PROT_NONE);
		if (mem->reserved == NULL)
			continue;
		begin = ((uintptr_t)mem->reserved + WF_MEM_CHUNK_BYTES - 1) &
			~(uintptr_t)(WF_MEM_CHUNK_BYTES - 1);
		mem->writable = (char *)begin;
		mem->readable = mem->writable + mem->node_count * node_bytes;
		mem->reserved_bytes = all;
		mem->node_bytes = node_bytes;
		if (factor < SPAN_FACTOR)
			wf_mem_logf(mem, WF_MEM_LOG_WARN,
			            "few addresses: large objects may not find room");
		return 0;
	}
	return over_file_limit(mem->limit_bytes) ? -EFBIG : -ENOMEM;
}

/* Everything that needs no system call. */
static struct wf_mem *create(const struct wf_mem_options *options)
{
	struct wf_mem *mem = wf_calloc(1, sizeof(*mem));

	if (mem == NULL)
		return NULL;
	mem->limit_bytes =
		(options->limit_bytes + WF_MEM_CHUNK_BYTES - 1) & ~(WF_MEM_CHUNK_BYTES - 1);
	mem->node_count = options->node_count;
	mem->ahead_pages = (options->ahead_bytes / options->node_count + WF_MEM_PAGE_BYTES - 1) /
		WF_MEM_PAGE_BYTES;
	mem->no_huge = options->no_huge;
	mem->memory_left = wf_memory_left;
	mem->log = options->log;
	mem->let_go = options->let_go;
	mem->arg = options->arg;
	mem->nodes = wf_aligned_alloc(WF_CACHE_LINE, options->node_count * sizeof(*mem->nodes));
	mem->shared = wf_calloc(1, sizeof(*mem->shared));
	if (mem->nodes == NULL || mem->shared == NULL) {
		wf_free(mem->nodes);
		wf_free(mem->shared);
		wf_free(mem);
		return NULL;
	}
	memset(mem->nodes, 0, options->node_count * sizeof(*mem->nodes));
	for (uint32_t i = 0; i < mem->node_count; i++) {
		mem->nodes[i].index = i;
		mem->nodes[i].fd = mem->nodes[i].read_fd = -1;
		wf_mem_mutex_init(&mem->nodes[i].lock);
		wf_slabs_init(&mem->nodes[i]);
	}
	wf_mem_mutex_init(&mem->shared->commit_lock);
	wf_mem_mutex_init(&mem->shared->squeeze_lock);
	wf_mem_mutex_init(&mem->shared->caches_lock);
	WF_CHECK(pthread_cond_init(&mem->shared->commit_done, NULL) == 0);
	return mem;
}

int wf_mem_open(struct wf_mem **out, const struct wf_mem_options *options)
{
	struct wf_mem *mem;
	int error;

	if (options->node_count == 0 || options->node_count > WF_NODES_MAX ||
	    options->limit_bytes == 0 || options->limit_bytes > UINT64_MAX / 4)
		return -EINVAL;
	mem = create(options);
	if (mem == NULL)
		return -ENOMEM;
	error = reserve(mem);
	for (uint32_t i = 0; error == 0 && i < mem->node_count; i++) {
		mem->nodes[i].offset = i * mem->node_bytes;
		error = open_node(mem, &mem->nodes[i], options->bind);
	}
	if (error != 0) {
		wf_mem_close(mem);
		return error;
	}
	if (mem->no_huge)
		wf_mem_logf(mem, WF_MEM_LOG_INFO, "small pages, as asked");
	*out = mem;
	return 0;
}

void wf_mem_close(struct wf_mem *mem)
{
	if (mem == NULL)
		return;
	WF_CHECK(mem->shared->caches == NULL && mem->shared->cache_count == 0);
	wf_commit_close(mem);
	for (uint32_t i = 0; i < mem->node_count; i++)
		close_node(mem, &mem->nodes[i]);
	wf_unmap(mem->reserved, mem->reserved_bytes);
	pthread_mutex_destroy(&mem->shared->commit_lock);
	pthread_mutex_destroy(&mem->shared->squeeze_lock);
	pthread_mutex_destroy(&mem->shared->caches_lock);
	pthread_cond_destroy(&mem->shared->commit_done);
	wf_free(mem->shared);
	wf_free(mem->nodes);
	wf_free(mem);
}

/* ---- Looking -------------------------------------------------------------------------------- */

char *wf_mem_writable(const struct wf_mem *mem)
{
	return mem->writable;
}

const char *wf_mem_readable(const struct wf_mem *mem)
{
	return mem->readable;
}

int wf_mem_read_fd(const struct wf_mem *mem, uint32_t node)
{
	WF_CHECK(node < mem->node_count);
	return mem->nodes[node].read_fd;
}

uint32_t wf_mem_node_count(const struct wf_mem *mem)
{
	return mem->node_count;
}

uint64_t wf_mem_node_offset(const struct wf_mem *mem, uint32_t node)
{
	WF_CHECK(node < mem->node_count);
	return mem->nodes[node].offset;
}

uint64_t wf_mem_node_bytes(const struct wf_mem *mem)
{
	return mem->node_bytes;
}

uint64_t wf_mem_default_bytes(const char **why)
{
	uint64_t share = wf_memory_left(why) / 4;

	if (share >= DEFAULT_LEAST_BYTES / 4)
		return share;
	if (why != NULL)
		*why = "less than 64 MiB of memory are left";
	return 0;
}
