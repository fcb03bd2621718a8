/*
 * sort.h: what the files of weft-sort share: options, the layout of one job, the journal of its
 * stages, and the doors of each file.
 *
 * A job is one flow of tasks. Its struct is written before the first task is submitted and only
 * read afterwards, except the journal, which says its own rules. All data between stages travels
 * through references.
 */
#ifndef WEFT_SORT_H
#define WEFT_SORT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <weft.h>

#include "atomic.h"
#include "check.h"
#include "radix.h"

/* ---- Exit codes and options (options.c) -------------------------------------------- */

enum wf_sort_exit {
	WF_SORT_DONE = 0, /* sorted and checked */
	WF_SORT_FAILED = 1,
	WF_SORT_USAGE = 2,
	WF_SORT_INTERRUPTED = 130 /* by SIGINT or SIGTERM */
};

struct wf_sort_options {
	const char *input;  /* NULL with --demo */
	const char *output; /* may be NULL with --demo */
	const char *trace;  /* NULL: none */
	const char *dir;    /* of the demo's files; never NULL with --demo */
	uint64_t demo_bytes;
	uint64_t seed; /* of the demo's records */
	uint32_t record_bytes;
	uint32_t key_offset;
	uint32_t key_bytes;
	uint32_t threads; /* 0: what the runtime finds */
	bool demo, skew, keep, check, compare, json, quiet, sync;
};

/*
 * Read the command line. Returns true to go on; false to end the program with `*exit_code`,
 * after the help or one line about what is wrong was printed.
 */
bool wf_sort_options_read(int argc, char **argv, struct wf_sort_options *options, int *exit_code);

/* One line "weft-sort: ..." on stderr. */
void wf_sort_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- Journal: what each stage did (journal.c) -------------------------------------- */

enum wf_sort_stage {
	WF_SORT_STAGE_GENERATE = 0,
	WF_SORT_STAGE_SAVE,
	WF_SORT_STAGE_READ,
	WF_SORT_STAGE_SPLITTERS,
	WF_SORT_STAGE_SCATTER,
	WF_SORT_STAGE_PLAN,
	WF_SORT_STAGE_REGROUP,
	WF_SORT_STAGE_SORT,
	WF_SORT_STAGE_WRITE,
	WF_SORT_STAGE_VERIFY,
	WF_SORT_STAGE_CHECK,
	WF_SORT_STAGE_FLOOR,
	WF_SORT_STAGE_COMPARE,
	WF_SORT_STAGES
};

#define WF_SORT_EVENTS_MAX (1u << 18) /* later ones are counted and left out of the trace */

struct wf_sort_event {
	int64_t begin_ns, end_ns;
	uint64_t bytes;
	int32_t worker;
	uint32_t stage;
};

struct wf_sort_stage_sum {
	struct wf_a64 tasks, bytes, cpu_ns, begin_ns, end_ns;
};

/* When a task began, and what its thread had used of a CPU by then. */
struct wf_sort_time {
	int64_t wall_ns, cpu_ns;
};
struct wf_sort_time wf_sort_time_now(void);

/*
 * Shared: every word is added to by any task and read by the main thread, for the progress bar at
 * any time and for the report after all tasks have ended. events[i] is written by the one task
 * that took index i and read after all have ended.
 */
struct wf_sort_journal {
	struct wf_sort_stage_sum stages[WF_SORT_STAGES];
	struct wf_a64 event_count;
	struct wf_sort_event *events; /* NULL: no trace was asked for */
};

int wf_sort_journal_init(struct wf_sort_journal *journal, bool trace);
void wf_sort_journal_fini(struct wf_sort_journal *journal);
/*
 * A task of `stage` that began at `begin` ends now and has moved `bytes`. In a task that has not
 * suspended in between: CPU time belongs to the thread.
 */
void wf_sort_journal_add(struct wf_sort_journal *journal, const weft_task *self,
                         enum wf_sort_stage stage, struct wf_sort_time begin, uint64_t bytes);
