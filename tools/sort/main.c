/*
 * main.c: weft-sort, in the order of its steps: options, runtime, files, (demo: generate), sort and
 * verify, (measure the floor), (compare), give the output its name, report, clean up.
 *
 * The floor is measured after the sort, not before: whoever comes first pays for memory that the
 * machine has not used yet, and the floor must not be flattered into looking high.
 *
 * There is one way out. Each step returns false after it has said one line about what went wrong,
 * or nothing when a signal ended it; finish() removes every temporary file in all cases.
 */
#include "sort.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define PROGRESS_MS 100

/* Large data is in the store; what is allocated beside it should not keep much more. */
extern const char *malloc_conf;
__attribute__((visibility("default"))) const char *malloc_conf =
	"dirty_decay_ms:1000,muzzy_decay_ms:0";

/* Read by the signal handler: the runtime to interrupt, NULL before it is open and at its end. */
static weft *volatile open_runtime;

struct app {
	struct wf_sort_options options;
	struct wf_sort_job job;
	struct wf_sort_journal journal;
	weft_cuda *cuda;                 /* NULL without --gpu */
	struct wf_sort_output generated; /* the demo's input */
	struct wf_sort_output output;
	struct wf_sort_output scratch; /* of the floor, then of the peer */
	struct wf_sort_result known;   /* what the generator made */
	struct wf_sort_done done;
	struct wf_sort_peer peer;
	struct wf_sort_disk disk; /* and the floor */
	/* Arguments of root tasks: after a failure tasks of theirs may still run. */
	struct wf_sort_generate generate;
	struct wf_sort_floor floor;
	struct wf_sort_same same;
	uint32_t workers;
	uint64_t memory, store_bytes, peak_bytes;
	char demo_input[4096], demo_output[4096];
};

static void on_signal(int signal_number)
{
	int saved_errno = errno;
	weft *rt = open_runtime;
	pid_t child = (pid_t)wf_sort_child;

	(void)signal_number;
	wf_sort_interrupted = 1;
	if (rt)
		weft_interrupt(rt);
	if (child > 0)
		kill(child, SIGTERM);
	errno = saved_errno;
}

