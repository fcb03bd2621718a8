/*
 * engine.c: what every measuring process shares: arguments, the protocol's lines, clocks, and the
 * search for the smallest useful task. Knows no engine. One process per batch, because then a
 * peer that spins, leaks or crashes cannot touch the next figure, and resident memory starts from
 * the same place every time.
 */
#include "engine.h"

#include "problem.h"
#include "stats.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static long parse(const char *text)
{
	char *end;
	errno = 0;
	const long value = strtol(text, &end, 10);
	return errno || end == text || *end || value < 1 || value > INT_MAX ? -1 : value;
}

int bench_engine_main(int argc, char **argv, const struct bench_engine_row *rows, size_t count)
{
	if (argc != 4 || parse(argv[2]) < 0 || parse(argv[3]) < 0) {
		fprintf(stderr, "usage: %s ROW THREADS REPS (rows:", argv[0]);
		for (size_t i = 0; i < count; i++)
			fprintf(stderr, " %s", rows[i].name);
		fprintf(stderr, ")\n");
		return 2;
	}
	/* Nobody reads the figures of a harness that has died. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A cold row has no warm-up: its first repetition is the measurement. */
	const bool cold = bench_env("WEFT_BENCH_COLD");
	const struct bench_run run = {
		.row = argv[1],
		.threads = (uint32_t)parse(argv[2]),
		.reps = (int)parse(argv[3]),
		.warmups = cold ? 0 : 1,
	};
	for (size_t i = 0; i < count; i++)
		if (!strcmp(rows[i].name, run.row))
			return rows[i].fn(&run);
	return BENCH_EXIT_NO_ROW;
}

