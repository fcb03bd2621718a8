/*
 * Goal: an interrupt, also from a signal handler, ends all work as cancelled; later submits are
 * refused; only close is left.
 * Method: tasks in every state at the time of the interrupt; a real signal.
 */
#include <signal.h>

#include "api.h"
#include "test.h"

static int until_cancelled(weft_task *self)
{
	const int64_t start = api_now();

	api_add(api_arg_pointer(self), 1);
	while (!weft_task_cancelled(self))
		api_polling(start, "the interrupt reaches running tasks");
	return -ECANCELED;
}

static weft *signalled;

static void on_signal(int number)
{
	(void)number;
	weft_interrupt(signalled);
}

static void interrupt_all(bool by_signal)
{
	weft *rt = api_open(2);
	weft_ref event = api_event(rt), refs[40], out = api_poison_ref();
	struct api_count running = { 0 };

	for (int i = 0; i < 10; i++) {
		refs[i] = api_submit(rt, WEFT_TASK(api_body_nothing, WEFT_AFTER(event)));
		refs[10 + i] = api_spawn(rt, api_body_get, &event, sizeof event);
		api_await_state(rt, refs[10 + i], WEFT_REF_BLOCKED);
	}
	refs[20] = api_submit(rt, WEFT_TASK(until_cancelled, API_POINTER(&running)));
	refs[21] = api_submit(rt, WEFT_TASK(until_cancelled, API_POINTER(&running)));
	api_await_count(&running, 2);
	for (int i = 22; i < 40; i++)
		refs[i] = api_spawn(rt, api_body_nothing, NULL, 0);
	if (by_signal) {
		signalled = rt;
		signal(SIGUSR1, on_signal);
		raise(SIGUSR1);
		signal(SIGUSR1, SIG_DFL);
	} else {
		weft_interrupt(rt);
		weft_interrupt(rt);
	}
	cr_assert_eq(weft_spawn(rt, api_body_nothing, NULL, 0, &out), WEFT_ECLOSED);
	cr_assert_eq(weft_put(rt, "", 0, &out), WEFT_ECLOSED);
	cr_assert_eq(out.bits, API_POISON);
	for (int i = 0; i < 40; i++) {
		const int status = api_get(rt, refs[i]);

		/* A body that got -EINTR and returned it failed by its own hand. */
		if (i >= 10 && i < 20)
			cr_assert(status == -ECANCELED || status == WEFT_ETASK, "%d: %d", i,
			          status);
		else
			cr_assert_eq(status, -ECANCELED, "%d: %d", i, status);
	}
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(interrupt, ends_everything_as_cancelled)
{
	interrupt_all(false);
}

Test(interrupt, is_safe_in_a_signal_handler)
{
	interrupt_all(true);
}

struct host {
	weft *rt;
	weft_ref event;
	struct api_count in;
	int status;
};

static void *host_gets(void *arg)
{
	struct host *host = arg;
	struct weft_view view;

	api_add(&host->in, 1);
	host->status = weft_get(host->rt, host->event, WEFT_FOREVER, &view);
	return NULL;
}

Test(interrupt, a_host_blocked_on_an_event_comes_back)
{
	struct host host = { 0 };
	weft *rt = api_open(1);

	host.rt = rt;
	host.event = api_event(rt);
	pthread_t thread = api_thread(host_gets, &host);
	api_await_count(&host.in, 1);
	weft_interrupt(rt);
	api_join(thread);
	cr_assert(host.status == -ECANCELED || host.status == -EINTR, "status %d", host.status);
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
}

Test(interrupt, values_that_are_ready_stay_readable_until_close)
{
	weft *rt = api_open(1);
	weft_ref ref = api_put_i64(rt, 17);

	weft_interrupt(rt);
	cr_assert_eq(api_take_i64(rt, ref), 17);
	cr_assert_geq(weft_close(rt, WEFT_FOREVER), 0);
}
