/*
 * harness.c: the conductor. Engines take turns, a batch each (A B C A B C), so that a machine
 * that slows down for a while slows everybody down. Each batch is a process of its own: what a
 * peer leaves behind (spinning threads, a grown heap) never meets the next figure. Every answer
 * is compared with the one that the problem must have.
 */
#include "harness.h"

#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.h"
#include "problem.h"
#include "stats.h"

#define TURNS     4   /* how often engines alternate for the default repetitions */
#define TURNS_MAX 400 /* a --min-time that is never reached ends here */

enum role {
	ROLE_WEFT,
	ROLE_PART,   /* weft again: another back end, or a part of it by itself */
	ROLE_LIMIT,  /* what the machine allows */
	ROLE_SERIAL, /* the serial twin */
	ROLE_PEER,
	ROLE_PUBLISHED, /* somebody else's figure from another machine: a constant of the row */
};

/* Of the last role there is one, and nothing to start. */
static const char published_name[] = "ray-published";

static const struct kind {
	const char *name;
	enum role role;
	const char *io; /* WEFT_IO of weft itself; NULL: as it is, and a program of its own */
} kinds[] = {
	{ "weft", ROLE_WEFT, NULL },     { "threads", ROLE_PART, "threads" },
	{ "slab", ROLE_PART, NULL },     { "limit", ROLE_LIMIT, NULL },
	{ "serial", ROLE_SERIAL, NULL }, { "tbb", ROLE_PEER, NULL },
	{ "gomp", ROLE_PEER, NULL },     { "iomp", ROLE_PEER, NULL },
	{ "starpu", ROLE_PEER, NULL },   { "glibc", ROLE_PEER, NULL },
	{ "jemalloc", ROLE_PEER, NULL }, { "fio", ROLE_PEER, NULL },
	{ "gnusort", ROLE_PEER, NULL },  { "duckdb", ROLE_PEER, NULL },
	{ "caf", ROLE_PEER, NULL },      { "erlang", ROLE_PEER, NULL },
	{ "ray", ROLE_PEER, NULL },
};
#define ENGINES (sizeof kinds / sizeof *kinds)

struct engine {
	const struct kind *kind;
	const char *name; /* kind->name */
	bool active;
	size_t reps;
	int64_t spent_ns;
	const char *trouble; /* why it was dropped; NULL: nothing to tell */
};

uint32_t bench_cpu_count(void)
{
	cpu_set_t set;
	const int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
	return n > 0 ? (uint32_t)n : 1;
}

const char *bench_series_name(const struct bench_series *series, char *buffer, size_t size)
{
	snprintf(buffer, size, "%s%s", series->info->name,
	         series->extra ? series->info->extra.suffix : "");
	return buffer;
}

const char *bench_series_unit(const struct bench_series *series)
{
	return series->extra ? series->info->extra.unit : series->info->unit;
}

void bench_results_fini(struct bench_results *results)
{
	for (size_t i = 0; i < results->count; i++)
		free(results->series[i].figures);
	free(results->series);
	*results = (struct bench_results){ 0 };
}

/* ---- Collecting --------------------------------------------------------------------------- */

static void *grow(void *array, size_t count, size_t *room, size_t item_bytes)
{
	if (count < *room)
		return array;
	*room = *room ? 2 * *room : 16;
	void *more = realloc(array, *room * item_bytes);
	if (!more) {
		fputs("weft-bench: out of memory\n", stderr);
		exit(1);
	}
	return more;
}

static struct bench_series *series_of(struct bench_results *results, const struct bench_info *info,
                                      bool extra, const char *engine, uint32_t threads)
{
	for (size_t i = 0; i < results->count; i++) {
		struct bench_series *s = &results->series[i];
		if (s->info == info && s->extra == extra && s->engine == engine &&
		    s->threads == threads)
			return s;
	}
	results->series =
		grow(results->series, results->count, &results->room, sizeof *results->series);
	struct bench_series *s = &results->series[results->count++];
	*s = (struct bench_series){
		.info = info,
		.extra = extra,
		.engine = engine,
		.threads = threads,
		.checked = true,
		.other_cores = -1,
	};
	return s;
}

