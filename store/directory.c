/*
 * directory.c: files without a name.
 *
 * A spill file must be gone when the process is, also after a crash. So it never has a name:
 * O_TMPFILE, or where the file system cannot do that, a name that is removed before the file gets
 * its size. A crash between the two leaves an empty file.
 */
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BLOCK         4096u
#define RESERVE_BYTES ((uint64_t)1 << 30)
#define RESERVE_PART  20

void wf_spill_say(const struct wf_spill_say *say, int level, const char *format, ...)
{
	char text[512];
	va_list args;

	if (say->log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	say->log(say->arg, level, text);
}

bool wf_spill_means_full(int status)
{
	return status == -ENOSPC || status == -EDQUOT || status == -EFBIG;
}

static int open_named(const struct wf_directory *dir, int flags)
{
	char name[64], path[PATH_MAX + 64];
	int fd, status;

	snprintf(name, sizeof(name), "weft-spill-%d-%016llx", (int)getpid(),
	         (unsigned long long)wf_random_seed());
	if (strlen(dir->path) >= PATH_MAX)
		return -ENAMETOOLONG;
	snprintf(path, sizeof(path), "%s/%s", dir->path, name);
	fd = wf_file_openat(dir->fd, name, flags | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		return fd;
	status = wf_file_unlink(path);
	if (status == 0)
		return fd;
	/* Once more, as an empty file that stays is litter for ever. */
	(void)wf_file_unlink(path);
	(void)wf_file_close(fd);
	return status;
}

static int open_unnamed(const struct wf_directory *dir, bool tmpfile, bool direct)
{
	int flags = O_RDWR | (direct ? O_DIRECT : 0);

	WF_CHECK(dir->fd >= 0);
	if (tmpfile)
		return wf_file_openat(dir->fd, ".", flags | O_TMPFILE, 0600);
	return open_named(dir, flags);
}

static int move_block(struct wf_io *io, int fd, bool direct, enum wf_io_op op, char *data)
{
	struct wf_io_request request = { .op = op, .fd = fd, .direct = direct, .data = data };
	int status;

	request.size = BLOCK;
	status = wf_io_run(io, &request);
	if (status == 0 && request.moved != BLOCK)
		status = -EIO;
	return status;
}

/* One block there and back, in the way in which segments will be used. */
static int try_way(const struct wf_directory *dir, bool tmpfile, bool direct, struct wf_io *io,
                   char *scratch)
{
	int fd = open_unnamed(dir, tmpfile, direct), status;

	if (fd < 0)
		return fd;
	memset(scratch, 0x5a, BLOCK);
	memset(scratch + BLOCK, 0, BLOCK);
	status = move_block(io, fd, direct, WF_IO_WRITE, scratch);
	if (status == 0)
		status = move_block(io, fd, direct, WF_IO_READ, scratch + BLOCK);
	if (status == 0 && memcmp(scratch, scratch + BLOCK, BLOCK) != 0)
		status = -EIO;
	(void)wf_file_close(fd);
	/* A disk that is full today may have room tomorrow. */
	return wf_spill_means_full(status) ? 0 : status;
}

static int probe(struct wf_directory *dir, struct wf_io *io, char *scratch)
{
	int status = 0;

	/* Without O_DIRECT everything goes through the page cache: that weighs more than a name. */
	for (int way = 0; way < 4; way++) {
		bool direct = way < 2, tmpfile = way % 2 == 0;

		status = try_way(dir, tmpfile, direct, io, scratch);
		if (status == 0) {
			dir->direct = direct;
			dir->tmpfile = tmpfile;
			return 0;
		}
	}
	return status;
}

uint64_t wf_directory_disk(const struct wf_directory *dir)
{
	struct statvfs disk;

	WF_CHECK(dir->fd >= 0);
	return fstatvfs(dir->fd, &disk) == 0 ? (uint64_t)disk.f_blocks * disk.f_frsize : 0;
}

static uint64_t default_reserve(const struct wf_directory *dir)
{
	uint64_t disk = wf_directory_disk(dir);

	return disk != 0 && disk / RESERVE_PART < RESERVE_BYTES ? disk / RESERVE_PART
								: RESERVE_BYTES;
}

int wf_directory_open(struct wf_directory *dir, const char *path, uint64_t reserve_bytes,
                      struct wf_io *io, char *scratch, const struct wf_spill_say *say)
{
	size_t length = strlen(path) + 1;
	int status = -ENOMEM;

	WF_CHECK((uintptr_t)scratch % BLOCK == 0);
	*dir = (struct wf_directory){ .fd = -1 };
	dir->path = wf_malloc(length);
	if (dir->path != NULL) {
		memcpy(dir->path, path, length);
		status = wf_file_open(path, O_RDONLY | O_DIRECTORY, 0);
	}
	if (status >= 0) {
		dir->fd = status;
		status = probe(dir, io, scratch);
	}
	if (status != 0) {
		wf_spill_say(say, WF_SPILL_WARN, "no spilling to %s: %s", path, strerror(-status));
		wf_directory_close(dir);
		return status;
	}
	dir->reserve_bytes = reserve_bytes != 0 ? reserve_bytes : default_reserve(dir);
	if (!dir->direct)
		wf_spill_say(say, WF_SPILL_WARN,
		             "spilling to %s goes through the page cache: no O_DIRECT there", path);
	return 0;
}

void wf_directory_close(struct wf_directory *dir)
{
	if (dir->path == NULL)
		return;
	(void)wf_file_close(dir->fd);
	wf_free(dir->path);
	*dir = (struct wf_directory){ .fd = -1 };
}

int wf_directory_make(const struct wf_directory *dir, uint64_t bytes)
{
	int fd = open_unnamed(dir, dir->tmpfile, dir->direct), status;

	WF_CHECK(bytes > 0 && bytes % BLOCK == 0);
	if (fd < 0)
		return fd;
	status = wf_file_fallocate(fd, 0, bytes);
	/* Then the disk can fill up under a write, which is dealt with there. */
	if (status == -EOPNOTSUPP)
		status = wf_file_truncate(fd, bytes);
	if (status == 0)
		return fd;
	(void)wf_file_close(fd);
	return status;
}

uint64_t wf_directory_room(const struct wf_directory *dir)
{
	struct statvfs disk;
	struct rlimit limit;
	uint64_t room = 0;

	WF_CHECK(dir->fd >= 0);
	if (fstatvfs(dir->fd, &disk) == 0)
		room = (uint64_t)disk.f_bavail * disk.f_frsize;
	room = room > dir->reserve_bytes ? room - dir->reserve_bytes : 0;
	/* No file may become longer than that. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < room)
		room = limit.rlim_cur;
	return room;
}
