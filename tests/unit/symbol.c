/*
 * Goal: a function has the name that dladdr() gives it, also when one has been asked for before and
 * its library has gone and another one stands where it was.
 * Method: two libraries with the same layout and other names, loaded in turn; functions of this
 * program and of libc; more of them than are remembered.
 */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "test.h"

static void *load(const char *path, const char *name, const void **function)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	cr_assert_not_null(library, "%s", dlerror());
	*function = dlsym(library, name);
	cr_assert_not_null(*function);
	return library;
}

Test(symbol, a_library_that_has_gone_is_forgotten)
{
	const void *first, *second;
	int same_place = 0;

	for (int i = 0; i < 10; i++) {
		void *library = load(FIRST, "symbol_first", &first);

		for (int twice = 0; twice < 2; twice++)
			cr_assert_str_eq(wf_symbol_name(first), "symbol_first");
		cr_assert_eq(dlclose(library), 0);
		library = load(SECOND, "symbol_second", &second);
		same_place += first == second;
		for (int twice = 0; twice < 2; twice++)
			cr_assert_str_eq(wf_symbol_name(second), "symbol_second");
		cr_assert_eq(dlclose(library), 0);
	}
	if (!same_place)
		test_skip("libraries are never loaded where another was");
	cr_assert_null(wf_symbol_name(second));
}

Test(symbol, each_of_many_has_its_own)
{
	static const char *const names[] = { "malloc",
		                             "free",
		                             "strlen",
		                             "memcpy",
		                             "qsort",
		                             "getenv",
		                             "abort",
		                             "write",
		                             "read",
		                             "open",
		                             "fopen",
		                             "fclose",
		                             "strcmp",
		                             "memset",
		                             "rand",
		                             "pthread_mutex_lock",
		                             "pthread_mutex_unlock" };

	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
			const void *function = dlsym(RTLD_DEFAULT, names[i]);
			Dl_info info;

			cr_assert_not_null(function);
			cr_assert_neq(dladdr(function, &info), 0);
			/* What libc chooses by the processor has no name of its own. */
			if (info.dli_sname)
				cr_assert_str_eq(wf_symbol_name(function), info.dli_sname);
			else
				cr_assert_null(wf_symbol_name(function));
		}
	}
}

/* Not in the table of dynamic symbols: no name, and not that of a neighbour. */
static int nobodys(void)
{
	return 1;
}

Test(symbol, what_is_not_exported_has_none)
{
	Dl_info info;
	const void *function = (const void *)(uintptr_t)nobodys;

	cr_assert_neq(dladdr(function, &info), 0);
	cr_assert_null(info.dli_sname);
	cr_assert_null(wf_symbol_name(function));
	cr_assert_null(wf_symbol_name(&info));
}
