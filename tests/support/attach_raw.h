/*
 * attach_raw.h: messages of the attach protocol on a socket, without the library or the store.
 */
#ifndef WEFT_TEST_ATTACH_RAW_H
#define WEFT_TEST_ATTACH_RAW_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api.h"
#include "wire.h"

#define RAW_FILES_MAX 64

union raw_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(RAW_FILES_MAX * sizeof(int))];
};

/* Bytes and files; false: the other side has hung up. */
static inline bool raw_bytes(int fd, const void *bytes, size_t size, const int *fds,
                             size_t fd_count)
{
	union raw_control control;
	struct iovec iov = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd_count > 0) {
		struct cmsghdr *head;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		head = CMSG_FIRSTHDR(&msg);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(head), fds, fd_count * sizeof(int));
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) >= 0;
}

static inline bool raw_send(int fd, const struct wf_wire *wire, const int *fds, size_t fd_count)
{
	unsigned char bytes[4096];
	size_t size = wf_wire_write(wire, bytes, sizeof(bytes));

	API_CHECK(size > 0);
	return raw_bytes(fd, bytes, size, fds, fd_count);
}

/*
 * The next message, which points into `message`; false: the other side has hung up. `*file`: the
 * first file that has come along, or -1; others, with NULL all, are closed.
 */
static inline bool raw_receive(int fd, unsigned char *message, size_t size, struct wf_wire *wire,
                               int *file)
{
	union raw_control control;
	struct iovec iov = { .iov_base = message, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov,
		              .msg_iovlen = 1,
		              .msg_control = control.bytes,
		              .msg_controllen = sizeof(control.bytes) };
	ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

	if (file != NULL)
		*file = -1;
	for (struct cmsghdr *head = got > 0 ? CMSG_FIRSTHDR(&msg) : NULL; head != NULL;
	     head = CMSG_NXTHDR(&msg, head)) {
		for (size_t i = 0; i < (head->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int came;

			memcpy(&came, CMSG_DATA(head) + i * sizeof(int), sizeof(came));
			if (file != NULL && *file < 0)
				*file = came;
			else
				close(came);
		}
	}
	if (got <= 0)
		return false;
	API_CHECK(wf_wire_read(message, (size_t)got, wire));
	return true;
}

#endif /* WEFT_TEST_ATTACH_RAW_H */
