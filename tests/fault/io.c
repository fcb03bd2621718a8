/*
 * Goal: whatever goes wrong with a block or a call on a file, on either back end, the request ends
 * once and says what happened: no hang, no lost slot, no byte counted that was not moved; and
 * opening, whichever of its resources fails, leaves nothing behind.
 * Method: one scenario (write, sync, read back, each in several blocks), run for every effect and
 * every n until nothing fires any more; the file and the statuses are compared with what the
 * effect must have done. Kills happen in children.
 */
#include <sys/stat.h>
#include <sys/wait.h>

#include "../support/io.h"

#define PAGE   4096u
#define BLOCKS 7u
#define BYTES  (BLOCKS * PAGE)
#define MANY   UINT64_MAX

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s (%s, fault %u of effect %d)\n", \
			        __FILE__, __LINE__, #x, current_backend, \
			        (unsigned int)current_nth, current_effect); \
			exit(1); \
		} \
	} while (0)

static const char *current_backend = "";
static uint64_t current_nth;
static int current_effect = -1;

static char written[BYTES] WF_ALIGNED(PAGE), back[BYTES] WF_ALIGNED(PAGE);

struct outcome {
	int write, sync, read;
	uint64_t written, read_bytes;
	uint64_t file_bits, back_bits; /* that differ from what was written */
};

static uint64_t bits_apart(const char *a, const char *b, uint64_t size)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < size; i++)
		count += (uint64_t)__builtin_popcount((unsigned char)(a[i] ^ b[i]));
	return count;
}

/* The ring's blocks are in flight together, so several of them may suffer before one ends. */
static struct wf_io *open_io(const char *backend, const struct wf_io_fault *fault)
{
	struct wf_io_options options = { .block_bytes = PAGE, .threads = 2, .depth = 4 };
	struct wf_io *io = NULL;

	current_backend = backend;
	wf_io_fault_arm(NULL);
	if (io_open(&io, backend, options) != 0)
		return NULL;
	REQUIRE(strcmp(wf_io_backend(io), backend) == 0);
	wf_io_fault_arm(fault);
	return io;
}

static struct outcome scenario(struct wf_io *io, int fd, bool direct)
{
	struct outcome outcome;
	static char content[BYTES] WF_ALIGNED(PAGE);

	memset(back, 0, sizeof(back));
	outcome.write =
		io_transfer(io, WF_IO_WRITE, fd, direct, written, BYTES, 0, &outcome.written);
	outcome.sync = io_transfer(io, WF_IO_SYNC, fd, direct, NULL, 0, 0, NULL);
	outcome.read = io_transfer(io, WF_IO_READ, fd, direct, back, BYTES, 0, &outcome.read_bytes);
	memset(content, 0, sizeof(content));
	REQUIRE(pread(fd, content, sizeof(content), 0) >= 0);
	outcome.file_bits = bits_apart(content, written, outcome.written);
	outcome.back_bits = bits_apart(back, content, outcome.read_bytes);
	return outcome;
}

static void expect_good(const struct outcome *o)
{
	REQUIRE(o->write == 0 && o->sync == 0 && o->read == 0);
	REQUIRE(o->written == BYTES && o->read_bytes == BYTES);
	REQUIRE(o->file_bits == 0 && o->back_bits == 0);
}

/* What must have come of one point that suffered. */
static void judge(const struct wf_io_fault *fault, const struct outcome *o)
{
	int failures = (o->write != 0) + (o->sync != 0) + (o->read != 0);

	switch (fault->effect) {
	case WF_IO_EFFECT_ERROR:
		if (fault->error == EINTR || fault->error == EAGAIN) {
			expect_good(o);
			break;
		}
		REQUIRE(failures == 1);
		REQUIRE(o->write == 0 || o->write == -fault->error);
		REQUIRE(o->sync == 0 || o->sync == -fault->error);
		REQUIRE(o->read == 0 || o->read == -fault->error);
		/* Without a gap: up to the block that failed. */
		REQUIRE(o->write == 0 || (o->written < BYTES && o->written % PAGE == 0));
		REQUIRE(o->read == 0 || (o->read_bytes < BYTES && o->read_bytes % PAGE == 0));
		REQUIRE(o->file_bits == 0 && o->back_bits == 0);
		break;
	case WF_IO_EFFECT_SHORT:
		expect_good(o);
		break;
	case WF_IO_EFFECT_FLIP:
		REQUIRE(failures == 0 && o->written == BYTES && o->read_bytes == BYTES);
		/* A sync has no bits. */
		REQUIRE(o->file_bits + o->back_bits == (wf_io_fault_seen() > 0 ? 1 : 0) ||
		        fault->nth == BLOCKS + 1);
		break;
	case WF_IO_EFFECT_LIE:
		REQUIRE(failures == 0 && o->written == BYTES && o->read_bytes == BYTES);
		REQUIRE((o->file_bits > 0) + (o->back_bits > 0) ==
		        (fault->nth == BLOCKS + 1 ? 0 : 1));
		break;
	case WF_IO_EFFECT_KILL:
		REQUIRE(!"alive");
	}
}

