/*
 * Goal: a task ends when the device has done its work and not before, no worker waits for that, and
 * nobody is forgotten when a doorbell does not ring; tasks that come after one another on a device
 * are submitted at once, in order, within bounds, and their failures go down the chain.
 * Method: simulated devices whose kernels stand at gates, so that what is under way is known; one
 * worker where a count has to be exact; counters of the devices read when nothing moves any more.
 */
#include "gpu_task.h"
#include "test.h"

#define GPUS(share) .opts = WEFT_TASK_OPTIONS(.gpus = (share))

/* ---- One task -------------------------------------------------------------------------------- */

static int at_gate(weft_task *self)
{
	return gpu_launch_gate(self, api_arg_pointer(self));
}

Test(cuda_async, a_task_ends_with_its_work_and_holds_no_worker)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));

	api_gate_await(&gate, 1);
	/* The only worker does other things. */
	for (int64_t i = 0; i < 100; i++)
		cr_assert_eq(api_take_i64(t.rt, api_spawn(t.rt, api_body_identity, &i, sizeof i)),
		             i);
	api_await_state(t.rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_peek(t.rt, ref), 0);
	cr_assert_eq(gpu_info(&t, 0).pending, 1);
	cr_assert(gpu_info(&t, 0).share_free == 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, ref), 0);
	gpu_close(&t);
}

struct data {
	uint32_t *host; /* WORDS, pinned */
	uint32_t add;
	bool returns;
};
#define WORDS 1024u

/* Up, add, down, all in the stream. */
static int round_trip(weft_task *self)
{
	struct data *d = api_arg_pointer(self);
	uint64_t address = 0;
	void *out = NULL;
	int rc = weft_cuda_alloc(self, WORDS * 4, &address);

	if (!rc)
		rc = weft_cuda_copy_in(self, address, d->host, WORDS * 4);
	if (!rc)
		rc = gpu_launch_add(self, address, WORDS, d->add);
	if (!rc)
		rc = weft_cuda_copy_out(self, d->host, address, WORDS * 4);
	if (!rc && d->returns)
		rc = weft_task_output(self, 0, WORDS * 4, &out);
	if (!rc && d->returns)
		rc = weft_cuda_copy_out(self, out, address, WORDS * 4);
	return rc;
}

static struct data data_of(weft *rt, uint32_t add)
{
	struct data d = { .add = add };
	void *memory = NULL;

	cr_assert_eq(weft_cuda_host_alloc(rt, WORDS * 4, &memory), 0);
	d.host = memory;
	for (uint32_t i = 0; i < WORDS; i++)
		d.host[i] = i;
	return d;
}

static bool data_is(const uint32_t *words, uint32_t add)
{
	for (uint32_t i = 0; i < WORDS; i++) {
		if (words[i] != i + add)
			return false;
	}
	return true;
}

Test(cuda_async, what_the_device_wrote_is_there_when_the_task_has_ended)
{
	struct gpu_test t = gpu_open("sim:devices=2,memory=1M", 2);
	struct data d[16];
	weft_ref refs[16];

	for (uint32_t i = 0; i < 16; i++) {
		d[i] = data_of(t.rt, i);
		d[i].returns = i & 1;
		refs[i] = api_submit(t.rt, WEFT_TASK(round_trip, API_POINTER(&d[i]), GPUS(0.25)));
	}
	for (uint32_t i = 0; i < 16; i++) {
		struct weft_view view;

		cr_assert_eq(weft_get(t.rt, refs[i], WEFT_FOREVER, &view), 0);
		cr_assert(data_is(d[i].host, i), "task %u", i);
		if (d[i].returns)
			cr_assert(view.size == WORDS * 4 && data_is(view.data, i), "task %u", i);
		api_release(t.rt, refs[i]);
		weft_cuda_host_free(t.rt, d[i].host);
	}
	gpu_close(&t);
}

