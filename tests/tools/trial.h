/*
 * trial.h: jobs of weft-sort for the tests of its flow: tiny, over unnamed files, with an oracle.
 */
#ifndef TEST_TRIAL_H
#define TEST_TRIAL_H

#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "seed.h"
#include "sort.h"

#define RECORDS_MAX 6000
#define STORE_BYTES ((uint64_t)4 << 20)

#if WF_TSAN || WF_ASAN
#define RANDOM_RUNS 6
#else
#define RANDOM_RUNS 25
#endif

#define EXPECT(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: expected: %s\n", __FILE__, __LINE__, #x); \
			exit(1); \
		} \
	} while (0)

extern uint64_t random_state;
uint64_t next_random(void);

/* Written while no runtime is open: errors in the log are no news. */
extern bool failures_are_expected;

/* Of weft_cuda_open(), for jobs that start from now on; NULL: the CPUs partition. */
extern const char *trial_devices;
extern int64_t trial_hang_ns; /* of weft_cuda_open() */

/* One job over two unnamed files. */
struct trial {
	weft_cuda *cuda;
	struct wf_sort_job job;
	struct wf_sort_journal journal;
	uint8_t *records;
};

void runtime_open(struct trial *trial);
void runtime_close(struct trial *trial);
/* `records` is there; `leaf` records in a sort task, 0: what the layout chooses. */
void trial_start(struct trial *trial, uint64_t bytes, bool unended,
                 const struct wf_sort_options *options, uint32_t leaf);
void trial_open(struct trial *trial, uint32_t records, uint32_t record_bytes, uint32_t key_offset,
                uint32_t key_bytes, uint32_t leaf);
/* Keys over `symbols` values; `hot` of 100 records have one and the same key. */
void fill(struct trial *trial, unsigned symbols, unsigned hot);
void trial_save(struct trial *trial);
void trial_close(struct trial *trial);

/* Run a root task; `text` gets the cause of a failure. */
int run_root(weft *rt, weft_task_fn *fn, const void *arg, char text[256]);
int run(struct trial *trial, char text[256]);
void expect_failure(struct trial *trial, const char *part);
/* The output is what a stable sort of `records` gives. */
void expect_sorted(const struct trial *trial);
uint64_t tasks_of(const struct trial *trial, enum wf_sort_stage stage);

#endif /* TEST_TRIAL_H */
