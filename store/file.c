/*
 * file.c: the calls on files, with an errno as the result and a fault point in each.
 *
 * An injected error of close() closes: so does the system's. An injected lie does nothing and says
 * that it did, where that leaves the process as it was: open and close are not lied about.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_ALL_FIRST 4096u

/* A call that the fault decided: 0 or the error in *error. False: it is to be made. */
static bool is_decided(enum wf_io_fault_kind kind, int *error)
{
	enum wf_io_fate fate;

	*error = 0;
	fate = wf_io_fault(kind, error);
	WF_CHECK((fate == WF_IO_FATE_ERROR) == (*error < 0));
	return fate == WF_IO_FATE_ERROR || fate == WF_IO_FATE_LIE;
}

int wf_file_openat(int dir, const char *path, int flags, mode_t mode)
{
	int error, fd;

	if (is_decided(WF_IO_FAULT_OPEN, &error) && error != 0)
		return error;
	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	do {
		fd = openat(dir, path, flags | O_CLOEXEC, mode);
	} while (fd < 0 && errno == EINTR);
	return fd >= 0 ? fd : -errno;
}

int wf_file_open(const char *path, int flags, mode_t mode)
{
	return wf_file_openat(AT_FDCWD, path, flags, mode);
}

int wf_file_close(int fd)
{
	int error;

	if (fd == -1)
		return 0;
	(void)is_decided(WF_IO_FAULT_CALLS, &error);
	/* After EINTR the descriptor is gone, and perhaps somebody else's already. */
	if (close(fd) != 0 && errno != EINTR && error == 0)
		error = -errno;
	/* A descriptor that was not open: something has been closed twice. */
	WF_CHECK(error != -EBADF);
	return error;
}

/* The kernel sends SIGXFSZ with this error, and most programs die of it. */
static bool is_beyond_limit(uint64_t end)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return false;
	return end > limit.rlim_cur;
}

int wf_file_fallocate(int fd, uint64_t offset, uint64_t size)
{
	struct stat before;
	int error;

	if (offset + size < size || offset + size > INT64_MAX)
		return -EFBIG;
	if (is_decided(WF_IO_FAULT_FALLOCATE, &error))
		return error;
	if (fstat(fd, &before) != 0)
		return -errno;
	WF_CHECK(before.st_size >= 0);
	if (offset + size > (uint64_t)before.st_size && is_beyond_limit(offset + size))
		return -EFBIG;
	while (fallocate(fd, 0, (off_t)offset, (off_t)size) != 0) {
		if (errno == EINTR)
			continue;
		error = -errno;
		/*
		 * What was allocated before the disk was full stays allocated beyond the end, or
		 * has moved the end. Holes that were filled below it cannot be told from data.
		 */
		if (error != -EOPNOTSUPP && offset + size > (uint64_t)before.st_size)
			(void)ftruncate(fd, before.st_size);
		return error;
	}
	return 0;
}

int wf_file_truncate(int fd, uint64_t size)
{
	struct stat before;
	int error;

	if (size > INT64_MAX)
		return -EFBIG;
	if (is_decided(WF_IO_FAULT_CALLS, &error))
		return error;
	if (fstat(fd, &before) != 0)
		return -errno;
	WF_CHECK(before.st_size >= 0);
	if (size > (uint64_t)before.st_size && is_beyond_limit(size))
		return -EFBIG;
	while (ftruncate(fd, (off_t)size) != 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int wf_file_punch(int fd, uint64_t offset, uint64_t size)
{
	int error;

	if (offset + size < size || offset + size > INT64_MAX)
		return -EFBIG;
	if (is_decided(WF_IO_FAULT_CALLS, &error))
		return error;
	while (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset,
	                 (off_t)size) != 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int wf_file_fdatasync(int fd)
{
	int error;

	if (is_decided(WF_IO_FAULT_SYNC, &error))
		return error;
	/* No second try but for EINTR: the kernel reports a failed write-back once. */
	while (fdatasync(fd) != 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int wf_file_fsync_dir(const char *path)
{
	int error, fd;

	if (is_decided(WF_IO_FAULT_CALLS, &error))
		return error;
	do {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -errno;
	while (fsync(fd) != 0) {
		if (errno == EINTR)
			continue;
		/* EINVAL: this file system has nothing to be synchronised in a directory. */
		error = errno != EINVAL ? -errno : 0;
		break;
	}
	close(fd);
	return error;
}

int wf_file_rename(const char *from, const char *to)
{
	int error;

	if (is_decided(WF_IO_FAULT_RENAME, &error))
		return error;
	return rename(from, to) == 0 ? 0 : -errno;
}

int wf_file_unlink(const char *path)
{
	int error;

	if (is_decided(WF_IO_FAULT_UNLINK, &error))
		return error;
	return unlink(path) == 0 ? 0 : -errno;
}

/* One read with its fault point. Bytes, 0 at the end, or a negated errno. */
static ssize_t read_some(int fd, char *data, size_t size)
{
	enum wf_io_fate fate;
	ssize_t got;
	int error = 0;

	WF_CHECK(size > 0);
	fate = wf_io_fault(WF_IO_FAULT_READ, &error);
	if (fate == WF_IO_FATE_ERROR)
		return error;
	if (fate == WF_IO_FATE_LIE)
		return 0;
	if (fate == WF_IO_FATE_SHORT && size > 1)
		size /= 2;
	got = read(fd, data, size);
	if (fate == WF_IO_FATE_FLIP && got > 0)
		data[got / 2] ^= 1;
	WF_CHECK(got <= (ssize_t)size);
	return got >= 0 ? got : -errno;
}

/* Read to the end of the file. *data may move. */
static int read_on(int fd, size_t max, char **data, size_t *size)
{
	size_t room = READ_ALL_FIRST, used = 0;

	for (;;) {
		ssize_t got = read_some(fd, *data + used, room - used);

		if (got == -EINTR)
			continue;
		if (got < 0)
			return (int)got;
		used += (size_t)got;
		WF_CHECK(used <= room);
		if (used > max)
			return -EFBIG;
		if (got == 0)
			break;
		if (used == room) {
			char *larger = wf_malloc(2 * room);

			if (larger == NULL)
				return -ENOMEM;
			memcpy(larger, *data, used);
			wf_free(*data);
			*data = larger;
			room *= 2;
		}
	}
	WF_CHECK(used < room);
	(*data)[used] = '\0';
	*size = used;
	return 0;
}

int wf_file_read_all(const char *path, size_t max, char **data, size_t *size)
{
	char *text;
	int error, fd = wf_file_open(path, O_RDONLY, 0);

	if (fd < 0)
		return fd;
	text = wf_malloc(READ_ALL_FIRST);
	error = text != NULL ? read_on(fd, max, &text, size) : -ENOMEM;
	(void)wf_file_close(fd);
	if (error != 0) {
		wf_free(text);
		return error;
	}
	*data = text;
	return 0;
}
