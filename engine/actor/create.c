/*
 * create.c: from a class to an actor whose init is on its way.
 *
 * What an actor holds for its life is asked for by a task of its own, which waits like any other
 * with a request; its grant goes over to the actor (see sched/kept.c), and init comes after it. The
 * actor's end cancels it, or gives back.
 *
 * An actor with a name can be found before its init is on its way. If that cannot be brought on
 * its way then, the actor ends as one that is killed, but for its state, of which nobody is told.
 */
#include <errno.h>
#include <string.h>

#include "actor.h"
#include "options.h"

#define FLAGS_ALL \
	(WEFT_ACTOR_DETACHED | WEFT_ACTOR_ANY_ORDER | WEFT_ACTOR_IN_ORDER | WEFT_ACTOR_GET)

static int text_check(const char *text)
{
	if (!text)
		return 0;
	if (!*text)
		return -EINVAL;
	return strnlen(text, WEFT_ACTOR_NAME_MAX + 1) > WEFT_ACTOR_NAME_MAX ? -EMSGSIZE : 0;
}

static int check_groups(const struct weft_actor_class *c)
{
	if (c->n_groups > WEFT_ACTOR_GROUPS_MAX || (c->n_groups && !c->groups))
		return -EINVAL;
	for (uint32_t i = 0; i < c->n_groups; i++) {
		const struct weft_actor_group *group = &c->groups[i];
		int rc = group->name ? text_check(group->name) : -EINVAL;

		if (!rc &&
		    (!group->max_concurrency || group->max_concurrency > WEFT_CONCURRENCY_MAX))
			rc = -EINVAL;
		if (!rc && !strcmp(group->name, WEFT_ACTOR_GROUP_DEFAULT))
			rc = -EINVAL;
		for (uint32_t j = 0; !rc && j < i; j++)
			rc = strcmp(c->groups[j].name, group->name) ? 0 : -EINVAL;
		if (rc)
			return rc;
	}
	return 0;
}

static int check_class(const struct weft_actor_class *c)
{
	int rc = text_check(c->name);

	for (size_t i = 0; i < sizeof(c->reserved) / sizeof(*c->reserved); i++) {
		if (c->reserved[i])
			return -EINVAL;
	}
	if (c->reserved0 || c->flags & ~(uint32_t)FLAGS_ALL || c->priority > WEFT_ACTOR_NORMAL ||
	    c->max_concurrency > WEFT_CONCURRENCY_MAX || c->state_bytes > PTRDIFF_MAX / 2)
		return -EINVAL;
	if (c->flags & WEFT_ACTOR_IN_ORDER &&
	    (c->flags & WEFT_ACTOR_ANY_ORDER || c->max_concurrency > 1))
		return -EINVAL;
	return rc ? rc : check_groups(c);
}

static int merge(struct weft_actor_class *c, const struct weft_actor_options *o)
{
	for (size_t i = 0; i < sizeof(o->reserved) / sizeof(*o->reserved); i++) {
		if (o->reserved[i])
			return -EINVAL;
	}
#define OVERRIDE(field) \
	if (o->field) \
	c->field = o->field
	OVERRIDE(max_pending);
	OVERRIDE(max_concurrency);
	OVERRIDE(max_restarts);
	OVERRIDE(max_task_retries);
	OVERRIDE(priority);
	OVERRIDE(holds);
#undef OVERRIDE
	c->flags |= o->flags;
	return 0;
}

static int read_spec(struct wf_actor_spec *spec, const struct weft_actor_class *class_,
                     const struct weft_actor_options *opts, struct weft_actor_options *o)
{
	int rc = class_ ? wf_options_read(&spec->c, sizeof(spec->c), class_) : -EINVAL;

	memset(o, 0, sizeof(*o));
	if (!rc && opts)
		rc = wf_options_read(o, sizeof(*o), opts);
	if (!rc)
		rc = merge(&spec->c, o);
	if (!rc)
		rc = check_class(&spec->c);
	if (!rc)
		rc = text_check(o->name);
	if (!rc)
		rc = text_check(o->ns);
	if (!rc &&
	    ((spec->c.flags & WEFT_ACTOR_GET && !o->name) ||
	     (class_->struct_size < sizeof(*class_))))
		rc = -EINVAL;
	if (rc)
		return rc;
	WF_DEBUG(spec->c.n_groups <= WEFT_ACTOR_GROUPS_MAX);
	spec->class_ = class_;
	if (!spec->c.max_pending)
		spec->c.max_pending = WEFT_PENDING_DEFAULT;
	if (!spec->c.max_concurrency)
		spec->c.max_concurrency = 1;
	return 0;
}

