/*
 * Goal: whatever fails while work is submitted, the call answers -ENOMEM (or -EAGAIN) with its
 * outputs untouched, nothing leaks, and the runtime goes on.
 * Method: the sweep over one program that uses every way to make a ref, on a fresh runtime each
 * time; what was accepted must end, the live cells must go back to none.
 */
#include "api_fault.h"

enum { REFS = 64 };

struct made {
	weft *rt;
	weft_ref refs[REFS];
	uint32_t n;
	uint32_t refused;
};

static struct api_count drops;
static uint64_t drops_expected;

static void drop(void *arg, size_t size)
{
	(void)arg;
	(void)size;
	api_add(&drops, 1);
}

static void note(void *arg, weft_ref ref, int status)
{
	(void)ref;
	(void)status;
	api_add(arg, 1);
}

/* Remember what a call made, or check that a refused call made nothing. */
static void keep(struct made *made, int64_t status, const weft_ref *out, uint32_t n)
{
	API_CHECK(fault_allowed(status));
	for (uint32_t i = 0; i < n; i++) {
		if (status < 0) {
			API_CHECK(out[i].bits == API_POISON);
		} else {
			API_CHECK(made->n < REFS);
			made->refs[made->n++] = out[i];
		}
	}
	made->refused += status < 0;
}

static int makes_big_output(weft_task *self)
{
	void *data = NULL;
	const int status = weft_task_output(self, 0, 200000, &data);

	if (status < 0)
		return weft_fail(self, status, "no room for %d", 200000);
	memset(data, 1, 200000);
	return 0;
}

static int fails_with_much(weft_task *self)
{
	static const char payload[10000];

	return weft_fail_with(self, -EPROTO, payload, sizeof payload, "%200s", "much");
}

static void submit_tasks(struct made *made)
{
	static const char big[WEFT_ARG_MAX];
	static const struct weft_task_options many = {
		.struct_size = sizeof many,
		.n_outputs = 8,
		.arg_drop = drop,
	};
	weft *rt = made->rt;
	weft_ref out[8], in[20];
	int status;

	for (int i = 0; i < 8; i++)
		out[i] = api_poison_ref();
	status = weft_spawn(rt, makes_big_output, NULL, 0, out);
	keep(made, status, out, 1);
	out[0] = api_poison_ref();
	status = weft_spawn(rt, fails_with_much, big, 65, out);
	keep(made, status, out, 1);
	out[0] = api_poison_ref();
	status = weft_submit(
		rt, WEFT_TASK(api_body_nothing, .arg = big, .arg_size = sizeof big, .opts = &many),
		out);
	drops_expected += status == 0;
	keep(made, status, out, 8);
	out[0] = api_poison_ref();
	for (uint32_t i = 0; i < 20; i++)
		in[i] = made->n ? made->refs[i % made->n] : WEFT_NONE;
	if (made->n) {
		status = weft_submit(
			rt, WEFT_TASK(api_body_nothing, .inputs = in, .n_inputs = 19, .n_after = 1),
			out);
		keep(made, status, out, 1);
	}
}

/* From inside a task the way is another: with inputs and arguments of two sizes of block. */
static int submit_inside(weft_task *self)
{
	static const char big[300];
	struct made *made = api_arg_pointer(self);
	weft *rt = made->rt;
	weft_ref event = api_poison_ref();
	int status = weft_event_create(rt, &event);

	keep(made, status, &event, 1);
	for (uint32_t i = 0; i < 3; i++) {
		weft_ref out = api_poison_ref();

		status = weft_spawn(rt, api_body_nothing, big, 40 + i * 100, &out);
		keep(made, status, &out, 1);
		if (made->n < 2)
			continue;
		out = api_poison_ref();
		status =
			weft_submit(rt,
		                    WEFT_TASK(api_body_nothing, .inputs = made->refs, .n_inputs = 1,
		                              .n_after = 1, .arg = big, .arg_size = i * 100),
		                    &out);
		keep(made, status, &out, 1);
	}
	if (event.bits != API_POISON)
		API_CHECK(weft_event_set(rt, event, NULL, 0) == 0);
	return 0;
}

static void submit_from_inside(struct made *made)
{
	weft_ref inside = api_poison_ref();
	const int status = weft_spawn(made->rt, submit_inside, &made, sizeof made, &inside);

	API_CHECK(fault_allowed(status));
	if (!status)
		API_CHECK(fault_allowed(api_end(made->rt, inside)));
	made->refused += status < 0;
}