static int new_file(bool direct)
{
	int fd = io_file(direct);

	if (fd == -EINVAL)
		return fd;
	REQUIRE(fd >= 0);
	REQUIRE(ftruncate(fd, BYTES) == 0);
	return fd;
}

/* How often the effect met something. */
static uint64_t every_n(const char *backend, struct wf_io_fault fault, bool direct)
{
	current_effect = (int)fault.effect;
	for (fault.nth = 1;; fault.nth++) {
		struct outcome outcome;
		struct wf_io_stats stats;
		struct wf_io *io;
		int fd = new_file(direct);
		uint64_t fired;

		current_nth = fault.nth;
		REQUIRE(fault.nth < 1000);
		io = fd >= 0 ? open_io(backend, &fault) : NULL;
		if (io == NULL)
			return 0;
		outcome = scenario(io, fd, direct);
		fired = wf_io_fault_fired();
		if (fired > 0)
			judge(&fault, &outcome);
		else
			expect_good(&outcome);
		/* The slots are all back: the same room works. */
		wf_io_fault_arm(NULL);
		outcome = scenario(io, fd, direct);
		expect_good(&outcome);
		wf_io_stats(io, &stats);
		REQUIRE(stats.reads == 2 && stats.writes == 2 && stats.syncs == 2);
		wf_io_close(io);
		close(fd);
		if (fired == 0)
			break;
	}
	/* Not counted: an attempt that continues another. */
	REQUIRE(fault.nth > 2 * BLOCKS + 1);
	return fault.nth - 1;
}

static void transfers(const char *backend)
{
	static const int errors[] = { EIO, ENOSPC, EINTR, EAGAIN };
	const uint32_t kinds = WF_IO_FAULT_READ | WF_IO_FAULT_WRITE | WF_IO_FAULT_SYNC;

	for (int direct = 0; direct < 2; direct++) {
		for (int e = 0; e < 4; e++)
			every_n(backend,
			        (struct wf_io_fault){ kinds, WF_IO_EFFECT_ERROR, errors[e], 1, 1 },
			        direct);
		every_n(backend, (struct wf_io_fault){ kinds, WF_IO_EFFECT_SHORT, 0, 1, 1 },
		        direct);
		every_n(backend, (struct wf_io_fault){ kinds, WF_IO_EFFECT_FLIP, 0, 1, 1 }, direct);
		every_n(backend, (struct wf_io_fault){ kinds, WF_IO_EFFECT_LIE, 0, 1, 1 }, direct);
	}
}

