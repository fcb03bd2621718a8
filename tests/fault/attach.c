/*
 * Goal: whatever resource runs out at an attachment (memory, descriptors, threads), the call or the
 * client concerned is told so, no other is, and nothing is left behind: no pin, no object, no
 * descriptor, no socket file.
 * Method: the n-th point fails, for every n, in a run through listening, exporting, importing,
 * getting and handing over; the counters of the store and of the process afterwards. The client's
 * own memory is not among the points. And reads of spilled values that fail, or bring other bytes.
 */
#include "api_fault.h"

#include "attached.h"
#include "../../store/include/wf_io.h"

static struct attach_place place;
static uint64_t failures;

static bool told(int rc)
{
	if (rc < 0)
		failures++;
	/* The client sees a hang-up where the runtime could not even answer. */
	API_CHECK(rc == 0 || rc == -ENOMEM || rc == -EAGAIN || rc == -EMFILE || rc == -EPIPE ||
	          rc == -EIO || rc == -ENOENT || rc == -ETIMEDOUT || rc == -ECANCELED ||
	          rc == WEFT_ECLOSED || rc == WEFT_ESTOREFULL);
	return rc == 0;
}

static void as_a_client(weft *rt, weft_client *client)
{
	struct weft_client_object object = {
		.struct_size = sizeof(object), .name = "wanted", .meta = "m", .meta_size = 2
	};
	struct weft_client_view view;
	weft_ref wanted, event;
	uint64_t id;

	if (told(weft_client_get(client, "big", weft_client_after_ms(2000), &view, NULL))) {
		API_CHECK(attach_filled(view.data, view.size, 1));
		API_CHECK(weft_client_release(client, &view) == 0);
	}
	if (told(weft_client_get(client, "small", weft_client_after_ms(2000), &view, NULL))) {
		API_CHECK(attach_filled(view.data, view.size, 2));
		API_CHECK(weft_client_release(client, &view) == 0);
	}
	if (told(weft_event_create(rt, &event))) {
		if (told(weft_attach_export(rt, "event", event, NULL))) {
			(void)told(weft_event_set(rt, event, "1", 1));
			if (told(weft_client_get(client, "event", weft_client_after_ms(2000), &view,
			                         NULL)))
				API_CHECK(weft_client_release(client, &view) == 0);
		}
		api_release(rt, event);
	}
	if (told(weft_client_put(client, "abc", 3, NULL, weft_client_after_ms(2000), &id, NULL)))
		(void)told(weft_client_remove(client, id, NULL));
	if (told(weft_attach_import(rt, "wanted", &wanted))) {
		if (told(weft_client_put(client, "abc", 3, &object, weft_client_after_ms(2000), &id,
		                         NULL)))
			API_CHECK(api_get(rt, wanted) == 0);
		api_release(rt, wanted);
	}
}

static void one_round(uint64_t nth)
{
	struct weft_attach_options options = { .struct_size = sizeof(options),
		                               .flags = WEFT_ATTACH_CREATE };
	weft *rt = attach_open(1, 8 * ATTACH_MIB, "");
	struct fault_census before;
	weft_client *client;
	weft_ref big = attach_value(rt, 100000, 1), small = attach_value(rt, 100, 2);

	before = fault_census();
	wf_fault_arm(-1, nth);
	if (told(weft_attach_listen(rt, place.path, &options))) {
		bool exported = told(weft_attach_export(rt, "big", big, NULL)) &&
			told(weft_attach_export(rt, "small", small, NULL));

		if (told(weft_client_connect(place.path, weft_client_after_ms(2000), &client,
		                             NULL))) {
			if (exported)
				as_a_client(rt, client);
			weft_client_close(client);
		}
		wf_fault_arm(-1, 0);
		attach_await(rt, 0, 0, 0);
		API_CHECK(weft_attach_stop(rt) == 0);
	}
	wf_fault_arm(-1, 0);
	API_CHECK(access(place.path, F_OK) != 0);
	fault_census_check(&before);
	api_release(rt, big);
	api_release(rt, small);
	attach_await_empty(rt);
	api_await_no_tasks(rt);
	api_close(rt);
}

/* Listening opens the store, when there is none yet: what is missing there counts, too. */
static void round_from_nothing(uint64_t nth)
{
	struct fault_census before = fault_census();
	weft *rt = attach_open(1, 8 * ATTACH_MIB, "");
	weft_client *client;

	wf_fault_arm(-1, nth);
	if (told(weft_attach_listen(rt, place.path, NULL)) &&
	    told(weft_client_connect(place.path, weft_client_after_ms(2000), &client, NULL)))
		weft_client_close(client);
	wf_fault_arm(-1, 0);
	api_close(rt);
	API_CHECK(access(place.path, F_OK) != 0);
	fault_census_check(&before);
}

/* One value cannot be read back: its client is told which way, and of the rest nothing is lost. */
static void lost(enum wf_io_fault_effect effect, int status, const char *word)
{
	const struct wf_io_fault fault = { .kinds = WF_IO_FAULT_READ,
		                           .effect = effect,
		                           .error = EIO,
		                           .nth = 1,
		                           .count = UINT64_MAX };
	weft *rt = attach_open(1, 8 * ATTACH_MIB, place.dir);
	struct weft_client_view view = { .size = 5 };
	struct weft_client_error error;
	weft_ref refs[10];
	weft_client *client;

	API_CHECK(weft_attach_listen(rt, place.path, NULL) == 0);
	for (uint32_t i = 0; i < 10; i++)
		refs[i] = attach_value(rt, ATTACH_MIB, i);
	API_CHECK(attach_stats(rt).spilled > 0);
	API_CHECK(weft_attach_export(rt, "v", refs[0], NULL) == 0);
	client = attach_connect(&place);
	wf_io_fault_arm(&fault);
	API_CHECK(weft_client_get(client, "v", WEFT_CLIENT_FOREVER, &view, &error) == status);
	wf_io_fault_arm(NULL);
	API_CHECK(view.size == 5);
	API_CHECK(error.status == status);
	API_CHECK(strstr(error.text, word) != NULL);
	/* It stays so, and can be told at once. */
	API_CHECK(weft_client_get(client, "v", WEFT_CLIENT_POLL, &view, &error) == status);
	API_CHECK(weft_attach_unexport(rt, "v", 0) == 0);
	API_CHECK(weft_attach_export(rt, "v", refs[1], NULL) == 0);
	API_CHECK(weft_client_get(client, "v", WEFT_CLIENT_FOREVER, &view, NULL) == 0);
	API_CHECK(attach_filled(view.data, view.size, 1));
	weft_client_close(client);
	for (uint32_t i = 0; i < 10; i++)
		api_release(rt, refs[i]);
	attach_await(rt, 0, 0, 0);
	API_CHECK(weft_attach_stop(rt) == 0);
	attach_await_empty(rt);
	api_close(rt);
}

int main(void)
{
	attach_place_make(&place);
	lost(WF_IO_EFFECT_FLIP, WEFT_ECORRUPT, "sum");
	lost(WF_IO_EFFECT_ERROR, WEFT_ELOST, "");
	API_CHECK(fault_sweep(one_round) > 20);
	API_CHECK(failures > 10);
	API_CHECK(fault_sweep(round_from_nothing) > 20);
	attach_place_remove(&place);
	return 0;
}
