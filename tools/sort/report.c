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
	if (stage == WF_SORT_STAGE_CUT || stage == WF_SORT_STAGE_SAMPLE ||
	    stage == WF_SORT_STAGE_SPLITTERS)
		fputs("         -\n", out);
	else
		fprintf(out, " %9.2f\n", rate(bytes, seconds));
}

/* From the first to the last moment in which stages were at work. */
static double span_of(const struct wf_sort_report *report, enum wf_sort_stage first,
                      enum wf_sort_stage last)
{
	return wf_sort_stage_seconds(report->journal, first, last);
}

static void print_memory(const struct wf_sort_report *report, FILE *out)
{
	double partition = span_of(report, WF_SORT_STAGE_READ, WF_SORT_STAGE_PARTITION);
	double sort = span_of(report, WF_SORT_STAGE_SORT, WF_SORT_STAGE_WRITE);

	fprintf(out, "  memory      %.1f MB at the peak, of which %.1f MB were allowed for data\n",
	        (double)report->peak_bytes * 1e-6, (double)report->memory * 1e-6);
	if (report->spilled_bytes == 0) {
		fputs("  spilled     nothing\n", out);
		return;
	}
	fprintf(out,
	        "  spilled     %.3f GB, %.2f GB/s while partitioning; restored %.3f GB, %.2f GB/s "
	        "while sorting\n              (to %s, by %s)\n",
	        (double)report->spilled_bytes * 1e-9, rate(report->spilled_bytes, partition),
	        (double)report->restored_bytes * 1e-9, rate(report->restored_bytes, sort),
	        report->options->spill_dir, report->io);
}

static void print_floor(const struct wf_sort_report *report, FILE *out)
{
	const struct wf_sort_disk *disk = report->disk;

	if (disk->write_gbs > 0)
		fprintf(out, "  disk        writes %.2f GB/s and reads %.2f GB/s past the cache\n",
		        disk->write_gbs, disk->read_gbs);
	if (disk->seconds > 0)
		fprintf(out,
		        "  floor       %.3f s to read all of it, spill %.3f GB, restore %.3f GB "
		        "and "
		        "write it, with the\n              same threads and memory; the sort took "
		        "%.2f times that\n",
		        disk->seconds, (double)disk->spilled_bytes * 1e-9,
		        (double)disk->restored_bytes * 1e-9, report->sort_seconds / disk->seconds);
}

/* The stage beside the same copies alone; 0: nothing was copied. */
static double gpu_bound_ratio(const struct wf_sort_report *report)
{
	const struct wf_sort_journal *journal = report->journal;
	double stage = rate(stage_bytes(journal, WF_SORT_STAGE_GPU),
	                    span_of(report, WF_SORT_STAGE_GPU, WF_SORT_STAGE_GPU));
	double bound = rate(stage_bytes(journal, WF_SORT_STAGE_GPU_COPIES),
	                    span_of(report, WF_SORT_STAGE_GPU_COPIES, WF_SORT_STAGE_GPU_COPIES));

	return stage > 0 ? bound / stage : 0;
}

static void print_gpu(const struct wf_sort_report *report, FILE *out)
{
	double seconds = span_of(report, WF_SORT_STAGE_GPU_COPIES, WF_SORT_STAGE_GPU_COPIES);

	fprintf(out,
	        "  gpu         %s; pinned memory and it exchange %.2f GB/s both ways at once, the "
	        "copy\n              bound; the stage took %.2f times as long a byte\n",
	        report->gpu, rate(stage_bytes(report->journal, WF_SORT_STAGE_GPU_COPIES), seconds),
	        gpu_bound_ratio(report));
}

