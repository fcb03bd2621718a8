/*
 * dataset.c: writing datasets, so that each is whole or absent.
 *
 * A dataset is one file. It is written under a private name, flushed, and renamed to its own name
 * in one step; then the directory is flushed. The manifest is the last thing written before the
 * flush. A process that dies at any point leaves either the private name, a stray, or the whole
 * dataset.
 *
 * Three locks, all flock(), all released by the death of the process:
 * - the writer's file, exclusively, from its making until the directory is flushed. So a stray is
 *   what can be locked; and who opens a dataset (shared) waits until it is durable.
 * - the directory, shared, while a private name is made and locked: cleaners keep out.
 * - the directory, exclusively, while a writer looks which attempt is there and renames over it,
 *   and while strays are removed.
 * Order: a directory before a file. A writer takes its own file's lock without waiting, by a
 * descriptor that nothing is transferred by: an io_uring may keep the files of its transfers open
 * for a moment after the death of the process, and their locks with them.
 *
 * Large aligned parts are written from where they are while their sums are made; what else there
 * is goes through the stages of out.c. The file is whole blocks, its end included.
 */
#include "dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <xxhash.h>

#include "base.h"
#include "dirs.h"
#include "out.h"
#include "owner.h"

#define BLOCK       WF_OUT_BLOCK
/* Less than this is not worth a call to make room. */
#define RESERVE_MIN ((uint64_t)1 << 20)

_Static_assert(BLOCK == WF_MANIFEST_BLOCK, "the file is whole blocks");
_Static_assert(BLOCK % WF_MANIFEST_ALIGN == 0, "blocks keep parts aligned");
_Static_assert(WF_DATASET_LARGE >= BLOCK, "a large part has a whole block");

struct wf_dataset_writer {
	struct wf_dataset_env env;
	char *dir, *private_path, *final_path;
	int lock;          /* of the private file; -1: it is not there */
	int fd;            /* the same file, to be written by */
	int status;        /* the first error */
	uint64_t reserved; /* bytes of the file's room made at the beginning */
	uint64_t epoch;
	uint32_t attempt;
	struct wf_out out;
	struct wf_manifest_builder manifest;
};

