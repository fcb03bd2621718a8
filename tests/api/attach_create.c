/*
 * Goal: attached processes hand objects over: written in their own memory, copied once, named or
 * not, waiting for room when they may, refused in every way that is promised; what they made is the
 * runtime's, lives on without them, and can be awaited by the runtime before it is there.
 * Method: as attach.c.
 */
#include "attached.h"
#include "test.h"

static weft_client *client_of(struct attach_place *place, weft **rt,
                              struct weft_attach_options options)
{
	attach_place_make(place);
	options.flags |= WEFT_ATTACH_CREATE;
	*rt = attach_listen(place, options);
	return attach_connect(place);
}

static void end(const struct attach_place *place, weft *rt, weft_client *client)
{
	weft_client_close(client);
	attach_await(rt, 0, 0, 0);
	cr_assert_eq(weft_attach_stop(rt), 0);
	attach_await_empty(rt);
	api_await_no_tasks(rt);
	api_close(rt);
	attach_place_remove(place);
}

static struct weft_client_object named(const char *name)
{
	return (struct weft_client_object){ .struct_size = sizeof(struct weft_client_object),
		                            .name = name };
}

static int put(weft_client *client, const char *name, size_t size, uint64_t seed, int64_t until,
               uint64_t *id, struct weft_client_error *error)
{
	struct weft_client_object object = named(name);
	unsigned char *bytes = malloc(size + 1);
	int rc;

	attach_fill(bytes, size, seed);
	rc = weft_client_put(client, bytes, size, name != NULL ? &object : NULL, until, id, error);
	free(bytes);
	return rc;
}

Test(attach_create, a_buffer_is_sealed_once_and_read_by_all)
{
	struct weft_client_object object = { .struct_size = sizeof(object),
		                             .name = "made",
		                             .meta = "meta",
		                             .meta_size = 5,
		                             .tag = 77 };
	struct weft_client_info info = { .struct_size = sizeof(info) };
	struct weft_object_info there = { .struct_size = sizeof(there) };
	struct attach_place place;
	struct weft_client_buffer buffer, copy;
	struct weft_client_view view;
	struct weft_view mine;
	weft *rt;
	weft_client *client = client_of(&place, &rt, (struct weft_attach_options){ 0 }), *other;
	uint64_t id = 0;
	weft_ref ref;

	cr_assert_eq(weft_client_info(client, &info), 0);
	cr_assert(info.creates);
	cr_assert_eq(weft_client_create(client, 2 * ATTACH_MIB, &buffer), 0);
	cr_assert_eq((uintptr_t)buffer.data % 4096, 0);
	attach_fill(buffer.data, buffer.size, 5);
	copy = buffer;
	cr_assert_eq(weft_client_seal(client, &buffer, &object, WEFT_CLIENT_POLL, &id, NULL), 0);
	cr_assert_null(buffer.data);
	cr_assert_neq(id, 0);
	cr_assert_eq(weft_client_seal(client, &copy, &object, 0, &id, NULL), -EINVAL);
	cr_assert_eq(weft_client_discard(client, &copy), -EINVAL);
	other = attach_connect(&place);
	cr_assert_eq(weft_client_get_id(other, id, WEFT_CLIENT_POLL, &view, NULL), 0);
	cr_assert(attach_filled(view.data, view.size, 5));
	cr_assert_eq(view.size, 2 * ATTACH_MIB);
	cr_assert_eq(view.tag, 77);
	cr_assert_eq(view.meta_size, 5);
	cr_assert_str_eq((const char *)view.meta, "meta");
	/* Its maker goes; it stays. */
	weft_client_close(client);
	attach_await(rt, 1, 1, 0);
	cr_assert_eq(weft_attach_import(rt, "made", &ref), 0);
	cr_assert_eq(weft_get(rt, ref, WEFT_POLL, &mine), 0);
	cr_assert(attach_filled(mine.data, mine.size, 5));
	cr_assert_eq(weft_object_info(rt, ref, &there), 0);
	cr_assert_eq(there.tag, 77);
	cr_assert_eq(there.meta_size, 5);
	cr_assert_eq(weft_attach_unexport(rt, "made", 0), 0);
	cr_assert(attach_filled(mine.data, mine.size, 5));
	api_release(rt, ref);
	cr_assert_eq(attach_stats(rt).objects, 1, "a client has it");
	end(&place, rt, other);
}

