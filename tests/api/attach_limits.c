/*
 * Goal: every limit of attached processes is kept, told in words, and felt by its cause only; many
 * threads share a client; the list of clients says what is so.
 * Method: limits of a few, reached from both sides.
 */
#include <pwd.h>
#include <sys/resource.h>

#include "attached.h"
#include "test.h"

static void end(const struct attach_place *place, weft *rt)
{
	attach_await(rt, 0, 0, 0);
	cr_assert_eq(weft_attach_stop(rt), 0);
	attach_await_empty(rt);
	api_await_no_tasks(rt);
	api_close(rt);
	attach_place_remove(place);
}

/* Until somebody is let in again: a client that has just left may still be counted. */
static weft_client *connect_again(weft *rt, const struct attach_place *place, uint64_t others)
{
	attach_await(rt, others, 0, 0);
	return attach_connect(place);
}

Test(attach_limits, connections_are_counted)
{
	struct weft_client_error error;
	struct attach_place place;
	weft_client *clients[3], *more = NULL;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .clients_max = 3 });
	for (uint32_t i = 0; i < 3; i++)
		clients[i] = attach_connect(&place);
	for (uint32_t i = 0; i < 20; i++) {
		cr_assert_eq(weft_client_connect(place.path, 0, &more, &error), -EUSERS);
		cr_assert_str_eq(error.text, "as many are attached as may be");
	}
	cr_assert_null(more);
	weft_client_close(clients[1]);
	clients[1] = connect_again(rt, &place, 2);
	for (uint32_t i = 0; i < 3; i++)
		weft_client_close(clients[i]);
	end(&place, rt);
}

Test(attach_limits, one_process_cannot_take_all_connections)
{
	struct weft_client_error error;
	struct attach_place place;
	weft_client *clients[2], *more = NULL;
	int status = -1;
	pid_t child;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .process_max = 2 });
	for (uint32_t i = 0; i < 2; i++)
		clients[i] = attach_connect(&place);
	cr_assert_eq(weft_client_connect(place.path, 0, &more, &error), -EUSERS);
	cr_assert_not_null(strstr(error.text, "the process"));
	child = fork();
	if (child == 0)
		_exit(weft_client_connect(place.path, WEFT_CLIENT_FOREVER, &more, NULL) == 0 ? 0
		                                                                             : 1);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0, "another one still can");
	for (uint32_t i = 0; i < 2; i++)
		weft_client_close(clients[i]);
	end(&place, rt);
}

Test(attach_limits, held_values_are_counted_for_each)
{
	struct weft_client_error error;
	struct attach_place place;
	struct weft_client_view views[3];
	weft_client *client, *other;
	weft_ref ref, small;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .pins_max = 2 });
	client = attach_connect(&place);
	other = attach_connect(&place);
	ref = attach_value(rt, 1000, 1);
	small = attach_value(rt, 100, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	cr_assert_eq(weft_attach_export(rt, "s", small, NULL), 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &views[0], NULL), 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &views[1], NULL), 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &views[2], &error), -EMFILE);
	cr_assert_not_null(strstr(error.text, "2 values"));
	cr_assert_eq(weft_client_get(client, "s", 0, &views[2], &error), 0,
	             "it is not in the store");
	cr_assert_eq(weft_client_get(other, "v", 0, &views[2], &error), 0, "the other's own limit");
	cr_assert_eq(weft_client_release(client, &views[1]), 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &views[1], NULL), 0);
	weft_client_close(client);
	weft_client_close(other);
	api_release(rt, ref);
	api_release(rt, small);
	end(&place, rt);
}

Test(attach_limits, held_bytes_are_counted_for_all)
{
	struct weft_client_error error;
	struct attach_place place;
	struct weft_client_view views[2];
	weft_client *client, *other;
	weft_ref ref;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .pinned_max = 2500 });
	client = attach_connect(&place);
	other = attach_connect(&place);
	ref = attach_value(rt, 1000, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &views[0], NULL), 0);
	cr_assert_eq(weft_client_get(other, "v", 0, &views[1], NULL), 0);
	cr_assert_eq(weft_client_get(client, "v", WEFT_CLIENT_FOREVER, &views[1], &error), -EDQUOT);
	cr_assert_not_null(strstr(error.text, "2000"));
	cr_assert_not_null(strstr(error.text, "2500"));
	weft_client_close(other);
	attach_await(rt, 1, 1, 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &views[1], &error), 0);
	cr_assert_eq(attach_clients(rt).pinned_bytes, 2000);
	weft_client_close(client);
	api_release(rt, ref);
	end(&place, rt);
}

