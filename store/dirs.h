/*
 * dirs.h: directories: made, locked, listed, walked, swapped. What wf_io.h has for files, each call
 * with a fault point (WF_FAULT_FILE), negated errnos, EINTR retried.
 */
#ifndef WF_STORE_DIRS_H
#define WF_STORE_DIRS_H

#include <stdbool.h>
#include <stddef.h>

/* A copy in memory of wf_malloc(), or NULL. */
char *wf_text_copy(const char *text);
/* `dir`/`name`. wf_malloc() or NULL. */
char *wf_path(const char *dir, const char *name);
/* The directory a path lies in: "." when it has none. wf_malloc() or NULL. */
char *wf_path_parent(const char *path);

/* One directory, durable; 0 also when it is there. */
int wf_dir_make(const char *path);
int wf_dir_remove(const char *path); /* an empty one */
/* Open a directory, or what there is, to lock it. A descriptor or -errno. */
int wf_dir_open(const char *path);
/* flock(): LOCK_SH, LOCK_EX, with LOCK_NB -EWOULDBLOCK. Closing the descriptor unlocks. */
int wf_lock(int fd, int operation);
/* Both: the descriptor of a directory that is locked, or -errno. */
int wf_dir_lock(const char *path, int operation);
/* Let two names of one file system change places. -EINVAL: the file system cannot. */
int wf_dir_exchange(const char *a, const char *b);

/* The entries of a directory but "." and "..". */
struct wf_names {
	char **names;
	size_t count, room;
};
int wf_names_read(struct wf_names *out, const char *path);
void wf_names_fini(struct wf_names *names);

/* Directories below a directory; deeper ones are refused with -ELOOP. */
#define WF_TREE_DEPTH_MAX 64
/*
 * Remove a directory with all in it, or a file. 0 also when nothing is there. Goes on after an
 * error, so that as much as possible goes; the first error is the result. Links are not followed.
 */
int wf_tree_remove(const char *path);
/* Flush every file and every directory of a tree. */
int wf_tree_sync(const char *path);

#endif /* WF_STORE_DIRS_H */
