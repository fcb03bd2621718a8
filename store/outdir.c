/*
 * outdir.c: directories that bodies write files into, private until they are published by a
 * rename.
 *
 * The same rules as for datasets: a private name that tells its owner, locked while it is in use,
 * so that strays are known; the directory above locked while names change; a newer attempt is
 * never replaced by an older one. Which attempt made a published directory is said by a file in
 * it, so that it goes where the directory goes.
 *
 * Replacing a published directory lets the two change places in one step, where the file system
 * can; elsewhere there is a moment with neither, and a death in that moment leaves none.
 */
#include "dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

#include "base.h"
#include "dirs.h"
#include "owner.h"

#define MARK_NAME  ".weft-attempt"
#define MARK_BYTES 128u

_Static_assert(sizeof("weft 1 epoch 18446744073709551615 attempt 4294967295\n") < MARK_BYTES,
               "every mark fits");

struct wf_outdir {
	struct wf_dataset_env env;
	char *place, *private_path, *final_path;
	uint64_t epoch;
	uint32_t attempt;
	int fd; /* of the private directory, locked; -1: it is not there */
};

static void outdir_free(struct wf_outdir *o)
{
	(void)wf_file_close(o->fd);
	wf_free(o->final_path);
	wf_free(o->private_path);
	wf_free(o->place);
	wf_free(o);
}

/* ---- The mark -------------------------------------------------------------------------- */

static int write_mark(const struct wf_outdir *o)
{
	char text[MARK_BYTES];
	char *path = wf_path(o->private_path, MARK_NAME);
	int length, fd, status;

	WF_CHECK(o->fd >= 0);
	if (path == NULL)
		return -ENOMEM;
	length = snprintf(text, sizeof(text), "weft 1 epoch %" PRIu64 " attempt %" PRIu32 "\n",
	                  o->epoch, o->attempt);
	WF_CHECK(length > 0 && (size_t)length < sizeof(text));
	fd = wf_file_open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
	wf_free(path);
	if (fd < 0)
		return fd;
	status = wf_dataset_transfer(&o->env, WF_IO_WRITE, fd, false, text, (uint64_t)length, 0);
	(void)wf_file_close(fd);
	return status;
}

/* Who published `path`. -EEXIST: something is there that was not published here. -ENOENT. */
static int read_mark(const struct wf_outdir *o, uint64_t *epoch, uint32_t *attempt)
{
	char text[MARK_BYTES] = "";
	char *path;
	int fd = wf_dir_open(o->final_path), status, end = 0;

	if (fd < 0)
		return fd == -ENOTDIR ? -EEXIST : fd;
	(void)wf_file_close(fd);
	path = wf_path(o->final_path, MARK_NAME);
	if (path == NULL)
		return -ENOMEM;
	fd = wf_file_open(path, O_RDONLY, 0);
	wf_free(path);
	if (fd < 0)
		return fd == -ENOENT ? -EEXIST : fd;
	status = wf_dataset_transfer(&o->env, WF_IO_READ, fd, false, text, sizeof(text) - 1, 0);
	(void)wf_file_close(fd);
	if (status != 0 && status != -ENODATA)
		return status;
	WF_CHECK(text[sizeof(text) - 1] == '\0');
	if (sscanf(text, "weft 1 epoch %" SCNu64 " attempt %" SCNu32 "%n", epoch, attempt, &end) !=
	            2 ||
	    text[end] != '\n' || text[end + 1] != '\0')
		return -EEXIST;
	return 0;
}

/* ---- Beginning ------------------------------------------------------------------------- */

static int outdir_init(struct wf_outdir *o, const char *place, const char *name)
{
	char private_name[WF_ATTEMPT_BYTES], encoded[WF_DATASET_NAME_MAX + 1];
	int status = wf_attempt_name(private_name, name, o->epoch, o->attempt);

	if (status == 0)
		status = wf_name_encode(encoded, WF_DATASET_NAME_MAX, name);
	if (status != 0)
		return status;
	o->place = wf_text_copy(place);
	o->private_path = wf_path(place, private_name);
	o->final_path = wf_path(place, encoded);
	if (o->place == NULL || o->private_path == NULL || o->final_path == NULL)
		return -ENOMEM;
	return 0;
}

