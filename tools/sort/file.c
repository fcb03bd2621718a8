/*
 * file.c: files and memory. An output is written under a temporary name in its own directory and
 * renamed at the end: under the final name there is the old file, or the new one, whole.
 */
#include "sort.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"

#define IO_MOST      (1u << 30) /* one call moves less than 2 GiB at most */
#define MEMORY_GUESS 512000000u

int wf_sort_pread(int fd, void *data, size_t n, uint64_t offset)
{
	char *to = data;

	while (n) {
		ssize_t got = pread(fd, to, n < IO_MOST ? n : IO_MOST, (off_t)offset);

		if (got == 0)
			return -ENODATA;
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		to += got;
		offset += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int wf_sort_pwrite(int fd, const void *data, size_t n, uint64_t offset)
{
	const char *from = data;

	while (n) {
		ssize_t put = pwrite(fd, from, n < IO_MOST ? n : IO_MOST, (off_t)offset);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		from += put;
		offset += (uint64_t)put;
		n -= (size_t)put;
	}
	return 0;
}

/* Blocks of past-the-cache writes, and the least that is worth one. */
#define DIRECT_BLOCK ((size_t)4 << 20)
#define DIRECT_LEAST ((size_t)64 << 10)
#define DIRECT_ALIGN ((size_t)4096)

static int write_direct(int fd, const char *data, size_t n, uint64_t offset)
{
	int status = 0;

	for (size_t part; n && status == 0; n -= part, data += part, offset += part) {
		part = n < DIRECT_BLOCK ? n : DIRECT_BLOCK;
		status = wf_sort_pwrite(fd, data, part, offset);
	}
	return status;
}

/*
 * Whole pages in the middle go past the cache, both ends through it: the pages there are shared
 * with other writers, which the kernel puts together.
 */
int wf_sort_sink_write(const struct wf_sort_sink *sink, const void *data, size_t n, uint64_t offset)
{
	const char *from = data;
	size_t head = (size_t)(-offset % DIRECT_ALIGN), middle;
	int status;

	middle = n > head ? (n - head) / DIRECT_ALIGN * DIRECT_ALIGN : 0;
	if (sink->direct < 0 || middle < DIRECT_LEAST || (uintptr_t)(from + head) % DIRECT_ALIGN)
		return wf_sort_pwrite(sink->fd, data, n, offset);
	status = write_direct(sink->direct, from + head, middle, offset + head);
	if (status == -EINVAL) /* a stricter device than the probe has seen */
		return wf_sort_pwrite(sink->fd, data, n, offset);
	if (status == 0)
		status = wf_sort_pwrite(sink->fd, from, head, offset);
	if (status == 0)
		status = wf_sort_pwrite(sink->fd, from + head + middle, n - head - middle,
		                        offset + head + middle);
	return status;
}

bool wf_sort_probe_directory(const char *path)
{
	char name[4096];
	int fd = open(path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	/* Some file systems have no files without a name. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
		int n = snprintf(name, sizeof(name), "%s/.weft-sort-XXXXXX", path);

		fd = n > 0 && (size_t)n < sizeof(name) ? mkostemp(name, O_CLOEXEC) : -1;
		if (fd >= 0)
			unlink(name);
	}
	if (fd < 0) {
		wf_sort_complain("cannot spill to %s: %s", path, strerror(errno));
		return false;
	}
	close(fd);
	return true;
}

int wf_sort_open_input(const char *path, uint64_t *bytes)
{
	struct stat info;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not hang us */

	if (fd < 0 || fstat(fd, &info) < 0) {
		wf_sort_complain("%s: %s", path, strerror(errno));
	} else if (!S_ISREG(info.st_mode)) {
		wf_sort_complain("%s: not a regular file", path);
	} else {
		*bytes = (uint64_t)info.st_size;
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Permission bits for the new file: those of the one it replaces, else what open() would give. */
static mode_t new_mode(const char *path)
{
	struct stat info;
	mode_t mask;

	if (stat(path, &info) == 0)
		return info.st_mode & 0777;
	mask = umask(0);
	umask(mask);
	return 0666 & ~mask;
}

static bool name_temporary(struct wf_sort_output *output)
{
	const char *slash = strrchr(output->path, '/');
	int directory = slash ? (int)(slash - output->path) + 1 : 0;
	int n = snprintf(output->temporary, sizeof(output->temporary), "%.*s.weft-sort-XXXXXX",
	                 directory, output->path);

	return n > 0 && (size_t)n < sizeof(output->temporary) && (!slash || slash[1]);
}

/* Room for the whole file now, so that a full disk is found before the work and not after it. */
static int reserve(int fd, uint64_t bytes)
{
	if (bytes == 0)
		return 0;
	while (fallocate(fd, 0, 0, (off_t)bytes) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == ENOSPC || errno == EFBIG || errno == EDQUOT || errno == EIO)
			return -errno;
		return 0; /* this file system cannot: writing will tell */
	}
	return 0;
}

bool wf_sort_output_open(struct wf_sort_output *output, const char *path, uint64_t bytes,
                         bool direct)
{
	char resolved[PATH_MAX];
	struct stat info;
	const char *name = path;
	int status;

	output->fd = output->direct = -1;
	output->temporary[0] = 0;
	if (realpath(path, resolved)) {
		/* Through a symbolic link the file it names is replaced, not the link. */
		name = resolved;
		if (stat(name, &info) == 0 && !S_ISREG(info.st_mode)) {
			wf_sort_complain("%s: exists and is not a regular file", path);
			return false;
		}
	}
	if (strlen(name) >= sizeof(output->path)) {
		wf_sort_complain("%s: %s", path, strerror(ENAMETOOLONG));
		return false;
	}
	strcpy(output->path, name);
	if (!name_temporary(output)) {
		output->temporary[0] = 0;
		wf_sort_complain("%s: not the name of a file", path);
		return false;
	}
	output->fd = mkostemp(output->temporary, O_CLOEXEC);
	if (output->fd < 0) {
		output->temporary[0] = 0;
		wf_sort_complain("%s: %s", path, strerror(errno));
		return false;
	}
	status = fchmod(output->fd, new_mode(name)) < 0 ? -errno : reserve(output->fd, bytes);
	if (status < 0) {
		wf_sort_output_drop(output);
		wf_sort_complain("%s: %s (%" PRIu64 " bytes are needed)", path, strerror(-status),
		                 bytes);
		return false;
	}
	if (direct) /* or not: not every file system can */
		output->direct = open(output->temporary, O_WRONLY | O_DIRECT | O_CLOEXEC);
	return true;
}

static void close_direct(struct wf_sort_output *output)
{
	if (output->direct >= 0)
		close(output->direct);
	output->direct = -1;
}

/* Have the new name on disk as well. */
static int sync_directory(const char *path)
{
	char directory[4096];
	const char *slash = strrchr(path, '/');
	int fd, status = 0;

	snprintf(directory, sizeof(directory), "%.*s", slash ? (int)(slash - path) + 1 : 1,
	         slash ? path : ".");
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		status = -errno;
	if (fd >= 0)
		close(fd);
	return status;
}

bool wf_sort_output_publish(struct wf_sort_output *output, bool sync)
{
	int status = 0;

	WF_CHECK(output->fd >= 0 && output->temporary[0]);
	close_direct(output);
	if ((sync && fsync(output->fd) < 0) || rename(output->temporary, output->path) < 0)
		status = -errno;
	else
		output->temporary[0] = 0;
	if (status == 0 && sync)
		status = sync_directory(output->path);
	if (close(output->fd) < 0 && status == 0)
		status = -errno; /* network file systems report late */
	output->fd = -1;
	if (status < 0) {
		wf_sort_output_drop(output);
		wf_sort_complain("%s: %s", output->path, strerror(-status));
	}
	return status == 0;
}

void wf_sort_output_drop(struct wf_sort_output *output)
{
	close_direct(output);
	if (output->fd >= 0)
		close(output->fd);
	output->fd = -1;
	if (output->temporary[0])
		unlink(output->temporary);
	output->temporary[0] = 0;
}

/* The number behind `label` in a file of "label: number kB" lines, in bytes. */
static bool read_labelled(const char *path, const char *label, uint64_t *bytes)
{
	FILE *in = fopen(path, "re");
	bool found = false;
	char line[256];

	if (!in)
		return false;
	while (!found && fgets(line, sizeof(line), in)) {
		if (strncmp(line, label, strlen(label)) == 0)
			found = sscanf(line + strlen(label), "%" SCNu64, bytes) == 1;
	}
	fclose(in);
	*bytes *= found ? 1024 : 1;
	return found;
}

uint64_t wf_sort_memory_available(void)
{
	/* As the runtime finds it: the limits of all groups above count, less what is used. */
	uint64_t left = wf_memory_left(NULL);

	return left != 0 ? left : MEMORY_GUESS;
}

uint64_t wf_sort_memory_private(void)
{
	uint64_t anonymous = 0, mapped = 0;

	if (!read_labelled("/proc/self/status", "RssAnon:", &anonymous) ||
	    !read_labelled("/proc/self/status", "RssFile:", &mapped))
		return 0;
	return anonymous + mapped;
}
