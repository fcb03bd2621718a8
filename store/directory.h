/*
 * directory.h: a directory in which segment files are made. What it can do is found out once, by
 * a real write and a real read.
 */
#ifndef WF_DIRECTORY_H
#define WF_DIRECTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"
#include "wf_io.h"

enum wf_spill_level { WF_SPILL_ERROR = 1, WF_SPILL_WARN, WF_SPILL_INFO };

struct wf_spill_say {
	void (*log)(void *arg, int level, const char *text);
	void *arg;
};
__attribute__((format(printf, 3, 4))) void wf_spill_say(const struct wf_spill_say *say, int level,
                                                        const char *format, ...);

struct wf_directory {
	char *path; /* NULL: could not be used from the start */
	int fd;
	bool direct;  /* O_DIRECT works */
	bool tmpfile; /* O_TMPFILE works; else a file is made and unlinked */
	uint64_t reserve_bytes;
	/* The rest is read and changed under the lock of the segments. */
	bool full; /* the last file did not fit, although there seemed to be room */
	uint64_t room_when_full;
	int64_t full_until_ns; /* then it is tried again, where there still seems to be room */
	bool failing;     /* the last file could not be made: said once */
	uint32_t strikes; /* segments that failed a write */
	uint32_t empty_count;
};

/*
 * Open `path` and find out what works there. `scratch`: 8 KiB, aligned to 4096. `reserve_bytes`
 * 0: 1 GiB or a twentieth of the disk, whichever is less.
 * Errors: -errno, and said; the directory is as closed.
 */
int wf_directory_open(struct wf_directory *dir, const char *path, uint64_t reserve_bytes,
                      struct wf_io *io, char *scratch, const struct wf_spill_say *say);
/* One that never opened is accepted. */
void wf_directory_close(struct wf_directory *dir);

/* A file of `bytes` without a name, allocated where that is possible: a descriptor or -errno. */
int wf_directory_make(const struct wf_directory *dir, uint64_t bytes);
/* Bytes of the whole disk; 0: not known. */
uint64_t wf_directory_disk(const struct wf_directory *dir);
/* Bytes that may still be taken from this disk. */
uint64_t wf_directory_room(const struct wf_directory *dir);

/* The disk, the quota or the limit of the process is full; nothing is broken. */
bool wf_spill_means_full(int status);

#endif /* WF_DIRECTORY_H */
