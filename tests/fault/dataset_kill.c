/*
 * Goal: a process killed at any point of writing a dataset, of publishing an output directory or of
 * opening a session leaves each of them whole, as before or as after, and nothing that the next
 * session does not clean; what was reported as published is there.
 * Method: children that kill themselves at the n-th call on a file or transfer, for every n, on
 * both back ends, with and without older ones to be replaced; and children that publish one after
 * the other and are killed from outside after a random number of reports. The parent has no threads
 * while it forks, and looks with an I/O of its own.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "dataset_dir.h"
#include "seed.h"

#define OLD 1
#define NEW 2

static const size_t sizes[] = { 100, (1 << 20) + 5000, 70000 };
enum { PARTS = sizeof(sizes) / sizeof(sizes[0]) };

static struct room room;
static char session_path[300], data[320], place[320];
static struct wf_dataset_part parts[3][PARTS];
static int kills;

static int write_dataset(const char *name, uint64_t epoch, uint64_t seed)
{
	struct wf_dataset_spec spec = {
		.dir = data, .name = name, .epoch = epoch, .fingerprint = seed
	};

	return wf_dataset_write(&room.env, &spec, parts[seed], PARTS);
}

static int write_outdir(const char *name, uint64_t epoch)
{
	struct wf_outdir *out;
	int status = wf_outdir_create(&out, &room.env, place, name, epoch, 0);

	for (int i = 0; status == 0 && i < 3; i++) {
		char path[800];
		FILE *file;

		snprintf(path, sizeof(path), "%s/%d", wf_outdir_path(out), i);
		file = fopen(path, "w");
		REQUIRE(file != NULL);
		fprintf(file, "%d", (int)epoch);
		fclose(file);
	}
	return status != 0 ? status : wf_outdir_publish(out);
}

/* What a child does: a whole session. */
static void work(uint64_t epoch)
{
	struct wf_session *s;
	uint32_t attempt;

	REQUIRE(wf_session_open(&s, &room.env, session_path) == 0);
	REQUIRE(wf_session_attempt(s, "d", 1000, &attempt) == 0);
	REQUIRE(write_outdir("o", epoch) == 0);
	REQUIRE(write_dataset("d", epoch, epoch) == 0);
	REQUIRE(wf_session_attempts_forget(s, "d") == 0);
	wf_session_close(s, false);
}

/* Work in a child that dies at the n-th point; 0: it does not. Whether it died. */
static bool child(const char *backend, uint64_t epoch, uint64_t nth)
{
	struct wf_io_fault fault = {
		.kinds = UINT32_MAX, .effect = WF_IO_EFFECT_KILL, .nth = nth, .count = 1
	};
	int status;
	pid_t pid = fork();

	REQUIRE(pid >= 0);
	if (pid == 0) {
		REQUIRE(room_io_open(&room, backend));
		if (nth > 0)
			wf_io_fault_arm(&fault);
		work(epoch);
		_exit(0);
	}
	REQUIRE(waitpid(pid, &status, 0) == pid);
	if (WIFSIGNALED(status)) {
		REQUIRE(WTERMSIG(status) == SIGKILL);
		kills++;
		return true;
	}
	REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return false;
}

/* The epoch by which the directory was published, 0 none. Whole: all files say the same. */
static int outdir_now(void)
{
	int numbers[3] = { 0 };

	for (int i = 0; i < 3; i++) {
		char path[500];
		FILE *file;

		snprintf(path, sizeof(path), "%s/o/%d", place, i);
		file = fopen(path, "r");
		if (file == NULL)
			continue;
		REQUIRE(fscanf(file, "%d", &numbers[i]) == 1);
		fclose(file);
	}
	REQUIRE(numbers[0] == numbers[1] && numbers[1] == numbers[2]);
	return numbers[0];
}

/* The epoch of the dataset that is there, whole, or 0. */
static uint64_t dataset_now(const char *name)
{
	struct wf_dataset *d;
	uint64_t epoch;
	int status = wf_dataset_open(&d, &room.env, data, name, NULL);

	if (status == -ENOENT)
		return 0;
	REQUIRE(status == 0);
	epoch = wf_dataset_info(d)->epoch;
	REQUIRE(wf_dataset_info(d)->part_count == PARTS);
	REQUIRE(check_whole(d, wf_dataset_info(d)->fingerprint) == 0);
	wf_dataset_close(d);
	return epoch;
}

