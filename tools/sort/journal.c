/*
 * journal.c: counts and times of every stage, and, when a trace was asked for, one event per task.
 *
 * Shared: see struct wf_sort_journal. All operations are relaxed: sums are read for a progress bar,
 * which may be a little late, and exactly only after the job's last task was waited for with
 * weft_get(), which orders them.
 * Progress: adding is lock-free. Events past the array's end are counted, not kept.
 */
#include "sort.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base.h"

static const char *const stage_names[WF_SORT_STAGES] = {
	[WF_SORT_STAGE_GENERATE] = "generate",
	[WF_SORT_STAGE_SAVE] = "save input",
	[WF_SORT_STAGE_CUT] = "cut",
	[WF_SORT_STAGE_SAMPLE] = "sample",
	[WF_SORT_STAGE_SPLITTERS] = "splitters",
	[WF_SORT_STAGE_READ] = "read",
	[WF_SORT_STAGE_GPU] = "gpu",
	[WF_SORT_STAGE_PARTITION] = "partition",
	[WF_SORT_STAGE_SORT] = "sort",
	[WF_SORT_STAGE_WRITE] = "write",
	[WF_SORT_STAGE_VERIFY] = "verify",
	[WF_SORT_STAGE_CHECK] = "check",
	[WF_SORT_STAGE_DISK] = "disk",
	[WF_SORT_STAGE_FLOOR_READ] = "floor read",
	[WF_SORT_STAGE_FLOOR_WRITE] = "floor write",
	[WF_SORT_STAGE_GPU_COPIES] = "gpu copies",
	[WF_SORT_STAGE_COMPARE] = "compare",
};

int wf_sort_journal_init(struct wf_sort_journal *journal, bool trace)
{
	*journal = (struct wf_sort_journal){ .events = NULL };
	for (int stage = 0; stage < WF_SORT_STAGES; stage++) {
		/* relaxed: no task has been submitted yet. */
		wf_store_relaxed(&journal->stages[stage].begin_ns, (uint64_t)INT64_MAX);
	}
	if (!trace)
		return 0;
	journal->events = wf_calloc(WF_SORT_EVENTS_MAX, sizeof(*journal->events));
	return journal->events ? 0 : -ENOMEM;
}

void wf_sort_journal_fini(struct wf_sort_journal *journal)
{
	wf_free(journal->events);
	journal->events = NULL;
}

struct wf_sort_time wf_sort_time_now(void)
{
	struct timespec used = { 0, 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (struct wf_sort_time){
		.wall_ns = weft_now(NULL),
		.cpu_ns = used.tv_sec * INT64_C(1000000000) + used.tv_nsec,
	};
}

/* Time only. Returns when it ended. */
static struct wf_sort_time add_time(struct wf_sort_journal *journal, enum wf_sort_stage stage,
                                    struct wf_sort_time begin)
{
	struct wf_sort_stage_sum *sum = &journal->stages[stage];
	struct wf_sort_time end = wf_sort_time_now();
	uint64_t begin_ns = (uint64_t)begin.wall_ns, end_ns = (uint64_t)end.wall_ns;
	uint64_t seen;

	WF_CHECK(stage < WF_SORT_STAGES);
	WF_CHECK(end_ns >= begin_ns);
	/* relaxed, here to the end: sums whose readers do not depend on their order (see top). */
	wf_add_relaxed(&sum->cpu_ns, (uint64_t)(end.cpu_ns - begin.cpu_ns));
	seen = wf_load_relaxed(&sum->begin_ns);
	while (begin_ns < seen && !wf_cas_relaxed(&sum->begin_ns, &seen, begin_ns)) {
	}
	seen = wf_load_relaxed(&sum->end_ns);
	while (end_ns > seen && !wf_cas_relaxed(&sum->end_ns, &seen, end_ns)) {
	}
	return end;
}

void wf_sort_journal_part(struct wf_sort_journal *journal, enum wf_sort_stage stage,
                          struct wf_sort_time begin)
{
	add_time(journal, stage, begin);
}

void wf_sort_journal_add(struct wf_sort_journal *journal, const weft_task *self,
                         enum wf_sort_stage stage, struct wf_sort_time begin, uint64_t bytes)
{
	struct wf_sort_time end = add_time(journal, stage, begin);
	struct wf_sort_stage_sum *sum = &journal->stages[stage];
	uint64_t at;

	/* relaxed, here to the end: as above. */
	wf_add_relaxed(&sum->tasks, 1);
	wf_add_relaxed(&sum->bytes, bytes);
	if (!journal->events)
		return;
	at = wf_add_relaxed(&journal->event_count, 1);
	if (at < WF_SORT_EVENTS_MAX)
		journal->events[at] = (struct wf_sort_event){
			.begin_ns = begin.wall_ns,
			.end_ns = end.wall_ns,
			.bytes = bytes,
			.worker = weft_task_worker(self),
			.stage = stage,
		};
}

const char *wf_sort_stage_name(enum wf_sort_stage stage)
{
	WF_CHECK(stage < WF_SORT_STAGES);
	return stage_names[stage];
}

double wf_sort_stage_seconds(const struct wf_sort_journal *journal, enum wf_sort_stage first,
                             enum wf_sort_stage last)
{
	uint64_t begin = INT64_MAX, end = 0;

	for (int stage = (int)first; stage <= (int)last; stage++) {
		const struct wf_sort_stage_sum *sum = &journal->stages[stage];
		/* relaxed: read after the job has ended, or for show. */
		uint64_t stage_begin = wf_load_relaxed(&sum->begin_ns);
		uint64_t stage_end = wf_load_relaxed(&sum->end_ns);

		begin = stage_begin < begin ? stage_begin : begin;
		end = stage_end > end ? stage_end : end;
	}
	return end > begin ? (double)(end - begin) * 1e-9 : 0;
}

int wf_sort_journal_write(const struct wf_sort_journal *journal, const char *path,
                          uint64_t *left_out)
{
	/* relaxed: all tasks have ended. */
	uint64_t count = wf_load_relaxed(&journal->event_count);
	uint64_t kept = count < WF_SORT_EVENTS_MAX ? count : WF_SORT_EVENTS_MAX;
	int64_t zero_ns = INT64_MAX;
	FILE *out = fopen(path, "we");
	int status = 0;

	if (!out)
		return -errno;
	for (uint64_t i = 0; i < kept; i++) {
		if (journal->events[i].begin_ns < zero_ns)
			zero_ns = journal->events[i].begin_ns;
	}
	fputs("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n", out);
	for (uint64_t i = 0; i < kept; i++) {
		const struct wf_sort_event *event = &journal->events[i];

		fprintf(out,
		        "{\"name\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":1,"
		        "\"tid\":%" PRId32 ",\"args\":{\"bytes\":%" PRIu64 "}},\n",
		        stage_names[event->stage], (double)(event->begin_ns - zero_ns) * 1e-3,
		        (double)(event->end_ns - event->begin_ns) * 1e-3, event->worker,
		        event->bytes);
	}
	/* The last element has no comma behind it: the process' name. */
	fputs("{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,"
	      "\"args\":{\"name\":\"weft-sort\"}}\n]}\n",
	      out);
	if (ferror(out))
		status = -EIO;
	if (fclose(out) && !status)
		status = -errno;
	*left_out = count - kept;
	return status;
}