Test(attach_limits, names_and_created_bytes_are_counted)
{
	struct weft_client_object object = { .struct_size = sizeof(object) };
	struct weft_client_error error;
	struct attach_place place;
	char bytes[3000] = { 1 };
	uint64_t ids[3], unused = 6;
	weft_client *client;
	weft_ref ref, wanted;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place,
	                   (struct weft_attach_options){ .flags = WEFT_ATTACH_CREATE,
	                                                 .names_max = 3,
	                                                 .created_max = 2500 });
	client = attach_connect(&place);
	ref = api_put_i64(rt, 1);
	cr_assert_eq(weft_client_put(client, bytes, 2501, NULL, 0, &unused, &error), -EDQUOT);
	cr_assert_eq(weft_client_put(client, bytes, 1000, NULL, 0, &ids[0], &error), 0);
	cr_assert_eq(weft_client_put(client, bytes, 1000, NULL, 0, &ids[1], &error), 0);
	cr_assert_eq(weft_client_put(client, bytes, 1000, NULL, 0, &unused, &error), -EDQUOT);
	cr_assert_not_null(strstr(error.text, "2500"));
	cr_assert_eq(weft_client_put(client, bytes, 500, NULL, 0, &ids[2], &error), 0);
	/* Three are exported. */
	cr_assert_eq(weft_attach_export(rt, "v", ref, &unused), -ENFILE);
	cr_assert_eq(weft_attach_import(rt, "v", &wanted), -ENFILE);
	cr_assert_eq(unused, 6);
	cr_assert_eq(weft_client_put(client, bytes, 0, NULL, 0, &unused, &error), -ENFILE);
	cr_assert_not_null(strstr(error.text, "3 values"));
	cr_assert_eq(weft_client_remove(client, ids[0], &error), 0);
	cr_assert_eq(weft_attach_import(rt, "wanted", &wanted), 0);
	/* No name more, and one that is wanted needs none. */
	object.name = "wanted";
	cr_assert_eq(weft_client_put(client, bytes, 1000, &object, 0, &unused, &error), 0, "%s",
	             error.text);
	cr_assert_eq(weft_attach_unexport(rt, "wanted", 0), 0);
	cr_assert_eq(weft_attach_export(rt, "v", ref, &unused), 0);
	cr_assert_eq(api_get(rt, wanted), 0);
	api_release(rt, wanted);
	api_release(rt, ref);
	weft_client_close(client);
	end(&place, rt);
}

/* ---- Who is let in -------------------------------------------------------------------------- */

Test(attach_limits, another_user_is_not_let_in)
{
	struct passwd *nobody = getpwnam("nobody");
	struct attach_place place;
	int status = -1;
	pid_t child;
	weft *rt;

	if (geteuid() != 0 || nobody == NULL)
		test_skip("only root can be another user");
	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	/* As if the mode of the file had been changed. */
	cr_assert_eq(chmod(place.dir, 0755), 0);
	cr_assert_eq(chmod(place.path, 0666), 0);
	child = fork();
	if (child == 0) {
		struct weft_client_error error;
		weft_client *client = NULL;

		if (setresuid(nobody->pw_uid, nobody->pw_uid, nobody->pw_uid) != 0)
			_exit(1);
		if (weft_client_connect(place.path, 0, &client, &error) != -EACCES)
			_exit(2);
		_exit(strstr(error.text, "another user") != NULL ? 0 : 3);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(attach_clients(rt).id, 0);
	end(&place, rt);
}

/* In a child, as its limits would be the runtime's as well. Says where it went wrong. */
static int with_limits(const char *path)
{
	const int next = dup(0);
	struct rlimit limit = { (rlim_t)next + 1, (rlim_t)next + 1 };
	struct weft_client_buffer buffer;
	weft_client *client = NULL;

	if (next < 0 || close(next) != 0 || setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1;
	if (weft_client_connect(path, weft_client_after_ms(60000), &client, NULL) != -EMFILE)
		return 2;
	if (dup(0) != next || close(next) != 0)
		return 3;
	/* A descriptor for the socket, which stays, and one more. */
	close(0);
	if (weft_client_connect(path, weft_client_after_ms(60000), &client, NULL) != 0)
		return 4;
	limit = (struct rlimit){ ATTACH_MIB, ATTACH_MIB };
	if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
		return 5;
	if (weft_client_create(client, ATTACH_MIB + 1, &buffer) != -EFBIG)
		return 6;
	if (weft_client_create(client, ATTACH_MIB, &buffer) != 0)
		return 7;
	weft_client_close(client);
	return 0;
}

Test(attach_limits, limits_of_the_process_are_errors)
{
	struct attach_place place;
	int status = -1;
	pid_t child;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .flags = WEFT_ATTACH_CREATE });
	child = fork();
	if (child == 0)
		_exit(with_limits(place.path));
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0, "%x", (unsigned)status);
	end(&place, rt);
}

static int first_only(void *arg, const struct weft_attach_client *client)
{
	*(struct weft_attach_client *)arg = *client;
	return 17;
}

