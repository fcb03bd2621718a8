/*
 * Goal: one live session has a directory; each has an epoch of its own, whatever became of the one
 * before; starts of a key are counted over sessions; a result is found by key and fingerprint.
 * Method: sessions opened in turn and at once, in this process and in children that are killed;
 * files of the directory changed by hand.
 */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "dataset_dir.h"
#include "test.h"

static struct room room;
static char dir[300];

static void setup(void)
{
	room_open(&room);
	snprintf(dir, sizeof(dir), "%s/session", room.path);
}

static void teardown(void)
{
	room_close(&room);
}

static struct wf_session *opened(void)
{
	struct wf_session *s = NULL;

	cr_assert_eq(wf_session_open(&s, &room.env, dir), 0, "%s", room.last);
	return s;
}

static char *path_of(const char *file)
{
	static char path[600];

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	return path;
}

static int store(struct wf_session *s, const char *key, uint32_t attempt, uint64_t fingerprint)
{
	struct wf_dataset_part part = { .data = "result", .size = 6 };
	struct wf_dataset_spec spec = { .dir = wf_session_path(s, WF_SESSION_DATA),
		                        .name = key,
		                        .epoch = wf_session_epoch(s),
		                        .attempt = attempt,
		                        .fingerprint = fingerprint };

	return wf_dataset_write(&room.env, &spec, &part, 1);
}

Test(session, each_has_the_next_epoch, .init = setup, .fini = teardown)
{
	for (uint64_t epoch = 1; epoch < 12; epoch++) {
		struct wf_session *s = opened();

		cr_assert_eq(wf_session_epoch(s), epoch);
		wf_session_close(s, epoch % 3 == 0);
	}
	wf_session_close(NULL, true);
}

Test(session, a_live_one_keeps_others_out, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened(), *other = NULL;
	char text[64];

	cr_assert_eq(wf_session_open(&other, &room.env, dir), -EBUSY);
	cr_assert_null(other);
	snprintf(text, sizeof(text), "in use by process %d", (int)getpid());
	cr_assert_not_null(strstr(room.last, text), "%s", room.last);
	wf_session_close(s, false);
	s = opened();
	cr_assert_eq(wf_session_epoch(s), 2, "who was refused took none");
	wf_session_close(s, false);
}

/* The child has a session, says so, and waits for its end. Its I/O is its own. */
static pid_t child_with_session(void)
{
	int pipes[2];
	char byte;
	pid_t pid;

	cr_assert_eq(pipe(pipes), 0);
	wf_io_close(room.env.io);
	pid = fork();
	if (pid == 0) {
		struct wf_session *s;

		REQUIRE(room_io_open(&room, "threads"));
		REQUIRE(wf_session_open(&s, &room.env, dir) == 0);
		REQUIRE(write(pipes[1], "x", 1) == 1);
		for (;;)
			pause();
	}
	cr_assert(room_io_open(&room, "threads"));
	cr_assert_eq(read(pipes[0], &byte, 1), 1);
	close(pipes[0]);
	close(pipes[1]);
	return pid;
}

Test(session, the_death_of_its_process_ends_it, .init = setup, .fini = teardown)
{
	struct wf_session *s;
	pid_t pid = child_with_session();

	cr_assert_eq(wf_session_open(&s, &room.env, dir), -EBUSY);
	cr_assert_eq(kill(pid, SIGKILL), 0);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	s = opened();
	cr_assert_eq(wf_session_epoch(s), 2);
	wf_session_close(s, false);
}

