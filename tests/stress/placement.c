/*
 * Goal: whatever groups and tasks ask for, and whenever groups are removed, no more of a resource
 * is in use than there is, of a bundle no more than it has; every task ends once, nobody waits for
 * ever, and the books are even afterwards.
 * Method: threads make groups of random bundles, submit tasks of random requests and kinds into
 * them and beside them, cancel some and remove the groups at random moments. Each body counts what
 * it holds, against the runtime and against its bundle. Two workers on one node, and eight on four.
 */
#include "resources.h"

#define THREADS 3
#define ROUNDS  200
#define TASKS   24
#define BUNDLES 4

enum kind { RETURNS, FAILS, YIELDS, SLEEPS, SPAWNS, RETRIES, KINDS };

struct bundle {
	struct weft_bundle of;
	struct weft_resource want;
	struct api_count cpus, disk, memory, gpus; /* held; tenths; cpus of who never waits */
};

struct group {
	weft_placement handle;
	uint32_t n;
	struct bundle bundle[BUNDLES];
};

struct field {
	weft *rt;
	struct api_count disk, gpus, memory, ran;
};

struct item {
	struct field *field;
	struct group *group; /* NULL: in none */
	uint32_t kind;
	uint64_t disk, memory, share; /* disk in 1/10000, share in tenths */
	struct weft_resource want;
	struct weft_place place;
	struct weft_task_options options;
	weft_ref ref;
	struct api_count runs;
	bool cancelled;
};

static void hold(struct api_count *gauge, uint64_t amount, double most)
{
	API_CHECK((double)api_add(gauge, amount) <= most);
}

static int act(weft_task *self, const struct item *item)
{
	weft *rt = weft_task_runtime(self);
	weft_ref child;
	int rc = 0;

	switch (item->kind) {
	case FAILS:
		return weft_fail(self, -EPROTO, "planned");
	case YIELDS:
		for (int i = 0; i < 3 && !rc; i++)
			rc = weft_yield(rt);
		return rc;
	case SLEEPS:
		return weft_sleep_until(rt, weft_now(rt) + 20000);
	case SPAWNS:
		rc = weft_spawn(rt, api_body_nothing, NULL, 0, &child);
		API_CHECK(rc == 0 || rc == WEFT_EPLACEMENT);
		rc = rc ? rc : (int)weft_take(rt, child, NULL, 0);
		API_CHECK(rc == 0 || rc == WEFT_EPLACEMENT || rc == -EINTR || rc == -ECANCELED);
		return rc == WEFT_EPLACEMENT ? 0 : rc;
	case RETRIES:
		return weft_task_attempt(self) < 3 ? -EAGAIN : 0;
	default:
		return 0;
	}
}

static int body(weft_task *self)
{
	struct item *item = api_arg_pointer(self);
	struct field *field = item->field;
	struct weft_task_place place = { .struct_size = sizeof place };
	struct weft_task_info info = { .struct_size = sizeof info };
	const uint64_t never_waits = item->kind == RETURNS || item->kind == FAILS;
	const uint64_t cpu = never_waits * (item->options.cpus == 0.5 ? 5 : 10);
	const bool beside = item->options.flags & WEFT_TASK_BLOCKING || item->options.cpus == 0.5;
	struct bundle *bundle = NULL;

	API_CHECK(weft_task_place(self, &place) == 0 && weft_task_info(self, &info) == 0);
	API_CHECK(info.n_gpu == !!item->share);
	if (item->group) {
		API_CHECK(place.group.bits == item->group->handle.bits);
		API_CHECK(place.bundle < item->group->n);
		API_CHECK(!item->place.bundle || item->place.bundle == place.bundle + 1);
		bundle = &item->group->bundle[place.bundle];
		API_CHECK(beside || info.node == place.node);
		hold(&bundle->cpus, cpu, bundle->of.cpus * 10);
		hold(&bundle->disk, item->disk, bundle->want.amount * 10000);
		hold(&bundle->memory, item->memory, (double)bundle->of.memory);
		hold(&bundle->gpus, item->share, bundle->of.gpus * 10);
	} else if (item->place.strategy == WEFT_PLACE_NODE) {
		API_CHECK(beside || info.node == item->place.node);
	}
	hold(&field->disk, item->disk, 40000);
	hold(&field->memory, item->memory, 1000);
	hold(&field->gpus, item->share, 30);
	api_add(&item->runs, 1);
	const int rc = act(self, item);

	api_add(&field->disk, -item->disk);
	api_add(&field->memory, -item->memory);
	api_add(&field->gpus, -item->share);
	if (bundle) {
		api_add(&bundle->cpus, -cpu);
		api_add(&bundle->disk, -item->disk);
		api_add(&bundle->memory, -item->memory);
		api_add(&bundle->gpus, -item->share);
	}
	return rc;
}

