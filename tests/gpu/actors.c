/*
 * Goal: an actor that holds devices has them in every call, with a stream, a context and memory,
 * from before its init until it is dead, and gives all of it back, however it ends. (Row A2.)
 * Method: simulated devices; methods that look at what they were given, put work on it and hold it
 * at gates; the books before, during and after.
 */
#include "gpu_values.h"
#include "test.h"

#define MIB   ((uint64_t)1 << 20)
#define WORDS 1024u

#define HOLDS(...) \
	(&(const struct weft_actor_holds){ .struct_size = sizeof(struct weft_actor_holds), \
	                                   __VA_ARGS__ })

struct memory {
	uint32_t device, calls;
	struct api_count *finis;
};

/* What every call of an actor with half of a device of 4 MiB finds. */
static struct weft_cuda_grant granted(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };
	struct weft_task_info info = { .struct_size = sizeof info };

	API_CHECK(weft_cuda_grant(self, 0, &grant) == 0);
	API_CHECK(weft_cuda_grant(self, 1, &grant) == -EINVAL);
	API_CHECK(grant.share == 0.5 && grant.memory == 2 * MIB && grant.memory_used == 0);
	API_CHECK(grant.stream && grant.stream == weft_cuda_stream(self));
	API_CHECK(wf_sim_current() == (int)grant.device);
	API_CHECK(weft_task_info(self, &info) == 0);
	API_CHECK(info.n_gpu == 1 && info.gpu[0] == grant.device && info.gpus == 0.5);
	API_CHECK(info.gpu_mem == 2 * MIB);
	return grant;
}

static int init(weft_task *self)
{
	struct memory *memory = weft_actor_state(self);
	size_t size;
	void *const *arg = weft_task_arg(self, &size);

	memory->device = granted(self).device;
	if (size)
		memory->finis = *arg;
	return 0;
}

static int fini(weft_task *self)
{
	const struct memory *memory = weft_actor_state(self);

	API_CHECK(granted(self).device == memory->device);
	if (memory->finis)
		api_add(memory->finis, 1);
	return 0;
}

static const struct weft_actor_class half =
	WEFT_ACTOR_CLASS(.name = "half", .state_bytes = sizeof(struct memory), .init = init,
                         .fini = fini, .max_restarts = 1, .holds = HOLDS(.gpus = 0.5));
static const struct weft_actor_class bare = WEFT_ACTOR_CLASS(.name = "bare");

static weft_actor created(weft *rt, const struct weft_actor_class *class_,
                          const struct weft_actor_holds *holds)
{
	weft_actor actor = { API_POISON };

	API_CHECK(weft_actor_create(rt, class_, WEFT_ACTOR_OPTIONS(.holds = holds), NULL, &actor) ==
	          0);
	return actor;
}

/* Release it and wait until it is dead: then what it has held is back. */
static void let_go(weft *rt, weft_actor actor)
{
	struct weft_view view;
	weft_ref died = WEFT_NONE;

	API_CHECK(weft_actor_died(rt, actor, &died) == 0);
	API_CHECK(weft_actor_release(rt, actor) == 0);
	API_CHECK(weft_get(rt, died, WEFT_FOREVER, &view) <= 0);
	api_release(rt, died);
}

static weft_ref called(weft *rt, weft_actor actor, weft_task_fn *fn, void *arg)
{
	return api_submit(rt, WEFT_TASK(fn, .actor = actor, API_POINTER(arg)));
}

static int works(weft_task *self)
{
	struct memory *memory = weft_actor_state(self);
	uint32_t words[WORDS] = { 0 };
	uint64_t address = 0;

	API_CHECK(granted(self).device == memory->device);
	API_CHECK(weft_cuda_alloc(self, 2 * MIB + 1, &address) == -ENOMEM);
	API_CHECK(weft_cuda_alloc(self, sizeof words, &address) == 0);
	API_CHECK(weft_cuda_copy_in(self, address, words, sizeof words) == 0);
	API_CHECK(gpu_launch_add(self, address, WORDS, 5) == 0);
	API_CHECK(weft_cuda_copy_out(self, words, address, sizeof words) == 0);
	API_CHECK(words[0] == 5 && words[WORDS - 1] == 5);
	API_CHECK(wf_sim_current() == (int)memory->device);
	memory->calls++;
	return weft_return(self, &memory->calls, sizeof memory->calls);
}

