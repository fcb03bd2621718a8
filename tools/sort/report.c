/*
 * report.c: what the user sees: a table, or JSON, and a line of progress on a terminal.
 */
#include "sort.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define BAR_WIDTH 32

/* "12,345,678" */
static const char *grouped(uint64_t n, char text[32])
{
	char plain[24];
	int length = snprintf(plain, sizeof(plain), "%" PRIu64, n);
	char *to = text;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = plain[i];
	}
	*to = 0;
	return text;
}

static double rate(uint64_t bytes, double seconds)
{
	return seconds > 0 ? (double)bytes * 1e-9 / seconds : 0;
}

/* relaxed, in both: read after all tasks have ended, or for show. */
static uint64_t read_sum(const struct wf_a64 *sum)
{
	return wf_load_relaxed(sum);
}

static uint64_t stage_bytes(const struct wf_sort_journal *journal, enum wf_sort_stage stage)
{
	return wf_load_relaxed(&journal->stages[stage].bytes);
}

static void print_stage(const struct wf_sort_report *report, enum wf_sort_stage stage, FILE *out)
{
	const struct wf_sort_stage_sum *sum = &report->journal->stages[stage];
	double seconds = wf_sort_stage_seconds(report->journal, stage, stage);
	uint64_t bytes = read_sum(&sum->bytes);

	if (read_sum(&sum->tasks) == 0)
		return;
	fprintf(out, "  %-11s %7" PRIu64 " %9.3f %9.3f", wf_sort_stage_name(stage),
	        read_sum(&sum->tasks), seconds, (double)read_sum(&sum->cpu_ns) * 1e-9);
	if (stage == WF_SORT_STAGE_SPLITTERS || stage == WF_SORT_STAGE_PLAN)
		fputs("         -\n", out);
	else
		fprintf(out, " %9.2f\n", rate(bytes, seconds));
}

void wf_sort_report_text(const struct wf_sort_report *report, FILE *out)
{
	const struct wf_sort_layout *layout = report->layout;
	char text[32];

	fprintf(out,
	        "%s records of %" PRIu32 " bytes, key %" PRIu32 ":%" PRIu32 ", %" PRIu32
	        " workers%s\n\n",
	        grouped(layout->records, text), layout->record_bytes, layout->key_offset,
	        layout->key_bytes, report->workers,
	        report->options->demo ? report->options->skew ? ", skewed keys" : ", uniform keys"
	                              : "");
	fputs("  stage         tasks   seconds     cpu s      GB/s\n", out);
	for (int stage = 0; stage < WF_SORT_STAGES; stage++)
		print_stage(report, (enum wf_sort_stage)stage, out);
	fputs("  (seconds: first start to last end, stages overlap; cpu s: used by the tasks)\n\n",
	      out);
	fprintf(out, "  sorted      %.3f s, %.2f GB/s, input read to output written\n",
	        report->sort_seconds, rate(layout->bytes, report->sort_seconds));
	fprintf(out,
	        "  total       %.3f s, with verification: order and checksum %016" PRIx64 "%s\n",
	        report->total_seconds, report->checksum,
	        report->options->check ? ", identity and stability of each record" : "");
	fprintf(out, "  memory      %.2f GB at the peak\n", (double)report->peak_bytes * 1e-9);
	if (report->floor_seconds > 0)
		fprintf(out,
		        "  floor       %.3f s to read all of it into memory, copy it there and "
		        "write it with the\n              same threads; the sort took %.2f times "
		        "that\n",
		        report->floor_seconds, report->sort_seconds / report->floor_seconds);
	if (report->peer)
		fprintf(out,
		        "  GNU sort    %.3f s with the same threads, %.1f times as long as "
		        "weft-sort; the outputs are\n              byte-identical\n",
		        report->peer->seconds,
		        report->sort_seconds > 0 ? report->peer->seconds / report->sort_seconds
		                                 : 0);
}

