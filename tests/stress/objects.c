/*
 * objects.c: values of all sizes in a store that is far too small, by the public door, against a
 * model in plain memory.
 *
 * Goal: with host threads and tasks that put, create, seal, discard, get, copy out, view, list refs
 * in refs, run tasks with large inputs and outputs, cancel, and release, on both back ends, every
 * byte of every value is what was made; no call answers anything that its promise does not list;
 * nobody waits for ever; and in the end no object, no byte and no file is left.
 * Method: a value says in its first words which it is, and the rest follows from that. Each actor
 * has values of its own and lends them to tasks. A watch looks whether anything ends at all.
 */
#include <dirent.h>

#include "../../store/include/wf_io.h"
#include "api.h"
#include "backends.h"
#include "stress.h"

#define MIB   ((size_t)1 << 20)
#define OWN   24u
#define HOSTS 3u
#define ROOTS 3u
#define VIEWS 2u

struct head {
	uint64_t key, size;
};

struct value {
	weft_ref ref;
	uint64_t key;
	size_t size;
	bool is_list; /* of `inner` */
	uint64_t inner_key[3];
	size_t inner_size[3];
};

struct actor {
	weft *rt;
	uint64_t random;
	struct value values[OWN];
	uint32_t count;
	bool is_task;
	uint64_t checked, full, cancelled;
};

static weft *rt_now;
static size_t store_bytes;
static uint32_t rounds_each;
static struct api_count rounds, checked_bytes, fulls, cancels, ended;

/* ---- Contents -------------------------------------------------------------------------------- */

static uint64_t word_of(uint64_t key, size_t i)
{
	uint64_t x = (key + i) * 0x9e3779b97f4a7c15u;

	return x ^ x >> 31;
}

static void fill(void *at, size_t size, uint64_t key)
{
	unsigned char *bytes = at;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = word_of(key, i);

		memcpy(bytes + i, &word, size - i < 8 ? size - i : 8);
	}
}

static bool filled(const void *at, size_t size, uint64_t key)
{
	const unsigned char *bytes = at;

	for (size_t i = 0; i < size; i += 8) {
		uint64_t word = word_of(key, i);

		if (memcmp(bytes + i, &word, size - i < 8 ? size - i : 8) != 0)
			return false;
	}
	return true;
}

static size_t any_size(struct actor *a)
{
	switch (api_below(&a->random, 12)) {
	case 0:
		return api_below(&a->random, (uint32_t)(store_bytes / 4));
	case 1:
	case 2:
		return api_below(&a->random, 100000);
	case 3:
		return api_below(&a->random, 500);
	default:
		return api_below(&a->random, 6000);
	}
}

/* Whether a call may end so; false: it was served. Room is made by giving something up. */
static bool was_refused(struct actor *a, int64_t rc)
{
	if (rc >= 0)
		return false;
	if (rc != WEFT_ESTOREFULL) {
		fprintf(stderr, "status %lld: %s\n", (long long)rc, weft_strerror((int)rc));
		STRESS_FAIL("an end that cannot be");
	}
	a->full++;
	return true;
}

/* ---- Making ---------------------------------------------------------------------------------- */

static struct value *new_value(struct actor *a, uint64_t key, size_t size)
{
	struct value *value = &a->values[a->count];

	*value = (struct value){ .key = key, .size = size };
	return value;
}

static void put(struct actor *a)
{
	size_t size = any_size(a);
	struct value *value = new_value(a, api_random(&a->random), size);
	unsigned char *bytes = malloc(size + 1);

	fill(bytes, size, value->key);
	if (!was_refused(a, weft_put(a->rt, bytes, size, &value->ref)))
		a->count++;
	free(bytes);
}

static void create(struct actor *a)
{
	size_t size = any_size(a);
	struct value *value = new_value(a, api_random(&a->random), size);
	struct weft_object_options options = { .struct_size = sizeof(options) };
	struct weft_buffer buffer;
	int rc;

	if (api_below(&a->random, 4) == 0)
		options.until = api_below(&a->random, 2) ? 1 : weft_after_ms(a->rt, 1);
	rc = weft_create(a->rt, size, &options, &buffer);
	if (rc == -ETIMEDOUT && options.until)
		return;
	if (was_refused(a, rc))
		return;
	fill(buffer.data, size, value->key);
	if (api_below(&a->random, 6) == 0) {
		STRESS_CHECK(weft_discard(a->rt, &buffer) == 0);
		return;
	}
	STRESS_CHECK(weft_seal(a->rt, &buffer, &value->ref) == 0);
	a->count++;
}

