/*
 * main.c: weft-bench: list the rows, run them against peers, draw the results.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "harness.h"
#include "report.h"
#include "rows/rows.h"

static const char usage_text[] =
	"usage: weft-bench list\n"
	"       weft-bench run [FILTER...] [--threads N[,N...]] [--reps N] [--min-time SECONDS]\n"
	"                      [--peers] [--json FILE] [--tiny] [--long] [--timeout SECONDS]\n"
	"       weft-bench report FILE.json [-o PAGE.html]\n"
	"       weft-bench engine ROW THREADS REPS\n"
	"\n"
	"run measures every row, or those whose name a FILTER (a name or a glob) matches:\n"
	"  --threads N,N   worker threads; the main thread waits (default 1,2; at most the CPUs)\n"
	"  --reps N        figures per row and engine (default 8)\n"
	"  --min-time S    go on until each engine has used S seconds (default 0)\n"
	"  --peers         oneTBB, libgomp, libomp, StarPU, Ray and others, where they are\n"
	"  --json FILE     write the results\n"
	"  --tiny          smoke test: smallest sizes, one figure\n"
	"  --long          full length where the default is scaled down (churn_rss)\n"
	"  --timeout S     give up on a batch after S seconds (default 300)\n"
	"Each answer is checked. Exit status: 0; 1 a wrong answer or a failed row; 2 usage.\n"
	"engine is how run calls this program: one row in this process, for a profiler.\n";

static const struct bench_engine_row engine_rows[] = {
	{ "fib", row_fib },
	{ "forkjoin", row_forkjoin },
	{ "overlap", row_overlap },
	{ "flat", row_flat },
	{ "flat_foreign", row_flat_foreign },
	{ "flat_bulk", row_flat_bulk },
	{ "resource_flat", row_resource_flat },
	{ "resource_queue", row_resource_queue },
	{ "group_share", row_group_share },
	{ "group_urgent", row_group_urgent },
	{ "query", row_query },
	{ "chain", row_chain },
	{ "tree", row_tree },
	{ "wavefront", row_wavefront },
	{ "uts", row_uts },
	{ "grain_stencil", row_grain_stencil },
	{ "grain_independent", row_grain_independent },
	{ "roundtrip_hot", row_roundtrip_hot },
	{ "roundtrip_parked", row_roundtrip_parked },
	{ "block_resume", row_block_resume },
	{ "nested_1000", row_nested_1000 },
	{ "blocked_100k", row_blocked_100k },
	{ "wait_one", row_wait_one },
	{ "cancel_queued", row_cancel_queued },
	{ "generator", row_generator },
	{ "loop_tiny", row_loop_tiny },
	{ "loop_sum", row_loop_sum },
	{ "queued_bytes", row_queued_bytes },
	{ "open_close", row_open_close },
	{ "idle_cpu", row_idle_cpu },
	{ "churn_rss", row_churn_rss },
	{ "store_cycle_1k", row_store_cycle_1k },
	{ "store_get_1k", row_store_get_1k },
	{ "store_put_1m", row_store_put_1m },
	{ "store_put_100m", row_store_put_100m },
	{ "store_alloc_64", row_store_alloc_64 },
	{ "store_alloc_1k", row_store_alloc_1k },
	{ "store_alloc_100k", row_store_alloc_100k },
	{ "store_alloc_10m", row_store_alloc_10m },
	{ "store_full", row_store_full },
	{ "store_idle_cpu", row_store_idle_cpu },
	{ "store_dataset_4k", row_store_dataset_4k },
	{ "store_dataset_64m", row_store_dataset_64m },
	{ "spill_write_4m", row_spill_write_4m },
	{ "spill_write_64k", row_spill_write_64k },
	{ "spill_write_1k", row_spill_write_1k },
	{ "spill_restore_4m", row_spill_restore_4m },
	{ "spill_restore_64k", row_spill_restore_64k },
	{ "spill_restore_1k", row_spill_restore_1k },
	{ "actor_pingpong", row_actor_pingpong },
	{ "actor_ring", row_actor_ring },
	{ "actor_counting", row_actor_counting },
	{ "actor_n1", row_actor_n1 },
	{ "actor_fjthrput", row_actor_fjthrput },
	{ "actor_fjcreate", row_actor_fjcreate },
	{ "actor_big", row_actor_big },
	{ "actor_ask", row_actor_ask },
	{ "actor_askburst", row_actor_askburst },
	{ "actor_chameneos", row_actor_chameneos },
	{ "actor_concdict", row_actor_concdict },
	{ "actor_bank", row_actor_bank },
	{ "actor_bank_50k", row_actor_bank_50k },
	{ "actor_bank_1m", row_actor_bank_1m },
	{ "actor_gain", row_actor_gain },
	{ "actor_idle_bytes", row_actor_idle_bytes },
	{ "actor_flood_bytes", row_actor_flood_bytes },
	{ "actor_kill", row_actor_kill },
	{ "actor_restart", row_actor_restart },
	{ "ray_get", row_ray_get },
	{ "ray_put", row_ray_put },
	{ "ray_put_multi", row_ray_put_multi },
	{ "ray_put_large", row_ray_put_large },
	{ "ray_put_large_n", row_ray_put_large_n },
	{ "ray_tasks_batch", row_ray_tasks_batch },
	{ "ray_tasks_sync", row_ray_tasks_sync },
	{ "ray_tasks_async", row_ray_tasks_async },
	{ "ray_tasks_multi", row_ray_tasks_multi },
	{ "ray_get_10k_refs", row_ray_get_10k_refs },
	{ "ray_wait_1k", row_ray_wait_1k },
	{ "ray_actor_sync", row_ray_actor_sync },
	{ "ray_actor_async", row_ray_actor_async },
	{ "ray_actor_wide", row_ray_actor_wide },
	{ "ray_actor_1n", row_ray_actor_1n },
	{ "ray_actor_nn", row_ray_actor_nn },
	{ "ray_actor_nn_arg", row_ray_actor_nn_arg },
	{ "ray_async_sync", row_ray_async_sync },
	{ "ray_async_async", row_ray_async_async },
	{ "ray_async_args", row_ray_async_args },
	{ "ray_async_1n", row_ray_async_1n },
	{ "ray_async_nn", row_ray_async_nn },
	{ "ray_placement", row_ray_placement },
	{ "ray_envelope_args", row_ray_env_args },
	{ "ray_envelope_returns", row_ray_env_returns },
	{ "ray_envelope_get", row_ray_env_get },
	{ "ray_envelope_queued", row_ray_env_queued },
	{ "ray_envelope_object", row_ray_env_object },
};

static int usage(const char *why)
{
	if (why)
		fprintf(stderr, "weft-bench: %s\n", why);
	fputs(usage_text, why ? stderr : stdout);
	return why ? 2 : 0;
}

static int list(void)
{
	printf("%-20s %-8s %-18s %s\n", "row", "unit", "goal (1 / 2 thr)", "what");
	for (size_t i = 0; i < bench_catalog_count; i++) {
		const struct bench_info *info = &bench_catalog[i];
		char name[64];
		printf("%-20s %-8s %-18s %s\n", info->name, info->unit, info->goal, info->text);
		if (!info->extra.suffix)
			continue;
		snprintf(name, sizeof name, "  %s", info->extra.suffix);
		printf("%-20s %-8s %-18s %s\n", name, info->extra.unit, info->extra.goal,
		       info->extra.text);
	}
	return 0;
}

static bool parse_threads(struct bench_options *options, const char *text)
{
	const uint32_t cpus = bench_cpu_count();
	options->threads_count = 0;
	while (*text) {
		char *end;
		errno = 0;
		const unsigned long n = strtoul(text, &end, 10);
		if (errno || end == text || n == 0 || (*end && *end != ',') ||
		    options->threads_count == BENCH_THREADS_MAX)
			return false;
		uint32_t threads = n > cpus ? cpus : (uint32_t)n;
		if (threads != n)
			fprintf(stderr, "weft-bench: %lu threads cut to the %u CPUs here\n", n,
			        cpus);
		bool known = false;
		for (size_t i = 0; i < options->threads_count; i++)
			known = known || options->threads[i] == threads;
		if (!known)
			options->threads[options->threads_count++] = threads;
		text = *end ? end + 1 : end;
	}
	return options->threads_count > 0;
}

static bool parse_seconds(double *out, const char *text)
{
	char *end;
	errno = 0;
	const double value = strtod(text, &end);
	if (errno || end == text || *end || !(value >= 0) || value > 1e6)
		return false;
	*out = value;
	return true;
}

enum {
	OPT_THREADS = 256,
	OPT_REPS,
	OPT_MIN_TIME,
	OPT_PEERS,
	OPT_JSON,
	OPT_TINY,
	OPT_LONG,
	OPT_TIMEOUT,
	OPT_HELP
};

static const struct option run_options[] = {
	{ "threads", required_argument, NULL, OPT_THREADS },
	{ "reps", required_argument, NULL, OPT_REPS },
	{ "min-time", required_argument, NULL, OPT_MIN_TIME },
	{ "peers", no_argument, NULL, OPT_PEERS },
	{ "json", required_argument, NULL, OPT_JSON },
	{ "tiny", no_argument, NULL, OPT_TINY },
	{ "long", no_argument, NULL, OPT_LONG },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "help", no_argument, NULL, OPT_HELP },
	{ NULL, 0, NULL, 0 },
};

/* 0 to go on, 1 after --help, 2 after a usage error. */
static int parse_run(struct bench_options *options, int argc, char **argv)
{
	int choice;
	while ((choice = getopt_long(argc, argv, "h", run_options, NULL)) != -1) {
		bool good = true;
		switch (choice) {
		case OPT_THREADS:
			good = parse_threads(options, optarg);
			break;
		case OPT_REPS:
			options->reps = (uint32_t)strtoul(optarg, NULL, 10);
			good = options->reps > 0 && options->reps <= 100000;
			break;
		case OPT_MIN_TIME:
			good = parse_seconds(&options->min_time_s, optarg);
			break;
		case OPT_PEERS:
			options->peers = true;
			break;
		case OPT_JSON:
			options->json = optarg;
			break;
		case OPT_TINY:
			/* Through the environment, because the measuring processes read it. */
			setenv("WEFT_BENCH_TINY", "1", 1);
			options->reps = 1;
			break;
		case OPT_LONG:
			setenv("WEFT_BENCH_LONG", "1", 1);
			break;
		case OPT_TIMEOUT:
			good = parse_seconds(&options->limit_s, optarg) && options->limit_s > 0;
			break;
		case OPT_HELP:
		case 'h':
			usage(NULL);
			return 1;
		default:
			usage("unknown or incomplete option");
			return 2;
		}
		if (!good) {
			usage("bad value of an option");
			return 2;
		}
	}
	options->filters = argv + optind;
	options->filters_count = (size_t)(argc - optind);
	return 0;
}

