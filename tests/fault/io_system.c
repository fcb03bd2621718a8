/*
 * Goal: where the kernel refuses io_uring, from the start or from some moment on, files are written
 * and read all the same, and one log line says so; a limit on file sizes is an error with the
 * bytes before it moved.
 * Method: children of this process with system call filters and limits of their own.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../support/io.h"

#define PAGE 4096u

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			_Exit(1); \
		} \
	} while (0)

static struct io_log log_lines;
static char out[64 * PAGE] WF_ALIGNED(PAGE), in[64 * PAGE] WF_ALIGNED(PAGE);

static void in_child(const char *what, void (*body)(void))
{
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		body();
		_Exit(0);
	}
	if (waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	fprintf(stderr, "%s: wait status 0x%x\n", what, (unsigned int)status);
	exit(1);
}

/* One system call fails with this error: now in all threads of the process, and their children. */
static void deny(long number, int error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	REQUIRE(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	REQUIRE(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
	                &program) == 0);
}

static int open_io(struct wf_io **io, const char *backend)
{
	struct wf_io_options options = { .backend = backend,
		                         .probe_dir = io_dir(),
		                         .block_bytes = PAGE,
		                         .log = io_log_line,
		                         .log_arg = &log_lines };

	memset(&log_lines, 0, sizeof(log_lines));
	*io = NULL;
	return wf_io_open(io, &options);
}

static void works(struct wf_io *io)
{
	int fd = io_file(false);

	REQUIRE(fd >= 0);
	io_fill(out, sizeof(out), 11);
	memset(in, 0, sizeof(in));
	REQUIRE(io_transfer(io, WF_IO_WRITE, fd, false, out, sizeof(out), 0, NULL) == 0);
	REQUIRE(io_transfer(io, WF_IO_SYNC, fd, false, NULL, 0, 0, NULL) == 0);
	REQUIRE(io_transfer(io, WF_IO_READ, fd, false, in, sizeof(in), 0, NULL) == 0);
	REQUIRE(memcmp(in, out, sizeof(in)) == 0);
	close(fd);
}

static bool has_uring(void)
{
	struct wf_io *io;

	if (open_io(&io, "uring") != 0)
		return false;
	wf_io_close(io);
	return true;
}

/* ---- No ring from the start ----------------------------------------------------------------- */

static void falls_back(const char *reason)
{
	struct wf_io *io;

	REQUIRE(open_io(&io, NULL) == 0);
	REQUIRE(strcmp(wf_io_backend(io), "threads") == 0);
	REQUIRE(log_lines.count.v == 1);
	fprintf(stderr, "%s\n", log_lines.lines[0]);
	REQUIRE(strstr(log_lines.lines[0], "file I/O: threads (no io_uring: ") != NULL);
	REQUIRE(strstr(log_lines.lines[0], reason) != NULL);
	works(io);
	wf_io_close(io);
	REQUIRE(open_io(&io, "uring") == -ENOTSUP && io == NULL);
	REQUIRE(log_lines.count.v == 1 && log_lines.levels[0] == 1);
	setenv("WEFT_IO", "uring", 1);
	REQUIRE(open_io(&io, NULL) == -ENOTSUP && io == NULL);
	REQUIRE(strstr(log_lines.lines[0], "WEFT_IO") != NULL);
}

static void setup_is_refused(void)
{
	deny(SYS_io_uring_setup, EPERM);
	falls_back("io_uring_setup: Operation not permitted");
}

static void kernel_is_old(void)
{
	deny(SYS_io_uring_setup, ENOSYS);
	falls_back("io_uring_setup: Function not implemented");
}

static void memory_for_the_ring_is_short(void)
{
	deny(SYS_io_uring_setup, ENOMEM);
	falls_back("io_uring_setup: Cannot allocate memory");
}

static void enter_is_refused(void)
{
	deny(SYS_io_uring_enter, EPERM);
	falls_back("io_uring_enter: Operation not permitted");
}

/* The lowest free descriptor is the highest allowed one: the ring's, and none for the eventfd. */
static void descriptors_are_short(void)
{
	int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct rlimit before, limit;
	struct wf_io *io;

	REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
	close(lowest);
	for (rlim_t more = 0; more < 2; more++) {
		limit = before;
		limit.rlim_cur = (rlim_t)lowest + more;
		REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
		REQUIRE(open_io(&io, NULL) == 0);
		REQUIRE(strcmp(wf_io_backend(io), "threads") == 0);
		REQUIRE(strstr(log_lines.lines[0], "Too many open files") != NULL);
		REQUIRE(strstr(log_lines.lines[0], more == 0 ? "setup" : "eventfd") != NULL);
		REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
		works(io);
		wf_io_close(io);
	}
}