/* Make and lock it, while nobody cleans. */
static int make_private(struct wf_outdir *o)
{
	int dir = wf_dir_lock(o->place, LOCK_SH);
	int status;

	if (dir == -ENOENT) {
		status = wf_dir_make(o->place);
		if (status != 0)
			return status;
		dir = wf_dir_lock(o->place, LOCK_SH);
	}
	if (dir < 0)
		return dir;
	WF_CHECK(o->fd == -1 && o->private_path != NULL);
	status = wf_dir_make(o->private_path);
	if (status == 0) {
		int fd = wf_dir_open(o->private_path);

		if (fd >= 0)
			o->fd = fd;
		else
			(void)wf_dir_remove(o->private_path);
		status = fd < 0 ? fd : wf_attempt_lock(fd);
	}
	(void)wf_file_close(dir);
	return status;
}

int wf_outdir_create(struct wf_outdir **out, const struct wf_dataset_env *env, const char *place,
                     const char *name, uint64_t epoch, uint32_t attempt)
{
	struct wf_outdir *o = wf_calloc(1, sizeof(*o));
	int status;

	WF_CHECK(place != NULL && name != NULL);
	if (o == NULL)
		return -ENOMEM;
	o->env = *env;
	o->epoch = epoch;
	o->attempt = attempt;
	o->fd = -1;
	status = outdir_init(o, place, name);
	if (status == 0)
		status = make_private(o);
	if (status != 0) {
		wf_outdir_discard(o);
		return status;
	}
	WF_CHECK(o->fd >= 0);
	*out = o;
	return 0;
}

const char *wf_outdir_path(const struct wf_outdir *out)
{
	return out->private_path;
}

/* ---- Ending ---------------------------------------------------------------------------- */

static void remove_tree(const struct wf_outdir *o, const char *path)
{
	int status = wf_tree_remove(path);

	if (status != 0)
		wf_dataset_log(
			&o->env, WF_LEVEL_WARN,
			"outdir: %s cannot be removed (%s) and stays until its process has ended",
			path, strerror(-status));
}

void wf_outdir_discard(struct wf_outdir *out)
{
	if (out == NULL)
		return;
	/* While it is locked: nobody takes it for a stray meanwhile. */
	if (out->fd >= 0)
		remove_tree(out, out->private_path);
	outdir_free(out);
}

/*
 * Without an exchange: what is there moves to one more private name, which `*aside` is to hold.
 * Between the two renames there is nothing.
 */
static int replace_in_two(struct wf_outdir *o, const char *name, char **aside)
{
	char private_name[WF_ATTEMPT_BYTES];
	int status = wf_attempt_name(private_name, name, o->epoch, o->attempt);

	WF_CHECK(status == 0 && *aside == NULL);
	*aside = wf_path(o->place, private_name);
	if (*aside == NULL)
		return -ENOMEM;
	status = wf_file_rename(o->final_path, *aside);
	if (status != 0)
		return status;
	status = wf_file_rename(o->private_path, o->final_path);
	if (status != 0)
		(void)wf_file_rename(*aside, o->final_path);
	return status;
}

/* Put it in place of what is there, which then stands at `*aside`. */
static int replace(struct wf_outdir *o, char **aside)
{
	int status = wf_dir_exchange(o->private_path, o->final_path);

	if (status == -EINVAL || status == -ENOSYS || status == -EOPNOTSUPP)
		return replace_in_two(o, "replaced", aside);
	if (status == 0) {
		*aside = o->private_path;
		o->private_path = NULL;
	}
	return status;
}

/* Look and rename, with the place to ourselves. */
static int take_place(struct wf_outdir *o, char **aside)
{
	uint64_t epoch;
	uint32_t attempt;
	int dir = wf_dir_lock(o->place, LOCK_EX);
	int status;

	if (dir < 0)
		return dir;
	WF_CHECK(*aside == NULL);
	status = read_mark(o, &epoch, &attempt);
	if (status == -ENOENT)
		status = wf_file_rename(o->private_path, o->final_path);
	else if (status == 0 && wf_attempt_newer(epoch, attempt, o->epoch, o->attempt))
		status = -ESTALE;
	else if (status == 0)
		status = replace(o, aside);
	(void)wf_file_close(dir);
	return status;
}

int wf_outdir_publish(struct wf_outdir *out)
{
	char *aside = NULL;
	int status = write_mark(out);

	WF_CHECK(out->fd >= 0);
	if (status == 0)
		status = wf_tree_sync(out->private_path);
	if (status == 0)
		status = take_place(out, &aside);
	if (status != 0) {
		wf_dataset_log(&out->env, WF_LEVEL_WARN, "outdir: %s is not published: %s",
		               out->final_path, strerror(-status));
		wf_free(aside);
		wf_outdir_discard(out);
		return status;
	}
	WF_CHECK(out->private_path == NULL || out->private_path != aside);
	status = wf_file_fsync_dir(out->place);
	if (aside != NULL)
		remove_tree(out, aside);
	wf_free(aside);
	outdir_free(out);
	return status;
}
