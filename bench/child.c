/*
 * child.c: one measuring process: start it, read its lines, watch the clock, and find out how
 * busy others kept the machine meanwhile. The kernel counts busy time of all CPUs in /proc/stat;
 * what our own child used comes with its exit status; the rest was somebody else's.
 */
#include "child.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine.h"

extern char **environ;

/* More output than any row prints; a child that writes more is broken. */
#define OUTPUT_BYTES_MAX ((size_t)1 << 20)

#define TICK_NS          ((int64_t)10000000)

/* Busy seconds of all CPUs since boot, below 0 when the kernel does not tell. */
static double busy_seconds(void)
{
	/* user nice system idle iowait irq softirq steal */
	unsigned long long t[8] = { 0 };
	FILE *file = fopen("/proc/stat", "re");
	if (!file)
		return -1;
	const int n = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1],
	                     &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]);
	fclose(file);
	if (n < 4)
		return -1;
	const unsigned long long busy = t[0] + t[1] + t[2] + t[5] + t[6] + t[7];
	return (double)busy / (double)sysconf(_SC_CLK_TCK);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static double own_seconds(const struct rusage *usage)
{
	return seconds(usage->ru_utime) + seconds(usage->ru_stime);
}

static int start(pid_t *pid, int *out, char *const argv[])
{
	int fds[2];
	posix_spawn_file_actions_t actions;
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	int error = posix_spawn_file_actions_init(&actions);
	if (!error) {
		error = posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
		if (!error)
			error = posix_spawn(pid, argv[0], &actions, NULL, argv, environ);
		posix_spawn_file_actions_destroy(&actions);
	}
	close(fds[1]);
	if (error)
		close(fds[0]);
	*out = fds[0];
	return -error;
}

/* Read to the end of file. Returns a zero-terminated text, or NULL with the reason in *end. */
static char *read_all(int fd, int64_t until_ns, enum bench_child_end *end)
{
	char *text = malloc(OUTPUT_BYTES_MAX);
	size_t used = 0;
	*end = BENCH_CHILD_FAILED;
	while (text && used < OUTPUT_BYTES_MAX - 1) {
		const int64_t left_ns = until_ns - bench_now_ns();
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		if (left_ns <= 0) {
			*end = BENCH_CHILD_TIMEOUT;
			break;
		}
		const int ready = poll(&poll_fd, 1, (int)(left_ns / 1000000) + 1);
		if (ready == 0 || (ready < 0 && errno == EINTR))
			continue;
		const ssize_t got = read(fd, text + used, OUTPUT_BYTES_MAX - 1 - used);
		if (got < 0)
			break;
		if (got == 0) {
			text[used] = 0;
			*end = BENCH_CHILD_DONE;
			return text;
		}
		used += (size_t)got;
	}
	free(text);
	return NULL;
}

static bool parse_line(const char *text, struct bench_line *line)
{
	if (sscanf(text, "rep %15s %lf %" SCNu64 " %" SCNu64, line->series, &line->figure,
	           &line->size, &line->answer) != 4)
		return false;
	if (!strcmp(line->series, "-"))
		line->series[0] = 0;
	return true;
}

static bool parse_all(struct bench_batch *batch, char *text)
{
	size_t room = 0;
	char *state = NULL;
	for (char *at = strtok_r(text, "\n", &state); at; at = strtok_r(NULL, "\n", &state)) {
		if (batch->line_count == room) {
			room = room ? 2 * room : 16;
			struct bench_line *more = realloc(batch->lines, room * sizeof *more);
			if (!more)
				return false;
			batch->lines = more;
		}
		if (!parse_line(at, &batch->lines[batch->line_count]))
			return false;
		batch->line_count++;
	}
	return true;
}

static enum bench_child_end judge(int status)
{
	if (!WIFEXITED(status))
		return BENCH_CHILD_FAILED;
	switch (WEXITSTATUS(status)) {
	case 0:
		return BENCH_CHILD_DONE;
	case BENCH_EXIT_NO_ROW:
		return BENCH_CHILD_NO_ROW;
	default:
		return BENCH_CHILD_FAILED;
	}
}

int bench_child_run(struct bench_batch *batch, char *const argv[], int64_t limit_ns)
{
	pid_t pid = -1;
	int fd = -1;
	struct rusage usage;
	*batch = (struct bench_batch){ .other_cores = -1 };
	const double busy = busy_seconds();
	const int64_t begin_ns = bench_now_ns();
	const int error = start(&pid, &fd, argv);
	if (error == -ENOENT) {
		batch->end = BENCH_CHILD_NO_FILE;
		return 0;
	}
	if (error)
		return error;

	char *text = read_all(fd, begin_ns + limit_ns, &batch->end);
	if (!text)
		kill(pid, SIGKILL);
	close(fd);
	while (wait4(pid, &batch->status, 0, &usage) < 0 && errno == EINTR)
		continue;
	batch->wall_ns = bench_now_ns() - begin_ns;
	const double busy_after = busy_seconds();
	/* The kernel counts in ticks of 10 ms: over a shorter time they say nothing. */
	if (busy >= 0 && busy_after >= 0 && batch->wall_ns >= 20 * TICK_NS) {
		const double other =
			(busy_after - busy - own_seconds(&usage)) / ((double)batch->wall_ns / 1e9);
		batch->other_cores = other > 0 ? other : 0;
	}
	if (text) {
		batch->end = judge(batch->status);
		if (batch->end == BENCH_CHILD_DONE && !parse_all(batch, text))
			batch->end = BENCH_CHILD_FAILED;
	}
	free(text);
	return 0;
}

void bench_batch_fini(struct bench_batch *batch)
{
	free(batch->lines);
	batch->lines = NULL;
	batch->line_count = 0;
}