Test(attach_limits, the_list_says_who_is_attached)
{
	struct weft_attach_client one = { .id = 0 };
	struct attach_place place;
	struct weft_client_view view;
	weft_client *client, *other;
	weft_ref ref;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .flags = WEFT_ATTACH_CREATE });
	cr_assert_eq(weft_attach_clients(rt, first_only, &one), 0, "nobody");
	client = attach_connect(&place);
	ref = attach_value(rt, 1000, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	cr_assert_eq(weft_client_get(client, "v", 0, &view, NULL), 0);
	cr_assert_eq(weft_client_put(client, "x", 1, NULL, 0, NULL, NULL), 0);
	cr_assert_eq(weft_attach_clients(rt, first_only, &one), 17);
	cr_assert_neq(one.id, 0);
	cr_assert_eq(one.pid, getpid());
	cr_assert_eq(one.uid, geteuid());
	cr_assert_eq(one.pins, 1);
	cr_assert_eq(one.requests, 0);
	cr_assert_eq(one.pinned_bytes, 1000);
	cr_assert_eq(one.gets, 1);
	cr_assert_eq(one.creates, 1);
	other = attach_connect(&place);
	cr_assert_eq(attach_clients(rt).id, 2);
	weft_client_close(other);
	weft_client_close(client);
	api_release(rt, ref);
	end(&place, rt);
}

/* ---- Threads -------------------------------------------------------------------------------- */

#define THREADS 6
#define NAMES   5

struct worker {
	weft_client *client;
	uint64_t seed;
	uint32_t rounds;
};

/* Gets, holds, gives back, creates and removes, all through one client. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct weft_client_view held[4] = { { 0 } };
	uint64_t state = w->seed;

	for (uint32_t i = 0; i < w->rounds; i++) {
		uint32_t k = api_below(&state, NAMES), at = api_below(&state, 4);
		char name[8];
		uint64_t id;

		if (held[at].private_[0] != 0)
			API_CHECK(weft_client_release(w->client, &held[at]) == 0);
		snprintf(name, sizeof(name), "n%u", k);
		API_CHECK(weft_client_get(w->client, name, WEFT_CLIENT_FOREVER, &held[at], NULL) ==
		          0);
		API_CHECK(attach_filled(held[at].data, held[at].size, k));
		if (i % 8 == 0) {
			API_CHECK(weft_client_put(w->client, name, sizeof(name), NULL,
			                          WEFT_CLIENT_FOREVER, &id, NULL) == 0);
			API_CHECK(weft_client_remove(w->client, id, NULL) == 0);
		}
		if (i % 16 == 0)
			API_CHECK(weft_client_get(w->client, "none", weft_client_after_ms(0),
			                          &held[at], NULL) == -ENOENT);
	}
	for (uint32_t at = 0; at < 4; at++) {
		if (held[at].private_[0] != 0)
			API_CHECK(weft_client_release(w->client, &held[at]) == 0);
	}
	return NULL;
}

Test(attach_limits, threads_share_a_client)
{
	static const size_t sizes[NAMES] = { 10, 448, 449, 5000, 100000 };
	struct worker workers[THREADS];
	pthread_t threads[THREADS];
	struct attach_place place;
	weft_client *client;
	weft *rt;
	weft_ref refs[NAMES];

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .flags = WEFT_ATTACH_CREATE });
	client = attach_connect(&place);
	for (uint32_t i = 0; i < NAMES; i++) {
		char name[8];

		snprintf(name, sizeof(name), "n%u", i);
		refs[i] = attach_value(rt, sizes[i], i);
		cr_assert_eq(weft_attach_export(rt, name, refs[i], NULL), 0);
	}
	for (uint32_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ client, test_seed() + i, api_scaled(400) };
		threads[i] = api_thread(work, &workers[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		api_join(threads[i]);
	attach_await(rt, 1, 0, 0);
	weft_client_close(client);
	for (uint32_t i = 0; i < NAMES; i++)
		api_release(rt, refs[i]);
	end(&place, rt);
}

static void *wait_long(void *arg)
{
	struct weft_client_view view;

	API_CHECK(weft_client_get(arg, "late", WEFT_CLIENT_FOREVER, &view, NULL) == 0);
	API_CHECK(attach_filled(view.data, view.size, 2));
	API_CHECK(weft_client_release(arg, &view) == 0);
	return NULL;
}

/* More calls at once than the runtime takes from one client: the rest waits its turn. */
Test(attach_limits, more_callers_than_requests)
{
	pthread_t threads[40];
	struct attach_place place;
	struct weft_client_view view;
	weft_client *client;
	weft_ref ref;
	weft *rt;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	for (uint32_t i = 0; i < 40; i++)
		threads[i] = api_thread(wait_long, client);
	attach_await(rt, 1, 0, 16);
	cr_assert_eq(weft_client_get(client, "late", WEFT_CLIENT_POLL, &view, NULL), -ETIMEDOUT);
	ref = attach_value(rt, 600, 2);
	cr_assert_eq(weft_attach_export(rt, "late", ref, NULL), 0);
	for (uint32_t i = 0; i < 40; i++)
		api_join(threads[i]);
	attach_await(rt, 1, 0, 0);
	cr_assert_eq(attach_clients(rt).gets, 40);
	weft_client_close(client);
	api_release(rt, ref);
	end(&place, rt);
}
