/*
 * create.c: from a class to an actor whose init is on its way.
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
	if (c->reserved0 || c->flags & ~(uint32_t)FLAGS_ALL || c->priority > WEFT_PRIORITY_LOW ||
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

/* Check the call of init and fill its options in. */
static int read_init(weft *rt, const struct weft_actor_class *class_, const struct weft_call *given,
                     struct weft_call *call, struct wf_setup *setup)
{
	struct weft_task_options *o = &setup->o;

	*call = given ? *given : (struct weft_call){ 0 };
	memset(setup, 0, sizeof(*setup));
	if (call->fn || call->actor.bits)
		return -EINVAL;
	if (!class_->init)
		return call->arg_size || call->n_inputs || call->n_after ? -EINVAL : 0;
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

static void undo(struct wf_local *self, struct wf_actor *a)
{
	if (a->cold && a->cold->last) {
		wf_call_unmake(self, a->cold->last);
		a->cold->last = NULL;
	}
	wf_actor_discard(self, a);
}

static int start(struct wf_local *self, struct wf_actor *a, struct weft_call *call,
                 const struct wf_setup *setup)
{
	struct wf_target to = { .actor = a, .kind = WF_CALL_INIT };
	weft_ref kept;

	if (!call->fn) {
		/* relaxed: nobody has seen it. */
		wf_store_relaxed(&a->box.word, WF_BOX_USED | WF_BOX_OPEN);
		return 0;
	}
	WF_CHECK(a->class_->init == call->fn && !a->box.handed);
	WF_CHECK(setup->o.n_outputs == 1);
	call->actor = wf_actor_handle(self->rt, a);
	/* The ref is the actor's, until its init has ended. */
	return wf_submit_to(self, &to, call, &setup->o, setup, &kept);
}

static int create(struct wf_local *self, const struct wf_actor_spec *spec, struct weft_call *call,
                  const struct wf_setup *setup, weft_actor *out)
{
	struct wf_actor *a = wf_actor_new(self, spec);
	int rc = a ? prepare(self, a, call, setup) : -ENOMEM;
	weft_actor handle = a ? wf_actor_handle(self->rt, a) : (weft_actor){ 0 };

	WF_DEBUG(!a || !(wf_box_word(&a->box) & WF_BOX_OPEN));
	if (!rc) {
		/* A passer-by: the start may be its end. */
		wf_actor_hold(a);
		rc = start(self, a, call, setup);
		if (!rc && spec->name && !(wf_box_word(&a->box) & WF_BOX_CLOSED))
			wf_name_add(self->rt, a);
		/* relaxed: it is either undone, by its only holder, or held by its handle. */
		wf_add_relaxed(&a->holds, (uint32_t)-1);
	}
	if (rc) {
		if (a)
			undo(self, a);
		return rc;
	}
	*out = handle;
	return 0;
}

static int create_named(struct wf_local *self, struct wf_actor_spec *spec,
                        const struct weft_actor_options *given, struct weft_call *call,
                        const struct wf_setup *setup, weft_actor *out)
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
		*out = wf_actor_handle(rt, there);
		rc = 1;
	}
	if (!rc)
		rc = create(self, spec, call, setup, out);
	pthread_mutex_unlock(&t->names_mutex);
	if (rc)
		wf_free(text);
	return rc;
}

int weft_actor_create(weft *rt, const struct weft_actor_class *class_,
                      const struct weft_actor_options *opts, const struct weft_call *init,
                      weft_actor *out)
{
	struct wf_actor_spec spec = { 0 };
	struct weft_actor_options given;
	struct wf_setup setup;
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
	if (given.name)
		return create_named(self, &spec, &given, &call, &setup, out);
	return create(self, &spec, &call, &setup, out);
}