struct order {
	uint64_t key;
	size_t size;
};

/* A value that two others and its own order determine: it reads inputs and writes in place. */
static int body_makes(weft_task *self)
{
	const struct order *order = weft_task_arg(self, NULL);
	void *data;

	for (uint32_t i = 0; i < weft_input_count(self); i++) {
		const struct order *told = order + 1 + i;
		struct weft_view view;

		STRESS_CHECK(weft_input(self, i, &view) == 0);
		STRESS_CHECK(view.size == told->size && filled(view.data, told->size, told->key));
		api_add(&checked_bytes, told->size);
	}
	int rc = weft_task_output(self, 0, order->size, &data);

	if (rc)
		return rc;
	fill(data, order->size, order->key);
	return 0;
}

static int32_t any_plain(struct actor *a)
{
	for (int tries = 0; a->count && tries < 8; tries++) {
		uint32_t i = api_below(&a->random, a->count);

		if (!a->values[i].is_list)
			return (int32_t)i;
	}
	return -1;
}

static void run_task(struct actor *a)
{
	struct value *value = new_value(a, api_random(&a->random), any_size(a));
	struct order orders[4] = { { value->key, value->size } };
	weft_ref inputs[3];
	uint32_t n = 0, most = api_below(&a->random, 4);

	for (int32_t i; n < most && (i = any_plain(a)) >= 0; n++) {
		inputs[n] = a->values[i].ref;
		orders[n + 1] = (struct order){ a->values[i].key, a->values[i].size };
	}
	int rc = weft_submit(a->rt,
	                     WEFT_TASK(body_makes, .arg = orders,
	                               .arg_size = (n + 1) * sizeof(orders[0]), .inputs = inputs,
	                               .n_inputs = n),
	                     &value->ref);

	STRESS_CHECK(rc == 0);
	if (api_below(&a->random, 8) == 0)
		STRESS_CHECK(weft_cancel(a->rt, value->ref) >= 0);
	a->count++;
}

static void list(struct actor *a)
{
	struct value made = { .is_list = true };
	weft_ref refs[3];

	if (a->count < 3)
		return;
	for (uint32_t i = 0; i < 3; i++) {
		int32_t at = any_plain(a);
		struct weft_view view;

		if (at < 0)
			return;
		/* A task's value may have failed: lists are of what is there. */
		int rc = weft_get(a->rt, a->values[at].ref, WEFT_FOREVER, &view);

		if (rc)
			return;
		(void)weft_view_end(a->rt, a->values[at].ref);
		refs[i] = a->values[at].ref;
		made.inner_key[i] = a->values[at].key;
		made.inner_size[i] = a->values[at].size;
	}
	struct value *value = new_value(a, 0, 0);

	made.size = sizeof(refs);
	*value = made;
	if (!was_refused(a, weft_put_refs(a->rt, refs, 3, &value->ref)))
		a->count++;
}

/* ---- Looking --------------------------------------------------------------------------------- */

static void drop_value(struct actor *a, uint32_t i)
{
	STRESS_CHECK(weft_release(a->rt, a->values[i].ref) == 0);
	a->values[i] = a->values[--a->count];
}

/* The value is there and right: 0, or it may be one that was cancelled or found no room. */
static int check_ref(struct actor *a, weft_ref ref, size_t size, uint64_t key)
{
	struct weft_view view;
	int rc = weft_get(a->rt, ref, WEFT_FOREVER, &view);

	if (rc)
		return rc;
	STRESS_CHECK(view.size == size);
	STRESS_CHECK(filled(view.data, size, key));
	STRESS_CHECK(weft_view_end(a->rt, ref) == 0);
	a->checked += size;
	return 0;
}

static void check_list(struct actor *a, const struct value *value)
{
	weft_ref inner[3];
	int64_t rc = weft_get_copy(a->rt, value->ref, inner, sizeof(inner));

	if (was_refused(a, rc))
		return;
	STRESS_CHECK(rc == sizeof(inner));
	for (int i = 0; i < 3; i++) {
		int got = check_ref(a, inner[i], value->inner_size[i], value->inner_key[i]);

		if (got)
			(void)was_refused(a, got);
	}
}

