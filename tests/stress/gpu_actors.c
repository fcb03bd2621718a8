/*
 * Goal: actors that hold devices, whoever calls, kills, restarts or lets go of them and whatever
 * device is lost meanwhile: each accepted call ends once and for a reason, one that succeeded has
 * had its work done, nobody else is inside until the device is done, and the books are even.
 * Method: tasks call three actors on two simulated devices; a thread kills and restarts at random
 * moments, and in every third round a device is lost; 1, 2 and 8 workers, 210 rounds in all. Each
 * actor has a guard that is set by a body and taken back by the last kernel of its call.
 */
#include <errno.h>

#include "../support/gpu_task.h"
#include "stress.h"

#define ACTORS  3
#define CALLERS 3
#define CALLS   24

struct being {
	weft_actor actor;
	struct api_count guard;
};

struct field {
	struct gpu_test t;
	bool loses;
	struct being beings[ACTORS];
	struct item {
		struct field *field;
		struct being *being;
		struct api_count ran, done;
		uint32_t kind;
		weft_ref ref;
	} items[CALLERS][CALLS];
};

enum kind { RETURNS, YIELDS, NO_WORK, CRASHES, EXITS, KINDS };

static void twin_done(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	struct item *item = *(struct item **)launch->args[0];

	(void)cuda;
	API_CHECK(api_add(&item->done, 1) == 1);
	API_CHECK(api_add(&item->being->guard, (uint64_t)-1) == 0 || item->field->loses);
}
static const struct weft_cuda_kernel done = { .name = "done", .twin = twin_done };

static int body(weft_task *self)
{
	struct item *item = api_arg_pointer(self);
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	void *args[] = { &item };
	const struct weft_cuda_launch launch = { .kernel = &done, .n_args = 1, .args = args };
	uint64_t address = 0;

	API_CHECK(api_add(&item->ran, 1) == 1);
	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0 && grant.share == 0.5);
	/* What was lost never takes its guard back. */
	API_CHECK(api_add(&item->being->guard, 1) == 1 || item->field->loses);
	int rc = weft_cuda_alloc(self, 1024, &address);

	if (!rc && item->kind != NO_WORK)
		rc = gpu_launch_add(self, address, 64, 1);
	if (item->kind == YIELDS)
		weft_yield(item->field->t.rt);
	if (!rc)
		rc = weft_cuda_launch(self, &launch);
	if (rc) {
		API_CHECK(item->field->loses);
		return rc;
	}
	if (item->kind == CRASHES)
		return weft_actor_crash(self, "planned");
	return item->kind == EXITS ? weft_actor_exit(self) : 0;
}

static int init(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };

	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0 && grant.share == 0.5);
	return 0;
}

static const struct weft_actor_class half =
	WEFT_ACTOR_CLASS(.name = "half", .state_bytes = 8, .init = init, .fini = init,
                         .max_restarts = WEFT_RESTARTS_UNLIMITED,
                         .holds = &(const struct weft_actor_holds){
				 .struct_size = sizeof(struct weft_actor_holds), .gpus = 0.5 });

static int calls(weft_task *self)
{
	struct item *items = api_arg_pointer(self);
	weft *rt = weft_task_runtime(self);

	for (uint32_t i = 0; i < CALLS; i++) {
		items[i].ref = WEFT_NONE;
		API_CHECK(weft_actor_call(rt, items[i].being->actor, body, &(void *){ &items[i] },
		                          sizeof(void *), &items[i].ref) == 0);
	}
	for (uint32_t i = 0; i < CALLS; i++) {
		const int rc = api_end(rt, items[i].ref);

		API_CHECK(rc == 0 || rc == WEFT_EACTOR ||
		          (rc == WEFT_EDEVICE && items[i].field->loses));
		API_CHECK(rc || (api_read(&items[i].ran) == 1 && api_read(&items[i].done) == 1));
		API_CHECK(api_read(&items[i].ran) || rc);
	}
	return 0;
}

static void run(uint32_t workers, uint64_t seed, bool loses)
{
	struct field *field = calloc(1, sizeof *field);
	uint64_t random = seed;
	weft_ref callers[CALLERS];

	API_CHECK(field != NULL);
	field->t = gpu_open("sim:devices=2,memory=1M", workers);
	field->loses = loses;
	weft *rt = field->t.rt;

	for (int i = 0; i < ACTORS; i++)
		API_CHECK(weft_actor_create(rt, &half, NULL, NULL, &field->beings[i].actor) == 0);
	if (loses)
		wf_sim_fault(field->t.sim, WF_SIM_FAULT_WORK, 1 + api_below(&random, 60), -EIO);
	for (int i = 0; i < CALLERS; i++) {
		for (int j = 0; j < CALLS; j++) {
			struct item *item = &field->items[i][j];
			const uint32_t kind = api_below(&random, 40);

			item->field = field;
			item->being = &field->beings[api_below(&random, ACTORS)];
			item->kind = kind < KINDS ? kind : kind % CRASHES;
		}
		callers[i] = api_spawn(rt, calls, &(void *){ field->items[i] }, sizeof(void *));
	}
	for (uint32_t n = api_below(&random, 6); n; n--) {
		const weft_actor actor = field->beings[api_below(&random, ACTORS)].actor;

		for (uint32_t spins = api_below(&random, 20); spins; spins--)
			sched_yield();
		API_CHECK(weft_actor_kill(rt, actor,
		                          api_below(&random, 3) ? WEFT_KILL_RESTART
		                                                : WEFT_KILL_NOW) == 0);
	}
	for (int i = 0; i < CALLERS; i++)
		API_CHECK(api_end(rt, callers[i]) == 0);
	for (int i = 0; i < ACTORS; i++) {
		weft_ref died = WEFT_NONE;

		API_CHECK(weft_actor_died(rt, field->beings[i].actor, &died) == 0);
		API_CHECK(weft_actor_release(rt, field->beings[i].actor) == 0);
		const int rc = api_end(rt, died);

		API_CHECK(rc == 0 || rc == WEFT_EACTOR);
	}
	gpu_close(&field->t);
	free(field);
}

int main(void)
{
	const uint64_t seed = test_seed();
	static const uint32_t workers[] = { 1, 2, 8 };
	const uint32_t rounds = api_scaled(210);

	for (uint32_t i = 0; i < rounds; i++)
		run(workers[i % 3], seed * 1000 + i, i / 3 % 3 == 2);
	return 0;
}