Test(attach_create, every_size_and_no_name)
{
	static const size_t sizes[] = { 0, 1, 448, 449, 65536, 3 * ATTACH_MIB };
	struct attach_place place;
	weft *rt;
	weft_client *client = client_of(
		&place, &rt, (struct weft_attach_options){ .created_max = 16 * ATTACH_MIB });

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct weft_client_buffer buffer;
		struct weft_client_view view;
		uint64_t ids[2];

		cr_assert_eq(put(client, NULL, sizes[i], i, WEFT_CLIENT_FOREVER, &ids[0], NULL), 0);
		cr_assert_eq(weft_client_create(client, sizes[i], &buffer), 0);
		attach_fill(buffer.data, sizes[i], i);
		cr_assert_eq(
			weft_client_seal(client, &buffer, NULL, WEFT_CLIENT_FOREVER, &ids[1], NULL),
			0);
		for (uint32_t k = 0; k < 2; k++) {
			cr_assert_eq(weft_client_get_id(client, ids[k], 0, &view, NULL), 0);
			cr_assert_eq(view.size, sizes[i]);
			cr_assert(attach_filled(view.data, view.size, i));
			cr_assert_eq(weft_client_release(client, &view), 0);
			cr_assert_eq(weft_client_remove(client, ids[k], NULL), 0);
			cr_assert_eq(weft_client_remove(client, ids[k], NULL), -ENOENT);
		}
	}
	cr_assert_eq(attach_clients(rt).creates, 12);
	attach_await_empty(rt);
	end(&place, rt, client);
}