/* A JSON string; bytes that are not ASCII are escaped one by one, so any file name is valid. */
static void print_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else if (c < 0x20 || c >= 0x7f)
			fprintf(out, "\\u%04x", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static void print_stages_json(const struct wf_sort_report *report, FILE *out)
{
	const char *comma = "";

	fputs(" \"stages\": [", out);
	for (int stage = 0; stage < WF_SORT_STAGES; stage++) {
		const struct wf_sort_stage_sum *sum = &report->journal->stages[stage];
		double seconds = wf_sort_stage_seconds(report->journal, (enum wf_sort_stage)stage,
		                                       (enum wf_sort_stage)stage);

		if (read_sum(&sum->tasks) == 0)
			continue;
		fprintf(out,
		        "%s\n  {\"name\": \"%s\", \"tasks\": %" PRIu64 ", \"bytes\": %" PRIu64
		        ", \"seconds\": %.6f, \"cpu_seconds\": %.6f, \"gb_per_second\": %.3f}",
		        comma, wf_sort_stage_name((enum wf_sort_stage)stage), read_sum(&sum->tasks),
		        read_sum(&sum->bytes), seconds, (double)read_sum(&sum->cpu_ns) * 1e-9,
		        rate(read_sum(&sum->bytes), seconds));
		comma = ",";
	}
	fputs("\n ],\n", out);
}

void wf_sort_report_json(const struct wf_sort_report *report, FILE *out)
{
	const struct wf_sort_options *options = report->options;
	const struct wf_sort_layout *layout = report->layout;

	fputs("{\n", out);
	if (options->input) {
		fputs(" \"input\": ", out);
		print_string(options->input, out);
		fputs(",\n", out);
	}
	if (options->output) {
		fputs(" \"output\": ", out);
		print_string(options->output, out);
		fputs(",\n", out);
	}
	fprintf(out,
	        " \"demo\": %s, \"skew\": %s, \"bytes\": %" PRIu64 ", \"records\": %" PRIu64
	        ",\n \"record_bytes\": %" PRIu32 ", \"key_offset\": %" PRIu32
	        ", \"key_bytes\": %" PRIu32 ", \"workers\": %" PRIu32 ",\n",
	        options->demo ? "true" : "false", options->skew ? "true" : "false", layout->bytes,
	        layout->records, layout->record_bytes, layout->key_offset, layout->key_bytes,
	        report->workers);
	print_stages_json(report, out);
	fprintf(out,
	        " \"sort_seconds\": %.6f, \"total_seconds\": %.6f, \"gb_per_second\": %.3f,\n"
	        " \"verified\": true, \"checked\": %s, \"checksum\": \"%016" PRIx64 "\",\n"
	        " \"peak_bytes\": %" PRIu64,
	        report->sort_seconds, report->total_seconds,
	        rate(layout->bytes, report->sort_seconds), options->check ? "true" : "false",
	        report->checksum, report->peak_bytes);
	if (report->floor_seconds > 0)
		fprintf(out,
		        ",\n \"floor\": {\"what\": \"read all into memory, copy it there and "
		        "write it with the same threads\", \"seconds\": %.6f, \"ratio\": %.3f}",
		        report->floor_seconds, report->sort_seconds / report->floor_seconds);
	if (report->peer)
		fprintf(out,
		        ",\n \"compare\": {\"program\": \"GNU sort\", \"seconds\": %.6f, "
		        "\"speedup\": %.3f, \"identical\": %s}",
		        report->peer->seconds,
		        report->sort_seconds > 0 ? report->peer->seconds / report->sort_seconds : 0,
		        report->peer->identical ? "true" : "false");
	fputs("\n}\n", out);
}

/* Main thread only: whether a line of progress is on the terminal. */
static bool progress_drawn;

void wf_sort_progress(const struct wf_sort_journal *journal, const struct wf_sort_layout *layout)
{
	static const enum wf_sort_stage steps[] = {
		WF_SORT_STAGE_READ,  WF_SORT_STAGE_SCATTER, WF_SORT_STAGE_SORT,
		WF_SORT_STAGE_WRITE, WF_SORT_STAGE_VERIFY,
	};
	size_t count = sizeof(steps) / sizeof(steps[0]);
	char bar[BAR_WIDTH + 1];
	const char *name = "generate";
	double done = 0;
	int filled;

	if (!isatty(STDERR_FILENO) || layout->bytes == 0)
		return;
	for (size_t i = 0; i < count; i++) {
		uint64_t bytes = stage_bytes(journal, steps[i]);

		if (bytes)
			name = wf_sort_stage_name(steps[i]);
		done += (double)bytes / (double)layout->bytes / (double)count;
	}
	if (stage_bytes(journal, WF_SORT_STAGE_FLOOR))
		name = "floor";
	filled = done < 1 ? (int)(done * BAR_WIDTH) : BAR_WIDTH;
	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)filled);
	bar[BAR_WIDTH] = 0;
	fprintf(stderr, "\r[%s] %3.0f %% %-9s", bar, done < 1 ? done * 100 : 100, name);
	progress_drawn = true;
}

void wf_sort_progress_end(void)
{
	if (progress_drawn)
		fputs("\r\033[K", stderr);
	progress_drawn = false;
}
