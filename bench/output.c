/*
 * output.c: the results as JSON: the machine, and one object per row, engine and thread count.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "harness.h"
#include "stats.h"

static void write_string(FILE *file, const char *text)
{
	fputc('"', file);
	for (; *text; text++) {
		const unsigned char c = (unsigned char)*text;
		if (c == '"' || c == '\\')
			fprintf(file, "\\%c", c);
		else if (c < 0x20)
			fprintf(file, "\\u%04x", c);
		else
			fputc(c, file);
	}
	fputc('"', file);
}

static void cpu_model(char *model, size_t size)
{
	char line[512];
	FILE *file = fopen("/proc/cpuinfo", "re");
	snprintf(model, size, "unknown");
	while (file && fgets(line, sizeof line, file)) {
		const char *colon = strchr(line, ':');
		if (strncmp(line, "model name", 10) || !colon)
			continue;
		line[strcspn(line, "\n")] = 0;
		snprintf(model, size, "%s", colon + 2);
		break;
	}
	if (file)
		fclose(file);
}

static void write_machine(FILE *file, const struct bench_results *results)
{
	char model[256];
	struct utsname system;
	double other = 0;
	size_t count = 0;
	cpu_model(model, sizeof model);
	for (size_t i = 0; i < results->count; i++) {
		if (results->series[i].other_cores < 0)
			continue;
		other += results->series[i].other_cores;
		count++;
	}
	fputs("{\"machine\":{\"cpu\":", file);
	write_string(file, model);
	fprintf(file, ",\"cpus\":%" PRIu32 ",\"memory_bytes\":%lld", bench_cpu_count(),
	        (long long)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE));
	if (!uname(&system)) {
		fputs(",\"kernel\":", file);
		write_string(file, system.release);
		fputs(",\"arch\":", file);
		write_string(file, system.machine);
	}
	fprintf(file, ",\"other_cores\":%.2f},\n\"rows\":[", count ? other / (double)count : 0);
}

static void write_series(FILE *file, const struct bench_series *s)
{
	char name[64];
	fputs("{\"name\":", file);
	write_string(file, bench_series_name(s, name, sizeof name));
	fputs(",\"engine\":", file);
	write_string(file, s->engine);
	fprintf(file,
	        ",\"threads\":%" PRIu32 ",\"unit\":\"%s\",\"median\":%.8g,\"p10\":%.8g,"
	        "\"p90\":%.8g,\"n\":%zu,\"checked\":%s}",
	        s->threads, bench_series_unit(s), bench_percentile(s->figures, s->n, 0.5),
	        bench_percentile(s->figures, s->n, 0.1), bench_percentile(s->figures, s->n, 0.9),
	        s->n, s->checked ? "true" : "false");
}

int bench_write_json(const struct bench_results *results, const char *path)
{
	FILE *file = fopen(path, "we");
	bool first = true;
	if (!file)
		return -errno;
	write_machine(file, results);
	for (size_t i = 0; i < results->count; i++) {
		if (!results->series[i].n)
			continue;
		fputs(first ? "\n" : ",\n", file);
		first = false;
		write_series(file, &results->series[i]);
	}
	fputs("\n]}\n", file);
	const bool bad = ferror(file);
	if (fclose(file) || bad)
		return -EIO;
	return 0;
}
