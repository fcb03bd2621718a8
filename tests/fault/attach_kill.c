/*
 * Goal: however an attached process ends, everything it had at the runtime is undone, and nothing
 * else is touched; and however the runtime ends, its clients know, keep what they look at as long
 * as they look, and nothing with a name is left but a socket file that the next one replaces.
 * Method: children that are this program again. One kills itself at the n-th step that another
 * process can see, for every n; one works at random until it is killed from outside, after so many
 * gets; a runtime in a child is killed while a client works. After each, the store's counters.
 */
#include <dirent.h>
#include <signal.h>
#include <sys/prctl.h>

#include "attached.h"

#define VALUES 8
#define VALUE  ((size_t)128 << 10)
#define KILLS  40 /* beside one at every point: more than a hundred */
#define LONGER 2000
#define STORE  (2 * ATTACH_MIB)
/* Each costs a start of this program. */
#define STEP   (WF_TSAN || WF_ASAN ? 4 : 1)

static uint64_t points_left; /* 0: never */

void weft_client_point(void);
void weft_client_point(void)
{
	if (points_left != 0 && --points_left == 0)
		kill(getpid(), SIGKILL);
}

/* ---- Children ------------------------------------------------------------------------------- */

static void name_of(char name[16], uint32_t i)
{
	snprintf(name, 16, "value%u", i);
}

static weft_client *connect_or_end(const char *path)
{
	weft_client *client;

	if (weft_client_connect(path, weft_client_after_ms(60000), &client, NULL) != 0)
		_exit(3);
	return client;
}

/* Everything once, in one order. */
static void work_through(const char *path)
{
	struct weft_client_object object = { .struct_size = sizeof(object), .name = "made" };
	weft_client *client = connect_or_end(path);
	struct weft_client_view views[VALUES + 1];
	struct weft_client_buffer buffer;
	uint64_t id;
	char name[16];

	for (uint32_t i = 0; i < VALUES; i++) {
		name_of(name, i);
		API_CHECK(weft_client_get(client, name, WEFT_CLIENT_FOREVER, &views[i], NULL) == 0);
		API_CHECK(attach_filled(views[i].data, views[i].size, i));
		if (i >= 2)
			API_CHECK(weft_client_release(client, &views[i - 2]) == 0);
	}
	API_CHECK(weft_client_get(client, "small", WEFT_CLIENT_POLL, &views[VALUES], NULL) == 0);
	API_CHECK(weft_client_create(client, 100000, &buffer) == 0);
	attach_fill(buffer.data, buffer.size, 99);
	API_CHECK(weft_client_seal(client, &buffer, &object, WEFT_CLIENT_FOREVER, &id, NULL) == 0);
	API_CHECK(weft_client_put(client, "abc", 3, NULL, WEFT_CLIENT_FOREVER, NULL, NULL) == 0);
	API_CHECK(weft_client_get(client, "nothing", weft_client_after_ms(1), &views[0], NULL) ==
	          -ENOENT);
	API_CHECK(weft_client_get_id(client, id, WEFT_CLIENT_POLL, &views[0], NULL) == 0);
	API_CHECK(attach_filled(views[0].data, views[0].size, 99));
	API_CHECK(weft_client_remove(client, id, NULL) == 0);
	weft_client_close(client);
}

/* At random, for ever. */
static void work_on(const char *path, uint64_t seed)
{
	weft_client *client = connect_or_end(path);
	struct weft_client_view views[4] = { { 0 } };

	for (;;) {
		uint32_t i = api_below(&seed, VALUES), at = api_below(&seed, 4);
		char name[16];
		uint64_t id;
		int rc;

		name_of(name, i);
		if (views[at].private_[0] != 0)
			API_CHECK(weft_client_release(client, &views[at]) == 0);
		rc = weft_client_get(client, name, api_below(&seed, 2) ? WEFT_CLIENT_FOREVER : 0,
		                     &views[at], NULL);
		if (rc == -EPIPE)
			_exit(0);
		API_CHECK(rc == 0 || rc == -ETIMEDOUT || rc == WEFT_ESTOREFULL);
		if (rc == 0)
			API_CHECK(attach_filled(views[at].data, views[at].size, i));
		if (api_below(&seed, 4) == 0 &&
		    weft_client_put(client, name, sizeof(name), NULL, WEFT_CLIENT_POLL, &id,
		                    NULL) == 0 &&
		    api_below(&seed, 2))
			(void)weft_client_remove(client, id, NULL);
	}
}

/* A runtime that exports and then waits to be killed. */
static void be_the_runtime(const char *path, const char *dir)
{
	struct weft_attach_options options = { .struct_size = sizeof(options),
		                               .flags = WEFT_ATTACH_CREATE };
	weft *rt = attach_open(1, STORE, dir);
	weft_ref ref;

	for (uint32_t i = 0; i < VALUES * 3; i++) {
		char name[16];

		name_of(name, i);
		ref = attach_value(rt, VALUE, i);
		if (i == 0)
			API_CHECK(weft_attach_listen(rt, path, &options) == 0);
		API_CHECK(weft_attach_export(rt, name, ref, NULL) == 0);
		api_release(rt, ref);
	}
	API_CHECK(write(STDOUT_FILENO, "r", 1) == 1);
	for (;;)
		pause();
}

