/*
 * attach_socket.c: the socket's file: made for its user alone, taken over from the dead, removed.
 *
 * A server that was killed leaves its socket file, on which connect() is refused. Such a file is
 * replaced, and since two servers may come upon it at once, all of this happens under a lock on
 * the directory: flock() of the directory itself, which leaves nothing behind. Rejected: a lock
 * file beside the socket, which would be left behind by the same crash; renaming a fresh socket
 * over the old name, which would take a living server's name away when two start at once.
 *
 * The mode: fchmod() on the socket before bind() gives the file its mode from the start, so no
 * other user can connect in between, and the process's umask is not touched.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "attach.h"

#define BACKLOG    64
#define LOCK_TRIES 400
#define LOCK_NS    (5 * 1000 * 1000) /* between tries; two seconds in all */

/* The directory of the path, locked: a descriptor, or -errno. */
static int lock_directory(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');
	const struct timespec pause = { .tv_nsec = LOCK_NS };
	int fd, rc;

	WF_CHECK(strlen(path) < sizeof(dir));
	if (slash == NULL)
		snprintf(dir, sizeof(dir), ".");
	else
		snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Whoever may read the directory may lock it: it is not waited for without an end. */
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		if (errno != EWOULDBLOCK && errno != EINTR)
			break;
		nanosleep(&pause, NULL);
	}
	WF_CHECK(errno != 0);
	rc = errno == EWOULDBLOCK || errno == EINTR ? -EBUSY : -errno;
	close(fd);
	return rc;
}

static int make_socket(void)
{
	int fd;

	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd < 0 ? -errno : fd;
}

/* Whether the file is a socket of a process that is gone. */
static bool is_stale(const struct sockaddr_un *address)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	fd = make_socket();
	if (fd < 0)
		return false;
	WF_CHECK(address->sun_family == AF_UNIX);
	/* EAGAIN: its queue is full, so it has one. */
	refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
		errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int bind_and_listen(int fd, const struct sockaddr_un *address)
{
	const struct sockaddr *name = (const struct sockaddr *)address;

	WF_CHECK(fd >= 0);
	WF_CHECK(address->sun_path[0] != '\0');
	if (fchmod(fd, 0600) != 0)
		return -errno;
	if (bind(fd, name, sizeof(*address)) != 0) {
		if (errno != EADDRINUSE || !is_stale(address))
			return -errno;
		if (unlink(address->sun_path) != 0 || bind(fd, name, sizeof(*address)) != 0)
			return -errno;
	}
	/* Where fchmod() of a socket means nothing for its file. */
	if (chmod(address->sun_path, 0600) != 0 || listen(fd, BACKLOG) != 0) {
		int rc = -errno;

		unlink(address->sun_path);
		return rc;
	}
	return 0;
}

int wf_socket_listen(const char *path, uint64_t *device, uint64_t *inode)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;
	int dir, fd, rc;

	if (path[0] == '\0')
		return -EINVAL;
	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	dir = lock_directory(path);
	if (dir < 0)
		return dir;
	fd = make_socket();
	rc = fd < 0 ? fd : bind_and_listen(fd, &address);
	if (rc >= 0 && lstat(path, &st) != 0)
		rc = -errno;
	WF_CHECK(rc < 0 || fd >= 0);
	close(dir);
	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return rc;
	}
	*device = st.st_dev;
	*inode = st.st_ino;
	return fd;
}

void wf_socket_remove(const char *path, uint64_t device, uint64_t inode)
{
	int dir = lock_directory(path);
	struct stat st;

	/* Without the lock too: better a small race than a file left. */
	if (lstat(path, &st) == 0 && st.st_dev == device && st.st_ino == inode)
		unlink(path);
	if (dir >= 0)
		close(dir);
}