static void set_signals(void)
{
	static const int interrupts[] = { SIGHUP, SIGINT, SIGTERM };
	struct sigaction action = { .sa_handler = on_signal }, before;

	sigemptyset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(interrupts) / sizeof(interrupts[0]); i++) {
		/* Whoever has started us with one of them ignored (nohup) wants it so. */
		if (sigaction(interrupts[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(interrupts[i], &action, NULL);
	}
	/* A write past a limit or to a closed pipe shall fail and be reported, not end us. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

static struct weft_store_stats store_stats(const struct app *app)
{
	struct weft_store_stats stats = { .struct_size = sizeof(stats) };

	WF_CHECK(weft_store_stats(app->job.rt, &stats) == 0);
	return stats;
}

/*
 * The highest of: what is resident of this program, and the store's memory. The system's own mark
 * would count the store twice, as it is mapped twice. Neither goes down while a job runs, so that
 * looking now and then is enough.
 */
static void note_memory(struct app *app)
{
	uint64_t bytes = wf_sort_memory_private() + store_stats(app).committed;

	if (bytes > app->peak_bytes)
		app->peak_bytes = bytes;
}

/* Submit a root task and wait for its value. False: it failed, and the cause was printed. */
static bool run_root(struct app *app, weft_task_fn *fn, const void *arg, void *value,
                     size_t value_size)
{
	weft *rt = app->job.rt;
	struct weft_view view;
	weft_ref ref;
	int status = weft_spawn(rt, fn, &arg, sizeof(arg), &ref);

	if (status < 0) {
		if (!wf_sort_interrupted)
			wf_sort_complain("cannot start: %s", weft_strerror(status));
		return false;
	}
	while ((status = weft_get(rt, ref, weft_after_ms(rt, PROGRESS_MS), &view)) == -ETIMEDOUT) {
		note_memory(app);
		if (!app->options.quiet)
			wf_sort_progress(&app->journal, &app->job.layout);
	}
	note_memory(app);
	wf_sort_progress_end();
	if (status == 0) {
		WF_CHECK(view.size == value_size);
		if (value_size)
			memcpy(value, view.data, value_size);
	} else if (!wf_sort_interrupted) {
		bool lacked = wf_sort_lacked_room(rt, ref);

		wf_sort_complain("%s%s%s%s", lacked ? "no room in memory or in " : "",
		                 lacked ? app->options.spill_dir : "", lacked ? ": " : "",
		                 wf_sort_cause(rt, ref, status));
	}
	weft_release(rt, ref);
	return status == 0 && !wf_sort_interrupted;
}

/* ---- Steps ------------------------------------------------------------------------- */

static bool open_input(struct app *app, uint64_t *bytes)
{
	const struct wf_sort_options *options = &app->options;
	int n;

	if (!options->demo) {
		app->job.input_name = options->input;
		app->job.input_fd = wf_sort_open_input(options->input, bytes);
		return app->job.input_fd >= 0;
	}
	*bytes = options->demo_bytes - options->demo_bytes % options->record_bytes;
	n = snprintf(app->demo_input, sizeof(app->demo_input), "%s/weft-sort-demo.in",
	             options->dir);
	if (n < 0 || (size_t)n >= sizeof(app->demo_input)) {
		wf_sort_complain("%s: %s", options->dir, strerror(ENAMETOOLONG));
		return false;
	}
	app->job.input_name = app->demo_input;
	return true;
}

/* The demo's input, for its generator to fill, and a name for its output. */
static bool create_demo(struct app *app, uint64_t bytes)
{
	if (!wf_sort_output_open(&app->generated, app->demo_input, bytes, false))
		return false;
	app->job.input_fd = app->generated.fd;
	snprintf(app->demo_output, sizeof(app->demo_output), "%s/weft-sort-demo.out",
	         app->options.dir);
	return true;
}

/* Whether the last line is not ended. */
static bool read_end(struct app *app, uint64_t bytes, bool *unended)
{
	char last = '\n';
	int status = 0;

	if (app->options.lines && !app->options.demo && bytes > 0)
		status = wf_sort_pread(app->job.input_fd, &last, 1, bytes - 1);
	if (status < 0)
		wf_sort_complain("%s: %s", app->job.input_name, weft_strerror(status));
	*unended = last != '\n';
	return status == 0;
}

static bool open_devices(struct app *app)
{
	const char *forced = getenv("WEFT_GPU");
	int status = wf_sort_gpu_devices(&app->cuda);

	if (status == 0)
		return true;
	if (status == -ENODEV)
		wf_sort_complain(
			"--gpu: no GPU was found (a CUDA driver of version 12 and a card); "
			"WEFT_GPU=sim simulates one");
	else
		wf_sort_complain("--gpu: cannot open the devices: %s%s%s", weft_strerror(status),
		                 forced ? "; WEFT_GPU is " : "", forced ? forced : "");
	return false;
}

/* Once it is known how large a batch is. */
static bool open_gpu(struct app *app)
{
	int status = app->cuda
		? wf_sort_gpu_open(&app->job.gpu, app->job.rt, app->cuda, &app->job.layout)
		: 0;

	if (status < 0)
		wf_sort_complain("--gpu: cannot have pinned memory: %s", weft_strerror(status));
	return status == 0;
}

static uint64_t default_memory(void)
{
	uint64_t half = wf_sort_memory_available() / 2;

	return half > WF_SORT_MEMORY_MIN ? half : WF_SORT_MEMORY_MIN;
}

static bool open_weft(struct app *app)
{
	const struct wf_sort_options *options = &app->options;
	struct weft_info info = { .struct_size = sizeof(info) };
	uint64_t store_bytes;
	weft *rt;
	int status;

	if (options->gpu && !open_devices(app))
		return false;
	if (wf_sort_journal_init(&app->journal, options->trace != NULL) < 0) {
		wf_sort_complain("no memory for the trace");
		return false;
	}
	if (!wf_sort_probe_directory(options->spill_dir))
		return false;
	app->memory = options->memory ? options->memory : default_memory();
	store_bytes = app->memory - app->memory / 8;
	/* Batches under way are in memory of their own: a chunk each, less than a fifth in all. */
	if (options->gpu)
		store_bytes -= store_bytes / 5;
	status = weft_open(&rt,
	                   WEFT_OPTIONS(.workers = options->threads, .name = "weft-sort",
	                                .store_bytes = store_bytes, .devices = app->cuda,
	                                .spill_dirs = options->spill_dir));
	if (status < 0) {
		wf_sort_complain("cannot open the runtime: %s", weft_strerror(status));
		return false;
	}
	app->job.rt = rt;
	app->job.journal = &app->journal;
	app->job.check = options->check;
	WF_CHECK(weft_info(rt, &info) == 0);
	app->workers = info.workers;
	app->store_bytes =
		info.options.store_bytes; /* less than asked for, if there is not so much */
	open_runtime = rt;
	if (wf_sort_interrupted)
		weft_interrupt(rt); /* the signal came before the handler knew the runtime */
	return true;
}

static bool open_files(struct app *app)
{
	const struct wf_sort_options *options = &app->options;
	const char *name = options->output;
	uint64_t bytes = 0;
	bool unended, direct;

	if (!open_input(app, &bytes))
		return false;
	if (!options->lines && bytes % options->record_bytes) {
		wf_sort_complain("%s: its size, %" PRIu64 " bytes, is no multiple of the record's "
		                 "%" PRIu32,
		                 app->job.input_name, bytes, options->record_bytes);
		return false;
	}
	if (!read_end(app, bytes, &unended) || !open_weft(app))
		return false;
	wf_sort_layout_init(&app->job.layout, bytes, unended, app->store_bytes, app->workers,
	                    options);
	if (!open_gpu(app))
		return false;
	if (options->demo && !create_demo(app, bytes))
		return false;
	if (!name)
		name = app->demo_output;
	/* Memory is short: it should not be filled with what nobody reads soon. */
	direct = bytes > app->store_bytes / 2;
	if (!wf_sort_output_open(&app->output, name, bytes + unended, direct))
		return false;
	app->job.output = (struct wf_sort_sink){ name, app->output.fd, app->output.direct };
	return true;
}

static bool generate(struct app *app)
{
	const struct wf_sort_options *options = &app->options;

	app->generate = (struct wf_sort_generate){
		.job = &app->job,
		.sink = { app->demo_input, app->generated.fd, -1 },
		.record_bytes = options->record_bytes,
		.key_offset = options->key_offset,
		.key_bytes = options->key_bytes,
		.seed = options->seed,
		.skew = options->skew,
	};

	return run_root(app, wf_sort_generate_root, &app->generate, &app->known,
	                sizeof(app->known));
}

static bool measure_floor(struct app *app)
{
	const struct wf_sort_output *scratch = &app->scratch;
	bool good;

	if (!wf_sort_output_open(&app->scratch, app->output.path, app->job.layout.bytes,
	                         app->output.direct >= 0))
		return false;
	app->floor = (struct wf_sort_floor){
		.job = &app->job,
		.spill_dir = app->options.spill_dir,
		.sink = { app->output.path, scratch->fd, scratch->direct },
	};
	good = run_root(app, wf_sort_floor_root, &app->floor, &app->disk, sizeof(app->disk));
	wf_sort_output_drop(&app->scratch);
	return good;
}

static bool sort(struct app *app)
{
	const struct wf_sort_result *result = &app->done.result;

	if (!run_root(app, wf_sort_root, &app->job, &app->done, sizeof(app->done)))
		return false;
	if (app->options.gpu && !run_root(app, wf_sort_gpu_bound_root, &app->job, NULL, 0))
		return false;
	if (app->options.demo && result->checksum != app->known.checksum) {
		wf_sort_complain("%s: what was read is not what was generated: checksum "
		                 "%016" PRIx64 ", not %016" PRIx64,
		                 app->job.input_name, result->checksum, app->known.checksum);
		return false;
	}
	return true;
}

static bool compare(struct app *app)
{
	const struct wf_sort_layout *layout = &app->job.layout;
	const char *input = app->options.demo ? app->generated.temporary : app->options.input;
	int status;

	app->same = (struct wf_sort_same){
		.job = &app->job,
		.fd = app->job.input_fd,
		.other_fd = -1,
		.bytes = layout->bytes,
	};
	if (!layout->lines && !run_root(app, wf_sort_same_root, &app->same, NULL, 0))
		return false;
	if (!wf_sort_output_open(&app->scratch, app->output.path, layout->output_bytes, false))
		return false;
	status = wf_sort_peer_run(input, app->scratch.temporary, app->options.spill_dir, layout,
	                          app->workers, app->memory, &app->peer);
	if (status < 0) {
		if (!wf_sort_interrupted)
			wf_sort_complain("--compare: sort(1): %s", strerror(-status));
		return false;
	}
	app->same.fd = app->output.fd;
	app->same.other_fd = app->scratch.fd;
	app->same.bytes = layout->output_bytes;
	app->peer.identical = run_root(app, wf_sort_same_root, &app->same, NULL, 0);
	wf_sort_output_drop(&app->scratch);
	return app->peer.identical;
}

/* Give the files that stay their names. */
static bool publish(struct app *app)
{
	if (wf_sort_interrupted)
		return false;
	if (app->options.keep && !wf_sort_output_publish(&app->generated, false))
		return false;
	if (!app->options.output)
		return true; /* the demo's output is removed */
	return wf_sort_output_publish(&app->output, app->options.sync);
}

static bool report(struct app *app)
{
	struct wf_sort_report facts = {
		.options = &app->options,
		.layout = &app->job.layout,
		.journal = &app->journal,
		.workers = app->workers,
		.records = app->done.result.records,
		.checksum = app->done.result.checksum,
		.sort_seconds = wf_sort_stage_seconds(&app->journal, WF_SORT_STAGE_CUT,
		                                      WF_SORT_STAGE_WRITE),
		.total_seconds = wf_sort_stage_seconds(&app->journal, WF_SORT_STAGE_CUT,
		                                       WF_SORT_STAGE_CHECK),
		.memory = app->memory,
		.peak_bytes = app->peak_bytes,
		.spilled_bytes = app->done.spilled_bytes,
		.restored_bytes = app->done.restored_bytes,
		.io = store_stats(app).io,
		.disk = app->options.floor ? &app->disk : NULL,
		.peer = app->options.compare ? &app->peer : NULL,
		.gpu = app->job.gpu ? wf_sort_gpu_name(app->job.gpu) : NULL,
	};
	uint64_t left_out = 0;
	int status = 0;

	if (app->options.trace)
		status = wf_sort_journal_write(&app->journal, app->options.trace, &left_out);
	if (status < 0) {
		wf_sort_complain("%s: %s", app->options.trace, strerror(-status));
		return false;
	}
	if (left_out)
		wf_sort_complain("%s: %" PRIu64 " events were left out", app->options.trace,
		                 left_out);
	if (app->options.json)
		wf_sort_report_json(&facts, stdout);
	else if (!app->options.quiet)
		wf_sort_report_text(&facts, stdout);
	if (fflush(stdout) || ferror(stdout)) {
		wf_sort_complain("cannot print the report: %s", strerror(errno));
		return false;
	}
	return true;
}

static void finish(struct app *app, bool good)
{
	weft *rt = app->job.rt;

	open_runtime = NULL; /* the handler must not meet a runtime that is being closed */
	if (rt) {
		if (!good)
			weft_interrupt(rt);
		weft_close(rt, WEFT_FOREVER);
	}
	wf_sort_gpu_close(app->job.gpu);
	weft_cuda_close(app->cuda);
	wf_sort_output_drop(&app->scratch);
	wf_sort_output_drop(&app->output);
	wf_sort_output_drop(&app->generated);
	if (!app->options.demo && app->job.input_fd >= 0)
		close(app->job.input_fd);
	wf_sort_journal_fini(&app->journal);
}

int main(int argc, char **argv)
{
	static struct app app = {
		.job = { .input_fd = -1, .output = { NULL, -1, -1 } },
		.generated = { .fd = -1, .direct = -1 },
		.output = { .fd = -1, .direct = -1 },
		.scratch = { .fd = -1, .direct = -1 },
	};
	int exit_code;
	bool good;

	if (!wf_sort_options_read(argc, argv, &app.options, &exit_code))
		return exit_code;
	set_signals();
	good = open_files(&app);
	if (app.options.demo)
		good = good && generate(&app);
	good = good && sort(&app);
	if (app.options.floor)
		good = good && measure_floor(&app);
	if (app.options.compare)
		good = good && compare(&app);
	good = good && publish(&app);
	if (good)
		good = report(&app);
	else if (wf_sort_interrupted)
		exit_code = WF_SORT_INTERRUPTED;
	finish(&app, good);
	if (good)
		return WF_SORT_DONE;
	if (exit_code == WF_SORT_INTERRUPTED) {
		wf_sort_complain("interrupted");
		return WF_SORT_INTERRUPTED;
	}
	return WF_SORT_FAILED;
}