static int be_a_child(char **argv)
{
	/* Not longer than the test. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (strcmp(argv[1], "through") == 0) {
		points_left = strtoull(argv[3], NULL, 10);
		work_through(argv[2]);
	} else if (strcmp(argv[1], "on") == 0) {
		work_on(argv[2], strtoull(argv[3], NULL, 10));
	} else {
		be_the_runtime(argv[2], argv[3]);
	}
	return 0;
}

static pid_t start(const char *mode, const char *path, const char *last, int out)
{
	pid_t child = fork();

	if (child == 0) {
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		execl("/proc/self/exe", "attach_kill", mode, path, last, (char *)NULL);
		_exit(4);
	}
	API_CHECK(child > 0);
	return child;
}

static int end_of(pid_t child)
{
	int status = -1;

	API_CHECK(waitpid(child, &status, 0) == child);
	return status;
}

/* ---- Clients that are killed ---------------------------------------------------------------- */

static weft_ref refs[VALUES], small;

static weft *runtime_with_values(const struct attach_place *place)
{
	struct weft_attach_options options = { .struct_size = sizeof(options),
		                               .flags = WEFT_ATTACH_CREATE };
	weft *rt = attach_open(1, STORE, place->dir);

	API_CHECK(weft_attach_listen(rt, place->path, &options) == 0);
	for (uint32_t i = 0; i < VALUES; i++) {
		char name[16];

		name_of(name, i);
		refs[i] = attach_value(rt, VALUE, i);
		API_CHECK(weft_attach_export(rt, name, refs[i], NULL) == 0);
	}
	small = attach_value(rt, 20, 0);
	API_CHECK(weft_attach_export(rt, "small", small, NULL) == 0);
	return rt;
}

/* All that is left is what the runtime has exported, and what it handed over: take that back. */
static void check_undone(weft *rt)
{
	const int64_t start_ns = api_now();
	struct weft_store_stats stats;

	attach_await(rt, 0, 0, 0);
	(void)weft_attach_unexport(rt, "made", 0);
	for (;;) {
		stats = attach_stats(rt);
		/* The recount: a store of this size keeps no credits, so that is all there is. */
		if (stats.pinned == 0 && stats.creating == 0 && stats.transit == 0 &&
		    stats.used == stats.evictable)
			break;
		api_polling(start_ns, "all pins are undone");
	}
	API_CHECK(stats.losses == 0);
}

/* What clients that were killed have handed over without a name stays; by its number it can go. */
static void remove_nameless(weft *rt, uint64_t *last)
{
	weft_ref probe = api_put_i64(rt, 1);
	uint64_t now;

	API_CHECK(weft_attach_export(rt, NULL, probe, &now) == 0);
	for (uint64_t id = *last + 1; id <= now; id++)
		(void)weft_attach_unexport(rt, NULL, id);
	*last = now;
	api_release(rt, probe);
}

static void crowd_out(weft *rt)
{
	/* Room for some of the values only: the rest is in files when the next client comes. */
	weft_ref filler = attach_value(rt, ATTACH_MIB + ATTACH_MIB / 4, 50);

	api_release(rt, filler);
}

static uint64_t kill_at_every_point(weft *rt, const struct attach_place *place, uint64_t *last)
{
	for (uint64_t point = 1; point < 1000; point += STEP) {
		char text[24];
		int status;

		crowd_out(rt);
		snprintf(text, sizeof(text), "%llu", (unsigned long long)point);
		status = end_of(start("through", place->path, text, -1));
		check_undone(rt);
		remove_nameless(rt, last);
		API_CHECK(attach_stats(rt).objects == VALUES);
		if (WIFEXITED(status)) {
			API_CHECK(WEXITSTATUS(status) == 0);
			return point - 1;
		}
		API_CHECK(WTERMSIG(status) == SIGKILL);
	}
	API_CHECK(!"the points end");
	return 0;
}

static void kill_from_outside(weft *rt, const struct attach_place *place, uint64_t *last,
                              uint32_t kills)
{
	uint64_t state = test_seed();

	for (uint32_t i = 0; i < kills; i++) {
		uint64_t gets = api_below(&state, 40);
		const int64_t start_ns = api_now();
		char text[24];
		pid_t child;

		snprintf(text, sizeof(text), "%u", 1 + api_below(&state, 1u << 30));
		child = start("on", place->path, text, -1);
		crowd_out(rt);
		while (attach_clients(rt).gets < gets)
			api_polling(start_ns, "the child works");
		API_CHECK(kill(child, SIGKILL) == 0);
		API_CHECK(WIFSIGNALED(end_of(child)));
		check_undone(rt);
		remove_nameless(rt, last);
		API_CHECK(attach_stats(rt).objects == VALUES);
	}
}

static void clients_are_killed(uint32_t kills)
{
	struct attach_place place;
	struct weft_buffer buffer;
	uint64_t last, points;
	weft *rt;

	attach_place_make(&place);
	rt = runtime_with_values(&place);
	/* The numbers so far are the runtime's own. */
	API_CHECK(weft_attach_export(rt, "mark", small, &last) == 0);
	points = kill_at_every_point(rt, &place, &last);
	API_CHECK(points > 40);
	printf("%llu points\n", (unsigned long long)points);
	kill_from_outside(rt, &place, &last, kills);
	API_CHECK(attach_stats(rt).restores > 0);
	API_CHECK(points + kills > 100 || STEP > 1);
	for (uint32_t i = 0; i < VALUES; i++) {
		struct weft_view view;

		API_CHECK(weft_get(rt, refs[i], WEFT_FOREVER, &view) == 0);
		API_CHECK(attach_filled(view.data, view.size, i));
	}
	/* Nothing that a client began is thought to be under way: what is hopeless is told so. */
	API_CHECK(weft_create(rt, STORE - VALUE, NULL, &buffer) == WEFT_ESTOREFULL);
	for (uint32_t i = 0; i < VALUES; i++)
		api_release(rt, refs[i]);
	api_release(rt, small);
	API_CHECK(weft_attach_stop(rt) == 0);
	attach_await_empty(rt);
	api_await_no_tasks(rt);
	api_close(rt);
	attach_place_remove(&place);
}

/* ---- A runtime that is killed --------------------------------------------------------------- */

static uint32_t entries(const char *path)
{
	DIR *dir = opendir(path);
	uint32_t n = 0;

	API_CHECK(dir != NULL);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

/* Whether all memory that a process shares is of files without a name. */
static bool shares_nothing_named(pid_t process)
{
	char path[64], line[512];
	bool good = true;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)process);
	maps = fopen(path, "r");
	API_CHECK(maps != NULL);
	while (fgets(line, sizeof(line), maps) != NULL) {
		const char *perms = strchr(line, ' '), *name = strchr(line, '/');

		if (perms == NULL || perms[4] != 's' || name == NULL)
			continue;
		good &= strncmp(name, "/memfd:", 7) == 0 || strstr(name, "(deleted)") != NULL;
	}
	fclose(maps);
	return good;
}

