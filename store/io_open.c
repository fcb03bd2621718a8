/*
 * io_open.c: which back end, its lanes, and their end.
 *
 * io_uring is used where it does what pwrite does: a file is made in the directory given and
 * written and read by plain calls; then the ring, through the very path that all requests take,
 * must write and read the same file. What fails there, and worked before, is the ring's fault. When
 * the directory itself is not usable, a memory file decides; whoever wants to write there finds
 * out.
 */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PROBE_BYTES       4096u
#define DEPTH_DEFAULT     4u
/* With memory in 4 KiB pages longer reads were measured at a third of the speed. */
#define NAME_ATTEMPTS_MAX 16u
#define LANE_ALIGN        WF_CACHE_LINE

/* ---- Lanes ---------------------------------------------------------------------------------- */

static void *lane_main(void *arg)
{
	struct wf_io_lane *lane = arg;
	const struct wf_io_backend *backend = lane->io->backend;
	int error = backend->init != NULL ? backend->init(lane) : 0;

	pthread_mutex_lock(&lane->io->lock);
	WF_CHECK(lane->state == WF_IO_LANE_STARTING);
	lane->error = error;
	lane->state = WF_IO_LANE_AWAKE;
	pthread_cond_signal(&lane->wake);
	pthread_mutex_unlock(&lane->io->lock);
	WF_CHECK(error <= 0);
	if (error != 0)
		return NULL;
	backend->run(lane);
	if (backend->fini != NULL)
		backend->fini(lane);
	return NULL;
}

static void lane_free(struct wf_io_lane *lane)
{
	WF_CHECK(pthread_cond_destroy(&lane->wake) == 0);
	wf_free(lane);
}

/* Start a lane and wait for what its init() says. */
static int lane_start(struct wf_io *io)
{
	size_t bytes = io->backend->lane_bytes;
	struct wf_io_lane *lane = wf_aligned_alloc(LANE_ALIGN, bytes);
	int error;

	if (lane == NULL)
		return -ENOMEM;
	memset(lane, 0, bytes);
	lane->io = io;
	WF_CHECK(pthread_cond_init(&lane->wake, NULL) == 0);
	error = wf_thread_start(&lane->thread, "weft-io", lane_main, lane);
	if (error != 0) {
		lane_free(lane);
		return error;
	}
	pthread_mutex_lock(&io->lock);
	while (lane->state == WF_IO_LANE_STARTING)
		pthread_cond_wait(&lane->wake, &io->lock);
	error = lane->error;
	if (error == 0) {
		WF_CHECK(io->lane_count < WF_IO_LANES_MAX);
		io->lanes[io->lane_count++] = lane;
	}
	pthread_mutex_unlock(&io->lock);
	if (error != 0) {
		wf_thread_join(&lane->thread);
		lane_free(lane);
	}
	return error;
}

/* Everything submitted is served, by `done` too, before the last lane ends. */
static void stop(struct wf_io *io)
{
	pthread_mutex_lock(&io->lock);
	WF_CHECK(!io->stopping);
	io->stopping = true;
	for (uint32_t i = 0; i < io->lane_count; i++) {
		WF_CHECK(io->lanes[i]->state != WF_IO_LANE_STARTING);
		if (io->lanes[i]->state == WF_IO_LANE_PARKED) {
			io->lanes[i]->state = WF_IO_LANE_AWAKE;
			pthread_cond_signal(&io->lanes[i]->wake);
		}
	}
	pthread_mutex_unlock(&io->lock);
	for (uint32_t i = 0; i < io->lane_count; i++)
		wf_thread_join(&io->lanes[i]->thread);
	WF_CHECK(io->queue.first == NULL && io->ended.first == NULL);
	for (uint32_t i = 0; i < io->lane_count; i++)
		lane_free(io->lanes[i]);
	io->lane_count = 0;
	io->stopping = false;
}

static uint64_t block_bytes(const struct wf_io_backend *backend, uint64_t wish)
{
	uint64_t bytes = wish != 0 ? wish : backend->block_bytes;

	if (bytes > WF_IO_BLOCK_MAX)
		return WF_IO_BLOCK_MAX;
	return (bytes + WF_IO_SECTOR - 1) / WF_IO_SECTOR * WF_IO_SECTOR;
}