static void make_group(struct field *field, struct group *group, uint64_t *random)
{
	struct weft_bundle bundles[BUNDLES];
	struct weft_placement_options o = { .struct_size = sizeof o,
		                            .strategy = api_below(random, 3) };

	memset(group, 0, sizeof *group);
	group->n = 1 + api_below(random, BUNDLES);
	for (uint32_t i = 0; i < group->n; i++) {
		struct bundle *bundle = &group->bundle[i];

		bundle->of.cpus = group->n > 2 ? 0.5 : 1;
		bundle->of.memory = api_below(random, 2) * 200;
		bundle->of.gpus = api_below(random, 4) == 0 && i < 3;
		if (api_below(random, 2)) {
			bundle->want = (struct weft_resource){ "disk", 1 };
			bundle->of.n_resources = 1;
			bundle->of.resources = &bundle->want;
		}
		bundles[i] = bundle->of;
	}
	API_CHECK(weft_placement_create(field->rt, &o, bundles, group->n, &group->handle) == 0);
}

/* Whether some bundle that is meant has as much; 1 CPU unless the task has none. */
static bool fits(const struct group *group, const struct item *item)
{
	const uint32_t only = item->place.bundle;

	for (uint32_t i = only ? only - 1 : 0; i < (only ? only : group->n); i++) {
		const struct bundle *bundle = &group->bundle[i];

		if ((item->options.cpus == 0 ? 1 : item->options.cpus) <= bundle->of.cpus &&
		    item->memory <= bundle->of.memory &&
		    (double)item->disk <= bundle->want.amount * 10000 &&
		    (double)item->share <= bundle->of.gpus * 10)
			return true;
	}
	return false;
}

static void plan(struct field *field, struct group *group, struct item *item, uint64_t *random)
{
	struct weft_task_options *o = &item->options;

	memset(item, 0, sizeof *item);
	item->field = field;
	item->kind = api_below(random, KINDS);
	item->place.struct_size = sizeof item->place;
	o->struct_size = sizeof *o;
	o->place = &item->place;
	o->priority = api_below(random, 3);
	if (api_below(random, 2))
		item->disk = 1000 * (1 + api_below(random, 10));
	if (api_below(random, 3) == 0)
		item->memory = 10 * (1 + api_below(random, 20));
	if (api_below(random, 4) == 0)
		item->share = 1 + api_below(random, 9);
	if (api_below(random, 3)) {
		item->group = group;
		item->place.group = group->handle;
		item->place.bundle = api_below(random, 2) ? 1 + api_below(random, group->n) : 0;
		item->place.flags = api_below(random, 2) ? WEFT_PLACE_CAPTURE : 0;
		o->cpus = group->n > 2 ? 0.5 : 0;
		if (group->n > 2)
			/* A child of one CPU fits into none of these. */
			item->place.flags = 0;
	} else {
		item->place.strategy = api_below(random, 4);
		item->place.node =
			item->place.strategy == WEFT_PLACE_NODE ? api_below(random, 4) : 0;
		if (api_below(random, 4) == 0)
			o->cpus = 2;
	}
	item->want = (struct weft_resource){ "disk", (double)item->disk / 10000 };
	o->resources = item->disk ? &item->want : NULL;
	o->n_resources = item->disk > 0;
	o->memory = item->memory;
	o->gpus = (double)item->share / 10;
	if (item->kind == RETRIES) {
		o->retries = 3;
		o->backoff_ns = api_below(random, 2) ? 1000 : 0;
	}
	if (api_below(random, 8) == 0)
		o->flags = WEFT_TASK_BLOCKING;
}

static void submit_item(struct field *field, struct item *item, uint32_t workers)
{
	const int rc = weft_submit(
		field->rt, WEFT_TASK(body, API_POINTER(item), .opts = &item->options), &item->ref);

	if (rc == -EINVAL) {
		item->ref = WEFT_NONE;
		if (item->group)
			API_CHECK(!fits(item->group, item));
		else
			API_CHECK(item->place.strategy == WEFT_PLACE_NODE &&
			          item->place.node >= (workers + 1) / 2);
		return;
	}
	API_CHECK(rc == 0);
	API_CHECK(!item->group || fits(item->group, item));
}