const char *wf_sort_stage_name(enum wf_sort_stage stage);
/* First begin to last end, in seconds; 0 when the stage had no task. */
double wf_sort_stage_seconds(const struct wf_sort_journal *journal, enum wf_sort_stage first,
                             enum wf_sort_stage last);
/* Write a Chrome/Perfetto timeline. 0 or a negated errno. */
int wf_sort_journal_write(const struct wf_sort_journal *journal, const char *path,
                          uint64_t *left_out);

/* ---- The job ----------------------------------------------------------------------- */

#define WF_SORT_BLOCK_BYTES (256u << 10) /* of one pread: stays in a core's own cache */

struct wf_sort_layout {
	uint64_t bytes, records;
	uint32_t record_bytes, key_offset, key_bytes;
	uint32_t chunk_count;     /* read tasks */
	uint64_t chunk_records;   /* in each but the last */
	uint32_t partition_count; /* aimed at; a power of two */
	uint64_t leaf_records;    /* aimed at in one sort task */
	uint32_t slice_count;     /* verify tasks */
	uint64_t slice_records;
	uint32_t block_records; /* of one pread, at least 1 */
};

struct wf_sort_job {
	weft *rt;
	struct wf_sort_layout layout;
	struct wf_sort_journal *journal;
	const char *input_name, *output_name; /* for messages */
	int input_fd, output_fd;
	bool check;
};

/* What a finished job says about itself. */
struct wf_sort_result {
	uint64_t records;
	uint64_t checksum; /* sum of the record hashes, equal for input and output */
};

/* Cut `bytes` into chunks, partitions and slices. 0, or -EFBIG. */
int wf_sort_layout_init(struct wf_sort_layout *layout, uint64_t bytes,
                        const struct wf_sort_options *options);
/* Bytes of memory that the job will need at its peak, roughly and from above. */
uint64_t wf_sort_layout_memory(const struct wf_sort_layout *layout, uint32_t workers, bool check);

/*
 * The sort as one task (pipeline.c): reads the input, sorts, writes the output, verifies it. Its
 * argument is a struct wf_sort_job pointer, its value a struct wf_sort_result.
 */
int wf_sort_root(weft_task *self);

/* ---- Shared by the stages (pipeline.c) --------------------------------------------- */

/* One sort task's share of the output. */
struct wf_sort_leaf {
	weft_ref order; /* with --check: locations in output order; else none */
	uint64_t first_record;
	uint64_t records;
};

/* A growing list of refs that are owned by it. */
struct wf_sort_refs {
	weft_ref *refs;
	size_t count, capacity;
};
int wf_sort_refs_add(struct wf_sort_refs *list, weft_ref ref);
int wf_sort_refs_add_many(struct wf_sort_refs *list, const weft_ref *refs, size_t n);
void wf_sort_refs_fini(weft *rt, struct wf_sort_refs *list);
/* Wait for all. On a failure end the calling task with the text of its first cause. May suspend. */
int wf_sort_refs_wait(weft_task *self, const struct wf_sort_refs *list);
/* The innermost text of why `ref` failed with `status`; borrowed as weft_ref_error() says. */
const char *wf_sort_cause(weft *rt, weft_ref ref, int status);

/* End a task because a call about a file failed; `status` is a negated errno. */
int wf_sort_fail_file(weft_task *self, const char *name, int status);

/* Write task (pipeline.c): input 0 goes to `fd` at `offset`. */
struct wf_sort_write {
	const struct wf_sort_job *job;
	const char *name;
	int fd;
	int stage;
	uint64_t offset;
};
int wf_sort_write_body(weft_task *self);

/* ---- One level of partitioning (level.c) ------------------------------------------- */

#define WF_SORT_PARTITIONS_MAX 1024
#define WF_SORT_LEVELS_MAX     64 /* beyond it a partition is sorted by one task */

/*
 * What one level splits: pieces that hold, in input order, one key word per record. At the top
 * level piece i is the key array of chunk i (stride 1, locations implied); below it an array of
 * entries (stride 2).
 */