/* One line of a batch: check its answer, keep its figure. False when it belongs to no row. */
static bool collect(struct bench_results *results, const struct bench_info *info,
                    const char *engine, uint32_t threads, const struct bench_line *line)
{
	const bool extra = line->series[0] != 0;
	if (extra && (!info->extra.suffix || strcmp(info->extra.suffix, line->series)))
		return false;
	/* The row itself comes before its extra figure, whichever was printed first. */
	if (extra)
		series_of(results, info, false, engine, threads);
	struct bench_series *s = series_of(results, info, extra, engine, threads);
	const uint64_t expected = info->expected(line->size);
	if (line->answer != expected) {
		fprintf(stderr,
		        "weft-bench: WRONG ANSWER: %s on %s, %" PRIu32 " threads, size %" PRIu64
		        ": %" PRIu64 " instead of %" PRIu64 "\n",
		        info->name, engine, threads, line->size, line->answer, expected);
		s->checked = false;
		results->wrong_count++;
	}
	s->figures = grow(s->figures, s->n, &s->room, sizeof *s->figures);
	s->figures[s->n++] = line->figure;
	return true;
}

/* ---- Turns -------------------------------------------------------------------------------- */

/* Path of an engine's program: it lies beside this one. */
static void program_path(char *path, size_t size, const char *name)
{
	char self[PATH_MAX];
	const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n > 0 ? n : 0] = 0;
	if (!name) {
		snprintf(path, size, "%s", self);
		return;
	}
	char *slash = strrchr(self, '/');
	if (slash)
		*slash = 0;
	snprintf(path, size, "%s/%s", n > 0 ? self : ".", name);
}

static void set_or_not(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
	else
		unsetenv(name);
}

static int run_batch(const struct bench_options *options, const struct bench_info *info,
                     const struct kind *kind, uint32_t threads, size_t reps,
                     struct bench_batch *batch)
{
	char path[PATH_MAX + 64];
	char name[64];
	char threads_text[16];
	char reps_text[16];
	char engine_word[] = "engine";
	char row[64];
	const bool weft = kind->role == ROLE_WEFT || kind->io;

	snprintf(name, sizeof name, "weft-bench-%s", kind->name);
	program_path(path, sizeof path, weft ? info->program : name);
	snprintf(threads_text, sizeof threads_text, "%" PRIu32, threads);
	snprintf(reps_text, sizeof reps_text, "%zu", reps);
	snprintf(row, sizeof row, "%s", weft && info->row ? info->row : info->name);

	char *argv[6] = { path };
	size_t n = 1;
	if (weft && !info->program)
		argv[n++] = engine_word;
	argv[n++] = row;
	argv[n++] = threads_text;
	argv[n++] = reps_text;
	setenv("WEFT_BENCH_COLD", info->cold ? "1" : "0", 1);
	const char *forced = getenv("WEFT_IO");
	char *io = forced ? strdup(forced) : NULL;
	if (kind->io)
		setenv("WEFT_IO", kind->io, 1);
	const int error = bench_child_run(batch, argv, (int64_t)(options->limit_s * 1e9));
	set_or_not("WEFT_IO", io);
	free(io);
	return error;
}

static const char *trouble(const struct bench_batch *batch)
{
	static char text[64];
	switch (batch->end) {
	case BENCH_CHILD_TIMEOUT:
		return "did not end in time";
	case BENCH_CHILD_FAILED:
		if (WIFSIGNALED(batch->status))
			snprintf(text, sizeof text, "died of signal %d", WTERMSIG(batch->status));
		else if (WEXITSTATUS(batch->status) == 0)
			return "printed a line that is no figure";
		else
			snprintf(text, sizeof text, "failed with status %d",
			         WEXITSTATUS(batch->status));
		return text;
	default:
		return NULL;
	}
}

static int turn(const struct bench_options *options, const struct bench_info *info,
                struct engine *engine, uint32_t threads, struct bench_results *results)
{
	const bool weft = engine->kind->role == ROLE_WEFT;
	size_t reps = info->cold ? 1 : (options->reps + TURNS - 1) / TURNS;
	struct bench_batch batch;
	if (engine->reps < options->reps && reps > options->reps - engine->reps)
		reps = options->reps - engine->reps;
	const int error = run_batch(options, info, engine->kind, threads, reps, &batch);
	if (error)
		return error;

