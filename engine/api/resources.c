/*
 * resources.c: what a runtime has, what waits for it, and what a task may ask about itself.
 */
#include <errno.h>
#include <string.h>

#include "actor.h"
#include "admit_state.h"
#include "gpu.h"

/* ---- The runtime --------------------------------------------------------------------------- */

/* CPUs of workers that are awake and neither stand aside nor run what is counted. */
static int64_t plain_cpus(const weft *rt)
{
	/* relaxed: a snapshot. */
	uint32_t idle = wf_load_relaxed(&rt->idle) & (WF_IDLE_ALWAYS - 1);
	uint32_t away = idle + rt->admit->lent + (uint32_t)(rt->admit->slots / WF_FIXED);

	return rt->workers > away ? (int64_t)(rt->workers - away) * WF_FIXED : 0;
}

static double amount(int64_t fixed)
{
	return (double)fixed / WF_FIXED;
}

int weft_resources(weft *rt, struct weft_resource_info *infos, uint32_t n)
{
	if (!rt || (n && !infos))
		return -EINVAL;
	struct wf_admit *a = rt->admit;
	struct weft_resource_info all[4 + WEFT_RESOURCES_MAX];
	uint32_t count = 3;
	int64_t gpu = 0, bytes = 0, bytes_free = 0;

	pthread_mutex_lock(&a->mutex);
	int64_t busy = plain_cpus(rt);

	/* What actors hold is taken, whether their calls run or others do. */
	if (busy < a->kept_cpus)
		busy = a->kept_cpus;
	wf_admit_know_memory(a);
	for (uint32_t i = 0; i < a->gpus; i++) {
		if (a->gpus_lost >> i & 1)
			continue;
		gpu += a->gpu_free[i];
		bytes += a->gpu_mem[i];
		bytes_free += a->gpu_mem_free[i];
	}
	all[0] = (struct weft_resource_info){ "CPU", amount(a->total[WF_RES_CPU]),
		                              amount(a->free[WF_RES_CPU] + a->kept_cpus - busy) };
	all[1] = (struct weft_resource_info){ "GPU", amount(a->total[WF_RES_GPU]), amount(gpu) };
	all[2] = (struct weft_resource_info){ "memory", (double)a->total[WF_RES_MEMORY],
		                              (double)a->free[WF_RES_MEMORY] };
	if (rt->gpus)
		all[count++] = (struct weft_resource_info){ "GPU memory", (double)bytes,
			                                    (double)bytes_free };
	for (uint32_t i = 0; i < a->named; i++)
		all[count++] = (struct weft_resource_info){ a->names[i],
			                                    amount(a->total[WF_RES_NAMED + i]),
			                                    amount(a->free[WF_RES_NAMED + i]) };
	pthread_mutex_unlock(&a->mutex);
	WF_CHECK(count <= sizeof(all) / sizeof(*all));
	for (uint32_t i = 0; i < n && i < count; i++)
		infos[i] = all[i];
	return (int)count;
}

int weft_nodes(weft *rt, struct weft_node_info *infos, uint32_t n)
{
	const struct wf_topology *topo = wf_topology();

	if (!rt || (n && !infos))
		return -EINVAL;
	for (uint32_t i = 0; i < n && i < rt->node_count; i++) {
		infos[i] = (struct weft_node_info){ .node = i };
		for (uint32_t c = 0; c < topo->cpu_count; c++)
			infos[i].cpus += topo->cpus[c].node == i;
		for (uint32_t w = 0; w < rt->workers; w++)
			infos[i].workers += rt->worker[w]->local.node == i;
	}
	return (int)rt->node_count;
}

/* ---- What waits ---------------------------------------------------------------------------- */

static struct weft_pending_info pending_of(weft *rt, const struct wf_class *class)
{
	struct weft_pending_info info = { .cpus = class->shape.keeps ? 0 : 1,
		                          .priority = class->shape.priority,
		                          .waiting = class->waiting,
		                          .id = class->id,
		                          .infeasible = class->infeasible };

	for (uint32_t i = 0; i < class->shape.n; i++) {
		struct wf_need need = class->shape.need[i];

		if (need.res == WF_RES_CPU)
			info.cpus = amount(need.amount);
		else if (need.res == WF_RES_GPU || need.res == WF_RES_SHARE)
			info.gpus = amount(need.amount);
		else if (need.res == WF_RES_MEMORY)
			info.memory = (uint64_t)need.amount;
		else if (need.res == WF_RES_GPU_MEM)
			info.gpu_mem = (uint64_t)need.amount;
		else if (need.res >= WF_RES_NAMED)
			info.resources[info.n_resources++] =
				(struct weft_resource){ rt->admit->names[need.res - WF_RES_NAMED],
				                        amount(need.amount) };
	}
	WF_CHECK(info.n_resources <= WEFT_REQUEST_MAX);
	return info;
}