struct wf_sort_level {
	const struct wf_sort_job *job;
	const weft_ref *pieces; /* the array is borrowed, the counts are consumed */
	const weft_ref *chunks; /* borrowed; all chunks of the job */
	uint32_t piece_count;
	uint32_t stride;
	uint32_t word;         /* of the key, that the pieces hold */
	uint32_t depth;        /* 0 at the top */
	uint64_t first_record; /* of the output */
	uint64_t records;
};

/*
 * Partition, sort and write one level. Waits until all of it is written; then `*leaves` (owned,
 * wf_free() it) lists its sort tasks in output order, with a count of each order ref.
 * Context: in a task; may suspend. On failure the task has failed and its code is returned.
 */
int wf_sort_level_run(weft_task *self, const struct wf_sort_level *level,
                      struct wf_sort_leaf **leaves, size_t *leaf_count);

/* ---- Partitions by splitters (splitters.c) ----------------------------------------- */

/*
 * The splitter table, value of the splitters task: `count` = 2^log - 1 sorted words, also as a
 * search tree, and which of them are heavy. Bucket 2i holds the keys between splitters i - 1 and
 * i; bucket 2i - 1 those that equal the heavy splitter i - 1. Splitters that are not heavy count
 * to the bucket above them.
 */
struct wf_sort_splitters {
	uint32_t count;
	uint32_t log;
	uint64_t tree[WF_SORT_PARTITIONS_MAX]; /* children of i are 2i and 2i + 1, root 1 */
	uint64_t sorted[WF_SORT_PARTITIONS_MAX];
	uint8_t heavy[WF_SORT_PARTITIONS_MAX];
};

static inline uint32_t wf_sort_bucket_count(const struct wf_sort_splitters *splitters)
{
	return 2 * splitters->count + 1;
}

/* Choose splitters for `partitions` (a power of two) from a sorted sample. */
void wf_sort_splitters_init(struct wf_sort_splitters *splitters, uint32_t partitions,
                            const struct wf_sort_entry *sample, size_t n);

/* From the leaf `at` that a search for `key` ended in to its bucket. */
static inline uint32_t wf_sort_bucket_of_leaf(const struct wf_sort_splitters *s, uint32_t at,
                                              uint64_t key)
{
	at -= s->count + 1; /* now the number of splitters <= key */
	return 2 * at - (at && s->heavy[at - 1] && s->sorted[at - 1] == key);
}

/* Bucket of a key: a search without a branch that depends on it. */
static inline uint32_t wf_sort_bucket(const struct wf_sort_splitters *s, uint64_t key)
{
	uint32_t at = 1;

	for (uint32_t i = 0; i < s->log; i++)
		at = 2 * at + (key >= s->tree[at]);
	return wf_sort_bucket_of_leaf(s, at, key);
}

/* Bodies of the splitters and scatter tasks; see splitters.c for their inputs. */
struct wf_sort_split {
	const struct wf_sort_job *job;
	uint32_t stride;
	uint32_t partitions;
	uint32_t index; /* of the piece: its chunk, when stride is 1 */
};
int wf_sort_splitters_body(weft_task *self);
int wf_sort_scatter_body(weft_task *self);
/* Value of a scatter task: bucket b is entries[start[b] .. start[b + 1]). */
static inline const uint64_t *wf_sort_scatter_start(const void *value)
{
	return value;
}
static inline size_t wf_sort_scatter_header(uint32_t buckets)
{
	return (((size_t)buckets + 1) * sizeof(uint64_t) + 63) / 64 * 64;
}

/* ---- Checks (verify.c) ------------------------------------------------------------- */

/* Hash of one record: the checksum of a file is the sum over its records, in any order. */
uint64_t wf_sort_hash(const uint8_t *record, size_t n);
/* Read the output again: order and checksum. Refs of the tasks' sums are added to `sums`. */
int wf_sort_verify_submit(const struct wf_sort_job *job, struct wf_sort_refs *sums);
/* --check: each output record is the very input record it was, equal keys in input order. */
int wf_sort_check_submit(const struct wf_sort_job *job, const weft_ref *chunks,
                         const struct wf_sort_leaf *leaves, size_t leaf_count,
                         struct wf_sort_refs *done);

