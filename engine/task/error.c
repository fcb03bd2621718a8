/*
 * error.c: error objects: one allocation, strings and payload behind the struct.
 */
#include <errno.h>
#include <string.h>

#include "error.h"

#define STATIC_ERROR(value, words) \
	{ \
		.pub = { .status = (value), \
			 .code = (value), \
			 .text = (words), \
			 .task = "", \
			 .site = "" }, \
		.is_static = true \
	}

/* What stands in when memory is out; index by static_index(). */
static struct wf_error static_errors[] = {
#define STATIC_ROW(name, value, text) STATIC_ERROR(value, text),
	WEFT_STATUS_LIST(STATIC_ROW)
#undef STATIC_ROW
		STATIC_ERROR(-ECANCELED, "cancelled"),
};

const char *weft_strerror(int status)
{
	const char *text;

	switch (status) {
#define TEXT_CASE(name, value, words) \
	case value: \
		return words;
		WEFT_STATUS_LIST(TEXT_CASE)
#undef TEXT_CASE
	case 0:
		return "success";
	default:
		text = status < 0 && status > -4096 ? strerrordesc_np(-status) : NULL;
		return text ? text : "unknown status";
	}
}

struct wf_error *wf_error_static(int status)
{
	size_t n = sizeof(static_errors) / sizeof(*static_errors);

	for (size_t i = 0; i < n; i++) {
		if (static_errors[i].pub.status == status)
			return &static_errors[i];
	}
	return &static_errors[0];
}

static const char *put_string(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *begin = *at;

	memcpy(begin, text, n);
	*at += n;
	return begin;
}

struct wf_error *wf_error_create(const struct wf_error_args *args)
{
	const char *text = args->text ? args->text : weft_strerror(args->status);
	const char *task = args->task ? args->task : "";
	const char *site = args->site ? args->site : "";
	size_t strings = strlen(text) + strlen(task) + strlen(site) + 3;
	size_t payload_at = (offsetof(struct wf_error, strings) + strings + 15) & ~(size_t)15;
	struct wf_error *error = wf_malloc(payload_at + args->payload_size);

	if (!error)
		return wf_error_static(args->status);
	char *at = error->strings;

	*error = (struct wf_error){ .pub = { .status = args->status,
		                             .code = args->code,
		                             .attempt = args->attempt,
		                             .payload_size = args->payload_size } };
	wf_init(&error->refs, 1);
	wf_init(&error->seen, 0);
	error->pub.text = put_string(&at, text);
	error->pub.task = put_string(&at, task);
	error->pub.site = put_string(&at, site);
	if (args->payload_size) {
		memcpy((char *)error + payload_at, args->payload, args->payload_size);
		error->pub.payload = (char *)error + payload_at;
	}
	if (args->cause) {
		/* Who is told of this one is told of its cause. */
		wf_error_see(args->cause);
		wf_error_retain(args->cause);
		error->pub.cause = &args->cause->pub;
	}
	return error;
}

void wf_error_retain(struct wf_error *error)
{
	/* relaxed: the caller holds a count. */
	if (!error->is_static)
		wf_add_relaxed(&error->refs, 1);
}

void wf_error_release(struct wf_error *error)
{
	/* Iterative: a chain of causes may be as long as a chain of tasks. */
	while (error && !error->is_static) {
		/* acq_rel [E1]: everyone's reads are over before the last one frees. */
		if (wf_add_acq_rel(&error->refs, (uint32_t)-1) != 1)
			return;
		struct weft_error *cause = (struct weft_error *)(uintptr_t)error->pub.cause;

		wf_free(error);
		error = cause ? wf_container_of(cause, struct wf_error, pub) : NULL;
	}
}
