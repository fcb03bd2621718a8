/*
 * Goal: the calls on files do what the system's do, say what went wrong by a negated errno, and
 * leave nothing behind that was not asked for.
 * Method: direct calls in a directory of the test's own; a child where a limit is set.
 */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../support/io.h"
#include "test.h"

#define MIB ((uint64_t)1 << 20)

static char dir[256], one[512], two[512];

static void begin(void)
{
	snprintf(dir, sizeof(dir), "%s/weft-test-file-XXXXXX", io_dir());
	cr_assert_not_null(mkdtemp(dir));
	snprintf(one, sizeof(one), "%s/one", dir);
	snprintf(two, sizeof(two), "%s/two", dir);
}

static void end(void)
{
	(void)unlink(one);
	(void)unlink(two);
	cr_assert_eq(rmdir(dir), 0);
}

Test(file, names_are_made_moved_and_removed, .init = begin, .fini = end)
{
	int at = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;

	cr_assert_eq(wf_file_open(one, O_RDONLY, 0), -ENOENT);
	fd = wf_file_openat(at, "one", O_CREAT | O_RDWR, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(wf_file_open(one, O_CREAT | O_EXCL | O_RDWR, 0600), -EEXIST);
	cr_assert_eq(wf_file_close(fd), 0);
	cr_assert_eq(wf_file_close(-1), 0);
	cr_assert_eq(wf_file_rename(one, two), 0);
	cr_assert_eq(wf_file_rename(one, two), -ENOENT);
	cr_assert_eq(wf_file_fsync_dir(dir), 0);
	cr_assert_eq(wf_file_fsync_dir(two), -ENOTDIR);
	cr_assert_eq(wf_file_fsync_dir(one), -ENOENT);
	cr_assert_eq(wf_file_unlink(two), 0);
	cr_assert_eq(wf_file_unlink(two), -ENOENT);
	close(at);
}

Test(file, room_is_reserved_punched_and_cut, .init = begin, .fini = end)
{
	int fd = wf_file_open(one, O_CREAT | O_RDWR, 0600);
	struct stat st;

	cr_assert_geq(fd, 0);
	cr_assert_eq(wf_file_fallocate(fd, MIB, MIB), 0);
	fstat(fd, &st);
	cr_assert_eq((uint64_t)st.st_size, 2 * MIB);
	cr_assert_geq((uint64_t)st.st_blocks * 512, MIB);
	cr_assert_eq(wf_file_punch(fd, MIB, MIB), 0);
	fstat(fd, &st);
	cr_assert_eq((uint64_t)st.st_size, 2 * MIB);
	cr_assert_lt((uint64_t)st.st_blocks * 512, MIB);
	cr_assert_eq(wf_file_truncate(fd, 5), 0);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 5);
	cr_assert_eq(wf_file_fdatasync(fd), 0);
	cr_assert_eq(wf_file_close(fd), 0);
}

Test(file, impossible_sizes_are_refused, .init = begin, .fini = end)
{
	int fd = wf_file_open(one, O_CREAT | O_RDWR, 0600);

	cr_assert_eq(wf_file_fallocate(fd, UINT64_MAX, 2), -EFBIG);
	cr_assert_eq(wf_file_fallocate(fd, INT64_MAX, 1), -EFBIG);
	cr_assert_eq(wf_file_punch(fd, UINT64_MAX, 2), -EFBIG);
	cr_assert_eq(wf_file_truncate(fd, UINT64_MAX), -EFBIG);
	cr_assert_eq(wf_file_fallocate(fd, 0, 0), -EINVAL);
	cr_assert_eq(wf_file_close(fd), 0);
	cr_assert_eq(wf_file_fallocate(fd, 0, 1), -EBADF);
	cr_assert_eq(wf_file_truncate(fd, 1), -EBADF);
	cr_assert_eq(wf_file_punch(fd, 0, 1), -EBADF);
	cr_assert_eq(wf_file_fdatasync(fd), -EBADF);
}

Test(file, a_descriptor_closed_twice_dies, .signal = SIGABRT)
{
	int fd = wf_file_open("/dev/null", O_RDONLY, 0);

	wf_file_close(fd);
	wf_file_close(fd);
}

Test(file, a_small_file_is_read_whole, .init = begin, .fini = end)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 100000 };
	static char bytes[100000];

	io_fill(bytes, sizeof(bytes), 3);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = wf_file_open(one, O_CREAT | O_TRUNC | O_RDWR, 0600);
		char *data = NULL;
		size_t size = 77;

		cr_assert_eq(write(fd, bytes, sizes[i]), (ssize_t)sizes[i]);
		cr_assert_eq(wf_file_close(fd), 0);
		cr_assert_eq(wf_file_read_all(one, sizes[i], &data, &size), 0);
		cr_assert_eq(size, sizes[i]);
		cr_assert_arr_eq(data, bytes, size);
		cr_assert_eq(data[size], '\0', "a text may be used as a string");
		wf_free(data);
		if (sizes[i] == 0)
			continue;
		data = NULL;
		cr_assert_eq(wf_file_read_all(one, sizes[i] - 1, &data, &size), -EFBIG);
		cr_assert_null(data);
	}
	cr_assert_eq(wf_file_read_all(two, 10, NULL, NULL), -ENOENT);
	cr_assert_eq(wf_file_read_all(dir, 10, NULL, NULL), -EISDIR);
}

/* In a child, as the limit is the process's. */
static int beyond_the_limit(void)
{
	struct rlimit limit = { 3 * MIB, 3 * MIB };
	int fd = wf_file_open(one, O_CREAT | O_RDWR, 0600);
	struct stat st;

	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 1;
	/* Without the look at the limit the kernel sends SIGXFSZ. */
	if (wf_file_fallocate(fd, 0, 4 * MIB) != -EFBIG || wf_file_truncate(fd, 4 * MIB) != -EFBIG)
		return 2;
	if (wf_file_fallocate(fd, 2 * MIB, MIB) != 0 || wf_file_truncate(fd, 3 * MIB) != 0)
		return 3;
	return fstat(fd, &st) == 0 && (uint64_t)st.st_size == 3 * MIB ? 0 : 4;
}

Test(file, the_limit_of_file_sizes_is_an_error_and_no_signal, .init = begin, .fini = end)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(beyond_the_limit());
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status 0x%x", status);
}