Test(cuda_async, threads_that_cannot_suspend_wait_too)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct api_gate gate = API_GATE_INIT, held = API_GATE_INIT;
	/* The worker is inside a long body: nobody polls but the waiting thread itself. */
	weft_ref body = api_submit(t.rt, WEFT_TASK(api_body_gate, API_POINTER(&held)));

	api_gate_await(&held, 1);
	weft_ref ref =
		api_submit(t.rt,
	                   WEFT_TASK(at_gate, API_POINTER(&gate),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 1, .cpus = WEFT_CPUS_NONE)));

	api_gate_await(&gate, 1);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, ref), 0);
	api_gate_open(&held);
	cr_assert_eq(api_end(t.rt, body), 0);
	gpu_close(&t);
}

/* ---- Doorbells ------------------------------------------------------------------------------- */

static void await_armed(const struct gpu_test *t)
{
	const int64_t start = api_now();

	while (!wf_load_acquire(&t->cuda->bell[0].armed))
		api_polling(start, "a worker that sleeps has armed a doorbell");
}

static void await_doorbells(const struct gpu_test *t, uint64_t n)
{
	const int64_t start = api_now();

	while (gpu_info(t, 0).doorbells < n)
		api_polling(start, "a doorbell was rung");
}

Test(cuda_async, a_sleeping_worker_is_woken_by_the_device)
{
	struct gpu_test t = gpu_open("sim", 1);

	for (uint32_t i = 0; i < 10; i++) {
		struct api_gate gate = API_GATE_INIT;
		weft_ref ref = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));

		api_gate_await(&gate, 1);
		await_armed(&t);
		api_gate_open(&gate);
		cr_assert_eq(api_end(t.rt, ref), 0);
		await_doorbells(&t, i + 1);
		cr_assert_eq(gpu_info(&t, 0).doorbells, i + 1, "one for all sleepers");
	}
	gpu_close(&t);
}

Test(cuda_async, a_doorbell_that_never_rings_only_costs_time)
{
	struct gpu_test t = gpu_open("sim", 1);

	for (uint32_t i = 0; i < 5; i++) {
		struct api_gate gate = API_GATE_INIT;
		weft_ref ref = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));

		api_gate_await(&gate, 1);
		await_armed(&t);
		/* The mark, the wait of the doorbell's stream, the doorbell. */
		if (!i)
			wf_sim_fault(t.sim, WF_SIM_FAULT_HANG, 3, -EIO);
		api_gate_open(&gate);
		cr_assert_eq(api_end(t.rt, ref), 0);
		const int64_t start = api_now();
		/* Nothing else may become the third. */
		while (!i && wf_sim_fault_count(t.sim, WF_SIM_FAULT_HANG) < 3)
			api_polling(start, "the doorbell hangs");
	}
	cr_assert_eq(gpu_info(&t, 0).doorbells, 0);
	/* The stream of what hangs stays until the devices are closed. */
	api_close(t.rt);
	cr_assert_eq(weft_cuda_close(t.cuda), 0);
}

Test(cuda_async, doorbells_that_cannot_be_armed_only_cost_time)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));

	api_gate_await(&gate, 1);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, ref), 0);
	for (uint64_t n = 1; n < 12; n++) {
		struct api_gate next = API_GATE_INIT;

		/* Somewhere in the record, the stream, the wait, the doorbell. */
		ref = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&next), GPUS(1)));
		api_gate_await(&next, 1);
		wf_sim_fault(t.sim, WF_SIM_FAULT_CALL, n, -EIO);
		api_gate_open(&next);
		cr_assert_eq(api_end(t.rt, ref), 0);
		wf_sim_fault(t.sim, WF_SIM_FAULT_CALL, 0, 0);
	}
	gpu_close(&t);
}

/* ---- Chains ---------------------------------------------------------------------------------- */

#define CHAIN 50

struct chain {
	struct api_gate gate;
	struct api_count ran, order, bodies;
	uint32_t n;
};

