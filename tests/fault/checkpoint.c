/*
 * Goal: what weft_checkpoint() has said is kept of a key is there for its next attempt, also when
 * the process was killed in between, at any point; a later one is whole or not there; it goes when
 * the key has ended well; what is damaged, or another descriptor's, is as if nothing was kept.
 * Method: children that kill themselves in the body, or at the n-th call on a file or transfer, and
 * report what was kept; the next child begins where the reports end. The parent has no threads
 * while it forks.
 */
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../../store/include/wf_io.h"
#include "api_fault.h"

#define STEPS 4

static char dir[] = "/var/tmp/weft-checkpoint-XXXXXX";
static char kept[300];
static int report[2]; /* a pipe: a byte for each step that is kept */

struct plan {
	int64_t die_after; /* steps of this process; -1: none */
	int64_t fail_after;
	const char *name;
	uint32_t retries;
	uint64_t kill_at; /* call on a file; 0: none */
};

static struct plan plan;
static int64_t first; /* what the process has begun from */
static uint32_t runs;

/* Counts to STEPS, a checkpoint each. */
static int count(weft_task *self)
{
	int64_t n = 0;
	struct weft_view view;

	API_CHECK(weft_checkpoint_read(self, &view) == 0);
	API_CHECK(view.size == 0 || view.size == sizeof n);
	if (view.size)
		memcpy(&n, view.data, sizeof n);
	if (runs++ == 0)
		first = n;
	for (int64_t done = 0; n < STEPS; done++) {
		if (done == plan.die_after)
			kill(getpid(), SIGKILL);
		if (done == plan.fail_after && runs == 1)
			return weft_fail(self, -EIO, "on purpose");
		n++;
		int rc = weft_checkpoint(self, &n, sizeof n);

		if (rc)
			return rc;
		API_CHECK(write(report[1], "x", 1) == 1);
		API_CHECK(weft_checkpoint_read(self, &view) == 0 && view.size == sizeof n &&
		          !memcmp(view.data, &n, sizeof n));
	}
	return weft_return(self, &n, sizeof n);
}

static void silent(void *arg, const struct weft_log_record *record)
{
	(void)arg, (void)record;
}

/* A process that does the key, to its end or as far as it gets. */
static void work(bool ends_well)
{
	struct wf_io_fault fault = {
		.kinds = UINT32_MAX, .effect = WF_IO_EFFECT_KILL, .nth = plan.kill_at, .count = 1
	};
	weft *rt = NULL;
	weft_ref ref = WEFT_NONE;

	if (plan.kill_at)
		wf_io_fault_arm(&fault);
	API_CHECK(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .session_dir = dir, .log = silent)) ==
	          0);
	API_CHECK(weft_submit(rt,
	                      WEFT_TASK(count,
	                                .opts = WEFT_TASK_OPTIONS(.key = "count", .name = plan.name,
	                                                          .key_retries = 100,
	                                                          .retries = plan.retries)),
	                      &ref) == 0);
	int rc = api_get(rt, ref);

	API_CHECK(rc == (ends_well ? 0 : WEFT_ETASK));
	if (ends_well)
		API_CHECK(api_take_i64(rt, ref) == STEPS);
	else
		api_release(rt, ref);
	API_CHECK(weft_close(rt, WEFT_FOREVER) == 0);
}

/* Whether it was killed; *begun: from where it has begun, unless it was killed. */
static bool child(bool ends_well, int64_t *begun)
{
	int status, told[2];

	API_CHECK(pipe(told) == 0);
	const pid_t pid = fork();

	API_CHECK(pid >= 0);
	if (pid == 0) {
		work(ends_well);
		_exit(write(told[1], &first, sizeof first) != (ssize_t)sizeof first);
	}
	close(told[1]);
	*begun = -1;
	(void)!read(told[0], begun, sizeof *begun);
	close(told[0]);
	API_CHECK(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status)) {
		API_CHECK(WTERMSIG(status) == SIGKILL);
		return true;
	}
	API_CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return false;
}

/* Steps that were reported as kept since the last look. */
static int64_t reported(void)
{
	char bytes[64];
	const ssize_t n = read(report[0], bytes, sizeof bytes);

	return n < 0 ? 0 : n;
}

