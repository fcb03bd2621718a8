/*
 * io.h: what the tests of file I/O share: opening a back end by name, a log that is kept, files
 * that are gone when the test is, and a request that is waited for.
 */
#ifndef WEFT_TEST_IO_H
#define WEFT_TEST_IO_H

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "wf_io.h"

#define IO_LOG_LINES_MAX 16

struct io_log {
	struct wf_a32 count;
	int levels[IO_LOG_LINES_MAX];
	char lines[IO_LOG_LINES_MAX][512];
};

static inline void io_log_line(void *arg, int level, const char *text)
{
	struct io_log *log = arg;
	/* relaxed: the test reads after what it waits for. */
	uint32_t i = wf_add_relaxed(&log->count, 1);

	if (i >= IO_LOG_LINES_MAX)
		abort();
	log->levels[i] = level;
	snprintf(log->lines[i], sizeof(log->lines[i]), "%s", text);
}

static const char *const io_backends[] = { "uring", "threads" };

/* Where the test's files lie: a real disk when there is one with O_DIRECT. */
static inline const char *io_dir(void)
{
	const char *dir = getenv("WEFT_TEST_DIR");

	return dir != NULL && dir[0] != '\0' ? dir : "/var/tmp";
}

/*
 * Open this back end and no other. -ENOTSUP: the machine has no io_uring; anything else, or
 * another one running, is for the caller to judge.
 */
static inline int io_open(struct wf_io **io, const char *backend, struct wf_io_options options)
{
	options.backend = backend;
	if (options.probe_dir == NULL)
		options.probe_dir = io_dir();
	return wf_io_open(io, &options);
}

/* A file without a name. `direct`: with O_DIRECT, -EINVAL where there is none. */
static inline int io_file(bool direct)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/weft-test-%ld-XXXXXX", io_dir(), (long)getpid());
	fd = mkostemp(path, O_CLOEXEC | (direct ? O_DIRECT : 0));
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

struct io_event {
	struct wf_a32 count;
};

static inline void io_event_add(struct io_event *event)
{
	/* release [E1]: what was done before, to the acquire [E2]. */
	wf_add_release(&event->count, 1);
	wf_futex_wake(&event->count, 1 << 30);
}

static inline void io_event_wait(struct io_event *event, uint32_t count)
{
	uint32_t now;

	/* acquire [E2]: with the release [E1]. */
	while ((now = wf_load_acquire(&event->count)) < count)
		wf_futex_wait(&event->count, now, WF_FOREVER);
}

static inline void io_done_event(struct wf_io_request *request)
{
	io_event_add(request->arg);
}

/* One transfer, waited for. */
static inline int io_transfer(struct wf_io *io, enum wf_io_op op, int fd, bool direct, void *data,
                              uint64_t size, uint64_t offset, uint64_t *moved)
{
	struct wf_io_request request = { .op = op, .fd = fd, .direct = direct, .data = data,
		.size = size, .offset = offset };
	int status = wf_io_run(io, &request);

	if (moved != NULL)
		*moved = request.moved;
	return status;
}

static inline void io_fill(void *data, size_t size, uint64_t seed)
{
	struct wf_random random;
	unsigned char *p = data;
	uint64_t word;

	wf_random_init(&random, seed);
	for (size_t i = 0; i < size; i += sizeof(word)) {
		word = wf_random_next(&random);
		memcpy(p + i, &word, size - i < sizeof(word) ? size - i : sizeof(word));
	}
}

#endif /* WEFT_TEST_IO_H */
