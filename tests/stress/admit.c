/*
 * Goal: whatever tasks ask for, and however they end, no more of a resource is in use than there
 * is, every task ends once, nobody waits for ever, and the books are even afterwards.
 * Method: tasks of random requests that return, fail, are tried again, block, take memory, wait
 * for children; threads submit and cancel them meanwhile. Each body counts what it holds; what
 * bodies hold together never passes the capacity. 1, 2 and 8 workers.
 */
#include "resources.h"

#define TASKS   400
#define THREADS 3

enum kind { RETURNS, FAILS, RETRIES, YIELDS, SLEEPS, SPAWNS, EATS, KINDS };

struct item {
	struct field *field;
	uint32_t kind;
	weft_ref ref;
	uint64_t disk, license, share, whole, memory; /* held while a body runs; shares in tenths */
	double cpus;
	struct weft_resource want[2];
	struct weft_task_options options;
	struct api_count runs, drops;
	bool cancelled;
};

struct field {
	weft *rt;
	struct api_count disk, license, gpus, memory, left;
	struct item items[THREADS][TASKS];
	uint32_t workers;
};

static void hold(struct api_count *gauge, uint64_t amount, uint64_t most)
{
	API_CHECK(api_add(gauge, amount) <= most);
}

static int act(weft_task *self, struct item *item)
{
	weft *rt = weft_task_runtime(self);
	weft_ref child;
	void *p;
	int rc = 0;

	switch (item->kind) {
	case FAILS:
		return weft_fail(self, -EPROTO, "planned");
	case RETRIES:
		return weft_task_attempt(self) < 3 ? -EAGAIN : 0;
	case YIELDS:
		for (int i = 0; i < 3 && !rc; i++)
			rc = weft_yield(rt);
		return rc;
	case SLEEPS:
		return weft_sleep_until(rt, weft_now(rt) + 20000);
	case SPAWNS:
		rc = weft_spawn(rt, api_body_nothing, NULL, 0, &child);
		API_CHECK(rc == 0 || rc == -ENOMEM);
		return rc ? rc : (int)weft_take(rt, child, NULL, 0);
	case EATS:
		rc = weft_task_alloc(self, 150, &p);
		API_CHECK(rc == 0 || (rc == WEFT_EOOM && item->memory && item->memory < 150));
		return rc;
	default:
		return 0;
	}
}

static int body(weft_task *self)
{
	struct item *item = api_arg_pointer(self);
	struct field *field = item->field;
	struct weft_task_info info = { .struct_size = sizeof info };
	const uint64_t share = item->share + item->whole * 10;

	api_add(&item->runs, 1);
	API_CHECK(weft_task_info(self, &info) == 0);
	API_CHECK(info.n_gpu == (item->share ? 1 : item->whole));
	const uint64_t memory = info.memory;
	hold(&field->disk, item->disk, 40000);
	hold(&field->license, item->license, 15000);
	hold(&field->gpus, share, 30);
	hold(&field->memory, memory, 1000);
	const int rc = act(self, item);
	api_add(&field->disk, -item->disk);
	api_add(&field->license, -item->license);
	api_add(&field->gpus, -share);
	api_add(&field->memory, -memory);
	return rc;
}

static void dropped(void *arg, size_t size)
{
	struct item *item = *(struct item **)arg;

	API_CHECK(size == sizeof item);
	API_CHECK(api_add(&item->drops, 1) == 1);
}