struct link {
	struct chain *chain;
	uint32_t i;
	double share; /* 0: 1 */
	int code;
};

/* args: a struct link. Whoever comes out of turn is found. */
static void twin_in_order(weft_cuda *cuda, const struct weft_cuda_launch *launch)
{
	const struct link *link = *(struct link **)launch->args[0];

	(void)cuda;
	if (!link->i)
		api_gate_pass(&link->chain->gate);
	if (api_add(&link->chain->ran, 1) == link->i + 1)
		api_add(&link->chain->order, 1);
}
static const struct weft_cuda_kernel in_order = { .name = "in_order", .twin = twin_in_order };

static int link_body(weft_task *self)
{
	struct link *link = api_arg_pointer(self);
	void *args[] = { &link };
	const struct weft_cuda_launch launch = { .kernel = &in_order, .n_args = 1, .args = args };
	int rc = weft_cuda_launch(self, &launch);

	api_add(&link->chain->bodies, 1);
	return rc ? rc : link->code;
}

/* Each after the one before; the first after `event`. */
static void submit_chain(weft *rt, struct chain *chain, struct link *links, weft_ref *refs,
                         uint32_t n, weft_ref event, const struct weft_task_options *o)
{
	for (uint32_t i = 0; i < n; i++) {
		struct weft_task_options mine = *o;

		links[i].chain = chain;
		links[i].i = i;
		if (links[i].share != 0)
			mine.gpus = links[i].share;
		refs[i] = api_submit(rt,
		                     WEFT_TASK(link_body, API_POINTER(&links[i]),
		                               WEFT_AFTER(i ? refs[i - 1] : event), .opts = &mine));
	}
}

static void end_all(weft *rt, weft_ref *refs, uint32_t n, int status)
{
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(api_end(rt, refs[i]), status, "task %u", i);
}

static const struct weft_task_options whole = { .struct_size = sizeof whole, .gpus = 1 };

/* Without locals that a test's many threads would share. */
#define CHAIN_OF(t, links_) \
	struct chain chain = { .gate = API_GATE_INIT }; \
	struct link links_[CHAIN] = { 0 }; \
	weft_ref refs[CHAIN], event = api_event((t).rt)

Test(cuda_chain, the_host_learns_of_the_last_one)
{
	struct gpu_test t = gpu_open("sim", 1);

	CHAIN_OF(t, links);
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &whole);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	/* All is submitted while the first kernel still runs; one grant went through all hands. */
	api_await_count(&chain.bodies, CHAIN);
	const int64_t start = api_now();
	while (gpu_info(&t, 0).pending < CHAIN)
		api_polling(start, "all are marked");
	cr_assert_eq(gpu_info(&t, 0).chained, CHAIN - 1);
	cr_assert_eq(gpu_info(&t, 0).takeovers, CHAIN - 1);
	cr_assert_eq(api_read(&chain.ran), 0);
	for (uint32_t i = 0; i < CHAIN; i++)
		cr_assert_eq(weft_peek(t.rt, refs[i]), 0);
	await_armed(&t);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	await_doorbells(&t, 1);
	cr_assert_eq(gpu_info(&t, 0).doorbells, 1, "woken once");
	cr_assert_eq(api_read(&chain.order), CHAIN);
	api_release(t.rt, event);
	gpu_close(&t);
}

/* The links come while what they come after is already on the device. */
Test(cuda_chain, late_comers_find_what_was_submitted)
{
	struct gpu_test t = gpu_open("sim", 2);
	const int64_t start = api_now();

	CHAIN_OF(t, links);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	for (uint32_t i = 0; i < CHAIN; i++) {
		links[i] = (struct link){ &chain, i, 0, 0 };
		refs[i] =
			api_submit(t.rt,
		                   WEFT_TASK(link_body, API_POINTER(&links[i]),
		                             WEFT_AFTER(i ? refs[i - 1] : event), .opts = &whole));
		while (gpu_info(&t, 0).pending < i + 1)
			api_polling(start, "the link is on the device");
	}
	cr_assert_eq(gpu_info(&t, 0).chained, CHAIN - 1);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	cr_assert_eq(api_read(&chain.order), CHAIN);
	api_release(t.rt, event);
	gpu_close(&t);
}