	engine->reps += reps;
	engine->spent_ns += batch.wall_ns;
	if (batch.end != BENCH_CHILD_DONE)
		engine->active = false;
	const bool missing = batch.end == BENCH_CHILD_NO_ROW || batch.end == BENCH_CHILD_NO_FILE;
	const char *text = trouble(&batch);
	if (weft && missing)
		text = "is not built";
	if (text) {
		fprintf(stderr, "weft-bench: %s on %s, %" PRIu32 " threads: %s\n", info->name,
		        engine->name, threads, text);
		results->failed_count += weft;
	}
	for (size_t i = 0; i < batch.line_count; i++) {
		if (!collect(results, info, engine->name, threads, &batch.lines[i])) {
			fprintf(stderr, "weft-bench: %s on %s printed the unknown figure '%s'\n",
			        info->name, engine->name, batch.lines[i].series);
			results->failed_count++;
		}
	}
	if (batch.other_cores >= 0 && batch.line_count > 0) {
		/* A running mean over the batches, weighted by their lines. */
		struct bench_series *s = series_of(results, info, false, engine->name, threads);
		const double part = (double)batch.line_count / (double)(s->n ? s->n : 1);
		if (s->other_cores < 0)
			s->other_cores = batch.other_cores;
		s->other_cores += (batch.other_cores - s->other_cores) * (part < 1 ? part : 1);
	}
	bench_batch_fini(&batch);
	return 0;
}

static bool needs_more(const struct bench_options *options, const struct engine *engine)
{
	return engine->active &&
		(engine->reps < options->reps ||
	         (double)engine->spent_ns < options->min_time_s * 1e9);
}

/* ---- Printing ----------------------------------------------------------------------------- */

static const char *figure_text(double value, char *buffer, size_t size)
{
	const double magnitude = value < 0 ? -value : value;
	snprintf(buffer, size, magnitude < 100 ? "%.2f" : "%.0f", value);
	return buffer;
}

static double median(const struct bench_series *s)
{
	return bench_percentile(s->figures, s->n, 0.5);
}

static enum role role_of(const char *engine)
{
	if (engine == published_name)
		return ROLE_PUBLISHED;
	for (size_t i = 0; i < ENGINES; i++)
		if (kinds[i].name == engine)
			return kinds[i].role;
	return ROLE_PEER;
}

/* The fastest engine in `role` beside which a figure stands. */
static const struct bench_series *best_of(const struct bench_results *results,
                                          const struct bench_series *of, enum role role)
{
	const struct bench_series *best = NULL;
	for (size_t i = 0; i < results->count; i++) {
		const struct bench_series *s = &results->series[i];
		if (s->info != of->info || s->extra != of->extra || s->threads != of->threads)
			continue;
		if (s->n == 0 || role_of(s->engine) != role)
			continue;
		if (!best || median(s) < median(best))
			best = s;
	}
	return best;
}

/* How far from the limit, where there is one: as a part of its speed; else how far from peers. */
static void print_ratio(const struct bench_results *results, const struct bench_series *s,
                        char *text, size_t size)
{
	const enum role role = role_of(s->engine);
	const bool ours = role == ROLE_WEFT || role == ROLE_PART;
	const struct bench_series *limit = ours ? best_of(results, s, ROLE_LIMIT) : NULL;
	const struct bench_series *peer = role == ROLE_WEFT ? best_of(results, s, ROLE_PEER) : NULL;
	if (role == ROLE_WEFT && !peer)
		peer = best_of(results, s, ROLE_PUBLISHED);
	*text = 0;
	if (limit && median(s) > 0)
		snprintf(text, size, "%.2f of limit", median(limit) / median(s));
	else if (peer && median(peer) > 0)
		snprintf(text, size, "%.*f x %s", median(s) < median(peer) / 10 ? 4 : 2,
		         median(s) / median(peer), peer->engine);
}

static void print_header(void)
{
	printf("%-20s %-13s %3s %12s %12s %12s %4s %-7s %-16s %s\n", "row", "engine", "thr",
	       "median", "p10", "p90", "n", "unit", "to peer or limit", "goal, other load");
}