static void plan(struct item *item, struct field *field, uint64_t *random)
{
	struct weft_task_options *o = &item->options;
	static const double cpus[] = { 0, 0, 0, 0, 0.5, 1.5, 2, 3, WEFT_CPUS_NONE };

	item->field = field;
	item->kind = api_below(random, KINDS);
	*o = *WEFT_TASK_OPTIONS(.arg_drop = dropped, .priority = api_below(random, 3));
	if (api_below(random, 2))
		item->disk = (1 + api_below(random, 4)) * 10000;
	if (api_below(random, 4) == 0)
		item->license = 1 + api_below(random, 15000);
	if (api_below(random, 4) == 0)
		item->whole = 1 + api_below(random, 3);
	else if (api_below(random, 4) == 0)
		item->share = 1 + api_below(random, 9);
	if (api_below(random, 4) == 0)
		item->memory = 100 + api_below(random, 3) * 100;
	item->cpus = cpus[api_below(random, 9)];
	if (item->cpus > field->workers)
		item->cpus = 0;
	o->cpus = item->cpus;
	o->gpus = item->whole ? (double)item->whole : (double)item->share / 10;
	o->memory = item->memory;
	item->want[0] = (struct weft_resource){ "disk", (double)item->disk / 10000 };
	item->want[1] = (struct weft_resource){ "license", (double)item->license / 10000 };
	o->resources = item->disk ? item->want : item->license ? item->want + 1 : NULL;
	o->n_resources = !!item->disk + !!item->license;
	if (item->kind == RETRIES) {
		o->retries = 3;
		o->backoff_ns = api_below(random, 2) ? 1000 : 0;
	}
	if (item->kind == EATS && item->memory)
		o->memory_retries = 2;
	if (api_below(random, 8) == 0)
		o->flags = api_below(random, 2) ? WEFT_TASK_BLOCKING : WEFT_TASK_STAY;
	if (api_below(random, 8) == 0)
		o->deadline = weft_now(field->rt) + api_below(random, 3000000);
}

struct share {
	struct field *field;
	uint32_t thread;
};

static void *submit_and_cancel(void *arg)
{
	const struct share *mine = arg;
	struct field *field = mine->field;
	uint64_t random = test_seed() * 31 + mine->thread + field->workers * 1000;

	for (uint32_t i = 0; i < TASKS; i++) {
		struct item *item = &field->items[mine->thread][i];

		plan(item, field, &random);
		item->ref = api_submit(field->rt,
		                       WEFT_TASK(body, API_POINTER(item), .opts = &item->options));
		if (api_below(&random, 4) == 0) {
			struct item *other =
				&field->items[mine->thread]
					     [i - api_below(&random, i < 50 ? i + 1 : 50)];

			other->cancelled = true;
			API_CHECK(weft_cancel(field->rt, other->ref) == 0);
		}
		if (api_below(&random, 64) == 0) {
			struct weft_resource_info infos[8];

			API_CHECK(weft_resources(field->rt, infos, 8) == 5);
			API_CHECK(infos[1].available >= 0 && infos[2].available >= 0);
			API_CHECK(infos[3].available >= 0 && infos[4].available >= 0);
		}
	}
	return NULL;
}

static void check_item(weft *rt, struct item *item)
{
	const int status = api_get(rt, item->ref);
	const uint64_t runs = api_read(&item->runs);
	const bool late = item->options.deadline != 0;

	switch (status) {
	case 0:
		API_CHECK(item->kind != FAILS && runs >= 1);
		break;
	case WEFT_ETASK:
		/* One that was asked to stop is not tried again: it ends with what it has met. */
		API_CHECK(item->kind == FAILS || item->cancelled || late);
		break;
	case WEFT_EOOM:
		API_CHECK(item->kind == EATS && item->memory < 150 && (item->cancelled || late));
		break;
	case WEFT_EDEADLINE:
		API_CHECK(late); /* before it began, between attempts or while it ran */
		break;
	default:
		if (status != -ECANCELED || !item->cancelled)
			fprintf(stderr, "status %d, kind %u, %llu runs, memory %llu\n", status,
			        item->kind, (unsigned long long)runs,
			        (unsigned long long)item->memory);
		API_CHECK(status == -ECANCELED && item->cancelled);
	}
	API_CHECK(runs <= (item->kind == RETRIES ? 3u : item->kind == EATS ? 3u : 1u));
	api_await_count(&item->drops, 1);
	api_release(rt, item->ref);
}

static void run(uint32_t workers)
{
	struct field *field = calloc(1, sizeof *field);
	struct share shares[THREADS];
	pthread_t threads[THREADS];

	API_CHECK(field != NULL);
	field->rt = open_with(workers, NULL);
	field->workers = workers;
	for (uint32_t i = 0; i < THREADS; i++) {
		shares[i] = (struct share){ field, i };
		threads[i] = api_thread(submit_and_cancel, &shares[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		api_join(threads[i]);
	for (uint32_t i = 0; i < THREADS; i++) {
		for (uint32_t j = 0; j < TASKS; j++)
			check_item(field->rt, &field->items[i][j]);
	}
	API_CHECK(api_read(&field->disk) == 0 && api_read(&field->memory) == 0);
	close_empty(field->rt);
	free(field);
}

int main(void)
{
	run(1);
	run(2);
	run(8);
	return 0;
}
