/*
 * report.c: the page: per row one chart of bars, weft beside its peers, as SVG inside one HTML
 * file that needs nothing else. A bar much longer than weft's is cut and marked, because a linear
 * scale that holds every peer would show nothing of the short ones; its number stands beside it.
 */
#include "report.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "catalog.h"
#include "results.h"

#define LABEL_PX  130
#define BAR_PX    470
#define VALUE_PX  150
#define ROW_PX    22
#define GAP_PX    10
#define CUT_RATIO 8 /* longer than so many times weft's bar: cut */

static const char style[] =
	":root{--ink:#1b1f24;--soft:#5c6670;--page:#fff;--line:#d8dee4;--weft:#c2410c;"
	"--peer:#8aa4be;--serial:#c9ced4;--goal:#15803d}"
	"@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa5b1;--page:#15181c;"
	"--line:#353b42;--weft:#fb923c;--peer:#5f7f9f;--serial:#4a525b;--goal:#4ade80}}"
	"body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);"
	"max-width:780px;margin:2rem auto;padding:0 1rem}"
	"h2{font-size:1.05rem;margin:2rem 0 0}p{margin:.2rem 0 .6rem;color:var(--soft)}"
	"svg{display:block;width:100%;height:auto}"
	"svg text{font:12px system-ui,sans-serif;fill:var(--ink)}"
	".weft{fill:var(--weft)}.peer{fill:var(--peer)}.serial{fill:var(--serial)}"
	".whisker{stroke:var(--ink);stroke-width:1}.cut{stroke:var(--page);stroke-width:3}"
	".goal{stroke:var(--goal);stroke-width:2;stroke-dasharray:3 2}"
	"table{border-collapse:collapse;font-size:13px;width:100%}"
	"td,th{border-bottom:1px solid var(--line);padding:.15rem .5rem;text-align:right}"
	"td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}";

static void text(FILE *out, const char *s)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		case '"':
			fputs("&quot;", out);
			break;
		default:
			fputc(*s, out);
		}
	}
}

/* A figure with its unit, scaled to what people read. */
static void figure(FILE *out, double value, const char *unit)
{
	const double magnitude = value < 0 ? -value : value;
	if (!strcmp(unit, "ns") && magnitude >= 1e6)
		fprintf(out, "%.4g ms", value / 1e6);
	else if (!strcmp(unit, "ns") && magnitude >= 1e3)
		fprintf(out, "%.4g &#181;s", value / 1e3);
	else if (!strcmp(unit, "bytes") && magnitude >= 1048576)
		fprintf(out, "%.4g MiB", value / 1048576);
	else if (!strcmp(unit, "bytes") && magnitude >= 4096)
		fprintf(out, "%.4g KiB", value / 1024);
	else if (!strcmp(unit, "percent"))
		fprintf(out, "%.2f %%", value);
	else
		fprintf(out, "%.4g %s", value, unit);
}

/* The goal at this number of threads; 0 when the table has none in figures. */
static double goal_of(const char *goal, double threads)
{
	double at[2] = { 0, 0 };
	if (sscanf(goal, "%lf / %lf", &at[0], &at[1]) < 1)
		(void)sscanf(goal, "- / %lf", &at[1]);
	if (threads <= 1)
		return at[0];
	return threads <= 2 ? at[1] : 0;
}

/* The scale's end: the longest bar that is not cut. */
static double full_scale(const struct bench_file *file, const char *name)
{
	double longest = 0;
	double weft = 0;
	for (size_t i = 0; i < file->row_count; i++) {
		const struct bench_figure *f = &file->rows[i];
		if (strcmp(f->name, name))
			continue;
		longest = f->median > longest ? f->median : longest;
		if (!strcmp(f->engine, "weft") && f->median > weft)
			weft = f->median;
	}
	const double most = weft * CUT_RATIO;
	if (weft > 0 && longest > most)
		longest = most;
	return longest > 0 ? longest : 1;
}

static double clamp_px(double value, double scale)
{
	const double px = value / scale * BAR_PX;
	if (px < 0)
		return 0;
	return px > BAR_PX ? BAR_PX : px;
}

static void bar(FILE *out, const struct bench_figure *f, double scale, const char *goal, int y)
{
	const bool weft = !strcmp(f->engine, "weft");
	const char *class = weft ? "weft" : !strcmp(f->engine, "serial") ? "serial" : "peer";
	const double px = clamp_px(f->median, scale);
	const double middle = y + ROW_PX / 2.0 - 2;
	fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">", LABEL_PX - 8, y + 14);
	text(out, f->engine);
	fprintf(out,
	        " &#183; %g</text><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" "
	        "height=\"%d\" rx=\"2\"/>",
	        f->threads, class, LABEL_PX, y, px < 1 ? 1 : px, ROW_PX - 4);
	if (f->median > scale * 1.0001) {
		fprintf(out, "<line class=\"cut\" x1=\"%d\" y1=\"%d\" x2=\"%d\" y2=\"%d\"/>",
		        LABEL_PX + BAR_PX - 18, y + ROW_PX, LABEL_PX + BAR_PX - 10, y - 4);
	} else if (f->n > 1) {
		fprintf(out,
		        "<line class=\"whisker\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" "
		        "y2=\"%.1f\"/>",
		        LABEL_PX + clamp_px(f->p10, scale), middle,
		        LABEL_PX + clamp_px(f->p90, scale), middle);
	}
	const double limit = weft ? goal_of(goal, f->threads) : 0;
	if (limit > 0 && limit <= scale) {
		const double x = LABEL_PX + clamp_px(limit, scale);
		fprintf(out, "<line class=\"goal\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>",
		        x, y - 3, x, y + ROW_PX - 1);
	}
	fprintf(out, "<text x=\"%.1f\" y=\"%d\">", LABEL_PX + px + 6, y + 14);
	figure(out, f->median, f->unit);
	fputs(f->checked ? "</text>\n" : " WRONG</text>\n", out);
}

