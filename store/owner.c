/*
 * owner.c: processes told apart by pid, start time and boot, and names of files.
 *
 * Shared: `serial`, drawn from by every private name. Everything else is the caller's.
 */
#include "owner.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base.h"
#include "wf_dataset.h"

/* More than a line of /proc/PID/stat up to its start time ever takes. */
#define PROC_BYTES 1024u

/* Dots, six numbers in hex, the tilde. */
_Static_assert(1 + WF_DATASET_NAME_MAX + 6 + 16 + 8 + 8 + 8 + 16 + 16 + 1 < WF_ATTEMPT_BYTES,
               "the longest name has room");
_Static_assert(WF_ATTEMPT_BYTES - 1 <= 255, "and is a file's name");

static struct wf_a64 serial;

/*
 * A text of /proc, at most `room` - 1 bytes of it, as a string: its length. Not through the door of
 * the I/O: these are no data, and a fault there must not make a living owner look dead.
 */
static int read_text(const char *path, char *text, size_t room)
{
	ssize_t got;
	int fd;

	WF_CHECK(room > 1);
	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		got = read(fd, text, room - 1);
	} while (got < 0 && errno == EINTR);
	close(fd);
	if (got <= 0)
		return -EIO;
	WF_CHECK((size_t)got < room);
	text[got] = '\0';
	return (int)got;
}

/*
 * State and start time of a process: the third and the twenty-second word of its line. The second
 * is the program's name in brackets, which may hold blanks and brackets.
 */
static int read_start(uint32_t pid, char *state, uint64_t *start)
{
	char path[40], text[PROC_BYTES], *at;
	int status;

	snprintf(path, sizeof(path), "/proc/%" PRIu32 "/stat", pid);
	status = read_text(path, text, sizeof(text));
	if (status < 0)
		return status;
	at = strrchr(text, ')');
	if (at == NULL || at[1] != ' ')
		return -EBADMSG;
	*state = at[2];
	at += 2;
	for (int word = 3; word < 22 && at != NULL; word++) {
		at = strchr(at, ' ');
		at = at != NULL ? at + 1 : NULL;
	}
	if (at == NULL)
		return -EBADMSG;
	*start = strtoull(at, NULL, 10);
	return 0;
}

static uint64_t read_boot(void)
{
	char id[64];
	int size = read_text("/proc/sys/kernel/random/boot_id", id, sizeof(id));
	uint64_t boot = size > 0 ? XXH3_64bits(id, (size_t)size) : 0;

	return size > 0 && boot == 0 ? 1 : boot;
}

void wf_owner_self(struct wf_owner *owner)
{
	char state;

	*owner = (struct wf_owner){ .pid = (uint32_t)getpid(), .boot = read_boot() };
	if (read_start(owner->pid, &state, &owner->start) != 0)
		owner->start = 0;
}

bool wf_owner_alive(const struct wf_owner *owner)
{
	uint64_t boot = read_boot(), start;
	char state;

	if (owner->pid == 0 || owner->pid > INT32_MAX)
		return false;
	if (owner->boot != 0 && boot != 0 && owner->boot != boot)
		return false;
	if (read_start(owner->pid, &state, &start) == 0)
		return state != 'Z' && state != 'X' && (owner->start == 0 || owner->start == start);
	/* /proc does not show it: not mounted, hidden, or no such process. A signal of no number
	 * finds out which. */
	return kill((pid_t)owner->pid, 0) == 0 || errno != ESRCH;
}

/* ---- Names ----------------------------------------------------------------------------- */

static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c >= 128 || (c != '\0' && strchr("_-.+=@,:", c) != NULL);
}

int wf_name_encode(char *out, size_t max, const char *name)
{
	size_t used = 0;

	WF_CHECK(name != NULL);
	if (name[0] == '\0')
		return -EINVAL;
	for (size_t i = 0; name[i] != '\0'; i++) {
		unsigned char c = (unsigned char)name[i];
		bool plain = is_plain(c) && !(i == 0 && c == '.');

		if (used + (plain ? 1 : 3) > max)
			return -ENAMETOOLONG;
		if (plain)
			out[used++] = (char)c;
		else
			used += (size_t)sprintf(out + used, "%%%02X", c);
	}
	WF_CHECK(used <= max);
	out[used] = '\0';
	return 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool wf_name_decode(char *out, const char *file)
{
	size_t used = 0;

	if (file[0] == '\0' || file[0] == '.')
		return false;
	for (size_t i = 0; file[i] != '\0'; i++) {
		unsigned char c = (unsigned char)file[i];

		if (c == '%') {
			int high = hex_digit(file[i + 1]);
			int low = high >= 0 ? hex_digit(file[i + 2]) : -1;

			if (low < 0)
				return false;
			c = (unsigned char)(16 * high + low);
			/* What is escaped without need is somebody else's file. */
			if (c == '\0' || (is_plain(c) && !(i == 0 && c == '.')))
				return false;
			i += 2;
		} else if (!is_plain(c)) {
			return false;
		}
		WF_CHECK(used <= i);
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return true;
}

int wf_attempt_name(char out[static WF_ATTEMPT_BYTES], const char *name, uint64_t epoch,
                    uint32_t attempt)
{
	char encoded[WF_DATASET_NAME_MAX + 1];
	struct wf_owner self;
	uint64_t number;
	int status = wf_name_encode(encoded, WF_DATASET_NAME_MAX, name);
	int length;

	if (status != 0)
		return status;
	wf_owner_self(&self);
	WF_CHECK(self.pid > 0);
	/* relaxed: a number that nobody else has; nothing is published by it. */
	number = wf_add_relaxed(&serial, 1);
	length = snprintf(
		out, WF_ATTEMPT_BYTES,
		".%s.%" PRIx64 ".%" PRIx32 ".%" PRIx32 ".%" PRIx32 ".%" PRIx64 ".%" PRIx64 "~",
		encoded, epoch, attempt, (uint32_t)number, self.pid, self.start, self.boot);
	WF_CHECK(length > 0 && (size_t)length < WF_ATTEMPT_BYTES);
	return 0;
}

bool wf_attempt_parse(const char *file, struct wf_owner *owner)
{
	uint64_t numbers[6]; /* boot, start, pid, serial, attempt, epoch: from the end */
	size_t end = strlen(file);

	if (end < 2 || file[0] != '.' || file[end - 1] != '~' || end >= WF_ATTEMPT_BYTES)
		return false;
	end--;
	WF_CHECK(end > 0);
	for (int i = 0; i < 6; i++) {
		size_t begin = end;
		char *stop;

		while (begin > 0 && file[begin - 1] != '.')
			begin--;
		/* The name, and the dots about it, are in front of every number. */
		if (begin < 3 || begin == end ||
		    strspn(file + begin, "0123456789abcdef") != end - begin)
			return false;
		errno = 0;
		numbers[i] = strtoull(file + begin, &stop, 16);
		if (errno != 0 || stop != file + end)
			return false;
		end = begin - 1;
	}
	if (numbers[2] > UINT32_MAX)
		return false;
	*owner = (struct wf_owner){ (uint32_t)numbers[2], numbers[1], numbers[0] };
	return true;
}
