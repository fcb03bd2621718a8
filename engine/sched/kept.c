/*
 * kept.c: what is granted for longer than a task: to an actor, until it dies.
 *
 * An actor that holds something has a task ask for it, like any other. When that runs, its grant
 * becomes the actor's (struct wf_kept), node and bundle with it, and the task ends with nothing to
 * give back. CPUs are an amount here like others: no worker stands aside for them, because the
 * actor's calls run on workers; they are only kept from other requests. See the actors' room for
 * who gives back.
 *
 * Shared: as in admit.c. A struct wf_kept is its actor's.
 */
#include "place.h"

bool wf_admit_keep(weft *rt, struct wf_ext *ext, struct wf_kept *kept)
{
	struct wf_request *request = wf_ext_request(ext);

	pthread_mutex_lock(&rt->admit->mutex);
	bool granted = request->state == WF_REQUEST_GRANTED;

	WF_CHECK(!kept->class && request->class->shape.keeps);
	WF_DEBUG(!request->held && !request->lent);
	if (granted) {
		*kept = (struct wf_kept){ .class = request->class,
			                  .gpus = request->gpus,
			                  .bundle = request->bundle,
			                  .node = request->node,
			                  .stays = request->kept,
			                  .captures = request->capture };
		request->gpus = 0;
		request->node = WF_NODE_NONE;
		request->state = WF_REQUEST_OVER;
		rt->admit->keepers++;
	}
	pthread_mutex_unlock(&rt->admit->mutex);
	return granted;
}

void wf_admit_let_go(struct wf_local *self, struct wf_kept *kept)
{
	struct wf_admit *a = self->rt->admit;
	struct wf_request request = {
		.class = kept->class, .gpus = kept->gpus, .bundle = kept->bundle, .node = kept->node
	};
	struct wf_shape given;

	if (!kept->class)
		return;
	kept->class = NULL;
	pthread_mutex_lock(&a->mutex);
	WF_CHECK(a->keepers > 0 && request.class->shape.keeps);
	WF_DEBUG(request.class->shape.n <= WF_NEEDS_MAX);
	a->keepers--;
	wf_admit_give_back(self->rt, &request);
	wf_place_over(self->rt, &request);
	/* The class may be gone by the time that what was given is served. */
	given = request.class->shape;
	wf_class_drop(a, request.class);
	wf_admit_serve(self, &given);
}

bool wf_admit_starves(weft *rt)
{
	struct wf_admit *a = rt->admit;
	bool starves = false;

	pthread_mutex_lock(&a->mutex);
	WF_DEBUG(a->table_size > 0);
	for (uint32_t i = 0; a->keepers && i < a->table_size && !starves; i++) {
		for (const struct wf_class *c = a->table[i]; c && !starves; c = c->next)
			starves = c->first && !c->infeasible;
	}
	starves = starves || (a->keepers && a->places && a->places->waiting);
	pthread_mutex_unlock(&a->mutex);
	return starves;
}
