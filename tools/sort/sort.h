/*
 * sort.h: what the files of weft-sort share: options, the layout of one job, the journal of its
 * stages, and the doors of each file.
 *
 * A job is one flow of tasks. Its struct is written before the first task is submitted and only
 * read afterwards, except the journal, which says its own rules. All data between stages travels
 * through references; what does not fit into the job's memory is spilled by the store behind them.
 */
#ifndef WEFT_SORT_H
#define WEFT_SORT_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <weft.h>
#include <weft_cuda.h>

#include "atomic.h"
#include "check.h"
#include "radix.h"
#include "splitters.h"

/* ---- Exit codes and options (options.c) -------------------------------------------- */

enum wf_sort_exit {
	WF_SORT_DONE = 0, /* sorted and checked */
	WF_SORT_FAILED = 1,
	WF_SORT_USAGE = 2,
	WF_SORT_INTERRUPTED = 130 /* by SIGHUP, SIGINT or SIGTERM */
};

#define WF_SORT_MEMORY_MIN ((uint64_t)4000000)

struct wf_sort_options {
	const char *input;     /* NULL with --demo */
	const char *output;    /* may be NULL with --demo */
	const char *trace;     /* NULL: none */
	const char *dir;       /* of the demo's files; never NULL with --demo */
	const char *spill_dir; /* never NULL */
	uint64_t demo_bytes;
	uint64_t memory; /* 0: half of what is available, at least WF_SORT_MEMORY_MIN */
	uint64_t seed;   /* of the demo's records */
	uint32_t record_bytes;
	uint32_t key_offset;
	uint32_t key_bytes;
	uint32_t threads; /* 0: what the runtime finds */
	bool demo, lines, skew, keep, check, compare, floor, json, quiet, sync, gpu;
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
	WF_SORT_STAGE_CUT,
	WF_SORT_STAGE_SAMPLE,
	WF_SORT_STAGE_SPLITTERS,
	WF_SORT_STAGE_READ,
	WF_SORT_STAGE_GPU,
	WF_SORT_STAGE_PARTITION,
	WF_SORT_STAGE_SORT,
	WF_SORT_STAGE_WRITE,
	WF_SORT_STAGE_VERIFY,
	WF_SORT_STAGE_CHECK,
	WF_SORT_STAGE_DISK,
	WF_SORT_STAGE_FLOOR_READ,
	WF_SORT_STAGE_FLOOR_WRITE,
	WF_SORT_STAGE_GPU_COPIES,
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
/* The time since `begin` belongs to a task of `stage` that goes on: it is about to suspend. */
void wf_sort_journal_part(struct wf_sort_journal *journal, enum wf_sort_stage stage,
                          struct wf_sort_time begin);
const char *wf_sort_stage_name(enum wf_sort_stage stage);
/* First begin to last end, in seconds; 0 when the stage had no task. */
double wf_sort_stage_seconds(const struct wf_sort_journal *journal, enum wf_sort_stage first,
                             enum wf_sort_stage last);
/* Write a Chrome/Perfetto timeline. 0 or a negated errno. */
int wf_sort_journal_write(const struct wf_sort_journal *journal, const char *path,
                          uint64_t *left_out);

/* ---- The job ----------------------------------------------------------------------- */

#define WF_SORT_BLOCK_BYTES    (256u << 10) /* of one pread: stays in a core's own cache */
#define WF_SORT_WINDOW_MAX     256
#define WF_SORT_LINE_PAD       8 /* bytes behind the last line of a piece, see radix.h */

struct wf_sort_layout {
	uint64_t bytes;        /* of the input */
	uint64_t output_bytes; /* one more when the last line has no newline */
	uint64_t records;      /* 0 with lines: not known before */
	bool lines;
	uint32_t record_bytes, key_offset, key_bytes; /* of lines: 1, 0, 0 */
	uint64_t store_bytes;                         /* memory of all objects */
	uint32_t window;      /* tasks with large objects under way at once */
	uint64_t chunk_bytes; /* of one partition task, aimed at */
	uint32_t chunk_count;
	uint64_t piece_bytes; /* of an object behind it: not smaller if there is a choice */
	uint64_t leaf_target; /* memory of one sort task, aimed at, as wf_sort_leaf_memory() */
	uint64_t leaf_most;   /* beyond it a partition is split again */
	uint64_t slice_bytes; /* of one verify task, whole records */
	uint32_t slice_count;
};

/* What a sort task needs for so many bytes in so many records: they, the result, the entries. */
static inline uint64_t wf_sort_leaf_memory(uint64_t bytes, uint64_t records)
{
	return 2 * bytes + 2 * sizeof(struct wf_sort_entry) * records;
}

/* A file that tasks write to: `direct` bypasses the page cache, -1: there is no such descriptor. */
struct wf_sort_sink {
	const char *name; /* for messages */
	int fd, direct;
};

struct wf_sort_job {
	weft *rt;
	struct wf_sort_layout layout;
	struct wf_sort_journal *journal;
	const char *input_name; /* for messages */
	int input_fd;
	struct wf_sort_sink output;
	struct wf_sort_gpu *gpu; /* NULL: the CPUs partition */
	bool check;
};

/* What a finished job, or a part of it, says about itself. */
struct wf_sort_result {
	uint64_t records;
	uint64_t checksum; /* sum of the record hashes, equal for input and output */
};

struct wf_sort_done {
	struct wf_sort_result result;
	uint64_t spilled_bytes, restored_bytes; /* until the output was written */
};

/*
 * Cut the job into chunks, partitions and slices (layout.c). `bytes` of input, `unended`: the last
 * line has no newline. `store_bytes` of memory for `workers`.
 */
void wf_sort_layout_init(struct wf_sort_layout *layout, uint64_t bytes, bool unended,
                         uint64_t store_bytes, uint32_t workers,
                         const struct wf_sort_options *options);
/* How many partitions a level makes of so much. */
uint32_t wf_sort_layout_partitions(const struct wf_sort_layout *layout, uint64_t bytes,
                                   uint64_t records);

/*
 * The sort as one task (pipeline.c): reads the input, sorts, writes the output, verifies it. Its
 * argument is a struct wf_sort_job pointer, its value a struct wf_sort_done.
 */
int wf_sort_root(weft_task *self);

/* ---- Shared by the stages (tasks.c) ------------------------------------------------- */

/* A growing list of refs that are owned by it. */
struct wf_sort_refs {
	weft_ref *refs;
	size_t count, capacity;
};
int wf_sort_refs_add(struct wf_sort_refs *list, weft_ref ref);
int wf_sort_refs_add_many(struct wf_sort_refs *list, const weft_ref *refs, size_t n);
void wf_sort_refs_fini(weft *rt, struct wf_sort_refs *list);

/*
 * Tasks under way, waited for in the order of their submits. The room of a window is the bound on
 * memory: a stage submits its next task when its oldest has ended, so only as many as fit hold
 * large objects at once. `done`, when not NULL, gets each value in order; `arg` is its own.
 */
struct wf_sort_window {
	weft_task *self; /* that waits */
	uint32_t room, first, count;
	int (*done)(void *arg, const struct weft_view *value);
	void *arg;
	weft_ref refs[WF_SORT_WINDOW_MAX];
};
void wf_sort_window_init(struct wf_sort_window *window, weft_task *self, uint32_t room);
/*
 * Submit, once there is room. `out`, when not NULL, is for the refs of all outputs, owned; the
 * window watches the first of them. On a failure, of the oldest or of the submit, `self` has failed
 * and the code is returned. May suspend.
 */
int wf_sort_window_submit(struct wf_sort_window *window, const struct weft_call *call,
                          weft_ref *out);
/* Wait until there is room, so that a chain of tasks whose last one is watched can be submitted. */
int wf_sort_window_wait(struct wf_sort_window *window);
/* Wait for all. As above. */
int wf_sort_window_drain(struct wf_sort_window *window);
/* Wait for none: after a failure. */
void wf_sort_window_fini(struct wf_sort_window *window);

/* The innermost text of why `ref` failed with `status`; borrowed as weft_ref_error() says. */
const char *wf_sort_cause(weft *rt, weft_ref ref, int status);
/* Whether that was for want of room in the store. */
bool wf_sort_lacked_room(weft *rt, weft_ref ref);
/* End a task because a call about a file failed; `status` is a negated errno. */
int wf_sort_fail_file(weft_task *self, const char *name, int status);
/* End a task because there was no room in the store or no memory. */
int wf_sort_fail_room(weft_task *self, int status, const char *what);
/* `bytes` of the store to work in, for weft_discard(). On failure the task has failed. */
int wf_sort_room(weft_task *self, size_t bytes, struct weft_buffer *room);

/* Write task: input 0, without its first `skip` bytes, goes to `sink` at `offset`. */
struct wf_sort_write {
	const struct wf_sort_job *job;
	const struct wf_sort_sink *sink;
	int stage;
	uint32_t skip;
	uint64_t offset;
};
/* Submit one. A write past the page cache takes no CPU, so the others get the slot meanwhile. */
int wf_sort_write_submit(struct wf_sort_window *window, const struct wf_sort_write *write,
                         weft_ref data);

/* ---- Records ------------------------------------------------------------------------ */

/* Bytes of the record at `at`, with its newline. */
static inline size_t wf_sort_record_size(const struct wf_sort_layout *layout, const uint8_t *at)
{
	if (!layout->lines)
		return layout->record_bytes;
	return (size_t)((const uint8_t *)rawmemchr(at, '\n') - at) + 1;
}

/* Bytes of the key of a record of `size`. */
static inline size_t wf_sort_key_size(const struct wf_sort_layout *layout, size_t size)
{
	return layout->lines ? size - 1 : layout->key_bytes;
}

/* Order of two whole records. */
static inline int wf_sort_compare(const struct wf_sort_layout *layout, const uint8_t *a,
                                  size_t a_size, const uint8_t *b, size_t b_size)
{
	size_t n = wf_sort_key_size(layout, a_size), m = wf_sort_key_size(layout, b_size);
	int order = memcmp(a + layout->key_offset, b + layout->key_offset, n < m ? n : m);

	return order ? order : n < m ? -1 : n > m;
}

/* An object full of records, or a range of the input. */
struct wf_sort_piece {
	weft_ref ref; /* none: the range */
	uint64_t bytes, records;
	uint64_t offset;
};
struct wf_sort_pieces {
	struct wf_sort_piece *list;
	size_t count, capacity;
	uint64_t bytes, records; /* of all; 0 records: not known */
};
int wf_sort_pieces_add(struct wf_sort_pieces *pieces, struct wf_sort_piece piece);
void wf_sort_pieces_fini(weft *rt, struct wf_sort_pieces *pieces);

/* Stretches of memory with whole records. */
struct wf_sort_span {
	const uint8_t *data;
	size_t bytes;
};

/*
 * The ranges of the input, one for each partition task (input.c): value of the cut task, whose
 * argument is a job pointer. A range holds whole records.
 */
struct wf_sort_range {
	uint64_t offset, bytes;
};
int wf_sort_cut_body(weft_task *self);
/*
 * Read a range to `to`, with a newline for a line that has none: `bytes` is then one more than the
 * file has. WF_SORT_LINE_PAD bytes behind it are cleared.
 */
int wf_sort_read_range(weft_task *self, const struct wf_sort_job *job, uint64_t offset,
                       uint64_t bytes, uint8_t *to);

/* ---- Partitions by splitters (splitters.c) ----------------------------------------- */

/* A key as splitters see it: from the level's prefix on, and only so far. */
struct wf_sort_sample {
	uint32_t size;
	uint32_t record_bytes; /* of the record it was taken from, 0: there was none */
	uint8_t key[WF_SORT_KEY_CAP];
};

/* In a bucket of equals keys are equal, or they are as far as the splitter saw them. */
enum wf_sort_equals { WF_SORT_EQUAL_NOT = 0, WF_SORT_EQUAL_KEYS, WF_SORT_EQUAL_PREFIXES };

/* Choose splitters for `partitions` of samples in order. */
void wf_sort_splitters_init(struct wf_sort_splitters *splitters,
                            const struct wf_sort_layout *layout, uint32_t prefix,
                            uint32_t partitions, const struct wf_sort_sample *const *samples,
                            size_t n);
/* Bucket of a record of `size` bytes. */
uint32_t wf_sort_bucket(const struct wf_sort_splitters *splitters,
                        const struct wf_sort_layout *layout, const uint8_t *record, size_t size);
/* Buckets of all records of a stretch of `bytes`, into `ids`. Returns how many records. */
size_t wf_sort_classify(const struct wf_sort_splitters *splitters,
                        const struct wf_sort_layout *layout, const uint8_t *at, size_t bytes,
                        uint16_t *ids);

/*
 * Sample task: argument this, inputs the pieces of the level that it looks at (none at the top:
 * then the file). Value: array of struct wf_sort_sample.
 */
struct wf_sort_draw {
	const struct wf_sort_job *job;
	uint32_t prefix, wanted, seed;
};
int wf_sort_sample_body(weft_task *self);
/* Splitters task: argument this, inputs the samples. Value: struct wf_sort_splitters. */
struct wf_sort_split {
	const struct wf_sort_job *job;
	uint32_t prefix;
	uint64_t bytes, records; /* of the level; 0 records: not known */
};
int wf_sort_splitters_body(weft_task *self);

/* ---- One level of partitioning (partition.c, level.c, leaf.c) ----------------------- */

#define WF_SORT_LEVELS_MAX 64 /* beyond it a partition is sorted by one task */

/*
 * Partition task. Inputs: splitters, then the pieces; none: `range` of the file. Values: struct
 * wf_sort_parts, then one piece for each bucket.
 */
struct wf_sort_partition {
	const struct wf_sort_job *job;
	struct wf_sort_range range;
};
int wf_sort_partition_body(weft_task *self);
struct wf_sort_part {
	uint64_t bytes, records;
};
struct wf_sort_parts {
	struct wf_sort_result sum;  /* of all records; the checksum at the top level only */
	struct wf_sort_part part[]; /* of each bucket */
};

/* Sort task. Inputs: pieces. Values: the records in order behind `skip` bytes, their locations. */
struct wf_sort_leaf {
	const struct wf_sort_job *job;
	uint64_t bytes, records;
	uint32_t skip;
	uint32_t prefix; /* bytes that all keys have in common */
	bool sort;       /* false: the keys are equal, input order is the order */
};
int wf_sort_leaf_body(weft_task *self);

/* Everything a level has done, to be proven with --check (check.c). */
struct wf_sort_proof {
	bool is_leaf;
	struct wf_sort_partition partition; /* not of a leaf */
	uint64_t offset;                    /* of a leaf, in the output */
	/*
	 * Owned. Inputs of the partition task, of which there are `n_inputs`, then its pieces; or
	 * the pieces of a leaf, then its order.
	 */
	struct wf_sort_refs refs;
	uint32_t n_inputs;
};
struct wf_sort_proofs {
	struct wf_sort_proof *list;
	size_t count, capacity;
};
int wf_sort_check_run(weft_task *self, const struct wf_sort_job *job,
                      const struct wf_sort_proofs *proofs);
/* Takes the counts of `proof` over, also when it fails. */
int wf_sort_proofs_add(weft *rt, struct wf_sort_proofs *proofs, struct wf_sort_proof *proof);
void wf_sort_proofs_fini(weft *rt, struct wf_sort_proofs *proofs);

/* The run of a job: what all its levels share. */
struct wf_sort_run {
	weft_task *self;
	const struct wf_sort_job *job;
	struct wf_sort_window window;
	struct wf_sort_result sum; /* of the input */
	uint64_t written;          /* bytes of the output that have their tasks */
	struct wf_sort_proofs proofs;
};
/*
 * Partition, sort and write `pieces` (consumed), whose keys have `prefix` bytes in common. On
 * success all is submitted; what is still under way is in the window. On failure the task has
 * failed and its code is returned. May suspend.
 */
int wf_sort_level_run(struct wf_sort_run *run, struct wf_sort_pieces *pieces, uint32_t prefix,
                      uint32_t depth);

/* ---- Partitioning on GPUs (gpu.c) ---------------------------------------------------- */

/* Open the devices that there are. -ENODEV there is none; -errno as weft_cuda_open(). */
int wf_sort_gpu_devices(weft_cuda **out);
/*
 * Batches on the devices of `rt`, each of a chunk of `layout` at most. Close it after the runtime
 * and before the devices: a task of a job that has failed may still look at it.
 */
int wf_sort_gpu_open(struct wf_sort_gpu **out, weft *rt, weft_cuda *cuda,
                     const struct wf_sort_layout *layout);
void wf_sort_gpu_close(struct wf_sort_gpu *gpu);
const char *wf_sort_gpu_name(const struct wf_sort_gpu *gpu); /* borrowed until the close */

/* Partition task: as wf_sort_partition_body(). With the options for 2^outputs_log outputs. */
int wf_sort_gpu_partition_body(weft_task *self);
const struct weft_task_options *wf_sort_gpu_options(const struct wf_sort_gpu *gpu,
                                                    uint32_t outputs_log);
/* Whether one of them can ever have what it needs there; else `self` has failed. */
int wf_sort_gpu_fits(weft_task *self, const struct wf_sort_gpu *gpu, uint32_t outputs_log);

/* As many batches up and down again, and nothing else: what the GPU stage cannot be faster than. */
int wf_sort_gpu_bound_root(weft_task *self);

/* ---- Checks (verify.c) ------------------------------------------------------------- */

/* Hash of one record: the checksum of a file is the sum over its records, in any order. */
uint64_t wf_sort_hash(const uint8_t *record, size_t n);
/* Read the output again: order and checksum, into `*sum`. On failure `self` has failed. */
int wf_sort_verify_run(weft_task *self, const struct wf_sort_job *job, struct wf_sort_result *sum);

/* ---- Demo, floor and competitor (generate.c, floor.c, compare.c) ------------------- */

/* Generate the demo's records into `sink`. Value: struct wf_sort_result. Arg as root. */
struct wf_sort_generate {
	const struct wf_sort_job *job;
	struct wf_sort_sink sink;
	uint32_t record_bytes, key_offset, key_bytes;
	uint64_t seed;
	bool skew;
};
int wf_sort_generate_root(weft_task *self);

/* Move the job's bytes as it has to, without looking at them, to `sink`. Value: the disk. */
struct wf_sort_floor {
	const struct wf_sort_job *job;
	const char *spill_dir;
	struct wf_sort_sink sink;
};
struct wf_sort_disk {
	double write_gbs, read_gbs; /* 0: not measured */
	double seconds;             /* of the floor */
	uint64_t spilled_bytes, restored_bytes;
};
int wf_sort_floor_root(weft_task *self);

/* Compare two files byte by byte. Value: empty. */
struct wf_sort_same {
	const struct wf_sort_job *job;
	int fd, other_fd; /* other_fd -1: only check that each record is a line */
	uint64_t bytes;
};
int wf_sort_same_root(weft_task *self);

struct wf_sort_peer {
	double seconds;
	bool identical;
};
/*
 * Run sort(1) on `input` into `output`, both existing files, with `memory`. 0, or a negated errno:
 * -ENOENT it is not installed, -EINTR interrupted, -EIO it failed (it has said why itself).
 */
int wf_sort_peer_run(const char *input, const char *output, const char *dir,
                     const struct wf_sort_layout *layout, uint32_t threads, uint64_t memory,
                     struct wf_sort_peer *peer);

/* ---- Files and memory (file.c) ----------------------------------------------------- */

/* Read or write exactly `n` bytes. 0, a negated errno, or -ENODATA when the file ends early. */
int wf_sort_pread(int fd, void *data, size_t n, uint64_t offset);
int wf_sort_pwrite(int fd, const void *data, size_t n, uint64_t offset);
/* The same, past the page cache where memory and offset allow it. */
int wf_sort_sink_write(const struct wf_sort_sink *sink, const void *data, size_t n,
                       uint64_t offset);

/* Open a regular file for reading. Complains and returns -1, or the descriptor. */
int wf_sort_open_input(const char *path, uint64_t *bytes);
/* Whether files can be made in `path`. Complains otherwise. */
bool wf_sort_probe_directory(const char *path);
/*
 * A file that is not there under its final name yet. `path` is final, `temporary` beside it.
 * Temporaries still there at exit are removed by wf_sort_output_drop().
 */
struct wf_sort_output {
	char path[4096];
	char temporary[4096 + 32];
	int fd;     /* -1: not open */
	int direct; /* -1: not open */
};
/*
 * Complains and returns false when it cannot be made. `bytes` of room are reserved. `direct`: it
 * is to be written past the page cache, if that is possible there.
 */
bool wf_sort_output_open(struct wf_sort_output *output, const char *path, uint64_t bytes,
                         bool direct);
bool wf_sort_output_publish(struct wf_sort_output *output, bool sync);
void wf_sort_output_drop(struct wf_sort_output *output);

uint64_t wf_sort_memory_available(void); /* bytes; a guess when it cannot be known */
uint64_t wf_sort_memory_private(void);   /* resident and not the store's; 0: cannot be known */

/* ---- Signals and progress (main.c, report.c) --------------------------------------- */

/* Set by the signal handler and read by the main thread. */
extern volatile sig_atomic_t wf_sort_interrupted;
extern volatile sig_atomic_t wf_sort_child; /* process id of a running peer, 0: none */

struct wf_sort_report {
	const struct wf_sort_options *options;
	const struct wf_sort_layout *layout;
	const struct wf_sort_journal *journal;
	uint32_t workers;
	uint64_t records;
	uint64_t checksum;
	double sort_seconds;  /* read to written, without verification */
	double total_seconds; /* with verification */
	uint64_t memory;      /* the budget */
	uint64_t peak_bytes;
	uint64_t spilled_bytes, restored_bytes; /* by the sort */
	const char *io;                         /* how, "" nothing was */
	const struct wf_sort_disk *disk;        /* NULL: the floor was not measured */
	const struct wf_sort_peer *peer;        /* NULL: not run */
	const char *gpu;                        /* its name, NULL: --gpu was not asked for */
};
void wf_sort_report_text(const struct wf_sort_report *report, FILE *out);
void wf_sort_report_json(const struct wf_sort_report *report, FILE *out);

/* Draw one line of progress on stderr when that is a terminal, and wipe it. */
void wf_sort_progress(const struct wf_sort_journal *journal, const struct wf_sort_layout *layout);
void wf_sort_progress_end(void);

#endif /* WEFT_SORT_H */
