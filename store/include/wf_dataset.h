/*
 * wf_dataset.h: results that outlive the process. Datasets (named files of parts, whole or
 * absent), session directories (who is at work, which epoch, how often a key was begun), and
 * output directories of tasks.
 *
 * Every call here is synchronous: it blocks the calling OS thread, so it belongs on a thread that
 * may be blocked. Paths and names are copied. Any thread may call anything. A writer and an output
 * directory are used by one thread at a time; an open dataset and a session by any number.
 *
 * Locks are flock()s: they end with the process. A child of fork() that does not exec() keeps the
 * locks of its parent for as long as it lives.
 */
#ifndef WF_DATASET_H
#define WF_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wf_io;

/* A key was begun as often as the bound allows and never ended well. */
#define WF_EATTEMPTS (-5101)
/* The key's dataset was made by another descriptor: the fingerprints differ. */
#define WF_ECONFLICT (-5102)

#define WF_DATASET_NAME_MAX  160u /* of the name as a file name: special bytes count three */
#define WF_DATASET_PARTS_MAX ((uint32_t)1 << 24)
#define WF_DATASET_PAIRS_MAX ((uint32_t)1 << 16)
#define WF_DATASET_KEY_MAX   255u
#define WF_DATASET_VALUE_MAX ((uint32_t)1 << 20)
#define WF_DATASET_META_MAX  ((uint32_t)1 << 16)
/* Starts of a key after its first, over all sessions, before WF_EATTEMPTS. */
#define WF_SESSION_RETRIES   5u

/* What every call needs. `log`: levels as enum weft_log_level; may be NULL. Borrowed. */
struct wf_dataset_env {
	struct wf_io *io;
	void (*log)(void *arg, int level, const char *text);
	void *log_arg;
};

/* ---- Writing --------------------------------------------------------------------------- */

struct wf_dataset_pair {
	const char *key; /* 1 .. WF_DATASET_KEY_MAX bytes */
	const void *value;
	uint32_t value_bytes;
};

struct wf_dataset_part {
	const void *data;
	uint64_t size;
	const void *meta;
	uint32_t meta_bytes;
	uint32_t tag;
};

struct wf_dataset_spec {
	const char *dir;  /* made when missing; its parent must be there */
	const char *name; /* any bytes but NUL, 1 or more */
	/* The greater (epoch, attempt) wins over the smaller, whichever comes last; among
	 * equals the last. 0, 0 for datasets that no session makes. */
	uint64_t epoch;
	uint32_t attempt;
	uint32_t pair_count;
	const struct wf_dataset_pair *pairs;
	uint64_t fingerprint;  /* of what made it; kept, not looked at here */
	uint64_t expect_bytes; /* of all parts together, 0 unknown: room is made at the beginning */
};

struct wf_dataset_writer;

/*
 * Begin a dataset under a private name. Nobody sees it before wf_dataset_publish().
 *
 * Owned:  `*out` goes to wf_dataset_publish() or wf_dataset_abort(). The spec is copied.
 * Errors: -EINVAL a name, key or value is not allowed, -ENAMETOOLONG, -ENOMEM, -ENOSPC, -errno of
 *         the file calls. Nothing is left behind.
 */
int wf_dataset_begin(
	struct wf_dataset_writer **out, const struct wf_dataset_env *env,
	const struct wf_dataset_spec *spec);
/*
 * Write one more part; parts are numbered as they come. `part` and its bytes may go afterwards.
 * The first error stays: every later call, and the publication, gives it again.
 *
 * Errors: -EINVAL, -E2BIG more than WF_DATASET_PARTS_MAX, -ENOMEM, -ENOSPC, -errno of the write.
 */
int wf_dataset_append(struct wf_dataset_writer *writer, const struct wf_dataset_part *part);
/*
 * Make it visible by its name, in place of an older one, in one step. 0: it is there, whole, and
 * durable.
 *
 * Owned:  `writer` is consumed whatever the result.
 * Errors: -ESTALE a newer one is there, this one is gone. -errno: nothing has changed, except that
 *         after an error of the very last step (the flush of the directory) the new dataset is
 *         there and whole, but a power failure may take it back.
 */
