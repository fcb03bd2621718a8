/*
 * log.c: one line to the embedder's callback, from slow paths only.
 */
#include <errno.h>
#include <stdio.h>

#include "runtime.h"

#define LINE_MAX_BYTES 1024

static void WEFT_PRINTF(3, 0)
	emit(weft *rt, struct weft_log_record *record, const char *format, va_list args)
{
	char text[LINE_MAX_BYTES];

	if (vsnprintf(text, sizeof(text), format, args) < 0)
		return;
	/* A record is one line, whatever was in the text. */
	for (char *at = text; *at; at++) {
		if (*at == '\n' || *at == '\r')
			*at = ' ';
	}
	record->runtime = rt->id;
	record->text = text;
	rt->options.log(rt->options.log_arg, record);
}

static void WEFT_PRINTF(3, 4)
	line(weft *rt, struct weft_log_record *record, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	emit(rt, record, format, args);
	va_end(args);
}

void wf_log(weft *rt, int level, const char *format, ...)
{
	va_list args;
	struct wf_local *self = wf_self();
	struct weft_log_record record = { .level = level, .worker = -1, .task = "" };

	if (!rt->options.log)
		return;
	if (self && self->rt == rt && self->worker)
		record.worker = self->id;
	va_start(args, format);
	emit(rt, &record, format, args);
	va_end(args);
}

void wf_error_overlooked(weft *rt, struct wf_error *error)
{
	const struct weft_error *pub = &error->pub;

	/* Static ones stand for many failures, and a cancelled task was meant to end like that. */
	if (error->is_static || pub->status == -ECANCELED)
		return;
	/* relaxed: nothing is read through it. A swap, because several outputs share an error. */
	if (!rt->options.log || wf_swap_relaxed(&error->seen, 1))
		return;
	struct wf_local *self = wf_self();
	struct weft_log_record record = {
		.level = WEFT_LOG_ERROR, .worker = -1, .attempt = pub->attempt, .task = pub->task
	};

	if (self && self->rt == rt && self->worker)
		record.worker = self->id;
	line(rt, &record, "failed and nobody looked: %s (%s, code %d%s%s)",
	     *pub->text ? pub->text : "no text", weft_strerror(pub->status), pub->code,
	     *pub->site ? ", submitted at " : "", pub->site);
}

void wf_log_task(weft_task *task, int level, const char *format, va_list args)
{
	struct wf_local *self = wf_self();
	struct weft_log_record record = { .level = level, .worker = -1 };

	if (!task->rt->options.log)
		return;
	if (self && self->worker)
		record.worker = self->id;
	record.task = wf_task_name(task->cell, task->fn);
	record.attempt = weft_task_attempt(task);
	emit(task->rt, &record, format, args);
}
