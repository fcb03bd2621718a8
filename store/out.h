/*
 * out.h: bytes written to a file from its begin to its end, in whole blocks, while the caller goes
 * on: one write is in flight at a time.
 */
#ifndef WF_STORE_OUT_H
#define WF_STORE_OUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"
#include "wf_io.h"

#define WF_OUT_BLOCK ((uint64_t)4096)
/* One write from the stage: enough for the full speed of a device, by the measurements of the
 * blocks of the I/O. */
#define WF_OUT_STAGE ((uint64_t)4 << 20)

struct wf_out {
	struct wf_io *io;
	int fd;
	bool direct;      /* fd was opened with O_DIRECT */
	uint64_t written; /* bytes handed to writes: a multiple of WF_OUT_BLOCK */
	uint32_t staged;  /* bytes in the stage */
	uint32_t half;    /* of `stages` that is the stage; the other may be in flight */
	char *stages;     /* two of WF_OUT_STAGE */
	bool is_flying;
	struct wf_a32 landed;
	struct wf_io_request request;
};

/* `fd` is borrowed until wf_out_fini(). -ENOMEM. */
int wf_out_init(struct wf_out *out, struct wf_io *io, int fd, bool direct);
/* Waits for what is in flight. Zeroed memory is accepted. */
void wf_out_fini(struct wf_out *out);

/* Where the next byte will stand. */
static inline uint64_t wf_out_position(const struct wf_out *out)
{
	return out->written + out->staged;
}

/*
 * Errors, all of these: -errno of this write or of the one before. After one nothing may follow but
 * wf_out_fini().
 */
/* Zeros, until the next byte stands at a multiple of `align`, a power of two up to WF_OUT_BLOCK. */
int wf_out_align(struct wf_out *out, uint64_t align);
/* A copy of these bytes. */
int wf_out_copy(struct wf_out *out, const void *data, uint64_t size);
/*
 * These bytes from where they are: at a multiple of WF_OUT_BLOCK in memory and in the file, whole
 * blocks of it. They stay until wf_out_wait() has returned.
 */
int wf_out_put(struct wf_out *out, const void *data, uint64_t size);
int wf_out_wait(struct wf_out *out);
/* All bytes are written, zeros up to a whole block after them. */
int wf_out_end(struct wf_out *out);

#endif /* WF_STORE_OUT_H */