/* Since Linux 6.14 a ring counts as locked memory; before, this opens a ring. */
static void locked_memory_is_short(void)
{
	struct rlimit limit = { 0, 0 };
	struct wf_io *io;

	if (geteuid() != 0 || setrlimit(RLIMIT_MEMLOCK, &limit) != 0 || setgid(65534) != 0 ||
	    setuid(65534) != 0)
		return;
	REQUIRE(open_io(&io, NULL) == 0);
	REQUIRE(log_lines.count.v == 1);
	fprintf(stderr, "no memory may be locked: %s\n", log_lines.lines[0]);
	works(io);
	wf_io_close(io);
}

/* ---- A ring that stops ---------------------------------------------------------------------- */

#define FLOOD 400

struct flood {
	struct wf_io_request request;
	struct flood *others;
	char *data;
};

static struct io_event ended;

static void count_end(struct wf_io_request *request)
{
	REQUIRE(request->status == 0 && request->moved == request->size);
	io_event_add(&ended);
}

static void stops_midway(int error)
{
	static struct wf_io_request requests[FLOOD];
	struct wf_io *io;
	int fd = io_file(false);

	REQUIRE(fd >= 0);
	REQUIRE(open_io(&io, "uring") == 0);
	io_fill(out, sizeof(out), 12);
	for (int i = 0; i < FLOOD; i++) {
		requests[i] = (struct wf_io_request){ .op = i % 7 == 6 ? WF_IO_SYNC : WF_IO_WRITE,
			                              .fd = fd,
			                              .shares_lane = i % 2 == 0,
			                              .data = out,
			                              .size = i % 7 == 6 ? 0 : sizeof(out),
			                              .offset = (uint64_t)i * sizeof(out),
			                              .done = count_end };
		wf_io_submit(io, &requests[i]);
		/* Blocks are in the kernel, in the ring, and in the queue. */
		if (i == FLOOD / 2)
			deny(SYS_io_uring_enter, error);
	}
	io_event_wait(&ended, FLOOD);
	for (int i = 0; i < FLOOD; i++) {
		if (requests[i].op == WF_IO_SYNC)
			continue;
		memset(in, 0, sizeof(in));
		REQUIRE(pread(fd, in, sizeof(in), (off_t)requests[i].offset) == sizeof(in));
		REQUIRE(memcmp(in, out, sizeof(in)) == 0);
	}
	works(io);
	wf_io_close(io);
	/* The line of the start, then one of each lane that met it. */
	REQUIRE(log_lines.count.v >= 2);
	for (uint32_t i = 1; i < log_lines.count.v; i++) {
		REQUIRE(log_lines.levels[i] == 2);
		REQUIRE(strstr(log_lines.lines[i], "a ring stopped working") != NULL);
	}
}

static void ring_is_refused_later(void)
{
	stops_midway(EPERM);
}

static void kernel_is_out_of_memory_later(void)
{
	stops_midway(EAGAIN);
}

/* It was never used before it stopped. */
static void idle_ring_is_refused_later(void)
{
	struct wf_io *io;

	REQUIRE(open_io(&io, "uring") == 0);
	deny(SYS_io_uring_enter, EPERM);
	works(io);
	wf_io_close(io);
	REQUIRE(log_lines.count.v >= 2);
	REQUIRE(strstr(log_lines.lines[1], "a ring stopped working") != NULL);
}

/* ---- Limit of file sizes -------------------------------------------------------------------- */

static void file_size_is_limited(void)
{
	struct rlimit limit = { 10000, 10000 };

	REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	for (int b = 0; b < 2; b++) {
		uint64_t moved = 0;
		struct wf_io *io;
		int fd;

		if (open_io(&io, io_backends[b]) != 0)
			continue;
		REQUIRE(strcmp(wf_io_backend(io), io_backends[b]) == 0);
		fd = io_file(false);
		io_fill(out, sizeof(out), 13);
		REQUIRE(io_transfer(io, WF_IO_WRITE, fd, false, out, sizeof(out), 0, &moved) ==
		        -EFBIG);
		REQUIRE(moved == 10000);
		REQUIRE(io_transfer(io, WF_IO_READ, fd, false, in, sizeof(in), 0, &moved) == 0);
		REQUIRE(moved == 10000 && memcmp(in, out, moved) == 0);
		close(fd);
		fd = io_file(true);
		if (fd >= 0) {
			REQUIRE(io_transfer(io, WF_IO_WRITE, fd, true, out, sizeof(out), 0,
			                    &moved) < 0);
			REQUIRE(moved <= 10000);
			close(fd);
		}
		wf_io_close(io);
	}
}

int main(void)
{
	in_child("limit of file sizes", file_size_is_limited);
	if (!has_uring()) {
		fprintf(stderr, "no io_uring here: only the threads were tested\n");
		return 77;
	}
	in_child("setup refused", setup_is_refused);
	in_child("old kernel", kernel_is_old);
	in_child("no memory for the ring", memory_for_the_ring_is_short);
	in_child("enter refused", enter_is_refused);
	in_child("no descriptors", descriptors_are_short);
	in_child("no locked memory", locked_memory_is_short);
	in_child("refused later", ring_is_refused_later);
	in_child("out of memory later", kernel_is_out_of_memory_later);
	in_child("refused while idle", idle_ring_is_refused_later);
	return 0;
}
