/*
 * dataset_read.c: opening, checking and reading datasets, and what is done to a directory of them.
 *
 * An open dataset is not written after it was opened, so any number of threads may read. What a
 * read gives is checked against the sum in the manifest, and the manifest against the sum in the
 * trailer; a transfer that went wrong is tried once more before the bytes are called broken.
 */
#include "dataset.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "base.h"
#include "dirs.h"
#include "owner.h"

#define TRIES        2
/* Read at a time where nobody wants the bytes. */
#define VERIFY_BYTES ((uint64_t)4 << 20)

/* Fill `fault`, when there is one, and hand `code` on. */
__attribute__((format(printf, 4, 5))) static int broken(struct wf_dataset_fault *fault, int code,
                                                        uint32_t part, const char *format, ...)
{
	va_list args;

	WF_CHECK(code < 0);
	WF_CHECK(code != -ENODATA);
	if (fault == NULL)
		return code;
	fault->code = code;
	fault->part = part;
	va_start(args, format);
	vsnprintf(fault->text, sizeof(fault->text), format, args);
	va_end(args);
	return code;
}

/* ---- Opening --------------------------------------------------------------------------- */

static int read_trailer(struct wf_dataset *d, struct wf_trailer *trailer,
                        struct wf_dataset_fault *fault)
{
	const char *reason;
	struct stat info;
	uint64_t at;
	int status;

	WF_CHECK(d->fd >= 0);
	if (fstat(d->fd, &info) != 0)
		return broken(fault, -errno, UINT32_MAX, "%s: no length", d->path);
	if ((uint64_t)info.st_size < sizeof(*trailer))
		return broken(fault, -EBADMSG, UINT32_MAX, "%s: offset 0: shorter than a trailer",
		              d->path);
	at = (uint64_t)info.st_size - sizeof(*trailer);
	memset(trailer, 0, sizeof(*trailer));
	status = wf_dataset_transfer(&d->env, WF_IO_READ, d->fd, false, trailer, sizeof(*trailer),
	                             at);
	if (status != 0 && status != -ENODATA)
		return broken(fault, status, UINT32_MAX, "%s: offset %" PRIu64 ": %s", d->path, at,
		              strerror(-status));
	reason = wf_trailer_check(trailer, (uint64_t)info.st_size);
	if (reason != NULL)
		return broken(fault, -EBADMSG, UINT32_MAX, "%s: offset %" PRIu64 ": %s", d->path,
		              at, reason);
	return 0;
}

static int read_manifest(struct wf_dataset *d, struct wf_dataset_fault *fault)
{
	struct wf_trailer trailer = { 0 };
	const char *reason = NULL;
	uint64_t at, size;
	char *bytes;
	int status = read_trailer(d, &trailer, fault);

	if (status != 0)
		return status;
	at = trailer.manifest_offset;
	size = trailer.manifest_bytes;
	WF_CHECK(size <= WF_MANIFEST_MAX);
	WF_CHECK(d->manifest.bytes == NULL);
	bytes = wf_malloc(size);
	if (bytes == NULL)
		return -ENOMEM;
	status = wf_dataset_transfer(&d->env, WF_IO_READ, d->fd, false, bytes, size, at);
	if (status == -ENODATA) {
		status = -EBADMSG;
		reason = "it ends early";
	} else if (status == 0 && XXH3_64bits(bytes, size) != trailer.manifest_sum) {
		status = -EBADMSG;
		reason = "its sum is wrong";
	} else if (status == 0) {
		status = wf_manifest_parse(&d->manifest, bytes, size, at, &reason);
	}
	if (status == 0)
		return 0;
	wf_free(bytes);
	if (reason != NULL)
		return broken(fault, status, UINT32_MAX, "%s: manifest at offset %" PRIu64 ": %s",
		              d->path, at, reason);
	return broken(fault, status, UINT32_MAX, "%s: manifest at offset %" PRIu64 ": %s", d->path,
	              at, strerror(-status));
}

/*
 * The same file once more, without the page cache: what is read from a dataset goes into the store
 * and is not read again. No error: the file may have been replaced since, or have no O_DIRECT.
 */
static void open_direct(struct wf_dataset *d)
{
	struct stat ours, found;
	bool large = false;
	int fd;

	for (uint32_t i = 0; i < d->manifest.info.part_count && !large; i++)
		large = d->manifest.parts[i].size >= WF_DATASET_LARGE;
	fd = large ? wf_file_open(d->path, O_RDONLY | O_DIRECT, 0) : -1;
	if (fd < 0)
		return;
	if (fstat(d->fd, &ours) == 0 && fstat(fd, &found) == 0 && ours.st_ino == found.st_ino &&
	    ours.st_dev == found.st_dev)
		d->direct = fd;
	else
		(void)wf_file_close(fd);
}

