/*
 * Goal: attached processes find exported values by name and number, wait for them, read them in
 * place and only read them; what they hold stays, and goes when they give it back or leave; who
 * listens, who is let in, and every limit and error of that is as promised.
 * Method: a runtime that listens and clients of libweft-client in the same process, some in
 * threads; the store's counters; the client list of the runtime.
 */
#include <signal.h>

#include "attached.h"
#include "test.h"

#define POISON ((struct weft_client_view){ .size = 4711 })

static struct weft_client_view get(weft_client *client, const char *name)
{
	struct weft_client_view view = POISON;
	struct weft_client_error error = { .status = 0 };
	int rc = weft_client_get(client, name, WEFT_CLIENT_FOREVER, &view, &error);

	cr_assert_eq(rc, 0, "%s: %d %s", name, rc, error.text);
	return view;
}

/* A get that fails: its status; the view must be untouched and the error filled in. */
static int get_error(weft_client *client, const char *name, int64_t until,
                     struct weft_client_error *error)
{
	struct weft_client_view view = POISON;
	int rc;

	memset(error, 0, sizeof(*error));
	rc = weft_client_get(client, name, until, &view, error);
	cr_assert_eq(view.size, 4711);
	cr_assert_eq(rc, error->status);
	cr_assert(rc == 0 || error->text[0] != '\0');
	return rc;
}

/* ---- Listening ------------------------------------------------------------------------------ */

Test(attach, listening_makes_a_private_socket_that_goes_with_it)
{
	struct attach_place place;
	struct stat st;
	weft *rt;

	attach_place_make(&place);
	mode_t before = umask(0);

	rt = attach_open(1, 16 * ATTACH_MIB, "");
	cr_assert_eq(weft_attach_stop(rt), -ENOTCONN);
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), 0);
	umask(before);
	cr_assert_eq(lstat(place.path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), -EALREADY);
	cr_assert_eq(weft_attach_stop(rt), 0);
	cr_assert_neq(lstat(place.path, &st), 0);
	cr_assert_eq(weft_attach_stop(rt), -ENOTCONN);
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), 0);
	api_close(rt);
	cr_assert_neq(lstat(place.path, &st), 0);
	attach_place_remove(&place);
}

