/*
 * engine.h: the measuring side of the bench: one process per engine, row and batch.
 *
 * Protocol. `program ROW THREADS REPS` runs the row and prints one line per figure on stdout:
 *
 *	rep SERIES FIGURE SIZE ANSWER
 *
 * SERIES is "-" for the row itself, else the suffix of a second row ("_p99"). ANSWER is what the
 * engine computed on a problem of size SIZE; the harness knows what it must be. The exit status
 * is 0, 1 after an error (told on stderr), 2 for a usage error, 77 when the engine has no such
 * row.
 */
#ifndef BENCH_ENGINE_H
#define BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_EXIT_NO_ROW 77

struct bench_run {
	const char *row;
	uint32_t threads; /* worker threads of the engine */
	int reps;         /* figures to emit */
	int warmups;      /* untimed repetitions before them: rows loop from -warmups to reps */
};

struct bench_engine_row {
	const char *name;
	int (*fn)(const struct bench_run *run); /* 0, or 1 after a message on stderr */
};

int bench_engine_main(int argc, char **argv, const struct bench_engine_row *rows, size_t count);

/* Print one figure; repetitions below 0 are warm-ups and are not printed. */
void bench_emit(const struct bench_run *run, int rep, const char *series, double figure,
                uint64_t size, uint64_t answer);

int64_t bench_now_ns(void);
int64_t bench_process_cpu_ns(void);
/* Resident memory of this process. */
uint64_t bench_rss_bytes(void);
void bench_sleep_ns(int64_t ns);
/* Say what went wrong and end the process with status 1, also from an engine's thread. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
/* Zeroed and touched, on a line of its own; ends the process when there is no memory. */
void *bench_alloc(size_t bytes);
/* The same in 2 MiB pages, where the system has them to give; never given back. */
void *bench_alloc_huge(size_t bytes);
/* The directory of large files: $TMPDIR, else /var/tmp, as weft's own spill files. */
const char *bench_file_dir(void);
/* A new directory in it, and its end with all files in it. */
void bench_file_dir_make(char *path, size_t size);
void bench_file_dir_remove(const char *path);

/*
 * Rounds of a few nanoseconds, timed in chunks, so that a time slice given to somebody else spoils
 * one chunk and not the figure. begin, then mark after every BENCH_CHUNK_ROUNDS rounds, then end:
 * the median chunk's nanoseconds per round.
 */
#define BENCH_CHUNK_ROUNDS 500
#define BENCH_CHUNKS_MAX   512
struct bench_chunks {
	double ns[BENCH_CHUNKS_MAX];
	size_t count;
	int64_t start_ns;
};
void bench_chunks_begin(struct bench_chunks *chunks);
void bench_chunks_mark(struct bench_chunks *chunks);
double bench_chunks_end(struct bench_chunks *chunks);

/* ---- Hand-over to a thread that sleeps ---------------------------------------------------- */

/* For peers without a blocking wait of their own: a word that one side sets and one waits for. */
struct bench_gate {
	uint32_t open;
};
void bench_gate_wait(struct bench_gate *gate); /* and close it again */
void bench_gate_open(struct bench_gate *gate);

/* ---- Smallest useful task ----------------------------------------------------------------- */

/*
 * METG(50 %): the least average time a task may take, at half the machine's peak (Slaughter and
 * others, Task Bench, SC 2020). run() executes `tasks` tasks of `iterations` steps of
 * bench_grain_work(), says how long that took, and returns false for a wrong answer.
 */
struct bench_grain {
	bool (*run)(void *arg, uint32_t iterations, uint64_t tasks, int64_t *wall_ns);
	void *arg;
	uint32_t threads;
	uint64_t tasks_unit; /* tasks come in multiples of it */
	uint64_t tasks_max;
};
/* Nanoseconds of processor time per task at 50 %; `*ok` is false when an answer was wrong. */
double bench_grain_search(const struct bench_grain *grain, bool *ok);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_ENGINE_H */
