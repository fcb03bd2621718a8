/*
 * Goal: whatever tasks ask of devices, in whatever order they come after one another, and however
 * calls, bodies and devices fail and tasks are cancelled meanwhile: no more of a device is granted
 * than there is, every task ends once and for a reason, what succeeded ran after what it came
 * after, and the books are even in the end.
 * Method: threads submit tasks of random requests behind random earlier ones; their kernels count
 * and number themselves; another thread makes actors that hold devices, calls them and has them
 * die; calls of the devices fail now and then; in the last rounds a device is lost. 10^5 tasks in
 * all; 1, 2 and 8 workers.
 */
#include "../support/gpu_task.h"
#include "stress.h"

#define THREADS 2
#define DEVICES 3
#define MEMORY  (1u << 20)

enum kind { RETURNS, FAILS, RETRIES, YIELDS, SUBMITS_NOTHING, KINDS };

struct item {
	struct field *field;
	enum kind kind;
	uint32_t pieces, piece_bytes;
	struct item *after[2];
	weft_ref ref;
	struct weft_task_options options;
	struct api_count ran, order; /* kernels of it; the number of the last */
	bool cancelled;
};

struct field {
	struct gpu_test t;
	struct api_count shares[DEVICES], serial, planted;
	uint32_t n;
	bool loses;
	struct item *items[THREADS];
};

static void twin_number(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct item *item = *(struct item **)launch->args[0];

	(void)cuda;
	api_set(&item->order, api_add(&item->field->serial, 1));
	api_add(&item->ran, 1);
}
static const struct weft_cuda_kernel number = { .name = "number", .twin = twin_number };

static int use_device(weft_task *self, struct item *item)
{
	void *args[] = { &item };
	const struct weft_cuda_launch launch = { .kernel = &number, .n_args = 1, .args = args };
	uint64_t address;
	int rc = 0;

	for (uint32_t i = 0; i < item->pieces && !rc; i++) {
		rc = weft_cuda_alloc(self, item->piece_bytes, &address);
		if (!rc)
			rc = gpu_launch_add(self, address, item->piece_bytes / 4, 1);
	}
	if (!rc && item->kind != SUBMITS_NOTHING)
		rc = weft_cuda_launch(self, &launch);
	return rc;
}

static void hold(struct item *item, const struct weft_task_info *info, bool take)
{
	const uint64_t tenths = (uint64_t)(info->gpus > 1 ? 10 : info->gpus * 10 + 0.5);

	for (uint32_t i = 0; i < info->n_gpu; i++) {
		const uint64_t held =
			api_add(&item->field->shares[info->gpu[i]], take ? tenths : -tenths);

		API_CHECK(!take || held <= 10);
	}
}

static int body(weft_task *self)
{
	struct item *item = api_arg_pointer(self);
	struct weft_task_info info = { .struct_size = sizeof info };
	int rc;

	API_CHECK(weft_task_info(self, &info) == 0 && info.n_gpu >= 1);
	hold(item, &info, true);
	rc = use_device(self, item);
	if (!rc && item->kind == YIELDS) {
		rc = weft_yield(weft_task_runtime(self));
		API_CHECK(weft_cuda_stream(self) != NULL);
	}
	hold(item, &info, false);
	if (rc)
		return rc;
	if (item->kind == FAILS)
		return weft_fail(self, -EPROTO, "planned");
	return item->kind == RETRIES && weft_task_attempt(self) < 2 ? -EAGAIN : 0;
}

static void plan(struct item *item, struct field *field, struct item *items, uint32_t i,
                 uint64_t *random)
{
	const uint32_t whole = api_below(random, 8) ? 0 : 1 + api_below(random, 2);
	const uint32_t tenths = 1 + api_below(random, 9);

	*item = (struct item){ .field = field, .kind = (enum kind)api_below(random, KINDS) };
	item->options = (struct weft_task_options){ .struct_size = sizeof item->options,
		                                    .gpus = whole ? whole : tenths / 10.0 };
	if (!whole && api_below(random, 2))
		item->options.gpu_mem = 4096 * (1 + api_below(random, 64));
	if (item->kind == RETRIES)
		item->options.retries = 2;
	if (api_below(random, 16) == 0)
		item->options.cpus = WEFT_CPUS_NONE;
	item->pieces = api_below(random, 3);
	item->piece_bytes = 1024;
	/* Long rows of the same kind, and what crosses them. */
	if (i && api_below(random, 3))
		item->after[0] = &items[i - 1];
	if (i > 8 && api_below(random, 8) == 0)
		item->after[1] = &items[i - 2 - api_below(random, 6)];
	if (item->after[0] && api_below(random, 2))
		item->options.gpus = item->after[0]->options.gpus,
		item->options.gpu_mem = item->after[0]->options.gpu_mem;
}

