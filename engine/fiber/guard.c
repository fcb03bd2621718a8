/*
 * guard.c: what stops an overflow: three kinds of guard.
 *
 * MADV_GUARD_INSTALL (Linux 6.13) marks pages as faulting inside a mapping, without splitting it:
 * any number of stacks are one mapping. mprotect() splits: two mappings a stack, and the kernel
 * allows about 65,000 a process, so that the embedder's own mappings must be thought of. Beyond
 * that, and where neither works, a canary at the low end of the stack tells afterwards.
 *
 * An emulator or a filter may answer "done" to an madvise() that it does not know, so the answer
 * is not believed: the kernel is asked to write to the page, which fails with EFAULT instead of a
 * signal when the guard holds.
 *
 * Shared: `wf_guard_budget`, written by whoever creates the first pool, with a value that is the
 * same for all; `mprotect_count`, regions of all pools, added to and taken from by anybody.
 */
#include "stacks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

/* The kernel's default, for when /proc does not say. */
#define MAP_COUNT_DEFAULT 65530u
/* Guards may take at most half of the mappings: a quarter as many, at two mappings each. */
#define MAP_COUNT_SHARE   4u

#define CANARY_PATTERN    0x5af7c0ffee11a3c5ull

struct wf_a32 wf_guard_budget;
static struct wf_a32 mprotect_count;

static uint32_t read_map_count(void)
{
	char text[32];
	ssize_t length = -1;
	unsigned long value;
	int fd = wf_fault(WF_FAULT_FILE) ? -1
					 : open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		length = read(fd, text, sizeof(text) - 1);
		(void)close(fd);
	}
	if (length <= 0)
		return MAP_COUNT_DEFAULT;
	text[length] = '\0';
	value = strtoul(text, NULL, 10);
	if (value == 0)
		return MAP_COUNT_DEFAULT;
	return value < INT32_MAX ? (uint32_t)value : (uint32_t)INT32_MAX;
}

static uint32_t budget(void)
{
	/* relaxed: all writers write the same, and nothing hangs on it. */
	uint32_t value = wf_load_relaxed(&wf_guard_budget);

	if (value == 0) {
		value = read_map_count() / MAP_COUNT_SHARE + 1;
		/* relaxed: as above. */
		wf_store_relaxed(&wf_guard_budget, value);
	}
	return value;
}

static bool install_mprotect(char *at, size_t bytes)
{
	/* relaxed: a number is drawn; the regions themselves are under the pools' locks. */
	if (wf_add_relaxed(&mprotect_count, 1) < budget() && !wf_fault(WF_FAULT_MMAP) &&
	    mprotect(at, bytes, PROT_NONE) == 0)
		return true;
	/* relaxed: the number is put back. */
	(void)wf_add_relaxed(&mprotect_count, UINT32_MAX);
	return false;
}

bool wf_guard_install(enum wf_guard kind, char *at, size_t bytes)
{
	WF_CHECK(at != NULL && bytes != 0);
	switch (kind) {
	case WF_GUARD_MADVISE:
		return !wf_fault(WF_FAULT_MMAP) && madvise(at, bytes, MADV_GUARD_INSTALL) == 0;
	case WF_GUARD_MPROTECT:
		return install_mprotect(at, bytes);
	case WF_GUARD_AUTO:
	case WF_GUARD_CANARY:
		break;
	}
	return false;
}

void wf_guard_release(enum wf_guard kind, uint32_t count)
{
	/* relaxed: numbers are put back. */
	if (kind == WF_GUARD_MPROTECT)
		(void)wf_add_relaxed(&mprotect_count, 0u - count);
}

static bool faults(char *at)
{
	return syscall(SYS_getrandom, at, (size_t)1, 0u) == -1 && errno == EFAULT;
}

static bool works(enum wf_guard kind, char *at, size_t bytes)
{
	bool installed = wf_guard_install(kind, at, bytes);
	bool good = installed && faults(at) && faults(at + bytes - 1);

	/* The pool installs the region once more when it hands the stack out. */
	if (installed)
		wf_guard_release(kind, 1);
	return good;
}

int wf_guard_choose(enum wf_guard wanted, char *at, size_t bytes, enum wf_guard *chosen)
{
	enum wf_guard kind = wanted == WF_GUARD_AUTO ? WF_GUARD_MADVISE : wanted;

	WF_CHECK((unsigned int)wanted <= WF_GUARD_CANARY);
	while (kind != WF_GUARD_CANARY && !works(kind, at, bytes)) {
		if (wanted != WF_GUARD_AUTO)
			return -ENOTSUP;
		kind = (enum wf_guard)(kind + 1);
	}
	*chosen = kind;
	return 0;
}

/*
 * A line of words and not one, because a frame may skip words that it never writes; each word
 * differs, so that a block of equal bytes does not pass.
 */
void wf_canary_write(uint64_t *canary)
{
	WF_DEBUG((uintptr_t)canary % 64 == 0);
	for (uint64_t i = 0; i < WF_CANARY_WORDS; i++)
		canary[i] = CANARY_PATTERN * (2 * i + 1);
}

/* Reads the stack of a suspended or idle flow: not instrumented, the frames' poison is on it. */
WF_NOT_INSTRUMENTED
bool wf_canary_intact(const uint64_t *canary)
{
	uint64_t differing = 0;

	for (uint64_t i = 0; i < WF_CANARY_WORDS; i++)
		differing |= canary[i] ^ (CANARY_PATTERN * (2 * i + 1));
	return differing == 0;
}