/* The argument of the task that asks for what an actor is to hold. */
struct holder {
	weft *rt;
	struct wf_actor *actor; /* held */
};

static void hold_drop(void *arg, size_t size)
{
	const struct holder *holder = arg;
	struct wf_local *self = wf_local_of(holder->rt);

	WF_CHECK(size == sizeof(*holder) && self);
	wf_actor_unhold(self, holder->actor);
}

/* What it is to hold, as a task's request. */
static int read_holds(struct wf_local *self, struct wf_actor_spec *spec, struct wf_setup *hold)
{
	struct weft_actor_holds h = { .struct_size = sizeof(h) };
	weft *rt = self->rt;
	int rc = spec->c.holds ? wf_options_read(&h, sizeof(h), spec->c.holds) : 0;

	if (rc || h.reserved0)
		return -EINVAL;
	/* Without devices GPUs are only counted. */
	spec->device = rt->options.devices && h.gpus != 0 && h.gpus != WEFT_GPUS_NONE;
	/* The memory of the grant is what one call at a time may take. */
	if (spec->device && (spec->c.max_concurrency > 1 || spec->c.n_groups))
		return -ENOTSUP;
	const struct weft_task_options o = { .struct_size = sizeof(o),
		                             .name = "weft_actor_hold",
		                             .priority = spec->c.priority,
		                             .cpus = h.cpus,
		                             .gpus = h.gpus,
		                             .gpu_mem = h.gpu_mem,
		                             .memory = h.memory,
		                             .resources = h.resources,
		                             .n_resources = h.n_resources,
		                             .place = h.place,
		                             .group.bits = UINT64_MAX,
		                             .arg_drop = hold_drop };

	rc = wf_setup_read_kept(rt, &o, hold);
	if (rc)
		return rc;
	WF_DEBUG(!hold->shape.beside);
	/* Its own group, or the one of whoever creates it. */
	spec->placement = wf_place_group(self, hold);
	/* Nothing at all, and nowhere: as without. */
	spec->hold = hold->request || spec->placement ? hold : NULL;
	return 0;
}

/* The priority of who creates it. */
static uint32_t priority_here(const weft *rt, const struct wf_local *self)
{
	const struct weft_task *frame = self->current;
	struct wf_ext *ext = frame && frame->rt == rt ? wf_cell_ext(frame->cell) : NULL;

	if (!ext)
		return WEFT_PRIORITY_NORMAL;
	return ext->call ? wf_actor_at(rt, wf_call_info(ext)->actor)->priority : ext->priority;
}

/* Check the call of init and fill its options in. */
static int read_init(weft *rt, const struct weft_actor_class *class_, const struct weft_call *given,
                     struct weft_call *call, struct wf_setup *setup)
{
	struct weft_task_options *o = &setup->o;

	*call = given ? *given : (struct weft_call){ 0 };
	memset(setup, 0, sizeof(*setup));
	if (call->fn || call->actor.bits)
		return -EINVAL;
	if (!class_->init) {
		o->n_outputs = 1;
		o->name = class_->name;
		return call->arg_size || call->n_inputs || call->n_after ? -EINVAL : 0;
	}
	WF_DEBUG(!call->fn);
	call->fn = class_->init;
	int rc = call->opts ? wf_setup_read(rt, call->opts, setup) : 0;

	if (!rc)
		rc = wf_submit_check(rt, call);
	if (!rc &&
	    (o->flags & (WEFT_TASK_BLOCKING | WEFT_TASK_EMITS) || o->key || o->output_name ||
	     o->arg_drop || o->actor_group || o->group.bits || o->retries || setup->request))
		rc = -ENOTSUP;
	o->n_outputs = 1;
	if (!o->name)
		o->name = class_->name;
	return rc;
}