/* One chart: the bars of a row, grouped by thread count. */
static void chart(FILE *out, const struct bench_file *file, const char *name)
{
	bool extra;
	const struct bench_info *info = bench_find(name, &extra);
	const char *about = !info ? "" : extra ? info->extra.text : info->text;
	const char *goal = !info ? "" : extra ? info->extra.goal : info->goal;
	const double scale = full_scale(file, name);
	double threads[64];
	int groups = 0;
	int bars = 0;
	for (size_t i = 0; i < file->row_count; i++) {
		bool known = false;
		if (strcmp(file->rows[i].name, name))
			continue;
		bars++;
		for (int g = 0; g < groups; g++)
			known = known || threads[g] == file->rows[i].threads;
		if (!known && groups < 64)
			threads[groups++] = file->rows[i].threads;
	}

	fputs("<h2>", out);
	text(out, name);
	fputs("</h2><p>", out);
	text(out, about);
	if (*goal && strcmp(goal, "-")) {
		fputs(". Goal at 1 / 2 threads: ", out);
		text(out, goal);
	}
	fprintf(out, "</p>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
	        LABEL_PX + BAR_PX + VALUE_PX, bars * ROW_PX + groups * GAP_PX);
	text(out, name);
	fputs(": medians by engine and threads\">\n", out);
	int y = 4;
	for (int g = 0; g < groups; g++, y += GAP_PX) {
		for (size_t i = 0; i < file->row_count; i++) {
			const struct bench_figure *f = &file->rows[i];
			if (strcmp(f->name, name) || f->threads != threads[g])
				continue;
			bar(out, f, scale, goal, y);
			y += ROW_PX;
		}
	}
	fputs("</svg>\n", out);
}

static void table(FILE *out, const struct bench_file *file)
{
	fputs("<details><summary>All figures</summary><table><tr><th>row</th><th>engine</th>"
	      "<th>threads</th><th>median</th><th>p10</th><th>p90</th><th>n</th></tr>\n",
	      out);
	for (size_t i = 0; i < file->row_count; i++) {
		const struct bench_figure *f = &file->rows[i];
		fputs("<tr><td>", out);
		text(out, f->name);
		fputs("</td><td>", out);
		text(out, f->engine);
		fprintf(out, "</td><td>%g</td>", f->threads);
		const double values[] = { f->median, f->p10, f->p90 };
		for (int v = 0; v < 3; v++) {
			fputs("<td>", out);
			figure(out, values[v], f->unit);
			fputs("</td>", out);
		}
		fprintf(out, "<td>%g</td></tr>\n", f->n);
	}
	fputs("</table></details>\n", out);
}

static void page(FILE *out, const struct bench_file *file)
{
	fprintf(out,
	        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	        "<meta name=\"viewport\" content=\"width=device-width\">"
	        "<title>weft-bench</title><style>%s</style></head><body>\n<h1>weft-bench</h1>\n<p>",
	        style);
	for (size_t i = 0; i < file->fact_count; i++) {
		fputs(i ? " &#183; " : "", out);
		text(out, file->facts[i].key);
		fputs(" ", out);
		text(out, file->facts[i].value);
	}
	fputs("</p><p>Medians; shorter is better; the number after an engine's name is its "
	      "threads; "
	      "the thin line runs from the 10th to the 90th percentile; a dashed mark is weft's "
	      "goal "
	      "on the 2-core reference machine; a slashed bar is longer than the page.</p>\n",
	      out);
	for (size_t i = 0; i < file->row_count; i++) {
		bool seen = false;
		for (size_t j = 0; j < i; j++)
			seen = seen || !strcmp(file->rows[j].name, file->rows[i].name);
		if (!seen)
			chart(out, file, file->rows[i].name);
	}
	table(out, file);
	fputs("</body></html>\n", out);
}

int bench_report(const char *from, const char *to)
{
	struct bench_file file;
	char draft[PATH_MAX];
	if (bench_file_read(&file, from))
		return 1;
	if (snprintf(draft, sizeof draft, "%s.tmp", to) >= (int)sizeof draft) {
		fprintf(stderr, "weft-bench: %s: %s\n", to, strerror(ENAMETOOLONG));
		bench_file_fini(&file);
		return 1;
	}
	FILE *out = fopen(draft, "we");
	bool good = out != NULL;
	if (out) {
		page(out, &file);
		good = !ferror(out);
		good = !fclose(out) && good;
		good = good && !rename(draft, to);
		if (!good)
			unlink(draft);
	}
	if (!good)
		fprintf(stderr, "weft-bench: %s: %s\n", to, strerror(errno));
	bench_file_fini(&file);
	return !good;
}
