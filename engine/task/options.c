/*
 * options.c: the options of a task: merged, checked, turned into a request for resources.
 *
 * Everything that is refused is refused here, before anything is taken, with one line to the log
 * that names the field and its value: the program's author has to find one of many descriptors.
 */
#include "options.h"

#include <errno.h>
#include <string.h>

#include "place.h"

#define BASE_DEPTH_MAX     8
#define NAME_MAX_BYTES     255
#define RETRIES_MAX        254
#define MEMORY_RETRIES_MAX 32
#define BACKOFF_MAX_NS     INT64_C(60000000000)
#define AMOUNT_MAX         1e11 /* so that sums of 1/10000 stay far from 2^63 */

/* Copy a versioned struct: shorter ones are zero-extended, unknown tails must be zero. */
int wf_options_read(void *to, size_t known, const void *from)
{
	size_t size;

	memcpy(&size, from, sizeof(size));
	if (size < sizeof(size) || size > 4096)
		return -EINVAL;
	for (size_t i = known; i < size; i++) {
		if (((const unsigned char *)from)[i])
			return -EINVAL;
	}
	size_t head = size < known ? size : known;

	/* A length that varies: the library's copy is quicker than what a fixed one becomes. */
	memcpy(to, from, head);
	if (WF_UNLIKELY(head < known))
		memset((char *)to + head, 0, known - head);
	return 0;
}

static int bad_number(weft *rt, int rc, const char *field, int64_t value)
{
	wf_log(rt, WEFT_LOG_ERROR, "submit: option %s: %lld: %s", field, (long long)value,
	       weft_strerror(rc));
	return rc;
}

static int bad_amount(weft *rt, const char *field, double value)
{
	wf_log(rt, WEFT_LOG_ERROR, "submit: option %s: %.9g: %s", field, value,
	       weft_strerror(-EINVAL));
	return -EINVAL;
}

static int bad_text(weft *rt, const char *field, const char *value, const char *why)
{
	wf_log(rt, WEFT_LOG_ERROR, "submit: option %s: \"%.80s\": %s", field, value, why);
	return -EINVAL;
}

/* ---- Merging ------------------------------------------------------------------------------- */

static void merge(struct weft_task_options *to, const struct weft_task_options *base)
{
#define INHERIT(field) \
	if (!to->field) \
	to->field = base->field
	INHERIT(name);
	INHERIT(flags);
	INHERIT(n_outputs);
	INHERIT(priority);
	INHERIT(on_input_error);
	INHERIT(retries);
	INHERIT(memory_retries);
	INHERIT(backoff_ns);
	INHERIT(backoff_max_ns);
	INHERIT(cpus);
	INHERIT(gpus);
	INHERIT(gpu_mem);
	INHERIT(memory);
	INHERIT(memory_soft);
	INHERIT(deadline);
	INHERIT(group.bits);
	INHERIT(seed);
	INHERIT(arg_drop);
	INHERIT(key);
	INHERIT(key_retries);
	INHERIT(output_name);
	INHERIT(output_place);
	INHERIT(window);
	INHERIT(items_max);
	INHERIT(actor_group);
	INHERIT(actor_class);
	INHERIT(place);
#undef INHERIT
	WF_DEBUG(to != base);
	/* Lists go with their lengths; a stray half is refused below. */
	if (!to->n_retry_on && !to->retry_on) {
		to->n_retry_on = base->n_retry_on;
		to->retry_on = base->retry_on;
	}
	if (!to->n_resources && !to->resources) {
		to->n_resources = base->n_resources;
		to->resources = base->resources;
	}
	if (!to->context_size && !to->context) {
		to->context = base->context;
		to->context_size = base->context_size;
	}
	for (size_t i = 0; i < sizeof(to->reserved) / sizeof(*to->reserved); i++)
		to->reserved[i] |= base->reserved[i];
	to->reserved0 |= base->reserved0;
}

static int collect(weft *rt, const struct weft_task_options *opts, struct weft_task_options *out)
{
	struct weft_task_options one;
	uint32_t depth = 1;

	/* The first as it is: mostly it is the only one. */
	if (wf_options_read(out, sizeof(*out), opts))
		return bad_number(rt, -EINVAL, "struct_size", (int64_t)opts->struct_size);
	for (opts = out->base; opts; opts = one.base) {
		if (depth++ > BASE_DEPTH_MAX)
			return bad_number(rt, -EINVAL, "base (depth)", depth - 1);
		if (wf_options_read(&one, sizeof(one), opts))
			return bad_number(rt, -EINVAL, "struct_size", (int64_t)opts->struct_size);
		merge(out, &one);
	}
	return 0;
}