static struct wf_again *again_make(weft *rt, const struct weft_call *call, int policy)
{
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;
	size_t refs = edges * sizeof(weft_ref);
	size_t head = (sizeof(struct wf_again) + 15) & ~(size_t)15;
	struct wf_again *again = wf_malloc(head + refs + call->arg_size);

	if (!again)
		return NULL;
	WF_DEBUG(call->fn != NULL);
	WF_DEBUG(!edges || call->inputs);
	*again = (struct wf_again){ .arg_size = call->arg_size,
		                    .n_inputs = call->n_inputs,
		                    .n_after = call->n_after,
		                    .policy = policy,
		                    .inputs = (weft_ref *)(void *)((char *)again + head),
		                    .arg = (unsigned char *)again + head + refs };
	if (refs)
		memcpy(again->inputs, call->inputs, refs);
	if (call->arg_size)
		memcpy(again->arg, call->arg, call->arg_size);
	weft_retain_many(rt, again->inputs, edges);
	return again;
}

/* What must be there later without fail: init's arguments, the call of fini. */
static int prepare(struct wf_local *self, struct wf_actor *a, const struct weft_call *call,
                   const struct wf_setup *setup)
{
	struct wf_cold *cold = a->cold;

	WF_CHECK(!(wf_box_word(&a->box) & (WF_BOX_OPEN | WF_BOX_CLOSED)));
	WF_DEBUG(!cold || (!cold->last && !cold->again));
	if (a->class_->fini) {
		cold = wf_actor_cold(a);
		if (cold)
			cold->last = wf_call_make(self, a, WF_CALL_FINI, a->class_->fini, NULL);
		if (!cold || !cold->last)
			return -ENOMEM;
	}
	if (cold && cold->max_restarts && call->fn) {
		cold->again = again_make(self->rt, call, (int)setup->o.on_input_error);
		if (!cold->again)
			return -ENOMEM;
	}
	return 0;
}

/* Nobody else has seen it. */
static void undo(struct wf_local *self, struct wf_actor *a)
{
	if (a->cold && a->cold->last) {
		wf_call_unmake(self, a->cold->last);
		a->cold->last = NULL;
	}
	wf_actor_discard(self, a);
}

/* Others may have seen it, or a task asks for what it is to hold. */
static void abandon(struct wf_local *self, struct wf_actor *a)
{
	uint32_t word = wf_box_lock(&a->box);

	WF_CHECK(word & WF_BOX_USED && !(word & WF_BOX_OPEN));
	wf_box_unlock(&a->box, word | WF_BOX_STILL);
	wf_actor_kill(self, a, wf_death_make(a, "it could not be made", NULL), false);
	wf_actor_drop_handle(self, a);
}

/* The grant is this actor's, if it is still there to have it. */
static int hold_body(weft_task *self)
{
	const struct holder *holder = weft_task_arg(self, NULL);
	struct wf_actor *a = holder->actor;
	struct wf_kept kept = { 0 };

	if (!wf_admit_keep(self->rt, wf_cell_ext(self->cell), &kept))
		return weft_fail(self, -ECANCELED, "nothing was granted");
	uint32_t word = wf_box_lock(&a->box);
	bool closed = word & WF_BOX_CLOSED;

	WF_CHECK(!a->cold->kept.class && !(word & WF_BOX_OPEN));
	if (!closed)
		a->cold->kept = kept;
	wf_box_unlock(&a->box, word);
	if (!closed)
		return 0;
	wf_admit_let_go(wf_self(), &kept);
	return weft_fail(self, WEFT_EACTOR, "the actor is dead");
}