static int run(int argc, char **argv)
{
	struct bench_options options = { .reps = 8, .limit_s = 300 };
	struct bench_results results;
	const uint32_t cpus = bench_cpu_count();
	options.threads[options.threads_count++] = 1;
	if (cpus > 1)
		options.threads[options.threads_count++] = 2;
	const int parsed = parse_run(&options, argc, argv);
	if (parsed)
		return parsed == 1 ? 0 : parsed;

	const int error = bench_run_all(&options, &results);
	int status = 0;
	if (error) {
		fprintf(stderr, "weft-bench: cannot start a process: %s\n", strerror(-error));
		status = 1;
	} else if (results.row_count == 0) {
		fprintf(stderr, "weft-bench: no row matches; see weft-bench list\n");
		status = 2;
	}
	if (results.wrong_count || results.failed_count) {
		fprintf(stderr, "weft-bench: %u wrong answers, %u failures\n", results.wrong_count,
		        results.failed_count);
		status = 1;
	}
	if (options.json && results.row_count) {
		const int written = bench_write_json(&results, options.json);
		if (written) {
			fprintf(stderr, "weft-bench: %s: %s\n", options.json, strerror(-written));
			status = 1;
		}
	}
	bench_results_fini(&results);
	return status;
}

static int report(int argc, char **argv)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *output = "weft-bench.html";
	int choice;
	while ((choice = getopt_long(argc, argv, "o:h", options, NULL)) != -1) {
		if (choice == 'h')
			return usage(NULL);
		if (choice != 'o')
			return usage("unknown or incomplete option");
		output = optarg;
	}
	if (argc - optind != 1)
		return usage("report takes one JSON file");
	return bench_report(argv[optind], output);
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	if (!strcmp(verb, "list"))
		return list();
	if (!strcmp(verb, "run"))
		return run(argc - 1, argv + 1);
	if (!strcmp(verb, "report"))
		return report(argc - 1, argv + 1);
	if (!strcmp(verb, "engine"))
		return bench_engine_main(argc - 1, argv + 1, engine_rows,
		                         sizeof engine_rows / sizeof *engine_rows);
	if (!strcmp(verb, "--help") || !strcmp(verb, "-h"))
		return usage(NULL);
	return usage(*verb ? "unknown command" : "a command is needed");
}
