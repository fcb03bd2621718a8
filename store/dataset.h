/*
 * dataset.h: what the files of the datasets and sessions share.
 */
#ifndef WF_STORE_DATASET_H
#define WF_STORE_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"
#include "wf_dataset.h"
#include "wf_io.h"

#define WF_DATASET_SUFFIX ".weft" /* of a published dataset */
/*
 * From here on a part stands at a multiple of WF_MANIFEST_BLOCK, to be moved by O_DIRECT between
 * the file and its place in memory. Guessed: well above a page, so that the padding is nothing.
 */
#define WF_DATASET_LARGE  ((uint64_t)1 << 20)

struct wf_dataset {
	struct wf_dataset_env env;
	struct wf_manifest manifest;
	char *path;
	int fd;
	int direct; /* the same file by O_DIRECT, when it has large parts; -1: not */
};

enum { WF_LEVEL_ERROR = 1, WF_LEVEL_WARN, WF_LEVEL_INFO }; /* as enum weft_log_level */
__attribute__((format(printf, 3, 4))) void wf_dataset_log(
	const struct wf_dataset_env *env, int level, const char *format, ...);

/* One whole transfer: 0, -errno, or -ENODATA for a read that met the end of the file. */
int wf_dataset_transfer(
	const struct wf_dataset_env *env, enum wf_io_op op, int fd, bool direct, void *data,
	uint64_t size, uint64_t offset);

/* Path of the published dataset `name`: wf_malloc(). -EINVAL, -ENAMETOOLONG, -ENOMEM. */
int wf_dataset_path(char **out, const char *dir, const char *name);

/*
 * Open by path, without waiting for its writer: for a look. `fault` may be NULL. As
 * wf_dataset_open() otherwise.
 */
int wf_dataset_load(
	struct wf_dataset **out, const struct wf_dataset_env *env, const char *path,
	struct wf_dataset_fault *fault);

/*
 * Lock what was just made by a private name. It is a stray's mark that it can be locked, so between
 * its making and this call nobody may look for strays: whoever makes one holds the directory's
 * lock shared, whoever cleans holds it exclusively.
 */
int wf_attempt_lock(int fd);

/* Whether (epoch, attempt) a is greater than b. */
static inline bool wf_attempt_newer(
	uint64_t a_epoch, uint32_t a_attempt, uint64_t b_epoch, uint32_t b_attempt)
{
	return a_epoch != b_epoch ? a_epoch > b_epoch : a_attempt > b_attempt;
}

#endif /* WF_STORE_DATASET_H */