static void look(struct actor *a)
{
	uint32_t i = api_below(&a->random, a->count + 1);
	int rc;

	if (i == a->count)
		return;
	if (a->values[i].is_list) {
		check_list(a, &a->values[i]);
		return;
	}
	rc = check_ref(a, a->values[i].ref, a->values[i].size, a->values[i].key);
	if (rc == -ECANCELED || rc == WEFT_EDEP) {
		a->cancelled++;
		drop_value(a, i);
	} else if (rc) {
		STRESS_CHECK(was_refused(a, rc));
		drop_value(a, i);
	}
}

static void copy_out(struct actor *a)
{
	int32_t i = any_plain(a);

	if (i < 0)
		return;
	unsigned char *bytes = malloc(a->values[i].size + 1);
	int64_t rc = weft_get_copy(a->rt, a->values[i].ref, bytes, a->values[i].size);

	if (rc >= 0) {
		STRESS_CHECK(rc == (int64_t)a->values[i].size);
		STRESS_CHECK(filled(bytes, a->values[i].size, a->values[i].key));
		a->checked += a->values[i].size;
	} else if (rc != -ECANCELED && rc != WEFT_EDEP) {
		(void)was_refused(a, rc);
	}
	free(bytes);
}

static void look_at_many(struct actor *a)
{
	weft_ref refs[4];
	uint32_t which[4], n = 0, failed = 0;
	struct weft_view views[4];

	while (n < 4) {
		int32_t i = any_plain(a);

		if (i < 0)
			return;
		which[n] = (uint32_t)i;
		refs[n++] = a->values[i].ref;
	}
	int rc = weft_get_many(a->rt, refs, n, WEFT_FOREVER, views, &failed);

	if (rc) {
		if (rc != -ECANCELED && rc != WEFT_EDEP)
			(void)was_refused(a, rc);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct value *value = &a->values[which[i]];

		STRESS_CHECK(views[i].size == value->size);
		STRESS_CHECK(filled(views[i].data, value->size, value->key));
		a->checked += value->size;
	}
	for (uint32_t i = 0; i < n; i++)
		STRESS_CHECK(weft_view_end(a->rt, refs[i]) == 0);
}

static void odd_job(struct actor *a)
{
	struct weft_object_info info = { .struct_size = sizeof(info) };
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };
	int32_t i = any_plain(a);
	int rc;

	STRESS_CHECK(weft_store_stats(a->rt, &stats) == 0);
	STRESS_CHECK(stats.used <= stats.capacity);
	if (i < 0)
		return;
	rc = weft_object_info(a->rt, a->values[i].ref, &info);
	STRESS_CHECK(rc == 0 || rc == -EAGAIN);
	STRESS_CHECK(rc || info.place != WEFT_OBJECT_LOST);
}

static void one_round(struct actor *a)
{
	while (a->count >= OWN - 1)
		drop_value(a, api_below(&a->random, a->count));
	switch (api_below(&a->random, 24)) {
	case 0 ... 3:
		put(a);
		break;
	case 4 ... 6:
		create(a);
		break;
	case 7 ... 10:
		run_task(a);
		break;
	case 11:
		list(a);
		break;
	case 12 ... 16:
		look(a);
		break;
	case 17 ... 18:
		copy_out(a);
		break;
	case 19:
		look_at_many(a);
		break;
	case 20:
		odd_job(a);
		break;
	default:
		if (a->count)
			drop_value(a, api_below(&a->random, a->count));
	}
}

static void act(struct actor *a)
{
	for (uint32_t i = 0; i < rounds_each; i++) {
		one_round(a);
		api_add(&rounds, 1);
	}
	while (a->count) {
		look(a);
		if (a->count)
			drop_value(a, a->count - 1);
	}
	api_add(&checked_bytes, a->checked);
	api_add(&fulls, a->full);
	api_add(&cancels, a->cancelled);
}

static void *host_main(void *arg)
{
	struct actor *a = calloc(1, sizeof(*a));

	a->rt = rt_now;
	a->random = test_seed() * 1000003 + (uintptr_t)arg;
	act(a);
	free(a);
	api_add(&ended, 1);
	return NULL;
}

