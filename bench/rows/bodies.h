/*
 * bodies.h: the bodies of the fib and flat rows. They stand apart because the API tests run these
 * very bodies with names, groups, tracing and cancel on; so they report errors instead of ending
 * the process.
 */
#ifndef BENCH_BODIES_H
#define BENCH_BODIES_H

#include <stdint.h>
#include <weft.h>

#include "problem.h"

/* Argument: uint32_t n. Result: uint64_t fib(n). Fails with the code of the call that failed. */
int bench_fib_body(weft_task *self);

struct bench_flat {
	struct bench_counter count;
	weft *rt;
	weft_ref done; /* an event; the task that counts last sets it and releases one count */
	uint64_t total;
};
/* Argument: struct bench_flat *. No result. */
int bench_flat_body(weft_task *self);
/* Argument: struct bench_flat *. Spawns `total` tasks of the above, fire and forget. */
int bench_flat_root(weft_task *self);

#endif /* BENCH_BODIES_H */