int weft_pending(weft *rt, struct weft_pending_info *infos, uint32_t n)
{
	uint32_t count = 0;

	if (!rt || (n && !infos))
		return -EINVAL;
	struct wf_admit *a = rt->admit;

	pthread_mutex_lock(&a->mutex);
	for (uint32_t i = 0; i < a->table_size; i++) {
		for (const struct wf_class *class = a->table[i]; class; class = class->next) {
			if (class->first && count < n)
				infos[count++] = pending_of(rt, class);
		}
	}
	pthread_mutex_unlock(&a->mutex);
	WF_DEBUG(count <= n);
	return (int)count;
}

int64_t weft_cancel_pending(weft *rt, uint64_t id)
{
	struct wf_local *self = rt ? wf_local_of(rt) : NULL;

	if (!rt)
		return -EINVAL;
	return self ? wf_admit_cancel_class(self, id) : -ENOMEM;
}

/* ---- A task about itself ------------------------------------------------------------------- */

/* The granted numbers as an array that lives as long as the attempt. */
static void tell_gpus(weft_task *self, uint64_t gpus, struct weft_task_info *info)
{
	uint32_t n = (uint32_t)__builtin_popcountll(gpus);
	uint32_t *ids = n ? wf_frame_keep(self, n * sizeof(*ids)) : NULL;

	if (!ids)
		return;
	for (uint32_t i = 0; i < WEFT_GPUS_MAX; i++) {
		if (gpus >> i & 1)
			ids[info->n_gpu++] = i;
	}
	WF_CHECK(info->n_gpu == n);
	info->gpu = ids;
}

static double gpus_of(const struct wf_shape *shape)
{
	int64_t whole = wf_need_of(shape, WF_RES_GPU);

	return amount(whole ? whole : wf_need_of(shape, WF_RES_SHARE));
}

/* Of a call: what its actor holds. That is fixed while calls run. */
static void tell_kept(weft_task *self, struct wf_ext *ext, struct weft_task_info *info)
{
	const struct wf_kept *kept = wf_call_kept(self->rt, ext);

	if (!kept)
		return;
	WF_DEBUG(kept->class->shape.keeps);
	int64_t cpus = wf_need_of(&kept->class->shape, WF_RES_CPU);

	info->cpus = cpus ? amount(cpus) : 1;
	info->gpus = gpus_of(&kept->class->shape);
	tell_gpus(self, kept->gpus, info);
	if (info->n_gpu && self->rt->gpus)
		info->gpu_mem = wf_admit_gpu_mem(self->rt, kept->class, info->gpu[0]);
}

static void tell_request(weft_task *self, const struct wf_request *request,
                         struct weft_task_info *info)
{
	const struct wf_shape *shape = &request->class->shape;

	if (request->state != WF_REQUEST_GRANTED)
		return;
	info->cpus = request->cpus ? amount(request->cpus) : request->beside ? 0 : 1;
	info->cpu = request->cpu;
	info->n_cpu = request->n_cpu;
	info->gpus = gpus_of(shape);
	tell_gpus(self, request->gpus, info);
	if (info->n_gpu && self->rt->gpus)
		info->gpu_mem = wf_admit_gpu_mem(self->rt, request->class, info->gpu[0]);
}

/* The CPU of the worker that it runs on, when it was not given others. */
static void tell_cpu(weft_task *self, const struct wf_worker *worker, struct weft_task_info *info)
{
	uint32_t *id = wf_frame_keep(self, sizeof(*id));

	if (!id)
		return;
	*id = wf_topology()->cpus[worker->cpu].os_index;
	info->cpu = id;
	info->n_cpu = 1;
}

int weft_task_info(weft_task *self, struct weft_task_info *info)
{
	struct wf_ext *ext = wf_cell_ext(self->cell);
	const struct wf_local *local = wf_self();
	const struct wf_plus *plus = ext ? wf_ext_plus(ext) : NULL;
	const struct wf_more *more = ext ? wf_ext_more(ext) : NULL;
	const struct wf_side *side = wf_frame_side(self);
	struct weft_task_info all;

	if (!info || info->struct_size < sizeof(size_t) || info->struct_size > 4096)
		return -EINVAL;
	all = (struct weft_task_info){ .struct_size = info->struct_size,
		                       .ref = weft_task_ref(self),
		                       .name = weft_task_name(self),
		                       .runtime = self->rt->id,
		                       .attempt = weft_task_attempt(self),
		                       .failures = plus ? plus->failures : 0,
		                       .worker = weft_task_worker(self),
		                       .node = local->node,
		                       .cancelled = wf_task_stopping(self),
		                       .cpus = 1,
		                       .memory = plus ? plus->memory : 0,
		                       .memory_used = side ? side->used : 0,
		                       .deadline = more ? more->deadline.until : 0,
		                       .identity = plus ? plus->identity : 0 };
	if (plus && plus->last_error)
		all.last_error = &plus->last_error->pub;
	if (ext && ext->parts & WF_PART_REQUEST)
		tell_request(self, wf_ext_request(ext), &all);
	else if (ext && ext->call)
		tell_kept(self, ext, &all);
	WF_DEBUG(all.attempt > all.failures);
	if (!all.n_cpu && local->worker && all.cpus > 0)
		tell_cpu(self, (const struct wf_worker *)local, &all);
	memcpy(info, &all, info->struct_size < sizeof(all) ? info->struct_size : sizeof(all));
	return 0;
}