/* Look at everything; then the next session comes, and finds a clean place. */
static void judge(uint64_t before, bool died, uint64_t *epoch)
{
	struct wf_session *s;
	uint64_t now, out;

	REQUIRE(room_io_open(&room, "threads"));
	now = dataset_now("d");
	out = (uint64_t)outdir_now();
	REQUIRE(now == NEW || (died && now == before));
	REQUIRE(out == NEW || (died && out == before));
	/* The directory comes first: who is skipped because of the dataset finds it. */
	REQUIRE(now != NEW || out == NEW);
	REQUIRE(wf_session_open(&s, &room.env, session_path) == 0);
	REQUIRE(wf_session_epoch(s) > *epoch);
	*epoch = wf_session_epoch(s);
	REQUIRE(count_entries(data, true) == (now != 0));
	REQUIRE(count_entries(place, true) == (out != 0));
	REQUIRE(dataset_now("d") == now && (uint64_t)outdir_now() == out);
	wf_session_close(s, false);
	wf_io_close(room.env.io);
}

static void every_point(const char *backend, uint64_t before)
{
	bool died = true;
	uint64_t nth;

	for (nth = 1; died; nth += POINT_STEP) {
		uint64_t epoch = 0;

		REQUIRE(nth < 1000);
		remove_all(session_path);
		if (before != 0)
			REQUIRE(!child("threads", before, 0));
		died = child(backend, NEW, nth);
		judge(before, died, &epoch);
	}
	REQUIRE(nth > 30);
	printf("%s, %s: %d points\n", backend, before != 0 ? "replacing" : "new",
	       (int)(nth - 1 - POINT_STEP));
}

/* ---- From outside --------------------------------------------------------------------------- */

/* Publish "d" and "e" by turns with growing epochs, and report each. */
static void publish_for_ever(const char *backend, uint64_t epoch, int to)
{
	REQUIRE(room_io_open(&room, backend));
	for (;; epoch++) {
		REQUIRE(write_dataset(epoch % 2 == 0 ? "d" : "e", epoch, 1 + epoch % 2) == 0);
		REQUIRE(write(to, &epoch, sizeof(epoch)) == sizeof(epoch));
	}
}

static void any_time(const char *backend, int rounds)
{
	struct wf_random random;
	uint64_t epoch = 0;

	remove_all(session_path);
	REQUIRE(mkdir(session_path, 0700) == 0);
	REQUIRE(mkdir(data, 0700) == 0);
	wf_random_init(&random, test_seed());
	for (int round = 0; round < rounds; round++) {
		uint32_t reports = wf_random_below(&random, 4) + 1;
		volatile uint32_t spin = wf_random_below(&random, 200000);
		uint64_t d, e, last;
		int pipes[2], status;
		pid_t pid;

		REQUIRE(pipe(pipes) == 0);
		pid = fork();
		REQUIRE(pid >= 0);
		if (pid == 0)
			publish_for_ever(backend, epoch + 1, pipes[1]);
		for (uint32_t i = 0; i < reports; i++)
			REQUIRE(read(pipes[0], &epoch, sizeof(epoch)) == sizeof(epoch));
		while (spin > 0)
			spin--;
		REQUIRE(kill(pid, SIGKILL) == 0);
		REQUIRE(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		kills++;
		close(pipes[1]);
		/* Reports that were on their way count: they were published before. */
		while (read(pipes[0], &last, sizeof(last)) == sizeof(last))
			epoch = last;
		close(pipes[0]);
		REQUIRE(room_io_open(&room, "threads"));
		d = dataset_now("d");
		e = dataset_now("e");
		last = d > e ? d : e;
		REQUIRE(last == epoch || last == epoch + 1);
		REQUIRE(last < 2 || (d + e == 2 * last - 1));
		epoch = last;
		REQUIRE(wf_dataset_clean(&room.env, data) <= 1);
		REQUIRE(count_entries(data, true) == (d != 0) + (e != 0));
		wf_io_close(room.env.io);
	}
}

int main(void)
{
	for (uint32_t i = 0; i < PARTS; i++) {
		parts[OLD][i] = make_part(sizes[i], OLD, i);
		parts[NEW][i] = make_part(sizes[i], NEW, i);
	}
	room_make(&room, !test_is_long());
	snprintf(session_path, sizeof(session_path), "%s/s", room.path);
	snprintf(data, sizeof(data), "%s/data", session_path);
	snprintf(place, sizeof(place), "%s/output", session_path);
	for (size_t i = 0; i < 2; i++) {
		if (!room_io_open(&room, io_backends[i])) {
			REQUIRE(i == 0);
			fprintf(stderr, "no %s here\n", io_backends[i]);
			continue;
		}
		wf_io_close(room.env.io);
		every_point(io_backends[i], 0);
		every_point(io_backends[i], OLD);
		any_time(io_backends[i], test_is_long() ? 500 : 25);
	}
	REQUIRE(kills >= 100 || POINT_STEP > 1);
	printf("%d kills\n", kills);
	remove_all(room.path);
	free_parts(parts[OLD], PARTS);
	free_parts(parts[NEW], PARTS);
	return 0;
}