/* The short form, from a body. */
static int calls_works(weft_task *self)
{
	const weft_actor actor = *(const weft_actor *)weft_task_arg(self, NULL);
	weft *rt = weft_task_runtime(self);
	uint32_t n = 0;
	weft_ref ref = WEFT_NONE;

	for (int i = 0; i < 10; i++) {
		API_CHECK(weft_actor_call(rt, actor, works, NULL, 0, i < 9 ? NULL : &ref) == 0);
	}
	API_CHECK(weft_take(rt, ref, &n, sizeof n) == sizeof n && n == 11);
	return 0;
}

Test(cuda_actors, every_call_has_the_device_its_stream_and_its_memory)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=4M", 2);
	struct api_count finis = { 0 };
	weft_actor actor = { API_POISON };
	uint32_t n = 0;

	cr_assert_eq(weft_actor_create(t.rt, &half, NULL,
	                               &(struct weft_call){ API_POINTER(&finis) }, &actor),
	             0);
	cr_assert_eq(weft_take(t.rt, called(t.rt, actor, works, NULL), &n, sizeof n), sizeof n);
	cr_assert_eq(n, 1);
	cr_assert_eq(api_end(t.rt, api_spawn(t.rt, calls_works, &actor, sizeof actor)), 0);
	/* Also while it is idle. */
	cr_assert(gpu_info(&t, 0).share_free + gpu_info(&t, 1).share_free == 1.5);
	cr_assert_eq(gpu_info(&t, 0).memory_free + gpu_info(&t, 1).memory_free, 6 * MIB);
	cr_assert_eq(weft_actor_stop(t.rt, actor, WEFT_FOREVER), 0);
	cr_assert_eq(api_read(&finis), 1);
	let_go(t.rt, actor);
	gpu_close(&t);
}

/* ---- The ends -------------------------------------------------------------------------------- */

static int crashes(weft_task *self)
{
	(void)granted(self);
	return weft_actor_crash(self, "on purpose");
}

static int leaves(weft_task *self)
{
	return weft_actor_exit(self);
}

enum end { KILL, EXIT, STOP, LAST, CRASH, ENDS };

static void end_in(weft *rt, weft_actor actor, enum end how)
{
	switch (how) {
	case KILL:
		API_CHECK(weft_actor_kill(rt, actor, WEFT_KILL_NOW) == 0);
		break;
	case EXIT:
		API_CHECK(api_end(rt, called(rt, actor, leaves, NULL)) == WEFT_EACTOR);
		break;
	case STOP:
		API_CHECK(weft_actor_stop(rt, actor, WEFT_FOREVER) == 0);
		break;
	case CRASH:
		/* It may once. */
		API_CHECK(api_end(rt, called(rt, actor, crashes, NULL)) == WEFT_EACTOR);
		API_CHECK(api_end(rt, called(rt, actor, works, NULL)) == 0);
		API_CHECK(gpu_available(rt, "GPU") == 0.5);
		API_CHECK(api_end(rt, called(rt, actor, crashes, NULL)) == WEFT_EACTOR);
		break;
	default:
		break;
	}
}

Test(cuda_actors, all_is_back_after_every_kind_of_end_and_kept_over_a_restart)
{
	for (int how = 0; how < ENDS; how++) {
		struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 2);
		weft_actor actor = created(t.rt, &half, NULL);
		weft_actor second = { API_POISON };

		cr_assert_eq(api_end(t.rt, called(t.rt, actor, works, NULL)), 0);
		/* Wants all of it, so it waits for the end. */
		second = created(t.rt, &bare, HOLDS(.gpus = 1));
		end_in(t.rt, actor, how);
		let_go(t.rt, actor);
		cr_assert_eq(api_end(t.rt, called(t.rt, second, api_body_nothing, NULL)), 0);
		cr_assert_eq(weft_actor_kill(t.rt, second, WEFT_KILL_NOW), 0);
		let_go(t.rt, second);
		gpu_close(&t);
	}
}

