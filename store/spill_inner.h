/*
 * spill_inner.h: what the three files of the spill share: the jobs of the writing thread, the
 * slots of reads, and the lock over both.
 */
#ifndef WF_SPILL_INNER_H
#define WF_SPILL_INNER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base.h"
#include "record.h"
#include "segment.h"
#include "spill.h"
#include "sum.h"
#include "wf_io.h"

/* From here on an object is written straight from its place. */
#define WF_SPILL_DIRECT_MIN    ((uint64_t)1 << 20)

/*
 * Small objects are fused in buffers of this size: a block of a transfer. What flies together may
 * end together, so there are more of them than a lane takes: the others are filled meanwhile.
 */
#define WF_SPILL_STAGING_BYTES ((uint64_t)2 << 20)
#define WF_SPILL_STAGING_COUNT 6

/* Objects on their way straight from their places, and the detour for the end of each. */
#define WF_SPILL_DIRECT_COUNT  8
#define WF_SPILL_EDGE_BYTES    (2 * WF_RECORD_PAGE)

/* Objects being read, and the detour for what is not a whole page in the right place. */
#define WF_SPILL_READ_COUNT    16
#define WF_SPILL_DETOUR        WF_RECORD_PACKED_MAX
#define WF_SPILL_SLOT_BYTES    (WF_SPILL_DETOUR + WF_SPILL_EDGE_BYTES)
#define WF_SPILL_CHUNK_BYTES   ((uint64_t)2 << 20)
#define WF_SPILL_CHUNKS        4

/* Small records with less than this between them come by one transfer. Guessed. */
#define WF_SPILL_NEAR_BYTES    ((uint64_t)32 << 10)

struct wf_spill_job {
	struct wf_spill *spill;
	struct wf_spill_batch *batch; /* NULL: the job is idle */
	bool fused; /* of all small items in [first, last); else of item `first` */
	uint32_t first, last;
	uint32_t attempts;
	struct wf_extent extent;
	char *buffer;
	uint64_t edge_bytes; /* of a job that is not fused: in the buffer, behind whole pages */
	struct wf_io_request request;
	/* Under the lock while it is in flight, else of the writing thread. */
	bool flying;
	int status;
	struct wf_spill_job *next; /* in `finished` */
};

struct wf_spill_slot {
	struct wf_spill *spill;
	struct wf_spill_read *read;  /* with those that share its transfer, linked by private_ */
	struct wf_spill_read *again; /* failed once: each will be read once more, by itself */
	struct wf_segment_file file;
	char *detour;
	bool second;   /* the read has failed once */
	bool straight; /* the chunks go to their final place */
	/* The whole pages at the front, moved in chunks; 0: everything is in the edge. */
	uint64_t body, summed, submitted, chunk_bytes;
	uint64_t chunk_count; /* that may be in flight */
	struct wf_sum_state sum;
	/*
	 * By the detour: the rest of the bytes, and the header. Behind a body it comes with the
	 * last chunk, as its tail, and only says what lies where.
	 */
	struct wf_io_request edge;
	struct wf_io_request chunks[WF_SPILL_CHUNKS];
	/* Under the lock. */
	bool ready[WF_SPILL_CHUNKS];
	bool owned; /* a thread is summing */
	uint32_t flying;
	int status;
	const char *reason; /* of the first failure */
	struct wf_spill_slot *next;
};

struct wf_spill {
	struct wf_segments segments;
	struct wf_io *io;
	uint64_t session;
	char *memory; /* buffers of jobs and slots */
	uint64_t memory_bytes;
	struct wf_thread thread;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* the writing thread */
	bool stop, trim, sleeping;
	struct wf_spill_batch *first_batch, *last_batch; /* linked by private_ */
	struct wf_spill_job *finished;
	struct wf_spill_slot *free_slots;
	struct wf_spill_read *first_read, *last_read; /* waiting for a slot, linked by private_ */
	struct wf_spill_read *refused;                /* to be delivered with their status */
	struct wf_spill_stats stats;                  /* without what the segments count */
	/* Of the writing thread. */
	struct wf_spill_batch *batch; /* being cut into jobs */
	uint32_t at;                  /* the next item */
	bool fusing;                  /* second pass: the small ones */
	uint64_t refused_pages;       /* so many could not be had in this batch; 0: none */
	int refused_status;
	struct wf_spill_job jobs[WF_SPILL_DIRECT_COUNT + WF_SPILL_STAGING_COUNT];
	struct wf_spill_slot slots[WF_SPILL_READ_COUNT];
};

/* The whole life of the writing thread. */
void *wf_spill_writer(void *spill);
/* Wake it: the lock is held. */
void wf_spill_wake_locked(struct wf_spill *spill);

#endif /* WF_SPILL_INNER_H */