Test(cuda_chain, other_requests_wait_by_events)
{
	struct gpu_test t = gpu_open("sim:devices=3,streams=2", 2);

	CHAIN_OF(t, links);
	for (uint32_t i = 0; i < CHAIN; i++)
		links[i].share = (const double[]){ 1, 0.5, 0.25, 0.3, 0.5 }[i % 5];
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &whole);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_gate_await(&chain.gate, 1);
	/* The second has a grant of its own, beside the first. */
	api_await_count(&chain.bodies, 2);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	cr_assert_eq(api_read(&chain.order), CHAIN);
	uint64_t chained = 0;
	for (uint32_t i = 0; i < 3; i++)
		chained += gpu_info(&t, i).chained;
	cr_assert_geq(chained, 1);
	api_release(t.rt, event);
	gpu_close(&t);
}

Test(cuda_chain, beside_the_workers_as_well)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct weft_task_options o = { .struct_size = sizeof o, .gpus = 1, .cpus = WEFT_CPUS_NONE };

	CHAIN_OF(t, links);
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &o);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_await_count(&chain.bodies, CHAIN);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	cr_assert_eq(api_read(&chain.order), CHAIN);
	api_release(t.rt, event);
	gpu_close(&t);
}

Test(cuda_chain, how_far_ahead_is_bounded)
{
	struct weft_cuda_options how = { .struct_size = sizeof how, .ahead_max = 3 };
	struct gpu_test t = gpu_open_with("sim", 2, NULL, &how);

	CHAIN_OF(t, links);
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &whole);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_await_count(&chain.bodies, 3);
	const int64_t start = api_now();
	while (gpu_info(&t, 0).pending < 3)
		api_polling(start, "three are marked");
	/* The fourth waits for the end of the third. */
	cr_assert_eq(api_state(t.rt, refs[3]), WEFT_REF_WAITING);
	cr_assert_eq(api_read(&chain.bodies), 3);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	cr_assert_eq(api_read(&chain.order), CHAIN);
	api_release(t.rt, event);
	gpu_close(&t);
}

Test(cuda_chain, nothing_comes_ahead_of_what_may_be_tried_again)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct weft_task_options o = { .struct_size = sizeof o, .gpus = 1, .retries = 1 };

	CHAIN_OF(t, links);
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &o);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_gate_await(&chain.gate, 1);
	cr_assert_eq(api_state(t.rt, refs[1]), WEFT_REF_WAITING);
	cr_assert_eq(gpu_info(&t, 0).chained, 0);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	cr_assert_eq(gpu_info(&t, 0).chained, 0);
	api_release(t.rt, event);
	gpu_close(&t);
}

Test(cuda_chain, a_body_that_fails_ends_what_comes_after_it)
{
	struct gpu_test t = gpu_open("sim", 2);
	const struct weft_error *error;

	CHAIN_OF(t, links);
	links[3].code = -EPERM;
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &whole);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_gate_open(&chain.gate);
	for (uint32_t i = 0; i < CHAIN; i++) {
		cr_assert_eq(api_get(t.rt, refs[i]),
		             i < 3            ? 0
		                     : i == 3 ? WEFT_ETASK
		                              : WEFT_EDEP,
		             "task %u", i);
	}
	cr_assert_eq(weft_ref_error(t.rt, refs[4], &error), 0);
	cr_assert_eq(error->cause->code, -EPERM);
	cr_assert_eq(api_read(&chain.bodies), 4);
	cr_assert_eq(weft_release_many(t.rt, refs, CHAIN), 0);
	api_release(t.rt, event);
	gpu_close(&t);
}