static void put_text(const char *file, const char *text)
{
	int fd = open(path_of(file), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

Test(session, an_epoch_that_is_not_readable_is_not_guessed, .init = setup, .fini = teardown)
{
	static const char *const texts[] = {
		"",
		"\n",
		"weft-session 1 epoch 3\n",
		"weft-session 1 epoch 1 process 1 sum 0000000000000000\n",
		"weft-session 2 epoch 1",
		"epoch"
	};
	struct wf_session *s = opened();
	char good[128] = "", bad[300];
	int fd;

	wf_session_close(s, false);
	fd = open(path_of("epoch"), O_RDONLY);
	cr_assert_gt(read(fd, good, sizeof(good) - 1), 0);
	close(fd);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put_text("epoch", texts[i]);
		cr_assert_eq(wf_session_open(&s, &room.env, dir), -EBADMSG, "%s", texts[i]);
		cr_assert_not_null(strstr(room.last, "/epoch is not readable"));
	}
	memset(bad, 'x', sizeof(bad) - 1);
	bad[sizeof(bad) - 1] = '\0';
	put_text("epoch", bad);
	cr_assert_eq(wf_session_open(&s, &room.env, dir), -EBADMSG);
	for (size_t i = 0; i < strlen(good); i++) {
		snprintf(bad, sizeof(bad), "%s", good);
		bad[i] ^= 1;
		put_text("epoch", bad);
		cr_assert_eq(wf_session_open(&s, &room.env, dir), -EBADMSG, "%s", bad);
	}
	put_text("epoch", good);
	s = opened();
	cr_assert_eq(wf_session_epoch(s), 2);
	wf_session_close(s, false);
}

Test(session, starts_of_a_key_are_bounded_over_sessions, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened();
	uint32_t attempt, before = UINT32_MAX;

	for (uint32_t i = 0; i <= WF_SESSION_RETRIES; i++) {
		if (i % 2 == 1) {
			wf_session_close(s, false);
			s = opened();
			before = UINT32_MAX;
		}
		cr_assert_eq(wf_session_attempt(s, "k/1", WF_SESSION_RETRIES, &attempt), 0);
		cr_assert(before == UINT32_MAX || attempt > before);
		before = attempt;
		/* Others do not count for it. */
		cr_assert_eq(wf_session_attempt(s, "k/1.0", 100, &attempt), 0);
	}
	attempt = 77;
	cr_assert_eq(wf_session_attempt(s, "k/1", WF_SESSION_RETRIES, &attempt), WF_EATTEMPTS);
	cr_assert_eq(attempt, 77);
	cr_assert_not_null(strstr(room.last, "\"k/1\" was begun 6 times"), "%s", room.last);
	cr_assert_eq(wf_session_attempt(s, "k/1", WF_SESSION_RETRIES + 1, &attempt), 0);
	cr_assert_eq(wf_session_attempt(s, "new", 0, &attempt), 0);
	cr_assert_eq(wf_session_attempt(s, "new", 0, &attempt), WF_EATTEMPTS);
	cr_assert_eq(wf_session_attempt(s, "", 0, &attempt), -EINVAL);
	cr_assert_eq(wf_session_attempts_forget(s, ""), -EINVAL);
	/* It ended well. */
	cr_assert_eq(wf_session_attempts_forget(s, "k/1"), 0);
	cr_assert_eq(wf_session_attempts_forget(s, "k/1"), 0);
	for (uint32_t i = 0; i <= 2; i++)
		cr_assert_eq(wf_session_attempt(s, "k/1", 2, &attempt), 0);
	cr_assert_eq(wf_session_attempt(s, "k/1", 2, &attempt), WF_EATTEMPTS);
	/* So did everything. */
	wf_session_close(s, true);
	s = opened();
	cr_assert_eq(wf_session_attempt(s, "k/1", 2, &attempt), 0);
	wf_session_close(s, false);
}

enum { STARTERS = 4, STARTS = 10 };

struct starter {
	struct wf_session *session;
	uint32_t numbers[STARTS + 1];
	uint32_t count;
};

static void *start_often(void *arg)
{
	struct starter *starter = arg;
	int status;

	for (;;) {
		status = wf_session_attempt(starter->session, "k", STARTS - 1,
		                            &starter->numbers[starter->count]);
		if (status != 0)
			break;
		starter->count++;
		cr_assert_leq(starter->count, STARTS);
	}
	cr_assert_eq(status, WF_EATTEMPTS);
	return NULL;
}

Test(session, threads_that_begin_one_key_share_its_bound, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened();
	struct starter starters[STARTERS];
	pthread_t threads[STARTERS];
	uint32_t total = 0, seen = 0;

	/* The log is this thread's alone. */
	wf_session_close(s, false);
	room.env.log = NULL;
	s = opened();
	for (int i = 0; i < STARTERS; i++) {
		starters[i] = (struct starter){ .session = s };
		cr_assert_eq(pthread_create(&threads[i], NULL, start_often, &starters[i]), 0);
	}
	for (int i = 0; i < STARTERS; i++) {
		pthread_join(threads[i], NULL);
		total += starters[i].count;
		for (uint32_t n = 0; n < starters[i].count; n++)
			seen |= 1u << starters[i].numbers[n];
	}
	cr_assert_eq(total, STARTS);
	cr_assert_eq(seen, (1u << STARTS) - 1, "each has a number of its own");
	wf_session_close(s, false);
}

Test(session, a_result_is_found_by_key_and_fingerprint, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened();
	struct wf_dataset *d = NULL;
	char got[6];

	cr_assert_eq(wf_session_find(s, "k", 5, &d), -ENOENT);
	cr_assert_eq(store(s, "k", 0, 5), 0);
	wf_session_close(s, true);
	s = opened();
	cr_assert_eq(wf_session_find(s, "k", 5, &d), 0);
	cr_assert_eq(wf_dataset_read(d, 0, got, NULL), 0);
	cr_assert_eq(memcmp(got, "result", 6), 0);
	wf_dataset_close(d);
	cr_assert_eq(wf_session_find(s, "k", 0, &d), 0, "by key alone");
	wf_dataset_close(d);
	d = NULL;
	cr_assert_eq(wf_session_find(s, "k", 6, &d), WF_ECONFLICT);
	cr_assert_not_null(strstr(room.last, "\"k\" was made by another descriptor"));
	cr_assert_eq(truncate(path_of("data/k.weft"), 100), 0);
	cr_assert_eq(wf_session_find(s, "k", 5, &d), -EBADMSG);
	cr_assert_not_null(strstr(room.last, "\"k\" does not verify: "), "%s", room.last);
	cr_assert_null(d);
	cr_assert_eq(store(s, "k", 0, 5), 0, "and is made again");
	cr_assert_eq(wf_session_find(s, "k", 5, &d), 0);
	wf_dataset_close(d);
	wf_session_close(s, false);
}

Test(session, a_late_output_of_an_older_attempt_cannot_win, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened();
	struct wf_dataset_spec late;
	struct wf_dataset_writer *w;
	struct wf_dataset *d;
	uint32_t first, second;

	cr_assert_eq(wf_session_attempt(s, "k", 5, &first), 0);
	late = (struct wf_dataset_spec){ .dir = path_of("data"),
		                         .name = "k",
		                         .epoch = wf_session_epoch(s),
		                         .attempt = first,
		                         .fingerprint = 1 };
	cr_assert_eq(wf_dataset_begin(&w, &room.env, &late), 0);
	cr_assert_eq(wf_session_attempt(s, "k", 5, &second), 0);
	cr_assert_eq(store(s, "k", second, 2), 0);
	cr_assert_eq(wf_dataset_publish(w), -ESTALE);
	/* Counting anew does not make old numbers new. */
	cr_assert_eq(wf_session_attempts_forget(s, "k"), 0);
	cr_assert_eq(wf_session_attempt(s, "k", 5, &second), 0);
	cr_assert_eq(store(s, "k", second, 3), 0);
	cr_assert_eq(wf_session_find(s, "k", 3, &d), 0);
	wf_dataset_close(d);
	wf_session_close(s, false);
}

Test(session, strays_go_at_the_next_opening, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened();

	wf_session_close(s, false);
	cr_assert_eq(mkdir(path_of("temp/.k.1.0.0.7fffffff.1.1~"), 0700), 0);
	put_text("temp/.k.1.0.0.7fffffff.1.1~/file", "x");
	put_text("data/.k.1.0.0.7fffffff.1.1~", "x");
	put_text("output/.k.1.0.0.7fffffff.1.1~", "x");
	put_text("epoch.new", "torn");
	s = opened();
	cr_assert_eq(count_entries(path_of("temp"), true), 0);
	cr_assert_eq(count_entries(path_of("data"), true), 0);
	cr_assert_eq(count_entries(path_of("output"), true), 0);
	wf_session_close(s, false);
}

Test(session, temporary_outputs_go_after_a_success_only, .init = setup, .fini = teardown)
{
	struct wf_session *s = opened();
	struct wf_outdir *out;

	for (int place = WF_SESSION_OUTPUT; place <= WF_SESSION_TEMP; place++) {
		cr_assert_eq(wf_outdir_create(&out, &room.env,
		                              wf_session_path(s, (enum wf_session_place)place), "o",
		                              wf_session_epoch(s), 0),
		             0);
		cr_assert_eq(wf_outdir_publish(out), 0);
	}
	cr_assert_eq(store(s, "k", 0, 1), 0);
	wf_session_close(s, false);
	cr_assert_eq(count_entries(path_of("temp"), true), 1, "for whoever looks why it failed");
	s = opened();
	cr_assert_eq(count_entries(path_of("temp"), true), 1);
	wf_session_close(s, true);
	cr_assert_eq(count_entries(path_of("temp"), true), -1);
	cr_assert_eq(count_entries(path_of("output"), true), 1);
	cr_assert_eq(count_entries(path_of("data"), true), 1);
	s = opened();
	cr_assert_eq(count_entries(path_of("temp"), true), 0);
	wf_session_close(s, true);
}

Test(session, a_place_that_cannot_be_one_is_refused, .init = setup, .fini = teardown)
{
	struct wf_session *s = NULL;

	snprintf(dir, sizeof(dir), "%s/not/there", room.path);
	cr_assert_eq(wf_session_open(&s, &room.env, dir), -ENOENT);
	snprintf(dir, sizeof(dir), "%s", room.path);
	put_text("file", "");
	snprintf(dir, sizeof(dir), "%s/file", room.path);
	cr_assert_eq(wf_session_open(&s, &room.env, dir), -ENOTDIR);
	cr_assert_null(s);
}