static void check_item(struct field *field, struct item *item)
{
	if (!item->ref.bits)
		return;
	const int status = api_end(field->rt, item->ref);
	const uint64_t runs = api_read(&item->runs);

	API_CHECK(runs <= (item->kind == RETRIES ? 3u : 1u));
	switch (status) {
	case 0:
		API_CHECK(item->kind != FAILS && runs >= 1);
		break;
	case WEFT_ETASK:
		API_CHECK(item->kind == FAILS || item->cancelled ||
		          (item->kind == RETRIES && item->group));
		break;
	case WEFT_EPLACEMENT:
		API_CHECK(item->group && !runs);
		break;
	default:
		API_CHECK(status == -ECANCELED && item->cancelled);
	}
	api_add(&field->ran, runs > 0);
}

struct share {
	struct field *field;
	uint32_t thread, workers;
};

static void one_round(const struct share *mine, struct group *group, struct item *items,
                      uint64_t *random)
{
	weft *rt = mine->field->rt;
	const uint32_t remove_at = api_below(random, TASKS + 8);

	make_group(mine->field, group, random);
	for (uint32_t i = 0; i < TASKS; i++) {
		plan(mine->field, group, &items[i], random);
		if (i > remove_at && items[i].group)
			items[i].ref = WEFT_NONE;
		else
			submit_item(mine->field, &items[i], mine->workers);
		if (items[i].ref.bits && api_below(random, 8) == 0) {
			items[i].cancelled = true;
			API_CHECK(weft_cancel(rt, items[i].ref) == 0);
		}
		if (i == remove_at)
			API_CHECK(weft_placement_remove(rt, group->handle) == 0);
	}
	if (api_below(random, 2) && remove_at >= TASKS)
		/* Nobody waits for ever: it is reserved in the end. */
		API_CHECK(weft_placement_wait(rt, group->handle, WEFT_FOREVER) == 0);
	if (api_below(random, 2))
		API_CHECK(weft_placement_remove(rt, group->handle) == 0);
	for (uint32_t i = 0; i < TASKS; i++) {
		if (items[i].group)
			check_item(mine->field, &items[i]);
	}
	API_CHECK(weft_placement_remove(rt, group->handle) == 0);
	/* Those beside may wait for what groups have: so no group waits for them. */
	for (uint32_t i = 0; i < TASKS; i++) {
		if (!items[i].group)
			check_item(mine->field, &items[i]);
	}
	for (uint32_t i = 0; i < group->n; i++)
		API_CHECK(!api_read(&group->bundle[i].disk) && !api_read(&group->bundle[i].cpus) &&
		          !api_read(&group->bundle[i].memory) && !api_read(&group->bundle[i].gpus));
}

static void *play(void *arg)
{
	const struct share *mine = arg;
	uint64_t random = test_seed() * 31 + mine->thread + mine->workers * 1000;
	struct group *group = malloc(sizeof *group);
	struct item *items = malloc(TASKS * sizeof *items);

	API_CHECK(group && items);
	for (uint32_t i = 0; i < api_scaled(ROUNDS * 10) / 10 + 1; i++)
		one_round(mine, group, items, &random);
	free(items);
	free(group);
	return NULL;
}

static void run(uint32_t workers)
{
	struct field field = { .rt = open_with(workers, NULL) };
	struct share shares[THREADS];
	pthread_t threads[THREADS];

	for (uint32_t i = 0; i < THREADS; i++) {
		shares[i] = (struct share){ &field, i, workers };
		threads[i] = api_thread(play, &shares[i]);
	}
	for (uint32_t i = 0; i < THREADS; i++)
		api_join(threads[i]);
	API_CHECK(api_read(&field.ran) > 0);
	API_CHECK(!api_read(&field.disk) && !api_read(&field.memory) && !api_read(&field.gpus));
	API_CHECK(weft_placements(field.rt, NULL, 0) == 0);
	close_empty(field.rt);
}

int main(void)
{
	setenv("HWLOC_SYNTHETIC", "node:4 core:2 pu:1", 1);
	run(2);
	run(8);
	return 0;
}