Test(attach, bad_arguments_are_told)
{
	struct weft_attach_options options = { .struct_size = sizeof(options) };
	struct weft_attach_client nobody = { .id = 0 };
	struct attach_place place;
	char long_name[WEFT_ATTACH_NAME_MAX + 2], long_path[200];
	uint64_t id = 5;
	weft_ref ref;
	weft *rt = attach_open(1, 16 * ATTACH_MIB, "");

	attach_place_make(&place);
	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	memset(long_path, 'p', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	cr_assert_eq(weft_attach_listen(NULL, place.path, NULL), -EINVAL);
	cr_assert_eq(weft_attach_listen(rt, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_attach_listen(rt, "", NULL), -EINVAL);
	cr_assert_eq(weft_attach_listen(rt, long_path, NULL), -ENAMETOOLONG);
	cr_assert_eq(weft_attach_listen(rt, "/nowhere/at/all", NULL), -ENOENT);
	options.flags = 1u << 20;
	cr_assert_eq(weft_attach_listen(rt, place.path, &options), -EINVAL);
	options = (struct weft_attach_options){ .struct_size = sizeof(options), .reserved0 = 1 };
	cr_assert_eq(weft_attach_listen(rt, place.path, &options), -EINVAL);
	options = (struct weft_attach_options){ .struct_size = sizeof(options),
		                                .reserved = { 0, 0, 0, 1 } };
	cr_assert_eq(weft_attach_listen(rt, place.path, &options), -EINVAL);
	options =
		(struct weft_attach_options){ .struct_size = sizeof(options), .clients_max = 4097 };
	cr_assert_eq(weft_attach_listen(rt, place.path, &options), -EINVAL);
	options = (struct weft_attach_options){ .struct_size = 3 };
	cr_assert_eq(weft_attach_listen(rt, place.path, &options), -EINVAL);
	/* Nobody listens. */
	ref = api_put_i64(rt, 1);
	cr_assert_eq(weft_attach_export(rt, "a", ref, &id), -ENOTCONN);
	cr_assert_eq(weft_attach_unexport(rt, "a", 0), -ENOTCONN);
	cr_assert_eq(weft_attach_import(rt, "a", &ref), -ENOTCONN);
	cr_assert_eq(weft_attach_clients(rt, attach_sum_client, &nobody), -ENOTCONN);
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), 0);
	cr_assert_eq(weft_attach_stop(NULL), -EINVAL);
	cr_assert_eq(weft_attach_export(NULL, "a", ref, &id), -EINVAL);
	cr_assert_eq(weft_attach_export(rt, "a", WEFT_NONE, &id), -EINVAL);
	cr_assert_eq(weft_attach_export(rt, "", ref, &id), -EINVAL);
	cr_assert_eq(weft_attach_export(rt, long_name, ref, &id), -EINVAL);
	cr_assert_eq(weft_attach_unexport(rt, NULL, 0), -EINVAL);
	cr_assert_eq(weft_attach_unexport(NULL, "a", 0), -EINVAL);
	cr_assert_eq(weft_attach_unexport(rt, "a", 0), -ENOENT);
	cr_assert_eq(weft_attach_unexport(rt, long_name, 0), -ENOENT);
	cr_assert_eq(weft_attach_unexport(rt, NULL, 999), -ENOENT);
	cr_assert_eq(weft_attach_import(rt, NULL, &ref), -EINVAL);
	cr_assert_eq(weft_attach_import(rt, "a", NULL), -EINVAL);
	cr_assert_eq(weft_attach_import(rt, "", &ref), -EINVAL);
	cr_assert_eq(weft_attach_clients(rt, NULL, NULL), -EINVAL);
	cr_assert_eq(weft_attach_clients(NULL, attach_sum_client, &nobody), -EINVAL);
	cr_assert_eq(id, 5, "untouched by failures");
	long_name[WEFT_ATTACH_NAME_MAX] = '\0';
	cr_assert_eq(weft_attach_export(rt, long_name, ref, &id), 0);
	cr_assert_eq(weft_attach_export(rt, long_name, ref, &id), -EEXIST);
	cr_assert_eq(weft_attach_unexport(rt, long_name, 0), 0);
	api_release(rt, ref);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, a_dead_socket_is_replaced_and_a_living_one_is_not)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct attach_place place;
	weft *rt = attach_open(1, 16 * ATTACH_MIB, ""),
	     *other = attach_open(1, 16 * ATTACH_MIB, "");
	int fd;

	attach_place_make(&place);
	strcpy(address.sun_path, place.path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	cr_assert_eq(access(place.path, F_OK), 0, "as a killed process leaves it");
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), 0);
	cr_assert_eq(weft_attach_listen(other, place.path, NULL), -EADDRINUSE);
	weft_client_close(attach_connect(&place));
	/* Who lost its name to another leaves the other's file alone. */
	cr_assert_eq(unlink(place.path), 0);
	cr_assert_eq(weft_attach_listen(other, place.path, NULL), 0);
	api_close(rt);
	cr_assert_eq(access(place.path, F_OK), 0);
	weft_client_close(attach_connect(&place));
	api_close(other);
	/* Any other file stays what it is. */
	fd = open(place.path, O_CREAT | O_WRONLY, 0600);
	cr_assert_geq(fd, 0);
	close(fd);
	rt = attach_open(1, 16 * ATTACH_MIB, "");
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), -EADDRINUSE);
	api_close(rt);
	cr_assert_eq(unlink(place.path), 0);
	attach_place_remove(&place);
}