/* The device fails below a chain that was submitted as a whole. */
Test(cuda_chain, a_device_lost_under_it_fails_the_chain_in_order)
{
	struct gpu_test t = gpu_open("sim", 2);
	const struct weft_error *error;

	CHAIN_OF(t, links);
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &whole);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_await_count(&chain.bodies, CHAIN);
	/* The rest of the first, then some more: a launch and a mark each. */
	wf_sim_fault(t.sim, WF_SIM_FAULT_WORK, 12, -EIO);
	api_gate_open(&chain.gate);
	uint32_t good = 0;
	for (uint32_t i = 0; i < CHAIN; i++) {
		int rc = api_get(t.rt, refs[i]);

		if (!rc) {
			cr_assert_eq(good, i, "no success behind a failure");
			good++;
			continue;
		}
		cr_assert_eq(rc, i == good ? WEFT_EDEVICE : WEFT_EDEP, "task %u", i);
		cr_assert_eq(weft_ref_error(t.rt, refs[i], &error), 0);
		while (error->cause)
			error = error->cause;
		cr_assert_eq(error->status, WEFT_EDEVICE);
		cr_assert_not_null(strstr(error->text, "planted failure"), "%s", error->text);
	}
	cr_assert_lt(good, CHAIN);
	cr_assert_eq(weft_release_many(t.rt, refs, CHAIN), 0);
	api_release(t.rt, event);
	gpu_close(&t);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

static int all_memory(weft_task *self)
{
	uint64_t address = 0;
	int rc = weft_cuda_alloc(self, 1u << 20, &address);

	if (!rc)
		rc = gpu_launch_add(self, address, 1024, 1);
	return rc ? rc : link_body(self);
}

/* What the one before has freed in the stream is not free before the device gets there. */
Test(cuda_chain, memory_is_waited_for)
{
	struct gpu_test t = gpu_open("sim:devices=1,memory=1M", 1);

	CHAIN_OF(t, links);
	for (uint32_t i = 0; i < CHAIN; i++) {
		links[i] = (struct link){ &chain, i, 0, 0 };
		refs[i] =
			api_submit(t.rt,
		                   WEFT_TASK(all_memory, API_POINTER(&links[i]),
		                             WEFT_AFTER(i ? refs[i - 1] : event), .opts = &whole));
	}
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_gate_await(&chain.gate, 1);
	api_gate_open(&chain.gate);
	end_all(t.rt, refs, CHAIN, 0);
	cr_assert_eq(api_read(&chain.order), CHAIN);
	api_release(t.rt, event);
	gpu_close(&t);
}

/* ---- Cancel ---------------------------------------------------------------------------------- */

Test(cuda_cancel, work_on_a_device_is_waited_for)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct api_gate gate = API_GATE_INIT;
	weft_ref ref = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));

	api_gate_await(&gate, 1);
	api_await_state(t.rt, ref, WEFT_REF_BLOCKED);
	cr_assert_eq(weft_cancel(t.rt, ref), 0);
	for (int64_t i = 0; i < 100; i++)
		cr_assert_eq(api_take_i64(t.rt, api_spawn(t.rt, api_body_identity, &i, sizeof i)),
		             i);
	cr_assert_eq(weft_peek(t.rt, ref), 0, "its memory is still the device's");
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, ref), 0, "it has its value");
	gpu_close(&t);
}

