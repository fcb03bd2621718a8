/*
 * dataset_dir.h: what the tests of datasets and sessions share: a directory of their own, parts
 * with known content, and a look at what lies in a directory.
 */
#ifndef WEFT_TEST_DATASET_DIR_H
#define WEFT_TEST_DATASET_DIR_H

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "io.h"
#include "wf_dataset.h"
#include "wf_io.h"

/* Every point is gone through where that is quick; each seventh where a fork takes a second. */
#define POINT_STEP (WF_TSAN ? 7u : 1u)

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x); \
			fflush(stderr); \
			_Exit(1); \
		} \
	} while (0)

struct room {
	char path[256];
	struct wf_dataset_env env;
	char last[640]; /* of the log */
	int logged;
};

static inline void room_log(void *arg, int level, const char *text)
{
	struct room *room = arg;

	(void)level;
	snprintf(room->last, sizeof(room->last), "%s", text);
	room->logged++;
}

/* False: this machine has not that back end. */
static inline bool room_io_open(struct room *room, const char *backend)
{
	int status = io_open(&room->env.io, backend, (struct wf_io_options){ .depth = 4 });

	if (status == -ENOTSUP)
		return false;
	REQUIRE(status == 0);
	room->env.log = room_log;
	room->env.log_arg = room;
	return true;
}

/* A directory without I/O yet. `light`: where flushing costs nothing, for thousands of rounds. */
static inline void room_make(struct room *room, bool light)
{
	light = light && access("/dev/shm", W_OK) == 0;
	memset(room, 0, sizeof(*room));
	snprintf(room->path, sizeof(room->path), "%s/weft-dataset-XXXXXX",
	         light ? "/dev/shm" : io_dir());
	REQUIRE(mkdtemp(room->path) != NULL);
}

static inline void room_open(struct room *room)
{
	room_make(room, false);
	REQUIRE(room_io_open(room, "threads"));
}

static inline int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
	(void)info;
	(void)kind;
	(void)at;
	return remove(path);
}

/* Everything below a path, and the path, by means that the code under test has no part in. */
static inline void remove_all(const char *path)
{
	(void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void room_close(struct room *room)
{
	wf_io_close(room->env.io);
	remove_all(room->path);
}

/* Entries of a directory; `private_too`: also those whose name begins with a dot. -1: none there */
static inline int count_entries(const char *path, bool private_too)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int count = 0;

	if (dir == NULL)
		return -1;
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			count += private_too || entry->d_name[0] != '.';
	}
	closedir(dir);
	return count;
}

/* The bytes of part `index` of a dataset written with `seed`. */
static inline void fill(char *data, size_t size, uint64_t seed, uint32_t index)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15u + index + 1;

	for (size_t i = 0; i < size; i += sizeof(state)) {
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		memcpy(data + i, &state, size - i < sizeof(state) ? size - i : sizeof(state));
	}
}

static inline struct wf_dataset_part make_part(size_t size, uint64_t seed, uint32_t index)
{
	char *data = aligned_alloc(4096, (size + 4096) & ~(size_t)4095);

	REQUIRE(data != NULL);
	fill(data, size, seed, index);
	return (struct wf_dataset_part){ .data = data, .size = size, .tag = index };
}

static inline void free_parts(struct wf_dataset_part *parts, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		free((void *)(uintptr_t)parts[i].data);
}

/* Whether every part of an open dataset is as fill() makes it; `seed` by its pair. 0 or why not. */
static inline int check_whole(const struct wf_dataset *d, uint64_t seed)
{
	for (uint32_t i = 0; i < wf_dataset_info(d)->part_count; i++) {
		size_t size = wf_dataset_part(d, i).size;
		/* Aligned every other time: both ways of reading. */
		char *base = aligned_alloc(4096, (size + 3 * 4096) & ~(size_t)4095);
		char *got = base + (i % 2), *want = malloc(size + 1);
		int status;

		REQUIRE(base != NULL && want != NULL);
		fill(want, size, seed, i);
		status = wf_dataset_read(d, i, got, NULL);
		if (status == 0 && memcmp(got, want, size) != 0)
			status = -EILSEQ;
		free(base);
		free(want);
		if (status != 0)
			return status;
	}
	return 0;
}

#endif /* WEFT_TEST_DATASET_DIR_H */