static int start(struct wf_io *io, const struct wf_io_backend *backend,
                 const struct wf_io_options *options)
{
	uint32_t count = options->threads != 0 ? options->threads : backend->lane_count;
	uint64_t bytes = block_bytes(backend, options->block_bytes);

	WF_CHECK(io->lane_count == 0);
	if (count > WF_IO_LANES_MAX)
		count = WF_IO_LANES_MAX;
	io->backend = backend;
	io->depth = options->depth != 0 ? options->depth : DEPTH_DEFAULT;
	io->block_bytes[WF_IO_READ] = bytes;
	io->block_bytes[WF_IO_WRITE] = bytes;
	io->read_bytes_max = bytes;
	WF_CHECK(bytes >= WF_IO_SECTOR && bytes <= WF_IO_BLOCK_MAX);
	WF_CHECK(backend->lane_bytes >= sizeof(struct wf_io_lane));
	for (uint32_t i = 0; i < count; i++) {
		int error = lane_start(io);

		if (error != 0) {
			stop(io);
			return error;
		}
	}
	return 0;
}

/* ---- Probe ---------------------------------------------------------------------------------- */

/* Plain calls write and read it. */
static bool file_works(int fd, char *buffer)
{
	return pwrite(fd, buffer, PROBE_BYTES, 0) == PROBE_BYTES &&
		pread(fd, buffer, PROBE_BYTES, 0) == PROBE_BYTES;
}

/* A file that is gone when it is closed, in `dir`. */
static int make_file(const char *dir, int flags)
{
	char path[4096];
	int fd = wf_file_open(dir, O_TMPFILE | O_RDWR | flags, 0600);

	/* Not every file system can: then a name that is removed at once. */
	for (uint32_t i = 0; fd < 0 && i < NAME_ATTEMPTS_MAX; i++) {
		int length = snprintf(path, sizeof(path), "%s/.weft-io-probe-%llx", dir,
		                      (unsigned long long)wf_random_seed());

		if (length < 0 || (size_t)length >= sizeof(path))
			return -ENAMETOOLONG;
		fd = wf_file_open(path, O_CREAT | O_EXCL | O_RDWR | flags, 0600);
		if (fd >= 0)
			(void)wf_file_unlink(path);
		if (fd != -EEXIST)
			break;
	}
	return fd;
}

struct probe {
	char *buffer; /* two times PROBE_BYTES */
	const char *place;
	bool direct;
	int fd;
};

static int probe_begin(struct probe *probe, const char *dir)
{
	static const int flags[] = { O_DIRECT, 0 };

	for (int i = 0; dir != NULL && i < 2; i++) {
		probe->fd = make_file(dir, flags[i]);
		probe->direct = flags[i] == O_DIRECT;
		probe->place = dir;
		if (probe->fd >= 0 && file_works(probe->fd, probe->buffer))
			return 0;
		wf_file_close(probe->fd < 0 ? -1 : probe->fd);
	}
	probe->direct = false;
	probe->place = "a memory file";
	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	probe->fd = memfd_create("weft-io-probe", MFD_CLOEXEC);
	return probe->fd >= 0 ? 0 : -errno;
}

/* 0, or why the back end does not work. */
static int probe_run(struct wf_io *io, const struct probe *probe)
{
	struct wf_io_request request = { .op = WF_IO_WRITE,
		                         .fd = probe->fd,
		                         .direct = probe->direct,
		                         .data = probe->buffer,
		                         .size = PROBE_BYTES };

	WF_CHECK(probe->fd >= 0);
	for (uint32_t i = 0; i < PROBE_BYTES; i++)
		probe->buffer[i] = (char)(i * 7 + i / 256 + 1);
	memset(probe->buffer + PROBE_BYTES, 0, PROBE_BYTES);
	if (wf_io_run(io, &request) != 0)
		return request.status;
	request.op = WF_IO_READ;
	request.data = probe->buffer + PROBE_BYTES;
	if (wf_io_run(io, &request) != 0)
		return request.status;
	if (request.moved != PROBE_BYTES ||
	    memcmp(probe->buffer, probe->buffer + PROBE_BYTES, PROBE_BYTES) != 0)
		return -EBADMSG;
	return 0;
}

/* Says whether a ring has stopped working meanwhile. */
static bool set_probing(struct wf_io *io, bool probing)
{
	bool is_broken = false;

	WF_CHECK(io->lane_count > 0);
	pthread_mutex_lock(&io->lock);
	WF_CHECK(io->probing != probing);
	io->probing = probing;
	for (uint32_t i = 0; i < io->lane_count; i++)
		is_broken |= io->lanes[i]->broken;
	pthread_mutex_unlock(&io->lock);
	return is_broken;
}

