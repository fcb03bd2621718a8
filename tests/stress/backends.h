/*
 * backends.h: the file I/O back ends that this machine has, one after the other.
 */
#ifndef WEFT_STRESS_BACKENDS_H
#define WEFT_STRESS_BACKENDS_H

#include <stdio.h>
#include <stdlib.h>

#include "../../store/include/wf_io.h"
#include "stress.h"

/* Have what is opened from here on use it. False: it is not here, which only io_uring may be. */
static inline bool use_backend(const char *name)
{
	const struct wf_io_options probe = { .backend = name };
	struct wf_io *io;

	if (wf_io_open(&io, &probe) != 0) {
		fprintf(stderr, "no %s here\n", name);
		STRESS_CHECK(strcmp(name, "uring") == 0);
		return false;
	}
	wf_io_close(io);
	STRESS_CHECK(setenv("WEFT_IO", name, 1) == 0);
	return true;
}

#endif /* WEFT_STRESS_BACKENDS_H */