static void print_series(const struct bench_results *results, const struct bench_series *s)
{
	char name[64];
	char text[3][32];
	char ratio[64] = "";
	print_ratio(results, s, ratio, sizeof ratio);
	printf("%-20s %-13s %3" PRIu32 " %12s %12s %12s %4zu %-7s %-16s",
	       bench_series_name(s, name, sizeof name), s->engine, s->threads,
	       figure_text(median(s), text[0], sizeof text[0]),
	       figure_text(bench_percentile(s->figures, s->n, 0.1), text[1], sizeof text[1]),
	       figure_text(bench_percentile(s->figures, s->n, 0.9), text[2], sizeof text[2]), s->n,
	       bench_series_unit(s), ratio);
	if (role_of(s->engine) == ROLE_WEFT)
		printf(" %s", s->extra ? s->info->extra.goal : s->info->goal);
	if (s->other_cores >= 0.05)
		printf(" (others used %.1f cores)", s->other_cores);
	printf("%s\n", s->checked ? "" : " WRONG ANSWER");
	fflush(stdout);
}

/* ---- Rows --------------------------------------------------------------------------------- */

static void progress(const struct bench_info *info, const char *engine, uint32_t threads)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s on %s, %" PRIu32 " threads\r", info->name, engine,
		        threads);
}

static bool is_wanted(const struct bench_options *options, const struct bench_info *info,
                      const struct kind *kind, uint32_t threads)
{
	switch (kind->role) {
	case ROLE_WEFT:
		return true;
	case ROLE_PART:
	case ROLE_LIMIT:
		/* The files' rows on both back ends; the others say themselves what they have. */
		return info->store && (!kind->io || info->io);
	case ROLE_SERIAL:
		/* It has one thread by its nature. */
		return threads == 1;
	default:
		/* Python takes a while to say that it has no such row. */
		return options->peers && (info->ray || strcmp(kind->name, "ray"));
	}
}

/* What Ray has said about this row stands beside what was measured. */
static void add_published(struct bench_results *results, const struct bench_info *info,
                          uint32_t threads)
{
	if (info->published <= 0)
		return;
	struct bench_series *s = series_of(results, info, false, published_name, threads);
	s->figures = grow(s->figures, s->n, &s->room, sizeof *s->figures);
	s->figures[s->n++] = info->published;
}

static int run_row(const struct bench_options *options, const struct bench_info *info,
                   uint32_t threads, struct bench_results *results)
{
	struct engine engines[ENGINES];
	for (size_t i = 0; i < ENGINES; i++)
		engines[i] =
			(struct engine){ .kind = &kinds[i],
			                 .name = kinds[i].name,
			                 .active = is_wanted(options, info, &kinds[i], threads) };
	const size_t first = results->count;
	bool more = true;
	for (uint32_t round = 0; more && round < TURNS_MAX; round++) {
		more = false;
		for (size_t i = 0; i < ENGINES; i++) {
			if (!needs_more(options, &engines[i]))
				continue;
			progress(info, engines[i].name, threads);
			const int error = turn(options, info, &engines[i], threads, results);
			if (error)
				return error;
			more = more || needs_more(options, &engines[i]);
		}
	}
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	add_published(results, info, threads);
	for (size_t i = first; i < results->count; i++)
		bench_sort(results->series[i].figures, results->series[i].n);
	for (size_t i = first; i < results->count; i++)
		if (results->series[i].n)
			print_series(results, &results->series[i]);
	return 0;
}

static bool matches(const struct bench_options *options, const char *name)
{
	for (size_t i = 0; i < options->filters_count; i++)
		if (!fnmatch(options->filters[i], name, 0))
			return true;
	return options->filters_count == 0;
}

int bench_run_all(const struct bench_options *options, struct bench_results *results)
{
	*results = (struct bench_results){ 0 };
	for (size_t i = 0; i < bench_catalog_count; i++) {
		const struct bench_info *info = &bench_catalog[i];
		uint32_t last = 0;
		if (!matches(options, info->name))
			continue;
		if (results->row_count++ == 0)
			print_header();
		for (size_t t = 0; t < options->threads_count; t++) {
			const uint32_t most = info->threads_max;
			const uint32_t threads =
				most && options->threads[t] > most ? most : options->threads[t];
			/* A capped row would otherwise run the same thing twice. */
			if (threads == last)
				continue;
			last = threads;
			const int error = run_row(options, info, threads, results);
			if (error)
				return error;
		}
	}
	return 0;
}