Test(attach, nobody_listening_is_told_by_the_deadline)
{
	struct weft_client_error error;
	struct attach_place place;
	weft_client *client = NULL;
	char long_path[200];

	attach_place_make(&place);
	memset(long_path, 'p', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	cr_assert_eq(weft_client_connect(place.path, WEFT_CLIENT_POLL, &client, &error), -ENOENT);
	cr_assert_eq(error.status, -ENOENT);
	cr_assert_eq(weft_client_connect(place.path, weft_client_after_ms(5), &client, NULL),
	             -ENOENT);
	cr_assert_eq(weft_client_connect(long_path, WEFT_CLIENT_POLL, &client, NULL),
	             -ENAMETOOLONG);
	cr_assert_eq(weft_client_connect(NULL, WEFT_CLIENT_POLL, &client, NULL), -EINVAL);
	cr_assert_eq(weft_client_connect("", WEFT_CLIENT_POLL, &client, NULL), -EINVAL);
	cr_assert_eq(weft_client_connect(place.path, WEFT_CLIENT_POLL, NULL, NULL), -EINVAL);
	cr_assert_null(client);
	weft_client_close(NULL);
	attach_place_remove(&place);
}

static void *connect_late(void *arg)
{
	weft_client *client = NULL;

	API_CHECK(weft_client_connect(arg, WEFT_CLIENT_FOREVER, &client, NULL) == 0);
	return client;
}

Test(attach, connecting_waits_for_the_listener)
{
	struct attach_place place;
	void *client;
	pthread_t thread;
	weft *rt;

	attach_place_make(&place);
	thread = api_thread(connect_late, place.path);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	cr_assert_eq(pthread_join(thread, &client), 0);
	attach_await(rt, 1, 0, 0);
	weft_client_close(client);
	attach_await(rt, 0, 0, 0);
	api_close(rt);
	attach_place_remove(&place);
}

/* ---- Getting -------------------------------------------------------------------------------- */

Test(attach, values_of_every_size_are_got_by_name_and_number)
{
	static const size_t sizes[] = { 0, 1, 16, 17, 448, 449, 4096, 100001, 3 * ATTACH_MIB };
	struct attach_place place;
	weft *rt;
	weft_client *client;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct weft_client_view view, again = POISON;
		weft_ref ref = attach_value(rt, sizes[i], i);
		uint64_t id = 0;

		cr_assert_eq(weft_attach_export(rt, "value", ref, &id), 0);
		cr_assert_neq(id, 0);
		view = get(client, "value");
		cr_assert_eq(view.size, sizes[i]);
		cr_assert_eq(view.id, id);
		cr_assert_not_null(view.data);
		cr_assert_eq(view.meta_size, 0);
		cr_assert(attach_filled(view.data, view.size, i));
		cr_assert_eq(weft_client_get_id(client, id, WEFT_CLIENT_POLL, &again, NULL), 0);
		cr_assert_eq(again.size, sizes[i]);
		/* In the store there is one place for all; a small value is copied. */
		if (sizes[i] > 0)
			cr_assert_eq(again.data == view.data, sizes[i] >= 449);
		if (sizes[i] > 0)
			cr_assert_eq((uintptr_t)view.data % (sizes[i] >= 449 ? 64 : 16), 0);
		cr_assert_eq(attach_clients(rt).pins, sizes[i] >= 449 ? 2 : 0);
		cr_assert_eq(weft_client_release(client, &view), 0);
		cr_assert_eq(weft_client_release(client, &again), 0);
		attach_await(rt, 1, 0, 0);
		cr_assert_eq(weft_attach_unexport(rt, NULL, id), 0);
		cr_assert_eq(weft_client_get_id(client, id, WEFT_CLIENT_POLL, &again, NULL),
		             -ENOENT);
		api_release(rt, ref);
	}
	attach_await_empty(rt);
	weft_client_close(client);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, a_view_outlives_its_name_and_its_reference)
{
	struct attach_place place;
	struct weft_client_view view, copy;
	weft *rt;
	weft_client *client;
	weft_ref ref;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	ref = attach_value(rt, 50000, 3);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	view = copy = get(client, "v");
	cr_assert_geq(attach_stats(rt).pinned, 50000);
	cr_assert_eq(attach_clients(rt).pinned_bytes, 50000);
	cr_assert_eq(weft_attach_unexport(rt, "v", 0), 0);
	api_release(rt, ref);
	cr_assert_eq(attach_stats(rt).objects, 1, "deleted, and held by the client");
	cr_assert(attach_filled(view.data, view.size, 3));
	cr_assert_eq(weft_client_release(client, &view), 0);
	cr_assert_null(view.data);
	attach_await_empty(rt);
	cr_assert_eq(weft_client_release(client, &view), -EINVAL, "given back before");
	cr_assert_eq(weft_client_release(client, &copy), -EINVAL, "also by its copy");
	cr_assert_eq(weft_client_release(client, NULL), -EINVAL);
	cr_assert_eq(weft_client_release(NULL, &copy), -EINVAL);
	weft_client_close(client);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, tag_and_metadata_come_along)
{
	static char meta[65536];
	struct weft_object_options options = {
		.struct_size = sizeof(options), .tag = 42, .meta = meta, .meta_size = sizeof(meta)
	};
	struct attach_place place;
	struct weft_client_view view;
	struct weft_buffer buffer;
	weft *rt;
	weft_client *client;
	weft_ref ref, inner;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	attach_fill(meta, sizeof(meta), 9);
	inner = api_put_i64(rt, 5);
	options.refs = &inner;
	options.n_refs = 1;
	cr_assert_eq(weft_create(rt, 8, &options, &buffer), 0);
	memcpy(buffer.data, "12345678", 8);
	cr_assert_eq(weft_seal(rt, &buffer, &ref), 0);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	view = get(client, "v");
	cr_assert_eq(view.tag, 42);
	cr_assert_eq(view.meta_size, sizeof(meta));
	cr_assert(attach_filled(view.meta, view.meta_size, 9));
	cr_assert_eq(view.size, 8);
	cr_assert_arr_eq(view.data, "12345678", 8);
	api_release(rt, inner);
	api_release(rt, ref);
	weft_client_close(client);
	attach_await(rt, 0, 0, 0);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, what_is_not_there_and_what_is_not_ready_differ)
{
	struct attach_place place;
	struct weft_client_error error;
	weft *rt;
	weft_client *client;
	weft_ref event;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	cr_assert_eq(get_error(client, "v", WEFT_CLIENT_POLL, &error), -ENOENT);
	cr_assert_not_null(strstr(error.text, "\"v\""));
	cr_assert_eq(get_error(client, "v", weft_client_after_ms(3), &error), -ENOENT);
	event = api_event(rt);
	cr_assert_eq(weft_attach_export(rt, "v", event, NULL), 0);
	cr_assert_eq(get_error(client, "v", WEFT_CLIENT_POLL, &error), -ETIMEDOUT);
	cr_assert_eq(get_error(client, "v", weft_client_after_ms(3), &error), -ETIMEDOUT);
	cr_assert_eq(get_error(client, "", WEFT_CLIENT_POLL, &error), -EINVAL);
	cr_assert_eq(weft_client_get(client, "v", WEFT_CLIENT_POLL, NULL, NULL), -EINVAL);
	cr_assert_eq(
		weft_client_get(NULL, "v", WEFT_CLIENT_POLL, &(struct weft_client_view){ 0 }, NULL),
		-EINVAL);
	cr_assert_eq(weft_client_get(client, NULL, WEFT_CLIENT_POLL,
	                             &(struct weft_client_view){ 0 }, NULL),
	             -EINVAL);
	cr_assert_eq(weft_client_get_id(client, 0, WEFT_CLIENT_POLL,
	                                &(struct weft_client_view){ 0 }, NULL),
	             -EINVAL);
	attach_await(rt, 1, 0, 0);
	cr_assert_eq(weft_attach_unexport(rt, "v", 0), 0);
	api_release(rt, event);
	weft_client_close(client);
	attach_await(rt, 0, 0, 0);
	api_await_no_tasks(rt);
	api_close(rt);
	attach_place_remove(&place);
}