/* ---- Checking ------------------------------------------------------------------------------ */

static int check_flags(weft *rt, const struct weft_task_options *o)
{
	const uint32_t known = WEFT_TASK_STAY | WEFT_TASK_BLOCKING | WEFT_TASK_EMITS |
		WEFT_TASK_SKIP_EMPTY | WEFT_TASK_ABANDON | WEFT_TASK_REBUILD | WEFT_TASK_NO_EVENTS |
		WEFT_TASK_ISOLATED | WEFT_TASK_NO_SPECULATION;

	if (o->flags & ~known)
		return bad_number(rt, -EINVAL, "flags", o->flags);
	if (o->flags & WEFT_TASK_ISOLATED)
		return bad_number(rt, -ENOTSUP, "flags (WEFT_TASK_ISOLATED)", o->flags);
	if (o->flags & WEFT_TASK_ABANDON &&
	    (!(o->flags & WEFT_TASK_BLOCKING) || o->n_outputs > 1 || o->key || o->output_name ||
	     o->flags & (WEFT_TASK_EMITS | WEFT_TASK_STAY)))
		return bad_number(rt, -EINVAL, "flags (WEFT_TASK_ABANDON)", o->flags);
	if (o->flags & WEFT_TASK_REBUILD &&
	    (!o->retries || o->retries == WEFT_RETRIES_NONE || o->key || o->output_name ||
	     o->n_outputs > WEFT_OUTPUTS_MAX || o->flags & (WEFT_TASK_EMITS | WEFT_TASK_ABANDON)))
		return bad_number(rt, -EINVAL, "flags (WEFT_TASK_REBUILD)", o->flags);
	return 0;
}

static int check_plain(weft *rt, const struct weft_task_options *o)
{
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(*o->reserved); i++) {
		if (o->reserved[i])
			return bad_number(rt, -EINVAL, "reserved", (int64_t)o->reserved[i]);
	}
	if (o->reserved0)
		return bad_number(rt, -EINVAL, "reserved0", o->reserved0);
	if (o->priority > WEFT_PRIORITY_LOW)
		return bad_number(rt, -EINVAL, "priority", o->priority);
	if (o->on_input_error > WEFT_INPUT_IGNORE)
		return bad_number(rt, -EINVAL, "on_input_error", o->on_input_error);
	if (o->deadline < 0)
		return bad_number(rt, -EINVAL, "deadline", o->deadline);
	if (o->name && strnlen(o->name, NAME_MAX_BYTES + 1) > NAME_MAX_BYTES)
		return bad_text(rt, "name", o->name, "too long");
	if (o->group.bits && !wf_group_known(rt, o->group))
		return bad_number(rt, -EINVAL, "group", (int64_t)o->group.bits);
	if (o->context_size > WEFT_CONTEXT_MAX || !o->context != !o->context_size)
		return bad_number(rt, -EINVAL, "context_size", (int64_t)o->context_size);
	return 0;
}

/* What says how a task gives its outputs must fit together. */
static int check_outputs(weft *rt, const struct weft_task_options *o)
{
	bool stream = o->n_outputs == WEFT_OUTPUTS_STREAM;
	bool list = o->n_outputs == WEFT_OUTPUTS_LIST;
	bool none = o->n_outputs == WEFT_OUTPUTS_NONE;
	bool emits = stream || list || o->flags & WEFT_TASK_EMITS;

	if (o->items_max > WF_ITEMS_MAX || (o->items_max && !emits))
		return bad_number(rt, -EINVAL, "items_max", o->items_max);
	if (o->window && !stream)
		return bad_number(rt, -EINVAL, "window", o->window);
	if ((none && emits) || (!stream && !list && !none && o->n_outputs > WEFT_OUTPUTS_MAX))
		return bad_number(rt, -EINVAL, "n_outputs", o->n_outputs);
	return 0;
}

static bool no_retries(uint32_t retries)
{
	return !retries || retries == WEFT_RETRIES_NONE;
}