static int works_at_gate(weft_task *self)
{
	API_CHECK(gpu_launch_gate(self, api_arg_pointer(self)) == 0);
	return 0;
}

Test(cuda_actors, a_call_has_ended_and_the_actor_is_dead_when_the_device_is_done)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_actor actor = created(t.rt, &half, NULL);
	weft_ref ref = called(t.rt, actor, works_at_gate, &gate), died = WEFT_NONE;
	weft_ref queued = called(t.rt, actor, works, NULL);
	struct weft_view view;

	api_gate_await(&gate, 1);
	cr_assert_eq(weft_peek(t.rt, ref), 0);
	cr_assert_eq(weft_actor_died(t.rt, actor, &died), 0);
	cr_assert_eq(weft_actor_kill(t.rt, actor, WEFT_KILL_NOW), 0);
	/* What is queued ends at once, what is on the device when it is done. */
	cr_assert_eq(api_end(t.rt, queued), WEFT_EACTOR);
	cr_assert(weft_peek(t.rt, ref) == 0 && weft_peek(t.rt, died) == 0);
	cr_assert(gpu_available(t.rt, "GPU") == 0.5);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, ref), WEFT_EACTOR);
	cr_assert_eq(weft_get(t.rt, died, WEFT_FOREVER, &view), WEFT_EACTOR);
	api_release(t.rt, died);
	let_go(t.rt, actor);
	gpu_close(&t);
}

/* ---- Beside others --------------------------------------------------------------------------- */

static int blocks(weft_task *self)
{
	const struct memory *memory = weft_actor_state(self);
	struct weft_view view;

	API_CHECK(wf_sim_current() == (int)memory->device);
	API_CHECK(weft_get(weft_task_runtime(self), *(const weft_ref *)api_arg_pointer(self),
	                   WEFT_FOREVER, &view) == 0);
	API_CHECK(granted(self).device == memory->device);
	return 0;
}

static int has_no_device(weft_task *self)
{
	struct weft_cuda_grant grant = { .struct_size = sizeof grant };

	API_CHECK(wf_sim_current() < 0 && !weft_cuda_stream(self));
	API_CHECK(weft_cuda_grant(self, 0, &grant) == -EINVAL);
	return 0;
}

Test(cuda_actors, a_call_that_blocks_takes_its_device_off_the_thread)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 1);
	weft_actor actor = created(t.rt, &half, NULL), other = created(t.rt, &half, NULL);
	weft_actor none = created(t.rt, &bare, NULL);
	weft_ref event = api_event(t.rt), ref = called(t.rt, actor, blocks, &event);

	api_await_state(t.rt, ref, WEFT_REF_BLOCKED);
	/* On the only worker. */
	cr_assert_eq(api_end(t.rt, called(t.rt, none, has_no_device, NULL)), 0);
	cr_assert_eq(api_end(t.rt, api_spawn(t.rt, has_no_device, NULL, 0)), 0);
	cr_assert_eq(api_end(t.rt, called(t.rt, other, works, NULL)), 0);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	cr_assert_eq(api_end(t.rt, ref), 0);
	api_release(t.rt, event);
	let_go(t.rt, actor);
	let_go(t.rt, other);
	let_go(t.rt, none);
	gpu_close(&t);
}