struct waiter {
	weft_client *client;
	const char *name;
	int rc;
	struct weft_client_view view;
	struct weft_client_error error;
};

static void *wait_for_value(void *arg)
{
	struct waiter *w = arg;

	w->rc = weft_client_get(w->client, w->name, WEFT_CLIENT_FOREVER, &w->view, &w->error);
	return NULL;
}

static int produce(weft_task *self)
{
	unsigned char bytes[1000];

	api_gate_pass(api_arg_pointer(self));
	attach_fill(bytes, sizeof(bytes), 6);
	return weft_return(self, bytes, sizeof(bytes));
}

Test(attach, waiting_ends_with_the_name_and_with_the_value)
{
	struct api_gate gate = API_GATE_INIT;
	struct waiter early, late;
	struct attach_place place;
	struct weft_client_view other;
	pthread_t first, second;
	weft *rt;
	weft_ref ref, quick;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	early = late = (struct waiter){ .client = attach_connect(&place), .name = "v" };
	first = api_thread(wait_for_value, &early);
	attach_await(rt, 1, 0, 1);
	ref = api_submit(rt, WEFT_TASK(produce, API_POINTER(&gate)));
	api_gate_await(&gate, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	second = api_thread(wait_for_value, &late);
	attach_await(rt, 1, 0, 2);
	/* Two wait; a third call of the same client is not held up. */
	quick = api_put_i64(rt, 8);
	cr_assert_eq(weft_attach_export(rt, "quick", quick, NULL), 0);
	other = get(early.client, "quick");
	cr_assert_eq(*(const int64_t *)other.data, 8);
	api_gate_open(&gate);
	api_join(first);
	api_join(second);
	cr_assert_eq(early.rc, 0, "%s", early.error.text);
	cr_assert_eq(late.rc, 0, "%s", late.error.text);
	cr_assert(attach_filled(early.view.data, 1000, 6));
	cr_assert_eq(early.view.data, late.view.data);
	cr_assert_eq(early.view.id, late.view.id);
	weft_client_close(early.client);
	attach_await(rt, 0, 0, 0);
	api_release(rt, ref);
	api_release(rt, quick);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, who_waits_for_a_name_that_is_taken_back_waits_for_the_next)
{
	struct waiter w, by_id;
	struct weft_client_view view = POISON;
	struct attach_place place;
	pthread_t thread;
	weft *rt;
	weft_ref event, ref;
	uint64_t id;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	w = by_id = (struct waiter){ .client = attach_connect(&place), .name = "v" };
	event = api_event(rt);
	cr_assert_eq(weft_attach_export(rt, "v", event, &id), 0);
	thread = api_thread(wait_for_value, &w);
	attach_await(rt, 1, 0, 1);
	cr_assert_eq(weft_attach_unexport(rt, "v", 0), 0);
	cr_assert_eq(weft_client_get_id(w.client, id, WEFT_CLIENT_FOREVER, &view, NULL), -ENOENT);
	attach_await(rt, 1, 0, 1);
	ref = attach_value(rt, 700, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	api_join(thread);
	cr_assert_eq(w.rc, 0, "%s", w.error.text);
	cr_assert(attach_filled(w.view.data, 700, 1));
	cr_assert_eq(weft_event_set(rt, event, "late", 4), 0);
	api_release(rt, event);
	api_release(rt, ref);
	weft_client_close(w.client);
	api_close(rt);
	attach_place_remove(&place);
}

static int fails(weft_task *self)
{
	return weft_fail(self, -77, "the %s is broken", "pump");
}

Test(attach, a_failure_is_told_with_code_and_text)
{
	struct attach_place place;
	struct weft_client_error error;
	weft *rt;
	weft_client *client;
	weft_ref ref, event;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	ref = api_spawn(rt, fails, NULL, 0);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	cr_assert_eq(get_error(client, "v", WEFT_CLIENT_FOREVER, &error), WEFT_ETASK);
	cr_assert_eq(error.code, -77);
	cr_assert_str_eq(error.text, "the pump is broken");
	/* Known before it is exported; and without a text. */
	event = api_event(rt);
	cr_assert_eq(weft_event_fail(rt, event, WEFT_EDEVICE, NULL), 0);
	cr_assert_eq(weft_attach_export(rt, "w", event, NULL), 0);
	cr_assert_eq(get_error(client, "w", WEFT_CLIENT_POLL, &error), WEFT_EDEVICE);
	cr_assert_str_eq(error.text, weft_strerror(WEFT_EDEVICE));
	api_release(rt, ref);
	api_release(rt, event);
	weft_client_close(client);
	attach_await(rt, 0, 0, 0);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, the_clients_texts_are_the_runtimes)
{
#define COMPARE(name, value, text) \
	cr_assert_str_eq(weft_client_strerror(name), weft_strerror(name));
	WEFT_STATUS_LIST(COMPARE)
#undef COMPARE
	cr_assert_str_eq(weft_client_strerror(-ENOENT), weft_strerror(-ENOENT));
	cr_assert_str_eq(weft_client_strerror(-123456), "unknown status");
	cr_assert_str_eq(weft_client_strerror(17), "unknown status");
	cr_assert_eq(weft_client_after_ms(INT64_MAX), WEFT_CLIENT_FOREVER);
	cr_assert_gt(weft_client_after_ms(1000), api_now());
}

/* ---- Spilled values ------------------------------------------------------------------------- */

Test(attach, a_spilled_value_is_brought_back_and_stays_while_it_is_held)
{
	struct attach_place place;
	struct weft_client_view view;
	weft *rt;
	weft_client *client;
	weft_ref refs[12], more;

	attach_place_make(&place);
	rt = attach_open(2, 8 * ATTACH_MIB, place.dir);
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), 0);
	client = attach_connect(&place);
	for (uint32_t i = 0; i < 12; i++)
		refs[i] = attach_value(rt, ATTACH_MIB, i);
	cr_assert_gt(attach_stats(rt).spilled, 0);
	cr_assert_eq(weft_attach_export(rt, "v", refs[0], NULL), 0);
	view = get(client, "v");
	cr_assert(attach_filled(view.data, view.size, 0));
	cr_assert_gt(attach_stats(rt).restores, 0);
	/* Whatever comes and goes: it keeps its place. */
	for (uint32_t i = 0; i < 20; i++) {
		more = attach_value(rt, ATTACH_MIB, 100 + i);
		api_release(rt, more);
	}
	for (uint32_t i = 1; i < 12; i++) {
		struct weft_view all;

		cr_assert_eq(weft_get(rt, refs[i], WEFT_FOREVER, &all), 0);
		cr_assert(attach_filled(all.data, all.size, i));
		cr_assert_eq(weft_view_end(rt, refs[i]), 0);
	}
	cr_assert(attach_filled(view.data, view.size, 0));
	cr_assert_eq(weft_client_release(client, &view), 0);
	attach_await(rt, 1, 0, 0);
	/* Without waiting: it is not there now, but soon, as long as somebody asks. */
	for (uint32_t i = 0; i < 12; i++) {
		const int64_t start = api_now();
		char name[8];

		snprintf(name, sizeof(name), "n%u", i);
		cr_assert_eq(weft_attach_export(rt, name, refs[i], NULL), 0);
		for (;;) {
			int rc = weft_client_get(client, name, WEFT_CLIENT_POLL, &view, NULL);

			if (rc == 0)
				break;
			cr_assert_eq(rc, -ETIMEDOUT);
			/* Wishes are for memory that is free: make some. */
			weft_client_get(client, name, weft_client_after_ms(1), &view, NULL) == 0
				? (void)weft_client_release(client, &view)
				: (void)0;
			api_polling(start, "a spilled value came back");
		}
		cr_assert(attach_filled(view.data, view.size, i));
		cr_assert_eq(weft_client_release(client, &view), 0);
	}
	for (uint32_t i = 0; i < 12; i++)
		api_release(rt, refs[i]);
	weft_client_close(client);
	attach_await(rt, 0, 0, 0);
	cr_assert_eq(weft_attach_stop(rt), 0);
	attach_await_empty(rt);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, a_spilled_value_without_room_is_told_why)
{
	struct attach_place place;
	struct weft_client_error error;
	struct weft_view views[16];
	weft *rt;
	weft_client *client;
	weft_ref spilled, held[16];
	uint32_t n = 0;

	attach_place_make(&place);
	rt = attach_open(1, 8 * ATTACH_MIB, place.dir);
	cr_assert_eq(weft_attach_listen(rt, place.path, NULL), 0);
	client = attach_connect(&place);
	spilled = attach_value(rt, 2 * ATTACH_MIB, 1);
	cr_assert_eq(weft_attach_export(rt, "v", spilled, NULL), 0);
	for (; n < 7; n++) {
		held[n] = attach_value(rt, ATTACH_MIB, n);
		cr_assert_eq(weft_get(rt, held[n], WEFT_FOREVER, &views[n]), 0);
	}
	cr_assert_geq(attach_stats(rt).spilled, 2 * ATTACH_MIB);
	cr_assert_eq(get_error(client, "v", WEFT_CLIENT_FOREVER, &error), WEFT_ESTOREFULL);
	cr_assert_not_null(strstr(error.text, "pinned"), "%s", error.text);
	attach_await(rt, 1, 0, 0);
	while (n > 0)
		api_release(rt, held[--n]);
	cr_assert_eq(get_error(client, "v", WEFT_CLIENT_POLL, &error), -ETIMEDOUT);
	struct weft_client_view view = get(client, "v");

	cr_assert(attach_filled(view.data, view.size, 1));
	api_release(rt, spilled);
	weft_client_close(client);
	api_close(rt);
	attach_place_remove(&place);
}