/* What only makes sense with further attempts contradicts having none. */
static int check_retries(weft *rt, const struct weft_task_options *o)
{
	bool none = no_retries(o->retries);

	if (!none && o->retries > RETRIES_MAX && o->retries != WEFT_RETRIES_FOREVER)
		return bad_number(rt, -EINVAL, "retries", o->retries);
	if (!no_retries(o->memory_retries) && o->memory_retries > MEMORY_RETRIES_MAX)
		return bad_number(rt, -EINVAL, "memory_retries", o->memory_retries);
	if (o->n_retry_on > WEFT_RETRY_ON_MAX || !o->retry_on != !o->n_retry_on ||
	    (o->n_retry_on && none))
		return bad_number(rt, -EINVAL, "n_retry_on", o->n_retry_on);
	for (uint32_t i = 0; i < o->n_retry_on; i++) {
		if (o->retry_on[i] >= 0)
			return bad_number(rt, -EINVAL, "retry_on", o->retry_on[i]);
	}
	if (o->backoff_ns < WEFT_BACKOFF_NONE ||
	    (o->backoff_ns > 0 && none && no_retries(o->memory_retries)))
		return bad_number(rt, -EINVAL, "backoff_ns", o->backoff_ns);
	WF_DEBUG(o->n_retry_on <= WEFT_RETRY_ON_MAX);
	if (o->backoff_max_ns < 0 || (o->backoff_max_ns && o->backoff_max_ns < o->backoff_ns))
		return bad_number(rt, -EINVAL, "backoff_max_ns", o->backoff_max_ns);
	return 0;
}

/* In steps of 1/10000, to the nearest; 0 what is too small or not a number is refused. */
bool wf_fixed(double amount, int64_t *out)
{
	if (!(amount >= 1.0 / WF_FIXED - 1e-12) || !(amount <= AMOUNT_MAX))
		return false;
	*out = (int64_t)(amount * WF_FIXED + 0.5);
	return *out > 0;
}

static void need(struct wf_shape *shape, uint32_t res, int64_t amount)
{
	WF_CHECK(shape->n < WF_NEEDS_MAX && amount > 0);
	shape->need[shape->n++] = (struct wf_need){ res, amount };
}

static int read_cpus(weft *rt, const struct weft_task_options *o, struct wf_shape *shape)
{
	int64_t amount = WF_FIXED;

	if (o->cpus == WEFT_CPUS_NONE)
		amount = 0;
	else if (o->cpus != 0 && !wf_fixed(o->cpus, &amount))
		return bad_amount(rt, "cpus", o->cpus);
	/* A deterministic runtime has one thread and does not count CPUs. */
	if (rt->order)
		return 0;
	/* One whole CPU is the worker itself, and not counted. */
	shape->beside = amount < WF_FIXED || (amount > WF_FIXED && o->flags & WEFT_TASK_BLOCKING);
	if (amount && amount != WF_FIXED) {
		need(shape, WF_RES_CPU, amount);
		need(shape, WF_RES_COLLECT, 1);
	}
	return 0;
}

/* Of an actor: an amount like others, none by default. */
static int read_kept_cpus(weft *rt, const struct weft_task_options *o, struct wf_shape *shape)
{
	int64_t amount;

	if (o->cpus == 0 || o->cpus == WEFT_CPUS_NONE)
		return 0;
	if (!wf_fixed(o->cpus, &amount))
		return bad_amount(rt, "cpus", o->cpus);
	if (!rt->order)
		need(shape, WF_RES_CPU, amount);
	return 0;
}

static int read_gpus(weft *rt, const struct weft_task_options *o, struct wf_shape *shape)
{
	int64_t amount;

	bool none = o->gpus == 0 || o->gpus == WEFT_GPUS_NONE;

	if (o->gpu_mem > INT64_MAX || (o->gpu_mem && (none || !rt->options.devices)))
		return bad_number(rt, -EINVAL, "gpu_mem", (int64_t)o->gpu_mem);
	if (none)
		return 0;
	if (!wf_fixed(o->gpus, &amount) || (amount > WF_FIXED && amount % WF_FIXED))
		return bad_amount(rt, "gpus", o->gpus);
	need(shape, amount < WF_FIXED ? WF_RES_SHARE : WF_RES_GPU, amount);
	if (o->gpu_mem)
		need(shape, WF_RES_GPU_MEM, (int64_t)o->gpu_mem);
	else if (rt->gpus && amount < WF_FIXED)
		need(shape, WF_RES_GPU_MEM, wf_admit_gpu_part(rt, amount));
	return 0;
}

static int read_memory(weft *rt, struct weft_task_options *o, struct wf_shape *shape)
{
	if (o->memory == WEFT_MEMORY_NONE)
		o->memory = 0;
	if (o->memory > INT64_MAX)
		return bad_number(rt, -EINVAL, "memory", (int64_t)o->memory);
	if (!no_retries(o->memory_retries) && !o->memory)
		return bad_number(rt, -EINVAL, "memory_retries", o->memory_retries);
	if (o->memory_soft && o->memory_soft != WEFT_MEMORY_NONE && o->memory_soft > o->memory)
		return bad_number(rt, -EINVAL, "memory_soft", (int64_t)o->memory_soft);
	if (!o->memory)
		return 0;
	if (!o->memory_soft)
		o->memory_soft = o->memory / 10 * 8;
	need(shape, WF_RES_MEMORY, (int64_t)o->memory);
	return 0;
}

