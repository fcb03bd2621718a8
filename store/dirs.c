/*
 * dirs.c: directories, and trees of them.
 *
 * Trees are walked by path and not by descriptor: what lies in a session's directories is its
 * owner's, and nothing here defends against an enemy who may write there.
 */
#include "dirs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base.h"
#include "wf_io.h"

char *wf_text_copy(const char *text)
{
	size_t bytes = strlen(text) + 1;
	char *copy = wf_malloc(bytes);

	return copy != NULL ? memcpy(copy, text, bytes) : NULL;
}

char *wf_path(const char *dir, const char *name)
{
	size_t dir_bytes = strlen(dir), name_bytes = strlen(name);
	char *path = wf_malloc(dir_bytes + name_bytes + 2);

	if (path == NULL)
		return NULL;
	memcpy(path, dir, dir_bytes);
	path[dir_bytes] = '/';
	memcpy(path + dir_bytes + 1, name, name_bytes + 1);
	return path;
}

char *wf_path_parent(const char *path)
{
	size_t end = strlen(path);
	char *parent = wf_malloc(end + 2);

	if (parent == NULL)
		return NULL;
	WF_CHECK(end > 0);
	while (end > 0 && path[end - 1] == '/')
		end--;
	while (end > 0 && path[end - 1] != '/')
		end--;
	memcpy(parent, path, end);
	/* "/a" lies in "/", "a" in ".". */
	strcpy(parent + end, end == 0 ? "." : "");
	return parent;
}

int wf_dir_make(const char *path)
{
	char *parent;
	int status;

	WF_CHECK(path[0] != '\0');
	if (wf_fault(WF_FAULT_FILE))
		return -ENOSPC;
	if (mkdir(path, 0777) != 0)
		return errno == EEXIST ? 0 : -errno;
	parent = wf_path_parent(path);
	status = parent != NULL ? wf_file_fsync_dir(parent) : -ENOMEM;
	wf_free(parent);
	if (status != 0)
		(void)rmdir(path);
	return status;
}

int wf_dir_remove(const char *path)
{
	if (wf_fault(WF_FAULT_FILE))
		return -EIO;
	return rmdir(path) == 0 ? 0 : -errno;
}

int wf_dir_open(const char *path)
{
	return wf_file_open(path, O_RDONLY | O_DIRECTORY, 0);
}

int wf_lock(int fd, int operation)
{
	WF_CHECK(fd >= 0);
	if (wf_fault(WF_FAULT_FILE))
		return -ENOLCK;
	while (flock(fd, operation) != 0) {
		if (errno != EINTR)
			return -errno;
	}
	return 0;
}

int wf_dir_lock(const char *path, int operation)
{
	int fd = wf_dir_open(path), status;

	if (fd < 0)
		return fd;
	status = wf_lock(fd, operation);
	if (status == 0)
		return fd;
	(void)wf_file_close(fd);
	return status;
}

int wf_dir_exchange(const char *a, const char *b)
{
	if (wf_fault(WF_FAULT_FILE))
		return -EINVAL;
	return renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) == 0 ? 0 : -errno;
}

/* ---- Listing --------------------------------------------------------------------------- */

static int names_add(struct wf_names *names, const char *name)
{
	char *copy;

	WF_CHECK(names->count <= names->room);
	if (names->count == names->room) {
		size_t room = names->room != 0 ? 2 * names->room : 64;
		char **grown = wf_malloc(room * sizeof(grown[0]));

		if (grown == NULL)
			return -ENOMEM;
		if (names->count > 0)
			memcpy(grown, names->names, names->count * sizeof(grown[0]));
		wf_free(names->names);
		names->names = grown;
		names->room = room;
	}
	copy = wf_text_copy(name);
	if (copy == NULL)
		return -ENOMEM;
	names->names[names->count++] = copy;
	return 0;
}

void wf_names_fini(struct wf_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		wf_free(names->names[i]);
	wf_free(names->names);
	*names = (struct wf_names){ 0 };
}

int wf_names_read(struct wf_names *out, const char *path)
{
	struct wf_names names = { 0 };
	struct dirent *entry;
	DIR *dir;
	int status = 0;

	if (wf_fault(WF_FAULT_FILE))
		return -EMFILE;
	dir = opendir(path);
	if (dir == NULL)
		return -errno;
	while (status == 0) {
		errno = 0;
		entry = readdir(dir);
		if (entry == NULL) {
			status = -errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			status = names_add(&names, entry->d_name);
	}
	closedir(dir);
	if (status != 0) {
		wf_names_fini(&names);
		return status;
	}
	WF_CHECK(names.count <= names.room);
	*out = names;
	return 0;
}

/* ---- Trees ----------------------------------------------------------------------------- */

/* What is done to each entry: to directories after what is in them. */
struct walk {
	int (*file)(const char *path);
	int (*dir)(const char *path);
	int first; /* the first error */
};

static void note(struct walk *walk, int status)
{
	if (status != 0 && walk->first == 0)
		walk->first = status;
}

/* The recursion ends at WF_TREE_DEPTH_MAX; a frame is small, the names are on the heap. */
static void walk_tree(struct walk *walk, const char *path, int depth)
{
	struct wf_names names = { 0 };
	struct stat info;
	int status;

	WF_CHECK(depth <= WF_TREE_DEPTH_MAX + 1);
	if (lstat(path, &info) != 0) {
		/* Gone by itself: a body may have left something running. */
		note(walk, errno == ENOENT ? 0 : -errno);
		return;
	}
	if (!S_ISDIR(info.st_mode)) {
		note(walk,
		     S_ISREG(info.st_mode) || walk->file == wf_file_unlink ? walk->file(path) : 0);
		return;
	}
	status = depth <= WF_TREE_DEPTH_MAX ? wf_names_read(&names, path) : -ELOOP;
	if (status != 0) {
		note(walk, status);
		return;
	}
	for (size_t i = 0; i < names.count; i++) {
		char *inner = wf_path(path, names.names[i]);

		if (inner != NULL)
			walk_tree(walk, inner, depth + 1);
		else
			note(walk, -ENOMEM);
		wf_free(inner);
	}
	wf_names_fini(&names);
	note(walk, walk->dir(path));
}

int wf_tree_remove(const char *path)
{
	struct walk walk = { .file = wf_file_unlink, .dir = wf_dir_remove };

	walk_tree(&walk, path, 0);
	return walk.first;
}

static int sync_file(const char *path)
{
	int fd = wf_file_open(path, O_RDONLY | O_NOFOLLOW, 0);
	int status;

	if (fd < 0)
		return fd;
	status = wf_file_fdatasync(fd);
	(void)wf_file_close(fd);
	return status;
}

int wf_tree_sync(const char *path)
{
	struct walk walk = { .file = sync_file, .dir = wf_file_fsync_dir };

	walk_tree(&walk, path, 0);
	return walk.first;
}