/* Start on io_uring and prove it. -ENOTSUP: it does not work here, io->reason says why. */
static int start_uring(struct wf_io *io, const struct wf_io_options *options, struct probe *probe)
{
	int error = start(io, &wf_io_uring, options);

	WF_CHECK(error != 0 || io->lane_count > 0);
	if (error != 0)
		return error;
	(void)set_probing(io, true);
	error = probe_begin(probe, options->probe_dir);
	if (error == 0) {
		error = probe_run(io, probe);
		wf_file_close(probe->fd);
	}
	if (!set_probing(io, false) && error == 0)
		return 0;
	if (error != 0)
		snprintf(io->reason, sizeof(io->reason), "probe in %s: %s", probe->place,
		         strerrordesc_np(-error));
	stop(io);
	return -ENOTSUP;
}

/* ---- Open ----------------------------------------------------------------------------------- */

/* What is asked for: "uring", "threads", NULL what works; `*by` says who asks. */
static const char *wish_of(const struct wf_io_options *options, const char **by)
{
	const char *wish = options->backend;

	*by = "the options";
	if (wish == NULL) {
		wish = getenv("WEFT_IO");
		*by = "WEFT_IO";
	}
	return wish != NULL && wish[0] != '\0' ? wish : NULL;
}

static int start_best(struct wf_io *io, const struct wf_io_options *options, struct probe *probe)
{
	const char *by, *wish = wish_of(options, &by);
	int error;

	if (wish != NULL && strcmp(wish, "threads") == 0) {
		error = start(io, &wf_io_threads, options);
		if (error == 0)
			wf_io_say(io, WF_IO_LOG_INFO, "file I/O: threads (%s)", by);
		return error;
	}
	if (wish != NULL && strcmp(wish, "uring") != 0) {
		wf_io_say(io, WF_IO_LOG_ERROR, "file I/O: \"%s\" (%s) is neither uring nor threads",
		          wish, by);
		return -ENOTSUP;
	}
	error = start_uring(io, options, probe);
	if (error == 0) {
		wf_io_say(io, WF_IO_LOG_INFO, "file I/O: uring (%s%s, probed in %s)",
		          probe->direct ? "O_DIRECT" : "buffered", wish != NULL ? ", forced" : "",
		          probe->place);
		return 0;
	}
	if (error != -ENOTSUP)
		return error;
	if (wish != NULL) {
		wf_io_say(io, WF_IO_LOG_ERROR, "file I/O: uring (%s) does not work here: %s", by,
		          io->reason);
		return -ENOTSUP;
	}
	error = start(io, &wf_io_threads, options);
	if (error == 0)
		wf_io_say(io, WF_IO_LOG_INFO, "file I/O: threads (no io_uring: %s)", io->reason);
	return error;
}

int wf_io_open(struct wf_io **out, const struct wf_io_options *options)
{
	struct wf_io *io = wf_aligned_alloc(WF_CACHE_LINE, sizeof(*io));
	struct probe probe = { .buffer = wf_aligned_alloc(PROBE_BYTES, 2 * (size_t)PROBE_BYTES),
		               .fd = -1,
		               .place = "" };
	int error = -ENOMEM;

	if (io == NULL || probe.buffer == NULL)
		goto out_free;
	memset(io, 0, sizeof(*io));
	memset(probe.buffer, 0, 2 * (size_t)PROBE_BYTES);
	io->log = options->log;
	io->log_arg = options->log_arg;
	WF_CHECK(pthread_mutex_init(&io->lock, NULL) == 0);
	error = start_best(io, options, &probe);
	if (error != 0) {
		WF_CHECK(io->lane_count == 0);
		pthread_mutex_destroy(&io->lock);
		goto out_free;
	}
	/* The probe is not the caller's. */
	memset(&io->counters, 0, sizeof(io->counters));
	WF_CHECK(io->lane_count > 0 && io->queue.first == NULL);
	*out = io;
	io = NULL;
out_free:
	wf_free(probe.buffer);
	wf_free(io);
	return error;
}

void wf_io_close(struct wf_io *io)
{
	if (io == NULL)
		return;
	stop(io);
	WF_CHECK(pthread_mutex_destroy(&io->lock) == 0);
	wf_free(io);
}

const char *wf_io_backend(const struct wf_io *io)
{
	return io->backend->name;
}