static unsigned files(void)
{
	DIR *at = opendir(kept);
	unsigned n = 0;

	for (struct dirent *entry; at && (entry = readdir(at));)
		n += entry->d_name[0] != '.';
	if (at)
		closedir(at);
	return n;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info, (void)kind, (void)at;
	return remove(path);
}

static void begin(void)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	API_CHECK(mkdir(dir, 0700) == 0);
	plan = (struct plan){ .die_after = -1, .fail_after = -1, .name = "a" };
	(void)reported();
}

static void killed_in_the_body(void)
{
	int64_t from;

	begin();
	plan.die_after = 1;
	for (int64_t i = 0; i < STEPS - 1; i++) {
		API_CHECK(child(true, &from));
		API_CHECK(reported() == 1 && files() == 1);
	}
	API_CHECK(!child(true, &from));
	API_CHECK(from == STEPS - 1 && reported() == 1);
	API_CHECK(files() == 0);
}

static void within_one_process(void)
{
	int64_t from;

	begin();
	plan.fail_after = 2;
	plan.retries = 1;
	API_CHECK(!child(true, &from));
	API_CHECK(from == 0 && reported() == STEPS && files() == 0);
	/* Without one it stays for the next. */
	begin();
	plan.fail_after = 2;
	API_CHECK(!child(false, &from) && files() == 1);
	plan.fail_after = -1;
	API_CHECK(!child(true, &from) && from == 2);
}

static void not_anothers_and_not_damaged(void)
{
	int64_t from;
	char path[600] = "";
	DIR *at;

	begin();
	plan.die_after = 3;
	API_CHECK(child(true, &from) && reported() == 3);
	plan.die_after = 1;
	plan.name = "b";
	API_CHECK(child(true, &from) && reported() == 1);
	plan.die_after = -1;
	API_CHECK((at = opendir(kept)) != NULL);
	for (struct dirent *entry; (entry = readdir(at));) {
		if (entry->d_name[0] != '.')
			snprintf(path, sizeof path, "%s/%s", kept, entry->d_name);
	}
	closedir(at);
	const int fd = open(path, O_WRONLY);

	API_CHECK(fd >= 0 && pwrite(fd, "damaged", 7, 0) == 7 && close(fd) == 0);
	API_CHECK(!child(true, &from) && from == 0 && reported() == STEPS);
	API_CHECK(files() == 0);
}

/* At every call on a file. */
static void killed_anywhere(void)
{
	const uint64_t step = test_is_long() ? 1 : WF_TSAN || WF_ASAN ? 7 : 3;
	uint64_t kills = 0;
	bool killed = true;

	for (uint64_t nth = 1; killed; nth += step) {
		int64_t from;

		begin();
		plan.kill_at = nth;
		killed = child(true, &from);
		kills += killed;
		const int64_t steps = reported();

		plan.kill_at = 0;
		API_CHECK(!child(true, &from));
		/* It was kept before it was said; or all of it is there, and nothing is run. */
		API_CHECK(from == steps || from == steps + 1 || (from == 0 && steps == STEPS));
		API_CHECK(files() == 0);
	}
	API_CHECK(kills > 3);
	printf("killed at %llu calls\n", (unsigned long long)kills);
}

int main(void)
{
	static const char *const backends[] = { "threads", "uring" };

	API_CHECK(mkdtemp(dir) != NULL);
	snprintf(kept, sizeof kept, "%s/checkpoints", dir);
	API_CHECK(pipe2(report, O_NONBLOCK) == 0);
	for (int b = 0; b < 2; b++) {
		struct wf_io_options probe = { .backend = backends[b] };
		struct wf_io *io;

		if (wf_io_open(&io, &probe) != 0) {
			API_CHECK(b == 1);
			printf("no %s here\n", backends[b]);
			continue;
		}
		wf_io_close(io);
		API_CHECK(setenv("WEFT_IO", backends[b], 1) == 0);
		killed_in_the_body();
		within_one_process();
		not_anothers_and_not_damaged();
		killed_anywhere();
	}
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return 0;
}