void bench_emit(const struct bench_run *run, int rep, const char *series, double figure,
                uint64_t size, uint64_t answer)
{
	(void)run;
	if (rep < 0)
		return;
	printf("rep %s %.6g %" PRIu64 " %" PRIu64 "\n", *series ? series : "-", figure, size,
	       answer);
	fflush(stdout);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t bench_now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

int64_t bench_process_cpu_ns(void)
{
	return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/*
 * From smaps_rollup, which walks the page tables: statm's counters are kept per CPU and lag by
 * many pages on new kernels. statm is the fallback where the kernel has no rollup.
 */
uint64_t bench_rss_bytes(void)
{
	char line[256];
	unsigned long long kib = 0;
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	if (file) {
		while (fgets(line, sizeof line, file))
			if (sscanf(line, "Rss: %llu kB", &kib) == 1)
				break;
		fclose(file);
	}
	if (kib)
		return kib * 1024;
	unsigned long long total = 0;
	unsigned long long resident = 0;
	file = fopen("/proc/self/statm", "re");
	if (file) {
		if (fscanf(file, "%llu %llu", &total, &resident) != 2)
			resident = 0;
		fclose(file);
	}
	return resident * (unsigned long long)sysconf(_SC_PAGESIZE);
}

void bench_sleep_ns(int64_t ns)
{
	struct timespec left = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
	while (nanosleep(&left, &left) && errno == EINTR)
		continue;
}

void bench_die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	fputs("weft-bench: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	/* Not exit(): other threads may be inside the engine, whose destructors would wait. */
	_exit(1);
}

void *bench_alloc(size_t bytes)
{
	const size_t rounded = (bytes + BENCH_LINE_BYTES - 1) / BENCH_LINE_BYTES * BENCH_LINE_BYTES;
	void *p = aligned_alloc(BENCH_LINE_BYTES, rounded);
	if (!p)
		bench_die("no memory for %zu bytes", bytes);
	return memset(p, 0, rounded);
}

void *bench_alloc_huge(size_t bytes)
{
	const size_t page = (size_t)2 << 20;
	const size_t rounded = (bytes + page - 1) / page * page;
	char *p = mmap(NULL, rounded + page, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		bench_die("no memory for %zu bytes", bytes);
	p += -(uintptr_t)p % page;
	madvise(p, rounded, MADV_HUGEPAGE);
	return memset(p, 1, rounded);
}

const char *bench_file_dir(void)
{
	const char *dir = getenv("TMPDIR");
	return dir && *dir ? dir : "/var/tmp";
}

void bench_file_dir_make(char *path, size_t size)
{
	const int n = snprintf(path, size, "%s/weft-bench-XXXXXX", bench_file_dir());
	if (n < 0 || (size_t)n >= size || !mkdtemp(path))
		bench_die("no directory in %s: %s", bench_file_dir(), strerror(errno));
}

void bench_file_dir_remove(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	while (dir && (entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(path);
}

void bench_chunks_begin(struct bench_chunks *chunks)
{
	chunks->count = 0;
	chunks->start_ns = bench_now_ns();
}

void bench_chunks_mark(struct bench_chunks *chunks)
{
	const int64_t now = bench_now_ns();
	if (chunks->count == BENCH_CHUNKS_MAX)
		bench_die("too many chunks");
	chunks->ns[chunks->count++] = (double)(now - chunks->start_ns) / BENCH_CHUNK_ROUNDS;
	chunks->start_ns = bench_now_ns();
}

double bench_chunks_end(struct bench_chunks *chunks)
{
	bench_sort(chunks->ns, chunks->count);
	return bench_percentile(chunks->ns, chunks->count, 0.5);
}

void bench_gate_wait(struct bench_gate *gate)
{
	while (!__atomic_exchange_n(&gate->open, 0, __ATOMIC_ACQUIRE))
		syscall(SYS_futex, &gate->open, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}

void bench_gate_open(struct bench_gate *gate)
{
	__atomic_store_n(&gate->open, 1, __ATOMIC_RELEASE);
	syscall(SYS_futex, &gate->open, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* ---- Smallest useful task ----------------------------------------------------------------- */

struct point {
	double iterations;
	double efficiency;
	double grain_ns; /* processor time per task */
};

/* The best of five: a disturbed calibration would make every engine look better than it is. */
static double iteration_ns(void)
{
	const uint32_t iterations = 1000000;
	double best = 1e9;
	for (int i = 0; i < 5; i++) {
		const int64_t start = bench_now_ns();
		bench_grain_work(iterations);
		const double ns = (double)(bench_now_ns() - start) / iterations;
		best = ns < best ? ns : best;
	}
	return best;
}

/* `task_ns`: what a task of the point before took, 0 at the first. */
static struct point measure(const struct bench_grain *grain, double unit_ns, double iterations,
                            double task_ns, bool *ok)
{
	/* About 20 ms of useful work per CPU: long enough for the clock, short enough to search. */
	const double budget_ns = bench_tiny() ? 200e3 : 20e6;
	double tasks = budget_ns * grain->threads / (iterations * unit_ns);
	const double most = bench_tiny() ? 2000 : (double)grain->tasks_max;
	tasks = tasks > most ? most : tasks;
	/* An engine that needs tens of microseconds a task must not take minutes either. */
	if (task_ns > 0 && tasks * task_ns > 10 * budget_ns * grain->threads)
		tasks = 10 * budget_ns * grain->threads / task_ns;
	uint64_t count = (uint64_t)tasks / grain->tasks_unit * grain->tasks_unit;
	count = count < grain->tasks_unit ? grain->tasks_unit : count;

	int64_t wall_ns = 1;
	if (!grain->run(grain->arg, (uint32_t)iterations, count, &wall_ns))
		*ok = false;
	const double cpu_ns = (double)wall_ns * grain->threads;
	return (struct point){
		.iterations = iterations,
		.efficiency = (double)count * iterations * unit_ns / cpu_ns,
		.grain_ns = cpu_ns / (double)count,
	};
}

/*
 * Double the task until half the peak is reached, then close in on the crossing. When it is
 * never reached (a machine that others use), the largest task tried stands for the answer: a
 * lower bound.
 */
double bench_grain_search(const struct bench_grain *grain, bool *ok)
{
	/* Some 0.3 ms a task. Nobody chooses an engine that needs larger ones. */
	const double iterations_max = bench_tiny() ? 1e4 : 262144;
	const double unit_ns = iteration_ns();
	struct point below = { 0, 0, 0 };
	/* A first look at a few tasks, so that a slow engine is not asked for the full count. */
	struct bench_grain few = *grain;
	few.tasks_max = few.tasks_max < 1000 ? few.tasks_max : 1000;
	struct point above = measure(&few, unit_ns, 16, 0, ok);
	above = measure(grain, unit_ns, 16, above.grain_ns, ok);
	while (above.efficiency < 0.5 && above.iterations < iterations_max && *ok) {
		below = above;
		above = measure(grain, unit_ns, above.iterations * 2, below.grain_ns, ok);
	}
	for (int step = 0; step < 3 && below.iterations > 0 && *ok; step++) {
		const double middle = sqrt(below.iterations * above.iterations);
		const struct point p = measure(grain, unit_ns, floor(middle), above.grain_ns, ok);
		if (p.efficiency < 0.5)
			below = p;
		else
			above = p;
	}
	const double span = above.efficiency - below.efficiency;
	if (below.iterations <= 0 || above.efficiency < 0.5 || span <= 0)
		return above.grain_ns;
	const double part = (0.5 - below.efficiency) / span;
	return exp(log(below.grain_ns) + part * (log(above.grain_ns) - log(below.grain_ns)));
}