/* Have somebody ask for what it is to hold: *grant is ready then; counted for the caller. */
static int ask(struct wf_local *self, struct wf_actor *a, const struct wf_setup *hold,
               weft_ref *grant)
{
	weft *rt = self->rt;
	const struct holder holder = { rt, a };
	const struct weft_call call = { .fn = hold_body,
		                        .arg = &holder,
		                        .arg_size = sizeof(holder) };

	wf_actor_hold(a);
	int rc = wf_submit_setup(rt, &call, hold, grant);

	if (rc) {
		wf_actor_unhold(self, a);
		return rc;
	}
	rc = weft_retain(rt, *grant);
	WF_CHECK(!rc && a->cold);
	uint32_t word = wf_box_lock(&a->box);
	bool closed = word & WF_BOX_CLOSED;

	if (!closed)
		a->cold->grant = *grant;
	wf_box_unlock(&a->box, word);
	if (closed) {
		weft_cancel(rt, *grant);
		weft_release(rt, *grant);
	}
	return 0;
}

/* Init of an actor that is to hold something; the order is by an edge, which may be ignored. */
static WF_SUSPENDS int init_holding(weft_task *self)
{
	struct wf_actor *a = wf_actor_at(self->rt, wf_call_info(wf_cell_ext(self->cell))->actor);

	WF_DEBUG(a->cold && a->class_);
	if (!a->cold->kept.class)
		return weft_fail(self, -ECANCELED, "what it is to hold was not granted");
	return a->class_->init ? a->class_->init(self) : 0;
}

static int submit_init(struct wf_local *self, struct wf_actor *a, struct weft_call *call,
                       const struct wf_setup *setup)
{
	weft_ref kept;

	WF_CHECK(setup->o.n_outputs == 1 && call->fn);
	call->actor = wf_actor_handle(self->rt, a);
	struct wf_target to = {
		.actor = a, .gen = wf_actor_gen(call->actor), .kind = WF_CALL_INIT, .own = true
	};

	/* The ref is the actor's, until its init has ended. */
	return wf_submit_to(self, &to, call, &setup->o, setup, &kept);
}

/* The same, after one more input. */
static int submit_init_after(struct wf_local *self, struct wf_actor *a, struct weft_call *call,
                             const struct wf_setup *setup, weft_ref grant)
{
	uint32_t edges = (uint32_t)call->n_inputs + call->n_after;
	weft_ref *inputs =
		call->n_after < UINT16_MAX ? wf_malloc((edges + 1) * sizeof(*inputs)) : NULL;

	if (!inputs)
		return call->n_after < UINT16_MAX ? -ENOMEM : -EINVAL;
	if (edges)
		memcpy(inputs, call->inputs, edges * sizeof(*inputs));
	inputs[edges] = grant;
	call->inputs = inputs;
	call->n_after++;
	call->fn = init_holding;
	int rc = submit_init(self, a, call, setup);

	WF_DEBUG(call->inputs == inputs);
	wf_free(inputs);
	return rc;
}

/* Everything but its init, and with it what has to be there before. NULL: -ENOMEM. */
static struct wf_actor *create(struct wf_local *self, struct wf_actor_spec *spec,
                               const struct weft_call *call, const struct wf_setup *setup)
{
	struct wf_actor *a = wf_actor_new(self, spec);

	if (!a)
		return NULL;
	spec->group = 0;
	if (prepare(self, a, call, setup)) {
		undo(self, a);
		return NULL;
	}
	WF_DEBUG(!spec->name == !spec->ns);
	WF_DEBUG(!spec->hold || a->cold);
	if (spec->name)
		wf_name_add(self->rt, a);
	spec->ns = NULL;
	wf_actor_publish(self->rt, a, !call->fn && !spec->hold);
	return a;
}

/* The same under its name: 0, 1 there was one, an error. */
static int create_named(struct wf_local *self, struct wf_actor_spec *spec,
                        const struct weft_actor_options *given, const struct weft_call *call,
                        const struct wf_setup *setup, struct wf_actor **out)
{
	weft *rt = self->rt;
	const char *ns = given->ns ? given->ns : rt->ns;
	size_t ns_bytes = strlen(ns) + 1, name_bytes = strlen(given->name) + 1;
	char *text = wf_malloc(ns_bytes + name_bytes);
	struct wf_actors *t = wf_actors_open(rt);

	if (!text || !t) {
		wf_free(text);
		return -ENOMEM;
	}
	spec->ns = memcpy(text, ns, ns_bytes);
	spec->name = memcpy(text + ns_bytes, given->name, name_bytes);
	WF_DEBUG(*spec->ns && *spec->name);
	pthread_mutex_lock(&t->names_mutex);
	struct wf_actor *there = wf_name_find(rt, spec->ns, spec->name);
	int rc = there ? -EEXIST : wf_name_room(t);

	if (there && spec->c.flags & WEFT_ACTOR_GET) {
		wf_actor_take_handle(there);
		*out = there;
		rc = 1;
	}
	if (!rc) {
		*out = create(self, spec, call, setup);
		rc = *out ? 0 : -ENOMEM;
	}
	pthread_mutex_unlock(&t->names_mutex);
	wf_free(spec->ns);
	return rc;
}

