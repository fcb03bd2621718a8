/*
 * Goal: several processes with several threads write one dataset, read it, list and clean the
 * directory, all at once: who reads sees whole datasets, never an older one after a newer; the
 * newest is there at the end; no live writer's file is taken for a stray.
 * Method: epochs are drawn from a counter in shared memory, so that the newest is known; each
 * dataset is filled by its epoch, so that a mixture is seen.
 */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "dataset_dir.h"
#include "seed.h"

enum { PROCESSES = 2, WRITERS = 2, READERS = 2 };

static struct shared {
	struct wf_a64 epoch;
	struct wf_a64 published, stale, reads;
	struct wf_a32 writing; /* processes with writers at work */
} * shared;

static struct room room;
static int rounds;

static void *writer(void *arg)
{
	(void)arg;
	for (int i = 0; i < rounds; i++) {
		/* relaxed: a number of its own. */
		uint64_t epoch = wf_add_relaxed(&shared->epoch, 1) + 1;
		struct wf_dataset_part parts[] = { make_part(3000, epoch, 0),
			                           make_part(70000 + epoch % 100, epoch, 1) };
		struct wf_dataset_spec spec = { .dir = room.path, .name = "d", .epoch = epoch };
		int status = wf_dataset_write(&room.env, &spec, parts, 2);

		REQUIRE(status == 0 || status == -ESTALE);
		/* relaxed: statistics. */
		wf_add_relaxed(status == 0 ? &shared->published : &shared->stale, 1);
		free_parts(parts, 2);
	}
	return NULL;
}

static bool is_writing(void)
{
	/* acquire [D2]: with the release [D1], so that the last look comes after the last write. */
	return wf_load_acquire(&shared->writing) > 0;
}

static void *reader(void *arg)
{
	uint64_t last = 0;
	bool more;

	(void)arg;
	do {
		struct wf_dataset *d;
		int status;

		more = is_writing();
		status = wf_dataset_open(&d, &room.env, room.path, "d", NULL);
		if (status == -ENOENT && last == 0)
			continue;
		REQUIRE(status == 0);
		REQUIRE(wf_dataset_info(d)->epoch >= last);
		last = wf_dataset_info(d)->epoch;
		REQUIRE(check_whole(d, last) == 0);
		wf_dataset_close(d);
		/* relaxed: a statistic. */
		wf_add_relaxed(&shared->reads, 1);
	} while (more);
	return NULL;
}

static int see_one(void *arg, const char *name, const struct wf_dataset *d,
                   const struct wf_dataset_fault *fault)
{
	int *seen = arg;

	REQUIRE(strcmp(name, "d") == 0 && d != NULL && fault == NULL);
	++*seen;
	return 0;
}

static void *cleaner(void *arg)
{
	(void)arg;
	while (is_writing()) {
		int seen = 0;

		REQUIRE(wf_dataset_clean(&room.env, room.path) == 0);
		REQUIRE(wf_dataset_list(&room.env, room.path, see_one, &seen) == 0);
		REQUIRE(seen <= 1);
	}
	return NULL;
}

static void process(void)
{
	pthread_t writers[WRITERS], readers[READERS], clean;

	REQUIRE(room_io_open(&room, "threads"));
	room.env.log = NULL;
	for (int i = 0; i < WRITERS; i++)
		REQUIRE(pthread_create(&writers[i], NULL, writer, NULL) == 0);
	for (int i = 0; i < READERS; i++)
		REQUIRE(pthread_create(&readers[i], NULL, reader, NULL) == 0);
	REQUIRE(pthread_create(&clean, NULL, cleaner, NULL) == 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(writers[i], NULL);
	/* release [D1]: our writes, to the acquire [D2]. */
	wf_add_release(&shared->writing, UINT32_MAX);
	for (int i = 0; i < READERS; i++)
		pthread_join(readers[i], NULL);
	pthread_join(clean, NULL);
	wf_io_close(room.env.io);
}

int main(void)
{
	pid_t pids[PROCESSES];
	struct wf_dataset *d;
	uint64_t total;

	rounds = test_is_long() ? 3000 : WF_TSAN || WF_ASAN ? 20 : 60;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
	              0);
	REQUIRE(shared != MAP_FAILED);
	room_make(&room, false);
	wf_init(&shared->writing, PROCESSES);
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = fork();
		REQUIRE(pids[i] >= 0);
		if (pids[i] == 0) {
			process();
			exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		REQUIRE(waitpid(pids[i], &status, 0) == pids[i]);
		REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	/* relaxed, all: the processes have ended. */
	total = wf_load_relaxed(&shared->published) + wf_load_relaxed(&shared->stale);
	REQUIRE(total == (uint64_t)PROCESSES * WRITERS * (uint64_t)rounds);
	REQUIRE(wf_load_relaxed(&shared->epoch) == total);
	REQUIRE(room_io_open(&room, "threads"));
	REQUIRE(wf_dataset_open(&d, &room.env, room.path, "d", NULL) == 0);
	REQUIRE(wf_dataset_info(d)->epoch == total);
	wf_dataset_close(d);
	REQUIRE(count_entries(room.path, true) == 1);
	/* relaxed: as above. */
	printf("%d published, %d late, %d reads\n", (int)wf_load_relaxed(&shared->published),
	       (int)wf_load_relaxed(&shared->stale), (int)wf_load_relaxed(&shared->reads));
	room_close(&room);
	munmap(shared, sizeof(*shared));
	return 0;
}
