/*
 * error.c: error objects.
 *
 * Goal: an error outlives everything it was made from, is freed with its last count, however long
 * its chain of causes is, and is never missing when memory is. Method: direct calls; LeakSanitizer
 * and AddressSanitizer watch the counts.
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "error.h"

static void disarm(void)
{
	wf_fault_arm(-1, 0);
}

static struct wf_error *make(int status, struct wf_error *cause)
{
	return wf_error_create(
		&(struct wf_error_args){ .status = status, .code = status, .cause = cause });
}

Test(error, everything_is_copied)
{
	char text[] = "went wrong", task[] = "load", site[] = "a.c:12";
	unsigned char payload[100];

	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (unsigned char)i;
	struct wf_error *error =
		wf_error_create(&(struct wf_error_args){ .status = WEFT_ETASK,
	                                                 .code = -7,
	                                                 .attempt = 3,
	                                                 .text = text,
	                                                 .task = task,
	                                                 .site = site,
	                                                 .payload = payload,
	                                                 .payload_size = sizeof(payload) });

	memset(text, 'x', sizeof(text) - 1);
	memset(task, 'x', sizeof(task) - 1);
	memset(site, 'x', sizeof(site) - 1);
	memset(payload, 0xff, sizeof(payload));
	cr_assert_not(error->is_static);
	cr_assert_eq(error->pub.status, WEFT_ETASK);
	cr_assert_eq(error->pub.code, -7);
	cr_assert_eq(error->pub.attempt, 3);
	cr_assert_str_eq(error->pub.text, "went wrong");
	cr_assert_str_eq(error->pub.task, "load");
	cr_assert_str_eq(error->pub.site, "a.c:12");
	cr_assert_null(error->pub.cause);
	cr_assert_eq(error->pub.payload_size, sizeof(payload));
	cr_assert_eq((uintptr_t)error->pub.payload % 16, 0);
	for (size_t i = 0; i < sizeof(payload); i++)
		cr_assert_eq(((const unsigned char *)error->pub.payload)[i], i);
	wf_error_release(error);
}

Test(error, what_is_not_given_has_a_default)
{
	struct wf_error *error = make(WEFT_EDEADLINE, NULL);

	cr_assert_str_eq(error->pub.text, weft_strerror(WEFT_EDEADLINE));
	cr_assert_str_eq(error->pub.task, "");
	cr_assert_str_eq(error->pub.site, "");
	cr_assert_null(error->pub.payload);
	cr_assert_eq(error->pub.payload_size, 0);
	wf_error_release(error);
	wf_error_release(NULL);
}

Test(error, a_cause_is_counted)
{
	struct wf_error *cause = make(WEFT_ETASK, NULL);
	struct wf_error *first = make(WEFT_EDEP, cause), *second = make(WEFT_EDEP, cause);

	cr_assert_eq(wf_load_relaxed(&cause->refs), 3);
	wf_error_release(cause);
	wf_error_release(first);
	cr_assert_eq(wf_load_relaxed(&cause->refs), 1);
	cr_assert_eq(second->pub.cause, &cause->pub);
	cr_assert_eq(second->pub.cause->status, WEFT_ETASK);
	wf_error_retain(second);
	wf_error_release(second);
	cr_assert_eq(second->pub.cause->status, WEFT_ETASK);
	wf_error_release(second);
}

#define CHAIN 100000

static void *free_chain(void *arg)
{
	wf_error_release(arg);
	return NULL;
}

/* On a stack where a call per link would not fit. */
Test(error, a_long_chain_is_freed_without_recursion)
{
	struct wf_error *error = make(WEFT_ETASK, NULL);
	pthread_attr_t attr;
	pthread_t thread;

	for (uint32_t i = 0; i < CHAIN; i++) {
		struct wf_error *next = make(WEFT_EDEP, error);

		wf_error_release(error);
		error = next;
	}
	uint32_t links = 0;

	for (const struct weft_error *e = &error->pub; e; e = e->cause)
		links++;
	cr_assert_eq(links, CHAIN + 1);
	cr_assert_eq(pthread_attr_init(&attr), 0);
	cr_assert_eq(pthread_attr_setstacksize(&attr, (size_t)256 << 10), 0);
	cr_assert_eq(pthread_create(&thread, &attr, free_chain, error), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
}

Test(error, freeing_stops_at_a_link_that_others_hold)
{
	struct wf_error *root = make(WEFT_ETASK, NULL);
	struct wf_error *middle = make(WEFT_EDEP, root), *top = make(WEFT_EDEP, middle);

	wf_error_release(root);
	wf_error_release(top);
	cr_assert_eq(wf_load_relaxed(&middle->refs), 1);
	cr_assert_eq(middle->pub.cause->status, WEFT_ETASK);
	wf_error_release(middle);
}

Test(error, without_memory_a_static_error_of_the_same_status_stands_in, .fini = disarm)
{
	static const int statuses[] = {
#define STATUS(name, value, text) value,
		WEFT_STATUS_LIST(STATUS)
#undef STATUS
			- ECANCELED,
	};
	struct wf_error *cause = make(WEFT_ETASK, NULL);

	for (size_t i = 0; i < sizeof(statuses) / sizeof(*statuses); i++) {
		wf_fault_arm(WF_FAULT_MALLOC, 1);
		struct wf_error *error = make(statuses[i], cause);

		cr_assert(wf_fault_fired());
		cr_assert(error->is_static);
		cr_assert_eq(error->pub.status, statuses[i]);
		cr_assert_eq(error->pub.code, statuses[i]);
		cr_assert_str_eq(error->pub.task, "");
		cr_assert_str_eq(error->pub.site, "");
		cr_assert_null(error->pub.cause);
		cr_assert_gt(strlen(error->pub.text), 0);
		/* Counting it does nothing, any number of times. */
		wf_error_retain(error);
		for (int k = 0; k < 3; k++)
			wf_error_release(error);
		cr_assert_eq(wf_error_static(statuses[i]), error);
	}
	cr_assert_eq(wf_load_relaxed(&cause->refs), 1);
	wf_error_release(cause);
}

Test(error, a_static_error_may_be_a_cause, .fini = disarm)
{
	struct wf_error *error = make(WEFT_EDEP, wf_error_static(-ECANCELED));

	cr_assert_eq(error->pub.cause->status, -ECANCELED);
	wf_error_release(error);
	cr_assert_eq(wf_error_static(-ECANCELED)->pub.status, -ECANCELED);
}

Test(error, every_status_has_a_text)
{
#define DIFFERS(name, value, text) cr_assert_str_eq(weft_strerror(value), text);
	WEFT_STATUS_LIST(DIFFERS)
#undef DIFFERS
	cr_assert_str_eq(weft_strerror(0), "success");
	cr_assert_str_neq(weft_strerror(-ENOMEM), "unknown status");
	cr_assert_str_eq(weft_strerror(1), "unknown status");
	cr_assert_str_eq(weft_strerror(-1000000), "unknown status");
}