static int read_resources(weft *rt, const struct weft_task_options *o, struct wf_shape *shape)
{
	uint32_t first = shape->n;

	if (o->n_resources > WEFT_REQUEST_MAX || !o->resources != !o->n_resources)
		return bad_number(rt, -EINVAL, "n_resources", o->n_resources);
	for (uint32_t i = 0; i < o->n_resources; i++) {
		const char *name = o->resources[i].name;
		int64_t amount;
		uint32_t res = name ? wf_admit_named(rt, name) : WF_RES_NONE;

		if (res == WF_RES_NONE)
			return bad_text(rt, "resources", name ? name : "(null)",
			                "the runtime has no resource of this name");
		if (!wf_fixed(o->resources[i].amount, &amount))
			return bad_amount(rt, name, o->resources[i].amount);
		for (uint32_t j = first; j < shape->n; j++) {
			if (shape->need[j].res == res)
				return bad_text(rt, "resources", name, "named twice");
		}
		need(shape, res, amount);
	}
	WF_DEBUG(shape->n - first == o->n_resources);
	/* Sorted: the same request in another order is the same kind of request. */
	for (uint32_t i = first + 1; i < shape->n; i++) {
		for (uint32_t j = i; j > first && shape->need[j].res < shape->need[j - 1].res;
		     j--) {
			struct wf_need other = shape->need[j];

			shape->need[j] = shape->need[j - 1];
			shape->need[j - 1] = other;
		}
	}
	return 0;
}

static int read_shape(weft *rt, struct weft_task_options *o, bool keeps, struct wf_shape *shape)
{
	shape->n = 0;
	shape->priority = o->priority;
	shape->keeps = keeps;
	shape->beside = false;
	int rc = keeps ? read_kept_cpus(rt, o, shape) : read_cpus(rt, o, shape);

	if (!rc)
		rc = read_gpus(rt, o, shape);
	if (!rc)
		rc = read_memory(rt, o, shape);
	if (!rc)
		rc = read_resources(rt, o, shape);
	return rc ? rc : wf_place_read(rt, o, shape);
}

static int setup_read(weft *rt, const struct weft_task_options *opts, bool keeps,
                      struct wf_setup *out)
{
	struct weft_task_options *o = &out->o;
	int rc = collect(rt, opts, o);

	if (!rc)
		rc = check_plain(rt, o);
	if (!rc)
		rc = check_flags(rt, o);
	if (!rc)
		rc = check_outputs(rt, o);
	if (!rc)
		rc = check_retries(rt, o);
	if (!rc)
		rc = read_shape(rt, o, keeps, &out->shape);
	if (rc)
		return rc;
	if (o->n_outputs == 0)
		o->n_outputs = 1;
	else if (o->n_outputs == WEFT_OUTPUTS_NONE)
		o->n_outputs = 0;
	else if (o->n_outputs > WEFT_OUTPUTS_MAX)
		o->flags |= WEFT_TASK_EMITS;
	if (o->n_outputs == 0)
		o->flags &= ~(uint32_t)WEFT_TASK_ABANDON;
	if (o->deadline == WEFT_FOREVER)
		o->deadline = 0;
	if (o->retries == WEFT_RETRIES_NONE)
		o->retries = 0;
	if (o->memory_retries == WEFT_RETRIES_NONE)
		o->memory_retries = 0;
	if (o->backoff_ns == WEFT_BACKOFF_NONE)
		o->backoff_ns = 0;
	if (!o->backoff_max_ns)
		o->backoff_max_ns = o->backoff_ns > BACKOFF_MAX_NS ? o->backoff_ns : BACKOFF_MAX_NS;
	WF_CHECK(out->shape.n <= WF_NEEDS_MAX);
	WF_CHECK(!o->retries || o->retries <= RETRIES_MAX || o->retries == WEFT_RETRIES_FOREVER);
	out->request = out->shape.n || out->shape.beside || out->shape.place || out->shape.pg;
	out->legacy = NULL;
	out->plus = o->retries || o->memory || o->context || o->seed;
	return 0;
}

int wf_setup_read(weft *rt, const struct weft_task_options *opts, struct wf_setup *out)
{
	return setup_read(rt, opts, false, out);
}

int wf_setup_read_kept(weft *rt, const struct weft_task_options *opts, struct wf_setup *out)
{
	return setup_read(rt, opts, true, out);
}