static int load(struct wf_dataset **out, const struct wf_dataset_env *env, const char *path,
                bool wait, struct wf_dataset_fault *fault)
{
	struct wf_dataset *d = wf_calloc(1, sizeof(*d));
	int fd, status = -ENOMEM;

	WF_CHECK(env->io != NULL && path != NULL);
	if (d == NULL)
		return -ENOMEM;
	d->env = *env;
	d->fd = -1;
	d->direct = -1;
	d->path = wf_text_copy(path);
	if (d->path == NULL)
		goto out_close;
	fd = wf_file_open(path, O_RDONLY, 0);
	if (fd >= 0)
		d->fd = fd;
	status = fd < 0 ? fd : wait ? wf_lock(fd, LOCK_SH) : 0;
	if (status != 0) {
		(void)broken(fault, status, UINT32_MAX, "%s: %s", path, strerror(-status));
		goto out_close;
	}
	status = -EBADMSG;
	for (int i = 0; i < TRIES && status == -EBADMSG; i++)
		status = read_manifest(d, fault);
	if (status != 0)
		goto out_close;
	WF_CHECK(d->manifest.info.name != NULL);
	*out = d;
	return 0;
out_close:
	wf_dataset_close(d);
	return status;
}

int wf_dataset_load(struct wf_dataset **out, const struct wf_dataset_env *env, const char *path,
                    struct wf_dataset_fault *fault)
{
	return load(out, env, path, false, fault);
}

int wf_dataset_open(struct wf_dataset **out, const struct wf_dataset_env *env, const char *dir,
                    const char *name, struct wf_dataset_fault *fault)
{
	struct wf_dataset *d;
	char *path;
	int status = wf_dataset_path(&path, dir, name);

	WF_CHECK(out != NULL);
	if (status != 0)
		return status;
	status = load(&d, env, path, true, fault);
	wf_free(path);
	if (status != 0)
		return status;
	open_direct(d);
	if (strcmp(d->manifest.info.name, name) != 0) {
		status = broken(fault, -EBADMSG, UINT32_MAX, "%s: it is the dataset \"%.80s\"",
		                d->path, d->manifest.info.name);
		wf_dataset_close(d);
		return status;
	}
	*out = d;
	return 0;
}

void wf_dataset_close(struct wf_dataset *dataset)
{
	if (dataset == NULL)
		return;
	(void)wf_file_close(dataset->direct);
	(void)wf_file_close(dataset->fd);
	wf_manifest_fini(&dataset->manifest);
	wf_free(dataset->path);
	wf_free(dataset);
}

/* ---- What is in it --------------------------------------------------------------------- */

const struct wf_dataset_info *wf_dataset_info(const struct wf_dataset *dataset)
{
	return &dataset->manifest.info;
}

struct wf_dataset_part_info wf_dataset_part(const struct wf_dataset *dataset, uint32_t index)
{
	const struct wf_manifest_part *part = &dataset->manifest.parts[index];

	WF_CHECK(index < dataset->manifest.info.part_count);
	return (struct wf_dataset_part_info){
		.size = part->size,
		.tag = part->tag,
		.meta_bytes = part->meta_bytes,
		.meta = part->meta,
	};
}

const struct wf_dataset_pair *wf_dataset_pair(const struct wf_dataset *dataset, uint32_t index)
{
	WF_CHECK(index < dataset->manifest.info.pair_count);
	return &dataset->manifest.pairs[index];
}

const struct wf_dataset_pair *wf_dataset_find(const struct wf_dataset *dataset, const char *key)
{
	const struct wf_manifest *m = &dataset->manifest;

	WF_CHECK(key != NULL);
	for (uint32_t i = 0; i < m->info.pair_count; i++) {
		if (strcmp(m->pairs[i].key, key) == 0)
			return &m->pairs[i];
	}
	return NULL;
}

/* ---- Reading --------------------------------------------------------------------------- */