int wf_dataset_publish(struct wf_dataset_writer *writer);
/* Forget it. Its file is gone. NULL is accepted. */
void wf_dataset_abort(struct wf_dataset_writer *writer);
/* The three in one, for parts that are all at hand. Errors: of the three. */
int wf_dataset_write(
	const struct wf_dataset_env *env, const struct wf_dataset_spec *spec,
	const struct wf_dataset_part *parts, uint32_t part_count);

/* ---- Reading --------------------------------------------------------------------------- */

struct wf_dataset;

struct wf_dataset_info {
	const char *name;
	uint64_t epoch, fingerprint;
	uint64_t payload_bytes; /* of all parts */
	uint32_t attempt, part_count, pair_count;
};
struct wf_dataset_part_info {
	uint64_t size;
	uint32_t tag, meta_bytes;
	const void *meta;
};
/* What is wrong with a dataset. */
struct wf_dataset_fault {
	int code;      /* -EBADMSG it is not what was written, else the read's errno */
	uint32_t part; /* UINT32_MAX: the dataset as a whole */
	char text[256]; /* file, offset, reason */
};

/*
 * Open: lengths and the manifest's sums are checked, the parts' sums when they are read. What is
 * opened stays readable, whoever replaces or removes it.
 *
 * Owned:  `*out`; wf_dataset_close() it. `fault` may be NULL; it is filled on -EBADMSG and on
 *         read errors.
 * Errors: -ENOENT, -EBADMSG, -ENAMETOOLONG, -ENOMEM, -errno of the file calls.
 */
int wf_dataset_open(
	struct wf_dataset **out, const struct wf_dataset_env *env, const char *dir,
	const char *name, struct wf_dataset_fault *fault);
void wf_dataset_close(struct wf_dataset *dataset); /* NULL is accepted */

/* Borrowed, all of these, until wf_dataset_close(). */
const struct wf_dataset_info *wf_dataset_info(const struct wf_dataset *dataset);
/* `index` below part_count. */
struct wf_dataset_part_info wf_dataset_part(const struct wf_dataset *dataset, uint32_t index);
/* Pair number `index`, below pair_count. */
const struct wf_dataset_pair *wf_dataset_pair(const struct wf_dataset *dataset, uint32_t index);
/* The first pair of that key, or NULL. */
const struct wf_dataset_pair *wf_dataset_find(const struct wf_dataset *dataset, const char *key);

/*
 * Read a part into `data`, which has room for its size, and check its sum. Bytes that do not match
 * are read once more before they are given up. Other parts are not touched by an error of one.
 *
 * Errors: -EINVAL no such part, -EBADMSG, -errno of the read; `fault` (may be NULL) says where.
 *         `data` is then undefined.
 */
int wf_dataset_read(
	const struct wf_dataset *dataset, uint32_t index, void *data,
	struct wf_dataset_fault *fault);
/*
 * Read everything and tell `broken` of each part that is not as it was written: what has to be
 * computed again; not 0 ends it. The number of those parts, or -ENOMEM. `broken` may be NULL.
 */
int wf_dataset_verify(
	const struct wf_dataset *dataset,
	int (*broken)(void *arg, const struct wf_dataset_fault *fault), void *arg);

/* ---- Directories ----------------------------------------------------------------------- */

/*
 * Tell `visit` of every dataset of a directory, in no order: `info` and the rest of `dataset` when
 * `fault` is NULL, else `dataset` is NULL. Both are borrowed for the call.
 * Errors: what `visit` returned when that was not 0, -ENOMEM, -errno of reading the directory.
 */
int wf_dataset_list(
	const struct wf_dataset_env *env, const char *dir,
	int (*visit)(
		void *arg, const char *name, const struct wf_dataset *dataset,
		const struct wf_dataset_fault *fault),
	void *arg);
/* Errors: -ENOENT, -errno. Who has it open may go on reading. */
int wf_dataset_remove(const struct wf_dataset_env *env, const char *dir, const char *name);
/*
 * Remove what dead writers have left in a directory: private names whose owner (pid, start time,
 * boot) is gone and whose lock is free. To be called when a directory is first used; costs a
 * reading of the directory. How many were removed, or -errno; what cannot be removed is logged.
 */
