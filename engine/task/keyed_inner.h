/*
 * keyed_inner.h: an entry of the table of keys, and the table; for keyed.c and checkpoint.c.
 */
#ifndef WF_KEYED_INNER_H
#define WF_KEYED_INNER_H

#include "keyed.h"
#include "runtime.h"
#include "wf_dataset.h"

#define WF_KEYED_BUCKETS 64u

enum keyed_state { LOOKING = 0, PENDING, ENDED };

struct wf_keyed {
	struct wf_keyed *next; /* in its bucket */
	char *key;             /* "": only an output directory */
	char *output_name;     /* NULL: temporary */
	char *output_place;    /* NULL: the session's */
	weft_task_fn *fn;
	uint64_t fingerprint;
	uint32_t retries;
	uint32_t n_outputs;
	uint32_t users;
	enum keyed_state state;
	bool broken;    /* there was a result that did not verify */
	bool well;      /* an attempt has ended well */
	uint32_t begun; /* number of the attempt in the session */
	weft_ref looked;
	struct wf_outdir *output, *scratch; /* of the attempt */
	void *checkpoint;                   /* what is on the disk; NULL: nothing */
	size_t checkpoint_size;
	bool checkpoint_known; /* it was looked for */
	weft_ref refs[];                    /* counted, once PENDING */
};

struct wf_session_table {
	pthread_mutex_t mutex;
	struct wf_session *session;
	struct wf_dataset_env env;
	struct wf_keyed *bucket[WF_KEYED_BUCKETS];
	bool failed;
	uint64_t ran, skipped, shared, recomputed;
};

/* ---- checkpoint.c; the first two on a thread that may block --------------------------------- */

/* What earlier attempts have kept of this key, once. */
void wf_checkpoint_load(weft *rt, struct wf_keyed *k);
/* The key has ended well. */
void wf_checkpoint_forget(weft *rt, struct wf_keyed *k);

#endif /* WF_KEYED_INNER_H */