static int body_acts(weft_task *self)
{
	struct actor *a = calloc(1, sizeof(*a));

	a->rt = weft_task_runtime(self);
	a->random = test_seed() * 1000003 + 77 + *(const uint64_t *)weft_task_arg(self, NULL);
	a->is_task = true;
	act(a);
	free(a);
	return 0;
}

/* ---- One run --------------------------------------------------------------------------------- */

static void log_line(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	/* Of the store only that it was full may be said; tasks may fail unseen. */
	if (record->level == WEFT_LOG_ERROR && strncmp(record->text, "store", 5) == 0) {
		fprintf(stderr, "%s\n", record->text);
		STRESS_FAIL("an error was logged");
	}
}

static void all_gone(const char *backend)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };
	const int64_t start = api_now();

	/* What was on its way when it was released goes when it has arrived. */
	for (;;) {
		STRESS_CHECK(weft_store_stats(rt_now, &stats) == 0);
		if (!stats.objects && !stats.used)
			break;
		api_polling(start, "all objects are gone");
	}
	STRESS_CHECK(stats.used == 0 && stats.spilled == 0 && stats.losses == 0);
	STRESS_CHECK(strcmp(stats.io, backend) == 0);
	STRESS_CHECK(stats.spilled_bytes > 0 && stats.restored_bytes > 0);
	fprintf(stderr,
	        "%s: %llu MiB spilled, %llu restored, %llu compared; %llu waits, %llu full, "
	        "%llu cancelled\n",
	        backend, (unsigned long long)(stats.spilled_bytes / MIB),
	        (unsigned long long)(stats.restored_bytes / MIB),
	        (unsigned long long)(api_read(&checked_bytes) / MIB),
	        (unsigned long long)stats.waits, (unsigned long long)api_read(&fulls),
	        (unsigned long long)api_read(&cancels));
}

static unsigned entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned n = 0;

	STRESS_CHECK(dir != NULL);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void run(const char *backend, const char *dir)
{
	pthread_t hosts[HOSTS];
	weft_ref roots[ROOTS];

	STRESS_CHECK(weft_open(&rt_now,
	                       WEFT_OPTIONS(.workers = 2, .store_bytes = store_bytes,
	                                    .spill_dirs = dir, .log = log_line)) == 0);
	api_set(&ended, 0);
	api_set(&checked_bytes, 0);
	for (uint64_t i = 0; i < ROOTS; i++)
		STRESS_CHECK(weft_spawn(rt_now, body_acts, &i, sizeof(i), &roots[i]) == 0);
	for (uintptr_t i = 0; i < HOSTS; i++)
		STRESS_CHECK(pthread_create(&hosts[i], NULL, host_main, (void *)i) == 0);
	for (uint64_t seen = 0; api_read(&ended) < HOSTS;) {
		int64_t start = api_now();

		/* As long as anything ends there is no end to the patience. */
		while (api_read(&ended) < HOSTS && api_read(&rounds) == seen)
			api_polling(start, "something ends");
		seen = api_read(&rounds);
	}
	for (uint32_t i = 0; i < HOSTS; i++)
		STRESS_CHECK(pthread_join(hosts[i], NULL) == 0);
	for (uint32_t i = 0; i < ROOTS; i++)
		STRESS_CHECK(api_end(rt_now, roots[i]) == 0);
	all_gone(backend);
	api_close(rt_now);
	STRESS_CHECK(entries(dir) == 2);
}

int main(void)
{
	static const char *const backends[] = { "uring", "threads" };
	char dir[] = "/var/tmp/weft-stress-objects-XXXXXX";
	unsigned fds;

	/* Drawn once, before there are threads. */
	(void)test_seed();
	STRESS_CHECK(mkdtemp(dir) != NULL);
	fds = entries("/proc/self/fd");
	rounds_each = test_is_long() ? STRESS_SCALE(60000u) : WF_TSAN || WF_ASAN ? 250 : 700;
	for (int b = 0; b < 2; b++) {
		if (!use_backend(backends[b]))
			continue;
		for (store_bytes = MIB; store_bytes <= 4 * MIB; store_bytes *= 4)
			run(backends[b], dir);
	}
	STRESS_CHECK(entries("/proc/self/fd") == fds);
	STRESS_CHECK(rmdir(dir) == 0);
	return 0;
}
