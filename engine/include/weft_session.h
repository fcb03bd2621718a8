/*
 * weft_session.h: tasks whose results outlive the process, and bodies that write files. Part of
 * weft.h, which includes this file.
 *
 * A runtime that was opened with options.session_dir is a session. A task submitted with
 * options.key is done once for that directory: its outputs are kept as a dataset under its key,
 * and a later submit of the key, in this process or the next, takes them from there instead of
 * running the body. So a program that died is run again as it is, and goes on where it was.
 *
 * The directory belongs to one live session at a time. Each session takes the next epoch, which is
 * durable before any task runs, and what an attempt publishes carries (epoch, attempt): the late
 * output of an older process never replaces a newer one.
 *
 *	data/      results of keyed tasks, datasets of weft_dataset_open()
 *	output/    output directories with a name
 *	temp/      output directories without one, and scratch directories: gone after a session
 *	           that went well, kept for the next one otherwise
 *	attempts/  a marker for each start of a key that has not ended well
 *	checkpoints/  what weft_checkpoint() has kept of such a key
 *
 * A session went well when all its tasks had ended by themselves before weft_close() and no task
 * with a key or an output directory failed.
 *
 * The words of weft.h hold here too: owned, borrowed, copied, consumed, counted; context; suspends.
 */
#ifndef WEFT_SESSION_H
#define WEFT_SESSION_H

#include "weft.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Fields of weft_task_options that belong here:
 *
 *   key           1 to 255 bytes, 160 as a file name (bytes that are special there count three),
 *                 copied. The submit looks for a result of this key:
 *                 - a task of the key is pending: its refs are shared;
 *                 - a result is on the disk and verifies: the refs are ready when the submit
 *                   returns ("already finished" in the log), and inputs are not waited for;
 *                 - a result is there and does not verify: logged, computed again;
 *                 - nothing is there: an ordinary task, whose outputs are on the disk before its
 *                   refs are ready. A failed write fails the task.
 *                 So a submit with a key may suspend. The key names the function, its argument and
 *                 its inputs; it is the caller's promise that they determine the result. What can
 *                 be compared is: function, name, numbers of outputs and inputs, and output
 *                 directory; a difference is WEFT_ECONFLICT. Outputs that are lists of references
 *                 cannot be kept: such a task fails with -ENOTSUP.
 *   key_retries   starts of the key after its first, over all sessions, until one ends well: 5 by
 *                 default, WEFT_RETRIES_NONE none, at most 1000. Every start counts, those of
 *                 options.retries within a run as well as those of earlier processes, so the
 *                 smaller of the two bounds ends it; then the task fails with WEFT_EATTEMPTS.
 *   output_name   of weft_task_outdir(); 1 to 150 bytes. "" or, with a key, NULL: a directory that
 *                 is temporary.
 *   output_place  directory that the output directory is published in (made when missing, its
 *                 parent must be there); NULL: the session's. Only with an output_name.
 *
 * Errors of weft_submit() besides its own: -EINVAL a key or an output_name without a session, or
 * of a bad length; WEFT_ECONFLICT; -EINTR the caller was cancelled; -ENAMETOOLONG; -errno of the
 * files. The outputs are untouched then.
 */

/*
 * The directory that this attempt may write files into: private to the attempt until the body
 * succeeds, then published as a whole, flushed, by a rename; removed when the body fails. The same
 * directory at every call of an attempt.
 *
 * Owned:    `*path` is borrowed until the body returns.
 * Context:  in a task that was submitted with a key or an output_name. May suspend.
 * Errors:   -ENOTSUP it was not; -ENOMEM, -errno of the file calls. `*path` untouched. When the
 *           publication fails, or finds a newer one in its place (-ESTALE), the task fails.
 */
WEFT_API WEFT_NODISC int weft_task_outdir(weft_task *self, const char **path);
/*
 * A scratch directory of this attempt, removed with all that is in it when the body returns,
 * however it returns. Otherwise as weft_task_outdir().
 */
WEFT_API WEFT_NODISC int weft_task_tmpdir(weft_task *self, const char **path);

/*
 * The result of a key, whoever made it: output 0 of a pending task, or of a result on the disk.
 *
 * Owned:    `*out` is the caller's; weft_release() it.
 * Context:  any thread, any task. May suspend.
 * Errors:   -EINVAL no session, a bad key; -ENOENT no such result; WEFT_ECORRUPT it does not
 *           verify; -EINTR, -ENOMEM, WEFT_ESTOREFULL, -errno. `*out` untouched.
 */
WEFT_API WEFT_NODISC int weft_find(weft *rt, const char *key, weft_ref *out);

struct weft_session_info {
	size_t struct_size; /* set by the caller */
	uint64_t epoch;     /* 1, 2, ...: of this session */
	const char *data;   /* directories, borrowed until close */
	const char *output;
	const char *temp;
	uint64_t ran;        /* keyed tasks that ended well by running */
	uint64_t skipped;    /* submits answered from the disk */
	uint64_t shared;     /* submits answered by a pending task */
	uint64_t recomputed; /* of `ran`: those whose older result did not verify */
};
/* Any thread, never suspends. -EINVAL no session. */
WEFT_API int weft_session_info(weft *rt, struct weft_session_info *info);

#ifdef __cplusplus
}
#endif
#endif /* WEFT_SESSION_H */
