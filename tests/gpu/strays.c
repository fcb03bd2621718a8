/*
 * Goal: in debug builds a body that has left another device current than its grant's, or has given
 * work to a default stream, is reported; one that has not is not; either ends as if nothing were.
 * Method: what such a body does is set in the simulation; the runtime's log is heard.
 */
#include "gpu_task.h"
#include "resources.h"
#include "test.h"

static struct gpu_test open_heard(struct said *said)
{
	struct weft_options o = { .struct_size = sizeof o, .log = hear, .log_arg = said };

	return gpu_open_with("sim:2", 2, &o, NULL);
}

static int behaves(weft_task *self)
{
	uint64_t at = 0;
	int rc = weft_cuda_alloc(self, 64, &at);

	return rc ? rc : weft_cuda_copy_in(self, at, &(uint32_t){ 1 }, 4);
}

static int changes_device(weft_task *self)
{
	int rc = behaves(self);

	wf_sim_set_current(1);
	return rc;
}

static int goes_astray(weft_task *self)
{
	wf_sim_stray(api_arg_pointer(self), 0, true);
	return behaves(self);
}

static bool runs(const struct gpu_test *t, weft_task_fn *fn)
{
	return api_end(t->rt,
	               api_submit(t->rt,
	                          WEFT_TASK(fn, API_POINTER(t->sim),
	                                    .opts = WEFT_TASK_OPTIONS(.gpus = 0.5)))) == 0;
}

Test(cuda_strays, another_device_is_reported)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct gpu_test t = open_heard(&said);

	cr_assert(runs(&t, behaves));
	cr_assert_eq(said.text[0], 0);
	cr_assert(runs(&t, changes_device));
	cr_assert_not_null(strstr(said.text, "another device"), "%s", said.text);
	said.text[0] = 0;
	cr_assert(runs(&t, behaves));
	cr_assert_eq(said.text[0], 0);
	gpu_close(&t);
}

Test(cuda_strays, a_default_stream_is_reported)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct gpu_test t = open_heard(&said);

	cr_assert(runs(&t, goes_astray));
#ifdef NDEBUG
	cr_assert_eq(said.text[0], 0, "it would cost too much");
#else
	cr_assert_not_null(strstr(said.text, "default stream of device 0"), "%s", said.text);
#endif
	wf_sim_stray(t.sim, 0, false);
	said.text[0] = 0;
	cr_assert(runs(&t, behaves));
	cr_assert_eq(said.text[0], 0);
	gpu_close(&t);
}

/* ---- What runs on top of a body -------------------------------------------------------------- */

static int sleeps(weft_task *self)
{
	weft *rt = weft_task_runtime(self);

	return weft_sleep_until(rt, weft_after_ms(rt, 1));
}

/* Its children are run in place, on its stack, and take all of it along when they sleep. */
static int gets_in_place(weft_task *self)
{
	weft *rt = weft_task_runtime(self);
	weft_ref ref;

	for (int i = 0; i < 20; i++) {
		weft_task_fn *fn = i % 2 ? behaves : sleeps;

		if (weft_submit(
			    rt,
			    WEFT_TASK(fn, .opts = i % 2 ? WEFT_TASK_OPTIONS(.gpus = 0.25) : NULL),
			    &ref))
			return weft_fail(self, -EIO, "no child");
		if (api_end(rt, ref) || wf_sim_current() != 0)
			return weft_fail(self, -EIO, "another device after child %d", i);
	}
	return 0;
}

Test(cuda_strays, a_body_has_its_device_again_after_what_it_ran_in_place)
{
	struct said said = { .lock = PTHREAD_MUTEX_INITIALIZER };
	struct gpu_test t = open_heard(&said);
	weft_ref refs[3];

	for (int i = 0; i < 3; i++)
		refs[i] = api_submit(
			t.rt, WEFT_TASK(gets_in_place, .opts = WEFT_TASK_OPTIONS(.gpus = 0.25)));
	for (int i = 0; i < 3; i++)
		cr_assert_eq(api_end(t.rt, refs[i]), 0);
	cr_assert_eq(said.text[0], 0, "%s", said.text);
	gpu_close(&t);
}
