/*
 * Goal: in a control group with less memory than the store was told to use, nobody is killed: the
 * default fits the group, what does not fit is refused with an error and nothing is lost, and with
 * files to spill to all of it goes through.
 * Method: children in a group of 256 MiB of the system's, where this process may make one; skipped
 * where it may not.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../engine/include/weft_store.h"
#include "api.h"

#define MIB    ((uint64_t)1 << 20)
#define LIMIT  (256 * MIB)
#define OBJECT (4 * MIB)
#define MANY   100u /* objects: 400 MiB */

static char group[256];

static bool write_text(const char *dir, const char *file, const char *text)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool good = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return good;
}

/* A group of this process's own, below the root of a hierarchy that limits memory. */
static bool make_group(void)
{
	static const struct {
		const char *root, *limit, *swap;
	} kinds[] = {
		{ "/sys/fs/cgroup", "memory.max", "memory.swap.max" },
		{ "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes" },
	};
	char bytes[32];

	snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)LIMIT);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(group, sizeof(group), "%s/weft-test-%ld", kinds[i].root, (long)getpid());
		if (mkdir(group, 0700) != 0)
			continue;
		if (write_text(group, kinds[i].limit, bytes)) {
			/* Where there is no swap there is no such file. */
			(void)write_text(group, kinds[i].swap, i == 0 ? "0" : bytes);
			return true;
		}
		rmdir(group);
	}
	return false;
}

static void remove_group(void)
{
	const int64_t start = api_now();

	while (rmdir(group) != 0 && errno == EBUSY)
		api_polling(start, "the group is empty");
}

/* The body in a child that is in the group before it does anything. */
static void in_group(const char *what, void (*body)(void))
{
	int gate[2], status = 0;
	char pid[32], byte = 0;
	pid_t child;

	API_CHECK(pipe(gate) == 0);
	child = fork();
	API_CHECK(child >= 0);
	if (child == 0) {
		close(gate[1]);
		API_CHECK(read(gate[0], &byte, 1) == 1);
		body();
		_Exit(0);
	}
	snprintf(pid, sizeof(pid), "%ld", (long)child);
	API_CHECK(write_text(group, "cgroup.procs", pid));
	API_CHECK(write(gate[1], &byte, 1) == 1);
	close(gate[0]);
	close(gate[1]);
	API_CHECK(waitpid(child, &status, 0) == child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	fprintf(stderr, "%s: wait status 0x%x\n", what, (unsigned int)status);
	remove_group();
	exit(1);
}

static weft *open_with(uint64_t store_bytes, const char *spill_dirs)
{
	weft *rt = NULL;

	API_CHECK(weft_open(&rt,
	                    WEFT_OPTIONS(.workers = 2, .store_bytes = store_bytes,
	                                 .spill_dirs = spill_dirs)) == 0);
	return rt;
}

static int put(weft *rt, uint64_t seed, weft_ref *ref)
{
	struct weft_buffer buffer;
	int rc = weft_create(rt, OBJECT, NULL, &buffer);

	if (rc != 0)
		return rc;
	for (uint64_t i = 0; i < OBJECT / 8; i++)
		((uint64_t *)buffer.data)[i] = seed * 0x9e3779b97f4a7c15u + i;
	return weft_seal(rt, &buffer, ref);
}

static void check(weft *rt, uint64_t seed, weft_ref ref)
{
	struct weft_view view;

	API_CHECK(weft_get(rt, ref, WEFT_FOREVER, &view) == 0);
	API_CHECK(view.size == OBJECT);
	for (uint64_t i = 0; i < OBJECT / 8; i++)
		API_CHECK(((const uint64_t *)view.data)[i] == seed * 0x9e3779b97f4a7c15u + i);
	API_CHECK(weft_view_end(rt, ref) == 0);
}

static void the_default_fits(void)
{
	weft *rt = open_with(0, NULL);
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };
	weft_ref ref;

	/* The store is made by the first value. */
	API_CHECK(put(rt, 1, &ref) == 0);
	API_CHECK(weft_store_stats(rt, &stats) == 0);
	API_CHECK(stats.capacity >= MIB && stats.capacity <= LIMIT / 4);
	api_release(rt, ref);
	api_close(rt);
}

/* It is told to use four times what there is, and has no files. */
static void too_much_is_refused(void)
{
	weft *rt = open_with(4 * LIMIT, "");
	weft_ref refs[MANY];
	uint32_t count = 0;
	int rc = 0;

	while (count < MANY && (rc = put(rt, count, &refs[count])) == 0)
		count++;
	/* The store has room, the system has not. */
	API_CHECK(rc == -ENOMEM);
	API_CHECK(count * OBJECT >= LIMIT / 4);
	for (uint32_t i = 0; i < count; i++)
		check(rt, i, refs[i]);
	/* It goes on with what it has. */
	weft_release_many(rt, refs, count);
	API_CHECK(put(rt, 7, &refs[0]) == 0);
	check(rt, 7, refs[0]);
	api_release(rt, refs[0]);
	api_close(rt);
}

static void all_goes_through(weft *rt)
{
	weft_ref refs[MANY];

	for (uint32_t i = 0; i < MANY; i++)
		API_CHECK(put(rt, i, &refs[i]) == 0);
	for (uint32_t i = 0; i < MANY; i++)
		check(rt, i, refs[i]);
	weft_release_many(rt, refs, MANY);
	api_close(rt);
}

static void what_does_not_fit_spills(void)
{
	all_goes_through(open_with(0, "/var/tmp"));
}

static void too_much_spills(void)
{
	all_goes_through(open_with(4 * LIMIT, "/var/tmp"));
}

int main(void)
{
	/* The sanitizers need the memory for themselves. */
	if (WF_ASAN || WF_TSAN)
		return 77;
	if (!make_group()) {
		fprintf(stderr, "no control group can be made here: %s\n", strerror(errno));
		return 77;
	}
	in_group("the default", the_default_fits);
	in_group("without files", too_much_is_refused);
	in_group("with files", what_does_not_fit_spills);
	in_group("with files and too much", too_much_spills);
	remove_group();
	return 0;
}