/* ---- Reading only --------------------------------------------------------------------------- */

Test(attach, a_write_through_a_view_faults)
{
	struct attach_place place;
	struct weft_client_view view;
	int status = -1;
	weft *rt;
	weft_client *client;
	weft_ref ref;
	pid_t child;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	ref = attach_value(rt, 5000, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	view = get(client, "v");
	child = fork();
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*(volatile char *)(uintptr_t)view.data = 1;
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	/* The sanitizers turn the signal into an exit of their own. */
	cr_assert(WIFSIGNALED(status) ? WTERMSIG(status) == SIGSEGV : WEXITSTATUS(status) != 0);
	cr_assert(attach_filled(view.data, view.size, 1));
	api_release(rt, ref);
	weft_client_close(client);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach, the_descriptor_that_is_handed_out_cannot_write)
{
	struct attach_place place;
	weft *rt;
	weft_client *client;
	weft_ref ref;
	struct weft_client_view view;
	uintptr_t page;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	ref = attach_value(rt, 5000, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	view = get(client, "v");
	page = (uintptr_t)view.data & ~(uintptr_t)4095;
	cr_assert_neq(mprotect((void *)page, 4096, PROT_READ | PROT_WRITE), 0);
	cr_assert_eq(errno, EACCES);
	api_release(rt, ref);
	weft_client_close(client);
	api_close(rt);
	attach_place_remove(&place);
}

/* ---- The end -------------------------------------------------------------------------------- */

Test(attach, when_the_runtime_goes_views_stay_readable_and_calls_fail)
{
	struct weft_client_info info = { .struct_size = sizeof(info) };
	struct attach_place place;
	struct waiter w;
	struct weft_client_view view;
	struct weft_client_error error;
	pthread_t thread;
	weft *rt;
	weft_ref ref;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	w = (struct waiter){ .client = attach_connect(&place), .name = "never" };
	ref = attach_value(rt, 5000, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	view = get(w.client, "v");
	cr_assert_eq(weft_client_info(w.client, &info), 0);
	cr_assert_eq(info.status, 0);
	cr_assert_eq(info.pid, getpid());
	cr_assert_eq(info.views, 1);
	cr_assert_eq(info.views_max, 65536);
	cr_assert(!info.creates);
	cr_assert_geq(info.map_bytes, 16 * ATTACH_MIB);
	cr_assert_eq(weft_client_info(w.client, NULL), -EINVAL);
	cr_assert_eq(weft_client_info(NULL, &info), -EINVAL);
	cr_assert_eq(weft_client_info(w.client, &(struct weft_client_info){ .struct_size = 4 }),
	             -EINVAL);
	thread = api_thread(wait_for_value, &w);
	attach_await(rt, 1, 1, 1);
	api_close(rt);
	api_join(thread);
	cr_assert_eq(w.rc, -EPIPE);
	cr_assert_eq(get_error(w.client, "v", WEFT_CLIENT_FOREVER, &error), -EPIPE);
	cr_assert_eq(weft_client_info(w.client, &info), 0);
	cr_assert_eq(info.status, -EPIPE);
	cr_assert(attach_filled(view.data, view.size, 1));
	cr_assert_eq(weft_client_release(w.client, &view), 0);
	weft_client_close(w.client);
	attach_place_remove(&place);
}

Test(attach, a_child_of_fork_is_told)
{
	struct attach_place place;
	struct weft_client_view view;
	int status = -1;
	weft *rt;
	weft_client *client;
	weft_ref ref;
	pid_t child;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ .flags = WEFT_ATTACH_CREATE });
	client = attach_connect(&place);
	ref = attach_value(rt, 5000, 1);
	cr_assert_eq(weft_attach_export(rt, "v", ref, NULL), 0);
	view = get(client, "v");
	child = fork();
	if (child == 0) {
		struct weft_client_buffer buffer = { .size = 1 };
		uint64_t id;
		bool good = weft_client_get(client, "v", WEFT_CLIENT_POLL, &view, NULL) == -ECHILD;

		good &= weft_client_release(client, &view) == -ECHILD;
		good &= weft_client_create(client, 10, &buffer) == -ECHILD;
		good &= weft_client_seal(client, &buffer, NULL, 0, &id, NULL) == -ECHILD;
		good &= weft_client_discard(client, &buffer) == -ECHILD;
		good &= weft_client_put(client, "x", 1, NULL, 0, &id, NULL) == -ECHILD;
		good &= weft_client_remove(client, 1, NULL) == -ECHILD;
		good &= weft_attach_stop(rt) == -ECHILD;
		weft_client_close(client);
		_exit(good ? 0 : 1);
	}
	cr_assert_gt(child, 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(attach_clients(rt).pins, 1, "the child took nothing along");
	cr_assert(attach_filled(view.data, view.size, 1));
	api_release(rt, ref);
	weft_client_close(client);
	api_close(rt);
	attach_place_remove(&place);
}
