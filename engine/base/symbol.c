/*
 * symbol.c: what a function is called.
 *
 * dladdr() looks through all that a library exports, 0.3 ms where that are 50,000 names, and a
 * cancelled flood asks for each of its tasks. So each thread remembers the last few, for as long as
 * nothing has been unloaded: afterwards another function may stand at an address.
 */
#include <dlfcn.h>
#include <link.h>

#include "base.h"

#define SLOTS 8u /* a power of two */

static int count_unloads(struct dl_phdr_info *info, size_t size, void *unloads)
{
	WF_DEBUG(size > offsetof(struct dl_phdr_info, dlpi_subs));
	*(uint64_t *)unloads = info->dlpi_subs;
	return 1;
}

/* Whether it is in the program itself, which nobody can unload. */
static bool is_programs_own(const void *function)
{
#if __GLIBC_PREREQ(2, 35)
	struct dl_find_object object;

	return _dl_find_object((void *)(uintptr_t)function, &object) == 0 &&
		object.dlfo_link_map->l_name[0] == '\0';
#else
	(void)function;
	return false;
#endif
}

const char *wf_symbol_name(const void *function)
{
	static _Thread_local struct {
		const void *function;
		const char *name;
		uint64_t unloads;
	} slots[SLOTS], *slot;
	uint64_t unloads = UINT64_MAX;
	Dl_info info;

	WF_CHECK(function);
	if (!is_programs_own(function))
		dl_iterate_phdr(count_unloads, &unloads);
	slot = &slots[((uintptr_t)function >> 4) % SLOTS];
	if (slot->function != function || slot->unloads != unloads) {
		slot->name = dladdr(function, &info) ? info.dli_sname : NULL;
		slot->function = function;
		slot->unloads = unloads;
	}
	WF_DEBUG(slot->function == function);
	return slot->name;
}