/* From the n-th on for ever. */
static void for_ever(const char *backend)
{
	struct wf_io_fault fault = { WF_IO_FAULT_READ | WF_IO_FAULT_WRITE | WF_IO_FAULT_SYNC,
		                     WF_IO_EFFECT_ERROR, EIO, 1, MANY };
	struct outcome outcome;
	struct wf_io *io;
	int fd = new_file(false);

	for (fault.nth = 1; fault.nth <= BLOCKS; fault.nth++) {
		current_nth = fault.nth;
		io = open_io(backend, &fault);
		if (io == NULL)
			break;
		outcome = scenario(io, fd, false);
		REQUIRE(outcome.write == -EIO && outcome.sync == -EIO && outcome.read == -EIO);
		REQUIRE(outcome.written < fault.nth * PAGE && outcome.read_bytes == 0);
		wf_io_close(io);
	}
	/* Retries have a bound, short results come to an end by themselves. */
	fault.nth = 1;
	fault.error = EAGAIN;
	io = open_io(backend, &fault);
	if (io != NULL) {
		struct wf_io_stats stats;

		outcome = scenario(io, fd, false);
		REQUIRE(outcome.write == -EAGAIN && outcome.sync == -EAGAIN);
		REQUIRE(outcome.read == -EAGAIN && outcome.written == 0);
		wf_io_stats(io, &stats);
		REQUIRE(stats.retries >= 3 * 64 && stats.failures == 3);
		wf_io_close(io);
	}
	fault.effect = WF_IO_EFFECT_SHORT;
	io = open_io(backend, &fault);
	if (io != NULL) {
		struct wf_io_stats stats;

		outcome = scenario(io, fd, false);
		expect_good(&outcome);
		wf_io_stats(io, &stats);
		REQUIRE(stats.short_results >= 2 * BLOCKS && stats.retries == 0);
		wf_io_close(io);
	}
	close(fd);
}

/* One after the other dies before its block; the last one lives. */
static void kills(const char *backend)
{
	struct wf_io_fault fault = { WF_IO_FAULT_READ | WF_IO_FAULT_WRITE | WF_IO_FAULT_SYNC,
		                     WF_IO_EFFECT_KILL, 0, 1, 1 };
	int status = 0;

	current_effect = WF_IO_EFFECT_KILL;
	for (;; fault.nth++) {
		pid_t child = fork();

		current_nth = fault.nth;
		REQUIRE(fault.nth < 100 && child >= 0);
		if (child == 0) {
			struct wf_io *io = open_io(backend, &fault);
			int fd = new_file(false);

			if (io != NULL) {
				struct outcome outcome = scenario(io, fd, false);

				expect_good(&outcome);
				wf_io_close(io);
			}
			_exit(io == NULL ? 77 : 0);
		}
		REQUIRE(waitpid(child, &status, 0) == child);
		if (WIFEXITED(status))
			break;
		REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	}
	REQUIRE(WEXITSTATUS(status) == 77 || (WEXITSTATUS(status) == 0 && fault.nth > 2 * BLOCKS));
}

/* ---- Opening -------------------------------------------------------------------------------- */