static void submit(struct item *item)
{
	weft_ref after[2];
	struct weft_call call = { .fn = body,
		                  .arg = &(void *){ item },
		                  .arg_size = sizeof(void *),
		                  .inputs = after,
		                  .opts = &item->options };

	for (uint32_t i = 0; i < 2; i++) {
		if (item->after[i])
			after[call.n_after++] = item->after[i]->ref;
	}
	item->ref = api_submit(item->field->t.rt, &call);
}

struct share {
	struct field *field;
	uint32_t thread;
};

static void *submit_all(void *arg)
{
	const struct share *mine = arg;
	struct field *field = mine->field;
	struct item *items = field->items[mine->thread];
	uint64_t random = test_seed() * 37 + mine->thread + field->n;

	for (uint32_t i = 0; i < field->n; i++) {
		plan(&items[i], field, items, i, &random);
		submit(&items[i]);
		if (api_below(&random, 16) == 0) {
			struct item *other = &items[i - api_below(&random, i < 20 ? i + 1 : 20)];

			other->cancelled = true;
			API_CHECK(weft_cancel(field->t.rt, other->ref) == 0);
		}
		if (mine->thread == 0 && api_below(&random, 32) == 0) {
			wf_sim_fault(field->t.sim, WF_SIM_FAULT_CALL, 1 + api_below(&random, 20),
			             api_below(&random, 2) ? -EIO : -ENOMEM);
			api_add(&field->planted, 1);
		}
		if (mine->thread == 0 && field->loses && i == field->n / 2)
			wf_sim_fault(field->t.sim, WF_SIM_FAULT_WORK, 1, -EIO);
		/* Not all at once: the rows are to find the devices in every state. */
		if (i >= 500)
			API_CHECK(api_get(field->t.rt, items[i - 500].ref) != -EINVAL);
	}
	return NULL;
}

/* ---- Actors ---------------------------------------------------------------------------------- */

#define CALLS_MAX 4u

/* What was planted may have met the actor's init. */
static bool init_failed(const struct field *field, weft_ref ref)
{
	const struct weft_error *error = NULL;

	API_CHECK(weft_ref_error(field->t.rt, ref, &error) == 0);
	while (error->cause)
		error = error->cause;
	return error->code == -EIO || error->code == -ENOMEM;
}

/* How a call of an actor may end that holds devices. */
static void check_call(const struct field *field, weft_ref ref, bool killed)
{
	const struct weft_error *error;

	switch (api_get(field->t.rt, ref)) {
	case 0:
		break;
	case WEFT_ETASK:
		API_CHECK(weft_ref_error(field->t.rt, ref, &error) == 0);
		API_CHECK(error->code == -EIO || error->code == -ENOMEM);
		break;
	case WEFT_EDEVICE:
		API_CHECK(field->loses);
		break;
	default:
		/* Without a device to hold it never lives. */
		API_CHECK(api_get(field->t.rt, ref) == WEFT_EACTOR &&
		          (killed || field->loses || init_failed(field, ref)));
	}
	api_release(field->t.rt, ref);
}

