/*
 * compare.c: the competitor. GNU sort gets the same file, the same key by column, stable, the same
 * number of threads, the same memory and the same directory for its temporary files; then the two
 * outputs must be byte-identical.
 */
#include "sort.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "base.h"

volatile sig_atomic_t wf_sort_interrupted;
volatile sig_atomic_t wf_sort_child;

#define SLICE_BYTES (4u << 20)

struct slice {
	const struct wf_sort_same *same;
	uint64_t offset, bytes;
};

/* Whether each record is one line: it ends in the only newline it has. */
static bool are_lines(const uint8_t *records, size_t bytes, size_t record_bytes)
{
	for (; bytes; bytes -= record_bytes, records += record_bytes) {
		if (memchr(records, '\n', record_bytes) != records + record_bytes - 1)
			return false;
	}
	return true;
}

static int compare_slice(weft_task *self, const struct slice *slice, uint8_t *one, uint8_t *other,
                         size_t block)
{
	const struct wf_sort_same *same = slice->same;
	size_t record_bytes = same->job->layout.record_bytes;

	for (uint64_t done = 0, n; done < slice->bytes; done += n) {
		int status;

		n = slice->bytes - done < block ? slice->bytes - done : block;
		if (weft_task_cancelled(self))
			return -ECANCELED;
		status = wf_sort_pread(same->fd, one, n, slice->offset + done);
		if (status == 0 && same->other_fd >= 0)
			status = wf_sort_pread(same->other_fd, other, n, slice->offset + done);
		if (status < 0)
			return weft_fail(self, status, "cannot compare with GNU sort: %s",
			                 weft_strerror(status));
		if (same->other_fd < 0 && !are_lines(one, n, record_bytes))
			return weft_fail(self, -EINVAL,
			                 "--compare: GNU sort cannot read the input, "
			                 "its records are not lines");
		if (same->other_fd >= 0 && memcmp(one, other, n) != 0)
			return weft_fail(self, -EBADMSG, "the output differs from GNU sort's");
	}
	return 0;
}

static int compare_body(weft_task *self)
{
	const struct slice *slice = weft_task_arg(self, NULL);
	size_t record_bytes = slice->same->job->layout.record_bytes, block = WF_SORT_BLOCK_BYTES;
	struct wf_sort_time begin = wf_sort_time_now();
	uint8_t *room;
	int status;

	/* Whole records. */
	block = block < record_bytes ? record_bytes : block - block % record_bytes;
	room = wf_malloc(2 * block);
	if (!room)
		return weft_fail(self, -ENOMEM, "no memory to compare");
	status = compare_slice(self, slice, room, room + block, block);
	wf_free(room);
	/* The look at the lines comes before GNU sort runs; its time would span that run. */
	if (status == 0 && slice->same->other_fd >= 0)
		wf_sort_journal_add(slice->same->job->journal, self, WF_SORT_STAGE_COMPARE, begin,
		                    slice->bytes);
	return status;
}

int wf_sort_same_root(weft_task *self)
{
	const struct wf_sort_same *same =
		*(const struct wf_sort_same *const *)weft_task_arg(self, NULL);
	uint64_t step = SLICE_BYTES;
	struct wf_sort_window window;
	int status = 0;

	step = (step / same->job->layout.record_bytes + 1) * same->job->layout.record_bytes;
	wf_sort_window_init(&window, self, same->job->layout.window);
	for (uint64_t at = 0; at < same->bytes && status == 0; at += step) {
		struct slice slice = { .same = same, .offset = at, .bytes = step };

		if (same->bytes - at < step)
			slice.bytes = same->bytes - at;
		status = wf_sort_window_submit(&window, WEFT_TASK(compare_body, WEFT_ARG(slice)),
		                               NULL);
	}
	if (status == 0)
		status = wf_sort_window_drain(&window);
	wf_sort_window_fini(&window);
	return status;
}

/*
 * Wait for the peer, ending it when we are interrupted. 0 or a negated errno. Its peak memory is
 * not reported: what the kernel tells of a child includes this process, from before its exec.
 */
static int reap(pid_t pid)
{
	int state;

	if (wf_sort_interrupted)
		kill(pid, SIGTERM); /* the handler may have come before it knew the child */
	while (waitpid(pid, &state, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	if (wf_sort_interrupted)
		return -EINTR;
	if (WIFEXITED(state) && WEXITSTATUS(state) == 127)
		return -ENOENT;
	return WIFEXITED(state) && WEXITSTATUS(state) == 0 ? 0 : -EIO;
}

static int spawn(char *const argv[], pid_t *pid)
{
	static char locale[] = "LC_ALL=C";
	static char path[] = "PATH=/usr/local/bin:/usr/bin:/bin";
	char *environment[] = { locale, path, NULL };
	posix_spawnattr_t attributes;
	sigset_t standard;
	int status;

	status = posix_spawnattr_init(&attributes);
	if (status)
		return -status;
	/* We ignore these two; sort(1) expects to die of them. */
	sigemptyset(&standard);
	sigaddset(&standard, SIGPIPE);
	sigaddset(&standard, SIGXFSZ);
	posix_spawnattr_setsigdefault(&attributes, &standard);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
	status = posix_spawnp(pid, "sort", NULL, &attributes, argv, environment);
	posix_spawnattr_destroy(&attributes);
	return -status;
}

int wf_sort_peer_run(const char *input, const char *output, const char *dir,
                     const struct wf_sort_layout *layout, uint32_t threads, uint64_t memory,
                     struct wf_sort_peer *peer)
{
	char key[64], parallel[32], buffer[48];
	const char *argv[] = {
		"sort", "-s", key, parallel, buffer, "-T", dir, "-o", output, "--", input, NULL,
	};
	char *writable[sizeof(argv) / sizeof(argv[0])];
	int64_t begin_ns = weft_now(NULL);
	pid_t pid = -1;
	int status;

	if (layout->lines)
		snprintf(key, sizeof(key), "-k1");
	else
		snprintf(key, sizeof(key), "-k1.%u,1.%u", layout->key_offset + 1,
		         layout->key_offset + layout->key_bytes);
	snprintf(parallel, sizeof(parallel), "--parallel=%u", threads);
	snprintf(buffer, sizeof(buffer), "--buffer-size=%" PRIu64 "b", memory);
	memcpy(writable, argv, sizeof(argv)); /* exec's arguments are not const by history only */
	status = spawn(writable, &pid);
	if (status < 0)
		return status;
	wf_sort_child = pid;
	status = reap(pid);
	wf_sort_child = 0;
	peer->seconds = (double)(weft_now(NULL) - begin_ns) * 1e-9;
	return status;
}