static void runtime_is_killed(const struct attach_place *place, uint64_t *state)
{
	uint32_t rounds = api_below(state, 30);
	struct weft_client_view view, kept;
	weft_client *client;
	char name[16], byte;
	int pipes[2], rc = 0;
	pid_t child;

	API_CHECK(pipe(pipes) == 0);
	child = start("runtime", place->path, place->dir, pipes[1]);
	close(pipes[1]);
	API_CHECK(read(pipes[0], &byte, 1) == 1);
	close(pipes[0]);
	API_CHECK(weft_client_connect(place->path, WEFT_CLIENT_POLL, &client, NULL) == 0);
	API_CHECK(weft_client_get(client, "value1", WEFT_CLIENT_FOREVER, &kept, NULL) == 0);
	API_CHECK(shares_nothing_named(child));
	API_CHECK(shares_nothing_named(getpid()));
	for (uint32_t i = 0; rc != -EPIPE; i++) {
		if (i == rounds)
			API_CHECK(kill(child, SIGKILL) == 0);
		name_of(name, api_below(state, VALUES));
		rc = weft_client_get(client, name, WEFT_CLIENT_FOREVER, &view, NULL);
		API_CHECK(rc == 0 || rc == -EPIPE);
		if (rc == 0)
			API_CHECK(weft_client_release(client, &view) == 0);
	}
	API_CHECK(WIFSIGNALED(end_of(child)));
	API_CHECK(attach_filled(kept.data, kept.size, 1));
	API_CHECK(weft_client_put(client, "x", 1, NULL, WEFT_CLIENT_FOREVER, NULL, NULL) == -EPIPE);
	weft_client_close(client);
	/* The socket's file, which is found and replaced by the next; no memory, no spill file. */
	API_CHECK(access(place->path, F_OK) == 0);
	API_CHECK(entries(place->dir) == 3);
}

static void runtimes_are_killed(uint32_t kills)
{
	uint64_t state = test_seed();
	struct attach_place place;
	weft *rt;

	attach_place_make(&place);
	for (uint32_t i = 0; i < kills; i++)
		runtime_is_killed(&place, &state);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	weft_client_close(attach_connect(&place));
	api_close(rt);
	attach_place_remove(&place);
}

int main(int argc, char **argv)
{
	bool scarce = WF_TSAN || WF_ASAN;
	uint32_t kills = test_is_long() ? LONGER : scarce ? 10 : KILLS;

	if (argc == 4)
		return be_a_child(argv);
	clients_are_killed(kills);
	runtimes_are_killed(test_is_long() ? 200 : scarce ? 3 : 8);
	return 0;
}
