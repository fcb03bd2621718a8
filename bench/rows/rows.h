/*
 * rows.h: the rows as weft runs them, and the little that they share. Rows use nothing of the
 * engine but <weft.h>: what they reach, every program reaches.
 */
#ifndef BENCH_ROWS_H
#define BENCH_ROWS_H

#include <stdint.h>
#include <weft.h>

#include "engine.h"
#include "problem.h"

int row_fib(const struct bench_run *run);
int row_forkjoin(const struct bench_run *run);
int row_overlap(const struct bench_run *run);
int row_flat(const struct bench_run *run);
int row_flat_foreign(const struct bench_run *run);
int row_flat_bulk(const struct bench_run *run);
int row_resource_flat(const struct bench_run *run);
int row_resource_queue(const struct bench_run *run);
int row_group_share(const struct bench_run *run);
int row_group_urgent(const struct bench_run *run);
int row_query(const struct bench_run *run);
int row_chain(const struct bench_run *run);
int row_tree(const struct bench_run *run);
int row_wavefront(const struct bench_run *run);
int row_uts(const struct bench_run *run);
int row_grain_stencil(const struct bench_run *run);
int row_grain_independent(const struct bench_run *run);
int row_roundtrip_hot(const struct bench_run *run);
int row_roundtrip_parked(const struct bench_run *run);
int row_block_resume(const struct bench_run *run);
int row_nested_1000(const struct bench_run *run);
int row_blocked_100k(const struct bench_run *run);
int row_wait_one(const struct bench_run *run);
int row_cancel_queued(const struct bench_run *run);
int row_generator(const struct bench_run *run);
int row_loop_tiny(const struct bench_run *run);
int row_loop_sum(const struct bench_run *run);
int row_queued_bytes(const struct bench_run *run);
int row_open_close(const struct bench_run *run);
int row_idle_cpu(const struct bench_run *run);
int row_churn_rss(const struct bench_run *run);
int row_store_cycle_1k(const struct bench_run *run);
int row_store_get_1k(const struct bench_run *run);
int row_store_put_1m(const struct bench_run *run);
int row_store_put_100m(const struct bench_run *run);
int row_store_alloc_64(const struct bench_run *run);
int row_store_alloc_1k(const struct bench_run *run);
int row_store_alloc_100k(const struct bench_run *run);
int row_store_alloc_10m(const struct bench_run *run);
int row_store_full(const struct bench_run *run);
int row_store_idle_cpu(const struct bench_run *run);
int row_store_dataset_4k(const struct bench_run *run);
int row_store_dataset_64m(const struct bench_run *run);
int row_spill_write_4m(const struct bench_run *run);
int row_spill_write_64k(const struct bench_run *run);
int row_spill_write_1k(const struct bench_run *run);
int row_spill_restore_4m(const struct bench_run *run);
int row_spill_restore_64k(const struct bench_run *run);
int row_spill_restore_1k(const struct bench_run *run);
int row_actor_pingpong(const struct bench_run *run);
int row_actor_ring(const struct bench_run *run);
int row_actor_counting(const struct bench_run *run);
int row_actor_n1(const struct bench_run *run);
int row_actor_fjthrput(const struct bench_run *run);
int row_actor_fjcreate(const struct bench_run *run);
int row_actor_big(const struct bench_run *run);
int row_actor_ask(const struct bench_run *run);
int row_actor_askburst(const struct bench_run *run);
int row_actor_chameneos(const struct bench_run *run);
int row_actor_concdict(const struct bench_run *run);
int row_actor_bank(const struct bench_run *run);
int row_actor_bank_50k(const struct bench_run *run);
int row_actor_bank_1m(const struct bench_run *run);
int row_actor_gain(const struct bench_run *run);
int row_actor_idle_bytes(const struct bench_run *run);
int row_actor_flood_bytes(const struct bench_run *run);
int row_actor_kill(const struct bench_run *run);
int row_actor_restart(const struct bench_run *run);
int row_ray_get(const struct bench_run *run);
int row_ray_put(const struct bench_run *run);
int row_ray_put_multi(const struct bench_run *run);
int row_ray_put_large(const struct bench_run *run);
int row_ray_put_large_n(const struct bench_run *run);
int row_ray_tasks_batch(const struct bench_run *run);
int row_ray_tasks_sync(const struct bench_run *run);
int row_ray_tasks_async(const struct bench_run *run);
int row_ray_tasks_multi(const struct bench_run *run);
int row_ray_get_10k_refs(const struct bench_run *run);
int row_ray_wait_1k(const struct bench_run *run);
int row_ray_actor_sync(const struct bench_run *run);
int row_ray_actor_async(const struct bench_run *run);
int row_ray_actor_wide(const struct bench_run *run);
int row_ray_actor_1n(const struct bench_run *run);
int row_ray_actor_nn(const struct bench_run *run);
int row_ray_actor_nn_arg(const struct bench_run *run);
int row_ray_async_sync(const struct bench_run *run);
int row_ray_async_async(const struct bench_run *run);
int row_ray_async_args(const struct bench_run *run);
int row_ray_async_1n(const struct bench_run *run);
int row_ray_async_nn(const struct bench_run *run);
int row_ray_placement(const struct bench_run *run);
int row_ray_env_args(const struct bench_run *run);
int row_ray_env_returns(const struct bench_run *run);
int row_ray_env_get(const struct bench_run *run);
int row_ray_env_queued(const struct bench_run *run);
int row_ray_env_object(const struct bench_run *run);

/* A runtime with `workers` threads and defaults otherwise. */
weft *bench_open(uint32_t workers);
void bench_close(weft *rt);

/* End the process with `what` and the status' text when `status` is negative. */
void bench_must(int64_t status, const char *what);

/* Submit `fn` with a copied argument and get its 64-bit result: a row's root task. */
uint64_t bench_root(weft *rt, weft_task_fn *fn, const void *arg, size_t arg_size);

/*
 * An event with two counts, and its completion by a task, which drops one: the waiter may release
 * the other before the setter's call has returned.
 */
weft_ref bench_done_event(weft *rt);
void bench_set_done(weft *rt, weft_ref done);

/* The argument of a body that was given `size` bytes. */
static inline void *bench_arg(weft_task *self)
{
	size_t size;
	return weft_task_arg(self, &size);
}

static inline uint64_t bench_input_u64(const weft_task *self, uint32_t index)
{
	struct weft_view view;
	bench_must(weft_input(self, index, &view), "weft_input");
	return *(const uint64_t *)view.data;
}

#endif /* BENCH_ROWS_H */
