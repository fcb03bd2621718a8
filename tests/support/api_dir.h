/*
 * api_dir.h: a directory of a test's own, and the newest lines of a runtime's log.
 */
#ifndef WEFT_TEST_API_DIR_H
#define WEFT_TEST_API_DIR_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api.h"

static char dir[256];
static char last[16][512];
static struct api_count lines;

static inline void keep_line(void *arg, const struct weft_log_record *record)
{
	(void)arg;
	snprintf(last[(api_add(&lines, 1) - 1) % 16], sizeof(last[0]), "%s", record->text);
}

static inline bool logged(const char *part)
{
	for (uint32_t i = 0; i < 16; i++) {
		if (strstr(last[i], part))
			return true;
	}
	return false;
}

static inline void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/weft-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	API_CHECK(mkdtemp(dir) != NULL);
	memset(last, 0, sizeof(last));
	api_set(&lines, 0);
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)kind;
	(void)at;
	return remove(path);
}

static inline void remove_dir(void)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif /* WEFT_TEST_API_DIR_H */