/* ---- Demo, floor and competitor (generate.c, floor.c, compare.c) ------------------- */

/* Generate the demo's records into `job->input_fd`. Value: struct wf_sort_result. Arg as root. */
struct wf_sort_generate {
	const struct wf_sort_job *job;
	uint64_t seed;
	bool skew;
};
int wf_sort_generate_root(weft_task *self);

/* Read all into memory, copy it there and write it to `fd`, with the same threads. Value: empty. */
struct wf_sort_floor {
	const struct wf_sort_job *job;
	int fd;
};
int wf_sort_floor_root(weft_task *self);

/* Compare two files; every record must be one line. Value: empty. */
struct wf_sort_same {
	const struct wf_sort_job *job;
	int fd, other_fd; /* other_fd -1: only check that the records are lines */
};
int wf_sort_same_root(weft_task *self);

struct wf_sort_peer {
	double seconds;
	bool identical;
};
/*
 * Run sort(1) on `input` into `output`, both existing files. 0, or a negated errno: -ENOENT it is
 * not installed, -EINTR interrupted, -EIO it failed (it has said why itself).
 */
int wf_sort_peer_run(const char *input, const char *output, const char *dir,
                     const struct wf_sort_layout *layout, uint32_t threads,
                     struct wf_sort_peer *peer);

/* ---- Files and memory (file.c) ----------------------------------------------------- */

/* Read or write exactly `n` bytes. 0, a negated errno, or -ENODATA when the file ends early. */
int wf_sort_pread(int fd, void *data, size_t n, uint64_t offset);
int wf_sort_pwrite(int fd, const void *data, size_t n, uint64_t offset);

/* Open a regular file for reading. Complains and returns -1, or the descriptor. */
int wf_sort_open_input(const char *path, uint64_t *bytes);
/*
 * A file that is not there under its final name yet. `path` is final, `temporary` beside it.
 * Temporaries still there at exit are removed by wf_sort_output_drop().
 */
struct wf_sort_output {
	char path[4096];
	char temporary[4096 + 32];
	int fd; /* -1: not open */
};
/* Complains and returns false when it cannot be made. `bytes` of room are reserved. */
bool wf_sort_output_open(struct wf_sort_output *output, const char *path, uint64_t bytes);
bool wf_sort_output_publish(struct wf_sort_output *output, bool sync);
void wf_sort_output_drop(struct wf_sort_output *output);

uint64_t wf_sort_memory_available(void); /* bytes; UINT64_MAX when it cannot be known */
uint64_t wf_sort_memory_peak(void);      /* VmHWM; 0 when it cannot be known */

/* ---- Signals and progress (main.c, report.c) --------------------------------------- */

/* Set by the signal handler and read by the main thread. */
extern volatile sig_atomic_t wf_sort_interrupted;
extern volatile sig_atomic_t wf_sort_child; /* process id of a running peer, 0: none */

struct wf_sort_report {
	const struct wf_sort_options *options;
	const struct wf_sort_layout *layout;
	const struct wf_sort_journal *journal;
	uint32_t workers;
	uint64_t checksum;
	double sort_seconds;  /* read to written, without verification */
	double total_seconds; /* with verification */
	double floor_seconds; /* 0: not measured */
	uint64_t peak_bytes;
	const struct wf_sort_peer *peer; /* NULL: not run */
};
void wf_sort_report_text(const struct wf_sort_report *report, FILE *out);
void wf_sort_report_json(const struct wf_sort_report *report, FILE *out);

/* Draw one line of progress on stderr when that is a terminal, and wipe it. */
void wf_sort_progress(const struct wf_sort_journal *journal, const struct wf_sort_layout *layout);
void wf_sort_progress_end(void);

#endif /* WEFT_SORT_H */