void wf_dataset_log(const struct wf_dataset_env *env, int level, const char *format, ...)
{
	char text[640];
	va_list args;

	WF_CHECK(level >= WF_LEVEL_ERROR && level <= WF_LEVEL_INFO);
	if (env->log == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	env->log(env->log_arg, level, text);
}

int wf_dataset_transfer(const struct wf_dataset_env *env, enum wf_io_op op, int fd, bool direct,
                        void *data, uint64_t size, uint64_t offset)
{
	struct wf_io_request request = {
		.op = op,
		.fd = fd,
		.direct = direct,
		.data = data,
		.size = size,
		.offset = offset,
	};
	int status;

	WF_CHECK(op == WF_IO_READ || op == WF_IO_WRITE);
	if (size == 0)
		return 0;
	WF_CHECK(env->io != NULL && fd >= 0);
	status = wf_io_run(env->io, &request);
	if (status != 0)
		return status;
	WF_CHECK(request.moved <= size);
	if (request.moved == size)
		return 0;
	return op == WF_IO_READ ? -ENODATA : -EIO;
}

int wf_dataset_path(char **out, const char *dir, const char *name)
{
	char file[WF_DATASET_NAME_MAX + sizeof(WF_DATASET_SUFFIX)];
	int status;

	status = wf_name_encode(file, WF_DATASET_NAME_MAX, name);
	if (status != 0)
		return status;
	strcat(file, WF_DATASET_SUFFIX);
	*out = wf_path(dir, file);
	return *out != NULL ? 0 : -ENOMEM;
}

int wf_attempt_lock(int fd)
{
	/* Nobody else knows the name; without waiting, in case somebody does. */
	return wf_lock(fd, LOCK_EX | LOCK_NB);
}

/* ---- Beginning ------------------------------------------------------------------------- */

static void writer_free(struct wf_dataset_writer *w)
{
	wf_out_fini(&w->out);
	wf_manifest_builder_fini(&w->manifest);
	wf_free(w->final_path);
	wf_free(w->private_path);
	wf_free(w->dir);
	(void)wf_file_close(w->fd);
	(void)wf_file_close(w->lock);
	wf_free(w);
}

/* The texts and the memory; no file yet. */
static int writer_init(struct wf_dataset_writer *w, const struct wf_dataset_spec *spec)
{
	char name[WF_ATTEMPT_BYTES];
	int status;

	if (spec->dir == NULL || spec->name == NULL)
		return -EINVAL;
	status = wf_attempt_name(name, spec->name, spec->epoch, spec->attempt);
	if (status == 0)
		status = wf_dataset_path(&w->final_path, spec->dir, spec->name);
	if (status != 0)
		return status;
	w->dir = wf_text_copy(spec->dir);
	w->private_path = wf_path(spec->dir, name);
	if (w->dir == NULL || w->private_path == NULL)
		return -ENOMEM;
	return wf_manifest_begin(&w->manifest, spec);
}

/* Make the file and lock it, while nobody cleans. */
static int make_file(struct wf_dataset_writer *w)
{
	int dir = wf_dir_lock(w->dir, LOCK_SH);
	int status, fd;

	if (dir == -ENOENT) {
		status = wf_dir_make(w->dir);
		if (status != 0)
			return status;
		dir = wf_dir_lock(w->dir, LOCK_SH);
	}
	if (dir < 0)
		return dir;
	WF_CHECK(w->lock == -1);
	fd = wf_file_open(w->private_path, O_RDONLY | O_CREAT | O_EXCL, 0666);
	status = fd >= 0 ? wf_attempt_lock(fd) : fd;
	(void)wf_file_close(dir);
	if (fd >= 0)
		w->lock = fd;
	return status;
}

/* The same file once more: an open() that makes a file and then refuses O_DIRECT leaves it. */
static int open_file(struct wf_dataset_writer *w)
{
	int fd = wf_file_open(w->private_path, O_WRONLY | O_DIRECT, 0);

	WF_CHECK(w->lock >= 0 && w->fd == -1);
	bool direct = fd >= 0;

	if (fd == -EINVAL)
		fd = wf_file_open(w->private_path, O_WRONLY, 0);
	if (fd < 0)
		return fd;
	w->fd = fd;
	return wf_out_init(&w->out, w->env.io, fd, direct);
}

static int reserve(struct wf_dataset_writer *w, uint64_t bytes)
{
	int status;

	WF_CHECK(w->reserved == 0 && wf_out_position(&w->out) == 0);
	if (bytes < RESERVE_MIN || bytes > INT64_MAX)
		return 0;
	bytes &= ~(BLOCK - 1);
	status = wf_file_fallocate(w->fd, 0, bytes);
	if (status == -EOPNOTSUPP || status == -ENOSYS)
		return 0;
	if (status == 0)
		w->reserved = bytes;
	return status;
}

int wf_dataset_begin(struct wf_dataset_writer **out, const struct wf_dataset_env *env,
                     const struct wf_dataset_spec *spec)
{
	struct wf_dataset_writer *w = wf_calloc(1, sizeof(*w));
	int status;

	WF_CHECK(out != NULL && env->io != NULL);
	if (w == NULL)
		return -ENOMEM;
	w->env = *env;
	w->lock = -1;
	w->fd = -1;
	w->epoch = spec->epoch;
	w->attempt = spec->attempt;
	status = writer_init(w, spec);
	if (status != 0) {
		writer_free(w);
		return status;
	}
	status = make_file(w);
	if (status == 0)
		status = open_file(w);
	if (status == 0)
		status = reserve(w, spec->expect_bytes);
	if (status != 0) {
		wf_dataset_abort(w);
		return status;
	}
	WF_CHECK(w->lock >= 0 && w->fd >= 0);
	*out = w;
	return 0;
}

/* ---- Going on -------------------------------------------------------------------------- */

static int append(struct wf_dataset_writer *w, const struct wf_dataset_part *part)
{
	bool large = part->size >= WF_DATASET_LARGE;
	uint64_t at, sum, whole = 0;
	int status, landed;

	if ((part->data == NULL && part->size > 0) ||
	    part->size > INT64_MAX - wf_out_position(&w->out))
		return -EINVAL;
	status = wf_out_align(&w->out, large ? BLOCK : WF_MANIFEST_ALIGN);
	if (status != 0)
		return status;
	at = wf_out_position(&w->out);
	WF_CHECK(at % WF_MANIFEST_ALIGN == 0);
	if (large && (uintptr_t)part->data % BLOCK == 0)
		whole = part->size & ~(BLOCK - 1);
	if (whole > 0)
		status = wf_out_put(&w->out, part->data, whole);
	/* While it is written. */
	sum = XXH3_64bits(part->data, part->size);
	if (status == 0)
		status = wf_manifest_add(&w->manifest, part, at, sum);
	if (status == 0 && part->size > whole)
		status = wf_out_copy(&w->out, (const char *)part->data + whole, part->size - whole);
	/* Whatever happened: the part's bytes may go when we return. */
	landed = whole > 0 ? wf_out_wait(&w->out) : 0;
	return status != 0 ? status : landed;
}

int wf_dataset_append(struct wf_dataset_writer *writer, const struct wf_dataset_part *part)
{
	WF_CHECK(writer->lock >= 0);
	if (writer->status == 0)
		writer->status = append(writer, part);
	return writer->status;
}

/* ---- Ending ---------------------------------------------------------------------------- */

void wf_dataset_abort(struct wf_dataset_writer *writer)
{
	int status;

	if (writer == NULL)
		return;
	WF_CHECK(writer->private_path != NULL || writer->lock < 0);
	if (writer->lock >= 0) {
		/* While it is locked: nobody takes it for a stray meanwhile. */
		status = wf_file_unlink(writer->private_path);
		if (status != 0)
			wf_dataset_log(&writer->env, WF_LEVEL_WARN,
			               "dataset: %s cannot be removed (%s) and stays until its "
			               "process has ended",
			               writer->private_path, strerror(-status));
	}
	writer_free(writer);
}

/* Manifest, padding and trailer; the file's length; the flush. */
static int complete(struct wf_dataset_writer *w)
{
	struct wf_trailer trailer;
	uint64_t offset, end;
	int status;

	status = wf_out_align(&w->out, WF_MANIFEST_ALIGN);
	if (status != 0)
		return status;
	offset = wf_out_position(&w->out);
	WF_CHECK(offset % WF_MANIFEST_ALIGN == 0);
	wf_manifest_finish(&w->manifest);
	end = (offset + w->manifest.size + sizeof(trailer) + BLOCK - 1) & ~(BLOCK - 1);
	wf_trailer_make(&trailer, w->manifest.bytes, w->manifest.size, offset, end);
	status = wf_out_copy(&w->out, w->manifest.bytes, w->manifest.size);
	while (status == 0 && wf_out_position(&w->out) < end - sizeof(trailer)) {
		static const char zeros[256];
		uint64_t more = end - sizeof(trailer) - wf_out_position(&w->out);

		status = wf_out_copy(&w->out, zeros, more < sizeof(zeros) ? more : sizeof(zeros));
	}
	if (status == 0)
		status = wf_out_copy(&w->out, &trailer, sizeof(trailer));
	if (status == 0)
		status = wf_out_end(&w->out);
	if (status != 0)
		return status;
	WF_CHECK(wf_out_position(&w->out) == end);
	if (w->reserved > end) {
		status = wf_file_truncate(w->fd, end);
		if (status != 0)
			return status;
	}
	/* Once: the answer to a second flush after one that failed is a lie. */
	return wf_file_fdatasync(w->fd);
}

/* Whether what stands at our name is newer. What does not verify is not. */
static int look(struct wf_dataset_writer *w)
{
	const struct wf_dataset_info *info;
	struct wf_dataset *old;
	int status = wf_dataset_load(&old, &w->env, w->final_path, NULL);

	if (status == -ENOENT || status == -EBADMSG)
		return 0;
	if (status != 0)
		return status;
	info = wf_dataset_info(old);
	WF_CHECK(info->name != NULL);
	if (wf_attempt_newer(info->epoch, info->attempt, w->epoch, w->attempt)) {
		wf_dataset_log(&w->env, WF_LEVEL_WARN,
		               "dataset: %s: epoch %" PRIu64 ", attempt %" PRIu32
		               " comes late: epoch %" PRIu64 ", attempt %" PRIu32 " is there",
		               w->final_path, w->epoch, w->attempt, info->epoch, info->attempt);
		status = -ESTALE;
	}
	wf_dataset_close(old);
	return status;
}

/* Look and rename, with the directory to ourselves. */
static int take_name(struct wf_dataset_writer *w)
{
	int dir = wf_dir_lock(w->dir, LOCK_EX);
	int status;

	if (dir < 0)
		return dir;
	status = look(w);
	if (status == 0)
		status = wf_file_rename(w->private_path, w->final_path);
	(void)wf_file_close(dir);
	return status;
}

int wf_dataset_publish(struct wf_dataset_writer *writer)
{
	int status = writer->status;

	WF_CHECK(writer->fd >= 0);
	if (status == 0)
		status = complete(writer);
	if (status == 0)
		status = take_name(writer);
	if (status != 0) {
		wf_dataset_abort(writer);
		return status;
	}
	/* Not under the directory's lock: the flushes of several writers become one. */
	status = wf_file_fsync_dir(writer->dir);
	writer_free(writer);
	return status;
}

int wf_dataset_write(const struct wf_dataset_env *env, const struct wf_dataset_spec *spec,
                     const struct wf_dataset_part *parts, uint32_t part_count)
{
	struct wf_dataset_spec known = *spec;
	struct wf_dataset_writer *writer;
	int status;

	WF_CHECK(parts != NULL || part_count == 0);
	WF_CHECK(spec != NULL);
	known.expect_bytes = 0;
	for (uint32_t i = 0; i < part_count; i++)
		known.expect_bytes += parts[i].size;
	status = wf_dataset_begin(&writer, env, &known);
	if (status != 0)
		return status;
	for (uint32_t i = 0; i < part_count; i++)
		(void)wf_dataset_append(writer, &parts[i]);
	return wf_dataset_publish(writer);
}
