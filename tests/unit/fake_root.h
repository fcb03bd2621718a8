/*
 * fake_root.h: a machine as a directory: the files of /proc and /sys that a test wants to be read.
 */
#ifndef WEFT_TEST_FAKE_ROOT_H
#define WEFT_TEST_FAKE_ROOT_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>

#include "test.h"

static char fake_root[64];

static inline void fake_open(void)
{
	strcpy(fake_root, "/tmp/weft-fake-XXXXXX");
	cr_assert_not_null(mkdtemp(fake_root));
}

/* Write a file, with the directories above it. */
static inline void fake_file(const char *path, const char *text)
{
	char full[512];
	size_t length = strlen(text);
	int fd;

	cr_assert_lt((size_t)snprintf(full, sizeof(full), "%s%s", fake_root, path), sizeof(full));
	for (char *slash = full + strlen(fake_root) + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		cr_assert(mkdir(full, 0700) == 0 || errno == EEXIST);
		*slash = '/';
	}
	fd = open(full, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, length), (ssize_t)length);
	close(fd);
}

static inline int fake_remove_one(const char *path, const struct stat *info, int type,
                                  struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

static inline void fake_close(void)
{
	cr_assert_eq(nftw(fake_root, fake_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#endif /* WEFT_TEST_FAKE_ROOT_H */