/* Each link of a chain in turn, at whatever point it is by then. */
Test(cuda_cancel, a_link_of_a_chain_ends_and_the_rest_as_it_says)
{
	for (uint32_t k = 0; k < 12; k++) {
		struct gpu_test t = gpu_open("sim:2", 2);

		CHAIN_OF(t, links);
		links[2].share = links[5].share = 0.5;
		submit_chain(t.rt, &chain, links, refs, 8, event, &whole);
		if (k % 3)
			cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
		if (k % 3 == 2)
			api_gate_await(&chain.gate, 1);
		cr_assert_eq(weft_cancel(t.rt, refs[k % 8]), 0);
		if (k % 3 == 0)
			cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
		api_gate_open(&chain.gate);
		bool bad = false;
		for (uint32_t i = 0; i < 8; i++) {
			int rc = api_end(t.rt, refs[i]);

			if (i == k % 8 && rc)
				cr_assert_eq(rc, -ECANCELED, "task %u of %u", i, k);
			else
				cr_assert_eq(rc, bad ? WEFT_EDEP : 0, "task %u of %u", i, k);
			bad = bad || rc;
		}
		api_release(t.rt, event);
		gpu_close(&t);
	}
}

/* One that has begun ahead and waits for a grant of its own. */
Test(cuda_cancel, while_it_waits_for_a_grant)
{
	struct gpu_test t = gpu_open("sim", 2);
	struct api_gate gate = API_GATE_INIT;
	weft_ref first = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));

	api_gate_await(&gate, 1);
	api_await_state(t.rt, first, WEFT_REF_BLOCKED);
	weft_ref second =
		api_submit(t.rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(first), GPUS(0.5)));
	api_await_state(t.rt, second, WEFT_REF_QUEUED);
	cr_assert_eq(weft_cancel(t.rt, second), 0);
	api_gate_open(&gate);
	cr_assert_eq(api_end(t.rt, second), -ECANCELED);
	cr_assert_eq(api_end(t.rt, first), 0);
	gpu_close(&t);
}

/* By its group, from the lane, though no worker comes by: its edges stay with it. */
Test(cuda_cancel, of_a_group_whose_task_has_begun_ahead)
{
	struct gpu_test t = gpu_open("sim", 1);
	struct api_gate gate = API_GATE_INIT, busy = API_GATE_INIT;
	weft_ref first = api_submit(t.rt, WEFT_TASK(at_gate, API_POINTER(&gate), GPUS(1)));
	weft_group group;

	cr_assert_eq(weft_group_create(t.rt, NULL, &group), 0);
	api_gate_await(&gate, 1);
	api_await_state(t.rt, first, WEFT_REF_BLOCKED);
	weft_ref host = api_submit(t.rt, WEFT_TASK(api_body_gate, API_POINTER(&busy)));

	api_gate_await(&busy, 1);
	weft_ref second =
		api_submit(t.rt,
	                   WEFT_TASK(api_body_nothing, WEFT_AFTER(first),
	                             .opts = WEFT_TASK_OPTIONS(.gpus = 1, .group = group)));

	cr_assert_eq(gpu_info(&t, 0).takeovers, 1);
	cr_assert_eq(weft_group_cancel(t.rt, group), 0);
	cr_assert_eq(weft_peek(t.rt, second), 0);
	cr_assert(gpu_info(&t, 0).share_free == 0);
	api_gate_open(&gate);
	api_gate_open(&busy);
	cr_assert_eq(api_end(t.rt, second), -ECANCELED);
	cr_assert_eq(api_end(t.rt, first), 0);
	cr_assert_eq(api_end(t.rt, host), 0);
	cr_assert_eq(weft_group_destroy(t.rt, group), 0);
	gpu_close(&t);
}

Test(cuda_cancel, close_waits_for_what_is_on_a_device)
{
	struct gpu_test t = gpu_open("sim", 2);

	CHAIN_OF(t, links);
	submit_chain(t.rt, &chain, links, refs, CHAIN, event, &whole);
	cr_assert_eq(weft_event_set(t.rt, event, NULL, 0), 0);
	api_await_count(&chain.bodies, 10);
	weft_interrupt(t.rt);
	api_gate_open(&chain.gate);
	cr_assert_geq(weft_close(t.rt, WEFT_POLL), 0);
	cr_assert_eq(gpu_stats(&t).events, 0);
	cr_assert_eq(weft_cuda_close(t.cuda), 0);
}