/* Bytes of the file, whole blocks of large transfers by O_DIRECT where that works. */
static int read_bytes(const struct wf_dataset *d, char *data, uint64_t size, uint64_t at)
{
	uint64_t whole = size & ~(uint64_t)(WF_MANIFEST_BLOCK - 1);
	int status;

	WF_CHECK(d->fd >= 0);
	if (d->direct < 0 || size < WF_DATASET_LARGE ||
	    ((uintptr_t)data | at) % WF_MANIFEST_BLOCK != 0)
		whole = 0;
	status = wf_dataset_transfer(&d->env, WF_IO_READ, d->direct, true, data, whole, at);
	/* open() takes O_DIRECT where read() does not. */
	if (status == -EINVAL) {
		whole = 0;
		status = 0;
	}
	return status != 0 ? status
			   : wf_dataset_transfer(&d->env, WF_IO_READ, d->fd, false, data + whole,
	                                         size - whole, at + whole);
}

/* One transfer of `size` bytes of a part, `done` bytes into it. */
static int read_piece(const struct wf_dataset *d, uint32_t index, uint64_t done, void *data,
                      uint64_t size, struct wf_dataset_fault *fault)
{
	const struct wf_manifest_part *part = &d->manifest.parts[index];
	uint64_t at = part->offset + done;
	int status;

	WF_CHECK(index < d->manifest.info.part_count);
	WF_CHECK(done <= part->size && size <= part->size - done);
	status = size > 0 ? read_bytes(d, data, size, at) : 0;
	if (status == -ENODATA)
		return broken(fault, -EBADMSG, index,
		              "%s: part %" PRIu32 ": offset %" PRIu64 ": the file ends early",
		              d->path, index, at);
	if (status != 0)
		return broken(fault, status, index, "%s: part %" PRIu32 ": offset %" PRIu64 ": %s",
		              d->path, index, at, strerror(-status));
	return 0;
}

static int check_sum(const struct wf_dataset *d, uint32_t index, uint64_t sum,
                     struct wf_dataset_fault *fault)
{
	const struct wf_manifest_part *part = &d->manifest.parts[index];

	if (sum == part->sum)
		return 0;
	return broken(fault, -EBADMSG, index,
	              "%s: part %" PRIu32 ": offset %" PRIu64 ": sum %016" PRIx64
	              ", not %016" PRIx64,
	              d->path, index, part->offset, sum, part->sum);
}

int wf_dataset_read(const struct wf_dataset *dataset, uint32_t index, void *data,
                    struct wf_dataset_fault *fault)
{
	const struct wf_manifest *m = &dataset->manifest;
	int status = -EBADMSG;

	WF_CHECK(dataset->fd >= 0);
	if (index >= m->info.part_count || (data == NULL && m->parts[index].size > 0))
		return -EINVAL;
	for (int i = 0; i < TRIES && status == -EBADMSG; i++) {
		status = read_piece(dataset, index, 0, data, m->parts[index].size, fault);
		if (status == 0)
			status = check_sum(dataset, index, XXH3_64bits(data, m->parts[index].size),
			                   fault);
	}
	return status;
}

/* Read a part of any size through VERIFY_BYTES of memory. */
static int verify_part(const struct wf_dataset *d, uint32_t index, char *scratch,
                       XXH3_state_t *hash, struct wf_dataset_fault *fault)
{
	uint64_t size = d->manifest.parts[index].size;

	WF_CHECK(index < d->manifest.info.part_count);
	XXH3_64bits_reset(hash);
	for (uint64_t done = 0; done < size;) {
		uint64_t now = size - done < VERIFY_BYTES ? size - done : VERIFY_BYTES;
		int status = read_piece(d, index, done, scratch, now, fault);

		if (status != 0)
			return status;
		XXH3_64bits_update(hash, scratch, now);
		done += now;
	}
	return check_sum(d, index, XXH3_64bits_digest(hash), fault);
}

int wf_dataset_verify(const struct wf_dataset *dataset,
                      int (*tell)(void *arg, const struct wf_dataset_fault *fault), void *arg)
{
	struct wf_dataset_fault fault;
	char *scratch = wf_aligned_alloc(WF_MANIFEST_BLOCK, VERIFY_BYTES);
	XXH3_state_t *hash = wf_fault(WF_FAULT_MALLOC) ? NULL : XXH3_createState();
	int count = scratch != NULL && hash != NULL ? 0 : -ENOMEM;

	for (uint32_t i = 0; count >= 0 && i < dataset->manifest.info.part_count; i++) {
		int status = -EBADMSG;

		for (int try = 0; try < TRIES && status == -EBADMSG; try++)
			status = verify_part(dataset, i, scratch, hash, &fault);
		if (status == 0)
			continue;
		WF_CHECK(fault.part == i && fault.code == status);
		count++;
		if (tell != NULL && tell(arg, &fault) != 0)
			break;
	}
	XXH3_freeState(hash);
	wf_free(scratch);
	WF_CHECK(count <= (int)dataset->manifest.info.part_count);
	return count;
}

