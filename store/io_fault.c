/*
 * io_fault.c: the faults that a test orders, between the queue and whichever back end there is, and
 * in the calls on files. No back end knows of it.
 *
 * Every attempt at a block is a point, its continuations and retries too, and so is every call on
 * a file. A point of an armed kind draws its number by one atomic addition and suffers when that
 * lies in [nth, nth + count). An effect that means nothing for a point (half of a rename, a wrong
 * bit in an open) leaves it as it is; it counts as fired all the same, so that a test that goes on
 * until nothing fires reaches every point.
 *
 * Shared: `wf_io_fault_word` and the settings, written by the test, read by all points; `seen` and
 * `fired`, added to by them. Arming while other threads pass points is allowed; which of those
 * still count is then open.
 */
#include "io.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

/* The unit that is written again with a wrong bit; whole, as O_DIRECT wants it. */
#define FLIP_BYTES 4096u

struct wf_a32 wf_io_fault_word; /* the armed kinds */
static struct wf_a32 armed_effect, armed_error;
static struct wf_a64 armed_nth, armed_count;
static struct wf_a64 seen, fired;

void wf_io_fault_arm(const struct wf_io_fault *fault)
{
	/* relaxed: no point may suffer while the settings change. */
	wf_store_relaxed(&wf_io_fault_word, 0);
	if (fault == NULL)
		return;
	WF_CHECK(fault->nth > 0);
	WF_CHECK(fault->kinds != 0 && fault->effect <= WF_IO_EFFECT_KILL);
	WF_CHECK(fault->effect != WF_IO_EFFECT_ERROR || fault->error > 0);
	/* relaxed, all: published by [F1]. */
	wf_store_relaxed(&seen, 0);
	wf_store_relaxed(&fired, 0);
	wf_store_relaxed(&armed_effect, (uint32_t)fault->effect);
	wf_store_relaxed(&armed_error, (uint32_t)fault->error);
	wf_store_relaxed(&armed_nth, fault->nth);
	wf_store_relaxed(&armed_count, fault->count);
	/* release [F1]: the settings above, to the acquire [F2] in wf_io_fault_draw(). */
	wf_store_release(&wf_io_fault_word, fault->kinds);
}

uint64_t wf_io_fault_seen(void)
{
	/* relaxed: the test reads when what it counts is over. */
	return wf_load_relaxed(&seen);
}

uint64_t wf_io_fault_fired(void)
{
	/* relaxed: as above. */
	return wf_load_relaxed(&fired);
}

enum wf_io_fate wf_io_fault_draw(enum wf_io_fault_kind kind, int *error)
{
	uint64_t number;

	WF_CHECK(kind != 0);
	/* acquire [F2]: the settings written before the release [F1]. */
	if ((wf_load_acquire(&wf_io_fault_word) & (uint32_t)kind) == 0)
		return WF_IO_FATE_NONE;
	/* relaxed, all: a number is drawn; the settings are ordered by [F2]. */
	number = wf_add_relaxed(&seen, 1) + 1;
	if (number < wf_load_relaxed(&armed_nth) ||
	    number - wf_load_relaxed(&armed_nth) >= wf_load_relaxed(&armed_count))
		return WF_IO_FATE_NONE;
	/* relaxed: a statistic. */
	wf_add_relaxed(&fired, 1);
	/* relaxed: ordered by [F2]. */
	switch ((enum wf_io_fault_effect)wf_load_relaxed(&armed_effect)) {
	case WF_IO_EFFECT_ERROR:
		/* relaxed: as above. */
		*error = -(int)wf_load_relaxed(&armed_error);
		return WF_IO_FATE_ERROR;
	case WF_IO_EFFECT_SHORT:
		return WF_IO_FATE_SHORT;
	case WF_IO_EFFECT_FLIP:
		return WF_IO_FATE_FLIP;
	case WF_IO_EFFECT_LIE:
		return WF_IO_FATE_LIE;
	case WF_IO_EFFECT_KILL:
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	return WF_IO_FATE_NONE;
}

bool wf_io_fault_before(struct wf_io_block *block, int64_t *result)
{
	static const enum wf_io_fault_kind kinds[] = { WF_IO_FAULT_READ, WF_IO_FAULT_WRITE,
		                                       WF_IO_FAULT_SYNC };
	int error = 0;

	WF_CHECK(block->attempt > 0 && block->attempt == block->size);
	block->fate = wf_io_fault(kinds[block->request->op], &error);
	switch (block->fate) {
	case WF_IO_FATE_ERROR:
		*result = error;
		return true;
	case WF_IO_FATE_LIE:
		*result = (int64_t)block->attempt;
		return true;
	case WF_IO_FATE_SHORT:
		if (block->attempt >= 2 * (uint64_t)WF_IO_SECTOR)
			block->attempt = block->attempt / 2 / WF_IO_SECTOR * WF_IO_SECTOR;
		return false;
	case WF_IO_FATE_FLIP:
	case WF_IO_FATE_NONE:
		return false;
	}
	return false;
}

/* Write a part of what was just written again, with one bit wrong. The caller's bytes stay. */
static void flip_written(const struct wf_io_block *block, uint64_t size)
{
	char copy[FLIP_BYTES] WF_ALIGNED(FLIP_BYTES) = { 0 };
	uint64_t begin = size / 2 / FLIP_BYTES * FLIP_BYTES;
	uint64_t length = size - begin < FLIP_BYTES ? size - begin : FLIP_BYTES;
	off_t offset = (off_t)(block->request->offset + block->at + begin);

	for (uint64_t i = 0; i < length; i++)
		copy[i] = *wf_io_address(block->request, block->at + begin + i);
	copy[length / 2] ^= 1;
	WF_CHECK(length > 0 && begin + length <= size);
	WF_CHECK(pwrite(block->request->fd, copy, length, offset) == (ssize_t)length);
}

int64_t wf_io_fault_after(struct wf_io_block *block, int64_t result)
{
	if (WF_LIKELY(block->fate != WF_IO_FATE_FLIP) || result <= 0)
		return result;
	if (block->request->op == WF_IO_WRITE)
		flip_written(block, (uint64_t)result);
	if (block->request->op == WF_IO_READ)
		*wf_io_address(block->request, block->at + (uint64_t)result / 2) ^= 1;
	return result;
}
