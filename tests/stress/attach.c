/*
 * Goal: names that come and go, values that become ready, spill and come back, waits that end by
 * their deadline just when the value arrives, and objects handed over, all at once: every view
 * shows the value of its name, no wait is lost, and in the end nothing is held.
 * Method: threads that export tasks and events under few names and take them back, against client
 * threads on two connections with deadlines around the time that a value takes. The seed of a value
 * is in its tag, so that a view can be checked whatever the name stands for by then.
 */
#include "stress.h"

#include "../support/attached.h"

#define NAMES     6
#define EXPORTERS 2
#define CLIENTS   4
#define STORE     (4 * ATTACH_MIB)

static weft *rt;
static weft_client *connections[2];
static struct wf_a32 exporters_left;
static struct wf_a64 views_seen, timeouts_seen, made;

static void name_of(char name[16], uint32_t i)
{
	snprintf(name, 16, "name%u", i);
}

static size_t size_of(uint64_t seed)
{
	static const size_t sizes[] = { 449, 5000, 100000, 700000 };

	return sizes[seed % 4];
}

struct make {
	uint64_t seed;
};

static int make_value(weft_task *self)
{
	const struct make *make = weft_task_arg(self, NULL);
	void *data;
	int rc = weft_task_output(self, 0, size_of(make->seed) + 8, &data);

	if (rc)
		return rc;
	memcpy(data, &make->seed, 8);
	attach_fill((char *)data + 8, size_of(make->seed), make->seed);
	return 0;
}

static void check(const struct weft_client_view *view)
{
	uint64_t seed;

	STRESS_CHECK(view->size >= 8);
	memcpy(&seed, view->data, 8);
	STRESS_CHECK(view->size == size_of(seed) + 8);
	STRESS_CHECK(attach_filled((const char *)view->data + 8, view->size - 8, seed));
}

static void *exporter(void *arg)
{
	struct wf_random random = stress_random((uint64_t)(uintptr_t)arg);
	uint32_t rounds = test_is_long() ? 20000 : STRESS_SCALE(600);

	/* relaxed: a hint. At least until somebody has seen something. */
	for (uint32_t i = 0; i < rounds || (i < 1000 * rounds && wf_load_relaxed(&views_seen) == 0);
	     i++) {
		uint32_t at = wf_random_below(&random, NAMES);
		struct make make = { .seed = wf_random_next(&random) };
		char name[16];
		weft_ref ref;
		int rc;

		name_of(name, at);
		STRESS_CHECK(weft_spawn(rt, make_value, &make, sizeof(make), &ref) == 0);
		rc = weft_attach_export(rt, name, ref, NULL);
		STRESS_CHECK(rc == 0 || rc == -EEXIST);
		if (wf_random_below(&random, 2) == 0) {
			struct weft_view view;

			rc = weft_get(rt, ref, WEFT_FOREVER, &view);
			STRESS_CHECK(rc == 0 || rc == WEFT_ETASK || rc == WEFT_ESTOREFULL);
		}
		STRESS_CHECK(weft_release(rt, ref) == 0);
		name_of(name, wf_random_below(&random, NAMES));
		rc = weft_attach_unexport(rt, name, 0);
		STRESS_CHECK(rc == 0 || rc == -ENOENT);
	}
	/* acq_rel: the others stop after the last name is gone. */
	wf_add_acq_rel(&exporters_left, (uint32_t)-1);
	return NULL;
}

static bool is_expected(int rc)
{
	return rc == 0 || rc == -ETIMEDOUT || rc == -ENOENT || rc == -EDQUOT || rc == -EEXIST ||
		rc == WEFT_ETASK || rc == WEFT_ESTOREFULL;
}

static void *client_thread(void *arg)
{
	uint64_t number = (uint64_t)(uintptr_t)arg;
	struct wf_random random = stress_random(100 + number);
	weft_client *client = connections[number % 2];
	struct weft_client_view held = { .size = 0 };
	unsigned char bytes[600];

	/* acquire: pairs with the exporters' last word. */
	while (wf_load_acquire(&exporters_left) != 0) {
		int64_t until = api_now() + wf_random_below(&random, 400) * (int64_t)1000;
		struct weft_client_view view;
		char name[16];
		uint64_t id;
		int rc;

		name_of(name, wf_random_below(&random, NAMES));
		rc = weft_client_get(client, name, until, &view, NULL);
		STRESS_CHECK(is_expected(rc));
		if (rc == 0) {
			check(&view);
			if (held.private_[0] != 0) {
				check(&held);
				STRESS_CHECK(weft_client_release(client, &held) == 0);
			}
			held = view;
		}
		/* relaxed, both: statistics. */
		wf_add_relaxed(rc == 0 ? &views_seen : &timeouts_seen, 1);
		if (wf_random_below(&random, 8) != 0)
			continue;
		id = number + 1000;
		memcpy(bytes, &id, 8);
		attach_fill(bytes + 8, sizeof(bytes) - 8, id);
		rc = weft_client_put(client, bytes, sizeof(bytes), NULL, until, &id, NULL);
		STRESS_CHECK(is_expected(rc));
		if (rc != 0)
			continue;
		wf_add_relaxed(&made, 1);
		STRESS_CHECK(weft_client_remove(client, id, NULL) == 0);
	}
	if (held.private_[0] != 0)
		STRESS_CHECK(weft_client_release(client, &held) == 0);
	return NULL;
}

int main(void)
{
	struct weft_attach_options options = { .struct_size = sizeof(options),
		                               .flags = WEFT_ATTACH_CREATE };
	pthread_t threads[EXPORTERS + CLIENTS];
	struct attach_place place;

	/* Once, before there are threads. */
	(void)test_seed();
	attach_place_make(&place);
	rt = attach_open(2, STORE, place.dir);
	STRESS_CHECK(weft_attach_listen(rt, place.path, &options) == 0);
	connections[0] = attach_connect(&place);
	connections[1] = attach_connect(&place);
	wf_init(&exporters_left, EXPORTERS);
	for (uint32_t i = 0; i < EXPORTERS; i++)
		threads[i] = api_thread(exporter, (void *)(uintptr_t)i);
	for (uint32_t i = 0; i < CLIENTS; i++)
		threads[EXPORTERS + i] = api_thread(client_thread, (void *)(uintptr_t)i);
	for (uint32_t i = 0; i < EXPORTERS + CLIENTS; i++)
		api_join(threads[i]);
	for (uint32_t i = 0; i < NAMES; i++) {
		char name[16];

		name_of(name, i);
		(void)weft_attach_unexport(rt, name, 0);
	}
	attach_await(rt, 2, 0, 0);
	attach_await_empty(rt);
	weft_client_close(connections[0]);
	weft_client_close(connections[1]);
	attach_await(rt, 0, 0, 0);
	api_await_no_tasks(rt);
	/* relaxed, all: everybody has ended. */
	printf("%llu views, %llu timeouts, %llu made\n",
	       (unsigned long long)wf_load_relaxed(&views_seen),
	       (unsigned long long)wf_load_relaxed(&timeouts_seen),
	       (unsigned long long)wf_load_relaxed(&made));
	STRESS_CHECK(wf_load_relaxed(&views_seen) > 0);
	api_close(rt);
	attach_place_remove(&place);
	return 0;
}
