/*
 * report.h: turns a results file into a page.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

/*
 * Read the JSON at `from`, write a self-contained HTML page to `to`. 0, or 1 after one line on
 * stderr; `to` is not left half-written.
 */
int bench_report(const char *from, const char *to);

#endif /* BENCH_REPORT_H */