static void one_actor(struct field *field, struct item *item, uint64_t *random)
{
	static const struct weft_actor_class class_ = WEFT_ACTOR_CLASS(.name = "holder");
	const struct weft_actor_holds holds = { .struct_size = sizeof holds,
		                                .gpus = (1 + api_below(random, 10)) / 10.0,
		                                .gpu_mem = 65536 };
	const uint32_t calls = 1 + api_below(random, CALLS_MAX);
	const bool killed = api_below(random, 3) == 0;
	weft *rt = field->t.rt;
	weft_ref refs[CALLS_MAX], died = WEFT_NONE;
	weft_actor actor = { API_POISON };

	API_CHECK(weft_actor_create(rt, &class_, WEFT_ACTOR_OPTIONS(.holds = &holds), NULL,
	                            &actor) == 0);
	for (uint32_t i = 0; i < calls; i++)
		refs[i] = api_submit(rt, WEFT_TASK(body, .actor = actor, API_POINTER(item)));
	if (killed)
		API_CHECK(weft_actor_kill(rt, actor, WEFT_KILL_NOW) == 0);
	for (uint32_t i = 0; i < calls; i++)
		check_call(field, refs[i], killed);
	API_CHECK(weft_actor_died(rt, actor, &died) == 0);
	API_CHECK(weft_actor_release(rt, actor) == 0);
	(void)api_get(rt, died);
	api_release(rt, died);
}

static void *drive_actors(void *arg)
{
	struct field *field = arg;
	struct item item = { .field = field, .kind = RETURNS, .pieces = 2, .piece_bytes = 1024 };
	uint64_t random = test_seed() * 41 + field->n;

	for (uint32_t i = 0; i < field->n / 64; i++)
		one_actor(field, &item, &random);
	return NULL;
}

/* ---- Tasks in the end ------------------------------------------------------------------------ */

static void check_item(struct item *item)
{
	weft *rt = item->field->t.rt;
	const int status = api_get(rt, item->ref);
	const struct weft_error *error;
	bool after_failed = false;

	for (uint32_t i = 0; i < 2; i++)
		after_failed =
			after_failed || (item->after[i] && api_get(rt, item->after[i]->ref) != 0);
	switch (status) {
	case 0:
		API_CHECK(item->kind != FAILS && !after_failed);
		API_CHECK(item->kind == SUBMITS_NOTHING || api_read(&item->ran) >= 1);
		for (uint32_t i = 0; i < 2 && item->kind != SUBMITS_NOTHING; i++)
			API_CHECK(!item->after[i] ||
			          api_read(&item->after[i]->order) < api_read(&item->order));
		break;
	case WEFT_ETASK:
		API_CHECK(weft_ref_error(rt, item->ref, &error) == 0);
		API_CHECK(error->code == -EPROTO ? item->kind == FAILS
		                                 : error->code == -EIO || error->code == -ENOMEM ||
		                          item->cancelled);
		break;
	case WEFT_EDEP:
		API_CHECK(after_failed);
		break;
	case WEFT_EDEVICE:
		API_CHECK(item->field->loses);
		break;
	default:
		API_CHECK(status == -ECANCELED && item->cancelled);
	}
}

static void run(uint32_t workers, uint32_t n, bool loses)
{
	struct field *field = calloc(1, sizeof *field);
	struct share shares[THREADS];
	pthread_t threads[THREADS], actors;

	API_CHECK(field != NULL);
	field->t = gpu_open("sim:devices=3,memory=1M,threads=2", workers);
	field->n = n;
	field->loses = loses;
	for (uint32_t i = 0; i < THREADS; i++) {
		field->items[i] = calloc(n, sizeof(struct item));
		API_CHECK(field->items[i] != NULL);
		shares[i] = (struct share){ field, i };
		threads[i] = api_thread(submit_all, &shares[i]);
	}
	actors = api_thread(drive_actors, field);
	for (uint32_t i = 0; i < THREADS; i++)
		api_join(threads[i]);
	api_join(actors);
	for (uint32_t i = 0; i < THREADS; i++) {
		for (uint32_t j = 0; j < n; j++)
			check_item(&field->items[i][j]);
		for (uint32_t j = 0; j < n; j++)
			api_release(field->t.rt, field->items[i][j].ref);
	}
	gpu_close(&field->t);
	for (uint32_t i = 0; i < THREADS; i++)
		free(field->items[i]);
	free(field);
}

int main(void)
{
	static const uint32_t workers[] = { 1, 2, 8 };

	for (uint32_t i = 0; i < 3; i++) {
		run(workers[i], STRESS_SCALE(15000), false);
		run(workers[i], STRESS_SCALE(2000), true);
	}
	return 0;
}