int wf_dataset_clean(const struct wf_dataset_env *env, const char *dir);

/* ---- Output directories ---------------------------------------------------------------- */

struct wf_outdir;

/*
 * Make a private directory beside the place where it will be published: the same file system. A
 * body writes its files there.
 *
 * Owned:  `*out` goes to wf_outdir_publish() or wf_outdir_discard().
 * Errors: as wf_dataset_begin().
 */
int wf_outdir_create(
	struct wf_outdir **out, const struct wf_dataset_env *env, const char *place,
	const char *name, uint64_t epoch, uint32_t attempt);
const char *wf_outdir_path(const struct wf_outdir *out);
/*
 * Publish as `place`/`name`, whole, with every file in it flushed, in place of what an older
 * attempt has published. It holds one more file, ".weft-attempt", which says who made it.
 *
 * Owned:  `out` is consumed whatever the result; on an error its files are gone.
 * Errors: -ESTALE a newer one is there; -EEXIST what is there was not published by this function;
 *         -ELOOP directories more than 64 deep; -errno.
 */
int wf_outdir_publish(struct wf_outdir *out);
/* Its files are gone. Also the end of a scratch directory. NULL is accepted. */
void wf_outdir_discard(struct wf_outdir *out);

/* ---- Sessions -------------------------------------------------------------------------- */

struct wf_session;

/* Directories of a session, as paths that stay until it is closed. */
enum wf_session_place {
	WF_SESSION_DATA = 0, /* datasets of keyed tasks; stay */
	WF_SESSION_OUTPUT,   /* named output directories; stay */
	WF_SESSION_TEMP,     /* unnamed output and scratch directories; go at a successful end */
	WF_SESSION_CHECKPOINTS, /* datasets of keys that have not ended well; likewise */
	WF_SESSION_PLACES
};

/*
 * Open a session directory, make it when it is missing, remove strays of dead sessions, and take
 * the next epoch. The epoch is durable before this returns.
 *
 * Owned:  `*out`; wf_session_close() it. `env` is copied.
 * Errors: -EBUSY a live session has it (the log says which process), -EBADMSG its epoch cannot be
 *         read, -ENOMEM, -errno.
 */
int wf_session_open(
	struct wf_session **out, const struct wf_dataset_env *env, const char *path);
/*
 * `success`: temporary outputs and attempt markers go. Otherwise everything stays for the next
 * session. NULL is accepted.
 */
void wf_session_close(struct wf_session *session, bool success);
uint64_t wf_session_epoch(const struct wf_session *session);
const char *wf_session_path(const struct wf_session *session, enum wf_session_place place);

/* Greater than every one before in this session: with the epoch it says which output is newer. */
uint32_t wf_session_number(struct wf_session *session);
/*
 * Note that `key` is begun once more, in a way that survives the death of the process. Each start
 * counts, retries within a run and runs of later sessions alike: `retries` (WF_SESSION_RETRIES by
 * default) + 1 starts in all, until one ends well. `*attempt` is a wf_session_number().
 *
 * Errors: WF_EATTEMPTS that was the last one, -ENAMETOOLONG, -ENOMEM, -errno.
 */
int wf_session_attempt(
	struct wf_session *session, const char *key, uint32_t retries, uint32_t *attempt);
/* `key` has ended well: the count starts anew. Errors: -errno; some markers may have stayed. */
int wf_session_attempts_forget(struct wf_session *session, const char *key);
/*
 * The result of a keyed task that was already done. `fingerprint`: of the descriptor that asks; 0
 * asks by key alone.
 *
 * Owned:  `*out`; wf_dataset_close() it.
 * Errors: -ENOENT not done, WF_ECONFLICT done by another descriptor, -EBADMSG to be computed again
 *         (logged), -ENOMEM, -errno.
 */
int wf_session_find(
	struct wf_session *session, const char *key, uint64_t fingerprint, struct wf_dataset **out);

#endif /* WF_DATASET_H */