static int count_files(void)
{
	int count = 0;

	for (int fd = 0; fd < 1000; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Each allocation, thread, eventfd and file of open fails in turn. */
static void open_fails(const char *backend)
{
	uint64_t nth;
	int refused = 0;

	current_backend = backend != NULL ? backend : "best";
	for (nth = 1;; nth++) {
		struct wf_io_options options = { .backend = backend, .probe_dir = io_dir() };
		struct wf_io *io = NULL;
		int files = count_files(), error;
		bool fired;

		current_nth = nth;
		REQUIRE(nth < 100);
		wf_fault_arm(-1, nth);
		error = wf_io_open(&io, &options);
		fired = wf_fault_fired();
		wf_fault_arm(-1, 0);
		if (error != 0) {
			REQUIRE(io == NULL);
			REQUIRE(error == -ENOMEM || error == -EAGAIN || error == -ENOTSUP);
			refused++;
		} else {
			char byte = 1;
			int fd = io_file(false);

			REQUIRE(io_transfer(io, WF_IO_WRITE, fd, false, &byte, 1, 0, NULL) == 0);
			close(fd);
		}
		wf_io_close(io);
		REQUIRE(count_files() == files);
		if (!fired)
			break;
	}
	REQUIRE(refused >= 3);
}

/* A ring that does not do what plain calls do is not used. */
static void probe_fails(void)
{
	static const enum wf_io_fault_effect effects[] = { WF_IO_EFFECT_ERROR, WF_IO_EFFECT_FLIP,
		                                           WF_IO_EFFECT_LIE };
	struct wf_io *io;

	if ((io = open_io("uring", NULL)) == NULL)
		return;
	wf_io_close(io);
	for (int e = 0; e < 3; e++) {
		for (int kind = WF_IO_FAULT_READ; kind <= WF_IO_FAULT_WRITE; kind++) {
			struct wf_io_fault fault = { (uint32_t)kind, effects[e], EINVAL, 1, 1 };
			struct wf_io_options options = { .probe_dir = io_dir(),
				                         .log = io_log_line };
			static struct io_log log;

			log = (struct io_log){ { 0 }, { 0 }, { "" } };
			options.log_arg = &log;
			io = NULL;
			wf_io_fault_arm(&fault);
			REQUIRE(wf_io_open(&io, &options) == 0);
			REQUIRE(wf_io_fault_fired() == 1);
			REQUIRE(strcmp(wf_io_backend(io), "threads") == 0);
			REQUIRE(log.count.v == 1 && strstr(log.lines[0], "no io_uring: probe in"));
			wf_io_close(io);
			log = (struct io_log){ { 0 }, { 0 }, { "" } };
			options.backend = "uring";
			wf_io_fault_arm(&fault);
			REQUIRE(wf_io_open(&io, &options) == -ENOTSUP);
			REQUIRE(log.count.v == 1 && log.levels[0] == 1);
		}
	}
	wf_io_fault_arm(NULL);
}

/* ---- Calls on files ------------------------------------------------------------------------- */

/* All calls in a row, in the order of their kinds' first use; the n-th one's result is wrong. */
static int all_calls(const char *dir, int results[10])
{
	char one[512], two[512], *data = NULL;
	size_t size;
	int fd, n = 0;

	snprintf(one, sizeof(one), "%s/one", dir);
	snprintf(two, sizeof(two), "%s/two", dir);
	fd = wf_file_open(one, O_CREAT | O_RDWR, 0600);
	results[n++] = fd < 0 ? fd : 0;
	if (fd < 0)
		fd = open(one, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	results[n++] = wf_file_fallocate(fd, 0, 3 * PAGE);
	results[n++] = wf_file_truncate(fd, 2 * PAGE);
	results[n++] = wf_file_punch(fd, 0, PAGE);
	results[n++] = wf_file_fdatasync(fd);
	results[n++] = wf_file_close(fd);
	results[n++] = wf_file_rename(one, two);
	results[n++] = wf_file_fsync_dir(dir);
	if (results[6] != 0 || access(two, F_OK) != 0)
		REQUIRE(rename(one, two) == 0);
	results[n++] = wf_file_read_all(two, 3 * PAGE, &data, &size);
	if (results[8] == 0)
		wf_free(data);
	results[n++] = wf_file_unlink(two);
	unlink(two);
	return n;
}

static void calls(void)
{
	static const enum wf_io_fault_effect effects[] = { WF_IO_EFFECT_ERROR, WF_IO_EFFECT_SHORT,
		                                           WF_IO_EFFECT_FLIP, WF_IO_EFFECT_LIE };
	char dir[300];
	int files = count_files();

	current_backend = "calls";
	snprintf(dir, sizeof(dir), "%s/weft-test-calls-XXXXXX", io_dir());
	REQUIRE(mkdtemp(dir) != NULL);
	for (int e = 0; e < 4; e++) {
		struct wf_io_fault fault = { 255, effects[e], EIO, 1, 1 };

		int seen = 0;

		current_effect = (int)effects[e];
		for (;; fault.nth++) {
			int results[10], n, wrong = 0;

			current_nth = fault.nth;
			wf_io_fault_arm(&fault);
			n = all_calls(dir, results);
			for (int i = 0; i < n; i++) {
				REQUIRE(results[i] == 0 || results[i] == -EIO);
				wrong += results[i] != 0;
			}
			REQUIRE(wrong <= 1);
			seen += wrong;
			REQUIRE(count_files() == files);
			if (wf_io_fault_fired() == 0)
				break;
		}
		REQUIRE(fault.nth == 15 && wf_io_fault_seen() == 14);
		/* All but the closing of a file that was only read, which nobody needs to know. */
		REQUIRE(seen == (effects[e] == WF_IO_EFFECT_ERROR ? 13 : 0));
	}
	wf_io_fault_arm(NULL);
	REQUIRE(rmdir(dir) == 0);
}

int main(void)
{
	io_fill(written, sizeof(written), 9);
	for (int i = 0; i < 2; i++) {
		transfers(io_backends[i]);
		for_ever(io_backends[i]);
		kills(io_backends[i]);
		open_fails(io_backends[i]);
	}
	open_fails(NULL);
	probe_fails();
	calls();
	return 0;
}