static void print_head(const struct wf_sort_report *report, FILE *out)
{
	const struct wf_sort_layout *layout = report->layout;
	const struct wf_sort_options *options = report->options;
	char text[32];

	fprintf(out, "%s ", grouped(report->records, text));
	if (layout->lines)
		fprintf(out, "lines, %s bytes", grouped(layout->output_bytes, text));
	else
		fprintf(out, "records of %" PRIu32 " bytes, key %" PRIu32 ":%" PRIu32,
		        layout->record_bytes, layout->key_offset, layout->key_bytes);
	fprintf(out, ", %" PRIu32 " workers%s\n\n", report->workers,
	        !options->demo          ? ""
	                : options->skew ? ", skewed keys"
	                                : ", uniform keys");
}

void wf_sort_report_text(const struct wf_sort_report *report, FILE *out)
{
	const struct wf_sort_layout *layout = report->layout;

	print_head(report, out);
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
	print_memory(report, out);
	if (report->gpu)
		print_gpu(report, out);
	if (report->disk)
		print_floor(report, out);
	if (report->peer)
		fprintf(out,
		        "  GNU sort    %.3f s with the same threads and memory, %.1f times as long "
		        "as weft-sort; the\n              outputs are byte-identical\n",
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
	        " \"demo\": %s, \"skew\": %s, \"lines\": %s, \"bytes\": %" PRIu64
	        ", \"records\": %" PRIu64 ",\n \"record_bytes\": %" PRIu32
	        ", \"key_offset\": %" PRIu32 ", \"key_bytes\": %" PRIu32 ", \"workers\": %" PRIu32
	        ",\n",
	        options->demo ? "true" : "false", options->skew ? "true" : "false",
	        options->lines ? "true" : "false", layout->bytes, report->records,
	        layout->record_bytes, layout->key_offset, layout->key_bytes, report->workers);
	print_stages_json(report, out);
	fprintf(out,
	        " \"sort_seconds\": %.6f, \"total_seconds\": %.6f, \"gb_per_second\": %.3f,\n"
	        " \"verified\": true, \"checked\": %s, \"checksum\": \"%016" PRIx64 "\",\n"
	        " \"memory_bytes\": %" PRIu64 ", \"peak_bytes\": %" PRIu64
	        ",\n \"spilled_bytes\": %" PRIu64 ", \"restored_bytes\": %" PRIu64
	        ", \"io\": \"%s\"",
	        report->sort_seconds, report->total_seconds,
	        rate(layout->bytes, report->sort_seconds), options->check ? "true" : "false",
	        report->checksum, report->memory, report->peak_bytes, report->spilled_bytes,
	        report->restored_bytes, report->io);
	if (report->gpu) {
		double seconds =
			span_of(report, WF_SORT_STAGE_GPU_COPIES, WF_SORT_STAGE_GPU_COPIES);

		fputs(",\n \"gpu\": {\"name\": ", out);
		print_string(report->gpu, out);
		fprintf(out, ", \"copy_bound_gbs\": %.3f, \"ratio\": %.3f}",
		        rate(stage_bytes(report->journal, WF_SORT_STAGE_GPU_COPIES), seconds),
		        gpu_bound_ratio(report));
	}
	if (report->disk && report->disk->seconds > 0)
		fprintf(out,
		        ",\n \"floor\": {\"what\": \"read all, spill, restore and write it with "
		        "the "
		        "same threads and memory\", \"seconds\": %.6f, \"ratio\": %.3f,\n  "
		        "\"spilled_bytes\": %" PRIu64 ", \"restored_bytes\": %" PRIu64
		        ", \"disk_write_gbs\": %.3f, \"disk_read_gbs\": %.3f}",
		        report->disk->seconds, report->sort_seconds / report->disk->seconds,
		        report->disk->spilled_bytes, report->disk->restored_bytes,
		        report->disk->write_gbs, report->disk->read_gbs);
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
		WF_SORT_STAGE_PARTITION,
		WF_SORT_STAGE_SORT,
		WF_SORT_STAGE_WRITE,
		WF_SORT_STAGE_VERIFY,
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
	if (stage_bytes(journal, WF_SORT_STAGE_FLOOR_READ))
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