Test(attach_create, what_may_not_be_created_is_refused)
{
	static char meta[65537];
	struct weft_client_object object = named("taken");
	struct weft_client_error error;
	struct weft_client_buffer buffer, bad = { .size = 3 };
	struct attach_place place;
	char long_name[WEFT_ATTACH_NAME_MAX + 2];
	uint64_t id = 9;
	weft *rt;
	weft_client *client = client_of(&place, &rt, (struct weft_attach_options){ 0 });
	weft_ref ref = api_put_i64(rt, 1);

	memset(long_name, 'n', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	cr_assert_eq(weft_attach_export(rt, "taken", ref, NULL), 0);
	cr_assert_eq(weft_client_create(client, 100, &buffer), 0);
	cr_assert_eq(weft_client_seal(client, &buffer, &object, 0, &id, &error), -EEXIST);
	cr_assert_not_null(strstr(error.text, "\"taken\""));
	cr_assert_not_null(buffer.data, "still the caller's");
	attach_fill(buffer.data, 100, 1);
	object.name = long_name;
	cr_assert_eq(weft_client_seal(client, &buffer, &object, 0, &id, &error), -EINVAL);
	object.name = "";
	cr_assert_eq(weft_client_seal(client, &buffer, &object, 0, &id, &error), -EINVAL);
	object = named("n");
	object.meta = meta;
	object.meta_size = sizeof(meta);
	cr_assert_eq(weft_client_seal(client, &buffer, &object, 0, &id, &error), -EINVAL);
	object.meta = NULL;
	object.meta_size = 3;
	cr_assert_eq(weft_client_seal(client, &buffer, &object, 0, &id, &error), -EINVAL);
	object = named("n");
	object.reserved = 1;
	cr_assert_eq(weft_client_seal(client, &buffer, &object, 0, &id, &error), -EINVAL);
	object = named("n");
	object.struct_size = 1;
	cr_assert_eq(weft_client_put(client, "x", 1, &object, 0, &id, &error), -EINVAL);
	cr_assert_eq(weft_client_put(client, NULL, 1, NULL, 0, &id, &error), -EINVAL);
	cr_assert_eq(weft_client_put(NULL, "x", 1, NULL, 0, &id, &error), -EINVAL);
	cr_assert_eq(weft_client_seal(client, &bad, NULL, 0, &id, &error), -EINVAL);
	cr_assert_eq(weft_client_seal(client, NULL, NULL, 0, &id, &error), -EINVAL);
	cr_assert_eq(weft_client_seal(NULL, &buffer, NULL, 0, &id, &error), -EINVAL);
	cr_assert_eq(weft_client_discard(client, &bad), -EINVAL);
	cr_assert_eq(weft_client_discard(NULL, &buffer), -EINVAL);
	cr_assert_eq(weft_client_create(client, 1, NULL), -EINVAL);
	cr_assert_eq(weft_client_create(NULL, 1, &bad), -EINVAL);
	cr_assert_lt(weft_client_create(client, SIZE_MAX, &bad), 0);
	cr_assert_eq(bad.size, 3);
	cr_assert_eq(weft_client_remove(client, 0, &error), -EINVAL);
	cr_assert_eq(weft_client_remove(NULL, 1, &error), -EINVAL);
	cr_assert_eq(id, 9, "untouched");
	/* The buffer has suffered nothing. */
	cr_assert(attach_filled(buffer.data, 100, 1));
	cr_assert_eq(weft_client_seal(client, &buffer, NULL, 0, &id, &error), 0);
	cr_assert_eq(weft_client_create(client, 100, &buffer), 0);
	cr_assert_eq(weft_client_discard(client, &buffer), 0);
	/* One is left to weft_client_close(). */
	cr_assert_eq(weft_client_create(client, 100, &buffer), 0);
	api_release(rt, ref);
	end(&place, rt, client);
}

Test(attach_create, without_permission_nothing_is_created)
{
	struct weft_client_error error;
	struct attach_place place;
	weft *rt;
	weft_client *client;

	attach_place_make(&place);
	rt = attach_listen(&place, (struct weft_attach_options){ 0 });
	client = attach_connect(&place);
	cr_assert_eq(put(client, "a", 1000, 1, WEFT_CLIENT_FOREVER, NULL, &error), -EPERM);
	cr_assert_not_null(strstr(error.text, "may not create"));
	cr_assert_eq(attach_stats(rt).objects, 0);
	end(&place, rt, client);
}

Test(attach_create, only_its_maker_removes_an_object)
{
	struct attach_place place;
	weft *rt;
	weft_client *client = client_of(&place, &rt, (struct weft_attach_options){ 0 }), *other;
	weft_ref ref = api_put_i64(rt, 1);
	uint64_t id, exported;

	other = attach_connect(&place);
	cr_assert_eq(put(client, "a", 1000, 1, WEFT_CLIENT_FOREVER, &id, NULL), 0);
	cr_assert_eq(weft_attach_export(rt, "b", ref, &exported), 0);
	cr_assert_eq(weft_client_remove(other, id, NULL), -EPERM);
	cr_assert_eq(weft_client_remove(client, exported, NULL), -EPERM);
	cr_assert_eq(weft_client_remove(client, id, NULL), 0);
	cr_assert_eq(put(other, "a", 1000, 1, WEFT_CLIENT_FOREVER, &id, NULL), 0);
	cr_assert_eq(weft_attach_unexport(rt, NULL, id), 0);
	cr_assert_eq(weft_client_remove(other, id, NULL), -ENOENT);
	api_release(rt, ref);
	weft_client_close(other);
	end(&place, rt, client);
}

/* ---- Imports -------------------------------------------------------------------------------- */

static int sum_of_bytes(weft_task *self)
{
	struct weft_view view;
	int64_t sum = 0;

	API_CHECK(weft_input(self, 0, &view) == 0);
	for (size_t i = 0; i < view.size; i++)
		sum += ((const unsigned char *)view.data)[i];
	return weft_return(self, &sum, sizeof(sum));
}

Test(attach_create, a_task_waits_for_what_a_process_hands_over)
{
	struct attach_place place;
	struct weft_client_view view;
	weft *rt;
	weft_client *client = client_of(&place, &rt, (struct weft_attach_options){ 0 });
	weft_ref wanted, again, task;
	unsigned char bytes[3000];
	int64_t sum = 0;

	attach_fill(bytes, sizeof(bytes), 4);
	for (size_t i = 0; i < sizeof(bytes); i++)
		sum += bytes[i];
	cr_assert_eq(weft_attach_import(rt, "in", &wanted), 0);
	cr_assert_eq(weft_attach_import(rt, "in", &again), 0);
	cr_assert_eq(again.bits, wanted.bits, "one ref for all");
	cr_assert_eq(weft_attach_export(rt, "in", wanted, NULL), -EEXIST);
	task = api_submit(rt, WEFT_TASK(sum_of_bytes, WEFT_INPUTS(wanted)));
	cr_assert_eq(weft_client_get(client, "in", WEFT_CLIENT_POLL, &view, NULL), -ETIMEDOUT);
	cr_assert_eq(put(client, "in", sizeof(bytes), 4, WEFT_CLIENT_FOREVER, NULL, NULL), 0);
	cr_assert_eq(api_take_i64(rt, task), sum);
	cr_assert_eq(weft_client_get(client, "in", WEFT_CLIENT_POLL, &view, NULL), 0);
	cr_assert(attach_filled(view.data, view.size, 4));
	cr_assert_eq(put(client, "in", 10, 4, WEFT_CLIENT_FOREVER, NULL, NULL), -EEXIST);
	api_release(rt, wanted);
	api_release(rt, again);
	end(&place, rt, client);
}

Test(attach_create, an_import_that_never_comes_fails)
{
	const struct weft_error *why = NULL;
	struct attach_place place;
	weft *rt;
	weft_client *client = client_of(&place, &rt, (struct weft_attach_options){ 0 });
	weft_ref one, two, three;

	cr_assert_eq(weft_attach_import(rt, "one", &one), 0);
	cr_assert_eq(weft_attach_import(rt, "two", &two), 0);
	cr_assert_eq(weft_attach_import(rt, "three", &three), 0);
	cr_assert_eq(weft_attach_unexport(rt, "one", 0), 0);
	cr_assert_eq(api_get(rt, one), -ECANCELED);
	/* Cancelled by its holder: nobody takes what comes. */
	cr_assert_eq(weft_event_fail(rt, three, -ECANCELED, "not any more"), 0);
	cr_assert_eq(put(client, "three", 1000, 1, WEFT_CLIENT_FOREVER, NULL, NULL), -ECANCELED);
	attach_await_empty(rt);
	weft_client_close(client);
	cr_assert_eq(weft_attach_stop(rt), 0);
	cr_assert_eq(api_get(rt, two), WEFT_ECLOSED);
	cr_assert_eq(weft_ref_error(rt, two, &why), 0);
	cr_assert_neq(strlen(why->text), 0);
	api_release(rt, one);
	api_release(rt, two);
	api_release(rt, three);
	api_await_no_tasks(rt);
	api_close(rt);
	attach_place_remove(&place);
}

Test(attach_create, a_close_ends_imports_that_are_left)
{
	struct attach_place place;
	weft *rt;
	weft_client *client = client_of(&place, &rt, (struct weft_attach_options){ 0 });
	weft_ref one;

	cr_assert_eq(weft_attach_import(rt, "one", &one), 0);
	api_close(rt);
	weft_client_close(client);
	attach_place_remove(&place);
}

/* ---- A full store --------------------------------------------------------------------------- */

struct creator {
	weft_client *client;
	int rc;
	int64_t until;
	struct weft_client_error error;
};

static void *create_thread(void *arg)
{
	struct creator *c = arg;

	c->rc = put(c->client, "big", 3 * ATTACH_MIB, 8, c->until, NULL, &c->error);
	return NULL;
}

static int hold_the_store(weft_task *self)
{
	api_gate_pass(api_arg_pointer(self));
	return 0;
}

Test(attach_create, a_creation_waits_for_room)
{
	struct api_gate gate = API_GATE_INIT;
	struct weft_client_view view;
	struct attach_place place;
	struct creator creator;
	pthread_t thread;
	weft *rt;
	weft_client *client;
	weft_ref refs[4], task;
	struct weft_view views[4];

	client = client_of(&place, &rt,
	                   (struct weft_attach_options){ .created_max = 16 * ATTACH_MIB });
	/* A running body may still give something back: so it is worth waiting. */
	task = api_submit(rt, WEFT_TASK(hold_the_store, API_POINTER(&gate)));
	api_gate_await(&gate, 1);
	for (uint32_t i = 0; i < 4; i++) {
		refs[i] = attach_value(rt, 3500000, i);
		cr_assert_eq(weft_get(rt, refs[i], WEFT_POLL, &views[i]), 0);
	}
	creator = (struct creator){ .client = client };
	creator.until = WEFT_CLIENT_POLL;
	create_thread(&creator);
	cr_assert_eq(creator.rc, -ETIMEDOUT, "%s", creator.error.text);
	creator.until = weft_client_after_ms(10);
	create_thread(&creator);
	cr_assert_eq(creator.rc, -ETIMEDOUT, "%s", creator.error.text);
	attach_await(rt, 1, 0, 0);
	creator.until = WEFT_CLIENT_FOREVER;
	thread = api_thread(create_thread, &creator);
	attach_await(rt, 1, 0, 1);
	api_release(rt, refs[1]);
	api_join(thread);
	cr_assert_eq(creator.rc, 0, "%s", creator.error.text);
	cr_assert_eq(weft_client_get(client, "big", WEFT_CLIENT_POLL, &view, NULL), 0);
	cr_assert(attach_filled(view.data, view.size, 8));
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, task), 0);
	for (uint32_t i = 0; i < 4; i++) {
		if (i != 1)
			api_release(rt, refs[i]);
	}
	end(&place, rt, client);
}