/* ---- Directories ----------------------------------------------------------------------- */

/* The name of a dataset by its file's name; false when it is something else. Cuts `file`. */
static bool dataset_name(char *name, char *file)
{
	size_t end = strlen(file), suffix = sizeof(WF_DATASET_SUFFIX) - 1;

	if (end <= suffix || end - suffix > WF_DATASET_NAME_MAX ||
	    strcmp(file + end - suffix, WF_DATASET_SUFFIX) != 0)
		return false;
	file[end - suffix] = '\0';
	return wf_name_decode(name, file);
}

int wf_dataset_list(const struct wf_dataset_env *env, const char *dir,
                    int (*visit)(void *arg, const char *name, const struct wf_dataset *dataset,
                                 const struct wf_dataset_fault *fault),
                    void *arg)
{
	struct wf_names names;
	int status = wf_names_read(&names, dir);

	WF_CHECK(visit != NULL);
	if (status != 0)
		return status;
	for (size_t i = 0; status == 0 && i < names.count; i++) {
		char name[WF_DATASET_NAME_MAX + 1];
		struct wf_dataset_fault fault = { 0 };
		struct wf_dataset *d = NULL;

		if (!dataset_name(name, names.names[i]))
			continue;
		status = wf_dataset_open(&d, env, dir, name, &fault);
		if (status == 0) {
			status = visit(arg, name, d, NULL);
			wf_dataset_close(d);
		} else if (status == -ENOENT) {
			/* Removed meanwhile. */
			status = 0;
		} else if (status != -ENOMEM) {
			WF_CHECK(fault.code == status);
			status = visit(arg, name, NULL, &fault);
		}
	}
	wf_names_fini(&names);
	return status;
}

int wf_dataset_remove(const struct wf_dataset_env *env, const char *dir, const char *name)
{
	char *path;
	int status = wf_dataset_path(&path, dir, name);
	int lock;

	if (status != 0)
		return status;
	WF_CHECK(path != NULL);
	lock = wf_dir_lock(dir, LOCK_EX);
	status = lock < 0 ? lock : wf_file_unlink(path);
	if (lock >= 0)
		(void)wf_file_close(lock);
	if (status == 0)
		status = wf_file_fsync_dir(dir);
	if (status != 0 && status != -ENOENT)
		wf_dataset_log(env, WF_LEVEL_WARN, "dataset: removing %s: %s", path,
		               strerror(-status));
	wf_free(path);
	return status;
}

/*
 * Remove one private name if its owner has ended and nobody has it locked. True when it is gone.
 * The directory is locked exclusively.
 */
static bool remove_stray(const struct wf_dataset_env *env, const char *path)
{
	int fd = wf_file_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	int status = fd < 0 ? fd : wf_lock(fd, LOCK_EX | LOCK_NB);

	if (status == 0)
		status = wf_tree_remove(path);
	(void)wf_file_close(fd < 0 ? -1 : fd);
	/* Its owner lives where we cannot see it: in another container, say. */
	if (status == -EWOULDBLOCK)
		return false;
	if (status == 0)
		wf_dataset_log(env, WF_LEVEL_INFO, "dataset: stray %s removed", path);
	else
		wf_dataset_log(env, WF_LEVEL_WARN, "dataset: stray %s cannot be removed: %s", path,
		               strerror(-status));
	return status == 0;
}

int wf_dataset_clean(const struct wf_dataset_env *env, const char *dir)
{
	struct wf_names names;
	int lock = wf_dir_lock(dir, LOCK_EX);
	int status, count = 0;

	if (lock < 0)
		return lock;
	status = wf_names_read(&names, dir);
	if (status != 0)
		goto out_unlock;
	for (size_t i = 0; status == 0 && i < names.count; i++) {
		struct wf_owner owner;
		char *path;

		if (!wf_attempt_parse(names.names[i], &owner) || wf_owner_alive(&owner))
			continue;
		path = wf_path(dir, names.names[i]);
		if (path != NULL)
			count += remove_stray(env, path);
		else
			status = -ENOMEM;
		wf_free(path);
	}
	WF_CHECK(count >= 0 && (size_t)count <= names.count);
	wf_names_fini(&names);
out_unlock:
	(void)wf_file_close(lock);
	return status != 0 ? status : count;
}
