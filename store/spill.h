/*
 * spill.h: objects in segment files. Writes batches of objects, reads one back and checks it,
 * gives room of deleted ones back. Knows nothing of states, pins or memory limits.
 */
#ifndef WF_SPILL_H
#define WF_SPILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base.h"
#include "wf_io.h"

/* 256 MiB, and the page of the header for each object of a round size from 1 MiB up. */
#define WF_SPILL_SEGMENT_BYTES ((uint64_t)257 << 20)
#define WF_SPILL_ALIGN         4096u
#define WF_SPILL_DIRS_MAX      16

struct wf_spill;

/* Where a record lies. segment == 0: nowhere. */
struct wf_spill_place {
	uint32_t segment; /* number of the file, from 1 */
	uint32_t page;    /* of 4096 bytes in it; small records share pages: see `skip` */
	uint32_t skip;    /* bytes from the page's start to the record's header */
	uint32_t reserved;
};

struct wf_spill_options {
	const char *const *dirs; /* at most WF_SPILL_DIRS_MAX, taken in turn */
	uint32_t dir_count;
	uint64_t budget_bytes;  /* of all files; 0: no bound but the disk's */
	uint64_t reserve_bytes; /* left free on each disk; 0: 1 GiB or a twentieth */
	uint64_t segment_bytes; /* 0: WF_SPILL_SEGMENT_BYTES; less for tests */
	uint64_t session;       /* in every record */
	struct wf_io *io;       /* borrowed until close */
	void (*log)(void *arg, int level, const char *text);
	void *log_arg;
};

/*
 * Open: find out what each directory can do (O_DIRECT, O_TMPFILE). Makes no segment yet.
 * Errors: -errno when no directory is usable (the log names each one's reason), -ENOMEM.
 */
int wf_spill_open(struct wf_spill **out, const struct wf_spill_options *options);
/* Nothing may be in flight. The files are gone. NULL is accepted. */
void wf_spill_close(struct wf_spill *spill);

/* One object to be written; the array and the bytes stay until the batch is done. */
struct wf_spill_item {
	const void *data; /* aligned to 64; may be read up to the next multiple of 4096 when
	                   * `padded` */
	bool padded;
	uint64_t size;
	uint64_t id;
	uint32_t generation;
	struct wf_spill_place place; /* result */
	int status;                  /* result: 0, or why this one was not written */
	void *arg;
};
struct wf_spill_batch {
	struct wf_spill_item *items;
	uint32_t count;
	/* On an I/O thread, once, when every item has its status. The batch may be freed there. */
	void (*done)(struct wf_spill_batch *batch);
	void *arg;
	void *private_; /* the room's own */
};
/*
 * Write a batch: objects of 4 MiB and more straight from their place, smaller ones fused through
 * a staging buffer. An item's status is 0 only after every byte of it was written. -ENOSPC: all
 * directories are full or the budget is used up; -EIO and others: that segment is not used again
 * and the item can be tried once more elsewhere (the room does so once by itself).
 */
void wf_spill_write(struct wf_spill *spill, struct wf_spill_batch *batch);

/* One object to be read back. */
struct wf_spill_read {
	struct wf_spill_place place;
	void *data; /* aligned to 64, room for `size` */
	uint64_t size;
	uint64_t id;
	uint32_t generation;
	int status;     /* 0, -EBADMSG it is not what was written (text says how), or -errno */
	char text[256]; /* file, offset, reason; "" when status is 0 */
	void (*done)(struct wf_spill_read *read); /* on an I/O thread, once; may free it */
	void *arg;
	void *private_; /* the room's own; the next one in wf_spill_read_all() */
};
/* Read, check identity and sums; what does not match is read once more before it is given up. */
void wf_spill_read(struct wf_spill *spill, struct wf_spill_read *read);
/*
 * The same for several, linked by `private_`, in this order: small ones that lie near each other
 * share transfers from the first on.
 */
void wf_spill_read_all(struct wf_spill *spill, struct wf_spill_read *first);

/* The record is not needed any more; nobody may be reading it. Its room can be used again. */
void wf_spill_free(struct wf_spill *spill, const struct wf_spill_place *place, uint64_t size);

struct wf_spill_stats {
	uint64_t live_bytes, file_bytes;    /* of records in use; of all segments */
	uint64_t written_bytes, read_bytes; /* of payload, since open */
	uint64_t records_written, records_read, segments, segments_bad, corrupt, fused;
};
void wf_spill_stats(const struct wf_spill *spill, struct wf_spill_stats *stats);
/* -ENOSPC now for a record of `size`? A guess, for those who must decide whether to wait. */
bool wf_spill_is_full(struct wf_spill *spill, uint64_t size);

#endif /* WF_SPILL_H */