Test(cuda_actors, values_stay_on_the_device_between_calls)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 2);
	weft_actor actor = created(t.rt, &bare, HOLDS(.gpus = 0.5, .gpu_mem = MIB));
	weft_ref row =
		api_submit(t.rt, WEFT_TASK(values_make, .actor = actor, VALUES_PLAN(WORDS, 7)));
	struct weft_view view;

	for (uint32_t i = 0; i < 3; i++) {
		weft_ref next = api_submit(t.rt,
		                           WEFT_TASK(values_add, .actor = actor, WEFT_INPUTS(row),
		                                     VALUES_PLAN(WORDS, 1)));

		api_release(t.rt, row);
		row = next;
	}
	cr_assert_eq(weft_get(t.rt, row, WEFT_FOREVER, &view), 0);
	cr_assert(values_are(&view, WORDS, 10, 1));
	cr_assert_eq(weft_view_end(t.rt, row), 0);
	cr_assert_eq(gpu_info(&t, 0).uploads, 0);
	api_release(t.rt, row);
	cr_assert_eq(weft_actor_kill(t.rt, actor, WEFT_KILL_NOW), 0);
	let_go(t.rt, actor);
	values_close(&t);
}

/* ---- What goes wrong ------------------------------------------------------------------------- */

static int works_or_says_why(weft_task *self)
{
	uint64_t address = 0;
	int rc = weft_cuda_alloc(self, 1024, &address);

	return rc ? rc : gpu_launch_add(self, address, 4, 1);
}

Test(cuda_actors, calls_end_with_a_lost_device_and_it_is_granted_to_nobody)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=4M", 2);
	weft_actor actor = created(t.rt, &half, NULL);

	cr_assert_eq(api_end(t.rt, called(t.rt, actor, works, NULL)), 0);
	wf_sim_fault(t.sim, WF_SIM_FAULT_WORK, 1, -EIO);
	cr_assert_eq(api_end(t.rt, called(t.rt, actor, works_or_says_why, NULL)), WEFT_EDEVICE);
	cr_assert_eq(api_end(t.rt, called(t.rt, actor, works_or_says_why, NULL)), WEFT_EDEVICE);
	/* One that asks now never has it. */
	weft_actor second = created(t.rt, &half, NULL);
	const struct weft_error *error = NULL;
	weft_ref ref = called(t.rt, second, works, NULL);

	cr_assert_eq(weft_get(t.rt, ref, WEFT_FOREVER, &(struct weft_view){ 0 }), WEFT_EACTOR);
	cr_assert_eq(weft_ref_error(t.rt, ref, &error), 0);
	while (error->cause)
		error = error->cause;
	cr_assert_eq(error->status, WEFT_EDEVICE);
	api_release(t.rt, ref);
	cr_assert_eq(weft_actor_kill(t.rt, actor, WEFT_KILL_NOW), 0);
	let_go(t.rt, actor);
	let_go(t.rt, second);
	gpu_close(&t);
}

Test(cuda_actors, what_makes_no_sense_is_refused)
{
	static const struct weft_actor_group groups[] = { { "io", 1 } };
	static const struct weft_actor_class grouped =
		WEFT_ACTOR_CLASS(.groups = groups, .n_groups = 1);
	static const struct weft_actor_class wide = WEFT_ACTOR_CLASS(.max_concurrency = 2);
	const struct {
		int status;
		const struct weft_actor_class *class_;
		const struct weft_actor_holds *holds;
	} refused[] = {
		{ -ENOTSUP, &grouped, HOLDS(.gpus = 0.5) },
		{ -ENOTSUP, &wide, HOLDS(.gpus = 1) },
		{ -EINVAL, &bare, HOLDS(.gpu_mem = 1) },
		{ -EINVAL, &bare, HOLDS(.gpus = 1.5) },
		{ -EINVAL, &bare, HOLDS(.gpus = 1, .gpu_mem = UINT64_MAX) },
	};
	struct gpu_test t = gpu_open("sim:devices=2,memory=4M", 1);
	weft_actor actor = { API_POISON };

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		cr_assert_eq(weft_actor_create(t.rt, refused[i].class_,
		                               WEFT_ACTOR_OPTIONS(.holds = refused[i].holds), NULL,
		                               &actor),
		             refused[i].status, "%zu", i);
		cr_assert_eq(actor.bits, API_POISON);
	}
	gpu_close(&t);
}