Test(attach_create, a_hopeless_creation_is_told_why)
{
	struct weft_client_error error;
	struct attach_place place;
	weft *rt;
	weft_client *client;
	weft_ref refs[4];
	struct weft_view views[4];

	client = client_of(&place, &rt, (struct weft_attach_options){ .created_max = 1ull << 40 });
	cr_assert_eq(put(client, "big", 17 * ATTACH_MIB, 1, WEFT_CLIENT_FOREVER, NULL, &error),
	             WEFT_ESTOREFULL);
	cr_assert_not_null(strstr(error.text, "can never fit"));
	for (uint32_t i = 0; i < 4; i++) {
		refs[i] = attach_value(rt, 3500000, i);
		cr_assert_eq(weft_get(rt, refs[i], WEFT_POLL, &views[i]), 0);
	}
	cr_assert_eq(put(client, "big", 3 * ATTACH_MIB, 1, WEFT_CLIENT_FOREVER, NULL, &error),
	             WEFT_ESTOREFULL);
	cr_assert_not_null(strstr(error.text, "pinned"), "%s", error.text);
	for (uint32_t i = 0; i < 4; i++)
		api_release(rt, refs[i]);
	end(&place, rt, client);
}

/* A client that leaves while its creation waits takes nothing with it. */
Test(attach_create, leaving_while_a_creation_waits)
{
	struct api_gate gate = API_GATE_INIT;
	struct attach_place place;
	struct weft_client_error error;
	weft *rt;
	weft_client *client;
	weft_ref refs[4], task;
	struct weft_view views[4];
	int status = -1;
	pid_t child;

	client = client_of(&place, &rt,
	                   (struct weft_attach_options){ .created_max = 16 * ATTACH_MIB });
	task = api_submit(rt, WEFT_TASK(hold_the_store, API_POINTER(&gate)));
	api_gate_await(&gate, 1);
	for (uint32_t i = 0; i < 4; i++) {
		refs[i] = attach_value(rt, 3500000, i);
		cr_assert_eq(weft_get(rt, refs[i], WEFT_POLL, &views[i]), 0);
	}
	child = fork();
	if (child == 0) {
		weft_client *own;

		if (weft_client_connect(place.path, WEFT_CLIENT_POLL, &own, NULL) != 0)
			_exit(1);
		put(own, "big", 3 * ATTACH_MIB, 8, WEFT_CLIENT_FOREVER, NULL, NULL);
		_exit(2);
	}
	attach_await(rt, 2, 0, 1);
	kill(child, SIGKILL);
	cr_assert_eq(waitpid(child, &status, 0), child);
	attach_await(rt, 1, 0, 0);
	for (uint32_t i = 0; i < 4; i++)
		api_release(rt, refs[i]);
	api_gate_open(&gate);
	cr_assert_eq(api_end(rt, task), 0);
	cr_assert_eq(put(client, "big", 15 * ATTACH_MIB, 1, WEFT_CLIENT_FOREVER, NULL, &error), 0,
	             "%s", error.text);
	end(&place, rt, client);
}
