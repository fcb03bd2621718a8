/*
 * actors.h: what the rows of actors share: one plan, repeated; messages that wait for room.
 */
#ifndef BENCH_ACTORS_H
#define BENCH_ACTORS_H

#include "rows.h"

struct bench_plan {
	uint64_t n;
	weft_task_fn *root; /* a task, with n as its argument */
	void (*prepare)(weft *rt, uint64_t n);
	uint64_t (*finish)(weft *rt, uint64_t n, uint64_t value); /* the answer */
	uint64_t messages;                                        /* of one unit of n */
};
/* From the root's start to bench_actors_done(); per message. */
int bench_actors_run(const struct bench_run *run, const struct bench_plan *plan);
/* The last message tells what it has counted. */
void bench_actors_done(weft *rt, uint64_t value);

weft_actor bench_actor(weft *rt, const struct weft_actor_class *class_);
/* Fire and forget; wait when the limit is reached. */
void bench_tell(weft *rt, weft_actor actor, weft_task_fn *fn, const void *arg, size_t size);
/* A method: the first eight bytes of the state. */
int bench_actor_count(weft_task *self);

#endif /* BENCH_ACTORS_H */
