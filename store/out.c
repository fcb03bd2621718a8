/*
 * out.c: a file written from begin to end.
 *
 * Everything is written in whole blocks, by O_DIRECT where the file system has it: what is large
 * and aligned from where it is, the rest through a stage. There are two stages, so that one is
 * filled while the other is written; and a caller that hands out its own bytes can look at them
 * meanwhile.
 *
 * Shared: `request` and `landed` between the owner and the I/O's thread: the thread writes the
 * results, then `landed`; the owner touches neither between the submission and then. The rest is
 * the owner's.
 */
#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

_Static_assert(WF_OUT_STAGE % WF_OUT_BLOCK == 0, "a full stage is written as it is");
_Static_assert(WF_OUT_STAGE <= UINT32_MAX, "its offsets are 32 bits");

int wf_out_init(struct wf_out *out, struct wf_io *io, int fd, bool direct)
{
	WF_CHECK(io != NULL && fd >= 0);
	*out = (struct wf_out){ .io = io, .fd = fd, .direct = direct };
	out->stages = wf_aligned_alloc(WF_OUT_BLOCK, 2 * WF_OUT_STAGE);
	return out->stages != NULL ? 0 : -ENOMEM;
}

void wf_out_fini(struct wf_out *out)
{
	if (out->is_flying)
		(void)wf_out_wait(out);
	WF_CHECK(!out->is_flying);
	wf_free(out->stages);
	out->stages = NULL;
}

static void land(struct wf_io_request *request)
{
	struct wf_out *out = request->arg;

	/* release [O1]: the results, to the acquire [O2] in wf_out_wait(), which may return now. */
	wf_store_release(&out->landed, 1);
	/* The address alone is used: at worst somebody else is woken, who looks again. */
	wf_futex_wake(&out->landed, 1);
}

/* O_DIRECT was accepted by open() and does not work: go on without. */
static int repeat_buffered(struct wf_out *out)
{
	int flags = fcntl(out->fd, F_GETFL);

	WF_CHECK(out->direct && !out->is_flying);
	if (flags < 0 || fcntl(out->fd, F_SETFL, flags & ~O_DIRECT) != 0)
		return -EINVAL;
	out->direct = false;
	out->request.direct = false;
	return wf_io_run(out->io, &out->request);
}

int wf_out_wait(struct wf_out *out)
{
	int status;

	if (!out->is_flying)
		return 0;
	/* acquire [O2]: the results written before the release [O1]. */
	while (wf_load_acquire(&out->landed) == 0)
		(void)wf_futex_wait(&out->landed, 0, WF_FOREVER);
	out->is_flying = false;
	status = out->request.status;
	if (status == -EINVAL && out->direct)
		status = repeat_buffered(out);
	WF_CHECK(out->request.moved <= out->request.size);
	return status == 0 && out->request.moved < out->request.size ? -EIO : status;
}

/* Hand a write to the I/O, when the one before has landed. */
static int fly(struct wf_out *out, const void *data, uint64_t size)
{
	int status = wf_out_wait(out);

	WF_CHECK(size > 0 && size % WF_OUT_BLOCK == 0);
	WF_CHECK((uintptr_t)data % WF_OUT_BLOCK == 0 && out->written % WF_OUT_BLOCK == 0);
	if (status != 0)
		return status;
	out->request = (struct wf_io_request){
		.op = WF_IO_WRITE,
		.fd = out->fd,
		.direct = out->direct,
		.data = (void *)(uintptr_t)data,
		.size = size,
		.offset = out->written,
		.done = land,
		.arg = out,
	};
	/* relaxed: nobody else looks before the submission, which orders it. */
	wf_store_relaxed(&out->landed, 0);
	out->is_flying = true;
	out->written += size;
	wf_io_submit(out->io, &out->request);
	return 0;
}

static char *stage(struct wf_out *out)
{
	return out->stages + out->half * WF_OUT_STAGE;
}

/* Write what is staged, padded to a block. */
static int flush_stage(struct wf_out *out)
{
	uint32_t more = -out->staged & (uint32_t)(WF_OUT_BLOCK - 1);
	int status;

	if (out->staged == 0)
		return 0;
	WF_CHECK(out->staged + more <= WF_OUT_STAGE);
	memset(stage(out) + out->staged, 0, more);
	status = fly(out, stage(out), out->staged + more);
	if (status != 0)
		return status;
	/* The write of the other one has landed: fly() waited for it. */
	out->half ^= 1;
	out->staged = 0;
	return 0;
}

int wf_out_align(struct wf_out *out, uint64_t align)
{
	uint32_t more = -out->staged & (uint32_t)(align - 1);

	WF_CHECK(align <= WF_OUT_BLOCK && (align & (align - 1)) == 0);
	/* The stage is a multiple, so there is room. */
	WF_CHECK(out->staged + more <= WF_OUT_STAGE);
	memset(stage(out) + out->staged, 0, more);
	out->staged += more;
	return out->staged == WF_OUT_STAGE ? flush_stage(out) : 0;
}

int wf_out_copy(struct wf_out *out, const void *data, uint64_t size)
{
	const char *from = data;
	int status = 0;

	WF_CHECK(out->staged < WF_OUT_STAGE);
	while (status == 0 && size > 0) {
		uint64_t room = WF_OUT_STAGE - out->staged;
		uint64_t now = size < room ? size : room;

		WF_CHECK(room > 0);
		memcpy(stage(out) + out->staged, from, now);
		out->staged += (uint32_t)now;
		from += now;
		size -= now;
		if (out->staged == WF_OUT_STAGE)
			status = flush_stage(out);
	}
	return status;
}

int wf_out_put(struct wf_out *out, const void *data, uint64_t size)
{
	int status;

	WF_CHECK(wf_out_position(out) % WF_OUT_BLOCK == 0);
	status = flush_stage(out);
	return status == 0 && size > 0 ? fly(out, data, size) : status;
}

int wf_out_end(struct wf_out *out)
{
	int status = flush_stage(out);

	return status == 0 ? wf_out_wait(out) : status;
}