static void make_values(struct made *made)
{
	static char big[1 << 20];
	weft *rt = made->rt;
	weft_ref out = api_poison_ref(), event = api_poison_ref();
	int status = weft_put(rt, big, sizeof big, &out);

	keep(made, status, &out, 1);
	out = api_poison_ref();
	status = weft_put(rt, big, 33, &out);
	keep(made, status, &out, 1);
	status = weft_event_create(rt, &event);
	keep(made, status, &event, 1);
	if (status == 0) {
		status = weft_event_set(rt, event, big, sizeof big);
		API_CHECK(fault_allowed(status));
		if (status < 0)
			API_CHECK(weft_event_set(rt, event, big, 8) == 0);
	}
	event = api_poison_ref();
	status = weft_event_create(rt, &event);
	keep(made, status, &event, 1);
	if (status == 0) {
		status = weft_event_fail(rt, event, -EIO, "some text that takes room");
		API_CHECK(fault_allowed(status));
		if (status < 0)
			API_CHECK(weft_event_fail(rt, event, -EIO, "again") == 0);
	}
	out = api_poison_ref();
	status = weft_join(rt, made->refs, made->n, WEFT_INPUT_IGNORE, &out);
	keep(made, status, &out, 1);
}

static void submit_bulk(struct made *made)
{
	struct weft_call calls[16];
	weft_ref out[16];

	for (int i = 0; i < 16; i++) {
		calls[i] = (struct weft_call){ .fn = api_body_nothing };
		out[i] = api_poison_ref();
	}
	const int n = weft_submit_many(made->rt, calls, 16, out);
	API_CHECK(fault_allowed(n) && n != 0);
	for (int i = n < 0 ? 0 : n; i < 16; i++)
		API_CHECK(out[i].bits == API_POISON);
	if (n > 0)
		keep(made, 0, out, (uint32_t)n);
}

static void watch(struct made *made, struct api_count *calls)
{
	weft_cq *const poison = (void *)(uintptr_t)API_POISON, *cq = poison;
	struct weft_cq_item item;
	const int status = weft_cq_create(made->rt, &cq);
	uint32_t added = 0;

	API_CHECK(fault_allowed(status));
	if (status < 0) {
		API_CHECK(cq == poison);
	} else {
		for (uint32_t i = 0; i < made->n; i++) {
			const int add = weft_cq_add(cq, made->refs[i], i);

			API_CHECK(fault_allowed(add));
			added += add == 0;
		}
		const int fd = weft_cq_fd(cq);
		API_CHECK(fd >= 0 || wf_fault_fired());
		while (added > 0) {
			const int taken = weft_cq_wait(cq, &item, 1, WEFT_FOREVER);

			API_CHECK(fault_allowed(taken) && taken <= 1);
			added -= taken == 1;
		}
		weft_cq_destroy(cq);
	}
	uint64_t registered = 0;
	for (uint32_t i = 0; i < made->n; i++) {
		const int done = weft_on_done(made->rt, made->refs[i], note, calls);

		API_CHECK(fault_allowed(done));
		registered += done == 0;
	}
	api_await_count(calls, registered);
}

static void submit_once(uint64_t nth)
{
	struct made made = { .rt = api_open(1) };
	struct api_count calls = { 0 };

	wf_fault_arm(-1, nth);
	submit_tasks(&made);
	submit_from_inside(&made);
	make_values(&made);
	submit_bulk(&made);
	watch(&made, &calls);
	for (uint32_t i = 0; i < made.n; i++) {
		const int status = api_end(made.rt, made.refs[i]);

		API_CHECK(status == 0 || status == WEFT_ETASK || status == WEFT_EDEP ||
		          status == -EIO || fault_allowed(status));
	}
	wf_fault_arm(-1, 0);
	if (!wf_fault_fired())
		API_CHECK(made.refused == 0);
	api_await_no_tasks(made.rt);
	API_CHECK(api_read(&drops) == drops_expected);
	for (int64_t i = 0; i < 50; i++)
		API_CHECK(api_take_i64(made.rt,
		                       api_spawn(made.rt, api_body_identity, &i, sizeof i)) == i);
	api_close(made.rt);
}

int main(void)
{
	api_close(api_open(1));
	const struct fault_census before = fault_census();
	const uint64_t points = fault_sweep(submit_once);

	printf("%llu points\n", (unsigned long long)points);
	API_CHECK(points > 0);
	fault_census_check(&before);
	return 0;
}
