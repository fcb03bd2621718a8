/*
 * Goal: the log callback gets one record per line with its level, runtime, worker, task and
 * attempt; the library is silent without it.
 * Method: a callback that keeps the records under a lock.
 */
#include "api.h"
#include "test.h"

enum { LINES = 256 };

struct lines {
	pthread_mutex_t lock;
	uint32_t n;
	struct line {
		int level;
		uint32_t runtime, attempt;
		int32_t worker;
		char task[64], text[2048];
	} line[LINES];
};

static struct lines lines = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void keep(void *arg, const struct weft_log_record *record)
{
	struct lines *all = arg;

	API_CHECK(record->task && record->text);
	API_CHECK(strchr(record->text, '\n') == NULL);
	pthread_mutex_lock(&all->lock);
	if (all->n < LINES) {
		struct line *line = &all->line[all->n++];

		line->level = record->level;
		line->runtime = record->runtime;
		line->attempt = record->attempt;
		line->worker = record->worker;
		snprintf(line->task, sizeof line->task, "%s", record->task);
		snprintf(line->text, sizeof line->text, "%s", record->text);
	}
	pthread_mutex_unlock(&all->lock);
}

static const struct line *find(const char *text)
{
	for (uint32_t i = 0; i < lines.n; i++)
		if (strstr(lines.line[i].text, text))
			return &lines.line[i];
	return NULL;
}

static int logs(weft_task *self)
{
	weft_log(self, WEFT_LOG_WARN, "attempt %u of %s", weft_task_attempt(self), "it");
	return weft_task_attempt(self) < 2 ? -EIO : 0;
}

Test(log, bodies_log_with_their_name_and_attempt)
{
	weft *rt = NULL;
	struct weft_info info = { .struct_size = sizeof info };

	lines.n = 0;
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 2, .log = keep, .log_arg = &lines)), 0);
	cr_assert_eq(weft_info(rt, &info), 0);
	cr_assert_eq(api_end(rt,
	                     api_submit(rt,
	                                WEFT_TASK(logs,
	                                          .opts = WEFT_TASK_OPTIONS(.retries = 1,
	                                                                    .name = "scribe")))),
	             0);
	const uint32_t id = info.id;
	api_close(rt);
	for (uint32_t attempt = 1; attempt <= 2; attempt++) {
		const struct line *line =
			find(attempt == 1 ? "attempt 1 of it" : "attempt 2 of it");

		cr_assert_not_null(line);
		cr_assert_eq(line->level, WEFT_LOG_WARN);
		cr_assert_eq(line->runtime, id);
		cr_assert_eq(line->attempt, attempt);
		cr_assert(line->worker >= 0 && line->worker < 2);
		cr_assert_str_eq(line->task, "scribe");
	}
}

Test(log, opening_and_closing_give_one_info_line_each)
{
	weft *rt = NULL;
	uint32_t infos = 0;

	lines.n = 0;
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .log = keep, .log_arg = &lines)), 0);
	for (uint32_t i = 0; i < lines.n; i++)
		infos += lines.line[i].level == WEFT_LOG_INFO;
	cr_assert_eq(infos, 1);
	cr_assert_eq(lines.line[0].attempt, 0);
	cr_assert_eq(lines.line[0].worker, -1);
	cr_assert_str_eq(lines.line[0].task, "");
	api_close(rt);
	infos = 0;
	for (uint32_t i = 0; i < lines.n; i++) {
		infos += lines.line[i].level == WEFT_LOG_INFO;
		cr_assert(lines.line[i].level >= WEFT_LOG_WARN, "no errors: %s",
		          lines.line[i].text);
	}
	cr_assert_eq(infos, 2);
}

Test(log, a_refused_option_is_named)
{
	weft *rt = NULL;

	lines.n = 0;
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 5000, .log = keep, .log_arg = &lines)),
	             -EINVAL);
	cr_assert_null(rt);
	cr_assert_not_null(find("workers"));
	lines.n = 0;
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.stack_bytes = 1, .log = keep, .log_arg = &lines)),
	             -EINVAL);
	cr_assert_not_null(find("stack_bytes"));
}

static int logs_much(weft_task *self)
{
	char text[3000];

	memset(text, 'y', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	text[5] = '\n';
	weft_log(self, WEFT_LOG_DEBUG, "long %s", text);
	return 0;
}

Test(log, long_and_broken_lines_stay_one_line)
{
	weft *rt = NULL;

	lines.n = 0;
	cr_assert_eq(weft_open(&rt, WEFT_OPTIONS(.workers = 1, .log = keep, .log_arg = &lines)), 0);
	cr_assert_eq(api_end(rt, api_spawn(rt, logs_much, NULL, 0)), 0);
	api_close(rt);
	const struct line *line = find("long y");
	cr_assert_not_null(line);
	cr_assert_gt(strlen(line->text), 500);
}

Test(log, without_a_callback_logging_is_silent)
{
	weft *rt = api_open(1);

	cr_assert_eq(api_end(rt, api_spawn(rt, logs_much, NULL, 0)), 0);
	api_close(rt);
}
