/*
 * leaf.h: tasks that work on a share of one bucket: the regroup and the sort task.
 */
#ifndef WEFT_SORT_LEAF_H
#define WEFT_SORT_LEAF_H

#include "sort.h"

/*
 * Entries [skip, skip + count) of bucket `bucket`, counted over all scatter values in order.
 * Inputs of both tasks: `scatter_count` scatter values, then all chunks of the job.
 */
struct wf_sort_share {
	const struct wf_sort_job *job;
	uint64_t skip, count;
	uint32_t scatter_count;
	uint32_t bucket;
	uint32_t bucket_count;
	uint32_t word; /* of the key: that the entries hold, or with `rekey` that they shall hold */
	bool rekey;
	bool sort; /* false: the keys are known to be equal, input order is the order */
};

/* Value: the share's entries in input order, as one array. */
int wf_sort_regroup_body(weft_task *self);
/* Values: the records in order; with --check also their locations. */
int wf_sort_leaf_body(weft_task *self);

#endif /* WEFT_SORT_LEAF_H */