/* Bring init on its way, after what it is to hold. */
static int start(struct wf_local *self, struct wf_actor *a, const struct wf_actor_spec *spec,
                 struct weft_call *call, const struct wf_setup *setup)
{
	weft *rt = self->rt;
	weft_ref grant = { 0 };

	if (!call->fn && !spec->hold)
		return 0;
	/* A passer-by: the start may be its end. */
	wf_actor_hold(a);
	int rc = spec->hold ? ask(self, a, spec->hold, &grant) : 0;

	if (!rc)
		rc = spec->hold ? submit_init_after(self, a, call, setup, grant)
				: submit_init(self, a, call, setup);
	if (grant.bits)
		weft_release(rt, grant);
	WF_DEBUG(rc <= 0);
	if (rc)
		abandon(self, a);
	wf_actor_unhold(wf_local_of(rt), a);
	return rc;
}

/* What was made in a group: its cancel has found the actor, or is found here. */
static void look_at_group(struct wf_local *self, struct wf_actor *a)
{
	/* [G3] */
	wf_fence_seq_cst();
	if (wf_group_is_cancelled(self->rt, a->cold->group))
		wf_actor_kill(self, a, wf_death_make(a, "its group was cancelled", NULL), false);
}

static int make(struct wf_local *self, struct wf_actor_spec *spec,
                const struct weft_actor_options *given, struct weft_call *call,
                const struct wf_setup *setup, weft_actor *out)
{
	struct wf_actor *a = NULL;
	int rc = 0;

	if (given->name)
		rc = create_named(self, spec, given, call, setup, &a);
	else
		a = create(self, spec, call, setup);
	if (rc < 0 || !a)
		return rc < 0 ? rc : -ENOMEM;
	WF_CHECK(wf_box_word(&a->box) & WF_BOX_USED);
	weft_actor handle = wf_actor_handle(self->rt, a);
	bool fresh = !rc;

	if (fresh)
		rc = start(self, a, spec, call, setup);
	if (rc < 0)
		return rc;
	if (fresh && WF_UNLIKELY(a->grouped))
		look_at_group(self, a);
	*out = handle;
	return rc;
}

int weft_actor_create(weft *rt, const struct weft_actor_class *class_,
                      const struct weft_actor_options *opts, const struct weft_call *init,
                      weft_actor *out)
{
	struct wf_actor_spec spec = { 0 };
	struct weft_actor_options given;
	struct wf_setup setup, hold;
	struct weft_call call;

	if (!rt || !out)
		return -EINVAL;
	int rc = read_spec(&spec, class_, opts, &given);

	if (!rc)
		rc = read_init(rt, class_, init, &call, &setup);
	if (!rc)
		rc = wf_gate_check(rt);
	struct wf_local *self = rc ? NULL : wf_local_of(rt);

	if (!self)
		return rc ? rc : -ENOMEM;
	if (!spec.c.priority)
		spec.c.priority = priority_here(rt, self);
	else if (spec.c.priority == WEFT_ACTOR_NORMAL)
		spec.c.priority = WEFT_PRIORITY_NORMAL;
	if (spec.c.holds || wf_place_group(self, NULL))
		rc = read_holds(self, &spec, &hold);
	if (!rc)
		rc = wf_group_hold_for(rt, self, given.group, &spec.group);
	if (!rc)
		rc = make(self, &spec, &given, &call, &setup, out);
	if (spec.group)
		wf_group_drop(rt, wf_group_at(rt, spec.group));
	return rc;
}
