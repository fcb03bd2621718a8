/*
 * dlopen.c: libweft.so in a program that knows nothing of it.
 *
 * Goal: the library loads at run time (no static TLS that does not fit, no allocator of its own),
 * runs a task and can be left. Method: a program that is not linked with weft gets the path as its
 * argument, finds seven functions by name, and sums in a task; then again after unloading.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include <weft.h>

static __typeof__(weft_return) *do_return;
static __typeof__(weft_task_arg) *do_arg;

static int twice(weft_task *self)
{
	int value = *(int *)do_arg(self, NULL) * 2;

	return do_return(self, &value, sizeof value);
}

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises it. */
static void find(void *library, const char *name, void *slot)
{
	*(void **)slot = dlsym(library, name);
	if (!*(void **)slot) {
		fprintf(stderr, "%s is not exported\n", name);
		exit(1);
	}
}

static int round_trip(const char *path)
{
	__typeof__(weft_open) *do_open;
	__typeof__(weft_spawn) *do_spawn;
	__typeof__(weft_take) *do_take;
	__typeof__(weft_close) *do_close;
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	int value = 21;
	weft *rt;
	weft_ref ref;

	if (!library) {
		fprintf(stderr, "dlopen: %s\n", dlerror());
		return 1;
	}
	find(library, "weft_open", &do_open);
	find(library, "weft_spawn", &do_spawn);
	find(library, "weft_take", &do_take);
	find(library, "weft_close", &do_close);
	find(library, "weft_return", &do_return);
	find(library, "weft_task_arg", &do_arg);
	if (do_open(&rt, WEFT_OPTIONS(.workers = 2)) != 0)
		return 1;
	if (do_spawn(rt, twice, &value, sizeof value, &ref) != 0)
		return 1;
	if (do_take(rt, ref, &value, sizeof value) != (int64_t)sizeof value || value != 42) {
		fprintf(stderr, "wrong value %d\n", value);
		return 1;
	}
	if (do_close(rt, WEFT_FOREVER) != 0)
		return 1;
	return dlclose(library);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	for (int i = 0; i < 3; i++) {
		if (round_trip(argv[1]) != 0)
			return 1;
	}
	return 0;
}
